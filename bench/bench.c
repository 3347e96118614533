/* The place the benchmark works in, and the run over all contests. */
#include "bench.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

bool bench_interrupted(void)
{
    return caught != 0;
}

int64_t bench_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void bench_sleep_ns(int64_t ns)
{
    struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

    (void)nanosleep(&t, NULL);
}

void bench_fail(bench *b, const char *format, ...)
{
    va_list args;

    if (atomic_exchange(&b->failed, true))
        return; /* the first failure is what is told */
    b->error = (pgqrs_error){ .status = PGQRS_EDB };
    va_start(args, format);
    (void)vsnprintf(b->error.message, sizeof(b->error.message), format, args);
    va_end(args);
    for (size_t i = strlen(b->error.message); i > 0 && b->error.message[i - 1] == '\n'; i--)
        b->error.message[i - 1] = '\0';
}

bool bench_ok(bench *b, pgqrs_status rc, const char *what, const pgqrs_error *error)
{
    if (rc == PGQRS_OK)
        return true;
    if (!atomic_exchange(&b->failed, true)) {
        b->error = *error;
        (void)snprintf(b->error.message, sizeof(b->error.message), "%s: %.200s", what,
                       error->message);
    }
    return false;
}

pgqrs_store *bench_open(bench *b)
{
    const pgqrs_store_options options = { .struct_size = sizeof(options),
                                          .schema      = b->postgres ? b->schema : NULL };
    pgqrs_store              *store   = NULL;
    pgqrs_error               error;

    return bench_ok(b, pgqrs_open(b->place, &options, &store, &error), "open", &error) ? store
                                                                                       : NULL;
}

sent sent_by(pgqrs_store *store)
{
    pgqrs_counters c;

    pgqrs_store_counters(store, &c);
    return (sent){ .statements = c.statements, .round_trips = c.round_trips, .commits = c.commits };
}

int64_t lane_say(lane *l, const char *what, const pgqrs_error *error)
{
    (void)snprintf(l->why, sizeof(l->why), "%s: %s: %s", what, error->message, error->detail);
    return -1;
}

/* --- The place -------------------------------------------------------------------------------- */

/* What there is to work with says the DSN; whether it is one, the library. */
static bool place_name(bench *b)
{
    const char *dsn  = b->options->dsn;
    const char *path = strstr(dsn, "://");

    b->postgres = strncmp(dsn, "postgres://", 11) == 0 || strncmp(dsn, "postgresql://", 13) == 0;
#ifdef PGQRS_HAVE_TURSO
    b->turso = strncmp(dsn, "turso:", 6) == 0;
#endif
#ifdef PGQRS_HAVE_SQLITE
    b->sqlite    = !b->postgres;
    b->same_file = strncmp(dsn, "sqlite://", 9) == 0;
#endif
    (void)snprintf(b->schema, sizeof(b->schema), "pgqrs_bench_%ld_%" PRIx64, (long)getpid(),
                   (uint64_t)bench_now_ns()); /* other machines have processes of this number */
    if (strlen(dsn) + 32 > sizeof(b->place)) {
        bench_fail(b, "the DSN is too long");
        return false;
    }
    b->apart = b->postgres || (path != NULL && path[3] != '\0');
    if (b->postgres || path == NULL || path[3] == '\0') {
        (void)snprintf(b->place, sizeof(b->place), "%s", dsn);
        return true;
    }
    (void)snprintf(b->place, sizeof(b->place), "%s-bench-%ld", dsn, (long)getpid());
    b->file = b->place + (path + 3 - dsn);
    return true;
}

/* Empty tables in a place of our own. */
static bool place_make(bench *b)
{
    pgqrs_error error;

    b->store = bench_open(b);
    if (b->store == NULL)
        return false;
#ifdef PGQRS_HAVE_POSTGRES
    if (b->postgres && !pg_make_place(b))
        return false;
    b->made = b->postgres;
#endif
    return bench_ok(b, pgqrs_install(b->store, &error), "install", &error);
}

