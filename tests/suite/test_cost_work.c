/* What whole workloads cost, counted at the connection: those that docs/performance.md measures.
 * The clocks are the real ones: what is counted is what runs in production. */
#include <stdlib.h>

#include "support/together.h"
#include "support/world.h"

#define CALLERS 64
#define ROUNDS  10
/* A build that is slow on a disk that is fast gathers fewer callers while a commit is under way. */
#define SHARE (PGQRS_TEST_FACTOR > 1 ? 2 : 10)

static void drain(world *w, int batch, int batches)
{
    message       *m = calloc((size_t)batch, sizeof(*m));
    const message *all[1000];
    assert_non_null(m);
    for (int i = 0; i < batch; i++)
        all[i] = &m[i];
    for (int i = 0; i < batches; i++) {
        assert_int_equal(batch, claim_many(w, "orders", batch, m));
        assert_ok(pgqrs_archive_many(w->store, all, (size_t)batch, NULL, &failure));
    }
    free(m);
}

static void g26_a_drain_costs_a_claim_and_a_finish_for_each_batch(void **state)
{
    static const int batches[] = { 1, 10, 100, 500 };
    world           *w         = *state;
    queue(w, "orders");
    for (size_t i = 0; i < 4; i++) {
        enqueue_count(w, "orders", (size_t)batches[i] * 12, NULL);
        drain(w, batches[i], 1); /* the first one looks everywhere */
        pgqrs_counters before = counted(w->store);
        drain(w, batches[i], 10);
        pgqrs_counters cost = spent(w->store, &before);
        assert_int_equal(20, cost.round_trips);
        assert_int_equal(20, cost.commits);
        /* now and then, by the clock, a claim does the due work as well */
        assert_in_range(cost.statements, 20, 20 + 2 * 10);
        drain(w, batches[i], 1);
    }
    assert_int_equal(0, measure(w, "orders").ready);
}

typedef struct crowd {
    world     *w;
    atomic_int failed;
    atomic_int done;
} crowd;

static void trigger_often(void *shared, size_t i)
{
    crowd *c = shared;
    (void)i;
    for (size_t k = 0; k < ROUNDS; k++)
        if (pgqrs_trigger(c->w->store, "flow", "1", NULL, NULL, NULL) != PGQRS_OK)
            (void)atomic_fetch_add(&c->failed, 1);
}

static void g26_triggers_of_many_callers_share_commits(void **state)
{
    world *w = *state;
    crowd  c = { .w = w };
    workflow(w, "flow");
    (void)trigger(w, "flow", "1");
    pgqrs_counters before = counted(w->store);
    together(CALLERS, trigger_often, &c);
    pgqrs_counters cost = spent(w->store, &before);
    assert_int_equal(0, atomic_load(&c.failed));
    assert_int_equal(CALLERS * ROUNDS, cost.operations);
    assert_true(cost.commits * SHARE < cost.operations);
    assert_true(cost.round_trips * SHARE < cost.operations);
    assert_int_equal(CALLERS * ROUNDS + 1, measure(w, "flow").ready);
}

static void drain_tens(void *shared, size_t i)
{
    crowd *c = shared;
    (void)i;
    for (;;) {
        pgqrs_messages *batch = NULL;
        const message  *all[10];
        size_t          count = 0;
        if (pgqrs_claim(c->w->store, "orders", PGQRS_OPTIONS(claim, .limit = 10), &batch, NULL)
            == PGQRS_OK)
            count = pgqrs_messages_count(batch);
        else
            (void)atomic_fetch_add(&c->failed, 1);
        for (size_t k = 0; k < count; k++)
            all[k] = pgqrs_messages_at(batch, k);
        if (count > 0 && pgqrs_archive_many(c->w->store, all, count, NULL, NULL) != PGQRS_OK)
            (void)atomic_fetch_add(&c->failed, 1);
        pgqrs_messages_free(batch);
        (void)atomic_fetch_add(&c->done, (int)count);
        if (count == 0)
            return;
    }
}

