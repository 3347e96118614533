/* Steps: recorded once and replayed, retried by their policy, numbered when repeated. */
#include "support/peek.h"
#include "support/world.h"

/* A fresh run of a fresh workflow, leased for a day. */
static pgqrs_run *fresh_run(world *w)
{
    workflow_with(w, "flow", PGQRS_OPTIONS(queue, .lease_us = PGQRS_DAY));
    (void)trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    assert_non_null(run);
    return run;
}

/* The run goes back, and to somebody else. */
static pgqrs_run *next_holder(world *w, pgqrs_run *run)
{
    assert_ok(pgqrs_release(w->store, pgqrs_run_message(run), NULL, &failure));
    drop_run(w, run);
    run = claim_run_from(w, world_open(w), "flow");
    assert_non_null(run);
    return run;
}

/* Fail a step transiently, by its policy, and return when it comes back. */
static int64_t fail_once(world *w, pgqrs_run *run, const pgqrs_step_options *options, int retries)
{
    pgqrs_step *step = NULL;
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "call", options, &step));
    assert_int_equal(retries, pgqrs_step_retries(step));
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_retry(step, "UPSTREAM", "503", 0));
    pgqrs_step_record r = step_record(w, pgqrs_run_id(run), "call");
    assert_int_equal(PGQRS_STEP_RETRY, r.status);
    assert_int_equal(retries + 1, r.retries);
    assert_non_null(strstr(r.error, "UPSTREAM"));
    assert_non_null(strstr(r.error, "503"));
    return r.retry_at_us;
}

static void g09_a_result_is_recorded_and_replayed(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = fresh_run(w);
    int64_t    id  = pgqrs_run_id(run);
    advance(w, PGQRS_SECOND);
    pgqrs_step *step = begin(run, "charge");
    assert_string_equal("charge", pgqrs_step_name(step));
    assert_null(pgqrs_step_output(step));
    assert_int_equal(0, pgqrs_step_retries(step));
    assert_ptr_equal(run, pgqrs_step_run(step));
    advance(w, PGQRS_SECOND);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "{ \"receipt\" : 1 }"));
    assert_true(pgqrs_step_recorded(step));
    assert_string_equal("{ \"receipt\" : 1 }", pgqrs_step_output(step));
    pgqrs_step_record r = step_record(w, id, "charge");
    assert_int_equal(id, r.run_id);
    assert_int_equal(PGQRS_STEP_SUCCESS, r.status);
    assert_int_equal(0, r.retries);
    assert_int_equal(now_us(w), r.finished_at_us);
    assert_int_equal(now_us(w) - PGQRS_SECOND, r.started_at_us);
    assert_int_equal(0, r.retry_at_us);
    assert_string_equal("{ \"receipt\" : 1 }", r.output);
    assert_null(r.error);

    run = next_holder(w, run);
    assert_string_equal("{ \"receipt\" : 1 }", replayed(run, "charge"));
    assert_int_equal(1, step_count(w, id));
}

/* The first claim of a store takes longest: it connects, and prepares. */
static void a_step_starts_before_it_finishes(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    for (int i = 0; i < 8; i++) {
        pgqrs_store    *store = world_open(w);
        pgqrs_messages *batch = NULL;
        pgqrs_run      *run   = NULL;
        pgqrs_step     *step  = NULL;
        int64_t         id    = trigger(w, "flow", "1");
        assert_ok(pgqrs_claim(store, "flow", NULL, &batch, &failure));
        assert_ok(pgqrs_run_from(store, batch, 0, &run, &failure));
        pgqrs_messages_free(batch);
        bool done = pgqrs_step_begin(run, "one", NULL, &step) == PGQRS_OK
                    && pgqrs_step_succeed(step, NULL) == PGQRS_OK
                    && pgqrs_run_succeed(run, NULL) == PGQRS_OK;
        pgqrs_run_free(run);
        assert_true(done);
        pgqrs_step_record r = step_record(w, id, "one");
        assert_in_range(r.finished_at_us - r.started_at_us, 0, PGQRS_MINUTE);
    }
}

static void g09_a_crash_before_the_record_executes_again_and_after_it_does_not(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = fresh_run(w);
    step_done(run, "recorded", "1");
    (void)begin(run, "in flight"); /* and here the process dies */
    drop_run(w, run);
    advance(w, PGQRS_DAY + 1);
    run = claim_run_from(w, world_open(w), "flow");
    assert_int_equal(2, pgqrs_run_attempt(run));
    assert_string_equal("1", replayed(run, "recorded"));
    step_done(run, "in flight", "2");
}

