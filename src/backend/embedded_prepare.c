/* Prepared statements: each connection keeps its own, made when first used. */
#include "backend/embedded.h"

#include <string.h>

#include "util/alloc.h"
#include "util/base.h"
#include "util/error.h"
#include "util/failpoint.h"

static const char *const own_sql[PGQRS__EMBEDDED_OWN_COUNT] = {
    [PGQRS__EMBEDDED_BEGIN_WRITE]    = "BEGIN IMMEDIATE",
    [PGQRS__EMBEDDED_BEGIN_READ]     = "BEGIN",
    [PGQRS__EMBEDDED_COMMIT]         = "COMMIT",
    [PGQRS__EMBEDDED_ROLLBACK]       = "ROLLBACK",
    [PGQRS__EMBEDDED_SAVEPOINT]      = "SAVEPOINT pgqrs",
    [PGQRS__EMBEDDED_RELEASE]        = "RELEASE pgqrs",
    [PGQRS__EMBEDDED_ROLLBACK_TO]    = "ROLLBACK TO pgqrs",
    [PGQRS__EMBEDDED_SEQUENCE_READ]  = "SELECT next, last_now_us FROM pgqrs_sequence",
    [PGQRS__EMBEDDED_SEQUENCE_WRITE] = "UPDATE pgqrs_sequence SET next = ?1, last_now_us = ?2",
    [PGQRS__EMBEDDED_DATA_VERSION]   = "PRAGMA data_version",
    [PGQRS__EMBEDDED_HAS_OBJECT] =
        "SELECT 1 FROM sqlite_master WHERE type = ?1 AND name = ?2 || ?3",
};

pgqrs_status pgqrs__embedded_own_get(pgqrs__conn *conn, pgqrs__embedded_own own, void **out_stmt,
                                     pgqrs_error *error)
{
    int rc = PGQRS__ENGINE_OK;

    if (conn->own[own] == NULL)
        rc = conn->engine->prepare(conn, own_sql[own], true, &conn->own[own], NULL);
    *out_stmt = conn->own[own];
    return rc == PGQRS__ENGINE_OK ? PGQRS_OK : conn->engine->fail(conn, rc, own_sql[own], error);
}

/* A transaction waits for whoever is not in the queue for turns, where the engine itself does not.
 */
static int step_own(pgqrs__conn *conn, pgqrs__embedded_own own, void *stmt)
{
    const pgqrs__engine *engine = conn->engine;
    int                  rc     = engine->step(conn, stmt);

    if (own != PGQRS__EMBEDDED_BEGIN_WRITE && own != PGQRS__EMBEDDED_BEGIN_READ)
        return rc;
    for (int tries = 0; engine->is_busy(rc) && pgqrs__embedded_pause(conn, tries); tries++) {
        engine->reset(stmt);
        rc = engine->step(conn, stmt);
    }
    return rc;
}

pgqrs_status pgqrs__embedded_do(pgqrs__conn *conn, pgqrs__embedded_own own, pgqrs_error *error)
{
    const pgqrs__engine *engine = conn->engine;
    void                *stmt;
    pgqrs_status         status = pgqrs__embedded_own_get(conn, own, &stmt, error);
    int                  rc;

    if (status != PGQRS_OK)
        return status;
    PGQRS__FAILPOINT(own_sql[own]);
    rc = step_own(conn, own, stmt);
    PGQRS__FAILPOINT(own_sql[own]);
    if (rc != PGQRS__ENGINE_OK && rc != PGQRS__ENGINE_ROW)
        status = own == PGQRS__EMBEDDED_COMMIT ? engine->commit_fail(conn, rc, error)
                                               : engine->fail(conn, rc, own_sql[own], error);
    engine->reset(stmt);
    return status;
}

/* --- Numbered statements ------------------------------------------------------------------ */

/* 0: the statement has no argument `now`, which is always the last. */
static int now_param(const pgqrs__shape *shape)
{
    return shape->nargs > 0 && strcmp(shape->args[shape->nargs - 1].name, "now") == 0 ? shape->nargs
                                                                                      : 0;
}

/* Mark the parameters that occur in the text: ?1 …, and never in a literal. @return the highest */
static int find_params(const char *sql, bool *used, size_t room)
{
    char quote   = '\0';
    int  highest = 0;

    for (; *sql != '\0'; sql++) {
        unsigned at = 0;

        if (quote != '\0' || *sql == '\'' || *sql == '"') {
            quote = quote == '\0' ? *sql : *sql == quote ? '\0' : quote;
            continue;
        }
        if (*sql != '?')
            continue;
        for (; sql[1] >= '0' && sql[1] <= '9'; sql++)
            at = at * 10 + (unsigned)(sql[1] - '0');
        if (at > 0 && at < room) {
            used[at] = true;
            highest  = PGQRS__MAX(highest, (int)at);
        }
    }
    return highest;
}

