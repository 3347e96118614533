/* The benchmark. Everything is a ratio to a baseline that is measured in the same run: a contest
 * lets its jobs run one after the other, again and again, and reports medians and spreads.
 *
 *     main.c      the program
 *     bench.c     options, the place it works in, the run over all contests
 *     plan.c      the contests: which jobs, at which sizes, against which targets
 *     trial.c     one job, once: callers in threads or processes, for a time
 *     meter.c     latencies, CPU, WAL, memory
 *     ours.c      jobs that call the library;  worker.c: those with a worker or a waiting consumer
 *     postgres.c  baselines on libpq;  sqlite.c: on sqlite3
 *     report.c    the table and the JSON
 */
#ifndef PGQRS_BENCH_BENCH_H
#define PGQRS_BENCH_BENCH_H

#include <pgqrs/pgqrs.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes: 0 measured, 1 a measurement failed, 2 wrong usage. */
int pgqrs_bench_main(int argc, char **argv);

#define BENCH_JOBS      4
#define BENCH_RATIOS    6
#define BENCH_ROUNDS    64
#define BENCH_PAYLOAD   "{\"task\":\"send_email\",\"to\":\"user@example.com\",\"n\":1234567}"
#define BENCH_NEW(noun) ((noun *)calloc(1, sizeof(noun)))

typedef struct bench  bench;
typedef struct job    job;
typedef struct meters meters;

/* --- Latencies: counts in buckets of about 3 % (meter.c) -------------------------------------- */

#define HISTOGRAM_SUB     32
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 28)

typedef struct histogram {
    uint32_t count[HISTOGRAM_BUCKETS];
} histogram;

void   histogram_add(histogram *h, int64_t ns);
void   histogram_merge(histogram *into, const histogram *from);
double histogram_us(const histogram *h, double quantile);

/* --- One trial (trial.c) ---------------------------------------------------------------------- */

/* What one caller did; in memory shared between processes. */
typedef struct lane {
    int64_t   ops;
    int64_t   busy_ns; /* JOB_TIMES_ITSELF */
    int64_t   cpu_ns;  /* of its process; counts with JOB_PROCESSES */
    int64_t   end_ns;
    histogram latency;
    bool      failed;
    char      why[1024];
} lane;

/* How a job is driven. */
#define JOB_PROCESSES    1u /* callers are processes, else threads */
#define JOB_TIMES_ITSELF 2u /* what counts is lane->busy_ns, which op() adds to */
#define JOB_OWN_LATENCY  4u /* op() adds to lane->latency */
#define JOB_OURS         8u /* through bench->store: its counters are read */

/* A way to do one kind of operation. */
struct job {
    const char *name;
    int         callers;
    int         size; /* of a batch, or whatever the job makes of it */
    unsigned    flags;
    /* Before the callers start, untimed; may be NULL. */
    bool (*ready)(bench *b, const job *j);
    /* A caller begins: its state, or NULL after bench_fail(). */
    void *(*open)(bench *b, const job *j, lane *l, int caller);
    /* Some operations: how many; 0: nothing is left; -1: failed, after bench_fail(). */
    int64_t (*op)(void *self);
    void (*close)(void *self);
    /* After they ended, untimed; may be NULL. */
    void (*done)(bench *b, const job *j);
};

/* What a trial of a job gave; of each, one number a round. */
typedef struct trial {
    double rate; /* operations a second */
    double p50_us, p99_us;
    double client_us, server_us; /* CPU an operation; < 0: not known */
    double wal_bytes;            /* an operation; < 0: not known */
    double statements, commits, round_trips;
    double rss_mb; /* the most this process had in the trial; < 0: not known */
} trial;

bool trial_run(bench *b, const job *j, trial *out);

/* --- Contests (plan.c) ------------------------------------------------------------------------ */

typedef enum measure {
    MEASURE_RATE,
    MEASURE_P50,
    MEASURE_PER_SECOND,
    MEASURE_WAL,
    MEASURE_CLIENT,
    MEASURE_CPU /* of client and server */
} measure;

/* Job `of` against job `against` of a contest, or (against < 0) as it is. */
typedef struct ratio {
    measure what;
    int     of, against;
    double  target; /* 0: none */
    bool    at_most;
} ratio;

typedef struct contest {
    const char *group; /* "enqueue", "drain" …: --only chooses by it */
    char        name[80];
    const char *unit;
    job         jobs[BENCH_JOBS];
    int         njobs;
    ratio       ratios[BENCH_RATIOS];
    int         nratios;
    double      seconds; /* of each trial; 0: bench->seconds */
    trial       trials[BENCH_JOBS][BENCH_ROUNDS];
    int         rounds; /* done */
} contest;

/* The contests for this database and these options; NULL: no memory. */
contest *plan_make(bench *b, size_t *out_count);

/* --- The benchmark (bench.c) ------------------------------------------------------------------ */

struct bench {
    const char *dsn;
    const char *only;
    const char *json;
    bool        quick, large, quiet, postgres;
    double      seconds;
    int         rounds;

    char         place[512]; /* the DSN that is worked on: SQLite's is a file of our own */
    char         schema[64]; /* PostgreSQL: ours, dropped at the end */
    pgqrs_store *store;
    meters      *meters;
    atomic_bool *stop; /* of the trial that is running: callers end */
    atomic_bool  failed;
};

extern volatile sig_atomic_t bench_interrupted;

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

/* ours.c */
job job_enqueue(int callers, int batch);
job job_trigger(int callers);
job job_drain(int callers, int batch, unsigned flags);
job job_backlog(const char *name, int backlog);
job job_drain_pinned(int callers, int batch);
job job_steps(const char *name, int runs);
/* messages in the queue of drains: topped up to `count` */
bool fill_queue(bench *b, const char *queue, int64_t count);
/* worker.c */
job job_handlers(int handlers);
job job_runs(int at_once);
job job_wakeup(void);
job job_idle(void);
/* postgres.c */
#ifdef PGQRS_HAVE_POSTGRES
job  pg_insert(int callers);
job  pg_insert_many(int batch);
job  pg_bare_drain(int callers, int batch, unsigned flags);
job  pg_pop(int callers, int batch, unsigned flags);
bool pg_make_place(bench *b);
void pg_drop_place(bench *b);
/* One statement on a connection of its own, which stays open: *conn is made when NULL. */
bool pg_pin_snapshot(bench *b, void **conn);
void pg_unpin_snapshot(void *conn);
#endif
/* sqlite.c */
#ifdef PGQRS_HAVE_SQLITE
job sq_insert(void);
job sq_bare_drain(int batch);
#endif

/* --- Results (report.c) ----------------------------------------------------------------------- */

typedef struct spread {
    double low, median, high;
} spread;

void report_header(const bench *b, FILE *to);
void report_contest(const contest *c, FILE *to);
bool report_json(const bench *b, const contest *contests, size_t count, const char *path);
/* Of ratio i, round by round. */
spread contest_ratio(const contest *c, int i);
spread contest_field(const contest *c, int job_index, size_t offset);
bool   ratio_met(const ratio *r, double median);

#endif
