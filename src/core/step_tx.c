/* Transactional steps: the user's SQL, messages and the step's record in one commit [G-51]; and
 * plain steps that put messages in with their record [G-52]. */
#include <pgqrs/postgres.h>
#include <pgqrs/sqlite.h>
#include <pgqrs/turso.h>

#include "core/step.h"
#include "util/clock.h"

#define LOOK_FIRST_US (20 * PGQRS_MILLISECOND) /* after a commit whose answer was lost */
#define LOOK_MAX_US   (500 * PGQRS_MILLISECOND)

/* --- The run's open steps --------------------------------------------------------------------- */

static void open_add(pgqrs_step *step)
{
    pgqrs_run *run = step->run;

    pgqrs__mutex_lock(&run->lock);
    step->next_open = run->open_steps;
    run->open_steps = step;
    pgqrs__mutex_unlock(&run->lock);
}

static void open_remove(pgqrs_step *step)
{
    pgqrs_run *run = step->run;

    pgqrs__mutex_lock(&run->lock);
    for (pgqrs_step **at = &run->open_steps; *at != NULL; at = &(*at)->next_open) {
        if (*at == step) {
            *at = step->next_open;
            break;
        }
    }
    pgqrs__mutex_unlock(&run->lock);
}

bool pgqrs__step_abandon(pgqrs_step *step)
{
    const bool open = step->tx.conn != NULL;

    if (open) {
        open_remove(step);
        pgqrs__tx_abort(&step->tx);
    }
    step->sendings      = NULL;
    step->last_sending  = NULL;
    step->sending_count = 0;
    step->sending_bytes = 0;
    return open;
}

const char *pgqrs__run_abandon_steps(pgqrs_run *run)
{
    const char *name = NULL;

    for (;;) {
        pgqrs_step *step;

        pgqrs__mutex_lock(&run->lock);
        step = run->open_steps;
        pgqrs__mutex_unlock(&run->lock);
        if (step == NULL)
            return name;
        name = step->name;
        (void)pgqrs__step_abandon(step);
    }
}

/* --- Beginning -------------------------------------------------------------------------------- */

typedef struct fence_answer {
    bool held;
    bool cancelled;
} fence_answer;

static pgqrs_status fence_row(pgqrs__call *call, const pgqrs__val *cols)
{
    fence_answer *answer = call->user;

    answer->held      = true;
    answer->cancelled = pgqrs__as_int(cols[PGQRS__COL_LEASE_SHARE_CANCELLED]) != 0;
    return PGQRS_OK;
}

