/* Operations of batches that share groups: on messages, and the ends of steps and runs. */
#include "core/batch.h"
#include "core/run.h"

/* --- Putting in, taking out ------------------------------------------------------------------- */

static size_t add_enqueue(pgqrs_batch *batch, const char *what, const char *queue,
                          pgqrs_object object, const char *const *payloads, size_t count, bool many,
                          const pgqrs_enqueue_options *options)
{
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, what, true, &error))
        task = pgqrs__enqueue_task(batch->store, &batch->arena, queue, object, payloads, count,
                                   many, options, &error);
    return pgqrs__batch_add(batch, task, &error);
}

size_t pgqrs_batch_enqueue(pgqrs_batch *batch, const char *queue, const char *payload,
                           const pgqrs_enqueue_options *options)
{
    return add_enqueue(batch, "pgqrs_batch_enqueue()", queue, PGQRS_OBJECT_QUEUE, &payload, 1,
                       false, options);
}

size_t pgqrs_batch_enqueue_many(pgqrs_batch *batch, const char *queue, const char *const *payloads,
                                size_t count, const pgqrs_enqueue_options *options)
{
    return add_enqueue(batch, "pgqrs_batch_enqueue_many()", queue, PGQRS_OBJECT_QUEUE, payloads,
                       count, true, options);
}

size_t pgqrs_batch_trigger(pgqrs_batch *batch, const char *workflow, const char *input,
                           const pgqrs_enqueue_options *options)
{
    return add_enqueue(batch, "pgqrs_batch_trigger()", workflow, PGQRS_OBJECT_WORKFLOW, &input, 1,
                       false, options);
}

size_t pgqrs_batch_claim(pgqrs_batch *batch, const char *queue, const pgqrs_claim_options *options)
{
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, "pgqrs_batch_claim()", false, &error))
        task = pgqrs__claim_task(batch->store, &batch->arena, queue, options, &batch->stop, &error);
    return pgqrs__batch_add(batch, task, &error);
}

/* --- What a holder does with a message -------------------------------------------------------- */

static size_t add_settle(pgqrs_batch *batch, const char *what, bool atomic, pgqrs__op_kind kind,
                         const pgqrs_message *message, const pgqrs__val *tail)
{
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, what, atomic, &error))
        task = pgqrs__settle_task(batch->store, &batch->arena, kind, message, tail, 0, &error);
    return pgqrs__batch_add(batch, task, &error);
}

size_t pgqrs_batch_archive(pgqrs_batch *batch, const pgqrs_message *message)
{
    pgqrs__val tail[PGQRS__FINISH_TAIL];

    pgqrs__finish_tail(tail, PGQRS__ARCHIVE_DONE, NULL, NULL);
    return add_settle(batch, "pgqrs_batch_archive()", true, PGQRS__OP_FINISH, message, tail);
}

size_t pgqrs_batch_delete(pgqrs_batch *batch, const pgqrs_message *message)
{
    return add_settle(batch, "pgqrs_batch_delete()", true, PGQRS__OP_DELETE, message, NULL);
}

size_t pgqrs_batch_release(pgqrs_batch *batch, const pgqrs_message *message,
                           const pgqrs_release_options *options)
{
    pgqrs__val     tail[PGQRS__RELEASE_TAIL];
    pgqrs__parking parking;
    pgqrs__task   *task = NULL;
    int64_t        now_us;
    pgqrs_error    error;

    if (pgqrs__batch_adds(batch, "pgqrs_batch_release()", true, &error)
        && pgqrs__release_options_read(options, &parking, &now_us, &error) == PGQRS_OK) {
        pgqrs__release_tail(tail, &parking);
        task = pgqrs__settle_task(batch->store, &batch->arena, PGQRS__OP_RELEASE, message, tail,
                                  now_us, &error);
    }
    return pgqrs__batch_add(batch, task, &error);
}

