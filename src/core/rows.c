/* Collections that are handed out: a growing array of plain structs, and the text they point to. */
#include "core/core.h"

pgqrs__rows *pgqrs__rows_new(size_t item_size)
{
    pgqrs__rows *rows = pgqrs__calloc(1, sizeof(*rows));

    if (rows == NULL)
        return NULL;
    pgqrs__arena_init(&rows->arena);
    rows->item_size = item_size;
    return rows;
}

void *pgqrs__rows_add(pgqrs__rows *rows)
{
    void *item;

    if (rows->count == rows->cap) {
        size_t cap = rows->cap == 0 ? 4 : rows->cap * 2;
        char  *items;

        if (cap > SIZE_MAX / rows->item_size)
            return NULL;
        items = pgqrs__realloc(rows->items, cap * rows->item_size);
        if (items == NULL)
            return NULL;
        rows->items = items;
        rows->cap   = cap;
    }
    item = rows->items + rows->count * rows->item_size;
    memset(item, 0, rows->item_size);
    rows->count++;
    return item;
}

const void *pgqrs__rows_at(const pgqrs__rows *rows, size_t index)
{
    return rows == NULL || index >= rows->count ? NULL : rows->items + index * rows->item_size;
}

void pgqrs__rows_clear(pgqrs__rows *rows)
{
    rows->count = 0;
    pgqrs__arena_reset(&rows->arena);
}

void pgqrs__rows_free(pgqrs__rows *rows)
{
    if (rows == NULL)
        return;
    pgqrs__arena_free(&rows->arena);
    pgqrs__free(rows->items);
    pgqrs__free(rows);
}

bool pgqrs__rows_text(pgqrs__rows *rows, pgqrs__val v, const char **out)
{
    *out = NULL;
    if (v.kind != PGQRS__KIND_TEXT)
        return true;
    *out = pgqrs__arena_copy(&rows->arena, v.as.text, v.len);
    return *out != NULL;
}
