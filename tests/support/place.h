/** Where a world lives, for each backend: made, removed, and asked in SQL. */
#ifndef PGQRS_TESTS_PLACE_H
#define PGQRS_TESTS_PLACE_H

#include "support/world.h"

void place_make_postgres(world *w);
void place_remove_postgres(world *w);
/** Run SQL and write the first value of its answer, or "". */
void place_sql_postgres(world *w, const char *sql, char *out, size_t size);

/** A folder of the case's own for w->path, in which nothing is yet. */
void place_folder(world *w);
void place_folder_remove(world *w);

void place_make_sqlite(world *w);
void place_sql_sqlite(world *w, const char *sql, char *out, size_t size);

void place_make_turso(world *w);
void place_sql_turso(world *w, const char *sql, char *out, size_t size);

#endif
