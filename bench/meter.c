/* Latencies, CPU of client and server, write-ahead log, memory. What cannot be known is -1. */
#include "bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef PGQRS_HAVE_POSTGRES
#include <libpq-fe.h>
#endif

/* --- Latencies -------------------------------------------------------------------------------- */

/* From 256 ns on, HISTOGRAM_SUB buckets for each doubling. */
#define SHIFT 8

static size_t bucket_of(int64_t ns)
{
    uint64_t v = ns < 1 << SHIFT ? HISTOGRAM_SUB : (uint64_t)ns / ((1 << SHIFT) / HISTOGRAM_SUB);
    int      octave = 58 - __builtin_clzll(v);
    size_t   at     = (size_t)octave * HISTOGRAM_SUB + (size_t)((v >> octave) & 31);

    return at < HISTOGRAM_BUCKETS ? at : HISTOGRAM_BUCKETS - 1;
}

void histogram_add(histogram *h, int64_t ns)
{
    h->count[bucket_of(ns)]++;
}

void histogram_add_shared(histogram *h, int64_t ns)
{
    (void)__atomic_fetch_add(&h->count[bucket_of(ns)], 1, __ATOMIC_RELAXED);
}

void histogram_merge(histogram *into, const histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->count[i] += from->count[i];
}

double histogram_us(const histogram *h, double quantile)
{
    double total = 0, seen = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h->count[i];
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen > 0 && seen >= quantile * total) {
            double octave = (double)(UINT64_C(1) << (i / HISTOGRAM_SUB));

            return (1.0 + ((double)(i % HISTOGRAM_SUB) + 0.5) / HISTOGRAM_SUB) * octave
                   * (1 << SHIFT) / 1e3;
        }
    }
    return 0;
}

/* --- Memory ----------------------------------------------------------------------------------- */

void meters_reset_peak(void)
{
    int     fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    ssize_t written;

    if (fd < 0)
        return;
    written = write(fd, "5", 1);
    (void)written;
    close(fd);
}

double meters_peak_mb(void)
{
    FILE  *f = fopen("/proc/self/status", "re");
    char   line[128];
    double mb = -1;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            mb = strtod(line + 6, NULL) / 1024;
    if (f != NULL)
        fclose(f);
    return mb;
}

/* --- Server ----------------------------------------------------------------------------------- */

struct meters {
    bench *b;
    int    postmaster; /* 0: not on this machine */
#ifdef PGQRS_HAVE_POSTGRES
    PGconn *pg;
#endif
};

#ifdef PGQRS_HAVE_POSTGRES
/* Fields of /proc/PID/stat; the third is what follows the last ')'. */
static bool stat_field(int pid, int field, int64_t *out)
{
    char  path[64], text[1024];
    FILE *f;
    char *at;
    bool  got;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    got = fgets(text, sizeof(text), f) != NULL;
    fclose(f);
    at = got ? strrchr(text, ')') : NULL;
    for (int i = 2; at != NULL && i < field; i++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL)
        return false;
    *out = strtoll(at + 1, NULL, 10);
    return true;
}

/* Nanoseconds that a process has run. */
static int64_t ran_ns(int pid)
{
    char    path[64], text[128];
    FILE   *f;
    int64_t ns = 0;

    snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fgets(text, sizeof(text), f) != NULL)
        ns = strtoll(text, NULL, 10);
    fclose(f);
    return ns;
}

/* The server's processes; those that ended meanwhile are counted by their parent. */
static int64_t server_cpu_ns(const meters *m)
{
    DIR           *dir = m->postmaster == 0 ? NULL : opendir("/proc");
    struct dirent *e;
    int64_t        sum = 0;

    if (dir == NULL)
        return -1;
    while ((e = readdir(dir)) != NULL) {
        int     pid = atoi(e->d_name);
        int64_t parent;

        if (pid > 0 && stat_field(pid, 4, &parent) && parent == m->postmaster)
            sum += ran_ns(pid);
    }
    closedir(dir);
    return sum;
}

static bool server_open(meters *m)
{
    char    path[64], command[32] = "";
    int64_t parent = 0;
    FILE   *f;

    m->pg = PQconnectdb(m->b->options->dsn);
    if (PQstatus(m->pg) != CONNECTION_OK) {
        bench_fail(m->b, "%s", PQerrorMessage(m->pg));
        return false;
    }
    snprintf(path, sizeof(path), "/proc/%d/comm", PQbackendPID(m->pg));
    f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(command, sizeof(command), f) == NULL)
            command[0] = '\0';
        fclose(f);
    }
    if (strncmp(command, "postgres", 8) == 0 && stat_field(PQbackendPID(m->pg), 4, &parent))
        m->postmaster = (int)parent;
    return true;
}

static int64_t wal_position(const meters *m)
{
    PGresult *r = PQexec(m->pg, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn");
    int64_t   position =
        PQresultStatus(r) == PGRES_TUPLES_OK ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : -1;

    PQclear(r);
    return position;
}
#endif

meters *meters_open(bench *b)
{
    meters *m = BENCH_NEW(meters);

    if (m == NULL)
        return NULL;
    m->b = b;
#ifdef PGQRS_HAVE_POSTGRES
    if (b->postgres && !server_open(m)) {
        meters_close(m);
        return NULL;
    }
#endif
    return m;
}

void meters_close(meters *m)
{
    if (m == NULL)
        return;
#ifdef PGQRS_HAVE_POSTGRES
    if (m->pg != NULL)
        PQfinish(m->pg);
#endif
    free(m);
}

bool meters_read(meters *m, reading *out)
{
    struct rusage u;

    *out = (reading){ .server_cpu_ns = -1, .wal_bytes = -1 };
#ifdef PGQRS_HAVE_POSTGRES
    if (m->pg != NULL) {
        out->wal_bytes     = wal_position(m);
        out->server_cpu_ns = server_cpu_ns(m);
    }
#endif
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return false;
    out->client_cpu_ns = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * INT64_C(1000000000)
                         + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * INT64_C(1000);
    (void)m;
    return true;
}
