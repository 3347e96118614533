/** Callers that all wait for a group before the first one leaves, so that what they share does not
 *  depend on how long a commit takes. */
#ifndef PGQRS_TESTS_GATHER_H
#define PGQRS_TESTS_GATHER_H

#include "support/world.h"

/** call(shared, i) in @p callers threads, i from 0, each with one write. @return what it cost. */
pgqrs_counters gathered(world *w, size_t callers, void (*call)(void *shared, size_t i),
                        void *shared);

#endif
