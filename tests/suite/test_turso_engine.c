/* What Turso does otherwise than SQLite, and must not be felt: each case fails when the backend
 * does not take care of it. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backend/embedded.h"
#include "statements.h"
#include "support/peek.h"
#include "support/raw_turso.h"
#include "support/together.h"
#include "support/world.h"

/* A connection of the library, without the library above it. */
typedef struct line {
    const pgqrs__backend *backend;
    pgqrs__db            *db;
    pgqrs__conn          *conn;
} line;

static line dial(world *w)
{
    const pgqrs_store_options options  = world_options(w);
    const pgqrs__settings     settings = {
            .connect_timeout_us = 10 * PGQRS_SECOND,
            .clock              = options.clock,
    };
    line l = { .backend = pgqrs__backend_for(w->dsn, &failure) };
    assert_non_null(l.backend);
    assert_ok(l.backend->open(w->dsn, &settings, &l.db, &failure));
    assert_ok(l.backend->connect(l.db, &l.conn, &failure));
    return l;
}

static void hang_up(const line *l)
{
    l->backend->disconnect(l->conn, false);
    l->backend->close(l->db, false);
}

static raw_turso raw_lock(const world *w)
{
    raw_turso raw;
    assert_true(raw_turso_open(&raw, w->path));
    assert_int_equal(0, raw_turso_run(&raw, "BEGIN IMMEDIATE", NULL, NULL));
    return raw;
}

static void raw_unlock(raw_turso *raw)
{
    assert_int_equal(0, raw_turso_run(raw, "ROLLBACK", NULL, NULL));
    raw_turso_close(raw);
}

/* Turso's own way of ending a statement would run it then, behind the answer. */
static void a_write_that_was_refused_as_busy_does_not_appear(void **state)
{
    world               *w      = *state;
    line                 l      = dial(w);
    const pgqrs__engine *engine = l.conn->engine;
    static const char    sql[]  = "INSERT INTO pgqrs_waiters (queue_id, until) VALUES (7, 7)";
    void                *stmt   = NULL;
    assert_int_equal(PGQRS__ENGINE_OK, engine->prepare(l.conn, sql, true, &stmt, NULL));
    raw_turso raw = raw_lock(w);
    assert_true(engine->is_busy(engine->step(l.conn, stmt)));
    raw_unlock(&raw); /* nothing is in its way any more */
    engine->drop(stmt);
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_waiters"));
    hang_up(&l);
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_waiters"));
}

static double processor_seconds(void)
{
    struct timespec used;
    assert_int_equal(0, clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used));
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* Turso's own way of waiting takes half of a processor. */
static void waiting_for_a_lock_costs_no_processor(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    options.timeout_us          = PGQRS_SECOND;
    queue(w, "orders");
    assert_ok(pgqrs_open(w->dsn, &options, &store, &failure));
    assert_ok(pgqrs_enqueue(store, "orders", "1", NULL, NULL, &failure));
    raw_turso    raw    = raw_lock(w);
    double       before = processor_seconds();
    pgqrs_status status = pgqrs_enqueue(store, "orders", "2", NULL, NULL, &failure);
    double       used   = processor_seconds() - before;
    raw_unlock(&raw);
    pgqrs_status after = pgqrs_enqueue(store, "orders", "3", NULL, NULL, &failure);
    pgqrs_close(store);
    assert_true(status == PGQRS_EBUSY || status == PGQRS_ETIMEDOUT);
    assert_true(used < 0.2);
    assert_int_equal(PGQRS_OK, after);
    assert_int_equal(2, measure(w, "orders").ready);
}

static pgqrs_status refuse_row(pgqrs__call *call, const pgqrs__val *cols)
{
    (void)call, (void)cols;
    return PGQRS_ENOMEM;
}

static pgqrs_status count_row(pgqrs__call *call, const pgqrs__val *cols)
{
    (void)cols;
    *(int *)call->user += 1;
    return PGQRS_OK;
}

