-- What a role needs to be a producer or a worker, granted by pgqrs_install_roles(). @schema and @role
-- are replaced by the quoted names. No function is SECURITY DEFINER, and nothing is granted to PUBLIC.

-- Puts in, and reads no payload: not even its own. It can register under a name.
-- role: producer
GRANT USAGE ON SCHEMA @schema TO @role;
GRANT USAGE ON SEQUENCE @schema.pgqrs_ids TO @role;
GRANT SELECT ON @schema.pgqrs_queues, @schema.pgqrs_waiters, @schema.pgqrs_migrations,
    @schema.pgqrs_keys TO @role;
GRANT INSERT ON @schema.pgqrs_messages, @schema.pgqrs_ready, @schema.pgqrs_scheduled,
    @schema.pgqrs_keys TO @role;
GRANT UPDATE (message_id, until) ON @schema.pgqrs_keys TO @role;
GRANT SELECT (id, queue_id, priority) ON @schema.pgqrs_messages TO @role;
GRANT SELECT, INSERT, UPDATE ON @schema.pgqrs_workers TO @role;

-- Does everything with messages, runs and workers; queues and the schema are not its to change.
-- role: worker
GRANT USAGE ON SCHEMA @schema TO @role;
GRANT USAGE ON SEQUENCE @schema.pgqrs_ids TO @role;
GRANT SELECT ON @schema.pgqrs_queues, @schema.pgqrs_migrations, @schema.pgqrs_runs TO @role;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema.pgqrs_workers, @schema.pgqrs_messages,
    @schema.pgqrs_ready, @schema.pgqrs_scheduled, @schema.pgqrs_leased, @schema.pgqrs_archive,
    @schema.pgqrs_steps, @schema.pgqrs_keys, @schema.pgqrs_waiters TO @role;
