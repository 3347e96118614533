/* The util layer: what its headers say, and what happens when memory runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pgqrs/pgqrs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/alloc.h"
#include "util/arena.h"
#include "util/buf.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/json.h"
#include "util/map.h"
#include "util/random.h"
#include "util/thread.h"
#include "util/utf8.h"

/* --- An allocator that counts, and fails when told to
 * --------------------------------------------- */

typedef struct heap {
    long live;    /* allocations not yet released */
    long calls;   /* allocations and reallocations asked for */
    long fail_at; /* this call and all later ones fail; 0 = none */
} heap;

static heap the_heap;

static bool heap_fails(heap *h)
{
    h->calls++;
    return h->fail_at != 0 && h->calls >= h->fail_at;
}

static void *heap_allocate(size_t size, void *user_data)
{
    heap *h      = user_data;
    void *memory = heap_fails(h) ? NULL : malloc(size);

    if (memory != NULL)
        h->live++;
    return memory;
}

static void *heap_reallocate(void *memory, size_t size, void *user_data)
{
    return heap_fails(user_data) ? NULL : realloc(memory, size);
}

static void heap_release(void *memory, void *user_data)
{
    heap *h = user_data;

    h->live--;
    free(memory);
}

static int use_heap(void **state)
{
    const pgqrs_allocator hooks = { heap_allocate, heap_reallocate, heap_release, &the_heap };

    the_heap = (heap){ 0 };
    pgqrs_set_allocator(&hooks);
    *state = &the_heap;
    return 0;
}

static int check_heap(void **state)
{
    heap *h = *state;

    pgqrs_set_allocator(NULL);
    return h->live == 0 ? 0 : -1;
}

/* --- alloc
 * ------------------------------------------------------------------------------------------ */

static void alloc_goes_through_the_hooks(void **state)
{
    heap *h    = *state;
    char *text = pgqrs__strdup("queue");
    char *part = pgqrs__strndup("queue", 3);
    char *more = pgqrs__strndup("q", 100);
    int  *zero = pgqrs__calloc(100, sizeof *zero);
    void *none = pgqrs__alloc(0);

    assert_string_equal("queue", text);
    assert_string_equal("que", part);
    assert_string_equal("q", more);
    for (int i = 0; i < 100; i++)
        assert_int_equal(0, zero[i]);
    assert_non_null(none);
    assert_int_equal(5, h->live);
    text = pgqrs__realloc(text, 1000);
    assert_string_equal("queue", text);
    none = pgqrs__realloc(none, 0);
    assert_non_null(none);
    assert_int_equal(5, h->live);
    pgqrs__free(text);
    pgqrs__free(part);
    pgqrs__free(more);
    pgqrs__free(zero);
    pgqrs__free(none);
    pgqrs__free(NULL);
    assert_int_equal(0, h->live);
}

static void alloc_refuses_what_does_not_fit(void **state)
{
    volatile size_t huge = SIZE_MAX / 2 + 1;
    heap           *h    = *state;

    assert_null(pgqrs__calloc(huge, 2));
    assert_null(pgqrs__calloc(2, huge));
    assert_int_equal(0, h->calls);
    h->fail_at = 1;
    assert_null(pgqrs__alloc(1));
    assert_null(pgqrs__calloc(1, 1));
    assert_null(pgqrs__strdup("x"));
    assert_null(pgqrs__strndup("x", 1));
    assert_null(pgqrs__realloc(NULL, 1));
}

static void alloc_takes_all_three_hooks_or_none(void **state)
{
    heap                 *h    = *state;
    const pgqrs_allocator half = { heap_allocate, NULL, heap_release, h };
    void                 *memory;

    pgqrs_set_allocator(&half);
    memory = pgqrs__alloc(10);
    pgqrs__free(memory);
    assert_int_equal(0, h->calls);
}

/* --- arena
 * ------------------------------------------------------------------------------------------ */

static bool aligned(const void *piece)
{
    return (uintptr_t)piece % PGQRS__ARENA_ALIGN == 0;
}

static void arena_pieces_are_aligned_and_apart(void **state)
{
    enum { PIECES = 3000 };
    static unsigned char *piece[PIECES];
    static size_t         size[PIECES];
    pgqrs__arena          arena;

    (void)state;
    pgqrs__arena_init(&arena);
    for (size_t i = 0; i < PIECES; i++) {
        size[i] =
            i % 97 == 0 ? i * 13 : i % 61; /* 0, small, a chunk's size, and larger than any chunk */
        piece[i] = pgqrs__arena_alloc(&arena, size[i]);
        assert_non_null(piece[i]);
        assert_true(aligned(piece[i]));
        memset(piece[i], (int)(i & 0xff), size[i]);
    }
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t at = 0; at < size[i]; at++)
            assert_int_equal(i & 0xff, piece[i][at]);
    }
    pgqrs__arena_free(&arena);
}

static void arena_chunks_grow_to_64_kib(void **state)
{
    heap        *h = *state;
    pgqrs__arena arena;

    pgqrs__arena_init(&arena);
    assert_int_equal(0, h->calls);
    assert_non_null(pgqrs__arena_alloc(&arena, 16));
    assert_non_null(pgqrs__arena_alloc(&arena, 900));
    assert_int_equal(1, h->calls);
    for (size_t given = 0; given < 1024 * 1024; given += 1024)
        assert_non_null(pgqrs__arena_alloc(&arena, 1024));
    assert_in_range(h->calls, 16, 26);
    pgqrs__arena_free(&arena);
    assert_int_equal(0, h->live);
    assert_non_null(pgqrs__arena_alloc(&arena, 1)); /* ready for use again */
    pgqrs__arena_free(&arena);
}

static void arena_serves_every_size(void **state)
{
    (void)state;
    for (size_t size = 0; size < 70000; size += size < 2200 ? 1 : 977) {
        pgqrs__arena arena = { 0 };
        char        *first = pgqrs__arena_alloc(&arena, size);
        char        *next  = pgqrs__arena_alloc(&arena, size);

        assert_non_null(first);
        assert_non_null(next);
        assert_ptr_not_equal(first, next);
        assert_true(aligned(first) && aligned(next));
        memset(first, 1, size);
        memset(next, 2, size);
        assert_true(size == 0 || (first[0] == 1 && first[size - 1] == 1));
        pgqrs__arena_free(&arena);
    }
}

static void arena_reset_keeps_the_first_chunk(void **state)
{
    heap        *h     = *state;
    pgqrs__arena arena = { 0 };
    char        *first = pgqrs__arena_alloc(&arena, 10);

    assert_non_null(pgqrs__arena_alloc(&arena, 100000));
    for (int i = 0; i < 100; i++)
        assert_non_null(pgqrs__arena_alloc(&arena, 500));
    pgqrs__arena_reset(&arena);
    assert_int_equal(1, h->live);
    assert_ptr_equal(first, pgqrs__arena_alloc(&arena, 10));
    pgqrs__arena_free(&arena);
    pgqrs__arena_reset(&arena); /* of an empty one */
    assert_int_equal(0, h->live);
}

