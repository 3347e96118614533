/* Putting messages in: one and many, delays, priorities, headers, keys. */
#include <stdlib.h>

#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

static void a_message_is_stored_as_it_was_given(void **state)
{
    world  *w      = *state;
    int64_t worker = 0;
    queue(w, "orders");
    assert_ok(pgqrs_worker_register(w->store, "producer", "orders", &worker, &failure));
    int64_t      id = enqueue_with(w, "orders", "{\"n\":1}",
                                   PGQRS_OPTIONS(enqueue, .priority = 3, .producer = worker,
                                                 .headers = "{\"traceparent\":\"00-1\"}"));
    pgqrs_record r  = record(w, id);
    assert_int_equal(id, r.id);
    assert_int_equal(queue_get(w, "orders").id, r.queue_id);
    assert_int_equal(PGQRS_STATE_READY, r.state);
    assert_int_equal(3, r.priority);
    assert_int_equal(0, r.attempt);
    assert_int_equal(worker, r.producer);
    assert_int_equal(0, r.owner);
    assert_int_equal(now_us(w), r.enqueued_at_us);
    assert_int_equal(0, r.claimed_at_us);
    assert_string_equal("{\"n\":1}", r.payload);
    assert_string_equal("{\"traceparent\":\"00-1\"}", r.headers);

    message m = claim_one(w, "orders");
    assert_string_equal("{\"n\":1}", m.payload);
    assert_int_equal(7, m.payload_bytes);
    assert_string_equal("{\"traceparent\":\"00-1\"}", m.headers);
    assert_int_equal(worker, m.producer);
    assert_int_equal(3, m.priority);
}

static void what_is_left_out_has_its_default(void **state)
{
    world *w = *state;
    queue(w, "orders");
    pgqrs_record r = record(w, enqueue(w, "orders", "1"));
    assert_int_equal(5, r.priority);
    assert_int_equal(0, r.producer);
    assert_null(r.headers);
    assert_null(r.reason);
    assert_null(r.error);
    assert_ok(pgqrs_enqueue(w->store, "orders", "2", NULL, NULL, NULL)); /* neither id nor error */
    assert_int_equal(2, measure(w, "orders").ready);
}

static void g21_a_payload_comes_back_byte_for_byte(void **state)
{
    world      *w       = *state;
    const char *texts[] = {
        "{}",
        "  {\"b\" : 1,\t\"a\":2,\n\"b\":3 }  ",
        "null",
        "true",
        "\"\"",
        "-0.0e-0",
        "12345678901234567890123456789012345678901234567890.5E+400",
        "\"\\u0000\\ud83d\\ude00\\/\"",
        "\"Gr\303\266\303\237e \360\237\230\200\177\"",
        "[[[[[[]]]]]]",
    };
    queue(w, "orders");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t id = enqueue_with(w, "orders", texts[i],
                                  PGQRS_OPTIONS(enqueue, .headers = "{ \"h\" :[1 ,2]}"));
        message m  = claim_one(w, "orders");
        assert_int_equal(id, m.id);
        assert_string_equal(texts[i], m.payload);
        assert_int_equal(strlen(texts[i]), m.payload_bytes);
        assert_string_equal("{ \"h\" :[1 ,2]}", m.headers);
        assert_string_equal(texts[i], record(w, id).payload);
        assert_ok(pgqrs_archive(w->store, &m, &failure));
        assert_string_equal(texts[i], record(w, id).payload);
    }
}

static void g21_the_largest_payload_comes_back_whole(void **state)
{
    world       *w    = *state;
    const size_t size = 1 << 20;
    char        *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[0] = text[size - 1] = '"';
    text[size]               = '\0';
    queue(w, "orders");
    int64_t id   = enqueue(w, "orders", text);
    message m    = claim_one(w, "orders");
    bool    same = m.id == id && m.payload_bytes == size && strcmp(text, m.payload) == 0;
    free(text);
    assert_true(same);
}

