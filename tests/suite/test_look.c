/* Looking at messages, bringing the dead back, and letting go of the old. */
#include <stdlib.h>

#include "support/peek.h"
#include "support/world.h"

static void every_state_is_found_by_id(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t ready  = enqueue(w, "orders", "\"ready\"");
    message parked = claim_one(w, "orders");
    assert_ok(
        pgqrs_release(w->store, &parked, PGQRS_OPTIONS(release, .delay_us = PGQRS_HOUR), &failure));
    int64_t back = enqueue(w, "orders", "\"back\"");
    message m    = claim_one(w, "orders");
    assert_ok(pgqrs_release(w->store, &m, NULL, &failure));
    pgqrs_record r = record(w, ready);
    assert_int_equal(PGQRS_STATE_SCHEDULED, r.state);
    assert_int_equal(now_us(w) + PGQRS_HOUR, r.visible_at_us);
    assert_int_equal(0, r.claimed_at_us);
    assert_string_equal("\"ready\"", r.payload);
    r = record(w, back);
    assert_int_equal(PGQRS_STATE_READY, r.state);
    assert_int_equal(5, r.priority);
    m = claim_one(w, "orders");
    r = record(w, back);
    assert_int_equal(PGQRS_STATE_LEASED, r.state);
    assert_int_equal(1, r.attempt);
    assert_false(r.cancelled);
    assert_gone(w, back + 1000);
    assert_int_equal(PGQRS_OBJECT_MESSAGE, failure.object);
}

static void states_have_names(void **state)
{
    (void)state;
    assert_string_equal("ready", pgqrs_state_name(PGQRS_STATE_READY));
    assert_string_equal("scheduled", pgqrs_state_name(PGQRS_STATE_SCHEDULED));
    assert_string_equal("leased", pgqrs_state_name(PGQRS_STATE_LEASED));
    assert_string_equal("done", pgqrs_state_name(PGQRS_STATE_DONE));
    assert_string_equal("success", pgqrs_state_name(PGQRS_STATE_SUCCESS));
    assert_string_equal("error", pgqrs_state_name(PGQRS_STATE_ERROR));
    assert_string_equal("cancelled", pgqrs_state_name(PGQRS_STATE_CANCELLED));
    assert_string_equal("dead", pgqrs_state_name(PGQRS_STATE_DEAD));
    assert_non_null(pgqrs_state_name((pgqrs_state)99));
    assert_string_equal("ELEASE", pgqrs_status_name(PGQRS_ELEASE));
    assert_string_equal("lease no longer held", pgqrs_status_text(PGQRS_ELEASE));
    assert_string_equal("?", pgqrs_status_name((pgqrs_status)99));
    assert_string_equal(PGQRS_VERSION, pgqrs_version());
}

/* Pages of @p size of one state: all ids, in order, each once. */
static void assert_pages(world *w, pgqrs_state which, int size, const int64_t *ids, size_t count)
{
    int64_t after = 0;
    size_t  seen  = 0;
    for (;;) {
        pgqrs_records *page = NULL;
        assert_ok(pgqrs_message_list(
            w->store, "orders",
            PGQRS_OPTIONS(list, .state = which, .after_id = after, .limit = size), &page,
            &failure));
        size_t here    = pgqrs_records_count(page);
        bool   matches = here <= (size_t)size && seen + here <= count;
        for (size_t i = 0; matches && i < here; i++) {
            const pgqrs_record *r = pgqrs_records_at(page, i);
            matches               = r->id == ids[seen + i] && (which == 0 || r->state == which);
            after                 = r->id;
        }
        pgqrs_records_free(page);
        assert_true(matches);
        seen += here;
        if (here == 0)
            break;
    }
    assert_int_equal(count, seen);
}

static void each_state_is_listed_in_pages_of_id_order(void **state)
{
    world  *w = *state;
    int64_t ids[35];
    message m[10];
    queue(w, "orders");
    queue(w, "other");
    (void)enqueue(w, "other", "1");
    enqueue_count(w, "orders", 30, ids);
    for (size_t i = 30; i < 35; i++)
        ids[i] =
            enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = (int64_t)(100 - i)));
    assert_int_equal(10, claim_many(w, "orders", 10, m));
    for (size_t i = 0; i < 5; i++) {
        if (i % 2 == 0)
            assert_ok(pgqrs_archive(w->store, &m[4 - i], &failure));
        else
            assert_ok(pgqrs_dead_letter(w->store, &m[4 - i], "E", "text", &failure));
    }
    const int64_t done[] = { ids[0], ids[2], ids[4] }, dead[] = { ids[1], ids[3] };
    assert_pages(w, PGQRS_STATE_READY, 7, ids + 10, 20);
    assert_pages(w, PGQRS_STATE_SCHEDULED, 2, ids + 30, 5);
    assert_pages(w, PGQRS_STATE_LEASED, 2, ids + 5, 5);
    assert_pages(w, PGQRS_STATE_DONE, 2, done, 3);
    assert_pages(w, PGQRS_STATE_DEAD, 1, dead, 2);
    assert_pages(w, 0, 3, ids, 5);
    assert_pages(w, PGQRS_STATE_CANCELLED, 3, NULL, 0);
    assert_pages(w, PGQRS_STATE_READY, 1000, ids + 10, 20);
}

