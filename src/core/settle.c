/* What a holder does with leased messages: finish, delete, give back, fail, extend. Each names
 * (lease, message); who no longer holds it changes nothing [G-06]. */
#include "core/admin.h"
#include "core/task.h"

#include <stdlib.h>

pgqrs_status pgqrs__lease_lost(int64_t message_id, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_ELEASE, PGQRS_OBJECT_MESSAGE,
                "message %lld is no longer held under this lease", (long long)message_id);
    pgqrs__hint(error, "Its lease passed, or it was finished before. Nothing was changed.");
    return PGQRS_ELEASE;
}

/* --- Answers ---------------------------------------------------------------------------------- */

static pgqrs_status finish_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    op->answers[n] =
        PGQRS__ANSWER_YES
        | (pgqrs__as_int(cols[PGQRS__COL_MESSAGE_FINISH_CANCELLED]) ? PGQRS__ANSWER_CANCELLED : 0)
        | (pgqrs__as_int(cols[PGQRS__COL_MESSAGE_FINISH_AGAIN]) ? PGQRS__ANSWER_AGAIN : 0);
    return PGQRS_OK;
}

static pgqrs_status delete_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    op->answers[n] =
        PGQRS__ANSWER_YES
        | (pgqrs__as_int(cols[PGQRS__COL_MESSAGE_DELETE_AGAIN]) ? PGQRS__ANSWER_AGAIN : 0);
    return PGQRS_OK;
}

static pgqrs_status release_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    op->answers[n] =
        PGQRS__ANSWER_YES
        | (pgqrs__as_int(cols[PGQRS__COL_MESSAGE_RELEASE_AGAIN]) ? PGQRS__ANSWER_AGAIN : 0)
        | (uint32_t)pgqrs__as_int(cols[PGQRS__COL_MESSAGE_RELEASE_FATE])
              << PGQRS__ANSWER_FATE_SHIFT;
    return PGQRS_OK;
}

static pgqrs_status extend_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    op->answers[n] =
        PGQRS__ANSWER_YES
        | (pgqrs__as_int(cols[PGQRS__COL_LEASE_EXTEND_CANCELLED]) ? PGQRS__ANSWER_CANCELLED : 0)
        | (pgqrs__as_int(cols[PGQRS__COL_LEASE_EXTEND_AGAIN]) ? PGQRS__ANSWER_AGAIN : 0);
    return PGQRS_OK;
}

static pgqrs_status hold_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    op->answers[n] =
        PGQRS__ANSWER_YES
        | (pgqrs__as_int(cols[PGQRS__COL_LEASE_HOLD_CANCELLED]) ? PGQRS__ANSWER_CANCELLED : 0);
    return PGQRS_OK;
}

/* --- Making the operation --------------------------------------------------------------------- */

/* The messages of a call, in the order in which they are locked: which of the caller's each is. */
typedef struct held {
    const pgqrs_message *message;
    size_t               index;
} held;

static int by_message(const void *a, const void *b)
{
    const pgqrs_message *x = ((const held *)a)->message;
    const pgqrs_message *y = ((const held *)b)->message;

    if (x->queue_id != y->queue_id)
        return x->queue_id < y->queue_id ? -1 : 1;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return 0;
}

