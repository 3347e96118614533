-- Messages. One that lives has a row in exactly one of ready, scheduled, leased and archive. A move
-- is several statements here, in one transaction that nobody else writes beside. n is the ordinal
-- of the question: a missing n is the answer "no". What a part of a move needs is read from where
-- it still is.
--
-- Rows are looked up by rowid, or by an index that is named: an application that shares the file
-- may run ANALYZE when the tables are nearly empty, and SQLite would go on to walk or sort them
-- when they are full. + before a column says that its index is not meant.
--
-- OR FAIL: an error undoes the transaction, or the savepoint, so SQLite need not keep copies of
-- pages to undo the statement alone. It saves a quarter of an enqueue.

-- ---- fragments ----------------------------------------------------------------------------------

-- The row of leased that is held under the lease asked for.
-- fragment: held
@schema.pgqrs_leased l
WHERE l.message_id = $message AND l.queue_id = $queue AND l.lease = $lease

-- Where one message waits: as a first delivery, come back, or scheduled.
-- fragment: waiting
SELECT r.seq, r.queue_id, r.attempt FROM @schema.pgqrs_ready r
WHERE r.seq = $message AND r.message_id = r.seq
UNION ALL
SELECT r.seq, r.queue_id, r.attempt FROM @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
WHERE r.message_id = $message AND r.seq <> r.message_id
UNION ALL
SELECT 0, d.queue_id, d.attempt FROM @schema.pgqrs_scheduled d WHERE d.message_id = $message

-- ---- putting in ---------------------------------------------------------------------------------

-- fragment: visible_later
($visible_at > @now OR @now + $delay_us > @now)

-- The body is there: the rest follows from it.
-- fragment: put
INSERT OR FAIL INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
SELECT m.id, m.id, m.queue_id, m.priority, 0 FROM @schema.pgqrs_messages m
WHERE m.id = $id AND NOT coalesce(@{visible_later}, 0);
INSERT OR FAIL INTO @schema.pgqrs_scheduled (message_id, queue_id, visible_at, attempt, reason)
SELECT m.id, m.queue_id, coalesce($visible_at, @now + $delay_us), 0, 0 FROM @schema.pgqrs_messages m
WHERE m.id = $id AND @{visible_later};
SELECT $n AS n, m.id, 0 AS woken FROM @schema.pgqrs_messages m WHERE m.id = $id

-- No n: there is no such queue.
-- name: message_enqueue :many
-- args: queue i32[], priority i16[], producer i64[]?, payload json[], headers json[]?,
-- args: delay_us i64[]?, visible_at time[]?, channel text?, now time?
-- cols: n i64, id i64, woken i64
-- ids: 1
INSERT OR FAIL INTO @schema.pgqrs_messages
    (id, queue_id, priority, enqueued_at, producer, payload, headers)
SELECT $id, q.id, $priority, @now, $producer, $payload, $headers
FROM @schema.pgqrs_queues q WHERE q.id = $queue AND q.deleted_at IS NULL;
@{put};

-- No n: the key stands for a message already (key_find in a second statement), or there is no such
-- queue.
-- name: message_enqueue_keyed :many
-- args: queue i32[], key text[], ttl_us i64[], priority i16[], producer i64[]?, payload json[],
-- args: headers json[]?, delay_us i64[]?, visible_at time[]?, channel text?, now time?
-- cols: n i64, id i64, woken i64
-- ids: 1
DELETE FROM @schema.pgqrs_keys WHERE queue_id = $queue AND key = $key AND until <= @now;
INSERT INTO @schema.pgqrs_keys (message_id, until, queue_id, key)
SELECT $id, @now + $ttl_us, q.id, $key
FROM @schema.pgqrs_queues q WHERE q.id = $queue AND q.deleted_at IS NULL
ON CONFLICT (queue_id, key) DO NOTHING;
INSERT OR FAIL INTO @schema.pgqrs_messages
    (id, queue_id, priority, enqueued_at, producer, payload, headers)
