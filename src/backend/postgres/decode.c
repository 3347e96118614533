#include "backend/postgres/postgres.h"

#include <string.h>

#include "util/error.h"

#define EPOCH_US INT64_C(946684800000000)

Oid pgqrs__pg_oid(uint8_t type, bool array)
{
    switch ((pgqrs__type)type) {
    case PGQRS__TYPE_I16:
        return array ? 1005 : 21;
    case PGQRS__TYPE_I32:
        return array ? 1007 : 23;
    case PGQRS__TYPE_I64:
        return array ? 1016 : 20;
    case PGQRS__TYPE_F64:
        return array ? 1022 : 701;
    case PGQRS__TYPE_BOOL:
        return array ? 1000 : 16;
    case PGQRS__TYPE_TEXT:
        return array ? 1009 : 25;
    case PGQRS__TYPE_JSON:
        return array ? 199 : 114;
    case PGQRS__TYPE_TIME:
        return array ? 1185 : 1184;
    }
    return 0;
}

pgqrs_status pgqrs__pg_check_columns(const pgqrs__shape *shape, const PGresult *answer,
                                     pgqrs_error *error)
{
    if (PQnfields(answer) != shape->ncols || shape->ncols > PGQRS__PG_MAX_COLS)
        return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_NONE, "%s gave %d columns, not %d",
                           shape->name, PQnfields(answer), shape->ncols);
    for (int i = 0; i < shape->ncols; i++)
        if (PQftype(answer, i) != pgqrs__pg_oid(shape->cols[i].type, false))
            return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_NONE,
                               "%s gave column \"%s\" with type %u, not %u", shape->name,
                               shape->cols[i].name, PQftype(answer, i),
                               pgqrs__pg_oid(shape->cols[i].type, false));
    return PGQRS_OK;
}

static uint64_t get(const char *from, int size)
{
    uint64_t value = 0;

    for (int i = 0; i < size; i++)
        value = value << 8 | (unsigned char)from[i];
    return value;
}

static uint64_t get64(const char *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof value);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static int64_t time_to(int64_t value)
{
    int64_t unix_us;

    return __builtin_add_overflow(value, EPOCH_US, &unix_us) ? INT64_MAX : unix_us;
}

/* A value that is not NULL; the column's type was checked. */
static void get_value(pgqrs__val *val, uint8_t type, const char *from, int len)
{
    uint64_t bits;

    val->kind = PGQRS__KIND_INT;
    val->len  = 0;
    switch ((pgqrs__type)type) {
    case PGQRS__TYPE_I16:
        val->as.i = (int16_t)get(from, 2);
        break;
    case PGQRS__TYPE_I32:
        val->as.i = (int32_t)get(from, 4);
        break;
    case PGQRS__TYPE_I64:
        val->as.i = (int64_t)get64(from);
        break;
    case PGQRS__TYPE_TIME:
        val->as.i = time_to((int64_t)get64(from));
        break;
    case PGQRS__TYPE_F64:
        bits      = get64(from);
        val->kind = PGQRS__KIND_REAL;
        memcpy(&val->as.f, &bits, sizeof bits);
        break;
    case PGQRS__TYPE_BOOL:
        val->as.i = from[0];
        break;
    case PGQRS__TYPE_TEXT:
    case PGQRS__TYPE_JSON:
        val->kind    = PGQRS__KIND_TEXT;
        val->len     = (uint32_t)len;
        val->as.text = from;
        break;
    }
}

pgqrs_status pgqrs__pg_decode(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                              pgqrs_error *error)
{
    const pgqrs__shape *shape = &pgqrs__shapes[item->stmt];
    pgqrs__val          cols[PGQRS__PG_MAX_COLS];
    const int           rows = PQntuples(answer);
    pgqrs_status        rc;

    if (!conn->checked[item->stmt]) {
        rc = pgqrs__pg_check_columns(shape, answer, error);
        if (rc != PGQRS_OK)
            return rc;
        conn->checked[item->stmt] = 1;
    }
    if (item->call->on_row == NULL)
        return PGQRS_OK;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < shape->ncols; c++) {
            int len = PQgetlength(answer, r, c);

            if (len > 0 || !PQgetisnull(answer, r, c))
                get_value(&cols[c], shape->cols[c].type, PQgetvalue(answer, r, c), len);
            else if (shape->cols[c].nullable)
                cols[c] = (pgqrs__val){ .kind = PGQRS__KIND_NULL };
            else
                return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_NONE,
                                   "%s gave no value for column \"%s\"", shape->name,
                                   shape->cols[c].name);
        }
        rc = item->call->on_row(item->call, cols);
        if (rc == PGQRS_ENOMEM)
            return pgqrs__nomem(error);
        if (rc != PGQRS_OK)
            return pgqrs__fail(error, rc, PGQRS_OBJECT_NONE, "an answer of %s was refused",
                               shape->name);
    }
    return PGQRS_OK;
}
