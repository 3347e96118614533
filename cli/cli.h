/** What the files of the pgqrs program share. It is made of the public header only. */
#ifndef PGQRS_CLI_CLI_H
#define PGQRS_CLI_CLI_H

#include <pgqrs/pgqrs.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define CLI_COUNT(array)        (sizeof(array) / sizeof((array)[0]))

/* What the program ends with; docs/cli.md and pgqrs(1) say the same. */
typedef enum cli_exit {
    CLI_OK        = 0,
    CLI_FAILED    = 1, /* the database, the system, or we */
    CLI_USAGE     = 2, /* the command line, a value or the JSON was wrong */
    CLI_NOT_FOUND = 3,
    CLI_REFUSED   = 4, /* not possible as things stand, or not confirmed */
    CLI_SCHEMA    = 5, /* the tables are missing or do not fit */
    CLI_AGAIN     = 6  /* not reached, busy or too late: the same may work later */
} cli_exit;

/* --- Commands and flags (commands.c, arguments.c) --------------------------------------------- */

typedef enum cli_flag {
    FLAG_HELP,
    FLAG_VERSION,
    FLAG_DSN,
    FLAG_SCHEMA,
    FLAG_JSON,
    FLAG_AFTER,
    FLAG_AT,
    FLAG_ATTEMPTS,
    FLAG_BACKOFF,
    FLAG_BACKOFF_FACTOR,
    FLAG_BACKOFF_MAX,
    FLAG_BATCH,
    FLAG_DELAY,
    FLAG_DRY_RUN,
    FLAG_FORCE,
    FLAG_HEADERS,
    FLAG_IF_MISSING,
    FLAG_KEY,
    FLAG_KEY_TTL,
    FLAG_LARGE,
    FLAG_LEASE,
    FLAG_LIMIT,
    FLAG_ONLY,
    FLAG_PARAM,
    FLAG_PRIORITY,
    FLAG_QUEUE,
    FLAG_QUICK,
    FLAG_RETENTION,
    FLAG_ROLES,
    FLAG_ROUNDS,
    FLAG_SECONDS,
    FLAG_SILENT,
    FLAG_SQL,
    FLAG_STATE,
    FLAG_STATUS,
    FLAG_SVG,
    FLAG_WORKFLOW,
    FLAG_YES,
    FLAG_COUNT
} cli_flag;

#define CLI_BIT(flag) (UINT64_C(1) << (flag))

typedef struct cli_flag_info {
    const char *name;
    char        letter; /* or 0 */
    const char *value;  /* what it takes, for people; NULL: nothing */
    const char *help;
} cli_flag_info;

typedef struct cli cli;

typedef struct cli_command {
    const char *group; /* "queue" of "queue ls"; or NULL */
    const char *name;
    const char *arguments; /* for people */
    const char *summary;
    size_t      min_arguments;
    size_t      max_arguments;
    uint64_t    flags; /* beside those that every command takes */
    cli_exit (*run)(cli *c);
} cli_command;

/* Standard input on its way into the database: what an error says of it. Each line is in, or it is
 * to be given again, or its answer was lost. */
typedef struct cli_fed {
    int64_t enqueued;
    int64_t last_line; /* everything up to this one is in, or empty */
    int64_t sent_line; /* an answer that was lost is about the lines up to this one */
} cli_fed;

/* One call of the program. */
struct cli {
    const cli_command *command;            /* NULL: none was named */
    const char        *values[FLAG_COUNT]; /* NULL: not given; "" for flags without a value */
    const char       **params;             /* every -P, in order */
    size_t             params_count;
    const char       **words;     /* everything that is no flag */
    const char       **arguments; /* those behind the command */
    size_t             arguments_count;
    bool               json;
    pgqrs_store       *store; /* closed at the end */
    const cli_fed     *fed;   /* NULL: standard input is not what is put in */
};

extern const cli_flag_info cli_flags[FLAG_COUNT];
extern const uint64_t      cli_common_flags;
extern const cli_command   cli_commands[];
extern const size_t        cli_commands_count;

/* Read the command line; CLI_USAGE when it is wrong, which has been said. */
cli_exit cli_arguments_read(cli *c, int argc, char **argv);
void     cli_arguments_free(cli *c);
/* "queue ls"; lives until the next call. */
const char *cli_command_name(const cli_command *command);
/* The best guess at what was meant among names, or NULL. */
const char *cli_guess(const char *word, const char *const *names, size_t count);

