/* Submitted batches: what an event loop sees. The clocks are the real ones. */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/between.h"
#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

/* One event loop. */
typedef struct loop {
    pgqrs_store       *store;
    pgqrs_completions *ready;
} loop;

static loop loop_new(world *w)
{
    loop l = { .store = w->store };
    assert_ok(pgqrs_completions_new(&l.ready, &failure));
    return l;
}

static pgqrs_batch *tick(const loop *l)
{
    pgqrs_batch *batch = pgqrs_batch_new(l->store);
    pgqrs_batch_independent(batch);
    return batch;
}

static void submit(const loop *l, pgqrs_batch *batch, void *user_data)
{
    assert_ok(pgqrs_batch_submit(batch, l->ready, user_data, &failure));
}

static bool is_readable(const loop *l)
{
    struct pollfd fd = { .fd = pgqrs_completions_fd(l->ready), .events = POLLIN };
    return poll(&fd, 1, 0) == 1;
}

/* The next batch that comes back; waits as an event loop does. Any thread. */
static pgqrs_batch *next(const loop *l, void **out_user_data)
{
    for (;;) {
        struct pollfd fd    = { .fd = pgqrs_completions_fd(l->ready), .events = POLLIN };
        pgqrs_batch  *batch = pgqrs_completions_next(l->ready, out_user_data);
        if (batch != NULL)
            return batch;
        (void)poll(&fd, 1, -1);
    }
}

/* Submit one operation alone and have it back. */
static pgqrs_batch *run(const loop *l, pgqrs_batch *batch)
{
    submit(l, batch, NULL);
    pgqrs_batch *back = next(l, NULL);
    assert_ptr_equal(batch, back);
    return back;
}

/* --- Sharing ---------------------------------------------------------------------------------- */

static void g45_operations_of_one_tick_share_commits(void **state)
{
    world         *w = *state;
    loop           l = loop_new(w);
    pgqrs_batch   *batch;
    pgqrs_counters before, cost;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    before = counted(w->store);
    batch  = tick(&l);
    for (size_t i = 0; i < 200; i++) {
        char payload[16];
        (void)snprintf(payload, sizeof(payload), "%zu", i);
        assert_int_equal(i, pgqrs_batch_enqueue(batch, "orders", payload, NULL));
    }
    batch = run(&l, batch);
    cost  = spent(w->store, &before);
    assert_int_equal(1, cost.commits);
    assert_int_equal(1, cost.statements);
    assert_int_equal(200, cost.operations);
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, i));
        assert_true(i == 0 || pgqrs_batch_id(batch, i - 1) < pgqrs_batch_id(batch, i));
    }
    assert_string_equal("199", record(w, pgqrs_batch_id(batch, 199)).payload);
    pgqrs_batch_free(batch);
    /* and when each is a batch of its own */
    before = counted(w->store);
    for (size_t i = 0; i < 200; i++) {
        batch = tick(&l);
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
        submit(&l, batch, NULL);
    }
    for (size_t i = 0; i < 200; i++) {
        batch = next(&l, NULL);
        assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 0));
        pgqrs_batch_free(batch);
    }
    cost = spent(w->store, &before);
    assert_int_equal(200, cost.operations);
    assert_true(cost.commits <= 40);
    assert_int_equal(401, measure(w, "orders").ready);
    pgqrs_completions_free(l.ready);
    assert_consistent(w);
}

static void g45_a_tick_goes_with_the_operations_of_other_threads(void **state)
{
    world         *w = *state;
    loop           l = loop_new(w);
    pgqrs_counters before, cost;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    /* while nothing is answered, what is submitted gathers */
    between_begin(w->store);
    between_close_gate();
    for (int i = 0; i < 2; i++) {
        pgqrs_batch *first = tick(&l);
        (void)pgqrs_batch_enqueue(first, "orders", "1", NULL);
        submit(&l, first, NULL);
        between_wait(w->postgres ? i + 1 : 1);
    }
    before = counted(w->store);
    for (int i = 0; i < 100; i++) {
        pgqrs_batch *batch = tick(&l);
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
        submit(&l, batch, NULL);
    }
    between_open_gate();
    for (int i = 0; i < 102; i++)
        pgqrs_batch_free(next(&l, NULL));
    between_end();
    cost = spent(w->store, &before);
    assert_true(cost.commits <= 4);
    pgqrs_completions_free(l.ready);
    assert_int_equal(103, measure(w, "orders").ready);
}

