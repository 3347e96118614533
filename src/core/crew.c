/* Carrying what was submitted to its results, without anybody who waits.
 *
 * Leaders lead groups, as callers do; one more of them than there are groups in flight, so that one
 * is always free to look at the clock. Whatever must ask the database beside its group is taken
 * over by the threads that ask. All start when they are first needed and live as long as the store.
 *
 * A task is with one thread at a time: while it is TURNING it belongs to whoever takes its turn,
 * else to the lock. */
#include "core/batch.h"
#include "core/crew.h"
#include "util/clock.h"

#define LEADERS (PGQRS__GROUPS_IN_FLIGHT + 1)
#define ASKERS  4

struct pgqrs__crew {
    pgqrs__cond   lead; /* leaders that have nothing to do wait here, */
    pgqrs__cond   ask;  /* those who ask here, */
    pgqrs__cond   back; /* and those for whom a batch comes back here */
    pgqrs__thread leaders[LEADERS];
    pgqrs__thread askers[ASKERS];
    int           leader_count;
    int           asker_count;
    int           leaders_idle;
    int           askers_idle;
    bool          stop;

    pgqrs__task *first; /* all that are under way */
    pgqrs__task *asks_first;
    pgqrs__task *asks_last;
    int          asks;    /* their number */
    size_t       batches; /* under way, or about to be handed back */
    size_t       waits;   /* tasks that wait */
    bool         heard;   /* of a queue, or that somebody is to hurry */
    int64_t      look_us; /* nothing is due before */
};

/* --- Turns ------------------------------------------------------------------------------------ */

/* Tasks that go the same way, in order; chained by `next`. */
typedef struct line {
    pgqrs__task *first;
    pgqrs__task *last;
} line;

/* Where the turns of some tasks have led, to be applied under the lock at once. */
typedef struct moves {
    line send;
    line again;
    line ask;
    line wait;
    line done;
} moves;

static void push(line *l, pgqrs__task *task)
{
    task->next = NULL;
    if (l->last != NULL)
        l->last->next = task;
    else
        l->first = task;
    l->last = task;
}

static pgqrs__task *pop(line *l)
{
    pgqrs__task *task = l->first;

    if (task != NULL && (l->first = task->next) == NULL)
        l->last = NULL;
    return task;
}

/* Take a turn. @p answered is the failure of what was sent; NULL: none, or it is the operation's.
 */
static void take_turn(pgqrs__task *task, bool may_ask, const pgqrs_error *answered, moves *m)
{
    pgqrs_error error;

    if (answered != NULL)
        error = *answered;
    else if (task->status != PGQRS_OK && task->op != NULL)
        error = task->op->error;
    switch (task->turn(task, may_ask, &error)) {
    case PGQRS__TURN_DONE:
        if (task != task->batch->atomic)
            pgqrs__batch_result(task->batch, task->index, task->status, &error);
        push(&m->done, task);
        break;
    case PGQRS__TURN_SEND:
        push(&m->send, task);
        break;
    case PGQRS__TURN_ASK:
        push(&m->ask, task);
        break;
    case PGQRS__TURN_WAIT:
        push(&m->wait, task);
        break;
    }
}

/* What was sent was answered. */
static void take_answer(pgqrs__task *task, moves *m)
{
    pgqrs__op *op = task->op;

    if (pgqrs__op_again(op, &op->status, &op->error, &task->again_us)) {
        push(task->again_us == 0 ? &m->send : &m->again, task);
        return;
    }
    task->status = op->status;
    take_turn(task, false, NULL, m);
}

/* --- Threads ---------------------------------------------------------------------------------- */

static void *leader_main(void *arg);
static void *asker_main(void *arg);

static void start_leader(pgqrs_store *store)
{
    pgqrs__crew *crew = store->crew;

    if (crew->leader_count < LEADERS && !crew->stop
        && pgqrs__thread_start(&crew->leaders[crew->leader_count], leader_main, store, "pgqrs-lead")
               == 0)
        crew->leader_count++;
}

