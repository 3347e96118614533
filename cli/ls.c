/* ls, dead ls, dead replay. Lists are read a page at a time: memory stays flat, however long. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE   100
#define PLACES 4

/* Messages in one state (0: everything archived), in id order, a page at a time. */
typedef struct place {
    pgqrs_state    state;
    pgqrs_records *page;
    size_t         at;
    int64_t        after;
    bool           ended; /* there is no further page */
} place;

/* What is asked for, merged from up to four places by id. */
typedef struct listing {
    cli       *c;
    place      places[PLACES];
    size_t     count;
    int64_t    left; /* of --limit */
    int64_t    last; /* id that was listed: one that moved meanwhile may turn up again */
    cli_table *table;
    size_t     rows; /* of the page on its way */
    bool       dead;
} listing;

typedef struct choice {
    const char *name;
    pgqrs_state states[PLACES];
    size_t      count;
} choice;

static const choice choices[] = {
    { "ready", { PGQRS_STATE_READY }, 1 },
    { "scheduled", { PGQRS_STATE_SCHEDULED }, 1 },
    { "leased", { PGQRS_STATE_LEASED }, 1 },
    { "live", { PGQRS_STATE_READY, PGQRS_STATE_SCHEDULED, PGQRS_STATE_LEASED }, 3 },
    { "done", { PGQRS_STATE_DONE }, 1 },
    { "success", { PGQRS_STATE_SUCCESS }, 1 },
    { "error", { PGQRS_STATE_ERROR }, 1 },
    { "cancelled", { PGQRS_STATE_CANCELLED }, 1 },
    { "dead", { PGQRS_STATE_DEAD }, 1 },
    { "archived", { (pgqrs_state)0 }, 1 },
    { "all", { PGQRS_STATE_READY, PGQRS_STATE_SCHEDULED, PGQRS_STATE_LEASED, (pgqrs_state)0 }, 4 },
};

/* --- Reading ---------------------------------------------------------------------------------- */

/* The next message of a place; NULL when there is none. */
static cli_exit peek(listing *l, place *p, const pgqrs_record **out)
{
    const pgqrs_list_options options = {
        .struct_size = sizeof(options), .state = p->state, .after_id = p->after, .limit = PAGE
    };
    pgqrs_error error;

    *out = pgqrs_records_at(p->page, p->at);
    if (*out != NULL || p->ended)
        return CLI_OK;
    pgqrs_records_free(p->page);
    p->page = NULL;
    p->at   = 0;
    if (pgqrs_message_list(l->c->store, l->c->arguments[0], &options, &p->page, &error) != PGQRS_OK)
        return cli_fail(l->c, &error);
    p->ended = pgqrs_records_count(p->page) < PAGE;
    *out     = pgqrs_records_at(p->page, 0);
    return CLI_OK;
}

/* The message with the lowest id that was not listed yet, and its place. */
static cli_exit next(listing *l, const pgqrs_record **out, place **out_place)
{
    *out = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const pgqrs_record *head;
        cli_exit            rc;

        do { /* over what was listed where it was before */
            rc = peek(l, &l->places[i], &head);
            if (rc != CLI_OK)
                return rc;
            if (head != NULL && head->id <= l->last) {
                l->places[i].after = head->id;
                l->places[i].at++;
            }
        } while (head != NULL && head->id <= l->last);
        if (head != NULL && (*out == NULL || head->id < (*out)->id)) {
            *out       = head;
            *out_place = &l->places[i];
        }
    }
    return CLI_OK;
}

/* --- Printing --------------------------------------------------------------------------------- */

