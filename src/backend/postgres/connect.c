#include "backend/postgres/postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/failpoint.h"

/* What every connection of ours runs with. Generic plans: planning costs more than running. No
 * sequential scans: a plan made while the tables were empty must still be right when they are not.
 * No JIT: it takes longer than any statement. The last two keep a client that died, or a role's
 * defaults, from harm. */
#define SETTINGS                                                    \
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"   \
    " -c jit=off -c default_transaction_isolation=read\\ committed" \
    " -c idle_in_transaction_session_timeout=300000"

/* Whether they are in force: a pooler may have been told to take no notice of them. */
#define IN_FORCE "current_setting('enable_seqscan') = 'off'"

/* From 14 on, and only where the system can tell. Not a startup option, which 12 and 13 would
 * refuse; and not behind a pooler, whose other clients would get it. */
#define SETTINGS_14                                                                 \
    "CASE WHEN " IN_FORCE                                                           \
    " THEN set_config('client_connection_check_interval', '5s', false) IS NOT NULL" \
    " ELSE false END"

static void on_notice(void *arg, const PGresult *notice)
{
    pgqrs__conn *conn     = arg;
    const char  *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char  *text     = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

    if (severity == NULL || text == NULL)
        return;
    if (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0
        || strncmp(pgqrs__pg_sqlstate(notice), "57P", 3) == 0) {
        /* The words with which the server closes an idle connection come as a notice. */
        (void)snprintf(conn->last_state, sizeof conn->last_state, "%s", pgqrs__pg_sqlstate(notice));
        (void)snprintf(conn->last_words, sizeof conn->last_words, "%s", text);
    } else {
        pgqrs__pg_log(conn->db,
                      strcmp(severity, "WARNING") == 0 ? PGQRS_LOG_WARNING : PGQRS_LOG_DEBUG, text);
    }
}

/* Connect, one address after the other, as far as the time allows. */
static bool dial_within(PGconn *pg, int64_t deadline_us, bool *timed_out)
{
    PostgresPollingStatusType want = PGRES_POLLING_WRITING;

    *timed_out = false;
    while (want != PGRES_POLLING_OK) {
        if (want == PGRES_POLLING_FAILED || PQstatus(pg) == CONNECTION_BAD)
            return false;
        if (pgqrs__pg_poll(PQsocket(pg), want == PGRES_POLLING_READING ? POLLIN : POLLOUT, -1,
                           deadline_us)
            == 0) {
            *timed_out = true;
            return false;
        }
        want = PQconnectPoll(pg);
    }
    return true;
}

/* One try. With several hosts libpq must be the one that waits: only so each gets its share. */
static PGconn *dial(pgqrs__conn *conn, const pgqrs__pg_dsn *dsn, const char *options,
                    int64_t deadline_us, bool *timed_out)
{
    char        seconds[16];
    int64_t     share = (deadline_us - pgqrs__mono_us()) / PGQRS_SECOND / dsn->hosts;
    const char *keys[7], *values[7];
    size_t      n = 0;
    PGconn     *pg;

    *timed_out  = false;
    keys[n]     = "dbname";
    values[n++] = dsn->text;
    keys[n]     = "client_encoding";
    values[n++] = "UTF8";
    keys[n]     = "fallback_application_name";
    values[n++] = "pgqrs";
    if (options != NULL) {
        keys[n]     = "options";
        values[n++] = options;
    }
    if (dsn->hosts > 1 && dsn->limit_s <= 0) {
        (void)snprintf(seconds, sizeof seconds, "%d", (int)PGQRS__MIN(PGQRS__MAX(share, 2), 3600));
        keys[n]     = "connect_timeout";
        values[n++] = seconds;
    }
    keys[n] = values[n] = NULL;

    if (dsn->hosts > 1) {
        pg = PQconnectdbParams(keys, values, 1);
        if (pg != NULL)
            (void)PQsetNoticeReceiver(pg, on_notice, conn);
        return pg;
    }
    if (dsn->limit_s > 0)
        deadline_us = PGQRS__MIN(deadline_us,
                                 pgqrs__i64_add_sat(pgqrs__mono_us(), dsn->limit_s * PGQRS_SECOND));
    pg = PQconnectStartParams(keys, values, 1);
    if (pg != NULL) {
        (void)PQsetNoticeReceiver(pg, on_notice, conn);
        (void)PQsetErrorVerbosity(pg, PQERRORS_VERBOSE); /* only so is the SQLSTATE to be had */
        (void)dial_within(pg, deadline_us, timed_out);
        (void)PQsetErrorVerbosity(pg, PQERRORS_DEFAULT);
    }
    return pg;
}

