/* Every statement, prepared on a migrated database; and the plans of the hot ones, which must not
 * depend on how large the tables were when a connection first used them. */
#include <stdlib.h>

#include "backend/backend.h"
#include "statements.h"
#include "support/peek.h"
#include "support/world.h"

/* A connection of the library, without the library above it; to the server itself. */
typedef struct line {
    const pgqrs__backend *backend;
    pgqrs__db            *db;
    pgqrs__conn          *conn;
} line;

static line dial(world *w)
{
    const pgqrs_store_options options  = world_options(w);
    const pgqrs__settings     settings = {
            .schema             = options.schema,
            .connect_timeout_us = 10 * PGQRS_SECOND,
            .clock              = options.clock,
    };
    line l = { .backend = pgqrs__backend_for(w->direct, &failure) };
    assert_non_null(l.backend);
    assert_ok(l.backend->open(w->direct, &settings, &l.db, &failure));
    assert_ok(l.backend->connect(l.db, &l.conn, &failure));
    return l;
}

static void hang_up(const line *l)
{
    l->backend->disconnect(l->conn, false);
    l->backend->close(l->db, false);
}

static void g38_every_statement_is_accepted_by_the_database(void **state)
{
    world *w       = *state;
    line   l       = dial(w);
    int    refused = 0;
    for (int stmt = 0; stmt < (int)PGQRS__STMT_COUNT; stmt++) {
        pgqrs_status status = l.backend->prepare(l.conn, stmt, INT64_MAX, &failure);
        if (status != PGQRS_OK)
            print_error("%s: %s\n%s\n", pgqrs__shapes[stmt].name, failure.message, failure.detail);
        refused += status != PGQRS_OK;
        assert_true(l.backend->usable(l.conn));
    }
    assert_int_equal(0, refused);
    hang_up(&l);
}

static void the_dialects_have_the_same_statements(void **state)
{
    const world *w = *state;
    line         l = { .backend = pgqrs__backend_for(w->dsn, &failure) };
    for (int stmt = 0; stmt < (int)PGQRS__STMT_COUNT; stmt++) {
        assert_non_null(pgqrs__shapes[stmt].name);
        assert_true(l.backend->sql[stmt].nparts > 0);
        assert_true(pgqrs__shapes[stmt].narrays <= pgqrs__shapes[stmt].nargs);
    }
    assert_true(*l.backend->migrations_count > 0);
}

#ifdef PGQRS_HAVE_POSTGRES

#include "backend/postgres/postgres.h"

#define ROWS       10
#define READY      300000 /* ids 1 … */
#define LEASED     100000 /* and on from there, under lease 7, with a step each */
#define FIRST_HELD (READY + 1)

static const int hot[] = {
    PGQRS__STMT_MESSAGE_ENQUEUE, PGQRS__STMT_MESSAGE_CLAIM,   PGQRS__STMT_RUN_CLAIM,
    PGQRS__STMT_MESSAGE_FINISH,  PGQRS__STMT_MESSAGE_RELEASE, PGQRS__STMT_MESSAGE_DELETE,
    PGQRS__STMT_LEASE_EXTEND,    PGQRS__STMT_LEASE_HOLD,      PGQRS__STMT_STEP_RECORD,
    PGQRS__STMT_MESSAGE_CANCEL,  PGQRS__STMT_MESSAGE_FIND,    PGQRS__STMT_MESSAGE_CLAIM_ID,
    PGQRS__STMT_STEP_FIND,       PGQRS__STMT_RUN_FIND,
};
#define HOT (sizeof(hot) / sizeof(hot[0]))

/* What is given to an argument of that name: the @p i-th of its rows. NULL: NULL. */
static const char *value(const pgqrs__field *field, int i, int64_t queue_id, char *out, size_t size)
{
    static const struct {
        const char *name;
        const char *value;
    } fixed[] = {
        { "lease", "7" },   { "priority", "5" }, { "payload", "0" },   { "state", "0" },
        { "counted", "f" }, { "backoff", "f" },  { "reason", "0" },    { "status", "1" },
        { "retries", "0" }, { "name", "new" },   { "max_rows", "10" },
    };
    if (strcmp(field->name, "queue") == 0) {
        (void)snprintf(out, size, "%lld", (long long)queue_id);
        return out;
    }
    if (strcmp(field->name, "message") == 0 || strcmp(field->name, "run") == 0) {
        (void)snprintf(out, size, "%d", FIRST_HELD + 9001 * i); /* far apart */
        return out;
    }
    for (size_t k = 0; k < sizeof(fixed) / sizeof(fixed[0]); k++)
        if (strcmp(field->name, fixed[k].name) == 0)
            return fixed[k].value;
    return field->nullable ? NULL : "0"; /* hints, from the floor */
}

