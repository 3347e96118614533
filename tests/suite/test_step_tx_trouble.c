/* Transactional steps when something goes wrong: lost leases, other results, failed SQL, lost
 * answers. */
#include "core/core.h"
#include "support/charge.h"
#include "support/peek.h"
#include "support/user.h"

#include <pgqrs/workflow.h>

static void g51_a_lost_lease_leaves_nothing(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    step_do(w, step, ROB);
    assert_run(PGQRS_ELEASE, run, pgqrs_step_succeed(step, "1"));
    assert_done(w, 0);
    assert_int_equal(0, step_count(w, pgqrs_run_id(run)));

    /* and the fence is the first statement */
    pgqrs_run *other = charge_run(w);
    sql_run(w, ROB);
    step = NULL;
    assert_run(PGQRS_ELEASE, other, pgqrs_step_begin_tx(other, "a", NULL, &step));
    assert_null(step);
    assert_ok(pgqrs_enqueue(w->store, "receipts", "{}", NULL, NULL, &failure)); /* not held up */
}

static void g51_a_result_that_was_recorded_before_stands_and_nothing_is_done_twice(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    char        sql[200];

    (void)snprintf(sql, sizeof(sql),
                   "INSERT INTO pgqrs_steps (run_id, name, status, retries, output) "
                   "VALUES (%lld, 'a', 1, 0, '\"theirs\"')",
                   (long long)pgqrs_run_id(run));
    if (!w->postgres)
        skip(); /* nobody else can write meanwhile */
    sql_run(w, sql);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "\"mine\""));
    assert_string_equal("\"theirs\"", pgqrs_step_output(step));
    assert_done(w, 0);
}

/* --- What goes wrong -------------------------------------------------------------------------- */

static void g51_sql_that_fails_is_not_recorded_as_done(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    assert_false(step_try(w, step, "INSERT INTO effects (name) VALUES (NULL)"));
    if (w->postgres) { /* the transaction has failed, and says so */
        assert_run(PGQRS_ESTATE, run, pgqrs_step_succeed(step, NULL));
        assert_non_null(strstr(pgqrs_run_error(run)->message, "failed"));
        assert_run(PGQRS_ESTATE, run, pgqrs_step_end(step, NULL));
        assert_done(w, 0);
    } else { /* SQLite undoes the statement alone: the user decides */
        assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
        assert_done(w, 1);
    }
}

static void g51_a_transaction_that_the_user_ended_is_found_out(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = work_in_tx(w, run, "a");
    step_do(w, step, "ROLLBACK");
    assert_run(PGQRS_ESTATE, run, pgqrs_step_succeed(step, NULL));
    assert_true(pgqrs_run_error(run)->hint[0] != '\0');
    assert_run(PGQRS_ESTATE, run, pgqrs_step_end(step, NULL));
    assert_done(w, 0);
    assert_int_equal(0, step_count(w, pgqrs_run_id(run)));
    step = work_in_tx(w, run, "b"); /* and the store is as good as before */
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_done(w, 1);
}

/* A backend whose COMMIT is answered by nobody: it has happened, or not. */
static struct {
    const pgqrs__backend *real;
    pgqrs__backend        fake;
    bool                  happens;
} lossy;

static pgqrs_status lose_the_answer(pgqrs__conn *conn, bool commit, int64_t deadline_us,
                                    pgqrs_error *error)
{
    pgqrs_status rc = lossy.real->end(conn, commit && lossy.happens, deadline_us, error);
    if (!commit || rc != PGQRS_OK)
        return rc;
    pgqrs__fail(error, PGQRS_ECONN, PGQRS_OBJECT_STORE, "connection to the database lost");
    pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return PGQRS_ECONN;
}

static void g51_a_lost_answer_to_the_commit_leads_to_the_truth(void **state)
{
    world *w = *state;
    charge_prepare(w);
    lossy.real        = w->store->backend;
    lossy.fake        = *lossy.real;
    lossy.fake.end    = lose_the_answer;
    w->store->backend = &lossy.fake;
    for (int i = 0; i < 2; i++) {
        pgqrs_run  *run  = charge_run(w);
        pgqrs_step *step = begin_tx(run, "a");
        lossy.happens    = i == 0;
        assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
        assert_run(i == 0 ? PGQRS_OK : PGQRS_ECONN, run, pgqrs_step_succeed(step, "\"mine\""));
        assert_int_equal(0, pgqrs_run_error(run)->flags & PGQRS_MAYBE_APPLIED);
        assert_int_equal(i == 0 ? 1 : 0, step_count(w, pgqrs_run_id(run)));
        if (i == 0)
            assert_string_equal("\"mine\"", pgqrs_step_output(step));
        else
            assert_run(PGQRS_ECONN, run, pgqrs_step_end(step, NULL));
    }
    w->store->backend = lossy.real;
    assert_int_equal(1, measure(w, "receipts").ready);
}

static void g51_connections_that_were_lost_meanwhile_are_replaced(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    char                dsn[700], ours[100];
    if (!w->postgres)
        skip();
    charge_prepare(w);
    /* Under a name of their own: the server is not this case's alone; a pooler's sessions are not.
     */
    (void)snprintf(dsn, sizeof(dsn), "%s&application_name=%s", w->direct, w->schema);
    (void)snprintf(ours, sizeof(ours), "application_name = '%s'", w->schema);
    assert_ok(pgqrs_open(dsn, &options, &store, &failure));
    (void)trigger(w, "flow", "{}");
    pgqrs_run *run = claim_run_from(w, store, "flow");
    for (int i = 0; i < 3; i++) {
        pgqrs_step *step = begin_tx(run, "a");
        assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
        assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
        step = begin(run, "b");
        assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
        assert_true(end_sessions(w, ours) > 0);
        assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
        assert_true(end_sessions(w, ours) > 0);
    }
    pgqrs_step *step = work_in_tx(w, run, "c");
    assert_true(end_sessions(w, ours) > 0);
    assert_run(PGQRS_ECONN, run, pgqrs_step_succeed(step, NULL));
    assert_int_equal(0, pgqrs_run_error(run)->flags & PGQRS_MAYBE_APPLIED);
    assert_int_equal(0, effects(w));
    assert_int_equal(6, measure(w, "receipts").ready);
    drop_run(w, run);
    pgqrs_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(g51_a_lost_lease_leaves_nothing),
        CASE(g51_a_result_that_was_recorded_before_stands_and_nothing_is_done_twice),
        CASE(g51_sql_that_fails_is_not_recorded_as_done),
        CASE(g51_a_transaction_that_the_user_ended_is_found_out),
        CASE(g51_a_lost_answer_to_the_commit_leads_to_the_truth),
        CASE_REAL(g51_connections_that_were_lost_meanwhile_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
