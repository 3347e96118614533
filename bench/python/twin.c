/* The work of bench.py in C, from one thread with an event loop where that one has one: what Python
 * is compared with.
 *
 *     twin DSN SCHEMA SECONDS */
#include <pgqrs/pgqrs.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS      64
#define STEPS     10
#define ENQUEUES  200
#define DRAINED   1000
#define CLAIMED   100
#define PER_ROUND 8 /* texts of step names */

static pgqrs_store       *store;
static pgqrs_completions *ready;
static double             seconds;

static double now(void)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void must(pgqrs_status rc, const pgqrs_error *error)
{
    if (rc == PGQRS_OK)
        return;
    fprintf(stderr, "twin: %s\n", error == NULL ? pgqrs_status_text(rc) : error->message);
    exit(1);
}

static pgqrs_batch *tick(void)
{
    pgqrs_batch *batch = pgqrs_batch_new(store);

    pgqrs_batch_independent(batch);
    return batch;
}

/* Submit, and wait for it in poll(2). */
static pgqrs_batch *there_and_back(pgqrs_batch *batch)
{
    struct pollfd fd = { .fd = pgqrs_completions_fd(ready), .events = POLLIN };
    pgqrs_error   error;

    must(pgqrs_batch_submit(batch, ready, NULL, &error), &error);
    while ((batch = pgqrs_completions_next(ready, NULL)) == NULL)
        (void)poll(&fd, 1, -1);
    for (size_t i = 0; i < pgqrs_batch_count(batch); i++)
        must(pgqrs_batch_status(batch, i), pgqrs_batch_error(batch, i));
    return batch;
}

static void runs(void)
{
    pgqrs_run      *run[RUNS];
    pgqrs_messages *messages;
    pgqrs_error     error;
    pgqrs_batch    *batch = tick();
    pgqrs_batch    *next;

    for (int i = 0; i < RUNS; i++)
        pgqrs_batch_trigger(batch, "bench", "1", NULL);
    pgqrs_batch_free(there_and_back(batch));
    batch = tick();
    pgqrs_batch_claim(batch, "bench", PGQRS_OPTIONS(claim, .limit = RUNS));
    batch    = there_and_back(batch);
    messages = pgqrs_batch_take_messages(batch, 0);
    pgqrs_batch_free(batch);
    for (size_t i = 0; i < RUNS; i++)
        must(pgqrs_run_from(store, messages, i, &run[i], &error), &error);
    pgqrs_messages_free(messages);
    for (int s = 0; s < STEPS; s++) {
        char name[PER_ROUND];

        (void)snprintf(name, sizeof(name), "step%d", s);
        batch = tick();
        next  = tick();
        for (int i = 0; i < RUNS; i++)
            pgqrs_batch_step_begin(batch, run[i], name, PGQRS_OPTIONS(step, .by_key = true));
        batch = there_and_back(batch);
        for (size_t i = 0; i < RUNS; i++)
            pgqrs_batch_step_succeed(next, pgqrs_batch_step(batch, i), "1");
        pgqrs_batch_free(there_and_back(next));
        pgqrs_batch_free(batch);
    }
    batch = tick();
    for (int i = 0; i < RUNS; i++)
        pgqrs_batch_run_succeed(batch, run[i], "45");
    pgqrs_batch_free(there_and_back(batch));
    for (int i = 0; i < RUNS; i++)
        pgqrs_run_free(run[i]);
}

static void enqueues(void)
{
    pgqrs_batch *batch = tick();

    for (int i = 0; i < ENQUEUES; i++)
        pgqrs_batch_enqueue(batch, "bench_queue", "{\"n\":1}", NULL);
    pgqrs_batch_free(there_and_back(batch));
}

static void drain(void)
{
    const char *payloads[DRAINED];
    size_t      count = 0;

    for (int i = 0; i < DRAINED; i++)
        payloads[i] = "{\"n\":1}";
    {
        pgqrs_batch *batch = tick();

        pgqrs_batch_enqueue_many(batch, "bench_queue", payloads, DRAINED, NULL);
        pgqrs_batch_free(there_and_back(batch));
    }
    do {
        pgqrs_batch    *batch = tick();
        pgqrs_batch    *next  = tick();
        pgqrs_messages *messages;

        pgqrs_batch_claim(batch, "bench_queue", PGQRS_OPTIONS(claim, .limit = CLAIMED));
        batch    = there_and_back(batch);
        messages = pgqrs_batch_take_messages(batch, 0);
        pgqrs_batch_free(batch);
        count = pgqrs_messages_count(messages);
        for (size_t i = 0; i < count; i++)
            pgqrs_batch_archive(next, pgqrs_messages_at(messages, i));
        pgqrs_batch_free(count > 0 ? there_and_back(next) : next);
        pgqrs_messages_free(messages);
    } while (count > 0);
}

static void rate(const char *what, int count, void (*once)(void))
{
    double began;
    long   rounds = 0;

    once();
    began = now();
    while (now() - began < seconds) {
        once();
        rounds++;
    }
    const double each = (now() - began) / (double)(rounds * count);
    printf("%-28s %10.0f /s %9.1f us\n", what, 1 / each, each * 1e6);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    pgqrs_error error;

    if (argc != 4)
        return 2;
    seconds = strtod(argv[3], NULL);
    must(pgqrs_open(argv[1], PGQRS_OPTIONS(store, .schema = argv[2][0] == '\0' ? NULL : argv[2]),
                    &store, &error),
         &error);
    must(pgqrs_install(store, &error), &error);
    must(pgqrs_queue_ensure(store, "bench_queue", NULL, &error), &error);
    must(pgqrs_workflow_ensure(store, "bench", NULL, &error), &error);
    must(pgqrs_completions_new(&ready, &error), &error);
    rate("runs of 10 steps, 64 at once", RUNS * STEPS, runs);
    rate("enqueue, 200 at once", ENQUEUES, enqueues);
    must(pgqrs_queue_purge(store, "bench_queue", NULL, &error), &error);
    rate("enqueue 1000, drain by 100", DRAINED, drain);
    pgqrs_close(store);
    pgqrs_completions_free(ready);
    return 0;
}
