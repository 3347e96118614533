/* One process of the crash tests (tests/crash/test_crash.c): a script that calls every function of
 * the public API that speaks with the database, in an order that is always the same.
 *
 *     crash_worker DSN SCHEMA PART LOG AHEAD_US [drain]
 *
 * PART: install, queues, messages, runs, workers, adopted. AHEAD_US: how far its clock is ahead.
 * With `drain` it takes over afterwards whatever is left, from itself or from one that was killed,
 * and brings it to its end. What it does is written down as in a storm (support/storm.h). At its
 * end it says how many failpoints it has passed: "points N". */
#include "support/processes.h"
#include "support/storm.h"
#include "util/failpoint.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define TAKEN_MAX 16
#define OK        (1u << PGQRS_OK)
/* The script is played a second time, over what the first left. */
#define AGAIN (1u << PGQRS_EEXISTS | 1u << PGQRS_ENOTFOUND | 1u << PGQRS_ESTATE)
#define LOST  (1u << PGQRS_ELEASE)

static pgqrs_store    *store;
static int             log_fd;
static _Atomic int64_t ahead_us;
static bool            again; /* whether others may have left something */

/* --- The clock, and what is written down
 * -------------------------------------------------------- */

static int64_t now(void)
{
    return wall_now_us() + atomic_load(&ahead_us);
}

static int64_t wall_clock(void *user_data)
{
    (void)user_data;
    return now();
}

static int64_t monotonic_clock(void *user_data)
{
    (void)user_data;
    return monotonic_now_us();
}

static void let_pass(int64_t us)
{
    (void)atomic_fetch_add(&ahead_us, us);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char    line[1024];
    int     used = snprintf(line, sizeof(line), "%lld ", (long long)now());
    va_list list;

    va_start(list, format);
    used += vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, list);
    va_end(list);
    if (used > (int)sizeof(line) - 2)
        used = (int)sizeof(line) - 2;
    line[used++] = '\n';
    if (write(log_fd, line, (size_t)used) != used)
        _exit(4);
}

static void wrong(const char *what, pgqrs_status rc, const pgqrs_error *error)
{
    note("wrong 0 0 0 %s: %s: %s", what, pgqrs_status_name(rc),
         error != NULL ? error->message : "");
}

/* The call's status must be one of @p allowed: bits of 1 << status. */
static pgqrs_status may_be(pgqrs_status rc, unsigned allowed, const char *what,
                           const pgqrs_error *error)
{
    if (((1u << (unsigned)rc) & allowed) == 0)
        wrong(what, rc, error);
    return rc;
}

static pgqrs_error failed;

#define EXPECT(allowed, call) may_be((call), (allowed), #call, &failed)
#define EXPECT_RUN(allowed, run, call) \
    may_be((call), (allowed) | (again ? RUN_AGAIN : 0), #call, pgqrs_run_error(run))
/* Of a run that was in the middle of something. */
#define RUN_AGAIN                                                                             \
    (OK | AGAIN | LOST | 1u << PGQRS_EPAUSED | 1u << PGQRS_ENOTREADY | 1u << PGQRS_ECANCELLED \
     | 1u << PGQRS_EEXHAUSTED)

static void asked(int64_t id, int64_t lease, const char *verb)
{
    note("asked %lld %lld 0 %s", (long long)id, (long long)lease, verb);
}

static void answered(int64_t id, int64_t lease, pgqrs_status rc, const char *verb)
{
    note("answered %lld %lld %d %s", (long long)id, (long long)lease, (int)rc, verb);
}

/* --- Putting in and taking out
 * ------------------------------------------------------------------ */

static int64_t put(const char *queue, const char *key, int64_t delay_us)
{
    const pgqrs_enqueue_options options = { .struct_size = sizeof(options),
                                            .key         = key,
                                            .key_ttl_us  = 30 * PGQRS_DAY,
                                            .delay_us    = delay_us,
                                            .headers     = "{\"trace\":\"x\"}" };
    int64_t                     id      = 0;

    if (EXPECT(OK, pgqrs_enqueue(store, queue, "{\"n\":1}",
                                 key != NULL || delay_us != 0 ? &options : NULL, &id, &failed))
        == PGQRS_OK)
        note("enqueued %lld 0 0 %s %s", (long long)id, queue, key != NULL ? key : "-");
    return id;
}

static int64_t start(const char *workflow)
{
    int64_t id = 0;

    if (EXPECT(OK, pgqrs_trigger(store, workflow, "{\"go\":1}", NULL, &id, &failed)) == PGQRS_OK)
        note("enqueued %lld 0 0 %s -", (long long)id, workflow);
    return id;
}

static void note_claimed(const pgqrs_messages *messages)
{
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++) {
        const pgqrs_message *m = pgqrs_messages_at(messages, i);
        note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
    }
}

