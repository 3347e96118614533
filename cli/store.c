/* From --dsn or PGQRS_DSN to a store. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAYLOAD_MAX (INT64_C(64) << 20) /* what the library can be told at most */

/* Of the DSNs that name a file, and of a database in memory instead. */
static const struct {
    const char *scheme;
    const char *in_memory;
} files[] = { { "sqlite://", "sqlite::memory:" }, { "turso://", "turso::memory:" } };

enum { FILES = sizeof(files) / sizeof(files[0]) };

static const char *dsn_of(const cli *c)
{
    const char *dsn = c->values[FLAG_DSN];

    if (dsn == NULL)
        dsn = getenv("PGQRS_DSN");
    return dsn != NULL && dsn[0] != '\0' ? dsn : NULL;
}

static const char *schema_of(const cli *c)
{
    const char *schema = c->values[FLAG_SCHEMA];

    if (schema == NULL)
        schema = getenv("PGQRS_SCHEMA");
    return schema != NULL && schema[0] != '\0' ? schema : NULL;
}

bool cli_has_dsn(const cli *c)
{
    return dsn_of(c) != NULL;
}

static void on_log(void *user_data, pgqrs_log_level level, const char *text)
{
    const cli *c = user_data;

    if (level >= PGQRS_LOG_WARNING)
        cli_say(c, "pgqrs: %s", text);
}

static cli_exit open_dsn(cli *c, const char *dsn)
{
    const pgqrs_store_options options = {
        .struct_size       = sizeof(options),
        .schema            = schema_of(c),
        .max_connections   = 2,
        .max_payload_bytes = PAYLOAD_MAX,
        .log               = on_log,
        .log_data          = c,
    };
    pgqrs_error error;

    if (pgqrs_open(dsn, &options, &c->store, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    return CLI_OK;
}

/* Which of the files a DSN is of; FILES for other DSNs, and for a database in memory. */
static int kind_of(const char *dsn)
{
    int i = 0;

    while (i < FILES && strncmp(dsn, files[i].scheme, strlen(files[i].scheme)) != 0)
        i++;
    return i;
}

static const char *file_of(const char *dsn)
{
    const int kind = kind_of(dsn);

    return kind < FILES ? dsn + strlen(files[kind].scheme) : NULL;
}

static bool lacks_file(const char *file)
{
    struct stat st;

    return file != NULL && file[0] != '\0' && file[strlen(file) - 1] != '/'
           && strchr(file, '?') == NULL && strcmp(file, ":memory:") != 0 && stat(file, &st) != 0
           && errno == ENOENT;
}

cli_exit cli_find_dsn(const cli *c, const char **out_dsn)
{
    *out_dsn = dsn_of(c);
    if (*out_dsn == NULL)
        return cli_usage(c, "Give --dsn DSN, or set PGQRS_DSN.", "no store was named");
    if (c->values[FLAG_SCHEMA] != NULL
        && (strncmp(*out_dsn, "sqlite:", 7) == 0 || strncmp(*out_dsn, "turso:", 6) == 0))
        return cli_usage(c, NULL, "--schema is for PostgreSQL: a file has no schemas");
    return CLI_OK;
}

cli_exit cli_open(cli *c)
{
    const char *dsn;
    cli_exit    rc = cli_find_dsn(c, &dsn);

    if (rc != CLI_OK)
        return rc;
    /* The library would make the file: only installing shall. */
    if (c->command->run != cli_run_install && lacks_file(file_of(dsn)))
        return cli_refuse(c, CLI_SCHEMA, "Create it with \"pgqrs install\".",
                          "there is no file \"%s\"", file_of(dsn));
    return open_dsn(c, dsn);
}

cli_exit cli_open_to_plan(cli *c)
{
    const char *dsn;
    cli_exit    rc = cli_find_dsn(c, &dsn);

    if (rc != CLI_OK)
        return rc;
    return open_dsn(c, lacks_file(file_of(dsn)) ? files[kind_of(dsn)].in_memory : dsn);
}

/* --- Names of queues -------------------------------------------------------------------------- */

cli_exit cli_names_read(cli *c, cli_names *names)
{
    pgqrs_error error;

    names->queues = NULL;
    if (pgqrs_queue_list(c->store, &names->queues, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    return CLI_OK;
}

const pgqrs_queue *cli_names_find(const cli_names *names, int64_t queue_id)
{
    for (size_t i = 0; i < pgqrs_queues_count(names->queues); i++) {
        const pgqrs_queue *queue = pgqrs_queues_at(names->queues, i);

        if (queue->id == queue_id)
            return queue;
    }
    return NULL;
}

const char *cli_names_get(const cli_names *names, int64_t queue_id)
{
    const pgqrs_queue *queue = cli_names_find(names, queue_id);

    return queue == NULL ? "?" : queue->name;
}

void cli_names_free(cli_names *names)
{
    pgqrs_queues_free(names->queues);
    names->queues = NULL;
}
