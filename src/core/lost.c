/* Answers that were lost: what may as well happen twice is asked for again, until the deadline, for
 * the server may be starting again. */
#include "core/admin.h"
#include "util/clock.h"

#define FIRST_US (20 * PGQRS_MILLISECOND)
#define MOST_US  (500 * PGQRS_MILLISECOND)

bool pgqrs__lost_wait(pgqrs__lost *lost)
{
    lost->delay_us = lost->delay_us == 0 ? FIRST_US : PGQRS__MIN(lost->delay_us * 2, MOST_US);
    if (pgqrs__i64_add_sat(pgqrs__mono_us(), lost->delay_us) >= lost->deadline_us)
        return false;
    pgqrs__sleep_us(lost->delay_us);
    return true;
}

bool pgqrs__lost_again(pgqrs__lost *lost, pgqrs_status rc, pgqrs_error *error)
{
    bool again = false;

    if (rc != PGQRS_ETIMEDOUT) {
        if ((error->flags & PGQRS_MAYBE_APPLIED) != 0)
            lost->once = again = true;
        else
            again = lost->once && (error->flags & PGQRS_RETRYABLE) != 0;
    }
    if (again && pgqrs__lost_wait(lost))
        return true;
    if (lost->once) /* whatever became of it since */
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return false;
}

pgqrs_status pgqrs__run_again(pgqrs_store *store, pgqrs__call *call, pgqrs_error *error)
{
    pgqrs__lost  lost = { .deadline_us = pgqrs__deadline(store) };
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    for (;;) {
        rc = pgqrs__run(store, PGQRS__MODE_WRITE, call, 1, error);
        if (rc == PGQRS_OK || !pgqrs__lost_again(&lost, rc, error))
            return rc;
        if (call->restart != NULL)
            call->restart(call);
    }
}

/* One try. *out_answered: the rows have come, and the commit was asked for. */
static pgqrs_status run_in_two(pgqrs_store *store, pgqrs__call *call, int64_t deadline_us,
                               bool *out_answered, pgqrs_error *error)
{
    const pgqrs__backend *backend = store->backend;
    pgqrs__conn          *conn;
    pgqrs_status          rc;

    *out_answered = false;
    rc            = pgqrs__conn_take(store, deadline_us, &conn, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = backend->begin(conn, deadline_us, error);
    if (rc == PGQRS_OK) {
        rc = backend->run(conn, call, 1, PGQRS__MODE_INSIDE, deadline_us, error);
        if (rc == PGQRS_OK) {
            *out_answered = true;
            rc            = backend->end(conn, true, deadline_us, error);
        } else {
            (void)backend->end(conn, false, deadline_us, NULL); /* the first error is to be told */
        }
    }
    pgqrs__conn_give(store, conn);
    return rc;
}

pgqrs_status pgqrs__run_in_two(pgqrs_store *store, pgqrs__call *call, bool *out_lost,
                               pgqrs_error *error)
{
    int64_t      deadline_us = pgqrs__deadline(store);
    pgqrs_error  own;
    pgqrs_status rc;
    bool         answered;

    if (error == NULL)
        error = &own;
    *out_lost = false;
    if (store->adopted) /* the commit is the user's */
        return pgqrs__run(store, PGQRS__MODE_WRITE, call, 1, error);
    rc = pgqrs__tx_guard(store, error);
    if (rc != PGQRS_OK)
        return rc;
    for (int tries = 0;; tries++) {
        rc        = run_in_two(store, call, deadline_us, &answered, error);
        *out_lost = rc != PGQRS_OK && rc != PGQRS_ETIMEDOUT && answered
                    && (error->flags & PGQRS_MAYBE_APPLIED) != 0;
        if (rc == PGQRS_OK || *out_lost || tries > 0 || rc == PGQRS_ETIMEDOUT
            || (error->flags & PGQRS_RETRYABLE) == 0)
            return rc;
        if (call->restart != NULL)
            call->restart(call);
    }
}
