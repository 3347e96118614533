/* Taking messages out: order, one holder, what comes back and when, bounds, waiting. */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

static void g03_a_leased_message_is_nobody_elses(void **state)
{
    world       *w     = *state;
    pgqrs_store *other = world_open(w);
    message      m     = { 0 };
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "{\"n\":1}");
    assert_int_equal(id, claim_one(w, "orders").id);
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_int_equal(0, claim_with(w, other, "orders", NULL, &m, 1));
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_LEASED, r.state);
    assert_int_equal(now_us(w), r.claimed_at_us);
    assert_int_equal(now_us(w) + LEASE_US, r.expires_at_us);
}

typedef struct scramble {
    pgqrs_store    *stores[4];
    pgqrs_messages *batches[8][64];
    size_t          count[8];
    pgqrs_status    status[8];
} scramble;

static void claim_until_empty(void *shared, size_t i)
{
    scramble *s = shared;
    for (size_t got = 1; got > 0 && s->count[i] < 64;) {
        s->status[i] = pgqrs_claim(s->stores[i % 4], "orders", PGQRS_OPTIONS(claim, .limit = 7),
                                   &s->batches[i][s->count[i]], NULL);
        if (s->status[i] != PGQRS_OK)
            return;
        got = pgqrs_messages_count(s->batches[i][s->count[i]]);
        s->count[i]++;
    }
}

static void g03_many_claimers_never_share_a_message(void **state)
{
    world       *w     = *state;
    const size_t total = 300;
    scramble     s     = { 0 };
    int64_t      ids[300];
    size_t       times[300] = { 0 };
    bool         in_order   = true;
    size_t       claimed    = 0;
    for (size_t i = 0; i < 4; i++)
        s.stores[i] = world_open(w);
    queue(w, "orders");
    enqueue_count(w, "orders", total, ids);
    together(8, claim_until_empty, &s);
    for (size_t i = 0; i < 8; i++)
        for (size_t b = 0; b < s.count[i]; b++) {
            int64_t last = 0;
            for (size_t k = 0; k < pgqrs_messages_count(s.batches[i][b]); k++, claimed++) {
                const pgqrs_message *m = pgqrs_messages_at(s.batches[i][b], k);
                in_order               = in_order && m->id > last;
                last                   = m->id;
                for (size_t n = 0; n < total; n++)
                    times[n] += ids[n] == m->id;
            }
            pgqrs_messages_free(s.batches[i][b]);
        }
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(PGQRS_OK, s.status[i]);
    for (size_t n = 0; n < total; n++)
        assert_int_equal(1, times[n]);
    assert_true(in_order);
    assert_int_equal(total, claimed);
    assert_int_equal(total, measure(w, "orders").leased);
    assert_consistent(w);
}

static void g04_a_passed_lease_is_delivered_again(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id    = enqueue(w, "orders", "{\"n\":1}");
    message first = claim_one(w, "orders");
    assert_int_equal(1, first.attempt);
    advance(w, LEASE_US - 1);
    assert_int_equal(0, claim_one(w, "orders").id);
    advance(w, 2);
    message second = claim_one(w, "orders");
    assert_int_equal(id, second.id);
    assert_int_equal(2, second.attempt);
    assert_true(first.lease != second.lease);
    assert_string_equal("{\"n\":1}", second.payload);
    assert_status(PGQRS_ELEASE, pgqrs_archive(w->store, &first, &failure));
    assert_ok(pgqrs_archive(w->store, &second, &failure));
}

static void g02_a_message_is_delivered_until_it_is_finished(void **state)
{
    world *w = *state;
    queue_with(w, "orders", PGQRS_OPTIONS(queue, .max_attempts = 100));
    int64_t id = enqueue(w, "orders", "1");
    for (int attempt = 1; attempt <= 50; attempt++) {
        message m = claim_one(w, "orders");
        assert_int_equal(id, m.id);
        assert_int_equal(attempt, m.attempt);
        advance(w, LEASE_US + 1);
    }
    message m = claim_one(w, "orders");
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    advance(w, PGQRS_DAY);
    assert_int_equal(0, claim_one(w, "orders").id);
}

