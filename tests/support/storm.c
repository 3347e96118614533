#include "support/storm.h"

#include "support/peek.h"
#include "support/processes.h"
#include "support/storm_check.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_EVERY_US (700 * PGQRS_MILLISECOND)
#define CALM_US        (90 * PGQRS_TEST_FACTOR * PGQRS_SECOND) /* to work everything off */
#define END_US         (20 * PGQRS_TEST_FACTOR * PGQRS_SECOND) /* to end gracefully */
#define KILL_EVERY_MS  300                                     /* on average half of it */
#define LIVES_MS       (150 * (3 + PGQRS_TEST_FACTOR))         /* the same, when there is one */
#define CALM_LIFE_US   (PGQRS_TEST_FACTOR * PGQRS_SECOND)      /* of the one, in the end */

typedef struct slot {
    process     p;
    const char *role;
    int         incarnation;
    int64_t     stopped_until_us; /* 0: running */
} slot;

typedef struct storm {
    world                *w;
    const storm_settings *settings;
    storm_report         *report;
    storm_look            look;
    slot                  slots[STORM_PROCESSES];
    size_t                count;
    bool                  alone;  /* one process at a time can have the database */
    bool                  enough; /* as it was between two lives of that process */
    char                  folder[256];
    uint64_t              random;
} storm;

/* Queues, and nothing that an earlier storm in the same world left in them. */
static void prepare(world *w)
{
    static const char *const tables[] = { "messages", "ready", "scheduled", "leased",
                                          "archive",  "steps", "keys" };
    /* Failures come back quickly, and hardly ever for the last time. */
    const pgqrs_queue_options patient = {
        .struct_size    = sizeof(patient),
        .max_attempts   = 1000,
        .backoff_us     = 20 * PGQRS_MILLISECOND,
        .backoff_factor = 1,
    };
    pgqrs_queue_options frail = patient;

    frail.max_attempts = 3;
    assert_ok(pgqrs_queue_ensure(w->store, "plain", &patient, &failure));
    assert_ok(pgqrs_queue_ensure(w->store, "frail", &frail, &failure));
    assert_ok(pgqrs_queue_ensure(w->store, "hot", &patient, &failure));
    assert_ok(pgqrs_queue_ensure(w->store, "loop", &patient, &failure));
    workflow_with(w, "line", &patient);
    workflow_with(w, "wide", &patient);
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        char sql[64];
        (void)snprintf(sql, sizeof(sql), "DELETE FROM pgqrs_%s", tables[i]);
        sql_run(w, sql);
    }
}

static void start(storm *s, size_t index)
{
    slot *it = &s->slots[index];
    char  log[512], seed[32];

    (void)snprintf(log, sizeof(log), "%s/%02zu.%04d", s->folder, index, it->incarnation++);
    (void)snprintf(seed, sizeof(seed), "%llu", (unsigned long long)random_next(&s->random));
    process_start(
        &it->p, s->w, "storm_worker",
        (const char *const[]){ it->role, log, seed, s->settings->tolerant ? "tolerant" : "strict",
                               s->settings->mutant != NULL ? s->settings->mutant : "-", NULL });
    it->stopped_until_us = 0;
}

/* A process that ended by itself while it should not have. */
static void look_for_crashes(storm *s)
{
    for (size_t i = 0; i < s->count; i++) {
        int   status = 0;
        slot *it     = &s->slots[i];
        if (it->p.pid == 0 || !process_ends(&it->p, 0, &status))
            continue;
        storm_violation(s->report, "process %zu (%s) ended by itself: %s %d", i, it->role,
                        WIFSIGNALED(status) ? "signal" : "status",
                        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        start(s, i);
    }
}

static bool enough(storm *s)
{
    return storm_number(&s->look, "SELECT count(*) FROM pgqrs_messages") >= s->settings->messages
           && storm_number(&s->look, "SELECT count(*) FROM pgqrs_messages m JOIN pgqrs_queues q"
                                     " ON q.id = m.queue_id WHERE q.workflow")
                  >= s->settings->runs;
}

static void kill_or_pause_one(storm *s)
{
    const size_t i  = (size_t)random_below(&s->random, (int64_t)s->count);
    slot        *it = &s->slots[i];

    if (it->stopped_until_us != 0)
        return;
    if (random_below(&s->random, 4) == 0) {
        process_signal(&it->p, SIGSTOP);
        it->stopped_until_us =
            monotonic_now_us() + (100 + random_below(&s->random, 600)) * PGQRS_MILLISECOND;
        s->report->pauses++;
    } else {
        process_signal(&it->p, SIGKILL);
        (void)process_end(&it->p);
        s->report->kills++;
        if (s->alone) {
            (void)storm_check_state(&s->look);
            s->enough = enough(s);
        }
        start(s, i);
    }
}

static void continue_stopped(storm *s, bool all)
{
    for (size_t i = 0; i < s->count; i++) {
        slot *it = &s->slots[i];
        if (it->stopped_until_us == 0 || (!all && monotonic_now_us() < it->stopped_until_us))
            continue;
        process_signal(&it->p, SIGCONT);
        it->stopped_until_us = 0;
    }
}

static bool has_enough(storm *s)
{
    return s->alone ? s->enough : enough(s);
}

static void blow(storm *s)
{
    const int64_t began   = monotonic_now_us();
    const int64_t until   = began + s->settings->seconds * PGQRS_SECOND;
    int64_t       check   = began + CHECK_EVERY_US;
    int64_t       violent = began + PGQRS_SECOND / 2;

    for (int64_t now = began; now < until || (now < until + 2 * (until - began) && !has_enough(s));
         now         = monotonic_now_us()) {
        sleep_us(10 * PGQRS_MILLISECOND);
        look_for_crashes(s);
        continue_stopped(s, false);
        if (s->settings->meddle != NULL)
            s->settings->meddle(s->w, now - began, s->settings->user_data);
        if (s->settings->kills && now >= violent) {
            kill_or_pause_one(s);
            violent =
                now
                + random_below(&s->random, s->alone ? LIVES_MS : KILL_EVERY_MS) * PGQRS_MILLISECOND;
        }
        if (now >= check && !s->alone) {
            (void)storm_check_state(&s->look);
            check = monotonic_now_us() + CHECK_EVERY_US;
        }
    }
    continue_stopped(s, true);
}

static void signal_all(storm *s, int number)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->slots[i].p.pid != 0)
            process_signal(&s->slots[i].p, number);
}

