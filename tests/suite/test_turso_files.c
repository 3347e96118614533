/* A file of Turso's: who may open it, and who may have it next. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/partner.h"
#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_SQLITE
#include <sqlite3.h>
#endif

static pgqrs_status try_open(const char *dsn)
{
    pgqrs_store *store  = NULL;
    pgqrs_status status = pgqrs_open(dsn, NULL, &store, &failure);
    pgqrs_close(store);
    return status;
}

static bool says_pid(const char *text, pid_t pid)
{
    char wanted[32];
    (void)snprintf(wanted, sizeof(wanted), "process %ld ", (long)pid);
    return strstr(text, wanted) != NULL;
}

static void g80_a_second_process_is_refused_and_told_who_has_the_file(void **state)
{
    world         *w = *state;
    partner        p = partner_start(w);
    partner_answer a = partner_opens(&p, w->dsn);
    assert_int_equal(PGQRS_OK, a.status);
    assert_status(PGQRS_EBUSY, try_open(w->dsn));
    assert_true(says_pid(failure.message, p.pid));
    assert_non_null(strstr(failure.hint, "one process at a time"));

    partner_closes(&p);
    w->store = world_open(w);
    assert_ok(pgqrs_install(w->store, &failure));
    queue(w, "orders");
    a = partner_opens(&p, w->dsn);
    assert_int_equal(PGQRS_EBUSY, a.status);
    assert_true(says_pid(a.message, getpid()));
    partner_kill(&p);
    (void)enqueue(w, "orders", "1"); /* and we go on */
}

static void g80_a_file_whose_process_was_killed_is_free_at_once(void **state)
{
    world  *w = *state;
    partner p = partner_start(w);
    w->store  = world_open(w);
    assert_ok(pgqrs_install(w->store, &failure));
    queue(w, "orders");
    world_close(w, w->store);
    assert_int_equal(PGQRS_OK, partner_opens(&p, w->dsn).status);
    for (int i = 0; i < 20; i++)
        assert_int_equal(PGQRS_OK, partner_enqueues(&p).status);
    partner_kill(&p);
    w->store = world_open(w);
    assert_int_equal(20, measure(w, "orders").ready);
    assert_consistent(w);
}

static void g80_the_same_process_opens_a_file_as_often_as_it_likes(void **state)
{
    world       *w   = *state;
    pgqrs_store *two = world_open(w);
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    assert_ok(pgqrs_enqueue(two, "orders", "2", NULL, NULL, &failure));
    world_close(w, two); /* it folds the log in, and the other goes on */
    (void)enqueue(w, "orders", "3");
    assert_int_equal(3, measure(w, "orders").ready);
    assert_consistent(w);
}

#ifdef PGQRS_HAVE_SQLITE

static void other_dsn(const world *w, char *out, size_t size)
{
    (void)snprintf(out, size, "sqlite://%s", w->path);
}

/* By every name that the file has. */
static void g81_a_second_engine_in_the_process_is_refused(void **state)
{
    world *w = *state;
    char   dsn[600], path[400], names[2][500];
    queue(w, "orders");
    other_dsn(w, dsn, sizeof(dsn));
    assert_status(PGQRS_ECONFIG, try_open(dsn));
    assert_non_null(strstr(failure.message, "Turso"));
    (void)snprintf(path, sizeof(path), "%s.link", w->path);
    assert_int_equal(0, symlink(w->path, path));
    (void)snprintf(names[0], sizeof(names[0]), "sqlite://%s", path);
    (void)snprintf(path, sizeof(path), "%s.hard", w->path);
    assert_int_equal(0, link(w->path, path));
    (void)snprintf(names[1], sizeof(names[1]), "sqlite://%s", path);
    for (int i = 0; i < 2; i++)
        assert_status(PGQRS_ECONFIG, try_open(names[i]));
    (void)enqueue(w, "orders", "1");
    world_close(w, w->store);

    pgqrs_store *sqlite = NULL; /* and the other way round */
    assert_ok(pgqrs_open(dsn, NULL, &sqlite, &failure));
    pgqrs_status status = try_open(w->dsn);
    pgqrs_status kept   = pgqrs_enqueue(sqlite, "orders", "2", NULL, NULL, NULL);
    pgqrs_close(sqlite);
    assert_int_equal(PGQRS_ECONFIG, status);
    assert_non_null(strstr(failure.message, "SQLite"));
    assert_int_equal(PGQRS_OK, kept);
    w->store = world_open(w);
    assert_int_equal(2, measure(w, "orders").ready);
}

