/* What SQLite's result codes mean to a caller. */
#include "backend/sqlite/sqlite.h"

#include <string.h>

#include "util/error.h"

/* SQLSTATEs are of the SQL standard: both databases say the same of a violated constraint. */
static const char *constraint_state(int extended)
{
    switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return "23505";
    case SQLITE_CONSTRAINT_NOTNULL:
        return "23502";
    case SQLITE_CONSTRAINT_CHECK:
        return "23514";
    default:
        return "23000";
    }
}

static const char *file_of(const pgqrs__conn *conn)
{
    return conn->db->path != NULL ? conn->db->path : ":memory:";
}

static pgqrs_status by_code(const pgqrs__conn *conn, int rc, int extended, const char *text,
                            pgqrs_error *error)
{
    const char *file = file_of(conn);

    switch (rc & 0xff) {
    case SQLITE_ERROR:
        return pgqrs__embedded_statement_fail(conn->engine, text, error);
    case SQLITE_NOMEM:
        return pgqrs__nomem(error);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_STORE,
                    "the database is locked by another program");
        if (conn->adopted)
            pgqrs__hint(error,
                        "Begin with BEGIN IMMEDIATE on a connection that has a busy timeout.");
        return PGQRS_EBUSY;
    case SQLITE_NOTADB:
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "\"%s\" is not a SQLite database",
                    file);
        return PGQRS_ECONFIG;
    case SQLITE_READONLY:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "cannot write to \"%s\"", file);
        if (extended == SQLITE_READONLY_DBMOVED)
            pgqrs__hint(error, "The file was moved or removed while it was open.");
        else
            pgqrs__hint(error, "The file and its folder must be writable.");
        return PGQRS_EDB;
    case SQLITE_FULL:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "no space left for \"%s\"", file);
        pgqrs__hint(error, "Nothing was written. Free some space.");
        return PGQRS_EDB;
    case SQLITE_IOERR:
        return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "reading or writing \"%s\" failed",
                           file);
    case SQLITE_CORRUPT:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "\"%s\" is damaged", file);
        pgqrs__hint(error, "Check it with PRAGMA integrity_check, and restore a backup.");
        return PGQRS_EDB;
    case SQLITE_CANTOPEN:
        return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE,
                           "cannot open \"%s\", or a file beside it", file);
    case SQLITE_CONSTRAINT:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE,
                    "a constraint of the tables was violated");
        pgqrs__embedded_sqlstate(error, constraint_state(extended));
        return PGQRS_EDB;
    case SQLITE_MISUSE:
        return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_STORE, "SQLite was called wrongly");
    default:
        return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "SQLite failed");
    }
}

pgqrs_status pgqrs__sqlite_fail(pgqrs__conn *conn, int rc, const char *what, pgqrs_error *error)
{
    int          extended = sqlite3_extended_errcode(conn->handle);
    const char  *text     = sqlite3_errmsg(conn->handle);
    int          number   = sqlite3_system_errno(conn->handle);
    pgqrs_status status;

    if ((extended & 0xff) != (rc & 0xff)) { /* the handle has seen something else since */
        extended = rc;
        text     = sqlite3_errstr(rc);
    }
    status = (rc & 0xff) == SQLITE_ERROR ? pgqrs__backend_undone(text, error) : PGQRS_OK;
    if (status != PGQRS_OK) {
        pgqrs__embedded_sqlstate(error, "22P02");
        return status;
    }
    status = by_code(conn, rc, extended, text, error);
    if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CORRUPT
        || (rc & 0xff) == SQLITE_NOTADB)
        conn->broken = true;
    if (status == PGQRS_ENOMEM)
        return status;
    if ((rc & 0xff) == SQLITE_IOERR && number != 0)
        pgqrs__detail(error, "%s%s%s (%d): %s", what != NULL ? what : "", what != NULL ? ": " : "",
                      text, extended, strerror(number));
    else
        pgqrs__detail(error, "%s%s%s (%d)", what != NULL ? what : "", what != NULL ? ": " : "",
                      text, extended);
    return status;
}

/* A commit writes the last pages to the log, syncs it, and tells the other connections through the
 * index of the log. After the writing the pages are there: a failure then undoes the transaction
 * for everybody, but a crash before anybody else commits would bring it back. */
static bool outcome_is_unknown(int extended)
{
    switch (extended & 0xff) {
    case SQLITE_NOMEM:
        return true;
    case SQLITE_IOERR:
        return extended != SQLITE_IOERR_WRITE && extended != SQLITE_IOERR_READ
               && extended != SQLITE_IOERR_SHORT_READ;
    default:
        return false;
    }
}

pgqrs_status pgqrs__sqlite_commit_fail(pgqrs__conn *conn, int rc, pgqrs_error *error)
{
    int          extended = sqlite3_extended_errcode(conn->handle);
    pgqrs_status status   = pgqrs__sqlite_fail(conn, rc, "COMMIT", error);

    if (outcome_is_unknown(extended))
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return status;
}
