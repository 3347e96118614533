/* show, run show: one message, or one run with its steps. */
#include "cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define LABEL 10

static void label(const char *name)
{
    (void)printf("%s%-*s%s ", cli_style_begin(STYLE_DIM), LABEL, name, cli_style_end(STYLE_DIM));
}

static void text_line(const char *name, cli_style style, const char *text)
{
    char *clean;

    if (text == NULL)
        return;
    clean = cli_text_clean(text);
    label(name);
    (void)printf("%s%s%s\n", cli_style_begin(style), clean, cli_style_end(style));
    free(clean);
}

static void time_line(const char *name, int64_t us)
{
    char text[CLI_TIME_BYTES];

    if (us != 0)
        text_line(name, STYLE_PLAIN, cli_time_text(us, text));
}

static void number_line(const char *name, int64_t number)
{
    label(name);
    (void)printf("%" PRId64 "\n", number);
}

static void json_line(const char *name, const char *json)
{
    if (json == NULL)
        return;
    label(name);
    cli_json_pretty(stdout, json, LABEL + 1);
    (void)fputc('\n', stdout);
}

/* --- A message -------------------------------------------------------------------------------- */

static void message_words(const pgqrs_record *record, const char *queue)
{
    label("message");
    (void)printf("%s%" PRId64 "%s\n", cli_style_begin(STYLE_BOLD), record->id,
                 cli_style_end(STYLE_BOLD));
    text_line("queue", STYLE_PLAIN, queue);
    text_line("state", cli_state_style(record->state), pgqrs_state_name(record->state));
    if (record->cancelled && record->state == PGQRS_STATE_LEASED)
        text_line("cancel", STYLE_WAITING, "asked for");
    number_line("priority", record->priority);
    number_line("attempt", record->attempt);
    time_line("enqueued", record->enqueued_at_us);
    time_line("claimed", record->claimed_at_us);
    time_line("visible", record->visible_at_us);
    time_line("expires", record->expires_at_us);
    time_line("finished", record->finished_at_us);
    if (record->producer != 0)
        number_line("producer", record->producer);
    if (record->owner != 0)
        number_line("owner", record->owner);
    text_line("reason", STYLE_PLAIN, record->reason);
    text_line("note", STYLE_PLAIN, record->note);
    json_line("headers", record->headers);
    json_line("payload", record->payload);
    json_line("output", record->output);
    json_line("error", record->error);
}

/* --- A run ------------------------------------------------------------------------------------ */

static void run_words(const pgqrs_run_record *run, const char *workflow)
{
    label("run");
    (void)printf("%s%" PRId64 "%s\n", cli_style_begin(STYLE_BOLD), run->id,
                 cli_style_end(STYLE_BOLD));
    text_line("workflow", STYLE_PLAIN, workflow);
    label("status");
    (void)printf("%s%s%s%s\n", cli_style_begin(cli_run_style(run->status)),
                 pgqrs_run_status_name(run->status), run->dead ? " (dead: replayable)" : "",
                 cli_style_end(cli_run_style(run->status)));
    number_line("attempt", run->attempt);
    time_line("created", run->created_at_us);
    time_line("updated", run->updated_at_us);
    time_line("resumes", run->resumes_at_us);
    json_line("input", run->input);
    json_line("output", run->output);
    json_line("error", run->error);
}

static cli_exit show_run(cli *c, int64_t id, const cli_names *names)
{
    pgqrs_run_records      *runs  = NULL;
    pgqrs_step_records     *steps = NULL;
    const pgqrs_run_record *run;
    const char             *workflow;
    pgqrs_error             error;
    cli_document           *d;

    if (pgqrs_run_get(c->store, id, &runs, &error) != PGQRS_OK
        || pgqrs_step_list(c->store, id, &steps, &error) != PGQRS_OK) {
        pgqrs_run_records_free(runs);
        return cli_fail(c, &error);
    }
    run      = pgqrs_run_records_at(runs, 0);
    workflow = cli_names_get(names, run->workflow_id);
    if (c->json) {
        d = cli_document_new();
        cli_document_run(d, run, workflow);
        cli_document_steps(d, steps);
        cli_document_print(d);
    } else {
        run_words(run, workflow);
        cli_timeline(steps);
    }
    pgqrs_step_records_free(steps);
    pgqrs_run_records_free(runs);
    return CLI_OK;
}

static cli_exit show_message(cli *c, const pgqrs_record *record, const cli_names *names)
{
    const char   *queue = cli_names_get(names, record->queue_id);
    cli_document *d;

    if (!c->json) {
        message_words(record, queue);
        return CLI_OK;
    }
    d = cli_document_new();
    cli_document_record(d, record, queue);
    cli_document_print(d);
    return CLI_OK;
}

/* Whatever has this id. */
static cli_exit show(cli *c, int64_t id, const cli_names *names)
{
    pgqrs_records     *found = NULL;
    const pgqrs_queue *queue;
    pgqrs_error        error;
    cli_exit           rc;

    if (pgqrs_message_get(c->store, id, &found, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    queue = cli_names_find(names, pgqrs_records_at(found, 0)->queue_id);
    rc    = queue != NULL && queue->workflow ? show_run(c, id, names)
                                             : show_message(c, pgqrs_records_at(found, 0), names);
    pgqrs_records_free(found);
    return rc;
}

static cli_exit show_with(cli *c, cli_exit (*how)(cli *c, int64_t id, const cli_names *names))
{
    cli_names names = { NULL };
    int64_t   id;
    cli_exit  rc;

    if (!cli_read_id(c, c->arguments[0], &id))
        return CLI_USAGE;
    rc = cli_open(c);
    if (rc == CLI_OK)
        rc = cli_names_read(c, &names);
    if (rc == CLI_OK)
        rc = how(c, id, &names);
    cli_names_free(&names);
    return rc;
}

cli_exit cli_run_show(cli *c)
{
    return show_with(c, show);
}

cli_exit cli_run_run_show(cli *c)
{
    return show_with(c, show_run);
}
