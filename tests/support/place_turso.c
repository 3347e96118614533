#include "support/place.h"

#include <stdlib.h>

#include "support/raw_turso.h"

/* The folder is like SQLite's, and so is what is left to remove. */
void place_make_turso(world *w)
{
    if (!raw_turso_there()) {
        print_message("there is no Turso: skipped\n");
        exit(77);
    }
    place_folder(w);
    (void)snprintf(w->dsn, sizeof(w->dsn), "turso://%s", w->path);
    (void)snprintf(w->direct, sizeof(w->direct), "%s", w->dsn);
}

typedef struct first_value {
    char  *out;
    size_t size;
} first_value;

static void take_first(void *user, size_t columns, const char *const *values)
{
    const first_value *first = user;
    if (columns > 0 && first->out[0] == '\0' && values[0] != NULL)
        (void)snprintf(first->out, first->size, "%s", values[0]);
}

void place_sql_turso(world *w, const char *sql, char *out, size_t size)
{
    raw_turso   raw;
    first_value first = { out, size };
    out[0]            = '\0';
    if (!raw_turso_open(&raw, w->path))
        fail_msg("could not open %s: %s", w->path, raw.said);
    int rc = raw_turso_run(&raw, sql, take_first, &first);
    if (rc != 0)
        print_error("%s\n%s (%d)\n", sql, raw.said, rc);
    raw_turso_close(&raw);
    assert_int_equal(0, rc);
}
