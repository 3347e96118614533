/* A picture: rates against batch size, callers and backlog. Both axes are logarithmic. */
#include "bench.h"

#include <math.h>
#include <string.h>

#define LINES_MAX  8
#define POINTS_MAX 16

#define PANEL_WIDTH  400
#define PANEL_HEIGHT 460
#define LEFT         62 /* of the drawing within its panel */
#define TOP          40
#define WIDTH        320
#define HEIGHT       240

/* Told apart by people who see few colours, too: the markers and the order differ. */
static const char *const colors[LINES_MAX] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                               "#e69f00", "#56b4e9", "#000000", "#666666" };

typedef struct line {
    const char *name;
    int         count;
    double      x[POINTS_MAX];
    spread      rate[POINTS_MAX];
} line;

typedef struct drawing {
    line   lines[LINES_MAX];
    int    count;
    double low_x, high_x, low_y, high_y; /* powers of ten */
} drawing;

static line *line_named(drawing *d, const char *name)
{
    for (int i = 0; i < d->count; i++)
        if (strcmp(d->lines[i].name, name) == 0)
            return &d->lines[i];
    if (d->count == LINES_MAX)
        return NULL;
    d->lines[d->count].name = name;
    return &d->lines[d->count++];
}

/* Points of one line in the order of x. */
static void add_point(line *l, double x, spread rate)
{
    int at = l->count;

    if (l->count == POINTS_MAX)
        return;
    for (; at > 0 && l->x[at - 1] > x; at--) {
        l->x[at]    = l->x[at - 1];
        l->rate[at] = l->rate[at - 1];
    }
    l->x[at]    = x;
    l->rate[at] = rate;
    l->count++;
}

static void collect(drawing *d, panel which, const contest *contests, size_t count)
{
    *d = (drawing){ .low_x = INFINITY, .high_x = 0, .low_y = INFINITY, .high_y = 0 };
    for (size_t n = 0; n < count; n++) {
        const contest *c = &contests[n];

        for (int i = 0; i < c->npoints; i++) {
            const point *p    = &c->points[i];
            const spread rate = contest_field(c, p->job, TRIAL_FIELD(rate));
            line        *l    = p->panel == which ? line_named(d, p->line) : NULL;

            if (l == NULL || rate.low <= 0)
                continue;
            add_point(l, p->x, rate);
            d->low_x  = fmin(d->low_x, p->x);
            d->high_x = fmax(d->high_x, p->x);
            d->low_y  = fmin(d->low_y, rate.low);
            d->high_y = fmax(d->high_y, rate.high);
        }
    }
    d->low_x  = floor(log10(d->low_x));
    d->high_x = fmax(ceil(log10(d->high_x)), d->low_x + 1);
    d->low_y  = floor(log10(d->low_y));
    d->high_y = fmax(ceil(log10(d->high_y)), d->low_y + 1);
}

static double at_x(const drawing *d, double x)
{
    return LEFT + WIDTH * (log10(x) - d->low_x) / (d->high_x - d->low_x);
}

static double at_y(const drawing *d, double y)
{
    return TOP + HEIGHT * (d->high_y - log10(y)) / (d->high_y - d->low_y);
}

/* 1, 10, 1k, 1M */
static void power(FILE *to, double exponent)
{
    const double value = pow(10, exponent);

    if (value >= 1e6)
        (void)fprintf(to, "%.0fM", value / 1e6);
    else if (value >= 1e3)
        (void)fprintf(to, "%.0fk", value / 1e3);
    else
        (void)fprintf(to, "%.0f", value);
}

static void axes(FILE *to, const drawing *d, const char *title, const char *below)
{
    (void)fprintf(to, "<text x=\"%d\" y=\"22\" class=\"title\">%s</text>\n", LEFT, title);
    for (double e = d->low_y; e <= d->high_y; e++) {
        const double y = at_y(d, pow(10, e));

        (void)fprintf(to, "<path class=\"grid\" d=\"M%d %.1fh%d\"/>", LEFT, y, WIDTH);
        (void)fprintf(to, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 6, y + 4);
        power(to, e);
        (void)fputs("</text>\n", to);
    }
    for (double e = d->low_x; e <= d->high_x; e++) {
        const double x = at_x(d, pow(10, e));

        (void)fprintf(to, "<path class=\"grid\" d=\"M%.1f %dv%d\"/>", x, TOP, HEIGHT);
        (void)fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", x,
                      TOP + HEIGHT + 16);
        power(to, e);
        (void)fputs("</text>\n", to);
    }
    (void)fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                  LEFT + WIDTH / 2, TOP + HEIGHT + 34, below);
}

