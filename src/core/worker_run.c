/* The worker loop: handlers for queues and workflows, and the threads that run them.
 *
 * Each registration has `concurrency` threads. One that is free and finds nothing in hand claims
 * for all that are free, and waits there for messages; the others wait for it. Where handlers are
 * quick it claims ahead, so that no thread waits for a claim; what then turns out to wait for a
 * slow one goes back. The thread that called pgqrs_worker_run() keeps the worker's heartbeat, hears
 * of a stop, and ends the others. */
#include "core/run.h"
#include "core/worker.h"
#include "util/clock.h"

#include <poll.h>
#include <unistd.h>

/* the database is away: first and longest pause */
#define BACKOFF_US     (100 * PGQRS_MILLISECOND)
#define BACKOFF_MAX_US (5 * PGQRS_SECOND)
#define IDLE_LOOK_US   (2 * PGQRS_MILLISECOND) /* exit_when_idle: until the others are idle too */
/* Claiming ahead: so long is a quick message handled at the most, so long may one wait, and leases
 * are to last so long. */
#define QUICK_US       (5 * PGQRS_MILLISECOND)
#define AHEAD_US       PGQRS_SECOND
#define AHEAD_LEASE_US (5 * PGQRS_SECOND)

/* --- Handling --------------------------------------------------------------------------------- */

static bool stopping(const pgqrs_worker *worker)
{
    return atomic_load(&worker->stopping);
}

/* The database is away: worth trying again. */
static bool is_away(pgqrs_status rc)
{
    return rc == PGQRS_ECONN || rc == PGQRS_ETIMEDOUT || rc == PGQRS_EBUSY || rc == PGQRS_EDB
           || rc == PGQRS_ESCHEMA || rc == PGQRS_ENOMEM;
}

/* Wait a while, longer each time; less when the worker stops. Without the lock. */
static void back_off(work *w, int64_t *delay_us)
{
    pgqrs_worker *worker = w->worker;
    int64_t       until  = pgqrs__mono_us() + *delay_us;

    pgqrs__mutex_lock(&worker->lock);
    while (!stopping(worker) && pgqrs__cond_wait_until(&worker->halted, &worker->lock, until))
        continue;
    pgqrs__mutex_unlock(&worker->lock);
    *delay_us = PGQRS__MIN(*delay_us * 2, BACKOFF_MAX_US);
}

/* Go on trying to settle what was handled, while it is held: the work is done, and would be done
 * again. */
static bool settle_again(work *w, const pgqrs_message *message, pgqrs_status rc, const char *why,
                         int64_t *delay_us)
{
    pgqrs_worker *worker = w->worker;

    if (rc == PGQRS_OK || rc == PGQRS_ELEASE || rc == PGQRS_ECANCELLED)
        return false;
    pgqrs__log(worker->store, PGQRS_LOG_WARNING, "message %lld could not be settled: %s",
               (long long)message->id, why);
    if (!is_away(rc) || stopping(worker)
        || pgqrs__lease_state(worker->store, message->lease, message->id, NULL, NULL)
               != PGQRS__KEPT_HELD)
        return false;
    back_off(w, delay_us);
    return true;
}

static void handle_message(work *w, const pgqrs_message *message)
{
    pgqrs_store *store = w->worker->store;
    int64_t      delay = BACKOFF_US;
    pgqrs_error  said;
    pgqrs_error  error;
    pgqrs_status handled;
    pgqrs_status rc;

    if (pgqrs__lease_keep(store, message, 0, w->options.timeout_us, &error) != PGQRS_OK)
        pgqrs__log(store, PGQRS_LOG_WARNING, "the lease of message %lld is not kept: %s",
                   (long long)message->id, error.message);
    pgqrs__ok(&said);
    handled = w->on_message(store, message, w->user_data, &said);
    /* Finished by the handler itself, given back by a stop, or lost: nothing is left to be done. */
    switch (pgqrs__lease_state(store, message->lease, message->id, NULL, NULL)) {
    case PGQRS__KEPT_HELD:
    case PGQRS__KEPT_CANCELLED:
        break;
    case PGQRS__KEPT_LOST:
        pgqrs__log(store, PGQRS_LOG_WARNING,
                   "the lease of message %lld was lost while it was handled",
                   (long long)message->id);
        pgqrs__lease_dropped(store, message->lease, message->id);
        return;
    case PGQRS__KEPT_NONE:
        return;
    }
    if (handled != PGQRS_OK)
        pgqrs__log(store, PGQRS_LOG_WARNING, "the handler of message %lld failed: %s: %s",
                   (long long)message->id, pgqrs_status_name(handled), said.message);
    do {
        if (handled == PGQRS_OK)
            rc = pgqrs_archive(store, message, &error);
        else
            rc = pgqrs_retry(store, message, pgqrs_status_name(handled),
                             said.message[0] == '\0' ? pgqrs_status_text(handled) : said.message,
                             &error);
    } while (settle_again(w, message, rc, error.message, &delay));
    pgqrs__lease_dropped(store, message->lease, message->id);
}

