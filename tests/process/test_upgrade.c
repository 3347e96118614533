/* A later version installs its schema while this one is at work on it. */
#include "support/peek.h"
#include "support/processes.h"
#include "support/together.h"

#define WORKERS 3
#define ENOUGH  40 /* runs, before and after */
#define STEPS   3

typedef struct plant {
    world        *w;
    pgqrs_worker *workers[WORKERS];
    atomic_int    done;    /* runs */
    atomic_int    wrong;   /* what failed, and should not */
    atomic_bool   no_more; /* runs are put in */
    int           newer;   /* how the newer library ended */
    int           after;   /* runs that were done since */
} plant;

static pgqrs_status three_steps(pgqrs_run *run, void *user_data)
{
    plant       *p = user_data;
    pgqrs_step  *step;
    pgqrs_status status = PGQRS_OK;
    char         name[16];

    for (int i = 0; i < STEPS && status == PGQRS_OK; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        status = pgqrs_step_begin(run, name, NULL, &step);
        if (status == PGQRS_OK && !pgqrs_step_recorded(step))
            status = pgqrs_step_succeed(step, "1");
    }
    if (status == PGQRS_OK)
        status = pgqrs_run_succeed(run, NULL);
    if (status == PGQRS_OK) {
        (void)atomic_fetch_add(&p->done, 1);
    } else {
        print_error("%s: %s\n", pgqrs_run_error(run)->message, pgqrs_run_error(run)->detail);
        (void)atomic_fetch_add(&p->wrong, 1);
    }
    return status;
}

static void put_in_runs(plant *p)
{
    while (!atomic_load(&p->no_more)) {
        pgqrs_error error;
        if (pgqrs_trigger(p->w->store, "flow", "1", NULL, NULL, &error) != PGQRS_OK) {
            print_error("%s: %s\n", error.message, error.detail);
            (void)atomic_fetch_add(&p->wrong, 1);
        }
        sleep_us(5 * PGQRS_MILLISECOND);
    }
}

static void wait_for_runs(plant *p, int count)
{
    const int already = atomic_load(&p->done);
    while (atomic_load(&p->done) < already + count && atomic_load(&p->wrong) == 0)
        sleep_us(10 * PGQRS_MILLISECOND);
}

/* The newer library comes, and this one goes on. */
static void upgrade(plant *p)
{
    process newer = { 0 };

    wait_for_runs(p, ENOUGH);
    process_start(&newer, p->w, "newer_library", (const char *const[]){ PGQRS_VERSION, NULL });
    p->newer         = process_end(&newer);
    const int before = atomic_load(&p->done);
    wait_for_runs(p, ENOUGH);
    p->after = atomic_load(&p->done) - before;
    atomic_store(&p->no_more, true);
    for (size_t i = 0; i < WORKERS; i++)
        pgqrs_worker_stop(p->workers[i]);
}

static void work_or_upgrade(void *shared, size_t i)
{
    plant      *p = shared;
    pgqrs_error error;

    if (i == 0)
        upgrade(p);
    else if (i == 1)
        put_in_runs(p);
    else if (pgqrs_worker_run(p->workers[i - 2], &error) != PGQRS_OK) {
        print_error("%s: %s\n", error.message, error.detail);
        (void)atomic_fetch_add(&p->wrong, 1);
    }
}

static void g63_workers_go_on_while_a_newer_library_installs(void **state)
{
    world *w = *state;
    plant  p = { .w = w };

    workflow(w, "flow");
    for (size_t i = 0; i < WORKERS; i++) { /* each as a process of its own would be */
        pgqrs_store *store = world_open(w);
        assert_ok(pgqrs_worker_new(store, NULL, &p.workers[i], &failure));
        assert_int_equal(PGQRS_OK, pgqrs_worker_on_run(p.workers[i], "flow", three_steps, &p,
                                                       PGQRS_OPTIONS(work, .concurrency = 4)));
    }
    together(2 + WORKERS, work_or_upgrade, &p);
    for (size_t i = 0; i < WORKERS; i++)
        pgqrs_worker_free(p.workers[i]);

    assert_int_equal(0, p.newer);
    assert_int_equal(0, atomic_load(&p.wrong));
    assert_true(p.after >= ENOUGH);
    assert_int_equal(1,
                     sql_number(w, "SELECT count(*) FROM pgqrs_migrations WHERE name = 'later'"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_later"));
    /* and so does who comes later */
    pgqrs_store *another = world_open(w);
    assert_ok(pgqrs_verify(another, &failure));
    assert_ok(pgqrs_install(another, &failure)); /* there is nothing to do */
    work(w, "flow", three_steps, &p);
    assert_int_equal(0, measure(w, "flow").ready);
    /* nothing was done twice, or half */
    assert_int_equal(atomic_load(&p.done), measure(w, "flow").done);
    assert_int_equal(STEPS * atomic_load(&p.done),
                     sql_number(w, "SELECT count(*) FROM pgqrs_steps"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_archive WHERE attempt <> 1"));
    assert_consistent(w);
}

/* Somebody's long transaction is in the way of the installation, which then must not be in the way
 * of everybody else. */
static void g63_an_installation_that_waits_makes_nobody_wait_for_long(void **state)
{
    world  *w     = *state;
    process newer = { 0 };

    if (!w->postgres)
        skip(); /* where writers have turns */
    queue(w, "orders");
    sql_run(w, "BEGIN");
    (void)sql_number(w, "SELECT count(*) FROM pgqrs_messages");
    process_start(&newer, w, "newer_library", (const char *const[]){ PGQRS_VERSION, NULL });
    do { /* what a transaction has seen of the others it sees again, unless told */
        sleep_us(PGQRS_MILLISECOND);
        sql_run(w, "SELECT pg_stat_clear_snapshot()");
    } while (sql_number(w, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%' "
                           "AND wait_event_type = 'Lock'")
             == 0);
    for (int i = 0; i < 20; i++) {
        const int64_t began = monotonic_now_us();
        (void)enqueue(w, "orders", "1");
        assert_true(monotonic_now_us() - began < 5 * PGQRS_SECOND);
    }
    assert_false(process_ends(&newer, 0, NULL));
    sql_run(w, "COMMIT");
    assert_int_equal(0, process_end(&newer));
    assert_int_equal(20, measure(w, "orders").ready);
}

static void g63_a_library_that_is_too_old_is_refused_naming_both_versions(void **state)
{
    world                    *w       = *state;
    const pgqrs_store_options options = world_options(w);
    pgqrs_store              *store   = NULL;
    process                   newer   = { 0 };
    char                      said[1100];

    queue(w, "orders");
    process_start(&newer, w, "newer_library", (const char *const[]){ "23.4.5", NULL });
    assert_int_equal(0, process_end(&newer));
    assert_status(PGQRS_ESCHEMA, pgqrs_open(w->dsn, &options, &store, &failure));
    assert_null(store);
    (void)snprintf(said, sizeof(said), "%s %s %s", failure.message, failure.detail, failure.hint);
    assert_non_null(strstr(said, "23.4.5"));
    assert_non_null(strstr(said, PGQRS_VERSION));
    /* one that was at work before goes on: nothing is taken away within a major version */
    assert_true(enqueue(w, "orders", "1") > 0);
    assert_status(PGQRS_ESCHEMA, pgqrs_install(w->store, &failure));
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(w->store, &failure));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_REAL(g63_workers_go_on_while_a_newer_library_installs),
        CASE_REAL(g63_an_installation_that_waits_makes_nobody_wait_for_long),
        CASE_REAL(g63_a_library_that_is_too_old_is_refused_naming_both_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
