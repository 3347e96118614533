/* Transactional steps: the user's SQL, messages and the record are one commit, or none of them is.
 */
#include <pgqrs/postgres.h>
#include <pgqrs/sqlite.h>
#include <pgqrs/turso.h>
#include <pgqrs/workflow.h>

#include "core/core.h"
#include "support/charge.h"
#include "support/peek.h"
#include "support/together.h"
#include "support/user.h"

static void g51_effect_messages_and_record_are_one_commit(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "charge");
    assert_int_equal(0, effects(w));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_messages") - 1);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "{\"ok\":true}"));
    assert_done(w, 1);
    assert_string_equal("{\"ok\":true}", pgqrs_step_output(step));
    assert_int_equal(PGQRS_STEP_SUCCESS, step_record(w, pgqrs_run_id(run), "charge").status);
    assert_null(pgqrs_step_pgconn(step)); /* given back */
    assert_null(pgqrs_step_sqlite3(step));
    assert_null(pgqrs_step_turso(step));

    /* The next execution gets the result and opens nothing. */
    drop_run(w, run);
    advance(w, LEASE_US + 1);
    run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_step_begin_tx(run, "charge", NULL, &step));
    assert_true(pgqrs_step_recorded(step));
    assert_string_equal("{\"ok\":true}", pgqrs_step_output(step));
    assert_null(pgqrs_step_pgconn(step));
    assert_null(pgqrs_step_sqlite3(step));
    assert_null(pgqrs_step_turso(step));
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_done(w, 1);
}

static void g51_many_steps_one_after_the_other(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = (charge_prepare(w), charge_run(w));
    for (int i = 0; i < 20; i++) {
        pgqrs_step *step = work_in_tx(w, run, "charge");
        assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
        step_done(run, "between", "1");
    }
    assert_done(w, 20);
    assert_int_equal(40, step_count(w, pgqrs_run_id(run)));
}

static void g51_a_step_that_fails_leaves_nothing_but_its_failure(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_fail(step, "NO", "no"));
    assert_int_equal(PGQRS_STEP_ERROR, step_record(w, pgqrs_run_id(run), "a").status);

    step = work_in_tx(w, run, "b");
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_retry(step, "LATER", "later", PGQRS_HOUR));
    assert_int_equal(PGQRS_STEP_RETRY, step_record(w, pgqrs_run_id(run), "b").status);

    step = NULL;
    assert_run(
        PGQRS_OK, run,
        pgqrs_step_begin_tx(run, "c", PGQRS_OPTIONS(step, .timeout_us = PGQRS_SECOND), &step));
    step_do(w, step, INSERT);
    advance(w, 2 * PGQRS_SECOND);
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_succeed(step, NULL));
    assert_non_null(strstr(step_record(w, pgqrs_run_id(run), "c").error, "TIMEOUT"));
    assert_done(w, 0);
}

static void g51_a_step_that_is_left_leaves_nothing(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    assert_run(PGQRS_ESTATE, run, pgqrs_step_end(step, NULL));
    assert_run(PGQRS_ESTATE, run, pgqrs_step_succeed(step, NULL)); /* its effect is gone */
    assert_non_null(strstr(pgqrs_run_error(run)->message, "rolled back"));
    assert_done(w, 0);

    step = work_in_tx(w, run, "b");
    assert_run(PGQRS_EJSON, run, pgqrs_step_succeed(step, "{"));
    assert_run(PGQRS_EJSON, run, pgqrs_step_end(step, NULL));
    assert_done(w, 0);

    (void)work_in_tx(w, run, "c");
    drop_run(w, run);
    assert_done(w, 0);
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_steps"));
}

static void g51_bad_json_can_be_bettered(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    assert_run(PGQRS_EJSON, run, pgqrs_step_succeed(step, "{"));
    assert_run(PGQRS_EJSON, run, pgqrs_step_enqueue(step, "receipts", "{", NULL, NULL));
    assert_run(PGQRS_ENOTFOUND, run, pgqrs_step_enqueue(step, "nowhere", "{}", NULL, NULL));
    assert_run(PGQRS_ENOTFOUND, run, pgqrs_step_enqueue(step, "child", "{}", NULL, NULL));
    assert_run(PGQRS_ENOTFOUND, run, pgqrs_step_trigger(step, "receipts", "{}", NULL, NULL));
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "{}"));
    assert_done(w, 1);
}

