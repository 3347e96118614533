/* Taking messages out: claims, and claims that wait. */
#include "core/task.h"
#include "util/clock.h"
#include "util/random.h"

#define POLL_US PGQRS_SECOND
/* a row below hint is one that committed late; the floor walk finds it */
#define HINT_MARGIN     2000
#define FLOOR_EVERY_US  PGQRS_SECOND
#define FLOOR_SHARE     20 /* floor walks take at most 1/20 of the time */
#define WAITER_RENEW_US (2 * PGQRS_SECOND)
#define WAITER_SPARE_US PGQRS_SECOND /* it is looked at so long before it lapses */
#define RECONNECT_US    (50 * PGQRS_MILLISECOND)

pgqrs_status pgqrs__claim_options_read(pgqrs_store *store, const pgqrs_claim_options *given,
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

typedef struct claim_task {
    pgqrs__task         task;
    const char         *queue;
    pgqrs_claim_options options;
    pgqrs__queue_ref    ref;
    int64_t             until_us; /* the wait's end */
    int64_t             began_us; /* this try */
    bool                from_floor;
    bool                woken; /* there was an enqueue: what it put in is above the hints */
    int                 moves; /* of the queue's name */
    enum { CLAIM_NAME, CLAIM_TRY, CLAIM_FLOOR, CLAIM_SENT, CLAIM_EMPTY, CLAIM_SLEEP } stage;
} claim_task;

/* Whether the next claim does the housekeeping; else the hints to start from. */
static bool floor_is_due(const claim_task *c, int64_t *hints)
{
    pgqrs_store        *store = c->task.store;
    pgqrs__queue_state *state;
    bool                due;

    if (c->options.now_us != 0 || store->own_clock)
        return true;
    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, c->ref.id);
    due   = state == NULL
          || (!c->woken && (state->came_short || pgqrs__mono_us() >= state->floor_due_us));
    if (!due) {
        memset(hints, 0, PGQRS__PRIORITIES * sizeof(*hints));
        if ((store->backend->caps & PGQRS__CAP_HINTS) != 0)
            memcpy(hints, state->hint, PGQRS__PRIORITIES * sizeof(*hints));
    }
    pgqrs__mutex_unlock(&store->lock);
    return due;
}

/* Remember where this claim ended. */
static void learn(const claim_task *c, const pgqrs_messages *messages, bool from_floor,
                  int64_t took_us)
{
    pgqrs_store        *store = c->task.store;
    pgqrs__queue_state *state;

    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, c->ref.id);
    if (state != NULL) {
        state->came_short = messages->rows->count < (size_t)c->options.limit;
        for (int p = 0; p < PGQRS__PRIORITIES; p++)
            if (messages->seqs_seen[p] != 0)
                state->hint[p] = PGQRS__MAX(messages->seqs_seen[p] - HINT_MARGIN, 0);
        if (from_floor)
            state->floor_due_us =
                pgqrs__mono_us() + PGQRS__MAX(FLOOR_EVERY_US, FLOOR_SHARE * took_us);
    }
    pgqrs__mutex_unlock(&store->lock);
}

/* A claim from these hints; NULL: from the floor. */
static pgqrs__turn claim_send(claim_task *c, const int64_t *hints, pgqrs_error *error)
{
    pgqrs__task *task = &c->task;

    pgqrs__op_free(task->op);
    task->op          = claim_op(task->store, c->queue, c->ref, &c->options, hints);
    task->deadline_us = pgqrs__deadline(task->store);
    c->began_us       = pgqrs__mono_us();
    c->from_floor     = hints == NULL;
    c->woken          = false;
    c->stage          = CLAIM_SENT;
    if (task->op != NULL)
        return PGQRS__TURN_SEND;
    task->status = pgqrs__nomem(error);
    return PGQRS__TURN_DONE;
}

/* The claim was answered: go on with the next stage, or with none (true), when it has messages. */
static bool claim_answered(claim_task *c, const claim_notes *notes)
{
    pgqrs_store *store = c->task.store;
    size_t       count = notes->messages->rows->count;

    notes->messages->answered_us = pgqrs__lease_clock(store);
    learn(c, notes->messages, c->from_floor, pgqrs__mono_us() - c->began_us);
    if (notes->moved > (int64_t)count)
        pgqrs__wake(store, c->ref.id);
    if (count > 0)
        return true;
    if (!c->from_floor) { /* empty above the hint: look at all of it before saying so */
        c->stage = CLAIM_FLOOR;
    } else if (notes->named.id != c->ref.id && !c->task.op->lost) {
        pgqrs__queue_ref_forget(store, c->queue);
        c->moves++;
        c->stage = CLAIM_NAME;
    } else {
        c->stage = CLAIM_EMPTY;
    }
    return false;
}

