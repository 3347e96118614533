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
    if (!pgqrs__news_init(&op->news)) {
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
    for (size_t i = 0; i < op->nparts; i++)
        pgqrs__op_free(op->parts[i]);
    pgqrs__arena_free(&op->arena);
    pgqrs__news_destroy(&op->news);
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
static bool narrow(pgqrs__op *op)
{
    pgqrs__op_call *call  = &op->calls[0];
    size_t          width = pgqrs__shapes[call->stmt].narrays;
    size_t          left  = 0;

    if (op->origin == NULL) {
        pgqrs__val *rows    = pgqrs__arena_alloc(&op->arena, call->nrows * width * sizeof(*rows));
        uint32_t   *answers = pgqrs__arena_calloc(&op->arena, call->nrows, sizeof(*answers));

        op->origin = pgqrs__arena_calloc(&op->arena, call->nrows, sizeof(*op->origin));
        if (rows == NULL || answers == NULL || op->origin == NULL)
            return false;
        memcpy(rows, call->rows, call->nrows * width * sizeof(*rows));
        for (size_t i = 0; i < call->nrows; i++)
            op->origin[i] = i;
        op->all_rows    = call->rows;
        op->all_answers = answers;
        op->all_nrows   = call->nrows;
        call->rows      = rows;
    }
    for (size_t i = 0; i < call->nrows; i++) {
        op->all_answers[op->origin[i]] = op->answers[i];
        if ((op->answers[i] & PGQRS__ANSWER_AGAIN) == 0)
            continue;
        if (left != i)
            memcpy(call->rows + left * width, call->rows + i * width, width * sizeof(*call->rows));
        op->origin[left] = op->origin[i];
        left++;
    }
    call->nrows = left;
    op->hold    = true;
    return true;
}

/* Put the answers of the rows that were asked again back among all. */
static void widen(pgqrs__op *op)
{
    if (op->origin == NULL)
        return;
    for (size_t i = 0; i < op->calls[0].nrows; i++)
        op->all_answers[op->origin[i]] = op->answers[i];
    op->answers        = op->all_answers;
    op->calls[0].rows  = op->all_rows;
    op->calls[0].nrows = op->all_nrows;
    op->origin         = NULL;
}

/* Whether sending it again cannot do a second time what may have been done. */
static bool has_natural_key(const pgqrs__op *op)
{
    switch (op->kind) {
    case PGQRS__OP_STEP:
    case PGQRS__OP_FINISH:
    case PGQRS__OP_DELETE:
    case PGQRS__OP_EXTEND:
    case PGQRS__OP_HOLD:
    case PGQRS__OP_ENQUEUE_KEYED:
        return true;
    case PGQRS__OP_RELEASE:
    case PGQRS__OP_ENQUEUE:
    case PGQRS__OP_CLAIM: /* claim.c asks by the lease what it took */
        return false;
    case PGQRS__OP_ATOMIC:
        return op->natural;
    }
    return false;
}

bool pgqrs__op_again(pgqrs__op *op, pgqrs_status *rc, pgqrs_error *error, int64_t *out_at_us)
{
    *out_at_us = 0;
    if (*rc == PGQRS_OK) {
        if (!wants_again(op)) {
            widen(op);
            return false;
        }
        if (narrow(op))
            return true;
        *rc = pgqrs__nomem(error);
        return false;
    }
    if ((error->flags & PGQRS_MAYBE_APPLIED) != 0 && *rc != PGQRS_ETIMEDOUT
        && has_natural_key(op)) {
        op->lost = true;
    } else if (!op->lost || *rc != PGQRS_ECONN) {
        if (op->lost && op->kind != PGQRS__OP_ATOMIC) /* whatever became of the second time */
            pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
        return false;
    }
    /* A lost answer is looked for until the deadline: the server may be starting again. */
    op->delay_us =
        op->delay_us == 0 ? RECONNECT_FIRST_US : PGQRS__MIN(op->delay_us * 2, RECONNECT_MAX_US);
    *out_at_us = pgqrs__mono_us() + op->delay_us;
    if (*out_at_us < op->deadline_us)
        return true;
    pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return false;
}

pgqrs_status pgqrs__perform(pgqrs_store *store, pgqrs__op **at, pgqrs_error *error)
{
    pgqrs__op   *op = *at;
    pgqrs_error  own;
    pgqrs_status rc;
    int64_t      again_us;
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
        if (!pgqrs__op_again(op, &rc, error, &again_us))
            return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
        if (again_us != 0)
            pgqrs__sleep_us(PGQRS__MAX(again_us - pgqrs__mono_us(), 0));
    }
}
