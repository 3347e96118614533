/* Messages: every way in and every way out. */
#include "crash/script/script.h"

#define TAKEN_MAX 16

static void end_two(const pgqrs_message *const *two, const char *verb,
                    pgqrs_status (*end)(pgqrs_store *in, const pgqrs_message *const *messages,
                                        size_t count, pgqrs_status *out_statuses,
                                        pgqrs_error *error))
{
    pgqrs_status statuses[2] = { PGQRS_EINTERNAL, PGQRS_EINTERNAL };

    for (int i = 0; i < 2; i++)
        asked(two[i]->id, two[i]->lease, verb);
    if (EXPECT(OK, end(store, two, 2, statuses, &failed)) != PGQRS_OK)
        return;
    for (int i = 0; i < 2; i++)
        answered(two[i]->id, two[i]->lease, may_be(statuses[i], OK, verb, NULL), verb);
}

static void end_a_batch(void)
{
    static const char *const payloads[] = { "0", "1", "2", "3",  "4",  "5",  "6",
                                            "7", "8", "9", "10", "11", "12", "13" };
    const size_t             put_count  = sizeof(payloads) / sizeof(*payloads);
    const pgqrs_message     *m[TAKEN_MAX];
    pgqrs_status             statuses[TAKEN_MAX];
    int64_t                  ids[TAKEN_MAX];

    if (EXPECT(OK, pgqrs_enqueue_many(store, "plain", payloads, put_count, NULL, ids, &failed))
        == PGQRS_OK)
        for (size_t i = 0; i < put_count; i++)
            note("enqueued %lld 0 0 plain -", (long long)ids[i]);
    pgqrs_messages *messages = take("plain", (int)put_count, 0);
    const size_t    count    = pgqrs_messages_count(messages);
    for (size_t i = 0; i < count; i++)
        m[i] = pgqrs_messages_at(messages, i);
    if (count < put_count) {
        wrong("fewer messages than were put in", PGQRS_EINTERNAL, NULL);
        pgqrs_messages_free(messages);
        return;
    }
    (void)EXPECT(OK, pgqrs_extend_many(store, m, count, PGQRS_MINUTE, statuses, &failed));
    (void)EXPECT(OK, pgqrs_lease_keep(store, m[0], PGQRS_HOUR, &failed));
    (void)EXPECT(OK, pgqrs_lease_unkeep(store, m[0], &failed));
    end_one(m[0], "archive", pgqrs_archive);
    end_one(m[1], "delete", pgqrs_delete);
    release(m[2], NULL);
    release(m[3], PGQRS_OPTIONS(release, .delay_us = PGQRS_MINUTE));
    release(m[4], PGQRS_OPTIONS(release, .counted = true));
    (void)EXPECT(OK, pgqrs_retry(store, m[5], "CRASH", "again", &failed));
    asked(m[6]->id, m[6]->lease, "dead_letter");
    answered(m[6]->id, m[6]->lease,
             EXPECT(OK, pgqrs_dead_letter(store, m[6], "CRASH", "never", &failed)), "dead_letter");
    (void)EXPECT(OK, pgqrs_extend(store, m[7], PGQRS_MINUTE, &failed));
    end_one(m[7], "archive", pgqrs_archive);
    end_two(&m[8], "archive", pgqrs_archive_many);
    end_two(&m[10], "delete", pgqrs_delete_many);
    for (int i = 12; i < 14; i++)
        asked(m[i]->id, m[i]->lease, "release");
    (void)EXPECT(OK, pgqrs_release_many(store, &m[12], 2, NULL, statuses, &failed));

    const int64_t dead = m[6]->id;
    size_t        replayed;
    asked(dead, 0, "replay");
    (void)EXPECT(OK, pgqrs_replay(store, &dead, 1, &replayed, &failed));
    pgqrs_messages_free(messages);
}

void part_messages(void)
{
    pgqrs_records *records = NULL;
    int64_t        count;

    const int64_t keyed = put("plain", "k1", 0);
    if (put("plain", "k1", 0) != keyed)
        wrong("the key named another message", PGQRS_EINTERNAL, NULL);
    const int64_t   delayed  = put("plain", NULL, PGQRS_HOUR);
    pgqrs_messages *messages = take_id(delayed); /* before its time, and dropped */
    pgqrs_messages_free(messages);
    end_a_batch();

    /* cancelled while it waits, and while it is held */
    int64_t     id = put("plain", NULL, 0);
    pgqrs_state state;
    asked(id, 0, "cancel");
    answered(id, 0, EXPECT(OK, pgqrs_cancel(store, id, &state, &failed)), "cancel");
    id       = put("plain", NULL, 0);
    messages = take_id(id);
    asked(id, 0, "cancel");
    answered(id, 0, EXPECT(OK, pgqrs_cancel(store, id, &state, &failed)), "cancel");
    if (pgqrs_messages_count(messages) == 1)
        (void)EXPECT(OK | 1u << PGQRS_ECANCELLED,
                     pgqrs_archive(store, pgqrs_messages_at(messages, 0), &failed));
    pgqrs_messages_free(messages);
    (void)EXPECT(OK, pgqrs_message_get(store, id, &records, &failed));
    pgqrs_records_free(records);

    /* dead, and removed */
    (void)put("frail", NULL, 0);
    messages = take("frail", 10, 0);
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++)
        (void)EXPECT(OK,
                     pgqrs_dead_letter(store, pgqrs_messages_at(messages, i), NULL, NULL, &failed));
    pgqrs_messages_free(messages);
    ask_to_remove("frail", PGQRS_STATE_DEAD);
    (void)EXPECT(OK, pgqrs_dead_purge(store, "frail", 0, &count, &failed));
}
