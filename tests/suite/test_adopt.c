/* The user's own transaction: what is done through an adopted connection is theirs to commit. */
#include <stdlib.h>

#include <pgqrs/postgres.h>
#include <pgqrs/sqlite.h>

#include "support/peek.h"
#include "support/together.h"
#include "support/user.h"

#ifdef PGQRS_HAVE_POSTGRES
#include <libpq-fe.h>
#endif

/* What is there before: messages in every state that something can be done with. */
typedef struct things {
    message held[8];
    int64_t waiting;
    int64_t dead;
} things;

static void prepare(world *w, things *t)
{
    queue(w, "orders");
    queue(w, "others");
    workflow(w, "flow");
    sql_run(w, "CREATE TABLE accounts (name text PRIMARY KEY, amount bigint NOT NULL)");
    enqueue_count(w, "orders", 8, NULL);
    assert_int_equal(8, claim_many(w, "orders", 8, t->held));
    assert_ok(pgqrs_dead_letter(w->store, &t->held[7], "BAD", "bad", &failure));
    t->dead    = t->held[7].id;
    t->waiting = enqueue(w, "others", "{}");
    (void)enqueue(w, "others", "{}");
}

/* Every operation that writes. */
static void write_everything(things *t, pgqrs_store *store)
{
    const char *const payloads[] = { "1", "2", "3" };
    pgqrs_messages   *messages   = NULL;
    size_t            replayed   = 0;
    int64_t           id, again, worker;
    pgqrs_state       ended;

    assert_ok(pgqrs_enqueue(store, "orders", "{}", NULL, &id, &failure));
    assert_ok(pgqrs_enqueue_many(store, "orders", payloads, 3, NULL, NULL, &failure));
    assert_ok(
        pgqrs_enqueue(store, "orders", "{}", PGQRS_OPTIONS(enqueue, .key = "k"), &id, &failure));
    assert_ok(
        pgqrs_enqueue(store, "orders", "{}", PGQRS_OPTIONS(enqueue, .key = "k"), &again, &failure));
    assert_int_equal(id, again);
    assert_ok(pgqrs_enqueue(store, "orders", "{}", PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR),
                            &id, &failure));
    assert_ok(pgqrs_trigger(store, "flow", "{}", NULL, &id, &failure));
    assert_ok(pgqrs_archive(store, &t->held[0], &failure));
    assert_ok(pgqrs_delete(store, &t->held[1], &failure));
    assert_ok(pgqrs_release(store, &t->held[2], NULL, &failure));
    assert_ok(pgqrs_retry(store, &t->held[3], "AGAIN", "again", &failure));
    assert_ok(pgqrs_dead_letter(store, &t->held[4], "BAD", "bad", &failure));
    assert_ok(pgqrs_extend(store, &t->held[5], PGQRS_HOUR, &failure));
    assert_ok(pgqrs_cancel(store, t->waiting, &ended, &failure));
    assert_int_equal(PGQRS_STATE_CANCELLED, ended);
    assert_ok(pgqrs_replay(store, &t->dead, 1, &replayed, &failure));
    assert_int_equal(1, replayed);
    assert_ok(pgqrs_queue_create(store, "new", NULL, &failure));
    assert_ok(pgqrs_enqueue(store, "new", "{}", NULL, &id, &failure));
    assert_ok(pgqrs_claim(store, "others", NULL, &messages, &failure));
    assert_int_equal(1, pgqrs_messages_count(messages));
    assert_ok(pgqrs_archive(store, pgqrs_messages_at(messages, 0), &failure));
    pgqrs_messages_free(messages);
    assert_ok(pgqrs_worker_register(store, "me", NULL, &worker, &failure));
    assert_ok(pgqrs_queue_pause(store, "others", &failure));
}

