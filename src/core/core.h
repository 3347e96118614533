/* What the files of core/ share: the store, its connections, operations and groups, collections.
 *
 * Two ways to the database:
 *   pgqrs__run()      one caller's statements on a connection of their own, now (reads,
 *   administration);
 *   pgqrs__perform()  an operation on the hot path, which shares a group with those of other
 *   callers.
 */
#ifndef PGQRS_CORE_CORE_H
#define PGQRS_CORE_CORE_H

#include <pgqrs/pgqrs.h>

#include "backend/backend.h"
#include "statements.h"
#include "util/alloc.h"
#include "util/arena.h"
#include "util/base.h"
#include "util/error.h"
#include "util/map.h"
#include "util/thread.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>

/* --- Limits (docs/operations.md) -------------------------------------------------------------- */

#define PGQRS__NAME_MAX         255
#define PGQRS__CLAIM_MAX        1000
#define PGQRS__ENQUEUE_MAX      10000
#define PGQRS__PAGE_MAX         1000
#define PGQRS__ATTEMPTS_MAX     1000
#define PGQRS__LEASE_MAX_US     (7 * PGQRS_DAY)
#define PGQRS__DURATION_MAX_US  (36500 * PGQRS_DAY)       /* a hundred years */
#define PGQRS__TIME_MAX_US      INT64_C(8000000000000000) /* the year 2223 */
#define PGQRS__PAYLOAD_MAX      ((int64_t)64 << 20)
#define PGQRS__GROUP_BYTES_MAX  ((size_t)64 << 20)
#define PGQRS__SWEEP_ROWS       1000 /* moved or removed by one statement of housekeeping */
#define PGQRS__PRIORITIES       10
#define PGQRS__PRIORITY_DEFAULT 5

/* --- Values ----------------------------------------------------------------------------------- */

static inline pgqrs__val pgqrs__null(void)
{
    return (pgqrs__val){ .kind = PGQRS__KIND_NULL };
}

static inline pgqrs__val pgqrs__int(int64_t i)
{
    return (pgqrs__val){ .kind = PGQRS__KIND_INT, .as.i = i };
}

static inline pgqrs__val pgqrs__real(double f)
{
    return (pgqrs__val){ .kind = PGQRS__KIND_REAL, .as.f = f };
}

/* NULL text is NULL. */
static inline pgqrs__val pgqrs__text(const char *text)
{
    return text == NULL ? pgqrs__null()
                        : (pgqrs__val){ .kind    = PGQRS__KIND_TEXT,
                                        .len     = (uint32_t)strlen(text),
                                        .as.text = text };
}

/* 0 is NULL: for worker ids, times and durations that are left out. */
static inline pgqrs__val pgqrs__int_or_null(int64_t i)
{
    return i == 0 ? pgqrs__null() : pgqrs__int(i);
}

/* NULL columns read as 0, or as NULL. */
static inline int64_t pgqrs__as_int(pgqrs__val v)
{
    return v.kind == PGQRS__KIND_INT ? v.as.i : 0;
}

static inline double pgqrs__as_real(pgqrs__val v)
{
    return v.kind == PGQRS__KIND_REAL ? v.as.f : (double)pgqrs__as_int(v);
}

/* --- The store -------------------------------------------------------------------------------- */

typedef struct pgqrs__op      pgqrs__op;
typedef struct pgqrs__task    pgqrs__task;
typedef struct pgqrs__crew    pgqrs__crew;
typedef struct pgqrs__service pgqrs__service;
typedef struct pgqrs__tx      pgqrs__tx;

