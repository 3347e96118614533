/** Lose the answer of every request that an operation makes, in every way, one after the other; and
 *  look each time whether what it said is true. PostgreSQL only. */
#ifndef PGQRS_TESTS_LOSE_H
#define PGQRS_TESTS_LOSE_H

#include "support/proxy.h"
#include "support/world.h"

/** Whether the backend under test is PostgreSQL. */
bool on_postgres(void);

/** What an operation works on. Each trial has names of its own. */
typedef struct trial {
    world       *w;
    pgqrs_store *store;    /**< through the wire that is cut; w->store is not */
    char         dsn[512]; /**< the wire's */
    int          number;
    char         queue[32];
    char         flow[32];

    message         m[4];
    int64_t         ids[4];
    pgqrs_store    *own; /**< closed after the trial, as what follows is freed */
    pgqrs_messages *batch;
    pgqrs_run      *run;
    pgqrs_step     *step;
    pgqrs_status    statuses[4];
    int64_t         number_out;
    size_t          count_out;
    bool            existed;
    pgqrs_state     state;
} trial;

typedef struct lost_operation {
    /** Without a loss. May be NULL. */
    void (*prepare)(trial *t);
    pgqrs_status (*call)(trial *t, pgqrs_error *error);
    /** Assert what is stored, and what was handed out: it happened once. */
    void (*assert_done)(trial *t);
    /** Assert that nothing was done. NULL: there is nothing to be seen. */
    void (*assert_not_done)(trial *t);
    /** Whether it was done, for what may be in doubt. NULL: it may not. */
    bool (*was_done)(trial *t);
    /** What the user does in it cannot be done again by the library: it may fail, retryably, when
     *  it has not happened. */
    bool may_fail;
    /** Its result is looked for at once, and while the server is at work it is not there yet. */
    bool not_blind;
} lost_operation;

void lose_answers(world *w, const lost_operation *operation);

/** The rows of a table ("ready") that are of the trial's queue or flow. */
int64_t count_in(trial *t, const char *table);
/** Make the trial's queue, with @p count messages; make it and claim them; the same for runs. */
void with_queue(trial *t, size_t count);
void with_claimed(trial *t, size_t count);
void with_flow(trial *t);
void with_run(trial *t);

#endif
