/* A transaction of the library's own that stays open while the user works in it: what a
 * transactional step is made of. Each has a connection of a small pool of its own, so that group
 * commit goes on. */
#ifndef PGQRS_CORE_TX_H
#define PGQRS_CORE_TX_H

#include "core/core.h"

struct pgqrs__tx {
    pgqrs_store *store;
    pgqrs__conn *conn;    /* NULL: not open */
    int64_t      message; /* that it is about: no move of it is sent meanwhile */
    uint64_t     thread;  /* that opened it */
    pgqrs__tx   *next;    /* of the store's */
};

/* Open one for the calling thread, about a message whose lease it will hold. Nothing is sent yet,
 * except that SQLite waits for its turn to write. */
pgqrs_status pgqrs__tx_open(pgqrs_store *store, int64_t message_id, pgqrs__tx *tx,
                            pgqrs_error *error);
/* Statements in it. */
pgqrs_status pgqrs__tx_run(pgqrs__tx *tx, pgqrs__call *calls, size_t ncalls, pgqrs_error *error);
/* Operations in it; their answers are in them. */
pgqrs_status pgqrs__tx_perform(pgqrs__tx *tx, pgqrs__op *const *ops, size_t count,
                               pgqrs_error *error);
/* End it. A commit that fails is rolled back, unless the error is flagged PGQRS_MAYBE_APPLIED.
 * Where one writes at a time, the commit renews what is kept and due: nobody else could. */
pgqrs_status pgqrs__tx_commit(pgqrs__tx *tx, pgqrs_error *error);
void         pgqrs__tx_abort(pgqrs__tx *tx);

#endif
