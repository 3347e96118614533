/** @file pgqrs.h
 *  pgqrs: a durable queue and durable workflows in the database you already have.
 *
 *  This header is the contract. How to read it:
 *
 *  - What goes in is `const char *`: names and JSON text, NUL-terminated UTF-8, copied before the
 *    call returns. What comes out of an object lives as long as that object.
 *  - A call that can fail returns a pgqrs_status; its last argument, `pgqrs_error *`, may be NULL
 *    and is always set, to success too. Everything refused is refused before anything is written.
 *  - Options are a struct you may leave out (NULL). It starts with its own size: write it with
 *    PGQRS_OPTIONS(claim, .limit = 10) in C, or initialise it with PGQRS_OPTIONS_INIT(claim) in
 *    C++. A zero field means the default written beside it.
 *  - Times are int64_t microseconds: durations (`30 * PGQRS_SECOND`) or since 1970-01-01 UTC.
 *    `now_us` in an option is the time to judge by; 0 is the database's own clock.
 *  - Threads: a pgqrs_store may be used by any number of threads at once. Every other handle is
 *    used by one thread at a time, unless its comment says otherwise.
 *  - A store that was opened before fork() answers PGQRS_EFORK in the child.
 *  - Every _free, and pgqrs_close, accepts NULL.
 *
 *  [G-nn] names the guarantee of docs/guarantees.md that a sentence carries. */
#ifndef PGQRS_PGQRS_H
#define PGQRS_PGQRS_H

#ifndef PGQRS_CDEF
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PGQRS_API   __attribute__((visibility("default")))
#define PGQRS_CHECK __attribute__((warn_unused_result))
#else
#define PGQRS_API
#define PGQRS_CHECK
#endif
#else /* declarations alone, for binding generators: cc -E -P -DPGQRS_CDEF */
#define PGQRS_API
#define PGQRS_CHECK
#endif

#define PGQRS_VERSION "0.1.0"

#define PGQRS_MILLISECOND INT64_C(1000)
#define PGQRS_SECOND      INT64_C(1000000)
#define PGQRS_MINUTE      (60 * PGQRS_SECOND)
#define PGQRS_HOUR        (60 * PGQRS_MINUTE)
#define PGQRS_DAY         (24 * PGQRS_HOUR)
#define PGQRS_FOREVER     INT64_MAX

/* --- Status and errors ------------------------------------------------------------------------ */

/** X(name, number, worth retrying as it is, text) */
#define PGQRS_STATUS_MAP(X)                                           \
    X(OK, 0, 0, "success")                                            \
    X(EINVAL, 1, 0, "invalid argument")                               \
    X(ECONFIG, 2, 0, "invalid configuration")                         \
    X(ENOTFOUND, 3, 0, "not found")                                   \
    X(EEXISTS, 4, 0, "exists already")                                \
    X(ESTATE, 5, 0, "not possible in this state")                     \
    X(ELEASE, 6, 0, "lease no longer held")                           \
    X(ECANCELLED, 7, 0, "run cancelled")                              \
    X(EPAUSED, 8, 0, "run paused")                                    \
    X(ENOTREADY, 9, 0, "not ready yet")                               \
    X(EEXHAUSTED, 10, 0, "retries exhausted")                         \
    X(ERATE, 11, 1, "rate limited")                                   \
    X(EJSON, 12, 0, "invalid JSON")                                   \
    X(ESCHEMA, 13, 0, "schema missing or not usable by this library") \
    X(EBUSY, 14, 1, "busy")                                           \
    X(ECONN, 15, 1, "connection lost")                                \
    X(ETIMEDOUT, 16, 1, "deadline passed")                            \
    X(EDB, 17, 0, "database error")                                   \
    X(ENOMEM, 18, 0, "out of memory")                                 \
    X(EFORK, 19, 0, "store was opened before fork")                   \
    X(EINTERNAL, 20, 0, "internal error")

#define PGQRS_STATUS_ENUM_(name, number, retry, text) PGQRS_##name = number,
typedef enum pgqrs_status { PGQRS_STATUS_MAP(PGQRS_STATUS_ENUM_) } pgqrs_status;

/** What an error is about. */
typedef enum pgqrs_object {
    PGQRS_OBJECT_NONE     = 0,
    PGQRS_OBJECT_STORE    = 1,
    PGQRS_OBJECT_QUEUE    = 2,
    PGQRS_OBJECT_WORKFLOW = 3,
    PGQRS_OBJECT_WORKER   = 4,
    PGQRS_OBJECT_MESSAGE  = 5,
    PGQRS_OBJECT_RUN      = 6,
    PGQRS_OBJECT_STEP     = 7
} pgqrs_object;

/** Flags of an error. RETRYABLE: the same call may succeed later, and nothing was written.
 *  MAYBE_APPLIED: the answer was lost; the operation may or may not have happened. Whatever can be
 *  found out or done again without harm is, until the deadline: only an enqueue or trigger without
 *  a key, and what gives a message back, are left in doubt by one lost connection [G-61]. Of what
 *  is counted (out_count of a purge, of retention, of a worker's release), a part whose answer was
 *  lost is done, but not counted. */
#define PGQRS_RETRYABLE     1u
#define PGQRS_MAYBE_APPLIED 2u

/** Filled by every fallible call; owned by the caller, holds no pointers. Never contains a
 *  secret. */
typedef struct pgqrs_error {
    pgqrs_status status;
    unsigned     flags;       /**< PGQRS_RETRYABLE | PGQRS_MAYBE_APPLIED */
    pgqrs_object object;      /**< what was not found, existed, or was in the wrong state */
    char         sqlstate[6]; /**< of the database, or "" */
    char         message[256];
    char         detail[512];
    char         hint[256];
} pgqrs_error;

/** The name of a status ("ELEASE"), or "?". Static. */
PGQRS_API const char *pgqrs_status_name(pgqrs_status status);
/** What a status means, in a few words. Static. */
PGQRS_API const char *pgqrs_status_text(pgqrs_status status);

/** The library's version, "0.1.0". Static. */
PGQRS_API const char *pgqrs_version(void);

/** Load Turso's library, which this one is not linked to, now instead of with the first store that
 *  needs it. It is looked for in this order, and the first that is named, or there, must do:
 *  PGQRS_TURSO_LIBRARY in the environment; @p path, unless NULL; `libpgqrs_turso.so` beside this
 *  library; the same where the system looks for libraries. Once loaded it stays.
 *  @param[out] out_version, out_path  of what is loaded: static; NULL on failure. May be NULL.
 *  @return PGQRS_OK, PGQRS_ECONFIG (there is none, or it is not one that will do), PGQRS_ESTATE
 *          (@p path is not the one that is loaded)
 *  @threads any    @blocks no    @since 0.1 */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_turso_load(const char *path, const char **out_version,
                                                    const char **out_path, pgqrs_error *error);

/** Memory functions used for everything the library allocates; all three or none. */
typedef struct pgqrs_allocator {
    void *(*allocate)(size_t size, void *user_data);
    void *(*reallocate)(void *memory, size_t size, void *user_data);
    void (*release)(void *memory, void *user_data);
    void *user_data;
} pgqrs_allocator;

/** Set the process's memory functions, before anything else of this library is called; NULL
 *  restores malloc. The functions must be safe to call from any thread. */
PGQRS_API void pgqrs_set_allocator(const pgqrs_allocator *allocator);

