/* Opening files and connections, and what SQLite needs for both. */
#include "backend/sqlite/sqlite.h"

#include <string.h>

#include "util/base.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/failpoint.h"

#define OLDEST      3035000 /* RETURNING */
#define OLDEST_TEXT "3.35.0"

/* --- Connections -------------------------------------------------------------------------- */

static int on_busy(void *user, int tries)
{
    return pgqrs__embedded_pause(user, tries);
}

static pgqrs_status execute(pgqrs__conn *conn, const char *sql, pgqrs_error *error)
{
    int rc = sqlite3_exec(conn->handle, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? PGQRS_OK : pgqrs__sqlite_fail(conn, rc, sql, error);
}

/* SQLite says that it cannot open a file; the system says why. */
static pgqrs_status open_fail(pgqrs__conn *conn, int rc, pgqrs_error *error)
{
    int number;

    if (conn->handle == NULL)
        return pgqrs__nomem(error);
    number = sqlite3_system_errno(conn->handle);
    if ((rc & 0xff) == SQLITE_CANTOPEN)
        return pgqrs__embedded_path_fail(
            conn->db->path, number != 0 ? strerror(number) : sqlite3_errstr(rc), error);
    return pgqrs__sqlite_fail(conn, rc, NULL, error);
}

static pgqrs_status open_new(pgqrs__conn *conn, bool create, pgqrs_error *error)
{
    static const char *const settings[] = { "PRAGMA temp_store = MEMORY",
                                            "PRAGMA foreign_keys = OFF",
                                            "PRAGMA synchronous = FULL" };
    const char              *path       = conn->db->path;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    sqlite3     *handle = NULL;
    int          rc     = sqlite3_open_v2(path != NULL ? path : ":memory:", &handle, flags, NULL);
    pgqrs_status status = PGQRS_OK;

    conn->handle = handle;
    if (rc != SQLITE_OK)
        return open_fail(conn, rc, error);
    if (path != NULL && sqlite3_db_readonly(conn->handle, "main") == 1) {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot write to \"%s\"", path);
        pgqrs__hint(error, "The file and its folder must be writable.");
        return PGQRS_ECONFIG;
    }
    (void)sqlite3_extended_result_codes(conn->handle, 1);
    (void)sqlite3_busy_handler(conn->handle, on_busy, conn);
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(settings) && status == PGQRS_OK; i++)
        status = execute(conn, settings[i], error);
    return status;
}

/* Ask for the journal mode, or set it. @return a code of SQLite; *out_wal: it is the write-ahead
 * log */
static int journal_mode(sqlite3 *handle, const char *sql, bool *out_wal)
{
    sqlite3_stmt *stmt = NULL;
    int           rc   = sqlite3_prepare_v2(handle, sql, -1, &stmt, NULL);

    *out_wal = false;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        const unsigned char *mode = sqlite3_column_text(stmt, 0);

        *out_wal = mode != NULL && sqlite3_stricmp((const char *)mode, "wal") == 0;
        rc       = SQLITE_OK;
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

/* Needs the file alone for a moment, and SQLite does not wait for that by itself. */
static pgqrs_status switch_to_wal(pgqrs__conn *conn, pgqrs_error *error)
{
    bool wal = false;
    int  rc;

    for (int tries = 0;; tries++) {
        rc = journal_mode(conn->handle, "PRAGMA journal_mode = WAL", &wal);
        if ((rc & 0xff) != SQLITE_BUSY || !pgqrs__embedded_pause(conn, tries))
            break;
    }
    if (rc != SQLITE_OK)
        return pgqrs__sqlite_fail(conn, rc, "PRAGMA journal_mode", error);
    if (!wal) {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                    "cannot use a write-ahead log for \"%s\"", conn->db->path);
        pgqrs__hint(error, "The file must be on a local file system.");
        return PGQRS_ECONFIG;
    }
    return PGQRS_OK;
}

static pgqrs_status use_wal(pgqrs__conn *conn, pgqrs_error *error)
{
    bool         wal;
    int          rc = journal_mode(conn->handle, "PRAGMA journal_mode", &wal);
    pgqrs_status status;

    if (rc != SQLITE_OK)
        return pgqrs__sqlite_fail(conn, rc, "PRAGMA journal_mode", error);
    if (wal)
        return PGQRS_OK;
    status = pgqrs__filelock_take(conn->db->lock, conn->deadline_us, error);
    if (status != PGQRS_OK)
        return status;
    PGQRS__FAILPOINT("before the file gets a write-ahead log");
    status = switch_to_wal(conn, error);
    PGQRS__FAILPOINT("file has a write-ahead log");
    pgqrs__filelock_yield(conn->db->lock);
    return status;
}

