/* Folding: the operations of a group become statements, those of a kind one with arrays, in the
 * order that cannot deadlock (design.md, "The unit of work"). */
#include "core/group.h"

#include <stdlib.h>

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
static row_origin *fold_origins(pgqrs__group *g, pgqrs__op *const *ops, size_t count,
                                size_t *out_nrows)
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
static pgqrs__part *fold_part(pgqrs__group *g, const row_origin *origins, size_t nrows, size_t call,
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
static bool add_fold(pgqrs__group *g, pgqrs__op *const *ops, size_t count, pgqrs__call *calls,
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
static bool add_hold(pgqrs__group *g, pgqrs__op *const *ops, size_t count, pgqrs__call *calls,
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

/* A strict statement of an atomic batch: it fails the transaction unless every row is as it must
 * be. */
static bool add_strict(pgqrs__group *g, const pgqrs__op_call *strict, pgqrs__call *calls,
                       size_t *ncalls)
{
    pgqrs__part *part;

    if (strict->nrows == 0)
        return true;
    part = pgqrs__arena_alloc(&g->arena, sizeof(*part));
    if (part == NULL)
        return false;
    *part              = (pgqrs__part){ .rows = strict->rows, .nrows = strict->nrows };
    calls[(*ncalls)++] = (pgqrs__call){ .stmt = strict->stmt, .parts = part, .nparts = 1 };
    return true;
}

pgqrs__call *pgqrs__group_fold(const pgqrs_store *store, pgqrs__group *g, size_t *out_ncalls)
{
    pgqrs__call *calls;
    size_t       most       = 1 + PGQRS__STRICT_CALLS;
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
    if (g->atomic != NULL) {
        if (!add_strict(g, &g->atomic->calls[PGQRS__STRICT_HELD], calls, out_ncalls)
            || !add_strict(g, &g->atomic->calls[PGQRS__STRICT_OPEN], calls, out_ncalls))
            return NULL;
    } else if ((hold || statements > 1) && (store->backend->caps & PGQRS__CAP_HOLD) != 0
               && !add_hold(g, g->ops, held, calls, out_ncalls)) {
        return NULL;
    }
    for (size_t i = 0; i < g->count; i = next) {
        for (next = i + 1; next < g->count && folds(g->ops[i], g->ops[next]);)
            next++;
        if (!add_fold(g, g->ops + i, next - i, calls, out_ncalls))
            return NULL;
    }
    if (g->atomic != NULL
        && !add_strict(g, &g->atomic->calls[PGQRS__STRICT_LIVE], calls, out_ncalls))
        return NULL;
    return calls;
}
