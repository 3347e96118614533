/* Waiting for something to be put in: told at once by this process, noticed soon from the others.
 */
#include "backend/embedded.h"

#include "util/base.h"
#include "util/clock.h"
#include "util/error.h"

/* How often to look whether another process has committed. */
#define LOOK_US (20 * PGQRS_MILLISECOND)

/* Whether another process can have the database open, too. */
static bool has_others(const pgqrs__conn *conn)
{
    return conn->db->path != NULL && !conn->engine->alone;
}

static pgqrs_status read_data_version(pgqrs__conn *conn, int64_t *out_version, pgqrs_error *error)
{
    void        *stmt;
    pgqrs_status status = pgqrs__embedded_own_get(conn, PGQRS__EMBEDDED_DATA_VERSION, &stmt, error);
    int          rc;

    if (status != PGQRS_OK)
        return status;
    rc = conn->engine->step(conn, stmt);
    if (rc == PGQRS__ENGINE_ROW)
        *out_version = conn->engine->column(stmt, 0, PGQRS__TYPE_I64).as.i;
    else
        status = conn->engine->fail(conn, rc, "PRAGMA data_version", error);
    conn->engine->reset(stmt);
    return status;
}

/* Most commits finish work and put nothing in: those leave the number line where it was. */
static pgqrs_status look(pgqrs__conn *conn, bool *out_changed, pgqrs_error *error)
{
    uint64_t     news    = pgqrs__filelock_news(conn->db->lock);
    int64_t      version = conn->data_version;
    int64_t      next    = conn->next;
    int64_t      last_now_us;
    pgqrs_status status = PGQRS_OK;

    *out_changed = news != conn->news;
    if (has_others(conn))
        status = read_data_version(conn, &version, error);
    if (status == PGQRS_OK && version != conn->data_version)
        status = pgqrs__embedded_sequence(conn, &next, &last_now_us, error);
    if (status != PGQRS_OK)
        return status;
    *out_changed       = *out_changed || next != conn->next;
    conn->news         = news;
    conn->data_version = version;
    conn->next         = next;
    return PGQRS_OK;
}

pgqrs_status pgqrs__embedded_wait(pgqrs__conn *conn, int64_t deadline_us,
                                  pgqrs__embedded_queue_fn on_queue, void *user, pgqrs_error *error)
{
    for (;;) {
        bool         changed;
        int64_t      now_us = pgqrs__mono_us();
        pgqrs_status status;

        conn->deadline_us = PGQRS__MIN(deadline_us, pgqrs__i64_add_sat(now_us, PGQRS_SECOND));
        status            = look(conn, &changed, error);
        if (status != PGQRS_OK)
            return status;
        if (!conn->listening) {
            conn->listening = true;
            return PGQRS_OK;
        }
        if (changed)
            on_queue(user, 0);
        if (changed || atomic_exchange(&conn->woken, false) || now_us >= deadline_us)
            return PGQRS_OK;
        pgqrs__filelock_sleep(conn->db->lock, conn->news, &conn->woken,
                              has_others(conn)
                                  ? PGQRS__MIN(deadline_us, pgqrs__i64_add_sat(now_us, LOOK_US))
                                  : deadline_us);
    }
}

void pgqrs__embedded_wake(pgqrs__conn *conn)
{
    pgqrs__filelock_wake(conn->db->lock, &conn->woken);
}
