#include "backend/postgres/postgres.h"

#include <string.h>

#include "util/error.h"

/* Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from. */
#define EPOCH_US INT64_C(946684800000000)

/* An array starts with its dimensions, whether there are NULLs, the element type, length and lower
 * bound; each element with its length. */
#define ARRAY_HEADER ((size_t)20)
#define LENGTH_BYTES ((size_t)4)

const int pgqrs__pg_binary[PGQRS__PG_MAX_ARGS] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

static void put16(char *to, uint16_t value)
{
    to[0] = (char)(value >> 8);
    to[1] = (char)value;
}

static void put32(char *to, uint32_t value)
{
    put16(to, (uint16_t)(value >> 16));
    put16(to + 2, (uint16_t)value);
}

static void put64(char *to, uint64_t value)
{
    put32(to, (uint32_t)(value >> 32));
    put32(to + 4, (uint32_t)value);
}

/* The ends of the range are PostgreSQL's infinities, and times beside them stay on their side. */
static int64_t time_from(int64_t unix_us)
{
    int64_t value;

    if (unix_us == INT64_MAX)
        return INT64_MAX;
    return __builtin_sub_overflow(unix_us, EPOCH_US, &value) ? INT64_MIN : value;
}

/* Writes a value that is not NULL and of fixed size: at most 8 bytes. 0: it does not fit its type.
 */
static int put_fixed(char *to, uint8_t type, const pgqrs__val *val)
{
    double   real;
    uint64_t bits;

    switch ((pgqrs__type)type) {
    case PGQRS__TYPE_I16:
        if (val->as.i < INT16_MIN || val->as.i > INT16_MAX)
            return 0;
        put16(to, (uint16_t)val->as.i);
        return 2;
    case PGQRS__TYPE_I32:
        if (val->as.i < INT32_MIN || val->as.i > INT32_MAX)
            return 0;
        put32(to, (uint32_t)val->as.i);
        return 4;
    case PGQRS__TYPE_I64:
        put64(to, (uint64_t)val->as.i);
        return 8;
    case PGQRS__TYPE_TIME:
        put64(to, (uint64_t)time_from(val->as.i));
        return 8;
    case PGQRS__TYPE_F64:
        real = val->kind == PGQRS__KIND_INT ? (double)val->as.i : val->as.f;
        memcpy(&bits, &real, sizeof bits);
        put64(to, bits);
        return 8;
    case PGQRS__TYPE_BOOL:
        to[0] = val->as.i != 0;
        return 1;
    case PGQRS__TYPE_TEXT:
    case PGQRS__TYPE_JSON:
        break;
    }
    return 0;
}

static bool is_text(uint8_t type)
{
    return type == PGQRS__TYPE_TEXT || type == PGQRS__TYPE_JSON;
}

/* One array argument: the values of a column of the argument rows, over all parts. */
static bool encode_array(const pgqrs__call *call, const pgqrs__shape *shape, size_t column,
                         pgqrs__buf *buf)
{
    const uint8_t     type   = shape->args[column].type;
    const size_t      stride = shape->narrays;
    const pgqrs__val *val;
    size_t            count = 0, bytes = ARRAY_HEADER;
    uint32_t          nulls = 0;
    char             *to;

    for (size_t p = 0; p < call->nparts; p++) {
        count += call->parts[p].nrows;
        if (is_text(type)) {
            val = call->parts[p].rows + column;
            for (size_t r = 0; r < call->parts[p].nrows; r++, val += stride)
                bytes += val->kind == PGQRS__KIND_NULL ? 0 : val->len;
        }
    }
    bytes += count * (LENGTH_BYTES + (is_text(type) ? 0u : 8u));
    pgqrs__buf_reset(buf);
    if (!pgqrs__buf_reserve(buf, bytes))
        return false;

    to = buf->data + ARRAY_HEADER;
    for (size_t p = 0; p < call->nparts; p++) {
        val = call->parts[p].rows + column;
        for (size_t r = 0; r < call->parts[p].nrows; r++, val += stride) {
            if (val->kind == PGQRS__KIND_NULL) {
                nulls = 1;
                put32(to, UINT32_MAX);
                to += LENGTH_BYTES;
            } else if (is_text(type)) {
                put32(to, val->len);
                to += LENGTH_BYTES;
                if (val->len > 0)
                    memcpy(to, val->as.text, val->len);
                to += val->len;
            } else {
                int size = put_fixed(to + LENGTH_BYTES, type, val);

                if (size == 0)
                    return false;
                put32(to, (uint32_t)size);
                to += LENGTH_BYTES + (size_t)size;
            }
        }
    }
    put32(buf->data, 1);
    put32(buf->data + 4, nulls);
    put32(buf->data + 8, pgqrs__pg_oid(type, false));
    put32(buf->data + 12, (uint32_t)count);
    put32(buf->data + 16, 1);
    buf->len = (size_t)(to - buf->data);
    return true;
}

void pgqrs__pg_types(const pgqrs__shape *shape, Oid *types)
{
    for (size_t i = 0; i < shape->nargs; i++)
        types[i] = pgqrs__pg_oid(shape->args[i].type, shape->args[i].array);
}

pgqrs_status pgqrs__pg_encode(pgqrs__conn *conn, const pgqrs__call *call, pgqrs__pg_args *args,
                              pgqrs_error *error)
{
    const pgqrs__shape *shape = &pgqrs__shapes[call->stmt];
    size_t              i     = 0;

    if (shape->nargs > PGQRS__PG_MAX_ARGS)
        return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_NONE, "%s has too many arguments",
                           shape->name);
    args->count = shape->nargs;
    for (; i < shape->narrays; i++) {
        pgqrs__buf *buf = &conn->args[i];

        if (!encode_array(call, shape, i, buf))
            goto bad;
        if (buf->len > INT32_MAX)
            return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                               "more than 2 GiB of arguments in one statement");
        args->values[i]  = buf->data;
        args->lengths[i] = (int)buf->len;
    }
    for (; i < shape->nargs; i++) {
        const pgqrs__val *val = &call->scalars[i - shape->narrays];

        if (val->kind == PGQRS__KIND_NULL) {
            args->values[i]  = NULL;
            args->lengths[i] = 0;
        } else if (is_text(shape->args[i].type)) {
            args->values[i]  = val->len > 0 ? val->as.text : "";
            args->lengths[i] = (int)val->len;
        } else {
            args->values[i]  = args->fixed[i];
            args->lengths[i] = put_fixed(args->fixed[i], shape->args[i].type, val);
            if (args->lengths[i] == 0)
                goto bad;
        }
    }
    return PGQRS_OK;

bad:
    if (i < shape->narrays && conn->args[i].failed)
        return pgqrs__nomem(error);
    return pgqrs__fail(error, PGQRS_EINTERNAL, PGQRS_OBJECT_NONE,
                       "argument \"%s\" of %s is out of range", shape->args[i].name, shape->name);
}