#define PGQRS_OPTIONS(noun, ...) \
    (&(pgqrs_##noun##_options){ .struct_size = sizeof(pgqrs_##noun##_options), __VA_ARGS__ })
#ifdef __cplusplus
#define PGQRS_OPTIONS_INIT(noun)                                          \
    ([]() {                                                               \
        pgqrs_##noun##_options pgqrs_options_ = pgqrs_##noun##_options(); \
        pgqrs_options_.struct_size            = sizeof(pgqrs_options_);   \
        return pgqrs_options_;                                            \
    }())
#else
#define PGQRS_OPTIONS_INIT(noun)                       \
    {                                                  \
        .struct_size = sizeof(pgqrs_##noun##_options), \
    }
#endif

/* --- Store ------------------------------------------------------------------------------------ */

/** One database holding the pgqrs tables, reached by a DSN. Safe to share between threads. */
typedef struct pgqrs_store pgqrs_store;

typedef enum pgqrs_log_level {
    PGQRS_LOG_DEBUG   = 0,
    PGQRS_LOG_INFO    = 1,
    PGQRS_LOG_WARNING = 2,
    PGQRS_LOG_ERROR   = 3
} pgqrs_log_level;

/** Called from any thread, also while a caller waits in the library: be quick, and do not call the
 *  store from it. @p text lives for the call only. */
typedef void (*pgqrs_log_fn)(void *user_data, pgqrs_log_level level, const char *text);

/** A clock of yours, for tests. Both functions must be safe to call from any thread. */
typedef struct pgqrs_clock {
    int64_t (*wall_us)(void *user_data);      /**< since 1970-01-01 UTC */
    int64_t (*monotonic_us)(void *user_data); /**< judges leases held by this process */
    void *user_data;
} pgqrs_clock;

typedef struct pgqrs_store_options {
    size_t      struct_size;
    const char *schema;          /**< PostgreSQL: NULL = the session's current_schema() */
    int         max_connections; /**< 8; 2 … 1000 */
    /** groups rolled back by a deadlock or a busy file: sent again once; -1 = never */
    int     busy_retry;
    int64_t connect_timeout_us; /**< 10 s */
    int64_t timeout_us;         /**< 30 s for every call; PGQRS_FOREVER = none */
    int64_t max_payload_bytes;  /**< 1 MiB; up to 64 MiB */
    int     max_depth;          /**< of JSON: 512; up to 4096 */
    int64_t lease_us;           /**< for claims that name none: the queue's */
    int     max_attempts;       /**< written into the queues this store creates: 5 */
    /** 1: behind a transaction pooler; 0: ask PGQRS_POOLED, else find out [G-60] */
    int pooled;
    /** PostgreSQL, pooled: where to LISTEN. NULL: ask PGQRS_LISTEN_DSN, else poll */
    const char  *listen_dsn;
    pgqrs_log_fn log;
    void        *log_data;
    pgqrs_clock  clock; /**< zero: the real ones */
    /** transactional steps open at once, each on a connection beside max_connections: 8; 1 … 1000
     */
    int max_transactions;
} pgqrs_store_options;

/** Open a store: `postgresql://…`, `postgres://…` (libpq's own syntax and environment),
 *  `sqlite:///absolute/path`, `sqlite://relative/path`, `sqlite::memory:`, and the same with
 *  `turso:`, whose files one process at a time can have open. A missing file is created. Opening
 *  never installs; a schema that is missing is reported by the first call that
 *  needs it (PGQRS_ESCHEMA), one that is newer than this library may use, here.
 *  @param[out] out_store  owned: close with pgqrs_close(). NULL on failure.
 *  @return PGQRS_OK, PGQRS_EINVAL, PGQRS_ECONFIG (the DSN, naming what is wrong and never the
 *          password), PGQRS_EBUSY (another process has the file for itself), PGQRS_ECONN,
 *          PGQRS_ESCHEMA, or a database failure.
 *  @threads any    @blocks up to connect_timeout_us    @since 0.1 */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_open(const char *dsn, const pgqrs_store_options *options,
                                              pgqrs_store **out_store, pgqrs_error *error);

/** Close a store and free it. No other thread may be using it. Messages and records that came out
 *  of it stay valid; run, worker and lease handles must have been freed before. Leases kept in the
 *  background are no longer kept; they pass at their time. In a child after fork() it frees memory
 *  only. */
PGQRS_API void pgqrs_close(pgqrs_store *store);

/** Create or upgrade the tables. Safe to run again, and by many processes at once [G-30].
 *  @return PGQRS_OK, PGQRS_ESCHEMA (newer than this library, or a migration was changed), or a
 *          database failure; then nothing was changed. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_install(pgqrs_store *store, pgqrs_error *error);

/** Grant to database roles what a producer and a worker need, on PostgreSQL; either may be NULL.
 * The roles must exist, and keep what they have been granted before; run it again after an upgrade.
 * A producer enqueues and triggers, and can read no payload; a worker does everything with
 * messages, runs and workers, and can change neither queues nor the schema [G-53].
 *  @return PGQRS_OK, PGQRS_ENOTFOUND (no such role), PGQRS_ESTATE (a database without roles),
 *          PGQRS_ESCHEMA (not installed), or a database failure; then nothing was granted.
 *  @since 0.1 */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_install_roles(pgqrs_store *store,
                                                       const char  *producer_role,
                                                       const char *worker_role, pgqrs_error *error);

/** Check that the schema is there, complete, of a known version and unchanged: migrations, tables,
 *  indexes, and that every statement of the library can be prepared. Constraints that were dropped
 *  from a column are not looked for.
 *  @return PGQRS_OK, or PGQRS_ESCHEMA with the first difference in `detail`. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_verify(pgqrs_store *store, pgqrs_error *error);

/** One step from a version of the schema to the next. */
typedef struct pgqrs_migration {
    int         version;
    const char *name;
} pgqrs_migration;

/** What installing would do at this moment. Read-only. */
typedef struct pgqrs_plan {
    int                    from_version; /**< of the schema as it is; 0: not installed */
    int                    to_version;   /**< that it would have afterwards */
    size_t                 count;        /**< migrations that would be applied, in order */
    const pgqrs_migration *migrations;
    const char
        *sql; /**< the same as one script for psql or sqlite3; "" when there is nothing to do */
} pgqrs_plan;

typedef struct pgqrs_plan_options {
    size_t      struct_size;
    const char *producer_role; /**< PostgreSQL: what pgqrs_install_roles() would grant, too */
    const char *worker_role;
} pgqrs_plan_options;

/** Say what pgqrs_install() (and, if roles are named, pgqrs_install_roles()) would do, and change
 * nothing. Running plan->sql by other means has the same effect [G-70].
 *  @param[out] out_plan  owned: free with pgqrs_plan_free(). NULL on failure.
 *  @return PGQRS_OK; what those two would refuse: PGQRS_ESCHEMA, PGQRS_ENOTFOUND, PGQRS_ESTATE; or
 * a database failure. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_install_plan(pgqrs_store              *store,
                                                      const pgqrs_plan_options *options,
                                                      pgqrs_plan **out_plan, pgqrs_error *error);
PGQRS_API void                     pgqrs_plan_free(pgqrs_plan *plan);

/** What a store is, for people. Read-only; a later version may add fields at the end. */
typedef struct pgqrs_description {
    const char *backend;        /**< "postgres", "sqlite", "turso" */
    const char *version;        /**< of the server; of SQLite and Turso, the library's */
    const char *schema;         /**< PostgreSQL: where the tables are; else NULL */
    int         schema_version; /**< of the tables; 0: not installed */
    int         needed_version; /**< that this library installs */
    size_t      warnings_count;
    const char *const
        *warnings; /**< what endangers the guarantees here: settings, known defects [G-71] */
} pgqrs_description;

/** Describe the store's database. It need not be installed.
 *  @param[out] out_description  owned: free with pgqrs_description_free(). NULL on failure.
 *  @return PGQRS_OK, or a database failure. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_store_describe(pgqrs_store        *store,
                                                        pgqrs_description **out_description,
                                                        pgqrs_error        *error);
PGQRS_API void                     pgqrs_description_free(pgqrs_description *description);

/** What a store has sent since it was opened. Counted at the connection, so they are what the
 *  database saw. */
typedef struct pgqrs_counters {
    int64_t statements;  /**< executed, not counting BEGIN and COMMIT */
    int64_t round_trips; /**< waits for the database */
    int64_t commits;     /**< transactions that wrote */
    int64_t groups;      /**< groups of operations sent */
    int64_t operations;  /**< operations in them */
} pgqrs_counters;

/** Read the counters. Never blocks on the database. */
PGQRS_API void pgqrs_store_counters(pgqrs_store *store, pgqrs_counters *out_counters);

/* --- Queues ----------------------------------------------------------------------------------- */

typedef struct pgqrs_queue_options {
    size_t  struct_size;
    int64_t lease_us;       /**< 30 s; up to 7 days */
    int     max_attempts;   /**< the store's, else 5; up to 1000 */
    int64_t backoff_us;     /**< delay after the first failed attempt: 1 s */
    double  backoff_factor; /**< 2 */
    int64_t backoff_max_us; /**< 1 h */
    /** archived messages are kept so long: 7 days; PGQRS_FOREVER = for ever */
    int64_t retention_us;
} pgqrs_queue_options;

/** A queue or, with `workflow` set, a workflow: a queue whose messages are runs. */
typedef struct pgqrs_queue {
    int64_t     id;
    const char *name;
    bool        workflow;
    bool        paused;
    int64_t     lease_us;
    int         max_attempts;
    int64_t     backoff_us;
    double      backoff_factor;
    int64_t     backoff_max_us;
    int64_t     retention_us; /**< PGQRS_FOREVER: never removed */
    int64_t     created_at_us;
} pgqrs_queue;

typedef struct pgqrs_queues pgqrs_queues;
PGQRS_API size_t            pgqrs_queues_count(const pgqrs_queues *queues);
/** @return the queue at @p index, living as long as @p queues; NULL when out of range. */
PGQRS_API const pgqrs_queue *pgqrs_queues_at(const pgqrs_queues *queues, size_t index);
PGQRS_API void               pgqrs_queues_free(pgqrs_queues *queues);

/** Create a queue. Names are 1–255 bytes of UTF-8 without control characters. When the answer is
 *  lost, a queue that was not there before and is as asked for counts as created.
 *  @return PGQRS_OK, PGQRS_EINVAL, PGQRS_EEXISTS, or a database failure. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_create(pgqrs_store *store, const char *queue,
                                                      const pgqrs_queue_options *options,
                                                      pgqrs_error               *error);
/** Create a queue unless it exists; an existing one keeps its settings. PGQRS_EEXISTS when the name
 *  is a workflow's. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_ensure(pgqrs_store *store, const char *queue,
                                                      const pgqrs_queue_options *options,
                                                      pgqrs_error               *error);
/** Change the settings of a queue or workflow; zero fields stay as they are. In force for every
 *  client from the next statement on. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_configure(pgqrs_store *store, const char *queue,
                                                         const pgqrs_queue_options *options,
                                                         pgqrs_error               *error);
/** Read one queue or workflow. @param[out] out_queues  holds exactly one; owned. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_get(pgqrs_store *store, const char *queue,
                                                   pgqrs_queues **out_queues, pgqrs_error *error);
/** Every queue and workflow, by name. @param[out] out_queues  owned. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_list(pgqrs_store *store, pgqrs_queues **out_queues,
                                                    pgqrs_error *error);
/** Delete a queue or workflow with all its messages, runs and archive. Its name is free at once.
 *  Refused with PGQRS_ESTATE while something is leased, unless @p force; then the holders' next
 *  writes answer PGQRS_ELEASE. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_delete(pgqrs_store *store, const char *queue,
                                                      bool force, pgqrs_error *error);
/** Remove every message that is ready or scheduled. Leased and archived ones stay.
 *  @param[out] out_count  how many; may be NULL. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_purge(pgqrs_store *store, const char *queue,
                                                     int64_t *out_count, pgqrs_error *error);
/** Stop delivery: claims of this queue are empty until it is resumed. Enqueues go on. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_pause(pgqrs_store *store, const char *queue,
                                                     pgqrs_error *error);
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_resume(pgqrs_store *store, const char *queue,
                                                      pgqrs_error *error);

/** Counted when asked: O(messages) of the queue. Not for a hot path. */
typedef struct pgqrs_queue_metrics {
    int64_t ready;
    int64_t scheduled;
    int64_t leased;
    int64_t done; /**< archived, not counting the dead */
    int64_t dead;
    int64_t oldest_us; /**< age of the oldest ready message; 0 without one */
} pgqrs_queue_metrics;

PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_queue_measure(pgqrs_store *store, const char *queue,
                                                       pgqrs_queue_metrics *out_metrics,
                                                       pgqrs_error         *error);

/* --- Messages: put in ------------------------------------------------------------------------- */

#define PGQRS_PRIORITY_FIRST (-1) /**< delivered before every other priority; stored as 0 */

typedef struct pgqrs_enqueue_options {
    size_t struct_size;
    /** 1 … 9, lower is delivered earlier; 0 = the default, 5; PGQRS_PRIORITY_FIRST */
    int     priority;
    int64_t delay_us; /**< deliver this long from now, or */
    int64_t at_us;    /**< deliver at this time; not both */
    /** idempotency key: the same key again within key_ttl_us returns the first id */
    const char *key;
    int64_t     key_ttl_us; /**< 1 day */
    const char *headers;  /**< a JSON object handed to the handler as it is ("traceparent", …) */
    int64_t     producer; /**< a worker's id, for people; 0 = none */
    int64_t     now_us;
    /** set when the key named a message that was there before, or that this call put in and lost
     * the answer about; NULL = not wanted */
    bool *out_existed;
} pgqrs_enqueue_options;

/** Put one message into a queue. @p payload is JSON text, returned byte for byte.
 *  Once this returns PGQRS_OK the message is delivered at least once, whatever crashes [G-01].
 *  With a key the id is the first message's and nothing is added a second time [G-12]; without, an
 *  answer that is lost is an error flagged PGQRS_MAYBE_APPLIED.
 *  @param[out] out_id  the message's id; may be NULL.
 *  @return PGQRS_OK, PGQRS_EINVAL, PGQRS_EJSON, PGQRS_ENOTFOUND (no such queue), or a database
 *  failure.
 *  @threads any; calls made at once share a commit    @blocks until committed or the deadline
 *  passes */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_enqueue(pgqrs_store *store, const char *queue,
                                                 const char                  *payload,
                                                 const pgqrs_enqueue_options *options,
                                                 int64_t *out_id, pgqrs_error *error);
/** Put up to 10,000 messages into one queue, in order, all or nothing, in one commit. The options
 *  hold for each of them; a key is refused here.
 *  @param[out] out_ids  @p count ids, in the order of @p payloads; may be NULL. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_enqueue_many(pgqrs_store *store, const char *queue,
                                                      const char *const *payloads, size_t count,
                                                      const pgqrs_enqueue_options *options,
                                                      int64_t *out_ids, pgqrs_error *error);

/* --- Messages: take out ----------------------------------------------------------------------- */

/** One leased message. A plain struct: everybody reads it. To finish a message by number, the
 *  fields id, queue_id and lease are enough. */
typedef struct pgqrs_message {
    int64_t id;
    int64_t queue_id;
    int64_t lease;   /**< names the hold; (lease, id) is the fence */
    int     attempt; /**< which counted delivery this is, from 1 */
    int     priority;
    int64_t enqueued_at_us;
    int64_t claimed_at_us;
    int64_t expires_at_us;
    int64_t producer; /**< a worker's id, or 0 */
    /** by this process's monotonic clock: the lease has surely not passed before */
    int64_t     held_until_us;
    const char *payload; /**< JSON text */
    size_t      payload_bytes;
    const char *headers; /**< JSON object, or NULL */
} pgqrs_message;

/** Messages that came out of one claim, in queue order. */
typedef struct pgqrs_messages pgqrs_messages;
PGQRS_API size_t              pgqrs_messages_count(const pgqrs_messages *messages);
/** @return the message at @p index, living as long as @p messages; NULL when out of range. */
PGQRS_API const pgqrs_message *pgqrs_messages_at(const pgqrs_messages *messages, size_t index);
/** Free the memory. The messages stay leased. */
PGQRS_API void pgqrs_messages_free(pgqrs_messages *messages);

typedef struct pgqrs_claim_options {
    size_t  struct_size;
    int     limit;    /**< 1; up to 1000 */
    int64_t lease_us; /**< the store's, else the queue's; up to 7 days */
    int64_t wait_us;  /**< wait this long for a first message: 0 = do not wait; PGQRS_FOREVER */
    /** at the latest look again after: 1 s; waiting is woken earlier by an enqueue */
    int64_t poll_us;
    int64_t owner;     /**< a worker's id, for people; 0 = none */
    int64_t max_bytes; /**< stop before the payloads exceed this, after the first message: 64 MiB */
    /** claim as of this time: due messages and passed leases by it are delivered */
    int64_t now_us;
} pgqrs_claim_options;

/** Lease deliverable messages of @p queue: up to options->limit, for options->lease_us.
 *
 *  Messages come in order of priority, then of becoming deliverable [G-05]. A message is leased to
 *  one holder at a time [G-03]; when the lease passes, the next claim delivers it again with its
 *  attempt increased [G-04], or dead-letters it when its attempts are used up [G-07]. An empty or
 *  paused queue is success with an empty batch.
 *  @param[out] out_messages  owned: free with pgqrs_messages_free(). NULL on failure.
 *  @return PGQRS_OK, PGQRS_EINVAL, PGQRS_ENOTFOUND (no such queue), or a database failure.
 *  @threads any    @blocks until the database answers, wait_us or the store's deadline passes */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_claim(pgqrs_store *store, const char *queue,
                                               const pgqrs_claim_options *options,
                                               pgqrs_messages **out_messages, pgqrs_error *error);
/** Lease one message by its id, ready or scheduled, also before its time. limit and wait are not
 * used.
 *  @return PGQRS_ENOTFOUND (no such message), PGQRS_ESTATE (leased by somebody else, or archived).
 *  */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_claim_id(pgqrs_store *store, int64_t id,
                                                  const pgqrs_claim_options *options,
                                                  pgqrs_messages           **out_messages,
                                                  pgqrs_error               *error);

/* Finishing. Each call names (lease, message): who no longer holds it changes nothing and gets
 * PGQRS_ELEASE [G-06]. The _many forms treat each message on its own: out_statuses[i] is PGQRS_OK
 * or PGQRS_ELEASE, and the call is PGQRS_OK when the database answered. Messages of many queues and
 * leases may be mixed. */

/** The work is done: keep the message in the archive. A cancelled message ends CANCELLED. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_archive(pgqrs_store *store, const pgqrs_message *message,
                                                 pgqrs_error *error);
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_archive_many(pgqrs_store                *store,
                                                      const pgqrs_message *const *messages,
                                                      size_t count, pgqrs_status *out_statuses,
                                                      pgqrs_error *error);
/** The work is done: leave no trace of the message. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_delete(pgqrs_store *store, const pgqrs_message *message,
                                                pgqrs_error *error);
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_delete_many(pgqrs_store                *store,
                                                     const pgqrs_message *const *messages,
                                                     size_t count, pgqrs_status *out_statuses,
                                                     pgqrs_error *error);

typedef struct pgqrs_release_options {
    size_t  struct_size;
    int64_t delay_us; /**< visible again after this; 0 = now */
    int64_t at_us;    /**< visible again at this time; not both */
    bool    counted;  /**< this attempt counts; false gives its number back */
    int64_t now_us;
} pgqrs_release_options;

/** Give messages back unfinished. By default at once, at the end of their priority, and uncounted.
 *  A lost answer is an error flagged PGQRS_MAYBE_APPLIED. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_release(pgqrs_store *store, const pgqrs_message *message,
                                                 const pgqrs_release_options *options,
                                                 pgqrs_error                 *error);
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_release_many(
    pgqrs_store *store, const pgqrs_message *const *messages, size_t count,
    const pgqrs_release_options *options, pgqrs_status *out_statuses, pgqrs_error *error);
/** The attempt failed: deliver again after the queue's backoff, or dead-letter with this error when
 *  the attempts are used up. @p code and @p text are recorded; either may be NULL. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_retry(pgqrs_store *store, const pgqrs_message *message,
                                               const char *code, const char *text,
                                               pgqrs_error *error);
/** The message will never succeed: dead-letter it now, replayable [G-07]. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_dead_letter(pgqrs_store         *store,
                                                     const pgqrs_message *message, const char *code,
                                                     const char *text, pgqrs_error *error);
/** Let the lease last @p lease_us from now (0: the queue's lease time).
 *  @return PGQRS_OK, PGQRS_ELEASE, or PGQRS_ECANCELLED: still held and extended, but a cancel was
 *  asked. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_extend(pgqrs_store *store, const pgqrs_message *message,
                                                int64_t lease_us, pgqrs_error *error);
/** Each on its own; out_statuses[i] is PGQRS_OK, PGQRS_ELEASE or PGQRS_ECANCELLED. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_extend_many(pgqrs_store                *store,
                                                     const pgqrs_message *const *messages,
                                                     size_t count, int64_t lease_us,
                                                     pgqrs_status *out_statuses,
                                                     pgqrs_error  *error);

/** Renew a lease in the background, every third of @p lease_us (0: the time the message was claimed
 *  for), until it is finished, un-kept or lost. One statement renews all leases of a store. Asks
 *  nobody now: that the lease is lost already is found by the first renewal. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_lease_keep(pgqrs_store         *store,
                                                    const pgqrs_message *message, int64_t lease_us,
                                                    pgqrs_error *error);
/** Stop renewing. PGQRS_ELEASE when the lease was found lost meanwhile. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_lease_unkeep(pgqrs_store         *store,
                                                      const pgqrs_message *message,
                                                      pgqrs_error         *error);

/* --- Messages: look at ------------------------------------------------------------------------ */

/** Where a message is. The first three are live, the others archived. */
typedef enum pgqrs_state {
    PGQRS_STATE_READY     = 1,
    PGQRS_STATE_SCHEDULED = 2,
    PGQRS_STATE_LEASED    = 3,
    PGQRS_STATE_DONE      = 4, /**< archived by its handler */
    PGQRS_STATE_SUCCESS   = 5, /**< a run that returned */
    PGQRS_STATE_ERROR     = 6, /**< a run that failed for good */
    PGQRS_STATE_CANCELLED = 7,
    PGQRS_STATE_DEAD      = 8 /**< attempts used up, or dead-lettered: replayable */
} pgqrs_state;

/** A message as it stands, with its state. Read-only. */
typedef struct pgqrs_record {
    int64_t     id;
    int64_t     queue_id;
    pgqrs_state state;
    int         priority;
    int         attempt; /**< deliveries counted so far */
    bool        cancelled;
    int64_t     producer; /**< worker ids, or 0 */
    int64_t     owner;
    int64_t     enqueued_at_us;
    int64_t     claimed_at_us;  /**< 0 = never, or given back since */
    int64_t     visible_at_us;  /**< scheduled: when; else 0 */
    int64_t     expires_at_us;  /**< leased: until when; else 0 */
    int64_t     finished_at_us; /**< archived: since when; else 0 */
    const char *payload;
    const char *headers; /**< or NULL */
    const char *reason;  /**< scheduled: "delay", "retry", "sleep", "pause", "event"; else NULL */
    const char *note;    /**< what was said when it was parked, or NULL */
    const char *output;  /**< a run's result as JSON, or NULL */
    const char *error;   /**< JSON object with "code" and "message", or NULL */
} pgqrs_record;

typedef struct pgqrs_records  pgqrs_records;
PGQRS_API size_t              pgqrs_records_count(const pgqrs_records *records);
PGQRS_API const pgqrs_record *pgqrs_records_at(const pgqrs_records *records, size_t index);
PGQRS_API void                pgqrs_records_free(pgqrs_records *records);

/** The name of a state: "ready", … "dead". Static. */
PGQRS_API const char *pgqrs_state_name(pgqrs_state state);

/** Find one message by id. @param[out] out_records  holds exactly one; owned.
 *  @return PGQRS_OK, PGQRS_ENOTFOUND (never existed, deleted, or past retention). */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_message_get(pgqrs_store *store, int64_t id,
                                                     pgqrs_records **out_records,
                                                     pgqrs_error    *error);

typedef struct pgqrs_list_options {
    size_t      struct_size;
    pgqrs_state state;    /**< 0 = any archived state for pgqrs_message_list; see there */
    int64_t     after_id; /**< only ids above this: the last one of the page before */
    int         limit;    /**< 100; up to 1000 */
} pgqrs_list_options;

/** A page of one queue's messages in one state, in id order (state 0: everything archived). */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_message_list(pgqrs_store *store, const char *queue,
                                                      const pgqrs_list_options *options,
                                                      pgqrs_records           **out_records,
                                                      pgqrs_error              *error);
/** Bring dead messages, or runs that ended in ERROR, back to ready with attempt 0, keeping id, body
 *  and successful steps [G-08]. @param[out] out_count  how many were; the others were in another
 *  state.
 * */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_replay(pgqrs_store *store, const int64_t *ids,
                                                size_t count, size_t *out_count,
                                                pgqrs_error *error);
/** Remove a queue's dead letters for good, @p limit at the most (0: all).
 *  @param[out] out_count  how many; may be NULL. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_dead_purge(pgqrs_store *store, const char *queue,
                                                    int64_t limit, int64_t *out_count,
                                                    pgqrs_error *error);
/** Ask for a message to end: a waiting one is archived as CANCELLED at once; a leased one is
 *  marked, its holder hears of it, and however it is given up it ends CANCELLED [G-17].
 *  @param[out] out_state  PGQRS_STATE_CANCELLED, or PGQRS_STATE_LEASED (marked); may be NULL.
 *  @return PGQRS_OK, PGQRS_ENOTFOUND, PGQRS_ESTATE (already archived). */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_cancel(pgqrs_store *store, int64_t id,
                                                pgqrs_state *out_state, pgqrs_error *error);
/** Remove archived messages past their queue's retention, idempotency keys past their time, and
 *  what deleted queues left behind, in bounded batches. Idle claims do a little of it by
 *  themselves.
 *  @param[out] out_count  messages removed; may be NULL. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_retention_run(pgqrs_store *store, int64_t now_us,
                                                       int64_t *out_count, pgqrs_error *error);

/* --- Workers: names for people ---------------------------------------------------------------- */

typedef enum pgqrs_worker_status {
    PGQRS_WORKER_READY       = 1,
    PGQRS_WORKER_POLLING     = 2,
    PGQRS_WORKER_SUSPENDED   = 3,
    PGQRS_WORKER_INTERRUPTED = 4,
    PGQRS_WORKER_STOPPED     = 5
} pgqrs_worker_status;

typedef struct pgqrs_worker_record {
    int64_t             id;
    const char         *name;
    const char         *hostname;
    pgqrs_worker_status status;
    int64_t             queue_id; /**< or 0 */
    int64_t             started_at_us;
    int64_t             heartbeat_at_us;
} pgqrs_worker_record;

typedef struct pgqrs_worker_records pgqrs_worker_records;
PGQRS_API size_t                    pgqrs_worker_records_count(const pgqrs_worker_records *workers);
PGQRS_API const pgqrs_worker_record *pgqrs_worker_records_at(const pgqrs_worker_records *workers,
                                                             size_t                      index);
PGQRS_API void                       pgqrs_worker_records_free(pgqrs_worker_records *workers);

PGQRS_API const char *pgqrs_worker_status_name(pgqrs_worker_status status);

/** Register a worker, Ready. @p name NULL: one is made up. A name that is taken is taken over, with
 *  its id. @p queue may be NULL. No right follows from being registered: leases do not depend on
 *  it. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_register(pgqrs_store *store, const char *name,
                                                         const char *queue, int64_t *out_worker,
                                                         pgqrs_error *error);
/** Say that these workers are alive: one statement. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_heartbeat(pgqrs_store   *store,
                                                          const int64_t *workers, size_t count,
                                                          pgqrs_error *error);
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_set_status(pgqrs_store *store, int64_t worker,
                                                           pgqrs_worker_status status,
                                                           pgqrs_error        *error);
/** One worker: @p out_workers holds exactly one. PGQRS_ENOTFOUND. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_get(pgqrs_store *store, int64_t worker,
                                                    pgqrs_worker_records **out_workers,
                                                    pgqrs_error           *error);
/** Every worker, in id order. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_list(pgqrs_store           *store,
                                                     pgqrs_worker_records **out_workers,
                                                     pgqrs_error           *error);

typedef struct pgqrs_worker_health {
    int64_t total;
    int64_t ready;
    int64_t polling;
    int64_t suspended;
    int64_t interrupted;
    int64_t stopped;
    int64_t stale; /**< not stopped, and silent for longer than asked */
} pgqrs_worker_health;

PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_measure(pgqrs_store *store, int64_t silent_us,
                                                        pgqrs_worker_health *out_health,
                                                        pgqrs_error         *error);
/** Stop workers that have been silent for @p silent_us and give back at once what they hold.
 *  @param[out] out_count  workers stopped; may be NULL. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_purge_stale(pgqrs_store *store, int64_t silent_us,
                                                            int64_t now_us, int64_t *out_count,
                                                            pgqrs_error *error);
/** Make visible at once everything this worker leases or has parked by a pause; attempts not
 * counted.
 *  @param[out] out_count  messages; may be NULL. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_release(pgqrs_store *store, int64_t worker,
                                                        int64_t *out_count, pgqrs_error *error);

/* --- Workflows and runs ----------------------------------------------------------------------- */

/** Create a workflow unless it exists. PGQRS_EEXISTS when the name is a plain queue's. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_workflow_ensure(pgqrs_store *store, const char *workflow,
                                                         const pgqrs_queue_options *options,
                                                         pgqrs_error               *error);
/** Start a run: @p input is JSON. @param[out] out_run_id  the run's id, which is its message's id,
 *  and stays the same through every retry, pause and replay. @return as pgqrs_enqueue(). */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_trigger(pgqrs_store *store, const char *workflow,
                                                 const char                  *input,
                                                 const pgqrs_enqueue_options *options,
                                                 int64_t *out_run_id, pgqrs_error *error);

typedef enum pgqrs_run_status {
    PGQRS_RUN_QUEUED     = 1, /**< nobody works on it yet */
    PGQRS_RUN_RUNNING    = 2, /**< leased, or between two tries */
    PGQRS_RUN_PAUSED     = 3, /**< waits for a time; costs nothing */
    PGQRS_RUN_CANCELLING = 4, /**< leased; a cancel was acknowledged */
    PGQRS_RUN_SUCCESS    = 5,
    /** failed for good, or dead: then the error's code is ATTEMPTS_EXHAUSTED or LEASE_EXPIRED */
    PGQRS_RUN_ERROR     = 6,
    PGQRS_RUN_CANCELLED = 7
} pgqrs_run_status;

PGQRS_API const char *pgqrs_run_status_name(pgqrs_run_status status);

/** A run as it stands. Read-only. */
typedef struct pgqrs_run_record {
    int64_t          id;
    int64_t          workflow_id;
    pgqrs_run_status status;
    bool             dead; /**< status ERROR, and a dead letter: replayable */
    int              attempt;
    int64_t          created_at_us;
    int64_t          updated_at_us; /**< the last move known */
    int64_t          resumes_at_us; /**< PAUSED or waiting for a retry: when; else 0 */
    const char      *input;
    const char      *output; /**< JSON, or NULL */
    const char      *error;  /**< JSON object; of a paused run, the pause's message; or NULL */
} pgqrs_run_record;

typedef struct pgqrs_run_records  pgqrs_run_records;
PGQRS_API size_t                  pgqrs_run_records_count(const pgqrs_run_records *runs);
PGQRS_API const pgqrs_run_record *pgqrs_run_records_at(const pgqrs_run_records *runs, size_t index);
PGQRS_API void                    pgqrs_run_records_free(pgqrs_run_records *runs);

/** Read one run. @param[out] out_runs  holds exactly one; owned. PGQRS_ENOTFOUND. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_run_get(pgqrs_store *store, int64_t run_id,
                                                 pgqrs_run_records **out_runs, pgqrs_error *error);

typedef struct pgqrs_run_list_options {
    size_t           struct_size;
    pgqrs_run_status status;   /**< 0 = any */
    int64_t          after_id; /**< only ids above this */
    int              limit;    /**< 100; up to 1000 */
} pgqrs_run_list_options;

