/* Driving one task from the thread of its caller. */
#include "core/task.h"
#include "util/clock.h"

void pgqrs__task_clean(pgqrs__task *task)
{
    if (!task->borrowed)
        pgqrs__op_free(task->op);
    task->op = NULL;
}

bool pgqrs__task_woken(const pgqrs__task *task, int64_t mono_us)
{
    return mono_us >= task->wake_us || (task->queue != NULL && task->queue->wakes != task->seen)
           || (task->stop != NULL && atomic_load(task->stop));
}

static void wait_for(const pgqrs__task *task)
{
    pgqrs_store *store = task->store;

    pgqrs__mutex_lock(&store->lock);
    store->waiting++;
    while (!pgqrs__task_woken(task, pgqrs__mono_us()))
        pgqrs__cond_wait_until(&store->woken, &store->lock, task->wake_us);
    store->waiting--;
    pgqrs__mutex_unlock(&store->lock);
}

pgqrs_status pgqrs__task_run(pgqrs__task *task, pgqrs_error *error)
{
    pgqrs_error own;

    if (error == NULL)
        error = &own;
    for (;;) {
        switch (task->turn(task, true, error)) {
        case PGQRS__TURN_DONE:
            return task->status == PGQRS_OK ? pgqrs__ok(error) : task->status;
        case PGQRS__TURN_SEND:
            task->status = pgqrs__perform(task->store, &task->op, error);
            break;
        case PGQRS__TURN_ASK: /* it is allowed to */
            break;
        case PGQRS__TURN_WAIT:
            wait_for(task);
            break;
        }
    }
}
