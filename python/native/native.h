/* What Python needs beside the public header: SQLite's functions, a clock and a log that need no
 * interpreter. declare.py hands it to cffi as it does the public header. */
#ifndef PGQRS_PYTHON_NATIVE_H
#define PGQRS_PYTHON_NATIVE_H

#include <pgqrs/pgqrs.h>

/** Take SQLite's functions from the object at @p path (NULL: the program) and what it is linked to.
 *  @return NULL, or what is missing. Static. */
const char *pgqrs_py_sqlite_load(const char *path);

/** A clock that is set: both its times, in microseconds. Read and written by any thread. */
typedef struct pgqrs_py_clock {
    int64_t wall_us;
    int64_t monotonic_us;
    int     stands; /**< else the times are added to the real ones */
} pgqrs_py_clock;

void    pgqrs_py_clock_advance(pgqrs_py_clock *clock, int64_t by_us);
int64_t pgqrs_py_clock_wall(pgqrs_py_clock *clock);
int64_t pgqrs_py_clock_monotonic(pgqrs_py_clock *clock);

/** The log, and the clock if there is one, of a store. */
void pgqrs_py_options(pgqrs_store_options *options, pgqrs_py_clock *clock);

/** Wait for a line of the log. @return its level, or -1 when it is only that @p dropped changed. */
int pgqrs_py_log_wait(char *out_text, size_t size, int64_t *dropped);

#endif
