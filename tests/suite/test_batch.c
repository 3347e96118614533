/* Batches that are committed: all or nothing, and each on its own. */
#include <stdlib.h>

#include "support/between.h"
#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

/* Commit, read the status, free. */
static pgqrs_status commit(pgqrs_batch *batch)
{
    pgqrs_status rc = pgqrs_batch_commit(batch, &failure);
    pgqrs_batch_free(batch);
    return rc;
}

static void g44_a_batch_ends_one_and_starts_others_in_one_commit(void **state)
{
    world *w = *state;
    queue(w, "orders");
    queue(w, "next");
    (void)enqueue(w, "orders", "1");
    (void)enqueue(w, "next", "0");
    message        m      = claim_one(w, "orders");
    pgqrs_counters before = counted(w->store);
    pgqrs_batch   *batch  = pgqrs_batch_new(w->store);
    assert_int_equal(0, pgqrs_batch_archive(batch, &m));
    for (size_t i = 1; i <= 3; i++)
        assert_int_equal(i, pgqrs_batch_enqueue(batch, "next", "{\"n\":1}", NULL));
    assert_int_equal(4, pgqrs_batch_count(batch));
    assert_int_equal(PGQRS_ENOTREADY, pgqrs_batch_status(batch, 0));
    assert_ok(pgqrs_batch_commit(batch, &failure));
    pgqrs_counters cost = spent(w->store, &before);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, i));
    assert_int_equal(PGQRS_OK, pgqrs_batch_error(batch, 0)->status);
    for (size_t i = 1; i <= 3; i++)
        assert_state(w, pgqrs_batch_id(batch, i), PGQRS_STATE_READY);
    assert_true(pgqrs_batch_id(batch, 1) < pgqrs_batch_id(batch, 2));
    assert_int_equal(0, pgqrs_batch_id(batch, 0));
    assert_int_equal(0, pgqrs_batch_id(batch, 9));
    assert_state(w, m.id, PGQRS_STATE_DONE);
    assert_int_equal(1, cost.round_trips);
    assert_int_equal(1, cost.commits);
    assert_int_equal(4, cost.statements); /* held, finish, enqueue, live */
    assert_status(PGQRS_ESTATE, pgqrs_batch_commit(batch, &failure));
    assert_true(PGQRS_NO_OPERATION == pgqrs_batch_archive(batch, &m));
    pgqrs_batch_free(batch);
    assert_consistent(w);
}

