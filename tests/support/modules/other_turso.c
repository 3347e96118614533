/* Something that has every function of Turso's, and another version; no other is ever called. */
#include "backend/turso/library.h"

const char *turso_version(void);

const char *turso_version(void)
{
    return "0.9.0";
}

#define PRESENT(result, name, arguments)  const char turso_##name[1] = "";
#define DECLARED(result, name, arguments) extern const char turso_##name[1];
TURSO_CALLS(DECLARED)
TURSO_CALLS(PRESENT)