SELECT k.message_id, k.queue_id, $priority, @now, $producer, $payload, $headers
FROM @schema.pgqrs_keys k WHERE k.message_id = $id;
@{put};

-- name: key_find :many
-- args: queue i32[], key text[]
-- cols: n i64, id i64
SELECT $n AS n, message_id AS id FROM @schema.pgqrs_keys WHERE queue_id = $queue AND key = $key;

-- ---- taking out ---------------------------------------------------------------------------------

-- fragment: deliverable
(SELECT paused_at IS NULL AND deleted_at IS NULL FROM @schema.pgqrs_queues WHERE id = $queue)

-- fragment: lease_us
coalesce($lease_us, (SELECT lease_us FROM @schema.pgqrs_queues WHERE id = $queue))

-- Ready rows in delivery order. That a priority is not negative is nothing new, but without it
-- SQLite may prefer to sort the queue when statistics tell it of a very short one.
-- fragment: in_order
@schema.pgqrs_ready r INDEXED BY pgqrs_ready_order

-- fragment: first_ones
WHERE r.queue_id = $queue AND r.priority >= 0 AND @{deliverable}
ORDER BY r.priority, r.seq LIMIT $max_rows

-- fragment: head
SELECT r.priority, r.seq, r.message_id, r.queue_id, r.attempt FROM @{in_order} @{first_ones}

-- fragment: bytes
length(CAST(m.payload AS BLOB))

-- The same, cut before the payloads exceed max_bytes, after one at least. Row by row, so that no
-- more payloads are looked at than are taken, and one.
-- fragment: head_bounded
WITH RECURSIVE taken (place, priority, seq, message_id, queue_id, attempt, total) AS (
    SELECT 1, h.priority, h.seq, h.message_id, h.queue_id, h.attempt, @{bytes}
    FROM (SELECT f.priority, f.seq, f.message_id, f.queue_id, f.attempt FROM (@{head}) f LIMIT 1) h
    CROSS JOIN @schema.pgqrs_messages m ON m.id = h.message_id
    UNION ALL
    SELECT t.place + 1, r.priority, r.seq, r.message_id, r.queue_id, r.attempt, t.total + @{bytes}
    FROM taken t
    CROSS JOIN @schema.pgqrs_ready r
        ON r.seq = coalesce(
            (SELECT n.seq FROM @schema.pgqrs_ready n INDEXED BY pgqrs_ready_order
             WHERE n.queue_id = t.queue_id AND n.priority = t.priority AND n.seq > t.seq
             ORDER BY n.seq LIMIT 1),
            (SELECT n.seq FROM @schema.pgqrs_ready n INDEXED BY pgqrs_ready_order
             WHERE n.queue_id = t.queue_id AND n.priority > t.priority
             ORDER BY n.priority, n.seq LIMIT 1))
    CROSS JOIN @schema.pgqrs_messages m ON m.id = r.message_id
    WHERE t.place < $max_rows AND t.total + @{bytes} <= $max_bytes)
SELECT priority, seq, message_id, queue_id, attempt FROM taken

-- What has just been leased is still in ready.
-- fragment: picked
SELECT h.priority, h.seq, l.message_id, l.queue_id, l.attempt, l.claimed_at, l.expires_at
FROM (@{head}) h CROSS JOIN @schema.pgqrs_leased l ON l.message_id = h.message_id

-- fragment: lease
INSERT OR FAIL INTO @schema.pgqrs_leased
    (message_id, lease, owner, claimed_at, expires_at, queue_id, attempt)
SELECT h.message_id, $lease, $owner, @now, @now + @{lease_us}, h.queue_id, h.attempt + 1

-- name: message_claim
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?
SELECT r.priority, r.seq, r.message_id AS id, r.queue_id, r.attempt + 1 AS attempt, m.enqueued_at,
       @now AS claimed_at, @now + @{lease_us} AS expires_at, m.producer, m.payload, m.headers
FROM @{in_order} CROSS JOIN @schema.pgqrs_messages m ON m.id = r.message_id
@{first_ones};
@{lease} FROM (@{head}) h;
DELETE FROM @schema.pgqrs_ready WHERE seq IN (SELECT h.seq FROM (@{head}) h);

