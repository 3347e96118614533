/* Answers that are lost on their way, for everything that an operator does: see test_lost.c. */
#include "support/lose.h"
#include "support/peek.h"

#ifdef PGQRS_HAVE_POSTGRES

/* --- Queues --------------------------------------------------------------------------------------
 */

static pgqrs_status call_create(trial *t, pgqrs_error *error)
{
    return pgqrs_queue_create(t->store, t->queue,
                              PGQRS_OPTIONS(queue, .max_attempts = 7, .retention_us = PGQRS_HOUR),
                              error);
}

static void assert_created(trial *t)
{
    assert_int_equal(7, queue_get(t->w, t->queue).max_attempts);
    /* and whoever makes it now is told that it is there */
    assert_status(PGQRS_EEXISTS, pgqrs_queue_create(t->w->store, t->queue, NULL, &failure));
}

static void g61_create_a_queue(void **state)
{
    lose_answers(*state, &(lost_operation){ .call = call_create, .assert_done = assert_created });
}

static pgqrs_status call_ensure(trial *t, pgqrs_error *error)
{
    return pgqrs_workflow_ensure(t->store, t->flow, NULL, error);
}

static void assert_flow_is_there(trial *t)
{
    assert_true(queue_get(t->w, t->flow).workflow);
}

static void g61_ensure_a_workflow(void **state)
{
    lose_answers(*state,
                 &(lost_operation){ .call = call_ensure, .assert_done = assert_flow_is_there });
}

static void prepare_queue(trial *t)
{
    with_queue(t, 3);
}

static pgqrs_status call_configure(trial *t, pgqrs_error *error)
{
    return pgqrs_queue_configure(t->store, t->queue, PGQRS_OPTIONS(queue, .max_attempts = 9),
                                 error);
}

static void assert_configured(trial *t)
{
    assert_int_equal(9, queue_get(t->w, t->queue).max_attempts);
}

static void g61_configure_a_queue(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_queue,
                                            .call        = call_configure,
                                            .assert_done = assert_configured });
}

static pgqrs_status call_pause(trial *t, pgqrs_error *error)
{
    return pgqrs_queue_pause(t->store, t->queue, error);
}

static void assert_paused(trial *t)
{
    assert_true(queue_get(t->w, t->queue).paused);
}

static void g61_pause_a_queue(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_queue,
                                            .call        = call_pause,
                                            .assert_done = assert_paused });
}

static void prepare_paused(trial *t)
{
    with_queue(t, 1);
    assert_ok(pgqrs_queue_pause(t->w->store, t->queue, &failure));
}

static pgqrs_status call_resume(trial *t, pgqrs_error *error)
{
    return pgqrs_queue_resume(t->store, t->queue, error);
}

static void assert_resumed(trial *t)
{
    assert_false(queue_get(t->w, t->queue).paused);
}

static void g61_resume_a_queue(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_paused,
                                            .call        = call_resume,
                                            .assert_done = assert_resumed });
}

static pgqrs_status call_purge(trial *t, pgqrs_error *error)
{
    return pgqrs_queue_purge(t->store, t->queue, &t->number_out, error);
}

static void assert_purged(trial *t)
{
    assert_int_equal(0, count_in(t, "messages"));
    assert_in_range(t->number_out, 0, 3);
}

static void g61_purge_a_queue(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_queue,
                                            .call        = call_purge,
                                            .assert_done = assert_purged });
}

static pgqrs_status call_delete(trial *t, pgqrs_error *error)
{
    return pgqrs_queue_delete(t->store, t->queue, false, error);
}

static void assert_no_queue(trial *t)
{
    pgqrs_queues *queues = NULL;
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_get(t->w->store, t->queue, &queues, &failure));
}

static void g61_delete_a_queue(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_queue,
                                            .call        = call_delete,
                                            .assert_done = assert_no_queue });
}

/* --- Dead letters --------------------------------------------------------------------------------
 */

static void prepare_dead(trial *t)
{
    with_claimed(t, 3);
    for (int i = 0; i < 2; i++)
        assert_ok(pgqrs_dead_letter(t->w->store, &t->m[i], "C", "text", &failure));
    assert_ok(pgqrs_release(t->w->store, &t->m[2], NULL, &failure)); /* this one is not dead */
}

static pgqrs_status call_replay(trial *t, pgqrs_error *error)
{
    return pgqrs_replay(t->store, t->ids, 3, &t->count_out, error);
}

static void assert_replayed(trial *t)
{
    assert_int_equal(2, t->count_out);
    assert_int_equal(3, count_in(t, "ready"));
    assert_int_equal(0, count_in(t, "archive"));
}

static void g61_replay(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_dead,
                                            .call        = call_replay,
                                            .assert_done = assert_replayed });
}

static pgqrs_status call_dead_purge(trial *t, pgqrs_error *error)
{
    return pgqrs_dead_purge(t->store, t->queue, 0, &t->number_out, error);
}

static void assert_none_is_dead(trial *t)
{
    assert_int_equal(0, count_in(t, "archive"));
    assert_int_equal(1, count_in(t, "messages"));
}

