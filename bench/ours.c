/* Jobs that call the library: enqueue, trigger, drain, steps. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define FILL_BATCH  5000
#define DRAIN_QUEUE "bench_drain"
#define LEASE_US    PGQRS_HOUR

/* --- Putting in ------------------------------------------------------------------------------- */

typedef struct putter {
    bench      *b;
    lane       *l;
    int         batch;
    bool        run;
    const char *payloads[1000];
} putter;

static int64_t say(lane *l, const char *what, const pgqrs_error *error)
{
    snprintf(l->why, sizeof(l->why), "%s: %s: %s", what, error->message, error->detail);
    return -1;
}

static void *putter_open(bench *b, const job *j, lane *l, int caller)
{
    putter *p = BENCH_NEW(putter);

    (void)caller;
    if (p == NULL)
        return NULL;
    p->b     = b;
    p->l     = l;
    p->batch = j->size;
    for (size_t i = 0; i < 1000; i++)
        p->payloads[i] = BENCH_PAYLOAD;
    return p;
}

static int64_t put_one(void *self)
{
    putter     *p = self;
    pgqrs_error error;

    if (pgqrs_enqueue(p->b->store, "bench_enqueue", BENCH_PAYLOAD, NULL, NULL, &error) != PGQRS_OK)
        return say(p->l, "enqueue", &error);
    return 1;
}

static int64_t put_many(void *self)
{
    putter     *p = self;
    pgqrs_error error;

    if (pgqrs_enqueue_many(p->b->store, "bench_enqueue", p->payloads, (size_t)p->batch, NULL, NULL,
                           &error)
        != PGQRS_OK)
        return say(p->l, "enqueue_many", &error);
    return p->batch;
}

static int64_t put_run(void *self)
{
    putter     *p = self;
    pgqrs_error error;

    if (pgqrs_trigger(p->b->store, "bench_trigger", BENCH_PAYLOAD, NULL, NULL, &error) != PGQRS_OK)
        return say(p->l, "trigger", &error);
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
}

job job_enqueue(int callers, int batch)
{
    return (job){ .name    = "pgqrs",
                  .callers = callers,
                  .size    = batch,
                  .flags   = JOB_OURS,
                  .ready   = put_ready,
                  .open    = putter_open,
                  .op      = batch == 1 ? put_one : put_many,
                  .close   = free,
                  .done    = put_done };
}

job job_trigger(int callers)
{
    return (job){ .name    = "pgqrs",
                  .callers = callers,
                  .flags   = JOB_OURS,
                  .ready   = put_ready,
                  .open    = putter_open,
                  .op      = put_run,
                  .close   = free };
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
    while (metrics.ready < count) {
        int64_t n = count - metrics.ready < FILL_BATCH ? count - metrics.ready : FILL_BATCH;

        if (!bench_ok(b,
                      pgqrs_enqueue_many(b->store, queue, payloads, (size_t)n, NULL, NULL, &error),
                      "fill", &error))
            return false;
        metrics.ready += n;
    }
    return true;
}

typedef struct drainer {
    bench       *b;
    lane        *l;
    pgqrs_store *store;
    bool         own; /* the store */
    int          batch;
    char         queue[64];
} drainer;

