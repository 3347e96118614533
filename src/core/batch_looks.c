/* Operations of batches that are calls of their own: on messages by id, runs and steps. */
#include "core/batch_call.h"
#include "core/run.h"
#include "util/clock.h"

/* The pauses between two looks at a run that is waited for. */
#define LOOK_FIRST_US (5 * PGQRS_MILLISECOND)
#define LOOK_LAST_US  (200 * PGQRS_MILLISECOND)

/* --- Messages --------------------------------------------------------------------------------- */

static pgqrs_status call_claim_id(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_messages *out = NULL;
    pgqrs_status    rc  = pgqrs_claim_id(c->task.store, c->number, &c->options.claim, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_MESSAGES, out);
    return rc;
}

size_t pgqrs_batch_claim_id(pgqrs_batch *batch, int64_t id, const pgqrs_claim_options *options)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        pgqrs__call_new(batch, "pgqrs_batch_claim_id()", call_claim_id, NULL, NULL, &error);

    if (c != NULL
        && pgqrs__claim_options_read(batch->store, options, &c->options.claim, &error) != PGQRS_OK)
        c = NULL;
    if (c != NULL)
        c->number = id;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_message_get(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_records *out = NULL;
    pgqrs_status   rc  = pgqrs_message_get(c->task.store, c->number, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_RECORDS, out);
    return rc;
}

size_t pgqrs_batch_message_get(pgqrs_batch *batch, int64_t id)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_message_get()", call_message_get, id, 0);
}

static pgqrs_status call_message_list(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_records *out = NULL;
    pgqrs_status   rc  = pgqrs_message_list(c->task.store, c->name, &c->options.list, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_RECORDS, out);
    return rc;
}

size_t pgqrs_batch_message_list(pgqrs_batch *batch, const char *queue,
                                const pgqrs_list_options *options)
{
    pgqrs_error       error;
    pgqrs__call_task *c = pgqrs__call_new(batch, "pgqrs_batch_message_list()", call_message_list,
                                          queue, NULL, &error);

    if (c != NULL && PGQRS__OPTIONS_READ(&c->options.list, options, "list", &error) != PGQRS_OK)
        c = NULL;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_replay(pgqrs__call_task *c, pgqrs_error *error)
{
    size_t       count = 0;
    pgqrs_status rc    = pgqrs_replay(c->task.store, c->ids, c->count, &count, error);

    c->task.result.number = (int64_t)count;
    return rc;
}

size_t pgqrs_batch_replay(pgqrs_batch *batch, const int64_t *ids, size_t count)
{
    return pgqrs__call_ids(batch, "pgqrs_batch_replay()", call_replay, ids, count);
}

static pgqrs_status call_dead_purge(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_dead_purge(c->task.store, c->name, c->number, &c->task.result.number, error);
}

size_t pgqrs_batch_dead_purge(pgqrs_batch *batch, const char *queue, int64_t limit)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        pgqrs__call_new(batch, "pgqrs_batch_dead_purge()", call_dead_purge, queue, NULL, &error);

    if (c != NULL)
        c->number = limit;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_cancel(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_cancel(c->task.store, c->number, &c->task.result.state, error);
}

size_t pgqrs_batch_cancel(pgqrs_batch *batch, int64_t id)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_cancel()", call_cancel, id, 0);
}

static pgqrs_status call_retention_run(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_retention_run(c->task.store, c->number, &c->task.result.number, error);
}

size_t pgqrs_batch_retention_run(pgqrs_batch *batch, int64_t now_us)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_retention_run()", call_retention_run, now_us, 0);
}

/* --- Runs ------------------------------------------------------------------------------------- */

/* A call on a run handle, which keeps the error. */
static pgqrs__call_task *run_call_new(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                                      pgqrs_run *run, const char *name, pgqrs_error *error)
{
    pgqrs__call_task *c = pgqrs__call_new(batch, what, call, name, NULL, error);

    if (c == NULL || pgqrs__check_pointer(run, "run", error) != PGQRS_OK)
        return NULL;
    if (run->store != batch->store) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_RUN, "run is of another store");
        return NULL;
    }
    c->run = run;
    return c;
}