static void g81_a_second_engine_in_another_process_is_refused(void **state)
{
    world  *w = *state;
    partner p = partner_start(w);
    char    dsn[600];
    other_dsn(w, dsn, sizeof(dsn));
    w->store = world_open(w);
    assert_ok(pgqrs_install(w->store, &failure));
    queue(w, "orders");
    partner_answer a = partner_opens(&p, dsn);
    assert_int_equal(PGQRS_EBUSY, a.status);
    assert_true(says_pid(a.message, getpid()));
    world_close(w, w->store);
    assert_int_equal(PGQRS_OK, partner_opens(&p, dsn).status);
    assert_status(PGQRS_EBUSY, try_open(w->dsn));
    assert_int_equal(PGQRS_OK, partner_enqueues(&p).status);
    partner_kill(&p);
    w->store = world_open(w);
    assert_int_equal(1, measure(w, "orders").ready);
}

/* SQLite in our process drops Turso's lock when it closes the file: the lock file keeps the others
 * out all the same. */
static void g81_a_lock_that_was_dropped_behind_our_back_still_holds(void **state)
{
    world   *w      = *state;
    partner  p      = partner_start(w);
    sqlite3 *sqlite = NULL;
    w->store        = world_open(w);
    assert_ok(pgqrs_install(w->store, &failure));
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    (void)sqlite3_open(w->path, &sqlite);
    (void)sqlite3_exec(sqlite, "SELECT count(*) FROM pgqrs_queues", NULL, NULL, NULL);
    (void)sqlite3_close(sqlite);
    partner_answer a = partner_opens(&p, w->dsn);
    partner_kill(&p);
    assert_int_equal(PGQRS_EBUSY, a.status);
    (void)enqueue(w, "orders", "2");
}

/* What a finished Turso store leaves is a SQLite database, and the other way round. */
static void check_integrity(const world *w)
{
    sqlite3      *db   = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(w->path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL));
    assert_int_equal(SQLITE_ROW, sqlite3_step(stmt));
    assert_string_equal("ok", (const char *)sqlite3_column_text(stmt, 0));
    (void)sqlite3_finalize(stmt);
    assert_int_equal(SQLITE_OK, sqlite3_close(db));
}

static void change_engine(world *w)
{
    char path[300];
    bool turso = strncmp(w->dsn, "turso", 5) == 0;
    world_close(w, w->store);
    check_integrity(w);
    (void)snprintf(path, sizeof(path), "%s", w->path);
    (void)snprintf(w->dsn, sizeof(w->dsn), "%s://%s", turso ? "sqlite" : "turso", path);
    w->store = world_open(w);
    assert_ok(pgqrs_verify(w->store, &failure));
    advance(w, LEASE_US + 1);
}

static void g82_a_run_goes_on_under_the_other_engine(void **state)
{
    world *w     = *state;
    bool   turso = w->turso;
    queue(w, "orders");
    workflow(w, "flow");
    enqueue_count(w, "orders", 300, NULL);
    int64_t    id  = trigger(w, "flow", "{\"x\":1}");
    pgqrs_run *run = claim_run(w, "flow");
    step_done(run, "one", "1");
    drop_run(w, run);
    w->turso = false; /* for what looks into the tables: never while the store is Turso's */
    change_engine(w);
    run = claim_run(w, "flow");
    assert_int_equal(id, pgqrs_run_id(run));
    assert_string_equal("1", replayed(run, "one"));
    step_done(run, "two", "2");
    drop_run(w, run);
    assert_consistent(w);
    w->turso = turso;
    change_engine(w);
    run = claim_run(w, "flow");
    assert_string_equal("1", replayed(run, "one"));
    assert_string_equal("2", replayed(run, "two"));
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "3"));
    assert_int_equal(300, measure(w, "orders").ready);
    assert_consistent(w);
}

#endif

static void g82_closing_leaves_nothing_in_the_log(void **state)
{
    world      *w = *state;
    char        path[300];
    struct stat st;
    queue(w, "orders");
    enqueue_count(w, "orders", 50, NULL);
    (void)snprintf(path, sizeof(path), "%s-wal", w->path);
    assert_true(stat(path, &st) == 0 && st.st_size > 0);
    world_close(w, w->store);
    assert_true(stat(path, &st) != 0 || st.st_size == 0);
    w->store = world_open(w);
    assert_int_equal(50, measure(w, "orders").ready);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_BARE(g80_a_second_process_is_refused_and_told_who_has_the_file),
        CASE_BARE(g80_a_file_whose_process_was_killed_is_free_at_once),
        CASE(g80_the_same_process_opens_a_file_as_often_as_it_likes),
#ifdef PGQRS_HAVE_SQLITE
        CASE(g81_a_second_engine_in_the_process_is_refused),
        CASE_BARE(g81_a_second_engine_in_another_process_is_refused),
        CASE_BARE(g81_a_lock_that_was_dropped_behind_our_back_still_holds),
        CASE(g82_a_run_goes_on_under_the_other_engine),
#endif
        CASE(g82_closing_leaves_nothing_in_the_log),
    };
    only_on("turso");
    return cmocka_run_group_tests(cases, NULL, NULL);
}
