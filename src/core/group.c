/* Group commit: operations of callers that write at once share a transaction, and fold into
 * statements with arrays (design.md, "The unit of work").
 *
 * The first caller to find a free turn becomes the leader: it gathers what waits, runs it, and
 * hands every operation its result. While groups are in flight the next one gathers. Whoever waits
 * at the head when a turn becomes free leads the next group. No timer, and no thread of our own.
 *
 * One message is never in two groups at once, unless both only read or add beside each other
 * (steps): `busy` counts what is in flight on each message, and an operation that would clash
 * waits. */
#include "core/core.h"
#include "util/clock.h"

#include <stdlib.h>

#define GROUPS_IN_FLIGHT 2 /* one waits for the disk while the other computes; 4 gained nothing */
#define GROUP_OPS        512
#define GROUP_ROWS       10000

/* What is in flight on a message: steps and holds are counted, an extend and a move are flags. */
#define BUSY_STEP   INT64_C(1)
#define BUSY_EXTEND (INT64_C(1) << 40)
#define BUSY_MOVE   (INT64_C(1) << 41)

typedef struct group {
    pgqrs__op   *ops[GROUP_OPS];
    size_t       count;
    size_t       rows;
    size_t       bytes;
    int64_t      deadline_us; /* the latest of its operations' */
    pgqrs__arena arena;       /* for folding */
} group;

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

/* Undo touch() for the first `rows` rows. Under the lock. */
static void untouch(pgqrs_store *store, const pgqrs__op *op, size_t rows)
{
    const pgqrs__op_call *call  = &op->calls[0];
    size_t                width = pgqrs__shapes[call->stmt].narrays;
    uint64_t              token;

    for (size_t i = 0; i < rows; i++) {
        const pgqrs__val *row = call->rows + i * width;

        if (pgqrs__op_held(op))
            busy_remove(store, (uint64_t)row[1].as.i, busy_unit(op->kind));
        if (token_at(store, op, row, &token))
            pgqrs__map_remove(&store->tokens, token);
    }
}

typedef enum touched { TOUCHED, BLOCKED, NO_MEMORY } touched;

