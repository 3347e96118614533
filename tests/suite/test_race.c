/* Two who want the same message at the same moment: whoever wins, both are told the truth. */

#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

#define COUNT 150

typedef struct race {
    pgqrs_store    *stores[2];
    message         m[COUNT];
    int64_t         ids[COUNT];
    pgqrs_status    first[COUNT];
    pgqrs_status    second[COUNT];
    pgqrs_state     seen[COUNT];
    pgqrs_messages *batches[2 * COUNT];
    size_t          batch_count;
    int64_t         now_us;
} race;

static race r;

/* COUNT messages, claimed by the first of two stores unless they are to wait. */
static void line_up(world *w, bool claimed)
{
    r = (race){ .stores = { w->store, world_open(w) } };
    queue(w, "orders");
    enqueue_count(w, "orders", COUNT, r.ids);
    if (claimed)
        assert_int_equal(COUNT, claim_many(w, "orders", COUNT, r.m));
    /* both know the queue, so that they meet at once */
    pgqrs_messages *none = NULL;
    assert_ok(pgqrs_queue_pause(w->store, "orders", &failure));
    assert_ok(pgqrs_claim(r.stores[1], "orders", NULL, &none, &failure));
    pgqrs_messages_free(none);
    assert_ok(pgqrs_queue_resume(w->store, "orders", &failure));
}

static void archive_or_cancel(void *shared, size_t i)
{
    (void)shared;
    for (size_t k = 0; k < COUNT; k++)
        if (i == 0)
            r.first[k] = pgqrs_archive(r.stores[0], &r.m[k], NULL);
        else
            r.second[k] = pgqrs_cancel(r.stores[1], r.ids[k], &r.seen[k], NULL);
}

static void g17_a_cancel_and_an_archive_at_once(void **state)
{
    world *w = *state;
    line_up(w, true);
    together(2, archive_or_cancel, NULL);
    for (size_t k = 0; k < COUNT; k++) {
        assert_int_equal(PGQRS_OK, r.first[k]);
        if (r.second[k] == PGQRS_OK)
            assert_state(w, r.ids[k], PGQRS_STATE_CANCELLED);
        else
            assert_int_equal(PGQRS_ESTATE, r.second[k]);
        if (r.second[k] == PGQRS_ESTATE)
            assert_state(w, r.ids[k], PGQRS_STATE_DONE);
    }
    assert_consistent(w);
}

static void claim_or_cancel(void *shared, size_t i)
{
    (void)shared;
    if (i == 1) {
        for (size_t k = COUNT; k-- > 0;) /* they meet in the middle */
            r.second[k] = pgqrs_cancel(r.stores[1], r.ids[k], &r.seen[k], NULL);
        return;
    }
    for (size_t got = 1; got > 0 && r.batch_count < COUNT; r.batch_count++) {
        r.first[r.batch_count] =
            pgqrs_claim(r.stores[0], "orders", PGQRS_OPTIONS(claim, .limit = 3),
                        &r.batches[r.batch_count], NULL);
        got = pgqrs_messages_count(r.batches[r.batch_count]);
    }
}

static void g17_a_cancel_and_a_claim_at_once(void **state)
{
    world *w              = *state;
    bool   claimed[COUNT] = { false };
    line_up(w, false);
    together(2, claim_or_cancel, NULL);
    bool answered = true;
    for (size_t b = 0; b < r.batch_count; b++) {
        answered = answered && r.first[b] == PGQRS_OK;
        for (size_t k = 0; k < pgqrs_messages_count(r.batches[b]); k++)
            for (size_t n = 0; n < COUNT; n++)
                if (pgqrs_messages_at(r.batches[b], k)->id == r.ids[n])
                    claimed[n] = true;
        pgqrs_messages_free(r.batches[b]);
    }
    assert_true(answered);
    for (size_t n = 0; n < COUNT; n++) {
        assert_int_equal(PGQRS_OK, r.second[n]);
        assert_int_equal(claimed[n] ? PGQRS_STATE_LEASED : PGQRS_STATE_CANCELLED, r.seen[n]);
        pgqrs_record m = record(w, r.ids[n]);
        assert_int_equal(r.seen[n], m.state);
        assert_true(m.cancelled);
    }
    advance(w, LEASE_US + 1);
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_int_equal(COUNT, measure(w, "orders").done);
    assert_consistent(w);
}

