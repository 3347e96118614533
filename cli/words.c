/* What is said to people, on stderr: errors, hints, questions. */
#include "cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

void *cli_need(void *memory)
{
    if (memory == NULL) {
        (void)fputs("pgqrs: out of memory\n", stderr);
        exit(CLI_FAILED);
    }
    return memory;
}

const char *cli_shown(const char *word)
{
    return strstr(word, "://") != NULL ? "(a DSN)" : word;
}

static cli_exit exit_of(pgqrs_status status)
{
    switch (status) {
    case PGQRS_OK:
        return CLI_OK;
    case PGQRS_EINVAL:
    case PGQRS_ECONFIG:
    case PGQRS_EJSON:
        return CLI_USAGE;
    case PGQRS_ENOTFOUND:
        return CLI_NOT_FOUND;
    case PGQRS_EEXISTS:
    case PGQRS_ESTATE:
    case PGQRS_ELEASE:
    case PGQRS_ECANCELLED:
    case PGQRS_EPAUSED:
    case PGQRS_ENOTREADY:
    case PGQRS_EEXHAUSTED:
        return CLI_REFUSED;
    case PGQRS_ESCHEMA:
        return CLI_SCHEMA;
    case PGQRS_ERATE:
    case PGQRS_EBUSY:
    case PGQRS_ECONN:
    case PGQRS_ETIMEDOUT:
        return CLI_AGAIN;
    case PGQRS_EDB:
    case PGQRS_ENOMEM:
    case PGQRS_EFORK:
    case PGQRS_EINTERNAL:
        return CLI_FAILED;
    }
    return CLI_FAILED;
}

/* The library speaks of its functions; here they have other names. Longer names first. */
static const struct {
    const char *function;
    const char *command;
} spoken[] = {
    { "pgqrs_queue_ensure()", "pgqrs queue create --if-missing" },
    { "pgqrs_queue_create()", "\"pgqrs queue create NAME\"" },
    { "pgqrs_workflow_ensure()", "\"pgqrs queue create --workflow NAME\"" },
    { "pgqrs_install_roles()", "\"pgqrs install --roles\"" },
    { "pgqrs_install()", "\"pgqrs install\"" },
    { "pgqrs_trigger()", "\"pgqrs trigger\"" },
    { "pgqrs_enqueue()", "\"pgqrs enqueue\"" },
    { "in the store's options", "with --schema" },
    { "by force", "with --force" },
};

/* A hint of the library in the words of the program. */
static char *translate(const char *hint)
{
    char  *text = NULL;
    size_t len  = 0;
    FILE  *out  = cli_need(open_memstream(&text, &len));

    while (*hint != '\0') {
        size_t i = 0;

        while (i < CLI_COUNT(spoken)
               && strncmp(hint, spoken[i].function, strlen(spoken[i].function)) != 0)
            i++;
        if (i == CLI_COUNT(spoken)) {
            (void)fputc(*hint++, out);
            continue;
        }
        (void)fputs(spoken[i].command, out);
        hint += strlen(spoken[i].function);
    }
    (void)fclose(out);
    return cli_need(text);
}

bool cli_may_go_on(cli_exit code)
{
    return code == CLI_OK || code == CLI_NOT_FOUND || code == CLI_REFUSED;
}

/* One thing that went wrong, in words or as a document. Empty texts are left out. */
typedef struct trouble {
    const char *status; /* of the library; NULL: it is ours */
    cli_exit    code;
    bool        maybe; /* it may have happened all the same */
    const char *message;
    const char *detail;
    const char *hint;
} trouble;

/* What of standard input is in, and from where on it is to be given again. */
static void add_fed(cli_document *d, const cli_fed *fed, bool maybe)
{
    json_t *input = cli_need(json_object());

    (void)json_object_set_new(input, "enqueued", cli_need(json_integer(fed->enqueued)));
    (void)json_object_set_new(input, "resume_line", cli_need(json_integer(fed->last_line + 1)));
    (void)json_object_set_new(input, "unknown_to_line",
                              maybe ? cli_need(json_integer(fed->sent_line)) : json_null());
    cli_document_member(d, "input", input);
}

static void tell_fed(const cli_fed *fed, bool maybe)
{
    const char *s = fed->enqueued == 1 ? " was" : "s were";

    if (maybe)
        (void)fprintf(stderr,
                      "%" PRId64 " message%s enqueued before; of lines %" PRId64 " to %" PRId64
                      " it is not known: look, then give the input again from line %" PRId64
                      " or %" PRId64 " on\n",
                      fed->enqueued, s, fed->last_line + 1, fed->sent_line, fed->last_line + 1,
                      fed->sent_line + 1);
    else
        (void)fprintf(stderr,
                      "%" PRId64 " message%s enqueued before; nothing from line %" PRId64
                      " on: give the input again from there (tail -n +%" PRId64 ")\n",
                      fed->enqueued, s, fed->last_line + 1, fed->last_line + 1);
}

