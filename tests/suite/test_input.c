/* Bad input: refused before anything is written, with a message that says what is wrong. */
#include <math.h>
#include <stdlib.h>

#include "support/peek.h"
#include "support/world.h"

/* A store with a queue, a workflow and a leased message, and what was sent and stored so far. */
typedef struct scene {
    world         *w;
    pgqrs_store   *store;
    message        m;
    pgqrs_counters sent;
    char           stored[256];
} scene;

static scene begin_scene(world *w)
{
    scene s = { .w = w, .store = w->store };
    queue(w, "orders");
    workflow(w, "flow");
    enqueue_count(w, "orders", 3, NULL);
    (void)trigger(w, "flow", "1");
    s.m = claim_one(w, "orders");
    sql_fingerprint(w, s.stored, sizeof(s.stored));
    s.sent = counted(w->store);
    return s;
}

/* Nothing was written, and nothing at all was sent when @p silent. */
static void end_scene(scene *s, bool silent)
{
    char           stored[256];
    pgqrs_counters cost = spent(s->store, &s->sent);
    sql_fingerprint(s->w, stored, sizeof(stored));
    assert_string_equal(s->stored, stored);
    assert_int_equal(0, cost.commits);
    if (silent)
        assert_int_equal(0, cost.statements);
}

#define refused(call)      assert_status(PGQRS_EINVAL, call)
#define refused_json(call) assert_status(PGQRS_EJSON, call)

static char  long_name[257];
static char  longest_name[256];
static char *nested(size_t depth)
{
    char *text = malloc(2 * depth + 1);
    assert_non_null(text);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
    return text;
}

