/* Baselines on libpq: plain inserts, a destructive pop, and the library's own SQL in a bare loop.
 */
#include "bench.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "statements.h"

extern const pgqrs__sql pgqrs__sql_postgres[];

#define ROWS_MAX    1000
#define HINT_MARGIN 2000

typedef struct client {
    bench      *b;
    lane       *l;
    PGconn     *pg;
    int         size;
    char       *arrays[6]; /* for the bare drain's finish: room for size rows */
    int         lengths[6];
    int64_t     queue_id, hint, lease;
    const char *json_array;
    int         json_length;
} client;

static int64_t say(client *c, const char *what)
{
    snprintf(c->l->why, sizeof(c->l->why), "%s: %s", what, PQerrorMessage(c->pg));
    return -1;
}

static bool run_sql(bench *b, PGconn *pg, const char *sql)
{
    PGresult      *r      = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(r);

    PQclear(r);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return true;
    bench_fail(b, "%s: %s", sql, PQerrorMessage(pg));
    return false;
}

static PGconn *dial(bench *b)
{
    PGconn *pg = PQconnectdb(b->dsn);
    char    sql[300];

    if (PQstatus(pg) == CONNECTION_OK) {
        snprintf(sql, sizeof(sql),
                 "SET search_path TO %s; SET plan_cache_mode = force_generic_plan;"
                 " SET enable_seqscan = off; SET jit = off; SET client_min_messages = warning",
                 b->schema);
        if (run_sql(b, pg, sql))
            return pg;
    } else {
        bench_fail(b, "%s", PQerrorMessage(pg));
    }
    PQfinish(pg);
    return NULL;
}

bool pg_make_place(bench *b)
{
    PGconn *pg = PQconnectdb(b->dsn);
    char    sql[400];
    bool    good;

    snprintf(sql, sizeof(sql),
             "CREATE SCHEMA %s;"
             " CREATE TABLE %s.raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
             " payload json NOT NULL);"
             " CREATE TABLE %s.pop (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
             " payload json NOT NULL)",
             b->schema, b->schema, b->schema);
    good = PQstatus(pg) == CONNECTION_OK ? run_sql(b, pg, sql) : false;
    if (PQstatus(pg) != CONNECTION_OK)
        bench_fail(b, "%s", PQerrorMessage(pg));
    PQfinish(pg);
    return good;
}

void pg_drop_place(bench *b)
{
    PGconn *pg = PQconnectdb(b->dsn);
    char    sql[200];

    snprintf(sql, sizeof(sql),
             "SET client_min_messages = warning; DROP SCHEMA IF EXISTS %s CASCADE", b->schema);
    (void)run_sql(b, pg, sql);
    PQfinish(pg);
}