static pgqrs_messages *take(const char *queue, int limit, int64_t owner)
{
    pgqrs_messages *messages = NULL;

    (void)EXPECT(OK, pgqrs_claim(store, queue, PGQRS_OPTIONS(claim, .limit = limit, .owner = owner),
                                 &messages, &failed));
    note_claimed(messages);
    return messages;
}

static pgqrs_messages *take_id(int64_t id)
{
    pgqrs_messages *messages = NULL;

    (void)EXPECT(OK | (again ? AGAIN : 0), pgqrs_claim_id(store, id, NULL, &messages, &failed));
    note_claimed(messages);
    return messages;
}

/* Whatever is going to be removed is written down before. */
static void ask_to_remove(const char *queue, pgqrs_state state)
{
    pgqrs_records *records = NULL;

    if (EXPECT(OK,
               pgqrs_message_list(store, queue, PGQRS_OPTIONS(list, .state = state, .limit = 1000),
                                  &records, &failed))
        == PGQRS_OK)
        for (size_t i = 0; i < pgqrs_records_count(records); i++)
            asked(pgqrs_records_at(records, i)->id, 0, "delete");
    pgqrs_records_free(records);
}

/* --- install
 * ------------------------------------------------------------------------------------ */

static void part_install(void)
{
    pgqrs_description *about = NULL;
    pgqrs_plan        *plan  = NULL;
    pgqrs_counters     counters;

    (void)EXPECT(OK, pgqrs_install_plan(store, &plan, &failed));
    pgqrs_plan_free(plan);
    (void)EXPECT(OK, pgqrs_install(store, &failed));
    (void)EXPECT(OK, pgqrs_verify(store, &failed));
    (void)EXPECT(OK, pgqrs_store_describe(store, &about, &failed));
    pgqrs_description_free(about);
    (void)EXPECT(OK, pgqrs_install(store, &failed));
    /* roles that every server has; SQLite has none */
    (void)EXPECT(OK | 1u << PGQRS_ESTATE,
                 pgqrs_install_roles(store, "pg_monitor", "pg_read_all_stats", &failed));
    pgqrs_store_counters(store, &counters);
    (void)EXPECT(OK | (again ? AGAIN : 0), pgqrs_queue_create(store, "plain", NULL, &failed));
    (void)put("plain", NULL, 0);
}

/* --- queues
 * ------------------------------------------------------------------------------------- */

static void part_queues(void)
{
    const pgqrs_queue_options keep_short = { .struct_size  = sizeof(keep_short),
                                             .retention_us = PGQRS_HOUR };
    pgqrs_queues             *queues     = NULL;
    pgqrs_queue_metrics       metrics;
    int64_t                   count;

    (void)EXPECT(OK | (again ? AGAIN : 0), pgqrs_queue_create(store, "crash", NULL, &failed));
    (void)EXPECT(OK, pgqrs_queue_ensure(store, "crash", NULL, &failed));
    (void)EXPECT(OK, pgqrs_workflow_ensure(store, "crash_flow", NULL, &failed));
    (void)EXPECT(OK, pgqrs_queue_configure(store, "crash", &keep_short, &failed));
    (void)EXPECT(OK, pgqrs_queue_get(store, "crash", &queues, &failed));
    pgqrs_queues_free(queues);
    (void)EXPECT(OK, pgqrs_queue_list(store, &queues, &failed));
    pgqrs_queues_free(queues);
    (void)EXPECT(OK, pgqrs_queue_pause(store, "crash", &failed));
    (void)put("crash", NULL, 0);
    (void)put("crash", NULL, PGQRS_MINUTE);
    (void)EXPECT(OK, pgqrs_queue_resume(store, "crash", &failed));
    (void)EXPECT(OK, pgqrs_queue_measure(store, "crash", &metrics, &failed));

    /* one that retention removes */
    pgqrs_messages *messages = take("crash", 1, 0);
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++)
        (void)EXPECT(OK, pgqrs_archive(store, pgqrs_messages_at(messages, i), &failed));
    pgqrs_messages_free(messages);
    let_pass(2 * PGQRS_HOUR);
    ask_to_remove("crash", 0);
    (void)EXPECT(OK, pgqrs_retention_run(store, 0, &count, &failed));

    ask_to_remove("crash", PGQRS_STATE_READY);
    ask_to_remove("crash", PGQRS_STATE_SCHEDULED);
    (void)EXPECT(OK, pgqrs_queue_purge(store, "crash", &count, &failed));

    (void)put("crash", NULL, 0);
    messages = take("crash", 10, 0);
    pgqrs_messages_free(messages);
    ask_to_remove("crash", PGQRS_STATE_LEASED);
    ask_to_remove("crash", PGQRS_STATE_READY);
    ask_to_remove("crash", PGQRS_STATE_SCHEDULED);
    ask_to_remove("crash", 0);
    (void)EXPECT(OK, pgqrs_queue_delete(store, "crash", true, &failed));
    (void)EXPECT(OK, pgqrs_queue_delete(store, "crash_flow", false, &failed));
    (void)EXPECT(OK, pgqrs_retention_run(store, 0, &count, &failed)); /* what they left behind */
}

