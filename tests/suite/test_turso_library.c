/* Turso's library is looked for at run time: what will not do is said so, and what to do about it.
 * Each case is a process of its own, since a library that was loaded stays. */
#include <stdlib.h>
#include <unistd.h>

#include "support/together.h"
#include "support/world.h"

#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            return __LINE__ % 250 + 1; \
    } while (0)

static pgqrs_status open_memory(pgqrs_error *error)
{
    pgqrs_store *store  = NULL;
    pgqrs_status status = pgqrs_open("turso::memory:", NULL, &store, error);
    pgqrs_close(store);
    return status;
}

static bool is_refused(const char *library, const char *word)
{
    pgqrs_error error;
    (void)setenv("PGQRS_TURSO_LIBRARY", library, 1);
    return open_memory(&error) == PGQRS_ECONFIG && strstr(error.message, library) != NULL
           && strstr(error.detail, word) != NULL && strstr(error.hint, "make turso") != NULL
           && strstr(error.hint, "pip install pgqrs[turso]") != NULL;
}

static int what_is_named_and_not_there(void *unused)
{
    (void)unused;
    CHECK(is_refused("/nowhere/libpgqrs_turso.so", "/nowhere"));
    return 0;
}

static int what_lacks_a_function(void *unused)
{
    (void)unused;
    CHECK(is_refused("libm.so.6", "turso_version"));
    return 0;
}

static int what_has_another_version(void *unused)
{
    (void)unused;
    CHECK(is_refused(PGQRS_TEST_OTHER_TURSO, "0.9.0"));
    return 0;
}

/* The tests are linked statically, and no engine is beside them. */
static int none_at_all(void *unused)
{
    pgqrs_error error;
    const char *version = "x", *path = "x";
    (void)unused;
    (void)unsetenv("PGQRS_TURSO_LIBRARY");
    CHECK(open_memory(&error) == PGQRS_ECONFIG);
    CHECK(strstr(error.hint, "PGQRS_TURSO_LIBRARY") != NULL);
    CHECK(strstr(error.hint, "make turso") != NULL);
    CHECK(pgqrs_turso_load(NULL, &version, &path, &error) == PGQRS_ECONFIG);
    CHECK(version == NULL && path == NULL);
    return 0;
}

/* A failure is not remembered; what was loaded is. */
static int the_path_that_was_given(void *shared)
{
    const char *library = shared, *version = NULL, *path = NULL;
    pgqrs_error error;
    (void)unsetenv("PGQRS_TURSO_LIBRARY");
    CHECK(pgqrs_turso_load("/nowhere/x.so", NULL, NULL, &error) == PGQRS_ECONFIG);
    CHECK(pgqrs_turso_load(library, &version, &path, &error) == PGQRS_OK);
    CHECK(version != NULL && strncmp(version, "0.8.", 4) == 0);
    CHECK(path != NULL && strstr(path, ".so") != NULL);
    CHECK(pgqrs_turso_load(library, NULL, NULL, &error) == PGQRS_OK);
    CHECK(pgqrs_turso_load("/nowhere/x.so", NULL, NULL, &error) == PGQRS_ESTATE);
    CHECK(open_memory(&error) == PGQRS_OK);
    return 0;
}

static void a_library_that_is_named_must_do(void **state)
{
    (void)state;
    assert_int_equal(0, in_child(what_is_named_and_not_there, NULL));
    assert_int_equal(0, in_child(what_lacks_a_function, NULL));
    assert_int_equal(0, in_child(what_has_another_version, NULL));
}

static void without_one_the_error_says_what_to_do(void **state)
{
    (void)state;
    assert_int_equal(0, in_child(none_at_all, NULL));
}

static void a_program_says_where_it_is(void **state)
{
    char *library = getenv("PGQRS_TURSO_LIBRARY");
    (void)state;
    if (library == NULL || access(library, R_OK) != 0)
        skip();
    assert_int_equal(0, in_child(the_path_that_was_given, library));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_library_that_is_named_must_do),
        cmocka_unit_test(without_one_the_error_says_what_to_do),
        cmocka_unit_test(a_program_says_where_it_is),
    };
    only_on("turso");
    return cmocka_run_group_tests(cases, NULL, NULL);
}
