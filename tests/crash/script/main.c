/* One process of the crash tests (tests/crash/test_crash.c): a script that calls every function of
 * the public API that speaks with the database, in an order that is always the same.
 *
 *     crash_worker DSN SCHEMA PART LOG AHEAD_US [drain]
 *
 * PART: install, queues, messages, runs, workers, adopted, batches. AHEAD_US: how far its clock is
 * ahead. With `drain` it takes over afterwards whatever is left, from itself or from one that was
 * killed, and brings it to its end. What it does is written down as in a storm (support/storm.h).
 * At its end it says how many failpoints it has passed: "points N". */
#include "crash/script/script.h"

#include <fcntl.h>
#include <stdlib.h>

static void drain_queue(const char *queue)
{
    for (size_t count = 1; count > 0;) {
        pgqrs_messages *messages = take(queue, 100, 0);

        count = pgqrs_messages_count(messages);
        for (size_t i = 0; i < count; i++)
            end_one(pgqrs_messages_at(messages, i), "archive", pgqrs_archive);
        pgqrs_messages_free(messages);
    }
}

static void drain_workflow(const char *workflow, char letter)
{
    for (size_t count = 1; count > 0;) {
        pgqrs_messages *messages = take(workflow, 100, 0);

        count = pgqrs_messages_count(messages);
        for (size_t i = 0; i < count; i++) {
            pgqrs_run   *run = NULL;
            pgqrs_status rc;

            (void)EXPECT(OK, pgqrs_run_from(store, messages, i, &run, &failed));
            rc = run == NULL ? PGQRS_EINTERNAL : do_steps(run, letter, 1, 2, now());
            if (rc == PGQRS_OK && letter == 'w')
                rc = EXPECT_RUN(OK, run, pgqrs_run_sleep(run, "w3", 1));
            if (rc == PGQRS_EPAUSED)
                let_pass(PGQRS_MINUTE);
            if (rc == PGQRS_OK)
                rc = do_steps(run, letter, letter == 'w' ? 4 : 3, STORM_STEPS, now());
            if (rc == PGQRS_OK)
                succeed(run);
            else if (rc == PGQRS_EEXHAUSTED)
                (void)EXPECT_RUN(OK, run, pgqrs_run_fail(run, "CRASH", "never"));
            pgqrs_run_free(run);
        }
        pgqrs_messages_free(messages);
    }
}

static void drain(const char *part)
{
    let_pass(7 * PGQRS_HOUR); /* what the script itself has left: leases, delays */
    if (strcmp(part, "install") != 0) {
        drain_workflow("wide", 'w'); /* which sends to the others */
        drain_workflow("line", 's');
        drain_pairs(); /* which sends, too */
        drain_queue("frail");
        drain_queue("hot");
        drain_queue("loop");
    }
    drain_queue("plain");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*play)(void);
    } parts[] = {
        { "install", part_install }, { "queues", part_queues },   { "messages", part_messages },
        { "runs", part_runs },       { "workers", part_workers }, { "adopted", part_adopted },
        { "batches", part_batches },
    };
    const pgqrs_store_options options = { .struct_size = sizeof(options),
                                          .clock       = { wall_clock, monotonic_clock, NULL } };

    if (argc < 6)
        return 2;
    log_fd = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return 2;
    let_pass(strtoll(argv[5], NULL, 10));
    again  = argc > 6;
    dsn    = argv[1];
    schema = argv[2];
    store  = helper_open(argc, argv, &options);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (strcmp(parts[i].name, argv[3]) == 0)
            parts[i].play();
    if (again)
        drain(argv[3]);
    pgqrs_close(store);
    (void)printf("points %ld\n", pgqrs__failpoint_count());
    return 0;
}
