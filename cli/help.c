/* help and version. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define HELP_WIDTH 27 /* of what stands before the explanations */

/* An explanation behind what it explains, wrapped. */
static void entry(FILE *out, const char *what, const char *help)
{
    int at = fprintf(out, "  %s", what);

    if (at >= HELP_WIDTH) {
        (void)fputc('\n', out);
        at = 0;
    }
    (void)fprintf(out, "%*s", HELP_WIDTH - at, "");
    at = HELP_WIDTH;
    while (*help != '\0') {
        int len = (int)strcspn(help, " ");

        if (at > HELP_WIDTH && at + len >= 80) {
            at = HELP_WIDTH;
            (void)fprintf(out, "\n%*s", HELP_WIDTH, "");
        }
        at += fprintf(out, "%s%.*s", at > HELP_WIDTH ? " " : "", len, help);
        help += len + (help[len] != '\0');
    }
    (void)fputc('\n', out);
}

static void flag_entry(FILE *out, const cli_flag_info *flag)
{
    char what[64];
    char letter[8] = "    ";

    if (flag->letter != 0)
        (void)snprintf(letter, sizeof(letter), "-%c, ", flag->letter);
    (void)snprintf(what, sizeof(what), "%s--%s%s%s", letter, flag->name,
                   flag->value == NULL ? "" : " ", flag->value == NULL ? "" : flag->value);
    entry(out, what, flag->help);
}

static void flags_of(FILE *out, uint64_t flags)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((flags & CLI_BIT(i)) != 0)
            flag_entry(out, &cli_flags[i]);
    }
}

void cli_help_overview(FILE *out)
{
    (void)fputs("Durable queues and workflows in the database you already have.\n\n"
                "usage: pgqrs COMMAND [ARGUMENT ...] [--FLAG ...]\n\n",
                out);
    for (size_t i = 0; i < cli_commands_count; i++) {
        char what[96];

        (void)snprintf(what, sizeof(what), "%s %s", cli_command_name(&cli_commands[i]),
                       cli_commands[i].arguments);
        what[strcspn(what, "[")] = '\0'; /* what may be left out is in the command's own help */
        entry(out, what, cli_commands[i].summary);
    }
    (void)fputs("\nflags of every command:\n", out);
    flags_of(out, cli_common_flags);
    flags_of(out, CLI_BIT(FLAG_VERSION));
    (void)fputs("\nA DSN is postgresql://user@host:port/database, sqlite:///absolute/path or "
                "sqlite://path,\n"
                "turso:///absolute/path or turso://path.\n"
                "\"pgqrs help COMMAND\" says more; so do pgqrs(1) and docs/cli.md.\n",
                out);
}

static void help_of(FILE *out, const cli_command *command)
{
    (void)fprintf(out, "usage: pgqrs %s%s%s%s\n\n", cli_command_name(command),
                  command->arguments[0] == '\0' ? "" : " ", command->arguments,
                  command->flags == 0 ? "" : " [--FLAG ...]");
    (void)fprintf(out, "%s\n", command->summary);
    if (command->flags != 0) {
        (void)fputs("\nflags:\n", out);
        flags_of(out, command->flags);
    }
    (void)fputs("\nflags of every command:\n", out);
    flags_of(out, cli_common_flags);
}

static json_t *flag_document(const cli_flag_info *flag)
{
    json_t *object    = cli_need(json_object());
    char    letter[2] = { flag->letter, '\0' };

    (void)json_object_set_new(object, "name", cli_need(json_string(flag->name)));
    (void)json_object_set_new(object, "letter",
                              flag->letter == 0 ? json_null() : cli_need(json_string(letter)));
    (void)json_object_set_new(
        object, "value", flag->value == NULL ? json_null() : cli_need(json_string(flag->value)));
    (void)json_object_set_new(object, "help", cli_need(json_string(flag->help)));
    return object;
}

static json_t *flags_document(uint64_t flags)
{
    json_t *array = cli_need(json_array());

    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((flags & CLI_BIT(i)) != 0)
            (void)json_array_append_new(array, flag_document(&cli_flags[i]));
    }
    return array;
}

