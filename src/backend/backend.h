/* The table that every backend fills.
 *
 * A backend runs numbered statements (sql/, generated into statements.h) with typed arguments and
 * hands rows back. What an operation means is in core/, once; core asks a backend's capabilities,
 * never its name. A backend never sees core, nor another backend. */
#ifndef PGQRS_BACKEND_BACKEND_H
#define PGQRS_BACKEND_BACKEND_H

#include <pgqrs/pgqrs.h>

#include "util/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- Statements as data (the tables are generated) -------------------------------------------- */

typedef enum pgqrs__type {
    PGQRS__TYPE_I16,
    PGQRS__TYPE_I32,
    PGQRS__TYPE_I64,
    PGQRS__TYPE_F64,
    PGQRS__TYPE_BOOL,
    PGQRS__TYPE_TEXT,
    PGQRS__TYPE_JSON,
    PGQRS__TYPE_TIME /* microseconds since 1970-01-01 UTC */
} pgqrs__type;

typedef struct pgqrs__field {
    const char *name;
    uint8_t     type;
    uint8_t     array;
    uint8_t     nullable;
} pgqrs__field;

/* What a statement takes and gives, the same in every dialect. Array arguments come first. */
typedef struct pgqrs__shape {
    const char         *name;
    const pgqrs__field *args;
    const pgqrs__field *cols;
    uint8_t             nargs;
    uint8_t             ncols;
    uint8_t             narrays;
    /* takes arrays: one or more argument rows; its first column is the row's ordinal */
    uint8_t many;
} pgqrs__shape;

/* The text of a statement in one dialect. Embedded dialects may need several SQL statements in a
 * row. */
typedef struct pgqrs__sql {
    const char *const *parts;
    uint8_t            nparts;
    uint16_t           ids; /* numbers of the id sequence that each argument row reserves */
} pgqrs__sql;

typedef struct pgqrs__migration {
    int         version;
    const char *name;
    const char *checksum;
    const char *oldest_library;
    const char *sql;
} pgqrs__migration;

/* --- Values ----------------------------------------------------------------------------------- */

typedef enum pgqrs__kind {
    PGQRS__KIND_NULL,
    PGQRS__KIND_INT,
    PGQRS__KIND_REAL,
    PGQRS__KIND_TEXT
} pgqrs__kind;

/* One argument or column. Integers, booleans and times are INT; text and JSON are TEXT (text[len]
 * need not be a NUL). What `text` points to belongs to whoever made the value, and outlives the
 * call. */
typedef struct pgqrs__val {
    pgqrs__kind kind;
    uint32_t    len; /* of text, in bytes */
    union {
        int64_t     i;
        double      f;
        const char *text;
    } as;
} pgqrs__val;

/* --- Calls ------------------------------------------------------------------------------------ */

typedef struct pgqrs__call pgqrs__call;

/* One row of a statement's answer: shape->ncols values, valid for the call. A status other than
 * PGQRS_OK (out of memory) fails the group. Called from the thread that runs the group. */
typedef pgqrs_status (*pgqrs__row_fn)(pgqrs__call *call, const pgqrs__val *cols);

/* Argument rows: nrows × shape->narrays values, row after row. */
typedef struct pgqrs__part {
    const pgqrs__val *rows;
    size_t            nrows;
} pgqrs__part;

/* One statement to run. Several parts are one statement: their rows are numbered on, from 1. */
struct pgqrs__call {
    int                stmt; /* a pgqrs__stmt */
    const pgqrs__part *parts;
    size_t             nparts;
    const pgqrs__val  *scalars; /* shape->nargs - shape->narrays values */
    pgqrs__row_fn      on_row;  /* NULL: rows are not wanted */
    void              *user;    /* for on_row */
    /* Core's, never called by a backend: the call is sent again, so forget the rows that came;
     * NULL: none are kept. */
    void (*restart)(pgqrs__call *call);
};

typedef enum pgqrs__mode {
    PGQRS__MODE_READ,  /* its own read-only transaction; sees one state as far as the backend can */
    PGQRS__MODE_WRITE, /* its own transaction, committed durably when run() returns PGQRS_OK */
    PGQRS__MODE_INSIDE /* in the transaction that begin() opened, or that the user has open */
} pgqrs__mode;

