#include "backend/filelock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/turns.h"
#include "util/alloc.h"
#include "util/buf.h"
#include "util/error.h"
#include "util/thread.h"

/* A thread that waits for its turn; on its stack. */
typedef struct waiter {
    struct waiter *next;
    pgqrs__cond    granted_cond;
    bool           granted;
} waiter;

struct pgqrs__filelock {
    pgqrs__filelock *next; /* in the registry, whose lock guards this and refs */
    dev_t            dev;
    ino_t            ino;
    const char      *engine;
    bool             registered;
    int              refs;
    bool             alone;     /* no other process can have it, so there are no turns with any */
    pgqrs__turns     turns;     /* closed: in memory, or inherited */
    bool             inherited; /* the parent had it open at fork(), and the engine thinks it has */

    pgqrs__mutex mutex;
    bool         taken; /* somebody has the turn, or is granted it */
    waiter      *first; /* in order of arrival */
    waiter      *last;

    pgqrs__cond          news_cond;
    int                  sleepers;
    atomic_uint_fast64_t news;
};

static pgqrs__mutex     registry_mutex = { PTHREAD_MUTEX_INITIALIZER };
static pgqrs__filelock *registry;

/* --- fork --------------------------------------------------------------------------------- */

static void before_fork(void)
{
    pgqrs__mutex_lock(&registry_mutex);
}

static void after_fork_parent(void)
{
    pgqrs__mutex_unlock(&registry_mutex);
}

/* The child has the parent's lock files, which would keep its turn alive after its death. */
static void after_fork_child(void)
{
    for (pgqrs__filelock *lock = registry; lock != NULL; lock = lock->next) {
        pgqrs__turns_close(&lock->turns);
        lock->inherited = true;
    }
    pgqrs__mutex_unlock(&registry_mutex);
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* --- The registry ------------------------------------------------------------------------- */

static pgqrs_status refuse(const pgqrs__filelock *lock, const char *path, const char *engine,
                           pgqrs_error *error)
{
    if (lock->inherited) {
        pgqrs__fail(error, PGQRS_EFORK, PGQRS_OBJECT_STORE,
                    "cannot open \"%s\": it was open in the parent when this process was forked",
                    path);
        pgqrs__hint(error,
                    "Open the store after fork(), or start processes by spawn or forkserver.");
        return PGQRS_EFORK;
    }
    if (strcmp(lock->engine, engine) == 0)
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                "cannot open \"%s\" with %s: this process has it open with %s", path, engine,
                lock->engine);
    pgqrs__hint(error, "Use one engine for a file; two in one process lose each other's commits.");
    return PGQRS_ECONFIG;
}

/* Under the registry's lock. */
static pgqrs__filelock *find(const struct stat *st)
{
    pgqrs__filelock *lock = registry;

    while (lock != NULL && (lock->dev != st->st_dev || lock->ino != st->st_ino))
        lock = lock->next;
    return lock;
}

static pgqrs_status open_turns(pgqrs__filelock *lock, const char *path, const struct stat *database,
                               pgqrs_error *error)
{
    pgqrs__buf   name = { 0 };
    const char  *text;
    pgqrs_status rc = PGQRS_OK;
    int          failure;

    pgqrs__buf_printf(&name, "%s-pgqrs", path);
    text = pgqrs__buf_cstr(&name);
    if (text == NULL)
        return pgqrs__nomem(error);
    failure = pgqrs__turns_open(&lock->turns, text, database);
    if (failure != 0) {
        rc = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot %s \"%s\": %s",
                         lock->turns.fd < 0 ? "open" : "lock", text, strerror(failure));
        pgqrs__hint(error, "Beside the database this file must be writable, and locks must work.");
    }
    pgqrs__buf_free(&name);
    return rc;
}

static pgqrs_status held(const char *path, const char *engine, long holder, bool alone,
                         pgqrs_error *error)
{
    if (holder > 0)
        pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_STORE,
                    "cannot open \"%s\" with %s: process %ld has it open, alone", path, engine,
                    holder);
    else
        pgqrs__fail(error, PGQRS_EBUSY, PGQRS_OBJECT_STORE,
                    "cannot open \"%s\" with %s: another process has it open", path, engine);
    pgqrs__hint(error,
                alone ? "With %s one process at a time uses a file; several can with SQLite, or "
                        "with PostgreSQL."
                      : "Wait until that process has closed it; %s takes part in no file that "
                        "another engine has.",
                engine);
    return PGQRS_EBUSY;
}

/* For as long as it is open: alone, or together with others who are not. */
static pgqrs_status hold(pgqrs__filelock *lock, const char *path, bool alone, pgqrs_error *error)
{
    long holder  = 0;
    int  failure = pgqrs__turns_hold(&lock->turns, alone, &holder);

    if (failure == EWOULDBLOCK)
        return held(path, lock->engine, holder, alone, error);
    if (failure != 0)
        return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot lock \"%s-pgqrs\": %s",
                           path, strerror(failure));
    lock->alone = alone;
    return PGQRS_OK;
}

