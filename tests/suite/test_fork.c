/* A child process and its parent's store; processes that share a database, and that are killed. */
#include <signal.h>
#include <sys/mman.h>

#include "support/peek.h"
#include "support/together.h"
#include "support/world.h"

typedef struct family {
    world     *w;
    message    m;
    pgqrs_run *run;
} family;

#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            return __LINE__ % 250 + 1; \
    } while (0)

static int use_the_parents_store(void *shared)
{
    const family   *f     = shared;
    pgqrs_store    *store = f->w->store;
    pgqrs_messages *batch = NULL;
    pgqrs_step     *step  = NULL;
    pgqrs_error     error;
    int64_t         id = 0;
    CHECK(pgqrs_enqueue(store, "orders", "1", NULL, &id, &error) == PGQRS_EFORK);
    CHECK(error.status == PGQRS_EFORK && error.message[0] != '\0' && error.hint[0] != '\0');
    CHECK(pgqrs_claim(store, "orders", NULL, &batch, &error) == PGQRS_EFORK && batch == NULL);
    CHECK(pgqrs_archive(store, &f->m, &error) == PGQRS_EFORK);
    CHECK(pgqrs_queue_create(store, "x", NULL, &error) == PGQRS_EFORK);
    CHECK(pgqrs_install(store, &error) == PGQRS_EFORK);
    CHECK(pgqrs_verify(store, &error) == PGQRS_EFORK);
    CHECK(pgqrs_lease_keep(store, &f->m, 0, &error) == PGQRS_EFORK);
    CHECK(pgqrs_step_begin(f->run, "one", NULL, &step) == PGQRS_EFORK && step == NULL);
    CHECK(pgqrs_run_succeed(f->run, NULL) == PGQRS_EFORK);
    pgqrs_run_free(f->run);
    pgqrs_close(store); /* frees memory, and tells the server nothing */
    return 0;
}

static void g24_a_child_is_refused_its_parents_store(void **state)
{
    world *w = *state;
    family f = { .w = w };
    queue(w, "orders");
    workflow(w, "flow");
    enqueue_count(w, "orders", 3, NULL);
    (void)trigger(w, "flow", "1");
    f.m   = claim_one(w, "orders");
    f.run = claim_run(w, "flow");
    assert_ok(pgqrs_lease_keep(w->store, &f.m, 0, &failure)); /* a thread that the child has not */
    for (int i = 0; i < 20; i++)
        assert_int_equal(0, in_child(use_the_parents_store, &f));
    /* and the parent goes on as if nothing had been */
    assert_ok(pgqrs_archive(w->store, &f.m, &failure));
    step_done(f.run, "one", "1");
    assert_run(PGQRS_OK, f.run, pgqrs_run_succeed(f.run, NULL));
    assert_true(claim_one(w, "orders").id > 0);
    (void)enqueue(w, "orders", "1");
    assert_consistent(w);
}

static int open_a_store_of_its_own(void *shared)
{
    world                    *w       = shared;
    pgqrs_store              *store   = NULL;
    const pgqrs_store_options options = world_options(w);
    CHECK(pgqrs_open(w->dsn, &options, &store, NULL) == PGQRS_OK);
    CHECK(pgqrs_enqueue(store, "orders", "\"child\"", NULL, NULL, NULL) == PGQRS_OK);
    pgqrs_close(store);
    return 0;
}

static void g24_a_child_opens_a_store_of_its_own(void **state)
{
    world *w = *state;
    queue(w, "orders");
    (void)enqueue(w, "orders", "\"parent\"");
    if (w->postgres)
        assert_int_equal(0, in_child(open_a_store_of_its_own, w));
    world_close(w, w->store);
    assert_int_equal(0, in_child(open_a_store_of_its_own, w));
    w->store = world_open(w);
    assert_string_equal("\"parent\"", claim_one(w, "orders").payload);
    assert_string_equal("\"child\"", claim_one(w, "orders").payload);
    (void)enqueue(w, "orders", "1");
}

