/* What Turso's status codes mean to a caller. */
#include "backend/turso/turso.h"

#include <string.h>

#include "util/error.h"

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* By the beginning of the text alone: what follows is not written as SQLite writes it. */
static const char *constraint_state(const char *text)
{
    if (starts_with(text, "UNIQUE"))
        return "23505";
    if (starts_with(text, "NOT NULL"))
        return "23502";
    if (starts_with(text, "CHECK"))
        return "23514";
    return starts_with(text, "FOREIGN KEY") ? "23503" : "23000";
}

static const char *file_of(const pgqrs__db *db)
{
    return db->path != NULL ? db->path : ":memory:";
}

static pgqrs_status by_code(const pgqrs__db *db, int rc, const char *text, pgqrs_error *error)
{
    const char *file = file_of(db);

    switch (rc) {
    case TURSO_ERROR:
        return pgqrs__embedded_statement_fail(db->engine, text, error);
    case TURSO_BUSY:
    case TURSO_BUSY_SNAPSHOT:
        return pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_STORE,
                           "the database is locked by another part of this process");
    case TURSO_NOTADB:
        return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                           "\"%s\" is not a database file", file);
    case TURSO_READONLY:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "cannot write to \"%s\"", file);
        pgqrs__hint(error, "The file and its folder must be writable.");
        return PGQRS_EDB;
    case TURSO_DATABASE_FULL:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "no space left for \"%s\"", file);
        pgqrs__hint(error, "Nothing was written. Free some space.");
        return PGQRS_EDB;
    case TURSO_IOERR: /* a full disk too */
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "reading or writing \"%s\" failed", file);
        pgqrs__hint(error, "Is there space left, and is the disk in order?");
        return PGQRS_EDB;
    case TURSO_CORRUPT:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "\"%s\" is damaged", file);
        pgqrs__hint(error, "Check it with PRAGMA integrity_check, and restore a backup.");
        return PGQRS_EDB;
    case TURSO_CONSTRAINT:
        pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE,
                    "a constraint of the tables was violated");
        pgqrs__embedded_sqlstate(error, constraint_state(text));
        return PGQRS_EDB;
    case TURSO_MISUSE:
        return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_STORE, "Turso was called wrongly");
    default:
        return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "Turso failed");
    }
}

pgqrs_status pgqrs__turso_fail(pgqrs__conn *conn, int rc, const char *what, pgqrs_error *error)
{
    pgqrs_status status = rc == TURSO_ERROR ? pgqrs__backend_undone(conn->said, error) : PGQRS_OK;

    if (status != PGQRS_OK) {
        pgqrs__embedded_sqlstate(error, "22P02");
        return status;
    }
    status = by_code(conn->db, rc, conn->said, error);
    if (rc == TURSO_IOERR || rc == TURSO_CORRUPT || rc == TURSO_NOTADB)
        conn->broken = true;
    pgqrs__detail(error, "%s%s%s (%d)", what != NULL ? what : "", what != NULL ? ": " : "",
                  conn->said, rc);
    return status;
}

/* The code does not tell a write that failed from a sync that failed, and after the latter the
 * transaction may be in the log, and come back when the file is opened again. */
static bool outcome_is_unknown(int rc)
{
    return rc == TURSO_IOERR || rc == TURSO_DATABASE_FULL || rc == TURSO_CORRUPT;
}

pgqrs_status pgqrs__turso_commit_fail(pgqrs__conn *conn, int rc, pgqrs_error *error)
{
    pgqrs_status status = pgqrs__turso_fail(conn, rc, "COMMIT", error);

    if (outcome_is_unknown(rc)) {
        pgqrs__hint(error, "Is there space left, and is the disk in order?");
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    }
    return status;
}

pgqrs_status pgqrs__turso_open_fail(const pgqrs__db *db, int rc, const char *text,
                                    pgqrs_error *error)
{
    pgqrs_status status;

    if (strstr(text, "Locking error") != NULL || strstr(text, "locked by another") != NULL) {
        /* Its lock is taken, and not by a process that uses pgqrs: see backend/filelock.h. */
        status =
            pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_STORE,
                        "cannot open \"%s\" with Turso: another program has it open", file_of(db));
        pgqrs__hint(error, "With Turso one process at a time uses a file; several can with SQLite, "
                           "or with PostgreSQL.");
    } else if (rc == TURSO_ERROR) {
        status = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "Turso cannot open \"%s\"",
                             file_of(db));
    } else {
        status = by_code(db, rc, text, error);
    }
    pgqrs__detail(error, "%s (%d)", text, rc);
    return status;
}