static void arena_copies_text(void **state)
{
    pgqrs__arena arena = { 0 };
    const char  *text;

    (void)state;
    assert_string_equal("orders", pgqrs__arena_copy(&arena, "orders and more", 6));
    assert_string_equal("", pgqrs__arena_copy(&arena, NULL, 0));
    text = pgqrs__arena_copy(&arena, "a\0b", 3);
    assert_memory_equal("a\0b", text, 4);
    assert_null(pgqrs__arena_copy(&arena, "x", SIZE_MAX));
    pgqrs__arena_free(&arena);
}

static void arena_out_of_memory_is_null_and_harmless(void **state)
{
    volatile size_t huge  = SIZE_MAX / 4;
    heap           *h     = *state;
    pgqrs__arena    arena = { 0 };

    assert_null(pgqrs__arena_alloc(&arena, SIZE_MAX));
    assert_null(pgqrs__arena_alloc(&arena, SIZE_MAX - 15));
    assert_null(pgqrs__arena_calloc(&arena, huge, 8));
    h->fail_at = 1;
    assert_null(pgqrs__arena_alloc(&arena, 1));
    assert_null(pgqrs__arena_alloc(&arena, 100000));
    assert_null(pgqrs__arena_copy(&arena, "x", 1));
    h->fail_at = 0;
    assert_non_null(pgqrs__arena_alloc(&arena, 600));
    h->fail_at = 1;
    assert_null(pgqrs__arena_alloc(&arena, 600));
    assert_non_null(pgqrs__arena_alloc(&arena, 100)); /* what is left of the chunk still serves */
    pgqrs__arena_free(&arena);
}

/* --- buf
 * -------------------------------------------------------------------------------------------- */

static void buf_appends(void **state)
{
    pgqrs__buf buf;

    (void)state;
    pgqrs__buf_init(&buf);
    pgqrs__buf_str(&buf, "select ");
    pgqrs__buf_char(&buf, '$');
    pgqrs__buf_printf(&buf, "%d, %s", 12, "now()");
    pgqrs__buf_add(&buf, NULL, 0);
    pgqrs__buf_add(&buf, " from x", 5);
    assert_string_equal("select $12, now() from", pgqrs__buf_cstr(&buf));
    assert_int_equal(22, buf.len);
    assert_false(buf.failed);
    pgqrs__buf_reset(&buf);
    assert_string_equal("", pgqrs__buf_cstr(&buf));
    pgqrs__buf_free(&buf);
    assert_null(buf.data);
}

static void buf_holds_any_amount(void **state)
{
    static char long_text[10000];
    pgqrs__buf  buf = { 0 };

    (void)state;
    memset(long_text, 'x', sizeof long_text - 1);
    for (size_t i = 0; i < 1000; i++)
        pgqrs__buf_char(&buf, (char)('a' + i % 26));
    pgqrs__buf_printf(&buf, "<%s>", long_text);
    assert_int_equal(1000 + 2 + strlen(long_text), buf.len);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal('a' + i % 26, buf.data[i]);
    assert_int_equal('>', buf.data[buf.len - 1]);
    pgqrs__buf_free(&buf);
}

static void buf_printf_at_every_room(void **state)
{
    (void)state;
    for (int before = 0; before < 140; before++) {
        pgqrs__buf buf = { 0 };

        for (int i = 0; i < before; i++)
            pgqrs__buf_char(&buf, '.');
        pgqrs__buf_printf(&buf, "%s", "0123456789");
        assert_int_equal(before + 10, buf.len);
        assert_memory_equal("0123456789", buf.data + before, 10);
        assert_non_null(pgqrs__buf_cstr(&buf));
        pgqrs__buf_free(&buf);
    }
}

static void buf_writes_network_byte_order(void **state)
{
    static const unsigned char wire[] = {
        0x01, 0x02, 0xff, 0xfe, 0x01, 0x02, 0x03, 0x04, 0x80, 0x00, 0x00, 0x00, 0x01, 0x02,
        0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    };
    pgqrs__buf buf = { 0 };

    (void)state;
    pgqrs__buf_i16(&buf, 0x0102);
    pgqrs__buf_i16(&buf, -2);
    pgqrs__buf_i32(&buf, 0x01020304);
    pgqrs__buf_i32(&buf, INT32_MIN);
    pgqrs__buf_i64(&buf, 0x0102030405060708);
    pgqrs__buf_i64(&buf, -1);
    assert_int_equal(sizeof wire, buf.len);
    assert_memory_equal(wire, buf.data, sizeof wire);
    pgqrs__buf_free(&buf);
}