/* Whether another process has it alone: of a file that is not open here. */
static pgqrs_status peek(const char *path, const char *engine, pgqrs_error *error)
{
    pgqrs__buf   name   = { 0 };
    long         holder = 0;
    const char  *text;
    pgqrs_status rc = PGQRS_OK;

    pgqrs__buf_printf(&name, "%s-pgqrs", path);
    text = pgqrs__buf_cstr(&name);
    if (text == NULL)
        return pgqrs__nomem(error);
    if (pgqrs__turns_peek(text, &holder) != 0)
        rc = held(path, engine, holder, false, error);
    pgqrs__buf_free(&name);
    return rc;
}

static void lock_free(pgqrs__filelock *lock)
{
    pgqrs__turns_close(&lock->turns);
    pgqrs__cond_destroy(&lock->news_cond);
    pgqrs__mutex_destroy(&lock->mutex);
    pgqrs__free(lock);
}

static pgqrs__filelock *lock_new(const char *engine)
{
    pgqrs__filelock *lock = pgqrs__calloc(1, sizeof(*lock));

    if (lock == NULL)
        return NULL;
    lock->engine   = engine;
    lock->refs     = 1;
    lock->turns.fd = -1;
    atomic_init(&lock->news, 0);
    if (!pgqrs__mutex_init(&lock->mutex)) {
        pgqrs__free(lock);
        return NULL;
    }
    if (!pgqrs__cond_init(&lock->news_cond)) {
        pgqrs__mutex_destroy(&lock->mutex);
        pgqrs__free(lock);
        return NULL;
    }
    return lock;
}

static pgqrs_status look_at(const char *path, struct stat *st, pgqrs_error *error)
{
    if (stat(path, st) == 0)
        return PGQRS_OK;
    return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot open \"%s\": %s", path,
                       strerror(errno));
}

/* Under the registry's lock, so that nobody in this process has opened the file meanwhile: closing
 * it would drop the locks of an engine. */
static pgqrs_status create(const char *path, pgqrs_error *error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0 && errno != EEXIST)
        return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot open \"%s\": %s", path,
                           strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return PGQRS_OK;
}

/* Under the registry's lock. */
static pgqrs_status register_file(const char *path, const char *engine, bool alone,
                                  pgqrs__filelock **out_lock, pgqrs_error *error)
{
    pgqrs__filelock *lock;
    struct stat      st;
    pgqrs_status     rc = alone ? create(path, error) : PGQRS_OK;

    if (rc == PGQRS_OK)
        rc = look_at(path, &st, error);

    if (rc != PGQRS_OK)
        return rc;
    lock = find(&st);
    if (lock != NULL) {
        rc = refuse(lock, path, engine, error);
        if (rc != PGQRS_OK)
            return rc;
        lock->refs++;
        *out_lock = lock;
        return PGQRS_OK;
    }
    lock = lock_new(engine);
    if (lock == NULL)
        return pgqrs__nomem(error);
    rc = open_turns(lock, path, &st, error);
    if (rc == PGQRS_OK)
        rc = hold(lock, path, alone, error);
    if (rc != PGQRS_OK) {
        lock_free(lock);
        return rc;
    }
    lock->dev        = st.st_dev;
    lock->ino        = st.st_ino;
    lock->registered = true;
    lock->next       = registry;
    registry         = lock;
    *out_lock        = lock;
    return PGQRS_OK;
}

static pgqrs_status join(const char *path, const char *engine, bool alone,
                         pgqrs__filelock **out_lock, pgqrs_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pgqrs_status          rc;

    if (path == NULL) {
        *out_lock = lock_new(engine);
        return *out_lock == NULL ? pgqrs__nomem(error) : PGQRS_OK;
    }
    (void)pthread_once(&once, watch_forks);
    pgqrs__mutex_lock(&registry_mutex);
    rc = register_file(path, engine, alone, out_lock, error);
    pgqrs__mutex_unlock(&registry_mutex);
    return rc;
}

pgqrs_status pgqrs__filelock_join(const char *path, const char *engine, pgqrs__filelock **out_lock,
                                  pgqrs_error *error)
{
    return join(path, engine, false, out_lock, error);
}

pgqrs_status pgqrs__filelock_join_alone(const char *path, const char *engine,
                                        pgqrs__filelock **out_lock, pgqrs_error *error)
{
    return join(path, engine, true, out_lock, error);
}

pgqrs_status pgqrs__filelock_check(const char *path, const char *engine, pgqrs_error *error)
{
    const pgqrs__filelock *lock;
    struct stat            st;
    pgqrs_status           rc = PGQRS_OK;

    if (stat(path, &st) != 0)
        return PGQRS_OK;
    pgqrs__mutex_lock(&registry_mutex);
    lock = find(&st);
    rc   = lock != NULL ? refuse(lock, path, engine, error) : peek(path, engine, error);
    pgqrs__mutex_unlock(&registry_mutex);
    return rc;
}

