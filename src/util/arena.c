#include "util/arena.h"

#include "util/alloc.h"

/* A chunk is one allocation: this header, then pieces from the next aligned address on. */
struct pgqrs__arena_chunk {
    pgqrs__arena_chunk *next;
    size_t              size; /* of the whole allocation */
};

enum {
    FIRST_CHUNK = 1024,
    MAX_CHUNK   = 64 * 1024,
    LARGE = 16 * 1024, /* from here on a piece gets its own chunk, so that little of a chunk is left
                          unused */
};

/* Header, and what aligning the first piece may cost under an allocator that aligns less than we
 * do. */
#define OVERHEAD (sizeof(pgqrs__arena_chunk) + PGQRS__ARENA_ALIGN)

static char *chunk_start(pgqrs__arena_chunk *chunk)
{
    char  *after = (char *)(chunk + 1);
    size_t past  = (uintptr_t)after & (PGQRS__ARENA_ALIGN - 1);

    return past == 0 ? after : after + (PGQRS__ARENA_ALIGN - past);
}

static void chunk_use(pgqrs__arena *arena, pgqrs__arena_chunk *chunk)
{
    char *end = (char *)chunk + chunk->size;

    arena->next = chunk_start(chunk);
    arena->room = (size_t)(end - arena->next) & ~(PGQRS__ARENA_ALIGN - 1);
}

static pgqrs__arena_chunk *chunk_new(size_t size, pgqrs__arena_chunk *next)
{
    pgqrs__arena_chunk *chunk = pgqrs__alloc(size);

    if (chunk == NULL)
        return NULL;
    chunk->next = next;
    chunk->size = size;
    return chunk;
}

static void chunks_free(pgqrs__arena_chunk *chunk)
{
    while (chunk != NULL) {
        pgqrs__arena_chunk *next = chunk->next;

        pgqrs__free(chunk);
        chunk = next;
    }
}

void pgqrs__arena_init(pgqrs__arena *arena)
{
    *arena = (pgqrs__arena){ 0 };
}

void *pgqrs__arena_alloc_slow(pgqrs__arena *arena, size_t size)
{
    pgqrs__arena_chunk *chunk;

    if (size == 0)
        size = 1;
    if (size > SIZE_MAX - OVERHEAD)
        return NULL;
    if (size >= LARGE) {
        chunk = chunk_new(size + OVERHEAD, arena->large);
        if (chunk == NULL)
            return NULL;
        arena->large = chunk;
        return chunk_start(chunk);
    }
    if (size > arena->room) {
        size_t next =
            arena->chunks == NULL ? FIRST_CHUNK : PGQRS__MIN(2 * arena->chunks->size, MAX_CHUNK);

        while (next < size + 2 * OVERHEAD)
            next *= 2;
        chunk = chunk_new(next, arena->chunks);
        if (chunk == NULL)
            return NULL;
        arena->chunks = chunk;
        chunk_use(arena, chunk);
    }
    return pgqrs__arena_alloc(arena, size);
}

void pgqrs__arena_reset(pgqrs__arena *arena)
{
    pgqrs__arena_chunk *first = arena->chunks;

    chunks_free(arena->large);
    arena->large = NULL;
    if (first == NULL)
        return;
    while (first->next != NULL) {
        pgqrs__arena_chunk *next = first->next;

        pgqrs__free(first);
        first = next;
    }
    arena->chunks = first;
    chunk_use(arena, first);
}

void pgqrs__arena_free(pgqrs__arena *arena)
{
    chunks_free(arena->large);
    chunks_free(arena->chunks);
    pgqrs__arena_init(arena);
}
