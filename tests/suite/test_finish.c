/* What a holder does with a message: archive, delete, release, retry, dead-letter, extend, keep. */
#include "support/peek.h"
#include "support/world.h"

static void archive_keeps_the_message(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "{\"n\":1}");
    message m  = claim_one(w, "orders");
    advance(w, PGQRS_SECOND);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_DONE, r.state);
    assert_int_equal(1, r.attempt);
    assert_int_equal(now_us(w), r.finished_at_us);
    assert_int_equal(now_us(w) - PGQRS_SECOND, r.claimed_at_us);
    assert_int_equal(0, r.expires_at_us);
    assert_string_equal("{\"n\":1}", r.payload);
    assert_null(r.error);
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_consistent(w);
}

static void delete_leaves_no_trace(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    message m  = claim_one(w, "orders");
    assert_ok(pgqrs_delete(w->store, &m, &failure));
    assert_gone(w, id);
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_messages"));
    assert_status(PGQRS_ELEASE, pgqrs_delete(w->store, &m, &failure));
}

static void id_queue_and_lease_are_enough(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id   = enqueue(w, "orders", "1");
    message full = claim_one(w, "orders");
    message m    = { .id = full.id, .queue_id = full.queue_id, .lease = full.lease };
    assert_ok(pgqrs_extend(w->store, &m, 0, &failure));
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_state(w, id, PGQRS_STATE_DONE);
}

static void g06_finishing_twice_is_told(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    message m  = claim_one(w, "orders");
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_status(PGQRS_ELEASE, pgqrs_archive(w->store, &m, &failure));
    assert_status(PGQRS_ELEASE, pgqrs_delete(w->store, &m, &failure));
    assert_status(PGQRS_ELEASE, pgqrs_release(w->store, &m, NULL, &failure));
    assert_status(PGQRS_ELEASE, pgqrs_retry(w->store, &m, "E", "text", &failure));
    assert_status(PGQRS_ELEASE, pgqrs_dead_letter(w->store, &m, "E", "text", &failure));
    assert_status(PGQRS_ELEASE, pgqrs_extend(w->store, &m, 0, &failure));
    assert_state(w, id, PGQRS_STATE_DONE);
    assert_consistent(w);
}

/* Everything that a holder can do, by one who is not it. */
static void try_everything(world *w, const message *m)
{
    assert_status(PGQRS_ELEASE, pgqrs_archive(w->store, m, &failure));
    assert_int_equal(PGQRS_OBJECT_MESSAGE, failure.object);
    assert_status(PGQRS_ELEASE, pgqrs_delete(w->store, m, &failure));
    assert_status(PGQRS_ELEASE, pgqrs_release(w->store, m, NULL, &failure));
    assert_status(PGQRS_ELEASE,
                  pgqrs_release(w->store, m, PGQRS_OPTIONS(release, .delay_us = 5), &failure));
    assert_status(PGQRS_ELEASE, pgqrs_retry(w->store, m, "E", "text", &failure));
    assert_status(PGQRS_ELEASE, pgqrs_dead_letter(w->store, m, "E", "text", &failure));
    assert_status(PGQRS_ELEASE, pgqrs_extend(w->store, m, 0, &failure));
}

static void g06_a_foreign_lease_changes_nothing(void **state)
{
    world  *w = *state;
    message m[2];
    char    before[256], after[256];
    queue(w, "orders");
    enqueue_count(w, "orders", 3, NULL);
    m[0] = claim_one(w, "orders");
    m[1] = claim_one(w, "orders");
    sql_fingerprint(w, before, sizeof(before));
    message forged  = m[0];
    forged.lease    = m[1].lease; /* a lease of somebody, but not of this message */
    message guessed = m[0];
    guessed.lease += 1;
    message elsewhere = m[0];
    elsewhere.queue_id += 1;
    try_everything(w, &forged);
    try_everything(w, &guessed);
    try_everything(w, &elsewhere);
    sql_fingerprint(w, after, sizeof(after));
    assert_string_equal(before, after);
    assert_int_equal(now_us(w) + LEASE_US, record(w, m[0].id).expires_at_us);
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));
    assert_ok(pgqrs_archive(w->store, &m[1], &failure));
}

