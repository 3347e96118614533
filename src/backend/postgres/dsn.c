#include "backend/postgres/postgres.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

void pgqrs__pg_scrub(char *text, const char *secret)
{
    size_t len = secret == NULL ? 0 : strlen(secret);
    char  *at  = text;

    if (len == 0)
        return;
    while ((at = strstr(at, secret)) != NULL) {
        size_t shown = len < 3 ? len : 3;

        memset(at, '*', shown);
        memmove(at + shown, at + len, strlen(at + len) + 1);
        at += shown;
    }
}

/* Whether libpq's complaint about a DSN, which repeats parts of it, may show a password: there is a
 * user part with a colon, or a keyword that says so. */
static bool may_tell(const char *dsn)
{
    const char *start = strstr(dsn, "://");
    const char *at    = strrchr(dsn, '@');
    const char *colon;

    start = start == NULL ? dsn : start + 3;
    colon = strchr(start, ':');
    return strstr(dsn, "password") != NULL || (at != NULL && colon != NULL && colon < at);
}

/* The first parameter of a URI that libpq does not know, to *out_bytes; or NULL. It stands behind
 * the last @, so that it cannot be of a password. */
static const char *unknown_parameter(const char *dsn, int *out_bytes)
{
    PQconninfoOption *known = PQconndefaults();
    const char       *at    = strrchr(dsn, '@');
    const char       *name = strstr(dsn, "://") == NULL ? NULL : strchr(at == NULL ? dsn : at, '?');

    for (; known != NULL && name != NULL; name = strchr(name, '&')) {
        bool found = false;

        *out_bytes = (int)strcspn(++name, "=&");
        for (const PQconninfoOption *o = known; o->keyword != NULL && !found; o++)
            found = strlen(o->keyword) == (size_t)*out_bytes
                    && strncmp(o->keyword, name, (size_t)*out_bytes) == 0;
        if (!found && strncmp(name, "ssl=", 4) != 0)
            break;
    }
    PQconninfoFree(known);
    return name;
}

static const char *option_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword != NULL; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val != NULL && options->val[0] != '\0' ? options->val : NULL;
    return NULL;
}

/* What a service file says is known to libpq alone, once a connection has been started. */
static char *options_of_service(const char *text)
{
    const char *const keys[]   = { "dbname", NULL };
    const char *const values[] = { text, NULL };
    PGconn           *pg       = PQconnectStartParams(keys, values, 1);
    PQconninfoOption *known    = pg == NULL ? NULL : PQconninfo(pg);
    const char       *options  = known == NULL ? NULL : option_of(known, "options");
    char             *copy     = options == NULL ? NULL : pgqrs__strdup(options);

    PQconninfoFree(known);
    PQfinish(pg);
    return copy;
}

static int hosts_of(const char *hosts)
{
    int count = 1;

    for (; hosts != NULL && *hosts != '\0'; hosts++)
        count += *hosts == ',';
    return count;
}

pgqrs_status pgqrs__pg_dsn_read(pgqrs__pg_dsn *dsn, const char *text, pgqrs_error *error)
{
    char             *wrong = NULL;
    PQconninfoOption *known = PQconninfoParse(text, &wrong);
    const char       *value, *unknown;
    int               bytes = 0;
    pgqrs_status      rc    = PGQRS_OK;

    *dsn = (pgqrs__pg_dsn){ 0 };
    if (known == NULL) {
        if (wrong == NULL)
            return pgqrs__nomem(error);
        rc      = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot read the DSN");
        unknown = unknown_parameter(text, &bytes);
        if (unknown != NULL)
            pgqrs__detail(error, "there is no parameter \"%.*s\"", bytes, unknown);
        else if (!may_tell(text))
            pgqrs__detail(error, "%.*s", (int)strcspn(wrong, "\n"), wrong);
        pgqrs__hint(error, "Write postgresql://user@host:port/database; percent-encode special "
                           "characters of names and passwords.");
        PQfreemem(wrong);
        return rc;
    }
    /* Not left to libpq, which would show it: in user:password/database, without a host, it is the
     * password that stands in the place of the port. */
    value = option_of(known, "port");
    if (value != NULL && value[strspn(value, "0123456789,")] != '\0') {
        PQconninfoFree(known);
        return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                           "the port in the DSN is not a number");
    }
    dsn->text = pgqrs__strdup(text);
    if (dsn->text == NULL)
        goto nomem;

    value = option_of(known, "options");
    if (value == NULL && (option_of(known, "service") != NULL || getenv("PGSERVICE") != NULL)) {
        dsn->options = options_of_service(text);
    } else {
        if (value == NULL)
            value = getenv("PGOPTIONS");
        if (value != NULL && (dsn->options = pgqrs__strdup(value)) == NULL)
            goto nomem;
    }
    value = option_of(known, "password");
    if (value != NULL && (dsn->password = pgqrs__strdup(value)) == NULL)
        goto nomem;
    value = option_of(known, "hostaddr");
    if (value == NULL)
        value = option_of(known, "host");
    if (value == NULL)
        value = getenv("PGHOST");
    dsn->hosts = hosts_of(value);
    value      = option_of(known, "connect_timeout");
    if (value == NULL)
        value = getenv("PGCONNECT_TIMEOUT");
    dsn->limit_s = value == NULL ? 0 : atoi(value);
    PQconninfoFree(known);
    return PGQRS_OK;

nomem:
    PQconninfoFree(known);
    pgqrs__pg_dsn_free(dsn);
    return pgqrs__nomem(error);
}

void pgqrs__pg_dsn_free(pgqrs__pg_dsn *dsn)
{
    pgqrs__free(dsn->text);
    pgqrs__free(dsn->options);
    pgqrs__free(dsn->password);
    *dsn = (pgqrs__pg_dsn){ 0 };
}
