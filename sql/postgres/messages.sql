-- Messages. One that lives has a row in exactly one of ready, scheduled, leased and archive, and
-- every move is one statement. n is the ordinal of the question: a missing n is the answer "no".
--
-- What is written in a special way is so for a reason: library connections run with generic plans,
-- often made when the tables were empty, and must still look rows up by key when they hold
-- millions. LATERAL … OFFSET 0 pins a lookup by key, ctid = ANY (ARRAY(…)) a fetch of known rows, a
-- scalar subquery a lookup of one. A join or an ANY over two columns in their place walks the whole
-- index.

-- ---- fragments ----------------------------------------------------------------------------------

-- The row of leased that is held under the lease asked for, in its newest version; the statement
-- adds the lock's strength. Locks are taken in the order asked: callers sort by (queue, message).
-- fragment: leased_row
SELECT ctid AS tid, owner, claimed_at, attempt, cancelled FROM @schema.pgqrs_leased
WHERE queue_id = a.queue_id AND message_id = a.message_id AND lease = a.lease OFFSET 0

-- A row that a heartbeat or cancel changed after our snapshot was taken is held, but not found by
-- ctid: it stays where it is, and is answered `again`.
-- fragment: delete_held
DELETE FROM @schema.pgqrs_leased WHERE ctid = ANY (ARRAY(SELECT tid FROM held))
RETURNING message_id AS id

-- fragment: delete_bodies
DELETE FROM @schema.pgqrs_messages WHERE id = ANY (ARRAY(SELECT id FROM gone))

-- fragment: delete_trails
DELETE FROM @schema.pgqrs_steps WHERE run_id = ANY (ARRAY(SELECT id FROM gone))

-- fragment: expires
@now + coalesce($lease_us, (SELECT lease_us FROM @schema.pgqrs_queues WHERE id = $queue))
       * interval '1 us'

-- The rows of back (place, message_id, queue_id, attempt) become deliverable, at the end of their
-- priority.
-- fragment: back_to_ready
INSERT INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
SELECT nextval('@schema.pgqrs_ids'), r.message_id, r.queue_id, r.priority, r.attempt
FROM (SELECT b.message_id, b.queue_id, m.priority, b.attempt
      FROM back b
      CROSS JOIN LATERAL (
          SELECT priority FROM @schema.pgqrs_messages WHERE id = b.message_id OFFSET 0) m
      ORDER BY b.place) r

-- Wake whoever waits on the queues of woke, once each. NOTIFY takes a lock that serializes the
-- commits of the whole server: never without somebody waiting.
-- fragment: woken
(SELECT count(pg_notify($channel, k.queue_id::text))
 FROM woke k
 CROSS JOIN LATERAL (
     SELECT FROM @schema.pgqrs_waiters WHERE queue_id = k.queue_id AND until > @now OFFSET 0) w
 WHERE $channel IS NOT NULL)

-- ---- putting in ---------------------------------------------------------------------------------

-- fragment: put
bodies AS (
    INSERT INTO @schema.pgqrs_messages
        (id, queue_id, priority, enqueued_at, producer, payload, headers)
    SELECT id, queue_id, priority, at, producer, payload, headers FROM new),
live AS (
    INSERT INTO @schema.pgqrs_ready (seq, message_id, queue_id, priority, attempt)
    SELECT id, id, queue_id, priority, 0 FROM new WHERE visible_at IS NULL),
late AS (
    INSERT INTO @schema.pgqrs_scheduled (message_id, queue_id, visible_at, attempt, reason)
    SELECT id, queue_id, visible_at, 0, 0 FROM new WHERE visible_at IS NOT NULL),
woke AS (SELECT DISTINCT queue_id FROM new WHERE visible_at IS NULL)
SELECT n, id, @{woken} AS woken FROM new

-- When a message that is put in becomes visible: NULL is at once.
-- fragment: later
nullif(greatest(a.visible_at, @now + a.delay_us * interval '1 us', @now), @now)

