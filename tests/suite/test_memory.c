/* Out of memory, at every allocation there is: a call that fails says so, leaves nothing half done
 * and leaks nothing, and the store goes on. */
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "support/peek.h"
#include "support/world.h"

/* Everything the library allocates goes through here; the @p fail_at-th allocation fails. */
typedef struct memory {
    atomic_long asked;
    atomic_long held;
    long        fail_at; /* 0: none */
} memory;

static memory mem;

#define DEADLINE_SECONDS 6

static bool refuses(void)
{
    return atomic_fetch_add(&mem.asked, 1) + 1 == mem.fail_at;
}

static void *take(size_t size, void *user_data)
{
    (void)user_data;
    void *got = refuses() ? NULL : malloc(size);
    if (got != NULL)
        (void)atomic_fetch_add(&mem.held, 1);
    return got;
}

static void *change(void *old, size_t size, void *user_data)
{
    (void)user_data;
    void *got = refuses() ? NULL : realloc(old, size);
    if (got != NULL && old == NULL)
        (void)atomic_fetch_add(&mem.held, 1);
    return got;
}

static void give_back(void *old, void *user_data)
{
    (void)user_data;
    if (old != NULL)
        (void)atomic_fetch_sub(&mem.held, 1);
    free(old);
}

static const pgqrs_allocator counting = { take, change, give_back, NULL };

/* Whether a call did what it should, or said that there is no memory; and said it at once: one that
 * is forgotten waits for its deadline. */
static bool went(pgqrs_status status, const pgqrs_error *error, const char *what, bool *sound)
{
    static time_t last;
    time_t        now = time(NULL);
    if (last != 0 && now - last >= DEADLINE_SECONDS - 1) {
        print_error("allocation %ld fails: %s answers at its deadline\n", mem.fail_at, what);
        *sound = false;
    }
    last = now;
    if (status != PGQRS_OK
        && (status != PGQRS_ENOMEM || (error != NULL && error->status != PGQRS_ENOMEM))) {
        print_error("allocation %ld fails: %s answers %s, %s\n", mem.fail_at, what,
                    pgqrs_status_name(status), error != NULL ? error->message : "");
        *sound = false;
    }
    return status == PGQRS_OK;
}

#define WENT(call)     went((call), &error, #call, &sound)
#define RUN_WENT(call) went((call), NULL, #call, &sound)

/* A message from end to end. */
static bool handle_messages(pgqrs_store *store)
{
    pgqrs_error     error;
    pgqrs_messages *batch   = NULL;
    pgqrs_records  *records = NULL;
    pgqrs_queues   *queues  = NULL;
    bool            sound   = true;
    const char     *many[]  = { "1", "2", "3" };
    int64_t         id      = 0;
    (void)WENT(pgqrs_queue_ensure(store, "orders", NULL, &error));
    if (!WENT(pgqrs_queue_create(store, "brief", NULL, &error)))
        sound = sound && pgqrs_queue_delete(store, "brief", true, NULL) == PGQRS_ENOTFOUND;
    else if (!WENT(pgqrs_queue_delete(store, "brief", true, &error)))
        sound = sound && pgqrs_queue_delete(store, "brief", true, NULL) == PGQRS_OK;
    (void)WENT(pgqrs_enqueue(store, "orders", "{\"n\":1}", PGQRS_OPTIONS(enqueue, .headers = "{}"),
                             &id, &error));
    (void)WENT(pgqrs_enqueue_many(store, "orders", many, 3, NULL, NULL, &error));
    (void)WENT(
        pgqrs_enqueue(store, "orders", "4", PGQRS_OPTIONS(enqueue, .key = "k"), NULL, &error));
    if (WENT(pgqrs_claim(store, "orders", PGQRS_OPTIONS(claim, .limit = 10), &batch, &error))) {
        for (size_t i = 0; i < pgqrs_messages_count(batch); i++) {
            const message *m = pgqrs_messages_at(batch, i);
            if (i % 3 == 0)
                (void)WENT(pgqrs_archive(store, m, &error));
            else if (i % 3 == 1)
                (void)WENT(pgqrs_retry(store, m, "CODE", "text", &error));
            else
                (void)WENT(pgqrs_dead_letter(store, m, "CODE", "text", &error));
        }
    } else {
        sound = sound && batch == NULL;
    }
    pgqrs_messages_free(batch);
    if (id > 0)
        (void)WENT(pgqrs_message_get(store, id, &records, &error));
    pgqrs_records_free(records);
    records = NULL;
    (void)WENT(pgqrs_message_list(store, "orders", NULL, &records, &error));
    pgqrs_records_free(records);
    (void)WENT(pgqrs_queue_list(store, &queues, &error));
    pgqrs_queues_free(queues);
    return sound;
}