/* Check and sort. *out is the caller's to free; NULL on failure. */
static pgqrs_status held_sorted(const pgqrs_message *const *messages, size_t count, held **out,
                                pgqrs_error *error)
{
    held        *sorted;
    pgqrs_status rc;

    *out = NULL;
    if (count == 0)
        return PGQRS_OK;
    if ((rc = pgqrs__check_pointer(messages, "messages", error)) != PGQRS_OK)
        return rc;
    if (count > PGQRS__ENQUEUE_MAX)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "count is %zu, above %d", count,
                           PGQRS__ENQUEUE_MAX);
    for (size_t i = 0; i < count; i++)
        if ((rc = pgqrs__check_pointer(messages[i], "message", error)) != PGQRS_OK)
            return rc;
    sorted = pgqrs__alloc(count * sizeof(*sorted));
    if (sorted == NULL)
        return pgqrs__nomem(error);
    for (size_t i = 0; i < count; i++)
        sorted[i] = (held){ .message = messages[i], .index = i };
    qsort(sorted, count, sizeof(*sorted), by_message);
    for (size_t i = 1; i < count; i++) {
        if (by_message(&sorted[i - 1], &sorted[i]) == 0) {
            pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_MESSAGE, "message %lld is given twice",
                        (long long)sorted[i].message->id);
            pgqrs__free(sorted);
            return PGQRS_EINVAL;
        }
    }
    *out = sorted;
    return PGQRS_OK;
}

static const struct {
    int  stmt;
    bool has_now;
    pgqrs_status (*on_row)(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols);
} kinds[] = {
    [PGQRS__OP_FINISH]  = { PGQRS__STMT_MESSAGE_FINISH, true, finish_row },
    [PGQRS__OP_DELETE]  = { PGQRS__STMT_MESSAGE_DELETE, false, delete_row },
    [PGQRS__OP_RELEASE] = { PGQRS__STMT_MESSAGE_RELEASE, true, release_row },
    [PGQRS__OP_EXTEND]  = { PGQRS__STMT_LEASE_EXTEND, true, extend_row },
    [PGQRS__OP_HOLD]    = { PGQRS__STMT_LEASE_HOLD, false, hold_row },
};

/* An operation on held messages, whose rows name them; columns after the first three are the
 * caller's to fill: `tail` has them, the same for each. Texts in it are copied. */
static pgqrs__op *held_op(pgqrs_store *store, pgqrs__op_kind kind, const held *sorted, size_t count,
                          const pgqrs__val *tail, int64_t now_us)
{
    int         stmt  = kinds[kind].stmt;
    size_t      width = pgqrs__shapes[stmt].narrays;
    pgqrs__op  *op    = pgqrs__op_new(kind);
    pgqrs__val *row;
    pgqrs__val  own[16];

    if (op == NULL)
        return NULL;
    row = pgqrs__op_rows(op, stmt, count);
    if (row == NULL)
        goto no_memory;
    for (size_t c = 3; c < width; c++) {
        own[c] = tail[c - 3];
        if (own[c].kind != PGQRS__KIND_TEXT)
            continue;
        own[c].as.text = pgqrs__arena_copy(&op->arena, own[c].as.text, own[c].len);
        if (own[c].as.text == NULL)
            goto no_memory;
        op->bytes += own[c].len * count;
    }
    for (size_t i = 0; i < count; i++, row += width) {
        row[0] = pgqrs__int(sorted[i].message->queue_id);
        row[1] = pgqrs__int(sorted[i].message->id);
        row[2] = pgqrs__int(sorted[i].message->lease);
        if (width > 3)
            memcpy(row + 3, own + 3, (width - 3) * sizeof(*row));
    }
    op->bytes += 64 * count;
    op->now                   = kinds[kind].has_now ? pgqrs__now(store, now_us) : pgqrs__null();
    op->calls[0].on_row       = kinds[kind].on_row;
    const bool       notifies = kind == PGQRS__OP_RELEASE;
    const pgqrs__val two[]    = { pgqrs__text(store->backend->channel(store->db)), op->now };
    if (!pgqrs__op_scalars(op, 0, stmt, notifies ? two : two + 1))
        goto no_memory;
    return op;
no_memory:
    pgqrs__op_free(op);
    return NULL;
}

/* --- Answers that were lost ------------------------------------------------------------------- */

typedef struct ended_by {
    int64_t lease;
    int     state;
} ended_by;

