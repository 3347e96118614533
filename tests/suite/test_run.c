/* Runs: triggered, started, ended, paused, asleep, cancelled, read. */
#include "support/peek.h"
#include "support/world.h"

static void a_triggered_run_is_queued(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t          id = trigger(w, "flow", "{\"n\":1}");
    pgqrs_run_record r  = run_record(w, id);
    assert_int_equal(id, r.id);
    assert_int_equal(queue_get(w, "flow").id, r.workflow_id);
    assert_int_equal(PGQRS_RUN_QUEUED, r.status);
    assert_false(r.dead);
    assert_int_equal(0, r.attempt);
    assert_int_equal(now_us(w), r.created_at_us);
    assert_int_equal(0, r.resumes_at_us);
    assert_string_equal("{\"n\":1}", r.input);
    assert_null(r.output);
    assert_null(r.error);
    assert_state(w, id, PGQRS_STATE_READY); /* a run is a message */
}

static void a_run_may_start_late_and_only_once(void **state)
{
    world  *w  = *state;
    int64_t id = 0, again = 0;
    workflow(w, "flow");
    assert_ok(pgqrs_trigger(w->store, "flow", "1",
                            PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR, .key = "k"), &id,
                            &failure));
    assert_ok(
        pgqrs_trigger(w->store, "flow", "1", PGQRS_OPTIONS(enqueue, .key = "k"), &again, &failure));
    assert_int_equal(id, again);
    assert_run_status(w, id, PGQRS_RUN_QUEUED);
    assert_null(claim_run(w, "flow"));
    advance(w, PGQRS_HOUR);
    assert_non_null(claim_run(w, "flow"));
}

static void only_workflows_have_runs(void **state)
{
    world  *w  = *state;
    int64_t id = 0;
    queue(w, "orders");
    assert_status(PGQRS_ENOTFOUND, pgqrs_trigger(w->store, "absent", "1", NULL, &id, &failure));
    assert_int_equal(PGQRS_OBJECT_WORKFLOW, failure.object);
    assert_int_equal(0, id);
    pgqrs_run_records *runs = NULL;
    pgqrs_run         *run  = NULL;
    assert_status(PGQRS_ENOTFOUND, pgqrs_run_get(w->store, 12345, &runs, &failure));
    assert_int_equal(PGQRS_OBJECT_RUN, failure.object);
    assert_status(PGQRS_ENOTFOUND, pgqrs_run_open(w->store, 12345, &run, &failure));
    assert_int_equal(PGQRS_OBJECT_RUN, failure.object);
    assert_null(runs);
    assert_null(run);
}

static void a_claimed_run_is_running(void **state)
{
    world  *w  = *state;
    int64_t id = 0;
    workflow(w, "flow");
    assert_ok(pgqrs_trigger(w->store, "flow", "{ \"n\": 1 }",
                            PGQRS_OPTIONS(enqueue, .headers = "{\"h\":1}"), &id, &failure));
    pgqrs_run *run = claim_run(w, "flow");
    assert_int_equal(id, pgqrs_run_id(run));
    assert_string_equal("{ \"n\": 1 }", pgqrs_run_input(run));
    assert_string_equal("{\"h\":1}", pgqrs_run_headers(run));
    assert_int_equal(1, pgqrs_run_attempt(run));
    assert_ptr_equal(w->store, pgqrs_run_store(run));
    assert_true(pgqrs_run_message(run)->lease != 0);
    assert_int_equal(id, pgqrs_run_message(run)->id);
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    assert_run(PGQRS_OK, run, pgqrs_run_start(run)); /* it holds it already */
    assert_int_equal(1, run_record(w, id).attempt);
}

static void g14_success_ends_the_run_and_its_message(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    advance(w, PGQRS_SECOND);
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "{ \"sum\":3}"));
    pgqrs_run_record r = run_record(w, id);
    assert_int_equal(PGQRS_RUN_SUCCESS, r.status);
    assert_string_equal("{ \"sum\":3}", r.output);
    assert_null(r.error);
    assert_int_equal(now_us(w), r.updated_at_us);
    pgqrs_record m = record(w, id);
    assert_int_equal(PGQRS_STATE_SUCCESS, m.state);
    assert_string_equal("{ \"sum\":3}", m.output);
    assert_string_equal("1", m.payload);
    assert_null(claim_run(w, "flow"));
    assert_int_equal(1, measure(w, "flow").done);
    assert_consistent(w);
}