/* What it took is the result, be it nothing. */
static pgqrs__turn claim_done(claim_task *c)
{
    claim_notes *notes = c->task.op->result;

    c->task.result.handed = PGQRS__HANDED_MESSAGES;
    c->task.result.object = notes->messages;
    notes->messages       = NULL;
    c->task.status        = PGQRS_OK;
    return PGQRS__TURN_DONE;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static pgqrs_status waiter_row(pgqrs__call *call, const pgqrs__val *cols)
{
    int64_t *left_us = call->user;

    *left_us = pgqrs__as_int(cols[PGQRS__COL_WAITER_SET_LEFT_US]);
    return PGQRS_OK;
}

/* A consumer is about to sleep: enqueues by others must notify. The row that says so lasts as long
 * as the database answers, from before it was asked; what it was meant to last would be too long
 * where another consumer's row was left as it is. Fails only by being slower. */
static void announce_wait(const claim_task *c)
{
    pgqrs_store        *store  = c->task.store;
    int64_t             now    = pgqrs__mono_us();
    const pgqrs__val    args[] = { pgqrs__int(c->ref.id), pgqrs__null() };
    pgqrs__queue_state *state;
    int64_t             left_us = 0;

    pgqrs__listen(store);
    if ((store->backend->caps & PGQRS__CAP_NOTIFY) == 0)
        return;
    pgqrs__mutex_lock(&store->lock);
    state = pgqrs__queue_state_get(store, c->ref.id);
    if (state != NULL && state->waiter_until_us - now < WAITER_RENEW_US) {
        pgqrs__mutex_unlock(&store->lock);
        (void)pgqrs__run_one(store, PGQRS__MODE_WRITE, PGQRS__STMT_WAITER_SET, args, waiter_row,
                             &left_us, NULL);
        pgqrs__mutex_lock(&store->lock);
        state = pgqrs__queue_state_get(store, c->ref.id);
        if (state != NULL)
            state->waiter_until_us = now + left_us;
    }
    if (state != NULL && state->waiter_until_us > now + WAITER_SPARE_US)
        state->poll_due_us =
            PGQRS__MIN(state->poll_due_us, state->waiter_until_us - WAITER_SPARE_US);
    pgqrs__mutex_unlock(&store->lock);
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
static bool is_due(const claim_task *c)
{
    const pgqrs__val args[] = { pgqrs__int(c->ref.id),
                                pgqrs__now(c->task.store, c->options.now_us) };
    due_answer       answer = { .due = false };

    return pgqrs__run_one(c->task.store, PGQRS__MODE_READ, PGQRS__STMT_QUEUE_DUE, args, due_row,
                          &answer, NULL)
               != PGQRS_OK
           || answer.due;
}

static bool stopped(const atomic_bool *stop)
{
    return stop != NULL && atomic_load(stop);
}

/* Remember how often this queue was heard of, before it is looked at. */
static void note_wakes(claim_task *c)
{
    pgqrs_store        *store = c->task.store;
    pgqrs__queue_state *state;

    pgqrs__mutex_lock(&store->lock);
    state         = pgqrs__queue_state_get(store, c->ref.id);
    c->task.queue = state;
    c->task.seen  = state == NULL ? 0 : state->wakes;
    pgqrs__mutex_unlock(&store->lock);
}

typedef enum look { LOOK_AGAIN, LOOK_OVER, LOOK_WAIT, LOOK_ASKS } look;

/* Whether a claim may find something now, and when to look again. */
static look look_at_queue(claim_task *c, bool may_ask)
{
    pgqrs_store *store = c->task.store;
    int64_t      poll  = c->options.poll_us != 0 ? c->options.poll_us : POLL_US;
    look         found = LOOK_ASKS;

    pgqrs__mutex_lock(&store->lock);
    for (;;) {
        pgqrs__queue_state *state = pgqrs__queue_state_get(store, c->ref.id);
        int64_t             now   = pgqrs__mono_us();
        bool                due;

        if (stopped(c->task.stop) || now >= c->until_us) {
            found = LOOK_OVER;
            break;
        }
        if (state == NULL || state->wakes != c->task.seen) {
            c->woken = true;
            found    = LOOK_AGAIN;
            break;
        }
        if (state->poll_due_us > now) {
            c->task.wake_us = PGQRS__MIN(c->until_us, state->poll_due_us);
            found           = LOOK_WAIT;
            break;
        }
        if (!may_ask)
            break;
        /* One of those that wait for this queue looks for all. */
        state->poll_due_us = now + poll;
        pgqrs__mutex_unlock(&store->lock);
        announce_wait(c);
        due = is_due(c);
        if (due)
            pgqrs__wake(store, c->ref.id);
        pgqrs__mutex_lock(&store->lock);
        if (due) {
            found = LOOK_AGAIN;
            break;
        }
    }
    pgqrs__mutex_unlock(&store->lock);
    return found;
}

/* --- In turns --------------------------------------------------------------------------------- */

static pgqrs_status find_queue(claim_task *c, bool may_ask, bool *out_asks, pgqrs_error *error)
{
    *out_asks = false;
    if (pgqrs__queue_ref_known(c->task.store, c->queue, &c->ref))
        return PGQRS_OK;
    *out_asks = !may_ask;
    if (!may_ask)
        return PGQRS_OK;
    if (c->moves > 3) /* deleted and created again all the time */
        return pgqrs__queue_missing(c->queue, PGQRS_OBJECT_QUEUE, error);
    return pgqrs__queue_ref_get(c->task.store, c->queue, PGQRS_OBJECT_QUEUE, &c->ref, error);
}

/* After a failure: true when what it took has been read back, or it is to be sent anew. */
static bool claim_recovered(claim_task *c, pgqrs_error *error)
{
    claim_notes *notes = c->task.op->result;

    c->task.status =
        claim_again(c->task.store, c->ref.id, notes->messages,
                    pgqrs__i64_add_sat(c->began_us, c->task.store->options.timeout_us), error);
    return c->task.status == PGQRS_OK;
}

static pgqrs__turn claim_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    claim_task *c = (claim_task *)task;
    int64_t     hints[PGQRS__PRIORITIES];
    bool        asks;

    for (;;) {
        switch (c->stage) {
        case CLAIM_NAME:
            task->status = find_queue(c, may_ask, &asks, error);
            if (asks)
                return PGQRS__TURN_ASK;
            if (task->status != PGQRS_OK)
                return PGQRS__TURN_DONE;
            c->stage = CLAIM_TRY;
            break;
        case CLAIM_TRY:
            note_wakes(c);
            if (!floor_is_due(c, hints))
                return claim_send(c, hints, error);
            c->stage = CLAIM_FLOOR;
            break;
        case CLAIM_FLOOR:
            return claim_send(c, NULL, error);
        case CLAIM_SENT:
            if (task->status != PGQRS_OK) {
                if (task->op == NULL || task->status == PGQRS_ETIMEDOUT
                    || (error->flags & PGQRS_MAYBE_APPLIED) == 0)
                    return PGQRS__TURN_DONE;
                if (!may_ask)
                    return PGQRS__TURN_ASK;
                if (!claim_recovered(c, error))
                    return PGQRS__TURN_DONE;
                if (((claim_notes *)task->op->result)->messages->rows->count == 0) {
                    c->stage = CLAIM_TRY; /* it took nothing: claim anew */
                    break;
                }
            }
            if (claim_answered(c, task->op->result))
                return claim_done(c);
            break;
        case CLAIM_EMPTY:
            if (c->options.wait_us == 0)
                return claim_done(c);
            if (!may_ask)
                return PGQRS__TURN_ASK;
            pgqrs__retention_idle(task->store, c->ref.id);
            c->stage = CLAIM_SLEEP;
            break;
        case CLAIM_SLEEP:
            switch (look_at_queue(c, may_ask)) {
            case LOOK_ASKS:
                return PGQRS__TURN_ASK;
            case LOOK_WAIT:
                return PGQRS__TURN_WAIT;
            case LOOK_OVER:
                return claim_done(c); /* the empty batch */
            case LOOK_AGAIN:
                c->stage = CLAIM_TRY;
            }
            break;
        }
    }
}

static void claim_begin(claim_task *c, pgqrs_store *store, const char *queue,
                        const pgqrs_claim_options *options, const atomic_bool *stop)
{
    *c = (claim_task){
        .task     = { .store = store, .turn = claim_turn, .stop = stop },
        .queue    = queue,
        .options  = *options,
        .until_us = pgqrs__i64_add_sat(pgqrs__mono_us(), options->wait_us),
    };
}

pgqrs_status pgqrs__claim(pgqrs_store *store, const char *queue, const pgqrs_claim_options *options,
                          const atomic_bool *stop, pgqrs_messages **out_messages,
                          pgqrs_error *error)
{
    claim_task   c;
    pgqrs_status rc;

    claim_begin(&c, store, queue, options, stop);
    rc = pgqrs__task_run(&c.task, error);
    if (rc == PGQRS_OK)
        *out_messages = c.task.result.object;
    pgqrs__task_clean(&c.task);
    return rc;
}

pgqrs__task *pgqrs__claim_task(pgqrs_store *store, pgqrs__arena *arena, const char *queue,
                               const pgqrs_claim_options *given, const atomic_bool *stop,
                               pgqrs_error *error)
{
    claim_task         *c = pgqrs__arena_alloc(arena, sizeof(*c));
    pgqrs_claim_options options;

    if (pgqrs__check_name(queue, "queue", PGQRS_OBJECT_QUEUE, error) != PGQRS_OK
        || pgqrs__claim_options_read(store, given, &options, error) != PGQRS_OK)
        return NULL;
    queue = pgqrs__arena_copy(arena, queue, strlen(queue));
    if (c == NULL || queue == NULL) {
        pgqrs__nomem(error);
        return NULL;
    }
    claim_begin(c, store, queue, &options, stop);
    return &c->task;
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
        || (rc = pgqrs__claim_options_read(store, given, &options, error)) != PGQRS_OK)
        return rc;
    if (options.wait_us != 0
        && (rc = pgqrs__not_adopted(store, "a claim that waits", error)) != PGQRS_OK)
        return rc;
    return pgqrs__claim(store, queue, &options, NULL, out_messages, error);
}