-- name: message_claim_bounded
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: max_bytes i64, now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?
@{lease} FROM (@{head_bounded}) h;
SELECT p.priority, p.seq, p.message_id AS id, p.queue_id, p.attempt, m.enqueued_at, p.claimed_at,
       p.expires_at, m.producer, m.payload, m.headers
FROM (@{picked}) p CROSS JOIN @schema.pgqrs_messages m ON m.id = p.message_id
ORDER BY p.priority, p.seq;
DELETE FROM @schema.pgqrs_ready WHERE seq IN (SELECT p.seq FROM (@{picked}) p);

-- A run's own row, then one for each recorded step.
-- fragment: give_runs
SELECT p.priority, p.seq, p.message_id AS id, p.queue_id, p.attempt, m.enqueued_at, p.claimed_at,
       p.expires_at, m.producer, m.payload, m.headers, NULL AS step_name, NULL AS step_status,
       NULL AS step_retries, NULL AS step_retry_at, NULL AS step_output, NULL AS step_error
FROM (@{picked}) p CROSS JOIN @schema.pgqrs_messages m ON m.id = p.message_id
UNION ALL
SELECT p.priority, p.seq, p.message_id, p.queue_id, p.attempt, p.claimed_at, p.claimed_at,
       p.expires_at, NULL, NULL, NULL, s.name, s.status, s.retries, s.retry_at, s.output, s.error
FROM (@{picked}) p CROSS JOIN @schema.pgqrs_steps s ON s.run_id = p.message_id
ORDER BY 1, 2, 12

-- name: run_claim
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
@{lease} FROM (@{head}) h;
@{give_runs};
DELETE FROM @schema.pgqrs_ready WHERE seq IN (SELECT p.seq FROM (@{picked}) p);

-- name: run_claim_bounded
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: max_bytes i64, now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
@{lease} FROM (@{head_bounded}) h;
@{give_runs};
DELETE FROM @schema.pgqrs_ready WHERE seq IN (SELECT p.seq FROM (@{picked}) p);

-- Everything held under a lease, for a claim whose answer was lost. It walks the queue's leased
-- rows.
-- name: message_claim_again
-- args: queue i32, lease i64
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
SELECT m.priority, 0 AS seq, l.message_id AS id, l.queue_id, l.attempt, m.enqueued_at, l.claimed_at,
       l.expires_at, m.producer, m.payload, m.headers, NULL AS step_name, NULL AS step_status,
       NULL AS step_retries, NULL AS step_retry_at, NULL AS step_output, NULL AS step_error
FROM @schema.pgqrs_leased l INDEXED BY pgqrs_leased_key
CROSS JOIN @schema.pgqrs_messages m ON m.id = l.message_id
WHERE l.queue_id = $queue AND l.lease = $lease
UNION ALL
SELECT m.priority, 0, l.message_id, l.queue_id, l.attempt, m.enqueued_at, l.claimed_at,
       l.expires_at, NULL, NULL, NULL, s.name, s.status, s.retries, s.retry_at, s.output, s.error
FROM @schema.pgqrs_leased l INDEXED BY pgqrs_leased_key
CROSS JOIN @schema.pgqrs_messages m ON m.id = l.message_id
CROSS JOIN @schema.pgqrs_steps s ON s.run_id = l.message_id
WHERE l.queue_id = $queue AND l.lease = $lease
ORDER BY 1, 3, 12;

-- fragment: take_come_back
DELETE FROM @schema.pgqrs_ready INDEXED BY pgqrs_ready_again
WHERE message_id = $message AND seq <> message_id
  AND EXISTS (SELECT 1 FROM @schema.pgqrs_leased l WHERE l.message_id = $message)

-- One message by its id, also before its time, also of a paused queue. No row: look where it is.
-- name: message_claim_id
-- args: message i64, lease i64, owner i64?, lease_us i64?, now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
INSERT OR FAIL INTO @schema.pgqrs_leased
    (message_id, lease, owner, claimed_at, expires_at, queue_id, attempt)
