/** Standing between a store and its database: answers that are lost, and a database that does not
 * answer.
 *
 *  One store at a time, and before anything is under way on it. */
#ifndef PGQRS_TESTS_BETWEEN_H
#define PGQRS_TESTS_BETWEEN_H

#include <stdbool.h>

#include <pgqrs/pgqrs.h>

void between_begin(pgqrs_store *store);
/** Let everything through from now on; the store may be closed. */
void between_end(void);

/** The answers of the next @p count transactions that write are lost: @p applied says whether they
 *  were committed. */
void between_lose(int count, bool applied);
/** Transactions that write do not begin until the gate is opened. */
void between_close_gate(void);
void between_open_gate(void);
/** Wait until @p count of them stand at the gate. */
void between_wait(int count);

#endif