/* What a store knows about a queue beside its id: nothing that could become wrong. */
typedef struct pgqrs__queue_state {
    int64_t  id;
    int64_t  hint[PGQRS__PRIORITIES]; /* claims start here: see storage.md, low-water hint */
    int64_t  floor_due_us;            /* by the real monotonic clock: claim from the floor again */
    bool     came_short;              /* the last claim brought less than was asked */
    uint64_t wakes;                   /* counts enqueues heard of; waiting claims compare it */
    int64_t  poll_due_us;             /* one of the claims that wait looks again then, for all */
    int64_t  waiter_until_us;         /* enqueues notify until then, by the real monotonic clock */
    int64_t  sweep_due_us;            /* retention looks again, by the real monotonic clock */
    int64_t  sweep_after;             /* where its walk goes on */
    int64_t  sweep_walk_us;           /* a walk to the end is due */
    bool     sweep_walks;             /* this walk goes to the end */
} pgqrs__queue_state;

typedef struct pgqrs__idle_conn {
    pgqrs__conn *conn;
    int64_t      since_us;
} pgqrs__idle_conn;

/* Connections of a store: opened when needed, up to so many. */
typedef struct pgqrs__pool {
    pgqrs__cond       freed;
    pgqrs__idle_conn *idle; /* `most` entries, the last used one last */
    int               idle_count;
    int               open; /* or being opened */
    int               most;
    int               kept;   /* idle ones that stay, however long they are not used */
    const char       *option; /* which `most` is */
} pgqrs__pool;

struct pgqrs_store {
    const pgqrs__backend *backend;
    pgqrs__db            *db;
    pid_t                 pid;       /* of the process that opened it */
    pgqrs_store_options   options;   /* every field set; schema and listen_dsn are NULL here */
    bool                  own_clock; /* the options brought a clock */
    bool                  adopted;   /* it is a transaction that the user has open (adopt.c) */

    pgqrs__mutex lock; /* guards everything below */

    pgqrs__pool pool;    /* options.max_connections; the user's own one of an adopted store */
    pgqrs__pool tx_pool; /* options.max_transactions, for transactional steps alone (tx.c) */
    pgqrs__tx  *txs;     /* those that are open */
    atomic_int  tx_count;

    /* Operations waiting for a group, in order of arrival. */
    pgqrs__op *pending_first;
    pgqrs__op *pending_last;
    size_t     pending_count;
    int        groups_in_flight;
    size_t     ops_in_flight;    /* their operations */
    int64_t    group_started_us; /* the latest one, by the real monotonic clock */
    pgqrs__map busy;             /* message id -> what is in flight on it (group.c) */
    pgqrs__map tokens;           /* steps by name and idempotency keys in flight */
    uint64_t   token_seed;

    pgqrs__smap queue_ids; /* name -> id * 2 + workflow */
    pgqrs__map  queues;    /* id -> pgqrs__queue_state, owned */
    pgqrs__cond woken;     /* some queue's `wakes` grew */
    int         waiting;   /* claims that wait for a message */

    pgqrs__crew *crew; /* made when something is first submitted (crew.c) */

    _Atomic(pgqrs__service *) service; /* started when first needed (service.c) */

    atomic_int_fast64_t groups;
    atomic_int_fast64_t operations;
};

/* The first line of every public function: refuses NULL and a store from before fork(). Sets
 * *error. */
pgqrs_status pgqrs__enter(pgqrs_store *store, pgqrs_error *error);

/* A nullable `now` argument: what the call says, else the store's own clock, else NULL (the
 * database's). */
pgqrs__val pgqrs__now(const pgqrs_store *store, int64_t now_us);
/* The monotonic clock that judges leases. */
int64_t pgqrs__lease_clock(const pgqrs_store *store);
/* When a call that starts now must give up, by the real monotonic clock. */
int64_t pgqrs__deadline(const pgqrs_store *store);
/* Calls of this thread give up by then, if that is earlier. INT64_MAX: no longer. */
void pgqrs__deadline_limit(int64_t until_us);

/* A store without a database yet, from the caller's options, and what its backend has to know. The
 * settings point into @p given. Free with pgqrs_close(). (store.c) */
pgqrs_status pgqrs__store_new(const pgqrs_store_options *given, pgqrs_store **out_store,
                              pgqrs__settings *out_settings, pgqrs_error *error);
