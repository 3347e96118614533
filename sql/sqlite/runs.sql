-- Runs: messages of workflows, with the status that follows from where they are: 1 queued, 2
-- running, 3 paused, 4 cancelling, 5 success, 6 error, 7 cancelled.

-- fragment: run
m.id, m.queue_id AS workflow_id, w.status, w.dead, w.attempt, m.enqueued_at AS created_at,
coalesce(w.moved_at, m.enqueued_at) AS updated_at, w.resumes_at, m.payload AS input, w.output,
w.error

-- fragment: run_when_ready
CASE WHEN r.attempt = 0
          AND NOT EXISTS (SELECT 1 FROM @schema.pgqrs_steps s WHERE s.run_id = r.message_id)
     THEN 1 ELSE 2 END AS status,
0 AS dead, r.attempt, NULL AS moved_at, NULL AS resumes_at, NULL AS output, NULL AS error

-- fragment: run_when_scheduled
CASE WHEN d.reason IN (2, 3, 4) THEN 3
     WHEN d.reason = 0 AND d.attempt = 0
          AND NOT EXISTS (SELECT 1 FROM @schema.pgqrs_steps s WHERE s.run_id = d.message_id)
     THEN 1 ELSE 2 END AS status,
0 AS dead, d.attempt, NULL AS moved_at, d.visible_at AS resumes_at, NULL AS output,
CASE WHEN d.reason IN (2, 3, 4) AND d.note IS NOT NULL
     THEN json_object('message', d.note) END AS error

-- fragment: run_when_leased
CASE WHEN l.cancelled THEN 4 ELSE 2 END AS status, 0 AS dead, l.attempt, l.claimed_at AS moved_at,
NULL AS resumes_at, NULL AS output, NULL AS error

-- fragment: run_when_archived
CASE e.state WHEN 0 THEN 5 WHEN 1 THEN 5 WHEN 3 THEN 7 ELSE 6 END AS status, e.state = 4 AS dead,
e.attempt, e.finished_at AS moved_at, NULL AS resumes_at, e.output, e.error

-- fragment: is_run
(SELECT q.workflow AND q.deleted_at IS NULL FROM @schema.pgqrs_queues q WHERE q.id = m.queue_id)

-- name: run_find
-- args: run i64
-- cols: id i64, workflow_id i32, status i16, dead bool, attempt i32, created_at time,
-- cols: updated_at time?, resumes_at time?, input json, output json?, error json?
SELECT @{run}
FROM (SELECT @{run_when_ready} FROM @schema.pgqrs_ready r
      WHERE r.seq = $run AND r.message_id = r.seq
      UNION ALL
      SELECT @{run_when_ready} FROM @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
      WHERE r.message_id = $run AND r.seq <> r.message_id
      UNION ALL
      SELECT @{run_when_scheduled} FROM @schema.pgqrs_scheduled d WHERE d.message_id = $run
      UNION ALL
      SELECT @{run_when_leased} FROM @schema.pgqrs_leased l WHERE l.message_id = $run
      UNION ALL
      SELECT @{run_when_archived} FROM @schema.pgqrs_archive e WHERE e.message_id = $run) w
CROSS JOIN @schema.pgqrs_messages m ON m.id = $run
WHERE @{is_run};

-- fragment: of_workflow
(SELECT q.workflow AND q.deleted_at IS NULL FROM @schema.pgqrs_queues q WHERE q.id = x.queue_id)

-- fragment: one_page
WHERE ($status IS NULL OR x.status = $status) AND @{of_workflow}
ORDER BY x.message_id LIMIT $max_rows

-- fragment: page_cols
x.message_id, x.status, x.dead, x.attempt, x.moved_at, x.resumes_at, x.output, x.error

-- Every place is read in id order and no further than a page, then merged. The archive, which is
-- large, is walked by its own key for one workflow and by its rowid for all of them.
-- name: run_list
-- args: workflow i32?, status i16?, after_id i64, max_rows i32
-- cols: id i64, workflow_id i32, status i16, dead bool, attempt i32, created_at time,
-- cols: updated_at time?, resumes_at time?, input json, output json?, error json?
SELECT @{run}
FROM (SELECT @{page_cols}
      FROM (SELECT @{page_cols}
            FROM (SELECT r.seq AS message_id, r.queue_id, @{run_when_ready}
                  FROM @schema.pgqrs_ready r
                  WHERE r.seq > $after_id AND r.message_id = r.seq
                    AND ($workflow IS NULL OR +r.queue_id = $workflow)) x
            @{one_page}) x
      UNION ALL
      SELECT @{page_cols}
      FROM (SELECT @{page_cols}
            FROM (SELECT r.message_id, r.queue_id, @{run_when_ready}
                  FROM @schema.pgqrs_ready r INDEXED BY pgqrs_ready_again
                  WHERE r.message_id > $after_id AND r.seq <> r.message_id
                    AND ($workflow IS NULL OR +r.queue_id = $workflow)) x
            @{one_page}) x
      UNION ALL
      SELECT @{page_cols}
      FROM (SELECT @{page_cols}
            FROM (SELECT d.message_id, d.queue_id, @{run_when_scheduled}
                  FROM @schema.pgqrs_scheduled d
                  WHERE d.message_id > $after_id
                    AND ($workflow IS NULL OR +d.queue_id = $workflow)) x
            @{one_page}) x
      UNION ALL
      SELECT @{page_cols}
      FROM (SELECT @{page_cols}
            FROM (SELECT l.message_id, l.queue_id, @{run_when_leased}
                  FROM @schema.pgqrs_leased l
                  WHERE l.message_id > $after_id
                    AND ($workflow IS NULL OR +l.queue_id = $workflow)) x
            @{one_page}) x
      UNION ALL
      SELECT @{page_cols}
      FROM (SELECT @{page_cols}
            FROM (SELECT e.message_id, e.queue_id, @{run_when_archived}
                  FROM @schema.pgqrs_archive e INDEXED BY pgqrs_archive_key
                  WHERE e.queue_id = $workflow AND e.message_id > $after_id) x
            @{one_page}) x
      UNION ALL
      SELECT @{page_cols}
      FROM (SELECT @{page_cols}
            FROM (SELECT e.message_id, e.queue_id, @{run_when_archived} FROM @schema.pgqrs_archive e
                  WHERE $workflow IS NULL AND e.message_id > $after_id) x
            @{one_page}) x
      ORDER BY 1 LIMIT $max_rows) w
CROSS JOIN @schema.pgqrs_messages m ON m.id = w.message_id
ORDER BY m.id;