-- The queue is not locked: see queue_delete. No n: there is no such queue.
-- name: message_enqueue :many
-- args: queue i32[], priority i16[], producer i64[]?, payload json[], headers json[]?,
-- args: delay_us i64[]?, visible_at time[]?, channel text?, now time?
-- cols: n i64, id i64, woken i64
WITH new AS MATERIALIZED (
    SELECT nextval('@schema.pgqrs_ids') AS id, a.n, a.queue_id, a.priority, a.producer, a.payload,
           a.headers, @now AS at, @{later} AS visible_at
    FROM (SELECT a.n, a.queue_id, a.priority, a.producer, a.payload, a.headers, a.delay_us,
                 a.visible_at
          FROM unnest($queue, $priority, $producer, $payload, $headers, $delay_us, $visible_at)
               WITH ORDINALITY
               AS a(queue_id, priority, producer, payload, headers, delay_us, visible_at, n)
          WHERE EXISTS (SELECT FROM @schema.pgqrs_queues q
                        WHERE q.id = a.queue_id AND q.deleted_at IS NULL OFFSET 0)
          ORDER BY a.n) a),
@{put};

-- No n: the key stands for a message already (key_find in a second statement), or there is no such
-- queue. Two of one key must not be asked in one statement.
-- name: message_enqueue_keyed :many
-- args: queue i32[], key text[], ttl_us i64[], priority i16[], producer i64[]?, payload json[],
-- args: headers json[]?, delay_us i64[]?, visible_at time[]?, channel text?, now time?
-- cols: n i64, id i64, woken i64
WITH asked AS MATERIALIZED (
    SELECT nextval('@schema.pgqrs_ids') AS id, a.n, a.queue_id, a.key, a.priority, a.producer,
           a.payload, a.headers, @now AS at, @{later} AS visible_at,
           @now + a.ttl_us * interval '1 us' AS until
    FROM (SELECT a.n, a.queue_id, a.key, a.ttl_us, a.priority, a.producer, a.payload, a.headers,
                 a.delay_us, a.visible_at
          FROM unnest($queue, $key, $ttl_us, $priority, $producer, $payload, $headers, $delay_us,
                      $visible_at) WITH ORDINALITY
               AS a(queue_id, key, ttl_us, priority, producer, payload, headers, delay_us,
                    visible_at, n)
          WHERE EXISTS (SELECT FROM @schema.pgqrs_queues q
                        WHERE q.id = a.queue_id AND q.deleted_at IS NULL OFFSET 0)
          ORDER BY a.n) a),
won AS (
    INSERT INTO @schema.pgqrs_keys AS k (queue_id, key, message_id, until)
    SELECT queue_id, key, id, until FROM asked ORDER BY 1, 2
    ON CONFLICT (queue_id, key) DO UPDATE
    SET message_id = excluded.message_id, until = excluded.until
    WHERE k.until <= @now
    RETURNING k.message_id),
new AS MATERIALIZED (
    SELECT a.id, a.n, a.queue_id, a.priority, a.producer, a.payload, a.headers, a.at, a.visible_at
    FROM asked a JOIN won w ON w.message_id = a.id),
@{put};

-- name: key_find :many
-- args: queue i32[], key text[]
-- cols: n i64, id i64
SELECT a.n, k.message_id AS id
FROM unnest($queue, $key) WITH ORDINALITY AS a(queue_id, key, n)
CROSS JOIN LATERAL (
    SELECT message_id FROM @schema.pgqrs_keys
    WHERE queue_id = a.queue_id AND key = a.key OFFSET 0) k;

-- ---- taking out ---------------------------------------------------------------------------------

-- Ready rows in delivery order. LATERAL admits one plan: the levels as written, in each the index
-- from its hint on; whoever puts a LIMIT on it cuts in that order and stops early.
-- fragment: in_order
FROM (VALUES (0, $hint0), (1, $hint1), (2, $hint2), (3, $hint3), (4, $hint4), (5, $hint5),
             (6, $hint6), (7, $hint7), (8, $hint8), (9, $hint9)) AS p(priority, hint)
CROSS JOIN LATERAL (
    SELECT ctid AS tid, seq, message_id FROM @schema.pgqrs_ready
    WHERE queue_id = $queue AND priority = p.priority AND seq >= p.hint
    ORDER BY seq LIMIT $max_rows FOR UPDATE SKIP LOCKED) r

