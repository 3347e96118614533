/** Turso itself, beside the library: what the cases look with, and get in its way with. */
#ifndef PGQRS_TESTS_RAW_TURSO_H
#define PGQRS_TESTS_RAW_TURSO_H

#include <stdbool.h>
#include <stddef.h>

typedef struct raw_turso {
    void *database;
    void *connection;
    char  said[256]; /**< of the last error */
} raw_turso;

/** Whether there is an engine to test with; says why not. */
bool raw_turso_there(void);

/** Open a file with a handle of its own. False when it cannot be. */
bool raw_turso_open(raw_turso *raw, const char *path);
void raw_turso_close(raw_turso *raw);

typedef void (*raw_turso_row)(void *user, size_t columns, const char *const *values);

/** Run SQL of any number of statements. @return 0, or Turso's code */
int raw_turso_run(raw_turso *raw, const char *sql, raw_turso_row on_row, void *user);

#endif