static void g61_purge_dead_letters(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_dead,
                                            .call        = call_dead_purge,
                                            .assert_done = assert_none_is_dead });
}

static void prepare_old(trial *t)
{
    /* it looks at every queue: leave none of the trials before */
    sql_run(t->w,
            "DELETE FROM pgqrs_messages; DELETE FROM pgqrs_archive; DELETE FROM pgqrs_queues");
    with_claimed(t, 1);
    assert_ok(pgqrs_archive(t->w->store, &t->m[0], &failure));
    advance(t->w, 8 * PGQRS_DAY);
}

static pgqrs_status call_retention(trial *t, pgqrs_error *error)
{
    return pgqrs_retention_run(t->store, 0, &t->number_out, error);
}

static void assert_empty(trial *t)
{
    assert_int_equal(0, count_in(t, "messages"));
}

static void g61_retention(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_old,
                                            .call        = call_retention,
                                            .assert_done = assert_empty });
}

/* --- Workers -------------------------------------------------------------------------------------
 */

static pgqrs_status call_register(trial *t, pgqrs_error *error)
{
    return pgqrs_worker_register(t->store, t->queue, NULL, &t->ids[0], error);
}

static void assert_registered(trial *t)
{
    pgqrs_worker_records *workers = NULL;
    assert_ok(pgqrs_worker_get(t->w->store, t->ids[0], &workers, &failure));
    assert_string_equal(t->queue, pgqrs_worker_records_at(workers, 0)->name);
    pgqrs_worker_records_free(workers);
}

static void g61_register_a_worker(void **state)
{
    lose_answers(*state,
                 &(lost_operation){ .call = call_register, .assert_done = assert_registered });
}

/* A silent worker that holds a message. */
static void prepare_silent(trial *t)
{
    with_queue(t, 1);
    sql_run(t->w, "DELETE FROM pgqrs_workers");
    assert_ok(pgqrs_worker_register(t->w->store, t->queue, NULL, &t->ids[1], &failure));
    assert_int_equal(1, claim_with(t->w, t->w->store, t->queue,
                                   PGQRS_OPTIONS(claim, .owner = t->ids[1], .lease_us = PGQRS_DAY),
                                   t->m, 1));
}

static pgqrs_status call_worker_release(trial *t, pgqrs_error *error)
{
    return pgqrs_worker_release(t->store, t->ids[1], &t->number_out, error);
}

static void assert_given_back(trial *t)
{
    assert_state(t->w, t->ids[0], PGQRS_STATE_READY);
    assert_int_equal(0, record(t->w, t->ids[0]).attempt);
}

static void g61_release_what_a_worker_holds(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_silent,
                                            .call        = call_worker_release,
                                            .assert_done = assert_given_back });
}

static void prepare_silent_for_long(trial *t)
{
    prepare_silent(t);
    advance(t->w, PGQRS_HOUR);
}

static pgqrs_status call_purge_stale(trial *t, pgqrs_error *error)
{
    return pgqrs_worker_purge_stale(t->store, PGQRS_MINUTE, 0, &t->number_out, error);
}

static void assert_stopped_and_given_back(trial *t)
{
    assert_int_equal(1, t->number_out);
    assert_given_back(t);
}

static void g61_purge_silent_workers(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_silent_for_long,
                                            .call        = call_purge_stale,
                                            .assert_done = assert_stopped_and_given_back });
}

/* --- The schema ----------------------------------------------------------------------------------
 */

/* Its own, at each trial. */
static void prepare_schema(trial *t)
{
    pgqrs_store_options options = world_options(t->w);
    char                schema[96];
    (void)snprintf(schema, sizeof(schema), "%s_%s", t->w->schema, t->queue);
    options.schema = schema;
    assert_ok(pgqrs_open(t->dsn, &options, &t->own, &failure));
}

static pgqrs_status call_install(trial *t, pgqrs_error *error)
{
    return pgqrs_install(t->own, error);
}

static void assert_installed(trial *t)
{
    char sql[160];
    assert_ok(pgqrs_verify(t->own, &failure));
    (void)snprintf(sql, sizeof(sql), "DROP SCHEMA %s_%s CASCADE", t->w->schema, t->queue);
    sql_run(t->w, sql);
}

static void assert_not_installed(trial *t)
{
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(t->own, &failure));
}

static void g61_install(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_schema,
                                            .call            = call_install,
                                            .assert_done     = assert_installed,
                                            .assert_not_done = assert_not_installed });
}

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        CASE(g61_create_a_queue),       CASE(g61_ensure_a_workflow),
        CASE(g61_configure_a_queue),    CASE(g61_pause_a_queue),
        CASE(g61_resume_a_queue),       CASE(g61_purge_a_queue),
        CASE(g61_delete_a_queue),       CASE(g61_replay),
        CASE(g61_purge_dead_letters),   CASE(g61_retention),
        CASE(g61_register_a_worker),    CASE(g61_release_what_a_worker_holds),
        CASE(g61_purge_silent_workers), CASE(g61_install),
    };
    return on_postgres() ? cmocka_run_group_tests(cases, NULL, NULL) : 77;
#else
    return 77;
#endif
}
