/* The ends of steps: recorded once, under the fence [G-09]; and sleeps, which are steps too. */
#include "core/step.h"
#include "pgqrs/workflow.h"
#include "util/buf.h"
#include "util/json.h"
#include "util/random.h"

#define JITTER 0.25

static pgqrs_status recorded_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    (void)call;
    op->answers[n] =
        PGQRS__ANSWER_YES
        | (pgqrs__as_int(cols[PGQRS__COL_STEP_RECORD_CANCELLED]) ? PGQRS__ANSWER_CANCELLED : 0)
        | (pgqrs__as_int(cols[PGQRS__COL_STEP_RECORD_RECORDED]) ? PGQRS__ANSWER_RECORDED : 0);
    return PGQRS_OK;
}

/* A text of the operation's own. */
static bool op_text(pgqrs__op *op, const char *text, pgqrs__val *out)
{
    *out = pgqrs__text(text);
    if (text == NULL)
        return true;
    out->as.text = pgqrs__arena_copy(&op->arena, text, out->len);
    op->bytes += out->len;
    return out->as.text != NULL;
}

/* The operation that records `r` as the state of a step. NULL: no memory. */
static pgqrs__op *record_op(const pgqrs_step *step, const pgqrs__recorded *r)
{
    const pgqrs_message *m  = &step->run->message;
    pgqrs__op           *op = pgqrs__op_new(PGQRS__OP_STEP);
    pgqrs__val          *row;

    if (op == NULL)
        return NULL;
    row = pgqrs__op_rows(op, PGQRS__STMT_STEP_RECORD, 1);
    if (row == NULL)
        goto no_memory;
    row[PGQRS__ARG_STEP_RECORD_QUEUE]          = pgqrs__int(m->queue_id);
    row[PGQRS__ARG_STEP_RECORD_MESSAGE]        = pgqrs__int(m->id);
    row[PGQRS__ARG_STEP_RECORD_LEASE]          = pgqrs__int(m->lease);
    row[PGQRS__ARG_STEP_RECORD_STATUS]         = pgqrs__int((int64_t)r->status);
    row[PGQRS__ARG_STEP_RECORD_RETRIES]        = pgqrs__int(r->retries);
    row[PGQRS__ARG_STEP_RECORD_STARTED_AT]     = pgqrs__int_or_null(step->started_us);
    row[PGQRS__ARG_STEP_RECORD_RETRY_AFTER_US] = pgqrs__null();
    row[PGQRS__ARG_STEP_RECORD_RETRY_AT]       = pgqrs__int_or_null(r->retry_at_us);
    if (!op_text(op, step->name, &row[PGQRS__ARG_STEP_RECORD_NAME])
        || !op_text(op, r->output, &row[PGQRS__ARG_STEP_RECORD_OUTPUT])
        || !op_text(op, r->error, &row[PGQRS__ARG_STEP_RECORD_ERROR]))
        goto no_memory;
    op->bytes += 128;
    op->now             = pgqrs__now(step->run->store, step->options.now_us);
    op->calls[0].on_row = recorded_row;
    if (!pgqrs__op_scalars(op, 0, PGQRS__STMT_STEP_RECORD, &op->now))
        goto no_memory;
    return op;
no_memory:
    pgqrs__op_free(op);
    return NULL;
}