static void wake_asker(pgqrs_store *store)
{
    pgqrs__crew *crew = store->crew;
    int          most = PGQRS__MIN(ASKERS, PGQRS__MAX(store->options.max_connections - 2, 1));

    if (crew->askers_idle > 0)
        pgqrs__cond_signal(&crew->ask);
    if (crew->asks >= crew->askers_idle && crew->asker_count < most && !crew->stop
        && pgqrs__thread_start(&crew->askers[crew->asker_count], asker_main, store, "pgqrs-ask")
               == 0) {
        crew->asker_count++;
    }
}

void pgqrs__crew_wake(pgqrs_store *store)
{
    if (store->crew->leaders_idle == 0)
        start_leader(store);
    pgqrs__cond_signal(&store->crew->lead);
}

void pgqrs__crew_heard(pgqrs_store *store)
{
    if (store->crew == NULL || store->crew->waits == 0)
        return;
    store->crew->heard = true;
    pgqrs__crew_wake(store);
}

/* --- Applying, under the lock ----------------------------------------------------------------- */

static void due_by(pgqrs__crew *crew, int64_t mono_us)
{
    crew->look_us = PGQRS__MIN(crew->look_us, mono_us);
}

static void add_ask(pgqrs_store *store, pgqrs__task *task)
{
    pgqrs__crew *crew = store->crew;
    line         asks = { .first = crew->asks_first, .last = crew->asks_last };

    task->stage = PGQRS__TASK_ASKS;
    push(&asks, task);
    crew->asks_first = asks.first;
    crew->asks_last  = asks.last;
    due_by(crew, task->deadline_us);
    wake_asker(store);
    crew->asks++;
}

static void add_send(pgqrs_store *store, pgqrs__task *task)
{
    task->stage           = PGQRS__TASK_GROUP;
    task->op->task        = task;
    task->op->deadline_us = task->deadline_us;
    due_by(store->crew, task->deadline_us);
    pgqrs__group_add(store, task->op);
}

static void add_wait(pgqrs_store *store, pgqrs__task *task, line *woken)
{
    if (pgqrs__task_woken(task, pgqrs__mono_us())) {
        push(woken, task);
        return;
    }
    task->stage = PGQRS__TASK_WAITS;
    store->crew->waits++;
    due_by(store->crew, task->wake_us);
}

static void unlink_task(pgqrs__crew *crew, pgqrs__task *task)
{
    if (task->before != NULL)
        task->before->after = task->after;
    else
        crew->first = task->after;
    if (task->after != NULL)
        task->after->before = task->before;
    task->stage = PGQRS__TASK_DONE;
}

/* One task less. A batch without any more is chained to those that came back. */
static void finish(pgqrs__crew *crew, pgqrs__task *task, pgqrs_batch **back)
{
    pgqrs_batch *batch = task->batch;

    unlink_task(crew, task);
    if (--batch->left > 0)
        return;
    batch->next = *back;
    *back       = batch;
}

/* Hand batches back. Leaves the lock meanwhile. */
static void hand_back(pgqrs_store *store, pgqrs_batch *back)
{
    pgqrs__crew *crew   = store->crew;
    pgqrs_batch *listed = NULL;
    size_t       count  = 0;
    pgqrs_batch *next;

    for (pgqrs_batch *batch = back; batch != NULL; batch = next) {
        next         = batch->next;
        batch->stage = PGQRS__BATCH_BACK;
        count++;
        if (batch->completions == NULL) {
            pgqrs__cond_broadcast(&crew->back);
            continue;
        }
        batch->next = listed; /* which also turns them round: first done, first back */
        listed      = batch;
    }
    if (listed != NULL) {
        pgqrs__mutex_unlock(&store->lock);
        for (pgqrs_batch *batch = listed; batch != NULL; batch = next) {
            next = batch->next;
            pgqrs__completions_push(batch->completions, batch);
        }
        pgqrs__mutex_lock(&store->lock);
    }
    crew->batches -= count;
    if (crew->batches == 0)
        pgqrs__cond_broadcast(&crew->back);
}

/* Do what the turns have led to. Leaves the lock when a batch comes back, and for the turns of
 * tasks whose wait is over before it began. */