/* --- The table -------------------------------------------------------------------------------- */

/* Capabilities. */
/* several groups may be in flight at once; rows are locked one by one */
#define PGQRS__CAP_WRITERS 1u
#define PGQRS__CAP_NOTIFY  2u /* wait() hears of enqueues by other processes at once */
#define PGQRS__CAP_HINTS   4u /* claims walk dead index entries: pass a low-water hint */
/* several kinds of statement on leased rows need `hold` first; answers may be `again` */
#define PGQRS__CAP_HOLD   8u
#define PGQRS__CAP_REMOTE 16u /* a commit's answer can be lost */

typedef struct pgqrs__db   pgqrs__db;   /* one database, shared by the store's connections */
typedef struct pgqrs__conn pgqrs__conn; /* one connection: used by one thread at a time */

typedef struct pgqrs__settings {
    const char  *schema; /* or NULL */
    int64_t      connect_timeout_us;
    int          pooled; /* 1 yes, 0 unknown */
    const char  *listen_dsn;
    pgqrs_log_fn log; /* or NULL */
    void        *log_data;
    pgqrs_clock  clock; /* both functions set */
} pgqrs__settings;

/* What a database is, for people. */
typedef struct pgqrs__about {
    char       version[128]; /* of the server, or of the library that is the database */
    char       schema[256];  /* where the tables are; "" where there are no schemas */
    pgqrs__buf warnings;     /* what endangers the promises: each a line */
} pgqrs__about;

