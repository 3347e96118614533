#include "util/json.h"

#include "util/utf8.h"

/* What may come next. */
typedef enum expect {
    EXPECT_VALUE,
    EXPECT_VALUE_OR_END, /* after [ */
    EXPECT_KEY,
    EXPECT_KEY_OR_END,  /* after { */
    EXPECT_COMMA_OR_END /* after a value; at depth 0 the end of the text */
} expect;

typedef struct scanner {
    const unsigned char *at;
    const unsigned char *end;
    const char          *what; /* set by the function that returns false; at is where */
} scanner;

static bool wrong(scanner *scan, const char *what)
{
    scan->what = what;
    return false;
}

static void skip_space(scanner *scan)
{
    while (scan->at < scan->end
           && (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
        scan->at++;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* Whether one of the eight bytes needs a closer look: a quote, a backslash, a control character, or
 * not ASCII. Its high bit is set then; bits above the lowest one set may be wrong, which costs a
 * look. */
static uint64_t special_bytes(uint64_t eight)
{
    const uint64_t ones      = 0x0101010101010101U;
    const uint64_t highs     = 0x8080808080808080U;
    uint64_t       quote     = eight ^ ones * '"';
    uint64_t       backslash = eight ^ ones * '\\';

    return (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)
            | ((eight - ones * ' ') & ~eight) | eight)
           & highs;
}

/* Moves to the next byte of a string that needs a closer look, or to the last few bytes of the
 * text. */
static void skip_plain(scanner *scan)
{
    while ((size_t)(scan->end - scan->at) >= sizeof(uint64_t)) {
        uint64_t eight, special;

        memcpy(&eight, scan->at, sizeof eight);
        special = special_bytes(eight);
        if (special == 0) {
            scan->at += sizeof eight;
            continue;
        }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        scan->at += __builtin_ctzll(special) / 8;
#endif
        return;
    }
}

/* The four hexadecimal digits of a \u escape; -1 when they are not there. Does not move. */
static int hex4(const unsigned char *s, const unsigned char *end)
{
    int unit = 0;

    if (end - s < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned char c     = s[i];
        unsigned char lower = c | 0x20;

        if (is_digit(c))
            unit = unit * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            unit = unit * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

/* At a backslash. */
static bool scan_escape(scanner *scan)
{
    const unsigned char *s    = scan->at;
    size_t               left = (size_t)(scan->end - s);
    int                  unit;

    if (left < 2)
        return wrong(scan, "unterminated string");
    switch (s[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        scan->at += 2;
        return true;
    case 'u':
        break;
    default:
        return wrong(scan, "invalid escape in a string");
    }
    unit = hex4(s + 2, scan->end);
    if (unit < 0)
        return wrong(scan, "invalid \\u escape in a string");
    if (unit < 0xd800 || unit > 0xdfff) {
        scan->at += 6;
        return true;
    }
    if (unit <= 0xdbff && left >= 12 && s[6] == '\\' && s[7] == 'u') {
        int low = hex4(s + 8, scan->end);

        if (low >= 0xdc00 && low <= 0xdfff) {
            scan->at += 12;
            return true;
        }
    }
    return wrong(scan, "half of a surrogate pair in a string");
}

/* At the opening quote. */
static bool scan_string(scanner *scan)
{
    scan->at++;
    for (;;) {
        size_t bytes;

        skip_plain(scan);
        if (scan->at == scan->end)
            return wrong(scan, "unterminated string");
        if (*scan->at == '"') {
            scan->at++;
            return true;
        }
        if (*scan->at == '\\') {
            if (!scan_escape(scan))
                return false;
            continue;
        }
        if (*scan->at < ' ')
            return wrong(scan, "unescaped control character in a string");
        /* Text beyond ASCII comes in runs: stay here while it lasts. */
        do {
            bytes = pgqrs__utf8_char((const char *)scan->at, (size_t)(scan->end - scan->at));
            if (bytes == 0)
                return wrong(scan, "invalid UTF-8");
            scan->at += bytes;
        } while (scan->at < scan->end && *scan->at >= 0x80);
    }
}

/* One digit or more. */
static bool scan_digits(scanner *scan)
{
    if (scan->at == scan->end || !is_digit(*scan->at))
        return wrong(scan, "invalid number");
    while (scan->at < scan->end && is_digit(*scan->at))
        scan->at++;
    return true;
}

/* At a digit or a minus sign. */
static bool scan_number(scanner *scan)
{
    if (*scan->at == '-')
        scan->at++;
    if (scan->at < scan->end && *scan->at == '0') {
        scan->at++;
        if (scan->at < scan->end && is_digit(*scan->at))
            return wrong(scan, "number with a leading zero");
    } else if (!scan_digits(scan)) {
        return false;
    }
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        if (!scan_digits(scan))
            return false;
    }
    if (scan->at < scan->end && (*scan->at | 0x20) == 'e') {
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
            scan->at++;
        return scan_digits(scan);
    }
    return true;
}

static bool scan_word(scanner *scan, const char *word, size_t len)
{
    if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, word, len) != 0)
        return wrong(scan, "expected a value");
    scan->at += len;
    return true;
}

/* Any value that is not an array or an object. */
static bool scan_scalar(scanner *scan)
{
    switch (*scan->at) {
    case '"':
        return scan_string(scan);
    case 't':
        return scan_word(scan, "true", 4);
    case 'f':
        return scan_word(scan, "false", 5);
    case 'n':
        return scan_word(scan, "null", 4);
    default:
        if (*scan->at == '-' || is_digit(*scan->at))
            return scan_number(scan);
        return wrong(scan, "expected a value");
    }
}

/* An object's key and its colon. */
static bool scan_key(scanner *scan)
{
    if (*scan->at != '"')
        return wrong(scan, "expected a string as object key");
    if (!scan_string(scan))
        return false;
    skip_space(scan);
    if (scan->at == scan->end)
        return wrong(scan, "unexpected end");
    if (*scan->at != ':')
        return wrong(scan, "expected a colon");
    scan->at++;
    return true;
}

static bool scan_text(scanner *scan, size_t max_depth)
{
    uint64_t
           arrays[PGQRS__JSON_DEPTH_MAX / 64]; /* bit d: what is open at depth d + 1 is an array */
    size_t depth = 0;
    expect next  = EXPECT_VALUE;

    for (;;) {
        bool          in_array;
        unsigned char c;

        skip_space(scan);
        if (scan->at == scan->end) {
            if (next == EXPECT_COMMA_OR_END && depth == 0)
                return true;
            return wrong(scan, "unexpected end");
        }
        c = *scan->at;
        switch (next) {
        case EXPECT_COMMA_OR_END:
            if (depth == 0)
                return wrong(scan, "text after the value");
            in_array = (arrays[(depth - 1) / 64] >> (depth - 1) % 64 & 1) != 0;
            if (c == ',')
                next = in_array ? EXPECT_VALUE : EXPECT_KEY;
            else if (c == (in_array ? ']' : '}'))
                depth--;
            else
                return wrong(scan, in_array ? "expected a comma or ]" : "expected a comma or }");
            scan->at++;
            break;
        case EXPECT_KEY:
        case EXPECT_KEY_OR_END:
            if (c == '}' && next == EXPECT_KEY_OR_END) {
                scan->at++;
                depth--;
                next = EXPECT_COMMA_OR_END;
                break;
            }
            if (!scan_key(scan))
                return false;
            next = EXPECT_VALUE;
            break;
        case EXPECT_VALUE:
        case EXPECT_VALUE_OR_END:
            if (c == ']' && next == EXPECT_VALUE_OR_END) {
                scan->at++;
                depth--;
                next = EXPECT_COMMA_OR_END;
            } else if (c == '[' || c == '{') {
                uint64_t bit = (uint64_t)1 << depth % 64;

                if (depth == max_depth)
                    return wrong(scan, "nested too deeply");
                arrays[depth / 64] = depth % 64 == 0 ? 0 : arrays[depth / 64] & ~bit;
                if (c == '[')
                    arrays[depth / 64] |= bit;
                next = c == '[' ? EXPECT_VALUE_OR_END : EXPECT_KEY_OR_END;
                scan->at++;
                depth++;
            } else {
                if (!scan_scalar(scan))
                    return false;
                next = EXPECT_COMMA_OR_END;
            }
            break;
        }
    }
}

bool pgqrs__json_check(const char *text, size_t len, size_t max_depth, size_t *error_at,
                       const char **what)
{
    const unsigned char *start = (const unsigned char *)text;
    scanner              scan  = { .at = start, .end = start + len, .what = NULL };

    if (scan_text(&scan, PGQRS__MIN(max_depth, PGQRS__JSON_DEPTH_MAX)))
        return true;
    if (error_at != NULL)
        *error_at = (size_t)(scan.at - start);
    if (what != NULL)
        *what = scan.what;
    return false;
}

static void quote_special(pgqrs__buf *buf, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    char              escape[] = { '\\', 'u', '0', '0', digits[c >> 4], digits[c & 15] };
    size_t            len      = 2;

    switch (c) {
    case '"':
    case '\\':
        escape[1] = (char)c;
        break;
    case '\b':
        escape[1] = 'b';
        break;
    case '\f':
        escape[1] = 'f';
        break;
    case '\n':
        escape[1] = 'n';
        break;
    case '\r':
        escape[1] = 'r';
        break;
    case '\t':
        escape[1] = 't';
        break;
    default:
        len = sizeof escape;
        break;
    }
    pgqrs__buf_add(buf, escape, len);
}

void pgqrs__json_quote(pgqrs__buf *buf, const char *s, size_t len)
{
    size_t at   = 0;
    size_t kept = 0; /* s[kept … at) is to be copied as it is */

    pgqrs__buf_char(buf, '"');
    while (at < len) {
        unsigned char c     = (unsigned char)s[at];
        size_t        bytes = pgqrs__utf8_char(s + at, len - at);

        if (bytes > 0 && c >= ' ' && c != '"' && c != '\\') {
            at += bytes;
            continue;
        }
        pgqrs__buf_add(buf, s + kept, at - kept);
        if (bytes == 0)
            pgqrs__buf_add(buf, "\xef\xbf\xbd", 3);
        else
            quote_special(buf, c);
        kept = ++at;
    }
    if (kept < len)
        pgqrs__buf_add(buf, s + kept, len - kept);
    pgqrs__buf_char(buf, '"');
}
