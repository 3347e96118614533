/* Putting messages in: one, many, keyed. Triggering a run is the same. */
#include "core/task.h"

static pgqrs_status options_read(pgqrs_store *store, const pgqrs_enqueue_options *given,
                                 pgqrs_enqueue_options *options, pgqrs_error *error)
{
    pgqrs_status rc;

    if ((rc = PGQRS__OPTIONS_READ(options, given, "enqueue", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->priority, PGQRS_PRIORITY_FIRST, PGQRS__PRIORITIES - 1,
                                    "priority", error))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options->delay_us, "delay_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_time(options->at_us, "at_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_time(options->now_us, "now_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->producer, 0, INT64_MAX, "producer", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options->key_ttl_us, "key_ttl_us", error)) != PGQRS_OK)
        return rc;
    if (options->delay_us != 0 && options->at_us != 0)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                           "delay_us and at_us are both set");
    if (options->key != NULL
        && (rc = pgqrs__check_name(options->key, "idempotency key", PGQRS_OBJECT_MESSAGE, error))
               != PGQRS_OK)
        return rc;
    if (options->headers != NULL) {
        const char *text = options->headers;

        if ((rc = pgqrs__check_json(store, text, "headers", NULL, error)) != PGQRS_OK)
            return rc;
        if (text[strspn(text, " \t\r\n")] != '{')
            return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                               "headers are not a JSON object");
    }
    if (options->priority == 0)
        options->priority = PGQRS__PRIORITY_DEFAULT;
    else if (options->priority == PGQRS_PRIORITY_FIRST)
        options->priority = 0;
    if (options->key_ttl_us == 0)
        options->key_ttl_us = PGQRS_DAY;
    return PGQRS_OK;
}

static pgqrs_status enqueued_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    op->ids[n] = cols[PGQRS__COL_MESSAGE_ENQUEUE_ID].as.i;
    op->answers[n] |= PGQRS__ANSWER_YES;
    return PGQRS_OK;
}

/* The second statement of a keyed enqueue: the message that stands, for those which were not
 * first. */
static pgqrs_status found_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    if ((op->answers[n] & PGQRS__ANSWER_YES) == 0) {
        op->ids[n] = cols[PGQRS__COL_KEY_FIND_ID].as.i;
        op->answers[n] |= PGQRS__ANSWER_YES | PGQRS__ANSWER_EXISTED;
    }
    return PGQRS_OK;
}

/* Columns that both kinds of enqueue have, from `row` on. */
static void fill_body(pgqrs__op *op, pgqrs__val *row, const pgqrs_enqueue_options *options,
                      const char *payload)
{
    row[0] = pgqrs__int(options->priority);
    row[1] = pgqrs__int_or_null(options->producer);
    row[2] = pgqrs__text(payload);
    row[3] = pgqrs__text(options->headers);
    row[4] = pgqrs__int_or_null(options->delay_us);
    row[5] = pgqrs__int_or_null(options->at_us);
    op->bytes += 64 + row[2].len + row[3].len;
}

/* What the caller gave, copied: the operation may outlive the call. False when out of memory. */
static bool copy_texts(pgqrs__op *op, pgqrs__val *rows, size_t nrows, size_t width)
{
    for (size_t i = 0; i < nrows * width; i++) {
        pgqrs__val *v = &rows[i];

        if (v->kind != PGQRS__KIND_TEXT)
            continue;
        v->as.text = pgqrs__arena_copy(&op->arena, v->as.text, v->len);
        if (v->as.text == NULL)
            return false;
    }
    return true;
}