/* A run from end to end. */
static bool handle_a_run(pgqrs_store *store)
{
    pgqrs_error         error;
    pgqrs_messages     *batch = NULL;
    pgqrs_run          *run   = NULL;
    pgqrs_run_records  *runs  = NULL;
    pgqrs_step_records *steps = NULL;
    pgqrs_step         *step;
    bool                sound = true;
    (void)WENT(pgqrs_workflow_ensure(store, "flow", NULL, &error));
    (void)WENT(pgqrs_trigger(store, "flow", "{\"n\":1}", NULL, NULL, &error));
    if (WENT(pgqrs_claim(store, "flow", NULL, &batch, &error)) && pgqrs_messages_count(batch) == 1
        && WENT(pgqrs_run_from(store, batch, 0, &run, &error))) {
        if (RUN_WENT(pgqrs_step_begin(run, "one", NULL, &step)) && !pgqrs_step_recorded(step)
            && RUN_WENT(pgqrs_step_succeed(step, "{\"n\":2}")))
            (void)pgqrs_run_printf(run, "%0500d", 1);
        (void)WENT(pgqrs_step_list(store, pgqrs_run_id(run), &steps, &error));
        (void)RUN_WENT(pgqrs_run_succeed(run, "3"));
    }
    pgqrs_step_records_free(steps);
    pgqrs_run_free(run);
    pgqrs_messages_free(batch);
    (void)WENT(pgqrs_run_list(store, "flow", NULL, &runs, &error));
    pgqrs_run_records_free(runs);
    return sound;
}

/* What came back through an event loop. */
static void take_back(pgqrs_completions *ready, bool *sound)
{
    struct pollfd fd    = { .fd = pgqrs_completions_fd(ready), .events = POLLIN };
    pgqrs_batch  *batch = NULL;
    while ((batch = pgqrs_completions_next(ready, NULL)) == NULL)
        (void)poll(&fd, 1, -1);
    for (size_t i = 0; i < pgqrs_batch_count(batch); i++)
        if (!went(pgqrs_batch_status(batch, i), pgqrs_batch_error(batch, i), "an operation", sound)
            && pgqrs_batch_id(batch, i) != 0)
            *sound = false;
    pgqrs_batch_free(batch);
}