static pgqrs_status ended_row(pgqrs__call *call, const pgqrs__val *cols)
{
    ended_by *ended = call->user;

    ended->lease = pgqrs__as_int(cols[PGQRS__COL_ARCHIVE_FIND_LEASE]);
    ended->state = (int)pgqrs__as_int(cols[PGQRS__COL_ARCHIVE_FIND_STATE]);
    return PGQRS_OK;
}

static pgqrs_status there_row(pgqrs__call *call, const pgqrs__val *cols)
{
    (void)cols;
    *(bool *)call->user = true;
    return PGQRS_OK;
}

/* The archive row carries the lease that ended a message; one that is nowhere was deleted by its
 * holder. */
pgqrs_status pgqrs__settle_was_ours(pgqrs_store *store, pgqrs__op_kind kind, const pgqrs__val *row,
                                    int64_t deadline_us, bool *out_ours, bool *out_cancelled,
                                    pgqrs_error *error)
{
    pgqrs__lost       lost  = { .deadline_us = deadline_us, .once = true };
    const pgqrs__part part  = { .rows = row, .nrows = 1 };
    ended_by          ended = { 0 };
    bool              there = false;
    pgqrs__call       find  = { .stmt   = PGQRS__STMT_ARCHIVE_FIND,
                                .parts  = &part,
                                .nparts = 1,
                                .on_row = ended_row,
                                .user   = &ended };
    pgqrs_status      rc;

    if (kind == PGQRS__OP_FINISH) {
        do
            rc = pgqrs__run(store, PGQRS__MODE_READ, &find, 1, error);
        while (rc != PGQRS_OK && pgqrs__lost_again(&lost, rc, error));
        *out_ours      = rc == PGQRS_OK && ended.lease == row[2].as.i;
        *out_cancelled = ended.state == PGQRS__ARCHIVE_CANCELLED;
    } else {
        do
            rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_MESSAGE_FIND, &row[1],
                                there_row, &there, error);
        while (rc != PGQRS_OK && pgqrs__lost_again(&lost, rc, error));
        *out_ours      = rc == PGQRS_OK && !there;
        *out_cancelled = false;
    }
    return rc;
}

/* An operation was sent twice and the second time found nothing: was it us, the first time? */
static pgqrs_status resolve(pgqrs_store *store, const pgqrs__op *op, size_t n, uint32_t *answer,
                            pgqrs_error *error)
{
    const pgqrs__val *row = op->calls[0].rows + n * pgqrs__shapes[op->calls[0].stmt].narrays;
    bool              ours;
    bool              cancelled;
    pgqrs_status      rc =
        pgqrs__settle_was_ours(store, op->kind, row, op->deadline_us, &ours, &cancelled, error);

    if (rc == PGQRS_OK && ours)
        *answer = PGQRS__ANSWER_YES | (cancelled ? PGQRS__ANSWER_CANCELLED : 0);
    return rc;
}

static bool is_unsure(const pgqrs__op *op, size_t n)
{
    return op->answers[n] == 0 && op->lost
           && (op->kind == PGQRS__OP_FINISH || op->kind == PGQRS__OP_DELETE);
}

/* --- Performing ------------------------------------------------------------------------------- */

/* Perform on many; answers[i] is the answer for messages[i]. lengths_us, for EXTEND alone, stands
 * for the last column of each; NULL: the tail has it. */