static void g01_what_was_acknowledged_is_there_for_everybody(void **state)
{
    world       *w     = *state;
    pgqrs_store *other = world_open(w);
    message      m     = { 0 };
    queue(w, "orders");
    assert_ok(pgqrs_enqueue(other, "orders", "\"kept\"", NULL, NULL, &failure));
    world_close(w, other); /* the process that enqueued it goes away */
    assert_int_equal(1, claim_with(w, world_open(w), "orders", NULL, &m, 1));
    assert_string_equal("\"kept\"", m.payload);
}

static void g05_lower_priorities_come_first(void **state)
{
    world    *w          = *state;
    const int given[]    = { 5, 9, 1, PGQRS_PRIORITY_FIRST, 0, 4, 1, 6 };
    const int expected[] = { 0, 1, 1, 4, 5, 5, 6, 9 };
    message   m[8];
    queue(w, "orders");
    for (size_t i = 0; i < 8; i++)
        (void)enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .priority = given[i]));
    assert_int_equal(8, claim_many(w, "orders", 8, m));
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(expected[i], m[i].priority);
        assert_true(i == 0 || m[i].priority > m[i - 1].priority || m[i].id > m[i - 1].id);
    }
}

static void g05_a_short_claim_takes_the_front(void **state)
{
    world  *w = *state;
    int64_t late[3], soon[3];
    message m[4];
    queue(w, "orders");
    for (size_t i = 0; i < 3; i++) {
        late[i] = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .priority = 7));
        soon[i] = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .priority = 2));
    }
    assert_int_equal(4, claim_many(w, "orders", 4, m));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(soon[i], m[i].id);
    assert_int_equal(late[0], m[3].id);
    assert_int_equal(late[1], claim_one(w, "orders").id);
    assert_int_equal(late[2], claim_one(w, "orders").id);
}

static void g05_what_comes_back_goes_to_the_end_of_its_priority(void **state)
{
    world  *w = *state;
    int64_t ids[3];
    message m[4];
    queue(w, "orders");
    enqueue_count(w, "orders", 3, ids);
    int64_t low = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .priority = 8));
    message x   = claim_one(w, "orders");
    assert_int_equal(ids[0], x.id);
    assert_ok(pgqrs_release(w->store, &x, NULL, &failure));
    assert_int_equal(4, claim_many(w, "orders", 4, m));
    assert_int_equal(ids[1], m[0].id);
    assert_int_equal(ids[2], m[1].id);
    assert_int_equal(ids[0], m[2].id);
    assert_int_equal(low, m[3].id);
}

static void g05_due_messages_come_in_the_order_of_their_times(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t second =
        enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = 20 * PGQRS_SECOND));
    int64_t first =
        enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = 10 * PGQRS_SECOND));
    advance(w, PGQRS_MINUTE);
    assert_int_equal(first, claim_one(w, "orders").id);
    assert_int_equal(second, claim_one(w, "orders").id);
}

static void g13_messages_of_one_priority_come_first_in_first_out(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t ids[30];
    for (size_t i = 0; i < 30; i++)
        ids[i] = enqueue(w, "orders", "1"); /* all in the same microsecond */
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(ids[i], claim_one(w, "orders").id);
}

static void g05_a_large_claim_is_in_order_too(void **state)
{
    world   *w   = *state;
    int64_t *ids = calloc(1000, sizeof(*ids));
    message *m   = calloc(1000, sizeof(*m));
    assert_non_null(ids);
    assert_non_null(m);
    queue(w, "orders");
    enqueue_count(w, "orders", 1000, ids);
    size_t count = claim_many(w, "orders", 1000, m);
    bool   same  = count == 1000;
    for (size_t i = 0; i < count; i++)
        same = same && m[i].id == ids[i];
    free(m);
    free(ids);
    assert_true(same);
}

