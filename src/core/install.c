/* The schema: creating and upgrading it, and checking that it is what this library needs.
 *
 * A migration names the oldest library that may still use the schema it leaves behind. That of the
 * last one applied counts: migrations of a newer library that we do not know are no reason to
 * refuse, unless they say so.
 */
#include "core/install.h"

#include "core/admin.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

/* --- What is applied -------------------------------------------------------------------------- */

static pgqrs_status take_applied(pgqrs__call *call, const pgqrs__val *cols)
{
    pgqrs__rows    *rows = call->user;
    pgqrs__applied *item = pgqrs__rows_add(rows);

    if (item == NULL || !pgqrs__rows_text(rows, cols[PGQRS__COL_MIGRATION_LIST_NAME], &item->name)
        || !pgqrs__rows_text(rows, cols[PGQRS__COL_MIGRATION_LIST_CHECKSUM], &item->checksum)
        || !pgqrs__rows_text(rows, cols[PGQRS__COL_MIGRATION_LIST_OLDEST_LIBRARY],
                             &item->oldest_library))
        return PGQRS_ENOMEM;
    item->version = (int)pgqrs__as_int(cols[PGQRS__COL_MIGRATION_LIST_VERSION]);
    return PGQRS_OK;
}

pgqrs_status pgqrs__applied_read(pgqrs_store *store, pgqrs__conn *conn, pgqrs__mode mode,
                                 int64_t deadline_us, pgqrs__rows *rows, pgqrs_error *error)
{
    pgqrs__call call = {
        .stmt   = PGQRS__STMT_MIGRATION_LIST,
        .on_row = take_applied,
        .user   = rows,
    };
    bool         there = false;
    pgqrs_status rc;

    pgqrs__rows_clear(rows);
    rc = store->backend->has_table(conn, "migrations", deadline_us, &there, error);
    if (rc != PGQRS_OK || !there)
        return rc;
    return store->backend->run(conn, &call, 1, mode, deadline_us, error);
}

/* Compares "1.10.0" with "1.9.2" by numbers: < 0, 0, > 0. */
static int version_compare(const char *a, const char *b)
{
    for (int part = 0; part < 3; part++) {
        char         *end_a;
        char         *end_b;
        unsigned long left  = strtoul(a, &end_a, 10);
        unsigned long right = strtoul(b, &end_b, 10);

        if (left != right)
            return left < right ? -1 : 1;
        a = *end_a == '.' ? end_a + 1 : end_a;
        b = *end_b == '.' ? end_b + 1 : end_b;
    }
    return 0;
}

/* Refuse a schema that says it needs a newer library. */
static pgqrs_status check_usable(const pgqrs__rows *rows, pgqrs_error *error)
{
    const pgqrs__applied *last = rows->count == 0 ? NULL : pgqrs__rows_at(rows, rows->count - 1);

    if (last == NULL || version_compare(last->oldest_library, PGQRS_VERSION) <= 0)
        return PGQRS_OK;
    pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE,
                "schema version %d needs pgqrs %s or newer; this is %s", last->version,
                last->oldest_library, PGQRS_VERSION);
    pgqrs__hint(error, "Upgrade this library.");
    return PGQRS_ESCHEMA;
}

/* Compare what is applied with the migrations that this library knows, as far as both go. */
static pgqrs_status check_unchanged(const pgqrs_store *store, const pgqrs__rows *rows,
                                    pgqrs_error *error)
{
    size_t known = *store->backend->migrations_count;

    for (size_t i = 0; i < rows->count; i++) {
        const pgqrs__applied   *there = pgqrs__rows_at(rows, i);
        const pgqrs__migration *ours;

        if (there->version != (int)i + 1) {
            pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE,
                        "the schema's list of migrations is damaged");
            pgqrs__detail(error, "Migration %d is missing between others.", (int)i + 1);
            return PGQRS_ESCHEMA;
        }
        if (i >= known)
            continue;
        ours = &store->backend->migrations[i];
        if (strcmp(there->checksum, ours->checksum) == 0)
            continue;
        pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE,
                    "migration %d (%s) differs from what was applied", ours->version, ours->name);
        pgqrs__detail(error, "The checksum in the schema is %.64s, in this library %s.",
                      there->checksum, ours->checksum);
        pgqrs__hint(error, "The schema was installed by a build with other migrations.");
        return PGQRS_ESCHEMA;
    }
    return PGQRS_OK;
}