static void g22_missing_arguments_are_refused(void **state)
{
    scene                 s       = begin_scene(*state);
    pgqrs_messages       *batch   = NULL;
    pgqrs_records        *page    = NULL;
    pgqrs_queues         *qs      = NULL;
    pgqrs_run            *run     = NULL;
    pgqrs_run_records    *runs    = NULL;
    pgqrs_step_records   *steps   = NULL;
    pgqrs_worker_records *ws      = NULL;
    pgqrs_worker         *loop    = NULL;
    pgqrs_store          *store   = NULL;
    const char           *hole[2] = { "1", NULL };
    const message        *gap[2]  = { &s.m, NULL };
    pgqrs_status          st[2];
    int64_t               id;
    size_t                count;
    refused(pgqrs_open(NULL, NULL, &store, &failure));
    refused(pgqrs_open("sqlite::memory:", NULL, NULL, &failure));
    refused(pgqrs_install(NULL, &failure));
    refused(pgqrs_verify(NULL, &failure));
    refused(pgqrs_queue_create(NULL, "x", NULL, &failure));
    refused(pgqrs_queue_create(s.store, NULL, NULL, &failure));
    refused(pgqrs_queue_ensure(s.store, NULL, NULL, &failure));
    refused(pgqrs_queue_configure(s.store, NULL, NULL, &failure));
    refused(pgqrs_queue_get(s.store, NULL, &qs, &failure));
    refused(pgqrs_queue_get(s.store, "orders", NULL, &failure));
    refused(pgqrs_queue_list(s.store, NULL, &failure));
    refused(pgqrs_queue_delete(s.store, NULL, true, &failure));
    refused(pgqrs_queue_purge(s.store, NULL, NULL, &failure));
    refused(pgqrs_queue_pause(s.store, NULL, &failure));
    refused(pgqrs_queue_resume(s.store, NULL, &failure));
    refused(pgqrs_queue_measure(s.store, "orders", NULL, &failure));
    refused(pgqrs_enqueue(NULL, "orders", "1", NULL, &id, &failure));
    refused(pgqrs_enqueue(s.store, NULL, "1", NULL, &id, &failure));
    refused(pgqrs_enqueue(s.store, "orders", NULL, NULL, &id, &failure));
    refused(pgqrs_enqueue_many(s.store, "orders", NULL, 2, NULL, NULL, &failure));
    refused(pgqrs_enqueue_many(s.store, "orders", hole, 2, NULL, NULL, &failure));
    refused(pgqrs_claim(s.store, NULL, NULL, &batch, &failure));
    refused(pgqrs_claim(s.store, "orders", NULL, NULL, &failure));
    refused(pgqrs_claim_id(s.store, s.m.id, NULL, NULL, &failure));
    refused(pgqrs_archive(s.store, NULL, &failure));
    refused(pgqrs_delete(s.store, NULL, &failure));
    refused(pgqrs_release(s.store, NULL, NULL, &failure));
    refused(pgqrs_retry(s.store, NULL, "E", "text", &failure));
    refused(pgqrs_dead_letter(s.store, NULL, "E", "text", &failure));
    refused(pgqrs_extend(s.store, NULL, 0, &failure));
    refused(pgqrs_archive_many(s.store, NULL, 2, st, &failure));
    refused(pgqrs_archive_many(s.store, gap, 2, st, &failure));
    refused(pgqrs_delete_many(s.store, gap, 2, st, &failure));
    refused(pgqrs_release_many(s.store, gap, 2, NULL, st, &failure));
    refused(pgqrs_extend_many(s.store, gap, 2, 0, st, &failure));
    refused(pgqrs_lease_keep(s.store, NULL, 0, &failure));
    refused(pgqrs_lease_unkeep(s.store, NULL, &failure));
    refused(pgqrs_message_get(s.store, s.m.id, NULL, &failure));
    refused(pgqrs_message_list(s.store, NULL, NULL, &page, &failure));
    refused(pgqrs_message_list(s.store, "orders", NULL, NULL, &failure));
    refused(pgqrs_replay(s.store, NULL, 1, &count, &failure));
    refused(pgqrs_dead_purge(s.store, NULL, 0, NULL, &failure));
    refused(pgqrs_worker_heartbeat(s.store, NULL, 1, &failure));
    refused(pgqrs_worker_get(s.store, 1, NULL, &failure));
    refused(pgqrs_worker_list(s.store, NULL, &failure));
    refused(pgqrs_worker_measure(s.store, 1, NULL, &failure));
    refused(pgqrs_workflow_ensure(s.store, NULL, NULL, &failure));
    refused(pgqrs_trigger(s.store, NULL, "1", NULL, &id, &failure));
    refused(pgqrs_trigger(s.store, "flow", NULL, NULL, &id, &failure));
    refused(pgqrs_run_get(s.store, 1, NULL, &failure));
    refused(pgqrs_run_list(s.store, "flow", NULL, NULL, &failure));
    refused(pgqrs_run_wait(s.store, 1, 0, NULL, &failure));
    refused(pgqrs_step_list(s.store, 1, NULL, &failure));
    refused(pgqrs_run_open(s.store, 1, NULL, &failure));
    refused(pgqrs_run_from(s.store, NULL, 0, &run, &failure));
    refused(pgqrs_worker_new(NULL, NULL, &loop, &failure));
    refused(pgqrs_worker_new(s.store, NULL, NULL, &failure));
    refused(pgqrs_worker_run(NULL, &failure));
    assert_null(batch);
    assert_null(page);
    assert_null(qs);
    assert_null(run);
    assert_null(runs);
    assert_null(steps);
    assert_null(ws);
    assert_null(loop);
    assert_null(store);
    end_scene(&s, true);
}

static void every_free_takes_null(void **state)
{
    (void)state;
    pgqrs_close(NULL);
    pgqrs_queues_free(NULL);
    pgqrs_messages_free(NULL);
    pgqrs_records_free(NULL);
    pgqrs_worker_records_free(NULL);
    pgqrs_run_records_free(NULL);
    pgqrs_step_records_free(NULL);
    pgqrs_run_free(NULL);
    pgqrs_worker_free(NULL);
    assert_int_equal(0, pgqrs_messages_count(NULL));
    assert_null(pgqrs_messages_at(NULL, 0));
}

