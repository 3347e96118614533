/* One job, once: its callers start together and work until the time is over or nothing is left. */
#include "bench.h"

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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

/* The memory that counts: of the process, or what it took since it began. */
static double own_peak_mb(const job *j, double began_mb)
{
    double peak = meters_peak_mb();

    return (j->flags & JOB_RSS_ABOVE) != 0 && peak >= 0 ? peak - began_mb : peak;
}

/* Nobody leaves before the meters were read: a connection that is closed takes its counts along. */
static void *caller_main(void *arg)
{
    caller   *c        = arg;
    const job j        = *c->j;
    bool      alone    = (j.flags & JOB_PROCESSES) != 0;
    double    began_mb = 0;
    int64_t   cpu;

    if (alone) {
        meters_reset_peak();
        began_mb = meters_peak_mb();
    }
    c->self = j.open(c->b, c->j, c->l, c->index);
    if (c->self == NULL) {
        c->l->failed = true;
        if (alone && c->l->why[0] == '\0')
            (void)snprintf(c->l->why, sizeof(c->l->why), "%s", c->b->error.message);
    }
    cpu = own_cpu_ns();
    atomic_fetch_add(&c->s->ready, 1);
    wait_for(&c->s->go);
    if (c->self != NULL)
        work(c);
    c->l->cpu_ns = own_cpu_ns() - cpu;
    if (c->self != NULL && j.count != NULL)
        j.count(c->self);
    c->l->rss_mb = alone ? own_peak_mb(&j, began_mb) : -1;
    atomic_fetch_add(&c->s->ended, 1);
    wait_for(&c->s->leave);
    if (c->self != NULL)
        j.close(c->self);
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
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would tell it to end */
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

/* All lanes as one. */
static void add_up(const job *j, const shared *s, lane *all, double *least)
{
    int64_t fewest = INT64_MAX, most = 0;

    for (int i = 0; i < j->callers; i++) {
        const lane *l = &s->lanes[i];

        all->ops += l->ops;
        all->busy_ns += l->busy_ns;
        all->cpu_ns += l->cpu_ns;
        all->sent.statements += l->sent.statements;
        all->sent.round_trips += l->sent.round_trips;
        all->sent.commits += l->sent.commits;
        all->end_ns = l->end_ns > all->end_ns ? l->end_ns : all->end_ns;
        all->rss_mb = l->rss_mb > all->rss_mb ? l->rss_mb : all->rss_mb;
        fewest      = l->ops < fewest ? l->ops : fewest;
        most        = l->ops > most ? l->ops : most;
        histogram_merge(&all->latency, &l->latency);
    }
    *least = most == 0 ? -1 : (double)fewest / (double)most;
}

static double samples_of(const histogram *h)
{
    double count = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        count += h->count[i];
    return count;
}

/* What the meters said before and after. */
typedef struct around {
    int64_t began_ns;
    reading before, after;
    sent    store_before, store_after;
} around;

static void sum_up(const job *j, const shared *s, const around *a, trial *out)
{
    static const trial nothing = { .p50_us      = -1,
                                   .p99_us      = -1,
                                   .max_us      = -1,
                                   .client_us   = -1,
                                   .server_us   = -1,
                                   .wal_bytes   = -1,
                                   .statements  = -1,
                                   .round_trips = -1,
                                   .commits     = -1,
                                   .rss_mb      = -1,
                                   .least       = -1 };
    lane              *all     = BENCH_NEW(lane);
    const bool         alone   = (j->flags & JOB_PROCESSES) != 0;
    double             ops, seconds;

    *out = nothing;
    if (all == NULL)
        return;
    all->rss_mb = -1;
    add_up(j, s, all, &out->least);
    out->rss_mb = alone ? all->rss_mb : meters_peak_mb();
    ops         = (double)all->ops;
    if (ops == 0) {
        free(all);
        return;
    }
    if ((j->flags & JOB_STORE) != 0)
        all->sent = (sent){ a->store_after.statements - a->store_before.statements,
                            a->store_after.round_trips - a->store_before.round_trips,
                            a->store_after.commits - a->store_before.commits };
    if (!alone)
        all->cpu_ns = a->after.client_cpu_ns - a->before.client_cpu_ns;
    seconds          = (j->flags & JOB_TIMES_ITSELF) != 0 && all->busy_ns > 0
                           ? (double)all->busy_ns / 1e9
                           : (double)(all->end_ns - a->began_ns) / 1e9;
    out->rate        = ops / seconds;
    out->samples     = samples_of(&all->latency);
    out->client_us   = (double)all->cpu_ns / 1e3 / ops;
    out->statements  = (double)all->sent.statements / ops;
    out->round_trips = (double)all->sent.round_trips / ops;
    out->commits     = (double)all->sent.commits / ops;
    if (out->samples > 0) {
        out->p50_us = histogram_us(&all->latency, 0.5);
        out->p99_us = histogram_us(&all->latency, 0.99);
        out->max_us = histogram_us(&all->latency, 1);
    }
    if (a->before.server_cpu_ns >= 0)
        out->server_us = (double)(a->after.server_cpu_ns - a->before.server_cpu_ns) / 1e3 / ops;
    if (a->before.wal_bytes >= 0)
        out->wal_bytes = (double)(a->after.wal_bytes - a->before.wal_bytes) / ops;
    free(all);
}

static void post(sem_t *sem, int times)
{
    for (int i = 0; i < times; i++)
        sem_post(sem);
}

static sent sent_by_store(const bench *b)
{
    return b->store == NULL ? (sent){ 0 } : sent_by(b->store);
}

/* Those that could be started are waited for, whatever happens. */
static bool measured(bench *b, const job *j, shared *s, caller *callers, pid_t *pids, trial *out)
{
    int     started;
    int64_t until;
    around  a;
    bool    good = start(callers, j, pids, &started);

    while (atomic_load(&s->ready) < started)
        bench_sleep_ns(500000);
    for (int i = 0; i < started; i++)
        good = good && !s->lanes[i].failed;
    meters_reset_peak();
    good           = meters_read(b->meters, &a.before) && good;
    a.store_before = sent_by_store(b);
    a.began_ns     = bench_now_ns();
    until          = a.began_ns + (int64_t)(b->seconds * 1e9);
    atomic_store(&s->stop, !good);
    post(&s->go, started);
    while (atomic_load(&s->ended) < started && bench_now_ns() < until && !bench_interrupted())
        bench_sleep_ns(2000000);
    atomic_store(&s->stop, true);
    while (atomic_load(&s->ended) < started)
        bench_sleep_ns(200000);
    a.store_after = sent_by_store(b);
    good          = meters_read(b->meters, &a.after) && good;
    sum_up(j, s, &a, out);
    post(&s->leave, started);
    join(callers, j, pids);
    for (int i = 0; i < started; i++)
        good = good && !s->lanes[i].failed;
    return good && !bench_interrupted();
}

/* A file that is open in a process cannot be opened by its children. */
static bool let_go(bench *b, const job *j)
{
    if ((j->flags & JOB_PROCESSES) == 0 || b->file == NULL)
        return false;
    pgqrs_close(b->store);
    b->store = NULL;
    return true;
}

bool trial_run(bench *b, const job *j, trial *out)
{
    size_t  bytes   = sizeof(shared) + (size_t)j->callers * sizeof(lane);
    shared *s       = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    caller *callers = calloc((size_t)j->callers, sizeof(*callers));
    pid_t  *pids    = calloc((size_t)j->callers, sizeof(*pids));
    bool    gone;
    bool    good = s != MAP_FAILED && callers != NULL && pids != NULL && sem_init(&s->go, 1, 0) == 0
                && sem_init(&s->leave, 1, 0) == 0;

    if (!good)
        bench_fail(b, "out of memory");
    good = good && (j->ready == NULL || j->ready(b, j));
    if (good) {
        for (int i = 0; i < j->callers; i++)
            callers[i] = (caller){ .b = b, .j = j, .l = &s->lanes[i], .index = i, .s = s };
        b->stop = &s->stop;
        fflush(NULL);   /* or processes would print it again */
        malloc_trim(0); /* what they inherit shall not hide what they take */
        gone = let_go(b, j);
        good = measured(b, j, s, callers, pids, out);
        if (gone && (b->store = bench_open(b)) == NULL)
            good = false;
        for (int i = 0; !good && i < j->callers; i++)
            if (s->lanes[i].failed && !bench_interrupted())
                bench_fail(b, "%s: %s", j->name,
                           s->lanes[i].why[0] != '\0' ? s->lanes[i].why : "a caller failed");
        if (j->done != NULL && b->store != NULL)
            j->done(b, j);
        b->stop = NULL;
    }
    free(pids);
    free(callers);
    if (s != MAP_FAILED)
        munmap(s, bytes);
    return good && !atomic_load(&b->failed);
}