/* EXECUTE of a statement as text, ten rows of arguments where it takes arrays. */
static void execute_text(const line *l, int stmt, int64_t queue_id, char *out, size_t size)
{
    static const char *const types[] = {
        [PGQRS__TYPE_I16] = "smallint", [PGQRS__TYPE_I32] = "integer",
        [PGQRS__TYPE_I64] = "bigint",   [PGQRS__TYPE_F64] = "float8",
        [PGQRS__TYPE_BOOL] = "boolean", [PGQRS__TYPE_TEXT] = "text",
        [PGQRS__TYPE_JSON] = "json",    [PGQRS__TYPE_TIME] = "timestamptz",
    };
    const pgqrs__shape *shape = &pgqrs__shapes[stmt];
    size_t              at    = (size_t)snprintf(out, size, "EXECUTE %s", l->db->names[stmt]);
    for (int k = 0; k < shape->nargs; k++) {
        char                held[32];
        const pgqrs__field *field = &shape->args[k];
        const char         *type  = types[field->type];
        at += (size_t)snprintf(out + at, size - at, k == 0 ? " (" : ", ");
        if (field->array) {
            at += (size_t)snprintf(out + at, size - at, "'{");
            for (int i = 0; i < ROWS; i++) {
                const char *text = value(field, i, queue_id, held, sizeof(held));
                at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? "," : "",
                                       text != NULL ? text : "NULL");
            }
            at += (size_t)snprintf(out + at, size - at, "}'::%s[]", type);
        } else {
            const char *text = value(field, 0, queue_id, held, sizeof(held));
            at += text != NULL ? (size_t)snprintf(out + at, size - at, "'%s'::%s", text, type)
                               : (size_t)snprintf(out + at, size - at, "NULL::%s", type);
        }
    }
    if (shape->nargs > 0)
        at += (size_t)snprintf(out + at, size - at, ")");
    assert_true(at < size);
}

/* Run on the library's own session. The answer is the caller's. */
static PGresult *ask(const line *l, const char *sql)
{
    PGresult      *result = PQexec(l->conn->pg, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        print_error("%s\n%s\n", sql, PQerrorMessage(l->conn->pg));
        fail();
    }
    return result;
}

/* As the library does it: the same session, text, name and types. */
static void prepare(const line *l, int stmt)
{
    Oid types[PGQRS__PG_MAX_ARGS];
    pgqrs__pg_types(&pgqrs__shapes[stmt], types);
    PGresult *result = PQprepare(l->conn->pg, l->db->names[stmt], l->db->sql[stmt],
                                 pgqrs__shapes[stmt].nargs, types);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        print_error("%s: %s\n", pgqrs__shapes[stmt].name, PQerrorMessage(l->conn->pg));
    assert_int_equal(PGRES_COMMAND_OK, PQresultStatus(result));
    PQclear(result);
}

static int64_t ask_number(const line *l, const char *sql)
{
    PGresult *result = ask(l, sql);
    int64_t   number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return number;
}

/* No node of the plan reads a table of many rows from end to end. */
static void assert_no_scan(const line *l, int stmt, int64_t queue_id)
{
    static const char *const large[] = { "pgqrs_messages", "pgqrs_ready",   "pgqrs_leased",
                                         "pgqrs_steps",    "pgqrs_archive", "pgqrs_scheduled" };
    static char              sql[8000], wanted[64];
    size_t                   at = (size_t)snprintf(sql, sizeof(sql), "EXPLAIN (FORMAT JSON) ");
    execute_text(l, stmt, queue_id, sql + at, sizeof(sql) - at);
    PGresult   *result = ask(l, sql);
    const char *plan   = PQgetvalue(result, 0, 0);
    const char *scan   = plan;
    bool        found  = false;
    while ((scan = strstr(scan, "\"Node Type\": \"Seq Scan\"")) != NULL) {
        scan             = strstr(scan, "\"Relation Name\": \"");
        const char *name = scan + strlen("\"Relation Name\": \"");
        for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
            (void)snprintf(wanted, sizeof(wanted), "%s\"", large[i]);
            if (strncmp(name, wanted, strlen(wanted)) == 0) {
                print_error("%s reads all of %s\n", pgqrs__shapes[stmt].name, large[i]);
                found = true;
            }
        }
    }
    if (found)
        print_error("%s\n", plan);
    PQclear(result);
    assert_false(found);
}