static void g50_nothing_is_there_before_the_commit_and_all_of_it_after(void **state)
{
    world *w = *state;
    things t;
    user   u;
    char   before[256], during[256];

    prepare(w, &t);
    sql_fingerprint(w, before, sizeof(before));
    user_open(&u, w);
    user_begin(&u);
    user_do(&u, "INSERT INTO accounts VALUES ('a', 1)");
    pgqrs_store *here = user_adopted(&u);
    write_everything(&t, here);
    pgqrs_close(here);
    sql_fingerprint(w, during, sizeof(during));
    assert_string_equal(before, during);
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM accounts"));
    user_do(&u, "COMMIT");
    user_close(&u);

    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM accounts"));
    assert_state(w, t.held[0].id, PGQRS_STATE_DONE);
    assert_gone(w, t.held[1].id);
    assert_state(w, t.held[2].id, PGQRS_STATE_READY);
    assert_state(w, t.held[3].id, PGQRS_STATE_SCHEDULED);
    assert_state(w, t.held[4].id, PGQRS_STATE_DEAD);
    assert_state(w, t.held[5].id, PGQRS_STATE_LEASED);
    assert_state(w, t.waiting, PGQRS_STATE_CANCELLED);
    assert_state(w, t.dead, PGQRS_STATE_READY);
    assert_int_equal(1, measure(w, "new").ready);
    assert_int_equal(1 + 3 + 1 + 1 + 1, measure(w, "orders").ready);
    assert_true(queue_get(w, "others").paused);
    assert_consistent(w);
}

static void g50_nothing_remains_after_a_rollback(void **state)
{
    world *w = *state;
    things t;
    user   u;
    char   before[256], after[256];

    prepare(w, &t);
    sql_fingerprint(w, before, sizeof(before));
    user_open(&u, w);
    user_begin(&u);
    user_do(&u, "INSERT INTO accounts VALUES ('a', 1)");
    pgqrs_store *here = user_adopted(&u);
    write_everything(&t, here);
    user_do(&u, "ROLLBACK");
    sql_fingerprint(w, after, sizeof(after));
    assert_string_equal(before, after);
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM accounts"));

    /* The store is good for the next transaction, and remembers nothing of the one before. */
    user_begin(&u);
    assert_status(PGQRS_ENOTFOUND, pgqrs_enqueue(here, "new", "{}", NULL, NULL, &failure));
    write_everything(&t, here);
    user_do(&u, "COMMIT");
    pgqrs_close(here);
    user_close(&u);
    assert_int_equal(1, measure(w, "new").ready);
    assert_consistent(w);
}

static void g50_every_call_looks_whether_a_transaction_is_open(void **state)
{
    world       *w = *state;
    pgqrs_store *here;
    user         u;
    int64_t      id = 0;

    queue(w, "orders");
    user_open(&u, w);
    assert_status(PGQRS_ESTATE, user_adopt(&u, &here));
    assert_null(here);
    assert_non_null(strstr(failure.message, "no transaction"));
    user_begin(&u);
    here = user_adopted(&u);
    user_do(&u, "COMMIT");
    assert_status(PGQRS_ESTATE, pgqrs_enqueue(here, "orders", "{}", NULL, &id, &failure));
    assert_non_null(strstr(failure.message, "no transaction"));
    assert_true(failure.hint[0] != '\0');
    assert_int_equal(0, measure(w, "orders").ready);
    user_begin(&u);
    assert_ok(pgqrs_enqueue(here, "orders", "{}", NULL, &id, &failure));
    user_do(&u, "COMMIT");
    pgqrs_close(here);
    user_close(&u);
    assert_int_equal(1, measure(w, "orders").ready);
}

static void g50_what_cannot_wait_for_the_commit_is_refused(void **state)
{
    world             *w        = *state;
    pgqrs_messages    *messages = NULL;
    pgqrs_run_records *runs     = NULL;
    pgqrs_worker      *worker   = NULL;
    user               u;

    queue(w, "orders");
    workflow(w, "flow");
    (void)enqueue(w, "orders", "{}");
    message m   = claim_one(w, "orders");
    int64_t run = trigger(w, "flow", "{}");
    user_open(&u, w);
    user_begin(&u);
    pgqrs_store *here = user_adopted(&u);
    assert_status(PGQRS_ESTATE, pgqrs_install(here, &failure));
    assert_true(failure.hint[0] != '\0');
    assert_status(PGQRS_ESTATE, pgqrs_claim(here, "orders", PGQRS_OPTIONS(claim, .wait_us = 1),
                                            &messages, &failure));
    assert_status(PGQRS_ESTATE, pgqrs_run_wait(here, run, PGQRS_SECOND, &runs, &failure));
    assert_status(PGQRS_ESTATE, pgqrs_worker_new(here, NULL, &worker, &failure));
    assert_status(PGQRS_ESTATE, pgqrs_lease_keep(here, &m, 0, &failure));
    /* and the transaction is as sound as before */
    assert_ok(pgqrs_archive(here, &m, &failure));
    user_do(&u, "COMMIT");
    pgqrs_close(here);
    user_close(&u);
    assert_state(w, m.id, PGQRS_STATE_DONE);
}

