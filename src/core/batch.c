/* Batches: operations that travel together, and their results. */
#include "core/batch.h"
#include "core/crew.h"

/* --- Making ----------------------------------------------------------------------------------- */

static const pgqrs_error no_memory = { .status = PGQRS_ENOMEM, .message = "out of memory" };
static const pgqrs_error none      = { .status = PGQRS_EINVAL, .message = "no such operation" };
static const pgqrs_error success   = { .status = PGQRS_OK };
static const pgqrs_error not_done  = { .status  = PGQRS_ENOTREADY,
                                       .message = "the batch is not done" };

pgqrs_batch *pgqrs_batch_new(pgqrs_store *store)
{
    pgqrs_batch *batch = pgqrs__calloc(1, sizeof(*batch));

    if (batch == NULL)
        return NULL;
    batch->store = store;
    pgqrs__arena_init(&batch->arena);
    (void)pgqrs__enter(store, &batch->error);
    return batch;
}

void pgqrs__result_free(pgqrs__result *result)
{
    switch (result->handed) {
    case PGQRS__HANDED_NOTHING:
        break;
    case PGQRS__HANDED_MESSAGES:
        pgqrs_messages_free(result->object);
        break;
    case PGQRS__HANDED_RECORDS:
    case PGQRS__HANDED_QUEUES:
    case PGQRS__HANDED_WORKERS:
    case PGQRS__HANDED_RUNS:
    case PGQRS__HANDED_STEPS:
        pgqrs__rows_free(result->object);
        break;
    case PGQRS__HANDED_RUN:
        pgqrs_run_free(result->object);
        break;
    case PGQRS__HANDED_STORE:
        pgqrs_close(result->object);
        break;
    }
    result->handed = PGQRS__HANDED_NOTHING;
    result->object = NULL;
}

void pgqrs_batch_free(pgqrs_batch *batch)
{
    if (batch == NULL)
        return;
    if (batch->has_opener)
        pgqrs__thread_join(&batch->opener);
    for (size_t i = 0; i < batch->count; i++) {
        pgqrs__item *item = &batch->items[i];

        if (item->task != NULL) {
            pgqrs__result_free(&item->task->result);
            pgqrs__task_clean(item->task);
        }
        pgqrs__free(item->error);
    }
    if (batch->atomic != NULL)
        pgqrs__task_clean(batch->atomic);
    pgqrs__free(batch->items);
    pgqrs__arena_free(&batch->arena);
    pgqrs__free(batch);
}

void pgqrs_batch_independent(pgqrs_batch *batch)
{
    if (batch == NULL)
        return;
    if (batch->count > 0 && batch->error.status == PGQRS_OK)
        pgqrs__fail(&batch->error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                    "pgqrs_batch_independent() was called after the first operation");
    batch->independent = true;
}

size_t pgqrs_batch_count(const pgqrs_batch *batch)
{
    return batch == NULL ? 0 : batch->count;
}

/* --- Adding ----------------------------------------------------------------------------------- */

bool pgqrs__batch_adds(pgqrs_batch *batch, const char *what, bool atomic, pgqrs_error *error)
{
    if (batch == NULL || batch->stage != PGQRS__BATCH_OPEN)
        return false;
    pgqrs__ok(error);
    if (batch->error.status != PGQRS_OK) {
        *error = batch->error;
        return false;
    }
    if (!batch->independent && !atomic) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "%s is not for an atomic batch", what);
        pgqrs__hint(error, "Call pgqrs_batch_independent() before the first operation.");
        return false;
    }
    return true;
}

size_t pgqrs__batch_add(pgqrs_batch *batch, pgqrs__task *task, const pgqrs_error *error)
{
    if (batch == NULL || batch->stage != PGQRS__BATCH_OPEN)
        return PGQRS_NO_OPERATION;
    if (batch->count == batch->cap) {
        size_t       cap   = batch->cap == 0 ? 8 : batch->cap * 2;
        pgqrs__item *items = pgqrs__realloc(batch->items, cap * sizeof(*items));

        if (items == NULL) {
            if (task != NULL)
                pgqrs__task_clean(task);
            batch->error = no_memory;
            return PGQRS_NO_OPERATION;
        }
        batch->items = items;
        batch->cap   = cap;
    }
    batch->items[batch->count] = (pgqrs__item){ .task = task, .status = PGQRS_ENOTREADY };
    if (task != NULL) {
        task->batch = batch;
        task->index = batch->count;
    } else {
        pgqrs__batch_result(batch, batch->count, error->status, error);
    }
    return batch->count++;
}