/* Refuse what an adopted store cannot do: @p what is "pgqrs_install()" … (adopt.c) */
pgqrs_status pgqrs__not_adopted(const pgqrs_store *store, const char *what, pgqrs_error *error);

PGQRS__PRINTF(3, 4)
void pgqrs__log(const pgqrs_store *store, pgqrs_log_level level, const char *format, ...);

/* --- Connections (connections.c) -------------------------------------------------------------- */

/* Take a connection of the pool, opening one if need be; waits until the deadline for a free
 * one. */
pgqrs_status pgqrs__conn_take(pgqrs_store *store, int64_t deadline_us, pgqrs__conn **out_conn,
                              pgqrs_error *error);
/* Give it back; one that is no longer usable is closed. */
void pgqrs__conn_give(pgqrs_store *store, pgqrs__conn *conn);
/* The same of another pool of the store. */
pgqrs_status pgqrs__pool_take(pgqrs_store *store, pgqrs__pool *pool, int64_t deadline_us,
                              pgqrs__conn **out_conn, pgqrs_error *error);
void         pgqrs__pool_give(pgqrs_store *store, pgqrs__pool *pool, pgqrs__conn *conn);
/* False when out of memory. */
bool pgqrs__pool_init(pgqrs__pool *pool, int most, int kept, const char *option);
/* Every connection was given back. Forked: memory only. */
void pgqrs__pool_free(pgqrs_store *store, pgqrs__pool *pool, bool forked);

/* Run statements on a connection of their own, at once: reads and administration. What was rolled
 * back, or never sent, for a passing reason is sent once more. */
pgqrs_status pgqrs__run(pgqrs_store *store, pgqrs__mode mode, pgqrs__call *calls, size_t ncalls,
                        pgqrs_error *error);

/* One statement with scalar arguments only. */
pgqrs_status pgqrs__run_one(pgqrs_store *store, pgqrs__mode mode, pgqrs__stmt stmt,
                            const pgqrs__val *scalars, pgqrs__row_fn on_row, void *user,
                            pgqrs_error *error);

/* Row functions for the commonest answers: call->user is an int64_t that gets column 0 of the first
 * row (untouched without a row), or the sum of column 0. */
pgqrs_status pgqrs__row_int(pgqrs__call *call, const pgqrs__val *cols);
pgqrs_status pgqrs__row_sum(pgqrs__call *call, const pgqrs__val *cols);

/* --- Collections that are handed out (rows.c) ------------------------------------------------- */

/* A growing array of plain structs, and the text they point to. The public pgqrs_queues,
 * pgqrs_records … are this. */
typedef struct pgqrs__rows {
    pgqrs__arena arena;
    char        *items;
    size_t       item_size;
    size_t       count;
    size_t       cap;
} pgqrs__rows;

/* NULL when out of memory. */
pgqrs__rows *pgqrs__rows_new(size_t item_size);
/* One more item, zeroed; NULL when out of memory. Earlier items may move. */
void *pgqrs__rows_add(pgqrs__rows *rows);
/* NULL when out of range. */
const void *pgqrs__rows_at(const pgqrs__rows *rows, size_t index);
void        pgqrs__rows_clear(pgqrs__rows *rows);
void        pgqrs__rows_free(pgqrs__rows *rows);
/* A column's text, copied: *out is NULL for a NULL column. False when out of memory. */
bool pgqrs__rows_text(pgqrs__rows *rows, pgqrs__val v, const char **out);

/* --- Reading arguments (arguments.c) ---------------------------------------------------------- */

/* Copy the caller's options over defaults: NULL options are all zero. Refuses a struct that was not
 * initialised, or a longer one that sets fields which this library does not know. */
pgqrs_status pgqrs__options_read(void *into, size_t size, size_t first_size, const void *given,
                                 const char *what, pgqrs_error *error);
