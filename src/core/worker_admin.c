/* Workers as the database knows them: names for people, and what to do about the silent ones. */
#include "core/admin.h"
#include "util/random.h"
#include "util/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* Workers in one heartbeat. */
#define HEARTBEAT_MAX 10000

/* --- Records ---------------------------------------------------------------------------------- */

PGQRS__COLLECTION(pgqrs_worker_records, pgqrs_worker_record)

const char *pgqrs_worker_status_name(pgqrs_worker_status status)
{
    switch (status) {
    case PGQRS_WORKER_READY:
        return "ready";
    case PGQRS_WORKER_POLLING:
        return "polling";
    case PGQRS_WORKER_SUSPENDED:
        return "suspended";
    case PGQRS_WORKER_INTERRUPTED:
        return "interrupted";
    case PGQRS_WORKER_STOPPED:
        return "stopped";
    }
    return "?";
}

static pgqrs_status worker_missing(int64_t worker, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_ENOTFOUND, PGQRS_OBJECT_WORKER, "worker %" PRId64 " does not exist",
                worker);
    pgqrs__hint(error, "Register it with pgqrs_worker_register().");
    return PGQRS_ENOTFOUND;
}

_Static_assert((int)PGQRS__COL_WORKER_LIST_HEARTBEAT_AT == (int)PGQRS__COL_WORKER_FIND_HEARTBEAT_AT,
               "worker_list has the columns of worker_find");

static pgqrs_status take_worker(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__rows         *rows   = call->user;
    pgqrs_worker_record *worker = pgqrs__rows_add(rows);

    if (worker == NULL || !pgqrs__rows_text(rows, cols[PGQRS__COL_WORKER_FIND_NAME], &worker->name)
        || !pgqrs__rows_text(rows, cols[PGQRS__COL_WORKER_FIND_HOSTNAME], &worker->hostname))
        return PGQRS_ENOMEM;
    worker->id            = pgqrs__as_int(cols[PGQRS__COL_WORKER_FIND_ID]);
    worker->status        = (pgqrs_worker_status)pgqrs__as_int(cols[PGQRS__COL_WORKER_FIND_STATUS]);
    worker->queue_id      = pgqrs__as_int(cols[PGQRS__COL_WORKER_FIND_QUEUE_ID]);
    worker->started_at_us = pgqrs__as_int(cols[PGQRS__COL_WORKER_FIND_STARTED_AT]);
    worker->heartbeat_at_us = pgqrs__as_int(cols[PGQRS__COL_WORKER_FIND_HEARTBEAT_AT]);
    return PGQRS_OK;
}

pgqrs_status pgqrs_worker_get(pgqrs_store *store, int64_t worker,
                              pgqrs_worker_records **out_workers, pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_WORKER_FIND_WORKER] = pgqrs__int(worker) };
    pgqrs__rows     *rows;
    pgqrs_status     rc;

    if (out_workers != NULL)
        *out_workers = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_workers, "out_workers", error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__read_rows(store, PGQRS__STMT_WORKER_FIND, args, take_worker,
                          sizeof(pgqrs_worker_record), &rows, error);
    if (rc != PGQRS_OK)
        return rc;
    if (rows->count == 0) {
        pgqrs__rows_free(rows);
        return worker_missing(worker, error);
    }
    *out_workers = (pgqrs_worker_records *)rows;
    return PGQRS_OK;
}

pgqrs_status pgqrs_worker_list(pgqrs_store *store, pgqrs_worker_records **out_workers,
                               pgqrs_error *error)
{
    pgqrs__rows *rows;
    pgqrs_status rc;

    if (out_workers != NULL)
        *out_workers = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_workers, "out_workers", error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__read_rows(store, PGQRS__STMT_WORKER_LIST, NULL, take_worker,
                          sizeof(pgqrs_worker_record), &rows, error);
    if (rc == PGQRS_OK)
        *out_workers = (pgqrs_worker_records *)rows;
    return rc;
}

/* --- Registering, signs of life --------------------------------------------------------------- */

static void hostname_get(char *into, size_t size)
{
    if (gethostname(into, size) != 0)
        into[0] = '\0';
    into[size - 1] = '\0'; /* a name that was cut need not end */
    if (into[0] == '\0' || !pgqrs__utf8_valid(into, strlen(into)))
        snprintf(into, size, "unknown");
}

