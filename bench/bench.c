/* Options, the place the benchmark works in, and the run over all contests. */
#include "bench.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: pgqrs-bench [OPTION ...] DSN\n"
    "Measures this library on a database, against baselines in the same run. It works in a schema\n"
    "of its own (SQLite: a file of its own beside the one named), which is dropped at the end.\n"
    "  --quick          fewer sizes, less than a minute\n"
    "  --large          a backlog of a million, wake-ups over a minute\n"
    "  --only TEXT      contests of this group, or with this in their name\n"
    "  --rounds N       of every contest (5; --quick: 3)\n"
    "  --seconds X      of every trial (1; --quick: 0.2)\n"
    "  --json FILE      the numbers, as JSON; - is the standard output\n"
    "  --quiet          no progress\n";

volatile sig_atomic_t bench_interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    bench_interrupted = 1;
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

    atomic_store(&b->failed, true);
    fputs("pgqrs-bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

bool bench_ok(bench *b, pgqrs_status rc, const char *what, const pgqrs_error *error)
{
    if (rc != PGQRS_OK)
        bench_fail(b, "%s: %s: %s %s", what, pgqrs_status_name(rc), error->message, error->detail);
    return rc == PGQRS_OK;
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

/* --- The place -------------------------------------------------------------------------------- */

static bool place_name(bench *b)
{
    snprintf(b->schema, sizeof(b->schema), "pgqrs_bench_%ld", (long)getpid());
    if (b->postgres)
        snprintf(b->place, sizeof(b->place), "%s", b->dsn);
    else if (strncmp(b->dsn, "sqlite://", 9) == 0)
        snprintf(b->place, sizeof(b->place), "%s-bench-%ld", b->dsn, (long)getpid());
    else {
        bench_fail(b, "cannot work on \"%s\": name postgresql://… or sqlite:///file", b->dsn);
        return false;
    }
    if (strlen(b->place) < sizeof(b->place) - 1)
        return true;
    bench_fail(b, "the DSN is too long");
    return false;
}

static bool place_make(bench *b)
{
    pgqrs_error error;

    if (!place_name(b))
        return false;
#ifdef PGQRS_HAVE_POSTGRES
    if (b->postgres && !pg_make_place(b))
        return false;
#endif
    b->store  = bench_open(b);
    b->meters = meters_open(b);
    return b->store != NULL && b->meters != NULL
           && bench_ok(b, pgqrs_install(b->store, &error), "install", &error);
}

static void place_remove_file(const char *path, const char *suffix)
{
    char name[600];

    snprintf(name, sizeof(name), "%s%s", path, suffix);
    (void)unlink(name);
}

static void place_drop(bench *b)
{
    static const char *const suffixes[] = { "",     "-wal",     "-shm",    "-pgqrs",
                                            "-raw", "-raw-wal", "-raw-shm" };

    pgqrs_close(b->store);
    meters_close(b->meters);
#ifdef PGQRS_HAVE_POSTGRES
    if (b->postgres)
        pg_drop_place(b);
#endif
    for (size_t i = 0; !b->postgres && i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        place_remove_file(b->place + strlen("sqlite://"), suffixes[i]);
}

/* --- Running ---------------------------------------------------------------------------------- */

/* Every round lets each job run once, in turns that begin with another job each time. */
static bool contest_run(bench *b, contest *c)
{
    const double seconds = b->seconds;
    bool         good    = true;

    if (c->seconds > 0)
        b->seconds = c->seconds;
    for (int r = 0; good && r < b->rounds; r++) {
        for (int i = 0; good && i < c->njobs; i++) {
            int at = (i + r) % c->njobs;

            good = trial_run(b, &c->jobs[at], &c->trials[at][r]);
        }
        if (good)
            c->rounds = r + 1;
    }
    b->seconds = seconds;
    return good;
}

static int run_all(bench *b)
{
    size_t   count    = 0;
    contest *contests = plan_make(b, &count);
    FILE    *table    = b->json != NULL && strcmp(b->json, "-") == 0 ? stderr : stdout;
    bool     good     = contests != NULL;

    report_header(b, table);
    for (size_t i = 0; good && i < count; i++) {
        if (!b->quiet && isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[K[%zu/%zu] %s", i + 1, count, contests[i].name);
        good = contest_run(b, &contests[i]);
        if (!b->quiet && isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[K");
        if (good)
            report_contest(&contests[i], table);
    }
    if (good && b->json != NULL && !report_json(b, contests, count, b->json)) {
        bench_fail(b, "could not write \"%s\"", b->json);
        good = false;
    }
    free(contests);
    return good ? 0 : 1;
}

/* --- Options ---------------------------------------------------------------------------------- */

static bool read_options(bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        { "quick", no_argument, NULL, 'q' },      { "large", no_argument, NULL, 'l' },
        { "only", required_argument, NULL, 'o' }, { "rounds", required_argument, NULL, 'r' },
        { "json", required_argument, NULL, 'j' }, { "seconds", required_argument, NULL, 's' },
        { "quiet", no_argument, NULL, 'Q' },      { NULL, 0, NULL, 0 }
    };
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'q')
            b->quick = true;
        else if (c == 'l')
            b->large = true;
        else if (c == 'Q')
            b->quiet = true;
        else if (c == 'o')
            b->only = optarg;
        else if (c == 'j')
            b->json = optarg;
        else if (c == 'r')
            b->rounds = atoi(optarg);
        else if (c == 's')
            b->seconds = strtod(optarg, NULL);
        else
            return false;
    }
    if (optind != argc - 1)
        return false;
    b->dsn      = argv[optind];
    b->postgres = strncmp(b->dsn, "postgres", 8) == 0;
    if (b->rounds == 0)
        b->rounds = b->quick ? 3 : 5;
    if (b->seconds == 0)
        b->seconds = b->quick ? 0.2 : 1;
    return b->rounds > 0 && b->rounds <= BENCH_ROUNDS && b->seconds > 0 && b->seconds <= 3600;
}

int pgqrs_bench_main(int argc, char **argv)
{
    bench            b = { 0 };
    struct sigaction before[2];
    int              code;

    if (!read_options(&b, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    (void)sigaction(SIGINT, &(struct sigaction){ .sa_handler = on_interrupt }, &before[0]);
    (void)sigaction(SIGTERM, &(struct sigaction){ .sa_handler = on_interrupt }, &before[1]);
    code = place_make(&b) ? run_all(&b) : 1;
    place_drop(&b);
    (void)sigaction(SIGINT, &before[0], NULL);
    (void)sigaction(SIGTERM, &before[1], NULL);
    return code;
}