static void g45_neighbours_are_none_the_worse(void **state)
{
    world  *w = *state;
    loop    l = loop_new(w);
    message m[20];
    queue(w, "orders");
    enqueue_count(w, "orders", 20, NULL);
    assert_int_equal(20, claim_many(w, "orders", 20, m));
    sql_run_each(w,
                 "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                 "new.payload::text = '\"poison\"' THEN RAISE 'poisoned'; END IF; RETURN new; END "
                 "$$; CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages FOR EACH ROW EXECUTE "
                 "FUNCTION refuse()",
                 "CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages WHEN new.payload = "
                 "'\"poison\"' BEGIN SELECT RAISE(ABORT, 'poisoned'); END");
    pgqrs_batch *batch = tick(&l);
    for (size_t i = 0; i < 20; i++) {
        if (i % 5 == 0)
            m[i].lease++;
        (void)pgqrs_batch_archive(batch, &m[i]);
        (void)pgqrs_batch_enqueue(batch, "orders", i % 7 == 0 ? "\"poison\"" : "\"good\"", NULL);
        (void)pgqrs_batch_enqueue(batch, i % 2 == 0 ? "orders" : "nowhere", "1", NULL);
    }
    batch = run(&l, batch);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(i % 5 == 0 ? PGQRS_ELEASE : PGQRS_OK, pgqrs_batch_status(batch, 3 * i));
        assert_int_equal(i % 7 == 0 ? PGQRS_EDB : PGQRS_OK, pgqrs_batch_status(batch, 3 * i + 1));
        assert_int_equal(i % 2 == 0 ? PGQRS_OK : PGQRS_ENOTFOUND,
                         pgqrs_batch_status(batch, 3 * i + 2));
    }
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
    assert_int_equal(17 + 10, measure(w, "orders").ready);
    assert_int_equal(16, measure(w, "orders").done);
    assert_consistent(w);
}

static void g45_atomic_batches_are_submitted_too(void **state)
{
    world  *w = *state;
    loop    l = loop_new(w);
    message m[3];
    queue(w, "orders");
    queue(w, "next");
    enqueue_count(w, "orders", 3, NULL);
    assert_int_equal(3, claim_many(w, "orders", 3, m));
    m[1].lease++;
    for (size_t i = 0; i < 3; i++) {
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        (void)pgqrs_batch_archive(batch, &m[i]);
        (void)pgqrs_batch_enqueue(batch, "next", "1", NULL);
        submit(&l, batch, &m[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        void        *user_data;
        pgqrs_batch *batch    = next(&l, &user_data);
        pgqrs_status expected = user_data == &m[1] ? PGQRS_ELEASE : PGQRS_OK;
        assert_int_equal(expected, pgqrs_batch_status(batch, 0));
        assert_int_equal(expected, pgqrs_batch_status(batch, 1));
        assert_true((pgqrs_batch_id(batch, 1) != 0) == (expected == PGQRS_OK));
        pgqrs_batch_free(batch);
    }
    /* one that is refused stays with its owner */
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_enqueue(batch, "next", "{", NULL);
    assert_status(PGQRS_EJSON, pgqrs_batch_submit(batch, l.ready, NULL, &failure));
    assert_status(PGQRS_EINVAL, pgqrs_batch_submit(batch, NULL, NULL, &failure));
    pgqrs_batch_free(batch);
    assert_status(PGQRS_ENOMEM, pgqrs_batch_submit(NULL, l.ready, NULL, &failure));
    assert_null(pgqrs_completions_next(l.ready, NULL));
    pgqrs_completions_free(l.ready);
    assert_int_equal(2, measure(w, "next").ready);
    assert_consistent(w);
}

/* --- Loops ------------------------------------------------------------------------------------ */

#define LOOPS 2

typedef struct loops {
    world      *w;
    atomic_int  unexpected;
    atomic_long handled;
} loops;

/* An event loop that enqueues, claims and archives, with many batches under way at a time. */
static void run_a_loop(void *shared, size_t i)
{
    loops      *s         = shared;
    loop        l         = { .store = s->w->store };
    const char *queue     = i % 2 == 0 ? "even" : "odd";
    int         under_way = 0;
    if (pgqrs_completions_new(&l.ready, NULL) != PGQRS_OK) {
        (void)atomic_fetch_add(&s->unexpected, 1);
        return;
    }
    for (int round = 0; round < 200; round++) {
        pgqrs_batch *batch = tick(&l);
        (void)pgqrs_batch_enqueue(batch, queue, "1", NULL);
        (void)pgqrs_batch_claim(batch, queue, PGQRS_OPTIONS(claim, .limit = 4));
        if (pgqrs_batch_submit(batch, l.ready, s, NULL) != PGQRS_OK)
            (void)atomic_fetch_add(&s->unexpected, 1);
        under_way++;
    }
    while (under_way > 0) {
        void           *user_data;
        pgqrs_batch    *batch = next(&l, &user_data);
        pgqrs_messages *found;
        under_way--;
        for (size_t k = 0; k < pgqrs_batch_count(batch); k++)
            if (pgqrs_batch_status(batch, k) != PGQRS_OK || user_data != s)
                (void)atomic_fetch_add(&s->unexpected, 1);
        found = pgqrs_batch_take_messages(batch, 1);
        pgqrs_batch_free(batch);
        if (pgqrs_messages_count(found) > 0) {
            batch = tick(&l);
            for (size_t k = 0; k < pgqrs_messages_count(found); k++)
                (void)pgqrs_batch_archive(batch, pgqrs_messages_at(found, k));
            (void)atomic_fetch_add(&s->handled, (long)pgqrs_messages_count(found));
            if (pgqrs_batch_submit(batch, l.ready, s, NULL) != PGQRS_OK)
                (void)atomic_fetch_add(&s->unexpected, 1);
            under_way++;
        }
        pgqrs_messages_free(found);
    }
    pgqrs_completions_free(l.ready);
}

static void g46_two_event_loops_share_a_store(void **state)
{
    static loops s;
    world       *w = *state;
    s              = (loops){ .w = w };
    queue(w, "even");
    queue(w, "odd");
    together(LOOPS, run_a_loop, &s);
    assert_int_equal(0, atomic_load(&s.unexpected));
    assert_int_equal(atomic_load(&s.handled), measure(w, "even").done + measure(w, "odd").done);
    assert_int_equal(400, measure(w, "even").done + measure(w, "odd").done
                              + measure(w, "even").ready + measure(w, "odd").ready);
    assert_consistent(w);
}

static void block_and_loop(void *shared, size_t i)
{
    loops *s = shared;
    if (i < LOOPS) {
        run_a_loop(shared, i);
        return;
    }
    for (int k = 0; k < 50; k++)
        if (pgqrs_enqueue(s->w->store, "even", "1", NULL, NULL, NULL) != PGQRS_OK)
            (void)atomic_fetch_add(&s->unexpected, 1);
}

static void g46_event_loops_and_threads_share_a_store(void **state)
{
    static loops s;
    world       *w = *state;
    s              = (loops){ .w = w };
    queue(w, "even");
    queue(w, "odd");
    together(LOOPS + 8, block_and_loop, &s);
    assert_int_equal(0, atomic_load(&s.unexpected));
    assert_int_equal(800, measure(w, "even").done + measure(w, "odd").done
                              + measure(w, "even").ready + measure(w, "odd").ready);
    assert_consistent(w);
}

static void g46_the_descriptor_is_readable_while_something_is_here(void **state)
{
    world *w = *state;
    loop   l = loop_new(w);
    queue(w, "orders");
    assert_false(is_readable(&l));
    submit(&l, pgqrs_batch_new(w->store), NULL); /* empty: it is back at once */
    assert_true(is_readable(&l));
    submit(&l, pgqrs_batch_new(w->store), &l);
    pgqrs_batch_free(next(&l, NULL));
    assert_true(is_readable(&l));
    void *user_data = NULL;
    pgqrs_batch_free(next(&l, &user_data));
    assert_ptr_equal(&l, user_data);
    assert_false(is_readable(&l));
    assert_null(pgqrs_completions_next(l.ready, &user_data));
    assert_null(user_data);
    pgqrs_completions_free(l.ready);
    pgqrs_completions_free(NULL);
    assert_null(pgqrs_completions_next(NULL, NULL));
    assert_int_equal(-1, pgqrs_completions_fd(NULL));
    assert_status(PGQRS_EINVAL, pgqrs_completions_new(NULL, &failure));
}

static void g46_ten_thousand_operations(void **state)
{
    world         *w = *state;
    loop           l = loop_new(w);
    pgqrs_counters before;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    before             = counted(w->store);
    pgqrs_batch *batch = tick(&l);
    for (size_t i = 0; i < 10000; i++)
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    batch = run(&l, batch);
    for (size_t i = 0; i < 10000; i++)
        assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, i));
    assert_true(spent(w->store, &before).commits <= 30);
    pgqrs_batch_free(batch);
    before = counted(w->store);
    batch  = pgqrs_batch_new(w->store);
    for (size_t i = 0; i < 10000; i++)
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    batch = run(&l, batch);
    assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 9999));
    assert_int_equal(1, spent(w->store, &before).commits);
    pgqrs_batch_free(batch);
    batch = pgqrs_batch_new(w->store);
    for (size_t i = 0; i < 10001; i++)
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    batch = run(&l, batch);
    assert_int_equal(PGQRS_EINVAL, pgqrs_batch_status(batch, 0));
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
    assert_int_equal(20001, measure(w, "orders").ready);
}