SELECT $message, $lease, $owner, @now, @now + coalesce($lease_us, q.lease_us), w.queue_id,
       w.attempt + 1
FROM (@{waiting}) w CROSS JOIN @schema.pgqrs_queues q ON q.id = w.queue_id
WHERE q.deleted_at IS NULL;
SELECT m.priority, w.seq, l.message_id AS id, l.queue_id, l.attempt, m.enqueued_at, l.claimed_at,
       l.expires_at, m.producer, m.payload, m.headers, NULL AS step_name, NULL AS step_status,
       NULL AS step_retries, NULL AS step_retry_at, NULL AS step_output, NULL AS step_error
FROM (@{waiting}) w CROSS JOIN @schema.pgqrs_leased l ON l.message_id = $message
CROSS JOIN @schema.pgqrs_messages m ON m.id = l.message_id
UNION ALL
SELECT m.priority, w.seq, l.message_id, l.queue_id, l.attempt, m.enqueued_at, l.claimed_at,
       l.expires_at, NULL, NULL, NULL, s.name, s.status, s.retries, s.retry_at, s.output, s.error
FROM (@{waiting}) w CROSS JOIN @schema.pgqrs_leased l ON l.message_id = $message
CROSS JOIN @schema.pgqrs_messages m ON m.id = l.message_id
CROSS JOIN @schema.pgqrs_steps s ON s.run_id = l.message_id
ORDER BY 1, 2, 12;
DELETE FROM @schema.pgqrs_ready
WHERE seq = $message AND message_id = seq
  AND EXISTS (SELECT 1 FROM @schema.pgqrs_leased l WHERE l.message_id = $message);
@{take_come_back};
DELETE FROM @schema.pgqrs_scheduled
WHERE message_id = $message
  AND EXISTS (SELECT 1 FROM @schema.pgqrs_leased l WHERE l.message_id = $message);

-- Leases that have passed, those first that passed first, numbered.
-- fragment: passed
SELECT l.message_id, l.queue_id, l.owner, l.claimed_at, l.attempt,
       CASE WHEN l.cancelled THEN 3
            WHEN l.attempt >= (SELECT max_attempts FROM @schema.pgqrs_queues WHERE id = $queue)
            THEN 4 ELSE 0 END AS fate,
       row_number() OVER (ORDER BY l.expires_at, l.message_id) AS place
FROM (SELECT message_id, queue_id, owner, claimed_at, expires_at, attempt, cancelled
      FROM @schema.pgqrs_leased INDEXED BY pgqrs_leased_key
      WHERE queue_id = $queue AND expires_at <= @now
      ORDER BY expires_at, message_id LIMIT min($max_rows, 1000)) l

-- Back to ready, or ended when a cancel was asked or the attempts are used up. The archive row
-- carries no lease: its last holder did not end it.
-- name: message_reap
-- args: queue i32, max_rows i64, now time?
-- cols: moved i64
-- ids: 1000
SELECT count(*) AS moved FROM (@{passed}) p;
INSERT OR FAIL INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
SELECT $id - 1 + p.place, p.message_id, p.queue_id, m.priority, p.attempt
FROM (@{passed}) p CROSS JOIN @schema.pgqrs_messages m ON m.id = p.message_id
WHERE p.fate = 0;
INSERT OR FAIL INTO @schema.pgqrs_archive
    (queue_id, message_id, owner, claimed_at, finished_at, attempt, state, error)
SELECT p.queue_id, p.message_id, p.owner, p.claimed_at, @now, p.attempt, p.fate,
       CASE WHEN p.fate = 4
            THEN '{"code":"LEASE_EXPIRED","message":"the lease passed on the last attempt"}' END
FROM (@{passed}) p WHERE p.fate <> 0;
DELETE FROM @schema.pgqrs_leased WHERE message_id IN (SELECT p.message_id FROM (@{passed}) p);