/* --- messages
 * ----------------------------------------------------------------------------------- */

static void end_one(const pgqrs_message *m, const char *verb,
                    pgqrs_status (*end)(pgqrs_store *in, const pgqrs_message *m,
                                        pgqrs_error *error))
{
    asked(m->id, m->lease, verb);
    answered(m->id, m->lease, EXPECT(OK, end(store, m, &failed)), verb);
}

static void end_two(const pgqrs_message *const *two, const char *verb,
                    pgqrs_status (*end)(pgqrs_store *in, const pgqrs_message *const *messages,
                                        size_t count, pgqrs_status *out_statuses,
                                        pgqrs_error *error))
{
    pgqrs_status statuses[2] = { PGQRS_EINTERNAL, PGQRS_EINTERNAL };

    for (int i = 0; i < 2; i++)
        asked(two[i]->id, two[i]->lease, verb);
    if (EXPECT(OK, end(store, two, 2, statuses, &failed)) != PGQRS_OK)
        return;
    for (int i = 0; i < 2; i++)
        answered(two[i]->id, two[i]->lease, may_be(statuses[i], OK, verb, NULL), verb);
}

static void release(const pgqrs_message *m, const pgqrs_release_options *options)
{
    const char *verb = options != NULL && options->counted ? "release_counted" : "release";

    asked(m->id, m->lease, verb);
    answered(m->id, m->lease, EXPECT(OK, pgqrs_release(store, m, options, &failed)), verb);
}

static void end_a_batch(void)
{
    static const char *const payloads[] = { "0", "1", "2", "3",  "4",  "5",  "6",
                                            "7", "8", "9", "10", "11", "12", "13" };
    const size_t             put_count  = sizeof(payloads) / sizeof(*payloads);
    const pgqrs_message     *m[TAKEN_MAX];
    pgqrs_status             statuses[TAKEN_MAX];
    int64_t                  ids[TAKEN_MAX];

    if (EXPECT(OK, pgqrs_enqueue_many(store, "plain", payloads, put_count, NULL, ids, &failed))
        == PGQRS_OK)
        for (size_t i = 0; i < put_count; i++)
            note("enqueued %lld 0 0 plain -", (long long)ids[i]);
    pgqrs_messages *messages = take("plain", (int)put_count, 0);
    const size_t    count    = pgqrs_messages_count(messages);
    for (size_t i = 0; i < count; i++)
        m[i] = pgqrs_messages_at(messages, i);
    if (count < put_count) {
        wrong("fewer messages than were put in", PGQRS_EINTERNAL, NULL);
        pgqrs_messages_free(messages);
        return;
    }
    (void)EXPECT(OK, pgqrs_extend_many(store, m, count, PGQRS_MINUTE, statuses, &failed));
    (void)EXPECT(OK, pgqrs_lease_keep(store, m[0], PGQRS_HOUR, &failed));
    (void)EXPECT(OK, pgqrs_lease_unkeep(store, m[0], &failed));
    end_one(m[0], "archive", pgqrs_archive);
    end_one(m[1], "delete", pgqrs_delete);
    release(m[2], NULL);
    release(m[3], PGQRS_OPTIONS(release, .delay_us = PGQRS_MINUTE));
    release(m[4], PGQRS_OPTIONS(release, .counted = true));
    (void)EXPECT(OK, pgqrs_retry(store, m[5], "CRASH", "again", &failed));
    asked(m[6]->id, m[6]->lease, "dead_letter");
    answered(m[6]->id, m[6]->lease,
             EXPECT(OK, pgqrs_dead_letter(store, m[6], "CRASH", "never", &failed)), "dead_letter");
    (void)EXPECT(OK, pgqrs_extend(store, m[7], PGQRS_MINUTE, &failed));
    end_one(m[7], "archive", pgqrs_archive);
    end_two(&m[8], "archive", pgqrs_archive_many);
    end_two(&m[10], "delete", pgqrs_delete_many);
    for (int i = 12; i < 14; i++)
        asked(m[i]->id, m[i]->lease, "release");
    (void)EXPECT(OK, pgqrs_release_many(store, &m[12], 2, NULL, statuses, &failed));

    const int64_t dead = m[6]->id;
    size_t        replayed;
    asked(dead, 0, "replay");
    (void)EXPECT(OK, pgqrs_replay(store, &dead, 1, &replayed, &failed));
    pgqrs_messages_free(messages);
}