static void g51_a_cancelled_run_begins_none_and_ends_the_one_it_is_in(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    if (w->postgres)
        sql_run(w, "UPDATE pgqrs_leased SET cancelled = true"); /* does not wait */
    else
        step_do(w, step, "UPDATE pgqrs_leased SET cancelled = 1");
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_done(w, 1);
    step = NULL;
    assert_run(PGQRS_ECANCELLED, run, pgqrs_step_begin_tx(run, "b", NULL, &step));
    assert_null(step);

    pgqrs_run *other = charge_run(w);
    sql_run(w, w->postgres ? "UPDATE pgqrs_leased SET cancelled = true"
                           : "UPDATE pgqrs_leased SET cancelled = 1");
    assert_run(PGQRS_ECANCELLED, other, pgqrs_step_begin_tx(other, "b", NULL, &step));
    assert_run(PGQRS_ECANCELLED, other, pgqrs_run_succeed(other, NULL));
}

/* --- The thread that holds one ---------------------------------------------------------------- */

static void refused(pgqrs_status rc)
{
    assert_int_equal(PGQRS_EBUSY, rc);
    assert_int_equal(PGQRS_EBUSY, failure.status);
    assert_true(failure.hint[0] != '\0');
}

typedef struct elsewhere {
    world       *w;
    pgqrs_status statuses[4];
    message      held;
} elsewhere;

static void write_elsewhere(void *shared, size_t i)
{
    elsewhere  *e = shared;
    pgqrs_error error;
    (void)i;
    e->statuses[0] = pgqrs_enqueue(e->w->store, "receipts", "{}", NULL, NULL, &error);
    e->statuses[1] = pgqrs_extend(e->w->store, &e->held, 0, &error);
    e->statuses[2] = pgqrs_cancel(e->w->store, e->held.id, NULL, &error);
}

static void g51_the_thread_that_holds_one_writes_nowhere_else(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = (charge_prepare(w), charge_run(w));
    pgqrs_run *two = charge_run(w);
    (void)enqueue(w, "receipts", "{}");
    message             m    = claim_one(w, "receipts");
    elsewhere           e    = { .w = w, .held = *pgqrs_run_message(run) };
    pgqrs_step         *step = work_in_tx(w, run, "a"), *other = NULL;
    pgqrs_messages     *messages = NULL;
    pgqrs_queue_metrics metrics;

    refused(pgqrs_enqueue(w->store, "receipts", "{}", NULL, NULL, &failure));
    refused(pgqrs_trigger(w->store, "flow", "{}", NULL, NULL, &failure));
    refused(pgqrs_claim(w->store, "receipts", NULL, &messages, &failure));
    refused(pgqrs_archive(w->store, &m, &failure));
    refused(pgqrs_extend(w->store, &m, 0, &failure));
    refused(pgqrs_cancel(w->store, m.id, NULL, &failure));
    refused(pgqrs_queue_create(w->store, "new", NULL, &failure));
    refused(pgqrs_install(w->store, &failure));
    assert_run(PGQRS_EBUSY, two, pgqrs_step_begin(two, "x", NULL, &other));
    assert_run(PGQRS_EBUSY, two, pgqrs_step_begin_tx(two, "x", NULL, &other));
    assert_run(PGQRS_EBUSY, two, pgqrs_run_succeed(two, NULL));
    /* Reading is another matter, where readers do not wait. */
    assert_int_equal(w->postgres ? PGQRS_OK : PGQRS_EBUSY,
                     pgqrs_queue_measure(w->store, "receipts", &metrics, &failure));
    if (w->postgres) { /* others go on, with the run's own heartbeat and cancel too */
        together(1, write_elsewhere, &e);
        for (int i = 0; i < 3; i++)
            assert_int_equal(PGQRS_OK, e.statuses[i]);
    }
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    step_done(two, "x", NULL);
    assert_int_equal(1, effects(w));
}

