/* Running numbered statements, and transactions around them. */
#include "backend/embedded.h"

#include "util/base.h"
#include "util/error.h"
#include "util/failpoint.h"

/* The stored time follows the clock at this distance when nothing else is written to the number
 * line. */
#define CLOCK_STEP_US PGQRS_SECOND

/* What one run() knows of the number line and the clock: read when a statement first needs it. */
typedef struct line {
    bool    known;
    int64_t first; /* as stored */
    int64_t next;
    int64_t stored_us;
    int64_t now_us; /* the time of the whole run */
} line;

/* --- The number line ---------------------------------------------------------------------- */

pgqrs_status pgqrs__embedded_sequence(pgqrs__conn *conn, int64_t *out_next,
                                      int64_t *out_last_now_us, pgqrs_error *error)
{
    void        *stmt;
    pgqrs_status status =
        pgqrs__embedded_own_get(conn, PGQRS__EMBEDDED_SEQUENCE_READ, &stmt, error);
    int rc;

    if (status != PGQRS_OK)
        return status;
    rc = conn->engine->step(conn, stmt);
    if (rc == PGQRS__ENGINE_ROW) {
        *out_next        = conn->engine->column(stmt, 0, PGQRS__TYPE_I64).as.i;
        *out_last_now_us = conn->engine->column(stmt, 1, PGQRS__TYPE_I64).as.i;
    } else if (rc == PGQRS__ENGINE_OK) {
        status = pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE,
                             "pgqrs_sequence has lost its row");
    } else {
        status = conn->engine->fail(conn, rc, "sequence", error);
    }
    conn->engine->reset(stmt);
    return status;
}

static pgqrs_status line_read(pgqrs__conn *conn, line *l, pgqrs_error *error)
{
    const pgqrs_clock *clock = &conn->db->clock;
    pgqrs_status       status;

    if (l->known)
        return PGQRS_OK;
    status = pgqrs__embedded_sequence(conn, &l->first, &l->stored_us, error);
    if (status != PGQRS_OK)
        return status;
    l->next   = l->first;
    l->now_us = PGQRS__MAX(clock->wall_us(clock->user_data), l->stored_us);
    l->known  = true;
    return PGQRS_OK;
}

static int bind_i64(pgqrs__conn *conn, void *stmt, int at, int64_t value)
{
    const pgqrs__val v = { .kind = PGQRS__KIND_INT, .as.i = value };

    return conn->engine->bind(conn, stmt, at, &v);
}

/* Store what was handed out, and the time, which alone is not worth a write. */
static pgqrs_status line_write(pgqrs__conn *conn, const line *l, bool changed, pgqrs_error *error)
{
    void        *stmt;
    pgqrs_status status;
    int          rc;

    if (!l->known
        || (l->next == l->first && (!changed || l->now_us - l->stored_us <= CLOCK_STEP_US)))
        return PGQRS_OK;
    status = pgqrs__embedded_own_get(conn, PGQRS__EMBEDDED_SEQUENCE_WRITE, &stmt, error);
    if (status != PGQRS_OK)
        return status;
    rc = bind_i64(conn, stmt, 1, l->next);
    if (rc == PGQRS__ENGINE_OK)
        rc = bind_i64(conn, stmt, 2, l->now_us);
    PGQRS__FAILPOINT("before the sequence is written");
    if (rc == PGQRS__ENGINE_OK)
        rc = conn->engine->step(conn, stmt);
    PGQRS__FAILPOINT("sequence written");
    if (rc != PGQRS__ENGINE_OK)
        status = conn->engine->fail(conn, rc, "sequence", error);
    conn->engine->reset(stmt);
    return status;
}

/* --- Statements --------------------------------------------------------------------------- */

/* One call, being run. */
typedef struct execution {
    pgqrs__conn                    *conn;
    pgqrs__call                    *call;
    const pgqrs__shape             *shape;
    const pgqrs__sql               *sql;
    const pgqrs__embedded_prepared *prepared;
    line                           *line;
} execution;

