/* Run handles: what a workflow function works with. */
#include "core/run.h"
#include "util/clock.h"

#include <stdarg.h>
#include <stdio.h>

#define FRESH_US PGQRS_SECOND /* an answer about the lease is good for so long */
#define AWAY_US  PGQRS_SECOND /* a run that met a database failure comes back after */

/* --- Making and freeing ----------------------------------------------------------------------- */

static pgqrs_run *run_new(pgqrs_store *store)
{
    pgqrs_run *run = pgqrs__calloc(1, sizeof(*run));

    if (run == NULL)
        return NULL;
    if (!pgqrs__mutex_init(&run->lock)) {
        pgqrs__free(run);
        return NULL;
    }
    pgqrs__arena_init(&run->arena);
    pgqrs__smap_init(&run->recorded_at);
    pgqrs__smap_init(&run->uses);
    run->store = store;
    return run;
}

void pgqrs_run_free(pgqrs_run *run)
{
    if (run == NULL)
        return;
    (void)pgqrs__run_abandon_steps(run);
    if (run->message.lease != 0 && pgqrs__enter(run->store, NULL) == PGQRS_OK)
        pgqrs__lease_dropped(run->store, run->message.lease, run->message.id);
    pgqrs__smap_free(&run->uses);
    pgqrs__smap_free(&run->recorded_at);
    pgqrs__free(run->recorded);
    pgqrs__arena_free(&run->arena);
    pgqrs__mutex_destroy(&run->lock);
    pgqrs__free(run);
}

static bool copy_text(pgqrs_run *run, const char *text, const char **out)
{
    *out = NULL;
    if (text == NULL)
        return true;
    *out = pgqrs__arena_copy(&run->arena, text, strlen(text));
    return *out != NULL;
}

bool pgqrs__run_remember(pgqrs_run *run, const pgqrs__recorded *step)
{
    pgqrs__recorded *slot;
    int64_t          index;

    if (pgqrs__smap_get(&run->recorded_at, step->name, &index)) {
        slot = &run->recorded[index];
    } else {
        if (run->recorded_count == run->recorded_cap) {
            size_t           cap  = run->recorded_cap == 0 ? 8 : run->recorded_cap * 2;
            pgqrs__recorded *more = pgqrs__realloc(run->recorded, cap * sizeof(*more));

            if (more == NULL)
                return false;
            run->recorded     = more;
            run->recorded_cap = cap;
        }
        if (!pgqrs__smap_put(&run->recorded_at, step->name, (int64_t)run->recorded_count))
            return false;
        slot = &run->recorded[run->recorded_count++];
    }
    *slot = *step;
    return copy_text(run, step->name, &slot->name) && copy_text(run, step->output, &slot->output)
           && copy_text(run, step->error, &slot->error);
}

/* Take over what a claim brought: the lease, and the recorded steps. Under the lock. */
static pgqrs_status take_claim(pgqrs_run *run, const pgqrs_messages *messages, size_t index)
{
    const pgqrs_message *m = pgqrs_messages_at(messages, index);

    run->message         = *m;
    run->heard_us        = messages->sent_mono_us;
    run->claimed_us      = messages->answered_us;
    run->claimed_wall_us = m->claimed_at_us;
    if (!copy_text(run, m->payload, &run->message.payload)
        || !copy_text(run, m->headers, &run->message.headers))
        return PGQRS_ENOMEM;
    for (size_t i = 0; i < messages->step_count; i++) {
        const pgqrs__claimed_step *s = &messages->steps[i];
        const pgqrs__recorded      r = { .name        = s->name,
                                         .status      = s->status,
                                         .retries     = s->retries,
                                         .retry_at_us = s->retry_at_us,
                                         .output      = s->output,
                                         .error       = s->error };

        if (s->message == index && !pgqrs__run_remember(run, &r))
            return PGQRS_ENOMEM;
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs_run_from(pgqrs_store *store, const pgqrs_messages *messages, size_t index,
                            pgqrs_run **out_run, pgqrs_error *error)
{
    pgqrs_run   *run;
    pgqrs_status rc;

    if (out_run != NULL)
        *out_run = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_run, "out_run", error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(messages, "messages", error)) != PGQRS_OK)
        return rc;
    if (index >= pgqrs_messages_count(messages))
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_RUN, "index is %zu of %zu messages",
                           index, pgqrs_messages_count(messages));
    run = run_new(store);
    if (run == NULL)
        return pgqrs__nomem(error);
    rc = take_claim(run, messages, index);
    if (rc != PGQRS_OK)
        rc = pgqrs__nomem(error);
    else if (!store->adopted)
        rc = pgqrs_lease_keep(store, &run->message, 0, error);
    if (rc != PGQRS_OK) {
        pgqrs_run_free(run);
        return rc;
    }
    *out_run = run;
    return PGQRS_OK;
}