/* --- Leaving ---------------------------------------------------------------------------------- */

static void g46_a_loop_may_be_freed_with_work_under_way(void **state)
{
    world *w = *state;
    loop   l = loop_new(w);
    queue(w, "orders");
    enqueue_count(w, "orders", 3, NULL);
    between_begin(w->store);
    between_close_gate();
    for (int i = 0; i < 20; i++) {
        pgqrs_batch *batch = tick(&l);
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
        if (i == 10)
            (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .limit = 2));
        if (i == 11)
            (void)pgqrs_batch_queue_list(batch);
        submit(&l, batch, NULL);
    }
    between_wait(1);
    pgqrs_completions_free(l.ready);
    between_open_gate();
    world_close(w, w->store); /* waits for it */
    between_end();
    w->store = world_open(w);
    assert_int_equal(20 + 3, measure(w, "orders").ready + measure(w, "orders").leased);
    assert_int_equal(2, measure(w, "orders").leased);
    assert_consistent(w);
}

static void g46_a_loop_that_is_gone_takes_nothing(void **state)
{
    world *w = *state;
    loop   l = loop_new(w);
    queue(w, "orders");
    for (int i = 0; i < 10; i++) {
        pgqrs_batch *batch = tick(&l);
        (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .wait_us = PGQRS_FOREVER));
        submit(&l, batch, NULL);
    }
    pgqrs_completions_free(l.ready);
    /* one more wait that ends, and theirs have: what comes is for others */
    l                  = loop_new(w);
    pgqrs_batch *batch = tick(&l);
    (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .wait_us = PGQRS_MILLISECOND));
    pgqrs_batch_free(run(&l, batch));
    batch = tick(&l);
    (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .wait_us = PGQRS_FOREVER));
    submit(&l, batch, NULL);
    enqueue_count(w, "orders", 12, NULL);
    batch                 = next(&l, NULL);
    pgqrs_messages *found = pgqrs_batch_take_messages(batch, 0);
    assert_int_equal(1, pgqrs_messages_count(found));
    pgqrs_messages_free(found);
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
    assert_int_equal(11, measure(w, "orders").ready);
}

