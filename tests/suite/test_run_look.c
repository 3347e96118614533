/* Handles by id, and reading runs: lists by status, pages, waiting for the end. */
#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

static void a_handle_by_id_leases_with_its_first_write(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "{\"n\":1}");
    pgqrs_run *run = open_run(w, id);
    assert_int_equal(id, pgqrs_run_id(run));
    assert_string_equal("{\"n\":1}", pgqrs_run_input(run));
    assert_null(pgqrs_run_headers(run));
    assert_int_equal(0, pgqrs_run_message(run)->lease);
    assert_run_status(w, id, PGQRS_RUN_QUEUED);
    step_done(run, "one", "1");
    assert_true(pgqrs_run_message(run)->lease != 0);
    assert_int_equal(1, pgqrs_run_attempt(run));
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "2"));
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
}

static void an_end_is_a_first_write_too(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    first = trigger(w, "flow", "1"), second = trigger(w, "flow", "2");
    pgqrs_run *run = open_run(w, first);
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "1"));
    assert_run_status(w, first, PGQRS_RUN_SUCCESS);
    run = open_run(w, second);
    assert_run(PGQRS_OK, run, pgqrs_run_fail(run, "E", "text"));
    assert_run_status(w, second, PGQRS_RUN_ERROR);
}

static void g03_a_run_held_elsewhere_is_not_started(void **state)
{
    world      *w = *state;
    pgqrs_step *step;
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    assert_non_null(claim_run_from(w, world_open(w), "flow"));
    pgqrs_run *run = open_run(w, id);
    assert_run(PGQRS_ESTATE, run, pgqrs_run_start(run));
    assert_int_equal(PGQRS_OBJECT_RUN, pgqrs_run_error(run)->object);
    assert_run(PGQRS_ESTATE, run, pgqrs_step_begin(run, "one", NULL, &step));
    assert_run(PGQRS_ESTATE, run, pgqrs_run_succeed(run, NULL));
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
}

static void an_ended_run_is_not_started_and_the_error_names_its_state(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    success = trigger(w, "flow", "1"), error = trigger(w, "flow", "2");
    int64_t    cancelled = trigger(w, "flow", "3");
    pgqrs_run *run       = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_fail(run, "E", "text"));
    assert_ok(pgqrs_cancel(w->store, cancelled, NULL, &failure));

    run = open_run(w, success);
    assert_run(PGQRS_ESTATE, run, pgqrs_run_start(run));
    assert_non_null(strcasestr(pgqrs_run_error(run)->message, "success"));
    run = open_run(w, error);
    assert_run(PGQRS_ESTATE, run, pgqrs_run_start(run));
    assert_non_null(strcasestr(pgqrs_run_error(run)->message, "error"));
    run                 = open_run(w, cancelled);
    pgqrs_status status = pgqrs_run_start(run);
    assert_true(status == PGQRS_ESTATE || status == PGQRS_ECANCELLED);
    assert_non_null(strcasestr(pgqrs_run_error(run)->message, "cancelled"));
    assert_int_equal(1, run_record(w, success).attempt);
}

static void a_cancelling_run_is_not_started(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    assert_non_null(claim_run_from(w, world_open(w), "flow"));
    assert_ok(pgqrs_cancel(w->store, id, NULL, &failure));
    pgqrs_run *run = open_run(w, id);
    assert_run(PGQRS_ESTATE, run, pgqrs_run_start(run));
    assert_non_null(strstr(pgqrs_run_error(run)->message, "cancelling"));
}

static void text_of_a_handle_lives_as_long_as_it(void **state)
{
    world *w      = *state;
    char   text[] = "{\"a\":1}garbage";
    workflow(w, "flow");
    pgqrs_run  *run    = open_run(w, trigger(w, "flow", "1"));
    const char *first  = pgqrs_run_printf(run, "{\"n\":%d,\"s\":\"%s\"}", 42, "x");
    const char *second = pgqrs_run_copy(run, text, 7);
    memset(text, 'X', sizeof(text) - 1);
    for (int i = 0; i < 200; i++)
        assert_non_null(pgqrs_run_printf(run, "%0200d", i));
    assert_string_equal("{\"n\":42,\"s\":\"x\"}", first);
    assert_string_equal("{\"a\":1}", second);
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, first));
}