pgqrs_status pgqrs_run_open(pgqrs_store *store, int64_t run_id, pgqrs_run **out_run,
                            pgqrs_error *error)
{
    pgqrs_records      *records = NULL;
    pgqrs_step_records *steps   = NULL;
    pgqrs_run          *run     = NULL;
    const pgqrs_record *found;
    pgqrs_status        rc;

    if (out_run != NULL)
        *out_run = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_run, "out_run", error)) != PGQRS_OK)
        return rc;
    rc = pgqrs_message_get(store, run_id, &records, error);
    if (rc == PGQRS_ENOTFOUND)
        rc = pgqrs__fail(error, PGQRS_ENOTFOUND, PGQRS_OBJECT_RUN, "run %lld does not exist",
                         (long long)run_id);
    if (rc == PGQRS_OK)
        rc = pgqrs_step_list(store, run_id, &steps, error);
    if (rc != PGQRS_OK)
        goto done;
    found = pgqrs_records_at(records, 0);
    run   = run_new(store);
    if (run == NULL) {
        rc = pgqrs__nomem(error);
        goto done;
    }
    run->message   = (pgqrs_message){ .id             = found->id,
                                      .queue_id       = found->queue_id,
                                      .attempt        = found->attempt,
                                      .priority       = found->priority,
                                      .enqueued_at_us = found->enqueued_at_us,
                                      .producer       = found->producer,
                                      .payload_bytes  = strlen(found->payload) };
    run->cancelled = found->cancelled;
    if (!copy_text(run, found->payload, &run->message.payload)
        || !copy_text(run, found->headers, &run->message.headers)) {
        rc = pgqrs__nomem(error);
        goto done;
    }
    for (size_t i = 0; i < pgqrs_step_records_count(steps); i++) {
        const pgqrs_step_record *s = pgqrs_step_records_at(steps, i);
        const pgqrs__recorded    r = { .name        = s->name,
                                       .status      = s->status,
                                       .retries     = s->retries,
                                       .retry_at_us = s->retry_at_us,
                                       .output      = s->output,
                                       .error       = s->error };

        if (!pgqrs__run_remember(run, &r)) {
            rc = pgqrs__nomem(error);
            goto done;
        }
    }
    *out_run = run;
    run      = NULL;
done:
    pgqrs_run_free(run);
    pgqrs_step_records_free(steps);
    pgqrs_records_free(records);
    return rc;
}

/* --- Reading a handle ------------------------------------------------------------------------- */

int64_t pgqrs_run_id(const pgqrs_run *run)
{
    return run == NULL ? 0 : run->message.id;
}

const char *pgqrs_run_input(const pgqrs_run *run)
{
    return run == NULL ? NULL : run->message.payload;
}

const char *pgqrs_run_headers(const pgqrs_run *run)
{
    return run == NULL ? NULL : run->message.headers;
}

int pgqrs_run_attempt(const pgqrs_run *run)
{
    return run == NULL ? 0 : run->message.attempt;
}

const pgqrs_message *pgqrs_run_message(const pgqrs_run *run)
{
    return run == NULL ? NULL : &run->message;
}

pgqrs_store *pgqrs_run_store(const pgqrs_run *run)
{
    return run == NULL ? NULL : run->store;
}

const pgqrs_error *pgqrs_run_error(const pgqrs_run *run)
{
    return run == NULL ? NULL : &run->error;
}

int64_t pgqrs__run_wall_us(const pgqrs_run *run)
{
    const pgqrs_store *store = run->store;

    if (store->own_clock || run->claimed_wall_us == 0)
        return store->options.clock.wall_us(store->options.clock.user_data);
    return run->claimed_wall_us + (pgqrs__lease_clock(store) - run->claimed_us);
}

pgqrs_status pgqrs__run_failed(pgqrs_run *run, const pgqrs_error *error)
{
    pgqrs__mutex_lock(&run->lock);
    run->error = *error;
    if (error->status == PGQRS_ELEASE)
        run->lost = true;
    else if (error->status == PGQRS_ECANCELLED)
        run->cancelled = true;
    pgqrs__mutex_unlock(&run->lock);
    return error->status;
}

