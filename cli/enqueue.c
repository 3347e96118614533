/* enqueue and trigger: one message, or one for each line of standard input. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_LINES 1000
#define BATCH_MAX   10000
#define BATCH_BYTES ((size_t)8 << 20)
#define LINE_MAX    ((size_t)64 << 20)

/* --- The payload ------------------------------------------------------------------------------ */

/* A number as JSON writes it, of any size. */
static bool is_number(const char *text)
{
    text += *text == '-';
    if (*text == '0')
        text++;
    else if (*text >= '1' && *text <= '9')
        text += strspn(text, "0123456789");
    else
        return false;
    if (*text == '.') {
        size_t len = strspn(text + 1, "0123456789");

        if (len == 0)
            return false;
        text += 1 + len;
    }
    if (*text == 'e' || *text == 'E') {
        size_t len;

        text += 1 + (text[1] == '+' || text[1] == '-');
        len = strspn(text, "0123456789");
        if (len == 0)
            return false;
        text += len;
    }
    return *text == '\0';
}

/* What follows "=": JSON when it is or begins like it, else a string. */
static bool write_value(const cli *c, FILE *out, const char *name, const char *value)
{
    json_error_t error;
    json_t      *json;

    if (is_number(value) || strcmp(value, "true") == 0 || strcmp(value, "false") == 0
        || strcmp(value, "null") == 0) {
        (void)fputs(value, out);
        return true;
    }
    if (*value != '\0' && strchr("{[\"", *value) != NULL) {
        json =
            json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
        if (json == NULL) {
            (void)cli_usage(c, "A string that begins so is written in quotes: NAME='\"[...\"'.",
                            "-P %s begins like JSON but is none: %s", name, error.text);
            return false;
        }
        json_decref(json);
        (void)fputs(value, out); /* as it was written: numbers stay what they are */
        return true;
    }
    json = json_string(value);
    if (json == NULL) {
        (void)cli_usage(c, NULL, "-P %s is not valid UTF-8", name);
        return false;
    }
    (void)json_dumpf(json, out, JSON_ENCODE_ANY);
    json_decref(json);
    return true;
}

/* The members that -P names, as an object. NULL: said. Free with free(). */
static char *params_object(const cli *c)
{
    char   *text = NULL;
    size_t  len  = 0;
    FILE   *out  = cli_need(open_memstream(&text, &len));
    json_t *seen = cli_need(json_object());
    bool    good = true;

    for (size_t i = 0; good && i < c->params_count; i++) {
        const char *equals = strchr(c->params[i], '=');
        char       *name;

        if (equals == NULL || equals == c->params[i]) {
            (void)cli_usage(c, NULL, "-P \"%s\" is not NAME=VALUE", cli_shown(c->params[i]));
            good = false;
            break;
        }
        name = cli_need(strndup(c->params[i], (size_t)(equals - c->params[i])));
        if (json_object_get(seen, name) != NULL) {
            (void)cli_usage(c, NULL, "-P %s is given twice", name);
            good = false;
        } else if (json_object_set_new(seen, name, json_true()) != 0) {
            (void)cli_usage(c, NULL, "the name of a -P is not valid UTF-8");
            good = false;
        } else {
            json_t *key = cli_need(json_string(name));

            (void)fputc(i == 0 ? '{' : ',', out);
            (void)json_dumpf(key, out, JSON_ENCODE_ANY);
            (void)fputc(':', out);
            json_decref(key);
            good = write_value(c, out, name, equals + 1);
        }
        free(name);
    }
    (void)fputc('}', out);
    (void)fclose(out);
    json_decref(seen);
    if (good)
        return cli_need(text);
    free(text);
    return NULL;
}

static cli_exit read_options(const cli *c, pgqrs_enqueue_options *options)
{
    int64_t priority = -1;

    *options = (pgqrs_enqueue_options){ .struct_size = sizeof(*options) };
    if (!cli_read_int(c, FLAG_PRIORITY, 0, 9, &priority)
        || !cli_read_duration(c, FLAG_DELAY, &options->delay_us)
        || !cli_read_time(c, FLAG_AT, &options->at_us)
        || !cli_read_duration(c, FLAG_KEY_TTL, &options->key_ttl_us))
        return CLI_USAGE;
    if (c->values[FLAG_PRIORITY] != NULL)
        options->priority = priority == 0 ? PGQRS_PRIORITY_FIRST : (int)priority;
    if (c->values[FLAG_DELAY] != NULL && c->values[FLAG_AT] != NULL)
        return cli_usage(c, NULL, "--delay and --at exclude each other");
    if (c->values[FLAG_KEY] == NULL && c->values[FLAG_KEY_TTL] != NULL)
        return cli_usage(c, NULL, "--key-ttl needs --key");
    options->key     = c->values[FLAG_KEY];
    options->headers = c->values[FLAG_HEADERS];
    return CLI_OK;
}