static void part_messages(void)
{
    pgqrs_records *records = NULL;
    int64_t        count;

    const int64_t keyed = put("plain", "k1", 0);
    if (put("plain", "k1", 0) != keyed)
        wrong("the key named another message", PGQRS_EINTERNAL, NULL);
    const int64_t   delayed  = put("plain", NULL, PGQRS_HOUR);
    pgqrs_messages *messages = take_id(delayed); /* before its time, and dropped */
    pgqrs_messages_free(messages);
    end_a_batch();

    /* cancelled while it waits, and while it is held */
    int64_t     id = put("plain", NULL, 0);
    pgqrs_state state;
    asked(id, 0, "cancel");
    answered(id, 0, EXPECT(OK, pgqrs_cancel(store, id, &state, &failed)), "cancel");
    id       = put("plain", NULL, 0);
    messages = take_id(id);
    asked(id, 0, "cancel");
    answered(id, 0, EXPECT(OK, pgqrs_cancel(store, id, &state, &failed)), "cancel");
    if (pgqrs_messages_count(messages) == 1)
        (void)EXPECT(OK | 1u << PGQRS_ECANCELLED,
                     pgqrs_archive(store, pgqrs_messages_at(messages, 0), &failed));
    pgqrs_messages_free(messages);
    (void)EXPECT(OK, pgqrs_message_get(store, id, &records, &failed));
    pgqrs_records_free(records);

    /* dead, and removed */
    (void)put("frail", NULL, 0);
    messages = take("frail", 10, 0);
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++)
        (void)EXPECT(OK,
                     pgqrs_dead_letter(store, pgqrs_messages_at(messages, i), NULL, NULL, &failed));
    pgqrs_messages_free(messages);
    ask_to_remove("frail", PGQRS_STATE_DEAD);
    (void)EXPECT(OK, pgqrs_dead_purge(store, "frail", 0, &count, &failed));
}

/* --- runs
 * --------------------------------------------------------------------------------------- */

static pgqrs_run *take_run(int64_t id, pgqrs_messages **messages)
{
    pgqrs_run *run = NULL;

    *messages = take_id(id);
    if (pgqrs_messages_count(*messages) == 1)
        (void)EXPECT(OK, pgqrs_run_from(store, *messages, 0, &run, &failed));
    return run;
}