/** A page of a workflow's runs (NULL: of every workflow), in id order. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_run_list(pgqrs_store *store, const char *workflow,
                                                  const pgqrs_run_list_options *options,
                                                  pgqrs_run_records **out_runs, pgqrs_error *error);
/** Wait until a run has ended, and read it. PGQRS_ETIMEDOUT when @p wait_us passed before. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_run_wait(pgqrs_store *store, int64_t run_id,
                                                  int64_t wait_us, pgqrs_run_records **out_runs,
                                                  pgqrs_error *error);

typedef enum pgqrs_step_status {
    PGQRS_STEP_SUCCESS = 1, /**< recorded for ever */
    PGQRS_STEP_ERROR   = 2, /**< recorded for ever */
    PGQRS_STEP_RETRY   = 3  /**< failed, comes back at retry_at */
} pgqrs_step_status;

/** A recorded step. Read-only. */
typedef struct pgqrs_step_record {
    int64_t           run_id;
    const char       *name;
    pgqrs_step_status status;
    int               retries; /**< failures that were retried */
    int64_t           started_at_us;
    int64_t           finished_at_us;
    int64_t           retry_at_us; /**< status RETRY; else 0 */
    const char       *output;      /**< JSON, or NULL */
    const char       *error;       /**< JSON object, or NULL */
} pgqrs_step_record;

