/* Finish one message and start others in one commit: all of it happens, or nothing does.
 *
 *     batch postgresql://localhost/mydb
 *     batch sqlite://batch.db
 */
#include <pgqrs/pgqrs.h>

#include <stdio.h>

static const char *const pages[] = { "\"page 1\"", "\"page 2\"", "\"page 3\"" };

/* A book is done when its pages are queued: neither without the other. */
static pgqrs_status split(pgqrs_store *store, const pgqrs_message *book, pgqrs_error *error)
{
    pgqrs_batch *batch = pgqrs_batch_new(store);
    pgqrs_status rc;

    pgqrs_batch_archive(batch, book);
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        pgqrs_batch_enqueue(batch, "pages", pages[i], NULL);
    rc = pgqrs_batch_commit(batch, error); /* ELEASE: another has the book by now */
    if (rc == PGQRS_OK)
        printf("%s: pages %lld to %lld\n", book->payload, (long long)pgqrs_batch_id(batch, 1),
               (long long)pgqrs_batch_id(batch, 3));
    pgqrs_batch_free(batch);
    return rc;
}

int main(int argc, char **argv)
{
    const char         *dsn   = argc > 1 ? argv[1] : "sqlite://batch.db";
    pgqrs_store        *store = NULL;
    pgqrs_messages     *books = NULL;
    pgqrs_queue_metrics metrics;
    pgqrs_error         error;

    if (pgqrs_open(dsn, NULL, &store, &error) != PGQRS_OK
        || pgqrs_install(store, &error) != PGQRS_OK
        || pgqrs_queue_ensure(store, "books", NULL, &error) != PGQRS_OK
        || pgqrs_queue_ensure(store, "pages", NULL, &error) != PGQRS_OK
        || pgqrs_enqueue(store, "books", "\"a book\"", NULL, NULL, &error) != PGQRS_OK
        || pgqrs_claim(store, "books", NULL, &books, &error) != PGQRS_OK)
        goto done;
    for (size_t i = 0; i < pgqrs_messages_count(books); i++)
        if (split(store, pgqrs_messages_at(books, i), &error) != PGQRS_OK)
            goto done;

    /* The book is no longer ours: the same again is refused, and adds nothing. */
    for (size_t i = 0; i < pgqrs_messages_count(books); i++)
        if (split(store, pgqrs_messages_at(books, i), &error) != PGQRS_ELEASE)
            goto done;
    if (pgqrs_queue_measure(store, "pages", &metrics, &error) != PGQRS_OK)
        goto done;
    printf("%lld pages are ready\n", (long long)metrics.ready);
done:
    if (error.status != PGQRS_OK)
        fprintf(stderr, "%s\n%s\n", error.message, error.hint);
    pgqrs_messages_free(books);
    pgqrs_close(store);
    return error.status == PGQRS_OK ? 0 : 1;
}
