/** @file postgres.h
 *  pgqrs inside your own PostgreSQL transaction, for programs that use libpq themselves.
 *
 *  It only declares; libpq-fe.h may be included before or after, or not at all: PGconn is
 *  struct pg_conn.
 */
#ifndef PGQRS_POSTGRES_H
#define PGQRS_POSTGRES_H

#include <pgqrs/pgqrs.h>

struct pg_conn;

#ifndef PGQRS_CDEF
#ifdef __cplusplus
extern "C" {
#endif
#endif

/** A store that is the transaction which you have open on @p connection: the same functions, and
 * what they write is committed or rolled back by you, together with what you wrote yourself [G-50].
 *
 *      PQclear(PQexec(conn, "BEGIN"));
 *      ...                                                 an order of yours
 *      pgqrs_adopt_pgconn(conn, NULL, &here, &error);
 *      pgqrs_enqueue(here, "shipping", payload, NULL, &id, &error);
 *      pgqrs_close(here);                                  your transaction stays open
 *      PQclear(PQexec(conn, "COMMIT"));                    order and message exist, or neither does
 *
 *  Nothing is set on the connection, and it is handed back after each call as it was: its settings,
 *  plans, isolation level and timeouts hold. Of @p options the schema, limits, lease_us,
 * max_attempts, clock and log count; what is about connections does not, and calls have no deadline
 * of ours. Every call looks first: without an open transaction, in a failed one, in pipeline mode,
 * in the middle of a command or COPY, or with a client encoding other than UTF8 it is PGQRS_ESTATE,
 * and nothing was sent. When the database fails a call your transaction has failed, as by any
 * statement of yours: roll it back, or to a savepoint of yours. A "no" (PGQRS_ELEASE,
 * PGQRS_ENOTFOUND) leaves it sound. Messages that you claim here are leased when you commit, until
 * the time that counts from the claim. Refused with PGQRS_ESTATE, since they cannot wait for your
 * commit: pgqrs_install(), claims that wait, pgqrs_run_wait(), workers, pgqrs_lease_keep(). Run
 * handles do not keep their lease. Use the store by one thread at a time, as the connection, and
 * close it before PQfinish(). It may stay open over several transactions.
 *  @param[out] out_store  owned: close with pgqrs_close(), which leaves connection and transaction
 *          alone. NULL on failure.
 *  @return PGQRS_OK, PGQRS_EINVAL, PGQRS_ECONFIG (a build without PostgreSQL, a server older than
 *          12), PGQRS_ESTATE, PGQRS_ESCHEMA (newer than this library may use), or a database
 * failure.
 *  @threads any    @blocks until the database answers    @since 0.1 */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_adopt_pgconn(struct pg_conn            *connection,
                                                      const pgqrs_store_options *options,
                                                      pgqrs_store **out_store, pgqrs_error *error);

/** The connection of a transactional step (pgqrs_step_begin_tx()), for your own SQL. It is in the
 *  step's transaction; leave BEGIN, COMMIT, ROLLBACK and pipeline mode to the library (savepoints
 * are fine), and change settings by SET LOCAL only: the connection is one of a pool. It is yours
 * until the step ends.
 *  @return NULL when the step is not transactional, has ended, or its store is not PostgreSQL. */
PGQRS_API struct pg_conn *pgqrs_step_pgconn(pgqrs_step *step);

#ifndef PGQRS_CDEF
#ifdef __cplusplus
}
#endif
#endif

#endif