#define PGQRS__OPTIONS_READ(into, given, noun, error)                      \
    pgqrs__options_read((into), sizeof(*(into)), sizeof(*(into)), (given), \
                        "pgqrs_" noun "_options", (error))

/* 1–255 bytes of UTF-8 without control characters; @p what is "queue", "workflow", "step" … */
pgqrs_status pgqrs__check_name(const char *name, const char *what, pgqrs_object object,
                               pgqrs_error *error);
/* JSON text within the store's limits. @p what is "payload", "output" … @p out_bytes may be
 * NULL. */
pgqrs_status pgqrs__check_json(const pgqrs_store *store, const char *json, const char *what,
                               size_t *out_bytes, pgqrs_error *error);
/* low ≤ value ≤ high, else PGQRS_EINVAL naming @p what and the range. */
pgqrs_status pgqrs__check_range(int64_t value, int64_t low, int64_t high, const char *what,
                                pgqrs_error *error);
/* A duration 0 … 100 years; a time 0 … the year 2223. */
pgqrs_status pgqrs__check_duration(int64_t us, const char *what, pgqrs_error *error);
pgqrs_status pgqrs__check_time(int64_t us, const char *what, pgqrs_error *error);
/* A required pointer argument. */
pgqrs_status pgqrs__check_pointer(const void *pointer, const char *what, pgqrs_error *error);
/* {"code":…,"message":…} in @p arena; code NULL: "ERROR". NULL when out of memory. */
const char *pgqrs__error_json(pgqrs__arena *arena, const char *code, const char *text);

/* --- Queue names (queue.c) -------------------------------------------------------------------- */

typedef struct pgqrs__queue_ref {
    int64_t id;
    bool    workflow;
} pgqrs__queue_ref;

/* The id of a queue by name, from the cache or the database. PGQRS_ENOTFOUND. The name was
 * checked. */
pgqrs_status pgqrs__queue_ref_get(pgqrs_store *store, const char *name, pgqrs_object object,
                                  pgqrs__queue_ref *out, pgqrs_error *error);
/* The cached id of a name; asks nobody. */
bool pgqrs__queue_ref_known(pgqrs_store *store, const char *name, pgqrs__queue_ref *out);
/* Forget the cached id of a name, so that the database is asked again. */
void pgqrs__queue_ref_forget(pgqrs_store *store, const char *name);
/* Remember it. */
void pgqrs__queue_ref_put(pgqrs_store *store, const char *name, pgqrs__queue_ref ref);
/* The state of a queue, made when first asked for; NULL when out of memory. Under store->lock. It
 * lives as long as the store. */
pgqrs__queue_state *pgqrs__queue_state_get(pgqrs_store *store, int64_t queue_id);
/* The error for a name that does not exist. */
pgqrs_status pgqrs__queue_missing(const char *name, pgqrs_object object, pgqrs_error *error);
/* Create unless it exists; *out_created says which. */
pgqrs_status pgqrs__queue_make(pgqrs_store *store, const char *name, bool workflow,
                               const pgqrs_queue_options *options, bool *out_created,
                               pgqrs__queue_ref *out_ref, pgqrs_error *error);

/* --- Operations and groups (operation.c, group.c) --------------------------------------------- */

typedef enum pgqrs__op_kind {
    /* on leased rows: argument rows begin with queue, message, lease */
    PGQRS__OP_STEP, /* first: in an atomic batch its run may end after it */
    PGQRS__OP_FINISH,
    PGQRS__OP_DELETE,
    PGQRS__OP_RELEASE,
    PGQRS__OP_EXTEND,
    PGQRS__OP_HOLD, /* asks whether it is still held */
    /* keyed: argument rows begin with queue, key */
    PGQRS__OP_ENQUEUE_KEYED,
    /* the rest */
    PGQRS__OP_ENQUEUE,
    PGQRS__OP_CLAIM, /* never folds; carries up to PGQRS__OP_CALLS statements */
    PGQRS__OP_ATOMIC /* other operations, all or nothing, in a group of their own (atomic.c) */
} pgqrs__op_kind;

