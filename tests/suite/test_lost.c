/* Answers that are lost on their way, for everything that is done with messages and runs: what is
 * told is true, nothing is done twice, and nothing is said to have failed that was done. */
#include "support/lose.h"
#include "support/peek.h"

#ifdef PGQRS_HAVE_POSTGRES

/* --- Putting in ----------------------------------------------------------------------------------
 */

static void prepare_queue(trial *t)
{
    with_queue(t, 0);
}

static pgqrs_status call_enqueue(trial *t, pgqrs_error *error)
{
    return pgqrs_enqueue(t->store, t->queue, "1", NULL, &t->ids[0], error);
}

static bool one_is_there(trial *t)
{
    assert_in_range(count_in(t, "messages"), 0, 1);
    return count_in(t, "messages") == 1;
}

static void assert_one_is_there(trial *t)
{
    assert_int_equal(1, count_in(t, "messages"));
    assert_state(t->w, t->ids[0], PGQRS_STATE_READY);
    assert_int_equal(1, count_in(t, "ready"));
}

static void assert_none_is_there(trial *t)
{
    assert_int_equal(0, count_in(t, "messages"));
}

static void g61_enqueue(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_queue,
                                            .call            = call_enqueue,
                                            .assert_done     = assert_one_is_there,
                                            .assert_not_done = assert_none_is_there,
                                            .was_done        = one_is_there });
}

static pgqrs_status call_enqueue_keyed(trial *t, pgqrs_error *error)
{
    return pgqrs_enqueue(t->store, t->queue, "1",
                         PGQRS_OPTIONS(enqueue, .key = "k", .out_existed = &t->existed), &t->ids[0],
                         error);
}

static void g61_keyed_enqueue(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_queue,
                                            .call            = call_enqueue_keyed,
                                            .assert_done     = assert_one_is_there,
                                            .assert_not_done = assert_none_is_there });
}

static pgqrs_status call_enqueue_many(trial *t, pgqrs_error *error)
{
    return pgqrs_enqueue_many(t->store, t->queue, (const char *const[]){ "1", "2", "3" }, 3, NULL,
                              t->ids, error);
}

static bool three_are_there(trial *t)
{
    const int64_t there = count_in(t, "messages");
    assert_true(there == 0 || there == 3);
    return there == 3;
}

static void assert_three_are_there(trial *t)
{
    assert_true(three_are_there(t));
}

static void g61_enqueue_many(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_queue,
                                            .call            = call_enqueue_many,
                                            .assert_done     = assert_three_are_there,
                                            .assert_not_done = assert_none_is_there,
                                            .was_done        = three_are_there });
}

static pgqrs_status call_trigger_keyed(trial *t, pgqrs_error *error)
{
    return pgqrs_trigger(t->store, t->flow, "1", PGQRS_OPTIONS(enqueue, .key = "k"), &t->ids[0],
                         error);
}

static void assert_one_run(trial *t)
{
    assert_int_equal(1, count_in(t, "messages"));
    assert_run_status(t->w, t->ids[0], PGQRS_RUN_QUEUED);
}

static void g61_keyed_trigger(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = with_flow,
                                            .call        = call_trigger_keyed,
                                            .assert_done = assert_one_run });
}

static pgqrs_status call_trigger(trial *t, pgqrs_error *error)
{
    return pgqrs_trigger(t->store, t->flow, "1", NULL, &t->ids[0], error);
}

static bool one_run_is_there(trial *t)
{
    assert_in_range(count_in(t, "messages"), 0, 1);
    return count_in(t, "messages") == 1;
}

static void g61_trigger(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = with_flow,
                                            .call        = call_trigger,
                                            .assert_done = assert_one_run,
                                            .was_done    = one_run_is_there });
}

/* --- Taking out ----------------------------------------------------------------------------------
 */

/* Later ids first, and one that has come back. */
static void prepare_four(trial *t)
{
    with_queue(t, 1);
    message back = claim_one(t->w, t->queue);
    for (int i = 1; i < 4; i++)
        t->ids[i] = enqueue_with(t->w, t->queue, "1", PGQRS_OPTIONS(enqueue, .priority = 5 - i));
    assert_ok(pgqrs_release(t->w->store, &back, NULL, &failure));
}

