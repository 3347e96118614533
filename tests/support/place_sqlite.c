#include "support/place.h"

#ifdef PGQRS_HAVE_SQLITE

#include <sqlite3.h>

void place_make_sqlite(world *w)
{
    place_folder(w);
    (void)snprintf(w->dsn, sizeof(w->dsn), "sqlite://%s", w->path);
    (void)snprintf(w->direct, sizeof(w->direct), "%s", w->dsn);
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

void place_sql_sqlite(world *w, const char *sql, char *out, size_t size)
{
    (void)w;
    (void)sql;
    (void)snprintf(out, size, "%s", "");
}

#endif