static void g06_a_late_holder_does_no_harm(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id  = enqueue(w, "orders", "1");
    message old = claim_one(w, "orders");
    advance(w, LEASE_US + 1);
    message m = claim_one(w, "orders");
    assert_int_equal(id, m.id);
    try_everything(w, &old);
    assert_state(w, id, PGQRS_STATE_LEASED);
    assert_int_equal(now_us(w) + LEASE_US, record(w, id).expires_at_us);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    try_everything(w, &old);
    assert_state(w, id, PGQRS_STATE_DONE);
}

static void release_gives_back_at_once_and_uncounted(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    message m  = claim_one(w, "orders");
    assert_ok(pgqrs_release(w->store, &m, NULL, &failure));
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_READY, r.state);
    assert_int_equal(0, r.attempt);
    assert_int_equal(1, claim_one(w, "orders").attempt);
}

static void a_counted_release_keeps_its_number(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    message m  = claim_one(w, "orders");
    assert_ok(pgqrs_release(w->store, &m, PGQRS_OPTIONS(release, .counted = true), &failure));
    assert_int_equal(1, record(w, id).attempt);
    assert_int_equal(2, claim_one(w, "orders").attempt);
}

static void g07_counted_releases_use_the_attempts_up(void **state)
{
    world *w = *state;
    queue_with(w, "orders", PGQRS_OPTIONS(queue, .max_attempts = 2));
    int64_t id = enqueue(w, "orders", "1");
    for (int i = 0; i < 2; i++) {
        message m = claim_one(w, "orders");
        assert_int_equal(id, m.id);
        assert_ok(pgqrs_release(w->store, &m, PGQRS_OPTIONS(release, .counted = true), &failure));
    }
    assert_state(w, id, PGQRS_STATE_DEAD);
    assert_int_equal(0, claim_one(w, "orders").id);
}

static void g11_a_release_with_a_delay_comes_back_then(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    message m  = claim_one(w, "orders");
    assert_ok(
        pgqrs_release(w->store, &m, PGQRS_OPTIONS(release, .delay_us = PGQRS_MINUTE), &failure));
    assert_state(w, id, PGQRS_STATE_SCHEDULED);
    assert_int_equal(now_us(w) + PGQRS_MINUTE, record(w, id).visible_at_us);
    advance(w, PGQRS_MINUTE - 1);
    assert_int_equal(0, claim_one(w, "orders").id);
    advance(w, 1);
    m = claim_one(w, "orders");
    assert_int_equal(id, m.id);
    int64_t at = now_us(w) + PGQRS_HOUR;
    assert_ok(pgqrs_release(w->store, &m, PGQRS_OPTIONS(release, .at_us = at), &failure));
    assert_int_equal(at, record(w, id).visible_at_us);
    advance(w, PGQRS_HOUR);
    m = claim_one(w, "orders");
    assert_ok(pgqrs_release(w->store, &m, PGQRS_OPTIONS(release, .at_us = at - 1), &failure));
    assert_state(w, id, PGQRS_STATE_READY);
}

static void retry_follows_the_queues_backoff(void **state)
{
    world *w = *state;
    queue_with(w, "orders",
               PGQRS_OPTIONS(queue, .max_attempts = 10, .backoff_us = 2 * PGQRS_SECOND,
                             .backoff_factor = 3, .backoff_max_us = PGQRS_MINUTE));
    const int64_t expected[] = { 2, 6, 18, 54, 60, 60 };
    int64_t       id         = enqueue(w, "orders", "1");
    for (size_t i = 0; i < 6; i++) {
        message m = claim_one(w, "orders");
        assert_int_equal(id, m.id);
        assert_int_equal(i + 1, m.attempt);
        assert_ok(pgqrs_retry(w->store, &m, "E", "text", &failure));
        pgqrs_record r = record(w, id);
        assert_int_equal(PGQRS_STATE_SCHEDULED, r.state);
        assert_string_equal("retry", r.reason);
        assert_int_equal(now_us(w) + expected[i] * PGQRS_SECOND, r.visible_at_us);
        advance(w, expected[i] * PGQRS_SECOND - 1);
        assert_int_equal(0, claim_one(w, "orders").id);
        advance(w, 1);
    }
}

