/* Jobs with a worker, or with a consumer that waits. */
#include "bench.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HANDLERS_QUEUE "bench_handlers"
#define RUNS_QUEUE     "bench_runs"
#define WAKEUP_QUEUE   "bench_wakeup"
#define IDLE_QUEUE     "bench_idle"
#define TRIGGERERS     32

/* A worker that runs in a thread, what it has done, and who gives it runs. */
typedef struct work {
    bench              *b;
    lane               *l;
    pgqrs_worker       *worker;
    pthread_t           thread;
    bool                started;
    atomic_llong        done; /* handled and committed */
    int64_t             seen;
    bool                failed;
    pgqrs_error         error;
    sem_t               room; /* for runs: how many more may be under way */
    pthread_t           triggerers[TRIGGERERS];
    int                 triggering;
    atomic_bool         ending;
    pgqrs_queue_metrics metrics;
} work;

static void *worker_main(void *arg)
{
    work *w = arg;

    if (pgqrs_worker_run(w->worker, &w->error) != PGQRS_OK)
        w->failed = true;
    return NULL;
}

static bool worker_start(work *w)
{
    w->started = pthread_create(&w->thread, NULL, worker_main, w) == 0;
    return w->started;
}

static void work_free(void *self)
{
    work *w = self;

    atomic_store(&w->ending, true);
    for (int i = 0; i < w->triggering; i++)
        sem_post(&w->room);
    for (int i = 0; i < w->triggering; i++)
        pthread_join(w->triggerers[i], NULL);
    if (w->started) {
        pgqrs_worker_stop(w->worker);
        pthread_join(w->thread, NULL);
    }
    pgqrs_worker_free(w->worker);
    sem_destroy(&w->room);
    free(w);
}

static work *work_new(bench *b, lane *l, unsigned room)
{
    work       *w = BENCH_NEW(work);
    pgqrs_error error;

    if (w == NULL)
        return NULL;
    w->b = b;
    w->l = l;
    sem_init(&w->room, 0, room);
    if (!bench_ok(b, pgqrs_worker_new(b->store, NULL, &w->worker, &error), "worker", &error)) {
        free(w);
        return NULL;
    }
    return w;
}

/* How many were done since it was asked last; 0 when nothing moves any more. */
static int64_t work_op(void *self)
{
    work *w = self;

    if (w->seen == 0)
        w->seen = atomic_load(&w->done);
    for (int i = 0; i < 1000; i++) {
        int64_t seen = w->seen;

        bench_sleep_ns(1000000);
        if (w->failed) {
            snprintf(w->l->why, sizeof(w->l->why), "worker: %s", w->error.message);
            return -1;
        }
        w->seen = atomic_load(&w->done);
        if (w->seen > seen)
            return w->seen - seen;
        if (atomic_load(w->b->stop))
            return 0;
    }
    return 0;
}

/* --- Handlers that finish their messages one by one ------------------------------------------- */

static pgqrs_status handle(pgqrs_store *store, const pgqrs_message *message, void *user_data,
                           pgqrs_error *error)
{
    work        *w = user_data;
    pgqrs_status rc;

    rc = pgqrs_archive(store, message, error);
    if (rc == PGQRS_OK)
        atomic_fetch_add(&w->done, 1);
    return rc;
}

static bool handlers_ready(bench *b, const job *j)
{
    (void)j;
    return fill_queue(b, HANDLERS_QUEUE, (int64_t)(60000 * b->seconds) + 20000);
}

static void *handlers_open(bench *b, const job *j, lane *l, int caller)
{
    work *w = work_new(b, l, 0);

    (void)caller;
    if (w == NULL)
        return NULL;
    if (pgqrs_worker_on_message(w->worker, HANDLERS_QUEUE, handle, w,
                                PGQRS_OPTIONS(work, .concurrency = j->size))
            != PGQRS_OK
        || !worker_start(w)) {
        work_free(w);
        return NULL;
    }
    return w;
}

