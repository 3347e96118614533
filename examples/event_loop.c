/* A queue from a poll(2) loop: nothing in it ever waits for the database.
 *
 *     event_loop postgresql://localhost/mydb
 *     event_loop sqlite://loop.db
 *
 * Opening, installing, enqueuing, claiming and finishing are submitted, and come back through a
 * descriptor that becomes readable. Any event loop can wait for it together with everything else
 * that it waits for. */
#include <pgqrs/pgqrs.h>

#include <poll.h>
#include <stdio.h>

#define MESSAGES 100

typedef struct app {
    pgqrs_completions *ready;
    pgqrs_store       *store;
    int                under_way;
    int                handled;
    int                failed;
} app;

/* What to do when a batch comes back: what it is submitted with points to one of these. */
typedef struct answer {
    void (*on)(app *a, pgqrs_batch *batch);
} answer;

static void on_opened(app *a, pgqrs_batch *batch);
static void on_queue(app *a, pgqrs_batch *batch);
static void on_enqueued(app *a, pgqrs_batch *batch);
static void on_claimed(app *a, pgqrs_batch *batch);
static void on_finished(app *a, pgqrs_batch *batch);

static answer opened   = { on_opened };
static answer queue    = { on_queue };
static answer enqueued = { on_enqueued };
static answer claimed  = { on_claimed };
static answer finished = { on_finished };

static void submit(app *a, pgqrs_batch *batch, answer *then)
{
    pgqrs_error error;

    if (pgqrs_batch_submit(batch, a->ready, then, &error) == PGQRS_OK) {
        a->under_way++;
        return;
    }
    fprintf(stderr, "%s\n", error.message);
    a->failed++;
    pgqrs_batch_free(batch);
}

static pgqrs_batch *tick(app *a)
{
    pgqrs_batch *batch = pgqrs_batch_new(a->store);

    pgqrs_batch_independent(batch);
    return batch;
}

static void claim_more(app *a)
{
    pgqrs_batch *batch = tick(a);

    /* Waiting holds no thread, and is over as soon as there is something. */
    pgqrs_batch_claim(batch, "loop", PGQRS_OPTIONS(claim, .limit = 10, .wait_us = PGQRS_MINUTE));
    submit(a, batch, &claimed);
}

static void on_opened(app *a, pgqrs_batch *batch)
{
    pgqrs_batch *next;

    a->store = pgqrs_batch_take_store(batch, 0);
    next     = tick(a);
    pgqrs_batch_queue_ensure(next, "loop", NULL);
    submit(a, next, &queue);
}

static void on_queue(app *a, pgqrs_batch *batch)
{
    pgqrs_batch *next = tick(a);

    (void)batch;
    claim_more(a);
    for (int i = 0; i < MESSAGES; i++) /* one tick: a commit or two */
        pgqrs_batch_enqueue(next, "loop", "{\"hello\":\"loop\"}", NULL);
    submit(a, next, &enqueued);
}

static void on_enqueued(app *a, pgqrs_batch *batch)
{
    (void)a;
    printf("%zu messages are in\n", pgqrs_batch_count(batch));
}

static void on_claimed(app *a, pgqrs_batch *batch)
{
    pgqrs_messages *messages = pgqrs_batch_take_messages(batch, 0);
    pgqrs_batch    *next     = tick(a);

    for (size_t i = 0; i < pgqrs_messages_count(messages); i++)
        pgqrs_batch_archive(next, pgqrs_messages_at(messages, i)); /* handled, in no time */
    submit(a, next, &finished);
    pgqrs_messages_free(messages);
}

static void on_finished(app *a, pgqrs_batch *batch)
{
    a->handled += (int)pgqrs_batch_count(batch);
    if (a->handled < MESSAGES)
        claim_more(a);
}

/* A batch came back: report what failed, and go on with what is to follow. */
static void take(app *a, pgqrs_batch *batch, const answer *then)
{
    int failed = 0;

    a->under_way--;
    for (size_t i = 0; i < pgqrs_batch_count(batch); i++) {
        if (pgqrs_batch_status(batch, i) == PGQRS_OK)
            continue;
        fprintf(stderr, "%s\n", pgqrs_batch_error(batch, i)->message);
        failed++;
    }
    if (failed == 0)
        then->on(a, batch);
    a->failed += failed;
    pgqrs_batch_free(batch);
}

int main(int argc, char **argv)
{
    const char *dsn = argc > 1 ? argv[1] : "sqlite://loop.db";
    app         a   = { 0 };
    pgqrs_error error;

    if (pgqrs_completions_new(&a.ready, &error) != PGQRS_OK
        || pgqrs_open_submit(dsn, NULL, true, a.ready, &opened, &error) != PGQRS_OK) {
        fprintf(stderr, "%s\n", error.message);
        pgqrs_completions_free(a.ready);
        return 1;
    }
    a.under_way = 1;
    while (a.under_way > 0) {
        struct pollfd fd = { .fd = pgqrs_completions_fd(a.ready), .events = POLLIN };
        pgqrs_batch  *batch;
        void         *then;

        (void)poll(&fd, 1, -1);
        while ((batch = pgqrs_completions_next(a.ready, &then)) != NULL)
            take(&a, batch, then);
    }
    printf("%d messages are done\n", a.handled);
    pgqrs_close(a.store);
    pgqrs_completions_free(a.ready);
    return a.failed == 0 && a.handled == MESSAGES ? 0 : 1;
}
