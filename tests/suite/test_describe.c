/* Looking at a database without touching it: what installing would do, and what is said of it. */
#include "support/peek.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_SQLITE
#include "backend/sqlite/sqlite.h"
#endif

static pgqrs_plan *plan(pgqrs_store *store)
{
    pgqrs_plan *made = NULL;
    assert_ok(pgqrs_install_plan(store, NULL, &made, &failure));
    assert_non_null(made);
    return made;
}

static void g70_a_plan_installs_nothing(void **state)
{
    world       *w     = *state;
    pgqrs_store *store = world_open(w);
    pgqrs_plan  *made  = plan(store);
    assert_int_equal(0, made->from_version);
    assert_true(made->count > 0);
    assert_int_equal(made->to_version, made->migrations[made->count - 1].version);
    assert_int_equal(1, made->migrations[0].version);
    assert_string_equal("tables", made->migrations[0].name);
    pgqrs_plan_free(made);
    assert_status(PGQRS_ESCHEMA, pgqrs_verify(store, &failure));
    assert_non_null(strstr(failure.message, "not installed"));
}

static void g70_the_sql_of_a_plan_installs(void **state)
{
    world       *w     = *state;
    pgqrs_store *store = world_open(w);
    pgqrs_plan  *made  = plan(store);
    assert_null(strstr(made->sql, "@schema"));
    sql_run(w, made->sql);
    pgqrs_plan_free(made);
    assert_ok(pgqrs_verify(store, &failure));
    w->store = store;
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    assert_int_equal(id, claim_one(w, "orders").id);
    assert_ok(pgqrs_install(store, &failure)); /* finds nothing to do */
    assert_ok(pgqrs_verify(store, &failure));
}

static void g70_a_plan_of_what_is_installed_is_empty(void **state)
{
    world *w = *state;
    char   before[256], after[256];
    sql_fingerprint(w, before, sizeof(before));
    pgqrs_plan *made = plan(w->store);
    assert_int_equal(0, made->count);
    assert_int_equal(made->from_version, made->to_version);
    assert_string_equal("", made->sql);
    pgqrs_plan_free(made);
    sql_fingerprint(w, after, sizeof(after));
    assert_string_equal(before, after);
}

static void g70_a_plan_refuses_what_installing_would_refuse(void **state)
{
    world      *w    = *state;
    pgqrs_plan *made = NULL;
    sql_run(w, "UPDATE pgqrs_migrations SET checksum = 'changed' WHERE version = 1");
    assert_status(PGQRS_ESCHEMA, pgqrs_install_plan(w->store, NULL, &made, &failure));
    assert_null(made);
    assert_status(PGQRS_EINVAL, pgqrs_install_plan(w->store, NULL, NULL, &failure));
    assert_status(PGQRS_EINVAL, pgqrs_install_plan(NULL, NULL, &made, &failure));
    pgqrs_plan_free(NULL);
}

static void a_store_says_what_it_is(void **state)
{
    world             *w     = *state;
    pgqrs_store       *store = world_open(w);
    pgqrs_description *about = NULL;
    assert_ok(pgqrs_store_describe(store, &about, &failure));
    assert_int_equal(0, about->schema_version);
    assert_true(about->needed_version > 0);
    assert_string_equal(w->postgres ? "postgres" : w->turso ? "turso" : "sqlite", about->backend);
    if (w->turso)
        assert_non_null(strstr(about->version, ".so"));
    assert_true(about->version[0] >= '0' && about->version[0] <= '9');
    if (w->postgres)
        assert_string_equal(w->schema, about->schema);
    else
        assert_null(about->schema);
    pgqrs_description_free(about);

    assert_ok(pgqrs_install(store, &failure));
    assert_ok(pgqrs_store_describe(store, &about, &failure));
    assert_int_equal(about->needed_version, about->schema_version);
    pgqrs_description_free(about);
    assert_status(PGQRS_EINVAL, pgqrs_store_describe(store, NULL, &failure));
    pgqrs_description_free(NULL);
}

#ifdef PGQRS_HAVE_POSTGRES
/* A store whose sessions have this setting. */
static bool warned_with(world *w, const char *setting, const char *word)
{
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    pgqrs_description  *about   = NULL;
    char                dsn[700];
    bool                warned = false;
    (void)snprintf(dsn, sizeof(dsn), "%s%coptions=-c%%20%s", w->direct,
                   strchr(w->direct, '?') == NULL ? '?' : '&', setting);
    assert_ok(pgqrs_open(dsn, &options, &store, &failure));
    assert_ok(pgqrs_store_describe(store, &about, &failure));
    for (size_t i = 0; i < about->warnings_count; i++)
        warned |= strstr(about->warnings[i], word) != NULL;
    pgqrs_description_free(about);
    pgqrs_close(store);
    return warned;
}
#endif

static void g71_what_endangers_the_promises_is_told(void **state)
{
    world *w = *state;
#ifdef PGQRS_HAVE_POSTGRES
    if (w->postgres) {
        assert_true(warned_with(w, "synchronous_commit%3Doff", "synchronous_commit"));
        assert_false(warned_with(w, "synchronous_commit%3Don", "synchronous_commit"));
        return;
    }
#endif
    if (w->turso)
        skip(); /* nothing is known against it that a store would not refuse */
#ifdef PGQRS_HAVE_SQLITE
    static const struct {
        int  version;
        bool bad;
    } versions[] = {
        { 3006999, false }, { 3007000, true },  { 3040001, true },  { 3044005, true },
        { 3044006, false }, { 3044999, false }, { 3045000, true },  { 3050006, true },
        { 3050007, false }, { 3050999, false }, { 3051000, true },  { 3051002, true },
        { 3051003, false }, { 3052000, false }, { 4000000, false },
    };
    pgqrs_description *about  = NULL;
    bool               warned = false;
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(versions); i++)
        assert_int_equal(versions[i].bad, pgqrs__sqlite_wal_reset_bug(versions[i].version));
    assert_ok(pgqrs_store_describe(w->store, &about, &failure));
    for (size_t i = 0; i < about->warnings_count; i++) {
        warned |= strstr(about->warnings[i], "3.51.3") != NULL;
        assert_null(strchr(about->warnings[i], '\n'));
    }
    assert_int_equal(pgqrs__sqlite_wal_reset_bug(sqlite3_libversion_number()), warned);
    pgqrs_description_free(about);
#endif
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_BARE(g70_a_plan_installs_nothing),
        CASE_BARE(g70_the_sql_of_a_plan_installs),
        CASE(g70_a_plan_of_what_is_installed_is_empty),
        CASE(g70_a_plan_refuses_what_installing_would_refuse),
        CASE_BARE(a_store_says_what_it_is),
        CASE(g71_what_endangers_the_promises_is_told),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
