/* One process of the storm (support/storm.h).
 *
 *     storm_worker DSN SCHEMA ROLE LOG SEED TOLERANT MUTANT
 *
 * ROLE: producer, messages, runs, worker; all of them together. SIGUSR1: calm, only finish things.
 * SIGTERM: end.
 */
#include "support/mutant.h"
#include "support/processes.h"
#include "support/storm.h"

#include <pgqrs/workflow.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS   4
#define BEATERS   2
#define CLAIM_MAX 32
#define KNOWN_MAX 512 /* ids that a producer remembers, to cancel and replay */
#define KEYS      40  /* idempotency keys, shared by all producers */
#define LEASE     (40 * PGQRS_MILLISECOND)
#define MORE      (80 * PGQRS_MILLISECOND) /* at random on top of it */
#define BACKLOG   24 /* while more is ready producers wait: who idles takes leases back */

/* Both work on what either claimed, as two processes may. */
static pgqrs_store               *stores[2];
static int                        log_fd;
static bool                       tolerant;
static uint64_t                   seed;
static _Atomic int                calm, ending;
static pgqrs_worker              *worker;
static _Thread_local pgqrs_store *store; /* one of them */
static _Thread_local bool side_by_side;  /* other threads use the run: its error may be theirs */

/* --- The log -------------------------------------------------------------------------------------
 */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    log_line(log_fd, wall_now_us(), format, list);
    va_end(list);
}

/* The database is away, as far as this error tells: not reached, shutting down, starting up. */
static bool is_away(pgqrs_status status, const pgqrs_error *error)
{
    return status == PGQRS_ECONN || status == PGQRS_ETIMEDOUT
           || (error != NULL
               && ((error->flags & (PGQRS_RETRYABLE | PGQRS_MAYBE_APPLIED)) != 0
                   || strncmp(error->sqlstate, "57P", 3) == 0));
}

/* Whether an answer is one of those that may be: bits of 1 << status. */
static bool may_be(pgqrs_status status, const pgqrs_error *error, unsigned allowed, int64_t id,
                   const char *what)
{
    if ((1u << (unsigned)status & (allowed | 1u << PGQRS_OK)) != 0
        || (tolerant && is_away(status, error)))
        return true;
    note("wrong %lld 0 0 %s: %s: %s %s (%s)", (long long)id, what, pgqrs_status_name(status),
         error != NULL ? error->message : "", error != NULL ? error->detail : "",
         error != NULL ? error->sqlstate : "");
    return false;
}

/* An answer of the database being away: look again a little later. */
static void breathe(pgqrs_status status)
{
    if (tolerant && status != PGQRS_OK)
        sleep_us(20 * PGQRS_MILLISECOND);
}

static uint64_t own_random(void)
{
    static _Atomic uint64_t others;
    return seed ^ (atomic_fetch_add(&others, 1) << 32);
}

/* --- Producer ------------------------------------------------------------------------------------
 */

static int64_t known[KNOWN_MAX];
static size_t  known_count;

static void know(int64_t id)
{
    known[known_count++ % KNOWN_MAX] = id;
}

/* Mostly one of the last, which are still alive. */
static int64_t some_known(uint64_t *random)
{
    const size_t count = known_count < KNOWN_MAX ? known_count : KNOWN_MAX;
    const size_t back =
        1 + (size_t)random_below(random, random_below(random, 4) > 0 ? 16 : KNOWN_MAX);

    return back > count ? 0 : known[(known_count - back) % KNOWN_MAX];
}

static void enqueue_one(uint64_t *random)
{
    static int64_t        n;
    char                  payload[64], key[16] = "-";
    const int64_t         dice  = random_below(random, 10);
    const char           *queue = dice < 2 ? "frail" : dice < 5 ? "loop" : "plain";
    int64_t               id    = 0;
    pgqrs_error           error;
    pgqrs_enqueue_options options = { .struct_size = sizeof(options) };

    options.priority = (int)random_below(random, 10);
    if (random_below(random, 10) == 0)
        options.delay_us = random_below(random, 100) * PGQRS_MILLISECOND;
    if (random_below(random, 10) == 0) {
        (void)snprintf(key, sizeof(key), "k%d", (int)random_below(random, KEYS));
        options.key = key;
    }
    (void)snprintf(payload, sizeof(payload), "{\"p\":%ld,\"n\":%lld}", (long)getpid(),
                   (long long)n++);
    const pgqrs_status rc = pgqrs_enqueue(store, queue, payload, &options, &id, &error);
    (void)may_be(rc, &error, 0, id, "enqueue");
    if (rc == PGQRS_OK) {
        note("enqueued %lld 0 0 %s %s", (long long)id, queue, key);
        know(id);
    }
    breathe(rc);
}

