/* What the files of the PostgreSQL backend share. libpq non-blocking, in pipeline mode: everything
 * that is to be done in one transaction is sent at once, followed by one Sync; the server makes a
 * transaction of what lies between two Syncs, so a write needs neither BEGIN nor COMMIT. */
#ifndef PGQRS_BACKEND_POSTGRES_POSTGRES_H
#define PGQRS_BACKEND_POSTGRES_POSTGRES_H

#include <stdatomic.h>

#include <libpq-fe.h>

#include "backend/backend.h"
#include "statements.h"
#include "util/base.h"
#include "util/buf.h"
#include "util/thread.h"

enum {
    PGQRS__PG_MAX_ARGS = 32,
    PGQRS__PG_MAX_COLS = 32,
    PGQRS__PG_NAME_MAX = 40 /* of a prepared statement, with its NUL */
};

/* A DSN, and what of it we have to know; libpq reads it by itself. */
typedef struct pgqrs__pg_dsn {
    char *text;
    char
        *options; /* what the user wants at startup (from the DSN, PGOPTIONS, a service); or NULL */
    char *password; /* as libpq reads it out of the DSN; or NULL */
    int   hosts;    /* how many may have to be tried */
    int   limit_s;  /* its connect_timeout; or 0 */
} pgqrs__pg_dsn;

struct pgqrs__db {
    pgqrs__settings settings; /* its strings are not ours: see schema, dsn, listen */
    pgqrs__pg_dsn   dsn;
    pgqrs__pg_dsn   listen;   /* text NULL: listen where everything else goes */
    char           *wanted;   /* settings.schema, or NULL */
    atomic_bool     pooled;   /* behind a transaction pooler: no session state */
    atomic_bool     resolved; /* what follows is set, once, under the lock */
    pgqrs__mutex    lock;
    char           *schema; /* as it is called, and as an identifier */
    char           *quoted;
    char            channel[24];
    char           *sql[PGQRS__STMT_COUNT]; /* with the schema put in */
    char            names[PGQRS__STMT_COUNT][PGQRS__PG_NAME_MAX];
    atomic_llong    statements;
    atomic_llong    round_trips;
    atomic_llong    commits;
};

struct pgqrs__pg_item;

/* Takes the answer of one item. A status other than PGQRS_OK, with error filled, fails what was
 * sent. */
typedef pgqrs_status (*pgqrs__pg_answer_fn)(pgqrs__conn *conn, struct pgqrs__pg_item *item,
                                            const PGresult *answer, pgqrs_error *error);

/* One thing sent that will be answered. */
typedef struct pgqrs__pg_item {
    pgqrs__pg_answer_fn on_answer; /* or NULL */
    pgqrs__call        *call;
    void               *out;
    int                 stmt; /* of a call; of a Parse: the statement that it makes known */
} pgqrs__pg_item;

struct pgqrs__conn {
    pgqrs__db      *db;
    PGconn         *pg;
    bool            broken;      /* in an unknown state: to be thrown away */
    bool            unnamed;     /* no prepared statements, settings with each transaction */
    bool            starting;    /* begin() was called; BEGIN goes with whatever is sent first */
    bool            begun;       /* BEGIN was sent */
    bool            shared;      /* somebody else's between our calls (share.c) … */
    bool            adopted;     /* … and before and after them too */
    bool            inside;      /* a shared one that is ours now, … */
    bool            nonblocking; /* … and what it was before */
    unsigned        misses;      /* how often the server did not know what we had prepared */
    uint8_t         prepared[PGQRS__STMT_COUNT]; /* 2: its Parse is on the way */
    uint8_t         checked[PGQRS__STMT_COUNT];  /* its columns are what the shape says */
    pgqrs__pg_item *items;                       /* sent and not answered yet */
    size_t          items_count;
    size_t          items_cap;
    pgqrs__buf      args[PGQRS__PG_MAX_ARGS]; /* one array each */
    char            last_state[6]; /* what the server said when it closed an idle connection */
    char            last_words[200];
    atomic_int      wake_fd; /* -1 until somebody waits */
    atomic_bool     woken;
    bool            listening;
};

/* What is known when a transaction did not go through. */
typedef enum pgqrs__pg_stake {
    PGQRS__PG_STAKE_NONE, /* nothing is committed by what was sent */
    PGQRS__PG_STAKE_SYNC, /* committed by the Sync, after every answer */
    PGQRS__PG_STAKE_LAST  /* committed by the last item, a COMMIT */
} pgqrs__pg_stake;

