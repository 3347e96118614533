/* From a DSN to connections. */
#include "backend/sqlite/sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/base.h"
#include "util/buf.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/failpoint.h"
#include "util/thread.h"

#define OLDEST      3035000 /* RETURNING */
#define OLDEST_TEXT "3.35.0"

/* --- The DSN ------------------------------------------------------------------------------ */

static pgqrs_status dsn_fail(const char *what, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "%s", what);
    pgqrs__hint(error, "Write sqlite:///absolute/path, sqlite://relative/path or sqlite::memory:.");
    return PGQRS_ECONFIG;
}

/* @param[out] out_path  within the DSN; NULL: in memory */
static pgqrs_status read_dsn(const char *dsn, const char **out_path, pgqrs_error *error)
{
    static const char prefix[] = "sqlite://";
    const char       *path;

    *out_path = NULL;
    if (strcmp(dsn, "sqlite::memory:") == 0)
        return PGQRS_OK;
    if (strncmp(dsn, prefix, strlen(prefix)) != 0)
        return dsn_fail("the SQLite DSN names no file", error);
    path = dsn + strlen(prefix);
    if (*path == '\0' || path[strlen(path) - 1] == '/')
        return dsn_fail("the SQLite DSN names no file", error);
    if (strcmp(path, ":memory:") == 0)
        return dsn_fail("a database in memory is written sqlite::memory:", error);
    if (strchr(path, '?') != NULL) {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "a SQLite DSN takes no parameters");
        pgqrs__hint(error, "Leave out the \"?\" and what follows it.");
        return PGQRS_ECONFIG;
    }
    *out_path = path;
    return PGQRS_OK;
}

static pgqrs_status path_fail(const char *path, const char *reason, pgqrs_error *error)
{
    return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot open \"%s\": %s", path,
                       reason);
}

/* A file that is not there yet: its folder made absolute, and its name. */
static pgqrs_status resolve_new(const char *path, char **out_path, pgqrs_error *error)
{
    const char  *slash  = strrchr(path, '/');
    size_t       length = slash == NULL ? 0 : (size_t)(slash - path);
    pgqrs__buf   full   = { 0 };
    pgqrs_status rc     = PGQRS_OK;
    char        *folder =
        slash == NULL ? pgqrs__strdup(".") : pgqrs__strndup(path, length + (length == 0));
    char *real;

    if (folder == NULL)
        return pgqrs__nomem(error);
    real = realpath(folder, NULL);
    if (real == NULL) {
        bool missing = errno == ENOENT;

        rc = path_fail(path, missing ? "its folder does not exist" : strerror(errno), error);
        if (missing)
            pgqrs__hint(error, "Create the folder \"%s\".", folder);
    } else {
        pgqrs__buf_printf(&full, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                          slash == NULL ? path : slash + 1);
        *out_path = pgqrs__buf_take(&full);
        if (*out_path == NULL)
            rc = pgqrs__nomem(error);
    }
    free(real);
    pgqrs__free(folder);
    return rc;
}

/* An absolute path without links, since connections are made later, and the files beside the
 * database must be the same for everybody. */
static pgqrs_status resolve(const char *path, char **out_path, pgqrs_error *error)
{
    struct stat st;
    char       *real = realpath(path, NULL);

    if (real == NULL)
        return errno == ENOENT ? resolve_new(path, out_path, error)
                               : path_fail(path, strerror(errno), error);
    if (stat(real, &st) == 0 && !S_ISREG(st.st_mode)) {
        free(real);
        return path_fail(path, "it is not a regular file", error);
    }
    *out_path = pgqrs__strdup(real);
    free(real);
    return *out_path == NULL ? pgqrs__nomem(error) : PGQRS_OK;
}

/* --- Connections -------------------------------------------------------------------------- */

/* Somebody who is not in the queue for turns has the lock: another program. Looks again until the
 * deadline. */
static int on_busy(void *user, int tries)
{
    const pgqrs__conn *conn = user;
    int64_t wait_us = PGQRS__MIN(INT64_C(100) << PGQRS__MIN(tries, 6), 5 * PGQRS_MILLISECOND);
    int64_t left_us;
    struct timespec pause;

    left_us = conn->deadline_us == INT64_MAX ? INT64_MAX : conn->deadline_us - pgqrs__mono_us();
    if (left_us <= 0)
        return 0;
    pause = (struct timespec){ .tv_nsec = (long)PGQRS__MIN(wait_us, left_us) * 1000 };
    (void)nanosleep(&pause, NULL);
    return 1;
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
        return path_fail(conn->db->path, number != 0 ? strerror(number) : sqlite3_errstr(rc),
                         error);
    return pgqrs__sqlite_fail(conn, rc, NULL, error);
}

static pgqrs_status open_handle(pgqrs__conn *conn, bool create, pgqrs_error *error)
{
    static const char *const settings[] = { "PRAGMA temp_store = MEMORY",
                                            "PRAGMA foreign_keys = OFF",
                                            "PRAGMA cache_size = -8000",
                                            "PRAGMA synchronous = FULL" };
    const char              *path       = conn->db->path;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    int rc    = sqlite3_open_v2(path != NULL ? path : ":memory:", &conn->handle, flags, NULL);
    pgqrs_status status = PGQRS_OK;

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
        if ((rc & 0xff) != SQLITE_BUSY || !on_busy(conn, tries))
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
    return open_handle(conn, false, error);
}