static void g22_bad_names_are_refused(void **state)
{
    const char *bad[] = { "",         long_name, "a\nb",         "tab\t",    "\x01",    "del\x7f",
                          "\xff\xfe", "\xc3",    "\xed\xa0\x80", "\xc0\xaf", "\xc2\x85" };
    scene       s     = begin_scene(*state);
    int64_t     id;
    memset(long_name, 'n', 256);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused(pgqrs_queue_create(s.store, bad[i], NULL, &failure));
        refused(pgqrs_queue_ensure(s.store, bad[i], NULL, &failure));
        refused(pgqrs_workflow_ensure(s.store, bad[i], NULL, &failure));
        refused(pgqrs_enqueue(s.store, bad[i], "1", NULL, &id, &failure));
        refused(pgqrs_enqueue(s.store, "orders", "1", PGQRS_OPTIONS(enqueue, .key = bad[i]), &id,
                              &failure));
        refused(pgqrs_trigger(s.store, bad[i], "1", NULL, &id, &failure));
        refused(pgqrs_worker_register(s.store, bad[i], NULL, &id, &failure));
    }
    end_scene(&s, true);
    memset(longest_name, 'n', 255);
    queue(*state, longest_name);
}

static void g22_bad_json_is_refused(void **state)
{
    const char *bad[] = {
        "",    " ",     "{",        "{\"a\":}", "[1,]",        "nul",      "'a'",
        "01",  "1 2",   "\"a\nb\"", "\"\\x\"",  "\"\\ud800\"", "\"\xff\"", "\"\xed\xa0\x80\"",
        "NaN", "{a:1}", "[1",       "\"",       "+1",          "1."
    };
    scene   s = begin_scene(*state);
    int64_t id;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused_json(pgqrs_enqueue(s.store, "orders", bad[i], NULL, &id, &failure));
        refused_json(pgqrs_trigger(s.store, "flow", bad[i], NULL, &id, &failure));
        refused_json(pgqrs_enqueue(s.store, "orders", "1",
                                   PGQRS_OPTIONS(enqueue, .headers = bad[i]), &id, &failure));
    }
    /* headers are an object */
    assert_int_not_equal(PGQRS_OK,
                         pgqrs_enqueue(s.store, "orders", "1",
                                       PGQRS_OPTIONS(enqueue, .headers = "[]"), &id, &failure));
    end_scene(&s, true);
}

static void g22_json_that_is_too_deep_or_too_large_is_refused(void **state)
{
    world  *w    = *state;
    scene   s    = begin_scene(w);
    char   *deep = nested(513), *deepest = nested(512);
    size_t  size  = (1 << 20) + 1;
    char   *large = malloc(size + 1);
    int64_t id;
    assert_non_null(large);
    memset(large, '1', size);
    large[size]            = '\0';
    pgqrs_status too_deep  = pgqrs_enqueue(s.store, "orders", deep, NULL, &id, &failure);
    pgqrs_status too_large = pgqrs_enqueue(s.store, "orders", large, NULL, &id, &failure);
    bool         named =
        strstr(failure.message, "1048576") != NULL || strstr(failure.detail, "1048576") != NULL;
    end_scene(&s, true);
    pgqrs_status fits = pgqrs_enqueue(s.store, "orders", deepest, NULL, &id, &failure);
    free(large);
    free(deepest);
    free(deep);
    assert_int_equal(PGQRS_EJSON, too_deep);
    assert_true(too_large == PGQRS_EJSON || too_large == PGQRS_EINVAL);
    assert_true(named); /* the limit is said */
    assert_int_equal(PGQRS_OK, fits);
}

static void the_limits_of_json_are_the_stores(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    options.max_payload_bytes   = 10;
    options.max_depth           = 2;
    queue(w, "orders");
    assert_ok(pgqrs_open(w->dsn, &options, &store, &failure));
    pgqrs_status fits  = pgqrs_enqueue(store, "orders", "[[1234567", NULL, NULL, NULL);
    pgqrs_status exact = pgqrs_enqueue(store, "orders", "[[123456]]", NULL, NULL, NULL);
    pgqrs_status large = pgqrs_enqueue(store, "orders", "[[1234567]]", NULL, NULL, NULL);
    pgqrs_status deep  = pgqrs_enqueue(store, "orders", "[[[]]]", NULL, NULL, NULL);
    pgqrs_close(store);
    assert_int_equal(PGQRS_EJSON, fits);
    assert_int_equal(PGQRS_OK, exact);
    assert_int_not_equal(PGQRS_OK, large);
    assert_int_not_equal(PGQRS_OK, deep);
}

