/* The smaller members of the table, for every engine inside the process. */
#include "backend/embedded.h"

#include <string.h>

#include "util/buf.h"
#include "util/error.h"

bool pgqrs__embedded_usable(pgqrs__conn *conn)
{
    return !conn->broken && !conn->open;
}

/* The handle of a database in memory is everybody's: it is used in turns, also outside of
 * transactions. */
static pgqrs_status enter(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    conn->deadline_us = deadline_us;
    if (conn->db->path != NULL || conn->open)
        return PGQRS_OK;
    return pgqrs__filelock_take(conn->db->lock, deadline_us, error);
}

static void leave(pgqrs__conn *conn)
{
    if (conn->db->path == NULL && !conn->open)
        pgqrs__filelock_yield(conn->db->lock);
}

/* There are no schemas here: the token goes. */
void pgqrs__embedded_script_text(pgqrs__conn *conn, const char *sql, pgqrs__buf *out)
{
    static const char token[] = "@schema.";
    const char       *at;

    (void)conn;
    for (; (at = strstr(sql, token)) != NULL; sql = at + strlen(token))
        pgqrs__buf_add(out, sql, (size_t)(at - sql));
    pgqrs__buf_str(out, sql);
}

pgqrs_status pgqrs__embedded_script_begin(pgqrs__conn *conn, pgqrs__buf *out, int64_t deadline_us,
                                          pgqrs_error *error)
{
    (void)conn;
    (void)deadline_us;
    (void)error;
    pgqrs__buf_str(out, "BEGIN IMMEDIATE;\n");
    return PGQRS_OK;
}

pgqrs_status pgqrs__embedded_script(pgqrs__conn *conn, const char *sql, int64_t deadline_us,
                                    pgqrs_error *error)
{
    pgqrs__buf   text = { 0 };
    pgqrs_status status;

    pgqrs__embedded_script_text(conn, sql, &text);
    sql               = pgqrs__buf_cstr(&text);
    conn->deadline_us = deadline_us;
    status = sql == NULL ? pgqrs__nomem(error) : pgqrs__embedded_text(conn, sql, "script", error);
    pgqrs__buf_free(&text);
    return status;
}

/* begin() has the file to itself already. */
pgqrs_status pgqrs__embedded_lock_install(pgqrs__conn *conn, int64_t deadline_us,
                                          pgqrs_error *error)
{
    (void)conn;
    (void)deadline_us;
    (void)error;
    return PGQRS_OK;
}

static int bind_text(pgqrs__conn *conn, void *stmt, int at, const char *text)
{
    const pgqrs__val v = { .kind    = PGQRS__KIND_TEXT,
                           .len     = (uint32_t)strlen(text),
                           .as.text = text };

    return conn->engine->bind(conn, stmt, at, &v);
}

static pgqrs_status has_object(pgqrs__conn *conn, const char *type, const char *prefix,
                               const char *name, bool *out_there, pgqrs_error *error)
{
    void        *stmt;
    pgqrs_status status = pgqrs__embedded_own_get(conn, PGQRS__EMBEDDED_HAS_OBJECT, &stmt, error);
    int          rc;

    if (status != PGQRS_OK)
        return status;
    rc = bind_text(conn, stmt, 1, type);
    if (rc == PGQRS__ENGINE_OK)
        rc = bind_text(conn, stmt, 2, prefix);
    if (rc == PGQRS__ENGINE_OK)
        rc = bind_text(conn, stmt, 3, name);
    if (rc == PGQRS__ENGINE_OK)
        rc = conn->engine->step(conn, stmt);
    *out_there = rc == PGQRS__ENGINE_ROW;
    if (rc != PGQRS__ENGINE_ROW && rc != PGQRS__ENGINE_OK)
        status = conn->engine->fail(conn, rc, "sqlite_master", error);
    conn->engine->reset(stmt);
    return status;
}

pgqrs_status pgqrs__embedded_has_table(pgqrs__conn *conn, const char *table, int64_t deadline_us,
                                       bool *out_there, pgqrs_error *error)
{
    pgqrs_status status = enter(conn, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    status = has_object(conn, "table", "pgqrs_", table, out_there, error);
    leave(conn);
    return status;
}

pgqrs_status pgqrs__embedded_has_index(pgqrs__conn *conn, const char *index, int64_t deadline_us,
                                       bool *out_there, pgqrs_error *error)
{
    pgqrs_status status = enter(conn, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    status = has_object(conn, "index", "", index, out_there, error);
    leave(conn);
    return status;
}

pgqrs_status pgqrs__embedded_check_statement(pgqrs__conn *conn, int stmt, int64_t deadline_us,
                                             pgqrs_error *error)
{
    const pgqrs__embedded_prepared *prepared;
    pgqrs_status                    status = enter(conn, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    status = pgqrs__embedded_prepare(conn, stmt, &prepared, error);
    leave(conn);
    return status;
}

const char *pgqrs__embedded_channel(pgqrs__db *db)
{
    (void)db;
    return NULL;
}

void pgqrs__embedded_counters(pgqrs__db *db, pgqrs_counters *out)
{
    out->statements  = atomic_load_explicit(&db->statements, memory_order_relaxed);
    out->round_trips = atomic_load_explicit(&db->round_trips, memory_order_relaxed);
    out->commits     = atomic_load_explicit(&db->commits, memory_order_relaxed);
}