static void success_may_have_no_output(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
    assert_null(run_record(w, id).output);
}

static void g14_failure_ends_the_run_and_its_message(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_fail(run, "NO_MONEY", "card \"declined\""));
    pgqrs_run_record r = run_record(w, id);
    assert_int_equal(PGQRS_RUN_ERROR, r.status);
    assert_false(r.dead);
    assert_null(r.output);
    assert_non_null(strstr(r.error, "\"code\":\"NO_MONEY\""));
    assert_non_null(strstr(r.error, "card \\\"declined\\\""));
    assert_state(w, id, PGQRS_STATE_ERROR);
    assert_int_equal(0, measure(w, "flow").dead);
    assert_null(claim_run(w, "flow"));
    assert_consistent(w);
}

static void g14_an_end_that_cannot_be_archived_has_not_happened(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    sql_run_each(w,
                 "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE "
                 "'no more'; END $$; CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_archive FOR EACH "
                 "ROW EXECUTE FUNCTION refuse()",
                 "CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_archive BEGIN SELECT RAISE(ABORT, "
                 "'no more'); END");
    assert_run(PGQRS_EDB, run, pgqrs_run_succeed(run, "1"));
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    assert_state(w, id, PGQRS_STATE_LEASED);
    sql_run_each(w, "DROP TRIGGER refuse ON pgqrs_archive", "DROP TRIGGER refuse");
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "2"));
    assert_string_equal("2", run_record(w, id).output);
    assert_consistent(w);
}

static void g06_a_late_holder_of_a_run_is_told(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t     id   = trigger(w, "flow", "1");
    pgqrs_run  *late = claim_run(w, "flow");
    pgqrs_step *step = begin(late, "one");
    advance(w, LEASE_US + 1);
    pgqrs_run *run = claim_run(w, "flow");
    assert_int_equal(2, pgqrs_run_attempt(run));
    assert_run(PGQRS_ELEASE, late, pgqrs_step_succeed(step, "\"late\""));
    pgqrs_step *other = NULL;
    assert_run(PGQRS_ELEASE, late, pgqrs_step_begin(late, "two", NULL, &other));
    assert_run(PGQRS_ELEASE, late, pgqrs_run_succeed(late, "\"late\""));
    assert_run(PGQRS_ELEASE, late, pgqrs_run_fail(late, "E", "late"));
    assert_run(PGQRS_ELEASE, late, pgqrs_run_pause(late, "late", PGQRS_DAY));
    assert_int_equal(0, step_count(w, id));
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    step_done(run, "one", "\"on time\"");
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "1"));
    assert_string_equal("\"on time\"", step_record(w, id, "one").output);
    assert_string_equal("1", run_record(w, id).output);
}

static void g16_a_pause_costs_no_attempt(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    for (int i = 0; i < 2 * MAX_ATTEMPTS; i++) {
        pgqrs_run *run = claim_run(w, "flow");
        assert_non_null(run);
        assert_int_equal(1, pgqrs_run_attempt(run));
        assert_run(PGQRS_EPAUSED, run, pgqrs_run_pause(run, "waiting for approval", PGQRS_HOUR));
        pgqrs_run_record r = run_record(w, id);
        assert_int_equal(PGQRS_RUN_PAUSED, r.status);
        assert_int_equal(now_us(w) + PGQRS_HOUR, r.resumes_at_us);
        assert_non_null(strstr(r.error, "waiting for approval"));
        pgqrs_record m = record(w, id);
        assert_int_equal(PGQRS_STATE_SCHEDULED, m.state);
        assert_string_equal("pause", m.reason);
        assert_string_equal("waiting for approval", m.note);
        advance(w, PGQRS_HOUR - 1);
        assert_null(claim_run(w, "flow"));
        advance(w, 1);
    }
    pgqrs_run *run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
}

