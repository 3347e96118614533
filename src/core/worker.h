/* What worker.c and worker_run.c share: a worker, what it is registered for, and its threads. */
#ifndef PGQRS_CORE_WORKER_H
#define PGQRS_CORE_WORKER_H

#include "core/core.h"

/* Claimed messages that threads take one by one. Freed by who is done with the last. */
typedef struct batch {
    pgqrs_messages *messages;
    struct batch   *after; /* claimed ahead */
    int64_t         since_us;
    size_t          next; /* not taken yet: from here on */
    size_t          left; /* not done yet */
} batch;

typedef struct work work;

/* One thread of a registration, and what it has in hand. */
typedef struct hand {
    work                *work;
    pgqrs__thread        thread;
    const pgqrs_message *message; /* NULL: nothing; under worker->lock */
} hand;

/* A registration: a queue or workflow, its handler, its threads. */
struct work {
    pgqrs_worker         *worker;
    work                 *next;
    char                 *queue;
    pgqrs_message_handler on_message; /* one of the two is set */
    pgqrs_run_handler     on_run;
    void                 *user_data;
    pgqrs_work_options    options;
    /* under worker->lock: */
    hand       *hands; /* options.concurrency */
    int         started;
    int         busy;  /* hands with a message */
    batch      *batch; /* with messages to take, or NULL */
    size_t      untaken;
    bool        claiming;
    bool        more;      /* the last claim brought all that was asked for, on long leases */
    int64_t     handle_us; /* what handling a message has taken of late; 0: not known */
    uint64_t    idle_at;   /* worker->activity when it was last found empty, + 1 */
    pgqrs__cond changed;
};

struct pgqrs_worker {
    pgqrs_store         *store;
    pgqrs_worker_options options;
    char                *name;
    work                *works;
    /* written by pgqrs_worker_stop(), which may be in a signal handler */
    int                 stop_pipe[2];
    atomic_bool         stopping; /* take nothing new */
    atomic_int_fast64_t id;
    bool                running;

    pgqrs__mutex lock;
    pgqrs__cond  ended;    /* a thread has */
    pgqrs__cond  halted;   /* `stopping` was set: who backs off hears it here, and nothing else */
    int          threads;  /* that are running */
    uint64_t     activity; /* grows with each claim that brought something */
};

#endif