static void many_are_stored_in_the_order_given(void **state)
{
    world  *w = *state;
    int64_t ids[50];
    message m[50];
    queue(w, "orders");
    enqueue_count(w, "orders", 50, ids);
    assert_int_equal(50, claim_many(w, "orders", 50, m));
    for (size_t i = 0; i < 50; i++) {
        char expected[32];
        (void)snprintf(expected, sizeof(expected), "{\"n\":%zu}", i);
        assert_int_equal(ids[i], m[i].id);
        assert_string_equal(expected, m[i].payload);
        assert_true(i == 0 || ids[i - 1] < ids[i]);
    }
}

static void g10_ten_thousand_go_in_as_one(void **state)
{
    world         *w     = *state;
    const size_t   count = 10000;
    int64_t       *ids   = calloc(count, sizeof(*ids));
    pgqrs_records *page  = NULL;
    assert_non_null(ids);
    queue(w, "orders");
    enqueue_count(w, "orders", count, ids);
    bool rising = true;
    for (size_t i = 1; i < count; i++)
        rising = rising && ids[i - 1] < ids[i];
    assert_true(rising);
    assert_int_equal(count, measure(w, "orders").ready);
    assert_string_equal("{\"n\":9999}", record(w, ids[count - 1]).payload);
    assert_ok(pgqrs_message_list(
        w->store, "orders",
        PGQRS_OPTIONS(list, .state = PGQRS_STATE_READY, .limit = 1, .after_id = ids[4999]), &page,
        &failure));
    bool found = pgqrs_records_count(page) == 1 && pgqrs_records_at(page, 0)->id == ids[5000];
    pgqrs_records_free(page);
    free(ids);
    assert_true(found);
}

static void g10_a_batch_with_one_bad_payload_leaves_nothing(void **state)
{
    world      *w          = *state;
    const char *payloads[] = { "1", "2", "{bad", "4" };
    int64_t     ids[4]     = { 0 };
    queue(w, "orders");
    assert_status(PGQRS_EJSON,
                  pgqrs_enqueue_many(w->store, "orders", payloads, 4, NULL, ids, &failure));
    assert_non_null(strstr(failure.detail, "payload 2")); /* which one, counted from 0 */
    assert_int_equal(0, measure(w, "orders").ready);
}

static void g10_a_batch_that_the_database_refuses_leaves_nothing(void **state)
{
    world      *w          = *state;
    const char *payloads[] = { "1", "2", "\"poison\"", "4" };
    queue(w, "orders");
    sql_run_each(w,
                 "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                 "new.payload::text = '\"poison\"' THEN RAISE 'poisoned'; END IF; RETURN new; END "
                 "$$; CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages FOR EACH ROW EXECUTE "
                 "FUNCTION refuse()",
                 "CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages WHEN new.payload = "
                 "'\"poison\"' BEGIN SELECT RAISE(ABORT, 'poisoned'); END");
    assert_status(PGQRS_EDB,
                  pgqrs_enqueue_many(w->store, "orders", payloads, 4, NULL, NULL, &failure));
    assert_int_equal(0, failure.flags & PGQRS_MAYBE_APPLIED);
    assert_int_equal(0, measure(w, "orders").ready);
    assert_consistent(w);
    (void)enqueue(w, "orders", "5"); /* and the store goes on */
}

static void the_options_hold_for_each_of_many(void **state)
{
    world      *w          = *state;
    const char *payloads[] = { "1", "2" };
    int64_t     ids[2];
    queue(w, "orders");
    assert_ok(pgqrs_enqueue_many(
        w->store, "orders", payloads, 2,
        PGQRS_OPTIONS(enqueue, .priority = 9, .headers = "{}", .delay_us = PGQRS_SECOND), ids,
        &failure));
    for (size_t i = 0; i < 2; i++) {
        pgqrs_record r = record(w, ids[i]);
        assert_int_equal(9, r.priority);
        assert_string_equal("{}", r.headers);
        assert_int_equal(PGQRS_STATE_SCHEDULED, r.state);
        assert_int_equal(now_us(w) + PGQRS_SECOND, r.visible_at_us);
    }
}

