/* Callers that write at the same moment share a commit, and nothing else. */
#include "support/gather.h"
#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

#define CALLERS 64
#define ROUNDS  20

typedef struct crowd {
    world       *w;
    int64_t      ids[CALLERS][ROUNDS];
    pgqrs_status statuses[CALLERS][ROUNDS];
    message      held[CALLERS];
    pgqrs_run   *runs[CALLERS];
    pgqrs_store *stores[8];
    size_t       round;
    atomic_int   unexpected;
} crowd;

/* What is sent while there are others on their way waits for them, but not for each. */
static void assert_shared(pgqrs_counters cost)
{
    assert_int_equal(CALLERS, cost.operations);
    assert_true(cost.commits <= 2);
    assert_true(cost.statements <= 8); /* and they were folded */
}

static void enqueue_nth(crowd *c, size_t i, size_t k)
{
    char payload[32];
    (void)snprintf(payload, sizeof(payload), "[%zu,%zu]", i, k);
    c->statuses[i][k] = pgqrs_enqueue(c->w->store, "orders", payload, NULL, &c->ids[i][k], NULL);
}

static void enqueue_first(void *shared, size_t i)
{
    enqueue_nth(shared, i, 0);
}

static void enqueue_the_others(void *shared, size_t i)
{
    for (size_t k = 1; k < ROUNDS; k++)
        enqueue_nth(shared, i, k);
}

static void g26_many_callers_share_commits_and_get_their_own_ids(void **state)
{
    static crowd c;
    world       *w = *state;
    c              = (crowd){ .w = w };
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    assert_shared(gathered(w, CALLERS, enqueue_first, &c));
    together(CALLERS, enqueue_the_others, &c);
    for (size_t i = 0; i < CALLERS; i++)
        for (size_t k = 0; k < ROUNDS; k++) {
            char payload[32];
            (void)snprintf(payload, sizeof(payload), "[%zu,%zu]", i, k);
            assert_int_equal(PGQRS_OK, c.statuses[i][k]);
            if (k % 7 == 0)
                assert_string_equal(payload, record(w, c.ids[i][k]).payload);
            assert_true(k == 0 || c.ids[i][k - 1] < c.ids[i][k]);
        }
    assert_int_equal(CALLERS * ROUNDS + 1, measure(w, "orders").ready);
    assert_consistent(w);
}

static void enqueue_to_two(void *shared, size_t i)
{
    crowd *c = shared;
    for (size_t k = 0; k < ROUNDS; k++) {
        pgqrs_status expected = i % 2 == 0 ? PGQRS_OK : PGQRS_ENOTFOUND;
        pgqrs_status status =
            pgqrs_enqueue(c->w->store, i % 2 == 0 ? "orders" : "deleted", "1", NULL, NULL, NULL);
        if (status != expected)
            (void)atomic_fetch_add(&c->unexpected, 1);
    }
}

static void g23_a_neighbour_without_a_queue_disturbs_nobody(void **state)
{
    static crowd c;
    world       *w     = *state;
    pgqrs_store *other = world_open(w);
    c                  = (crowd){ .w = w };
    queue(w, "orders");
    queue(w, "deleted");
    (void)enqueue(w, "deleted",
                  "1"); /* this store knows its id, and does not know that it is gone */
    assert_ok(pgqrs_queue_delete(other, "deleted", false, &failure));
    together(16, enqueue_to_two, &c);
    assert_int_equal(0, atomic_load(&c.unexpected));
    assert_int_equal(8 * ROUNDS, measure(w, "orders").ready);
}

static void enqueue_poison_among_others(void *shared, size_t i)
{
    crowd *c = shared;
    for (size_t k = 0; k < 4; k++) {
        bool         poison   = i % 4 == 3;
        pgqrs_status expected = poison ? PGQRS_EDB : PGQRS_OK;
        pgqrs_error  error;
        pgqrs_status status = pgqrs_enqueue(c->w->store, "orders",
                                            poison ? "\"poison\"" : "\"good\"", NULL, NULL, &error);
        if (status != expected || error.status != expected)
            (void)atomic_fetch_add(&c->unexpected, 1);
    }
}

static void g23_a_neighbour_that_the_database_refuses_disturbs_nobody(void **state)
{
    static crowd c;
    world       *w = *state;
    c              = (crowd){ .w = w };
    queue(w, "orders");
    sql_run_each(w,
                 "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                 "new.payload::text = '\"poison\"' THEN RAISE 'poisoned'; END IF; RETURN new; END "
                 "$$; CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages FOR EACH ROW EXECUTE "
                 "FUNCTION refuse()",
                 "CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages WHEN new.payload = "
                 "'\"poison\"' BEGIN SELECT RAISE(ABORT, 'poisoned'); END");
    together(32, enqueue_poison_among_others, &c);
    assert_int_equal(0, atomic_load(&c.unexpected));
    assert_int_equal(24 * 4, measure(w, "orders").ready);
    assert_consistent(w);
}

static void finish_mine(void *shared, size_t i)
{
    crowd *c          = shared;
    c->statuses[i][0] = i % 3 == 2   ? pgqrs_extend(c->w->store, &c->held[i], PGQRS_HOUR, NULL)
                        : i % 3 == 1 ? pgqrs_release(c->w->store, &c->held[i], NULL, NULL)
                                     : pgqrs_archive(c->w->store, &c->held[i], NULL);
}

