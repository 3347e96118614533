/* SQLite: its statements, and the table. */
#include "backend/sqlite/sqlite.h"

#include "migrations.h"

/* --- The engine --------------------------------------------------------------------------- */

static int prepare(pgqrs__conn *conn, const char *sql, bool kept, void **out_stmt,
                   const char **out_tail)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v3(conn->handle, sql, -1, kept ? SQLITE_PREPARE_PERSISTENT : 0, &stmt,
                                out_tail);

    *out_stmt = stmt;
    return rc;
}

static void drop(void *stmt)
{
    (void)sqlite3_finalize(stmt);
}

static int columns(void *stmt)
{
    return sqlite3_column_count(stmt);
}

static int bind(pgqrs__conn *conn, void *stmt, int at, const pgqrs__val *v)
{
    (void)conn;
    switch (v->kind) {
    case PGQRS__KIND_NULL:
        return sqlite3_bind_null(stmt, at);
    case PGQRS__KIND_INT:
        return sqlite3_bind_int64(stmt, at, v->as.i);
    case PGQRS__KIND_REAL:
        return sqlite3_bind_double(stmt, at, v->as.f);
    case PGQRS__KIND_TEXT:
        return sqlite3_bind_text64(stmt, at, v->len > 0 ? v->as.text : "", v->len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    }
    return SQLITE_MISUSE;
}

static int step(pgqrs__conn *conn, void *stmt)
{
    int rc = sqlite3_step(stmt);

    (void)conn;
    return rc == SQLITE_ROW ? PGQRS__ENGINE_ROW : rc == SQLITE_DONE ? PGQRS__ENGINE_OK : rc;
}

static int64_t changed(pgqrs__conn *conn, void *stmt)
{
    (void)stmt;
    return sqlite3_changes(conn->handle);
}

static void reset(void *stmt)
{
    (void)sqlite3_reset(stmt);
}

static pgqrs__val column(void *stmt, int at, uint8_t type)
{
    pgqrs__val v = { .kind = PGQRS__KIND_NULL };

    switch (sqlite3_column_type(stmt, at)) {
    case SQLITE_NULL:
        break;
    case SQLITE_INTEGER:
    case SQLITE_FLOAT:
        if (type == PGQRS__TYPE_F64) {
            v.kind = PGQRS__KIND_REAL;
            v.as.f = sqlite3_column_double(stmt, at);
        } else {
            v.kind = PGQRS__KIND_INT;
            v.as.i = sqlite3_column_int64(stmt, at);
        }
        break;
    default:
        v.kind    = PGQRS__KIND_TEXT;
        v.as.text = (const char *)sqlite3_column_text(stmt, at);
        v.len     = (uint32_t)sqlite3_column_bytes(stmt, at);
    }
    return v;
}

static bool in_transaction(const pgqrs__conn *conn)
{
    return !sqlite3_get_autocommit(conn->handle);
}

/* SQLite has waited: its busy handler is ours. */
static bool is_busy(int rc)
{
    (void)rc;
    return false;
}

static const pgqrs__engine engine = {
    .name           = PGQRS__SQLITE_NAME,
    .scheme         = "sqlite",
    .sql            = pgqrs__sql_sqlite,
    .alone          = false,
    .forgets        = false,
    .check          = pgqrs__sqlite_check,
    .open_database  = pgqrs__sqlite_open_database,
    .close_database = pgqrs__sqlite_close_database,
    .open_handle    = pgqrs__sqlite_open_handle,
    .close_handle   = pgqrs__sqlite_close_handle,
    .prepare        = prepare,
    .drop           = drop,
    .columns        = columns,
    .bind           = bind,
    .step           = step,
    .changed        = changed,
    .reset          = reset,
    .column         = column,
    .in_transaction = in_transaction,
    .fail           = pgqrs__sqlite_fail,
    .commit_fail    = pgqrs__sqlite_commit_fail,
    .is_busy        = is_busy,
    .take_back      = pgqrs__sqlite_take_back,
};

/* --- The table ---------------------------------------------------------------------------- */

static const char *const schemes[] = { "sqlite:", NULL };

static pgqrs_status open_database(const char *dsn, const pgqrs__settings *settings,
                                  pgqrs__db **out_db, pgqrs_error *error)
{
    return pgqrs__embedded_open(&engine, dsn, settings, out_db, error);
}

static pgqrs_status adopt(void *native, const pgqrs__settings *settings, pgqrs__db **out_db,
                          pgqrs__conn **out_conn, pgqrs_error *error)
{
    return pgqrs__sqlite_adopt(&engine, native, settings, out_db, out_conn, error);
}

const pgqrs__backend pgqrs__backend_sqlite = {
    .name             = "sqlite",
    .caps             = 0,
    .sql              = pgqrs__sql_sqlite,
    .migrations       = pgqrs__migrations_sqlite,
    .migrations_count = &pgqrs__migrations_sqlite_count,
    .schemes          = schemes,
    .open             = open_database,
    .close            = pgqrs__embedded_close,
    .connect          = pgqrs__embedded_connect,
    .disconnect       = pgqrs__embedded_disconnect,
    .usable           = pgqrs__embedded_usable,
    .run              = pgqrs__embedded_run,
    .adopt            = adopt,
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
    .describe         = pgqrs__sqlite_describe,
    .prepare          = pgqrs__embedded_check_statement,
    .wait             = pgqrs__embedded_wait,
    .wake             = pgqrs__embedded_wake,
    .channel          = pgqrs__embedded_channel,
    .counters         = pgqrs__embedded_counters,
};