static void pooler_found(pgqrs__db *db, const char *how)
{
    char text[128];

    if (atomic_exchange(&db->pooled, true)) /* every connection looks, before it sends */
        return;
    (void)snprintf(text, sizeof text, "%s: this is a transaction pooler, and is treated as one",
                   how);
    pgqrs__pg_log(db, PGQRS_LOG_INFO, text);
}

pgqrs_status pgqrs__pg_dial(pgqrs__conn *conn, const pgqrs__pg_dsn *dsn, int64_t deadline_us,
                            pgqrs_error *error)
{
    pgqrs__db   *db     = conn->db;
    const bool   pooled = atomic_load(&db->pooled) && dsn != &db->listen;
    pgqrs__buf   options;
    PGconn      *pg;
    bool         timed_out;
    pgqrs_status rc = PGQRS_OK;

    pgqrs__buf_init(&options);
    if (dsn->options != NULL)
        pgqrs__buf_str(&options, dsn->options);
    if (!pooled)
        pgqrs__buf_printf(&options, "%s" SETTINGS, dsn->options != NULL ? " " : "");
    if (pgqrs__buf_cstr(&options) == NULL) {
        pgqrs__buf_free(&options);
        return pgqrs__nomem(error);
    }
    pg = dial(conn, dsn, pooled ? NULL : options.data, deadline_us, &timed_out);
    pgqrs__buf_free(&options);
    if (pg == NULL)
        return pgqrs__nomem(error);

    if (PQstatus(pg) != CONNECTION_OK) {
        if (timed_out) {
            rc = pgqrs__fail(error, PGQRS_ECONN, PGQRS_OBJECT_STORE,
                             "could not connect to the database in time");
        } else if (!pooled && dsn == &db->dsn
                   && strstr(PQerrorMessage(pg), "startup parameter") != NULL) {
            PQfinish(pg);
            pooler_found(db, "startup options are refused");
            return pgqrs__pg_dial(conn, dsn, deadline_us, error); /* once: it is pooled now */
        } else {
            rc = pgqrs__pg_refused(pg, dsn, error);
        }
    } else if (PQserverVersion(pg) < 120000) {
        rc = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "PostgreSQL %s is older than 12",
                         PQparameterStatus(pg, "server_version"));
        pgqrs__hint(error, "pgqrs needs PostgreSQL 12 or later.");
    } else if (PQsetnonblocking(pg, 1) != 0 || PQenterPipelineMode(pg) != 1) {
        rc = pgqrs__nomem(error);
    }
    if (rc != PGQRS_OK) {
        PQfinish(pg);
        return rc;
    }
    PGQRS__FAILPOINT("connected");
    conn->pg            = pg;
    conn->unnamed       = pooled;
    conn->last_words[0] = '\0';
    return PGQRS_OK;
}

void pgqrs__pg_hang_up(pgqrs__conn *conn, bool forked)
{
    int fd = conn->pg == NULL ? -1 : PQsocket(conn->pg);

    if (forked && fd >= 0) {
        /* PQfinish() says goodbye, and the parent still talks on this socket. */
        int nowhere;

        (void)close(fd);
        nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (nowhere >= 0 && nowhere != fd) {
            (void)dup2(nowhere, fd);
            (void)close(nowhere);
        }
    }
    PQfinish(conn->pg);
    conn->pg = NULL;
}

