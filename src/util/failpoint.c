#include "util/failpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long passed;

/* The number to end at; 0: none. Whoever reads it first at the same time reads the same. */
static long wanted(void)
{
    static atomic_long known  = -1;
    long               number = atomic_load(&known);

    if (number < 0) {
        const char *text = getenv("PGQRS_FAILPOINT");

        number = text == NULL ? 0 : strtol(text, NULL, 10);
        atomic_store(&known, number);
    }
    return number;
}

bool pgqrs__failpoint_is_next(void)
{
    return atomic_load(&passed) + 1 == wanted();
}

long pgqrs__failpoint_count(void)
{
    return atomic_load(&passed);
}

void pgqrs__failpoint(const char *where)
{
    long number = atomic_fetch_add(&passed, 1) + 1;

    if (getenv("PGQRS_FAILPOINT_TELL") != NULL)
        (void)fprintf(stderr, "%ld %s\n", number, where);
    if (number == wanted())
        (void)kill(getpid(), SIGKILL);
}