static void g26_consumers_of_one_store_cost_no_more_than_one_by_one(void **state)
{
    world *w = *state;
    crowd  c = { .w = w };
    queue(w, "orders");
    enqueue_count(w, "orders", 800, NULL);
    pgqrs_counters before = counted(w->store);
    together(4, drain_tens, &c);
    pgqrs_counters cost = spent(w->store, &before);
    assert_int_equal(0, atomic_load(&c.failed));
    assert_int_equal(800, atomic_load(&c.done));
    /* 80 batches, and each consumer's last look, which finds nothing */
    assert_true(cost.round_trips <= 2 * 80 + 4 * 3);
    assert_true(cost.commits <= 2 * 80 + 4 * 3);
}

static pgqrs_status finish_it(pgqrs_store *store, const pgqrs_message *m, void *user_data,
                              pgqrs_error *error)
{
    (void)atomic_fetch_add((atomic_int *)user_data, 1);
    return pgqrs_archive(store, m, error);
}

static void g26_handlers_that_finish_one_by_one_share_commits(void **state)
{
    world        *w      = *state;
    pgqrs_worker *worker = NULL;
    atomic_int    done   = 0;
    queue(w, "orders");
    enqueue_count(w, "orders", 2000, NULL);
    assert_ok(
        pgqrs_worker_new(w->store, PGQRS_OPTIONS(worker, .exit_when_idle = 1), &worker, &failure));
    assert_ok(pgqrs_worker_on_message(worker, "orders", finish_it, &done,
                                      PGQRS_OPTIONS(work, .concurrency = CALLERS)));
    pgqrs_counters before = counted(w->store);
    pgqrs_status   rc     = pgqrs_worker_run(worker, &failure);
    pgqrs_counters cost   = spent(w->store, &before);
    pgqrs_worker_free(worker);
    assert_int_equal(PGQRS_OK, rc);
    assert_int_equal(2000, atomic_load(&done));
    assert_int_equal(2000, measure(w, "orders").done);
    assert_true(cost.commits * (SHARE > 2 ? 3 : 1) < 2000);
    assert_true(cost.round_trips * (SHARE > 2 ? 3 : 1) < 2000);
    assert_true(cost.statements * (SHARE > 2 ? 2 : 1) < 2000);
}

static pgqrs_status three_steps(pgqrs_run *run, void *user_data)
{
    static const char *const names[] = { "fetch", "transform", "store" };
    (void)user_data;
    for (size_t i = 0; i < 3; i++) {
        pgqrs_step  *step = NULL;
        pgqrs_status rc   = pgqrs_step_begin(run, names[i], NULL, &step);
        if (rc != PGQRS_OK || (rc = pgqrs_step_succeed(step, "1")) != PGQRS_OK)
            return rc;
    }
    return pgqrs_run_succeed(run, "2");
}

static void g26_whole_runs_side_by_side_cost_less_than_two_commits(void **state)
{
    world *w = *state;
    crowd  c = { .w = w };
    workflow(w, "flow");
    pgqrs_counters before = counted(w->store);
    together(CALLERS, trigger_often, &c);
    pgqrs_worker *worker = NULL;
    assert_ok(
        pgqrs_worker_new(w->store, PGQRS_OPTIONS(worker, .exit_when_idle = 1), &worker, &failure));
    assert_ok(pgqrs_worker_on_run(worker, "flow", three_steps, NULL,
                                  PGQRS_OPTIONS(work, .concurrency = CALLERS)));
    pgqrs_status   rc   = pgqrs_worker_run(worker, &failure);
    pgqrs_counters cost = spent(w->store, &before);
    pgqrs_worker_free(worker);
    assert_int_equal(PGQRS_OK, rc);
    assert_int_equal(CALLERS * ROUNDS, measure(w, "flow").done);
    /* alone a run costs a trigger, a claim, three steps and an end: six */
    assert_true(cost.commits < CALLERS * ROUNDS * (SHARE > 2 ? 2 : 4));
    assert_true(cost.round_trips < CALLERS * ROUNDS * (SHARE > 2 ? 2 : 4));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_REAL(g26_a_drain_costs_a_claim_and_a_finish_for_each_batch),
        CASE_REAL(g26_triggers_of_many_callers_share_commits),
        CASE_REAL(g26_consumers_of_one_store_cost_no_more_than_one_by_one),
        CASE_REAL(g26_handlers_that_finish_one_by_one_share_commits),
        CASE_REAL(g26_whole_runs_side_by_side_cost_less_than_two_commits),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
