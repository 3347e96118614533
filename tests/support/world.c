#include "support/world.h"

#include <stdlib.h>
#include <unistd.h>

#include "support/place.h"

/* A case that takes longer than this hangs: the process is ended by SIGALRM. */
#define CASE_SECONDS (180 * PGQRS_TEST_FACTOR)
/* How long a call may take: a disk that many share can keep a commit waiting for longer than the
 * 30 seconds that stores wait by themselves. */
#define CALL_US (120 * PGQRS_TEST_FACTOR * PGQRS_SECOND)

/* Where the clock of a case starts: 2030-01-01. */
#define START_US INT64_C(1893456000000000)

_Thread_local pgqrs_error failure;

/* --- What lives until the end of the case --------------------------------------------------------
 */

typedef struct kept {
    struct kept *next;
    void        *object;
    void (*release)(void *object);
} kept;

static void keep(world *w, void *object, void (*release)(void *object))
{
    kept *k = malloc(sizeof(*k));
    assert_non_null(k);
    *k      = (kept){ .next = w->kept, .object = object, .release = release };
    w->kept = k;
}

/* The last kept first: handles go before the store they came from. */
static void release_all(world *w)
{
    while (w->kept != NULL) {
        kept *k = w->kept;
        w->kept = k->next;
        if (k->object != NULL)
            k->release(k->object);
        free(k);
    }
}

static void release_now(world *w, void *object)
{
    for (kept *k = w->kept; k != NULL; k = k->next)
        if (k->object == object) {
            k->object = NULL;
            k->release(object);
            return;
        }
    fail_msg("released twice, or not of this world");
}

static void free_messages(void *object)
{
    pgqrs_messages_free(object);
}

static void free_records(void *object)
{
    pgqrs_records_free(object);
}

static void free_queues(void *object)
{
    pgqrs_queues_free(object);
}

static void free_run(void *object)
{
    pgqrs_run_free(object);
}

static void free_runs(void *object)
{
    pgqrs_run_records_free(object);
}

static void free_steps(void *object)
{
    pgqrs_step_records_free(object);
}

static void free_store(void *object)
{
    pgqrs_close(object);
}

/* --- The clock -----------------------------------------------------------------------------------
 */

static int64_t read_wall(void *user_data)
{
    const world *w = user_data;
    return atomic_load(&w->wall_us);
}

static int64_t read_monotonic(void *user_data)
{
    const world *w = user_data;
    return atomic_load(&w->monotonic_us);
}

void advance(world *w, int64_t us)
{
    assert_false(w->real_clock);
    (void)atomic_fetch_add(&w->wall_us, us);
    (void)atomic_fetch_add(&w->monotonic_us, us);
}

int64_t now_us(const world *w)
{
    return atomic_load(&w->wall_us);
}

/* --- Beginning and end ---------------------------------------------------------------------------
 */

static world *make_world(void)
{
    const char *backend = getenv("PGQRS_TEST_BACKEND");
    world      *w       = calloc(1, sizeof(*w));
    assert_non_null(w);
    (void)alarm(CASE_SECONDS);
    atomic_init(&w->wall_us, START_US);
    atomic_init(&w->monotonic_us, 1000 * PGQRS_SECOND);
    w->postgres = backend != NULL && strcmp(backend, "postgres") == 0;
    w->turso    = backend != NULL && strcmp(backend, "turso") == 0;
    if (w->postgres)
        place_make_postgres(w);
    else if (w->turso)
        place_make_turso(w);
    else if (backend == NULL || strcmp(backend, "sqlite") == 0)
        place_make_sqlite(w);
    else
        fail_msg("PGQRS_TEST_BACKEND \"%s\" is not known", backend);
    return w;
}

void only_on(const char *backend)
{
    const char *tested = getenv("PGQRS_TEST_BACKEND");
    if (tested != NULL && strcmp(tested, backend) == 0)
        return;
    print_message("for %s alone: skipped\n", backend);
    exit(77);
}

