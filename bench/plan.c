/* Which contests there are, and what they must reach. Targets hold for a machine of two cores with
 * the client beside the server; they are ratios within one run. */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CONTESTS_MAX 64

typedef struct plan {
    bench   *b;
    contest *all;
    size_t   count;
} plan;

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static contest *
add(plan *p, const char *group, const char *unit, const char *format, ...)
{
    contest *c = &p->all[p->count < CONTESTS_MAX ? p->count : CONTESTS_MAX - 1];
    va_list  args;

    memset(c, 0, sizeof(*c));
    c->group = group;
    c->unit  = unit;
    va_start(args, format);
    vsnprintf(c->name, sizeof(c->name), format, args);
    va_end(args);
    if (p->b->only == NULL || strstr(c->name, p->b->only) != NULL || strcmp(group, p->b->only) == 0)
        p->count++;
    return c;
}

static void enter(contest *c, job j)
{
    c->jobs[c->njobs++] = j;
}

static void expect(contest *c, measure what, int of, int against, double target, bool at_most)
{
    c->ratios[c->nratios++] = (ratio){ what, of, against, target, at_most };
}

#ifdef PGQRS_HAVE_POSTGRES
static void postgres_puts(plan *p)
{
    static const int callers[] = { 1, 8, 64 };
    static const int batches[] = { 100, 1000 };
    contest         *c;

    for (size_t i = 0; i < 3; i++) {
        c = add(p, "enqueue", "messages", "enqueue, %d callers", callers[i]);
        enter(c, job_enqueue(callers[i], 1));
        enter(c, pg_insert(callers[i]));
        expect(c, MEASURE_RATE, 0, 1, callers[i] == 1 ? 0.9 : callers[i] == 64 ? 3 : 0, false);
        expect(c, MEASURE_CPU, 0, 1, 0, true);
    }
    for (size_t i = 0; i < 2; i++) {
        c = add(p, "enqueue", "messages", "enqueue by %d", batches[i]);
        enter(c, job_enqueue(1, batches[i]));
        enter(c, pg_insert_many(batches[i]));
        expect(c, MEASURE_RATE, 0, 1, batches[i] == 1000 ? 0.4 : 0, false);
    }
    for (size_t i = p->b->quick ? 2 : 0; i < 3; i += 2) {
        c = add(p, "trigger", "runs", "trigger, %d callers", callers[i]);
        enter(c, job_trigger(callers[i]));
        enter(c, pg_insert(callers[i]));
        expect(c, MEASURE_RATE, 0, 1, callers[i] == 1 ? 0.9 : 3, false);
    }
}

static void postgres_drains(plan *p)
{
    static const int batches[] = { 1, 10, 100, 500 };
    static const int callers[] = { 1, 4 };
    contest         *c;

    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 2; k++) {
            if (p->b->quick && (callers[k] == 1 || batches[i] == 10 || batches[i] == 500))
                continue;
            c = add(p, "drain", "messages", "drain by %d, %d consumers", batches[i], callers[k]);
            enter(c, job_drain(callers[k], batches[i], 0));
            enter(c, pg_bare_drain(callers[k], batches[i], 0));
            expect(c, MEASURE_RATE, 0, 1, 0.9, false);
            expect(c, MEASURE_CPU, 0, 1, 0, true);
            if (batches[i] == 100 && callers[k] == 4) {
                enter(c, pg_pop(4, 100, 0));
                expect(c, MEASURE_RATE, 0, 2, 0.5, false);
                expect(c, MEASURE_WAL, 0, -1, 620, true);
                expect(c, MEASURE_CLIENT, 0, -1, 1, true);
            }
        }
    }
    c = add(p, "drain", "messages", "drain by 100, 4 processes");
    enter(c, job_drain(4, 100, JOB_PROCESSES));
    enter(c, pg_bare_drain(4, 100, JOB_PROCESSES));
    enter(c, pg_pop(4, 100, JOB_PROCESSES));
    expect(c, MEASURE_RATE, 0, 1, 0.9, false);
    expect(c, MEASURE_RATE, 0, 2, 0.5, false);

    c = add(p, "handlers", "messages", "claim 64, finish one by one, 64 handlers");
    enter(c, job_handlers(64));
    enter(c, job_drain(4, 100, 0));
    c->jobs[1].name = "drain 100x4";
    expect(c, MEASURE_RATE, 0, 1, 0.5, false);
    expect(c, MEASURE_WAL, 0, -1, 720, true);

    c = add(p, "backlog", "messages", "drain by 100, backlog of %s against 1k",
            p->b->large ? "1M" : "100k");
    enter(c, job_backlog(p->b->large ? "of 1M" : "of 100k", p->b->large ? 1000000 : 100000));
    enter(c, job_backlog("of 1k", 1000));
    expect(c, MEASURE_RATE, 0, 1, 0.9, false);

    c = add(p, "snapshot", "messages", "drain by 100, 1 consumer, a snapshot held open");
    enter(c, job_drain_pinned(1, 100));
    enter(c, job_drain(1, 100, 0));
    c->jobs[1].name = "without";
    expect(c, MEASURE_RATE, 0, 1, 0.85, false);
}

