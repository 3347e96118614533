/* SQLite's functions as pointers, to be filled at run time from a copy that is loaded already.
 *
 * Included before everything else in the sources of the SQLite backend: there, a call of a function
 * in the list goes through the table. */
#ifndef PGQRS_PYTHON_SQLITE_TABLE_H
#define PGQRS_PYTHON_SQLITE_TABLE_H

#include <sqlite3.h>

#define PGQRS_PYTHON_SQLITE_MAP(X) \
    X(bind_blob64)                 \
    X(bind_double)                 \
    X(bind_int64)                  \
    X(bind_null)                   \
    X(bind_parameter_count)        \
    X(bind_parameter_name)         \
    X(bind_text)                   \
    X(bind_text64)                 \
    X(busy_handler)                \
    X(changes)                     \
    X(close)                       \
    X(column_blob)                 \
    X(column_bytes)                \
    X(column_count)                \
    X(column_decltype)             \
    X(column_double)               \
    X(column_int64)                \
    X(column_name)                 \
    X(column_text)                 \
    X(column_type)                 \
    X(db_filename)                 \
    X(db_readonly)                 \
    X(errmsg)                      \
    X(errstr)                      \
    X(exec)                        \
    X(extended_errcode)            \
    X(extended_result_codes)       \
    X(finalize)                    \
    X(get_autocommit)              \
    X(libversion)                  \
    X(libversion_number)           \
    X(next_stmt)                   \
    X(open_v2)                     \
    X(prepare_v2)                  \
    X(prepare_v3)                  \
    X(reset)                       \
    X(step)                        \
    X(stmt_busy)                   \
    X(stricmp)                     \
    X(system_errno)                \
    X(threadsafe)                  \
    X(total_changes)

#define PGQRS_PYTHON_SQLITE_FIELD_(name) __typeof__(sqlite3_##name) *name;
typedef struct pgqrs_python_sqlite {
    PGQRS_PYTHON_SQLITE_MAP(PGQRS_PYTHON_SQLITE_FIELD_)
} pgqrs_python_sqlite;

extern pgqrs_python_sqlite pgqrs_python_sqlite_table;

#ifndef PGQRS_PYTHON_SQLITE_DIRECT
#define sqlite3_bind_blob64           pgqrs_python_sqlite_table.bind_blob64
#define sqlite3_bind_double           pgqrs_python_sqlite_table.bind_double
#define sqlite3_bind_int64            pgqrs_python_sqlite_table.bind_int64
#define sqlite3_bind_null             pgqrs_python_sqlite_table.bind_null
#define sqlite3_bind_parameter_count  pgqrs_python_sqlite_table.bind_parameter_count
#define sqlite3_bind_parameter_name   pgqrs_python_sqlite_table.bind_parameter_name
#define sqlite3_bind_text             pgqrs_python_sqlite_table.bind_text
#define sqlite3_bind_text64           pgqrs_python_sqlite_table.bind_text64
#define sqlite3_busy_handler          pgqrs_python_sqlite_table.busy_handler
#define sqlite3_changes               pgqrs_python_sqlite_table.changes
#define sqlite3_close                 pgqrs_python_sqlite_table.close
#define sqlite3_column_blob           pgqrs_python_sqlite_table.column_blob
#define sqlite3_column_bytes          pgqrs_python_sqlite_table.column_bytes
#define sqlite3_column_count          pgqrs_python_sqlite_table.column_count
#define sqlite3_column_decltype       pgqrs_python_sqlite_table.column_decltype
#define sqlite3_column_double         pgqrs_python_sqlite_table.column_double
#define sqlite3_column_int64          pgqrs_python_sqlite_table.column_int64
#define sqlite3_column_name           pgqrs_python_sqlite_table.column_name
#define sqlite3_column_text           pgqrs_python_sqlite_table.column_text
#define sqlite3_column_type           pgqrs_python_sqlite_table.column_type
#define sqlite3_db_filename           pgqrs_python_sqlite_table.db_filename
#define sqlite3_db_readonly           pgqrs_python_sqlite_table.db_readonly
#define sqlite3_errmsg                pgqrs_python_sqlite_table.errmsg
#define sqlite3_errstr                pgqrs_python_sqlite_table.errstr
#define sqlite3_exec                  pgqrs_python_sqlite_table.exec
#define sqlite3_extended_errcode      pgqrs_python_sqlite_table.extended_errcode
#define sqlite3_extended_result_codes pgqrs_python_sqlite_table.extended_result_codes
#define sqlite3_finalize              pgqrs_python_sqlite_table.finalize
#define sqlite3_get_autocommit        pgqrs_python_sqlite_table.get_autocommit
#define sqlite3_libversion            pgqrs_python_sqlite_table.libversion
#define sqlite3_libversion_number     pgqrs_python_sqlite_table.libversion_number
#define sqlite3_next_stmt             pgqrs_python_sqlite_table.next_stmt
#define sqlite3_open_v2               pgqrs_python_sqlite_table.open_v2
#define sqlite3_prepare_v2            pgqrs_python_sqlite_table.prepare_v2
#define sqlite3_prepare_v3            pgqrs_python_sqlite_table.prepare_v3
#define sqlite3_reset                 pgqrs_python_sqlite_table.reset
#define sqlite3_step                  pgqrs_python_sqlite_table.step
#define sqlite3_stmt_busy             pgqrs_python_sqlite_table.stmt_busy
#define sqlite3_stricmp               pgqrs_python_sqlite_table.stricmp
#define sqlite3_system_errno          pgqrs_python_sqlite_table.system_errno
#define sqlite3_threadsafe            pgqrs_python_sqlite_table.threadsafe
#define sqlite3_total_changes         pgqrs_python_sqlite_table.total_changes
#endif

#endif
