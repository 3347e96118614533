#include "support/storm_check.h"

#include "support/processes.h"
#include "support/raw_turso.h"

#include <stdlib.h>

#define COLUMNS_MAX 16

/* What a query calls for each row. */
typedef struct row_call {
    void (*on_row)(void *user_data, const char *const *values);
    void *user_data;
} row_call;

/* Of files: every delivery is written down by the database itself, as with PostgreSQL below. */
static const char deliveries[] =
    "DROP TRIGGER IF EXISTS storm_delivered;"
    "DROP TABLE IF EXISTS storm_deliveries;"
    "CREATE TABLE storm_deliveries (n INTEGER PRIMARY KEY AUTOINCREMENT,"
    " message_id INTEGER NOT NULL, lease INTEGER NOT NULL, attempt INTEGER NOT NULL);"
    "CREATE TRIGGER storm_delivered AFTER INSERT ON pgqrs_leased BEGIN"
    " INSERT INTO storm_deliveries (message_id, lease, attempt)"
    " VALUES (NEW.message_id, NEW.lease, NEW.attempt); END";

static void on_turso_row(void *user, size_t columns, const char *const *values)
{
    const row_call *call               = user;
    const char     *given[COLUMNS_MAX] = { 0 };

    for (size_t i = 0; i < columns && i < COLUMNS_MAX; i++)
        given[i] = values[i] != NULL ? values[i] : "";
    call->on_row(call->user_data, given);
}

/* Between two processes that have the file, one after the other: it is not kept open. */
static void query_turso(storm_look *look, const char *sql, row_call *call)
{
    raw_turso raw;
    if (!raw_turso_open(&raw, look->w->path)
        || raw_turso_run(&raw, sql, call->on_row != NULL ? on_turso_row : NULL, call) != 0)
        fail_msg("%s\n%s", sql, raw.said);
    raw_turso_close(&raw);
}

#ifdef PGQRS_HAVE_SQLITE

#include <sqlite3.h>

static int on_sqlite_row(void *user, int columns, char **values, char **names)
{
    const row_call *call               = user;
    const char     *given[COLUMNS_MAX] = { 0 };

    (void)names;
    for (int i = 0; i < columns && i < COLUMNS_MAX; i++)
        given[i] = values[i] != NULL ? values[i] : "";
    call->on_row(call->user_data, given);
    return 0;
}

static void query_sqlite(storm_look *look, const char *sql, row_call *call)
{
    char *said = NULL;
    if (sqlite3_exec(look->sqlite, sql, call->on_row != NULL ? on_sqlite_row : NULL, call, &said)
        != SQLITE_OK)
        fail_msg("%s\n%s", sql, said);
}

static void open_sqlite(storm_look *look)
{
    assert_int_equal(SQLITE_OK, sqlite3_open(look->w->path, &look->sqlite));
    (void)sqlite3_busy_timeout(look->sqlite, 20000);
    (void)sqlite3_db_config(look->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    storm_query(look, "PRAGMA wal_autocheckpoint = 0", NULL, NULL);
    storm_query(look, deliveries, NULL, NULL);
}

static void close_sqlite(storm_look *look)
{
    assert_int_equal(SQLITE_OK, sqlite3_close(look->sqlite));
    look->sqlite = NULL;
}

#else

static void query_sqlite(storm_look *look, const char *sql, row_call *call)
{
    (void)look, (void)sql, (void)call;
}

static void open_sqlite(storm_look *look)
{
    (void)look;
}

static void close_sqlite(storm_look *look)
{
    (void)look;
}

#endif

#ifdef PGQRS_HAVE_POSTGRES

#include <libpq-fe.h>

static bool worked(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
}

/* After a restart of the server the connection must be made anew. */
static PGresult *run_postgres(world *w, const char *sql)
{
    PGresult *result = PQexec(w->pg, sql);
    char      path[128];

    (void)snprintf(path, sizeof(path), "SET client_min_messages = error; SET search_path = %s",
                   w->schema);
    for (int tries = 0; !worked(result) && tries < 100; tries++) {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        if (state != NULL && strncmp(state, "57P", 3) != 0)
            break; /* the server's own answer */
        PQclear(result);
        PQreset(w->pg);
        result = PQexec(w->pg, path);
        if (worked(result)) {
            PQclear(result);
            result = PQexec(w->pg, sql);
        } else {
            sleep_us(50 * PGQRS_MILLISECOND);
        }
    }
    return result;
}

static void query_postgres(storm_look *look, const char *sql, row_call *call)
{
    PGresult *result = run_postgres(look->w, sql);

    if (!worked(result))
        fail_msg("%s\n%s", sql, PQresultErrorMessage(result));
    for (int row = 0; call->on_row != NULL && row < PQntuples(result); row++) {
        const char *given[COLUMNS_MAX] = { 0 };
        for (int i = 0; i < PQnfields(result) && i < COLUMNS_MAX; i++)
            given[i] = PQgetvalue(result, row, i);
        call->on_row(call->user_data, given);
    }
    PQclear(result);
}

#else

static void query_postgres(storm_look *look, const char *sql, row_call *call)
{
    (void)look, (void)sql, (void)call;
}

#endif

/* Every delivery is written down by the database itself: who got which message, as which attempt.
 */
static void write_deliveries_down(storm_look *look)
{
    char sql[1024];
    (void)snprintf(sql, sizeof(sql),
                   "SET client_min_messages = warning;"
                   "DROP TABLE IF EXISTS storm_deliveries;"
                   "CREATE TABLE storm_deliveries (n bigserial PRIMARY KEY,"
                   " message_id bigint NOT NULL, lease bigint NOT NULL, attempt int NOT NULL);"
                   "CREATE OR REPLACE FUNCTION storm_delivered() RETURNS trigger"
                   " LANGUAGE plpgsql AS $$"
                   " BEGIN INSERT INTO %s.storm_deliveries (message_id, lease, attempt)"
                   " VALUES (NEW.message_id, NEW.lease, NEW.attempt); RETURN NULL; END $$;"
                   "DROP TRIGGER IF EXISTS storm_delivered ON pgqrs_leased;"
                   "CREATE TRIGGER storm_delivered AFTER INSERT ON pgqrs_leased"
                   " FOR EACH ROW EXECUTE FUNCTION storm_delivered()",
                   look->w->schema);
    storm_query(look, sql, NULL, NULL);
}

void storm_look_open(storm_look *look, world *w, storm_report *report)
{
    *look = (storm_look){ .w = w, .report = report };
    if (w->postgres)
        write_deliveries_down(look);
    else if (w->turso)
        storm_query(look, deliveries, NULL, NULL);
    else
        open_sqlite(look);
}

void storm_look_close(storm_look *look)
{
    if (look->sqlite != NULL)
        close_sqlite(look);
}

void storm_query(storm_look *look, const char                                     *sql,
                 void (*on_row)(void *user_data, const char *const *values), void *user_data)
{
    row_call call = { on_row, user_data };
    if (look->w->postgres)
        query_postgres(look, sql, &call);
    else if (look->w->turso)
        query_turso(look, sql, &call);
    else
        query_sqlite(look, sql, &call);
}

static void take_number(void *user_data, const char *const *values)
{
    *(int64_t *)user_data = strtoll(values[0], NULL, 10);
}

int64_t storm_number(storm_look *look, const char *sql)
{
    int64_t number = 0;
    storm_query(look, sql, take_number, &number);
    return number;
}