/* The ids of the runs in a list, in order. */
static size_t list(world *w, const char *workflow, const pgqrs_run_list_options *options,
                   int64_t *ids, size_t room)
{
    pgqrs_run_records *runs = NULL;
    assert_ok(pgqrs_run_list(w->store, workflow, options, &runs, &failure));
    size_t count = pgqrs_run_records_count(runs);
    for (size_t i = 0; i < count && i < room; i++)
        ids[i] = pgqrs_run_records_at(runs, i)->id;
    assert_null(pgqrs_run_records_at(runs, count));
    pgqrs_run_records_free(runs);
    assert_true(count <= room);
    return count;
}

static void assert_only(world *w, pgqrs_run_status status, int64_t id)
{
    int64_t ids[16];
    size_t  count = list(w, "flow", PGQRS_OPTIONS(run_list, .status = status), ids, 16);
    assert_int_equal(1, count);
    assert_int_equal(id, ids[0]);
    assert_run_status(w, id, status);
}

static void runs_are_listed_by_status(void **state)
{
    world  *w = *state;
    int64_t ids[7], all[16];
    workflow(w, "flow");
    workflow(w, "other");
    queue(w, "orders");
    (void)enqueue(w, "orders", "1"); /* a message, but not a run */
    for (size_t i = 0; i < 7; i++)
        ids[i] = trigger(w, "flow", "1");
    int64_t    elsewhere = trigger(w, "other", "1");
    pgqrs_run *success = claim_run(w, "flow"), *error = claim_run(w, "flow");
    pgqrs_run *paused = claim_run(w, "flow");
    assert_run(PGQRS_OK, success, pgqrs_run_succeed(success, NULL));
    assert_run(PGQRS_OK, error, pgqrs_run_fail(error, "E", "text"));
    assert_run(PGQRS_EPAUSED, paused, pgqrs_run_pause(paused, "zzz", PGQRS_HOUR));
    (void)claim_run(w, "flow"); /* running */
    (void)claim_run(w, "flow");
    assert_ok(pgqrs_cancel(w->store, ids[4], NULL, &failure)); /* cancelling */
    assert_ok(pgqrs_cancel(w->store, ids[5], NULL, &failure)); /* cancelled */
    assert_only(w, PGQRS_RUN_SUCCESS, ids[0]);
    assert_only(w, PGQRS_RUN_ERROR, ids[1]);
    assert_only(w, PGQRS_RUN_PAUSED, ids[2]);
    assert_only(w, PGQRS_RUN_RUNNING, ids[3]);
    assert_only(w, PGQRS_RUN_CANCELLING, ids[4]);
    assert_only(w, PGQRS_RUN_CANCELLED, ids[5]);
    assert_only(w, PGQRS_RUN_QUEUED, ids[6]);

    assert_int_equal(7, list(w, "flow", NULL, all, 16));
    assert_memory_equal(ids, all, sizeof(ids));
    assert_int_equal(8, list(w, NULL, NULL, all, 16));
    assert_int_equal(elsewhere, all[7]);
    assert_int_equal(
        1, list(w, NULL, PGQRS_OPTIONS(run_list, .status = PGQRS_RUN_QUEUED, .after_id = ids[6]),
                all, 16));
    assert_int_equal(elsewhere, all[0]);
}

