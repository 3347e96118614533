/* The worker loop: handlers for messages and runs, what becomes of what they return, stopping. */
#include <poll.h>

#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

/* What a handler of these cases is told to do, and what it saw. */
typedef struct plan {
    pgqrs_worker *worker;
    atomic_int    calls;
    atomic_int    now; /* handlers at this moment */
    atomic_int    most;
    int           fail_first; /* so many calls fail */
    pgqrs_status  status;     /* … with this */
    atomic_bool   go_on;
    int64_t       worker_id;
} plan;

static void enter(plan *p)
{
    int now  = atomic_fetch_add(&p->now, 1) + 1;
    int most = atomic_load(&p->most);
    while (now > most && !atomic_compare_exchange_weak(&p->most, &most, now))
        continue;
    (void)atomic_fetch_add(&p->calls, 1);
}

static void leave(plan *p)
{
    (void)atomic_fetch_sub(&p->now, 1);
}

/* Fails the first calls, then says that it is done. */
static pgqrs_status handle(pgqrs_store *store, const pgqrs_message *m, void *user_data,
                           pgqrs_error *error)
{
    plan *p = user_data;
    enter(p);
    bool fails = atomic_load(&p->calls) <= p->fail_first;
    if (fails && error != NULL) {
        error->status = p->status;
        (void)snprintf(error->message, sizeof(error->message), "handler says no");
    }
    leave(p);
    (void)store;
    return fails ? p->status : m->payload != NULL ? PGQRS_OK : PGQRS_EINTERNAL;
}

static void work_on(world *w, const char *queue, pgqrs_message_handler handler, plan *p,
                    const pgqrs_work_options *options)
{
    assert_ok(pgqrs_worker_new(w->store, PGQRS_OPTIONS(worker, .exit_when_idle = 1, .name = "w"),
                               &p->worker, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_worker_on_message(p->worker, queue, handler, p, options));
    assert_int_equal(0, pgqrs_worker_id(p->worker));
    assert_ok(pgqrs_worker_run(p->worker, &failure));
    p->worker_id = pgqrs_worker_id(p->worker);
    pgqrs_worker_free(p->worker);
    p->worker = NULL;
    assert_int_equal(0, atomic_load(&p->now));
}

static void a_handled_message_is_archived(void **state)
{
    world  *w = *state;
    plan    p = { 0 };
    int64_t ids[20];
    queue(w, "orders");
    enqueue_count(w, "orders", 20, ids);
    work_on(w, "orders", handle, &p, NULL);
    assert_int_equal(20, atomic_load(&p.calls));
    assert_int_equal(1, atomic_load(&p.most));
    assert_true(p.worker_id > 0);
    for (size_t i = 0; i < 20; i++)
        assert_state(w, ids[i], PGQRS_STATE_DONE);
    assert_int_equal(p.worker_id, record(w, ids[0]).owner);
    pgqrs_worker_records *workers = NULL;
    assert_ok(pgqrs_worker_get(w->store, p.worker_id, &workers, &failure));
    pgqrs_worker_status status = pgqrs_worker_records_at(workers, 0)->status;
    pgqrs_worker_records_free(workers);
    assert_int_equal(PGQRS_WORKER_STOPPED, status);
    assert_consistent(w);
}

static pgqrs_status finish_it_myself(pgqrs_store *store, const pgqrs_message *m, void *user_data,
                                     pgqrs_error *error)
{
    plan *p = user_data;
    enter(p);
    leave(p);
    return atomic_load(&p->calls) == 1 ? pgqrs_delete(store, m, error)
                                       : pgqrs_dead_letter(store, m, "MINE", "text", error);
}

static void a_handler_may_finish_its_message_itself(void **state)
{
    world  *w = *state;
    plan    p = { 0 };
    int64_t ids[2];
    queue(w, "orders");
    enqueue_count(w, "orders", 2, ids);
    work_on(w, "orders", finish_it_myself, &p, NULL);
    assert_gone(w, ids[0]);
    assert_state(w, ids[1], PGQRS_STATE_DEAD);
    assert_consistent(w);
}

static void g29_a_failing_handler_is_retried_and_does_not_end_the_loop(void **state)
{
    world *w = *state;
    plan   p = { .fail_first = 1, .status = PGQRS_EINTERNAL };
    queue(w, "orders");
    int64_t first = enqueue(w, "orders", "1"), second = enqueue(w, "orders", "2");
    work_on(w, "orders", handle, &p, NULL);
    assert_int_equal(2, atomic_load(&p.calls)); /* it went on with the other one */
    assert_state(w, second, PGQRS_STATE_DONE);
    pgqrs_record r = record(w, first);
    assert_int_equal(PGQRS_STATE_SCHEDULED, r.state);
    assert_string_equal("retry", r.reason);
    assert_int_equal(1, r.attempt);
    assert_int_equal(now_us(w) + BACKOFF_US, r.visible_at_us);
    advance(w, BACKOFF_US);
    work_on(w, "orders", handle, &p, NULL);
    assert_state(w, first, PGQRS_STATE_DONE);
}

static void g07_a_handler_that_always_fails_makes_a_dead_letter(void **state)
{
    world *w = *state;
    plan   p = { .fail_first = 1000, .status = PGQRS_EINVAL };
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    for (int i = 0; i < MAX_ATTEMPTS; i++) {
        work_on(w, "orders", handle, &p, NULL);
        advance(w, PGQRS_HOUR);
    }
    assert_int_equal(MAX_ATTEMPTS, atomic_load(&p.calls));
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_DEAD, r.state);
    assert_non_null(strstr(r.error, "handler says no"));
    assert_non_null(strstr(r.error, "EINVAL"));
}

