/** Broken on purpose: SQL without one of its precautions, to see that the storm finds out. */
#ifndef PGQRS_TESTS_MUTANT_H
#define PGQRS_TESTS_MUTANT_H

#include <stdbool.h>

/** Change the SQL of this process before a store is opened. @p name: "-" = leave it whole.
 *  @return false, told on stderr, when there is no such mutant or its text is not in the SQL. */
bool mutant_install(const char *dsn, const char *name);

#endif