static void what_came_back_is_listed_in_id_order_too(void **state)
{
    world  *w = *state;
    int64_t ids[4];
    queue(w, "orders");
    enqueue_count(w, "orders", 4, ids);
    message m = claim_one(w, "orders");
    assert_ok(pgqrs_release(w->store, &m, NULL, &failure));
    m = claim_id(w, ids[2]);
    assert_ok(pgqrs_release(w->store, &m, NULL, &failure));
    assert_pages(w, PGQRS_STATE_READY, 3, ids, 4);
}

static void g08_a_dead_message_is_replayed_whole(void **state)
{
    world *w     = *state;
    size_t count = 0;
    queue(w, "orders");
    int64_t id = enqueue_with(w, "orders", "{ \"n\":1}",
                              PGQRS_OPTIONS(enqueue, .priority = 2, .headers = "{\"h\":1}"));
    message m  = claim_one(w, "orders");
    assert_ok(pgqrs_dead_letter(w->store, &m, "E", "text", &failure));
    assert_ok(pgqrs_replay(w->store, &id, 1, &count, &failure));
    assert_int_equal(1, count);
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_READY, r.state);
    assert_int_equal(0, r.attempt);
    m = claim_one(w, "orders");
    assert_int_equal(id, m.id);
    assert_int_equal(1, m.attempt);
    assert_int_equal(2, m.priority);
    assert_string_equal("{ \"n\":1}", m.payload);
    assert_string_equal("{\"h\":1}", m.headers);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_state(w, id, PGQRS_STATE_DONE);
    assert_int_equal(0, measure(w, "orders").dead);
    assert_consistent(w);
}

static void replay_takes_only_what_failed(void **state)
{
    world  *w     = *state;
    size_t  count = 99;
    int64_t ids[6];
    message m[3];
    queue(w, "orders");
    enqueue_count(w, "orders", 5, ids);
    assert_int_equal(3, claim_many(w, "orders", 3, m));
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));
    assert_ok(pgqrs_dead_letter(w->store, &m[1], "E", "text", &failure));
    assert_ok(pgqrs_cancel(w->store, ids[3], NULL, &failure));
    ids[5] = ids[4] + 1000; /* there is no such message */
    assert_ok(pgqrs_replay(w->store, ids, 6, &count, &failure));
    assert_int_equal(1, count);
    assert_state(w, ids[0], PGQRS_STATE_DONE);
    assert_state(w, ids[1], PGQRS_STATE_READY);
    assert_state(w, ids[2], PGQRS_STATE_LEASED);
    assert_state(w, ids[3], PGQRS_STATE_CANCELLED);
    assert_state(w, ids[4], PGQRS_STATE_READY);
    assert_ok(pgqrs_replay(w->store, ids, 6, &count, &failure));
    assert_int_equal(0, count);
    assert_ok(pgqrs_replay(w->store, NULL, 0, NULL, &failure));
    assert_consistent(w);
}

static void dead_letters_are_purged_up_to_the_limit(void **state)
{
    world  *w     = *state;
    int64_t count = 0;
    message m[6];
    queue(w, "orders");
    enqueue_count(w, "orders", 6, NULL);
    assert_int_equal(6, claim_many(w, "orders", 6, m));
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));
    for (size_t i = 1; i < 6; i++)
        assert_ok(pgqrs_dead_letter(w->store, &m[i], "E", "text", &failure));
    assert_ok(pgqrs_dead_purge(w->store, "orders", 2, &count, &failure));
    assert_int_equal(2, count);
    assert_int_equal(3, measure(w, "orders").dead);
    assert_ok(pgqrs_dead_purge(w->store, "orders", 0, &count, &failure));
    assert_int_equal(3, count);
    assert_state(w, m[0].id, PGQRS_STATE_DONE);
    assert_gone(w, m[5].id);
    assert_ok(pgqrs_dead_purge(w->store, "orders", 0, NULL, &failure));
    assert_consistent(w);
}

static void finish(world *w, const char *name)
{
    message m = claim_one(w, name);
    assert_true(m.id > 0);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
}

