/* Jobs that wait or hold: waking up, being idle, keeping leases. */
#include "bench.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IDLE_QUEUE "bench_idle"
#define KEEP_QUEUE "bench_keep"

/* A worker that runs in a thread. */
typedef struct idler {
    lane         *l;
    pgqrs_store  *store;    /* the worker's */
    pgqrs_store  *producer; /* for waking up: another client */
    bool          own;      /* the stores */
    pgqrs_worker *worker;
    pthread_t     thread;
    bool          started;
    char          queue[64];
    unsigned      random;
    sem_t         came;
    atomic_llong  came_ns;
} idler;

static void *worker_main(void *arg)
{
    idler      *i = arg;
    pgqrs_error error;

    if (pgqrs_worker_run(i->worker, &error) != PGQRS_OK)
        (void)lane_say(i->l, "worker", &error);
    return NULL;
}

static pgqrs_status handle(pgqrs_store *store, const pgqrs_message *message, void *user_data,
                           pgqrs_error *error)
{
    idler *i = user_data;

    (void)store;
    (void)message;
    (void)error;
    atomic_store(&i->came_ns, bench_now_ns());
    sem_post(&i->came);
    return PGQRS_OK;
}

static void idler_free(void *self)
{
    idler *i = self;

    if (i->started) {
        pgqrs_worker_stop(i->worker);
        pthread_join(i->thread, NULL);
    }
    pgqrs_worker_free(i->worker);
    if (i->own) {
        pgqrs_close(i->producer);
        pgqrs_close(i->store);
    }
    sem_destroy(&i->came);
    free(i);
}

static bool idler_start(bench *b, idler *i)
{
    pgqrs_error error;

    if (!bench_ok(b, pgqrs_queue_ensure(i->store, i->queue, NULL, &error), "queue", &error)
        || !bench_ok(b, pgqrs_worker_new(i->store, NULL, &i->worker, &error), "worker", &error)
        || !bench_ok(b, pgqrs_worker_on_message(i->worker, i->queue, handle, i, NULL), "worker",
                     &(pgqrs_error){ .message = "on_message" }))
        return false;
    i->started = pthread_create(&i->thread, NULL, worker_main, i) == 0;
    bench_sleep_ns(300000000); /* it has found out that nothing is there */
    return i->started;
}

static idler *idler_new(lane *l, const char *queue, int number)
{
    idler *i = BENCH_NEW(idler);

    if (i == NULL)
        return NULL;
    i->l      = l;
    i->random = 12345u + (unsigned)number;
    (void)sem_init(&i->came, 0, 0);
    (void)snprintf(i->queue, sizeof(i->queue), "%s_%d", queue, number);
    return i;
}

/* --- Waking up -------------------------------------------------------------------------------- */

/* Every caller has a worker that is idle, on a store of its own, and another store that enqueues at
 * a random moment within each second. What counts is the time from the enqueue's answer to the
 * start of the handler. */
static void *wakeup_open(bench *b, const job *j, lane *l, int caller)
{
    idler *i = idler_new(l, "bench_wakeup", caller);

    (void)j;
    if (i == NULL)
        return NULL;
    i->own      = b->apart;
    i->store    = i->own ? bench_open(b) : b->store;
    i->producer = i->own ? bench_open(b) : b->store;
    if (i->store != NULL && i->producer != NULL && idler_start(b, i))
        return i;
    idler_free(i);
    return NULL;
}

static bool wait_until_it_came(idler *i)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    return sem_timedwait(&i->came, &until) == 0;
}

static int64_t wakeup_op(void *self)
{
    idler      *i = self;
    pgqrs_error error;
    int64_t     acknowledged, took;

    bench_sleep_ns((1 + rand_r(&i->random) % 1000) * INT64_C(1000000));
    if (pgqrs_enqueue(i->producer, i->queue, BENCH_PAYLOAD, NULL, NULL, &error) != PGQRS_OK)
        return lane_say(i->l, "enqueue", &error);
    acknowledged = bench_now_ns();
    if (!wait_until_it_came(i)) {
        (void)snprintf(i->l->why, sizeof(i->l->why), "a message did not come within 10 s");
        return -1;
    }
    took = (int64_t)atomic_load(&i->came_ns) - acknowledged;
    histogram_add(&i->l->latency, took > 0 ? took : 0); /* it may come before the answer */
    return 1;
}

static void wakeup_count(void *self)
{
    idler     *i    = self;
    const sent took = sent_by(i->store), gave = sent_by(i->producer);

    i->l->sent = (sent){ took.statements + gave.statements, took.round_trips + gave.round_trips,
                         took.commits + gave.commits };
}