bool pg_pin_snapshot(bench *b, void **conn)
{
    PGconn *pg = dial(b);

    *conn = pg;
    return pg != NULL
           && run_sql(b, pg, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM raw");
}

void pg_unpin_snapshot(void *conn)
{
    PQfinish(conn);
}

static void client_close(void *self)
{
    client *c = self;

    for (size_t i = 0; i < 6; i++)
        free(c->arrays[i]);
    PQfinish(c->pg);
    free(c);
}

static client *client_new(bench *b, const job *j, lane *l)
{
    client *c = BENCH_NEW(client);

    if (c == NULL)
        return NULL;
    c->b    = b;
    c->l    = l;
    c->size = j->size;
    c->pg   = dial(b);
    if (c->pg == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

static bool prepare(client *c, const char *name, const char *sql, int count, const Oid *types)
{
    PGresult *r    = PQprepare(c->pg, name, sql, count, types);
    bool      good = PQresultStatus(r) == PGRES_COMMAND_OK;

    PQclear(r);
    if (!good)
        (void)say(c, name);
    return good;
}

/* --- Inserts ---------------------------------------------------------------------------------- */

static int64_t insert_op(void *self)
{
    client     *c         = self;
    const char *values[]  = { c->json_array == NULL ? BENCH_PAYLOAD : c->json_array };
    int         lengths[] = { c->json_array == NULL ? (int)strlen(values[0]) : c->json_length };
    const int   formats[] = { 1 };
    PGresult   *r         = PQexecPrepared(c->pg, "insert", 1, values, lengths, formats, 1);
    bool good = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;

    PQclear(r);
    return good ? c->size : say(c, "insert");
}

static void *insert_open(bench *b, const job *j, lane *l, int caller)
{
    const Oid json = 114;
    client   *c    = client_new(b, j, l);

    (void)caller;
    if (c != NULL && prepare(c, "insert", "INSERT INTO raw (payload) VALUES ($1)", 1, &json))
        return c;
    if (c != NULL)
        client_close(c);
    return NULL;
}

static void truncate_raw(bench *b, const job *j)
{
    PGconn *pg = dial(b);

    (void)j;
    if (pg != NULL)
        (void)run_sql(b, pg, "TRUNCATE raw");
    PQfinish(pg);
}

job pg_insert(int callers)
{
    return (job){ .name    = "insert",
                  .callers = callers,
                  .size    = 1,
                  .open    = insert_open,
                  .op      = insert_op,
                  .close   = client_close,
                  .done    = truncate_raw };
}

/* --- Binary values ---------------------------------------------------------------------------- */

static void put_be(char *to, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        to[i] = (char)value;
}

static int64_t get_be(const char *from, int bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++)
        value = value << 8 | (unsigned char)from[i];
    return (int64_t)value;
}

static char *array_head(char *to, Oid element, int count, bool nulls)
{
    put_be(to, 1, 4);
    put_be(to + 4, nulls, 4);
    put_be(to + 8, element, 4);
    put_be(to + 12, (uint64_t)count, 4);
    put_be(to + 16, 1, 4);
    return to + 20;
}

static Oid oid_of(const pgqrs__field *f)
{
    static const Oid plain[] = {
        [PGQRS__TYPE_I16] = 21,   [PGQRS__TYPE_I32] = 23,   [PGQRS__TYPE_I64] = 20,
        [PGQRS__TYPE_F64] = 701,  [PGQRS__TYPE_BOOL] = 16,  [PGQRS__TYPE_TEXT] = 25,
        [PGQRS__TYPE_JSON] = 114, [PGQRS__TYPE_TIME] = 1184
    };
    static const Oid arrays[] = {
        [PGQRS__TYPE_I16] = 1005, [PGQRS__TYPE_I32] = 1007,  [PGQRS__TYPE_I64] = 1016,
        [PGQRS__TYPE_F64] = 1022, [PGQRS__TYPE_BOOL] = 1000, [PGQRS__TYPE_TEXT] = 1009,
        [PGQRS__TYPE_JSON] = 199, [PGQRS__TYPE_TIME] = 1185
    };

    return f->array ? arrays[f->type] : plain[f->type];
}

static void *insert_many_open(bench *b, const job *j, lane *l, int caller)
{
    const Oid json   = 199;
    size_t    length = strlen(BENCH_PAYLOAD);
    client   *c      = client_new(b, j, l);
    char     *at;

    (void)caller;
    if (c == NULL)
        return NULL;
    c->arrays[0]  = malloc(20 + (size_t)j->size * (4 + length));
    c->json_array = c->arrays[0];
    if (c->arrays[0] == NULL
        || !prepare(c, "insert", "INSERT INTO raw (payload) SELECT unnest($1)", 1, &json)) {
        client_close(c);
        return NULL;
    }
    at = array_head(c->arrays[0], 114, j->size, false);
    for (int i = 0; i < j->size; i++, at += 4 + length) {
        put_be(at, length, 4);
        memcpy(at + 4, BENCH_PAYLOAD, length);
    }
    c->json_length = (int)(at - c->arrays[0]);
    return c;
}

job pg_insert_many(int batch)
{
    return (job){ .name    = "unnest",
                  .callers = 1,
                  .size    = batch,
                  .open    = insert_many_open,
                  .op      = insert_op,
                  .close   = client_close,
                  .done    = truncate_raw };
}

/* --- A destructive pop ------------------------------------------------------------------------ */

static bool pop_ready(bench *b, const job *j)
{
    PGconn *pg = dial(b);
    char    sql[300];
    bool    good;

    (void)j;
    snprintf(sql, sizeof(sql),
             "INSERT INTO pop (payload) SELECT '%s' FROM generate_series(1, %lld"
             " - (SELECT count(*) FROM pop))",
             BENCH_PAYLOAD, (long long)(250000 * b->seconds) + 20000);
    good = pg != NULL && run_sql(b, pg, sql);
    PQfinish(pg);
    return good;
}

static void *pop_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l);
    char    sql[300];

    (void)caller;
    snprintf(sql, sizeof(sql),
             "DELETE FROM pop WHERE id = ANY (ARRAY(SELECT id FROM pop ORDER BY id LIMIT %d"
             " FOR UPDATE SKIP LOCKED)) RETURNING id, payload",
             j->size);
    if (c != NULL && prepare(c, "pop", sql, 0, NULL))
        return c;
    if (c != NULL)
        client_close(c);
    return NULL;
}