/* A worker loop of one's own gets what pgqrs_worker_run() does. */
static void a_run_is_settled_by_what_its_function_returned(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_retry(begin(run, "a"), "E", "later", PGQRS_HOUR));
    assert_run(PGQRS_OK, run, pgqrs_run_settle(run, PGQRS_ENOTREADY));
    assert_run(PGQRS_OK, run, pgqrs_run_settle(run, PGQRS_OK)); /* it is parked: left alone */
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    advance(w, PGQRS_HOUR - 1);
    assert_null(claim_run(w, "flow"));
    advance(w, 1);

    run = claim_run(w, "flow");
    assert_int_equal(1, pgqrs_run_attempt(run));
    assert_run(PGQRS_OK, run, pgqrs_run_settle(run, PGQRS_ECONN)); /* the database was away */
    assert_null(claim_run(w, "flow"));
    advance(w, PGQRS_HOUR);
    run = claim_run(w, "flow");
    assert_int_equal(1, pgqrs_run_attempt(run));
    assert_run(PGQRS_OK, run, pgqrs_run_settle(run, PGQRS_EINVAL)); /* anything else counts */
    assert_null(claim_run(w, "flow"));
    advance(w, PGQRS_HOUR);
    run = claim_run(w, "flow");
    assert_int_equal(2, pgqrs_run_attempt(run));
    assert_run(PGQRS_OK, run, pgqrs_run_settle(run, PGQRS_OK));
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);

    id  = trigger(w, "flow", "1");
    run = claim_run(w, "flow");
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_fail(begin(run, "a"), "E", "no"));
    assert_run(PGQRS_OK, run, pgqrs_run_settle(run, PGQRS_EEXHAUSTED));
    assert_run_status(w, id, PGQRS_RUN_ERROR);
    assert_int_equal(PGQRS_EINVAL, pgqrs_run_settle(NULL, PGQRS_OK));

    id  = trigger(w, "flow", "1");
    run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_settle(run, PGQRS_ECANCELLED));
    assert_run_status(w, id, PGQRS_RUN_CANCELLED);
    assert_consistent(w);
}

static void a_paused_run_is_woken_before_its_time(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    step_done(run, "one", "1");
    assert_run(PGQRS_EPAUSED, run, pgqrs_run_pause(run, NULL, PGQRS_DAY));
    run = open_run(w, id);
    assert_int_equal(0, pgqrs_run_message(run)->lease);
    assert_run_status(w, id, PGQRS_RUN_PAUSED); /* opening only reads */
    assert_run(PGQRS_OK, run, pgqrs_run_start(run));
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    assert_string_equal("1", replayed(run, "one"));
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_consistent(w);
}

static void g16_a_sleep_lasts_from_when_it_was_first_reached(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    int64_t    due = now_us(w) + PGQRS_HOUR;
    assert_run(PGQRS_EPAUSED, run, pgqrs_run_sleep(run, "nap", PGQRS_HOUR));
    assert_run_status(w, id, PGQRS_RUN_PAUSED);
    assert_int_equal(due, run_record(w, id).resumes_at_us);
    assert_string_equal("sleep", record(w, id).reason);

    advance(w, PGQRS_MINUTE); /* woken early, it goes on sleeping */
    run = open_run(w, id);
    assert_run(PGQRS_OK, run, pgqrs_run_start(run));
    assert_run(PGQRS_EPAUSED, run, pgqrs_run_sleep(run, "nap", PGQRS_HOUR));
    assert_int_equal(due, run_record(w, id).resumes_at_us);

    advance(w, PGQRS_HOUR - PGQRS_MINUTE - 1);
    assert_null(claim_run(w, "flow"));
    advance(w, 1);
    run = claim_run(w, "flow");
    assert_int_equal(1, pgqrs_run_attempt(run));
    assert_run(PGQRS_OK, run, pgqrs_run_sleep(run, "nap", PGQRS_HOUR));
    pgqrs_step_records *steps = NULL; /* it tells from when until when it was */
    assert_ok(pgqrs_step_list(w->store, id, &steps, &failure));
    assert_int_equal(due - PGQRS_HOUR, pgqrs_step_records_at(steps, 0)->started_at_us);
    assert_int_equal(due, pgqrs_step_records_at(steps, 0)->finished_at_us);
    pgqrs_step_records_free(steps);
    assert_run(PGQRS_EPAUSED, run, pgqrs_run_sleep(run, "second nap", PGQRS_SECOND));
    advance(w, PGQRS_SECOND);
    run = claim_run(w, "flow");
    assert_run(PGQRS_OK, run, pgqrs_run_sleep(run, "nap", PGQRS_HOUR));
    assert_run(PGQRS_OK, run, pgqrs_run_sleep(run, "second nap", PGQRS_SECOND));
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
}