/* Note which parameters the part uses. False when out of memory. */
static bool read_params(const pgqrs__shape *shape, const char *sql, pgqrs__embedded_part *part)
{
    bool used[UINT8_MAX + 3] = { false };
    int  count               = find_params(sql, used, PGQRS__ARRAY_LEN(used));
    int  now                 = now_param(shape);
    int  kept                = 0;

    part->params = pgqrs__alloc((size_t)count);
    if (part->params == NULL)
        return false;
    for (int at = 1; at <= count; at++) {
        if (!used[at])
            continue;
        if (at <= shape->nargs && at != now)
            part->params[kept++] = (uint8_t)at;
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

static bool is_write(const char *sql)
{
    static const char *const words[] = { "INSERT ", "UPDATE ", "DELETE " };

    for (size_t i = 0; i < PGQRS__ARRAY_LEN(words); i++) {
        if (strncmp(sql, words[i], strlen(words[i])) == 0)
            return true;
    }
    return false;
}

static void free_parts(const pgqrs__engine *engine, pgqrs__embedded_part *parts, size_t nparts,
                       bool forked)
{
    for (size_t i = 0; parts != NULL && i < nparts; i++) {
        if (!forked && parts[i].stmt != NULL)
            engine->drop(parts[i].stmt);
        pgqrs__free(parts[i].params);
    }
    pgqrs__free(parts);
}

static pgqrs_status prepare_part(pgqrs__conn *conn, const pgqrs__shape *shape, const char *sql,
                                 pgqrs__embedded_part *part, pgqrs_error *error)
{
    int rc = conn->engine->prepare(conn, sql, true, &part->stmt, NULL);
    int columns;

    if (rc != PGQRS__ENGINE_OK)
        return conn->engine->fail(conn, rc, shape->name, error);
    if (!read_params(shape, sql, part))
        return pgqrs__nomem(error);
    part->writes = is_write(sql);
    columns      = conn->engine->columns(part->stmt);
    if (columns > PGQRS__EMBEDDED_COLS_MAX || (columns > 0 && columns != shape->ncols))
        return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_STORE,
                           "%s gives %d columns, not %d", shape->name, columns, shape->ncols);
    return PGQRS_OK;
}

pgqrs_status pgqrs__embedded_prepare(pgqrs__conn *conn, int stmt,
                                     const pgqrs__embedded_prepared **out_prepared,
                                     pgqrs_error                     *error)
{
    pgqrs__embedded_prepared *prepared = &conn->statements[stmt];
    const pgqrs__sql         *sql      = &conn->engine->sql[stmt];
    pgqrs__embedded_part     *parts;

    *out_prepared = prepared;
    if (prepared->parts != NULL)
        return PGQRS_OK;
    parts = pgqrs__calloc(sql->nparts, sizeof(*parts));
    if (parts == NULL)
        return pgqrs__nomem(error);
    for (size_t i = 0; i < sql->nparts; i++) {
        pgqrs_status rc = prepare_part(conn, &pgqrs__shapes[stmt], sql->parts[i], &parts[i], error);

        if (rc != PGQRS_OK) {
            free_parts(conn->engine, parts, sql->nparts, false);
            return rc;
        }
        prepared->uses_now = prepared->uses_now || parts[i].uses_now;
    }
    prepared->parts = parts;
    return PGQRS_OK;
}

void pgqrs__embedded_forget(pgqrs__conn *conn, bool forked)
{
    for (int i = 0; i < PGQRS__STMT_COUNT; i++) {
        free_parts(conn->engine, conn->statements[i].parts, conn->engine->sql[i].nparts, forked);
        conn->statements[i].parts = NULL;
    }
    for (int i = 0; i < PGQRS__EMBEDDED_OWN_COUNT; i++) {
        if (!forked && conn->own[i] != NULL)
            conn->engine->drop(conn->own[i]);
        conn->own[i] = NULL;
    }
}

pgqrs_status pgqrs__embedded_text(pgqrs__conn *conn, const char *sql, const char *what,
                                  pgqrs_error *error)
{
    const pgqrs__engine *engine = conn->engine;

    while (*sql != '\0') {
        void        *stmt   = NULL;
        pgqrs_status status = PGQRS_OK;
        int          rc     = engine->prepare(conn, sql, false, &stmt, &sql);

        if (rc == PGQRS__ENGINE_OK && stmt == NULL) /* white space */
            continue;
        if (rc == PGQRS__ENGINE_OK) {
            PGQRS__FAILPOINT("before a statement of a script");
            do
                rc = engine->step(conn, stmt);
            while (rc == PGQRS__ENGINE_ROW);
            PGQRS__FAILPOINT("statement of a script done");
        }
        if (rc != PGQRS__ENGINE_OK)
            status = engine->fail(conn, rc, what, error);
        if (stmt != NULL)
            engine->drop(stmt);
        if (status != PGQRS_OK)
            return status;
    }
    return PGQRS_OK;
}
