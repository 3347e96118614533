/** Sessions that take turns: the library's own statements, in transactions that stay open, in the
 *  order that a case says. PostgreSQL only.
 *
 *  A statement that must not wait is run(); one that must is waits(), and done() when what it
 * waited for is over. Nobody sleeps: whether a session waits is asked of the server until it does.
 */
#ifndef PGQRS_TESTS_SESSIONS_H
#define PGQRS_TESTS_SESSIONS_H

#include <libpq-fe.h>

#include "support/world.h"

#define SESSIONS_MAX 3

typedef struct session {
    PGconn   *pg;
    PGresult *result; /**< of the last statement */
} session;

/** Sessions of the library's kind; world_setup() and the teardown are the case's. */
int sessions_setup(void **state);
int sessions_teardown(void **state);
/** The sessions of the case: A, B, C. */
extern session sessions[SESSIONS_MAX];
#define A (&sessions[0])
#define B (&sessions[1])
#define C (&sessions[2])

/** A case that must fail when a precaution is left out of a statement, or replaced. */
typedef struct race_mutant {
    const char *name; /**< of the case */
    int         stmt;
    const char *precaution, *instead;
} race_mutant;

/** The main() of such cases. With PGQRS_TEST_RACES_MUTANT one of the mutants is tried. */
int races_main(const struct CMUnitTest *cases, size_t count, const race_mutant *mutants,
               size_t mutant_count);
/** The last case: this program once more for each mutant, and its case must fail. */
void without_its_precaution_each_case_fails(void **state);

#define RACE(function) cmocka_unit_test_setup_teardown(function, sessions_setup, sessions_teardown)
#define RACES_MAIN(cases, mutants)                                     \
    races_main((cases), sizeof(cases) / sizeof((cases)[0]), (mutants), \
               sizeof(mutants) / sizeof((mutants)[0]))

/** Two messages of one queue, where a case begins; whatever was there before is gone. */
void with_ready(world *w);
void with_scheduled(world *w); /**< due for an hour */
void with_dead(world *w);
/** Held under LEASE_A, until in an hour; @p passed: until an hour ago. */
void           with_held(world *w, bool passed);
extern int64_t race_queue;
extern int64_t race_id[2];
int64_t        held_under(world *w, int lease);

/** What a holder does, and its statement. */
typedef enum deed { FINISH, RELEASE, DELETE, EXTEND, DEEDS } deed;
int statement_of(deed d);

/** The leases of the cases. */
#define LEASE_A 11
#define LEASE_B 22

void begin_in(session *s);
void commit_in(session *s);
void roll_back_in(session *s);

/** A value for an argument of this name; the others are NULL, or zero where NULL is not allowed.
 * The value of an array has one element more for each time the name is given. */
typedef struct given {
    const char *name;
    int64_t     value;
    const char *text; /**< or else */
} given;

/** Run a statement, which must not have to wait. @return how many rows it answered. */
int run_in(session *s, int stmt, const given *args);
/** Send one that must have to wait, and see that it does. */
void waits_in(session *s, int stmt, const given *args);
/** The answer of what waited. @return how many rows. */
int done_in(session *s);
/** A column of a row of the last answer, as a number; 1 for true, 0 for NULL. */
int64_t answer_in(const session *s, int row, const char *column);
/** The SQLSTATE of what waited, or "". Takes its answer. */
const char *error_in(session *s);

#define QUEUE                     \
    {                             \
        "queue", race_queue, NULL \
    }
#define MESSAGE(i)                  \
    {                               \
        "message", race_id[i], NULL \
    }
#define LEASE(n)           \
    {                      \
        "lease", (n), NULL \
    }
#define ROWS(n)               \
    {                         \
        "max_rows", (n), NULL \
    }
#define HELD(i, n) QUEUE, MESSAGE(i), LEASE(n)

#define ARGS(...)           ((const given[]){ __VA_ARGS__, { NULL, 0, NULL } })
#define run(s, stmt, ...)   run_in((s), PGQRS__STMT_##stmt, ARGS(__VA_ARGS__))
#define waits(s, stmt, ...) waits_in((s), PGQRS__STMT_##stmt, ARGS(__VA_ARGS__))

#endif
