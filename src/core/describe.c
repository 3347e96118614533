/* Looking without touching: what installing would do, and what the database is. */
#include "core/install.h"

#include "util/buf.h"

/* Each is one block: the public struct first, and what it points to in the arena. */
typedef struct plan {
    pgqrs_plan   visible;
    pgqrs__arena arena;
} plan;

typedef struct description {
    pgqrs_description visible;
    pgqrs__arena      arena;
} description;

void pgqrs_plan_free(pgqrs_plan *visible)
{
    plan *whole = (plan *)visible;

    if (whole == NULL)
        return;
    pgqrs__arena_free(&whole->arena);
    pgqrs__free(whole);
}

void pgqrs_description_free(pgqrs_description *visible)
{
    description *whole = (description *)visible;

    if (whole == NULL)
        return;
    pgqrs__arena_free(&whole->arena);
    pgqrs__free(whole);
}

/* Take a connection and read what is applied. */
static pgqrs_status look(pgqrs_store *store, int64_t deadline_us, pgqrs__rows *applied,
                         pgqrs__conn **out_conn, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__conn_take(store, deadline_us, out_conn, error);

    if (rc != PGQRS_OK)
        return rc;
    return pgqrs__applied_read(store, *out_conn, PGQRS__MODE_READ, deadline_us, applied, error);
}

static int version_of(const pgqrs__rows *applied)
{
    const pgqrs__applied *last =
        applied->count == 0 ? NULL : pgqrs__rows_at(applied, applied->count - 1);

    return last == NULL ? 0 : last->version;
}

/* --- The plan --------------------------------------------------------------------------------- */

/* A text of ours as an SQL literal. */
static void literal(pgqrs__buf *out, const char *text)
{
    pgqrs__buf_char(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            pgqrs__buf_char(out, '\'');
        pgqrs__buf_char(out, *text);
    }
    pgqrs__buf_char(out, '\'');
}

/* What apply() in install.c does. */
static void write_migration(const pgqrs_store *store, pgqrs__conn *conn,
                            const pgqrs__migration *migration, pgqrs__buf *out)
{
    pgqrs__buf_printf(out, "\n-- migration %d: %s\n", migration->version, migration->name);
    store->backend->script_text(conn, migration->sql, out);
    if (out->len > 0 && out->data[out->len - 1] != '\n')
        pgqrs__buf_char(out, '\n');
    store->backend->script_text(conn,
                                "INSERT INTO @schema.pgqrs_migrations"
                                " (version, name, checksum, oldest_library, applied_at)\nVALUES (",
                                out);
    pgqrs__buf_printf(out, "%d, ", migration->version);
    literal(out, migration->name);
    pgqrs__buf_str(out, ", ");
    literal(out, migration->checksum);
    pgqrs__buf_str(out, ", ");
    literal(out, migration->oldest_library);
    pgqrs__buf_printf(out, ", %s);\n", store->backend->now_sql);
}

static pgqrs_status write_script(const pgqrs_store *store, pgqrs__conn *conn, size_t from,
                                 const pgqrs_plan_options *options, int64_t deadline_us,
                                 pgqrs__buf *out, pgqrs_error *error)
{
    bool         roles = options->producer_role != NULL || options->worker_role != NULL;
    size_t       known = *store->backend->migrations_count;
    pgqrs_status rc;

    if (from >= known && !roles)
        return PGQRS_OK;
    rc = store->backend->script_begin(conn, out, deadline_us, error);
    if (rc != PGQRS_OK)
        return rc;
    for (size_t i = from; i < known; i++)
        write_migration(store, conn, &store->backend->migrations[i], out);
    if (roles) {
        pgqrs__buf_str(out, "\n-- roles\n");
        rc = store->backend->script_grant(conn, options->producer_role, options->worker_role, out,
                                          deadline_us, error);
    }
    pgqrs__buf_str(out, "\nCOMMIT;\n");
    return rc;
}

static pgqrs_status plan_fill(const pgqrs_store *store, plan *whole, const pgqrs__rows *applied,
                              const pgqrs__buf *sql, pgqrs_error *error)
{
    size_t           known = *store->backend->migrations_count;
    size_t           count = known > applied->count ? known - applied->count : 0;
    pgqrs_migration *list  = pgqrs__arena_calloc(&whole->arena, count, sizeof(*list));
    const char      *text  = pgqrs__arena_copy(&whole->arena, sql->data, sql->len);

    if (list == NULL || text == NULL || sql->failed)
        return pgqrs__nomem(error);
    for (size_t i = 0; i < count; i++) {
        const pgqrs__migration *migration = &store->backend->migrations[applied->count + i];

        list[i] = (pgqrs_migration){ .version = migration->version, .name = migration->name };
    }
    whole->visible = (pgqrs_plan){
        .from_version = version_of(applied),
        .to_version   = count > 0 ? list[count - 1].version : version_of(applied),
        .count        = count,
        .migrations   = list,
        .sql          = text,
    };
    return PGQRS_OK;
}