static pgqrs_status settle(pgqrs_store *store, pgqrs__op_kind kind,
                           const pgqrs_message *const *messages, size_t count,
                           const pgqrs__val *tail, const int64_t *lengths_us, int64_t now_us,
                           uint32_t *answers, pgqrs_error *error)
{
    held        *sorted = NULL;
    pgqrs__op   *op     = NULL;
    pgqrs_status rc;

    rc = held_sorted(messages, count, &sorted, error);
    if (rc != PGQRS_OK || count == 0)
        goto done;
    op = held_op(store, kind, sorted, count, tail, now_us);
    if (op == NULL) {
        rc = pgqrs__nomem(error);
        goto done;
    }
    for (size_t i = 0; lengths_us != NULL && i < count; i++)
        op->calls[0]
            .rows[i * pgqrs__shapes[op->calls[0].stmt].narrays + PGQRS__ARG_LEASE_EXTEND_LEASE_US] =
            pgqrs__int_or_null(lengths_us[sorted[i].index]);
    rc = pgqrs__perform(store, &op, error);
    if (rc != PGQRS_OK)
        goto done;
    for (size_t i = 0; i < count; i++) {
        uint32_t answer = op->answers[i];

        if (is_unsure(op, i)) {
            rc = resolve(store, op, i, &answer, error);
            if (rc != PGQRS_OK)
                goto done;
        }
        answers[sorted[i].index] = answer;
        if (pgqrs__op_moves(kind))
            pgqrs__lease_dropped(store, sorted[i].message->lease, sorted[i].message->id);
    }
done:
    pgqrs__op_free(op);
    pgqrs__free(sorted);
    return rc;
}

/* --- One message, in turns -------------------------------------------------------------------- */

pgqrs__turn pgqrs__settle_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    pgqrs__settle       *t = (pgqrs__settle *)task;
    const pgqrs_message *m = &t->message;
    pgqrs__op_kind       kind;

    if (!task->sent) {
        task->sent = true;
        return PGQRS__TURN_SEND;
    }
    if (task->status != PGQRS_OK)
        return PGQRS__TURN_DONE;
    kind      = task->op->kind;
    t->answer = task->op->answers[0];
    if (is_unsure(task->op, 0)) {
        if (!may_ask)
            return PGQRS__TURN_ASK;
        task->status = resolve(task->store, task->op, 0, &t->answer, error);
        if (task->status != PGQRS_OK)
            return PGQRS__TURN_DONE;
    }
    if (pgqrs__op_moves(kind))
        pgqrs__lease_dropped(task->store, m->lease, m->id);
    if ((t->answer & PGQRS__ANSWER_YES) == 0)
        task->status = pgqrs__lease_lost(m->id, error);
    else if (kind == PGQRS__OP_EXTEND && (t->answer & PGQRS__ANSWER_CANCELLED) != 0)
        task->status =
            pgqrs__fail(error, PGQRS_ECANCELLED, PGQRS_OBJECT_MESSAGE,
                        "message %lld is held, but its cancel was asked for", (long long)m->id);
    else if (kind == PGQRS__OP_RELEASE
             && t->answer >> PGQRS__ANSWER_FATE_SHIFT == PGQRS__FATE_READY)
        pgqrs__wake(task->store, m->queue_id);
    return PGQRS__TURN_DONE;
}

static pgqrs_status settle_begin(pgqrs__settle *t, pgqrs_store *store, pgqrs__op_kind kind,
                                 const pgqrs_message *message, const pgqrs__val *tail,
                                 int64_t now_us, pgqrs_error *error)
{
    const held   one = { .message = message };
    pgqrs_status rc  = pgqrs__check_pointer(message, "message", error);

    if (rc != PGQRS_OK)
        return rc;
    *t = (pgqrs__settle){
        .task    = { .store = store, .turn = pgqrs__settle_turn },
        .message = { .id = message->id, .queue_id = message->queue_id, .lease = message->lease },
    };
    t->task.op = held_op(store, kind, &one, 1, tail, now_us);
    return t->task.op == NULL ? pgqrs__nomem(error) : PGQRS_OK;
}

/* Perform on one: PGQRS_ELEASE when it is not held. */
static pgqrs_status settle_one(pgqrs_store *store, pgqrs__op_kind kind,
                               const pgqrs_message *message, const pgqrs__val *tail, int64_t now_us,
                               uint32_t *out_answer, pgqrs_error *error)
{
    pgqrs__settle t;
    pgqrs_status  rc;

    *out_answer = 0;
    rc          = settle_begin(&t, store, kind, message, tail, now_us, error);
    if (rc != PGQRS_OK)
        return rc;
    rc          = pgqrs__task_run(&t.task, error);
    *out_answer = t.answer;
    pgqrs__task_clean(&t.task);
    return rc;
}

