/** JSON text: checking it on entry, and writing strings. Nothing here builds a document.
 *  @threads any (a buffer: one at a time) */
#ifndef PGQRS_UTIL_JSON_H
#define PGQRS_UTIL_JSON_H

#include "util/base.h"
#include "util/buf.h"

/** The greatest depth pgqrs__json_check() can follow; a greater max_depth means this one. */
#define PGQRS__JSON_DEPTH_MAX 4096

/** Whether the len bytes at text are one JSON value (RFC 8259), in valid UTF-8.
 *
 *  Any value may stand at the top; numbers have no range; a \u escape of half a surrogate pair is
 *  refused, \u0000 is allowed. max_depth counts open arrays and objects: 0 allows only scalars. One
 *  pass, no recursion, no allocation.
 *  @param[out] error_at  byte offset of the first thing wrong; may be NULL. Untouched on success.
 *  @param[out] what      what is wrong there, static text fit for a message; may be NULL. Untouched
 *  on success. */
bool pgqrs__json_check(const char *text, size_t len, size_t max_depth, size_t *error_at,
                       const char **what);

/** Appends the len bytes at s as a JSON string, quotes included. Bytes that are not UTF-8 become
 *  U+FFFD, one for each byte. Characters beyond ASCII are written as they are. */
void pgqrs__json_quote(pgqrs__buf *buf, const char *s, size_t len);

#endif