const char *pgqrs_run_copy(pgqrs_run *run, const char *text, size_t bytes)
{
    const char *copy;

    if (run == NULL || text == NULL)
        return NULL;
    pgqrs__mutex_lock(&run->lock);
    copy = pgqrs__arena_copy(&run->arena, text, bytes);
    if (copy == NULL)
        pgqrs__nomem(&run->error);
    pgqrs__mutex_unlock(&run->lock);
    return copy;
}

const char *pgqrs_run_printf(pgqrs_run *run, const char *format, ...)
{
    char   *text = NULL;
    va_list args;
    int     bytes;

    if (run == NULL || format == NULL)
        return NULL;
    va_start(args, format);
    bytes = vsnprintf(NULL, 0, format, args);
    va_end(args);
    pgqrs__mutex_lock(&run->lock);
    if (bytes >= 0)
        text = pgqrs__arena_alloc(&run->arena, (size_t)bytes + 1);
    if (text == NULL) {
        pgqrs__nomem(&run->error);
    } else {
        va_start(args, format);
        vsnprintf(text, (size_t)bytes + 1, format, args);
        va_end(args);
    }
    pgqrs__mutex_unlock(&run->lock);
    return text;
}

/* --- Holding
 *
 * -----------------------------------------------------------------------------------------------
 */

/* Refuses NULL and a store from before fork(); the error goes to the run. */
static pgqrs_status enter(pgqrs_run *run)
{
    pgqrs_error  error;
    pgqrs_status rc;

    if (run == NULL)
        return PGQRS_EINVAL;
    rc = pgqrs__enter(run->store, &error);
    return rc == PGQRS_OK ? rc : pgqrs__run_failed(run, &error);
}

static pgqrs_status fail(pgqrs_run *run, pgqrs_status status, const char *why)
{
    pgqrs_error error;

    pgqrs__fail(&error, status, PGQRS_OBJECT_RUN, "run %lld %s", (long long)run->message.id, why);
    return pgqrs__run_failed(run, &error);
}

/* Why a run could not be claimed, in the words of runs. */
static pgqrs_status explain(pgqrs_run *run, const pgqrs_error *claim_error)
{
    pgqrs_run_records *records = NULL;
    pgqrs_error        error   = *claim_error;
    pgqrs_run_status   status;

    if (claim_error->status != PGQRS_ESTATE
        || pgqrs_run_get(run->store, run->message.id, &records, NULL) != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    status = pgqrs_run_records_at(records, 0)->status;
    if (status == PGQRS_RUN_RUNNING)
        pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_RUN, "run %lld is held by another",
                    (long long)run->message.id);
    else
        pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_RUN, "run %lld is %s%s",
                    (long long)run->message.id, status >= PGQRS_RUN_SUCCESS ? "terminal " : "",
                    pgqrs_run_status_name(status));
    pgqrs_run_records_free(records);
    return pgqrs__run_failed(run, &error);
}

/* Lease the run by its id. */
static pgqrs_status claim(pgqrs_run *run)
{
    const pgqrs_claim_options options  = { .lease_us = run->store->options.lease_us };
    pgqrs_messages           *messages = NULL;
    pgqrs_error               error;
    pgqrs_status rc = pgqrs__claim_by_id(run->store, run->message.id, &options, &messages, &error);

    if (rc != PGQRS_OK)
        return explain(run, &error);
    pgqrs__mutex_lock(&run->lock);
    rc          = take_claim(run, messages, 0);
    run->parked = false;
    run->lost   = false;
    pgqrs__mutex_unlock(&run->lock);
    pgqrs_messages_free(messages);
    if (rc != PGQRS_OK)
        pgqrs__nomem(&error);
    else if (!run->store->adopted)
        rc = pgqrs_lease_keep(run->store, &run->message, 0, &error);
    return rc == PGQRS_OK ? rc : pgqrs__run_failed(run, &error);
}

pgqrs_status pgqrs__run_hold(pgqrs_run *run, bool may_ask, bool *out_asks)
{
    bool ended, lost, held;

    *out_asks = false;
    pgqrs__mutex_lock(&run->lock);
    ended = run->ended;
    lost  = run->lost;
    held  = run->message.lease != 0 && !run->parked;
    pgqrs__mutex_unlock(&run->lock);
    if (ended)
        return fail(run, PGQRS_ESTATE, "has ended");
    if (lost)
        return fail(run, PGQRS_ELEASE, "is no longer held by this handle");
    *out_asks = !held && !may_ask;
    return held || !may_ask ? PGQRS_OK : claim(run);
}