static void apply(pgqrs_store *store, moves *m)
{
    pgqrs__crew *crew = store->crew;

    for (;;) {
        int64_t      look_us = crew->look_us;
        pgqrs_batch *back    = NULL;
        line         woken   = { 0 };
        bool         sends   = m->send.first != NULL;
        moves        more    = { 0 };
        pgqrs__task *task;

        while ((task = pop(&m->send)) != NULL)
            add_send(store, task);
        while ((task = pop(&m->again)) != NULL) {
            task->stage = PGQRS__TASK_AGAIN;
            due_by(crew, task->again_us);
        }
        while ((task = pop(&m->ask)) != NULL)
            add_ask(store, task);
        while ((task = pop(&m->wait)) != NULL)
            add_wait(store, task, &woken);
        while ((task = pop(&m->done)) != NULL)
            finish(crew, task, &back);
        if (sends || crew->look_us < look_us)
            pgqrs__crew_wake(store);
        if (back != NULL)
            hand_back(store, back);
        if (woken.first == NULL)
            return;
        pgqrs__mutex_unlock(&store->lock);
        while ((task = pop(&woken)) != NULL)
            take_turn(task, false, NULL, &more);
        pgqrs__mutex_lock(&store->lock);
        *m = more;
    }
}

void pgqrs__crew_answer(pgqrs_store *store, pgqrs__op *answered)
{
    pgqrs__op *in_order = NULL;
    pgqrs__op *next;
    moves      m = { 0 };

    for (pgqrs__op *op = answered; op != NULL; op = next) {
        next            = op->next;
        op->next        = in_order;
        in_order        = op;
        op->task->stage = PGQRS__TASK_TURNING;
    }
    pgqrs__mutex_unlock(&store->lock);
    for (pgqrs__op *op = in_order; op != NULL; op = next) {
        next = op->next;
        take_answer(op->task, &m);
    }
    pgqrs__mutex_lock(&store->lock);
    apply(store, &m);
}

/* --- The clock -------------------------------------------------------------------------------- */

/* A task whose deadline has passed gets its last turn. */
static void expire(pgqrs__task *task, bool maybe, moves *m)
{
    pgqrs_error error;

    task->status = pgqrs__fail(&error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_STORE, "the deadline passed");
    pgqrs__flag(&error, maybe ? PGQRS_MAYBE_APPLIED : PGQRS_RETRYABLE);
    if (task->sent || task == task->batch->atomic) {
        take_turn(task, false, &error, m);
        return;
    }
    pgqrs__batch_result(task->batch, task->index, task->status, &error);
    push(&m->done, task);
}

static void remove_ask(pgqrs__crew *crew, pgqrs__task *task)
{
    line kept = { 0 };
    line all  = { .first = crew->asks_first, .last = crew->asks_last };

    for (pgqrs__task *at; (at = pop(&all)) != NULL;)
        if (at != task)
            push(&kept, at);
    crew->asks--;
    crew->asks_first = kept.first;
    crew->asks_last  = kept.last;
}

/* It belongs to this thread from here on. */
static void take_over(line *l, pgqrs__task *task)
{
    task->stage = PGQRS__TASK_TURNING;
    push(l, task);
}

/* What is to be done with one task now; what is not, is due later. */
static void look_at(pgqrs_store *store, pgqrs__task *task, int64_t now, line *expired, line *left,
                    line *woken, moves *m)
{
    pgqrs__crew *crew = store->crew;

    switch (task->stage) {
    case PGQRS__TASK_GROUP:
        if (now < task->deadline_us) {
            due_by(crew, task->deadline_us);
        } else if (task->op->stage == PGQRS__OP_PENDING) {
            pgqrs__group_remove(store, task->op);
            take_over(expired, task);
        } else { /* on its way: the group goes on without it */
            task->op->task      = NULL;
            task->op->abandoned = true;
            task->op            = NULL;
            take_over(left, task);
        }
        break;
    case PGQRS__TASK_AGAIN:
        if (now < task->again_us)
            due_by(crew, task->again_us);
        else
            take_over(&m->send, task);
        break;
    case PGQRS__TASK_ASKS:
        if (now < task->deadline_us) {
            due_by(crew, task->deadline_us);
        } else {
            remove_ask(crew, task);
            take_over(task->sent ? left : expired, task);
        }
        break;
    case PGQRS__TASK_WAITS:
        if (!pgqrs__task_woken(task, now)) {
            due_by(crew, task->wake_us);
            break;
        }
        crew->waits--;
        task->deadline_us = pgqrs__deadline(store);
        take_over(woken, task);
        break;
    case PGQRS__TASK_IDLE:
    case PGQRS__TASK_TURNING:
    case PGQRS__TASK_DONE:
        break;
    }
}

