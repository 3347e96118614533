/* The library's own SQL without the library: bare loops on libpq in pipeline mode, one Sync for a
 * statement, which is what the library sends. */
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

#include "statements.h"

extern const pgqrs__sql pgqrs__sql_postgres[];

#define BARE_MAX    1000
#define HINT_MARGIN 2000
#define ANY_CHANNEL                                                               \
    "pgqrs_bench" /* nobody listens there; that nobody waits is looked up as ever \
                   */

/* Types of PostgreSQL */
#define I16  21
#define I32  23
#define I64  20
#define TEXT 25
#define JSON 114
#define TIME 1184

/* --- Statements ------------------------------------------------------------------------------- */

static Oid oid_of(const pgqrs__field *f)
{
    static const Oid plain[] = {
        [PGQRS__TYPE_I16] = I16,   [PGQRS__TYPE_I32] = I32,  [PGQRS__TYPE_I64] = I64,
        [PGQRS__TYPE_F64] = 701,   [PGQRS__TYPE_BOOL] = 16,  [PGQRS__TYPE_TEXT] = TEXT,
        [PGQRS__TYPE_JSON] = JSON, [PGQRS__TYPE_TIME] = TIME
    };
    static const Oid arrays[] = {
        [PGQRS__TYPE_I16] = 1005, [PGQRS__TYPE_I32] = 1007,  [PGQRS__TYPE_I64] = 1016,
        [PGQRS__TYPE_F64] = 1022, [PGQRS__TYPE_BOOL] = 1000, [PGQRS__TYPE_TEXT] = 1009,
        [PGQRS__TYPE_JSON] = 199, [PGQRS__TYPE_TIME] = 1185
    };

    return f->array ? arrays[f->type] : plain[f->type];
}

static bool prepare_ours(client *c, int stmt, const char *name)
{
    const pgqrs__shape *shape = &pgqrs__shapes[stmt];
    const char         *from  = pgqrs__sql_postgres[stmt].parts[0];
    char               *sql   = malloc(strlen(from) + 1);
    char               *to    = sql;
    Oid                 types[ARGS_MAX];
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
    good = client_prepare(c, name, sql, shape->nargs, types);
    free(sql);
    return good;
}

/* Send a prepared statement with a Sync; its answer, or NULL. */
static PGresult *round_trip(client *c, const char *name, const args *a)
{
    static const int binary[ARGS_MAX] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                          1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    PGresult        *answer, *r;

    c->l->sent.statements++;
    c->l->sent.round_trips++;
    c->l->sent.commits++;
    if (PQsendQueryPrepared(c->pg, name, a->count, a->values, a->lengths, binary, 1) != 1
        || PQpipelineSync(c->pg) != 1) {
        (void)client_say(c, name);
        return NULL;
    }
    answer = PQgetResult(c->pg);
    PQclear(PQgetResult(c->pg)); /* the gap after it */
    r = PQgetResult(c->pg);
    if (PQresultStatus(r) != PGRES_PIPELINE_SYNC || PQresultStatus(answer) != PGRES_TUPLES_OK) {
        (void)client_say(c, PQresultErrorMessage(answer));
        PQclear(answer);
        answer = NULL;
    }
    PQclear(r);
    return answer;
}

static bool find_queue(client *c, const char *queue)
{
    const char *values[] = { queue };
    PGresult   *r =
        PQexecParams(c->pg, "SELECT id FROM pgqrs_queues WHERE name = $1 AND deleted_at IS NULL", 1,
                     NULL, values, NULL, NULL, 0);

    if (PQntuples(r) == 1)
        c->queue_id = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    else
        (void)client_say(c, queue);
    PQclear(r);
    return c->queue_id != 0;
}

/* --- Enqueue ---------------------------------------------------------------------------------- */

/* Everything but the time, which the server knows. */
static bool enqueue_args(client *c)
{
    const char *payloads[BARE_MAX];
    args       *a = &c->first;
    const int   n = c->size;

    for (int i = 0; i < n; i++)
        payloads[i] = BENCH_PAYLOAD;
    args_text(a, PGQRS__ARG_MESSAGE_ENQUEUE_CHANNEL, ANY_CHANNEL);
    a->count = PGQRS__ARG_MESSAGE_ENQUEUE_NOW + 1;
    return args_same(a, PGQRS__ARG_MESSAGE_ENQUEUE_QUEUE, I32, 4, n, c->queue_id)
           && args_same(a, PGQRS__ARG_MESSAGE_ENQUEUE_PRIORITY, I16, 2, n, 5)
           && args_nulls(a, PGQRS__ARG_MESSAGE_ENQUEUE_PRODUCER, I64, n)
           && args_texts(a, PGQRS__ARG_MESSAGE_ENQUEUE_PAYLOAD, JSON, n, payloads)
           && args_nulls(a, PGQRS__ARG_MESSAGE_ENQUEUE_HEADERS, JSON, n)
           && args_nulls(a, PGQRS__ARG_MESSAGE_ENQUEUE_DELAY_US, I64, n)
           && args_nulls(a, PGQRS__ARG_MESSAGE_ENQUEUE_VISIBLE_AT, TIME, n);
}

