/* What this SQLite is, and what is known against it. */
#include "backend/sqlite/sqlite.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "util/alloc.h"
#include "util/buf.h"
#include "util/error.h"

bool pgqrs__sqlite_wal_reset_bug(int version)
{
    if (version >= 3044006 && version < 3045000) /* repaired there, too */
        return false;
    if (version >= 3050007 && version < 3051000)
        return false;
    return version >= 3007000 && version < 3051003;
}

/* --- Two copies in one process
 * -------------------------------------------------------------------- */

/* The names of the objects that are loaded, each ended by a NUL. */
static int take_object(struct dl_phdr_info *info, size_t size, void *user)
{
    pgqrs__buf *names = user;

    (void)size;
    if (info->dlpi_name != NULL && info->dlpi_name[0] != '\0')
        pgqrs__buf_add(names, info->dlpi_name, strlen(info->dlpi_name) + 1);
    return 0;
}

/* If the symbol is defined by an object that was not seen yet, note it: its name, ended by a NUL.
 */
static size_t note_copy(const void *symbol, const void **seen, size_t count, size_t room,
                        pgqrs__buf *out)
{
    Dl_info where;

    if (symbol == NULL || dladdr(symbol, &where) == 0)
        return count;
    for (size_t i = 0; i < count; i++) {
        if (seen[i] == where.dli_fbase)
            return count;
    }
    if (count == room)
        return count;
    seen[count] = where.dli_fbase;
    pgqrs__buf_printf(out, "%s%s", count == 0 ? "" : ", ", where.dli_fname);
    return count + 1;
}

/* The objects of this process that define SQLite, as a list; how many. Looked for outside of
 * dl_iterate_phdr(), which holds the loader's lock. */
static size_t copies(pgqrs__buf *out)
{
    pgqrs__buf  names = { 0 };
    const void *seen[8];
    size_t      count = note_copy(dlsym(RTLD_DEFAULT, "sqlite3_libversion"), seen, 0, 8, out);

    (void)dl_iterate_phdr(take_object, &names);
    for (size_t at = 0; !names.failed && at < names.len; at += strlen(names.data + at) + 1) {
        void *object = dlopen(names.data + at, RTLD_LAZY | RTLD_NOLOAD);

        if (object == NULL)
            continue;
        count = note_copy(dlsym(object, "sqlite3_libversion"), seen, count, 8, out);
        (void)dlclose(object);
    }
    pgqrs__buf_free(&names);
    return count;
}

pgqrs_status pgqrs__sqlite_describe(pgqrs__conn *conn, pgqrs__about *about, int64_t deadline_us,
                                    pgqrs_error *error)
{
    pgqrs__buf where = { 0 };

    (void)deadline_us;
    (void)snprintf(about->version, sizeof(about->version), "%s", sqlite3_libversion());
    if (conn->db->path == NULL) /* nobody else is there, and there is no write-ahead log */
        return pgqrs__ok(error);
    if (pgqrs__sqlite_wal_reset_bug(sqlite3_libversion_number()))
        pgqrs__buf_printf(
            &about->warnings,
            "SQLite %s can, rarely, damage a file when several connections write back its "
            "log; this is repaired in 3.51.3, 3.50.7 and 3.44.6\n",
            sqlite3_libversion());
    if (copies(&where) > 1)
        pgqrs__buf_printf(
            &about->warnings,
            "more than one copy of SQLite is in this process (%s): commits can be lost\n",
            where.failed ? "" : pgqrs__buf_cstr(&where));
    pgqrs__buf_free(&where);
    return pgqrs__ok(error);
}
