/* The pgqrs program: queues and workflows from the command line. */
#include "cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* A password in a DSN shall not be seen in the list of processes for longer than need be. */
static void hide_dsn(cli *c, int argc, char **argv, char **out_copy)
{
    const char *given = c->values[FLAG_DSN];

    if (given == NULL)
        return;
    *out_copy           = cli_need(strdup(given));
    c->values[FLAG_DSN] = *out_copy;
    for (int i = 1; i < argc; i++) {
        char *dsn = strncmp(argv[i], "--dsn=", 6) == 0 ? argv[i] + 6 : argv[i];

        if (strcmp(dsn, *out_copy) == 0)
            memset(dsn, 'x', strlen(dsn));
    }
}

static cli_exit run(cli *c)
{
    if (c->values[FLAG_VERSION] != NULL) {
        c->values[FLAG_DSN] = NULL;
        return cli_run_version(c);
    }
    if (c->command == NULL && c->values[FLAG_HELP] == NULL) {
        cli_help_overview(stderr);
        return CLI_USAGE;
    }
    if (c->command == NULL || c->values[FLAG_HELP] != NULL)
        return cli_run_help(c);
    return c->command->run(c);
}

int main(int argc, char **argv)
{
    cli      c   = { .command = NULL };
    char    *dsn = NULL;
    cli_exit rc;

    (void)signal(SIGPIPE, SIG_DFL); /* whoever reads has seen enough: end without a word */
    cli_terminal_init();
    rc = cli_arguments_read(&c, argc, argv);
    hide_dsn(&c, argc, argv, &dsn);
    if (rc == CLI_OK)
        rc = run(&c);
    pgqrs_close(c.store);
    if (!cli_flush(&c) && rc == CLI_OK)
        rc = CLI_FAILED;
    cli_arguments_free(&c);
    free(dsn);
    return (int)rc;
}
