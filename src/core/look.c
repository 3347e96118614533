/* Looking at messages wherever they are, and what an operator does to them: replay, purge, cancel.
 */
#include "core/admin.h"

#include <inttypes.h>

#define LIST_DEFAULT 100
/* Ids in one statement of a replay. */
#define REPLAY_ROWS 1000
/* A message that moves each time it is looked for is given up. */
#define CANCEL_TRIES 100

/* --- Records ---------------------------------------------------------------------------------- */

PGQRS__COLLECTION(pgqrs_records, pgqrs_record)

const char *pgqrs_state_name(pgqrs_state state)
{
    switch (state) {
    case PGQRS_STATE_READY:
        return "ready";
    case PGQRS_STATE_SCHEDULED:
        return "scheduled";
    case PGQRS_STATE_LEASED:
        return "leased";
    case PGQRS_STATE_DONE:
        return "done";
    case PGQRS_STATE_SUCCESS:
        return "success";
    case PGQRS_STATE_ERROR:
        return "error";
    case PGQRS_STATE_CANCELLED:
        return "cancelled";
    case PGQRS_STATE_DEAD:
        return "dead";
    }
    return "?";
}

/* Why a message is scheduled; NULL when it is not. */
static const char *reason_name(pgqrs__val reason)
{
    static const char *const names[] = {
        [PGQRS__REASON_DELAY] = "delay", [PGQRS__REASON_RETRY] = "retry",
        [PGQRS__REASON_SLEEP] = "sleep", [PGQRS__REASON_PAUSE] = "pause",
        [PGQRS__REASON_EVENT] = "event",
    };

    if (reason.kind != PGQRS__KIND_INT)
        return NULL;
    if (reason.as.i < 0 || reason.as.i >= (int64_t)PGQRS__ARRAY_LEN(names))
        return "?";
    return names[reason.as.i];
}

_Static_assert(
    (int)PGQRS__COL_MESSAGE_LIST_READY_ERROR == (int)PGQRS__COL_MESSAGE_FIND_ERROR
        && (int)PGQRS__COL_MESSAGE_LIST_SCHEDULED_ERROR == (int)PGQRS__COL_MESSAGE_FIND_ERROR
        && (int)PGQRS__COL_MESSAGE_LIST_LEASED_ERROR == (int)PGQRS__COL_MESSAGE_FIND_ERROR
        && (int)PGQRS__COL_MESSAGE_LIST_ARCHIVED_ERROR == (int)PGQRS__COL_MESSAGE_FIND_ERROR,
    "all lists have the columns of message_find");

#define COL(name) cols[PGQRS__COL_MESSAGE_FIND_##name]

static pgqrs_status take_record(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__rows  *rows   = call->user;
    pgqrs_record *record = pgqrs__rows_add(rows);

    if (record == NULL || !pgqrs__rows_text(rows, COL(PAYLOAD), &record->payload)
        || !pgqrs__rows_text(rows, COL(HEADERS), &record->headers)
        || !pgqrs__rows_text(rows, COL(NOTE), &record->note)
        || !pgqrs__rows_text(rows, COL(OUTPUT), &record->output)
        || !pgqrs__rows_text(rows, COL(ERROR), &record->error))
        return PGQRS_ENOMEM;
    record->id             = pgqrs__as_int(COL(ID));
    record->queue_id       = pgqrs__as_int(COL(QUEUE_ID));
    record->state          = (pgqrs_state)pgqrs__as_int(COL(STATE));
    record->priority       = (int)pgqrs__as_int(COL(PRIORITY));
    record->attempt        = (int)pgqrs__as_int(COL(ATTEMPT));
    record->cancelled      = pgqrs__as_int(COL(CANCELLED)) != 0;
    record->producer       = pgqrs__as_int(COL(PRODUCER));
    record->owner          = pgqrs__as_int(COL(OWNER));
    record->enqueued_at_us = pgqrs__as_int(COL(ENQUEUED_AT));
    record->claimed_at_us  = pgqrs__as_int(COL(CLAIMED_AT));
    record->visible_at_us  = pgqrs__as_int(COL(VISIBLE_AT));
    record->expires_at_us  = pgqrs__as_int(COL(EXPIRES_AT));
    record->finished_at_us = pgqrs__as_int(COL(FINISHED_AT));
    record->reason         = reason_name(COL(REASON));
    return PGQRS_OK;
}

#undef COL

static pgqrs_status message_missing(int64_t id, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_ENOTFOUND, PGQRS_OBJECT_MESSAGE, "message %" PRId64 " does not exist",
                id);
    pgqrs__hint(error, "It never did, was deleted, or is past its queue's retention.");
    return PGQRS_ENOTFOUND;
}