pgqrs_status pgqrs__applied_check(const pgqrs_store *store, const pgqrs__rows *rows,
                                  pgqrs_error *error)
{
    pgqrs_status rc = check_usable(rows, error);

    return rc == PGQRS_OK ? check_unchanged(store, rows, error) : rc;
}

pgqrs_status pgqrs__schema_check(pgqrs_store *store, pgqrs_error *error)
{
    int64_t      deadline_us = pgqrs__deadline(store);
    pgqrs__conn *conn        = NULL;
    pgqrs__rows *rows        = NULL;
    pgqrs_status rc;

    rows = pgqrs__rows_new(sizeof(pgqrs__applied));
    if (rows == NULL)
        return pgqrs__nomem(error);
    rc = pgqrs__conn_take(store, deadline_us, &conn, error);
    if (rc != PGQRS_OK)
        goto done;
    rc = pgqrs__applied_read(store, conn, PGQRS__MODE_READ, deadline_us, rows, error);
    pgqrs__conn_give(store, conn);
    if (rc == PGQRS_OK)
        rc = check_usable(rows, error);
done:
    pgqrs__rows_free(rows);
    return rc;
}

/* --- Installing ------------------------------------------------------------------------------- */

/* One migration and the note that it was applied, inside the open transaction. */
static pgqrs_status apply(pgqrs_store *store, pgqrs__conn *conn, const pgqrs__migration *migration,
                          int64_t deadline_us, pgqrs_error *error)
{
    const pgqrs__val args[] = {
        [PGQRS__ARG_MIGRATION_INSERT_VERSION]        = pgqrs__int(migration->version),
        [PGQRS__ARG_MIGRATION_INSERT_NAME]           = pgqrs__text(migration->name),
        [PGQRS__ARG_MIGRATION_INSERT_CHECKSUM]       = pgqrs__text(migration->checksum),
        [PGQRS__ARG_MIGRATION_INSERT_OLDEST_LIBRARY] = pgqrs__text(migration->oldest_library),
        [PGQRS__ARG_MIGRATION_INSERT_NOW]            = pgqrs__now(store, 0),
    };
    pgqrs__call  call = { .stmt = PGQRS__STMT_MIGRATION_INSERT, .scalars = args };
    pgqrs_status rc;

    rc = store->backend->script(conn, migration->sql, deadline_us, error);
    if (rc != PGQRS_OK)
        return rc;
    return store->backend->run(conn, &call, 1, PGQRS__MODE_INSIDE, deadline_us, error);
}

/* Everything that is not applied yet, inside the open transaction. */
static pgqrs_status apply_missing(pgqrs_store *store, pgqrs__conn *conn, pgqrs__rows *rows,
                                  int64_t deadline_us, pgqrs_error *error)
{
    size_t       known = *store->backend->migrations_count;
    pgqrs_status rc;

    /* The list is read behind the lock: another process may have been before us. */
    rc = store->backend->lock_install(conn, deadline_us, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs__applied_read(store, conn, PGQRS__MODE_INSIDE, deadline_us, rows, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = pgqrs__applied_check(store, rows, error);
    for (size_t i = rows->count; rc == PGQRS_OK && i < known; i++)
        rc = apply(store, conn, &store->backend->migrations[i], deadline_us, error);
    return rc;
}

/* One transaction: all of it, or nothing. */
static pgqrs_status install(pgqrs_store *store, pgqrs__rows *rows, int64_t deadline_us,
                            pgqrs_error *error)
{
    pgqrs__conn *conn;
    pgqrs_status rc;

    rc = pgqrs__conn_take(store, deadline_us, &conn, error);
    if (rc != PGQRS_OK)
        return rc;
    rc = store->backend->begin(conn, deadline_us, error);
    if (rc != PGQRS_OK)
        goto done;
    rc = apply_missing(store, conn, rows, deadline_us, error);
    if (rc == PGQRS_OK)
        rc = store->backend->end(conn, true, deadline_us, error);
    else
        (void)store->backend->end(conn, false, deadline_us,
                                  NULL); /* the first error is the one to tell */
done:
    pgqrs__conn_give(store, conn);
    return rc;
}

/* What is applied stays so: also when the commit's answer was lost. Those who are at work on the
 * tables may be in the way, for as long as a group or a transactional step of theirs takes. */
static bool install_again(pgqrs__lost *lost, int tries, pgqrs_status rc, pgqrs_error *error)
{
    if (lost->once || (error->flags & PGQRS_MAYBE_APPLIED) != 0)
        return pgqrs__lost_again(lost, rc, error);
    if (rc == PGQRS_EBUSY)
        return pgqrs__lost_wait(lost);
    return tries == 0 && rc != PGQRS_ETIMEDOUT && (error->flags & PGQRS_RETRYABLE) != 0;
}

pgqrs_status pgqrs_install(pgqrs_store *store, pgqrs_error *error)
{
    pgqrs__rows *rows = NULL;
    pgqrs__lost  lost = { 0 };
    pgqrs_error  own;
    int64_t      deadline_us;
    pgqrs_status rc;

    if (error == NULL)
        error = &own;
    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__not_adopted(store, "pgqrs_install()", error)) != PGQRS_OK
        || (rc = pgqrs__tx_guard(store, error)) != PGQRS_OK)
        return rc;
    rows = pgqrs__rows_new(sizeof(pgqrs__applied));
    if (rows == NULL)
        return pgqrs__nomem(error);
    deadline_us      = pgqrs__deadline(store);
    lost.deadline_us = deadline_us;
    for (int tries = 0;; tries++) {
        rc = install(store, rows, deadline_us, error);
        if (rc == PGQRS_OK || !install_again(&lost, tries, rc, error))
            break;
    }
    pgqrs__rows_free(rows);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}

