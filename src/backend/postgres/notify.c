#include "backend/postgres/postgres.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"

static pgqrs_status listen_now(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs__db *db          = conn->db;
    int64_t    deadline_us = pgqrs__i64_add_sat(pgqrs__mono_us(), db->settings.connect_timeout_us);
    char       sql[64];
    pgqrs_status rc;

    if (db->listen.text != NULL) {
        /* Elsewhere than where statements go: the pooler's server itself. */
        pgqrs__pg_hang_up(conn, false);
        conn->broken = true;
        rc           = pgqrs__pg_dial(conn, &db->listen, deadline_us, error);
        if (rc != PGQRS_OK)
            return rc;
        conn->broken = false;
    } else if (conn->unnamed) {
        return PGQRS_OK; /* a pooler forwards no notifications: whoever waits polls */
    }
    (void)snprintf(sql, sizeof sql, "LISTEN %s", db->channel);
    rc = pgqrs__pg_open(conn, deadline_us, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_send(conn, sql, 0, NULL, NULL, NULL, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_close(conn, PGQRS__PG_STAKE_NONE, deadline_us, error);
    return rc;
}

/* True when somebody was told something. */
static bool tell(pgqrs__conn *conn, void (*on_queue)(void *user, int64_t queue_id), void *user)
{
    PGnotify *note;
    bool      told = false;

    while ((note = PQnotifies(conn->pg)) != NULL) {
        on_queue(user, strtoll(note->extra, NULL, 10));
        PQfreemem(note);
        told = true;
    }
    return told;
}

pgqrs_status pgqrs__pg_wait(pgqrs__conn *conn, int64_t                            deadline_us,
                            void (*on_queue)(void *user, int64_t queue_id), void *user,
                            pgqrs_error *error)
{
    pgqrs_status rc;
    int          wake_fd = atomic_load(&conn->wake_fd);

    if (wake_fd < 0) {
        wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wake_fd < 0)
            return pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_NONE, "no file descriptor is left");
        atomic_store(&conn->wake_fd, wake_fd);
    }
    if (!conn->listening) {
        rc = listen_now(conn, error);
        if (rc == PGQRS_OK) {
            conn->listening = true;
            (void)tell(conn, on_queue, user);
            return pgqrs__ok(error);
        }
        conn->broken = true;
        return rc;
    }
    /* The flag before the descriptor, as wake() sets them: a call that came too early for the
     * descriptor is seen here. */
    while (!atomic_exchange(&conn->woken, false) && !tell(conn, on_queue, user)) {
        uint64_t count;

        if (pgqrs__pg_poll(PQsocket(conn->pg), POLLIN, wake_fd, deadline_us) == 0)
            break;
        while (read(wake_fd, &count, sizeof count) < 0 && errno == EINTR)
            continue;
        if (!pgqrs__pg_consume(conn)) {
            conn->broken = true;
            return pgqrs__pg_lost(conn, NULL, error);
        }
    }
    return pgqrs__ok(error);
}

void pgqrs__pg_wake(pgqrs__conn *conn)
{
    const uint64_t one = 1;
    int            fd;

    atomic_store(&conn->woken, true);
    fd = atomic_load(&conn->wake_fd);
    if (fd >= 0)
        while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
            continue;
}
