/* What the errors of statements say, whichever engine says it. */
#include "backend/embedded.h"

#include <string.h>

#include "util/error.h"

/* SQLSTATEs are of the SQL standard: every database says the same of a violated constraint. */
void pgqrs__embedded_sqlstate(pgqrs_error *error, const char *sqlstate)
{
    if (error != NULL)
        memcpy(error->sqlstate, sqlstate, sizeof error->sqlstate);
}

/* An error in a statement: of the schema, since our statements are tested, or raised by the
 * statement. */
pgqrs_status pgqrs__embedded_statement_fail(const pgqrs__engine *engine, const char *text,
                                            pgqrs_error *error)
{
    if (strstr(text, "no such table: ") != NULL) {
        pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE, "the pgqrs tables are not there");
        pgqrs__hint(error, "Run pgqrs_install() once.");
        return PGQRS_ESCHEMA;
    }
    if (strstr(text, "no such column: ") != NULL || strstr(text, "has no column named ") != NULL
        || strstr(text, "no such index: ") != NULL) {
        pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE,
                    "the pgqrs tables are not those of this library");
        pgqrs__hint(error, "Run pgqrs_install() to upgrade them.");
        return PGQRS_ESCHEMA;
    }
    return pgqrs__fail(error, PGQRS_EDB, PGQRS_OBJECT_STORE, "%s refused the statement",
                       engine->name);
}
