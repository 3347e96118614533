/* Queues as things to administer: made, configured, listed, measured, paused, purged, deleted. */
#include "support/peek.h"
#include "support/world.h"

static void a_queue_is_made_with_the_defaults_of_the_header(void **state)
{
    world *w = *state;
    queue(w, "orders");
    pgqrs_queue q = queue_get(w, "orders");
    assert_string_equal("orders", q.name);
    assert_true(q.id > 0);
    assert_false(q.workflow);
    assert_false(q.paused);
    assert_int_equal(30 * PGQRS_SECOND, q.lease_us);
    assert_int_equal(5, q.max_attempts);
    assert_int_equal(PGQRS_SECOND, q.backoff_us);
    assert_true(q.backoff_factor > 1.99 && q.backoff_factor < 2.01);
    assert_int_equal(PGQRS_HOUR, q.backoff_max_us);
    assert_int_equal(7 * PGQRS_DAY, q.retention_us);
    assert_int_equal(now_us(w), q.created_at_us);
}

static void a_queue_is_made_with_what_was_asked(void **state)
{
    world *w = *state;
    queue_with(w, "orders",
               PGQRS_OPTIONS(queue, .lease_us = 7 * PGQRS_DAY, .max_attempts = 1000,
                             .backoff_us = 5 * PGQRS_MILLISECOND, .backoff_factor = 1.5,
                             .backoff_max_us = PGQRS_MINUTE, .retention_us = PGQRS_FOREVER));
    pgqrs_queue q = queue_get(w, "orders");
    assert_int_equal(7 * PGQRS_DAY, q.lease_us);
    assert_int_equal(1000, q.max_attempts);
    assert_int_equal(5 * PGQRS_MILLISECOND, q.backoff_us);
    assert_true(q.backoff_factor > 1.49 && q.backoff_factor < 1.51);
    assert_int_equal(PGQRS_MINUTE, q.backoff_max_us);
    assert_true(q.retention_us == PGQRS_FOREVER);
}

static void the_stores_max_attempts_is_written_into_its_queues(void **state)
{
    world              *w       = *state;
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    options.max_attempts        = 9;
    assert_ok(pgqrs_open(w->dsn, &options, &store, &failure));
    pgqrs_status created = pgqrs_queue_create(store, "orders", NULL, &failure);
    pgqrs_close(store);
    assert_int_equal(PGQRS_OK, created);
    assert_int_equal(9, queue_get(w, "orders").max_attempts);
}

static void a_name_is_taken_once(void **state)
{
    world *w = *state;
    queue(w, "orders");
    assert_status(PGQRS_EEXISTS, pgqrs_queue_create(w->store, "orders", NULL, &failure));
    assert_int_equal(PGQRS_OBJECT_QUEUE, failure.object);
    assert_non_null(strstr(failure.message, "orders"));
}

static void ensure_keeps_the_settings_of_an_existing_queue(void **state)
{
    world *w = *state;
    queue_with(w, "orders", PGQRS_OPTIONS(queue, .max_attempts = 2));
    assert_ok(
        pgqrs_queue_ensure(w->store, "orders", PGQRS_OPTIONS(queue, .max_attempts = 9), &failure));
    assert_int_equal(2, queue_get(w, "orders").max_attempts);
    assert_ok(
        pgqrs_queue_ensure(w->store, "other", PGQRS_OPTIONS(queue, .max_attempts = 9), &failure));
    assert_int_equal(9, queue_get(w, "other").max_attempts);
}

static void a_queue_and_a_workflow_do_not_share_a_name(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    queue(w, "orders");
    assert_true(queue_get(w, "flow").workflow);
    assert_status(PGQRS_EEXISTS, pgqrs_queue_ensure(w->store, "flow", NULL, &failure));
    assert_status(PGQRS_EEXISTS, pgqrs_queue_create(w->store, "flow", NULL, &failure));
    assert_status(PGQRS_EEXISTS, pgqrs_workflow_ensure(w->store, "orders", NULL, &failure));
}

static void names_are_data(void **state)
{
    world      *w       = *state;
    const char *names[] = { "a", "Größe/ \"x\"; DROP TABLE pgqrs_queues; --", "%s%n", "'", "東京" };
    char        longest[256];
    memset(longest, 'n', 255);
    longest[255] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        queue(w, names[i]);
        int64_t id = enqueue(w, names[i], "1");
        assert_string_equal(names[i], queue_get(w, names[i]).name);
        assert_int_equal(id, claim_one(w, names[i]).id);
    }
    queue(w, longest);
    assert_string_equal(longest, queue_get(w, longest).name);
}