static void a_list_of_runs_has_pages(void **state)
{
    world  *w = *state;
    int64_t ids[9], page[4];
    workflow(w, "flow");
    for (size_t i = 0; i < 9; i++)
        ids[i] = trigger(w, "flow", "1");
    for (size_t i = 0; i < 3; i++) { /* ended ones stand among the live ones */
        pgqrs_run *run = claim_run(w, "flow");
        assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    }
    int64_t after = 0;
    for (size_t seen = 0; seen < 9;) {
        size_t here =
            list(w, "flow", PGQRS_OPTIONS(run_list, .limit = 4, .after_id = after), page, 4);
        assert_true(here > 0);
        for (size_t i = 0; i < here; i++)
            assert_int_equal(ids[seen + i], page[i]);
        seen += here;
        after = page[here - 1];
    }
    assert_int_equal(0, list(w, "flow", PGQRS_OPTIONS(run_list, .after_id = after), page, 4));
    pgqrs_run_records *runs = NULL;
    assert_status(PGQRS_ENOTFOUND, pgqrs_run_list(w->store, "absent", NULL, &runs, &failure));
    assert_int_equal(PGQRS_OBJECT_WORKFLOW, failure.object);
    assert_null(runs);
}

static void a_dead_run_is_listed_as_an_error(void **state)
{
    world *w = *state;
    workflow_with(w, "flow", PGQRS_OPTIONS(queue, .max_attempts = 1));
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    assert_ok(pgqrs_retry(w->store, pgqrs_run_message(run), "BOOM", "text", &failure));
    assert_only(w, PGQRS_RUN_ERROR, id);
    assert_true(run_record(w, id).dead);
}

static void waiting_for_an_ended_run_returns_at_once(void **state)
{
    world             *w    = *state;
    pgqrs_run_records *runs = NULL;
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    assert_status(PGQRS_ETIMEDOUT, pgqrs_run_wait(w->store, id, 0, &runs, &failure));
    assert_null(runs);
    assert_status(PGQRS_ENOTFOUND, pgqrs_run_wait(w->store, id + 100, 0, &runs, &failure));
    pgqrs_run *run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "7"));
    assert_ok(pgqrs_run_wait(w->store, id, PGQRS_FOREVER, &runs, &failure));
    bool matches = pgqrs_run_records_count(runs) == 1
                   && strcmp("7", pgqrs_run_records_at(runs, 0)->output) == 0;
    pgqrs_run_records_free(runs);
    assert_true(matches);
}

typedef struct race {
    world       *w;
    int64_t      id;
    pgqrs_status waited;
    pgqrs_status ended;
    bool         matches;
} race;

static void wait_and_end(void *shared, size_t i)
{
    race *r = shared;
    if (i == 0) {
        pgqrs_run_records *runs = NULL;
        r->waited  = pgqrs_run_wait(r->w->store, r->id, 30 * PGQRS_SECOND, &runs, NULL);
        r->matches = pgqrs_run_records_count(runs) == 1
                     && pgqrs_run_records_at(runs, 0)->status == PGQRS_RUN_SUCCESS;
        pgqrs_run_records_free(runs);
    } else {
        pgqrs_run *run = NULL;
        r->ended       = pgqrs_run_open(r->w->store, r->id, &run, NULL);
        if (r->ended == PGQRS_OK)
            r->ended = pgqrs_run_succeed(run, NULL);
        pgqrs_run_free(run);
    }
}

static void a_run_is_waited_for(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    race r = { .w = w, .id = trigger(w, "flow", "1") };
    together(2, wait_and_end, &r);
    assert_int_equal(PGQRS_OK, r.waited);
    assert_int_equal(PGQRS_OK, r.ended);
    assert_true(r.matches);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(a_handle_by_id_leases_with_its_first_write),
        CASE(an_end_is_a_first_write_too),
        CASE(g03_a_run_held_elsewhere_is_not_started),
        CASE(an_ended_run_is_not_started_and_the_error_names_its_state),
        CASE(a_cancelling_run_is_not_started),
        CASE(text_of_a_handle_lives_as_long_as_it),
        CASE(runs_are_listed_by_status),
        CASE(a_list_of_runs_has_pages),
        CASE(a_dead_run_is_listed_as_an_error),
        CASE(waiting_for_an_ended_run_returns_at_once),
        CASE_REAL(a_run_is_waited_for),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