static void g51_the_run_is_not_moved_while_one_is_open(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    assert_run(PGQRS_ESTATE, run, pgqrs_run_succeed(run, NULL));
    assert_true(pgqrs_run_error(run)->hint[0] != '\0');
    assert_run(PGQRS_ESTATE, run, pgqrs_run_fail(run, "NO", "no"));
    assert_run(PGQRS_ESTATE, run, pgqrs_run_pause(run, "wait", PGQRS_SECOND));
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_done(w, 1);
}

static void *archive_elsewhere(void *shared)
{
    elsewhere *e   = shared;
    e->statuses[3] = pgqrs_archive(e->w->store, &e->held, NULL);
    return NULL;
}

static bool something_waits(pgqrs_store *store)
{
    bool waits;
    pgqrs__mutex_lock(&store->lock);
    waits = store->pending_first != NULL;
    pgqrs__mutex_unlock(&store->lock);
    return waits;
}

static void g51_a_move_by_another_thread_waits_for_the_commit(void **state)
{
    world        *w    = *state;
    pgqrs_run    *run  = (charge_prepare(w), charge_run(w));
    elsewhere     e    = { .w = w, .held = *pgqrs_run_message(run) };
    pgqrs_step   *step = work_in_tx(w, run, "a");
    pgqrs__thread thread;
    assert_int_equal(0, pgqrs__thread_start(&thread, archive_elsewhere, &e, "archive"));
    while (!something_waits(w->store)) /* in no group: others go on */
        continue;
    if (w->postgres) {
        elsewhere others = e;
        together(1, write_elsewhere, &others);
        assert_int_equal(PGQRS_OK, others.statuses[0]);
    }
    assert_true(something_waits(w->store));
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    pgqrs__thread_join(&thread);
    assert_int_equal(PGQRS_OK, e.statuses[3]);
    assert_int_equal(1, step_count(w, e.held.id));
    assert_true(record(w, e.held.id).state >= PGQRS_STATE_DONE);
}

/* --- Many ------------------------------------------------------------------------------------- */

#define CROWD 24

typedef struct crowd {
    world       *w;
    pgqrs_store *store;
    pgqrs_run   *runs[CROWD];
    atomic_int   failed;
} crowd;

static void step_or_enqueue(void *shared, size_t i)
{
    crowd *c = shared;
    for (int k = 0; k < 5; k++) {
        pgqrs_step *step;
        if (i >= CROWD) {
            if (pgqrs_enqueue(c->store, "receipts", "{}", NULL, NULL, NULL) != PGQRS_OK)
                (void)atomic_fetch_add(&c->failed, 1);
        } else if (pgqrs_step_begin_tx(c->runs[i], "a", NULL, &step) != PGQRS_OK
                   || !step_try(c->w, step, INSERT)
                   || pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL) != PGQRS_OK
                   || pgqrs_step_succeed(step, NULL) != PGQRS_OK) {
            (void)atomic_fetch_add(&c->failed, 1);
        }
    }
}

static void g51_many_at_once_do_not_starve_the_others(void **state)
{
    static crowd        c;
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    charge_prepare(w);
    c                        = (crowd){ .w = w };
    options.max_connections  = 2;
    options.max_transactions = 3;
    assert_ok(pgqrs_open(w->dsn, &options, &c.store, &failure));
    for (int i = 0; i < CROWD; i++) {
        (void)trigger(w, "flow", "{}");
        c.runs[i] = claim_run_from(w, c.store, "flow");
    }
    together(CROWD + 8, step_or_enqueue, &c);
    assert_int_equal(0, atomic_load(&c.failed));
    assert_int_equal(CROWD * 5, effects(w));
    assert_int_equal((CROWD + 8) * 5, measure(w, "receipts").ready);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(5, step_count(w, pgqrs_run_id(c.runs[i])));
        drop_run(w, c.runs[i]);
    }
    pgqrs_close(c.store);
}