static void tell_json(const cli *c, const trouble *t)
{
    cli_document *inner = cli_document_new();
    char         *text;

    cli_document_text(inner, "status", t->status);
    cli_document_int(inner, "exit", (int64_t)t->code);
    cli_document_bool(inner, "maybe_applied", t->maybe);
    cli_document_text(inner, "message", t->message);
    cli_document_text(inner, "detail", t->detail[0] == '\0' ? NULL : t->detail);
    cli_document_text(inner, "hint", t->hint[0] == '\0' ? NULL : t->hint);
    if (c->fed != NULL)
        add_fed(inner, c->fed, t->maybe);
    text = cli_document_finish(inner);
    (void)fprintf(stderr, "{\"error\":%s}\n", text);
    free(text);
}

static void tell_line(const char *label, const char *text)
{
    char *clean;

    if (text[0] == '\0')
        return;
    clean = cli_text_clean(text);
    (void)fprintf(stderr, "%s%s\n", label, clean);
    free(clean);
}

static cli_exit tell(const cli *c, const trouble *t)
{
    (void)fflush(stdout);
    if (c->json) {
        tell_json(c, t);
        return t->code;
    }
    tell_line("pgqrs: ", t->message);
    tell_line("  ", t->detail);
    if (t->maybe)
        tell_line("  ", "the answer was lost: it may have happened all the same");
    tell_line("hint: ", t->hint);
    if (c->fed != NULL)
        tell_fed(c->fed, t->maybe);
    return t->code;
}

cli_exit cli_fail(const cli *c, const pgqrs_error *error)
{
    char         *hint = translate(error->hint);
    const trouble t    = {
           .status  = pgqrs_status_name(error->status),
           .code    = exit_of(error->status),
           .maybe   = (error->flags & PGQRS_MAYBE_APPLIED) != 0,
           .message = error->message,
           .detail  = error->detail,
           .hint    = hint,
    };
    cli_exit code = tell(c, &t);

    free(hint);
    return code;
}

CLI_PRINTF(4, 0)
static cli_exit tell_ours(const cli *c, cli_exit code, const char *hint, const char *format,
                          va_list args)
{
    char    text[512];
    trouble t = { .code = code, .message = text, .detail = "", .hint = hint };

    (void)vsnprintf(text, sizeof(text), format, args);
    return tell(c, &t);
}

cli_exit cli_usage(const cli *c, const char *hint, const char *format, ...)
{
    char    help[128];
    va_list args;

    (void)snprintf(help, sizeof(help), "See \"pgqrs help%s%s\".", c->command == NULL ? "" : " ",
                   c->command == NULL ? "" : cli_command_name(c->command));
    va_start(args, format);
    (void)tell_ours(c, CLI_USAGE, hint == NULL ? help : hint, format, args);
    va_end(args);
    return CLI_USAGE;
}

cli_exit cli_refuse(const cli *c, cli_exit code, const char *hint, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)tell_ours(c, code, hint, format, args);
    va_end(args);
    return code;
}

void cli_say(const cli *c, const char *format, ...)
{
    char    text[512];
    char   *clean;
    va_list args;

    if (c->json)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clean = cli_text_clean(text);
    (void)fflush(stdout); /* the data comes first, where both go to one place */
    (void)fprintf(stderr, "%s\n", clean);
    free(clean);
}

bool cli_may_ask(const cli *c)
{
    if (c->values[FLAG_YES] != NULL || (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)))
        return true;
    (void)cli_refuse(c, CLI_REFUSED, "Add --yes.", "\"%s\" is not done without being confirmed",
                     cli_command_name(c->command));
    return false;
}

bool cli_confirm(const cli *c, const char *question, ...)
{
    char    text[512];
    char    answer[16] = "";
    char   *clean;
    va_list args;

    if (c->values[FLAG_YES] != NULL)
        return true;
    va_start(args, question);
    (void)vsnprintf(text, sizeof(text), question, args);
    va_end(args);
    clean = cli_text_clean(text);
    (void)fprintf(stderr, "%s [y/N] ", clean);
    free(clean);
    (void)fflush(stderr);
    if (fgets(answer, sizeof(answer), stdin) == NULL)
        (void)fputc('\n', stderr);
    answer[strcspn(answer, "\r\n")] = '\0';
    if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0)
        return true;
    (void)cli_refuse(c, CLI_REFUSED, "", "not confirmed: nothing was done");
    return false;
}
