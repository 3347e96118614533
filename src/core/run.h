/* What run.c, step.c and worker_run.c share: the run handle. */
#ifndef PGQRS_CORE_RUN_H
#define PGQRS_CORE_RUN_H

#include "core/core.h"

/* A recorded step that the handle knows: it came with the claim, or was recorded through the
 * handle. */
typedef struct pgqrs__recorded {
    const char       *name;
    pgqrs_step_status status;
    int               retries;
    int64_t           retry_at_us;
    const char       *output;
    const char       *error;
} pgqrs__recorded;

struct pgqrs_run {
    pgqrs_store *store;

    pgqrs__mutex lock; /* guards everything below; never held while asking the database */
    pgqrs__arena arena;

    pgqrs_message message;        /* lease 0: not held */
    int64_t       claim_lease_us; /* for a claim by id; 0 = the queue's */

    pgqrs__recorded *recorded;
    size_t           recorded_count;
    size_t           recorded_cap;
    pgqrs__smap      recorded_at; /* name -> index */
    pgqrs__smap      uses;        /* how often a name was begun in this execution */

    int64_t heard_us;   /* by the lease clock: the last answer about the lease was sent for then */
    int64_t claimed_us; /* by the lease clock, when the claim's answer was here, and … */
    int64_t claimed_wall_us; /* … by the database's, when it was made: no later */

    bool    cancelled; /* a cancel was heard of */
    bool    lost;      /* the lease was */
    bool    parked;    /* given up by a pause or a sleep */
    bool    ended;
    int64_t wake_us; /* a step waits until then; 0 = none does */

    pgqrs_step *open_steps; /* transactional ones (step_tx.c) */
    bool        left_open;  /* the workflow function returned out of one */

    pgqrs_error error;
};

/* Whether work on the run may start: it is held, surely not expired, not cancelled, and the last
 * answer about it is fresh (design.md, "A step starts only if"). Claims a run that nobody holds. */
pgqrs_status pgqrs__run_may_go_on(pgqrs_run *run);
/* Whether this handle has ended or parked the run. */
bool pgqrs__run_given_up(pgqrs_run *run);
/* The same, in turns: *out_asks when it must ask the database and may not; nothing was done then.
 */
pgqrs_status pgqrs__run_go_on(pgqrs_run *run, bool may_ask, bool *out_asks);
/* The run's error, when it is the one of @p status. Takes the lock. */
void pgqrs__run_error_copy(pgqrs_run *run, pgqrs_status status, pgqrs_error *error);
/* Keep `error` as the run's and return its status. Without the lock. */
pgqrs_status pgqrs__run_failed(pgqrs_run *run, const pgqrs_error *error);
/* The database's wall clock, about: what it said at the claim, and how long that is ago. */
int64_t pgqrs__run_wall_us(const pgqrs_run *run);
/* Remember what is recorded under a name. Under the lock. False when out of memory. Texts are
 * copied. */
bool pgqrs__run_remember(pgqrs_run *run, const pgqrs__recorded *step);
/* Give the run up until @p at_us (0: now), its attempt uncounted. */
pgqrs_status pgqrs__run_park(pgqrs_run *run, int reason, const char *note, int64_t delay_us,
                             int64_t at_us, bool counted);
/* Park it for a sleep until then. PGQRS_EPAUSED when parked. */
pgqrs_status pgqrs__run_sleep_until(pgqrs_run *run, int64_t at_us);
/* Roll back the transactional steps that are open. The name of one, or NULL. (step_tx.c) */
const char *pgqrs__run_abandon_steps(pgqrs_run *run);
/* Do with the run what the status that its workflow function returned asks for. */
pgqrs_status pgqrs__run_settle(pgqrs_run *run, pgqrs_status returned);

/* A run handle that still holds its run: what an end changes in it. (run.c) */
pgqrs_status pgqrs__run_hold(pgqrs_run *run, bool may_ask, bool *out_asks);
/* A move of the run would wait for its own open step: PGQRS_ESTATE. */
pgqrs_status pgqrs__run_refuse_open_step(pgqrs_run *run);
pgqrs_status pgqrs__run_has_ended(pgqrs_run *run, bool cancelled, pgqrs_error *error);

/* A step handle, made; what is known of it, or whether it may be executed: *out_gives when there is
 * a step to hand out. *error is the run's too. (step.c) */
pgqrs_status pgqrs__step_open(pgqrs_run *run, const char *name, const pgqrs_step_options *options,
                              pgqrs_step **out_step, pgqrs_error *error);
pgqrs_status pgqrs__step_go_on(pgqrs_step *step, bool may_ask, bool *out_asks, bool *out_gives,
                               pgqrs_error *error);

/* How a step ends: with this output, or failed. */
typedef struct pgqrs__step_ending {
    const char *output;
    bool        failed;
    bool        transient;
    const char *code;
    const char *text;
    int64_t     after_us;
} pgqrs__step_ending;

/* The record of a step's end as a task in @p arena. NULL: refused, or no memory. */
pgqrs__task *pgqrs__step_task(pgqrs_step *step, pgqrs__arena *arena, const pgqrs__step_ending *e,
                              pgqrs_error *error);

#endif