typedef struct closer {
    world *w;
    loop   l;
} closer;

static void close_or_open_the_gate(void *shared, size_t i)
{
    closer *c = shared;
    if (i == 0)
        world_close(c->w, c->l.store);
    else
        between_open_gate();
}

static void g46_a_store_that_is_closed_hands_everything_back_first(void **state)
{
    world *w  = *state;
    closer c  = { .w = w, .l = loop_new(w) };
    size_t ok = 0;
    queue(w, "orders");
    queue(w, "empty");
    c.l.store = world_open(w);
    between_begin(c.l.store);
    between_close_gate();
    for (int i = 0; i < 50; i++) {
        pgqrs_batch *batch = tick(&c.l);
        (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
        (void)pgqrs_batch_queue_list(batch);
        submit(&c.l, batch, NULL);
    }
    pgqrs_batch *waits = tick(&c.l);
    (void)pgqrs_batch_claim(waits, "empty", PGQRS_OPTIONS(claim, .wait_us = PGQRS_FOREVER));
    submit(&c.l, waits, NULL);
    between_wait(1);
    together(2, close_or_open_the_gate, &c);
    between_end();
    for (int i = 0; i < 51; i++) { /* all are here: nobody needs to wait */
        pgqrs_batch *batch = pgqrs_completions_next(c.l.ready, NULL);
        assert_non_null(batch);
        ok += pgqrs_batch_status(batch, 0) == PGQRS_OK;
        assert_true(batch == waits || pgqrs_batch_status(batch, 1) == PGQRS_OK);
        if (batch != waits)
            assert_true(pgqrs_batch_id(batch, 0) > 0);
        pgqrs_batch_free(batch);
    }
    assert_int_equal(51, ok);
    pgqrs_completions_free(c.l.ready);
    assert_int_equal(50, measure(w, "orders").ready);
}

/* --- Deadlines -------------------------------------------------------------------------------- */

static void g46_a_batch_comes_back_by_the_deadline(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    loop                l       = loop_new(w);
    pgqrs_batch        *batch[4];
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message m          = claim_one(w, "orders");
    options.timeout_us = 200 * PGQRS_MILLISECOND;
    assert_ok(pgqrs_open(w->dsn, &options, &l.store, &failure));
    assert_ok(pgqrs_enqueue(l.store, "orders", "1", NULL, NULL, &failure));
    between_begin(l.store);
    between_close_gate();
    for (int i = 0; i < 4; i++) {
        batch[i] = i < 3 ? tick(&l) : pgqrs_batch_new(l.store);
        (void)pgqrs_batch_enqueue(batch[i], "orders", "1", NULL);
        if (i == 3)
            (void)pgqrs_batch_archive(batch[i], &m);
        submit(&l, batch[i], NULL);
        if (i < 2)
            between_wait(w->postgres ? i + 1 : 1);
    }
    for (int i = 0; i < 4; i++) {
        pgqrs_batch *back = next(&l, NULL);
        for (int k = 0; k < 4; k++) {
            bool sent = k < (w->postgres ? 2 : 1);
            if (back != batch[k])
                continue;
            assert_int_equal(PGQRS_ETIMEDOUT, pgqrs_batch_status(back, 0));
            assert_int_equal(sent ? PGQRS_MAYBE_APPLIED : PGQRS_RETRYABLE,
                             pgqrs_batch_error(back, 0)->flags);
        }
        pgqrs_batch_free(back);
    }
    between_end();
    pgqrs_close(l.store);
    pgqrs_completions_free(l.ready);
    assert_state(w, m.id, PGQRS_STATE_LEASED);
    assert_in_range(measure(w, "orders").ready, 1, 3);
    assert_consistent(w);
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static void g46_claims_that_wait_are_woken(void **state)
{
    world *w = *state;
    loop   l = loop_new(w);
    queue(w, "orders");
    for (int i = 0; i < 40; i++) { /* more than there are threads */
        pgqrs_batch *batch = tick(&l);
        (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .wait_us = PGQRS_FOREVER));
        submit(&l, batch, NULL);
    }
    for (int i = 0; i < 40; i++) {
        (void)enqueue(w, "orders", "1");
        pgqrs_batch    *batch = next(&l, NULL);
        pgqrs_messages *found = pgqrs_batch_take_messages(batch, 0);
        assert_int_equal(1, pgqrs_messages_count(found));
        pgqrs_batch_free(batch);
        assert_ok(pgqrs_archive(w->store, pgqrs_messages_at(found, 0), &failure));
        pgqrs_messages_free(found);
    }
    pgqrs_completions_free(l.ready);
    assert_int_equal(40, measure(w, "orders").done);
}

static void g46_a_claim_that_waits_hears_of_another_store(void **state)
{
    world       *w     = *state;
    loop         l     = loop_new(w);
    pgqrs_store *other = world_open(w);
    queue(w, "orders");
    pgqrs_batch *batch = tick(&l);
    (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .wait_us = PGQRS_FOREVER));
    submit(&l, batch, NULL);
    assert_ok(pgqrs_enqueue(other, "orders", "1", NULL, NULL, &failure));
    batch                 = next(&l, NULL);
    pgqrs_messages *found = pgqrs_batch_take_messages(batch, 0);
    assert_int_equal(1, pgqrs_messages_count(found));
    pgqrs_messages_free(found);
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
}