static void enqueue_some(uint64_t *random)
{
    static int64_t n;
    const char    *payloads[CLAIM_MAX];
    char           text[CLAIM_MAX][64];
    int64_t        ids[CLAIM_MAX];
    const char    *queue = random_below(random, 4) == 0 ? "plain" : "hot";
    pgqrs_error    error;
    const size_t   count = 1 + (size_t)random_below(random, CLAIM_MAX);

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(text[i], sizeof(text[i]), "{\"m\":%ld,\"n\":%lld}", (long)getpid(),
                       (long long)n++);
        payloads[i] = text[i];
    }
    const pgqrs_status rc = pgqrs_enqueue_many(store, queue, payloads, count, NULL, ids, &error);
    (void)may_be(rc, &error, 0, 0, "enqueue_many");
    if (rc == PGQRS_OK)
        for (size_t i = 0; i < count; i++) {
            note("enqueued %lld 0 0 %s -", (long long)ids[i], queue);
            know(ids[i]);
        }
    breathe(rc);
}

static void trigger_one(uint64_t *random)
{
    const char        *workflow = random_below(random, 4) == 0 ? "wide" : "line";
    int64_t            id       = 0;
    pgqrs_error        error;
    const pgqrs_status rc = pgqrs_trigger(store, workflow, "{\"go\":true}", NULL, &id, &error);

    (void)may_be(rc, &error, 0, id, "trigger");
    if (rc == PGQRS_OK) {
        note("enqueued %lld 0 0 %s -", (long long)id, workflow);
        know(id);
    }
    breathe(rc);
}

static void cancel_one(uint64_t *random)
{
    const int64_t id = some_known(random);
    pgqrs_error   error;
    pgqrs_state   state = PGQRS_STATE_READY;

    if (id == 0)
        return;
    note("asked %lld 0 0 cancel", (long long)id);
    const pgqrs_status rc = pgqrs_cancel(store, id, &state, &error);
    note("answered %lld 0 %d cancel", (long long)id, (int)rc);
    if (may_be(rc, &error, 1u << PGQRS_ENOTFOUND | 1u << PGQRS_ESTATE, id, "cancel")
        && rc == PGQRS_OK && state != PGQRS_STATE_CANCELLED && state != PGQRS_STATE_LEASED)
        note("wrong %lld 0 0 cancel says state %d", (long long)id, (int)state);
    breathe(rc);
}

static void replay_some(uint64_t *random)
{
    int64_t     ids[8];
    size_t      count = 0, done = 0;
    pgqrs_error error;

    while (count < 8 && known_count > 0) {
        ids[count++] = some_known(random);
        note("asked %lld 0 0 replay", (long long)ids[count - 1]);
    }
    if (count == 0)
        return;
    const pgqrs_status rc = pgqrs_replay(store, ids, count, &done, &error);
    (void)may_be(rc, &error, 0, ids[0], "replay");
    breathe(rc);
}

static void claim_by_id(uint64_t *random)
{
    const int64_t   id       = some_known(random);
    pgqrs_messages *messages = NULL;
    pgqrs_error     error;

    if (id == 0)
        return;
    const pgqrs_status rc = pgqrs_claim_id(
        store, id, PGQRS_OPTIONS(claim, .lease_us = 50 * PGQRS_MILLISECOND), &messages, &error);
    (void)may_be(rc, &error, 1u << PGQRS_ENOTFOUND | 1u << PGQRS_ESTATE, id, "claim_id");
    if (rc == PGQRS_OK && pgqrs_messages_count(messages) != 1)
        note("wrong %lld 0 0 claim_id gave %zu", (long long)id, pgqrs_messages_count(messages));
    if (pgqrs_messages_count(messages) == 1) {
        const pgqrs_message *m = pgqrs_messages_at(messages, 0);
        note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
    }
    pgqrs_messages_free(messages); /* and dropped: the lease passes */
    breathe(rc);
}