static void g44_lost_leases_undo_the_batch_and_are_named(void **state)
{
    world  *w = *state;
    message m[5];
    char    lost[64], before[600], after[600];
    queue(w, "orders");
    enqueue_count(w, "orders", 5, NULL);
    assert_int_equal(5, claim_many(w, "orders", 5, m));
    assert_ok(pgqrs_archive(w->store, &m[1], &failure));
    m[3].lease++; /* somebody else's */
    sql_fingerprint(w, before, sizeof(before));
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    for (size_t i = 0; i < 5; i++)
        (void)pgqrs_batch_archive(batch, &m[i]);
    (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    assert_status(PGQRS_ELEASE, pgqrs_batch_commit(batch, &failure));
    (void)snprintf(lost, sizeof(lost), "%lld,%lld", (long long)m[1].id, (long long)m[3].id);
    assert_string_equal(lost, failure.detail);
    assert_int_equal(PGQRS_OBJECT_MESSAGE, failure.object);
    assert_int_equal(0, failure.flags);
    assert_true(failure.hint[0] != '\0');
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(PGQRS_ELEASE, pgqrs_batch_status(batch, i));
    assert_string_equal(lost, pgqrs_batch_error(batch, 5)->detail);
    assert_int_equal(0, pgqrs_batch_id(batch, 5));
    pgqrs_batch_free(batch);
    sql_fingerprint(w, after, sizeof(after));
    assert_string_equal(before, after);
    assert_consistent(w);
}

static void g44_every_kind_of_write_goes_together(void **state)
{
    world  *w = *state;
    message m[5];
    queue(w, "orders");
    workflow(w, "flow");
    enqueue_count(w, "orders", 5, NULL);
    assert_int_equal(5, claim_many(w, "orders", 5, m));
    int64_t           there  = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
    const char *const some[] = { "1", "2", "3" };
    pgqrs_batch      *batch  = pgqrs_batch_new(w->store);
    size_t            count  = 0;
    (void)pgqrs_batch_archive(batch, &m[4]);
    (void)pgqrs_batch_delete(batch, &m[1]);
    (void)pgqrs_batch_release(batch, &m[2], PGQRS_OPTIONS(release, .delay_us = PGQRS_HOUR));
    (void)pgqrs_batch_retry(batch, &m[3], "E", "try again");
    (void)pgqrs_batch_dead_letter(batch, &m[0], "E", "never");
    (void)pgqrs_batch_enqueue(batch, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
    (void)pgqrs_batch_enqueue(batch, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "l"));
    (void)pgqrs_batch_trigger(batch, "flow", "{}", NULL);
    assert_int_equal(8, pgqrs_batch_enqueue_many(batch, "orders", some, 3, NULL));
    assert_ok(pgqrs_batch_commit(batch, &failure));
    assert_state(w, m[4].id, PGQRS_STATE_DONE);
    assert_gone(w, m[1].id);
    assert_state(w, m[2].id, PGQRS_STATE_SCHEDULED);
    assert_state(w, m[3].id, PGQRS_STATE_SCHEDULED);
    assert_state(w, m[0].id, PGQRS_STATE_DEAD);
    assert_int_equal(there, pgqrs_batch_id(batch, 5));
    assert_true(pgqrs_batch_existed(batch, 5));
    assert_false(pgqrs_batch_existed(batch, 6));
    assert_run_status(w, pgqrs_batch_id(batch, 7), PGQRS_RUN_QUEUED);
    const int64_t *ids = pgqrs_batch_ids(batch, 8, &count);
    assert_int_equal(3, count);
    assert_string_equal("3", record(w, ids[2]).payload);
    pgqrs_batch_free(batch);
    assert_consistent(w);
}

static void g44_a_step_its_run_and_what_follows_are_one_commit(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    workflow(w, "after");
    int64_t        id     = trigger(w, "flow", "1");
    pgqrs_run     *run    = claim_run(w, "flow");
    pgqrs_step    *one    = begin(run, "one");
    pgqrs_step    *two    = begin(run, "two");
    pgqrs_counters before = counted(w->store);
    pgqrs_batch   *batch  = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_run_succeed(batch, run, "\"done\"");
    (void)pgqrs_batch_step_succeed(batch, one, "1");
    (void)pgqrs_batch_step_succeed(batch, two, "2");
    (void)pgqrs_batch_trigger(batch, "after", "1", NULL);
    assert_ok(pgqrs_batch_commit(batch, &failure));
    assert_int_equal(1, spent(w->store, &before).commits);
    assert_run_status(w, id, PGQRS_RUN_SUCCESS);
    assert_string_equal("\"done\"", run_record(w, id).output);
    assert_string_equal("1", step_record(w, id, "one").output);
    assert_true(pgqrs_step_recorded(two));
    assert_string_equal("2", pgqrs_step_output(two));
    assert_run_status(w, pgqrs_batch_id(batch, 3), PGQRS_RUN_QUEUED);
    assert_run(PGQRS_ESTATE, run, pgqrs_run_succeed(run, NULL));
    pgqrs_batch_free(batch);
    assert_consistent(w);
}

static void g44_failures_of_steps_and_runs_go_in_batches_too(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    int64_t      id    = trigger(w, "flow", "1");
    pgqrs_run   *run   = claim_run(w, "flow");
    pgqrs_step  *bad   = begin(run, "bad");
    pgqrs_step  *again = begin(run, "again");
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_step_fail(batch, bad, "E", "no");
    (void)pgqrs_batch_step_retry(batch, again, "E", "later", PGQRS_MINUTE);
    /* the statuses say what each step has come to, as its own call would */
    assert_ok(pgqrs_batch_commit(batch, &failure));
    assert_int_equal(PGQRS_EEXHAUSTED, pgqrs_batch_status(batch, 0));
    assert_int_equal(PGQRS_ENOTREADY, pgqrs_batch_status(batch, 1));
    pgqrs_batch_free(batch);
    assert_int_equal(PGQRS_STEP_ERROR, step_record(w, id, "bad").status);
    assert_int_equal(PGQRS_STEP_RETRY, step_record(w, id, "again").status);
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_run_fail(batch, run, "E", "given up");
    assert_int_equal(PGQRS_OK, commit(batch));
    assert_run_status(w, id, PGQRS_RUN_ERROR);
}

static void g44_a_step_that_has_a_result_undoes_the_batch(void **state)
{
    world          *w     = *state;
    pgqrs_messages *found = NULL;
    pgqrs_run      *twin  = NULL;
    queue(w, "receipts");
    workflow(w, "flow");
    (void)trigger(w, "flow", "1");
    assert_ok(pgqrs_claim(w->store, "flow", NULL, &found, &failure));
    pgqrs_run *run = NULL;
    assert_ok(pgqrs_run_from(w->store, found, 0, &run, &failure));
    assert_ok(pgqrs_run_from(w->store, found, 0, &twin, &failure));
    pgqrs_messages_free(found);
    pgqrs_step *step = begin(run, "charge");
    step_done(twin, "charge", "\"first\"");
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_step_succeed(batch, step, "\"second\"");
    (void)pgqrs_batch_enqueue(batch, "receipts", "1", NULL);
    pgqrs_status rc = commit(batch);
    pgqrs_run_free(twin);
    pgqrs_run_free(run);
    assert_int_equal(PGQRS_ESTATE, rc);
    assert_int_equal(PGQRS_OBJECT_STEP, failure.object);
    assert_int_equal(0, measure(w, "receipts").ready);
}

static void g44_a_deleted_queue_undoes_the_batch(void **state)
{
    world       *w     = *state;
    pgqrs_store *other = world_open(w);
    queue(w, "orders");
    queue(w, "next");
    (void)enqueue(w, "next", "1"); /* the store knows its id */
    (void)enqueue(w, "orders", "1");
    message m = claim_one(w, "orders");
    assert_ok(pgqrs_queue_delete(other, "next", true, &failure));
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, &m);
    (void)pgqrs_batch_enqueue(batch, "next", "1", NULL);
    assert_int_equal(PGQRS_ENOTFOUND, commit(batch));
    assert_state(w, m.id, PGQRS_STATE_LEASED);
    /* made anew under its name, it is found */
    assert_ok(pgqrs_queue_create(other, "next", NULL, &failure));
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, &m);
    (void)pgqrs_batch_enqueue(batch, "next", "1", NULL);
    assert_int_equal(PGQRS_OK, commit(batch));
    (void)enqueue(w, "orders", "1");
    m = claim_one(w, "orders");
    assert_ok(pgqrs_queue_delete(other, "next", true, &failure));
    assert_ok(pgqrs_queue_create(other, "next", NULL, &failure));
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, &m);
    (void)pgqrs_batch_enqueue(batch, "next", "2", NULL); /* under its old id first */
    assert_int_equal(PGQRS_OK, commit(batch));
    assert_int_equal(1, measure(w, "next").ready);
    assert_state(w, m.id, PGQRS_STATE_DONE);
    assert_consistent(w);
}