/* Another result was recorded before: it stands. call->user is a pgqrs_step. */
static pgqrs_status standing_row(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs_step       *step   = call->user;
    pgqrs_run        *run    = step->run;
    const pgqrs__val *output = &cols[PGQRS__COL_STEP_FIND_OUTPUT];
    const pgqrs__val *error  = &cols[PGQRS__COL_STEP_FIND_ERROR];
    pgqrs__recorded   r      = {
               .name        = step->name,
               .status      = (pgqrs_step_status)pgqrs__as_int(cols[PGQRS__COL_STEP_FIND_STATUS]),
               .retries     = (int)pgqrs__as_int(cols[PGQRS__COL_STEP_FIND_RETRIES]),
               .retry_at_us = pgqrs__as_int(cols[PGQRS__COL_STEP_FIND_RETRY_AT]),
    };
    bool ok = true;

    pgqrs__mutex_lock(&run->lock);
    if (output->kind == PGQRS__KIND_TEXT)
        ok = (r.output = pgqrs__arena_copy(&run->arena, output->as.text, output->len)) != NULL;
    if (ok && error->kind == PGQRS__KIND_TEXT)
        ok = (r.error = pgqrs__arena_copy(&run->arena, error->as.text, error->len)) != NULL;
    ok = ok && pgqrs__run_remember(run, &r);
    pgqrs__mutex_unlock(&run->lock);
    return ok ? PGQRS_OK : PGQRS_ENOMEM;
}

/* Recording `r` under the fence, in turns; what stands afterwards is in the run, and in `r`. */
typedef struct record_task {
    pgqrs__task     task;
    pgqrs_step     *step;
    pgqrs__recorded r;
    bool            ends; /* the result is what the caller of an end is told */
} record_task;

static pgqrs_status outcome(pgqrs_step *step, const pgqrs__recorded *r, pgqrs_error *error);
static pgqrs_status tried(pgqrs_step *step, pgqrs_status rc);

/* Take in what was answered. Without the answer of the one that stands, which is asked for:
 * *out_asks. */
static pgqrs_status record_answered(record_task *t, uint32_t answer, bool may_ask, bool *out_asks,
                                    pgqrs_error *error)
{
    pgqrs_step *step = t->step;
    pgqrs_run  *run  = step->run;
    bool        remembered;

    if ((answer & PGQRS__ANSWER_YES) == 0) {
        pgqrs__lease_lost(run->message.id, error);
        if (t->task.op->lost) /* it may have been recorded the first time: the next holder has it */
            pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
        return PGQRS_ELEASE;
    }
    *out_asks = (answer & PGQRS__ANSWER_RECORDED) == 0 && !may_ask;
    if (*out_asks)
        return PGQRS_OK;
    t->r.name = step->name;
    pgqrs__mutex_lock(&run->lock);
    run->heard_us  = PGQRS__MAX(run->heard_us, t->task.op->sent_us);
    run->cancelled = run->cancelled || (answer & PGQRS__ANSWER_CANCELLED) != 0;
    remembered     = (answer & PGQRS__ANSWER_RECORDED) == 0 || pgqrs__run_remember(run, &t->r);
    pgqrs__mutex_unlock(&run->lock);
    if ((answer & PGQRS__ANSWER_RECORDED) == 0) {
        const pgqrs__val args[] = { pgqrs__int(run->message.id), pgqrs__text(step->name) };
        pgqrs_status rc = pgqrs__run_one(run->store, PGQRS__MODE_READ, PGQRS__STMT_STEP_FIND, args,
                                         standing_row, step, error);

        if (rc != PGQRS_OK)
            return rc;
    } else if (!remembered) { /* it is recorded; only this handle does not know */
        return pgqrs__nomem(error);
    }
    if (!pgqrs__step_recorded_find(run, step->name, &t->r))
        return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_STEP,
                           "the record of step \"%s\" is not there", step->name);
    step->output     = t->r.output;
    step->error_json = t->r.error;
    step->retries    = t->r.retries;
    step->recorded   = t->r.status != PGQRS_STEP_RETRY;
    return PGQRS_OK;
}

static pgqrs__turn record_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    record_task *t    = (record_task *)task;
    bool         asks = false;

    if (!task->sent) {
        task->sent        = true;
        task->op->sent_us = pgqrs__lease_clock(task->store);
        return PGQRS__TURN_SEND;
    }
    if (task->status == PGQRS_OK)
        task->status = record_answered(t, task->op->answers[0], may_ask, &asks, error);
    if (asks)
        return PGQRS__TURN_ASK;
    if (task->status != PGQRS_OK)
        task->status = pgqrs__run_failed(t->step->run, error);
    else if (t->ends)
        task->status = outcome(t->step, &t->r, error);
    if (t->ends)
        (void)tried(t->step, task->status);
    task->result.step = t->step;
    return PGQRS__TURN_DONE;
}