-- fragment: due
SELECT d.message_id, d.queue_id, d.attempt,
       row_number() OVER (ORDER BY d.visible_at, d.message_id) AS place
FROM (SELECT message_id, queue_id, attempt, visible_at
      FROM @schema.pgqrs_scheduled INDEXED BY pgqrs_scheduled_due
      WHERE queue_id = $queue AND visible_at <= @now
      ORDER BY visible_at, message_id LIMIT min($max_rows, 1000)) d

-- name: message_promote
-- args: queue i32, max_rows i64, now time?
-- cols: moved i64
-- ids: 1000
SELECT count(*) AS moved FROM (@{due}) d;
INSERT OR FAIL INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
SELECT $id - 1 + d.place, d.message_id, d.queue_id, m.priority, d.attempt
FROM (@{due}) d CROSS JOIN @schema.pgqrs_messages m ON m.id = d.message_id;
DELETE FROM @schema.pgqrs_scheduled WHERE message_id IN (SELECT d.message_id FROM (@{due}) d);

-- ---- what is held -------------------------------------------------------------------------------

-- name: lease_hold :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
SELECT $n AS n, l.cancelled FROM @{held};

-- Whoever asks has the file to write: nobody else takes it out before the transaction ends.
-- name: lease_share :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
SELECT $n AS n, l.cancelled FROM @{held};

-- name: lease_await :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
SELECT $n AS n, l.cancelled FROM @{held};

-- The strict form: fails the transaction unless all are held. A path that is none is an error, and
-- its text names the lost one.
-- name: lease_hold_all :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
SELECT $n AS n,
       coalesce((SELECT l.cancelled FROM @{held}),
                json_extract('{}', 'pgqrs: lost ' || $message)) AS cancelled;

-- Last in an atomic batch that enqueues: a queue that was deleted took nothing, and that undoes the others too.
-- name: queue_live_all :many
-- args: queue i32[]
-- cols: n i64
SELECT coalesce((SELECT $n FROM @schema.pgqrs_queues q WHERE q.id = $queue AND q.deleted_at IS NULL),
                json_extract('{}', 'pgqrs: gone ' || $queue)) AS n;

-- name: lease_extend :many
-- args: queue i32[], message i64[], lease i64[], lease_us i64[]?, now time?
-- cols: n i64, cancelled bool, again bool
SELECT $n AS n, l.cancelled, 0 AS again FROM @{held};
UPDATE @schema.pgqrs_leased
SET expires_at = @now + @{lease_us}
WHERE message_id = $message AND queue_id = $queue AND lease = $lease;

-- fragment: let_go
DELETE FROM @schema.pgqrs_leased
WHERE message_id = $message AND queue_id = $queue AND lease = $lease

-- Archives. A cancel that was acknowledged wins.
-- name: message_finish :many
-- args: queue i32[], message i64[], lease i64[], state i16[], output json[]?, error json[]?,
-- args: now time?
-- cols: n i64, cancelled bool, again bool
SELECT $n AS n, l.cancelled, 0 AS again FROM @{held};
INSERT OR FAIL INTO @schema.pgqrs_archive
    (message_id, lease, owner, claimed_at, finished_at, queue_id, attempt, state, output, error)
SELECT l.message_id, l.lease, l.owner, l.claimed_at, @now, l.queue_id, l.attempt,
       CASE WHEN l.cancelled THEN 3 ELSE $state END,
       CASE WHEN NOT l.cancelled THEN $output END, CASE WHEN NOT l.cancelled THEN $error END
FROM @{held};
@{let_go};

-- name: message_delete :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, again bool
SELECT $n AS n, 0 AS again FROM @{held};
DELETE FROM @schema.pgqrs_steps WHERE run_id = $message AND EXISTS (SELECT 1 FROM @{held});
DELETE FROM @schema.pgqrs_messages WHERE id = $message AND EXISTS (SELECT 1 FROM @{held});
@{let_go};