-- fragment: deliverable
(SELECT paused_at IS NULL AND deleted_at IS NULL FROM @schema.pgqrs_queues WHERE id = $queue)

-- fragment: pick
picked AS (
    DELETE FROM @schema.pgqrs_ready WHERE ctid = ANY (ARRAY(
        SELECT r.tid @{in_order} WHERE @{deliverable} LIMIT $max_rows))
    RETURNING priority, seq, message_id, queue_id, attempt)

-- As many as fit max_bytes, but one at least. Sizes as stored come first: they are never more than
-- the payload's, and cost no decompression of what will not fit anyway.
-- fragment: pick_bounded
near AS MATERIALIZED (
    SELECT p.priority, r.seq, r.tid, r.message_id, m.stored
    @{in_order}
    CROSS JOIN LATERAL (
        SELECT pg_column_size(payload) - 4 AS stored FROM @schema.pgqrs_messages
        WHERE id = r.message_id OFFSET 0) m
    WHERE @{deliverable} LIMIT $max_rows),
sized AS MATERIALIZED (
    SELECT c.priority, c.seq, c.tid, c.place, m.bytes
    FROM (SELECT priority, seq, tid, message_id, row_number() OVER w AS place,
                 sum(stored) OVER w AS total
          FROM near
          WINDOW w AS (ORDER BY priority, seq ROWS UNBOUNDED PRECEDING)) c
    CROSS JOIN LATERAL (
        SELECT octet_length(payload::text) AS bytes FROM @schema.pgqrs_messages
        WHERE id = c.message_id OFFSET 0) m
    WHERE c.place = 1 OR c.total <= $max_bytes),
picked AS (
    DELETE FROM @schema.pgqrs_ready WHERE ctid = ANY (ARRAY(
        SELECT f.tid
        FROM (SELECT tid, place,
                     sum(bytes) OVER (ORDER BY priority, seq ROWS UNBOUNDED PRECEDING) AS total
              FROM sized) f
        WHERE f.place = 1 OR f.total <= $max_bytes))
    RETURNING priority, seq, message_id, queue_id, attempt)

-- fragment: hold_picked
hold AS (
    INSERT INTO @schema.pgqrs_leased
        (queue_id, message_id, lease, owner, claimed_at, expires_at, attempt)
    SELECT queue_id, message_id, $lease, $owner, @now, @{expires}, attempt + 1 FROM picked)

-- fragment: give_bodies
SELECT p.priority, p.seq, p.message_id AS id, p.queue_id, (p.attempt + 1)::int4 AS attempt,
       m.enqueued_at, @now AS claimed_at, @{expires} AS expires_at, m.producer, m.payload, m.headers

-- fragment: of_bodies
FROM picked p
CROSS JOIN LATERAL (
    SELECT enqueued_at, producer, payload, headers FROM @schema.pgqrs_messages
    WHERE id = p.message_id OFFSET 0) m

-- A run's own row, then one for each recorded step.
-- fragment: give_runs
@{give_bodies}, NULL::text AS step_name, NULL::int2 AS step_status, NULL::int4 AS step_retries,
       NULL::timestamptz AS step_retry_at, NULL::json AS step_output, NULL::json AS step_error
@{of_bodies}
UNION ALL
SELECT p.priority, p.seq, p.message_id, p.queue_id, (p.attempt + 1)::int4, @now, @now, @{expires},
       NULL, NULL, NULL, s.name, s.status, s.retries::int4, s.retry_at, s.output, s.error
FROM picked p
CROSS JOIN LATERAL (
    SELECT name, status, retries, retry_at, output, error FROM @schema.pgqrs_steps
    WHERE run_id = p.message_id OFFSET 0) s

-- name: message_claim
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?
WITH @{pick}, @{hold_picked}
@{give_bodies}
@{of_bodies}
ORDER BY priority, seq;

-- name: message_claim_bounded
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: max_bytes i64, now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?
WITH @{pick_bounded}, @{hold_picked}
@{give_bodies}
@{of_bodies}
ORDER BY priority, seq;

