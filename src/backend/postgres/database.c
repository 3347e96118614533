#include "backend/postgres/postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "migrations.h"
#include "util/alloc.h"
#include "util/error.h"

void pgqrs__pg_log(const pgqrs__db *db, pgqrs_log_level level, const char *text)
{
    if (db->settings.log != NULL)
        db->settings.log(db->settings.log_data, level, text);
}

uint64_t pgqrs__pg_hash(uint64_t seed, const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ seed; /* FNV-1a, then mixed */

    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 33;
}

void pgqrs__pg_qualify(const pgqrs__db *db, const char *sql, pgqrs__buf *out)
{
    static const char token[]    = "@schema.";
    bool              in_literal = false;

    for (const char *at = sql; *at != '\0'; at++) {
        if (*at != '@' || strncmp(at, token, sizeof token - 1) != 0) {
            in_literal ^= *at == '\'';
            pgqrs__buf_char(out, *at);
            continue;
        }
        for (const char *c = db->quoted; *c != '\0'; c++) {
            if (*c == '\'' && in_literal)
                pgqrs__buf_char(out, '\'');
            pgqrs__buf_char(out, *c);
        }
        pgqrs__buf_char(out, '.');
        at += sizeof token - 2;
    }
}

/* Under the lock. What was made when it fails stays, and is freed with the database. */
static bool resolve(pgqrs__db *db, const char *schema)
{
    pgqrs__buf text;

    pgqrs__buf_init(&text);
    db->schema = pgqrs__strdup(schema);
    pgqrs__buf_char(&text, '"');
    for (const char *c = schema; *c != '\0'; c++) {
        if (*c == '"')
            pgqrs__buf_char(&text, '"');
        pgqrs__buf_char(&text, *c);
    }
    pgqrs__buf_char(&text, '"');
    db->quoted = pgqrs__buf_take(&text);
    if (db->schema == NULL || db->quoted == NULL)
        return false;
    (void)snprintf(db->channel, sizeof db->channel, "pgqrs_%016" PRIx64, pgqrs__pg_hash(0, schema));

    for (int i = 0; i < PGQRS__STMT_COUNT; i++) {
        pgqrs__pg_qualify(db, pgqrs__sql_postgres[i].parts[0], &text);
        db->sql[i] = pgqrs__buf_take(&text);
        if (db->sql[i] == NULL)
            return false;
        /* Named after its text: should a pooler give us a session that somebody else has prepared
         * statements in, the same name is the same statement. */
        (void)snprintf(db->names[i], PGQRS__PG_NAME_MAX, "pgqrs_%016" PRIx64,
                       pgqrs__pg_hash(0, db->sql[i]));
    }
    return true;
}

static void forget(pgqrs__db *db)
{
    for (int i = 0; i < PGQRS__STMT_COUNT; i++) {
        pgqrs__free(db->sql[i]);
        db->sql[i] = NULL;
    }
    pgqrs__free(db->schema);
    pgqrs__free(db->quoted);
    db->schema = db->quoted = NULL;
}

pgqrs_status pgqrs__pg_resolve(pgqrs__db *db, const char *schema, pgqrs_error *error)
{
    bool done = true;

    pgqrs__mutex_lock(&db->lock);
    if (!atomic_load(&db->resolved)) {
        done = resolve(db, schema);
        if (done)
            atomic_store(&db->resolved, true);
        else
            forget(db);
    }
    pgqrs__mutex_unlock(&db->lock);
    return done ? PGQRS_OK : pgqrs__nomem(error);
}

static void close_database(pgqrs__db *db, bool forked)
{
    (void)forked;
    if (db == NULL)
        return;
    forget(db);
    pgqrs__pg_dsn_free(&db->dsn);
    pgqrs__pg_dsn_free(&db->listen);
    pgqrs__free(db->wanted);
    pgqrs__mutex_destroy(&db->lock);
    pgqrs__free(db);
}

