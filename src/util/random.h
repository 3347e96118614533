/** Random numbers from the kernel, one system call each: nothing is kept in the process, so a fork
 *  or a restored virtual machine never repeats one. @threads any */
#ifndef PGQRS_UTIL_RANDOM_H
#define PGQRS_UTIL_RANDOM_H

#include <stdint.h>

/** Uniform over 1 … 2^63 - 1; fit to name a lease. */
int64_t pgqrs__random_i63(void);

/** Uniform over [0, 1), in steps of 2^-53. */
double pgqrs__random_unit(void);

#endif
