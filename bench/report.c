/* What was measured: a table for people, JSON for programs. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define FIELD(name) offsetof(trial, name)

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
    case MEASURE_PER_SECOND:
        return t->statements * t->rate;
    case MEASURE_WAL:
        return t->wal_bytes;
    case MEASURE_CLIENT:
        return t->client_us;
    case MEASURE_CPU:
        return t->client_us + (t->server_us < 0 ? 0 : t->server_us);
    }
    return 0;
}

spread contest_ratio(const contest *c, int i)
{
    const ratio *of = &c->ratios[i];
    double       values[BENCH_ROUNDS];

    for (int r = 0; r < c->rounds; r++) {
        double against = of->against < 0 ? 1 : measured(of->what, &c->trials[of->against][r]);

        values[r] = against == 0 ? 0 : measured(of->what, &c->trials[of->of][r]) / against;
    }
    return spread_of(values, c->rounds);
}

bool ratio_met(const ratio *r, double median)
{
    return r->target == 0 || (r->at_most ? median <= r->target : median >= r->target);
}

static const char *measure_text(measure what)
{
    static const char *const texts[] = { [MEASURE_RATE]       = "rate",
                                         [MEASURE_P50]        = "p50",
                                         [MEASURE_PER_SECOND] = "statements/s",
                                         [MEASURE_WAL]        = "WAL bytes each",
                                         [MEASURE_CLIENT]     = "client CPU us each",
                                         [MEASURE_CPU]        = "CPU, client and server" };

    return texts[what];
}

/* --- The table -------------------------------------------------------------------------------- */

void report_header(const bench *b, FILE *to)
{
    fprintf(to,
            "pgqrs %s on %s, %d rounds of %.2g s; medians (ratios: lowest–highest of a round)\n",
            pgqrs_version(), b->postgres ? "PostgreSQL" : "SQLite", b->rounds, b->seconds);
}

static void cell(FILE *to, int width, int digits, double value)
{
    if (value < 0)
        fprintf(to, " %*s", width, "-");
    else
        fprintf(to, " %*.*f", width, digits, value);
}

void report_contest(const contest *c, FILE *to)
{
    fprintf(to, "\n%s\n", c->name);
    fprintf(to, "  %-12s %10s %9s %9s %8s %8s %8s %7s %7s %7s %7s\n", "", "per s", "p50 us",
            "p99 us", "client", "server", "WAL B", "stmts", "trips", "commits", "RSS MB");
    for (int i = 0; i < c->njobs; i++) {
        const bool ours =
            (c->jobs[i].flags & JOB_OURS) != 0 && (c->jobs[i].flags & JOB_PROCESSES) == 0;
        const bool timed = contest_field(c, i, FIELD(p50_us)).median > 0;

        fprintf(to, "  %-12s", c->jobs[i].name);
        cell(to, 10, 0, contest_field(c, i, FIELD(rate)).median);
        cell(to, 9, 0, timed ? contest_field(c, i, FIELD(p50_us)).median : -1);
        cell(to, 9, 0, timed ? contest_field(c, i, FIELD(p99_us)).median : -1);
        cell(to, 8, 2, contest_field(c, i, FIELD(client_us)).median);
        cell(to, 8, 2, contest_field(c, i, FIELD(server_us)).median);
        cell(to, 8, 0, contest_field(c, i, FIELD(wal_bytes)).median);
        cell(to, 7, 3, ours ? contest_field(c, i, FIELD(statements)).median : -1);
        cell(to, 7, 3, ours ? contest_field(c, i, FIELD(round_trips)).median : -1);
        cell(to, 7, 3, ours ? contest_field(c, i, FIELD(commits)).median : -1);
        cell(to, 7, 1, contest_field(c, i, FIELD(rss_mb)).median);
        fputc('\n', to);
    }
    for (int i = 0; i < c->nratios; i++) {
        const ratio *r = &c->ratios[i];
        const spread s = contest_ratio(c, i);

        fprintf(to, "  %s: %s", measure_text(r->what), c->jobs[r->of].name);
        if (r->against >= 0)
            fprintf(to, " / %s", c->jobs[r->against].name);
        fprintf(to, " = %.3g (%.3g–%.3g)", s.median, s.low, s.high);
        if (r->target != 0)
            fprintf(to, ", target %s %.3g: %s", r->at_most ? "<=" : ">=", r->target,
                    ratio_met(r, s.median) ? "met" : "MISSED");
        fputc('\n', to);
    }
    fflush(to);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void json_spread(FILE *to, const char *name, spread s)
{
    fprintf(to, ",\"%s\":[%.6g,%.6g,%.6g]", name, s.low, s.median, s.high);
}

static void json_job(FILE *to, const contest *c, int i)
{
    static const struct {
        const char *name;
        size_t      offset;
    } fields[] = { { "rate", FIELD(rate) },
                   { "p50_us", FIELD(p50_us) },
                   { "p99_us", FIELD(p99_us) },
                   { "client_us", FIELD(client_us) },
                   { "server_us", FIELD(server_us) },
                   { "wal_bytes", FIELD(wal_bytes) },
                   { "statements", FIELD(statements) },
                   { "round_trips", FIELD(round_trips) },
                   { "commits", FIELD(commits) },
                   { "rss_mb", FIELD(rss_mb) } };

    fprintf(to, "%s{\"name\":\"%s\",\"callers\":%d,\"size\":%d,\"processes\":%s", i == 0 ? "" : ",",
            c->jobs[i].name, c->jobs[i].callers, c->jobs[i].size,
            (c->jobs[i].flags & JOB_PROCESSES) != 0 ? "true" : "false");
    for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++)
        json_spread(to, fields[f].name, contest_field(c, i, fields[f].offset));
    fprintf(to, "}");
}

bool report_json(const bench *b, const contest *contests, size_t count, const char *path)
{
    FILE *to = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

    if (to == NULL)
        return false;
    fprintf(to,
            "{\"version\":\"%s\",\"backend\":\"%s\",\"rounds\":%d,\"seconds\":%g,\"contests\":[",
            pgqrs_version(), b->postgres ? "postgres" : "sqlite", b->rounds, b->seconds);
    for (size_t n = 0; n < count; n++) {
        const contest *c = &contests[n];

        fprintf(to, "%s\n{\"group\":\"%s\",\"name\":\"%s\",\"unit\":\"%s\",\"jobs\":[",
                n == 0 ? "" : ",", c->group, c->name, c->unit);
        for (int i = 0; i < c->njobs; i++)
            json_job(to, c, i);
        fprintf(to, "],\"ratios\":[");
        for (int i = 0; i < c->nratios; i++) {
            const ratio *r = &c->ratios[i];

            fprintf(to, "%s{\"of\":\"%s\",\"against\":\"%s\",\"measure\":\"%s\"", i == 0 ? "" : ",",
                    c->jobs[r->of].name, r->against < 0 ? "" : c->jobs[r->against].name,
                    measure_text(r->what));
            json_spread(to, "value", contest_ratio(c, i));
            fprintf(to, ",\"target\":%g,\"at_most\":%s}", r->target, r->at_most ? "true" : "false");
        }
        fprintf(to, "]}");
    }
    fprintf(to, "]}\n");
    if (to == stdout)
        return fflush(to) == 0;
    return fclose(to) == 0;
}
