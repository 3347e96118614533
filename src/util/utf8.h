/** UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
 *  @threads any */
#ifndef PGQRS_UTIL_UTF8_H
#define PGQRS_UTIL_UTF8_H

#include "util/base.h"

/** Whether the len bytes at s are UTF-8 throughout. NUL is a character like any other. */
bool pgqrs__utf8_valid(const char *s, size_t len);

/** Length in bytes (1 … 4) of the well-formed character at s, of which left bytes can be read; 0
 *  when there is none. */
size_t pgqrs__utf8_char(const char *s, size_t left);

/** The greatest length not above len that does not cut a character of the UTF-8 text s in two. */
size_t pgqrs__utf8_cut(const char *s, size_t len);

#endif