static void postgres_runs(plan *p)
{
    contest *c;

    c = add(p, "steps", "steps", "one run, step after step");
    enter(c, job_steps("pgqrs", 1));
    enter(c, pg_insert(1));
    expect(c, MEASURE_P50, 0, 1, 1.2, true);

    c = add(p, "steps", "steps", "steps, 64 and 256 runs at once");
    enter(c, job_steps("64 runs", 64));
    enter(c, job_steps("256 runs", 256));
    enter(c, pg_insert(64));
    expect(c, MEASURE_RATE, 0, 2, 2, false);
    expect(c, MEASURE_RATE, 1, 2, 2, false);
    expect(c, MEASURE_RATE, 1, 0, 1, false);
    expect(c, MEASURE_CLIENT, 0, -1, 5, true);
    expect(c, MEASURE_CPU, 0, 2, 0, true);

    c = add(p, "runs", "runs", "trigger, 3 steps, success, 64 at once");
    enter(c, job_runs(64));
    enter(c, pg_insert(64));
    expect(c, MEASURE_RATE, 0, 1, 0.4, false);

    c = add(p, "wakeup", "wake-ups", "idle consumer, woken by another client");
    enter(c, job_wakeup());
    enter(c, pg_insert(1));
    expect(c, MEASURE_P50, 0, 1, 3, true);
    c->seconds = p->b->quick ? 1 : p->b->large ? 60 : 5;
}
#endif

#ifdef PGQRS_HAVE_SQLITE
static void sqlite_all(plan *p)
{
    static const int callers[] = { 1, 8, 64 };
    static const int batches[] = { 1, 10, 100, 500 };
    contest         *c;

    for (size_t i = 0; i < 3; i++) {
        c = add(p, "enqueue", "messages", "enqueue, %d callers", callers[i]);
        enter(c, job_enqueue(callers[i], 1));
        enter(c, sq_insert());
        expect(c, MEASURE_RATE, 0, 1, callers[i] == 64 ? 15 : 0, false);
    }
    c = add(p, "enqueue", "messages", "enqueue by 100 and by 1000");
    enter(c, job_enqueue(1, 100));
    enter(c, job_enqueue(1, 1000));
    enter(c, sq_insert());
    c->jobs[0].name = "by 100";
    c->jobs[1].name = "by 1000";
    expect(c, MEASURE_RATE, 0, 2, 0, false);
    expect(c, MEASURE_RATE, 1, 2, 0, false);

    for (size_t i = 0; i < 4; i++) {
        c = add(p, "drain", "messages", "drain by %d", batches[i]);
        enter(c, job_drain(1, batches[i], 0));
        enter(c, sq_bare_drain(batches[i]));
        expect(c, MEASURE_RATE, 0, 1, batches[i] == 100 ? 0.7 : 0, false);
    }
    c = add(p, "handlers", "messages", "claim 64, finish one by one, 64 handlers");
    enter(c, job_handlers(64));
    enter(c, job_drain(1, 100, 0));
    c->jobs[1].name = "drain 100";
    expect(c, MEASURE_RATE, 0, 1, 0, false);

    c = add(p, "steps", "steps", "one run, step after step");
    enter(c, job_steps("pgqrs", 1));
    enter(c, sq_insert());
    expect(c, MEASURE_P50, 0, 1, 1.2, true);

    c = add(p, "steps", "steps", "steps, 64 and 256 runs at once");
    enter(c, job_steps("64 runs", 64));
    enter(c, job_steps("256 runs", 256));
    enter(c, sq_insert());
    expect(c, MEASURE_RATE, 0, 2, 5, false);
    expect(c, MEASURE_RATE, 1, 0, 1, false);

    c = add(p, "runs", "runs", "trigger, 3 steps, success, 64 at once");
    enter(c, job_runs(64));
    enter(c, sq_insert());
    expect(c, MEASURE_RATE, 0, 1, 0, false);

    c = add(p, "wakeup", "wake-ups", "idle consumer, woken by another client");
    enter(c, job_wakeup());
    enter(c, sq_insert());
    expect(c, MEASURE_P50, 0, 1, 3, true);
    c->seconds = p->b->quick ? 1 : p->b->large ? 60 : 5;
}
#endif

contest *plan_make(bench *b, size_t *out_count)
{
    plan     p = { .b = b, .all = calloc(CONTESTS_MAX, sizeof(contest)) };
    contest *c;

    if (p.all == NULL)
        return NULL;
#ifdef PGQRS_HAVE_POSTGRES
    if (b->postgres) {
        postgres_puts(&p);
        postgres_drains(&p);
        postgres_runs(&p);
    }
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (!b->postgres)
        sqlite_all(&p);
#endif
    c = add(&p, "idle", "looks", "a worker on an empty queue");
    enter(c, job_idle());
    expect(c, MEASURE_PER_SECOND, 0, -1, 2, true);
    c->seconds = b->quick ? 2 : 5;
    *out_count = p.count;
    return p.all;
}
