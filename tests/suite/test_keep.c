/* Leases that are renewed in the background. The keeper waits for real time, so these cases use the
 * real clocks and leases that are short. */
#include <poll.h>

#include "support/world.h"

#define SHORT_US (300 * PGQRS_MILLISECOND)

/* Until the database says that the lease has been moved past @p expires_at_us. */
static bool renewed_past(world *w, int64_t id, int64_t expires_at_us)
{
    for (int i = 0; i < 1000; i++) {
        if (record(w, id).expires_at_us > expires_at_us)
            return true;
        (void)poll(NULL, 0, 10);
    }
    return false;
}

static message claim_short(world *w)
{
    message m = { 0 };
    queue(w, "orders");
    (void)enqueue(w, "orders", "1");
    assert_int_equal(
        1, claim_with(w, w->store, "orders", PGQRS_OPTIONS(claim, .lease_us = SHORT_US), &m, 1));
    return m;
}

static void g31_a_kept_lease_does_not_pass(void **state)
{
    world  *w = *state;
    message m = claim_short(w);
    assert_ok(pgqrs_lease_keep(w->store, &m, 0, &failure));
    assert_true(renewed_past(w, m.id, m.expires_at_us + 2 * SHORT_US));
    assert_int_equal(0, claim_one(w, "orders").id);
    assert_ok(pgqrs_archive(w->store, &m, &failure));
    assert_state(w, m.id, PGQRS_STATE_DONE);
}

static void g31_an_unkept_lease_passes(void **state)
{
    world  *w = *state;
    message m = claim_short(w);
    assert_ok(pgqrs_lease_keep(w->store, &m, 0, &failure));
    assert_true(renewed_past(w, m.id, m.expires_at_us));
    assert_ok(pgqrs_lease_unkeep(w->store, &m, &failure));
    int64_t passes = record(w, m.id).expires_at_us;
    message again  = { 0 };
    assert_int_equal(1, claim_with(w, w->store, "orders",
                                   PGQRS_OPTIONS(claim, .now_us = passes + 1), &again, 1));
    assert_int_equal(m.id, again.id);
    assert_int_equal(2, again.attempt);
}

static void g31_a_lease_that_was_lost_is_told_when_unkept(void **state)
{
    world  *w       = *state;
    message m       = claim_short(w);
    message thief   = { 0 };
    int64_t expires = m.expires_at_us;
    assert_ok(pgqrs_lease_keep(w->store, &m, 0, &failure));
    for (int i = 0; i < 1000 && thief.id == 0; i++) { /* somebody with a clock that is ahead */
        (void)claim_with(
            w, w->store, "orders",
            PGQRS_OPTIONS(claim, .now_us = expires + PGQRS_HOUR, .lease_us = PGQRS_HOUR), &thief,
            1);
    }
    assert_int_equal(m.id, thief.id);
    pgqrs_status status = PGQRS_OK;
    for (int i = 0; i < 1000 && status == PGQRS_OK; i++) {
        (void)poll(NULL, 0, 10);
        status = pgqrs_lease_unkeep(w->store, &m, &failure);
        if (status == PGQRS_OK)
            assert_ok(pgqrs_lease_keep(w->store, &m, 0, &failure));
    }
    assert_int_equal(PGQRS_ELEASE, status);
    assert_ok(pgqrs_archive(w->store, &thief, &failure));
}

static void g31_many_leases_are_kept_by_one_statement(void **state)
{
    world  *w = *state;
    message m[40];
    queue(w, "orders");
    enqueue_count(w, "orders", 40, NULL);
    assert_int_equal(40, claim_with(w, w->store, "orders",
                                    PGQRS_OPTIONS(claim, .limit = 40, .lease_us = 2 * PGQRS_SECOND),
                                    m, 40));
    pgqrs_counters before = counted(w->store);
    for (size_t i = 0; i < 40; i++)
        assert_ok(pgqrs_lease_keep(w->store, &m[i], 0, &failure));
    assert_true(renewed_past(w, m[39].id, m[39].expires_at_us + PGQRS_SECOND));
    /* two or three renewals, and reads by this case: not forty of anything */
    pgqrs_counters cost = spent(w->store, &before);
    assert_in_range(cost.commits, 1, 10);
    for (size_t i = 0; i < 40; i++)
        assert_true(record(w, m[i].id).expires_at_us > m[i].expires_at_us);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_REAL(g31_a_kept_lease_does_not_pass),
        CASE_REAL(g31_an_unkept_lease_passes),
        CASE_REAL(g31_a_lease_that_was_lost_is_told_when_unkept),
        CASE_REAL(g31_many_leases_are_kept_by_one_statement),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
