/** The storm: processes that do everything at once to one store and are killed at random, and the
 *  checks of what they leave behind.
 *
 *  Every process of helpers/storm_worker.c writes down what it is about to do and what it was
 *  answered, a line an event, in a file of its own, so that a kill loses nothing acknowledged:
 *
 *      TIME enqueued  ID 0 0 QUEUE KEY              acknowledged; KEY "-" = none
 *      TIME claimed   ID LEASE ATTEMPT
 *      TIME asked     ID LEASE 0 VERB               before archive, delete, cancel, replay …
 *      TIME answered  ID LEASE STATUS VERB
 *      TIME executed  RUN LEASE BEGAN STEP          a step; when this execution of its run began
 * began TIME recorded  RUN LEASE MINE STEP OUTPUT    acknowledged; MINE 0: another result stood
 *      TIME wrong     ID 0 0 WHAT                   an answer that must not be
 *
 *  TIME is the host's wall clock in microseconds, which the database shares. */
#ifndef PGQRS_TESTS_STORM_H
#define PGQRS_TESTS_STORM_H

#include "support/world.h"

/* The steps of a run. Workflow "line" records s1, s2 … one after the other; "wide" records w1, w2 …
 * side by side. */
#define STORM_STEPS     6
#define STORM_PROCESSES 16

typedef struct storm_settings {
    int producers;
    int consumers; /**< in turn: messages by hand, runs by hand, the library's worker */
    /* Where one process at a time can have the database there is one, which does all that. */
    int64_t seconds;  /**< of storm; then everything is worked off in calm */
    int64_t messages; /**< at least so many, the runs among them; the storm goes on until then */
    int64_t runs;
    bool    kills;
    bool    tolerant;   /**< the database may go away and come back */
    const char *mutant; /**< NULL: none */
    uint64_t    seed;
    /** Called again and again while the storm goes on; NULL: nothing. */
    void (*meddle)(world *w, int64_t elapsed_us, void *user_data);
    void *user_data;
} storm_settings;

typedef struct storm_report {
    int64_t violations;
    char    first[256]; /**< the first of them */
    int64_t messages;
    int64_t runs;
    int64_t claims;
    int64_t steps;
    int64_t kills;
    int64_t pauses;                   /**< processes stopped for a while by SIGSTOP */
    int64_t checks;                   /**< whole states looked at meanwhile */
    int64_t last_us[STORM_PROCESSES]; /**< of each process: the time of its last event */
} storm_report;

/** A whole storm on a fresh world: queues, processes, kills, calm, checks. Violations are printed.
 */
void storm_run(world *w, const storm_settings *settings, storm_report *out_report);

#endif
