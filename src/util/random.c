#include "util/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/random.h>
#include <unistd.h>

#include "util/clock.h"

/* For a sandbox that filters getrandom(2) away. */
static bool read_device(uint64_t *bits)
{
    int     fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return false;
    do
        got = read(fd, bits, sizeof *bits);
    while (got < 0 && errno == EINTR);
    (void)close(fd);
    return got == (ssize_t)sizeof *bits;
}

/* For a sandbox without either: unique in this process, and most likely among all. A splitmix64
 * step. */
static uint64_t make_up(void)
{
    static _Atomic uint64_t counter;
    uint64_t                bits = atomic_fetch_add(&counter, 0x9e3779b97f4a7c15U);

    bits +=
        (uint64_t)pgqrs__wall_us() ^ (uint64_t)pgqrs__mono_us() << 20 ^ (uint64_t)getpid() << 44;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9U;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebU;
    return bits ^ bits >> 31;
}

static uint64_t random_bits(void)
{
    int      saved_errno = errno;
    uint64_t bits        = 0;
    ssize_t  got;

    do
        got = getrandom(&bits, sizeof bits, 0);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof bits && !read_device(&bits))
        bits = make_up();
    errno = saved_errno;
    return bits;
}

int64_t pgqrs__random_i63(void)
{
    int64_t number;

    do
        number = (int64_t)(random_bits() >> 1);
    while (number == 0);
    return number;
}

double pgqrs__random_unit(void)
{
    return (double)(random_bits() >> 11) * 0x1p-53;
}
