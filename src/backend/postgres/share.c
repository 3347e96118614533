/* Connections that are somebody else's between our calls: adopted ones, which are the user's own,
 * and those of ours that are lent to a transactional step. In between they are as the user wants
 * them: out of pipeline mode, blocking or not as they were. What we do on them is done in their
 * open transaction, and leaves a failed one when it is not whole. */
#include "backend/postgres/postgres.h"

#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

/* There is no such savepoint: an error, after which the transaction can only be rolled back. */
static const char failing[] = "ROLLBACK TO SAVEPOINT pgqrs_is_not_whole";

static pgqrs_status refuse(pgqrs_error *error, const char *what, const char *hint)
{
    pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE, "%s", what);
    pgqrs__hint(error, "%s", hint);
    return PGQRS_ESTATE;
}

/* Whether the connection is in an open, sound transaction, and does nothing else. */
static pgqrs_status check(pgqrs__conn *conn, pgqrs_error *error)
{
    const bool ours = !conn->adopted;

    if (PQstatus(conn->pg) != CONNECTION_OK)
        return pgqrs__pg_lost(conn, NULL, error);
    if (PQpipelineStatus(conn->pg) != PQ_PIPELINE_OFF)
        return refuse(error, "the connection is in pipeline mode",
                      "Leave it with PQexitPipelineMode() first.");
    switch (PQtransactionStatus(conn->pg)) {
    case PQTRANS_INTRANS:
        return PGQRS_OK;
    case PQTRANS_IDLE:
        if (ours)
            return refuse(error, "the step's transaction was ended on its connection",
                          "Leave BEGIN, COMMIT and ROLLBACK to the library.");
        return refuse(error, "no transaction is open on the connection",
                      "Begin one first, or open a store of its own with pgqrs_open().");
    case PQTRANS_INERROR:
        return refuse(error, "the transaction has failed",
                      ours ? "A statement in it failed: leave the step, which rolls it back."
                           : "Roll it back, or to a savepoint of yours.");
    case PQTRANS_ACTIVE:
        return refuse(error, "the connection is in the middle of a command or COPY",
                      "Take its results to their end first.");
    case PQTRANS_UNKNOWN:
        break;
    }
    return pgqrs__pg_lost(conn, NULL, error);
}

/* Text goes over the wire as the client's encoding has it, and ours is UTF-8. */
static pgqrs_status check_encoding(const pgqrs__conn *conn, pgqrs_error *error)
{
    const char *encoding = PQparameterStatus(conn->pg, "client_encoding");

    if (encoding != NULL && strcmp(encoding, "UTF8") == 0)
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE, "the connection's client encoding is %s",
                encoding != NULL ? encoding : "not known");
    pgqrs__hint(error, "Set it to UTF8 with PQsetClientEncoding().");
    return PGQRS_ESTATE;
}

static bool make_ours(pgqrs__conn *conn)
{
    conn->nonblocking = PQisnonblocking(conn->pg) != 0;
    if (PQsetnonblocking(conn->pg, 1) != 0)
        return false;
    if (PQenterPipelineMode(conn->pg) == 1)
        return true;
    (void)PQsetnonblocking(conn->pg, conn->nonblocking);
    return false;
}

pgqrs_status pgqrs__pg_borrow(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs_status rc = check(conn, error);

    if (rc == PGQRS_OK && conn->adopted)
        rc = check_encoding(conn, error);
    if (rc != PGQRS_OK)
        return rc;
    if (!make_ours(conn))
        return pgqrs__nomem(error);
    conn->inside = true;
    return PGQRS_OK;
}

/* Leave pipeline mode with something queued: it must not count. */
static void drain(PGconn *pg)
{
    bool gap = false;

    (void)PQsetnonblocking(pg, 0);
    if (PQsendQueryParams(pg, failing, 0, NULL, NULL, NULL, NULL, 0) != 1
        || PQpipelineSync(pg) != 1)
        return; /* the connection is lost, or has no memory: it stays as it is, which is refused */
    for (;;) {
        PGresult      *answer = PQgetResult(pg);
        ExecStatusType status = PQresultStatus(answer);

        if (answer == NULL && (gap || PQstatus(pg) != CONNECTION_OK))
            break;
        gap = answer == NULL;
        PQclear(answer);
        if (answer != NULL && status == PGRES_PIPELINE_SYNC)
            break;
    }
    (void)PQexitPipelineMode(pg);
}

void pgqrs__pg_return(pgqrs__conn *conn, bool failed)
{
    PGconn *pg = conn->pg;

    if (!conn->inside)
        return;
    conn->inside = false;
    if (!conn->adopted && conn->broken)
        return; /* it ends with its transaction */
    if (PQexitPipelineMode(pg) != 1)
        drain(pg);
    (void)PQsetnonblocking(pg, conn->nonblocking);
    if (failed && PQtransactionStatus(pg) == PQTRANS_INTRANS)
        PQclear(PQexec(pg, failing));
    conn->broken = false; /* the next call looks for itself */
}

void *pgqrs__pg_lend(pgqrs__conn *conn)
{
    if (conn->shared)
        return conn->pg;
    if (conn->broken || PQexitPipelineMode(conn->pg) != 1 || PQsetnonblocking(conn->pg, 0) != 0) {
        conn->broken = true;
        return NULL;
    }
    conn->shared = true;
    return conn->pg;
}

pgqrs_status pgqrs__pg_take_back(pgqrs__conn *conn, bool commit, pgqrs_error *error)
{
    pgqrs_status rc = check(conn, error);

    conn->shared = false;
    if (rc != PGQRS_OK && (commit || PQtransactionStatus(conn->pg) != PQTRANS_INERROR)) {
        conn->broken = true;
        return rc;
    }
    if (PQpipelineStatus(conn->pg) == PQ_PIPELINE_OFF && make_ours(conn))
        return PGQRS_OK;
    conn->broken = true;
    return pgqrs__nomem(error);
}

pgqrs_status pgqrs__pg_adopt(void *native, const pgqrs__settings *settings, pgqrs__db **out_db,
                             pgqrs__conn **out_conn, pgqrs_error *error)
{
    pgqrs__db   *db   = NULL;
    pgqrs__conn *conn = NULL;
    pgqrs_status rc;

    *out_db   = NULL;
    *out_conn = NULL;
    rc        = pgqrs__pg_database_new(settings, &db, error);
    if (rc != PGQRS_OK)
        return rc;
    conn = pgqrs__calloc(1, sizeof *conn);
    if (conn == NULL) {
        rc = pgqrs__nomem(error);
        goto done;
    }
    *conn = (pgqrs__conn){
        .db      = db,
        .pg      = native,
        .shared  = true,
        .adopted = true,
        .begun   = true,
        .unnamed = true, /* nothing of ours stays prepared in it */
    };
    atomic_init(&conn->wake_fd, -1);
    atomic_init(&conn->woken, false);
    rc = check(conn, error);
    if (rc == PGQRS_OK && PQserverVersion(conn->pg) < 120000) {
        rc = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "PostgreSQL is older than 12");
        pgqrs__hint(error, "pgqrs needs PostgreSQL 12 or later.");
    }
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_find_schema(conn, INT64_MAX, error);
    if (rc != PGQRS_OK)
        goto done;
    *out_db   = db;
    *out_conn = conn;
    db        = NULL;
    conn      = NULL;
done:
    pgqrs__pg_disconnect(conn, false);
    if (db != NULL)
        pgqrs__backend_postgres.close(db, false);
    return rc;
}
