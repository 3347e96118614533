/* The store: opening, closing, clocks, the log, and the names of statuses. */
#include "core/crew.h"
#include "core/install.h"
#include "util/clock.h"
#include "util/random.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t real_wall(void *user_data)
{
    (void)user_data;
    return pgqrs__wall_us();
}

static int64_t real_monotonic(void *user_data)
{
    (void)user_data;
    return pgqrs__mono_us();
}

/* Defaults, ranges. */
static pgqrs_status options_settle(pgqrs_store_options *options, pgqrs_error *error)
{
    pgqrs_status rc;
    const char  *pooled;

#define DEFAULT(field, value)         \
    do {                              \
        if (options->field == 0)      \
            options->field = (value); \
    } while (0)
    DEFAULT(max_connections, 8);
    DEFAULT(busy_retry, 1);
    DEFAULT(connect_timeout_us, 10 * PGQRS_SECOND);
    DEFAULT(timeout_us, 30 * PGQRS_SECOND);
    DEFAULT(max_payload_bytes, 1 << 20);
    DEFAULT(max_depth, 512);
    DEFAULT(max_attempts, 5);
    DEFAULT(max_transactions, 8);
#undef DEFAULT
    if ((rc = pgqrs__check_range(options->max_connections, 2, 1000, "max_connections", error))
            != PGQRS_OK
        || (rc = pgqrs__check_range(options->busy_retry, -1, 1, "busy_retry", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->connect_timeout_us, 1, PGQRS__DURATION_MAX_US,
                                    "connect_timeout_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options->timeout_us, 1, PGQRS_FOREVER, "timeout_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_payload_bytes, 1, PGQRS__PAYLOAD_MAX,
                                    "max_payload_bytes", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_depth, 1, 4096, "max_depth", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_attempts, 1, PGQRS__ATTEMPTS_MAX, "max_attempts",
                                    error))
               != PGQRS_OK
        || (rc = pgqrs__check_range(options->pooled, 0, 1, "pooled", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(options->max_transactions, 1, 1000, "max_transactions", error))
               != PGQRS_OK)
        return rc;
    if (options->schema != NULL
        && (rc = pgqrs__check_name(options->schema, "schema", PGQRS_OBJECT_STORE, error))
               != PGQRS_OK)
        return rc;
    if ((options->clock.wall_us == NULL) != (options->clock.monotonic_us == NULL))
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STORE,
                           "clock needs both wall_us and monotonic_us");
    if (options->pooled == 0 && (pooled = getenv("PGQRS_POOLED")) != NULL)
        options->pooled = pooled[0] != '\0' && strcmp(pooled, "0") != 0;
    if (options->listen_dsn == NULL)
        options->listen_dsn = getenv("PGQRS_LISTEN_DSN");
    return PGQRS_OK;
}

/* Free its memory. In a child after fork() the locks are left as they are: a thread of the parent
 * may have been waiting at one, and it will never leave. */
static void store_free(pgqrs_store *store, bool forked)
{
    size_t cursor = 0;
    void  *state;

    while (pgqrs__map_iterate(&store->queues, &cursor, NULL, &state))
        pgqrs__free(state);
    pgqrs__map_free(&store->queues);
    pgqrs__map_free(&store->busy);
    pgqrs__map_free(&store->tokens);
    pgqrs__smap_free(&store->queue_ids);
    if (!forked) {
        pgqrs__cond_destroy(&store->woken);
        pgqrs__mutex_destroy(&store->lock);
    }
    pgqrs__free(store);
}

/* Memory and locks. NULL when out of them. */
static pgqrs_store *store_alloc(const pgqrs_store_options *options)
{
    pgqrs_store *store = pgqrs__calloc(1, sizeof(*store));

    if (store == NULL)
        return NULL;
    if (!pgqrs__mutex_init(&store->lock))
        goto no_lock;
    if (!pgqrs__pool_init(&store->pool, options->max_connections, 1, "max_connections"))
        goto no_pool;
    if (!pgqrs__pool_init(&store->tx_pool, options->max_transactions, 0, "max_transactions"))
        goto no_tx_pool;
    if (!pgqrs__cond_init(&store->woken))
        goto no_woken;
    pgqrs__map_init(&store->busy);
    pgqrs__map_init(&store->tokens);
    pgqrs__map_init(&store->queues);
    pgqrs__smap_init(&store->queue_ids);
    store->token_seed = (uint64_t)pgqrs__random_i63();
    store->pid        = getpid();
    return store;
no_woken:
    pgqrs__pool_free(store, &store->tx_pool, false);
no_tx_pool:
    pgqrs__pool_free(store, &store->pool, false);
no_pool:
    pgqrs__mutex_destroy(&store->lock);
no_lock:
    pgqrs__free(store);
    return NULL;
}

