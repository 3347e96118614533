/* The PostgreSQL backend by itself: what one run is to the database, and what is known when it did
 * not go through. */
#include <stdlib.h>

#include "support/world.h"

#ifdef PGQRS_HAVE_POSTGRES

#include <pthread.h>

#include "backend/postgres/postgres.h"
#include "util/clock.h"

#define B (&pgqrs__backend_postgres)

#define INT(value)  ((pgqrs__val){ .kind = PGQRS__KIND_INT, .as.i = (value) })
#define REAL(value) ((pgqrs__val){ .kind = PGQRS__KIND_REAL, .as.f = (value) })
#define TEXT(value) \
    ((pgqrs__val){ .kind = PGQRS__KIND_TEXT, .len = (uint32_t)strlen(value), .as.text = (value) })
#define NONE        ((pgqrs__val){ .kind = PGQRS__KIND_NULL })
#define VALUES(...) ((const pgqrs__val[]){ __VA_ARGS__ })

/* The rows of one answer, as far as they are numbers. */
typedef struct rows {
    size_t  count;
    int64_t number[8][8];
} rows;

typedef struct line {
    pgqrs__db   *db;
    pgqrs__conn *conn;
    int64_t      queue; /* one that is there */
} line;

static pgqrs_status collect(pgqrs__call *call, const pgqrs__val *cols)
{
    rows *r = call->user;
    for (size_t c = 0; c < pgqrs__shapes[call->stmt].ncols && c < 8; c++)
        r->number[r->count][c] = cols[c].kind == PGQRS__KIND_INT ? cols[c].as.i : -1;
    r->count++;
    return PGQRS_OK;
}

static pgqrs_status run(pgqrs__conn *conn, pgqrs__mode mode, int stmt, const pgqrs__val *arrays,
                        const pgqrs__val *scalars, rows *answer)
{
    pgqrs__part part = { .rows = arrays, .nrows = 1 };
    pgqrs__call call = { .stmt    = stmt,
                         .parts   = arrays != NULL ? &part : NULL,
                         .nparts  = arrays != NULL,
                         .scalars = scalars,
                         .on_row  = answer != NULL ? collect : NULL,
                         .user    = answer };
    if (answer != NULL)
        answer->count = 0;
    return B->run(conn, &call, 1, mode, INT64_MAX, &failure);
}

static pgqrs_status put_in(const line *l, pgqrs__mode mode)
{
    return run(l->conn, mode, PGQRS__STMT_MESSAGE_ENQUEUE,
               VALUES(INT(l->queue), INT(5), NONE, TEXT("{}"), NONE, NONE, NONE),
               VALUES(NONE, NONE), NULL);
}

static int64_t ready(const line *l)
{
    rows r;
    assert_ok(run(l->conn, PGQRS__MODE_READ, PGQRS__STMT_QUEUE_MEASURE, NULL,
                  VALUES(INT(l->queue), NONE), &r));
    return r.number[0][0];
}

static line dial_with(world *w, const pgqrs__settings *settings, const char *dsn)
{
    line l = { 0 };
    rows r;
    assert_ok(B->open(dsn, settings, &l.db, &failure));
    assert_ok(B->connect(l.db, &l.conn, &failure));
    assert_ok(run(l.conn, PGQRS__MODE_WRITE, PGQRS__STMT_QUEUE_INSERT, NULL,
                  VALUES(TEXT("q"), INT(0), INT(LEASE_US), INT(MAX_ATTEMPTS), INT(BACKOFF_US),
                         REAL(2), INT(BACKOFF_US), NONE, INT(now_us(w))),
                  &r));
    l.queue = r.number[0][0];
    return l;
}

static pgqrs__settings settings_of(world *w)
{
    return (pgqrs__settings){ .schema             = w->schema,
                              .connect_timeout_us = 10 * PGQRS_SECOND,
                              .clock              = world_options(w).clock };
}

