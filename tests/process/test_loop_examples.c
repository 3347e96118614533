/* The examples of batches and of event loops do what they say. */
#include "support/processes.h"

#include <stdlib.h>

#define EXAMPLES PGQRS_TEST_BIN_DIR "/../examples"

/* What an example prints; it must succeed. */
static void output_of(const world *w, const char *example, char *out, size_t size)
{
    char command[1024], options[128];

    (void)snprintf(options, sizeof(options), "-c search_path=%s", w->schema);
    if (w->postgres)
        (void)setenv("PGOPTIONS", options, 1);
    (void)snprintf(command, sizeof(command), EXAMPLES "/%s '%s' 2>&1", example, w->direct);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    const size_t used = fread(out, 1, size - 1, pipe);
    out[used]         = '\0';
    const int status  = pclose(pipe);
    if (status != 0)
        fail_msg("%s\nended with %#x:\n%s", command, (unsigned)status, out);
}

static void the_batch_example_works(void **state)
{
    char out[4096];

    output_of(*state, "batch", out, sizeof(out));
    assert_non_null(strstr(out, "\"a book\": pages 2 to 4\n"));
    assert_non_null(strstr(out, "3 pages are ready\n"));
}

static void the_event_loop_example_works(void **state)
{
    char out[4096];

    output_of(*state, "event_loop", out, sizeof(out));
    assert_non_null(strstr(out, "100 messages are in\n"));
    assert_non_null(strstr(out, "100 messages are done\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_BARE(the_batch_example_works),
        CASE_BARE(the_event_loop_example_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
