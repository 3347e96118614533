/* The programs that the README shows do what it says, and so does the demo. */
#include "support/processes.h"

#include <stdlib.h>

static void the_queue_example_works(void **state)
{
    const world *w = *state;
    char         command[1024], out[4096];

    (void)snprintf(command, sizeof(command), EXAMPLES "/queue '%s' 2>&1", w->direct);
    command_output(w, command, out, sizeof(out));
    assert_string_equal("Processing: {\"task\":\"send_email\",\"to\":\"user@example.com\"}\n", out);
}

static void the_demo_keeps_its_promise(void **state)
{
    const world *w = *state;
    char         command[1024], out[16384];

    (void)snprintf(command, sizeof(command),
                   "ARCHIVE_FILES=" EXAMPLES "/archive_files " PGQRS_TEST_SOURCE_DIR
                   "/tools/demo.sh '%s' 2>&1",
                   w->direct);
    command_output(w, command, out, sizeof(out));
    assert_non_null(strstr(out, "As promised"));
    assert_null(strstr(out, "\033"));
}

/* A whole file, to be freed. */
static char *content_of(const char *path)
{
    char   name[512];
    size_t used, room = 1 << 20;
    char  *text = calloc(1, room);

    (void)snprintf(name, sizeof(name), PGQRS_TEST_SOURCE_DIR "/%s", path);
    FILE *file = fopen(name, "r");
    assert_true(file != NULL && text != NULL);
    used = fread(text, 1, room - 1, file);
    assert_true(used > 0 && used < room - 1);
    (void)fclose(file);
    return text;
}

/* "<!-- examples/X.c -->" stands before code that is in that file, letter for letter. */
static void the_readme_shows_the_examples(void **state)
{
    static const char mark[] = "<!-- examples/";
    char             *readme = content_of("README.md");
    int               shown  = 0;

    (void)state;
    for (char *at = strstr(readme, mark); at != NULL; shown++) {
        char  path[64];
        char *code = strstr(at, "```c\n") + strlen("```c\n");
        char *end  = strstr(code, "```");
        assert_int_equal(1, sscanf(at, "<!-- %63s", path));
        *end          = '\0';
        char *program = content_of(path);
        if (strstr(program, code) == NULL)
            fail_msg("README.md shows something else than %s", path);
        free(program);
        at = strstr(end + 1, mark);
    }
    assert_true(shown > 0);
    free(readme);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_BARE(the_queue_example_works),
        CASE_BARE(the_demo_keeps_its_promise),
        cmocka_unit_test(the_readme_shows_the_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
