/* bench: the benchmark, on any store. */
#include "cli.h"

#include <signal.h>
#include <string.h>

#include "bench/bench.h"

static void show(const char *text)
{
    (void)fprintf(stderr, "\r\033[K%.*s", cli_term.width - 1, text);
    (void)fflush(stderr);
}

static cli_exit read_options(const cli *c, bench_options *options)
{
    int64_t rounds  = 0;
    double  seconds = 0;

    if (c->values[FLAG_SCHEMA] != NULL)
        return cli_usage(c, NULL, "\"bench\" takes no flag --schema: it makes one and drops it");
    if (!cli_read_int(c, FLAG_ROUNDS, 1, BENCH_ROUNDS, &rounds)
        || !cli_read_real(c, FLAG_SECONDS, &seconds))
        return CLI_USAGE;
    if (c->values[FLAG_SECONDS] != NULL && !(seconds >= 0.05 && seconds <= 600))
        return cli_usage(c, NULL, "--seconds is \"%s\": it must be 0.05 to 600",
                         c->values[FLAG_SECONDS]);
    if (c->values[FLAG_QUICK] != NULL && c->values[FLAG_LARGE] != NULL)
        return cli_usage(c, NULL, "--quick and --large contradict each other");
    options->rounds  = (int)rounds;
    options->seconds = seconds;
    return CLI_OK;
}

static cli_exit nothing_called(const cli *c)
{
    char   hint[256] = "The groups are ";
    size_t len       = strlen(hint);

    for (size_t i = 0; bench_groups[i] != NULL && len < sizeof(hint); i++)
        len += (size_t)snprintf(hint + len, sizeof(hint) - len, "%s%s", bench_groups[i],
                                bench_groups[i + 1] == NULL ? "." : ", ");
    return cli_usage(c, hint, "nothing that is measured is called \"%s\"", c->values[FLAG_ONLY]);
}

cli_exit cli_run_bench(cli *c)
{
    bench_options options = { .only     = c->values[FLAG_ONLY],
                              .svg      = c->values[FLAG_SVG],
                              .quick    = c->values[FLAG_QUICK] != NULL,
                              .large    = c->values[FLAG_LARGE] != NULL,
                              .json     = c->json,
                              .out      = stdout,
                              .progress = cli_term.err_tty ? show : NULL };
    int           number  = 0;
    pgqrs_error   error;
    cli_exit      rc = read_options(c, &options);

    if (rc == CLI_OK)
        rc = cli_find_dsn(c, &options.dsn);
    if (rc != CLI_OK)
        return rc;
    switch (bench_main(&options, &number, &error)) {
    case BENCH_DONE:
        return CLI_OK;
    case BENCH_FAILED:
        return cli_fail(c, &error);
    case BENCH_NOTHING:
        return nothing_called(c);
    case BENCH_STOPPED:
        (void)cli_flush(c);
        (void)raise(number); /* what was made is gone: end as whoever sent it expects */
        break;
    }
    return CLI_FAILED;
}
