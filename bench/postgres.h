/* What the baselines on libpq share: a client, and arguments in binary. */
#ifndef PGQRS_BENCH_POSTGRES_H
#define PGQRS_BENCH_POSTGRES_H

#include "bench.h"

#include <libpq-fe.h>

#define ARGS_MAX 24

/* Arguments of a prepared statement. Those that are not set are NULL. */
typedef struct args {
    int         count;
    char        scalars[ARGS_MAX][8];
    char       *arrays[ARGS_MAX]; /* owned */
    size_t      sizes[ARGS_MAX];
    const char *values[ARGS_MAX];
    int         lengths[ARGS_MAX];
} args;

void args_int(args *a, int at, int bytes, int64_t value);
void args_text(args *a, int at, const char *text);
/* An array of `count` elements of this type and width: these, or one again and again; or of texts,
 * or of NULLs. False: no memory. */
bool args_ints(args *a, int at, Oid element, int bytes, int count, const int64_t *values);
bool args_same(args *a, int at, Oid element, int bytes, int count, int64_t value);
bool args_texts(args *a, int at, Oid element, int count, const char *const *texts);
bool args_nulls(args *a, int at, Oid element, int count);
void args_free(args *a);
/* A number of an answer in binary. */
int64_t answer_int(const PGresult *r, int row, int column);

typedef struct client {
    bench          *b;
    lane           *l;
    PGconn         *pg;
    int             size;
    args            first, second; /* of the statements it sends */
    int64_t         queue_id, hint, lease;
    pgqrs_messages *runs;
    int             step;
} client;

/* A connection with the settings of the library's own; NULL: failed. */
PGconn *pg_dial(bench *b);
bool    pg_run(bench *b, PGconn *pg, const char *sql);
client *client_new(bench *b, const job *j, lane *l);
void    client_close(void *self);
int64_t client_say(client *c, const char *what);
bool    client_prepare(client *c, const char *name, const char *sql, int count, const Oid *types);

#endif
