/* Queues and workflows: their names, settings, and life. */
#include "core/admin.h"

#include <inttypes.h>

/* A name that is created and deleted by others again and again is not waited for any longer. */
#define TRIES 5
/* Portions of leased messages that a deletion by force sweeps itself. */
#define LEASE_PORTIONS 1000

/* What a caller who leaves everything out gets: as written in pgqrs.h. */
#define LEASE_US       (30 * PGQRS_SECOND)
#define BACKOFF_US     PGQRS_SECOND
#define BACKOFF_FACTOR 2.0
#define BACKOFF_MAX_US PGQRS_HOUR
#define RETENTION_US   (7 * PGQRS_DAY)
#define FACTOR_MAX     1000.0

/* change() writes the id into the first argument. */
_Static_assert(PGQRS__ARG_QUEUE_CONFIGURE_QUEUE == 0 && PGQRS__ARG_QUEUE_PAUSE_QUEUE == 0
                   && PGQRS__ARG_QUEUE_RESUME_QUEUE == 0,
               "the queue is the first argument");

/* --- Names ------------------------------------------------------------------------------------ */

pgqrs_status pgqrs__queue_missing(const char *name, pgqrs_object object, pgqrs_error *error)
{
    bool workflow = object == PGQRS_OBJECT_WORKFLOW;

    pgqrs__fail(error, PGQRS_ENOTFOUND, object, "%s \"%s\" does not exist",
                workflow ? "workflow" : "queue", name);
    pgqrs__hint(error, "Create it with %s().",
                workflow ? "pgqrs_workflow_ensure" : "pgqrs_queue_create");
    return PGQRS_ENOTFOUND;
}

void pgqrs__queue_ref_put(pgqrs_store *store, const char *name, pgqrs__queue_ref ref)
{
    if (store->adopted)
        return; /* it may be rolled back */
    pgqrs__mutex_lock(&store->lock);
    /* Without memory it is only asked for again. */
    (void)pgqrs__smap_put(&store->queue_ids, name, ref.id * 2 + (ref.workflow ? 1 : 0));
    pgqrs__mutex_unlock(&store->lock);
}

void pgqrs__queue_ref_forget(pgqrs_store *store, const char *name)
{
    pgqrs__mutex_lock(&store->lock);
    pgqrs__smap_remove(&store->queue_ids, name);
    pgqrs__mutex_unlock(&store->lock);
}

static pgqrs_status take_ref(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__queue_ref *ref = call->user;

    ref->id       = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_ID]);
    ref->workflow = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_WORKFLOW]) != 0;
    return PGQRS_OK;
}

static void restart_ref(pgqrs__call *call)
{
    *(pgqrs__queue_ref *)call->user = (pgqrs__queue_ref){ 0 };
}

/* Ask the database, and remember. out->id is 0 when there is no queue of this name. */
static pgqrs_status ref_ask(pgqrs_store *store, const char *name, pgqrs__queue_ref *out,
                            pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_QUEUE_FIND_NAME] = pgqrs__text(name) };
    pgqrs__call      call   = {
               .stmt    = PGQRS__STMT_QUEUE_FIND,
               .scalars = args,
               .on_row  = take_ref,
               .user    = out,
               .restart = restart_ref,
    };
    pgqrs_status rc;

    *out = (pgqrs__queue_ref){ 0 };
    rc   = pgqrs__run(store, PGQRS__MODE_READ, &call, 1, error);
    if (rc != PGQRS_OK)
        return rc;
    if (out->id != 0)
        pgqrs__queue_ref_put(store, name, *out);
    else
        pgqrs__queue_ref_forget(store, name);
    return PGQRS_OK;
}

bool pgqrs__queue_ref_known(pgqrs_store *store, const char *name, pgqrs__queue_ref *out)
{
    int64_t cached;
    bool    known;

    pgqrs__mutex_lock(&store->lock);
    known = pgqrs__smap_get(&store->queue_ids, name, &cached);
    pgqrs__mutex_unlock(&store->lock);
    if (known)
        *out = (pgqrs__queue_ref){ .id = cached / 2, .workflow = cached % 2 != 0 };
    return known;
}

