/* The table: SQLite, one writer at a time, whose turns are given by backend/filelock.h. */
#include "backend/sqlite/sqlite.h"

#include <string.h>

#include "migrations.h"
#include "util/alloc.h"
#include "util/buf.h"
#include "util/error.h"
#include "util/failpoint.h"

static const char *const schemes[] = { "sqlite:", NULL };

static bool usable(pgqrs__conn *conn)
{
    return !conn->broken && !conn->open;
}

/* The handle of a database in memory is everybody's: it is used in turns, also outside of
 * transactions. */
static pgqrs_status enter(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    conn->deadline_us = deadline_us;
    if (conn->db->path != NULL || conn->open)
        return PGQRS_OK;
    return pgqrs__filelock_take(conn->db->lock, deadline_us, error);
}

static void leave(pgqrs__conn *conn)
{
    if (conn->db->path == NULL && !conn->open)
        pgqrs__filelock_yield(conn->db->lock);
}

static pgqrs_status run_script(pgqrs__conn *conn, const char *sql, pgqrs_error *error)
{
    while (*sql != '\0') {
        sqlite3_stmt *stmt = NULL;
        pgqrs_status  status;
        int           rc = sqlite3_prepare_v2(conn->handle, sql, -1, &stmt, &sql);

        if (rc == SQLITE_OK && stmt == NULL) /* white space */
            continue;
        PGQRS__FAILPOINT("before a statement of a script");
        while (rc == SQLITE_OK || rc == SQLITE_ROW)
            rc = sqlite3_step(stmt);
        PGQRS__FAILPOINT("statement of a script done");
        status = rc == SQLITE_DONE ? PGQRS_OK : pgqrs__sqlite_fail(conn, rc, "script", error);
        (void)sqlite3_finalize(stmt);
        if (status != PGQRS_OK)
            return status;
    }
    return PGQRS_OK;
}

/* There are no schemas here: the token goes. */
static void script_text(pgqrs__conn *conn, const char *sql, pgqrs__buf *out)
{
    static const char token[] = "@schema.";
    const char       *at;

    (void)conn;
    for (; (at = strstr(sql, token)) != NULL; sql = at + strlen(token))
        pgqrs__buf_add(out, sql, (size_t)(at - sql));
    pgqrs__buf_str(out, sql);
}

static pgqrs_status script_begin(pgqrs__conn *conn, pgqrs__buf *out, int64_t deadline_us,
                                 pgqrs_error *error)
{
    (void)conn;
    (void)deadline_us;
    (void)error;
    pgqrs__buf_str(out, "BEGIN IMMEDIATE;\n");
    return PGQRS_OK;
}

static pgqrs_status script(pgqrs__conn *conn, const char *sql, int64_t deadline_us,
                           pgqrs_error *error)
{
    pgqrs__buf   text = { 0 };
    pgqrs_status status;

    script_text(conn, sql, &text);
    sql               = pgqrs__buf_cstr(&text);
    conn->deadline_us = deadline_us;
    status            = sql == NULL ? pgqrs__nomem(error) : run_script(conn, sql, error);
    pgqrs__buf_free(&text);
    return status;
}

/* begin() has the file to itself already. */
static pgqrs_status lock_install(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    (void)conn;
    (void)deadline_us;
    (void)error;
    return PGQRS_OK;
}

static pgqrs_status has_object(pgqrs__conn *conn, const char *type, const char *prefix,
                               const char *name, bool *out_there, pgqrs_error *error)
{
    sqlite3_stmt *stmt;
    pgqrs_status  status = pgqrs__sqlite_own_get(conn, PGQRS__SQLITE_HAS_OBJECT, &stmt, error);
    int           rc;

    if (status != PGQRS_OK)
        return status;
    (void)sqlite3_bind_text(stmt, 1, type, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 2, prefix, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 3, name, -1, SQLITE_STATIC);
    rc         = sqlite3_step(stmt);
    *out_there = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = pgqrs__sqlite_fail(conn, rc, "sqlite_master", error);
    (void)sqlite3_reset(stmt);
    return status;
}

static pgqrs_status has_table(pgqrs__conn *conn, const char *table, int64_t deadline_us,
                              bool *out_there, pgqrs_error *error)
{
    pgqrs_status status = enter(conn, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    status = has_object(conn, "table", "pgqrs_", table, out_there, error);
    leave(conn);
    return status;
}

static pgqrs_status has_index(pgqrs__conn *conn, const char *index, int64_t deadline_us,
                              bool *out_there, pgqrs_error *error)
{
    pgqrs_status status = enter(conn, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    status = has_object(conn, "index", "", index, out_there, error);
    leave(conn);
    return status;
}

static pgqrs_status prepare(pgqrs__conn *conn, int stmt, int64_t deadline_us, pgqrs_error *error)
{
    const pgqrs__sqlite_prepared *prepared;
    pgqrs_status                  status = enter(conn, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    status = pgqrs__sqlite_prepare(conn, stmt, &prepared, error);
    leave(conn);
    return status;
}

static const char *channel(pgqrs__db *db)
{
    (void)db;
    return NULL;
}

static void counters(pgqrs__db *db, pgqrs_counters *out)
{
    out->statements  = atomic_load_explicit(&db->statements, memory_order_relaxed);
    out->round_trips = atomic_load_explicit(&db->round_trips, memory_order_relaxed);
    out->commits     = atomic_load_explicit(&db->commits, memory_order_relaxed);
}

const pgqrs__backend pgqrs__backend_sqlite = {
    .name             = "sqlite",
    .caps             = 0,
    .sql              = pgqrs__sql_sqlite,
    .migrations       = pgqrs__migrations_sqlite,
    .migrations_count = &pgqrs__migrations_sqlite_count,
    .schemes          = schemes,
    .open             = pgqrs__sqlite_open,
    .close            = pgqrs__sqlite_close,
    .connect          = pgqrs__sqlite_connect,
    .disconnect       = pgqrs__sqlite_disconnect,
    .usable           = usable,
    .run              = pgqrs__sqlite_run,
    .adopt            = pgqrs__sqlite_adopt,
    .begin            = pgqrs__sqlite_begin,
    .end              = pgqrs__sqlite_end,
    .lend             = pgqrs__sqlite_lend,
    .script           = script,
    .lock_install     = lock_install,
    .has_table        = has_table,
    .has_index        = has_index,
    .script_begin     = script_begin,
    .script_text      = script_text,
    .now_sql  = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000",
    .describe = pgqrs__sqlite_describe,
    .prepare  = prepare,
    .wait     = pgqrs__sqlite_wait,
    .wake     = pgqrs__sqlite_wake,
    .channel  = channel,
    .counters = counters,
};
