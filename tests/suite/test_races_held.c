/* The races of PostgreSQL, see test_races.c: rows that change while somebody waits for them,
 * groups, steps, queues and keys. */
#include "support/peek.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_POSTGRES

#include "statements.h"
#include "support/sessions.h"

#define STEP(i, n, text)                                    \
    HELD(i, n), { "name", 0, text }, { "status", 1, NULL }, \
    {                                                       \
        "output", 0, "1"                                    \
    }
#define BODY                 \
    { "priority", 5, NULL }, \
    {                        \
        "payload", 0, "1"    \
    }
#define KEYED(text) QUEUE, { "key", 0, text }, { "ttl_us", PGQRS_HOUR, NULL }, BODY

/* --- A row that changed while somebody waited for it ---------------------------------------------
 */

static void g62_a_mover_that_waited_for_a_heartbeat_asks_again(void **state)
{
    world *w = *state;
    for (deed d = 0; d < EXTEND; d++) {
        with_held(w, false);
        begin_in(A);
        assert_int_equal(1, run(A, LEASE_EXTEND, HELD(0, LEASE_A)));
        waits_in(B, statement_of(d), ARGS(HELD(0, LEASE_A)));
        commit_in(A);
        assert_int_equal(1, done_in(B)); /* held, and left where it is */
        assert_int_equal(1, answer_in(B, 0, "again"));
        assert_state(w, race_id[0], PGQRS_STATE_LEASED);
        assert_int_equal(1, run_in(B, statement_of(d), ARGS(HELD(0, LEASE_A))));
        assert_int_equal(0, answer_in(B, 0, "again"));
        assert_int_equal(1, held_under(w, LEASE_A)); /* the other one */
    }
}

static void g62_a_mover_that_waited_for_a_cancel_sees_it(void **state)
{
    world *w = *state;
    with_held(w, false);
    for (int i = 0; i < 2; i++) {
        const deed d = i == 0 ? FINISH : RELEASE;
        begin_in(A);
        assert_int_equal(1, run(A, MESSAGE_CANCEL, MESSAGE(i)));
        waits_in(B, statement_of(d), ARGS(HELD(i, LEASE_A)));
        commit_in(A);
        assert_int_equal(1, done_in(B));
        assert_int_equal(1, answer_in(B, 0, "again"));
        assert_int_equal(1, run_in(B, statement_of(d), ARGS(HELD(i, LEASE_A))));
        assert_state(w, race_id[i], PGQRS_STATE_CANCELLED);
    }
}

static void g62_a_cancel_or_heartbeat_that_waited_for_a_finish_finds_nothing(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    assert_int_equal(2, run(A, MESSAGE_FINISH, HELD(0, LEASE_A), MESSAGE(1)));
    waits(B, MESSAGE_CANCEL, MESSAGE(0));
    waits(C, LEASE_EXTEND, HELD(1, LEASE_A));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_int_equal(0, done_in(C));
    assert_state(w, race_id[0], PGQRS_STATE_DONE);
    assert_state(w, race_id[1], PGQRS_STATE_DONE);
}

static void g62_the_reaper_passes_by_what_is_being_cancelled_and_ends_it_then(void **state)
{
    world *w = *state;
    with_held(w, true);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_CANCEL, MESSAGE(0)));
    (void)run(B, MESSAGE_REAP, QUEUE, ROWS(9));
    assert_int_equal(1, answer_in(B, 0, "moved"));
    commit_in(A);
    (void)run(B, MESSAGE_REAP, QUEUE, ROWS(9));
    assert_int_equal(1, answer_in(B, 0, "moved"));
    assert_state(w, race_id[0], PGQRS_STATE_CANCELLED);
    assert_state(w, race_id[1], PGQRS_STATE_READY);
}

/* --- Groups --------------------------------------------------------------------------------------
 */

/* Two groups of one process, each of two kinds of statement, that meet in the worst order. */
static void g62_groups_behind_a_hold_do_not_deadlock(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    begin_in(B);
    assert_int_equal(2, run(A, LEASE_HOLD, HELD(0, LEASE_A), MESSAGE(1)));
    waits(B, LEASE_HOLD, HELD(0, LEASE_A), MESSAGE(1));
    assert_int_equal(1, run(A, MESSAGE_FINISH, HELD(1, LEASE_A)));
    assert_int_equal(1, run(A, MESSAGE_RELEASE, HELD(0, LEASE_A)));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_int_equal(0, run(B, LEASE_EXTEND, HELD(0, LEASE_A)));
    assert_int_equal(0, run(B, MESSAGE_DELETE, HELD(1, LEASE_A)));
    commit_in(B);
    assert_state(w, race_id[0], PGQRS_STATE_READY);
    assert_state(w, race_id[1], PGQRS_STATE_DONE);
}