static void handle_run(work *w, const pgqrs_messages *messages, size_t index)
{
    pgqrs_store         *store   = w->worker->store;
    const pgqrs_message *message = pgqrs_messages_at(messages, index);
    int64_t              delay   = BACKOFF_US;
    pgqrs_run           *run;
    pgqrs_error          error;
    pgqrs_status         handled;
    pgqrs_status         rc;

    if (pgqrs_run_from(store, messages, index, &run, &error) != PGQRS_OK) {
        pgqrs__log(store, PGQRS_LOG_ERROR, "run %lld could not be executed: %s",
                   (long long)message->id, error.message);
        return; /* its lease passes, and it comes back */
    }
    if (w->options.timeout_us != 0)
        (void)pgqrs__lease_keep(store, message, 0, w->options.timeout_us, NULL);
    handled = w->on_run(run, w->user_data);
    do {
        rc = pgqrs__run_settle(run, handled);
    } while (settle_again(w, message, rc, pgqrs_run_error(run)->message, &delay));
    pgqrs_run_free(run);
}

/* --- Claiming --------------------------------------------------------------------------------- */

static void batch_free(batch *b)
{
    if (b == NULL)
        return;
    pgqrs_messages_free(b->messages);
    pgqrs__free(b);
}

static bool is_quick(const work *w)
{
    return w->handle_us != 0 && w->handle_us <= QUICK_US;
}

/* Whether this hand, which is free, claims: nothing is left, or little of a lot. Under the lock. */
static bool should_claim(const work *w)
{
    if (w->claiming)
        return false;
    return w->batch == NULL
           || (w->more && is_quick(w) && w->untaken < (size_t)w->options.concurrency / 4);
}

/* How many: one for each hand that is free and finds nothing; where there are more and handlers are
 * quick, one for each hand. Under the lock. */
static int how_many(const work *w)
{
    if (w->more && is_quick(w))
        return w->options.concurrency;
    return w->options.concurrency - w->busy;
}

/* Take in what was claimed. Under the lock. */
static void batch_add(work *w, batch *b, size_t asked)
{
    const size_t         count = pgqrs_messages_count(b->messages);
    const pgqrs_message *first = pgqrs_messages_at(b->messages, 0);
    batch              **at;

    b->left     = count;
    b->since_us = pgqrs__mono_us();
    for (at = &w->batch; *at != NULL;)
        at = &(*at)->after;
    *at = b;
    w->untaken += count;
    w->more = count == asked && first->expires_at_us - first->claimed_at_us >= AHEAD_LEASE_US;
    w->worker->activity++;
}

/* Under the lock, which is left meanwhile. */
static void claim(work *w, int64_t *delay_us)
{
    pgqrs_worker             *worker  = w->worker;
    uint64_t                  before  = worker->activity;
    const bool                exits   = worker->options.exit_when_idle != 0;
    const pgqrs_claim_options options = {
        .limit    = how_many(w),
        .lease_us = w->options.lease_us,
        .wait_us  = exits || w->batch != NULL ? 0 : PGQRS_FOREVER,
        .poll_us  = w->options.poll_us,
        .owner    = pgqrs_worker_id(worker),
    };
    batch       *b = NULL;
    pgqrs_error  error;
    pgqrs_status rc;

    w->claiming = true;
    pgqrs__mutex_unlock(&worker->lock);
    b = pgqrs__calloc(1, sizeof(*b));
    if (b == NULL)
        rc = pgqrs__nomem(&error);
    else
        rc = pgqrs__claim(worker->store, w->queue, &options, &worker->stopping, &b->messages,
                          &error);
    if (rc == PGQRS_OK) {
        *delay_us = BACKOFF_US;
    } else if (rc == PGQRS_ENOTFOUND) {
        int64_t look_us =
            exits ? IDLE_LOOK_US : (w->options.poll_us != 0 ? w->options.poll_us : PGQRS_SECOND);

        back_off(w, &look_us);
    } else {
        pgqrs__log(worker->store, PGQRS_LOG_WARNING, "could not claim from \"%s\": %s", w->queue,
                   error.message);
        back_off(w, delay_us);
    }
    pgqrs__mutex_lock(&worker->lock);
    w->claiming = false;
    w->more     = false;
    if (rc == PGQRS_OK && pgqrs_messages_count(b->messages) > 0) {
        batch_add(w, b, (size_t)options.limit);
        b = NULL;
    } else if (rc == PGQRS_OK || rc == PGQRS_ENOTFOUND) {
        w->idle_at = before + 1;
    }
    /* This hand takes the first message, and each that takes one wakes the next while there are
     * more: waking all for a claim of a few costs more than handling them. */
    batch_free(b);
}