typedef struct pgqrs_step_records  pgqrs_step_records;
PGQRS_API size_t                   pgqrs_step_records_count(const pgqrs_step_records *steps);
PGQRS_API const pgqrs_step_record *pgqrs_step_records_at(const pgqrs_step_records *steps,
                                                         size_t                    index);
PGQRS_API void                     pgqrs_step_records_free(pgqrs_step_records *steps);

/** The recorded steps of a run, in the order of being recorded. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_step_list(pgqrs_store *store, int64_t run_id,
                                                   pgqrs_step_records **out_steps,
                                                   pgqrs_error         *error);

/* A run handle: what a workflow function works with. It keeps its own error, so its calls take
 * none;
 * pgqrs_run_error() says more. Its calls may come from several threads for steps side by side. */

typedef struct pgqrs_run  pgqrs_run;
typedef struct pgqrs_step pgqrs_step;

/** A handle on a run that a claim has leased: @p index of @p messages, with the steps that the
 *  claim brought. Free it before the store is closed. @p messages may be freed before. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_run_from(pgqrs_store          *store,
                                                  const pgqrs_messages *messages, size_t index,
                                                  pgqrs_run **out_run, pgqrs_error *error);
/** A handle on a run by its id: only reads. If nobody holds the run, its first write (start, a
 *  step, an end) leases it by id; held by another, that write is PGQRS_ESTATE. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_run_open(pgqrs_store *store, int64_t run_id,
                                                  pgqrs_run **out_run, pgqrs_error *error);
/** Free the handle; its lease, if it still has one, is no longer kept and passes at its time. */
PGQRS_API void pgqrs_run_free(pgqrs_run *run);