static void g39_settings_are_in_force_from_the_next_statement_on(void **state)
{
    world       *w     = *state;
    pgqrs_store *other = world_open(w);
    message      m     = { 0 };
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    assert_int_equal(1, claim_with(w, other, "orders", NULL, &m, 1));
    assert_int_equal(now_us(w) + LEASE_US, m.expires_at_us);
    assert_ok(pgqrs_release(other, &m, NULL, &failure));

    assert_ok(pgqrs_queue_configure(
        w->store, "orders",
        PGQRS_OPTIONS(queue, .lease_us = 90 * PGQRS_SECOND, .backoff_us = 7 * PGQRS_SECOND),
        &failure));
    assert_int_equal(1, claim_with(w, other, "orders", NULL, &m, 1));
    assert_int_equal(now_us(w) + 90 * PGQRS_SECOND, m.expires_at_us);
    assert_ok(pgqrs_retry(other, &m, "E", "text", &failure));
    assert_int_equal(now_us(w) + 7 * PGQRS_SECOND, record(w, id).visible_at_us);
}

static void configure_leaves_alone_what_is_zero(void **state)
{
    world *w = *state;
    queue_with(w, "orders", PGQRS_OPTIONS(queue, .max_attempts = 3, .retention_us = 2 * PGQRS_DAY));
    assert_ok(pgqrs_queue_configure(w->store, "orders", PGQRS_OPTIONS(queue, .max_attempts = 4),
                                    &failure));
    pgqrs_queue q = queue_get(w, "orders");
    assert_int_equal(4, q.max_attempts);
    assert_int_equal(2 * PGQRS_DAY, q.retention_us);
    assert_int_equal(LEASE_US, q.lease_us);
    assert_ok(pgqrs_queue_configure(w->store, "orders",
                                    PGQRS_OPTIONS(queue, .retention_us = PGQRS_FOREVER), &failure));
    assert_true(queue_get(w, "orders").retention_us == PGQRS_FOREVER);
    assert_ok(pgqrs_queue_configure(w->store, "orders",
                                    PGQRS_OPTIONS(queue, .retention_us = PGQRS_DAY), &failure));
    assert_int_equal(PGQRS_DAY, queue_get(w, "orders").retention_us);
}

static void queues_are_listed_by_name(void **state)
{
    world        *w          = *state;
    const char   *expected[] = { "B", "a", "flow", "z" };
    pgqrs_queues *queues     = NULL;
    queue(w, "z");
    workflow(w, "flow");
    queue(w, "a");
    queue(w, "B");
    queue(w, "deleted");
    assert_ok(pgqrs_queue_delete(w->store, "deleted", false, &failure));
    assert_ok(pgqrs_queue_list(w->store, &queues, &failure));
    size_t count   = pgqrs_queues_count(queues);
    bool   matches = count == 4;
    for (size_t i = 0; matches && i < 4; i++)
        matches = strcmp(expected[i], pgqrs_queues_at(queues, i)->name) == 0;
    assert_null(pgqrs_queues_at(queues, count));
    pgqrs_queues_free(queues);
    assert_true(matches);
}

static void metrics_count_each_state_and_the_age(void **state)
{
    world  *w = *state;
    message m[3];
    queue(w, "orders");
    assert_int_equal(0, measure(w, "orders").oldest_us);
    enqueue_count(w, "orders", 5, NULL);
    (void)enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR));
    advance(w, 3 * PGQRS_SECOND);
    assert_int_equal(3, claim_many(w, "orders", 3, m));
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));
    assert_ok(pgqrs_dead_letter(w->store, &m[1], "BAD", "text", &failure));
    pgqrs_queue_metrics metrics = measure(w, "orders");
    assert_int_equal(2, metrics.ready);
    assert_int_equal(1, metrics.scheduled);
    assert_int_equal(1, metrics.leased);
    assert_int_equal(1, metrics.done);
    assert_int_equal(1, metrics.dead);
    assert_int_equal(3 * PGQRS_SECOND, metrics.oldest_us);
}

