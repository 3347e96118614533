/* Looking at runs and their recorded steps: nothing here holds a lease. */
#include "core/admin.h"
#include "util/clock.h"

#include <inttypes.h>
#include <time.h>

#define LIST_DEFAULT 100
/* The pauses between two looks at a run that is waited for. */
#define LOOK_FIRST_US (5 * PGQRS_MILLISECOND)
#define LOOK_LAST_US  (200 * PGQRS_MILLISECOND)

/* --- Runs ------------------------------------------------------------------------------------- */

PGQRS__COLLECTION(pgqrs_run_records, pgqrs_run_record)

const char *pgqrs_run_status_name(pgqrs_run_status status)
{
    switch (status) {
    case PGQRS_RUN_QUEUED:
        return "queued";
    case PGQRS_RUN_RUNNING:
        return "running";
    case PGQRS_RUN_PAUSED:
        return "paused";
    case PGQRS_RUN_CANCELLING:
        return "cancelling";
    case PGQRS_RUN_SUCCESS:
        return "success";
    case PGQRS_RUN_ERROR:
        return "error";
    case PGQRS_RUN_CANCELLED:
        return "cancelled";
    }
    return "?";
}

_Static_assert((int)PGQRS__COL_RUN_LIST_ERROR == (int)PGQRS__COL_RUN_FIND_ERROR,
               "run_list has the columns of run_find");

#define COL(name) cols[PGQRS__COL_RUN_FIND_##name]

static pgqrs_status take_run(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__rows      *rows = call->user;
    pgqrs_run_record *run  = pgqrs__rows_add(rows);

    if (run == NULL || !pgqrs__rows_text(rows, COL(INPUT), &run->input)
        || !pgqrs__rows_text(rows, COL(OUTPUT), &run->output)
        || !pgqrs__rows_text(rows, COL(ERROR), &run->error))
        return PGQRS_ENOMEM;
    run->id            = pgqrs__as_int(COL(ID));
    run->workflow_id   = pgqrs__as_int(COL(WORKFLOW_ID));
    run->status        = (pgqrs_run_status)pgqrs__as_int(COL(STATUS));
    run->dead          = pgqrs__as_int(COL(DEAD)) != 0;
    run->attempt       = (int)pgqrs__as_int(COL(ATTEMPT));
    run->created_at_us = pgqrs__as_int(COL(CREATED_AT));
    run->updated_at_us = pgqrs__as_int(COL(UPDATED_AT));
    run->resumes_at_us = pgqrs__as_int(COL(RESUMES_AT));
    return PGQRS_OK;
}

#undef COL

/* One run: *out_rows holds exactly one. */
static pgqrs_status run_find(pgqrs_store *store, int64_t run_id, pgqrs__rows **out_rows,
                             pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_RUN_FIND_RUN] = pgqrs__int(run_id) };
    pgqrs_status     rc;

    rc = pgqrs__read_rows(store, PGQRS__STMT_RUN_FIND, args, take_run, sizeof(pgqrs_run_record),
                          out_rows, error);
    if (rc != PGQRS_OK || (*out_rows)->count != 0)
        return rc;
    pgqrs__rows_free(*out_rows);
    *out_rows = NULL;
    pgqrs__fail(error, PGQRS_ENOTFOUND, PGQRS_OBJECT_RUN, "run %" PRId64 " does not exist", run_id);
    pgqrs__hint(error, "It never did, or is past its workflow's retention.");
    return PGQRS_ENOTFOUND;
}

pgqrs_status pgqrs_run_get(pgqrs_store *store, int64_t run_id, pgqrs_run_records **out_runs,
                           pgqrs_error *error)
{
    pgqrs__rows *rows;
    pgqrs_status rc;

    if (out_runs != NULL)
        *out_runs = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_runs, "out_runs", error)) != PGQRS_OK
        || (rc = run_find(store, run_id, &rows, error)) != PGQRS_OK)
        return rc;
    *out_runs = (pgqrs_run_records *)rows;
    return PGQRS_OK;
}

pgqrs_status pgqrs_run_list(pgqrs_store *store, const char *workflow,
                            const pgqrs_run_list_options *given, pgqrs_run_records **out_runs,
                            pgqrs_error *error)
{
    pgqrs_run_list_options options;
    pgqrs__queue_ref       ref = { 0 };
    pgqrs__rows           *rows;
    pgqrs_status           rc;

    if (out_runs != NULL)
        *out_runs = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_runs, "out_runs", error)) != PGQRS_OK
        || (rc = PGQRS__OPTIONS_READ(&options, given, "run_list", error)) != PGQRS_OK
        || (rc = pgqrs__check_range((int64_t)options.status, 0, PGQRS_RUN_CANCELLED, "status",
                                    error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options.limit, 0, PGQRS__PAGE_MAX, "limit", error)) != PGQRS_OK)
        return rc;
    if (workflow != NULL
        && (rc = pgqrs__queue_named(store, workflow, PGQRS_OBJECT_WORKFLOW, &ref, error))
               != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = {
        [PGQRS__ARG_RUN_LIST_WORKFLOW] = pgqrs__int_or_null(ref.id),
        [PGQRS__ARG_RUN_LIST_STATUS]   = pgqrs__int_or_null((int64_t)options.status),
        [PGQRS__ARG_RUN_LIST_AFTER_ID] = pgqrs__int(options.after_id),
        [PGQRS__ARG_RUN_LIST_MAX_ROWS] =
            pgqrs__int(options.limit == 0 ? LIST_DEFAULT : options.limit),
    };
    rc = pgqrs__read_rows(store, PGQRS__STMT_RUN_LIST, args, take_run, sizeof(pgqrs_run_record),
                          &rows, error);
    if (rc == PGQRS_OK)
        *out_runs = (pgqrs_run_records *)rows;
    return rc;
}