static pgqrs_status give_row(const execution *x, void *stmt, pgqrs_error *error)
{
    pgqrs__val   cols[PGQRS__EMBEDDED_COLS_MAX];
    pgqrs_status status;

    for (int i = 0; i < x->shape->ncols; i++) {
        cols[i] = x->conn->engine->column(stmt, i, x->shape->cols[i].type);
        if (cols[i].kind == PGQRS__KIND_TEXT && cols[i].as.text == NULL)
            return pgqrs__nomem(error);
    }
    status = x->call->on_row(x->call, cols);
    if (status == PGQRS_ENOMEM)
        return pgqrs__nomem(error);
    if (status != PGQRS_OK)
        return pgqrs__fail(error, status, PGQRS_OBJECT_STORE, "a row of %s was refused",
                           x->shape->name);
    return PGQRS_OK;
}

/* Run a bound statement to its end, and leave none open: a commit beside an open one is not seen by
 * others with every engine. */
static pgqrs_status step(const execution *x, const pgqrs__embedded_part *part, pgqrs_error *error)
{
    const pgqrs__engine *engine = x->conn->engine;
    pgqrs_status         status = PGQRS_OK;
    int                  rc;

    PGQRS__FAILPOINT(x->shape->name);
    while ((rc = engine->step(x->conn, part->stmt)) == PGQRS__ENGINE_ROW && status == PGQRS_OK) {
        if (x->call->on_row != NULL)
            status = give_row(x, part->stmt, error);
    }
    PGQRS__FAILPOINT(x->shape->name);
    if (status == PGQRS_OK && rc != PGQRS__ENGINE_OK)
        status = engine->fail(x->conn, rc, x->shape->name, error);
    if (status == PGQRS_OK && part->writes)
        x->conn->changes += engine->changed(x->conn, part->stmt);
    engine->reset(part->stmt);
    return status;
}

static pgqrs_status bind_fail(const execution *x, int rc, pgqrs_error *error)
{
    return x->conn->engine->fail(x->conn, rc, x->shape->name, error);
}

static int bind_scalars(const execution *x, const pgqrs__embedded_part *part)
{
    const pgqrs__engine *engine = x->conn->engine;
    const pgqrs__val    *now;
    int                  rc = PGQRS__ENGINE_OK;

    for (uint8_t p = part->narrays; p < part->narrays + part->nscalars && rc == PGQRS__ENGINE_OK;
         p++)
        rc = engine->bind(x->conn, part->stmt, part->params[p],
                          &x->call->scalars[part->params[p] - 1 - x->shape->narrays]);
    if (rc != PGQRS__ENGINE_OK || !part->uses_now)
        return rc;
    now = &x->call->scalars[x->shape->nargs - 1 - x->shape->narrays];
    return now->kind == PGQRS__KIND_NULL
               ? bind_i64(x->conn, part->stmt, x->shape->nargs, x->line->now_us)
               : engine->bind(x->conn, part->stmt, x->shape->nargs, now);
}

static int bind_row(const execution *x, const pgqrs__embedded_part *part, const pgqrs__val *row,
                    int64_t n)
{
    int rc = PGQRS__ENGINE_OK;

    /* Where the reset leaves what is bound, this is for the first row only. */
    if (n <= 1 || x->conn->engine->forgets)
        rc = bind_scalars(x, part);
    for (uint8_t p = 0; p < part->narrays && rc == PGQRS__ENGINE_OK; p++)
        rc = x->conn->engine->bind(x->conn, part->stmt, part->params[p], &row[part->params[p] - 1]);
    if (rc == PGQRS__ENGINE_OK && part->uses_id)
        rc = bind_i64(x->conn, part->stmt, x->shape->nargs + 1, x->line->next);
    if (rc == PGQRS__ENGINE_OK && part->uses_n)
        rc = bind_i64(x->conn, part->stmt, x->shape->nargs + 2, n);
    return rc;
}

/* One argument row, through every part. */
static pgqrs_status execute_row(const execution *x, const pgqrs__val *row, int64_t n,
                                pgqrs_error *error)
{
    int64_t changes = x->conn->changes;

    for (size_t i = 0; i < x->sql->nparts; i++) {
        const pgqrs__embedded_part *part = &x->prepared->parts[i];
        int                         rc   = bind_row(x, part, row, n);
        pgqrs_status                status;

        if (rc != PGQRS__ENGINE_OK)
            return bind_fail(x, rc, error);
        status = step(x, part, error);
        if (status != PGQRS_OK)
            return status;
    }
    /* Numbers for a row that changed nothing are not used up: looking for work to do writes
     * nothing. */
    if (x->sql->ids > 0 && x->conn->changes != changes)
        x->line->next += x->sql->ids;
    return PGQRS_OK;
}

