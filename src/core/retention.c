/* Removing what is past its time: archived messages, idempotency keys, what deleted queues left
 * behind.
 *
 * An archive is read in id order, page by page. Ids grow with time and most messages end soon after
 * they are put in, so a walk ends at the first page with nothing to remove; what ended late is
 * behind that, and found by a walk to the end, once a day.
 */
#include "core/admin.h"
#include "util/clock.h"
#include "util/random.h"

#include <inttypes.h>

/* Idle claims look at a queue so often; sooner when the last look found more than it took. */
#define IDLE_US        PGQRS_MINUTE
#define IDLE_BUSY_US   PGQRS_SECOND
#define IDLE_FAILED_US PGQRS_HOUR
#define WALK_US        PGQRS_DAY
/* Deleted queues in one look of an idle claim. */
#define IDLE_TOMBSTONES 8
/* sweep_after when a walk to the end has only the keys left. */
#define AFTER_ALL INT64_MAX

/* --- The statements --------------------------------------------------------------------------- */

/* One page of an archive. */
typedef struct page {
    int64_t scanned;
    int64_t removed;
    int64_t last_id;
} page;

static pgqrs_status take_page(pgqrs__call *call, const pgqrs__val *cols)
{
    *(page *)call->user = (page){
        .scanned = pgqrs__as_int(cols[PGQRS__COL_RETENTION_SWEEP_SCANNED]),
        .removed = pgqrs__as_int(cols[PGQRS__COL_RETENTION_SWEEP_REMOVED]),
        .last_id = pgqrs__as_int(cols[PGQRS__COL_RETENTION_SWEEP_LAST_ID]),
    };
    return PGQRS_OK;
}

static void restart_page(pgqrs__call *call)
{
    *(page *)call->user = (page){ 0 };
}

/* Who is patient looks for an answer that is lost. */
static pgqrs_status sweep_page(pgqrs_store *store, int64_t queue_id, int64_t after_id,
                               pgqrs__val now, bool patient, page *out, pgqrs_error *error)
{
    const pgqrs__val args[] = {
        [PGQRS__ARG_RETENTION_SWEEP_QUEUE]    = pgqrs__int(queue_id),
        [PGQRS__ARG_RETENTION_SWEEP_AFTER_ID] = pgqrs__int(after_id),
        [PGQRS__ARG_RETENTION_SWEEP_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
        [PGQRS__ARG_RETENTION_SWEEP_NOW]      = now,
    };

    pgqrs__call call = {
        .stmt    = PGQRS__STMT_RETENTION_SWEEP,
        .scalars = args,
        .on_row  = take_page,
        .user    = out,
        .restart = restart_page,
    };

    *out = (page){ 0 };
    return patient ? pgqrs__run_again(store, &call, error)
                   : pgqrs__run(store, PGQRS__MODE_WRITE, &call, 1, error);
}

/* A deleted queue. */
typedef struct tombstone {
    int64_t id;
    bool    forget; /* nothing can still be on its way into it */
} tombstone;

static pgqrs_status take_tombstone(pgqrs__call *call, const pgqrs__val *cols)
{
    tombstone *item = pgqrs__rows_add(call->user);

    if (item == NULL)
        return PGQRS_ENOMEM;
    item->id     = pgqrs__as_int(cols[PGQRS__COL_QUEUE_TOMBSTONES_ID]);
    item->forget = pgqrs__as_int(cols[PGQRS__COL_QUEUE_TOMBSTONES_FORGET]) != 0;
    return PGQRS_OK;
}

static pgqrs_status tombstones_read(pgqrs_store *store, pgqrs__val now, pgqrs__rows **out_rows,
                                    pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_QUEUE_TOMBSTONES_NOW] = now };

    return pgqrs__read_rows(store, PGQRS__STMT_QUEUE_TOMBSTONES, args, take_tombstone,
                            sizeof(tombstone), out_rows, error);
}

