/* Taking messages out: claims, claims that wait, and one message by its id. */
#include "core/admin.h"
#include "util/clock.h"
#include "util/random.h"

#define POLL_US PGQRS_SECOND
/* a row below hint is one that committed late; the floor walk finds it */
#define HINT_MARGIN     2000
#define FLOOR_EVERY_US  PGQRS_SECOND
#define FLOOR_SHARE     20                 /* floor walks take at most 1/20 of the time */
#define WAITER_US       (5 * PGQRS_SECOND) /* what waiter_set asks for */
#define WAITER_RENEW_US (2 * PGQRS_SECOND)
#define RECONNECT_US    (50 * PGQRS_MILLISECOND)

static pgqrs_status options_read(pgqrs_store *store, const pgqrs_claim_options *given,
                                 pgqrs_claim_options *options, pgqrs_error *error)
{
    pgqrs_status rc;

    rc = PGQRS__OPTIONS_READ(options, given, "claim", error);
    if (rc != PGQRS_OK)
        return rc;
    if (options->limit == 0)
        options->limit = 1;
    if ((rc = pgqrs__check_range(options->limit, 1, PGQRS__CLAIM_MAX, "limit", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options->wait_us, 0, PGQRS_FOREVER, "wait_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options->poll_us, "poll_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->owner, 0, INT64_MAX, "owner", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_bytes, 0, INT64_MAX, "max_bytes", error))
               != PGQRS_OK
        || (rc = pgqrs__check_time(options->now_us, "now_us", error)) != PGQRS_OK)
        return rc;
    if (options->lease_us == 0)
        options->lease_us = store->options.lease_us;
    return PGQRS_OK;
}

/* --- The claim as an operation ---------------------------------------------------------------- */

/* What one claim asks for and learns, beside its messages. Lives in the operation's arena. */
typedef struct claim_notes {
    pgqrs_messages  *messages;
    bool             run;
    int64_t          moved; /* became deliverable by this claim's own housekeeping */
    pgqrs__queue_ref named; /* what the queue's name stands for now; id 0: nothing */
} claim_notes;

static pgqrs_status claimed_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    claim_notes *notes = op->result;

    (void)call;
    (void)n;
    return pgqrs__messages_take(notes->messages, cols, notes->run);
}

static pgqrs_status moved_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    claim_notes *notes = op->result;

    (void)call;
    (void)n;
    notes->moved += pgqrs__as_int(cols[0]);
    return PGQRS_OK;
}

static pgqrs_status named_row(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols)
{
    claim_notes *notes = op->result;

    (void)call;
    (void)n;
    notes->named.id       = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_ID]);
    notes->named.workflow = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_WORKFLOW]) != 0;
    return PGQRS_OK;
}

static void claim_clear(pgqrs__op *op)
{
    claim_notes *notes = op->result;

    pgqrs__messages_clear(notes->messages);
    notes->moved = 0;
    notes->named = (pgqrs__queue_ref){ 0 };
}

static void claim_free(pgqrs__op *op)
{
    claim_notes *notes = op->result;

    if (notes != NULL)
        pgqrs_messages_free(notes->messages);
}

static bool add_housekeeping(pgqrs__op *op, const char *queue, int64_t queue_id, size_t *call)
{
    const pgqrs__val sweep[] = { pgqrs__int(queue_id), pgqrs__int(PGQRS__SWEEP_ROWS), op->now };
    char            *name    = pgqrs__arena_copy(&op->arena, queue, strlen(queue));

    if (name == NULL)
        return false;
    const pgqrs__val find[] = { pgqrs__text(name) };

    if (!pgqrs__op_scalars(op, 0, PGQRS__STMT_MESSAGE_REAP, sweep)
        || !pgqrs__op_scalars(op, 1, PGQRS__STMT_MESSAGE_PROMOTE, sweep)
        || !pgqrs__op_scalars(op, 2, PGQRS__STMT_QUEUE_FIND, find))
        return false;
    op->calls[0].on_row = moved_row;
    op->calls[1].on_row = moved_row;
    op->calls[2].on_row = named_row;
    *call               = 3;
    return true;
}

