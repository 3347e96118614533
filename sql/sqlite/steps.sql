-- Recorded steps of runs. status: 1 success, 2 error, 3 waiting for retry_at.

-- fragment: step
s.status, s.retries, s.started_at, s.finished_at, s.retry_at, s.output, s.error

-- The lease is the fence: a holder that lost it records nothing. No row for an n: its lease is
-- lost. recorded = false: another result stands; read it and use it.
-- name: step_record :many
-- args: queue i32[], message i64[], lease i64[], name text[], status i16[], retries i32[],
-- args: started_at time[]?, retry_after_us i64[]?, retry_at time[]?, output json[]?, error json[]?,
-- args: now time?
-- cols: n i64, cancelled bool, recorded bool
SELECT $n AS n, l.cancelled,
       NOT EXISTS (SELECT 1 FROM @schema.pgqrs_steps s
                   WHERE s.run_id = $message AND s.name = $name AND s.status <> 3) AS recorded
FROM @{held};
INSERT INTO @schema.pgqrs_steps
    (run_id, name, status, retries, started_at, finished_at, retry_at, output, error)
SELECT $message, $name, $status, $retries, $started_at, @now,
       coalesce($retry_at, @now + $retry_after_us), $output, $error
FROM @{held}
ON CONFLICT (run_id, name) DO UPDATE
SET status = excluded.status, retries = excluded.retries,
    started_at = coalesce(excluded.started_at, pgqrs_steps.started_at),
    finished_at = excluded.finished_at, retry_at = excluded.retry_at, output = excluded.output,
    error = excluded.error
WHERE pgqrs_steps.status = 3;

-- First in an atomic batch that records steps: one that has a result already undoes the batch, since what goes
-- with it was done with that result.
-- name: step_open_all :many
-- args: run i64[], name text[]
-- cols: n i64
SELECT CASE WHEN EXISTS (SELECT 1 FROM @schema.pgqrs_steps s
                         WHERE s.run_id = $run AND s.name = $name AND s.status <> 3)
            THEN json_extract('{}', 'pgqrs: recorded ' || $run) ELSE $n END AS n;

-- name: step_find
-- args: run i64, name text
-- cols: status i16, retries i32, started_at time?, finished_at time?, retry_at time?, output json?,
-- cols: error json?
SELECT @{step} FROM @schema.pgqrs_steps s WHERE s.run_id = $run AND s.name = $name;

-- name: step_list
-- args: run i64
-- cols: name text, status i16, retries i32, started_at time?, finished_at time?, retry_at time?,
-- cols: output json?, error json?
SELECT s.name, @{step} FROM @schema.pgqrs_steps s
WHERE s.run_id = $run ORDER BY s.finished_at, s.name;