static void finish_or_extend(void *shared, size_t i)
{
    (void)shared;
    for (size_t k = 0; k < COUNT; k++)
        if (i == 1)
            r.second[k] = pgqrs_extend(r.stores[1], &r.m[k], 0, NULL);
        else if (k % 3 == 0)
            r.first[k] = pgqrs_archive(r.stores[0], &r.m[k], NULL);
        else if (k % 3 == 1)
            r.first[k] = pgqrs_release(r.stores[0], &r.m[k], NULL, NULL);
        else
            r.first[k] = pgqrs_delete(r.stores[0], &r.m[k], NULL);
}

static void g06_a_heartbeat_and_a_finish_at_once(void **state)
{
    world *w = *state;
    line_up(w, true);
    together(2, finish_or_extend, NULL);
    for (size_t k = 0; k < COUNT; k++) {
        assert_int_equal(PGQRS_OK,
                         r.first[k]); /* it held the message: it is never told otherwise */
        assert_true(r.second[k] == PGQRS_OK || r.second[k] == PGQRS_ELEASE);
        if (k % 3 == 2)
            assert_gone(w, r.ids[k]);
        else
            assert_state(w, r.ids[k], k % 3 == 0 ? PGQRS_STATE_DONE : PGQRS_STATE_READY);
    }
    assert_consistent(w);
}

static void archive_late_or_claim_again(void *shared, size_t i)
{
    (void)shared;
    if (i == 0) {
        for (size_t k = 0; k < COUNT; k++)
            r.first[k] = pgqrs_archive(r.stores[0], &r.m[k], NULL);
        return;
    }
    for (size_t got = 1; got > 0 && r.batch_count < COUNT; r.batch_count++) {
        if (pgqrs_claim(r.stores[1], "orders",
                        PGQRS_OPTIONS(claim, .limit = 5, .now_us = r.now_us, .lease_us = PGQRS_DAY),
                        &r.batches[r.batch_count], NULL)
            != PGQRS_OK)
            return;
        got = pgqrs_messages_count(r.batches[r.batch_count]);
    }
}

static void g04_a_late_finish_and_a_redelivery_at_once(void **state)
{
    world *w            = *state;
    bool   again[COUNT] = { false };
    line_up(w, true);
    r.now_us = now_us(w) + LEASE_US + 1; /* for the claimer the leases have passed */
    together(2, archive_late_or_claim_again, NULL);
    bool second_attempt = true;
    for (size_t b = 0; b < r.batch_count; b++) {
        for (size_t k = 0; k < pgqrs_messages_count(r.batches[b]); k++) {
            const pgqrs_message *m = pgqrs_messages_at(r.batches[b], k);
            second_attempt         = second_attempt && m->attempt == 2;
            for (size_t n = 0; n < COUNT; n++)
                if (m->id == r.ids[n])
                    again[n] = true;
        }
        pgqrs_messages_free(r.batches[b]);
    }
    assert_true(second_attempt);
    for (size_t n = 0; n < COUNT; n++) {
        pgqrs_state where = record(w, r.ids[n]).state;
        if (r.first[n] == PGQRS_OK) { /* it was in time after all: finished, and nobody else's */
            assert_false(again[n]);
            assert_int_equal(PGQRS_STATE_DONE, where);
        } else {
            assert_int_equal(PGQRS_ELEASE, r.first[n]);
            assert_true(again[n] ? where == PGQRS_STATE_LEASED : where == PGQRS_STATE_READY);
        }
    }
    assert_consistent(w);
}

static void replay_all(void *shared, size_t i)
{
    size_t *counts = shared;
    (void)!pgqrs_replay(r.stores[i], r.ids, COUNT, &counts[i], NULL);
}

static void g08_two_replays_at_once_bring_back_each_once(void **state)
{
    world *w         = *state;
    size_t counts[2] = { 0 };
    line_up(w, true);
    for (size_t k = 0; k < COUNT; k++)
        assert_ok(pgqrs_dead_letter(w->store, &r.m[k], "E", "text", &failure));
    together(2, replay_all, counts);
    assert_int_equal(COUNT, counts[0] + counts[1]);
    assert_int_equal(COUNT, measure(w, "orders").ready);
    assert_consistent(w);
}

