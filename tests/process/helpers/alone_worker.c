/* The one process of test_alone.c: does everything at once, and writes down what it was told.
 *
 *     alone_worker DSN SCHEMA LOG
 *
 * Lines of the log, each one write(), after the library has acknowledged:
 *      enqueued ID        archived ID        moved ID        recorded RUN STEP OUTPUT
 */
#include "support/processes.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 6
#define STEPS   4
#define LEASE   (150 * PGQRS_MILLISECOND)

static pgqrs_store *store;
static int          log_fd;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char    line[256];
    va_list list;

    va_start(list, format);
    int used = vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    if (write(log_fd, line, (size_t)used) != used)
        _exit(4);
}

/* Anything but a lease that passed is wrong here. */
static void must(pgqrs_status status, const pgqrs_error *error, const char *what)
{
    if (status == PGQRS_OK || status == PGQRS_ELEASE)
        return;
    (void)fprintf(stderr, "%s: %s, %s, %s\n", what, pgqrs_status_name(status), error->message,
                  error->detail);
    _exit(5);
}

static void produce(void)
{
    pgqrs_error error;
    int64_t     id;

    must(pgqrs_enqueue(store, "orders", "{}", NULL, &id, &error), &error, "enqueue");
    note("enqueued %lld\n", (long long)id);
    must(pgqrs_trigger(store, "flow", "{}", NULL, &id, &error), &error, "trigger");
    note("enqueued %lld\n", (long long)id);
}

/* End it and put another in, in one commit. */
static void move(const pgqrs_message *m)
{
    pgqrs_error  error;
    pgqrs_batch *batch = pgqrs_batch_new(store);
    pgqrs_status status;
    char         payload[40];

    (void)snprintf(payload, sizeof(payload), "{\"of\":%lld}", (long long)m->id);
    (void)pgqrs_batch_archive(batch, m);
    (void)pgqrs_batch_enqueue(batch, "next", payload, NULL);
    status = pgqrs_batch_commit(batch, &error);
    must(status, &error, "move");
    if (status == PGQRS_OK)
        note("moved %lld\n", (long long)m->id);
    pgqrs_batch_free(batch);
}

static void consume(void)
{
    pgqrs_error     error;
    pgqrs_messages *batch = NULL;

    must(pgqrs_claim(store, "orders", PGQRS_OPTIONS(claim, .limit = 8, .lease_us = LEASE), &batch,
                     &error),
         &error, "claim");
    for (size_t i = 0; i < pgqrs_messages_count(batch); i++) {
        const pgqrs_message *m = pgqrs_messages_at(batch, i);
        pgqrs_status         status;

        if (m->id % 2 == 0) {
            move(m);
            continue;
        }
        status = pgqrs_archive(store, m, &error);
        must(status, &error, "archive");
        if (status == PGQRS_OK)
            note("archived %lld\n", (long long)m->id);
    }
    pgqrs_messages_free(batch);
}

static void run_steps(pgqrs_run *run, unsigned *random)
{
    pgqrs_status status = PGQRS_OK;

    for (int i = 0; i < STEPS && status == PGQRS_OK; i++) {
        pgqrs_step *step = NULL;
        char        name[8], output[16];

        (void)snprintf(name, sizeof(name), "s%d", i);
        (void)snprintf(output, sizeof(output), "%d", rand_r(random));
        status = pgqrs_step_begin(run, name, NULL, &step);
        must(status, pgqrs_run_error(run), "begin");
        if (status != PGQRS_OK || pgqrs_step_recorded(step))
            continue;
        status = pgqrs_step_succeed(step, output);
        must(status, pgqrs_run_error(run), "step");
        if (status == PGQRS_OK)
            note("recorded %lld %s %s\n", (long long)pgqrs_run_id(run), name, output);
    }
    if (status == PGQRS_OK) {
        status = pgqrs_run_succeed(run, NULL);
        must(status, pgqrs_run_error(run), "succeed");
        if (status == PGQRS_OK)
            note("archived %lld\n", (long long)pgqrs_run_id(run));
    }
}

static void run_one(unsigned *random)
{
    pgqrs_error     error;
    pgqrs_messages *batch = NULL;
    pgqrs_run      *run   = NULL;

    must(pgqrs_claim(store, "flow", PGQRS_OPTIONS(claim, .lease_us = LEASE), &batch, &error),
         &error, "claim");
    if (pgqrs_messages_count(batch) == 1) {
        must(pgqrs_run_from(store, batch, 0, &run, &error), &error, "run");
        run_steps(run, random);
        pgqrs_run_free(run);
    }
    pgqrs_messages_free(batch);
}

static void *act(void *thread)
{
    const size_t i      = (size_t)thread;
    unsigned     random = (unsigned)getpid() * 31u + (unsigned)i;

    for (;;) {
        if (i % 3 == 0)
            produce();
        else if (i % 3 == 1)
            consume();
        else
            run_one(&random);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];

    if (argc != 4)
        return 2;
    store  = helper_open(argc, argv, NULL);
    log_fd = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log_fd < 0)
        return 3;
    (void)puts("ready");
    (void)fflush(stdout);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, act, (void *)i) != 0)
            return 3;
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    return 0;
}
