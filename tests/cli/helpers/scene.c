/* What the program is tested against, made through the library:
 *
 *     scene DSN SCHEMA populate        messages and runs in every state; prints their ids as JSON
 *     scene DSN SCHEMA many QUEUE N    N messages {"n":0} …
 *     scene DSN SCHEMA runs WORKFLOW N N runs that nobody works on
 *     scene DSN SCHEMA run-with N      a run of "long" with N steps; prints its id
 *     scene DSN SCHEMA sleeper asleep|woken  a run that sleeps an hour; prints its id
 *     scene DSN SCHEMA sql             run the SQL on standard input
 *     scene DSN SCHEMA hold            say its process, and have the store until the input ends
 *
 * SCHEMA is "-" for files. The clock begins at 2025-01-31T12:00:00Z and moves as the scene says.
 */
#include <pgqrs/pgqrs.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/raw_turso.h"

#ifdef PGQRS_HAVE_POSTGRES
#include <libpq-fe.h>
#endif
#ifdef PGQRS_HAVE_SQLITE
#include <sqlite3.h>
#endif

/* The store's own thread looks at it, too. */
static _Atomic(int64_t) now = INT64_C(1738324800) * PGQRS_SECOND;
static pgqrs_store     *store;
static pgqrs_error      error;

static int64_t clock_now(void *user_data)
{
    (void)user_data;
    return now;
}

static void must(pgqrs_status status, pgqrs_status expected, const char *what)
{
    if (status == expected)
        return;
    (void)fprintf(stderr, "scene: %s: %s, %s %s\n", what, pgqrs_status_name(status), error.message,
                  error.detail);
    exit(1);
}

#define OK(call)               must((call), PGQRS_OK, #call)
#define EXPECT(expected, call) must((call), (expected), #call)

static void told(const char *name, int64_t id)
{
    static bool begun;

    (void)printf("%s\"%s\":%" PRId64, begun ? "," : "{", name, id);
    begun = true;
}

/* --- Messages --------------------------------------------------------------------------------- */

static int64_t put(const char *payload, const pgqrs_enqueue_options *options)
{
    int64_t id;

    OK(pgqrs_enqueue(store, "tasks", payload, options, &id, &error));
    return id;
}

/* Claim one message by its id. */
static pgqrs_messages *claim(int64_t id, int64_t worker)
{
    pgqrs_messages *messages;

    OK(pgqrs_claim_id(store, id, PGQRS_OPTIONS(claim, .owner = worker, .lease_us = PGQRS_DAY),
                      &messages, &error));
    return messages;
}

static void messages_in_every_state(int64_t worker)
{
    pgqrs_messages *held;
    int64_t         id;

    told("ready",
         put("{\"task\":\"send\", \"price\":1.10, \"n\":12345678901234567890}",
             PGQRS_OPTIONS(enqueue, .headers = "{\"trace\":\"abc\"}", .producer = worker)));
    told("wide", put("{\"text\":\"\xe6\xbc\xa2\xe5\xad\x97\xf0\x9f\x90\x98 \xc2\x9b[31m\"}", NULL));
    told("scheduled", put("2", PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR)));
    told("leased", id = put("3", PGQRS_OPTIONS(enqueue, .priority = 1)));
    pgqrs_messages_free(claim(id, worker));
    told("done", id = put("4", NULL));
    held = claim(id, worker);
    OK(pgqrs_archive(store, pgqrs_messages_at(held, 0), &error));
    pgqrs_messages_free(held);
    told("dead", id = put("{\"task\":\"explode\"}", NULL));
    held = claim(id, worker);
    OK(pgqrs_dead_letter(store, pgqrs_messages_at(held, 0), "BOOM", "it blew up\033[2J", &error));
    pgqrs_messages_free(held);
    told("dead_too", id = put("6", NULL));
    held = claim(id, worker);
    OK(pgqrs_dead_letter(store, pgqrs_messages_at(held, 0), "BOOM", "again", &error));
    pgqrs_messages_free(held);
    told("cancelled", id = put("7", NULL));
    OK(pgqrs_cancel(store, id, NULL, &error));
}