/* Step 4 of "wide" is transactional, and step 5 sends something with its record. */
static pgqrs_status begin_step(pgqrs_run *run, char letter, int i, pgqrs_step **step)
{
    const pgqrs_step_options options = { .struct_size = sizeof(options), .now_us = now() };
    char                     name[8], payload[48];
    pgqrs_status             rc;

    (void)snprintf(name, sizeof(name), "%c%d", letter, i);
    (void)snprintf(payload, sizeof(payload), "{\"of\":%lld}", (long long)pgqrs_run_id(run));
    if (letter != 'w' || i < 4 || i > 5)
        return EXPECT_RUN(OK, run, pgqrs_step_begin(run, name, &options, step));
    rc = i == 4 ? EXPECT_RUN(OK, run, pgqrs_step_begin_tx(run, name, &options, step))
                : EXPECT_RUN(OK, run, pgqrs_step_begin(run, name, &options, step));
    if (rc != PGQRS_OK || pgqrs_step_recorded(*step))
        return rc;
    rc = EXPECT_RUN(OK, run,
                    pgqrs_step_enqueue(*step, i == 4 ? "hot" : "loop", payload, NULL, NULL));
    if (rc == PGQRS_OK && i == 4)
        rc = EXPECT_RUN(OK, run, pgqrs_step_trigger(*step, "line", payload, NULL, NULL));
    return rc;
}

/* Steps @p from to @p to, those that are not recorded yet. */
static pgqrs_status do_steps(pgqrs_run *run, char letter, int from, int to, int64_t began_us)
{
    const pgqrs_message *m = pgqrs_run_message(run);

    for (int i = from; i <= to; i++) {
        char               own[48];
        pgqrs_step        *step  = NULL;
        const pgqrs_status begun = begin_step(run, letter, i, &step);

        if (begun != PGQRS_OK)
            return begun;
        if (pgqrs_step_recorded(step))
            continue;
        note("executed %lld %lld %lld %s", (long long)m->id, (long long)m->lease,
             (long long)began_us, pgqrs_step_name(step));
        (void)snprintf(own, sizeof(own), "{\"by\":\"%ld\"}", (long)getpid());
        const pgqrs_status done = EXPECT_RUN(OK, run, pgqrs_step_succeed(step, own));
        if (done != PGQRS_OK)
            return done;
        note("recorded %lld %lld %d %s %s", (long long)m->id, (long long)m->lease,
             strcmp(pgqrs_step_output(step), own) == 0, pgqrs_step_name(step),
             pgqrs_step_output(step));
    }
    return PGQRS_OK;
}

static void succeed(pgqrs_run *run)
{
    const pgqrs_message m = *pgqrs_run_message(run);

    asked(m.id, m.lease, "run_succeed");
    answered(m.id, m.lease, EXPECT_RUN(OK, run, pgqrs_run_succeed(run, "{\"done\":true}")),
             "run_succeed");
}

static void straight_run(void)
{
    pgqrs_messages *messages;
    const int64_t   id  = start("line");
    pgqrs_run      *run = take_run(id, &messages);

    if (run != NULL) {
        (void)EXPECT_RUN(OK, run, pgqrs_run_start(run));
        if (do_steps(run, 's', 1, STORM_STEPS, now()) == PGQRS_OK)
            succeed(run);
    }
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
}

/* A run that retries, sleeps, pauses and is woken. */
static void winding_run(void)
{
    pgqrs_messages *messages;
    pgqrs_step     *step = NULL;
    const int64_t   id   = start("wide");
    pgqrs_run      *run  = take_run(id, &messages);

    if (run != NULL && do_steps(run, 'w', 1, 1, now()) == PGQRS_OK
        && EXPECT_RUN(OK, run, pgqrs_step_begin(run, "w2", NULL, &step)) == PGQRS_OK
        && EXPECT_RUN(1u << PGQRS_ENOTREADY, run,
                      pgqrs_step_retry(step, "CRASH", "again", PGQRS_MINUTE))
               == PGQRS_ENOTREADY)
        release(pgqrs_run_message(run), PGQRS_OPTIONS(release, .delay_us = PGQRS_MINUTE));
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
    let_pass(PGQRS_HOUR);

    run = take_run(id, &messages);
    if (run != NULL && do_steps(run, 'w', 1, 2, now()) == PGQRS_OK)
        (void)EXPECT_RUN(1u << PGQRS_EPAUSED, run, pgqrs_run_sleep(run, "w3", PGQRS_HOUR));
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
    let_pass(2 * PGQRS_HOUR);

    run = take_run(id, &messages);
    if (run != NULL && do_steps(run, 'w', 1, 2, now()) == PGQRS_OK
        && EXPECT_RUN(OK, run, pgqrs_run_sleep(run, "w3", PGQRS_HOUR)) == PGQRS_OK
        && !pgqrs_run_cancelled(run))
        (void)EXPECT_RUN(1u << PGQRS_EPAUSED, run, pgqrs_run_pause(run, "crash", PGQRS_DAY));
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);

    run = NULL;
    (void)EXPECT(OK, pgqrs_run_open(store, id, &run, &failed));
    if (run != NULL && EXPECT_RUN(OK, run, pgqrs_run_start(run)) == PGQRS_OK) {
        const pgqrs_message *m = pgqrs_run_message(run);
        note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
        if (do_steps(run, 'w', 1, 2, now()) == PGQRS_OK
            && EXPECT_RUN(OK, run, pgqrs_run_sleep(run, "w3", PGQRS_HOUR)) == PGQRS_OK
            && do_steps(run, 'w', 4, STORM_STEPS, now()) == PGQRS_OK)
            succeed(run);
    }
    pgqrs_run_free(run);
}