static int claim_stmt(bool workflow, bool bounded)
{
    if (workflow)
        return bounded ? PGQRS__STMT_RUN_CLAIM_BOUNDED : PGQRS__STMT_RUN_CLAIM;
    return bounded ? PGQRS__STMT_MESSAGE_CLAIM_BOUNDED : PGQRS__STMT_MESSAGE_CLAIM;
}

/* A claim; `hints` NULL: from the floor, after reaping and promoting what is due. */
static pgqrs__op *claim_op(pgqrs_store *store, const char *queue, pgqrs__queue_ref ref,
                           const pgqrs_claim_options *options, const int64_t *hints)
{
    const bool   bounded = options->max_bytes != 0;
    const int    stmt    = claim_stmt(ref.workflow, bounded);
    pgqrs__val   scalars[5 + PGQRS__PRIORITIES + 2];
    size_t       n    = 0;
    size_t       call = 0;
    claim_notes *notes;
    pgqrs__op   *op = pgqrs__op_new(PGQRS__OP_CLAIM);

    if (op == NULL)
        return NULL;
    op->now = pgqrs__now(store, options->now_us);
    notes   = pgqrs__arena_calloc(&op->arena, 1, sizeof(*notes));
    if (notes == NULL)
        goto no_memory;
    op->result      = notes;
    op->clear       = claim_clear;
    op->free_result = claim_free;
    notes->run      = ref.workflow;
    notes->messages = pgqrs__messages_new();
    if (notes->messages == NULL)
        goto no_memory;
    notes->messages->lease        = pgqrs__random_i63();
    notes->messages->sent_mono_us = pgqrs__lease_clock(store);
    if (hints == NULL && !add_housekeeping(op, queue, ref.id, &call))
        goto no_memory;
    scalars[n++] = pgqrs__int(ref.id);
    scalars[n++] = pgqrs__int(options->limit);
    scalars[n++] = pgqrs__int(notes->messages->lease);
    scalars[n++] = pgqrs__int_or_null(options->owner);
    scalars[n++] = pgqrs__int_or_null(options->lease_us);
    for (int p = 0; p < PGQRS__PRIORITIES; p++)
        scalars[n++] = pgqrs__int(hints == NULL ? 0 : hints[p]);
    if (bounded)
        scalars[n++] = pgqrs__int(options->max_bytes);
    scalars[n++] = op->now;
    if (!pgqrs__op_scalars(op, call, stmt, scalars))
        goto no_memory;
    op->calls[call].on_row = claimed_row;
    return op;
no_memory:
    pgqrs__op_free(op);
    return NULL;
}

/* --- Claims whose answer was lost ------------------------------------------------------------- */

static pgqrs_status again_row(pgqrs__call *call, const pgqrs__val *cols)
{
    return pgqrs__messages_take(call->user, cols, true);
}

/* Read back what a claim took under its lease, until the deadline. */
static pgqrs_status claim_again(pgqrs_store *store, int64_t queue_id, pgqrs_messages *messages,
                                int64_t deadline_us, pgqrs_error *error)
{
    const pgqrs__val args[] = { pgqrs__int(queue_id), pgqrs__int(messages->lease) };
    pgqrs_status     rc;

    do {
        pgqrs__sleep_us(RECONNECT_US);
        pgqrs__messages_clear(messages);
        rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_MESSAGE_CLAIM_AGAIN, args,
                            again_row, messages, error);
    } while (rc == PGQRS_ECONN && pgqrs__mono_us() + RECONNECT_US < deadline_us);
    if (rc != PGQRS_OK)
        pgqrs__flag(error, PGQRS_MAYBE_APPLIED);
    return rc;
}

/* --- One claim -------------------------------------------------------------------------------- */