static void g22_numbers_out_of_range_are_refused(void **state)
{
    scene              s          = begin_scene(*state);
    const int64_t      bad_time[] = { -1, INT64_MIN, INT64_MAX };
    pgqrs_messages    *batch      = NULL;
    pgqrs_records     *page       = NULL;
    pgqrs_run_records *runs       = NULL;
    const char        *one[]      = { "1" };
    int64_t            id;
    refused(pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .limit = -1), &batch, &failure));
    refused(pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .limit = 1001), &batch, &failure));
    refused(pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .lease_us = 7 * PGQRS_DAY + 1),
                        &batch, &failure));
    refused(pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .wait_us = -1), &batch, &failure));
    refused(pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .poll_us = -1), &batch, &failure));
    refused(
        pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .max_bytes = -1), &batch, &failure));
    refused(pgqrs_enqueue(s.store, "orders", "1", PGQRS_OPTIONS(enqueue, .priority = 10), &id,
                          &failure));
    refused(pgqrs_enqueue(s.store, "orders", "1", PGQRS_OPTIONS(enqueue, .priority = -2), &id,
                          &failure));
    refused(pgqrs_enqueue(s.store, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = 1, .at_us = 1),
                          &id, &failure));
    refused(pgqrs_enqueue_many(s.store, "orders", one, 1, PGQRS_OPTIONS(enqueue, .key = "k"), NULL,
                               &failure));
    refused(pgqrs_enqueue_many(s.store, "orders", one, 10001, NULL, NULL, &failure));
    refused(
        pgqrs_release(s.store, &s.m, PGQRS_OPTIONS(release, .delay_us = 1, .at_us = 1), &failure));
    refused(pgqrs_extend(s.store, &s.m, 7 * PGQRS_DAY + 1, &failure));
    refused(
        pgqrs_message_list(s.store, "orders", PGQRS_OPTIONS(list, .limit = 1001), &page, &failure));
    refused(
        pgqrs_message_list(s.store, "orders", PGQRS_OPTIONS(list, .limit = -1), &page, &failure));
    refused(pgqrs_message_list(s.store, "orders", PGQRS_OPTIONS(list, .state = (pgqrs_state)9),
                               &page, &failure));
    refused(
        pgqrs_run_list(s.store, "flow", PGQRS_OPTIONS(run_list, .limit = 1001), &runs, &failure));
    refused(pgqrs_run_list(s.store, "flow", PGQRS_OPTIONS(run_list, .status = (pgqrs_run_status)8),
                           &runs, &failure));
    refused(pgqrs_dead_purge(s.store, "orders", -1, NULL, &failure));
    for (size_t i = 0; i < 3; i++) {
        int64_t us = bad_time[i];
        refused(
            pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .lease_us = us), &batch, &failure));
        refused(
            pgqrs_claim(s.store, "orders", PGQRS_OPTIONS(claim, .now_us = us), &batch, &failure));
        refused(pgqrs_enqueue(s.store, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = us), &id,
                              &failure));
        refused(pgqrs_enqueue(s.store, "orders", "1", PGQRS_OPTIONS(enqueue, .at_us = us), &id,
                              &failure));
        refused(pgqrs_enqueue(s.store, "orders", "1", PGQRS_OPTIONS(enqueue, .now_us = us), &id,
                              &failure));
        refused(pgqrs_enqueue(s.store, "orders", "1",
                              PGQRS_OPTIONS(enqueue, .key = "k", .key_ttl_us = us), &id, &failure));
        refused(pgqrs_release(s.store, &s.m, PGQRS_OPTIONS(release, .delay_us = us), &failure));
        refused(pgqrs_release(s.store, &s.m, PGQRS_OPTIONS(release, .at_us = us), &failure));
        refused(pgqrs_release(s.store, &s.m, PGQRS_OPTIONS(release, .now_us = us), &failure));
        refused(pgqrs_extend(s.store, &s.m, us, &failure));
        refused(pgqrs_retention_run(s.store, us, NULL, &failure));
        refused(pgqrs_worker_purge_stale(s.store, 1, us, NULL, &failure));
    }
    refused(pgqrs_worker_purge_stale(s.store, -1, 0, NULL, &failure));
    assert_null(batch);
    assert_null(page);
    assert_null(runs);
    end_scene(&s, true);
}