static pgqrs__conn *conn_new(pgqrs__db *db)
{
    pgqrs__conn *conn = pgqrs__calloc(1, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    conn->db          = db;
    conn->deadline_us = pgqrs__i64_add_sat(pgqrs__mono_us(), db->connect_timeout_us);
    atomic_init(&conn->woken, false);
    return conn;
}

pgqrs_status pgqrs__sqlite_connect(pgqrs__db *db, pgqrs__conn **out_conn, pgqrs_error *error)
{
    pgqrs__conn *conn;
    pgqrs_status status;

    pgqrs__mutex_lock(&db->mutex);
    *out_conn = db->first;
    db->first = NULL;
    pgqrs__mutex_unlock(&db->mutex);
    if (*out_conn != NULL)
        return PGQRS_OK;
    conn = conn_new(db);
    if (conn == NULL)
        return pgqrs__nomem(error);
    if (db->path == NULL) {
        conn->handle = db->memory;
    } else {
        status = open_handle(conn, false, error);
        if (status == PGQRS_OK)
            status = drop_statistics(conn, error);
        if (status != PGQRS_OK) {
            pgqrs__sqlite_disconnect(conn, false);
            return status;
        }
    }
    *out_conn = conn;
    return PGQRS_OK;
}

void pgqrs__sqlite_disconnect(pgqrs__conn *conn, bool forked)
{
    pgqrs__db *db = conn->db;

    if (conn->adopted) {
        pgqrs__sqlite_forget(conn, forked);
        pgqrs__free(conn);
        return;
    }
    if (!forked && conn->open)
        (void)pgqrs__sqlite_end(conn, false, INT64_MAX, NULL);
    if (db->path != NULL || forked) {
        /* After fork() the handle is the parent's too: closing it would undo what the parent is
         * doing. */
        pgqrs__sqlite_forget(conn, forked);
        if (!forked)
            (void)sqlite3_close(conn->handle);
    } else if (pgqrs__filelock_take(db->lock, INT64_MAX, NULL) == PGQRS_OK) {
        pgqrs__sqlite_forget(conn, false);
        pgqrs__filelock_yield(db->lock);
    }
    pgqrs__free(conn);
}

/* --- The database ------------------------------------------------------------------------- */

pgqrs_status pgqrs__sqlite_check_library(pgqrs_error *error)
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
    pgqrs_status rc = pgqrs__filelock_check(db->path, PGQRS__SQLITE_ENGINE, error);

    if (rc != PGQRS_OK)
        return rc;
    db->first = conn_new(db);
    if (db->first == NULL)
        return pgqrs__nomem(error);
    rc = open_handle(db->first, true, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__filelock_join(db->path, PGQRS__SQLITE_ENGINE, &db->lock, error);
    if (rc == PGQRS_OK)
        rc = use_wal(db->first, error);
    return rc == PGQRS_OK ? drop_statistics(db->first, error) : rc;
}

static pgqrs_status open_memory(pgqrs__db *db, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__filelock_join(NULL, PGQRS__SQLITE_ENGINE, &db->lock, error);

    if (rc != PGQRS_OK)
        return rc;
    db->first = conn_new(db);
    if (db->first == NULL)
        return pgqrs__nomem(error);
    rc         = open_handle(db->first, false, error);
    db->memory = db->first->handle;
    /* Nobody else can have it locked; and the connections that share the handle come and go. */
    (void)sqlite3_busy_handler(db->memory, NULL, NULL);
    return rc;
}

pgqrs_status pgqrs__sqlite_open(const char *dsn, const pgqrs__settings *settings,
                                pgqrs__db **out_db, pgqrs_error *error)
{
    pgqrs__db   *db = NULL;
    const char  *path;
    pgqrs_status rc = read_dsn(dsn, &path, error);

    if (rc == PGQRS_OK)
        rc = pgqrs__sqlite_check_library(error);
    if (rc != PGQRS_OK)
        return rc;
    db = pgqrs__calloc(1, sizeof(*db));
    if (db == NULL || !pgqrs__mutex_init(&db->mutex)) {
        pgqrs__free(db);
        return pgqrs__nomem(error);
    }
    db->connect_timeout_us = settings->connect_timeout_us;
    db->clock              = settings->clock;
    atomic_init(&db->statements, 0);
    atomic_init(&db->round_trips, 0);
    atomic_init(&db->commits, 0);
    if (path != NULL)
        rc = resolve(path, &db->path, error);
    if (rc == PGQRS_OK)
        rc = path != NULL ? open_file(db, error) : open_memory(db, error);
    if (rc == PGQRS_OK)
        *out_db = db;
    else
        pgqrs__sqlite_close(db, false);
    return rc;
}

void pgqrs__sqlite_close(pgqrs__db *db, bool forked)
{
    if (db->first != NULL)
        pgqrs__sqlite_disconnect(db->first, forked);
    if (!forked)
        (void)sqlite3_close(db->memory);
    if (db->lock != NULL)
        pgqrs__filelock_leave(db->lock, forked);
    if (!forked)
        pgqrs__mutex_destroy(&db->mutex);
    pgqrs__free(db->path);
    pgqrs__free(db);
}
