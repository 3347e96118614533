/** @file sqlite.h
 *  pgqrs inside your own SQLite transaction, for programs that use SQLite themselves.
 *
 *  It only declares; sqlite3.h may be included before or after, or not at all. Your program and
 * this library must be linked to the same copy of SQLite: two copies in one process on one file
 * lose acknowledged commits, and a handle of the one is garbage to the other.
 */
#ifndef PGQRS_SQLITE_H
#define PGQRS_SQLITE_H

#include <pgqrs/pgqrs.h>

struct sqlite3;

#ifndef PGQRS_CDEF
#ifdef __cplusplus
extern "C" {
#endif
#endif

/** A store that is the transaction which you have open on @p connection: the same functions, and
 * what they write is committed or rolled back by you, together with what you wrote yourself [G-50].
 *
 *      sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
 *      ...                                                 an order of yours
 *      pgqrs_adopt_sqlite3(db, NULL, &here, &error);
 *      pgqrs_enqueue(here, "shipping", payload, NULL, &id, &error);
 *      pgqrs_close(here);                                  your transaction stays open
 *      sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);       order and message exist, or neither does
 *
 *  Nothing is set on the connection: its settings hold, its busy handler waits. Each call runs in a
 *  savepoint of its own, so one that fails changes nothing and your transaction goes on, unless
 *  SQLite has rolled all of it back (a full disk, for instance; sqlite3_get_autocommit() says so).
 *  Begin with BEGIN IMMEDIATE: a plain BEGIN that has read may be refused (PGQRS_EBUSY) when it
 * wants to write. Your BEGIN holds the file's lock, so the queue for turns to write, in which the
 * stores of pgqrs_open() stand, is passed by: keep the transaction short. Claims that wait in other
 * stores hear of your commit at their next look, within a second. Of @p options the limits,
 * lease_us, max_attempts, clock and log count. Every call looks first: without an open transaction
 * it is PGQRS_ESTATE. Refused with PGQRS_ESTATE, since they cannot wait for your commit:
 * pgqrs_install(), claims that wait, pgqrs_run_wait(), workers, pgqrs_lease_keep(). Run handles do
 * not keep their lease. Use the store by one thread at a time, as the connection, and close it
 * before sqlite3_close(), which is refused while our statements are prepared. It may stay open over
 * several transactions.
 *  @param[out] out_store  owned: close with pgqrs_close(), which leaves connection and transaction
 *          alone. NULL on failure.
 *  @return PGQRS_OK, PGQRS_EINVAL, PGQRS_ECONFIG (a build without SQLite, a database that cannot be
 *          written), PGQRS_ESTATE, PGQRS_ESCHEMA (newer than this library may use), or a database
 *          failure.
 *  @threads any    @blocks as the connection's busy handler does    @since 0.1 */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_adopt_sqlite3(struct sqlite3            *connection,
                                                       const pgqrs_store_options *options,
                                                       pgqrs_store **out_store, pgqrs_error *error);

/** The connection of a transactional step (pgqrs_step_begin_tx()), for your own SQL. It is in the
 *  step's transaction; leave BEGIN, COMMIT and ROLLBACK to the library (savepoints are fine), and
 *  finalize your statements before the step ends. It is yours until then.
 *  @return NULL when the step is not transactional, has ended, or its store is not SQLite. */
PGQRS_API struct sqlite3 *pgqrs_step_sqlite3(pgqrs_step *step);

#ifndef PGQRS_CDEF
#ifdef __cplusplus
}
#endif
#endif

#endif