static pgqrs_status with_error(const pgqrs__call_task *c, pgqrs_status rc, pgqrs_error *error)
{
    if (rc != PGQRS_OK)
        pgqrs__run_error_copy(c->run, rc, error);
    return rc;
}

static pgqrs_status call_run_open(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_run   *out = NULL;
    pgqrs_status rc  = pgqrs_run_open(c->task.store, c->number, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_RUN, out);
    return rc;
}

size_t pgqrs_batch_run_open(pgqrs_batch *batch, int64_t run_id)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_run_open()", call_run_open, run_id, 0);
}

/* What is known without asking is answered at once. */
static pgqrs__turn start_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    pgqrs__call_task *c = (pgqrs__call_task *)task;
    bool              asks;

    task->status = pgqrs__run_go_on(c->run, may_ask, &asks);
    if (asks)
        return PGQRS__TURN_ASK;
    (void)with_error(c, task->status, error);
    return PGQRS__TURN_DONE;
}

size_t pgqrs_batch_run_start(pgqrs_batch *batch, pgqrs_run *run)
{
    pgqrs_error       error;
    pgqrs__call_task *c = run_call_new(batch, "pgqrs_batch_run_start()", NULL, run, NULL, &error);

    if (c != NULL)
        c->task.turn = start_turn;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_run_pause(pgqrs__call_task *c, pgqrs_error *error)
{
    return with_error(c, pgqrs_run_pause(c->run, c->name, c->number), error);
}

size_t pgqrs_batch_run_pause(pgqrs_batch *batch, pgqrs_run *run, const char *message,
                             int64_t resume_after_us)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        run_call_new(batch, "pgqrs_batch_run_pause()", call_run_pause, run, message, &error);

    if (c != NULL)
        c->number = resume_after_us;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_run_sleep(pgqrs__call_task *c, pgqrs_error *error)
{
    return with_error(c, pgqrs_run_sleep(c->run, c->name, c->number), error);
}

size_t pgqrs_batch_run_sleep(pgqrs_batch *batch, pgqrs_run *run, const char *name,
                             int64_t duration_us)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        run_call_new(batch, "pgqrs_batch_run_sleep()", call_run_sleep, run, name, &error);

    if (c != NULL)
        c->number = duration_us;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_run_settle(pgqrs__call_task *c, pgqrs_error *error)
{
    return with_error(c, pgqrs_run_settle(c->run, (pgqrs_status)c->number), error);
}

size_t pgqrs_batch_run_settle(pgqrs_batch *batch, pgqrs_run *run, pgqrs_status returned)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        run_call_new(batch, "pgqrs_batch_run_settle()", call_run_settle, run, NULL, &error);

    if (c != NULL)
        c->number = (int)returned;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_run_cancel(pgqrs__call_task *c, pgqrs_error *error)
{
    return with_error(c, pgqrs_run_cancel(c->run), error);
}

size_t pgqrs_batch_run_cancel(pgqrs_batch *batch, pgqrs_run *run)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        run_call_new(batch, "pgqrs_batch_run_cancel()", call_run_cancel, run, NULL, &error);

    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_run_get(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_run_records *out = NULL;
    pgqrs_status       rc  = pgqrs_run_get(c->task.store, c->number, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_RUNS, out);
    return rc;
}

size_t pgqrs_batch_run_get(pgqrs_batch *batch, int64_t run_id)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_run_get()", call_run_get, run_id, 0);
}

static pgqrs_status call_run_list(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_run_records *out = NULL;
    pgqrs_status rc = pgqrs_run_list(c->task.store, c->name, &c->options.run_list, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_RUNS, out);
    return rc;
}

