/* What docs/postgresql.md says: its settings are in force, and its queries answer. */
#include <stdlib.h>

#include "support/lose.h"
#include "support/peek.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_POSTGRES

#include "backend/postgres/postgres.h"

#define PAGE_MAX 65536
#define QUERIES  11

static char page[PAGE_MAX];

static void read_page(void)
{
    FILE *file = fopen(PGQRS_TEST_SOURCE_DIR "/docs/postgresql.md", "r");
    assert_non_null(file);
    const size_t length = fread(page, 1, sizeof(page) - 1, file);
    (void)fclose(file);
    assert_true(length > 0 && length < sizeof(page) - 1);
    page[length] = '\0';
}

/* The next block of SQL, cut out of the page; NULL: there is no more. */
static char *next_query(char **at)
{
    char *begin = strstr(*at, "```sql\n");
    if (begin == NULL)
        return NULL;
    begin += strlen("```sql\n");
    char *end = strstr(begin, "```");
    assert_non_null(end);
    *end = '\0';
    *at  = end + 1;
    return begin;
}

/* Something of everything that the queries look for. */
static void populate(world *w)
{
    pgqrs_step *step;
    message     m;
    int64_t     worker;
    queue(w, "orders");
    workflow(w, "flow");
    assert_ok(pgqrs_worker_register(w->store, "silent", NULL, &worker, &failure));
    enqueue_count(w, "orders", 4, NULL);
    m = claim_one(w, "orders");
    assert_ok(pgqrs_dead_letter(w->store, &m, "C", "text", &failure));
    m = claim_one(w, "orders");
    assert_ok(pgqrs_retry(w->store, &m, "C", "text", &failure));
    (void)claim_one(w, "orders");
    (void)trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    step           = begin(run, "one");
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
    sql_run(w, "UPDATE pgqrs_workers SET heartbeat_at = now() - interval '1 hour'");
}

static void every_query_of_the_page_answers(void **state)
{
    /* What has nothing to tell here: nobody waits, and no statistics have been gathered. */
    static const char *const silent[] = { "pg_blocking_pids", "pg_stat_user_tables",
                                          "backend_xmin" };
    world                   *w        = *state;
    char                    *at       = page;
    int                      queries  = 0;

    read_page();
    populate(w);
    for (char *query = next_query(&at); query != NULL; query = next_query(&at), queries++) {
        bool      may_be_silent = false;
        PGresult *result        = PQexec(w->pg, query);
        if (PQresultStatus(result) != PGRES_TUPLES_OK)
            fail_msg("%s\n%s", query, PQerrorMessage(w->pg));
        for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
            may_be_silent = may_be_silent || strstr(query, silent[i]) != NULL;
        if (PQntuples(result) == 0 && !may_be_silent)
            fail_msg("no row: %s", query);
        PQclear(result);
    }
    assert_int_equal(QUERIES, queries);
}

/* "| `name` | `value` | why |", cut out of a line. */
static bool read_setting(const char *line, char name[64], char value[64])
{
    return sscanf(line, "| `%63[a-z_]` | `%63[^`]` |", name, value) == 2;
}

static void every_setting_of_the_page_is_in_force(void **state)
{
    world                *w        = *state;
    const pgqrs__settings settings = { .schema             = w->schema,
                                       .connect_timeout_us = 10 * PGQRS_SECOND,
                                       .clock              = world_options(w).clock };
    const pgqrs__backend *backend  = &pgqrs__backend_postgres;
    pgqrs__db            *db       = NULL;
    pgqrs__conn          *conn     = NULL;
    int                   count    = 0;

    read_page();
    assert_ok(backend->open(w->direct, &settings, &db, &failure));
    assert_ok(backend->connect(db, &conn, &failure));
    assert_int_equal(1, PQexitPipelineMode(conn->pg));
    for (char *line = strtok(page, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char name[64], value[64], sql[128];
        if (!read_setting(line, name, value))
            continue;
        count++;
        (void)snprintf(sql, sizeof(sql), "SELECT current_setting('%s', true)", name);
        PGresult *result = PQexec(conn->pg, sql);
        assert_int_equal(PGRES_TUPLES_OK, PQresultStatus(result));
        if (strcmp(name, "client_connection_check_interval") != 0
            || PQserverVersion(conn->pg) >= 140000)
            assert_string_equal(value, PQgetvalue(result, 0, 0));
        PQclear(result);
    }
    assert_int_equal(6, count);
    backend->disconnect(conn, false);
    backend->close(db, false);
}

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        CASE_REAL(every_query_of_the_page_answers),
        CASE_REAL(every_setting_of_the_page_is_in_force),
    };
    return on_postgres() ? cmocka_run_group_tests(cases, NULL, NULL) : 77;
#else
    return 77;
#endif
}
