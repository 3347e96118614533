/* What step.c, step_record.c and step_tx.c share: the step handle. */
#ifndef PGQRS_CORE_STEP_H
#define PGQRS_CORE_STEP_H

#include "core/run.h"
#include "core/task.h"
#include "core/tx.h"

/* A message that the step puts in with its record. */
typedef struct pgqrs__sending {
    struct pgqrs__sending *next;
    pgqrs__request         request; /* what it points to is the run's */
    const char            *payload;
    int64_t                queue_id; /* it went there */
} pgqrs__sending;

struct pgqrs_step {
    pgqrs_run         *run;
    const char        *name;
    const char        *key;
    pgqrs_step_options options;
    int64_t            started_us;       /* the step's clock */
    int64_t            started_lease_us; /* the lease clock: its timeout counts from here */
    int                retries;
    bool               recorded; /* it has a result, or failed for good */
    const char        *output;
    const char        *error_json;
    bool               tried; /* an end was tried: */
    pgqrs_status       last;  /* what came of it */

    bool        transactional;
    pgqrs__tx   tx;        /* tx.conn NULL: not open (any more) */
    pgqrs_step *next_open; /* of the run's */
    pgqrs__sending
        *sendings; /* in order; in a transactional step they are in its transaction already */
    pgqrs__sending *last_sending;
    size_t          sending_count;
    size_t          sending_bytes;
};

/* Begin a step, and nothing else (step.c). */
pgqrs_status pgqrs__step_begin(pgqrs_run *run, const char *name, const pgqrs_step_options *given,
                               pgqrs_step **out_step);

/* It is about to be executed: its times. */
void pgqrs__step_start(pgqrs_step *step);

/* Whether the record of this step is made in a transaction of its own. */
bool pgqrs__step_has_tx(const pgqrs_step *step);
/* Perform the record in the step's transaction, what it sends after it, and commit; when the record
 * is not the one that stands, or the lease is lost, all of it is rolled back. The answer is in the
 * operation. */
pgqrs_status pgqrs__step_commit(pgqrs_step *step, pgqrs__op *op, pgqrs_error *error);
/* Roll back what is open, and forget what was to be sent. True when a transaction was. */
bool pgqrs__step_abandon(pgqrs_step *step);

int64_t pgqrs__step_clock(const pgqrs_step *step);
/* What is recorded under this name, copied; false when nothing is. */
bool pgqrs__step_recorded_find(pgqrs_run *run, const char *name, pgqrs__recorded *out);
/* It waits for its retry time; it has failed for good: *error is the run's too. */
pgqrs_status pgqrs__step_not_ready(pgqrs_step *step, int64_t retry_at_us, pgqrs_error *error);
pgqrs_status pgqrs__step_exhausted(pgqrs_step *step, pgqrs_error *error);

#endif