static void place_drop(bench *b)
{
    static const char *const suffixes[] = { "",     "-wal",     "-shm",     "-pgqrs", "-journal",
                                            "-raw", "-raw-wal", "-raw-shm", "-bare",  "-bare-wal" };

    pgqrs_close(b->store);
    b->store = NULL;
#ifdef PGQRS_HAVE_POSTGRES
    if (b->made)
        pg_drop_place(b);
    b->made = false;
#endif
    for (size_t i = 0; b->file != NULL && i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char name[600];

        (void)snprintf(name, sizeof(name), "%s%s", b->file, suffixes[i]);
        (void)unlink(name);
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

static void tell(const bench *b, const contest *c, size_t number, size_t count, int round)
{
    char text[160] = "";

    if (b->options->progress == NULL)
        return;
    if (c != NULL)
        (void)snprintf(text, sizeof(text), "%zu of %zu: %s, round %d of %d", number, count, c->name,
                       round, b->rounds);
    b->options->progress(text);
}

/* Every round lets each job run once, in turns that begin with another job each time. */
static bool contest_run(bench *b, contest *c, size_t number, size_t count)
{
    const double seconds = b->seconds;
    bool         good    = true;

    if (c->seconds > 0)
        b->seconds = c->seconds;
    for (int r = 0; good && r < b->rounds; r++) {
        tell(b, c, number, count, r + 1);
        for (int i = 0; good && i < c->njobs; i++) {
            int at = (i + r) % c->njobs;

            good = trial_run(b, &c->jobs[at], &c->trials[at][r]);
        }
        if (good)
            c->rounds = r + 1;
    }
    tell(b, NULL, 0, 0, 0);
    b->seconds = seconds;
    return good;
}

/* Every contest begins with empty tables. */
static bool contest_do(bench *b, contest *c, size_t number, size_t count)
{
    const bench_options *o = b->options;
    pgqrs_error          error;
    bool                 good = place_make(b);

    if (good && b->about == NULL) {
        good = bench_ok(b, pgqrs_store_describe(b->store, &b->about, &error), "describe", &error);
        if (good && !o->json)
            report_header(b, o->out);
    }
    good = good && contest_run(b, c, number, count);
    place_drop(b);
    if (good && o->json)
        report_json(b, c, o->out);
    else if (good)
        report_contest(c, o->out);
    (void)fflush(o->out);
    return good;
}

static bool run_all(bench *b, contest *contests, size_t count)
{
    const bench_options *o = b->options;

    b->meters = meters_open(b);
    for (size_t i = 0; b->meters != NULL && i < count; i++)
        if (!contest_do(b, &contests[i], i + 1, count))
            return false;
    if (b->meters == NULL)
        return false;
    if (o->svg != NULL && !report_svg(b, contests, count, o->svg)) {
        bench_fail(b, "could not write \"%s\"", o->svg);
        return false;
    }
    return true;
}

/* Until everything is cleared away, signals are only noted; one that is ignored stays so. */
static void signals_catch(struct sigaction before[3], bool restore)
{
    static const int       numbers[] = { SIGINT, SIGTERM, SIGHUP };
    const struct sigaction action    = { .sa_handler = on_signal };

    for (size_t i = 0; i < 3; i++) {
        if (restore)
            (void)sigaction(numbers[i], &before[i], NULL);
        else if (sigaction(numbers[i], NULL, &before[i]) == 0 && before[i].sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
    }
}

bench_result bench_main(const bench_options *options, int *out_signal, pgqrs_error *error)
{
    bench            b = { .options = options,
                           .rounds  = options->rounds > 0 ? options->rounds
                                      : options->quick    ? 3
                                                          : 5,
                           .seconds = options->seconds > 0 ? options->seconds
                                      : options->quick     ? 0.2
                                                           : 1 };
    struct sigaction before[3];
    contest         *contests;
    size_t           count = 0;
    bool             good  = place_name(&b);

    caught   = 0;
    contests = good ? plan_make(&b, &count) : NULL;
    if (good && contests == NULL) {
        bench_fail(&b, "out of memory");
        good = false;
    }
    if (good && count == 0) {
        free(contests);
        return BENCH_NOTHING;
    }
    signals_catch(before, false);
    good = good && run_all(&b, contests, count);
    signals_catch(before, true);
    meters_close(b.meters);
    pgqrs_description_free(b.about);
    free(contests);
    *out_signal = (int)caught;
    *error      = b.error;
    return caught != 0 ? BENCH_STOPPED : good ? BENCH_DONE : BENCH_FAILED;
}
