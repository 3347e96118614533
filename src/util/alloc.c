#include "util/alloc.h"

#include <pgqrs/pgqrs.h>

#include <stdlib.h>
#include <string.h>

#include "util/base.h"

static void *default_allocate(size_t size, void *user_data)
{
    (void)user_data;
    return malloc(size);
}

static void *default_reallocate(void *memory, size_t size, void *user_data)
{
    (void)user_data;
    return realloc(memory, size);
}

static void default_release(void *memory, void *user_data)
{
    (void)user_data;
    free(memory);
}

static const pgqrs_allocator defaults = { default_allocate, default_reallocate, default_release,
                                          NULL };

/* Not guarded: it is set before anything else of the library is called. */
static pgqrs_allocator hooks = { default_allocate, default_reallocate, default_release, NULL };

void pgqrs_set_allocator(const pgqrs_allocator *allocator)
{
    /* Half a set would mix two heaps. */
    if (allocator == NULL || allocator->allocate == NULL || allocator->reallocate == NULL
        || allocator->release == NULL)
        allocator = &defaults;
    hooks = *allocator;
}

void *pgqrs__alloc(size_t size)
{
    return hooks.allocate(PGQRS__MAX(size, 1), hooks.user_data);
}

void *pgqrs__calloc(size_t n, size_t size)
{
    size_t bytes;
    void  *memory;

    if (!pgqrs__size_mul(n, size, &bytes))
        return NULL;
    memory = pgqrs__alloc(bytes);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

void *pgqrs__realloc(void *ptr, size_t size)
{
    if (ptr == NULL)
        return pgqrs__alloc(size);
    return hooks.reallocate(ptr, PGQRS__MAX(size, 1), hooks.user_data);
}

void pgqrs__free(void *ptr)
{
    if (ptr != NULL)
        hooks.release(ptr, hooks.user_data);
}

char *pgqrs__strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char  *copy = pgqrs__alloc(size);

    if (copy != NULL)
        memcpy(copy, s, size);
    return copy;
}

char *pgqrs__strndup(const char *s, size_t len)
{
    size_t kept = strnlen(s, len);
    char  *copy = pgqrs__alloc(kept + 1);

    if (copy == NULL)
        return NULL;
    memcpy(copy, s, kept);
    copy[kept] = '\0';
    return copy;
}