static void marker(FILE *to, int number, double x, double y)
{
    if (number % 2 == 0)
        (void)fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>", x, y);
    else
        (void)fprintf(to, "<path d=\"M%.1f %.1fh7v7h-7z\"/>", x - 3.5, y - 3.5);
}

/* The medians as a line; at each the lowest and the highest round. */
static void draw_line(FILE *to, const drawing *d, int number)
{
    const line *l     = &d->lines[number];
    const int   entry = TOP + HEIGHT + 58 + 17 * number;

    (void)fprintf(to, "<g fill=\"%s\" stroke=\"%s\">\n<path class=\"line\" d=\"", colors[number],
                  colors[number]);
    for (int i = 0; i < l->count; i++)
        (void)fprintf(to, "%c%.1f %.1f", i == 0 ? 'M' : 'L', at_x(d, l->x[i]),
                      at_y(d, l->rate[i].median));
    (void)fputs("\"/>\n", to);
    for (int i = 0; i < l->count; i++) {
        const double x = at_x(d, l->x[i]);

        (void)fprintf(to, "<path d=\"M%.1f %.1fV%.1f\"/>", x, at_y(d, l->rate[i].low),
                      at_y(d, l->rate[i].high));
        marker(to, number, x, at_y(d, l->rate[i].median));
        (void)fputc('\n', to);
    }
    (void)fprintf(to, "<path class=\"line\" d=\"M%d %dh24\"/>", LEFT, entry);
    marker(to, number, LEFT + 12, entry);
    (void)fprintf(to, "</g>\n<text x=\"%d\" y=\"%d\">%s</text>\n", LEFT + 32, entry + 4, l->name);
}

/* The texts of a database's version that XML would act on are left out. */
static void heading(FILE *to, const bench *b)
{
    (void)fprintf(to, "<text x=\"%d\" y=\"24\" class=\"title\">pgqrs %s on %s ", LEFT,
                  pgqrs_version(), b->about->backend);
    for (const char *s = b->about->version; *s != '\0'; s++)
        if ((unsigned char)*s >= ' ' && (unsigned char)*s < 127 && strchr("<>&", *s) == NULL)
            (void)fputc(*s, to);
    (void)fputs(": operations a second</text>\n", to);
}

bool report_svg(const bench *b, const contest *contests, size_t count, const char *path)
{
    static const struct {
        const char *title, *below;
    } panels[PANEL_COUNT] = { [PANEL_BATCH]   = { "batch size", "messages in a batch" },
                              [PANEL_CALLERS] = { "callers at once", "callers, runs at once" },
                              [PANEL_BACKLOG] = { "backlog", "messages that wait" } };
    FILE   *to            = fopen(path, "we");
    drawing d;
    int     drawn = 0;
    bool    good;

    if (to == NULL)
        return false;
    (void)fprintf(to,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\">\n"
                  "<style>text{font:12px sans-serif;fill:#222}.title{font-weight:bold}"
                  ".grid{stroke:#ddd}.line{fill:none;stroke-width:2}</style>\n"
                  "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
                  PANEL_COUNT * PANEL_WIDTH, PANEL_HEIGHT + 30);
    heading(to, b);
    for (int i = 0; i < PANEL_COUNT; i++) {
        collect(&d, (panel)i, contests, count);
        if (d.count == 0) /* --only left nothing of it */
            continue;
        (void)fprintf(to, "<g transform=\"translate(%d 30)\">\n", PANEL_WIDTH * drawn++);
        axes(to, &d, panels[i].title, panels[i].below);
        for (int n = 0; n < d.count; n++)
            draw_line(to, &d, n);
        (void)fputs("</g>\n", to);
    }
    (void)fputs("</svg>\n", to);
    good = ferror(to) == 0;
    return fclose(to) == 0 && good;
}
