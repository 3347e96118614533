/* The races of PostgreSQL, one by one: sessions run the library's statements in the order that is
 * to be feared, with their transactions open. What waits, waits; what passes by, passes by; and the
 * end is the one that was promised. Here whatever takes a row away; test_races_held.c has the rest.
 */
#include "support/peek.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_POSTGRES

#include "statements.h"
#include "support/sessions.h"

/* --- The same with the same: each row is one's ---------------------------------------------------
 */

static void g62_two_claims_share_nothing_and_do_not_wait(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_CLAIM, QUEUE, ROWS(1), LEASE(LEASE_A)));
    assert_int_equal(race_id[0], answer_in(A, 0, "id"));
    assert_int_equal(1, run(B, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_B)));
    assert_int_equal(race_id[1], answer_in(B, 0, "id"));
    commit_in(A);
    assert_int_equal(0, run(B, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_B)));
    assert_int_equal(1, held_under(w, LEASE_A));
    assert_int_equal(1, held_under(w, LEASE_B));
}

static void g62_what_a_claim_rolled_back_is_there_for_the_next(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(2, run(A, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_A)));
    assert_int_equal(0, run(B, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_B)));
    roll_back_in(A);
    assert_int_equal(2, run(B, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_B)));
}

static void g62_two_promotions_share_nothing_and_do_not_wait(void **state)
{
    world *w = *state;
    with_scheduled(w);
    begin_in(A);
    (void)run(A, MESSAGE_PROMOTE, QUEUE, ROWS(1));
    assert_int_equal(1, answer_in(A, 0, "moved"));
    (void)run(B, MESSAGE_PROMOTE, QUEUE, ROWS(9));
    assert_int_equal(1, answer_in(B, 0, "moved"));
    commit_in(A);
    assert_int_equal(2, measure(w, "orders").ready);
}

static void g62_two_reapers_share_nothing_and_do_not_wait(void **state)
{
    world *w = *state;
    with_held(w, true);
    begin_in(A);
    (void)run(A, MESSAGE_REAP, QUEUE, ROWS(1));
    assert_int_equal(1, answer_in(A, 0, "moved"));
    (void)run(B, MESSAGE_REAP, QUEUE, ROWS(9));
    assert_int_equal(1, answer_in(B, 0, "moved"));
    commit_in(A);
    assert_int_equal(2, measure(w, "orders").ready);
}

/* --- Taking out: a claim, a promotion, a cancel, a claim by id -----------------------------------
 */

static void g62_a_cancel_waits_for_a_claim_and_looks_in_the_next_place(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_CLAIM, QUEUE, ROWS(1), LEASE(LEASE_A)));
    waits(B, MESSAGE_CANCEL, MESSAGE(0));
    commit_in(A);
    assert_int_equal(0, done_in(B)); /* it was not there any more */
    assert_int_equal(1, run(B, MESSAGE_CANCEL, MESSAGE(0)));
    assert_int_equal(2, answer_in(B, 0, "state"));
    assert_true(record(w, race_id[0]).cancelled);
}

static void g62_a_cancel_takes_what_a_claim_gives_back(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_CLAIM, QUEUE, ROWS(1), LEASE(LEASE_A)));
    waits(B, MESSAGE_CANCEL, MESSAGE(0));
    roll_back_in(A);
    assert_int_equal(1, done_in(B));
    assert_int_equal(3, answer_in(B, 0, "state"));
    assert_state(w, race_id[0], PGQRS_STATE_CANCELLED);
}

static void g62_a_claim_passes_by_what_is_being_cancelled(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_CANCEL, MESSAGE(0)));
    assert_int_equal(1, run(B, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_B)));
    assert_int_equal(race_id[1], answer_in(B, 0, "id"));
    commit_in(A);
    assert_state(w, race_id[0], PGQRS_STATE_CANCELLED);
}

static void g62_a_cancel_waits_for_a_promotion(void **state)
{
    world *w = *state;
    with_scheduled(w);
    begin_in(A);
    (void)run(A, MESSAGE_PROMOTE, QUEUE, ROWS(9));
    waits(B, MESSAGE_CANCEL, MESSAGE(0));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_int_equal(1, run(B, MESSAGE_CANCEL, MESSAGE(0)));
    assert_state(w, race_id[0], PGQRS_STATE_CANCELLED);
}

static void g62_a_claim_by_id_waits_for_a_claim_and_gets_nothing(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_CLAIM, QUEUE, ROWS(1), LEASE(LEASE_A)));
    waits(B, MESSAGE_CLAIM_ID, MESSAGE(0), LEASE(LEASE_B));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_int_equal(0, held_under(w, LEASE_B));
}

static void g62_of_two_claims_by_id_one_gets_it(void **state)
{
    world *w = *state;
    with_ready(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_CLAIM_ID, MESSAGE(0), LEASE(LEASE_A)));
    waits(B, MESSAGE_CLAIM_ID, MESSAGE(0), LEASE(LEASE_B));
    assert_int_equal(1, run(C, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_B))); /* the other one */
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_int_equal(1, held_under(w, LEASE_A));
}

/* --- Finishing and the reaper --------------------------------------------------------------------
 */

static void g62_the_reaper_passes_by_what_its_holder_moves(void **state)
{
    world *w = *state;
    for (deed d = 0; d < DEEDS; d++) {
        with_held(w, true);
        begin_in(A);
        assert_int_equal(1, run_in(A, statement_of(d), ARGS(HELD(0, LEASE_A))));
        (void)run(B, MESSAGE_REAP, QUEUE, ROWS(9));
        assert_int_equal(1, answer_in(B, 0, "moved")); /* the other one */
        roll_back_in(A);
    }
}

