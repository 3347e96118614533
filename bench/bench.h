/* The benchmark, which the command `pgqrs bench` runs. Everything is a ratio to a baseline that is
 * measured in the same run: a contest lets its jobs run one after the other, again and again, and
 * reports medians and spreads.
 *
 *     bench.c     the place it works in, the run over all contests
 *     plan.c      the contests: which jobs, at which sizes, against which targets
 *     trial.c     one job, once: callers in threads or processes, for a time
 *     meter.c     latencies, CPU, WAL, memory
 *     ours.c      jobs that call the library: messages;  steps.c: runs;  worker.c: with a worker;
 *                 waiting.c: those that wait or hold
 *     postgres.c  baselines on libpq;  bare_postgres.c: the library's SQL without the library
 *     sqlite.c    baselines on sqlite3;  bare_sqlite.c: the same;  turso.c: both on Turso
 *     report.c    numbers of a contest, the table;  json.c, svg.c
 */
#ifndef PGQRS_BENCH_BENCH_H
#define PGQRS_BENCH_BENCH_H

#include <pgqrs/pgqrs.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_JOBS      6
#define BENCH_RATIOS    8
#define BENCH_POINTS    8
#define BENCH_ROUNDS    64
#define BENCH_PAYLOAD   "{\"task\":\"send_email\",\"to\":\"user@example.com\",\"n\":1234567}"
#define BENCH_NEW(noun) ((noun *)calloc(1, sizeof(noun)))

/* --- The interface ---------------------------------------------------------------------------- */

typedef struct bench_options {
    const char *dsn;
    const char *only;    /* contests of this group, else with this in their name; NULL: all */
    const char *svg;     /* a file; NULL: none */
    bool        quick;   /* fewer and smaller contests */
    bool        large;   /* a backlog of ten million, too */
    bool        json;    /* a line for each contest, instead of a table */
    int         rounds;  /* 0: 5, quick: 3 */
    double      seconds; /* of each trial; 0: 1, quick: 0.2 */
    FILE       *out;
    /* What is going on, for people; NULL: nobody is told. "" at the end. */
    void (*progress)(const char *text);
} bench_options;

typedef enum bench_result {
    BENCH_DONE,
    BENCH_FAILED,  /* error says why */
    BENCH_NOTHING, /* no contest is called so; nothing was done */
    BENCH_STOPPED  /* by a signal, which *out_signal names */
} bench_result;

/* Measure. What it made is gone when this returns, whatever the result. */
bench_result bench_main(const bench_options *options, int *out_signal, pgqrs_error *error);
/* The names of all groups of contests; NULL ends them. */
extern const char *const bench_groups[];

typedef struct bench  bench;
typedef struct job    job;
typedef struct meters meters;

/* --- Latencies: counts in buckets of about 3 % (meter.c) -------------------------------------- */

#define HISTOGRAM_SUB     32
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 28)

typedef struct histogram {
    uint32_t count[HISTOGRAM_BUCKETS];
} histogram;

void histogram_add(histogram *h, int64_t ns);
/* By many threads at once. */
void   histogram_add_shared(histogram *h, int64_t ns);
void   histogram_merge(histogram *into, const histogram *from);
double histogram_us(const histogram *h, double quantile);

/* --- One trial (trial.c) ---------------------------------------------------------------------- */

/* What was sent to the database. */
typedef struct sent {
    int64_t statements, round_trips, commits;
} sent;

/* What one caller did; in memory shared between processes. */
typedef struct lane {
    int64_t   ops;
    int64_t   busy_ns; /* JOB_TIMES_ITSELF */
    int64_t   cpu_ns;  /* of its process; counts with JOB_PROCESSES */
    int64_t   end_ns;
    sent      sent; /* by what is not bench->store */
    double    rss_mb;
    histogram latency;
    bool      failed;
    char      why[1024];
} lane;

/* How a job is driven. */
#define JOB_PROCESSES    1u  /* callers are processes, else threads */
#define JOB_TIMES_ITSELF 2u  /* what counts is lane->busy_ns, which op() adds to */
#define JOB_OWN_LATENCY  4u  /* op() adds to lane->latency */
#define JOB_STORE        8u  /* through bench->store: its counters are read, else lane->sent */
#define JOB_RSS_ABOVE    16u /* of memory counts what a caller's process took after it began */

