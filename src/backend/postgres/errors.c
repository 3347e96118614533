#include "backend/postgres/postgres.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "util/error.h"

const char *pgqrs__pg_sqlstate(const PGresult *answer)
{
    const char *state = answer == NULL ? NULL : PQresultErrorField(answer, PG_DIAG_SQLSTATE);

    return state == NULL ? "" : state;
}

/* What a SQLSTATE means to a caller. A pattern is a whole code, or how several begin. */
typedef struct meaning {
    const char  *state;
    pgqrs_status status;
    unsigned     flags; /* beyond those of the status */
    const char  *hint;
    const char  *message; /* in place of the server's, which is a detail then */
} meaning;

static const char hint_install[] = "Run pgqrs_install() once.";
static const char no_tables[]    = "the pgqrs tables are not there";
static const char hint_roles[] =
    "pgqrs_install_roles() grants a role what a producer or a worker needs.";
static const char hint_primary[] =
    "Connect to the primary: target_session_attrs=read-write in the DSN finds it.";

static const meaning meanings[] = {
    { "40001", PGQRS_EBUSY, 0, NULL, NULL },     /* serialization_failure */
    { "40P01", PGQRS_EBUSY, 0, NULL, NULL },     /* deadlock_detected */
    { "55P03", PGQRS_EBUSY, 0, NULL, NULL },     /* lock_not_available */
    { "57014", PGQRS_ETIMEDOUT, 0, NULL, NULL }, /* query_canceled */
    { "26000", PGQRS_EBUSY, 0, NULL, NULL },     /* our prepared statement is gone */
    { "42P05", PGQRS_EBUSY, 0, NULL, NULL },     /* somebody else prepared it */
    { "57P", PGQRS_ECONN, 0, NULL, NULL },       /* shut down, crashed, dropped, idle too long */
    { "25P03", PGQRS_ECONN, 0, NULL, NULL },     /* idle in transaction for too long */
    { "08", PGQRS_ECONN, 0, NULL, NULL },        /* connection exceptions */
    { "53300", PGQRS_ECONN, 0, NULL, NULL },     /* too_many_connections */
    { "53", PGQRS_EDB, PGQRS_RETRYABLE, NULL, NULL },            /* insufficient resources */
    { "25006", PGQRS_EDB, PGQRS_RETRYABLE, hint_primary, NULL }, /* read_only_sql_transaction */
    { "42P01", PGQRS_ESCHEMA, 0, hint_install, no_tables },      /* undefined_table */
    { "42703", PGQRS_ESCHEMA, 0, hint_install, NULL },           /* undefined_column */
    { "3F000", PGQRS_ESCHEMA, 0, hint_install, no_tables },      /* invalid_schema_name */
    { "42501", PGQRS_EDB, 0, hint_roles, NULL },                 /* insufficient_privilege */
    { "28", PGQRS_ECONFIG, 0, NULL, NULL },                      /* authentication */
    { "3D000", PGQRS_ECONFIG, 0, NULL, NULL },                   /* no such database */
};

static const meaning *meaning_of(const char *state)
{
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(meanings); i++)
        if (strncmp(state, meanings[i].state, strlen(meanings[i].state)) == 0)
            return &meanings[i];
    return NULL;
}

static void set_state(pgqrs_error *error, const char *state)
{
    if (error != NULL)
        (void)snprintf(error->sqlstate, sizeof error->sqlstate, "%.5s", state);
}

static pgqrs_status fill(pgqrs_error *error, const char *state, const char *text)
{
    const meaning *what = meaning_of(state);
    pgqrs_status   rc   = what == NULL ? PGQRS_EDB : what->status;

    if (what != NULL && what->message != NULL) {
        (void)pgqrs__fail(error, rc, PGQRS_OBJECT_STORE, "%s", what->message);
        pgqrs__detail(error, "%s", text);
    } else {
        (void)pgqrs__fail(error, rc, PGQRS_OBJECT_NONE, "%s", text);
    }
    set_state(error, state);
    if (what != NULL) {
        pgqrs__flag(error, what->flags);
        if (what->hint != NULL)
            pgqrs__hint(error, "%s", what->hint);
    }
    return rc;
}

/* A session that does not know what we prepared in it: once is somebody's DISCARD ALL, twice is a
 * pooler that hands our transactions to different sessions. */
static void forget_prepared(pgqrs__conn *conn)
{
    memset(conn->prepared, 0, sizeof conn->prepared);
    memset(conn->checked, 0, sizeof conn->checked);
    conn->misses++;
    if (conn->misses < 2)
        return;
    if (!atomic_exchange(&conn->db->pooled, true)) /* every connection looks, before it sends */
        pgqrs__pg_log(
            conn->db, PGQRS_LOG_WARNING,
            "prepared statements do not stay: this looks like a transaction pooler, and is "
            "treated as one (set the store option pooled)");
}

