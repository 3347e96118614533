/* Workers as names for people: registered, heard of, measured, stopped; what they held goes back.
 */
#include <unistd.h>

#include "support/peek.h"
#include "support/world.h"

static int64_t worker(world *w, const char *name)
{
    int64_t id = 0;
    assert_ok(pgqrs_worker_register(w->store, name, NULL, &id, &failure));
    assert_true(id > 0);
    return id;
}

typedef struct seen_worker {
    pgqrs_worker_record record; /* without its texts */
    char                name[256];
    char                hostname[256];
} seen_worker;

static seen_worker look(world *w, int64_t id)
{
    seen_worker           seen    = { 0 };
    pgqrs_worker_records *workers = NULL;
    assert_ok(pgqrs_worker_get(w->store, id, &workers, &failure));
    assert_int_equal(1, pgqrs_worker_records_count(workers));
    seen.record = *pgqrs_worker_records_at(workers, 0);
    (void)snprintf(seen.name, sizeof(seen.name), "%s", seen.record.name);
    (void)snprintf(seen.hostname, sizeof(seen.hostname), "%s", seen.record.hostname);
    pgqrs_worker_records_free(workers);
    return seen;
}

static void a_worker_is_registered_ready(void **state)
{
    world  *w  = *state;
    int64_t id = 0;
    char    host[256];
    assert_int_equal(0, gethostname(host, sizeof(host)));
    queue(w, "orders");
    assert_ok(pgqrs_worker_register(w->store, "w1", "orders", &id, &failure));
    seen_worker seen = look(w, id);
    assert_int_equal(id, seen.record.id);
    assert_string_equal("w1", seen.name);
    assert_string_equal(host, seen.hostname);
    assert_int_equal(PGQRS_WORKER_READY, seen.record.status);
    assert_int_equal(queue_get(w, "orders").id, seen.record.queue_id);
    assert_int_equal(now_us(w), seen.record.started_at_us);
    assert_int_equal(now_us(w), seen.record.heartbeat_at_us);
    assert_int_equal(0, look(w, worker(w, "w2")).record.queue_id);
    assert_status(PGQRS_ENOTFOUND, pgqrs_worker_register(w->store, "w3", "absent", &id, &failure));
    assert_int_equal(PGQRS_OBJECT_QUEUE, failure.object);
}

static void a_name_is_made_up_when_none_is_given(void **state)
{
    world  *w = *state;
    int64_t a = worker(w, NULL), b = worker(w, NULL);
    assert_true(a != b);
    assert_true(look(w, a).name[0] != '\0');
    assert_string_not_equal(look(w, a).name, look(w, b).name);
}

static void a_taken_name_is_taken_over_with_its_id(void **state)
{
    world  *w  = *state;
    int64_t id = worker(w, "w1");
    assert_ok(pgqrs_worker_set_status(w->store, id, PGQRS_WORKER_STOPPED, &failure));
    advance(w, PGQRS_MINUTE);
    assert_int_equal(id, worker(w, "w1"));
    seen_worker seen = look(w, id);
    assert_int_equal(PGQRS_WORKER_READY, seen.record.status);
    assert_int_equal(now_us(w), seen.record.started_at_us);
}

static void a_heartbeat_moves_all_of_them(void **state)
{
    world  *w      = *state;
    int64_t ids[3] = { worker(w, "a"), worker(w, "b"), worker(w, "c") };
    advance(w, PGQRS_MINUTE);
    assert_ok(pgqrs_worker_heartbeat(w->store, ids, 2, &failure));
    assert_int_equal(now_us(w), look(w, ids[0]).record.heartbeat_at_us);
    assert_int_equal(now_us(w), look(w, ids[1]).record.heartbeat_at_us);
    assert_int_equal(now_us(w) - PGQRS_MINUTE, look(w, ids[2]).record.heartbeat_at_us);
    assert_int_equal(now_us(w) - PGQRS_MINUTE, look(w, ids[0]).record.started_at_us);
    assert_ok(pgqrs_worker_heartbeat(w->store, NULL, 0, &failure));
}