static line dial(world *w)
{
    const pgqrs__settings settings = settings_of(w);
    return dial_with(w, &settings, w->direct);
}

static void hang_up(const line *l)
{
    B->disconnect(l->conn, false);
    B->close(l->db, false);
}

static void sql(PGconn *pg, const char *text)
{
    PGresult *result = PQexec(pg, text);
    assert_true(PQresultStatus(result) == PGRES_COMMAND_OK
                || PQresultStatus(result) == PGRES_TUPLES_OK);
    PQclear(result);
}

/* Ask until there is no row. */
static void wait_until_none(PGconn *pg, const char *text)
{
    for (int left = 1; left > 0;) {
        PGresult *result = PQexec(pg, text);
        assert_int_equal(PGRES_TUPLES_OK, PQresultStatus(result));
        left = PQntuples(result);
        PQclear(result);
    }
}

/* The case's own connection keeps every insert into messages waiting. */
static void block(world *w)
{
    sql(w->pg, "BEGIN");
    sql(w->pg, "LOCK TABLE pgqrs_messages IN ACCESS EXCLUSIVE MODE");
}

/* Does something to a session as soon as that waits for a lock. */
typedef struct meddler {
    const char *dsn;
    int         pid;
    const char *deed; /* %d is the session */
    void (*then)(void *user);
    void     *user;
    pthread_t thread;
} meddler;

static void *meddle(void *arg)
{
    const meddler *m  = arg;
    PGconn        *pg = PQconnectdb(m->dsn);
    char           text[256];
    bool           waits = false;
    (void)snprintf(text, sizeof(text),
                   "SELECT 1 FROM pg_locks WHERE pid = %d AND NOT granted LIMIT 1", m->pid);
    while (!waits && PQstatus(pg) == CONNECTION_OK) {
        PGresult *result = PQexec(pg, text);
        waits            = PQntuples(result) == 1;
        PQclear(result);
    }
    if (m->then != NULL) {
        m->then(m->user);
    } else {
        const char *param;
        char        pid[16];
        (void)snprintf(pid, sizeof(pid), "%d", m->pid);
        param = pid;
        PQclear(PQexecParams(pg, m->deed, 1, NULL, &param, NULL, NULL, 0));
    }
    PQfinish(pg);
    return NULL;
}

static void meddle_with(meddler *m, world *w, const line *l)
{
    m->dsn = w->direct;
    m->pid = PQbackendPID(l->conn->pg);
    assert_int_equal(0, pthread_create(&m->thread, NULL, meddle, m));
}

/* --- One run ------------------------------------------------------------------------------- */

static void one_run_is_one_transaction(void **state)
{
    line        l        = dial(*state);
    pgqrs__part put      = { VALUES(INT(l.queue), INT(5), NONE, TEXT("{}"), NONE, NONE, NONE), 1 };
    pgqrs__part not_held = { VALUES(INT(l.queue), INT(4711), INT(1)), 1 };
    pgqrs__call calls[2] = {
        { .stmt    = PGQRS__STMT_MESSAGE_ENQUEUE,
          .parts   = &put,
          .nparts  = 1,
          .scalars = VALUES(NONE, NONE) },
        { .stmt = PGQRS__STMT_LEASE_HOLD_ALL, .parts = &not_held, .nparts = 1 }
    };
    assert_status(PGQRS_ELEASE, B->run(l.conn, calls, 2, PGQRS__MODE_WRITE, INT64_MAX, &failure));
    assert_string_equal("4711", failure.detail);
    assert_string_equal("22P02", failure.sqlstate);
    assert_true(B->usable(l.conn));
    assert_int_equal(0, ready(&l));
    hang_up(&l);
}

static void end_it(void *user)
{
    pgqrs_error error;
    if (B->end(user, true, INT64_MAX, &error) != PGQRS_OK)
        abort();
}