job job_handlers(int handlers)
{
    return (job){ .name    = "pgqrs",
                  .callers = 1,
                  .size    = handlers,
                  .flags   = JOB_OURS | JOB_OWN_LATENCY,
                  .ready   = handlers_ready,
                  .open    = handlers_open,
                  .op      = work_op,
                  .close   = work_free };
}

/* --- Whole runs: trigger, three steps, success ------------------------------------------------ */

static pgqrs_status execute(pgqrs_run *run, void *user_data)
{
    static const char *const names[] = { "fetch", "transform", "store" };
    work                    *w       = user_data;
    pgqrs_step              *step;
    pgqrs_status             rc;

    for (size_t i = 0; i < 3; i++)
        if ((rc = pgqrs_step_begin(run, names[i], NULL, &step)) != PGQRS_OK
            || (rc = pgqrs_step_succeed(step, "{\"rows\":42}")) != PGQRS_OK)
            return rc;
    rc = pgqrs_run_succeed(run, "{\"ok\":true}");
    if (rc == PGQRS_OK) {
        atomic_fetch_add(&w->done, 1);
        sem_post(&w->room);
    }
    return rc;
}

static void *trigger_main(void *arg)
{
    work       *w = arg;
    pgqrs_error error;

    for (;;) {
        while (sem_wait(&w->room) != 0)
            continue;
        if (atomic_load(&w->ending))
            return NULL;
        if (!bench_ok(w->b,
                      pgqrs_trigger(w->b->store, RUNS_QUEUE, BENCH_PAYLOAD, NULL, NULL, &error),
                      "trigger", &error))
            return NULL;
    }
}

static void *runs_open(bench *b, const job *j, lane *l, int caller)
{
    work *w = work_new(b, l, (unsigned)(2 * j->size)); /* as many wait as are executed */

    (void)caller;
    if (w == NULL)
        return NULL;
    if (pgqrs_worker_on_run(w->worker, RUNS_QUEUE, execute, w,
                            PGQRS_OPTIONS(work, .concurrency = j->size))
            != PGQRS_OK
        || !worker_start(w))
        goto failed;
    while (pgqrs_worker_id(w->worker) == 0 && !w->failed)
        bench_sleep_ns(1000000);
    for (; w->triggering < TRIGGERERS; w->triggering++)
        if (pthread_create(&w->triggerers[w->triggering], NULL, trigger_main, w) != 0)
            goto failed;
    return w;
failed:
    work_free(w);
    return NULL;
}

static void runs_done(bench *b, const job *j)
{
    pgqrs_error error;

    (void)j;
    (void)bench_ok(b, pgqrs_queue_purge(b->store, RUNS_QUEUE, NULL, &error), "purge", &error);
}

job job_runs(int at_once)
{
    return (job){ .name    = "pgqrs",
                  .callers = 1,
                  .size    = at_once,
                  .flags   = JOB_OURS | JOB_OWN_LATENCY,
                  .open    = runs_open,
                  .op      = work_op,
                  .close   = work_free,
                  .done    = runs_done };
}

/* --- Waking up -------------------------------------------------------------------------------- */

/* One store's consumer waits; another store enqueues, and waits in turn until it has come. */
typedef struct waker {
    bench       *b;
    lane        *l;
    pgqrs_store *producer;
    pthread_t    consumer;
    bool         consuming;
    atomic_bool  ending;
    atomic_llong came_ns;
    sem_t        came;
    unsigned     random;
} waker;

static void *consume_main(void *arg)
{
    waker *w = arg;

    while (!atomic_load(&w->ending)) {
        pgqrs_messages *messages = NULL;
        pgqrs_error     error;
        bool            good;

        good = bench_ok(w->b,
                        pgqrs_claim(w->b->store, WAKEUP_QUEUE,
                                    PGQRS_OPTIONS(claim, .wait_us = 500 * PGQRS_MILLISECOND),
                                    &messages, &error),
                        "claim", &error);
        if (good && pgqrs_messages_count(messages) > 0) {
            atomic_store(&w->came_ns, bench_now_ns());
            good =
                bench_ok(w->b, pgqrs_archive(w->b->store, pgqrs_messages_at(messages, 0), &error),
                         "archive", &error);
            sem_post(&w->came);
        }
        pgqrs_messages_free(messages);
        if (!good)
            return NULL;
    }
    return NULL;
}

