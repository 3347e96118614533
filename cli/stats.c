/* workers, workers purge, stats. */
#include "cli.h"

#include <inttypes.h>

static void worker_document(const pgqrs_worker_record *worker, const cli_names *names)
{
    cli_document *d = cli_document_new();

    cli_document_int(d, "id", worker->id);
    cli_document_text(d, "name", worker->name);
    cli_document_text(d, "hostname", worker->hostname);
    cli_document_text(d, "status", pgqrs_worker_status_name(worker->status));
    cli_document_text(d, "queue",
                      worker->queue_id == 0 ? NULL : cli_names_get(names, worker->queue_id));
    cli_document_time(d, "started_at", worker->started_at_us);
    cli_document_time(d, "heartbeat_at", worker->heartbeat_at_us);
    cli_document_print(d);
}

static cli_style worker_style(pgqrs_worker_status status)
{
    switch (status) {
    case PGQRS_WORKER_READY:
    case PGQRS_WORKER_POLLING:
        return STYLE_GOOD;
    case PGQRS_WORKER_SUSPENDED:
    case PGQRS_WORKER_INTERRUPTED:
        return STYLE_WAITING;
    case PGQRS_WORKER_STOPPED:
        return STYLE_DIM;
    }
    return STYLE_PLAIN;
}

static void worker_row(cli_table *table, const pgqrs_worker_record *worker, const cli_names *names)
{
    int64_t silent_us = cli_now_us() - worker->heartbeat_at_us;
    char    text[CLI_TIME_BYTES];

    cli_table_addf(table, STYLE_BOLD, "%" PRId64, worker->id);
    cli_table_add(table, worker_style(worker->status), pgqrs_worker_status_name(worker->status));
    cli_table_add(table, STYLE_PLAIN,
                  worker->queue_id == 0 ? "-" : cli_names_get(names, worker->queue_id));
    cli_table_add(table, STYLE_PLAIN, cli_time_short(worker->started_at_us, text));
    cli_table_addf(table, STYLE_PLAIN, "%s ago",
                   cli_duration_text(silent_us < 0 ? 0 : silent_us, text));
    cli_table_add(table, STYLE_PLAIN, worker->hostname);
    cli_table_add(table, STYLE_PLAIN, worker->name);
}

cli_exit cli_run_workers(cli *c)
{
    static const cli_column columns[] = {
        { "ID", true },        { "STATUS", false }, { "QUEUE", false }, { "STARTED", false },
        { "HEARTBEAT", true }, { "HOST", false },   { "NAME", false },
    };
    pgqrs_worker_records *workers = NULL;
    cli_names             names   = { NULL };
    cli_table            *table;
    pgqrs_error           error;
    cli_exit              rc = cli_open(c);

    if (rc == CLI_OK)
        rc = cli_names_read(c, &names);
    if (rc != CLI_OK)
        return rc;
    if (pgqrs_worker_list(c->store, &workers, &error) != PGQRS_OK) {
        cli_names_free(&names);
        return cli_fail(c, &error);
    }
    table = cli_table_new(columns, CLI_COUNT(columns));
    for (size_t i = 0; i < pgqrs_worker_records_count(workers); i++) {
        if (c->json)
            worker_document(pgqrs_worker_records_at(workers, i), &names);
        else
            worker_row(table, pgqrs_worker_records_at(workers, i), &names);
    }
    if (pgqrs_worker_records_count(workers) == 0)
        cli_say(c, "there are no workers");
    else if (!c->json)
        cli_table_print(table);
    cli_table_free(table);
    pgqrs_worker_records_free(workers);
    cli_names_free(&names);
    return CLI_OK;
}

/* --- workers purge ---------------------------------------------------------------------------- */