typedef struct claimer {
    pgqrs_store               *store;
    const char                *queue;
    const pgqrs_claim_options *options;
    pgqrs__queue_ref           ref;
} claimer;

/* Whether the next claim does the housekeeping; else the hints to start from. */
static bool floor_is_due(const claimer *c, int64_t *hints)
{
    pgqrs_store        *store = c->store;
    pgqrs__queue_state *state;
    bool                due;

    if (c->options->now_us != 0 || store->own_clock)
        return true;
    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, c->ref.id);
    due   = state == NULL || state->came_short || pgqrs__mono_us() >= state->floor_due_us;
    if (!due) {
        memset(hints, 0, PGQRS__PRIORITIES * sizeof(*hints));
        if ((store->backend->caps & PGQRS__CAP_HINTS) != 0)
            memcpy(hints, state->hint, PGQRS__PRIORITIES * sizeof(*hints));
    }
    pgqrs__mutex_unlock(&store->lock);
    return due;
}

/* Remember where this claim ended. */
static void learn(const claimer *c, const pgqrs_messages *messages, bool from_floor,
                  int64_t took_us)
{
    pgqrs_store        *store = c->store;
    pgqrs__queue_state *state;

    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, c->ref.id);
    if (state != NULL) {
        state->came_short = messages->rows->count < (size_t)c->options->limit;
        for (int p = 0; p < PGQRS__PRIORITIES; p++)
            if (messages->seqs_seen[p] != 0)
                state->hint[p] = PGQRS__MAX(messages->seqs_seen[p] - HINT_MARGIN, 0);
        if (from_floor)
            state->floor_due_us =
                pgqrs__mono_us() + PGQRS__MAX(FLOOR_EVERY_US, FLOOR_SHARE * took_us);
    }
    pgqrs__mutex_unlock(&store->lock);
}

/* Claim once; *out_messages is never NULL on success. With `from_floor`, also find out that the
 * queue's name has moved on: then *out_moved_on. */
static pgqrs_status claim_with(claimer *c, const int64_t *hints, bool *out_moved_on,
                               pgqrs_messages **out_messages, pgqrs_error *error)
{
    int64_t      began    = pgqrs__mono_us();
    int64_t      deadline = pgqrs__deadline(c->store);
    claim_notes *notes;
    pgqrs__op   *op;
    pgqrs_status rc;

    *out_moved_on = false;
    for (;;) {
        op = claim_op(c->store, c->queue, c->ref, c->options, hints);
        if (op == NULL)
            return pgqrs__nomem(error);
        notes = op->result;
        rc    = pgqrs__perform(c->store, &op, error);
        if (rc == PGQRS_OK || op == NULL || (error->flags & PGQRS_MAYBE_APPLIED) == 0
            || rc == PGQRS_ETIMEDOUT)
            break;
        rc = claim_again(c->store, c->ref.id, notes->messages, deadline, error);
        if (rc != PGQRS_OK || notes->messages->rows->count > 0)
            break;
        pgqrs__op_free(op); /* it took nothing: claim anew */
    }
    if (rc == PGQRS_OK) {
        size_t count = notes->messages->rows->count;

        learn(c, notes->messages, hints == NULL, pgqrs__mono_us() - began);
        if (notes->moved > (int64_t)count)
            pgqrs__wake(c->store, c->ref.id);
        if (hints == NULL && count == 0 && notes->named.id != c->ref.id && !op->lost) {
            *out_moved_on = true;
            pgqrs__queue_ref_forget(c->store, c->queue);
        }
        *out_messages   = notes->messages;
        notes->messages = NULL;
    }
    pgqrs__op_free(op);
    return rc;
}

