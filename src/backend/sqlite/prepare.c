/* Prepared statements: each connection keeps its own, made when first used. */
#include "backend/sqlite/sqlite.h"

#include <string.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/failpoint.h"

static const char *const own_sql[PGQRS__SQLITE_OWN_COUNT] = {
    [PGQRS__SQLITE_BEGIN_WRITE]    = "BEGIN IMMEDIATE",
    [PGQRS__SQLITE_BEGIN_READ]     = "BEGIN",
    [PGQRS__SQLITE_COMMIT]         = "COMMIT",
    [PGQRS__SQLITE_ROLLBACK]       = "ROLLBACK",
    [PGQRS__SQLITE_SAVEPOINT]      = "SAVEPOINT pgqrs",
    [PGQRS__SQLITE_RELEASE]        = "RELEASE pgqrs",
    [PGQRS__SQLITE_ROLLBACK_TO]    = "ROLLBACK TO pgqrs",
    [PGQRS__SQLITE_SEQUENCE_READ]  = "SELECT next, last_now_us FROM pgqrs_sequence",
    [PGQRS__SQLITE_SEQUENCE_WRITE] = "UPDATE pgqrs_sequence SET next = ?1, last_now_us = ?2",
    [PGQRS__SQLITE_DATA_VERSION]   = "PRAGMA data_version",
    [PGQRS__SQLITE_HAS_OBJECT] = "SELECT 1 FROM sqlite_master WHERE type = ?1 AND name = ?2 || ?3",
};

static int prepare(pgqrs__conn *conn, const char *sql, sqlite3_stmt **out_stmt)
{
    return sqlite3_prepare_v3(conn->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, out_stmt, NULL);
}

pgqrs_status pgqrs__sqlite_own_get(pgqrs__conn *conn, pgqrs__sqlite_own own,
                                   sqlite3_stmt **out_stmt, pgqrs_error *error)
{
    int rc = SQLITE_OK;

    if (conn->own[own] == NULL)
        rc = prepare(conn, own_sql[own], &conn->own[own]);
    *out_stmt = conn->own[own];
    return rc == SQLITE_OK ? PGQRS_OK : pgqrs__sqlite_fail(conn, rc, own_sql[own], error);
}

pgqrs_status pgqrs__sqlite_do(pgqrs__conn *conn, pgqrs__sqlite_own own, pgqrs_error *error)
{
    sqlite3_stmt *stmt;
    pgqrs_status  status = pgqrs__sqlite_own_get(conn, own, &stmt, error);
    int           rc;

    if (status != PGQRS_OK)
        return status;
    PGQRS__FAILPOINT(own_sql[own]);
    rc = sqlite3_step(stmt);
    PGQRS__FAILPOINT(own_sql[own]);
    if (rc == SQLITE_DONE || rc == SQLITE_ROW) {
        (void)sqlite3_reset(stmt);
        return PGQRS_OK;
    }
    status = own == PGQRS__SQLITE_COMMIT ? pgqrs__sqlite_commit_fail(conn, rc, error)
                                         : pgqrs__sqlite_fail(conn, rc, own_sql[own], error);
    (void)sqlite3_reset(stmt);
    return status;
}

/* --- Numbered statements ------------------------------------------------------------------ */

/* 0: the statement has no argument `now`, which is always the last. */
static int now_param(const pgqrs__shape *shape)
{
    return shape->nargs > 0 && strcmp(shape->args[shape->nargs - 1].name, "now") == 0 ? shape->nargs
                                                                                      : 0;
}

/* Note which parameters the part uses. False when out of memory. */
static bool read_params(const pgqrs__shape *shape, pgqrs__sqlite_part *part)
{
    int count = sqlite3_bind_parameter_count(part->stmt);
    int now   = now_param(shape);
    int used  = 0;

    part->params = pgqrs__alloc((size_t)count);
    if (part->params == NULL)
        return false;
    for (int at = 1; at <= count; at++) {
        if (sqlite3_bind_parameter_name(part->stmt, at) == NULL)
            continue; /* a gap in the numbers */
        if (at <= shape->nargs && at != now)
            part->params[used++] = (uint8_t)at;
        if (at <= shape->narrays)
            part->narrays++;
        else if (at == now)
            part->uses_now = true;
        else if (at <= shape->nargs)
            part->nscalars++;
        else if (at == shape->nargs + 1)
            part->uses_id = true;
        else
            part->uses_n = true;
    }
    return true;
}

static void free_parts(pgqrs__sqlite_part *parts, size_t nparts, bool forked)
{
    for (size_t i = 0; parts != NULL && i < nparts; i++) {
        if (!forked)
            (void)sqlite3_finalize(parts[i].stmt);
        pgqrs__free(parts[i].params);
    }
    pgqrs__free(parts);
}

static pgqrs_status prepare_part(pgqrs__conn *conn, const pgqrs__shape *shape, const char *sql,
                                 pgqrs__sqlite_part *part, pgqrs_error *error)
{
    int rc = prepare(conn, sql, &part->stmt);
    int columns;

    if (rc != SQLITE_OK)
        return pgqrs__sqlite_fail(conn, rc, shape->name, error);
    if (!read_params(shape, part))
        return pgqrs__nomem(error);
    columns = sqlite3_column_count(part->stmt);
    if (columns > PGQRS__SQLITE_COLS_MAX || (columns > 0 && columns != shape->ncols))
        return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_STORE,
                           "%s gives %d columns, not %d", shape->name, columns, shape->ncols);
    return PGQRS_OK;
}

pgqrs_status pgqrs__sqlite_prepare(pgqrs__conn *conn, int stmt,
                                   const pgqrs__sqlite_prepared **out_prepared, pgqrs_error *error)
{
    pgqrs__sqlite_prepared *prepared = &conn->statements[stmt];
    const pgqrs__sql       *sql      = &pgqrs__sql_sqlite[stmt];
    pgqrs__sqlite_part     *parts;

    *out_prepared = prepared;
    if (prepared->parts != NULL)
        return PGQRS_OK;
    parts = pgqrs__calloc(sql->nparts, sizeof(*parts));
    if (parts == NULL)
        return pgqrs__nomem(error);
    for (size_t i = 0; i < sql->nparts; i++) {
        pgqrs_status rc = prepare_part(conn, &pgqrs__shapes[stmt], sql->parts[i], &parts[i], error);

        if (rc != PGQRS_OK) {
            free_parts(parts, sql->nparts, false);
            return rc;
        }
        prepared->uses_now = prepared->uses_now || parts[i].uses_now;
    }
    prepared->parts = parts;
    return PGQRS_OK;
}

void pgqrs__sqlite_forget(pgqrs__conn *conn, bool forked)
{
    for (int i = 0; i < PGQRS__STMT_COUNT; i++) {
        free_parts(conn->statements[i].parts, pgqrs__sql_sqlite[i].nparts, forked);
        conn->statements[i].parts = NULL;
    }
    for (int i = 0; i < PGQRS__SQLITE_OWN_COUNT; i++) {
        if (!forked)
            (void)sqlite3_finalize(conn->own[i]);
        conn->own[i] = NULL;
    }
}