static void command_document(const cli_command *command)
{
    cli_document *d = cli_document_new();

    cli_document_text(d, "command", cli_command_name(command));
    cli_document_text(d, "arguments", command->arguments);
    cli_document_text(d, "summary", command->summary);
    cli_document_member(d, "flags", flags_document(command->flags | cli_common_flags));
    cli_document_print(d);
}

/* Help on a whole group: "pgqrs help queue". */
static bool help_of_group(const cli *c, const char *group)
{
    bool found = false;

    for (size_t i = 0; i < cli_commands_count; i++) {
        const cli_command *command = &cli_commands[i];

        if (command->group == NULL || strcmp(command->group, group) != 0)
            continue;
        if (c->json) {
            command_document(command);
        } else {
            if (found)
                (void)fputc('\n', stdout);
            help_of(stdout, command);
        }
        found = true;
    }
    return found;
}

static const cli_command *named(const char *group, const char *name)
{
    for (size_t i = 0; i < cli_commands_count; i++) {
        const cli_command *command = &cli_commands[i];

        if (strcmp(command->name, name) == 0
            && (group == NULL ? command->group == NULL
                              : command->group != NULL && strcmp(command->group, group) == 0))
            return command;
    }
    return NULL;
}

static cli_exit help_on(const cli *c, const cli_command *command)
{
    if (c->json)
        command_document(command);
    else
        help_of(stdout, command);
    return CLI_OK;
}

cli_exit cli_run_help(cli *c)
{
    const cli_command *command = c->command;
    const char        *first   = c->arguments_count > 0 ? c->arguments[0] : NULL;
    const char        *words[64];
    const char        *guess;
    size_t             count = 0;

    if (command != NULL && c->values[FLAG_HELP] != NULL) /* pgqrs COMMAND --help */
        return help_on(c, command);
    if (first == NULL && !c->json) {
        cli_help_overview(stdout);
        return CLI_OK;
    }
    if (first == NULL) {
        for (size_t i = 0; i < cli_commands_count; i++)
            command_document(&cli_commands[i]);
        return CLI_OK;
    }
    command = c->arguments_count > 1 ? named(first, c->arguments[1]) : named(NULL, first);
    if (command != NULL)
        return help_on(c, command);
    if (c->arguments_count == 1 && help_of_group(c, first))
        return CLI_OK;
    for (size_t i = 0; i < cli_commands_count; i++)
        words[count++] = c->arguments_count > 1 || cli_commands[i].group == NULL
                             ? cli_commands[i].name
                             : cli_commands[i].group;
    guess = cli_guess(c->arguments[c->arguments_count - 1], words, count);
    return cli_usage(c, "\"pgqrs help\" lists all commands.",
                     "there is no command \"%s%s%s\"%s%s%s", cli_shown(first),
                     c->arguments_count > 1 ? " " : "",
                     c->arguments_count > 1 ? cli_shown(c->arguments[1]) : "",
                     guess == NULL ? "" : ": did you mean \"", guess == NULL ? "" : guess,
                     guess == NULL ? "" : "\"?");
}

cli_exit cli_run_version(cli *c)
{
    pgqrs_description *about = NULL;
    cli_document      *d;
    pgqrs_error        error;
    cli_exit           rc = CLI_OK;

    if (c->command != NULL && cli_has_dsn(c)) {
        rc = cli_open(c);
        if (rc == CLI_OK && pgqrs_store_describe(c->store, &about, &error) != PGQRS_OK)
            rc = cli_fail(c, &error);
    }
    if (!c->json) {
        (void)printf("pgqrs %s, library %s\n", PGQRS_VERSION, pgqrs_version());
        if (about != NULL)
            (void)printf("%s %s, schema version %d\n", about->backend, about->version,
                         about->schema_version);
        pgqrs_description_free(about);
        return rc;
    }
    d = cli_document_new();
    cli_document_text(d, "program", PGQRS_VERSION);
    cli_document_text(d, "library", pgqrs_version());
    cli_document_text(d, "backend", about == NULL ? NULL : about->backend);
    cli_document_text(d, "version", about == NULL ? NULL : about->version);
    if (about == NULL)
        cli_document_text(d, "schema_version", NULL);
    else
        cli_document_int(d, "schema_version", about->schema_version);
    cli_document_print(d);
    pgqrs_description_free(about);
    return rc;
}
