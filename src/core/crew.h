/* The crew of a store: threads that carry what was submitted (crew.c). */
#ifndef PGQRS_CORE_CREW_H
#define PGQRS_CORE_CREW_H

#include "core/task.h"

/* Make sure that there is one. PGQRS_ENOMEM: no memory, or no thread. */
pgqrs_status pgqrs__crew_start(pgqrs_store *store, pgqrs_error *error);
/* Carry the tasks of a batch, chained by `next`, to their results; `left` of the batch counts them.
 */
void pgqrs__crew_submit(pgqrs_store *store, pgqrs__task *first, int64_t deadline_us);
/* Wait until a batch that nobody else is told of is done. */
void pgqrs__crew_wait(pgqrs_store *store, pgqrs_batch *batch);
/* End waits: those of a batch, or (NULL) of all. */
void pgqrs__crew_hurry(pgqrs_store *store, pgqrs_batch *batch);
/* Let what is under way finish, and end the threads. Forked: memory only. */
void pgqrs__crew_stop(pgqrs_store *store, bool forked);

/* Under the store's lock: something may be led; operations were answered, chained by `next`, latest
 * first (leaves the lock meanwhile); some queue was heard of. */
void pgqrs__crew_wake(pgqrs_store *store);
void pgqrs__crew_answer(pgqrs_store *store, pgqrs__op *answered);
void pgqrs__crew_heard(pgqrs_store *store);

#endif