static void g22_settings_out_of_range_are_refused(void **state)
{
    scene s = begin_scene(*state);

    const pgqrs_queue_options bad[] = {
        { .lease_us = -1 },          { .lease_us = 7 * PGQRS_DAY + 1 },
        { .lease_us = INT64_MAX },   { .max_attempts = -1 },
        { .max_attempts = 1001 },    { .backoff_us = -1 },
        { .backoff_us = INT64_MAX }, { .backoff_factor = -1 },
        { .backoff_factor = 1e300 }, { .backoff_factor = (double)NAN },
        { .backoff_max_us = -1 },    { .retention_us = -1 },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        pgqrs_queue_options options = bad[i];
        options.struct_size         = sizeof(options);
        refused(pgqrs_queue_create(s.store, "x", &options, &failure));
        refused(pgqrs_queue_ensure(s.store, "x", &options, &failure));
        refused(pgqrs_queue_configure(s.store, "orders", &options, &failure));
        refused(pgqrs_workflow_ensure(s.store, "x", &options, &failure));
    }
    end_scene(&s, true);
}

static void g22_uninitialised_and_newer_options_are_refused(void **state)
{
    struct {
        pgqrs_enqueue_options known;
        char                  later[16];
    } newer                       = { 0 };
    scene                 s       = begin_scene(*state);
    pgqrs_messages       *b       = NULL;
    int64_t               id      = 0;
    pgqrs_enqueue_options bare    = { .priority = 1 };
    pgqrs_claim_options   claim   = { .limit = 1 };
    pgqrs_queue_options   q       = { .max_attempts = 1 };
    pgqrs_release_options release = { .counted = true };
    refused(pgqrs_enqueue(s.store, "orders", "1", &bare, &id, &failure));
    assert_non_null(strstr(failure.hint, "PGQRS_OPTIONS"));
    refused(pgqrs_claim(s.store, "orders", &claim, &b, &failure));
    refused(pgqrs_queue_create(s.store, "x", &q, &failure));
    refused(pgqrs_release(s.store, &s.m, &release, &failure));
    newer.known.struct_size = sizeof(newer);
    newer.later[15]         = 1;
    refused(pgqrs_enqueue(s.store, "orders", "1", &newer.known, &id, &failure));
    end_scene(&s, true);
    newer.later[15] = 0; /* nothing that we do not know is asked for */
    assert_ok(pgqrs_enqueue(s.store, "orders", "1", &newer.known, &id, &failure));
    assert_true(id > 0);
}

static void g22_bad_store_options_are_refused(void **state)
{
    world              *w     = *state;
    pgqrs_store        *store = NULL;
    pgqrs_store_options bad[10];
    for (size_t i = 0; i < 10; i++)
        bad[i] = world_options(w);
    bad[0].struct_size        = 0;
    bad[1].max_connections    = 1;
    bad[2].max_connections    = 1001;
    bad[3].connect_timeout_us = -1;
    bad[4].timeout_us         = -1;
    bad[5].max_payload_bytes  = ((int64_t)64 << 20) + 1;
    bad[6].max_depth          = 4097;
    bad[7].lease_us           = 7 * PGQRS_DAY + 1;
    bad[8].max_attempts       = 1001;
    bad[9].clock = (pgqrs_clock){ .wall_us = w->real_clock ? NULL : bad[0].clock.wall_us };
    for (size_t i = 0; i < 10; i++) {
        pgqrs_status status = pgqrs_open(w->dsn, &bad[i], &store, &failure);
        if (status != PGQRS_EINVAL)
            print_error("options %d of the table\n", (int)i);
        assert_int_equal(PGQRS_EINVAL, status);
        assert_null(store);
    }
}

