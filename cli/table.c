/* Tables: a page of rows at a time, so that a long list needs no more memory than a short one. */
#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define GAP        2
#define LAST_LEAST 12 /* what a narrow terminal leaves of the last column */

typedef struct cell {
    char     *text;
    cli_style style;
} cell;

struct cli_table {
    const cli_column *columns;
    size_t            count;
    size_t           *widths;
    cell             *cells;
    size_t            used;
    size_t            room;
    bool              titled;
};

cli_table *cli_table_new(const cli_column *columns, size_t count)
{
    cli_table *table = cli_need(calloc(1, sizeof(*table)));

    table->columns = columns;
    table->count   = count;
    table->widths  = cli_need(calloc(count, sizeof(*table->widths)));
    for (size_t i = 0; i < count; i++)
        table->widths[i] = cli_text_width(columns[i].title);
    return table;
}

void cli_table_add(cli_table *table, cli_style style, const char *text)
{
    size_t column = table->used % table->count;
    size_t width;

    if (table->used == table->room) {
        table->room  = table->room == 0 ? table->count * 32 : table->room * 2;
        table->cells = cli_need(realloc(table->cells, table->room * sizeof(*table->cells)));
    }
    table->cells[table->used] = (cell){ .text = cli_text_clean(text), .style = style };
    width                     = cli_text_width(table->cells[table->used].text);
    if (width > table->widths[column])
        table->widths[column] = width;
    table->used++;
}

void cli_table_addf(cli_table *table, cli_style style, const char *format, ...)
{
    char    text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cli_table_add(table, style, text);
}

static void spaces(size_t count)
{
    (void)printf("%*s", (int)count, "");
}

/* How much of the last column a terminal has room for; elsewhere nothing is cut. */
static size_t room_for_last(const cli_table *table)
{
    size_t before = 0;

    if (!cli_term.out_tty)
        return SIZE_MAX;
    for (size_t i = 0; i + 1 < table->count; i++)
        before += table->widths[i] + GAP;
    return before + LAST_LEAST > (size_t)cli_term.width ? LAST_LEAST
                                                        : (size_t)cli_term.width - before;
}

static void print_cell(const cli_table *table, size_t column, cli_style style, const char *text,
                       size_t room)
{
    bool   last  = column + 1 == table->count;
    size_t width = cli_text_width(text);
    size_t pad   = width < table->widths[column] ? table->widths[column] - width : 0;

    if (table->columns[column].right)
        spaces(pad);
    (void)fputs(cli_style_begin(style), stdout);
    (void)cli_text_print(stdout, text, last ? room : SIZE_MAX);
    (void)fputs(cli_style_end(style), stdout);
    if (last)
        (void)fputc('\n', stdout);
    else
        spaces((table->columns[column].right ? 0 : pad) + GAP);
}

void cli_table_print(cli_table *table)
{
    size_t room = room_for_last(table);

    if (!table->titled) {
        for (size_t i = 0; i < table->count; i++)
            print_cell(table, i, STYLE_DIM, table->columns[i].title, room);
        table->titled = true;
    }
    for (size_t i = 0; i < table->used; i++) {
        print_cell(table, i % table->count, table->cells[i].style, table->cells[i].text, room);
        free(table->cells[i].text);
    }
    table->used = 0;
}

void cli_table_free(cli_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->used; i++)
        free(table->cells[i].text);
    free(table->cells);
    free(table->widths);
    free(table);
}