/* --- dsn.c --- */

/* Read a DSN. An error never shows more of it than what is surely no secret. */
pgqrs_status pgqrs__pg_dsn_read(pgqrs__pg_dsn *dsn, const char *text, pgqrs_error *error);
void         pgqrs__pg_dsn_free(pgqrs__pg_dsn *dsn);
/* Replace the secret, wherever it occurs in text, in place. */
void pgqrs__pg_scrub(char *text, const char *secret);

/* --- connect.c --- */

/* Fix the schema as the one that the session finds first, unless it is known. */
pgqrs_status pgqrs__pg_find_schema(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);

/* A connection to dsn, in pipeline mode; conn hears its notices. */
pgqrs_status pgqrs__pg_dial(pgqrs__conn *conn, const pgqrs__pg_dsn *dsn, int64_t deadline_us,
                            pgqrs_error *error);
/* Close it; forked: without a word to the server. */
void pgqrs__pg_hang_up(pgqrs__conn *conn, bool forked);

pgqrs_status pgqrs__pg_connect(pgqrs__db *db, pgqrs__conn **out_conn, pgqrs_error *error);
void         pgqrs__pg_disconnect(pgqrs__conn *conn, bool forked);

/* --- database.c --- */

/* A database without an address yet. */
pgqrs_status pgqrs__pg_database_new(const pgqrs__settings *settings, pgqrs__db **out_db,
                                    pgqrs_error *error);

/* Fix the schema and put it into every statement; the first call counts. */
pgqrs_status pgqrs__pg_resolve(pgqrs__db *db, const char *schema, pgqrs_error *error);
/* "@schema." replaced by the quoted schema, inside literals too. The caller looks at out->failed.
 */
void pgqrs__pg_qualify(const pgqrs__db *db, const char *sql, pgqrs__buf *out);
/* A number for a text: names of channels, locks and prepared statements. */
uint64_t pgqrs__pg_hash(uint64_t seed, const char *text);
void     pgqrs__pg_log(const pgqrs__db *db, pgqrs_log_level level, const char *text);

/* --- encode.c --- */

/* The arguments of a call, in the binary format; valid until the next call of this connection. */
typedef struct pgqrs__pg_args {
    Oid         types[PGQRS__PG_MAX_ARGS];
    const char *values[PGQRS__PG_MAX_ARGS];
    int         lengths[PGQRS__PG_MAX_ARGS];
    int         count;
    char        fixed[PGQRS__PG_MAX_ARGS][8];
} pgqrs__pg_args;

/* All formats are binary. */
extern const int pgqrs__pg_binary[PGQRS__PG_MAX_ARGS];

void         pgqrs__pg_types(const pgqrs__shape *shape, Oid *types);
pgqrs_status pgqrs__pg_encode(pgqrs__conn *conn, const pgqrs__call *call, pgqrs__pg_args *args,
                              pgqrs_error *error);

/* --- decode.c --- */

Oid pgqrs__pg_oid(uint8_t type, bool array);
/* Whether an answer's columns are what the shape says. */
pgqrs_status pgqrs__pg_check_columns(const pgqrs__shape *shape, const PGresult *answer,
                                     pgqrs_error *error);
/* Hand the rows of a call's answer to it. */
pgqrs_status pgqrs__pg_decode(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                              pgqrs_error *error);

/* --- pipeline.c --- */

/* Make ready to send: looks whether the connection is still there, and opens the transaction that
 * begin() asked for, or sends the settings a pooled transaction needs. */
pgqrs_status pgqrs__pg_open(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);
/* Queue one SQL statement with text parameters and a binary answer. */
pgqrs_status pgqrs__pg_send(pgqrs__conn *conn, const char *sql, int nparams,
                            const char *const *params, pgqrs__pg_answer_fn on_answer, void *out,
                            pgqrs_error *error);
/* Queue a Parse; the answer makes the statement known. */
pgqrs_status pgqrs__pg_send_parse(pgqrs__conn *conn, int stmt, const char *name,
                                  pgqrs_error *error);
/* Note that something was sent which will be answered. */
pgqrs_status pgqrs__pg_sent(pgqrs__conn *conn, int sent, pgqrs__pg_item item, pgqrs_error *error);
/* Sending has failed: what was queued is never committed. */
pgqrs_status pgqrs__pg_give_up(pgqrs__conn *conn, pgqrs_error *error);
/* Send what was queued with a Sync, and take all the answers. */
pgqrs_status pgqrs__pg_close(pgqrs__conn *conn, pgqrs__pg_stake stake, int64_t deadline_us,
                             pgqrs_error *error);
