#include "core/tx.h"

#include <unistd.h>

/* --- Who holds one ---------------------------------------------------------------------------- */

/* A number that no other thread of the process has, or will have. */
static uint64_t this_thread(void)
{
    static atomic_uint_fast64_t   last;
    static _Thread_local uint64_t number;

    if (number == 0)
        number = atomic_fetch_add(&last, 1) + 1;
    return number;
}

pgqrs_status pgqrs__tx_guard(pgqrs_store *store, pgqrs_error *error)
{
    const uint64_t thread = this_thread();
    bool           holds  = false;

    if (atomic_load_explicit(&store->tx_count, memory_order_relaxed) == 0)
        return PGQRS_OK;
    pgqrs__mutex_lock(&store->lock);
    for (const pgqrs__tx *tx = store->txs; tx != NULL && !holds; tx = tx->next)
        holds = tx->thread == thread;
    pgqrs__mutex_unlock(&store->lock);
    if (!holds)
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_STORE,
                "this thread is in a transactional step of the store");
    pgqrs__hint(error, "Use the step (pgqrs_step_enqueue(), pgqrs_step_trigger(), SQL on its "
                       "connection), or call the store after it.");
    return PGQRS_EBUSY;
}

static void enlist(pgqrs__tx *tx)
{
    pgqrs__mutex_lock(&tx->store->lock);
    tx->next       = tx->store->txs;
    tx->store->txs = tx;
    (void)atomic_fetch_add(&tx->store->tx_count, 1);
    pgqrs__mutex_unlock(&tx->store->lock);
}

static void delist(pgqrs__tx *tx)
{
    pgqrs__tx **at;

    pgqrs__mutex_lock(&tx->store->lock);
    for (at = &tx->store->txs; *at != tx;)
        at = &(*at)->next;
    *at = tx->next;
    (void)atomic_fetch_sub(&tx->store->tx_count, 1);
    pgqrs__mutex_unlock(&tx->store->lock);
}

/* --- Its life --------------------------------------------------------------------------------- */

pgqrs_status pgqrs__tx_open(pgqrs_store *store, int64_t message_id, pgqrs__tx *tx,
                            pgqrs_error *error)
{
    int64_t      deadline_us = pgqrs__deadline(store);
    pgqrs_status rc;

    *tx = (pgqrs__tx){ .store = store, .message = message_id, .thread = this_thread() };
    if ((rc = pgqrs__tx_guard(store, error)) != PGQRS_OK
        || (rc = pgqrs__group_pin(store, message_id, error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__pool_take(store, &store->tx_pool, deadline_us, &tx->conn, error);
    if (rc == PGQRS_OK) {
        rc = store->backend->begin(tx->conn, deadline_us, error);
        if (rc == PGQRS_OK) {
            enlist(tx);
            return PGQRS_OK;
        }
        pgqrs__pool_give(store, &store->tx_pool, tx->conn);
        tx->conn = NULL;
    }
    pgqrs__group_unpin(store, message_id);
    return rc;
}

pgqrs_status pgqrs__tx_run(pgqrs__tx *tx, pgqrs__call *calls, size_t ncalls, pgqrs_error *error)
{
    return tx->store->backend->run(tx->conn, calls, ncalls, PGQRS__MODE_INSIDE,
                                   pgqrs__deadline(tx->store), error);
}

pgqrs_status pgqrs__tx_perform(pgqrs__tx *tx, pgqrs__op *const *ops, size_t count,
                               pgqrs_error *error)
{
    return pgqrs__group_inside(tx->store, tx->conn, ops, count, pgqrs__deadline(tx->store), error);
}

static pgqrs_status end(pgqrs__tx *tx, bool commit, pgqrs_error *error)
{
    pgqrs_store *store = tx->store;
    pgqrs_status rc    = store->backend->end(tx->conn, commit, pgqrs__deadline(store), error);

    pgqrs__pool_give(store, &store->tx_pool, tx->conn);
    tx->conn = NULL;
    delist(tx);
    pgqrs__group_unpin(store, tx->message);
    return rc;
}

pgqrs_status pgqrs__tx_commit(pgqrs__tx *tx, pgqrs_error *error)
{
    pgqrs_store    *store   = tx->store;
    pgqrs__renewal *renewal = NULL;
    pgqrs_status    rc;

    if ((store->backend->caps & PGQRS__CAP_WRITERS) == 0)
        renewal = pgqrs__renew_inside(store, tx->conn);
    rc = end(tx, true, error);
    pgqrs__renew_note(store, renewal, rc);
    return rc;
}

void pgqrs__tx_abort(pgqrs__tx *tx)
{
    if (tx->conn == NULL)
        return;
    if (tx->store->pid != getpid()) { /* the parent's: it is the one that goes on */
        tx->store->backend->disconnect(tx->conn, true);
        tx->conn = NULL;
        return;
    }
    (void)end(tx, false, NULL);
}