PGQRS_API int64_t     pgqrs_run_id(const pgqrs_run *run);
PGQRS_API const char *pgqrs_run_input(const pgqrs_run *run);
PGQRS_API const char *pgqrs_run_headers(const pgqrs_run *run); /**< or NULL */
PGQRS_API int         pgqrs_run_attempt(const pgqrs_run *run);
/** The lease this handle writes under; its lease field is 0 while it holds none. Lives as the
 * handle. */
PGQRS_API const pgqrs_message *pgqrs_run_message(const pgqrs_run *run);
PGQRS_API pgqrs_store         *pgqrs_run_store(const pgqrs_run *run);
/** What the last call on this handle that failed said. Lives as the handle. */
PGQRS_API const pgqrs_error *pgqrs_run_error(const pgqrs_run *run);
/** Text that lives as long as the handle; NULL when out of memory (kept as the run's error). */
#if defined(__GNUC__) && !defined(PGQRS_CDEF)
__attribute__((format(printf, 2, 3)))
#endif
PGQRS_API const char *
pgqrs_run_printf(pgqrs_run *run, const char *format, ...);
/** The same for text that is there already. */
PGQRS_API const char *pgqrs_run_copy(pgqrs_run *run, const char *text, size_t bytes);

/** Make sure that this handle holds the run, waking a paused one before its time.
 *  @return PGQRS_OK, PGQRS_ESTATE (held by another, or ended, naming the state), PGQRS_ECANCELLED.
 *  */
PGQRS_API pgqrs_status pgqrs_run_start(pgqrs_run *run);
/** End the run: @p output is JSON or NULL. Its message is archived in the same commit [G-14].
 *  @return PGQRS_OK; PGQRS_ECANCELLED: it was cancelled and has ended so; PGQRS_ELEASE. */
PGQRS_API pgqrs_status pgqrs_run_succeed(pgqrs_run *run, const char *output);
/** End the run in ERROR for good. */
PGQRS_API pgqrs_status pgqrs_run_fail(pgqrs_run *run, const char *code, const char *text);
/** Park the run for a time and give the lease up; the attempt is not counted. @p message is shown
 *  while it is paused. @return PGQRS_EPAUSED when parked: return it from the workflow function. */
PGQRS_API pgqrs_status pgqrs_run_pause(pgqrs_run *run, const char *message,
                                       int64_t resume_after_us);
/** Sleep durably: park the run for @p duration_us, counted from the first time this sleep is
 * reached.
 *  @p name is a step name. @return PGQRS_OK once the time has passed, else PGQRS_EPAUSED as above.
 *  */
