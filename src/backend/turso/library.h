/** Turso's library, which is opened when first needed: libpgqrs is not linked to it. */
#ifndef PGQRS_BACKEND_TURSO_LIBRARY_H
#define PGQRS_BACKEND_TURSO_LIBRARY_H

#include <pgqrs/pgqrs.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct turso_database   turso_database;
typedef struct turso_connection turso_connection;
typedef struct turso_statement  turso_statement;

/** What a database is opened with. It has grown before, and has no size: what follows the fields
 *  that are known is zero. */
typedef union turso_config {
    struct {
        uint64_t    async_io;
        const char *path;
        const char *experimental_features;
        const char *vfs;
        const char *encryption_cipher;
        const char *encryption_hexkey;
        const void *page_codec;
        uint32_t    open_flags;
    } as;
    unsigned char room[256];
} turso_config;

enum {
    TURSO_OK            = 0,
    TURSO_DONE          = 1,
    TURSO_ROW           = 2,
    TURSO_BUSY          = 4,
    TURSO_BUSY_SNAPSHOT = 6,
    TURSO_ERROR         = 127,
    TURSO_MISUSE        = 128,
    TURSO_CONSTRAINT    = 129,
    TURSO_READONLY      = 130,
    TURSO_DATABASE_FULL = 131,
    TURSO_NOTADB        = 132,
    TURSO_CORRUPT       = 133,
    TURSO_IOERR         = 134
};

enum {
    TURSO_TYPE_INTEGER = 1,
    TURSO_TYPE_REAL    = 2,
    TURSO_TYPE_TEXT    = 3,
    TURSO_TYPE_BLOB    = 4,
    TURSO_TYPE_NULL    = 5
};

/* What is used of it: X(result, name, arguments). `error` gets a text of Turso's, to be freed by
 * str_deinit().
 *
 * turso_statement_finalize() is not among them, and must not be: after BUSY it runs the statement
 * to its end, so a write that was reported as failed appears. Statements are reset, and dropped
 * by deinit. */
#define TURSO_CALLS(X)                                                                           \
    X(int, database_new, (const turso_config *config, turso_database **out, const char **error)) \
    X(int, database_open, (turso_database * db, const char **error))                             \
    X(int, database_connect, (turso_database * db, turso_connection * *out, const char **error)) \
    X(void, database_deinit, (turso_database * db))                                              \
    X(void, connection_set_busy_timeout_ms, (turso_connection * conn, int64_t ms))               \
    X(bool, connection_get_autocommit, (const turso_connection *conn))                           \
    X(int, connection_close, (turso_connection * conn, const char **error))                      \
    X(void, connection_deinit, (turso_connection * conn))                                        \
    X(int, connection_prepare_first,                                                             \
      (turso_connection * conn, const char *sql, turso_statement **out, size_t *tail,            \
       const char **error))                                                                      \
    X(int, statement_step, (turso_statement * stmt, const char **error))                         \
    X(int, statement_reset, (turso_statement * stmt, const char **error))                        \
    X(void, statement_deinit, (turso_statement * stmt))                                          \
    X(int64_t, statement_n_change, (turso_statement * stmt))                                     \
    X(int64_t, statement_column_count, (turso_statement * stmt))                                 \
    X(int, statement_row_value_kind, (turso_statement * stmt, size_t at))                        \
    X(int64_t, statement_row_value_int, (turso_statement * stmt, size_t at))                     \
    X(double, statement_row_value_double, (turso_statement * stmt, size_t at))                   \
    X(int64_t, statement_row_value_bytes_count, (turso_statement * stmt, size_t at))             \
    X(const char *, statement_row_value_bytes_ptr, (turso_statement * stmt, size_t at))          \
    X(int, statement_bind_positional_null, (turso_statement * stmt, size_t at))                  \
    X(int, statement_bind_positional_int, (turso_statement * stmt, size_t at, int64_t value))    \
    X(int, statement_bind_positional_double, (turso_statement * stmt, size_t at, double value))  \
    X(int, statement_bind_positional_text,                                                       \
      (turso_statement * stmt, size_t at, const char *text, size_t len))                         \
    X(void, str_deinit, (const char *text))

#define TURSO_MAP(X) X(const char *, version, (void)) TURSO_CALLS(X)

/** Its functions; set by pgqrs__turso_load(), and never changed again. */
typedef struct pgqrs__turso_functions {
#define TURSO_MEMBER(result, name, arguments) result(*name) arguments;
    TURSO_MAP(TURSO_MEMBER)
#undef TURSO_MEMBER
} pgqrs__turso_functions;

extern pgqrs__turso_functions pgqrs__turso;

/** Find the library and open it, once in a process. Looked for, and the first that is named or
 *  there is taken: PGQRS_TURSO_LIBRARY; @p path, unless NULL; libpgqrs_turso.so beside libpgqrs;
 *  the same where the system looks for libraries.
 *  @param[out] out_version, out_path  static; may be NULL
 *  @return PGQRS_OK, PGQRS_ECONFIG (none, or not one that will do), PGQRS_ESTATE (@p path is not
 *            the one that is open), PGQRS_ENOMEM */
pgqrs_status pgqrs__turso_load(const char *path, const char **out_version, const char **out_path,
                               pgqrs_error *error);

#endif