static pgqrs_status meet(pgqrs_store *store, const pgqrs_message *m, void *user_data,
                         pgqrs_error *error)
{
    plan *p = user_data;
    (void)store;
    (void)m;
    (void)error;
    enter(p);
    for (int i = 0; i < 2000 && atomic_load(&p->most) < 8; i++)
        (void)poll(NULL, 0, 5);
    leave(p);
    return PGQRS_OK;
}

static void as_many_handlers_run_at_once_as_asked_for(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    queue(w, "orders");
    enqueue_count(w, "orders", 24, NULL);
    work_on(w, "orders", meet, &p, PGQRS_OPTIONS(work, .concurrency = 8));
    assert_int_equal(24, atomic_load(&p.calls));
    assert_int_equal(8, atomic_load(&p.most));
    assert_int_equal(24, measure(w, "orders").done);
}

/* --- Stopping ------------------------------------------------------------------------------------
 */

static void until(atomic_int *calls, int wanted)
{
    for (int i = 0; i < 4000 && atomic_load(calls) < wanted; i++)
        (void)poll(NULL, 0, 5);
}

static pgqrs_status hold_on(pgqrs_store *store, const pgqrs_message *m, void *user_data,
                            pgqrs_error *error)
{
    plan *p = user_data;
    (void)store;
    (void)m;
    (void)error;
    enter(p);
    for (int i = 0; i < 4000 && !atomic_load(&p->go_on); i++)
        (void)poll(NULL, 0, 5);
    leave(p);
    return PGQRS_OK;
}

typedef struct shift {
    pgqrs_worker *worker;
    plan         *plan;
    pgqrs_status  status;
} shift;

static void run_or_stop(void *shared, size_t i)
{
    shift *s = shared;
    if (i == 0) {
        s->status = pgqrs_worker_run(s->worker, NULL);
    } else {
        until(&s->plan->calls, 1);
        pgqrs_worker_stop(s->worker);
        atomic_store(&s->plan->go_on, true);
    }
}

