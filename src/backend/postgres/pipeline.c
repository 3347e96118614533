#include "backend/postgres/postgres.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "util/alloc.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/failpoint.h"

enum { ARGS_KEPT = 1024 * 1024 }; /* a buffer larger than this is given back */

/* Where settings of a session would go to other clients: for this transaction alone. */
static const char pooled_settings[] =
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', true),"
    " set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),"
    " set_config('idle_in_transaction_session_timeout', '300000', true)";

int pgqrs__pg_poll(int fd, short events, int second_fd, int64_t deadline_us)
{
    struct pollfd fds[2] = { { .fd = fd, .events = events },
                             { .fd = second_fd, .events = POLLIN } };

    if (fd < 0) /* closed: reading says so */
        return 1;
    for (;;) {
        int timeout = -1, ready;

        if (deadline_us != INT64_MAX) {
            int64_t left_us = deadline_us - pgqrs__mono_us();

            /* Rounded up, and a day at the most: poll() counts milliseconds in an int. */
            timeout = (int)(PGQRS__MIN(PGQRS__MAX(left_us, 0), PGQRS_DAY) + 999) / 1000;
        }
        ready = poll(fds, 2, timeout);
        if (ready > 0)
            return 1;
        if (ready == 0 && deadline_us != INT64_MAX && pgqrs__mono_us() >= deadline_us)
            return 0;
        if (ready < 0 && errno != EINTR && errno != EAGAIN)
            return 1; /* whoever reads or writes next learns what is wrong */
    }
}

bool pgqrs__pg_consume(pgqrs__conn *conn)
{
    bool wrapped = PQsslInUse(conn->pg) != 0 || PQgssEncInUse(conn->pg) != 0;

    /* One read takes 8 KiB at least, an encrypted record holds up to 16: what it left behind would
     * not make the socket readable. */
    return PQconsumeInput(conn->pg) == 1 && (!wrapped || PQconsumeInput(conn->pg) == 1)
           && PQstatus(conn->pg) == CONNECTION_OK;
}

/* Whether an idle connection is still there. A server that closed it has said so by now, or will
 * have it said by its kernel: then nothing of ours has been sent. */
static bool is_there(pgqrs__conn *conn)
{
    for (;;) {
        struct pollfd fd = { .fd = PQsocket(conn->pg), .events = POLLIN };

        if (PQstatus(conn->pg) != CONNECTION_OK)
            return false;
        if (poll(&fd, 1, 0) <= 0)
            return conn->last_words[0] == '\0';
        if (!pgqrs__pg_consume(conn))
            return false;
        (void)PQisBusy(conn->pg); /* parses: a notice, a parameter's change, a notification */
    }
}

pgqrs_status pgqrs__pg_give_up(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs_status rc = PQstatus(conn->pg) == CONNECTION_OK ? pgqrs__nomem(error)
                                                          : pgqrs__pg_lost(conn, NULL, error);

    /* No Sync has been sent, so nothing that was queued before can be committed. */
    conn->broken = true;
    pgqrs__pg_return(conn, true);
    return rc;
}

pgqrs_status pgqrs__pg_sent(pgqrs__conn *conn, int sent, pgqrs__pg_item item, pgqrs_error *error)
{
    if (sent != 1)
        return pgqrs__pg_give_up(conn, error);
    if (conn->items_count == conn->items_cap) {
        size_t          cap   = conn->items_cap == 0 ? 16 : 2 * conn->items_cap;
        pgqrs__pg_item *items = pgqrs__realloc(conn->items, cap * sizeof *items);

        if (items == NULL)
            return pgqrs__pg_give_up(conn, error);
        conn->items     = items;
        conn->items_cap = cap;
    }
    conn->items[conn->items_count++] = item;
    PGQRS__FAILPOINT_AFTER((void)PQflush(conn->pg), "statement sent, and neither answer nor Sync");
    return PGQRS_OK;
}

