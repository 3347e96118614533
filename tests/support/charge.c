#include "support/charge.h"

#include "support/peek.h"
#include "support/user.h"

void charge_prepare(world *w)
{
    workflow(w, "flow");
    workflow(w, "child");
    queue(w, "receipts");
    sql_run(w, "CREATE TABLE effects (name text NOT NULL)");
}

pgqrs_run *charge_run(world *w)
{
    (void)trigger(w, "flow", "{}");
    return claim_run(w, "flow");
}

pgqrs_step *begin_tx(pgqrs_run *run, const char *name)
{
    pgqrs_step *step = NULL;
    assert_run(PGQRS_OK, run, pgqrs_step_begin_tx(run, name, NULL, &step));
    assert_non_null(step);
    assert_false(pgqrs_step_recorded(step));
    return step;
}

pgqrs_step *work_in_tx(world *w, pgqrs_run *run, const char *name)
{
    pgqrs_step *step = begin_tx(run, name);
    int64_t     id = 0, child = 0;
    step_do(w, step, INSERT);
    assert_run(PGQRS_OK, run, pgqrs_step_enqueue(step, "receipts", "{}", NULL, &id));
    assert_true(id > 0);
    assert_run(PGQRS_OK, run, pgqrs_step_trigger(step, "child", "{}", NULL, &child));
    assert_true(child > 0 && child != id);
    return step;
}

int64_t effects(world *w)
{
    return sql_number(w, "SELECT count(*) FROM effects");
}

void assert_done(world *w, int64_t count)
{
    assert_int_equal(count, effects(w));
    assert_int_equal(count, measure(w, "receipts").ready);
    assert_int_equal(count, measure(w, "child").ready);
    assert_consistent(w);
}
