/* Reading the command line. Flags may stand anywhere; "--" ends them. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* --- Guessing --------------------------------------------------------------------------------- */

#define WORD_MAX 32

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be added, dropped, changed or swapped with their neighbour to make b of a.
 */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t width = strlen(b);

    if (strlen(a) > WORD_MAX || width > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= width; j++)
        rows[0][j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t       *row    = rows[i % 3];
        const size_t *above  = rows[(i + 2) % 3];
        const size_t *higher = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= width; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], higher[j - 2] + 1);
        }
    }
    return rows[strlen(a) % 3][width];
}

const char *cli_guess(const char *word, const char *const *names, size_t count)
{
    size_t      len   = strlen(word);
    size_t      best  = len <= 3 ? 2 : len / 3 + 2; /* this far is too far */
    const char *guess = NULL;

    for (size_t i = 0; i < count; i++) {
        size_t far = distance(word, names[i]);

        if (len >= 3 && strncmp(word, names[i], len) == 0) /* the beginning of it */
            far = 1;
        if (far < best) {
            best  = far;
            guess = names[i];
        }
    }
    return guess;
}

/* --- Commands --------------------------------------------------------------------------------- */

const char *cli_command_name(const cli_command *command)
{
    static char name[64];

    (void)snprintf(name, sizeof(name), "%s%s%s", command->group == NULL ? "" : command->group,
                   command->group == NULL ? "" : " ", command->name);
    return name;
}

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static const cli_command *find(const char *group, const char *name)
{
    for (size_t i = 0; i < cli_commands_count; i++) {
        if (same(cli_commands[i].group, group) && strcmp(cli_commands[i].name, name) == 0)
            return &cli_commands[i];
    }
    return NULL;
}

static bool is_group(const char *word)
{
    for (size_t i = 0; i < cli_commands_count; i++) {
        if (cli_commands[i].group != NULL && strcmp(cli_commands[i].group, word) == 0)
            return true;
    }
    return false;
}

/* The words that may stand first, or behind this group. */
static size_t words_of(const char *group, const char **out)
{
    size_t count = 0;

    for (size_t i = 0; i < cli_commands_count; i++) {
        const cli_command *command = &cli_commands[i];
        const char        *word    = command->name;

        if (group == NULL && command->group != NULL)
            word = command->group;
        else if (!same(command->group, group))
            continue;
        if (count == 0 || strcmp(out[count - 1], word) != 0)
            out[count++] = word;
    }
    return count;
}

static cli_exit unknown_command(const cli *c, const char *group, const char *word)
{
    const char *words[64];
    size_t      count = words_of(group, words);
    const char *guess = cli_guess(word, words, count);
    const char *space = group == NULL ? "" : " ";

    if (group == NULL)
        group = "";
    if (guess != NULL)
        return cli_usage(c, NULL, "unknown command \"%s%s%s\": did you mean \"%s%s%s\"?", group,
                         space, cli_shown(word), group, space, guess);
    return cli_usage(c, NULL, "unknown command \"%s%s%s\"", group, space, cli_shown(word));
}

static cli_exit group_alone(const cli *c, const char *group)
{
    const char *words[64];
    size_t      count = words_of(group, words);
    char        list[256];
    size_t      len = 0;

    list[0] = '\0';
    for (size_t i = 0; i < count && len < sizeof(list); i++)
        len +=
            (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i == 0 ? "" : ", ", words[i]);
    return cli_usage(c, NULL, "\"%s\" needs one of: %s", group, list);
}

/* Take the command off the words that were found. */
static cli_exit take_command(cli *c)
{
    const char *first = c->arguments[0];
    size_t      taken = 1;

    if (is_group(first) && c->arguments_count > 1) {
        c->command = find(first, c->arguments[1]);
        if (c->command == NULL && c->values[FLAG_HELP] != NULL)
            c->command = find(NULL, first);
        if (c->command == NULL)
            return unknown_command(c, first, c->arguments[1]);
        taken = 2;
    } else {
        c->command = find(NULL, first); /* "workers" is a command, and a group */
        if (c->command == NULL && is_group(first))
            return c->values[FLAG_HELP] != NULL ? CLI_OK : group_alone(c, first);
        if (c->command == NULL)
            return unknown_command(c, NULL, first);
    }
    c->arguments += taken;
    c->arguments_count -= taken;
    return CLI_OK;
}

/* --- Flags ------------------------------------------------------------------------------------ */

static cli_exit unknown_flag(const cli *c, const char *flag, size_t len)
{
    const char *names[FLAG_COUNT];
    char        name[WORD_MAX + 1];
    const char *guess = NULL;

    for (size_t i = 0; i < FLAG_COUNT; i++)
        names[i] = cli_flags[i].name;
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, flag); /* what follows "=" may be secret */
    if (len > 1)
        guess = cli_guess(name, names, FLAG_COUNT);
    if (guess != NULL)
        return cli_usage(c, NULL, "unknown flag \"--%s\": did you mean \"--%s\"?", cli_shown(name),
                         guess);
    return cli_usage(c, NULL, "unknown flag \"%s%s\"", len > 1 ? "--" : "-", cli_shown(name));
}