/* Open the step's transaction; its first statement is the fence. */
static pgqrs_status open_fenced(pgqrs_step *step, fence_answer *answer, pgqrs_error *error)
{
    const pgqrs_message *m  = &step->run->message;
    const pgqrs__val  row[] = { pgqrs__int(m->queue_id), pgqrs__int(m->id), pgqrs__int(m->lease) };
    const pgqrs__part part  = { .rows = row, .nrows = 1 };
    pgqrs__call       call  = { .stmt   = PGQRS__STMT_LEASE_SHARE,
                                .parts  = &part,
                                .nparts = 1,
                                .on_row = fence_row,
                                .user   = answer };
    pgqrs_status      rc;

    *answer = (fence_answer){ 0 };
    rc      = pgqrs__tx_open(step->run->store, m->id, &step->tx, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs__tx_run(&step->tx, &call, 1, error);
    if (rc != PGQRS_OK)
        pgqrs__tx_abort(&step->tx);
    return rc;
}

static pgqrs_status begin_tx(pgqrs_step *step, pgqrs_error *error)
{
    pgqrs_run    *run     = step->run;
    const int64_t sent_us = pgqrs__lease_clock(run->store);
    fence_answer  answer;
    pgqrs_status  rc;

    /* Idle connections may have been lost since, all of them at once. */
    for (int tries = 0;; tries++) {
        rc = open_fenced(step, &answer, error);
        if (rc != PGQRS_ECONN || (error->flags & PGQRS_RETRYABLE) == 0
            || tries >= run->store->options.max_transactions)
            break;
    }
    if (rc != PGQRS_OK)
        return rc;
    step->transactional = true;
    open_add(step);
    pgqrs__mutex_lock(&run->lock);
    if (answer.held)
        run->heard_us = PGQRS__MAX(run->heard_us, sent_us);
    run->cancelled = run->cancelled || answer.cancelled;
    pgqrs__mutex_unlock(&run->lock);
    if (answer.held && !answer.cancelled)
        return PGQRS_OK;
    (void)pgqrs__step_abandon(step);
    if (!answer.held)
        return pgqrs__lease_lost(run->message.id, error);
    return pgqrs__fail(error, PGQRS_ECANCELLED, PGQRS_OBJECT_RUN, "run %lld is cancelled",
                       (long long)run->message.id);
}

pgqrs_status pgqrs_step_begin_tx(pgqrs_run *run, const char *name,
                                 const pgqrs_step_options *options, pgqrs_step **out_step)
{
    pgqrs_step  *step;
    pgqrs_error  error;
    pgqrs_status rc;

    if (out_step != NULL)
        *out_step = NULL;
    if (run == NULL)
        return PGQRS_EINVAL;
    if ((rc = pgqrs__enter(run->store, &error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_step, "out_step", &error)) != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    if (run->store->adopted) {
        pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_STEP,
                    "the store is in a transaction of yours already");
        pgqrs__hint(&error, "Use pgqrs_step_begin(): it is recorded in your transaction.");
        return pgqrs__run_failed(run, &error);
    }
    rc = pgqrs__step_begin(run, name, options, &step);
    if (rc == PGQRS_OK && !pgqrs_step_recorded(step)) {
        rc = begin_tx(step, &error);
        if (rc != PGQRS_OK)
            return pgqrs__run_failed(run, &error);
        pgqrs__step_start(step); /* it may have waited */
    }
    *out_step = step;
    return rc;
}

static void *native(pgqrs_step *step, const char *scheme)
{
    const pgqrs__backend *backend;

    if (step == NULL || !step->transactional || step->tx.conn == NULL
        || pgqrs__enter(step->run->store, NULL) != PGQRS_OK)
        return NULL;
    backend = step->run->store->backend;
    return backend == pgqrs__backend_for(scheme, NULL) ? backend->lend(step->tx.conn) : NULL;
}

struct pg_conn *pgqrs_step_pgconn(pgqrs_step *step)
{
    return native(step, "postgresql://");
}

struct sqlite3 *pgqrs_step_sqlite3(pgqrs_step *step)
{
    return native(step, "sqlite:");
}

struct turso_connection *pgqrs_step_turso(pgqrs_step *step)
{
    return native(step, "turso:");
}

/* --- Sending ---------------------------------------------------------------------------------- */

static pgqrs_status take_ref(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__queue_ref *ref = call->user;

    ref->id       = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_ID]);
    ref->workflow = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_WORKFLOW]) != 0;
    return PGQRS_OK;
}

/* The queue's id, from the cache or asked for in the transaction. */
static pgqrs_status find_queue(pgqrs_step *step, const pgqrs__request *r, pgqrs__queue_ref *out,
                               pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_QUEUE_FIND_NAME] = pgqrs__text(r->queue) };
    pgqrs__call      call   = {
               .stmt = PGQRS__STMT_QUEUE_FIND, .scalars = args, .on_row = take_ref, .user = out
    };
    pgqrs_status rc;

    if (!pgqrs__queue_ref_known(step->run->store, r->queue, out)) {
        *out = (pgqrs__queue_ref){ 0 };
        rc   = pgqrs__tx_run(&step->tx, &call, 1, error);
        if (rc != PGQRS_OK)
            return rc;
        if (out->id == 0)
            return pgqrs__queue_missing(r->queue, r->object, error);
        pgqrs__queue_ref_put(step->run->store, r->queue, *out);
    }
    return pgqrs__request_fits(r, *out, error);
}

