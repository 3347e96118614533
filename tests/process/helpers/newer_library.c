/* A library of a later version installs its schema.
 *
 *     newer_library DSN SCHEMA OLDEST
 *
 * It is this one, with the migrations that it has and one more, which adds columns, an index and a
 * table, and says that libraries from OLDEST on may use the schema. */
#include "backend/backend.h"
#include "support/processes.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIGRATIONS_MAX 100

static const char later[] = "ALTER TABLE @schema.pgqrs_messages ADD COLUMN later text;\n"
                            "ALTER TABLE @schema.pgqrs_ready ADD COLUMN later text;\n"
                            "ALTER TABLE @schema.pgqrs_leased ADD COLUMN later text;\n"
                            "ALTER TABLE @schema.pgqrs_archive ADD COLUMN later text;\n"
                            "ALTER TABLE @schema.pgqrs_steps ADD COLUMN later text;\n"
                            "CREATE TABLE @schema.pgqrs_later (id bigint PRIMARY KEY, note text);\n"
                            "CREATE INDEX pgqrs_later_note ON @schema.pgqrs_later (note);\n";

static pgqrs__migration migrations[MIGRATIONS_MAX];
static size_t           migrations_count;

/* The table of a backend is constant, and lies where the loader has made it so. */
static bool put(const void *place, const void *value, size_t size)
{
    const uintptr_t page  = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = (uintptr_t)place & ~(page - 1);
    const size_t    bytes = (size_t)((uintptr_t)place + size - start);

    if (mprotect((void *)start, bytes, PROT_READ | PROT_WRITE) != 0)
        return false;
    memcpy((void *)(uintptr_t)place, value, size);
    return true;
}

static bool add_migration(const char *dsn, const char *oldest)
{
    const pgqrs__backend   *backend = pgqrs__backend_for(dsn, NULL);
    const pgqrs__migration *first   = migrations;
    const size_t           *count   = &migrations_count;

    if (backend == NULL || *backend->migrations_count >= MIGRATIONS_MAX)
        return false;
    migrations_count = *backend->migrations_count;
    memcpy(migrations, backend->migrations, migrations_count * sizeof(*migrations));
    migrations[migrations_count] = (pgqrs__migration){
        .version        = (int)migrations_count + 1,
        .name           = "later",
        .checksum       = "0",
        .oldest_library = oldest,
        .sql            = later,
    };
    migrations_count++;
    return put(&backend->migrations, &first, sizeof(first))
           && put(&backend->migrations_count, &count, sizeof(count));
}

int main(int argc, char **argv)
{
    pgqrs_store *store;
    pgqrs_error  error;

    if (argc < 4 || !add_migration(argv[1], argv[3])) {
        (void)fprintf(stderr, "newer_library: cannot be newer\n");
        return 2;
    }
    store = helper_open(argc, argv, NULL);
    if (pgqrs_install(store, &error) != PGQRS_OK)
        (void)fprintf(stderr, "newer_library: %s\n%s\n", error.message, error.detail);
    pgqrs_close(store);
    return error.status == PGQRS_OK ? 0 : 1;
}
