-- oldest_library: 0.1.0
-- The tables of PostgreSQL. Times are integers, microseconds since 1970-01-01 UTC; booleans are 0
-- and 1; JSON is text. Where an id names the row it is the rowid, which spares an index: a row's
-- own key costs no further page.

-- The number line of messages.id and ready.seq, and the clock that never runs back. One row.
CREATE TABLE @schema.pgqrs_sequence (
    next        INTEGER NOT NULL,
    last_now_us INTEGER NOT NULL
);
INSERT INTO @schema.pgqrs_sequence (next, last_now_us) VALUES (1, 0);

-- AUTOINCREMENT: the id of a queue that is gone is never another's, whoever still remembers it.
CREATE TABLE @schema.pgqrs_queues (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL,
    workflow       INTEGER NOT NULL DEFAULT 0, -- its messages are runs
    lease_us       INTEGER NOT NULL DEFAULT 30000000,
    max_attempts   INTEGER NOT NULL DEFAULT 5,
    backoff_us     INTEGER NOT NULL DEFAULT 1000000,
    backoff_factor REAL NOT NULL DEFAULT 2,
    backoff_max_us INTEGER NOT NULL DEFAULT 3600000000,
    retention_us   INTEGER DEFAULT 604800000000, -- NULL: for ever
    created_at     INTEGER NOT NULL,
    paused_at      INTEGER,
    deleted_at     INTEGER -- its rows are swept later, the name is free at once
);
CREATE UNIQUE INDEX pgqrs_queues_name ON pgqrs_queues (name) WHERE deleted_at IS NULL;

