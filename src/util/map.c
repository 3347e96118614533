#include "util/map.h"

#include <string.h>

#include "util/alloc.h"
#include "util/random.h"

enum { MIN_CAP = 16 };

/* Capacity to grow to before one more key is added: tables are kept at most three quarters full.
 * 0: no need to; SIZE_MAX: does not fit. */
static size_t grown_cap(size_t count, size_t cap)
{
    if (cap == 0)
        return MIN_CAP;
    if (count < cap - cap / 4)
        return 0;
    return cap <= SIZE_MAX / 4 ? 2 * cap : SIZE_MAX;
}

/* The finalizer of MurmurHash3: message ids are consecutive, slots should not be. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdU;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53U;
    return x ^ x >> 33;
}

/* Whether the entry at slot may move back to the hole: only if its home is not between the two. */
static bool may_fill(size_t hole, size_t slot, size_t home, size_t mask)
{
    return ((slot - home) & mask) >= ((slot - hole) & mask);
}

/* The slot of key, or the free one where it would go. cap is not 0. */
static size_t map_find(const pgqrs__map *map, uint64_t key)
{
    size_t mask = map->cap - 1;
    size_t at   = (size_t)mix(key) & mask;

    while (map->slots[at].used && map->slots[at].key != key)
        at = (at + 1) & mask;
    return at;
}

static bool map_grow(pgqrs__map *map, size_t cap)
{
    pgqrs__map grown = { .slots = pgqrs__calloc(cap, sizeof *map->slots),
                         .count = map->count,
                         .cap   = cap };

    if (grown.slots == NULL)
        return false;
    for (size_t i = 0; i < map->cap; i++) {
        if (map->slots[i].used)
            grown.slots[map_find(&grown, map->slots[i].key)] = map->slots[i];
    }
    pgqrs__free(map->slots);
    *map = grown;
    return true;
}

void pgqrs__map_init(pgqrs__map *map)
{
    *map = (pgqrs__map){ 0 };
}

void pgqrs__map_free(pgqrs__map *map)
{
    pgqrs__free(map->slots);
    pgqrs__map_init(map);
}

void pgqrs__map_clear(pgqrs__map *map)
{
    if (map->cap > 0)
        memset(map->slots, 0, map->cap * sizeof *map->slots);
    map->count = 0;
}

bool pgqrs__map_put_i64(pgqrs__map *map, uint64_t key, int64_t value)
{
    size_t at = map->cap > 0 ? map_find(map, key) : 0;
    size_t cap;

    if (map->cap > 0 && map->slots[at].used) {
        map->slots[at].value = value;
        return true;
    }
    cap = grown_cap(map->count, map->cap);
    if (cap != 0) {
        if (!map_grow(map, cap))
            return false;
        at = map_find(map, key);
    }
    map->slots[at] = (pgqrs__map_slot){ .key = key, .value = value, .used = true };
    map->count++;
    return true;
}

bool pgqrs__map_put(pgqrs__map *map, uint64_t key, void *value)
{
    return pgqrs__map_put_i64(map, key, (int64_t)(intptr_t)value);
}

bool pgqrs__map_get_i64(const pgqrs__map *map, uint64_t key, int64_t *value)
{
    size_t at;

    if (map->cap == 0)
        return false;
    at = map_find(map, key);
    if (!map->slots[at].used)
        return false;
    if (value != NULL)
        *value = map->slots[at].value;
    return true;
}

void *pgqrs__map_get(const pgqrs__map *map, uint64_t key)
{
    int64_t value = 0;

    return pgqrs__map_get_i64(map, key, &value) ? (void *)(intptr_t)value : NULL;
}

bool pgqrs__map_remove(pgqrs__map *map, uint64_t key)
{
    size_t mask, hole;

    if (map->cap == 0)
        return false;
    hole = map_find(map, key);
    if (!map->slots[hole].used)
        return false;
    /* Later keys of the same run move up: no tombstones, so a map that lives long stays fast. */
    mask = map->cap - 1;
    for (size_t at = (hole + 1) & mask; map->slots[at].used; at = (at + 1) & mask) {
        if (may_fill(hole, at, (size_t)mix(map->slots[at].key) & mask, mask)) {
            map->slots[hole] = map->slots[at];
            hole             = at;
        }
    }
    map->slots[hole].used = false;
    map->count--;
    return true;
}

bool pgqrs__map_iterate_i64(const pgqrs__map *map, size_t *cursor, uint64_t *key, int64_t *value)
{
    while (*cursor < map->cap) {
        const pgqrs__map_slot *slot = &map->slots[(*cursor)++];

        if (!slot->used)
            continue;
        if (key != NULL)
            *key = slot->key;
        if (value != NULL)
            *value = slot->value;
        return true;
    }
    return false;
}

