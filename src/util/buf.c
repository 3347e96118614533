#include "util/buf.h"

#include <stdio.h>

#include "util/alloc.h"

enum { MIN_CAP = 64 };

void pgqrs__buf_init(pgqrs__buf *buf)
{
    *buf = (pgqrs__buf){ 0 };
}

void pgqrs__buf_free(pgqrs__buf *buf)
{
    pgqrs__free(buf->data);
    pgqrs__buf_init(buf);
}

void pgqrs__buf_reset(pgqrs__buf *buf)
{
    buf->len    = 0;
    buf->failed = false;
}

bool pgqrs__buf_grow(pgqrs__buf *buf, size_t extra)
{
    size_t need, cap;
    char  *data;

    if (buf->failed)
        return false;
    if (!pgqrs__size_add(buf->len, extra, &need) || !pgqrs__size_add(need, 1, &need)) {
        buf->failed = true;
        return false;
    }
    cap  = buf->cap <= SIZE_MAX / 2 ? PGQRS__MAX(2 * buf->cap, MIN_CAP) : SIZE_MAX;
    cap  = PGQRS__MAX(cap, need);
    data = pgqrs__realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap  = cap;
    return true;
}

void pgqrs__buf_vprintf(pgqrs__buf *buf, const char *format, va_list args)
{
    size_t  room = buf->cap - buf->len;
    va_list again;
    int     len;

    if (buf->failed)
        return;
    va_copy(again, args);
    len = vsnprintf(room > 0 ? buf->data + buf->len : NULL, room, format, args);
    if (len < 0)
        buf->failed = true;
    else if ((size_t)len < room)
        buf->len += (size_t)len;
    else if (pgqrs__buf_reserve(buf, (size_t)len)) {
        (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void pgqrs__buf_printf(pgqrs__buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    pgqrs__buf_vprintf(buf, format, args);
    va_end(args);
}

char *pgqrs__buf_cstr(pgqrs__buf *buf)
{
    if (!pgqrs__buf_reserve(buf, 0))
        return NULL;
    buf->data[buf->len] = '\0';
    return buf->data;
}

char *pgqrs__buf_take(pgqrs__buf *buf)
{
    char *text = pgqrs__buf_cstr(buf);

    if (text == NULL)
        pgqrs__buf_free(buf);
    else
        pgqrs__buf_init(buf);
    return text;
}