static void g50_a_no_leaves_the_transaction_sound(void **state)
{
    world *w = *state;
    user   u;

    queue(w, "orders");
    (void)enqueue(w, "orders", "{}");
    message m = claim_one(w, "orders");
    user_open(&u, w);
    user_begin(&u);
    pgqrs_store *here = user_adopted(&u);
    message      late = m;
    late.lease++;
    assert_status(PGQRS_ELEASE, pgqrs_archive(here, &late, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_enqueue(here, "nowhere", "{}", NULL, NULL, &failure));
    assert_status(PGQRS_EJSON, pgqrs_enqueue(here, "orders", "{", NULL, NULL, &failure));
    assert_status(PGQRS_EEXISTS, pgqrs_queue_create(here, "orders", NULL, &failure));
    assert_ok(pgqrs_archive(here, &m, &failure));
    user_do(&u, "COMMIT");
    pgqrs_close(here);
    user_close(&u);
    assert_state(w, m.id, PGQRS_STATE_DONE);
}

static void g50_a_call_that_the_database_fails_leaves_nothing_of_itself(void **state)
{
    world *w = *state;
    user   u;

    queue(w, "orders");
    sql_run(w, "CREATE TABLE accounts (name text PRIMARY KEY, amount bigint NOT NULL)");
    sql_run_each(
        w,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
        "new.attempt = 0 THEN RAISE 'poisoned'; END IF; RETURN new; END $$; CREATE TRIGGER "
        "refuse BEFORE INSERT ON pgqrs_scheduled FOR EACH ROW EXECUTE FUNCTION refuse()",
        "CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_scheduled WHEN new.attempt = 0 BEGIN "
        "SELECT RAISE(ABORT, 'poisoned'); END");
    user_open(&u, w);
    user_begin(&u);
    user_do(&u, "INSERT INTO accounts VALUES ('a', 1)");
    pgqrs_store *here = user_adopted(&u);
    assert_ok(pgqrs_enqueue(here, "orders", "1", NULL, NULL, &failure));
    user_do(&u, "SAVEPOINT mine");
    assert_status(PGQRS_EDB,
                  pgqrs_enqueue(here, "orders", "2", PGQRS_OPTIONS(enqueue, .delay_us = 1000), NULL,
                                &failure));
    if (w->postgres) { /* as by any statement of theirs: until they roll back to their savepoint */
        assert_status(PGQRS_ESTATE, pgqrs_enqueue(here, "orders", "3", NULL, NULL, &failure));
        assert_non_null(strstr(failure.message, "failed"));
        assert_false(user_try(&u, "INSERT INTO accounts VALUES ('b', 1)"));
        user_do(&u, "ROLLBACK TO mine");
    }
    assert_ok(pgqrs_enqueue(here, "orders", "4", NULL, NULL, &failure));
    user_do(&u, "COMMIT");
    pgqrs_close(here);
    user_close(&u);
    assert_int_equal(2, measure(w, "orders").ready);
    assert_int_equal(0, measure(w, "orders").scheduled);
    assert_int_equal(1, sql_number(w, "SELECT count(*) FROM accounts"));
    assert_consistent(w);
}

static void g50_a_step_is_recorded_in_the_transaction_of_its_effect(void **state)
{
    world          *w        = *state;
    pgqrs_messages *messages = NULL;
    pgqrs_run      *run      = NULL;
    pgqrs_step     *step;
    user            u;

    workflow(w, "flow");
    sql_run(w, "CREATE TABLE accounts (name text PRIMARY KEY, amount bigint NOT NULL)");
    int64_t id = trigger(w, "flow", "{}");
    assert_ok(pgqrs_claim(w->store, "flow", NULL, &messages, &failure));
    user_open(&u, w);
    for (int commit = 0; commit <= 1; commit++) {
        user_begin(&u);
        pgqrs_store *here = user_adopted(&u);
        assert_ok(pgqrs_run_from(here, messages, 0, &run, &failure));
        assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "pay", NULL, &step));
        user_do(&u, "INSERT INTO accounts VALUES ('a', 1)");
        assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
        if (commit == 1)
            assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "2"));
        pgqrs_run_free(run);
        pgqrs_close(here);
        user_do(&u, commit == 1 ? "COMMIT" : "ROLLBACK");
        assert_int_equal(commit, step_count(w, id));
        assert_int_equal(commit, sql_number(w, "SELECT count(*) FROM accounts"));
    }
    user_close(&u);
    pgqrs_messages_free(messages);
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
}