pgqrs_status pgqrs_message_get(pgqrs_store *store, int64_t id, pgqrs_records **out_records,
                               pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_MESSAGE_FIND_MESSAGE] = pgqrs__int(id) };
    pgqrs__rows     *rows;
    pgqrs_status     rc;

    if (out_records != NULL)
        *out_records = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_records, "out_records", error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__read_rows(store, PGQRS__STMT_MESSAGE_FIND, args, take_record, sizeof(pgqrs_record),
                          &rows, error);
    if (rc != PGQRS_OK)
        return rc;
    if (rows->count == 0) {
        pgqrs__rows_free(rows);
        return message_missing(id, error);
    }
    *out_records = (pgqrs_records *)rows;
    return PGQRS_OK;
}

_Static_assert((int)PGQRS__ARG_MESSAGE_LIST_READY_MAX_ROWS == 2
                   && (int)PGQRS__ARG_MESSAGE_LIST_SCHEDULED_MAX_ROWS == 2
                   && (int)PGQRS__ARG_MESSAGE_LIST_LEASED_MAX_ROWS == 2
                   && (int)PGQRS__ARG_MESSAGE_LIST_READY_AFTER_ID == 1,
               "the lists of live messages have the same arguments");

static pgqrs_status list_live(pgqrs_store *store, pgqrs__stmt stmt, int64_t queue_id,
                              const pgqrs_list_options *options, pgqrs__rows **out_rows,
                              pgqrs_error *error)
{
    const pgqrs__val args[] = {
        [PGQRS__ARG_MESSAGE_LIST_READY_QUEUE]    = pgqrs__int(queue_id),
        [PGQRS__ARG_MESSAGE_LIST_READY_AFTER_ID] = pgqrs__int(options->after_id),
        [PGQRS__ARG_MESSAGE_LIST_READY_MAX_ROWS] = pgqrs__int(options->limit),
    };

    return pgqrs__read_rows(store, stmt, args, take_record, sizeof(pgqrs_record), out_rows, error);
}

static pgqrs_status list_archived(pgqrs_store *store, int64_t queue_id,
                                  const pgqrs_list_options *options, pgqrs__rows **out_rows,
                                  pgqrs_error *error)
{
    const pgqrs__val args[] = {
        [PGQRS__ARG_MESSAGE_LIST_ARCHIVED_QUEUE] = pgqrs__int(queue_id),
        [PGQRS__ARG_MESSAGE_LIST_ARCHIVED_STATE] =
            options->state == 0 ? pgqrs__null()
                                : pgqrs__int((int64_t)options->state - PGQRS_STATE_DONE),
        [PGQRS__ARG_MESSAGE_LIST_ARCHIVED_AFTER_ID] = pgqrs__int(options->after_id),
        [PGQRS__ARG_MESSAGE_LIST_ARCHIVED_MAX_ROWS] = pgqrs__int(options->limit),
    };

    return pgqrs__read_rows(store, PGQRS__STMT_MESSAGE_LIST_ARCHIVED, args, take_record,
                            sizeof(pgqrs_record), out_rows, error);
}

pgqrs_status pgqrs_message_list(pgqrs_store *store, const char *queue,
                                const pgqrs_list_options *given, pgqrs_records **out_records,
                                pgqrs_error *error)
{
    pgqrs_list_options options;
    pgqrs__queue_ref   ref;
    pgqrs__rows       *rows;
    pgqrs_status       rc;

    if (out_records != NULL)
        *out_records = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_records, "out_records", error)) != PGQRS_OK
        || (rc = PGQRS__OPTIONS_READ(&options, given, "list", error)) != PGQRS_OK
        || (rc = pgqrs__check_range((int64_t)options.state, 0, PGQRS_STATE_DEAD, "state", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options.limit, 0, PGQRS__PAGE_MAX, "limit", error)) != PGQRS_OK
        || (rc = pgqrs__queue_named(store, queue, PGQRS_OBJECT_QUEUE, &ref, error)) != PGQRS_OK)
        return rc;
    if (options.limit == 0)
        options.limit = LIST_DEFAULT;

    switch (options.state) {
    case PGQRS_STATE_READY:
        rc = list_live(store, PGQRS__STMT_MESSAGE_LIST_READY, ref.id, &options, &rows, error);
        break;
    case PGQRS_STATE_SCHEDULED:
        rc = list_live(store, PGQRS__STMT_MESSAGE_LIST_SCHEDULED, ref.id, &options, &rows, error);
        break;
    case PGQRS_STATE_LEASED:
        rc = list_live(store, PGQRS__STMT_MESSAGE_LIST_LEASED, ref.id, &options, &rows, error);
        break;
    case PGQRS_STATE_DONE:
    case PGQRS_STATE_SUCCESS:
    case PGQRS_STATE_ERROR:
    case PGQRS_STATE_CANCELLED:
    case PGQRS_STATE_DEAD:
    default: /* 0: everything archived */
        rc = list_archived(store, ref.id, &options, &rows, error);
        break;
    }
    if (rc == PGQRS_OK)
        *out_records = (pgqrs_records *)rows;
    return rc;
}

