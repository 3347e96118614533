-- Runs: messages of workflows, with the status that follows from where they are:
-- 1 queued, 2 running, 3 paused, 4 cancelling, 5 success, 6 error, 7 cancelled.

-- fragment: run
m.id, m.queue_id AS workflow_id, w.status, w.dead, w.attempt, m.enqueued_at AS created_at,
coalesce(w.moved_at, m.enqueued_at) AS updated_at, w.resumes_at, m.payload AS input, w.output,
w.error

-- fragment: run_when_ready
(CASE WHEN r.attempt = 0
           AND (SELECT 1 FROM @schema.pgqrs_steps s WHERE s.run_id = r.message_id LIMIT 1) IS NULL
      THEN 1 ELSE 2 END)::int2 AS status,
false AS dead, r.attempt::int4 AS attempt, NULL::timestamptz AS moved_at,
NULL::timestamptz AS resumes_at, NULL::json AS output, NULL::json AS error

-- fragment: run_when_scheduled
(CASE WHEN d.reason IN (2, 3, 4) THEN 3
      WHEN d.reason = 0 AND d.attempt = 0
           AND (SELECT 1 FROM @schema.pgqrs_steps s WHERE s.run_id = d.message_id LIMIT 1) IS NULL
      THEN 1 ELSE 2 END)::int2 AS status,
false AS dead, d.attempt::int4 AS attempt, NULL::timestamptz AS moved_at,
d.visible_at AS resumes_at, NULL::json AS output,
CASE WHEN d.reason IN (2, 3, 4) AND d.note IS NOT NULL
     THEN ('{"message":' || to_json(d.note)::text || '}')::json END AS error

-- fragment: run_when_leased
(CASE WHEN l.cancelled THEN 4 ELSE 2 END)::int2 AS status, false AS dead,
l.attempt::int4 AS attempt, l.claimed_at AS moved_at, NULL::timestamptz AS resumes_at,
NULL::json AS output, NULL::json AS error

-- fragment: run_when_archived
(CASE e.state WHEN 0 THEN 5 WHEN 1 THEN 5 WHEN 3 THEN 7 ELSE 6 END)::int2 AS status,
e.state = 4 AS dead, e.attempt::int4 AS attempt, e.finished_at AS moved_at,
NULL::timestamptz AS resumes_at, e.output, e.error

-- name: run_find
-- args: run i64
-- cols: id i64, workflow_id i32, status i16, dead bool, attempt i32, created_at time,
-- cols: updated_at time?, resumes_at time?, input json, output json?, error json?
SELECT @{run}
FROM @schema.pgqrs_messages m
CROSS JOIN LATERAL (
    SELECT @{run_when_ready} FROM @schema.pgqrs_ready r
    WHERE r.queue_id = m.queue_id AND r.priority = m.priority AND r.seq = m.id
    UNION ALL
    SELECT @{run_when_ready} FROM @schema.pgqrs_ready r
    WHERE r.message_id = m.id AND r.seq <> r.message_id
    UNION ALL
    SELECT @{run_when_scheduled} FROM @schema.pgqrs_scheduled d
    WHERE d.queue_id = m.queue_id AND d.message_id = m.id
    UNION ALL
    SELECT @{run_when_leased} FROM @schema.pgqrs_leased l
    WHERE l.queue_id = m.queue_id AND l.message_id = m.id
    UNION ALL
    SELECT @{run_when_archived} FROM @schema.pgqrs_archive e
    WHERE e.queue_id = m.queue_id AND e.message_id = m.id
    OFFSET 0) w
WHERE m.id = $run
  AND (SELECT q.workflow AND q.deleted_at IS NULL FROM @schema.pgqrs_queues q
       WHERE q.id = m.queue_id);

-- fragment: found
x.message_id, x.status, x.dead, x.attempt, x.moved_at, x.resumes_at, x.output, x.error

-- fragment: wanted
($status IS NULL OR x.status = $status)

-- Every place is read in id order and no further than a page, then merged: no row of another queue
-- is seen. A place that cannot have the status asked for is not read at all.
-- name: run_list
-- args: workflow i32?, status i16?, after_id i64, max_rows i32
-- cols: id i64, workflow_id i32, status i16, dead bool, attempt i32, created_at time,
-- cols: updated_at time?, resumes_at time?, input json, output json?, error json?
WITH page AS MATERIALIZED (
    SELECT f.message_id, f.status, f.dead, f.attempt, f.moved_at, f.resumes_at, f.output, f.error
    FROM (SELECT id FROM @schema.pgqrs_queues
          WHERE workflow AND deleted_at IS NULL AND ($workflow IS NULL OR id = $workflow)) q
    CROSS JOIN LATERAL (
        SELECT g.message_id, g.status, g.dead, g.attempt, g.moved_at, g.resumes_at, g.output,
               g.error
        FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS p(priority)
        CROSS JOIN LATERAL (
            SELECT @{found}
            FROM (SELECT r.seq, r.message_id, @{run_when_ready} FROM @schema.pgqrs_ready r
                  WHERE r.queue_id = q.id AND r.priority = p.priority AND r.seq > $after_id
                    AND r.seq = r.message_id) x
            WHERE @{wanted} AND coalesce($status IN (1, 2), true)
            ORDER BY x.seq LIMIT $max_rows) g
        UNION ALL
        (SELECT @{found}
         FROM (SELECT r.message_id, @{run_when_ready} FROM @schema.pgqrs_ready r
               WHERE r.queue_id = q.id AND r.message_id > $after_id AND r.seq <> r.message_id) x
         WHERE @{wanted} AND coalesce($status IN (1, 2), true)
         ORDER BY x.message_id LIMIT $max_rows)
        UNION ALL
        (SELECT @{found}
         FROM (SELECT d.message_id, @{run_when_scheduled} FROM @schema.pgqrs_scheduled d
               WHERE d.queue_id = q.id AND d.message_id > $after_id) x
         WHERE @{wanted} AND coalesce($status IN (1, 2, 3), true)
         ORDER BY x.message_id LIMIT $max_rows)
        UNION ALL
        (SELECT @{found}
         FROM (SELECT l.message_id, @{run_when_leased} FROM @schema.pgqrs_leased l
               WHERE l.queue_id = q.id AND l.message_id > $after_id) x
         WHERE @{wanted} AND coalesce($status IN (2, 4), true)
         ORDER BY x.message_id LIMIT $max_rows)
        UNION ALL
        (SELECT @{found}
         FROM (SELECT e.message_id, @{run_when_archived} FROM @schema.pgqrs_archive e
               WHERE e.queue_id = q.id AND e.message_id > $after_id) x
         WHERE @{wanted} AND coalesce($status IN (5, 6, 7), true)
         ORDER BY x.message_id LIMIT $max_rows)
        OFFSET 0) f
    ORDER BY f.message_id LIMIT $max_rows)
SELECT @{run}
FROM page w
@{with_bodies};
