/* A bar on stderr, while standard input is put in; only on a terminal. */
#include "cli.h"

#include <inttypes.h>

#define EVERY_US  (100 * PGQRS_MILLISECOND)
#define BAR_MAX   30
#define BAR_ASIDE 40 /* columns that the words beside it take */

void cli_progress_begin(cli_progress *p, int64_t total_bytes)
{
    *p         = (cli_progress){ .total_bytes = total_bytes, .started_us = cli_monotonic_us() };
    p->next_us = p->started_us; /* the first at once */
}

static void bar(double part)
{
    int width = cli_term.width - BAR_ASIDE > BAR_MAX ? BAR_MAX : cli_term.width - BAR_ASIDE;
    int full  = (int)(part * width);

    if (width < 4)
        return;
    (void)fputc('[', stderr);
    for (int i = 0; i < width; i++)
        (void)fputs(i >= full ? " " : cli_term.utf8 ? "\xe2\x96\x88" : "#", stderr);
    (void)fprintf(stderr, "] %3d %%  ", (int)(part * 100));
}

void cli_progress_show(cli_progress *p, int64_t bytes, int64_t messages)
{
    int64_t now_us = cli_monotonic_us();
    double  seconds;

    if (!cli_term.err_tty || now_us < p->next_us)
        return;
    p->next_us = now_us + EVERY_US;
    p->shown   = true;
    seconds    = (double)(now_us - p->started_us) / 1e6;
    (void)fputs("\r\033[K", stderr);
    if (p->total_bytes > 0)
        bar(bytes >= p->total_bytes ? 1 : (double)bytes / (double)p->total_bytes);
    (void)fprintf(stderr, "%" PRId64 " messages", messages);
    if (seconds > 0.2)
        (void)fprintf(stderr, ", %.0f/s", (double)messages / seconds);
    (void)fflush(stderr);
}

void cli_progress_end(cli_progress *p)
{
    if (p->shown)
        (void)fputs("\r\033[K", stderr);
    p->shown = false;
}
