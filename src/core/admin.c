/* What the calls of administration and of looking share: asking for rows, for a number, in
 * portions. */
#include "core/admin.h"

#include <stdlib.h>

void pgqrs__restart_int(pgqrs__call *call)
{
    *(int64_t *)call->user = 0;
}

void pgqrs__restart_rows(pgqrs__call *call)
{
    pgqrs__rows_clear(call->user);
}

pgqrs_status pgqrs__read_rows(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                              pgqrs__row_fn on_row, size_t item_size, pgqrs__rows **out_rows,
                              pgqrs_error *error)
{
    pgqrs__rows *rows = pgqrs__rows_new(item_size);
    pgqrs_status rc;

    *out_rows = NULL;
    if (rows == NULL)
        return pgqrs__nomem(error);
    pgqrs__call call = {
        .stmt    = (int)stmt,
        .scalars = scalars,
        .on_row  = on_row,
        .user    = rows,
        .restart = pgqrs__restart_rows,
    };
    rc = pgqrs__run(store, PGQRS__MODE_READ, &call, 1, error);
    if (rc != PGQRS_OK) {
        pgqrs__rows_free(rows);
        return rc;
    }
    *out_rows = rows;
    return PGQRS_OK;
}

/* A call that answers with one number. */
static pgqrs__call call_int(pgqrs__stmt stmt, const pgqrs__val *scalars, int64_t *out)
{
    *out = 0;
    return (pgqrs__call){
        .stmt    = (int)stmt,
        .scalars = scalars,
        .on_row  = pgqrs__row_int,
        .user    = out,
        .restart = pgqrs__restart_int,
    };
}

pgqrs_status pgqrs__write_int(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                              int64_t *out, pgqrs_error *error)
{
    pgqrs__call call = call_int(stmt, scalars, out);

    return pgqrs__run(store, PGQRS__MODE_WRITE, &call, 1, error);
}

pgqrs_status pgqrs__write_int_again(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                                    int64_t *out, pgqrs_error *error)
{
    pgqrs__call call = call_int(stmt, scalars, out);

    return pgqrs__run_again(store, &call, error);
}

pgqrs_status pgqrs__write_all(pgqrs_store *store, pgqrs__stmt stmt, const pgqrs__val *scalars,
                              int64_t *total, pgqrs_error *error)
{
    pgqrs_status rc;
    int64_t      done;

    do {
        rc = pgqrs__write_int_again(store, stmt, scalars, &done, error);
        if (rc != PGQRS_OK)
            return rc;
        *total += done;
    } while (done >= PGQRS__SWEEP_ROWS);
    return PGQRS_OK;
}

static int compare_values(const void *a, const void *b)
{
    int64_t left  = ((const pgqrs__val *)a)->as.i;
    int64_t right = ((const pgqrs__val *)b)->as.i;

    return (left > right) - (left < right);
}

pgqrs__val *pgqrs__ids_sorted(const int64_t *ids, size_t *count)
{
    pgqrs__val *rows   = pgqrs__calloc(*count, sizeof(*rows));
    size_t      unique = 0;

    if (rows == NULL)
        return NULL;
    for (size_t i = 0; i < *count; i++)
        rows[i] = pgqrs__int(ids[i]);
    qsort(rows, *count, sizeof(*rows), compare_values);
    for (size_t i = 0; i < *count; i++) {
        if (unique == 0 || rows[i].as.i != rows[unique - 1].as.i)
            rows[unique++] = rows[i];
    }
    *count = unique;
    return rows;
}
