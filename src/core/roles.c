/* Database roles: what a producer and a worker are granted (sql/roles/). */
#include "core/install.h"

static pgqrs_status grant(pgqrs_store *store, const char *producer, const char *worker,
                          pgqrs_error *error)
{
    const pgqrs__backend *backend     = store->backend;
    int64_t               deadline_us = pgqrs__deadline(store);
    pgqrs__conn          *conn;
    pgqrs_status          rc;

    rc = pgqrs__conn_take(store, deadline_us, &conn, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = backend->begin(conn, deadline_us, error);
    if (rc == PGQRS_OK) {
        /* Two that grant on one table at once would be a failure of the database's own. */
        rc = backend->lock_install(conn, deadline_us, error);
        if (rc == PGQRS_OK)
            rc = backend->grant(conn, producer, worker, deadline_us, error);
        if (rc == PGQRS_OK)
            rc = backend->end(conn, true, deadline_us, error);
        else
            (void)backend->end(conn, false, deadline_us, NULL);
    }
    pgqrs__conn_give(store, conn);
    return rc;
}

pgqrs_status pgqrs__roles_check(const pgqrs_store *store, const char *producer, const char *worker,
                                pgqrs_error *error)
{
    pgqrs_status rc;

    if ((producer != NULL
         && (rc = pgqrs__check_name(producer, "role", PGQRS_OBJECT_NONE, error)) != PGQRS_OK)
        || (worker != NULL
            && (rc = pgqrs__check_name(worker, "role", PGQRS_OBJECT_NONE, error)) != PGQRS_OK))
        return rc;
    if (store->backend->grant == NULL) {
        pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE, "this database has no roles");
        pgqrs__hint(error, "Who may open the file may do everything: set the file's permissions.");
        return PGQRS_ESTATE;
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs_install_roles(pgqrs_store *store, const char *producer_role,
                                 const char *worker_role, pgqrs_error *error)
{
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__not_adopted(store, "pgqrs_install_roles()", error)) != PGQRS_OK
        || (rc = pgqrs__tx_guard(store, error)) != PGQRS_OK)
        return rc;
    if (producer_role == NULL && worker_role == NULL)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                           "neither a producer's nor a worker's role is named");
    if ((rc = pgqrs__roles_check(store, producer_role, worker_role, error)) != PGQRS_OK)
        return rc;
    rc = grant(store, producer_role, worker_role, error);
    /* Once more, also when the commit's answer was lost: what is granted may be granted again. */
    if (rc != PGQRS_OK && rc != PGQRS_ETIMEDOUT
        && (error->flags & (PGQRS_RETRYABLE | PGQRS_MAYBE_APPLIED)) != 0)
        rc = grant(store, producer_role, worker_role, error);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}