static bool wakeup_ready(bench *b, const job *j)
{
    pgqrs_error error;

    (void)j;
    return bench_ok(b, pgqrs_queue_ensure(b->store, WAKEUP_QUEUE, NULL, &error), "queue", &error);
}

static void wakeup_close(void *self)
{
    waker *w = self;

    atomic_store(&w->ending, true);
    if (w->consuming)
        pthread_join(w->consumer, NULL);
    pgqrs_close(w->producer);
    sem_destroy(&w->came);
    free(w);
}

static void *wakeup_open(bench *b, const job *j, lane *l, int caller)
{
    waker *w = BENCH_NEW(waker);

    (void)caller;
    (void)j;
    if (w == NULL)
        return NULL;
    w->b      = b;
    w->l      = l;
    w->random = 12345;
    sem_init(&w->came, 0, 0);
    w->producer  = bench_open(b);
    w->consuming = w->producer != NULL && pthread_create(&w->consumer, NULL, consume_main, w) == 0;
    if (!w->consuming) {
        wakeup_close(w);
        return NULL;
    }
    bench_sleep_ns(50000000);
    return w;
}

static int64_t wakeup_op(void *self)
{
    waker          *w = self;
    struct timespec until;
    pgqrs_error     error;
    int64_t         acknowledged;
    int             most = w->b->large ? 1000 : 60; /* ms */

    bench_sleep_ns((2 + rand_r(&w->random) % most) * INT64_C(1000000));
    if (pgqrs_enqueue(w->producer, WAKEUP_QUEUE, BENCH_PAYLOAD, NULL, NULL, &error) != PGQRS_OK) {
        snprintf(w->l->why, sizeof(w->l->why), "enqueue: %s", error.message);
        return -1;
    }
    acknowledged = bench_now_ns();
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    if (sem_timedwait(&w->came, &until) != 0) {
        snprintf(w->l->why, sizeof(w->l->why), "a message did not come within 10 s");
        return -1;
    }
    histogram_add(&w->l->latency, atomic_load(&w->came_ns) - acknowledged);
    return 1;
}

job job_wakeup(void)
{
    return (job){ .name    = "pgqrs",
                  .callers = 1,
                  .flags   = JOB_OURS | JOB_OWN_LATENCY,
                  .ready   = wakeup_ready,
                  .open    = wakeup_open,
                  .op      = wakeup_op,
                  .close   = wakeup_close };
}

/* --- Being idle ------------------------------------------------------------------------------- */

static bool idle_ready(bench *b, const job *j)
{
    pgqrs_error error;

    (void)j;
    return bench_ok(b, pgqrs_queue_ensure(b->store, IDLE_QUEUE, NULL, &error), "queue", &error);
}

static void *idle_open(bench *b, const job *j, lane *l, int caller)
{
    work *w = work_new(b, l, 0);

    (void)j;
    (void)caller;
    if (w == NULL)
        return NULL;
    if (pgqrs_worker_on_message(w->worker, IDLE_QUEUE, handle, w, NULL) != PGQRS_OK
        || !worker_start(w)) {
        work_free(w);
        return NULL;
    }
    bench_sleep_ns(300000000); /* it has found out that nothing is there */
    return w;
}

static int64_t idle_op(void *self)
{
    (void)self;
    bench_sleep_ns(20000000);
    return 1;
}

job job_idle(void)
{
    return (job){ .name    = "pgqrs",
                  .callers = 1,
                  .flags   = JOB_OURS,
                  .ready   = idle_ready,
                  .open    = idle_open,
                  .op      = idle_op,
                  .close   = work_free };
}