static void g09_a_result_without_output_is_a_result(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = fresh_run(w);
    step_done(run, "quiet", NULL);
    step_done(run, "null", "null");
    run = next_holder(w, run);
    assert_null(replayed(run, "quiet"));
    assert_string_equal("null", replayed(run, "null"));
}

static void g09_the_first_of_two_results_stands(void **state)
{
    world          *w     = *state;
    pgqrs_messages *batch = NULL;
    pgqrs_run      *first = NULL, *second = NULL;
    pgqrs_step     *mine = NULL, *theirs = NULL;
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    /* two handles on one lease: what a careless program does */
    assert_ok(pgqrs_claim(w->store, "flow", NULL, &batch, &failure));
    bool open = pgqrs_run_from(w->store, batch, 0, &first, &failure) == PGQRS_OK
                && pgqrs_run_from(w->store, batch, 0, &second, &failure) == PGQRS_OK
                && pgqrs_step_begin(first, "charge", NULL, &mine) == PGQRS_OK
                && pgqrs_step_begin(second, "charge", NULL, &theirs) == PGQRS_OK;
    bool recorded = open && pgqrs_step_succeed(mine, "\"first\"") == PGQRS_OK
                    && pgqrs_step_succeed(theirs, "\"second\"") == PGQRS_OK;
    bool stands = recorded && strcmp("\"first\"", pgqrs_step_output(theirs)) == 0;
    pgqrs_run_free(second);
    pgqrs_run_free(first);
    pgqrs_messages_free(batch);
    assert_true(open);
    assert_true(recorded);
    assert_true(stands);
    assert_string_equal("\"first\"", step_record(w, id, "charge").output);
}

static void g36_the_next_holder_sees_every_recorded_step(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = fresh_run(w);
    char       name[32], output[32];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        (void)snprintf(output, sizeof(output), "%d", i);
        step_done(run, name, output);
        if (i % 10 == 9)
            run = next_holder(w, run);
    }
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        (void)snprintf(output, sizeof(output), "%d", i);
        assert_string_equal(output, replayed(run, name));
    }
}

static void g36_each_run_of_a_claim_has_its_own_steps(void **state)
{
    world          *w     = *state;
    pgqrs_messages *batch = NULL;
    pgqrs_run      *runs[3];
    char            output[16];
    workflow(w, "flow");
    for (int i = 0; i < 3; i++)
        (void)trigger(w, "flow", "1");
    for (int i = 0; i < 3; i++) {
        pgqrs_run *run = claim_run(w, "flow");
        (void)snprintf(output, sizeof(output), "%d", i);
        for (int k = 0; k < i; k++) /* none, one, two */
            step_done(run, k == 0 ? "a" : "b", output);
        runs[i] = run;
    }
    for (int i = 0; i < 3; i++)
        assert_ok(pgqrs_release(w->store, pgqrs_run_message(runs[i]), NULL, &failure));
    assert_ok(pgqrs_claim(w->store, "flow", PGQRS_OPTIONS(claim, .limit = 3), &batch, &failure));
    assert_int_equal(3, pgqrs_messages_count(batch));
    size_t recorded[3] = { 0 };
    for (size_t i = 0; i < 3; i++) {
        pgqrs_run *run = NULL;
        if (pgqrs_run_from(w->store, batch, i, &run, &failure) != PGQRS_OK)
            continue;
        for (int k = 0; k < 2; k++) {
            pgqrs_step *step = NULL;
            if (pgqrs_step_begin(run, k == 0 ? "a" : "b", NULL, &step) == PGQRS_OK
                && pgqrs_step_recorded(step) && pgqrs_step_output(step)[0] == (char)('0' + (int)i))
                recorded[i]++;
        }
        pgqrs_run_free(run);
    }
    pgqrs_messages_free(batch);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(i, recorded[i]);
}

static void g19_a_repeated_name_is_numbered_in_order(void **state)
{
    world      *w     = *state;
    pgqrs_run  *run   = fresh_run(w);
    const char *all[] = { "charge", "charge#2", "charge#3" };
    for (int i = 0; i < 3; i++) {
        char        output[32];
        pgqrs_step *step = begin(run, "charge");
        assert_string_equal(all[i], pgqrs_step_name(step));
        (void)snprintf(output, sizeof(output), "%d", i);
        assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, output));
    }
    step_done(run, "other", "9");
    run = next_holder(w, run); /* counts from the start again */
    assert_string_equal("0", replayed(run, "charge"));
    assert_string_equal("9", replayed(run, "other"));
    assert_string_equal("1", replayed(run, "charge"));
    assert_string_equal("2", replayed(run, "charge"));
    assert_string_equal("charge#4", pgqrs_step_name(begin(run, "charge")));
}