/* Whether every queue has been found empty since the last message was claimed, with nothing in
 * hand. Under the lock. */
static bool all_idle(const pgqrs_worker *worker)
{
    for (const work *w = worker->works; w != NULL; w = w->next)
        if (w->busy > 0 || w->batch != NULL || w->idle_at != worker->activity + 1)
            return false;
    return true;
}

/* exit_when_idle: nothing was found; end the worker, or look again soon. Under the lock. */
static void found_nothing(work *w)
{
    pgqrs_worker *worker = w->worker;

    if (all_idle(worker))
        pgqrs_worker_stop(worker);
    pgqrs__cond_wait_until(&w->changed, &worker->lock, pgqrs__mono_us() + IDLE_LOOK_US);
}

/* The next message of the first batch. Under the lock. */
static size_t take_index(work *w)
{
    batch *b     = w->batch;
    size_t index = b->next++;

    w->untaken--;
    if (b->next == pgqrs_messages_count(b->messages))
        w->batch = b->after;
    return index;
}

/* Take one message in hand and handle it. Under the lock, which is left meanwhile. */
static void handle_next(work *w, hand *h)
{
    pgqrs_worker *worker = w->worker;
    batch        *b      = w->batch;
    size_t        index  = take_index(w);
    int64_t       began  = pgqrs__mono_us();
    bool          wakes;

    h->message = pgqrs_messages_at(b->messages, index);
    w->busy++;
    wakes = w->batch != NULL || !w->claiming;
    pgqrs__mutex_unlock(&worker->lock);
    if (wakes)
        pgqrs__cond_signal(&w->changed); /* more to take, or another may claim */
    if (w->on_message != NULL)
        handle_message(w, h->message);
    else
        handle_run(w, b->messages, index);
    began = pgqrs__mono_us() - began;
    pgqrs__mutex_lock(&worker->lock);
    w->handle_us = w->handle_us == 0 ? began + 1 : PGQRS__MAX((7 * w->handle_us + began) / 8, 1);
    h->message   = NULL;
    w->busy--;
    worker->activity++; /* a handler may have put something into any queue */
    if (--b->left == 0)
        batch_free(b);
}

static void *hand_main(void *arg)
{
    hand         *h      = arg;
    work         *w      = h->work;
    pgqrs_worker *worker = w->worker;
    int64_t       delay  = BACKOFF_US;

    pgqrs__mutex_lock(&worker->lock);
    while (!stopping(worker)) {
        if (should_claim(w)) {
            claim(w, &delay);
            if (w->batch == NULL && worker->options.exit_when_idle != 0)
                found_nothing(w);
        } else if (w->batch != NULL) {
            handle_next(w, h);
        } else {
            pgqrs__cond_wait(&w->changed, &worker->lock);
        }
    }
    worker->threads--;
    pgqrs__cond_signal(&worker->ended);
    pgqrs__mutex_unlock(&worker->lock);
    return NULL;
}

/* --- Stopping --------------------------------------------------------------------------------- */

static void give_back(pgqrs_worker *worker, const pgqrs_message *message)
{
    pgqrs_error error;

    if (pgqrs_release(worker->store, message, NULL, &error) != PGQRS_OK
        && error.status != PGQRS_ELEASE)
        pgqrs__log(worker->store, PGQRS_LOG_WARNING, "message %lld could not be given back: %s",
                   (long long)message->id, error.message);
}