/* Remove a portion of what a deleted queue left behind; forget a queue that left nothing. */
static pgqrs_status tombstone_sweep(pgqrs_store *store, const tombstone *item, bool patient,
                                    int64_t *out_removed, pgqrs_error *error)
{
    pgqrs_status (*write)(pgqrs_store *, pgqrs__stmt, const pgqrs__val *, int64_t *,
                          pgqrs_error *) = patient ? pgqrs__write_int_again : pgqrs__write_int;

    const pgqrs__val sweep[] = {
        [PGQRS__ARG_QUEUE_SWEEP_QUEUE]    = pgqrs__int(item->id),
        [PGQRS__ARG_QUEUE_SWEEP_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
    };
    const pgqrs__val forget[] = { [PGQRS__ARG_QUEUE_FORGET_QUEUE] = pgqrs__int(item->id) };
    pgqrs_status     rc;
    int64_t          id;

    rc = write(store, PGQRS__STMT_QUEUE_SWEEP, sweep, out_removed, error);
    if (rc == PGQRS_OK && *out_removed == 0 && item->forget)
        rc = write(store, PGQRS__STMT_QUEUE_FORGET, forget, &id, error);
    return rc;
}

/* --- All of it -------------------------------------------------------------------------------- */

/* The ids of queues whose archive does not stay for ever. */
static pgqrs_status take_kept(pgqrs__call *call, const pgqrs__val *cols)
{
    int64_t *id;

    if (cols[PGQRS__COL_QUEUE_LIST_RETENTION_US].kind == PGQRS__KIND_NULL)
        return PGQRS_OK;
    id = pgqrs__rows_add(call->user);
    if (id == NULL)
        return PGQRS_ENOMEM;
    *id = pgqrs__as_int(cols[PGQRS__COL_QUEUE_LIST_ID]);
    return PGQRS_OK;
}

/* Every archive, to its end. */
static pgqrs_status sweep_archives(pgqrs_store *store, pgqrs__val now, int64_t *total,
                                   pgqrs_error *error)
{
    pgqrs__rows *queues;
    pgqrs_status rc;

    rc = pgqrs__read_rows(store, PGQRS__STMT_QUEUE_LIST, NULL, take_kept, sizeof(int64_t), &queues,
                          error);
    if (rc != PGQRS_OK)
        return rc;
    for (size_t i = 0; rc == PGQRS_OK && i < queues->count; i++) {
        const int64_t *id   = pgqrs__rows_at(queues, i);
        page           last = { 0 };

        do {
            rc = sweep_page(store, *id, last.last_id, now, true, &last, error);
            if (rc == PGQRS_OK)
                *total += last.removed;
        } while (rc == PGQRS_OK && last.scanned >= PGQRS__SWEEP_ROWS);
    }
    pgqrs__rows_free(queues);
    return rc;
}

static pgqrs_status sweep_tombstones(pgqrs_store *store, pgqrs__val now, pgqrs_error *error)
{
    pgqrs__rows *rows;
    pgqrs_status rc;

    rc = tombstones_read(store, now, &rows, error);
    if (rc != PGQRS_OK)
        return rc;
    for (size_t i = 0; rc == PGQRS_OK && i < rows->count; i++) {
        const tombstone *item = pgqrs__rows_at(rows, i);
        int64_t          removed;

        do
            rc = tombstone_sweep(store, item, true, &removed, error);
        while (rc == PGQRS_OK && removed > 0);
    }
    pgqrs__rows_free(rows);
    return rc;
}

pgqrs_status pgqrs_retention_run(pgqrs_store *store, int64_t now_us, int64_t *out_count,
                                 pgqrs_error *error)
{
    int64_t      messages = 0;
    int64_t      keys     = 0;
    pgqrs_status rc;

    if (out_count != NULL)
        *out_count = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_time(now_us, "now_us", error)) != PGQRS_OK)
        return rc;

    const pgqrs__val now         = pgqrs__now(store, now_us);
    const pgqrs__val sweep_key[] = {
        [PGQRS__ARG_KEY_SWEEP_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
        [PGQRS__ARG_KEY_SWEEP_NOW]      = now,
    };
    rc = sweep_archives(store, now, &messages, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__write_all(store, PGQRS__STMT_KEY_SWEEP, sweep_key, &keys, error);
    if (rc == PGQRS_OK)
        rc = sweep_tombstones(store, now, error);
    if (out_count != NULL)
        *out_count = messages;
    return rc;
}

/* --- A little of it, by idle claims ----------------------------------------------------------- */

/* One look at a queue, and where its walk stands. */
typedef struct sweep_turn {
    int64_t queue_id;
    int64_t after; /* 0: at the start */
    bool    walks; /* to the end */
} sweep_turn;

/* Whether it is this caller's turn to look at a queue. */
static bool turn_take(pgqrs_store *store, int64_t queue_id, sweep_turn *out)
{
    int64_t             now  = pgqrs__mono_us();
    bool                mine = false;
    pgqrs__queue_state *state;

    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, queue_id);
    if (state != NULL && now >= state->sweep_due_us) {
        /* Somewhere in the day: processes that start together must not all walk together. */
        if (state->sweep_walk_us == 0)
            state->sweep_walk_us = now + (int64_t)(pgqrs__random_unit() * (double)WALK_US);
        if (state->sweep_after == 0 && now >= state->sweep_walk_us) {
            state->sweep_walks   = true;
            state->sweep_walk_us = now + WALK_US;
        }
        state->sweep_due_us = now + IDLE_US; /* not two at a time */
        *out                = (sweep_turn){ .queue_id = queue_id,
                                            .after    = state->sweep_after,
                                            .walks    = state->sweep_walks };
        mine                = true;
    }
    pgqrs__mutex_unlock(&store->lock);
    return mine;
}

