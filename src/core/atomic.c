/* Atomic batches: several operations in one transaction, all or nothing.
 *
 * Its statements are those of its operations, behind strict ones that undo the transaction unless
 * every message is held and no step has a result, and before one that does unless every queue is
 * there. So the operations themselves cannot be answered "no", and one round trip is enough. */
#include "core/batch.h"
#include "core/run.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct atomic_task {
    pgqrs__task task;
    size_t      prepared; /* operations that are ready to be sent, from the first on */
    int         tries;
} atomic_task;

/* --- Composing -------------------------------------------------------------------------------- */

/* One message, step, key or queue that is named by an operation. */
typedef struct named {
    const pgqrs__val *row;
    pgqrs__op_kind    kind;
} named;

static int compare_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_text(const pgqrs__val *a, const pgqrs__val *b)
{
    int order = memcmp(a->as.text, b->as.text, PGQRS__MIN(a->len, b->len));

    return order != 0 ? order : compare_i64(a->len, b->len);
}

/* By the first two columns: queue and message. */
static int by_message(const void *a, const void *b)
{
    const pgqrs__val *x     = ((const named *)a)->row;
    const pgqrs__val *y     = ((const named *)b)->row;
    int               order = compare_i64(x[0].as.i, y[0].as.i);

    return order != 0 ? order : compare_i64(x[1].as.i, y[1].as.i);
}

static int by_step(const void *a, const void *b)
{
    const pgqrs__val *x = ((const named *)a)->row;
    const pgqrs__val *y = ((const named *)b)->row;
    int               order =
        compare_i64(x[PGQRS__ARG_STEP_RECORD_MESSAGE].as.i, y[PGQRS__ARG_STEP_RECORD_MESSAGE].as.i);

    return order != 0
               ? order
               : compare_text(&x[PGQRS__ARG_STEP_RECORD_NAME], &y[PGQRS__ARG_STEP_RECORD_NAME]);
}

/* By the first two columns: queue and key. */
static int by_key(const void *a, const void *b)
{
    const pgqrs__val *x     = ((const named *)a)->row;
    const pgqrs__val *y     = ((const named *)b)->row;
    int               order = compare_i64(x[0].as.i, y[0].as.i);

    return order != 0 ? order : compare_text(&x[1], &y[1]);
}

static int by_queue(const void *a, const void *b)
{
    return compare_i64(((const named *)a)->row[0].as.i, ((const named *)b)->row[0].as.i);
}

static bool is_enqueue(pgqrs__op_kind kind)
{
    return kind == PGQRS__OP_ENQUEUE || kind == PGQRS__OP_ENQUEUE_KEYED;
}

static bool is_step(pgqrs__op_kind kind)
{
    return kind == PGQRS__OP_STEP;
}

static bool is_keyed(pgqrs__op_kind kind)
{
    return kind == PGQRS__OP_ENQUEUE_KEYED;
}

static bool is_held(pgqrs__op_kind kind)
{
    return kind <= PGQRS__OP_HOLD;
}

/* The first row of each operation of these kinds, sorted. All rows of one have the same names. */
static size_t collect(const pgqrs_batch *batch, bool (*wanted)(pgqrs__op_kind),
                      int (*order)(const void *, const void *), named *out)
{
    size_t count = 0;

    for (size_t i = 0; i < batch->count; i++) {
        const pgqrs__op *op = batch->items[i].task->op;

        if (wanted(op->kind))
            out[count++] = (named){ .row = op->calls[0].rows, .kind = op->kind };
    }
    qsort(out, count, sizeof(*out), order);
    return count;
}

/* A strict statement: `width` columns of each, from column `from` of its row on. */
static bool set_strict(pgqrs__op *op, int which, int stmt, const named *names, size_t count)
{
    size_t          width = pgqrs__shapes[stmt].narrays;
    pgqrs__op_call *call  = &op->calls[which];

    call->stmt  = stmt;
    call->nrows = count;
    call->rows  = pgqrs__arena_alloc(&op->arena, count * width * sizeof(*call->rows));
    if (call->rows == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        pgqrs__val *row = call->rows + i * width;

        if (which == PGQRS__STRICT_OPEN) {
            row[PGQRS__ARG_STEP_OPEN_ALL_RUN]  = names[i].row[PGQRS__ARG_STEP_RECORD_MESSAGE];
            row[PGQRS__ARG_STEP_OPEN_ALL_NAME] = names[i].row[PGQRS__ARG_STEP_RECORD_NAME];
        } else {
            memcpy(row, names[i].row, width * sizeof(*row));
        }
    }
    return true;
}