/* ANALYZE tells SQLite how large a table was at that moment. Ours grow and shrink by the hour:
 * plans for an empty queue would be kept when it is full, so what it has noted of our tables is
 * removed. */
static bool has_statistics(sqlite3 *handle)
{
    sqlite3_stmt *stmt = NULL;
    bool          any;

    (void)sqlite3_prepare_v2(handle,
                             "SELECT 1 FROM sqlite_stat1 WHERE substr(tbl, 1, 6) = 'pgqrs_'", -1,
                             &stmt, NULL); /* fails when nothing was ever analysed */
    any = stmt != NULL && sqlite3_step(stmt) == SQLITE_ROW;
    (void)sqlite3_finalize(stmt);
    return any;
}

/* They are read with the schema, so the connection is made anew. It can be used with them, too:
 * what stands in the way is not waited for. */
static pgqrs_status drop_statistics(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs_status status;

    if (!has_statistics(conn->handle))
        return PGQRS_OK;
    conn->deadline_us = pgqrs__mono_us() + PGQRS_SECOND;
    if (pgqrs__filelock_take(conn->db->lock, conn->deadline_us, NULL) != PGQRS_OK)
        return PGQRS_OK;
    status = execute(conn, "DELETE FROM sqlite_stat1 WHERE substr(tbl, 1, 6) = 'pgqrs_'", NULL);
    pgqrs__filelock_yield(conn->db->lock);
    if (status != PGQRS_OK)
        return PGQRS_OK;
    (void)sqlite3_close(conn->handle);
    conn->handle = NULL;
    return open_new(conn, false, error);
}

/* --- The database ------------------------------------------------------------------------- */

pgqrs_status pgqrs__sqlite_check(pgqrs_error *error)
{
    if (sqlite3_libversion_number() < OLDEST) {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "SQLite %s is too old",
                    sqlite3_libversion());
        pgqrs__hint(error, "SQLite %s or later is needed.", OLDEST_TEXT);
        return PGQRS_ECONFIG;
    }
    if (sqlite3_threadsafe() == 0)
        return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                           "this SQLite was built without support for threads");
    return PGQRS_OK;
}

/* The first connection creates the file, and makes it what the others need. */
static pgqrs_status open_file(pgqrs__db *db, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__filelock_check(db->path, PGQRS__SQLITE_NAME, error);

    if (rc != PGQRS_OK)
        return rc;
    db->first = pgqrs__embedded_conn_new(db);
    if (db->first == NULL)
        return pgqrs__nomem(error);
    rc = open_new(db->first, true, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__filelock_join(db->path, PGQRS__SQLITE_NAME, &db->lock, error);
    if (rc == PGQRS_OK)
        rc = use_wal(db->first, error);
    return rc == PGQRS_OK ? drop_statistics(db->first, error) : rc;
}

static pgqrs_status open_memory(pgqrs__db *db, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__filelock_join(NULL, PGQRS__SQLITE_NAME, &db->lock, error);

    if (rc != PGQRS_OK)
        return rc;
    db->first = pgqrs__embedded_conn_new(db);
    if (db->first == NULL)
        return pgqrs__nomem(error);
    rc         = open_new(db->first, false, error);
    db->handle = db->first->handle;
    if (rc != PGQRS_OK)
        return rc;
    /* Nobody else can have it locked; and the connections that share the handle come and go. */
    (void)sqlite3_busy_handler(db->handle, NULL, NULL);
    return PGQRS_OK;
}

pgqrs_status pgqrs__sqlite_open_database(pgqrs__db *db, pgqrs_error *error)
{
    return db->path != NULL ? open_file(db, error) : open_memory(db, error);
}

void pgqrs__sqlite_close_database(pgqrs__db *db)
{
    (void)sqlite3_close(db->handle);
}

pgqrs_status pgqrs__sqlite_open_handle(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs_status rc;

    if (conn->db->path == NULL) {
        conn->handle = conn->db->handle;
        return PGQRS_OK;
    }
    rc = open_new(conn, false, error);
    return rc == PGQRS_OK ? drop_statistics(conn, error) : rc;
}

void pgqrs__sqlite_close_handle(pgqrs__conn *conn)
{
    if (conn->db->path != NULL)
        (void)sqlite3_close(conn->handle);
}
