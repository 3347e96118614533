/* install and verify. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* --roles: each NULL when it is not named. */
typedef struct roles {
    char *text; /* owned */
    char *producer;
    char *worker;
} roles;

/* "producer,worker", "producer" or ",worker". */
static cli_exit roles_read(const cli *c, roles *out)
{
    const char *given = c->values[FLAG_ROLES];
    char       *comma;

    *out = (roles){ .text = NULL };
    if (given == NULL)
        return CLI_OK;
    out->text     = cli_need(strdup(given));
    out->producer = out->text;
    comma         = strchr(out->text, ',');
    if (comma != NULL) {
        *comma      = '\0';
        out->worker = comma + 1;
    }
    if (out->producer[0] == '\0')
        out->producer = NULL;
    if (out->worker != NULL && out->worker[0] == '\0')
        out->worker = NULL;
    if ((out->producer != NULL || out->worker != NULL)
        && (out->worker == NULL || strchr(out->worker, ',') == NULL))
        return CLI_OK;
    free(out->text);
    return cli_usage(c, NULL, "--roles is \"%s\", not PRODUCER,WORKER", cli_shown(given));
}

static json_t *migrations_document(const pgqrs_plan *plan)
{
    json_t *array = cli_need(json_array());

    for (size_t i = 0; i < plan->count; i++) {
        json_t *item = cli_need(json_object());

        (void)json_object_set_new(item, "version",
                                  cli_need(json_integer(plan->migrations[i].version)));
        (void)json_object_set_new(item, "name", cli_need(json_string(plan->migrations[i].name)));
        (void)json_array_append_new(array, item);
    }
    return array;
}

static void plan_document(const cli *c, const pgqrs_plan *plan, const roles *r, bool done)
{
    cli_document *d = cli_document_new();

    cli_document_bool(d, "installed", done);
    cli_document_int(d, "from_version", plan->from_version);
    cli_document_int(d, "to_version", plan->to_version);
    cli_document_member(d, "migrations", migrations_document(plan));
    cli_document_text(d, "producer_role", r->producer);
    cli_document_text(d, "worker_role", r->worker);
    if (c->values[FLAG_SQL] != NULL)
        cli_document_text(d, "sql", plan->sql);
    cli_document_print(d);
}

static void say_plan(const cli *c, const pgqrs_plan *plan, bool done)
{
    if (plan->count == 0)
        cli_say(c, "the schema is at version %d: nothing to do", plan->to_version);
    else if (done)
        cli_say(c, "installed: the schema is at version %d", plan->to_version);
    else
        cli_say(c, "would bring the schema from version %d to version %d; nothing was changed",
                plan->from_version, plan->to_version);
}

static void say_roles(const cli *c, const roles *r, bool done)
{
    const char *verb = done ? "granted" : "would grant";

    if (r->producer != NULL)
        cli_say(c, "%s to role \"%s\" what a producer needs", verb, r->producer);
    if (r->worker != NULL)
        cli_say(c, "%s to role \"%s\" what a worker needs", verb, r->worker);
}

static void plan_table(const pgqrs_plan *plan)
{
    static const cli_column columns[] = { { "VERSION", true }, { "MIGRATION", false } };
    cli_table              *table     = cli_table_new(columns, CLI_COUNT(columns));

    for (size_t i = 0; i < plan->count; i++) {
        cli_table_addf(table, STYLE_PLAIN, "%d", plan->migrations[i].version);
        cli_table_add(table, STYLE_PLAIN, plan->migrations[i].name);
    }
    if (plan->count > 0)
        cli_table_print(table);
    cli_table_free(table);
}