static void set(cli *c, cli_flag flag, const char *value)
{
    c->values[flag] = value;
    if (flag == FLAG_PARAM)
        c->params[c->params_count++] = value;
}

/* --name, --name=value, --name value; *taken: of the arguments that follow. */
static cli_exit long_flag(cli *c, const char *text, const char *next, size_t *taken)
{
    size_t len = strcspn(text, "=");

    for (size_t i = 0; i < FLAG_COUNT; i++) {
        const cli_flag_info *info  = &cli_flags[i];
        const char          *value = text[len] == '=' ? text + len + 1 : NULL;

        if (strlen(info->name) != len || strncmp(info->name, text, len) != 0)
            continue;
        if (info->value == NULL && value != NULL)
            return cli_usage(c, NULL, "flag --%s takes no value", info->name);
        if (info->value != NULL && value == NULL) {
            if (next == NULL)
                return cli_usage(c, NULL, "flag --%s needs a value: %s", info->name, info->value);
            value  = next;
            *taken = 1;
        }
        set(c, (cli_flag)i, value == NULL ? "" : value);
        return CLI_OK;
    }
    return unknown_flag(c, text, len);
}

/* -P value, -Pvalue, -y, -yh. */
static cli_exit short_flags(cli *c, const char *text, const char *next, size_t *taken)
{
    for (; *text != '\0'; text++) {
        size_t i = 0;

        while (i < FLAG_COUNT && cli_flags[i].letter != *text)
            i++;
        if (i == FLAG_COUNT)
            return unknown_flag(c, text, 1);
        if (cli_flags[i].value == NULL) {
            set(c, (cli_flag)i, "");
            continue;
        }
        if (text[1] == '\0' && next == NULL)
            return cli_usage(c, NULL, "flag -%c needs a value: %s", *text, cli_flags[i].value);
        *taken = text[1] == '\0';
        set(c, (cli_flag)i, text[1] == '\0' ? next : text + 1);
        return CLI_OK;
    }
    return CLI_OK;
}

/* Split the command line into flags and words. */
static cli_exit split(cli *c, int argc, char **argv)
{
    bool words_only = false;

    for (int i = 1; i < argc; i++) {
        const char *text  = argv[i];
        const char *next  = i + 1 < argc ? argv[i + 1] : NULL;
        size_t      taken = 0;
        cli_exit    rc;

        /* "-" is standard input, and "-1" a number. */
        if (words_only || text[0] != '-' || text[1] == '\0' || (text[1] >= '0' && text[1] <= '9')) {
            c->arguments[c->arguments_count++] = text;
            continue;
        }
        if (strcmp(text, "--") == 0) {
            words_only = true;
            continue;
        }
        rc = text[1] == '-' ? long_flag(c, text + 2, next, &taken)
                            : short_flags(c, text + 1, next, &taken);
        if (rc != CLI_OK)
            return rc;
        i += (int)taken;
    }
    return CLI_OK;
}

/* Flags of other commands, and the number of arguments. */
static cli_exit check(const cli *c)
{
    const cli_command *command = c->command;

    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (c->values[i] != NULL && ((command->flags | cli_common_flags) & CLI_BIT(i)) == 0)
            return cli_usage(c, NULL, "\"%s\" takes no flag --%s", cli_command_name(command),
                             cli_flags[i].name);
    }
    if (c->arguments_count < command->min_arguments)
        return cli_usage(c, NULL, "\"%s\" needs: %s", cli_command_name(command),
                         command->arguments);
    if (c->arguments_count > command->max_arguments)
        return cli_usage(c, NULL, "\"%s\" has nothing to do with \"%s\"", cli_command_name(command),
                         cli_shown(c->arguments[command->max_arguments]));
    return CLI_OK;
}

cli_exit cli_arguments_read(cli *c, int argc, char **argv)
{
    cli_exit rc;

    /* Known before the first thing is said. */
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        c->json |= strcmp(argv[i], "--json") == 0;
    c->words     = cli_need(calloc((size_t)argc + 1, sizeof(*c->words)));
    c->params    = cli_need(calloc((size_t)argc + 1, sizeof(*c->params)));
    c->arguments = c->words;
    rc           = split(c, argc, argv);
    if (rc != CLI_OK)
        return rc;
    if (c->values[FLAG_VERSION] != NULL || c->arguments_count == 0)
        return CLI_OK;
    rc = take_command(c);
    if (rc != CLI_OK || c->values[FLAG_HELP] != NULL)
        return rc;
    return check(c);
}

void cli_arguments_free(cli *c)
{
    free(c->words);
    free(c->params);
}