static void g07_used_up_attempts_make_a_dead_letter_with_the_last_error(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "{\"n\":1}");
    for (int attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
        char    text[64];
        message m = claim_one(w, "orders");
        assert_int_equal(attempt, m.attempt);
        (void)snprintf(text, sizeof(text), "try \"%d\" failed", attempt);
        assert_ok(pgqrs_retry(w->store, &m, "UPSTREAM", text, &failure));
        advance(w, PGQRS_HOUR);
    }
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_DEAD, r.state);
    assert_int_equal(MAX_ATTEMPTS, r.attempt);
    assert_non_null(r.error);
    assert_non_null(strstr(r.error, "UPSTREAM"));
    assert_non_null(strstr(r.error, "try \\\"5\\\" failed"));
    assert_string_equal("{\"n\":1}", r.payload);
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_int_equal(1, measure(w, "orders").dead);
    assert_int_equal(0, measure(w, "orders").done);
    assert_consistent(w);
}

static void g07_leases_that_pass_use_the_attempts_up(void **state)
{
    world *w = *state;
    queue_with(w, "orders", PGQRS_OPTIONS(queue, .max_attempts = 3));
    int64_t id = enqueue(w, "orders", "1");
    for (int attempt = 1; attempt <= 3; attempt++) {
        assert_int_equal(attempt, claim_one(w, "orders").attempt);
        advance(w, LEASE_US + 1);
    }
    assert_int_equal(0, claim_one(w, "orders").id);
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_DEAD, r.state);
    assert_int_equal(3, r.attempt);
    assert_non_null(strstr(r.error, "LEASE_EXPIRED"));
}

static void g07_a_message_can_be_given_up_at_once(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t first = enqueue(w, "orders", "1");
    message m     = claim_one(w, "orders");
    assert_ok(pgqrs_dead_letter(w->store, &m, "BAD_ADDRESS", "no such street", &failure));
    pgqrs_record r = record(w, first);
    assert_int_equal(PGQRS_STATE_DEAD, r.state);
    assert_non_null(strstr(r.error, "\"code\":\"BAD_ADDRESS\""));
    assert_non_null(strstr(r.error, "\"message\":\"no such street\""));
    int64_t second = enqueue(w, "orders", "1");
    m              = claim_one(w, "orders");
    assert_ok(pgqrs_dead_letter(w->store, &m, NULL, NULL, &failure));
    assert_state(w, second, PGQRS_STATE_DEAD);
}

static void extend_counts_from_now(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    message m  = claim_one(w, "orders");
    advance(w, 20 * PGQRS_SECOND);
    assert_ok(pgqrs_extend(w->store, &m, 0, &failure));
    assert_int_equal(now_us(w) + LEASE_US, record(w, id).expires_at_us);
    assert_ok(pgqrs_extend(w->store, &m, PGQRS_HOUR, &failure));
    assert_int_equal(now_us(w) + PGQRS_HOUR, record(w, id).expires_at_us);
    advance(w, PGQRS_HOUR - 1);
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
}

