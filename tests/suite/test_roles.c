/* Database roles: a producer that reads no payload, a worker that changes no queue and no table. */
#include <stdlib.h>

#include "support/peek.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_POSTGRES
#include <libpq-fe.h>
#endif

/* Names as nobody should choose them, and unlike those of other cases. */
typedef struct roles {
    char producer[96];
    char worker[96];
} roles;

static void drop_roles(world *w)
{
    char sql[512];
    (void)snprintf(
        sql, sizeof(sql),
        "DO $$ DECLARE r text; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname "
        "LIKE '%s %%' LOOP EXECUTE format('DROP OWNED BY %%I', r); EXECUTE "
        "format('DROP ROLE %%I', r); END LOOP; END $$",
        w->schema);
    sql_run(w, sql);
}

static roles make_roles(world *w)
{
    roles r;
    char  sql[512];
    (void)snprintf(r.producer, sizeof(r.producer), "%s \"p\" @schema. @role", w->schema);
    (void)snprintf(r.worker, sizeof(r.worker), "%s 'w'; --", w->schema);
    (void)snprintf(sql, sizeof(sql),
                   "CREATE ROLE \"%s \"\"p\"\" @schema. @role\" LOGIN; CREATE ROLE \"%s\" LOGIN",
                   w->schema, r.worker);
    sql_run(w, sql);
    return r;
}

#ifdef PGQRS_HAVE_POSTGRES

static void encode(const char *text, char *out)
{
    for (; *text != '\0'; text++)
        out += sprintf(out, "%%%02x", (unsigned char)*text);
}

/* A store of that role, which must not be freed by the world: roles go before. */
static pgqrs_store *open_as(world *w, const char *role, char *dsn, size_t size)
{
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    char                encoded[300];
    char               *at = strstr(w->direct, "user=postgres");
    assert_non_null(at);
    encode(role, encoded);
    (void)snprintf(dsn, size, "%.*suser=%s%s", (int)(at - w->direct), w->direct, encoded,
                   at + strlen("user=postgres"));
    assert_ok(pgqrs_open(dsn, &options, &store, &failure));
    return store;
}

static bool sql_as(world *w, const char *dsn, const char *sql)
{
    char      path[128];
    PGconn   *pg = PQconnectdb(dsn);
    PGresult *answer;
    bool      done;
    (void)snprintf(path, sizeof(path), "SET search_path = %s", w->schema);
    PQclear(PQexec(pg, path));
    answer = PQexec(pg, sql);
    done = PQresultStatus(answer) == PGRES_COMMAND_OK || PQresultStatus(answer) == PGRES_TUPLES_OK;
    if (!done)
        assert_string_equal("42501", PQresultErrorField(answer, PG_DIAG_SQLSTATE));
    PQclear(answer);
    PQfinish(pg);
    return done;
}

#define assert_denied(call)                                                     \
    do {                                                                        \
        assert_status(PGQRS_EDB, call);                                         \
        assert_string_equal("42501", failure.sqlstate); /* no right to do so */ \
        assert_true(failure.hint[0] != '\0');                                   \
    } while (0)

