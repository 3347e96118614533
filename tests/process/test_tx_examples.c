/* The examples of docs/transactions.md: compiled as a user would, run, and crashed. */
#include "support/peek.h"
#include "support/processes.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

static int run(const world *w, const char *example, const char *argument, char *out, size_t size)
{
    char command[1024];

    (void)snprintf(command, sizeof(command), "ulimit -c 0; exec " EXAMPLES "/%s '%s' %s 2>&1",
                   example, w->direct, argument);
    return command_run(w, command, out, size);
}

static void g51_the_transfer_moves_the_money_once(void **state)
{
    world *w = *state;
    char   out[4096];

    for (int crashes = 0; crashes < 2; crashes++) {
        const int status = run(w, "transfer", "crash", out, sizeof(out));
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_int_equal(100, sql_number(w, "SELECT amount FROM accounts WHERE name = 'ada'"));
    }
    for (int times = 0; times < 2; times++) {
        assert_int_equal(0, run(w, "transfer", "", out, sizeof(out)));
        assert_string_equal("{\"ada\":70,\"bob\":30}\n", out);
        assert_int_equal(1, sql_number(w, "SELECT count(*) FROM pgqrs_ready"));
    }
}

static void g50_the_order_and_its_message_exist_together(void **state)
{
    world *w = *state;
    char   out[4096];

    assert_int_equal(0, run(w, "transactional_enqueue", "", out, sizeof(out)));
    assert_string_equal("to be shipped: 1\n", out);
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM orders"));
}

int main(void)
{
#if !defined(PGQRS_HAVE_POSTGRES) || !defined(PGQRS_HAVE_SQLITE)
    return 77; /* skipped: the examples are for either database, and were not built */
#endif
    const struct CMUnitTest tests[] = {
        CASE_BARE(g51_the_transfer_moves_the_money_once),
        CASE_BARE(g50_the_order_and_its_message_exist_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
