#include "util/clock.h"

#include <time.h>

static int64_t read_us(clockid_t clock)
{
    struct timespec now = { 0 };

    (void)clock_gettime(clock, &now); /* cannot fail for the two clocks asked for here */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t pgqrs__wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

int64_t pgqrs__mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

void pgqrs__sleep_us(int64_t duration_us)
{
    struct timespec ts = { .tv_sec  = (time_t)(duration_us / 1000000),
                           .tv_nsec = (long)(duration_us % 1000000) * 1000 };

    nanosleep(&ts, NULL);
}