static void g25_a_claim_as_of_a_time_sees_what_is_due_by_then(void **state)
{
    world  *w = *state;
    message m = { 0 };
    queue(w, "orders");
    int64_t late = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR));
    int64_t then = now_us(w) + PGQRS_HOUR;
    assert_int_equal(
        0, claim_with(w, w->store, "orders", PGQRS_OPTIONS(claim, .now_us = then - 1), &m, 1));
    assert_int_equal(
        1, claim_with(w, w->store, "orders", PGQRS_OPTIONS(claim, .now_us = then), &m, 1));
    assert_int_equal(late, m.id);
    assert_int_equal(then, m.claimed_at_us);
    assert_int_equal(then + LEASE_US, m.expires_at_us);
    /* and a lease that has passed by then */
    assert_int_equal(1, claim_with(w, w->store, "orders",
                                   PGQRS_OPTIONS(claim, .now_us = then + LEASE_US), &m, 1));
    assert_int_equal(late, m.id);
    assert_int_equal(2, m.attempt);
}

static void a_lease_lasts_as_long_as_asked_for(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *patient = NULL;
    message             m       = { 0 };
    queue_with(w, "orders", PGQRS_OPTIONS(queue, .lease_us = 5 * PGQRS_SECOND));
    enqueue_count(w, "orders", 4, NULL);
    /* the queue's, */
    assert_int_equal(now_us(w) + 5 * PGQRS_SECOND, claim_one(w, "orders").expires_at_us);
    /* the store's before it, */
    options.lease_us = PGQRS_MINUTE;
    assert_ok(pgqrs_open(w->dsn, &options, &patient, &failure));
    size_t  plain  = claim_with(w, patient, "orders", NULL, &m, 1);
    int64_t theirs = m.expires_at_us;
    /* and the call's before both. */
    size_t asked =
        claim_with(w, patient, "orders", PGQRS_OPTIONS(claim, .lease_us = 7 * PGQRS_DAY), &m, 1);
    pgqrs_close(patient);
    assert_int_equal(1, plain);
    assert_int_equal(1, asked);
    assert_int_equal(now_us(w) + PGQRS_MINUTE, theirs);
    assert_int_equal(now_us(w) + 7 * PGQRS_DAY, m.expires_at_us);
    assert_int_equal(now_us(w), m.claimed_at_us);
}

static void the_owner_is_noted(void **state)
{
    world  *w      = *state;
    message m      = { 0 };
    int64_t worker = 0;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    assert_ok(pgqrs_worker_register(w->store, "me", "orders", &worker, &failure));
    assert_int_equal(
        1, claim_with(w, w->store, "orders", PGQRS_OPTIONS(claim, .owner = worker), &m, 1));
    assert_int_equal(worker, record(w, id).owner);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_int_equal(worker, record(w, id).owner);
}

static void held_until_is_by_the_process_clock(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message m = claim_one(w, "orders");
    assert_int_equal(atomic_load(&w->monotonic_us) + LEASE_US, m.held_until_us);
}

static void an_empty_queue_is_an_empty_batch(void **state)
{
    world  *w = *state;
    message m;
    queue(w, "orders");
    assert_int_equal(0, claim_with(w, w->store, "orders", NULL, &m, 1));
    assert_int_equal(0,
                     claim_with(w, w->store, "orders", PGQRS_OPTIONS(claim, .limit = 1000), &m, 1));
}

static void a_claim_stops_before_its_bytes_are_used_up(void **state)
{
    world  *w = *state;
    message m[8];
    char    text[1001];
    memset(text, 'x', 1000);
    text[0] = text[999] = '"';
    text[1000]          = '\0';
    queue(w, "orders");
    for (int i = 0; i < 5; i++)
        (void)enqueue(w, "orders", text);
    assert_int_equal(2, claim_with(w, w->store, "orders",
                                   PGQRS_OPTIONS(claim, .limit = 8, .max_bytes = 2500), m, 8));
    /* the first one always comes */
    assert_int_equal(1, claim_with(w, w->store, "orders",
                                   PGQRS_OPTIONS(claim, .limit = 8, .max_bytes = 10), m, 8));
    assert_int_equal(2, measure(w, "orders").ready);
    assert_int_equal(2, claim_with(w, w->store, "orders",
                                   PGQRS_OPTIONS(claim, .limit = 8, .max_bytes = 2000), m, 8));
}

