/* Installing and verifying: twice, by many at once, against what somebody changed, side by side. */
#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

static void g30_installing_again_changes_nothing(void **state)
{
    world *w = *state;
    char   before[256], after[256];
    queue(w, "orders");
    int64_t id      = enqueue(w, "orders", "1");
    int64_t version = sql_number(w, "SELECT max(version) FROM pgqrs_migrations");
    assert_true(version > 0);
    sql_fingerprint(w, before, sizeof(before));
    for (int i = 0; i < 3; i++) {
        assert_ok(pgqrs_install(w->store, &failure));
        assert_ok(pgqrs_install(world_open(w), &failure));
    }
    sql_fingerprint(w, after, sizeof(after));
    assert_string_equal(before, after);
    assert_int_equal(version, sql_number(w, "SELECT count(*) FROM pgqrs_migrations"));
    assert_int_equal(id, claim_one(w, "orders").id);
    assert_ok(pgqrs_verify(w->store, &failure));
}

static int install_once(void *shared)
{
    pgqrs_error               error;
    world                    *w       = shared;
    pgqrs_store              *store   = NULL;
    const pgqrs_store_options options = world_options(w);
    if (pgqrs_open(w->dsn, &options, &store, &error) == PGQRS_OK
        && pgqrs_install(store, &error) == PGQRS_OK && pgqrs_verify(store, &error) == PGQRS_OK
        && pgqrs_queue_ensure(store, "orders", NULL, &error) == PGQRS_OK)
        (void)!pgqrs_enqueue(store, "orders", "1", NULL, NULL, &error);
    pgqrs_close(store);
    if (error.status != PGQRS_OK)
        print_error("%s: %s, %s\n", pgqrs_status_name(error.status), error.message, error.detail);
    return (int)error.status;
}

static void g30_processes_that_start_at_once_all_succeed(void **state)
{
    world *w = *state;
    if (w->turso)
        skip(); /* one process at a time */
    assert_int_equal(0, in_children(8, install_once, w));
    w->store = world_open(w);
    assert_ok(pgqrs_verify(w->store, &failure));
    assert_int_equal(8, measure(w, "orders").ready);
}

typedef struct starts {
    world     *w;
    atomic_int failed;
} starts;

static void install_in_a_thread(void *shared, size_t i)
{
    starts *s = shared;
    (void)i;
    if (install_once(s->w) != 0)
        (void)atomic_fetch_add(&s->failed, 1);
}

static void g30_threads_that_start_at_once_all_succeed(void **state)
{
    world *w = *state;
    starts s = { .w = w };
    together(8, install_in_a_thread, &s);
    assert_int_equal(0, atomic_load(&s.failed));
    w->store = world_open(w);
    assert_ok(pgqrs_verify(w->store, &failure));
    assert_int_equal(8, measure(w, "orders").ready);
}

static void g37_verify_finds_what_is_missing(void **state)
{
    world *w = *state;
    assert_ok(pgqrs_verify(w->store, &failure));
    sql_run(w, "DROP INDEX pgqrs_scheduled_due");
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(w->store, &failure));
    assert_non_null(strstr(failure.detail, "pgqrs_scheduled_due"));
}

static void g37_verify_finds_a_missing_column(void **state)
{
    world *w = *state;
    sql_run(w, "ALTER TABLE pgqrs_workers DROP COLUMN hostname");
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(w->store, &failure));
    assert_non_null(strstr(failure.detail, "hostname"));
}

static void g37_verify_finds_a_missing_table(void **state)
{
    world *w = *state;
    sql_run(w, "DROP TABLE pgqrs_keys");
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(w->store, &failure));
    assert_non_null(strstr(failure.detail, "keys"));
}

static void g37_a_changed_migration_is_found_and_not_installed_over(void **state)
{
    world *w = *state;
    sql_run(w, "UPDATE pgqrs_migrations SET checksum = 'changed' WHERE version = 1");
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(w->store, &failure));
    assert_true(failure.detail[0] != '\0');
    assert_status(PGQRS_ESCHEMA, pgqrs_install(w->store, &failure));
}

/* A schema as a later library would leave it. */
static void upgrade(world *w, const char *oldest_library)
{
    char postgres[256], sqlite[256];
    (void)snprintf(postgres, sizeof(postgres),
                   "INSERT INTO pgqrs_migrations (version, name, checksum, applied_at, "
                   "oldest_library) VALUES (977, 'later', 'x', now(), '%s')",
                   oldest_library);
    (void)snprintf(sqlite, sizeof(sqlite),
                   "INSERT INTO pgqrs_migrations (version, name, checksum, applied_at, "
                   "oldest_library) VALUES (977, 'later', 'x', 1, '%s')",
                   oldest_library);
    sql_run_each(w, postgres, sqlite);
}

