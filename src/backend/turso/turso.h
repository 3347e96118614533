/** What the files of the Turso backend share. */
#ifndef PGQRS_BACKEND_TURSO_TURSO_H
#define PGQRS_BACKEND_TURSO_TURSO_H

#include "backend/embedded.h"
#include "backend/turso/library.h"

#define PGQRS__TURSO_NAME "Turso"

/* conn->handle is a turso_connection *, db->handle a turso_database *, in memory too: connections
 * of one database share what is in memory. conn->said has the text of the last error. */

/** Keep the text of an error, which is freed. @return @p rc */
int pgqrs__turso_said(pgqrs__conn *conn, int rc, const char *text);

/* --- error.c */

/** Says what Turso's code @p rc means. @p what: the statement, or NULL. */
pgqrs_status pgqrs__turso_fail(pgqrs__conn *conn, int rc, const char *what, pgqrs_error *error);
/** The same for a COMMIT, whose failure may leave open what happened. */
pgqrs_status pgqrs__turso_commit_fail(pgqrs__conn *conn, int rc, pgqrs_error *error);
/** The same for opening the file. */
pgqrs_status pgqrs__turso_open_fail(const pgqrs__db *db, int rc, const char *text,
                                    pgqrs_error *error);

/* --- open.c */

pgqrs_status pgqrs__turso_check(pgqrs_error *error);
pgqrs_status pgqrs__turso_open_database(pgqrs__db *db, pgqrs_error *error);
void         pgqrs__turso_close_database(pgqrs__db *db);
pgqrs_status pgqrs__turso_open_handle(pgqrs__conn *conn, pgqrs_error *error);
void         pgqrs__turso_close_handle(pgqrs__conn *conn);

#endif
