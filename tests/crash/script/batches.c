/* Batches: committed, and submitted from an event loop. */
#include "crash/script/script.h"

#include <poll.h>

/* A message of "pair" ends, and one that names it begins in "hot": both, or neither. */
static void end_pair(const pgqrs_message *m)
{
    char         payload[64];
    pgqrs_batch *batch = pgqrs_batch_new(store);
    pgqrs_status rc;

    (void)snprintf(payload, sizeof(payload), "{\"of\":%lld}", (long long)m->id);
    (void)pgqrs_batch_archive(batch, m);
    (void)pgqrs_batch_enqueue(batch, "hot", payload, NULL);
    asked(m->id, m->lease, "archive");
    rc = EXPECT(OK, pgqrs_batch_commit(batch, &failed));
    answered(m->id, m->lease, rc, "archive");
    if (rc == PGQRS_OK)
        note("enqueued %lld 0 0 hot -", (long long)pgqrs_batch_id(batch, 1));
    pgqrs_batch_free(batch);
}

static pgqrs_batch *come_back(pgqrs_completions *ready)
{
    struct pollfd fd    = { .fd = pgqrs_completions_fd(ready), .events = POLLIN };
    pgqrs_batch  *batch = NULL;

    while ((batch = pgqrs_completions_next(ready, NULL)) == NULL)
        (void)poll(&fd, 1, -1);
    return batch;
}

static pgqrs_batch *tick(void)
{
    pgqrs_batch *batch = pgqrs_batch_new(store);

    pgqrs_batch_independent(batch);
    return batch;
}

/* Submit it and have it back: every operation is done. */
static pgqrs_batch *run_batch(pgqrs_completions *ready, pgqrs_batch *batch)
{
    if (EXPECT(OK, pgqrs_batch_submit(batch, ready, NULL, &failed)) != PGQRS_OK)
        return batch;
    batch = come_back(ready);
    for (size_t i = 0; i < pgqrs_batch_count(batch); i++)
        (void)may_be(pgqrs_batch_status(batch, i), OK, "an operation of a batch",
                     pgqrs_batch_error(batch, i));
    return batch;
}

void part_batches(void)
{
    pgqrs_completions *ready = NULL;
    pgqrs_messages    *messages;
    pgqrs_batch       *batch;

    (void)put("pair", NULL, 0);
    (void)put("pair", NULL, 0);
    messages = take("pair", 2, 0);
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++)
        end_pair(pgqrs_messages_at(messages, i));
    pgqrs_messages_free(messages);

    (void)EXPECT(OK, pgqrs_completions_new(&ready, &failed));
    batch = tick();
    (void)pgqrs_batch_enqueue(batch, "plain", "1", NULL);
    (void)pgqrs_batch_enqueue(batch, "plain", "2", NULL);
    (void)pgqrs_batch_queue_measure(batch, "plain");
    batch = run_batch(ready, batch);
    for (size_t i = 0; i < 2; i++)
        note("enqueued %lld 0 0 plain -", (long long)pgqrs_batch_id(batch, i));
    pgqrs_batch_free(batch);
    batch = tick();
    (void)pgqrs_batch_claim(batch, "plain", PGQRS_OPTIONS(claim, .limit = 2));
    batch    = run_batch(ready, batch);
    messages = pgqrs_batch_take_messages(batch, 0);
    pgqrs_batch_free(batch);
    note_claimed(messages);
    batch = tick();
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++) {
        const pgqrs_message *m = pgqrs_messages_at(messages, i);

        asked(m->id, m->lease, "archive");
        (void)pgqrs_batch_archive(batch, m);
    }
    batch = run_batch(ready, batch);
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++) {
        const pgqrs_message *m = pgqrs_messages_at(messages, i);

        answered(m->id, m->lease, pgqrs_batch_status(batch, i), "archive");
    }
    pgqrs_batch_free(batch);
    pgqrs_messages_free(messages);

    const pgqrs_store_options options = { .struct_size = sizeof(options),
                                          .schema      = strcmp(schema, "-") == 0 ? NULL : schema,
                                          .clock       = { wall_clock, monotonic_clock, NULL } };
    if (EXPECT(OK, pgqrs_open_submit(dsn, &options, true, ready, NULL, &failed)) == PGQRS_OK) {
        batch = come_back(ready);
        (void)may_be(pgqrs_batch_status(batch, 0), OK, "opening", pgqrs_batch_error(batch, 0));
        pgqrs_close(pgqrs_batch_take_store(batch, 0));
        pgqrs_batch_free(batch);
    }
    pgqrs_completions_free(ready);
}

void drain_pairs(void)
{
    for (size_t count = 1; count > 0;) {
        pgqrs_messages *messages = take("pair", 100, 0);

        count = pgqrs_messages_count(messages);
        for (size_t i = 0; i < count; i++)
            end_pair(pgqrs_messages_at(messages, i));
        pgqrs_messages_free(messages);
    }
}
