/* Baselines on sqlite3: single-row commits, and the library's own SQL in a bare loop. */
#include "bench.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "statements.h"

extern const pgqrs__sql pgqrs__sql_sqlite[];

#define PARTS_MAX 8

typedef struct client {
    bench        *b;
    lane         *l;
    sqlite3      *db;
    int           size;
    sqlite3_stmt *begin, *commit, *insert;
    sqlite3_stmt *claim[PARTS_MAX], *finish[PARTS_MAX];
    int64_t       queue_id, lease;
} client;

static int64_t say(client *c, const char *what)
{
    snprintf(c->l->why, sizeof(c->l->why), "%s: %s", what, sqlite3_errmsg(c->db));
    return -1;
}

static bool prepare(client *c, const char *sql, sqlite3_stmt **out)
{
    if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK)
        return true;
    (void)say(c, sql);
    return false;
}

static void client_close(void *self)
{
    client *c = self;

    sqlite3_finalize(c->begin);
    sqlite3_finalize(c->commit);
    sqlite3_finalize(c->insert);
    for (size_t i = 0; i < PARTS_MAX; i++) {
        sqlite3_finalize(c->claim[i]);
        sqlite3_finalize(c->finish[i]);
    }
    sqlite3_close(c->db);
    free(c);
}

/* A connection as the library's are: write-ahead log, synchronous FULL. */
static client *client_new(bench *b, const job *j, lane *l, const char *suffix)
{
    client *c = BENCH_NEW(client);
    char    path[600];

    if (c == NULL)
        return NULL;
    c->b    = b;
    c->l    = l;
    c->size = j->size;
    snprintf(path, sizeof(path), "%s%s", b->place + strlen("sqlite://"), suffix);
    if (sqlite3_open(path, &c->db) == SQLITE_OK
        && sqlite3_exec(c->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL,
                        NULL)
               == SQLITE_OK
        && prepare(c, "BEGIN IMMEDIATE", &c->begin) && prepare(c, "COMMIT", &c->commit))
        return c;
    (void)say(c, path);
    client_close(c);
    return NULL;
}

static bool step(client *c, sqlite3_stmt *stmt)
{
    int rc;

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        continue;
    (void)sqlite3_reset(stmt);
    if (rc == SQLITE_DONE)
        return true;
    (void)say(c, sqlite3_sql(stmt));
    return false;
}

/* --- Single-row commits ----------------------------------------------------------------------- */

static void *insert_open(bench *b, const job *j, lane *l, int caller)
{
    client *c = client_new(b, j, l, "-raw");

    (void)caller;
    if (c == NULL)
        return NULL;
    if (sqlite3_exec(c->db, "CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, payload TEXT)",
                     NULL, NULL, NULL)
            != SQLITE_OK
        || !prepare(c, "INSERT INTO raw (payload) VALUES (?1)", &c->insert)) {
        client_close(c);
        return NULL;
    }
    return c;
}

static int64_t insert_op(void *self)
{
    client *c = self;

    if (sqlite3_bind_text(c->insert, 1, BENCH_PAYLOAD, -1, SQLITE_STATIC) != SQLITE_OK
        || !step(c, c->begin) || !step(c, c->insert) || !step(c, c->commit))
        return -1;
    return 1;
}

job sq_insert(void)
{
    return (job){ .name    = "insert",
                  .callers = 1,
                  .size    = 1,
                  .open    = insert_open,
                  .op      = insert_op,
                  .close   = client_close };
}

/* --- The library's own SQL in a bare loop ----------------------------------------------------- */

static bool prepare_ours(client *c, int stmt, sqlite3_stmt **parts)
{
    for (int i = 0; i < pgqrs__sql_sqlite[stmt].nparts; i++)
        if (i == PARTS_MAX || !prepare(c, pgqrs__sql_sqlite[stmt].parts[i], &parts[i]))
            return false;
    return true;
}

static void *drain_open(bench *b, const job *j, lane *l, int caller)
{
    client       *c = client_new(b, j, l, "");
    sqlite3_stmt *find;

    (void)caller;
    if (c == NULL)
        return NULL;
    if (prepare(c, "SELECT id FROM pgqrs_queues WHERE name = 'bench_drain' AND deleted_at IS NULL",
                &find)) {
        if (sqlite3_step(find) == SQLITE_ROW)
            c->queue_id = sqlite3_column_int64(find, 0);
        sqlite3_finalize(find);
    }
    c->lease = bench_now_ns();
    if (c->queue_id != 0 && prepare_ours(c, PGQRS__STMT_MESSAGE_CLAIM, c->claim)
        && prepare_ours(c, PGQRS__STMT_MESSAGE_FINISH, c->finish))
        return c;
    client_close(c);
    return NULL;
}

static int64_t now_us(void)
{
    return bench_now_ns() / 1000;
}

/* The ids of what was claimed; -1: failed. */
static int claim(client *c, int64_t *ids)
{
    int64_t now   = now_us();
    int     count = 0;

    if (!step(c, c->begin))
        return -1;
    c->lease++;
    for (int i = 0; i < PARTS_MAX && c->claim[i] != NULL; i++) {
        sqlite3_stmt *s = c->claim[i];

        (void)sqlite3_bind_int64(s, 1, c->queue_id);
        (void)sqlite3_bind_int64(s, 2, c->size);
        (void)sqlite3_bind_int64(s, 3, c->lease);
        (void)sqlite3_bind_int64(s, 5, PGQRS_HOUR);
        (void)sqlite3_bind_int64(s, 16, now);
        while (sqlite3_column_count(s) > 0 && count < c->size && sqlite3_step(s) == SQLITE_ROW)
            ids[count++] = sqlite3_column_int64(s, PGQRS__COL_MESSAGE_CLAIM_ID);
        if (sqlite3_column_count(s) > 0)
            (void)sqlite3_reset(s);
        else if (!step(c, s))
            return -1;
    }
    return step(c, c->commit) ? count : -1;
}

static bool finish(client *c, const int64_t *ids, int count)
{
    int64_t now = now_us();

    if (!step(c, c->begin))
        return false;
    for (int n = 0; n < count; n++) {
        for (int i = 0; i < PARTS_MAX && c->finish[i] != NULL; i++) {
            sqlite3_stmt *s = c->finish[i];

            (void)sqlite3_bind_int64(s, 1, c->queue_id);
            (void)sqlite3_bind_int64(s, 2, ids[n]);
            (void)sqlite3_bind_int64(s, 3, c->lease);
            (void)sqlite3_bind_int64(s, 4, 0);
            (void)sqlite3_bind_int64(s, 7, now);
            (void)sqlite3_bind_int64(s, 9, n + 1);
            if (!step(c, s))
                return false;
        }
    }
    return step(c, c->commit);
}

static int64_t drain_op(void *self)
{
    client *c = self;
    int64_t ids[1000];
    int     count = claim(c, ids);

    return count > 0 && !finish(c, ids, count) ? -1 : count;
}

static bool drain_ready(bench *b, const job *j)
{
    const job ours = job_drain(1, j->size, 0);

    return ours.ready(b, j);
}

job sq_bare_drain(int batch)
{
    return (job){ .name    = "bare loop",
                  .callers = 1,
                  .size    = batch,
                  .ready   = drain_ready,
                  .open    = drain_open,
                  .op      = drain_op,
                  .close   = client_close };
}
