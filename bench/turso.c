/* Baselines on Turso's C interface, in the copy that pgqrs has loaded: single-row commits, many
 * rows in one, and the library's own SQL in a bare loop, BEGIN IMMEDIATE to COMMIT. */
#include "bench.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pgqrs/turso.h>

#include "statements.h"

extern const pgqrs__sql pgqrs__sql_turso[];

#define PARTS_MAX 8
#define BARE_MAX  1000
/* Parameters are numbered from 1: the arguments, then of each row its number and its id. */
#define ARG(name) (PGQRS__ARG_##name + 1)

enum { TURSO_OK = 0, TURSO_DONE = 1, TURSO_ROW = 2 };

typedef struct turso_database   turso_database;
typedef struct turso_connection turso_connection;
typedef struct turso_statement  turso_statement;

/* What is used of it: X(result, name, arguments). */
#define TURSO_MAP(X)                                                                             \
    X(int, database_new, (const void *config, turso_database **out, const char **error))         \
    X(int, database_open, (turso_database * db, const char **error))                             \
    X(int, database_connect, (turso_database * db, turso_connection * *out, const char **error)) \
    X(void, database_deinit, (turso_database * db))                                              \
    X(int, connection_close, (turso_connection * conn, const char **error))                      \
    X(void, connection_deinit, (turso_connection * conn))                                        \
    X(int, connection_prepare_single,                                                            \
      (turso_connection * conn, const char *sql, turso_statement **out, const char **error))     \
    X(int, statement_step, (turso_statement * stmt, const char **error))                         \
    X(int, statement_reset, (turso_statement * stmt, const char **error))                        \
    X(void, statement_deinit, (turso_statement * stmt))                                          \
    X(int64_t, statement_column_count, (turso_statement * stmt))                                 \
    X(int64_t, statement_parameters_count, (turso_statement * stmt))                             \
    X(int64_t, statement_row_value_int, (turso_statement * stmt, size_t at))                     \
    X(int, statement_bind_positional_int, (turso_statement * stmt, size_t at, int64_t value))    \
    X(int, statement_bind_positional_text,                                                       \
      (turso_statement * stmt, size_t at, const char *text, size_t len))                         \
    X(void, str_deinit, (const char *text))

static struct {
#define TURSO_MEMBER(result, name, arguments) result(*name) arguments;
    TURSO_MAP(TURSO_MEMBER)
#undef TURSO_MEMBER
} turso;

typedef struct client {
    bench            *b;
    lane             *l;
    turso_database   *database;
    turso_connection *conn;
    int               size;
    turso_statement  *begin, *commit, *insert, *number, *renumber;
    turso_statement  *first[PARTS_MAX], *second[PARTS_MAX]; /* of the library's statements */
    int64_t           queue_id, lease;
} client;

/* --- The interface ---------------------------------------------------------------------------- */