static pgqrs_status twice(const named *name, pgqrs_error *error)
{
    const pgqrs__val *row = name->row;

    if (is_keyed(name->kind))
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_MESSAGE,
                           "key \"%.*s\" is used twice in one batch", (int)row[1].len,
                           row[1].as.text);
    return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_MESSAGE,
                       "message %lld is named twice in one batch", (long long)row[1].as.i);
}

/* The messages it names, each once: steps of a run may be beside each other and before its end. */
static pgqrs_status add_messages(const pgqrs_batch *batch, pgqrs__op *op, named *names,
                                 pgqrs_error *error)
{
    size_t count  = collect(batch, is_held, by_message, names);
    size_t unique = 0;
    size_t moves  = 0;

    for (size_t i = 0; i < count; i++) {
        bool again = unique > 0 && by_message(&names[unique - 1], &names[i]) == 0;

        moves = (again ? moves : 0) + (is_step(names[i].kind) ? 0 : 1);
        if (moves > 1 || (again && names[unique - 1].row[2].as.i != names[i].row[2].as.i))
            return twice(&names[i], error);
        if (!again)
            names[unique++] = names[i];
    }
    return set_strict(op, PGQRS__STRICT_HELD, PGQRS__STMT_LEASE_HOLD_ALL, names, unique)
               ? PGQRS_OK
               : pgqrs__nomem(error);
}

static pgqrs_status add_steps(const pgqrs_batch *batch, pgqrs__op *op, named *names,
                              pgqrs_error *error)
{
    size_t count = collect(batch, is_step, by_step, names);

    for (size_t i = 1; i < count; i++)
        if (by_step(&names[i - 1], &names[i]) == 0)
            return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STEP,
                               "step \"%.*s\" ends twice in one batch",
                               (int)names[i].row[PGQRS__ARG_STEP_RECORD_NAME].len,
                               names[i].row[PGQRS__ARG_STEP_RECORD_NAME].as.text);
    return set_strict(op, PGQRS__STRICT_OPEN, PGQRS__STMT_STEP_OPEN_ALL, names, count)
               ? PGQRS_OK
               : pgqrs__nomem(error);
}

static pgqrs_status add_queues(const pgqrs_batch *batch, pgqrs__op *op, named *names,
                               pgqrs_error *error)
{
    size_t count  = collect(batch, is_keyed, by_key, names);
    size_t unique = 0;

    for (size_t i = 1; i < count; i++)
        if (by_key(&names[i - 1], &names[i]) == 0)
            return twice(&names[i], error);
    count = collect(batch, is_enqueue, by_queue, names);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || by_queue(&names[i - 1], &names[i]) != 0)
            names[unique++] = names[i];
    return set_strict(op, PGQRS__STRICT_LIVE, PGQRS__STMT_QUEUE_LIVE_ALL, names, unique)
               ? PGQRS_OK
               : pgqrs__nomem(error);
}

/* Whether a second sending cannot do what the first may have done: it finds its messages gone, its
 * steps recorded, or its keys used. */
static bool is_natural(const pgqrs_batch *batch)
{
    bool keyed = true;

    for (size_t i = 0; i < batch->count; i++) {
        const pgqrs__op *op = batch->items[i].task->op;

        if (pgqrs__op_moves(op->kind)
            || (is_step(op->kind)
                && op->calls[0].rows[PGQRS__ARG_STEP_RECORD_STATUS].as.i != PGQRS_STEP_RETRY))
            return true;
        keyed = keyed && op->kind != PGQRS__OP_ENQUEUE;
    }
    return keyed;
}

static pgqrs_status check_size(const pgqrs_batch *batch, pgqrs_error *error)
{
    size_t rows  = 0;
    size_t bytes = 0;

    for (size_t i = 0; i < batch->count; i++) {
        rows += batch->items[i].task->op->calls[0].nrows;
        bytes += batch->items[i].task->op->bytes;
    }
    if (rows > PGQRS__ENQUEUE_MAX)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                           "the batch is of %zu messages and steps, above %d", rows,
                           PGQRS__ENQUEUE_MAX);
    if (bytes > PGQRS__GROUP_BYTES_MAX)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                           "the batch is larger than 64 MiB");
    return PGQRS_OK;
}

