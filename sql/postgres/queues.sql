-- Queues and workflows, and the waiters on them. A workflow is a queue whose messages are runs.

-- fragment: queue
q.id, q.name, q.workflow, q.paused_at IS NOT NULL AS paused, q.lease_us,
q.max_attempts::int4 AS max_attempts, q.backoff_us, q.backoff_factor, q.backoff_max_us,
q.retention_us, q.created_at

-- No row: a queue of this name is there.
-- name: queue_insert
-- args: name text, workflow bool, lease_us i64, max_attempts i32, backoff_us i64,
-- args: backoff_factor f64, backoff_max_us i64, retention_us i64?, now time?
-- cols: id i32
INSERT INTO @schema.pgqrs_queues
    (name, workflow, lease_us, max_attempts, backoff_us, backoff_factor, backoff_max_us,
     retention_us, created_at)
VALUES ($name, $workflow, $lease_us, $max_attempts, $backoff_us, $backoff_factor, $backoff_max_us,
        $retention_us, @now)
ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING
RETURNING id;

-- name: queue_find
-- args: name text
-- cols: id i32, name text, workflow bool, paused bool, lease_us i64, max_attempts i32,
-- cols: backoff_us i64, backoff_factor f64, backoff_max_us i64, retention_us i64?, created_at time
SELECT @{queue} FROM @schema.pgqrs_queues q WHERE q.name = $name AND q.deleted_at IS NULL;

-- name: queue_list
-- cols: id i32, name text, workflow bool, paused bool, lease_us i64, max_attempts i32,
-- cols: backoff_us i64, backoff_factor f64, backoff_max_us i64, retention_us i64?, created_at time
SELECT @{queue} FROM @schema.pgqrs_queues q WHERE q.deleted_at IS NULL ORDER BY q.name;

-- name: queue_configure
-- args: queue i32, lease_us i64?, max_attempts i32?, backoff_us i64?, backoff_factor f64?,
-- args: backoff_max_us i64?, retention_us i64?, keep_for_ever bool
-- cols: id i32
UPDATE @schema.pgqrs_queues
SET lease_us       = coalesce($lease_us, lease_us),
    max_attempts   = coalesce($max_attempts, max_attempts),
    backoff_us     = coalesce($backoff_us, backoff_us),
    backoff_factor = coalesce($backoff_factor, backoff_factor),
    backoff_max_us = coalesce($backoff_max_us, backoff_max_us),
    retention_us   = CASE WHEN NOT $keep_for_ever THEN coalesce($retention_us, retention_us) END
WHERE id = $queue AND deleted_at IS NULL
RETURNING id;

-- name: queue_pause
-- args: queue i32, now time?
-- cols: id i32
UPDATE @schema.pgqrs_queues SET paused_at = coalesce(paused_at, @now)
WHERE id = $queue AND deleted_at IS NULL
RETURNING id;

-- name: queue_resume
-- args: queue i32
-- cols: id i32
UPDATE @schema.pgqrs_queues SET paused_at = NULL
WHERE id = $queue AND deleted_at IS NULL
RETURNING id;

-- No lock against enqueues: one that saw the queue is ordered before the deletion, and its row is
-- swept.
-- name: queue_delete
-- args: queue i32, force bool, now time?
-- cols: id i32
UPDATE @schema.pgqrs_queues SET deleted_at = @now
WHERE id = $queue AND deleted_at IS NULL
  AND ($force OR (SELECT 1 FROM @schema.pgqrs_leased WHERE queue_id = $queue LIMIT 1) IS NULL)
RETURNING id;

