#include "backend/postgres/postgres.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "migrations.h"
#include "util/error.h"
#include "util/failpoint.h"

/* Run SQL of several statements, which is freed. */
static pgqrs_status run_text(pgqrs__conn *conn, pgqrs__buf *sql, int64_t deadline_us,
                             pgqrs_error *error)
{
    PGresult    *answer, *failure = NULL;
    bool         late = false;
    pgqrs_status rc;

    if (pgqrs__buf_cstr(sql) == NULL) {
        pgqrs__buf_free(sql);
        return pgqrs__nomem(error);
    }
    rc = pgqrs__pg_open(conn, deadline_us, error);
    if (rc == PGQRS_OK && conn->items_count > 0) /* BEGIN */
        rc = pgqrs__pg_close(conn, PGQRS__PG_STAKE_NONE, deadline_us, error);
    if (rc != PGQRS_OK) {
        pgqrs__buf_free(sql);
        return rc;
    }

    /* Several statements in one text are for the simple protocol alone. */
    PGQRS__FAILPOINT("before a script");
    if (PQexitPipelineMode(conn->pg) != 1 || PQsendQuery(conn->pg, sql->data) != 1) {
        conn->broken = true;
        rc           = pgqrs__pg_lost(conn, NULL, error);
    }
    pgqrs__buf_free(sql);
    if (rc != PGQRS_OK)
        return rc;
    atomic_fetch_add_explicit(&conn->db->statements, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&conn->db->round_trips, 1, memory_order_relaxed);
    PGQRS__FAILPOINT_AFTER((void)PQflush(conn->pg), "script sent, and not answered");
    for (;;) {
        int unsent = PQflush(conn->pg);

        if (unsent == 1 || PQisBusy(conn->pg)) {
            late = pgqrs__pg_poll(PQsocket(conn->pg),
                                  (short)(unsent == 1 ? POLLIN | POLLOUT : POLLIN), -1, deadline_us)
                   == 0;
            if (late || (!pgqrs__pg_consume(conn) && PQstatus(conn->pg) == CONNECTION_OK))
                break;
            if (PQstatus(conn->pg) == CONNECTION_OK)
                continue;
        }
        answer = PQgetResult(conn->pg);
        if (answer == NULL)
            break;
        if (failure == NULL && PQresultStatus(answer) == PGRES_FATAL_ERROR)
            failure = answer;
        else
            PQclear(answer);
    }
    PGQRS__FAILPOINT("script answered");
    if (late) {
        rc = pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_NONE,
                         "deadline passed before the database answered");
    } else if (PQstatus(conn->pg) != CONNECTION_OK || PQenterPipelineMode(conn->pg) != 1) {
        rc = pgqrs__pg_lost(conn, failure, error);
    } else {
        rc = failure == NULL ? pgqrs__ok(error) : pgqrs__pg_fail(conn, failure, error);
        PQclear(failure);
        return rc;
    }
    conn->broken = true;
    PQclear(failure);
    return rc;
}

pgqrs_status pgqrs__pg_script(pgqrs__conn *conn, const char *sql, int64_t deadline_us,
                              pgqrs_error *error)
{
    pgqrs__buf text;

    pgqrs__buf_init(&text);
    pgqrs__pg_qualify(conn->db, sql, &text);
    return run_text(conn, &text, deadline_us, error);
}

/* One question with a yes or no. */
static pgqrs_status on_there(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                             pgqrs_error *error)
{
    bool *there = item->out;

    (void)conn;
    (void)error;
    *there = PQntuples(answer) == 1 && PQgetlength(answer, 0, 0) == 1
             && PQgetvalue(answer, 0, 0)[0] != 0;
    return PGQRS_OK;
}

