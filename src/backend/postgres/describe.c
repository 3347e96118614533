#include "backend/postgres/postgres.h"

#include <stdio.h>
#include <string.h>

#include "util/error.h"

static const char about_sql[] =
    "SELECT current_setting('server_version'), current_setting('fsync'),"
    " current_setting('full_page_writes'), current_setting('synchronous_commit'),"
    " pg_catalog.pg_is_in_recovery()::text";

/* Settings with which an acknowledged write may be lost, and what that means. */
static const struct {
    int         column;
    const char *value;
    const char *warning;
} dangers[] = {
    { 1, "off", "fsync is off: a crash of the machine can lose or damage everything" },
    { 2, "off", "full_page_writes is off: a crash of the machine can damage what was stored" },
    { 3, "off", "synchronous_commit is off: the last acknowledged writes can be lost in a crash" },
    { 4, "true", "the server is a standby: nothing can be written here" },
};

static pgqrs_status on_about(pgqrs__conn *conn, pgqrs__pg_item *item, const PGresult *answer,
                             pgqrs_error *error)
{
    pgqrs__about *about = item->out;

    (void)conn;
    (void)error;
    if (PQntuples(answer) != 1)
        return PGQRS_OK;
    (void)snprintf(about->version, sizeof about->version, "%s", PQgetvalue(answer, 0, 0));
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(dangers); i++) {
        if (strcmp(PQgetvalue(answer, 0, dangers[i].column), dangers[i].value) == 0)
            pgqrs__buf_printf(&about->warnings, "%s\n", dangers[i].warning);
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs__pg_describe(pgqrs__conn *conn, pgqrs__about *about, int64_t deadline_us,
                                pgqrs_error *error)
{
    pgqrs_status rc = pgqrs__pg_open(conn, deadline_us, error);

    (void)snprintf(about->schema, sizeof about->schema, "%s", conn->db->schema);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_send(conn, about_sql, 0, NULL, on_about, about, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__pg_close(conn, PGQRS__PG_STAKE_NONE, deadline_us, error);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}