/* Batches, committed and submitted. */
static bool handle_batches(pgqrs_store *store)
{
    pgqrs_error        error;
    pgqrs_messages    *found = NULL;
    pgqrs_completions *ready = NULL;
    pgqrs_batch       *batch;
    bool               sound = true;
    (void)WENT(pgqrs_queue_ensure(store, "orders", NULL, &error));
    (void)WENT(pgqrs_enqueue(store, "orders", "1", NULL, NULL, &error));
    if (WENT(pgqrs_claim(store, "orders", NULL, &found, &error))
        && pgqrs_messages_count(found) == 1) {
        batch = pgqrs_batch_new(store);
        (void)pgqrs_batch_archive(batch, pgqrs_messages_at(found, 0));
        (void)pgqrs_batch_enqueue(batch, "orders", "2", PGQRS_OPTIONS(enqueue, .key = "b"));
        (void)pgqrs_batch_trigger(batch, "flow", "3", NULL);
        (void)WENT(pgqrs_batch_commit(batch, &error));
        pgqrs_batch_free(batch);
    }
    pgqrs_messages_free(found);
    if (WENT(pgqrs_completions_new(&ready, &error))) {
        for (int i = 0; i < 2; i++) {
            batch = pgqrs_batch_new(store);
            if (i == 0)
                pgqrs_batch_independent(batch);
            (void)pgqrs_batch_enqueue(batch, "orders", "4", NULL);
            (void)pgqrs_batch_enqueue(batch, "orders", "5", PGQRS_OPTIONS(enqueue, .key = "c"));
            if (i == 0) {
                (void)pgqrs_batch_claim(batch, "orders", NULL);
                (void)pgqrs_batch_queue_list(batch);
            }
            if (WENT(pgqrs_batch_submit(batch, ready, NULL, &error)))
                take_back(ready, &sound);
            else
                pgqrs_batch_free(batch);
        }
        pgqrs_completions_free(ready);
    }
    return sound;
}

/* Open, @p handle, close, with every allocation failing in turn, until none fails any more. */
static void starve(world *w, bool (*handle)(pgqrs_store *store))
{
    pgqrs_store_options options = world_options(w);
    long                fail_at = 0;
    bool                sound = true, starved = true;
    options.timeout_us = DEADLINE_SECONDS * PGQRS_SECOND;
    pgqrs_set_allocator(&counting);
    while (sound && starved) {
        pgqrs_error  error;
        pgqrs_store *store = NULL;
        mem.fail_at        = ++fail_at;
        atomic_store(&mem.asked, 0);
        atomic_store(&mem.held, 0);
        if (WENT(pgqrs_open(w->dsn, &options, &store, &error)))
            sound = handle(store) && sound;
        else
            sound = sound && store == NULL;
        pgqrs_close(store);
        starved = atomic_load(&mem.asked) >= fail_at;
        if (atomic_load(&mem.held) != 0) {
            print_error("allocation %ld fails: %ld leaked\n", fail_at, atomic_load(&mem.held));
            sound = false;
        }
    }
    mem.fail_at = 0;
    pgqrs_set_allocator(NULL);
    assert_true(sound);
    assert_true(fail_at > 20); /* there was something to fail */
    w->store = world_open(w);
    assert_ok(pgqrs_verify(w->store, &failure));
    assert_consistent(w);
}

static void begin_starving(world *w)
{
    queue(w, "orders");
    workflow(w, "flow");
    world_close(w, w->store); /* memory comes from one place while anything is open */
}

static void g43_messages_survive_every_lack_of_memory(void **state)
{
    begin_starving(*state);
    starve(*state, handle_messages);
}

static void g43_runs_survive_every_lack_of_memory(void **state)
{
    begin_starving(*state);
    starve(*state, handle_a_run);
}

static void g43_batches_survive_every_lack_of_memory(void **state)
{
    begin_starving(*state);
    starve(*state, handle_batches);
}

static bool install(pgqrs_store *store)
{
    pgqrs_error        error;
    bool               sound = true;
    pgqrs_plan        *plan  = NULL;
    pgqrs_description *about = NULL;
    if (!WENT(pgqrs_install_plan(store, NULL, &plan, &error)))
        assert_null(plan);
    if (!WENT(pgqrs_store_describe(store, &about, &error)))
        assert_null(about);
    pgqrs_plan_free(plan);
    pgqrs_description_free(about);
    (void)WENT(pgqrs_install(store, &error));
    if (error.status == PGQRS_OK)
        (void)WENT(pgqrs_verify(store, &error));
    return sound;
}

static void g43_installing_survives_every_lack_of_memory(void **state)
{
    starve(*state, install);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(g43_messages_survive_every_lack_of_memory),
        CASE(g43_runs_survive_every_lack_of_memory),
        CASE(g43_batches_survive_every_lack_of_memory),
        CASE_BARE(g43_installing_survives_every_lack_of_memory),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
