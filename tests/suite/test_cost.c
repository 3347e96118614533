/* What each operation costs, counted at the connection: design, section 3. The clocks are the real
 * ones: what is counted is what runs in production. */
#include <stdlib.h>

#include "support/world.h"

typedef struct cost {
    int64_t statements;
    int64_t round_trips;
    int64_t commits;
} cost;

#define assert_cost(store, before, ...) \
    expect_cost((store), (before), (cost){ __VA_ARGS__ }, __FILE__, __LINE__)

/* Exactly so much was sent since @p before. */
static void expect_cost(pgqrs_store *store, const pgqrs_counters *before, cost expected,
                        const char *file, int line)
{
    pgqrs_counters got = spent(store, before);
    if (got.statements == expected.statements && got.round_trips == expected.round_trips
        && got.commits == expected.commits)
        return;
    print_error("expected %d statements, %d round trips, %d commits; got %d, %d, %d\n",
                (int)expected.statements, (int)expected.round_trips, (int)expected.commits,
                (int)got.statements, (int)got.round_trips, (int)got.commits);
    _fail(file, line);
}

static void g26_an_enqueue_costs_one(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1"); /* the store knows the queue from here on */
    pgqrs_counters before = counted(w->store);
    (void)enqueue(w, "orders", "1");
    assert_cost(w->store, &before, 1, 1, 1);
    before = counted(w->store);
    (void)enqueue_with(w, "orders", "1",
                       PGQRS_OPTIONS(enqueue, .delay_us = 1, .priority = 2, .headers = "{}"));
    assert_cost(w->store, &before, 1, 1, 1);
    pgqrs_counters after = spent(w->store, &before);
    assert_int_equal(1, after.groups);
    assert_int_equal(1, after.operations);
}

static void g26_a_batch_costs_the_same_whatever_its_size(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    pgqrs_counters before = counted(w->store);
    enqueue_count(w, "orders", 1000, NULL);
    assert_cost(w->store, &before, 1, 1, 1);
    before = counted(w->store);
    enqueue_count(w, "orders", 10000, NULL);
    assert_cost(w->store, &before, 1, 1, 1);
}

static void g26_a_keyed_enqueue_costs_one_round_trip(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "a"));
    pgqrs_counters before = counted(w->store);
    (void)enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "b"));
    assert_cost(w->store, &before, 2, 1, 1);
    before = counted(w->store);
    (void)enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "b"));
    pgqrs_counters again = spent(w->store, &before);
    assert_int_equal(2, again.statements);
    assert_int_equal(1, again.round_trips);
}

static void g26_a_claim_costs_one(void **state)
{
    world   *w    = *state;
    message *m    = calloc(1000, sizeof(*m));
    int64_t  best = INT64_MAX;
    assert_non_null(m);
    queue(w, "orders");
    enqueue_count(w, "orders", 2200, NULL);
    (void)claim_one(w, "orders"); /* the first one looks everywhere */
    pgqrs_counters before = counted(w->store);
    assert_int_equal(1000, claim_many(w, "orders", 1000, m));
    pgqrs_counters large = spent(w->store, &before);
    free(m);
    assert_int_equal(1, large.round_trips);
    assert_int_equal(1, large.commits);
    for (int i = 0; i < 10;
         i++) { /* now and then, by the clock, a claim does the due work as well */
        before = counted(w->store);
        (void)claim_one(w, "orders");
        pgqrs_counters got = spent(w->store, &before);
        assert_int_equal(1, got.round_trips);
        assert_int_equal(1, got.commits);
        best = got.statements < best ? got.statements : best;
    }
    assert_int_equal(1, best);
}

static void g26_an_empty_claim_costs_one_round_trip(void **state)
{
    world *w = *state;
    queue(w, "orders");
    assert_int_equal(0, claim_one(w, "orders").id);
    pgqrs_counters before = counted(w->store);
    assert_int_equal(0, claim_one(w, "orders").id);
    pgqrs_counters got = spent(w->store, &before);
    assert_true(got.round_trips <= 2);
    assert_true(got.statements <= 4);
}