static void g53_a_producer_enqueues_and_reads_no_payload(void **state)
{
    world              *w        = *state;
    pgqrs_messages     *messages = NULL;
    pgqrs_records      *records  = NULL;
    char                dsn[900];
    const char *const   payloads[] = { "1", "2" };
    int64_t             id, again, me;
    bool                existed = false;
    pgqrs_queue_options options = { .struct_size = sizeof(options), .lease_us = PGQRS_SECOND };
    if (!w->postgres)
        skip();
    roles r = make_roles(w);
    queue(w, "orders");
    workflow(w, "flow");
    assert_ok(pgqrs_install_roles(w->store, r.producer, NULL, &failure));
    assert_ok(pgqrs_install_roles(w->store, r.producer, NULL, &failure)); /* idempotent */
    pgqrs_store *p = open_as(w, r.producer, dsn, sizeof(dsn));
    assert_ok(pgqrs_enqueue(p, "orders", "{}", NULL, &id, &failure));
    assert_ok(pgqrs_enqueue_many(p, "orders", payloads, 2, NULL, NULL, &failure));
    assert_ok(pgqrs_enqueue(p, "orders", "{}", PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR), NULL,
                            &failure));
    assert_ok(pgqrs_enqueue(
        p, "orders", "{}", PGQRS_OPTIONS(enqueue, .headers = "{}", .priority = 1), NULL, &failure));
    assert_ok(pgqrs_enqueue(p, "orders", "{}", PGQRS_OPTIONS(enqueue, .key = "k"), &id, &failure));
    assert_ok(pgqrs_enqueue(p, "orders", "{}",
                            PGQRS_OPTIONS(enqueue, .key = "k", .out_existed = &existed), &again,
                            &failure));
    assert_true(existed && id == again);
    advance(w, 2 * PGQRS_DAY);
    assert_ok(
        pgqrs_enqueue(p, "orders", "{}", PGQRS_OPTIONS(enqueue, .key = "k"), &again, &failure));
    assert_true(id != again);
    assert_ok(pgqrs_trigger(p, "flow", "{}", NULL, NULL, &failure));
    assert_ok(pgqrs_worker_register(p, "me", NULL, &me, &failure)); /* a named one */
    assert_ok(pgqrs_worker_heartbeat(p, &me, 1, &failure));
    assert_ok(
        pgqrs_enqueue(p, "orders", "{}", PGQRS_OPTIONS(enqueue, .producer = me), NULL, &failure));

    assert_denied(pgqrs_message_get(p, id, &records, &failure));
    assert_denied(pgqrs_claim(p, "orders", NULL, &messages, &failure));
    assert_denied(pgqrs_cancel(p, id, NULL, &failure));
    assert_denied(pgqrs_queue_create(p, "new", NULL, &failure));
    assert_denied(pgqrs_queue_configure(p, "orders", &options, &failure));
    assert_false(sql_as(w, dsn, "SELECT payload FROM pgqrs_messages"));
    assert_false(sql_as(w, dsn, "SELECT headers FROM pgqrs_messages"));
    assert_false(sql_as(w, dsn, "DELETE FROM pgqrs_messages"));
    assert_false(sql_as(w, dsn, "SELECT output FROM pgqrs_steps"));
    assert_false(sql_as(w, dsn, "SELECT input FROM pgqrs_runs"));
    assert_true(sql_as(w, dsn, "SELECT id FROM pgqrs_messages"));
    pgqrs_close(p);
    drop_roles(w);
    assert_int_equal(7, measure(w, "orders").ready);
    assert_consistent(w);
}

static pgqrs_status three_steps(pgqrs_run *run, void *user_data)
{
    pgqrs_step  *step;
    pgqrs_status rc;
    (void)user_data;
    if ((rc = pgqrs_step_begin(run, "a", NULL, &step)) != PGQRS_OK
        || (!pgqrs_step_recorded(step)
            && ((rc = pgqrs_step_enqueue(step, "orders", "{}", NULL, NULL)) != PGQRS_OK
                || (rc = pgqrs_step_succeed(step, "1")) != PGQRS_OK))
        || (rc = pgqrs_step_begin_tx(run, "b", NULL, &step)) != PGQRS_OK
        || (!pgqrs_step_recorded(step) && (rc = pgqrs_step_succeed(step, "2")) != PGQRS_OK)
        || (rc = pgqrs_run_sleep(run, "nap", PGQRS_SECOND)) != PGQRS_OK)
        return rc;
    return pgqrs_run_succeed(run, "3");
}