static pgqrs_status call_claim_three(trial *t, pgqrs_error *error)
{
    return pgqrs_claim(t->store, t->queue, PGQRS_OPTIONS(claim, .limit = 3), &t->batch, error);
}

static void assert_three_are_held(trial *t)
{
    const int64_t lease = pgqrs_messages_at(t->batch, 0)->lease;
    char          sql[128];
    assert_int_equal(3, pgqrs_messages_count(t->batch));
    for (size_t i = 0; i < 3; i++) { /* in order */
        const message *m = pgqrs_messages_at(t->batch, i);
        assert_int_equal(t->ids[3 - i], m->id);
        assert_int_equal(lease, m->lease);
        assert_int_equal(1, m->attempt);
        assert_string_equal("1", m->payload);
    }
    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM pgqrs_leased WHERE lease = %lld",
                   (long long)lease);
    assert_int_equal(3, sql_number(t->w, sql));
    assert_int_equal(3, count_in(t, "leased"));
    assert_int_equal(1, count_in(t, "ready"));
}

static void assert_none_is_held(trial *t)
{
    assert_int_equal(0, count_in(t, "leased"));
}

static void g61_claim(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_four,
                                            .call            = call_claim_three,
                                            .assert_done     = assert_three_are_held,
                                            .assert_not_done = assert_none_is_held,
                                            .not_blind       = true });
}

static void prepare_run_with_a_step(trial *t)
{
    with_run(t);
    step_done(t->run, "one", "\"recorded\"");
    advance(t->w, LEASE_US + 1);
}

static pgqrs_status call_claim_run(trial *t, pgqrs_error *error)
{
    pgqrs_messages_free(t->batch);
    return pgqrs_claim(t->store, t->flow, NULL, &t->batch, error);
}

static void assert_run_is_held_with_its_step(trial *t)
{
    pgqrs_run *run = NULL;
    assert_int_equal(1, pgqrs_messages_count(t->batch));
    assert_int_equal(2, pgqrs_messages_at(t->batch, 0)->attempt);
    assert_ok(pgqrs_run_from(t->store, t->batch, 0, &run, &failure));
    assert_string_equal("\"recorded\"", replayed(run, "one"));
    pgqrs_run_free(run);
    assert_int_equal(1, count_in(t, "leased"));
}

static void g61_claim_of_a_run(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_run_with_a_step,
                                            .call        = call_claim_run,
                                            .assert_done = assert_run_is_held_with_its_step,
                                            .not_blind   = true });
}

static void prepare_one(trial *t)
{
    with_queue(t, 1);
}

static pgqrs_status call_claim_id(trial *t, pgqrs_error *error)
{
    return pgqrs_claim_id(t->store, t->ids[0], NULL, &t->batch, error);
}

static void assert_one_is_held(trial *t)
{
    assert_int_equal(1, pgqrs_messages_count(t->batch));
    const message m = *pgqrs_messages_at(t->batch, 0);
    assert_int_equal(t->ids[0], m.id);
    assert_int_equal(1, m.attempt);
    assert_ok(pgqrs_archive(t->w->store, &m, &failure)); /* under that lease */
}

static void g61_claim_by_id(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_one,
                                            .call            = call_claim_id,
                                            .assert_done     = assert_one_is_held,
                                            .assert_not_done = assert_none_is_held });
}

static void prepare_open_run(trial *t)
{
    with_flow(t);
    t->ids[0] = trigger(t->w, t->flow, "1");
    assert_ok(pgqrs_run_open(t->store, t->ids[0], &t->run, &failure));
}

static pgqrs_status call_start(trial *t, pgqrs_error *error)
{
    const pgqrs_status status = pgqrs_run_start(t->run);
    *error                    = *pgqrs_run_error(t->run);
    return status;
}

static void assert_run_is_started(trial *t)
{
    assert_run_status(t->w, t->ids[0], PGQRS_RUN_RUNNING);
    assert_run(PGQRS_OK, t->run, pgqrs_run_succeed(t->run, NULL));
}

static void g61_start_of_a_run(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_open_run,
                                            .call        = call_start,
                                            .assert_done = assert_run_is_started });
}