static void g19_a_key_is_one_step_however_often_it_is_begun(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = fresh_run(w);
    pgqrs_step *step = NULL;
    for (int i = 0; i < 3; i++) {
        assert_run(PGQRS_OK, run,
                   pgqrs_step_begin(run, "charge", PGQRS_OPTIONS(step, .by_key = true), &step));
        assert_string_equal("charge", pgqrs_step_name(step));
        assert_int_equal(i > 0, pgqrs_step_recorded(step));
        if (i == 0)
            assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
        assert_string_equal("1", pgqrs_step_output(step));
    }
    assert_int_equal(1, step_count(w, pgqrs_run_id(run)));
}

static void a_steps_key_is_the_same_in_every_attempt_and_its_own(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = fresh_run(w);
    char       first[512], second[512];
    (void)snprintf(first, sizeof(first), "%s", pgqrs_step_key(begin(run, "charge")));
    (void)snprintf(second, sizeof(second), "%s", pgqrs_step_key(begin(run, "charge")));
    assert_string_not_equal(first, second);
    run = next_holder(w, run);
    assert_string_equal(first, pgqrs_step_key(begin(run, "charge")));
    assert_string_equal(second, pgqrs_step_key(begin(run, "charge")));
    (void)trigger(w, "flow", "2");
    assert_string_not_equal(first, pgqrs_step_key(begin(claim_run(w, "flow"), "charge")));
}

static void g18_a_retried_step_comes_back_at_its_time_and_not_before(void **state)
{
    world             *w      = *state;
    pgqrs_run         *run    = fresh_run(w);
    pgqrs_step        *step   = NULL;
    pgqrs_step_options by_key = *PGQRS_OPTIONS(step, .by_key = true, .backoff = PGQRS_BACKOFF_FIXED,
                                               .backoff_us = 10 * PGQRS_SECOND);
    assert_int_equal(now_us(w) + 10 * PGQRS_SECOND, fail_once(w, run, &by_key, 0));
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_begin(run, "call", &by_key, &step));
    advance(w, 10 * PGQRS_SECOND - 1);
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_begin(run, "call", &by_key, &step));
    advance(w, 1);
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "call", &by_key, &step));
    assert_false(pgqrs_step_recorded(step));
    assert_int_equal(1, pgqrs_step_retries(step));
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "\"at last\""));
    pgqrs_step_record r = step_record(w, pgqrs_run_id(run), "call");
    assert_int_equal(PGQRS_STEP_SUCCESS, r.status);
    assert_int_equal(1, r.retries);
    assert_int_equal(0, r.retry_at_us);
    assert_null(r.error);
}

static void g18_another_holder_waits_for_the_time_as_well(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = fresh_run(w);
    pgqrs_step *step = NULL;
    assert_run(PGQRS_ENOTREADY, run,
               pgqrs_step_retry(begin(run, "call"), "E", "text", PGQRS_MINUTE));
    run = next_holder(w, run);
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_begin(run, "call", NULL, &step));
    run = next_holder(w, run);
    advance(w, PGQRS_MINUTE);
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "call", NULL, &step));
    assert_int_equal(1, pgqrs_step_retries(step));
}

static void g18_a_fixed_backoff_is_exact(void **state)
{
    world             *w   = *state;
    pgqrs_run         *run = fresh_run(w);
    pgqrs_step_options policy =
        *PGQRS_OPTIONS(step, .by_key = true, .max_retries = 5, .backoff = PGQRS_BACKOFF_FIXED,
                       .backoff_us = 7 * PGQRS_SECOND);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(now_us(w) + 7 * PGQRS_SECOND, fail_once(w, run, &policy, i));
        advance(w, 7 * PGQRS_SECOND);
    }
}

static void g18_an_exponential_backoff_doubles_up_to_its_maximum(void **state)
{
    world             *w          = *state;
    pgqrs_run         *run        = fresh_run(w);
    const int64_t      expected[] = { 2, 4, 8, 16, 20, 20 };
    pgqrs_step_options policy =
        *PGQRS_OPTIONS(step, .by_key = true, .max_retries = 6, .backoff = PGQRS_BACKOFF_EXPONENTIAL,
                       .backoff_us = 2 * PGQRS_SECOND, .backoff_max_us = 20 * PGQRS_SECOND);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(now_us(w) + expected[i] * PGQRS_SECOND, fail_once(w, run, &policy, i));
        advance(w, expected[i] * PGQRS_SECOND);
    }
}