void pgqrs__filelock_leave(pgqrs__filelock *lock, bool forked)
{
    pgqrs__filelock **at;
    bool              last;

    if (forked) {
        if (!lock->registered) /* its mutex may be held by a thread that is not in this process */
            pgqrs__free(lock);
        return; /* the others stay: they refuse what the engine can no longer open here */
    }
    pgqrs__mutex_lock(&registry_mutex);
    last = --lock->refs == 0;
    for (at = &registry; last && *at != NULL; at = &(*at)->next) {
        if (*at == lock) {
            *at = lock->next;
            break;
        }
    }
    pgqrs__mutex_unlock(&registry_mutex);
    if (last)
        lock_free(lock);
}

/* --- Turns in the process ----------------------------------------------------------------- */

/* The turn goes to the thread that has waited longest, or is free. */
static void pass_on(pgqrs__filelock *lock)
{
    waiter *w;

    pgqrs__mutex_lock(&lock->mutex);
    w = lock->first;
    if (w == NULL) {
        lock->taken = false;
    } else {
        lock->first = w->next;
        if (lock->first == NULL)
            lock->last = NULL;
        w->granted = true;
        pgqrs__cond_signal(&w->granted_cond);
    }
    pgqrs__mutex_unlock(&lock->mutex);
}

static void give_up(pgqrs__filelock *lock, const waiter *w)
{
    waiter **at   = &lock->first;
    waiter  *last = NULL;

    while (*at != w) {
        last = *at;
        at   = &(*at)->next;
    }
    *at = w->next;
    if (lock->last == w)
        lock->last = last;
}

static pgqrs_status too_late(pgqrs_error *error)
{
    return pgqrs__fail(error, PGQRS_ETIMEDOUT, PGQRS_OBJECT_STORE,
                       "the deadline passed while waiting for other writers of the file");
}

static pgqrs_status take_in_process(pgqrs__filelock *lock, int64_t deadline_us, pgqrs_error *error)
{
    waiter       w  = { 0 };
    pgqrs_status rc = PGQRS_OK;

    pgqrs__mutex_lock(&lock->mutex);
    if (!lock->taken) {
        lock->taken = true;
    } else if (!pgqrs__cond_init(&w.granted_cond)) {
        rc = pgqrs__nomem(error);
    } else {
        if (lock->last == NULL)
            lock->first = &w;
        else
            lock->last->next = &w;
        lock->last = &w;
        while (!w.granted && pgqrs__cond_wait_until(&w.granted_cond, &lock->mutex, deadline_us)) {}
        if (!w.granted) {
            give_up(lock, &w);
            rc = too_late(error);
        }
        pgqrs__cond_destroy(&w.granted_cond);
    }
    pgqrs__mutex_unlock(&lock->mutex);
    return rc;
}

/* --- Turns -------------------------------------------------------------------------------- */

pgqrs_status pgqrs__filelock_take(pgqrs__filelock *lock, int64_t deadline_us, pgqrs_error *error)
{
    pgqrs_status rc = take_in_process(lock, deadline_us, error);
    int          failure;

    if (rc != PGQRS_OK || lock->turns.fd < 0 || lock->alone)
        return rc;
    failure = pgqrs__turns_take(&lock->turns, deadline_us);
    if (failure == 0)
        return PGQRS_OK;
    pass_on(lock);
    if (failure == ETIMEDOUT)
        return too_late(error);
    return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "could not lock the file of turns: %s",
                       strerror(failure));
}

void pgqrs__filelock_yield(pgqrs__filelock *lock)
{
    if (lock->turns.fd >= 0 && !lock->alone)
        pgqrs__turns_yield(&lock->turns);
    pass_on(lock);
}

/* --- News --------------------------------------------------------------------------------- */

uint64_t pgqrs__filelock_news(pgqrs__filelock *lock)
{
    return atomic_load_explicit(&lock->news, memory_order_acquire);
}

void pgqrs__filelock_announce(pgqrs__filelock *lock)
{
    pgqrs__mutex_lock(&lock->mutex);
    atomic_fetch_add_explicit(&lock->news, 1, memory_order_release);
    if (lock->sleepers > 0)
        pgqrs__cond_broadcast(&lock->news_cond);
    pgqrs__mutex_unlock(&lock->mutex);
}

void pgqrs__filelock_sleep(pgqrs__filelock *lock, uint64_t seen, const atomic_bool *woken,
                           int64_t until_us)
{
    pgqrs__mutex_lock(&lock->mutex);
    lock->sleepers++;
    while (pgqrs__filelock_news(lock) == seen && !atomic_load(woken)
           && pgqrs__cond_wait_until(&lock->news_cond, &lock->mutex, until_us)) {}
    lock->sleepers--;
    pgqrs__mutex_unlock(&lock->mutex);
}

void pgqrs__filelock_wake(pgqrs__filelock *lock, atomic_bool *woken)
{
    pgqrs__mutex_lock(&lock->mutex);
    atomic_store(woken, true);
    pgqrs__cond_broadcast(&lock->news_cond);
    pgqrs__mutex_unlock(&lock->mutex);
}
