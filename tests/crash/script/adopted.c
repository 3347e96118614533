/* A transaction of the user's own. */
#include "crash/script/script.h"

typedef struct own {
    struct sqlite3 *sqlite;
    struct pg_conn *pg;
    pgqrs_store    *here;
} own;

#ifdef PGQRS_HAVE_SQLITE
#include <sqlite3.h>

#include <pgqrs/sqlite.h>

static bool sqlite_say(const own *o, const char *sql)
{
    return sqlite3_exec(o->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static bool sqlite_adopt(own *o, const pgqrs_store_options *options)
{
    return sqlite3_open(strstr(dsn, "://") + 3, &o->sqlite) == SQLITE_OK
           && sqlite3_busy_timeout(o->sqlite, 20000) == SQLITE_OK
           && sqlite_say(o, "BEGIN IMMEDIATE")
           && EXPECT(OK, pgqrs_adopt_sqlite3(o->sqlite, options, &o->here, &failed)) == PGQRS_OK;
}

static void sqlite_close(own *o)
{
    (void)sqlite3_close(o->sqlite);
}
#else
static bool sqlite_say(const own *o, const char *sql)
{
    (void)o, (void)sql;
    return false;
}

static bool sqlite_adopt(own *o, const pgqrs_store_options *options)
{
    (void)o, (void)options;
    return false;
}

static void sqlite_close(own *o)
{
    (void)o;
}
#endif

#ifdef PGQRS_HAVE_POSTGRES
#include <libpq-fe.h>

#include <pgqrs/postgres.h>

static bool postgres_say(const own *o, const char *sql)
{
    PGresult  *result = PQexec(o->pg, sql);
    const bool done   = PQresultStatus(result) == PGRES_COMMAND_OK;

    PQclear(result);
    return done;
}

static bool postgres_adopt(own *o, const pgqrs_store_options *options)
{
    o->pg = PQconnectdb(dsn);
    return postgres_say(o, "BEGIN")
           && EXPECT(OK, pgqrs_adopt_pgconn(o->pg, options, &o->here, &failed)) == PGQRS_OK;
}

static void postgres_close(own *o)
{
    PQfinish(o->pg);
}
#else
static bool postgres_say(const own *o, const char *sql)
{
    (void)o, (void)sql;
    return false;
}

static bool postgres_adopt(own *o, const pgqrs_store_options *options)
{
    (void)o, (void)options;
    return false;
}

static void postgres_close(own *o)
{
    (void)o;
}
#endif

void part_adopted(void)
{
    const bool                on_sqlite = strncmp(dsn, "sqlite", 6) == 0;
    const pgqrs_store_options options   = { .struct_size = sizeof(options),
                                            .schema      = on_sqlite ? NULL : schema,
                                            .clock       = { wall_clock, monotonic_clock, NULL } };
    own                       o         = { 0 };
    pgqrs_messages           *messages  = NULL;
    int64_t                   first = 0, second = 0;

    if (!(on_sqlite ? sqlite_adopt(&o, &options) : postgres_adopt(&o, &options))) {
        wrong("a transaction of our own", PGQRS_EDB, &failed);
        return;
    }
    (void)EXPECT(OK, pgqrs_enqueue(o.here, "hot", "1", NULL, &first, &failed));
    (void)EXPECT(OK, pgqrs_enqueue(o.here, "plain", "1", NULL, &second, &failed));
    (void)EXPECT(OK, pgqrs_claim_id(o.here, first, NULL, &messages, &failed));
    if (pgqrs_messages_count(messages) == 1)
        (void)EXPECT(OK, pgqrs_archive(o.here, pgqrs_messages_at(messages, 0), &failed));
    pgqrs_messages_free(messages);
    pgqrs_close(o.here);
    PGQRS__FAILPOINT("before the user's COMMIT");
    const bool done = on_sqlite ? sqlite_say(&o, "COMMIT") : postgres_say(&o, "COMMIT");
    PGQRS__FAILPOINT("the user has committed");
    if (done) {
        note("enqueued %lld 0 0 hot -", (long long)first);
        note("enqueued %lld 0 0 plain -", (long long)second);
    } else {
        wrong("the user's COMMIT", PGQRS_EDB, NULL);
    }
    if (on_sqlite)
        sqlite_close(&o);
    else
        postgres_close(&o);
}
