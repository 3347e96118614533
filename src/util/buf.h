/** A growable byte buffer: SQL text, JSON, and PostgreSQL's binary protocol.
 *
 *  It lives by value in whatever owns it; a zeroed buffer is an initialized one. A failed
 *  allocation is sticky: later writes do nothing, and the caller checks `failed` once, at the end.
 *  What was written before it stays readable. Lengths are bytes. data is not NUL-terminated: see
 *  pgqrs__buf_cstr().
 *  @threads one at a time */
#ifndef PGQRS_UTIL_BUF_H
#define PGQRS_UTIL_BUF_H

#include <stdarg.h>
#include <string.h>

#include "util/base.h"

typedef struct pgqrs__buf {
    char  *data; /* owned; NULL before the first write */
    size_t len;
    size_t cap;
    bool   failed; /* an allocation failed, or a length did not fit */
} pgqrs__buf;

/** Makes an empty buffer, without memory. Cannot fail. */
void pgqrs__buf_init(pgqrs__buf *buf);

/** Frees the memory and leaves an empty buffer, ready for use, `failed` cleared. */
void pgqrs__buf_free(pgqrs__buf *buf);

/** Forgets the contents and keeps the memory; `failed` cleared. */
void pgqrs__buf_reset(pgqrs__buf *buf);

/** The slow path of pgqrs__buf_reserve(): grows. Not called directly. */
bool pgqrs__buf_grow(pgqrs__buf *buf, size_t extra);

/** Room for extra bytes, and a NUL, after len. False, and `failed` set, when out of memory. */
static inline bool pgqrs__buf_reserve(pgqrs__buf *buf, size_t extra)
{
    /* Strictly less: one byte is always left for pgqrs__buf_cstr(). */
    if (PGQRS__LIKELY(extra < buf->cap - buf->len && !buf->failed))
        return true;
    return pgqrs__buf_grow(buf, extra);
}

/** Appends the len bytes at ptr, which may be NULL when len is 0. It must not point into the
 *  buffer. */
static inline void pgqrs__buf_add(pgqrs__buf *buf, const void *ptr, size_t len)
{
    if (!pgqrs__buf_reserve(buf, len))
        return;
    if (len > 0)
        memcpy(buf->data + buf->len, ptr, len);
    buf->len += len;
}

/** Appends a NUL-terminated string, without its NUL. */
static inline void pgqrs__buf_str(pgqrs__buf *buf, const char *s)
{
    pgqrs__buf_add(buf, s, strlen(s));
}

static inline void pgqrs__buf_char(pgqrs__buf *buf, char c)
{
    if (pgqrs__buf_reserve(buf, 1))
        buf->data[buf->len++] = c;
}

/** Appends formatted text of any length. */
PGQRS__PRINTF(2, 3) void pgqrs__buf_printf(pgqrs__buf *buf, const char *format, ...);
PGQRS__PRINTF(2, 0) void pgqrs__buf_vprintf(pgqrs__buf *buf, const char *format, va_list args);

/** The contents as a C string, the buffer's until the next write. NULL when `failed`. */
char *pgqrs__buf_cstr(pgqrs__buf *buf);

/** The contents as a C string, now the caller's: free with pgqrs__free(). The buffer is left empty,
 *  ready for use. NULL when `failed`. */
char *pgqrs__buf_take(pgqrs__buf *buf);

/** Appends an integer in network byte order, as PostgreSQL's binary formats want it. */
static inline void pgqrs__buf_i16(pgqrs__buf *buf, int16_t value)
{
    uint16_t wire = __builtin_bswap16((uint16_t)value);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    wire = (uint16_t)value;
#endif
    pgqrs__buf_add(buf, &wire, sizeof wire);
}

static inline void pgqrs__buf_i32(pgqrs__buf *buf, int32_t value)
{
    uint32_t wire = __builtin_bswap32((uint32_t)value);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    wire = (uint32_t)value;
#endif
    pgqrs__buf_add(buf, &wire, sizeof wire);
}

static inline void pgqrs__buf_i64(pgqrs__buf *buf, int64_t value)
{
    uint64_t wire = __builtin_bswap64((uint64_t)value);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    wire = (uint64_t)value;
#endif
    pgqrs__buf_add(buf, &wire, sizeof wire);
}

#endif
