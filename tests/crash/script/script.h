/** What the parts of the script of the crash tests share (main.c). */
#ifndef PGQRS_TESTS_CRASH_SCRIPT_H
#define PGQRS_TESTS_CRASH_SCRIPT_H

#include "support/processes.h"
#include "support/storm.h"
#include "util/failpoint.h"

#define OK (1u << PGQRS_OK)
/* The script is played a second time, over what the first left. */
#define AGAIN (1u << PGQRS_EEXISTS | 1u << PGQRS_ENOTFOUND | 1u << PGQRS_ESTATE)
#define LOST  (1u << PGQRS_ELEASE)

/* The status of a call must be one of those that may be: bits of 1 << status. */
#define EXPECT(allowed, call) may_be((call), (allowed), #call, &failed)
#define EXPECT_RUN(allowed, run, call) \
    may_be((call), (allowed) | (again ? RUN_AGAIN : 0), #call, pgqrs_run_error(run))
/* Of a run that was in the middle of something. */
#define RUN_AGAIN                                                                             \
    (OK | AGAIN | LOST | 1u << PGQRS_EPAUSED | 1u << PGQRS_ENOTREADY | 1u << PGQRS_ECANCELLED \
     | 1u << PGQRS_EEXHAUSTED)

extern pgqrs_store *store;
extern const char  *dsn, *schema;
extern int          log_fd;
extern bool         again; /**< whether others may have left something */
extern pgqrs_error  failed;

/* The clock, which is ahead, and goes further ahead. */
int64_t now(void);
int64_t wall_clock(void *user_data);
int64_t monotonic_clock(void *user_data);
void    let_pass(int64_t us);

/* What is written down. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
void         wrong(const char *what, pgqrs_status rc, const pgqrs_error *error);
pgqrs_status may_be(pgqrs_status rc, unsigned allowed, const char *what, const pgqrs_error *error);
void         asked(int64_t id, int64_t lease, const char *verb);
void         answered(int64_t id, int64_t lease, pgqrs_status rc, const char *verb);

/* Putting in, taking out, ending. */
int64_t         put(const char *queue, const char *key, int64_t delay_us);
int64_t         start(const char *workflow);
void            note_claimed(const pgqrs_messages *messages);
pgqrs_messages *take(const char *queue, int limit, int64_t owner);
pgqrs_messages *take_id(int64_t id);
void            ask_to_remove(const char *queue, pgqrs_state state);
void            release(const pgqrs_message *m, const pgqrs_release_options *options);

typedef pgqrs_status (*end_fn)(pgqrs_store *in, const pgqrs_message *m, pgqrs_error *error);

void end_one(const pgqrs_message *m, const char *verb, end_fn end);

/* Runs. */
pgqrs_status do_steps(pgqrs_run *run, char letter, int from, int to, int64_t began_us);
void         succeed(pgqrs_run *run);

/* The parts. */
void part_install(void);
void part_queues(void);
void part_messages(void);
void part_runs(void);
void part_workers(void);
void part_adopted(void);
void part_batches(void);
/* What part_batches() left. */
void drain_pairs(void);

#endif
