/* Reading arguments: everything refused is refused here, before anything is written. */
#include "core/core.h"
#include "util/buf.h"
#include "util/json.h"
#include "util/utf8.h"

#include <inttypes.h>

pgqrs_status pgqrs__options_read(void *into, size_t size, size_t first_size, const void *given,
                                 const char *what, pgqrs_error *error)
{
    const unsigned char *bytes = given;
    size_t               given_size;

    memset(into, 0, size);
    memcpy(into, &size, sizeof(size));
    if (given == NULL)
        return PGQRS_OK;
    memcpy(&given_size, given, sizeof(given_size));
    if (given_size < first_size) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "%s is not initialized", what);
        pgqrs__hint(error, "Write it with PGQRS_OPTIONS(), or start from PGQRS_OPTIONS_INIT().");
        return PGQRS_EINVAL;
    }
    /* A program built with a newer header may pass a longer struct, as long as it uses nothing
     * new. */
    for (size_t i = size; i < given_size; i++) {
        if (bytes[i] != 0) {
            pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                        "%s sets an option that this library does not know", what);
            pgqrs__hint(error, "The program was built for a newer library than %s.", PGQRS_VERSION);
            return PGQRS_EINVAL;
        }
    }
    memcpy(into, given, PGQRS__MIN(size, given_size));
    memcpy(into, &size, sizeof(size));
    return PGQRS_OK;
}

pgqrs_status pgqrs__check_pointer(const void *pointer, const char *what, pgqrs_error *error)
{
    if (pointer != NULL)
        return PGQRS_OK;
    return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "%s is NULL", what);
}

pgqrs_status pgqrs__check_name(const char *name, const char *what, pgqrs_object object,
                               pgqrs_error *error)
{
    size_t len;

    if (name == NULL)
        return pgqrs__fail(error, PGQRS_EINVAL, object, "%s name is NULL", what);
    len = strnlen(name, PGQRS__NAME_MAX + 1);
    if (len == 0)
        return pgqrs__fail(error, PGQRS_EINVAL, object, "%s name is empty", what);
    if (len > PGQRS__NAME_MAX)
        return pgqrs__fail(error, PGQRS_EINVAL, object, "%s name is longer than %d bytes", what,
                           PGQRS__NAME_MAX);
    if (!pgqrs__utf8_valid(name, len))
        return pgqrs__fail(error, PGQRS_EINVAL, object, "%s name is not valid UTF-8", what);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];

        /* C0, DEL, and C1, which UTF-8 writes as C2 80 … C2 9F */
        if (c < 0x20 || c == 0x7f
            || (c == 0xc2 && (unsigned char)name[i + 1] >= 0x80
                && (unsigned char)name[i + 1] < 0xa0))
            return pgqrs__fail(error, PGQRS_EINVAL, object,
                               "%s name has a control character at byte %zu", what, i);
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs__check_json(const pgqrs_store *store, const char *json, const char *what,
                               size_t *out_bytes, pgqrs_error *error)
{
    size_t      limit = (size_t)store->options.max_payload_bytes;
    size_t      len;
    size_t      at;
    const char *why;

    if (json == NULL)
        return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "%s is NULL", what);
    len = strnlen(json, limit + 1);
    if (len > limit) {
        pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "%s is larger than %zu bytes", what,
                    limit);
        pgqrs__hint(error, "Store large data elsewhere and enqueue a reference, or raise the store "
                           "option max_payload_bytes.");
        return PGQRS_EINVAL;
    }
    if (!pgqrs__json_check(json, len, (size_t)store->options.max_depth, &at, &why))
        return pgqrs__fail(error, PGQRS_EJSON, PGQRS_OBJECT_NONE,
                           "%s is not valid JSON: %s at byte %zu", what, why, at);
    if (out_bytes != NULL)
        *out_bytes = len;
    return PGQRS_OK;
}

pgqrs_status pgqrs__check_range(int64_t value, int64_t low, int64_t high, const char *what,
                                pgqrs_error *error)
{
    if (value >= low && value <= high)
        return PGQRS_OK;
    return pgqrs__fail(error, PGQRS_EINVAL, PGQRS_OBJECT_NONE,
                       "%s is %" PRId64 ", outside %" PRId64 " to %" PRId64, what, value, low,
                       high);
}

pgqrs_status pgqrs__check_duration(int64_t us, const char *what, pgqrs_error *error)
{
    return pgqrs__check_range(us, 0, PGQRS__DURATION_MAX_US, what, error);
}

pgqrs_status pgqrs__check_time(int64_t us, const char *what, pgqrs_error *error)
{
    return pgqrs__check_range(us, 0, PGQRS__TIME_MAX_US, what, error);
}

const char *pgqrs__error_json(pgqrs__arena *arena, const char *code, const char *text)
{
    pgqrs__buf  buf;
    const char *json = NULL;

    if (code == NULL)
        code = "ERROR";
    if (text == NULL)
        text = "";
    pgqrs__buf_init(&buf);
    pgqrs__buf_str(&buf, "{\"code\":");
    pgqrs__json_quote(&buf, code, strlen(code));
    pgqrs__buf_str(&buf, ",\"message\":");
    pgqrs__json_quote(&buf, text, strlen(text));
    pgqrs__buf_str(&buf, "}");
    if (!buf.failed)
        json = pgqrs__arena_copy(arena, buf.data, buf.len);
    pgqrs__buf_free(&buf);
    return json;
}
