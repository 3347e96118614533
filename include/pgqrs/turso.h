/** @file turso.h
 *  Your own SQL in a transactional step on Turso, for programs that use Turso's C interface.
 *
 *  It only declares; turso.h may be included before or after, or not at all. Your program and this
 *  library must use the same copy of Turso, the one that pgqrs_turso_load() names: a handle of the
 *  one is garbage to the other.
 */
#ifndef PGQRS_TURSO_H
#define PGQRS_TURSO_H

#include <pgqrs/pgqrs.h>

struct turso_connection;

#ifndef PGQRS_CDEF
#ifdef __cplusplus
extern "C" {
#endif
#endif

/** The connection of a transactional step (pgqrs_step_begin_tx()), for your own SQL. It is in the
 *  step's transaction; leave BEGIN, COMMIT and ROLLBACK to the library, and reset and deinit your
 *  statements before the step ends: with one still open, Turso would hide the commit from the other
 *  connections. Never call turso_statement_finalize() on them. It is yours until then.
 *  @return NULL when the step is not transactional, has ended, or its store is not Turso. */
PGQRS_API struct turso_connection *pgqrs_step_turso(pgqrs_step *step);

#ifndef PGQRS_CDEF
#ifdef __cplusplus
}
#endif
#endif

#endif
