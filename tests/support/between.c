#include "support/between.h"

#include <pthread.h>

#include "core/core.h"
#include "util/error.h"

static struct {
    const pgqrs__backend *real;
    pgqrs__backend        ours;
    pthread_mutex_t       lock;
    pthread_cond_t        changed;
    int                   lose;
    bool                  applied;
    bool                  closed;
    int                   waiting;
} between = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static pgqrs_status run(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls, pgqrs__mode mode,
                        int64_t deadline_us, pgqrs_error *error)
{
    bool         lose, applied;
    pgqrs_status rc;
    if (mode != PGQRS__MODE_WRITE)
        return between.real->run(conn, calls, ncalls, mode, deadline_us, error);
    (void)pthread_mutex_lock(&between.lock);
    between.waiting++;
    (void)pthread_cond_broadcast(&between.changed);
    while (between.closed)
        (void)pthread_cond_wait(&between.changed, &between.lock);
    between.waiting--;
    lose    = between.lose > 0;
    applied = between.applied;
    if (lose)
        between.lose--;
    (void)pthread_mutex_unlock(&between.lock);
    if (lose && !applied)
        rc = PGQRS_OK;
    else
        rc = between.real->run(conn, calls, ncalls, mode, deadline_us, error);
    if (!lose || rc != PGQRS_OK)
        return rc;
    (void)pgqrs__fail(error, PGQRS_ECONN, PGQRS_OBJECT_STORE, "the answer was lost");
    pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return PGQRS_ECONN;
}

void between_begin(pgqrs_store *store)
{
    if (store->backend == &between.ours)
        return;
    between.real     = store->backend;
    between.ours     = *store->backend;
    between.ours.run = run;
    store->backend   = &between.ours;
}

void between_end(void)
{
    between_lose(0, false);
    between_open_gate();
}

void between_lose(int count, bool applied)
{
    (void)pthread_mutex_lock(&between.lock);
    between.lose    = count;
    between.applied = applied;
    (void)pthread_mutex_unlock(&between.lock);
}

static void set_gate(bool closed)
{
    (void)pthread_mutex_lock(&between.lock);
    between.closed = closed;
    (void)pthread_cond_broadcast(&between.changed);
    (void)pthread_mutex_unlock(&between.lock);
}

void between_close_gate(void)
{
    set_gate(true);
}

void between_open_gate(void)
{
    set_gate(false);
}

void between_wait(int count)
{
    (void)pthread_mutex_lock(&between.lock);
    while (between.waiting < count)
        (void)pthread_cond_wait(&between.changed, &between.lock);
    (void)pthread_mutex_unlock(&between.lock);
}
