/** The world of one case: a migrated, empty store of the backend under test, and a clock.
 *
 *  PGQRS_TEST_BACKEND says which backend ("sqlite", "postgres", "turso"), PGQRS_TEST_PG where
 *  PostgreSQL is; when that is a pooler, PGQRS_TEST_PG_DIRECT is the server behind it.
 *  Every case has a schema, or a file, of its own; nothing is left behind. The clock stands still
 *  until the case advances it, so no case sleeps.
 *
 *  Helpers assert that they succeed. What they return lives until the end of the case: nobody frees
 *  it. Assertions are for the thread that runs the case only. */
#ifndef PGQRS_TESTS_WORLD_H
#define PGQRS_TESTS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <pgqrs/pgqrs.h>

/* The settings of a queue that nobody configured (pgqrs.h). */
#define LEASE_US     (30 * PGQRS_SECOND)
#define BACKOFF_US   PGQRS_SECOND
#define MAX_ATTEMPTS 5

typedef pgqrs_message message;

typedef struct world {
    pgqrs_store     *store;    /**< the store under test */
    bool             postgres; /**< which backend: for what only one of them has */
    bool             turso;
    char             dsn[512];    /**< for stores that a case opens itself */
    char             direct[512]; /**< the same; the server itself, when dsn is a pooler's */
    bool             pooled;      /**< dsn is a transaction pooler's */
    char             schema[64];  /**< PostgreSQL: the case's own; else "" */
    char             path[256];   /**< SQLite, Turso: the file; others are beside it */
    struct pg_conn  *pg;          /**< PostgreSQL: a connection of the case, in its schema */
    bool             real_clock;
    _Atomic(int64_t) wall_us;
    _Atomic(int64_t) monotonic_us;
    struct kept     *kept;
} world;

/** Where every call of a case leaves its error. Each thread has its own. */
extern _Thread_local pgqrs_error failure;

/* Setups: an installed store with a clock that stands still; the same with the real clocks, for
 * what waits; a database without tables and without a store. */
int world_setup(void **state);
int world_setup_real(void **state);
int world_setup_bare(void **state);
int world_teardown(void **state);

/** End the program as skipped when another backend than this is under test. */
void only_on(const char *backend);

#define CASE(function) cmocka_unit_test_setup_teardown(function, world_setup, world_teardown)
#define CASE_REAL(function) \
    cmocka_unit_test_setup_teardown(function, world_setup_real, world_teardown)
#define CASE_BARE(function) \
    cmocka_unit_test_setup_teardown(function, world_setup_bare, world_teardown)

/** Let time pass, for everybody who uses the world's clock. */
void    advance(world *w, int64_t us);
int64_t now_us(const world *w);

/** The options that a store of this world is opened with. */
pgqrs_store_options world_options(world *w);
/** Another store on the same database, as another process would have it; closed with the case. */
pgqrs_store *world_open(world *w);
/** Close a store of world_open() before the end, as a process that goes away. */
void world_close(world *w, pgqrs_store *store);

/* --- Statuses ------------------------------------------------------------------------------------
 */

/** Assert the status of a call that was given `&failure`, which it must have set. */
#define assert_status(expected, call) \
    (world_expect(), world_status((expected), (call), NULL, #call, __FILE__, __LINE__))
#define assert_ok(call) assert_status(PGQRS_OK, call)
/** Assert the status of a call on a run or step handle, which keeps its own error. */
#define assert_run(expected, run, call) \
    (world_expect(), world_status((expected), (call), (run), #call, __FILE__, __LINE__))

void world_expect(void);
void world_status(pgqrs_status expected, pgqrs_status got, const pgqrs_run *run, const char *call,
                  const char *file, int line);

/* --- Queues and messages -------------------------------------------------------------------------
 */

void queue(world *w, const char *name);
void queue_with(world *w, const char *name, const pgqrs_queue_options *options);
void workflow(world *w, const char *name);
void workflow_with(world *w, const char *name, const pgqrs_queue_options *options);

int64_t enqueue(world *w, const char *queue, const char *payload);
int64_t enqueue_with(world *w, const char *queue, const char *payload,
                     const pgqrs_enqueue_options *options);
/** @p count messages {"n":0} …, in order; @p ids may be NULL. */
void enqueue_count(world *w, const char *queue, size_t count, int64_t *ids);

/** One message, or one with id 0. */
message claim_one(world *w, const char *queue);
/** Up to @p limit messages into @p out, which has room for them. */
size_t  claim_many(world *w, const char *queue, int limit, message *out);
size_t  claim_with(world *w, pgqrs_store *store, const char *queue,
                   const pgqrs_claim_options *options, message *out, size_t room);
message claim_id(world *w, int64_t id);

/** What the library says of a message. */
pgqrs_record        record(world *w, int64_t id);
pgqrs_queue         queue_get(world *w, const char *name);
pgqrs_queue_metrics measure(world *w, const char *queue);
void                assert_state(world *w, int64_t id, pgqrs_state state);
/** No such message, in any state. */
void assert_gone(world *w, int64_t id);

/* --- Runs and steps ------------------------------------------------------------------------------
 */

int64_t trigger(world *w, const char *workflow, const char *input);
/** The next run of a workflow: leased, as a worker would get it; by a clock that stands still its
 *  lease is not kept. NULL when there is none. */
pgqrs_run *claim_run(world *w, const char *workflow);
pgqrs_run *claim_run_from(world *w, pgqrs_store *store, const char *workflow);
/** A handle on a run by its id, holding nothing. */
pgqrs_run *open_run(world *w, int64_t id);
/** Free a handle before the end of the case: what a crash leaves is a lease that passes. */
void drop_run(world *w, pgqrs_run *run);

/** Begin a step that is to be executed. */
pgqrs_step *begin(pgqrs_run *run, const char *name);
/** Begin and record a step. */
void step_done(pgqrs_run *run, const char *name, const char *output);
/** Begin a step that has a result, and return it. */
const char *replayed(pgqrs_run *run, const char *name);

pgqrs_run_record run_record(world *w, int64_t id);
void             assert_run_status(world *w, int64_t id, pgqrs_run_status status);
/** The recorded step of that name; status 0 when there is none. */
pgqrs_step_record step_record(world *w, int64_t run_id, const char *name);
size_t            step_count(world *w, int64_t run_id);

/** What a worker that stops when idle does until then. */
void work(world *w, const char *workflow, pgqrs_run_handler handler, void *user_data);

/* --- Costs ---------------------------------------------------------------------------------------
 */

/** What the store has sent since @p before. */
pgqrs_counters counted(pgqrs_store *store);
pgqrs_counters spent(pgqrs_store *store, const pgqrs_counters *before);

#endif
