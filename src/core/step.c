/* Steps: named units inside a run, whose result is recorded once and replayed [G-09]. */
#include "core/step.h"

#include <stdio.h>

#define RETRIES_DEFAULT 3
#define RETRIES_MAX     1000
#define BACKOFF_US      PGQRS_SECOND
#define BACKOFF_MAX_US  (60 * PGQRS_SECOND)

/* --- Reading a handle ------------------------------------------------------------------------- */

bool pgqrs_step_recorded(const pgqrs_step *step)
{
    return step != NULL && step->recorded;
}

const char *pgqrs_step_output(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->output;
}

const char *pgqrs_step_error(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->error_json;
}

const char *pgqrs_step_name(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->name;
}

const char *pgqrs_step_key(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->key;
}

int pgqrs_step_retries(const pgqrs_step *step)
{
    return step == NULL ? 0 : step->retries;
}

pgqrs_run *pgqrs_step_run(const pgqrs_step *step)
{
    return step == NULL ? NULL : step->run;
}

/* --- Beginning -------------------------------------------------------------------------------- */

static pgqrs_status options_read(const pgqrs_step_options *given, pgqrs_step_options *options,
                                 pgqrs_error *error)
{
    pgqrs_status rc;

    if ((rc = PGQRS__OPTIONS_READ(options, given, "step", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_retries, -1, RETRIES_MAX, "max_retries", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range((int64_t)options->backoff, PGQRS_BACKOFF_JITTER,
                                    PGQRS_BACKOFF_FIXED, "backoff", error))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options->backoff_us, "backoff_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options->backoff_max_us, "backoff_max_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options->timeout_us, "timeout_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_time(options->now_us, "now_us", error)) != PGQRS_OK)
        return rc;
    if (options->max_retries == 0)
        options->max_retries = RETRIES_DEFAULT;
    else if (options->max_retries == -1)
        options->max_retries = 0;
    if (options->backoff_us == 0)
        options->backoff_us = BACKOFF_US;
    if (options->backoff_max_us == 0)
        options->backoff_max_us = PGQRS__MAX(BACKOFF_MAX_US, options->backoff_us);
    return PGQRS_OK;
}

/* The name it is recorded under: the second use of a name in one execution is "name#2". Under the
 * lock.
 * NULL: no memory, or *error says that it is too long. */
static const char *numbered_name(pgqrs_run *run, const char *name, bool by_key, pgqrs_error *error)
{
    char    text[PGQRS__NAME_MAX + 32];
    int64_t uses = 0;

    if (!by_key) {
        pgqrs__smap_get(&run->uses, name, &uses);
        if (!pgqrs__smap_put(&run->uses, name, ++uses))
            goto no_memory;
    }
    if (uses < 2)
        snprintf(text, sizeof(text), "%s", name);
    else
        snprintf(text, sizeof(text), "%s#%lld", name, (long long)uses);
    if (strlen(text) > PGQRS__NAME_MAX) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STEP,
                    "step name is longer than %d bytes with its number", PGQRS__NAME_MAX);
        return NULL;
    }
    name = pgqrs__arena_copy(&run->arena, text, strlen(text));
    if (name != NULL)
        return name;
no_memory:
    pgqrs__nomem(error);
    return NULL;
}

/* A handle for a step of this run. Under the lock. NULL: *error says why. */
static pgqrs_step *step_new(pgqrs_run *run, const char *name, const pgqrs_step_options *options,
                            pgqrs_error *error)
{
    pgqrs_step *step = pgqrs__arena_calloc(&run->arena, 1, sizeof(*step));
    char        key[PGQRS__NAME_MAX + 32];

    if (step == NULL) {
        pgqrs__nomem(error);
        return NULL;
    }
    step->name = numbered_name(run, name, options->by_key, error);
    if (step->name == NULL)
        return NULL;
    snprintf(key, sizeof(key), "%lld/%s", (long long)run->message.id, step->name);
    step->key = pgqrs__arena_copy(&run->arena, key, strlen(key));
    if (step->key == NULL) {
        pgqrs__nomem(error);
        return NULL;
    }
    step->run     = run;
    step->options = *options;
    return step;
}

int64_t pgqrs__step_clock(const pgqrs_step *step)
{
    return step->options.now_us != 0 ? step->options.now_us : pgqrs__run_wall_us(step->run);
}

void pgqrs__step_start(pgqrs_step *step)
{
    step->started_us       = pgqrs__step_clock(step);
    step->started_lease_us = pgqrs__lease_clock(step->run->store);
}

