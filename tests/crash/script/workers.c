/* Workers, and the loop of the library. */
#include "crash/script/script.h"

static pgqrs_status on_message(pgqrs_store *in, const pgqrs_message *m, void *user_data,
                               pgqrs_error *error)
{
    (void)in;
    (void)user_data;
    (void)error;
    note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
    return PGQRS_OK;
}

static pgqrs_status on_line(pgqrs_run *run, void *user_data)
{
    (void)user_data;
    const pgqrs_status rc = do_steps(run, 's', 1, STORM_STEPS, now());
    return rc != PGQRS_OK ? rc : pgqrs_run_succeed(run, NULL);
}

static void work_until_idle(void)
{
    const pgqrs_work_options options = { .struct_size = sizeof(options),
                                         .poll_us     = 5 * PGQRS_MILLISECOND };
    pgqrs_worker            *worker  = NULL;

    (void)EXPECT(OK, pgqrs_worker_new(store,
                                      PGQRS_OPTIONS(worker, .name = "looper", .exit_when_idle = 1),
                                      &worker, &failed));
    (void)EXPECT(OK, pgqrs_worker_on_message(worker, "loop", on_message, NULL, &options));
    (void)EXPECT(OK, pgqrs_worker_on_run(worker, "line", on_line, NULL, &options));
    (void)EXPECT(OK, pgqrs_worker_run(worker, &failed));
    pgqrs_worker_free(worker);
}

void part_workers(void)
{
    pgqrs_worker_records *workers = NULL;
    pgqrs_worker_health   health;
    int64_t               id = 0, count;

    (void)EXPECT(OK, pgqrs_worker_register(store, "crasher", "loop", &id, &failed));
    (void)EXPECT(OK, pgqrs_worker_heartbeat(store, &id, 1, &failed));
    (void)EXPECT(OK, pgqrs_worker_set_status(store, id, PGQRS_WORKER_POLLING, &failed));
    (void)EXPECT(OK, pgqrs_worker_get(store, id, &workers, &failed));
    pgqrs_worker_records_free(workers);
    (void)EXPECT(OK, pgqrs_worker_list(store, &workers, &failed));
    pgqrs_worker_records_free(workers);
    (void)EXPECT(OK, pgqrs_worker_measure(store, PGQRS_MINUTE, &health, &failed));
    (void)put("loop", NULL, 0);
    (void)put("loop", NULL, 0);
    pgqrs_messages_free(take("loop", 2, id));
    (void)EXPECT(OK, pgqrs_worker_release(store, id, &count, &failed));
    pgqrs_messages_free(take("loop", 2, id));
    let_pass(PGQRS_HOUR);
    (void)EXPECT(OK, pgqrs_worker_purge_stale(store, PGQRS_MINUTE, 0, &count, &failed));
    (void)start("line");
    work_until_idle();
}