pgqrs_status pgqrs__store_new(const pgqrs_store_options *given, pgqrs_store **out_store,
                              pgqrs__settings *out_settings, pgqrs_error *error)
{
    pgqrs_store_options options;
    pgqrs_store        *store;
    pgqrs_status        rc;

    *out_store = NULL;
    if ((rc = PGQRS__OPTIONS_READ(&options, given, "store", error)) != PGQRS_OK
        || (rc = options_settle(&options, error)) != PGQRS_OK)
        return rc;
    store = store_alloc(&options);
    if (store == NULL)
        return pgqrs__nomem(error);
    store->own_clock = options.clock.wall_us != NULL;
    if (!store->own_clock)
        options.clock = (pgqrs_clock){ .wall_us = real_wall, .monotonic_us = real_monotonic };
    *out_settings = (pgqrs__settings){
        .schema             = options.schema,
        .connect_timeout_us = options.connect_timeout_us,
        .pooled             = options.pooled,
        .listen_dsn         = options.listen_dsn,
        .log                = options.log,
        .log_data           = options.log_data,
        .clock              = options.clock,
    };
    options.schema     = NULL; /* the backend has a copy; the caller's may go */
    options.listen_dsn = NULL;
    store->options     = options;
    *out_store         = store;
    return PGQRS_OK;
}

pgqrs_status pgqrs_open(const char *dsn, const pgqrs_store_options *given, pgqrs_store **out_store,
                        pgqrs_error *error)
{
    pgqrs_store    *store = NULL;
    pgqrs__conn    *conn  = NULL;
    pgqrs__settings settings;
    pgqrs_status    rc;

    if ((rc = pgqrs__check_pointer(out_store, "out_store", error)) != PGQRS_OK)
        return rc;
    *out_store = NULL;
    if ((rc = pgqrs__check_pointer(dsn, "dsn", error)) != PGQRS_OK
        || (rc = pgqrs__store_new(given, &store, &settings, error)) != PGQRS_OK)
        return rc;
    store->backend = pgqrs__backend_for(dsn, error);
    if (store->backend == NULL) {
        rc = PGQRS_ECONFIG;
        goto done;
    }
    rc = store->backend->open(dsn, &settings, &store->db, error);
    if (rc != PGQRS_OK)
        goto done;
    /* Really connect: a wrong address or password is this call's failure, not a later one's. */
    rc = pgqrs__conn_take(store, pgqrs__deadline(store), &conn, error);
    if (rc != PGQRS_OK)
        goto done;
    pgqrs__conn_give(store, conn);
    rc = pgqrs__schema_check(store, error);
    if (rc != PGQRS_OK)
        goto done;
    *out_store = store;
    store      = NULL;
    pgqrs__ok(error);
done:
    pgqrs_close(store);
    return rc;
}

void pgqrs_close(pgqrs_store *store)
{
    bool forked;

    if (store == NULL)
        return;
    forked = store->pid != getpid();
    pgqrs__crew_stop(store, forked);
    pgqrs__service_stop(store, forked);
    pgqrs__pool_free(store, &store->pool, forked);
    pgqrs__pool_free(store, &store->tx_pool, forked);
    if (store->db != NULL)
        store->backend->close(store->db, forked);
    store_free(store, forked);
}

pgqrs_status pgqrs__enter(pgqrs_store *store, pgqrs_error *error)
{
    if (store == NULL)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_STORE, "store is NULL");
    if (store->pid != getpid()) {
        pgqrs__fail(error, PGQRS_EFORK, PGQRS_OBJECT_STORE, "the store was opened before fork()");
        pgqrs__hint(error, "Open a store in the child process.");
        return PGQRS_EFORK;
    }
    return pgqrs__ok(error);
}

pgqrs__val pgqrs__now(const pgqrs_store *store, int64_t now_us)
{
    if (now_us != 0)
        return pgqrs__int(now_us);
    if (store->own_clock)
        return pgqrs__int(store->options.clock.wall_us(store->options.clock.user_data));
    return pgqrs__null();
}

int64_t pgqrs__lease_clock(const pgqrs_store *store)
{
    return store->options.clock.monotonic_us(store->options.clock.user_data);
}

static _Thread_local int64_t deadline_limit = INT64_MAX;

void pgqrs__deadline_limit(int64_t until_us)
{
    deadline_limit = until_us;
}

int64_t pgqrs__deadline(const pgqrs_store *store)
{
    int64_t deadline = pgqrs__i64_add_sat(pgqrs__mono_us(), store->options.timeout_us);

    return PGQRS__MIN(deadline, deadline_limit);
}

void pgqrs__log(const pgqrs_store *store, pgqrs_log_level level, const char *format, ...)
{
    char    text[512];
    va_list args;

    if (store->options.log == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    store->options.log(store->options.log_data, level, text);
}

void pgqrs_store_counters(pgqrs_store *store, pgqrs_counters *out_counters)
{
    if (out_counters == NULL)
        return;
    *out_counters = (pgqrs_counters){ 0 };
    if (pgqrs__enter(store, NULL) != PGQRS_OK)
        return;
    store->backend->counters(store->db, out_counters);
    out_counters->groups     = atomic_load(&store->groups);
    out_counters->operations = atomic_load(&store->operations);
}

#define STATUS_CASE_NAME(name, number, retry, text) \
    case PGQRS_##name:                              \
        return #name;
#define STATUS_CASE_TEXT(name, number, retry, text) \
    case PGQRS_##name:                              \
        return text;

const char *pgqrs_status_name(pgqrs_status status)
{
    switch (status) {
        PGQRS_STATUS_MAP(STATUS_CASE_NAME)
    }
    return "?";
}

const char *pgqrs_status_text(pgqrs_status status)
{
    switch (status) {
        PGQRS_STATUS_MAP(STATUS_CASE_TEXT)
    }
    return "?";
}

const char *pgqrs_version(void)
{
    return PGQRS_VERSION;
}
