/* One job, once: its callers start together and work until the time is over or nothing is left. */
#include "bench.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Shared between processes. */
typedef struct shared {
    atomic_int  ready; /* callers that have begun */
    atomic_int  ended;
    atomic_bool stop;
    sem_t       go;    /* once for each caller */
    sem_t       leave; /* the same */
    lane        lanes[];
} shared;

typedef struct caller {
    bench     *b;
    const job *j;
    lane      *l;
    int        index;
    void      *self;
    shared    *s;
    bool       created;
    pthread_t  thread;
} caller;

static void work(caller *c)
{
    bench     *b = c->b;
    const job *j = c->j;
    lane      *l = c->l;

    while (!atomic_load_explicit(b->stop, memory_order_relaxed)) {
        int64_t began = bench_now_ns();
        int64_t did   = j->op(c->self);

        if (did < 0)
            l->failed = true;
        if (did <= 0)
            break;
        l->ops += did;
        if ((j->flags & JOB_OWN_LATENCY) == 0)
            histogram_add(&l->latency, bench_now_ns() - began);
    }
    l->end_ns = bench_now_ns();
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        continue;
}

static int64_t own_cpu_ns(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * INT64_C(1000000000)
           + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * INT64_C(1000);
}

/* Nobody leaves before the meters were read: a connection that is closed takes its counts along. */
static void *caller_main(void *arg)
{
    caller *c = arg;
    int64_t cpu;

    c->self = c->j->open(c->b, c->j, c->l, c->index);
    if (c->self == NULL)
        c->l->failed = true;
    cpu = own_cpu_ns();
    atomic_fetch_add(&c->s->ready, 1);
    wait_for(&c->s->go);
    if (c->self != NULL)
        work(c);
    c->l->cpu_ns = own_cpu_ns() - cpu;
    atomic_fetch_add(&c->s->ended, 1);
    wait_for(&c->s->leave);
    if (c->self != NULL)
        c->j->close(c->self);
    return NULL;
}

/* Start every caller; false when one could not be. */
static bool start(caller *callers, const job *j, pid_t *pids, int *started)
{
    *started = 0;
    for (int i = 0; i < j->callers; i++) {
        if ((j->flags & JOB_PROCESSES) != 0) {
            pids[i] = fork();
            if (pids[i] == 0) {
                caller_main(&callers[i]);
                _exit(0);
            }
            if (pids[i] < 0)
                return false;
        } else {
            if (pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]) != 0)
                return false;
        }
        callers[i].created = true;
        *started           = i + 1;
    }
    return true;
}

static void join(caller *callers, const job *j, const pid_t *pids)
{
    for (int i = 0; i < j->callers; i++) {
        int status;

        if (!callers[i].created)
            continue;
        if ((j->flags & JOB_PROCESSES) == 0)
            pthread_join(callers[i].thread, NULL);
        else if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
            callers[i].l->failed = true;
    }
}

static void sum_up(const job *j, const shared *s, int64_t began, const reading *r0,
                   const reading *r1, const pgqrs_counters *c0, const pgqrs_counters *c1,
                   trial *out)
{
    histogram *all     = BENCH_NEW(histogram);
    int64_t    end     = began + 1;
    int64_t    busy    = 0;
    int64_t    cpu     = 0;
    double     ops     = 0;
    double     seconds = 0;

    for (int i = 0; i < j->callers; i++) {
        const lane *l = &s->lanes[i];

        ops += (double)l->ops;
        busy += l->busy_ns;
        cpu += l->cpu_ns;
        end = l->end_ns > end ? l->end_ns : end;
        if (all != NULL)
            histogram_merge(all, &l->latency);
    }
    seconds = (j->flags & JOB_TIMES_ITSELF) != 0 && busy > 0 ? (double)busy / 1e9
                                                             : (double)(end - began) / 1e9;
    if (ops == 0) {
        *out = (trial){ .client_us = -1, .server_us = -1, .wal_bytes = -1, .rss_mb = -1 };
        free(all);
        return;
    }
    if ((j->flags & JOB_PROCESSES) == 0)
        cpu = r1->client_cpu_ns - r0->client_cpu_ns;
    *out = (trial){
        .rate      = ops / seconds,
        .p50_us    = all == NULL ? 0 : histogram_us(all, 0.5),
        .p99_us    = all == NULL ? 0 : histogram_us(all, 0.99),
        .client_us = (double)cpu / 1e3 / ops,
        .server_us = r0->server_cpu_ns < 0
                         ? -1
                         : (double)(r1->server_cpu_ns - r0->server_cpu_ns) / 1e3 / ops,
        .wal_bytes = r0->wal_bytes < 0 ? -1 : (double)(r1->wal_bytes - r0->wal_bytes) / ops,
        .rss_mb    = meters_peak_mb(),
    };
    if ((j->flags & JOB_OURS) != 0 && (j->flags & JOB_PROCESSES) == 0) {
        out->statements  = (double)(c1->statements - c0->statements) / ops;
        out->commits     = (double)(c1->commits - c0->commits) / ops;
        out->round_trips = (double)(c1->round_trips - c0->round_trips) / ops;
    }
    free(all);
}