int world_setup_bare(void **state)
{
    *state = make_world();
    return 0;
}

static int setup(void **state, bool real_clock)
{
    world *w      = make_world();
    w->real_clock = real_clock;
    w->store      = world_open(w);
    assert_ok(pgqrs_install(w->store, &failure));
    *state = w;
    return 0;
}

int world_setup(void **state)
{
    return setup(state, false);
}

int world_setup_real(void **state)
{
    return setup(state, true);
}

int world_teardown(void **state)
{
    world *w = *state;
    release_all(w);
    if (w->postgres)
        place_remove_postgres(w);
    else
        place_folder_remove(w);
    free(w);
    (void)alarm(0);
    return 0;
}

pgqrs_store_options world_options(world *w)
{
    pgqrs_store_options options = { .struct_size = sizeof(options), .timeout_us = CALL_US };
    if (w->postgres)
        options.schema = w->schema;
    if (!w->real_clock)
        options.clock = (pgqrs_clock){ read_wall, read_monotonic, w };
    return options;
}

pgqrs_store *world_open(world *w)
{
    pgqrs_store              *store   = NULL;
    const pgqrs_store_options options = world_options(w);
    assert_ok(pgqrs_open(w->dsn, &options, &store, &failure));
    assert_non_null(store);
    keep(w, store, free_store);
    return store;
}

void world_close(world *w, pgqrs_store *store)
{
    release_now(w, store);
}

/* --- Statuses ------------------------------------------------------------------------------------
 */

#define NOT_SET ((pgqrs_status)-1)

void world_expect(void)
{
    failure.status = NOT_SET;
}

void world_status(pgqrs_status expected, pgqrs_status got, const pgqrs_run *run, const char *call,
                  const char *file, int line)
{
    const pgqrs_error *said = run != NULL ? pgqrs_run_error(run) : &failure;
    if (got != expected) {
        print_error("%s\n  expected %s, got %s\n  %s\n  %s\n  %s\n", call,
                    pgqrs_status_name(expected), pgqrs_status_name(got), said->message,
                    said->detail, said->hint);
        _fail(file, line);
    }
    /* An error is always set, to success too. */
    if (run == NULL && failure.status != NOT_SET && failure.status != got) {
        print_error("%s\n  returned %s, but the error says %s\n", call, pgqrs_status_name(got),
                    pgqrs_status_name(failure.status));
        _fail(file, line);
    }
    if (got != PGQRS_OK && failure.status == got && failure.message[0] == '\0') {
        print_error("%s\n  %s without a message\n", call, pgqrs_status_name(got));
        _fail(file, line);
    }
}

/* --- Queues and messages -------------------------------------------------------------------------
 */

void queue(world *w, const char *name)
{
    queue_with(w, name, NULL);
}

void queue_with(world *w, const char *name, const pgqrs_queue_options *options)
{
    assert_ok(pgqrs_queue_create(w->store, name, options, &failure));
}

void workflow(world *w, const char *name)
{
    workflow_with(w, name, NULL);
}

void workflow_with(world *w, const char *name, const pgqrs_queue_options *options)
{
    assert_ok(pgqrs_workflow_ensure(w->store, name, options, &failure));
}

int64_t enqueue(world *w, const char *queue, const char *payload)
{
    return enqueue_with(w, queue, payload, NULL);
}

int64_t enqueue_with(world *w, const char *queue, const char *payload,
                     const pgqrs_enqueue_options *options)
{
    int64_t id = 0;
    assert_ok(pgqrs_enqueue(w->store, queue, payload, options, &id, &failure));
    assert_true(id > 0);
    return id;
}