-- name: run_claim
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
WITH @{pick}, @{hold_picked}
@{give_runs}
ORDER BY priority, seq, step_name NULLS FIRST;

-- name: run_claim_bounded
-- args: queue i32, max_rows i32, lease i64, owner i64?, lease_us i64?, hint0 i64, hint1 i64,
-- args: hint2 i64, hint3 i64, hint4 i64, hint5 i64, hint6 i64, hint7 i64, hint8 i64, hint9 i64,
-- args: max_bytes i64, now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
WITH @{pick_bounded}, @{hold_picked}
@{give_runs}
ORDER BY priority, seq, step_name NULLS FIRST;

-- Everything held under a lease, for a claim whose answer was lost. It walks the queue's leased
-- rows.
-- name: message_claim_again
-- args: queue i32, lease i64
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
WITH held AS MATERIALIZED (
    SELECT l.message_id, l.queue_id, l.attempt, l.claimed_at, l.expires_at, m.priority,
           m.enqueued_at, m.producer, m.payload, m.headers
    FROM @schema.pgqrs_leased l
    CROSS JOIN LATERAL (
        SELECT priority, enqueued_at, producer, payload, headers FROM @schema.pgqrs_messages
        WHERE id = l.message_id OFFSET 0) m
    WHERE l.queue_id = $queue AND l.lease = $lease)
SELECT h.priority, 0::int8 AS seq, h.message_id AS id, h.queue_id, h.attempt::int4 AS attempt,
       h.enqueued_at, h.claimed_at, h.expires_at, h.producer, h.payload, h.headers,
       NULL::text AS step_name,
       NULL::int2 AS step_status, NULL::int4 AS step_retries, NULL::timestamptz AS step_retry_at,
       NULL::json AS step_output, NULL::json AS step_error
FROM held h
UNION ALL
SELECT h.priority, 0, h.message_id, h.queue_id, h.attempt::int4, h.enqueued_at, h.claimed_at,
       h.expires_at, NULL, NULL, NULL, s.name, s.status, s.retries::int4, s.retry_at, s.output,
       s.error
FROM held h
CROSS JOIN LATERAL (
    SELECT name, status, retries, retry_at, output, error FROM @schema.pgqrs_steps
    WHERE run_id = h.message_id OFFSET 0) s
ORDER BY priority, id, step_name NULLS FIRST;

-- Takes one message out of ready or scheduled, wherever it is.
-- fragment: take
a AS (
    DELETE FROM @schema.pgqrs_ready
    WHERE queue_id = (SELECT queue_id FROM m) AND priority = (SELECT priority FROM m)
      AND seq = $message
    RETURNING queue_id, seq, attempt),
b AS (
    DELETE FROM @schema.pgqrs_ready
    WHERE message_id = $message AND seq <> message_id AND (SELECT true FROM m)
    RETURNING queue_id, seq, attempt),
c AS (
    DELETE FROM @schema.pgqrs_scheduled
    WHERE queue_id = (SELECT queue_id FROM m) AND message_id = $message
    RETURNING queue_id, 0::int8 AS seq, attempt)

-- One message by its id, also before its time, also of a paused queue. No row: look where it is.
-- name: message_claim_id
-- args: message i64, lease i64, owner i64?, lease_us i64?, now time?
-- cols: priority i16, seq i64, id i64, queue_id i32, attempt i32, enqueued_at time,
-- cols: claimed_at time, expires_at time, producer i64?, payload json?, headers json?,
-- cols: step_name text?, step_status i16?, step_retries i32?, step_retry_at time?,
-- cols: step_output json?, step_error json?
WITH m AS MATERIALIZED (
    SELECT b.queue_id, b.priority, q.lease_us
    FROM @schema.pgqrs_messages b
    CROSS JOIN LATERAL (
        SELECT lease_us FROM @schema.pgqrs_queues
        WHERE id = b.queue_id AND deleted_at IS NULL OFFSET 0) q
    WHERE b.id = $message),