static void g44_what_the_database_refuses_undoes_the_batch(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message m = claim_one(w, "orders");
    sql_run_each(w,
                 "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                 "new.payload::text = '\"poison\"' THEN RAISE 'poisoned'; END IF; RETURN new; END "
                 "$$; CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages FOR EACH ROW EXECUTE "
                 "FUNCTION refuse()",
                 "CREATE TRIGGER refuse BEFORE INSERT ON pgqrs_messages WHEN new.payload = "
                 "'\"poison\"' BEGIN SELECT RAISE(ABORT, 'poisoned'); END");
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, &m);
    (void)pgqrs_batch_enqueue(batch, "orders", "\"good\"", NULL);
    (void)pgqrs_batch_enqueue(batch, "orders", "\"poison\"", NULL);
    assert_int_equal(PGQRS_EDB, commit(batch));
    assert_state(w, m.id, PGQRS_STATE_LEASED);
    assert_int_equal(0, measure(w, "orders").ready);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
}

static void g44_what_is_refused_keeps_the_batch_from_being_sent(void **state)
{
    world *w = *state;
    queue(w, "orders");
    workflow(w, "flow");
    enqueue_count(w, "orders", 1, NULL);
    message        m      = claim_one(w, "orders");
    pgqrs_counters before = counted(w->store);
    pgqrs_batch   *batch  = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, &m);
    assert_int_equal(1, pgqrs_batch_enqueue(batch, "orders", "{", NULL));
    assert_int_equal(PGQRS_EJSON, pgqrs_batch_status(batch, 1));
    assert_status(PGQRS_EJSON, pgqrs_batch_commit(batch, &failure));
    assert_non_null(strstr(failure.detail, "operation 1"));
    pgqrs_batch_free(batch);
    /* reads and claims are not for it */
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_claim(batch, "orders", NULL);
    (void)pgqrs_batch_extend(batch, &m, 0);
    (void)pgqrs_batch_queue_list(batch);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(PGQRS_EINVAL, pgqrs_batch_status(batch, i));
        assert_true(pgqrs_batch_error(batch, i)->hint[0] != '\0');
    }
    assert_int_equal(PGQRS_EINVAL, commit(batch));
    /* a message twice, under one lease or two; a key twice */
    for (int i = 0; i < 3; i++) {
        message twin = m;
        batch        = pgqrs_batch_new(w->store);
        twin.lease += i;
        if (i < 2) {
            (void)pgqrs_batch_archive(batch, &m);
            (void)pgqrs_batch_delete(batch, &twin);
        } else {
            (void)pgqrs_batch_enqueue(batch, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
            (void)pgqrs_batch_enqueue(batch, "orders", "2", PGQRS_OPTIONS(enqueue, .key = "k"));
        }
        assert_int_equal(PGQRS_EINVAL, commit(batch));
    }
    assert_int_equal(0, spent(w->store, &before).statements);
    /* names that are none; NULL; the wrong kind */
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_enqueue(batch, "nowhere", "1", NULL);
    assert_int_equal(PGQRS_ENOTFOUND, commit(batch));
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_enqueue(batch, "flow", "1", NULL);
    assert_int_equal(PGQRS_ENOTFOUND, commit(batch));
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, NULL);
    (void)pgqrs_batch_step_succeed(batch, NULL, NULL);
    (void)pgqrs_batch_run_succeed(batch, NULL, NULL);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(PGQRS_EINVAL, pgqrs_batch_status(batch, i));
    assert_int_equal(PGQRS_EINVAL, commit(batch));
    batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, &m);
    pgqrs_batch_independent(batch); /* too late */
    assert_int_equal(PGQRS_EINVAL, commit(batch));
    bool existed = false;
    batch        = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_enqueue(batch, "orders", "1",
                              PGQRS_OPTIONS(enqueue, .out_existed = &existed));
    assert_int_equal(PGQRS_EINVAL, commit(batch));
    assert_state(w, m.id, PGQRS_STATE_LEASED);
    assert_int_equal(0, measure(w, "orders").ready);
    /* nothing at all is fine; no memory is said by NULL */
    assert_int_equal(PGQRS_OK, commit(pgqrs_batch_new(w->store)));
    assert_int_equal(PGQRS_ENOMEM, commit(NULL));
    assert_true(PGQRS_NO_OPERATION == pgqrs_batch_enqueue(NULL, "orders", "1", NULL));
    assert_true(PGQRS_NO_OPERATION == pgqrs_batch_queue_list(NULL));
}