static void one_message_is_claimed_by_its_id(void **state)
{
    world          *w     = *state;
    pgqrs_messages *batch = NULL;
    int64_t         ids[3];
    queue(w, "orders");
    enqueue_count(w, "orders", 3, ids);
    message m = claim_id(w, ids[1]);
    assert_int_equal(ids[1], m.id);
    assert_int_equal(1, m.attempt);
    assert_string_equal("{\"n\":1}", m.payload);
    assert_int_equal(now_us(w) + LEASE_US, m.expires_at_us);
    assert_status(PGQRS_ESTATE, pgqrs_claim_id(w->store, ids[1], NULL, &batch, &failure));
    assert_int_equal(PGQRS_OBJECT_MESSAGE, failure.object);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_status(PGQRS_ESTATE, pgqrs_claim_id(w->store, ids[1], NULL, &batch, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_claim_id(w->store, ids[2] + 100, NULL, &batch, &failure));
    assert_int_equal(PGQRS_OBJECT_MESSAGE, failure.object);
    assert_null(batch);
    /* one that came back is found as well */
    message x = claim_one(w, "orders");
    assert_ok(pgqrs_release(w->store, &x, NULL, &failure));
    assert_int_equal(x.id, claim_id(w, x.id).id);
    assert_consistent(w);
}

static void by_its_id_a_message_is_claimed_before_its_time(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_DAY));
    assert_ok(pgqrs_queue_pause(w->store, "orders", &failure));
    message m = claim_id(w, id);
    assert_int_equal(1, m.attempt);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_consistent(w);
}

static void g41_a_claim_that_waits_returns_at_once_when_there_is_something(void **state)
{
    world  *w = *state;
    message m = { 0 };
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    assert_int_equal(1, claim_with(w, w->store, "orders",
                                   PGQRS_OPTIONS(claim, .wait_us = PGQRS_FOREVER), &m, 1));
    assert_int_equal(id, m.id);
    assert_int_equal(
        0, claim_with(w, w->store, "orders", PGQRS_OPTIONS(claim, .wait_us = 1000), &m, 1));
}

typedef struct waiter {
    pgqrs_store *store; /* that waits */
    pgqrs_store *from;  /* that enqueues, once the other has begun to wait */
    pgqrs_status status[2];
    int64_t      claimed;
    int64_t      id;
} waiter;

static void wait_and_enqueue(void *shared, size_t i)
{
    waiter         *s     = shared;
    pgqrs_messages *batch = NULL;
    if (i == 0) {
        s->status[0] = pgqrs_claim(
            s->store, "orders", PGQRS_OPTIONS(claim, .wait_us = 20 * PGQRS_SECOND), &batch, NULL);
        if (pgqrs_messages_count(batch) == 1)
            s->claimed = pgqrs_messages_at(batch, 0)->id;
        pgqrs_messages_free(batch);
    } else {
        s->status[1] = pgqrs_enqueue(s->from, "orders", "1", NULL, &s->id, NULL);
    }
}

static void g41_a_waiting_claim_is_woken_by_an_enqueue(void **state)
{
    world *w = *state;
    waiter s = { .store = w->store, .from = w->store };
    queue(w, "orders");
    together(2, wait_and_enqueue, &s);
    assert_int_equal(PGQRS_OK, s.status[0]);
    assert_int_equal(PGQRS_OK, s.status[1]);
    assert_true(s.id > 0);
    assert_int_equal(s.id, s.claimed);
}

