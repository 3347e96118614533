/* A process that was stopped past its lease and goes on is nobody: whatever it tries answers ELEASE
 * and changes nothing. */
#include "support/peek.h"
#include "support/processes.h"

#include <signal.h>

#define HELD_US  (300 * PGQRS_MILLISECOND)
#define WAITS_US (5 * PGQRS_TEST_FACTOR * PGQRS_SECOND)

/* A helper that holds the only message of @p queue, stopped until its lease has passed. */
static int64_t start_stopped(process *p, const world *w, const char *what, const char *queue)
{
    char      lease[32];
    long long id = 0;

    (void)snprintf(lease, sizeof(lease), "%lld", (long long)HELD_US);
    process_start(p, w, "holder", (const char *const[]){ what, queue, lease, NULL });
    const char *said = process_hear(p);
    assert_non_null(said);
    assert_int_equal(1, sscanf(said, "held %lld", &id));
    process_signal(p, SIGSTOP);
    return id;
}

/* The message that the stopped process held, once its lease has passed. */
static pgqrs_messages *take_over(world *w, const char *queue, int64_t id)
{
    pgqrs_messages           *messages = NULL;
    const pgqrs_claim_options options  = {
         .struct_size = sizeof(options),
         .wait_us     = WAITS_US,
         .poll_us     = 20 * PGQRS_MILLISECOND,
    };

    assert_ok(pgqrs_claim(w->store, queue, &options, &messages, &failure));
    assert_int_equal(1, pgqrs_messages_count(messages));
    assert_int_equal(id, pgqrs_messages_at(messages, 0)->id);
    assert_int_equal(2, pgqrs_messages_at(messages, 0)->attempt);
    return messages;
}

static void obeys_in_vain(process *p, world *w, const char *order)
{
    char before[1024], after[1024];

    sql_fingerprint(w, before, sizeof(before));
    process_say(p, order);
    const char *answer = process_hear(p);
    assert_non_null(answer);
    if (strcmp(answer, "ELEASE") != 0)
        fail_msg("%s answered %s", order, answer);
    sql_fingerprint(w, after, sizeof(after));
    assert_string_equal(before, after);
}

static void go_home(process *p)
{
    (void)fclose(p->to);
    p->to = NULL;
    assert_int_equal(0, process_end(p));
}

static const char *const message_orders[] = { "extend",       "release", "retry",      "archive",
                                              "archive_many", "delete",  "dead_letter" };

/* While the new holder works, and after it has finished. */
static void a_stopped_holder_of_a_message_is_fenced(void **state)
{
    world  *w = *state;
    process p = { 0 };

    queue(w, "tasks");
    (void)enqueue(w, "tasks", "{\"n\":1}");
    const int64_t   id       = start_stopped(&p, w, "message", "tasks");
    pgqrs_messages *messages = take_over(w, "tasks", id);

    process_signal(&p, SIGCONT);
    for (size_t i = 0; i < sizeof(message_orders) / sizeof(*message_orders); i++)
        obeys_in_vain(&p, w, message_orders[i]);
    assert_ok(pgqrs_archive(w->store, pgqrs_messages_at(messages, 0), &failure));
    for (size_t i = 0; i < sizeof(message_orders) / sizeof(*message_orders); i++)
        obeys_in_vain(&p, w, message_orders[i]);
    assert_state(w, id, PGQRS_STATE_DONE);
    pgqrs_messages_free(messages);
    go_home(&p);
    assert_consistent(w);
}

static void a_stopped_holder_of_a_run_records_nothing(void **state)
{
    static const char *const orders[] = { "step_succeed", "step_begin", "run_pause", "run_fail",
                                          "run_succeed" };
    world                   *w        = *state;
    process                  p        = { 0 };
    pgqrs_run               *run      = NULL;

    workflow(w, "jobs");
    (void)trigger(w, "jobs", "{}");
    const int64_t   id       = start_stopped(&p, w, "run", "jobs");
    pgqrs_messages *messages = take_over(w, "jobs", id);
    assert_ok(pgqrs_run_from(w->store, messages, 0, &run, &failure));

    process_signal(&p, SIGCONT);
    for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++)
        obeys_in_vain(&p, w, orders[i]);
    step_done(run, "a", "{\"by\":\"successor\"}");
    for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++)
        obeys_in_vain(&p, w, orders[i]);
    assert_string_equal("{\"by\":\"successor\"}", step_record(w, id, "a").output);
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, "{\"by\":\"successor\"}"));
    for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++)
        obeys_in_vain(&p, w, orders[i]);
    assert_string_equal("{\"by\":\"successor\"}", run_record(w, id).output);
    assert_int_equal(1, step_count(w, id));
    pgqrs_run_free(run);
    pgqrs_messages_free(messages);
    go_home(&p);
    assert_consistent(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_REAL(a_stopped_holder_of_a_message_is_fenced),
        CASE_REAL(a_stopped_holder_of_a_run_records_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