/* False: no memory. */
static bool record_begin(record_task *t, pgqrs_step *step, const pgqrs__recorded *r, bool ends)
{
    *t = (record_task){
        .task = { .store = step->run->store, .turn = record_turn, .op = record_op(step, r) },
        .step = step,
        .r    = *r,
        .ends = ends,
    };
    if (t->task.op == NULL)
        return false;
    /* What is remembered is copied then: until then it lives in the operation. */
    t->r.output = t->task.op->calls[0].rows[PGQRS__ARG_STEP_RECORD_OUTPUT].as.text;
    t->r.error  = t->task.op->calls[0].rows[PGQRS__ARG_STEP_RECORD_ERROR].as.text;
    if (r->output == NULL)
        t->r.output = NULL;
    if (r->error == NULL)
        t->r.error = NULL;
    return true;
}

/* In the caller's thread: with a transaction of its own, or in a group. */
static pgqrs_status record_run(record_task *t, pgqrs_error *error)
{
    pgqrs__task *task = &t->task;

    if (t->r.status != PGQRS_STEP_SUCCESS || !pgqrs__step_has_tx(t->step))
        return pgqrs__task_run(task, error);
    (void)record_turn(task, true, error);
    task->status = pgqrs__step_commit(t->step, task->op, error);
    (void)record_turn(task, true, error);
    return task->status;
}

static pgqrs_status record(pgqrs_step *step, pgqrs__recorded *r)
{
    record_task  t;
    pgqrs_error  error;
    pgqrs_status rc;

    if (!record_begin(&t, step, r, false)) {
        pgqrs__nomem(&error);
        return pgqrs__run_failed(step->run, &error);
    }
    rc = record_run(&t, &error);
    *r = t.r;
    pgqrs__task_clean(&t.task);
    return rc;
}

/* What the caller of an end is told about what stands. */
static pgqrs_status outcome(pgqrs_step *step, const pgqrs__recorded *r, pgqrs_error *error)
{
    switch (r->status) {
    case PGQRS_STEP_SUCCESS:
        return PGQRS_OK;
    case PGQRS_STEP_ERROR:
        return pgqrs__step_exhausted(step, error);
    case PGQRS_STEP_RETRY:
        break;
    }
    return pgqrs__step_not_ready(step, r->retry_at_us, error);
}

static const char *error_json(pgqrs_step *step, const char *code, const char *text, bool transient)
{
    pgqrs_run  *run = step->run;
    pgqrs__buf  buf;
    const char *json = NULL;

    pgqrs__buf_init(&buf);
    pgqrs__buf_str(&buf, transient ? "{\"is_transient\":true,\"code\":"
                                   : "{\"is_transient\":false,\"code\":");
    code = code != NULL ? code : "ERROR";
    text = text != NULL ? text : "";
    pgqrs__json_quote(&buf, code, strlen(code));
    pgqrs__buf_str(&buf, ",\"message\":");
    pgqrs__json_quote(&buf, text, strlen(text));
    pgqrs__buf_char(&buf, '}');
    if (!buf.failed) {
        pgqrs__mutex_lock(&run->lock);
        json = pgqrs__arena_copy(&run->arena, buf.data, buf.len);
        pgqrs__mutex_unlock(&run->lock);
    }
    pgqrs__buf_free(&buf);
    return json;
}

static int64_t backoff_us(const pgqrs_step *step)
{
    double delay = (double)step->options.backoff_us;
    double most  = (double)step->options.backoff_max_us;

    if (step->options.backoff != PGQRS_BACKOFF_FIXED)
        for (int i = 0; i < step->retries && delay < most; i++)
            delay *= 2;
    delay = PGQRS__MIN(delay, most);
    if (step->options.backoff == PGQRS_BACKOFF_JITTER)
        delay *= 1 - JITTER + 2 * JITTER * pgqrs__random_unit();
    return (int64_t)delay;
}