static void g17_a_queued_or_paused_run_is_cancelled_at_once(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t queued = trigger(w, "flow", "1"), paused = trigger(w, "flow", "2");
    assert_ok(pgqrs_cancel(w->store, queued, NULL, &failure));
    assert_run_status(w, queued, PGQRS_RUN_CANCELLED);
    pgqrs_run *run = claim_run(w, "flow");
    assert_int_equal(paused, pgqrs_run_id(run));
    assert_run(PGQRS_EPAUSED, run, pgqrs_run_pause(run, "zzz", PGQRS_HOUR));
    assert_run(PGQRS_OK, run, pgqrs_run_cancel(run));
    assert_run_status(w, paused, PGQRS_RUN_CANCELLED);
    assert_null(run_record(w, paused).error);
    assert_status(PGQRS_ESTATE, pgqrs_cancel(w->store, paused, NULL, &failure));
    advance(w, PGQRS_DAY);
    assert_null(claim_run(w, "flow"));
    assert_consistent(w);
}

/* A run that was cancelled while its holder was in a step; the handle, and the step in flight. */
static pgqrs_run *cancelled_in_a_step(world *w, pgqrs_step **out_step)
{
    int64_t     id          = trigger(w, "flow", "1");
    pgqrs_run  *run         = claim_run(w, "flow");
    pgqrs_state state_after = PGQRS_STATE_READY;
    assert_int_equal(id, pgqrs_run_id(run));
    *out_step = begin(run, "one");
    assert_ok(pgqrs_cancel(w->store, id, &state_after, &failure));
    assert_int_equal(PGQRS_STATE_LEASED, state_after);
    assert_run_status(w, id, PGQRS_RUN_CANCELLING);
    return run;
}

static void g17_the_holder_hears_of_a_cancel_and_the_step_in_flight_is_recorded(void **state)
{
    world      *w    = *state;
    pgqrs_step *step = NULL, *next = NULL;
    workflow(w, "flow");
    pgqrs_run *run = cancelled_in_a_step(w, &step);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "\"done\""));
    assert_true(pgqrs_run_cancelled(run));
    assert_run(PGQRS_ECANCELLED, run, pgqrs_step_begin(run, "two", NULL, &next));
    assert_null(next);
    assert_run(PGQRS_ECANCELLED, run, pgqrs_run_succeed(run, "1"));
    pgqrs_run_record r = run_record(w, pgqrs_run_id(run));
    assert_int_equal(PGQRS_RUN_CANCELLED, r.status);
    assert_null(r.output);
    assert_string_equal("\"done\"", step_record(w, r.id, "one").output);
    assert_consistent(w);
}

static void g17_a_cancelled_run_ends_cancelled_whatever_is_asked_for(void **state)
{
    world      *w = *state;
    pgqrs_step *step;
    workflow(w, "flow");
    pgqrs_run *succeeds = cancelled_in_a_step(w, &step);
    assert_run(PGQRS_ECANCELLED, succeeds, pgqrs_run_succeed(succeeds, "1"));
    assert_run_status(w, pgqrs_run_id(succeeds), PGQRS_RUN_CANCELLED);

    pgqrs_run *fails = cancelled_in_a_step(w, &step);
    assert_run(PGQRS_ECANCELLED, fails, pgqrs_run_fail(fails, "E", "text"));
    assert_run_status(w, pgqrs_run_id(fails), PGQRS_RUN_CANCELLED);

    pgqrs_run *pauses = cancelled_in_a_step(w, &step);
    assert_run(PGQRS_ECANCELLED, pauses, pgqrs_run_pause(pauses, "zzz", PGQRS_HOUR));
    assert_run_status(w, pgqrs_run_id(pauses), PGQRS_RUN_CANCELLED);

    pgqrs_run *dies = cancelled_in_a_step(w, &step);
    advance(w, LEASE_US + 1);
    assert_null(claim_run(w, "flow"));
    assert_run_status(w, pgqrs_run_id(dies), PGQRS_RUN_CANCELLED);
    assert_consistent(w);
}

static void a_cancel_is_heard_of_by_asking(void **state)
{
    world      *w    = *state;
    pgqrs_step *step = NULL;
    workflow(w, "flow");
    pgqrs_run *run = cancelled_in_a_step(w, &step);
    advance(w, PGQRS_SECOND + 1);
    assert_true(pgqrs_run_cancelled(run));
    (void)trigger(w, "flow", "2");
    assert_false(pgqrs_run_cancelled(claim_run(w, "flow")));
}

