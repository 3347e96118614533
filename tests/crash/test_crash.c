/* A process that is killed between any two statements: at every failpoint in turn, of a script that
 * calls every function that speaks with the database. Whoever comes after it goes on, and nothing
 * that was acknowledged is lost or happens twice.
 *
 * PGQRS_CRASH_PART: only this part; PGQRS_CRASH_POINT: only this point of it. */
#include "support/peek.h"
#include "support/processes.h"
#include "support/storm_check.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Behind the script's own times, and before anything is removed for its age. */
#define LATER_US PGQRS_DAY

typedef struct crash {
    world       *w;
    storm_look   look;
    storm_report report;
    char         folder[256];
    const char  *part;
} crash;

/* Run the script, up to a point (0: to its end). @return the points it passed; -1: it was killed.
 */
static long play(const crash *c, long point, bool afterwards)
{
    char        log[300], number[32], ahead[32];
    process     p      = { 0 };
    long        passed = -1;
    const char *said;

    (void)snprintf(log, sizeof(log), "%s/%02d", c->folder, afterwards ? 1 : 0);
    (void)snprintf(number, sizeof(number), "%ld", point);
    (void)snprintf(ahead, sizeof(ahead), "%lld", (long long)(afterwards ? LATER_US : 0));
    assert_int_equal(0, setenv("PGQRS_FAILPOINT", number, 1));
    process_start(&p, c->w, "crash_worker",
                  (const char *const[]){ c->part, log, ahead, afterwards ? "drain" : NULL, NULL });
    while ((said = process_hear(&p)) != NULL)
        (void)sscanf(said, "points %ld", &passed);
    const int status = process_end(&p);
    if (status != 0 && !(point > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        fail_msg("%s, point %ld%s: ended with status %#x", c->part, point,
                 afterwards ? ", afterwards" : "", (unsigned)status);
    return passed;
}

/* The server goes on for a moment with what the dead has sent. */
static void let_the_dead_end(const crash *c)
{
    char sql[256];

    if (!c->w->postgres)
        return;
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                   " AND state <> 'idle' AND query LIKE '%%%s%%'",
                   c->w->schema);
    while (sql_number(c->w, sql) > 0)
        sleep_us(PGQRS_MILLISECOND);
}

static void clear(const crash *c)
{
    /* one text, one transaction; on SQLite the time that was stored last, too */
    sql_run(c->w, "BEGIN; DELETE FROM pgqrs_messages; DELETE FROM pgqrs_ready;"
                  "DELETE FROM pgqrs_scheduled; DELETE FROM pgqrs_leased;"
                  "DELETE FROM pgqrs_archive; DELETE FROM pgqrs_steps; DELETE FROM pgqrs_keys;"
                  "DELETE FROM pgqrs_workers; DELETE FROM storm_deliveries;"
                  "DELETE FROM pgqrs_queues WHERE name LIKE 'crash%'; COMMIT");
    sql_run_each(c->w, NULL, "UPDATE pgqrs_sequence SET last_now_us = 0");
}

/* What a step sends is there once if the step is recorded, and else not at all. */
static void check_sent(crash *c, const char *step, const char *queue)
{
    char sql[700];

    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM (SELECT payload FROM"
                   " (SELECT CAST(m.payload AS text) AS payload, 1 AS sent, 0 AS steps"
                   "  FROM pgqrs_messages m JOIN pgqrs_queues q ON q.id = m.queue_id"
                   "  WHERE q.name = '%s' AND CAST(m.payload AS text) LIKE '{\"of\":%%'"
                   "  UNION ALL SELECT '{\"of\":' || run_id || '}', 0, 1 FROM pgqrs_steps"
                   "  WHERE name = '%s' AND status = 1) AS sides"
                   " GROUP BY payload HAVING sum(sent) <> 1 OR sum(steps) <> 1) AS uneven",
                   queue, step);
    if (storm_number(&c->look, sql) != 0)
        storm_violation(&c->report, "step %s is recorded and what it sent is not there once", step);
}

/* What a batch ends and what it begins are there together. */
static void check_pairs(crash *c)
{
    const char *sql = "SELECT count(*) FROM (SELECT payload FROM"
                      " (SELECT CAST(m.payload AS text) AS payload, 1 AS begun, 0 AS ended"
                      "  FROM pgqrs_messages m JOIN pgqrs_queues q ON q.id = m.queue_id"
                      "  WHERE q.name = 'hot' AND CAST(m.payload AS text) LIKE '{\"of\":%'"
                      "  UNION ALL SELECT '{\"of\":' || a.message_id || '}', 0, 1"
                      "  FROM pgqrs_archive a JOIN pgqrs_queues q ON q.id = a.queue_id"
                      "  WHERE q.name = 'pair') AS sides"
                      " GROUP BY payload HAVING sum(begun) <> 1 OR sum(ended) <> 1) AS uneven";

    if (strcmp(c->part, "batches") == 0 && storm_number(&c->look, sql) != 0)
        storm_violation(&c->report, "a batch has happened by half");
}

static void check(crash *c, long point)
{
    const int64_t before = c->report.violations;

    storm_check_end(&c->look, c->folder);
    check_pairs(c);
    if (strcmp(c->part, "batches") != 0)
        check_sent(c, "w4", "hot");
    check_sent(c, "w5", "loop");
    if (c->report.violations > before)
        print_error("%s, point %ld: see above (PGQRS_CRASH_PART=%s PGQRS_CRASH_POINT=%ld)\n",
                    c->part, point, c->part, point);
    for (int i = 0; i < 2; i++) {
        char log[300];
        (void)snprintf(log, sizeof(log), "%s/%02d", c->folder, i);
        (void)unlink(log);
    }
}

static long from_environment(const char *name)
{
    const char *text = getenv(name);
    return text == NULL ? 0 : strtol(text, NULL, 10);
}

static bool is_wanted(const char *part)
{
    const char *wanted = getenv("PGQRS_CRASH_PART");
    return wanted == NULL || strcmp(wanted, part) == 0;
}

/* Every point of one part, in a world that is there already. */
static void crash_everywhere(crash *c)
{
    const long only   = from_environment("PGQRS_CRASH_POINT");
    long       killed = 0, points;

    clear(c);
    points = play(c, 0, false);
    assert_true(points > 0);
    (void)play(c, 0, true);
    check(c, 0);
    for (long point = only > 0 ? only : 1; point <= (only > 0 ? only : points); point++) {
        (void)alarm(60 * PGQRS_TEST_FACTOR);
        clear(c);
        killed += play(c, point, false) < 0;
        (void)play(c, 0, true);
        let_the_dead_end(c);
        check(c, point);
    }
    print_message("crash: %s: %ld points, killed at %ld of them, %lld violations\n", c->part,
                  points, killed, (long long)c->report.violations);
    assert_int_equal(0, c->report.violations);
    /* What threads of the library do is not the same every time: the last may not be reached. */
    assert_true(only > 0 || killed * 4 >= points * 3);
}

static void a_process_killed_anywhere_leaves_nothing_half_done(void **state)
{
    static const char *const parts[] = { "queues",  "messages", "runs",
                                         "workers", "adopted",  "batches" };
    static const char *const names[] = { "plain", "frail", "hot", "loop", "pair" };
    pgqrs_queue_options      frail   = { .struct_size = sizeof(frail), .max_attempts = 3 };
    pgqrs_queue_options      patient = { .struct_size = sizeof(patient), .max_attempts = 1000 };
    crash                    c       = { .w = *state };

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        queue_with(c.w, names[i], strcmp(names[i], "frail") == 0 ? &frail : &patient);
    workflow_with(c.w, "line", &patient);
    workflow_with(c.w, "wide", &patient);
    world_close(c.w, c.w->store);
    c.w->store = NULL;
    folder_make(c.folder, sizeof(c.folder));
    storm_look_open(&c.look, c.w, &c.report);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        c.part = parts[i];
        if (is_wanted(c.part) && !(c.w->turso && strcmp(c.part, "adopted") == 0)) /* has none */
            crash_everywhere(&c);
    }
    storm_look_close(&c.look);
    folder_remove(c.folder);
}

