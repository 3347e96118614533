/* Baselines on libpq: plain inserts, a destructive pop; the place and its snapshots. */
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

#define JSON       114
#define JSON_ARRAY 199

/* --- Connections ------------------------------------------------------------------------------ */

bool pg_run(bench *b, PGconn *pg, const char *sql)
{
    PGresult      *r      = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(r);

    PQclear(r);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return true;
    bench_fail(b, "%s: %s", sql, PQerrorMessage(pg));
    return false;
}

static PGconn *connect_to(bench *b, const char *sql)
{
    PGconn *pg = PQconnectdb(b->options->dsn);

    if (PQstatus(pg) != CONNECTION_OK)
        bench_fail(b, "%s", PQerrorMessage(pg));
    else if (pg_run(b, pg, sql))
        return pg;
    PQfinish(pg);
    return NULL;
}

PGconn *pg_dial(bench *b)
{
    char sql[300];

    (void)snprintf(sql, sizeof(sql),
                   "SET search_path TO %s; SET plan_cache_mode = force_generic_plan;"
                   " SET enable_seqscan = off; SET jit = off; SET client_min_messages = warning",
                   b->schema);
    return connect_to(b, sql);
}

bool pg_make_place(bench *b)
{
    PGconn *pg;
    char    sql[400];

    (void)snprintf(sql, sizeof(sql),
                   "CREATE SCHEMA %s;"
                   " CREATE TABLE %s.raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                   " payload json NOT NULL);"
                   " CREATE TABLE %s.pop (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                   " payload json NOT NULL)",
                   b->schema, b->schema, b->schema);
    pg = connect_to(b, sql);
    PQfinish(pg);
    return pg != NULL;
}

void pg_drop_place(bench *b)
{
    char sql[200];

    (void)snprintf(sql, sizeof(sql),
                   "SET client_min_messages = warning; DROP SCHEMA IF EXISTS %s CASCADE",
                   b->schema);
    PQfinish(connect_to(b, sql));
}

