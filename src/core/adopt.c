/* Adopted stores: a transaction that the user has open on a connection of their own. There is that
 * one connection, so groups hold one operation each and follow one another; nothing is sent twice,
 * since only the user can do the transaction again. */
#include <pgqrs/postgres.h>
#include <pgqrs/sqlite.h>

#include "core/core.h"
#include "core/install.h"

pgqrs_status pgqrs__not_adopted(const pgqrs_store *store, const char *what, pgqrs_error *error)
{
    if (!store->adopted)
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE, "%s is not for a transaction of yours",
                what);
    pgqrs__hint(error, "Use a store that was opened with pgqrs_open().");
    return PGQRS_ESTATE;
}

static pgqrs_status adopt(const char *scheme, void *native, const pgqrs_store_options *given,
                          pgqrs_store **out_store, pgqrs_error *error)
{
    pgqrs_store          *store = NULL;
    pgqrs__conn          *conn  = NULL;
    const pgqrs__backend *backend;
    pgqrs__settings       settings;
    pgqrs_status          rc;

    if ((rc = pgqrs__check_pointer(out_store, "out_store", error)) != PGQRS_OK)
        return rc;
    *out_store = NULL;
    if ((rc = pgqrs__check_pointer(native, "connection", error)) != PGQRS_OK)
        return rc;
    backend = pgqrs__backend_for(scheme, error);
    if (backend == NULL)
        return PGQRS_ECONFIG;
    rc = pgqrs__store_new(given, &store, &settings, error);
    if (rc != PGQRS_OK)
        return rc;
    store->backend            = backend;
    store->adopted            = true;
    store->options.timeout_us = PGQRS_FOREVER; /* the connection's own limits hold */
    store->options.busy_retry = -1;
    rc                        = backend->adopt(native, &settings, &store->db, &conn, error);
    if (rc != PGQRS_OK)
        goto done;
    store->pool.idle[0].conn = conn;
    store->pool.idle_count   = 1;
    store->pool.open         = store->pool.most; /* and no other is ever opened */
    rc                       = pgqrs__schema_check(store, error);
    if (rc != PGQRS_OK)
        goto done;
    *out_store = store;
    store      = NULL;
    pgqrs__ok(error);
done:
    pgqrs_close(store);
    return rc;
}

pgqrs_status pgqrs_adopt_pgconn(struct pg_conn *connection, const pgqrs_store_options *options,
                                pgqrs_store **out_store, pgqrs_error *error)
{
    return adopt("postgresql://", connection, options, out_store, error);
}

pgqrs_status pgqrs_adopt_sqlite3(struct sqlite3 *connection, const pgqrs_store_options *options,
                                 pgqrs_store **out_store, pgqrs_error *error)
{
    return adopt("sqlite:", connection, options, out_store, error);
}
