/* Several processes write one SQLite file: each gets its turn, and one that dies in its turn stops
 * nobody. (PostgreSQL lets them write at once; there the same holds trivially, and is looked at
 * too.) */
#include "support/processes.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#define WRITERS 3
#define SECONDS 4
#define KILLS   20
#define COMMITS 200000 /* that a log may hold */
/* What a busy machine may cost: not a matter of turns. */
#define SLOW_US   (150 * PGQRS_TEST_FACTOR * PGQRS_MILLISECOND)
#define STALLS_US (2 * PGQRS_TEST_FACTOR * PGQRS_SECOND)

typedef struct commits {
    int64_t *took_us;
    size_t   count;
    int64_t  longest_us;
} commits;

static void read_commits(const char *folder, int writer, commits *out)
{
    char      path[512], line[64];
    long long began, ended;

    (void)snprintf(path, sizeof(path), "%s/%d", folder, writer);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    *out = (commits){ .took_us = calloc(COMMITS, sizeof(int64_t)) };
    assert_non_null(out->took_us);
    while (out->count < COMMITS && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%lld %lld", &began, &ended) != 2)
            fail_msg("not a commit: %s", line);
        out->took_us[out->count++] = ended - began;
        if (ended - began > out->longest_us)
            out->longest_us = ended - began;
    }
    (void)fclose(file);
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void start_writer(process *p, const world *w, const char *folder, int writer)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%d", folder, writer);
    process_start(p, w, "fair_writer", (const char *const[]){ path, NULL });
    assert_string_equal("ready", process_hear(p));
}

static void stop_writer(process *p)
{
    process_signal(p, SIGTERM);
    assert_int_equal(0, process_end(p));
}

static void every_process_gets_its_turn(void **state)
{
    world  *w                = *state;
    process writers[WRITERS] = { 0 };
    char    folder[256];
    size_t  fewest = SIZE_MAX, most = 0;

    queue(w, "fair");
    folder_make(folder, sizeof(folder));
    for (int i = 0; i < WRITERS; i++)
        start_writer(&writers[i], w, folder, i);
    sleep_us(SECONDS * PGQRS_SECOND);
    for (int i = 0; i < WRITERS; i++)
        stop_writer(&writers[i]);
    for (int i = 0; i < WRITERS; i++) {
        commits c;
        read_commits(folder, i, &c);
        assert_true(c.count > 10);
        qsort(c.took_us, c.count, sizeof(int64_t), by_size);
        const int64_t median = c.took_us[c.count / 2];
        print_message("writer %d: %zu commits, median %lld us, slowest %lld us\n", i, c.count,
                      (long long)median, (long long)c.longest_us);
        assert_true(c.longest_us <= 50 * median || c.longest_us <= SLOW_US);
        fewest = c.count < fewest ? c.count : fewest;
        most   = c.count > most ? c.count : most;
        free(c.took_us);
    }
    assert_true(fewest * 2 >= most);
    folder_remove(folder);
}

static void a_process_that_dies_in_its_turn_stops_nobody(void **state)
{
    world   *w                = *state;
    process  writers[WRITERS] = { 0 };
    char     folder[256];
    uint64_t random = 7;

    queue(w, "fair");
    folder_make(folder, sizeof(folder));
    for (int i = 0; i < WRITERS; i++)
        start_writer(&writers[i], w, folder, i);
    for (int i = 0; i < KILLS; i++) { /* writers 1 and 2 do nothing but commit; 0 looks on */
        const int victim = 1 + (int)random_below(&random, WRITERS - 1);
        sleep_us((100 + random_below(&random, 100)) * PGQRS_MILLISECOND);
        process_signal(&writers[victim], SIGKILL);
        const int status = process_end(&writers[victim]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        start_writer(&writers[victim], w, folder, victim);
    }
    for (int i = 0; i < WRITERS; i++)
        stop_writer(&writers[i]);
    for (int i = 0; i < WRITERS; i++) {
        commits c;
        read_commits(folder, i, &c);
        print_message("writer %d: %zu commits, slowest %lld us\n", i, c.count,
                      (long long)c.longest_us);
        assert_true(c.count > 10);
        assert_true(c.longest_us < STALLS_US);
        free(c.took_us);
    }
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE_REAL(every_process_gets_its_turn),
        CASE_REAL(a_process_that_dies_in_its_turn_stops_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
