-- Recorded steps of runs. status: 1 success, 2 error, 3 waiting for retry_at.

-- fragment: step
s.status, s.retries::int4 AS retries, s.started_at, s.finished_at, s.retry_at, s.output, s.error

-- The lease is the fence: a holder that lost it records nothing. KEY SHARE keeps the reaper off
-- until we commit, so that who claims the run next sees every step of it, and lets heartbeats pass.
-- No row for an n: its lease is lost. recorded = false: another result stands; read it and use it.
-- name: step_record :many
-- args: queue i32[], message i64[], lease i64[], name text[], status i16[], retries i32[],
-- args: started_at time[]?, retry_after_us i64[]?, retry_at time[]?, output json[]?, error json[]?,
-- args: now time?
-- cols: n i64, cancelled bool, recorded bool
WITH held AS MATERIALIZED (
    SELECT a.n, a.message_id, a.name, a.status, a.retries, a.started_at,
           coalesce(a.retry_at, @now + a.retry_after_us * interval '1 us') AS retry_at, a.output,
           a.error, l.cancelled
    FROM unnest($queue, $message, $lease, $name, $status, $retries, $started_at, $retry_after_us,
                $retry_at, $output, $error) WITH ORDINALITY
         AS a(queue_id, message_id, lease, name, status, retries, started_at, retry_after_us,
              retry_at, output, error, n)
    CROSS JOIN LATERAL (@{leased_row} FOR KEY SHARE) l),
rec AS (
    INSERT INTO @schema.pgqrs_steps AS s
        (run_id, name, status, retries, started_at, finished_at, retry_at, output, error)
    SELECT message_id, name, status, retries, started_at, @now, retry_at, output, error FROM held
    ON CONFLICT (run_id, name) DO UPDATE
    SET status = excluded.status, retries = excluded.retries,
        started_at = coalesce(excluded.started_at, s.started_at),
        finished_at = excluded.finished_at, retry_at = excluded.retry_at,
        output = excluded.output, error = excluded.error
    WHERE s.status = 3
    RETURNING s.run_id, s.name)
SELECT h.n, h.cancelled, r.run_id IS NOT NULL AS recorded
FROM held h LEFT JOIN rec r ON r.run_id = h.message_id AND r.name = h.name;

-- First in an atomic batch that records steps: one that has a result already undoes the batch
-- (22P02), since what goes with it was done with that result.
-- name: step_open_all :many
-- args: run i64[], name text[]
-- cols: n i64
WITH asked AS MATERIALIZED (
    SELECT a.n, a.run_id, (SELECT s.status FROM @schema.pgqrs_steps s
                           WHERE s.run_id = a.run_id AND s.name = a.name) AS status
    FROM unnest($run, $name) WITH ORDINALITY AS a(run_id, name, n))
SELECT a.n FROM asked a
WHERE CASE WHEN a.status <> 3
           THEN (SELECT 'pgqrs: recorded ' || string_agg(a.run_id::text, ',' ORDER BY a.n)
                 FROM asked a WHERE a.status <> 3)::bool
           ELSE true END;

-- name: step_find
-- args: run i64, name text
-- cols: status i16, retries i32, started_at time?, finished_at time?, retry_at time?, output json?,
-- cols: error json?
SELECT @{step} FROM @schema.pgqrs_steps s WHERE s.run_id = $run AND s.name = $name;

-- name: step_list
-- args: run i64
-- cols: name text, status i16, retries i32, started_at time?, finished_at time?, retry_at time?,
-- cols: output json?, error json?
SELECT s.name, @{step} FROM @schema.pgqrs_steps s WHERE s.run_id = $run
ORDER BY s.finished_at, s.name;