/* Make sure that the handle has a lease to write under. It may have passed. */
static pgqrs_status hold(pgqrs_run *run)
{
    bool asks;

    return pgqrs__run_hold(run, true, &asks);
}

bool pgqrs__run_given_up(pgqrs_run *run)
{
    bool given_up;

    pgqrs__mutex_lock(&run->lock);
    given_up = run->ended || run->parked;
    pgqrs__mutex_unlock(&run->lock);
    return given_up;
}

/* Ask the database about the lease. */
static pgqrs_status ask(pgqrs_run *run, bool *out_cancelled)
{
    int64_t      sent_us = pgqrs__lease_clock(run->store);
    pgqrs_error  error;
    pgqrs_status rc = pgqrs__hold_ask(run->store, &run->message, out_cancelled, &error);

    if (rc != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    pgqrs__mutex_lock(&run->lock);
    run->heard_us  = PGQRS__MAX(run->heard_us, sent_us);
    run->cancelled = run->cancelled || *out_cancelled;
    *out_cancelled = run->cancelled;
    pgqrs__mutex_unlock(&run->lock);
    return PGQRS_OK;
}

pgqrs_status pgqrs__run_go_on(pgqrs_run *run, bool may_ask, bool *out_asks)
{
    int64_t      now_us   = pgqrs__lease_clock(run->store);
    int64_t      heard_us = INT64_MIN;
    int64_t      until_us = INT64_MIN;
    bool         cancelled;
    pgqrs__kept  kept;
    pgqrs_status rc;

    rc = pgqrs__run_hold(run, may_ask, out_asks);
    if (rc != PGQRS_OK || *out_asks)
        return rc;
    kept =
        pgqrs__lease_state(run->store, run->message.lease, run->message.id, &heard_us, &until_us);
    pgqrs__mutex_lock(&run->lock);
    heard_us       = PGQRS__MAX(heard_us, run->heard_us);
    until_us       = PGQRS__MAX(until_us, run->message.held_until_us);
    run->cancelled = run->cancelled || kept == PGQRS__KEPT_CANCELLED;
    cancelled      = run->cancelled;
    pgqrs__mutex_unlock(&run->lock);
    if (kept == PGQRS__KEPT_LOST || now_us >= until_us)
        return fail(run, PGQRS_ELEASE, "is no longer held by this handle: its lease passed");
    if (!cancelled && now_us - heard_us > FRESH_US) {
        *out_asks = !may_ask;
        rc        = may_ask ? ask(run, &cancelled) : PGQRS_OK;
        if (rc != PGQRS_OK || *out_asks)
            return rc;
    }
    return cancelled ? fail(run, PGQRS_ECANCELLED, "is cancelled") : PGQRS_OK;
}

pgqrs_status pgqrs__run_may_go_on(pgqrs_run *run)
{
    bool asks;

    return pgqrs__run_go_on(run, true, &asks);
}

void pgqrs__run_error_copy(pgqrs_run *run, pgqrs_status status, pgqrs_error *error)
{
    pgqrs__mutex_lock(&run->lock);
    *error = run->error;
    pgqrs__mutex_unlock(&run->lock);
    if (error->status != status) /* another call on this handle has failed since */
        pgqrs__fail(error, status, PGQRS_OBJECT_RUN, "%s", pgqrs_status_text(status));
}

pgqrs_status pgqrs_run_start(pgqrs_run *run)
{
    pgqrs_status rc = enter(run);

    return rc == PGQRS_OK ? pgqrs__run_may_go_on(run) : rc;
}

static bool was_cancelled(pgqrs_run *run)
{
    bool heard;

    pgqrs__mutex_lock(&run->lock);
    heard = run->cancelled;
    pgqrs__mutex_unlock(&run->lock);
    return heard;
}

bool pgqrs_run_cancelled(pgqrs_run *run)
{
    if (enter(run) != PGQRS_OK)
        return false;
    return pgqrs__run_may_go_on(run) == PGQRS_ECANCELLED || was_cancelled(run);
}

pgqrs_status pgqrs_run_cancel(pgqrs_run *run)
{
    pgqrs_state  state;
    pgqrs_error  error;
    pgqrs_status rc = enter(run);

    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs_cancel(run->store, run->message.id, &state, &error);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    pgqrs__mutex_lock(&run->lock);
    run->cancelled = true;
    run->ended     = state == PGQRS_STATE_CANCELLED;
    pgqrs__mutex_unlock(&run->lock);
    return PGQRS_OK;
}

/* --- Ending
 *
 * -------------------------------------------------------------------------------------------------
 */

/* The handle holds the run no longer. */
static void set_given_up(pgqrs_run *run, bool ended, bool parked)
{
    pgqrs__mutex_lock(&run->lock);
    run->ended  = ended;
    run->parked = parked;
    pgqrs__mutex_unlock(&run->lock);
}

pgqrs_status pgqrs__run_refuse_open_step(pgqrs_run *run)
{
    pgqrs_step *step;
    pgqrs_error error;

    pgqrs__mutex_lock(&run->lock);
    step = run->open_steps;
    pgqrs__mutex_unlock(&run->lock);
    if (step == NULL)
        return PGQRS_OK;
    pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_STEP, "transactional step \"%s\" is open",
                pgqrs_step_name(step));
    pgqrs__hint(&error, "End it first; pgqrs_step_end() rolls back one that was left.");
    return pgqrs__run_failed(run, &error);
}