void cli_document_record(cli_document *d, const pgqrs_record *record, const char *queue)
{
    cli_document_int(d, "id", record->id);
    cli_document_text(d, "queue", queue);
    cli_document_text(d, "state", pgqrs_state_name(record->state));
    cli_document_int(d, "priority", record->priority);
    cli_document_int(d, "attempt", record->attempt);
    cli_document_bool(d, "cancelled", record->cancelled);
    cli_document_id(d, "producer", record->producer);
    cli_document_id(d, "owner", record->owner);
    cli_document_time(d, "enqueued_at", record->enqueued_at_us);
    cli_document_time(d, "claimed_at", record->claimed_at_us);
    cli_document_time(d, "visible_at", record->visible_at_us);
    cli_document_time(d, "expires_at", record->expires_at_us);
    cli_document_time(d, "finished_at", record->finished_at_us);
    cli_document_text(d, "reason", record->reason);
    cli_document_text(d, "note", record->note);
    cli_document_json(d, "headers", record->headers);
    cli_document_json(d, "payload", record->payload);
    cli_document_json(d, "output", record->output);
    cli_document_json(d, "error", record->error);
}

static void add_json(cli_table *table, cli_style style, char *text)
{
    cli_table_add(table, style, text == NULL ? "-" : text);
    free(text);
}

static void add_row(cli_table *table, const pgqrs_record *record, bool dead)
{
    char text[CLI_TIME_BYTES];

    cli_table_addf(table, STYLE_BOLD, "%" PRId64, record->id);
    if (!dead)
        cli_table_add(table, cli_state_style(record->state), pgqrs_state_name(record->state));
    cli_table_addf(table, STYLE_PLAIN, "%d", record->priority);
    cli_table_addf(table, STYLE_PLAIN, "%d", record->attempt);
    cli_table_add(table, STYLE_PLAIN,
                  cli_time_short(dead ? record->finished_at_us : record->enqueued_at_us, text));
    if (dead)
        add_json(table, STYLE_BAD, cli_json_error(record->error));
    add_json(table, STYLE_PLAIN, cli_json_line(record->payload));
}

/* Print the page on its way. */
static bool send_page(listing *l)
{
    if (l->rows == 0)
        return true;
    l->rows = 0;
    if (!l->c->json)
        cli_table_print(l->table);
    return cli_flush(l->c);
}

static cli_exit list_all(listing *l)
{
    while (l->left > 0) {
        const pgqrs_record *record;
        place              *from = NULL;
        cli_exit            rc   = next(l, &record, &from);

        if (rc != CLI_OK)
            return rc;
        if (record == NULL)
            break;
        if (l->c->json) {
            cli_document *d = cli_document_new();

            cli_document_record(d, record, l->c->arguments[0]);
            cli_document_print(d);
        } else {
            add_row(l->table, record, l->dead);
        }
        l->last     = record->id;
        from->after = record->id;
        from->at++;
        l->left--;
        if (++l->rows == PAGE && !send_page(l))
            return CLI_FAILED;
    }
    return send_page(l) ? CLI_OK : CLI_FAILED;
}

static cli_exit list_states(cli *c, const choice *what, bool dead)
{
    static const cli_column columns[] = {
        { "ID", true },      { "STATE", false },    { "PRIORITY", true },
        { "ATTEMPT", true }, { "ENQUEUED", false }, { "PAYLOAD", false },
    };
    static const cli_column dead_columns[] = {
        { "ID", true },    { "PRIORITY", true }, { "ATTEMPT", true },
        { "DIED", false }, { "ERROR", false },   { "PAYLOAD", false },
    };
    listing  l     = { .c = c, .count = what->count, .left = INT64_MAX, .dead = dead };
    int64_t  after = 0;
    cli_exit rc;

    if (!cli_read_int(c, FLAG_LIMIT, 1, INT64_MAX, &l.left)
        || !cli_read_int(c, FLAG_AFTER, 0, INT64_MAX, &after))
        return CLI_USAGE;
    rc = cli_open(c);
    if (rc != CLI_OK)
        return rc;
    l.last  = after;
    l.table = dead ? cli_table_new(dead_columns, CLI_COUNT(dead_columns))
                   : cli_table_new(columns, CLI_COUNT(columns));
    for (size_t i = 0; i < l.count; i++)
        l.places[i] = (place){ .state = what->states[i], .after = after };
    rc = list_all(&l);
    if (rc == CLI_OK && l.last == after)
        cli_say(c, dead ? "\"%s\" has no dead letters" : "\"%s\" has no such messages",
                c->arguments[0]);
    for (size_t i = 0; i < l.count; i++)
        pgqrs_records_free(l.places[i].page);
    cli_table_free(l.table);
    return rc;
}