static pgqrs_status claim_once(claimer *c, pgqrs_messages **out_messages, pgqrs_error *error)
{
    int64_t      hints[PGQRS__PRIORITIES];
    bool         moved_on;
    pgqrs_status rc;

    if (!floor_is_due(c, hints)) {
        rc = claim_with(c, hints, &moved_on, out_messages, error);
        if (rc != PGQRS_OK || (*out_messages)->rows->count > 0)
            return rc;
        /* empty above the hint: look at all of it before saying so */
        pgqrs_messages_free(*out_messages);
        *out_messages = NULL;
    }
    for (int tries = 0;; tries++) {
        rc = claim_with(c, NULL, &moved_on, out_messages, error);
        if (rc != PGQRS_OK || !moved_on)
            return rc;
        pgqrs_messages_free(*out_messages);
        *out_messages = NULL;
        rc = pgqrs__queue_ref_get(c->store, c->queue, PGQRS_OBJECT_QUEUE, &c->ref, error);
        if (rc != PGQRS_OK)
            return rc;
        if (tries > 2) /* deleted and created again all the time */
            return pgqrs__queue_missing(c->queue, PGQRS_OBJECT_QUEUE, error);
    }
}

/* --- Waiting ---------------------------------------------------------------------------------- */

/* A consumer is about to sleep: enqueues by others must notify. Fails only by being slower. */
static void announce_wait(const claimer *c)
{
    pgqrs_store        *store  = c->store;
    int64_t             now    = pgqrs__mono_us();
    const pgqrs__val    args[] = { pgqrs__int(c->ref.id), pgqrs__null() };
    pgqrs__queue_state *state;
    bool                renew;

    pgqrs__listen(store);
    if ((store->backend->caps & PGQRS__CAP_NOTIFY) == 0)
        return;
    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, c->ref.id);
    renew = state != NULL && state->waiter_until_us - now < WAITER_RENEW_US;
    if (renew)
        state->waiter_until_us = now + WAITER_US;
    pgqrs__mutex_unlock(&store->lock);
    if (renew)
        (void)pgqrs__run_one(store, PGQRS__MODE_WRITE, PGQRS__STMT_WAITER_SET, args, NULL, NULL,
                             NULL);
}

typedef struct due_answer {
    bool due;
} due_answer;

static pgqrs_status due_row(pgqrs__call *call, const pgqrs__val *cols)
{
    due_answer *answer = call->user;

    answer->due = pgqrs__as_int(cols[PGQRS__COL_QUEUE_DUE_DUE]) != 0;
    return PGQRS_OK;
}

/* One cheap statement: whether a claim would find anything. In doubt, yes. */
static bool is_due(const claimer *c)
{
    const pgqrs__val args[] = { pgqrs__int(c->ref.id), pgqrs__now(c->store, c->options->now_us) };
    due_answer       answer = { .due = false };

    return pgqrs__run_one(c->store, PGQRS__MODE_READ, PGQRS__STMT_QUEUE_DUE, args, due_row, &answer,
                          NULL)
               != PGQRS_OK
           || answer.due;
}

static bool stopped(const atomic_bool *stop)
{
    return stop != NULL && atomic_load(stop);
}

/* How often this queue was heard of. */
static uint64_t wakes_of(const claimer *c)
{
    pgqrs__queue_state *state;
    uint64_t            wakes;

    pgqrs__mutex_lock(&c->store->lock);
    state = pgqrs__queue_state_get(c->store, c->ref.id);
    wakes = state == NULL ? 0 : state->wakes;
    pgqrs__mutex_unlock(&c->store->lock);
    return wakes;
}

