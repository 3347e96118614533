/* Running numbered statements, and transactions around them. */
#include "backend/sqlite/sqlite.h"

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

pgqrs_status pgqrs__sqlite_sequence(pgqrs__conn *conn, int64_t *out_next, int64_t *out_last_now_us,
                                    pgqrs_error *error)
{
    sqlite3_stmt *stmt;
    pgqrs_status  status = pgqrs__sqlite_own_get(conn, PGQRS__SQLITE_SEQUENCE_READ, &stmt, error);
    int           rc;

    if (status != PGQRS_OK)
        return status;
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *out_next        = sqlite3_column_int64(stmt, 0);
        *out_last_now_us = sqlite3_column_int64(stmt, 1);
    } else if (rc == SQLITE_DONE) {
        status = pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE,
                             "pgqrs_sequence has lost its row");
    } else {
        status = pgqrs__sqlite_fail(conn, rc, "sequence", error);
    }
    (void)sqlite3_reset(stmt);
    return status;
}

static pgqrs_status line_read(pgqrs__conn *conn, line *l, pgqrs_error *error)
{
    const pgqrs_clock *clock = &conn->db->clock;
    pgqrs_status       status;

    if (l->known)
        return PGQRS_OK;
    status = pgqrs__sqlite_sequence(conn, &l->first, &l->stored_us, error);
    if (status != PGQRS_OK)
        return status;
    l->next   = l->first;
    l->now_us = PGQRS__MAX(clock->wall_us(clock->user_data), l->stored_us);
    l->known  = true;
    return PGQRS_OK;
}

/* Store what was handed out, and the time, which alone is not worth a write. */
static pgqrs_status line_write(pgqrs__conn *conn, const line *l, bool changed, pgqrs_error *error)
{
    sqlite3_stmt *stmt;
    pgqrs_status  status;
    int           rc;

    if (!l->known
        || (l->next == l->first && (!changed || l->now_us - l->stored_us <= CLOCK_STEP_US)))
        return PGQRS_OK;
    status = pgqrs__sqlite_own_get(conn, PGQRS__SQLITE_SEQUENCE_WRITE, &stmt, error);
    if (status != PGQRS_OK)
        return status;
    (void)sqlite3_bind_int64(stmt, 1, l->next);
    (void)sqlite3_bind_int64(stmt, 2, l->now_us);
    PGQRS__FAILPOINT("before the sequence is written");
    rc = sqlite3_step(stmt);
    PGQRS__FAILPOINT("sequence written");
    if (rc != SQLITE_DONE)
        status = pgqrs__sqlite_fail(conn, rc, "sequence", error);
    (void)sqlite3_reset(stmt);
    return status;
}

/* --- Values ------------------------------------------------------------------------------- */