static void without_a_hold_they_would(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    begin_in(B);
    assert_int_equal(1, run(A, MESSAGE_FINISH, HELD(1, LEASE_A)));
    assert_int_equal(1, run(B, LEASE_EXTEND, HELD(0, LEASE_A)));
    waits(A, MESSAGE_RELEASE, HELD(0, LEASE_A));
    waits(B, MESSAGE_DELETE, HELD(1, LEASE_A));
    const char *first  = error_in(B);
    const bool  b_lost = strcmp(first, "40P01") == 0;
    if (b_lost)
        roll_back_in(B);
    assert_string_equal(b_lost ? "" : "40P01", error_in(A));
}

static void g62_one_statement_locks_in_the_order_of_its_rows(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    assert_int_equal(1, run(A, LEASE_HOLD, HELD(1, LEASE_A)));
    begin_in(B);
    waits(B, LEASE_EXTEND, HELD(0, LEASE_A), MESSAGE(1)); /* has the first, waits for the second */
    waits(C, MESSAGE_FINISH, HELD(0, LEASE_A));
    commit_in(A);
    assert_int_equal(2, done_in(B));
    commit_in(B);
    assert_int_equal(1, done_in(C));
    assert_int_equal(1, answer_in(C, 0, "again"));
}

/* --- Steps ---------------------------------------------------------------------------------------
 */

static void g62_heartbeats_and_cancels_do_not_wait_for_a_step(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    assert_int_equal(1, run(A, STEP_RECORD, STEP(0, LEASE_A, "one")));
    assert_int_equal(1, run(B, LEASE_EXTEND, HELD(0, LEASE_A)));
    assert_int_equal(0, answer_in(B, 0, "again"));
    assert_int_equal(1, run(B, MESSAGE_CANCEL, MESSAGE(0)));
    commit_in(A);
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_steps"));
}

static void g62_a_finish_waits_for_the_step_in_flight(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    assert_int_equal(1, run(A, STEP_RECORD, STEP(0, LEASE_A, "one")));
    waits(B, MESSAGE_FINISH, HELD(0, LEASE_A));
    commit_in(A);
    assert_int_equal(1, done_in(B));
    assert_int_equal(0, answer_in(B, 0, "again")); /* a step changes nothing in its row */
    assert_state(w, race_id[0], PGQRS_STATE_DONE);
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_steps"));
}

static void g62_a_run_is_not_reaped_while_its_step_is_in_flight(void **state)
{
    world *w = *state;
    with_held(w, true);
    begin_in(A);
    assert_int_equal(1, run(A, STEP_RECORD, STEP(0, LEASE_A, "one")));
    (void)run(B, MESSAGE_REAP, QUEUE, ROWS(9));
    assert_int_equal(1, answer_in(B, 0, "moved")); /* the other one */
    assert_int_equal(1, run(B, RUN_CLAIM, QUEUE, ROWS(9), LEASE(LEASE_B)));
    assert_int_equal(race_id[1], answer_in(B, 0, "id"));
    commit_in(A);
    (void)run(B, MESSAGE_REAP, QUEUE, ROWS(9));
    assert_int_equal(1, answer_in(B, 0, "moved"));
    assert_int_equal(2, run(B, RUN_CLAIM, QUEUE, ROWS(9), LEASE(LEASE_B))); /* with its step */
    assert_int_equal(race_id[0], answer_in(B, 1, "id"));
}

static void g62_a_step_after_the_reaper_records_nothing(void **state)
{
    world *w = *state;
    with_held(w, true);
    begin_in(A);
    (void)run(A, MESSAGE_REAP, QUEUE, ROWS(9));
    waits(B, STEP_RECORD, STEP(0, LEASE_A, "one"));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_steps"));
}

static void g62_of_two_records_of_a_step_the_first_stands(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    assert_int_equal(1, run(A, STEP_RECORD, STEP(0, LEASE_A, "one")));
    waits(B, STEP_RECORD, STEP(0, LEASE_A, "one"));
    commit_in(A);
    assert_int_equal(1, done_in(B));
    assert_int_equal(0, answer_in(B, 0, "recorded"));
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_steps"));
}