static int open_a_file_that_the_parent_has_open(void *shared)
{
    world                    *w       = shared;
    pgqrs_store              *store   = NULL;
    const pgqrs_store_options options = world_options(w);
    pgqrs_error               error;
    /* SQLite believes that this process holds the parent's locks: it would lose commits */
    CHECK(pgqrs_open(w->dsn, &options, &store, &error) == PGQRS_EFORK && store == NULL);
    CHECK(error.message[0] != '\0' && error.hint[0] != '\0');
    return 0;
}

static void g24_a_child_is_refused_a_file_that_was_open_at_fork(void **state)
{
    world *w = *state;
    if (w->postgres)
        skip();
    queue(w, "orders");
    assert_int_equal(0, in_child(open_a_file_that_the_parent_has_open, w));
    (void)enqueue(w, "orders", "1");
    assert_consistent(w);
}

static void g35_processes_share_a_database(void **state)
{
    world *w = *state;
    if (w->turso)
        skip(); /* one process at a time: see test_turso_files.c */
    queue(w, "orders");
    world_close(w, w->store); /* SQLite: no file may be open at fork */
    assert_int_equal(0, in_children(8, open_a_store_of_its_own, w));
    w->store = world_open(w);
    assert_int_equal(8, measure(w, "orders").ready);
    assert_consistent(w);
}

/* What a process that is about to be killed was told. */
typedef struct told {
    world  *w;
    size_t  count;
    int64_t ids[40];
    int64_t run_id;
} told;

static int be_told_and_be_killed(void *shared)
{
    told                     *t       = shared;
    pgqrs_store              *store   = NULL;
    pgqrs_messages           *batch   = NULL;
    pgqrs_run                *run     = NULL;
    pgqrs_step               *step    = NULL;
    const pgqrs_store_options options = world_options(t->w);
    CHECK(pgqrs_open(t->w->dsn, &options, &store, NULL) == PGQRS_OK);
    while (t->count < 40) {
        CHECK(pgqrs_enqueue(store, "orders", "1", NULL, &t->ids[t->count], NULL) == PGQRS_OK);
        t->count++;
    }
    CHECK(pgqrs_trigger(store, "flow", "1", NULL, &t->run_id, NULL) == PGQRS_OK);
    CHECK(pgqrs_claim(store, "flow", NULL, &batch, NULL) == PGQRS_OK);
    CHECK(pgqrs_run_from(store, batch, 0, &run, NULL) == PGQRS_OK);
    CHECK(pgqrs_step_begin(run, "one", NULL, &step) == PGQRS_OK);
    CHECK(pgqrs_step_succeed(step, "\"kept\"") == PGQRS_OK);
    (void)raise(SIGKILL);
    return 1;
}

static void g01_what_a_killed_process_was_told_is_there(void **state)
{
    world *w = *state;
    told  *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t != MAP_FAILED);
    t->w = w;
    queue(w, "orders");
    workflow(w, "flow");
    world_close(w, w->store); /* SQLite: no file may be open at fork */
    assert_int_equal(255, in_child(be_told_and_be_killed, t));
    w->store = world_open(w);
    assert_int_equal(40, t->count);
    for (size_t i = 0; i < t->count; i++)
        assert_state(w, t->ids[i], PGQRS_STATE_READY);
    advance(w, LEASE_US + 1);
    pgqrs_run *run = claim_run(w, "flow");
    assert_int_equal(t->run_id, pgqrs_run_id(run));
    assert_int_equal(2, pgqrs_run_attempt(run));
    assert_string_equal("\"kept\"", replayed(run, "one"));
    assert_consistent(w);
    (void)munmap(t, sizeof(*t));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g01_what_a_killed_process_was_told_is_there),
        CASE(g24_a_child_is_refused_its_parents_store),
        CASE(g24_a_child_opens_a_store_of_its_own),
        CASE(g24_a_child_is_refused_a_file_that_was_open_at_fork),
        CASE(g35_processes_share_a_database),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
