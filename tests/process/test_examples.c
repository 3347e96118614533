/* The programs that the README shows do what it says, and so does the demo. */
#include "support/processes.h"

#include <stdlib.h>

#define EXAMPLES PGQRS_TEST_BIN_DIR "/../examples"

/* What a shell command prints; it must succeed. */
static void output_of(const char *command, char *out, size_t size)
{
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    const size_t used = fread(out, 1, size - 1, pipe);
    out[used]         = '\0';
    const int status  = pclose(pipe);
    if (status != 0)
        fail_msg("%s\nended with %#x:\n%s", command, (unsigned)status, out);
}

static void set_schema(const world *w)
{
    char options[128];
    (void)snprintf(options, sizeof(options), "-c search_path=%s", w->schema);
    if (w->postgres)
        (void)setenv("PGOPTIONS", options, 1);
}

static void the_queue_example_works(void **state)
{
    const world *w = *state;
    char         command[1024], out[4096];

    set_schema(w);
    (void)snprintf(command, sizeof(command), EXAMPLES "/queue '%s' 2>&1", w->dsn);
    output_of(command, out, sizeof(out));
    assert_string_equal("Processing: {\"task\":\"send_email\",\"to\":\"user@example.com\"}\n", out);
}

static void the_demo_keeps_its_promise(void **state)
{
    const world *w = *state;
    char         command[1024], out[16384];

    set_schema(w);
    (void)snprintf(command, sizeof(command),
                   "ARCHIVE_FILES=" EXAMPLES "/archive_files " PGQRS_TEST_SOURCE_DIR
                   "/tools/demo.sh '%s' 2>&1",
                   w->dsn);
    output_of(command, out, sizeof(out));
    assert_non_null(strstr(out, "As promised"));
    assert_null(strstr(out, "\033"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_BARE(the_queue_example_works),
        CASE_BARE(the_demo_keeps_its_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
