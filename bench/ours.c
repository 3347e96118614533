/* Jobs that call the library: enqueue, trigger, drain. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define FILL_BATCH 5000
#define LEASE_US   PGQRS_HOUR

/* --- Putting in ------------------------------------------------------------------------------- */

typedef struct putter {
    lane        *l;
    pgqrs_store *store;
    bool         own; /* the store */
    sent         before;
    int          batch;
    const char  *payloads[1000];
} putter;

static void *putter_open(bench *b, const job *j, lane *l, int caller)
{
    putter *p = BENCH_NEW(putter);

    (void)caller;
    if (p == NULL)
        return NULL;
    p->l     = l;
    p->batch = j->size;
    p->own   = (j->flags & JOB_PROCESSES) != 0;
    p->store = p->own ? bench_open(b) : b->store;
    if (p->store == NULL) {
        free(p);
        return NULL;
    }
    p->before = sent_by(p->store);
    for (size_t i = 0; i < 1000; i++)
        p->payloads[i] = BENCH_PAYLOAD;
    return p;
}

static sent sent_since(pgqrs_store *store, const sent *before)
{
    const sent now = sent_by(store);

    return (sent){ now.statements - before->statements, now.round_trips - before->round_trips,
                   now.commits - before->commits };
}

static void putter_count(void *self)
{
    putter *p = self;

    if (p->own)
        p->l->sent = sent_since(p->store, &p->before);
}

static void putter_close(void *self)
{
    putter *p = self;

    if (p->own)
        pgqrs_close(p->store);
    free(p);
}

static int64_t put_one(void *self)
{
    putter     *p = self;
    pgqrs_error error;

    if (pgqrs_enqueue(p->store, "bench_enqueue", BENCH_PAYLOAD, NULL, NULL, &error) != PGQRS_OK)
        return lane_say(p->l, "enqueue", &error);
    return 1;
}

static int64_t put_many(void *self)
{
    putter     *p = self;
    pgqrs_error error;

    if (pgqrs_enqueue_many(p->store, "bench_enqueue", p->payloads, (size_t)p->batch, NULL, NULL,
                           &error)
        != PGQRS_OK)
        return lane_say(p->l, "enqueue_many", &error);
    return p->batch;
}

static int64_t put_run(void *self)
{
    putter     *p = self;
    pgqrs_error error;

    if (pgqrs_trigger(p->store, "bench_trigger", BENCH_PAYLOAD, NULL, NULL, &error) != PGQRS_OK)
        return lane_say(p->l, "trigger", &error);
    return 1;
}

static bool put_ready(bench *b, const job *j)
{
    pgqrs_error error;

    (void)j;
    return bench_ok(b, pgqrs_queue_ensure(b->store, "bench_enqueue", NULL, &error), "queue", &error)
           && bench_ok(b, pgqrs_workflow_ensure(b->store, "bench_trigger", NULL, &error),
                       "workflow", &error);
}

/* So that the tables stay the same size in every round. */
static void put_done(bench *b, const job *j)
{
    pgqrs_error error;

    (void)j;
    (void)bench_ok(b, pgqrs_queue_delete(b->store, "bench_enqueue", true, &error), "queue", &error);
    (void)bench_ok(b, pgqrs_queue_delete(b->store, "bench_trigger", true, &error), "queue", &error);
}

static unsigned whose(unsigned flags)
{
    return (flags & JOB_PROCESSES) != 0 ? flags : flags | JOB_STORE;
}

job job_enqueue(int callers, int batch, unsigned flags)
{
    return (job){ .name    = "pgqrs",
                  .callers = callers,
                  .size    = batch,
                  .flags   = whose(flags),
                  .ready   = put_ready,
                  .open    = putter_open,
                  .op      = batch == 1 ? put_one : put_many,
                  .count   = putter_count,
                  .close   = putter_close,
                  .done    = put_done };
}

job job_trigger(int callers)
{
    job j = job_enqueue(callers, 1, 0);

    j.op = put_run;
    return j;
}

/* --- Draining --------------------------------------------------------------------------------- */

bool fill_queue(bench *b, const char *queue, int64_t count)
{
    const char         *payloads[FILL_BATCH];
    pgqrs_queue_metrics metrics;
    pgqrs_error         error;

    if (!bench_ok(b, pgqrs_queue_ensure(b->store, queue, NULL, &error), "queue", &error)
        || !bench_ok(b, pgqrs_queue_measure(b->store, queue, &metrics, &error), "measure", &error))
        return false;
    for (size_t i = 0; i < FILL_BATCH; i++)
        payloads[i] = BENCH_PAYLOAD;
    while (metrics.ready < count && !bench_interrupted()) {
        int64_t n = count - metrics.ready < FILL_BATCH ? count - metrics.ready : FILL_BATCH;

        if (!bench_ok(b,
                      pgqrs_enqueue_many(b->store, queue, payloads, (size_t)n, NULL, NULL, &error),
                      "fill", &error))
            return false;
        metrics.ready += n;
    }
    return !bench_interrupted();
}

typedef struct drainer {
    lane        *l;
    pgqrs_store *store;
    bool         own; /* the store */
    sent         before;
    int          batch;
    char         queue[64];
} drainer;

static void *drainer_open(bench *b, const job *j, lane *l, int caller)
{
    drainer *d = BENCH_NEW(drainer);

    (void)caller;
    if (d == NULL)
        return NULL;
    d->l     = l;
    d->batch = j->size;
    snprintf(d->queue, sizeof(d->queue), "%s", DRAIN_QUEUE);
    d->own   = (j->flags & JOB_PROCESSES) != 0;
    d->store = d->own ? bench_open(b) : b->store;
    if (d->store == NULL) {
        free(d);
        return NULL;
    }
    d->before = sent_by(d->store);
    return d;
}

