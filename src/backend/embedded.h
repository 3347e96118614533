/** Backends whose engine is inside the process: SQLite, and what speaks its SQL.
 *
 *  The files embedded_*.c do what is the same for all of them: they prepare and run numbered
 *  statements, keep the number line and the clock, give transactions their turn to write, and wait
 *  for news. An engine says how to open a file and how to run one SQL statement. */
#ifndef PGQRS_BACKEND_EMBEDDED_H
#define PGQRS_BACKEND_EMBEDDED_H

#include "backend/backend.h"
#include "backend/filelock.h"
#include "statements.h"
#include "util/thread.h"

#include <stdatomic.h>

#define PGQRS__EMBEDDED_COLS_MAX 64

/** What an engine's functions return: PGQRS__ENGINE_OK, PGQRS__ENGINE_ROW, or a number of its own,
 *  above 0, for fail(). */
enum { PGQRS__ENGINE_OK = 0, PGQRS__ENGINE_ROW = -1 };

/** An engine. Statements are its own, as void *. */
typedef struct pgqrs__engine {
    const char       *name;   /* "SQLite": for people, and in the registry of files */
    const char       *scheme; /* "sqlite": of its DSNs */
    const pgqrs__sql *sql;    /* PGQRS__STMT_COUNT */
    /* One process at a time may have a file open: others never change it. */
    bool alone;
    /* reset() forgets what was bound. */
    bool forgets;

    /* Whether the engine can be used at all, before anything is opened. */
    pgqrs_status (*check)(pgqrs_error *error);
    /* Open db->path, or a database in memory when it is NULL: sets db->lock, and db->first with an
     * open connection. After an error close_database() follows. */
    pgqrs_status (*open_database)(pgqrs__db *db, pgqrs_error *error);
    /* What is left of it when its connections are closed; db->lock is still held. */
    void (*close_database)(pgqrs__db *db);
    /* Open conn->handle; in memory it is the one of db->first. */
    pgqrs_status (*open_handle)(pgqrs__conn *conn, pgqrs_error *error);
    /* Without its statements, which are dropped before. */
    void (*close_handle)(pgqrs__conn *conn);

    /* Prepare the first statement of the text. *out_stmt NULL: there is none. @p out_tail: what
     * follows it, or NULL; @p kept: it will be used often. */
    int (*prepare)(pgqrs__conn *conn, const char *sql, bool kept, void **out_stmt,
                   const char **out_tail);
    void (*drop)(void *stmt);
    int (*columns)(void *stmt);
    /* What is bound stays the caller's, and is there until the reset. Numbers are from 1. */
    int (*bind)(pgqrs__conn *conn, void *stmt, int at, const pgqrs__val *v);
    int (*step)(pgqrs__conn *conn, void *stmt);
    /* Rows that an INSERT, UPDATE or DELETE has changed, after its last step, before its reset. */
    int64_t (*changed)(pgqrs__conn *conn, void *stmt);
    void (*reset)(void *stmt);
    /* A value of the row. @p type: a pgqrs__type, which numbers are turned into. Text without a
     * pointer: out of memory. */
    pgqrs__val (*column)(void *stmt, int at, uint8_t type);
    /* Whether a transaction is open. */
    bool (*in_transaction)(const pgqrs__conn *conn);

    /* Say what the number means; the last error of the connection says more. @p what: the
     * statement, or NULL. */
    pgqrs_status (*fail)(pgqrs__conn *conn, int rc, const char *what, pgqrs_error *error);
    /* The same for a COMMIT, whose failure may leave open what happened. */
    pgqrs_status (*commit_fail)(pgqrs__conn *conn, int rc, pgqrs_error *error);
    /* The number says that somebody else has the file, and the engine has not waited. */
    bool (*is_busy)(int rc);
    /* End what the user has left running on a handle that was lent to them. NULL: none is lent. */
    void (*take_back)(pgqrs__conn *conn);
} pgqrs__engine;

/* One SQL statement of a numbered statement, prepared. A parameter's number is the argument's, from
 * 1; after the arguments come the reserved number ($id) and the ordinal ($n). */
