/* Steps: named units inside a run, whose result is recorded once and replayed [G-09]. */
#include "core/step.h"
#include "pgqrs/workflow.h"
#include "util/buf.h"
#include "util/json.h"
#include "util/random.h"

#include <stdio.h>

#define RETRIES_DEFAULT 3
#define RETRIES_MAX     1000
#define BACKOFF_US      PGQRS_SECOND
#define BACKOFF_MAX_US  (60 * PGQRS_SECOND)
#define JITTER          0.25

/* --- Reading a handle ------------------------------------------------------------------------- */

bool pgqrs_step_recorded(const pgqrs_step *step)
{
    return step != NULL && step->recorded;
}

const char *pgqrs_step_output(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->output;
}

const char *pgqrs_step_error(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->error_json;
}

const char *pgqrs_step_name(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->name;
}

const char *pgqrs_step_key(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->key;
}

int pgqrs_step_retries(const pgqrs_step *step)
{
    return step == NULL ? 0 : step->retries;
}

pgqrs_run *pgqrs_step_run(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->run;
}

/* --- Beginning -------------------------------------------------------------------------------- */

static pgqrs_status options_read(const pgqrs_step_options *given, pgqrs_step_options *options,
                                 pgqrs_error *error)
{
    pgqrs_status rc;

    if ((rc = PGQRS__OPTIONS_READ(options, given, "step", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_retries, -1, RETRIES_MAX, "max_retries", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range((int64_t)options->backoff, PGQRS_BACKOFF_JITTER,
                                    PGQRS_BACKOFF_FIXED, "backoff", error))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options->backoff_us, "backoff_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options->backoff_max_us, "backoff_max_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options->timeout_us, "timeout_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_time(options->now_us, "now_us", error)) != PGQRS_OK)
        return rc;
    if (options->max_retries == 0)
        options->max_retries = RETRIES_DEFAULT;
    else if (options->max_retries == -1)
        options->max_retries = 0;
    if (options->backoff_us == 0)
        options->backoff_us = BACKOFF_US;
    if (options->backoff_max_us == 0)
        options->backoff_max_us = PGQRS__MAX(BACKOFF_MAX_US, options->backoff_us);
    return PGQRS_OK;
}

/* The name it is recorded under: the second use of a name in one execution is "name#2". Under the
 * lock.
 * NULL: no memory, or *error says that it is too long. */
static const char *numbered_name(pgqrs_run *run, const char *name, bool by_key, pgqrs_error *error)
{
    char    text[PGQRS__NAME_MAX + 32];
    int64_t uses = 0;

    if (!by_key) {
        pgqrs__smap_get(&run->uses, name, &uses);
        if (!pgqrs__smap_put(&run->uses, name, ++uses))
            goto no_memory;
    }
    if (uses < 2)
        snprintf(text, sizeof(text), "%s", name);
    else
        snprintf(text, sizeof(text), "%s#%lld", name, (long long)uses);
    if (strlen(text) > PGQRS__NAME_MAX) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STEP,
                    "step name is longer than %d bytes with its number", PGQRS__NAME_MAX);
        return NULL;
    }
    name = pgqrs__arena_copy(&run->arena, text, strlen(text));
    if (name != NULL)
        return name;
no_memory:
    pgqrs__nomem(error);
    return NULL;
}

/* A handle for a step of this run. Under the lock. NULL: *error says why. */
static pgqrs_step *step_new(pgqrs_run *run, const char *name, const pgqrs_step_options *options,
                            pgqrs_error *error)
{
    pgqrs_step *step = pgqrs__arena_calloc(&run->arena, 1, sizeof(*step));
    char        key[PGQRS__NAME_MAX + 32];

    if (step == NULL) {
        pgqrs__nomem(error);
        return NULL;
    }
    step->name = numbered_name(run, name, options->by_key, error);
    if (step->name == NULL)
        return NULL;
    snprintf(key, sizeof(key), "%lld/%s", (long long)run->message.id, step->name);
    step->key = pgqrs__arena_copy(&run->arena, key, strlen(key));
    if (step->key == NULL) {
        pgqrs__nomem(error);
        return NULL;
    }
    step->run     = run;
    step->options = *options;
    return step;
}