/* Put one message in, now, in the open transaction. */
static pgqrs_status send_one(pgqrs_step *step, pgqrs__sending *s, int64_t *out_id,
                             pgqrs_error *error)
{
    pgqrs_store     *store = step->run->store;
    pgqrs__queue_ref ref;
    pgqrs_status     rc;

    for (int tries = 0; tries < 2; tries++) {
        pgqrs__op *op;

        rc = find_queue(step, &s->request, &ref, error);
        if (rc != PGQRS_OK)
            return rc;
        op = pgqrs__request_op(store, &s->request, ref.id);
        if (op == NULL)
            return pgqrs__nomem(error);
        rc = pgqrs__tx_perform(&step->tx, &op, 1, error);
        if (rc == PGQRS_OK && (op->answers[0] & PGQRS__ANSWER_YES) != 0) {
            s->queue_id = ref.id;
            if (out_id != NULL)
                *out_id = op->ids[0];
            pgqrs__op_free(op);
            return PGQRS_OK;
        }
        pgqrs__op_free(op);
        if (rc != PGQRS_OK)
            return rc;
        pgqrs__queue_ref_forget(store, s->request.queue); /* another may have its name by now */
    }
    return pgqrs__queue_missing(s->request.queue, s->request.object, error);
}

/* Send those without keys in as few statements as can be; the others must not share one. */
static pgqrs_status send_folded(pgqrs_step *step, pgqrs__op **ops, size_t *count,
                                pgqrs_error *error)
{
    size_t       n = 0;
    pgqrs_status rc;

    for (pgqrs__sending *s = step->sendings; s != NULL; s = s->next) {
        pgqrs__queue_ref ref;

        rc = find_queue(step, &s->request, &ref, error);
        if (rc != PGQRS_OK)
            return rc;
        if (s->request.options.key != NULL)
            continue;
        ops[n] = pgqrs__request_op(step->run->store, &s->request, ref.id);
        if (ops[n] == NULL)
            return pgqrs__nomem(error);
        s->queue_id = ref.id;
        *count      = ++n;
    }
    return pgqrs__tx_perform(&step->tx, ops, n, error);
}

/* Put in what a plain step has gathered. */
static pgqrs_status send_all(pgqrs_step *step, pgqrs_error *error)
{
    pgqrs__op  **ops   = pgqrs__calloc(step->sending_count, sizeof(*ops));
    size_t       count = 0;
    size_t       n     = 0;
    pgqrs_status rc;

    if (ops == NULL)
        return pgqrs__nomem(error);
    rc = send_folded(step, ops, &count, error);
    for (pgqrs__sending *s = step->sendings; s != NULL && rc == PGQRS_OK; s = s->next) {
        if (s->request.options.key == NULL && (ops[n++]->answers[0] & PGQRS__ANSWER_YES) != 0)
            continue;
        if (s->request.options.key == NULL)
            pgqrs__queue_ref_forget(step->run->store, s->request.queue);
        rc = send_one(step, s, NULL, error);
    }
    for (size_t i = 0; i < count; i++)
        pgqrs__op_free(ops[i]);
    pgqrs__free(ops);
    return rc;
}

/* False when out of memory. */
static bool copy(pgqrs__arena *arena, const char **text)
{
    if (*text != NULL)
        *text = pgqrs__arena_copy(arena, *text, strlen(*text));
    return *text != NULL;
}

/* A request of the run's own. NULL when out of memory. */
static pgqrs__sending *sending_new(pgqrs_run *run, const pgqrs__request *r)
{
    pgqrs__sending        *s;
    pgqrs_enqueue_options *o;
    bool                   ok;

    pgqrs__mutex_lock(&run->lock);
    s = pgqrs__arena_calloc(&run->arena, 1, sizeof(*s));
    if (s != NULL) {
        s->request          = *r;
        s->payload          = r->payloads[0];
        s->request.payloads = &s->payload;
        o                   = &s->request.options;
        ok                  = copy(&run->arena, &s->request.queue) && copy(&run->arena, &s->payload)
             && (o->key == NULL || copy(&run->arena, &o->key))
             && (o->headers == NULL || copy(&run->arena, &o->headers));
        if (!ok)
            s = NULL;
    }
    pgqrs__mutex_unlock(&run->lock);
    return s;
}

