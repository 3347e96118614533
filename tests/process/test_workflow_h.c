/* The macros of workflow.h: a block runs once, and whatever stops the run leaves the function. */
#include "support/world.h"

#include <pgqrs/workflow.h>

typedef struct seen {
    int         executed;    /* bodies of steps */
    const char *outputs[8];  /* what the steps set out */
    int         came_behind; /* of the last step */
} seen;

static seen saw;

static PGQRS_WORKFLOW(three_in_a_loop, run)
{
    for (int i = 0; i < 3; i++) {
        PGQRS_STEP(run, "part", &saw.outputs[i]) {
            saw.executed++;
            PGQRS_TRY(pgqrs_step_succeed(step, pgqrs_run_printf(run, "%d", i)));
        }
    }
    PGQRS_STEP(run, "last", &saw.outputs[3])
        PGQRS_TRY(pgqrs_step_succeed(step, NULL));
    saw.came_behind++;
    return PGQRS_OK;
}

static void a_block_runs_once_and_its_output_is_set_out_again(void **state)
{
    world *w = *state;

    workflow(w, "jobs");
    (void)trigger(w, "jobs", "{}");
    for (int execution = 1; execution <= 2; execution++) {
        pgqrs_run *run = claim_run(w, "jobs");
        saw            = (seen){ .outputs = { "-", "-", "-", "-" } };
        assert_run(PGQRS_OK, run, three_in_a_loop(run, NULL));
        assert_int_equal(execution == 1 ? 3 : 0, saw.executed);
        assert_int_equal(1, saw.came_behind);
        assert_string_equal("0", saw.outputs[0]);
        assert_string_equal("1", saw.outputs[1]);
        assert_string_equal("2", saw.outputs[2]);
        assert_null(saw.outputs[3]);
        assert_int_equal(4, step_count(w, pgqrs_run_id(run)));
        assert_int_equal(PGQRS_STEP_SUCCESS, step_record(w, pgqrs_run_id(run), "part#3").status);
        drop_run(w, run);
        advance(w, LEASE_US + 1);
    }
}

/* --- Blocks that end otherwise
 * -------------------------------------------------------------------- */

typedef enum way { FALLS, BREAKS, CONTINUES, FAILS, RETRIES, FAILS_UNTOLD, BAD_JSON, RETURNS } way;

static way how;

static PGQRS_WORKFLOW(one, run)
{
    PGQRS_STEP(run, "one", &saw.outputs[0]) {
        saw.executed++;
        if (how == BREAKS)
            break;
        if (how == CONTINUES)
            continue;
        if (how == FAILS)
            PGQRS_TRY(pgqrs_step_fail(step, "CODE", "text"));
        if (how == FAILS_UNTOLD)
            (void)pgqrs_step_fail(step, "CODE", "text");
        if (how == RETRIES)
            PGQRS_TRY(pgqrs_step_retry(step, "CODE", "text", PGQRS_SECOND));
        if (how == BAD_JSON)
            (void)pgqrs_step_succeed(step, "{");
        if (how == RETURNS)
            return PGQRS_EBUSY;
    }
    saw.came_behind++;
    return PGQRS_OK;
}

static void ends(world *w, way of, pgqrs_status expected, size_t recorded)
{
    (void)trigger(w, "jobs", "{}");
    pgqrs_run *run = claim_run(w, "jobs");
    saw            = (seen){ 0 };
    how            = of;
    assert_run(expected, run, one(run, NULL));
    assert_int_equal(1, saw.executed);
    assert_int_equal(0, saw.came_behind);
    assert_int_equal(recorded, step_count(w, pgqrs_run_id(run)));
    if (expected == PGQRS_ESTATE) {
        assert_int_equal(PGQRS_OBJECT_STEP, pgqrs_run_error(run)->object);
        assert_non_null(strstr(pgqrs_run_error(run)->message, "\"one\""));
    }
    drop_run(w, run);
}

static void what_stops_the_run_leaves_the_function(void **state)
{
    world *w = *state;

    workflow(w, "jobs");
    ends(w, FAILS, PGQRS_EEXHAUSTED, 1);
    ends(w, FAILS_UNTOLD, PGQRS_EEXHAUSTED, 1);
    ends(w, RETRIES, PGQRS_ENOTREADY, 1);
    ends(w, RETURNS, PGQRS_EBUSY, 0);
}

static void a_block_that_does_not_end_its_step_is_told_so_and_records_nothing(void **state)
{
    world *w = *state;

    workflow(w, "jobs");
    ends(w, FALLS, PGQRS_ESTATE, 0);
    ends(w, BREAKS, PGQRS_ESTATE, 0);
    ends(w, CONTINUES, PGQRS_ESTATE, 0);
    ends(w, BAD_JSON, PGQRS_EJSON, 0);
}

static void a_step_that_waits_or_has_failed_is_not_executed_again(void **state)
{
    world    *w          = *state;
    const way ways[]     = { RETRIES, FAILS };
    const int statuses[] = { PGQRS_ENOTREADY, PGQRS_EEXHAUSTED };

    workflow(w, "jobs");
    for (int i = 0; i < 2; i++) {
        (void)trigger(w, "jobs", "{}");
        pgqrs_run *run = claim_run(w, "jobs");
        how            = ways[i];
        assert_run((pgqrs_status)statuses[i], run, one(run, NULL));
        drop_run(w, run);
        advance(w, LEASE_US + 1);
        pgqrs_run *again = claim_run(w, "jobs");
        saw              = (seen){ 0 };
        how              = FALLS;
        /* The retry time has passed with the lease: that step is executed, the failed one is not.
         */
        assert_run(i == 0 ? PGQRS_ESTATE : PGQRS_EEXHAUSTED, again, one(again, NULL));
        assert_int_equal(i == 0 ? 1 : 0, saw.executed);
        assert_run(PGQRS_OK, again, pgqrs_run_succeed(again, NULL));
        drop_run(w, again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_block_runs_once_and_its_output_is_set_out_again),
        CASE(what_stops_the_run_leaves_the_function),
        CASE(a_block_that_does_not_end_its_step_is_told_so_and_records_nothing),
        CASE(a_step_that_waits_or_has_failed_is_not_executed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