pgqrs_status pgqrs__pg_fail(pgqrs__conn *conn, const PGresult *answer, pgqrs_error *error)
{
    const char  *state   = pgqrs__pg_sqlstate(answer);
    const char  *message = PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);
    const char  *detail  = PQresultErrorField(answer, PG_DIAG_MESSAGE_DETAIL);
    const char  *hint    = PQresultErrorField(answer, PG_DIAG_MESSAGE_HINT);
    pgqrs_status rc      = PGQRS_OK;

    if (strcmp(state, "22P02") == 0)
        rc = pgqrs__backend_undone(message, error);
    if (rc != PGQRS_OK) {
        set_state(error, state);
        return rc;
    }
    rc = fill(error, state, message != NULL ? message : PQresultErrorMessage(answer));
    /* Details of data errors repeat the data, and payloads are nobody's business. */
    if (detail != NULL && strncmp(state, "22", 2) != 0
        && (strncmp(state, "23", 2) != 0 || strcmp(state, "23505") == 0))
        pgqrs__detail(error, "%s", detail);
    if (hint != NULL && error != NULL && error->hint[0] == '\0')
        pgqrs__hint(error, "%s", hint);

    if (strcmp(state, "26000") == 0 || strcmp(state, "42P05") == 0) {
        forget_prepared(conn);
    } else if (strcmp(state, "0A000") == 0 && message != NULL
               && strstr(message, "cached plan") != NULL) {
        forget_prepared(conn);
        pgqrs__flag(error, PGQRS_RETRYABLE);
    } else if (strcmp(state, "25006") == 0) {
        conn->broken = true; /* a new one may find the primary */
    }
    return rc;
}

pgqrs_status pgqrs__pg_lost(pgqrs__conn *conn, const PGresult *failure, pgqrs_error *error)
{
    const char *state = pgqrs__pg_sqlstate(failure);
    const char *message =
        state[0] == '\0' ? NULL : PQresultErrorField(failure, PG_DIAG_MESSAGE_PRIMARY);
    pgqrs_status rc;

    if (message == NULL && conn->last_words[0] != '\0') {
        state   = conn->last_state;
        message = conn->last_words;
    }
    rc = pgqrs__fail(error, PGQRS_ECONN, PGQRS_OBJECT_STORE, "connection to the database lost");
    if (message != NULL) {
        pgqrs__detail(error, "%s", message);
        set_state(error, state);
    } else {
        char text[256];

        (void)snprintf(text, sizeof text, "%s", PQerrorMessage(conn->pg));
        pgqrs__pg_scrub(text, PQpass(conn->pg));
        pgqrs__detail(error, "%.*s", (int)strcspn(text, "\n"), text);
    }
    return rc;
}

/* Cut the SQLSTATE out of the text of a failed connection ("FATAL:  28P01: password …"), where it
 * is the only place to learn it from. */
static void take_state(char *text, char state[6])
{
    state[0] = '\0';
    for (char *at = strstr(text, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
        char  *code = at + 3;
        size_t len  = 0;

        while (len < 5 && (isdigit((unsigned char)code[len]) || isupper((unsigned char)code[len])))
            len++;
        if (len == 5 && code[5] == ':' && code[6] == ' ') {
            memcpy(state, code, 5);
            state[5] = '\0';
            memmove(at + 2, code + 7, strlen(code + 7) + 1);
            return;
        }
    }
}

pgqrs_status pgqrs__pg_refused(PGconn *pg, const pgqrs__pg_dsn *dsn, pgqrs_error *error)
{
    char         text[1024], state[6];
    char        *end;
    pgqrs_status rc;

    (void)snprintf(text, sizeof text, "%s", PQerrorMessage(pg));
    take_state(text, state);
    end = strstr(text, "\nLOCATION:");
    if (end == NULL)
        end = text + strlen(text);
    while (end > text && end[-1] == '\n')
        end--;
    *end = '\0';
    pgqrs__pg_scrub(text, PQpass(pg));
    pgqrs__pg_scrub(text, dsn->password);

    if (PQconnectionNeedsPassword(pg))
        rc = PGQRS_ECONFIG;
    else
        rc = state[0] == '\0' ? PGQRS_ECONN : fill(NULL, state, "");
    if (rc == PGQRS_EDB
        || rc == PGQRS_ESCHEMA) /* of all that was not foreseen: what was asked for */
        rc = PGQRS_ECONFIG;
    if (strstr(text, "plan_cache_mode") != NULL) {
        rc = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "PostgreSQL is older than 12");
        pgqrs__hint(error, "pgqrs needs PostgreSQL 12 or later.");
    } else if (strstr(text, "startup parameter") != NULL) {
        rc = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "%.*s", (int)strcspn(text, "\n"),
                         text);
        pgqrs__hint(error, "A pooler takes no startup options: leave them out of the DSN and of "
                           "PGOPTIONS.");
    } else {
        rc  = pgqrs__fail(error, rc, PGQRS_OBJECT_STORE, "%.*s", (int)strcspn(text, "\n"), text);
        end = strchr(text, '\n');
        if (end != NULL)
            pgqrs__detail(error, "%s", end + 1 + strspn(end + 1, "\t"));
    }
    set_state(error, state);
    return rc;
}