size_t pgqrs_batch_retry(pgqrs_batch *batch, const pgqrs_message *message, const char *code,
                         const char *text)
{
    pgqrs__val     tail[PGQRS__RELEASE_TAIL];
    pgqrs__parking parking = {
        .counted = true, .backoff = true, .delay_us = -1, .reason = PGQRS__REASON_RETRY
    };
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, "pgqrs_batch_retry()", true, &error)) {
        parking.error = pgqrs__error_json(&batch->arena, code, text);
        parking.note  = parking.error;
        pgqrs__release_tail(tail, &parking);
        if (parking.error == NULL)
            pgqrs__nomem(&error);
        else
            task = pgqrs__settle_task(batch->store, &batch->arena, PGQRS__OP_RELEASE, message, tail,
                                      0, &error);
    }
    return pgqrs__batch_add(batch, task, &error);
}

size_t pgqrs_batch_dead_letter(pgqrs_batch *batch, const pgqrs_message *message, const char *code,
                               const char *text)
{
    pgqrs__val   tail[PGQRS__FINISH_TAIL];
    pgqrs__task *task = NULL;
    const char  *json;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, "pgqrs_batch_dead_letter()", true, &error)) {
        json = pgqrs__error_json(&batch->arena, code, text);
        pgqrs__finish_tail(tail, PGQRS__ARCHIVE_DEAD, NULL, json);
        if (json == NULL)
            pgqrs__nomem(&error);
        else
            task = pgqrs__settle_task(batch->store, &batch->arena, PGQRS__OP_FINISH, message, tail,
                                      0, &error);
    }
    return pgqrs__batch_add(batch, task, &error);
}

size_t pgqrs_batch_extend(pgqrs_batch *batch, const pgqrs_message *message, int64_t lease_us)
{
    pgqrs__val   tail[1];
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, "pgqrs_batch_extend()", false, &error)
        && pgqrs__check_range(lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", &error) == PGQRS_OK) {
        tail[0] = pgqrs__int_or_null(lease_us != 0 ? lease_us : batch->store->options.lease_us);
        task = pgqrs__settle_task(batch->store, &batch->arena, PGQRS__OP_EXTEND, message, tail, 0,
                                  &error);
    }
    return pgqrs__batch_add(batch, task, &error);
}

/* --- Ends of runs ----------------------------------------------------------------------------- */

typedef struct end_task {
    pgqrs__settle settle; /* of the run's message, once it is held */
    pgqrs_run    *run;
    int           archive_state;
    const char   *output;
    const char   *error_json;
} end_task;

static bool find_message(end_task *t)
{
    const pgqrs_message *m = &t->run->message;
    pgqrs__val           tail[PGQRS__FINISH_TAIL];

    pgqrs__finish_tail(tail, t->archive_state, t->output, t->error_json);
    t->settle.message = (pgqrs_message){ .id = m->id, .queue_id = m->queue_id, .lease = m->lease };
    t->settle.task.op = pgqrs__settle_op(t->run->store, PGQRS__OP_FINISH, m, tail);
    return t->settle.task.op != NULL;
}

static pgqrs__turn end_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    end_task   *t = (end_task *)task;
    pgqrs__turn turn;
    bool        asks;

    if (!task->sent) {
        asks         = false;
        task->status = pgqrs__run_refuse_open_step(t->run);
        if (task->status == PGQRS_OK)
            task->status = pgqrs__run_hold(t->run, may_ask, &asks);
        if (asks)
            return PGQRS__TURN_ASK;
        if (task->status != PGQRS_OK)
            pgqrs__run_error_copy(t->run, task->status, error);
        else if (!find_message(t))
            task->status = pgqrs__nomem(error);
        return task->status == PGQRS_OK ? pgqrs__settle_turn(task, may_ask, error)
                                        : PGQRS__TURN_DONE;
    }
    turn = pgqrs__settle_turn(task, may_ask, error);
    if (turn != PGQRS__TURN_DONE)
        return turn;
    if (task->status == PGQRS_OK)
        task->status =
            pgqrs__run_has_ended(t->run, (t->settle.answer & PGQRS__ANSWER_CANCELLED) != 0, error);
    else
        task->status = pgqrs__run_failed(t->run, error);
    return PGQRS__TURN_DONE;
}