/* A way to do one kind of operation. */
struct job {
    const char *name;
    int         callers;
    int         size; /* of a batch, or whatever the job makes of it */
    unsigned    flags;
    /* Before the callers start, untimed; may be NULL. */
    bool (*ready)(bench *b, const job *j);
    /* A caller begins: its state, or NULL after bench_fail() or with lane->why. */
    void *(*open)(bench *b, const job *j, lane *l, int caller);
    /* Some operations: how many; 0: nothing is left; -1: failed, with lane->why. */
    int64_t (*op)(void *self);
    /* When the time is over: fills lane->sent; may be NULL. */
    void (*count)(void *self);
    void (*close)(void *self);
    /* After they ended, untimed; may be NULL. */
    void (*done)(bench *b, const job *j);
};

/* What a trial of a job gave; of each, one number a round. < 0: not known. */
typedef struct trial {
    double rate; /* operations a second */
    double p50_us, p99_us, max_us;
    double client_us, server_us; /* CPU an operation */
    double wal_bytes;            /* an operation */
    double statements, round_trips, commits;
    double rss_mb; /* the most that a process had in the trial */
    double least;  /* operations of the caller with the fewest, to those of the one with the most */
    double samples;
} trial;

bool trial_run(bench *b, const job *j, trial *out);

/* --- Contests (plan.c) ------------------------------------------------------------------------ */

typedef enum measure {
    MEASURE_RATE,
    MEASURE_P50,
    MEASURE_TAIL,  /* the slowest operation, to the median */
    MEASURE_LEAST, /* trial.least */
    MEASURE_STATEMENTS,
    MEASURE_COMMITS,
    MEASURE_WAL,
    MEASURE_CLIENT,
    MEASURE_CPU, /* of client and server */
    MEASURE_RSS  /* a difference, not a ratio */
} measure;

#define AS_IT_IS (-1)
#define NOBODY   (-2) /* no such job here: the ratio is left out */

/* Job `of` against job `against` of a contest, or AS_IT_IS. */
typedef struct ratio {
    measure what;
    int     of, against;
    double  target; /* 0: none */
    bool    at_most;
} ratio;

/* A picture has a panel for each. */
typedef enum panel { PANEL_BATCH, PANEL_CALLERS, PANEL_BACKLOG, PANEL_COUNT } panel;

/* The rate of a job, as a point of a line of the picture. */
typedef struct point {
    panel       panel;
    const char *line;
    int         job;
    double      x;
} point;

typedef struct contest {
    const char *group; /* "enqueue", "drain" …: --only chooses by it */
    char        name[80];
    const char *unit;
    job         jobs[BENCH_JOBS];
    int         njobs;
    ratio       ratios[BENCH_RATIOS];
    int         nratios;
    point       points[BENCH_POINTS];
    int         npoints;
    double      seconds; /* of each trial; 0: bench->seconds */
    trial       trials[BENCH_JOBS][BENCH_ROUNDS];
    int         rounds; /* done */
} contest;

/* The contests for this database and these options; NULL: no memory. */
contest *plan_make(const bench *b, size_t *out_count);

/* --- The benchmark (bench.c) ------------------------------------------------------------------ */

struct bench {
    const bench_options *options;
    bool                 postgres;  /* baselines are on libpq, and the place is a schema */
    bool                 turso;     /* baselines are on Turso */
    bool                 sqlite;    /* baselines on sqlite3 are there */
    bool                 same_file; /* and they, and other processes, can open the store's file */
    bool                 apart;     /* several stores see the same tables */
    double               seconds;
    int                  rounds;

    char               place[512]; /* the DSN that is worked on: a file is one of our own */
    const char        *file;       /* in place, or NULL */
    char               schema[64]; /* PostgreSQL: ours */
    bool               made;       /* the schema, by us */
    pgqrs_store       *store;
    pgqrs_description *about;
    meters            *meters;
    atomic_bool       *stop; /* of the trial that is running: callers end */
    atomic_bool        failed;
    pgqrs_error        error; /* of what failed first */
};