static void g46_waits_end_by_their_time_and_when_hurried(void **state)
{
    world *w = *state;
    loop   l = loop_new(w);
    queue(w, "orders");
    workflow(w, "flow");
    int64_t      id    = trigger(w, "flow", "1");
    pgqrs_batch *batch = tick(&l);
    (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .wait_us = 20000));
    (void)pgqrs_batch_run_wait(batch, id, 20000);
    batch = run(&l, batch);
    assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 0));
    assert_int_equal(PGQRS_ETIMEDOUT, pgqrs_batch_status(batch, 1));
    pgqrs_messages *found = pgqrs_batch_take_messages(batch, 0);
    assert_non_null(found);
    assert_int_equal(0, pgqrs_messages_count(found));
    pgqrs_messages_free(found);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .wait_us = PGQRS_FOREVER));
    (void)pgqrs_batch_run_wait(batch, id, PGQRS_FOREVER);
    submit(&l, batch, NULL);
    pgqrs_batch_hurry(batch);
    batch = next(&l, NULL);
    assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 0));
    assert_int_equal(PGQRS_ETIMEDOUT, pgqrs_batch_status(batch, 1));
    pgqrs_batch_free(batch);
    /* a run that ends is heard of */
    batch = tick(&l);
    (void)pgqrs_batch_run_wait(batch, id, PGQRS_FOREVER);
    submit(&l, batch, NULL);
    pgqrs_run *handle = claim_run(w, "flow");
    assert_run(PGQRS_OK, handle, pgqrs_run_succeed(handle, "7"));
    batch                   = next(&l, NULL);
    pgqrs_run_records *runs = pgqrs_batch_take_runs(batch, 0);
    assert_string_equal("7", pgqrs_run_records_at(runs, 0)->output);
    pgqrs_run_records_free(runs);
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
}

/* --- Forks ------------------------------------------------------------------------------------ */

static int use_the_parents_loop(void *shared)
{
    const loop  *l = shared;
    pgqrs_error  error;
    pgqrs_batch *batch = pgqrs_batch_new(l->store);
    if (pgqrs_batch_enqueue(batch, "orders", "1", NULL) != 0
        || pgqrs_batch_status(batch, 0) != PGQRS_EFORK)
        return 1;
    if (pgqrs_batch_submit(batch, l->ready, NULL, &error) != PGQRS_EFORK
        || pgqrs_batch_commit(batch, &error) != PGQRS_EFORK)
        return 2;
    pgqrs_batch_free(batch);
    if (pgqrs_completions_fd(l->ready) != -1 || pgqrs_completions_next(l->ready, NULL) != NULL)
        return 3;
    pgqrs_completions_free(l->ready);
    pgqrs_close(l->store);
    return 0;
}

