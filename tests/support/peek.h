/** SQL behind the library's back: to look at what is stored, or to spoil it. */
#ifndef PGQRS_TESTS_PEEK_H
#define PGQRS_TESTS_PEEK_H

#include "support/world.h"

/** Run statements. Tables are named with their prefix, without a schema. */
void sql_run(world *w, const char *sql);
/** The same in the words of each backend; NULL: nothing to do there. */
void sql_run_each(world *w, const char *postgres, const char *sqlite);
/** The first column of the first row, as a number; 0 without a row. */
int64_t sql_number(world *w, const char *sql);
/** The same as text; "" without a row. */
void sql_text(world *w, const char *sql, char *out, size_t size);

/** PostgreSQL: end the other sessions of which a condition on pg_stat_activity holds, and wait
 * until they are gone. @return how many they were. */
int64_t end_sessions(world *w, const char *condition);

/** One line that changes when any row of any table comes, goes or moves. */
void sql_fingerprint(world *w, char *out, size_t size);
/** Assert that every message is in exactly one place, and nothing is without its message. */
void assert_consistent(world *w);

#endif