pgqrs__op *pgqrs__request_op(pgqrs_store *store, const pgqrs__request *r, int64_t queue_id)
{
    const bool  keyed = r->options.key != NULL;
    const int   stmt  = keyed ? PGQRS__STMT_MESSAGE_ENQUEUE_KEYED : PGQRS__STMT_MESSAGE_ENQUEUE;
    size_t      width = pgqrs__shapes[stmt].narrays;
    pgqrs__op  *op    = pgqrs__op_new(keyed ? PGQRS__OP_ENQUEUE_KEYED : PGQRS__OP_ENQUEUE);
    pgqrs__val *rows;

    if (op == NULL)
        return NULL;
    rows    = pgqrs__op_rows(op, stmt, r->count);
    op->ids = pgqrs__arena_calloc(&op->arena, r->count, sizeof(*op->ids));
    if (rows == NULL || op->ids == NULL)
        goto no_memory;
    for (size_t i = 0; i < r->count; i++) {
        pgqrs__val *row = rows + i * width;

        *row++ = pgqrs__int(queue_id);
        if (keyed) {
            *row++ = pgqrs__text(r->options.key);
            *row++ = pgqrs__int(r->options.key_ttl_us);
        }
        fill_body(op, row, &r->options, r->payloads[i]);
    }
    op->now                    = pgqrs__now(store, r->options.now_us);
    const pgqrs__val scalars[] = { pgqrs__text(store->backend->channel(store->db)), op->now };
    if (!copy_texts(op, rows, r->count, width) || !pgqrs__op_scalars(op, 0, stmt, scalars))
        goto no_memory;
    op->calls[0].on_row = enqueued_row;
    if (keyed) {
        pgqrs__val *key = pgqrs__arena_alloc(&op->arena, 2 * sizeof(*key));

        if (key == NULL)
            goto no_memory;
        key[0]       = rows[0];
        key[1]       = rows[1];
        op->calls[1] = (pgqrs__op_call){
            .stmt = PGQRS__STMT_KEY_FIND, .rows = key, .nrows = 1, .on_row = found_row
        };
        op->ncalls = 2;
    }
    return op;
no_memory:
    pgqrs__op_free(op);
    return NULL;
}

pgqrs_status pgqrs__request_fits(const pgqrs__request *r, pgqrs__queue_ref ref, pgqrs_error *error)
{
    if (ref.workflow == (r->object == PGQRS_OBJECT_WORKFLOW))
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_ENOTFOUND, r->object, "\"%s\" is a %s", r->queue,
                ref.workflow ? "workflow, not a queue" : "queue, not a workflow");
    pgqrs__hint(error, ref.workflow ? "Start its runs with pgqrs_trigger()."
                                    : "Put messages into it with pgqrs_enqueue().");
    return PGQRS_ENOTFOUND;
}

/* --- In turns --------------------------------------------------------------------------------- */

typedef struct enqueue_task {
    pgqrs__task  task;
    const char  *queue;
    pgqrs_object object;
    int64_t      queue_id;
    bool         delayed;
    int          tries;
} enqueue_task;

static void set_queue(enqueue_task *t, int64_t queue_id)
{
    pgqrs__op *op = t->task.op;

    t->queue_id = queue_id;
    for (size_t c = 0; c < op->ncalls; c++) {
        size_t width = pgqrs__shapes[op->calls[c].stmt].narrays;

        for (size_t i = 0; i < op->calls[c].nrows; i++)
            op->calls[c].rows[i * width] = pgqrs__int(queue_id);
    }
}

void pgqrs__enqueue_task_again(pgqrs__task *task)
{
    pgqrs__queue_ref_forget(task->store, ((enqueue_task *)task)->queue);
    task->sent = false;
}

