/* What the calls of administration and of looking share. Not for the hot path. */
#ifndef PGQRS_CORE_ADMIN_H
#define PGQRS_CORE_ADMIN_H

#include "core/core.h"

/* The three functions of a public collection, which is a pgqrs__rows under a name of its own. */
#define PGQRS__COLLECTION(collection, item)                             \
    size_t collection##_count(const collection *items)                  \
    {                                                                   \
        return items == NULL ? 0 : ((const pgqrs__rows *)items)->count; \
    }                                                                   \
    const item *collection##_at(const collection *items, size_t index)  \
    {                                                                   \
        return pgqrs__rows_at((const pgqrs__rows *)items, index);       \
    }                                                                   \
    void collection##_free(collection *items)                           \
    {                                                                   \
        pgqrs__rows_free((pgqrs__rows *)items);                         \
    }

/* Read: on_row adds to call->user, which is a new pgqrs__rows of items of @p item_size; the
 * caller's on success, NULL else. */
pgqrs_status pgqrs__read_rows(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                              pgqrs__row_fn on_row, size_t item_size, pgqrs__rows **out_rows,
                              pgqrs_error *error);

/* Write: *out gets column 0 of the answer, 0 without a row. */
pgqrs_status pgqrs__write_int(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                              int64_t *out, pgqrs_error *error);
/* The same for what may as well happen twice: when the answer was lost, it is asked for again. */
pgqrs_status pgqrs__write_int_again(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                                    int64_t *out, pgqrs_error *error);
/* Write, in transactions of PGQRS__SWEEP_ROWS (which is what the scalars say), until one had less
 * to do. Column 0 of each is added to *total, also when a later one fails; what was done by one
 * whose answer was lost is not. */
pgqrs_status pgqrs__write_all(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                              int64_t *total, pgqrs_error *error);

/* Looking for an answer that was lost. */
typedef struct pgqrs__lost {
    int64_t deadline_us;
    int64_t delay_us;
    bool    once; /* an answer was lost: "no" may mean "done before" */
} pgqrs__lost;

/* After a failure of what may as well happen twice: whether to ask again. Then it has slept; else
 * the error says MAYBE_APPLIED if ever an answer was lost. (lost.c) */
bool pgqrs__lost_again(pgqrs__lost *lost, pgqrs_status rc, pgqrs_error *error);
/* Sleep, longer each time; false at once when the deadline would pass. */
bool pgqrs__lost_wait(pgqrs__lost *lost);

/* Run in MODE_WRITE what may as well happen twice: when the answer was lost, it is asked for again,
 * until the deadline. */
pgqrs_status pgqrs__run_again(pgqrs_store *store, pgqrs__call *call, pgqrs_error *error);

/* Run in MODE_WRITE, and commit in a round trip of its own: when the commit's answer is lost
 * (*out_lost, with an error), the rows have come, and say what to look for. */
pgqrs_status pgqrs__run_in_two(pgqrs_store *store, pgqrs__call *call, bool *out_lost,
                               pgqrs_error *error);

/* The ids as argument rows, each once, in ascending order, so that two calls at a time lock in the
 * same order. *count becomes the number of rows. Free with pgqrs__free(); NULL when out of memory.
 */
pgqrs__val *pgqrs__ids_sorted(const int64_t *ids, size_t *count);

/* Restart functions of calls: user is an int64_t, or a pgqrs__rows. */
void pgqrs__restart_int(pgqrs__call *call);
void pgqrs__restart_rows(pgqrs__call *call);

/* The queue of this name, asked of the database: a cached id may be that of a deleted queue, which
 * is not found out by statements that count or list. Checks the name. With PGQRS_OBJECT_WORKFLOW a
 * plain queue is not found. (queue.c) */
pgqrs_status pgqrs__queue_named(pgqrs_store *store, const char *name, pgqrs_object object,
                                pgqrs__queue_ref *out, pgqrs_error *error);

#endif
