/* Group commit: operations of callers that write at once share a transaction, and fold into
 * statements with arrays (design.md, "The unit of work").
 *
 * The first caller to find a free turn becomes the leader: it gathers what waits, runs it, and
 * hands every operation its result. While groups are in flight the next one gathers. Whoever waits
 * at the head when a turn becomes free leads the next group. No thread of our own, and no timer but
 * for a second group beside a larger one (may_start).
 *
 * One message is never in two groups at once, unless both only read or add beside each other
 * (steps): `busy` counts what is in flight on each message, and an operation that would clash
 * waits. */
#include "core/group.h"
#include "core/crew.h"
#include "util/clock.h"

/* What is in flight on a message: steps and holds are counted, an extend and a move are flags. */
#define BUSY_STEP   INT64_C(1)
#define BUSY_EXTEND (INT64_C(1) << 40)
#define BUSY_MOVE   (INT64_C(1) << 41)

/* --- What may be in flight together ----------------------------------------------------------- */

static uint64_t token_of(const pgqrs_store *store, int64_t number, pgqrs__val text)
{
    uint64_t h = store->token_seed ^ (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);

    for (uint32_t i = 0; i < text.len; i++)
        h = (h ^ (unsigned char)text.as.text[i]) * UINT64_C(0x100000001b3);
    return h ^ (h >> 32);
}

static int64_t busy_unit(pgqrs__op_kind kind)
{
    switch (kind) {
    case PGQRS__OP_STEP:
    case PGQRS__OP_HOLD:
        return BUSY_STEP;
    case PGQRS__OP_EXTEND:
        return BUSY_EXTEND;
    case PGQRS__OP_FINISH:
    case PGQRS__OP_DELETE:
    case PGQRS__OP_RELEASE:
    case PGQRS__OP_ATOMIC:
        return BUSY_MOVE;
    case PGQRS__OP_ENQUEUE_KEYED:
    case PGQRS__OP_ENQUEUE:
    case PGQRS__OP_CLAIM:
        return 0;
    }
    return 0;
}

static bool busy_allows(int64_t busy, int64_t unit)
{
    if (unit == BUSY_MOVE)
        return busy == 0;
    if (unit == BUSY_EXTEND)
        return (busy & (BUSY_EXTEND | BUSY_MOVE)) == 0;
    return (busy & BUSY_MOVE) == 0;
}

static void busy_remove(pgqrs_store *store, uint64_t message, int64_t unit)
{
    int64_t busy = 0;

    pgqrs__map_get_i64(&store->busy, message, &busy);
    if (busy == unit)
        pgqrs__map_remove(&store->busy, message);
    else
        /* the key is there: needs no memory */
        pgqrs__map_put_i64(&store->busy, message, busy - unit);
}

/* The second array column that names a row beside its message: a step's name, an idempotency
 * key. */
static bool token_at(const pgqrs_store *store, const pgqrs__op *op, const pgqrs__val *row,
                     uint64_t *token)
{
    if (op->kind == PGQRS__OP_STEP)
        *token = token_of(store, row[PGQRS__ARG_STEP_RECORD_MESSAGE].as.i,
                          row[PGQRS__ARG_STEP_RECORD_NAME]);
    else if (op->kind == PGQRS__OP_ENQUEUE_KEYED)
        *token = token_of(store, row[PGQRS__ARG_MESSAGE_ENQUEUE_KEYED_QUEUE].as.i,
                          row[PGQRS__ARG_MESSAGE_ENQUEUE_KEYED_KEY]);
    else
        return false;
    return true;
}

/* Undo touch_rows() for the first `rows` rows. Under the lock. */
static void untouch_rows(pgqrs_store *store, const pgqrs__op *op, int64_t unit, size_t rows)
{
    const pgqrs__op_call *call  = &op->calls[0];
    size_t                width = pgqrs__shapes[call->stmt].narrays;
    uint64_t              token;

    for (size_t i = 0; i < rows; i++) {
        const pgqrs__val *row = call->rows + i * width;

        if (unit != 0)
            busy_remove(store, (uint64_t)row[1].as.i, unit);
        if (token_at(store, op, row, &token))
            pgqrs__map_remove(&store->tokens, token);
    }
}

typedef enum touched { TOUCHED, BLOCKED, NO_MEMORY } touched;

