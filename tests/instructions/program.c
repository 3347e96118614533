/* What test_instructions.py counts the instructions of.
 *
 *     program DSN SCHEMA prepare          install, a queue with messages, a workflow
 *     program DSN SCHEMA enqueue COUNT    so many enqueues, one by one
 *     program DSN SCHEMA drain COUNT      so many batches of 100: claim, finish
 *     program DSN SCHEMA steps COUNT      so many steps of 64 runs each, those of all runs at once
 *
 * The clock stands still, so that nothing depends on how long something takes. */
#include <pgqrs/pgqrs.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD "{\"task\":\"send_email\",\"to\":\"user@example.com\",\"n\":1234567}"
#define FILL    8000
#define BATCH   100
#define RUNS    64

static pgqrs_error error;

static int64_t still(void *user_data)
{
    (void)user_data;
    return INT64_C(1800000000000000);
}

static bool prepare(pgqrs_store *store)
{
    static const char *payloads[FILL];

    for (size_t i = 0; i < FILL; i++)
        payloads[i] = PAYLOAD;
    return pgqrs_install(store, &error) == PGQRS_OK
           && pgqrs_queue_ensure(store, "orders", NULL, &error) == PGQRS_OK
           && pgqrs_workflow_ensure(store, "flow", NULL, &error) == PGQRS_OK
           && pgqrs_enqueue_many(store, "orders", payloads, FILL, NULL, NULL, &error) == PGQRS_OK;
}

static bool enqueue(pgqrs_store *store, int count)
{
    for (int i = 0; i < count; i++)
        if (pgqrs_enqueue(store, "orders", PAYLOAD, NULL, NULL, &error) != PGQRS_OK)
            return false;
    return true;
}

static bool drain(pgqrs_store *store, int count)
{
    const pgqrs_message *all[BATCH];

    for (int i = 0; i < count; i++) {
        pgqrs_messages *batch = NULL;
        bool            good;

        if (pgqrs_claim(store, "orders", PGQRS_OPTIONS(claim, .limit = BATCH), &batch, &error)
            != PGQRS_OK)
            return false;
        if (pgqrs_messages_count(batch) != BATCH)
            error = (pgqrs_error){ .message = "too few messages" };
        for (size_t k = 0; k < pgqrs_messages_count(batch); k++)
            all[k] = pgqrs_messages_at(batch, k);
        good = pgqrs_messages_count(batch) == BATCH
               && pgqrs_archive_many(store, all, BATCH, NULL, &error) == PGQRS_OK;
        pgqrs_messages_free(batch);
        if (!good)
            return false;
    }
    return true;
}

static bool take_runs(pgqrs_store *store, pgqrs_run *runs[RUNS])
{
    pgqrs_messages *batch = NULL;
    bool            good  = true;

    for (size_t i = 0; good && i < RUNS; i++)
        good = pgqrs_trigger(store, "flow", PAYLOAD, NULL, NULL, &error) == PGQRS_OK;
    good = good
           && pgqrs_claim(store, "flow", PGQRS_OPTIONS(claim, .limit = RUNS), &batch, &error)
                  == PGQRS_OK
           && pgqrs_messages_count(batch) == RUNS;
    for (size_t i = 0; good && i < RUNS; i++)
        good = pgqrs_run_from(store, batch, i, &runs[i], &error) == PGQRS_OK;
    pgqrs_messages_free(batch);
    return good;
}

static bool step_of_all(pgqrs_store *store, pgqrs_run *runs[RUNS], int number)
{
    pgqrs_batch *tick = pgqrs_batch_new(store);
    char         name[32];
    bool         good = tick != NULL;

    (void)snprintf(name, sizeof(name), "step_%d", number);
    pgqrs_batch_independent(tick);
    for (size_t i = 0; good && i < RUNS; i++) {
        pgqrs_step *step = NULL;

        good = pgqrs_step_begin(runs[i], name, NULL, &step) == PGQRS_OK;
        if (good)
            (void)pgqrs_batch_step_succeed(tick, step, "{\"status\":\"done\",\"rows\":42}");
        else
            error = *pgqrs_run_error(runs[i]);
    }
    good = good && pgqrs_batch_commit(tick, &error) == PGQRS_OK;
    pgqrs_batch_free(tick);
    return good;
}

static bool steps(pgqrs_store *store, int count)
{
    pgqrs_run *runs[RUNS] = { NULL };
    bool       good       = take_runs(store, runs);

    for (int i = 0; good && i < count; i++)
        good = step_of_all(store, runs, i);
    for (size_t i = 0; i < RUNS; i++) {
        good = good && pgqrs_run_succeed(runs[i], NULL) == PGQRS_OK;
        pgqrs_run_free(runs[i]);
    }
    return good;
}

int main(int argc, char **argv)
{
    pgqrs_store_options options = PGQRS_OPTIONS_INIT(store);
    pgqrs_store        *store   = NULL;
    const int           count   = argc > 4 ? atoi(argv[4]) : 0;
    bool                good;

    if (argc < 4)
        return 2;
    options.schema = strcmp(argv[2], "-") == 0 ? NULL : argv[2];
    options.clock  = (pgqrs_clock){ .wall_us = still, .monotonic_us = still };
    good           = pgqrs_open(argv[1], &options, &store, &error) == PGQRS_OK;
    if (good && strcmp(argv[3], "prepare") == 0)
        good = prepare(store);
    else if (good && strcmp(argv[3], "enqueue") == 0)
        good = enqueue(store, count);
    else if (good && strcmp(argv[3], "drain") == 0)
        good = drain(store, count);
    else if (good && strcmp(argv[3], "steps") == 0)
        good = steps(store, count);
    pgqrs_close(store);
    if (!good)
        (void)fprintf(stderr, "%s: %s: %s\n", argv[3], error.message, error.detail);
    return good ? 0 : 1;
}
