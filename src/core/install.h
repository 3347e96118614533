/* The schema: is it there, and may this library use it? */
#ifndef PGQRS_CORE_INSTALL_H
#define PGQRS_CORE_INSTALL_H

#include "core/core.h"

/* A migration that is applied, as the schema says. */
typedef struct pgqrs__applied {
    int         version;
    const char *name;
    const char *checksum;
    const char *oldest_library;
} pgqrs__applied;

/* The applied migrations by version, into rows of pgqrs__applied; none when nothing is installed.
 */
pgqrs_status pgqrs__applied_read(pgqrs_store *store, pgqrs__conn *conn, pgqrs__mode mode,
                                 int64_t deadline_us, pgqrs__rows *rows, pgqrs_error *error);
/* Refuse what this library may not use, or what differs from the migrations that it knows. */
pgqrs_status pgqrs__applied_check(const pgqrs_store *store, const pgqrs__rows *rows,
                                  pgqrs_error *error);

/* Roles that may be granted to: their names, and whether this database has roles. Each may be NULL.
 */
pgqrs_status pgqrs__roles_check(const pgqrs_store *store, const char *producer, const char *worker,
                                pgqrs_error *error);

/* When a store is opened: PGQRS_ESCHEMA for a schema that says it needs a newer library. One that
 * is missing, or older, is PGQRS_OK: it may be about to be installed. */
pgqrs_status pgqrs__schema_check(pgqrs_store *store, pgqrs_error *error);

#endif
