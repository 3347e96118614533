/* queue ls, create, configure, delete, pause, resume, purge; dead purge. */
#include "cli.h"

#include <inttypes.h>

static void queue_document(const pgqrs_queue *queue)
{
    cli_document *d = cli_document_new();

    cli_document_int(d, "id", queue->id);
    cli_document_text(d, "queue", queue->name);
    cli_document_bool(d, "workflow", queue->workflow);
    cli_document_bool(d, "paused", queue->paused);
    cli_document_int(d, "lease_us", queue->lease_us);
    cli_document_int(d, "max_attempts", queue->max_attempts);
    cli_document_int(d, "backoff_us", queue->backoff_us);
    cli_document_real(d, "backoff_factor", queue->backoff_factor);
    cli_document_int(d, "backoff_max_us", queue->backoff_max_us);
    if (queue->retention_us == PGQRS_FOREVER)
        cli_document_text(d, "retention_us", NULL);
    else
        cli_document_int(d, "retention_us", queue->retention_us);
    cli_document_time(d, "created_at", queue->created_at_us);
    cli_document_print(d);
}

static void queue_row(cli_table *table, const pgqrs_queue *queue)
{
    char text[CLI_TIME_BYTES];

    cli_table_add(table, STYLE_BOLD, queue->name);
    cli_table_add(table, STYLE_PLAIN, queue->workflow ? "workflow" : "queue");
    cli_table_add(table, queue->paused ? STYLE_WAITING : STYLE_PLAIN,
                  queue->paused ? "paused" : "open");
    cli_table_add(table, STYLE_PLAIN, cli_duration_text(queue->lease_us, text));
    cli_table_addf(table, STYLE_PLAIN, "%d", queue->max_attempts);
    cli_table_add(table, STYLE_PLAIN, cli_duration_text(queue->backoff_us, text));
    cli_table_add(table, STYLE_PLAIN, cli_duration_text(queue->retention_us, text));
    cli_table_add(table, STYLE_PLAIN, cli_time_short(queue->created_at_us, text));
}