static void work_as(pgqrs_store *store)
{
    pgqrs_worker *worker = NULL;
    assert_ok(
        pgqrs_worker_new(store, PGQRS_OPTIONS(worker, .exit_when_idle = 1), &worker, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_worker_on_run(worker, "flow", three_steps, NULL, NULL));
    assert_ok(pgqrs_worker_run(worker, &failure));
    pgqrs_worker_free(worker);
}

static void g53_a_worker_does_everything_but_change_queues_and_tables(void **state)
{
    world          *w        = *state;
    pgqrs_messages *messages = NULL;
    message         held[8];
    char            dsn[900];
    size_t          replayed = 0;
    int64_t         count;
    if (!w->postgres)
        skip();
    roles r = make_roles(w);
    queue(w, "orders");
    workflow(w, "flow");
    assert_ok(pgqrs_install_roles(w->store, r.producer, r.worker, &failure));
    pgqrs_store *p = open_as(w, r.worker, dsn, sizeof(dsn));
    for (int i = 0; i < 8; i++)
        assert_ok(pgqrs_enqueue(
            p, "orders", "{}", i == 7 ? PGQRS_OPTIONS(enqueue, .key = "k") : NULL, NULL, &failure));
    assert_ok(pgqrs_claim(p, "orders", PGQRS_OPTIONS(claim, .limit = 8), &messages, &failure));
    assert_int_equal(8, pgqrs_messages_count(messages));
    for (size_t i = 0; i < 8; i++)
        held[i] = *pgqrs_messages_at(messages, i);
    assert_ok(pgqrs_archive(p, &held[0], &failure));
    assert_ok(pgqrs_delete(p, &held[1], &failure));
    assert_ok(pgqrs_release(p, &held[2], NULL, &failure));
    assert_ok(pgqrs_retry(p, &held[3], "NO", "no", &failure));
    assert_ok(pgqrs_dead_letter(p, &held[4], "NO", "no", &failure));
    assert_ok(pgqrs_extend(p, &held[5], PGQRS_HOUR, &failure));
    assert_ok(pgqrs_cancel(p, held[6].id, NULL, &failure));
    assert_ok(pgqrs_replay(p, &held[4].id, 1, &replayed, &failure));
    assert_int_equal(1, replayed);
    pgqrs_messages_free(messages);
    advance(w, 2 * LEASE_US); /* the next claims promote and reap */
    assert_ok(pgqrs_claim(p, "orders", PGQRS_OPTIONS(claim, .limit = 8), &messages, &failure));
    pgqrs_messages_free(messages);
    int64_t run = trigger(w, "flow", "{}");
    work_as(p);
    advance(w, 2 * PGQRS_SECOND);
    work_as(p);
    assert_run_status(w, run, PGQRS_RUN_SUCCESS);
    assert_ok(pgqrs_worker_purge_stale(p, PGQRS_SECOND, 0, &count, &failure));
    assert_ok(pgqrs_dead_purge(p, "orders", 0, &count, &failure));
    advance(w, 30 * PGQRS_DAY);
    assert_ok(pgqrs_retention_run(p, 0, &count, &failure));
    assert_true(count > 0);
    assert_ok(pgqrs_queue_purge(p, "orders", &count, &failure));

    assert_denied(pgqrs_queue_create(p, "new", NULL, &failure));
    assert_denied(pgqrs_queue_pause(p, "orders", &failure));
    assert_denied(pgqrs_queue_delete(p, "orders", true, &failure));
    assert_false(sql_as(w, dsn, "DROP TABLE pgqrs_messages"));
    assert_false(sql_as(w, dsn, "ALTER TABLE pgqrs_messages ADD COLUMN x int"));
    assert_false(sql_as(w, dsn, "TRUNCATE pgqrs_messages"));
    assert_false(sql_as(w, dsn, "CREATE TABLE mine (x int)"));
    assert_false(sql_as(w, dsn, "UPDATE pgqrs_queues SET max_attempts = 1"));
    assert_false(sql_as(w, dsn, "DELETE FROM pgqrs_migrations"));
    pgqrs_close(p);
    drop_roles(w);
    assert_consistent(w);
}

#endif

static void what_cannot_be_granted_is_refused(void **state)
{
    world *w = *state;
    assert_status(PGQRS_EINVAL, pgqrs_install_roles(NULL, "a", "b", &failure));
    assert_status(PGQRS_EINVAL, pgqrs_install_roles(w->store, NULL, NULL, &failure));
    assert_status(PGQRS_EINVAL, pgqrs_install_roles(w->store, "", NULL, &failure));
    if (!w->postgres) {
        assert_status(PGQRS_ESTATE, pgqrs_install_roles(w->store, "a", "b", &failure));
        assert_true(failure.hint[0] != '\0');
        return;
    }
    roles r = make_roles(w);
    assert_status(PGQRS_ENOTFOUND, pgqrs_install_roles(w->store, r.producer, "nobody", &failure));
    assert_non_null(strstr(failure.message, "\"nobody\""));
    /* and nothing was granted to the one that exists */
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM information_schema.role_table_grants "
                                      "WHERE grantee LIKE '% \"p\" @schema. @role' AND table_schema"
                                      " = current_schema()"));
    drop_roles(w);
}

static void roles_need_the_tables(void **state)
{
    world       *w     = *state;
    pgqrs_store *store = world_open(w);
    if (!w->postgres)
        skip();
    roles r = make_roles(w);
    assert_status(PGQRS_ESCHEMA, pgqrs_install_roles(store, NULL, r.worker, &failure));
    drop_roles(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef PGQRS_HAVE_POSTGRES
        CASE(g53_a_producer_enqueues_and_reads_no_payload),
        CASE(g53_a_worker_does_everything_but_change_queues_and_tables),
#endif
        CASE(what_cannot_be_granted_is_refused),
        CASE_BARE(roles_need_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