static void none_of_none_is_fine(void **state)
{
    world *w = *state;
    queue(w, "orders");
    assert_ok(pgqrs_enqueue_many(w->store, "orders", NULL, 0, NULL, NULL, &failure));
    assert_int_equal(0, measure(w, "orders").ready);
}

static void g11_a_delayed_message_comes_at_its_time_and_not_before(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id =
        enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .delay_us = 10 * PGQRS_SECOND));
    pgqrs_record r = record(w, id);
    assert_int_equal(PGQRS_STATE_SCHEDULED, r.state);
    assert_string_equal("delay", r.reason);
    assert_int_equal(now_us(w) + 10 * PGQRS_SECOND, r.visible_at_us);
    assert_int_equal(0, claim_one(w, "orders").id);
    advance(w, 10 * PGQRS_SECOND - 1);
    assert_int_equal(0, claim_one(w, "orders").id);
    advance(w, 1);
    message m = claim_one(w, "orders");
    assert_int_equal(id, m.id);
    assert_int_equal(1, m.attempt);
}

static void g11_a_message_for_a_time_comes_then(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t at = now_us(w) + PGQRS_DAY;
    int64_t id = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .at_us = at));
    assert_int_equal(at, record(w, id).visible_at_us);
    advance(w, PGQRS_DAY - 1);
    assert_int_equal(0, claim_one(w, "orders").id);
    advance(w, 1);
    assert_int_equal(id, claim_one(w, "orders").id);
}

static void g11_a_time_that_has_passed_is_now(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id =
        enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .at_us = now_us(w) - PGQRS_DAY));
    assert_state(w, id, PGQRS_STATE_READY);
    assert_int_equal(id, claim_one(w, "orders").id);
}

static void g25_a_delay_counts_from_the_time_that_the_call_says(void **state)
{
    world  *w    = *state;
    int64_t then = now_us(w) + PGQRS_HOUR;
    queue(w, "orders");
    const pgqrs_enqueue_options *later =
        PGQRS_OPTIONS(enqueue, .delay_us = PGQRS_SECOND, .now_us = then);
    pgqrs_record r = record(w, enqueue_with(w, "orders", "1", later));
    assert_int_equal(then, r.enqueued_at_us);
    assert_int_equal(then + PGQRS_SECOND, r.visible_at_us);
}

static void g12_a_key_names_one_message(void **state)
{
    world *w       = *state;
    bool   existed = true;
    queue(w, "orders");
    queue(w, "other");
    int64_t first =
        enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k", .out_existed = &existed));
    assert_false(existed);
    assert_int_equal(first,
                     enqueue_with(w, "orders", "2",
                                  PGQRS_OPTIONS(enqueue, .key = "k", .out_existed = &existed)));
    assert_true(existed);
    assert_int_equal(1, measure(w, "orders").ready);
    assert_string_equal("1", record(w, first).payload);
    /* a key is a queue's own, and a name like any other */
    assert_true(first != enqueue_with(w, "other", "3", PGQRS_OPTIONS(enqueue, .key = "k")));
    assert_true(first != enqueue_with(w, "orders", "4", PGQRS_OPTIONS(enqueue, .key = "K")));
    assert_consistent(w);
}