/* What is bound stays the caller's, and is bound anew before the statement runs again. */
static int bind(sqlite3_stmt *stmt, int at, const pgqrs__val *v)
{
    switch (v->kind) {
    case PGQRS__KIND_NULL:
        return sqlite3_bind_null(stmt, at);
    case PGQRS__KIND_INT:
        return sqlite3_bind_int64(stmt, at, v->as.i);
    case PGQRS__KIND_REAL:
        return sqlite3_bind_double(stmt, at, v->as.f);
    case PGQRS__KIND_TEXT:
        return sqlite3_bind_text64(stmt, at, v->len > 0 ? v->as.text : "", v->len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    }
    return SQLITE_MISUSE;
}

static pgqrs__val column(sqlite3_stmt *stmt, int at, uint8_t type)
{
    pgqrs__val v = { .kind = PGQRS__KIND_NULL };

    switch (sqlite3_column_type(stmt, at)) {
    case SQLITE_NULL:
        break;
    case SQLITE_INTEGER:
    case SQLITE_FLOAT:
        if (type == PGQRS__TYPE_F64) {
            v.kind = PGQRS__KIND_REAL;
            v.as.f = sqlite3_column_double(stmt, at);
        } else {
            v.kind = PGQRS__KIND_INT;
            v.as.i = sqlite3_column_int64(stmt, at);
        }
        break;
    default:
        v.kind    = PGQRS__KIND_TEXT;
        v.as.text = (const char *)sqlite3_column_text(stmt, at);
        v.len     = (uint32_t)sqlite3_column_bytes(stmt, at);
    }
    return v;
}

/* --- Statements --------------------------------------------------------------------------- */

/* One call, being run. */
typedef struct execution {
    pgqrs__conn                  *conn;
    pgqrs__call                  *call;
    const pgqrs__shape           *shape;
    const pgqrs__sql             *sql;
    const pgqrs__sqlite_prepared *prepared;
    line                         *line;
} execution;

static pgqrs_status give_row(const execution *x, sqlite3_stmt *stmt, pgqrs_error *error)
{
    pgqrs__val   cols[PGQRS__SQLITE_COLS_MAX];
    pgqrs_status status;

    for (int i = 0; i < x->shape->ncols; i++) {
        cols[i] = column(stmt, i, x->shape->cols[i].type);
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

/* Run a bound statement to its end. */
static pgqrs_status step(const execution *x, const pgqrs__sqlite_part *part, pgqrs_error *error)
{
    pgqrs_status status = PGQRS_OK;
    int          rc;

    PGQRS__FAILPOINT(x->shape->name);
    while ((rc = sqlite3_step(part->stmt)) == SQLITE_ROW && status == PGQRS_OK) {
        if (x->call->on_row != NULL)
            status = give_row(x, part->stmt, error);
    }
    PGQRS__FAILPOINT(x->shape->name);
    if (status == PGQRS_OK && rc != SQLITE_DONE)
        status = pgqrs__sqlite_fail(x->conn, rc, x->shape->name, error);
    (void)sqlite3_reset(part->stmt);
    return status;
}

static pgqrs_status bind_fail(const execution *x, int rc, pgqrs_error *error)
{
    return pgqrs__sqlite_fail(x->conn, rc, x->shape->name, error);
}

static pgqrs_status bind_scalars(const execution *x, pgqrs_error *error)
{
    for (size_t i = 0; i < x->sql->nparts; i++) {
        const pgqrs__sqlite_part *part = &x->prepared->parts[i];
        int                       rc   = SQLITE_OK;

        for (uint8_t p = part->narrays; p < part->narrays + part->nscalars && rc == SQLITE_OK; p++)
            rc = bind(part->stmt, part->params[p],
                      &x->call->scalars[part->params[p] - 1 - x->shape->narrays]);
        if (rc == SQLITE_OK && part->uses_now) {
            const pgqrs__val *now = &x->call->scalars[x->shape->nargs - 1 - x->shape->narrays];

            rc = now->kind == PGQRS__KIND_NULL
                     ? sqlite3_bind_int64(part->stmt, x->shape->nargs, x->line->now_us)
                     : bind(part->stmt, x->shape->nargs, now);
        }
        if (rc != SQLITE_OK)
            return bind_fail(x, rc, error);
    }
    return PGQRS_OK;
}

/* One argument row, through every part. */
static pgqrs_status execute_row(const execution *x, const pgqrs__val *row, int64_t n,
                                pgqrs_error *error)
{
    int changes = sqlite3_total_changes(x->conn->handle);

    for (size_t i = 0; i < x->sql->nparts; i++) {
        const pgqrs__sqlite_part *part = &x->prepared->parts[i];
        pgqrs_status              status;
        int                       rc = SQLITE_OK;

        for (uint8_t p = 0; p < part->narrays && rc == SQLITE_OK; p++)
            rc = bind(part->stmt, part->params[p], &row[part->params[p] - 1]);
        if (rc == SQLITE_OK && part->uses_id)
            rc = sqlite3_bind_int64(part->stmt, x->shape->nargs + 1, x->line->next);
        if (rc == SQLITE_OK && part->uses_n)
            rc = sqlite3_bind_int64(part->stmt, x->shape->nargs + 2, n);
        if (rc != SQLITE_OK)
            return bind_fail(x, rc, error);
        status = step(x, part, error);
        if (status != PGQRS_OK)
            return status;
    }
    /* Numbers for a row that changed nothing are not used up: looking for work to do writes
     * nothing. */
    if (x->sql->ids > 0 && sqlite3_total_changes(x->conn->handle) != changes)
        x->line->next += x->sql->ids;
    return PGQRS_OK;
}

static pgqrs_status execute(pgqrs__conn *conn, pgqrs__call *call, line *l, pgqrs_error *error)
{
    execution    x = { .conn  = conn,
                       .call  = call,
                       .shape = &pgqrs__shapes[call->stmt],
                       .sql   = &pgqrs__sql_sqlite[call->stmt],
                       .line  = l };
    int64_t      n = 0;
    pgqrs_status status;

    status = pgqrs__sqlite_prepare(conn, call->stmt, &x.prepared, error);
    if (status != PGQRS_OK)
        return status;
    if (x.sql->ids > 0
        || (x.prepared->uses_now
            && call->scalars[x.shape->nargs - 1 - x.shape->narrays].kind == PGQRS__KIND_NULL))
        status = line_read(conn, l, error);
    if (status == PGQRS_OK)
        status = bind_scalars(&x, error);
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
static bool is_one_statement(const pgqrs__call *calls, size_t ncalls)
{
    return ncalls == 1 && pgqrs__sql_sqlite[calls[0].stmt].nparts == 1
           && (!pgqrs__shapes[calls[0].stmt].many
               || (calls[0].nparts == 1 && calls[0].parts[0].nrows <= 1));
}

/* Undo the transaction, unless SQLite has done so by itself. */
static void roll_back(pgqrs__conn *conn)
{
    if (sqlite3_get_autocommit(conn->handle))
        return;
    if (pgqrs__sqlite_do(conn, PGQRS__SQLITE_ROLLBACK, NULL) != PGQRS_OK)
        conn->broken = true;
}

static pgqrs_status commit(pgqrs__conn *conn, pgqrs_error *error)
{
    pgqrs_status status = pgqrs__sqlite_do(conn, PGQRS__SQLITE_COMMIT, error);

    if (status != PGQRS_OK)
        roll_back(conn);
    return status;
}

/* Every call, and the number line after them. */
static pgqrs_status execute_all(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
                                bool *out_announce, pgqrs_error *error)
{
    int          changes = sqlite3_total_changes(conn->handle);
    line         l       = { .known = false };
    pgqrs_status status  = PGQRS_OK;

    for (size_t i = 0; i < ncalls && status == PGQRS_OK; i++)
        status = execute(conn, &calls[i], &l, error);
    if (status == PGQRS_OK)
        status = line_write(conn, &l, sqlite3_total_changes(conn->handle) != changes, error);
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
    status = pgqrs__sqlite_do(conn, PGQRS__SQLITE_BEGIN_WRITE, error);
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
    bool         alone  = is_one_statement(calls, ncalls);
    bool         shared = conn->db->path == NULL;
    bool         announce;
    pgqrs_status status = PGQRS_OK;

    if (shared)
        status = pgqrs__filelock_take(conn->db->lock, conn->deadline_us, error);
    if (status != PGQRS_OK)
        return status;
    if (!alone)
        status = pgqrs__sqlite_do(conn, PGQRS__SQLITE_BEGIN_READ, error);
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

/* SQLite undoes the whole transaction after some errors, and then says so in this way. */
static pgqrs_status check_open(const pgqrs__conn *conn, pgqrs_error *error)
{
    if (!sqlite3_get_autocommit(conn->handle))
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
        status = pgqrs__sqlite_do(conn, PGQRS__SQLITE_SAVEPOINT, error);
    if (status != PGQRS_OK)
        return status;
    status = execute_all(conn, calls, ncalls, &announce, error);
    if (status == PGQRS_OK)
        status = pgqrs__sqlite_do(conn, PGQRS__SQLITE_RELEASE, error);
    if (status == PGQRS_OK) {
        conn->announce = conn->announce || announce;
        return PGQRS_OK;
    }
    if (!sqlite3_get_autocommit(conn->handle)
        && (pgqrs__sqlite_do(conn, PGQRS__SQLITE_ROLLBACK_TO, NULL) != PGQRS_OK
            || pgqrs__sqlite_do(conn, PGQRS__SQLITE_RELEASE, NULL) != PGQRS_OK))
        roll_back(conn);
    return status;
}

pgqrs_status pgqrs__sqlite_run(pgqrs__conn *conn, pgqrs__call *calls, size_t ncalls,
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

pgqrs_status pgqrs__sqlite_begin(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status status = pgqrs__filelock_take(conn->db->lock, deadline_us, error);

    if (status != PGQRS_OK)
        return status;
    conn->deadline_us = deadline_us;
    conn->announce    = false;
    status            = pgqrs__sqlite_do(conn, PGQRS__SQLITE_BEGIN_WRITE, error);
    if (status == PGQRS_OK)
        conn->open = true;
    else
        pgqrs__filelock_yield(conn->db->lock);
    return status;
}

pgqrs_status pgqrs__sqlite_end(pgqrs__conn *conn, bool keep, int64_t deadline_us,
                               pgqrs_error *error)
{
    pgqrs__db   *db     = conn->db;
    pgqrs_status status = PGQRS_OK;

    conn->deadline_us = deadline_us;
    pgqrs__sqlite_take_back(conn);
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