static void g41_a_waiting_claim_hears_of_another_store(void **state)
{
    world *w = *state;
    waiter s = { .store = w->store, .from = world_open(w) };
    queue(w, "orders");
    together(2, wait_and_enqueue, &s);
    assert_int_equal(PGQRS_OK, s.status[0]);
    assert_int_equal(PGQRS_OK, s.status[1]);
    assert_true(s.id > 0);
    assert_int_equal(s.id, s.claimed);
}

static void *wait_for_long(void *shared)
{
    waiter              *s     = shared;
    pgqrs_messages      *batch = NULL;
    pgqrs_claim_options *slow  = PGQRS_OPTIONS(claim, .wait_us = PGQRS_MINUTE);
    slow->poll_us              = PGQRS_MINUTE;
    s->status[0]               = pgqrs_claim(s->store, "orders", slow, &batch, NULL);
    if (pgqrs_messages_count(batch) == 1)
        s->claimed = pgqrs_messages_at(batch, 0)->id;
    pgqrs_messages_free(batch);
    return NULL;
}

/* That somebody waits is written down for a few seconds, and what another consumer wrote is left as
 * it is: it must be written anew before it lapses, however seldom the queue is looked at. */
static void g41_enqueues_are_told_of_a_waiting_claim_without_a_gap(void **state)
{
    world    *w = *state;
    waiter    s = { .store = w->store };
    pthread_t thread;
    bool      lapsed = false, renewed = false;
    if (!w->postgres || w->pooled) /* elsewhere nobody is told */
        return;
    queue(w, "orders");
    sql_run(w, "INSERT INTO pgqrs_waiters (queue_id, until)"
               " SELECT id, clock_timestamp() + interval '2.5 s' FROM pgqrs_queues");
    assert_int_equal(0, pthread_create(&thread, NULL, wait_for_long, &s));
    for (int i = 0; i < 1000 && !lapsed && !renewed; i++) {
        lapsed = sql_number(w, "SELECT count(*) FROM pgqrs_waiters WHERE until > now()") == 0;
        renewed =
            sql_number(w, "SELECT count(*) FROM pgqrs_waiters WHERE until > now() + interval '3 s'")
            == 1;
        (void)poll(NULL, 0, 10);
    }
    s.id = enqueue(w, "orders", "1");
    (void)pthread_join(thread, NULL);
    assert_false(lapsed);
    assert_true(renewed);
    assert_int_equal(PGQRS_OK, s.status[0]);
    assert_int_equal(s.id, s.claimed);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g03_a_leased_message_is_nobody_elses),
        CASE(g03_many_claimers_never_share_a_message),
        CASE(g04_a_passed_lease_is_delivered_again),
        CASE(g02_a_message_is_delivered_until_it_is_finished),
        CASE(g01_what_was_acknowledged_is_there_for_everybody),
        CASE(g05_lower_priorities_come_first),
        CASE(g05_a_short_claim_takes_the_front),
        CASE(g05_what_comes_back_goes_to_the_end_of_its_priority),
        CASE(g05_due_messages_come_in_the_order_of_their_times),
        CASE(g13_messages_of_one_priority_come_first_in_first_out),
        CASE(g05_a_large_claim_is_in_order_too),
        CASE(g25_a_claim_as_of_a_time_sees_what_is_due_by_then),
        CASE(a_lease_lasts_as_long_as_asked_for),
        CASE(the_owner_is_noted),
        CASE(held_until_is_by_the_process_clock),
        CASE(an_empty_queue_is_an_empty_batch),
        CASE(a_claim_stops_before_its_bytes_are_used_up),
        CASE(one_message_is_claimed_by_its_id),
        CASE(by_its_id_a_message_is_claimed_before_its_time),
        CASE(g41_a_claim_that_waits_returns_at_once_when_there_is_something),
        CASE_REAL(g41_a_waiting_claim_is_woken_by_an_enqueue),
        CASE_REAL(g41_a_waiting_claim_hears_of_another_store),
        CASE_REAL(g41_enqueues_are_told_of_a_waiting_claim_without_a_gap),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