/* Give back what no hand has taken of what was claimed until then. Under the lock, which is left
 * meanwhile. */
static void give_back_untaken(pgqrs_worker *worker, work *w, int64_t until_us)
{
    while (w->batch != NULL && w->batch->since_us <= until_us) {
        batch               *b       = w->batch;
        const pgqrs_message *message = pgqrs_messages_at(b->messages, take_index(w));

        pgqrs__mutex_unlock(&worker->lock);
        give_back(worker, message);
        pgqrs__mutex_lock(&worker->lock);
        if (--b->left == 0)
            batch_free(b);
    }
}

/* What was claimed ahead and waits for slow handlers is for others to take. */
static void give_back_late(pgqrs_worker *worker)
{
    int64_t until_us = pgqrs__mono_us() - AHEAD_US;

    pgqrs__mutex_lock(&worker->lock);
    for (work *w = worker->works; w != NULL; w = w->next)
        give_back_untaken(worker, w, until_us);
    pgqrs__mutex_unlock(&worker->lock);
}

/* The time to finish is over: give back what is still in hand. Its handlers will be fenced. Under
 * the lock, so that nothing in hand goes away meanwhile; the database is asked all the same: the
 * worker is ending. */
static void give_back_in_hand(pgqrs_worker *worker)
{
    for (work *w = worker->works; w != NULL; w = w->next)
        for (int i = 0; i < w->started; i++)
            if (w->hands[i].message != NULL)
                give_back(worker, w->hands[i].message);
}

/* End the threads: let them finish, for a while. */
static void stop_threads(pgqrs_worker *worker)
{
    int64_t deadline = pgqrs__i64_add_sat(pgqrs__mono_us(), worker->options.stop_us);
    bool    in_time  = true;

    atomic_store(&worker->stopping, true);
    pgqrs__mutex_lock(&worker->store->lock);
    pgqrs__cond_broadcast(&worker->store->woken); /* claims that wait */
    pgqrs__mutex_unlock(&worker->store->lock);

    pgqrs__mutex_lock(&worker->lock);
    pgqrs__cond_broadcast(&worker->halted);
    for (work *w = worker->works; w != NULL; w = w->next) {
        pgqrs__cond_broadcast(&w->changed);
        give_back_untaken(worker, w, INT64_MAX);
    }
    while (worker->threads > 0 && in_time)
        in_time = pgqrs__cond_wait_until(&worker->ended, &worker->lock, deadline);
    if (worker->threads > 0)
        give_back_in_hand(worker);
    pgqrs__mutex_unlock(&worker->lock);
    for (work *w = worker->works; w != NULL; w = w->next) {
        for (int i = 0; i < w->started; i++)
            pgqrs__thread_join(&w->hands[i].thread);
        w->started = 0;
    }
    /* A claim that was under way may have brought something after all. */
    pgqrs__mutex_lock(&worker->lock);
    for (work *w = worker->works; w != NULL; w = w->next)
        give_back_untaken(worker, w, INT64_MAX);
    pgqrs__mutex_unlock(&worker->lock);
}

/* --- Running
 *
 * -----------------------------------------------------------------------------------------------
 */

static pgqrs_status start_threads(pgqrs_worker *worker, pgqrs_error *error)
{
    pgqrs_status rc = PGQRS_OK;

    pgqrs__mutex_lock(&worker->lock);
    for (work *w = worker->works; w != NULL && rc == PGQRS_OK; w = w->next) {
        w->idle_at   = 0;
        w->handle_us = 0;
        w->more      = false;
        for (int i = 0; i < w->options.concurrency && rc == PGQRS_OK; i++) {
            w->hands[i] = (hand){ .work = w };
            if (pgqrs__thread_start(&w->hands[i].thread, hand_main, &w->hands[i], "pgqrs-worker")
                != 0) {
                rc = pgqrs__fail(error, PGQRS_ENOMEM, PGQRS_OBJECT_WORKER,
                                 "could not start a thread");
                break;
            }
            w->started++;
            worker->threads++;
        }
    }
    pgqrs__mutex_unlock(&worker->lock);
    return rc;
}

static pgqrs_status heartbeat_row(pgqrs__call *call, const pgqrs__val *cols)
{
    *(int64_t *)call->user = pgqrs__as_int(cols[PGQRS__COL_WORKER_HEARTBEAT_STATUS]);
    return PGQRS_OK;
}