static void archive_one_of_two(void *shared, size_t i)
{
    (void)shared;
    for (size_t k = 0; k < COUNT; k++) {
        pgqrs_status *answer = i == 0 ? &r.first[k] : &r.second[k];
        *answer              = pgqrs_archive(r.stores[i], &r.m[k], NULL);
    }
}

static void g06_two_finishes_at_once_and_one_is_told(void **state)
{
    world *w = *state;
    line_up(w, true);
    together(2, archive_one_of_two, NULL);
    for (size_t k = 0; k < COUNT; k++) {
        assert_int_equal(1, (r.first[k] == PGQRS_OK) + (r.second[k] == PGQRS_OK));
        assert_int_equal(1, (r.first[k] == PGQRS_ELEASE) + (r.second[k] == PGQRS_ELEASE));
        assert_state(w, r.ids[k], PGQRS_STATE_DONE);
    }
    assert_consistent(w);
}

static void claim_the_same_id(void *shared, size_t i)
{
    (void)shared;
    for (size_t k = 0; k < COUNT; k++) {
        pgqrs_status *answer = i == 0 ? &r.first[k] : &r.second[k];
        *answer = pgqrs_claim_id(r.stores[i], r.ids[k], NULL, &r.batches[i * COUNT + k], NULL);
    }
}

static void g03_two_claims_of_one_id_at_once(void **state)
{
    world *w = *state;
    line_up(w, false);
    together(2, claim_the_same_id, NULL);
    for (size_t k = 0; k < 2 * COUNT; k++)
        pgqrs_messages_free(r.batches[k]);
    for (size_t k = 0; k < COUNT; k++) {
        assert_int_equal(1, (r.first[k] == PGQRS_OK) + (r.second[k] == PGQRS_OK));
        assert_int_equal(1, (r.first[k] == PGQRS_ESTATE) + (r.second[k] == PGQRS_ESTATE));
        assert_int_equal(1, record(w, r.ids[k]).attempt);
    }
    assert_consistent(w);
}

static void enqueue_or_delete_the_queue(void *shared, size_t i)
{
    (void)shared;
    for (size_t k = 0; k < COUNT; k++)
        if (i == 0)
            r.first[k] = pgqrs_enqueue(r.stores[0], "orders", "1", NULL, NULL, NULL);
        else if (k % 30 == 29)
            r.second[k] = pgqrs_queue_delete(r.stores[1], "orders", true, NULL);
        else
            r.second[k] = pgqrs_queue_ensure(r.stores[1], "orders", NULL, NULL);
}

static void g34_enqueues_while_the_queue_is_deleted_and_made_anew(void **state)
{
    world *w = *state;
    line_up(w, false);
    together(2, enqueue_or_delete_the_queue, NULL);
    for (size_t k = 0; k < COUNT; k++) {
        assert_true(r.first[k] == PGQRS_OK || r.first[k] == PGQRS_ENOTFOUND);
        assert_int_equal(PGQRS_OK, r.second[k]);
    }
    assert_ok(pgqrs_queue_ensure(w->store, "orders", NULL, &failure));
    int64_t live = measure(w, "orders").ready;
    for (int i = 0; i < 4; i++) { /* whatever the deleted ones left is swept */
        assert_ok(pgqrs_retention_run(w->store, 0, NULL, &failure));
        advance(w, PGQRS_HOUR);
    }
    assert_int_equal(live, sql_number(w, "SELECT count(*) FROM pgqrs_messages"));
    assert_int_equal(live, sql_number(w, "SELECT count(*) FROM pgqrs_ready"));
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_queues"));
    assert_consistent(w);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g17_a_cancel_and_an_archive_at_once),
        CASE(g17_a_cancel_and_a_claim_at_once),
        CASE(g06_a_heartbeat_and_a_finish_at_once),
        CASE(g04_a_late_finish_and_a_redelivery_at_once),
        CASE(g08_two_replays_at_once_bring_back_each_once),
        CASE(g06_two_finishes_at_once_and_one_is_told),
        CASE(g03_two_claims_of_one_id_at_once),
        CASE(g34_enqueues_while_the_queue_is_deleted_and_made_anew),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
