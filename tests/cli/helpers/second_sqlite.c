/* Preloaded, it looks like a second copy of SQLite, of the version that PGQRS_TEST_SQLITE says. */
#include <stdlib.h>

const char *sqlite3_libversion(void);
int         sqlite3_libversion_number(void);

const char *sqlite3_libversion(void)
{
    const char *number = getenv("PGQRS_TEST_SQLITE");

    return number == NULL ? "3.99.0" : number;
}

int sqlite3_libversion_number(void)
{
    const char *text = sqlite3_libversion();
    char       *end;
    long        major = strtol(text, &end, 10);
    long        minor = strtol(end + 1, &end, 10);
    long        patch = strtol(end + 1, &end, 10);

    return (int)(major * 1000000 + minor * 1000 + patch);
}
