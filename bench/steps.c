/* Jobs that call the library: steps of runs. */
#include "bench.h"

#include <stdlib.h>

typedef struct stepper {
    lane        *l;
    pgqrs_store *store;
    pgqrs_run   *run;
    int          step;
} stepper;

static bool steps_ready(bench *b, const job *j)
{
    pgqrs_error error;

    (void)j;
    return bench_ok(b, pgqrs_workflow_ensure(b->store, STEPS_QUEUE, NULL, &error), "workflow",
                    &error);
}

bool runs_take(pgqrs_store *store, int count, pgqrs_messages **out, pgqrs_error *error)
{
    const pgqrs_claim_options options = { .struct_size = sizeof(options),
                                          .limit       = count,
                                          .lease_us    = PGQRS_HOUR };

    *out = NULL;
    for (int i = 0; i < count; i++)
        if (pgqrs_trigger(store, STEPS_QUEUE, BENCH_PAYLOAD, NULL, NULL, error) != PGQRS_OK)
            return false;
    return pgqrs_claim(store, STEPS_QUEUE, &options, out, error) == PGQRS_OK;
}

/* A new run for all, and one of those that are there for this caller. */
static bool take_run(stepper *s)
{
    pgqrs_messages *messages = NULL;
    pgqrs_error     error;
    bool            good;

    pgqrs_run_free(s->run);
    s->run  = NULL;
    s->step = 0;
    good    = runs_take(s->store, 1, &messages, &error)
           && pgqrs_run_from(s->store, messages, 0, &s->run, &error) == PGQRS_OK;
    pgqrs_messages_free(messages);
    if (!good)
        (void)lane_say(s->l, "run", &error);
    return good;
}

static void *stepper_open(bench *b, const job *j, lane *l, int caller)
{
    stepper *s = BENCH_NEW(stepper);

    (void)j;
    (void)caller;
    if (s == NULL)
        return NULL;
    s->store = b->store;
    s->l     = l;
    if (!take_run(s)) {
        free(s);
        return NULL;
    }
    return s;
}

static void stepper_close(void *self)
{
    stepper *s = self;

    if (s->run != NULL)
        (void)pgqrs_run_succeed(s->run, NULL);
    pgqrs_run_free(s->run);
    free(s);
}

static int64_t step_op(void *self)
{
    stepper    *s = self;
    pgqrs_step *step;
    char        name[32];
    int64_t     began = bench_now_ns();

    (void)snprintf(name, sizeof(name), "step_%d", ++s->step);
    if (pgqrs_step_begin(s->run, name, NULL, &step) != PGQRS_OK
        || pgqrs_step_succeed(step, STEP_OUTPUT) != PGQRS_OK)
        return lane_say(s->l, "step", pgqrs_run_error(s->run));
    began = bench_now_ns() - began;
    s->l->busy_ns += began;
    histogram_add(&s->l->latency, began);
    if (s->step < STEPS_OF_RUN)
        return 1;
    if (pgqrs_run_succeed(s->run, "{\"ok\":true}") != PGQRS_OK)
        return lane_say(s->l, "run_succeed", pgqrs_run_error(s->run));
    return take_run(s) ? 1 : -1;
}

job job_steps(const char *name, int runs)
{
    return (job){ .name    = name,
                  .callers = runs,
                  .flags   = JOB_STORE | JOB_OWN_LATENCY | (runs == 1 ? JOB_TIMES_ITSELF : 0),
                  .ready   = steps_ready,
                  .open    = stepper_open,
                  .op      = step_op,
                  .close   = stepper_close };
}
