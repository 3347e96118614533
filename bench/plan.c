/* Which contests there are, and what they must reach. Targets hold for a machine of two cores with
 * the client beside the server; they are ratios within one run. */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CONTESTS_MAX 64

const char *const bench_groups[] = { "enqueue", "trigger",  "drain",  "processes", "handlers",
                                     "backlog", "snapshot", "steps",  "runs",      "wakeup",
                                     "idle",    "keep",     "memory", NULL };

typedef struct plan {
    const bench *b;
    contest     *all;
    size_t       count;
} plan;

static bool is_group(const char *name)
{
    for (size_t i = 0; bench_groups[i] != NULL; i++)
        if (strcmp(name, bench_groups[i]) == 0)
            return true;
    return false;
}

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static contest *
add(plan *p, const char *group, const char *unit, const char *format, ...)
{
    const char *only  = p->b->options->only;
    const bool  whole = only != NULL && is_group(only);
    contest    *c     = &p->all[p->count < CONTESTS_MAX ? p->count : CONTESTS_MAX - 1];
    va_list     args;

    memset(c, 0, sizeof(*c));
    c->group = group;
    c->unit  = unit;
    va_start(args, format);
    (void)vsnprintf(c->name, sizeof(c->name), format, args);
    va_end(args);
    if (only == NULL || strcmp(group, only) == 0 || (!whole && strstr(c->name, only) != NULL))
        p->count++;
    return c;
}

/* The number of the job in the contest. */
static int enter(contest *c, job j)
{
    c->jobs[c->njobs] = j;
    return c->njobs++;
}

static int enter_as(contest *c, const char *name, job j)
{
    j.name = name;
    return enter(c, j);
}

static void expect(contest *c, measure what, int of, int against, double target, bool at_most)
{
    if (of != NOBODY && against != NOBODY)
        c->ratios[c->nratios++] = (ratio){ what, of, against, target, at_most };
}

static void draw(contest *c, panel where, const char *line, int j, double x)
{
    if (j != NOBODY)
        c->points[c->npoints++] = (point){ where, line, j, x };
}

/* --- Baselines, where there are such ---------------------------------------------------------- */

/* Single-row commits. A file has one writer: there it is always one caller. */
static int enter_insert(const plan *p, contest *c, int callers)
{
#ifdef PGQRS_HAVE_POSTGRES
    if (p->b->postgres)
        return enter(c, pg_insert(callers));
#endif
#ifdef PGQRS_HAVE_TURSO
    if (p->b->turso)
        return enter(c, tu_insert());
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (p->b->sqlite)
        return enter(c, sq_insert());
#endif
    (void)p;
    (void)c;
    (void)callers;
    return NOBODY;
}

static int enter_insert_many(const plan *p, contest *c, int batch)
{
#ifdef PGQRS_HAVE_POSTGRES
    if (p->b->postgres)
        return enter(c, pg_insert_many(batch));
#endif
#ifdef PGQRS_HAVE_TURSO
    if (p->b->turso)
        return enter(c, tu_insert_many(batch));
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (p->b->sqlite)
        return enter(c, sq_insert_many(batch));
#endif
    (void)p;
    (void)c;
    (void)batch;
    return NOBODY;
}

static int enter_bare_enqueue(const plan *p, contest *c, int callers, int batch)
{
#ifdef PGQRS_HAVE_POSTGRES
    if (p->b->postgres)
        return enter(c, pg_bare_enqueue(callers, batch));
#endif
#ifdef PGQRS_HAVE_TURSO
    if (p->b->turso && p->b->apart)
        return enter(c, tu_bare_enqueue(batch));
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (p->b->same_file)
        return enter(c, sq_bare_enqueue(batch));
#endif
    (void)p;
    (void)c;
    (void)callers;
    (void)batch;
    return NOBODY;
}

static int enter_bare_drain(const plan *p, contest *c, int callers, int batch, unsigned flags)
{
#ifdef PGQRS_HAVE_POSTGRES
    if (p->b->postgres)
        return enter(c, pg_bare_drain(callers, batch, flags));
#endif
#ifdef PGQRS_HAVE_TURSO
    if (p->b->turso && p->b->apart)
        return enter(c, tu_bare_drain(batch));
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (p->b->same_file)
        return enter(c, sq_bare_drain(batch));
#endif
    (void)p;
    (void)c;
    (void)callers;
    (void)batch;
    (void)flags;
    return NOBODY;
}