void *pg_pin_snapshot(bench *b)
{
    PGconn *pg = pg_dial(b);

    if (pg != NULL
        && pg_run(b, pg, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM raw"))
        return pg;
    PQfinish(pg);
    return NULL;
}

void pg_unpin_snapshot(void *conn)
{
    PQfinish(conn);
}

bool pg_vacuum(bench *b)
{
    PGconn *pg = pg_dial(b);
    bool    good;

    good =
        pg != NULL && pg_run(b, pg, "VACUUM pgqrs_ready") && pg_run(b, pg, "VACUUM pgqrs_leased");
    PQfinish(pg);
    return good;
}

/* --- Arguments -------------------------------------------------------------------------------- */

static void put_be(char *to, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        to[i] = (char)value;
}

int64_t answer_int(const PGresult *r, int row, int column)
{
    const char *from  = PQgetvalue(r, row, column);
    uint64_t    value = 0;

    for (int i = 0; i < PQgetlength(r, row, column); i++)
        value = value << 8 | (unsigned char)from[i];
    return (int64_t)value;
}

static void set(args *a, int at, const char *value, size_t length)
{
    a->values[at]  = value;
    a->lengths[at] = (int)length;
    a->count       = at >= a->count ? at + 1 : a->count;
}

void args_int(args *a, int at, int bytes, int64_t value)
{
    put_be(a->scalars[at], (uint64_t)value, bytes);
    set(a, at, a->scalars[at], (size_t)bytes);
}

void args_text(args *a, int at, const char *text)
{
    set(a, at, text, strlen(text));
}

/* Room for an array; its first element goes where it says. */
static char *array_begin(args *a, int at, Oid element, int count, bool nulls, size_t bytes)
{
    if (a->sizes[at] < 20 + bytes) {
        free(a->arrays[at]);
        a->arrays[at] = malloc(20 + bytes);
        a->sizes[at]  = a->arrays[at] == NULL ? 0 : 20 + bytes;
    }
    if (a->arrays[at] == NULL)
        return NULL;
    put_be(a->arrays[at], 1, 4);
    put_be(a->arrays[at] + 4, nulls, 4);
    put_be(a->arrays[at] + 8, element, 4);
    put_be(a->arrays[at] + 12, (uint64_t)count, 4);
    put_be(a->arrays[at] + 16, 1, 4);
    set(a, at, a->arrays[at], 20 + bytes);
    return a->arrays[at] + 20;
}

bool args_ints(args *a, int at, Oid element, int bytes, int count, const int64_t *values)
{
    char *to = array_begin(a, at, element, count, false, (size_t)count * (4 + (size_t)bytes));

    for (int i = 0; to != NULL && i < count; i++) {
        put_be(to, (uint64_t)bytes, 4);
        put_be(to + 4, (uint64_t)values[i], bytes);
        to += 4 + bytes;
    }
    return to != NULL;
}

bool args_same(args *a, int at, Oid element, int bytes, int count, int64_t value)
{
    char *to = array_begin(a, at, element, count, false, (size_t)count * (4 + (size_t)bytes));

    for (int i = 0; to != NULL && i < count; i++) {
        put_be(to, (uint64_t)bytes, 4);
        put_be(to + 4, (uint64_t)value, bytes);
        to += 4 + bytes;
    }
    return to != NULL;
}

bool args_texts(args *a, int at, Oid element, int count, const char *const *texts)
{
    size_t bytes = 0;
    char  *to;

    for (int i = 0; i < count; i++)
        bytes += 4 + strlen(texts[i]);
    to = array_begin(a, at, element, count, false, bytes);
    for (int i = 0; to != NULL && i < count; i++) {
        size_t length = strlen(texts[i]);

        put_be(to, length, 4);
        memcpy(to + 4, texts[i], length);
        to += 4 + length;
    }
    return to != NULL;
}

bool args_nulls(args *a, int at, Oid element, int count)
{
    char *to = array_begin(a, at, element, count, true, (size_t)count * 4);

    for (int i = 0; to != NULL && i < count; i++)
        put_be(to + (ptrdiff_t)i * 4, UINT32_MAX, 4);
    return to != NULL;
}

void args_free(args *a)
{
    for (size_t i = 0; i < ARGS_MAX; i++)
        free(a->arrays[i]);
}

/* --- Clients ---------------------------------------------------------------------------------- */

int64_t client_say(client *c, const char *what)
{
    (void)snprintf(c->l->why, sizeof(c->l->why), "%s: %s", what, PQerrorMessage(c->pg));
    return -1;
}

void client_close(void *self)
{
    client *c = self;

    args_free(&c->first);
    args_free(&c->second);
    pgqrs_messages_free(c->runs);
    PQfinish(c->pg);
    free(c);
}

client *client_new(bench *b, const job *j, lane *l)
{
    client *c = BENCH_NEW(client);

    if (c == NULL)
        return NULL;
    c->b    = b;
    c->l    = l;
    c->size = j->size;
    c->pg   = pg_dial(b);
    if (c->pg == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

bool client_prepare(client *c, const char *name, const char *sql, int count, const Oid *types)
{
    PGresult *r    = PQprepare(c->pg, name, sql, count, types);
    bool      good = PQresultStatus(r) == PGRES_COMMAND_OK;

    PQclear(r);
    if (!good)
        (void)client_say(c, name);
    return good;
}

/* A prepared statement that is a transaction of its own; its answer, or NULL. */
static PGresult *ask(client *c, const char *name)
{
    static const int binary[ARGS_MAX] = { 1 };
    const args      *a                = &c->first;
    PGresult        *r = PQexecPrepared(c->pg, name, a->count, a->values, a->lengths, binary, 1);

    c->l->sent.statements++;
    c->l->sent.round_trips++;
    c->l->sent.commits++;
    if (PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK)
        return r;
    (void)client_say(c, name);
    PQclear(r);
    return NULL;
}

/* --- Inserts ---------------------------------------------------------------------------------- */

static int64_t insert_op(void *self)
{
    client   *c = self;
    PGresult *r = ask(c, "insert");

    PQclear(r);
    return r == NULL ? -1 : c->size;
}

static void *insert_open(bench *b, const job *j, lane *l, int caller)
{
    const Oid   one = JSON, many = JSON_ARRAY;
    const char *payloads[1000];
    client     *c = client_new(b, j, l);
    bool        good;

    (void)caller;
    if (c == NULL)
        return NULL;
    for (size_t i = 0; i < 1000; i++)
        payloads[i] = BENCH_PAYLOAD;
    if (j->size == 1) {
        args_text(&c->first, 0, BENCH_PAYLOAD);
        good = client_prepare(c, "insert", "INSERT INTO raw (payload) VALUES ($1)", 1, &one);
    } else {
        good =
            args_texts(&c->first, 0, JSON, j->size, payloads)
            && client_prepare(c, "insert", "INSERT INTO raw (payload) SELECT unnest($1)", 1, &many);
    }
    if (good)
        return c;
    client_close(c);
    return NULL;
}

static void truncate_raw(bench *b, const job *j)
{
    PGconn *pg = pg_dial(b);

    (void)j;
    if (pg != NULL)
        (void)pg_run(b, pg, "TRUNCATE raw");
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

job pg_insert_many(int batch)
{
    job j = pg_insert(1);

    j.name = "unnest";
    j.size = batch;
    return j;
}

/* --- A destructive pop ------------------------------------------------------------------------ */

static bool pop_ready(bench *b, const job *j)
{
    PGconn *pg = pg_dial(b);
    char    sql[300];
    bool    good;

    (void)j;
    (void)snprintf(sql, sizeof(sql),
                   "INSERT INTO pop (payload) SELECT '%s' FROM generate_series(1, %lld"
                   " - (SELECT count(*) FROM pop))",
                   BENCH_PAYLOAD, (long long)(250000 * b->seconds) + 20000);
    good = pg != NULL && pg_run(b, pg, sql);
    PQfinish(pg);
    return good;
}

static void *pop_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l);
    char    sql[300];

    (void)caller;
    (void)snprintf(sql, sizeof(sql),
                   "DELETE FROM pop WHERE id = ANY (ARRAY(SELECT id FROM pop ORDER BY id LIMIT %d"
                   " FOR UPDATE SKIP LOCKED)) RETURNING id, payload",
                   j->size);
    if (c != NULL && client_prepare(c, "pop", sql, 0, NULL))
        return c;
    if (c != NULL)
        client_close(c);
    return NULL;
}

static int64_t pop_op(void *self)
{
    client   *c     = self;
    PGresult *r     = ask(c, "pop");
    int64_t   count = r == NULL ? -1 : PQntuples(r);

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

/* --- The memory of libpq itself --------------------------------------------------------------- */

/* A process with a connection that has inserted and read a row. */
static int64_t memory_op(void *self)
{
    client *c = self;

    bench_sleep_ns(10000000);
    return insert_op(c);
}

job pg_memory(void)
{
    job j = pg_insert(1);

    j.name  = "libpq";
    j.flags = JOB_PROCESSES | JOB_RSS_ABOVE;
    j.op    = memory_op;
    return j;
}
