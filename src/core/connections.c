/* The store's connections: opened when needed, shared, thrown away when their state is unknown. */
#include "core/core.h"
#include "util/clock.h"

/* An idle connection beside the first is closed when it has not been used for so long. */
#define IDLE_US (2 * PGQRS_SECOND)

/* Idle connections that are no longer worth keeping, moved to `old`. Under the lock. */
static int idle_expire(pgqrs_store *store, pgqrs__conn **old, int cap)
{
    int64_t now  = pgqrs__mono_us();
    int     gone = 0;

    /* The last one is the last used, and always stays. */
    while (gone < cap && gone < store->idle_count - 1
           && now - store->idle[gone].since_us > IDLE_US) {
        old[gone] = store->idle[gone].conn;
        gone++;
    }
    if (gone > 0) {
        memmove(store->idle, store->idle + gone,
                (size_t)(store->idle_count - gone) * sizeof(store->idle[0]));
        store->idle_count -= gone;
        store->conn_count -= gone;
    }
    return gone;
}

pgqrs_status pgqrs__conn_take(pgqrs_store *store, int64_t deadline_us, pgqrs__conn **out_conn,
                              pgqrs_error *error)
{
    pgqrs_status rc;

    *out_conn = NULL;
    pgqrs__mutex_lock(&store->lock);
    for (;;) {
        if (store->idle_count > 0) {
            *out_conn = store->idle[--store->idle_count].conn;
            pgqrs__mutex_unlock(&store->lock);
            return PGQRS_OK;
        }
        if (store->conn_count < store->options.max_connections)
            break;
        if (!pgqrs__cond_wait_until(&store->conn_free, &store->lock, deadline_us)
            && store->idle_count == 0 && store->conn_count >= store->options.max_connections) {
            pgqrs__mutex_unlock(&store->lock);
            pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_STORE,
                        "no connection became free before the deadline");
            pgqrs__flag(error, PGQRS_RETRYABLE);
            pgqrs__hint(error, "Raise the store option max_connections (now %d).",
                        store->options.max_connections);
            return PGQRS_ETIMEDOUT;
        }
    }
    store->conn_count++;
    pgqrs__mutex_unlock(&store->lock);

    rc = store->backend->connect(store->db, out_conn, error);
    if (rc != PGQRS_OK) {
        pgqrs__mutex_lock(&store->lock);
        store->conn_count--;
        pgqrs__cond_signal(&store->conn_free);
        pgqrs__mutex_unlock(&store->lock);
    }
    return rc;
}

void pgqrs__conn_give(pgqrs_store *store, pgqrs__conn *conn)
{
    pgqrs__conn *old[8];
    int          gone;

    if (!store->backend->usable(conn)) {
        store->backend->disconnect(conn, false);
        pgqrs__mutex_lock(&store->lock);
        store->conn_count--;
        pgqrs__cond_signal(&store->conn_free);
        pgqrs__mutex_unlock(&store->lock);
        return;
    }
    pgqrs__mutex_lock(&store->lock);
    store->idle[store->idle_count++] =
        (pgqrs__idle_conn){ .conn = conn, .since_us = pgqrs__mono_us() };
    gone = idle_expire(store, old, (int)PGQRS__ARRAY_LEN(old));
    pgqrs__cond_signal(&store->conn_free);
    pgqrs__mutex_unlock(&store->lock);
    for (int i = 0; i < gone; i++)
        store->backend->disconnect(old[i], false);
}

pgqrs_status pgqrs__run(pgqrs_store *store, pgqrs__mode mode, pgqrs__call *calls, size_t ncalls,
                        pgqrs_error *error)
{
    int64_t      deadline = pgqrs__deadline(store);
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    for (int tries = 0;; tries++) {
        pgqrs__conn *conn;

        rc = pgqrs__conn_take(store, deadline, &conn, error);
        if (rc != PGQRS_OK)
            return rc;
        rc = store->backend->run(conn, calls, ncalls, mode, deadline, error);
        pgqrs__conn_give(store, conn);
        if (rc == PGQRS_OK)
            return pgqrs__ok(error);
        if (tries > 0 || (error->flags & PGQRS_RETRYABLE) == 0
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
