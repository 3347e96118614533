/* Taking one message by its id. */
#include "core/admin.h"
#include "util/random.h"

static pgqrs_status taken_row(pgqrs__call *call, const pgqrs__val *cols)
{
    return pgqrs__messages_take(call->user, cols, true);
}

typedef struct whereabouts {
    pgqrs_state state; /* 0: nowhere */
    int64_t     queue_id;
} whereabouts;

static pgqrs_status where_row(pgqrs__call *call, const pgqrs__val *cols)
{
    whereabouts *found = call->user;

    found->state    = (pgqrs_state)pgqrs__as_int(cols[PGQRS__COL_MESSAGE_FIND_STATE]);
    found->queue_id = pgqrs__as_int(cols[PGQRS__COL_MESSAGE_FIND_QUEUE_ID]);
    return PGQRS_OK;
}

/* Why a message could not be claimed; PGQRS_OK: it could be by now, or, when the answer to a claim
 * of ours was lost, we hold it: then it is in `messages`. */
static pgqrs_status not_claimable(pgqrs_store *store, int64_t id, bool lost,
                                  pgqrs_messages *messages, pgqrs_error *error)
{
    const pgqrs__val args[] = { pgqrs__int(id) };
    whereabouts      found  = { 0 };
    pgqrs_status     rc;

    rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_MESSAGE_FIND, args, where_row, &found,
                        error);
    if (rc == PGQRS_OK && lost && found.state == PGQRS_STATE_LEASED) {
        const pgqrs__val held[] = { pgqrs__int(found.queue_id), pgqrs__int(messages->lease) };

        rc = pgqrs__run_one(store, PGQRS__MODE_READ, PGQRS__STMT_MESSAGE_CLAIM_AGAIN, held,
                            taken_row, messages, error);
        if (rc == PGQRS_OK && messages->rows->count > 0)
            return rc;
    }
    if (rc != PGQRS_OK)
        return rc;
    switch (found.state) {
    case PGQRS_STATE_READY:
    case PGQRS_STATE_SCHEDULED:
        return PGQRS_OK;
    case PGQRS_STATE_LEASED:
        return pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_MESSAGE,
                           "message %lld is leased by another holder", (long long)id);
    case PGQRS_STATE_DONE:
    case PGQRS_STATE_SUCCESS:
    case PGQRS_STATE_ERROR:
    case PGQRS_STATE_CANCELLED:
    case PGQRS_STATE_DEAD:
        return pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_MESSAGE, "message %lld has ended: %s",
                           (long long)id, pgqrs_state_name(found.state));
    }
    return pgqrs__fail(error, PGQRS_ENOTFOUND, PGQRS_OBJECT_MESSAGE, "message %lld does not exist",
                       (long long)id);
}

pgqrs_status pgqrs__claim_by_id(pgqrs_store *store, int64_t id, const pgqrs_claim_options *options,
                                pgqrs_messages **out_messages, pgqrs_error *error)
{
    pgqrs_messages *messages = pgqrs__messages_new();
    pgqrs__lost     lost     = { .deadline_us = pgqrs__deadline(store) };
    pgqrs_error     own;
    pgqrs_status    rc;

    if (error == NULL)
        error = &own;
    if (messages == NULL)
        return pgqrs__nomem(error);
    messages->lease         = pgqrs__random_i63();
    messages->sent_mono_us  = pgqrs__lease_clock(store);
    const pgqrs__val args[] = { pgqrs__int(id), pgqrs__int(messages->lease),
                                pgqrs__int_or_null(options->owner),
                                pgqrs__int_or_null(options->lease_us),
                                pgqrs__now(store, options->now_us) };

    for (int tries = 0;; tries++) {
        do {
            pgqrs__messages_clear(messages);
            rc = pgqrs__run_one(store, PGQRS__MODE_WRITE, PGQRS__STMT_MESSAGE_CLAIM_ID, args,
                                taken_row, messages, error);
        } while (rc != PGQRS_OK && pgqrs__lost_again(&lost, rc, error));
        if (rc != PGQRS_OK || messages->rows->count > 0)
            break;
        rc = not_claimable(store, id, lost.once, messages, error);
        if (messages->rows->count > 0)
            break;
        if (rc != PGQRS_OK && lost.once && (error->flags & PGQRS_RETRYABLE) != 0
            && pgqrs__lost_again(&lost, rc, error))
            continue;
        if (rc != PGQRS_OK)
            break;
        if (tries == 10) { /* it moves all the time: others want it too */
            rc = pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_MESSAGE,
                             "message %lld is being moved", (long long)id);
            pgqrs__flag(error, PGQRS_RETRYABLE);
            break;
        }
    }
    if (rc == PGQRS_OK) {
        messages->answered_us = pgqrs__lease_clock(store);
        *out_messages         = messages;
        messages              = NULL;
    }
    pgqrs_messages_free(messages);
    return rc;
}

pgqrs_status pgqrs_claim_id(pgqrs_store *store, int64_t id, const pgqrs_claim_options *given,
                            pgqrs_messages **out_messages, pgqrs_error *error)
{
    pgqrs_claim_options options;
    pgqrs_status        rc;

    if (out_messages != NULL)
        *out_messages = NULL;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(out_messages, "out_messages", error)) != PGQRS_OK
        || (rc = pgqrs__claim_options_read(store, given, &options, error)) != PGQRS_OK)
        return rc;
    return pgqrs__claim_by_id(store, id, &options, out_messages, error);
}