static void post(sem_t *sem, int times)
{
    for (int i = 0; i < times; i++)
        sem_post(sem);
}

/* Those that could be started are waited for, whatever happens. */
static bool measured(bench *b, const job *j, shared *s, caller *callers, pid_t *pids, trial *out)
{
    int            started;
    int64_t        until, began;
    pgqrs_counters c0, c1;
    reading        r0, r1;
    bool           good = start(callers, j, pids, &started);

    while (atomic_load(&s->ready) < started)
        bench_sleep_ns(500000);
    meters_reset_peak();
    good = meters_read(b->meters, &r0) && good;
    pgqrs_store_counters(b->store, &c0);
    began = bench_now_ns();
    until = began + (int64_t)(b->seconds * 1e9);
    atomic_store(&s->stop, !good);
    post(&s->go, started);
    while (atomic_load(&s->ended) < started && bench_now_ns() < until && !bench_interrupted)
        bench_sleep_ns(2000000);
    atomic_store(&s->stop, true);
    while (atomic_load(&s->ended) < started)
        bench_sleep_ns(200000);
    pgqrs_store_counters(b->store, &c1);
    good = meters_read(b->meters, &r1) && good;
    sum_up(j, s, began, &r0, &r1, &c0, &c1, out);
    post(&s->leave, started);
    join(callers, j, pids);
    for (int i = 0; i < started; i++)
        good = good && !s->lanes[i].failed;
    return good && !bench_interrupted;
}

bool trial_run(bench *b, const job *j, trial *out)
{
    size_t  bytes   = sizeof(shared) + (size_t)j->callers * sizeof(lane);
    shared *s       = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    caller *callers = calloc((size_t)j->callers, sizeof(*callers));
    pid_t  *pids    = calloc((size_t)j->callers, sizeof(*pids));
    bool    good = s != MAP_FAILED && callers != NULL && pids != NULL && sem_init(&s->go, 1, 0) == 0
                && sem_init(&s->leave, 1, 0) == 0;

    if (!good)
        bench_fail(b, "out of memory");
    good = good && (j->ready == NULL || j->ready(b, j));
    if (good) {
        for (int i = 0; i < j->callers; i++)
            callers[i] = (caller){ .b = b, .j = j, .l = &s->lanes[i], .index = i, .s = s };
        b->stop = &s->stop;
        fflush(NULL); /* or processes would print it again */
        good = measured(b, j, s, callers, pids, out);
        for (int i = 0; !good && i < j->callers; i++)
            if (s->lanes[i].failed && !atomic_load(&b->failed))
                bench_fail(b, "%s: %s", j->name,
                           s->lanes[i].why[0] != '\0' ? s->lanes[i].why : "a caller failed");
        if (j->done != NULL)
            j->done(b, j);
        b->stop = NULL;
    }
    free(pids);
    free(callers);
    if (s != MAP_FAILED)
        munmap(s, bytes);
    return good && !atomic_load(&b->failed);
}