typedef struct pgqrs__embedded_part {
    void    *stmt;
    uint8_t *params; /* owned: the parameters it uses, those of array arguments first */
    uint8_t  narrays;
    uint8_t  nscalars;
    bool     uses_now;
    bool     uses_id;
    bool     uses_n;
    bool     writes;
} pgqrs__embedded_part;

typedef struct pgqrs__embedded_prepared {
    pgqrs__embedded_part *parts; /* owned; NULL: not prepared yet */
    bool                  uses_now;
} pgqrs__embedded_prepared;

/* Statements of the backend itself. */
typedef enum pgqrs__embedded_own {
    PGQRS__EMBEDDED_BEGIN_WRITE,
    PGQRS__EMBEDDED_BEGIN_READ,
    PGQRS__EMBEDDED_COMMIT,
    PGQRS__EMBEDDED_ROLLBACK,
    PGQRS__EMBEDDED_SAVEPOINT,
    PGQRS__EMBEDDED_RELEASE,
    PGQRS__EMBEDDED_ROLLBACK_TO,
    PGQRS__EMBEDDED_SEQUENCE_READ,
    PGQRS__EMBEDDED_SEQUENCE_WRITE,
    PGQRS__EMBEDDED_DATA_VERSION,
    PGQRS__EMBEDDED_HAS_OBJECT,
    PGQRS__EMBEDDED_OWN_COUNT
} pgqrs__embedded_own;

struct pgqrs__db {
    const pgqrs__engine *engine;
    char                *path; /* absolute; NULL: in memory */
    int64_t              connect_timeout_us;
    pgqrs_clock          clock;
    pgqrs__filelock     *lock;
    void                *handle; /* the engine's: see there */
    pgqrs__mutex         mutex;  /* guards first */
    pgqrs__conn         *first;  /* the connection that open() made, until somebody takes it */

    atomic_int_fast64_t statements;
    atomic_int_fast64_t round_trips;
    atomic_int_fast64_t commits;
};

struct pgqrs__conn {
    pgqrs__db               *db;
    const pgqrs__engine     *engine;
    void                    *handle; /* the engine's; owned, unless the database is in memory */
    int64_t                  deadline_us; /* of what is running: for whoever waits for the file */
    bool                     open;        /* between begin() and end(): it has the turn */
    bool                     adopted;     /* the user's: always open, and never ours to end */
    bool                     lent; /* between begin() and end(): to the user, for SQL of theirs */
    bool                     broken;
    bool                     announce;  /* the open transaction has put something in */
    int64_t                  changes;   /* rows that were changed, ever */
    char                     said[256]; /* the engine's last error, where it keeps none */
    void                    *own[PGQRS__EMBEDDED_OWN_COUNT];
    pgqrs__embedded_prepared statements[PGQRS__STMT_COUNT];

    /* wait() */
    bool        listening;
    atomic_bool woken;
    uint64_t    news;
    int64_t     data_version;
    int64_t     next;
};

/* The time as tables store it, in the milliseconds that the engines have. */
#define PGQRS__EMBEDDED_NOW_SQL \
    "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000"

/* --- embedded_path.c */

/** @param[out] out_path  owned, absolute, without links; the file need not be there. NULL: in
 *  memory. */
pgqrs_status pgqrs__embedded_path(const pgqrs__engine *engine, const char *dsn, char **out_path,
                                  pgqrs_error *error);
pgqrs_status pgqrs__embedded_path_fail(const char *path, const char *reason, pgqrs_error *error);

/* --- embedded_error.c */

/** What the text of a statement's error says of our tables, or that it fails by itself; SQLite's
 *  words, which the others have taken over. */
pgqrs_status pgqrs__embedded_statement_fail(const pgqrs__engine *engine, const char *text,
                                            pgqrs_error *error);
void         pgqrs__embedded_sqlstate(pgqrs_error *error, const char *sqlstate);

/* --- embedded_open.c */

pgqrs_status pgqrs__embedded_open(const pgqrs__engine *engine, const char *dsn,
                                  const pgqrs__settings *settings, pgqrs__db **out_db,
                                  pgqrs_error *error);