-- The delay that the queue's backoff gives after this attempt: by multiplication, since not every
-- SQLite has pow().
-- fragment: backoff
(WITH RECURSIVE waits (attempt, us) AS (
     SELECT 1, CAST(q.backoff_us AS REAL)
     UNION ALL
     SELECT attempt + 1, us * q.backoff_factor FROM waits
     WHERE attempt < l.attempt AND us < q.backoff_max_us)
 SELECT CAST(min(us, q.backoff_max_us) AS INTEGER) FROM waits ORDER BY attempt DESC LIMIT 1)

-- What becomes of a message that is given up unfinished. An attempt that does not count gives its
-- number back. With a LIMIT the inner query is run once; without, its expressions are where they
-- are used.
-- fragment: given_up
SELECT g.queue_id, g.lease, g.owner, g.claimed_at, g.attempt - NOT $counted AS attempt,
       g.visible_at,
       CASE WHEN g.cancelled THEN 3 WHEN $counted AND g.attempt >= g.max_attempts THEN 4
            WHEN g.visible_at > @now THEN 1 ELSE 0 END AS fate
FROM (SELECT l.queue_id, l.lease, l.owner, l.claimed_at, l.attempt, l.cancelled, q.max_attempts,
             CASE WHEN $backoff THEN @now + @{backoff}
                  ELSE coalesce($visible_at, @now + $delay_us) END AS visible_at
      FROM @schema.pgqrs_leased l CROSS JOIN @schema.pgqrs_queues q ON q.id = l.queue_id
      WHERE l.message_id = $message AND l.queue_id = $queue AND l.lease = $lease LIMIT 1) g

-- fate: 0 ready, 1 scheduled, 3 cancelled, 4 dead.
-- name: message_release :many
-- args: queue i32[], message i64[], lease i64[], counted bool[], backoff bool[], delay_us i64[]?,
-- args: visible_at time[]?, reason i16[], note text[]?, error json[]?, channel text?, now time?
-- cols: n i64, fate i16, again bool, woken i64
-- ids: 1
SELECT $n AS n, g.fate, 0 AS again, 0 AS woken FROM (@{given_up}) g;
INSERT OR FAIL INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
SELECT $id, $message, g.queue_id, m.priority, g.attempt
FROM (@{given_up}) g CROSS JOIN @schema.pgqrs_messages m ON m.id = $message
WHERE g.fate = 0;
INSERT OR FAIL INTO @schema.pgqrs_scheduled
    (message_id, queue_id, visible_at, owner, attempt, reason, note)
SELECT $message, g.queue_id, g.visible_at, g.owner, g.attempt, $reason, $note
FROM (@{given_up}) g WHERE g.fate = 1;
INSERT OR FAIL INTO @schema.pgqrs_archive
    (message_id, lease, owner, claimed_at, finished_at, queue_id, attempt, state, error)
SELECT $message, g.lease, g.owner, g.claimed_at, @now, g.queue_id, g.attempt, g.fate,
       CASE WHEN g.fate = 4 THEN $error END
FROM (@{given_up}) g WHERE g.fate >= 3;
@{let_go};

-- ---- by id --------------------------------------------------------------------------------------

-- state 3: archived as cancelled; 2: held, and now marked. No row: it has ended, or never was.
-- name: message_cancel
-- args: message i64, now time?
-- cols: state i16
SELECT 3 AS state FROM (@{waiting}) w
UNION ALL
SELECT 2 FROM @schema.pgqrs_leased WHERE message_id = $message;
INSERT OR FAIL INTO @schema.pgqrs_archive (message_id, queue_id, finished_at, attempt, state)
SELECT $message, w.queue_id, @now, w.attempt, 3 FROM (@{waiting}) w;
DELETE FROM @schema.pgqrs_ready WHERE seq = $message AND message_id = seq;
DELETE FROM @schema.pgqrs_ready INDEXED BY pgqrs_ready_again
WHERE message_id = $message AND seq <> message_id;
DELETE FROM @schema.pgqrs_scheduled WHERE message_id = $message;
UPDATE @schema.pgqrs_leased SET cancelled = 1 WHERE message_id = $message;

