#include "backend/turso/library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"
#include "util/thread.h"

#define FILE_NAME "libpgqrs_turso.so"
#define VARIABLE  "PGQRS_TURSO_LIBRARY"
#define VERSIONS  "0.8.3 and later, before 0.9"

pgqrs__turso_functions pgqrs__turso;

static pgqrs__mutex mutex = { PTHREAD_MUTEX_INITIALIZER };
static char         loaded_path[4096]; /* "": not loaded yet */

static pgqrs_status unusable(const char *path, pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "cannot use \"%s\" as Turso's library",
                path);
    pgqrs__hint(error,
                "Run \"make turso\" (needs Rust 1.88), or in Python: pip install pgqrs[turso].");
    return PGQRS_ECONFIG;
}

/* --- One library -------------------------------------------------------------------------- */

/* At least 0.8.3 and no draft of it, and less than 0.9: what later ones change is not known. */
static bool is_known_version(const char *version)
{
    long  part[3] = { -1, -1, -1 };
    char *end     = NULL;

    for (size_t i = 0; i < PGQRS__ARRAY_LEN(part); i++) {
        part[i] = strtol(version, &end, 10);
        if (end == version || (i < 2 && *end != '.'))
            return false;
        version = end + 1;
    }
    return part[0] == 0 && part[1] == 8 && (part[2] > 3 || (part[2] == 3 && *end == '\0'));
}

static pgqrs_status check_version(const char *path, const char *version, pgqrs_error *error)
{
    if (is_known_version(version))
        return PGQRS_OK;
    (void)unusable(path, error);
    pgqrs__detail(error, "it is version %s; %s will do", version, VERSIONS);
    return PGQRS_ECONFIG;
}

static pgqrs_status find_functions(void *library, const char *path, pgqrs__turso_functions *out,
                                   pgqrs_error *error)
{
#define TURSO_NAME(result, name, arguments) \
    { "turso_" #name, offsetof(pgqrs__turso_functions, name) },
    static const struct {
        const char *name;
        size_t      offset;
    } functions[] = { TURSO_MAP(TURSO_NAME) };
#undef TURSO_NAME

    for (size_t i = 0; i < PGQRS__ARRAY_LEN(functions); i++) {
        void *found = dlsym(library, functions[i].name);

        if (found == NULL) {
            (void)unusable(path, error);
            pgqrs__detail(error, "it has no %s; %s will do", functions[i].name, VERSIONS);
            return PGQRS_ECONFIG;
        }
        memcpy((char *)out + functions[i].offset, &found, sizeof found);
    }
    return PGQRS_OK;
}

/* Its symbols are for us alone: it has more than Turso's, under names that others may use. */
static pgqrs_status load(void *library, const char *path, pgqrs_error *error)
{
    pgqrs__turso_functions functions;
    Dl_info                where;
    void                  *known;
    pgqrs_status           rc = find_functions(library, path, &functions, error);

    if (rc == PGQRS_OK)
        rc = check_version(path, functions.version(), error);
    if (rc != PGQRS_OK)
        return rc;
    memcpy(&known, &functions.version, sizeof known);
    if (dladdr(known, &where) != 0 && where.dli_fname != NULL)
        path = where.dli_fname;
    (void)snprintf(loaded_path, sizeof loaded_path, "%s", path);
    pgqrs__turso = functions;
    return PGQRS_OK;
}

/* @param required  a library that cannot be opened is an error, and not one that is not there */
static pgqrs_status try(const char *path, bool required, bool *out_loaded, pgqrs_error *error)
{
    void        *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char  *reason;
    pgqrs_status rc;

    *out_loaded = false;
    if (library == NULL) {
        reason = dlerror();
        if (!required)
            return PGQRS_OK;
        (void)unusable(path, error);
        pgqrs__detail(error, "%s", reason != NULL ? reason : "it cannot be opened");
        return PGQRS_ECONFIG;
    }
    rc          = load(library, path, error);
    *out_loaded = rc == PGQRS_OK;
    if (rc != PGQRS_OK)
        (void)dlclose(library);
    return rc;
}

/* --- The search --------------------------------------------------------------------------- */

static pgqrs_status try_beside(bool *out_loaded, pgqrs_error *error)
{
    static const char here;
    Dl_info           where;
    pgqrs__buf        path = { 0 };
    const char       *slash, *text;
    pgqrs_status      rc;

    if (dladdr(&here, &where) == 0 || where.dli_fname == NULL)
        return PGQRS_OK;
    slash = strrchr(where.dli_fname, '/');
    if (slash == NULL)
        return PGQRS_OK;
    pgqrs__buf_add(&path, where.dli_fname, (size_t)(slash + 1 - where.dli_fname));
    pgqrs__buf_str(&path, FILE_NAME);
    text = pgqrs__buf_cstr(&path);
    if (text == NULL)
        rc = pgqrs__nomem(error);
    else /* one that is there must do: another would not be what was installed together */
        rc = try(text, access(text, F_OK) == 0, out_loaded, error);
    pgqrs__buf_free(&path);
    return rc;
}

static pgqrs_status search(const char *path, pgqrs_error *error)
{
    const char  *named  = getenv(VARIABLE);
    bool         loaded = false;
    pgqrs_status rc;

    if (named != NULL && *named != '\0')
        path = named;
    if (path != NULL)
        return try(path, true, &loaded, error);
    rc = try_beside(&loaded, error);
    if (rc == PGQRS_OK && !loaded)
        rc = try(FILE_NAME, false, &loaded, error);
    if (rc != PGQRS_OK || loaded)
        return rc;
    pgqrs__fail(error, PGQRS_ECONFIG, PGQRS_OBJECT_STORE, "Turso's library was not found");
    pgqrs__hint(error,
                "Set " VARIABLE ", run \"make turso\" (needs Rust 1.88), or in Python: pip install "
                "pgqrs[turso].");
    return PGQRS_ECONFIG;
}

/* Whether both paths lead to one file. */
static bool is_loaded(const char *path)
{
    char *one  = realpath(path, NULL);
    char *two  = realpath(loaded_path, NULL);
    bool  same = one != NULL && two != NULL && strcmp(one, two) == 0;

    free(one);
    free(two);
    return same;
}

pgqrs_status pgqrs__turso_load(const char *path, const char **out_version, const char **out_path,
                               pgqrs_error *error)
{
    pgqrs_status rc = PGQRS_OK;

    pgqrs__mutex_lock(&mutex);
    if (loaded_path[0] == '\0') {
        rc = search(path, error);
    } else if (path != NULL && getenv(VARIABLE) == NULL && !is_loaded(path)) {
        rc = pgqrs__fail(error, PGQRS_ESTATE, PGQRS_OBJECT_STORE,
                         "Turso's library is loaded already, from \"%s\"", loaded_path);
        pgqrs__hint(error, "Name another one before the first store is opened.");
    }
    if (rc == PGQRS_OK && out_version != NULL)
        *out_version = pgqrs__turso.version();
    if (rc == PGQRS_OK && out_path != NULL)
        *out_path = loaded_path;
    pgqrs__mutex_unlock(&mutex);
    return rc;
}