static int enter_bare_steps(const plan *p, contest *c, int callers, int runs)
{
#ifdef PGQRS_HAVE_POSTGRES
    if (p->b->postgres)
        return enter(c, pg_bare_steps(callers, runs));
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (p->b->same_file)
        return enter(c, sq_bare_steps(callers * runs));
#endif
    (void)p;
    (void)c;
    (void)callers;
    (void)runs;
    return NOBODY;
}

static int enter_pop(const plan *p, contest *c, unsigned flags)
{
#ifdef PGQRS_HAVE_POSTGRES
    if (p->b->postgres)
        return enter(c, pg_pop(4, 100, flags));
#endif
    (void)p;
    (void)c;
    (void)flags;
    return NOBODY;
}

static int enter_bare_memory(const plan *p, contest *c)
{
#ifdef PGQRS_HAVE_POSTGRES
    if (p->b->postgres)
        return enter(c, pg_memory());
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (p->b->same_file)
        return enter(c, sq_memory());
#endif
    (void)p;
    (void)c;
    return NOBODY;
}

/* A target that PostgreSQL has, or a file of SQLite; 0: none. */
static double target(const plan *p, double postgres, double file)
{
    return p->b->postgres ? postgres : p->b->same_file ? file : 0;
}

/* What Turso must reach: against its own single commits, and against a client that does nothing
 * else. Beside it the same on SQLite's side, whatever it is. */
static void expect_of_turso(contest *c, int callers, int ours, int bare)
{
    if (callers == 1)
        expect(c, MEASURE_RATE, ours, bare, 0.9, false);
    else
        expect(c, MEASURE_RATE, ours, enter_as(c, "1 caller", job_enqueue(1, 1, 0)),
               callers == 64 ? 10 : 0, false);
#ifdef PGQRS_HAVE_SQLITE
    expect(c, MEASURE_RATE, ours, enter_as(c, "insert, SQLite", sq_insert()), 0, false);
#endif
}

/* --- Contests --------------------------------------------------------------------------------- */

static void puts_of(plan *p)
{
    static const int callers[] = { 1, 8, 64 };
    static const int batches[] = { 100, 1000 };
    const int        sparse    = p->b->options->quick ? 2 : 1;

    for (int i = 0; i < 3; i += sparse) {
        contest  *c    = add(p, "enqueue", "messages", "enqueue, %d caller%s", callers[i],
                         callers[i] == 1 ? "" : "s");
        const int ours = enter(c, job_enqueue(callers[i], 1, 0));
        const int raw  = enter_insert(p, c, callers[i]);
        const int bare = enter_bare_enqueue(p, c, callers[i], 1);

        expect(c, MEASURE_RATE, ours, raw,
               callers[i] == 1    ? target(p, 0.9, 0)
               : callers[i] == 64 ? target(p, 3, 15)
                                  : 0,
               false);
        if (p->b->turso)
            expect_of_turso(c, callers[i], ours, bare);
        else
            expect(c, MEASURE_RATE, ours, bare, 0, false);
        expect(c, MEASURE_CPU, ours, raw, 0, true);
        draw(c, PANEL_CALLERS, "enqueue", ours, callers[i]);
        draw(c, PANEL_CALLERS, "plain insert", p->b->postgres ? raw : NOBODY, callers[i]);
        if (callers[i] == 1)
            draw(c, PANEL_BATCH, "enqueue", ours, 1);
    }
    for (size_t i = 0; i < 2; i++) {
        contest  *c    = add(p, "enqueue", "messages", "enqueue by %d", batches[i]);
        const int ours = enter(c, job_enqueue(1, batches[i], 0));
        const int raw  = enter_insert_many(p, c, batches[i]);
        const int bare = enter_bare_enqueue(p, c, 1, batches[i]);

        expect(c, MEASURE_RATE, ours, raw, batches[i] == 1000 ? target(p, 0.4, 0) : 0, false);
        expect(c, MEASURE_RATE, ours, bare, 0, false);
        draw(c, PANEL_BATCH, "enqueue", ours, batches[i]);
    }
    for (int i = 0; i < 3; i += sparse) {
        contest  *c    = add(p, "trigger", "runs", "trigger, %d caller%s", callers[i],
                         callers[i] == 1 ? "" : "s");
        const int ours = enter(c, job_trigger(callers[i]));
        const int raw  = enter_insert(p, c, callers[i]);

        expect(c, MEASURE_RATE, ours, raw,
               callers[i] == 1    ? target(p, 0.9, 0)
               : callers[i] == 64 ? target(p, 3, 0)
                                  : 0,
               false);
        draw(c, PANEL_CALLERS, "trigger", ours, callers[i]);
    }
}