static void each_extended_message_is_its_own(void **state)
{
    world         *w = *state;
    message        m[3];
    const message *all[3] = { &m[2], &m[0], &m[1] };
    pgqrs_status   statuses[3];
    queue(w, "orders");
    enqueue_count(w, "orders", 3, NULL);
    assert_int_equal(3, claim_many(w, "orders", 3, m));
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));
    assert_ok(pgqrs_cancel(w->store, m[1].id, NULL, &failure));
    assert_ok(pgqrs_extend_many(w->store, all, 3, PGQRS_HOUR, statuses, &failure));
    assert_int_equal(PGQRS_OK, statuses[0]);
    assert_int_equal(PGQRS_ELEASE, statuses[1]);
    assert_int_equal(PGQRS_ECANCELLED, statuses[2]);
    assert_int_equal(now_us(w) + PGQRS_HOUR, record(w, m[1].id).expires_at_us);
    assert_int_equal(now_us(w) + PGQRS_HOUR, record(w, m[2].id).expires_at_us);
    assert_status(PGQRS_ECANCELLED, pgqrs_extend(w->store, &m[1], 0, &failure));
}

static void of_many_each_is_treated_on_its_own(void **state)
{
    world         *w = *state;
    message        m[6];
    const message *all[6];
    pgqrs_status   statuses[6];
    queue(w, "orders");
    queue(w, "other");
    enqueue_count(w, "orders", 4, NULL);
    enqueue_count(w, "other", 2, NULL);
    assert_int_equal(4, claim_many(w, "orders", 4, m));
    m[4] = claim_one(w, "other"); /* of another queue and another lease */
    m[5] = claim_one(w, "other");
    assert_ok(pgqrs_delete(w->store, &m[2], &failure));
    m[4].lease++;
    for (size_t i = 0; i < 6; i++)
        all[i] = &m[5 - i];
    assert_ok(pgqrs_archive_many(w->store, all, 6, statuses, &failure));
    for (size_t i = 0; i < 6; i++) {
        bool lost = all[i] == &m[2] || all[i] == &m[4];
        assert_int_equal(lost ? PGQRS_ELEASE : PGQRS_OK, statuses[i]);
        if (!lost)
            assert_state(w, all[i]->id, PGQRS_STATE_DONE);
    }
    assert_state(w, m[4].id, PGQRS_STATE_LEASED);
    assert_consistent(w);
}

static void g22_one_message_named_twice_is_refused(void **state)
{
    world       *w = *state;
    pgqrs_status statuses[2];
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message        m      = claim_one(w, "orders");
    const message *all[2] = { &m, &m };
    assert_status(PGQRS_EINVAL, pgqrs_archive_many(w->store, all, 2, statuses, &failure));
    assert_status(PGQRS_EINVAL, pgqrs_delete_many(w->store, all, 2, statuses, &failure));
    assert_state(w, m.id, PGQRS_STATE_LEASED);
}

static void many_are_deleted_or_released(void **state)
{
    world         *w = *state;
    message        m[4];
    const message *all[4] = { &m[0], &m[1], &m[2], &m[3] };
    pgqrs_status   statuses[4];
    queue(w, "orders");
    enqueue_count(w, "orders", 4, NULL);
    assert_int_equal(4, claim_many(w, "orders", 4, m));
    assert_ok(pgqrs_archive(w->store, &m[3], &failure));
    assert_ok(pgqrs_release_many(w->store, all, 4, PGQRS_OPTIONS(release, .counted = true),
                                 statuses, &failure));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(i == 3 ? PGQRS_ELEASE : PGQRS_OK, statuses[i]);
    assert_int_equal(3, claim_many(w, "orders", 3, m));
    assert_int_equal(2, m[0].attempt);
    assert_ok(pgqrs_delete_many(w->store, all, 3, statuses, &failure));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(PGQRS_OK, statuses[i]);
        assert_gone(w, m[i].id);
    }
    assert_ok(pgqrs_archive_many(w->store, NULL, 0, NULL, &failure));
    assert_consistent(w);
}