/* A handle that an operation of this batch may use. */
static bool is_ours(const pgqrs_batch *batch, const pgqrs_run *run, const char *what,
                    pgqrs_error *error)
{
    if (pgqrs__check_pointer(run, what, error) != PGQRS_OK)
        return false;
    if (run->store == batch->store)
        return true;
    pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_RUN, "%s is of another store", what);
    return false;
}

static pgqrs__task *end_new(pgqrs_batch *batch, pgqrs_run *run, int archive_state,
                            const char *output, const char *error_json, pgqrs_error *error)
{
    end_task   *t    = pgqrs__arena_calloc(&batch->arena, 1, sizeof(*t));
    const char *copy = NULL;

    if (output != NULL)
        copy = pgqrs__arena_copy(&batch->arena, output, strlen(output));
    if (t == NULL || (output != NULL && copy == NULL)
        || (archive_state == PGQRS__ARCHIVE_ERROR && error_json == NULL)) {
        pgqrs__nomem(error);
        return NULL;
    }
    t->settle.task.store = batch->store;
    t->settle.task.turn  = end_turn;
    t->run               = run;
    t->archive_state     = archive_state;
    t->output            = copy;
    t->error_json        = error_json;
    return &t->settle.task;
}

size_t pgqrs_batch_run_succeed(pgqrs_batch *batch, pgqrs_run *run, const char *output)
{
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, "pgqrs_batch_run_succeed()", true, &error)
        && is_ours(batch, run, "run", &error)
        && (output == NULL
            || pgqrs__check_json(batch->store, output, "output", NULL, &error) == PGQRS_OK))
        task = end_new(batch, run, PGQRS__ARCHIVE_SUCCESS, output, NULL, &error);
    return pgqrs__batch_add(batch, task, &error);
}

size_t pgqrs_batch_run_fail(pgqrs_batch *batch, pgqrs_run *run, const char *code, const char *text)
{
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, "pgqrs_batch_run_fail()", true, &error)
        && is_ours(batch, run, "run", &error))
        task = end_new(batch, run, PGQRS__ARCHIVE_ERROR, NULL,
                       pgqrs__error_json(&batch->arena, code, text), &error);
    return pgqrs__batch_add(batch, task, &error);
}

/* --- Ends of steps ---------------------------------------------------------------------------- */

static size_t add_step(pgqrs_batch *batch, const char *what, pgqrs_step *step,
                       const pgqrs__step_ending *ending)
{
    pgqrs__task *task = NULL;
    pgqrs_error  error;

    if (pgqrs__batch_adds(batch, what, true, &error)
        && is_ours(batch, pgqrs_step_run(step), "step", &error))
        task = pgqrs__step_task(step, &batch->arena, ending, &error);
    return pgqrs__batch_add(batch, task, &error);
}

size_t pgqrs_batch_step_succeed(pgqrs_batch *batch, pgqrs_step *step, const char *output)
{
    return add_step(batch, "pgqrs_batch_step_succeed()", step,
                    &(pgqrs__step_ending){ .output = output });
}

size_t pgqrs_batch_step_fail(pgqrs_batch *batch, pgqrs_step *step, const char *code,
                             const char *text)
{
    return add_step(batch, "pgqrs_batch_step_fail()", step,
                    &(pgqrs__step_ending){ .failed = true, .code = code, .text = text });
}

size_t pgqrs_batch_step_retry(pgqrs_batch *batch, pgqrs_step *step, const char *code,
                              const char *text, int64_t after_us)
{
    return add_step(
        batch, "pgqrs_batch_step_retry()", step,
        &(pgqrs__step_ending){
            .failed = true, .transient = true, .code = code, .text = text, .after_us = after_us });
}