PGQRS_API pgqrs_status pgqrs_run_sleep(pgqrs_run *run, const char *name, int64_t duration_us);
/** Cancel the run, as pgqrs_cancel(). */
PGQRS_API pgqrs_status pgqrs_run_cancel(pgqrs_run *run);
/** For a worker loop of your own: do with a run what pgqrs_worker_run() does once the workflow
 *  function has returned @p returned. PGQRS_OK ends it in success without output; PGQRS_ECANCELLED
 *  ends it so; PGQRS_EEXHAUSTED ends it in ERROR; PGQRS_ENOTREADY parks it until its step is due,
 *  the attempt uncounted; a database failure gives it back for a little later, uncounted; anything
 *  else counts the attempt, and it comes back after the workflow's backoff, or is dead when its
 *  attempts are used up. A run that has ended, is parked or lost is left alone.
 *  @return PGQRS_OK; PGQRS_ECANCELLED: it was cancelled and has ended so; PGQRS_ELEASE; or a
 *          database failure: settle it again. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_run_settle(pgqrs_run *run, pgqrs_status returned);
/** Whether a cancel has been heard of. Asks the database when the last answer is older than 1 s. */
PGQRS_API bool pgqrs_run_cancelled(pgqrs_run *run);

/** How often, and when, a step that failed transiently comes back. */
typedef enum pgqrs_backoff {
    PGQRS_BACKOFF_JITTER      = 0, /**< exponential with ±25 % */
    PGQRS_BACKOFF_EXPONENTIAL = 1,
    PGQRS_BACKOFF_FIXED       = 2
} pgqrs_backoff;

typedef struct pgqrs_step_options {
    size_t        struct_size;
    int           max_retries; /**< 3; -1 = none */
    pgqrs_backoff backoff;
    int64_t       backoff_us;     /**< 1 s */
    int64_t       backoff_max_us; /**< 60 s */
    /** a result later than this is recorded as a transient failure, code TIMEOUT; 0 = none */
    int64_t timeout_us;
    int64_t now_us; /**< the step's clock: retry times count from it */
    /** the name is a key: acquired again it is the same step, not "#2" */
    bool by_key;
} pgqrs_step_options;

/** Begin a step. Within one handle a repeated name is "name#2", "name#3" … in order.
 *  Recorded already: *out_step holds the result, and nothing is to be done [G-09].
 *  @param[out] out_step  lives as long as the run handle.
 *  @return PGQRS_OK (look at pgqrs_step_recorded()); PGQRS_ENOTREADY: it waits for its retry time;
 *          PGQRS_EEXHAUSTED: recorded as failed, and *out_step has its pgqrs_step_error();
 *          PGQRS_ELEASE,
 *          PGQRS_ECANCELLED: do not work on; PGQRS_EINVAL; or a database failure. *out_step is NULL
 *          otherwise. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_step_begin(pgqrs_run *run, const char *name,
                                                    const pgqrs_step_options *options,
                                                    pgqrs_step              **out_step);
/** True when the step has a result: nothing is to be executed. */
PGQRS_API bool pgqrs_step_recorded(const pgqrs_step *step);
/** The recorded output, JSON; NULL while there is none. Lives as the run handle. */
PGQRS_API const char *pgqrs_step_output(const pgqrs_step *step);
/** The recorded error, a JSON object with "code", "message" and "is_transient"; NULL without
 *  one. */
PGQRS_API const char *pgqrs_step_error(const pgqrs_step *step);
/** The name it is recorded under, with its number. */
PGQRS_API const char *pgqrs_step_name(const pgqrs_step *step);
/** An idempotency key for effects elsewhere: the same in every attempt of this step of this run. */
PGQRS_API const char *pgqrs_step_key(const pgqrs_step *step);
/** Failures of this step that were retried so far. */
PGQRS_API int        pgqrs_step_retries(const pgqrs_step *step);
PGQRS_API pgqrs_run *pgqrs_step_run(const pgqrs_step *step);
/** Record the result, JSON or NULL, exactly once [G-09]. If another result was recorded before,
 *  that one stands and is what pgqrs_step_output() gives. @return PGQRS_OK, PGQRS_ELEASE,
 *  PGQRS_ESTATE (ended before), PGQRS_EJSON, PGQRS_ENOTREADY (it came after timeout_us), or a
 *  database failure.
 * */
PGQRS_API pgqrs_status pgqrs_step_succeed(pgqrs_step *step, const char *output);
/** Record that the step failed for good. @return PGQRS_EEXHAUSTED once recorded. */
PGQRS_API pgqrs_status pgqrs_step_fail(pgqrs_step *step, const char *code, const char *text);
/** Record a transient failure. @p after_us: when to come back; 0 = by the step's policy.
 *  @return PGQRS_ENOTREADY once recorded: return it from the workflow function, and the run comes
 *          back at its time; PGQRS_EEXHAUSTED when the retries are used up: recorded as failed for
 *          good. */
PGQRS_API pgqrs_status pgqrs_step_retry(pgqrs_step *step, const char *code, const char *text,
                                        int64_t after_us);

/** Begin a transactional step: as pgqrs_step_begin(), and when it is to be executed, a transaction
 * is open in which it will be recorded. Your own SQL in it (pgqrs_step_pgconn() in
 * <pgqrs/postgres.h>, pgqrs_step_sqlite3() in <pgqrs/sqlite.h>), what pgqrs_step_enqueue() and
 * pgqrs_step_trigger() put in, and the record are one commit: exactly once, or not at all [G-51].
 *
 *  pgqrs_step_succeed() records and commits. pgqrs_step_fail(), pgqrs_step_retry(), a lost lease, a
 *  result that was recorded before, pgqrs_step_end() without an end, the end of the handler and
 *  pgqrs_run_free() roll everything back; a failure is recorded after that. When the commit's
 * answer is lost the library looks whether the step is recorded, and tells the truth.
 *
 *  While the calling thread has it open, its other writes to the store (on SQLite: every other
 * call) are refused at once with PGQRS_EBUSY: on SQLite they would wait for themselves. The run
 * cannot be ended or paused meanwhile: PGQRS_ESTATE. Up to max_transactions of a store are open at
 * a time; one more waits. Keep it short: on SQLite nobody else writes meanwhile, on PostgreSQL it
 * ends by itself when it idles for 5 minutes.
 *  @return as pgqrs_step_begin(); PGQRS_EBUSY: this thread has one open; PGQRS_ETIMEDOUT;
 *          PGQRS_ESTATE: the store is adopted, and a transaction already.
 *  @since 0.1 */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_step_begin_tx(pgqrs_run *run, const char *name,
                                                       const pgqrs_step_options *options,
                                                       pgqrs_step              **out_step);
/** Put a message into a queue in the same commit as the record of this step, whose success sends it
 *  [G-52]. In a transactional step at once, and @p out_id is its id; else with
 * pgqrs_step_succeed(), and @p out_id must be NULL. A step that fails sends nothing. Up to 10,000
 * messages, 64 MiB a step.
 *  @param options  as for pgqrs_enqueue(), without out_existed; may be NULL.
 *  @return PGQRS_OK, PGQRS_EINVAL, PGQRS_EJSON, PGQRS_ENOTFOUND, PGQRS_ESTATE (the step has ended,
 * or the store is adopted: use pgqrs_enqueue()), or a database failure. */
PGQRS_API pgqrs_status pgqrs_step_enqueue(pgqrs_step *step, const char *queue, const char *payload,
                                          const pgqrs_enqueue_options *options, int64_t *out_id);
/** Start a run of a workflow in the same way. */
PGQRS_API pgqrs_status pgqrs_step_trigger(pgqrs_step *step, const char *workflow, const char *input,
                                          const pgqrs_enqueue_options *options,
                                          int64_t                     *out_run_id);

/* --- Working ---------------------------------------------------------------------------------- */

/** A worker loop: handlers for queues and workflows, and threads to run them. */
typedef struct pgqrs_worker pgqrs_worker;

/** Handle one message. PGQRS_OK: it is archived, unless the handler finished it itself. Anything
 * else:
 *  it is retried with the text of error->message, which may be all of @p error that the handler
 *  sets. The lease is kept meanwhile. @p message lives for the
 *  call. */
typedef pgqrs_status (*pgqrs_message_handler)(pgqrs_store *store, const pgqrs_message *message,
                                              void *user_data, pgqrs_error *error);
/** Execute one run. Return what pgqrs_run_succeed() or the call that stopped the run returned.
 *  PGQRS_OK without an end is success without output. PGQRS_EPAUSED and PGQRS_ENOTREADY park the
 *  run, PGQRS_EEXHAUSTED ends it in ERROR; a database failure gives the attempt back; anything else
 *  counts it and comes back after the workflow's backoff. The handle is the worker's: do not free
 *  it. */
typedef pgqrs_status (*pgqrs_run_handler)(pgqrs_run *run, void *user_data);

typedef struct pgqrs_worker_options {
    size_t      struct_size;
    const char *name;         /**< NULL: made up */
    int64_t     heartbeat_us; /**< 3 s; an interrupt is heard of so late */
    /** after stop: this long to finish, then leases are given back: 30 s */
    int64_t stop_us;
    /** 1: return when every queue has been found empty with nothing in hand and nothing due. What
     *  others hold, also the dead until their leases pass, and what becomes due later is not waited
     *  for. */
    int exit_when_idle;
} pgqrs_worker_options;