/* Mark one row as in flight. */
static touched touch_row(pgqrs_store *store, const pgqrs__op *op, int64_t unit,
                         const pgqrs__val *row)
{
    int64_t  busy = 0;
    uint64_t token;
    bool     named = token_at(store, op, row, &token);

    if (named && pgqrs__map_get_i64(&store->tokens, token, NULL))
        return BLOCKED;
    if (unit != 0) {
        pgqrs__map_get_i64(&store->busy, (uint64_t)row[1].as.i, &busy);
        if (!busy_allows(busy, unit))
            return BLOCKED;
        if (!pgqrs__map_put_i64(&store->busy, (uint64_t)row[1].as.i, busy + unit))
            return NO_MEMORY;
    }
    if (named && !pgqrs__map_put_i64(&store->tokens, token, 1)) {
        if (unit != 0)
            busy_remove(store, (uint64_t)row[1].as.i, unit);
        return NO_MEMORY;
    }
    return TOUCHED;
}

static touched touch_rows(pgqrs_store *store, const pgqrs__op *op, int64_t unit)
{
    const pgqrs__op_call *call  = &op->calls[0];
    size_t                width = pgqrs__shapes[call->stmt].narrays;

    for (size_t i = 0; i < call->nrows; i++) {
        touched t = touch_row(store, op, unit, call->rows + i * width);

        if (t != TOUCHED) {
            untouch_rows(store, op, unit, i);
            return t;
        }
    }
    return TOUCHED;
}

/* Whether an operation is about something that is marked while it is in flight. */
static bool is_marked(const pgqrs__op *op)
{
    return op->kind != PGQRS__OP_CLAIM && op->kind != PGQRS__OP_ENQUEUE;
}

/* Undo touch(), of the first `parts` parts only. Under the lock. */
static void untouch(pgqrs_store *store, const pgqrs__op *op, size_t parts)
{
    if (is_marked(op))
        untouch_rows(store, op, busy_unit(op->kind), op->calls[0].nrows);
    for (size_t i = 0; i < parts; i++)
        if (is_marked(op->parts[i]))
            untouch_rows(store, op->parts[i], 0, op->parts[i]->calls[0].nrows);
}

/* Mark what the operation is about as in flight, unless it clashes with what is. An atomic one
 * names its messages itself, and its parts have the keys and the steps. Under the lock. */
static touched touch(pgqrs_store *store, const pgqrs__op *op)
{
    touched t = is_marked(op) ? touch_rows(store, op, busy_unit(op->kind)) : TOUCHED;

    for (size_t i = 0; t == TOUCHED && i < op->nparts; i++) {
        if (!is_marked(op->parts[i]))
            continue;
        t = touch_rows(store, op->parts[i], 0);
        if (t != TOUCHED)
            untouch(store, op, i);
    }
    return t;
}

pgqrs_status pgqrs__group_pin(pgqrs_store *store, int64_t message_id, pgqrs_error *error)
{
    int64_t busy = 0;
    bool    done;

    pgqrs__mutex_lock(&store->lock);
    (void)pgqrs__map_get_i64(&store->busy, (uint64_t)message_id, &busy);
    done = pgqrs__map_put_i64(&store->busy, (uint64_t)message_id, busy + BUSY_STEP);
    pgqrs__mutex_unlock(&store->lock);
    return done ? PGQRS_OK : pgqrs__nomem(error);
}

/* --- Gathering -------------------------------------------------------------------------------- */

/* What was submitted goes on to @p answered, what nobody waits for ends. True: its caller is to be
 * told, with the lock or without. Under the lock. */
static bool op_done(pgqrs__op *op, pgqrs__op **answered)
{
    op->stage = PGQRS__OP_DONE;
    if (op->abandoned) {
        pgqrs__op_free(op);
        return false;
    }
    if (op->task == NULL)
        return true;
    op->next  = *answered;
    *answered = op;
    return false;
}

/* Whoever waits at the head may lead, or look again. Under the lock. */
static void wake_head(pgqrs_store *store)
{
    if (store->pending_first == NULL)
        return;
    if (store->pending_first->task != NULL)
        pgqrs__crew_wake(store);
    else
        pgqrs__news_tell(&store->pending_first->news, PGQRS__NEWS_TURN);
}

