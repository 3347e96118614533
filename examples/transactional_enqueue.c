/* A row of the user's and a message about it exist together, or neither does: the message is put in
 * by the transaction that the user has open.
 *
 *     transactional_enqueue DSN      postgresql://… or sqlite:///path
 */
#include <libpq-fe.h>
#include <pgqrs/pgqrs.h>
#include <pgqrs/postgres.h>
#include <pgqrs/sqlite.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/* The user's own connection. */
static PGconn  *pg;
static sqlite3 *lite;

static int sql(const char *text)
{
    PGresult *result;
    int       ok;

    if (pg == NULL)
        return sqlite3_exec(lite, text, NULL, NULL, NULL) == SQLITE_OK;
    result = PQexec(pg, text);
    ok     = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return ok;
}

static int connect_to(const char *dsn)
{
    static const char prefix[] = "sqlite://";

    if (strncmp(dsn, prefix, strlen(prefix)) == 0)
        return sqlite3_open(dsn + strlen(prefix), &lite) == SQLITE_OK
               && sqlite3_busy_timeout(lite, 5000) == SQLITE_OK;
    pg = PQconnectdb(dsn);
    return PQstatus(pg) == CONNECTION_OK;
}

/* An order, and the job to ship it. */
static pgqrs_status place_order(const char *end, pgqrs_error *error)
{
    pgqrs_store *here = NULL;
    int64_t      id;
    pgqrs_status rc;

    if (!sql(pg != NULL ? "BEGIN" : "BEGIN IMMEDIATE")
        || !sql("INSERT INTO orders (what) VALUES ('a book')"))
        return PGQRS_EDB;

    /* The same functions, your transaction. */
    rc = pg != NULL ? pgqrs_adopt_pgconn(pg, NULL, &here, error)
                    : pgqrs_adopt_sqlite3(lite, NULL, &here, error);
    if (rc == PGQRS_OK)
        rc = pgqrs_enqueue(here, "shipping", "{\"order\":\"a book\"}", NULL, &id, error);
    pgqrs_close(here); /* yours stays open */

    return sql(rc == PGQRS_OK ? end : "ROLLBACK") ? rc : PGQRS_EDB;
}

int main(int argc, char **argv)
{
    pgqrs_error         error = { 0 };
    pgqrs_store        *store = NULL;
    pgqrs_queue_metrics metrics;
    int                 done = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: transactional_enqueue DSN\n");
        return 2;
    }
    if (pgqrs_open(argv[1], NULL, &store, &error) == PGQRS_OK
        && pgqrs_install(store, &error) == PGQRS_OK
        && pgqrs_queue_ensure(store, "shipping", NULL, &error) == PGQRS_OK && connect_to(argv[1])
        && sql("CREATE TABLE IF NOT EXISTS orders (what text)")
        && place_order("COMMIT", &error) == PGQRS_OK
        && place_order("ROLLBACK", &error) == PGQRS_OK /* as if it had never been */
        && pgqrs_queue_measure(store, "shipping", &metrics, &error) == PGQRS_OK) {
        printf("to be shipped: %lld\n", (long long)metrics.ready);
        done = 1;
    } else {
        fprintf(stderr, "failed: %s\n%s\n", error.message, error.hint);
    }
    PQfinish(pg);
    sqlite3_close(lite);
    pgqrs_close(store);
    return done ? 0 : 1;
}