/* The plan comes first, also when it is carried out: what it refuses is refused before anything. */
static cli_exit install(cli *c, const roles *r, bool dry)
{
    const pgqrs_plan_options options = { .struct_size   = sizeof(options),
                                         .producer_role = r->producer,
                                         .worker_role   = r->worker };
    pgqrs_plan              *plan    = NULL;
    pgqrs_error              error;
    bool                     done;

    if (pgqrs_install_plan(c->store, &options, &plan, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    done = dry
           || (pgqrs_install(c->store, &error) == PGQRS_OK
               && ((r->producer == NULL && r->worker == NULL)
                   || pgqrs_install_roles(c->store, r->producer, r->worker, &error) == PGQRS_OK));
    if (!done) {
        pgqrs_plan_free(plan);
        return cli_fail(c, &error);
    }
    if (c->json)
        plan_document(c, plan, r, !dry);
    else if (c->values[FLAG_SQL] != NULL)
        (void)fputs(plan->sql, stdout);
    else if (dry)
        plan_table(plan);
    say_plan(c, plan, !dry);
    say_roles(c, r, !dry);
    pgqrs_plan_free(plan);
    return CLI_OK;
}

cli_exit cli_run_install(cli *c)
{
    bool     dry = c->values[FLAG_DRY_RUN] != NULL || c->values[FLAG_SQL] != NULL;
    roles    r;
    cli_exit rc = roles_read(c, &r);

    if (rc != CLI_OK)
        return rc;
    rc = dry ? cli_open_to_plan(c) : cli_open(c);
    if (rc == CLI_OK)
        rc = install(c, &r, dry);
    free(r.text);
    return rc;
}

/* --- verify ----------------------------------------------------------------------------------- */

static json_t *warnings_document(const pgqrs_description *about)
{
    json_t *array = cli_need(json_array());

    for (size_t i = 0; i < about->warnings_count; i++)
        (void)json_array_append_new(array, cli_need(json_string(about->warnings[i])));
    return array;
}

static void verify_document(const pgqrs_description *about, const pgqrs_error *verdict)
{
    cli_document *d = cli_document_new();

    cli_document_bool(d, "ok", verdict->status == PGQRS_OK);
    cli_document_text(d, "problem", verdict->status == PGQRS_OK ? NULL : verdict->message);
    cli_document_text(d, "detail", verdict->detail[0] == '\0' ? NULL : verdict->detail);
    cli_document_text(d, "library", pgqrs_version());
    cli_document_text(d, "backend", about->backend);
    cli_document_text(d, "version", about->version);
    cli_document_text(d, "schema", about->schema);
    cli_document_int(d, "schema_version", about->schema_version);
    cli_document_int(d, "needed_version", about->needed_version);
    cli_document_member(d, "warnings", warnings_document(about));
    cli_document_print(d);
}

static void line(const char *label, cli_style style, const char *text)
{
    char *clean = cli_text_clean(text);

    (void)printf("%s%-9s%s %s%s%s\n", cli_style_begin(STYLE_DIM), label, cli_style_end(STYLE_DIM),
                 cli_style_begin(style), clean, cli_style_end(style));
    free(clean);
}

static void verify_words(const pgqrs_description *about, const pgqrs_error *verdict)
{
    char text[1200];

    line("library", STYLE_PLAIN, pgqrs_version());
    (void)snprintf(text, sizeof(text), "%s %s", about->backend, about->version);
    line("database", STYLE_PLAIN, text);
    (void)snprintf(text, sizeof(text), "%s%sversion %d; this library needs %d",
                   about->schema == NULL ? "" : about->schema, about->schema == NULL ? "" : ", ",
                   about->schema_version, about->needed_version);
    line("schema", STYLE_PLAIN, text);
    (void)snprintf(text, sizeof(text), "%s%s%s",
                   verdict->status == PGQRS_OK ? "as it should be" : verdict->message,
                   verdict->detail[0] == '\0' ? "" : ": ", verdict->detail);
    line("tables", verdict->status == PGQRS_OK ? STYLE_GOOD : STYLE_BAD, text);
    for (size_t i = 0; i < about->warnings_count; i++)
        line("warning", STYLE_WAITING, about->warnings[i]);
}

cli_exit cli_run_verify(cli *c)
{
    pgqrs_description *about = NULL;
    pgqrs_error        verdict;
    pgqrs_error        error;
    cli_exit           rc = cli_open(c);

    if (rc != CLI_OK)
        return rc;
    if (pgqrs_store_describe(c->store, &about, &error) != PGQRS_OK)
        return cli_fail(c, &error);
    if (pgqrs_verify(c->store, &verdict) != PGQRS_OK && verdict.status != PGQRS_ESCHEMA) {
        pgqrs_description_free(about);
        return cli_fail(c, &verdict); /* not found out */
    }
    if (c->json)
        verify_document(about, &verdict);
    else
        verify_words(about, &verdict);
    pgqrs_description_free(about);
    return verdict.status == PGQRS_OK ? CLI_OK : cli_fail(c, &verdict);
}
