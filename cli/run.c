/* run ls, run cancel; cancel. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 100

void cli_document_run(cli_document *d, const pgqrs_run_record *run, const char *workflow)
{
    cli_document_int(d, "id", run->id);
    cli_document_text(d, "workflow", workflow);
    cli_document_text(d, "status", pgqrs_run_status_name(run->status));
    cli_document_bool(d, "dead", run->dead);
    cli_document_int(d, "attempt", run->attempt);
    cli_document_time(d, "created_at", run->created_at_us);
    cli_document_time(d, "updated_at", run->updated_at_us);
    cli_document_time(d, "resumes_at", run->resumes_at_us);
    cli_document_json(d, "input", run->input);
    cli_document_json(d, "output", run->output);
    cli_document_json(d, "error", run->error);
}

static void add_row(cli_table *table, const pgqrs_run_record *run, const char *workflow)
{
    char  text[CLI_TIME_BYTES];
    char *said = run->error != NULL    ? cli_json_error(run->error)
                 : run->output != NULL ? cli_json_line(run->output)
                                       : NULL; /* it has not ended */

    cli_table_addf(table, STYLE_BOLD, "%" PRId64, run->id);
    cli_table_add(table, STYLE_PLAIN, workflow);
    cli_table_addf(table, cli_run_style(run->status), "%s%s", pgqrs_run_status_name(run->status),
                   run->dead ? " (dead)" : "");
    cli_table_addf(table, STYLE_PLAIN, "%d", run->attempt);
    cli_table_add(table, STYLE_PLAIN, cli_time_short(run->created_at_us, text));
    cli_table_add(table, STYLE_PLAIN, cli_time_short(run->updated_at_us, text));
    cli_table_add(table, run->error != NULL ? STYLE_BAD : STYLE_PLAIN, said == NULL ? "" : said);
    free(said);
}

static cli_exit list_pages(cli *c, const cli_names *names, pgqrs_run_list_options options,
                           int64_t left, cli_table *table)
{
    const char *workflow = c->arguments_count > 0 ? c->arguments[0] : NULL;
    int64_t     listed   = 0;
    size_t      found;

    do {
        pgqrs_run_records *page = NULL;
        pgqrs_error        error;

        options.limit = left < PAGE ? (int)left : PAGE;
        if (pgqrs_run_list(c->store, workflow, &options, &page, &error) != PGQRS_OK)
            return cli_fail(c, &error);
        found = pgqrs_run_records_count(page);
        for (size_t i = 0; i < found; i++) {
            const pgqrs_run_record *run  = pgqrs_run_records_at(page, i);
            const char             *name = cli_names_get(names, run->workflow_id);

            if (c->json) {
                cli_document *d = cli_document_new();

                cli_document_run(d, run, name);
                cli_document_print(d);
            } else {
                add_row(table, run, name);
            }
            options.after_id = run->id;
        }
        pgqrs_run_records_free(page);
        if (!c->json && found > 0)
            cli_table_print(table);
        if (!cli_flush(c))
            return CLI_FAILED;
        listed += (int64_t)found;
        left -= (int64_t)found;
    } while (found == PAGE && left > 0);
    if (listed == 0)
        cli_say(c, "there are no such runs");
    return CLI_OK;
}

cli_exit cli_run_run_ls(cli *c)
{
    static const cli_column columns[] = {
        { "ID", true },       { "WORKFLOW", false }, { "STATUS", false }, { "ATTEMPT", true },
        { "CREATED", false }, { "UPDATED", false },  { "RESULT", false },
    };
    const char            *statuses[PGQRS_RUN_CANCELLED];
    pgqrs_run_list_options options = { .struct_size = sizeof(options) };
    int64_t                limit   = INT64_MAX;
    cli_names              names   = { NULL };
    cli_table             *table;
    size_t                 chosen = 0;
    cli_exit               rc;

    for (int i = PGQRS_RUN_QUEUED; i <= PGQRS_RUN_CANCELLED; i++)
        statuses[i - 1] = pgqrs_run_status_name((pgqrs_run_status)i);
    if (!cli_read_int(c, FLAG_LIMIT, 1, INT64_MAX, &limit)
        || !cli_read_int(c, FLAG_AFTER, 0, INT64_MAX, &options.after_id)
        || (c->values[FLAG_STATUS] != NULL
            && !cli_read_word(c, FLAG_STATUS, statuses, CLI_COUNT(statuses), &chosen)))
        return CLI_USAGE;
    if (c->values[FLAG_STATUS] != NULL)
        options.status = (pgqrs_run_status)(chosen + 1);
    rc = cli_open(c);
    if (rc == CLI_OK)
        rc = cli_names_read(c, &names);
    if (rc != CLI_OK)
        return rc;
    table = cli_table_new(columns, CLI_COUNT(columns));
    rc    = list_pages(c, &names, options, limit, table);
    cli_table_free(table);
    cli_names_free(&names);
    return rc;
}

/* --- cancel ----------------------------------------------------------------------------------- */

/* A message, or a run as such. */
static cli_exit cancel(cli *c, int64_t id, bool run)
{
    const char        *kind  = run ? "run" : "message";
    pgqrs_run_records *found = NULL;
    pgqrs_state        state;
    pgqrs_error        error;
    cli_document      *d;

    if (run && pgqrs_run_get(c->store, id, &found, &error) != PGQRS_OK) /* a message is none */
        return cli_fail(c, &error);
    pgqrs_run_records_free(found);
    if (pgqrs_cancel(c->store, id, &state, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c,
            state == PGQRS_STATE_LEASED ? "%s %" PRId64 " will end when its worker hears of it"
                                        : "%s %" PRId64 " is cancelled",
            kind, id);
    if (!c->json)
        return CLI_OK;
    d = cli_document_new();
    cli_document_int(d, "id", id);
    if (run) {
        cli_document_text(d, "status", state == PGQRS_STATE_LEASED ? "cancelling" : "cancelled");
    } else {
        cli_document_text(d, "state", pgqrs_state_name(state));
        cli_document_bool(d, "cancelled", true);
    }
    cli_document_print(d);
    return CLI_OK;
}

/* Each on its own: one that has ended does not keep the others from being asked for. */
static cli_exit cancel_all(cli *c, bool run)
{
    int64_t  id;
    cli_exit rc;

    for (size_t i = 0; i < c->arguments_count; i++) {
        if (!cli_read_id(c, c->arguments[i], &id))
            return CLI_USAGE;
    }
    rc = cli_open(c);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < c->arguments_count; i++) {
        cli_exit one;

        (void)cli_read_id(c, c->arguments[i], &id);
        one = cancel(c, id, run);
        if (rc == CLI_OK)
            rc = one;
        if (!cli_may_go_on(one))
            break;
    }
    return rc;
}

cli_exit cli_run_run_cancel(cli *c)
{
    return cancel_all(c, true);
}

cli_exit cli_run_cancel(cli *c)
{
    return cancel_all(c, false);
}
