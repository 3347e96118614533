#include "support/peek.h"

#include <stdlib.h>

#include "support/place.h"

static void run(world *w, const char *sql, char *out, size_t size)
{
    if (w->postgres)
        place_sql_postgres(w, sql, out, size);
    else if (w->turso)
        place_sql_turso(w, sql, out, size);
    else
        place_sql_sqlite(w, sql, out, size);
}

void sql_run(world *w, const char *sql)
{
    char ignored[8];
    run(w, sql, ignored, sizeof(ignored));
}

void sql_run_each(world *w, const char *postgres, const char *sqlite)
{
    const char *sql = w->postgres ? postgres : sqlite;
    if (sql != NULL)
        sql_run(w, sql);
}

int64_t sql_number(world *w, const char *sql)
{
    char text[64];
    run(w, sql, text, sizeof(text));
    return strtoll(text, NULL, 10);
}

void sql_text(world *w, const char *sql, char *out, size_t size)
{
    run(w, sql, out, size);
}

int64_t end_sessions(world *w, const char *condition)
{
    char    pids[1000], sql[1400];
    int64_t ended;
    (void)snprintf(sql, sizeof(sql),
                   "SELECT coalesce(string_agg(pid::text, ','), '') FROM (SELECT pid, "
                   "pg_terminate_backend(pid) AS told FROM pg_stat_activity "
                   "WHERE pid <> pg_backend_pid() AND %s OFFSET 0) a",
                   condition);
    sql_text(w, sql, pids, sizeof(pids));
    (void)snprintf(sql, sizeof(sql), "SELECT coalesce(cardinality('{%s}'::int[]), 0)", pids);
    ended = sql_number(w, sql);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ('{%s}'::int[])", pids);
    while (sql_number(w, sql) > 0)
        continue;
    return ended;
}

void sql_fingerprint(world *w, char *out, size_t size)
{
    run(w,
        "SELECT (SELECT count(*) FROM pgqrs_queues) || ' ' ||"
        " (SELECT count(*) || ':' || coalesce(sum(id), 0) FROM pgqrs_messages) || ' ' ||"
        " (SELECT count(*) || ':' || coalesce(sum(seq), 0) FROM pgqrs_ready) || ' ' ||"
        " (SELECT count(*) || ':' || coalesce(sum(message_id), 0) FROM pgqrs_scheduled) || ' ' ||"
        " (SELECT count(*) || ':' || coalesce(sum(message_id), 0) FROM pgqrs_leased) || ' ' ||"
        " (SELECT count(*) || ':' || coalesce(sum(message_id), 0) FROM pgqrs_archive) || ' ' ||"
        " (SELECT count(*) || ':' || coalesce(sum(status), 0) FROM pgqrs_steps) || ' ' ||"
        " (SELECT count(*) FROM pgqrs_keys) || ' ' || (SELECT count(*) FROM pgqrs_workers)",
        out, size);
}

#define PLACES                                                                             \
    "(SELECT message_id FROM pgqrs_ready UNION ALL SELECT message_id FROM pgqrs_scheduled" \
    " UNION ALL SELECT message_id FROM pgqrs_leased"                                       \
    " UNION ALL SELECT message_id FROM pgqrs_archive) AS places"

/* One statement, and so one moment: what an abandoned call has sent may still be committed. */
void assert_consistent(world *w)
{
    char said[128];
    run(w,
        "SELECT CASE WHEN placed = distinct_placed AND placed = bodies AND placed = matched"
        " AND strays = 0 THEN 'consistent' ELSE placed || ' places of ' || distinct_placed ||"
        " ' messages, ' || bodies || ' bodies, ' || matched || ' of them placed, ' || strays ||"
        " ' stray steps' END FROM (SELECT"
        " (SELECT count(*) FROM " PLACES ") AS placed,"
        " (SELECT count(DISTINCT message_id) FROM " PLACES ") AS distinct_placed,"
        " (SELECT count(*) FROM pgqrs_messages) AS bodies,"
        " (SELECT count(*) FROM pgqrs_messages WHERE id IN"
        "  (SELECT message_id FROM " PLACES ")) AS matched,"
        " (SELECT count(*) FROM pgqrs_steps WHERE run_id NOT IN"
        "  (SELECT id FROM pgqrs_messages)) AS strays) AS counted",
        said, sizeof(said));
    assert_string_equal("consistent", said);
}