#define PGQRS__OP_CALLS 4
#define PGQRS__GROUPS_IN_FLIGHT \
    2 /* one waits for the disk while the other computes; 4 gained nothing */
/* a group that has begun is waited for so long by a smaller one */
#define PGQRS__GROUP_PATIENCE_US PGQRS_MILLISECOND

/* The calls of an atomic operation: strict statements, which undo it unless all is as it must be.
 */
enum {
    PGQRS__STRICT_HELD, /* its messages are held: queue, message, lease; each once, in order */
    PGQRS__STRICT_OPEN, /* its steps have no result yet */
    PGQRS__STRICT_LIVE, /* the queues it enqueues into are there; sent last */
    PGQRS__STRICT_CALLS
};

/* What the database said about one argument row. */
#define PGQRS__ANSWER_YES        1u /* there was a row for it */
#define PGQRS__ANSWER_CANCELLED  2u
#define PGQRS__ANSWER_AGAIN      4u  /* ask once more, behind a hold */
#define PGQRS__ANSWER_RECORDED   8u  /* step: this result is the one that stands */
#define PGQRS__ANSWER_EXISTED    16u /* keyed enqueue: the message was there before */
#define PGQRS__ANSWER_FATE_SHIFT 8   /* release: the fate, above the flags */

typedef struct pgqrs__op_call {
    int               stmt;
    pgqrs__val       *rows; /* nrows × shape->narrays, in the operation's arena */
    size_t            nrows;
    const pgqrs__val *scalars;
    /* A row of the answer; n is the argument row, from 0 (0 for statements without arrays). NULL:
     * not wanted. */
    pgqrs_status (*on_row)(pgqrs__op *op, size_t call, size_t n, const pgqrs__val *cols);
} pgqrs__op_call;

/* One operation: what to run, and its result. Made on the heap, since it outlives a caller that
 * stops waiting. Everything it points to is in its arena. */
struct pgqrs__op {
    pgqrs__op_kind kind;
    pgqrs__op_call calls[PGQRS__OP_CALLS];
    size_t         ncalls;
    pgqrs__arena   arena;
    size_t         bytes; /* of its arguments, about */
    pgqrs__val     now;   /* operations that fold have the same */
    bool           hold;  /* send a hold before it, even when it is alone */
    /* an answer was lost, and it was sent again: "no" may mean "done before" */
    bool lost;

    pgqrs__op **parts; /* ATOMIC: what it is made of, in the order of being sent; owned */
    size_t      nparts;
    bool natural; /* ATOMIC: sent again, it cannot do a second time what may have been done */
    pgqrs__task
        *task; /* that was submitted, and is told (crew.c); NULL: somebody waits for `news` */

    /* Rows that are asked again (operation.c): what call 0 was as a whole, and where each row was.
     */
    pgqrs__val *all_rows;
    uint32_t   *all_answers;
    size_t     *origin;
    size_t      all_nrows;
    int64_t     delay_us; /* before it is sent again after a lost answer */

    /* the result; cleared by the group before each time it is sent */
    uint32_t *answers;                  /* for each argument row of calls[0] */
    int64_t  *ids;                      /* enqueue: for each argument row */
    void     *result;                   /* CLAIM: a pgqrs_messages */
    void (*clear)(pgqrs__op *op);       /* more to clear; may be NULL */
    void (*free_result)(pgqrs__op *op); /* more to free; may be NULL */

    /* the group's; under the store's lock */
    pgqrs__op *next;
    size_t     order; /* of arrival in its group */
    int64_t    deadline_us;
    int64_t    sent_us; /* by the lease clock: before it was first sent */
    enum { PGQRS__OP_NEW, PGQRS__OP_PENDING, PGQRS__OP_SENT, PGQRS__OP_DONE } stage;
    bool         abandoned; /* its caller has left: the group frees it */
    pgqrs_status status;
    pgqrs_error  error;
    /* Its caller sleeps here, and not at the store's lock, which all that are told at once would
     * want at once. */
    pgqrs__news news; /* PGQRS__NEWS_… */
};