/* The operation that is made of all. Owns theirs from here on. */
static pgqrs_status compose(atomic_task *t, pgqrs_error *error)
{
    pgqrs_batch *batch = t->task.batch;
    pgqrs__op   *op;
    named       *names;
    pgqrs_status rc = check_size(batch, error);

    if (rc != PGQRS_OK)
        return rc;
    op = pgqrs__op_new(PGQRS__OP_ATOMIC);
    if (op == NULL)
        return pgqrs__nomem(error);
    names     = pgqrs__arena_alloc(&op->arena, batch->count * sizeof(*names));
    op->parts = pgqrs__arena_alloc(&op->arena, batch->count * sizeof(*op->parts));
    if (names == NULL || op->parts == NULL)
        rc = pgqrs__nomem(error);
    if (rc != PGQRS_OK || (rc = add_messages(batch, op, names, error)) != PGQRS_OK
        || (rc = add_steps(batch, op, names, error)) != PGQRS_OK
        || (rc = add_queues(batch, op, names, error)) != PGQRS_OK) {
        pgqrs__op_free(op);
        return rc;
    }
    for (size_t i = 0; i < batch->count; i++) {
        pgqrs__task *item = batch->items[i].task;

        item->op->order         = i;
        op->parts[op->nparts++] = item->op;
        item->borrowed          = true;
    }
    op->natural = is_natural(batch);
    t->task.op  = op;
    return PGQRS_OK;
}

/* The contrary: each has its own operation again. */
static void decompose(atomic_task *t)
{
    pgqrs_batch *batch = t->task.batch;

    for (size_t i = 0; i < batch->count; i++)
        batch->items[i].task->borrowed = false;
    t->task.op->nparts = 0;
    pgqrs__op_free(t->task.op);
    t->task.op = NULL;
}

/* --- Results ---------------------------------------------------------------------------------- */

static pgqrs__turn fail_all(atomic_task *t, pgqrs_status rc, const pgqrs_error *error)
{
    pgqrs_batch *batch = t->task.batch;

    for (size_t i = 0; i < batch->count; i++) {
        if (t->task.sent && t->task.op == NULL) /* the group has it, with all its parts */
            batch->items[i].task->op = NULL;
        pgqrs__batch_result(batch, i, rc, error);
    }
    t->task.status = rc;
    return PGQRS__TURN_DONE;
}

/* It is committed: every operation takes its answer. */
static pgqrs__turn succeed_all(atomic_task *t)
{
    pgqrs_batch *batch = t->task.batch;
    pgqrs_error  error;

    for (size_t i = 0; i < batch->count; i++) {
        pgqrs__task *item = batch->items[i].task;

        item->status = PGQRS_OK;
        if (item->turn(item, false, &error) != PGQRS__TURN_DONE)
            item->status = pgqrs__fail(&error, PGQRS_EINTERNAL, PGQRS_OBJECT_NONE,
                                       "an operation of a committed batch has no answer");
        pgqrs__batch_result(batch, i, item->status, &error);
    }
    t->task.status = PGQRS_OK;
    return PGQRS__TURN_DONE;
}

/* --- Answers that were lost ------------------------------------------------------------------- */

typedef struct standing {
    const pgqrs__val *row;
    bool              same;
} standing;

static bool same_text(const pgqrs__val *a, const pgqrs__val *b)
{
    return a->kind == b->kind && (a->kind != PGQRS__KIND_TEXT || compare_text(a, b) == 0);
}

static pgqrs_status standing_row(pgqrs__call *call, const pgqrs__val *cols)
{
    standing         *s   = call->user;
    const pgqrs__val *row = s->row;

    s->same = cols[PGQRS__COL_STEP_FIND_STATUS].as.i == row[PGQRS__ARG_STEP_RECORD_STATUS].as.i
              && same_text(&cols[PGQRS__COL_STEP_FIND_OUTPUT], &row[PGQRS__ARG_STEP_RECORD_OUTPUT])
              && same_text(&cols[PGQRS__COL_STEP_FIND_ERROR], &row[PGQRS__ARG_STEP_RECORD_ERROR]);
    return PGQRS_OK;
}

static pgqrs_status step_was_ours(pgqrs_store *store, const pgqrs__op *op, bool *out_ours,
                                  pgqrs_error *error)
{
    const pgqrs__val *row    = op->calls[0].rows;
    standing          s      = { .row = row };
    const pgqrs__val  args[] = { row[PGQRS__ARG_STEP_RECORD_MESSAGE],
                                 row[PGQRS__ARG_STEP_RECORD_NAME] };
    pgqrs_status      rc     = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_STEP_FIND, args,
                                              standing_row, &s, error);

    *out_ours = rc == PGQRS_OK && s.same;
    return rc;
}