void pgqrs__pg_disconnect(pgqrs__conn *conn, bool forked)
{
    int fd;

    if (conn == NULL)
        return;
    if (conn->adopted)
        conn->pg = NULL; /* its owner's */
    pgqrs__pg_hang_up(conn, forked);
    fd = atomic_load(&conn->wake_fd);
    if (fd >= 0)
        (void)close(fd);
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(conn->args); i++)
        pgqrs__buf_free(&conn->args[i]);
    pgqrs__free(conn->items);
    pgqrs__free(conn);
}

static pgqrs_status take_schema(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                                pgqrs_error *error)
{
    (void)item;
    if (PQntuples(answer) == 1 && !PQgetisnull(answer, 0, 0))
        return pgqrs__pg_resolve(conn->db, PQgetvalue(answer, 0, 0), error);
    (void)pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE, "there is no current schema");
    pgqrs__hint(error, "Name one in the store's options, or make the search_path lead to one.");
    return PGQRS_ESCHEMA;
}

pgqrs_status pgqrs__pg_find_schema(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc;

    if (atomic_load(&conn->db->resolved))
        return PGQRS_OK;
    rc = pgqrs__pg_open(conn, deadline_us, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_send(conn, "SELECT current_schema()::text", 0, NULL, take_schema, NULL,
                            error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_close(conn, PGQRS__PG_STAKE_NONE, deadline_us, error);
    return rc;
}

static pgqrs_status take_in_force(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                                  pgqrs_error *error)
{
    (void)item;
    (void)error;
    if (PQntuples(answer) == 1 && PQgetlength(answer, 0, 0) == 1
        && PQgetvalue(answer, 0, 0)[0] == 0)
        pooler_found(conn->db, "startup options have no effect");
    return PGQRS_OK;
}

/* Look whether the settings are in force, and add the one that cannot be asked for at startup. */
static pgqrs_status settle_in(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    const char *ask =
        PQserverVersion(conn->pg) >= 140000 ? "SELECT " SETTINGS_14 : "SELECT " IN_FORCE;
    pgqrs_error  refused;
    pgqrs_status rc = pgqrs__pg_open(conn, deadline_us, error);

    if (rc == PGQRS_OK)
        rc = pgqrs__pg_send(conn, ask, 0, NULL, take_in_force, NULL, error);
    if (rc != PGQRS_OK)
        return rc;
    /* An error is the server's word that its system cannot tell: nothing is lost. */
    rc = pgqrs__pg_close(conn, PGQRS__PG_STAKE_NONE, deadline_us, &refused);
    if (rc == PGQRS_OK || pgqrs__pg_usable(conn))
        return PGQRS_OK;
    if (error != NULL)
        *error = refused;
    return rc;
}

pgqrs_status pgqrs__pg_connect(pgqrs__db *db, pgqrs__conn **out_conn, pgqrs_error *error)
{
    int64_t deadline_us = pgqrs__i64_add_sat(pgqrs__mono_us(), db->settings.connect_timeout_us);
    pgqrs__conn *conn   = pgqrs__calloc(1, sizeof *conn);
    pgqrs_status rc;

    *out_conn = NULL;
    if (conn == NULL)
        return pgqrs__nomem(error);
    conn->db = db;
    atomic_init(&conn->wake_fd, -1);
    atomic_init(&conn->woken, false);
    rc = pgqrs__pg_dial(conn, &db->dsn, deadline_us, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_find_schema(conn, deadline_us, error);
    if (rc == PGQRS_OK && !conn->unnamed)
        rc = settle_in(conn, deadline_us, error);
    if (rc != PGQRS_OK) {
        pgqrs__pg_disconnect(conn, false);
        return rc;
    }
    *out_conn = conn;
    return pgqrs__ok(error);
}