#define PGQRS__NEWS_TURN 1u /* its caller may lead a group */
#define PGQRS__NEWS_END  2u /* it is DONE, and nobody else looks at it any more */

/* Whether it is on leased rows. */
static inline bool pgqrs__op_held(const pgqrs__op *op)
{
    return op->kind <= PGQRS__OP_HOLD;
}

/* Whether its messages leave their lease. */
static inline bool pgqrs__op_moves(pgqrs__op_kind kind)
{
    return kind == PGQRS__OP_FINISH || kind == PGQRS__OP_DELETE || kind == PGQRS__OP_RELEASE;
}

/* A new operation of @p kind; NULL when out of memory. */
pgqrs__op *pgqrs__op_new(pgqrs__op_kind kind);
void       pgqrs__op_free(pgqrs__op *op);
/* Rows for calls[0]: nrows × the statement's array arguments, and the answers. NULL when out of
 * memory. */
pgqrs__val *pgqrs__op_rows(pgqrs__op *op, int stmt, size_t nrows);
/* A further statement with scalar arguments, which are copied. False when out of memory. */
bool pgqrs__op_scalars(pgqrs__op *op, size_t call, int stmt, const pgqrs__val *scalars);

/* Send an operation in a group and wait for its result. Returns its status: PGQRS_OK when the
 * database committed it; what each row was answered is in op->answers. Lost answers are resolved
 * under the natural key where there is one, else PGQRS_MAYBE_APPLIED is flagged. When it returns
 * PGQRS_ETIMEDOUT the operation may live on: *op is set to NULL whenever it is no longer the
 * caller's. */
pgqrs_status pgqrs__perform(pgqrs_store *store, pgqrs__op **op, pgqrs_error *error);

/* An operation was answered with @p rc, and *error when that is a failure: true when it must be
 * sent again, at *out_at_us (0: at once), because rows must be asked again or the answer was lost.
 * Else *rc and *error are its result. */
bool pgqrs__op_again(pgqrs__op *op, pgqrs_status *rc, pgqrs_error *error, int64_t *out_at_us);

/* Put an operation into a group, once, and wait for it; what pgqrs__perform() is made of. (group.c)
 * *out_left: the deadline passed with the operation on its way; it is the group's now. */
pgqrs_status pgqrs__group_submit(pgqrs_store *store, pgqrs__op *op, bool *out_left,
                                 pgqrs_error *error);
/* The same in parts, for what is submitted; under the lock. Add an operation to those that wait,
 * take one that is still PENDING out again, lead one group if a turn is free and anything can go:
 * that leaves the lock meanwhile. *out_due_us is when to try again, by the real monotonic clock,
 * unless something else happens before, which wakes; INT64_MAX: no time. */
void pgqrs__group_add(pgqrs_store *store, pgqrs__op *op);
void pgqrs__group_remove(pgqrs_store *store, pgqrs__op *op);
bool pgqrs__group_lead(pgqrs_store *store, int64_t *out_due_us);

/* Operations, all or nothing, in the transaction that is open on @p conn; their answers are in
 * them. */
pgqrs_status pgqrs__group_inside(pgqrs_store *store, pgqrs__conn *conn, pgqrs__op *const *ops,
                                 size_t count, int64_t deadline_us, pgqrs_error *error);
/* From now on no group moves the message: somebody outside of groups is about to hold it. */
pgqrs_status pgqrs__group_pin(pgqrs_store *store, int64_t message_id, pgqrs_error *error);
void         pgqrs__group_unpin(pgqrs_store *store, int64_t message_id);

/* PGQRS_EBUSY when the calling thread is in a transactional step of the store: what it asked for
 * would wait for itself. (tx.c) */