typedef struct pgqrs__backend {
    const char             *name;
    unsigned                caps;
    const pgqrs__sql       *sql; /* PGQRS__STMT_COUNT */
    const pgqrs__migration *migrations;
    const size_t           *migrations_count;
    const char *const      *schemes; /* of DSNs, NULL-terminated: "postgresql://", … */

    /* Read the DSN (the whole of it, scheme included) and make ready to connect; a backend that has
     * a file opens or creates it. Settings are copied. An error names what is wrong, never a
     * password. */
    pgqrs_status (*open)(const char *dsn, const pgqrs__settings *settings, pgqrs__db **out_db,
                         pgqrs_error *error);
    /* Free it; every connection was disconnected before. `forked`: free memory only, send
     * nothing. */
    void (*close)(pgqrs__db *db, bool forked);

    /* Connect, within settings.connect_timeout_us. Nothing is prepared yet: statements are on first
     * use. */
    pgqrs_status (*connect)(pgqrs__db *db, pgqrs__conn **out_conn, pgqrs_error *error);
    void (*disconnect)(pgqrs__conn *conn, bool forked);
    /* False when the connection must be thrown away: its last use ended in an unknown state. Sends
     * nothing. */
    bool (*usable)(pgqrs__conn *conn);

    /* Run calls in order in one transaction, in one round trip. Rows are handed over before the
     * commit is known: they count only when PGQRS_OK is returned. On failure nothing was written,
     * unless the error is flagged PGQRS_MAYBE_APPLIED. Flagged PGQRS_RETRYABLE: rolled back for a
     * reason that may pass (deadlock, busy, lost connection before anything was sent …). A conflict
     * of unique keys is PGQRS_EDB. @p deadline_us is by the real monotonic clock (INT64_MAX:
     * none). */
    pgqrs_status (*run)(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls, pgqrs__mode mode,
                        int64_t deadline_us, pgqrs_error *error);

    /* A connection of the user's, in a transaction that they have open; refused when it is not.
     * From then on every run() is INSIDE, whatever is asked, and looks first whether it still is
     * open. Nothing is set on it, disconnect() leaves it as it is, and a run() that fails leaves
     * nothing: the state before it, or a failed transaction. @p native: a PGconn * or sqlite3 *. */
    pgqrs_status (*adopt)(void *native, const pgqrs__settings *settings, pgqrs__db **out_db,
                          pgqrs__conn **out_conn, pgqrs_error *error);

    /* A transaction that stays open over several run(…INSIDE). */
    pgqrs_status (*begin)(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);
    pgqrs_status (*end)(pgqrs__conn *conn, bool commit, int64_t deadline_us, pgqrs_error *error);
    /* Inside begin(), after a first run(): the database's own handle (PGconn *, sqlite3 *), for SQL
     * of the user's between our calls, until end(). run() and end() find out what it was misused
     * for. */
    void *(*lend)(pgqrs__conn *conn);

    /* Run SQL text of several statements inside begin()/end(). "@schema." is replaced. */
    pgqrs_status (*script)(pgqrs__conn *conn, const char *sql, int64_t deadline_us,
                           pgqrs_error *error);
    /* Inside begin(): hold off every other install() of this schema until end(). */
    pgqrs_status (*lock_install)(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);
    /* Whether a table of this name (without prefix or schema, e.g. "migrations") exists. */
    pgqrs_status (*has_table)(pgqrs__conn *conn, const char *table, int64_t deadline_us,
                              bool *out_there, pgqrs_error *error);
    /* Whether an index of this name (with the pgqrs_ prefix, without schema) exists. */
    pgqrs_status (*has_index)(pgqrs__conn *conn, const char *index, int64_t deadline_us,
                              bool *out_there, pgqrs_error *error);
    /* Inside begin(): grant what producers and workers need to roles that exist (PGQRS_ENOTFOUND);
     * either may be NULL. The member is NULL where there are no roles. */
    pgqrs_status (*grant)(pgqrs__conn *conn, const char *producer, const char *worker,
                          int64_t deadline_us, pgqrs_error *error);
    /* The same as text, for a person to run. Append what begin() and lock_install() would do;
     * append SQL as script() would run it. now_sql is the time as tables store it. The caller looks
     * at out->failed. */
    pgqrs_status (*script_begin)(pgqrs__conn *conn, pgqrs__buf *out, int64_t deadline_us,
                                 pgqrs_error *error);
    void (*script_text)(pgqrs__conn *conn, const char *sql, pgqrs__buf *out);
    /* Append what grant() would do, refusing what it would refuse. NULL where there are no roles.
     */
    pgqrs_status (*script_grant)(pgqrs__conn *conn, const char *producer, const char *worker,
                                 pgqrs__buf *out, int64_t deadline_us, pgqrs_error *error);
    const char *now_sql;
    /* Say what this database is; *about is zeroed, its warnings are the caller's to free. */
    pgqrs_status (*describe)(pgqrs__conn *conn, pgqrs__about *about, int64_t deadline_us,
                             pgqrs_error *error);
    /* Prepare one statement, so that the database checks it against its schema. */
    pgqrs_status (*prepare)(pgqrs__conn *conn, int stmt, int64_t deadline_us, pgqrs_error *error);

    /* Wait on a connection of its own until something may have been enqueued, wake() was called, or
     * the deadline passed; the first call starts listening and returns at once. With CAP_NOTIFY,
     * on_queue is called with the id of each queue that was named; without, with 0: any queue may
     * have changed. */
    pgqrs_status (*wait)(pgqrs__conn *conn, int64_t                            deadline_us,
                         void (*on_queue)(void *user, int64_t queue_id), void *user,
                         pgqrs_error *error);
    /* Make wait() return. From any thread. */
    void (*wake)(pgqrs__conn *conn);

    /* The channel that an enqueue notifies (an argument of statements); NULL without CAP_NOTIFY. */
    const char *(*channel)(pgqrs__db *db);
    /* What the connections of this database have sent. */
    void (*counters)(pgqrs__db *db, pgqrs_counters *out);
} pgqrs__backend;

extern const pgqrs__backend pgqrs__backend_postgres;
extern const pgqrs__backend pgqrs__backend_sqlite;
extern const pgqrs__backend pgqrs__backend_turso;

/* What a strict statement has undone its transaction for: the text of its error has "pgqrs: lost
 * 7,9", "pgqrs: gone 3" or "pgqrs: recorded 7" in it. PGQRS_OK: it is another error. (backends.c)
 */
pgqrs_status pgqrs__backend_undone(const char *text, pgqrs_error *error);

/* The backend whose scheme the DSN has: NULL, with a clear error, when there is none or it was left
 * out of this build. (backends.c) */
const pgqrs__backend *pgqrs__backend_for(const char *dsn, pgqrs_error *error);

#endif