static pgqrs_status execute(pgqrs__conn *conn, pgqrs__call *call, line *l, pgqrs_error *error)
{
    execution    x = { .conn  = conn,
                       .call  = call,
                       .shape = &pgqrs__shapes[call->stmt],
                       .sql   = &conn->engine->sql[call->stmt],
                       .line  = l };
    int64_t      n = 0;
    pgqrs_status status;

    status = pgqrs__embedded_prepare(conn, call->stmt, &x.prepared, error);
    if (status != PGQRS_OK)
        return status;
    if (x.sql->ids > 0
        || (x.prepared->uses_now
            && call->scalars[x.shape->nargs - 1 - x.shape->narrays].kind == PGQRS__KIND_NULL))
        status = line_read(conn, l, error);
    if (status == PGQRS_OK && !x.shape->many)
        return execute_row(&x, NULL, 0, error);
    for (size_t p = 0; p < call->nparts; p++) {
        for (size_t i = 0; i < call->parts[p].nrows && status == PGQRS_OK; i++)
            status = execute_row(&x, call->parts[p].rows + i * x.shape->narrays, ++n, error);
    }
    return status;
}

/* --- Transactions ------------------------------------------------------------------------- */

/* A read needs a transaction of its own when it is more than one SQL statement. */
static bool is_one_statement(const pgqrs__engine *engine, const pgqrs__call *calls, size_t ncalls)
{
    return ncalls == 1 && engine->sql[calls[0].stmt].nparts == 1
           && (!pgqrs__shapes[calls[0].stmt].many
               || (calls[0].nparts == 1 && calls[0].parts[0].nrows <= 1));
}

/* Undo the transaction, unless the engine has done so by itself. */
static void roll_back(pgqrs__conn *conn)
{
    if (!conn->engine->in_transaction(conn))
        return;
    if (pgqrs__embedded_do(conn, PGQRS__EMBEDDED_ROLLBACK, NULL) != PGQRS_OK)
        conn->broken = true;
}

static pgqrs_status commit(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs_status status = pgqrs__embedded_do(conn, PGQRS__EMBEDDED_COMMIT, error);

    if (status != PGQRS_OK)
        roll_back(conn);
    return status;
}

/* Every call, and the number line after them. */
static pgqrs_status execute_all(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                                bool *out_announce, pgqrs_error *error)
{
    int64_t      changes = conn->changes;
    line         l       = { .known = false };
    pgqrs_status status  = PGQRS_OK;

    for (size_t i = 0; i < ncalls && status == PGQRS_OK; i++)
        status = execute(conn, &calls[i], &l, error);
    if (status == PGQRS_OK)
        status = line_write(conn, &l, conn->changes != changes, error);
    *out_announce = l.known && l.next != l.first;
    return status;
}

static pgqrs_status run_write(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                              pgqrs_error *error)
{
    pgqrs__db   *db       = conn->db;
    bool         announce = false;
    pgqrs_status status   = pgqrs__filelock_take(db->lock, conn->deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    status = pgqrs__embedded_do(conn, PGQRS__EMBEDDED_BEGIN_WRITE, error);
    if (status == PGQRS_OK) {
        status = execute_all(conn, calls, ncalls, &announce, error);
        if (status == PGQRS_OK)
            status = commit(conn, error);
        else
            roll_back(conn);
    }
    pgqrs__filelock_yield(db->lock);
    PGQRS__FAILPOINT("turn given away");
    if (status != PGQRS_OK)
        return status;
    atomic_fetch_add_explicit(&db->commits, 1, memory_order_relaxed);
    if (announce)
        pgqrs__filelock_announce(db->lock);
    return PGQRS_OK;
}

static pgqrs_status run_read(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                             pgqrs_error *error)
{
    bool         alone  = is_one_statement(conn->engine, calls, ncalls);
    bool         shared = conn->db->path == NULL;
    bool         announce;
    pgqrs_status status = PGQRS_OK;

    if (shared)
        status = pgqrs__filelock_take(conn->db->lock, conn->deadline_us, error);
    if (status != PGQRS_OK)
        return status;
    if (!alone)
        status = pgqrs__embedded_do(conn, PGQRS__EMBEDDED_BEGIN_READ, error);
    if (status == PGQRS_OK)
        status = execute_all(conn, calls, ncalls, &announce, error);
    if (!alone && status == PGQRS_OK)
        status = commit(conn, error);
    else
        roll_back(conn);
    if (shared)
        pgqrs__filelock_yield(conn->db->lock);
    return status;
}

/* An engine undoes the whole transaction after some errors, and then says so in this way. */
static pgqrs_status check_open(const pgqrs__conn *conn, pgqrs_error *error)
{
    if (conn->engine->in_transaction(conn))
        return PGQRS_OK;
    if (conn->adopted) {
        pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE,
                    "no transaction is open on the connection");
        pgqrs__hint(error, "Begin one first, or open a store of its own with pgqrs_open().");
        return PGQRS_ESTATE;
    }
    if (conn->lent) {
        pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE,
                    "the step's transaction is no longer open on its connection");
        pgqrs__hint(error,
                    "Leave BEGIN, COMMIT and ROLLBACK to the library; a full disk ends it too.");
        return PGQRS_ESTATE;
    }
    return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE,
                       "the transaction was rolled back by an earlier error");
}