static void g62_who_comes_after_the_reaper_is_told(void **state)
{
    world *w = *state;
    for (deed d = 0; d < DEEDS; d++) {
        with_held(w, true);
        begin_in(A);
        (void)run(A, MESSAGE_REAP, QUEUE, ROWS(9));
        assert_int_equal(2, answer_in(A, 0, "moved"));
        waits_in(B, statement_of(d), ARGS(HELD(0, LEASE_A)));
        commit_in(A);
        assert_int_equal(0, done_in(B));
        assert_int_equal(2, measure(w, "orders").ready);
    }
}

static void g62_who_comes_after_a_reaper_that_rolls_back_is_the_holder(void **state)
{
    world *w = *state;
    for (deed d = 0; d < DEEDS; d++) {
        with_held(w, true);
        begin_in(A);
        (void)run(A, MESSAGE_REAP, QUEUE, ROWS(9));
        waits_in(B, statement_of(d), ARGS(HELD(0, LEASE_A)));
        roll_back_in(A);
        assert_int_equal(1, done_in(B));
        assert_int_equal(0, answer_in(B, 0, "again"));
    }
}

static void g62_a_late_finish_does_no_harm_to_the_next_holder(void **state)
{
    world *w = *state;
    for (deed d = 0; d < DEEDS; d++) {
        with_held(w, true);
        begin_in(A);
        (void)run(A, MESSAGE_REAP, QUEUE, ROWS(9));
        assert_int_equal(2, run(A, MESSAGE_CLAIM, QUEUE, ROWS(2), LEASE(LEASE_B)));
        waits_in(B, statement_of(d), ARGS(HELD(0, LEASE_A)));
        commit_in(A);
        assert_int_equal(0, done_in(B));
        assert_int_equal(2, held_under(w, LEASE_B));
        assert_int_equal(0, run_in(B, statement_of(d), ARGS(HELD(0, LEASE_A)))); /* nor later */
        assert_int_equal(2, held_under(w, LEASE_B));
    }
}

static void g62_of_two_finishes_one_happens(void **state)
{
    world *w = *state;
    with_held(w, false);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_FINISH, HELD(0, LEASE_A)));
    waits(B, MESSAGE_FINISH, HELD(0, LEASE_A));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_state(w, race_id[0], PGQRS_STATE_DONE);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_DELETE, HELD(1, LEASE_A)));
    waits(B, MESSAGE_FINISH, HELD(1, LEASE_A));
    commit_in(A);
    assert_int_equal(0, done_in(B));
    assert_gone(w, race_id[1]);
}

static void g62_of_two_replays_one_happens(void **state)
{
    world *w = *state;
    with_dead(w);
    begin_in(A);
    assert_int_equal(1, run(A, MESSAGE_REPLAY, MESSAGE(0)));
    waits(B, MESSAGE_REPLAY, MESSAGE(0), MESSAGE(1));
    commit_in(A);
    assert_int_equal(1, done_in(B));
    assert_int_equal(2, answer_in(B, 0, "n")); /* the other one */
    assert_int_equal(2, measure(w, "orders").ready);
}

static const race_mutant mutants[] = {
    { "g62_two_claims_share_nothing_and_do_not_wait", PGQRS__STMT_MESSAGE_CLAIM, " SKIP LOCKED",
      "" },
    { "g62_a_claim_passes_by_what_is_being_cancelled", PGQRS__STMT_MESSAGE_CLAIM, " SKIP LOCKED",
      "" },
    { "g62_two_promotions_share_nothing_and_do_not_wait", PGQRS__STMT_MESSAGE_PROMOTE,
      " SKIP LOCKED", "" },
    { "g62_two_reapers_share_nothing_and_do_not_wait", PGQRS__STMT_MESSAGE_REAP, " SKIP LOCKED",
      "" },
    { "g62_the_reaper_passes_by_what_its_holder_moves", PGQRS__STMT_MESSAGE_REAP, " SKIP LOCKED",
      "" },
    { "g62_a_late_finish_does_no_harm_to_the_next_holder", PGQRS__STMT_MESSAGE_FINISH,
      " AND lease = a.lease", "" },
    { "g62_a_late_finish_does_no_harm_to_the_next_holder", PGQRS__STMT_LEASE_EXTEND,
      " AND lease = a.lease", "" },
};

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        RACE(g62_two_claims_share_nothing_and_do_not_wait),
        RACE(g62_what_a_claim_rolled_back_is_there_for_the_next),
        RACE(g62_two_promotions_share_nothing_and_do_not_wait),
        RACE(g62_two_reapers_share_nothing_and_do_not_wait),
        RACE(g62_a_cancel_waits_for_a_claim_and_looks_in_the_next_place),
        RACE(g62_a_cancel_takes_what_a_claim_gives_back),
        RACE(g62_a_claim_passes_by_what_is_being_cancelled),
        RACE(g62_a_cancel_waits_for_a_promotion),
        RACE(g62_a_claim_by_id_waits_for_a_claim_and_gets_nothing),
        RACE(g62_of_two_claims_by_id_one_gets_it),
        RACE(g62_the_reaper_passes_by_what_its_holder_moves),
        RACE(g62_who_comes_after_the_reaper_is_told),
        RACE(g62_who_comes_after_a_reaper_that_rolls_back_is_the_holder),
        RACE(g62_a_late_finish_does_no_harm_to_the_next_holder),
        RACE(g62_of_two_finishes_one_happens),
        RACE(g62_of_two_replays_one_happens),
        CASE_BARE(without_its_precaution_each_case_fails),
    };
    return RACES_MAIN(cases, mutants);
#else
    return 77;
#endif
}