/* Sleep until a claim may find something. False when the wait is over. */
static bool wait_for_messages(const claimer *c, uint64_t seen, int64_t until_us,
                              const atomic_bool *stop)
{
    pgqrs_store *store = c->store;
    int64_t      poll  = c->options->poll_us != 0 ? c->options->poll_us : POLL_US;
    bool         again = false;

    pgqrs__mutex_lock(&store->lock);
    store->waiting++;
    while (!again) {
        pgqrs__queue_state *state = pgqrs__queue_state_get(store, c->ref.id);
        int64_t             now   = pgqrs__mono_us();
        int64_t             wake_us;

        if (stopped(stop) || now >= until_us)
            break;
        if (state == NULL || state->wakes != seen) {
            again = true;
            break;
        }
        /* One of those that wait for this queue looks for all. */
        if (state->poll_due_us <= now) {
            bool due;

            state->poll_due_us = now + poll;
            pgqrs__mutex_unlock(&store->lock);
            announce_wait(c);
            due = is_due(c);
            if (due)
                pgqrs__wake(store, c->ref.id);
            pgqrs__mutex_lock(&store->lock);
            if (due)
                again = true;
            continue;
        }
        wake_us = PGQRS__MIN(until_us, state->poll_due_us);
        pgqrs__cond_wait_until(&store->woken, &store->lock, wake_us);
    }
    store->waiting--;
    pgqrs__mutex_unlock(&store->lock);
    return again;
}

pgqrs_status pgqrs__claim(pgqrs_store *store, const char *queue, const pgqrs_claim_options *options,
                          const atomic_bool *stop, pgqrs_messages **out_messages,
                          pgqrs_error *error)
{
    claimer      c     = { .store = store, .queue = queue, .options = options };
    int64_t      until = pgqrs__i64_add_sat(pgqrs__mono_us(), options->wait_us);
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    rc = pgqrs__queue_ref_get(store, queue, PGQRS_OBJECT_QUEUE, &c.ref, error);
    if (rc != PGQRS_OK)
        return rc;
    for (;;) {
        uint64_t seen = wakes_of(&c);

        rc = claim_once(&c, out_messages, error);
        if (rc != PGQRS_OK || (*out_messages)->rows->count > 0 || options->wait_us == 0)
            return rc;
        pgqrs__retention_idle(store, c.ref.id);
        if (!wait_for_messages(&c, seen, until, stop))
            return rc; /* the empty batch */
        pgqrs_messages_free(*out_messages);
        *out_messages = NULL;
    }
}

pgqrs_status pgqrs_claim(pgqrs_store *store, const char *queue, const pgqrs_claim_options *given,
                         pgqrs_messages **out_messages, pgqrs_error *error)
{
    pgqrs_claim_options options;
    pgqrs_status        rc;

    if (out_messages != NULL)
        *out_messages = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_messages, "out_messages", error)) != PGQRS_OK
        || (rc = pgqrs__check_name(queue, "queue", PGQRS_OBJECT_QUEUE, error)) != PGQRS_OK
        || (rc = options_read(store, given, &options, error)) != PGQRS_OK)
        return rc;
    if (options.wait_us != 0
        && (rc = pgqrs__not_adopted(store, "a claim that waits", error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__claim(store, queue, &options, NULL, out_messages, error);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}

/* --- By id ------------------------------------------------------------------------------------ */

typedef struct whereabouts {
    pgqrs_state state; /* 0: nowhere */
    int64_t     queue_id;
} whereabouts;

static pgqrs_status where_row(pgqrs__call *call, const pgqrs__val *cols)
{
    whereabouts *found = call->user;

    found->state    = (pgqrs_state)pgqrs__as_int(cols[PGQRS__COL_MESSAGE_FIND_STATE]);
    found->queue_id = pgqrs__as_int(cols[PGQRS__COL_MESSAGE_FIND_QUEUE_ID]);
    return PGQRS_OK;
}

/* Why a message could not be claimed; PGQRS_OK: it could be by now, or, when the answer to a claim
 * of ours was lost, we hold it: then it is in `messages`. */
static pgqrs_status not_claimable(pgqrs_store *store, int64_t id, bool lost,
                                  pgqrs_messages *messages, pgqrs_error *error)
{
    const pgqrs__val args[] = { pgqrs__int(id) };
    whereabouts      found  = { 0 };
    pgqrs_status     rc;

    rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_MESSAGE_FIND, args, where_row, &found,
                        error);
    if (rc == PGQRS_OK && lost && found.state == PGQRS_STATE_LEASED) {
        const pgqrs__val held[] = { pgqrs__int(found.queue_id), pgqrs__int(messages->lease) };

        rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_MESSAGE_CLAIM_AGAIN, held,
                            again_row, messages, error);
        if (rc == PGQRS_OK && messages->rows->count > 0)
            return rc;
    }
    if (rc != PGQRS_OK)
        return rc;
    switch (found.state) {
    case PGQRS_STATE_READY:
    case PGQRS_STATE_SCHEDULED:
        return PGQRS_OK;
    case PGQRS_STATE_LEASED:
        return pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_MESSAGE,
                           "message %lld is leased by another holder", (long long)id);
    case PGQRS_STATE_DONE:
    case PGQRS_STATE_SUCCESS:
    case PGQRS_STATE_ERROR:
    case PGQRS_STATE_CANCELLED:
    case PGQRS_STATE_DEAD:
        return pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_MESSAGE, "message %lld has ended: %s",
                           (long long)id, pgqrs_state_name(found.state));
    }
    return pgqrs__fail(error, PGQRS_ENOTFOUND, PGQRS_OBJECT_MESSAGE, "message %lld does not exist",
                       (long long)id);
}