/* The library is open already, and stays. */
static bool find_functions(lane *l)
{
    const char *path    = NULL;
    void       *library = NULL;
    pgqrs_error error;
    bool        found = true;

    if (turso.str_deinit != NULL)
        return true;
    if (pgqrs_turso_load(NULL, NULL, &path, &error) != PGQRS_OK) {
        (void)lane_say(l, "Turso", &error);
        return false;
    }
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
#define TURSO_FIND(result, name, arguments)                                 \
    {                                                                       \
        void *at = library == NULL ? NULL : dlsym(library, "turso_" #name); \
                                                                            \
        memcpy(&turso.name, &at, sizeof(at));                               \
        found = found && at != NULL;                                        \
    }
    TURSO_MAP(TURSO_FIND)
#undef TURSO_FIND
    if (!found)
        (void)snprintf(l->why, sizeof(l->why), "%s lacks a function", path);
    return found;
}

static bool say(client *c, const char *what, const char *text)
{
    (void)snprintf(c->l->why, sizeof(c->l->why), "%s: %s", what, text == NULL ? "failed" : text);
    turso.str_deinit(text);
    return false;
}

static bool prepare(client *c, const char *sql, turso_statement **out)
{
    const char *text = NULL;

    return turso.connection_prepare_single(c->conn, sql, out, &text) == TURSO_OK
           || say(c, sql, text);
}

/* Run a statement to its end. @p out_value: of its last row; may be NULL. */
static bool step_value(client *c, turso_statement *stmt, int64_t *out_value)
{
    const char *text = NULL;
    int         rc;

    while ((rc = turso.statement_step(stmt, &text)) == TURSO_ROW)
        if (out_value != NULL)
            *out_value = turso.statement_row_value_int(stmt, 0);
    (void)turso.statement_reset(stmt, NULL);
    return rc == TURSO_DONE || rc == TURSO_OK || say(c, "step", text);
}

static bool step(client *c, turso_statement *stmt)
{
    return step_value(c, stmt, NULL);
}

static bool run(client *c, const char *sql)
{
    turso_statement *stmt = NULL;
    const bool       done = prepare(c, sql, &stmt) && step(c, stmt);

    turso.statement_deinit(stmt);
    return done;
}

static bool commit(client *c)
{
    c->l->sent.commits++;
    c->l->sent.round_trips++;
    return step(c, c->commit);
}

static void bind(turso_statement *s, int at, int64_t value)
{
    if (at <= turso.statement_parameters_count(s))
        (void)turso.statement_bind_positional_int(s, (size_t)at, value);
}

static void bind_text(turso_statement *s, int at, const char *text)
{
    if (at <= turso.statement_parameters_count(s))
        (void)turso.statement_bind_positional_text(s, (size_t)at, text, strlen(text));
}

static void client_close(void *self)
{
    client *c = self;

    turso.statement_deinit(c->begin);
    turso.statement_deinit(c->commit);
    turso.statement_deinit(c->insert);
    turso.statement_deinit(c->number);
    turso.statement_deinit(c->renumber);
    for (size_t i = 0; i < PARTS_MAX; i++) {
        turso.statement_deinit(c->first[i]);
        turso.statement_deinit(c->second[i]);
    }
    if (c->conn != NULL) {
        (void)turso.connection_close(c->conn, NULL);
        turso.connection_deinit(c->conn);
    }
    turso.database_deinit(c->database);
    free(c);
}

static bool open_file(client *c, const char *suffix)
{
    uint64_t    config[32] = { 0 }; /* blocking; the path is the second */
    const char *text       = NULL;
    const char *name;
    char        path[600];

    (void)snprintf(path, sizeof(path), "%s%s", c->b->file == NULL ? ":memory:" : c->b->file,
                   c->b->file == NULL ? "" : suffix);
    name = path;
    memcpy(&config[1], &name, sizeof(name));
    if (turso.database_new(config, &c->database, &text) != TURSO_OK
        || turso.database_open(c->database, &text) != TURSO_OK
        || turso.database_connect(c->database, &c->conn, &text) != TURSO_OK)
        return say(c, "open", text);
    return run(c, "PRAGMA temp_store = memory") && run(c, "PRAGMA synchronous = FULL")
           && prepare(c, "BEGIN IMMEDIATE", &c->begin) && prepare(c, "COMMIT", &c->commit);
}

/* A connection as the library's are. NULL: failed. */
static client *client_new(bench *b, const job *j, lane *l, const char *suffix)
{
    client *c = find_functions(l) ? BENCH_NEW(client) : NULL;

    if (c == NULL)
        return NULL;
    c->b    = b;
    c->l    = l;
    c->size = j->size;
    if (open_file(c, suffix))
        return c;
    client_close(c);
    return NULL;
}

/* --- Inserts ---------------------------------------------------------------------------------- */

static void *insert_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l, "-bare");

    (void)caller;
    if (c == NULL)
        return NULL;
    if (run(c, "CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, payload TEXT)")
        && prepare(c, "INSERT INTO raw (payload) VALUES (?1)", &c->insert))
        return c;
    client_close(c);
    return NULL;
}

static int64_t insert_op(void *self)
{
    client *c = self;

    if (!step(c, c->begin))
        return -1;
    for (int i = 0; i < c->size; i++) {
        c->l->sent.statements++;
        bind_text(c->insert, 1, BENCH_PAYLOAD); /* a reset forgets it */
        if (!step(c, c->insert))
            return -1;
    }
    return commit(c) ? c->size : -1;
}

job tu_insert(void)
{
    return (job){ .name    = "insert",
                  .callers = 1,
                  .size    = 1,
                  .open    = insert_open,
                  .op      = insert_op,
                  .close   = client_close };
}

job tu_insert_many(int batch)
{
    job j = tu_insert();

    j.name = "inserts";
    j.size = batch;
    return j;
}

/* --- The library's own SQL -------------------------------------------------------------------- */

static bool prepare_ours(client *c, int stmt, turso_statement **parts)
{
    for (int i = 0; i < pgqrs__sql_turso[stmt].nparts; i++)
        if (i == PARTS_MAX || !prepare(c, pgqrs__sql_turso[stmt].parts[i], &parts[i]))
            return false;
    return true;
}

static bool find_queue(client *c, const char *queue)
{
    turso_statement *find = NULL;
    bool             done;

    if (!prepare(c, "SELECT id FROM pgqrs_queues WHERE name = ?1 AND deleted_at IS NULL", &find))
        return false;
    bind_text(find, 1, queue);
    done = step_value(c, find, &c->queue_id);
    turso.statement_deinit(find);
    return done && c->queue_id != 0;
}

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * PGQRS_SECOND + t.tv_nsec / 1000;
}

static void *enqueue_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l, "");

    (void)caller;
    if (c != NULL && find_queue(c, "bench_enqueue")
        && prepare_ours(c, PGQRS__STMT_MESSAGE_ENQUEUE, c->first)
        && prepare(c, "SELECT next FROM pgqrs_sequence", &c->number)
        && prepare(c, "UPDATE pgqrs_sequence SET next = ?1, last_now_us = ?2", &c->renumber))
        return c;
    if (c != NULL)
        client_close(c);
    return NULL;
}

