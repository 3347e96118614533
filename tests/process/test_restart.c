/* PostgreSQL goes down in the middle, at once and gracefully: everybody goes on by himself, and
 * nothing acknowledged is lost.
 *
 * The server that the other tests share is left alone: this program starts itself again with a
 * server of its own, behind a pooler of its own if they share one. */
#include "support/processes.h"
#include "support/storm.h"

#include <stdlib.h>
#include <unistd.h>

#define SECONDS 9

typedef struct restarts {
    int     done;
    int64_t last_us; /* wall clock */
} restarts;

static void restart(const char *mode)
{
    char        command[512];
    const char *ctl = getenv("PGQRS_TEST_PG_CTL");

    assert_non_null(ctl);
    (void)snprintf(command, sizeof(command), "'%s' restart -m %s", ctl, mode);
    if (system(command) != 0)
        fail_msg("%s failed", command);
}

static void restart_now_and_then(world *w, int64_t elapsed_us, void *user_data)
{
    restarts *r = user_data;

    (void)w;
    if ((r->done == 0 && elapsed_us > 2 * PGQRS_SECOND)
        || (r->done == 1 && wall_now_us() > r->last_us + 2 * PGQRS_SECOND)) {
        restart(r->done == 0 ? "immediate" : "fast");
        r->done++;
        r->last_us = wall_now_us();
    }
}

static void a_restart_of_the_server_loses_nothing_and_stops_nobody(void **state)
{
    restarts             r        = { 0 };
    const storm_settings settings = {
        .producers = 2,
        .consumers = 3,
        .seconds   = SECONDS,
        .tolerant  = true,
        .seed      = 11,
        .meddle    = restart_now_and_then,
        .user_data = &r,
    };
    storm_report report;

    storm_run(*state, &settings, &report);
    assert_int_equal(2, r.done);
    assert_int_equal(0, report.violations);
    for (int i = 0; i < settings.producers + settings.consumers; i++)
        if (report.last_us[i] < r.last_us + PGQRS_SECOND)
            fail_msg("process %d did not go on after the restart", i);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE_REAL(a_restart_of_the_server_loses_nothing_and_stops_nobody),
    };
    const char *backend = getenv("PGQRS_TEST_BACKEND");

    (void)argc;
    if (backend == NULL || strcmp(backend, "postgres") != 0)
        return 77; /* skipped: there is no server to restart */
    if (getenv("PGQRS_TEST_OWN_SERVER") == NULL) {
        (void)setenv("PGQRS_TEST_OWN_SERVER", "1", 1);
        const char *const server = PGQRS_TEST_SOURCE_DIR "/tools/with_postgres.sh";
        const char *const pooler = PGQRS_TEST_SOURCE_DIR "/tools/with_pgbouncer.sh";
        if (getenv("PGQRS_TEST_PG_DIRECT") != NULL)
            (void)execl(server, server, pooler, argv[0], (char *)NULL);
        else
            (void)execl(server, server, argv[0], (char *)NULL);
        perror(server);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
