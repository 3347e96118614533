/* Operations of batches that administrate: the store, queues, workers. */
#include "core/batch_call.h"

/* --- The store -------------------------------------------------------------------------------- */

static pgqrs_status call_install(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_install(c->task.store, error);
}

size_t pgqrs_batch_install(pgqrs_batch *batch)
{
    return pgqrs__call_named(batch, "pgqrs_batch_install()", call_install, NULL);
}

static pgqrs_status call_verify(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_verify(c->task.store, error);
}

size_t pgqrs_batch_verify(pgqrs_batch *batch)
{
    return pgqrs__call_named(batch, "pgqrs_batch_verify()", call_verify, NULL);
}

/* --- Queues ----------------------------------------------------------------------------------- */

/* A call with a name and options. */
static size_t add_queue_call(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                             const char *name, const pgqrs_queue_options *options)
{
    pgqrs_error       error;
    pgqrs__call_task *c = pgqrs__call_new(batch, what, call, name, NULL, &error);

    if (c != NULL && PGQRS__OPTIONS_READ(&c->options.queue, options, "queue", &error) != PGQRS_OK)
        c = NULL;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_queue_create(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_queue_create(c->task.store, c->name, &c->options.queue, error);
}

size_t pgqrs_batch_queue_create(pgqrs_batch *batch, const char *queue,
                                const pgqrs_queue_options *options)
{
    return add_queue_call(batch, "pgqrs_batch_queue_create()", call_queue_create, queue, options);
}

static pgqrs_status call_queue_ensure(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_queue_ensure(c->task.store, c->name, &c->options.queue, error);
}

size_t pgqrs_batch_queue_ensure(pgqrs_batch *batch, const char *queue,
                                const pgqrs_queue_options *options)
{
    return add_queue_call(batch, "pgqrs_batch_queue_ensure()", call_queue_ensure, queue, options);
}

static pgqrs_status call_workflow_ensure(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_workflow_ensure(c->task.store, c->name, &c->options.queue, error);
}

size_t pgqrs_batch_workflow_ensure(pgqrs_batch *batch, const char *workflow,
                                   const pgqrs_queue_options *options)
{
    return add_queue_call(batch, "pgqrs_batch_workflow_ensure()", call_workflow_ensure, workflow,
                          options);
}

static pgqrs_status call_queue_configure(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_queue_configure(c->task.store, c->name, &c->options.queue, error);
}

size_t pgqrs_batch_queue_configure(pgqrs_batch *batch, const char *queue,
                                   const pgqrs_queue_options *options)
{
    return add_queue_call(batch, "pgqrs_batch_queue_configure()", call_queue_configure, queue,
                          options);
}

static pgqrs_status call_queue_get(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_queues *out = NULL;
    pgqrs_status  rc  = pgqrs_queue_get(c->task.store, c->name, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_QUEUES, out);
    return rc;
}

size_t pgqrs_batch_queue_get(pgqrs_batch *batch, const char *queue)
{
    return pgqrs__call_named(batch, "pgqrs_batch_queue_get()", call_queue_get, queue);
}

static pgqrs_status call_queue_list(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_queues *out = NULL;
    pgqrs_status  rc  = pgqrs_queue_list(c->task.store, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_QUEUES, out);
    return rc;
}

size_t pgqrs_batch_queue_list(pgqrs_batch *batch)
{
    return pgqrs__call_named(batch, "pgqrs_batch_queue_list()", call_queue_list, NULL);
}

static pgqrs_status call_queue_delete(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_queue_delete(c->task.store, c->name, c->flag, error);
}

size_t pgqrs_batch_queue_delete(pgqrs_batch *batch, const char *queue, bool force)
{
    pgqrs_error       error;
    pgqrs__call_task *c = pgqrs__call_new(batch, "pgqrs_batch_queue_delete()", call_queue_delete,
                                          queue, NULL, &error);

    if (c != NULL)
        c->flag = force;
    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_queue_purge(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_queue_purge(c->task.store, c->name, &c->task.result.number, error);
}

size_t pgqrs_batch_queue_purge(pgqrs_batch *batch, const char *queue)
{
    return pgqrs__call_named(batch, "pgqrs_batch_queue_purge()", call_queue_purge, queue);
}

static pgqrs_status call_queue_pause(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_queue_pause(c->task.store, c->name, error);
}

size_t pgqrs_batch_queue_pause(pgqrs_batch *batch, const char *queue)
{
    return pgqrs__call_named(batch, "pgqrs_batch_queue_pause()", call_queue_pause, queue);
}

static pgqrs_status call_queue_resume(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_queue_resume(c->task.store, c->name, error);
}

size_t pgqrs_batch_queue_resume(pgqrs_batch *batch, const char *queue)
{
    return pgqrs__call_named(batch, "pgqrs_batch_queue_resume()", call_queue_resume, queue);
}

static pgqrs_status call_queue_measure(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs_queue_measure(c->task.store, c->name, &c->measure.metrics, error);

    if (rc == PGQRS_OK)
        c->task.result.metrics = &c->measure.metrics;
    return rc;
}

size_t pgqrs_batch_queue_measure(pgqrs_batch *batch, const char *queue)
{
    return pgqrs__call_named(batch, "pgqrs_batch_queue_measure()", call_queue_measure, queue);
}

/* --- Workers ---------------------------------------------------------------------------------- */

static pgqrs_status call_worker_register(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_worker_register(c->task.store, c->name, c->second, &c->task.result.id, error);
}

size_t pgqrs_batch_worker_register(pgqrs_batch *batch, const char *name, const char *queue)
{
    pgqrs_error       error;
    pgqrs__call_task *c = pgqrs__call_new(batch, "pgqrs_batch_worker_register()",
                                          call_worker_register, name, queue, &error);

    return pgqrs__call_add(batch, c, &error);
}

static pgqrs_status call_worker_heartbeat(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_worker_heartbeat(c->task.store, c->ids, c->count, error);
}

size_t pgqrs_batch_worker_heartbeat(pgqrs_batch *batch, const int64_t *workers, size_t count)
{
    return pgqrs__call_ids(batch, "pgqrs_batch_worker_heartbeat()", call_worker_heartbeat, workers,
                           count);
}

static pgqrs_status call_worker_set_status(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_worker_set_status(c->task.store, c->number, (pgqrs_worker_status)c->second_number,
                                   error);
}

size_t pgqrs_batch_worker_set_status(pgqrs_batch *batch, int64_t worker, pgqrs_worker_status status)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_worker_set_status()", call_worker_set_status,
                               worker, (int64_t)status);
}

