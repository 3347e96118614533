/** One database file, as the backends that are inside the process share it.
 *
 *  An engine in the process keeps its locks with the process, so a second engine on the same file
 *  would not be kept out, and would lose acknowledged commits. So there is one registry of files,
 *  by device and inode, and it refuses the second. It does the same after fork(), for files that
 *  the parent had open: SQLite in the child would trust locks that it has not got.
 *
 *  It also gives the turns to write. In the process writers queue in order of arrival; between
 *  processes they do at locks on a file of our own beside the database, "<database>-pgqrs", which
 *  is never removed. That file also says whether one process has the database for itself, as some
 *  engines need it, and which one. A database's own lock is nobody's turn: whoever asks again
 * soonest gets it, and the others starve. A process that dies in its turn loses it with its locks.
 * The database file itself is never opened here: closing it would drop the engine's locks.
 *  @threads any */
#ifndef PGQRS_BACKEND_FILELOCK_H
#define PGQRS_BACKEND_FILELOCK_H

#include <pgqrs/pgqrs.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct pgqrs__filelock pgqrs__filelock;

/** Join the file at @p path, absolute and there, for @p engine (static text); NULL is a database in
 *  memory, which nobody shares.
 *  @return PGQRS_OK, PGQRS_ECONFIG (the file is gone, another engine has it, or it cannot be
 *            locked), PGQRS_EBUSY (another process has it alone), PGQRS_EFORK (the parent had it
 *            open), PGQRS_ENOMEM */
pgqrs_status pgqrs__filelock_join(const char *path, const char *engine, pgqrs__filelock **out_lock,
                                  pgqrs_error *error);

/** The same for an engine with which one process at a time has a file: creates the file when it is
 *  not there, since the engine must not touch it before this succeeds.
 *  @return PGQRS_EBUSY too: another process has it open, which is named when it has it alone. */
pgqrs_status pgqrs__filelock_join_alone(const char *path, const char *engine,
                                        pgqrs__filelock **out_lock, pgqrs_error *error);

/** Whether @p engine may open the file, if it is there: to be asked before the engine does so. */
pgqrs_status pgqrs__filelock_check(const char *path, const char *engine, pgqrs_error *error);

/** Leave it, after the engine has closed the file. @p forked: in a child, frees nothing that the
 *  parent could have been changing. */
void pgqrs__filelock_leave(pgqrs__filelock *lock, bool forked);

/** Wait for the turn to write, until @p deadline_us by the monotonic clock; a turn that is free is
 *  taken in any case. @return PGQRS_OK, PGQRS_ETIMEDOUT, PGQRS_EDB (the system refuses to lock) */
pgqrs_status pgqrs__filelock_take(pgqrs__filelock *lock, int64_t deadline_us, pgqrs_error *error);

/** End the turn. */
void pgqrs__filelock_yield(pgqrs__filelock *lock);

/** A number that grows whenever something in the process has announced news of the file. */
uint64_t pgqrs__filelock_news(pgqrs__filelock *lock);
void     pgqrs__filelock_announce(pgqrs__filelock *lock);

/** Sleep until there is news after @p seen, *woken is set, or @p until_us has come. */
void pgqrs__filelock_sleep(pgqrs__filelock *lock, uint64_t seen, const atomic_bool *woken,
                           int64_t until_us);
/** Set *woken, and end the sleep of whoever looks at it. */
void pgqrs__filelock_wake(pgqrs__filelock *lock, atomic_bool *woken);

#endif