/* --- Replay ----------------------------------------------------------------------------------- */

/* What one statement brought back. */
typedef struct replayed {
    size_t     count;
    int64_t    first;  /* its row among those that were asked, from 0 */
    pgqrs__map queues; /* a set of their ids */
} replayed;

static pgqrs_status take_replayed(pgqrs__call *call, const pgqrs__val *cols)
{
    replayed *into  = call->user;
    int64_t   queue = pgqrs__as_int(cols[PGQRS__COL_MESSAGE_REPLAY_QUEUE_ID]);

    if (into->count++ == 0)
        into->first = pgqrs__as_int(cols[PGQRS__COL_MESSAGE_REPLAY_N]) - 1;
    return pgqrs__map_put_i64(&into->queues, (uint64_t)queue, 0) ? PGQRS_OK : PGQRS_ENOMEM;
}

static void restart_replayed(pgqrs__call *call)
{
    replayed *into = call->user;

    into->count = 0;
    pgqrs__map_clear(&into->queues);
}

static pgqrs_status state_find(pgqrs_store *store, int64_t id, int64_t *out_state,
                               pgqrs_error *error);

/* Bring back these rows. When the commit's answer is lost, one of them tells for all: it is no
 * longer where it was, or nothing has happened and it is tried again. */
static pgqrs_status replay_some(pgqrs_store *store, pgqrs__call *call, pgqrs_error *error)
{
    const replayed *found = call->user;
    pgqrs__lost     wait  = { .deadline_us = pgqrs__deadline(store) };
    pgqrs_status    rc;
    bool            lost;

    for (;;) {
        int64_t state = 0;

        restart_replayed(call);
        rc = pgqrs__run_in_two(store, call, &lost, error);
        if (rc == PGQRS_OK || !lost)
            return rc;
        do {
            if (found->count == 0) /* and nothing was to happen */
                return pgqrs__ok(error);
            if (!pgqrs__lost_again(&wait, rc, error))
                return rc;
            rc = state_find(store, call->parts->rows[found->first].as.i, &state, error);
        } while (rc != PGQRS_OK);
        if (state != PGQRS_STATE_DEAD && state != PGQRS_STATE_ERROR)
            return PGQRS_OK;
    }
}

pgqrs_status pgqrs_replay(pgqrs_store *store, const int64_t *ids, size_t count, size_t *out_count,
                          pgqrs_error *error)
{
    pgqrs__val  *rows  = NULL;
    replayed     found = { 0 };
    size_t       total = 0;
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    if (out_count != NULL)
        *out_count = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK || count == 0
        || (rc = pgqrs__check_pointer(ids, "ids", error)) != PGQRS_OK)
        return rc;
    rows = pgqrs__ids_sorted(ids, &count);
    if (rows == NULL)
        return pgqrs__nomem(error);

    const pgqrs__val scalars[] = {
        [PGQRS__ARG_MESSAGE_REPLAY_CHANNEL - 1] = pgqrs__text(store->backend->channel(store->db)),
        [PGQRS__ARG_MESSAGE_REPLAY_NOW - 1]     = pgqrs__now(store, 0),
    };
    for (size_t at = 0; at < count; at += REPLAY_ROWS) {
        const pgqrs__part part   = { .rows  = rows + at,
                                     .nrows = PGQRS__MIN(count - at, REPLAY_ROWS) };
        size_t            cursor = 0;
        uint64_t          queue;
        pgqrs__call       call = {
                  .stmt    = PGQRS__STMT_MESSAGE_REPLAY,
                  .parts   = &part,
                  .nparts  = 1,
                  .scalars = scalars,
                  .on_row  = take_replayed,
                  .user    = &found,
                  .restart = restart_replayed,
        };

        rc = replay_some(store, &call, error);
        if (rc != PGQRS_OK)
            break;
        total += found.count;
        while (pgqrs__map_iterate_i64(&found.queues, &cursor, &queue, NULL))
            pgqrs__wake(store, (int64_t)queue);
    }
    if (out_count != NULL)
        *out_count = total;
    pgqrs__map_free(&found.queues);
    pgqrs__free(rows);
    return rc;
}