pgqrs_status pgqrs__pg_send(pgqrs__conn *conn, const char *sql, int nparams,
                            const char *const *params, pgqrs__pg_answer_fn on_answer, void *out,
                            pgqrs_error *error)
{
    int sent = PQsendQueryParams(conn->pg, sql, nparams, NULL, params, NULL, NULL, 1);

    return pgqrs__pg_sent(conn, sent, (pgqrs__pg_item){ .on_answer = on_answer, .out = out },
                          error);
}

static pgqrs_status start(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc = PGQRS_OK;

    PGQRS__FAILPOINT("before anything is sent");
    conn->unnamed |= atomic_load_explicit(&conn->db->pooled, memory_order_relaxed);
    if (conn->broken || !is_there(conn)) {
        conn->broken = true;
        return pgqrs__pg_lost(conn, NULL, error);
    }
    if (deadline_us != INT64_MAX && pgqrs__mono_us() >= deadline_us)
        return pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_NONE,
                           "deadline passed before anything was sent");
    if (conn->starting) {
        rc = pgqrs__pg_send(conn, "BEGIN ISOLATION LEVEL READ COMMITTED", 0, NULL, NULL, NULL,
                            error);
        conn->begun    = true;
        conn->starting = false;
    } else if (conn->begun) {
        return PGQRS_OK;
    }
    if (rc == PGQRS_OK && conn->unnamed)
        rc = pgqrs__pg_send(conn, pooled_settings, 0, NULL, NULL, NULL, error);
    return rc;
}

pgqrs_status pgqrs__pg_open(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc = PGQRS_OK;

    conn->items_count = 0;
    if (conn->shared)
        rc = pgqrs__pg_borrow(conn, error);
    if (rc == PGQRS_OK)
        rc = start(conn, deadline_us, error);
    if (rc != PGQRS_OK)
        pgqrs__pg_return(conn, false);
    return rc;
}

/* --- Taking the answers -------------------------------------------------------------------- */

typedef enum course { COURSE_ON, COURSE_LOST, COURSE_LATE } course;

/* How far the answers have come, and the first thing that went wrong. */
typedef struct answers {
    size_t       at; /* the item whose answer is next; items_count: the Sync */
    bool         synced;
    PGresult    *failure; /* owned */
    size_t       failed_at;
    pgqrs_status refused; /* by who takes an answer; error is filled then */
} answers;

static course wait_for(pgqrs__conn *conn, short events, int64_t deadline_us)
{
    if (pgqrs__pg_poll(PQsocket(conn->pg), events, -1, deadline_us) == 0)
        return COURSE_LATE;
    return pgqrs__pg_consume(conn) ? COURSE_ON : COURSE_LOST;
}

static course flush(pgqrs__conn *conn, int64_t deadline_us)
{
    course way = COURSE_ON;

    /* Reading too: the server may be stuck with answers that we do not take. After an error there
     * is nothing to write, but words of the server's may be there to be read. */
    while (way == COURSE_ON && PQflush(conn->pg) == 1)
        way = wait_for(conn, POLLIN | POLLOUT, deadline_us);
    return way;
}

static void take(pgqrs__conn *conn, answers *all, PGresult *answer, pgqrs_error *error)
{
    pgqrs__pg_item      *item   = all->at < conn->items_count ? &conn->items[all->at] : NULL;
    const ExecStatusType status = PQresultStatus(answer);

    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        if (item != NULL && item->on_answer != NULL && all->refused == PGQRS_OK)
            all->refused = item->on_answer(conn, item, answer, error);
    } else if (status == PGRES_PIPELINE_SYNC) {
        all->synced = true;
    } else if (status != PGRES_PIPELINE_ABORTED && all->failure == NULL) {
        all->failure   = answer;
        all->failed_at = all->at;
        return;
    }
    PQclear(answer);
}

