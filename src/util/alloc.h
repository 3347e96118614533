/** The one way to memory: every allocation of the library passes through here, so that an embedding
 *  program can bring its own allocator, and a test can fail the Nth allocation.
 *
 *  The hooks are set by the public pgqrs_set_allocator(), for the whole process and before first
 *  use. Sizes are bytes. What is returned is aligned for any C type; free it with pgqrs__free().
 *  NULL means out of memory; a size of 0 is served like 1, so NULL never means anything else.
 *  @threads any */
#ifndef PGQRS_UTIL_ALLOC_H
#define PGQRS_UTIL_ALLOC_H

#include <stddef.h>

/* New memory that nothing else points to. */
#define PGQRS__ALLOCATES(...) __attribute__((malloc, warn_unused_result, __VA_ARGS__))

PGQRS__ALLOCATES(alloc_size(1)) void *pgqrs__alloc(size_t size);

/** n elements of size bytes each, zeroed. NULL also when n * size does not fit. */
PGQRS__ALLOCATES(alloc_size(1, 2)) void *pgqrs__calloc(size_t n, size_t size);

/** Grow or shrink; ptr NULL allocates. On failure ptr stays as it was, and stays the caller's. */
__attribute__((warn_unused_result, alloc_size(2))) void *pgqrs__realloc(void *ptr, size_t size);

/** NULL is allowed. */
void pgqrs__free(void *ptr);

/** A copy of a NUL-terminated string. */
PGQRS__ALLOCATES() char *pgqrs__strdup(const char *s);

/** A NUL-terminated copy of at most len bytes of s, ending early at a NUL. */
PGQRS__ALLOCATES() char *pgqrs__strndup(const char *s, size_t len);

#endif
