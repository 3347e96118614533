/** Small compiler and arithmetic helpers used by every layer. No state, nothing that can fail. */
#ifndef PGQRS_UTIL_BASE_H
#define PGQRS_UTIL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Number of elements of an array; not for pointers. */
#define PGQRS__ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#define PGQRS__MIN(a, b) ((a) < (b) ? (a) : (b))
#define PGQRS__MAX(a, b) ((a) > (b) ? (a) : (b))

/** The compiler checks the printf arguments; positions count from 1. */
#define PGQRS__PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))

#define PGQRS__LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define PGQRS__UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/** a + b or a * b, false when it does not fit. */
static inline bool pgqrs__size_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool pgqrs__size_mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/** a + b, held at the ends of the range instead of wrapping: deadlines from "for ever" stay for
 *  ever. */
static inline int64_t pgqrs__i64_add_sat(int64_t a, int64_t b)
{
    int64_t sum;

    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

#endif