/* In a savepoint: the transaction goes on without what failed. */
static pgqrs_status run_inside(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                               pgqrs_error *error)
{
    bool         announce;
    pgqrs_status status = check_open(conn, error);

    if (status == PGQRS_OK)
        status = pgqrs__embedded_do(conn, PGQRS__EMBEDDED_SAVEPOINT, error);
    if (status != PGQRS_OK)
        return status;
    status = execute_all(conn, calls, ncalls, &announce, error);
    if (status == PGQRS_OK)
        status = pgqrs__embedded_do(conn, PGQRS__EMBEDDED_RELEASE, error);
    if (status == PGQRS_OK) {
        conn->announce = conn->announce || announce;
        return PGQRS_OK;
    }
    if (conn->engine->in_transaction(conn)
        && (pgqrs__embedded_do(conn, PGQRS__EMBEDDED_ROLLBACK_TO, NULL) != PGQRS_OK
            || pgqrs__embedded_do(conn, PGQRS__EMBEDDED_RELEASE, NULL) != PGQRS_OK))
        roll_back(conn);
    return status;
}

pgqrs_status pgqrs__embedded_run(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                                 pgqrs__mode mode, int64_t deadline_us, pgqrs_error *error)
{
    conn->deadline_us = deadline_us;
    if (conn->adopted)
        mode = PGQRS__MODE_INSIDE;
    atomic_fetch_add_explicit(&conn->db->statements, (int_fast64_t)ncalls, memory_order_relaxed);
    atomic_fetch_add_explicit(&conn->db->round_trips, 1, memory_order_relaxed);
    switch (mode) {
    case PGQRS__MODE_READ:
        return run_read(conn, calls, ncalls, error);
    case PGQRS__MODE_WRITE:
        return run_write(conn, calls, ncalls, error);
    case PGQRS__MODE_INSIDE:
        return run_inside(conn, calls, ncalls, error);
    }
    return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_STORE, "unknown mode");
}

pgqrs_status pgqrs__embedded_begin(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status status = pgqrs__filelock_take(conn->db->lock, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    conn->deadline_us = deadline_us;
    conn->announce    = false;
    status            = pgqrs__embedded_do(conn, PGQRS__EMBEDDED_BEGIN_WRITE, error);
    if (status == PGQRS_OK)
        conn->open = true;
    else
        pgqrs__filelock_yield(conn->db->lock);
    return status;
}

pgqrs_status pgqrs__embedded_end(pgqrs__conn *conn, bool keep, int64_t deadline_us,
                                 pgqrs_error *error)
{
    pgqrs__db   *db     = conn->db;
    pgqrs_status status = PGQRS_OK;

    conn->deadline_us = deadline_us;
    if (conn->lent && conn->engine->take_back != NULL)
        conn->engine->take_back(conn);
    if (keep) {
        status = check_open(conn, error);
        if (status == PGQRS_OK)
            status = commit(conn, error);
    } else {
        roll_back(conn);
    }
    conn->open = false;
    conn->lent = false;
    pgqrs__filelock_yield(db->lock);
    if (!keep || status != PGQRS_OK)
        return status;
    atomic_fetch_add_explicit(&db->commits, 1, memory_order_relaxed);
    if (conn->announce)
        pgqrs__filelock_announce(db->lock);
    return PGQRS_OK;
}

void *pgqrs__embedded_lend(pgqrs__conn *conn)
{
    conn->lent = true;
    return conn->handle;
}