static void g24_a_child_is_refused_its_parents_loop(void **state)
{
    world *w = *state;
    loop   l = loop_new(w);
    queue(w, "orders");
    pgqrs_batch *batch = tick(&l);
    (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    pgqrs_batch_free(run(&l, batch));
    submit(&l, pgqrs_batch_new(w->store), NULL); /* is here, for the parent */
    assert_int_equal(0, in_child(use_the_parents_loop, &l));
    pgqrs_batch_free(next(&l, NULL));
    batch = tick(&l);
    (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    pgqrs_batch_free(run(&l, batch));
    pgqrs_completions_free(l.ready);
    assert_int_equal(2, measure(w, "orders").ready);
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void g46_a_store_is_opened_without_waiting(void **state)
{
    world                    *w       = *state;
    loop                      l       = loop_new(w);
    const pgqrs_store_options options = world_options(w);
    assert_ok(pgqrs_open_submit(w->dsn, &options, true, l.ready, w, &failure));
    void        *user_data;
    pgqrs_batch *batch = next(&l, &user_data);
    assert_ptr_equal(w, user_data);
    assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 0));
    pgqrs_store *store = pgqrs_batch_take_store(batch, 0);
    assert_non_null(store);
    pgqrs_batch_free(batch);
    assert_ok(pgqrs_verify(store, &failure));
    pgqrs_close(store);
    /* one that nobody takes is closed, also when the loop is gone */
    assert_ok(pgqrs_open_submit(w->dsn, &options, false, l.ready, w, &failure));
    pgqrs_batch_free(next(&l, NULL));
    assert_ok(pgqrs_open_submit("nonsense", NULL, false, l.ready, w, &failure));
    batch = next(&l, NULL);
    assert_int_equal(PGQRS_ECONFIG, pgqrs_batch_status(batch, 0));
    assert_null(pgqrs_batch_take_store(batch, 0));
    pgqrs_batch_free(batch);
    assert_status(PGQRS_EINVAL, pgqrs_open_submit(NULL, NULL, false, l.ready, w, &failure));
    assert_status(PGQRS_EINVAL, pgqrs_open_submit(w->dsn, NULL, false, NULL, w, &failure));
    for (int i = 0; i < 5; i++)
        assert_ok(pgqrs_open_submit(w->dsn, &options, false, l.ready, w, &failure));
    pgqrs_completions_free(l.ready);
}

/* --- Every call ------------------------------------------------------------------------------- */

#define assert_batch(batch, i, expected) expect_status((batch), (i), (expected), __FILE__, __LINE__)

static void expect_status(const pgqrs_batch *batch, size_t i, pgqrs_status expected,
                          const char *file, int line)
{
    const pgqrs_error *error = pgqrs_batch_error(batch, i);
    if (pgqrs_batch_status(batch, i) == expected)
        return;
    print_error("operation %zu: %s: %s\n%s\n", i, pgqrs_status_name(pgqrs_batch_status(batch, i)),
                error->message, error->detail);
    _fail(file, line);
}

static void queues_are_administrated_from_an_event_loop(void **state)
{
    world       *w     = *state;
    loop         l     = loop_new(w);
    pgqrs_batch *batch = tick(&l);
    (void)pgqrs_batch_install(batch);
    (void)pgqrs_batch_verify(batch);
    (void)pgqrs_batch_queue_create(batch, "a", PGQRS_OPTIONS(queue, .max_attempts = 7));
    (void)pgqrs_batch_queue_ensure(batch, "b", NULL);
    (void)pgqrs_batch_workflow_ensure(batch, "flow", NULL);
    batch = run(&l, batch);
    for (size_t i = 0; i < 5; i++)
        assert_batch(batch, i, PGQRS_OK);
    pgqrs_batch_free(batch);
    enqueue_count(w, "b", 3, NULL);
    batch = tick(&l);
    (void)pgqrs_batch_queue_get(batch, "a");
    (void)pgqrs_batch_queue_list(batch);
    (void)pgqrs_batch_queue_measure(batch, "b");
    (void)pgqrs_batch_queue_get(batch, "nowhere");
    batch                = run(&l, batch);
    pgqrs_queues *queues = pgqrs_batch_take_queues(batch, 0);
    assert_int_equal(7, pgqrs_queues_at(queues, 0)->max_attempts);
    pgqrs_queues_free(queues);
    queues = pgqrs_batch_take_queues(batch, 1);
    assert_int_equal(3, pgqrs_queues_count(queues));
    pgqrs_queues_free(queues);
    assert_int_equal(3, pgqrs_batch_metrics(batch, 2)->ready);
    assert_batch(batch, 3, PGQRS_ENOTFOUND);
    assert_int_equal(PGQRS_OBJECT_QUEUE, pgqrs_batch_error(batch, 3)->object);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_queue_configure(batch, "a", PGQRS_OPTIONS(queue, .max_attempts = 9));
    (void)pgqrs_batch_queue_pause(batch, "a");
    (void)pgqrs_batch_queue_purge(batch, "b");
    batch = run(&l, batch);
    for (size_t i = 0; i < 3; i++)
        assert_batch(batch, i, PGQRS_OK);
    assert_int_equal(3, pgqrs_batch_number(batch, 2));
    pgqrs_batch_free(batch);
    assert_int_equal(9, queue_get(w, "a").max_attempts);
    assert_true(queue_get(w, "a").paused);
    batch = tick(&l);
    (void)pgqrs_batch_queue_resume(batch, "a");
    (void)pgqrs_batch_queue_delete(batch, "b", false);
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_OK);
    assert_batch(batch, 1, PGQRS_OK);
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
}