/* --- Verifying -------------------------------------------------------------------------------- */

#define INDEX_NAME_MAX 63

/* What the text of a migration does to an index. */
typedef struct index_change {
    bool created; /* else dropped */
    char name[INDEX_NAME_MAX + 1];
} index_change;

/* If the next word is @p word, step over it. */
static bool skip_word(const char **at, const char *word)
{
    const char *text = *at + strspn(*at, " \t\r\n");
    size_t      len  = strlen(word);

    if (strncasecmp(text, word, len) != 0 || isalnum((unsigned char)text[len]) || text[len] == '_')
        return false;
    *at = text + len;
    return true;
}

static void skip_words(const char **at, const char *const *words, size_t count)
{
    const char *text = *at;

    for (size_t i = 0; i < count; i++) {
        if (!skip_word(&text, words[i]))
            return;
    }
    *at = text;
}

/* Reads CREATE [UNIQUE] INDEX [IF NOT EXISTS] name, or DROP INDEX [IF EXISTS] [@schema.]name, at
 * *at. */
static bool read_change(const char **at, index_change *change)
{
    static const char *const if_not_exists[] = { "IF", "NOT", "EXISTS" };
    static const char *const if_exists[]     = { "IF", "EXISTS" };
    const char              *text            = *at;
    size_t                   len;

    change->created = skip_word(&text, "CREATE");
    if (!change->created && !skip_word(&text, "DROP"))
        return false;
    (void)skip_word(&text, "UNIQUE");
    if (!skip_word(&text, "INDEX"))
        return false;
    skip_words(&text, if_not_exists, PGQRS__ARRAY_LEN(if_not_exists));
    skip_words(&text, if_exists, PGQRS__ARRAY_LEN(if_exists));
    text += strspn(text, " \t\r\n");
    if (strncmp(text, "@schema.", strlen("@schema.")) == 0)
        text += strlen("@schema.");
    len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (len == 0 || len > INDEX_NAME_MAX)
        return false;
    memcpy(change->name, text, len);
    change->name[len] = '\0';
    *at               = text + len;
    return true;
}

/* The next index that a migration creates or drops: start with *at at its text. */
static bool next_change(const char **at, index_change *change)
{
    while (**at != '\0') {
        if (read_change(at, change))
            return true;
        *at += strcspn(*at, " \t\r\n;"); /* to the end of this word, and over what follows it */
        *at += strspn(*at, " \t\r\n;");
    }
    return false;
}

/* Whether the rest of a migration, or a later one, drops an index. */
static bool dropped_later(const pgqrs_store *store, size_t migration, const char *rest,
                          const char *name)
{
    index_change change;

    for (;;) {
        while (next_change(&rest, &change)) {
            if (!change.created && strcmp(change.name, name) == 0)
                return true;
        }
        if (++migration >= *store->backend->migrations_count)
            return false;
        rest = store->backend->migrations[migration].sql;
    }
}

