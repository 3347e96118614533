-- Where Turso needs other words than SQLite, or is faster with them; the rest is SQLite's.

-- Turso finds no plan for a DELETE that names an index and asks another table.
-- fragment: take_come_back
DELETE FROM @schema.pgqrs_ready
WHERE seq = (SELECT r.seq FROM @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
             WHERE r.message_id = $message AND r.seq <> r.message_id)
  AND EXISTS (SELECT 1 FROM @schema.pgqrs_leased l WHERE l.message_id = $message)