static void g17_a_cancelled_message_ends_cancelled_however_it_is_given_up(void **state)
{
    world  *w = *state;
    message m[5];
    queue(w, "orders");
    enqueue_count(w, "orders", 5, NULL);
    assert_int_equal(5, claim_many(w, "orders", 5, m));
    for (size_t i = 0; i < 5; i++) {
        pgqrs_state state_after = PGQRS_STATE_READY;
        assert_ok(pgqrs_cancel(w->store, m[i].id, &state_after, &failure));
        assert_int_equal(PGQRS_STATE_LEASED, state_after);
        assert_true(record(w, m[i].id).cancelled);
    }
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));
    assert_ok(pgqrs_release(w->store, &m[1], NULL, &failure));
    assert_ok(pgqrs_retry(w->store, &m[2], "E", "text", &failure));
    assert_ok(pgqrs_dead_letter(w->store, &m[3], "E", "text", &failure));
    advance(w, LEASE_US + 1);
    assert_int_equal(0, claim_one(w, "orders").id);
    for (size_t i = 0; i < 5; i++)
        assert_state(w, m[i].id, PGQRS_STATE_CANCELLED);
    assert_consistent(w);
}

static void g17_a_waiting_message_is_cancelled_at_once(void **state)
{
    world      *w           = *state;
    pgqrs_state state_after = PGQRS_STATE_READY;
    queue(w, "orders");
    int64_t ready = enqueue(w, "orders", "1");
    int64_t late  = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = 5));
    int64_t back  = enqueue(w, "orders", "1");
    message m     = claim_id(w, back);
    assert_ok(pgqrs_release(w->store, &m, NULL, &failure));
    const int64_t ids[] = { ready, late, back };
    for (size_t i = 0; i < 3; i++) {
        assert_ok(pgqrs_cancel(w->store, ids[i], &state_after, &failure));
        assert_int_equal(PGQRS_STATE_CANCELLED, state_after);
        assert_state(w, ids[i], PGQRS_STATE_CANCELLED);
        assert_status(PGQRS_ESTATE, pgqrs_cancel(w->store, ids[i], NULL, &failure));
    }
    advance(w, PGQRS_MINUTE);
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_status(PGQRS_ENOTFOUND, pgqrs_cancel(w->store, back + 1000, NULL, &failure));
    assert_consistent(w);
}

static void g17_cancelling_twice_is_the_same_as_once(void **state)
{
    world      *w           = *state;
    pgqrs_state state_after = PGQRS_STATE_READY;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message m = claim_one(w, "orders");
    assert_ok(pgqrs_cancel(w->store, m.id, NULL, &failure));
    assert_ok(pgqrs_cancel(w->store, m.id, &state_after, &failure));
    assert_int_equal(PGQRS_STATE_LEASED, state_after);
    assert_ok(pgqrs_delete(w->store, &m, &failure)); /* nothing is left to be marked */
    assert_gone(w, m.id);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(archive_keeps_the_message),
        CASE(delete_leaves_no_trace),
        CASE(id_queue_and_lease_are_enough),
        CASE(g06_finishing_twice_is_told),
        CASE(g06_a_foreign_lease_changes_nothing),
        CASE(g06_a_late_holder_does_no_harm),
        CASE(release_gives_back_at_once_and_uncounted),
        CASE(a_counted_release_keeps_its_number),
        CASE(g07_counted_releases_use_the_attempts_up),
        CASE(g11_a_release_with_a_delay_comes_back_then),
        CASE(retry_follows_the_queues_backoff),
        CASE(g07_used_up_attempts_make_a_dead_letter_with_the_last_error),
        CASE(g07_leases_that_pass_use_the_attempts_up),
        CASE(g07_a_message_can_be_given_up_at_once),
        CASE(extend_counts_from_now),
        CASE(each_extended_message_is_its_own),
        CASE(of_many_each_is_treated_on_its_own),
        CASE(g22_one_message_named_twice_is_refused),
        CASE(many_are_deleted_or_released),
        CASE(g17_a_cancelled_message_ends_cancelled_however_it_is_given_up),
        CASE(g17_a_waiting_message_is_cancelled_at_once),
        CASE(g17_cancelling_twice_is_the_same_as_once),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
