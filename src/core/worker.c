/* A worker until it runs: making one, its registrations, asking it to stop. */
#include "core/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define HEARTBEAT_US    (3 * PGQRS_SECOND)
#define STOP_US         (30 * PGQRS_SECOND)
#define CONCURRENCY_MAX 1000

pgqrs_status pgqrs_worker_new(pgqrs_store *store, const pgqrs_worker_options *given,
                              pgqrs_worker **out_worker, pgqrs_error *error)
{
    pgqrs_worker_options options;
    pgqrs_worker        *worker;
    pgqrs_status         rc;

    if (out_worker != NULL)
        *out_worker = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_worker, "out_worker", error)) != PGQRS_OK
        || (rc = pgqrs__not_adopted(store, "a worker", error)) != PGQRS_OK
        || (rc = PGQRS__OPTIONS_READ(&options, given, "worker", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options.heartbeat_us, "heartbeat_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options.stop_us, "stop_us", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options.exit_when_idle, 0, 1, "exit_when_idle", error))
               != PGQRS_OK)
        return rc;
    if (options.name != NULL
        && (rc = pgqrs__check_name(options.name, "worker", PGQRS_OBJECT_WORKER, error)) != PGQRS_OK)
        return rc;
    if (options.heartbeat_us == 0)
        options.heartbeat_us = HEARTBEAT_US;
    if (options.stop_us == 0)
        options.stop_us = STOP_US;

    worker = pgqrs__calloc(1, sizeof(*worker));
    if (worker == NULL)
        return pgqrs__nomem(error);
    worker->store   = store;
    worker->options = options;
    if (options.name != NULL && (worker->name = pgqrs__strdup(options.name)) == NULL)
        goto no_name;
    worker->options.name = worker->name;
    if (pipe2(worker->stop_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        goto no_pipe;
    if (!pgqrs__mutex_init(&worker->lock))
        goto no_lock;
    if (!pgqrs__cond_init(&worker->ended))
        goto no_cond;
    if (!pgqrs__cond_init(&worker->halted))
        goto no_halted;
    *out_worker = worker;
    return PGQRS_OK;
no_halted:
    pgqrs__cond_destroy(&worker->ended);
no_cond:
    pgqrs__mutex_destroy(&worker->lock);
no_lock:
    close(worker->stop_pipe[0]);
    close(worker->stop_pipe[1]);
no_pipe:
    pgqrs__free(worker->name);
no_name:
    pgqrs__free(worker);
    return pgqrs__nomem(error);
}

void pgqrs_worker_free(pgqrs_worker *worker)
{
    work *next;

    if (worker == NULL)
        return;
    for (work *w = worker->works; w != NULL; w = next) {
        next = w->next;
        pgqrs__cond_destroy(&w->changed);
        pgqrs__free(w->hands);
        pgqrs__free(w->queue);
        pgqrs__free(w);
    }
    close(worker->stop_pipe[0]);
    close(worker->stop_pipe[1]);
    pgqrs__cond_destroy(&worker->halted);
    pgqrs__cond_destroy(&worker->ended);
    pgqrs__mutex_destroy(&worker->lock);
    pgqrs__free(worker->name);
    pgqrs__free(worker);
}

int64_t pgqrs_worker_id(const pgqrs_worker *worker)
{
    return worker == NULL ? 0 : (int64_t)atomic_load(&worker->id);
}

void pgqrs_worker_stop(pgqrs_worker *worker)
{
    int     saved = errno;
    ssize_t written;

    if (worker == NULL)
        return;
    atomic_store(&worker->stopping, true);
    written = write(worker->stop_pipe[1], "s", 1); /* full: it has been asked before */
    (void)written;
    errno = saved;
}

static pgqrs_status work_add(pgqrs_worker *worker, const char *queue, pgqrs_object object,
                             pgqrs_message_handler on_message, pgqrs_run_handler on_run,
                             void *user_data, const pgqrs_work_options *given)
{
    pgqrs_work_options options;
    work             **at;
    work              *w;
    pgqrs_status       rc;

    if (worker == NULL || (on_message == NULL && on_run == NULL) || worker->running)
        return PGQRS_EINVAL;
    if ((rc = pgqrs__enter(worker->store, NULL)) != PGQRS_OK
        || (rc = pgqrs__check_name(queue, "queue", object, NULL)) != PGQRS_OK
        || (rc = PGQRS__OPTIONS_READ(&options, given, "work", NULL)) != PGQRS_OK
        || (rc = pgqrs__check_range(options.concurrency, 0, CONCURRENCY_MAX, "concurrency", NULL))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options.lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", NULL))
               != PGQRS_OK
        || (rc = pgqrs__check_duration(options.poll_us, "poll_us", NULL)) != PGQRS_OK
        || (rc = pgqrs__check_duration(options.timeout_us, "timeout_us", NULL)) != PGQRS_OK)
        return rc;
    if (options.concurrency == 0)
        options.concurrency = 1;
    if (options.lease_us == 0)
        options.lease_us = worker->store->options.lease_us;

    w = pgqrs__calloc(1, sizeof(*w));
    if (w == NULL)
        return PGQRS_ENOMEM;
    w->queue = pgqrs__strdup(queue);
    w->hands = pgqrs__calloc((size_t)options.concurrency, sizeof(*w->hands));
    if (w->queue == NULL || w->hands == NULL || !pgqrs__cond_init(&w->changed)) {
        pgqrs__free(w->hands);
        pgqrs__free(w->queue);
        pgqrs__free(w);
        return PGQRS_ENOMEM;
    }
    w->worker     = worker;
    w->on_message = on_message;
    w->on_run     = on_run;
    w->user_data  = user_data;
    w->options    = options;
    for (at = &worker->works; *at != NULL;)
        at = &(*at)->next;
    *at = w;
    return PGQRS_OK;
}

pgqrs_status pgqrs_worker_on_message(pgqrs_worker *worker, const char *queue,
                                     pgqrs_message_handler handler, void *user_data,
                                     const pgqrs_work_options *options)
{
    return work_add(worker, queue, PGQRS_OBJECT_QUEUE, handler, NULL, user_data, options);
}

pgqrs_status pgqrs_worker_on_run(pgqrs_worker *worker, const char *workflow,
                                 pgqrs_run_handler handler, void *user_data,
                                 const pgqrs_work_options *options)
{
    return work_add(worker, workflow, PGQRS_OBJECT_WORKFLOW, NULL, handler, user_data, options);
}