typedef struct full {
    world       *w;
    pgqrs_store *store;
    pgqrs_run   *runs[3];
    pgqrs_status status;
    pgqrs_error  error;
} full;

static void begin_one_too_many(void *shared, size_t i)
{
    full       *f    = shared;
    pgqrs_step *step = NULL;
    (void)i;
    f->status = pgqrs_step_begin_tx(f->runs[1], "a", NULL, &step);
    f->error  = *pgqrs_run_error(f->runs[1]);
}

static void g51_one_more_than_max_transactions_waits_until_its_deadline(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    full                f       = { .w = w };
    charge_prepare(w);
    options.max_transactions = 1;
    options.timeout_us       = 200 * PGQRS_MILLISECOND;
    assert_ok(pgqrs_open(w->dsn, &options, &f.store, &failure));
    for (int i = 0; i < 2; i++) {
        (void)trigger(w, "flow", "{}");
        f.runs[i] = claim_run_from(w, f.store, "flow");
    }
    pgqrs_step *step = begin_tx(f.runs[0], "a");
    together(1, begin_one_too_many, &f);
    assert_int_equal(PGQRS_ETIMEDOUT, f.status);
    assert_non_null(strstr(f.error.hint, "max_transactions"));
    assert_run(PGQRS_OK, f.runs[0], pgqrs_step_succeed(step, NULL));
    step = NULL;
    assert_run(PGQRS_OK, f.runs[1], pgqrs_step_begin_tx(f.runs[1], "a", NULL, &step));
    assert_run(PGQRS_OK, f.runs[1], pgqrs_step_succeed(step, NULL));
    drop_run(w, f.runs[0]);
    drop_run(w, f.runs[1]);
    pgqrs_close(f.store);
}

static void g51_leases_are_renewed_by_the_commit_that_kept_others_from_it(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = (charge_prepare(w), charge_run(w));
    pgqrs_run *two = charge_run(w);
    if (w->postgres)
        skip(); /* the keeper renews them meanwhile */
    assert_ok(pgqrs_lease_keep(w->store, pgqrs_run_message(run), 0, &failure));
    assert_ok(pgqrs_lease_keep(w->store, pgqrs_run_message(two), 0, &failure));
    pgqrs_step *step = work_in_tx(w, run, "a");
    advance(w, 3 * LEASE_US);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_null(claim_run(w, "flow")); /* nobody's lease has passed */
    assert_int_equal(now_us(w) + LEASE_US, record(w, pgqrs_run_id(run)).expires_at_us);
    step_done(run, "b", NULL);
    step_done(two, "b", NULL);
}

static void g51_a_database_in_memory_does_it_too(void **state)
{
    world       *w     = *state;
    pgqrs_store *store = NULL;
    if (w->postgres)
        skip();
    assert_ok(pgqrs_open(w->turso ? "turso::memory:" : "sqlite::memory:", NULL, &store, &failure));
    assert_ok(pgqrs_install(store, &failure));
    assert_ok(pgqrs_workflow_ensure(store, "flow", NULL, &failure));
    assert_ok(pgqrs_queue_ensure(store, "receipts", NULL, &failure));
    assert_ok(pgqrs_trigger(store, "flow", "{}", NULL, NULL, &failure));
    pgqrs_run          *run  = claim_run_from(w, store, "flow");
    pgqrs_step         *step = begin_tx(run, "a");
    pgqrs_queue_metrics metrics;
    step_do(w, step, "CREATE TABLE effects (name text NOT NULL)");
    step_do(w, step, INSERT);
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    refused(pgqrs_queue_measure(store, "receipts", &metrics, &failure)); /* at once */
    refused(pgqrs_verify(store, &failure));
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_ok(pgqrs_queue_measure(store, "receipts", &metrics, &failure));
    assert_int_equal(1, metrics.ready);
    drop_run(w, run);
    pgqrs_close(store);
}

/* --- In a worker, with the macro -------------------------------------------------------------- */

