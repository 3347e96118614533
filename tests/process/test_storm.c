/* Everything at once, and kill -9: nothing acknowledged is lost, nothing happens twice.
 *
 * PGQRS_STORM_SECONDS: how long (15); PGQRS_STORM_SEED: the same choices again. */
#include "support/storm.h"

#include <stdlib.h>
#include <time.h>

static int64_t from_environment(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? strtoll(text, NULL, 10) : otherwise;
}

static void a_storm_loses_nothing_and_does_nothing_twice(void **state)
{
    world               *w        = *state;
    const storm_settings settings = {
        .producers = 2,
        .consumers = 7,
        .seconds   = from_environment("PGQRS_STORM_SECONDS", 15),
        .messages  = w->turso ? 800 : 1500, /* one process, which begins again and again */
        .runs      = w->turso ? 100 : 200,
        .kills     = true,
        .seed      = (uint64_t)from_environment("PGQRS_STORM_SEED", (int64_t)time(NULL)),
    };
    storm_report report;

    print_message("storm: seed %llu\n", (unsigned long long)settings.seed);
    storm_run(w, &settings, &report);
    assert_int_equal(0, report.violations);
    assert_true(report.messages >= settings.messages / 2); /* others were deleted */
    assert_true(report.runs >= settings.runs / 2);         /* a slow machine */
    assert_true(report.kills > 0 && report.pauses > 0 && report.checks > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_REAL(a_storm_loses_nothing_and_does_nothing_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
