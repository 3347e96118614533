/* A program of somebody else: it knows the installed headers and the installed library, and nothing
 * of the tree they came from. C99 and C++11.
 *
 *     program DSN
 *
 * It opens the store, installs, and takes one message through its life. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <pgqrs/pgqrs.h>
#include <pgqrs/workflow.h>

static int fail(const char *what, const pgqrs_error *error)
{
    fprintf(stderr, "%s: %s: %s\n", what, pgqrs_status_name(error->status), error->message);
    return 1;
}

static int live(pgqrs_store *store)
{
    pgqrs_claim_options options  = PGQRS_OPTIONS_INIT(claim);
    pgqrs_messages     *messages = NULL;
    int64_t             id       = 0;
    pgqrs_error         error;

    options.limit = 10;
    if (pgqrs_install(store, &error) != PGQRS_OK)
        return fail("pgqrs_install", &error);
    if (pgqrs_queue_ensure(store, "package", NULL, &error) != PGQRS_OK)
        return fail("pgqrs_queue_ensure", &error);
    if (pgqrs_enqueue(store, "package", "{\"n\":1}", NULL, &id, &error) != PGQRS_OK)
        return fail("pgqrs_enqueue", &error);
    if (pgqrs_claim(store, "package", &options, &messages, &error) != PGQRS_OK)
        return fail("pgqrs_claim", &error);
    if (pgqrs_messages_count(messages) != 1 || pgqrs_messages_at(messages, 0)->id != id) {
        fputs("the message did not come back\n", stderr);
        pgqrs_messages_free(messages);
        return 1;
    }
    if (pgqrs_archive(store, pgqrs_messages_at(messages, 0), &error) != PGQRS_OK) {
        pgqrs_messages_free(messages);
        return fail("pgqrs_archive", &error);
    }
    pgqrs_messages_free(messages);
    printf("pgqrs %s: message %" PRId64 " done\n", pgqrs_version(), id);
    return 0;
}

int main(int argc, char **argv)
{
    pgqrs_store *store = NULL;
    pgqrs_error  error;
    int          failed;

    if (argc != 2 || strcmp(pgqrs_version(), PGQRS_VERSION) != 0) {
        fprintf(stderr, "usage: program DSN; header %s, library %s\n", PGQRS_VERSION,
                pgqrs_version());
        return 2;
    }
    if (pgqrs_open(argv[1], NULL, &store, &error) != PGQRS_OK)
        return fail("pgqrs_open", &error);
    failed = live(store);
    pgqrs_close(store);
    return failed;
}
