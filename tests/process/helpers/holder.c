/* Holds something, and does with it what it is told to.
 *
 *     holder DSN SCHEMA message|run QUEUE LEASE_US
 *
 * It claims one message or run (of a run it begins step "a"), says "held ID LEASE ATTEMPT" and
 * takes orders from its standard input, answering each with the name of the status. */
#include "support/processes.h"

#include <stdlib.h>

static pgqrs_store         *store;
static const pgqrs_message *held;
static pgqrs_run           *run;
static pgqrs_step          *step;

static pgqrs_status obey(const char *order)
{
    pgqrs_step  *other = NULL;
    pgqrs_error  error;
    pgqrs_status statuses[1];

    if (strcmp(order, "archive") == 0)
        return pgqrs_archive(store, held, &error);
    if (strcmp(order, "archive_many") == 0) {
        const pgqrs_status rc = pgqrs_archive_many(store, &held, 1, statuses, &error);
        return rc != PGQRS_OK ? rc : statuses[0];
    }
    if (strcmp(order, "delete") == 0)
        return pgqrs_delete(store, held, &error);
    if (strcmp(order, "release") == 0)
        return pgqrs_release(store, held, NULL, &error);
    if (strcmp(order, "retry") == 0)
        return pgqrs_retry(store, held, "LATE", "late", &error);
    if (strcmp(order, "dead_letter") == 0)
        return pgqrs_dead_letter(store, held, "LATE", "late", &error);
    if (strcmp(order, "extend") == 0)
        return pgqrs_extend(store, held, 60 * PGQRS_SECOND, &error);
    if (strcmp(order, "step_succeed") == 0)
        return pgqrs_step_succeed(step, "{\"by\":\"holder\"}");
    if (strcmp(order, "step_begin") == 0)
        return pgqrs_step_begin(run, "b", NULL, &other);
    if (strcmp(order, "run_succeed") == 0)
        return pgqrs_run_succeed(run, "{\"by\":\"holder\"}");
    if (strcmp(order, "run_fail") == 0)
        return pgqrs_run_fail(run, "LATE", "late");
    if (strcmp(order, "run_pause") == 0)
        return pgqrs_run_pause(run, "late", PGQRS_SECOND);
    return PGQRS_EINVAL;
}

static bool hold(const char *what, const char *queue, int64_t lease_us, pgqrs_messages **messages)
{
    pgqrs_error error;

    if (pgqrs_claim(store, queue, PGQRS_OPTIONS(claim, .lease_us = lease_us), messages, &error)
            != PGQRS_OK
        || pgqrs_messages_count(*messages) != 1)
        return false;
    held = pgqrs_messages_at(*messages, 0);
    return strcmp(what, "run") != 0
           || (pgqrs_run_from(store, *messages, 0, &run, &error) == PGQRS_OK
               && pgqrs_step_begin(run, "a", NULL, &step) == PGQRS_OK);
}

int main(int argc, char **argv)
{
    pgqrs_messages *messages = NULL;
    char            order[64];

    store = helper_open(argc, argv, NULL);
    if (argc != 6 || !hold(argv[3], argv[4], strtoll(argv[5], NULL, 10), &messages))
        return 1;
    (void)printf("held %lld %lld %d\n", (long long)held->id, (long long)held->lease, held->attempt);
    (void)fflush(stdout);
    while (fgets(order, sizeof(order), stdin) != NULL) {
        order[strcspn(order, "\n")] = '\0';
        (void)puts(pgqrs_status_name(obey(order)));
        (void)fflush(stdout);
    }
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
    pgqrs_close(store);
    return 0;
}
