/* What stdout and stderr are: colours, drawing, width. */
#include "cli.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

cli_terminal cli_term = { .width = 80 };

static int width_of(int fd)
{
    struct winsize size;
    const char    *columns = getenv("COLUMNS");
    long           width   = columns == NULL ? 0 : strtol(columns, NULL, 10);

    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    return width < 20 || width > 10000 ? 80 : (int)width;
}

void cli_terminal_init(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *kind     = getenv("TERM");

    (void)setlocale(LC_CTYPE, "");
    cli_term.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    if (!cli_term.utf8) /* the data is UTF-8 all the same: its width is asked for */
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    cli_term.out_tty = isatty(STDOUT_FILENO) == 1;
    cli_term.err_tty = isatty(STDERR_FILENO) == 1;
    cli_term.color   = cli_term.out_tty && (no_color == NULL || no_color[0] == '\0') && kind != NULL
                     && strcmp(kind, "dumb") != 0;
    cli_term.width = width_of(cli_term.out_tty ? STDOUT_FILENO : STDERR_FILENO);
}

const char *cli_style_begin(cli_style style)
{
    static const char *const codes[] = {
        [STYLE_PLAIN] = "",          [STYLE_DIM] = "\033[2m",  [STYLE_BOLD] = "\033[1m",
        [STYLE_GOOD] = "\033[32m",   [STYLE_BAD] = "\033[31m", [STYLE_WAITING] = "\033[33m",
        [STYLE_ACTIVE] = "\033[36m",
    };

    return cli_term.color ? codes[style] : "";
}

const char *cli_style_end(cli_style style)
{
    return cli_term.color && style != STYLE_PLAIN ? "\033[0m" : "";
}

cli_style cli_state_style(pgqrs_state state)
{
    switch (state) {
    case PGQRS_STATE_READY:
        return STYLE_PLAIN;
    case PGQRS_STATE_SCHEDULED:
    case PGQRS_STATE_CANCELLED:
        return STYLE_WAITING;
    case PGQRS_STATE_LEASED:
        return STYLE_ACTIVE;
    case PGQRS_STATE_DONE:
    case PGQRS_STATE_SUCCESS:
        return STYLE_GOOD;
    case PGQRS_STATE_ERROR:
    case PGQRS_STATE_DEAD:
        return STYLE_BAD;
    }
    return STYLE_PLAIN;
}

cli_style cli_run_style(pgqrs_run_status status)
{
    switch (status) {
    case PGQRS_RUN_QUEUED:
        return STYLE_PLAIN;
    case PGQRS_RUN_RUNNING:
        return STYLE_ACTIVE;
    case PGQRS_RUN_PAUSED:
    case PGQRS_RUN_CANCELLING:
    case PGQRS_RUN_CANCELLED:
        return STYLE_WAITING;
    case PGQRS_RUN_SUCCESS:
        return STYLE_GOOD;
    case PGQRS_RUN_ERROR:
        return STYLE_BAD;
    }
    return STYLE_PLAIN;
}

bool cli_flush(const cli *c)
{
    static bool said;

    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return true;
    if (!said)
        (void)cli_refuse(c, CLI_FAILED, "", "could not write to standard output%s%s",
                         errno == 0 ? "" : ": ", errno == 0 ? "" : strerror(errno));
    said = true;
    return false;
}
