/* The schema: is it there, and may this library use it? */
#ifndef PGQRS_CORE_INSTALL_H
#define PGQRS_CORE_INSTALL_H

#include <pgqrs/pgqrs.h>

/* When a store is opened: PGQRS_ESCHEMA for a schema that says it needs a newer library. One that
 * is missing, or older, is PGQRS_OK: it may be about to be installed. */
pgqrs_status pgqrs__schema_check(pgqrs_store *store, pgqrs_error *error);

#endif
