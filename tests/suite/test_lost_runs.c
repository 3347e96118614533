/* Answers that are lost on their way, for everything that the holder of a run does: see
 * test_lost.c. */
#include "support/lose.h"
#include "support/peek.h"

#ifdef PGQRS_HAVE_POSTGRES

#include <libpq-fe.h>
#include <pgqrs/postgres.h>

static void prepare_step(trial *t)
{
    with_run(t);
    t->step = begin(t->run, "one");
}

static pgqrs_status told(trial *t, pgqrs_status status, pgqrs_error *error)
{
    *error = *pgqrs_run_error(t->run);
    return status;
}

static pgqrs_status call_step_succeed(trial *t, pgqrs_error *error)
{
    return told(t, pgqrs_step_succeed(t->step, "\"x\""), error);
}

static void assert_step_recorded(trial *t)
{
    const pgqrs_step_record s = step_record(t->w, t->ids[0], "one");
    assert_int_equal(PGQRS_STEP_SUCCESS, s.status);
    assert_string_equal("\"x\"", s.output);
    assert_int_equal(1, step_count(t->w, t->ids[0]));
}

static void g61_step(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_step,
                                            .call        = call_step_succeed,
                                            .assert_done = assert_step_recorded });
}

/* That it comes back later is what is to be told. */
static pgqrs_status call_step_retry(trial *t, pgqrs_error *error)
{
    const pgqrs_status status = pgqrs_step_retry(t->step, "C", "text", PGQRS_MINUTE);
    return status == PGQRS_ENOTREADY ? PGQRS_OK : told(t, status, error);
}

static void assert_step_waits(trial *t)
{
    const pgqrs_step_record s = step_record(t->w, t->ids[0], "one");
    assert_int_equal(PGQRS_STEP_RETRY, s.status);
    assert_int_equal(1, s.retries);
    assert_int_equal(now_us(t->w) + PGQRS_MINUTE, s.retry_at_us);
}

static void g61_retry_of_a_step(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_step,
                                            .call        = call_step_retry,
                                            .assert_done = assert_step_waits });
}

/* With a row of the user's in the same commit. */
static void prepare_tx(trial *t)
{
    char sql[96];
    (void)snprintf(sql, sizeof(sql), "CREATE TABLE mine_%d (n int)", t->number);
    sql_run(t->w, sql);
    with_run(t);
}

static pgqrs_status call_step_tx(trial *t, pgqrs_error *error)
{
    char         sql[96];
    pgqrs_status status = pgqrs_step_begin_tx(t->run, "one", NULL, &t->step);
    (void)snprintf(sql, sizeof(sql), "INSERT INTO %s.mine_%d VALUES (1)", t->w->schema, t->number);
    if (status == PGQRS_OK)
        PQclear(PQexec(pgqrs_step_pgconn(t->step), sql));
    if (status == PGQRS_OK)
        status = pgqrs_step_succeed(t->step, "\"x\"");
    return told(t, status, error);
}

static int64_t rows_of_the_user(trial *t)
{
    char sql[96];
    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM mine_%d", t->number);
    return sql_number(t->w, sql);
}

static void assert_both(trial *t)
{
    assert_step_recorded(t);
    assert_int_equal(1, rows_of_the_user(t));
}

static void assert_neither(trial *t)
{
    assert_int_equal(0, step_count(t->w, t->ids[0]));
    assert_int_equal(0, rows_of_the_user(t));
}

static void g61_transactional_step(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_tx,
                                            .call            = call_step_tx,
                                            .assert_done     = assert_both,
                                            .assert_not_done = assert_neither,
                                            .may_fail        = true });
}

static pgqrs_status call_run_succeed(trial *t, pgqrs_error *error)
{
    return told(t, pgqrs_run_succeed(t->run, "\"x\""), error);
}

static void assert_run_succeeded(trial *t)
{
    assert_run_status(t->w, t->ids[0], PGQRS_RUN_SUCCESS);
    assert_string_equal("\"x\"", run_record(t->w, t->ids[0]).output);
}

static void g61_end_of_a_run(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = with_run,
                                            .call        = call_run_succeed,
                                            .assert_done = assert_run_succeeded });
}

static pgqrs_status call_pause(trial *t, pgqrs_error *error)
{
    const pgqrs_status status = pgqrs_run_pause(t->run, "wait", PGQRS_HOUR);
    return status == PGQRS_EPAUSED ? PGQRS_OK : told(t, status, error);
}

static bool is_paused(trial *t)
{
    return run_record(t->w, t->ids[0]).status == PGQRS_RUN_PAUSED;
}

static void assert_paused(trial *t)
{
    assert_true(is_paused(t));
}

static void g61_pause_of_a_run(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = with_run,
                                            .call        = call_pause,
                                            .assert_done = assert_paused,
                                            .was_done    = is_paused });
}

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        CASE(g61_step),         CASE(g61_retry_of_a_step), CASE(g61_transactional_step),
        CASE(g61_end_of_a_run), CASE(g61_pause_of_a_run),
    };
    return on_postgres() ? cmocka_run_group_tests(cases, NULL, NULL) : 77;
#else
    return 77;
#endif
}