typedef struct pgqrs_work_options {
    size_t  struct_size;
    int     concurrency; /**< handlers at once: 1; up to 1000 */
    int64_t lease_us;    /**< the store's, else the queue's */
    int64_t poll_us;     /**< 1 s: the longest wait between two looks at an idle queue */
    /** a run or message handled for longer than this is no longer kept: its lease passes; 0 =
     *  none */
    int64_t timeout_us;
} pgqrs_work_options;

PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_new(pgqrs_store                *store,
                                                    const pgqrs_worker_options *options,
                                                    pgqrs_worker **out_worker, pgqrs_error *error);
/** Free a worker that is not running. */
PGQRS_API void pgqrs_worker_free(pgqrs_worker *worker);
/** Handle the messages of @p queue. The queue need not exist yet: it is looked for until it
 *  does. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_on_message(pgqrs_worker *worker, const char *queue,
                                                           pgqrs_message_handler     handler,
                                                           void                     *user_data,
                                                           const pgqrs_work_options *options);
/** Execute the runs of @p workflow, which is created when it does not exist. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_on_run(pgqrs_worker *worker, const char *workflow,
                                                       pgqrs_run_handler handler, void *user_data,
                                                       const pgqrs_work_options *options);
/** Work until pgqrs_worker_stop(), or an interrupt through pgqrs_worker_set_status(). A handler
 *  that fails, and a database that goes away and returns, do not end it. Starts the library's
 *  threads, and has joined them when it returns.
 *  @return PGQRS_OK after a stop; PGQRS_EINVAL without a handler, or what made the first contact
 *          fail. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_worker_run(pgqrs_worker *worker, pgqrs_error *error);
/** Ask a running worker to stop gracefully: what is being handled is finished, or given back after
 *  stop_us. May be called from any thread and from a signal handler, also before
 *  pgqrs_worker_run(). */
PGQRS_API void pgqrs_worker_stop(pgqrs_worker *worker);
/** The worker's id in the database; 0 before it ran. */
PGQRS_API int64_t pgqrs_worker_id(const pgqrs_worker *worker);

/* --- Many at once, and event loops ------------------------------------------------------------ */

/** Operations that travel together.
 *
 *  They are added one by one, and are numbered from 0 in that order; every function that adds one
 *  returns its number. An operation that is refused as it is added (bad JSON, a name that is none)
 *  has its error as its result. Then the batch is committed, which waits, or submitted, which does
 *  not; it is used once. After that its results are read by number, and it is freed.
 *
 *  A batch is **atomic** unless pgqrs_batch_independent() was called: all of its operations happen
 *  in one transaction, or none does [G-44]. It takes what writes messages: enqueue, enqueue_many,
 *  trigger, archive, delete, release, retry, dead_letter, run_succeed, run_fail, step_succeed,
 *  step_fail and step_retry; anything else is refused as it is added. It names a message once, but
 *  for steps of a run beside each other and before its end. One message of it that is no longer
 *  held undoes it, and so does a step that has a result already: PGQRS_ELEASE, PGQRS_ESTATE. One
 *  operation that is refused keeps all of it from being sent.
 *
 *  **Independent** operations share round trips and commits, and nothing else: each has its own
 *  result [G-45]. They may be anything that has a pgqrs_batch_ function.
 *
 *  A store that is a transaction of yours takes atomic batches as part of it, and no others. A step
 *  with a transaction of its own, or with messages to send, is not ended by a batch.
 *
 *  Arguments are those of the function without "batch_", and are copied; run and step handles that
 *  are named must live until the batch is done. In enqueue options out_existed is not used.
 *  @threads one at a time; between pgqrs_batch_submit() and being handed back it is the library's.
 *  NULL, which is what a lack of memory makes of pgqrs_batch_new(), is accepted everywhere:
 *  committing or submitting it says so. */
typedef struct pgqrs_batch pgqrs_batch;

/** Not added: for lack of memory, or to a batch that was used. */
#define PGQRS_NO_OPERATION ((size_t)-1)

PGQRS_API pgqrs_batch *pgqrs_batch_new(pgqrs_store *store);
/** Free a batch that is not under way, with every result that was not taken out of it. Messages
 *  that a claim in it has leased stay leased. */
PGQRS_API void pgqrs_batch_free(pgqrs_batch *batch);
/** Make the operations independent of each other. Called before the first one is added. */
PGQRS_API void pgqrs_batch_independent(pgqrs_batch *batch);
/** How many operations were added. */
PGQRS_API size_t pgqrs_batch_count(const pgqrs_batch *batch);

/** Send a batch and wait for its results. An atomic one costs one round trip and one commit.
 *  @return Atomic: PGQRS_OK when all of it was applied; an operation's own status may still be one
 *          of success, as PGQRS_ECANCELLED of a run that ended so. Else nothing was, and the error
 *          says why: PGQRS_ELEASE with the ids of the lost messages in `detail`; what was refused,
 *          with the number of the operation in `detail`; or a database failure. A lost answer is
 *          looked for where something in the batch tells (a message it ended, a step it recorded,
 *          nothing but enqueues with keys); else the error is flagged PGQRS_MAYBE_APPLIED.
 *          Independent: PGQRS_OK when every operation's status is; else the first other one's
 *          error.
 *  @threads any    @blocks until committed or the deadline passes */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_batch_commit(pgqrs_batch *batch, pgqrs_error *error);

/** Where batches of one event loop come back: one for each loop. Several share a store, and one
 *  may serve several stores. */
typedef struct pgqrs_completions pgqrs_completions;

PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_completions_new(pgqrs_completions **out_completions,
                                                         pgqrs_error        *error);
/** Free it, and with it what came back and was not taken. Batches that are still under way end
 *  their waits, and are freed when they come back; what they do is done all the same, and what they
 *  have claimed stays leased until its lease passes. */
PGQRS_API void pgqrs_completions_free(pgqrs_completions *completions);
/** A descriptor that is readable while a batch is here to be taken: for poll(), epoll, an event
 *  loop. Only to be waited on. -1 in a child after fork(). */
PGQRS_API int pgqrs_completions_fd(const pgqrs_completions *completions);
/** Take a batch that came back. Never waits.
 *  @param[out] out_user_data  what it was submitted with; may be NULL.
 *  @return the batch, yours again: read it and free it. NULL when none is here.
 *  @threads one at a time */
PGQRS_API pgqrs_batch *pgqrs_completions_next(pgqrs_completions *completions, void **out_user_data);

/** Send a batch without waiting: it comes back through @p completions, whatever becomes of it, by
 *  the store's deadline (operations that wait, by the end of their wait).
 *
 *  Nothing here waits for the database. Operations that are submitted in one tick of an event
 *  loop, in one batch or many, share commits with each other and with those of other threads
 *  [G-45]; the store's own threads, started when first needed, carry them.
 *  pgqrs_close() lets what is under way finish, ends its waits, and hands it back first; a batch
 *  may be read and freed after that, unless it holds a run handle.
 *  @return PGQRS_OK: the batch is the library's until it is handed back. Else it is still yours,
 *          and nothing was sent: PGQRS_EINVAL, PGQRS_ENOMEM, PGQRS_EFORK, PGQRS_ESTATE (used
 *          before), or what was refused in an atomic batch.
 *  @threads any    @blocks never */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_batch_submit(pgqrs_batch       *batch,
                                                      pgqrs_completions *completions,
                                                      void *user_data, pgqrs_error *error);
/** End the waits of a batch that is under way (claims with wait_us, run_wait): they answer at once
 *  what there is. It comes back as ever, and nothing is lost: what was claimed is in it. The batch
 *  must not have been handed back. @threads any */
PGQRS_API void pgqrs_batch_hurry(pgqrs_batch *batch);
/** pgqrs_open() and, if @p install, pgqrs_install(), without waiting. The batch that comes back
 *  has one operation, whose store pgqrs_batch_take_store() gives. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_open_submit(const char                *dsn,
                                                     const pgqrs_store_options *options,
                                                     bool install, pgqrs_completions *completions,
                                                     void *user_data, pgqrs_error *error);

/* Results, by number of operation. A number that is none answers like a refused operation. Pointers
 * live as long as the batch. */

/** PGQRS_OK, or what the call would have returned; PGQRS_ENOTREADY before the batch is done. */
PGQRS_API pgqrs_status       pgqrs_batch_status(const pgqrs_batch *batch, size_t operation);
PGQRS_API const pgqrs_error *pgqrs_batch_error(const pgqrs_batch *batch, size_t operation);
/** The id that was given out: of a message, a run, a worker. 0 without one, and for an enqueue
 *  without a key of an atomic batch that is known to be committed although its answer was lost. */
PGQRS_API int64_t pgqrs_batch_id(const pgqrs_batch *batch, size_t operation);
/** Of enqueue_many: the ids in order, *out_count of them. NULL without. */
PGQRS_API const int64_t *pgqrs_batch_ids(const pgqrs_batch *batch, size_t operation,
                                         size_t *out_count);
/** Whether the key of an enqueue or trigger named a message that was there before. */
PGQRS_API bool pgqrs_batch_existed(const pgqrs_batch *batch, size_t operation);
/** How many: of queue_purge, replay, dead_purge, retention_run, worker_purge_stale,
 *  worker_release.
 * */
