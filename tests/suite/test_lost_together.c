/* Answers that are lost on their way to many at once: see test_lost.c. */
#include "support/lose.h"
#include "support/peek.h"
#include "support/processes.h"
#include "support/together.h"

#ifdef PGQRS_HAVE_POSTGRES

#define MANY 60

/* Operations of several threads, which share groups, and so what is lost. */
typedef struct crowd {
    world       *w;
    pgqrs_store *store;
    proxy       *p;
    pgqrs_run   *run;
    message      archived[MANY], deleted[MANY], extended[MANY];
    int64_t      keyed[MANY];
    atomic_int   working, wrong, put, doubtful, fired;
} crowd;

/* Whether to try again: no connection came about, so nothing was done. */
static bool away(crowd *c, pgqrs_status status, const pgqrs_error *error)
{
    if (status == PGQRS_OK)
        return false;
    if (status == PGQRS_ECONN && (error->flags & PGQRS_RETRYABLE) != 0)
        return true;
    print_error("%s: %s, %s\n", pgqrs_status_name(status), error->message, error->detail);
    (void)atomic_fetch_add(&c->wrong, 1);
    return false;
}

/* Cut one of the next requests, in turn in every way. */
static void cut_now_and_then(crowd *c)
{
    for (int i = 0; atomic_load(&c->working) > 0; i++) {
        proxy_arm(c->p, (proxy_cut)(i % PROXY_CUTS), 4 + i % 3, 1);
        while (atomic_load(&c->working) > 0 && proxy_fired(c->p) == 0)
            sleep_us(PGQRS_MILLISECOND);
        (void)atomic_fetch_add(&c->fired, proxy_fired(c->p));
    }
    proxy_arm(c->p, PROXY_CUT_BEFORE, 0, 0);
    proxy_settle(c->p);
}

static pgqrs_status put_in(crowd *c, pgqrs_error *error)
{
    pgqrs_status status = pgqrs_enqueue(c->store, "more", "1", NULL, NULL, error);
    if (status == PGQRS_OK)
        (void)atomic_fetch_add(&c->put, 1);
    else if ((error->flags & PGQRS_MAYBE_APPLIED) != 0)
        (void)atomic_fetch_add(&c->doubtful, 1);
    return (error->flags & PGQRS_MAYBE_APPLIED) != 0 ? PGQRS_OK : status;
}

static pgqrs_status record_step(crowd *c, int k, pgqrs_error *error)
{
    char        name[16];
    pgqrs_step *step = NULL;
    (void)snprintf(name, sizeof(name), "s%d", k);
    pgqrs_status status =
        pgqrs_step_begin(c->run, name, PGQRS_OPTIONS(step, .by_key = true), &step);
    if (status == PGQRS_OK && !pgqrs_step_recorded(step)) /* as it may be, after a try */
        status = pgqrs_step_succeed(step, "1");
    *error = *pgqrs_run_error(c->run);
    return status;
}

static pgqrs_status do_one(crowd *c, size_t kind, int k, pgqrs_error *error)
{
    char key[16];
    (void)snprintf(key, sizeof(key), "k%d", k);
    switch (kind) {
    case 1:
        return pgqrs_archive(c->store, &c->archived[k], error);
    case 2:
        return pgqrs_delete(c->store, &c->deleted[k], error);
    case 3:
        return pgqrs_extend(c->store, &c->extended[k], PGQRS_HOUR, error);
    case 4:
        return pgqrs_enqueue(c->store, "keyed", "1", PGQRS_OPTIONS(enqueue, .key = key),
                             &c->keyed[k], error);
    case 5:
        return record_step(c, k, error);
    default:
        return put_in(c, error);
    }
}

static void do_many(void *shared, size_t i)
{
    crowd      *c = shared;
    pgqrs_error error;
    if (i == 0) {
        cut_now_and_then(c);
        return;
    }
    for (int k = 0; k < MANY; k++)
        while (away(c, do_one(c, i, k, &error), &error))
            continue;
    (void)atomic_fetch_sub(&c->working, 1);
}

static void g61_many_share_what_is_lost_and_each_is_told_the_truth(void **state)
{
    world              *w       = *state;
    crowd               c       = { .w = w, .working = 6 };
    pgqrs_store_options options = world_options(w);
    char                dsn[512];
    queue(w, "orders");
    queue(w, "keyed");
    queue(w, "more");
    workflow(w, "flow");
    enqueue_count(w, "orders", (size_t)3 * MANY, NULL);
    assert_int_equal(MANY, claim_many(w, "orders", MANY, c.archived));
    assert_int_equal(MANY, claim_many(w, "orders", MANY, c.deleted));
    assert_int_equal(MANY, claim_many(w, "orders", MANY, c.extended));
    const int64_t id = trigger(w, "flow", "1");

    c.p = proxy_start(w->dsn, dsn, sizeof(dsn));
    assert_ok(pgqrs_open(dsn, &options, &c.store, &failure));
    assert_ok(pgqrs_run_open(c.store, id, &c.run, &failure));
    assert_run(PGQRS_OK, c.run, pgqrs_run_start(c.run));
    together(7, do_many, &c);
    pgqrs_run_free(c.run);
    pgqrs_close(c.store);
    proxy_stop(c.p);

    print_message("%d requests were cut\n", atomic_load(&c.fired));
    assert_int_equal(0, atomic_load(&c.wrong));
    assert_true(atomic_load(&c.fired) > 5);
    assert_int_equal(MANY, measure(w, "orders").done);
    assert_int_equal(MANY, measure(w, "orders").leased);
    assert_int_equal(MANY, step_count(w, id));
    assert_int_equal(MANY, measure(w, "keyed").ready);
    for (int k = 0; k < MANY; k++) {
        assert_state(w, c.keyed[k], PGQRS_STATE_READY);
        assert_gone(w, c.deleted[k].id);
        assert_int_equal(now_us(w) + PGQRS_HOUR, record(w, c.extended[k].id).expires_at_us);
    }
    assert_in_range(measure(w, "more").ready, atomic_load(&c.put),
                    atomic_load(&c.put) + atomic_load(&c.doubtful));
    assert_consistent(w);
}

#endif

int main(void)
{
#ifdef PGQRS_HAVE_POSTGRES
    const struct CMUnitTest cases[] = {
        CASE(g61_many_share_what_is_lost_and_each_is_told_the_truth),
    };
    return on_postgres() ? cmocka_run_group_tests(cases, NULL, NULL) : 77;
#else
    return 77;
#endif
}