/* The queue's id, then the statement; and once more when the name turned out to be another's. */
static pgqrs__turn enqueue_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    enqueue_task    *t = (enqueue_task *)task;
    pgqrs__queue_ref ref;

    if (task->sent) {
        if (task->status != PGQRS_OK)
            return PGQRS__TURN_DONE;
        if ((task->op->answers[0] & PGQRS__ANSWER_YES) != 0) {
            task->result.ids      = task->op->ids;
            task->result.id_count = task->op->calls[0].nrows;
            task->result.id       = task->op->ids[0];
            task->result.existed  = (task->op->answers[0] & PGQRS__ANSWER_EXISTED) != 0;
            if (!t->delayed)
                pgqrs__wake(task->store, t->queue_id);
            return PGQRS__TURN_DONE;
        }
        /* The queue is gone; its name may be another's by now. */
        pgqrs__enqueue_task_again(task);
        if (t->tries++ > 0) {
            task->status = pgqrs__queue_missing(t->queue, t->object, error);
            return PGQRS__TURN_DONE;
        }
    }
    if (pgqrs__queue_ref_known(task->store, t->queue, &ref))
        task->status = PGQRS_OK;
    else if (!may_ask)
        return PGQRS__TURN_ASK;
    else
        task->status = pgqrs__queue_ref_get(task->store, t->queue, t->object, &ref, error);
    if (task->status == PGQRS_OK)
        task->status = pgqrs__request_fits(
            &(pgqrs__request){ .queue = t->queue, .object = t->object }, ref, error);
    if (task->status != PGQRS_OK)
        return PGQRS__TURN_DONE;
    set_queue(t, ref.id);
    task->sent = true;
    return PGQRS__TURN_SEND;
}

/* False: no memory. The names in the request live as long as the task. */
static bool enqueue_begin(enqueue_task *t, pgqrs_store *store, const pgqrs__request *r)
{
    *t = (enqueue_task){
        .task    = { .store = store, .turn = enqueue_turn, .op = pgqrs__request_op(store, r, 0) },
        .queue   = r->queue,
        .object  = r->object,
        .delayed = r->options.delay_us != 0,
    };
    return t->task.op != NULL;
}

/* Enqueue what was checked. ids may be NULL. */
static pgqrs_status enqueue(pgqrs_store *store, const pgqrs__request *r, int64_t *ids,
                            pgqrs_error *error)
{
    enqueue_task t;
    pgqrs_status rc;

    if (!enqueue_begin(&t, store, r))
        return pgqrs__nomem(error);
    rc = pgqrs__task_run(&t.task, error);
    if (rc == PGQRS_OK && ids != NULL)
        memcpy(ids, t.task.result.ids, r->count * sizeof(*ids));
    if (rc == PGQRS_OK && r->options.out_existed != NULL)
        *r->options.out_existed = t.task.result.existed;
    pgqrs__task_clean(&t.task);
    return rc;
}

/* --- Requests --------------------------------------------------------------------------------- */

/* The payloads of one call, and all of them together. */
static pgqrs_status check_payloads(pgqrs_store *store, const pgqrs__request *r, bool many,
                                   pgqrs_error *error)
{
    const char  *what  = r->object == PGQRS_OBJECT_QUEUE ? "payload" : "input";
    size_t       total = 0;
    pgqrs_status rc;

    for (size_t i = 0; i < r->count; i++) {
        size_t bytes;

        rc = pgqrs__check_json(store, r->payloads[i], what, &bytes, error);
        if (rc != PGQRS_OK) {
            if (many)
                pgqrs__detail(error, "payload %zu of %zu", i, r->count);
            return rc;
        }
        total += bytes;
    }
    if (total > (size_t)PGQRS__PAYLOAD_MAX) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                    "the payloads of one call are larger than 64 MiB together");
        pgqrs__hint(error, "Enqueue them in several calls.");
        return PGQRS_EINVAL;
    }
    return PGQRS_OK;
}

/* Refuse what makes no sense; else *r is complete. */
static pgqrs_status request_check(pgqrs_store *store, pgqrs__request *r,
                                  const pgqrs_enqueue_options *given, bool many, pgqrs_error *error)
{
    const char  *what = r->object == PGQRS_OBJECT_QUEUE ? "queue" : "workflow";
    pgqrs_status rc;

    if ((rc = pgqrs__check_name(r->queue, what, r->object, error)) != PGQRS_OK
        || (rc = options_read(store, given, &r->options, error)) != PGQRS_OK)
        return rc;
    return check_payloads(store, r, many, error);
}