static void drainer_count(void *self)
{
    drainer *d = self;

    if (d->own)
        d->l->sent = sent_since(d->store, &d->before);
}

static void drainer_close(void *self)
{
    drainer *d = self;

    if (d->own)
        pgqrs_close(d->store);
    free(d);
}

/* Claim, and finish all that came at once. */
static int64_t drain(drainer *d, int batch)
{
    const pgqrs_claim_options options = { .struct_size = sizeof(options),
                                          .limit       = batch,
                                          .lease_us    = LEASE_US };
    const pgqrs_message      *list[1000];
    pgqrs_messages           *messages = NULL;
    pgqrs_error               error;
    int64_t                   count;

    if (pgqrs_claim(d->store, d->queue, &options, &messages, &error) != PGQRS_OK)
        return lane_say(d->l, "claim", &error);
    count = (int64_t)pgqrs_messages_count(messages);
    for (int64_t i = 0; i < count; i++)
        list[i] = pgqrs_messages_at(messages, (size_t)i);
    if (count > 0 && pgqrs_archive_many(d->store, list, (size_t)count, NULL, &error) != PGQRS_OK)
        count = lane_say(d->l, "archive_many", &error);
    pgqrs_messages_free(messages);
    return count;
}

static int64_t drain_op(void *self)
{
    drainer *d = self;

    return drain(d, d->batch);
}

/* What a trial may take: more than any server here does. */
static int64_t supply(const bench *b, int batch)
{
    double rate = batch >= 100 ? 160000 : batch >= 10 ? 80000 : 20000;

    return (int64_t)(rate * (b->postgres ? 1 : 0.8) * b->seconds) + 10000;
}

bool drain_ready(bench *b, const job *j)
{
    return fill_queue(b, DRAIN_QUEUE, supply(b, j->size));
}

job job_drain(int callers, int batch, unsigned flags)
{
    return (job){ .name    = "pgqrs",
                  .callers = callers,
                  .size    = batch,
                  .flags   = whose(flags),
                  .ready   = drain_ready,
                  .open    = drainer_open,
                  .op      = drain_op,
                  .count   = drainer_count,
                  .close   = drainer_close };
}

/* --- Draining with a backlog ------------------------------------------------------------------ */

/* Drains 500 of a backlog that is topped up again, untimed: the queue stays as long as it is. */
#define BACKLOG_TURN 500

static void backlog_queue(const job *j, char *into, size_t size)
{
    snprintf(into, size, "bench_backlog_%d", j->size);
}

static bool backlog_ready(bench *b, const job *j)
{
    char queue[64];

    backlog_queue(j, queue, sizeof(queue));
    return fill_queue(b, queue, j->size);
}

static void *backlog_open(bench *b, const job *j, lane *l, int caller)
{
    drainer *d = drainer_open(b, j, l, caller);

    if (d != NULL)
        backlog_queue(j, d->queue, sizeof(d->queue));
    return d;
}

static int64_t backlog_op(void *self)
{
    drainer    *d = self;
    const char *payloads[BACKLOG_TURN];
    pgqrs_error error;
    int64_t     took = 0;
    int64_t     began;

    for (size_t i = 0; i < BACKLOG_TURN; i++)
        payloads[i] = BENCH_PAYLOAD;
    while (took < BACKLOG_TURN) {
        int64_t count;

        began = bench_now_ns();
        count = drain(d, 100);
        if (count <= 0)
            return count;
        d->l->busy_ns += bench_now_ns() - began;
        histogram_add(&d->l->latency, bench_now_ns() - began);
        took += count;
    }
    if (pgqrs_enqueue_many(d->store, d->queue, payloads, BACKLOG_TURN, NULL, NULL, &error)
        != PGQRS_OK)
        return lane_say(d->l, "enqueue_many", &error);
    return took;
}

job job_backlog(const char *name, int backlog)
{
    return (job){ .name    = name,
                  .callers = 1,
                  .size    = backlog,
                  .flags   = JOB_STORE | JOB_TIMES_ITSELF | JOB_OWN_LATENCY,
                  .ready   = backlog_ready,
                  .open    = backlog_open,
                  .op      = backlog_op,
                  .close   = drainer_close };
}

/* --- Draining while a snapshot is held -------------------------------------------------------- */

static void *pin;

static bool pinned_ready(bench *b, const job *j)
{
    if (!drain_ready(b, j))
        return false;
#ifdef PGQRS_HAVE_POSTGRES
    if (b->postgres)
        pin = pg_pin_snapshot(b);
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (b->same_file)
        pin = sq_pin_snapshot(b);
#endif
    return pin != NULL;
}

/* What could not be cleared away meanwhile is, so that the next job has no harder work. */
static void pinned_done(bench *b, const job *j)
{
    (void)b;
    (void)j;
#ifdef PGQRS_HAVE_POSTGRES
    if (b->postgres) {
        pg_unpin_snapshot(pin);
        (void)pg_vacuum(b);
    }
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (b->same_file)
        sq_unpin_snapshot(pin);
#endif
    pin = NULL;
}

job job_drain_pinned(int callers, int batch)
{
    job j = job_drain(callers, batch, 0);

    j.name  = "pinned";
    j.ready = pinned_ready;
    j.done  = pinned_done;
    return j;
}