static int use_in_child(void *shared)
{
    pgqrs_store *here = shared;
    int          ok   = pgqrs_enqueue(here, "orders", "{}", NULL, NULL, NULL) == PGQRS_EFORK;

    pgqrs_close(here); /* frees memory only */
    return ok ? 0 : 1;
}

static void g24_a_child_is_refused_an_adopted_store(void **state)
{
    world *w = *state;
    user   u;

    queue(w, "orders");
    user_open(&u, w);
    user_begin(&u);
    pgqrs_store *here = user_adopted(&u);
    assert_int_equal(0, in_child(use_in_child, here));
    assert_ok(pgqrs_enqueue(here, "orders", "{}", NULL, NULL, &failure));
    user_do(&u, "COMMIT");
    pgqrs_close(here);
    user_close(&u);
    assert_int_equal(1, measure(w, "orders").ready);
}

static void missing_arguments_are_refused(void **state)
{
    world       *w    = *state;
    pgqrs_store *here = NULL;
    user         u;

    assert_status(PGQRS_EINVAL, pgqrs_adopt_pgconn(NULL, NULL, &here, &failure));
    assert_status(PGQRS_EINVAL, pgqrs_adopt_sqlite3(NULL, NULL, &here, &failure));
    user_open(&u, w);
    user_begin(&u);
    assert_status(PGQRS_EINVAL, w->postgres ? pgqrs_adopt_pgconn(u.pg, NULL, NULL, &failure)
                                            : pgqrs_adopt_sqlite3(u.sqlite, NULL, NULL, &failure));
    user_do(&u, "ROLLBACK");
    user_close(&u);
}

#ifdef PGQRS_HAVE_POSTGRES

static int64_t pg_number(PGconn *pg, const char *sql)
{
    PGresult *answer = PQexec(pg, sql);
    assert_int_equal(PGRES_TUPLES_OK, PQresultStatus(answer));
    int64_t number = strtoll(PQgetvalue(answer, 0, 0), NULL, 10);
    PQclear(answer);
    return number;
}

#define SETTINGS "SELECT sum(hashtext(name || setting)) FROM pg_settings"

static void g50_the_connection_is_handed_back_as_it_was(void **state)
{
    world *w = *state;
    things t;
    user   u;

    if (!w->postgres)
        skip();
    prepare(w, &t);
    user_open(&u, w);
    for (int nonblocking = 0; nonblocking <= 1; nonblocking++) {
        assert_int_equal(0, PQsetnonblocking(u.pg, nonblocking));
        user_begin(&u);
        int64_t      settings = pg_number(u.pg, SETTINGS);
        pgqrs_store *here     = user_adopted(&u);
        write_everything(&t, here);
        assert_int_equal(nonblocking, PQisnonblocking(u.pg));
        assert_int_equal(PQ_PIPELINE_OFF, PQpipelineStatus(u.pg));
        assert_int_equal(settings, pg_number(u.pg, SETTINGS));
        assert_int_equal(0, pg_number(u.pg, "SELECT count(*) FROM pg_prepared_statements"));
        pgqrs_close(here);
        assert_int_equal(PQTRANS_INTRANS, PQtransactionStatus(u.pg));
        user_do(&u, "ROLLBACK");
    }
    user_close(&u);
}

