/* JSON on stdout. What is JSON already (payloads, results, errors) is put in as it is, but for
 * white space: reading and writing it again would change numbers. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

struct cli_document {
    json_t *members;
    FILE   *raw; /* ,"name":value for each that is JSON text */
    char   *raw_text;
    size_t  raw_len;
};

cli_document *cli_document_new(void)
{
    cli_document *d = cli_need(calloc(1, sizeof(*d)));

    d->members = cli_need(json_object());
    d->raw     = cli_need(open_memstream(&d->raw_text, &d->raw_len));
    return d;
}

void cli_document_member(cli_document *d, const char *name, json_t *value)
{
    if (json_object_set_new(d->members, name, cli_need(value)) != 0)
        (void)cli_need(NULL);
}

void cli_document_text(cli_document *d, const char *name, const char *text)
{
    json_t *value = text == NULL ? json_null() : json_string(text);

    if (value == NULL) { /* not UTF-8: a word of the system, in another encoding */
        char *clean = cli_text_clean(text);

        value = json_string(clean);
        free(clean);
    }
    cli_document_member(d, name, value);
}

void cli_document_int(cli_document *d, const char *name, int64_t number)
{
    cli_document_member(d, name, json_integer(number));
}

void cli_document_real(cli_document *d, const char *name, double number)
{
    cli_document_member(d, name, json_real(number));
}

void cli_document_bool(cli_document *d, const char *name, bool yes)
{
    cli_document_member(d, name, json_boolean(yes));
}

void cli_document_time(cli_document *d, const char *name, int64_t us)
{
    char text[CLI_TIME_BYTES];

    cli_document_text(d, name, us == 0 ? NULL : cli_time_text(us, text));
}

void cli_document_id(cli_document *d, const char *name, int64_t id)
{
    cli_document_member(d, name, id == 0 ? json_null() : json_integer(id));
}

void cli_document_json(cli_document *d, const char *name, const char *json)
{
    (void)fprintf(d->raw, ",\"%s\":", name);
    if (json == NULL)
        (void)fputs("null", d->raw);
    else
        cli_json_compact(d->raw, json);
}

char *cli_document_finish(cli_document *d)
{
    char  *head = cli_need(json_dumps(d->members, JSON_COMPACT | JSON_REAL_PRECISION(9)));
    char  *text = NULL;
    size_t len  = 0;
    FILE  *out  = cli_need(open_memstream(&text, &len));
    bool   only = strcmp(head, "{}") == 0;

    (void)fclose(d->raw);
    (void)fprintf(out, "%.*s%s}", (int)strlen(head) - 1, head,
                  d->raw_text + (only && d->raw_len > 0));
    (void)fclose(out);
    free(head);
    free(d->raw_text);
    json_decref(d->members);
    free(d);
    return cli_need(text);
}

void cli_document_print(cli_document *d)
{
    char *text = cli_document_finish(d);

    (void)puts(text);
    free(text);
}

/* --- JSON text -------------------------------------------------------------------------------- */

/* A string, from its quote to the one that ends it; characters that a terminal acts on are escaped,
 * which is the same string. */
static const char *copy_string(FILE *out, const char *at)
{
    (void)fputc(*at++, out);
    while (*at != '\0' && *at != '"') {
        unsigned char first  = (unsigned char)at[0];
        unsigned char second = (unsigned char)at[1];

        if (first == 0x7f) {
            (void)fputs("\\u007f", out);
            at++;
        } else if (first == 0xc2 && second >= 0x80 && second < 0xa0) {
            (void)fprintf(out, "\\u%04x", (unsigned)second);
            at += 2;
        } else {
            if (first == '\\' && second != '\0')
                (void)fputc(*at++, out);
            (void)fputc(*at++, out);
        }
    }
    (void)fputc('"', out);
    return *at == '"' ? at + 1 : at;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void cli_json_compact(FILE *out, const char *json)
{
    while (*json != '\0') {
        if (*json == '"') {
            json = copy_string(out, json);
            continue;
        }
        if (!blank(*json))
            (void)fputc(*json, out);
        json++;
    }
}

char *cli_json_line(const char *json)
{
    char  *text = NULL;
    size_t len  = 0;
    FILE  *out  = cli_need(open_memstream(&text, &len));

    cli_json_compact(out, json);
    (void)fclose(out);
    return cli_need(text);
}

static void new_line(FILE *out, int indent, size_t depth)
{
    (void)fprintf(out, "\n%*s", indent + 2 * (int)(depth < 100 ? depth : 100), "");
}

void cli_json_pretty(FILE *out, const char *json, int indent)
{
    size_t depth = 0;

    while (*json != '\0') {
        char c = *json;

        if (c == '"') {
            json = copy_string(out, json);
            continue;
        }
        json++;
        if (blank(c))
            continue;
        if (c == '}' || c == ']')
            new_line(out, indent, --depth);
        (void)fputc(c, out);
        if (c == '{' || c == '[') {
            json += strspn(json, " \t\r\n");
            if (*json == '}' || *json == ']') /* nothing in it */
                (void)fputc(*json++, out);
            else
                new_line(out, indent, ++depth);
        } else if (c == ',') {
            new_line(out, indent, depth);
        } else if (c == ':') {
            (void)fputc(' ', out);
        }
    }
}

char *cli_json_error(const char *error)
{
    json_t     *object;
    const char *code    = NULL;
    const char *message = NULL;
    char       *text    = NULL;
    size_t      len     = 0;
    FILE       *out;

    if (error == NULL)
        return NULL;
    object = json_loads(error, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    (void)json_unpack(object, "{s?s,s?s}", "code", &code, "message", &message);
    if (code == NULL && message == NULL) {
        json_decref(object);
        return cli_json_line(error);
    }
    out = cli_need(open_memstream(&text, &len));
    (void)fprintf(out, "%s%s%s", code == NULL ? "" : code,
                  code == NULL || message == NULL ? "" : ": ", message == NULL ? "" : message);
    (void)fclose(out);
    json_decref(object);
    return cli_need(text);
}