pgqrs_status pgqrs__queue_ref_get(pgqrs_store *store, const char *name, pgqrs_object object,
                                  pgqrs__queue_ref *out, pgqrs_error *error)
{
    pgqrs_status rc;

    if (pgqrs__queue_ref_known(store, name, out))
        return PGQRS_OK;
    rc = ref_ask(store, name, out, error);
    if (rc == PGQRS_OK && out->id == 0)
        return pgqrs__queue_missing(name, object, error);
    return rc;
}

pgqrs_status pgqrs__queue_named(pgqrs_store *store, const char *name, pgqrs_object object,
                                pgqrs__queue_ref *out, pgqrs_error *error)
{
    bool         workflow = object == PGQRS_OBJECT_WORKFLOW;
    pgqrs_status rc;

    rc = pgqrs__check_name(name, workflow ? "workflow" : "queue", object, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = ref_ask(store, name, out, error);
    if (rc != PGQRS_OK)
        return rc;
    if (out->id == 0)
        return pgqrs__queue_missing(name, object, error);
    if (workflow && !out->workflow) {
        rc = pgqrs__queue_missing(name, object, error);
        pgqrs__hint(error, "There is a queue of this name.");
    }
    return rc;
}

pgqrs__queue_state *pgqrs__queue_state_get(pgqrs_store *store, int64_t queue_id)
{
    pgqrs__queue_state *state = pgqrs__map_get(&store->queues, (uint64_t)queue_id);

    if (state != NULL)
        return state;
    state = pgqrs__calloc(1, sizeof(*state));
    if (state == NULL)
        return NULL;
    state->id = queue_id;
    if (!pgqrs__map_put(&store->queues, (uint64_t)queue_id, state)) {
        pgqrs__free(state);
        return NULL;
    }
    return state;
}

/* --- Settings --------------------------------------------------------------------------------- */

/* Ranges; 0 is allowed everywhere and stays 0. */
static pgqrs_status settings_read(pgqrs_queue_options *options, const pgqrs_queue_options *given,
                                  pgqrs_error *error)
{
    pgqrs_status rc;

    if ((rc = PGQRS__OPTIONS_READ(options, given, "queue", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_attempts, 0, PGQRS__ATTEMPTS_MAX, "max_attempts",
                                    error))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options->backoff_us, "backoff_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options->backoff_max_us, "backoff_max_us", error))
               != PGQRS_OK)
        return rc;
    if (options->retention_us != PGQRS_FOREVER
        && (rc = pgqrs__check_duration(options->retention_us, "retention_us", error)) != PGQRS_OK)
        return rc;
    /* Written so that NaN is refused. */
    if (options->backoff_factor != 0
        && !(options->backoff_factor >= 1 && options->backoff_factor <= FACTOR_MAX))
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                           "backoff_factor is %g, outside 1 to %g", options->backoff_factor,
                           FACTOR_MAX);
    return PGQRS_OK;
}

static void settings_default(pgqrs_queue_options *options, const pgqrs_store *store)
{
    if (options->lease_us == 0)
        options->lease_us = LEASE_US;
    if (options->max_attempts == 0)
        options->max_attempts = store->options.max_attempts;
    if (options->backoff_us == 0)
        options->backoff_us = BACKOFF_US;
    if (options->backoff_factor == 0)
        options->backoff_factor = BACKOFF_FACTOR;
    if (options->backoff_max_us == 0)
        options->backoff_max_us = BACKOFF_MAX_US;
    if (options->retention_us == 0)
        options->retention_us = RETENTION_US;
}

static pgqrs__val retention_value(int64_t retention_us)
{
    return retention_us == PGQRS_FOREVER ? pgqrs__null() : pgqrs__int_or_null(retention_us);
}

/* --- Creating --------------------------------------------------------------------------------- */