-- Names for people: no right follows from being registered.
CREATE TABLE @schema.pgqrs_workers (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL,
    hostname     TEXT NOT NULL,
    status       INTEGER NOT NULL, -- 1 ready, 2 polling, 3 suspended, 4 interrupted, 5 stopped
    queue_id     INTEGER,
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX pgqrs_workers_name ON pgqrs_workers (name);

-- The body, written once and never moved.
CREATE TABLE @schema.pgqrs_messages (
    id          INTEGER PRIMARY KEY,
    enqueued_at INTEGER NOT NULL,
    producer    INTEGER, -- a worker
    queue_id    INTEGER NOT NULL,
    priority    INTEGER NOT NULL, -- 0 first … 9 last
    payload     TEXT NOT NULL,
    headers     TEXT
);

-- Deliverable now, in the order of (priority, seq). attempt: deliveries already counted.
CREATE TABLE @schema.pgqrs_ready (
    seq        INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,
    queue_id   INTEGER NOT NULL,
    priority   INTEGER NOT NULL,
    attempt    INTEGER NOT NULL
);
CREATE UNIQUE INDEX pgqrs_ready_order ON pgqrs_ready (queue_id, priority, seq);
-- Messages that came back. A first delivery has seq = message_id.
CREATE UNIQUE INDEX pgqrs_ready_again ON pgqrs_ready (message_id) WHERE seq <> message_id;

-- Waits for visible_at. reason: 0 delay, 1 retry, 2 sleep, 3 pause, 4 event. owner parked it, and
-- said note.
CREATE TABLE @schema.pgqrs_scheduled (
    message_id INTEGER PRIMARY KEY,
    visible_at INTEGER NOT NULL,
    owner      INTEGER,
    queue_id   INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    reason     INTEGER NOT NULL,
    note       TEXT
);
CREATE UNIQUE INDEX pgqrs_scheduled_key ON pgqrs_scheduled (queue_id, message_id);
CREATE INDEX pgqrs_scheduled_due ON pgqrs_scheduled (queue_id, visible_at);

-- Held until expires_at by whoever knows the lease's number. The rowid is the key; the index puts
-- what has expired first.
CREATE TABLE @schema.pgqrs_leased (
    message_id INTEGER PRIMARY KEY,
    lease      INTEGER NOT NULL,
    owner      INTEGER,
    claimed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    queue_id   INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    cancelled  INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX pgqrs_leased_key ON pgqrs_leased (queue_id, expires_at);

-- Ended. state: 0 done, 1 success, 2 error, 3 cancelled, 4 dead. lease: of the holder that ended
-- it, so that one whose answer was lost can tell; NULL when nobody held it or nobody but the clock
-- ended it.
CREATE TABLE @schema.pgqrs_archive (
    message_id  INTEGER PRIMARY KEY,
    lease       INTEGER,
    owner       INTEGER,
    claimed_at  INTEGER,
    finished_at INTEGER NOT NULL,
    queue_id    INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    output      TEXT,
    error       TEXT
);
CREATE UNIQUE INDEX pgqrs_archive_key ON pgqrs_archive (queue_id, message_id, state);

-- Recorded results. status: 1 success, 2 error, 3 waiting for retry_at, the only one that changes.
CREATE TABLE @schema.pgqrs_steps (
    run_id      INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    retry_at    INTEGER,
    status      INTEGER NOT NULL,
    retries     INTEGER NOT NULL DEFAULT 0,
    name        TEXT NOT NULL,
    output      TEXT,
    error       TEXT,
    PRIMARY KEY (run_id, name)
);

-- Deduplication: this key means this message, until. A message has one key at most.
CREATE TABLE @schema.pgqrs_keys (
    message_id INTEGER PRIMARY KEY,
    until      INTEGER NOT NULL,
    queue_id   INTEGER NOT NULL,
    key        TEXT NOT NULL,
    UNIQUE (queue_id, key)
);

-- A consumer of this queue sleeps, until.
CREATE TABLE @schema.pgqrs_waiters (
    queue_id INTEGER PRIMARY KEY,
    until    INTEGER NOT NULL
);

CREATE TABLE @schema.pgqrs_migrations (
    version        INTEGER PRIMARY KEY,
    name           TEXT NOT NULL,
    checksum       TEXT NOT NULL,
    applied_at     INTEGER NOT NULL,
    oldest_library TEXT NOT NULL
);

-- For people: every run of a living workflow, with the status that follows from where its message
-- is.
CREATE VIEW @schema.pgqrs_runs AS
SELECT m.id, q.name AS workflow, p.status, p.dead, p.attempt, m.enqueued_at AS created_at,
       coalesce(p.moved_at, m.enqueued_at) AS updated_at, p.resumes_at, m.payload AS input,
       p.output, p.error
FROM (
    SELECT r.message_id,
           CASE WHEN r.attempt = 0
                     AND NOT EXISTS (SELECT 1 FROM pgqrs_steps s WHERE s.run_id = r.message_id)
                THEN 'QUEUED' ELSE 'RUNNING' END AS status,
           0 AS dead, r.attempt, NULL AS moved_at, NULL AS resumes_at, NULL AS output, NULL AS error
    FROM pgqrs_ready r
    UNION ALL
    SELECT d.message_id,
           CASE WHEN d.reason IN (2, 3, 4) THEN 'PAUSED'
                WHEN d.reason = 0 AND d.attempt = 0
                     AND NOT EXISTS (SELECT 1 FROM pgqrs_steps s WHERE s.run_id = d.message_id)
                THEN 'QUEUED' ELSE 'RUNNING' END,
           0, d.attempt, NULL, d.visible_at, NULL,
           CASE WHEN d.reason IN (2, 3, 4) AND d.note IS NOT NULL
                THEN json_object('message', d.note) END
    FROM pgqrs_scheduled d
    UNION ALL
    SELECT l.message_id, CASE WHEN l.cancelled THEN 'CANCELLING' ELSE 'RUNNING' END,
           0, l.attempt, l.claimed_at, NULL, NULL, NULL
    FROM pgqrs_leased l
    UNION ALL
    SELECT a.message_id,
           CASE WHEN a.state IN (0, 1) THEN 'SUCCESS' WHEN a.state = 3 THEN 'CANCELLED'
                ELSE 'ERROR' END,
           a.state = 4, a.attempt, a.finished_at, NULL, a.output, a.error
    FROM pgqrs_archive a) p
JOIN pgqrs_messages m ON m.id = p.message_id
JOIN pgqrs_queues q ON q.id = m.queue_id AND q.workflow AND q.deleted_at IS NULL;