pgqrs__task *pgqrs__settle_task(pgqrs_store *store, pgqrs__arena *arena, pgqrs__op_kind kind,
                                const pgqrs_message *message, const pgqrs__val *tail,
                                int64_t now_us, pgqrs_error *error)
{
    pgqrs__settle *t = pgqrs__arena_alloc(arena, sizeof(*t));

    if (t == NULL) {
        pgqrs__nomem(error);
        return NULL;
    }
    return settle_begin(t, store, kind, message, tail, now_us, error) == PGQRS_OK ? &t->task : NULL;
}

pgqrs__op *pgqrs__settle_op(pgqrs_store *store, pgqrs__op_kind kind, const pgqrs_message *message,
                            const pgqrs__val *tail)
{
    const held one = { .message = message };

    return held_op(store, kind, &one, 1, tail, 0);
}

/* Perform on many for the public _many forms: a status for each. */
static pgqrs_status settle_many(pgqrs_store *store, pgqrs__op_kind kind,
                                const pgqrs_message *const *messages, size_t count,
                                const pgqrs__val *tail, int64_t now_us, pgqrs_status *out_statuses,
                                pgqrs_error *error)
{
    uint32_t    *answers = pgqrs__calloc(count + 1, sizeof(*answers));
    pgqrs_status rc;

    if (answers == NULL)
        return pgqrs__nomem(error);
    rc = settle(store, kind, messages, count, tail, NULL, now_us, answers, error);
    for (size_t i = 0; rc == PGQRS_OK && out_statuses != NULL && i < count; i++) {
        if ((answers[i] & PGQRS__ANSWER_YES) == 0)
            out_statuses[i] = PGQRS_ELEASE;
        else if (kind == PGQRS__OP_EXTEND && (answers[i] & PGQRS__ANSWER_CANCELLED) != 0)
            out_statuses[i] = PGQRS_ECANCELLED;
        else
            out_statuses[i] = PGQRS_OK;
    }
    pgqrs__free(answers);
    return rc;
}

void pgqrs__finish_tail(pgqrs__val *tail, int archive_state, const char *output,
                        const char *error_json)
{
    tail[0] = pgqrs__int(archive_state);
    tail[1] = pgqrs__text(output);
    tail[2] = pgqrs__text(error_json);
}

void pgqrs__release_tail(pgqrs__val *tail, const pgqrs__parking *p)
{
    tail[0] = pgqrs__int(p->counted);
    tail[1] = pgqrs__int(p->backoff);
    tail[2] = p->delay_us < 0 ? pgqrs__null() : pgqrs__int(p->delay_us);
    tail[3] = pgqrs__int_or_null(p->at_us);
    tail[4] = pgqrs__int(p->reason);
    tail[5] = pgqrs__text(p->note);
    tail[6] = pgqrs__text(p->error);
}

pgqrs_status pgqrs__finish(pgqrs_store *store, const pgqrs_message *message, int archive_state,
                           const char *output, const char *error_json, int64_t now_us,
                           bool *out_cancelled, pgqrs_error *error)
{
    pgqrs__val   tail[3];
    uint32_t     answer;
    pgqrs_status rc;

    pgqrs__finish_tail(tail, archive_state, output, error_json);
    rc = settle_one(store, PGQRS__OP_FINISH, message, tail, now_us, &answer, error);
    if (out_cancelled != NULL)
        *out_cancelled = (answer & PGQRS__ANSWER_CANCELLED) != 0;
    return rc;
}