static pgqrs_status check_sending(pgqrs_step *step, const pgqrs__request *r, const int64_t *out_id,
                                  pgqrs_error *error)
{
    pgqrs_store     *store = step->run->store;
    pgqrs__queue_ref ref;
    pgqrs_status     rc;

    if (step->recorded || (step->tried && step->last == PGQRS_ENOTREADY)
        || (step->transactional && step->tx.conn == NULL))
        return pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STEP, "step \"%s\" has ended",
                           step->name);
    if (store->adopted) {
        pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STEP,
                    "the store is in a transaction of yours already");
        pgqrs__hint(error, "Use pgqrs_enqueue() or pgqrs_trigger() on the store.");
        return PGQRS_ESTATE;
    }
    if (r->options.out_existed != NULL)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                           "out_existed is not told by a step");
    if (step->sending_count >= PGQRS__ENQUEUE_MAX)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STEP,
                           "a step sends no more than %d messages", PGQRS__ENQUEUE_MAX);
    if (step->sending_bytes + strlen(r->payloads[0]) > (size_t)PGQRS__PAYLOAD_MAX)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STEP,
                           "the messages of a step are larger than 64 MiB together");
    if (step->transactional)
        return PGQRS_OK;
    if (out_id != NULL) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STEP,
                    "the id is not known before step \"%s\" is recorded", step->name);
        pgqrs__hint(error, "Begin it with pgqrs_step_begin_tx() when you need the id.");
        return PGQRS_EINVAL;
    }
    if ((rc = pgqrs__queue_ref_get(store, r->queue, r->object, &ref, error)) != PGQRS_OK)
        return rc;
    return pgqrs__request_fits(r, ref, error);
}

static pgqrs_status send(pgqrs_step *step, const char *queue, pgqrs_object object,
                         const char *payload, const pgqrs_enqueue_options *options, int64_t *out_id)
{
    pgqrs__request  r;
    pgqrs__sending *s;
    pgqrs_error     error;
    pgqrs_status    rc;

    if (out_id != NULL)
        *out_id = 0;
    if (step == NULL)
        return PGQRS_EINVAL;
    if ((rc = pgqrs__enter(step->run->store, &error)) != PGQRS_OK
        || (rc =
                pgqrs__request_read(step->run->store, queue, object, &payload, options, &r, &error))
               != PGQRS_OK
        || (rc = check_sending(step, &r, out_id, &error)) != PGQRS_OK)
        return pgqrs__run_failed(step->run, &error);
    s = sending_new(step->run, &r);
    if (s == NULL)
        rc = pgqrs__nomem(&error);
    else if (step->transactional)
        rc = send_one(step, s, out_id, &error);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(step->run, &error);
    if (step->last_sending == NULL)
        step->sendings = s;
    else
        step->last_sending->next = s;
    step->last_sending = s;
    step->sending_count++;
    step->sending_bytes += strlen(payload);
    return PGQRS_OK;
}

pgqrs_status pgqrs_step_enqueue(pgqrs_step *step, const char *queue, const char *payload,
                                const pgqrs_enqueue_options *options, int64_t *out_id)
{
    return send(step, queue, PGQRS_OBJECT_QUEUE, payload, options, out_id);
}

pgqrs_status pgqrs_step_trigger(pgqrs_step *step, const char *workflow, const char *input,
                                const pgqrs_enqueue_options *options, int64_t *out_run_id)
{
    return send(step, workflow, PGQRS_OBJECT_WORKFLOW, input, options, out_run_id);
}

/* --- Committing ------------------------------------------------------------------------------- */

bool pgqrs__step_has_tx(const pgqrs_step *step)
{
    return step->transactional || step->sending_count > 0;
}

static pgqrs_status found_row(pgqrs__call *call, const pgqrs__val *cols)
{
    const pgqrs_step_status status =
        (pgqrs_step_status)pgqrs__as_int(cols[PGQRS__COL_STEP_FIND_STATUS]);

    *(bool *)call->user = status != PGQRS_STEP_RETRY;
    return PGQRS_OK;
}

/* The commit's answer was lost: look whether the step is recorded, behind a lock that waits until a
 * transaction of ours that still lives has ended. */