@{take},
picked AS MATERIALIZED (
    SELECT (SELECT priority FROM m) AS priority, t.seq, $message AS message_id, t.queue_id,
           t.attempt,
           @now + coalesce($lease_us, (SELECT lease_us FROM m)) * interval '1 us' AS expires_at
    FROM (SELECT queue_id, seq, attempt FROM a UNION ALL SELECT queue_id, seq, attempt FROM b
          UNION ALL SELECT queue_id, seq, attempt FROM c) t),
hold AS (
    INSERT INTO @schema.pgqrs_leased
        (queue_id, message_id, lease, owner, claimed_at, expires_at, attempt)
    SELECT queue_id, message_id, $lease, $owner, @now, expires_at, attempt + 1 FROM picked)
SELECT p.priority, p.seq, p.message_id AS id, p.queue_id, (p.attempt + 1)::int4 AS attempt,
       b.enqueued_at, @now AS claimed_at, p.expires_at, b.producer, b.payload, b.headers,
       NULL::text AS step_name,
       NULL::int2 AS step_status, NULL::int4 AS step_retries, NULL::timestamptz AS step_retry_at,
       NULL::json AS step_output, NULL::json AS step_error
FROM picked p
CROSS JOIN LATERAL (
    SELECT enqueued_at, producer, payload, headers FROM @schema.pgqrs_messages
    WHERE id = p.message_id OFFSET 0) b
UNION ALL
SELECT p.priority, p.seq, p.message_id, p.queue_id, (p.attempt + 1)::int4, @now, @now, p.expires_at,
       NULL, NULL, NULL, s.name, s.status, s.retries::int4, s.retry_at, s.output, s.error
FROM picked p
CROSS JOIN LATERAL (
    SELECT name, status, retries, retry_at, output, error FROM @schema.pgqrs_steps
    WHERE run_id = p.message_id OFFSET 0) s
ORDER BY priority, seq, step_name NULLS FIRST;

-- Passed leases: back to ready, or ended when a cancel was asked or the attempts are used up. The
-- archive row carries no lease: its last holder did not end it. Rows locked by somebody are left to
-- him.
-- name: message_reap
-- args: queue i32, max_rows i64, now time?
-- cols: moved i64
WITH gone AS (
    DELETE FROM @schema.pgqrs_leased WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_leased WHERE queue_id = $queue AND expires_at <= @now
        LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING message_id, queue_id, owner, claimed_at, attempt, cancelled),
fated AS MATERIALIZED (
    SELECT message_id, queue_id, owner, claimed_at, attempt,
           CASE WHEN cancelled THEN 3
                WHEN attempt >= (SELECT max_attempts FROM @schema.pgqrs_queues WHERE id = $queue)
                THEN 4 ELSE 0 END AS fate
    FROM gone),
back AS (SELECT message_id AS place, message_id, queue_id, attempt FROM fated WHERE fate = 0),
live AS (@{back_to_ready}),
ended AS (
    INSERT INTO @schema.pgqrs_archive
        (queue_id, message_id, owner, claimed_at, finished_at, attempt, state, error)
    SELECT queue_id, message_id, owner, claimed_at, @now, attempt, fate,
           CASE WHEN fate = 4 THEN
               '{"code":"LEASE_EXPIRED","message":"the lease passed on the last attempt"}'::json END
    FROM fated WHERE fate <> 0)
SELECT count(*) AS moved FROM fated;

-- name: message_promote
-- args: queue i32, max_rows i64, now time?
-- cols: moved i64
WITH back AS (
    DELETE FROM @schema.pgqrs_scheduled WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_scheduled WHERE queue_id = $queue AND visible_at <= @now
        ORDER BY visible_at LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING (visible_at, message_id) AS place, message_id, queue_id, attempt),
live AS (@{back_to_ready})
SELECT count(*) AS moved FROM back;

-- ---- what is held -------------------------------------------------------------------------------

-- First in every group that has more than one kind of statement on leased rows: all it will touch,
-- sorted, so that groups cannot deadlock. After it no row can change, so there is no `again`.
-- name: lease_hold :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
SELECT a.n, l.cancelled
FROM unnest($queue, $message, $lease) WITH ORDINALITY AS a(queue_id, message_id, lease, n)
CROSS JOIN LATERAL (@{leased_row} FOR NO KEY UPDATE) l;

