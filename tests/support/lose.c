#include "support/lose.h"

#ifdef PGQRS_HAVE_POSTGRES

#include <stdlib.h>
#include <unistd.h>

#include "support/peek.h"

#define TRIAL_SECONDS 60
#define REQUESTS_MAX  12

bool on_postgres(void)
{
    const char *backend = getenv("PGQRS_TEST_BACKEND");
    return backend != NULL && strcmp(backend, "postgres") == 0;
}

/* One trial. @return whether the request that was to be cut came. */
static bool lose_one(trial *t, proxy *p, const lost_operation *op, proxy_cut cut, int nth,
                     int times)
{
    pgqrs_error  error = { 0 };
    pgqrs_status status;
    char         what[128];

    (void)alarm(TRIAL_SECONDS);
    t->number++;
    (void)snprintf(t->queue, sizeof(t->queue), "q%d", t->number);
    (void)snprintf(t->flow, sizeof(t->flow), "f%d", t->number);
    if (op->prepare != NULL)
        op->prepare(t);
    proxy_arm(p, cut, nth, times);
    status             = op->call(t, &error);
    const int fired    = proxy_fired(p);
    const int requests = proxy_requests(p);
    proxy_arm(p, cut, 0, 0);
    proxy_settle(p);

    (void)snprintf(what, sizeof(what), "request %d of %d cut %s, %d times in a row: %s", nth,
                   requests, proxy_cut_names[cut], times, pgqrs_status_name(status));
    if (status == PGQRS_OK) {
        print_message("%s\n", what);
        op->assert_done(t);
    } else if ((error.flags & PGQRS_MAYBE_APPLIED) != 0 && op->was_done != NULL) {
        const bool done = op->was_done(t);
        print_message("%s, and it was %sdone\n", what, done ? "" : "not ");
        if (done && (cut == PROXY_CUT_BEFORE || cut == PROXY_CUT_SHORT))
            fail_msg("done by what never reached the server");
        if (!done && cut != PROXY_CUT_BEFORE && cut != PROXY_CUT_SHORT)
            fail_msg("said to be in doubt, before it was tried");
    } else if (status == PGQRS_ECONN && (error.flags & PGQRS_RETRYABLE) != 0
               && (fired > 1 || op->may_fail)) {
        print_message("%s, and nothing was done\n", what);
        if (op->assert_not_done != NULL)
            op->assert_not_done(t);
    } else {
        fail_msg("%s (flags %u, cut %d), %s: %s", what, error.flags, fired, error.message,
                 error.detail);
    }
    pgqrs_messages_free(t->batch);
    pgqrs_run_free(t->run);
    pgqrs_close(t->own);
    t->batch = NULL;
    t->run   = NULL;
    t->own   = NULL;
    return fired > 0;
}

void lose_answers(world *w, const lost_operation *op)
{
    pgqrs_store_options options = world_options(w);
    trial               t       = { .w = w };
    int                 trials  = 0;
    proxy              *p       = proxy_start(w->dsn, t.dsn, sizeof(t.dsn));

    assert_ok(pgqrs_open(t.dsn, &options, &t.store, &failure));
    for (proxy_cut cut = 0; cut < PROXY_CUTS; cut++) {
        if (cut == PROXY_CUT_BLIND && op->not_blind)
            continue;
        /* the second try too */
        const int most = cut == PROXY_CUT_BEFORE || cut == PROXY_CUT_AFTER ? 2 : 1;
        for (int times = 1; times <= most; times++)
            for (int nth = 1; lose_one(&t, p, op, cut, nth, times); nth++, trials++)
                assert_true(nth < REQUESTS_MAX);
    }
    assert_true(trials >= PROXY_CUTS);
    pgqrs_close(t.store);
    proxy_stop(p);
    assert_consistent(w);
}

int64_t count_in(trial *t, const char *table)
{
    char sql[256];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM pgqrs_%s t JOIN pgqrs_queues q ON q.id = t.queue_id "
                   "WHERE q.name IN ('%s', '%s')",
                   table, t->queue, t->flow);
    return sql_number(t->w, sql);
}

void with_queue(trial *t, size_t count)
{
    queue(t->w, t->queue);
    for (size_t i = 0; i < count; i++)
        t->ids[i] = enqueue(t->w, t->queue, "1");
}

void with_claimed(trial *t, size_t count)
{
    with_queue(t, count);
    assert_int_equal(count, claim_many(t->w, t->queue, (int)count, t->m));
}

void with_flow(trial *t)
{
    workflow(t->w, t->flow);
}

void with_run(trial *t)
{
    with_flow(t);
    t->ids[0] = trigger(t->w, t->flow, "1");
    assert_ok(pgqrs_claim(t->store, t->flow, NULL, &t->batch, &failure));
    assert_int_equal(1, pgqrs_messages_count(t->batch));
    assert_ok(pgqrs_run_from(t->store, t->batch, 0, &t->run, &failure));
    assert_ok(pgqrs_lease_unkeep(t->store, pgqrs_run_message(t->run), &failure));
}

#endif
