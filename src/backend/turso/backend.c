/* Turso: its statements, and the table. */
#include "backend/turso/turso.h"

#include <stdio.h>

#include "migrations.h"

/* --- The engine --------------------------------------------------------------------------- */

static int prepare(pgqrs__conn *conn, const char *sql, bool kept, void **out_stmt,
                   const char **out_tail)
{
    turso_statement *stmt = NULL;
    const char      *text = NULL;
    size_t           tail = 0;
    int rc = pgqrs__turso.connection_prepare_first(conn->handle, sql, &stmt, &tail, &text);

    (void)kept;
    *out_stmt = stmt;
    if (rc != TURSO_OK)
        return pgqrs__turso_said(conn, rc, text);
    if (out_tail != NULL)
        *out_tail = stmt != NULL ? sql + tail : "";
    return PGQRS__ENGINE_OK;
}

/* Without turso_statement_finalize(), which would run to its end what was refused as busy. */
static void drop(void *stmt)
{
    (void)pgqrs__turso.statement_reset(stmt, NULL);
    pgqrs__turso.statement_deinit(stmt);
}

static int columns(void *stmt)
{
    return (int)pgqrs__turso.statement_column_count(stmt);
}

/* A value that is refused leaves NULL in its place, so none may be overlooked. */
static int bind(pgqrs__conn *conn, void *stmt, int at, const pgqrs__val *v)
{
    size_t place = (size_t)at;
    int    rc    = TURSO_MISUSE;

    switch (v->kind) {
    case PGQRS__KIND_NULL:
        rc = pgqrs__turso.statement_bind_positional_null(stmt, place);
        break;
    case PGQRS__KIND_INT:
        rc = pgqrs__turso.statement_bind_positional_int(stmt, place, v->as.i);
        break;
    case PGQRS__KIND_REAL:
        rc = pgqrs__turso.statement_bind_positional_double(stmt, place, v->as.f);
        break;
    case PGQRS__KIND_TEXT:
        rc = pgqrs__turso.statement_bind_positional_text(stmt, place, v->len > 0 ? v->as.text : "",
                                                         v->len);
        break;
    }
    return rc == TURSO_OK ? PGQRS__ENGINE_OK : pgqrs__turso_said(conn, rc, NULL);
}

static int step(pgqrs__conn *conn, void *stmt)
{
    const char *text = NULL;
    int         rc   = pgqrs__turso.statement_step(stmt, &text);

    if (rc == TURSO_ROW)
        return PGQRS__ENGINE_ROW;
    return rc == TURSO_DONE || rc == TURSO_OK ? PGQRS__ENGINE_OK
                                              : pgqrs__turso_said(conn, rc, text);
}

static int64_t changed(pgqrs__conn *conn, void *stmt)
{
    (void)conn;
    return pgqrs__turso.statement_n_change(stmt);
}

static void reset(void *stmt)
{
    (void)pgqrs__turso.statement_reset(stmt, NULL);
}

static pgqrs__val number(double value, uint8_t type)
{
    if (type == PGQRS__TYPE_F64)
        return (pgqrs__val){ .kind = PGQRS__KIND_REAL, .as.f = value };
    return (pgqrs__val){ .kind = PGQRS__KIND_INT, .as.i = (int64_t)value };
}

static pgqrs__val column(void *stmt, int at, uint8_t type)
{
    size_t     place = (size_t)at;
    pgqrs__val v     = { .kind = PGQRS__KIND_NULL };

    switch (pgqrs__turso.statement_row_value_kind(stmt, place)) {
    case TURSO_TYPE_INTEGER:
        v.kind = PGQRS__KIND_INT;
        v.as.i = pgqrs__turso.statement_row_value_int(stmt, place);
        if (type == PGQRS__TYPE_F64)
            v = number((double)v.as.i, type);
        break;
    case TURSO_TYPE_REAL:
        v = number(pgqrs__turso.statement_row_value_double(stmt, place), type);
        break;
    case TURSO_TYPE_TEXT:
    case TURSO_TYPE_BLOB:
        v.kind    = PGQRS__KIND_TEXT;
        v.len     = (uint32_t)pgqrs__turso.statement_row_value_bytes_count(stmt, place);
        v.as.text = v.len > 0 ? pgqrs__turso.statement_row_value_bytes_ptr(stmt, place) : "";
        break;
    default:
        break;
    }
    return v;
}

