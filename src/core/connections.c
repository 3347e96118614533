/* The store's connections: opened when needed, shared, thrown away when their state is unknown. */
#include "core/core.h"
#include "util/clock.h"

/* An idle connection beside those that are kept is closed when it has not been used for so long. */
#define IDLE_US (2 * PGQRS_SECOND)

bool pgqrs__pool_init(pgqrs__pool *pool, int most, int kept, const char *option)
{
    *pool      = (pgqrs__pool){ .most = most, .kept = kept, .option = option };
    pool->idle = pgqrs__calloc((size_t)most, sizeof(pool->idle[0]));
    if (pool->idle == NULL)
        return false;
    if (pgqrs__cond_init(&pool->freed))
        return true;
    pgqrs__free(pool->idle);
    pool->idle = NULL;
    return false;
}

void pgqrs__pool_free(pgqrs_store *store, pgqrs__pool *pool, bool forked)
{
    if (pool->idle == NULL)
        return;
    for (int i = 0; i < pool->idle_count; i++)
        store->backend->disconnect(pool->idle[i].conn, forked);
    pgqrs__free(pool->idle);
    if (!forked)
        pgqrs__cond_destroy(&pool->freed);
}

/* Idle connections that are no longer worth keeping, moved to `old`. Under the lock. */
static int idle_expire(pgqrs__pool *pool, pgqrs__conn **old, int cap)
{
    int64_t now  = pgqrs__mono_us();
    int     gone = 0;

    while (gone < cap && gone < pool->idle_count - pool->kept
           && now - pool->idle[gone].since_us > IDLE_US) {
        old[gone] = pool->idle[gone].conn;
        gone++;
    }
    if (gone > 0) {
        memmove(pool->idle, pool->idle + gone,
                (size_t)(pool->idle_count - gone) * sizeof(pool->idle[0]));
        pool->idle_count -= gone;
        pool->open -= gone;
    }
    return gone;
}

pgqrs_status pgqrs__pool_take(pgqrs_store *store, pgqrs__pool *pool, int64_t deadline_us,
                              pgqrs__conn **out_conn, pgqrs_error *error)
{
    pgqrs_status rc;

    *out_conn = NULL;
    pgqrs__mutex_lock(&store->lock);
    for (;;) {
        if (pool->idle_count > 0) {
            *out_conn = pool->idle[--pool->idle_count].conn;
            pgqrs__mutex_unlock(&store->lock);
            return PGQRS_OK;
        }
        if (pool->open < pool->most)
            break;
        if (!pgqrs__cond_wait_until(&pool->freed, &store->lock, deadline_us)
            && pool->idle_count == 0 && pool->open >= pool->most) {
            pgqrs__mutex_unlock(&store->lock);
            pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_STORE,
                        "no connection became free before the deadline");
            pgqrs__flag(error, PGQRS_RETRYABLE);
            pgqrs__hint(error, "Raise the store option %s (now %d).", pool->option, pool->most);
            return PGQRS_ETIMEDOUT;
        }
    }
    pool->open++;
    pgqrs__mutex_unlock(&store->lock);

    rc = store->backend->connect(store->db, out_conn, error);
    if (rc != PGQRS_OK) {
        pgqrs__mutex_lock(&store->lock);
        pool->open--;
        pgqrs__cond_signal(&pool->freed);
        pgqrs__mutex_unlock(&store->lock);
    }
    return rc;
}

void pgqrs__pool_give(pgqrs_store *store, pgqrs__pool *pool, pgqrs__conn *conn)
{
    pgqrs__conn *old[8];
    int          gone = 0;

    if (!store->adopted && !store->backend->usable(conn)) {
        store->backend->disconnect(conn, false);
        pgqrs__mutex_lock(&store->lock);
        pool->open--;
        pgqrs__cond_signal(&pool->freed);
        pgqrs__mutex_unlock(&store->lock);
        return;
    }
    pgqrs__mutex_lock(&store->lock);
    pool->idle[pool->idle_count++] =
        (pgqrs__idle_conn){ .conn = conn, .since_us = pgqrs__mono_us() };
    gone = idle_expire(&store->pool, old, (int)PGQRS__ARRAY_LEN(old));
    gone += idle_expire(&store->tx_pool, old + gone, (int)PGQRS__ARRAY_LEN(old) - gone);
    pgqrs__cond_signal(&pool->freed);
    pgqrs__mutex_unlock(&store->lock);
    for (int i = 0; i < gone; i++)
        store->backend->disconnect(old[i], false);
}

pgqrs_status pgqrs__conn_take(pgqrs_store *store, int64_t deadline_us, pgqrs__conn **out_conn,
                              pgqrs_error *error)
{
    return pgqrs__pool_take(store, &store->pool, deadline_us, out_conn, error);
}

void pgqrs__conn_give(pgqrs_store *store, pgqrs__conn *conn)
{
    pgqrs__pool_give(store, &store->pool, conn);
}

pgqrs_status pgqrs__run(pgqrs_store *store, pgqrs__mode mode, pgqrs__call *calls, size_t ncalls,
                        pgqrs_error *error)
{
    int64_t      deadline = pgqrs__deadline(store);
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    /* Where one writes at a time, and a database in memory is everybody's, reads would wait too. */
    if (mode == PGQRS__MODE_WRITE || (store->backend->caps & PGQRS__CAP_WRITERS) == 0) {
        rc = pgqrs__tx_guard(store, error);
        if (rc != PGQRS_OK)
            return rc;
    }
    for (int tries = 0;; tries++) {
        pgqrs__conn *conn;

        rc = pgqrs__conn_take(store, deadline, &conn, error);
        if (rc == PGQRS_OK) {
            rc = store->backend->run(conn, calls, ncalls, mode, deadline, error);
            pgqrs__conn_give(store, conn);
        }
        if (rc == PGQRS_OK)
            return pgqrs__ok(error);
        if (tries > 0 || store->adopted || (error->flags & PGQRS_RETRYABLE) == 0
            || (error->flags & PGQRS_MAYBE_APPLIED) != 0 || rc == PGQRS_ETIMEDOUT)
            return rc;
        for (size_t i = 0; i < ncalls; i++) {
            if (calls[i].restart != NULL)
                calls[i].restart(&calls[i]);
        }
    }
}

pgqrs_status pgqrs__run_one(pgqrs_store *store, pgqrs__mode mode, pgqrs__stmt stmt,
                            const pgqrs__val *scalars, pgqrs__row_fn on_row, void *user,
                            pgqrs_error *error)
{
    pgqrs__call call = { .stmt = (int)stmt, .scalars = scalars, .on_row = on_row, .user = user };

    return pgqrs__run(store, mode, &call, 1, error);
}

pgqrs_status pgqrs__row_int(pgqrs__call *call, const pgqrs__val *cols)
{
    *(int64_t *)call->user = pgqrs__as_int(cols[0]);
    return PGQRS_OK;
}

pgqrs_status pgqrs__row_sum(pgqrs__call *call, const pgqrs__val *cols)
{
    *(int64_t *)call->user += pgqrs__as_int(cols[0]);
    return PGQRS_OK;
}
