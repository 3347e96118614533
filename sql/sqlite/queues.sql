-- Queues and workflows, and the waiters on them. A workflow is a queue whose messages are runs.

-- fragment: queue
q.id, q.name, q.workflow, q.paused_at IS NOT NULL AS paused, q.lease_us, q.max_attempts,
q.backoff_us, q.backoff_factor, q.backoff_max_us, q.retention_us, q.created_at

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
WHERE id = $queue AND deleted_at IS NULL;
SELECT id FROM @schema.pgqrs_queues WHERE id = $queue AND deleted_at IS NULL;

-- name: queue_pause
-- args: queue i32, now time?
-- cols: id i32
UPDATE @schema.pgqrs_queues SET paused_at = @now
WHERE id = $queue AND deleted_at IS NULL AND paused_at IS NULL;
SELECT id FROM @schema.pgqrs_queues WHERE id = $queue AND deleted_at IS NULL;

-- name: queue_resume
-- args: queue i32
-- cols: id i32
UPDATE @schema.pgqrs_queues SET paused_at = NULL
WHERE id = $queue AND deleted_at IS NULL AND paused_at IS NOT NULL;
SELECT id FROM @schema.pgqrs_queues WHERE id = $queue AND deleted_at IS NULL;

-- name: queue_delete
-- args: queue i32, force bool, now time?
-- cols: id i32
UPDATE @schema.pgqrs_queues SET deleted_at = @now
WHERE id = $queue AND deleted_at IS NULL
  AND ($force OR NOT EXISTS (SELECT 1 FROM @schema.pgqrs_leased WHERE queue_id = $queue))
RETURNING id;

-- The rows of one place that go in this call; the same ones until they are deleted, last of all.
-- fragment: some_ready
SELECT seq FROM @schema.pgqrs_ready INDEXED BY pgqrs_ready_order
WHERE queue_id = $queue AND priority >= 0 ORDER BY priority, seq LIMIT $max_rows

-- fragment: some_ready_messages
SELECT message_id FROM @schema.pgqrs_ready INDEXED BY pgqrs_ready_order
WHERE queue_id = $queue AND priority >= 0 ORDER BY priority, seq LIMIT $max_rows

-- fragment: some_scheduled
SELECT message_id FROM @schema.pgqrs_scheduled INDEXED BY pgqrs_scheduled_key
WHERE queue_id = $queue ORDER BY message_id LIMIT $max_rows

-- What is not leased, with its bodies, steps and keys. max_rows holds for each table.
-- name: queue_purge
-- args: queue i32, max_rows i64
-- cols: removed i64
SELECT (SELECT count(*) FROM (@{some_ready}) r)
       + (SELECT count(*) FROM (@{some_scheduled}) d) AS removed;
DELETE FROM @schema.pgqrs_keys WHERE message_id IN (@{some_ready_messages});
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{some_ready_messages});
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{some_ready_messages});
DELETE FROM @schema.pgqrs_ready WHERE seq IN (@{some_ready});
DELETE FROM @schema.pgqrs_keys WHERE message_id IN (@{some_scheduled});
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{some_scheduled});
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{some_scheduled});
DELETE FROM @schema.pgqrs_scheduled WHERE message_id IN (@{some_scheduled});

-- The oldest ready message is the one with the least id: ids are given when messages are put in.
-- name: queue_measure
-- args: queue i32, now time?
-- cols: ready i64, scheduled i64, leased i64, done i64, dead i64, oldest_at time?
SELECT r.ready, d.scheduled, l.leased, a.done, a.dead,
       (SELECT min(m.enqueued_at, @now)
        FROM @schema.pgqrs_messages m WHERE m.id = r.oldest) AS oldest_at
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
       AND (EXISTS (SELECT 1 FROM @schema.pgqrs_ready INDEXED BY pgqrs_ready_order
                    WHERE queue_id = $queue)
            OR EXISTS (SELECT 1 FROM @schema.pgqrs_scheduled INDEXED BY pgqrs_scheduled_due
                       WHERE queue_id = $queue AND visible_at <= @now)
            OR EXISTS (SELECT 1 FROM @schema.pgqrs_leased INDEXED BY pgqrs_leased_key
                       WHERE queue_id = $queue AND expires_at <= @now)) AS due,
       (SELECT visible_at FROM @schema.pgqrs_scheduled INDEXED BY pgqrs_scheduled_due
        WHERE queue_id = $queue AND visible_at > @now ORDER BY visible_at LIMIT 1) AS next_at
FROM @schema.pgqrs_queues q WHERE q.id = $queue;

-- name: queue_tombstones
-- args: now time?
-- cols: id i32, forget bool
SELECT id, deleted_at < @now - 3600000000 AS forget
FROM @schema.pgqrs_queues WHERE deleted_at IS NOT NULL ORDER BY id;

-- fragment: some_leased
SELECT message_id FROM @schema.pgqrs_leased INDEXED BY pgqrs_leased_key
WHERE queue_id = $queue ORDER BY expires_at, message_id LIMIT $max_rows

-- fragment: some_archived
SELECT message_id FROM @schema.pgqrs_archive INDEXED BY pgqrs_archive_key
WHERE queue_id = $queue ORDER BY message_id LIMIT $max_rows

-- fragment: some_keys
SELECT message_id FROM @schema.pgqrs_keys WHERE queue_id = $queue ORDER BY key LIMIT $max_rows

-- fragment: queue_is_deleted
(SELECT deleted_at IS NOT NULL FROM @schema.pgqrs_queues WHERE id = $queue)

-- What a deleted queue left behind. max_rows holds for each table.
-- name: queue_sweep
-- args: queue i32, max_rows i64
-- cols: removed i64
SELECT CASE WHEN @{queue_is_deleted}
            THEN (SELECT count(*) FROM (@{some_ready}) r)
                 + (SELECT count(*) FROM (@{some_scheduled}) d)
                 + (SELECT count(*) FROM (@{some_leased}) l)
                 + (SELECT count(*) FROM (@{some_archived}) a)
                 + (SELECT count(*) FROM (@{some_keys}) k)
            ELSE 0 END AS removed;
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{some_ready_messages}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{some_ready_messages}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_ready WHERE seq IN (@{some_ready}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{some_scheduled}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{some_scheduled}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_scheduled WHERE message_id IN (@{some_scheduled}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{some_leased}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{some_leased}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_leased WHERE message_id IN (@{some_leased}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{some_archived}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{some_archived}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_archive WHERE message_id IN (@{some_archived}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_keys WHERE message_id IN (@{some_keys}) AND @{queue_is_deleted};
DELETE FROM @schema.pgqrs_waiters WHERE queue_id = $queue AND @{queue_is_deleted};

-- name: queue_forget
-- args: queue i32
-- cols: id i32
DELETE FROM @schema.pgqrs_queues WHERE id = $queue AND deleted_at IS NOT NULL RETURNING id;

-- A consumer of this queue is about to sleep. Nothing is written while the row that is there will
-- do.
-- name: waiter_set
-- args: queue i32, now time?
-- cols: left_us i64
INSERT INTO @schema.pgqrs_waiters (queue_id, until) VALUES ($queue, @now + 5000000)
ON CONFLICT (queue_id) DO UPDATE SET until = excluded.until
WHERE pgqrs_waiters.until < @now + 2000000;
SELECT until - @now AS left_us FROM @schema.pgqrs_waiters WHERE queue_id = $queue;
