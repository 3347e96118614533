#include "backend/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include "util/base.h"
#include "util/clock.h"

/* Locks of an open file, where there are any: they survive that somebody else in the process opens
 * and closes it. Otherwise locks of the process. */
#ifdef F_OFD_SETLK
#define SET_LOCK F_OFD_SETLK
#define GET_LOCK F_OFD_GETLK
#else
#define SET_LOCK F_SETLK
#define GET_LOCK F_GETLK
#endif

/* The bytes of the file. Who has locked the first has the turn. The others are the places of a
 * line, in which whoever finds the turn taken locks the first byte behind everybody else. The turn
 * is taken together with all places before one's own, in one lock: that succeeds when nobody has it
 * and nobody is ahead. */
enum { TURN = 0, LINE = 1, TO_THE_END = 0 };

/* How long to sleep between two looks at the locks, growing by a quarter. A commit takes some
 * hundred microseconds. */
enum { PAUSE_MIN_US = 20, PAUSE_MAX_US = 500 };

/* At the start of the file: whoever is first in line is woken when the turn ends. A hint only: who
 * died in its turn wakes nobody, and who died asleep stays counted until the next time that nobody
 * waits. */
struct pgqrs__bell {
    atomic_uint yields;
    atomic_uint sleepers;
};

/* Behind it, as text: the process that has the file alone, or nothing. */
enum { HOLDER_AT = 16, HOLDER_BYTES = 24 };

/* The first in line looks by itself at least so often. */
enum { BELL_MAX_US = 2000 };

/* --- Locks -------------------------------------------------------------------------------- */

/* Lock or unlock `count` bytes from `first` on; never waits. */
static int set_lock(int fd, short type, off_t first, off_t count)
{
    struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count };
    int          rc;

    do
        rc = fcntl(fd, SET_LOCK, &range);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno;
}

/* Whether somebody else has a lock in `count` bytes from `first` on.
 * @param[out] out_end  where it ends; 0: nowhere */
static bool find_lock(int fd, off_t first, off_t count, off_t *out_end)
{
    struct flock range = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = count
    };

    if (fcntl(fd, GET_LOCK, &range) != 0 || range.l_type == F_UNLCK)
        return false;
    *out_end = range.l_len == 0 ? 0 : range.l_start + range.l_len;
    return true;
}

static bool is_held(int failure)
{
    return failure == EAGAIN || failure == EACCES;
}

/* --- Sleep -------------------------------------------------------------------------------- */

/* Sleep, longer each time. @return false when the deadline has passed */
static bool pause_until(int64_t deadline_us, int64_t *pause_us)
{
    int64_t         left_us = pgqrs__i64_add_sat(deadline_us, -pgqrs__mono_us());
    struct timespec pause   = { .tv_nsec = (long)PGQRS__MIN(*pause_us, left_us) * 1000 };

    if (left_us <= 0)
        return false;
    (void)nanosleep(&pause, NULL);
    *pause_us = PGQRS__MIN(*pause_us + *pause_us / 4, PAUSE_MAX_US);
    return true;
}