/* --- Runs ------------------------------------------------------------------------------------- */

static pgqrs_run *start(const char *name, int64_t *out_id)
{
    pgqrs_run      *run;
    pgqrs_messages *held;

    OK(pgqrs_trigger(store, "archive", "{\"folder\":\"in\"}", NULL, out_id, &error));
    told(name, *out_id);
    held = claim(*out_id, 0);
    OK(pgqrs_run_from(store, held, 0, &run, &error));
    pgqrs_messages_free(held);
    return run;
}

static pgqrs_step *begin(pgqrs_run *run, const char *name, int64_t takes_us)
{
    pgqrs_step *step;

    OK(pgqrs_step_begin(run, name, NULL, &step));
    now += takes_us;
    return step;
}

static void runs_in_every_state(void)
{
    pgqrs_run      *run;
    pgqrs_messages *held;
    int64_t         id;

    run = start("run_success", &id);
    OK(pgqrs_step_succeed(begin(run, "list_files", 250 * PGQRS_MILLISECOND), "[\"a\",\"b\"]"));
    OK(pgqrs_step_succeed(begin(run, "\xe6\xbc\xa2\xe5\xad\x97", 500 * PGQRS_MILLISECOND), NULL));
    OK(pgqrs_step_succeed(begin(run, "create_archive", 250 * PGQRS_MILLISECOND), "{\"bytes\":10}"));
    OK(pgqrs_run_succeed(run, "{\"archive\":\"in.tar\"}"));
    pgqrs_run_free(run);

    run = start("run_error", &id);
    EXPECT(PGQRS_EEXHAUSTED,
           pgqrs_step_fail(begin(run, "check", PGQRS_SECOND), "DENIED", "no rights"));
    OK(pgqrs_run_fail(run, "DENIED", "no rights"));
    pgqrs_run_free(run);

    run = start("run_paused", &id);
    EXPECT(PGQRS_EPAUSED, pgqrs_run_pause(run, "waiting for approval", PGQRS_HOUR));
    pgqrs_run_free(run);

    run = start("run_running", &id);
    EXPECT(PGQRS_ENOTREADY,
           pgqrs_step_retry(begin(run, "upload", PGQRS_SECOND), "BUSY", "try later", PGQRS_HOUR));
    pgqrs_run_free(run);

    OK(pgqrs_trigger(store, "archive", "{}", NULL, &id, &error));
    told("run_dead", id);
    held = claim(id, 0);
    OK(pgqrs_dead_letter(store, pgqrs_messages_at(held, 0), "BOOM", "it blew up", &error));
    pgqrs_messages_free(held);

    OK(pgqrs_trigger(store, "archive", "{}", NULL, &id, &error));
    told("run_queued", id);
}

static void populate(void)
{
    int64_t worker;

    OK(pgqrs_queue_create(store, "tasks", NULL, &error));
    OK(pgqrs_queue_create(store, "empty", NULL, &error));
    OK(pgqrs_workflow_ensure(store, "archive", NULL, &error));
    OK(pgqrs_worker_register(store, "worker-\xc3\xa4", "tasks", &worker, &error));
    told("worker", worker);
    messages_in_every_state(worker);
    runs_in_every_state();
    (void)puts("}");
}

static void many(const char *queue, int count)
{
    for (int i = 0; i < count; i++) {
        char payload[32];

        (void)snprintf(payload, sizeof(payload), "{\"n\":%d}", i);
        OK(pgqrs_enqueue(store, queue, payload, NULL, NULL, &error));
    }
}

static void runs(const char *workflow, int count)
{
    for (int i = 0; i < count; i++)
        OK(pgqrs_trigger(store, workflow, "{}", NULL, NULL, &error));
}

static void run_with(int steps)
{
    pgqrs_messages *held;
    pgqrs_run      *run;
    int64_t         id;

    OK(pgqrs_workflow_ensure(store, "long", NULL, &error));
    OK(pgqrs_trigger(store, "long", "{}", NULL, &id, &error));
    held = claim(id, 0);
    OK(pgqrs_run_from(store, held, 0, &run, &error));
    for (int i = 0; i < steps; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "step %d", i);
        OK(pgqrs_step_succeed(begin(run, name, PGQRS_MILLISECOND), NULL));
    }
    OK(pgqrs_run_succeed(run, NULL));
    pgqrs_run_free(run);
    pgqrs_messages_free(held);
    (void)printf("%" PRId64 "\n", id);
}