static void g15_a_paused_queue_delivers_nothing_and_accepts_everything(void **state)
{
    world  *w = *state;
    message m;
    queue(w, "orders");
    queue(w, "other");
    int64_t first = enqueue(w, "orders", "1");
    assert_ok(pgqrs_queue_pause(w->store, "orders", &failure));
    assert_ok(pgqrs_queue_pause(w->store, "orders", &failure));
    assert_true(queue_get(w, "orders").paused);
    int64_t second = enqueue(w, "orders", "2");
    int64_t other  = enqueue(w, "other", "3");
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_int_equal(other, claim_one(w, "other").id);
    assert_ok(pgqrs_queue_resume(w->store, "orders", &failure));
    assert_ok(pgqrs_queue_resume(w->store, "orders", &failure));
    assert_false(queue_get(w, "orders").paused);
    m = claim_one(w, "orders");
    assert_int_equal(first, m.id);
    assert_int_equal(second, claim_one(w, "orders").id);
}

static void g15_a_holder_finishes_while_its_queue_is_paused(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message m = claim_one(w, "orders");
    assert_ok(pgqrs_queue_pause(w->store, "orders", &failure));
    assert_ok(pgqrs_extend(w->store, &m, 0, &failure));
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_state(w, m.id, PGQRS_STATE_DONE);
}

static void purge_removes_what_waits_and_nothing_else(void **state)
{
    world  *w       = *state;
    int64_t removed = -1;
    message m[2];
    queue(w, "orders");
    queue(w, "other");
    int64_t elsewhere = enqueue(w, "other", "1");
    enqueue_count(w, "orders", 6, NULL);
    int64_t late =
        enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_HOUR, .key = "k"));
    assert_int_equal(2, claim_many(w, "orders", 2, m));
    assert_ok(pgqrs_archive(w->store, &m[0], &failure));

    assert_ok(pgqrs_queue_purge(w->store, "orders", &removed, &failure));
    assert_int_equal(5, removed);
    assert_gone(w, late);
    assert_state(w, m[0].id, PGQRS_STATE_DONE);
    assert_state(w, m[1].id, PGQRS_STATE_LEASED);
    assert_state(w, elsewhere, PGQRS_STATE_READY);
    assert_consistent(w);

    /* the key went with its message: it names nothing that is not there */
    assert_true(late != enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k")));
    assert_ok(pgqrs_queue_purge(w->store, "orders", NULL, &failure));
    assert_int_equal(0, measure(w, "orders").ready);
}

static void purge_takes_more_than_one_batch(void **state)
{
    world  *w       = *state;
    int64_t removed = 0;
    queue(w, "orders");
    enqueue_count(w, "orders", 2500, NULL);
    assert_ok(pgqrs_queue_purge(w->store, "orders", &removed, &failure));
    assert_int_equal(2500, removed);
    assert_consistent(w);
}