-- The fence of a transaction that stays open: nobody takes the row out before it has ended, and
-- heartbeats and cancels pass.
-- name: lease_share :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
SELECT a.n, l.cancelled
FROM unnest($queue, $message, $lease) WITH ORDINALITY AS a(queue_id, message_id, lease, n)
CROSS JOIN LATERAL (@{leased_row} FOR KEY SHARE) l;

-- Waits until every transaction that has the fence has ended. No n: the lease is lost, so they have.
-- name: lease_await :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
SELECT a.n, l.cancelled
FROM unnest($queue, $message, $lease) WITH ORDINALITY AS a(queue_id, message_id, lease, n)
CROSS JOIN LATERAL (@{leased_row} FOR UPDATE) l;

-- The strict form: fails the transaction (22P02) unless all are held, and its text names the lost
-- ones.
-- name: lease_hold_all :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, cancelled bool
WITH asked AS MATERIALIZED (
    SELECT a.n, a.queue_id, a.message_id, a.lease
    FROM unnest($queue, $message, $lease) WITH ORDINALITY AS a(queue_id, message_id, lease, n)),
held AS MATERIALIZED (
    SELECT a.n, l.cancelled FROM asked a CROSS JOIN LATERAL (@{leased_row} FOR NO KEY UPDATE) l)
SELECT a.n, h.cancelled
FROM asked a LEFT JOIN held h ON h.n = a.n
WHERE CASE WHEN h.n IS NULL
           THEN (SELECT 'pgqrs: lost ' || string_agg(a.message_id::text, ',' ORDER BY a.n)
                 FROM asked a WHERE NOT EXISTS (SELECT FROM held h WHERE h.n = a.n))::bool
           ELSE true END;

-- Last in an atomic batch that enqueues: a queue that was deleted took nothing, and that undoes the
-- others too (22P02).
-- name: queue_live_all :many
-- args: queue i32[]
-- cols: n i64
WITH asked AS MATERIALIZED (
    SELECT a.n, a.queue_id, (SELECT true FROM @schema.pgqrs_queues q
                             WHERE q.id = a.queue_id AND q.deleted_at IS NULL) AS live
    FROM unnest($queue) WITH ORDINALITY AS a(queue_id, n))
SELECT a.n FROM asked a
WHERE CASE WHEN a.live IS NULL
           THEN (SELECT 'pgqrs: gone ' || string_agg(a.queue_id::text, ',' ORDER BY a.n)
                 FROM asked a WHERE a.live IS NULL)::bool
           ELSE true END;

-- name: lease_extend :many
-- args: queue i32[], message i64[], lease i64[], lease_us i64[]?, now time?
-- cols: n i64, cancelled bool, again bool
WITH held AS MATERIALIZED (
    SELECT a.n, a.message_id, l.tid, l.cancelled,
           @now + coalesce(a.lease_us, (SELECT q.lease_us FROM @schema.pgqrs_queues q
                                        WHERE q.id = a.queue_id)) * interval '1 us' AS expires_at
    FROM unnest($queue, $message, $lease, $lease_us) WITH ORDINALITY
         AS a(queue_id, message_id, lease, lease_us, n)
    CROSS JOIN LATERAL (@{leased_row} FOR NO KEY UPDATE) l),
moved AS (
    UPDATE @schema.pgqrs_leased l SET expires_at = h.expires_at
    FROM held h WHERE l.ctid = h.tid
    RETURNING l.message_id AS id)
SELECT h.n, h.cancelled, m.id IS NULL AS again FROM held h LEFT JOIN moved m ON m.id = h.message_id;

-- Archives. A cancel that was acknowledged wins.
-- name: message_finish :many
-- args: queue i32[], message i64[], lease i64[], state i16[], output json[]?, error json[]?,
-- args: now time?
-- cols: n i64, cancelled bool, again bool
WITH held AS MATERIALIZED (
    SELECT a.n, a.queue_id, a.message_id, a.lease, a.state, a.output, a.error, l.tid, l.owner,
           l.claimed_at, l.attempt, l.cancelled
    FROM unnest($queue, $message, $lease, $state, $output, $error) WITH ORDINALITY
         AS a(queue_id, message_id, lease, state, output, error, n)
    CROSS JOIN LATERAL (@{leased_row} FOR UPDATE) l),
