/* A queue: put a message in, take messages out, finish each.
 *
 *     queue postgresql://localhost/mydb
 *     queue sqlite://tasks.db
 */
#include <pgqrs/pgqrs.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    const char     *dsn      = argc > 1 ? argv[1] : "sqlite://tasks.db";
    const char     *payload  = "{\"task\":\"send_email\",\"to\":\"user@example.com\"}";
    pgqrs_store    *store    = NULL;
    pgqrs_messages *messages = NULL;
    pgqrs_error     error;
    int64_t         id;

    if (pgqrs_open(dsn, NULL, &store, &error) != PGQRS_OK
        || pgqrs_install(store, &error) != PGQRS_OK /* safe to run again */
        || pgqrs_queue_ensure(store, "tasks", NULL, &error) != PGQRS_OK
        || pgqrs_enqueue(store, "tasks", payload, NULL, &id, &error) != PGQRS_OK
        || pgqrs_claim(store, "tasks", PGQRS_OPTIONS(claim, .limit = 10), &messages, &error)
               != PGQRS_OK)
        goto done;

    for (size_t i = 0; i < pgqrs_messages_count(messages); i++) {
        const pgqrs_message *message = pgqrs_messages_at(messages, i);

        printf("Processing: %s\n", message->payload);
        if (pgqrs_archive(store, message, &error) != PGQRS_OK) /* ELEASE: another has it by now */
            goto done;
    }
done:
    if (error.status != PGQRS_OK)
        fprintf(stderr, "%s\n%s\n", error.message, error.hint);
    pgqrs_messages_free(messages);
    pgqrs_close(store);
    return error.status == PGQRS_OK ? 0 : 1;
}
