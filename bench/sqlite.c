/* Baselines on sqlite3: single-row commits, many rows in one; a snapshot. */
#include "sqlite.h"

#include <stdlib.h>
#include <string.h>

int64_t lite_say(lite *c, const char *what)
{
    (void)snprintf(c->l->why, sizeof(c->l->why), "%s: %s", what, sqlite3_errmsg(c->db));
    return -1;
}

bool lite_prepare(lite *c, const char *sql, sqlite3_stmt **out)
{
    if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK)
        return true;
    (void)lite_say(c, sql);
    return false;
}

void lite_close(void *self)
{
    lite *c = self;

    sqlite3_finalize(c->begin);
    sqlite3_finalize(c->commit);
    sqlite3_finalize(c->insert);
    sqlite3_finalize(c->number);
    sqlite3_finalize(c->renumber);
    for (size_t i = 0; i < PARTS_MAX; i++) {
        sqlite3_finalize(c->first[i]);
        sqlite3_finalize(c->second[i]);
    }
    sqlite3_close(c->db);
    pgqrs_messages_free(c->runs);
    free(c);
}

/* The file of the place, or in memory where the place is. */
static int open_beside(const bench *b, const char *suffix, sqlite3 **out)
{
    char path[600];

    (void)snprintf(path, sizeof(path), "%s%s", b->file == NULL ? ":memory:" : b->file,
                   b->file == NULL ? "" : suffix);
    return sqlite3_open(path, out);
}

lite *lite_new(bench *b, const job *j, lane *l, const char *suffix)
{
    lite *c = BENCH_NEW(lite);

    if (c == NULL)
        return NULL;
    c->b    = b;
    c->l    = l;
    c->size = j->size;
    if (open_beside(b, suffix, &c->db) == SQLITE_OK
        && sqlite3_exec(c->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL,
                        NULL)
               == SQLITE_OK
        && lite_prepare(c, "BEGIN IMMEDIATE", &c->begin) && lite_prepare(c, "COMMIT", &c->commit))
        return c;
    (void)lite_say(c, "open");
    lite_close(c);
    return NULL;
}

bool lite_step(lite *c, sqlite3_stmt *stmt)
{
    int rc;

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        continue;
    (void)sqlite3_reset(stmt);
    if (rc == SQLITE_DONE)
        return true;
    (void)lite_say(c, sqlite3_sql(stmt));
    return false;
}

bool lite_commit(lite *c)
{
    c->l->sent.commits++;
    c->l->sent.round_trips++;
    return lite_step(c, c->commit);
}

/* --- Inserts ---------------------------------------------------------------------------------- */

static void *insert_open(bench *b, const job *j, lane *l, int caller)
{
    lite *c = lite_new(b, j, l, "-raw");

    (void)caller;
    if (c == NULL)
        return NULL;
    if (sqlite3_exec(c->db, "CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, payload TEXT)",
                     NULL, NULL, NULL)
            != SQLITE_OK
        || !lite_prepare(c, "INSERT INTO raw (payload) VALUES (?1)", &c->insert)) {
        lite_close(c);
        return NULL;
    }
    return c;
}

static int64_t insert_op(void *self)
{
    lite *c = self;

    if (sqlite3_bind_text(c->insert, 1, BENCH_PAYLOAD, -1, SQLITE_STATIC) != SQLITE_OK
        || !lite_step(c, c->begin))
        return -1;
    for (int i = 0; i < c->size; i++) {
        c->l->sent.statements++;
        if (!lite_step(c, c->insert))
            return -1;
    }
    return lite_commit(c) ? c->size : -1;
}

job sq_insert(void)
{
    return (job){ .name    = "insert",
                  .callers = 1,
                  .size    = 1,
                  .open    = insert_open,
                  .op      = insert_op,
                  .close   = lite_close };
}

job sq_insert_many(int batch)
{
    job j = sq_insert();

    j.name = "inserts";
    j.size = batch;
    return j;
}

/* --- A snapshot ------------------------------------------------------------------------------- */

void *sq_pin_snapshot(bench *b)
{
    sqlite3 *db = NULL;

    if (open_beside(b, "", &db) == SQLITE_OK
        && sqlite3_exec(db, "BEGIN; SELECT count(*) FROM pgqrs_queues", NULL, NULL, NULL)
               == SQLITE_OK)
        return db;
    bench_fail(b, "snapshot: %s", sqlite3_errmsg(db));
    sqlite3_close(db);
    return NULL;
}

void sq_unpin_snapshot(void *conn)
{
    sqlite3_close(conn);
}

/* --- The memory of SQLite itself -------------------------------------------------------------- */

/* A process with a connection that has inserted a row. */
static int64_t memory_op(void *self)
{
    bench_sleep_ns(10000000);
    return insert_op(self);
}

job sq_memory(void)
{
    job j = sq_insert();

    j.name  = "sqlite3";
    j.flags = JOB_PROCESSES | JOB_RSS_ABOVE;
    j.op    = memory_op;
    return j;
}