static void drain_of(plan *p, int batch, int consumers, unsigned flags)
{
    static const char *const lines[] = { "", "drain, 1 consumer", "drain, 2 consumers", "",
                                         "drain, 4 consumers" };
    const bool               apart   = (flags & JOB_PROCESSES) != 0;
    const bool               largest = batch == 100 && consumers == 4;
    contest  *c    = add(p, "drain", "messages", "drain by %d, %d %s%s", batch, consumers,
                     apart ? "process" : "consumer",
                     consumers == 1 ? ""
                         : apart        ? "es"
                                        : "s");
    const int ours = enter(c, job_drain(consumers, batch, flags));
    const int bare = enter_bare_drain(p, c, consumers, batch, flags);
    const int pop  = largest ? enter_pop(p, c, flags) : NOBODY;

    expect(c, MEASURE_RATE, ours, bare,
           largest || (batch == 1 && consumers == 4) ? target(p, 0.9, 0)
           : batch == 100                            ? target(p, 0, 0.7)
                                                     : 0,
           false);
    expect(c, MEASURE_CPU, ours, bare, 0, true);
    expect(c, MEASURE_RATE, ours, pop, 0.5, false);
    if (largest) {
        expect(c, MEASURE_WAL, ours, AS_IT_IS, target(p, 620, 0), true);
        expect(c, MEASURE_CLIENT, ours, AS_IT_IS, target(p, 1, 0), true);
    }
    if (!apart)
        draw(c, PANEL_BATCH, lines[consumers], ours, batch);
    if (consumers == 4 && !apart)
        draw(c, PANEL_BATCH, "the same SQL, bare", bare, batch);
}

static void drains(plan *p)
{
    static const int batches[] = { 1, 10, 100, 500 };
    const bool       quick     = p->b->options->quick;

    for (size_t i = 0; i < 4; i++)
        for (int consumers = 1; consumers <= 4; consumers *= 2)
            if (!quick || (i % 2 == 0 && consumers != 2))
                drain_of(p, batches[i], consumers, 0);
    for (size_t i = 0; p->b->postgres && i < 4; i++)
        for (int consumers = 2; consumers <= 4; consumers *= 2)
            if (!quick || (i == 2 && consumers == 4))
                drain_of(p, batches[i], consumers, JOB_PROCESSES);
}

/* Two processes on one file: what they do together, and that neither starves. */
static void file_of_two(plan *p)
{
    contest *c;
    int      one, two;

    if (!p->b->same_file)
        return;
    c   = add(p, "processes", "messages", "enqueue, 2 processes on one file");
    two = enter_as(c, "2 processes", job_enqueue(2, 1, JOB_PROCESSES));
    one = enter_as(c, "1 process", job_enqueue(1, 1, JOB_PROCESSES));
    expect(c, MEASURE_RATE, two, one, 0.7, false);
    expect(c, MEASURE_TAIL, two, AS_IT_IS, 50, true);
    expect(c, MEASURE_LEAST, two, AS_IT_IS, 0, false);
    c   = add(p, "processes", "messages", "drain by 10, 2 processes on one file");
    two = enter_as(c, "2 processes", job_drain(2, 10, JOB_PROCESSES));
    one = enter_as(c, "1 process", job_drain(1, 10, JOB_PROCESSES));
    expect(c, MEASURE_RATE, two, one, 0.7, false);
    expect(c, MEASURE_TAIL, two, AS_IT_IS, 50, true);
    expect(c, MEASURE_LEAST, two, AS_IT_IS, 0, false);
}

static void queues(plan *p)
{
    static const struct {
        const char *name;
        int         size;
    } backlogs[]       = { { "of 1k", 1000 },
                           { "of 10k", 10000 },
                           { "of 100k", 100000 },
                           { "of 1M", 1000000 },
                           { "of 10M", 10000000 } };
    const bool   quick = p->b->options->quick;
    const size_t sizes = p->b->options->large ? 5 : quick ? 2 : 4;
    contest     *c     = add(p, "handlers", "messages", "claim 64, finish one by one, 64 handlers");
    int          ours  = enter(c, job_handlers(64));
    int          other = enter_as(c, "drain 100x4", job_drain(4, 100, 0));

    expect(c, MEASURE_RATE, ours, other, target(p, 0.5, 0), false);
    if (p->b->postgres)
        expect(c, MEASURE_WAL, ours, AS_IT_IS, 720, true);

    c = add(p, "backlog", "messages", "drain by 100, against the backlog");
    for (size_t i = 0; i < sizes; i++) {
        ours = enter(c, job_backlog(backlogs[i].name, backlogs[i].size));
        draw(c, PANEL_BACKLOG, "drain by 100", ours, backlogs[i].size);
        if (i > 0)
            expect(c, MEASURE_RATE, ours, 0, i == 3 ? target(p, 0.9, 0) : 0, false);
    }

    if (p->b->postgres || p->b->same_file) {
        c     = add(p, "snapshot", "messages", "drain by 100, 1 consumer, a snapshot held open");
        ours  = enter(c, job_drain_pinned(1, 100));
        other = enter_as(c, "without", job_drain(1, 100, 0));
        expect(c, MEASURE_RATE, ours, other, target(p, 0.85, 0), false);
        c->seconds = quick ? 0 : 3 * p->b->seconds;
    }
}