static void *enqueue_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l);

    (void)caller;
    if (c != NULL && find_queue(c, "bench_enqueue") && enqueue_args(c)
        && prepare_ours(c, PGQRS__STMT_MESSAGE_ENQUEUE, "enqueue")
        && PQenterPipelineMode(c->pg) == 1)
        return c;
    if (c != NULL)
        client_close(c);
    return NULL;
}

static int64_t enqueue_op(void *self)
{
    client   *c     = self;
    PGresult *r     = round_trip(c, "enqueue", &c->first);
    int64_t   count = r == NULL ? -1 : PQntuples(r);

    PQclear(r);
    return count;
}

job pg_bare_enqueue(int callers, int batch)
{
    job j = job_enqueue(callers, batch, JOB_PROCESSES); /* its queue is made and cleared alike */

    j.name  = "bare loop";
    j.flags = 0;
    j.open  = enqueue_open;
    j.op    = enqueue_op;
    j.count = NULL;
    j.close = client_close;
    return j;
}

/* --- Drain ------------------------------------------------------------------------------------ */

static void *drain_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l);

    if (c == NULL)
        return NULL;
    c->lease = bench_now_ns() + caller * INT64_C(1000000000000);
    if (find_queue(c, DRAIN_QUEUE) && prepare_ours(c, PGQRS__STMT_MESSAGE_CLAIM, "claim")
        && prepare_ours(c, PGQRS__STMT_MESSAGE_FINISH, "finish") && PQenterPipelineMode(c->pg) == 1)
        return c;
    client_close(c);
    return NULL;
}

static PGresult *claim(client *c)
{
    args *a = &c->first;

    a->count = PGQRS__ARG_MESSAGE_CLAIM_NOW + 1;
    args_int(a, PGQRS__ARG_MESSAGE_CLAIM_QUEUE, 4, c->queue_id);
    args_int(a, PGQRS__ARG_MESSAGE_CLAIM_MAX_ROWS, 4, c->size);
    args_int(a, PGQRS__ARG_MESSAGE_CLAIM_LEASE, 8, ++c->lease);
    args_int(a, PGQRS__ARG_MESSAGE_CLAIM_LEASE_US, 8, PGQRS_HOUR);
    for (int i = 0; i < 10; i++)
        args_int(a, PGQRS__ARG_MESSAGE_CLAIM_HINT0 + i, 8, i == 5 ? c->hint : 0);
    return round_trip(c, "claim", a);
}

static bool finish(client *c, const PGresult *claimed, int count)
{
    int64_t   numbers[BARE_MAX];
    args     *a = &c->second;
    PGresult *r;
    bool      good;

    a->count = PGQRS__ARG_MESSAGE_FINISH_NOW + 1;
    good     = args_same(a, PGQRS__ARG_MESSAGE_FINISH_QUEUE, I32, 4, count, c->queue_id)
           && args_same(a, PGQRS__ARG_MESSAGE_FINISH_LEASE, I64, 8, count, c->lease)
           && args_same(a, PGQRS__ARG_MESSAGE_FINISH_STATE, I16, 2, count, 0)
           && args_nulls(a, PGQRS__ARG_MESSAGE_FINISH_OUTPUT, JSON, count)
           && args_nulls(a, PGQRS__ARG_MESSAGE_FINISH_ERROR, JSON, count);
    for (int i = 0; i < count; i++)
        numbers[i] = answer_int(claimed, i, PGQRS__COL_MESSAGE_CLAIM_ID);
    good = good && args_ints(a, PGQRS__ARG_MESSAGE_FINISH_MESSAGE, I64, 8, count, numbers);
    r    = good ? round_trip(c, "finish", a) : NULL;
    good = r != NULL && PQntuples(r) == count;
    if (r != NULL && !good)
        (void)snprintf(c->l->why, sizeof(c->l->why), "%d of %d messages were finished",
                       PQntuples(r), count);
    PQclear(r);
    return good;
}

