#include "util/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Most are held for less time than it takes to go to sleep: where there are mutexes that look
 * again a few times first, they are such. */
bool pgqrs__mutex_init(pgqrs__mutex *mutex)
{
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
    pthread_mutexattr_t attr;
    bool                done;

    if (pthread_mutexattr_init(&attr) != 0)
        return false;
    done = pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP) == 0
           && pthread_mutex_init(&mutex->handle, &attr) == 0;
    (void)pthread_mutexattr_destroy(&attr);
    return done;
#else
    return pthread_mutex_init(&mutex->handle, NULL) == 0;
#endif
}

void pgqrs__mutex_destroy(pgqrs__mutex *mutex)
{
    (void)pthread_mutex_destroy(&mutex->handle);
}

void pgqrs__mutex_lock(pgqrs__mutex *mutex)
{
    (void)pthread_mutex_lock(&mutex->handle); /* fails only when misused */
}

void pgqrs__mutex_unlock(pgqrs__mutex *mutex)
{
    (void)pthread_mutex_unlock(&mutex->handle);
}

bool pgqrs__cond_init(pgqrs__cond *cond)
{
    pthread_condattr_t attr;
    bool               done;

    if (pthread_condattr_init(&attr) != 0)
        return false;
    done = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0
           && pthread_cond_init(&cond->handle, &attr) == 0;
    (void)pthread_condattr_destroy(&attr);
    return done;
}

void pgqrs__cond_destroy(pgqrs__cond *cond)
{
    (void)pthread_cond_destroy(&cond->handle);
}

void pgqrs__cond_signal(pgqrs__cond *cond)
{
    (void)pthread_cond_signal(&cond->handle);
}

void pgqrs__cond_broadcast(pgqrs__cond *cond)
{
    (void)pthread_cond_broadcast(&cond->handle);
}

void pgqrs__cond_wait(pgqrs__cond *cond, pgqrs__mutex *mutex)
{
    (void)pthread_cond_wait(&cond->handle, &mutex->handle);
}

static struct timespec timespec_of(int64_t mono_us)
{
    if (mono_us < 0)
        mono_us = 0; /* passed long ago; a negative timespec would be refused */
    return (struct timespec){ .tv_sec  = (time_t)(mono_us / 1000000),
                              .tv_nsec = (long)(mono_us % 1000000) * 1000 };
}

bool pgqrs__cond_wait_until(pgqrs__cond *cond, pgqrs__mutex *mutex, int64_t mono_deadline_us)
{
    struct timespec deadline;

    if (mono_deadline_us == INT64_MAX) {
        pgqrs__cond_wait(cond, mutex);
        return true;
    }
    deadline = timespec_of(mono_deadline_us);
    return pthread_cond_timedwait(&cond->handle, &mutex->handle, &deadline) != ETIMEDOUT;
}

#ifdef __linux__

/* Who waits sleeps, or is about to. */
#define ASLEEP 0x80000000u

bool pgqrs__news_init(pgqrs__news *news)
{
    atomic_init(&news->bits, 0);
    return true;
}

void pgqrs__news_destroy(pgqrs__news *news)
{
    (void)news;
}

void pgqrs__news_tell(pgqrs__news *news, unsigned bits)
{
    /* From here on it may be gone: the address alone is used, and waking nobody, or somebody else
     * for no reason, does no harm. */
    if ((atomic_fetch_or(&news->bits, bits) & ASLEEP) != 0)
        (void)syscall(SYS_futex, &news->bits, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

unsigned pgqrs__news_wait(pgqrs__news *news, int64_t until_us)
{
    const struct timespec until = timespec_of(until_us);
    unsigned              seen  = atomic_load(&news->bits);
    bool                  over  = false;

    while ((seen & ~ASLEEP) == 0 && !over) {
        if (seen == ASLEEP || atomic_compare_exchange_strong(&news->bits, &seen, ASLEEP)) {
            over = syscall(SYS_futex, &news->bits, FUTEX_WAIT_BITSET_PRIVATE, ASLEEP,
                           until_us == INT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY)
                       != 0
                   && errno == ETIMEDOUT;
            seen = atomic_load(&news->bits);
        }
    }
    return atomic_exchange(&news->bits, 0) & ~ASLEEP;
}

#else

bool pgqrs__news_init(pgqrs__news *news)
{
    atomic_init(&news->bits, 0);
    if (!pgqrs__mutex_init(&news->mutex))
        return false;
    if (pgqrs__cond_init(&news->told))
        return true;
    pgqrs__mutex_destroy(&news->mutex);
    return false;
}

void pgqrs__news_destroy(pgqrs__news *news)
{
    pgqrs__cond_destroy(&news->told);
    pgqrs__mutex_destroy(&news->mutex);
}

void pgqrs__news_tell(pgqrs__news *news, unsigned bits)
{
    pgqrs__mutex_lock(&news->mutex);
    (void)atomic_fetch_or(&news->bits, bits);
    pgqrs__cond_signal(&news->told);
    pgqrs__mutex_unlock(&news->mutex);
}

unsigned pgqrs__news_wait(pgqrs__news *news, int64_t until_us)
{
    unsigned bits;

    pgqrs__mutex_lock(&news->mutex);
    while (atomic_load(&news->bits) == 0
           && pgqrs__cond_wait_until(&news->told, &news->mutex, until_us))
        continue;
    bits = atomic_exchange(&news->bits, 0);
    pgqrs__mutex_unlock(&news->mutex);
    return bits;
}

#endif

int pgqrs__thread_start(pgqrs__thread *thread, void *(*fn)(void *), void *arg, const char *name)
{
    /* Raised by the thread's own faults, so blocking them would only hide a crash from the
     * program's handler. */
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
    sigset_t         blocked, before;
    char             cut[16];
    int              rc;

    (void)sigfillset(&blocked);
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(faults); i++)
        (void)sigdelset(&blocked, faults[i]);
    rc = pthread_sigmask(SIG_SETMASK, &blocked, &before);
    if (rc != 0)
        return rc;
    rc = pthread_create(&thread->handle, NULL, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return rc;
    (void)snprintf(cut, sizeof cut, "%.15s", name);
    (void)pthread_setname_np(thread->handle, cut); /* cosmetic */
    return 0;
}

void pgqrs__thread_join(pgqrs__thread *thread)
{
    (void)pthread_join(thread->handle, NULL);
}

pgqrs__thread pgqrs__thread_self(void)
{
    return (pgqrs__thread){ .handle = pthread_self() };
}

void pgqrs__thread_detach(pgqrs__thread *thread)
{
    (void)pthread_detach(thread->handle);
}