static void runs(plan *p)
{
    const bool quick = p->b->options->quick;
    contest   *c     = add(p, "steps", "steps", "one run, step after step");
    int        ours  = enter(c, job_steps("pgqrs", 1));
    int        raw   = enter_insert(p, c, 1);
    int        bare  = enter_bare_steps(p, c, 1, 1);
    int        many[3];

    expect(c, MEASURE_P50, ours, raw, target(p, 1.2, 1.2), true);
    expect(c, MEASURE_P50, ours, bare, 0, true);
    draw(c, PANEL_CALLERS, "steps", ours, 1);

    c       = add(p, "steps", "steps", "steps, 8, 64 and 256 runs at once");
    many[0] = enter(c, job_steps("8 runs", 8));
    many[1] = enter(c, job_steps("64 runs", 64));
    many[2] = enter(c, job_steps("256 runs", 256));
    raw     = enter_insert(p, c, 64);
    bare    = enter_bare_steps(p, c, 2, 32);
    expect(c, MEASURE_RATE, many[0], raw, 0, false);
    expect(c, MEASURE_RATE, many[1], raw, target(p, 2, 5), false);
    expect(c, MEASURE_RATE, many[2], raw, target(p, 2, 5), false);
    expect(c, MEASURE_RATE, many[2], many[1], 1, false);
    expect(c, MEASURE_RATE, many[1], bare, 0, false);
    expect(c, MEASURE_CLIENT, many[1], AS_IT_IS, target(p, 5, 0), true);
    expect(c, MEASURE_CPU, many[1], raw, 0, true);
    for (int i = 0; i < 3; i++)
        draw(c, PANEL_CALLERS, "steps", many[i], i == 0 ? 8 : i == 1 ? 64 : 256);

    c    = add(p, "runs", "runs", "trigger, 3 steps, success, 64 at once");
    ours = enter(c, job_runs(64));
    raw  = enter_insert(p, c, 64);
    expect(c, MEASURE_RATE, ours, raw, target(p, 0.4, 0), false);

    c          = add(p, "wakeup", "wake-ups", "idle worker, woken by another client");
    ours       = enter(c, job_wakeup(8));
    raw        = enter_insert(p, c, 1);
    c->seconds = quick ? 1 : 7; /* 8 workers, two each second, 5 rounds: more than 500 */
    expect(c, MEASURE_P50, ours, raw, target(p, 3, 0), true);

    c          = add(p, "idle", "seconds", "a worker on an empty queue, each second");
    ours       = enter(c, job_idle());
    c->seconds = quick ? 2 : 5;
    expect(c, MEASURE_STATEMENTS, ours, AS_IT_IS, 2, true);

    c          = add(p, "keep", "seconds", "1000 leases of 3 s kept, each second");
    ours       = enter(c, job_keep(1000));
    c->seconds = quick ? 3 : 6;
    expect(c, MEASURE_STATEMENTS, ours, AS_IT_IS, 0, true);

    if (p->b->postgres || p->b->same_file) {
        c    = add(p, "memory", "messages", "memory of a worker, 64 handlers, a backlog of %s",
                quick ? "10k" : "1M");
        ours = enter(c, job_memory("worker", quick ? 10000 : 1000000));
        bare = enter_bare_memory(p, c);
        expect(c, MEASURE_RSS, ours, bare, target(p, 16, 0), true);
    }
}

contest *plan_make(const bench *b, size_t *out_count)
{
    plan p = { .b = b, .all = calloc(CONTESTS_MAX, sizeof(contest)) };

    if (p.all == NULL)
        return NULL;
    puts_of(&p);
    drains(&p);
    file_of_two(&p);
    queues(&p);
    runs(&p);
    *out_count = p.count;
    return p.all;
}