pgqrs_status pgqrs_worker_register(pgqrs_store *store, const char *name, const char *queue,
                                   int64_t *out_worker, pgqrs_error *error)
{
    pgqrs__queue_ref ref = { 0 };
    char             hostname[128];
    char             made_up[PGQRS__NAME_MAX + 1];
    int64_t          id;
    pgqrs_status     rc;

    if (out_worker != NULL)
        *out_worker = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    hostname_get(hostname, sizeof(hostname));
    if (name == NULL) {
        snprintf(made_up, sizeof(made_up), "%s-%ld-%08" PRIx64, hostname, (long)getpid(),
                 (uint64_t)pgqrs__random_i63() & 0xffffffff);
        name = made_up;
    }
    rc = pgqrs__check_name(name, "worker", PGQRS_OBJECT_WORKER, error);
    if (rc != PGQRS_OK)
        return rc;
    if (queue != NULL
        && (rc = pgqrs__queue_named(store, queue, PGQRS_OBJECT_QUEUE, &ref, error)) != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = {
        [PGQRS__ARG_WORKER_UPSERT_NAME]     = pgqrs__text(name),
        [PGQRS__ARG_WORKER_UPSERT_HOSTNAME] = pgqrs__text(hostname),
        [PGQRS__ARG_WORKER_UPSERT_QUEUE]    = pgqrs__int_or_null(ref.id),
        [PGQRS__ARG_WORKER_UPSERT_NOW]      = pgqrs__now(store, 0),
    };
    rc = pgqrs__write_int_again(store, PGQRS__STMT_WORKER_UPSERT, args, &id, error);
    if (rc == PGQRS_OK && out_worker != NULL)
        *out_worker = id;
    return rc;
}

/* Which argument rows were answered: n counts from 1. */
typedef struct heard {
    bool  *rows;
    size_t count;
} heard;

static pgqrs_status take_heard(pgqrs__call *call, const pgqrs__val *cols)
{
    heard  *into = call->user;
    int64_t n    = pgqrs__as_int(cols[PGQRS__COL_WORKER_HEARTBEAT_N]);

    if (n >= 1 && (uint64_t)n <= into->count)
        into->rows[n - 1] = true;
    return PGQRS_OK;
}

static void restart_heard(pgqrs__call *call)
{
    heard *into = call->user;

    memset(into->rows, 0, into->count * sizeof(into->rows[0]));
}

pgqrs_status pgqrs_worker_heartbeat(pgqrs_store *store, const int64_t *workers, size_t count,
                                    pgqrs_error *error)
{
    heard        answered = { 0 };
    pgqrs__val  *rows     = NULL;
    pgqrs_status rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK || count == 0
        || (rc = pgqrs__check_pointer(workers, "workers", error)) != PGQRS_OK
        || (rc = pgqrs__check_range((int64_t)PGQRS__MIN(count, INT64_MAX), 0, HEARTBEAT_MAX,
                                    "count", error))
               != PGQRS_OK)
        return rc;

    rows           = pgqrs__ids_sorted(workers, &count);
    answered.count = count;
    answered.rows  = pgqrs__calloc(count, sizeof(answered.rows[0]));
    if (rows == NULL || answered.rows == NULL) {
        rc = pgqrs__nomem(error);
        goto done;
    }
    const pgqrs__val scalars[] = {
        [PGQRS__ARG_WORKER_HEARTBEAT_NOW - 1] = pgqrs__now(store, 0),
    };
    const pgqrs__part part = { .rows = rows, .nrows = count };
    pgqrs__call       call = {
              .stmt    = PGQRS__STMT_WORKER_HEARTBEAT,
              .parts   = &part,
              .nparts  = 1,
              .scalars = scalars,
              .on_row  = take_heard,
              .user    = &answered,
              .restart = restart_heard,
    };
    rc = pgqrs__run_again(store, &call, error);
    for (size_t i = 0; rc == PGQRS_OK && i < count; i++) {
        if (!answered.rows[i])
            rc = worker_missing(rows[i].as.i, error); /* the others have been heard */
    }
done:
    pgqrs__free(answered.rows);
    pgqrs__free(rows);
    return rc;
}

