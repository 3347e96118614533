/* Finding SQLite in the process. */
#define PGQRS_PYTHON_SQLITE_DIRECT
#include "sqlite_table.h"

#include <dlfcn.h>
#include <stddef.h>

#include "native.h"

pgqrs_python_sqlite pgqrs_python_sqlite_table;

const char *pgqrs_py_sqlite_load(const char *path)
{
    pgqrs_python_sqlite found;
    void               *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (object == NULL)
        return "cannot be loaded";
        /* POSIX lets a data pointer be a function's; C wants it said in this way. */
#define TAKE(name)                                           \
    *(void **)&found.name = dlsym(object, "sqlite3_" #name); \
    if (found.name == NULL) {                                \
        (void)dlclose(object);                               \
        return "sqlite3_" #name;                             \
    }
    PGQRS_PYTHON_SQLITE_MAP(TAKE)
#undef TAKE
    pgqrs_python_sqlite_table = found; /* the object stays loaded as long as the process */
    return NULL;
}