cli_exit cli_run_queue_ls(cli *c)
{
    static const cli_column columns[] = {
        { "QUEUE", false },   { "KIND", false },   { "STATE", false },    { "LEASE", true },
        { "ATTEMPTS", true }, { "BACKOFF", true }, { "RETENTION", true }, { "CREATED", false },
    };
    pgqrs_queues *queues = NULL;
    cli_table    *table;
    pgqrs_error   error;
    cli_exit      rc = cli_open(c);

    if (rc != CLI_OK)
        return rc;
    if (pgqrs_queue_list(c->store, &queues, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    table = cli_table_new(columns, CLI_COUNT(columns));
    for (size_t i = 0; i < pgqrs_queues_count(queues); i++) {
        if (c->json)
            queue_document(pgqrs_queues_at(queues, i));
        else
            queue_row(table, pgqrs_queues_at(queues, i));
    }
    if (pgqrs_queues_count(queues) == 0)
        cli_say(c, "there are no queues");
    else if (!c->json)
        cli_table_print(table);
    cli_table_free(table);
    pgqrs_queues_free(queues);
    return CLI_OK;
}

/* --- create ----------------------------------------------------------------------------------- */

static cli_exit read_settings(const cli *c, pgqrs_queue_options *options)
{
    int64_t attempts = 0;

    *options = (pgqrs_queue_options){ .struct_size = sizeof(*options) };
    if (!cli_read_duration(c, FLAG_LEASE, &options->lease_us)
        || !cli_read_int(c, FLAG_ATTEMPTS, 1, 1000, &attempts)
        || !cli_read_duration(c, FLAG_BACKOFF, &options->backoff_us)
        || !cli_read_real(c, FLAG_BACKOFF_FACTOR, &options->backoff_factor)
        || !cli_read_duration(c, FLAG_BACKOFF_MAX, &options->backoff_max_us)
        || !cli_read_duration(c, FLAG_RETENTION, &options->retention_us))
        return CLI_USAGE;
    options->max_attempts = (int)attempts;
    return CLI_OK;
}

/* Whether a queue of this name exists. */
static cli_exit look_for(cli *c, const char *name, bool *out_there)
{
    pgqrs_queues *found = NULL;
    pgqrs_error   error;
    pgqrs_status  status = pgqrs_queue_get(c->store, name, &found, &error);

    pgqrs_queues_free(found);
    *out_there = status == PGQRS_OK;
    return status == PGQRS_OK || status == PGQRS_ENOTFOUND ? CLI_OK : cli_fail(c, &error);
}

static cli_exit create(cli *c, const char *name, const pgqrs_queue_options *options, bool *out_made)
{
    bool         workflow = c->values[FLAG_WORKFLOW] != NULL;
    bool         ensure   = c->values[FLAG_IF_MISSING] != NULL;
    bool         there    = false;
    pgqrs_status status;
    pgqrs_error  error;
    cli_exit     rc = CLI_OK;

    *out_made = true;
    if (workflow || ensure)
        rc = look_for(c, name, &there);
    if (rc != CLI_OK)
        return rc;
    if (there && !ensure)
        return cli_refuse(c, CLI_REFUSED, "With --if-missing it is left as it is.",
                          "\"%s\" exists already", name);
    *out_made = !there;
    if (workflow)
        status = pgqrs_workflow_ensure(c->store, name, options, &error);
    else if (ensure)
        status = pgqrs_queue_ensure(c->store, name, options, &error);
    else
        status = pgqrs_queue_create(c->store, name, options, &error);
    return status == PGQRS_OK ? CLI_OK : cli_fail(c, &error);
}

cli_exit cli_run_queue_create(cli *c)
{
    const char         *name = c->arguments[0];
    const char         *kind = c->values[FLAG_WORKFLOW] != NULL ? "workflow" : "queue";
    pgqrs_queue_options options;
    cli_document       *d;
    bool                made = false;
    cli_exit            rc   = read_settings(c, &options);

    if (rc == CLI_OK)
        rc = cli_open(c);
    if (rc == CLI_OK)
        rc = create(c, name, &options, &made);
    if (rc != CLI_OK)
        return rc;
    cli_say(c, made ? "created %s \"%s\"" : "%s \"%s\" was there", kind, name);
    if (c->json) {
        d = cli_document_new();
        cli_document_text(d, "queue", name);
        cli_document_bool(d, "created", made);
        cli_document_print(d);
    }
    return CLI_OK;
}

/* --- configure -------------------------------------------------------------------------------- */

cli_exit cli_run_queue_configure(cli *c)
{
    const char         *name   = c->arguments[0];
    pgqrs_queues       *queues = NULL;
    pgqrs_queue_options options;
    pgqrs_error         error;
    bool                any = false;
    cli_exit            rc;

    for (size_t i = 0; i < FLAG_COUNT; i++)
        any |= c->values[i] != NULL && (c->command->flags & CLI_BIT(i)) != 0;
    if (!any)
        return cli_usage(c, NULL, "\"queue configure\" needs a setting to change");
    rc = read_settings(c, &options);
    if (rc == CLI_OK)
        rc = cli_open(c);
    if (rc != CLI_OK)
        return rc;
    if (pgqrs_queue_configure(c->store, name, &options, &error) != PGQRS_OK
        || pgqrs_queue_get(c->store, name, &queues, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c, "configured \"%s\"", name);
    if (c->json)
        queue_document(pgqrs_queues_at(queues, 0));
    pgqrs_queues_free(queues);
    return CLI_OK;
}

/* --- Everything else about one queue ---------------------------------------------------------- */

static void done_document(const cli *c, const char *name, const char *what, int64_t count)
{
    cli_document *d;

    if (!c->json)
        return;
    d = cli_document_new();
    cli_document_text(d, "queue", name);
    if (count >= 0)
        cli_document_int(d, what, count);
    else
        cli_document_bool(d, what, true);
    cli_document_print(d);
}

/* What of a queue is to go. */
typedef enum scope { SCOPE_ALL, SCOPE_WAITING, SCOPE_DEAD } scope;

static bool ask(cli *c, scope what, int64_t most, const pgqrs_queue_metrics *count)
{
    const char *name    = c->arguments[0];
    int64_t     waiting = count->ready + count->scheduled;

    switch (what) {
    case SCOPE_ALL:
        return cli_confirm(c,
                           "Delete \"%s\" with %" PRId64 " waiting, %" PRId64 " leased and %" PRId64
                           " ended messages?",
                           name, waiting, count->leased, count->done + count->dead);
    case SCOPE_WAITING:
        return cli_confirm(c, "Remove %" PRId64 " waiting messages of \"%s\"?", waiting, name);
    case SCOPE_DEAD:
    default:
        return cli_confirm(c, "Remove %" PRId64 " dead letters of \"%s\" for good?",
                           count->dead < most ? count->dead : most, name);
    }
}

/* Opens the store, and asks before something is lost: at most so much of it. */
static cli_exit confirm(cli *c, scope what, int64_t most)
{
    pgqrs_queue_metrics count;
    pgqrs_error         error;
    cli_exit            rc;

    if (!cli_may_ask(c))
        return CLI_REFUSED;
    rc = cli_open(c);
    if (rc != CLI_OK || c->values[FLAG_YES] != NULL)
        return rc;
    if (pgqrs_queue_measure(c->store, c->arguments[0], &count, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    return ask(c, what, most, &count) ? CLI_OK : CLI_REFUSED;
}

cli_exit cli_run_queue_delete(cli *c)
{
    const char *name = c->arguments[0];
    pgqrs_error error;
    cli_exit    rc = confirm(c, SCOPE_ALL, INT64_MAX);

    if (rc != CLI_OK)
        return rc;
    if (pgqrs_queue_delete(c->store, name, c->values[FLAG_FORCE] != NULL, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c, "deleted \"%s\"", name);
    done_document(c, name, "deleted", -1);
    return CLI_OK;
}

cli_exit cli_run_queue_purge(cli *c)
{
    const char *name  = c->arguments[0];
    int64_t     count = 0;
    pgqrs_error error;
    cli_exit    rc = confirm(c, SCOPE_WAITING, INT64_MAX);

    if (rc != CLI_OK)
        return rc;
    if (pgqrs_queue_purge(c->store, name, &count, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c, "removed %" PRId64 " message%s of \"%s\"", count, count == 1 ? "" : "s", name);
    done_document(c, name, "purged", count);
    return CLI_OK;
}

cli_exit cli_run_dead_purge(cli *c)
{
    const char *name  = c->arguments[0];
    int64_t     limit = 0; /* all */
    int64_t     count = 0;
    pgqrs_error error;
    cli_exit    rc;

    if (!cli_read_int(c, FLAG_LIMIT, 1, INT64_MAX, &limit))
        return CLI_USAGE;
    rc = confirm(c, SCOPE_DEAD, limit > 0 ? limit : INT64_MAX);
    if (rc != CLI_OK)
        return rc;
    if (pgqrs_dead_purge(c->store, name, limit, &count, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c, "removed %" PRId64 " dead letter%s of \"%s\"", count, count == 1 ? "" : "s", name);
    done_document(c, name, "purged", count);
    return CLI_OK;
}

cli_exit cli_run_queue_pause(cli *c)
{
    pgqrs_error error;
    cli_exit    rc = cli_open(c);

    if (rc != CLI_OK)
        return rc;
    if (pgqrs_queue_pause(c->store, c->arguments[0], &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c, "paused \"%s\"", c->arguments[0]);
    done_document(c, c->arguments[0], "paused", -1);
    return CLI_OK;
}

cli_exit cli_run_queue_resume(cli *c)
{
    pgqrs_error error;
    cli_exit    rc = cli_open(c);

    if (rc != CLI_OK)
        return rc;
    if (pgqrs_queue_resume(c->store, c->arguments[0], &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c, "resumed \"%s\"", c->arguments[0]);
    done_document(c, c->arguments[0], "resumed", -1);
    return CLI_OK;
}
