/* Calls as operations of batches: their arguments, copied, and their turn. */
#include "core/batch_call.h"

static pgqrs__turn call_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error)
{
    pgqrs__call_task *c = (pgqrs__call_task *)task;

    if (!may_ask)
        return PGQRS__TURN_ASK;
    task->status = c->call(c, error);
    return PGQRS__TURN_DONE;
}

static bool copy_text(pgqrs_batch *batch, const char *text, const char **out)
{
    *out = NULL;
    if (text == NULL)
        return true;
    *out = pgqrs__arena_copy(&batch->arena, text, strlen(text));
    return *out != NULL;
}

pgqrs__call_task *pgqrs__call_new(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                                  const char *name, const char *second, pgqrs_error *error)
{
    pgqrs__call_task *c;

    if (!pgqrs__batch_adds(batch, what, false, error))
        return NULL;
    c = pgqrs__arena_calloc(&batch->arena, 1, sizeof(*c));
    if (c == NULL || !copy_text(batch, name, &c->name) || !copy_text(batch, second, &c->second)) {
        pgqrs__nomem(error);
        return NULL;
    }
    c->task.store = batch->store;
    c->task.turn  = call_turn;
    c->call       = call;
    return c;
}

size_t pgqrs__call_add(pgqrs_batch *batch, pgqrs__call_task *c, const pgqrs_error *error)
{
    return pgqrs__batch_add(batch, c == NULL ? NULL : &c->task, error);
}

size_t pgqrs__call_named(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                         const char *name)
{
    pgqrs_error error;

    return pgqrs__call_add(batch, pgqrs__call_new(batch, what, call, name, NULL, &error), &error);
}

size_t pgqrs__call_numbers(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                           int64_t number, int64_t second)
{
    pgqrs_error       error;
    pgqrs__call_task *c = pgqrs__call_new(batch, what, call, NULL, NULL, &error);

    if (c != NULL) {
        c->number        = number;
        c->second_number = second;
    }
    return pgqrs__call_add(batch, c, &error);
}

size_t pgqrs__call_ids(pgqrs_batch *batch, const char *what, pgqrs__call_fn call,
                       const int64_t *ids, size_t count)
{
    pgqrs_error       error;
    pgqrs__call_task *c = pgqrs__call_new(batch, what, call, NULL, NULL, &error);

    if (c != NULL && count > 0) {
        c->ids = pgqrs__check_pointer(ids, "ids", &error) == PGQRS_OK
                     ? pgqrs__arena_calloc(&batch->arena, count, sizeof(*ids))
                     : NULL;
        if (c->ids != NULL)
            memcpy(c->ids, ids, count * sizeof(*ids));
        else if (ids != NULL)
            pgqrs__nomem(&error);
        c->count = count;
        c        = c->ids == NULL ? NULL : c;
    }
    return pgqrs__call_add(batch, c, &error);
}

void pgqrs__call_hand(pgqrs__call_task *c, pgqrs__handed what, void *object)
{
    c->task.result.handed = object == NULL ? PGQRS__HANDED_NOTHING : what;
    c->task.result.object = object;
}