static pgqrs_status check_many(const char *const *payloads, size_t count,
                               const pgqrs_enqueue_options *options, pgqrs_error *error)
{
    pgqrs_status rc;

    if (count > 0 && (rc = pgqrs__check_pointer(payloads, "payloads", error)) != PGQRS_OK)
        return rc;
    if (count > PGQRS__ENQUEUE_MAX)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "count is %zu, above %d", count,
                           PGQRS__ENQUEUE_MAX);
    if (options != NULL && options->key != NULL) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "key is set for several messages");
        pgqrs__hint(error, "An idempotency key names one message: use pgqrs_enqueue().");
        return PGQRS_EINVAL;
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs__request_read(pgqrs_store *store, const char *queue, pgqrs_object object,
                                 const char *const *payload, const pgqrs_enqueue_options *given,
                                 pgqrs__request *out, pgqrs_error *error)
{
    *out = (pgqrs__request){ .queue = queue, .object = object, .payloads = payload, .count = 1 };
    return request_check(store, out, given, false, error);
}

static pgqrs_status enqueue_one(pgqrs_store *store, const char *queue, pgqrs_object object,
                                const char *payload, const pgqrs_enqueue_options *given,
                                int64_t *out_id, pgqrs_error *error)
{
    pgqrs__request r;
    pgqrs_status   rc;

    if (out_id != NULL)
        *out_id = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__request_read(store, queue, object, &payload, given, &r, error)) != PGQRS_OK)
        return rc;
    return enqueue(store, &r, out_id, error);
}

pgqrs_status pgqrs_enqueue(pgqrs_store *store, const char *queue, const char *payload,
                           const pgqrs_enqueue_options *options, int64_t *out_id,
                           pgqrs_error *error)
{
    return enqueue_one(store, queue, PGQRS_OBJECT_QUEUE, payload, options, out_id, error);
}

pgqrs_status pgqrs_trigger(pgqrs_store *store, const char *workflow, const char *input,
                           const pgqrs_enqueue_options *options, int64_t *out_run_id,
                           pgqrs_error *error)
{
    return enqueue_one(store, workflow, PGQRS_OBJECT_WORKFLOW, input, options, out_run_id, error);
}

pgqrs_status pgqrs_enqueue_many(pgqrs_store *store, const char *queue, const char *const *payloads,
                                size_t count, const pgqrs_enqueue_options *options,
                                int64_t *out_ids, pgqrs_error *error)
{
    pgqrs__request r = {
        .queue = queue, .object = PGQRS_OBJECT_QUEUE, .payloads = payloads, .count = count
    };
    pgqrs_status rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = check_many(payloads, count, options, error)) != PGQRS_OK
        || (rc = request_check(store, &r, options, true, error)) != PGQRS_OK || count == 0)
        return rc;
    return enqueue(store, &r, out_ids, error);
}

pgqrs__task *pgqrs__enqueue_task(pgqrs_store *store, pgqrs__arena *arena, const char *queue,
                                 pgqrs_object object, const char *const *payloads, size_t count,
                                 bool many, const pgqrs_enqueue_options *options,
                                 pgqrs_error *error)
{
    pgqrs__request r = { .queue = queue, .object = object, .payloads = payloads, .count = count };
    enqueue_task  *t;

    if ((many && check_many(payloads, count, options, error) != PGQRS_OK)
        || request_check(store, &r, options, many, error) != PGQRS_OK)
        return NULL;
    if (count == 0) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "count is 0");
        return NULL;
    }
    if (r.options.out_existed != NULL) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "out_existed is set in a batch");
        pgqrs__hint(error, "Ask pgqrs_batch_existed() when the batch is done.");
        return NULL;
    }
    t       = pgqrs__arena_alloc(arena, sizeof(*t));
    r.queue = pgqrs__arena_copy(arena, queue, strlen(queue));
    if (t == NULL || r.queue == NULL || !enqueue_begin(t, store, &r)) {
        pgqrs__nomem(error);
        return NULL;
    }
    return &t->task;
}