static void a_status_is_set_and_named(void **state)
{
    world *w = *state;

    static const struct {
        pgqrs_worker_status status;
        const char         *name;
    } all[]    = { { PGQRS_WORKER_POLLING, "polling" },
                   { PGQRS_WORKER_SUSPENDED, "suspended" },
                   { PGQRS_WORKER_INTERRUPTED, "interrupted" },
                   { PGQRS_WORKER_STOPPED, "stopped" },
                   { PGQRS_WORKER_READY, "ready" } };
    int64_t id = worker(w, "w1");
    for (size_t i = 0; i < 5; i++) {
        assert_ok(pgqrs_worker_set_status(w->store, id, all[i].status, &failure));
        assert_int_equal(all[i].status, look(w, id).record.status);
        assert_string_equal(all[i].name, pgqrs_worker_status_name(all[i].status));
    }
    assert_status(PGQRS_EINVAL,
                  pgqrs_worker_set_status(w->store, id, (pgqrs_worker_status)9, &failure));
    assert_status(PGQRS_ENOTFOUND,
                  pgqrs_worker_set_status(w->store, id + 100, PGQRS_WORKER_READY, &failure));
    assert_int_equal(PGQRS_OBJECT_WORKER, failure.object);
}

static void workers_are_listed_in_id_order(void **state)
{
    world                *w       = *state;
    int64_t               ids[3]  = { worker(w, "z"), worker(w, "a"), worker(w, "m") };
    pgqrs_worker_records *workers = NULL;
    assert_ok(pgqrs_worker_list(w->store, &workers, &failure));
    bool matches = pgqrs_worker_records_count(workers) == 3;
    for (size_t i = 0; matches && i < 3; i++)
        matches = pgqrs_worker_records_at(workers, i)->id == ids[i];
    matches = matches && pgqrs_worker_records_at(workers, 3) == NULL;
    pgqrs_worker_records_free(workers);
    assert_true(matches);
    pgqrs_worker_records *none = NULL;
    assert_status(PGQRS_ENOTFOUND, pgqrs_worker_get(w->store, ids[2] + 100, &none, &failure));
    assert_null(none);
}

static void health_counts_each_status_and_the_silent(void **state)
{
    world              *w = *state;
    pgqrs_worker_health health;
    int64_t             ids[6];
    for (size_t i = 0; i < 6; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "w%zu", i);
        ids[i] = worker(w, name);
        if (i < 5)
            assert_ok(
                pgqrs_worker_set_status(w->store, ids[i], (pgqrs_worker_status)(i + 1), &failure));
    }
    advance(w, PGQRS_MINUTE);
    assert_ok(pgqrs_worker_heartbeat(w->store, &ids[5], 1, &failure));
    assert_ok(pgqrs_worker_measure(w->store, 30 * PGQRS_SECOND, &health, &failure));
    assert_int_equal(6, health.total);
    assert_int_equal(2, health.ready);
    assert_int_equal(1, health.polling);
    assert_int_equal(1, health.suspended);
    assert_int_equal(1, health.interrupted);
    assert_int_equal(1, health.stopped);
    assert_int_equal(4, health.stale); /* neither the stopped one nor the one just heard of */
    assert_ok(pgqrs_worker_measure(w->store, PGQRS_HOUR, &health, &failure));
    assert_int_equal(0, health.stale);
}

static message claim_as(world *w, const char *queue, int64_t owner)
{
    message m = { 0 };
    assert_int_equal(1,
                     claim_with(w, w->store, queue, PGQRS_OPTIONS(claim, .owner = owner), &m, 1));
    return m;
}

