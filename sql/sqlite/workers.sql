-- Workers: names for people. status: 1 ready, 2 polling, 3 suspended, 4 interrupted, 5 stopped.

-- fragment: worker
w.id, w.name, w.hostname, w.status, w.queue_id, w.started_at, w.heartbeat_at

-- A name that is taken is taken over, with its id.
-- name: worker_upsert
-- args: name text, hostname text, queue i32?, now time?
-- cols: id i64
INSERT INTO @schema.pgqrs_workers (name, hostname, status, queue_id, started_at, heartbeat_at)
VALUES ($name, $hostname, 1, $queue, @now, @now)
ON CONFLICT (name) DO UPDATE
SET hostname = excluded.hostname, status = excluded.status, queue_id = excluded.queue_id,
    started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at;
SELECT id FROM @schema.pgqrs_workers WHERE name = $name;

-- name: worker_heartbeat :many
-- args: worker i64[], now time?
-- cols: n i64, status i16
UPDATE @schema.pgqrs_workers SET heartbeat_at = @now WHERE id = $worker;
SELECT $n AS n, status FROM @schema.pgqrs_workers WHERE id = $worker;

-- name: worker_set_status
-- args: worker i64, status i16, now time?
-- cols: id i64
UPDATE @schema.pgqrs_workers SET status = $status, heartbeat_at = @now WHERE id = $worker;
SELECT id FROM @schema.pgqrs_workers WHERE id = $worker;

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
       count(*) FILTER (WHERE status <> 5 AND heartbeat_at < @now - $silent_us) AS stale
FROM @schema.pgqrs_workers;

-- name: worker_stop_stale
-- args: silent_us i64, now time?
-- cols: id i64
SELECT id FROM @schema.pgqrs_workers
WHERE status <> 5 AND heartbeat_at < @now - $silent_us ORDER BY id;
UPDATE @schema.pgqrs_workers SET status = 5 WHERE status <> 5 AND heartbeat_at < @now - $silent_us;

-- What a worker holds, and after it what it has parked by a pause, numbered. Of a leased one the
-- attempt is given back.
-- fragment: of_worker
SELECT h.message_id, h.queue_id, h.owner, h.claimed_at, h.attempt, h.cancelled,
       row_number() OVER (ORDER BY h.parked, h.message_id) AS place
FROM (SELECT 0 AS parked, l.message_id, l.queue_id, l.owner, l.claimed_at, l.attempt - 1 AS attempt,
             l.cancelled
      FROM @schema.pgqrs_leased l WHERE l.owner = $worker
      UNION ALL
      SELECT 1, d.message_id, d.queue_id, d.owner, NULL, d.attempt, 0
      FROM @schema.pgqrs_scheduled d WHERE d.owner = $worker AND d.reason = 3
      ORDER BY 1, 2 LIMIT min($max_rows, 1000)) h

-- It walks all that is leased and scheduled. What is in two places now has just been moved.
-- name: worker_release
-- args: worker i64, max_rows i64, channel text?, now time?
-- cols: moved i64, woken i64
-- ids: 1000
SELECT count(*) AS moved, 0 AS woken FROM (@{of_worker}) o;
INSERT OR FAIL INTO @schema.pgqrs_archive
    (message_id, queue_id, owner, claimed_at, finished_at, attempt, state)
SELECT o.message_id, o.queue_id, o.owner, o.claimed_at, @now, o.attempt, 3
FROM (@{of_worker}) o WHERE o.cancelled;
INSERT OR FAIL INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
SELECT $id - 1 + o.place, o.message_id, o.queue_id, m.priority, o.attempt
FROM (@{of_worker}) o CROSS JOIN @schema.pgqrs_messages m ON m.id = o.message_id
WHERE NOT o.cancelled;
DELETE FROM @schema.pgqrs_scheduled
WHERE owner = $worker AND reason = 3
  AND EXISTS (SELECT 1 FROM @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
              WHERE r.message_id = pgqrs_scheduled.message_id AND r.seq <> r.message_id);
DELETE FROM @schema.pgqrs_leased
WHERE owner = $worker
  AND (EXISTS (SELECT 1 FROM @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
               WHERE r.message_id = pgqrs_leased.message_id AND r.seq <> r.message_id)
       OR EXISTS (SELECT 1 FROM @schema.pgqrs_archive e
                  WHERE e.message_id = pgqrs_leased.message_id));