static pgqrs_status found_key(pgqrs__call *call, const pgqrs__val *cols)
{
    *(int64_t *)call->user = cols[PGQRS__COL_KEY_FIND_ID].as.i;
    return PGQRS_OK;
}

/* What an operation was answered, as far as it can be known, when its answer was lost. */
static pgqrs_status answer_again(pgqrs_store *store, pgqrs__op *op, bool cancelled,
                                 pgqrs_error *error)
{
    const pgqrs__op_call *key  = &op->calls[1];
    const pgqrs__part     part = { .rows = key->rows, .nrows = key->nrows };
    pgqrs__call           find = { .stmt   = PGQRS__STMT_KEY_FIND,
                                   .parts  = &part,
                                   .nparts = 1,
                                   .on_row = found_key,
                                   .user   = op->ids };

    for (size_t i = 0; i < op->calls[0].nrows; i++) {
        op->answers[i] = PGQRS__ANSWER_YES | PGQRS__ANSWER_RECORDED;
        if (is_enqueue(op->kind))
            op->ids[i] = 0;
    }
    if (cancelled)
        op->answers[0] |= PGQRS__ANSWER_CANCELLED;
    return is_keyed(op->kind) ? pgqrs__run(store, PGQRS__MODE_READ, &find, 1, error) : PGQRS_OK;
}

/* Whether the first sending was committed: *out_known says whether anything in it tells. */
static pgqrs_status find_evidence(atomic_task *t, bool *out_known, bool *out_ours,
                                  pgqrs_error *error)
{
    pgqrs_batch *batch = t->task.batch;
    pgqrs_store *store = t->task.store;

    *out_known = *out_ours = false;
    for (size_t i = 0; i < batch->count && !*out_ours; i++) {
        pgqrs__op   *op = batch->items[i].task->op;
        bool         cancelled;
        pgqrs_status rc;

        if (op->kind == PGQRS__OP_FINISH || op->kind == PGQRS__OP_DELETE)
            rc = pgqrs__settle_was_ours(store, op->kind, op->calls[0].rows, t->task.op->deadline_us,
                                        out_ours, &cancelled, error);
        else if (is_step(op->kind))
            rc = step_was_ours(store, op, out_ours, error);
        else
            continue;
        if (rc != PGQRS_OK)
            return rc;
        *out_known = true;
    }
    return PGQRS_OK;
}

static pgqrs_status answer_all_again(atomic_task *t, pgqrs_error *error)
{
    pgqrs_batch *batch = t->task.batch;
    pgqrs_status rc    = PGQRS_OK;

    for (size_t i = 0; i < batch->count && rc == PGQRS_OK; i++) {
        pgqrs__op *op        = batch->items[i].task->op;
        bool       cancelled = false;
        bool       ours;

        if (op->kind == PGQRS__OP_FINISH)
            rc = pgqrs__settle_was_ours(t->task.store, op->kind, op->calls[0].rows,
                                        t->task.op->deadline_us, &ours, &cancelled, error);
        if (rc == PGQRS_OK)
            rc = answer_again(t->task.store, op, cancelled, error);
    }
    return rc;
}

/* It was sent twice, and refused the second time: what became of the first? */
static pgqrs__turn resolve(atomic_task *t, pgqrs_error *error)
{
    pgqrs_error  own;
    bool         known;
    bool         ours;
    pgqrs_status rc = find_evidence(t, &known, &ours, &own);

    if (rc == PGQRS_OK && ours && (rc = answer_all_again(t, &own)) == PGQRS_OK)
        return succeed_all(t);
    if (rc != PGQRS_OK || !known)
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return fail_all(t, t->task.status, error);
}

/* --- Messages that are lost ------------------------------------------------------------------- */

/* Rows of a read of what is held: the others are lost. */
static pgqrs_status held_row(pgqrs__call *call, const pgqrs__val *cols)
{
    ((bool *)call->user)[cols[0].as.i - 1] = true;
    return PGQRS_OK;
}