/* Each time on a database without tables. */
static void a_process_killed_while_installing_leaves_a_whole_schema_or_none(void **state)
{
    const long only   = from_environment("PGQRS_CRASH_POINT");
    long       points = 1, killed = 0;

    (void)state;
    if (!is_wanted("install"))
        skip();
    for (long point = 0; point <= points; point++) {
        void        *bare = NULL;
        crash        c    = { .part = "install" };
        pgqrs_store *store;

        if (only > 0 && point > 0)
            point = only;
        assert_int_equal(0, world_setup_bare(&bare));
        c.w = bare;
        folder_make(c.folder, sizeof(c.folder));
        const long passed = play(&c, point, false);
        if (point == 0)
            points = passed;
        else
            killed += passed < 0;
        (void)play(&c, 0, true);
        let_the_dead_end(&c);
        store = world_open(c.w);
        assert_ok(pgqrs_verify(store, &failure));
        assert_consistent(c.w);
        folder_remove(c.folder);
        (void)world_teardown(&bare);
        if (only > 0 && point > 0)
            break;
    }
    print_message("crash: install: %ld points, killed at %ld of them\n", points, killed);
    assert_true(only > 0 || killed == points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_killed_while_installing_leaves_a_whole_schema_or_none),
        CASE_REAL(a_process_killed_anywhere_leaves_nothing_half_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
