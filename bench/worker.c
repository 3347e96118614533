/* Jobs with a worker that has something to do. */
#include "bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define HANDLERS_QUEUE "bench_handlers"
#define RUNS_QUEUE     "bench_runs"
#define TRIGGERERS     32
/* What is asked of the memory of a worker is asked of one with so many. */
#define MEMORY_HANDLERS 64

/* A worker that runs in a thread, what it has done, and who gives it runs. */
typedef struct work {
    bench        *b;
    lane         *l;
    pgqrs_store  *store;
    bool          own; /* the store */
    pgqrs_worker *worker;
    pthread_t     thread;
    bool          started;
    atomic_llong  done; /* handled and committed */
    int64_t       seen;
    bool          failed;
    pgqrs_error   error;
    sem_t         room; /* for runs: how many more may be under way */
    pthread_t     triggerers[TRIGGERERS];
    int           triggering;
    atomic_bool   ending;
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
    if (w->own)
        pgqrs_close(w->store);
    sem_destroy(&w->room);
    free(w);
}

static work *work_new(bench *b, const job *j, lane *l, unsigned room)
{
    work       *w = BENCH_NEW(work);
    pgqrs_error error;

    if (w == NULL)
        return NULL;
    w->b     = b;
    w->l     = l;
    w->own   = (j->flags & JOB_PROCESSES) != 0;
    w->store = w->own ? bench_open(b) : b->store;
    sem_init(&w->room, 0, room);
    if (w->store != NULL
        && bench_ok(b, pgqrs_worker_new(w->store, NULL, &w->worker, &error), "worker", &error))
        return w;
    work_free(w);
    return NULL;
}

static void work_count(void *self)
{
    work *w = self;

    if (w->own)
        w->l->sent = sent_by(w->store);
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

static void finished(work *w, int64_t began_ns)
{
    histogram_add_shared(&w->l->latency, bench_now_ns() - began_ns);
    atomic_fetch_add(&w->done, 1);
}

/* --- Handlers that finish their messages one by one ------------------------------------------- */

static pgqrs_status handle(pgqrs_store *store, const pgqrs_message *message, void *user_data,
                           pgqrs_error *error)
{
    work         *w     = user_data;
    const int64_t began = bench_now_ns();
    pgqrs_status  rc;

    rc = pgqrs_archive(store, message, error);
    if (rc == PGQRS_OK)
        finished(w, began);
    return rc;
}

static bool handlers_ready(bench *b, const job *j)
{
    (void)j;
    return fill_queue(b, HANDLERS_QUEUE, (int64_t)(60000 * b->seconds) + 20000);
}

static void *handlers_open(bench *b, const job *j, lane *l, int caller)
{
    work *w = work_new(b, j, l, 0);

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
                  .flags   = JOB_STORE | JOB_OWN_LATENCY,
                  .ready   = handlers_ready,
                  .open    = handlers_open,
                  .op      = work_op,
                  .count   = work_count,
                  .close   = work_free };
}

/* --- The memory that a worker takes ----------------------------------------------------------- */

static bool memory_ready(bench *b, const job *j)
{
    return fill_queue(b, HANDLERS_QUEUE, j->size);
}

static void *memory_open(bench *b, const job *j, lane *l, int caller)
{
    const job worker = { .size = MEMORY_HANDLERS, .flags = j->flags };

    return handlers_open(b, &worker, l, caller);
}

/* In a process of its own, with a backlog. */
job job_memory(const char *name, int backlog)
{
    job j = job_handlers(backlog);

    j.name  = name;
    j.flags = JOB_PROCESSES | JOB_RSS_ABOVE | JOB_OWN_LATENCY;
    j.ready = memory_ready;
    j.open  = memory_open;
    return j;
}

/* --- Whole runs: trigger, three steps, success; timed from the trigger on ----------------------
 */

static pgqrs_status execute(pgqrs_run *run, void *user_data)
{
    static const char *const names[] = { "fetch", "transform", "store" };
    work                    *w       = user_data;
    const int64_t            began   = strtoll(pgqrs_run_input(run), NULL, 10);
    pgqrs_step              *step;
    pgqrs_status             rc;

    for (size_t i = 0; i < 3; i++)
        if ((rc = pgqrs_step_begin(run, names[i], NULL, &step)) != PGQRS_OK
            || (rc = pgqrs_step_succeed(step, "{\"rows\":42}")) != PGQRS_OK)
            return rc;
    rc = pgqrs_run_succeed(run, "{\"ok\":true}");
    if (rc == PGQRS_OK) {
        finished(w, began);
        sem_post(&w->room);
    }
    return rc;
}

static void *trigger_main(void *arg)
{
    work       *w = arg;
    pgqrs_error error;
    char        input[32];

    for (;;) {
        while (sem_wait(&w->room) != 0)
            continue;
        if (atomic_load(&w->ending))
            return NULL;
        (void)snprintf(input, sizeof(input), "%" PRId64, bench_now_ns());
        if (!bench_ok(w->b, pgqrs_trigger(w->store, RUNS_QUEUE, input, NULL, NULL, &error),
                      "trigger", &error))
            return NULL;
    }
}

static void *runs_open(bench *b, const job *j, lane *l, int caller)
{
    work *w = work_new(b, j, l, (unsigned)(2 * j->size)); /* as many wait as are executed */

    (void)caller;
    if (w == NULL)
        return NULL;
    if (pgqrs_worker_on_run(w->worker, RUNS_QUEUE, execute, w,
                            PGQRS_OPTIONS(work, .concurrency = j->size))
            != PGQRS_OK
        || !worker_start(w))
        goto failed;
    while (pgqrs_worker_id(w->worker) == 0 && !w->failed && !bench_interrupted())
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
                  .flags   = JOB_STORE | JOB_OWN_LATENCY,
                  .open    = runs_open,
                  .op      = work_op,
                  .count   = work_count,
                  .close   = work_free,
                  .done    = runs_done };
}