cli_exit cli_run_workers_purge(cli *c)
{
    int64_t       silent_us = 0;
    int64_t       stopped   = 0;
    pgqrs_error   error;
    cli_document *d;
    cli_exit      rc;

    if (c->values[FLAG_SILENT] == NULL)
        return cli_usage(c, NULL, "\"workers purge\" needs --silent DURATION");
    if (!cli_read_duration(c, FLAG_SILENT, &silent_us))
        return CLI_USAGE;
    rc = cli_open(c);
    if (rc != CLI_OK)
        return rc;
    if (pgqrs_worker_purge_stale(c->store, silent_us, 0, &stopped, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    cli_say(c, "stopped %" PRId64 " worker%s", stopped, stopped == 1 ? "" : "s");
    if (c->json) {
        d = cli_document_new();
        cli_document_int(d, "stopped", stopped);
        cli_document_print(d);
    }
    return CLI_OK;
}

/* --- stats ------------------------------------------------------------------------------------ */

static void stats_document(const pgqrs_queue *queue, const pgqrs_queue_metrics *count)
{
    cli_document *d = cli_document_new();

    cli_document_text(d, "queue", queue->name);
    cli_document_bool(d, "workflow", queue->workflow);
    cli_document_bool(d, "paused", queue->paused);
    cli_document_int(d, "ready", count->ready);
    cli_document_int(d, "scheduled", count->scheduled);
    cli_document_int(d, "leased", count->leased);
    cli_document_int(d, "done", count->done);
    cli_document_int(d, "dead", count->dead);
    cli_document_int(d, "oldest_us", count->oldest_us);
    cli_document_print(d);
}

static void stats_row(cli_table *table, const pgqrs_queue *queue, const pgqrs_queue_metrics *count)
{
    char text[CLI_TIME_BYTES];

    cli_table_addf(table, STYLE_PLAIN, "%" PRId64, count->ready);
    cli_table_addf(table, STYLE_PLAIN, "%" PRId64, count->scheduled);
    cli_table_addf(table, count->leased > 0 ? STYLE_ACTIVE : STYLE_PLAIN, "%" PRId64,
                   count->leased);
    cli_table_addf(table, STYLE_PLAIN, "%" PRId64, count->done);
    cli_table_addf(table, count->dead > 0 ? STYLE_BAD : STYLE_PLAIN, "%" PRId64, count->dead);
    cli_table_add(table, STYLE_PLAIN,
                  count->ready == 0 ? "-" : cli_duration_text(count->oldest_us, text));
    cli_table_add(table, STYLE_PLAIN, queue->workflow ? "workflow" : "queue");
    cli_table_add(table, queue->paused ? STYLE_WAITING : STYLE_PLAIN,
                  queue->paused ? "paused" : "open");
    cli_table_add(table, STYLE_BOLD, queue->name);
}

static cli_exit count_queues(cli *c, const pgqrs_queues *queues, bool one, cli_table *table)
{
    size_t shown = 0;

    for (size_t i = 0; i < pgqrs_queues_count(queues); i++) {
        const pgqrs_queue  *queue = pgqrs_queues_at(queues, i);
        pgqrs_queue_metrics count;
        pgqrs_error         error;

        if (pgqrs_queue_measure(c->store, queue->name, &count, &error) != PGQRS_OK) {
            if (error.status == PGQRS_ENOTFOUND && !one) /* deleted meanwhile */
                continue;
            return cli_fail(c, &error);
        }
        if (c->json)
            stats_document(queue, &count);
        else
            stats_row(table, queue, &count);
        shown++;
    }
    if (shown == 0)
        cli_say(c, "there are no queues");
    else if (!c->json)
        cli_table_print(table);
    return CLI_OK;
}

cli_exit cli_run_stats(cli *c)
{
    static const cli_column columns[] = {
        { "READY", true }, { "SCHEDULED", true }, { "LEASED", true },
        { "DONE", true },  { "DEAD", true },      { "OLDEST", true },
        { "KIND", false }, { "STATE", false },    { "QUEUE", false },
    };
    bool          one    = c->arguments_count > 0;
    pgqrs_queues *queues = NULL;
    cli_table    *table;
    pgqrs_error   error;
    pgqrs_status  status;
    cli_exit      rc = cli_open(c);

    if (rc != CLI_OK)
        return rc;
    status = one ? pgqrs_queue_get(c->store, c->arguments[0], &queues, &error)
                 : pgqrs_queue_list(c->store, &queues, &error);
    if (status != PGQRS_OK)
        return cli_fail(c, &error);
    table = cli_table_new(columns, CLI_COUNT(columns));
    rc    = count_queues(c, queues, one, table);
    cli_table_free(table);
    pgqrs_queues_free(queues);
    return rc;
}
