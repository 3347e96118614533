/** Turns between processes, at a lock file: whoever asked first is next, and a process that dies in
 *  its turn, or while it waits, stops nobody. In a process one thread at a time takes a turn.
 *
 *  Errors are numbers of errno.h, 0 is success. */
#ifndef PGQRS_BACKEND_TURNS_H
#define PGQRS_BACKEND_TURNS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

typedef struct pgqrs__bell pgqrs__bell;

/** By value in whatever owns it; fd -1 is a closed one. */
typedef struct pgqrs__turns {
    int          fd;   /* of the lock file */
    pgqrs__bell *bell; /* in it, mapped; NULL: the system cannot wake another process */
} pgqrs__turns;

/** Opens the lock file, or makes it with the mode and the owner of @p database, and tries to lock
 *  it. After an error fd says what failed: -1 the opening, else the locking; close it then, too. */
int pgqrs__turns_open(pgqrs__turns *turns, const char *name, const struct stat *database);

/** Hold the lock file until it is closed: alone, so that nobody else can hold it, or with others
 * who are not alone. Whoever is alone takes no turns.
 *  @param[out] out_holder  after EWOULDBLOCK: the process that has it alone, 0: not known
 *  @return 0, EWOULDBLOCK, or why the system refuses to lock */
int pgqrs__turns_hold(const pgqrs__turns *turns, bool alone, long *out_holder);

/** Whether somebody holds the lock file alone, if it is there; nothing is kept. For a process that
 *  has it not open itself. @return 0, EWOULDBLOCK */
int pgqrs__turns_peek(const char *name, long *out_holder);

/** A turn that was taken ends with it, unless the file is open elsewhere: a child after fork() must
 *  close it, too. */
void pgqrs__turns_close(pgqrs__turns *turns);

/** Wait until @p deadline_us by the monotonic clock. A turn that is free is taken in any case.
 *  @return 0, ETIMEDOUT, or why the system refuses to lock */
int  pgqrs__turns_take(const pgqrs__turns *turns, int64_t deadline_us);
void pgqrs__turns_yield(const pgqrs__turns *turns);

#endif