-- What is not leased, with its bodies, steps and keys.
-- name: queue_purge
-- args: queue i32, max_rows i64
-- cols: removed i64
WITH live AS (
    DELETE FROM @schema.pgqrs_ready WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_ready WHERE queue_id = $queue LIMIT $max_rows
        FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
late AS (
    DELETE FROM @schema.pgqrs_scheduled WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_scheduled WHERE queue_id = $queue LIMIT $max_rows
        FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
gone AS MATERIALIZED (SELECT id FROM live UNION ALL SELECT id FROM late),
bodies AS (@{delete_bodies}),
trails AS (@{delete_trails}),
named AS (
    DELETE FROM @schema.pgqrs_keys
    WHERE queue_id = $queue AND message_id IN (SELECT id FROM gone))
SELECT count(*) AS removed FROM gone;

-- The oldest ready message is the one with the least id: ids are given when messages are put in.
-- name: queue_measure
-- args: queue i32, now time?
-- cols: ready i64, scheduled i64, leased i64, done i64, dead i64, oldest_at time?
SELECT r.ready, d.scheduled, l.leased, a.done, a.dead,
       (SELECT least(m.enqueued_at, @now) FROM @schema.pgqrs_messages m
        WHERE m.id = r.oldest) AS oldest_at
FROM (SELECT count(*) AS ready, min(message_id) AS oldest
      FROM @schema.pgqrs_ready WHERE queue_id = $queue) r,
     (SELECT count(*) AS scheduled FROM @schema.pgqrs_scheduled WHERE queue_id = $queue) d,
     (SELECT count(*) AS leased FROM @schema.pgqrs_leased WHERE queue_id = $queue) l,
     (SELECT count(*) FILTER (WHERE state <> 4) AS done, count(*) FILTER (WHERE state = 4) AS dead
      FROM @schema.pgqrs_archive WHERE queue_id = $queue) a;

-- Whether a claim would find something, and when the next scheduled message is due.
-- name: queue_due
-- args: queue i32, now time?
-- cols: due bool, next_at time?
SELECT q.paused_at IS NULL AND q.deleted_at IS NULL
       AND coalesce((SELECT true FROM @schema.pgqrs_ready WHERE queue_id = $queue LIMIT 1),
                    (SELECT true FROM @schema.pgqrs_scheduled
                     WHERE queue_id = $queue AND visible_at <= @now LIMIT 1),
                    (SELECT true FROM @schema.pgqrs_leased
                     WHERE queue_id = $queue AND expires_at <= @now LIMIT 1),
                    false) AS due,
       (SELECT visible_at FROM @schema.pgqrs_scheduled
        WHERE queue_id = $queue AND visible_at > @now ORDER BY visible_at LIMIT 1) AS next_at
FROM @schema.pgqrs_queues q WHERE q.id = $queue;

-- forget: nothing that saw the queue alive can still be on its way.
-- name: queue_tombstones
-- args: now time?
-- cols: id i32, forget bool
SELECT id, deleted_at < @now - interval '1 hour' AS forget
FROM @schema.pgqrs_queues WHERE deleted_at IS NOT NULL ORDER BY id;

-- What a deleted queue left behind. max_rows holds for each table.
-- name: queue_sweep
-- args: queue i32, max_rows i64
-- cols: removed i64
WITH dead AS MATERIALIZED (
    SELECT id FROM @schema.pgqrs_queues WHERE id = $queue AND deleted_at IS NOT NULL),
live AS (
    DELETE FROM @schema.pgqrs_ready WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_ready WHERE queue_id = (SELECT id FROM dead)
        LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
late AS (
    DELETE FROM @schema.pgqrs_scheduled WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_scheduled WHERE queue_id = (SELECT id FROM dead)
        LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
held AS (
    DELETE FROM @schema.pgqrs_leased WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_leased WHERE queue_id = (SELECT id FROM dead)
        LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
ended AS (
    DELETE FROM @schema.pgqrs_archive WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_archive WHERE queue_id = (SELECT id FROM dead)
        LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
gone AS MATERIALIZED (
    SELECT id FROM live UNION ALL SELECT id FROM late UNION ALL SELECT id FROM held
    UNION ALL SELECT id FROM ended),
bodies AS (@{delete_bodies}),
trails AS (@{delete_trails}),
named AS (
    DELETE FROM @schema.pgqrs_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_keys WHERE queue_id = (SELECT id FROM dead)
        LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING 1),
waiting AS (
    DELETE FROM @schema.pgqrs_waiters WHERE queue_id = (SELECT id FROM dead))
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM named) AS removed;

-- name: queue_forget
-- args: queue i32
-- cols: id i32
DELETE FROM @schema.pgqrs_queues WHERE id = $queue AND deleted_at IS NOT NULL RETURNING id;

-- A consumer of this queue is about to sleep. Nothing is written while the row that is there will
-- do: it says for how long, by the clock that judges it.
-- name: waiter_set
-- args: queue i32, now time?
-- cols: left_us i64
WITH w AS (
    INSERT INTO @schema.pgqrs_waiters AS t (queue_id, until)
    SELECT $queue, @now + interval '5 s'
    WHERE (SELECT 1 FROM @schema.pgqrs_waiters
           WHERE queue_id = $queue AND until >= @now + interval '2 s') IS NULL
    ON CONFLICT (queue_id) DO UPDATE SET until = excluded.until WHERE t.until < excluded.until
    RETURNING until)
SELECT (extract(epoch FROM coalesce(
    (SELECT until FROM w), (SELECT until FROM @schema.pgqrs_waiters WHERE queue_id = $queue), @now)
    - @now) * 1000000)::int8 AS left_us;