/* Wait until the socket (or second_fd, unless it is -1) has something. 1: yes, 0: the deadline
 * passed. */
int pgqrs__pg_poll(int fd, short events, int second_fd, int64_t deadline_us);
/* Read what has come; false when the connection is lost. */
bool pgqrs__pg_consume(pgqrs__conn *conn);

/* --- share.c --- */

pgqrs_status pgqrs__pg_adopt(void *native, const pgqrs__settings *settings, pgqrs__db **out_db,
                             pgqrs__conn **out_conn, pgqrs_error *error);
/* The connection of an open transaction, for the user's SQL; NULL when it is lost. */
void *pgqrs__pg_lend(pgqrs__conn *conn);
/* Make a lent connection ours again, to end its transaction; refused when it cannot be. */
pgqrs_status pgqrs__pg_take_back(pgqrs__conn *conn, bool commit, pgqrs_error *error);
/* A shared connection, for one call: looks whether its transaction is open, and what it is doing.
 */
pgqrs_status pgqrs__pg_borrow(pgqrs__conn *conn, pgqrs_error *error);
/* Give it back as it was. failed: what was done is not whole, so its transaction must fail. */
void pgqrs__pg_return(pgqrs__conn *conn, bool failed);

/* --- run.c --- */

pgqrs_status pgqrs__pg_run(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls, pgqrs__mode mode,
                           int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__pg_begin(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__pg_end(pgqrs__conn *conn, bool commit, int64_t deadline_us, pgqrs_error *error);
bool         pgqrs__pg_usable(pgqrs__conn *conn);

/* --- install.c --- */

pgqrs_status pgqrs__pg_script(pgqrs__conn *conn, const char *sql, int64_t deadline_us,
                              pgqrs_error *error);
pgqrs_status pgqrs__pg_lock_install(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__pg_has_table(pgqrs__conn *conn, const char *table, int64_t deadline_us,
                                 bool *out_there, pgqrs_error *error);
pgqrs_status pgqrs__pg_has_index(pgqrs__conn *conn, const char *index, int64_t deadline_us,
                                 bool *out_there, pgqrs_error *error);
pgqrs_status pgqrs__pg_grant(pgqrs__conn *conn, const char *producer, const char *worker,
                             int64_t deadline_us, pgqrs_error *error);
pgqrs_status pgqrs__pg_script_begin(pgqrs__conn *conn, pgqrs__buf *out, int64_t deadline_us,
                                    pgqrs_error *error);
pgqrs_status pgqrs__pg_script_grant(pgqrs__conn *conn, const char *producer, const char *worker,
                                    pgqrs__buf *out, int64_t deadline_us, pgqrs_error *error);
void         pgqrs__pg_script_text(pgqrs__conn *conn, const char *sql, pgqrs__buf *out);
pgqrs_status pgqrs__pg_prepare(pgqrs__conn *conn, int stmt, int64_t deadline_us,
                               pgqrs_error *error);

/* --- describe.c --- */

pgqrs_status pgqrs__pg_describe(pgqrs__conn *conn, pgqrs__about *about, int64_t deadline_us,
                                pgqrs_error *error);

/* --- notify.c --- */

pgqrs_status pgqrs__pg_wait(pgqrs__conn *conn, int64_t                            deadline_us,
                            void (*on_queue)(void *user, int64_t queue_id), void *user,
                            pgqrs_error *error);
void         pgqrs__pg_wake(pgqrs__conn *conn);

/* --- errors.c --- */

/* What the server answered to a statement. */
pgqrs_status pgqrs__pg_fail(pgqrs__conn *conn, const PGresult *answer, pgqrs_error *error);
/* The connection is lost; failure is the server's last answer, or NULL. */
pgqrs_status pgqrs__pg_lost(pgqrs__conn *conn, const PGresult *failure, pgqrs_error *error);
/* No connection came about. */
pgqrs_status pgqrs__pg_refused(PGconn *pg, const pgqrs__pg_dsn *dsn, pgqrs_error *error);
/* The value of a SQLSTATE field, or "". */
const char *pgqrs__pg_sqlstate(const PGresult *answer);

#endif