/* Mark what the operation is about as in flight, unless it clashes with what is. Under the lock. */
static touched touch(pgqrs_store *store, const pgqrs__op *op)
{
    const pgqrs__op_call *call   = &op->calls[0];
    size_t                width  = pgqrs__shapes[call->stmt].narrays;
    int64_t               unit   = busy_unit(op->kind);
    touched               result = TOUCHED;
    size_t                i;

    if (op->kind == PGQRS__OP_CLAIM || op->kind == PGQRS__OP_ENQUEUE)
        return TOUCHED;
    for (i = 0; i < call->nrows; i++) {
        const pgqrs__val *row  = call->rows + i * width;
        int64_t           busy = 0;
        uint64_t          token;
        bool              named = token_at(store, op, row, &token);

        if (named && pgqrs__map_get_i64(&store->tokens, token, NULL)) {
            result = BLOCKED;
            break;
        }
        if (unit != 0) {
            pgqrs__map_get_i64(&store->busy, (uint64_t)row[1].as.i, &busy);
            if (!busy_allows(busy, unit)) {
                result = BLOCKED;
                break;
            }
            if (!pgqrs__map_put_i64(&store->busy, (uint64_t)row[1].as.i, busy + unit)) {
                result = NO_MEMORY;
                break;
            }
        }
        if (named && !pgqrs__map_put_i64(&store->tokens, token, 1)) {
            if (unit != 0)
                busy_remove(store, (uint64_t)row[1].as.i, unit);
            result = NO_MEMORY;
            break;
        }
    }
    if (result != TOUCHED)
        untouch(store, op, i);
    return result;
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

void pgqrs__group_unpin(pgqrs_store *store, int64_t message_id)
{
    pgqrs__mutex_lock(&store->lock);
    busy_remove(store, (uint64_t)message_id, BUSY_STEP);
    if (store->pending_first != NULL) /* it may be what waited for this */
        pgqrs__cond_signal(&store->pending_first->done);
    pgqrs__mutex_unlock(&store->lock);
}

/* --- Gathering -------------------------------------------------------------------------------- */

static void op_done(pgqrs__op *op)
{
    op->stage = PGQRS__OP_DONE;
    if (op->abandoned)
        pgqrs__op_free(op);
    else
        pgqrs__cond_signal(&op->done);
}

static void pending_add(pgqrs_store *store, pgqrs__op *op)
{
    op->next  = NULL;
    op->stage = PGQRS__OP_PENDING;
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
}

static bool group_has_room(const group *g, const pgqrs__op *op)
{
    if (g->count == 0)
        return true;
    return g->count < GROUP_OPS && g->rows + op->calls[0].nrows <= GROUP_ROWS
           && g->bytes + op->bytes <= PGQRS__GROUP_BYTES_MAX;
}

/* Move what can go together from the waiting operations into the group. False when nothing moved;
 * one for which there is no memory fails here. Under the lock. */
static bool gather(pgqrs_store *store, group *g)
{
    pgqrs__op *before = NULL;
    bool       moved  = false;
    pgqrs__op *next;

    for (pgqrs__op *op = store->pending_first; op != NULL; op = next) {
        touched t;

        next = op->next;
        if (!group_has_room(g, op) || (store->adopted && g->count > 0))
            break; /* in the user's transaction nobody shares another's failure */
        t = touch(store, op);
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
        if (t == NO_MEMORY) {
            op->status = pgqrs__nomem(&op->error);
            op_done(op);
            continue;
        }
        op->stage          = PGQRS__OP_SENT;
        op->order          = g->count;
        g->ops[g->count++] = op;
        g->rows += op->calls[0].nrows;
        g->bytes += op->bytes;
        g->deadline_us = PGQRS__MAX(g->deadline_us, op->deadline_us);
    }
    return moved;
}

/* A turn is free: whoever is first may lead the next group. Under the lock. */
static void wake_first(pgqrs_store *store)
{
    if (store->pending_first != NULL)
        pgqrs__cond_signal(&store->pending_first->done);
}

/* --- Folding ---------------------------------------------------------------------------------- */

/* Which operation, and which of its rows, an argument row of a folded statement is. */
typedef struct row_origin {
    pgqrs__op *op;
    size_t     row;
} row_origin;

/* One statement for several operations of a kind. */
typedef struct fold {
    pgqrs__op  *first; /* of its operations; the only one when origins is NULL */
    row_origin *origins;
    size_t      nrows;
    size_t      call; /* which of the operations' statements */
} fold;

static pgqrs_status fold_row(pgqrs__call *call, const pgqrs__val *cols)
{
    const fold *f  = call->user;
    pgqrs__op  *op = f->first;
    size_t      n  = 0;

    if (pgqrs__shapes[call->stmt].many) {
        n = (size_t)cols[0].as.i - 1;
        if (n >= f->nrows)
            return PGQRS_EINTERNAL;
        if (f->origins != NULL) {
            op = f->origins[n].op;
            n  = f->origins[n].row;
        }
    }
    return op->calls[f->call].on_row(op, f->call, n, cols);
}

static int compare_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static const pgqrs__val *origin_values(const row_origin *origin, size_t call)
{
    const pgqrs__op_call *c = &origin->op->calls[call];

    return c->rows + origin->row * pgqrs__shapes[c->stmt].narrays;
}

/* Leased rows by (queue, message): the order in which every statement locks them. */
static int by_message(const void *a, const void *b)
{
    const pgqrs__val *x     = origin_values(a, 0);
    const pgqrs__val *y     = origin_values(b, 0);
    int               order = compare_i64(x[0].as.i, y[0].as.i);

    return order != 0 ? order : compare_i64(x[1].as.i, y[1].as.i);
}

/* Idempotency keys by (queue, key). */
static int by_key(const void *a, const void *b)
{
    const pgqrs__val *x     = origin_values(a, 0);
    const pgqrs__val *y     = origin_values(b, 0);
    int               order = compare_i64(x[0].as.i, y[0].as.i);

    if (order == 0)
        order = memcmp(x[1].as.text, y[1].as.text, PGQRS__MIN(x[1].len, y[1].len));
    return order != 0 ? order : compare_i64(x[1].len, y[1].len);
}

/* The rows of `count` operations, numbered and in the order in which they are locked. NULL: no
 * memory. */
static row_origin *fold_origins(group *g, pgqrs__op *const *ops, size_t count, size_t *out_nrows)
{
    row_origin *origins;
    size_t      nrows = 0;
    size_t      at    = 0;

    for (size_t i = 0; i < count; i++)
        nrows += ops[i]->calls[0].nrows;
    origins = pgqrs__arena_alloc(&g->arena, nrows * sizeof(*origins));
    if (origins == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        for (size_t row = 0; row < ops[i]->calls[0].nrows; row++)
            origins[at++] = (row_origin){ .op = ops[i], .row = row };
    if (pgqrs__op_held(ops[0]))
        qsort(origins, nrows, sizeof(*origins), by_message);
    else if (ops[0]->kind == PGQRS__OP_ENQUEUE_KEYED)
        qsort(origins, nrows, sizeof(*origins), by_key);
    *out_nrows = nrows;
    return origins;
}

/* The first `width` values of each row, one after the other. */
static pgqrs__part *fold_part(group *g, const row_origin *origins, size_t nrows, size_t call,
                              size_t width)
{
    pgqrs__part *part = pgqrs__arena_alloc(&g->arena, sizeof(*part));
    pgqrs__val  *rows = pgqrs__arena_alloc(&g->arena, nrows * width * sizeof(*rows));

    if (part == NULL || rows == NULL)
        return NULL;
    for (size_t i = 0; i < nrows; i++)
        memcpy(rows + i * width, origin_values(&origins[i], call), width * sizeof(*rows));
    *part = (pgqrs__part){ .rows = rows, .nrows = nrows };
    return part;
}

static bool rows_in_order(const pgqrs__op *op)
{
    row_origin a = { .op = (pgqrs__op *)op };
    row_origin b = a;

    if (op->kind == PGQRS__OP_ENQUEUE || op->kind == PGQRS__OP_CLAIM)
        return true;
    for (size_t i = 1; i < op->calls[0].nrows; i++) {
        a.row = i - 1;
        b.row = i;
        if ((pgqrs__op_held(op) ? by_message(&a, &b) : by_key(&a, &b)) > 0)
            return false;
    }
    return true;
}

/* Add the statements of `count` operations that fold into one. */
static bool add_fold(group *g, pgqrs__op *const *ops, size_t count, pgqrs__call *calls,
                     size_t *ncalls)
{
    pgqrs__op  *first   = ops[0];
    row_origin *origins = NULL;
    size_t      nrows   = first->calls[0].nrows;

    if (count > 1 || !rows_in_order(first)) {
        origins = fold_origins(g, ops, count, &nrows);
        if (origins == NULL)
            return false;
    }
    for (size_t c = 0; c < first->ncalls; c++) {
        const pgqrs__op_call *source = &first->calls[c];
        fold                 *f      = pgqrs__arena_alloc(&g->arena, sizeof(*f));
        pgqrs__part          *part   = NULL;

        if (f == NULL)
            return false;
        *f = (fold){ .first = first, .origins = origins, .nrows = nrows, .call = c };
        if (origins != NULL) {
            part = fold_part(g, origins, nrows, c, pgqrs__shapes[source->stmt].narrays);
        } else {
            part = pgqrs__arena_alloc(&g->arena, sizeof(*part));
            if (part != NULL)
                *part = (pgqrs__part){ .rows = source->rows, .nrows = source->nrows };
        }
        if (part == NULL)
            return false;
        calls[(*ncalls)++] = (pgqrs__call){
            .stmt    = source->stmt,
            .parts   = part,
            .nparts  = pgqrs__shapes[source->stmt].many ? 1 : 0,
            .scalars = source->scalars,
            .on_row  = source->on_row != NULL ? fold_row : NULL,
            .user    = f,
        };
    }
    return true;
}

/* All leased rows that the group is about, locked before the first statement that moves one. */
static bool add_hold(group *g, pgqrs__op *const *ops, size_t count, pgqrs__call *calls,
                     size_t *ncalls)
{
    size_t       nrows;
    row_origin  *origins = fold_origins(g, ops, count, &nrows);
    pgqrs__part *part;

    if (origins == NULL)
        return false;
    part = fold_part(g, origins, nrows, 0, pgqrs__shapes[PGQRS__STMT_LEASE_HOLD].narrays);
    if (part == NULL)
        return false;
    calls[(*ncalls)++] =
        (pgqrs__call){ .stmt = PGQRS__STMT_LEASE_HOLD, .parts = part, .nparts = 1 };
    return true;
}

static int64_t now_of(const pgqrs__op *op)
{
    return op->now.kind == PGQRS__KIND_INT ? op->now.as.i : INT64_MIN;
}

static bool folds(const pgqrs__op *a, const pgqrs__op *b)
{
    return a->kind == b->kind && a->kind != PGQRS__OP_CLAIM && a->ncalls == b->ncalls
           && a->calls[0].stmt == b->calls[0].stmt && now_of(a) == now_of(b);
}

/* Held ones first, then keyed inserts, then the rest; those that fold side by side. */
static int by_kind(const void *a, const void *b)
{
    const pgqrs__op *x     = *(pgqrs__op *const *)a;
    const pgqrs__op *y     = *(pgqrs__op *const *)b;
    int              order = compare_i64(x->kind, y->kind);

    if (order == 0)
        order = compare_i64(now_of(x), now_of(y));
    return order != 0 ? order : compare_i64((int64_t)x->order, (int64_t)y->order);
}

/* The statements of the group, in the order that cannot deadlock. NULL: no memory. */
static pgqrs__call *fold_group(pgqrs_store *store, group *g, size_t *out_ncalls)
{
    pgqrs__call *calls;
    size_t       most       = 1;
    size_t       held       = 0;
    size_t       statements = 0;
    bool         hold       = false;
    size_t       next;

    *out_ncalls = 0;
    if (g->count > 1)
        qsort(g->ops, g->count, sizeof(g->ops[0]), by_kind);
    for (size_t i = 0; i < g->count; i++) {
        most += g->ops[i]->ncalls;
        if (!pgqrs__op_held(g->ops[i]))
            continue;
        held++;
        hold = hold || g->ops[i]->hold;
        if (i == 0 || !folds(g->ops[i - 1], g->ops[i]))
            statements++;
    }
    calls = pgqrs__arena_alloc(&g->arena, most * sizeof(*calls));
    if (calls == NULL)
        return NULL;
    if ((hold || statements > 1) && (store->backend->caps & PGQRS__CAP_HOLD) != 0
        && !add_hold(g, g->ops, held, calls, out_ncalls))
        return NULL;
    for (size_t i = 0; i < g->count; i = next) {
        for (next = i + 1; next < g->count && folds(g->ops[i], g->ops[next]);)
            next++;
        if (!add_fold(g, g->ops + i, next - i, calls, out_ncalls))
            return NULL;
    }
    return calls;
}

/* --- Running ---------------------------------------------------------------------------------- */

static void clear_results(const group *g)
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
static pgqrs_status send_once(pgqrs_store *store, group *g, pgqrs_error *error)
{
    pgqrs__conn *conn;
    pgqrs__call *calls;
    size_t       ncalls;
    pgqrs_status rc;

    clear_results(g);
    pgqrs__arena_reset(&g->arena);
    calls = fold_group(store, g, &ncalls);
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
    group        g;
    pgqrs__call *calls;
    size_t       ncalls;
    pgqrs_status rc = PGQRS_OK;

    pgqrs__arena_init(&g.arena);
    for (size_t at = 0; at < count && rc == PGQRS_OK; at += g.count) {
        g.count = PGQRS__MIN(count - at, GROUP_OPS);
        for (size_t i = 0; i < g.count; i++) {
            g.ops[i]        = ops[at + i];
            g.ops[i]->order = i;
        }
        clear_results(&g);
        pgqrs__arena_reset(&g.arena);
        calls = fold_group(store, &g, &ncalls);
        if (calls == NULL)
            rc = pgqrs__nomem(error);
        else
            rc = store->backend->run(conn, calls, ncalls, PGQRS__MODE_INSIDE, deadline_us, error);
    }
    pgqrs__arena_free(&g.arena);
    return rc;
}

/* Send it, and once more when it was rolled back, or not sent, for a reason that may pass. */
static pgqrs_status send(pgqrs_store *store, group *g, pgqrs_error *error)
{
    pgqrs_status rc = send_once(store, g, error);

    if (rc != PGQRS_OK && rc != PGQRS_ETIMEDOUT && store->options.busy_retry > 0
        && (error->flags & (PGQRS_RETRYABLE | PGQRS_MAYBE_APPLIED)) == PGQRS_RETRYABLE)
        rc = send_once(store, g, error);
    return rc;
}

static void set_result(const group *g, pgqrs_status rc, const pgqrs_error *error)
{
    for (size_t i = 0; i < g->count; i++) {
        g->ops[i]->status = rc;
        if (rc != PGQRS_OK)
            g->ops[i]->error = *error;
    }
}

/* Run a group to the result of each of its operations. Without the lock. */
static void run_group(pgqrs_store *store, group *g)
{
    pgqrs_error  error;
    pgqrs_status rc = send(store, g, &error);

    set_result(g, rc, &error);
    atomic_fetch_add_explicit(&store->operations, (int_fast64_t)g->count, memory_order_relaxed);
    if (rc == PGQRS_OK || g->count == 1 || (error.flags & PGQRS_MAYBE_APPLIED) != 0
        || rc == PGQRS_ECONN || rc == PGQRS_ETIMEDOUT || rc == PGQRS_ENOMEM)
        return;
    /* One of them, or bad luck, failed all: rolled back, each is sent apart, once. */
    for (size_t i = 0; i < g->count; i++) {
        group alone;

        alone.ops[0]      = g->ops[i];
        alone.count       = 1;
        alone.deadline_us = g->deadline_us;
        pgqrs__arena_init(&alone.arena);
        rc = send(store, &alone, &error);
        set_result(&alone, rc, &error);
        pgqrs__arena_free(&alone.arena);
    }
}

/* Lead one group, if a turn is free and anything can go: false when nothing has changed. Under the
 * lock, which is left meanwhile. */
static bool lead(pgqrs_store *store)
{
    int   most = (store->backend->caps & PGQRS__CAP_WRITERS) != 0 ? GROUPS_IN_FLIGHT : 1;
    group g;
    bool  moved;

    if (store->groups_in_flight >= most)
        return false;
    g.count = g.rows = g.bytes = 0;
    g.deadline_us              = INT64_MIN;
    moved                      = gather(store, &g);
    if (g.count == 0) {
        if (moved)
            wake_first(store);
        return moved;
    }
    store->groups_in_flight++;
    pgqrs__mutex_unlock(&store->lock);

    pgqrs__arena_init(&g.arena);
    run_group(store, &g);
    pgqrs__arena_free(&g.arena);

    pgqrs__mutex_lock(&store->lock);
    store->groups_in_flight--;
    for (size_t i = 0; i < g.count; i++) {
        untouch(store, g.ops[i],
                pgqrs__op_held(g.ops[i]) || g.ops[i]->kind == PGQRS__OP_ENQUEUE_KEYED
                    ? g.ops[i]->calls[0].nrows
                    : 0);
        op_done(g.ops[i]);
    }
    wake_first(store);
    return true;
}

pgqrs_status pgqrs__group_submit(pgqrs_store *store, pgqrs__op *op, bool *out_left,
                                 pgqrs_error *error)
{
    pgqrs_status rc;

    *out_left = false;
    pgqrs__mutex_lock(&store->lock);
    pending_add(store, op);
    while (op->stage != PGQRS__OP_DONE) {
        if (op->stage == PGQRS__OP_PENDING && lead(store))
            continue;
        if (pgqrs__cond_wait_until(&op->done, &store->lock, op->deadline_us)
            || op->stage == PGQRS__OP_DONE)
            continue;
        rc = pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_STORE, "the deadline passed");
        if (op->stage == PGQRS__OP_PENDING) {
            pending_remove(store, op);
            pgqrs__flag(error, PGQRS_RETRYABLE);
            wake_first(store); /* a turn may have been meant for us */
        } else {               /* on its way: the group goes on without its caller */
            op->abandoned = true;
            *out_left     = true;
            pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
        }
        pgqrs__mutex_unlock(&store->lock);
        return rc;
    }
    pgqrs__mutex_unlock(&store->lock);
    rc = op->status;
    if (rc != PGQRS_OK)
        *error = op->error;
    return rc;
}