static void pending_add(pgqrs_store *store, pgqrs__op *op)
{
    op->next  = NULL;
    op->stage = PGQRS__OP_PENDING;
    store->pending_count++;
    if (store->pending_last != NULL)
        store->pending_last->next = op;
    else
        store->pending_first = op;
    store->pending_last = op;
}

static void pending_remove(pgqrs_store *store, pgqrs__op *op)
{
    pgqrs__op *before = NULL;

    for (pgqrs__op *at = store->pending_first; at != op; at = at->next)
        before = at;
    if (before == NULL)
        store->pending_first = op->next;
    else
        before->next = op->next;
    if (store->pending_last == op)
        store->pending_last = before;
    store->pending_count--;
}

void pgqrs__group_unpin(pgqrs_store *store, int64_t message_id)
{
    pgqrs__mutex_lock(&store->lock);
    busy_remove(store, (uint64_t)message_id, BUSY_STEP);
    wake_head(store); /* it may be what waited for this */
    pgqrs__mutex_unlock(&store->lock);
}

static bool group_has_room(const pgqrs__group *g, const pgqrs__op *op)
{
    if (g->count == 0)
        return true;
    return g->count < PGQRS__GROUP_OPS && g->rows + op->calls[0].nrows <= PGQRS__GROUP_ROWS
           && g->bytes + op->bytes <= PGQRS__GROUP_BYTES_MAX;
}

/* Move what can go together from the waiting operations into the group. False when nothing moved;
 * one for which there is no memory fails here. Under the lock. */
static bool gather(pgqrs_store *store, pgqrs__group *g, pgqrs__op **answered)
{
    pgqrs__op *before = NULL;
    bool       moved  = false;
    pgqrs__op *next;

    for (pgqrs__op *op = store->pending_first; op != NULL; op = next) {
        touched t;

        next = op->next;
        if (!group_has_room(g, op) || (store->adopted && g->count > 0))
            break; /* in the user's transaction nobody shares another's failure */
        /* An atomic one shares a group with nobody: whatever undoes it undoes the group. */
        t = op->kind == PGQRS__OP_ATOMIC && g->count > 0 ? BLOCKED : touch(store, op);
        if (t == BLOCKED) {
            before = op;
            continue;
        }
        moved = true;
        if (before == NULL)
            store->pending_first = next;
        else
            before->next = next;
        if (store->pending_last == op)
            store->pending_last = before;
        store->pending_count--;
        if (t == NO_MEMORY) {
            op->status = pgqrs__nomem(&op->error);
            if (op_done(op, answered))
                pgqrs__news_tell(&op->news, PGQRS__NEWS_END);
            continue;
        }
        op->stage      = PGQRS__OP_SENT;
        g->deadline_us = PGQRS__MAX(g->deadline_us, op->deadline_us);
        if (op->kind == PGQRS__OP_ATOMIC) {
            g->atomic = op;
            g->ops    = op->parts;
            g->count  = op->nparts;
            break;
        }
        op->order          = g->count;
        g->ops[g->count++] = op;
        g->rows += op->calls[0].nrows;
        g->bytes += op->bytes;
    }
    return moved;
}

/* --- Running ---------------------------------------------------------------------------------- */

static void clear_results(const pgqrs__group *g)
{
    for (size_t i = 0; i < g->count; i++) {
        pgqrs__op *op = g->ops[i];

        if (op->answers != NULL)
            memset(op->answers, 0, op->calls[0].nrows * sizeof(*op->answers));
        if (op->clear != NULL)
            op->clear(op);
    }
}

