/** Filling a caller's pgqrs_error.
 *
 *  Every function takes error NULL (the caller does not want it). Texts that do not fit are cut at
 *  a UTF-8 character boundary. Messages are short, lower case, without a period; hints are full
 *  sentences. Arguments may point into the same error.
 *  @threads one at a time for one error */
#ifndef PGQRS_UTIL_ERROR_H
#define PGQRS_UTIL_ERROR_H

#include <pgqrs/pgqrs.h>

#include "util/base.h"

/** Starts an error anew: status, object and message are set, everything else is emptied. The flag
 *  PGQRS_RETRYABLE is set as PGQRS_STATUS_MAP has it.
 *  @return status, so that a caller can `return pgqrs__fail(...)`. */
PGQRS__PRINTF(4, 5)
pgqrs_status pgqrs__fail(pgqrs_error *error, pgqrs_status status, pgqrs_object object,
                         const char *format, ...);

/** Set the detail or the hint, after pgqrs__fail(). */
PGQRS__PRINTF(2, 3) void pgqrs__detail(pgqrs_error *error, const char *format, ...);
PGQRS__PRINTF(2, 3) void pgqrs__hint(pgqrs_error *error, const char *format, ...);

/** Adds flags, after pgqrs__fail(). PGQRS_MAYBE_APPLIED takes PGQRS_RETRYABLE away: it says the
 *  contrary. */
void pgqrs__flag(pgqrs_error *error, unsigned flags);

/** Success: clears the error, touching a few bytes only. @return PGQRS_OK */
pgqrs_status pgqrs__ok(pgqrs_error *error);

/** Out of memory. @return PGQRS_ENOMEM */
pgqrs_status pgqrs__nomem(pgqrs_error *error);

#endif