/* A statement that is left open goes on where it was, and may hide what its connection commits. */
static void an_answer_that_was_not_read_to_its_end_leaves_nothing_open(void **state)
{
    world *w = *state;
    for (int i = 0; i < 3; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "q%d", i);
        queue(w, name);
    }
    line        l    = dial(w);
    pgqrs__call list = { .stmt = PGQRS__STMT_QUEUE_LIST, .on_row = refuse_row };
    assert_status(PGQRS_ENOMEM,
                  l.backend->run(l.conn, &list, 1, PGQRS__MODE_READ, INT64_MAX, &failure));
    /* a write that is its own transaction, and one in a transaction of ours */
    assert_ok(pgqrs__embedded_text(
        l.conn, "INSERT INTO pgqrs_waiters (queue_id, until) VALUES (8, 8)", "case", &failure));
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_waiters"));
    const pgqrs__val scalars[] = { { .kind = PGQRS__KIND_INT, .as.i = 1 },
                                   { .kind = PGQRS__KIND_INT, .as.i = 7 } };
    pgqrs__call      set       = { .stmt = PGQRS__STMT_WAITER_SET, .scalars = scalars };
    assert_ok(l.backend->run(l.conn, &set, 1, PGQRS__MODE_WRITE, INT64_MAX, &failure));
    assert_int_equal(2, sql_number(w, "SELECT count(*) FROM pgqrs_waiters"));
    int         rows  = 0;
    pgqrs__call again = { .stmt = PGQRS__STMT_QUEUE_LIST, .on_row = count_row, .user = &rows };
    assert_ok(l.backend->run(l.conn, &again, 1, PGQRS__MODE_READ, INT64_MAX, &failure));
    assert_int_equal(3, rows);
    hang_up(&l);
}

static size_t files_in(const char *directory)
{
    size_t count = 0;
    DIR   *d     = opendir(directory);
    assert_non_null(d);
    while (readdir(d) != NULL)
        count++;
    (void)closedir(d);
    return count - 2;
}

static void handle_a_little_of_everything(world *w)
{
    message m[10];
    queue(w, "orders");
    workflow(w, "flow");
    enqueue_count(w, "orders", 10, NULL);
    assert_int_equal(10, claim_many(w, "orders", 10, m));
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));
    (void)trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    step_done(run, "one", "1");
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    advance(w, LEASE_US + 1);
    assert_int_equal(9, claim_many(w, "orders", 10, m));
}

