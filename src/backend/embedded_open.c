/* Databases and their connections, for every engine inside the process. */
#include "backend/embedded.h"

#include <time.h>

#include "util/alloc.h"
#include "util/base.h"
#include "util/clock.h"
#include "util/error.h"

/* --- Connections -------------------------------------------------------------------------- */

bool pgqrs__embedded_pause(const pgqrs__conn *conn, int tries)
{
    int64_t wait_us = PGQRS__MIN(INT64_C(100) << PGQRS__MIN(tries, 6), 5 * PGQRS_MILLISECOND);
    int64_t left_us;
    struct timespec pause;

    left_us = conn->deadline_us == INT64_MAX ? INT64_MAX : conn->deadline_us - pgqrs__mono_us();
    if (left_us <= 0)
        return false;
    pause = (struct timespec){ .tv_nsec = (long)PGQRS__MIN(wait_us, left_us) * 1000 };
    (void)nanosleep(&pause, NULL);
    return true;
}

pgqrs__conn *pgqrs__embedded_conn_new(pgqrs__db *db)
{
    pgqrs__conn *conn = pgqrs__calloc(1, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    conn->db          = db;
    conn->engine      = db->engine;
    conn->deadline_us = pgqrs__i64_add_sat(pgqrs__mono_us(), db->connect_timeout_us);
    atomic_init(&conn->woken, false);
    return conn;
}

pgqrs_status pgqrs__embedded_connect(pgqrs__db *db, pgqrs__conn **out_conn, pgqrs_error *error)
{
    pgqrs__conn *conn;
    pgqrs_status status;

    pgqrs__mutex_lock(&db->mutex);
    *out_conn = db->first;
    db->first = NULL;
    pgqrs__mutex_unlock(&db->mutex);
    if (*out_conn != NULL)
        return PGQRS_OK;
    conn = pgqrs__embedded_conn_new(db);
    if (conn == NULL)
        return pgqrs__nomem(error);
    status = db->engine->open_handle(conn, error);
    if (status != PGQRS_OK) {
        pgqrs__embedded_disconnect(conn, false);
        return status;
    }
    *out_conn = conn;
    return PGQRS_OK;
}

/* What is in memory is used in turns. After fork() the handle is the parent's too: closing it would
 * undo what the parent is doing. */
void pgqrs__embedded_disconnect(pgqrs__conn *conn, bool forked)
{
    pgqrs__db *db     = conn->db;
    bool       shared = !forked && db->path == NULL;

    if (conn->adopted) {
        pgqrs__embedded_forget(conn, forked);
        pgqrs__free(conn);
        return;
    }
    if (!forked && conn->open)
        (void)pgqrs__embedded_end(conn, false, INT64_MAX, NULL);
    if (shared && pgqrs__filelock_take(db->lock, INT64_MAX, NULL) != PGQRS_OK) {
        pgqrs__free(conn);
        return;
    }
    pgqrs__embedded_forget(conn, forked);
    if (!forked)
        db->engine->close_handle(conn);
    if (shared)
        pgqrs__filelock_yield(db->lock);
    pgqrs__free(conn);
}

/* --- The database ------------------------------------------------------------------------- */

pgqrs_status pgqrs__embedded_open(const pgqrs__engine *engine, const char *dsn,
                                  const pgqrs__settings *settings, pgqrs__db **out_db,
                                  pgqrs_error *error)
{
    pgqrs__db   *db;
    char        *path;
    pgqrs_status rc = pgqrs__embedded_path(engine, dsn, &path, error);

    if (rc == PGQRS_OK)
        rc = engine->check(error);
    if (rc != PGQRS_OK) {
        pgqrs__free(path);
        return rc;
    }
    db = pgqrs__calloc(1, sizeof(*db));
    if (db == NULL || !pgqrs__mutex_init(&db->mutex)) {
        pgqrs__free(path);
        pgqrs__free(db);
        return pgqrs__nomem(error);
    }
    db->engine             = engine;
    db->path               = path;
    db->connect_timeout_us = settings->connect_timeout_us;
    db->clock              = settings->clock;
    atomic_init(&db->statements, 0);
    atomic_init(&db->round_trips, 0);
    atomic_init(&db->commits, 0);
    rc = engine->open_database(db, error);
    if (rc == PGQRS_OK)
        *out_db = db;
    else
        pgqrs__embedded_close(db, false);
    return rc;
}

void pgqrs__embedded_close(pgqrs__db *db, bool forked)
{
    if (db->first != NULL)
        pgqrs__embedded_disconnect(db->first, forked);
    if (!forked)
        db->engine->close_database(db);
    if (db->lock != NULL)
        pgqrs__filelock_leave(db->lock, forked);
    if (!forked)
        pgqrs__mutex_destroy(&db->mutex);
    pgqrs__free(db->path);
    pgqrs__free(db);
}