/* End the run: archive its message under its lease. */
static pgqrs_status end(pgqrs_run *run, int archive_state, const char *output,
                        const char *error_json)
{
    bool         cancelled = false;
    pgqrs_error  error;
    pgqrs_status rc = pgqrs__run_refuse_open_step(run);

    if (rc == PGQRS_OK)
        rc = hold(run);
    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs__finish(run->store, &run->message, archive_state, output, error_json, 0, &cancelled,
                       &error);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    return pgqrs__run_has_ended(run, cancelled, &error);
}

pgqrs_status pgqrs__run_has_ended(pgqrs_run *run, bool cancelled, pgqrs_error *error)
{
    set_given_up(run, true, false);
    if (!cancelled)
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_ECANCELLED, PGQRS_OBJECT_RUN,
                "run %lld was cancelled, and has ended so", (long long)run->message.id);
    return pgqrs__run_failed(run, error);
}

pgqrs_status pgqrs_run_succeed(pgqrs_run *run, const char *output)
{
    pgqrs_error  error;
    pgqrs_status rc = enter(run);

    if (rc != PGQRS_OK)
        return rc;
    if (output != NULL) {
        rc = pgqrs__check_json(run->store, output, "output", NULL, &error);
        if (rc != PGQRS_OK)
            return pgqrs__run_failed(run, &error);
    }
    return end(run, PGQRS__ARCHIVE_SUCCESS, output, NULL);
}

pgqrs_status pgqrs_run_fail(pgqrs_run *run, const char *code, const char *text)
{
    pgqrs_error  error;
    const char  *json;
    pgqrs_status rc = enter(run);

    if (rc != PGQRS_OK)
        return rc;
    pgqrs__mutex_lock(&run->lock);
    json = pgqrs__error_json(&run->arena, code, text);
    pgqrs__mutex_unlock(&run->lock);
    if (json == NULL) {
        pgqrs__nomem(&error);
        return pgqrs__run_failed(run, &error);
    }
    return end(run, PGQRS__ARCHIVE_ERROR, NULL, json);
}

pgqrs_status pgqrs__run_park(pgqrs_run *run, int reason, const char *note, int64_t delay_us,
                             int64_t at_us, bool counted)
{
    const char    *why     = pgqrs_run_error(run)->message;
    pgqrs__parking parking = { .counted  = counted,
                               .backoff  = counted && delay_us < 0 && at_us == 0,
                               .delay_us = delay_us,
                               .at_us    = at_us,
                               .reason   = reason,
                               .note     = note };
    int            fate    = 0;
    pgqrs_error    error;
    pgqrs_status   rc = pgqrs__run_refuse_open_step(run);

    if (rc == PGQRS_OK)
        rc = hold(run);
    if (rc != PGQRS_OK)
        return rc;
    if (counted) {
        pgqrs__mutex_lock(&run->lock);
        parking.error = pgqrs__error_json(&run->arena, "ATTEMPTS_EXHAUSTED", why);
        pgqrs__mutex_unlock(&run->lock);
    }
    rc = pgqrs__park(run->store, &run->message, &parking, 0, &fate, &error);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    set_given_up(run, fate == PGQRS__FATE_DEAD || fate == PGQRS__FATE_CANCELLED,
                 fate != PGQRS__FATE_DEAD && fate != PGQRS__FATE_CANCELLED);
    if (fate == PGQRS__FATE_CANCELLED)
        return fail(run, PGQRS_ECANCELLED, "was cancelled, and has ended so");
    return PGQRS_OK;
}