/* They would be as readable as the umask allows, and stay behind when the process is killed. */
static void no_temporary_files_are_made(void **state)
{
    world *w = *state;
    char   directory[300];
    char  *kept = getenv("TMPDIR") != NULL ? strdup(getenv("TMPDIR")) : NULL;
    (void)snprintf(directory, sizeof(directory), "%s.tmp", w->path);
    assert_int_equal(0, mkdir(directory, 0700));
    assert_int_equal(0, setenv("TMPDIR", directory, 1));
    struct stat before, after; /* its time changes with every entry that comes or goes */
    assert_int_equal(0, stat(directory, &before));
    w->store = world_open(w);
    assert_ok(pgqrs_install(w->store, &failure));
    handle_a_little_of_everything(w);
    assert_int_equal(0, stat(directory, &after));
    size_t files = files_in(directory);
    assert_int_equal(0, rmdir(directory));
    enqueue_count(w, "orders", 10, NULL); /* it is not missed, either */
    if (kept != NULL)
        (void)setenv("TMPDIR", kept, 1);
    else
        (void)unsetenv("TMPDIR");
    free(kept);
    assert_int_equal(0, files);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

/* Of several rows, each has everything that was bound. */
static void every_row_has_what_was_bound_once(void **state)
{
    world  *w = *state;
    int64_t ids[3];
    queue(w, "orders");
    enqueue_count(w, "orders", 3, ids);
    for (int i = 0; i < 3; i++)
        assert_int_equal(now_us(w), record(w, ids[i]).enqueued_at_us);
    assert_true(ids[0] < ids[1] && ids[1] < ids[2]);
}

/* Changes are counted before they are forgotten: what was put in uses numbers up, what found
 * nothing does not. */
static void numbers_are_used_by_what_changed_something(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t one = enqueue(w, "orders", "1");
    (void)claim_one(w, "orders");
    int64_t before = sql_number(w, "SELECT next FROM pgqrs_sequence");
    for (int i = 0; i < 3; i++)
        assert_int_equal(0, claim_one(w, "orders").id);
    assert_int_equal(before, sql_number(w, "SELECT next FROM pgqrs_sequence"));
    assert_true(enqueue(w, "orders", "2") > one);
}

/* A transaction that reads first would find out too late that somebody else has written. */
static void a_writer_has_the_file_from_its_first_statement_on(void **state)
{
    world *w = *state;
    queue(w, "orders");
    line l = dial(w);
    assert_ok(l.backend->begin(l.conn, INT64_MAX, &failure));
    raw_turso raw;
    assert_true(raw_turso_open(&raw, w->path));
    int rc = raw_turso_run(&raw, "BEGIN IMMEDIATE", NULL, NULL);
    raw_turso_close(&raw);
    assert_int_equal(4, rc); /* busy */
    pgqrs__call list = { .stmt = PGQRS__STMT_QUEUE_LIST };
    assert_ok(l.backend->run(l.conn, &list, 1, PGQRS__MODE_INSIDE, INT64_MAX, &failure));
    assert_ok(l.backend->end(l.conn, true, INT64_MAX, &failure));
    hang_up(&l);
}

/* They wait in order of arrival for their turn, not at Turso's lock, where whoever asks again
 * soonest gets it. */
static void a_writer_waits_for_its_turn_and_not_at_the_lock(void **state)
{
    world       *w = *state;
    line         l = dial(w);
    pgqrs__conn *other;
    assert_ok(l.backend->connect(l.db, &other, &failure));
    assert_ok(l.backend->begin(l.conn, INT64_MAX, &failure));
    assert_status(PGQRS_ETIMEDOUT, l.backend->begin(other, 0, &failure)); /* else it is EBUSY */
    assert_ok(l.backend->end(l.conn, true, INT64_MAX, &failure));
    assert_ok(l.backend->begin(other, 0, &failure));
    assert_ok(l.backend->end(other, true, INT64_MAX, &failure));
    l.backend->disconnect(other, false);
    hang_up(&l);
}

static void write_from_both(void *shared, size_t i)
{
    world       *w     = shared;
    pgqrs_store *store = NULL;
    pgqrs_status status =
        pgqrs_open(w->dsn, PGQRS_OPTIONS(store, .timeout_us = 30 * PGQRS_SECOND), &store, NULL);
    for (int k = 0; k < 40 && status == PGQRS_OK; k++) {
        pgqrs_error error;
        status = pgqrs_enqueue(store, "orders", "1", NULL, NULL, &error);
        if (status != PGQRS_OK)
            print_error("writer %zu: %s %s\n", i, error.message, error.detail);
    }
    pgqrs_close(store);
}

static void writers_of_many_stores_never_meet(void **state)
{
    world *w = *state;
    queue(w, "orders");
    together(8, write_from_both, w);
    assert_int_equal(320, measure(w, "orders").ready);
    assert_consistent(w);
}

static int64_t size_of(const char *path, const char *tail)
{
    char        name[300];
    struct stat st;
    (void)snprintf(name, sizeof(name), "%s%s", path, tail);
    return stat(name, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* A disk that is full in the middle of a commit, and has room again. */
static void g42_a_commit_that_the_disk_refused_may_have_happened(void **state)
{
    world        *w = *state;
    struct rlimit kept, full;
    pgqrs_error   error        = { 0 };
    int64_t       acknowledged = 0, refused = 0;
    queue(w, "orders");
    (void)enqueue(w, "orders", "0");
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(0, getrlimit(RLIMIT_FSIZE, &kept));
    full          = kept;
    full.rlim_cur = (rlim_t)(size_of(w->path, "-wal") + 60000);
    assert_int_equal(0, setrlimit(RLIMIT_FSIZE, &full));
    while (acknowledged < 1000 && refused == 0) {
        if (pgqrs_enqueue(w->store, "orders", "1", NULL, NULL, &error) == PGQRS_OK)
            acknowledged++;
        else
            refused++;
    }
    pgqrs_status again = pgqrs_enqueue(w->store, "orders", "1", NULL, NULL, NULL);
    assert_int_equal(0, setrlimit(RLIMIT_FSIZE, &kept));
    assert_int_equal(1, refused);
    assert_int_equal(PGQRS_EDB, error.status);
    assert_true((error.flags & PGQRS_MAYBE_APPLIED) != 0);
    assert_true(error.hint[0] != '\0');
    assert_int_not_equal(PGQRS_OK, again);
    acknowledged += 1; /* the first */
    (void)enqueue(w, "orders", "\"after\"");
    acknowledged += 1;
    for (int i = 0; i < 2; i++) {
        assert_in_range(measure(w, "orders").ready, acknowledged, acknowledged + 2);
        assert_consistent(w);
        world_close(w, w->store);
        w->store = world_open(w);
    }
    char sound[16];
    sql_text(w, "PRAGMA integrity_check", sound, sizeof(sound));
    assert_string_equal("ok", sound);
}

static atomic_bool disk_is_broken;
static atomic_int  syncs;

/* Turso finds this one before the system's: the program exports it (cmake/tests/CMakeLists.txt). */
__attribute__((visibility("default"))) int fsync(int fd)
{
    (void)atomic_fetch_add(&syncs, 1);
    if (!atomic_load(&disk_is_broken))
        return (int)syscall(SYS_fsync, fd);
    errno = EIO;
    return -1;
}

/* A disk that takes what is written and does not say that it has it: nobody knows. */
static void g42_a_commit_that_was_not_synced_may_have_happened(void **state)
{
    world      *w     = *state;
    pgqrs_error error = { 0 };
    queue(w, "orders");
    int before = atomic_load(&syncs);
    (void)enqueue(w, "orders", "1");
    assert_true(atomic_load(&syncs) > before); /* what is acknowledged was synced */
    atomic_store(&disk_is_broken, true);
    pgqrs_status status = pgqrs_enqueue(w->store, "orders", "2", NULL, NULL, &error);
    atomic_store(&disk_is_broken, false);
    assert_int_equal(PGQRS_EDB, status);
    assert_true((error.flags & PGQRS_MAYBE_APPLIED) != 0);
    (void)enqueue(w, "orders", "3"); /* and the store goes on */
    assert_in_range(measure(w, "orders").ready, 2, 3);
    assert_consistent(w);
    world_close(w, w->store);
    w->store = world_open(w);
    assert_in_range(measure(w, "orders").ready, 2, 3);
    assert_consistent(w);
}

/* The user's own tables may do so. */
static void a_commit_that_is_refused_leaves_no_transaction_open(void **state)
{
    world *w = *state;
    line   l = dial(w);
    assert_ok(pgqrs__embedded_text(
        l.conn,
        "PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY);"
        "CREATE TABLE c (p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)",
        "case", &failure));
    assert_ok(l.backend->begin(l.conn, INT64_MAX, &failure));
    assert_ok(pgqrs__embedded_text(l.conn, "INSERT INTO c (p) VALUES (7)", "case", &failure));
    assert_status(PGQRS_EDB, l.backend->end(l.conn, true, INT64_MAX, &failure));
    assert_int_equal(0, failure.flags & PGQRS_MAYBE_APPLIED);
    assert_true(l.backend->usable(l.conn));
    assert_ok(l.backend->begin(l.conn, INT64_MAX, &failure));
    assert_ok(l.backend->end(l.conn, true, INT64_MAX, &failure));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM c"));
    hang_up(&l);
}

/* Whatever Turso ignores in silence is asked for. */
static void a_commit_is_on_the_disk(void **state)
{
    world *w = *state;
    line   l = dial(w);
    void  *stmt;
    assert_int_equal(0, l.conn->engine->prepare(l.conn, "PRAGMA synchronous", false, &stmt, NULL));
    assert_int_equal(PGQRS__ENGINE_ROW, l.conn->engine->step(l.conn, stmt));
    assert_int_equal(2, l.conn->engine->column(stmt, 0, PGQRS__TYPE_I64).as.i);
    l.conn->engine->drop(stmt);
    hang_up(&l);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(a_write_that_was_refused_as_busy_does_not_appear),
        CASE_REAL(waiting_for_a_lock_costs_no_processor),
        CASE(an_answer_that_was_not_read_to_its_end_leaves_nothing_open),
        CASE_BARE(no_temporary_files_are_made),
        CASE(every_row_has_what_was_bound_once),
        CASE(numbers_are_used_by_what_changed_something),
        CASE(a_writer_has_the_file_from_its_first_statement_on),
        CASE(a_writer_waits_for_its_turn_and_not_at_the_lock),
        CASE_REAL(writers_of_many_stores_never_meet),
        CASE_REAL(g42_a_commit_that_the_disk_refused_may_have_happened),
        CASE(g42_a_commit_that_was_not_synced_may_have_happened),
        CASE(a_commit_that_is_refused_leaves_no_transaction_open),
        CASE(a_commit_is_on_the_disk),
    };
    only_on("turso");
    return cmocka_run_group_tests(cases, NULL, NULL);
}
