/* Does transactional steps, and stops where it is told to, to be killed there.
 *
 *     tx_holder DSN SCHEMA LEASE_US POINT
 *
 * It takes a run of workflow "flow" and does its step "charge": an effect of its own, a message, a
 * run. Having come to POINT (begun, wrote, sent, committed) it says so and waits. With POINT
 * "never" it works on runs of three such steps until there are none, says "idle", and looks again.
 */
#include "support/processes.h"
#include "support/user.h"

#include <pgqrs/workflow.h>

#include <stdlib.h>

static world       here; /* where step_try() looks */
static const char *stop_at;

static void come_to(const char *point)
{
    char line[8];

    if (strcmp(point, stop_at) != 0)
        return;
    (void)puts(point);
    (void)fflush(stdout);
    (void)fgets(line, sizeof(line), stdin);
    exit(0);
}

static pgqrs_status charge(pgqrs_step *step)
{
    char sql[200];

    come_to("begun");
    (void)snprintf(sql, sizeof(sql), "INSERT INTO effects (name) VALUES ('%s')",
                   pgqrs_step_key(step));
    if (!step_try(&here, step, sql))
        return PGQRS_EDB;
    come_to("wrote");
    PGQRS_TRY(pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    PGQRS_TRY(pgqrs_step_trigger(step, "child", "{}", NULL, NULL));
    come_to("sent");
    PGQRS_TRY(pgqrs_step_succeed(step, "\"paid\""));
    come_to("committed");
    return PGQRS_OK;
}

static PGQRS_WORKFLOW(flow, run)
{
    for (int i = 0; i < (strcmp(stop_at, "never") == 0 ? 3 : 1); i++)
        PGQRS_STEP_TX(run, "charge", NULL) {
            PGQRS_TRY(charge(step));
        }
    return pgqrs_run_succeed(run, NULL);
}

int main(int argc, char **argv)
{
    pgqrs_store *store = helper_open(argc, argv, NULL);
    pgqrs_error  error;

    if (argc != 5)
        return 1;
    here.turso    = strncmp(argv[1], "turso:", strlen("turso:")) == 0;
    here.postgres = !here.turso && strncmp(argv[1], "sqlite:", strlen("sqlite:")) != 0;
    (void)snprintf(here.schema, sizeof(here.schema), "%s", argv[2]);
    stop_at = argv[4];
    for (;;) {
        pgqrs_worker *worker = NULL;

        if (pgqrs_worker_new(store, PGQRS_OPTIONS(worker, .exit_when_idle = 1), &worker, &error)
                != PGQRS_OK
            || pgqrs_worker_on_run(
                   worker, "flow", flow, NULL,
                   PGQRS_OPTIONS(work, .concurrency = 3, .lease_us = strtoll(argv[3], NULL, 10)))
                   != PGQRS_OK
            || pgqrs_worker_run(worker, &error) != PGQRS_OK)
            return 1;
        pgqrs_worker_free(worker);
        (void)puts("idle");
        (void)fflush(stdout);
        sleep_us(20 * PGQRS_MILLISECOND);
    }
}