static void g26_finishing_costs_one_for_any_number(void **state)
{
    world         *w = *state;
    message        m[50];
    const message *all[50];
    pgqrs_status   statuses[50];
    queue(w, "orders");
    queue(w, "other");
    enqueue_count(w, "orders", 60, NULL);
    enqueue_count(w, "other", 30, NULL);
    assert_int_equal(20, claim_many(w, "orders", 20, m));
    assert_int_equal(30, claim_many(w, "other", 30, m + 20)); /* two queues, two leases */
    for (size_t i = 0; i < 50; i++)
        all[i] = &m[i];

    pgqrs_counters before = counted(w->store);
    assert_ok(pgqrs_extend_many(w->store, all, 50, 0, statuses, &failure));
    assert_cost(w->store, &before, 1, 1, 1);
    before = counted(w->store);
    assert_ok(pgqrs_archive_many(w->store, all, 20, statuses, &failure));
    assert_cost(w->store, &before, 1, 1, 1);
    before = counted(w->store);
    assert_ok(pgqrs_delete_many(w->store, all + 20, 10, statuses, &failure));
    assert_cost(w->store, &before, 1, 1, 1);
    before = counted(w->store);
    assert_ok(pgqrs_release_many(w->store, all + 30, 20, NULL, statuses, &failure));
    assert_cost(w->store, &before, 1, 1, 1);

    message one = claim_one(w, "orders");
    before      = counted(w->store);
    assert_ok(pgqrs_archive(w->store, &one, &failure));
    assert_cost(w->store, &before, 1, 1, 1);
    one    = claim_one(w, "orders");
    before = counted(w->store);
    assert_ok(pgqrs_retry(w->store, &one, "E", "text", &failure));
    assert_cost(w->store, &before, 1, 1, 1);
    one    = claim_one(w, "orders");
    before = counted(w->store);
    assert_ok(pgqrs_dead_letter(w->store, &one, "E", "text", &failure));
    assert_cost(w->store, &before, 1, 1, 1);
}

static void g26_a_workflow_costs_its_steps_and_three(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    for (int i = 0; i < 8; i++)
        (void)trigger(w, "flow", "1");
    pgqrs_counters before = counted(w->store);
    (void)trigger(w, "flow", "1");
    assert_cost(w->store, &before, 1, 1, 1);

    pgqrs_run *run = claim_run(w, "flow"); /* the first claim looks everywhere */
    before         = counted(w->store);
    run            = claim_run(w, "flow");
    assert_cost(w->store, &before, 1, 1, 1);

    before           = counted(w->store);
    pgqrs_step *step = begin(run, "one");
    assert_cost(w->store, &before, 0, 0, 0); /* what is recorded came with the claim */
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
    assert_cost(w->store, &before, 1, 1, 1);
    step_done(run, "two", "2");
    step_done(run, "three", "3");
    assert_cost(w->store, &before, 3, 3, 3);

    before = counted(w->store);
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "4"));
    assert_cost(w->store, &before, 1, 1, 1);
}

static void g26_a_replayed_step_costs_nothing(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    (void)trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    step_done(run, "one", "1");
    assert_ok(pgqrs_release(w->store, pgqrs_run_message(run), NULL, &failure));
    run                   = claim_run(w, "flow");
    pgqrs_counters before = counted(w->store);
    assert_string_equal("1", replayed(run, "one"));
    assert_cost(w->store, &before, 0, 0, 0);
}

static void g26_a_step_after_a_long_one_asks_once_more(void **state)
{
    world *w = *state; /* this one's clock stands still */
    workflow(w, "flow");
    (void)trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    step_done(run, "one", "1");
    advance(w, PGQRS_SECOND + 1);
    pgqrs_counters before = counted(w->store);
    pgqrs_step    *step   = begin(run, "two");
    pgqrs_counters asked  = spent(w->store, &before);
    assert_int_equal(1, asked.statements);
    assert_int_equal(1, asked.round_trips);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "2"));
    asked = spent(w->store, &before);
    assert_int_equal(2, asked.statements);
    assert_int_equal(2, asked.round_trips);
}

static void g26_reading_does_not_write(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    step_done(claim_run(w, "flow"), "one", "1");
    pgqrs_counters before = counted(w->store);
    (void)record(w, id);
    assert_cost(w->store, &before, 1, 1, 0);
    before = counted(w->store);
    (void)run_record(w, id);
    assert_cost(w->store, &before, 1, 1, 0);
    before = counted(w->store);
    (void)step_count(w, id);
    assert_cost(w->store, &before, 1, 1, 0);
    before = counted(w->store);
    (void)measure(w, "flow");
    assert_int_equal(0, spent(w->store, &before).commits);
}

static void g26_a_heartbeat_is_one_statement(void **state)
{
    world  *w = *state;
    int64_t ids[10];
    for (size_t i = 0; i < 10; i++)
        assert_ok(pgqrs_worker_register(w->store, NULL, NULL, &ids[i], &failure));
    pgqrs_counters before = counted(w->store);
    assert_ok(pgqrs_worker_heartbeat(w->store, ids, 10, &failure));
    assert_cost(w->store, &before, 1, 1, 1);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_REAL(g26_an_enqueue_costs_one),
        CASE_REAL(g26_a_batch_costs_the_same_whatever_its_size),
        CASE_REAL(g26_a_keyed_enqueue_costs_one_round_trip),
        CASE_REAL(g26_a_claim_costs_one),
        CASE_REAL(g26_an_empty_claim_costs_one_round_trip),
        CASE_REAL(g26_finishing_costs_one_for_any_number),
        CASE_REAL(g26_a_workflow_costs_its_steps_and_three),
        CASE_REAL(g26_a_replayed_step_costs_nothing),
        CASE(g26_a_step_after_a_long_one_asks_once_more),
        CASE_REAL(g26_reading_does_not_write),
        CASE_REAL(g26_a_heartbeat_is_one_statement),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