/* *out_id is 0 when the name is taken. */
static pgqrs_status insert(pgqrs_store *store, const char *name, bool workflow,
                           const pgqrs_queue_options *options, int64_t *out_id, pgqrs_error *error)
{
    const pgqrs__val args[] = {
        [PGQRS__ARG_QUEUE_INSERT_NAME]           = pgqrs__text(name),
        [PGQRS__ARG_QUEUE_INSERT_WORKFLOW]       = pgqrs__int(workflow),
        [PGQRS__ARG_QUEUE_INSERT_LEASE_US]       = pgqrs__int(options->lease_us),
        [PGQRS__ARG_QUEUE_INSERT_MAX_ATTEMPTS]   = pgqrs__int(options->max_attempts),
        [PGQRS__ARG_QUEUE_INSERT_BACKOFF_US]     = pgqrs__int(options->backoff_us),
        [PGQRS__ARG_QUEUE_INSERT_BACKOFF_FACTOR] = pgqrs__real(options->backoff_factor),
        [PGQRS__ARG_QUEUE_INSERT_BACKOFF_MAX_US] = pgqrs__int(options->backoff_max_us),
        [PGQRS__ARG_QUEUE_INSERT_RETENTION_US]   = retention_value(options->retention_us),
        [PGQRS__ARG_QUEUE_INSERT_NOW]            = pgqrs__now(store, 0),
    };

    return pgqrs__write_int(store, PGQRS__STMT_QUEUE_INSERT, args, out_id, error);
}

static pgqrs_status name_taken(const char *name, bool workflow, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_EEXISTS, workflow ? PGQRS_OBJECT_WORKFLOW : PGQRS_OBJECT_QUEUE,
                "the name \"%s\" is taken by a %s", name, workflow ? "workflow" : "queue");
    pgqrs__hint(error, "Queues and workflows share their names: choose another one.");
    return PGQRS_EEXISTS;
}

/* Whether the queue of this name is as it was to be made. */
typedef struct likeness {
    const pgqrs_queue_options *options;
    bool                       same;
} likeness;

static pgqrs_status take_likeness(pgqrs__call *call, const pgqrs__val *cols)
{
    likeness                  *into = call->user;
    const pgqrs_queue_options *o    = into->options;
    const pgqrs__val           kept = retention_value(o->retention_us);
    const pgqrs__val           has  = cols[PGQRS__COL_QUEUE_FIND_RETENTION_US];

    into->same = pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_LEASE_US]) == o->lease_us
                 && pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_MAX_ATTEMPTS]) == o->max_attempts
                 && pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_BACKOFF_US]) == o->backoff_us
                 && pgqrs__as_int(cols[PGQRS__COL_QUEUE_FIND_BACKOFF_MAX_US]) == o->backoff_max_us
                 && has.kind == kept.kind && pgqrs__as_int(has) == pgqrs__as_int(kept);
    return PGQRS_OK;
}

/* After a lost answer: a queue that was not there before, and is what we asked for, we have made.
 */
static pgqrs_status was_made(pgqrs_store *store, const char *name,
                             const pgqrs_queue_options *options, pgqrs__lost *lost, bool *out_made,
                             pgqrs_error *error)
{
    const pgqrs__val args[] = { [PGQRS__ARG_QUEUE_FIND_NAME] = pgqrs__text(name) };
    likeness         found  = { .options = options };
    pgqrs_status     rc;

    do
        rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_QUEUE_FIND, args, take_likeness,
                            &found, error);
    while (rc != PGQRS_OK && pgqrs__lost_again(lost, rc, error));
    *out_made = found.same;
    return rc;
}

/* Find it, or make it. *out_ref is empty when the name was freed and taken in this instant. */
static pgqrs_status find_or_insert(pgqrs_store *store, const char *name, bool workflow,
                                   const pgqrs_queue_options *options, bool *out_created,
                                   pgqrs__queue_ref *out_ref, pgqrs_error *error)
{
    pgqrs_status rc = ref_ask(store, name, out_ref, error);

    if (rc != PGQRS_OK)
        return rc;
    if (out_ref->id != 0)
        return out_ref->workflow == workflow ? PGQRS_OK
                                             : name_taken(name, out_ref->workflow, error);
    rc = insert(store, name, workflow, options, &out_ref->id, error);
    if (rc != PGQRS_OK || out_ref->id == 0)
        return rc;
    out_ref->workflow = workflow;
    *out_created      = true;
    pgqrs__queue_ref_put(store, name, *out_ref);
    return PGQRS_OK;
}

