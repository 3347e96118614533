#include "util/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

bool pgqrs__mutex_init(pgqrs__mutex *mutex)
{
    return pthread_mutex_init(&mutex->handle, NULL) == 0;
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

bool pgqrs__cond_wait_until(pgqrs__cond *cond, pgqrs__mutex *mutex, int64_t mono_deadline_us)
{
    struct timespec deadline;

    if (mono_deadline_us == INT64_MAX) {
        pgqrs__cond_wait(cond, mutex);
        return true;
    }
    if (mono_deadline_us < 0)
        mono_deadline_us = 0; /* passed long ago; a negative timespec would be refused */
    deadline.tv_sec  = (time_t)(mono_deadline_us / 1000000);
    deadline.tv_nsec = (long)(mono_deadline_us % 1000000) * 1000;
    return pthread_cond_timedwait(&cond->handle, &mutex->handle, &deadline) != ETIMEDOUT;
}

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
