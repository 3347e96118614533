#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/utf8.h"

#define FIELD_MAX (sizeof(((pgqrs_error *)NULL)->detail))

_Static_assert(sizeof(((pgqrs_error *)NULL)->message) <= FIELD_MAX,
               "a message is formatted in a detail's room");
_Static_assert(sizeof(((pgqrs_error *)NULL)->hint) <= FIELD_MAX,
               "a hint is formatted in a detail's room");

static unsigned default_flags(pgqrs_status status)
{
#define RETRY_CASE(name, number, retry, text) \
    case PGQRS_##name:                        \
        return (retry) ? PGQRS_RETRYABLE : 0;
    switch (status) {
        PGQRS_STATUS_MAP(RETRY_CASE)
    }
#undef RETRY_CASE
    return 0;
}

/* Formats into text, of size bytes, by way of room of its own: arguments may point into the same
 * error. */
PGQRS__PRINTF(3, 0)
static void put(char *text, size_t size, const char *format, va_list args)
{
    char   room[FIELD_MAX];
    int    written = vsnprintf(room, size, format, args);
    size_t len     = written < 0 ? 0 : (size_t)written;

    if (len >= size)
        len = pgqrs__utf8_cut(room, size - 1);
    memcpy(text, room, len);
    text[len] = '\0';
}

pgqrs_status pgqrs__fail(pgqrs_error *error, pgqrs_status status, pgqrs_object object,
                         const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return status;
    va_start(args, format);
    put(error->message, sizeof error->message, format, args);
    va_end(args);
    error->status      = status;
    error->flags       = default_flags(status);
    error->object      = object;
    error->sqlstate[0] = '\0';
    error->detail[0]   = '\0';
    error->hint[0]     = '\0';
    return status;
}

void pgqrs__detail(pgqrs_error *error, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return;
    va_start(args, format);
    put(error->detail, sizeof error->detail, format, args);
    va_end(args);
}

void pgqrs__hint(pgqrs_error *error, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return;
    va_start(args, format);
    put(error->hint, sizeof error->hint, format, args);
    va_end(args);
}

void pgqrs__flag(pgqrs_error *error, unsigned flags)
{
    if (error == NULL)
        return;
    error->flags |= flags;
    if ((flags & PGQRS_MAYBE_APPLIED) != 0)
        error->flags &= ~PGQRS_RETRYABLE; /* which promises that nothing was written */
}

pgqrs_status pgqrs__ok(pgqrs_error *error)
{
    if (error != NULL) {
        error->status      = PGQRS_OK;
        error->flags       = 0;
        error->object      = PGQRS_OBJECT_NONE;
        error->sqlstate[0] = '\0';
        error->message[0]  = '\0';
        error->detail[0]   = '\0';
        error->hint[0]     = '\0';
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs__nomem(pgqrs_error *error)
{
    return pgqrs__fail(error, PGQRS_ENOMEM, PGQRS_OBJECT_NONE, "out of memory");
}
