#include "backend/postgres/postgres.h"

#include <stdio.h>
#include <string.h>

#include "util/clock.h"
#include "util/error.h"

/* Prepared names carry how often they were lost: the server may know an old one and not what it
 * means now. */
static const char *name_of(const pgqrs__conn *conn, int stmt, char room[PGQRS__PG_NAME_MAX])
{
    if (conn->misses == 0)
        return conn->db->names[stmt];
    (void)snprintf(room, PGQRS__PG_NAME_MAX, "%.24s_%u", conn->db->names[stmt], conn->misses);
    return room;
}

static pgqrs_status on_parsed(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                              pgqrs_error *error)
{
    (void)answer;
    (void)error;
    conn->prepared[item->stmt] = 1; /* and stays, whatever becomes of the transaction */
    return PGQRS_OK;
}

pgqrs_status pgqrs__pg_send_parse(pgqrs__conn *conn, int stmt, const char *name, pgqrs_error *error)
{
    const pgqrs__shape *shape = &pgqrs__shapes[stmt];
    Oid                 types[PGQRS__PG_MAX_ARGS];
    int                 sent;

    pgqrs__pg_types(shape, types);
    sent = PQsendPrepare(conn->pg, name, conn->db->sql[stmt], shape->nargs, types);
    return pgqrs__pg_sent(
        conn, sent,
        (pgqrs__pg_item){ .on_answer = name[0] == '\0' ? NULL : on_parsed, .stmt = stmt }, error);
}

static pgqrs_status send_call(pgqrs__conn *conn, pgqrs__call *call, pgqrs_error *error)
{
    const pgqrs__shape *shape = &pgqrs__shapes[call->stmt];
    char                room[PGQRS__PG_NAME_MAX];
    const char         *name = name_of(conn, call->stmt, room);
    pgqrs__pg_args      args;
    pgqrs_status        rc = PGQRS_OK;
    int                 sent;

    if (!conn->unnamed && !conn->prepared[call->stmt]) {
        rc                         = pgqrs__pg_send_parse(conn, call->stmt, name, error);
        conn->prepared[call->stmt] = 2;
    }
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_encode(conn, call, &args, error);
    if (rc != PGQRS_OK) {
        conn->broken = true; /* what was queued before must not be sent */
        pgqrs__pg_return(conn, true);
        return rc;
    }
    if (conn->unnamed) {
        pgqrs__pg_types(shape, args.types);
        sent = PQsendQueryParams(conn->pg, conn->db->sql[call->stmt], args.count, args.types,
                                 args.values, args.lengths, pgqrs__pg_binary, 1);
    } else {
        sent = PQsendQueryPrepared(conn->pg, name, args.count, args.values, args.lengths,
                                   pgqrs__pg_binary, 1);
    }
    return pgqrs__pg_sent(
        conn, sent,
        (pgqrs__pg_item){ .on_answer = pgqrs__pg_decode, .call = call, .stmt = call->stmt }, error);
}

pgqrs_status pgqrs__pg_run(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls, pgqrs__mode mode,
                           int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__pg_open(conn, deadline_us, error);

    if (conn->adopted)
        mode = PGQRS__MODE_INSIDE;
    for (size_t i = 0; i < ncalls && rc == PGQRS_OK; i++)
        rc = send_call(conn, &calls[i], error);
    if (rc == PGQRS_OK) {
        atomic_fetch_add_explicit(&conn->db->statements, (long long)ncalls, memory_order_relaxed);
        rc = pgqrs__pg_close(
            conn, mode == PGQRS__MODE_WRITE ? PGQRS__PG_STAKE_SYNC : PGQRS__PG_STAKE_NONE,
            deadline_us, error);
    }
    for (size_t i = 0; i < ncalls; i++) /* a Parse that was never answered was not made */
        conn->prepared[calls[i].stmt] = conn->prepared[calls[i].stmt] == 1;
    if (rc != PGQRS_OK)
        return rc;
    if (mode == PGQRS__MODE_WRITE)
        atomic_fetch_add_explicit(&conn->db->commits, 1, memory_order_relaxed);
    return pgqrs__ok(error);
}

pgqrs_status pgqrs__pg_begin(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    (void)deadline_us;
    conn->starting = true;
    return pgqrs__ok(error);
}

/* The answer to COMMIT in a transaction that has failed before is ROLLBACK, and no error. */
static pgqrs_status on_commit(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                              pgqrs_error *error)
{
    (void)conn;
    (void)item;
    if (strcmp(PQcmdStatus((PGresult *)answer), "COMMIT") == 0)
        return PGQRS_OK;
    return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_NONE,
                       "the transaction had failed and was rolled back");
}

pgqrs_status pgqrs__pg_end(pgqrs__conn *conn, bool commit, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc;

    if (conn->starting) { /* nothing was done in it */
        conn->starting = false;
        return pgqrs__ok(error);
    }
    rc = conn->shared ? pgqrs__pg_take_back(conn, commit, error) : PGQRS_OK;
    if (conn->broken && !commit) { /* it ends with the connection */
        conn->begun = false;
        return pgqrs__ok(error);
    }
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_open(conn, deadline_us, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_send(conn, commit ? "COMMIT" : "ROLLBACK", 0, NULL,
                            commit ? on_commit : NULL, NULL, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_close(conn, commit ? PGQRS__PG_STAKE_LAST : PGQRS__PG_STAKE_NONE,
                             deadline_us, error);
    conn->begun = false;
    if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE)
        conn->broken = true;
    if (rc != PGQRS_OK)
        return rc;
    if (commit)
        atomic_fetch_add_explicit(&conn->db->commits, 1, memory_order_relaxed);
    return pgqrs__ok(error);
}

bool pgqrs__pg_usable(pgqrs__conn *conn)
{
    return !conn->broken && !conn->starting && !conn->begun && PQstatus(conn->pg) == CONNECTION_OK
           && PQtransactionStatus(conn->pg) == PQTRANS_IDLE && conn->last_words[0] == '\0';
}