cli_exit cli_run_ls(cli *c)
{
    const char *names[CLI_COUNT(choices)];
    size_t      chosen = 3; /* live */

    for (size_t i = 0; i < CLI_COUNT(choices); i++)
        names[i] = choices[i].name;
    if (c->values[FLAG_STATE] != NULL
        && !cli_read_word(c, FLAG_STATE, names, CLI_COUNT(names), &chosen))
        return CLI_USAGE;
    return list_states(c, &choices[chosen], false);
}

cli_exit cli_run_dead_ls(cli *c)
{
    static const choice dead = { "dead", { PGQRS_STATE_DEAD }, 1 };

    return list_states(c, &dead, true);
}

/* --- dead replay ------------------------------------------------------------------------------ */

static void replayed_document(const cli *c, int64_t count)
{
    cli_document *d;

    cli_say(c, "replayed %" PRId64, count);
    if (!c->json)
        return;
    d = cli_document_new();
    cli_document_int(d, "replayed", count);
    cli_document_print(d);
}

/* One by its id: why not, if not. */
static cli_exit replay_id(cli *c, int64_t id, int64_t *total)
{
    pgqrs_records *found = NULL;
    pgqrs_error    error;
    size_t         count;
    cli_exit       rc;

    if (pgqrs_replay(c->store, &id, 1, &count, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    *total += (int64_t)count;
    if (count == 1)
        return CLI_OK;
    if (pgqrs_message_get(c->store, id, &found, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    rc = cli_refuse(c, CLI_REFUSED, "Only dead letters and runs that failed are replayed.",
                    "message %" PRId64 " is %s", id,
                    pgqrs_state_name(pgqrs_records_at(found, 0)->state));
    pgqrs_records_free(found);
    return rc;
}

/* Every dead letter that a queue has; those that die again meanwhile are not met twice. */
static cli_exit replay_queue(cli *c, const char *queue, int64_t *total)
{
    int64_t        ids[PAGE];
    int64_t        after = 0;
    pgqrs_records *page;
    pgqrs_error    error;
    size_t         found, count;

    do {
        const pgqrs_list_options options = { .struct_size = sizeof(options),
                                             .state       = PGQRS_STATE_DEAD,
                                             .after_id    = after,
                                             .limit       = PAGE };

        if (pgqrs_message_list(c->store, queue, &options, &page, &error) != PGQRS_OK)
            return cli_fail(c, &error);
        found = pgqrs_records_count(page);
        for (size_t i = 0; i < found; i++)
            ids[i] = after = pgqrs_records_at(page, i)->id;
        pgqrs_records_free(page);
        if (pgqrs_replay(c->store, ids, found, &count, &error) != PGQRS_OK)
            return cli_fail(c, &error);
        *total += (int64_t)count;
    } while (found == PAGE);
    return CLI_OK;
}

cli_exit cli_run_dead_replay(cli *c)
{
    const char *queue = c->values[FLAG_QUEUE];
    int64_t     total = 0;
    int64_t     id;
    cli_exit    rc;

    if (queue != NULL && c->arguments_count > 0)
        return cli_usage(c, NULL, "ids and --queue exclude each other");
    if (queue == NULL && c->arguments_count == 0)
        return cli_usage(c, NULL, "\"dead replay\" needs ids, or --queue QUEUE");
    for (size_t i = 0; i < c->arguments_count;
         i++) { /* all of them are read before one is replayed */
        if (!cli_read_id(c, c->arguments[i], &id))
            return CLI_USAGE;
    }
    rc = cli_open(c);
    if (rc != CLI_OK)
        return rc;
    if (queue != NULL)
        rc = replay_queue(c, queue, &total);
    for (size_t i = 0; i < c->arguments_count; i++) {
        cli_exit one;

        (void)cli_read_id(c, c->arguments[i], &id);
        one = replay_id(c, id, &total);
        if (rc == CLI_OK)
            rc = one;
        if (!cli_may_go_on(one))
            break;
    }
    replayed_document(c, total);
    return rc;
}
