/* One process that does everything is killed again and again, and started again: what it was told
 * is there, once. What the storm is for backends that several processes share; it runs on every
 * one. */
#include "support/peek.h"
#include "support/processes.h"

#include <signal.h>
#include <stdlib.h>

#define ROUNDS 12

static void look_up(world *w, const char *line)
{
    char      sql[256], step[16], output[32];
    long long id;

    if (sscanf(line, "enqueued %lld", &id) == 1)
        (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM pgqrs_messages WHERE id = %lld", id);
    else if (sscanf(line, "moved %lld", &id) == 1)
        (void)snprintf(sql, sizeof(sql),
                       "SELECT count(*) FROM pgqrs_messages WHERE CAST(payload AS text) ="
                       " '{\"of\":%lld}'",
                       id);
    else if (sscanf(line, "archived %lld", &id) == 1)
        (void)snprintf(sql, sizeof(sql),
                       "SELECT count(*) FROM pgqrs_archive WHERE message_id = %lld AND state < 2",
                       id);
    else if (sscanf(line, "recorded %lld %15s %31s", &id, step, output) == 3)
        (void)snprintf(sql, sizeof(sql),
                       "SELECT count(*) FROM pgqrs_steps WHERE run_id = %lld AND name = '%s' AND "
                       "CAST(output AS text) = '%s'",
                       id, step, output);
    else
        fail_msg("not a line of the log: %s", line);
    if (sql_number(w, sql) != 1)
        fail_msg("acknowledged, and not there: %s", line);
}

/* The lines that came since the last look; an unfinished last one was never acknowledged to us. */
static int look_up_all(world *w, const char *path, long *offset)
{
    char  line[256];
    int   count = 0;
    FILE *file  = fopen(path, "r");

    assert_non_null(file);
    assert_int_equal(0, fseek(file, *offset, SEEK_SET));
    for (; fgets(line, sizeof(line), file) != NULL && strchr(line, '\n') != NULL; count++) {
        if (count % 7 == 0) /* a sample: each is a connection */
            look_up(w, line);
        *offset = ftell(file);
    }
    (void)fclose(file);
    return count;
}

static void finish_queue(world *w, const char *name)
{
    message m[64];
    size_t  count;

    while ((count = claim_many(w, name, 64, m)) > 0)
        for (size_t i = 0; i < count; i++)
            assert_ok(pgqrs_archive(w->store, &m[i], &failure));
}

/* What a batch has put in is there once, and what it has ended has ended. */
static void check_moved(world *w)
{
    static const char of[] = "FROM pgqrs_messages m JOIN pgqrs_queues q ON q.id = m.queue_id"
                             " WHERE q.name = 'next'";
    char              sql[512];

    (void)snprintf(sql, sizeof(sql), "SELECT count(*) - count(DISTINCT CAST(m.payload AS text)) %s",
                   of);
    assert_int_equal(0, sql_number(w, sql));
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) %s AND CAST(m.payload AS text) NOT IN"
                   " (SELECT '{\"of\":' || message_id || '}' FROM pgqrs_archive)",
                   of);
    assert_int_equal(0, sql_number(w, sql));
}

static void finish_everything(world *w)
{
    pgqrs_run  *run;
    pgqrs_step *step;

    check_moved(w);
    sleep_us(200 * PGQRS_MILLISECOND); /* the last leases pass */
    finish_queue(w, "orders");
    finish_queue(w, "next");
    while ((run = claim_run(w, "flow")) != NULL) {
        assert_run(PGQRS_OK, run, pgqrs_step_begin(run, "s0", NULL, &step));
        if (!pgqrs_step_recorded(step))
            assert_run(PGQRS_OK, run, pgqrs_step_succeed(step, "1"));
        assert_run(PGQRS_OK, run, pgqrs_run_succeed(run, NULL));
        drop_run(w, run);
    }
    assert_int_equal(0, sql_number(w, "SELECT count(*) FROM pgqrs_messages WHERE id NOT IN "
                                      "(SELECT message_id FROM pgqrs_archive)"));
    assert_consistent(w);
}

static void g80_one_process_killed_again_and_again_loses_nothing(void **state)
{
    world                    *w       = *state;
    const pgqrs_queue_options patient = { .struct_size = sizeof(patient), .max_attempts = 1000 };
    char                      folder[256], log[300];
    long                      offset = 0;
    int                       lines  = 0;
    uint64_t                  random = 7;

    queue_with(w, "orders", &patient);
    queue_with(w, "next", &patient);
    workflow_with(w, "flow", &patient);
    folder_make(folder, sizeof(folder));
    (void)snprintf(log, sizeof(log), "%s/log", folder);
    for (int i = 0; i < ROUNDS; i++) {
        process p;

        world_close(w, w->store);
        process_start(&p, w, "alone_worker", (const char *const[]){ log, NULL });
        assert_string_equal("ready", process_hear(&p));
        sleep_us((50 + random_below(&random, 250)) * PGQRS_MILLISECOND);
        process_signal(&p, SIGKILL);
        assert_int_equal(SIGKILL, process_end(&p));
        w->store = world_open(w);
        lines += look_up_all(w, log, &offset);
        assert_consistent(w);
    }
    finish_everything(w);
    if (!w->postgres) {
        char sound[16];
        sql_text(w, "PRAGMA integrity_check", sound, sizeof(sound));
        assert_string_equal("ok", sound);
    }
    folder_remove(folder);
    print_message("%d acknowledged in %d lives\n", lines, ROUNDS);
    assert_true(lines > 100);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE_REAL(g80_one_process_killed_again_and_again_loses_nothing),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