pgqrs_status pgqrs_dead_purge(pgqrs_store *store, const char *queue, int64_t limit,
                              int64_t *out_count, pgqrs_error *error)
{
    pgqrs__queue_ref ref;
    pgqrs_status     rc;
    int64_t          total = 0;
    int64_t          asked;
    int64_t          done;

    if (out_count != NULL)
        *out_count = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_range(limit, 0, INT64_MAX, "limit", error)) != PGQRS_OK
        || (rc = pgqrs__queue_named(store, queue, PGQRS_OBJECT_QUEUE, &ref, error)) != PGQRS_OK)
        return rc;
    if (limit == 0)
        limit = INT64_MAX;
    do {
        asked                   = PGQRS__MIN(limit - total, PGQRS__SWEEP_ROWS);
        const pgqrs__val args[] = {
            [PGQRS__ARG_DEAD_PURGE_QUEUE]    = pgqrs__int(ref.id),
            [PGQRS__ARG_DEAD_PURGE_MAX_ROWS] = pgqrs__int(asked),
        };
        rc = pgqrs__write_int_again(store, PGQRS__STMT_DEAD_PURGE, args, &done, error);
        if (rc != PGQRS_OK)
            break;
        total += done;
    } while (done >= asked && total < limit);
    if (out_count != NULL)
        *out_count = total;
    return rc;
}

/* --- Cancel ----------------------------------------------------------------------------------- */

static pgqrs_status take_state(pgqrs__call *call, const pgqrs__val *cols)
{
    *(int64_t *)call->user = pgqrs__as_int(cols[PGQRS__COL_MESSAGE_FIND_STATE]);
    return PGQRS_OK;
}

/* Where a message is; 0: nowhere. */
static pgqrs_status state_find(pgqrs_store *store, int64_t id, int64_t *out_state,
                               pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_MESSAGE_FIND_MESSAGE] = pgqrs__int(id) };
    pgqrs__call      call   = {
               .stmt    = PGQRS__STMT_MESSAGE_FIND,
               .scalars = args,
               .on_row  = take_state,
               .user    = out_state,
               .restart = pgqrs__restart_int,
    };

    *out_state = 0;
    return pgqrs__run(store, PGQRS__MODE_READ, &call, 1, error);
}

pgqrs_status pgqrs_cancel(pgqrs_store *store, int64_t id, pgqrs_state *out_state,
                          pgqrs_error *error)
{
    pgqrs__lost  lost = { 0 }; /* what we find may be what we did */
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    if (out_state != NULL)
        *out_state = (pgqrs_state)0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = {
        [PGQRS__ARG_MESSAGE_CANCEL_MESSAGE] = pgqrs__int(id),
        [PGQRS__ARG_MESSAGE_CANCEL_NOW]     = pgqrs__now(store, 0),
    };
    lost.deadline_us = pgqrs__deadline(store);
    for (int tries = 0; tries < CANCEL_TRIES; tries++) {
        pgqrs_state state;
        int64_t     found;

        do
            rc = pgqrs__write_int(store, PGQRS__STMT_MESSAGE_CANCEL, args, &found, error);
        while (rc != PGQRS_OK && pgqrs__lost_again(&lost, rc, error));
        if (rc != PGQRS_OK)
            break;
        if (found != 0) { /* leased and marked, or archived */
            state = found == 2 ? PGQRS_STATE_LEASED : PGQRS_STATE_CANCELLED;
            if (out_state != NULL)
                *out_state = state;
            return PGQRS_OK;
        }
        /* It was in no place when each was looked at: it is gone, has ended, or moved meanwhile. */
        do
            rc = state_find(store, id, &found, error);
        while (rc != PGQRS_OK && lost.once && pgqrs__lost_again(&lost, rc, error));
        if (rc != PGQRS_OK)
            break;
        state = (pgqrs_state)found;
        if (found == 0)
            return message_missing(id, error);
        if (lost.once && state == PGQRS_STATE_CANCELLED) {
            if (out_state != NULL)
                *out_state = state;
            return PGQRS_OK;
        }
        if (state >= PGQRS_STATE_DONE)
            return pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_MESSAGE,
                               "message %" PRId64 " has ended already (%s)", id,
                               pgqrs_state_name(state));
    }
    if (rc == PGQRS_OK)
        rc = pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_MESSAGE,
                         "message %" PRId64 " moved whenever it was looked for", id);
    if (lost.once)
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return rc;
}
