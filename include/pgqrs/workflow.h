/** @file workflow.h
 *  Workflow sugar for C: a few macros around the calls of pgqrs.h. Nothing here is the only way
 *  to do a thing; C99 and C++11 will do, and no compiler extension is used.
 *
 *      PGQRS_WORKFLOW(archive_files, run)
 *      {
 *          const char *files, *archive;
 *
 *          PGQRS_STEP(run, "list_files", &files)
 *              PGQRS_TRY(list_files(step, pgqrs_run_input(run)));
 *          PGQRS_STEP(run, "create_archive", &archive) {
 *              PGQRS_TRY(create_archive(step, files));
 *          }
 *          return pgqrs_run_succeed(run, archive);
 *      }
 */
#ifndef PGQRS_WORKFLOW_H
#define PGQRS_WORKFLOW_H

#include <pgqrs/pgqrs.h>

#ifndef PGQRS_CDEF
#ifdef __cplusplus
extern "C" {
#endif
#endif

/** How the block that executed @p step ended. Asks nobody: it tells what this handle knows. A
 *  transactional step that is still open is rolled back.
 *  @param[out] out_output  the recorded output, as pgqrs_step_output(); NULL on failure.
 *          May be NULL.
 *  @return PGQRS_OK when the step has a result; what its last pgqrs_step_succeed(), _fail() or
 *          _retry() returned when that was something else; PGQRS_ESTATE when none was called. */
PGQRS_API PGQRS_CHECK pgqrs_status pgqrs_step_end(pgqrs_step *step, const char **out_output);

#ifndef PGQRS_CDEF
#ifdef __cplusplus
}
#endif

/** Define a workflow function, a pgqrs_run_handler for pgqrs_worker_on_run(): its body follows.
 *  `static` may stand before it. A function that needs its user_data does without the macro. */
#define PGQRS_WORKFLOW(name, run)                                       \
    pgqrs_status        name(pgqrs_run *pgqrs_run_, void *pgqrs_data_); \
    static pgqrs_status name##_body_(pgqrs_run *run);                   \
    pgqrs_status        name(pgqrs_run *pgqrs_run_, void *pgqrs_data_)  \
    {                                                                   \
        (void)pgqrs_data_;                                              \
        return name##_body_(pgqrs_run_);                                \
    }                                                                   \
    static pgqrs_status name##_body_(pgqrs_run *run)

/** Return what @p expression gives from the enclosing function, unless it is PGQRS_OK. */
#define PGQRS_TRY(expression)                   \
    do {                                        \
        pgqrs_status pgqrs_try_ = (expression); \
        if (pgqrs_try_ != PGQRS_OK)             \
            return pgqrs_try_;                  \
    } while (0)

/** A step: the statement or block that follows is executed once, with the variable `step` in it,
 *  and ends by pgqrs_step_succeed(), pgqrs_step_fail() or pgqrs_step_retry(). When the step is
 *  recorded already the block is skipped. Either way *out_output is the recorded output; NULL =
 *  not wanted.
 *
 *  When the run cannot go on (the lease is lost, a cancel was heard of, the step failed or waits
 *  for its retry, the database is away) the macro returns that status from the workflow function.
 *  `break` and `continue` leave the block, not a loop around it. A block that is left by them, or
 *  runs to its end, without having ended its step records nothing: the workflow function returns
 *  PGQRS_ESTATE, and pgqrs_run_error() names the step.
 *
 *  Steps follow one another and may stand in loops, where a repeated name is "name#2" and so on;
 *  keep their order the same in every execution. A step inside a step is not a thing: -Wshadow
 *  warns. Put braces around a step that is the only statement of an `if`. */
#define PGQRS_STEP(run, name, out_output) PGQRS_STEP_WITH(run, name, NULL, out_output)

/** The same with options:
 *  PGQRS_STEP_WITH(run, "pay", PGQRS_OPTIONS(step, .max_retries = 9), &receipt) */
#define PGQRS_STEP_WITH(run, name, options, out_output) \
    PGQRS_STEP_BEGUN_BY_(pgqrs_step_begin, run, name, options, out_output)

/** A transactional step (pgqrs_step_begin_tx()): what the block writes by the step's connection,
 * what it enqueues and triggers by the step, and its record are one commit, by
 * pgqrs_step_succeed(); a block that is left otherwise has done nothing.
 *
 *      PGQRS_STEP_TX(run, "charge", &receipt) {
 *          PGconn *db = pgqrs_step_pgconn(step);
 *          PGQRS_TRY(debit(db, account, amount));
 *          PGQRS_TRY(pgqrs_step_enqueue(step, "receipts", payload, NULL, NULL));
 *          PGQRS_TRY(pgqrs_step_succeed(step, "{\"ok\":true}"));
 *      } */
#define PGQRS_STEP_TX(run, name, out_output) PGQRS_STEP_TX_WITH(run, name, NULL, out_output)
#define PGQRS_STEP_TX_WITH(run, name, options, out_output) \
    PGQRS_STEP_BEGUN_BY_(pgqrs_step_begin_tx, run, name, options, out_output)

#define PGQRS_STEP_BEGUN_BY_(begin, run, name, options, out_output)                             \
    for (pgqrs_step_scope pgqrs_scope_ = { NULL, PGQRS_OK, 0 };                                 \
         (pgqrs_scope_.turn == 0                                                                \
          && (pgqrs_scope_.status = begin(run, name, options, &pgqrs_scope_.step)) != PGQRS_OK) \
         || (pgqrs_scope_.turn++ == 0 && !pgqrs_step_recorded(pgqrs_scope_.step))               \
         || (pgqrs_scope_.status = pgqrs_step_end(pgqrs_scope_.step, out_output)) != PGQRS_OK;) \
        if (pgqrs_scope_.status != PGQRS_OK)                                                    \
            return pgqrs_scope_.status;                                                         \
        else                                                                                    \
            for (pgqrs_step *step = pgqrs_scope_.step; step != NULL; step = NULL)

/** What PGQRS_STEP keeps while its block runs. */
typedef struct pgqrs_step_scope {
    pgqrs_step  *step;
    pgqrs_status status; /**< of beginning or ending it */
    int          turn;   /**< 0: not begun */
} pgqrs_step_scope;
#endif

#endif