static int64_t pop_op(void *self)
{
    client   *c     = self;
    PGresult *r     = PQexecPrepared(c->pg, "pop", 0, NULL, NULL, NULL, 1);
    int64_t   count = PQresultStatus(r) == PGRES_TUPLES_OK ? PQntuples(r) : say(c, "pop");

    PQclear(r);
    return count;
}

job pg_pop(int callers, int batch, unsigned flags)
{
    return (job){ .name    = "pop",
                  .callers = callers,
                  .size    = batch,
                  .flags   = flags,
                  .ready   = pop_ready,
                  .open    = pop_open,
                  .op      = pop_op,
                  .close   = client_close };
}

/* --- The library's own SQL in a bare pipelined loop ------------------------------------------- */

static bool prepare_ours(client *c, int stmt)
{
    const pgqrs__shape *shape = &pgqrs__shapes[stmt];
    const char         *from  = pgqrs__sql_postgres[stmt].parts[0];
    char               *sql   = malloc(2 * strlen(from) + 4096);
    char               *to    = sql;
    Oid                 types[32];
    bool                good;

    if (sql == NULL)
        return false;
    while (*from != '\0') { /* the search path says which schema */
        if (strncmp(from, "@schema.", 8) == 0)
            from += 8;
        else
            *to++ = *from++;
    }
    *to = '\0';
    for (int i = 0; i < shape->nargs; i++)
        types[i] = oid_of(&shape->args[i]);
    good = prepare(c, shape->name, sql, shape->nargs, types);
    free(sql);
    return good;
}

static void *drain_open(bench *b, const job *j, lane *l, int caller)
{
    client   *c = client_new(b, j, l);
    PGresult *r;

    (void)caller;
    if (c == NULL)
        return NULL;
    for (size_t i = 0; i < 6; i++)
        c->arrays[i] = malloc(20 + 12 * ROWS_MAX);
    r = PQexec(c->pg,
               "SELECT id, (random() * 4e18)::int8 FROM pgqrs_queues WHERE name = 'bench_drain'"
               " AND deleted_at IS NULL");
    if (PQntuples(r) == 1) {
        c->queue_id = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
        c->lease    = strtoll(PQgetvalue(r, 0, 1), NULL, 10);
    }
    PQclear(r);
    if (c->queue_id != 0 && prepare_ours(c, PGQRS__STMT_MESSAGE_CLAIM)
        && prepare_ours(c, PGQRS__STMT_MESSAGE_FINISH) && PQenterPipelineMode(c->pg) == 1)
        return c;
    (void)say(c, "bare drain");
    client_close(c);
    return NULL;
}