static pgqrs_status ask(pgqrs__conn *conn, const char *sql, int nparams, const char *const *params,
                        int64_t deadline_us, bool *out_there, pgqrs_error *error)
{
    bool         ignored;
    pgqrs_status rc = pgqrs__pg_open(conn, deadline_us, error);

    if (out_there == NULL)
        out_there = &ignored;
    *out_there = false;
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_send(conn, sql, nparams, params, on_there, out_there, error);
    if (rc != PGQRS_OK)
        return rc;
    atomic_fetch_add_explicit(&conn->db->statements, 1, memory_order_relaxed);
    rc = pgqrs__pg_close(conn, PGQRS__PG_STAKE_NONE, deadline_us, error);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}

/* The advisory lock of installing into this schema. */
static int64_t install_key(const pgqrs__db *db)
{
    return (int64_t)pgqrs__pg_hash(UINT64_C(0x696e7374616c6c), db->schema);
}

/* Whether a schema was asked for that is not there. Installing creates it, and only then: IF NOT
 * EXISTS asks for the right to create it even when it is there. */
static pgqrs_status lacks_schema(pgqrs__conn *conn, int64_t deadline_us, bool *out_lacks,
                                 pgqrs_error *error)
{
    const char  *params[] = { conn->db->schema };
    bool         there    = true;
    pgqrs_status rc       = PGQRS_OK;

    if (conn->db->wanted != NULL)
        rc = ask(conn, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", 1,
                 params, deadline_us, &there, error);
    *out_lacks = !there;
    return rc;
}

/* An installation waits for those who are at work no longer than it may make them wait; and gives
 * up sooner than a deadlock with them would be found (deadlock_timeout: 1 s), and one of them
 * chosen.
 */
static const char give_way[] = "SELECT set_config('lock_timeout', '500ms', true) IS NULL";

pgqrs_status pgqrs__pg_lock_install(pgqrs__conn *conn, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs__db   *db = conn->db;
    char         key[24];
    const char  *params[] = { key };
    pgqrs__buf   create;
    bool         lacks;
    pgqrs_status rc;

    (void)snprintf(key, sizeof key, "%" PRId64, install_key(db));
    rc = ask(conn, "SELECT pg_advisory_xact_lock($1::int8) IS NULL", 1, params, deadline_us, NULL,
             error);
    if (rc == PGQRS_OK)
        rc = ask(conn, give_way, 0, NULL, deadline_us, NULL, error);
    if (rc == PGQRS_OK)
        rc = lacks_schema(conn, deadline_us, &lacks, error);
    if (rc != PGQRS_OK || !lacks)
        return rc;
    pgqrs__buf_init(&create);
    pgqrs__buf_printf(&create, "CREATE SCHEMA IF NOT EXISTS %s", db->quoted);
    if (pgqrs__buf_cstr(&create) == NULL)
        rc = pgqrs__nomem(error);
    else
        rc = ask(conn, create.data, 0, NULL, deadline_us, NULL, error);
    pgqrs__buf_free(&create);
    return rc;
}

pgqrs_status pgqrs__pg_script_begin(pgqrs__conn *conn, pgqrs__buf *out, int64_t deadline_us,
                                    pgqrs_error *error)
{
    bool         lacks;
    pgqrs_status rc = lacks_schema(conn, deadline_us, &lacks, error);

    if (rc != PGQRS_OK)
        return rc;
    pgqrs__buf_printf(out, "BEGIN;\nSELECT pg_advisory_xact_lock(%" PRId64 ");\n",
                      install_key(conn->db));
    if (lacks)
        pgqrs__buf_printf(out, "CREATE SCHEMA IF NOT EXISTS %s;\n", conn->db->quoted);
    return PGQRS_OK;
}

void pgqrs__pg_script_text(pgqrs__conn *conn, const char *sql, pgqrs__buf *out)
{
    pgqrs__pg_qualify(conn->db, sql, out);
}

static pgqrs_status has(pgqrs__conn *conn, const char *sql, const char *prefix, const char *name,
                        int64_t deadline_us, bool *out_there, pgqrs_error *error)
{
    char        full[64];
    const char *params[] = { conn->db->schema, full };

    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    return ask(conn, sql, 2, params, deadline_us, out_there, error);
}

