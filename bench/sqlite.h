/* What the baselines on sqlite3 share. */
#ifndef PGQRS_BENCH_SQLITE_H
#define PGQRS_BENCH_SQLITE_H

#include "bench.h"

#include <sqlite3.h>

#define PARTS_MAX 8

typedef struct lite {
    bench          *b;
    lane           *l;
    sqlite3        *db;
    int             size;
    sqlite3_stmt   *begin, *commit, *insert, *number, *renumber;
    sqlite3_stmt   *first[PARTS_MAX], *second[PARTS_MAX]; /* of the library's statements */
    int64_t         queue_id, lease;
    pgqrs_messages *runs;
    int             step;
} lite;

/* A connection as the library's are: write-ahead log, synchronous FULL. The file is the store's,
 * with this behind its name. NULL: failed. */
lite   *lite_new(bench *b, const job *j, lane *l, const char *suffix);
void    lite_close(void *self);
int64_t lite_say(lite *c, const char *what);
bool    lite_prepare(lite *c, const char *sql, sqlite3_stmt **out);
/* Run a statement to its end. */
bool lite_step(lite *c, sqlite3_stmt *stmt);
/* The same for COMMIT, which counts as one. */
bool lite_commit(lite *c);

#endif