pgqrs_status pgqrs__pg_database_new(const pgqrs__settings *settings, pgqrs__db **out_db,
                                    pgqrs_error *error)
{
    pgqrs__db   *db = pgqrs__calloc(1, sizeof *db);
    pgqrs_status rc = PGQRS_OK;

    *out_db = NULL;
    if (db == NULL)
        return pgqrs__nomem(error);
    if (!pgqrs__mutex_init(&db->lock)) {
        pgqrs__free(db);
        return pgqrs__nomem(error);
    }
    db->settings            = *settings;
    db->settings.schema     = NULL;
    db->settings.listen_dsn = NULL;
    atomic_init(&db->pooled, settings->pooled == 1);
    atomic_init(&db->resolved, false);

    if (settings->schema != NULL) {
        db->wanted = pgqrs__strdup(settings->schema);
        rc         = db->wanted == NULL ? pgqrs__nomem(error)
                                        : pgqrs__pg_resolve(db, settings->schema, error);
    }
    if (rc != PGQRS_OK) {
        close_database(db, false);
        return rc;
    }
    *out_db = db;
    return PGQRS_OK;
}

static pgqrs_status open_database(const char *dsn, const pgqrs__settings *settings,
                                  pgqrs__db **out_db, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__pg_database_new(settings, out_db, error);

    if (rc == PGQRS_OK)
        rc = pgqrs__pg_dsn_read(&(*out_db)->dsn, dsn, error);
    if (rc == PGQRS_OK && settings->listen_dsn != NULL)
        rc = pgqrs__pg_dsn_read(&(*out_db)->listen, settings->listen_dsn, error);
    if (rc != PGQRS_OK) {
        close_database(*out_db, false);
        *out_db = NULL;
    }
    return rc;
}

/* Known from the first connection on. */
static const char *channel(pgqrs__db *db)
{
    return atomic_load(&db->resolved) ? db->channel : NULL;
}

static void counters(pgqrs__db *db, pgqrs_counters *out)
{
    *out             = (pgqrs_counters){ 0 };
    out->statements  = atomic_load_explicit(&db->statements, memory_order_relaxed);
    out->round_trips = atomic_load_explicit(&db->round_trips, memory_order_relaxed);
    out->commits     = atomic_load_explicit(&db->commits, memory_order_relaxed);
}

static const char *const schemes[] = { "postgresql://", "postgres://", NULL };

const pgqrs__backend pgqrs__backend_postgres = {
    .name = "postgres",
    .caps = PGQRS__CAP_WRITERS | PGQRS__CAP_NOTIFY | PGQRS__CAP_HINTS | PGQRS__CAP_HOLD
            | PGQRS__CAP_REMOTE,
    .sql              = pgqrs__sql_postgres,
    .migrations       = pgqrs__migrations_postgres,
    .migrations_count = &pgqrs__migrations_postgres_count,
    .schemes          = schemes,
    .open             = open_database,
    .close            = close_database,
    .connect          = pgqrs__pg_connect,
    .disconnect       = pgqrs__pg_disconnect,
    .usable           = pgqrs__pg_usable,
    .run              = pgqrs__pg_run,
    .adopt            = pgqrs__pg_adopt,
    .begin            = pgqrs__pg_begin,
    .end              = pgqrs__pg_end,
    .lend             = pgqrs__pg_lend,
    .script           = pgqrs__pg_script,
    .lock_install     = pgqrs__pg_lock_install,
    .has_table        = pgqrs__pg_has_table,
    .has_index        = pgqrs__pg_has_index,
    .grant            = pgqrs__pg_grant,
    .script_begin     = pgqrs__pg_script_begin,
    .script_text      = pgqrs__pg_script_text,
    .script_grant     = pgqrs__pg_script_grant,
    .now_sql          = "statement_timestamp()",
    .describe         = pgqrs__pg_describe,
    .prepare          = pgqrs__pg_prepare,
    .wait             = pgqrs__pg_wait,
    .wake             = pgqrs__pg_wake,
    .channel          = channel,
    .counters         = counters,
};
