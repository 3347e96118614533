-- Where Turso needs other words than SQLite, or is faster with them; the rest is SQLite's.
--
-- Claims are SQLite's, which select the head and then delete by key, and return nothing while they write.
-- A range of keys instead of the set of them saves a tenth of a claim (of 1: 50 to 46 us of CPU, of 100:
-- 640 to 540), and holds for one priority only.

-- Turso finds no plan for a DELETE that names an index and asks another table.
-- fragment: take_come_back
DELETE FROM @schema.pgqrs_ready
WHERE seq = (SELECT r.seq FROM @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
             WHERE r.message_id = $message AND r.seq <> r.message_id)
  AND EXISTS (SELECT 1 FROM @schema.pgqrs_leased l WHERE l.message_id = $message)