static void g44_a_cancelled_run_ends_cancelled_and_the_rest_is_done(void **state)
{
    world *w = *state;
    queue(w, "next");
    workflow(w, "flow");
    int64_t    id  = trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    assert_ok(pgqrs_cancel(w->store, id, NULL, &failure));
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_enqueue(batch, "next", "1", NULL);
    (void)pgqrs_batch_run_succeed(batch, run, NULL);
    assert_ok(pgqrs_batch_commit(batch, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 0));
    assert_int_equal(PGQRS_ECANCELLED, pgqrs_batch_status(batch, 1));
    pgqrs_batch_free(batch);
    assert_run_status(w, id, PGQRS_RUN_CANCELLED);
    assert_int_equal(1, measure(w, "next").ready);
}

#define CALLERS 16
#define ROUNDS  12

typedef struct crowd {
    world      *w;
    atomic_int  unexpected;
    atomic_long moved;
} crowd;

/* Move messages from one queue to the other, in batches, with groups of others all around. */
static void move_in_batches(void *shared, size_t i)
{
    crowd *c = shared;
    for (int round = 0; round < ROUNDS; round++) {
        pgqrs_messages *found = NULL;
        pgqrs_batch    *batch = pgqrs_batch_new(c->w->store);
        size_t          count;
        if (pgqrs_claim(c->w->store, "from", PGQRS_OPTIONS(claim, .limit = 3), &found, NULL)
            != PGQRS_OK)
            (void)atomic_fetch_add(&c->unexpected, 1);
        count = pgqrs_messages_count(found);
        for (size_t k = 0; k < count; k++) {
            message m = *pgqrs_messages_at(found, k);
            if (i % 4 == 3 && k == count - 1)
                m.lease++; /* this batch is lost */
            (void)pgqrs_batch_archive(batch, &m);
            (void)pgqrs_batch_enqueue(batch, "to", m.payload, NULL);
        }
        pgqrs_status rc = pgqrs_batch_commit(batch, NULL);
        if (rc == PGQRS_OK)
            (void)atomic_fetch_add(&c->moved, (long)count);
        else if (rc != PGQRS_ELEASE || i % 4 != 3)
            (void)atomic_fetch_add(&c->unexpected, 1);
        pgqrs_batch_free(batch);
        pgqrs_messages_free(found);
    }
}

