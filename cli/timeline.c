/* The steps of a run, one below the other, each with a bar where its time was. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BAR_MAX     40
#define BAR_LEAST   10
#define NAME_WIDEST 40

static const char *status_name(pgqrs_step_status status)
{
    switch (status) {
    case PGQRS_STEP_SUCCESS:
        return "success";
    case PGQRS_STEP_ERROR:
        return "error";
    case PGQRS_STEP_RETRY:
        return "retry";
    }
    return "?";
}

static cli_style status_style(pgqrs_step_status status)
{
    switch (status) {
    case PGQRS_STEP_SUCCESS:
        return STYLE_GOOD;
    case PGQRS_STEP_ERROR:
        return STYLE_BAD;
    case PGQRS_STEP_RETRY:
        return STYLE_WAITING;
    }
    return STYLE_PLAIN;
}

static int64_t duration_us(const pgqrs_step_record *step)
{
    int64_t us = step->finished_at_us - step->started_at_us;

    return step->started_at_us == 0 || step->finished_at_us == 0 || us < 0 ? 0 : us;
}

void cli_document_steps(cli_document *d, const pgqrs_step_records *steps)
{
    char  *list = NULL;
    size_t len  = 0;
    FILE  *out  = cli_need(open_memstream(&list, &len));

    (void)fputc('[', out);
    for (size_t i = 0; i < pgqrs_step_records_count(steps); i++) {
        const pgqrs_step_record *step = pgqrs_step_records_at(steps, i);
        cli_document            *one  = cli_document_new();
        char                    *text;

        cli_document_text(one, "name", step->name);
        cli_document_text(one, "status", status_name(step->status));
        cli_document_int(one, "retries", step->retries);
        cli_document_time(one, "started_at", step->started_at_us);
        cli_document_time(one, "finished_at", step->finished_at_us);
        cli_document_time(one, "retry_at", step->retry_at_us);
        cli_document_int(one, "duration_us", duration_us(step));
        cli_document_json(one, "output", step->output);
        cli_document_json(one, "error", step->error);
        text = cli_document_finish(one);
        (void)fprintf(out, "%s%s", i == 0 ? "" : ",", text);
        free(text);
    }
    (void)fputc(']', out);
    (void)fclose(out);
    cli_document_json(d, "steps", cli_need(list));
    free(list);
}

/* --- Drawing ---------------------------------------------------------------------------------- */

typedef struct span {
    int64_t from_us;
    int64_t to_us;
    size_t  width; /* of the bars */
} span;

static span span_of(const pgqrs_step_records *steps, size_t before)
{
    span   s    = { .from_us = INT64_MAX };
    size_t room = (size_t)cli_term.width > before ? (size_t)cli_term.width - before : 0;

    for (size_t i = 0; i < pgqrs_step_records_count(steps); i++) {
        const pgqrs_step_record *step = pgqrs_step_records_at(steps, i);

        if (step->started_at_us == 0)
            continue;
        if (step->started_at_us < s.from_us)
            s.from_us = step->started_at_us;
        if (step->started_at_us + duration_us(step) > s.to_us)
            s.to_us = step->started_at_us + duration_us(step);
    }
    s.width = room > BAR_MAX ? BAR_MAX : room < BAR_LEAST ? BAR_LEAST : room;
    return s;
}

/* At least one mark, at the right place. */
static void bar(const span *s, const pgqrs_step_record *step)
{
    double total = (double)(s->to_us - s->from_us);
    double scale = total > 0 ? (double)s->width / total : 0;
    size_t first, last;

    if (step->started_at_us == 0)
        return;
    first = (size_t)((double)(step->started_at_us - s->from_us) * scale);
    last  = (size_t)((double)(step->started_at_us + duration_us(step) - s->from_us) * scale);
    if (first >= s->width)
        first = s->width - 1;
    if (last <= first)
        last = first + 1;
    (void)printf("  %*s%s", (int)first, "", cli_style_begin(status_style(step->status)));
    for (size_t i = first; i < last && i < s->width; i++)
        (void)fputs(cli_term.utf8 ? "\xe2\x96\x88" : "#", stdout);
    (void)fputs(cli_style_end(status_style(step->status)), stdout);
}

static void status_text(const pgqrs_step_record *step, char out[48])
{
    const char *name  = status_name(step->status);
    const bool  waits = step->status == PGQRS_STEP_RETRY;

    if (waits && step->retries == 0 && step->error == NULL)
        (void)snprintf(out, 48, "asleep");
    else if (waits)
        (void)snprintf(out, 48, "%s %d", name, step->retries);
    else if (step->retries > 0)
        (void)snprintf(out, 48, "%s, %d %s", name, step->retries,
                       step->retries == 1 ? "retry" : "retries");
    else
        (void)snprintf(out, 48, "%s", name);
}

/* "12:00:00.123" */
static const char *clock_text(int64_t us, char out[CLI_TIME_BYTES])
{
    if (us == 0)
        return "-";
    (void)cli_time_text(us, out);
    out[23] = '\0';
    return out + 11;
}

static void step_line(const span *s, const pgqrs_step_record *step, size_t name_width,
                      size_t status_width)
{
    char   status[48], started[CLI_TIME_BYTES], took[CLI_TIME_BYTES];
    char  *name = cli_text_clean(step->name);
    char  *said = cli_json_error(step->error);
    size_t wide;

    status_text(step, status);
    (void)fputs("  ", stdout);
    wide = cli_text_print(stdout, name, name_width);
    (void)printf("%*s  %s%-*s%s  %-12s  %8s", (int)(name_width - wide), "",
                 cli_style_begin(status_style(step->status)), (int)status_width, status,
                 cli_style_end(status_style(step->status)),
                 clock_text(step->started_at_us, started),
                 cli_duration_text(duration_us(step), took));
    bar(s, step);
    (void)fputc('\n', stdout);
    if (said != NULL) {
        char *clean = cli_text_clean(said);

        (void)printf("    %s%s%s\n", cli_style_begin(STYLE_BAD), clean, cli_style_end(STYLE_BAD));
        free(clean);
    }
    free(said);
    free(name);
}

void cli_timeline(const pgqrs_step_records *steps)
{
    size_t count        = pgqrs_step_records_count(steps);
    size_t name_width   = 4;
    size_t status_width = 6;
    span   s;

    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        const pgqrs_step_record *step = pgqrs_step_records_at(steps, i);
        char                    *name = cli_text_clean(step->name);
        char                     status[48];

        status_text(step, status);
        if (cli_text_width(name) > name_width)
            name_width = cli_text_width(name);
        if (strlen(status) > status_width)
            status_width = strlen(status);
        free(name);
    }
    if (name_width > NAME_WIDEST)
        name_width = NAME_WIDEST;
    s = span_of(steps, name_width + status_width + 30);
    (void)printf("\n%s  %-*s  %-*s  %-12s  %8s%s\n", cli_style_begin(STYLE_DIM), (int)name_width,
                 "STEP", (int)status_width, "STATUS", "STARTED", "DURATION",
                 cli_style_end(STYLE_DIM));
    for (size_t i = 0; i < count; i++)
        step_line(&s, pgqrs_step_records_at(steps, i), name_width, status_width);
}