/* Look at everything that is under way, when something may be due. Leaves the lock for the turns.
 * True: it did. */
static bool look(pgqrs_store *store)
{
    pgqrs__crew *crew    = store->crew;
    int64_t      now     = pgqrs__mono_us();
    line         expired = { 0 };
    line         left    = { 0 };
    line         woken   = { 0 };
    moves        m       = { 0 };
    pgqrs__task *task;

    if (now < crew->look_us && !crew->heard)
        return false;
    crew->heard   = false;
    crew->look_us = INT64_MAX;
    for (task = crew->first; task != NULL; task = task->after)
        look_at(store, task, now, &expired, &left, &woken, &m);
    if (expired.first == NULL && left.first == NULL && woken.first == NULL && m.send.first == NULL)
        return false;
    pgqrs__mutex_unlock(&store->lock);
    while ((task = pop(&expired)) != NULL)
        expire(task, false, &m);
    while ((task = pop(&left)) != NULL)
        expire(task, true, &m);
    while ((task = pop(&woken)) != NULL)
        take_turn(task, false, NULL, &m);
    pgqrs__mutex_lock(&store->lock);
    apply(store, &m);
    return true;
}

/* --- What the threads do ---------------------------------------------------------------------- */

static void *leader_main(void *arg)
{
    pgqrs_store *store = arg;
    pgqrs__crew *crew;

    pgqrs__mutex_lock(&store->lock);
    crew = store->crew;
    while (!crew->stop) {
        int64_t due_us = INT64_MAX;

        if (look(store))
            continue;
        if (store->pending_first != NULL) {
            if (crew->leaders_idle == 0) /* somebody must look at the clock meanwhile */
                start_leader(store);
            if (pgqrs__group_lead(store, &due_us))
                continue;
        }
        crew->leaders_idle++;
        pgqrs__cond_wait_until(&crew->lead, &store->lock, PGQRS__MIN(crew->look_us, due_us));
        crew->leaders_idle--;
    }
    pgqrs__mutex_unlock(&store->lock);
    return NULL;
}

static void *asker_main(void *arg)
{
    pgqrs_store *store = arg;
    pgqrs__crew *crew;

    pgqrs__mutex_lock(&store->lock);
    crew = store->crew;
    while (!crew->stop) {
        line         asks = { .first = crew->asks_first, .last = crew->asks_last };
        pgqrs__task *task = pop(&asks);
        moves        m    = { 0 };

        if (task == NULL) {
            crew->askers_idle++;
            pgqrs__cond_wait(&crew->ask, &store->lock);
            crew->askers_idle--;
            continue;
        }
        crew->asks_first = asks.first;
        crew->asks_last  = asks.last;
        crew->asks--;
        task->stage = PGQRS__TASK_TURNING;
        pgqrs__mutex_unlock(&store->lock);
        pgqrs__deadline_limit(task->deadline_us);
        take_turn(task, true, NULL, &m);
        pgqrs__deadline_limit(INT64_MAX);
        pgqrs__mutex_lock(&store->lock);
        apply(store, &m);
    }
    pgqrs__mutex_unlock(&store->lock);
    return NULL;
}

/* --- Beginning and end ------------------------------------------------------------------------ */

static pgqrs__crew *crew_new(void)
{
    pgqrs__crew *crew = pgqrs__calloc(1, sizeof(*crew));

    if (crew == NULL)
        return NULL;
    crew->look_us = INT64_MAX;
    if (!pgqrs__cond_init(&crew->lead))
        goto no_lead;
    if (!pgqrs__cond_init(&crew->ask))
        goto no_ask;
    if (!pgqrs__cond_init(&crew->back))
        goto no_back;
    return crew;
no_back:
    pgqrs__cond_destroy(&crew->ask);
no_ask:
    pgqrs__cond_destroy(&crew->lead);
no_lead:
    pgqrs__free(crew);
    return NULL;
}