static void buf_failure_is_sticky(void **state)
{
    heap      *h   = *state;
    pgqrs__buf buf = { 0 };

    pgqrs__buf_str(&buf, "kept");
    h->fail_at = 1;
    assert_false(pgqrs__buf_reserve(&buf, 1000));
    assert_true(buf.failed);
    h->fail_at = 0;
    pgqrs__buf_char(&buf, '!'); /* there would be room, but something before it is missing */
    pgqrs__buf_printf(&buf, "%d", 1);
    pgqrs__buf_i64(&buf, 1);
    assert_int_equal(4, buf.len);
    assert_memory_equal("kept", buf.data, 4);
    assert_null(pgqrs__buf_cstr(&buf));
    pgqrs__buf_reset(&buf);
    pgqrs__buf_char(&buf, '!');
    assert_string_equal("!", pgqrs__buf_cstr(&buf));
    assert_false(pgqrs__buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    assert_null(pgqrs__buf_take(&buf));
    assert_false(buf.failed);
    assert_int_equal(0, h->live);
    h->fail_at = 1;
    pgqrs__buf_printf(&buf, "%s", "x");
    assert_true(buf.failed);
    pgqrs__buf_free(&buf);
    assert_null(pgqrs__buf_take(&buf));
}

static void buf_take_gives_the_text_away(void **state)
{
    pgqrs__buf buf = { 0 };
    char      *text;

    (void)state;
    text = pgqrs__buf_take(&buf);
    assert_string_equal("", text);
    pgqrs__free(text);
    pgqrs__buf_str(&buf, "mine");
    text = pgqrs__buf_take(&buf);
    assert_string_equal("mine", text);
    assert_null(buf.data);
    assert_int_equal(0, buf.len);
    pgqrs__free(text);
}

/* --- error
 * ------------------------------------------------------------------------------------------ */

static void error_is_filled(void **state)
{
    pgqrs_error error;

    (void)state;
    memset(&error, 0x5a, sizeof error);
    assert_int_equal(PGQRS_ENOTFOUND, pgqrs__fail(&error, PGQRS_ENOTFOUND, PGQRS_OBJECT_QUEUE,
                                                  "queue \"%s\" does not exist", "orders"));
    assert_int_equal(PGQRS_ENOTFOUND, error.status);
    assert_int_equal(PGQRS_OBJECT_QUEUE, error.object);
    assert_int_equal(0, error.flags);
    assert_string_equal("queue \"orders\" does not exist", error.message);
    assert_string_equal("", error.detail);
    assert_string_equal("", error.hint);
    assert_string_equal("", error.sqlstate);
    pgqrs__hint(&error, "Create it with %s().", "pgqrs_queue_create");
    pgqrs__detail(&error, "%s", error.message);
    assert_string_equal("Create it with pgqrs_queue_create().", error.hint);
    assert_string_equal("queue \"orders\" does not exist", error.detail);
    assert_int_equal(PGQRS_OK, pgqrs__ok(&error));
    assert_int_equal(PGQRS_OK, error.status);
    assert_int_equal(PGQRS_OBJECT_NONE, error.object);
    assert_string_equal("", error.message);
    assert_string_equal("", error.detail);
    assert_string_equal("", error.hint);
    assert_int_equal(PGQRS_ENOMEM, pgqrs__nomem(&error));
    assert_string_equal("out of memory", error.message);
}

static void error_may_be_null(void **state)
{
    (void)state;
    assert_int_equal(PGQRS_EDB, pgqrs__fail(NULL, PGQRS_EDB, PGQRS_OBJECT_NONE, "%s", "x"));
    assert_int_equal(PGQRS_OK, pgqrs__ok(NULL));
    assert_int_equal(PGQRS_ENOMEM, pgqrs__nomem(NULL));
    pgqrs__hint(NULL, "%s", "x");
    pgqrs__detail(NULL, "%s", "x");
    pgqrs__flag(NULL, PGQRS_RETRYABLE);
}

static void error_flags_follow_the_table(void **state)
{
    pgqrs_error error;

    (void)state;
    (void)pgqrs__fail(&error, PGQRS_ECONN, PGQRS_OBJECT_NONE, "connection lost");
    assert_int_equal(PGQRS_RETRYABLE, error.flags);
    pgqrs__flag(&error, PGQRS_MAYBE_APPLIED);
    assert_int_equal(PGQRS_MAYBE_APPLIED, error.flags);
    (void)pgqrs__fail(&error, PGQRS_EDB, PGQRS_OBJECT_NONE, "deadlock");
    assert_int_equal(0, error.flags);
    pgqrs__flag(&error, PGQRS_RETRYABLE);
    assert_int_equal(PGQRS_RETRYABLE, error.flags);
}

static void error_text_is_cut_between_characters(void **state)
{
    static const char *const characters[] = { "x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };

    (void)state;
    for (size_t c = 0; c < PGQRS__ARRAY_LEN(characters); c++) {
        for (int shift = 0; shift < 4; shift++) {
            char        text[1024] = "";
            size_t      width      = strlen(characters[c]);
            size_t      len        = (size_t)shift;
            pgqrs_error error;

            memset(text, '.', len);
            for (; len + width < sizeof text; len += width)
                memcpy(text + len, characters[c], width);
            (void)pgqrs__fail(&error, PGQRS_EINVAL, PGQRS_OBJECT_NONE, "%s", text);
            pgqrs__detail(&error, "%s", text);
            pgqrs__hint(&error, "%s", text);
            assert_in_range(strlen(error.message), sizeof error.message - width,
                            sizeof error.message - 1);
            assert_in_range(strlen(error.detail), sizeof error.detail - width,
                            sizeof error.detail - 1);
            assert_true(pgqrs__utf8_valid(error.message, strlen(error.message)));
            assert_true(pgqrs__utf8_valid(error.detail, strlen(error.detail)));
            assert_true(pgqrs__utf8_valid(error.hint, strlen(error.hint)));
        }
    }
}

static void error_arguments_may_be_its_own(void **state)
{
    pgqrs_error error;

    (void)state;
    (void)pgqrs__fail(&error, PGQRS_EDB, PGQRS_OBJECT_NONE, "disk full");
    (void)pgqrs__fail(&error, error.status, PGQRS_OBJECT_STORE, "could not commit: %s",
                      error.message);
    assert_string_equal("could not commit: disk full", error.message);
}

/* --- clock, random
 * ---------------------------------------------------------------------------------- */

static void clocks_tell_microseconds(void **state)
{
    int64_t wall   = pgqrs__wall_us();
    int64_t before = pgqrs__mono_us();

    (void)state;
    assert_true(llabs(wall / 1000000 - (int64_t)time(NULL)) <= 2);
    for (int i = 0; i < 1000; i++) {
        int64_t now = pgqrs__mono_us();

        assert_true(now >= before);
        before = now;
    }
}

static void random_numbers_are_positive_and_spread(void **state)
{
    enum { DRAWS = 4096 };
    int    bit_set[64] = { 0 };
    double sum         = 0;

    (void)state;
    errno = 99;
    for (int i = 0; i < DRAWS; i++) {
        int64_t number = pgqrs__random_i63();
        double  unit   = pgqrs__random_unit();

        assert_true(number > 0);
        assert_true(unit >= 0 && unit < 1);
        sum += unit;
        for (int bit = 0; bit < 63; bit++)
            bit_set[bit] += (number >> bit & 1) != 0;
    }
    assert_int_equal(99, errno);
    /* Seven standard deviations: wrong once in 10^11 runs. */
    for (int bit = 0; bit < 63; bit++)
        assert_in_range(bit_set[bit], DRAWS / 2 - 224, DRAWS / 2 + 224);
    assert_true(sum > DRAWS * 0.46 && sum < DRAWS * 0.54);
}

static void random_numbers_differ_after_fork(void **state)
{
    int64_t theirs, ours;
    int     ends[2];
    int     child_status;
    pid_t   child;

    (void)state;
    (void)pgqrs__random_i63();
    assert_int_equal(0, pipe(ends));
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        theirs = pgqrs__random_i63();
        _exit(write(ends[1], &theirs, sizeof theirs) == (ssize_t)sizeof theirs ? 0 : 1);
    }
    ours = pgqrs__random_i63();
    assert_int_equal(sizeof theirs, read(ends[0], &theirs, sizeof theirs));
    assert_true(ours != theirs);
    assert_int_equal(child, waitpid(child, &child_status, 0));
    assert_int_equal(0, child_status);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* --- utf8
 * ------------------------------------------------------------------------------------------- */

/* Writes code, by the plain rule and whether or not it is allowed. */
static size_t encode(char *s, uint32_t code)
{
    if (code < 0x80) {
        s[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        s[0] = (char)(0xc0 | code >> 6);
        s[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        s[0] = (char)(0xe0 | code >> 12);
        s[1] = (char)(0x80 | (code >> 6 & 0x3f));
        s[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    s[0] = (char)(0xf0 | code >> 18);
    s[1] = (char)(0x80 | (code >> 12 & 0x3f));
    s[2] = (char)(0x80 | (code >> 6 & 0x3f));
    s[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static void utf8_accepts_exactly_the_scalar_values(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x1fffff; code += code < 0x3000 || code > 0x10f000 ? 1 : 7) {
        bool   scalar = code < 0xd800 || (code > 0xdfff && code <= 0x10ffff);
        char   s[4];
        size_t len = encode(s, code);

        if (pgqrs__utf8_valid(s, len) != scalar || pgqrs__utf8_char(s, len) != (scalar ? len : 0))
            fail_msg("U+%X", code);
        for (size_t cut = 1; scalar && cut < len; cut++)
            assert_false(pgqrs__utf8_valid(s, cut));
    }
}

static void utf8_refuses_malformed_bytes(void **state)
{
    static const char *const malformed[] = {
        "\x80", /* a continuation byte alone */
        "\xbf",
        "\xc0\x80", /* overlong */
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80", /* surrogates */
        "\xed\xbf\xbf",
        "\xf4\x90\x80\x80", /* above U+10FFFF */
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xc3(", /* cut short by something else */
        "\xe2\x82(",
        "\xf0\x9f\x98(",
        "\xc3\xc3\xa9",
    };

    (void)state;
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(malformed); i++) {
        /* At every place of the eight bytes that are looked at together. */
        for (size_t before = 0; before < 20; before++) {
            char   text[64];
            size_t len = strlen(malformed[i]);

            memset(text, 'a', sizeof text);
            memcpy(text + before, malformed[i], len);
            assert_false(pgqrs__utf8_valid(text, before + len));
            assert_false(pgqrs__utf8_valid(text, sizeof text));
        }
    }
    assert_true(pgqrs__utf8_valid("", 0));
    assert_true(pgqrs__utf8_valid("a\0b", 3));
    assert_true(pgqrs__utf8_valid("0123456\xc3\xa9"
                                  "012345678",
                                  18));
}

static void utf8_cut_keeps_characters_whole(void **state)
{
    const char         *text   = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"; /* 1 + 2 + 3 + 4 bytes */
    static const size_t kept[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10 };

    (void)state;
    for (size_t len = 0; len < PGQRS__ARRAY_LEN(kept); len++)
        assert_int_equal(kept[len], pgqrs__utf8_cut(text, len));
    assert_int_equal(6, pgqrs__utf8_cut("\x80\x80\x80\x80\x80\x80", 6)); /* nothing to keep whole */
}

/* --- json
 * ------------------------------------------------------------------------------------------- */

/* The check, over a copy that ends where the text ends: the sanitizers see every byte read beyond
 * it. */
static bool check_json(const char *text, size_t len, size_t max_depth, size_t *error_at,
                       const char **what)
{
    char *copy = malloc(len > 0 ? len : 1);
    bool  good;

    assert_non_null(copy);
    memcpy(copy, text, len);
    good = pgqrs__json_check(copy, len, max_depth, error_at, what);
    free(copy);
    return good;
}

static void json_accepts_the_grammar(void **state)
{
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "1234567890123456789012345678901234567890",
        "0.5",
        "-0.0",
        "1e5",
        "1E5",
        "1e+5",
        "1e-5",
        "1.25e10",
        "0e0",
        "1e999999",
        "-1E-999999",
        "\"\"",
        "\"a\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\"",
        "\"\\u00e9\\uABCD\\uabcd\"",
        "\"\\ud83d\\ude00\"",
        "\"\\uD800\\uDC00\\udbff\\udfff\"",
        "\"\x7f\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1]",
        "[1,2,3]",
        "[[],[[]],{}]",
        "{\"a\":1}",
        "{\"a\":1,\"a\":2}",
        "{\"\":{}}",
        "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}",
        " \t\r\n1 \t\r\n",
        " { \"a\" : [ 1 , 2 ] , \"b\" : { } } ",
        "[true,false,null]",
        "\"12345678\"",
        "\"1234567\\n89012345678\"",
        "[\"01234567\",\"012345678901234567\"]",
    };

    (void)state;
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(good); i++) {
        size_t      at   = 12345;
        const char *what = "untouched";

        if (!check_json(good[i], strlen(good[i]), 512, &at, &what))
            fail_msg("%s: %s at %zu", good[i], what, at);
        assert_int_equal(12345, at);
        assert_string_equal("untouched", what);
        assert_true(pgqrs__json_check(good[i], strlen(good[i]), 512, NULL, NULL));
    }
}

static void json_refuses_everything_else(void **state)
{
    static const struct {
        const char *text;
        size_t      at;
        const char *what;
    } bad[] = {
        { "", 0, "unexpected end" },
        { "  ", 2, "unexpected end" },
        { "[", 1, "unexpected end" },
        { "{", 1, "unexpected end" },
        { "[1", 2, "unexpected end" },
        { "[1,", 3, "unexpected end" },
        { "{\"a\"", 4, "unexpected end" },
        { "{\"a\":", 5, "unexpected end" },
        { "{\"a\":1", 6, "unexpected end" },
        { "{\"a\":1,", 7, "unexpected end" },
        { "]", 0, "expected a value" },
        { "}", 0, "expected a value" },
        { "[1,]", 3, "expected a value" },
        { "[,1]", 1, "expected a value" },
        { "[}", 1, "expected a value" },
        { "{\"a\":}", 5, "expected a value" },
        { "nul", 0, "expected a value" },
        { "nulL", 0, "expected a value" },
        { "True", 0, "expected a value" },
        { "NaN", 0, "expected a value" },
        { "Infinity", 0, "expected a value" },
        { "'a'", 0, "expected a value" },
        { "+1", 0, "expected a value" },
        { ".5", 0, "expected a value" },
        { "/* c */1", 0, "expected a value" },
        { "\xef\xbb\xbf"
          "1",
          0, "expected a value" },
        { "\x0b"
          "1",
          0, "expected a value" },
        { "{]", 1, "expected a string as object key" },
        { "{1:2}", 1, "expected a string as object key" },
        { "{a:2}", 1, "expected a string as object key" },
        { "{\"a\":1,}", 7, "expected a string as object key" },
        { "{,}", 1, "expected a string as object key" },
        { "{\"a\" 1}", 5, "expected a colon" },
        { "{\"a\",1}", 4, "expected a colon" },
        { "[1 2]", 3, "expected a comma or ]" },
        { "[1}", 2, "expected a comma or ]" },
        { "[1:2]", 2, "expected a comma or ]" },
        { "{\"a\":1]", 6, "expected a comma or }" },
        { "{\"a\":1 \"b\":2}", 7, "expected a comma or }" },
        { "1 2", 2, "text after the value" },
        { "1,", 1, "text after the value" },
        { "[]]", 2, "text after the value" },
        { "{}x", 2, "text after the value" },
        { "truefalse", 4, "text after the value" },
        { "1x", 1, "text after the value" },
        { "0x10", 1, "text after the value" },
        { "01", 1, "number with a leading zero" },
        { "-01", 2, "number with a leading zero" },
        { "00", 1, "number with a leading zero" },
        { "-", 1, "invalid number" },
        { "-a", 1, "invalid number" },
        { "1.", 2, "invalid number" },
        { "1.e5", 2, "invalid number" },
        { "1e", 2, "invalid number" },
        { "1e+", 3, "invalid number" },
        { "[1e]", 3, "invalid number" },
        { "\"", 1, "unterminated string" },
        { "\"abc", 4, "unterminated string" },
        { "\"0123456789", 11, "unterminated string" },
        { "\"abc\\", 4, "unterminated string" },
        { "\"abc\\\"", 6, "unterminated string" },
        { "\"a\nb\"", 2, "unescaped control character in a string" },
        { "\"a\tb\"", 2, "unescaped control character in a string" },
        { "\"\x1f\"", 1, "unescaped control character in a string" },
        { "\"\\x\"", 1, "invalid escape in a string" },
        { "\"\\'\"", 1, "invalid escape in a string" },
        { "\"\\U0041\"", 1, "invalid escape in a string" },
        { "\"\\u\"", 1, "invalid \\u escape in a string" },
        { "\"\\u12\"", 1, "invalid \\u escape in a string" },
        { "\"\\u123", 1, "invalid \\u escape in a string" },
        { "\"\\u123g\"", 1, "invalid \\u escape in a string" },
        { "\"\\u 123\"", 1, "invalid \\u escape in a string" },
        { "\"\\u12\xc3\xa9\"", 1, "invalid \\u escape in a string" },
        { "\"\\ud800\"", 1, "half of a surrogate pair in a string" },
        { "\"\\udbff", 1, "half of a surrogate pair in a string" },
        { "\"\\udc00\"", 1, "half of a surrogate pair in a string" },
        { "\"\\udc00\\ud800\"", 1, "half of a surrogate pair in a string" },
        { "\"\\ud800\\ud800\"", 1, "half of a surrogate pair in a string" },
        { "\"\\ud800\\u0041\"", 1, "half of a surrogate pair in a string" },
        { "\"\\ud800\\n12345\"", 1, "half of a surrogate pair in a string" },
        { "\"\\ud800\\udc0", 1, "half of a surrogate pair in a string" },
        { "\"\\ud83d\\ude00\\ud83d\"", 13, "half of a surrogate pair in a string" },
        { "\"\x80\"", 1, "invalid UTF-8" },
        { "\"\xc0\xaf\"", 1, "invalid UTF-8" },
        { "\"\xed\xa0\x80\"", 1, "invalid UTF-8" },
        { "\"\xf4\x90\x80\x80\"", 1, "invalid UTF-8" },
        { "\"\xc3\xa9\xc3\"", 3, "invalid UTF-8" },
        { "\"\xe2\x82", 1, "invalid UTF-8" },
        { "\"0123456789\xff\"", 11, "invalid UTF-8" },
        { "{\"\xff\":1}", 2, "invalid UTF-8" },
    };

    (void)state;
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(bad); i++) {
        size_t      at   = SIZE_MAX;
        const char *what = "";

        if (check_json(bad[i].text, strlen(bad[i].text), 512, &at, &what))
            fail_msg("accepted: %s", bad[i].text);
        if (at != bad[i].at || strcmp(what, bad[i].what) != 0)
            fail_msg("%s: %s at %zu", bad[i].text, what, at);
        assert_false(pgqrs__json_check(bad[i].text, strlen(bad[i].text), 512, NULL, NULL));
    }
}

static void json_nul_ends_nothing(void **state)
{
    size_t at = 0;

    (void)state;
    assert_false(check_json("1\0", 2, 512, &at, NULL));
    assert_int_equal(1, at);
    assert_false(check_json("\"a\0b\"", 5, 512, &at, NULL));
    assert_int_equal(2, at);
    assert_false(check_json("\0", 1, 512, &at, NULL));
    assert_int_equal(0, at);
}

static void json_every_beginning_of_a_text_is_refused(void **state)
{
    const char *text =
        "{\"key\":[1.5e-3,true,\"\\u00e9\\ud83d\\ude00\xf0\x9f\x98\x80 plain text\",{\"x\":null}]}";

    (void)state;
    for (size_t len = 0; len < strlen(text); len++) {
        size_t at = SIZE_MAX;

        assert_false(check_json(text, len, 512, &at, NULL));
        assert_true(at <= len);
    }
    assert_true(check_json(text, strlen(text), 512, NULL, NULL));
}

/* Each byte of a good text, replaced by each byte: no crash, and no position out of range. */
static void json_survives_any_byte_anywhere(void **state)
{
    const char *good = "{\"k\":[-1.5e3,\"\\ud83d\\ude00\xc3\xa9 0123456789\",{}],\"z\":false}";
    size_t      len  = strlen(good);
    char        text[128];

    (void)state;
    for (size_t i = 0; i < len; i++) {
        for (int byte = 0; byte < 256; byte++) {
            size_t at = 0;

            memcpy(text, good, len);
            text[i] = (char)byte;
            if (check_json(text, len, 512, &at, NULL))
                assert_true(pgqrs__utf8_valid(text, len));
            else
                assert_true(at <= len);
        }
    }
}

static void json_depth_is_limited_without_recursion(void **state)
{
    enum { DEEP = 100000 };
    char  *text = malloc(2 * DEEP);
    size_t at   = 0;

    (void)state;
    assert_non_null(text);
    for (size_t depth = 0; depth <= PGQRS__JSON_DEPTH_MAX; depth += depth < 130 ? 1 : 61) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        if (depth == 0) {
            assert_true(check_json("7", 1, 0, NULL, NULL));
        } else {
            const char *what = "";

            assert_true(check_json(text, 2 * depth, depth, NULL, NULL));
            assert_false(check_json(text, 2 * depth, depth - 1, &at, &what));
            assert_int_equal(depth - 1, at);
            assert_string_equal("nested too deeply", what);
        }
    }
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    assert_false(check_json(text, 2 * DEEP, SIZE_MAX, &at, NULL));
    assert_int_equal(PGQRS__JSON_DEPTH_MAX, at);
    free(text);
}

/* Arrays and objects mixed, deeper than a word of the bit stack, closed by the right and a wrong
 * bracket. */
static void json_brackets_match_at_every_depth(void **state)
{
    enum { DEPTH = 200 };
    pgqrs__buf text = { 0 };
    char       closing[DEPTH];
    size_t     opened;

    (void)state;
    for (size_t i = 0; i < DEPTH; i++) {
        bool array = (i * i / 3) % 2 == 0;

        pgqrs__buf_str(&text, array ? "[" : "{\"k\":");
        closing[DEPTH - 1 - i] = array ? ']' : '}';
    }
    pgqrs__buf_char(&text, '1');
    opened = text.len;
    pgqrs__buf_add(&text, closing, DEPTH);
    assert_true(check_json(text.data, text.len, 512, NULL, NULL));
    for (size_t i = 0; i < DEPTH; i++) {
        size_t at    = 0;
        char   right = text.data[opened + i];

        text.data[opened + i] = right == ']' ? '}' : ']';
        assert_false(check_json(text.data, text.len, 512, &at, NULL));
        assert_int_equal(opened + i, at);
        text.data[opened + i] = right;
    }
    pgqrs__buf_free(&text);
}

static void json_megabytes_are_quick(void **state)
{
    enum { SIZE = 1024 * 1024 };
    char   *text = malloc(SIZE);
    int64_t start, took_us;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', SIZE);
    text[0] = text[SIZE - 1] = '"';
    start                    = pgqrs__mono_us();
    assert_true(pgqrs__json_check(text, SIZE, 512, NULL, NULL));
    took_us = pgqrs__mono_us() - start;
    assert_true(took_us < 500000); /* about 1 ms at most; room for sanitizers and valgrind */
    free(text);
}

static void assert_quoted(const char *expected, const char *s, size_t len)
{
    pgqrs__buf buf = { 0 };

    pgqrs__json_quote(&buf, s, len);
    assert_string_equal(expected, pgqrs__buf_cstr(&buf));
    assert_true(check_json(buf.data, buf.len, 0, NULL, NULL));
    pgqrs__buf_free(&buf);
}

static void json_quotes_any_bytes(void **state)
{
    (void)state;
    assert_quoted("\"\"", "", 0);
    assert_quoted("\"\"", NULL, 0);
    assert_quoted("\"plain\"", "plain", 5);
    assert_quoted("\"a\\\"b\\\\c/\"", "a\"b\\c/", 6);
    assert_quoted("\"\\b\\f\\n\\r\\t\"", "\b\f\n\r\t", 5);
    assert_quoted("\"\\u0000\\u0001\\u001f\x7f\"", "\0\x01\x1f\x7f", 4);
    assert_quoted("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
                  "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9);
    assert_quoted("\"\xef\xbf\xbd\"", "\xff", 1);
    assert_quoted("\"a\xef\xbf\xbd"
                  "b\"",
                  "a\xc3"
                  "b",
                  3);
    assert_quoted("\"\xef\xbf\xbd\xef\xbf\xbd\"", "\xe2\x82", 2);
    assert_quoted("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"", "\xed\xa0\x80", 3);
}

static void json_quote_fails_with_its_buffer(void **state)
{
    heap      *h   = *state;
    pgqrs__buf buf = { 0 };

    h->fail_at = 1;
    pgqrs__json_quote(&buf, "a\nb", 3);
    assert_true(buf.failed);
    pgqrs__buf_free(&buf);
}

/* --- map
 * -------------------------------------------------------------------------------------------- */

static void map_puts_gets_removes(void **state)
{
    pgqrs__map map;
    int        a, b;
    int64_t    value = 5;

    (void)state;
    pgqrs__map_init(&map);
    assert_null(pgqrs__map_get(&map, 1));
    assert_false(pgqrs__map_get_i64(&map, 1, &value));
    assert_int_equal(5, value);
    assert_false(pgqrs__map_remove(&map, 1));
    assert_true(pgqrs__map_put(&map, 0, &a));
    assert_true(pgqrs__map_put(&map, UINT64_MAX, &b));
    assert_ptr_equal(&a, pgqrs__map_get(&map, 0));
    assert_ptr_equal(&b, pgqrs__map_get(&map, UINT64_MAX));
    assert_true(pgqrs__map_put(&map, 0, &b));
    assert_ptr_equal(&b, pgqrs__map_get(&map, 0));
    assert_int_equal(2, map.count);
    assert_true(pgqrs__map_remove(&map, 0));
    assert_false(pgqrs__map_remove(&map, 0));
    assert_null(pgqrs__map_get(&map, 0));
    assert_int_equal(1, map.count);
    pgqrs__map_clear(&map);
    assert_int_equal(0, map.count);
    assert_null(pgqrs__map_get(&map, UINT64_MAX));
    assert_true(pgqrs__map_put_i64(&map, 7, INT64_MIN));
    assert_true(pgqrs__map_get_i64(&map, 7, &value));
    assert_true(pgqrs__map_get_i64(&map, 7, NULL));
    assert_true(value == INT64_MIN);
    pgqrs__map_free(&map);
    assert_int_equal(0, map.count);
}

/* A long random life, beside a plain array that cannot be wrong. */
static void map_agrees_with_an_array(void **state)
{
    enum { KEYS = 500, MOVES = 200000 };
    static int64_t expected[KEYS]; /* 0: not there */
    pgqrs__map     map   = { 0 };
    uint64_t       dice  = 88172645463325252U;
    size_t         count = 0;

    (void)state;
    memset(expected, 0, sizeof expected);
    for (int64_t move = 1; move <= MOVES; move++) {
        size_t  key;
        int64_t value = 0;

        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        key = (size_t)(dice % KEYS);
        switch (dice >> 32 & 3) {
        case 0:
        case 1:
            count += expected[key] == 0;
            expected[key] = move;
            assert_true(pgqrs__map_put_i64(&map, key, move));
            break;
        case 2:
            assert_int_equal(expected[key] != 0, pgqrs__map_remove(&map, key));
            count -= expected[key] != 0;
            expected[key] = 0;
            break;
        default:
            assert_int_equal(expected[key] != 0, pgqrs__map_get_i64(&map, key, &value));
            assert_int_equal(expected[key], value);
            break;
        }
        assert_int_equal(count, map.count);
    }
    for (size_t key = 0; key < KEYS; key++) {
        int64_t value = 0;

        (void)pgqrs__map_get_i64(&map, key, &value);
        assert_int_equal(expected[key], value);
    }
    assert_true(map.cap <= 1024);
    pgqrs__map_free(&map);
}

static void map_iterates_over_every_key_once(void **state)
{
    enum { KEYS = 1000 };
    static bool seen[KEYS];
    pgqrs__map  map    = { 0 };
    size_t      cursor = 0;
    size_t      count  = 0;
    uint64_t    key;
    int64_t     value;

    (void)state;
    memset(seen, 0, sizeof seen);
    assert_false(pgqrs__map_iterate(&map, &cursor, NULL, NULL));
    for (uint64_t i = 0; i < KEYS; i++)
        assert_true(pgqrs__map_put_i64(&map, i << 40, (int64_t)i));
    while (pgqrs__map_iterate_i64(&map, &cursor, &key, &value)) {
        assert_int_equal(value, key >> 40);
        assert_false(seen[value]);
        seen[value] = true;
        count++;
    }
    assert_int_equal(KEYS, count);
    assert_false(pgqrs__map_iterate_i64(&map, &cursor, &key, &value));
    pgqrs__map_free(&map);
}

static void map_iterates_over_pointers(void **state)
{
    pgqrs__map map    = { 0 };
    size_t     cursor = 0;
    void      *value  = NULL;
    uint64_t   key    = 0;
    int        a;

    (void)state;
    assert_true(pgqrs__map_put(&map, 9, &a));
    assert_true(pgqrs__map_iterate(&map, &cursor, &key, &value));
    assert_ptr_equal(&a, value);
    assert_int_equal(9, key);
    assert_false(pgqrs__map_iterate(&map, &cursor, &key, &value));
    pgqrs__map_free(&map);
}

static void map_is_unharmed_when_memory_runs_out(void **state)
{
    heap      *h   = *state;
    pgqrs__map map = { 0 };
    uint64_t   key = 0;

    h->fail_at = 1;
    assert_false(pgqrs__map_put_i64(&map, 1, 1));
    assert_int_equal(0, map.count);
    h->fail_at = 0;
    assert_true(pgqrs__map_put_i64(&map, key, 0));
    h->fail_at = 1;
    do
        key++;
    while (pgqrs__map_put_i64(&map, key, (int64_t)key));
    assert_int_equal(key, map.count);
    for (uint64_t i = 0; i < key; i++) {
        int64_t value = -1;

        assert_true(pgqrs__map_get_i64(&map, i, &value));
        assert_int_equal(i, value);
    }
    assert_true(pgqrs__map_put_i64(&map, 0, 100)); /* replacing needs none */
    assert_true(pgqrs__map_remove(&map, 0));
    assert_true(pgqrs__map_put_i64(&map, key, 1)); /* nor does a place that was given up */
    pgqrs__map_free(&map);
}

static void smap_owns_its_keys(void **state)
{
    pgqrs__smap map;
    char        key[16] = "orders";
    int64_t     value   = 0;

    (void)state;
    pgqrs__smap_init(&map);
    assert_false(pgqrs__smap_get(&map, "orders", &value));
    assert_false(pgqrs__smap_remove(&map, "orders"));
    assert_true(pgqrs__smap_put(&map, key, 7));
    key[0] = 'x';
    assert_true(pgqrs__smap_get(&map, "orders", &value));
    assert_int_equal(7, value);
    assert_false(pgqrs__smap_get(&map, "xrders", NULL));
    assert_true(pgqrs__smap_put(&map, "orders", 8));
    assert_true(pgqrs__smap_put(&map, "", 9));
    assert_int_equal(2, map.count);
    assert_true(pgqrs__smap_get(&map, "orders", &value));
    assert_int_equal(8, value);
    assert_true(pgqrs__smap_get(&map, "", &value));
    assert_int_equal(9, value);
    assert_true(pgqrs__smap_remove(&map, "orders"));
    assert_false(pgqrs__smap_get(&map, "orders", NULL));
    pgqrs__smap_free(&map);
}

static void smap_holds_many_names(void **state)
{
    enum { NAMES = 2000 };
    static bool seen[NAMES];
    pgqrs__smap map    = { 0 };
    size_t      cursor = 0;
    const char *key;
    int64_t     value;
    char        name[64];

    (void)state;
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < NAMES; i++) {
        (void)snprintf(name, sizeof name, "%s-%d", i % 2 == 0 ? "q" : "a longer name of a queue",
                       i);
        assert_true(pgqrs__smap_put(&map, name, i));
    }
    for (int i = 0; i < NAMES; i += 3) {
        (void)snprintf(name, sizeof name, "%s-%d", i % 2 == 0 ? "q" : "a longer name of a queue",
                       i);
        assert_true(pgqrs__smap_remove(&map, name));
    }
    for (int i = 0; i < NAMES; i++) {
        (void)snprintf(name, sizeof name, "%s-%d", i % 2 == 0 ? "q" : "a longer name of a queue",
                       i);
        assert_int_equal(i % 3 != 0, pgqrs__smap_get(&map, name, &value));
        if (i % 3 != 0)
            assert_int_equal(i, value);
    }
    while (pgqrs__smap_iterate(&map, &cursor, &key, &value)) {
        assert_int_equal(value, strtol(strrchr(key, '-') + 1, NULL, 10));
        assert_false(seen[value]);
        seen[value] = true;
    }
    for (int i = 0; i < NAMES; i++)
        assert_int_equal(i % 3 != 0, seen[i]);
    pgqrs__smap_free(&map);
}

static void smap_is_unharmed_when_memory_runs_out(void **state)
{
    heap *h = *state;

    for (long fail = 1; fail <= 2; fail++) {
        pgqrs__smap map = { 0 };
        char        name[16];

        h->fail_at = h->calls + fail;
        assert_false(pgqrs__smap_put(&map, "x", 1));
        assert_int_equal(0, map.count);
        h->fail_at = 0;
        for (int i = 0; i < 12; i++) { /* three quarters of the first table */
            (void)snprintf(name, sizeof name, "%d", i);
            assert_true(pgqrs__smap_put(&map, name, i));
        }
        h->fail_at = h->calls + fail;
        assert_false(pgqrs__smap_put(&map, "x", 1));
        assert_int_equal(12, map.count);
        for (int i = 0; i < 12; i++) {
            (void)snprintf(name, sizeof name, "%d", i);
            assert_true(pgqrs__smap_get(&map, name, NULL));
        }
        h->fail_at = 0;
        pgqrs__smap_free(&map);
    }
}

/* --- thread
 * ----------------------------------------------------------------------------------------- */

typedef struct meeting {
    pgqrs__mutex mutex;
    pgqrs__cond  cond;
    int          turn;
    bool         blocked; /* SIGTERM, in the other thread */
    bool         open;    /* SIGSEGV, in the other thread */
} meeting;

static void *answer(void *arg)
{
    meeting *m = arg;
    sigset_t mask;

    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    pgqrs__mutex_lock(&m->mutex);
    m->blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
    m->open    = sigismember(&mask, SIGSEGV) == 0;
    for (int i = 0; i < 100; i++) {
        while (m->turn % 2 == 0)
            pgqrs__cond_wait(&m->cond, &m->mutex);
        m->turn++;
        pgqrs__cond_signal(&m->cond);
    }
    pgqrs__mutex_unlock(&m->mutex);
    return NULL;
}

static void threads_meet_with_signals_blocked(void **state)
{
    meeting       m = { 0 };
    pgqrs__thread thread;
    sigset_t      mask;

    (void)state;
    assert_true(pgqrs__mutex_init(&m.mutex));
    assert_true(pgqrs__cond_init(&m.cond));
    assert_int_equal(
        0, pgqrs__thread_start(&thread, answer, &m, "a name that is longer than fifteen"));
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(0, sigismember(&mask, SIGTERM)); /* our own mask is as before */
    pgqrs__mutex_lock(&m.mutex);
    for (int i = 0; i < 100; i++) {
        m.turn++;
        pgqrs__cond_broadcast(&m.cond);
        while (m.turn % 2 == 1)
            assert_true(pgqrs__cond_wait_until(&m.cond, &m.mutex, INT64_MAX));
    }
    pgqrs__mutex_unlock(&m.mutex);
    pgqrs__thread_join(&thread);
    assert_int_equal(200, m.turn);
    assert_true(m.blocked);
    assert_true(m.open);
    pgqrs__cond_destroy(&m.cond);
    pgqrs__mutex_destroy(&m.mutex);
}

typedef struct told {
    pgqrs__news            back;
    _Atomic(pgqrs__news *) next; /* whom to tell */
} told;

static void *tell_all(void *arg)
{
    told *t = arg;

    for (;;) {
        pgqrs__news *news;

        assert_int_equal(1, pgqrs__news_wait(&t->back, INT64_MAX));
        news = atomic_load(&t->next);
        if (news == NULL)
            return NULL;
        pgqrs__news_tell(news, 1);
        pgqrs__news_tell(news, 6);
    }
}

/* Bits add up until they are taken back, and who has heard the last may free what it heard it in.
 */
static void news_are_heard_and_may_be_freed(void **state)
{
    told          t;
    pgqrs__thread thread;

    (void)state;
    assert_true(pgqrs__news_init(&t.back));
    atomic_init(&t.next, NULL);
    assert_int_equal(0, pgqrs__news_wait(&t.back, 0));
    assert_int_equal(0, pgqrs__news_wait(&t.back, pgqrs__mono_us() + 1000));
    pgqrs__news_tell(&t.back, 1);
    pgqrs__news_tell(&t.back, 8);
    assert_int_equal(9, pgqrs__news_wait(&t.back, 0));
    assert_int_equal(0, pgqrs__news_wait(&t.back, 0));
    assert_int_equal(0, pgqrs__thread_start(&thread, tell_all, &t, "tells"));
    for (int i = 0; i < 2000; i++) {
        pgqrs__news *news  = malloc(sizeof(*news));
        unsigned     heard = 0;

        assert_non_null(news);
        assert_true(pgqrs__news_init(news));
        atomic_store(&t.next, news);
        pgqrs__news_tell(&t.back, 1);
        while ((heard & 6) == 0)
            heard |= pgqrs__news_wait(news, i % 2 == 0 ? INT64_MAX : pgqrs__mono_us() + 50);
        assert_int_equal(7, heard);
        pgqrs__news_destroy(news);
        free(news);
    }
    atomic_store(&t.next, NULL);
    pgqrs__news_tell(&t.back, 1);
    pgqrs__thread_join(&thread);
    pgqrs__news_destroy(&t.back);
}

static void waits_end_at_their_deadline(void **state)
{
    pgqrs__mutex mutex;
    pgqrs__cond  cond;
    int64_t      deadline;

    (void)state;
    assert_true(pgqrs__mutex_init(&mutex));
    assert_true(pgqrs__cond_init(&cond));
    pgqrs__mutex_lock(&mutex);
    assert_false(pgqrs__cond_wait_until(&cond, &mutex, 0));
    assert_false(pgqrs__cond_wait_until(&cond, &mutex, INT64_MIN));
    deadline = pgqrs__mono_us() + 2000;
    while (pgqrs__cond_wait_until(&cond, &mutex, deadline))
        ; /* woken for no reason */
    assert_true(pgqrs__mono_us() >= deadline);
    pgqrs__mutex_unlock(&mutex);
    pgqrs__cond_destroy(&cond);
    pgqrs__mutex_destroy(&mutex);
}

static void sums_stay_in_range(void **state)
{
    size_t sum = 0;

    (void)state;
    assert_true(pgqrs__i64_add_sat(INT64_MAX, 1) == INT64_MAX);
    assert_true(pgqrs__i64_add_sat(INT64_MIN, -1) == INT64_MIN);
    assert_true(pgqrs__i64_add_sat(5, -7) == -2);
    assert_false(pgqrs__size_add(SIZE_MAX, 1, &sum));
    assert_true(pgqrs__size_mul(3, 4, &sum));
    assert_int_equal(12, sum);
}

#define UTIL_TEST(name) cmocka_unit_test_setup_teardown(name, use_heap, check_heap)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UTIL_TEST(alloc_goes_through_the_hooks),
        UTIL_TEST(alloc_refuses_what_does_not_fit),
        UTIL_TEST(alloc_takes_all_three_hooks_or_none),
        UTIL_TEST(arena_pieces_are_aligned_and_apart),
        UTIL_TEST(arena_chunks_grow_to_64_kib),
        UTIL_TEST(arena_serves_every_size),
        UTIL_TEST(arena_reset_keeps_the_first_chunk),
        UTIL_TEST(arena_copies_text),
        UTIL_TEST(arena_out_of_memory_is_null_and_harmless),
        UTIL_TEST(buf_appends),
        UTIL_TEST(buf_holds_any_amount),
        UTIL_TEST(buf_printf_at_every_room),
        UTIL_TEST(buf_writes_network_byte_order),
        UTIL_TEST(buf_failure_is_sticky),
        UTIL_TEST(buf_take_gives_the_text_away),
        UTIL_TEST(error_is_filled),
        UTIL_TEST(error_may_be_null),
        UTIL_TEST(error_flags_follow_the_table),
        UTIL_TEST(error_text_is_cut_between_characters),
        UTIL_TEST(error_arguments_may_be_its_own),
        UTIL_TEST(clocks_tell_microseconds),
        UTIL_TEST(random_numbers_are_positive_and_spread),
        UTIL_TEST(random_numbers_differ_after_fork),
        UTIL_TEST(utf8_accepts_exactly_the_scalar_values),
        UTIL_TEST(utf8_refuses_malformed_bytes),
        UTIL_TEST(utf8_cut_keeps_characters_whole),
        UTIL_TEST(json_accepts_the_grammar),
        UTIL_TEST(json_refuses_everything_else),
        UTIL_TEST(json_nul_ends_nothing),
        UTIL_TEST(json_every_beginning_of_a_text_is_refused),
        UTIL_TEST(json_survives_any_byte_anywhere),
        UTIL_TEST(json_depth_is_limited_without_recursion),
        UTIL_TEST(json_brackets_match_at_every_depth),
        UTIL_TEST(json_megabytes_are_quick),
        UTIL_TEST(json_quotes_any_bytes),
        UTIL_TEST(json_quote_fails_with_its_buffer),
        UTIL_TEST(map_puts_gets_removes),
        UTIL_TEST(map_agrees_with_an_array),
        UTIL_TEST(map_iterates_over_every_key_once),
        UTIL_TEST(map_iterates_over_pointers),
        UTIL_TEST(map_is_unharmed_when_memory_runs_out),
        UTIL_TEST(smap_owns_its_keys),
        UTIL_TEST(smap_holds_many_names),
        UTIL_TEST(smap_is_unharmed_when_memory_runs_out),
        UTIL_TEST(threads_meet_with_signals_blocked),
        UTIL_TEST(news_are_heard_and_may_be_freed),
        UTIL_TEST(waits_end_at_their_deadline),
        UTIL_TEST(sums_stay_in_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