cli_exit cli_run_help(cli *c);
cli_exit cli_run_version(cli *c);
cli_exit cli_run_install(cli *c);
cli_exit cli_run_verify(cli *c);
cli_exit cli_run_queue_ls(cli *c);
cli_exit cli_run_queue_create(cli *c);
cli_exit cli_run_queue_configure(cli *c);
cli_exit cli_run_queue_delete(cli *c);
cli_exit cli_run_queue_pause(cli *c);
cli_exit cli_run_queue_resume(cli *c);
cli_exit cli_run_queue_purge(cli *c);
cli_exit cli_run_enqueue(cli *c);
cli_exit cli_run_trigger(cli *c);
cli_exit cli_run_ls(cli *c);
cli_exit cli_run_show(cli *c);
cli_exit cli_run_cancel(cli *c);
cli_exit cli_run_dead_ls(cli *c);
cli_exit cli_run_dead_replay(cli *c);
cli_exit cli_run_dead_purge(cli *c);
cli_exit cli_run_run_ls(cli *c);
cli_exit cli_run_run_show(cli *c);
cli_exit cli_run_run_cancel(cli *c);
cli_exit cli_run_workers(cli *c);
cli_exit cli_run_workers_purge(cli *c);
cli_exit cli_run_stats(cli *c);
cli_exit cli_run_bench(cli *c);
/* All commands, on a page. */
void cli_help_overview(FILE *out);

/* --- The store (store.c) ---------------------------------------------------------------------- */

/* Open the store that --dsn or PGQRS_DSN names, into c->store. What went wrong has been said. */
cli_exit cli_open(cli *c);
/* The same for looking at what an installation would do: a file that is not there is not made. */
cli_exit cli_open_to_plan(cli *c);
/* Whether a DSN was given at all. */
bool cli_has_dsn(const cli *c);

/* The DSN that --dsn or PGQRS_DSN names, without opening it. */
cli_exit cli_find_dsn(const cli *c, const char **out_dsn);

/* The names of queues, by id. */
typedef struct cli_names {
    pgqrs_queues *queues;
} cli_names;

cli_exit           cli_names_read(cli *c, cli_names *names);
const pgqrs_queue *cli_names_find(const cli_names *names, int64_t queue_id); /* NULL: deleted */
const char        *cli_names_get(const cli_names *names, int64_t queue_id);
void               cli_names_free(cli_names *names);

/* --- Words to stderr (words.c) ---------------------------------------------------------------- */

/* Say what went wrong in the library; the exit code for it. */
cli_exit cli_fail(const cli *c, const pgqrs_error *error);
/* Say what is wrong with the command line. hint may be NULL: help is pointed to. */
CLI_PRINTF(3, 4)
cli_exit cli_usage(const cli *c, const char *hint, const char *format, ...);
/* Say that something is not done. */
CLI_PRINTF(4, 5)
cli_exit cli_refuse(const cli *c, cli_exit code, const char *hint, const char *format, ...);
/* A word about what was done; not with --json, where the document says it. */
CLI_PRINTF(2, 3) void cli_say(const cli *c, const char *format, ...);
/* What may be shown of a word of the command line: a DSN may hold a password. */
const char *cli_shown(const char *word);
/* Whether it is one id that is wrong, and the next may do. */
bool cli_may_go_on(cli_exit code);
/* Out of memory: said, and the program ends. Returns what it was given. */
void *cli_need(void *memory);

/* Whether somebody may be asked, or --yes was given. If not, that has been said. */
bool cli_may_ask(const cli *c);
/* Ask, unless --yes was given. */
CLI_PRINTF(2, 3) bool cli_confirm(const cli *c, const char *question, ...);

/* --- Data to stdout (terminal.c, text.c, table.c, document.c) --------------------------------- */

typedef enum cli_style {
    STYLE_PLAIN,
    STYLE_DIM,
    STYLE_BOLD,
    STYLE_GOOD,
    STYLE_BAD,
    STYLE_WAITING,
    STYLE_ACTIVE
} cli_style;

/* What is known about where words and data go. */
typedef struct cli_terminal {
    bool out_tty;
    bool err_tty;
    bool color; /* of stdout */
    bool utf8;  /* what may be drawn with */
    int  width; /* of the terminal; 80 without one */
} cli_terminal;

extern cli_terminal cli_term;

void cli_terminal_init(void);
/* The escape sequences around a styled word: "" without colours. */
const char *cli_style_begin(cli_style style);
const char *cli_style_end(cli_style style);
cli_style   cli_state_style(pgqrs_state state);
cli_style   cli_run_style(pgqrs_run_status status);
/* Send what was printed on. False, and said, when it cannot be written. */
bool cli_flush(const cli *c);

