/** Points at which the crash tests kill the process, before and after whatever may leave a trace in
 *  the database. Only a build of its own has them (-DPGQRS_FAILPOINTS=ON); in any other there is
 *  nothing left of them. */
#ifndef PGQRS_UTIL_FAILPOINT_H
#define PGQRS_UTIL_FAILPOINT_H

#ifdef PGQRS_FAILPOINTS

#include <stdbool.h>

/** Pass a point. They are numbered from 1 as they are passed; the process ends by SIGKILL at the
 *  number that the environment variable PGQRS_FAILPOINT holds. */
void pgqrs__failpoint(const char *where);
/** Whether the next point is that number. */
bool pgqrs__failpoint_is_next(void);
/** How many have been passed. */
long pgqrs__failpoint_count(void);

#define PGQRS__FAILPOINT(where) pgqrs__failpoint(where)
/** @p action makes what came before visible to others; needed only if the process ends here. */
#define PGQRS__FAILPOINT_AFTER(action, where) \
    do {                                      \
        if (pgqrs__failpoint_is_next())       \
            action;                           \
        pgqrs__failpoint(where);              \
    } while (0)

#else

#define PGQRS__FAILPOINT(where)               ((void)0)
#define PGQRS__FAILPOINT_AFTER(action, where) ((void)0)

#endif
#endif
