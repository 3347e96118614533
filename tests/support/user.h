/** A program that uses the database itself: a connection of its own to the world's database, with
 * the copy of libpq or SQLite that the library is linked with. */
#ifndef PGQRS_TESTS_USER_H
#define PGQRS_TESTS_USER_H

#include "support/world.h"

typedef struct user {
    world          *w;
    struct pg_conn *pg;     /**< PostgreSQL: in the case's schema */
    struct sqlite3 *sqlite; /**< SQLite */
} user;

void user_open(user *u, world *w);
void user_close(user *u);

/** Run statements; false, and nothing printed, when one fails. */
bool user_try(user *u, const char *sql);
void user_do(user *u, const char *sql);
/** Begin a transaction that writes. */
void user_begin(user *u);

/** Adopt its connection, as a store with the world's options. Closed by the case. */
pgqrs_status user_adopt(user *u, pgqrs_store **out_store);
pgqrs_store *user_adopted(user *u);

/** SQL of the user on the connection of a transactional step. */
bool step_try(world *w, pgqrs_step *step, const char *sql);
void step_do(world *w, pgqrs_step *step, const char *sql);

#endif
