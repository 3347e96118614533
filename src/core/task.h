/* Tasks: an operation on its way to its result, in turns.
 *
 * What happens between the statements of an operation is written once, as a function that is called
 * again and again and says each time what it needs next. A caller's thread drives a task of its own
 * (pgqrs__task_run); the crew of a store drives those that were submitted (crew.c). */
#ifndef PGQRS_CORE_TASK_H
#define PGQRS_CORE_TASK_H

#include "core/core.h"

typedef enum pgqrs__turn {
    PGQRS__TURN_DONE, /* task->status is the result; *error says more about a failure */
    PGQRS__TURN_SEND, /* task->op goes into a group; the next turn is when it was answered */
    PGQRS__TURN_ASK,  /* the next turn asks the database: it must be allowed to */
    PGQRS__TURN_WAIT  /* the next turn is at wake_us, when task->queue is heard of, or at *stop */
} pgqrs__turn;

/* What an operation gives back, beside its status. */
typedef enum pgqrs__handed {
    PGQRS__HANDED_NOTHING,
    PGQRS__HANDED_MESSAGES,
    PGQRS__HANDED_RECORDS,
    PGQRS__HANDED_QUEUES,
    PGQRS__HANDED_WORKERS,
    PGQRS__HANDED_RUNS,
    PGQRS__HANDED_STEPS,
    PGQRS__HANDED_RUN,
    PGQRS__HANDED_STORE
} pgqrs__handed;

typedef struct pgqrs__result {
    int64_t                    id;
    const int64_t             *ids; /* of several; live as long as the task */
    size_t                     id_count;
    int64_t                    number;
    bool                       existed;
    pgqrs_state                state;
    pgqrs_step                *step;    /* its run's */
    const pgqrs_queue_metrics *metrics; /* live as long as the task */
    const pgqrs_worker_health *health;
    pgqrs__handed              handed; /* what `object` is; owned until it is taken */
    void                      *object;
} pgqrs__result;

struct pgqrs__task {
    pgqrs_store *store;
    /* Take a turn. Status and *error are those of what was answered, after PGQRS__TURN_SEND; then
     * `op` is NULL when the deadline passed with it on its way. Without the lock. */
    pgqrs__turn (*turn)(pgqrs__task *task, bool may_ask, pgqrs_error *error);
    pgqrs__op    *op;       /* owned, unless `borrowed` */
    bool          borrowed; /* an atomic operation owns it */
    bool          sent;     /* the turn's own */
    pgqrs_status  status;
    pgqrs__result result;

    /* PGQRS__TURN_WAIT */
    int64_t                   wake_us;
    const pgqrs__queue_state *queue; /* or NULL */
    uint64_t                  seen;  /* its `wakes` when the wait began */
    const atomic_bool        *stop;  /* or NULL */

    /* The crew's. */
    pgqrs_batch *batch;
    size_t       index;  /* of its operation */
    pgqrs__task *before; /* among all that are under way */
    pgqrs__task *after;
    pgqrs__task *next; /* in a queue */
    int64_t      deadline_us;
    int64_t      again_us; /* its operation is sent again then */
    enum {
        PGQRS__TASK_IDLE,
        PGQRS__TASK_TURNING, /* somebody takes a turn, or is about to */
        PGQRS__TASK_GROUP,   /* op->stage says where */
        PGQRS__TASK_AGAIN,   /* until again_us */
        PGQRS__TASK_ASKS,    /* waits for a thread that may ask */
        PGQRS__TASK_WAITS,
        PGQRS__TASK_DONE
    } stage;
};

/* Take turns until the task is done, in the caller's thread. Returns its status. */
pgqrs_status pgqrs__task_run(pgqrs__task *task, pgqrs_error *error);
/* Free what a task owns, not itself: its memory is the caller's. */
void pgqrs__task_clean(pgqrs__task *task);
/* Whether a wait is over. Under the store's lock. */
bool pgqrs__task_woken(const pgqrs__task *task, int64_t mono_us);

/* --- Operations as tasks ---------------------------------------------------------------------- */

/* Each is made in @p arena, with copies of its arguments. NULL: refused, or no memory; *error says
 * which. @p what names the call in messages. */

/* enqueue.c */
pgqrs__task *pgqrs__enqueue_task(pgqrs_store *store, pgqrs__arena *arena, const char *queue,
                                 pgqrs_object object, const char *const *payloads, size_t count,
                                 bool many, const pgqrs_enqueue_options *options,
                                 pgqrs_error *error);
/* The name of the queue turned out to be gone: ask for it again before it is sent again. */
void pgqrs__enqueue_task_again(pgqrs__task *task);
/* claim.c */
pgqrs__task *pgqrs__claim_task(pgqrs_store *store, pgqrs__arena *arena, const char *queue,
                               const pgqrs_claim_options *options, const atomic_bool *stop,
                               pgqrs_error *error);
/* settle.c: one held message; `tail` has the columns after queue, message and lease. */
typedef struct pgqrs__settle {
    pgqrs__task   task;
    pgqrs_message message; /* id, queue_id and lease */
    uint32_t      answer;
} pgqrs__settle;

pgqrs__task *pgqrs__settle_task(pgqrs_store *store, pgqrs__arena *arena, pgqrs__op_kind kind,
                                const pgqrs_message *message, const pgqrs__val *tail,
                                int64_t now_us, pgqrs_error *error);
/* What it is made of, for those that find their message later. NULL: no memory. */
pgqrs__op  *pgqrs__settle_op(pgqrs_store *store, pgqrs__op_kind kind, const pgqrs_message *message,
                             const pgqrs__val *tail);
pgqrs__turn pgqrs__settle_turn(pgqrs__task *task, bool may_ask, pgqrs_error *error);
#define PGQRS__FINISH_TAIL  3
#define PGQRS__RELEASE_TAIL 7
void         pgqrs__finish_tail(pgqrs__val *tail, int archive_state, const char *output,
                                const char *error_json);
void         pgqrs__release_tail(pgqrs__val *tail, const pgqrs__parking *p);
pgqrs_status pgqrs__release_options_read(const pgqrs_release_options *given,
                                         pgqrs__parking *parking, int64_t *out_now_us,
                                         pgqrs_error *error);
/* Whether a lost finish or deletion was ours after all: as it stands in the database. (settle.c) */
pgqrs_status pgqrs__settle_was_ours(pgqrs_store *store, pgqrs__op_kind kind, const pgqrs__val *row,
                                    int64_t deadline_us, bool *out_ours, bool *out_cancelled,
                                    pgqrs_error *error);

#endif