/* Lets what is alone work calmly, ends it, looks, and starts another. A process that has not set up
 * its signals yet ignores them, so they are sent again and again. @return what is not finished */
static int64_t look_between(storm *s)
{
    const int64_t until  = monotonic_now_us() + CALM_LIFE_US;
    int           status = 0;
    int64_t       live;

    while (monotonic_now_us() < until) {
        signal_all(s, SIGUSR1);
        sleep_us(10 * PGQRS_MILLISECOND);
    }
    signal_all(s, SIGTERM);
    if (!process_ends(&s->slots[0].p, END_US, &status))
        fail_msg("the process does not end");
    if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM))
        storm_violation(s->report, "the process ended with status %#x", (unsigned)status);
    live = storm_check_state(&s->look);
    start(s, 0);
    return live;
}

/* Nobody is killed any more; everything is finished. */
static void calm(storm *s)
{
    const int64_t until = monotonic_now_us() + CALM_US;
    int64_t       live;

    do {
        signal_all(s, SIGUSR1);
        if (!s->alone)
            sleep_us(200 * PGQRS_MILLISECOND);
        live = s->alone ? look_between(s) : storm_check_state(&s->look);
    } while (live > 0 && monotonic_now_us() < until);
    if (live > 0)
        storm_violation(s->report, "%lld messages are not worked off", (long long)live);
}

static void end(storm *s)
{
    signal_all(s, SIGTERM);
    for (size_t i = 0; i < s->count; i++) {
        slot *it     = &s->slots[i];
        int   status = 0;
        if (it->p.pid == 0)
            continue;
        if (!process_ends(&it->p, END_US, &status)) {
            storm_violation(s->report, "process %zu (%s) does not end", i, it->role);
            process_signal(&it->p, SIGKILL);
            (void)process_end(&it->p);
        } else if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)) {
            storm_violation(s->report, "process %zu (%s) ended with status %#x", i, it->role,
                            (unsigned)status);
        }
    }
}

static int64_t deadlocks(storm *s)
{
    return !s->w->postgres ? 0
                           : storm_number(&s->look, "SELECT deadlocks FROM pg_stat_database"
                                                    " WHERE datname = current_database()");
}

void storm_run(world *w, const storm_settings *settings, storm_report *out_report)
{
    static const char *const roles[] = { "messages", "runs", "worker" };
    storm                    s       = { .w        = w,
                                         .settings = settings,
                                         .report   = out_report,
                                         .random   = settings->seed,
                                         .alone    = w->turso };

    *out_report = (storm_report){ 0 };
    (void)alarm((unsigned)(settings->seconds * 3 + CALM_US / PGQRS_SECOND + 120));
    (void)signal(SIGUSR1, SIG_IGN); /* which the processes inherit */
    (void)setenv("TSAN_OPTIONS", "halt_on_error=1",
                 0); /* a race is a process that ends by itself */
    folder_make(s.folder, sizeof(s.folder));
    prepare(w);
    if (s.alone)
        world_close(w, w->store);
    storm_look_open(&s.look, w, out_report);
    const int64_t before = deadlocks(&s);

    for (int i = 0; !s.alone && i < settings->producers + settings->consumers; i++) {
        const int consumer    = i - settings->producers;
        s.slots[s.count].role = consumer < 0 ? "producer" : roles[consumer % 3];
        assert_true(s.count < STORM_PROCESSES);
        start(&s, s.count++);
    }
    if (s.alone) {
        s.slots[0].role = "all";
        start(&s, s.count++);
    }
    blow(&s);
    calm(&s);
    end(&s);
    const int64_t after = deadlocks(&s);
    if (after != before)
        storm_violation(out_report, "the server counted %lld deadlocks",
                        (long long)(after - before));
    storm_check_end(&s.look, s.folder);
    storm_look_close(&s.look);
    if (s.alone)
        w->store = world_open(w);
    if (out_report->violations == 0 || settings->mutant != NULL)
        folder_remove(s.folder);
    else
        print_error("the logs are in %s\n", s.folder);
    print_message("storm: %lld messages, %lld of them runs; %lld claims, %lld steps; %lld kills, "
                  "%lld pauses; %lld whole states; %lld violations\n",
                  (long long)out_report->messages, (long long)out_report->runs,
                  (long long)out_report->claims, (long long)out_report->steps,
                  (long long)out_report->kills, (long long)out_report->pauses,
                  (long long)out_report->checks, (long long)out_report->violations);
}