static pgqrs_status look(pgqrs_step *step, pgqrs__op *op, pgqrs_error *error)
{
    pgqrs_store         *store       = step->run->store;
    const pgqrs_message *m           = &step->run->message;
    const int64_t        deadline_us = pgqrs__deadline(store);
    const pgqrs__val  row[]  = { pgqrs__int(m->queue_id), pgqrs__int(m->id), pgqrs__int(m->lease) };
    const pgqrs__val  args[] = { pgqrs__int(m->id), pgqrs__text(step->name) };
    const pgqrs__part part   = { .rows = row, .nrows = 1 };
    int64_t           delay  = LOOK_FIRST_US;
    bool              found;
    pgqrs_status      rc;

    for (;;) {
        pgqrs__call calls[] = {
            { .stmt = PGQRS__STMT_LEASE_AWAIT, .parts = &part, .nparts = 1 },
            { .stmt = PGQRS__STMT_STEP_FIND, .scalars = args, .on_row = found_row, .user = &found },
        };

        found = false;
        rc    = pgqrs__run(store, PGQRS__MODE_WRITE, calls, PGQRS__ARRAY_LEN(calls), error);
        if (rc != PGQRS_ECONN || pgqrs__mono_us() + delay >= deadline_us)
            break;
        pgqrs__sleep_us(delay);
        delay = PGQRS__MIN(delay * 2, LOOK_MAX_US);
    }
    if (rc != PGQRS_OK) {
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
        return rc;
    }
    if (!found) {
        pgqrs__fail(error, PGQRS_ECONN, PGQRS_OBJECT_STEP,
                    "step \"%s\" was not committed: the connection was lost", step->name);
        return PGQRS_ECONN;
    }
    op->answers[0] &= ~PGQRS__ANSWER_RECORDED; /* ours or another's: what stands is read */
    return PGQRS_OK;
}

static void wake(pgqrs_step *step)
{
    int64_t last = 0;

    for (const pgqrs__sending *s = step->sendings; s != NULL; s = s->next) {
        if (s->queue_id == last || s->request.options.delay_us != 0)
            continue;
        last = s->queue_id;
        pgqrs__wake(step->run->store, last);
    }
}

/* The record, what is sent with it, and the commit. The transaction is open. */
static pgqrs_status commit(pgqrs_step *step, pgqrs__op *op, pgqrs_error *error)
{
    const uint32_t stands = PGQRS__ANSWER_YES | PGQRS__ANSWER_RECORDED;
    pgqrs_status   rc     = pgqrs__tx_perform(&step->tx, &op, 1, error);

    if (rc != PGQRS_OK || (op->answers[0] & stands) != stands)
        return rc;
    if (!step->transactional) {
        rc = send_all(step, error);
        if (rc != PGQRS_OK)
            return rc;
    }
    open_remove(step);
    rc = pgqrs__tx_commit(&step->tx, error);
    if (rc != PGQRS_OK && (error->flags & PGQRS_MAYBE_APPLIED) != 0)
        rc = look(step, op, error);
    if (rc == PGQRS_OK)
        wake(step);
    return rc;
}

pgqrs_status pgqrs__step_commit(pgqrs_step *step, pgqrs__op *op, pgqrs_error *error)
{
    pgqrs_status rc;

    if (step->transactional) {
        rc = commit(step, op, error);
        (void)pgqrs__step_abandon(step);
        return rc;
    }
    /* Nothing of the user's is in it: what was rolled back for a passing reason is done once more.
     */
    for (int tries = 0;; tries++) {
        rc = pgqrs__tx_open(step->run->store, step->run->message.id, &step->tx, error);
        if (rc != PGQRS_OK)
            return rc;
        rc = commit(step, op, error);
        pgqrs__tx_abort(&step->tx);
        if (rc == PGQRS_OK || rc == PGQRS_ETIMEDOUT || tries > 0
            || (error->flags & (PGQRS_RETRYABLE | PGQRS_MAYBE_APPLIED)) != PGQRS_RETRYABLE)
            break;
    }
    if (rc == PGQRS_OK)
        (void)pgqrs__step_abandon(step);
    return rc;
}