static pgqrs_status difference(pgqrs_error *error)
{
    pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE, "the schema is not complete");
    pgqrs__hint(error, "Something was dropped or changed by hand: restore it from the migrations.");
    return PGQRS_ESCHEMA;
}

static pgqrs_status check_indexes(pgqrs_store *store, pgqrs__conn *conn, int64_t deadline_us,
                                  pgqrs_error *error)
{
    for (size_t i = 0; i < *store->backend->migrations_count; i++) {
        const char  *at = store->backend->migrations[i].sql;
        index_change change;

        while (next_change(&at, &change)) {
            bool         there = false;
            pgqrs_status rc;

            if (!change.created || dropped_later(store, i, at, change.name))
                continue;
            rc = store->backend->has_index(conn, change.name, deadline_us, &there, error);
            if (rc != PGQRS_OK)
                return rc;
            if (!there) {
                difference(error);
                pgqrs__detail(error, "Index %s is missing.", change.name);
                return PGQRS_ESCHEMA;
            }
        }
    }
    return PGQRS_OK;
}

/* Let the database read every statement. */
static pgqrs_status check_statements(pgqrs_store *store, pgqrs__conn *conn, int64_t deadline_us,
                                     pgqrs_error *error)
{
    for (int stmt = 0; stmt < (int)PGQRS__STMT_COUNT; stmt++) {
        pgqrs_error  why;
        pgqrs_status rc = store->backend->prepare(conn, stmt, deadline_us, &why);

        if (rc == PGQRS_OK)
            continue;
        if (rc != PGQRS_EDB && rc != PGQRS_ESCHEMA) { /* not the schema's fault */
            if (error != NULL)
                *error = why;
            return rc;
        }
        difference(error);
        pgqrs__detail(error, "Statement %s is refused: %s%s%s", pgqrs__shapes[stmt].name,
                      why.message, why.detail[0] == '\0' ? "" : ": ", why.detail);
        if (error != NULL)
            memcpy(error->sqlstate, why.sqlstate, sizeof(error->sqlstate));
        return PGQRS_ESCHEMA;
    }
    return PGQRS_OK;
}

/* Compare the versions; rows are what is applied. */
static pgqrs_status check_version(const pgqrs_store *store, const pgqrs__rows *rows,
                                  pgqrs_error *error)
{
    size_t known = *store->backend->migrations_count;

    if (rows->count == 0)
        pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE, "the schema is not installed");
    else if (rows->count < known)
        pgqrs__fail(error, PGQRS_ESCHEMA, PGQRS_OBJECT_STORE,
                    "the schema is at version %zu; this library needs version %zu", rows->count,
                    known);
    else
        return PGQRS_OK;
    pgqrs__detail(error, "Migration %d (%s) is not applied.",
                  store->backend->migrations[rows->count].version,
                  store->backend->migrations[rows->count].name);
    pgqrs__hint(error, "Install it with pgqrs_install().");
    return PGQRS_ESCHEMA;
}

pgqrs_status pgqrs_verify(pgqrs_store *store, pgqrs_error *error)
{
    pgqrs__conn *conn = NULL;
    pgqrs__rows *rows = NULL;
    int64_t      deadline_us;
    pgqrs_status rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__tx_guard(store, error)) != PGQRS_OK)
        return rc;
    rows = pgqrs__rows_new(sizeof(pgqrs__applied));
    if (rows == NULL)
        return pgqrs__nomem(error);
    deadline_us = pgqrs__deadline(store);
    rc          = pgqrs__conn_take(store, deadline_us, &conn, error);
    if (rc != PGQRS_OK)
        goto done;
    rc = pgqrs__applied_read(store, conn, PGQRS__MODE_READ, deadline_us, rows, error);
    if (rc == PGQRS_OK)
        rc = pgqrs__applied_check(store, rows, error);
    if (rc == PGQRS_OK)
        rc = check_version(store, rows, error);
    if (rc == PGQRS_OK)
        rc = check_statements(store, conn, deadline_us, error);
    if (rc == PGQRS_OK)
        rc = check_indexes(store, conn, deadline_us, error);
    pgqrs__conn_give(store, conn);
done:
    pgqrs__rows_free(rows);
    return rc == PGQRS_OK ? pgqrs__ok(error) : rc;
}
