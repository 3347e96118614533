/** Another process, forked while no store is open, that opens the database when told to. */
#ifndef PGQRS_TESTS_PARTNER_H
#define PGQRS_TESTS_PARTNER_H

#include "support/world.h"

#include <sys/types.h>

typedef struct partner {
    pid_t pid;
    int   ask; /* pipes */
    int   answer;
} partner;

/** What it found. */
typedef struct partner_answer {
    pgqrs_status status;
    char         message[256];
    char         hint[256];
} partner_answer;

partner partner_start(const world *w);
/** Have it open the store that @p dsn names, and keep it open when that works. */
partner_answer partner_opens(partner *p, const char *dsn);
/** Have it put a message into "orders" of the store that it has open. */
partner_answer partner_enqueues(partner *p);
/** Have it close the store. */
void partner_closes(partner *p);
/** End it as it is: kill -9. */
void partner_kill(partner *p);

#endif
