/* Runs by hand: straight ones, and those that retry, sleep, pause, fail and are cancelled. */
#include "crash/script/script.h"

#include <unistd.h>

static pgqrs_run *take_run(int64_t id, pgqrs_messages **messages)
{
    pgqrs_run *run = NULL;

    *messages = take_id(id);
    if (pgqrs_messages_count(*messages) == 1)
        (void)EXPECT(OK, pgqrs_run_from(store, *messages, 0, &run, &failed));
    return run;
}

/* Step 4 of "wide" is transactional, and step 5 sends something with its record. */
static pgqrs_status begin_step(pgqrs_run *run, char letter, int i, pgqrs_step **step)
{
    const pgqrs_step_options options = { .struct_size = sizeof(options), .now_us = now() };
    char                     name[8], payload[48];
    pgqrs_status             rc;

    (void)snprintf(name, sizeof(name), "%c%d", letter, i);
    (void)snprintf(payload, sizeof(payload), "{\"of\":%lld}", (long long)pgqrs_run_id(run));
    if (letter != 'w' || i < 4 || i > 5)
        return EXPECT_RUN(OK, run, pgqrs_step_begin(run, name, &options, step));
    rc = i == 4 ? EXPECT_RUN(OK, run, pgqrs_step_begin_tx(run, name, &options, step))
                : EXPECT_RUN(OK, run, pgqrs_step_begin(run, name, &options, step));
    if (rc != PGQRS_OK || pgqrs_step_recorded(*step))
        return rc;
    rc = EXPECT_RUN(OK, run,
                    pgqrs_step_enqueue(*step, i == 4 ? "hot" : "loop", payload, NULL, NULL));
    if (rc == PGQRS_OK && i == 4)
        rc = EXPECT_RUN(OK, run, pgqrs_step_trigger(*step, "line", payload, NULL, NULL));
    return rc;
}

/* Steps @p from to @p to, those that are not recorded yet. */
pgqrs_status do_steps(pgqrs_run *run, char letter, int from, int to, int64_t began_us)
{
    const pgqrs_message *m = pgqrs_run_message(run);

    for (int i = from; i <= to; i++) {
        char               own[48];
        pgqrs_step        *step  = NULL;
        const pgqrs_status begun = begin_step(run, letter, i, &step);

        if (begun != PGQRS_OK)
            return begun;
        if (pgqrs_step_recorded(step))
            continue;
        note("executed %lld %lld %lld %s", (long long)m->id, (long long)m->lease,
             (long long)began_us, pgqrs_step_name(step));
        (void)snprintf(own, sizeof(own), "{\"by\":\"%ld\"}", (long)getpid());
        const pgqrs_status done = EXPECT_RUN(OK, run, pgqrs_step_succeed(step, own));
        if (done != PGQRS_OK)
            return done;
        note("recorded %lld %lld %d %s %s", (long long)m->id, (long long)m->lease,
             strcmp(pgqrs_step_output(step), own) == 0, pgqrs_step_name(step),
             pgqrs_step_output(step));
    }
    return PGQRS_OK;
}

void succeed(pgqrs_run *run)
{
    const pgqrs_message m = *pgqrs_run_message(run);

    asked(m.id, m.lease, "run_succeed");
    answered(m.id, m.lease, EXPECT_RUN(OK, run, pgqrs_run_succeed(run, "{\"done\":true}")),
             "run_succeed");
}

static void straight_run(void)
{
    pgqrs_messages *messages;
    const int64_t   id  = start("line");
    pgqrs_run      *run = take_run(id, &messages);

    if (run != NULL) {
        (void)EXPECT_RUN(OK, run, pgqrs_run_start(run));
        if (do_steps(run, 's', 1, STORM_STEPS, now()) == PGQRS_OK)
            succeed(run);
    }
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
}

/* What a loop of one's own does when a step is tried again later. */
static void settle(pgqrs_run *run)
{
    const pgqrs_message *m = pgqrs_run_message(run);

    asked(m->id, m->lease, "release");
    answered(m->id, m->lease, EXPECT_RUN(OK, run, pgqrs_run_settle(run, PGQRS_ENOTREADY)),
             "release");
}

