/** What a storm looks at: the database behind the library's back, and the logs of its processes. */
#ifndef PGQRS_TESTS_STORM_CHECK_H
#define PGQRS_TESTS_STORM_CHECK_H

#include "support/storm.h"

struct sqlite3;

typedef struct storm_look {
    world          *w;
    struct sqlite3 *sqlite; /**< NULL on PostgreSQL, which has w->pg */
    storm_report   *report;
} storm_look;

void storm_look_open(storm_look *look, world *w, storm_report *report);
void storm_look_close(storm_look *look);

/** Run a query, or statements without rows. A column that is NULL is "". */
void    storm_query(storm_look *look, const char                                     *sql,
                    void (*on_row)(void *user_data, const char *const *values), void *user_data);
int64_t storm_number(storm_look *look, const char *sql);

__attribute__((format(printf, 2, 3))) void storm_violation(storm_report *report, const char *format,
                                                           ...);

/** Look at the whole state, while others write. @return messages that are not archived. */
int64_t storm_check_state(storm_look *look);
/** Read the logs in @p folder and hold them against the database: everything has ended. */
void storm_check_end(storm_look *look, const char *folder);

#endif
