/** Two clocks, in microseconds. Never compare one with the other. Cannot fail. @threads any */
#ifndef PGQRS_UTIL_CLOCK_H
#define PGQRS_UTIL_CLOCK_H

#include <stdint.h>

/** The host's wall clock: microseconds since 1970-01-01 UTC. May jump both ways. */
int64_t pgqrs__wall_us(void);

/** A clock that only runs forward, from an unspecified start: for deadlines and for judging one's
 *  own leases. */
int64_t pgqrs__mono_us(void);

/** Block this thread for about so long; a signal may end it earlier. Not for tests. */
void pgqrs__sleep_us(int64_t duration_us);

#endif
