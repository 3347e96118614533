/* A clock and a log for stores that Python opens: the library's threads call them, and none of them
 * may wait for the interpreter. */
#include "native.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- Clock ------------------------------------------------------------------------------------ */

static int64_t real(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void pgqrs_py_clock_advance(pgqrs_py_clock *clock, int64_t by_us)
{
    __atomic_add_fetch(&clock->wall_us, by_us, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&clock->monotonic_us, by_us, __ATOMIC_SEQ_CST);
}

int64_t pgqrs_py_clock_wall(pgqrs_py_clock *clock)
{
    return __atomic_load_n(&clock->wall_us, __ATOMIC_SEQ_CST)
           + (clock->stands ? 0 : real(CLOCK_REALTIME));
}

int64_t pgqrs_py_clock_monotonic(pgqrs_py_clock *clock)
{
    return __atomic_load_n(&clock->monotonic_us, __ATOMIC_SEQ_CST)
           + (clock->stands ? 0 : real(CLOCK_MONOTONIC));
}

static int64_t read_wall(void *user_data)
{
    return pgqrs_py_clock_wall(user_data);
}

static int64_t read_monotonic(void *user_data)
{
    return pgqrs_py_clock_monotonic(user_data);
}

/* --- Log -------------------------------------------------------------------------------------- */

#define LINES 256

typedef struct line {
    int  level;
    char text[512];
} line;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t  filled;
    line            lines[LINES];
    size_t          first;
    size_t          count;
    int64_t         dropped;
} logged = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    (void)pthread_mutex_lock(&logged.lock);
}

static void after_fork(void)
{
    (void)pthread_mutex_unlock(&logged.lock);
}

static void in_child(void)
{
    logged.count  = 0;
    logged.filled = (pthread_cond_t)PTHREAD_COND_INITIALIZER; /* somebody of the parent waited */
    (void)pthread_mutex_unlock(&logged.lock);
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork, in_child);
}

static void write_log(void *user_data, pgqrs_log_level level, const char *text)
{
    (void)user_data;
    (void)pthread_mutex_lock(&logged.lock);
    if (logged.count == LINES) {
        logged.dropped++;
    } else {
        line *at = &logged.lines[(logged.first + logged.count) % LINES];

        at->level = (int)level;
        (void)snprintf(at->text, sizeof(at->text), "%s", text);
        logged.count++;
    }
    (void)pthread_cond_signal(&logged.filled);
    (void)pthread_mutex_unlock(&logged.lock);
}

int pgqrs_py_log_wait(char *out_text, size_t size, int64_t *dropped)
{
    int level = -1;

    out_text[0] = '\0';
    (void)pthread_mutex_lock(&logged.lock);
    while (logged.count == 0 && logged.dropped == *dropped)
        (void)pthread_cond_wait(&logged.filled, &logged.lock);
    *dropped = logged.dropped;
    if (logged.count > 0) {
        const line *at = &logged.lines[logged.first];

        level = at->level;
        (void)snprintf(out_text, size, "%s", at->text);
        logged.first = (logged.first + 1) % LINES;
        logged.count--;
    }
    (void)pthread_mutex_unlock(&logged.lock);
    return level;
}

void pgqrs_py_options(pgqrs_store_options *options, pgqrs_py_clock *clock)
{
    (void)pthread_once(&once, watch_forks);
    options->log = write_log;
    if (clock != NULL)
        options->clock = (pgqrs_clock){ read_wall, read_monotonic, clock };
}
