-- Messages as they stand: finding and listing them, and removing what has ended. See messages.sql
-- for why the statements are written as they are.

-- ---- looking at ---------------------------------------------------------------------------------

-- A message, m its body and w where it is.
-- fragment: record
m.id, m.queue_id, w.state, m.priority, w.attempt, w.cancelled, m.producer, w.owner, m.enqueued_at,
w.claimed_at, w.visible_at, w.expires_at, w.finished_at, m.payload, m.headers, w.reason, w.note,
w.output, w.error

-- fragment: as_ready
1::int2 AS state, r.attempt::int4 AS attempt, false AS cancelled, NULL::int8 AS owner,
NULL::timestamptz AS claimed_at, NULL::timestamptz AS visible_at, NULL::timestamptz AS expires_at,
NULL::timestamptz AS finished_at, NULL::int2 AS reason, NULL::text AS note, NULL::json AS output,
NULL::json AS error

-- fragment: as_scheduled
2::int2 AS state, d.attempt::int4 AS attempt, false AS cancelled, d.owner,
NULL::timestamptz AS claimed_at, d.visible_at, NULL::timestamptz AS expires_at,
NULL::timestamptz AS finished_at, d.reason, d.note, NULL::json AS output, NULL::json AS error

-- fragment: as_leased
3::int2 AS state, l.attempt::int4 AS attempt, l.cancelled, l.owner, l.claimed_at,
NULL::timestamptz AS visible_at, l.expires_at, NULL::timestamptz AS finished_at,
NULL::int2 AS reason, NULL::text AS note, NULL::json AS output, NULL::json AS error

-- fragment: as_archived
(4 + e.state)::int2 AS state, e.attempt::int4 AS attempt, e.state = 3 AS cancelled, e.owner,
e.claimed_at, NULL::timestamptz AS visible_at, NULL::timestamptz AS expires_at, e.finished_at,
NULL::int2 AS reason, NULL::text AS note, e.output, e.error

-- name: message_find
-- args: message i64
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record}
FROM @schema.pgqrs_messages m
CROSS JOIN LATERAL (
    SELECT @{as_ready} FROM @schema.pgqrs_ready r
    WHERE r.queue_id = m.queue_id AND r.priority = m.priority AND r.seq = m.id
    UNION ALL
    SELECT @{as_ready} FROM @schema.pgqrs_ready r
    WHERE r.message_id = m.id AND r.seq <> r.message_id
    UNION ALL
    SELECT @{as_scheduled} FROM @schema.pgqrs_scheduled d
    WHERE d.queue_id = m.queue_id AND d.message_id = m.id
    UNION ALL
    SELECT @{as_leased} FROM @schema.pgqrs_leased l
    WHERE l.queue_id = m.queue_id AND l.message_id = m.id
    UNION ALL
    SELECT @{as_archived} FROM @schema.pgqrs_archive e
    WHERE e.queue_id = m.queue_id AND e.message_id = m.id
    OFFSET 0) w
WHERE m.id = $message;

-- A page p of one place in id order, with the bodies.
-- fragment: with_bodies
CROSS JOIN LATERAL (
    SELECT id, queue_id, priority, producer, enqueued_at, payload, headers
    FROM @schema.pgqrs_messages WHERE id = w.message_id OFFSET 0) m
ORDER BY m.id

-- First deliveries lie in id order in each level, come-backs in their own index.
-- name: message_list_ready
-- args: queue i32, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
WITH page AS MATERIALIZED (
    SELECT f.message_id, f.attempt
    FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS p(priority)
    CROSS JOIN LATERAL (
        SELECT message_id, attempt FROM @schema.pgqrs_ready
        WHERE queue_id = $queue AND priority = p.priority AND seq > $after_id AND seq = message_id
        ORDER BY seq LIMIT $max_rows) f
    UNION ALL
    (SELECT message_id, attempt FROM @schema.pgqrs_ready
     WHERE queue_id = $queue AND message_id > $after_id AND seq <> message_id
     ORDER BY message_id LIMIT $max_rows)
    ORDER BY message_id LIMIT $max_rows)
SELECT @{record}
FROM (SELECT r.message_id, @{as_ready} FROM page r) w
@{with_bodies};

-- name: message_list_scheduled
-- args: queue i32, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record}
FROM (SELECT d.message_id, @{as_scheduled} FROM @schema.pgqrs_scheduled d
      WHERE d.queue_id = $queue AND d.message_id > $after_id
      ORDER BY d.message_id LIMIT $max_rows) w
@{with_bodies};

-- name: message_list_leased
-- args: queue i32, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record}
FROM (SELECT l.message_id, @{as_leased} FROM @schema.pgqrs_leased l
      WHERE l.queue_id = $queue AND l.message_id > $after_id
      ORDER BY l.message_id LIMIT $max_rows) w
@{with_bodies};

-- name: message_list_archived
-- args: queue i32, state i16?, after_id i64, max_rows i32
-- cols: id i64, queue_id i32, state i16, priority i16, attempt i32, cancelled bool, producer i64?,
-- cols: owner i64?, enqueued_at time, claimed_at time?, visible_at time?, expires_at time?,
-- cols: finished_at time?, payload json, headers json?, reason i16?, note text?, output json?,
-- cols: error json?
SELECT @{record}
FROM (SELECT e.message_id, @{as_archived} FROM @schema.pgqrs_archive e
      WHERE e.queue_id = $queue AND e.message_id > $after_id
        AND ($state IS NULL OR e.state = $state)
      ORDER BY e.message_id LIMIT $max_rows) w
@{with_bodies};

-- ---- removing what has ended --------------------------------------------------------------------

-- name: dead_purge
-- args: queue i32, max_rows i64
-- cols: removed i64
WITH gone AS (
    DELETE FROM @schema.pgqrs_archive WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_archive WHERE queue_id = $queue AND state = 4
        ORDER BY message_id LIMIT $max_rows FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
bodies AS (@{delete_bodies}),
trails AS (@{delete_trails})
SELECT count(*) AS removed FROM gone;

-- One page of an archive, in id order. A row that is being replayed in this instant is skipped.
-- name: retention_sweep
-- args: queue i32, after_id i64, max_rows i64, now time?
-- cols: scanned i64, removed i64, last_id i64
WITH page AS MATERIALIZED (
    SELECT ctid AS tid, message_id, finished_at FROM @schema.pgqrs_archive
    WHERE queue_id = $queue AND message_id > $after_id ORDER BY message_id LIMIT $max_rows),
gone AS (
    DELETE FROM @schema.pgqrs_archive WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_archive
        WHERE ctid = ANY (ARRAY(
            SELECT tid FROM page
            WHERE finished_at < @now
                                - (SELECT retention_us FROM @schema.pgqrs_queues WHERE id = $queue)
                                  * interval '1 us'))
        FOR UPDATE SKIP LOCKED))
    RETURNING message_id AS id),
bodies AS (@{delete_bodies}),
trails AS (@{delete_trails})
SELECT (SELECT count(*) FROM page) AS scanned, (SELECT count(*) FROM gone) AS removed,
       coalesce((SELECT max(message_id) FROM page), $after_id) AS last_id;

-- name: key_sweep
-- args: max_rows i64, now time?
-- cols: removed i64
WITH gone AS (
    DELETE FROM @schema.pgqrs_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM @schema.pgqrs_keys WHERE until <= @now LIMIT $max_rows
        FOR UPDATE SKIP LOCKED))
    RETURNING 1)
SELECT count(*) AS removed FROM gone;