/* May this handle end its step? */
static pgqrs_status enter(pgqrs_step *step, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__enter(step->run->store, error);

    if (rc == PGQRS_OK && (step->recorded || (step->tried && step->last == PGQRS_ENOTREADY)))
        rc = pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STEP, "step \"%s\" has ended",
                         step->name);
    if (rc == PGQRS_OK && pgqrs__run_given_up(step->run))
        rc = pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_RUN, "run %lld has been given up",
                         (long long)step->run->message.id);
    return rc == PGQRS_OK ? rc : pgqrs__run_failed(step->run, error);
}

static pgqrs_status tried(pgqrs_step *step, pgqrs_status rc)
{
    step->tried = true;
    step->last  = rc;
    return rc;
}

/* A failure, transient or for good. False: no memory. */
static bool failure(pgqrs_step *step, const pgqrs__step_ending *e, pgqrs__recorded *r)
{
    bool again = e->transient && step->retries < step->options.max_retries;

    if (step->transactional)
        (void)pgqrs__step_abandon(step); /* what it did is undone; that it failed is recorded */
    *r = (pgqrs__recorded){
        .status  = again ? PGQRS_STEP_RETRY : PGQRS_STEP_ERROR,
        .retries = step->retries + (again ? 1 : 0),
        .error   = error_json(step, e->code, e->text, e->transient),
    };
    if (again)
        r->retry_at_us =
            pgqrs__step_clock(step) + (e->after_us != 0 ? e->after_us : backoff_us(step));
    return r->error != NULL;
}

/* Whether a step may end so, and what is recorded then. */
static pgqrs_status ending_check(pgqrs_step *step, const pgqrs__step_ending *e, pgqrs__recorded *r,
                                 pgqrs_error *error)
{
    static const pgqrs__step_ending late = {
        .failed    = true,
        .transient = true,
        .code      = "TIMEOUT",
        .text      = "the result came after the step's timeout",
    };
    pgqrs_status rc = enter(step, error);

    if (rc != PGQRS_OK)
        return rc;
    if (!e->failed && step->transactional && step->tx.conn == NULL) {
        pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STEP,
                    "the transaction of step \"%s\" has been rolled back", step->name);
        pgqrs__hint(error, "Return from the workflow function: the step is executed again.");
        return tried(step, pgqrs__run_failed(step->run, error));
    }
    if (e->output != NULL)
        rc = pgqrs__check_json(step->run->store, e->output, "output", NULL, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__check_duration(e->after_us, "after_us", error);
    if (rc != PGQRS_OK) {
        rc = pgqrs__run_failed(step->run, error);
        return e->failed ? rc : tried(step, rc);
    }
    if (!e->failed && step->options.timeout_us != 0
        && pgqrs__lease_clock(step->run->store) - step->started_lease_us > step->options.timeout_us)
        e = &late;
    *r = (pgqrs__recorded){ .status  = PGQRS_STEP_SUCCESS,
                            .retries = step->retries,
                            .output  = e->output };
    if (!e->failed || failure(step, e, r))
        return PGQRS_OK;
    pgqrs__nomem(error);
    return pgqrs__run_failed(step->run, error);
}

static pgqrs_status step_ends(pgqrs_step *step, const pgqrs__step_ending *e)
{
    record_task     t;
    pgqrs__recorded r;
    pgqrs_error     error;
    pgqrs_status    rc;

    if (step == NULL)
        return PGQRS_EINVAL;
    rc = ending_check(step, e, &r, &error);
    if (rc != PGQRS_OK)
        return rc;
    if (!record_begin(&t, step, &r, true)) {
        pgqrs__nomem(&error);
        return tried(step, pgqrs__run_failed(step->run, &error));
    }
    rc = record_run(&t, &error);
    pgqrs__task_clean(&t.task);
    return rc;
}