static bool has_ended(pgqrs_run_status status)
{
    return status == PGQRS_RUN_SUCCESS || status == PGQRS_RUN_ERROR
           || status == PGQRS_RUN_CANCELLED;
}

/* A signal may end it early; the caller looks at the clock anyway. */
static void sleep_us(int64_t us)
{
    const struct timespec time = {
        .tv_sec  = (time_t)(us / PGQRS_SECOND),
        .tv_nsec = (long)(us % PGQRS_SECOND) * 1000,
    };

    nanosleep(&time, NULL);
}

/* By real time: a clock of the user's judges leases and due times, not how long a caller waits. */
pgqrs_status pgqrs_run_wait(pgqrs_store *store, int64_t run_id, int64_t wait_us,
                            pgqrs_run_records **out_runs, pgqrs_error *error)
{
    int64_t      pause_us = LOOK_FIRST_US;
    int64_t      deadline_us;
    pgqrs_status rc;

    if (out_runs != NULL)
        *out_runs = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_runs, "out_runs", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(wait_us, 0, PGQRS_FOREVER, "wait_us", error)) != PGQRS_OK)
        return rc;

    if (wait_us > 0 && (rc = pgqrs__not_adopted(store, "waiting", error)) != PGQRS_OK)
        return rc;

    deadline_us = pgqrs__i64_add_sat(pgqrs__mono_us(), wait_us);
    for (;;) {
        pgqrs__rows            *rows;
        const pgqrs_run_record *run;
        pgqrs_run_status        status;
        int64_t                 left_us;

        rc = run_find(store, run_id, &rows, error);
        if (rc != PGQRS_OK)
            return rc;
        run    = pgqrs__rows_at(rows, 0);
        status = run->status;
        if (has_ended(status)) {
            *out_runs = (pgqrs_run_records *)rows;
            return PGQRS_OK;
        }
        pgqrs__rows_free(rows);
        left_us = deadline_us - pgqrs__mono_us();
        if (left_us <= 0)
            return pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_RUN,
                               "run %" PRId64 " has not ended in time (%s)", run_id,
                               pgqrs_run_status_name(status));
        sleep_us(PGQRS__MIN(pause_us, left_us));
        pause_us = PGQRS__MIN(pause_us * 2, LOOK_LAST_US);
    }
}

/* --- Steps ------------------------------------------------------------------------------------ */

PGQRS__COLLECTION(pgqrs_step_records, pgqrs_step_record)

#define COL(name) cols[PGQRS__COL_STEP_LIST_##name]

static pgqrs_status take_step(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__rows       *rows = call->user;
    pgqrs_step_record *step = pgqrs__rows_add(rows);

    if (step == NULL || !pgqrs__rows_text(rows, COL(NAME), &step->name)
        || !pgqrs__rows_text(rows, COL(OUTPUT), &step->output)
        || !pgqrs__rows_text(rows, COL(ERROR), &step->error))
        return PGQRS_ENOMEM;
    step->run_id         = pgqrs__as_int(call->scalars[PGQRS__ARG_STEP_LIST_RUN]);
    step->status         = (pgqrs_step_status)pgqrs__as_int(COL(STATUS));
    step->retries        = (int)pgqrs__as_int(COL(RETRIES));
    step->started_at_us  = pgqrs__as_int(COL(STARTED_AT));
    step->finished_at_us = pgqrs__as_int(COL(FINISHED_AT));
    step->retry_at_us    = pgqrs__as_int(COL(RETRY_AT));
    return PGQRS_OK;
}

#undef COL

pgqrs_status pgqrs_step_list(pgqrs_store *store, int64_t run_id, pgqrs_step_records **out_steps,
                             pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_STEP_LIST_RUN] = pgqrs__int(run_id) };
    pgqrs__rows     *rows;
    pgqrs__rows     *run;
    pgqrs_status     rc;

    if (out_steps != NULL)
        *out_steps = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_steps, "out_steps", error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__read_rows(store, PGQRS__STMT_STEP_LIST, args, take_step, sizeof(pgqrs_step_record),
                          &rows, error);
    if (rc != PGQRS_OK)
        return rc;
    if (rows->count == 0) { /* no step yet, or no such run */
        rc = run_find(store, run_id, &run, error);
        if (rc != PGQRS_OK) {
            pgqrs__rows_free(rows);
            return rc;
        }
        pgqrs__rows_free(run);
    }
    *out_steps = (pgqrs_step_records *)rows;
    return PGQRS_OK;
}
