/* A database that does not answer in time, or goes away: what is said, and what is true. */
#include <stdlib.h>

#include "support/peek.h"
#include "support/raw_turso.h"
#include "support/together.h"
#include "support/world.h"

#ifdef PGQRS_HAVE_SQLITE
#include <sqlite3.h>
#endif

/* Somebody else's lock on everything; let go by unlock(). */
typedef struct lock {
    world *w;
    void  *holder;
} lock;

static lock hold_everything(world *w)
{
    lock l = { .w = w };
    if (w->postgres) {
        sql_run(w, "BEGIN");
        sql_run(w, "LOCK TABLE pgqrs_messages, pgqrs_ready, pgqrs_leased, pgqrs_queues");
        return l;
    }
    if (w->turso) { /* another part of this process */
        l.holder = malloc(sizeof(raw_turso));
        assert_non_null(l.holder);
        assert_true(raw_turso_open(l.holder, w->path));
        assert_int_equal(0, raw_turso_run(l.holder, "BEGIN IMMEDIATE", NULL, NULL));
        return l;
    }
#ifdef PGQRS_HAVE_SQLITE
    sqlite3 *db = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(w->path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    l.holder = db;
#endif
    return l;
}

static void unlock(lock *l)
{
    if (l->w->postgres) {
        sql_run(l->w, "ROLLBACK");
        return;
    }
    if (l->w->turso) {
        (void)raw_turso_run(l->holder, "ROLLBACK", NULL, NULL);
        raw_turso_close(l->holder);
        free(l->holder);
        return;
    }
#ifdef PGQRS_HAVE_SQLITE
    (void)sqlite3_exec(l->holder, "ROLLBACK", NULL, NULL, NULL);
    (void)sqlite3_close(l->holder);
#endif
}

static pgqrs_store *impatient(world *w)
{
    pgqrs_store_options options = world_options(w);
    pgqrs_store        *store   = NULL;
    options.timeout_us          = 300 * PGQRS_MILLISECOND;
    assert_ok(pgqrs_open(w->dsn, &options, &store, &failure));
    return store;
}

static void g42_a_call_returns_by_its_deadline_and_tells_the_truth(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    message      m     = claim_one(w, "orders");
    pgqrs_store *store = impatient(w);
    pgqrs_error  put, done;
    pgqrs_status warm   = pgqrs_enqueue(store, "orders", "\"before\"", NULL, NULL, NULL);
    lock         l      = hold_everything(w);
    pgqrs_status first  = pgqrs_enqueue(store, "orders", "\"during\"", NULL, NULL, &put);
    pgqrs_status second = pgqrs_archive(store, &m, &done);
    unlock(&l);
    pgqrs_status after = pgqrs_enqueue(store, "orders", "\"after\"", NULL, NULL, &failure);
    pgqrs_close(store);
    assert_int_equal(PGQRS_OK, warm);
    assert_true(first == PGQRS_ETIMEDOUT || first == PGQRS_EBUSY);
    assert_true(second == PGQRS_ETIMEDOUT || second == PGQRS_EBUSY);
    /* one of the two, never both: it may be sent again, or it may have happened */
    assert_true(((put.flags & PGQRS_RETRYABLE) != 0) != ((put.flags & PGQRS_MAYBE_APPLIED) != 0));
    assert_true(put.message[0] != '\0');
    assert_int_equal(PGQRS_OK, after); /* and the store goes on */
    int64_t stored = measure(w, "orders").ready;
    assert_in_range(stored, 2, (put.flags & PGQRS_MAYBE_APPLIED) != 0 ? 3 : 2);
    if ((done.flags & PGQRS_MAYBE_APPLIED) == 0)
        assert_state(w, m.id, PGQRS_STATE_LEASED);
    assert_consistent(w);
}

/* End the library's connections to this case's schema, as an administrator or a fail-over would. */
static void end_connections(world *w)
{
    char condition[100];
    (void)snprintf(condition, sizeof(condition), "query LIKE '%%%s%%'", w->schema);
    (void)end_sessions(w, condition);
}

static void g42_operations_with_a_natural_key_survive_a_lost_connection(void **state)
{
    world *w = *state;
    if (!w->postgres)
        skip();
    queue(w, "orders");
    workflow(w, "flow");
    (void)trigger(w, "flow", "1");
    pgqrs_run *run = claim_run(w, "flow");
    for (int i = 0; i < 5; i++) {
        char        name[16];
        pgqrs_step *step;
        end_connections(w);
        int64_t id = enqueue_with(w, "orders", "1", PGQRS_OPTIONS(enqueue, .key = "k"));
        end_connections(w);
        message m = claim_one(w, "orders");
        assert_int_equal(i == 0 ? id : 0, m.id);
        end_connections(w);
        if (i == 0)
            assert_ok(pgqrs_archive(w->store, &m, &failure));
        (void)snprintf(name, sizeof(name), "s%d", i);
        step = begin(run, name);
        end_connections(w);
        assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
        end_connections(w);
        assert_true(measure(w, "orders").ready == 0);
    }
    end_connections(w);
    assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
    assert_int_equal(5, step_count(w, pgqrs_run_id(run)));
    assert_int_equal(1, measure(w, "orders").done);
    assert_consistent(w);
}

typedef struct storm {
    world      *w;
    atomic_int  ok;
    atomic_int  maybe;
    atomic_int  no;
    atomic_int  wrong;
    atomic_bool over;
} storm;

static void enqueue_while_connections_end(void *shared, size_t i)
{
    storm *s = shared;
    if (i == 0) {
        for (int k = 0; k < 12; k++)
            end_connections(s->w);
        atomic_store(&s->over, true);
        return;
    }
    while (!atomic_load(&s->over)) {
        pgqrs_error  error;
        pgqrs_status status = pgqrs_enqueue(s->w->store, "orders", "1", NULL, NULL, &error);
        if (status == PGQRS_OK)
            (void)atomic_fetch_add(&s->ok, 1);
        else if ((error.flags & PGQRS_MAYBE_APPLIED) != 0)
            (void)atomic_fetch_add(&s->maybe, 1);
        else if ((error.flags & PGQRS_RETRYABLE) != 0)
            (void)atomic_fetch_add(&s->no, 1);
        else
            (void)atomic_fetch_add(&s->wrong, 1);
    }
}

static void g42_an_enqueue_whose_answer_is_lost_says_that_it_may_have_happened(void **state)
{
    world *w = *state;
    storm  s = { .w = w };
    if (!w->postgres)
        skip();
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    together(9, enqueue_while_connections_end, &s);
    int64_t stored = measure(w, "orders").ready - 1;
    assert_int_equal(0, atomic_load(&s.wrong));
    assert_true(atomic_load(&s.ok) > 0);
    assert_in_range(stored, atomic_load(&s.ok), atomic_load(&s.ok) + atomic_load(&s.maybe));
    assert_consistent(w);
}

static void g02_a_message_that_was_committed_late_is_delivered(void **state)
{
    world  *w         = *state;
    int64_t delivered = 0;
    if (!w->postgres)
        skip(); /* only one can write at a time */
    queue(w, "orders");
    message *m = calloc(1000, sizeof(*m));
    assert_non_null(m);
    /* somebody takes a number, and is slow to commit */
    sql_run(w, "BEGIN");
    int64_t late = sql_number(w, "INSERT INTO pgqrs_messages (id, enqueued_at, queue_id, priority, "
                                 "payload) SELECT nextval('pgqrs_ids'), now(), id, 5, '\"late\"' "
                                 "FROM pgqrs_queues RETURNING id");
    sql_run(w, "INSERT INTO pgqrs_ready (seq, message_id, queue_id, priority, attempt) SELECT id, "
               "id, queue_id, 5, 0 FROM pgqrs_messages WHERE payload::text = '\"late\"'");
    for (int i = 0; i < 5; i++) { /* meanwhile everybody else is far ahead */
        enqueue_count(w, "orders", 1000, NULL);
        assert_int_equal(i < 4 ? 1000 : 900, claim_many(w, "orders", i < 4 ? 1000 : 900, m));
    }
    sql_run(w, "COMMIT");
    for (int i = 0; i < 3 && delivered == 0; i++) {
        size_t count = claim_many(w, "orders", 100, m);
        for (size_t k = 0; k < count; k++)
            if (m[k].id == late)
                delivered = late;
    }
    free(m);
    assert_int_equal(late, delivered);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_REAL(g42_a_call_returns_by_its_deadline_and_tells_the_truth),
        CASE_REAL(g42_operations_with_a_natural_key_survive_a_lost_connection),
        CASE_REAL(g42_an_enqueue_whose_answer_is_lost_says_that_it_may_have_happened),
        CASE_REAL(g02_a_message_that_was_committed_late_is_delivered),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