static void refused_now(user *u, pgqrs_store *here, const char *word)
{
    assert_status(PGQRS_ESTATE, pgqrs_enqueue(here, "orders", "{}", NULL, NULL, &failure));
    if (strstr(failure.message, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", failure.message, word);
    assert_true(failure.hint[0] != '\0');
    pgqrs_store *another = NULL;
    assert_status(PGQRS_ESTATE, user_adopt(u, &another));
    assert_null(another);
}

static void g50_a_connection_that_is_busy_or_has_failed_is_refused(void **state)
{
    world *w = *state;
    user   u;

    if (!w->postgres)
        skip();
    queue(w, "orders");
    sql_run(w, "CREATE TABLE accounts (name text)");
    user_open(&u, w);
    user_begin(&u);
    pgqrs_store *here = user_adopted(&u);

    assert_int_equal(1, PQenterPipelineMode(u.pg));
    refused_now(&u, here, "pipeline");
    assert_int_equal(1, PQexitPipelineMode(u.pg));

    PQclear(PQexec(u.pg, "COPY accounts FROM STDIN"));
    refused_now(&u, here, "COPY");
    assert_int_equal(1, PQputCopyEnd(u.pg, NULL));
    while (PQtransactionStatus(u.pg) == PQTRANS_ACTIVE)
        PQclear(PQgetResult(u.pg));

    assert_int_equal(1, PQsendQuery(u.pg, "SELECT 1"));
    refused_now(&u, here, "command");
    for (PGresult *r = PQgetResult(u.pg); r != NULL; r = PQgetResult(u.pg))
        PQclear(r);

    assert_int_equal(0, PQsetClientEncoding(u.pg, "LATIN1"));
    refused_now(&u, here, "LATIN1");
    assert_int_equal(0, PQsetClientEncoding(u.pg, "UTF8"));

    assert_ok(pgqrs_enqueue(here, "orders", "{}", NULL, NULL, &failure));
    assert_false(user_try(&u, "SELECT 1 / 0"));
    refused_now(&u, here, "failed");
    user_do(&u, "ROLLBACK");
    pgqrs_close(here);
    user_close(&u);
    assert_int_equal(0, measure(w, "orders").ready);
}

static void g50_a_lost_connection_is_told(void **state)
{
    world *w = *state;
    user   u;
    char   condition[32];

    if (!w->postgres)
        skip();
    queue(w, "orders");
    user_open(&u, w);
    user_begin(&u);
    pgqrs_store *here = user_adopted(&u);
    (void)snprintf(condition, sizeof(condition), "pid = %d", PQbackendPID(u.pg));
    assert_int_equal(1, end_sessions(w, condition));
    assert_status(PGQRS_ECONN, pgqrs_enqueue(here, "orders", "{}", NULL, NULL, &failure));
    assert_int_equal(0, failure.flags & PGQRS_MAYBE_APPLIED);
    pgqrs_close(here);
    user_close(&u);
    assert_int_equal(0, measure(w, "orders").ready);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(g50_nothing_is_there_before_the_commit_and_all_of_it_after),
        CASE(g50_nothing_remains_after_a_rollback),
        CASE(g50_every_call_looks_whether_a_transaction_is_open),
        CASE(g50_what_cannot_wait_for_the_commit_is_refused),
        CASE(g50_a_no_leaves_the_transaction_sound),
        CASE(g50_a_call_that_the_database_fails_leaves_nothing_of_itself),
        CASE(g50_a_step_is_recorded_in_the_transaction_of_its_effect),
        CASE(g24_a_child_is_refused_an_adopted_store),
        CASE(missing_arguments_are_refused),
#ifdef PGQRS_HAVE_POSTGRES
        CASE(g50_the_connection_is_handed_back_as_it_was),
        CASE(g50_a_connection_that_is_busy_or_has_failed_is_refused),
        CASE(g50_a_lost_connection_is_told),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
