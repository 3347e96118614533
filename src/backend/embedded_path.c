/* From a DSN to the path of a file. */
#include "backend/embedded.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/alloc.h"
#include "util/buf.h"
#include "util/error.h"

static pgqrs_status no_file(const pgqrs__engine *engine, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "the %s DSN names no file", engine->name);
    pgqrs__hint(error, "Write %s:///absolute/path, %s://relative/path or %s::memory:.",
                engine->scheme, engine->scheme, engine->scheme);
    return PGQRS_ECONFIG;
}

/* "user:password@host/…", which must not be in an error about a file. */
static bool names_a_host(const char *path)
{
    const char *colon = strchr(path, ':');
    const char *at    = colon != NULL ? strchr(colon, '@') : NULL;
    const char *slash = strchr(path, '/');

    return at != NULL && (slash == NULL || at < slash);
}

/* @param[out] out_path  within the DSN; NULL: in memory */
static pgqrs_status read_dsn(const pgqrs__engine *engine, const char *dsn, const char **out_path,
                             pgqrs_error *error)
{
    const char *path = dsn + strlen(engine->scheme) + strlen(":");

    *out_path = NULL;
    if (strcmp(path, ":memory:") == 0)
        return PGQRS_OK;
    if (strncmp(path, "//", 2) != 0)
        return no_file(engine, error);
    path += 2;
    if (*path == '\0' || path[strlen(path) - 1] == '/')
        return no_file(engine, error);
    if (strcmp(path, ":memory:") == 0) {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                    "a database in memory is written %s::memory:", engine->scheme);
        pgqrs__hint(error, "Write %s:///absolute/path, %s://relative/path or %s::memory:.",
                    engine->scheme, engine->scheme, engine->scheme);
        return PGQRS_ECONFIG;
    }
    if (names_a_host(path)) {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE,
                    "a %s DSN names a file, and no user, password or host", engine->name);
        pgqrs__hint(error, "A file whose name is like that is written %s://./name.",
                    engine->scheme);
        return PGQRS_ECONFIG;
    }
    if (strchr(path, '?') != NULL) {
        pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "a %s DSN takes no parameters",
                    engine->name);
        pgqrs__hint(error, "Leave out the \"?\" and what follows it.");
        return PGQRS_ECONFIG;
    }
    *out_path = path;
    return PGQRS_OK;
}

pgqrs_status pgqrs__embedded_path_fail(const char *path, const char *reason, pgqrs_error *error)
{
    return pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot open \"%s\": %s", path,
                       reason);
}

/* A file that is not there yet: its folder made absolute, and its name. */
static pgqrs_status resolve_new(const char *path, char **out_path, pgqrs_error *error)
{
    const char  *slash  = strrchr(path, '/');
    size_t       length = slash == NULL ? 0 : (size_t)(slash - path);
    pgqrs__buf   full   = { 0 };
    pgqrs_status rc     = PGQRS_OK;
    char        *folder =
        slash == NULL ? pgqrs__strdup(".") : pgqrs__strndup(path, length + (length == 0));
    char *real;

    if (folder == NULL)
        return pgqrs__nomem(error);
    real = realpath(folder, NULL);
    if (real == NULL) {
        bool missing = errno == ENOENT;

        rc = pgqrs__embedded_path_fail(
            path, missing ? "its folder does not exist" : strerror(errno), error);
        if (missing)
            pgqrs__hint(error, "Create the folder \"%s\".", folder);
    } else {
        pgqrs__buf_printf(&full, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                          slash == NULL ? path : slash + 1);
        *out_path = pgqrs__buf_take(&full);
        if (*out_path == NULL)
            rc = pgqrs__nomem(error);
    }
    free(real);
    pgqrs__free(folder);
    return rc;
}

/* An absolute path without links, since connections are made later, and the files beside the
 * database must be the same for everybody. */
static pgqrs_status resolve(const char *path, char **out_path, pgqrs_error *error)
{
    struct stat st;
    char       *real = realpath(path, NULL);

    if (real == NULL)
        return errno == ENOENT ? resolve_new(path, out_path, error)
                               : pgqrs__embedded_path_fail(path, strerror(errno), error);
    if (stat(real, &st) == 0 && !S_ISREG(st.st_mode)) {
        free(real);
        return pgqrs__embedded_path_fail(path, "it is not a regular file", error);
    }
    *out_path = pgqrs__strdup(real);
    free(real);
    return *out_path == NULL ? pgqrs__nomem(error) : PGQRS_OK;
}

pgqrs_status pgqrs__embedded_path(const pgqrs__engine *engine, const char *dsn, char **out_path,
                                  pgqrs_error *error)
{
    const char  *path;
    pgqrs_status rc = read_dsn(engine, dsn, &path, error);

    *out_path = NULL;
    return rc == PGQRS_OK && path != NULL ? resolve(path, out_path, error) : rc;
}