static void g40_a_graceful_stop_finishes_what_is_in_hand(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    shift  s = { .plan = &p };
    queue(w, "orders");
    enqueue_count(w, "orders", 5, NULL);
    assert_ok(pgqrs_worker_new(w->store, NULL, &s.worker, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_worker_on_message(s.worker, "orders", hold_on, &p, NULL));
    together(2, run_or_stop, &s);
    pgqrs_worker_free(s.worker);
    assert_int_equal(PGQRS_OK, s.status);
    pgqrs_queue_metrics metrics = measure(w, "orders");
    assert_int_equal(atomic_load(&p.calls), metrics.done);
    assert_in_range(metrics.done, 1, 4);
    assert_int_equal(0, metrics.leased); /* what it had claimed but not begun is given back */
    assert_int_equal(5, metrics.done + metrics.ready);
    message m = claim_one(w, "orders");
    assert_int_equal(1, m.attempt);
    assert_consistent(w);
}

#define MANY      200
#define QUICK     100
#define HANDS     8
#define TAKES_MAX 400

/* Quick for so many messages; then each waits until it may go on. */
static pgqrs_status slow_down(pgqrs_store *store, const pgqrs_message *m, void *user_data,
                              pgqrs_error *error)
{
    plan *p = user_data;
    if (atomic_load(&p->calls) >= QUICK)
        return hold_on(store, m, user_data, error);
    enter(p);
    leave(p);
    return PGQRS_OK;
}

typedef struct others {
    shift  shift;
    world *w;
    size_t taken; /* by the other consumer, while every hand is at work */
} others;

static void run_or_take_the_rest(void *shared, size_t i)
{
    others *o = shared;
    plan   *p = o->shift.plan;
    if (i == 0) {
        o->shift.status = pgqrs_worker_run(o->shift.worker, NULL);
        return;
    }
    for (int k = 0; k < 4000 && atomic_load(&p->now) < HANDS; k++)
        (void)poll(NULL, 0, 5);
    for (int k = 0; k < TAKES_MAX && o->taken + (size_t)atomic_load(&p->calls) < MANY; k++) {
        pgqrs_messages *messages = NULL;
        if (pgqrs_claim(o->w->store, "orders",
                        PGQRS_OPTIONS(claim, .limit = MANY, .wait_us = 50 * PGQRS_MILLISECOND),
                        &messages, NULL)
            == PGQRS_OK)
            o->taken += pgqrs_messages_count(messages);
        pgqrs_messages_free(messages);
    }
    atomic_store(&p->go_on, true);
    pgqrs_worker_stop(o->shift.worker);
}

static void g47_what_waits_for_slow_handlers_is_for_others_to_take(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    others o = { .shift = { .plan = &p }, .w = w };
    queue(w, "orders");
    enqueue_count(w, "orders", MANY, NULL);
    assert_ok(pgqrs_worker_new(w->store, NULL, &o.shift.worker, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_worker_on_message(o.shift.worker, "orders", slow_down, &p,
                                                       PGQRS_OPTIONS(work, .concurrency = HANDS)));
    together(2, run_or_take_the_rest, &o);
    pgqrs_worker_free(o.shift.worker);
    assert_int_equal(PGQRS_OK, o.shift.status);
    assert_true(atomic_load(&p.calls) >= QUICK + HANDS);
    assert_int_equal(MANY, atomic_load(&p.calls) + (int)o.taken);
    assert_int_equal(atomic_load(&p.calls), measure(w, "orders").done);
    assert_int_equal(o.taken, measure(w, "orders").leased);
    assert_consistent(w);
}

static void a_worker_stopped_before_it_runs_returns_at_once(void **state)
{
    world        *w      = *state;
    plan          p      = { 0 };
    pgqrs_worker *worker = NULL;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    assert_ok(pgqrs_worker_new(w->store, NULL, &worker, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_worker_on_message(worker, "orders", handle, &p, NULL));
    pgqrs_worker_stop(worker);
    assert_ok(pgqrs_worker_run(worker, &failure));
    pgqrs_worker_free(worker);
    assert_int_equal(0, measure(w, "orders").leased);
}

static pgqrs_status interrupt_me(pgqrs_store *store, const pgqrs_message *m, void *user_data,
                                 pgqrs_error *error)
{
    plan *p = user_data;
    (void)m;
    enter(p);
    leave(p);
    return pgqrs_worker_set_status(store, pgqrs_worker_id(p->worker), PGQRS_WORKER_INTERRUPTED,
                                   error);
}

static void g40_an_interrupt_stops_a_worker_from_anywhere(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    assert_ok(pgqrs_worker_new(w->store,
                               PGQRS_OPTIONS(worker, .heartbeat_us = 50 * PGQRS_MILLISECOND),
                               &p.worker, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_worker_on_message(p.worker, "orders", interrupt_me, &p, NULL));
    assert_ok(pgqrs_worker_run(p.worker, &failure)); /* it hears of it by its heartbeat */
    pgqrs_worker_free(p.worker);
    assert_int_equal(1, atomic_load(&p.calls));
    assert_state(w, id, PGQRS_STATE_DONE);
}

static void a_worker_without_handlers_is_refused(void **state)
{
    world        *w      = *state;
    pgqrs_worker *worker = NULL;
    assert_ok(pgqrs_worker_new(w->store, NULL, &worker, &failure));
    pgqrs_status status = pgqrs_worker_run(worker, &failure);
    pgqrs_worker_free(worker);
    assert_int_equal(PGQRS_EINVAL, status);
    pgqrs_worker_free(NULL);
}

/* --- Runs ----------------------------------------------------------------------------------------
 */

static pgqrs_status two_steps(pgqrs_run *run, void *user_data)
{
    plan       *p    = user_data;
    pgqrs_step *step = NULL;
    enter(p);
    leave(p);
    pgqrs_status status = pgqrs_step_begin(run, "one", NULL, &step);
    if (status == PGQRS_OK && !pgqrs_step_recorded(step))
        status = pgqrs_step_succeed(step, "1");
    if (status != PGQRS_OK)
        return status;
    status = pgqrs_step_begin(
        run, "two", PGQRS_OPTIONS(step, .backoff = PGQRS_BACKOFF_FIXED, .max_retries = 20), &step);
    if (status == PGQRS_OK && !pgqrs_step_recorded(step))
        status = atomic_load(&p->calls) <= p->fail_first ? pgqrs_step_retry(step, "E", "text", 0)
                                                         : pgqrs_step_succeed(step, "2");
    if (status != PGQRS_OK)
        return status;
    return pgqrs_run_succeed(run, pgqrs_run_printf(run, "[1,%s]", pgqrs_step_output(step)));
}

static void a_run_is_executed_to_its_end(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    work(w, "flow", two_steps, &p);
    assert_int_equal(1, atomic_load(&p.calls));
    pgqrs_run_record r = run_record(w, id);
    assert_int_equal(PGQRS_RUN_SUCCESS, r.status);
    assert_string_equal("[1,2]", r.output);
    assert_int_equal(2, step_count(w, id));
    assert_consistent(w);
}

static void a_workflow_is_created_by_its_worker(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    work(w, "flow", two_steps, &p);
    assert_true(queue_get(w, "flow").workflow);
}

static void g16_step_retries_cost_no_attempt(void **state)
{
    world *w = *state;
    plan   p = { .fail_first = 2 * MAX_ATTEMPTS };
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    for (int i = 0; i < 2 * MAX_ATTEMPTS; i++) {
        work(w, "flow", two_steps, &p);
        pgqrs_record m = record(w, id);
        assert_int_equal(PGQRS_STATE_SCHEDULED, m.state);
        assert_string_equal("retry", m.reason);
        assert_int_equal(0, m.attempt);
        assert_int_equal(now_us(w) + PGQRS_SECOND, m.visible_at_us); /* the step's time exactly */
        assert_run_status(w, id, PGQRS_RUN_RUNNING);
        advance(w, PGQRS_SECOND - 1);
        work(w, "flow", two_steps, &p);
        assert_int_equal(i + 1, atomic_load(&p.calls)); /* not before its time */
        advance(w, 1);
    }
    work(w, "flow", two_steps, &p);
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
    assert_int_equal(1, record(w, id).attempt);
    assert_int_equal(2 * MAX_ATTEMPTS, step_record(w, id, "two").retries);
}

static pgqrs_status as_told(pgqrs_run *run, void *user_data)
{
    plan       *p    = user_data;
    pgqrs_step *step = NULL;
    enter(p);
    leave(p);
    if (p->status == PGQRS_EPAUSED)
        return pgqrs_run_pause(run, "zzz", PGQRS_HOUR);
    if (p->status == PGQRS_EEXHAUSTED) {
        pgqrs_status status = pgqrs_step_begin(run, "one", NULL, &step);
        return status == PGQRS_OK ? pgqrs_step_fail(step, "BAD", "no good") : status;
    }
    return p->status;
}

static void what_a_run_handler_returns_decides(void **state)
{
    world *w = *state;
    plan   p = { .status = PGQRS_OK };
    workflow(w, "flow");

    int64_t id = trigger(w, "flow", "1");
    work(w, "flow", as_told, &p); /* OK without an end: success without output */
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
    assert_null(run_record(w, id).output);

    id       = trigger(w, "flow", "1");
    p.status = PGQRS_EPAUSED;
    work(w, "flow", as_told, &p);
    assert_run_status(w, id, PGQRS_RUN_PAUSED);

    id       = trigger(w, "flow", "1");
    p.status = PGQRS_EEXHAUSTED; /* a step failed for good: the run has failed */
    work(w, "flow", as_told, &p);
    pgqrs_run_record r = run_record(w, id);
    assert_int_equal(PGQRS_RUN_ERROR, r.status);
    assert_false(r.dead);
    assert_non_null(strstr(r.error, "no good"));

    id       = trigger(w, "flow", "1");
    p.status = PGQRS_EINTERNAL; /* anything else: counted, after the backoff */
    work(w, "flow", as_told, &p);
    pgqrs_record m = record(w, id);
    assert_int_equal(PGQRS_STATE_SCHEDULED, m.state);
    assert_int_equal(1, m.attempt);
    assert_int_equal(now_us(w) + BACKOFF_US, m.visible_at_us);
}

static void a_run_that_always_fails_is_dead_with_its_error(void **state)
{
    world *w = *state;
    plan   p = { .status = PGQRS_EINTERNAL };
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    for (int i = 0; i < MAX_ATTEMPTS; i++) {
        work(w, "flow", as_told, &p);
        advance(w, PGQRS_HOUR);
    }
    assert_int_equal(MAX_ATTEMPTS, atomic_load(&p.calls));
    pgqrs_run_record r = run_record(w, id);
    assert_int_equal(PGQRS_RUN_ERROR, r.status);
    assert_true(r.dead);
    assert_non_null(strstr(r.error, "code"));
}

static pgqrs_status sleeps(pgqrs_run *run, void *user_data)
{
    plan *p = user_data;
    enter(p);
    leave(p);
    pgqrs_status status = pgqrs_run_sleep(run, "nap", PGQRS_HOUR);
    return status == PGQRS_OK ? pgqrs_run_succeed(run, "true") : status;
}

static void a_sleeping_run_is_executed_again_at_its_time(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    work(w, "flow", sleeps, &p);
    assert_run_status(w, id, PGQRS_RUN_PAUSED);
    advance(w, PGQRS_HOUR - 1);
    work(w, "flow", sleeps, &p);
    assert_int_equal(1, atomic_load(&p.calls));
    advance(w, 1);
    work(w, "flow", sleeps, &p);
    assert_int_equal(2, atomic_load(&p.calls));
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
}

static pgqrs_status cancels_itself(pgqrs_run *run, void *user_data)
{
    plan *p = user_data;
    enter(p);
    leave(p);
    pgqrs_step  *step   = NULL;
    pgqrs_status status = pgqrs_run_cancel(run);
    if (status != PGQRS_OK)
        return status;
    status = pgqrs_step_begin(run, "one", NULL, &step);
    return status == PGQRS_OK ? PGQRS_EINTERNAL : status;
}

static void g17_a_run_cancelled_in_the_loop_ends_cancelled(void **state)
{
    world *w = *state;
    plan   p = { 0 };
    workflow(w, "flow");
    int64_t id = trigger(w, "flow", "1");
    work(w, "flow", cancels_itself, &p);
    assert_int_equal(1, atomic_load(&p.calls));
    assert_run_status(w, id, PGQRS_RUN_CANCELLED);
    assert_consistent(w);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(a_handled_message_is_archived),
        CASE(a_handler_may_finish_its_message_itself),
        CASE(g29_a_failing_handler_is_retried_and_does_not_end_the_loop),
        CASE(g07_a_handler_that_always_fails_makes_a_dead_letter),
        CASE_REAL(as_many_handlers_run_at_once_as_asked_for),
        CASE_REAL(g40_a_graceful_stop_finishes_what_is_in_hand),
        CASE_REAL(g47_what_waits_for_slow_handlers_is_for_others_to_take),
        CASE_REAL(a_worker_stopped_before_it_runs_returns_at_once),
        CASE_REAL(g40_an_interrupt_stops_a_worker_from_anywhere),
        CASE(a_worker_without_handlers_is_refused),
        CASE(a_run_is_executed_to_its_end),
        CASE(a_workflow_is_created_by_its_worker),
        CASE(g16_step_retries_cost_no_attempt),
        CASE(what_a_run_handler_returns_decides),
        CASE(a_run_that_always_fails_is_dead_with_its_error),
        CASE(a_sleeping_run_is_executed_again_at_its_time),
        CASE(g17_a_run_cancelled_in_the_loop_ends_cancelled),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