pgqrs_status pgqrs__park(pgqrs_store *store, const pgqrs_message *message,
                         const pgqrs__parking *parking, int64_t now_us, int *out_fate,
                         pgqrs_error *error)
{
    pgqrs__val   tail[7];
    uint32_t     answer;
    pgqrs_status rc;

    pgqrs__release_tail(tail, parking);
    rc = settle_one(store, PGQRS__OP_RELEASE, message, tail, now_us, &answer, error);
    if (out_fate != NULL)
        *out_fate = (int)(answer >> PGQRS__ANSWER_FATE_SHIFT);
    return rc;
}

pgqrs_status pgqrs__hold_ask(pgqrs_store *store, const pgqrs_message *message, bool *out_cancelled,
                             pgqrs_error *error)
{
    uint32_t     answer;
    pgqrs_status rc = settle_one(store, PGQRS__OP_HOLD, message, NULL, 0, &answer, error);

    *out_cancelled = (answer & PGQRS__ANSWER_CANCELLED) != 0;
    return rc;
}

pgqrs_status pgqrs__extend_each(pgqrs_store *store, const pgqrs_message *const *messages,
                                const int64_t *lengths_us, size_t count, uint32_t *answers,
                                pgqrs_error *error)
{
    const pgqrs__val tail[1] = { pgqrs__null() };

    return settle(store, PGQRS__OP_EXTEND, messages, count, tail, lengths_us, 0, answers, error);
}

/* --- The public forms ------------------------------------------------------------------------- */

pgqrs_status pgqrs_archive(pgqrs_store *store, const pgqrs_message *message, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__enter(store, error);

    if (rc != PGQRS_OK)
        return rc;
    return pgqrs__finish(store, message, PGQRS__ARCHIVE_DONE, NULL, NULL, 0, NULL, error);
}

pgqrs_status pgqrs_archive_many(pgqrs_store *store, const pgqrs_message *const *messages,
                                size_t count, pgqrs_status *out_statuses, pgqrs_error *error)
{
    pgqrs__val   tail[3];
    pgqrs_status rc = pgqrs__enter(store, error);

    if (rc != PGQRS_OK)
        return rc;
    pgqrs__finish_tail(tail, PGQRS__ARCHIVE_DONE, NULL, NULL);
    return settle_many(store, PGQRS__OP_FINISH, messages, count, tail, 0, out_statuses, error);
}

pgqrs_status pgqrs_delete(pgqrs_store *store, const pgqrs_message *message, pgqrs_error *error)
{
    uint32_t     answer;
    pgqrs_status rc = pgqrs__enter(store, error);

    if (rc != PGQRS_OK)
        return rc;
    return settle_one(store, PGQRS__OP_DELETE, message, NULL, 0, &answer, error);
}

pgqrs_status pgqrs_delete_many(pgqrs_store *store, const pgqrs_message *const *messages,
                               size_t count, pgqrs_status *out_statuses, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__enter(store, error);

    if (rc != PGQRS_OK)
        return rc;
    return settle_many(store, PGQRS__OP_DELETE, messages, count, NULL, 0, out_statuses, error);
}

pgqrs_status pgqrs__release_options_read(const pgqrs_release_options *given,
                                         pgqrs__parking *parking, int64_t *out_now_us,
                                         pgqrs_error *error)
{
    pgqrs_release_options options;
    pgqrs_status          rc;

    if ((rc = PGQRS__OPTIONS_READ(&options, given, "release", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options.delay_us, "delay_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_time(options.at_us, "at_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_time(options.now_us, "now_us", error)) != PGQRS_OK)
        return rc;
    if (options.delay_us != 0 && options.at_us != 0)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                           "delay_us and at_us are both set");
    *parking = (pgqrs__parking){
        .counted  = options.counted,
        .delay_us = options.delay_us != 0 ? options.delay_us : -1,
        .at_us    = options.at_us,
        .reason   = PGQRS__REASON_DELAY,
        .error = "{\"code\":\"ATTEMPTS_EXHAUSTED\",\"message\":\"given back on the last attempt\"}",
    };
    *out_now_us = options.now_us;
    return PGQRS_OK;
}