pgqrs_status pgqrs_worker_set_status(pgqrs_store *store, int64_t worker, pgqrs_worker_status status,
                                     pgqrs_error *error)
{
    pgqrs_status rc;
    int64_t      id;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_range((int64_t)status, PGQRS_WORKER_READY, PGQRS_WORKER_STOPPED,
                                    "status", error))
               != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = {
        [PGQRS__ARG_WORKER_SET_STATUS_WORKER] = pgqrs__int(worker),
        [PGQRS__ARG_WORKER_SET_STATUS_STATUS] = pgqrs__int((int64_t)status),
        [PGQRS__ARG_WORKER_SET_STATUS_NOW]    = pgqrs__now(store, 0),
    };
    rc = pgqrs__write_int_again(store, PGQRS__STMT_WORKER_SET_STATUS, args, &id, error);
    if (rc == PGQRS_OK && id == 0)
        return worker_missing(worker, error);
    return rc;
}

/* --- Health, and giving back what the silent hold --------------------------------------------- */

static pgqrs_status take_health(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs_worker_health *health = call->user;

    health->total       = pgqrs__as_int(cols[PGQRS__COL_WORKER_MEASURE_TOTAL]);
    health->ready       = pgqrs__as_int(cols[PGQRS__COL_WORKER_MEASURE_READY]);
    health->polling     = pgqrs__as_int(cols[PGQRS__COL_WORKER_MEASURE_POLLING]);
    health->suspended   = pgqrs__as_int(cols[PGQRS__COL_WORKER_MEASURE_SUSPENDED]);
    health->interrupted = pgqrs__as_int(cols[PGQRS__COL_WORKER_MEASURE_INTERRUPTED]);
    health->stopped     = pgqrs__as_int(cols[PGQRS__COL_WORKER_MEASURE_STOPPED]);
    health->stale       = pgqrs__as_int(cols[PGQRS__COL_WORKER_MEASURE_STALE]);
    return PGQRS_OK;
}

pgqrs_status pgqrs_worker_measure(pgqrs_store *store, int64_t silent_us,
                                  pgqrs_worker_health *out_health, pgqrs_error *error)
{
    pgqrs_worker_health health = { 0 };
    pgqrs_status        rc;

    if (out_health != NULL)
        *out_health = health;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_health, "out_health", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(silent_us, "silent_us", error)) != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = {
        [PGQRS__ARG_WORKER_MEASURE_SILENT_US] = pgqrs__int(silent_us),
        [PGQRS__ARG_WORKER_MEASURE_NOW]       = pgqrs__now(store, 0),
    };
    rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_WORKER_MEASURE, args, take_health,
                        &health, error);
    if (rc == PGQRS_OK)
        *out_health = health;
    return rc;
}

/* Give back what a worker holds. *total grows also when a later portion fails. */
static pgqrs_status release(pgqrs_store *store, int64_t worker, int64_t now_us, int64_t *total,
                            pgqrs_error *error)
{
    const pgqrs__val args[] = {
        [PGQRS__ARG_WORKER_RELEASE_WORKER]   = pgqrs__int(worker),
        [PGQRS__ARG_WORKER_RELEASE_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
        [PGQRS__ARG_WORKER_RELEASE_CHANNEL]  = pgqrs__text(store->backend->channel(store->db)),
        [PGQRS__ARG_WORKER_RELEASE_NOW]      = pgqrs__now(store, now_us),
    };
    int64_t      before = *total;
    pgqrs_status rc;

    rc = pgqrs__write_all(store, PGQRS__STMT_WORKER_RELEASE, args, total, error);
    /* A row that was being written to in that instant was left out: once more, but not for ever,
     * since the worker may be alive and claiming. */
    if (rc == PGQRS_OK && *total > before)
        rc = pgqrs__write_all(store, PGQRS__STMT_WORKER_RELEASE, args, total, error);
    if (*total > before)
        pgqrs__wake(store, 0);
    return rc;
}

pgqrs_status pgqrs_worker_release(pgqrs_store *store, int64_t worker, int64_t *out_count,
                                  pgqrs_error *error)
{
    int64_t      total = 0;
    pgqrs_status rc;

    if (out_count != NULL)
        *out_count = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    rc = release(store, worker, 0, &total, error);
    if (out_count != NULL)
        *out_count = total;
    return rc;
}

/* Those that were stopped. */
typedef struct stopped {
    pgqrs__rows *ids;
    bool         sure; /* at the first try: nobody can have been heard of in between */
} stopped;

/* Each once: a statement that was not answered, or not committed, is sent again. */
static pgqrs_status take_id(pgqrs__call *call, const pgqrs__val *cols)
{
    const int64_t named = pgqrs__as_int(cols[PGQRS__COL_WORKER_STOP_STALE_ID]);
    pgqrs__rows  *rows  = ((stopped *)call->user)->ids;
    int64_t      *id;

    for (size_t i = 0; i < rows->count; i++)
        if (*(const int64_t *)pgqrs__rows_at(rows, i) == named)
            return PGQRS_OK;
    id = pgqrs__rows_add(rows);
    if (id == NULL)
        return PGQRS_ENOMEM;
    *id = named;
    return PGQRS_OK;
}

/* Who was named before stays: the commit may have been what was lost. */
static void restart_stopped(pgqrs__call *call)
{
    ((stopped *)call->user)->sure = false;
}

/* Stop the silent ones. A try that was lost may hold them for a moment longer, and they are passed
 * by as if they had been heard of: then they are looked for until the deadline. */
static pgqrs_status stop_stale(pgqrs_store *store, const pgqrs__val *scalars, stopped *out,
                               pgqrs_error *error)
{
    pgqrs__lost         wait   = { .deadline_us = pgqrs__deadline(store) };
    pgqrs_worker_health health = { 0 };
    pgqrs_status        rc;
    bool                lost;
    pgqrs__call         call = {
                .stmt    = PGQRS__STMT_WORKER_STOP_STALE,
                .scalars = scalars,
                .on_row  = take_id,
                .user    = out,
                .restart = restart_stopped,
    };

    for (;;) {
        rc = pgqrs__run_in_two(store, &call, &lost, error);
        if (rc == PGQRS_OK && !out->sure) /* the same arguments */
            rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_WORKER_MEASURE, scalars,
                                take_health, &health, error);
        if (rc == PGQRS_OK && (out->sure || health.stale == 0 || !pgqrs__lost_wait(&wait)))
            return rc;
        if (rc != PGQRS_OK && !pgqrs__lost_again(&wait, rc, error))
            return rc;
        out->sure = false;
    }
}

