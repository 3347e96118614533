/** What the files of the SQLite backend share. */
#ifndef PGQRS_BACKEND_SQLITE_SQLITE_H
#define PGQRS_BACKEND_SQLITE_SQLITE_H

#include <sqlite3.h>

#include "backend/backend.h"
#include "backend/filelock.h"
#include "statements.h"
#include "util/thread.h"

#include <stdatomic.h>

#define PGQRS__SQLITE_COLS_MAX 64
#define PGQRS__SQLITE_ENGINE   "SQLite" /* in the registry of files */

/* One SQL statement of a numbered statement, prepared. A parameter's number is the argument's, from
 * 1; after the arguments come the reserved number ($id) and the ordinal ($n). */
typedef struct pgqrs__sqlite_part {
    sqlite3_stmt *stmt;
    uint8_t      *params; /* owned: the parameters it uses, those of array arguments first */
    uint8_t       narrays;
    uint8_t       nscalars;
    bool          uses_now;
    bool          uses_id;
    bool          uses_n;
} pgqrs__sqlite_part;

typedef struct pgqrs__sqlite_prepared {
    pgqrs__sqlite_part *parts; /* owned; NULL: not prepared yet */
    bool                uses_now;
} pgqrs__sqlite_prepared;

/* Statements of the backend itself. */
typedef enum pgqrs__sqlite_own {
    PGQRS__SQLITE_BEGIN_WRITE,
    PGQRS__SQLITE_BEGIN_READ,
    PGQRS__SQLITE_COMMIT,
    PGQRS__SQLITE_ROLLBACK,
    PGQRS__SQLITE_SAVEPOINT,
    PGQRS__SQLITE_RELEASE,
    PGQRS__SQLITE_ROLLBACK_TO,
    PGQRS__SQLITE_SEQUENCE_READ,
    PGQRS__SQLITE_SEQUENCE_WRITE,
    PGQRS__SQLITE_DATA_VERSION,
    PGQRS__SQLITE_HAS_OBJECT,
    PGQRS__SQLITE_OWN_COUNT
} pgqrs__sqlite_own;

struct pgqrs__db {
    char            *path; /* absolute; NULL: in memory */
    int64_t          connect_timeout_us;
    pgqrs_clock      clock;
    pgqrs__filelock *lock;
    sqlite3         *memory; /* in memory: the one connection, used in turns */
    pgqrs__mutex     mutex;  /* guards first */
    pgqrs__conn     *first;  /* the connection that open() made, until somebody takes it */

    atomic_int_fast64_t statements;
    atomic_int_fast64_t round_trips;
    atomic_int_fast64_t commits;
};

struct pgqrs__conn {
    pgqrs__db             *db;
    sqlite3               *handle;      /* owned, unless the database is in memory */
    int64_t                deadline_us; /* of what is running: for the busy handler */
    bool                   open;        /* between begin() and end(): it has the turn */
    bool                   adopted;     /* the user's: always open, and never ours to end */
    bool                   lent; /* between begin() and end(): to the user, for SQL of theirs */
    bool                   broken;
    bool                   announce; /* the open transaction has put something in */
    sqlite3_stmt          *own[PGQRS__SQLITE_OWN_COUNT];
    pgqrs__sqlite_prepared statements[PGQRS__STMT_COUNT];

    /* wait() */
    bool        listening;
    atomic_bool woken;
    uint64_t    news;
    int64_t     data_version;
    int64_t     next;
};

/* --- error.c */

/** Says what SQLite's code @p rc means; the message is the handle's. @p what: the statement, or
 *  NULL. */
pgqrs_status pgqrs__sqlite_fail(pgqrs__conn *conn, int rc, const char *what, pgqrs_error *error);
/** The same for a COMMIT, whose failure may leave open what happened. */
pgqrs_status pgqrs__sqlite_commit_fail(pgqrs__conn *conn, int rc, pgqrs_error *error);

/* --- prepare.c */

/** A statement of the backend itself, prepared. It is the connection's. */
pgqrs_status pgqrs__sqlite_own_get(pgqrs__conn *conn, pgqrs__sqlite_own own,
                                   sqlite3_stmt **out_stmt, pgqrs_error *error);
/** A numbered statement, prepared. It is the connection's. */
pgqrs_status pgqrs__sqlite_prepare(pgqrs__conn *conn, int stmt,
                                   const pgqrs__sqlite_prepared **out_prepared, pgqrs_error *error);
/** Frees every prepared statement; @p forked: the memory around them only. */
void pgqrs__sqlite_forget(pgqrs__conn *conn, bool forked);
/** Run a statement of the backend that gives no rows. */
pgqrs_status pgqrs__sqlite_do(pgqrs__conn *conn, pgqrs__sqlite_own own, pgqrs_error *error);

/* --- open.c */

/** Whether this SQLite is new enough, and built for threads. */
pgqrs_status pgqrs__sqlite_check_library(pgqrs_error *error);
pgqrs_status pgqrs__sqlite_open(const char *dsn, const pgqrs__settings *settings,
                                pgqrs__db **out_db, pgqrs_error *error);
void         pgqrs__sqlite_close(pgqrs__db *db, bool forked);
pgqrs_status pgqrs__sqlite_connect(pgqrs__db *db, pgqrs__conn **out_conn, pgqrs_error *error);
void         pgqrs__sqlite_disconnect(pgqrs__conn *conn, bool forked);

/* --- share.c */

pgqrs_status pgqrs__sqlite_adopt(void *native, const pgqrs__settings *settings, pgqrs__db **out_db,
                                 pgqrs__conn **out_conn, pgqrs_error *error);
/** The handle of an open transaction, for the user's SQL. */
void *pgqrs__sqlite_lend(pgqrs__conn *conn);
/** End what the user has left running on it: the transaction could not end. */
void pgqrs__sqlite_take_back(pgqrs__conn *conn);
/* --- describe.c */

pgqrs_status pgqrs__sqlite_describe(pgqrs__conn *conn, pgqrs__about *about, int64_t deadline_us,
                                    pgqrs_error *error);
/** Whether this version of SQLite may damage a file that several connections use. */
bool pgqrs__sqlite_wal_reset_bug(int version);

/* --- run.c */

pgqrs_status pgqrs__sqlite_run(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                               pgqrs__mode mode, int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__sqlite_begin(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__sqlite_end(pgqrs__conn *conn, bool commit, int64_t deadline_us,
                               pgqrs_error *error);
/** Read the number line: its next number, and the last time that was stored. */
pgqrs_status pgqrs__sqlite_sequence(pgqrs__conn *conn, int64_t *out_next, int64_t *out_last_now_us,
                                    pgqrs_error *error);

/* --- wait.c */

typedef void (*pgqrs__sqlite_queue_fn)(void *user, int64_t queue_id);

pgqrs_status pgqrs__sqlite_wait(pgqrs__conn *conn, int64_t deadline_us,
                                pgqrs__sqlite_queue_fn on_queue, void *user, pgqrs_error *error);
void         pgqrs__sqlite_wake(pgqrs__conn *conn);

#endif
