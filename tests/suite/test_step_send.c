/* Messages that a plain step puts in: with its record, or not at all. */
#include "support/charge.h"
#include "support/peek.h"

#include <pgqrs/workflow.h>

static void g52_a_plain_step_sends_with_its_record(void **state)
{
    world         *w    = *state;
    pgqrs_run     *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step    *step = begin(run, "a");
    pgqrs_counters before;
    for (int i = 0; i < 100; i++)
        assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    assert_run(PGQRS_OK, run, pgqrs_step_trigger(step, "child", "{}", NULL, NULL));
    assert_run(PGQRS_OK, run,
               pgqrs_step_enqueue(step, "receipts", "{}",
                                  PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR), NULL));
    for (int i = 0; i < 2; i++)
        assert_run(PGQRS_OK, run,
                   pgqrs_step_enqueue(step, "receipts", "\"keyed\"",
                                      PGQRS_OPTIONS(enqueue, .key = "k"), NULL));
    assert_int_equal(0, measure(w, "receipts").ready);
    before = counted(w->store);
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
    assert_int_equal(1, spent(w->store, &before).commits);
    if (w->postgres)
        assert_in_range(spent(w->store, &before).round_trips, 1, 6); /* one of them connects */
    assert_int_equal(101, measure(w, "receipts").ready);
    assert_int_equal(1, measure(w, "receipts").scheduled);
    assert_int_equal(1, measure(w, "child").ready);
    assert_int_equal(1, step_count(w, pgqrs_run_id(run)));
    assert_consistent(w);
}

static void g52_a_plain_step_that_fails_sends_nothing(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = begin(run, "a");
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    assert_run(PGQRS_EEXHAUSTED, run, pgqrs_step_fail(step, "NO", "no"));
    step = begin(run, "b");
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    assert_run(PGQRS_ENOTREADY, run, pgqrs_step_retry(step, "NO", "no", 0));
    step = begin(run, "c");
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    assert_run(PGQRS_ESTATE, run, pgqrs_step_end(step, NULL));
    step = begin(run, "d");
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    assert_ok(pgqrs_queue_delete(w->store, "receipts", true, &failure));
    assert_run(PGQRS_ENOTFOUND, run, pgqrs_step_succeed(step, NULL));
    queue(w, "receipts");
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL)); /* into the new one */
    assert_int_equal(1, measure(w, "receipts").ready);
    step = begin(run, "e");
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    sql_run(w, ROB);
    assert_run(PGQRS_ELEASE, run, pgqrs_step_succeed(step, NULL));
    assert_int_equal(1, measure(w, "receipts").ready);
    assert_consistent(w);
}

static void g52_what_a_step_cannot_send_is_refused_at_once(void **state)
{
    world      *w    = *state;
    pgqrs_run  *run  = (charge_prepare(w), charge_run(w));
    pgqrs_step *step = begin(run, "a");
    int64_t     id;
    bool        existed;
    assert_int_equal(PGQRS_EINVAL, pgqrs_step_enqueue(NULL, "receipts", "{}", NULL, NULL));
    assert_run(PGQRS_EINVAL, run, pgqrs_step_enqueue(step, NULL, "{}", NULL, NULL));
    assert_run(PGQRS_EJSON, run, pgqrs_step_enqueue(step, "receipts", "{", NULL, NULL));
    assert_run(PGQRS_ENOTFOUND, run, pgqrs_step_enqueue(step, "nowhere", "{}", NULL, NULL));
    assert_run(PGQRS_ENOTFOUND, run, pgqrs_step_trigger(step, "receipts", "{}", NULL, NULL));
    assert_run(PGQRS_EINVAL, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, &id));
    assert_true(pgqrs_run_error(run)->hint[0] != '\0');
    assert_run(PGQRS_EINVAL, run,
               pgqrs_step_enqueue(step, "receipts", "{}",
                                  PGQRS_OPTIONS(enqueue, .out_existed = &existed), NULL));
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, NULL));
    assert_run(PGQRS_ESTATE, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, NULL));
    assert_int_equal(0, measure(w, "receipts").ready);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(g52_a_plain_step_sends_with_its_record),
        CASE(g52_a_plain_step_that_fails_sends_nothing),
        CASE(g52_what_a_step_cannot_send_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
