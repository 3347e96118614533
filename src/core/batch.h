/* What the files of batches share. */
#ifndef PGQRS_CORE_BATCH_H
#define PGQRS_CORE_BATCH_H

#include "core/task.h"

/* One operation of a batch: how to get its result, or its result. */
typedef struct pgqrs__item {
    pgqrs__task *task; /* in the batch's arena; NULL: refused */
    pgqrs_status status;
    pgqrs_error *error; /* owned; NULL while there is none */
} pgqrs__item;

struct pgqrs_batch {
    pgqrs_store *store; /* NULL: of pgqrs_open_submit() */
    bool         independent;
    enum { PGQRS__BATCH_OPEN, PGQRS__BATCH_UNDER_WAY, PGQRS__BATCH_BACK } stage;
    pgqrs_error  error; /* why it cannot be sent: status PGQRS_OK: it can */
    pgqrs__arena arena; /* of whoever adds; nothing is added once it is under way */
    pgqrs__item *items;
    size_t       count;
    size_t       cap;
    pgqrs__task *atomic; /* the one task of an atomic batch that is sent */
    size_t       left;   /* tasks under way; under the store's lock */
    atomic_bool  stop;   /* waits end */

    pgqrs_completions *completions; /* NULL: somebody waits */
    void              *user_data;
    pgqrs_batch       *before; /* among those that are under way to there; under its lock */
    pgqrs_batch       *after;
    pgqrs_batch       *next; /* among those that came back */
    pgqrs__thread      opener;
    bool               has_opener;
};

/* Make room for one operation. NULL: there is none to be made; the batch knows. @p atomic: an
 * atomic batch takes it; else it is refused there, and the result is NULL as well. @p what names
 * the call. */
bool pgqrs__batch_adds(pgqrs_batch *batch, const char *what, bool atomic, pgqrs_error *error);
/* Add the operation: task NULL: it was refused with *error. Returns its number. */
size_t pgqrs__batch_add(pgqrs_batch *batch, pgqrs__task *task, const pgqrs_error *error);
/* The result of one operation. Not at once for one item from several threads. */
void pgqrs__batch_result(pgqrs_batch *batch, size_t index, pgqrs_status status,
                         const pgqrs_error *error);

/* The task that an atomic batch is, in its arena. NULL: no memory. (atomic.c) */
pgqrs__task *pgqrs__atomic_task(pgqrs_batch *batch);
/* Free a result that nobody took. */
void pgqrs__result_free(pgqrs__result *result);

/* A batch is under way to here; it came back. (completions.c) */
void pgqrs__completions_expect(pgqrs_completions *completions, pgqrs_batch *batch);
void pgqrs__completions_push(pgqrs_completions *completions, pgqrs_batch *batch);

#endif
