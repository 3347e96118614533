#include "support/mutant.h"

#include "backend/backend.h"
#include "statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct mutant {
    const char *name;
    const char *backend;
    int         stmt;
    const char *precaution;
    const char *instead; /* not longer */
} mutants[] = {
    { "step_without_lock", "postgres", PGQRS__STMT_STEP_RECORD, " FOR KEY SHARE", "" },
    { "groups_without_hold", "postgres", PGQRS__STMT_LEASE_HOLD, " FOR NO KEY UPDATE", "" },
    { "finish_by_anybody", "postgres", PGQRS__STMT_MESSAGE_FINISH, " AND lease = a.lease", "" },
    { "finish_by_anybody", "sqlite", PGQRS__STMT_MESSAGE_FINISH, " AND l.lease = ?3", "" },
    { "finish_by_anybody", "sqlite", PGQRS__STMT_MESSAGE_FINISH, " AND lease = ?3", "" },
    { "finish_despite_cancel", "postgres", PGQRS__STMT_MESSAGE_FINISH,
      "CASE WHEN h.cancelled THEN 3 ELSE h.state END", "h.state" },
    { "finish_despite_cancel", "sqlite", PGQRS__STMT_MESSAGE_FINISH,
      "CASE WHEN l.cancelled THEN 3 ELSE ?4 END", "?4" },
};

/* The text with each @p precaution replaced; NULL when there is none in it. */
static char *replaced(const char *text, const char *precaution, const char *instead)
{
    const size_t length = strlen(precaution), other = strlen(instead);
    const char  *found = strstr(text, precaution);
    char        *changed, *end;

    if (found == NULL)
        return NULL;
    changed = end = malloc(strlen(text) + 1); /* never longer: see above */
    for (; changed != NULL && found != NULL; found = strstr(text, precaution)) {
        memcpy(end, text, (size_t)(found - text));
        end += found - text;
        memcpy(end, instead, other);
        end += other;
        text = found + length;
    }
    if (changed != NULL)
        memcpy(end, text, strlen(text) + 1);
    return changed;
}

/* The tables are constant, and lie where the loader has made them so: their pages are opened first.
 */
static bool put(const char *const *place, const char *text)
{
    const uintptr_t page  = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = (uintptr_t)place & ~(page - 1);
    const size_t    bytes = (size_t)((uintptr_t)place + sizeof(*place) - start);

    if (mprotect((void *)start, bytes, PROT_READ | PROT_WRITE) != 0)
        return false;
    memcpy((void *)(uintptr_t)place, &text, sizeof(text));
    return true;
}

bool mutant_install(const char *dsn, const char *name)
{
    bool changed = false;

    if (strcmp(name, "-") == 0)
        return true;
    const pgqrs__backend *backend = pgqrs__backend_for(dsn, NULL);
    for (size_t i = 0; backend != NULL && i < sizeof(mutants) / sizeof(*mutants); i++) {
        const struct mutant *m = &mutants[i];
        if (strcmp(m->name, name) != 0 || strcmp(m->backend, backend->name) != 0)
            continue;
        const pgqrs__sql *sql = &backend->sql[m->stmt];
        for (size_t part = 0; part < sql->nparts; part++) {
            const char *text = replaced(sql->parts[part], m->precaution, m->instead);
            if (text != NULL && put(&sql->parts[part], text))
                changed = true;
        }
    }
    if (!changed)
        (void)fprintf(stderr, "mutant %s: nothing to change for %s\n", name,
                      backend != NULL ? backend->name : dsn);
    return changed;
}
