/* Exactly once: money is moved between two rows of the user's own table, and the step that did it
 * is recorded, in one commit. However often this program crashes and is run again, it moves it
 * once.
 *
 *     transfer DSN            postgresql://… or sqlite://…
 *     transfer DSN crash      die in the middle of the step
 */
#include <libpq-fe.h>
#include <pgqrs/pgqrs.h>
#include <pgqrs/postgres.h>
#include <pgqrs/sqlite.h>
#include <pgqrs/workflow.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int crash;

/* SQL in the step's transaction: by the one database or the other. */
static pgqrs_status sql(pgqrs_step *step, const char *text)
{
    PGconn   *pg = pgqrs_step_pgconn(step);
    PGresult *result;
    int       ok;

    if (pg == NULL)
        return sqlite3_exec(pgqrs_step_sqlite3(step), text, NULL, NULL, NULL) == SQLITE_OK
                   ? PGQRS_OK
                   : PGQRS_EDB;
    result = PQexec(pg, text);
    ok     = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return ok ? PGQRS_OK : PGQRS_EDB;
}

static int first_row(void *out, int columns, char **values, char **names)
{
    (void)columns;
    (void)names;
    snprintf(out, 64, "%s", values[0]);
    return 0;
}

static void sql_value(pgqrs_step *step, const char *text, char out[64])
{
    PGconn   *pg = pgqrs_step_pgconn(step);
    PGresult *result;

    out[0] = '\0';
    if (pg == NULL) {
        sqlite3_exec(pgqrs_step_sqlite3(step), text, first_row, out, NULL);
        return;
    }
    result = PQexec(pg, text);
    if (PQntuples(result) == 1)
        snprintf(out, 64, "%s", PQgetvalue(result, 0, 0));
    PQclear(result);
}

PGQRS_WORKFLOW(transfer, run)
{
    const char *balances;
    char        ada[64], bob[64];

    PGQRS_STEP_TX(run, "open accounts", NULL) {
        PGQRS_TRY(sql(step, "CREATE TABLE IF NOT EXISTS accounts (name text PRIMARY KEY,"
                            " amount bigint NOT NULL)"));
        PGQRS_TRY(sql(step, "INSERT INTO accounts VALUES ('ada', 100), ('bob', 0)"));
        PGQRS_TRY(pgqrs_step_succeed(step, NULL));
    }

    PGQRS_STEP_TX(run, "move", NULL) {
        PGQRS_TRY(sql(step, "UPDATE accounts SET amount = amount - 30 WHERE name = 'ada'"));
        if (crash)
            abort(); /* nothing of this step is there after it */
        PGQRS_TRY(sql(step, "UPDATE accounts SET amount = amount + 30 WHERE name = 'bob'"));
        PGQRS_TRY(
            pgqrs_step_enqueue(step, "receipts", "{\"to\":\"bob\",\"amount\":30}", NULL, NULL));
        PGQRS_TRY(pgqrs_step_succeed(step, NULL)); /* all of it, and its record: one commit */
    }

    PGQRS_STEP_TX(run, "balances", &balances) {
        sql_value(step, "SELECT amount FROM accounts WHERE name = 'ada'", ada);
        sql_value(step, "SELECT amount FROM accounts WHERE name = 'bob'", bob);
        PGQRS_TRY(
            pgqrs_step_succeed(step, pgqrs_run_printf(run, "{\"ada\":%s,\"bob\":%s}", ada, bob)));
    }
    return pgqrs_run_succeed(run, balances);
}

/* Work until the run has ended. What a crashed process held comes back when its lease has passed.
 */
static pgqrs_status work(pgqrs_store *store, int64_t id, pgqrs_error *error)
{
    pgqrs_worker      *worker = NULL;
    pgqrs_run_records *runs   = NULL;
    pgqrs_status       rc;

    rc = pgqrs_worker_new(store, PGQRS_OPTIONS(worker, .exit_when_idle = 1), &worker, error);
    if (rc == PGQRS_OK)
        rc = pgqrs_worker_on_run(worker, "transfer", transfer, NULL, NULL);
    while (rc == PGQRS_OK && runs == NULL) {
        rc = pgqrs_worker_run(worker, error);
        if (rc == PGQRS_OK)
            rc = pgqrs_run_wait(store, id, 50 * PGQRS_MILLISECOND, &runs, error);
        if (rc == PGQRS_ETIMEDOUT) /* held by the process that crashed, a while yet */
            rc = PGQRS_OK;
    }
    if (runs != NULL)
        printf("%s\n", pgqrs_run_records_at(runs, 0)->output);
    pgqrs_run_records_free(runs);
    pgqrs_worker_free(worker);
    return rc;
}

int main(int argc, char **argv)
{
    pgqrs_error  error;
    pgqrs_store *store = NULL;
    int64_t      id;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: transfer DSN [crash]\n");
        return 2;
    }
    crash = argc == 3 && strcmp(argv[2], "crash") == 0;
    if (pgqrs_open(argv[1], NULL, &store, &error) != PGQRS_OK
        || pgqrs_install(store, &error) != PGQRS_OK
        || pgqrs_queue_ensure(store, "receipts", NULL, &error) != PGQRS_OK
        || pgqrs_workflow_ensure(store, "transfer", PGQRS_OPTIONS(queue, .lease_us = PGQRS_SECOND),
                                 &error)
               != PGQRS_OK
        || pgqrs_trigger(store, "transfer", "{}", PGQRS_OPTIONS(enqueue, .key = "the one"), &id,
                         &error)
               != PGQRS_OK
        || work(store, id, &error) != PGQRS_OK)
        fprintf(stderr, "%s\n%s\n", error.message, error.hint);
    pgqrs_close(store);
    return error.status == PGQRS_OK ? 0 : 1;
}