static void *drainer_open(bench *b, const job *j, lane *l, int caller)
{
    drainer *d = BENCH_NEW(drainer);

    (void)caller;
    if (d == NULL)
        return NULL;
    d->b     = b;
    d->l     = l;
    d->batch = j->size;
    snprintf(d->queue, sizeof(d->queue), "%s", DRAIN_QUEUE);
    d->own   = (j->flags & JOB_PROCESSES) != 0;
    d->store = d->own ? bench_open(b) : b->store;
    if (d->store == NULL) {
        free(d);
        return NULL;
    }
    return d;
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
        return say(d->l, "claim", &error);
    count = (int64_t)pgqrs_messages_count(messages);
    for (int64_t i = 0; i < count; i++)
        list[i] = pgqrs_messages_at(messages, (size_t)i);
    if (count > 0 && pgqrs_archive_many(d->store, list, (size_t)count, NULL, &error) != PGQRS_OK)
        count = say(d->l, "archive_many", &error);
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

static bool drain_ready(bench *b, const job *j)
{
    return fill_queue(b, DRAIN_QUEUE, supply(b, j->size));
}

job job_drain(int callers, int batch, unsigned flags)
{
    return (job){ .name    = "pgqrs",
                  .callers = callers,
                  .size    = batch,
                  .flags   = flags | JOB_OURS,
                  .ready   = drain_ready,
                  .open    = drainer_open,
                  .op      = drain_op,
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
        return say(d->l, "enqueue_many", &error);
    return took;
}

job job_backlog(const char *name, int backlog)
{
    return (job){ .name    = name,
                  .callers = 1,
                  .size    = backlog,
                  .flags   = JOB_OURS | JOB_TIMES_ITSELF | JOB_OWN_LATENCY,
                  .ready   = backlog_ready,
                  .open    = backlog_open,
                  .op      = backlog_op,
                  .close   = drainer_close };
}

/* --- Draining while a snapshot is held -------------------------------------------------------- */

#ifdef PGQRS_HAVE_POSTGRES
static void *pin;

static bool pinned_ready(bench *b, const job *j)
{
    return drain_ready(b, j) && pg_pin_snapshot(b, &pin);
}

static void pinned_done(bench *b, const job *j)
{
    (void)b;
    (void)j;
    pg_unpin_snapshot(pin);
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
#endif

/* --- Steps ------------------------------------------------------------------------------------ */

/* A run has so many steps, then it ends and the caller goes on with the next one. */
#define STEPS_OF_RUN 500
#define STEPS_QUEUE  "bench_steps"

typedef struct stepper {
    bench     *b;
    lane      *l;
    pgqrs_run *run;
    int        step;
} stepper;

static bool steps_ready(bench *b, const job *j)
{
    pgqrs_error error;

    (void)j;
    return bench_ok(b, pgqrs_workflow_ensure(b->store, STEPS_QUEUE, NULL, &error), "workflow",
                    &error);
}

/* A new run for the others, and one for this caller. */
static bool take_run(stepper *s)
{
    const pgqrs_claim_options options  = { .struct_size = sizeof(options), .lease_us = LEASE_US };
    pgqrs_messages           *messages = NULL;
    pgqrs_error               error;
    bool                      good;

    pgqrs_run_free(s->run);
    s->run  = NULL;
    s->step = 0;
    good    = pgqrs_trigger(s->b->store, STEPS_QUEUE, BENCH_PAYLOAD, NULL, NULL, &error) == PGQRS_OK
           && pgqrs_claim(s->b->store, STEPS_QUEUE, &options, &messages, &error) == PGQRS_OK
           && pgqrs_run_from(s->b->store, messages, 0, &s->run, &error) == PGQRS_OK;
    pgqrs_messages_free(messages);
    if (!good)
        (void)say(s->l, "run", &error);
    return good;
}

static void *stepper_open(bench *b, const job *j, lane *l, int caller)
{
    stepper *s = BENCH_NEW(stepper);

    (void)j;
    (void)caller;
    if (s == NULL)
        return NULL;
    s->b = b;
    s->l = l;
    if (!take_run(s)) {
        free(s);
        return NULL;
    }
    return s;
}

static void stepper_close(void *self)
{
    stepper *s = self;

    (void)pgqrs_run_succeed(s->run, NULL);
    pgqrs_run_free(s->run);
    free(s);
}

static int64_t step_op(void *self)
{
    stepper    *s = self;
    pgqrs_step *step;
    char        name[32];
    int64_t     began = bench_now_ns();

    snprintf(name, sizeof(name), "step_%d", ++s->step);
    if (pgqrs_step_begin(s->run, name, NULL, &step) != PGQRS_OK
        || pgqrs_step_succeed(step, "{\"status\":\"done\",\"rows\":42}") != PGQRS_OK)
        return say(s->l, "step", pgqrs_run_error(s->run));
    began = bench_now_ns() - began;
    s->l->busy_ns += began;
    histogram_add(&s->l->latency, began);
    if (s->step == STEPS_OF_RUN
        && (pgqrs_run_succeed(s->run, "{\"ok\":true}") != PGQRS_OK || !take_run(s)))
        return -1;
    return 1;
}

job job_steps(const char *name, int runs)
{
    return (job){ .name    = name,
                  .callers = runs,
                  .flags   = JOB_OURS | JOB_OWN_LATENCY | (runs == 1 ? JOB_TIMES_ITSELF : 0),
                  .ready   = steps_ready,
                  .open    = stepper_open,
                  .op      = step_op,
                  .close   = stepper_close };
}