pgqrs_status pgqrs_run_pause(pgqrs_run *run, const char *message, int64_t resume_after_us)
{
    pgqrs_error  error;
    pgqrs_status rc = enter(run);

    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs__check_duration(resume_after_us, "resume_after_us", &error);
    if (rc != PGQRS_OK)
        return pgqrs__run_failed(run, &error);
    rc = pgqrs__run_park(run, PGQRS__REASON_PAUSE, message, resume_after_us, 0, false);
    return rc == PGQRS_OK ? fail(run, PGQRS_EPAUSED, "is paused") : rc;
}

pgqrs_status pgqrs__run_sleep_until(pgqrs_run *run, int64_t at_us)
{
    pgqrs_status rc = pgqrs__run_park(run, PGQRS__REASON_SLEEP, NULL, -1, at_us, false);

    return rc == PGQRS_OK ? fail(run, PGQRS_EPAUSED, "sleeps") : rc;
}

/* --- After the workflow function -------------------------------------------------------------- */

/* A failure of the database or of this process, not of the workflow. */
static bool is_outage(pgqrs_status status)
{
    switch (status) {
    case PGQRS_EBUSY:
    case PGQRS_ECONN:
    case PGQRS_ETIMEDOUT:
    case PGQRS_EDB:
    case PGQRS_ENOMEM:
    case PGQRS_ERATE:
    case PGQRS_ESCHEMA:
        return true;
    case PGQRS_OK:
    case PGQRS_EINVAL:
    case PGQRS_ECONFIG:
    case PGQRS_ENOTFOUND:
    case PGQRS_EEXISTS:
    case PGQRS_ESTATE:
    case PGQRS_ELEASE:
    case PGQRS_ECANCELLED:
    case PGQRS_EPAUSED:
    case PGQRS_ENOTREADY:
    case PGQRS_EEXHAUSTED:
    case PGQRS_EJSON:
    case PGQRS_EFORK:
    case PGQRS_EINTERNAL:
        return false;
    }
    return false;
}

pgqrs_status pgqrs__run_settle(pgqrs_run *run, pgqrs_status returned)
{
    const char *open = pgqrs__run_abandon_steps(run);

    if (open != NULL && returned == PGQRS_OK) { /* its effect is undone: that is no success */
        pgqrs_error error;

        pgqrs__fail(&error, PGQRS_ESTATE, PGQRS_OBJECT_STEP, "step \"%s\" was left without an end",
                    open);
        (void)pgqrs__run_failed(run, &error);
        run->left_open = true;
    }
    if (pgqrs__run_given_up(run) || run->lost || run->message.lease == 0)
        return PGQRS_OK;
    if (returned == PGQRS_OK && run->left_open)
        returned = PGQRS_ESTATE;
    if (returned == PGQRS_OK)
        return pgqrs_run_succeed(run, NULL);
    if (returned == PGQRS_ECANCELLED)
        return end(run, PGQRS__ARCHIVE_CANCELLED, NULL, NULL);
    if (returned == PGQRS_EEXHAUSTED)
        return pgqrs_run_fail(
            run, "STEP_FAILED",
            pgqrs_run_printf(run, "%s: %s", run->error.message, run->error.detail));
    if (returned == PGQRS_ENOTREADY && run->wake_us != 0)
        return pgqrs__run_park(run, PGQRS__REASON_RETRY, NULL, -1, run->wake_us, false);
    if (returned == PGQRS_EPAUSED || returned == PGQRS_ENOTREADY || is_outage(returned))
        return pgqrs__run_park(run, PGQRS__REASON_RETRY, NULL, AWAY_US, 0, false);
    return pgqrs__run_park(run, PGQRS__REASON_RETRY, NULL, -1, 0, true);
}

pgqrs_status pgqrs_run_settle(pgqrs_run *run, pgqrs_status returned)
{
    pgqrs_status rc = enter(run);

    return rc == PGQRS_OK ? pgqrs__run_settle(run, returned) : rc;
}