/* Blocks of our tables and indexes that a statement asks for. What it does is rolled back. */
static int64_t blocks_of(const line *l, int stmt, int64_t queue_id)
{
    static const char fetched[] = "SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class "
                                  "WHERE relname LIKE 'pgqrs\\_%' AND relkind IN ('r', 'i', 'S')";
    static char       sql[8000];
    execute_text(l, stmt, queue_id, sql, sizeof(sql));
    PQclear(ask(l, "BEGIN"));
    int64_t   before = ask_number(l, fetched);
    PGresult *result = ask(l, sql);
    int64_t   after  = ask_number(l, fetched);
    int       rows   = PQntuples(result);
    PQclear(result);
    PQclear(ask(l, "ROLLBACK"));
    if (pgqrs__shapes[stmt].many || stmt == PGQRS__STMT_MESSAGE_CLAIM
        || stmt == PGQRS__STMT_RUN_CLAIM)
        assert_int_equal(ROWS, rows); /* it did what is measured */
    return after - before;
}

static void fill(world *w, int64_t queue_id)
{
    char sql[1200];
    (void)snprintf(
        sql, sizeof(sql),
        "INSERT INTO pgqrs_messages (id, enqueued_at, queue_id, priority, payload) "
        "SELECT i, now(), %lld, 5, '{\"n\":1}' FROM generate_series(1, %d) i;"
        "INSERT INTO pgqrs_ready (seq, message_id, queue_id, priority, attempt) "
        "SELECT i, i, %lld, 5, 0 FROM generate_series(1, %d) i;"
        "INSERT INTO pgqrs_leased (message_id, lease, claimed_at, expires_at, queue_id, attempt) "
        "SELECT i, 7, now(), now() + interval '1 day', %lld, 1 FROM generate_series(%d, %d) i;"
        "INSERT INTO pgqrs_steps (run_id, status, name) "
        "SELECT i, 1, 's' FROM generate_series(%d, %d) i;"
        "SELECT setval('pgqrs_ids', %d)",
        (long long)queue_id, READY + LEASED, (long long)queue_id, READY, (long long)queue_id,
        FIRST_HELD, READY + LEASED, FIRST_HELD, READY + LEASED, READY + LEASED + 1);
    sql_run(w, sql);
}

static void g38_plans_made_on_empty_tables_are_good_for_full_ones(void **state)
{
    world *w = *state;
    if (!w->postgres)
        skip();
    queue(w, "orders");
    int64_t queue_id = queue_get(w, "orders").id;
    /* no ANALYZE by the server, which would have the plans made anew */
    static const char *const tables[] = { "messages", "ready", "leased", "steps" };
    for (size_t i = 0; i < 4; i++) {
        char sql[128];
        (void)snprintf(sql, sizeof(sql), "ALTER TABLE pgqrs_%s SET (autovacuum_enabled = off)",
                       tables[i]);
        sql_run(w, sql);
    }
    line l = dial(w);
    assert_int_equal(1, PQexitPipelineMode(l.conn->pg));
    for (size_t i = 0; i < HOT; i++)
        prepare(&l, hot[i]);
    for (size_t i = 0; i < HOT; i++) /* the plan is made now, for empty tables, and kept */
        assert_no_scan(&l, hot[i], queue_id);
    fill(w, queue_id);
    for (size_t i = 0; i < HOT; i++)
        assert_no_scan(&l, hot[i], queue_id);

    /* Ten rows found by key are 18 blocks each at the most; a walk through the smallest index alone
     * would be 270 more. */
    for (size_t i = 0; i < HOT; i++) {
        int64_t blocks = blocks_of(&l, hot[i], queue_id);
        if (blocks >= 250)
            print_error("%s: %d blocks\n", pgqrs__shapes[hot[i]].name, (int)blocks);
        assert_true(blocks < 250);
    }
    sql_run(w, "ANALYZE pgqrs_messages, pgqrs_ready, pgqrs_leased, pgqrs_steps");
    for (size_t i = 0; i < HOT; i++)
        assert_no_scan(&l, hot[i], queue_id); /* and made again with what the server now knows */
    hang_up(&l);
}

#endif

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_REAL(g38_every_statement_is_accepted_by_the_database),
        CASE_REAL(the_dialects_have_the_same_statements),
#ifdef PGQRS_HAVE_POSTGRES
        CASE_REAL(g38_plans_made_on_empty_tables_are_good_for_full_ones),
#endif
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