static bool in_transaction(const pgqrs__conn *conn)
{
    return !pgqrs__turso.connection_get_autocommit(conn->handle);
}

static bool is_busy(int rc)
{
    return rc == TURSO_BUSY || rc == TURSO_BUSY_SNAPSHOT;
}

static const pgqrs__engine engine = {
    .name           = PGQRS__TURSO_NAME,
    .scheme         = "turso",
    .sql            = pgqrs__sql_turso,
    .alone          = true,
    .forgets        = true,
    .check          = pgqrs__turso_check,
    .open_database  = pgqrs__turso_open_database,
    .close_database = pgqrs__turso_close_database,
    .open_handle    = pgqrs__turso_open_handle,
    .close_handle   = pgqrs__turso_close_handle,
    .prepare        = prepare,
    .drop           = drop,
    .columns        = columns,
    .bind           = bind,
    .step           = step,
    .changed        = changed,
    .reset          = reset,
    .column         = column,
    .in_transaction = in_transaction,
    .fail           = pgqrs__turso_fail,
    .commit_fail    = pgqrs__turso_commit_fail,
    .is_busy        = is_busy,
};

/* --- The table ---------------------------------------------------------------------------- */

static const char *const schemes[] = { "turso:", NULL };

static pgqrs_status open_database(const char *dsn, const pgqrs__settings *settings,
                                  pgqrs__db **out_db, pgqrs_error *error)
{
    return pgqrs__embedded_open(&engine, dsn, settings, out_db, error);
}

static pgqrs_status describe(pgqrs__conn *conn, pgqrs__about *about, int64_t deadline_us,
                             pgqrs_error *error)
{
    const char  *version, *path;
    pgqrs_status rc = pgqrs__turso_load(NULL, &version, &path, error);

    (void)conn;
    (void)deadline_us;
    if (rc == PGQRS_OK)
        (void)snprintf(about->version, sizeof about->version, "%s, from %s", version, path);
    return rc;
}

const pgqrs__backend pgqrs__backend_turso = {
    .name             = "turso",
    .caps             = 0,
    .sql              = pgqrs__sql_turso,
    .migrations       = pgqrs__migrations_turso,
    .migrations_count = &pgqrs__migrations_turso_count,
    .schemes          = schemes,
    .open             = open_database,
    .close            = pgqrs__embedded_close,
    .connect          = pgqrs__embedded_connect,
    .disconnect       = pgqrs__embedded_disconnect,
    .usable           = pgqrs__embedded_usable,
    .run              = pgqrs__embedded_run,
    .begin            = pgqrs__embedded_begin,
    .end              = pgqrs__embedded_end,
    .lend             = pgqrs__embedded_lend,
    .script           = pgqrs__embedded_script,
    .lock_install     = pgqrs__embedded_lock_install,
    .has_table        = pgqrs__embedded_has_table,
    .has_index        = pgqrs__embedded_has_index,
    .script_begin     = pgqrs__embedded_script_begin,
    .script_text      = pgqrs__embedded_script_text,
    .now_sql          = PGQRS__EMBEDDED_NOW_SQL,
    .describe         = describe,
    .prepare          = pgqrs__embedded_check_statement,
    .wait             = pgqrs__embedded_wait,
    .wake             = pgqrs__embedded_wake,
    .channel          = pgqrs__embedded_channel,
    .counters         = pgqrs__embedded_counters,
};