static void failing_run(void)
{
    pgqrs_messages *messages;
    pgqrs_step     *step = NULL;
    const int64_t   id   = start("line");
    pgqrs_run      *run  = take_run(id, &messages);

    if (run != NULL && EXPECT_RUN(OK, run, pgqrs_step_begin(run, "s1", NULL, &step)) == PGQRS_OK) {
        (void)EXPECT_RUN(1u << PGQRS_EEXHAUSTED, run, pgqrs_step_fail(step, "CRASH", "never"));
        asked(id, pgqrs_run_message(run)->lease, "run_fail");
        answered(id, pgqrs_run_message(run)->lease,
                 EXPECT_RUN(OK, run, pgqrs_run_fail(run, "CRASH", "never")), "run_fail");
    }
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
}

static void cancelled_run(void)
{
    pgqrs_run    *run = NULL;
    const int64_t id  = start("line");

    (void)EXPECT(OK, pgqrs_run_open(store, id, &run, &failed));
    if (run == NULL)
        return;
    asked(id, 0, "cancel");
    answered(id, 0, EXPECT_RUN(OK, run, pgqrs_run_cancel(run)), "cancel");
    pgqrs_run_free(run);
}

static void part_runs(void)
{
    pgqrs_run_records  *runs  = NULL;
    pgqrs_step_records *steps = NULL;

    straight_run();
    winding_run();
    failing_run();
    cancelled_run();
    (void)EXPECT(OK, pgqrs_run_list(store, "line", NULL, &runs, &failed));
    const int64_t id =
        pgqrs_run_records_count(runs) > 0 ? pgqrs_run_records_at(runs, 0)->id : start("line");
    pgqrs_run_records_free(runs);
    (void)EXPECT(OK, pgqrs_run_get(store, id, &runs, &failed));
    pgqrs_run_records_free(runs);
    (void)EXPECT(OK | 1u << PGQRS_ETIMEDOUT, pgqrs_run_wait(store, id, 1, &runs, &failed));
    pgqrs_run_records_free(runs);
    (void)EXPECT(OK, pgqrs_step_list(store, id, &steps, &failed));
    pgqrs_step_records_free(steps);
}

/* --- workers
 * ------------------------------------------------------------------------------------ */

static pgqrs_status on_message(pgqrs_store *in, const pgqrs_message *m, void *user_data,
                               pgqrs_error *error)
{
    (void)in;
    (void)user_data;
    (void)error;
    note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
    return PGQRS_OK;
}

static pgqrs_status on_line(pgqrs_run *run, void *user_data)
{
    (void)user_data;
    const pgqrs_status rc = do_steps(run, 's', 1, STORM_STEPS, now());
    return rc != PGQRS_OK ? rc : pgqrs_run_succeed(run, NULL);
}

static void work_until_idle(void)
{
    const pgqrs_work_options options = { .struct_size = sizeof(options),
                                         .poll_us     = 5 * PGQRS_MILLISECOND };
    pgqrs_worker            *worker  = NULL;

    (void)EXPECT(OK, pgqrs_worker_new(store,
                                      PGQRS_OPTIONS(worker, .name = "looper", .exit_when_idle = 1),
                                      &worker, &failed));
    (void)EXPECT(OK, pgqrs_worker_on_message(worker, "loop", on_message, NULL, &options));
    (void)EXPECT(OK, pgqrs_worker_on_run(worker, "line", on_line, NULL, &options));
    (void)EXPECT(OK, pgqrs_worker_run(worker, &failed));
    pgqrs_worker_free(worker);
}