static void g12_a_key_holds_after_its_message_was_handled(void **state)
{
    world *w = *state;
    queue(w, "orders");
    int64_t id = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
    message m  = claim_one(w, "orders");
    assert_int_equal(id, enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k")));
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_int_equal(id, enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k")));
    assert_int_equal(0, claim_one(w, "orders").id);
}

static void g12_a_key_is_free_after_its_time(void **state)
{
    world *w       = *state;
    bool   existed = true;
    queue(w, "orders");
    int64_t first  = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "day"));
    int64_t second = enqueue_with(
        w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "short", .key_ttl_us = PGQRS_SECOND));
    advance(w, PGQRS_SECOND - 1);
    assert_int_equal(second,
                     enqueue_with(w, "orders", "2", PGQRS_OPTIONS(enqueue, .key = "short")));
    advance(w, 1);
    int64_t third = enqueue_with(w, "orders", "2",
                                 PGQRS_OPTIONS(enqueue, .key = "short", .out_existed = &existed));
    assert_true(third != second);
    assert_false(existed);
    assert_int_equal(third, enqueue_with(w, "orders", "3", PGQRS_OPTIONS(enqueue, .key = "short")));
    advance(w, PGQRS_DAY - PGQRS_SECOND - 1);
    assert_int_equal(first, enqueue_with(w, "orders", "2", PGQRS_OPTIONS(enqueue, .key = "day")));
    advance(w, 1);
    assert_true(first != enqueue_with(w, "orders", "2", PGQRS_OPTIONS(enqueue, .key = "day")));
}

static void g12_a_key_goes_with_the_other_options(void **state)
{
    world *w = *state;
    queue(w, "orders");
    const pgqrs_enqueue_options *all = PGQRS_OPTIONS(enqueue, .key = "k", .priority = 2,
                                                     .headers = "{}", .delay_us = PGQRS_SECOND);
    pgqrs_record                 r   = record(w, enqueue_with(w, "orders", "1", all));
    assert_int_equal(PGQRS_STATE_SCHEDULED, r.state);
    assert_int_equal(2, r.priority);
    assert_string_equal("{}", r.headers);
}

typedef struct race {
    world       *w;
    int64_t      ids[16];
    bool         existed[16];
    pgqrs_status status[16];
} race;

static void enqueue_the_same_key(void *shared, size_t i)
{
    race *r      = shared;
    r->status[i] = pgqrs_enqueue(r->w->store, "orders", "1",
                                 PGQRS_OPTIONS(enqueue, .key = "k", .out_existed = &r->existed[i]),
                                 &r->ids[i], NULL);
}

static void g12_of_many_at_once_one_adds_and_all_get_its_id(void **state)
{
    world *w       = *state;
    race   r       = { .w = w };
    size_t winners = 0;
    queue(w, "orders");
    together(16, enqueue_the_same_key, &r);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(PGQRS_OK, r.status[i]);
        assert_int_equal(r.ids[0], r.ids[i]);
        winners += !r.existed[i];
    }
    assert_int_equal(1, winners);
    assert_int_equal(1, measure(w, "orders").ready);
    assert_consistent(w);
}

static void ids_grow(void **state)
{
    world  *w    = *state;
    int64_t last = 0;
    queue(w, "orders");
    for (int i = 0; i < 20; i++) {
        int64_t id = enqueue(w, "orders", "1");
        assert_true(id > last);
        last = id;
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(a_message_is_stored_as_it_was_given),
        CASE(what_is_left_out_has_its_default),
        CASE(g21_a_payload_comes_back_byte_for_byte),
        CASE(g21_the_largest_payload_comes_back_whole),
        CASE(many_are_stored_in_the_order_given),
        CASE(g10_ten_thousand_go_in_as_one),
        CASE(g10_a_batch_with_one_bad_payload_leaves_nothing),
        CASE(g10_a_batch_that_the_database_refuses_leaves_nothing),
        CASE(the_options_hold_for_each_of_many),
        CASE(none_of_none_is_fine),
        CASE(g11_a_delayed_message_comes_at_its_time_and_not_before),
        CASE(g11_a_message_for_a_time_comes_then),
        CASE(g11_a_time_that_has_passed_is_now),
        CASE(g25_a_delay_counts_from_the_time_that_the_call_says),
        CASE(g12_a_key_names_one_message),
        CASE(g12_a_key_holds_after_its_message_was_handled),
        CASE(g12_a_key_is_free_after_its_time),
        CASE(g12_a_key_goes_with_the_other_options),
        CASE(g12_of_many_at_once_one_adds_and_all_get_its_id),
        CASE(ids_grow),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