bool pgqrs__map_iterate(const pgqrs__map *map, size_t *cursor, uint64_t *key, void **value)
{
    int64_t number;

    if (!pgqrs__map_iterate_i64(map, cursor, key, &number))
        return false;
    if (value != NULL)
        *value = (void *)(intptr_t)number;
    return true;
}

static uint64_t hash_string(const char *s, uint64_t seed)
{
    size_t   len  = strlen(s);
    uint64_t hash = seed ^ len;
    uint64_t eight;

    for (; len >= sizeof eight; s += sizeof eight, len -= sizeof eight) {
        memcpy(&eight, s, sizeof eight);
        hash = mix(hash ^ eight);
    }
    eight = 0;
    memcpy(&eight, s, len);
    return mix(hash ^ eight);
}

/* The slot of key, or the free one where it would go. cap is not 0. */
static size_t smap_find(const pgqrs__smap *map, const char *key, uint64_t hash)
{
    size_t mask = map->cap - 1;
    size_t at   = (size_t)hash & mask;

    while (map->slots[at].key != NULL
           && (map->slots[at].hash != hash || strcmp(map->slots[at].key, key) != 0))
        at = (at + 1) & mask;
    return at;
}

static bool smap_grow(pgqrs__smap *map, size_t cap)
{
    pgqrs__smap grown = *map;

    grown.slots = pgqrs__calloc(cap, sizeof *map->slots);
    grown.cap   = cap;
    if (grown.slots == NULL)
        return false;
    for (size_t i = 0; i < map->cap; i++) {
        const pgqrs__smap_slot *slot = &map->slots[i];

        if (slot->key != NULL)
            grown.slots[smap_find(&grown, slot->key, slot->hash)] = *slot;
    }
    pgqrs__free(map->slots);
    *map = grown;
    return true;
}

void pgqrs__smap_init(pgqrs__smap *map)
{
    *map = (pgqrs__smap){ 0 };
}

void pgqrs__smap_free(pgqrs__smap *map)
{
    for (size_t i = 0; i < map->cap; i++)
        pgqrs__free(map->slots[i].key);
    pgqrs__free(map->slots);
    pgqrs__smap_init(map);
}

bool pgqrs__smap_put(pgqrs__smap *map, const char *key, int64_t value)
{
    uint64_t hash;
    size_t   at, cap;
    char    *copy;

    if (map->cap == 0)
        map->seed = (uint64_t)pgqrs__random_i63();
    hash = hash_string(key, map->seed);
    at   = map->cap > 0 ? smap_find(map, key, hash) : 0;
    if (map->cap > 0 && map->slots[at].key != NULL) {
        map->slots[at].value = value;
        return true;
    }
    copy = pgqrs__strdup(key);
    if (copy == NULL)
        return false;
    cap = grown_cap(map->count, map->cap);
    if (cap != 0) {
        if (!smap_grow(map, cap)) {
            pgqrs__free(copy);
            return false;
        }
        at = smap_find(map, copy, hash);
    }
    map->slots[at] = (pgqrs__smap_slot){ .key = copy, .hash = hash, .value = value };
    map->count++;
    return true;
}

bool pgqrs__smap_get(const pgqrs__smap *map, const char *key, int64_t *value)
{
    size_t at;

    if (map->cap == 0)
        return false;
    at = smap_find(map, key, hash_string(key, map->seed));
    if (map->slots[at].key == NULL)
        return false;
    if (value != NULL)
        *value = map->slots[at].value;
    return true;
}

bool pgqrs__smap_remove(pgqrs__smap *map, const char *key)
{
    size_t mask, hole;

    if (map->cap == 0)
        return false;
    hole = smap_find(map, key, hash_string(key, map->seed));
    if (map->slots[hole].key == NULL)
        return false;
    pgqrs__free(map->slots[hole].key);
    mask = map->cap - 1;
    for (size_t at = (hole + 1) & mask; map->slots[at].key != NULL; at = (at + 1) & mask) {
        if (may_fill(hole, at, (size_t)map->slots[at].hash & mask, mask)) {
            map->slots[hole] = map->slots[at];
            hole             = at;
        }
    }
    map->slots[hole].key = NULL;
    map->count--;
    return true;
}

bool pgqrs__smap_iterate(const pgqrs__smap *map, size_t *cursor, const char **key, int64_t *value)
{
    while (*cursor < map->cap) {
        const pgqrs__smap_slot *slot = &map->slots[(*cursor)++];

        if (slot->key == NULL)
            continue;
        if (key != NULL)
            *key = slot->key;
        if (value != NULL)
            *value = slot->value;
        return true;
    }
    return false;
}
