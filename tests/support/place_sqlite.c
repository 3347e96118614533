#include "support/place.h"

#ifdef PGQRS_HAVE_SQLITE

#include <dirent.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

void place_make_sqlite(world *w)
{
    const char *place = getenv("TMPDIR");
    char        directory[200];
    (void)snprintf(directory, sizeof(directory), "%s/pgqrs_case_XXXXXX",
                   place != NULL && strlen(place) < 150 ? place : "/tmp");
    if (mkdtemp(directory) == NULL)
        fail_msg("could not make a directory for the case");
    (void)snprintf(w->path, sizeof(w->path), "%s/store.db", directory);
    (void)snprintf(w->dsn, sizeof(w->dsn), "sqlite://%s", w->path);
    (void)snprintf(w->direct, sizeof(w->direct), "%s", w->dsn);
}

void place_remove_sqlite(world *w)
{
    char directory[sizeof(w->path)];
    (void)snprintf(directory, sizeof(directory), "%s", w->path);
    *strrchr(directory, '/') = '\0';
    DIR *d                   = opendir(directory);
    if (d == NULL)
        return;
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        char path[sizeof(directory) + sizeof(entry->d_name) + 1];
        (void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        (void)unlink(path);
    }
    (void)closedir(d);
    (void)rmdir(directory);
}

typedef struct first_value {
    char  *out;
    size_t size;
} first_value;

static int take_first(void *user, int columns, char **values, char **names)
{
    const first_value *first = user;
    (void)names;
    if (columns > 0 && first->out[0] == '\0' && values[0] != NULL)
        (void)snprintf(first->out, first->size, "%s", values[0]);
    return 0;
}

void place_sql_sqlite(world *w, const char *sql, char *out, size_t size)
{
    sqlite3    *db    = NULL;
    char       *said  = NULL;
    first_value first = { out, size };
    out[0]            = '\0';
    int rc            = sqlite3_open(w->path, &db);
    if (rc == SQLITE_OK) {
        (void)sqlite3_busy_timeout(db, 20000);
        rc = sqlite3_exec(db, sql, take_first, &first, &said);
    }
    if (rc != SQLITE_OK)
        print_error("%s\n%s\n", sql, said != NULL ? said : sqlite3_errmsg(db));
    sqlite3_free(said);
    int closed = sqlite3_close(db);
    assert_int_equal(SQLITE_OK, rc);
    assert_int_equal(SQLITE_OK, closed);
}

#else

void place_make_sqlite(world *w)
{
    (void)w;
    fail_msg("this build has no SQLite");
}

void place_remove_sqlite(world *w)
{
    (void)w;
}

void place_sql_sqlite(world *w, const char *sql, char *out, size_t size)
{
    (void)w;
    (void)sql;
    (void)snprintf(out, size, "%s", "");
}

#endif
