/* Opening files and connections, and what Turso needs for both. */
#include "backend/turso/turso.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/base.h"
#include "util/error.h"
#include "util/failpoint.h"

int pgqrs__turso_said(pgqrs__conn *conn, int rc, const char *text)
{
    (void)snprintf(conn->said, sizeof conn->said, "%s", text != NULL ? text : "no reason given");
    pgqrs__turso.str_deinit(text);
    return rc;
}

pgqrs_status pgqrs__turso_check(pgqrs_error *error)
{
    return pgqrs__turso_load(NULL, NULL, NULL, error);
}

/* --- Connections -------------------------------------------------------------------------- */

/* Ask for a setting, which must be as expected: an unknown or impossible one is ignored in silence.
 */
static pgqrs_status expect(pgqrs__conn *conn, const char *sql, const char *expected,
                           pgqrs_error *error)
{
    const pgqrs__engine *engine    = conn->engine;
    void                *stmt      = NULL;
    pgqrs_status         status    = PGQRS_OK;
    char                 found[32] = "nothing";
    int                  rc        = engine->prepare(conn, sql, false, &stmt, NULL);

    if (rc == PGQRS__ENGINE_OK)
        rc = engine->step(conn, stmt);
    if (rc == PGQRS__ENGINE_ROW) {
        pgqrs__val v = engine->column(stmt, 0, PGQRS__TYPE_I64);

        if (v.kind == PGQRS__KIND_INT)
            (void)snprintf(found, sizeof found, "%lld", (long long)v.as.i);
        else if (v.kind == PGQRS__KIND_TEXT)
            (void)snprintf(found, sizeof found, "%.*s", (int)PGQRS__MIN(v.len, 31u), v.as.text);
    } else if (rc != PGQRS__ENGINE_OK) {
        status = engine->fail(conn, rc, sql, error);
    }
    if (stmt != NULL)
        engine->drop(stmt);
    if (status == PGQRS_OK && strcmp(found, expected) != 0)
        status = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                             "Turso answers %s with %s, not %s", sql, found, expected);
    return status;
}

/* temp_store first: without it Turso makes files, that others may read, for the answers of many
 * statements. No busy timeout: in Turso it burns the processor and starves, and writers here take
 * turns. */
static pgqrs_status settle(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__embedded_text(conn,
                                           "PRAGMA temp_store = memory;"
                                           "PRAGMA synchronous = FULL;"
                                           "PRAGMA foreign_keys = OFF",
                                           "settings", error);

    pgqrs__turso.connection_set_busy_timeout_ms(conn->handle, 0);
    if (rc == PGQRS_OK)
        rc = expect(conn, "PRAGMA temp_store", "2", error);
    if (rc == PGQRS_OK)
        rc = expect(conn, "PRAGMA synchronous", "2", error);
    if (rc == PGQRS_OK && conn->db->path != NULL)
        rc = expect(conn, "PRAGMA journal_mode", "wal", error);
    return rc;
}

pgqrs_status pgqrs__turso_open_handle(pgqrs__conn *conn, pgqrs_error *error)
{
    turso_connection *handle = NULL;
    const char       *text   = NULL;
    int               rc     = pgqrs__turso.database_connect(conn->db->handle, &handle, &text);

    if (rc != TURSO_OK)
        return pgqrs__turso_fail(conn, pgqrs__turso_said(conn, rc, text), NULL, error);
    conn->handle = handle;
    return settle(conn, error);
}

void pgqrs__turso_close_handle(pgqrs__conn *conn)
{
    if (conn->handle == NULL)
        return;
    (void)pgqrs__turso.connection_close(conn->handle, NULL);
    pgqrs__turso.connection_deinit(conn->handle);
    conn->handle = NULL;
}

/* --- The database ------------------------------------------------------------------------- */

static pgqrs_status open_engine(pgqrs__db *db, pgqrs_error *error)
{
    turso_config    config;
    turso_database *handle = NULL;
    const char     *text   = NULL;
    pgqrs_status    status = PGQRS_OK;
    int             rc;

    memset(&config, 0, sizeof config);
    config.as.path = db->path != NULL ? db->path : ":memory:";
    rc             = pgqrs__turso.database_new(&config, &handle, &text);
    if (rc == TURSO_OK)
        rc = pgqrs__turso.database_open(handle, &text);
    if (rc != TURSO_OK) {
        status = pgqrs__turso_open_fail(db, rc, text != NULL ? text : "no reason given", error);
        pgqrs__turso.str_deinit(text);
        pgqrs__turso.database_deinit(handle);
        return status;
    }
    db->handle = handle;
    return PGQRS_OK;
}

/* Turso would say that it failed to read or write. */
static pgqrs_status check_writable(const char *path, pgqrs_error *error)
{
    if (access(path, W_OK) == 0)
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot write to \"%s\"", path);
    pgqrs__hint(error, "The file and its folder must be writable.");
    return PGQRS_ECONFIG;
}

/* The registry comes first: opening a file changes it, and what Turso locks, it locks for the whole
 * process. */
pgqrs_status pgqrs__turso_open_database(pgqrs__db *db, pgqrs_error *error)
{
    pgqrs_status rc;

    rc = db->path != NULL
             ? pgqrs__filelock_join_alone(db->path, PGQRS__TURSO_NAME, &db->lock, error)
             : pgqrs__filelock_join(NULL, PGQRS__TURSO_NAME, &db->lock, error);
    if (rc == PGQRS_OK && db->path != NULL)
        rc = check_writable(db->path, error);
    if (rc == PGQRS_OK) {
        PGQRS__FAILPOINT("before the file is opened");
        rc = open_engine(db, error);
        PGQRS__FAILPOINT("file opened");
    }
    if (rc != PGQRS_OK)
        return rc;
    db->first = pgqrs__embedded_conn_new(db);
    if (db->first == NULL)
        return pgqrs__nomem(error);
    return pgqrs__turso_open_handle(db->first, error);
}

/* Turso leaves the log where it is. What is in it goes into the file, which then is a whole
 * database for whoever opens or copies it next. In a turn: a checkpoint and a writer are in each
 * other's way. When others in this process have the file open, it is theirs to do. */
static void checkpoint(pgqrs__db *db)
{
    pgqrs__conn *conn = pgqrs__embedded_conn_new(db);

    if (conn == NULL)
        return;
    if (pgqrs__filelock_take(db->lock, INT64_MAX, NULL) == PGQRS_OK) {
        if (pgqrs__turso_open_handle(conn, NULL) == PGQRS_OK)
            (void)pgqrs__embedded_text(conn, "PRAGMA wal_checkpoint(TRUNCATE)", "checkpoint", NULL);
        PGQRS__FAILPOINT("log folded in");
        pgqrs__filelock_yield(db->lock);
    }
    pgqrs__embedded_disconnect(conn, false);
}

void pgqrs__turso_close_database(pgqrs__db *db)
{
    if (db->handle == NULL)
        return;
    if (db->path != NULL)
        checkpoint(db);
    pgqrs__turso.database_deinit(db->handle);
    db->handle = NULL;
}