static void g07_a_run_whose_attempts_are_used_up_is_dead(void **state)
{
    world *w = *state;
    workflow_with(w, "flow", PGQRS_OPTIONS(queue, .max_attempts = 2));
    int64_t id = trigger(w, "flow", "1");
    for (int attempt = 1; attempt <= 2; attempt++) {
        pgqrs_run *run = claim_run(w, "flow");
        assert_int_equal(attempt, pgqrs_run_attempt(run));
        advance(w, LEASE_US + 1);
    }
    assert_null(claim_run(w, "flow"));
    pgqrs_run_record r = run_record(w, id);
    assert_int_equal(PGQRS_RUN_ERROR, r.status);
    assert_true(r.dead);
    assert_non_null(strstr(r.error, "LEASE_EXPIRED"));
    assert_int_equal(1, measure(w, "flow").dead);
}

static void g08_a_replayed_run_keeps_id_input_and_successful_steps(void **state)
{
    world *w     = *state;
    size_t count = 0;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "{\"n\":1}");
    pgqrs_run *run = claim_run(w, "flow");
    step_done(run, "one", "\"kept\"");
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_fail(begin(run, "two"), "E", "text"));
    assert_run(PGQRS_OK, run, pgqrs_run_fail(run, "E", "text"));
    assert_ok(pgqrs_replay(w->store, &id, 1, &count, &failure));
    assert_int_equal(1, count);
    assert_null(run_record(w, id).error);
    run = claim_run(w, "flow");
    assert_int_equal(id, pgqrs_run_id(run));
    assert_int_equal(1, pgqrs_run_attempt(run));
    assert_string_equal("{\"n\":1}", pgqrs_run_input(run));
    assert_string_equal("\"kept\"", replayed(run, "one"));
    step_done(run, "two", "2"); /* it failed: executed anew */
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_ok(pgqrs_replay(w->store, &id, 1, &count, &failure));
    assert_int_equal(0, count);
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
}

static void g20_a_run_keeps_its_id(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    assert_int_equal(id, pgqrs_run_id(run));
    assert_run(PGQRS_EPAUSED, run, pgqrs_run_pause(run, NULL, PGQRS_SECOND));
    advance(w, PGQRS_SECOND);
    run = claim_run(w, "flow"); /* resumed */
    assert_int_equal(id, pgqrs_run_id(run));
    advance(w, LEASE_US + 1);
    run = claim_run(w, "flow"); /* lost and delivered again */
    assert_int_equal(id, pgqrs_run_id(run));
    assert_ok(pgqrs_dead_letter(w->store, pgqrs_run_message(run), "E", "text", &failure));
    assert_ok(pgqrs_replay(w->store, &id, 1, NULL, &failure));
    run = claim_run(w, "flow"); /* brought back from the dead */
    assert_int_equal(id, pgqrs_run_id(run));
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_int_equal(id, run_record(w, id).id);
}

static void between_two_tries_a_started_run_is_running(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    step_done(run, "one", "1");
    assert_ok(pgqrs_release(w->store, pgqrs_run_message(run), NULL, &failure));
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    run = claim_run(w, "flow");
    assert_ok(pgqrs_retry(w->store, pgqrs_run_message(run), "E", "text", &failure));
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    assert_int_equal(record(w, id).visible_at_us, run_record(w, id).resumes_at_us);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(a_triggered_run_is_queued),
        CASE(a_run_may_start_late_and_only_once),
        CASE(only_workflows_have_runs),
        CASE(a_claimed_run_is_running),
        CASE(g14_success_ends_the_run_and_its_message),
        CASE(success_may_have_no_output),
        CASE(g14_failure_ends_the_run_and_its_message),
        CASE(g14_an_end_that_cannot_be_archived_has_not_happened),
        CASE(g06_a_late_holder_of_a_run_is_told),
        CASE(g16_a_pause_costs_no_attempt),
        CASE(a_paused_run_is_woken_before_its_time),
        CASE(a_run_is_settled_by_what_its_function_returned),
        CASE(g16_a_sleep_lasts_from_when_it_was_first_reached),
        CASE(g17_a_queued_or_paused_run_is_cancelled_at_once),
        CASE(g17_the_holder_hears_of_a_cancel_and_the_step_in_flight_is_recorded),
        CASE(g17_a_cancelled_run_ends_cancelled_whatever_is_asked_for),
        CASE(a_cancel_is_heard_of_by_asking),
        CASE(g07_a_run_whose_attempts_are_used_up_is_dead),
        CASE(g08_a_replayed_run_keeps_id_input_and_successful_steps),
        CASE(g20_a_run_keeps_its_id),
        CASE(between_two_tries_a_started_run_is_running),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