void pgqrs__batch_result(pgqrs_batch *batch, size_t index, pgqrs_status status,
                         const pgqrs_error *error)
{
    pgqrs__item *item = &batch->items[index];

    item->status = status;
    if (status == PGQRS_OK)
        return;
    if (item->error == NULL)
        item->error = pgqrs__alloc(sizeof(*item->error));
    if (item->error == NULL) /* the status still stands */
        return;
    *item->error        = *error;
    item->error->status = status;
}

/* --- Sending ---------------------------------------------------------------------------------- */

static pgqrs_status fail_as_item(const pgqrs_batch *batch, size_t index, pgqrs_error *error)
{
    const pgqrs_error *own = pgqrs_batch_error(batch, index);
    char               detail[sizeof(own->detail)];

    if (error == NULL)
        return batch->items[index].status;
    *error        = *own;
    error->status = batch->items[index].status;
    memcpy(detail, own->detail, sizeof(detail));
    if (detail[0] == '\0')
        pgqrs__detail(error, "operation %zu", index);
    else
        pgqrs__detail(error, "operation %zu: %s", index, detail);
    return error->status;
}

/* The first operation that was refused; count when none was. */
static size_t first_refused(const pgqrs_batch *batch)
{
    size_t i = 0;

    while (i < batch->count && batch->items[i].task != NULL)
        i++;
    return i;
}

/* Whether a batch can be sent as it is. */
static pgqrs_status check(pgqrs_batch *batch, pgqrs_error *error)
{
    size_t       refused;
    pgqrs_status rc;

    if (batch == NULL)
        return pgqrs__nomem(error);
    if (batch->stage != PGQRS__BATCH_OPEN)
        return pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_NONE, "the batch was used before");
    rc = batch->error.status;
    if (rc != PGQRS_OK) {
        if (error != NULL)
            *error = batch->error;
        return rc;
    }
    rc = pgqrs__enter(batch->store, error);
    if (rc != PGQRS_OK || batch->independent)
        return rc;
    refused = first_refused(batch);
    return refused == batch->count ? PGQRS_OK : fail_as_item(batch, refused, error);
}

/* The tasks that carry a batch, chained; NULL when there is nothing to do, or (*rc) no memory. */
static pgqrs__task *tasks_of(pgqrs_batch *batch, pgqrs_status *rc, pgqrs_error *error)
{
    pgqrs__task *first = NULL;

    *rc = PGQRS_OK;
    if (!batch->independent) {
        if (batch->count > 0 && (batch->atomic = pgqrs__atomic_task(batch)) == NULL)
            *rc = pgqrs__nomem(error);
        return batch->atomic;
    }
    for (size_t i = batch->count; i-- > 0;) {
        pgqrs__task *task = batch->items[i].task;

        if (task == NULL)
            continue;
        task->next = first;
        first      = task;
    }
    return first;
}

/* What commit says of independent operations: the first failure. */
static pgqrs_status outcome(const pgqrs_batch *batch, pgqrs_error *error)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].status != PGQRS_OK)
            return fail_as_item(batch, i, error);
    return pgqrs__ok(error);
}