static pgqrs_status call_worker_get(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_worker_records *out = NULL;
    pgqrs_status          rc  = pgqrs_worker_get(c->task.store, c->number, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_WORKERS, out);
    return rc;
}

size_t pgqrs_batch_worker_get(pgqrs_batch *batch, int64_t worker)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_worker_get()", call_worker_get, worker, 0);
}

static pgqrs_status call_worker_list(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_worker_records *out = NULL;
    pgqrs_status          rc  = pgqrs_worker_list(c->task.store, &out, error);

    pgqrs__call_hand(c, PGQRS__HANDED_WORKERS, out);
    return rc;
}

size_t pgqrs_batch_worker_list(pgqrs_batch *batch)
{
    return pgqrs__call_named(batch, "pgqrs_batch_worker_list()", call_worker_list, NULL);
}

static pgqrs_status call_worker_measure(pgqrs__call_task *c, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs_worker_measure(c->task.store, c->number, &c->measure.health, error);

    if (rc == PGQRS_OK)
        c->task.result.health = &c->measure.health;
    return rc;
}

size_t pgqrs_batch_worker_measure(pgqrs_batch *batch, int64_t silent_us)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_worker_measure()", call_worker_measure,
                               silent_us, 0);
}

static pgqrs_status call_worker_purge_stale(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_worker_purge_stale(c->task.store, c->number, c->second_number,
                                    &c->task.result.number, error);
}

size_t pgqrs_batch_worker_purge_stale(pgqrs_batch *batch, int64_t silent_us, int64_t now_us)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_worker_purge_stale()", call_worker_purge_stale,
                               silent_us, now_us);
}

static pgqrs_status call_worker_release(pgqrs__call_task *c, pgqrs_error *error)
{
    return pgqrs_worker_release(c->task.store, c->number, &c->task.result.number, error);
}

size_t pgqrs_batch_worker_release(pgqrs_batch *batch, int64_t worker)
{
    return pgqrs__call_numbers(batch, "pgqrs_batch_worker_release()", call_worker_release, worker,
                               0);
}
