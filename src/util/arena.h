/** A bump allocator: many small pieces, freed together.
 *
 *  It lives by value in whatever owns it; a zeroed arena is an initialized one. Pieces are aligned
 *  to 16 bytes, are not zeroed, and live until pgqrs__arena_reset() or pgqrs__arena_free(). Chunks
 *  grow from 1 KiB to 64 KiB; a piece that does not fit a chunk gets an allocation of its own. An
 *  arena that was never asked for anything holds no memory.
 *  @threads one at a time */
#ifndef PGQRS_UTIL_ARENA_H
#define PGQRS_UTIL_ARENA_H

#include <stddef.h>
#include <string.h>

#include "util/base.h"

#define PGQRS__ARENA_ALIGN ((size_t)16)

typedef struct pgqrs__arena_chunk pgqrs__arena_chunk;

typedef struct pgqrs__arena {
    char  *next; /* where the next piece starts, aligned; NULL before the first chunk */
    size_t room; /* bytes from next to the end of the chunk, a multiple of the alignment */
    pgqrs__arena_chunk *chunks; /* newest first; the newest is the one pieces are cut from */
    pgqrs__arena_chunk *large;  /* pieces with a chunk of their own */
} pgqrs__arena;

/** Makes an empty arena. Cannot fail. */
void pgqrs__arena_init(pgqrs__arena *arena);

/** The slow path of pgqrs__arena_alloc(): a new chunk. Not called directly. */
void *pgqrs__arena_alloc_slow(pgqrs__arena *arena, size_t size);

/** size bytes, NULL when out of memory; a size of 0 is served like 1. */
static inline void *pgqrs__arena_alloc(pgqrs__arena *arena, size_t size)
{
    /* size - 1 sends 0 to the slow path; room is a multiple of the alignment, so what fits also
     * fits when rounded up. */
    if (PGQRS__LIKELY(size - 1 < arena->room)) {
        size_t taken = (size + PGQRS__ARENA_ALIGN - 1) & ~(PGQRS__ARENA_ALIGN - 1);
        char  *piece = arena->next;

        arena->next += taken;
        arena->room -= taken;
        return piece;
    }
    return pgqrs__arena_alloc_slow(arena, size);
}

/** Like pgqrs__arena_alloc(), zeroed, for n elements of size bytes. NULL also when n * size does
 *  not fit. */
static inline void *pgqrs__arena_calloc(pgqrs__arena *arena, size_t n, size_t size)
{
    size_t bytes;
    void  *piece;

    if (!pgqrs__size_mul(n, size, &bytes))
        return NULL;
    piece = pgqrs__arena_alloc(arena, bytes);
    if (piece != NULL)
        memset(piece, 0, bytes);
    return piece;
}

/** A NUL-terminated copy of the len bytes at s, NULs among them included. s may be NULL when len is
 *  0. NULL when out of memory. */
static inline char *pgqrs__arena_copy(pgqrs__arena *arena, const char *s, size_t len)
{
    char *copy = len < SIZE_MAX ? pgqrs__arena_alloc(arena, len + 1) : NULL;

    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

/** Forgets every piece and keeps the first chunk for reuse. */
void pgqrs__arena_reset(pgqrs__arena *arena);

/** Frees everything and leaves an empty arena, ready for use. */
void pgqrs__arena_free(pgqrs__arena *arena);

#endif
