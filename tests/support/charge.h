/** A step that does everything a transactional step can: an effect in a table of the user's, a
 * message, a run. */
#ifndef PGQRS_TESTS_CHARGE_H
#define PGQRS_TESTS_CHARGE_H

#include "support/world.h"

/* In the words of each backend. */
#define INSERT "INSERT INTO effects (name) VALUES ('mine')"
/* Take every lease away, behind the holders' backs. */
#define ROB "UPDATE pgqrs_leased SET lease = lease + 1"

/** Workflows "flow" and "child", queue "receipts", the user's table "effects". */
void       charge_prepare(world *w);
pgqrs_run *charge_run(world *w);
/** Begin a transactional step that is to be executed. */
pgqrs_step *begin_tx(pgqrs_run *run, const char *name);
/** The same, with everything done but its end. */
pgqrs_step *work_in_tx(world *w, pgqrs_run *run, const char *name);
int64_t     effects(world *w);
/** What is there is of @p count steps like that. */
void assert_done(world *w, int64_t count);

#endif