pgqrs_status pgqrs__crew_start(pgqrs_store *store, pgqrs_error *error)
{
    pgqrs_status rc = PGQRS_OK;

    pgqrs__mutex_lock(&store->lock);
    if (store->crew == NULL)
        store->crew = crew_new();
    if (store->crew != NULL && store->crew->leader_count == 0)
        start_leader(store);
    if (store->crew == NULL || store->crew->leader_count == 0)
        rc = pgqrs__nomem(error);
    /* One who asks is needed sooner or later, and must not be missing then. */
    if (rc == PGQRS_OK && store->crew->asker_count == 0) {
        wake_asker(store);
        if (store->crew->asker_count == 0)
            rc = pgqrs__nomem(error);
    }
    pgqrs__mutex_unlock(&store->lock);
    return rc;
}

void pgqrs__crew_submit(pgqrs_store *store, pgqrs__task *first, int64_t deadline_us)
{
    pgqrs__crew *crew  = store->crew;
    pgqrs_batch *batch = first->batch;
    line         all   = { .first = first };
    moves        m     = { 0 };
    pgqrs__task *task;

    pgqrs__mutex_lock(&store->lock);
    for (task = first; task != NULL; task = task->next) {
        task->stage       = PGQRS__TASK_TURNING;
        task->deadline_us = deadline_us;
        task->before      = NULL;
        task->after       = crew->first;
        if (crew->first != NULL)
            crew->first->before = task;
        crew->first = task;
        batch->left++;
        all.last = task;
    }
    crew->batches++;
    pgqrs__mutex_unlock(&store->lock);
    while ((task = pop(&all)) != NULL)
        take_turn(task, false, NULL, &m);
    pgqrs__mutex_lock(&store->lock);
    apply(store, &m);
    pgqrs__mutex_unlock(&store->lock);
}

void pgqrs__crew_wait(pgqrs_store *store, pgqrs_batch *batch)
{
    pgqrs__mutex_lock(&store->lock);
    while (batch->stage != PGQRS__BATCH_BACK)
        pgqrs__cond_wait(&store->crew->back, &store->lock);
    pgqrs__mutex_unlock(&store->lock);
}

/* Under the lock. */
static void hurry(pgqrs_store *store, const pgqrs_batch *only)
{
    for (pgqrs__task *task = store->crew->first; task != NULL; task = task->after)
        if (only == NULL || task->batch == only)
            atomic_store(&task->batch->stop, true);
    store->crew->heard = true;
    pgqrs__crew_wake(store);
}

void pgqrs__crew_hurry(pgqrs_store *store, pgqrs_batch *batch)
{
    pgqrs__mutex_lock(&store->lock);
    if (store->crew != NULL)
        hurry(store, batch);
    pgqrs__mutex_unlock(&store->lock);
}

void pgqrs__crew_stop(pgqrs_store *store, bool forked)
{
    pgqrs__crew *crew = store->crew;

    if (crew == NULL)
        return;
    if (!forked) {
        pgqrs__mutex_lock(&store->lock);
        hurry(store, NULL);
        while (crew->batches > 0)
            pgqrs__cond_wait(&crew->back, &store->lock);
        crew->stop = true;
        pgqrs__cond_broadcast(&crew->lead);
        pgqrs__cond_broadcast(&crew->ask);
        pgqrs__mutex_unlock(&store->lock);
        for (int i = 0; i < crew->leader_count; i++)
            pgqrs__thread_join(&crew->leaders[i]);
        for (int i = 0; i < crew->asker_count; i++)
            pgqrs__thread_join(&crew->askers[i]);
        pgqrs__cond_destroy(&crew->lead);
        pgqrs__cond_destroy(&crew->ask);
        pgqrs__cond_destroy(&crew->back);
    }
    store->crew = NULL;
    pgqrs__free(crew);
}