pgqrs_status pgqrs_batch_commit(pgqrs_batch *batch, pgqrs_error *error)
{
    pgqrs_error  own;
    pgqrs_status rc;
    pgqrs__task *tasks;

    if (error == NULL)
        error = &own;
    rc = check(batch, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__tx_guard(batch->store, error);
    if (rc == PGQRS_OK && batch->independent
        && (rc = pgqrs__not_adopted(batch->store, "an independent batch", error)) == PGQRS_OK)
        rc = pgqrs__crew_start(batch->store, error);
    if (rc != PGQRS_OK)
        return rc;
    tasks = tasks_of(batch, &rc, error);
    if (rc != PGQRS_OK)
        return rc;
    batch->stage = PGQRS__BATCH_UNDER_WAY;
    if (tasks != NULL && !batch->independent) {
        rc           = pgqrs__task_run(tasks, error);
        batch->stage = PGQRS__BATCH_BACK;
        return rc;
    }
    if (tasks != NULL) {
        pgqrs__crew_submit(batch->store, tasks, pgqrs__deadline(batch->store));
        pgqrs__crew_wait(batch->store, batch);
    }
    batch->stage = PGQRS__BATCH_BACK;
    return outcome(batch, error);
}

pgqrs_status pgqrs_batch_submit(pgqrs_batch *batch, pgqrs_completions *completions, void *user_data,
                                pgqrs_error *error)
{
    pgqrs_status rc;
    pgqrs__task *tasks;

    if ((rc = pgqrs__check_pointer(completions, "completions", error)) != PGQRS_OK
        || (rc = check(batch, error)) != PGQRS_OK
        || (rc = pgqrs__not_adopted(batch->store, "pgqrs_batch_submit()", error)) != PGQRS_OK
        || (rc = pgqrs__crew_start(batch->store, error)) != PGQRS_OK)
        return rc;
    tasks = tasks_of(batch, &rc, error);
    if (rc != PGQRS_OK)
        return rc;
    batch->completions = completions;
    batch->user_data   = user_data;
    batch->stage       = PGQRS__BATCH_UNDER_WAY;
    pgqrs__completions_expect(completions, batch);
    if (tasks != NULL) {
        pgqrs__crew_submit(batch->store, tasks, pgqrs__deadline(batch->store));
    } else { /* nothing to do */
        batch->stage = PGQRS__BATCH_BACK;
        pgqrs__completions_push(completions, batch);
    }
    return pgqrs__ok(error);
}

void pgqrs_batch_hurry(pgqrs_batch *batch)
{
    if (batch != NULL && batch->store != NULL)
        pgqrs__crew_hurry(batch->store, batch);
}

/* --- Results ---------------------------------------------------------------------------------- */

/* The result of an operation that is done; NULL: there is none. */
static pgqrs__result *result_of(const pgqrs_batch *batch, size_t index)
{
    if (batch == NULL || batch->stage != PGQRS__BATCH_BACK || index >= batch->count
        || batch->items[index].task == NULL)
        return NULL;
    return &batch->items[index].task->result;
}

pgqrs_status pgqrs_batch_status(const pgqrs_batch *batch, size_t operation)
{
    if (batch == NULL)
        return PGQRS_ENOMEM;
    if (operation >= batch->count)
        return batch->error.status != PGQRS_OK ? batch->error.status : PGQRS_EINVAL;
    if (batch->stage == PGQRS__BATCH_UNDER_WAY)
        return PGQRS_ENOTREADY;
    return batch->items[operation].status;
}

const pgqrs_error *pgqrs_batch_error(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__item *item;

    if (batch == NULL)
        return &no_memory;
    if (operation >= batch->count)
        return batch->error.status != PGQRS_OK ? &batch->error : &none;
    item = &batch->items[operation];
    if (batch->stage == PGQRS__BATCH_UNDER_WAY || item->status == PGQRS_ENOTREADY)
        return item->error != NULL ? item->error : &not_done;
    if (item->status == PGQRS_OK)
        return &success;
    return item->error != NULL ? item->error : &no_memory;
}

int64_t pgqrs_batch_id(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__result *result = result_of(batch, operation);

    return result == NULL ? 0 : result->id;
}

const int64_t *pgqrs_batch_ids(const pgqrs_batch *batch, size_t operation, size_t *out_count)
{
    const pgqrs__result *result = result_of(batch, operation);

    if (out_count != NULL)
        *out_count = result == NULL ? 0 : result->id_count;
    return result == NULL ? NULL : result->ids;
}

bool pgqrs_batch_existed(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__result *result = result_of(batch, operation);

    return result != NULL && result->existed;
}

int64_t pgqrs_batch_number(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__result *result = result_of(batch, operation);

    return result == NULL ? 0 : result->number;
}

pgqrs_state pgqrs_batch_state(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__result *result = result_of(batch, operation);

    return result == NULL ? (pgqrs_state)0 : result->state;
}

pgqrs_step *pgqrs_batch_step(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__result *result = result_of(batch, operation);

    return result == NULL ? NULL : result->step;
}

const pgqrs_queue_metrics *pgqrs_batch_metrics(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__result *result = result_of(batch, operation);

    return result == NULL ? NULL : result->metrics;
}

const pgqrs_worker_health *pgqrs_batch_health(const pgqrs_batch *batch, size_t operation)
{
    const pgqrs__result *result = result_of(batch, operation);

    return result == NULL ? NULL : result->health;
}

static void *take(pgqrs_batch *batch, size_t operation, pgqrs__handed what)
{
    pgqrs__result *result = result_of(batch, operation);
    void          *object;

    if (result == NULL || result->handed != what)
        return NULL;
    object         = result->object;
    result->handed = PGQRS__HANDED_NOTHING;
    result->object = NULL;
    return object;
}

pgqrs_messages *pgqrs_batch_take_messages(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_MESSAGES);
}

pgqrs_records *pgqrs_batch_take_records(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_RECORDS);
}

pgqrs_queues *pgqrs_batch_take_queues(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_QUEUES);
}

pgqrs_worker_records *pgqrs_batch_take_workers(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_WORKERS);
}

pgqrs_run_records *pgqrs_batch_take_runs(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_RUNS);
}

pgqrs_step_records *pgqrs_batch_take_steps(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_STEPS);
}

pgqrs_run *pgqrs_batch_take_run(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_RUN);
}

pgqrs_store *pgqrs_batch_take_store(pgqrs_batch *batch, size_t operation)
{
    return take(batch, operation, PGQRS__HANDED_STORE);
}
