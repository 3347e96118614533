/* Operations: making one, and performing it to its true result.
 *
 * A group answers what the database said. Here that becomes what the caller is told: rows that must
 * be asked again are, and an operation whose answer was lost is sent again where its natural key
 * makes that harmless (design.md, "Lost COMMIT answers"). */
#include "core/core.h"
#include "util/clock.h"

#define RECONNECT_FIRST_US (20 * PGQRS_MILLISECOND)
#define RECONNECT_MAX_US   (500 * PGQRS_MILLISECOND)

pgqrs__op *pgqrs__op_new(pgqrs__op_kind kind)
{
    pgqrs__op *op = pgqrs__calloc(1, sizeof(*op));

    if (op == NULL)
        return NULL;
    if (!pgqrs__cond_init(&op->done)) {
        pgqrs__free(op);
        return NULL;
    }
    pgqrs__arena_init(&op->arena);
    op->kind = kind;
    return op;
}

void pgqrs__op_free(pgqrs__op *op)
{
    if (op == NULL)
        return;
    if (op->free_result != NULL)
        op->free_result(op);
    pgqrs__arena_free(&op->arena);
    pgqrs__cond_destroy(&op->done);
    pgqrs__free(op);
}

pgqrs__val *pgqrs__op_rows(pgqrs__op *op, int stmt, size_t nrows)
{
    pgqrs__op_call *call = &op->calls[0];

    call->stmt  = stmt;
    call->nrows = nrows;
    call->rows =
        pgqrs__arena_calloc(&op->arena, nrows * pgqrs__shapes[stmt].narrays, sizeof(*call->rows));
    op->answers = pgqrs__arena_calloc(&op->arena, nrows, sizeof(*op->answers));
    if (call->rows == NULL || op->answers == NULL)
        return NULL;
    op->ncalls = 1;
    return call->rows;
}

bool pgqrs__op_scalars(pgqrs__op *op, size_t call, int stmt, const pgqrs__val *scalars)
{
    size_t      count = (size_t)(pgqrs__shapes[stmt].nargs - pgqrs__shapes[stmt].narrays);
    pgqrs__val *copy  = pgqrs__arena_alloc(&op->arena, count * sizeof(*copy));

    if (copy == NULL)
        return false;
    if (count > 0)
        memcpy(copy, scalars, count * sizeof(*copy));
    op->calls[call].stmt    = stmt;
    op->calls[call].scalars = copy;
    if (op->ncalls <= call)
        op->ncalls = call + 1;
    return true;
}

/* Where the rows that are asked again came from, and what the others were answered. */
typedef struct narrowed {
    size_t   *origin;  /* of each row that is left */
    uint32_t *answers; /* of all */
    size_t    nrows;   /* of all */
} narrowed;

static bool wants_again(const pgqrs__op *op)
{
    if (!pgqrs__op_held(op))
        return false;
    for (size_t i = 0; i < op->calls[0].nrows; i++)
        if ((op->answers[i] & PGQRS__ANSWER_AGAIN) != 0)
            return true;
    return false;
}

/* Keep the rows that must be asked again; remember what the others were answered. */
static bool narrow(pgqrs__op *op, narrowed *all)
{
    pgqrs__op_call *call  = &op->calls[0];
    size_t          width = pgqrs__shapes[call->stmt].narrays;
    size_t          left  = 0;

    if (all->origin == NULL) {
        all->origin  = pgqrs__arena_calloc(&op->arena, call->nrows, sizeof(*all->origin));
        all->answers = pgqrs__arena_calloc(&op->arena, call->nrows, sizeof(*all->answers));
        if (all->origin == NULL || all->answers == NULL)
            return false;
        all->nrows = call->nrows;
        for (size_t i = 0; i < call->nrows; i++)
            all->origin[i] = i;
    }
    for (size_t i = 0; i < call->nrows; i++) {
        all->answers[all->origin[i]] = op->answers[i];
        if ((op->answers[i] & PGQRS__ANSWER_AGAIN) == 0)
            continue;
        if (left != i)
            memcpy(call->rows + left * width, call->rows + i * width, width * sizeof(*call->rows));
        all->origin[left] = all->origin[i];
        left++;
    }
    call->nrows = left;
    op->hold    = true;
    return true;
}

/* Put the answers of the rows that were asked again back among all. */
static void widen(pgqrs__op *op, const narrowed *all)
{
    if (all->origin == NULL)
        return;
    for (size_t i = 0; i < op->calls[0].nrows; i++)
        all->answers[all->origin[i]] = op->answers[i];
    op->answers        = all->answers;
    op->calls[0].nrows = all->nrows; /* the rows themselves are no longer in order */
}

/* Whether sending it again cannot do a second time what may have been done. */
static bool has_natural_key(const pgqrs__op *op)
{
    switch (op->kind) {
    case PGQRS__OP_FINISH:
    case PGQRS__OP_DELETE:
    case PGQRS__OP_EXTEND:
    case PGQRS__OP_HOLD:
    case PGQRS__OP_STEP:
    case PGQRS__OP_ENQUEUE_KEYED:
        return true;
    case PGQRS__OP_RELEASE:
    case PGQRS__OP_ENQUEUE:
    case PGQRS__OP_CLAIM: /* claim.c asks by the lease what it took */
        return false;
    }
    return false;
}

pgqrs_status pgqrs__perform(pgqrs_store *store, pgqrs__op **at, pgqrs_error *error)
{
    pgqrs__op   *op    = *at;
    narrowed     all   = { 0 };
    int64_t      delay = RECONNECT_FIRST_US;
    pgqrs_error  own;
    pgqrs_status rc;
    bool         left;

    if (error == NULL)
        error = &own;
    rc = pgqrs__tx_guard(store, error);
    if (rc != PGQRS_OK)
        return rc;
    op->deadline_us = pgqrs__deadline(store);
    for (;;) {
        rc = pgqrs__group_submit(store, op, &left, error);
        if (left) {
            *at = NULL;
            return rc;
        }
        if (rc == PGQRS_OK) {
            if (!wants_again(op))
                break;
            if (!narrow(op, &all))
                return pgqrs__nomem(error);
            continue;
        }
        if ((error->flags & PGQRS_MAYBE_APPLIED) != 0 && rc != PGQRS_ETIMEDOUT
            && has_natural_key(op))
            op->lost = true;
        else if (!op->lost || rc != PGQRS_ECONN)
            return rc;
        /* A lost answer is looked for until the deadline: the server may be starting again. */
        if (pgqrs__mono_us() + delay >= op->deadline_us) {
            pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
            return rc;
        }
        pgqrs__sleep_us(delay);
        delay = PGQRS__MIN(delay * 2, RECONNECT_MAX_US);
    }
    widen(op, &all);
    return pgqrs__ok(error);
}