gone AS (@{delete_held}),
done AS (
    INSERT INTO @schema.pgqrs_archive
        (queue_id, message_id, lease, owner, claimed_at, finished_at, attempt, state, output, error)
    SELECT h.queue_id, h.message_id, h.lease, h.owner, h.claimed_at, @now, h.attempt,
           CASE WHEN h.cancelled THEN 3 ELSE h.state END,
           CASE WHEN NOT h.cancelled THEN h.output END, CASE WHEN NOT h.cancelled THEN h.error END
    FROM held h JOIN gone g ON g.id = h.message_id)
SELECT h.n, h.cancelled, g.id IS NULL AS again FROM held h LEFT JOIN gone g ON g.id = h.message_id;

-- name: message_delete :many
-- args: queue i32[], message i64[], lease i64[]
-- cols: n i64, again bool
WITH held AS MATERIALIZED (
    SELECT a.n, a.message_id, l.tid
    FROM unnest($queue, $message, $lease) WITH ORDINALITY AS a(queue_id, message_id, lease, n)
    CROSS JOIN LATERAL (@{leased_row} FOR UPDATE) l),
gone AS (@{delete_held}),
bodies AS (@{delete_bodies}),
trails AS (@{delete_trails})
SELECT h.n, g.id IS NULL AS again FROM held h LEFT JOIN gone g ON g.id = h.message_id;

-- Given up unfinished. fate: 0 ready, 1 scheduled, 3 cancelled, 4 dead. An attempt that does not
-- count gives its number back. The exponent is capped where any base has long passed every limit.
-- name: message_release :many
-- args: queue i32[], message i64[], lease i64[], counted bool[], backoff bool[], delay_us i64[]?,
-- args: visible_at time[]?, reason i16[], note text[]?, error json[]?, channel text?, now time?
-- cols: n i64, fate i16, again bool, woken i64
WITH held AS MATERIALIZED (
    SELECT a.n, a.queue_id, a.message_id, a.lease, a.counted, a.backoff, a.delay_us, a.visible_at,
           a.reason, a.note, a.error, l.tid, l.owner, l.claimed_at, l.attempt, l.cancelled
    FROM unnest($queue, $message, $lease, $counted, $backoff, $delay_us, $visible_at, $reason,
                $note, $error) WITH ORDINALITY
         AS a(queue_id, message_id, lease, counted, backoff, delay_us, visible_at, reason, note,
              error, n)
    CROSS JOIN LATERAL (@{leased_row} FOR UPDATE) l),
gone AS (@{delete_held}),
fated AS MATERIALIZED (
    SELECT t.n, t.queue_id, t.message_id, t.lease, t.reason, t.note, t.error, t.owner, t.claimed_at,
           t.attempt - (NOT t.counted)::int AS attempt, t.visible_at,
           CASE WHEN t.cancelled THEN 3 WHEN t.counted AND t.attempt >= t.max_attempts THEN 4
                WHEN t.visible_at > @now THEN 1 ELSE 0 END::int2 AS fate
    FROM (SELECT h.n, h.queue_id, h.message_id, h.lease, h.reason, h.note, h.error, h.owner,
                 h.claimed_at, h.attempt, h.counted, h.cancelled, q.max_attempts,
                 CASE WHEN h.backoff THEN @now + q.backoff_us * interval '1 us'
                      ELSE coalesce(h.visible_at, @now + h.delay_us * interval '1 us')
                 END AS visible_at
          FROM held h JOIN gone g ON g.id = h.message_id
          LEFT JOIN LATERAL (
              SELECT max_attempts,
                     least(backoff_us
                           * power(backoff_factor,
                                   least(h.attempt - 1, 40 / nullif(abs(ln(backoff_factor)), 0))),
                           backoff_max_us) AS backoff_us
              FROM @schema.pgqrs_queues WHERE id = h.queue_id OFFSET 0) q ON true) t),