static int64_t step_clock(const pgqrs_step *step)
{
    return step->options.now_us != 0 ? step->options.now_us : pgqrs__run_wall_us(step->run);
}

void pgqrs__step_start(pgqrs_step *step)
{
    step->started_us       = step_clock(step);
    step->started_lease_us = pgqrs__lease_clock(step->run->store);
}

/* What is recorded under this name, copied; false when nothing is. */
static bool recorded_find(pgqrs_run *run, const char *name, pgqrs__recorded *out)
{
    int64_t index;
    bool    found;

    pgqrs__mutex_lock(&run->lock);
    found = pgqrs__smap_get(&run->recorded_at, name, &index);
    if (found)
        *out = run->recorded[index];
    pgqrs__mutex_unlock(&run->lock);
    return found;
}

/* The step waits for its retry time. */
static pgqrs_status not_ready(pgqrs_step *step, int64_t retry_at_us)
{
    pgqrs_run  *run = step->run;
    pgqrs_error error;

    pgqrs__mutex_lock(&run->lock);
    if (run->wake_us == 0 || retry_at_us < run->wake_us)
        run->wake_us = retry_at_us;
    pgqrs__mutex_unlock(&run->lock);
    pgqrs__fail(&error, PGQRS_ENOTREADY, PGQRS_OBJECT_STEP, "step \"%s\" waits for its retry",
                step->name);
    return pgqrs__run_failed(run, &error);
}

static pgqrs_status exhausted(pgqrs_step *step)
{
    pgqrs_error error;

    pgqrs__fail(&error, PGQRS_EEXHAUSTED, PGQRS_OBJECT_STEP, "step \"%s\" has failed for good",
                step->name);
    if (step->error_json != NULL)
        pgqrs__detail(&error, "%s", step->error_json);
    return pgqrs__run_failed(step->run, &error);
}