pgqrs_status pgqrs__tx_guard(pgqrs_store *store, pgqrs_error *error);

/* --- Putting in (enqueue.c) ------------------------------------------------------------------- */

/* A checked request to enqueue. */
typedef struct pgqrs__request {
    const char           *queue;
    pgqrs_object          object; /* QUEUE or WORKFLOW: what the name is to be */
    const char *const    *payloads;
    size_t                count;
    pgqrs_enqueue_options options;
} pgqrs__request;

/* Check one message; the request points to what was given. */
pgqrs_status pgqrs__request_read(pgqrs_store *store, const char *queue, pgqrs_object object,
                                 const char *const *payload, const pgqrs_enqueue_options *given,
                                 pgqrs__request *out, pgqrs_error *error);
/* PGQRS_ENOTFOUND when the name is a workflow's and a queue was asked for, or the contrary. */
pgqrs_status pgqrs__request_fits(const pgqrs__request *r, pgqrs__queue_ref ref, pgqrs_error *error);
/* NULL: no memory. It owns copies of everything. */
pgqrs__op *pgqrs__request_op(pgqrs_store *store, const pgqrs__request *r, int64_t queue_id);

/* --- Messages (claim.c, settle.c) ------------------------------------------------------------- */

typedef struct pgqrs__claimed_step {
    size_t            message; /* index of the run it belongs to */
    const char       *name;
    pgqrs_step_status status;
    int               retries;
    int64_t           retry_at_us;
    const char       *output;
    const char       *error;
} pgqrs__claimed_step;

struct pgqrs_messages {
    pgqrs__rows         *rows;  /* of pgqrs_message */
    pgqrs__claimed_step *steps; /* in order of messages */
    size_t               step_count;
    size_t               step_cap;
    int64_t              lease;        /* one for all of them */
    int64_t              sent_mono_us; /* by the lease clock, before the claim was sent */
    int64_t              answered_us;  /* … and when its answer was here */
    int64_t              seqs_seen[PGQRS__PRIORITIES]; /* the last of each priority, 0 = none */
};

/* As pgqrs_claim(), which also ends its wait, empty, when *stop is set and `woken` was broadcast.
 * @p stop may be NULL. The options were checked. */
pgqrs_status pgqrs__claim(pgqrs_store *store, const char *queue, const pgqrs_claim_options *options,
                          const atomic_bool *stop, pgqrs_messages **out_messages,
                          pgqrs_error *error);

/* Defaults, ranges. */
pgqrs_status pgqrs__claim_options_read(pgqrs_store *store, const pgqrs_claim_options *given,
                                       pgqrs_claim_options *options, pgqrs_error *error);

pgqrs_messages *pgqrs__messages_new(void);
/* Forget what was taken, to be sent again. */
void pgqrs__messages_clear(pgqrs_messages *messages);
/* A row of a claim's answer, plain or with a run's step. */
pgqrs_status pgqrs__messages_take(pgqrs_messages *messages, const pgqrs__val *cols, bool run);

/* Single held-message operations that runs use. */
typedef struct pgqrs__parking {
    bool        counted;
    bool        backoff;
    int64_t     delay_us; /* -1 = none */
    int64_t     at_us;    /* 0 = none */
    int         reason;
    const char *note;
    const char *error; /* JSON, for the dead letter */
} pgqrs__parking;

/* The fates of a released message. */
enum {
    PGQRS__FATE_READY     = 0,
    PGQRS__FATE_SCHEDULED = 1,
    PGQRS__FATE_CANCELLED = 3,
    PGQRS__FATE_DEAD      = 4
};

pgqrs_status pgqrs__finish(pgqrs_store *store, const pgqrs_message *message, int archive_state,
                           const char *output, const char *error_json, int64_t now_us,
                           bool *out_cancelled, pgqrs_error *error);