/* An embedded database stops at the first message that is lost: name the others too. */
static void name_lost(const atomic_task *t, pgqrs_error *error)
{
    const pgqrs__op_call *asked = &t->task.op->calls[PGQRS__STRICT_HELD];
    const pgqrs__part     part  = { .rows = asked->rows, .nrows = asked->nrows };
    bool                 *held  = pgqrs__calloc(asked->nrows, sizeof(*held));
    pgqrs__call           call  = { .stmt   = PGQRS__STMT_LEASE_HOLD,
                                    .parts  = &part,
                                    .nparts = 1,
                                    .on_row = held_row,
                                    .user   = held };
    char                  text[sizeof(error->detail)];
    size_t                used = 0;

    if (held != NULL && pgqrs__run(t->task.store, PGQRS__MODE_READ, &call, 1, NULL) == PGQRS_OK) {
        for (size_t i = 0; i < asked->nrows && used + 24 < sizeof(text); i++)
            if (!held[i])
                used +=
                    (size_t)snprintf(text + used, sizeof(text) - used, "%s%lld",
                                     used == 0 ? "" : ",", (long long)asked->rows[i * 3 + 1].as.i);
        if (used > 0)
            pgqrs__detail(error, "%s", text);
    }
    pgqrs__free(held);
}

/* --- In turns --------------------------------------------------------------------------------- */

/* Have every operation ready to be sent. */
static pgqrs__turn prepare(atomic_task *t, bool may_ask, pgqrs_error *error)
{
    pgqrs_batch *batch = t->task.batch;

    for (; t->prepared < batch->count; t->prepared++) {
        pgqrs__task *item = batch->items[t->prepared].task;

        if (item->sent)
            continue;
        switch (item->turn(item, may_ask, error)) {
        case PGQRS__TURN_SEND:
            break;
        case PGQRS__TURN_ASK:
            return PGQRS__TURN_ASK;
        case PGQRS__TURN_DONE:
            return fail_all(t, item->status, error);
        case PGQRS__TURN_WAIT:
            return fail_all(t, PGQRS_EINTERNAL, error);
        }
    }
    t->task.status = compose(t, error);
    if (t->task.status != PGQRS_OK)
        return fail_all(t, t->task.status, error);
    t->task.sent = true;
    return PGQRS__TURN_SEND;
}

/* A queue was deleted, and its name may be another's by now: ask for all names once more. */
static void prepare_again(atomic_task *t)
{
    pgqrs_batch *batch = t->task.batch;

    for (size_t i = 0; i < batch->count; i++)
        if (is_enqueue(batch->items[i].task->op->kind))
            pgqrs__enqueue_task_again(batch->items[i].task);
    decompose(t);
    t->tries++;
    t->prepared  = 0;
    t->task.sent = false;
}

static pgqrs__turn atomic_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    atomic_task *t = (atomic_task *)task;
    pgqrs_status rc;

    if (!task->sent)
        return task->status == PGQRS_ETIMEDOUT ? fail_all(t, task->status, error)
                                               : prepare(t, may_ask, error);
    rc = task->status;
    if (rc == PGQRS_OK)
        return succeed_all(t);
    if (task->op == NULL || rc == PGQRS_ETIMEDOUT) {
        if (task->op != NULL && task->op->lost)
            pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
        return fail_all(t, rc, error);
    }
    if (rc == PGQRS_ENOTFOUND && error->object == PGQRS_OBJECT_QUEUE && t->tries == 0) {
        prepare_again(t);
        task->status = PGQRS_OK;
        return prepare(t, may_ask, error);
    }
    if (rc == PGQRS_ELEASE || rc == PGQRS_ESTATE) {
        if (!may_ask && (task->op->lost || (task->store->backend->caps & PGQRS__CAP_HOLD) == 0))
            return PGQRS__TURN_ASK;
        if (rc == PGQRS_ELEASE && (task->store->backend->caps & PGQRS__CAP_HOLD) == 0)
            name_lost(t, error);
        pgqrs__hint(error, rc == PGQRS_ELEASE
                               ? "Their leases passed, or they were finished before. "
                                 "Nothing of the batch was applied."
                               : "Nothing of the batch was applied.");
        if (task->op->lost)
            return resolve(t, error);
    } else if (task->op->lost) {
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    }
    return fail_all(t, rc, error);
}

pgqrs__task *pgqrs__atomic_task(pgqrs_batch *batch)
{
    atomic_task *t = pgqrs__arena_calloc(&batch->arena, 1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->task.store = batch->store;
    t->task.turn  = atomic_turn;
    t->task.batch = batch;
    return &t->task;
}
