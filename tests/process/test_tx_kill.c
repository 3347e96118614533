/* kill -9 in the middle of a transactional step: effect, messages and record are there, or none is.
 */
#include "support/peek.h"
#include "support/processes.h"

#include <signal.h>

#define LEASE "300000"
#define RUNS  60
#define KILLS 40

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

/* With Turso one process at a time has the file: this one has it between the others. */
static void step_back(world *w)
{
    if (w->turso)
        world_close(w, w->store);
}

static void come_back(world *w)
{
    if (w->turso)
        w->store = world_open(w);
}

static void end_by_force(process *p)
{
    process_signal(p, SIGKILL);
    (void)process_end(p);
}

static bool is_done(world *w, int64_t id)
{
    return run_record(w, id).status == PGQRS_RUN_SUCCESS;
}

/* Let others work until the run is done. */
static void let_others_end(world *w, int64_t id)
{
    const char *const arguments[] = { LEASE, "never", NULL };
    process           p           = { 0 };

    do {
        step_back(w);
        process_start(&p, w, "tx_holder", arguments);
        do
            hear(&p, "idle");
        while (!w->turso && !is_done(w, id));
        end_by_force(&p);
        come_back(w);
    } while (!is_done(w, id));
}

static void g51_a_kill_at_any_point_leaves_all_or_nothing(void **state)
{
    static const char *const points[] = { "begun", "wrote", "sent", "committed" };
    world                   *w        = *state;

    prepare(w);
    for (int i = 0; i < 4; i++) {
        const char *const arguments[] = { LEASE, points[i], NULL };
        process           p;
        int64_t           id     = trigger(w, "flow", "{}");
        const int64_t     before = 3 * i;

        step_back(w);
        process_start(&p, w, "tx_holder", arguments);
        hear(&p, points[i]);
        end_by_force(&p);
        come_back(w);
        assert_done(w, before + (i == 3 ? 1 : 0));

        /* Whoever takes it over does what is not done, and nothing twice. */
        let_others_end(w, id);
        assert_done(w, before + 3);
    }
}

static int64_t archived(world *w)
{
    return sql_number(w, "SELECT count(*) FROM pgqrs_archive");
}

/* @return how often somebody was killed, until every run has ended */
static int kill_two(world *w)
{
    const char *const arguments[] = { LEASE, "never", NULL };
    process           p[2]        = { 0 };
    uint64_t          random      = 7;
    int               kills       = 0;

    for (int i = 0; i < 2; i++)
        process_start(&p[i], w, "tx_holder", arguments);
    while (archived(w) < RUNS) {
        const int64_t i = random_below(&random, 2);

        sleep_us(10 * PGQRS_MILLISECOND + random_below(&random, 60 * PGQRS_MILLISECOND));
        if (kills >= KILLS)
            continue;
        end_by_force(&p[i]);
        process_start(&p[i], w, "tx_holder", arguments);
        kills++;
    }
    for (int i = 0; i < 2; i++)
        end_by_force(&p[i]);
    return kills;
}

static int kill_the_one(world *w)
{
    const char *const arguments[] = { LEASE, "never", NULL };
    uint64_t          random      = 7;
    int               kills       = 0;

    step_back(w);
    for (; archived(w) < RUNS; kills++) {
        const int64_t most_us = kills < KILLS ? 60 * PGQRS_MILLISECOND : PGQRS_SECOND;
        process       p       = { 0 };

        process_start(&p, w, "tx_holder", arguments);
        sleep_us(10 * PGQRS_MILLISECOND + random_below(&random, most_us));
        end_by_force(&p);
    }
    come_back(w);
    return kills;
}

static void g51_processes_that_are_killed_all_the_time_do_everything_once(void **state)
{
    world *w = *state;

    prepare(w);
    for (int i = 0; i < RUNS; i++)
        (void)trigger(w, "flow", "{}");
    const int kills = w->turso ? kill_the_one(w) : kill_two(w);
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