static void sleeper(bool woken)
{
    pgqrs_messages *held;
    pgqrs_run      *run;
    int64_t         id;

    OK(pgqrs_workflow_ensure(store, "tired", NULL, &error));
    OK(pgqrs_trigger(store, "tired", "{}", NULL, &id, &error));
    for (int i = 0; i <= woken; i++) {
        held = claim(id, 0);
        OK(pgqrs_run_from(store, held, 0, &run, &error));
        EXPECT(i == 0 ? PGQRS_EPAUSED : PGQRS_OK, pgqrs_run_sleep(run, "nap", PGQRS_HOUR));
        pgqrs_run_free(run);
        pgqrs_messages_free(held);
        now += PGQRS_HOUR;
    }
    (void)printf("%" PRId64 "\n", id);
}

static void hold(void)
{
    (void)printf("%ld\n", (long)getpid());
    (void)fflush(stdout);
    while (getchar() != EOF) {}
}

/* --- SQL -------------------------------------------------------------------------------------- */

static int sql(const char *dsn)
{
    static char text[1 << 20];
    size_t      len  = fread(text, 1, sizeof(text) - 1, stdin);
    int         code = 1;

    text[len] = '\0';
#ifdef PGQRS_HAVE_POSTGRES
    if (strncmp(dsn, "postgres", 8) == 0) {
        PGconn   *pg     = PQconnectdb(dsn);
        PGresult *result = PQexec(pg, text);

        code =
            PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK
                ? 0
                : 1;
        (void)fputs(PQerrorMessage(pg), stderr);
        PQclear(result);
        PQfinish(pg);
    }
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (strncmp(dsn, "sqlite://", 9) == 0) {
        sqlite3 *db   = NULL;
        char    *said = NULL;

        if (sqlite3_open(dsn + 9, &db) == SQLITE_OK)
            code = sqlite3_exec(db, text, NULL, NULL, &said) == SQLITE_OK ? 0 : 1;
        if (said != NULL)
            (void)fputs(said, stderr);
        sqlite3_free(said);
        (void)sqlite3_close(db);
    }
#endif
    if (strncmp(dsn, "turso://", 8) == 0) {
        raw_turso raw;

        code = raw_turso_open(&raw, dsn + 8) && raw_turso_run(&raw, text, NULL, NULL) == 0 ? 0 : 1;
        (void)fputs(raw.said, stderr);
        raw_turso_close(&raw);
    }
    return code;
}

int main(int argc, char **argv)
{
    const char *what = argc > 3 ? argv[3] : "";

    if (strcmp(what, "sql") == 0)
        return sql(argv[1]);
    if (argc < 4) {
        (void)fputs("usage: scene DSN SCHEMA COMMAND ...\n", stderr);
        return 2;
    }
    OK(pgqrs_open(argv[1],
                  PGQRS_OPTIONS(store, .schema = strcmp(argv[2], "-") == 0 ? NULL : argv[2],
                                .clock = { .wall_us = clock_now, .monotonic_us = clock_now }),
                  &store, &error));
    if (strcmp(what, "populate") == 0)
        populate();
    else if (strcmp(what, "many") == 0 && argc == 6)
        many(argv[4], atoi(argv[5]));
    else if (strcmp(what, "runs") == 0 && argc == 6)
        runs(argv[4], atoi(argv[5]));
    else if (strcmp(what, "run-with") == 0 && argc == 5)
        run_with(atoi(argv[4]));
    else if (strcmp(what, "sleeper") == 0 && argc == 5)
        sleeper(strcmp(argv[4], "woken") == 0);
    else if (strcmp(what, "hold") == 0)
        hold();
    else
        must(PGQRS_EINVAL, PGQRS_OK, "the command line");
    pgqrs_close(store);
    return 0;
}