/* --- One -------------------------------------------------------------------------------------- */

typedef pgqrs_status (*put_fn)(pgqrs_store *store, const char *queue, const char *payload,
                               const pgqrs_enqueue_options *options, int64_t *out_id,
                               pgqrs_error *error);

static cli_exit put_one(cli *c, put_fn put, const char *payload, pgqrs_enqueue_options *options)
{
    bool          run     = put == pgqrs_trigger;
    bool          existed = false;
    int64_t       id;
    cli_document *d;
    pgqrs_error   error;
    cli_exit      rc = cli_open(c);

    if (rc != CLI_OK)
        return rc;
    options->out_existed = &existed;
    if (put(c->store, c->arguments[0], payload, options, &id, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    if (!c->json) {
        (void)printf("%" PRId64 "\n", id);
        if (existed)
            cli_say(c, "the key names a %s that was there before: nothing was added",
                    run ? "run" : "message");
        return CLI_OK;
    }
    d = cli_document_new();
    cli_document_int(d, "id", id);
    cli_document_text(d, run ? "workflow" : "queue", c->arguments[0]);
    cli_document_bool(d, "existed", existed);
    cli_document_print(d);
    return CLI_OK;
}

/* --- Many ------------------------------------------------------------------------------------- */

/* Standard input on its way into the queue. */
typedef struct feed {
    cli                         *c;
    const pgqrs_enqueue_options *options;
    size_t                       batch_lines;
    char                       **lines; /* of the batch; each owned */
    int64_t                     *ids;
    int64_t                     *numbers; /* of the lines, for complaints */
    size_t                       count;
    size_t                       bytes;
    int64_t                      line_number;
    int64_t                      bytes_read;
    cli_fed                      fed;
    cli_progress                 progress;
} feed;

static void forget_lines(feed *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->lines[i]);
    f->count = 0;
    f->bytes = 0;
}

/* A failure, and where it was. What of the input is in the queue all the same is said with it. */
static cli_exit feed_fail(const feed *f, pgqrs_error *error)
{
    size_t at, of;

    if (sscanf(error->detail, "payload %zu of %zu", &at, &of) == 2 && at < f->count)
        (void)snprintf(error->detail, sizeof(error->detail), "line %" PRId64 " of standard input",
                       f->numbers[at]);
    return cli_fail(f->c, error);
}

static cli_exit send_batch(feed *f)
{
    pgqrs_error error;

    if (f->count == 0)
        return CLI_OK;
    f->fed.sent_line = f->numbers[f->count - 1];
    if (pgqrs_enqueue_many(f->c->store, f->c->arguments[0], (const char *const *)f->lines, f->count,
                           f->options, f->ids, &error)
        != PGQRS_OK) {
        cli_progress_end(&f->progress);
        return feed_fail(f, &error);
    }
    /* On a terminal the bar is enough: a list of numbers helps nobody there. */
    for (size_t i = 0; i < f->count && (f->c->json || !cli_term.out_tty); i++)
        (void)printf(f->c->json ? "{\"id\":%" PRId64 "}\n" : "%" PRId64 "\n", f->ids[i]);
    f->fed.enqueued += (int64_t)f->count;
    f->fed.last_line = f->fed.sent_line;
    forget_lines(f);
    if (!cli_flush(f->c))
        return CLI_FAILED;
    cli_progress_show(&f->progress, f->bytes_read, f->fed.enqueued);
    return CLI_OK;
}

static cli_exit bad_line(feed *f, const char *what)
{
    pgqrs_error error = { .status = PGQRS_EJSON };

    cli_progress_end(&f->progress);
    (void)snprintf(error.message, sizeof(error.message), "line %" PRId64 " of standard input %s",
                   f->line_number, what);
    return feed_fail(f, &error);
}

/* Read a line, whatever its end; *out_line is the caller's, NULL at the end of the input. */
static cli_exit read_line(feed *f, char **out_line, size_t *out_len)
{
    size_t room = 256;
    size_t len  = 0;
    char  *line = NULL;
    int    byte;

    *out_line = NULL;
    while ((byte = getc_unlocked(stdin)) != EOF && byte != '\n') {
        if (line == NULL || len + 1 == room) {
            room = line == NULL ? room : room * 2;
            line = cli_need(realloc(line, room));
        }
        line[len++] = (char)byte;
        if (byte == '\0' || len > LINE_MAX) {
            free(line);
            f->line_number++;
            return bad_line(f, byte == '\0' ? "holds a NUL byte" : "is longer than 64 MiB");
        }
    }
    if (byte == EOF && ferror(stdin)) {
        free(line);
        cli_progress_end(&f->progress);
        return cli_refuse(f->c, CLI_FAILED, "", "could not read standard input: %s",
                          strerror(errno));
    }
    if (byte == EOF && line == NULL)
        return CLI_OK;
    if (line == NULL)
        line = cli_need(malloc(1));
    line[len] = '\0';
    f->line_number++;
    f->bytes_read += (int64_t)len + 1;
    *out_line = line;
    *out_len  = len;
    return CLI_OK;
}

static cli_exit feed_all(feed *f)
{
    for (;;) {
        size_t   len;
        char    *line;
        cli_exit rc = read_line(f, &line, &len);

        if (rc != CLI_OK)
            return rc;
        if (line == NULL)
            return send_batch(f);
        if (line[strspn(line, " \t\r")] == '\0') { /* nothing on it */
            free(line);
            continue;
        }
        f->lines[f->count]     = line;
        f->numbers[f->count++] = f->line_number;
        f->bytes += len;
        if (f->count == f->batch_lines || f->bytes >= BATCH_BYTES) {
            rc = send_batch(f);
            if (rc != CLI_OK)
                return rc;
        }
    }
}

/* How much there is to read, from where it stands. */
static int64_t input_bytes(void)
{
    struct stat st;
    off_t       at;

    if (fstat(STDIN_FILENO, &st) != 0 || !S_ISREG(st.st_mode))
        return -1;
    at = lseek(STDIN_FILENO, 0, SEEK_CUR);
    return at < 0 ? -1 : (int64_t)(st.st_size - at);
}

static cli_exit put_many(cli *c, const pgqrs_enqueue_options *options)
{
    int64_t  lines = BATCH_LINES;
    feed     f     = { .c = c, .options = options };
    cli_exit rc;

    if (!cli_read_int(c, FLAG_BATCH, 1, BATCH_MAX, &lines))
        return CLI_USAGE;
    if (options->key != NULL)
        return cli_usage(c, NULL, "--key names one message: it cannot go with standard input");
    rc = cli_open(c);
    if (rc != CLI_OK)
        return rc;
    f.batch_lines = (size_t)lines;
    f.lines       = cli_need(calloc(f.batch_lines, sizeof(*f.lines)));
    f.ids         = cli_need(calloc(f.batch_lines, sizeof(*f.ids)));
    f.numbers     = cli_need(calloc(f.batch_lines, sizeof(*f.numbers)));
    c->fed        = &f.fed;
    cli_progress_begin(&f.progress, input_bytes());
    rc = feed_all(&f);
    cli_progress_end(&f.progress);
    if (rc == CLI_OK)
        cli_say(c, "enqueued %" PRId64 " message%s", f.fed.enqueued,
                f.fed.enqueued == 1 ? "" : "s");
    c->fed = NULL;
    forget_lines(&f);
    free(f.numbers);
    free(f.ids);
    free(f.lines);
    return rc;
}

/* --- The commands ----------------------------------------------------------------------------- */

static cli_exit put_params(cli *c, put_fn put, pgqrs_enqueue_options *options)
{
    char    *object;
    cli_exit rc;

    if (c->arguments_count > 1)
        return cli_usage(c, NULL, "-P makes the JSON: it cannot go with one that is written out");
    object = params_object(c);
    if (object == NULL)
        return CLI_USAGE;
    rc = put_one(c, put, object, options);
    free(object);
    return rc;
}

cli_exit cli_run_enqueue(cli *c)
{
    const char           *payload = c->arguments_count > 1 ? c->arguments[1] : "-";
    pgqrs_enqueue_options options;
    cli_exit              rc = read_options(c, &options);

    bool many = strcmp(payload, "-") == 0 && c->params_count == 0;

    if (rc != CLI_OK)
        return rc;
    if (!many && c->values[FLAG_BATCH] != NULL)
        return cli_usage(c, NULL, "--batch is for standard input");
    if (c->params_count > 0)
        return put_params(c, pgqrs_enqueue, &options);
    if (c->arguments_count < 2 && isatty(STDIN_FILENO))
        return cli_usage(c, NULL, "\"enqueue\" needs JSON, -P or something on standard input");
    if (many)
        return put_many(c, &options);
    return put_one(c, pgqrs_enqueue, payload, &options);
}

cli_exit cli_run_trigger(cli *c)
{
    pgqrs_enqueue_options options;
    cli_exit              rc = read_options(c, &options);

    if (rc != CLI_OK)
        return rc;
    if (c->params_count > 0)
        return put_params(c, pgqrs_trigger, &options);
    return put_one(c, pgqrs_trigger, c->arguments_count > 1 ? c->arguments[1] : "{}", &options);
}
