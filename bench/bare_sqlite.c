/* The library's own SQL without the library: bare loops on sqlite3, BEGIN IMMEDIATE to COMMIT. */
#include "sqlite.h"

#include <string.h>
#include <time.h>

#include "statements.h"

extern const pgqrs__sql pgqrs__sql_sqlite[];

#define BARE_MAX 1000
/* Parameters are numbered from 1: the arguments, then of each row its number and its id. */
#define ARG(name) (PGQRS__ARG_##name + 1)

static bool prepare_ours(lite *c, int stmt, sqlite3_stmt **parts)
{
    for (int i = 0; i < pgqrs__sql_sqlite[stmt].nparts; i++)
        if (i == PARTS_MAX || !lite_prepare(c, pgqrs__sql_sqlite[stmt].parts[i], &parts[i]))
            return false;
    return true;
}

static bool find_queue(lite *c, const char *queue)
{
    sqlite3_stmt *find;

    if (!lite_prepare(c, "SELECT id FROM pgqrs_queues WHERE name = ?1 AND deleted_at IS NULL",
                      &find))
        return false;
    (void)sqlite3_bind_text(find, 1, queue, -1, SQLITE_STATIC);
    if (sqlite3_step(find) == SQLITE_ROW)
        c->queue_id = sqlite3_column_int64(find, 0);
    sqlite3_finalize(find);
    return c->queue_id != 0;
}

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * PGQRS_SECOND + t.tv_nsec / 1000;
}

