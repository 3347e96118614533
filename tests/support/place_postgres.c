#include "support/place.h"

#include <stdlib.h>
#include <unistd.h>

#ifdef PGQRS_HAVE_POSTGRES

#include <libpq-fe.h>

static bool run(PGconn *pg, const char *sql, char *out, size_t size)
{
    PGresult      *result = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(result);
    bool           done   = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    out[0]                = '\0';
    if (status == PGRES_TUPLES_OK && PQntuples(result) > 0 && PQnfields(result) > 0)
        (void)snprintf(out, size, "%s", PQgetvalue(result, 0, 0));
    if (!done)
        print_error("%s\n%s\n", sql, PQerrorMessage(pg));
    PQclear(result);
    return done;
}

void place_make_postgres(world *w)
{
    static unsigned made;
    char            sql[512], ignored[8];
    const char     *dsn    = getenv("PGQRS_TEST_PG");
    const char     *direct = getenv("PGQRS_TEST_PG_DIRECT");
    if (dsn == NULL) {
        print_message("PGQRS_TEST_PG does not say where a server is: skipped\n");
        exit(77);
    }
    w->pooled = direct != NULL;
    (void)snprintf(w->dsn, sizeof(w->dsn), "%s", dsn);
    (void)snprintf(w->direct, sizeof(w->direct), "%s", w->pooled ? direct : dsn);
    (void)snprintf(w->schema, sizeof(w->schema), "case_%ld_%u", (long)getpid(), made++);
    w->pg = PQconnectdb(w->direct);
    if (PQstatus(w->pg) != CONNECTION_OK)
        fail_msg("could not connect to the server: %s", PQerrorMessage(w->pg));
    (void)snprintf(sql, sizeof(sql),
                   "SET client_min_messages = warning; SET lock_timeout = '20s';"
                   "DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s; SET search_path = %s",
                   w->schema, w->schema, w->schema);
    assert_true(run(w->pg, sql, ignored, sizeof(ignored)));
}

void place_remove_postgres(world *w)
{
    char sql[128], ignored[8];
    (void)snprintf(sql, sizeof(sql), "DROP SCHEMA IF EXISTS %s CASCADE", w->schema);
    bool dropped = run(w->pg, sql, ignored, sizeof(ignored));
    PQfinish(w->pg);
    assert_true(dropped);
}

void place_sql_postgres(world *w, const char *sql, char *out, size_t size)
{
    assert_true(run(w->pg, sql, out, size));
}

#else

void place_make_postgres(world *w)
{
    (void)w;
    fail_msg("this build has no PostgreSQL");
}

void place_remove_postgres(world *w)
{
    (void)w;
}

void place_sql_postgres(world *w, const char *sql, char *out, size_t size)
{
    (void)w;
    (void)sql;
    (void)snprintf(out, size, "%s", "");
}

#endif