pgqrs_status pgqrs__step_begin(pgqrs_run *run, const char *name, const pgqrs_step_options *given,
                               pgqrs_step **out_step)
{
    pgqrs_step_options options;
    pgqrs__recorded    found;
    pgqrs_step        *step;
    pgqrs_error        error;
    pgqrs_status       rc;

    if (out_step != NULL)
        *out_step = NULL;
    if (run == NULL)
        return PGQRS_EINVAL;
    if ((rc = pgqrs__enter(run->store, &error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_step, "out_step", &error)) != PGQRS_OK
        || (rc = pgqrs__check_name(name, "step", PGQRS_OBJECT_STEP, &error)) != PGQRS_OK
        || (rc = options_read(given, &options, &error)) != PGQRS_OK
        || (rc = pgqrs__tx_guard(run->store, &error)) != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    pgqrs__mutex_lock(&run->lock);
    step = step_new(run, name, &options, &error);
    pgqrs__mutex_unlock(&run->lock);
    if (step == NULL)
        return pgqrs__run_failed(run, &error);

    if (recorded_find(run, step->name, &found)) {
        step->retries    = found.retries;
        step->output     = found.output;
        step->error_json = found.error;
        step->recorded   = found.status != PGQRS_STEP_RETRY;
        if (found.status == PGQRS_STEP_SUCCESS) {
            *out_step = step;
            return PGQRS_OK;
        }
        if (found.status == PGQRS_STEP_ERROR) {
            *out_step = step;
            return exhausted(step);
        }
    }
    rc = pgqrs__run_may_go_on(run);
    if (rc != PGQRS_OK)
        return rc;
    /* A run that was claimed just now by its id may have brought news of the step. */
    if (recorded_find(run, step->name, &found) && found.status == PGQRS_STEP_RETRY
        && step_clock(step) < found.retry_at_us)
        return not_ready(step, found.retry_at_us);
    pgqrs__step_start(step);
    *out_step = step;
    return PGQRS_OK;
}

pgqrs_status pgqrs_step_begin(pgqrs_run *run, const char *name, const pgqrs_step_options *options,
                              pgqrs_step **out_step)
{
    return pgqrs__step_begin(run, name, options, out_step);
}

/* --- Recording -------------------------------------------------------------------------------- */

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
    row[PGQRS__ARG_STEP_RECORD_STARTED_AT]     = pgqrs__int(step->started_us);
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

/* Record `r` under the fence; what stands afterwards is in the run, and in *r. */
static pgqrs_status record(pgqrs_step *step, pgqrs__recorded *r)
{
    pgqrs_run   *run     = step->run;
    int64_t      sent_us = pgqrs__lease_clock(run->store);
    pgqrs__op   *op      = record_op(step, r);
    bool         remembered;
    bool         lost;
    uint32_t     answer;
    pgqrs_error  error;
    pgqrs_status rc;

    if (op == NULL) {
        pgqrs__nomem(&error);
        return pgqrs__run_failed(run, &error);
    }
    if (r->status == PGQRS_STEP_SUCCESS && pgqrs__step_has_tx(step))
        rc = pgqrs__step_commit(step, op, &error);
    else
        rc = pgqrs__perform(run->store, &op, &error);
    answer = rc == PGQRS_OK ? op->answers[0] : 0;
    lost   = rc == PGQRS_OK && op->lost;
    pgqrs__op_free(op);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    if ((answer & PGQRS__ANSWER_YES) == 0) {
        pgqrs__lease_lost(run->message.id, &error);
        if (lost) /* it may have been recorded the first time: the next holder has it then */
            pgqrs__flag(&error, PGQRS_MAYBE_APPLIED);
        return pgqrs__run_failed(run, &error);
    }
    r->name = step->name;
    pgqrs__mutex_lock(&run->lock);
    run->heard_us  = PGQRS__MAX(run->heard_us, sent_us);
    run->cancelled = run->cancelled || (answer & PGQRS__ANSWER_CANCELLED) != 0;
    remembered     = (answer & PGQRS__ANSWER_RECORDED) == 0 || pgqrs__run_remember(run, r);
    pgqrs__mutex_unlock(&run->lock);
    if ((answer & PGQRS__ANSWER_RECORDED) == 0) {
        const pgqrs__val args[] = { pgqrs__int(run->message.id), pgqrs__text(step->name) };

        rc = pgqrs__run_one(run->store, PGQRS__MODE_READ, PGQRS__STMT_STEP_FIND, args, standing_row,
                            step, &error);
        if (rc != PGQRS_OK)
            return pgqrs__run_failed(run, &error);
    } else if (!remembered) { /* it is recorded; only this handle does not know */
        pgqrs__nomem(&error);
        return pgqrs__run_failed(run, &error);
    }
    if (!recorded_find(run, step->name, r)) {
        pgqrs__fail(&error, PGQRS_EINTERNAL, PGQRS_OBJECT_STEP,
                    "the record of step \"%s\" is not there", step->name);
        return pgqrs__run_failed(run, &error);
    }
    step->output     = r->output;
    step->error_json = r->error;
    step->retries    = r->retries;
    step->recorded   = r->status != PGQRS_STEP_RETRY;
    return PGQRS_OK;
}

/* What the caller of an end is told about what stands. */
static pgqrs_status outcome(pgqrs_step *step, const pgqrs__recorded *r)
{
    switch (r->status) {
    case PGQRS_STEP_SUCCESS:
        return PGQRS_OK;
    case PGQRS_STEP_ERROR:
        return exhausted(step);
    case PGQRS_STEP_RETRY:
        break;
    }
    return not_ready(step, r->retry_at_us);
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
static pgqrs_status enter(pgqrs_step *step)
{
    pgqrs_error  error;
    pgqrs_status rc;

    if (step == NULL)
        return PGQRS_EINVAL;
    rc = pgqrs__enter(step->run->store, &error);
    if (rc == PGQRS_OK && (step->recorded || (step->tried && step->last == PGQRS_ENOTREADY)))
        rc = pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_STEP, "step \"%s\" has ended",
                         step->name);
    if (rc == PGQRS_OK && pgqrs__run_given_up(step->run))
        rc = pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_RUN, "run %lld has been given up",
                         (long long)step->run->message.id);
    return rc == PGQRS_OK ? rc : pgqrs__run_failed(step->run, &error);
}

