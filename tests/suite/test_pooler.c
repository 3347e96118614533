/* Behind a transaction pooler, where a session is anybody's after each transaction. Everything else
 * of tests/suite runs through it as well: see tools/with_pgbouncer.sh. */
#include <stdlib.h>

#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_POSTGRES

#include <libpq-fe.h>

#define SESSIONS 4

/* Everything that a session could keep of one of its clients. */
static const char look[] =
    "SELECT current_setting('plan_cache_mode') || ' ' || current_setting('enable_seqscan') || ' ' "
    "||"
    " current_setting('jit') || ' ' || current_setting('idle_in_transaction_session_timeout') ||"
    " ' ' || current_setting('client_connection_check_interval', true) || ' ' ||"
    " (SELECT count(*) FROM pg_prepared_statements) || ' ' ||"
    " (SELECT count(*) FROM pg_listening_channels())";

static void use_the_store(void *shared, size_t i)
{
    world       *w        = shared;
    pgqrs_store *store    = w->store;
    char         name[16] = "";
    (void)snprintf(name, sizeof(name), "q%zu", i);
    for (int k = 0; k < 10; k++) {
        pgqrs_messages *batch = NULL;
        (void)!pgqrs_queue_ensure(store, name, NULL, NULL);
        (void)!pgqrs_enqueue(store, name, "1", NULL, NULL, NULL);
        if (pgqrs_claim(store, name, PGQRS_OPTIONS(claim, .wait_us = 1), &batch, NULL) == PGQRS_OK
            && pgqrs_messages_count(batch) == 1)
            (void)!pgqrs_archive(store, pgqrs_messages_at(batch, 0), NULL);
        pgqrs_messages_free(batch);
    }
}

static void g60_nothing_is_left_in_the_sessions_of_a_pooler(void **state)
{
    world  *w = *state;
    char    untouched[200];
    PGconn *sessions[SESSIONS];
    if (!w->pooled)
        skip();
    together(SESSIONS, use_the_store, w);
    assert_int_equal(10 * SESSIONS, sql_number(w, "SELECT count(*) FROM pgqrs_archive"));
    sql_text(w, look, untouched, sizeof(untouched));
    for (size_t i = 0; i < SESSIONS; i++) { /* as many sessions, since each is in a transaction */
        sessions[i] = PQconnectdb(w->dsn);
        PQclear(PQexec(sessions[i], "BEGIN"));
        PGresult *result = PQexec(sessions[i], look);
        if (PQresultStatus(result) != PGRES_TUPLES_OK)
            fail_msg("%s", PQerrorMessage(sessions[i]));
        assert_string_equal(untouched, PQgetvalue(result, 0, 0));
        PQclear(result);
    }
    for (size_t i = 0; i < SESSIONS; i++)
        PQfinish(sessions[i]);
}

static void remember(void *user_data, pgqrs_log_level level, const char *text)
{
    (void)level;
    if (strstr(text, "transaction pooler") != NULL)
        (void)atomic_fetch_add((atomic_int *)user_data, 1);
}

static void g60_a_pooler_is_noticed_and_told_once(void **state)
{
    world              *w       = *state;
    pgqrs_store        *store   = NULL;
    pgqrs_store_options options = world_options(w);
    atomic_int          told    = 0;
    if (!w->pooled)
        skip();
    options.log      = remember;
    options.log_data = &told;
    assert_ok(pgqrs_open(w->dsn, &options, &store, &failure));
    pgqrs_status made = pgqrs_queue_create(store, "orders", NULL, &failure);
    pgqrs_close(store);
    assert_int_equal(PGQRS_OK, made);
    assert_int_equal(getenv("PGQRS_POOLED") != NULL ? 0 : 1, atomic_load(&told));
}

static void options_of_the_user_are_refused_with_a_reason(void **state)
{
    world                    *w       = *state;
    pgqrs_store              *store   = NULL;
    const pgqrs_store_options options = world_options(w);
    char                      dsn[700];
    if (!w->pooled)
        skip();
    (void)snprintf(dsn, sizeof(dsn), "%s&options=-cwork_mem%%3D8MB", w->dsn);
    pgqrs_status status = pgqrs_open(dsn, &options, &store, &failure);
    pgqrs_close(store);
    if (status == PGQRS_OK)
        return; /* this one takes no notice of options */
    assert_int_equal(PGQRS_ECONFIG, status);
    assert_non_null(strstr(failure.hint, "pooler"));
}

typedef struct waiter {
    world          *w;
    pgqrs_store    *store;
    pgqrs_messages *batch;
    pgqrs_status    status;
} waiter;

static void wait_or_enqueue(void *shared, size_t i)
{
    waiter *it = shared;
    if (i == 0) {
        /* It would look again after a minute, which is when the case has failed. */
        it->status =
            pgqrs_claim(it->store, "orders",
                        PGQRS_OPTIONS(claim, .wait_us = 50 * PGQRS_SECOND, .poll_us = PGQRS_MINUTE),
                        &it->batch, NULL);
        return;
    }
    while (sql_number(it->w, "SELECT count(*) FROM pgqrs_waiters") == 0
           || sql_number(it->w, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN "
                                "pgqrs%' AND state = 'idle'")
                  == 0)
        continue;
    (void)enqueue(it->w, "orders", "1");
}

static void g60_behind_a_pooler_a_listen_dsn_wakes_at_once(void **state)
{
    world              *w       = *state;
    waiter              it      = { .w = w };
    pgqrs_store_options options = world_options(w);
    if (!w->pooled)
        skip();
    queue(w, "orders");
    options.listen_dsn = w->direct;
    assert_ok(pgqrs_open(w->dsn, &options, &it.store, &failure));
    together(2, wait_or_enqueue, &it);
    size_t count = pgqrs_messages_count(it.batch);
    pgqrs_messages_free(it.batch);
    pgqrs_close(it.store);
    assert_int_equal(PGQRS_OK, it.status);
    assert_int_equal(1, count);
}

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        CASE_REAL(g60_nothing_is_left_in_the_sessions_of_a_pooler),
        CASE_REAL(g60_a_pooler_is_noticed_and_told_once),
        CASE_REAL(options_of_the_user_are_refused_with_a_reason),
        CASE_REAL(g60_behind_a_pooler_a_listen_dsn_wakes_at_once),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
#else
    return 77;
#endif
}