PGQRS_API int64_t pgqrs_batch_number(const pgqrs_batch *batch, size_t operation);
/** Of cancel. */
PGQRS_API pgqrs_state pgqrs_batch_state(const pgqrs_batch *batch, size_t operation);
/** Of step_begin: lives as its run. NULL where pgqrs_step_begin() sets out none. */
PGQRS_API pgqrs_step *pgqrs_batch_step(const pgqrs_batch *batch, size_t operation);
/** Of queue_measure, and of worker_measure. NULL without. */
PGQRS_API const pgqrs_queue_metrics *pgqrs_batch_metrics(const pgqrs_batch *batch,
                                                         size_t             operation);
PGQRS_API const pgqrs_worker_health *pgqrs_batch_health(const pgqrs_batch *batch, size_t operation);
/* What a call would have handed out. It is yours from then on, to be freed; NULL without, and when
 * it was taken before. */
PGQRS_API pgqrs_messages       *pgqrs_batch_take_messages(pgqrs_batch *batch, size_t operation);
PGQRS_API pgqrs_records        *pgqrs_batch_take_records(pgqrs_batch *batch, size_t operation);
PGQRS_API pgqrs_queues         *pgqrs_batch_take_queues(pgqrs_batch *batch, size_t operation);
PGQRS_API pgqrs_worker_records *pgqrs_batch_take_workers(pgqrs_batch *batch, size_t operation);
PGQRS_API pgqrs_run_records    *pgqrs_batch_take_runs(pgqrs_batch *batch, size_t operation);
PGQRS_API pgqrs_step_records   *pgqrs_batch_take_steps(pgqrs_batch *batch, size_t operation);
PGQRS_API pgqrs_run            *pgqrs_batch_take_run(pgqrs_batch *batch, size_t operation);
PGQRS_API pgqrs_store          *pgqrs_batch_take_store(pgqrs_batch *batch, size_t operation);

/* Adding operations: those that an atomic batch takes. */
PGQRS_API size_t pgqrs_batch_enqueue(pgqrs_batch *batch, const char *queue, const char *payload,
                                     const pgqrs_enqueue_options *options);
PGQRS_API size_t pgqrs_batch_enqueue_many(pgqrs_batch *batch, const char *queue,
                                          const char *const *payloads, size_t count,
                                          const pgqrs_enqueue_options *options);
PGQRS_API size_t pgqrs_batch_trigger(pgqrs_batch *batch, const char *workflow, const char *input,
                                     const pgqrs_enqueue_options *options);
PGQRS_API size_t pgqrs_batch_archive(pgqrs_batch *batch, const pgqrs_message *message);
PGQRS_API size_t pgqrs_batch_delete(pgqrs_batch *batch, const pgqrs_message *message);
PGQRS_API size_t pgqrs_batch_release(pgqrs_batch *batch, const pgqrs_message *message,
                                     const pgqrs_release_options *options);
PGQRS_API size_t pgqrs_batch_retry(pgqrs_batch *batch, const pgqrs_message *message,
                                   const char *code, const char *text);
PGQRS_API size_t pgqrs_batch_dead_letter(pgqrs_batch *batch, const pgqrs_message *message,
                                         const char *code, const char *text);
PGQRS_API size_t pgqrs_batch_run_succeed(pgqrs_batch *batch, pgqrs_run *run, const char *output);
PGQRS_API size_t pgqrs_batch_run_fail(pgqrs_batch *batch, pgqrs_run *run, const char *code,
                                      const char *text);
PGQRS_API size_t pgqrs_batch_step_succeed(pgqrs_batch *batch, pgqrs_step *step, const char *output);
PGQRS_API size_t pgqrs_batch_step_fail(pgqrs_batch *batch, pgqrs_step *step, const char *code,
                                       const char *text);
PGQRS_API size_t pgqrs_batch_step_retry(pgqrs_batch *batch, pgqrs_step *step, const char *code,
                                        const char *text, int64_t after_us);

/* Independent only. These share groups like the ones above. */
PGQRS_API size_t pgqrs_batch_claim(pgqrs_batch *batch, const char *queue,
                                   const pgqrs_claim_options *options);
PGQRS_API size_t pgqrs_batch_extend(pgqrs_batch *batch, const pgqrs_message *message,
                                    int64_t lease_us);

/* Independent only, each a statement or more of its own. */
PGQRS_API size_t pgqrs_batch_claim_id(pgqrs_batch *batch, int64_t id,
                                      const pgqrs_claim_options *options);
PGQRS_API size_t pgqrs_batch_message_get(pgqrs_batch *batch, int64_t id);
PGQRS_API size_t pgqrs_batch_message_list(pgqrs_batch *batch, const char *queue,
                                          const pgqrs_list_options *options);
PGQRS_API size_t pgqrs_batch_replay(pgqrs_batch *batch, const int64_t *ids, size_t count);
PGQRS_API size_t pgqrs_batch_dead_purge(pgqrs_batch *batch, const char *queue, int64_t limit);
PGQRS_API size_t pgqrs_batch_cancel(pgqrs_batch *batch, int64_t id);
PGQRS_API size_t pgqrs_batch_retention_run(pgqrs_batch *batch, int64_t now_us);

PGQRS_API size_t pgqrs_batch_run_open(pgqrs_batch *batch, int64_t run_id);
PGQRS_API size_t pgqrs_batch_run_start(pgqrs_batch *batch, pgqrs_run *run);
PGQRS_API size_t pgqrs_batch_run_pause(pgqrs_batch *batch, pgqrs_run *run, const char *message,
                                       int64_t resume_after_us);
PGQRS_API size_t pgqrs_batch_run_sleep(pgqrs_batch *batch, pgqrs_run *run, const char *name,
                                       int64_t duration_us);
PGQRS_API size_t pgqrs_batch_run_cancel(pgqrs_batch *batch, pgqrs_run *run);
PGQRS_API size_t pgqrs_batch_run_settle(pgqrs_batch *batch, pgqrs_run *run, pgqrs_status returned);
PGQRS_API size_t pgqrs_batch_run_get(pgqrs_batch *batch, int64_t run_id);
PGQRS_API size_t pgqrs_batch_run_list(pgqrs_batch *batch, const char *workflow,
                                      const pgqrs_run_list_options *options);
PGQRS_API size_t pgqrs_batch_run_wait(pgqrs_batch *batch, int64_t run_id, int64_t wait_us);
PGQRS_API size_t pgqrs_batch_step_begin(pgqrs_batch *batch, pgqrs_run *run, const char *name,
                                        const pgqrs_step_options *options);
PGQRS_API size_t pgqrs_batch_step_list(pgqrs_batch *batch, int64_t run_id);

PGQRS_API size_t pgqrs_batch_install(pgqrs_batch *batch);
PGQRS_API size_t pgqrs_batch_verify(pgqrs_batch *batch);
PGQRS_API size_t pgqrs_batch_queue_create(pgqrs_batch *batch, const char *queue,
                                          const pgqrs_queue_options *options);
PGQRS_API size_t pgqrs_batch_queue_ensure(pgqrs_batch *batch, const char *queue,
                                          const pgqrs_queue_options *options);
PGQRS_API size_t pgqrs_batch_workflow_ensure(pgqrs_batch *batch, const char *workflow,
                                             const pgqrs_queue_options *options);
PGQRS_API size_t pgqrs_batch_queue_configure(pgqrs_batch *batch, const char *queue,
                                             const pgqrs_queue_options *options);
PGQRS_API size_t pgqrs_batch_queue_get(pgqrs_batch *batch, const char *queue);
PGQRS_API size_t pgqrs_batch_queue_list(pgqrs_batch *batch);
PGQRS_API size_t pgqrs_batch_queue_delete(pgqrs_batch *batch, const char *queue, bool force);
PGQRS_API size_t pgqrs_batch_queue_purge(pgqrs_batch *batch, const char *queue);
PGQRS_API size_t pgqrs_batch_queue_pause(pgqrs_batch *batch, const char *queue);
PGQRS_API size_t pgqrs_batch_queue_resume(pgqrs_batch *batch, const char *queue);
PGQRS_API size_t pgqrs_batch_queue_measure(pgqrs_batch *batch, const char *queue);

PGQRS_API size_t pgqrs_batch_worker_register(pgqrs_batch *batch, const char *name,
                                             const char *queue);
PGQRS_API size_t pgqrs_batch_worker_heartbeat(pgqrs_batch *batch, const int64_t *workers,
                                              size_t count);
PGQRS_API size_t pgqrs_batch_worker_set_status(pgqrs_batch *batch, int64_t worker,
                                               pgqrs_worker_status status);
PGQRS_API size_t pgqrs_batch_worker_get(pgqrs_batch *batch, int64_t worker);
PGQRS_API size_t pgqrs_batch_worker_list(pgqrs_batch *batch);
PGQRS_API size_t pgqrs_batch_worker_measure(pgqrs_batch *batch, int64_t silent_us);
PGQRS_API size_t pgqrs_batch_worker_purge_stale(pgqrs_batch *batch, int64_t silent_us,
                                                int64_t now_us);
PGQRS_API size_t pgqrs_batch_worker_release(pgqrs_batch *batch, int64_t worker);

#ifndef PGQRS_CDEF
#ifdef __cplusplus
}
#endif
#endif

#endif
