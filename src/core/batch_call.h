/* What batch_call.c shares with batch_looks.c and batch_admin.c: an operation of a batch that is a
 * call of its own, run as its blocking form by a thread that may ask. */
#ifndef PGQRS_CORE_BATCH_CALL_H
#define PGQRS_CORE_BATCH_CALL_H

#include "core/batch.h"

typedef struct pgqrs__call_task pgqrs__call_task;
typedef pgqrs_status (*pgqrs__call_fn)(pgqrs__call_task *c, pgqrs_error *error);

typedef union pgqrs__call_options {
    pgqrs_claim_options    claim;
    pgqrs_list_options     list;
    pgqrs_run_list_options run_list;
    pgqrs_queue_options    queue;
    pgqrs_step_options     step;
} pgqrs__call_options;

/* The arguments of a call, copied; what it measures. */
struct pgqrs__call_task {
    pgqrs__task         task;
    pgqrs__call_fn      call;
    const char         *name;
    const char         *second;
    int64_t             number;
    int64_t             second_number;
    bool                flag;
    int64_t            *ids;
    size_t              count;
    pgqrs_run          *run;
    pgqrs_step         *step; /* step_begin: made */
    pgqrs__call_options options;
    union {
        pgqrs_queue_metrics metrics;
        pgqrs_worker_health health;
    } measure;
};

/* A call with up to two texts. NULL: it was refused. */
pgqrs__call_task *pgqrs__call_new(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                                  const char *name, const char *second, pgqrs_error *error);
/* Add it, or its refusal. */
size_t pgqrs__call_add(pgqrs_batch *batch, pgqrs__call_task *c, const pgqrs_error *error);
/* A call with a name alone, which may be NULL; with numbers alone; with ids. */
size_t pgqrs__call_named(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                         const char *name);
size_t pgqrs__call_numbers(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                           int64_t number, int64_t second);
size_t pgqrs__call_ids(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                       const int64_t *ids, size_t count);
/* What it hands out. */
void pgqrs__call_hand(pgqrs__call_task *c, pgqrs__handed what, void *object);

#endif