bool pgqrs__step_recorded_find(pgqrs_run *run, const char *name, pgqrs__recorded *out)
{
    int64_t index;
    bool    found;

    pgqrs__mutex_lock(&run->lock);
    found = pgqrs__smap_get(&run->recorded_at, name, &index);
    if (found)
        *out = run->recorded[index];
    pgqrs__mutex_unlock(&run->lock);
    return found;
}

/* The step waits for its retry time. */
pgqrs_status pgqrs__step_not_ready(pgqrs_step *step, int64_t retry_at_us, pgqrs_error *error)
{
    pgqrs_run *run = step->run;

    pgqrs__mutex_lock(&run->lock);
    if (run->wake_us == 0 || retry_at_us < run->wake_us)
        run->wake_us = retry_at_us;
    pgqrs__mutex_unlock(&run->lock);
    pgqrs__fail(error, PGQRS_ENOTREADY, PGQRS_OBJECT_STEP, "step \"%s\" waits for its retry",
                step->name);
    return pgqrs__run_failed(run, error);
}

pgqrs_status pgqrs__step_exhausted(pgqrs_step *step, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_EEXHAUSTED, PGQRS_OBJECT_STEP, "step \"%s\" has failed for good",
                step->name);
    if (step->error_json != NULL)
        pgqrs__detail(error, "%s", step->error_json);
    return pgqrs__run_failed(step->run, error);
}

pgqrs_status pgqrs__step_open(pgqrs_run *run, const char *name, const pgqrs_step_options *given,
                              pgqrs_step **out_step, pgqrs_error *error)
{
    pgqrs_step_options options;
    pgqrs_status       rc;

    *out_step = NULL;
    if ((rc = pgqrs__enter(run->store, error)) != PGQRS_OK
        || (rc = pgqrs__check_name(name, "step", PGQRS_OBJECT_STEP, error)) != PGQRS_OK
        || (rc = options_read(given, &options, error)) != PGQRS_OK)
        return pgqrs__run_failed(run, error);
    pgqrs__mutex_lock(&run->lock);
    *out_step = step_new(run, name, &options, error);
    pgqrs__mutex_unlock(&run->lock);
    return *out_step == NULL ? pgqrs__run_failed(run, error) : PGQRS_OK;
}

pgqrs_status pgqrs__step_go_on(pgqrs_step *step, bool may_ask, bool *out_asks, bool *out_gives,
                               pgqrs_error *error)
{
    pgqrs_run      *run = step->run;
    pgqrs__recorded found;
    pgqrs_status    rc;

    *out_asks  = false;
    *out_gives = false;
    if (pgqrs__step_recorded_find(run, step->name, &found)) {
        step->retries    = found.retries;
        step->output     = found.output;
        step->error_json = found.error;
        step->recorded   = found.status != PGQRS_STEP_RETRY;
        *out_gives       = step->recorded;
        if (found.status == PGQRS_STEP_SUCCESS)
            return PGQRS_OK;
        if (found.status == PGQRS_STEP_ERROR)
            return pgqrs__step_exhausted(step, error);
    }
    rc = pgqrs__run_go_on(run, may_ask, out_asks);
    if (rc != PGQRS_OK)
        pgqrs__run_error_copy(run, rc, error);
    if (rc != PGQRS_OK || *out_asks)
        return rc;
    /* A run that was claimed just now by its id may have brought news of the step. */
    if (pgqrs__step_recorded_find(run, step->name, &found) && found.status == PGQRS_STEP_RETRY
        && pgqrs__step_clock(step) < found.retry_at_us)
        return pgqrs__step_not_ready(step, found.retry_at_us, error);
    pgqrs__step_start(step);
    *out_gives = true;
    return PGQRS_OK;
}

pgqrs_status pgqrs__step_begin(pgqrs_run *run, const char *name, const pgqrs_step_options *options,
                               pgqrs_step **out_step)
{
    pgqrs_step  *step;
    pgqrs_error  error;
    pgqrs_status rc;
    bool         asks;
    bool         gives;

    if (out_step != NULL)
        *out_step = NULL;
    if (run == NULL)
        return PGQRS_EINVAL;
    if (pgqrs__check_pointer(out_step, "out_step", &error) != PGQRS_OK
        || pgqrs__tx_guard(run->store, &error) != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    rc = pgqrs__step_open(run, name, options, &step, &error);
    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs__step_go_on(step, true, &asks, &gives, &error);
    if (gives)
        *out_step = step;
    return rc;
}

pgqrs_status pgqrs_step_begin(pgqrs_run *run, const char *name, const pgqrs_step_options *options,
                              pgqrs_step **out_step)
{
    return pgqrs__step_begin(run, name, options, out_step);
}