size_t pgqrs_batch_run_list(pgqrs_batch *batch, const char *workflow,
                            const pgqrs_run_list_options *options)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        pgqrs__call_new(batch, "pgqrs_batch_run_list()", call_run_list, workflow, NULL, &error);

    if (c != NULL
        && PGQRS__OPTIONS_READ(&c->options.run_list, options, "run_list", &error) != PGQRS_OK)
        c = NULL;
    return pgqrs__call_add(batch, c, &error);
}

/* A look; then a pause, in which no thread is held. */
static pgqrs__turn wait_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    pgqrs__call_task  *c    = (pgqrs__call_task *)task;
    pgqrs_run_records *runs = NULL;
    pgqrs_run_status   status;
    int64_t            now;

    if (!may_ask)
        return PGQRS__TURN_ASK;
    task->status = pgqrs_run_get(task->store, c->number, &runs, error);
    if (task->status != PGQRS_OK)
        return PGQRS__TURN_DONE;
    status = pgqrs_run_records_at(runs, 0)->status;
    if (status >= PGQRS_RUN_SUCCESS) {
        pgqrs__call_hand(c, PGQRS__HANDED_RUNS, runs);
        return PGQRS__TURN_DONE;
    }
    pgqrs_run_records_free(runs);
    now = pgqrs__mono_us();
    if (now >= c->second_number || atomic_load(task->stop)) {
        task->status = pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_RUN,
                                   "run %lld has not ended in time (%s)", (long long)c->number,
                                   pgqrs_run_status_name(status));
        return PGQRS__TURN_DONE;
    }
    /* The pause grows from look to look. */
    task->wake_us = PGQRS__MIN(now + (int64_t)c->count, c->second_number);
    c->count      = PGQRS__MIN(c->count * 2, (size_t)LOOK_LAST_US);
    return PGQRS__TURN_WAIT;
}

size_t pgqrs_batch_run_wait(pgqrs_batch *batch, int64_t run_id, int64_t wait_us)
{
    pgqrs_error       error;
    pgqrs__call_task *c =
        pgqrs__call_new(batch, "pgqrs_batch_run_wait()", NULL, NULL, NULL, &error);

    if (c != NULL && pgqrs__check_range(wait_us, 0, PGQRS_FOREVER, "wait_us", &error) != PGQRS_OK)
        c = NULL;
    if (c != NULL) {
        c->task.turn     = wait_turn;
        c->task.stop     = &batch->stop;
        c->number        = run_id;
        c->second_number = pgqrs__i64_add_sat(pgqrs__mono_us(), wait_us);
        c->count         = (size_t)LOOK_FIRST_US;
    }
    return pgqrs__call_add(batch, c, &error);
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* What is known without asking is answered at once. */
static pgqrs__turn begin_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    pgqrs__call_task *c = (pgqrs__call_task *)task;
    bool              asks;
    bool              gives;

    if (c->step == NULL)
        task->status = pgqrs__step_open(c->run, c->name, &c->options.step, &c->step, error);
    if (task->status != PGQRS_OK)
        return PGQRS__TURN_DONE;
    task->status = pgqrs__step_go_on(c->step, may_ask, &asks, &gives, error);
    if (asks)
        return PGQRS__TURN_ASK;
    if (gives)
        task->result.step = c->step;
    return PGQRS__TURN_DONE;
}

size_t pgqrs_batch_step_begin(pgqrs_batch *batch, pgqrs_run *run, const char *name,
                              const pgqrs_step_options *options)
{
    pgqrs_error       error;
    pgqrs__call_task *c = run_call_new(batch, "pgqrs_batch_step_begin()", NULL, run, name, &error);

    if (c != NULL && PGQRS__OPTIONS_READ(&c->options.step, options, "step", &error) != PGQRS_OK)
        c = NULL;
    if (c != NULL)
        c->task.turn = begin_turn;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_step_list(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_step_records *out = NULL;
    pgqrs_status        rc  = pgqrs_step_list(c->task.store, c->number, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_STEPS, out);
    return rc;
}

size_t pgqrs_batch_step_list(pgqrs_batch *batch, int64_t run_id)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_step_list()", call_step_list, run_id, 0);
}