static bool backlog(void)
{
    pgqrs_queue_metrics plain, line_runs;
    pgqrs_error         error;
    pgqrs_status        rc = pgqrs_queue_measure(store, "plain", &plain, &error);

    (void)may_be(rc, &error, 0, 0, "measure");
    if (rc == PGQRS_OK) {
        rc = pgqrs_queue_measure(store, "line", &line_runs, &error);
        (void)may_be(rc, &error, 0, 0, "measure");
    }
    breathe(rc);
    return rc == PGQRS_OK && (plain.ready > BACKLOG || line_runs.ready > BACKLOG);
}

static void produce(void)
{
    uint64_t random = own_random();

    for (int64_t n = 0; !ending && !calm; n++) {
        const int64_t dice = n % 8 == 0 && backlog() ? 100 : random_below(&random, 100);
        if (dice < 44)
            enqueue_one(&random);
        else if (dice < 54)
            enqueue_some(&random);
        else if (dice < 74)
            trigger_one(&random);
        else if (dice < 88)
            cancel_one(&random);
        else if (dice < 92)
            replay_some(&random);
        else if (dice < 100)
            claim_by_id(&random);
        else
            n--; /* look again */
        sleep_us(random_below(&random, 20) * PGQRS_MILLISECOND);
    }
}

/* --- Messages by hand: several threads work on what one claim took -------------------------------
 */

typedef struct batch {
    const pgqrs_message *messages[CLAIM_MAX];
    size_t               count;
    _Atomic size_t       next;
    _Atomic int          working;
    int                  beaters;
    pgqrs_messages      *from; /* of runs */
    pgqrs_run_handler    workflow;
} batch;

/* Just about when the lease passes, or well after somebody else may have it. */
static int64_t until_expiry_us(const pgqrs_message *m, uint64_t *random)
{
    const int64_t left = m->held_until_us - monotonic_now_us();
    return random_below(random, 4) > 0
               ? left + random_below(random, 10) * PGQRS_MILLISECOND - 2 * PGQRS_MILLISECOND
               : left + random_below(random, 100) * PGQRS_MILLISECOND;
}

static void asked(const pgqrs_message *m, const char *verb)
{
    note("asked %lld %lld 0 %s", (long long)m->id, (long long)m->lease, verb);
}

static void answered(const pgqrs_message *m, const char *verb, pgqrs_status rc,
                     const pgqrs_error *error)
{
    note("answered %lld %lld %d %s", (long long)m->id, (long long)m->lease, (int)rc, verb);
    (void)may_be(rc, error, 1u << PGQRS_ELEASE, m->id, verb);
    breathe(rc);
}

static void archive_one(const pgqrs_message *m)
{
    pgqrs_error error;
    asked(m, "archive");
    const pgqrs_status rc = pgqrs_archive(store, m, &error);
    answered(m, "archive", rc, &error);
}

static void archive_some(const pgqrs_message *const *messages, size_t count)
{
    pgqrs_status statuses[CLAIM_MAX];
    pgqrs_error  error;

    for (size_t i = 0; i < count; i++)
        asked(messages[i], "archive");
    const pgqrs_status rc = pgqrs_archive_many(store, messages, count, statuses, &error);
    (void)may_be(rc, &error, 0, messages[0]->id, "archive_many");
    for (size_t i = 0; rc == PGQRS_OK && i < count; i++)
        answered(messages[i], "archive", statuses[i], NULL);
    breathe(rc);
}

static void release_one(const pgqrs_message *m, const pgqrs_release_options *options)
{
    const char *verb = options != NULL && options->counted ? "release_counted" : "release";
    pgqrs_error error;
    asked(m, verb);
    const pgqrs_status rc = pgqrs_release(store, m, options, &error);
    answered(m, verb, rc, &error);
}

static void delete_one(const pgqrs_message *m)
{
    pgqrs_error error;
    asked(m, "delete");
    const pgqrs_status rc = pgqrs_delete(store, m, &error);
    answered(m, "delete", rc, &error);
}