/* Say that the worker is alive, and hear whether it was interrupted. */
static bool heartbeat(pgqrs_worker *worker)
{
    const pgqrs__val  asked[] = { pgqrs__int(pgqrs_worker_id(worker)) };
    const pgqrs__val  now[]   = { pgqrs__now(worker->store, 0) };
    const pgqrs__part part    = { .rows = asked, .nrows = 1 };
    int64_t           status  = PGQRS_WORKER_POLLING;
    pgqrs__call       call    = { .stmt    = PGQRS__STMT_WORKER_HEARTBEAT,
                                  .parts   = &part,
                                  .nparts  = 1,
                                  .scalars = now,
                                  .on_row  = heartbeat_row,
                                  .user    = &status };
    pgqrs_error       error;

    if (pgqrs__run(worker->store, PGQRS__MODE_WRITE, &call, 1, &error) != PGQRS_OK)
        pgqrs__log(worker->store, PGQRS_LOG_WARNING, "heartbeat failed: %s", error.message);
    return status == PGQRS_WORKER_INTERRUPTED;
}

/* Wait for a stop, heart beating. True when it was an interrupt. */
static bool wait_for_stop(pgqrs_worker *worker)
{
    struct pollfd fd   = { .fd = worker->stop_pipe[0], .events = POLLIN };
    int64_t       next = pgqrs__mono_us() + worker->options.heartbeat_us;
    char          byte[64];

    for (;;) {
        int64_t left = PGQRS__MAX(next - pgqrs__mono_us(), 0);
        int     n    = poll(&fd, 1, (int)(PGQRS__MIN(left, AHEAD_US) / 1000 + 1));

        if (n > 0) {
            while (read(worker->stop_pipe[0], byte, sizeof(byte)) > 0)
                continue;
            return false;
        }
        give_back_late(worker);
        if (pgqrs__mono_us() < next)
            continue;
        if (heartbeat(worker))
            return true;
        next = pgqrs__mono_us() + worker->options.heartbeat_us;
    }
}

/* Register, and make the workflows that are to be executed. */
static pgqrs_status first_contact(pgqrs_worker *worker, pgqrs_error *error)
{
    const work  *only = worker->works->next == NULL ? worker->works : NULL;
    int64_t      id;
    pgqrs_status rc = PGQRS_OK;

    for (const work *w = worker->works; w != NULL && rc == PGQRS_OK; w = w->next)
        if (w->on_run != NULL)
            rc = pgqrs_workflow_ensure(worker->store, w->queue, NULL, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs_worker_register(worker->store, worker->name, only != NULL ? only->queue : NULL, &id,
                               error);
    if (rc == PGQRS_ENOTFOUND) /* the queue is not there yet */
        rc = pgqrs_worker_register(worker->store, worker->name, NULL, &id, error);
    if (rc != PGQRS_OK)
        return rc;
    atomic_store(&worker->id, id);
    return pgqrs_worker_set_status(worker->store, id, PGQRS_WORKER_POLLING, error);
}

pgqrs_status pgqrs_worker_run(pgqrs_worker *worker, pgqrs_error *error)
{
    bool         interrupted = false;
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    if (worker == NULL)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_WORKER, "worker is NULL");
    rc = pgqrs__enter(worker->store, error);
    if (rc != PGQRS_OK)
        return rc;
    if (worker->works == NULL) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_WORKER, "the worker has no handler");
        pgqrs__hint(error, "Add one with pgqrs_worker_on_message() or pgqrs_worker_on_run().");
        return PGQRS_EINVAL;
    }
    rc = first_contact(worker, error);
    if (rc != PGQRS_OK)
        return rc;
    worker->running = true;
    rc              = start_threads(worker, error);
    if (rc == PGQRS_OK)
        interrupted = wait_for_stop(worker);
    stop_threads(worker);
    atomic_store(&worker->stopping, false);
    worker->running = false;
    if (pgqrs_worker_set_status(worker->store, pgqrs_worker_id(worker),
                                interrupted ? PGQRS_WORKER_SUSPENDED : PGQRS_WORKER_STOPPED, &own)
        != PGQRS_OK)
        pgqrs__log(worker->store, PGQRS_LOG_WARNING, "the worker's status could not be set: %s",
                   own.message);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}