static void g23_a_lost_lease_is_its_holders_loss_alone(void **state)
{
    static crowd c;
    world       *w = *state;
    c              = (crowd){ .w = w };
    queue(w, "orders");
    enqueue_count(w, "orders", CALLERS, NULL);
    assert_int_equal(CALLERS, claim_many(w, "orders", CALLERS, c.held));
    for (size_t i = 0; i < CALLERS; i += 5)
        c.held[i].lease++; /* somebody else's */
    pgqrs_counters cost = gathered(w, CALLERS, finish_mine, &c);
    for (size_t i = 0; i < CALLERS; i++) {
        pgqrs_state expected = i % 5 == 0   ? PGQRS_STATE_LEASED
                               : i % 3 == 0 ? PGQRS_STATE_DONE
                               : i % 3 == 1 ? PGQRS_STATE_READY
                                            : PGQRS_STATE_LEASED;
        assert_int_equal(i % 5 == 0 ? PGQRS_ELEASE : PGQRS_OK, c.statuses[i][0]);
        assert_state(w, c.held[i].id, expected);
    }
    assert_shared(cost);
    assert_consistent(w);
}

static void record_step(void *shared, size_t i)
{
    crowd      *c = shared;
    char        name[16], output[16];
    pgqrs_step *step = NULL;
    (void)snprintf(name, sizeof(name), "s%zu", c->round);
    (void)snprintf(output, sizeof(output), "%zu", i);
    if (pgqrs_step_begin(c->runs[i], name, NULL, &step) != PGQRS_OK
        || pgqrs_step_succeed(step, output) != PGQRS_OK)
        (void)atomic_fetch_add(&c->unexpected, 1);
}

static void end_run(void *shared, size_t i)
{
    crowd *c = shared;
    if (pgqrs_run_succeed(c->runs[i], NULL) != PGQRS_OK)
        (void)atomic_fetch_add(&c->unexpected, 1);
}

static void g26_steps_of_many_runs_share_commits(void **state)
{
    static crowd c;
    world       *w = *state;
    c              = (crowd){ .w = w };
    workflow(w, "flow");
    for (size_t i = 0; i < CALLERS; i++) {
        (void)trigger(w, "flow", "1");
        c.runs[i] = claim_run(w, "flow");
    }
    for (; c.round < ROUNDS; c.round++)
        assert_shared(gathered(w, CALLERS, record_step, &c));
    assert_shared(gathered(w, CALLERS, end_run, &c));
    assert_int_equal(0, atomic_load(&c.unexpected));
    for (size_t i = 0; i < CALLERS; i++) {
        char    output[16];
        int64_t id = pgqrs_run_id(c.runs[i]);
        (void)snprintf(output, sizeof(output), "%zu", i);
        assert_run_status(w, id, PGQRS_RUN_SUCCESS);
        assert_int_equal(ROUNDS, step_count(w, id));
        assert_string_equal(output, step_record(w, id, "s7").output);
    }
    assert_consistent(w);
}

static void record_the_same_step(void *shared, size_t i)
{
    crowd      *c = shared;
    char        text[16];
    pgqrs_step *step = NULL;
    (void)snprintf(text, sizeof(text), "%zu", i);
    if (pgqrs_step_begin(c->runs[i], "charge", NULL, &step) != PGQRS_OK
        || pgqrs_step_succeed(step, text) != PGQRS_OK)
        (void)atomic_fetch_add(&c->unexpected, 1);
    else
        c->ids[i][0] = pgqrs_step_output(step) == NULL ? -1 : pgqrs_step_output(step)[0];
}

static void g09_of_many_records_of_one_step_one_stands_for_all(void **state)
{
    static crowd    c;
    world          *w     = *state;
    pgqrs_messages *batch = NULL;
    c                     = (crowd){ .w = w };
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    assert_ok(pgqrs_claim(w->store, "flow", NULL, &batch, &failure));
    bool open = true;
    for (size_t i = 0; i < 8; i++)
        open = open && pgqrs_run_from(w->store, batch, 0, &c.runs[i], NULL) == PGQRS_OK;
    if (open)
        together(8, record_the_same_step, &c);
    for (size_t i = 0; i < 8; i++)
        pgqrs_run_free(c.runs[i]);
    pgqrs_messages_free(batch);
    assert_true(open);
    assert_int_equal(0, atomic_load(&c.unexpected));
    const char *stands = step_record(w, id, "charge").output;
    assert_non_null(stands);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(stands[0], c.ids[i][0]);
    assert_int_equal(1, step_count(w, id));
}

static void several_stores_write_at_once(void *shared, size_t i)
{
    crowd *c = shared;
    /* the keys are the same in every store, in another order in each */
    for (size_t k = 0; k < ROUNDS; k++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%zu", i % 2 == 0 ? k : ROUNDS - 1 - k);
        c->statuses[i][k] = pgqrs_enqueue(c->stores[i], "orders", "1",
                                          PGQRS_OPTIONS(enqueue, .key = key), &c->ids[i][k], NULL);
    }
}

static void g35_stores_of_one_database_share_it_without_deadlock(void **state)
{
    static crowd c;
    world       *w = *state;
    c              = (crowd){ .w = w };
    queue(w, "orders");
    for (size_t i = 0; i < 8; i++)
        c.stores[i] = world_open(w);
    together(8, several_stores_write_at_once, &c);
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < ROUNDS; k++) {
            assert_int_equal(PGQRS_OK, c.statuses[i][k]);
            assert_int_equal(c.ids[i % 2][k], c.ids[i][k]);
        }
    assert_int_equal(ROUNDS, measure(w, "orders").ready);
    assert_consistent(w);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g26_many_callers_share_commits_and_get_their_own_ids),
        CASE(g23_a_neighbour_without_a_queue_disturbs_nobody),
        CASE(g23_a_neighbour_that_the_database_refuses_disturbs_nobody),
        CASE(g23_a_lost_lease_is_its_holders_loss_alone),
        CASE(g26_steps_of_many_runs_share_commits),
        CASE(g09_of_many_records_of_one_step_one_stands_for_all),
        CASE(g35_stores_of_one_database_share_it_without_deadlock),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