static pgqrs_status is_stopped(pgqrs_store *store, int64_t worker, bool *out_stopped,
                               pgqrs_error *error)
{
    pgqrs__lost           wait = { .deadline_us = pgqrs__deadline(store), .once = true };
    pgqrs_worker_records *found;
    pgqrs_status          rc;

    do
        rc = pgqrs_worker_get(store, worker, &found, error);
    while (rc != PGQRS_OK && rc != PGQRS_ENOTFOUND && pgqrs__lost_again(&wait, rc, error));
    *out_stopped =
        rc == PGQRS_OK && pgqrs_worker_records_at(found, 0)->status == PGQRS_WORKER_STOPPED;
    pgqrs_worker_records_free(found);
    return rc == PGQRS_ENOTFOUND ? pgqrs__ok(error) : rc;
}

_Static_assert((int)PGQRS__ARG_WORKER_STOP_STALE_SILENT_US
                       == (int)PGQRS__ARG_WORKER_MEASURE_SILENT_US
                   && (int)PGQRS__ARG_WORKER_STOP_STALE_NOW == (int)PGQRS__ARG_WORKER_MEASURE_NOW,
               "worker_stop_stale has the arguments of worker_measure");

pgqrs_status pgqrs_worker_purge_stale(pgqrs_store *store, int64_t silent_us, int64_t now_us,
                                      int64_t *out_count, pgqrs_error *error)
{
    stopped      silent   = { .sure = true };
    int64_t      released = 0;
    int64_t      count    = 0;
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    if (out_count != NULL)
        *out_count = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(silent_us, "silent_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_time(now_us, "now_us", error)) != PGQRS_OK)
        return rc;
    silent.ids = pgqrs__rows_new(sizeof(int64_t));
    if (silent.ids == NULL)
        return pgqrs__nomem(error);

    const pgqrs__val args[] = {
        [PGQRS__ARG_WORKER_STOP_STALE_SILENT_US] = pgqrs__int(silent_us),
        [PGQRS__ARG_WORKER_STOP_STALE_NOW]       = pgqrs__now(store, now_us),
    };
    rc = stop_stale(store, args, &silent, error);
    /* What cannot be given back now comes back when its lease passes. */
    for (size_t i = 0; rc == PGQRS_OK && i < silent.ids->count; i++) {
        const int64_t *worker = pgqrs__rows_at(silent.ids, i);
        bool           is     = silent.sure;

        if (!is)
            rc = is_stopped(store, *worker, &is, error);
        if (rc != PGQRS_OK || !is)
            continue;
        count++;
        rc = release(store, *worker, now_us, &released, error);
    }
    if (out_count != NULL)
        *out_count = count;
    pgqrs__rows_free(silent.ids);
    return rc;
}
