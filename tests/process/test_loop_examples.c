/* The examples of batches and of event loops do what they say. */
#include "support/processes.h"

static void output_of(const world *w, const char *example, char *out, size_t size)
{
    char command[1024];

    (void)snprintf(command, sizeof(command), EXAMPLES "/%s '%s' 2>&1", example, w->direct);
    command_output(w, command, out, size);
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
