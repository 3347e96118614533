/** Hash maps with open addressing: from a 64-bit key (pgqrs__map) or a string (pgqrs__smap).
 *
 *  They live by value in whatever owns them; a zeroed map is an initialized one, without memory.
 *  Values are not owned: free what they point to before the map.
 *  @threads one at a time */
#ifndef PGQRS_UTIL_MAP_H
#define PGQRS_UTIL_MAP_H

#include "util/base.h"

typedef struct pgqrs__map_slot {
    uint64_t key;
    int64_t  value;
    bool     used;
} pgqrs__map_slot;

typedef struct pgqrs__map {
    pgqrs__map_slot *slots; /* owned */
    size_t           count;
    size_t           cap; /* 0 or a power of two */
} pgqrs__map;

void pgqrs__map_init(pgqrs__map *map);

/** Frees the memory and leaves an empty map, ready for use. */
void pgqrs__map_free(pgqrs__map *map);

/** Forgets all keys and keeps the memory. */
void pgqrs__map_clear(pgqrs__map *map);

/** Sets or replaces. A map holds pointers or integers: use one pair of functions for one map.
 *  False when out of memory; the map is as before then. A key that is there is replaced without
 *  memory. */
bool pgqrs__map_put(pgqrs__map *map, uint64_t key, void *value);
bool pgqrs__map_put_i64(pgqrs__map *map, uint64_t key, int64_t value);

/** NULL when the key is not there. */
void *pgqrs__map_get(const pgqrs__map *map, uint64_t key);

/** False, and value untouched, when the key is not there. value may be NULL. */
bool pgqrs__map_get_i64(const pgqrs__map *map, uint64_t key, int64_t *value);

/** False when the key was not there. Never needs memory. */
bool pgqrs__map_remove(pgqrs__map *map, uint64_t key);

/** The next pair, in no order: start with *cursor = 0, until false. key and value may be NULL.
 *  Between the calls the map must not be changed, except for the values of keys that are there. */
bool pgqrs__map_iterate(const pgqrs__map *map, size_t *cursor, uint64_t *key, void **value);
bool pgqrs__map_iterate_i64(const pgqrs__map *map, size_t *cursor, uint64_t *key, int64_t *value);

typedef struct pgqrs__smap_slot {
    char    *key; /* owned; NULL: free slot */
    uint64_t hash;
    int64_t  value;
} pgqrs__smap_slot;

typedef struct pgqrs__smap {
    pgqrs__smap_slot *slots; /* owned */
    size_t            count;
    size_t            cap;  /* 0 or a power of two */
    uint64_t          seed; /* random for each map: names come from users */
} pgqrs__smap;

void pgqrs__smap_init(pgqrs__smap *map);

/** Frees the keys and the memory and leaves an empty map, ready for use. */
void pgqrs__smap_free(pgqrs__smap *map);

/** Sets or replaces; the key is copied. False when out of memory; the map is as before then. */
bool pgqrs__smap_put(pgqrs__smap *map, const char *key, int64_t value);

/** False, and value untouched, when the key is not there. value may be NULL. */
bool pgqrs__smap_get(const pgqrs__smap *map, const char *key, int64_t *value);

/** False when the key was not there. Never needs memory. */
bool pgqrs__smap_remove(pgqrs__smap *map, const char *key);

/** Like pgqrs__map_iterate(). *key is the map's, valid while the key is in it. */
bool pgqrs__smap_iterate(const pgqrs__smap *map, size_t *cursor, const char **key, int64_t *value);

#endif