static void g34_the_name_of_a_deleted_queue_is_free_at_once(void **state)
{
    world  *w = *state;
    message m;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    m = claim_one(w, "orders");
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    (void)enqueue(w, "orders", "2");
    int64_t old = queue_get(w, "orders").id;
    assert_ok(pgqrs_queue_delete(w->store, "orders", false, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_enqueue(w->store, "orders", "3", NULL, NULL, &failure));

    queue(w, "orders");
    assert_true(old != queue_get(w, "orders").id);
    assert_int_equal(0, claim_one(w, "orders").id);
    pgqrs_queue_metrics metrics = measure(w, "orders");
    assert_int_equal(0, metrics.ready + metrics.done);
    int64_t id = enqueue(w, "orders", "4");
    assert_int_equal(id, claim_one(w, "orders").id);
}

static void g34_another_store_notices_that_a_queue_was_made_anew(void **state)
{
    world       *w     = *state;
    pgqrs_store *other = world_open(w);
    message      m     = { 0 };
    queue(w, "orders");
    assert_ok(pgqrs_enqueue(other, "orders", "1", NULL, NULL, &failure)); /* it knows the id now */
    assert_ok(pgqrs_queue_delete(w->store, "orders", false, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_enqueue(other, "orders", "2", NULL, NULL, &failure));
    assert_int_equal(PGQRS_OBJECT_QUEUE, failure.object);
    queue(w, "orders");
    assert_ok(pgqrs_enqueue(other, "orders", "3", NULL, NULL, &failure));
    assert_int_equal(1, claim_with(w, other, "orders", NULL, &m, 1));
    assert_string_equal("3", m.payload);
}

static void g34_a_stale_name_claims_from_the_queue_made_anew(void **state)
{
    world       *w     = *state;
    pgqrs_store *other = world_open(w);
    message      m     = { 0 };
    queue(w, "orders");
    assert_int_equal(0, claim_with(w, other, "orders", NULL, &m, 1));
    assert_ok(pgqrs_queue_delete(w->store, "orders", false, &failure));
    queue(w, "orders");
    int64_t id = enqueue(w, "orders", "1");
    assert_int_equal(1, claim_with(w, other, "orders", NULL, &m, 1));
    assert_int_equal(id, m.id);
}

static void delete_is_refused_while_something_is_leased(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message m = claim_one(w, "orders");
    assert_status(PGQRS_ESTATE, pgqrs_queue_delete(w->store, "orders", false, &failure));
    assert_int_equal(PGQRS_OBJECT_QUEUE, failure.object);
    assert_state(w, m.id, PGQRS_STATE_LEASED);
    assert_ok(pgqrs_queue_delete(w->store, "orders", true, &failure));
    assert_status(PGQRS_ELEASE, pgqrs_archive(w->store, &m, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_delete(w->store, "orders", true, &failure));
}

static void what_a_deleted_queue_left_behind_is_swept(void **state)
{
    world  *w = *state;
    message m;
    queue(w, "orders");
    enqueue_count(w, "orders", 4, NULL);
    (void)enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
    m = claim_one(w, "orders");
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_ok(pgqrs_queue_delete(w->store, "orders", false, &failure));
    for (int i = 0; i < 4; i++) {
        assert_ok(pgqrs_retention_run(w->store, 0, NULL, &failure));
        advance(w, PGQRS_HOUR);
    }
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_messages"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_ready"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_archive"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_keys"));
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_queues"));
}

static void a_queue_that_is_not_there_is_said_so_by_name(void **state)
{
    world              *w      = *state;
    pgqrs_queues       *queues = NULL;
    pgqrs_messages     *batch  = NULL;
    pgqrs_records      *page   = NULL;
    pgqrs_queue_metrics metrics;
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_get(w->store, "absent", &queues, &failure));
    assert_non_null(strstr(failure.message, "absent"));
    assert_int_equal(PGQRS_OBJECT_QUEUE, failure.object);
    assert_true(failure.hint[0] != '\0');
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_configure(w->store, "absent", NULL, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_delete(w->store, "absent", true, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_purge(w->store, "absent", NULL, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_pause(w->store, "absent", &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_resume(w->store, "absent", &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_queue_measure(w->store, "absent", &metrics, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_claim(w->store, "absent", NULL, &batch, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_message_list(w->store, "absent", NULL, &page, &failure));
    assert_status(PGQRS_ENOTFOUND, pgqrs_dead_purge(w->store, "absent", 0, NULL, &failure));
    assert_null(queues);
    assert_null(batch);
    assert_null(page);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(a_queue_is_made_with_the_defaults_of_the_header),
        CASE(a_queue_is_made_with_what_was_asked),
        CASE(the_stores_max_attempts_is_written_into_its_queues),
        CASE(a_name_is_taken_once),
        CASE(ensure_keeps_the_settings_of_an_existing_queue),
        CASE(a_queue_and_a_workflow_do_not_share_a_name),
        CASE(names_are_data),
        CASE(g39_settings_are_in_force_from_the_next_statement_on),
        CASE(configure_leaves_alone_what_is_zero),
        CASE(queues_are_listed_by_name),
        CASE(metrics_count_each_state_and_the_age),
        CASE(g15_a_paused_queue_delivers_nothing_and_accepts_everything),
        CASE(g15_a_holder_finishes_while_its_queue_is_paused),
        CASE(purge_removes_what_waits_and_nothing_else),
        CASE(purge_takes_more_than_one_batch),
        CASE(g34_the_name_of_a_deleted_queue_is_free_at_once),
        CASE(g34_another_store_notices_that_a_queue_was_made_anew),
        CASE(g34_a_stale_name_claims_from_the_queue_made_anew),
        CASE(delete_is_refused_while_something_is_leased),
        CASE(what_a_deleted_queue_left_behind_is_swept),
        CASE(a_queue_that_is_not_there_is_said_so_by_name),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
