/* kill -9 in the middle of a transactional step: effect, messages and record are there, or none is.
 */
#include "support/peek.h"
#include "support/processes.h"

#include <signal.h>

#define LEASE "300000"
#define RUNS  60

static void prepare(world *w)
{
    workflow(w, "flow");
    workflow(w, "child");
    queue(w, "receipts");
    sql_run(w, "CREATE TABLE effects (name text NOT NULL)");
}

static void assert_done(world *w, int64_t count)
{
    assert_int_equal(count, sql_number(w, "SELECT count(*) FROM effects"));
    assert_int_equal(count, sql_number(w, "SELECT count(*) FROM pgqrs_steps WHERE status = 1"));
    assert_int_equal(count, measure(w, "receipts").ready);
    assert_int_equal(count, measure(w, "child").ready);
    assert_consistent(w);
}

static void hear(process *p, const char *word)
{
    const char *line = process_hear(p);
    if (line == NULL || strcmp(line, word) != 0)
        fail_msg("expected \"%s\", heard \"%s\"", word, line != NULL ? line : "nothing");
}

static void g51_a_kill_at_any_point_leaves_all_or_nothing(void **state)
{
    static const char *const points[] = { "begun", "wrote", "sent", "committed" };
    world                   *w        = *state;

    prepare(w);
    for (int i = 0; i < 4; i++) {
        const char *const arguments[] = { LEASE, points[i], NULL };
        const char *const others[]    = { LEASE, "never", NULL };
        process           p;
        int64_t           id     = trigger(w, "flow", "{}");
        const int64_t     before = 3 * i;

        process_start(&p, w, "tx_holder", arguments);
        hear(&p, points[i]);
        process_signal(&p, SIGKILL);
        (void)process_end(&p);
        assert_done(w, before + (i == 3 ? 1 : 0));

        /* Whoever takes it over does what is not done, and nothing twice. */
        process_start(&p, w, "tx_holder", others);
        while (run_record(w, id).status != PGQRS_RUN_SUCCESS)
            hear(&p, "idle");
        process_signal(&p, SIGKILL);
        (void)process_end(&p);
        assert_done(w, before + 3);
    }
}

static void g51_processes_that_are_killed_all_the_time_do_everything_once(void **state)
{
    world            *w           = *state;
    const char *const arguments[] = { LEASE, "never", NULL };
    process           p[2]        = { 0 };
    uint64_t          random      = 7;
    int               kills       = 0;

    prepare(w);
    for (int i = 0; i < RUNS; i++)
        (void)trigger(w, "flow", "{}");
    for (int i = 0; i < 2; i++)
        process_start(&p[i], w, "tx_holder", arguments);
    while (sql_number(w, "SELECT count(*) FROM pgqrs_archive") < RUNS) {
        const int64_t i = random_below(&random, 2);

        sleep_us(10 * PGQRS_MILLISECOND + random_below(&random, 60 * PGQRS_MILLISECOND));
        if (kills >= 40)
            continue;
        process_signal(&p[i], SIGKILL);
        (void)process_end(&p[i]);
        process_start(&p[i], w, "tx_holder", arguments);
        kills++;
    }
    for (int i = 0; i < 2; i++) {
        process_signal(&p[i], SIGKILL);
        (void)process_end(&p[i]);
    }
    print_message("%d kills, %d runs\n", kills, RUNS);
    /* A run whose attempts are used up by kills is dead; what it did, it did once. */
    const int64_t steps = sql_number(w, "SELECT count(*) FROM pgqrs_steps WHERE status = 1");
    assert_done(w, steps);
    assert_int_equal(steps, sql_number(w, "SELECT count(DISTINCT name) FROM effects"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_steps WHERE status <> 1"));
    assert_true(steps >= 2 * RUNS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_REAL(g51_a_kill_at_any_point_leaves_all_or_nothing),
        CASE_REAL(g51_processes_that_are_killed_all_the_time_do_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
