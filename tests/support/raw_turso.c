#include "support/raw_turso.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef PGQRS_HAVE_TURSO

#include "backend/turso/library.h"

#define COLUMNS_MAX 32

bool raw_turso_there(void)
{
    pgqrs_error error;

    if (pgqrs__turso_load(NULL, NULL, NULL, &error) == PGQRS_OK)
        return true;
    (void)fprintf(stderr, "%s\n%s\n", error.message, error.detail);
    return false;
}

static int said(raw_turso *raw, int rc, const char *text)
{
    (void)snprintf(raw->said, sizeof(raw->said), "%s", text != NULL ? text : "");
    pgqrs__turso.str_deinit(text);
    return rc;
}

bool raw_turso_open(raw_turso *raw, const char *path)
{
    turso_config      config;
    turso_database   *database   = NULL;
    turso_connection *connection = NULL;
    const char       *text       = NULL;
    int               rc;

    *raw = (raw_turso){ 0 };
    if (!raw_turso_there())
        return false;
    memset(&config, 0, sizeof(config));
    config.as.path = path;
    rc             = pgqrs__turso.database_new(&config, &database, &text);
    if (rc == TURSO_OK)
        rc = pgqrs__turso.database_open(database, &text);
    if (rc == TURSO_OK)
        rc = pgqrs__turso.database_connect(database, &connection, &text);
    raw->database   = database;
    raw->connection = connection;
    if (rc != TURSO_OK) {
        (void)said(raw, rc, text);
        raw_turso_close(raw);
        return false;
    }
    return raw_turso_run(raw, "PRAGMA temp_store = memory", NULL, NULL) == 0;
}

void raw_turso_close(raw_turso *raw)
{
    if (raw->connection != NULL) {
        (void)pgqrs__turso.connection_close(raw->connection, NULL);
        pgqrs__turso.connection_deinit(raw->connection);
    }
    if (raw->database != NULL)
        pgqrs__turso.database_deinit(raw->database);
    raw->connection = NULL;
    raw->database   = NULL;
}

/* The values of a row as text, each to be freed. */
static void give_row(turso_statement *stmt, raw_turso_row on_row, void *user)
{
    char  *values[COLUMNS_MAX] = { 0 };
    size_t count               = (size_t)pgqrs__turso.statement_column_count(stmt);

    for (size_t i = 0; i < count && i < COLUMNS_MAX; i++) {
        size_t size = 32;
        int    kind = pgqrs__turso.statement_row_value_kind(stmt, i);

        if (kind == TURSO_TYPE_TEXT || kind == TURSO_TYPE_BLOB)
            size = (size_t)pgqrs__turso.statement_row_value_bytes_count(stmt, i) + 1;
        values[i] = calloc(1, size);
        if (values[i] == NULL)
            abort();
        if (kind == TURSO_TYPE_INTEGER)
            (void)snprintf(values[i], size, "%lld",
                           (long long)pgqrs__turso.statement_row_value_int(stmt, i));
        else if (kind == TURSO_TYPE_REAL)
            (void)snprintf(values[i], size, "%.17g",
                           pgqrs__turso.statement_row_value_double(stmt, i));
        else if (size > 1 && (kind == TURSO_TYPE_TEXT || kind == TURSO_TYPE_BLOB))
            memcpy(values[i], pgqrs__turso.statement_row_value_bytes_ptr(stmt, i), size - 1);
    }
    on_row(user, count, (const char *const *)values);
    for (size_t i = 0; i < COLUMNS_MAX; i++)
        free(values[i]);
}

int raw_turso_run(raw_turso *raw, const char *sql, raw_turso_row on_row, void *user)
{
    while (*sql != '\0') {
        turso_statement *stmt = NULL;
        const char      *text = NULL;
        size_t           tail = 0;
        int rc = pgqrs__turso.connection_prepare_first(raw->connection, sql, &stmt, &tail, &text);

        if (rc != TURSO_OK)
            return said(raw, rc, text);
        if (stmt == NULL)
            return 0;
        while ((rc = pgqrs__turso.statement_step(stmt, &text)) == TURSO_ROW) {
            if (on_row != NULL)
                give_row(stmt, on_row, user);
        }
        (void)pgqrs__turso.statement_reset(stmt, NULL);
        pgqrs__turso.statement_deinit(stmt);
        if (rc != TURSO_DONE && rc != TURSO_OK)
            return said(raw, rc, text);
        sql += tail;
    }
    return 0;
}

#else

bool raw_turso_there(void)
{
    (void)fprintf(stderr, "this build has no Turso\n");
    return false;
}

bool raw_turso_open(raw_turso *raw, const char *path)
{
    (void)raw, (void)path;
    return false;
}

void raw_turso_close(raw_turso *raw)
{
    (void)raw;
}

int raw_turso_run(raw_turso *raw, const char *sql, raw_turso_row on_row, void *user)
{
    (void)raw, (void)sql, (void)on_row, (void)user;
    return 127;
}

#endif