static course receive(pgqrs__conn *conn, answers *all, int64_t deadline_us, pgqrs_error *error)
{
    bool   gap = false;
    course way = COURSE_ON;

    while (!all->synced) {
        PGresult *answer;

        while (way == COURSE_ON && PQisBusy(conn->pg))
            way = wait_for(conn, POLLIN, deadline_us);
        if (way == COURSE_LATE || (way == COURSE_LOST && PQstatus(conn->pg) == CONNECTION_OK))
            return way;
        /* Lost, or not busy: either way this does not block, and the server's last words come
         * first. */
        answer = PQgetResult(conn->pg);
        if (answer == NULL) {
            if (gap || PQstatus(conn->pg) != CONNECTION_OK)
                return COURSE_LOST;
            gap = true;
            all->at++;
            continue;
        }
        gap = false;
        take(conn, all, answer, error);
        if (way == COURSE_LOST && all->failure != NULL)
            return way;
    }
    /* Early versions of libpq 14 want to be asked once more. */
    if (PQtransactionStatus(conn->pg) == PQTRANS_ACTIVE)
        PQclear(PQgetResult(conn->pg));
    return COURSE_ON;
}

/* Whether what the server said last leaves no doubt that nothing was committed. */
static bool is_undone(const pgqrs__conn *conn, const answers *all, pgqrs__pg_stake stake)
{
    const char *severity;
    size_t decisive = stake == PGQRS__PG_STAKE_LAST ? conn->items_count - 1 : conn->items_count;

    if (stake == PGQRS__PG_STAKE_NONE)
        return true;
    if (pgqrs__pg_sqlstate(all->failure)[0] == '\0') /* libpq's own words */
        return false;
    severity = PQresultErrorField(all->failure, PG_DIAG_SEVERITY_NONLOCALIZED);
    /* An error undoes; a session that ends does too, unless it may have been after the commit. */
    return (severity != NULL && strcmp(severity, "ERROR") == 0) || all->failed_at < decisive;
}

static pgqrs_status judge(pgqrs__conn *conn, answers *all, course way, pgqrs__pg_stake stake,
                          pgqrs_error *error)
{
    pgqrs_status rc;
    const char  *severity = all->failure == NULL
                                ? NULL
                                : PQresultErrorField(all->failure, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (way == COURSE_ON && all->failure == NULL) {
        if (all->refused == PGQRS_OK)
            return PGQRS_OK;
        if (stake == PGQRS__PG_STAKE_SYNC) /* it is applied, but the rows were not taken */
            pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
        return all->refused;
    }
    if (way == COURSE_ON)
        return pgqrs__pg_fail(conn, all->failure, error);

    conn->broken = true;
    if (way == COURSE_LOST && severity != NULL && strcmp(severity, "ERROR") == 0
        && pgqrs__pg_sqlstate(all->failure)[0] != '\0')
        return pgqrs__pg_fail(conn, all->failure, error);
    if (way == COURSE_LATE)
        rc = pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_NONE,
                         "deadline passed before the database answered");
    else
        rc = pgqrs__pg_lost(conn, all->failure, error);
    if (!is_undone(conn, all, stake))
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return rc;
}

pgqrs_status pgqrs__pg_close(pgqrs__conn *conn, pgqrs__pg_stake stake, int64_t deadline_us,
                             pgqrs_error *error)
{
    answers      all = { 0 };
    course       way;
    pgqrs_status rc;

    if (PQpipelineSync(conn->pg) != 1)
        return pgqrs__pg_give_up(conn, error);
    atomic_fetch_add_explicit(&conn->db->round_trips, 1, memory_order_relaxed);
    way = flush(conn, deadline_us);
    PGQRS__FAILPOINT("Sync sent, and no answer taken");
    if (way != COURSE_LATE)
        way = receive(conn, &all, deadline_us, error);
    PGQRS__FAILPOINT("every answer taken");
    rc = judge(conn, &all, way, stake, error);
    PQclear(all.failure);
    conn->items_count = 0;
    for (size_t i = 0; i < PGQRS__PG_MAX_ARGS; i++)
        if (conn->args[i].cap > ARGS_KEPT)
            pgqrs__buf_free(&conn->args[i]);
    pgqrs__pg_return(conn, rc != PGQRS_OK);
    return rc;
}