#ifdef __linux__
static pgqrs__bell *bell_open(int fd)
{
    struct stat st;
    void       *room;

    if (fstat(fd, &st) != 0)
        return NULL;
    if (st.st_size < (off_t)sizeof(pgqrs__bell) && ftruncate(fd, sizeof(pgqrs__bell)) != 0)
        return NULL;
    room = mmap(NULL, sizeof(pgqrs__bell), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return room == MAP_FAILED ? NULL : room;
}

/* Sleep until a turn ends after the `seen` ones. @return false when the deadline has passed */
static bool bell_wait(pgqrs__bell *bell, unsigned seen, int64_t deadline_us)
{
    int64_t         left_us = pgqrs__i64_add_sat(deadline_us, -pgqrs__mono_us());
    struct timespec most    = { .tv_nsec = (long)PGQRS__MIN(BELL_MAX_US, left_us) * 1000 };

    if (left_us <= 0)
        return false;
    atomic_fetch_add(&bell->sleepers, 1);
    (void)syscall(SYS_futex, &bell->yields, FUTEX_WAIT, seen, &most, NULL, 0);
    atomic_fetch_sub(&bell->sleepers, 1);
    return true;
}

static void bell_ring(pgqrs__bell *bell)
{
    atomic_fetch_add(&bell->yields, 1);
    if (atomic_load(&bell->sleepers) > 0)
        (void)syscall(SYS_futex, &bell->yields, FUTEX_WAKE, 1, NULL, NULL, 0);
}
#else
static pgqrs__bell *bell_open(int fd)
{
    (void)fd;
    return NULL;
}

static bool bell_wait(pgqrs__bell *bell, unsigned seen, int64_t deadline_us)
{
    int64_t pause_us = PAUSE_MIN_US;

    (void)bell;
    (void)seen;
    return pause_until(deadline_us, &pause_us);
}

static void bell_ring(pgqrs__bell *bell)
{
    (void)bell;
}
#endif

/* --- Turns -------------------------------------------------------------------------------- */

/* Take a place behind everybody else. */
static int stand_in_line(int fd, int64_t deadline_us, off_t *out_place)
{
    int64_t pause_us = PAUSE_MIN_US;

    for (;;) {
        off_t place = LINE;
        off_t end   = LINE;
        int   failure;

        while (find_lock(fd, place, TO_THE_END, &end) && end != 0)
            place = end;
        /* 0: somebody is about to have the turn */
        failure = end == 0 ? EAGAIN : set_lock(fd, F_WRLCK, place, 1);
        if (!is_held(failure)) {
            *out_place = place;
            return failure;
        }
        if (!pause_until(deadline_us, &pause_us))
            return ETIMEDOUT;
    }
}

static int wait_in_line(const pgqrs__turns *turns, off_t place, int64_t deadline_us)
{
    int64_t pause_us = PAUSE_MIN_US;
    bool    first    = false;

    for (;;) {
        unsigned seen    = turns->bell == NULL ? 0 : atomic_load(&turns->bell->yields);
        int      failure = set_lock(turns->fd, F_WRLCK, TURN, place);
        off_t    end;

        if (!is_held(failure))
            return failure;
        if (!first && (place == LINE || !find_lock(turns->fd, LINE, place - LINE, &end))) {
            first    = true;
            pause_us = PAUSE_MIN_US;
        }
        if (!(first && turns->bell != NULL ? bell_wait(turns->bell, seen, deadline_us)
                                           : pause_until(deadline_us, &pause_us)))
            return ETIMEDOUT;
    }
}

int pgqrs__turns_take(const pgqrs__turns *turns, int64_t deadline_us)
{
    int   failure = set_lock(turns->fd, F_WRLCK, TURN, TO_THE_END);
    off_t place;

    if (failure == 0) { /* nobody is there */
        if (turns->bell != NULL && atomic_load(&turns->bell->sleepers) != 0)
            atomic_store(&turns->bell->sleepers, 0);
    } else if (is_held(failure)) {
        failure = stand_in_line(turns->fd, deadline_us, &place);
        if (failure != 0)
            return failure;
        failure = wait_in_line(turns, place, deadline_us);
    }
    (void)set_lock(turns->fd, F_UNLCK, LINE, TO_THE_END);
    return failure;
}

void pgqrs__turns_yield(const pgqrs__turns *turns)
{
    (void)set_lock(turns->fd, F_UNLCK, TURN, 1);
    if (turns->bell != NULL)
        bell_ring(turns->bell);
}

static int open_file(const char *name, const struct stat *database)
{
    mode_t mode = database->st_mode & 0666;
    int    fd   = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0)
        return errno == EEXIST ? open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
    /* Whoever may write to the database must be able to lock, whatever our umask is. When the owner
     * cannot be changed, those who are refused are told so. */
    (void)!fchmod(fd, mode);
    if (geteuid() == 0)
        (void)!fchown(fd, database->st_uid, database->st_gid);
    return fd;
}

int pgqrs__turns_open(pgqrs__turns *turns, const char *name, const struct stat *database)
{
    int failure;

    turns->bell = NULL;
    turns->fd   = open_file(name, database);
    if (turns->fd < 0)
        return errno;
    failure = pgqrs__turns_take(turns, 0);
    if (failure == 0)
        pgqrs__turns_yield(turns);
    if (failure != 0 && failure != ETIMEDOUT)
        return failure;
    turns->bell = bell_open(turns->fd);
    return 0;
}

/* flock() and not a range of bytes: it is another kind of lock, which the turns do not meet, and
 * nothing that somebody else in the process opens or closes drops it. */
static int hold(int fd, bool alone, long *out_holder)
{
    char text[HOLDER_BYTES + 1] = { 0 };
    int  failure, rc;

    *out_holder = 0;
    do
        rc = flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    failure = errno;
    if (pread(fd, text, HOLDER_BYTES, HOLDER_AT) > 0)
        *out_holder = strtol(text, NULL, 10);
    return failure;
}

int pgqrs__turns_hold(const pgqrs__turns *turns, bool alone, long *out_holder)
{
    char text[HOLDER_BYTES] = { 0 };
    int  failure            = hold(turns->fd, alone, out_holder);

    if (failure != 0)
        return failure;
    if (alone)
        (void)snprintf(text, sizeof text, "%ld", (long)getpid());
    /* For the message of those who are refused; they are refused without it, too. */
    (void)!pwrite(turns->fd, text, sizeof text, HOLDER_AT);
    return 0;
}

int pgqrs__turns_peek(const char *name, long *out_holder)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int failure;

    *out_holder = 0;
    if (fd < 0)
        return 0;
    failure = hold(fd, false, out_holder);
    (void)close(fd);
    return failure == EWOULDBLOCK ? failure : 0;
}

void pgqrs__turns_close(pgqrs__turns *turns)
{
    if (turns->bell != NULL)
        (void)munmap(turns->bell, sizeof(*turns->bell)); /* it keeps the file open, and its locks */
    if (turns->fd >= 0)
        (void)close(turns->fd);
    turns->bell = NULL;
    turns->fd   = -1;
}