/* The loser of a key learns the winner's id, which was committed after its own run had begun. */
static void each_statement_of_a_run_sees_what_is_committed_by_then(void **state)
{
    world            *w     = *state;
    line              l     = dial(w);
    const pgqrs__val  key[] = { INT(l.queue), TEXT("k"), INT(PGQRS_HOUR),
                                INT(5),       NONE,      TEXT("{}"),
                                NONE,         NONE,      NONE };
    rows              first, lost = { 0 }, found = { 0 };
    pgqrs__conn      *other;
    pgqrs__part       asked = { key, 1 }, name = { VALUES(INT(l.queue), TEXT("k")), 1 };
    const pgqrs__val *none     = VALUES(NONE, NONE);
    pgqrs__call       calls[2] = { { .stmt    = PGQRS__STMT_MESSAGE_ENQUEUE_KEYED,
                                     .parts   = &asked,
                                     .nparts  = 1,
                                     .scalars = none,
                                     .on_row  = collect,
                                     .user    = &lost },
                                   { .stmt   = PGQRS__STMT_KEY_FIND,
                                     .parts  = &name,
                                     .nparts = 1,
                                     .on_row = collect,
                                     .user   = &found } };
    assert_ok(B->connect(l.db, &other, &failure));
    assert_ok(B->begin(other, INT64_MAX, &failure));
    assert_ok(run(other, PGQRS__MODE_INSIDE, PGQRS__STMT_MESSAGE_ENQUEUE_KEYED, key, none, &first));
    meddler m = { .then = end_it, .user = other };
    meddle_with(&m, w, &l);
    assert_ok(B->run(l.conn, calls, 2, PGQRS__MODE_WRITE, INT64_MAX, &failure));
    (void)pthread_join(m.thread, NULL);
    assert_int_equal(0, lost.count);
    assert_int_equal(1, found.count);
    assert_int_equal(first.number[0][1], found.number[0][1]);
    B->disconnect(other, false);
    hang_up(&l);
}

static pgqrs_status refuse(pgqrs__call *call, const pgqrs__val *cols)
{
    (void)call;
    (void)cols;
    return PGQRS_ENOMEM;
}

static void rows_that_are_refused_leave_what_was_written(void **state)
{
    line        l    = dial(*state);
    pgqrs__part put  = { VALUES(INT(l.queue), INT(5), NONE, TEXT("{}"), NONE, NONE, NONE), 1 };
    pgqrs__call call = { .stmt    = PGQRS__STMT_MESSAGE_ENQUEUE,
                         .parts   = &put,
                         .nparts  = 1,
                         .scalars = VALUES(NONE, NONE),
                         .on_row  = refuse };
    assert_status(PGQRS_ENOMEM, B->run(l.conn, &call, 1, PGQRS__MODE_WRITE, INT64_MAX, &failure));
    assert_int_equal(PGQRS_MAYBE_APPLIED, failure.flags);
    assert_true(B->usable(l.conn));
    assert_int_equal(1, ready(&l));
    hang_up(&l);
}

static void a_transaction_that_failed_cannot_be_committed(void **state)
{
    line l = dial(*state);
    assert_ok(B->begin(l.conn, INT64_MAX, &failure));
    assert_false(B->usable(l.conn));
    assert_ok(put_in(&l, PGQRS__MODE_INSIDE));
    assert_status(PGQRS_ELEASE, run(l.conn, PGQRS__MODE_INSIDE, PGQRS__STMT_LEASE_HOLD_ALL,
                                    VALUES(INT(l.queue), INT(1), INT(1)), NULL, NULL));
    assert_status(PGQRS_EDB, B->end(l.conn, true, INT64_MAX, &failure));
    assert_int_equal(0, failure.flags);
    assert_true(B->usable(l.conn));
    assert_int_equal(0, ready(&l));
    hang_up(&l);
}

/* --- Prepared statements ------------------------------------------------------------------- */