job job_wakeup(int consumers)
{
    return (job){ .name    = "pgqrs",
                  .callers = consumers,
                  .flags   = JOB_OWN_LATENCY,
                  .open    = wakeup_open,
                  .op      = wakeup_op,
                  .count   = wakeup_count,
                  .close   = idler_free };
}

/* --- Being idle ------------------------------------------------------------------------------- */

/* An operation is a second. */
static int64_t second_op(void *self)
{
    (void)self;
    bench_sleep_ns(1000000000);
    return 1;
}

static void *idle_open(bench *b, const job *j, lane *l, int caller)
{
    idler *i = idler_new(l, IDLE_QUEUE, caller);

    (void)j;
    if (i == NULL)
        return NULL;
    i->store = b->store;
    if (idler_start(b, i))
        return i;
    idler_free(i);
    return NULL;
}

job job_idle(void)
{
    return (job){ .name    = "pgqrs",
                  .callers = 1,
                  .flags   = JOB_STORE | JOB_OWN_LATENCY,
                  .open    = idle_open,
                  .op      = second_op,
                  .close   = idler_free };
}

/* --- Keeping leases --------------------------------------------------------------------------- */

/* Messages are claimed for three seconds and kept; at the end all of them must still be held. */
#define KEEP_LEASE_US (3 * PGQRS_SECOND)

typedef struct keeper {
    lane           *l;
    pgqrs_store    *store;
    pgqrs_messages *messages;
    int64_t         began_ns;
} keeper;

static bool keep_ready(bench *b, const job *j)
{
    return fill_queue(b, KEEP_QUEUE, j->size);
}

static void *keep_open(bench *b, const job *j, lane *l, int caller)
{
    const pgqrs_claim_options options = { .struct_size = sizeof(options),
                                          .limit       = j->size,
                                          .lease_us    = KEEP_LEASE_US };
    keeper                   *k       = BENCH_NEW(keeper);
    pgqrs_error               error;
    bool                      good;

    (void)caller;
    if (k == NULL)
        return NULL;
    k->l        = l;
    k->store    = b->store;
    k->began_ns = bench_now_ns();
    good        = pgqrs_claim(k->store, KEEP_QUEUE, &options, &k->messages, &error) == PGQRS_OK;
    for (size_t i = 0; good && i < pgqrs_messages_count(k->messages); i++)
        good = pgqrs_lease_keep(k->store, pgqrs_messages_at(k->messages, i), 0, &error) == PGQRS_OK;
    if (good && pgqrs_messages_count(k->messages) == (size_t)j->size)
        return k;
    if (!good)
        (void)lane_say(l, "keep", &error);
    pgqrs_messages_free(k->messages);
    free(k);
    return NULL;
}

/* Give everything back; the time of every lease must have been over without being kept. */
static void keep_close(void *self)
{
    keeper                     *k        = self;
    const size_t                count    = pgqrs_messages_count(k->messages);
    const pgqrs_message       **list     = calloc(count + 1, sizeof(*list));
    pgqrs_status               *statuses = calloc(count + 1, sizeof(*statuses));
    const pgqrs_release_options options  = { .struct_size = sizeof(options) };
    pgqrs_error                 error;
    size_t                      lost = 0;
    int64_t past = k->began_ns + KEEP_LEASE_US * 1000 + 100000000 - bench_now_ns();

    if (past > 0)
        bench_sleep_ns(past);
    for (size_t i = 0; list != NULL && i < count; i++)
        list[i] = pgqrs_messages_at(k->messages, i);
    if (list == NULL || statuses == NULL
        || pgqrs_release_many(k->store, list, count, &options, statuses, &error) != PGQRS_OK) {
        k->l->failed = true;
        (void)lane_say(k->l, "release", &error);
    }
    for (size_t i = 0; statuses != NULL && i < count; i++)
        lost += statuses[i] != PGQRS_OK;
    if (lost > 0) {
        k->l->failed = true;
        (void)snprintf(k->l->why, sizeof(k->l->why), "%zu leases were lost", lost);
    }
    pgqrs_messages_free(k->messages);
    free(list);
    free(statuses);
    free(k);
}

job job_keep(int messages)
{
    return (job){ .name    = "pgqrs",
                  .callers = 1,
                  .size    = messages,
                  .flags   = JOB_STORE | JOB_OWN_LATENCY,
                  .ready   = keep_ready,
                  .open    = keep_open,
                  .op      = second_op,
                  .close   = keep_close };
}
