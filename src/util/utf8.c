#include "util/utf8.h"

#include <string.h>

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t pgqrs__utf8_char(const char *s, size_t left)
{
    const unsigned char *c = (const unsigned char *)s;

    if (left == 0)
        return 0;
    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xc2) /* a continuation byte, or an overlong form of ASCII */
        return 0;
    if (c[0] < 0xe0)
        return left >= 2 && is_continuation(c[1]) ? 2 : 0;
    if (c[0] < 0xf0) {
        if (left < 3 || !is_continuation(c[1]) || !is_continuation(c[2]))
            return 0;
        if (c[0] == 0xe0 && c[1] < 0xa0) /* overlong */
            return 0;
        if (c[0] == 0xed && c[1] > 0x9f) /* a surrogate */
            return 0;
        return 3;
    }
    if (c[0] < 0xf5) {
        if (left < 4 || !is_continuation(c[1]) || !is_continuation(c[2]) || !is_continuation(c[3]))
            return 0;
        if (c[0] == 0xf0 && c[1] < 0x90) /* overlong */
            return 0;
        if (c[0] == 0xf4 && c[1] > 0x8f) /* above U+10FFFF */
            return 0;
        return 4;
    }
    return 0;
}

bool pgqrs__utf8_valid(const char *s, size_t len)
{
    size_t at = 0;

    while (at < len) {
        uint64_t eight;
        size_t   bytes;

        if (len - at >= sizeof eight) {
            memcpy(&eight, s + at, sizeof eight);
            if ((eight & 0x8080808080808080U) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        bytes = pgqrs__utf8_char(s + at, len - at);
        if (bytes == 0)
            return false;
        at += bytes;
    }
    return true;
}

size_t pgqrs__utf8_cut(const char *s, size_t len)
{
    size_t lead = len;

    /* Back to the last byte that starts a character; it is kept if all of it is there. */
    while (lead > 0 && len - lead < 4) {
        unsigned char byte = (unsigned char)s[--lead];
        size_t        whole;

        if (is_continuation(byte))
            continue;
        whole = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
        return len - lead < whole ? lead : len;
    }
    return len; /* not UTF-8 */
}