/* --- Finishing -----------------------------------------------------------------------------------
 */

static void prepare_held(trial *t)
{
    with_claimed(t, 1);
}

static pgqrs_status call_archive(trial *t, pgqrs_error *error)
{
    return pgqrs_archive(t->store, &t->m[0], error);
}

static void assert_archived(trial *t)
{
    assert_state(t->w, t->ids[0], PGQRS_STATE_DONE);
    assert_int_equal(0, count_in(t, "leased"));
}

static void g61_archive(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_held,
                                            .call        = call_archive,
                                            .assert_done = assert_archived });
}

static void prepare_two_of_three_held(trial *t)
{
    with_claimed(t, 3);
    assert_ok(pgqrs_archive(t->w->store, &t->m[1], &failure));
    t->m[1].lease++; /* as somebody's else: this one is not ours to finish */
}

static pgqrs_status call_archive_many(trial *t, pgqrs_error *error)
{
    return pgqrs_archive_many(t->store, (const message *const[]){ &t->m[0], &t->m[1], &t->m[2] }, 3,
                              t->statuses, error);
}

static void assert_two_of_three_archived(trial *t)
{
    assert_int_equal(PGQRS_OK, t->statuses[0]);
    assert_int_equal(PGQRS_ELEASE, t->statuses[1]);
    assert_int_equal(PGQRS_OK, t->statuses[2]);
    assert_int_equal(3, count_in(t, "archive"));
}

static void g61_archive_many(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_two_of_three_held,
                                            .call        = call_archive_many,
                                            .assert_done = assert_two_of_three_archived });
}

static void prepare_cancelled_held(trial *t)
{
    with_claimed(t, 1);
    assert_ok(pgqrs_cancel(t->w->store, t->ids[0], NULL, &failure));
}

static void assert_cancelled(trial *t)
{
    assert_state(t->w, t->ids[0], PGQRS_STATE_CANCELLED);
}

static void g61_archive_of_what_was_cancelled(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_cancelled_held,
                                            .call        = call_archive,
                                            .assert_done = assert_cancelled });
}

static pgqrs_status call_delete(trial *t, pgqrs_error *error)
{
    return pgqrs_delete(t->store, &t->m[0], error);
}

static void assert_deleted(trial *t)
{
    assert_gone(t->w, t->ids[0]);
}

static void g61_delete(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_held,
                                            .call        = call_delete,
                                            .assert_done = assert_deleted });
}

static pgqrs_status call_dead_letter(trial *t, pgqrs_error *error)
{
    return pgqrs_dead_letter(t->store, &t->m[0], "C", "text", error);
}

static void assert_dead(trial *t)
{
    assert_state(t->w, t->ids[0], PGQRS_STATE_DEAD);
    assert_non_null(strstr(record(t->w, t->ids[0]).error, "text"));
}

static void g61_dead_letter(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_held,
                                            .call        = call_dead_letter,
                                            .assert_done = assert_dead });
}

static pgqrs_status call_release(trial *t, pgqrs_error *error)
{
    return pgqrs_release(t->store, &t->m[0], NULL, error);
}

static bool is_released(trial *t)
{
    return record(t->w, t->ids[0]).state == PGQRS_STATE_READY;
}

static void assert_released(trial *t)
{
    assert_true(is_released(t));
}

static void g61_release(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_held,
                                            .call        = call_release,
                                            .assert_done = assert_released,
                                            .was_done    = is_released });
}

static pgqrs_status call_retry(trial *t, pgqrs_error *error)
{
    return pgqrs_retry(t->store, &t->m[0], "C", "text", error);
}

static bool is_scheduled(trial *t)
{
    const pgqrs_record r = record(t->w, t->ids[0]);
    assert_true(r.state == PGQRS_STATE_LEASED || r.attempt == 1);
    return r.state == PGQRS_STATE_SCHEDULED;
}

static void assert_scheduled(trial *t)
{
    assert_true(is_scheduled(t));
}

static void g61_retry(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_held,
                                            .call        = call_retry,
                                            .assert_done = assert_scheduled,
                                            .was_done    = is_scheduled });
}

