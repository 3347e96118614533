"""Write the C source of pgqrs._native: the public headers, as cffi understands them.

The declarations are what `cc -E -P -DPGQRS_CDEF` makes of the headers, so nothing is written twice.
Beside them: native.h, and the functions of libpq and SQLite that the SQL of a transactional step needs.
"""

import argparse
import pathlib
import re
import subprocess

import cffi

HEADERS = ["pgqrs/pgqrs.h", "pgqrs/workflow.h", "pgqrs/postgres.h", "pgqrs/sqlite.h"]

# Numbers that are macros, whose values the compiler fills in.
CONSTANTS = """
#define PGQRS_RETRYABLE ...
#define PGQRS_MAYBE_APPLIED ...
#define PGQRS_PRIORITY_FIRST ...
static const size_t PGQRS_NO_OPERATION;
static const int64_t PGQRS_FOREVER;
"""

POSTGRES = """
typedef ... PGresult;
typedef unsigned int Oid;
#define PG_DIAG_SQLSTATE ...
#define PG_DIAG_MESSAGE_PRIMARY ...
#define PG_DIAG_MESSAGE_DETAIL ...
#define PG_DIAG_MESSAGE_HINT ...
#define PGRES_EMPTY_QUERY ...
#define PGRES_COMMAND_OK ...
#define PGRES_TUPLES_OK ...
PGresult *PQexecParams(struct pg_conn *conn, const char *command, int nParams, const Oid *paramTypes,
                       const char *const *paramValues, const int *paramLengths,
                       const int *paramFormats, int resultFormat);
int PQresultStatus(const PGresult *res);
char *PQresultErrorField(const PGresult *res, int fieldcode);
char *PQresultErrorMessage(const PGresult *res);
char *PQerrorMessage(const struct pg_conn *conn);
int PQntuples(const PGresult *res);
int PQnfields(const PGresult *res);
char *PQfname(const PGresult *res, int column_number);
Oid PQftype(const PGresult *res, int column_number);
char *PQcmdTuples(PGresult *res);
char *PQgetvalue(const PGresult *res, int row_number, int column_number);
int PQgetlength(const PGresult *res, int row_number, int column_number);
int PQgetisnull(const PGresult *res, int row_number, int column_number);
void PQclear(PGresult *res);
"""

SQLITE = """
typedef struct sqlite3_stmt sqlite3_stmt;
#define SQLITE_OK ...
#define SQLITE_ROW ...
#define SQLITE_DONE ...
#define SQLITE_INTEGER ...
#define SQLITE_FLOAT ...
#define SQLITE_TEXT ...
#define SQLITE_BLOB ...
#define SQLITE_NULL ...
int sqlite3_prepare_v2(struct sqlite3 *db, const char *sql, int bytes, sqlite3_stmt **stmt,
                       const char **tail);
int sqlite3_bind_parameter_count(sqlite3_stmt *stmt);
int sqlite3_bind_null(sqlite3_stmt *stmt, int at);
int sqlite3_bind_int64(sqlite3_stmt *stmt, int at, int64_t value);
int sqlite3_bind_double(sqlite3_stmt *stmt, int at, double value);
int sqlite3_step(sqlite3_stmt *stmt);
int sqlite3_finalize(sqlite3_stmt *stmt);
int sqlite3_changes(struct sqlite3 *db);
int sqlite3_extended_errcode(struct sqlite3 *db);
const char *sqlite3_errmsg(struct sqlite3 *db);
int sqlite3_column_count(sqlite3_stmt *stmt);
const char *sqlite3_column_name(sqlite3_stmt *stmt, int at);
int sqlite3_column_type(sqlite3_stmt *stmt, int at);
int64_t sqlite3_column_int64(sqlite3_stmt *stmt, int at);
double sqlite3_column_double(sqlite3_stmt *stmt, int at);
const void *sqlite3_column_blob(sqlite3_stmt *stmt, int at);
int sqlite3_column_bytes(sqlite3_stmt *stmt, int at);
const char *sqlite3_libversion(void);
/* The bytes are copied. */
int pgqrs_py_bind_text(sqlite3_stmt *stmt, int at, const char *text, uint64_t bytes);
int pgqrs_py_bind_blob(sqlite3_stmt *stmt, int at, const void *data, uint64_t bytes);
"""

SQLITE_SOURCE = """
#include "sqlite_table.h"

static int pgqrs_py_bind_text(sqlite3_stmt *stmt, int at, const char *text, uint64_t bytes)
{
    return sqlite3_bind_text64(stmt, at, text, bytes, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static int pgqrs_py_bind_blob(sqlite3_stmt *stmt, int at, const void *data, uint64_t bytes)
{
    return sqlite3_bind_blob64(stmt, at, data, bytes, SQLITE_TRANSIENT);
}
"""


def declarations(cc: str, include: pathlib.Path, text: str) -> str:
    native = pathlib.Path(__file__).parent
    command = [cc, "-E", "-P", "-x", "c", "-DPGQRS_CDEF", f"-I{include}", f"-I{native}", "-"]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, universal_newlines=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--include", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--backends", default="postgres,sqlite")
    arguments = parser.parse_args()
    backends = arguments.backends.split(",")

    includes = "".join(f"#include <{header}>\n" for header in HEADERS) + '#include "native.h"\n'
    cdef = declarations(arguments.cc, arguments.include, includes) + CONSTANTS
    source = includes
    if "postgres" in backends:
        cdef += POSTGRES
        source += "#include <libpq-fe.h>\n"
    if "sqlite" in backends:
        cdef += SQLITE
        source += SQLITE_SOURCE
    else:
        cdef = re.sub(r"^.*pgqrs_py_sqlite_load.*$", "", cdef, flags=re.MULTILINE)

    ffi = cffi.FFI()
    ffi.cdef(cdef)
    ffi.set_source("pgqrs._native", source)
    ffi.emit_c_code(str(arguments.out))


if __name__ == "__main__":
    main()
