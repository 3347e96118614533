-- The schema itself, and the clock.

-- name: database_now
-- cols: now time
SELECT statement_timestamp() AS now;

-- name: migration_list
-- cols: version i32, name text, checksum text, oldest_library text
SELECT version, name, checksum, oldest_library FROM @schema.pgqrs_migrations ORDER BY version;

-- name: migration_insert
-- args: version i32, name text, checksum text, oldest_library text, now time?
INSERT INTO @schema.pgqrs_migrations (version, name, checksum, oldest_library, applied_at)
VALUES ($version, $name, $checksum, $oldest_library, @now);
