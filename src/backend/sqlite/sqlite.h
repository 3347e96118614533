/** What the files of the SQLite backend share. */
#ifndef PGQRS_BACKEND_SQLITE_SQLITE_H
#define PGQRS_BACKEND_SQLITE_SQLITE_H

#include <sqlite3.h>

#include "backend/embedded.h"

#define PGQRS__SQLITE_NAME "SQLite"

/* conn->handle is a sqlite3 *; db->handle, too: of a database in memory, the one connection. */

/* --- error.c */

/** Says what SQLite's code @p rc means; the message is the handle's. @p what: the statement, or
 *  NULL. */
pgqrs_status pgqrs__sqlite_fail(pgqrs__conn *conn, int rc, const char *what, pgqrs_error *error);
/** The same for a COMMIT, whose failure may leave open what happened. */
pgqrs_status pgqrs__sqlite_commit_fail(pgqrs__conn *conn, int rc, pgqrs_error *error);

/* --- open.c */

/** Whether this SQLite is new enough, and built for threads. */
pgqrs_status pgqrs__sqlite_check(pgqrs_error *error);
pgqrs_status pgqrs__sqlite_open_database(pgqrs__db *db, pgqrs_error *error);
void         pgqrs__sqlite_close_database(pgqrs__db *db);
pgqrs_status pgqrs__sqlite_open_handle(pgqrs__conn *conn, pgqrs_error *error);
void         pgqrs__sqlite_close_handle(pgqrs__conn *conn);

/* --- share.c */

pgqrs_status pgqrs__sqlite_adopt(const pgqrs__engine *engine, void *native,
                                 const pgqrs__settings *settings, pgqrs__db **out_db,
                                 pgqrs__conn **out_conn, pgqrs_error *error);
/** End what the user has left running on it: the transaction could not end. */
void pgqrs__sqlite_take_back(pgqrs__conn *conn);

/* --- describe.c */

pgqrs_status pgqrs__sqlite_describe(pgqrs__conn *conn, pgqrs__about *about, int64_t deadline_us,
                                    pgqrs_error *error);
/** Whether this version of SQLite may damage a file that several connections use. */
bool pgqrs__sqlite_wal_reset_bug(int version);

#endif