/* The ids of the next so many rows begin with this; 0: failed. */
static int64_t take_numbers(client *c, int count, int64_t now)
{
    int64_t next = 0;

    if (!step_value(c, c->number, &next))
        return 0;
    bind(c->renumber, 1, next + count);
    bind(c->renumber, 2, now);
    return step(c, c->renumber) ? next : 0;
}

static int64_t enqueue_op(void *self)
{
    client       *c   = self;
    const int64_t now = now_us();
    int64_t       id;

    if (!step(c, c->begin) || (id = take_numbers(c, c->size, now)) == 0)
        return -1;
    c->l->sent.statements++;
    for (int n = 0; n < c->size; n++) {
        for (int i = 0; i < PARTS_MAX && c->first[i] != NULL; i++) {
            turso_statement *s = c->first[i];

            bind(s, ARG(MESSAGE_ENQUEUE_QUEUE), c->queue_id);
            bind(s, ARG(MESSAGE_ENQUEUE_PRIORITY), 5);
            bind_text(s, ARG(MESSAGE_ENQUEUE_PAYLOAD), BENCH_PAYLOAD);
            bind(s, ARG(MESSAGE_ENQUEUE_NOW), now);
            bind(s, ARG(MESSAGE_ENQUEUE_NOW) + 1, id + n);
            bind(s, ARG(MESSAGE_ENQUEUE_NOW) + 2, n + 1);
            if (!step(c, s))
                return -1;
        }
    }
    return commit(c) ? c->size : -1;
}

job tu_bare_enqueue(int batch)
{
    job j = job_enqueue(1, batch, JOB_PROCESSES); /* its queue is made and cleared alike */

    j.name  = "bare loop";
    j.flags = 0;
    j.open  = enqueue_open;
    j.op    = enqueue_op;
    j.count = NULL;
    j.close = client_close;
    return j;
}

static void *drain_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l, "");

    (void)caller;
    if (c == NULL)
        return NULL;
    c->lease = bench_now_ns();
    if (find_queue(c, DRAIN_QUEUE) && prepare_ours(c, PGQRS__STMT_MESSAGE_CLAIM, c->first)
        && prepare_ours(c, PGQRS__STMT_MESSAGE_FINISH, c->second))
        return c;
    client_close(c);
    return NULL;
}

/* The ids of what was claimed; -1: failed. */
static int claim(client *c, int64_t *ids)
{
    int64_t now   = now_us();
    int     count = 0;

    if (!step(c, c->begin))
        return -1;
    c->lease++;
    c->l->sent.statements++;
    for (int i = 0; i < PARTS_MAX && c->first[i] != NULL; i++) {
        turso_statement *s    = c->first[i];
        const char      *text = NULL;
        int              rc;

        bind(s, ARG(MESSAGE_CLAIM_QUEUE), c->queue_id);
        bind(s, ARG(MESSAGE_CLAIM_MAX_ROWS), c->size);
        bind(s, ARG(MESSAGE_CLAIM_LEASE), c->lease);
        bind(s, ARG(MESSAGE_CLAIM_LEASE_US), PGQRS_HOUR);
        bind(s, ARG(MESSAGE_CLAIM_NOW), now);
        while ((rc = turso.statement_step(s, &text)) == TURSO_ROW && count < c->size)
            ids[count++] = turso.statement_row_value_int(s, PGQRS__COL_MESSAGE_CLAIM_ID);
        (void)turso.statement_reset(s, NULL);
        if (rc != TURSO_DONE && rc != TURSO_OK && !say(c, "claim", text))
            return -1;
    }
    return commit(c) ? count : -1;
}

static bool finish(client *c, const int64_t *ids, int count)
{
    int64_t now = now_us();

    if (!step(c, c->begin))
        return false;
    c->l->sent.statements++;
    for (int n = 0; n < count; n++) {
        for (int i = 0; i < PARTS_MAX && c->second[i] != NULL; i++) {
            turso_statement *s = c->second[i];

            bind(s, ARG(MESSAGE_FINISH_QUEUE), c->queue_id);
            bind(s, ARG(MESSAGE_FINISH_MESSAGE), ids[n]);
            bind(s, ARG(MESSAGE_FINISH_LEASE), c->lease);
            bind(s, ARG(MESSAGE_FINISH_STATE), 0);
            bind(s, ARG(MESSAGE_FINISH_NOW), now);
            bind(s, ARG(MESSAGE_FINISH_NOW) + 2, n + 1);
            if (!step(c, s))
                return false;
        }
    }
    return commit(c);
}

static int64_t drain_op(void *self)
{
    client *c = self;
    int64_t ids[BARE_MAX];
    int     count = claim(c, ids);

    return count > 0 && !finish(c, ids, count) ? -1 : count;
}

job tu_bare_drain(int batch)
{
    return (job){ .name    = "bare loop",
                  .callers = 1,
                  .size    = batch,
                  .ready   = drain_ready,
                  .open    = drain_open,
                  .op      = drain_op,
                  .close   = client_close };
}