static void turn_end(pgqrs_store *store, const sweep_turn *turn, int64_t pause_us)
{
    pgqrs__queue_state *state;

    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, turn->queue_id);
    if (state != NULL) {
        state->sweep_after  = turn->after;
        state->sweep_walks  = turn->walks;
        state->sweep_due_us = pgqrs__mono_us() + pause_us;
    }
    pgqrs__mutex_unlock(&store->lock);
}

/* A page of the archive. */
static pgqrs_status idle_archive(pgqrs_store *store, sweep_turn *turn, pgqrs_error *error)
{
    page         found;
    pgqrs_status rc;

    rc = sweep_page(store, turn->queue_id, turn->after, pgqrs__null(), false, &found, error);
    if (rc != PGQRS_OK)
        return rc;
    if (found.scanned >= PGQRS__SWEEP_ROWS && (found.removed > 0 || turn->walks))
        turn->after = found.last_id;
    else
        turn->after = turn->walks ? AFTER_ALL : 0;
    return PGQRS_OK;
}

/* A portion of the keys, which have no index on their time: only at the end of a walk. */
static pgqrs_status idle_keys(pgqrs_store *store, sweep_turn *turn, pgqrs_error *error)
{
    const pgqrs__val args[] = {
        [PGQRS__ARG_KEY_SWEEP_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
        [PGQRS__ARG_KEY_SWEEP_NOW]      = pgqrs__null(),
    };
    int64_t      removed;
    pgqrs_status rc;

    rc = pgqrs__write_int(store, PGQRS__STMT_KEY_SWEEP, args, &removed, error);
    if (rc == PGQRS_OK && removed < PGQRS__SWEEP_ROWS) {
        turn->after = 0;
        turn->walks = false;
    }
    return rc;
}

/* A portion of what deleted queues left behind. */
static pgqrs_status idle_tombstones(pgqrs_store *store, bool *out_more, pgqrs_error *error)
{
    pgqrs__rows *rows;
    int64_t      removed = 0;
    size_t       first;
    pgqrs_status rc;

    rc = tombstones_read(store, pgqrs__null(), &rows, error);
    if (rc != PGQRS_OK)
        return rc;
    /* From anywhere: those at the front may have nothing left and wait for their hour to pass. */
    first = rows->count == 0 ? 0 : (size_t)pgqrs__random_i63() % rows->count;
    for (size_t i = 0; i < rows->count && i < IDLE_TOMBSTONES; i++) {
        rc = tombstone_sweep(store, pgqrs__rows_at(rows, (first + i) % rows->count), false,
                             &removed, error);
        if (rc != PGQRS_OK || removed > 0)
            break;
    }
    pgqrs__rows_free(rows);
    *out_more = removed > 0;
    return rc;
}

void pgqrs__retention_idle(pgqrs_store *store, int64_t queue_id)
{
    sweep_turn   turn;
    pgqrs_error  error;
    pgqrs_status rc;
    bool         more = false;

    /* Who brings a clock decides when things happen: pgqrs_retention_run() is theirs to call. */
    if (store->own_clock || !turn_take(store, queue_id, &turn))
        return;
    if (turn.after == AFTER_ALL)
        rc = idle_keys(store, &turn, &error);
    else
        rc = idle_archive(store, &turn, &error);
    if (rc == PGQRS_OK && turn.after == 0)
        rc = idle_tombstones(store, &more, &error);
    if (rc != PGQRS_OK) /* perhaps for want of rights; nobody's call fails for it */
        pgqrs__log(store, PGQRS_LOG_DEBUG, "housekeeping of queue %" PRId64 " failed: %s", queue_id,
                   error.message);
    else
        more = more || turn.after != 0;
    turn_end(store, &turn, rc != PGQRS_OK ? IDLE_FAILED_US : more ? IDLE_BUSY_US : IDLE_US);
}