/* --- Queues and keys -----------------------------------------------------------------------------
 */

static void g62_what_was_enqueued_before_a_deletion_is_swept(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_ENQUEUE, QUEUE, BODY));
    assert_int_equal(1, run(B, QUEUE_DELETE, QUEUE)); /* without waiting */
    commit_in(A);
    assert_int_equal(0, run(B, MESSAGE_ENQUEUE, QUEUE, BODY));
    assert_int_equal(0, run(B, MESSAGE_CLAIM, QUEUE, ROWS(9), LEASE(LEASE_B)));
    assert_int_equal(3, sql_number(w, "SELECT count(*) FROM pgqrs_ready"));
    (void)run(B, QUEUE_SWEEP, QUEUE, ROWS(9));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_messages"));
}

static void g62_the_second_of_a_key_waits_and_reads_the_winner(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_ENQUEUE_KEYED, KEYED("k")));
    const int64_t winner = answer_in(A, 0, "id");
    begin_in(B);
    waits(B, MESSAGE_ENQUEUE_KEYED, KEYED("k"));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_int_equal(1, run(B, KEY_FIND, QUEUE, { "key", 0, "k" })); /* a snapshot of its own */
    assert_int_equal(winner, answer_in(B, 0, "id"));
    commit_in(B);
    assert_int_equal(3, measure(w, "orders").ready);
}

static void g62_the_second_of_a_key_wins_when_the_first_rolls_back(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_ENQUEUE_KEYED, KEYED("k")));
    waits(B, MESSAGE_ENQUEUE_KEYED, KEYED("k"));
    roll_back_in(A);
    assert_int_equal(1, done_in(B));
    assert_int_equal(3, measure(w, "orders").ready);
}

static const race_mutant mutants[] = {
    { "g62_a_mover_that_waited_for_a_cancel_sees_it", PGQRS__STMT_MESSAGE_FINISH,
      "CASE WHEN h.cancelled THEN 3 ELSE h.state END", "h.state" },
    { "g62_the_reaper_passes_by_what_is_being_cancelled_and_ends_it_then", PGQRS__STMT_MESSAGE_REAP,
      "WHEN cancelled THEN 3", "WHEN false THEN 3" },
    { "g62_groups_behind_a_hold_do_not_deadlock", PGQRS__STMT_LEASE_HOLD, " FOR NO KEY UPDATE",
      "" },
    { "g62_heartbeats_and_cancels_do_not_wait_for_a_step", PGQRS__STMT_LEASE_EXTEND,
      " FOR NO KEY UPDATE", " FOR UPDATE" },
    { "g62_a_run_is_not_reaped_while_its_step_is_in_flight", PGQRS__STMT_STEP_RECORD,
      " FOR KEY SHARE", "" },
    { "g62_a_step_after_the_reaper_records_nothing", PGQRS__STMT_STEP_RECORD, " FOR KEY SHARE",
      "" },
    { "g62_what_was_enqueued_before_a_deletion_is_swept", PGQRS__STMT_MESSAGE_CLAIM,
      " AND deleted_at IS NULL", "" },
};

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        RACE(g62_a_mover_that_waited_for_a_heartbeat_asks_again),
        RACE(g62_a_mover_that_waited_for_a_cancel_sees_it),
        RACE(g62_a_cancel_or_heartbeat_that_waited_for_a_finish_finds_nothing),
        RACE(g62_the_reaper_passes_by_what_is_being_cancelled_and_ends_it_then),
        RACE(g62_groups_behind_a_hold_do_not_deadlock),
        RACE(without_a_hold_they_would),
        RACE(g62_one_statement_locks_in_the_order_of_its_rows),
        RACE(g62_heartbeats_and_cancels_do_not_wait_for_a_step),
        RACE(g62_a_finish_waits_for_the_step_in_flight),
        RACE(g62_a_run_is_not_reaped_while_its_step_is_in_flight),
        RACE(g62_a_step_after_the_reaper_records_nothing),
        RACE(g62_of_two_records_of_a_step_the_first_stands),
        RACE(g62_what_was_enqueued_before_a_deletion_is_swept),
        RACE(g62_the_second_of_a_key_waits_and_reads_the_winner),
        RACE(g62_the_second_of_a_key_wins_when_the_first_rolls_back),
        CASE_BARE(without_its_precaution_each_case_fails),
    };
    return RACES_MAIN(cases, mutants);
#else
    return 77;
#endif
}