-- fragment: replayable
@schema.pgqrs_archive e CROSS JOIN @schema.pgqrs_queues q ON q.id = e.queue_id
WHERE e.message_id = $message AND e.state IN (2, 4) AND q.deleted_at IS NULL

-- Dead letters and failed runs start anew: attempt 0, successful steps kept.
-- name: message_replay :many
-- args: message i64[], channel text?, now time?
-- cols: n i64, queue_id i32, woken i64
-- ids: 1
SELECT $n AS n, e.queue_id, 0 AS woken FROM @{replayable};
DELETE FROM @schema.pgqrs_steps
WHERE run_id = $message AND status <> 1 AND EXISTS (SELECT 1 FROM @{replayable});
INSERT OR FAIL INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
SELECT $id, m.id, m.queue_id, m.priority, 0
FROM @schema.pgqrs_messages m WHERE m.id = $message AND EXISTS (SELECT 1 FROM @{replayable});
DELETE FROM @schema.pgqrs_archive
WHERE message_id = $message AND EXISTS (SELECT 1 FROM @{replayable});

-- name: archive_find :many
-- args: queue i32[], message i64[]
-- cols: n i64, lease i64?, state i16
SELECT $n AS n, lease, state FROM @schema.pgqrs_archive
WHERE message_id = $message AND queue_id = $queue;

-- ---- looking at ---------------------------------------------------------------------------------

-- A message, m its body, and where it is.
-- fragment: record_ready
m.id, m.queue_id, 1 AS state, m.priority, r.attempt, 0 AS cancelled, m.producer, NULL AS owner,
m.enqueued_at, NULL AS claimed_at, NULL AS visible_at, NULL AS expires_at, NULL AS finished_at,
m.payload, m.headers, NULL AS reason, NULL AS note, NULL AS output, NULL AS error

-- fragment: record_scheduled
m.id, m.queue_id, 2 AS state, m.priority, d.attempt, 0 AS cancelled, m.producer, d.owner,
m.enqueued_at, NULL AS claimed_at, d.visible_at, NULL AS expires_at, NULL AS finished_at, m.payload,
m.headers, d.reason, d.note, NULL AS output, NULL AS error

-- fragment: record_leased
m.id, m.queue_id, 3 AS state, m.priority, l.attempt, l.cancelled, m.producer, l.owner,
m.enqueued_at, l.claimed_at, NULL AS visible_at, l.expires_at, NULL AS finished_at, m.payload,
m.headers, NULL AS reason, NULL AS note, NULL AS output, NULL AS error

-- fragment: record_archived
m.id, m.queue_id, 4 + e.state AS state, m.priority, e.attempt, e.state = 3 AS cancelled, m.producer,
e.owner, m.enqueued_at, e.claimed_at, NULL AS visible_at, NULL AS expires_at, e.finished_at,
m.payload, m.headers, NULL AS reason, NULL AS note, e.output, e.error

-- name: message_find
-- args: message i64
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record_ready}
FROM @schema.pgqrs_messages m CROSS JOIN @schema.pgqrs_ready r
    ON r.seq = m.id AND r.message_id = r.seq
WHERE m.id = $message
UNION ALL
SELECT @{record_ready}
FROM @schema.pgqrs_messages m CROSS JOIN @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
    ON r.message_id = m.id AND r.seq <> r.message_id
WHERE m.id = $message
UNION ALL
SELECT @{record_scheduled}
FROM @schema.pgqrs_messages m CROSS JOIN @schema.pgqrs_scheduled d ON d.message_id = m.id
WHERE m.id = $message
UNION ALL
SELECT @{record_leased}
FROM @schema.pgqrs_messages m CROSS JOIN @schema.pgqrs_leased l ON l.message_id = m.id
WHERE m.id = $message
UNION ALL
SELECT @{record_archived}
FROM @schema.pgqrs_messages m CROSS JOIN @schema.pgqrs_archive e ON e.message_id = m.id
WHERE m.id = $message;

