/* A contest as a line of JSON. All texts are ours, and need no escapes but the database's. */
#include "bench.h"

#include <unistd.h>

static void spread_member(FILE *to, const char *name, spread s)
{
    (void)fprintf(to, ",\"%s\":[%.6g,%.6g,%.6g]", name, s.low, s.median, s.high);
}

static void job_object(FILE *to, const contest *c, int i)
{
    static const struct {
        const char *name;
        size_t      offset;
    } fields[]   = { { "rate", TRIAL_FIELD(rate) },
                     { "p50_us", TRIAL_FIELD(p50_us) },
                     { "p99_us", TRIAL_FIELD(p99_us) },
                     { "max_us", TRIAL_FIELD(max_us) },
                     { "samples", TRIAL_FIELD(samples) },
                     { "client_cpu_us", TRIAL_FIELD(client_us) },
                     { "server_cpu_us", TRIAL_FIELD(server_us) },
                     { "wal_bytes", TRIAL_FIELD(wal_bytes) },
                     { "statements", TRIAL_FIELD(statements) },
                     { "round_trips", TRIAL_FIELD(round_trips) },
                     { "commits", TRIAL_FIELD(commits) },
                     { "rss_mb", TRIAL_FIELD(rss_mb) } };
    const job *j = &c->jobs[i];

    (void)fprintf(to, "%s{\"name\":\"%s\",\"callers\":%d,\"size\":%d,\"processes\":%s",
                  i == 0 ? "" : ",", j->name, j->callers, j->size,
                  (j->flags & JOB_PROCESSES) != 0 ? "true" : "false");
    for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
        const spread s = contest_field(c, i, fields[f].offset);

        if (s.median < 0)
            (void)fprintf(to, ",\"%s\":null", fields[f].name);
        else
            spread_member(to, fields[f].name, s);
    }
    (void)fputc('}', to);
}

static void ratio_object(FILE *to, const contest *c, int i)
{
    const ratio *r = &c->ratios[i];
    const spread s = contest_ratio(c, i);

    (void)fprintf(to, "%s{\"of\":\"%s\",\"against\":", i == 0 ? "" : ",", c->jobs[r->of].name);
    if (r->against < 0)
        (void)fputs("null", to);
    else
        (void)fprintf(to, "\"%s\"", c->jobs[r->against].name);
    (void)fprintf(to, ",\"measure\":\"%s\"", measure_text(r->what));
    spread_member(to, "value", s);
    if (r->target == 0)
        (void)fputs(",\"target\":null}", to);
    else
        (void)fprintf(to, ",\"target\":%g,\"at_most\":%s,\"met\":%s}", r->target,
                      r->at_most ? "true" : "false", ratio_met(r, s.median) ? "true" : "false");
}

static void text(FILE *to, const char *s)
{
    (void)fputc('"', to);
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < ' ')
            continue;
        if (*s == '"' || *s == '\\')
            (void)fputc('\\', to);
        (void)fputc(*s, to);
    }
    (void)fputc('"', to);
}

void report_json(const bench *b, const contest *c, FILE *to)
{
    (void)fprintf(to, "{\"group\":\"%s\",\"name\":\"%s\",\"unit\":\"%s\",\"library\":\"%s\"",
                  c->group, c->name, c->unit, pgqrs_version());
    (void)fprintf(to, ",\"backend\":\"%s\",\"version\":", b->about->backend);
    text(to, b->about->version);
    (void)fprintf(to, ",\"processors\":%ld,\"rounds\":%d,\"seconds\":%g,\"jobs\":[",
                  sysconf(_SC_NPROCESSORS_ONLN), c->rounds,
                  c->seconds > 0 ? c->seconds : b->seconds);
    for (int i = 0; i < c->njobs; i++)
        job_object(to, c, i);
    (void)fputs("],\"ratios\":[", to);
    for (int i = 0; i < c->nratios; i++)
        ratio_object(to, c, i);
    (void)fputs("]}\n", to);
}