/* A signal came: everything ends as soon as it can. */
bool bench_interrupted(void);

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void bench_fail(bench *b, const char *format, ...);
bool bench_ok(bench *b, pgqrs_status rc, const char *what, const pgqrs_error *error);
/* A store on the place, with the scratch schema. */
pgqrs_store *bench_open(bench *b);
int64_t      bench_now_ns(void);
void         bench_sleep_ns(int64_t ns);

/* --- Meters (meter.c) ------------------------------------------------------------------------- */

typedef struct reading {
    int64_t client_cpu_ns;
    int64_t server_cpu_ns; /* -1: not known */
    int64_t wal_bytes;     /* -1 */
} reading;

meters *meters_open(bench *b);
void    meters_close(meters *m);
bool    meters_read(meters *m, reading *out);
void    meters_reset_peak(void);
double  meters_peak_mb(void); /* < 0: not known */

/* --- Jobs ------------------------------------------------------------------------------------- */

#define DRAIN_QUEUE "bench_drain"
#define STEPS_QUEUE "bench_steps"
/* A run has so many steps, then it ends and another one is taken. */
#define STEPS_OF_RUN 500
#define STEP_OUTPUT  "{\"status\":\"done\",\"rows\":42}"

/* Of a store since it was opened. */
sent sent_by(pgqrs_store *store);
/* What failed, into lane->why. Returns -1. */
int64_t lane_say(lane *l, const char *what, const pgqrs_error *error);

/* ours.c */
job job_enqueue(int callers, int batch, unsigned flags);
job job_trigger(int callers);
job job_drain(int callers, int batch, unsigned flags);
job job_backlog(const char *name, int backlog);
job job_drain_pinned(int callers, int batch);
/* messages in a queue: topped up to `count` */
bool fill_queue(bench *b, const char *queue, int64_t count);
bool drain_ready(bench *b, const job *j);
/* steps.c */
job job_steps(const char *name, int runs);
/* `count` runs, leased for an hour: their messages, to be freed. */
bool runs_take(pgqrs_store *store, int count, pgqrs_messages **out, pgqrs_error *error);
/* worker.c */
job job_handlers(int handlers);
job job_runs(int at_once);
job job_memory(const char *name, int backlog);
/* waiting.c */
job job_wakeup(int consumers);
job job_idle(void);
job job_keep(int messages);
/* postgres.c */
#ifdef PGQRS_HAVE_POSTGRES
job  pg_insert(int callers);
job  pg_insert_many(int batch);
job  pg_pop(int callers, int batch, unsigned flags);
job  pg_memory(void);
bool pg_make_place(bench *b);
void pg_drop_place(bench *b);
/* A transaction on a connection of its own that has seen something; NULL: failed. */
void *pg_pin_snapshot(bench *b);
void  pg_unpin_snapshot(void *conn);
bool  pg_vacuum(bench *b);
/* bare_postgres.c */
job pg_bare_enqueue(int callers, int batch);
job pg_bare_drain(int callers, int batch, unsigned flags);
job pg_bare_steps(int callers, int runs);
#endif
/* sqlite.c */
#ifdef PGQRS_HAVE_SQLITE
job   sq_insert(void);
job   sq_insert_many(int batch);
job   sq_memory(void);
void *sq_pin_snapshot(bench *b);
void  sq_unpin_snapshot(void *conn);
/* bare_sqlite.c */
job sq_bare_enqueue(int batch);
job sq_bare_drain(int batch);
job sq_bare_steps(int runs);
#endif
/* turso.c */
#ifdef PGQRS_HAVE_TURSO
job tu_insert(void);
job tu_insert_many(int batch);
job tu_bare_enqueue(int batch);
job tu_bare_drain(int batch);
#endif

/* --- Results ---------------------------------------------------------------------------------- */

typedef struct spread {
    double low, median, high;
} spread;

#define TRIAL_FIELD(name) offsetof(trial, name)

/* report.c */
/* Of ratio i, round by round. */
spread      contest_ratio(const contest *c, int i);
spread      contest_field(const contest *c, int job_index, size_t offset);
bool        ratio_met(const ratio *r, double median);
const char *measure_text(measure what);
void        report_header(const bench *b, FILE *to);
void        report_contest(const contest *c, FILE *to);
/* json.c: a line */
void report_json(const bench *b, const contest *c, FILE *to);
/* svg.c */
bool report_svg(const bench *b, const contest *contests, size_t count, const char *path);

#endif