/* The next character of UTF-8 text, and the bytes it takes; U+FFFD for a byte that is none. */
size_t cli_text_next(const char *text, uint32_t *out_character);
/* Columns on a terminal. */
size_t cli_text_width(const char *text);
/* Text of others, with nothing in it that a terminal would act on. Free with free(). */
char *cli_text_clean(const char *text);
/* Print at most width columns, the end cut off visibly; the columns printed. */
size_t cli_text_print(FILE *out, const char *text, size_t width);

typedef struct cli_column {
    const char *title;
    bool        right;
} cli_column;

typedef struct cli_table cli_table;

cli_table *cli_table_new(const cli_column *columns, size_t count);
/* The next cell of the row, left to right; the text is cleaned and copied. */
void cli_table_add(cli_table *table, cli_style style, const char *text);
CLI_PRINTF(3, 4)
void cli_table_addf(cli_table *table, cli_style style, const char *format, ...);
/* Print the rows, and the titles before the first. Columns keep their widths from page to page. */
void cli_table_print(cli_table *table);
void cli_table_free(cli_table *table);

/* One JSON object: its members in order, then those that are JSON text already, byte for byte. */
typedef struct cli_document cli_document;

cli_document *cli_document_new(void);
void cli_document_text(cli_document *d, const char *name, const char *text); /* NULL: null */
void cli_document_int(cli_document *d, const char *name, int64_t number);
void cli_document_real(cli_document *d, const char *name, double number);
void cli_document_bool(cli_document *d, const char *name, bool yes);
void cli_document_time(cli_document *d, const char *name, int64_t us);       /* 0: null */
void cli_document_id(cli_document *d, const char *name, int64_t id);         /* 0: null */
void cli_document_json(cli_document *d, const char *name, const char *json); /* NULL: null */
void cli_document_member(cli_document *d, const char *name, json_t *value);  /* taken over */
/* The text, without a newline; the document is freed. Free with free(). */
char *cli_document_finish(cli_document *d);
/* One line on stdout; the document is freed. */
void cli_document_print(cli_document *d);

/* JSON text without white space, on one line. */
void  cli_json_compact(FILE *out, const char *json);
char *cli_json_line(const char *json);
/* The same over several lines, for people; every line but the first is indented. */
void cli_json_pretty(FILE *out, const char *json, int indent);
/* "CODE: message" of an error object; NULL for NULL. Free with free(). */
char *cli_json_error(const char *error);

void cli_document_record(cli_document *d, const pgqrs_record *record, const char *queue);
void cli_document_run(cli_document *d, const pgqrs_run_record *run, const char *workflow);
void cli_document_steps(cli_document *d, const pgqrs_step_records *steps);
void cli_timeline(const pgqrs_step_records *steps);

/* --- Values (values.c) ------------------------------------------------------------------------ */

#define CLI_TIME_BYTES 40

/* Flags and arguments as numbers. False: it is not one, which has been said. An absent flag leaves
 * *out. */
bool cli_read_id(const cli *c, const char *text, int64_t *out);
bool cli_read_int(const cli *c, cli_flag flag, int64_t low, int64_t high, int64_t *out);
bool cli_read_real(const cli *c, cli_flag flag, double *out);
bool cli_read_duration(const cli *c, cli_flag flag, int64_t *out);
bool cli_read_time(const cli *c, cli_flag flag, int64_t *out);
/* The index of a word in a list; the list is named when it is not there. */
bool cli_read_word(const cli *c, cli_flag flag, const char *const *words, size_t count,
                   size_t *out);

/* "2025-01-31T12:00:00.123456Z"; "-" for 0 in the short form, without a fraction. */
const char *cli_time_text(int64_t us, char out[CLI_TIME_BYTES]);
const char *cli_time_short(int64_t us, char out[CLI_TIME_BYTES]);
const char *cli_duration_text(int64_t us, char out[CLI_TIME_BYTES]);
int64_t     cli_now_us(void);
int64_t     cli_monotonic_us(void);

/* --- Progress on a terminal (progress.c) ------------------------------------------------------ */

typedef struct cli_progress {
    bool    shown;
    int64_t total_bytes; /* -1: not known */
    int64_t started_us;
    int64_t next_us;
} cli_progress;

void cli_progress_begin(cli_progress *p, int64_t total_bytes);
void cli_progress_show(cli_progress *p, int64_t bytes, int64_t messages);
void cli_progress_end(cli_progress *p);

#endif
