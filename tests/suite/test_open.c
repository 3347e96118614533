/* Opening a store: DSNs that make no sense, what an error says and what it never says. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/world.h"

#ifdef PGQRS_HAVE_POSTGRES
#define HAS_POSTGRES true
#else
#define HAS_POSTGRES false
#endif
#ifdef PGQRS_HAVE_SQLITE
#define HAS_SQLITE true
#else
#define HAS_SQLITE false
#endif

/* Open what cannot be opened, quickly. */
static pgqrs_status open_dsn(const char *dsn)
{
    pgqrs_store *store = NULL;
    pgqrs_status status =
        pgqrs_open(dsn, PGQRS_OPTIONS(store, .connect_timeout_us = PGQRS_SECOND), &store, &failure);
    if (status == PGQRS_OK) /* connecting may wait for the first use */
        status = pgqrs_queue_create(store, "x", NULL, &failure);
    pgqrs_close(store);
    assert_int_equal(status, failure.status);
    assert_true(status == PGQRS_OK || failure.message[0] != '\0');
    return status;
}

static void a_malformed_dsn_is_a_configuration_error(void **state)
{
    (void)state;
    const char *bad[] = {
        "",
        "orders",
        "mysql://host/db",
        "://",
        "sqlite:",
        "sqlite://",
        "sqlite:/one/slash",
        "turso:",
        "turso://",
        "turso:/one/slash",
        "host=localhost dbname=x",
        "postgresql://host:port/db",
        "postgresql://[::1/db",
        "postgresql://host/db?no_such_option=1",
        "postgresql://host/%zz",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        pgqrs_status status = open_dsn(bad[i]);
        if (status != PGQRS_ECONFIG)
            print_error("\"%s\": %s, %s\n", bad[i], pgqrs_status_name(status), failure.message);
        assert_int_equal(PGQRS_ECONFIG, status);
    }
    assert_int_equal(PGQRS_ECONFIG, open_dsn("mysql://host/db"));
    assert_true(failure.hint[0] != '\0'); /* what would be right */
}

static bool says(const char *word)
{
    return strstr(failure.message, word) != NULL || strstr(failure.detail, word) != NULL
           || strstr(failure.hint, word) != NULL;
}

static void g28_a_password_is_in_no_error(void **state)
{
    (void)state;
    const char *with_password[] = {
        "postgresql://user:s3cret@host:port/db",
        "postgresql://user:s3cret@[::1/db",
        "postgresql://user:s3cret%zz@host/db",
        "postgresql://user:s3cret@host/db?no_such_option=1",
        "postgresql://user@host/db?password=s3cret&no_such_option=1",
        "postgresql://user@host/db?password=s3cret%zz",
        "postgresql://user@host:port/db?password=s3cret",
        "postgresql://user:s3cret@127.0.0.1:1/db",
        "postgres://user:s3cret@127.0.0.1:1/db?sslmode=s3cret",
        "postgresql:///db?host=/nonexistent&user=me&password=s3cret",
        "postgresql://user:s3cret",
        "postgresql:/user:s3cret@host/db",
        "postgre://user:s3cret@host/db",
        "user:s3cret@host/db",
        "host=127.0.0.1 port=1 password=s3cret",
        "turso://user:s3cret@host/db",
        "sqlite://user:s3cret@host/db",
    };
    for (size_t i = 0; i < sizeof(with_password) / sizeof(with_password[0]); i++) {
        pgqrs_status status = open_dsn(with_password[i]);
        if (status == PGQRS_OK || says("s3cret"))
            print_error("%s: %s\n%s\n%s\n%s\n", with_password[i], pgqrs_status_name(status),
                        failure.message, failure.detail, failure.hint);
        assert_int_not_equal(PGQRS_OK, status);
        assert_false(says("s3cret"));
    }
}

/* A build without one of the backends says so, and not that the DSN makes no sense. */
static void a_backend_that_was_left_out_is_said_so(void **state)
{
    static const struct {
        const char *dsn, *database;
        bool        there;
    } known[] = {
        { "postgresql://user:s3cret@127.0.0.1:1/db", "PostgreSQL", HAS_POSTGRES },
        { "postgres://user:s3cret@127.0.0.1:1/db", "PostgreSQL", HAS_POSTGRES },
        { "sqlite:///no/such/directory/store.db", "SQLite", HAS_SQLITE },
        { "sqlite::memory:", "SQLite", HAS_SQLITE },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        pgqrs_status status = open_dsn(known[i].dsn);
        const bool   said   = strstr(failure.message, "this build of pgqrs is without") != NULL;
        assert_int_equal(said, !known[i].there);
        if (known[i].there)
            continue;
        assert_int_equal(PGQRS_ECONFIG, status);
        assert_true(says(known[i].database));
        assert_true(failure.hint[0] != '\0');
        assert_false(says("s3cret"));
    }
}

static void remember(void *user_data, pgqrs_log_level level, const char *text)
{
    (void)level;
    if (strstr(text, "s3cret") != NULL)
        atomic_store((atomic_bool *)user_data, true);
}

static void g28_a_password_is_in_no_log(void **state)
{
    atomic_bool  told  = false;
    pgqrs_store *store = NULL;
    (void)state;
    pgqrs_status status = pgqrs_open("postgresql://user:s3cret@127.0.0.1:1/db",
                                     PGQRS_OPTIONS(store, .connect_timeout_us = PGQRS_SECOND,
                                                   .log = remember, .log_data = &told),
                                     &store, &failure);
    if (status == PGQRS_OK)
        status = pgqrs_install(store, &failure);
    pgqrs_close(store);
    assert_int_not_equal(PGQRS_OK, status);
    assert_false(atomic_load(&told));
}