-- First deliveries lie in id order, come-backs in their own index.
-- name: message_list_ready
-- args: queue i32, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record_ready}
FROM (SELECT message_id, attempt
      FROM (SELECT message_id, attempt FROM @schema.pgqrs_ready
            WHERE seq > $after_id AND message_id = seq AND +queue_id = $queue
            ORDER BY seq LIMIT $max_rows)
      UNION ALL
      SELECT message_id, attempt
      FROM (SELECT message_id, attempt FROM @schema.pgqrs_ready INDEXED BY pgqrs_ready_again
            WHERE message_id > $after_id AND seq <> message_id AND +queue_id = $queue
            ORDER BY message_id LIMIT $max_rows)
      ORDER BY 1 LIMIT $max_rows) r
CROSS JOIN @schema.pgqrs_messages m ON m.id = r.message_id
ORDER BY m.id;

-- name: message_list_scheduled
-- args: queue i32, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record_scheduled}
FROM @schema.pgqrs_scheduled d INDEXED BY pgqrs_scheduled_key
CROSS JOIN @schema.pgqrs_messages m ON m.id = d.message_id
WHERE d.queue_id = $queue AND d.message_id > $after_id ORDER BY d.message_id LIMIT $max_rows;

-- name: message_list_leased
-- args: queue i32, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record_leased}
FROM @schema.pgqrs_leased l CROSS JOIN @schema.pgqrs_messages m ON m.id = l.message_id
WHERE +l.queue_id = $queue AND l.message_id > $after_id ORDER BY l.message_id LIMIT $max_rows;

-- name: message_list_archived
-- args: queue i32, state i16?, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record_archived}
FROM @schema.pgqrs_archive e INDEXED BY pgqrs_archive_key
CROSS JOIN @schema.pgqrs_messages m ON m.id = e.message_id
WHERE e.queue_id = $queue AND e.message_id > $after_id AND ($state IS NULL OR e.state = $state)
ORDER BY e.message_id LIMIT $max_rows;

-- ---- removing what has ended --------------------------------------------------------------------

-- fragment: some_dead
SELECT message_id FROM @schema.pgqrs_archive INDEXED BY pgqrs_archive_key
WHERE queue_id = $queue AND state = 4 ORDER BY message_id LIMIT $max_rows

-- name: dead_purge
-- args: queue i32, max_rows i64
-- cols: removed i64
SELECT count(*) AS removed FROM (@{some_dead}) g;
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{some_dead});
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{some_dead});
DELETE FROM @schema.pgqrs_archive WHERE message_id IN (@{some_dead});

-- fragment: page
SELECT message_id, finished_at FROM @schema.pgqrs_archive INDEXED BY pgqrs_archive_key
WHERE queue_id = $queue AND message_id > $after_id ORDER BY message_id LIMIT $max_rows

-- fragment: kept_since
(SELECT @now - q.retention_us FROM @schema.pgqrs_queues q WHERE q.id = $queue)

-- fragment: outlived
SELECT p.message_id FROM (@{page}) p WHERE p.finished_at < @{kept_since}

-- One page of an archive, in id order.
-- name: retention_sweep
-- args: queue i32, after_id i64, max_rows i64, now time?
-- cols: scanned i64, removed i64, last_id i64
SELECT count(*) AS scanned, count(*) FILTER (WHERE p.finished_at < @{kept_since}) AS removed,
       coalesce(max(p.message_id), $after_id) AS last_id
FROM (@{page}) p;
DELETE FROM @schema.pgqrs_steps WHERE run_id IN (@{outlived});
DELETE FROM @schema.pgqrs_messages WHERE id IN (@{outlived});
DELETE FROM @schema.pgqrs_archive WHERE message_id IN (@{outlived});

-- fragment: old_keys
SELECT message_id FROM @schema.pgqrs_keys WHERE until <= @now LIMIT $max_rows

-- name: key_sweep
-- args: max_rows i64, now time?
-- cols: removed i64
SELECT count(*) AS removed FROM (@{old_keys}) k;
DELETE FROM @schema.pgqrs_keys WHERE message_id IN (@{old_keys});