static pgqrs_status call_extend(trial *t, pgqrs_error *error)
{
    return pgqrs_extend(t->store, &t->m[0], PGQRS_HOUR, error);
}

static void assert_extended(trial *t)
{
    assert_int_equal(now_us(t->w) + PGQRS_HOUR, record(t->w, t->ids[0]).expires_at_us);
}

static void g61_extend(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_held,
                                            .call        = call_extend,
                                            .assert_done = assert_extended });
}

static pgqrs_status call_cancel(trial *t, pgqrs_error *error)
{
    return pgqrs_cancel(t->store, t->ids[0], &t->state, error);
}

static void assert_cancelled_at_once(trial *t)
{
    assert_int_equal(PGQRS_STATE_CANCELLED, t->state);
    assert_cancelled(t);
}

static void g61_cancel(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_one,
                                            .call        = call_cancel,
                                            .assert_done = assert_cancelled_at_once });
}

/* --- Batches -------------------------------------------------------------------------------------
 */

/* Finish one, and start another: all of it, or nothing. */
static pgqrs_status call_atomic_batch(trial *t, pgqrs_error *error)
{
    pgqrs_batch *batch = pgqrs_batch_new(t->store);
    (void)pgqrs_batch_archive(batch, &t->m[0]);
    (void)pgqrs_batch_enqueue(batch, t->queue, "2", NULL);
    const pgqrs_status status = pgqrs_batch_commit(batch, error);
    pgqrs_batch_free(batch);
    return status;
}

static void assert_one_ended_and_one_began(trial *t)
{
    assert_archived(t);
    assert_int_equal(2, count_in(t, "messages"));
    assert_int_equal(1, count_in(t, "ready"));
}

static void assert_still_held(trial *t)
{
    assert_state(t->w, t->ids[0], PGQRS_STATE_LEASED);
    assert_int_equal(1, count_in(t, "messages"));
}

static void g61_atomic_batch(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare         = prepare_held,
                                            .call            = call_atomic_batch,
                                            .assert_done     = assert_one_ended_and_one_began,
                                            .assert_not_done = assert_still_held });
}

static pgqrs_status call_independent_batch(trial *t, pgqrs_error *error)
{
    pgqrs_batch *batch = pgqrs_batch_new(t->store);
    pgqrs_batch_independent(batch);
    (void)pgqrs_batch_archive(batch, &t->m[0]);
    (void)pgqrs_batch_delete(batch, &t->m[1]);
    const size_t keyed =
        pgqrs_batch_enqueue(batch, t->queue, "2", PGQRS_OPTIONS(enqueue, .key = "k"));
    const pgqrs_status status = pgqrs_batch_commit(batch, error);
    t->ids[2]                 = pgqrs_batch_id(batch, keyed);
    pgqrs_batch_free(batch);
    return status;
}

static void prepare_two_held(trial *t)
{
    with_claimed(t, 2);
}

static void assert_three_happened(trial *t)
{
    assert_archived(t);
    assert_gone(t->w, t->ids[1]);
    assert_state(t->w, t->ids[2], PGQRS_STATE_READY);
    assert_int_equal(2, count_in(t, "messages"));
}

static void g61_independent_batch(void **state)
{
    lose_answers(*state, &(lost_operation){ .prepare     = prepare_two_held,
                                            .call        = call_independent_batch,
                                            .assert_done = assert_three_happened });
}

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        CASE(g61_enqueue),        CASE(g61_keyed_enqueue),
        CASE(g61_enqueue_many),   CASE(g61_trigger),
        CASE(g61_keyed_trigger),  CASE(g61_claim),
        CASE(g61_claim_of_a_run), CASE(g61_claim_by_id),
        CASE(g61_start_of_a_run), CASE(g61_archive),
        CASE(g61_archive_many),   CASE(g61_archive_of_what_was_cancelled),
        CASE(g61_delete),         CASE(g61_dead_letter),
        CASE(g61_release),        CASE(g61_retry),
        CASE(g61_extend),         CASE(g61_cancel),
        CASE(g61_atomic_batch),   CASE(g61_independent_batch),
    };
    return on_postgres() ? cmocka_run_group_tests(cases, NULL, NULL) : 77;
#else
    return 77;
#endif
}