static void a_server_that_is_not_there_is_a_lost_connection(void **state)
{
    (void)state;
    if (!HAS_POSTGRES)
        skip();
    assert_int_equal(PGQRS_ECONN, open_dsn("postgresql://127.0.0.1:1/db"));
    assert_true((failure.flags & PGQRS_RETRYABLE) != 0);
    assert_int_equal(0, failure.flags & PGQRS_MAYBE_APPLIED);
}

static void a_directory_that_is_not_there_is_said_so(void **state)
{
    world *w = *state;
    if (!HAS_SQLITE)
        skip();
    assert_int_not_equal(PGQRS_OK, open_dsn("sqlite:///no/such/directory/store.db"));
    assert_true(says("/no/such/directory"));
    if (w->postgres)
        return;
    /* a file of something else */
    FILE *file = fopen(w->path, "w");
    assert_non_null(file);
    for (int i = 0; i < 200; i++)
        (void)fputs("this is not a database\n", file);
    assert_int_equal(0, fclose(file));
    assert_int_not_equal(PGQRS_OK, open_dsn(w->dsn));
}

static void g30_using_a_store_without_tables_names_what_to_do(void **state)
{
    world       *w     = *state;
    pgqrs_store *store = world_open(w); /* opening never installs, and does not fail either */
    int64_t      id    = 0;
    assert_status(PGQRS_ESCHEMA, pgqrs_queue_create(store, "orders", NULL, &failure));
    assert_non_null(strstr(failure.hint, "pgqrs_install"));
    assert_status(PGQRS_ESCHEMA, pgqrs_enqueue(store, "orders", "1", NULL, &id, &failure));
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(store, &failure));
    assert_non_null(strstr(failure.hint, "pgqrs_install"));
    assert_ok(pgqrs_install(store, &failure));
    assert_ok(pgqrs_queue_create(store, "orders", NULL, &failure));
}

static void a_schema_that_is_not_there_is_no_installation(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    if (!w->postgres)
        skip();
    options.schema      = "no such schema";
    pgqrs_status status = pgqrs_open(w->dsn, &options, &store, &failure);
    if (status == PGQRS_OK)
        status = pgqrs_queue_create(store, "orders", NULL, &failure);
    pgqrs_close(store);
    assert_int_equal(PGQRS_ESCHEMA, status);
    assert_true(failure.hint[0] != '\0');
}

static void a_database_in_memory_is_a_store_of_its_own(void **state)
{
    pgqrs_store    *one = NULL, *two = NULL;
    pgqrs_queues   *queues = NULL;
    pgqrs_messages *batch  = NULL;
    int64_t         id     = 0;
    if (!HAS_SQLITE && !((world *)*state)->turso)
        skip();
    const char *dsn = ((world *)*state)->turso ? "turso::memory:" : "sqlite::memory:";
    assert_ok(pgqrs_open(dsn, NULL, &one, &failure));
    assert_ok(pgqrs_open(dsn, NULL, &two, &failure));
    bool works = pgqrs_install(one, &failure) == PGQRS_OK && pgqrs_install(two, NULL) == PGQRS_OK
                 && pgqrs_queue_create(one, "orders", NULL, &failure) == PGQRS_OK
                 && pgqrs_enqueue(one, "orders", "1", NULL, &id, &failure) == PGQRS_OK
                 && pgqrs_claim(one, "orders", NULL, &batch, &failure) == PGQRS_OK
                 && pgqrs_messages_count(batch) == 1
                 && pgqrs_archive(one, pgqrs_messages_at(batch, 0), &failure) == PGQRS_OK
                 && pgqrs_queue_list(two, &queues, &failure) == PGQRS_OK
                 && pgqrs_queues_count(queues) == 0;
    pgqrs_queues_free(queues);
    pgqrs_messages_free(batch);
    pgqrs_close(two);
    pgqrs_close(one);
    assert_true(works);
}

static void a_relative_path_is_from_where_the_process_is(void **state)
{
    world       *w     = *state;
    pgqrs_store *store = NULL;
    char         here[4096], directory[sizeof(w->path)];
    if (w->postgres)
        skip();
    assert_non_null(getcwd(here, sizeof(here)));
    (void)snprintf(directory, sizeof(directory), "%s", w->path);
    *strrchr(directory, '/') = '\0';
    assert_int_equal(0, chdir(directory));
    pgqrs_status status =
        pgqrs_open(w->turso ? "turso://beside.db" : "sqlite://beside.db", NULL, &store, &failure);
    if (status == PGQRS_OK)
        status = pgqrs_install(store, &failure);
    int there = access("beside.db", F_OK);
    pgqrs_close(store);
    assert_int_equal(0, chdir(here));
    assert_int_equal(PGQRS_OK, status);
    assert_int_equal(0, there);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_BARE(a_malformed_dsn_is_a_configuration_error),
        CASE_BARE(a_backend_that_was_left_out_is_said_so),
        CASE_BARE(g28_a_password_is_in_no_error),
        CASE_BARE(g28_a_password_is_in_no_log),
        CASE_BARE(a_server_that_is_not_there_is_a_lost_connection),
        CASE_BARE(a_directory_that_is_not_there_is_said_so),
        CASE_BARE(g30_using_a_store_without_tables_names_what_to_do),
        CASE_BARE(a_schema_that_is_not_there_is_no_installation),
        CASE_BARE(a_database_in_memory_is_a_store_of_its_own),
        CASE_BARE(a_relative_path_is_from_where_the_process_is),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
