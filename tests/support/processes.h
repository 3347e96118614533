/** Real processes for the cases of tests/process: started, spoken with, stopped, killed.
 *
 *  A helper is a program of tests/process/helpers. Its first arguments are the DSN and the schema
 * ("-": none) of the case, then its own. It dies with the test. */
#ifndef PGQRS_TESTS_PROCESSES_H
#define PGQRS_TESTS_PROCESSES_H

#include "support/world.h"

#include <sys/types.h>

typedef struct process {
    pid_t pid;  /**< 0: none */
    FILE *to;   /**< its standard input */
    FILE *from; /**< its standard output */
    char  line[4096];
} process;

/** Start a helper. @p arguments end with NULL. */
void process_start(process *p, const world *w, const char *helper, const char *const *arguments);
void process_say(process *p, const char *line);
/** The next line it prints, without its end; NULL when it prints no more. */
const char *process_hear(process *p);
void        process_signal(const process *p, int number);
/** Wait for its end. @return as of waitpid(). */
int process_end(process *p);
/** The same within a time: false, and nothing has happened, when it passes. */
bool process_ends(process *p, int64_t within_us, int *out_status);

/** Where the examples are, for commands. */
#define EXAMPLES PGQRS_TEST_BIN_DIR "/../examples"
/** Run a shell command, to which the schema of @p w is the search path. Examples name none, so they
 *  are given w->direct: no pooler takes options. @return its status, as of waitpid(). */
int command_run(const world *w, const char *command, char *out, size_t size);
/** The same; it must succeed. */
void command_output(const world *w, const char *command, char *out, size_t size);

/** A folder for the files of a case; removed with what is in it by folder_remove(). */
void folder_make(char *out, size_t size);
void folder_remove(const char *folder);

int64_t wall_now_us(void);
int64_t monotonic_now_us(void);
void    sleep_us(int64_t us);

/** A random number of a generator that a case can start again from its seed. */
uint64_t random_next(uint64_t *state);
/** From 0 to below @p limit. */
int64_t random_below(uint64_t *state, int64_t limit);

/* --- In a helper --------------------------------------------------------------------------------
 */

/** Write a line to a log: the time, and what is said, in one write: whole lines, whatever happens.
 */
__attribute__((format(printf, 3, 0))) void log_line(int fd, int64_t at_us, const char *format,
                                                    va_list list);

/** Open the store that argv names; ends the process when it cannot. */
pgqrs_store *helper_open(int argc, char **argv, const pgqrs_store_options *options);

#endif