static void what_was_prepared_outlives_a_failed_transaction(void **state)
{
    line             l        = dial(*state);
    const pgqrs__val nobody[] = { INT(l.queue), INT(1), INT(1) };
    pgqrs__part      hold = { nobody, 1 }, worker = { VALUES(INT(1)), 1 };
    pgqrs__call      calls[3] = {
             { .stmt = PGQRS__STMT_LEASE_HOLD_ALL, .parts = &hold, .nparts = 1 },
             { .stmt    = PGQRS__STMT_WORKER_HEARTBEAT,
               .parts   = &worker,
               .nparts  = 1,
               .scalars = VALUES(NONE) },
    };
    calls[2] = calls[1];
    for (int i = 0; i < 2; i++)
        assert_status(PGQRS_ELEASE,
                      B->run(l.conn, calls, 3, PGQRS__MODE_WRITE, INT64_MAX, &failure));
    assert_int_equal(1, l.conn->prepared[PGQRS__STMT_LEASE_HOLD_ALL]);
    assert_int_equal(0, l.conn->prepared[PGQRS__STMT_WORKER_HEARTBEAT]);
    assert_ok(B->run(l.conn, calls + 1, 2, PGQRS__MODE_WRITE, INT64_MAX, &failure));
    assert_int_equal(1, l.conn->prepared[PGQRS__STMT_WORKER_HEARTBEAT]);
    hang_up(&l);
}

/* As a user of the connection would, behind our back. */
static void on_session(const line *l, const char *text)
{
    assert_int_equal(1, PQexitPipelineMode(l->conn->pg));
    (void)PQsetnonblocking(l->conn->pg, 0);
    sql(l->conn->pg, text);
    (void)PQsetnonblocking(l->conn->pg, 1);
    assert_int_equal(1, PQenterPipelineMode(l->conn->pg));
}

static void what_was_discarded_is_prepared_again(void **state)
{
    line l = dial(*state);
    assert_ok(put_in(&l, PGQRS__MODE_WRITE));
    on_session(&l, "DISCARD ALL");
    assert_status(PGQRS_EBUSY, put_in(&l, PGQRS__MODE_WRITE));
    assert_int_equal(PGQRS_RETRYABLE, failure.flags);
    assert_ok(put_in(&l, PGQRS__MODE_WRITE));
    assert_false(l.conn->unnamed);
    /* Once more, and it must be a pooler: nothing is prepared any longer. */
    on_session(&l, "DISCARD ALL");
    assert_status(PGQRS_EBUSY, put_in(&l, PGQRS__MODE_WRITE));
    assert_ok(put_in(&l, PGQRS__MODE_WRITE));
    assert_true(l.conn->unnamed);
    assert_int_equal(3, ready(&l));
    hang_up(&l);
}

static void nothing_is_left_in_the_session_of_a_pooler(void **state)
{
    world          *w        = *state;
    pgqrs__settings settings = settings_of(w);
    settings.pooled          = 1;
    line l                   = dial_with(w, &settings, w->direct);
    assert_ok(put_in(&l, PGQRS__MODE_WRITE));
    assert_ok(B->begin(l.conn, INT64_MAX, &failure));
    assert_ok(put_in(&l, PGQRS__MODE_INSIDE));
    assert_ok(put_in(&l, PGQRS__MODE_INSIDE));
    assert_ok(B->end(l.conn, true, INT64_MAX, &failure));
    assert_int_equal(3, ready(&l));
    on_session(&l, "DO $$ BEGIN"
                   " IF EXISTS (SELECT FROM pg_prepared_statements)"
                   " OR current_setting('enable_seqscan') <> 'on'"
                   " OR current_setting('plan_cache_mode') <> 'auto'"
                   " THEN RAISE EXCEPTION 'something is left'; END IF; END $$");
    hang_up(&l);
}

/* --- Connections --------------------------------------------------------------------------- */

