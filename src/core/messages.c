/* Messages that came out of a claim, and the recorded steps that came with runs. */
#include "core/core.h"

pgqrs_messages *pgqrs__messages_new(void)
{
    pgqrs_messages *messages = pgqrs__calloc(1, sizeof(*messages));

    if (messages == NULL)
        return NULL;
    messages->rows = pgqrs__rows_new(sizeof(pgqrs_message));
    if (messages->rows == NULL) {
        pgqrs__free(messages);
        return NULL;
    }
    return messages;
}

void pgqrs__messages_clear(pgqrs_messages *messages)
{
    pgqrs__rows_clear(messages->rows);
    messages->step_count = 0;
    memset(messages->seqs_seen, 0, sizeof(messages->seqs_seen));
}

size_t pgqrs_messages_count(const pgqrs_messages *messages)
{
    return messages == NULL ? 0 : messages->rows->count;
}

const pgqrs_message *pgqrs_messages_at(const pgqrs_messages *messages, size_t index)
{
    return messages == NULL ? NULL : pgqrs__rows_at(messages->rows, index);
}

void pgqrs_messages_free(pgqrs_messages *messages)
{
    if (messages == NULL)
        return;
    pgqrs__rows_free(messages->rows);
    pgqrs__free(messages->steps);
    pgqrs__free(messages);
}

static pgqrs_status take_message(pgqrs_messages *messages, const pgqrs__val *cols)
{
    pgqrs_message *m        = pgqrs__rows_add(messages->rows);
    int64_t        priority = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_PRIORITY]);
    int64_t        seq      = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_SEQ]);

    if (m == NULL)
        return PGQRS_ENOMEM;
    m->id             = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_ID]);
    m->queue_id       = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_QUEUE_ID]);
    m->lease          = messages->lease;
    m->attempt        = (int)pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_ATTEMPT]);
    m->priority       = (int)priority;
    m->enqueued_at_us = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_ENQUEUED_AT]);
    m->claimed_at_us  = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_CLAIMED_AT]);
    m->expires_at_us  = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_EXPIRES_AT]);
    m->producer       = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_PRODUCER]);
    m->held_until_us  = messages->sent_mono_us + (m->expires_at_us - m->claimed_at_us);
    m->payload_bytes  = cols[PGQRS__COL_RUN_CLAIM_PAYLOAD].len;
    if (priority >= 0 && priority < PGQRS__PRIORITIES)
        messages->seqs_seen[priority] = seq;
    if (!pgqrs__rows_text(messages->rows, cols[PGQRS__COL_RUN_CLAIM_PAYLOAD], &m->payload)
        || !pgqrs__rows_text(messages->rows, cols[PGQRS__COL_RUN_CLAIM_HEADERS], &m->headers))
        return PGQRS_ENOMEM;
    return PGQRS_OK;
}

static pgqrs_status take_step(pgqrs_messages *messages, const pgqrs__val *cols)
{
    pgqrs__claimed_step *s;

    if (messages->rows->count == 0)
        return PGQRS_EINTERNAL;
    if (messages->step_count == messages->step_cap) {
        size_t               cap   = messages->step_cap == 0 ? 16 : messages->step_cap * 2;
        pgqrs__claimed_step *steps = pgqrs__realloc(messages->steps, cap * sizeof(*steps));

        if (steps == NULL)
            return PGQRS_ENOMEM;
        messages->steps    = steps;
        messages->step_cap = cap;
    }
    s  = &messages->steps[messages->step_count++];
    *s = (pgqrs__claimed_step){
        .message     = messages->rows->count - 1,
        .status      = (pgqrs_step_status)pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_STEP_STATUS]),
        .retries     = (int)pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_STEP_RETRIES]),
        .retry_at_us = pgqrs__as_int(cols[PGQRS__COL_RUN_CLAIM_STEP_RETRY_AT]),
    };
    if (!pgqrs__rows_text(messages->rows, cols[PGQRS__COL_RUN_CLAIM_STEP_NAME], &s->name)
        || !pgqrs__rows_text(messages->rows, cols[PGQRS__COL_RUN_CLAIM_STEP_OUTPUT], &s->output)
        || !pgqrs__rows_text(messages->rows, cols[PGQRS__COL_RUN_CLAIM_STEP_ERROR], &s->error))
        return PGQRS_ENOMEM;
    return PGQRS_OK;
}

pgqrs_status pgqrs__messages_take(pgqrs_messages *messages, const pgqrs__val *cols, bool run)
{
    if (run && cols[PGQRS__COL_RUN_CLAIM_STEP_NAME].kind != PGQRS__KIND_NULL)
        return take_step(messages, cols);
    return take_message(messages, cols);
}