pgqrs_status pgqrs__park(pgqrs_store *store, const pgqrs_message *message,
                         const pgqrs__parking *parking, int64_t now_us, int *out_fate,
                         pgqrs_error *error);
/* Whether it is still held, and whether a cancel was asked. Changes nothing. */
pgqrs_status pgqrs__hold_ask(pgqrs_store *store, const pgqrs_message *message, bool *out_cancelled,
                             pgqrs_error *error);
/* Lease one message by id. As pgqrs_claim_id(). */
pgqrs_status pgqrs__claim_by_id(pgqrs_store *store, int64_t id, const pgqrs_claim_options *options,
                                pgqrs_messages **out_messages, pgqrs_error *error);

/* Renew leases, each for lengths_us[i] from now: answers[i] is made of PGQRS__ANSWER_YES and
 * _CANCELLED. */
pgqrs_status pgqrs__extend_each(pgqrs_store *store, const pgqrs_message *const *messages,
                                const int64_t *lengths_us, size_t count, uint32_t *answers,
                                pgqrs_error *error);

/* archive states, as stored */
enum {
    PGQRS__ARCHIVE_DONE      = 0,
    PGQRS__ARCHIVE_SUCCESS   = 1,
    PGQRS__ARCHIVE_ERROR     = 2,
    PGQRS__ARCHIVE_CANCELLED = 3,
    PGQRS__ARCHIVE_DEAD      = 4
};
/* why a message is scheduled, as stored */
enum {
    PGQRS__REASON_DELAY = 0,
    PGQRS__REASON_RETRY = 1,
    PGQRS__REASON_SLEEP = 2,
    PGQRS__REASON_PAUSE = 3,
    PGQRS__REASON_EVENT = 4
};

/* The error of a message that is not held any more. */
pgqrs_status pgqrs__lease_lost(int64_t message_id, pgqrs_error *error);

/* --- The service thread: kept leases, waiting (service.c) ------------------------------------- */

/* Somebody enqueued into this queue (0: any): wake claims that wait. Takes the lock. */
void pgqrs__wake(pgqrs_store *store, int64_t queue_id);
/* Make sure that somebody listens for enqueues by other processes; failing is only slower. */
void pgqrs__listen(pgqrs_store *store);
/* A kept lease: what the keeper last heard of it. */
typedef enum pgqrs__kept {
    PGQRS__KEPT_NONE,
    PGQRS__KEPT_HELD,
    PGQRS__KEPT_CANCELLED,
    PGQRS__KEPT_LOST
} pgqrs__kept;
/* How a lease that may be kept stands; *out_heard_us and *out_until_us by the lease clock (may be
 * NULL). */
pgqrs__kept pgqrs__lease_state(pgqrs_store *store, int64_t lease, int64_t message_id,
                               int64_t *out_heard_us, int64_t *out_until_us);
/* As pgqrs_lease_keep(), but renew for no longer than @p for_us from now; 0 = as long as it is
 * kept. */
pgqrs_status pgqrs__lease_keep(pgqrs_store *store, const pgqrs_message *message, int64_t lease_us,
                               int64_t for_us, pgqrs_error *error);
/* The message left its lease by a call of ours: stop renewing. */
void pgqrs__lease_dropped(pgqrs_store *store, int64_t lease, int64_t message_id);
void pgqrs__service_stop(pgqrs_store *store, bool forked);

/* Leases that are renewed in a transaction which keeps everybody else from writing: what is due,
 * now; NULL: nothing, or the keeper will have to. */
typedef struct pgqrs__renewal pgqrs__renewal;
pgqrs__renewal               *pgqrs__renew_inside(pgqrs_store *store, pgqrs__conn *conn);
/* What became of the transaction. Frees it. */
void pgqrs__renew_note(pgqrs_store *store, pgqrs__renewal *renewal, pgqrs_status committed);

/* Housekeeping that an idle claimer does: at most one bounded batch. (retention.c) */
void pgqrs__retention_idle(pgqrs_store *store, int64_t queue_id);

#endif
