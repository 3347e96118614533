/* Looking at queues: one, all of them, and how full they are. */
#include "core/admin.h"

PGQRS__COLLECTION(pgqrs_queues, pgqrs_queue)

_Static_assert((int)PGQRS__COL_QUEUE_LIST_CREATED_AT == (int)PGQRS__COL_QUEUE_FIND_CREATED_AT,
               "queue_list has the columns of queue_find");

static pgqrs_status take_queue(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__rows *rows      = call->user;
    pgqrs_queue *queue     = pgqrs__rows_add(rows);
    pgqrs__val   retention = cols[PGQRS__COL_QUEUE_FIND_RETENTION_US];

    if (queue == NULL || !pgqrs__rows_text(rows, cols[PGQRS__COL_QUEUE_FIND_NAME], &queue->name))
        return PGQRS_ENOMEM;
    queue->id             = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_ID]);
    queue->workflow       = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_WORKFLOW]) != 0;
    queue->paused         = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_PAUSED]) != 0;
    queue->lease_us       = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_LEASE_US]);
    queue->max_attempts   = (int)pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_MAX_ATTEMPTS]);
    queue->backoff_us     = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_BACKOFF_US]);
    queue->backoff_factor = pgqrs__as_real(cols[PGQRS__COL_QUEUE_FIND_BACKOFF_FACTOR]);
    queue->backoff_max_us = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_BACKOFF_MAX_US]);
    queue->retention_us =
        retention.kind == PGQRS__KIND_NULL ? PGQRS_FOREVER : pgqrs__as_int(retention);
    queue->created_at_us = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_CREATED_AT]);
    return PGQRS_OK;
}

pgqrs_status pgqrs_queue_get(pgqrs_store *store, const char *queue, pgqrs_queues **out_queues,
                             pgqrs_error *error)
{
    pgqrs__rows *rows;
    pgqrs_status rc;

    if (out_queues != NULL)
        *out_queues = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_queues, "out_queues", error)) != PGQRS_OK
        || (rc = pgqrs__check_name(queue, "queue", PGQRS_OBJECT_QUEUE, error)) != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = { [PGQRS__ARG_QUEUE_FIND_NAME] = pgqrs__text(queue) };
    rc = pgqrs__read_rows(store, PGQRS__STMT_QUEUE_FIND, args, take_queue, sizeof(pgqrs_queue),
                          &rows, error);
    if (rc != PGQRS_OK)
        return rc;
    if (rows->count == 0) {
        pgqrs__rows_free(rows);
        return pgqrs__queue_missing(queue, PGQRS_OBJECT_QUEUE, error);
    }
    *out_queues = (pgqrs_queues *)rows;
    return PGQRS_OK;
}

pgqrs_status pgqrs_queue_list(pgqrs_store *store, pgqrs_queues **out_queues, pgqrs_error *error)
{
    pgqrs__rows *rows;
    pgqrs_status rc;

    if (out_queues != NULL)
        *out_queues = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_queues, "out_queues", error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__read_rows(store, PGQRS__STMT_QUEUE_LIST, NULL, take_queue, sizeof(pgqrs_queue),
                          &rows, error);
    if (rc == PGQRS_OK)
        *out_queues = (pgqrs_queues *)rows;
    return rc;
}

/* What queue_measure says; the age of the oldest needs the database's clock beside it. */
typedef struct measure {
    pgqrs_queue_metrics metrics;
    int64_t             oldest_at_us; /* 0: none is ready */
} measure;

static pgqrs_status take_measure(pgqrs__call *call, const pgqrs__val *cols)
{
    measure *into = call->user;

    into->metrics.ready     = pgqrs__as_int(cols[PGQRS__COL_QUEUE_MEASURE_READY]);
    into->metrics.scheduled = pgqrs__as_int(cols[PGQRS__COL_QUEUE_MEASURE_SCHEDULED]);
    into->metrics.leased    = pgqrs__as_int(cols[PGQRS__COL_QUEUE_MEASURE_LEASED]);
    into->metrics.done      = pgqrs__as_int(cols[PGQRS__COL_QUEUE_MEASURE_DONE]);
    into->metrics.dead      = pgqrs__as_int(cols[PGQRS__COL_QUEUE_MEASURE_DEAD]);
    into->oldest_at_us      = pgqrs__as_int(cols[PGQRS__COL_QUEUE_MEASURE_OLDEST_AT]);
    return PGQRS_OK;
}

pgqrs_status pgqrs_queue_measure(pgqrs_store *store, const char *queue,
                                 pgqrs_queue_metrics *out_metrics, pgqrs_error *error)
{
    pgqrs__queue_ref ref;
    pgqrs_status     rc;
    measure          found  = { 0 };
    int64_t          now_us = 0;

    if (out_metrics != NULL)
        *out_metrics = (pgqrs_queue_metrics){ 0 };
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_metrics, "out_metrics", error)) != PGQRS_OK
        || (rc = pgqrs__queue_named(store, queue, PGQRS_OBJECT_QUEUE, &ref, error)) != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = {
        [PGQRS__ARG_QUEUE_MEASURE_QUEUE] = pgqrs__int(ref.id),
        [PGQRS__ARG_QUEUE_MEASURE_NOW]   = pgqrs__now(store, 0),
    };
    pgqrs__call calls[] = {
        { .stmt    = PGQRS__STMT_QUEUE_MEASURE,
          .scalars = args,
          .on_row  = take_measure,
          .user    = &found },
        { .stmt = PGQRS__STMT_DATABASE_NOW, .on_row = pgqrs__row_int, .user = &now_us },
    };
    rc = pgqrs__run(store, PGQRS__MODE_READ, calls, PGQRS__ARRAY_LEN(calls), error);
    if (rc != PGQRS_OK)
        return rc;
    if (args[PGQRS__ARG_QUEUE_MEASURE_NOW].kind == PGQRS__KIND_INT)
        now_us = args[PGQRS__ARG_QUEUE_MEASURE_NOW].as.i;
    if (found.oldest_at_us != 0)
        found.metrics.oldest_us = PGQRS__MAX(now_us - found.oldest_at_us, 0);
    *out_metrics = found.metrics;
    return PGQRS_OK;
}
