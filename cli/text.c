/* UTF-8 on a terminal: how wide it is, and nothing in it that a terminal would act on. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define REPLACEMENT 0xfffdu

size_t cli_text_next(const char *text, uint32_t *out_character)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    unsigned char         first   = (unsigned char)text[0];
    size_t                len   = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : 4;
    uint32_t              value = len == 1 ? first : (uint32_t)first & (0xffu >> (len + 1));

    *out_character = REPLACEMENT;
    if (len == 4 && first >> 3 != 30)
        return 1;
    for (size_t i = 1; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte >> 6 != 2)
            return 1;
        value = value << 6 | (byte & 0x3fu);
    }
    if (value < least[len] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 1;
    *out_character = value;
    return len;
}

/* Characters that a terminal acts on, or that turn the direction of what follows. */
static bool acts(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0)
           || (character >= 0x202a && character <= 0x202e)
           || (character >= 0x2066 && character <= 0x2069);
}

static size_t width_of(uint32_t character)
{
    int width;

    if (character < 0x7f)
        return 1;
    width = wcwidth((wchar_t)character);
    return width < 0 ? 1 : (size_t)width;
}

size_t cli_text_width(const char *text)
{
    size_t width = 0;

    while (*text != '\0') {
        uint32_t character;

        text += cli_text_next(text, &character);
        width += width_of(character);
    }
    return width;
}

char *cli_text_clean(const char *text)
{
    char  *clean = NULL;
    size_t size  = 0;
    FILE  *out   = cli_need(open_memstream(&clean, &size));

    while (*text != '\0') {
        uint32_t character;
        size_t   len = cli_text_next(text, &character);

        if (acts(character))
            (void)fprintf(out, "\\u%04x", (unsigned)character);
        else if (character == REPLACEMENT)
            (void)fputs("\xef\xbf\xbd", out);
        else
            (void)fwrite(text, 1, len, out);
        text += len;
    }
    (void)fclose(out);
    return cli_need(clean);
}

size_t cli_text_print(FILE *out, const char *text, size_t width)
{
    const char *mark  = cli_term.utf8 ? "\xe2\x80\xa6" : "~";
    size_t      total = cli_text_width(text);
    size_t      done  = 0;

    if (total <= width) {
        (void)fputs(text, out);
        return total;
    }
    if (width == 0)
        return 0;
    while (*text != '\0') {
        uint32_t character;
        size_t   len  = cli_text_next(text, &character);
        size_t   more = width_of(character);

        if (done + more > width - 1)
            break;
        (void)fwrite(text, 1, len, out);
        text += len;
        done += more;
    }
    (void)fputs(mark, out);
    return done + 1;
}