void         pgqrs__embedded_close(pgqrs__db *db, bool forked);
pgqrs_status pgqrs__embedded_connect(pgqrs__db *db, pgqrs__conn **out_conn, pgqrs_error *error);
void         pgqrs__embedded_disconnect(pgqrs__conn *conn, bool forked);
/** A connection without a handle. NULL: out of memory. */
pgqrs__conn *pgqrs__embedded_conn_new(pgqrs__db *db);
/** Sleep a moment, longer with each of @p tries, because somebody who is not in the queue for turns
 *  has the file. @return false when the connection's deadline has passed */
bool pgqrs__embedded_pause(const pgqrs__conn *conn, int tries);

/* --- embedded_prepare.c */

/** A statement of the backend itself, prepared. It is the connection's. */
pgqrs_status pgqrs__embedded_own_get(pgqrs__conn *conn, pgqrs__embedded_own own, void **out_stmt,
                                     pgqrs_error *error);
/** A numbered statement, prepared. It is the connection's. */
pgqrs_status pgqrs__embedded_prepare(pgqrs__conn *conn, int stmt,
                                     const pgqrs__embedded_prepared **out_prepared,
                                     pgqrs_error                     *error);
/** Frees every prepared statement; @p forked: the memory around them only. */
void pgqrs__embedded_forget(pgqrs__conn *conn, bool forked);
/** Run a statement of the backend that gives no rows. */
pgqrs_status pgqrs__embedded_do(pgqrs__conn *conn, pgqrs__embedded_own own, pgqrs_error *error);
/** Run SQL of any number of statements, whose rows are not wanted. */
pgqrs_status pgqrs__embedded_text(pgqrs__conn *conn, const char *sql, const char *what,
                                  pgqrs_error *error);

/* --- embedded_run.c */

pgqrs_status pgqrs__embedded_run(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                                 pgqrs__mode mode, int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__embedded_begin(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__embedded_end(pgqrs__conn *conn, bool commit, int64_t deadline_us,
                                 pgqrs_error *error);
/** Read the number line: its next number, and the last time that was stored. */
pgqrs_status pgqrs__embedded_sequence(pgqrs__conn *conn, int64_t *out_next,
                                      int64_t *out_last_now_us, pgqrs_error *error);

/** The handle of an open transaction, for the user's SQL. */
void *pgqrs__embedded_lend(pgqrs__conn *conn);

/* --- embedded_wait.c */

typedef void (*pgqrs__embedded_queue_fn)(void *user, int64_t queue_id);

pgqrs_status pgqrs__embedded_wait(pgqrs__conn *conn, int64_t deadline_us,
                                  pgqrs__embedded_queue_fn on_queue, void *user,
                                  pgqrs_error *error);
void         pgqrs__embedded_wake(pgqrs__conn *conn);

/* --- embedded_backend.c: what is left of the table */

bool         pgqrs__embedded_usable(pgqrs__conn *conn);
pgqrs_status pgqrs__embedded_script(pgqrs__conn *conn, const char *sql, int64_t deadline_us,
                                    pgqrs_error *error);
void         pgqrs__embedded_script_text(pgqrs__conn *conn, const char *sql, pgqrs__buf *out);
pgqrs_status pgqrs__embedded_script_begin(pgqrs__conn *conn, pgqrs__buf *out, int64_t deadline_us,
                                          pgqrs_error *error);
pgqrs_status pgqrs__embedded_lock_install(pgqrs__conn *conn, int64_t deadline_us,
                                          pgqrs_error *error);
pgqrs_status pgqrs__embedded_has_table(pgqrs__conn *conn, const char *table, int64_t deadline_us,
                                       bool *out_there, pgqrs_error *error);
pgqrs_status pgqrs__embedded_has_index(pgqrs__conn *conn, const char *index, int64_t deadline_us,
                                       bool *out_there, pgqrs_error *error);
pgqrs_status pgqrs__embedded_check_statement(pgqrs__conn *conn, int stmt, int64_t deadline_us,
                                             pgqrs_error *error);
const char  *pgqrs__embedded_channel(pgqrs__db *db);
void         pgqrs__embedded_counters(pgqrs__db *db, pgqrs_counters *out);

#endif