static void g44_many_batches_and_groups_at_once(void **state)
{
    static crowd c;
    world       *w = *state;
    c              = (crowd){ .w = w };
    queue(w, "from");
    queue(w, "to");
    enqueue_count(w, "from", 1000, NULL);
    together(CALLERS, move_in_batches, &c);
    assert_int_equal(0, atomic_load(&c.unexpected));
    assert_int_equal(atomic_load(&c.moved), measure(w, "to").ready);
    assert_int_equal(atomic_load(&c.moved), measure(w, "from").done);
    assert_consistent(w);
}

/* --- Answers that are lost -------------------------------------------------------------------- */

static void g42_a_batch_that_was_committed_is_found_committed(void **state)
{
    world *w = *state;
    queue(w, "orders");
    queue(w, "next");
    workflow(w, "flow");
    enqueue_count(w, "orders", 3, NULL);
    for (int applied = 0; applied < 2; applied++) {
        int64_t      kept  = enqueue_with(w, "next", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
        message      m     = claim_one(w, "orders");
        int64_t      id    = trigger(w, "flow", "1");
        pgqrs_run   *run   = claim_run(w, "flow");
        pgqrs_step  *step  = begin(run, "one");
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        int64_t      there = measure(w, "next").ready;
        (void)pgqrs_batch_archive(batch, &m);
        (void)pgqrs_batch_enqueue(batch, "next", "2", NULL);
        (void)pgqrs_batch_enqueue(batch, "next", "3", PGQRS_OPTIONS(enqueue, .key = "k"));
        (void)pgqrs_batch_step_succeed(batch, step, "\"once\"");
        (void)pgqrs_batch_run_succeed(batch, run, NULL);
        between_begin(w->store);
        between_lose(1, applied == 1);
        pgqrs_status rc = pgqrs_batch_commit(batch, &failure);
        between_end();
        assert_int_equal(PGQRS_OK, rc);
        assert_state(w, m.id, PGQRS_STATE_DONE);
        assert_run_status(w, id, PGQRS_RUN_SUCCESS);
        assert_string_equal("\"once\"", pgqrs_step_output(step));
        assert_int_equal(there + 1, measure(w, "next").ready);
        assert_int_equal(kept, pgqrs_batch_id(batch, 2));
        assert_true((pgqrs_batch_id(batch, 1) == 0) == (applied == 1));
        pgqrs_batch_free(batch);
    }
    assert_consistent(w);
}

static void g42_a_batch_with_a_step_or_a_deletion_is_found_too(void **state)
{
    world *w = *state;
    queue(w, "orders");
    workflow(w, "flow");
    (void)trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    for (int applied = 0; applied < 2; applied++) {
        enqueue_count(w, "orders", 1, NULL);
        message      m     = claim_one(w, "orders");
        pgqrs_step  *step  = begin(run, "one");
        int64_t      there = measure(w, "orders").ready;
        pgqrs_status with_step, with_deletion;
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        (void)pgqrs_batch_step_succeed(batch, step, "1");
        (void)pgqrs_batch_enqueue(batch, "orders", "2", NULL);
        between_begin(w->store);
        between_lose(1, applied == 1);
        with_step = commit(batch);
        batch     = pgqrs_batch_new(w->store);
        (void)pgqrs_batch_delete(batch, &m);
        (void)pgqrs_batch_enqueue(batch, "orders", "3", NULL);
        between_lose(1, applied == 1);
        with_deletion = commit(batch);
        between_end();
        assert_int_equal(PGQRS_OK, with_step);
        assert_int_equal(PGQRS_OK, with_deletion);
        assert_gone(w, m.id);
        assert_int_equal(there + 2, measure(w, "orders").ready);
        while (claim_one(w, "orders").id != 0)
            ;
    }
    assert_consistent(w);
}

static void g42_a_batch_that_nothing_tells_of_says_that_it_may_have_happened(void **state)
{
    world *w = *state;
    queue(w, "orders");
    enqueue_count(w, "orders", 2, NULL);
    for (int applied = 0; applied < 2; applied++) {
        message      m     = claim_one(w, "orders");
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        pgqrs_error  alone, parked;
        (void)pgqrs_batch_enqueue(batch, "orders", "2", NULL);
        between_begin(w->store);
        between_lose(1, applied == 1);
        pgqrs_status first = commit(batch);
        alone              = failure;
        batch              = pgqrs_batch_new(w->store);
        (void)pgqrs_batch_release(batch, &m, PGQRS_OPTIONS(release, .delay_us = PGQRS_HOUR));
        between_lose(1, applied == 1);
        pgqrs_status second = commit(batch);
        parked              = failure;
        between_end();
        assert_int_equal(PGQRS_ECONN, first);
        assert_int_equal(PGQRS_MAYBE_APPLIED, alone.flags);
        /* a release that did not happen is found held, and done */
        assert_int_equal(applied ? PGQRS_ELEASE : PGQRS_OK, second);
        assert_int_equal(applied ? PGQRS_MAYBE_APPLIED : 0, parked.flags);
        assert_state(w, m.id, PGQRS_STATE_SCHEDULED);
    }
    assert_consistent(w);
}

static void g42_a_lost_lease_is_told_also_when_an_answer_was_lost(void **state)
{
    world *w = *state;
    queue(w, "orders");
    enqueue_count(w, "orders", 1, NULL);
    message m = claim_one(w, "orders");
    advance(w, LEASE_US + 1);
    message by_another = claim_one(w, "orders");
    assert_ok(pgqrs_archive(w->store, &by_another, &failure));
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    (void)pgqrs_batch_archive(batch, &m);
    (void)pgqrs_batch_enqueue(batch, "orders", "2", NULL);
    between_begin(w->store);
    between_lose(1, false);
    pgqrs_status rc = commit(batch);
    between_end();
    assert_int_equal(PGQRS_ELEASE, rc);
    assert_int_equal(0, failure.flags);
    assert_int_equal(0, measure(w, "orders").ready);
}

/* --- Independent ------------------------------------------------------------------------------ */

static void g45_independent_operations_have_their_own_results(void **state)
{
    world  *w = *state;
    message m[4];
    queue(w, "orders");
    enqueue_count(w, "orders", 6, NULL);
    assert_int_equal(4, claim_many(w, "orders", 4, m));
    m[1].lease++;
    pgqrs_batch *batch = pgqrs_batch_new(w->store);
    pgqrs_batch_independent(batch);
    (void)pgqrs_batch_archive(batch, &m[0]);
    (void)pgqrs_batch_archive(batch, &m[1]);
    (void)pgqrs_batch_enqueue(batch, "orders", "{", NULL);
    (void)pgqrs_batch_enqueue(batch, "nowhere", "1", NULL);
    (void)pgqrs_batch_enqueue(batch, "orders", "1", NULL);
    (void)pgqrs_batch_claim(batch, "orders", PGQRS_OPTIONS(claim, .limit = 2));
    (void)pgqrs_batch_extend(batch, &m[2], PGQRS_HOUR);
    (void)pgqrs_batch_release(batch, &m[3], NULL);
    (void)pgqrs_batch_queue_measure(batch, "orders");
    assert_status(PGQRS_ELEASE, pgqrs_batch_commit(batch, &failure));
    assert_non_null(strstr(failure.detail, "operation 1"));
    const pgqrs_status expected[] = { PGQRS_OK,        PGQRS_ELEASE, PGQRS_EJSON,
                                      PGQRS_ENOTFOUND, PGQRS_OK,     PGQRS_OK,
                                      PGQRS_OK,        PGQRS_OK,     PGQRS_OK };
    for (size_t i = 0; i < pgqrs_batch_count(batch); i++) {
        assert_int_equal(expected[i], pgqrs_batch_status(batch, i));
        assert_int_equal(expected[i], pgqrs_batch_error(batch, i)->status);
    }
    assert_state(w, pgqrs_batch_id(batch, 4), PGQRS_STATE_READY);
    pgqrs_messages *claimed = pgqrs_batch_take_messages(batch, 5);
    assert_int_equal(2, pgqrs_messages_count(claimed));
    assert_null(pgqrs_batch_take_messages(batch, 5));
    assert_null(pgqrs_batch_take_messages(batch, 4));
    assert_non_null(pgqrs_batch_metrics(batch, 8));
    assert_null(pgqrs_batch_health(batch, 8));
    assert_true(record(w, m[2].id).expires_at_us > now_us(w) + 50 * PGQRS_MINUTE);
    pgqrs_batch_free(batch);
    assert_ok(pgqrs_archive(w->store, pgqrs_messages_at(claimed, 0), &failure));
    pgqrs_messages_free(claimed);
    assert_consistent(w);
}

static void g45_a_step_and_the_end_of_its_run_keep_their_order(void **state)
{
    world *w = *state;
    workflow(w, "flow");
    for (int i = 0; i < 20; i++) {
        int64_t      id    = trigger(w, "flow", "1");
        pgqrs_run   *run   = claim_run(w, "flow");
        pgqrs_step  *step  = begin(run, "one");
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        pgqrs_batch_independent(batch);
        (void)pgqrs_batch_step_succeed(batch, step, "1");
        (void)pgqrs_batch_run_succeed(batch, run, "2");
        assert_int_equal(PGQRS_OK, commit(batch));
        assert_run_status(w, id, PGQRS_RUN_SUCCESS);
        assert_int_equal(1, step_count(w, id));
    }
}

static void g45_lost_answers_are_looked_for_in_independent_batches(void **state)
{
    world *w = *state;
    queue(w, "orders");
    enqueue_count(w, "orders", 3, NULL);
    for (int applied = 0; applied < 2; applied++) {
        message      m     = claim_one(w, "orders");
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        pgqrs_batch_independent(batch);
        (void)pgqrs_batch_archive(batch, &m);
        (void)pgqrs_batch_enqueue(batch, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
        (void)pgqrs_batch_enqueue(batch, "orders", "2", NULL);
        between_begin(w->store);
        between_lose(1, applied == 1);
        pgqrs_status rc = pgqrs_batch_commit(batch, &failure);
        between_end();
        assert_int_equal(PGQRS_ECONN, rc);
        assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 0));
        assert_int_equal(PGQRS_OK, pgqrs_batch_status(batch, 1));
        assert_int_equal(PGQRS_ECONN, pgqrs_batch_status(batch, 2));
        assert_int_equal(PGQRS_MAYBE_APPLIED, pgqrs_batch_error(batch, 2)->flags);
        assert_state(w, m.id, PGQRS_STATE_DONE);
        pgqrs_batch_free(batch);
    }
    assert_consistent(w);
}

