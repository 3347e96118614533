/** Thin wrappers over POSIX threads. */
#ifndef PGQRS_UTIL_THREAD_H
#define PGQRS_UTIL_THREAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "util/base.h"

typedef struct pgqrs__mutex {
    pthread_mutex_t handle;
} pgqrs__mutex;

typedef struct pgqrs__cond {
    pthread_cond_t handle; /* waits by CLOCK_MONOTONIC */
} pgqrs__cond;

typedef struct pgqrs__thread {
    pthread_t handle;
} pgqrs__thread;

/** False when the system has no resources for one; nothing is to be destroyed then. */
bool pgqrs__mutex_init(pgqrs__mutex *mutex);
void pgqrs__mutex_destroy(pgqrs__mutex *mutex);
void pgqrs__mutex_lock(pgqrs__mutex *mutex);
void pgqrs__mutex_unlock(pgqrs__mutex *mutex);

/** False when the system has no resources for one; nothing is to be destroyed then. */
bool pgqrs__cond_init(pgqrs__cond *cond);
void pgqrs__cond_destroy(pgqrs__cond *cond);
void pgqrs__cond_signal(pgqrs__cond *cond);
void pgqrs__cond_broadcast(pgqrs__cond *cond);

/** Waits, with mutex held, as pthread_cond_wait() does: it may also return for no reason. */
void pgqrs__cond_wait(pgqrs__cond *cond, pgqrs__mutex *mutex);

/** Waits until pgqrs__mono_us() reaches mono_deadline_us; INT64_MAX waits for ever.
 *  @return false when the deadline has passed, true when woken (perhaps for no reason). */
bool pgqrs__cond_wait_until(pgqrs__cond *cond, pgqrs__mutex *mutex, int64_t mono_deadline_us);

/** What one thread waits to hear from others, as bits below 1 << 31. Cheaper than a condition: who
 *  is told need not wait for a mutex of whoever tells. By value in whatever owns it. */
typedef struct pgqrs__news {
    atomic_uint bits;
#ifndef __linux__
    pgqrs__mutex mutex;
    pgqrs__cond  told;
#endif
} pgqrs__news;

/** False when the system has no resources for it; nothing is to be destroyed then. */
bool pgqrs__news_init(pgqrs__news *news);
void pgqrs__news_destroy(pgqrs__news *news);
/** From any thread. Who has heard it may destroy the news at once. */
void pgqrs__news_tell(pgqrs__news *news, unsigned bits);
/** Waits until there are any, or pgqrs__mono_us() reaches until_us; INT64_MAX waits for ever.
 *  @return the bits, which are taken back; 0 when it is over */
unsigned pgqrs__news_wait(pgqrs__news *news, int64_t until_us);

/** Starts fn(arg) in a new thread with all signals blocked, so that the program's handlers never
 *  run in a thread of ours. name is for debuggers, and cut to 15 bytes. Must be joined.
 *  @return 0, or the error number (EAGAIN: no resources): then there is nothing to join. */
int  pgqrs__thread_start(pgqrs__thread *thread, void *(*fn)(void *), void *arg, const char *name);
void pgqrs__thread_join(pgqrs__thread *thread);

/** The calling thread. One that detaches itself is not joined any more. */
pgqrs__thread pgqrs__thread_self(void);
void          pgqrs__thread_detach(pgqrs__thread *thread);

#endif