static void g32_what_a_silent_worker_held_is_given_back_at_once(void **state)
{
    world  *w      = *state;
    int64_t silent = worker(w, "silent"), lively = worker(w, "lively");
    int64_t stopped = -1;
    queue(w, "orders");
    enqueue_count(w, "orders", 3, NULL);
    message lost = claim_as(w, "orders", silent), kept = claim_as(w, "orders", lively);
    advance(w, 10 * PGQRS_SECOND);
    assert_ok(pgqrs_worker_heartbeat(w->store, &lively, 1, &failure));
    assert_ok(pgqrs_worker_purge_stale(w->store, 10 * PGQRS_SECOND + 1, 0, &stopped, &failure));
    assert_int_equal(0, stopped);
    assert_ok(pgqrs_worker_purge_stale(w->store, 9 * PGQRS_SECOND, 0, &stopped, &failure));
    assert_int_equal(1, stopped);
    assert_int_equal(PGQRS_WORKER_STOPPED, look(w, silent).record.status);
    assert_int_equal(PGQRS_WORKER_READY, look(w, lively).record.status);
    assert_state(w, lost.id, PGQRS_STATE_READY); /* long before its lease passes */
    assert_state(w, kept.id, PGQRS_STATE_LEASED);
    assert_int_equal(0, record(w, lost.id).attempt);
    assert_status(PGQRS_ELEASE, pgqrs_archive(w->store, &lost, &failure));
    assert_ok(pgqrs_archive(w->store, &kept, &failure));
    assert_ok(pgqrs_worker_purge_stale(w->store, 9 * PGQRS_SECOND, 0, &stopped, &failure));
    assert_int_equal(0, stopped);
    assert_consistent(w);
}

static void g25_stale_is_judged_by_the_time_that_the_call_says(void **state)
{
    world  *w       = *state;
    int64_t stopped = 0;
    (void)worker(w, "w1");
    assert_ok(pgqrs_worker_purge_stale(w->store, PGQRS_MINUTE, now_us(w) + PGQRS_HOUR, &stopped,
                                       &failure));
    assert_int_equal(1, stopped);
}

static void release_brings_back_what_is_leased_and_what_is_paused(void **state)
{
    world  *w  = *state;
    int64_t id = worker(w, "w1"), other = worker(w, "w2"), count = 0;
    int64_t delayed_us = PGQRS_HOUR;
    queue(w, "orders");
    workflow(w, "flow");
    enqueue_count(w, "orders", 3, NULL);
    message mine = claim_as(w, "orders", id), theirs = claim_as(w, "orders", other);
    message cancelled = claim_as(w, "orders", id);
    assert_ok(pgqrs_cancel(w->store, cancelled.id, NULL, &failure));
    int64_t delayed =
        enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = delayed_us));

    int64_t         paused = trigger(w, "flow", "1");
    pgqrs_messages *batch  = NULL;
    pgqrs_run      *run    = NULL;
    assert_ok(pgqrs_claim(w->store, "flow", PGQRS_OPTIONS(claim, .owner = id), &batch, &failure));
    assert_ok(pgqrs_run_from(w->store, batch, 0, &run, &failure));
    pgqrs_status parked = pgqrs_run_pause(run, "wait for me", PGQRS_DAY);
    pgqrs_run_free(run);
    pgqrs_messages_free(batch);
    assert_int_equal(PGQRS_EPAUSED, parked);

    assert_ok(pgqrs_worker_release(w->store, id, &count, &failure));
    assert_state(w, mine.id, PGQRS_STATE_READY);
    assert_state(w, paused, PGQRS_STATE_READY);
    assert_state(w, theirs.id, PGQRS_STATE_LEASED);
    assert_state(w, cancelled.id, PGQRS_STATE_CANCELLED);
    assert_state(w, delayed, PGQRS_STATE_SCHEDULED);
    assert_int_equal(0, record(w, mine.id).attempt);
    assert_in_range(count, 2, 3); /* the cancelled one became nobody's to handle */
    assert_int_equal(1, claim_one(w, "flow").attempt);
    assert_ok(pgqrs_worker_release(w->store, id, NULL, &failure));
    assert_consistent(w);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(a_worker_is_registered_ready),
        CASE(a_name_is_made_up_when_none_is_given),
        CASE(a_taken_name_is_taken_over_with_its_id),
        CASE(a_heartbeat_moves_all_of_them),
        CASE(a_status_is_set_and_named),
        CASE(workers_are_listed_in_id_order),
        CASE(health_counts_each_status_and_the_silent),
        CASE(g32_what_a_silent_worker_held_is_given_back_at_once),
        CASE(g25_stale_is_judged_by_the_time_that_the_call_says),
        CASE(release_brings_back_what_is_leased_and_what_is_paused),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