static void g45_a_claim_whose_answer_is_lost_is_read_back(void **state)
{
    world *w = *state;
    queue(w, "orders");
    for (int applied = 0; applied < 2; applied++) {
        enqueue_count(w, "orders", 1, NULL);
        pgqrs_batch *batch = pgqrs_batch_new(w->store);
        pgqrs_batch_independent(batch);
        (void)pgqrs_batch_claim(batch, "orders", NULL);
        between_begin(w->store);
        between_lose(1, applied == 1);
        pgqrs_status rc = pgqrs_batch_commit(batch, &failure);
        between_end();
        assert_int_equal(PGQRS_OK, rc);
        pgqrs_messages *found = pgqrs_batch_take_messages(batch, 0);
        assert_int_equal(1, pgqrs_messages_count(found));
        assert_ok(pgqrs_archive(w->store, pgqrs_messages_at(found, 0), &failure));
        pgqrs_messages_free(found);
        pgqrs_batch_free(batch);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g44_a_batch_ends_one_and_starts_others_in_one_commit),
        CASE(g44_lost_leases_undo_the_batch_and_are_named),
        CASE(g44_every_kind_of_write_goes_together),
        CASE(g44_a_step_its_run_and_what_follows_are_one_commit),
        CASE(g44_failures_of_steps_and_runs_go_in_batches_too),
        CASE(g44_a_step_that_has_a_result_undoes_the_batch),
        CASE(g44_a_deleted_queue_undoes_the_batch),
        CASE(g44_what_the_database_refuses_undoes_the_batch),
        CASE(g44_what_is_refused_keeps_the_batch_from_being_sent),
        CASE(g44_a_cancelled_run_ends_cancelled_and_the_rest_is_done),
        CASE(g44_many_batches_and_groups_at_once),
        CASE(g42_a_batch_that_was_committed_is_found_committed),
        CASE(g42_a_batch_with_a_step_or_a_deletion_is_found_too),
        CASE(g42_a_batch_that_nothing_tells_of_says_that_it_may_have_happened),
        CASE(g42_a_lost_lease_is_told_also_when_an_answer_was_lost),
        CASE(g45_independent_operations_have_their_own_results),
        CASE(g45_a_step_and_the_end_of_its_run_keep_their_order),
        CASE(g45_lost_answers_are_looked_for_in_independent_batches),
        CASE(g45_a_claim_whose_answer_is_lost_is_read_back),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