static void g22_runs_and_steps_refuse_what_makes_no_sense(void **state)
{
    world          *w     = *state;
    pgqrs_step     *step  = NULL;
    pgqrs_run      *run   = NULL;
    pgqrs_messages *batch = NULL;
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    run        = claim_run(w, "flow");
    char too_long[257];
    memset(too_long, 'n', 256);
    too_long[256]       = '\0';
    const char *names[] = { NULL, "", "a\nb", "\xff", too_long };
    for (size_t i = 0; i < 5; i++) {
        assert_run(PGQRS_EINVAL, run, pgqrs_step_begin(run, names[i], NULL, &step));
        assert_null(step);
    }
    assert_run(PGQRS_EINVAL, run,
               pgqrs_step_begin(run, "s", PGQRS_OPTIONS(step, .max_retries = -2), &step));
    assert_run(PGQRS_EINVAL, run,
               pgqrs_step_begin(run, "s", PGQRS_OPTIONS(step, .backoff_us = -1), &step));
    assert_run(PGQRS_EINVAL, run,
               pgqrs_step_begin(run, "s", PGQRS_OPTIONS(step, .backoff = (pgqrs_backoff)7), &step));
    assert_run(PGQRS_EINVAL, run,
               pgqrs_step_begin(run, "s", PGQRS_OPTIONS(step, .timeout_us = -1), &step));
    assert_run(PGQRS_EINVAL, run,
               pgqrs_step_begin(run, "s", &(pgqrs_step_options){ .max_retries = 1 }, &step));
    step = begin(run, "s");
    assert_run(PGQRS_EJSON, run, pgqrs_step_succeed(step, "{bad"));
    assert_run(PGQRS_EINVAL, run, pgqrs_step_retry(step, "E", "text", -1));
    assert_run(PGQRS_EJSON, run, pgqrs_run_succeed(run, "{bad"));
    assert_run(PGQRS_EINVAL, run, pgqrs_run_pause(run, "text", -1));
    assert_run(PGQRS_EINVAL, run, pgqrs_run_sleep(run, "nap", -1));
    assert_int_equal(0, step_count(w, id)); /* the step is still open: nothing was recorded */
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
    assert_run(PGQRS_ESTATE, run, pgqrs_step_succeed(step, "2")); /* finished twice */
    assert_int_equal(PGQRS_OBJECT_STEP, pgqrs_run_error(run)->object);
    assert_run(PGQRS_ESTATE, run, pgqrs_step_fail(step, "E", "text"));
    assert_run(PGQRS_ESTATE, run, pgqrs_step_retry(step, "E", "text", 0));
    assert_string_equal("1", step_record(w, id, "s").output);

    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    assert_ok(pgqrs_claim(w->store, "orders", NULL, &batch, &failure));
    pgqrs_run   *none  = NULL;
    pgqrs_status range = pgqrs_run_from(w->store, batch, 1, &none, &failure);
    pgqrs_messages_free(batch);
    assert_int_equal(PGQRS_EINVAL, range);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g22_missing_arguments_are_refused),
        cmocka_unit_test(every_free_takes_null),
        CASE(g22_bad_names_are_refused),
        CASE(g22_bad_json_is_refused),
        CASE(g22_json_that_is_too_deep_or_too_large_is_refused),
        CASE(the_limits_of_json_are_the_stores),
        CASE(g22_numbers_out_of_range_are_refused),
        CASE(g22_settings_out_of_range_are_refused),
        CASE(g22_uninitialised_and_newer_options_are_refused),
        CASE(g22_bad_store_options_are_refused),
        CASE(g22_runs_and_steps_refuse_what_makes_no_sense),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
