/* Completions: where batches of one event loop come back. And opening a store for one. */
#include "core/batch.h"
#include "core/crew.h"

#include <sys/eventfd.h>
#include <unistd.h>

struct pgqrs_completions {
    pgqrs__mutex lock;
    pid_t        pid; /* of the process that made it */
    int          fd;  /* an eventfd: readable while a batch is here */
    pgqrs_batch *first;
    pgqrs_batch *last;
    pgqrs_batch *under_way;
    bool         freed; /* what comes back is freed, and the last one frees this */
};

static void signal_fd(pgqrs_completions *c)
{
    ssize_t written = write(c->fd, &(uint64_t){ 1 }, sizeof(uint64_t));

    (void)written; /* it cannot overflow: it is 0 or 1 */
}

static void clear_fd(pgqrs_completions *c)
{
    uint64_t count;
    ssize_t  got = read(c->fd, &count, sizeof(count));

    (void)got;
}

static void destroy(pgqrs_completions *c)
{
    pgqrs__mutex_destroy(&c->lock);
    close(c->fd);
    pgqrs__free(c);
}

pgqrs_status pgqrs_completions_new(pgqrs_completions **out_completions, pgqrs_error *error)
{
    pgqrs_completions *c;
    pgqrs_status       rc = pgqrs__check_pointer(out_completions, "out_completions", error);

    if (rc != PGQRS_OK)
        return rc;
    *out_completions = NULL;
    c                = pgqrs__calloc(1, sizeof(*c));
    if (c == NULL)
        return pgqrs__nomem(error);
    c->pid = getpid();
    c->fd  = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->fd < 0) {
        rc = pgqrs__fail(error, PGQRS_ENOMEM, PGQRS_OBJECT_NONE, "no file descriptor is left");
        pgqrs__free(c);
        return rc;
    }
    if (!pgqrs__mutex_init(&c->lock)) {
        close(c->fd);
        pgqrs__free(c);
        return pgqrs__nomem(error);
    }
    *out_completions = c;
    return pgqrs__ok(error);
}

void pgqrs_completions_free(pgqrs_completions *c)
{
    pgqrs_batch *batch;
    bool         last;

    if (c == NULL)
        return;
    if (c->pid != getpid()) { /* the batches are the parent's, and so are the locks */
        close(c->fd);
        pgqrs__free(c);
        return;
    }
    while ((batch = pgqrs_completions_next(c, NULL)) != NULL)
        pgqrs_batch_free(batch);
    pgqrs__mutex_lock(&c->lock);
    c->freed = true;
    batch    = c->first; /* came back meanwhile */
    c->first = c->last = NULL;
    last               = c->under_way == NULL;
    /* Nobody waits for them any more: a claim must not take what comes later. */
    for (pgqrs_batch *at = c->under_way; at != NULL; at = at->after)
        pgqrs_batch_hurry(at);
    pgqrs__mutex_unlock(&c->lock);
    while (batch != NULL) {
        pgqrs_batch *next = batch->next;

        pgqrs_batch_free(batch);
        batch = next;
    }
    if (last)
        destroy(c);
}

int pgqrs_completions_fd(const pgqrs_completions *c)
{
    return c == NULL || c->pid != getpid() ? -1 : c->fd;
}

pgqrs_batch *pgqrs_completions_next(pgqrs_completions *c, void **out_user_data)
{
    pgqrs_batch *batch;

    if (out_user_data != NULL)
        *out_user_data = NULL;
    if (c == NULL || c->pid != getpid())
        return NULL;
    pgqrs__mutex_lock(&c->lock);
    batch = c->first;
    if (batch != NULL) {
        c->first = batch->next;
        if (c->first == NULL) {
            c->last = NULL;
            clear_fd(c);
        }
    }
    pgqrs__mutex_unlock(&c->lock);
    if (batch != NULL && out_user_data != NULL)
        *out_user_data = batch->user_data;
    return batch;
}

void pgqrs__completions_expect(pgqrs_completions *c, pgqrs_batch *batch)
{
    batch->before = NULL;
    pgqrs__mutex_lock(&c->lock);
    batch->after = c->under_way;
    if (c->under_way != NULL)
        c->under_way->before = batch;
    c->under_way = batch;
    pgqrs__mutex_unlock(&c->lock);
}

/* Under the lock. */
static void forget(pgqrs_completions *c, const pgqrs_batch *batch)
{
    if (batch->before != NULL)
        batch->before->after = batch->after;
    else
        c->under_way = batch->after;
    if (batch->after != NULL)
        batch->after->before = batch->before;
}

