/* Connections that are the user's too: adopted ones, in a transaction of theirs, and those of ours
 * that are lent to a transactional step. Every run() on them is in a savepoint. */
#include "backend/sqlite/sqlite.h"

#include "util/alloc.h"
#include "util/error.h"

/* An adopted connection passes the turns by: its transaction has, or waits for, the lock on the
 * file itself, and to wait for a turn in it would be to wait for those who wait for that lock. */
pgqrs_status pgqrs__sqlite_adopt(const pgqrs__engine *engine, void *native,
                                 const pgqrs__settings *settings, pgqrs__db **out_db,
                                 pgqrs__conn **out_conn, pgqrs_error *error)
{
    sqlite3     *handle = native;
    pgqrs__db   *db     = NULL;
    pgqrs__conn *conn   = NULL;
    const char  *path;
    pgqrs_status status = pgqrs__sqlite_check(error);

    *out_db   = NULL;
    *out_conn = NULL;
    if (status != PGQRS_OK)
        return status;
    if (sqlite3_get_autocommit(handle)) {
        pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE,
                    "no transaction is open on the connection");
        pgqrs__hint(error, "Begin one first, or open a store of its own with pgqrs_open().");
        return PGQRS_ESTATE;
    }
    path = sqlite3_db_filename(handle, "main");
    if (path != NULL && *path == '\0')
        path = NULL;
    if (sqlite3_db_readonly(handle, "main") == 1)
        return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                           "the connection cannot write to \"%s\"",
                           path != NULL ? path : ":memory:");
    if (path != NULL
        && (status = pgqrs__filelock_check(path, PGQRS__SQLITE_NAME, error)) != PGQRS_OK)
        return status;

    db   = pgqrs__calloc(1, sizeof(*db));
    conn = pgqrs__calloc(1, sizeof(*conn));
    if (db == NULL || conn == NULL || !pgqrs__mutex_init(&db->mutex))
        goto no_memory;
    if (path != NULL && (db->path = pgqrs__strdup(path)) == NULL) {
        pgqrs__mutex_destroy(&db->mutex);
        goto no_memory;
    }
    db->engine        = engine;
    db->clock         = settings->clock;
    conn->db          = db;
    conn->engine      = engine;
    conn->handle      = handle;
    conn->deadline_us = INT64_MAX;
    conn->open        = true;
    conn->adopted     = true;
    atomic_init(&conn->woken, false);
    *out_db   = db;
    *out_conn = conn;
    return PGQRS_OK;
no_memory:
    pgqrs__free(conn);
    pgqrs__free(db);
    return pgqrs__nomem(error);
}

void pgqrs__sqlite_take_back(pgqrs__conn *conn)
{
    sqlite3_stmt *stmt = NULL;

    while (conn->lent && (stmt = sqlite3_next_stmt(conn->handle, stmt)) != NULL)
        if (sqlite3_stmt_busy(stmt))
            (void)sqlite3_reset(stmt);
}