static void g18_jitter_stays_within_a_quarter(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = fresh_run(w);
    int64_t    low = PGQRS_DAY, high = 0;
    for (int i = 0; i < 40; i++) { /* forty steps, each failing for the first time */
        char        name[32];
        pgqrs_step *step = NULL;
        (void)snprintf(name, sizeof(name), "call %d", i);
        assert_run(PGQRS_OK, run,
                   pgqrs_step_begin(run, name, PGQRS_OPTIONS(step, .backoff_us = 8 * PGQRS_SECOND),
                                    &step));
        assert_run(PGQRS_ENOTREADY, run, pgqrs_step_retry(step, "E", "text", 0));
        int64_t delay = step_record(w, pgqrs_run_id(run), name).retry_at_us - now_us(w);
        assert_in_range(delay, 6 * PGQRS_SECOND, 10 * PGQRS_SECOND);
        low  = delay < low ? delay : low;
        high = delay > high ? delay : high;
    }
    assert_true(high - low > PGQRS_SECOND); /* and is not the same each time */
}

static void g18_the_default_policy_is_three_retries_from_one_second(void **state)
{
    world      *w     = *state;
    pgqrs_run  *run   = fresh_run(w);
    pgqrs_step *step  = NULL;
    int64_t     exact = PGQRS_SECOND;
    for (int i = 0; i < 3; i++, exact *= 2) {
        int64_t at = fail_once(w, run, PGQRS_OPTIONS(step, .by_key = true), i);
        assert_in_range(at - now_us(w), exact * 3 / 4, exact * 5 / 4);
        advance(w, at - now_us(w));
    }
    assert_run(PGQRS_OK, run,
               pgqrs_step_begin(run, "call", PGQRS_OPTIONS(step, .by_key = true), &step));
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_retry(step, "LAST", "text", 0));
}

static void a_time_of_ones_own_beats_the_policy(void **state)
{
    world     *w   = *state;
    pgqrs_run *run = fresh_run(w);
    assert_run(PGQRS_ENOTREADY, run,
               pgqrs_step_retry(begin(run, "call"), "RATE", "later", 3 * PGQRS_HOUR));
    assert_int_equal(now_us(w) + 3 * PGQRS_HOUR,
                     step_record(w, pgqrs_run_id(run), "call").retry_at_us);
}

static void g25_a_steps_clock_is_an_argument(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = fresh_run(w);
    pgqrs_step *step = NULL;
    int64_t     then = now_us(w) + PGQRS_HOUR;
    assert_run(
        PGQRS_OK, run,
        pgqrs_step_begin(run, "call", PGQRS_OPTIONS(step, .by_key = true, .now_us = then), &step));
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_retry(step, "E", "text", PGQRS_MINUTE));
    assert_int_equal(then + PGQRS_MINUTE, step_record(w, pgqrs_run_id(run), "call").retry_at_us);
    assert_run(PGQRS_ENOTREADY, run,
               pgqrs_step_begin(
                   run, "call",
                   PGQRS_OPTIONS(step, .by_key = true, .now_us = then + PGQRS_MINUTE - 1), &step));
    assert_run(PGQRS_OK, run,
               pgqrs_step_begin(run, "call",
                                PGQRS_OPTIONS(step, .by_key = true, .now_us = then + PGQRS_MINUTE),
                                &step));
}

static void used_up_retries_are_a_failure_for_good(void **state)
{
    world             *w    = *state;
    pgqrs_run         *run  = fresh_run(w);
    pgqrs_step        *step = NULL;
    pgqrs_step_options policy =
        *PGQRS_OPTIONS(step, .by_key = true, .max_retries = 1, .backoff = PGQRS_BACKOFF_FIXED);
    advance(w, fail_once(w, run, &policy, 0) - now_us(w));
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "call", &policy, &step));
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_retry(step, "LAST", "no \"more\"", 0));
    pgqrs_step_record r = step_record(w, pgqrs_run_id(run), "call");
    assert_int_equal(PGQRS_STEP_ERROR, r.status);
    assert_int_equal(0, r.retry_at_us);
    assert_non_null(strstr(r.error, "LAST"));
    assert_non_null(strstr(r.error, "no \\\"more\\\""));
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_begin(run, "call", &policy, &step));
    assert_non_null(strstr(pgqrs_run_error(run)->message, "call"));
    run = next_holder(w, run);
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_begin(run, "call", NULL, &step));
}