pgqrs__task *pgqrs__step_task(pgqrs_step *step, pgqrs__arena *arena, const pgqrs__step_ending *e,
                              pgqrs_error *error)
{
    record_task    *t = pgqrs__arena_alloc(arena, sizeof(*t));
    pgqrs__recorded r;

    if (pgqrs__step_has_tx(step)) {
        pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STEP,
                    "step \"%s\" has a transaction of its own", step->name);
        pgqrs__hint(error, "End it with pgqrs_step_succeed(), pgqrs_step_fail() or "
                           "pgqrs_step_retry(); or enqueue in the batch instead of in the step.");
        return NULL;
    }
    if (ending_check(step, e, &r, error) != PGQRS_OK)
        return NULL;
    if (t != NULL && record_begin(t, step, &r, true))
        return &t->task;
    pgqrs__nomem(error);
    return NULL;
}

pgqrs_status pgqrs_step_succeed(pgqrs_step *step, const char *output)
{
    return step_ends(step, &(pgqrs__step_ending){ .output = output });
}

pgqrs_status pgqrs_step_fail(pgqrs_step *step, const char *code, const char *text)
{
    return step_ends(step, &(pgqrs__step_ending){ .failed = true, .code = code, .text = text });
}

pgqrs_status pgqrs_step_retry(pgqrs_step *step, const char *code, const char *text,
                              int64_t after_us)
{
    return step_ends(
        step,
        &(pgqrs__step_ending){
            .failed = true, .transient = true, .code = code, .text = text, .after_us = after_us });
}

pgqrs_status pgqrs_step_end(pgqrs_step *step, const char **out_output)
{
    pgqrs_error error;

    if (out_output != NULL)
        *out_output = NULL;
    if (step == NULL)
        return PGQRS_EINVAL;
    if (step->transactional)
        (void)pgqrs__step_abandon(step);
    if (step->recorded && step->error_json == NULL) {
        if (out_output != NULL)
            *out_output = step->output;
        return PGQRS_OK;
    }
    if (step->recorded)
        return pgqrs__step_exhausted(step, &error);
    if (step->tried && step->last != PGQRS_OK)
        return step->last;
    pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_STEP, "step \"%s\" was left without an end",
                step->name);
    pgqrs__hint(&error, "End it with pgqrs_step_succeed(), pgqrs_step_fail() or pgqrs_step_retry() "
                        "before leaving its block.");
    return pgqrs__run_failed(step->run, &error);
}

/* --- Sleeping --------------------------------------------------------------------------------- */

/* A sleep is a step that waits for its time: recorded when it is first reached, so that it is
 * counted from there however often the run comes back. */
pgqrs_status pgqrs_run_sleep(pgqrs_run *run, const char *name, int64_t duration_us)
{
    pgqrs__recorded r = { .status = PGQRS_STEP_RETRY };
    pgqrs_step     *step;
    pgqrs_error     error;
    int64_t         index;
    bool            seen;
    pgqrs_status    rc;

    if (run == NULL)
        return PGQRS_EINVAL;
    rc = pgqrs__check_duration(duration_us, "duration_us", &error);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    rc = pgqrs_step_begin(run, name, NULL, &step);
    if (rc == PGQRS_ENOTREADY)
        return pgqrs__run_sleep_until(run, run->wake_us);
    if (rc != PGQRS_OK || step->recorded)
        return rc;
    pgqrs__mutex_lock(&run->lock);
    seen = pgqrs__smap_get(&run->recorded_at, step->name, &index);
    pgqrs__mutex_unlock(&run->lock);
    if (seen) /* it began when it was first reached, which is recorded */
        step->started_us = 0;
    if (seen || duration_us == 0)
        return pgqrs_step_succeed(step, NULL);
    r.retry_at_us = pgqrs__step_clock(step) + duration_us;
    rc            = record(step, &r);
    if (rc != PGQRS_OK)
        return rc;
    return r.status == PGQRS_STEP_RETRY ? pgqrs__run_sleep_until(run, r.retry_at_us) : PGQRS_OK;
}