/* Quick ends of all kinds, while everything is extended all the time. */
static void handle_hot(const pgqrs_message *m, uint64_t *random)
{
    const int64_t dice = calm ? 0 : random_below(random, 100);

    if (dice < 35)
        archive_one(m);
    else if (dice < 45)
        delete_one(m);
    else if (dice < 90)
        release_one(m, NULL);
    else
        release_one(m, PGQRS_OPTIONS(release, .delay_us = 20 * PGQRS_MILLISECOND));
}

static void handle(const pgqrs_message *m, uint64_t *random)
{
    const int64_t dice = calm ? 0 : random_below(random, 100);
    pgqrs_error   error;
    pgqrs_status  rc;

    if (dice < 25) {
        archive_one(m);
    } else if (dice < 29) {
        delete_one(m);
    } else if (dice < 34) {
        release_one(m, NULL);
    } else if (dice < 38) {
        release_one(m, PGQRS_OPTIONS(release, .delay_us = random_below(random, 80) * 1000));
    } else if (dice < 42) {
        release_one(m, PGQRS_OPTIONS(release, .counted = true));
    } else if (dice < 46) {
        asked(m, "retry");
        rc = pgqrs_retry(store, m, "STORM", "again", &error);
        answered(m, "retry", rc, &error);
    } else if (dice < 48) {
        asked(m, "dead_letter");
        rc = pgqrs_dead_letter(store, m, "STORM", "never", &error);
        answered(m, "dead_letter", rc, &error);
    } else if (dice < 52) {
        rc = pgqrs_extend(store, m, LEASE, &error);
        (void)may_be(rc, &error, 1u << PGQRS_ELEASE | 1u << PGQRS_ECANCELLED, m->id, "extend");
        archive_one(m);
    } else if (dice < 92) {
        sleep_us(until_expiry_us(m, random));
        archive_one(m);
    } /* else: forget it, the lease passes */
}

static void *handle_batch(void *argument)
{
    batch   *b      = argument;
    uint64_t random = own_random();

    store = stores[random_below(&random, 2)];
    for (;;) {
        const size_t some = random_below(&random, 12) == 0 ? 4 : 1;
        const size_t i    = atomic_fetch_add(&b->next, some);
        if (i >= b->count)
            break;
        const size_t count = b->count - i < some ? b->count - i : some;
        if (count > 1)
            archive_some(b->messages + i, count);
        else if (b->beaters > 0)
            handle_hot(b->messages[i], &random);
        else
            handle(b->messages[i], &random);
    }
    (void)atomic_fetch_sub(&b->working, 1);
    return NULL;
}

/* Extends everything that the claim took, whatever the other threads do with it. */
static void *beat(void *argument)
{
    static _Atomic unsigned turn;
    const batch            *b = argument;
    pgqrs_status            statuses[CLAIM_MAX];
    pgqrs_error             error;

    store = stores[atomic_fetch_add(&turn, 1) % 2];
    while (atomic_load(&b->working) > 0) {
        const pgqrs_status rc =
            pgqrs_extend_many(store, b->messages, b->count, LEASE, statuses, &error);
        (void)may_be(rc, &error, 0, 0, "extend_many");
        for (size_t i = 0; rc == PGQRS_OK && i < b->count; i++)
            (void)may_be(statuses[i], NULL, 1u << PGQRS_ELEASE | 1u << PGQRS_ECANCELLED,
                         b->messages[i]->id, "extend_many");
        sleep_us(PGQRS_MILLISECOND);
    }
    return NULL;
}

static void in_threads(void *(*body)(void *argument), batch *b)
{
    pthread_t threads[THREADS + BEATERS];
    size_t    started = 0;

    atomic_store(&b->working, THREADS);
    for (; started < THREADS; started++)
        if (pthread_create(&threads[started], NULL, body, b) != 0)
            _exit(5);
    for (; started < THREADS + (size_t)b->beaters; started++)
        if (pthread_create(&threads[started], NULL, beat, b) != 0)
            _exit(5);
    while (started > 0)
        (void)pthread_join(threads[--started], NULL);
}

/* Times of our own make a claim take back what has passed by them: at once, or even before its
 * time. */
static int64_t some_now(uint64_t *random)
{
    const int64_t dice = calm ? 0 : random_below(random, 10);
    return dice < 3   ? 0
           : dice < 6 ? wall_now_us()
                      : wall_now_us() + random_below(random, LEASE + MORE);
}

