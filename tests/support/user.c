#include "support/user.h"

#include <pgqrs/postgres.h>
#include <pgqrs/sqlite.h>
#include <pgqrs/turso.h>

#include "support/raw_turso.h"

#ifdef PGQRS_HAVE_POSTGRES
#include <libpq-fe.h>
#endif
#ifdef PGQRS_HAVE_SQLITE
#include <sqlite3.h>
#endif

static bool run_pg(struct pg_conn *pg, const char *sql)
{
    bool done = false;
#ifdef PGQRS_HAVE_POSTGRES
    PGresult      *answer = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(answer);

    done = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    PQclear(answer);
#else
    (void)pg;
    (void)sql;
#endif
    return done;
}

static bool run_sqlite(struct sqlite3 *db, const char *sql)
{
#ifdef PGQRS_HAVE_SQLITE
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
#else
    (void)db;
    (void)sql;
    return false;
#endif
}

void user_open(user *u, world *w)
{
    *u = (user){ .w = w };
    if (w->turso)
        skip(); /* no connection of Turso's is adopted */
#ifdef PGQRS_HAVE_POSTGRES
    if (w->postgres) {
        char sql[128];

        u->pg = PQconnectdb(w->direct);
        assert_int_equal(CONNECTION_OK, PQstatus(u->pg));
        (void)snprintf(sql, sizeof(sql), "SET search_path = %s; SET lock_timeout = '20s'",
                       w->schema);
        user_do(u, sql);
    }
#endif
#ifdef PGQRS_HAVE_SQLITE
    if (!w->postgres) {
        assert_int_equal(SQLITE_OK, sqlite3_open(w->path, &u->sqlite));
        assert_int_equal(SQLITE_OK, sqlite3_busy_timeout(u->sqlite, 20000));
    }
#endif
}

void user_close(user *u)
{
#ifdef PGQRS_HAVE_POSTGRES
    PQfinish(u->pg);
#endif
#ifdef PGQRS_HAVE_SQLITE
    assert_int_equal(SQLITE_OK, sqlite3_close(u->sqlite)); /* refused while something is prepared */
#endif
    u->pg     = NULL;
    u->sqlite = NULL;
}

bool user_try(user *u, const char *sql)
{
    return u->w->postgres ? run_pg(u->pg, sql) : run_sqlite(u->sqlite, sql);
}

void user_do(user *u, const char *sql)
{
    if (!user_try(u, sql))
        fail_msg("the user's SQL failed: %s", sql);
}

void user_begin(user *u)
{
    user_do(u, u->w->postgres ? "BEGIN" : "BEGIN IMMEDIATE");
}

pgqrs_status user_adopt(user *u, pgqrs_store **out_store)
{
    const pgqrs_store_options options = world_options(u->w);

    return u->w->postgres ? pgqrs_adopt_pgconn(u->pg, &options, out_store, &failure)
                          : pgqrs_adopt_sqlite3(u->sqlite, &options, out_store, &failure);
}

pgqrs_store *user_adopted(user *u)
{
    pgqrs_store *store = NULL;

    assert_ok(user_adopt(u, &store));
    assert_non_null(store);
    return store;
}

bool step_try(world *w, pgqrs_step *step, const char *sql)
{
    struct pg_conn *pg     = pgqrs_step_pgconn(step);
    struct sqlite3 *sqlite = pgqrs_step_sqlite3(step);
    raw_turso       turso  = { .connection = pgqrs_step_turso(step) };
    char            path[128];

    assert_true((pg != NULL) == w->postgres);
    assert_true((turso.connection != NULL) == w->turso);
    assert_true((sqlite != NULL) == (!w->postgres && !w->turso));
    if (w->turso)
        return raw_turso_run(&turso, sql, NULL, NULL) == 0;
    if (!w->postgres)
        return run_sqlite(sqlite, sql);
    (void)snprintf(path, sizeof(path), "SET LOCAL search_path = %s", w->schema);
    return run_pg(pg, path) && run_pg(pg, sql);
}

void step_do(world *w, pgqrs_step *step, const char *sql)
{
    if (!step_try(w, step, sql))
        fail_msg("the user's SQL in the step failed: %s", sql);
}