/* Send the operations of the group once, in one transaction. */
static pgqrs_status send_once(pgqrs_store *store, pgqrs__group *g, pgqrs_error *error)
{
    pgqrs__conn *conn;
    pgqrs__call *calls;
    size_t       ncalls;
    pgqrs_status rc;

    clear_results(g);
    pgqrs__arena_reset(&g->arena);
    calls = pgqrs__group_fold(store, g, &ncalls);
    if (calls == NULL)
        return pgqrs__nomem(error);
    rc = pgqrs__conn_take(store, g->deadline_us, &conn, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = store->backend->run(conn, calls, ncalls, PGQRS__MODE_WRITE, g->deadline_us, error);
    pgqrs__conn_give(store, conn);
    atomic_fetch_add_explicit(&store->groups, 1, memory_order_relaxed);
    return rc;
}

pgqrs_status pgqrs__group_inside(pgqrs_store *store, pgqrs__conn *conn, pgqrs__op *const *ops,
                                 size_t count, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs__group g;
    pgqrs__call *calls;
    size_t       ncalls;
    pgqrs_status rc = PGQRS_OK;

    g.ops    = g.several;
    g.atomic = NULL;
    pgqrs__arena_init(&g.arena);
    for (size_t at = 0; at < count && rc == PGQRS_OK; at += g.count) {
        g.count = PGQRS__MIN(count - at, PGQRS__GROUP_OPS);
        for (size_t i = 0; i < g.count; i++) {
            g.ops[i]        = ops[at + i];
            g.ops[i]->order = i;
        }
        clear_results(&g);
        pgqrs__arena_reset(&g.arena);
        calls = pgqrs__group_fold(store, &g, &ncalls);
        if (calls == NULL)
            rc = pgqrs__nomem(error);
        else
            rc = store->backend->run(conn, calls, ncalls, PGQRS__MODE_INSIDE, deadline_us, error);
    }
    pgqrs__arena_free(&g.arena);
    return rc;
}

/* Send it, and once more when it was rolled back, or not sent, for a reason that may pass. */
static pgqrs_status send(pgqrs_store *store, pgqrs__group *g, pgqrs_error *error)
{
    pgqrs_status rc = send_once(store, g, error);

    if (rc != PGQRS_OK && rc != PGQRS_ETIMEDOUT && store->options.busy_retry > 0
        && (error->flags & (PGQRS_RETRYABLE | PGQRS_MAYBE_APPLIED)) == PGQRS_RETRYABLE)
        rc = send_once(store, g, error);
    return rc;
}

static void set_result(const pgqrs__group *g, pgqrs_status rc, const pgqrs_error *error)
{
    pgqrs__op *const *ops   = g->atomic != NULL ? &g->atomic : g->ops;
    size_t            count = g->atomic != NULL ? 1 : g->count;

    for (size_t i = 0; i < count; i++) {
        ops[i]->status = rc;
        if (rc != PGQRS_OK)
            ops[i]->error = *error;
    }
}

/* Run a group to the result of each of its operations. Without the lock. */
static void run_group(pgqrs_store *store, pgqrs__group *g)
{
    pgqrs_error  error;
    pgqrs_status rc = send(store, g, &error);

    set_result(g, rc, &error);
    atomic_fetch_add_explicit(&store->operations, (int_fast64_t)g->count, memory_order_relaxed);
    if (rc == PGQRS_OK || g->atomic != NULL || g->count == 1
        || (error.flags & PGQRS_MAYBE_APPLIED) != 0 || rc == PGQRS_ECONN || rc == PGQRS_ETIMEDOUT
        || rc == PGQRS_ENOMEM)
        return;
    /* One of them, or bad luck, failed all: rolled back, each is sent apart, once. */
    for (size_t i = 0; i < g->count; i++) {
        pgqrs__group alone;

        alone.ops         = &g->ops[i];
        alone.atomic      = NULL;
        alone.count       = 1;
        alone.deadline_us = g->deadline_us;
        pgqrs__arena_init(&alone.arena);
        rc = send(store, &alone, &error);
        set_result(&alone, rc, &error);
        pgqrs__arena_free(&alone.arena);
    }
}

/* --- Leading ---------------------------------------------------------------------------------- */

/* How many groups may be in flight. */
static int turns(const pgqrs_store *store)
{
    return (store->backend->caps & PGQRS__CAP_WRITERS) != 0 ? PGQRS__GROUPS_IN_FLIGHT : 1;
}

/* A group beside another one starts when it is no smaller, or when the other one takes long: the
 * smaller groups are, the dearer is each operation. When the callers of a group that was answered
 * come again one after the other, the first of them would else go alone. Under the lock. */
static bool may_start(const pgqrs_store *store, int64_t *out_due_us)
{
    int64_t due_us = store->group_started_us + PGQRS__GROUP_PATIENCE_US;

    *out_due_us = INT64_MAX;
    if (store->groups_in_flight == 0)
        return true;
    if (store->groups_in_flight >= turns(store) || store->pending_count == 0)
        return false;
    if (store->pending_count >= store->ops_in_flight || pgqrs__mono_us() >= due_us)
        return true;
    *out_due_us = due_us;
    return false;
}

/* Under the lock, which is left meanwhile. */
static void carry(pgqrs_store *store, pgqrs__group *g, pgqrs__op **answered)
{
    pgqrs__op  **ops   = g->atomic != NULL ? &g->atomic : g->ops;
    const size_t count = g->atomic != NULL ? 1 : g->count;
    size_t       told  = 0;

    store->groups_in_flight++;
    store->ops_in_flight += count;
    store->group_started_us = pgqrs__mono_us();
    if (store->groups_in_flight < turns(store)) /* somebody else may lead what is left */
        wake_head(store);
    pgqrs__mutex_unlock(&store->lock);

    pgqrs__arena_init(&g->arena);
    run_group(store, g);
    pgqrs__arena_free(&g->arena);

    pgqrs__mutex_lock(&store->lock);
    store->groups_in_flight--;
    store->ops_in_flight -= count;
    for (size_t i = 0; i < count; i++) {
        untouch(store, ops[i], ops[i]->nparts);
        if (op_done(ops[i], answered))
            ops[told++] = ops[i];
    }
    wake_head(store);
    if (told == 0)
        return;
    pgqrs__mutex_unlock(&store->lock);
    for (size_t i = 0; i < told; i++)
        pgqrs__news_tell(&ops[i]->news, PGQRS__NEWS_END);
    pgqrs__mutex_lock(&store->lock);
}

bool pgqrs__group_lead(pgqrs_store *store, int64_t *out_due_us)
{
    pgqrs__op   *answered = NULL;
    pgqrs__group g;

    if (!may_start(store, out_due_us))
        return false;
    g.ops    = g.several;
    g.atomic = NULL;
    g.count = g.rows = g.bytes = 0;
    g.deadline_us              = INT64_MIN;
    if (!gather(store, &g, &answered))
        return false;
    if (g.count > 0)
        carry(store, &g, &answered);
    else
        wake_head(store);
    if (answered != NULL)
        pgqrs__crew_answer(store, answered);
    return true;
}

void pgqrs__group_add(pgqrs_store *store, pgqrs__op *op)
{
    pending_add(store, op);
}

void pgqrs__group_remove(pgqrs_store *store, pgqrs__op *op)
{
    pending_remove(store, op);
    wake_head(store); /* a turn may have been meant for it */
}

/* --- Waiting for one's own -------------------------------------------------------------------- */

static pgqrs_status result_of(const pgqrs__op *op, pgqrs_error *error)
{
    if (op->status != PGQRS_OK)
        *error = op->error;
    return op->status;
}

/* The caller's deadline has passed. Under the lock, which it leaves. */
static pgqrs_status leave(pgqrs_store *store, pgqrs__op *op, bool *out_left, pgqrs_error *error)
{
    pgqrs_status rc;

    if (op->stage == PGQRS__OP_DONE) { /* about to be told */
        pgqrs__mutex_unlock(&store->lock);
        while ((pgqrs__news_wait(&op->news, INT64_MAX) & PGQRS__NEWS_END) == 0)
            continue;
        return result_of(op, error);
    }
    rc = pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_STORE, "the deadline passed");
    if (op->stage == PGQRS__OP_PENDING) {
        pgqrs__group_remove(store, op);
        pgqrs__flag(error, PGQRS_RETRYABLE);
    } else { /* on its way: the group goes on without its caller */
        op->abandoned = true;
        *out_left     = true;
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    }
    pgqrs__mutex_unlock(&store->lock);
    return rc;
}

pgqrs_status pgqrs__group_submit(pgqrs_store *store, pgqrs__op *op, bool *out_left,
                                 pgqrs_error *error)
{
    *out_left = false;
    pgqrs__mutex_lock(&store->lock);
    pending_add(store, op);
    do {
        int64_t due_us = INT64_MAX;

        while (op->stage == PGQRS__OP_PENDING && pgqrs__group_lead(store, &due_us))
            continue;
        if (store->pending_first != op)
            due_us = INT64_MAX; /* whoever is at the head looks at the clock */
        pgqrs__mutex_unlock(&store->lock);
        if ((pgqrs__news_wait(&op->news, PGQRS__MIN(op->deadline_us, due_us)) & PGQRS__NEWS_END)
            != 0)
            return result_of(op, error);
        pgqrs__mutex_lock(&store->lock);
    } while (pgqrs__mono_us() < op->deadline_us);
    return leave(store, op, out_left, error);
}