pgqrs_status pgqrs__queue_make(pgqrs_store *store, const char *name, bool workflow,
                               const pgqrs_queue_options *given, bool *out_created,
                               pgqrs__queue_ref *out_ref, pgqrs_error *error)
{
    pgqrs_object        object = workflow ? PGQRS_OBJECT_WORKFLOW : PGQRS_OBJECT_QUEUE;
    pgqrs__lost         lost   = { .deadline_us = pgqrs__deadline(store) };
    pgqrs_queue_options options;
    pgqrs_error         own;
    pgqrs_status        rc;

    if (error == NULL)
        error = &own;
    *out_created = false;
    *out_ref     = (pgqrs__queue_ref){ 0 };
    rc           = pgqrs__check_name(name, workflow ? "workflow" : "queue", object, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = settings_read(&options, given, error);
    if (rc != PGQRS_OK)
        return rc;
    settings_default(&options, store);

    for (int tries = 0; tries < TRIES;) {
        rc = find_or_insert(store, name, workflow, &options, out_created, out_ref, error);
        if (rc != PGQRS_OK) {
            if (!pgqrs__lost_again(&lost, rc, error))
                return rc;
        } else if (out_ref->id != 0) {
            return lost.once && !*out_created
                       ? was_made(store, name, &options, &lost, out_created, error)
                       : PGQRS_OK;
        } else {
            tries++;
        }
    }
    return pgqrs__fail(error, PGQRS_EBUSY, object,
                       "the name \"%s\" is being created and deleted by others", name);
}

pgqrs_status pgqrs_queue_create(pgqrs_store *store, const char *queue,
                                const pgqrs_queue_options *options, pgqrs_error *error)
{
    pgqrs__queue_ref ref;
    pgqrs_status     rc;
    bool             created;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__queue_make(store, queue, false, options, &created, &ref, error);
    if (rc != PGQRS_OK || created)
        return rc;
    pgqrs__fail(error, PGQRS_EEXISTS, PGQRS_OBJECT_QUEUE, "queue \"%s\" exists already", queue);
    pgqrs__hint(error, "pgqrs_queue_ensure() accepts a queue that is there.");
    return PGQRS_EEXISTS;
}

static pgqrs_status ensure(pgqrs_store *store, const char *name, bool workflow,
                           const pgqrs_queue_options *options, pgqrs_error *error)
{
    pgqrs__queue_ref ref;
    pgqrs_status     rc;
    bool             created;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    return pgqrs__queue_make(store, name, workflow, options, &created, &ref, error);
}

pgqrs_status pgqrs_queue_ensure(pgqrs_store *store, const char *queue,
                                const pgqrs_queue_options *options, pgqrs_error *error)
{
    return ensure(store, queue, false, options, error);
}

pgqrs_status pgqrs_workflow_ensure(pgqrs_store *store, const char *workflow,
                                   const pgqrs_queue_options *options, pgqrs_error *error)
{
    return ensure(store, workflow, true, options, error);
}

/* --- Changing --------------------------------------------------------------------------------- */

/* Run a statement that answers with a row if the queue lives; its id goes into args[0] and *out_id.
 */
static pgqrs_status change(pgqrs_store *store, const char *queue, pgqrs__stmt stmt,
                           pgqrs__val *args, int64_t *out_id, pgqrs_error *error)
{
    /* Twice: it may have been deleted, and another one created, since its id was asked for. */
    for (int tries = 0; tries < 2; tries++) {
        pgqrs__queue_ref ref;
        pgqrs_status     rc = pgqrs__queue_named(store, queue, PGQRS_OBJECT_QUEUE, &ref, error);

        if (rc != PGQRS_OK)
            return rc;
        args[0] = pgqrs__int(ref.id);
        rc      = pgqrs__write_int_again(store, stmt, args, out_id, error);
        if (rc != PGQRS_OK || *out_id != 0)
            return rc;
    }
    pgqrs__queue_ref_forget(store, queue);
    return pgqrs__queue_missing(queue, PGQRS_OBJECT_QUEUE, error);
}

pgqrs_status pgqrs_queue_configure(pgqrs_store *store, const char *queue,
                                   const pgqrs_queue_options *given, pgqrs_error *error)
{
    pgqrs_queue_options options;
    pgqrs_status        rc;
    int64_t             id;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    rc = settings_read(&options, given, error);
    if (rc != PGQRS_OK)
        return rc;

    pgqrs__val args[] = {
        [PGQRS__ARG_QUEUE_CONFIGURE_LEASE_US]     = pgqrs__int_or_null(options.lease_us),
        [PGQRS__ARG_QUEUE_CONFIGURE_MAX_ATTEMPTS] = pgqrs__int_or_null(options.max_attempts),
        [PGQRS__ARG_QUEUE_CONFIGURE_BACKOFF_US]   = pgqrs__int_or_null(options.backoff_us),
        [PGQRS__ARG_QUEUE_CONFIGURE_BACKOFF_FACTOR] =
            options.backoff_factor == 0 ? pgqrs__null() : pgqrs__real(options.backoff_factor),
        [PGQRS__ARG_QUEUE_CONFIGURE_BACKOFF_MAX_US] = pgqrs__int_or_null(options.backoff_max_us),
        [PGQRS__ARG_QUEUE_CONFIGURE_RETENTION_US]   = retention_value(options.retention_us),
        [PGQRS__ARG_QUEUE_CONFIGURE_KEEP_FOR_EVER] =
            pgqrs__int(options.retention_us == PGQRS_FOREVER),
    };
    return change(store, queue, PGQRS__STMT_QUEUE_CONFIGURE, args, &id, error);
}

pgqrs_status pgqrs_queue_pause(pgqrs_store *store, const char *queue, pgqrs_error *error)
{
    pgqrs_status rc;
    int64_t      id;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    pgqrs__val args[] = { [PGQRS__ARG_QUEUE_PAUSE_NOW] = pgqrs__now(store, 0) };

    return change(store, queue, PGQRS__STMT_QUEUE_PAUSE, args, &id, error);
}

pgqrs_status pgqrs_queue_resume(pgqrs_store *store, const char *queue, pgqrs_error *error)
{
    pgqrs__val   args[PGQRS__ARG_QUEUE_RESUME_QUEUE + 1];
    pgqrs_status rc;
    int64_t      id;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    rc = change(store, queue, PGQRS__STMT_QUEUE_RESUME, args, &id, error);
    if (rc == PGQRS_OK)
        pgqrs__wake(store, id);
    return rc;
}

/* --- Emptying and deleting -------------------------------------------------------------------- */

pgqrs_status pgqrs_queue_purge(pgqrs_store *store, const char *queue, int64_t *out_count,
                               pgqrs_error *error)
{
    pgqrs__queue_ref ref;
    pgqrs_status     rc;
    int64_t          total = 0;

    if (out_count != NULL)
        *out_count = 0;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    rc = pgqrs__queue_named(store, queue, PGQRS_OBJECT_QUEUE, &ref, error);
    if (rc != PGQRS_OK)
        return rc;

    const pgqrs__val args[] = {
        [PGQRS__ARG_QUEUE_PURGE_QUEUE]    = pgqrs__int(ref.id),
        [PGQRS__ARG_QUEUE_PURGE_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
    };
    rc = pgqrs__write_all(store, PGQRS__STMT_QUEUE_PURGE, args, &total, error);
    if (out_count != NULL)
        *out_count = total;
    return rc;
}

static pgqrs_status take_any(pgqrs__call *call, const pgqrs__val *cols)
{
    (void)cols;
    *(int64_t *)call->user = 1;
    return PGQRS_OK;
}

/* Delete the queue; by force with a portion of what it holds, leases among it, in the same commit.
 * *out_id is 0 when it was not there, or something is leased. */
static pgqrs_status delete_once(pgqrs_store *store, int64_t queue_id, bool force, int64_t *out_id,
                                pgqrs_error *error)
{
    const pgqrs__val delete_args[] = {
        [PGQRS__ARG_QUEUE_DELETE_QUEUE] = pgqrs__int(queue_id),
        [PGQRS__ARG_QUEUE_DELETE_FORCE] = pgqrs__int(force),
        [PGQRS__ARG_QUEUE_DELETE_NOW]   = pgqrs__now(store, 0),
    };
    const pgqrs__val sweep_args[] = {
        [PGQRS__ARG_QUEUE_SWEEP_QUEUE]    = pgqrs__int(queue_id),
        [PGQRS__ARG_QUEUE_SWEEP_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
    };
    pgqrs__call calls[] = {
        { .stmt    = PGQRS__STMT_QUEUE_DELETE,
          .scalars = delete_args,
          .on_row  = pgqrs__row_int,
          .user    = out_id,
          .restart = pgqrs__restart_int },
        { .stmt = PGQRS__STMT_QUEUE_SWEEP, .scalars = sweep_args },
    };

    *out_id = 0;
    return pgqrs__run(store, PGQRS__MODE_WRITE, calls, force ? 2 : 1, error);
}

/* Sweep a queue that was deleted by force until nothing of it is leased: its holders are to hear of
 * it when they write next. What fails here is swept later, and its leases pass. */
static void drop_leases(pgqrs_store *store, int64_t queue_id)
{
    const pgqrs__val list[] = {
        [PGQRS__ARG_MESSAGE_LIST_LEASED_QUEUE]    = pgqrs__int(queue_id),
        [PGQRS__ARG_MESSAGE_LIST_LEASED_AFTER_ID] = pgqrs__int(0),
        [PGQRS__ARG_MESSAGE_LIST_LEASED_MAX_ROWS] = pgqrs__int(1),
    };
    const pgqrs__val sweep[] = {
        [PGQRS__ARG_QUEUE_SWEEP_QUEUE]    = pgqrs__int(queue_id),
        [PGQRS__ARG_QUEUE_SWEEP_MAX_ROWS] = pgqrs__int(PGQRS__SWEEP_ROWS),
    };

    for (int portions = 0; portions < LEASE_PORTIONS; portions++) {
        pgqrs_error  error;
        pgqrs_status rc;
        int64_t      any = 0;
        int64_t      removed;

        rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_MESSAGE_LIST_LEASED, list,
                            take_any, &any, &error);
        if (rc == PGQRS_OK && any == 0)
            return;
        if (rc == PGQRS_OK)
            rc = pgqrs__write_int(store, PGQRS__STMT_QUEUE_SWEEP, sweep, &removed, &error);
        if (rc != PGQRS_OK) {
            pgqrs__log(store, PGQRS_LOG_WARNING,
                       "queue %" PRId64 " is deleted, but some of its leases stand: %s", queue_id,
                       error.message);
            return;
        }
    }
}

static pgqrs_status deletion_done(pgqrs_store *store, int64_t queue_id, bool force,
                                  pgqrs_error *error)
{
    if (force)
        drop_leases(store, queue_id);
    pgqrs__wake(store, queue_id); /* who waits for a message there hears that it is gone */
    return pgqrs__ok(error);
}

pgqrs_status pgqrs_queue_delete(pgqrs_store *store, const char *queue, bool force,
                                pgqrs_error *error)
{
    pgqrs__lost  lost       = { 0 };
    int64_t      refused_id = 0; /* it was not deleted, though it was there just before */
    int64_t      lost_id    = 0; /* the answer was lost: it is deleted unless it is still there */
    pgqrs_error  own;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK)
        return rc;
    lost.deadline_us = pgqrs__deadline(store);
    for (int tries = 0; tries < TRIES;) {
        pgqrs__queue_ref ref;
        int64_t          deleted;

        rc = pgqrs__queue_named(store, queue, PGQRS_OBJECT_QUEUE, &ref, error);
        if (lost_id != 0 && (rc == PGQRS_ENOTFOUND || (rc == PGQRS_OK && ref.id != lost_id)))
            return deletion_done(store, lost_id, force, error);
        if (rc == PGQRS_OK && ref.id == refused_id) {
            pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_QUEUE, "queue \"%s\" has leased messages",
                        queue);
            pgqrs__hint(error, "Wait for their holders to finish, or delete it by force.");
            return PGQRS_ESTATE;
        }
        if (rc == PGQRS_OK) {
            rc = delete_once(store, ref.id, force, &deleted, error);
            pgqrs__queue_ref_forget(store, queue);
        }
        if (rc != PGQRS_OK) {
            if (!pgqrs__lost_again(&lost, rc, error))
                return rc;
            if (lost_id == 0)
                lost_id = ref.id;
            continue;
        }
        if (deleted != 0)
            return deletion_done(store, ref.id, force, error);
        refused_id = ref.id; /* something is leased, or it went now: the name will tell */
        tries++;
    }
    return pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_QUEUE,
                       "queue \"%s\" is being created and deleted by others", queue);
}