void enqueue_count(world *w, const char *queue, size_t count, int64_t *ids)
{
    char(*texts)[32]      = calloc(count, sizeof(*texts));
    const char **payloads = calloc(count, sizeof(*payloads));
    assert_non_null(texts);
    assert_non_null(payloads);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "{\"n\":%zu}", i);
        payloads[i] = texts[i];
    }
    assert_ok(pgqrs_enqueue_many(w->store, queue, payloads, count, NULL, ids, &failure));
    free(payloads);
    free(texts);
}

size_t claim_with(world *w, pgqrs_store *store, const char *queue,
                  const pgqrs_claim_options *options, message *out, size_t room)
{
    pgqrs_messages *messages = NULL;
    assert_ok(pgqrs_claim(store, queue, options, &messages, &failure));
    assert_non_null(messages);
    keep(w, messages, free_messages);
    size_t count = pgqrs_messages_count(messages);
    assert_true(count <= room);
    for (size_t i = 0; i < count; i++)
        out[i] = *pgqrs_messages_at(messages, i);
    assert_null(pgqrs_messages_at(messages, count));
    return count;
}

message claim_one(world *w, const char *queue)
{
    message m = { 0 };
    (void)claim_with(w, w->store, queue, NULL, &m, 1);
    return m;
}

size_t claim_many(world *w, const char *queue, int limit, message *out)
{
    return claim_with(w, w->store, queue, PGQRS_OPTIONS(claim, .limit = limit), out, (size_t)limit);
}

message claim_id(world *w, int64_t id)
{
    pgqrs_messages *messages = NULL;
    assert_ok(pgqrs_claim_id(w->store, id, NULL, &messages, &failure));
    keep(w, messages, free_messages);
    assert_int_equal(1, pgqrs_messages_count(messages));
    return *pgqrs_messages_at(messages, 0);
}

pgqrs_record record(world *w, int64_t id)
{
    pgqrs_records *records = NULL;
    assert_ok(pgqrs_message_get(w->store, id, &records, &failure));
    keep(w, records, free_records);
    assert_int_equal(1, pgqrs_records_count(records));
    return *pgqrs_records_at(records, 0);
}

pgqrs_queue queue_get(world *w, const char *name)
{
    pgqrs_queues *queues = NULL;
    assert_ok(pgqrs_queue_get(w->store, name, &queues, &failure));
    keep(w, queues, free_queues);
    assert_int_equal(1, pgqrs_queues_count(queues));
    return *pgqrs_queues_at(queues, 0);
}

pgqrs_queue_metrics measure(world *w, const char *queue)
{
    pgqrs_queue_metrics metrics;
    assert_ok(pgqrs_queue_measure(w->store, queue, &metrics, &failure));
    return metrics;
}

void assert_state(world *w, int64_t id, pgqrs_state state)
{
    assert_string_equal(pgqrs_state_name(state), pgqrs_state_name(record(w, id).state));
}

void assert_gone(world *w, int64_t id)
{
    pgqrs_records *records = NULL;
    assert_status(PGQRS_ENOTFOUND, pgqrs_message_get(w->store, id, &records, &failure));
    assert_null(records);
}

/* --- Runs and steps ------------------------------------------------------------------------------
 */

int64_t trigger(world *w, const char *workflow, const char *input)
{
    int64_t id = 0;
    assert_ok(pgqrs_trigger(w->store, workflow, input, NULL, &id, &failure));
    assert_true(id > 0);
    return id;
}

pgqrs_run *claim_run_from(world *w, pgqrs_store *store, const char *workflow)
{
    pgqrs_messages *messages = NULL;
    pgqrs_run      *run      = NULL;
    assert_ok(pgqrs_claim(store, workflow, NULL, &messages, &failure));
    if (pgqrs_messages_count(messages) == 1) {
        assert_ok(pgqrs_run_from(store, messages, 0, &run, &failure));
        assert_non_null(run);
        keep(w, run, free_run);
        if (!w->real_clock) /* else it would not pass, if the keeper's thread is quick */
            assert_ok(pgqrs_lease_unkeep(store, pgqrs_run_message(run), &failure));
    }
    pgqrs_messages_free(messages); /* the handle has what it needs */
    return run;
}