pgqrs_status pgqrs_release(pgqrs_store *store, const pgqrs_message *message,
                           const pgqrs_release_options *options, pgqrs_error *error)
{
    pgqrs__parking parking;
    int64_t        now_us;
    pgqrs_status   rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__release_options_read(options, &parking, &now_us, error)) != PGQRS_OK)
        return rc;
    return pgqrs__park(store, message, &parking, now_us, NULL, error);
}

pgqrs_status pgqrs_release_many(pgqrs_store *store, const pgqrs_message *const *messages,
                                size_t count, const pgqrs_release_options *options,
                                pgqrs_status *out_statuses, pgqrs_error *error)
{
    pgqrs__parking parking;
    pgqrs__val     tail[7];
    int64_t        now_us;
    pgqrs_status   rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__release_options_read(options, &parking, &now_us, error)) != PGQRS_OK)
        return rc;
    pgqrs__release_tail(tail, &parking);
    rc = settle_many(store, PGQRS__OP_RELEASE, messages, count, tail, now_us, out_statuses, error);
    for (size_t i = 0; rc == PGQRS_OK && i < count; i++)
        if (i == 0 || messages[i]->queue_id != messages[i - 1]->queue_id)
            pgqrs__wake(store, messages[i]->queue_id);
    return rc;
}

pgqrs_status pgqrs_retry(pgqrs_store *store, const pgqrs_message *message, const char *code,
                         const char *text, pgqrs_error *error)
{
    pgqrs__arena   arena;
    pgqrs__parking parking = {
        .counted = true, .backoff = true, .delay_us = -1, .reason = PGQRS__REASON_RETRY
    };
    pgqrs_status rc = pgqrs__enter(store, error);

    if (rc != PGQRS_OK)
        return rc;
    pgqrs__arena_init(&arena);
    parking.error = pgqrs__error_json(&arena, code, text);
    parking.note  = parking.error;
    rc            = parking.error == NULL ? pgqrs__nomem(error)
                                          : pgqrs__park(store, message, &parking, 0, NULL, error);
    pgqrs__arena_free(&arena);
    return rc;
}

pgqrs_status pgqrs_dead_letter(pgqrs_store *store, const pgqrs_message *message, const char *code,
                               const char *text, pgqrs_error *error)
{
    pgqrs__arena arena;
    const char  *json;
    pgqrs_status rc = pgqrs__enter(store, error);

    if (rc != PGQRS_OK)
        return rc;
    pgqrs__arena_init(&arena);
    json = pgqrs__error_json(&arena, code, text);
    rc   = json == NULL
               ? pgqrs__nomem(error)
               : pgqrs__finish(store, message, PGQRS__ARCHIVE_DEAD, NULL, json, 0, NULL, error);
    pgqrs__arena_free(&arena);
    return rc;
}

pgqrs_status pgqrs_extend(pgqrs_store *store, const pgqrs_message *message, int64_t lease_us,
                          pgqrs_error *error)
{
    pgqrs__val   tail[1];
    uint32_t     answer;
    pgqrs_status rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_range(lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", error))
               != PGQRS_OK)
        return rc;
    tail[0] = pgqrs__int_or_null(lease_us != 0 ? lease_us : store->options.lease_us);
    return settle_one(store, PGQRS__OP_EXTEND, message, tail, 0, &answer, error);
}

pgqrs_status pgqrs_extend_many(pgqrs_store *store, const pgqrs_message *const *messages,
                               size_t count, int64_t lease_us, pgqrs_status *out_statuses,
                               pgqrs_error *error)
{
    pgqrs__val   tail[1];
    pgqrs_status rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_range(lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", error))
               != PGQRS_OK)
        return rc;
    tail[0] = pgqrs__int_or_null(lease_us != 0 ? lease_us : store->options.lease_us);
    return settle_many(store, PGQRS__OP_EXTEND, messages, count, tail, 0, out_statuses, error);
}