back AS (SELECT n AS place, message_id, queue_id, attempt FROM fated WHERE fate = 0),
live AS (@{back_to_ready}),
late AS (
    INSERT INTO @schema.pgqrs_scheduled
        (message_id, queue_id, visible_at, owner, attempt, reason, note)
    SELECT message_id, queue_id, visible_at, owner, attempt, reason, note
    FROM fated WHERE fate = 1),
ended AS (
    INSERT INTO @schema.pgqrs_archive
        (queue_id, message_id, lease, owner, claimed_at, finished_at, attempt, state, error)
    SELECT queue_id, message_id, lease, owner, claimed_at, @now, attempt, fate,
           CASE WHEN fate = 4 THEN error END
    FROM fated WHERE fate >= 3),
woke AS (SELECT DISTINCT queue_id FROM fated WHERE fate = 0)
SELECT h.n, coalesce(f.fate, 0::int2) AS fate, f.n IS NULL AS again, @{woken} AS woken
FROM held h LEFT JOIN fated f ON f.n = h.n;

-- ---- by id --------------------------------------------------------------------------------------

-- state 3: archived as cancelled; 2: held, and now marked. No row: it moved in this instant, has
-- ended, or never was: look where it is. In a transaction of its own.
-- name: message_cancel
-- args: message i64, now time?
-- cols: state i16
WITH m AS MATERIALIZED (SELECT queue_id, priority FROM @schema.pgqrs_messages WHERE id = $message),
@{take},
d AS (
    INSERT INTO @schema.pgqrs_archive (queue_id, message_id, finished_at, attempt, state)
    SELECT t.queue_id, $message, @now, t.attempt, 3
    FROM (SELECT queue_id, attempt FROM a UNION ALL SELECT queue_id, attempt FROM b
          UNION ALL SELECT queue_id, attempt FROM c) t
    RETURNING 3::int2 AS state),
l AS (
    UPDATE @schema.pgqrs_leased SET cancelled = true
    WHERE queue_id = (SELECT queue_id FROM m) AND message_id = $message
    RETURNING 2::int2 AS state)
SELECT state FROM d UNION ALL SELECT state FROM l;

-- Dead letters and failed runs start anew: attempt 0, successful steps kept.
-- name: message_replay :many
-- args: message i64[], channel text?, now time?
-- cols: n i64, queue_id i32, woken i64
WITH asked AS MATERIALIZED (
    SELECT a.n, m.id, m.queue_id, r.tid
    FROM unnest($message) WITH ORDINALITY AS a(message_id, n)
    CROSS JOIN LATERAL (
        SELECT b.id, b.queue_id FROM @schema.pgqrs_messages b
        WHERE b.id = a.message_id
          AND EXISTS (SELECT FROM @schema.pgqrs_queues q
                      WHERE q.id = b.queue_id AND q.deleted_at IS NULL OFFSET 0) OFFSET 0) m
    CROSS JOIN LATERAL (
        SELECT ctid AS tid FROM @schema.pgqrs_archive
        WHERE queue_id = m.queue_id AND message_id = m.id AND state IN (2, 4)
        OFFSET 0 FOR UPDATE) r),
gone AS (
    DELETE FROM @schema.pgqrs_archive WHERE ctid = ANY (ARRAY(SELECT tid FROM asked))
    RETURNING message_id AS id),
back AS MATERIALIZED (
    SELECT a.n AS place, a.id AS message_id, a.queue_id, 0 AS attempt
    FROM asked a JOIN gone g ON g.id = a.id),
live AS (@{back_to_ready}),
trails AS (@{delete_trails} AND status <> 1),
woke AS (SELECT DISTINCT queue_id FROM back)
SELECT b.place AS n, b.queue_id, @{woken} AS woken FROM back b;

-- name: archive_find :many
-- args: queue i32[], message i64[]
-- cols: n i64, lease i64?, state i16
SELECT a.n, r.lease, r.state
FROM unnest($queue, $message) WITH ORDINALITY AS a(queue_id, message_id, n)
CROSS JOIN LATERAL (
    SELECT lease, state FROM @schema.pgqrs_archive
    WHERE queue_id = a.queue_id AND message_id = a.message_id OFFSET 0) r;