static int64_t drain_op(void *self)
{
    client   *c       = self;
    PGresult *claimed = claim(c);
    int       count   = claimed == NULL ? -1 : PQntuples(claimed);

    if (count == 0 && c->hint > 0) { /* from the floor before saying so */
        c->hint = 0;
        PQclear(claimed);
        claimed = claim(c);
        count   = claimed == NULL ? -1 : PQntuples(claimed);
    }
    if (count > 0) {
        int64_t seq = answer_int(claimed, count - 1, PGQRS__COL_MESSAGE_CLAIM_SEQ) - HINT_MARGIN;

        c->hint = seq > 0 ? seq : 0;
        if (!finish(c, claimed, count))
            count = -1;
    }
    PQclear(claimed);
    return count;
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

/* --- Steps ------------------------------------------------------------------------------------ */

/* Runs of its own, taken by the library, and given back in the same way. */
static bool renew_runs(client *c)
{
    const pgqrs_message *list[BARE_MAX];
    int64_t              numbers[BARE_MAX];
    pgqrs_error          error = { .message = "fewer runs than asked for" };
    args                *a     = &c->first;
    const int            n     = c->size;
    const size_t         had   = c->runs == NULL ? 0 : pgqrs_messages_count(c->runs);
    bool                 good  = true;

    for (size_t i = 0; i < had; i++)
        list[i] = pgqrs_messages_at(c->runs, i);
    if (had > 0)
        good = pgqrs_archive_many(c->b->store, list, had, NULL, &error) == PGQRS_OK;
    pgqrs_messages_free(c->runs);
    c->runs = NULL;
    c->step = 0;
    good    = good && runs_take(c->b->store, n, &c->runs, &error);
    if (!good || pgqrs_messages_count(c->runs) != (size_t)n) {
        (void)lane_say(c->l, "runs", &error);
        return false;
    }
    for (int i = 0; i < n; i++)
        numbers[i] = pgqrs_messages_at(c->runs, (size_t)i)->id;
    good        = args_ints(a, PGQRS__ARG_STEP_RECORD_MESSAGE, I64, 8, n, numbers);
    c->queue_id = pgqrs_messages_at(c->runs, 0)->queue_id;
    c->lease    = pgqrs_messages_at(c->runs, 0)->lease;
    return good && args_same(a, PGQRS__ARG_STEP_RECORD_QUEUE, I32, 4, n, c->queue_id)
           && args_same(a, PGQRS__ARG_STEP_RECORD_LEASE, I64, 8, n, c->lease);
}

static bool steps_args(client *c)
{
    const char *outputs[BARE_MAX];
    args       *a = &c->first;
    const int   n = c->size;

    for (int i = 0; i < n; i++)
        outputs[i] = STEP_OUTPUT;
    a->count = PGQRS__ARG_STEP_RECORD_NOW + 1;
    return args_same(a, PGQRS__ARG_STEP_RECORD_STATUS, I16, 2, n, 1)
           && args_same(a, PGQRS__ARG_STEP_RECORD_RETRIES, I32, 4, n, 0)
           && args_nulls(a, PGQRS__ARG_STEP_RECORD_STARTED_AT, TIME, n)
           && args_nulls(a, PGQRS__ARG_STEP_RECORD_RETRY_AFTER_US, I64, n)
           && args_nulls(a, PGQRS__ARG_STEP_RECORD_RETRY_AT, TIME, n)
           && args_texts(a, PGQRS__ARG_STEP_RECORD_OUTPUT, JSON, n, outputs)
           && args_nulls(a, PGQRS__ARG_STEP_RECORD_ERROR, JSON, n);
}

static void *steps_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l);

    (void)caller;
    if (c != NULL && renew_runs(c) && steps_args(c)
        && prepare_ours(c, PGQRS__STMT_STEP_RECORD, "step") && PQenterPipelineMode(c->pg) == 1)
        return c;
    if (c != NULL)
        client_close(c);
    return NULL;
}

/* A step of each of its runs, in one statement. */
static int64_t steps_op(void *self)
{
    client     *c = self;
    char        name[32];
    const char *names[BARE_MAX];
    PGresult   *r;
    int         count;

    if (c->step == STEPS_OF_RUN && !renew_runs(c))
        return -1;
    (void)snprintf(name, sizeof(name), "step_%d", ++c->step);
    for (int i = 0; i < c->size; i++)
        names[i] = name;
    if (!args_texts(&c->first, PGQRS__ARG_STEP_RECORD_NAME, TEXT, c->size, names))
        return -1;
    r     = round_trip(c, "step", &c->first);
    count = r == NULL ? -1 : PQntuples(r);
    if (count >= 0 && count != c->size) {
        (void)snprintf(c->l->why, sizeof(c->l->why), "%d of %d steps were recorded", count,
                       c->size);
        count = -1;
    }
    PQclear(r);
    return count;
}

job pg_bare_steps(int callers, int runs)
{
    job j = job_steps("bare loop", callers);

    j.size  = runs;
    j.flags = 0;
    j.open  = steps_open;
    j.op    = steps_op;
    j.close = client_close;
    return j;
}