pgqrs_run *claim_run(world *w, const char *workflow)
{
    return claim_run_from(w, w->store, workflow);
}

pgqrs_run *open_run(world *w, int64_t id)
{
    pgqrs_run *run = NULL;
    assert_ok(pgqrs_run_open(w->store, id, &run, &failure));
    assert_non_null(run);
    keep(w, run, free_run);
    return run;
}

void drop_run(world *w, pgqrs_run *run)
{
    release_now(w, run);
}

pgqrs_step *begin(pgqrs_run *run, const char *name)
{
    pgqrs_step *step = NULL;
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, name, NULL, &step));
    assert_non_null(step);
    assert_false(pgqrs_step_recorded(step));
    return step;
}

void step_done(pgqrs_run *run, const char *name, const char *output)
{
    assert_run(PGQRS_OK, run, pgqrs_step_succeed(begin(run, name), output));
}

const char *replayed(pgqrs_run *run, const char *name)
{
    pgqrs_step *step = NULL;
    assert_run(PGQRS_OK, run, pgqrs_step_begin(run, name, NULL, &step));
    assert_non_null(step);
    assert_true(pgqrs_step_recorded(step));
    return pgqrs_step_output(step);
}

pgqrs_run_record run_record(world *w, int64_t id)
{
    pgqrs_run_records *runs = NULL;
    assert_ok(pgqrs_run_get(w->store, id, &runs, &failure));
    keep(w, runs, free_runs);
    assert_int_equal(1, pgqrs_run_records_count(runs));
    return *pgqrs_run_records_at(runs, 0);
}

void assert_run_status(world *w, int64_t id, pgqrs_run_status status)
{
    assert_string_equal(pgqrs_run_status_name(status),
                        pgqrs_run_status_name(run_record(w, id).status));
}

static pgqrs_step_records *steps_of(world *w, int64_t run_id)
{
    pgqrs_step_records *steps = NULL;
    assert_ok(pgqrs_step_list(w->store, run_id, &steps, &failure));
    keep(w, steps, free_steps);
    return steps;
}

pgqrs_step_record step_record(world *w, int64_t run_id, const char *name)
{
    const pgqrs_step_records *steps = steps_of(w, run_id);
    for (size_t i = 0; i < pgqrs_step_records_count(steps); i++)
        if (strcmp(pgqrs_step_records_at(steps, i)->name, name) == 0)
            return *pgqrs_step_records_at(steps, i);
    return (pgqrs_step_record){ 0 };
}

size_t step_count(world *w, int64_t run_id)
{
    return pgqrs_step_records_count(steps_of(w, run_id));
}

void work(world *w, const char *workflow, pgqrs_run_handler handler, void *user_data)
{
    pgqrs_worker *worker = NULL;
    assert_ok(
        pgqrs_worker_new(w->store, PGQRS_OPTIONS(worker, .exit_when_idle = 1), &worker, &failure));
    assert_int_equal(PGQRS_OK, pgqrs_worker_on_run(worker, workflow, handler, user_data, NULL));
    assert_ok(pgqrs_worker_run(worker, &failure));
    pgqrs_worker_free(worker);
}

/* --- Costs ---------------------------------------------------------------------------------------
 */

pgqrs_counters counted(pgqrs_store *store)
{
    pgqrs_counters now;
    pgqrs_store_counters(store, &now);
    return now;
}

pgqrs_counters spent(pgqrs_store *store, const pgqrs_counters *before)
{
    pgqrs_counters now = counted(store);
    return (pgqrs_counters){
        .statements  = now.statements - before->statements,
        .round_trips = now.round_trips - before->round_trips,
        .commits     = now.commits - before->commits,
        .groups      = now.groups - before->groups,
        .operations  = now.operations - before->operations,
    };
}