/* A run that retries, sleeps, pauses and is woken. */
static void winding_run(void)
{
    pgqrs_messages *messages;
    pgqrs_step     *step = NULL;
    const int64_t   id   = start("wide");
    pgqrs_run      *run  = take_run(id, &messages);

    if (run != NULL && do_steps(run, 'w', 1, 1, now()) == PGQRS_OK
        && EXPECT_RUN(OK, run, pgqrs_step_begin(run, "w2", NULL, &step)) == PGQRS_OK
        && EXPECT_RUN(1u << PGQRS_ENOTREADY, run,
                      pgqrs_step_retry(step, "CRASH", "again", PGQRS_MINUTE))
               == PGQRS_ENOTREADY)
        settle(run);
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
    let_pass(PGQRS_HOUR);

    run = take_run(id, &messages);
    if (run != NULL && do_steps(run, 'w', 1, 2, now()) == PGQRS_OK)
        (void)EXPECT_RUN(1u << PGQRS_EPAUSED, run, pgqrs_run_sleep(run, "w3", PGQRS_HOUR));
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
    let_pass(2 * PGQRS_HOUR);

    run = take_run(id, &messages);
    if (run != NULL && do_steps(run, 'w', 1, 2, now()) == PGQRS_OK
        && EXPECT_RUN(OK, run, pgqrs_run_sleep(run, "w3", PGQRS_HOUR)) == PGQRS_OK
        && !pgqrs_run_cancelled(run))
        (void)EXPECT_RUN(1u << PGQRS_EPAUSED, run, pgqrs_run_pause(run, "crash", PGQRS_DAY));
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);

    run = NULL;
    (void)EXPECT(OK, pgqrs_run_open(store, id, &run, &failed));
    if (run != NULL && EXPECT_RUN(OK, run, pgqrs_run_start(run)) == PGQRS_OK) {
        const pgqrs_message *m = pgqrs_run_message(run);
        note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
        if (do_steps(run, 'w', 1, 2, now()) == PGQRS_OK
            && EXPECT_RUN(OK, run, pgqrs_run_sleep(run, "w3", PGQRS_HOUR)) == PGQRS_OK
            && do_steps(run, 'w', 4, STORM_STEPS, now()) == PGQRS_OK)
            succeed(run);
    }
    pgqrs_run_free(run);
}

static void failing_run(void)
{
    pgqrs_messages *messages;
    pgqrs_step     *step = NULL;
    const int64_t   id   = start("line");
    pgqrs_run      *run  = take_run(id, &messages);

    if (run != NULL && EXPECT_RUN(OK, run, pgqrs_step_begin(run, "s1", NULL, &step)) == PGQRS_OK) {
        (void)EXPECT_RUN(1u << PGQRS_EEXHAUSTED, run, pgqrs_step_fail(step, "CRASH", "never"));
        asked(id, pgqrs_run_message(run)->lease, "run_fail");
        answered(id, pgqrs_run_message(run)->lease,
                 EXPECT_RUN(OK, run, pgqrs_run_fail(run, "CRASH", "never")), "run_fail");
    }
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
}

static void cancelled_run(void)
{
    pgqrs_run    *run = NULL;
    const int64_t id  = start("line");

    (void)EXPECT(OK, pgqrs_run_open(store, id, &run, &failed));
    if (run == NULL)
        return;
    asked(id, 0, "cancel");
    answered(id, 0, EXPECT_RUN(OK, run, pgqrs_run_cancel(run)), "cancel");
    pgqrs_run_free(run);
}

void part_runs(void)
{
    pgqrs_run_records  *runs  = NULL;
    pgqrs_step_records *steps = NULL;

    straight_run();
    winding_run();
    failing_run();
    cancelled_run();
    (void)EXPECT(OK, pgqrs_run_list(store, "line", NULL, &runs, &failed));
    const int64_t id =
        pgqrs_run_records_count(runs) > 0 ? pgqrs_run_records_at(runs, 0)->id : start("line");
    pgqrs_run_records_free(runs);
    (void)EXPECT(OK, pgqrs_run_get(store, id, &runs, &failed));
    pgqrs_run_records_free(runs);
    (void)EXPECT(OK | 1u << PGQRS_ETIMEDOUT, pgqrs_run_wait(store, id, 1, &runs, &failed));
    pgqrs_run_records_free(runs);
    (void)EXPECT(OK, pgqrs_step_list(store, id, &steps, &failed));
    pgqrs_step_records_free(steps);
}