static void g33_the_archive_is_kept_as_long_as_the_queue_says(void **state)
{
    world  *w     = *state;
    int64_t count = -1;
    queue(w, "week");
    queue_with(w, "minute", PGQRS_OPTIONS(queue, .retention_us = PGQRS_MINUTE));
    queue_with(w, "ever", PGQRS_OPTIONS(queue, .retention_us = PGQRS_FOREVER));
    int64_t week = enqueue(w, "week", "1"), minute = enqueue(w, "minute", "1");
    int64_t ever = enqueue(w, "ever", "1"), live = enqueue(w, "week", "2");
    finish(w, "week");
    finish(w, "minute");
    finish(w, "ever");
    advance(w, PGQRS_MINUTE - 1);
    assert_ok(pgqrs_retention_run(w->store, 0, &count, &failure));
    assert_int_equal(0, count);
    advance(w, 2);
    assert_ok(pgqrs_retention_run(w->store, 0, &count, &failure));
    assert_int_equal(1, count);
    assert_gone(w, minute);
    assert_state(w, week, PGQRS_STATE_DONE);
    advance(w, 7 * PGQRS_DAY);
    assert_ok(pgqrs_retention_run(w->store, 0, &count, &failure));
    assert_int_equal(1, count);
    assert_gone(w, week);
    assert_state(w, ever, PGQRS_STATE_DONE);
    assert_state(w, live, PGQRS_STATE_READY);
    assert_consistent(w);
}

static void g33_retention_takes_the_time_it_is_told(void **state)
{
    world  *w     = *state;
    int64_t count = -1;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    finish(w, "orders");
    assert_ok(pgqrs_retention_run(w->store, now_us(w) + 7 * PGQRS_DAY - 1, &count, &failure));
    assert_int_equal(0, count);
    assert_ok(pgqrs_retention_run(w->store, now_us(w) + 7 * PGQRS_DAY + 1, &count, &failure));
    assert_int_equal(1, count);
    assert_gone(w, id);
}

static void g33_retention_takes_keys_and_more_than_one_batch(void **state)
{
    world          *w        = *state;
    int64_t         count    = 0;
    message        *m        = calloc(1000, sizeof(*m));
    const message **all      = calloc(1000, sizeof(*all));
    pgqrs_status   *statuses = calloc(1000, sizeof(*statuses));
    assert_non_null(m);
    assert_non_null(all);
    assert_non_null(statuses);
    queue(w, "orders");
    for (int round = 0; round < 3; round++) {
        enqueue_count(w, "orders", 1000, NULL);
        assert_int_equal(1000, claim_many(w, "orders", 1000, m));
        for (size_t i = 0; i < 1000; i++)
            all[i] = &m[i];
        assert_ok(pgqrs_archive_many(w->store, all, 1000, statuses, &failure));
    }
    free(statuses);
    free(all);
    free(m);
    (void)enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
    assert_ok(pgqrs_retention_run(w->store, now_us(w) + PGQRS_HOUR, NULL, &failure));
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_keys"));
    assert_ok(pgqrs_retention_run(w->store, now_us(w) + 8 * PGQRS_DAY, &count, &failure));
    assert_int_equal(3000, count);
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_keys"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_archive"));
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_messages"));
    assert_consistent(w);
}

static void g33_what_finished_late_is_taken_too(void **state)
{
    world  *w     = *state;
    int64_t count = 0;
    queue_with(w, "orders", PGQRS_OPTIONS(queue, .retention_us = PGQRS_HOUR));
    int64_t first  = enqueue(w, "orders", "1");
    int64_t second = enqueue(w, "orders", "1");
    message slow   = claim_one(w, "orders"); /* the lower id, finished after the higher one */
    finish(w, "orders");
    advance(w, 20 * PGQRS_SECOND);
    assert_ok(pgqrs_archive(w->store, &slow, &failure));
    advance(w, PGQRS_HOUR - 10 * PGQRS_SECOND);
    assert_ok(pgqrs_retention_run(w->store, 0, &count, &failure));
    assert_int_equal(1, count);
    assert_gone(w, second);
    assert_state(w, first, PGQRS_STATE_DONE);
    advance(w, 10 * PGQRS_SECOND + 1);
    assert_ok(pgqrs_retention_run(w->store, 0, &count, &failure));
    assert_gone(w, first);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(every_state_is_found_by_id),
        cmocka_unit_test(states_have_names),
        CASE(each_state_is_listed_in_pages_of_id_order),
        CASE(what_came_back_is_listed_in_id_order_too),
        CASE(g08_a_dead_message_is_replayed_whole),
        CASE(replay_takes_only_what_failed),
        CASE(dead_letters_are_purged_up_to_the_limit),
        CASE(g33_the_archive_is_kept_as_long_as_the_queue_says),
        CASE(g33_retention_takes_the_time_it_is_told),
        CASE(g33_retention_takes_keys_and_more_than_one_batch),
        CASE(g33_what_finished_late_is_taken_too),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