static void g37_a_newer_schema_is_refused_naming_both_versions(void **state)
{
    world                    *w       = *state;
    pgqrs_store              *store   = NULL;
    const pgqrs_store_options options = world_options(w);
    upgrade(w, "23.4.5");
    assert_status(PGQRS_ESCHEMA, pgqrs_open(w->dsn, &options, &store, &failure));
    assert_null(store);
    char said[1100];
    (void)snprintf(said, sizeof(said), "%s %s %s", failure.message, failure.detail, failure.hint);
    assert_non_null(strstr(said, "23.4.5"));
    assert_non_null(strstr(said, PGQRS_VERSION));
}

static void g37_a_newer_schema_that_allows_this_library_is_used(void **state)
{
    world *w = *state;
    upgrade(w, PGQRS_VERSION);
    pgqrs_store *store = world_open(w);
    assert_ok(pgqrs_queue_create(store, "orders", NULL, &failure));
    assert_ok(pgqrs_enqueue(store, "orders", "1", NULL, NULL, &failure));
}

static void g37_an_added_column_does_not_disturb_an_old_library(void **state)
{
    world *w = *state;
    sql_run(w, "ALTER TABLE pgqrs_messages ADD COLUMN later text");
    sql_run(w, "ALTER TABLE pgqrs_leased ADD COLUMN later text");
    sql_run(w, "ALTER TABLE pgqrs_queues ADD COLUMN later text");
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message m = claim_one(w, "orders");
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_state(w, m.id, PGQRS_STATE_DONE);
}

static void g27_installations_in_one_database_do_not_see_each_other(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *other   = NULL;
    pgqrs_queues       *queues  = NULL;
    char                schema[80], sql[256];
    if (!w->postgres)
        skip(); /* one file, one installation */
    (void)snprintf(schema, sizeof(schema), "%s Other\"'%%s", w->schema);
    (void)snprintf(sql, sizeof(sql), "CREATE SCHEMA \"%s Other\"\"'%%s\"", w->schema);
    sql_run(w, sql);
    options.schema = schema;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");

    assert_ok(pgqrs_open(w->dsn, &options, &other, &failure));
    pgqrs_status absent = pgqrs_verify(other, &failure);
    bool         works =
        pgqrs_install(other, &failure) == PGQRS_OK && pgqrs_verify(other, &failure) == PGQRS_OK
        && pgqrs_queue_list(other, &queues, &failure) == PGQRS_OK && pgqrs_queues_count(queues) == 0
        && pgqrs_queue_create(other, "orders", NULL, &failure) == PGQRS_OK
        && pgqrs_enqueue(other, "orders", "2", NULL, NULL, &failure) == PGQRS_OK
        && pgqrs_enqueue(other, "orders", "3", NULL, NULL, &failure) == PGQRS_OK;
    pgqrs_queues_free(queues);
    pgqrs_close(other);
    if (!works)
        print_error("%s\n%s\n", failure.message, failure.detail);
    (void)snprintf(sql, sizeof(sql), "DROP SCHEMA \"%s Other\"\"'%%s\" CASCADE", w->schema);
    sql_run(w, sql);
    assert_int_equal(PGQRS_ESCHEMA, absent);
    assert_true(works);
    assert_int_equal(1, measure(w, "orders").ready);
    assert_string_equal("1", claim_one(w, "orders").payload);
}

static void g27_nothing_depends_on_the_search_path(void **state)
{
    world *w = *state;
    char   dsn[700];
    if (!w->postgres)
        skip();
    (void)snprintf(dsn, sizeof(dsn), "%s%coptions=-csearch_path%%3Dpg_catalog", w->direct,
                   strchr(w->direct, '?') != NULL ? '&' : '?');
    pgqrs_store              *store   = NULL;
    const pgqrs_store_options options = world_options(w);
    queue(w, "orders");
    assert_ok(pgqrs_open(dsn, &options, &store, &failure));
    pgqrs_status status = pgqrs_enqueue(store, "orders", "1", NULL, NULL, &failure);
    pgqrs_status sound  = pgqrs_verify(store, &failure);
    pgqrs_close(store);
    assert_int_equal(PGQRS_OK, status);
    assert_int_equal(PGQRS_OK, sound);
    assert_int_equal(1, measure(w, "orders").ready);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g30_installing_again_changes_nothing),
        CASE_BARE(g30_processes_that_start_at_once_all_succeed),
        CASE_BARE(g30_threads_that_start_at_once_all_succeed),
        CASE(g37_verify_finds_what_is_missing),
        CASE(g37_verify_finds_a_missing_column),
        CASE(g37_verify_finds_a_missing_table),
        CASE(g37_a_changed_migration_is_found_and_not_installed_over),
        CASE(g37_a_newer_schema_is_refused_naming_both_versions),
        CASE(g37_a_newer_schema_that_allows_this_library_is_used),
        CASE(g37_an_added_column_does_not_disturb_an_old_library),
        CASE(g27_installations_in_one_database_do_not_see_each_other),
        CASE(g27_nothing_depends_on_the_search_path),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
