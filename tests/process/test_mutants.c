/* A check that cannot fail proves nothing: with one precaution taken out of the SQL, the storm must
 * find out. */
#include "support/storm.h"

#include <stdlib.h>
#include <string.h>

#define STORMS_MAX 4 /* what needs luck gets it in one of these */

/* Any of these, in the text of a violation. */
static bool tells(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strstr(text, *words) != NULL)
            return true;
    return false;
}

static void assert_caught(world *w, const char *mutant, const char *const *words)
{
    storm_report report = { 0 };

    print_message("mutant %s: the violations that follow are wanted\n", mutant);
    for (int tries = 0; tries < STORMS_MAX && report.violations == 0; tries++) {
        const storm_settings settings = {
            .producers = 2,
            .consumers = 8,
            .seconds   = 8,
            .kills     = true,
            .mutant    = mutant,
            .seed      = (uint64_t)tries,
        };
        storm_run(w, &settings, &report);
    }
    if (report.violations == 0)
        fail_msg("mutant %s: the storm found nothing", mutant);
    if (!tells(report.first, words))
        fail_msg("mutant %s: found something else first: %s", mutant, report.first);
}

/* Leases pass, and the one that was too late finishes all the same. */
static void finish_by_anybody_is_caught(void **state)
{
    assert_caught(*state, "finish_by_anybody", (const char *const[]){ "finished by lease", NULL });
}

static void finish_despite_a_cancel_is_caught(void **state)
{
    assert_caught(*state, "finish_despite_cancel",
                  (const char *const[]){ "cancelled, and ended as", NULL });
}

/* The record of a step and the reaper of its run do not see each other. */
static void a_step_without_its_lock_is_caught(void **state)
{
    assert_caught(
        *state, "step_without_lock",
        (const char *const[]){ "behind its holder's back", "executed again", "steps are", NULL });
}

static void groups_without_hold_are_caught(void **state)
{
    assert_caught(*state, "groups_without_hold",
                  (const char *const[]){ "deadlock", "40P01", NULL });
}

int main(void)
{
    const struct CMUnitTest everywhere[] = {
        CASE_REAL(finish_by_anybody_is_caught),
        CASE_REAL(finish_despite_a_cancel_is_caught),
    };
    const struct CMUnitTest on_postgres[] = {
        CASE_REAL(finish_by_anybody_is_caught),
        CASE_REAL(finish_despite_a_cancel_is_caught),
        CASE_REAL(a_step_without_its_lock_is_caught),
        CASE_REAL(groups_without_hold_are_caught),
    };
    const char *backend = getenv("PGQRS_TEST_BACKEND");

    return backend != NULL && strcmp(backend, "postgres") == 0
               ? cmocka_run_group_tests(on_postgres, NULL, NULL)
               : cmocka_run_group_tests(everywhere, NULL, NULL);
}