static pgqrs_messages *claim_some(const char *queue, uint64_t *random)
{
    const pgqrs_claim_options options = {
        .struct_size = sizeof(options),
        .now_us      = some_now(random),
        .limit       = 1 + (int)random_below(random, CLAIM_MAX),
        .lease_us    = calm ? 10 * PGQRS_SECOND : LEASE + random_below(random, MORE),
        .wait_us     = 10 * PGQRS_MILLISECOND,
        .poll_us     = 10 * PGQRS_MILLISECOND,
    };
    pgqrs_messages    *messages = NULL;
    pgqrs_error        error;
    const pgqrs_status rc = pgqrs_claim(store, queue, &options, &messages, &error);

    (void)may_be(rc, &error, 0, 0, "claim");
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++) {
        const pgqrs_message *m = pgqrs_messages_at(messages, i);
        note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
    }
    breathe(rc);
    return messages;
}

static void consume_messages(void)
{
    uint64_t random = own_random();

    while (!ending) {
        const int64_t   dice     = random_below(&random, 10);
        batch           b        = { .beaters = dice < 5 ? BEATERS : 0 };
        pgqrs_messages *messages = claim_some(dice < 5   ? "hot"
                                              : dice < 8 ? "plain"
                                                         : "frail",
                                              &random);
        for (; b.count < pgqrs_messages_count(messages); b.count++)
            b.messages[b.count] = pgqrs_messages_at(messages, b.count);
        if (b.count > 0)
            in_threads(handle_batch, &b);
        pgqrs_messages_free(messages);
    }
}

/* --- Runs ----------------------------------------------------------------------------------------
 */

#define RUN_STOPS                                                                              \
    (1u << PGQRS_ELEASE | 1u << PGQRS_ECANCELLED | 1u << PGQRS_ENOTREADY | 1u << PGQRS_EPAUSED \
     | 1u << PGQRS_EEXHAUSTED)

static bool run_may_be(pgqrs_run *run, pgqrs_status rc, const char *what)
{
    const pgqrs_error *error = rc == PGQRS_OK || side_by_side ? NULL : pgqrs_run_error(run);
    return may_be(rc, error, RUN_STOPS, pgqrs_run_id(run), what);
}

/* Execute a step that is to be executed: its output tells who did it. */
static pgqrs_status execute(pgqrs_step *step, int64_t began_us, uint64_t *random)
{
    pgqrs_run           *run  = pgqrs_step_run(step);
    const pgqrs_message *m    = pgqrs_run_message(run);
    const char          *name = pgqrs_step_name(step);
    const int64_t        dice = calm ? 50 : random_below(random, 100);
    char                 own[96];

    note("executed %lld %lld %lld %s", (long long)m->id, (long long)m->lease, (long long)began_us,
         name);
    if (dice < 10) /* just about when the lease passes */
        sleep_us(until_expiry_us(m, random));
    else if (dice < 40)
        sleep_us(random_below(random, 8) * PGQRS_MILLISECOND);
    else if (dice > 95) {
        const pgqrs_status rc = pgqrs_step_retry(step, "STORM", "again", 20 * PGQRS_MILLISECOND);
        (void)run_may_be(run, rc, "step_retry");
        return rc;
    }
    (void)snprintf(own, sizeof(own), "{\"by\":\"%ld-%016llx\"}", (long)getpid(),
                   (unsigned long long)random_next(random));
    const pgqrs_status rc = pgqrs_step_succeed(step, own);
    if (run_may_be(run, rc, "step_succeed") && rc == PGQRS_OK) {
        const char *stands = pgqrs_step_output(step);
        note("recorded %lld %lld %d %s %s", (long long)m->id, (long long)m->lease,
             stands != NULL && strcmp(stands, own) == 0, name, stands != NULL ? stands : "-");
    }
    breathe(rc);
    return rc;
}

