/* Which backend a DSN means. */
#include "backend/backend.h"

#include <string.h>

#ifdef PGQRS_HAVE_TURSO
#include "backend/turso/library.h"
#endif
#include "util/base.h"
#include "util/error.h"

/* Every scheme there is, whether or not this build has its backend. */
typedef struct known_scheme {
    const char           *prefix;
    const char           *database;
    const pgqrs__backend *backend; /* NULL: left out of this build */
} known_scheme;

#ifdef PGQRS_HAVE_POSTGRES
#define POSTGRES (&pgqrs__backend_postgres)
#else
#define POSTGRES NULL
#endif
#ifdef PGQRS_HAVE_SQLITE
#define SQLITE (&pgqrs__backend_sqlite)
#else
#define SQLITE NULL
#endif

#ifdef PGQRS_HAVE_TURSO
#define TURSO (&pgqrs__backend_turso)
#else
#define TURSO NULL
#endif

static const known_scheme schemes[] = {
    { "postgresql://", "PostgreSQL", POSTGRES },
    { "postgres://", "PostgreSQL", POSTGRES },
    { "sqlite:", "SQLite", SQLITE },
    { "turso:", "Turso", TURSO },
};

#define FORMS                                                                                    \
    "A DSN is postgresql://user@host/database, sqlite:///absolute/path, sqlite://relative/path " \
    "or sqlite::memory:; turso: takes the same as sqlite:."

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Length of the scheme, 0 when there is none that is fit to be shown: what is not followed by "://"
 * may be anything, a password too. */
static size_t scheme_length(const char *dsn)
{
    size_t len = strspn(dsn, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");

    return len > 0 && len <= 32 && starts_with(dsn + len, "://") ? len : 0;
}

const pgqrs__backend *pgqrs__backend_for(const char *dsn, pgqrs_error *error)
{
    size_t len;

    if (dsn == NULL || *dsn == '\0') {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "the DSN is empty");
        pgqrs__hint(error, FORMS);
        return NULL;
    }
    for (size_t i = 0; i < PGQRS__ARRAY_LEN(schemes); i++) {
        if (!starts_with(dsn, schemes[i].prefix))
            continue;
        if (schemes[i].backend != NULL)
            return schemes[i].backend;
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "this build of pgqrs is without %s",
                    schemes[i].database);
        pgqrs__hint(error, "Use a build that was configured with it.");
        return NULL;
    }
    len = scheme_length(dsn);
    if (len > 0)
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                    "the DSN's scheme \"%.*s\" is not known", (int)len, dsn);
    else
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                    "the DSN does not begin with a scheme");
    pgqrs__hint(error, FORMS);
    return NULL;
}

pgqrs_status pgqrs__backend_undone(const char *text, pgqrs_error *error)
{
    static const struct {
        const char  *what;
        pgqrs_status status;
        pgqrs_object object;
        const char  *message;
    } strict[] = {
        { "pgqrs: lost ", PGQRS_ELEASE, PGQRS_OBJECT_MESSAGE, "messages are no longer held" },
        { "pgqrs: gone ", PGQRS_ENOTFOUND, PGQRS_OBJECT_QUEUE, "a queue was deleted" },
        { "pgqrs: recorded ", PGQRS_ESTATE, PGQRS_OBJECT_STEP, "a step has a result already" },
    };

    for (size_t i = 0; text != NULL && i < PGQRS__ARRAY_LEN(strict); i++) {
        const char *at = strstr(text, strict[i].what);

        if (at == NULL)
            continue;
        at += strlen(strict[i].what);
        pgqrs__fail(error, strict[i].status, strict[i].object, "%s", strict[i].message);
        pgqrs__detail(error, "%.*s", (int)strspn(at, "0123456789,"), at);
        return strict[i].status;
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs_turso_load(const char *path, const char **out_version, const char **out_path,
                              pgqrs_error *error)
{
    const char  *ignored;
    pgqrs_status rc;

    if (out_version == NULL)
        out_version = &ignored;
    if (out_path == NULL)
        out_path = &ignored;
    *out_version = NULL;
    *out_path    = NULL;
#ifdef PGQRS_HAVE_TURSO
    rc = pgqrs__turso_load(path, out_version, out_path, error);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
#else
    (void)path;
    rc = pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                     "this build of pgqrs is without Turso");
    pgqrs__hint(error, "Use a build that was configured with it.");
    return rc;
#endif
}
