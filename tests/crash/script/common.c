/* The clock, the log, and what every part does with messages. */
#include "crash/script/script.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

pgqrs_store *store;
const char  *dsn, *schema;
int          log_fd;
bool         again;
pgqrs_error  failed;

static _Atomic int64_t ahead_us;

int64_t now(void)
{
    return wall_now_us() + atomic_load(&ahead_us);
}

int64_t wall_clock(void *user_data)
{
    (void)user_data;
    return now();
}

int64_t monotonic_clock(void *user_data)
{
    (void)user_data;
    return monotonic_now_us();
}

void let_pass(int64_t us)
{
    (void)atomic_fetch_add(&ahead_us, us);
}

void note(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    log_line(log_fd, now(), format, list);
    va_end(list);
}

void wrong(const char *what, pgqrs_status rc, const pgqrs_error *error)
{
    note("wrong 0 0 0 %s: %s: %s", what, pgqrs_status_name(rc),
         error != NULL ? error->message : "");
}

/* The call's status must be one of @p allowed: bits of 1 << status. */
pgqrs_status may_be(pgqrs_status rc, unsigned allowed, const char *what, const pgqrs_error *error)
{
    if (((1u << (unsigned)rc) & allowed) == 0)
        wrong(what, rc, error);
    return rc;
}

void asked(int64_t id, int64_t lease, const char *verb)
{
    note("asked %lld %lld 0 %s", (long long)id, (long long)lease, verb);
}

void answered(int64_t id, int64_t lease, pgqrs_status rc, const char *verb)
{
    note("answered %lld %lld %d %s", (long long)id, (long long)lease, (int)rc, verb);
}

int64_t put(const char *queue, const char *key, int64_t delay_us)
{
    const pgqrs_enqueue_options options = { .struct_size = sizeof(options),
                                            .key         = key,
                                            .key_ttl_us  = 30 * PGQRS_DAY,
                                            .delay_us    = delay_us,
                                            .headers     = "{\"trace\":\"x\"}" };
    int64_t                     id      = 0;

    if (EXPECT(OK, pgqrs_enqueue(store, queue, "{\"n\":1}",
                                 key != NULL || delay_us != 0 ? &options : NULL, &id, &failed))
        == PGQRS_OK)
        note("enqueued %lld 0 0 %s %s", (long long)id, queue, key != NULL ? key : "-");
    return id;
}

int64_t start(const char *workflow)
{
    int64_t id = 0;

    if (EXPECT(OK, pgqrs_trigger(store, workflow, "{\"go\":1}", NULL, &id, &failed)) == PGQRS_OK)
        note("enqueued %lld 0 0 %s -", (long long)id, workflow);
    return id;
}

void note_claimed(const pgqrs_messages *messages)
{
    for (size_t i = 0; i < pgqrs_messages_count(messages); i++) {
        const pgqrs_message *m = pgqrs_messages_at(messages, i);
        note("claimed %lld %lld %d", (long long)m->id, (long long)m->lease, m->attempt);
    }
}

pgqrs_messages *take(const char *queue, int limit, int64_t owner)
{
    pgqrs_messages *messages = NULL;

    (void)EXPECT(OK, pgqrs_claim(store, queue, PGQRS_OPTIONS(claim, .limit = limit, .owner = owner),
                                 &messages, &failed));
    note_claimed(messages);
    return messages;
}

pgqrs_messages *take_id(int64_t id)
{
    pgqrs_messages *messages = NULL;

    (void)EXPECT(OK | (again ? AGAIN : 0), pgqrs_claim_id(store, id, NULL, &messages, &failed));
    note_claimed(messages);
    return messages;
}

/* Whatever is going to be removed is written down before. */
void ask_to_remove(const char *queue, pgqrs_state state)
{
    pgqrs_records *records = NULL;

    if (EXPECT(OK,
               pgqrs_message_list(store, queue, PGQRS_OPTIONS(list, .state = state, .limit = 1000),
                                  &records, &failed))
        == PGQRS_OK)
        for (size_t i = 0; i < pgqrs_records_count(records); i++)
            asked(pgqrs_records_at(records, i)->id, 0, "delete");
    pgqrs_records_free(records);
}

void end_one(const pgqrs_message *m, const char *verb, end_fn end)
{
    asked(m->id, m->lease, verb);
    answered(m->id, m->lease, EXPECT(OK, end(store, m, &failed)), verb);
}

void release(const pgqrs_message *m, const pgqrs_release_options *options)
{
    const char *verb = options != NULL && options->counted ? "release_counted" : "release";

    asked(m->id, m->lease, verb);
    answered(m->id, m->lease, EXPECT(OK, pgqrs_release(store, m, options, &failed)), verb);
}