static pgqrs_status end_run(pgqrs_run *run, uint64_t *random)
{
    const pgqrs_message m    = *pgqrs_run_message(run);
    const int64_t       dice = calm ? 50 : random_below(random, 100);
    const char         *verb = dice < 4 ? "run_pause" : dice < 8 ? "run_fail" : "run_succeed";

    if (dice >= 80)
        sleep_us(until_expiry_us(&m, random));
    asked(&m, verb);
    const pgqrs_status rc = dice < 4   ? pgqrs_run_pause(run, "storm", 30 * PGQRS_MILLISECOND)
                            : dice < 8 ? pgqrs_run_fail(run, "STORM", "failed")
                                       : pgqrs_run_succeed(run, "{\"done\":true}");
    note("answered %lld %lld %d %s", (long long)m.id, (long long)m.lease, (int)rc, verb);
    (void)run_may_be(run, rc, verb);
    breathe(rc);
    return rc;
}

static PGQRS_WORKFLOW(line, run)
{
    const int64_t began_us = wall_now_us();
    uint64_t      random   = own_random();

    for (int i = 1; i <= STORM_STEPS; i++) {
        const char *output;
        PGQRS_STEP(run, pgqrs_run_printf(run, "s%d", i), &output) {
            PGQRS_TRY(execute(step, began_us, &random));
        }
        if (output == NULL)
            note("wrong %lld 0 0 step s%d has no output", (long long)pgqrs_run_id(run), i);
    }
    return end_run(run, &random);
}

typedef struct wide_step {
    pgqrs_run   *run;
    int64_t      began_us;
    char         name[16];
    pgqrs_status rc;
} wide_step;

static void *one_wide_step(void *argument)
{
    wide_step  *w      = argument;
    pgqrs_step *step   = NULL;
    uint64_t    random = own_random();

    side_by_side = true;
    w->rc        = pgqrs_step_begin(w->run, w->name, PGQRS_OPTIONS(step, .by_key = true), &step);
    (void)run_may_be(w->run, w->rc, "step_begin");
    if (w->rc == PGQRS_OK && !pgqrs_step_recorded(step))
        w->rc = execute(step, w->began_us, &random);
    return NULL;
}

static PGQRS_WORKFLOW(wide, run)
{
    const int64_t began_us = wall_now_us();
    uint64_t      random   = own_random();
    wide_step     steps[STORM_STEPS];
    pthread_t     threads[STORM_STEPS];

    for (int i = 0; i < STORM_STEPS; i++) {
        steps[i].run      = run;
        steps[i].began_us = began_us;
        (void)snprintf(steps[i].name, sizeof(steps[i].name), "w%d", i + 1);
        if (pthread_create(&threads[i], NULL, one_wide_step, &steps[i]) != 0)
            _exit(5);
    }
    for (int i = 0; i < STORM_STEPS; i++)
        (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < STORM_STEPS; i++)
        PGQRS_TRY(steps[i].rc);
    return end_run(run, &random);
}

/* By hand: nobody keeps the leases, so they pass in the middle of a run. */
static void *execute_batch(void *argument)
{
    static pthread_mutex_t one    = PTHREAD_MUTEX_INITIALIZER;
    batch                 *b      = argument;
    uint64_t               random = own_random();
    pgqrs_error            error;

    store = stores[random_below(&random, 2)];
    for (size_t i; (i = atomic_fetch_add(&b->next, 1)) < b->count;) {
        const pgqrs_message *m   = b->messages[i];
        pgqrs_run           *run = NULL;

        if (!calm && random_below(&random, 10) == 0)
            continue;                   /* forget it */
        (void)pthread_mutex_lock(&one); /* one thread at a time uses what a claim gave */
        pgqrs_status rc = pgqrs_run_from(store, b->from, i, &run, &error);
        (void)pthread_mutex_unlock(&one);
        (void)may_be(rc, &error, 0, m->id, "run_from");
        if (rc != PGQRS_OK)
            continue;
        rc = b->workflow(run, NULL);
        if (rc == PGQRS_ENOTREADY)
            release_one(m, PGQRS_OPTIONS(release, .delay_us = 20 * PGQRS_MILLISECOND));
        pgqrs_run_free(run);
    }
    (void)atomic_fetch_sub(&b->working, 1);
    return NULL;
}

