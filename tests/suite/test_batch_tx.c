/* Batches beside transactions: the user's own, and those of steps. */
#include "support/charge.h"
#include "support/peek.h"
#include "support/user.h"
#include "support/world.h"

static void g50_a_batch_is_part_of_the_users_transaction(void **state)
{
    world  *w = *state;
    user    u;
    message m[2];
    queue(w, "orders");
    enqueue_count(w, "orders", 2, NULL);
    assert_int_equal(2, claim_many(w, "orders", 2, m));
    for (int keep = 0; keep < 2; keep++) {
        user_open(&u, w);
        user_begin(&u);
        pgqrs_store *here  = user_adopted(&u);
        pgqrs_batch *batch = pgqrs_batch_new(here);
        (void)pgqrs_batch_archive(batch, &m[0]);
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
        pgqrs_status rc = pgqrs_batch_commit(batch, &failure);
        int64_t      id = pgqrs_batch_id(batch, 1);
        pgqrs_batch_free(batch);
        pgqrs_close(here);
        assert_int_equal(PGQRS_OK, rc);
        assert_state(w, m[0].id, PGQRS_STATE_LEASED);
        user_do(&u, keep ? "COMMIT" : "ROLLBACK");
        user_close(&u);
        assert_state(w, m[0].id, keep ? PGQRS_STATE_DONE : PGQRS_STATE_LEASED);
        if (keep)
            assert_state(w, id, PGQRS_STATE_READY);
    }
    assert_int_equal(1, measure(w, "orders").ready);
    assert_consistent(w);
}

static void g50_what_needs_other_threads_is_refused_in_the_users_transaction(void **state)
{
    world             *w     = *state;
    pgqrs_completions *ready = NULL;
    user               u;
    queue(w, "orders");
    user_open(&u, w);
    user_begin(&u);
    pgqrs_store *here = user_adopted(&u);
    assert_ok(pgqrs_completions_new(&ready, &failure));
    pgqrs_batch *batch = pgqrs_batch_new(here);
    pgqrs_batch_independent(batch);
    (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    assert_status(PGQRS_ESTATE, pgqrs_batch_commit(batch, &failure));
    assert_status(PGQRS_ESTATE, pgqrs_batch_submit(batch, ready, NULL, &failure));
    pgqrs_batch_free(batch);
    pgqrs_completions_free(ready);
    pgqrs_close(here);
    user_do(&u, "COMMIT");
    user_close(&u);
    assert_int_equal(0, measure(w, "orders").ready);
}

static void g51_a_step_with_a_transaction_is_not_for_a_batch(void **state)
{
    world       *w     = (charge_prepare(*state), *state);
    pgqrs_run   *run   = charge_run(w);
    pgqrs_step  *plain = begin(run, "plain");
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(plain, "receipts", "{}", NULL, NULL));
    (void)pgqrs_batch_step_succeed(batch, plain, NULL);
    assert_int_equal(PGQRS_ESTATE, pgqrs_batch_status(batch, 0));
    assert_true(pgqrs_batch_error(batch, 0)->hint[0] != '\0');
    pgqrs_batch_free(batch);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(plain, NULL));
    pgqrs_step *step = work_in_tx(w, run, "a");
    batch            = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_step_succeed(batch, step, NULL);
    assert_int_equal(PGQRS_ESTATE, pgqrs_batch_status(batch, 0));
    pgqrs_batch_free(batch);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_int_equal(1, effects(w));
}

static void g51_the_thread_of_an_open_step_does_not_wait_for_itself(void **state)
{
    world             *w     = (charge_prepare(*state), *state);
    pgqrs_completions *ready = NULL;
    pgqrs_run         *run   = charge_run(w);
    pgqrs_step        *step  = work_in_tx(w, run, "a");
    for (int independent = 0; independent < 2; independent++) {
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        if (independent)
            pgqrs_batch_independent(batch);
        (void)pgqrs_batch_enqueue(batch, "receipts", "1", NULL);
        assert_status(PGQRS_EBUSY, pgqrs_batch_commit(batch, &failure));
        pgqrs_batch_free(batch);
    }
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_run_succeed(batch, run, NULL); /* it would wait for its own step */
    assert_ok(pgqrs_completions_new(&ready, &failure));
    assert_ok(pgqrs_batch_submit(batch, ready, NULL, &failure));
    batch = pgqrs_completions_next(ready, NULL);
    assert_non_null(batch); /* refused, at once */
    assert_int_equal(PGQRS_ESTATE, pgqrs_batch_status(batch, 0));
    pgqrs_batch_free(batch);
    pgqrs_completions_free(ready);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_done(w, 1);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g50_a_batch_is_part_of_the_users_transaction),
        CASE(g50_what_needs_other_threads_is_refused_in_the_users_transaction),
        CASE(g51_a_step_with_a_transaction_is_not_for_a_batch),
        CASE(g51_the_thread_of_an_open_step_does_not_wait_for_itself),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