static void bind(sqlite3_stmt *s, int at, int64_t value)
{
    if (at <= sqlite3_bind_parameter_count(s))
        (void)sqlite3_bind_int64(s, at, value);
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
    if (at <= sqlite3_bind_parameter_count(s))
        (void)sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

/* --- Enqueue ---------------------------------------------------------------------------------- */

static void *enqueue_open(bench *b, const job *j, lane *l, int caller)
{
    lite *c = lite_new(b, j, l, "");

    (void)caller;
    if (c != NULL && find_queue(c, "bench_enqueue")
        && prepare_ours(c, PGQRS__STMT_MESSAGE_ENQUEUE, c->first)
        && lite_prepare(c, "SELECT next FROM pgqrs_sequence", &c->number)
        && lite_prepare(c, "UPDATE pgqrs_sequence SET next = ?1, last_now_us = ?2", &c->renumber))
        return c;
    if (c != NULL)
        lite_close(c);
    return NULL;
}

/* The ids of the next so many rows begin with this; 0: failed. */
static int64_t take_numbers(lite *c, int count, int64_t now)
{
    int64_t next = 0;

    if (sqlite3_step(c->number) == SQLITE_ROW)
        next = sqlite3_column_int64(c->number, 0);
    (void)sqlite3_reset(c->number);
    bind(c->renumber, 1, next + count);
    bind(c->renumber, 2, now);
    return lite_step(c, c->renumber) ? next : 0;
}

static int64_t enqueue_op(void *self)
{
    lite         *c   = self;
    const int64_t now = now_us();
    int64_t       id;

    if (!lite_step(c, c->begin) || (id = take_numbers(c, c->size, now)) == 0)
        return -1;
    c->l->sent.statements++;
    for (int n = 0; n < c->size; n++) {
        for (int i = 0; i < PARTS_MAX && c->first[i] != NULL; i++) {
            sqlite3_stmt *s = c->first[i];

            bind(s, ARG(MESSAGE_ENQUEUE_QUEUE), c->queue_id);
            bind(s, ARG(MESSAGE_ENQUEUE_PRIORITY), 5);
            bind_text(s, ARG(MESSAGE_ENQUEUE_PAYLOAD), BENCH_PAYLOAD);
            bind(s, ARG(MESSAGE_ENQUEUE_NOW), now);
            bind(s, ARG(MESSAGE_ENQUEUE_NOW) + 1, id + n);
            bind(s, ARG(MESSAGE_ENQUEUE_NOW) + 2, n + 1);
            if (!lite_step(c, s))
                return -1;
        }
    }
    return lite_commit(c) ? c->size : -1;
}

job sq_bare_enqueue(int batch)
{
    job j = job_enqueue(1, batch, JOB_PROCESSES); /* its queue is made and cleared alike */

    j.name  = "bare loop";
    j.flags = 0;
    j.open  = enqueue_open;
    j.op    = enqueue_op;
    j.count = NULL;
    j.close = lite_close;
    return j;
}

/* --- Drain ------------------------------------------------------------------------------------ */

static void *drain_open(bench *b, const job *j, lane *l, int caller)
{
    lite *c = lite_new(b, j, l, "");

    (void)caller;
    if (c == NULL)
        return NULL;
    c->lease = bench_now_ns();
    if (find_queue(c, DRAIN_QUEUE) && prepare_ours(c, PGQRS__STMT_MESSAGE_CLAIM, c->first)
        && prepare_ours(c, PGQRS__STMT_MESSAGE_FINISH, c->second))
        return c;
    lite_close(c);
    return NULL;
}

/* The ids of what was claimed; -1: failed. */
static int claim(lite *c, int64_t *ids)
{
    int64_t now   = now_us();
    int     count = 0;

    if (!lite_step(c, c->begin))
        return -1;
    c->lease++;
    c->l->sent.statements++;
    for (int i = 0; i < PARTS_MAX && c->first[i] != NULL; i++) {
        sqlite3_stmt *s = c->first[i];

        bind(s, ARG(MESSAGE_CLAIM_QUEUE), c->queue_id);
        bind(s, ARG(MESSAGE_CLAIM_MAX_ROWS), c->size);
        bind(s, ARG(MESSAGE_CLAIM_LEASE), c->lease);
        bind(s, ARG(MESSAGE_CLAIM_LEASE_US), PGQRS_HOUR);
        bind(s, ARG(MESSAGE_CLAIM_NOW), now);
        while (sqlite3_column_count(s) > 0 && count < c->size && sqlite3_step(s) == SQLITE_ROW)
            ids[count++] = sqlite3_column_int64(s, PGQRS__COL_MESSAGE_CLAIM_ID);
        if (sqlite3_column_count(s) > 0)
            (void)sqlite3_reset(s);
        else if (!lite_step(c, s))
            return -1;
    }
    return lite_commit(c) ? count : -1;
}

static bool finish(lite *c, const int64_t *ids, int count)
{
    int64_t now     = now_us();
    int     changes = sqlite3_total_changes(c->db);

    if (!lite_step(c, c->begin))
        return false;
    c->l->sent.statements++;
    for (int n = 0; n < count; n++) {
        for (int i = 0; i < PARTS_MAX && c->second[i] != NULL; i++) {
            sqlite3_stmt *s = c->second[i];

            bind(s, ARG(MESSAGE_FINISH_QUEUE), c->queue_id);
            bind(s, ARG(MESSAGE_FINISH_MESSAGE), ids[n]);
            bind(s, ARG(MESSAGE_FINISH_LEASE), c->lease);
            bind(s, ARG(MESSAGE_FINISH_STATE), 0);
            bind(s, ARG(MESSAGE_FINISH_NOW), now);
            bind(s, ARG(MESSAGE_FINISH_NOW) + 2, n + 1);
            if (!lite_step(c, s))
                return false;
        }
    }
    if (sqlite3_total_changes(c->db) - changes < 2 * count) { /* out of leased, into archive */
        (void)snprintf(c->l->why, sizeof(c->l->why), "messages were not finished");
        return false;
    }
    return lite_commit(c);
}

static int64_t drain_op(void *self)
{
    lite   *c = self;
    int64_t ids[BARE_MAX];
    int     count = claim(c, ids);

    return count > 0 && !finish(c, ids, count) ? -1 : count;
}

job sq_bare_drain(int batch)
{
    return (job){ .name    = "bare loop",
                  .callers = 1,
                  .size    = batch,
                  .ready   = drain_ready,
                  .open    = drain_open,
                  .op      = drain_op,
                  .close   = lite_close };
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* Runs of its own, taken by the library, and given back in the same way. */
static bool renew_runs(lite *c)
{
    const pgqrs_message *list[BARE_MAX];
    const size_t         had   = c->runs == NULL ? 0 : pgqrs_messages_count(c->runs);
    pgqrs_error          error = { .message = "fewer runs than asked for" };
    bool                 good  = true;

    for (size_t i = 0; i < had; i++)
        list[i] = pgqrs_messages_at(c->runs, i);
    if (had > 0)
        good = pgqrs_archive_many(c->b->store, list, had, NULL, &error) == PGQRS_OK;
    pgqrs_messages_free(c->runs);
    c->runs = NULL;
    c->step = 0;
    good    = good && runs_take(c->b->store, c->size, &c->runs, &error)
           && pgqrs_messages_count(c->runs) == (size_t)c->size;
    if (!good)
        (void)lane_say(c->l, "runs", &error);
    return good;
}

static void *steps_open(bench *b, const job *j, lane *l, int caller)
{
    lite *c = lite_new(b, j, l, "");

    (void)caller;
    if (c != NULL && prepare_ours(c, PGQRS__STMT_STEP_RECORD, c->first) && renew_runs(c))
        return c;
    if (c != NULL)
        lite_close(c);
    return NULL;
}

/* A step of each of its runs, in one transaction. */
static int64_t steps_op(void *self)
{
    lite         *c   = self;
    const int64_t now = now_us();
    char          name[32];

    if (c->step == STEPS_OF_RUN && !renew_runs(c))
        return -1;
    (void)snprintf(name, sizeof(name), "step_%d", ++c->step);
    if (!lite_step(c, c->begin))
        return -1;
    c->l->sent.statements++;
    for (int n = 0; n < c->size; n++) {
        const pgqrs_message *run = pgqrs_messages_at(c->runs, (size_t)n);

        for (int i = 0; i < PARTS_MAX && c->first[i] != NULL; i++) {
            sqlite3_stmt *s = c->first[i];

            bind(s, ARG(STEP_RECORD_QUEUE), run->queue_id);
            bind(s, ARG(STEP_RECORD_MESSAGE), run->id);
            bind(s, ARG(STEP_RECORD_LEASE), run->lease);
            bind_text(s, ARG(STEP_RECORD_NAME), name);
            bind(s, ARG(STEP_RECORD_STATUS), 1);
            bind(s, ARG(STEP_RECORD_RETRIES), 0);
            bind_text(s, ARG(STEP_RECORD_OUTPUT), STEP_OUTPUT);
            bind(s, ARG(STEP_RECORD_NOW), now);
            bind(s, ARG(STEP_RECORD_NOW) + 2, n + 1);
            if (!lite_step(c, s))
                return -1;
        }
    }
    return lite_commit(c) ? c->size : -1;
}

job sq_bare_steps(int runs)
{
    job j = job_steps("bare loop", 1);

    j.size  = runs;
    j.flags = 0;
    j.open  = steps_open;
    j.op    = steps_op;
    j.close = lite_close;
    return j;
}