pgqrs_status pgqrs__claim_by_id(pgqrs_store *store, int64_t id, const pgqrs_claim_options *options,
                                pgqrs_messages **out_messages, pgqrs_error *error)
{
    pgqrs_messages *messages = pgqrs__messages_new();
    pgqrs__lost     lost     = { .deadline_us = pgqrs__deadline(store) };
    pgqrs_error     own;
    pgqrs_status    rc;

    if (error == NULL)
        error = &own;
    if (messages == NULL)
        return pgqrs__nomem(error);
    messages->lease         = pgqrs__random_i63();
    messages->sent_mono_us  = pgqrs__lease_clock(store);
    const pgqrs__val args[] = { pgqrs__int(id), pgqrs__int(messages->lease),
                                pgqrs__int_or_null(options->owner),
                                pgqrs__int_or_null(options->lease_us),
                                pgqrs__now(store, options->now_us) };

    for (int tries = 0;; tries++) {
        do {
            pgqrs__messages_clear(messages);
            rc = pgqrs__run_one(store, PGQRS__MODE_WRITE, PGQRS__STMT_MESSAGE_CLAIM_ID, args,
                                again_row, messages, error);
        } while (rc != PGQRS_OK && pgqrs__lost_again(&lost, rc, error));
        if (rc != PGQRS_OK || messages->rows->count > 0)
            break;
        rc = not_claimable(store, id, lost.once, messages, error);
        if (messages->rows->count > 0)
            break;
        if (rc != PGQRS_OK && lost.once && (error->flags & PGQRS_RETRYABLE) != 0
            && pgqrs__lost_again(&lost, rc, error))
            continue;
        if (rc != PGQRS_OK)
            break;
        if (tries == 10) { /* it moves all the time: others want it too */
            rc = pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_MESSAGE,
                             "message %lld is being moved", (long long)id);
            pgqrs__flag(error, PGQRS_RETRYABLE);
            break;
        }
    }
    if (rc == PGQRS_OK) {
        *out_messages = messages;
        messages      = NULL;
    }
    pgqrs_messages_free(messages);
    return rc;
}

pgqrs_status pgqrs_claim_id(pgqrs_store *store, int64_t id, const pgqrs_claim_options *given,
                            pgqrs_messages **out_messages, pgqrs_error *error)
{
    pgqrs_claim_options options;
    pgqrs_status        rc;

    if (out_messages != NULL)
        *out_messages = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_messages, "out_messages", error)) != PGQRS_OK
        || (rc = options_read(store, given, &options, error)) != PGQRS_OK)
        return rc;
    return pgqrs__claim_by_id(store, id, &options, out_messages, error);
}
