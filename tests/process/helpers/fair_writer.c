/* Commits one message after the other, and tells how long each took.
 *
 *     fair_writer DSN SCHEMA LOG
 *
 * LOG gets a line a commit: START END, monotonic microseconds. Until SIGTERM. */
#include "support/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static _Atomic int ending;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&ending, 1);
}

int main(int argc, char **argv)
{
    pgqrs_store *store = helper_open(argc, argv, NULL);
    pgqrs_error  error;
    char         line[64];
    const int    log = argc > 3 ? open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;

    (void)signal(SIGTERM, on_signal);
    (void)puts("ready");
    (void)fflush(stdout);
    while (!atomic_load(&ending)) {
        const int64_t began = monotonic_now_us();
        if (pgqrs_enqueue(store, "fair", "{\"n\":1}", NULL, NULL, &error) != PGQRS_OK) {
            (void)fprintf(stderr, "fair_writer: %s %s\n", error.message, error.detail);
            return 1;
        }
        const int length = snprintf(line, sizeof(line), "%lld %lld\n", (long long)began,
                                    (long long)monotonic_now_us());
        if (write(log, line, (size_t)length) != length)
            return 1;
    }
    pgqrs_close(store);
    return 0;
}