static void consume_runs(void)
{
    uint64_t random = own_random();

    while (!ending) {
        const bool is_wide = random_below(&random, 4) == 0;
        batch      b       = { .beaters  = random_below(&random, 4) == 0 ? 1 : 0,
                               .workflow = is_wide ? wide : line };

        b.from = claim_some(is_wide ? "wide" : "line", &random);
        for (; b.count < pgqrs_messages_count(b.from); b.count++)
            b.messages[b.count] = pgqrs_messages_at(b.from, b.count);
        if (b.count > 0)
            in_threads(execute_batch, &b);
        pgqrs_messages_free(b.from);
    }
}

/* --- The library's own worker --------------------------------------------------------------------
 */

static pgqrs_status on_message(pgqrs_store *in, const pgqrs_message *m, void *user_data,
                               pgqrs_error *error)
{
    uint64_t      random = own_random();
    const int64_t dice   = calm ? 50 : random_below(&random, 100);

    (void)user_data;
    store = in;
    note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
    if (dice < 10) {
        archive_one(m);
    } else if (dice < 20) {
        *error = (pgqrs_error){ .status = PGQRS_EDB, .message = "storm" };
        return PGQRS_EDB;
    } else if (dice < 40) {
        sleep_us(random_below(&random, 20) * PGQRS_MILLISECOND);
    }
    return PGQRS_OK;
}

static void run_worker(void)
{
    pgqrs_error error;

    while (!ending) {
        const pgqrs_status rc = pgqrs_worker_run(worker, &error);
        (void)may_be(rc, &error, 0, 0, "worker_run");
        breathe(rc);
        if (!tolerant)
            break;
    }
}

static void prepare_work(void)
{
    const pgqrs_work_options options = {
        .struct_size = sizeof(options),
        .concurrency = THREADS,
        .lease_us    = 4 * LEASE,
        .poll_us     = 20 * PGQRS_MILLISECOND,
    };
    pgqrs_error error;

    if (pgqrs_worker_new(store, PGQRS_OPTIONS(worker, .stop_us = PGQRS_SECOND), &worker, &error)
            != PGQRS_OK
        || pgqrs_worker_on_run(worker, "line", line, NULL, &options) != PGQRS_OK
        || pgqrs_worker_on_run(worker, "wide", wide, NULL, &options) != PGQRS_OK
        || pgqrs_worker_on_message(worker, "loop", on_message, NULL, &options) != PGQRS_OK)
        _exit(6);
}

/* --- The process ---------------------------------------------------------------------------------
 */

typedef void (*role_fn)(void);

static void *play_role(void *role)
{
    store = stores[0];
    (*(role_fn *)role)();
    return NULL;
}

static void do_all(void)
{
    role_fn   others[] = { produce, consume_messages, consume_runs };
    pthread_t threads[sizeof(others) / sizeof(*others)];

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        if (pthread_create(&threads[i], NULL, play_role, &others[i]) != 0)
            _exit(6);
    run_worker();
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        (void)pthread_join(threads[i], NULL);
}

static void on_signal(int number)
{
    atomic_store(&calm, 1);
    if (number == SIGTERM) {
        atomic_store(&ending, 1);
        if (worker != NULL)
            pgqrs_worker_stop(worker);
    }
}

int main(int argc, char **argv)
{
    pgqrs_store_options options = {
        .struct_size     = sizeof(options),
        .max_connections = 4,
        .busy_retry      = -1, /* a deadlock is to be seen */
    };

    if (argc != 8)
        return 2;
    const char *role = argv[3];
    seed             = strtoull(argv[5], NULL, 10);
    tolerant         = strcmp(argv[6], "tolerant") == 0;
    log_fd           = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0 || !mutant_install(argv[1], argv[7]))
        return 2;
    for (int i = 0; i < 2; i++)
        stores[i] = helper_open(argc, argv, &options);
    store = stores[0];
    if (strcmp(role, "worker") == 0 || strcmp(role, "all") == 0)
        prepare_work();
    const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    (void)sigaction(SIGUSR1, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);

    if (strcmp(role, "producer") == 0)
        produce();
    else if (strcmp(role, "messages") == 0)
        consume_messages();
    else if (strcmp(role, "runs") == 0)
        consume_runs();
    else if (strcmp(role, "all") == 0)
        do_all();
    else
        run_worker();
    pgqrs_worker_free(worker);
    for (int i = 0; i < 2; i++)
        pgqrs_close(stores[i]);
    return 0;
}