static world *the_world;
static int    how, executed;

static PGQRS_WORKFLOW(charge, run)
{
    const char *receipt;

    PGQRS_STEP_TX(run, "charge", &receipt) {
        executed++;
        if (!step_try(the_world, step, INSERT))
            return PGQRS_EDB;
        PGQRS_TRY(pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
        if (how == 1 && executed == 1)
            return PGQRS_OK; /* out of the block, and it says that all is well */
        if (how == 2 && executed == 1)
            return PGQRS_EINVAL;
        if (how == 3 && executed == 1)
            break;
        PGQRS_TRY(pgqrs_step_succeed(step, "\"paid\""));
    }
    return pgqrs_run_succeed(run, receipt);
}

static void g51_whatever_way_a_block_is_left_it_is_done_once(void **state)
{
    world *w = the_world = *state;
    workflow_with(w, "flow", PGQRS_OPTIONS(queue, .backoff_us = 1));
    queue(w, "receipts");
    sql_run(w, "CREATE TABLE effects (name text NOT NULL)");
    for (how = 0; how < 4; how++) {
        int64_t id = trigger(w, "flow", "{}");
        executed   = 0;
        work(w, "flow", charge, NULL);
        if (how != 0) { /* it was given back, its attempt counted */
            assert_run_status(w, id, PGQRS_RUN_RUNNING);
            assert_int_equal(how, effects(w));
            advance(w, PGQRS_SECOND);
            work(w, "flow", charge, NULL);
        }
        assert_run_status(w, id, PGQRS_RUN_SUCCESS);
        assert_string_equal("\"paid\"", run_record(w, id).output);
        assert_int_equal(how == 0 ? 1 : 2, executed);
        assert_int_equal(how + 1, effects(w));
        assert_int_equal(how + 1, measure(w, "receipts").ready);
    }
}

static void g51_a_step_of_an_adopted_store_is_in_a_transaction_already(void **state)
{
    world          *w        = *state;
    pgqrs_messages *messages = NULL;
    pgqrs_run      *run      = NULL;
    pgqrs_step     *step     = NULL;
    user            u;

    charge_prepare(w);
    (void)trigger(w, "flow", "{}");
    assert_ok(pgqrs_claim(w->store, "flow", NULL, &messages, &failure));
    user_open(&u, w);
    user_begin(&u);
    pgqrs_store *here = user_adopted(&u);
    assert_ok(pgqrs_run_from(here, messages, 0, &run, &failure));
    assert_run(PGQRS_ESTATE, run, pgqrs_step_begin_tx(run, "a", NULL, &step));
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "a", NULL, &step));
    assert_run(PGQRS_ESTATE, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    assert_ok(pgqrs_enqueue(here, "receipts", "{}", NULL, NULL, &failure));
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
    pgqrs_close(here);
    user_do(&u, "COMMIT");
    user_close(&u);
    assert_int_equal(1, measure(w, "receipts").ready);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(g51_effect_messages_and_record_are_one_commit),
        CASE(g51_many_steps_one_after_the_other),
        CASE(g51_a_step_that_fails_leaves_nothing_but_its_failure),
        CASE(g51_a_step_that_is_left_leaves_nothing),
        CASE(g51_bad_json_can_be_bettered),
        CASE(g51_a_cancelled_run_begins_none_and_ends_the_one_it_is_in),
        CASE(g51_the_thread_that_holds_one_writes_nowhere_else),
        CASE(g51_the_run_is_not_moved_while_one_is_open),
        CASE(g51_a_move_by_another_thread_waits_for_the_commit),
        CASE(g51_many_at_once_do_not_starve_the_others),
        CASE(g51_one_more_than_max_transactions_waits_until_its_deadline),
        CASE(g51_leases_are_renewed_by_the_commit_that_kept_others_from_it),
        CASE(g51_a_database_in_memory_does_it_too),
        CASE(g51_whatever_way_a_block_is_left_it_is_done_once),
        CASE(g51_a_step_of_an_adopted_store_is_in_a_transaction_already),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