pgqrs_status pgqrs__pg_has_table(pgqrs__conn *conn, const char *table, int64_t deadline_us,
                                 bool *out_there, pgqrs_error *error)
{
    return has(conn,
               "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c"
               " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
               " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p'))",
               "pgqrs_", table, deadline_us, out_there, error);
}

pgqrs_status pgqrs__pg_has_index(pgqrs__conn *conn, const char *index, int64_t deadline_us,
                                 bool *out_there, pgqrs_error *error)
{
    return has(conn,
               "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i"
               " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
               " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
               " WHERE n.nspname = $1 AND c.relname = $2 AND i.indisvalid)",
               "", index, deadline_us, out_there, error);
}

/* "@role" and "@schema" replaced by the quoted names, in one pass: a name may hold either. */
static void grant_text(const pgqrs__conn *conn, const char *sql, const char *role, pgqrs__buf *out)
{
    static const char schema_token[] = "@schema", role_token[] = "@role";

    while (*sql != '\0') {
        if (strncmp(sql, schema_token, sizeof schema_token - 1) == 0) {
            pgqrs__buf_str(out, conn->db->quoted);
            sql += sizeof schema_token - 1;
        } else if (strncmp(sql, role_token, sizeof role_token - 1) == 0) {
            pgqrs__buf_char(out, '"');
            for (const char *c = role; *c != '\0'; c++) {
                if (*c == '"')
                    pgqrs__buf_char(out, '"');
                pgqrs__buf_char(out, *c);
            }
            pgqrs__buf_char(out, '"');
            sql += sizeof role_token - 1;
        } else {
            pgqrs__buf_char(out, *sql++);
        }
    }
}

/* What a role that exists is granted, appended. */
static pgqrs_status grant(pgqrs__conn *conn, const char *sql, const char *role, pgqrs__buf *out,
                          int64_t deadline_us, pgqrs_error *error)
{
    const char  *params[] = { role };
    bool         there    = false;
    pgqrs_status rc =
        ask(conn, "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)", 1, params,
            deadline_us, &there, error);

    if (rc != PGQRS_OK)
        return rc;
    if (!there) {
        pgqrs__fail(error, PGQRS_ENOTFOUND, PGQRS_OBJECT_STORE, "role \"%s\" does not exist", role);
        pgqrs__hint(error, "Create it first: CREATE ROLE.");
        return PGQRS_ENOTFOUND;
    }
    grant_text(conn, sql, role, out);
    return PGQRS_OK;
}

pgqrs_status pgqrs__pg_script_grant(pgqrs__conn *conn, const char *producer, const char *worker,
                                    pgqrs__buf *out, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc = PGQRS_OK;

    if (producer != NULL)
        rc = grant(conn, pgqrs__role_postgres_producer, producer, out, deadline_us, error);
    if (rc == PGQRS_OK && worker != NULL)
        rc = grant(conn, pgqrs__role_postgres_worker, worker, out, deadline_us, error);
    return rc;
}

pgqrs_status pgqrs__pg_grant(pgqrs__conn *conn, const char *producer, const char *worker,
                             int64_t deadline_us, pgqrs_error *error)
{
    pgqrs__buf   text;
    pgqrs_status rc;

    pgqrs__buf_init(&text);
    rc = pgqrs__pg_script_grant(conn, producer, worker, &text, deadline_us, error);
    if (rc == PGQRS_OK)
        return run_text(conn, &text, deadline_us, error);
    pgqrs__buf_free(&text);
    return rc;
}

static pgqrs_status on_described(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                                 pgqrs_error *error)
{
    (void)conn;
    return pgqrs__pg_check_columns(&pgqrs__shapes[item->stmt], answer, error);
}

pgqrs_status pgqrs__pg_prepare(pgqrs__conn *conn, int stmt, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__pg_open(conn, deadline_us, error);

    /* Without a name: checked anew even if it is known, and forgotten with the next. */
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_send_parse(conn, stmt, "", error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_sent(conn, PQsendDescribePrepared(conn->pg, ""),
                            (pgqrs__pg_item){ .on_answer = on_described, .stmt = stmt }, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_close(conn, PGQRS__PG_STAKE_NONE, deadline_us, error);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}