static pgqrs_status tried(pgqrs_step *step, pgqrs_status rc)
{
    step->tried = true;
    step->last  = rc;
    return rc;
}

/* Record a failure, transient or for good. */
static pgqrs_status failed(pgqrs_step *step, const char *code, const char *text, bool transient,
                           int64_t after_us)
{
    bool            again = transient && step->retries < step->options.max_retries;
    pgqrs__recorded r     = {
            .status  = again ? PGQRS_STEP_RETRY : PGQRS_STEP_ERROR,
            .retries = step->retries + (again ? 1 : 0),
            .error   = error_json(step, code, text, transient),
    };
    pgqrs_error  error;
    pgqrs_status rc;

    if (step->transactional)
        (void)pgqrs__step_abandon(step); /* what it did is undone; that it failed is recorded */
    if (r.error == NULL) {
        pgqrs__nomem(&error);
        return pgqrs__run_failed(step->run, &error);
    }
    if (again)
        r.retry_at_us = step_clock(step) + (after_us != 0 ? after_us : backoff_us(step));
    rc = record(step, &r);
    return rc == PGQRS_OK ? outcome(step, &r) : rc;
}

pgqrs_status pgqrs_step_succeed(pgqrs_step *step, const char *output)
{
    pgqrs__recorded r = { .status = PGQRS_STEP_SUCCESS, .output = output };
    pgqrs_error     error;
    pgqrs_status    rc = enter(step);

    if (rc != PGQRS_OK)
        return rc;
    if (step->transactional && step->tx.conn == NULL) {
        pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_STEP,
                    "the transaction of step \"%s\" has been rolled back", step->name);
        pgqrs__hint(&error, "Return from the workflow function: the step is executed again.");
        return tried(step, pgqrs__run_failed(step->run, &error));
    }
    if (output != NULL) {
        rc = pgqrs__check_json(step->run->store, output, "output", NULL, &error);
        if (rc != PGQRS_OK)
            return tried(step, pgqrs__run_failed(step->run, &error));
    }
    if (step->options.timeout_us != 0
        && pgqrs__lease_clock(step->run->store) - step->started_lease_us > step->options.timeout_us)
        return tried(step,
                     failed(step, "TIMEOUT", "the result came after the step's timeout", true, 0));
    r.retries = step->retries;
    rc        = record(step, &r);
    return tried(step, rc == PGQRS_OK ? outcome(step, &r) : rc);
}

pgqrs_status pgqrs_step_fail(pgqrs_step *step, const char *code, const char *text)
{
    pgqrs_status rc = enter(step);

    return rc == PGQRS_OK ? tried(step, failed(step, code, text, false, 0)) : rc;
}

pgqrs_status pgqrs_step_retry(pgqrs_step *step, const char *code, const char *text,
                              int64_t after_us)
{
    pgqrs_error  error;
    pgqrs_status rc = enter(step);

    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs__check_duration(after_us, "after_us", &error);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(step->run, &error);
    return tried(step, failed(step, code, text, true, after_us));
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
        return exhausted(step);
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
    if (seen || duration_us == 0)
        return pgqrs_step_succeed(step, NULL);
    r.retry_at_us = step_clock(step) + duration_us;
    rc            = record(step, &r);
    if (rc != PGQRS_OK)
        return rc;
    return r.status == PGQRS_STEP_RETRY ? pgqrs__run_sleep_until(run, r.retry_at_us) : PGQRS_OK;
}