static void part_workers(void)
{
    pgqrs_worker_records *workers = NULL;
    pgqrs_worker_health   health;
    int64_t               id = 0, count;

    (void)EXPECT(OK, pgqrs_worker_register(store, "crasher", "loop", &id, &failed));
    (void)EXPECT(OK, pgqrs_worker_heartbeat(store, &id, 1, &failed));
    (void)EXPECT(OK, pgqrs_worker_set_status(store, id, PGQRS_WORKER_POLLING, &failed));
    (void)EXPECT(OK, pgqrs_worker_get(store, id, &workers, &failed));
    pgqrs_worker_records_free(workers);
    (void)EXPECT(OK, pgqrs_worker_list(store, &workers, &failed));
    pgqrs_worker_records_free(workers);
    (void)EXPECT(OK, pgqrs_worker_measure(store, PGQRS_MINUTE, &health, &failed));
    (void)put("loop", NULL, 0);
    (void)put("loop", NULL, 0);
    pgqrs_messages_free(take("loop", 2, id));
    (void)EXPECT(OK, pgqrs_worker_release(store, id, &count, &failed));
    pgqrs_messages_free(take("loop", 2, id));
    let_pass(PGQRS_HOUR);
    (void)EXPECT(OK, pgqrs_worker_purge_stale(store, PGQRS_MINUTE, 0, &count, &failed));
    (void)start("line");
    work_until_idle();
}

/* --- A transaction of the user's own
 * ------------------------------------------------------------ */

typedef struct own {
    struct sqlite3 *sqlite;
    struct pg_conn *pg;
    pgqrs_store    *here;
} own;

static const char *dsn, *schema;

#ifdef PGQRS_HAVE_SQLITE
#include <sqlite3.h>

#include <pgqrs/sqlite.h>