pgqrs_status pgqrs_install_plan(pgqrs_store *store, const pgqrs_plan_options *given,
                                pgqrs_plan **out_plan, pgqrs_error *error)
{
    pgqrs_plan_options options;
    pgqrs__rows       *applied = NULL;
    pgqrs__conn       *conn    = NULL;
    plan              *whole   = NULL;
    pgqrs__buf         sql     = { 0 };
    int64_t            deadline_us;
    pgqrs_status       rc;

    if (out_plan != NULL)
        *out_plan = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__not_adopted(store, "pgqrs_install_plan()", error)) != PGQRS_OK
        || (rc = pgqrs__tx_guard(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_plan, "out_plan", error)) != PGQRS_OK
        || (rc = PGQRS__OPTIONS_READ(&options, given, "plan", error)) != PGQRS_OK
        || ((options.producer_role != NULL || options.worker_role != NULL)
            && (rc = pgqrs__roles_check(store, options.producer_role, options.worker_role, error))
                   != PGQRS_OK))
        return rc;
    deadline_us = pgqrs__deadline(store);
    applied     = pgqrs__rows_new(sizeof(pgqrs__applied));
    whole       = pgqrs__calloc(1, sizeof(*whole));
    if (applied == NULL || whole == NULL) {
        rc = pgqrs__nomem(error);
        goto done;
    }
    rc = look(store, deadline_us, applied, &conn, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__applied_check(store, applied, error);
    if (rc == PGQRS_OK)
        rc = write_script(store, conn, applied->count, &options, deadline_us, &sql, error);
    if (rc == PGQRS_OK)
        rc = plan_fill(store, whole, applied, &sql, error);
    if (rc != PGQRS_OK)
        goto done;
    *out_plan = &whole->visible;
    whole     = NULL;
    pgqrs__ok(error);
done:
    if (conn != NULL)
        pgqrs__conn_give(store, conn);
    pgqrs__buf_free(&sql);
    pgqrs_plan_free((pgqrs_plan *)whole);
    pgqrs__rows_free(applied);
    return rc;
}

/* --- The description -------------------------------------------------------------------------- */

/* Lines, each ended by a newline, as an array of texts. */
static pgqrs_status warnings_split(description *whole, const pgqrs__buf *lines, pgqrs_error *error)
{
    char        *text  = pgqrs__arena_copy(&whole->arena, lines->data, lines->len);
    size_t       count = 0;
    const char **list;

    if (text == NULL || lines->failed)
        return pgqrs__nomem(error);
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    list = pgqrs__arena_calloc(&whole->arena, count, sizeof(*list));
    if (list == NULL)
        return pgqrs__nomem(error);
    for (size_t i = 0; i < count; i++) {
        list[i] = text;
        text    = strchr(text, '\n');
        *text++ = '\0';
    }
    whole->visible.warnings       = list;
    whole->visible.warnings_count = count;
    return PGQRS_OK;
}

static pgqrs_status description_fill(const pgqrs_store *store, description *whole,
                                     const pgqrs__about *about, const pgqrs__rows *applied,
                                     pgqrs_error *error)
{
    size_t known = *store->backend->migrations_count;

    whole->visible = (pgqrs_description){
        .backend        = store->backend->name,
        .version        = pgqrs__arena_copy(&whole->arena, about->version, strlen(about->version)),
        .schema_version = version_of(applied),
        .needed_version = known == 0 ? 0 : store->backend->migrations[known - 1].version,
    };
    if (about->schema[0] != '\0')
        whole->visible.schema =
            pgqrs__arena_copy(&whole->arena, about->schema, strlen(about->schema));
    if (whole->visible.version == NULL
        || (about->schema[0] != '\0' && whole->visible.schema == NULL))
        return pgqrs__nomem(error);
    return warnings_split(whole, &about->warnings, error);
}

pgqrs_status pgqrs_store_describe(pgqrs_store *store, pgqrs_description **out_description,
                                  pgqrs_error *error)
{
    pgqrs__rows *applied = NULL;
    pgqrs__conn *conn    = NULL;
    description *whole   = NULL;
    pgqrs__about about   = { .version = "" };
    int64_t      deadline_us;
    pgqrs_status rc;

    if (out_description != NULL)
        *out_description = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__tx_guard(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_description, "out_description", error)) != PGQRS_OK)
        return rc;
    deadline_us = pgqrs__deadline(store);
    applied     = pgqrs__rows_new(sizeof(pgqrs__applied));
    whole       = pgqrs__calloc(1, sizeof(*whole));
    if (applied == NULL || whole == NULL) {
        rc = pgqrs__nomem(error);
        goto done;
    }
    rc = look(store, deadline_us, applied, &conn, error);
    if (rc == PGQRS_OK)
        rc = store->backend->describe(conn, &about, deadline_us, error);
    if (rc == PGQRS_OK)
        rc = description_fill(store, whole, &about, applied, error);
    if (rc != PGQRS_OK)
        goto done;
    *out_description = &whole->visible;
    whole            = NULL;
    pgqrs__ok(error);
done:
    if (conn != NULL)
        pgqrs__conn_give(store, conn);
    pgqrs__buf_free(&about.warnings);
    pgqrs_description_free((pgqrs_description *)whole);
    pgqrs__rows_free(applied);
    return rc;
}