static void messages_are_looked_at_from_an_event_loop(void **state)
{
    world  *w = *state;
    loop    l = loop_new(w);
    int64_t ids[4];
    queue(w, "orders");
    enqueue_count(w, "orders", 4, ids);
    message m[2];
    assert_int_equal(2, claim_many(w, "orders", 2, m));
    assert_ok(pgqrs_dead_letter(w->store, &m[0], "E", "no", &failure));
    assert_ok(pgqrs_dead_letter(w->store, &m[1], "E", "no", &failure));
    pgqrs_batch *batch = tick(&l);
    (void)pgqrs_batch_message_get(batch, ids[2]);
    (void)pgqrs_batch_message_list(batch, "orders", PGQRS_OPTIONS(list, .state = PGQRS_STATE_DEAD));
    (void)pgqrs_batch_replay(batch, ids, 1);
    (void)pgqrs_batch_cancel(batch, ids[3]);
    (void)pgqrs_batch_claim_id(batch, ids[2], NULL);
    (void)pgqrs_batch_message_get(batch, 1 << 30);
    (void)pgqrs_batch_retention_run(batch, 0);
    batch                  = run(&l, batch);
    pgqrs_records *records = pgqrs_batch_take_records(batch, 0);
    assert_int_equal(ids[2], pgqrs_records_at(records, 0)->id);
    pgqrs_records_free(records);
    assert_batch(batch, 1, PGQRS_OK);
    assert_int_equal(1, pgqrs_batch_number(batch, 2));
    assert_int_equal(PGQRS_STATE_CANCELLED, pgqrs_batch_state(batch, 3));
    pgqrs_messages *found = pgqrs_batch_take_messages(batch, 4);
    assert_int_equal(ids[2], pgqrs_messages_at(found, 0)->id);
    pgqrs_messages_free(found);
    assert_batch(batch, 5, PGQRS_ENOTFOUND);
    assert_batch(batch, 6, PGQRS_OK);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_dead_purge(batch, "orders", 0);
    batch = run(&l, batch);
    assert_int_equal(1, pgqrs_batch_number(batch, 0));
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
    assert_consistent(w);
}

static void workers_are_known_to_an_event_loop(void **state)
{
    world       *w     = *state;
    loop         l     = loop_new(w);
    pgqrs_batch *batch = tick(&l);
    queue(w, "orders");
    (void)pgqrs_batch_worker_register(batch, "anna", "orders");
    batch          = run(&l, batch);
    int64_t worker = pgqrs_batch_id(batch, 0);
    assert_true(worker > 0);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_worker_heartbeat(batch, &worker, 1);
    (void)pgqrs_batch_worker_set_status(batch, worker, PGQRS_WORKER_POLLING);
    (void)pgqrs_batch_worker_list(batch);
    (void)pgqrs_batch_worker_release(batch, worker);
    batch = run(&l, batch);
    for (size_t i = 0; i < 4; i++)
        assert_batch(batch, i, PGQRS_OK);
    pgqrs_worker_records *workers = pgqrs_batch_take_workers(batch, 2);
    assert_int_equal(1, pgqrs_worker_records_count(workers));
    pgqrs_worker_records_free(workers);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_worker_get(batch, worker);
    (void)pgqrs_batch_worker_measure(batch, PGQRS_HOUR);
    (void)pgqrs_batch_worker_purge_stale(batch, PGQRS_HOUR, 0);
    batch   = run(&l, batch);
    workers = pgqrs_batch_take_workers(batch, 0);
    assert_int_equal(PGQRS_WORKER_POLLING, pgqrs_worker_records_at(workers, 0)->status);
    pgqrs_worker_records_free(workers);
    assert_int_equal(1, pgqrs_batch_health(batch, 1)->polling);
    assert_batch(batch, 2, PGQRS_OK);
    assert_int_equal(0, pgqrs_batch_number(batch, 2));
    pgqrs_batch_free(batch);
    pgqrs_completions_free(l.ready);
}

static void runs_are_worked_on_from_an_event_loop(void **state)
{
    world       *w     = *state;
    loop         l     = loop_new(w);
    pgqrs_batch *batch = tick(&l);
    workflow(w, "flow");
    (void)pgqrs_batch_trigger(batch, "flow", "{\"x\":1}", NULL);
    batch      = run(&l, batch);
    int64_t id = pgqrs_batch_id(batch, 0);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_run_open(batch, id);
    batch          = run(&l, batch);
    pgqrs_run *one = pgqrs_batch_take_run(batch, 0);
    assert_string_equal("{\"x\":1}", pgqrs_run_input(one));
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_run_start(batch, one);
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_OK);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_step_begin(batch, one, "a", NULL);
    (void)pgqrs_batch_step_begin(batch, one, "b", NULL);
    submit(&l, batch, NULL);
    assert_true(
        is_readable(&l)); /* the run is held, and was just asked about: nobody is asked again */
    batch         = next(&l, NULL);
    pgqrs_step *a = pgqrs_batch_step(batch, 0);
    pgqrs_step *b = pgqrs_batch_step(batch, 1);
    assert_non_null(a);
    assert_false(pgqrs_step_recorded(a));
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_step_succeed(batch, a, "1");
    (void)pgqrs_batch_step_retry(batch, b, "E", "later", PGQRS_HOUR);
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_OK);
    assert_batch(batch, 1, PGQRS_ENOTREADY);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_step_list(batch, id);
    (void)pgqrs_batch_run_get(batch, id);
    (void)pgqrs_batch_run_list(batch, "flow", NULL);
    (void)pgqrs_batch_step_begin(batch, one, "a", PGQRS_OPTIONS(step, .by_key = true));
    (void)pgqrs_batch_step_begin(batch, one, "b", PGQRS_OPTIONS(step, .by_key = true));
    batch                     = run(&l, batch);
    pgqrs_step_records *steps = pgqrs_batch_take_steps(batch, 0);
    assert_int_equal(2, pgqrs_step_records_count(steps));
    pgqrs_step_records_free(steps);
    pgqrs_run_records *runs = pgqrs_batch_take_runs(batch, 1);
    assert_int_equal(PGQRS_RUN_RUNNING, pgqrs_run_records_at(runs, 0)->status);
    pgqrs_run_records_free(runs);
    runs = pgqrs_batch_take_runs(batch, 2);
    assert_int_equal(1, pgqrs_run_records_count(runs));
    pgqrs_run_records_free(runs);
    assert_string_equal("1", pgqrs_step_output(pgqrs_batch_step(batch, 3)));
    assert_batch(batch, 4, PGQRS_ENOTREADY);
    assert_null(pgqrs_batch_step(batch, 4));
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_run_settle(batch, one, PGQRS_ENOTREADY);
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_OK);
    pgqrs_batch_free(batch);
    assert_string_equal("retry", record(w, id).reason);
    assert_run_status(w, id, PGQRS_RUN_RUNNING);
    batch = tick(&l);
    (void)pgqrs_batch_run_pause(batch, one, "a break", PGQRS_HOUR); /* takes it up by its id */
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_EPAUSED);
    pgqrs_batch_free(batch);
    assert_run_status(w, id, PGQRS_RUN_PAUSED);
    batch = tick(&l);
    (void)pgqrs_batch_run_sleep(batch, one, "nap", PGQRS_HOUR); /* takes it up again by its id */
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_EPAUSED);
    pgqrs_batch_free(batch);
    batch = tick(&l);
    (void)pgqrs_batch_run_succeed(batch, one, "2");
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_OK);
    pgqrs_batch_free(batch);
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
    batch = tick(&l);
    (void)pgqrs_batch_run_cancel(batch, one);
    (void)pgqrs_batch_run_start(batch, one);
    (void)pgqrs_batch_run_start(batch, NULL);
    batch = run(&l, batch);
    assert_batch(batch, 0, PGQRS_ESTATE);
    assert_batch(batch, 1, PGQRS_ESTATE);
    assert_batch(batch, 2, PGQRS_EINVAL);
    pgqrs_batch_free(batch);
    pgqrs_run_free(one);
    pgqrs_completions_free(l.ready);
    assert_consistent(w);
}

