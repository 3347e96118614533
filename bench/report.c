/* What a contest gave, and the table of it for people. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static spread spread_of(double *values, int count)
{
    if (count == 0)
        return (spread){ 0, 0, 0 };
    qsort(values, (size_t)count, sizeof(*values), compare);
    return (spread){ values[0],
                     count % 2 != 0 ? values[count / 2]
                                    : (values[count / 2 - 1] + values[count / 2]) / 2,
                     values[count - 1] };
}

static double field_of(const trial *t, size_t offset)
{
    double value;

    memcpy(&value, (const char *)t + offset, sizeof(value));
    return value;
}

spread contest_field(const contest *c, int job_index, size_t offset)
{
    double values[BENCH_ROUNDS];

    for (int r = 0; r < c->rounds; r++)
        values[r] = field_of(&c->trials[job_index][r], offset);
    return spread_of(values, c->rounds);
}

static double measured(measure what, const trial *t)
{
    switch (what) {
    case MEASURE_RATE:
        return t->rate;
    case MEASURE_P50:
        return t->p50_us;
    case MEASURE_TAIL:
        return t->p50_us > 0 ? t->max_us / t->p50_us : 0;
    case MEASURE_LEAST:
        return t->least;
    case MEASURE_STATEMENTS:
        return t->statements;
    case MEASURE_COMMITS:
        return t->commits;
    case MEASURE_WAL:
        return t->wal_bytes;
    case MEASURE_CLIENT:
        return t->client_us;
    case MEASURE_CPU:
        return t->client_us + (t->server_us < 0 ? 0 : t->server_us);
    case MEASURE_RSS:
        return t->rss_mb;
    }
    return 0;
}

spread contest_ratio(const contest *c, int i)
{
    const ratio *of = &c->ratios[i];
    double       values[BENCH_ROUNDS];

    for (int r = 0; r < c->rounds; r++) {
        const double value = measured(of->what, &c->trials[of->of][r]);
        const double other = of->against < 0 ? 1 : measured(of->what, &c->trials[of->against][r]);

        if (of->what == MEASURE_RSS)
            values[r] = value - other;
        else
            values[r] = other == 0 ? 0 : value / other;
    }
    return spread_of(values, c->rounds);
}

bool ratio_met(const ratio *r, double median)
{
    return r->target == 0 || (r->at_most ? median <= r->target : median >= r->target);
}

const char *measure_text(measure what)
{
    static const char *const texts[] = { [MEASURE_RATE] = "rate",
                                         [MEASURE_P50]  = "p50",
                                         [MEASURE_TAIL] = "slowest to median",
                                         [MEASURE_LEAST] =
                                             "the slower caller's share of the faster one's",
                                         [MEASURE_STATEMENTS] = "statements each",
                                         [MEASURE_COMMITS]    = "commits each",
                                         [MEASURE_WAL]        = "WAL bytes each",
                                         [MEASURE_CLIENT]     = "client CPU us each",
                                         [MEASURE_CPU]        = "CPU, client and server",
                                         [MEASURE_RSS]        = "memory, MB" };

    return texts[what];
}

/* --- The table -------------------------------------------------------------------------------- */

void report_header(const bench *b, FILE *to)
{
    (void)fprintf(to, "pgqrs %s on %s %s, %ld processors, %d rounds of %.2g s\n", pgqrs_version(),
                  b->about->backend, b->about->version, sysconf(_SC_NPROCESSORS_ONLN), b->rounds,
                  b->seconds);
    (void)fputs("medians; of ratios, the lowest and the highest round behind it; CPU in us, of an "
                "operation\n",
                to);
}

static void cell(FILE *to, int width, int digits, double value)
{
    if (value < 0)
        (void)fprintf(to, " %*s", width, "-");
    else
        (void)fprintf(to, " %*.*f", width, digits, value);
}

static void report_job(const contest *c, int i, FILE *to)
{
    static const struct {
        size_t offset;
        int    width, digits;
    } cells[] = { { TRIAL_FIELD(rate), 9, 0 },        { TRIAL_FIELD(p50_us), 8, 0 },
                  { TRIAL_FIELD(p99_us), 8, 0 },      { TRIAL_FIELD(max_us), 8, 0 },
                  { TRIAL_FIELD(client_us), 8, 2 },   { TRIAL_FIELD(server_us), 8, 2 },
                  { TRIAL_FIELD(wal_bytes), 6, 0 },   { TRIAL_FIELD(statements), 7, 3 },
                  { TRIAL_FIELD(round_trips), 7, 3 }, { TRIAL_FIELD(commits), 7, 3 },
                  { TRIAL_FIELD(rss_mb), 6, 1 } };

    (void)fprintf(to, "  %-11s", c->jobs[i].name);
    for (size_t k = 0; k < sizeof(cells) / sizeof(cells[0]); k++) {
        const double value  = contest_field(c, i, cells[k].offset).median;
        const int    digits = cells[k].digits == 0 && value < 10 ? 1 : cells[k].digits;

        cell(to, cells[k].width, value >= 1000 ? 0 : digits, value);
    }
    (void)fputc('\n', to);
}

static void report_ratio(const contest *c, int i, FILE *to)
{
    const ratio *r = &c->ratios[i];
    const spread s = contest_ratio(c, i);

    (void)fprintf(to, "  %s: %s", measure_text(r->what), c->jobs[r->of].name);
    if (r->against >= 0)
        (void)fprintf(to, " %s %s", r->what == MEASURE_RSS ? "-" : "/", c->jobs[r->against].name);
    (void)fprintf(to, " = %.3g (%.3g..%.3g)", s.median, s.low, s.high);
    if (r->target != 0)
        (void)fprintf(to, ", target %s %.3g: %s", r->at_most ? "<=" : ">=", r->target,
                      ratio_met(r, s.median) ? "met" : "MISSED");
    (void)fputc('\n', to);
}

void report_contest(const contest *c, FILE *to)
{
    (void)fprintf(to, "\n%s\n", c->name);
    (void)fprintf(to, "  %-11s %9s %8s %8s %8s %8s %8s %6s %7s %7s %7s %6s\n", c->unit, "a second",
                  "p50 us", "p99 us", "max us", "client", "server", "WAL B", "stmts", "trips",
                  "commits", "RSS MB");
    for (int i = 0; i < c->njobs; i++)
        report_job(c, i, to);
    for (int i = 0; i < c->nratios; i++)
        report_ratio(c, i, to);
}