void pgqrs__completions_push(pgqrs_completions *c, pgqrs_batch *batch)
{
    bool freed;
    bool last;

    batch->next = NULL;
    pgqrs__mutex_lock(&c->lock);
    forget(c, batch);
    freed = c->freed;
    last  = c->under_way == NULL;
    if (!freed) {
        if (c->last != NULL)
            c->last->next = batch;
        else
            c->first = batch;
        c->last = batch;
        if (c->first == batch)
            signal_fd(c);
    }
    pgqrs__mutex_unlock(&c->lock);
    if (!freed)
        return;
    if (batch->has_opener) { /* this is it: nobody will join it */
        pgqrs__thread_detach(&batch->opener);
        batch->has_opener = false;
    }
    pgqrs_batch_free(batch);
    if (last)
        destroy(c);
}

/* --- Opening ---------------------------------------------------------------------------------- */

typedef struct open_task {
    pgqrs__task         task;
    const char         *dsn;
    pgqrs_store_options options;
    bool                install;
} open_task;

static void *open_main(void *arg)
{
    open_task   *t     = arg;
    pgqrs_batch *batch = t->task.batch;
    pgqrs_store *store = NULL;
    pgqrs_error  error;
    pgqrs_status rc;

    batch->opener     = pgqrs__thread_self();
    batch->has_opener = true;
    rc                = pgqrs_open(t->dsn, &t->options, &store, &error);
    if (rc == PGQRS_OK && t->install)
        rc = pgqrs_install(store, &error);
    if (rc == PGQRS_OK) {
        t->task.result.handed = PGQRS__HANDED_STORE;
        t->task.result.object = store;
    } else {
        pgqrs_close(store);
    }
    pgqrs__batch_result(batch, 0, rc, &error);
    batch->stage = PGQRS__BATCH_BACK;
    pgqrs__completions_push(batch->completions, batch);
    return NULL;
}

/* A text of the caller's, copied. NULL stays NULL. False: no memory. */
static bool keep(pgqrs__arena *arena, const char **text)
{
    if (*text != NULL)
        *text = pgqrs__arena_copy(arena, *text, strlen(*text));
    return *text != NULL;
}

static open_task *open_task_new(pgqrs_batch *batch, const char *dsn,
                                const pgqrs_store_options *options, bool install)
{
    open_task *t = pgqrs__arena_calloc(&batch->arena, 1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->dsn     = dsn;
    t->options = *options;
    t->install = install;
    if (!keep(&batch->arena, &t->dsn)
        || (options->schema != NULL && !keep(&batch->arena, &t->options.schema))
        || (options->listen_dsn != NULL && !keep(&batch->arena, &t->options.listen_dsn)))
        return NULL;
    return t;
}

pgqrs_status pgqrs_open_submit(const char *dsn, const pgqrs_store_options *given, bool install,
                               pgqrs_completions *completions, void *user_data, pgqrs_error *error)
{
    pgqrs_store_options options;
    pgqrs_batch        *batch;
    pgqrs__thread       thread; /* the batch has it too, and joins it */
    open_task          *t;
    pgqrs_status        rc;

    if ((rc = pgqrs__check_pointer(completions, "completions", error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(dsn, "dsn", error)) != PGQRS_OK
        || (rc = PGQRS__OPTIONS_READ(&options, given, "store", error)) != PGQRS_OK)
        return rc;
    batch = pgqrs__calloc(1, sizeof(*batch));
    if (batch == NULL)
        return pgqrs__nomem(error);
    pgqrs__arena_init(&batch->arena);
    batch->completions = completions;
    batch->user_data   = user_data;
    t                  = open_task_new(batch, dsn, &options, install);
    if (t == NULL || pgqrs__batch_add(batch, &t->task, NULL) == PGQRS_NO_OPERATION)
        goto no_memory;
    batch->stage = PGQRS__BATCH_UNDER_WAY;
    pgqrs__completions_expect(completions, batch);
    if (pgqrs__thread_start(&thread, open_main, t, "pgqrs-open") != 0) {
        pgqrs__mutex_lock(&completions->lock);
        forget(completions, batch);
        pgqrs__mutex_unlock(&completions->lock);
        goto no_memory;
    }
    return pgqrs__ok(error);
no_memory:
    pgqrs_batch_free(batch);
    return pgqrs__nomem(error);
}