/* Runs side by side in one loop: steps of all of them share commits. */
static void g45_steps_of_many_runs_share_commits_in_a_loop(void **state)
{
    enum { RUNS = 64, STEPS = 10 };
    world         *w = *state;
    loop           l = loop_new(w);
    pgqrs_run     *runs[RUNS];
    pgqrs_counters before;
    workflow(w, "flow");
    for (size_t i = 0; i < RUNS; i++) {
        (void)trigger(w, "flow", "1");
        runs[i] = claim_run(w, "flow");
    }
    before = counted(w->store);
    for (size_t k = 0; k < STEPS; k++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "s%zu", k);
        for (size_t i = 0; i < RUNS; i++) {
            pgqrs_batch *batch = tick(&l);
            (void)pgqrs_batch_step_succeed(batch, begin(runs[i], name), "1");
            submit(&l, batch, NULL);
        }
        for (size_t i = 0; i < RUNS; i++) {
            pgqrs_batch *batch = next(&l, NULL);
            assert_batch(batch, 0, PGQRS_OK);
            pgqrs_batch_free(batch);
        }
    }
    pgqrs_counters cost = spent(w->store, &before);
    assert_int_equal(RUNS * STEPS, cost.operations);
    assert_true(cost.commits * 4 < cost.operations);
    for (size_t i = 0; i < RUNS; i++)
        assert_int_equal(STEPS, step_count(w, pgqrs_run_id(runs[i])));
    pgqrs_completions_free(l.ready);
    assert_consistent(w);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_REAL(g45_operations_of_one_tick_share_commits),
        CASE_REAL(g45_a_tick_goes_with_the_operations_of_other_threads),
        CASE_REAL(g45_neighbours_are_none_the_worse),
        CASE_REAL(g45_atomic_batches_are_submitted_too),
        CASE_REAL(g45_steps_of_many_runs_share_commits_in_a_loop),
        CASE_REAL(g46_two_event_loops_share_a_store),
        CASE_REAL(g46_event_loops_and_threads_share_a_store),
        CASE_REAL(g46_the_descriptor_is_readable_while_something_is_here),
        CASE_REAL(g46_ten_thousand_operations),
        CASE_REAL(g46_a_loop_may_be_freed_with_work_under_way),
        CASE_REAL(g46_a_loop_that_is_gone_takes_nothing),
        CASE_REAL(g46_a_store_that_is_closed_hands_everything_back_first),
        CASE_REAL(g46_a_batch_comes_back_by_the_deadline),
        CASE_REAL(g46_claims_that_wait_are_woken),
        CASE_REAL(g46_a_claim_that_waits_hears_of_another_store),
        CASE_REAL(g46_waits_end_by_their_time_and_when_hurried),
        CASE_REAL(g24_a_child_is_refused_its_parents_loop),
        CASE_REAL(g46_a_store_is_opened_without_waiting),
        CASE_REAL(queues_are_administrated_from_an_event_loop),
        CASE_REAL(messages_are_looked_at_from_an_event_loop),
        CASE_REAL(workers_are_known_to_an_event_loop),
        CASE_REAL(runs_are_worked_on_from_an_event_loop),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