static void a_step_may_have_no_retries(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = fresh_run(w);
    pgqrs_step *step = NULL;
    assert_run(PGQRS_OK, run,
               pgqrs_step_begin(run, "call", PGQRS_OPTIONS(step, .max_retries = -1), &step));
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_retry(step, "E", "text", 0));
}

static void a_failure_for_good_is_recorded(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = fresh_run(w);
    pgqrs_step *step = NULL;
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_fail(begin(run, "call"), "BAD", "never"));
    pgqrs_step_record r = step_record(w, pgqrs_run_id(run), "call");
    assert_int_equal(PGQRS_STEP_ERROR, r.status);
    assert_null(r.output);
    assert_non_null(strstr(r.error, "\"code\":\"BAD\""));
    assert_non_null(strstr(r.error, "\"message\":\"never\""));
    run = next_holder(w, run);
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_begin(run, "call", NULL, &step));
}

static void a_result_that_comes_too_late_is_a_transient_failure(void **state)
{
    world             *w      = *state;
    pgqrs_run         *run    = fresh_run(w);
    pgqrs_step        *step   = NULL;
    pgqrs_step_options policy = *PGQRS_OPTIONS(step, .by_key = true, .timeout_us = PGQRS_SECOND);
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "call", &policy, &step));
    advance(w, PGQRS_SECOND + 1);
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_succeed(step, "1"));
    pgqrs_step_record r = step_record(w, pgqrs_run_id(run), "call");
    assert_int_equal(PGQRS_STEP_RETRY, r.status);
    assert_non_null(strstr(r.error, "TIMEOUT"));
    advance(w, r.retry_at_us - now_us(w));
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "call", &policy, &step));
    advance(w, PGQRS_SECOND);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "2"));
    assert_string_equal("2", step_record(w, pgqrs_run_id(run), "call").output);
}

static void steps_are_listed_in_the_order_of_being_recorded(void **state)
{
    world              *w     = *state;
    pgqrs_run          *run   = fresh_run(w);
    const char         *all[] = { "z", "a", "m" };
    pgqrs_step_records *steps = NULL;
    for (size_t i = 0; i < 3; i++) {
        step_done(run, all[i], "1");
        advance(w, PGQRS_MILLISECOND);
    }
    assert_ok(pgqrs_step_list(w->store, pgqrs_run_id(run), &steps, &failure));
    bool matches = pgqrs_step_records_count(steps) == 3;
    for (size_t i = 0; matches && i < 3; i++)
        matches = strcmp(all[i], pgqrs_step_records_at(steps, i)->name) == 0;
    matches = matches && pgqrs_step_records_at(steps, 3) == NULL;
    pgqrs_step_records_free(steps);
    assert_true(matches);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g09_a_result_is_recorded_and_replayed),
        CASE_REAL(a_step_starts_before_it_finishes),
        CASE(g09_a_crash_before_the_record_executes_again_and_after_it_does_not),
        CASE(g09_a_result_without_output_is_a_result),
        CASE(g09_the_first_of_two_results_stands),
        CASE(g36_the_next_holder_sees_every_recorded_step),
        CASE(g36_each_run_of_a_claim_has_its_own_steps),
        CASE(g19_a_repeated_name_is_numbered_in_order),
        CASE(g19_a_key_is_one_step_however_often_it_is_begun),
        CASE(a_steps_key_is_the_same_in_every_attempt_and_its_own),
        CASE(g18_a_retried_step_comes_back_at_its_time_and_not_before),
        CASE(g18_another_holder_waits_for_the_time_as_well),
        CASE(g18_a_fixed_backoff_is_exact),
        CASE(g18_an_exponential_backoff_doubles_up_to_its_maximum),
        CASE(g18_jitter_stays_within_a_quarter),
        CASE(g18_the_default_policy_is_three_retries_from_one_second),
        CASE(a_time_of_ones_own_beats_the_policy),
        CASE(g25_a_steps_clock_is_an_argument),
        CASE(used_up_retries_are_a_failure_for_good),
        CASE(a_step_may_have_no_retries),
        CASE(a_failure_for_good_is_recorded),
        CASE(a_result_that_comes_too_late_is_a_transient_failure),
        CASE(steps_are_listed_in_the_order_of_being_recorded),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
