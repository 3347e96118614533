-- Workers: names for people. status: 1 ready, 2 polling, 3 suspended, 4 interrupted, 5 stopped.

-- fragment: worker
w.id, w.name, w.hostname, w.status, w.queue_id, w.started_at, w.heartbeat_at

-- A name that is taken is taken over, with its id.
-- name: worker_upsert
-- args: name text, hostname text, queue i32?, now time?
-- cols: id i64
INSERT INTO @schema.pgqrs_workers AS w (name, hostname, status, queue_id, started_at, heartbeat_at)
VALUES ($name, $hostname, 1, $queue, @now, @now)
ON CONFLICT (name) DO UPDATE
SET hostname = excluded.hostname, status = excluded.status, queue_id = excluded.queue_id,
    started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at
RETURNING w.id;

-- name: worker_heartbeat :many
-- args: worker i64[], now time?
-- cols: n i64, status i16
UPDATE @schema.pgqrs_workers w SET heartbeat_at = @now
FROM unnest($worker) WITH ORDINALITY AS a(id, n)
WHERE w.id = a.id
RETURNING a.n, w.status;

-- name: worker_set_status
-- args: worker i64, status i16, now time?
-- cols: id i64
UPDATE @schema.pgqrs_workers SET status = $status, heartbeat_at = @now WHERE id = $worker
RETURNING id;

-- name: worker_find
-- args: worker i64
-- cols: id i64, name text, hostname text, status i16, queue_id i32?, started_at time,
-- cols: heartbeat_at time
SELECT @{worker} FROM @schema.pgqrs_workers w WHERE w.id = $worker;

-- name: worker_list
-- cols: id i64, name text, hostname text, status i16, queue_id i32?, started_at time,
-- cols: heartbeat_at time
SELECT @{worker} FROM @schema.pgqrs_workers w ORDER BY w.id;

-- name: worker_measure
-- args: silent_us i64, now time?
-- cols: total i64, ready i64, polling i64, suspended i64, interrupted i64, stopped i64, stale i64
SELECT count(*) AS total,
       count(*) FILTER (WHERE status = 1) AS ready,
       count(*) FILTER (WHERE status = 2) AS polling,
       count(*) FILTER (WHERE status = 3) AS suspended,
       count(*) FILTER (WHERE status = 4) AS interrupted,
       count(*) FILTER (WHERE status = 5) AS stopped,
       count(*) FILTER (WHERE status <> 5
                              AND heartbeat_at < @now - $silent_us * interval '1 us') AS stale
FROM @schema.pgqrs_workers;

-- SKIP LOCKED: one that is giving a sign of life in this instant is not silent.
-- name: worker_stop_stale
-- args: silent_us i64, now time?
-- cols: id i64
UPDATE @schema.pgqrs_workers SET status = 5
WHERE id = ANY (ARRAY(
    SELECT id FROM @schema.pgqrs_workers
    WHERE status <> 5 AND heartbeat_at < @now - $silent_us * interval '1 us'
    FOR UPDATE SKIP LOCKED))
RETURNING id;

-- Everything a worker leases or has parked by a pause, at once; the attempt of a leased one is
-- given back. A row whose holder is recording a step in this instant is left for the next call.
-- name: worker_release
-- args: worker i64, max_rows i64, channel text?, now time?
-- cols: moved i64, woken i64
WITH held AS (
    DELETE FROM @schema.pgqrs_leased WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_leased WHERE owner = $worker LIMIT $max_rows
        FOR UPDATE SKIP LOCKED))
    RETURNING message_id, queue_id, owner, claimed_at, attempt - 1 AS attempt, cancelled),
parked AS (
    DELETE FROM @schema.pgqrs_scheduled WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_scheduled WHERE owner = $worker AND reason = 3
        LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING message_id, queue_id, attempt),
back AS MATERIALIZED (
    SELECT message_id AS place, message_id, queue_id, attempt FROM held WHERE NOT cancelled
    UNION ALL SELECT message_id, message_id, queue_id, attempt FROM parked),
woke AS (SELECT DISTINCT queue_id FROM back),
live AS (@{back_to_ready}),
ended AS (
    INSERT INTO @schema.pgqrs_archive
        (message_id, queue_id, owner, claimed_at, finished_at, attempt, state)
    SELECT message_id, queue_id, owner, claimed_at, @now, attempt, 3 FROM held WHERE cancelled)
SELECT (SELECT count(*) FROM held) + (SELECT count(*) FROM parked) AS moved,
       @{woken} AS woken;