static void a_connection_closed_while_idle_has_sent_nothing(void **state)
{
    world *w = *state;
    line   l = dial(w);
    char   text[128];
    (void)snprintf(text, sizeof(text),
                   "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %d",
                   PQbackendPID(l.conn->pg));
    wait_until_none(w->pg, text);
    assert_status(PGQRS_ECONN, put_in(&l, PGQRS__MODE_WRITE));
    assert_int_equal(PGQRS_RETRYABLE, failure.flags);
    assert_string_equal("57P01", failure.sqlstate);
    assert_false(B->usable(l.conn));
    hang_up(&l);
}

static void a_session_that_ends_in_a_statement_has_written_nothing(void **state)
{
    world  *w = *state;
    line    l = dial(w);
    meddler m = { .deed = "SELECT pg_terminate_backend($1::int)" };
    block(w);
    meddle_with(&m, w, &l);
    assert_status(PGQRS_ECONN, put_in(&l, PGQRS__MODE_WRITE));
    (void)pthread_join(m.thread, NULL);
    assert_int_equal(PGQRS_RETRYABLE, failure.flags);
    assert_string_equal("57P01", failure.sqlstate);
    assert_false(B->usable(l.conn));
    sql(w->pg, "ROLLBACK");
    hang_up(&l);
}

static void a_statement_that_is_cancelled_leaves_the_connection_usable(void **state)
{
    world  *w = *state;
    line    l = dial(w);
    meddler m = { .deed = "SELECT pg_cancel_backend($1::int)" };
    block(w);
    meddle_with(&m, w, &l);
    assert_status(PGQRS_ETIMEDOUT, put_in(&l, PGQRS__MODE_WRITE));
    (void)pthread_join(m.thread, NULL);
    assert_int_equal(PGQRS_RETRYABLE, failure.flags);
    assert_true(B->usable(l.conn));
    sql(w->pg, "ROLLBACK");
    assert_ok(put_in(&l, PGQRS__MODE_WRITE));
    hang_up(&l);
}

static void a_deadline_says_what_is_known(void **state)
{
    world      *w     = *state;
    line        l     = dial(w);
    pgqrs__part put   = { VALUES(INT(l.queue), INT(5), NONE, TEXT("{}"), NONE, NONE, NONE), 1 };
    pgqrs__call write = { .stmt    = PGQRS__STMT_MESSAGE_ENQUEUE,
                          .parts   = &put,
                          .nparts  = 1,
                          .scalars = VALUES(NONE, NONE) };
    pgqrs__call read  = { .stmt = PGQRS__STMT_MESSAGE_FIND, .scalars = VALUES(INT(1)) };
    block(w);
    assert_status(PGQRS_ETIMEDOUT,
                  B->run(l.conn, &write, 1, PGQRS__MODE_WRITE, pgqrs__mono_us() - 1, &failure));
    assert_int_equal(PGQRS_RETRYABLE, failure.flags); /* nothing was sent */
    assert_true(B->usable(l.conn));
    assert_status(PGQRS_ETIMEDOUT,
                  B->run(l.conn, &write, 1, PGQRS__MODE_WRITE, pgqrs__mono_us() + 50000, &failure));
    assert_int_equal(PGQRS_MAYBE_APPLIED, failure.flags);
    assert_false(B->usable(l.conn));
    B->disconnect(l.conn, false);
    assert_ok(B->connect(l.db, &l.conn, &failure));
    assert_status(PGQRS_ETIMEDOUT,
                  B->run(l.conn, &read, 1, PGQRS__MODE_READ, pgqrs__mono_us() + 50000, &failure));
    assert_int_equal(PGQRS_RETRYABLE, failure.flags);
    hang_up(&l);
    /* The server goes on with what nobody waits for: not into the end of this case. */
    wait_until_none(w->pg, "SELECT pg_terminate_backend(pid) FROM pg_locks"
                           " WHERE relation = 'pgqrs_messages'::regclass AND NOT granted");
    sql(w->pg, "ROLLBACK");
}