/* Send a prepared statement with a Sync; its answer, or NULL. */
static PGresult *round_trip(client *c, const char *name, int count, const char *const *values,
                            const int *lengths)
{
    static const int binary[32] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    PGresult        *answer, *r;

    if (PQsendQueryPrepared(c->pg, name, count, values, lengths, binary, 1) != 1
        || PQpipelineSync(c->pg) != 1)
        return NULL;
    answer = PQgetResult(c->pg);
    PQclear(PQgetResult(c->pg)); /* the gap after it */
    r = PQgetResult(c->pg);
    if (PQresultStatus(r) != PGRES_PIPELINE_SYNC || PQresultStatus(answer) != PGRES_TUPLES_OK) {
        (void)say(c, PQresultErrorMessage(answer));
        PQclear(answer);
        answer = NULL;
    }
    PQclear(r);
    return answer;
}

static PGresult *bare_claim(client *c)
{
    char        fixed[16][8];
    const char *values[16]  = { 0 };
    int         lengths[16] = { 0 };

    for (int i = 0; i < 15; i++) {
        values[i]  = fixed[i];
        lengths[i] = i < 2 ? 4 : 8;
    }
    put_be(fixed[0], (uint64_t)c->queue_id, 4);
    put_be(fixed[1], (uint64_t)c->size, 4);
    put_be(fixed[2], (uint64_t)++c->lease, 8);
    values[3] = NULL; /* owner */
    put_be(fixed[4], (uint64_t)PGQRS_HOUR, 8);
    for (int i = 5; i < 15; i++)
        put_be(fixed[i], i == 5 + 5 ? (uint64_t)c->hint : 0, 8);
    return round_trip(c, "message_claim", 16, values, lengths);
}

static bool bare_finish(client *c, const PGresult *claimed, int count)
{
    static const Oid elements[] = { 23, 20, 20, 21, 114, 114 };
    static const int sizes[]    = { 4, 8, 8, 2, 0, 0 };
    const char      *values[7]  = { 0 };
    int              lengths[7] = { 0 };
    PGresult        *r;

    for (int a = 0; a < 6; a++) {
        char *at = array_head(c->arrays[a], elements[a], count, sizes[a] == 0);

        for (int i = 0; i < count; i++) {
            uint64_t v = 0;

            if (a == 0)
                v = (uint64_t)c->queue_id;
            else if (a == 1)
                v = (uint64_t)get_be(PQgetvalue(claimed, i, PGQRS__COL_MESSAGE_CLAIM_ID), 8);
            else if (a == 2)
                v = (uint64_t)c->lease;
            put_be(at, sizes[a] == 0 ? UINT32_MAX : (uint64_t)sizes[a], 4);
            put_be(at + 4, v, sizes[a]);
            at += 4 + sizes[a];
        }
        values[a]  = c->arrays[a];
        lengths[a] = (int)(at - c->arrays[a]);
    }
    r = round_trip(c, "message_finish", 7, values, lengths);
    PQclear(r);
    return r != NULL;
}

static int64_t drain_op(void *self)
{
    client   *c       = self;
    PGresult *claimed = bare_claim(c);
    int       count;

    if (claimed == NULL)
        return say(c, "bare claim");
    count = PQntuples(claimed);
    if (count == 0 && c->hint > 0) { /* from the floor before saying so */
        c->hint = 0;
        PQclear(claimed);
        return drain_op(self);
    }
    if (count > 0) {
        int64_t seq =
            get_be(PQgetvalue(claimed, count - 1, PGQRS__COL_MESSAGE_CLAIM_SEQ), 8) - HINT_MARGIN;

        c->hint = seq > 0 ? seq : 0;
        if (!bare_finish(c, claimed, count))
            count = -1;
    }
    PQclear(claimed);
    return count;
}

static bool drain_ready(bench *b, const job *j)
{
    const job ours = job_drain(j->callers, j->size, 0);

    return ours.ready(b, j);
}

job pg_bare_drain(int callers, int batch, unsigned flags)
{
    return (job){ .name    = "bare loop",
                  .callers = callers,
                  .size    = batch,
                  .flags   = flags,
                  .ready   = drain_ready,
                  .open    = drain_open,
                  .op      = drain_op,
                  .close   = client_close };
}
