-- The schema itself, and the clock.

-- The host's clock, in the milliseconds that SQLite has, never below what was stored.
-- name: database_now
-- cols: now time
SELECT max(last_now_us,
           CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000) AS now
FROM @schema.pgqrs_sequence;

-- name: migration_list
-- cols: version i32, name text, checksum text, oldest_library text
SELECT version, name, checksum, oldest_library FROM @schema.pgqrs_migrations ORDER BY version;

-- name: migration_insert
-- args: version i32, name text, checksum text, oldest_library text, now time?
INSERT INTO @schema.pgqrs_migrations (version, name, checksum, oldest_library, applied_at)
VALUES ($version, $name, $checksum, $oldest_library, @now);