static bool sqlite_say(const own *o, const char *sql)
{
    return sqlite3_exec(o->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static bool sqlite_adopt(own *o, const pgqrs_store_options *options)
{
    return sqlite3_open(strstr(dsn, "://") + 3, &o->sqlite) == SQLITE_OK
           && sqlite3_busy_timeout(o->sqlite, 20000) == SQLITE_OK
           && sqlite_say(o, "BEGIN IMMEDIATE")
           && EXPECT(OK, pgqrs_adopt_sqlite3(o->sqlite, options, &o->here, &failed)) == PGQRS_OK;
}

static void sqlite_close(own *o)
{
    (void)sqlite3_close(o->sqlite);
}
#else
static bool sqlite_say(const own *o, const char *sql)
{
    (void)o, (void)sql;
    return false;
}

static bool sqlite_adopt(own *o, const pgqrs_store_options *options)
{
    (void)o, (void)options;
    return false;
}

static void sqlite_close(own *o)
{
    (void)o;
}
#endif

#ifdef PGQRS_HAVE_POSTGRES
#include <libpq-fe.h>

#include <pgqrs/postgres.h>

static bool postgres_say(const own *o, const char *sql)
{
    PGresult  *result = PQexec(o->pg, sql);
    const bool done   = PQresultStatus(result) == PGRES_COMMAND_OK;

    PQclear(result);
    return done;
}

static bool postgres_adopt(own *o, const pgqrs_store_options *options)
{
    o->pg = PQconnectdb(dsn);
    return postgres_say(o, "BEGIN")
           && EXPECT(OK, pgqrs_adopt_pgconn(o->pg, options, &o->here, &failed)) == PGQRS_OK;
}

static void postgres_close(own *o)
{
    PQfinish(o->pg);
}
#else
static bool postgres_say(const own *o, const char *sql)
{
    (void)o, (void)sql;
    return false;
}

static bool postgres_adopt(own *o, const pgqrs_store_options *options)
{
    (void)o, (void)options;
    return false;
}

static void postgres_close(own *o)
{
    (void)o;
}
#endif

static void part_adopted(void)
{
    const bool                on_sqlite = strncmp(dsn, "sqlite", 6) == 0;
    const pgqrs_store_options options   = { .struct_size = sizeof(options),
                                            .schema      = on_sqlite ? NULL : schema,
                                            .clock       = { wall_clock, monotonic_clock, NULL } };
    own                       o         = { 0 };
    pgqrs_messages           *messages  = NULL;
    int64_t                   first = 0, second = 0;

    if (!(on_sqlite ? sqlite_adopt(&o, &options) : postgres_adopt(&o, &options))) {
        wrong("a transaction of our own", PGQRS_EDB, &failed);
        return;
    }
    (void)EXPECT(OK, pgqrs_enqueue(o.here, "hot", "1", NULL, &first, &failed));
    (void)EXPECT(OK, pgqrs_enqueue(o.here, "plain", "1", NULL, &second, &failed));
    (void)EXPECT(OK, pgqrs_claim_id(o.here, first, NULL, &messages, &failed));
    if (pgqrs_messages_count(messages) == 1)
        (void)EXPECT(OK, pgqrs_archive(o.here, pgqrs_messages_at(messages, 0), &failed));
    pgqrs_messages_free(messages);
    pgqrs_close(o.here);
    PGQRS__FAILPOINT("before the user's COMMIT");
    const bool done = on_sqlite ? sqlite_say(&o, "COMMIT") : postgres_say(&o, "COMMIT");
    PGQRS__FAILPOINT("the user has committed");
    if (done) {
        note("enqueued %lld 0 0 hot -", (long long)first);
        note("enqueued %lld 0 0 plain -", (long long)second);
    } else {
        wrong("the user's COMMIT", PGQRS_EDB, NULL);
    }
    if (on_sqlite)
        sqlite_close(&o);
    else
        postgres_close(&o);
}

/* --- Afterwards
 * --------------------------------------------------------------------------------- */

static void drain_queue(const char *queue)
{
    for (size_t count = 1; count > 0;) {
        pgqrs_messages *messages = take(queue, 100, 0);

        count = pgqrs_messages_count(messages);
        for (size_t i = 0; i < count; i++)
            end_one(pgqrs_messages_at(messages, i), "archive", pgqrs_archive);
        pgqrs_messages_free(messages);
    }
}

static void drain_workflow(const char *workflow, char letter)
{
    for (size_t count = 1; count > 0;) {
        pgqrs_messages *messages = take(workflow, 100, 0);

        count = pgqrs_messages_count(messages);
        for (size_t i = 0; i < count; i++) {
            pgqrs_run   *run = NULL;
            pgqrs_status rc;

            (void)EXPECT(OK, pgqrs_run_from(store, messages, i, &run, &failed));
            rc = run == NULL ? PGQRS_EINTERNAL : do_steps(run, letter, 1, 2, now());
            if (rc == PGQRS_OK && letter == 'w')
                rc = EXPECT_RUN(OK, run, pgqrs_run_sleep(run, "w3", 1));
            if (rc == PGQRS_EPAUSED)
                let_pass(PGQRS_MINUTE);
            if (rc == PGQRS_OK)
                rc = do_steps(run, letter, letter == 'w' ? 4 : 3, STORM_STEPS, now());
            if (rc == PGQRS_OK)
                succeed(run);
            else if (rc == PGQRS_EEXHAUSTED)
                (void)EXPECT_RUN(OK, run, pgqrs_run_fail(run, "CRASH", "never"));
            pgqrs_run_free(run);
        }
        pgqrs_messages_free(messages);
    }
}

static void drain(const char *part)
{
    let_pass(7 * PGQRS_HOUR); /* what the script itself has left: leases, delays */
    if (strcmp(part, "install") != 0) {
        drain_workflow("wide", 'w'); /* which sends to the others */
        drain_workflow("line", 's');
        drain_queue("frail");
        drain_queue("hot");
        drain_queue("loop");
    }
    drain_queue("plain");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*play)(void);
    } parts[] = {
        { "install", part_install }, { "queues", part_queues },   { "messages", part_messages },
        { "runs", part_runs },       { "workers", part_workers }, { "adopted", part_adopted },
    };
    const pgqrs_store_options options = { .struct_size = sizeof(options),
                                          .clock       = { wall_clock, monotonic_clock, NULL } };

    if (argc < 6)
        return 2;
    log_fd = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return 2;
    atomic_store(&ahead_us, strtoll(argv[5], NULL, 10));
    again  = argc > 6;
    dsn    = argv[1];
    schema = argv[2];
    store  = helper_open(argc, argv, &options);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (strcmp(parts[i].name, argv[3]) == 0)
            parts[i].play();
    if (again)
        drain(argv[3]);
    pgqrs_close(store);
    (void)printf("points %ld\n", pgqrs__failpoint_count());
    return 0;
}