/* What the user asks for at startup holds beside what we ask for. */
static void the_users_startup_options_are_kept(void **state)
{
    world          *w        = *state;
    pgqrs__settings settings = settings_of(w);
    char            dsn[1024];
    settings.schema = NULL; /* from the search_path, which only the option sets */
    (void)snprintf(dsn, sizeof(dsn), "%s%coptions=-csearch_path%%3D%s%%20-cstatement_timeout%%3D7s",
                   w->direct, strchr(w->direct, '?') != NULL ? '&' : '?', w->schema);
    line l = dial_with(w, &settings, dsn);
    assert_string_equal(w->schema, l.db->schema);
    on_session(&l, "DO $$ BEGIN"
                   " IF current_setting('statement_timeout') <> '7s'"
                   " OR current_setting('enable_seqscan') <> 'off'"
                   " OR current_setting('plan_cache_mode') <> 'force_generic_plan'"
                   " OR current_setting('jit') <> 'off'"
                   " THEN RAISE EXCEPTION 'not as asked'; END IF; END $$");
    hang_up(&l);
}

static void *wake(void *conn)
{
    B->wake(conn);
    return NULL;
}

static void note(void *user, int64_t queue)
{
    *(int64_t *)user = queue;
}

static void waiting_hears_of_an_enqueue_and_of_a_wake(void **state)
{
    world       *w     = *state;
    line         l     = dial(w);
    int64_t      heard = 0;
    pgqrs__conn *ear;
    pthread_t    thread;
    rows         r;
    assert_ok(B->connect(l.db, &ear, &failure));
    assert_ok(B->wait(ear, INT64_MAX, note, &heard, &failure)); /* listens from now on */
    assert_int_equal(0, heard);
    assert_ok(run(l.conn, PGQRS__MODE_WRITE, PGQRS__STMT_WAITER_SET, NULL,
                  VALUES(INT(l.queue), NONE), NULL));
    assert_ok(run(l.conn, PGQRS__MODE_WRITE, PGQRS__STMT_MESSAGE_ENQUEUE,
                  VALUES(INT(l.queue), INT(5), NONE, TEXT("{}"), NONE, NONE, NONE),
                  VALUES(TEXT(B->channel(l.db)), NONE), &r));
    assert_int_equal(1, r.number[0][2]);
    assert_ok(B->wait(ear, INT64_MAX, note, &heard, &failure));
    assert_int_equal(l.queue, heard);
    assert_int_equal(0, pthread_create(&thread, NULL, wake, ear));
    assert_ok(B->wait(ear, INT64_MAX, note, &heard, &failure));
    (void)pthread_join(thread, NULL);
    B->disconnect(ear, false);
    hang_up(&l);
}

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest tests[] = {
        CASE_REAL(one_run_is_one_transaction),
        CASE_REAL(each_statement_of_a_run_sees_what_is_committed_by_then),
        CASE_REAL(rows_that_are_refused_leave_what_was_written),
        CASE_REAL(a_transaction_that_failed_cannot_be_committed),
        CASE_REAL(what_was_prepared_outlives_a_failed_transaction),
        CASE_REAL(what_was_discarded_is_prepared_again),
        CASE_REAL(nothing_is_left_in_the_session_of_a_pooler),
        CASE_REAL(a_connection_closed_while_idle_has_sent_nothing),
        CASE_REAL(a_session_that_ends_in_a_statement_has_written_nothing),
        CASE_REAL(a_statement_that_is_cancelled_leaves_the_connection_usable),
        CASE_REAL(a_deadline_says_what_is_known),
        CASE_REAL(the_users_startup_options_are_kept),
        CASE_REAL(waiting_hears_of_an_enqueue_and_of_a_wake),
    };
    const char *backend = getenv("PGQRS_TEST_BACKEND");

    if (backend != NULL && strcmp(backend, "postgres") == 0)
        return cmocka_run_group_tests(tests, NULL, NULL);
#endif
    return 77; /* skipped */
}
