#ifdef PGQRS_HAVE_POSTGRES

#include "support/sessions.h"

#include <stdlib.h>
#include <unistd.h>

#include "backend/postgres/postgres.h"
#include "support/lose.h"
#include "support/peek.h"

#define SQL_MAX 8192

#define MUTANT "PGQRS_TEST_RACES_MUTANT"

session sessions[SESSIONS_MAX];
int64_t race_queue;
int64_t race_id[2];

/* What the library's connections run with; and who waits where he must not is told so. */
static const char settings[] = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;"
                               "SET jit = off; SET deadlock_timeout = '200ms';"
                               "SET statement_timeout = '20s'; SET client_min_messages = warning";

static const race_mutant  none   = { .stmt = -1 };
static const race_mutant *change = &none;
static size_t             changes;

static world *the_world;

static void simple(PGconn *pg, const char *sql)
{
    PGresult *result = PQexec(pg, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s\n%s", sql, PQerrorMessage(pg));
    PQclear(result);
}

/* Replace every occurrence, in a text of SQL_MAX bytes. False when there is none. */
static bool replace(char *text, const char *what, const char *with)
{
    static char out[SQL_MAX];
    size_t      at    = 0;
    bool        found = false;

    for (const char *from = text; *from != '\0';) {
        const bool here = strncmp(from, what, strlen(what)) == 0;
        const int  put  = here ? snprintf(out + at, sizeof(out) - at, "%s", with)
                               : snprintf(out + at, sizeof(out) - at, "%c", *from);
        at += (size_t)put;
        assert_true(at < sizeof(out));
        from += here ? strlen(what) : 1;
        found = found || here;
    }
    memcpy(text, out, at + 1);
    return found;
}

static void prepare(session *s, int stmt)
{
    static char sql[SQL_MAX];
    char        schema[80];
    Oid         types[PGQRS__PG_MAX_ARGS];

    (void)snprintf(schema, sizeof(schema), "%s.", the_world->schema);
    (void)snprintf(sql, sizeof(sql), "%s", pgqrs__sql_postgres[stmt].parts[0]);
    (void)replace(sql, "@schema.", schema);
    if (stmt == change->stmt)
        assert_true(replace(sql, change->precaution, change->instead));
    pgqrs__pg_types(&pgqrs__shapes[stmt], types);
    PGresult *result =
        PQprepare(s->pg, pgqrs__shapes[stmt].name, sql, pgqrs__shapes[stmt].nargs, types);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", pgqrs__shapes[stmt].name, PQerrorMessage(s->pg));
    PQclear(result);
}

int sessions_setup(void **state)
{
    if (world_setup_real(state) != 0)
        return -1;
    the_world  = *state;
    race_queue = 0;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        sessions[i].pg = PQconnectdb(the_world->direct);
        assert_int_equal(CONNECTION_OK, PQstatus(sessions[i].pg));
        simple(sessions[i].pg, settings);
        for (int stmt = 0; stmt < (int)PGQRS__STMT_COUNT; stmt++)
            prepare(&sessions[i], stmt);
    }
    return 0;
}

int sessions_teardown(void **state)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) { /* what is open in them is rolled back */
        PQclear(sessions[i].result);
        PQfinish(sessions[i].pg);
        sessions[i] = (session){ 0 };
    }
    return world_teardown(state);
}

void begin_in(session *s)
{
    simple(s->pg, "BEGIN ISOLATION LEVEL READ COMMITTED");
}

void commit_in(session *s)
{
    simple(s->pg, "COMMIT");
}

void roll_back_in(session *s)
{
    simple(s->pg, "ROLLBACK");
}

/* --- Arguments -----------------------------------------------------------------------------------
 */

static size_t put_value(char *out, size_t size, const pgqrs__field *field, const given *g)
{
    if (g == NULL)
        return (size_t)snprintf(out, size, "%s", field->nullable ? "NULL" : "0");
    if (g->text != NULL)
        return (size_t)snprintf(out, size, "%s", g->text);
    if (field->type == PGQRS__TYPE_BOOL)
        return (size_t)snprintf(out, size, "%s", g->value != 0 ? "t" : "f");
    return (size_t)snprintf(out, size, "%lld", (long long)g->value);
}

/* How many rows the arrays have: as often as the name that is given most. */
static size_t rows_of(const given *args)
{
    size_t most = 1;
    for (const given *a = args; a->name != NULL; a++) {
        size_t count = 0;
        for (const given *b = args; b->name != NULL; b++)
            count += strcmp(a->name, b->name) == 0;
        most = count > most ? count : most;
    }
    return most;
}

/* The @p n-th value for a name; the last one stands for those that are missing. */
static const given *nth(const given *args, const char *name, size_t n)
{
    const given *found = NULL;
    for (const given *a = args; a->name != NULL; a++)
        if (strcmp(a->name, name) == 0) {
            found = a;
            if (n-- == 0)
                break;
        }
    return found;
}

/* NULL: the value is NULL. */
static const char *argument(const pgqrs__field *field, const given *args, char *out, size_t size)
{
    size_t at = 0;

    if (!field->array) {
        const given *g = nth(args, field->name, 0);
        if (g == NULL && field->nullable)
            return NULL;
        (void)put_value(out, size, field, g);
        return out;
    }
    at += (size_t)snprintf(out + at, size - at, "{");
    for (size_t row = 0; row < rows_of(args); row++) {
        const given *g = nth(args, field->name, row);
        at += (size_t)snprintf(out + at, size - at, row > 0 ? "," : "");
        at += put_value(out + at, size - at, field, g);
    }
    at += (size_t)snprintf(out + at, size - at, "}");
    assert_true(at < size);
    return out;
}

static void send_call(session *s, int stmt, const given *args)
{
    const pgqrs__shape *shape = &pgqrs__shapes[stmt];
    char                texts[PGQRS__PG_MAX_ARGS][256];
    const char         *values[PGQRS__PG_MAX_ARGS];

    for (const given *g = args; g->name != NULL; g++) { /* a name that is not known is a mistake */
        bool known = false;
        for (int i = 0; i < shape->nargs; i++)
            known = known || strcmp(shape->args[i].name, g->name) == 0;
        if (!known)
            fail_msg("%s has no argument %s", shape->name, g->name);
    }
    for (int i = 0; i < shape->nargs; i++)
        values[i] = argument(&shape->args[i], args, texts[i], sizeof(texts[i]));
    if (PQsendQueryPrepared(s->pg, shape->name, shape->nargs, values, NULL, NULL, 0) != 1)
        fail_msg("%s: %s", shape->name, PQerrorMessage(s->pg));
}

/* --- Running -------------------------------------------------------------------------------------
 */

static void take_answer(session *s)
{
    PQclear(s->result);
    s->result = PQgetResult(s->pg);
    for (PGresult *more = PQgetResult(s->pg); more != NULL; more = PQgetResult(s->pg))
        PQclear(more);
}

/* Whether a session waits for a lock. */
static bool is_waiting(const session *s)
{
    char sql[160];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %d",
                   PQbackendPID(s->pg));
    PGresult  *result = PQexec(the_world->pg, sql);
    const bool yes    = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
    PQclear(result);
    return yes;
}

static bool has_answered(session *s)
{
    assert_int_equal(1, PQconsumeInput(s->pg));
    return !PQisBusy(s->pg);
}

int run_in(session *s, int stmt, const given *args)
{
    send_call(s, stmt, args);
    while (!has_answered(s))
        if (is_waiting(s) && !has_answered(s) && is_waiting(s))
            fail_msg("%s waits", pgqrs__shapes[stmt].name);
    return done_in(s);
}

void waits_in(session *s, int stmt, const given *args)
{
    send_call(s, stmt, args);
    while (!is_waiting(s))
        if (has_answered(s))
            fail_msg("%s does not wait", pgqrs__shapes[stmt].name);
}

int done_in(session *s)
{
    take_answer(s);
    if (PQresultStatus(s->result) != PGRES_TUPLES_OK)
        fail_msg("%s", PQresultErrorMessage(s->result));
    return PQntuples(s->result);
}

const char *error_in(session *s)
{
    take_answer(s);
    const char *state = PQresultErrorField(s->result, PG_DIAG_SQLSTATE);
    return state != NULL ? state : "";
}

int64_t answer_in(const session *s, int row, const char *column)
{
    const int number = PQfnumber(s->result, column);
    assert_true(number >= 0 && row < PQntuples(s->result));
    const char *value = PQgetvalue(s->result, row, number);
    return value[0] == 't' ? 1 : strtoll(value, NULL, 10);
}

/* --- Where a case begins -------------------------------------------------------------------------
 */

/* The two messages, and nothing else; their rows by the text, which selects from m. */
static void place(world *w, const char *into)
{
    char sql[1500];

    if (race_queue == 0) {
        queue(w, "orders");
        race_queue = queue_get(w, "orders").id;
        enqueue_count(w, "orders", 2, race_id);
    }
    (void)snprintf(sql, sizeof(sql),
                   "DELETE FROM pgqrs_ready; DELETE FROM pgqrs_scheduled; DELETE FROM pgqrs_leased;"
                   "DELETE FROM pgqrs_archive; DELETE FROM pgqrs_steps; DELETE FROM pgqrs_messages;"
                   "INSERT INTO pgqrs_messages (id, enqueued_at, queue_id, priority, payload) "
                   "VALUES (%lld, now(), %lld, 5, '1'), (%lld, now(), %lld, 5, '1');"
                   "INSERT INTO %s FROM pgqrs_messages m",
                   (long long)race_id[0], (long long)race_queue, (long long)race_id[1],
                   (long long)race_queue, into);
    sql_run(w, sql);
}

void with_ready(world *w)
{
    place(w, "pgqrs_ready (seq, message_id, queue_id, priority, attempt) "
             "SELECT m.id, m.id, m.queue_id, m.priority, 0");
}

void with_scheduled(world *w)
{
    place(w, "pgqrs_scheduled (message_id, queue_id, visible_at, attempt, reason) "
             "SELECT m.id, m.queue_id, now() - interval '1 h', 0, 0");
}

void with_dead(world *w)
{
    place(w, "pgqrs_archive (message_id, queue_id, finished_at, attempt, state) "
             "SELECT m.id, m.queue_id, now(), 5, 4");
}

void with_held(world *w, bool passed)
{
    char into[300];
    (void)snprintf(
        into, sizeof(into),
        "pgqrs_leased (message_id, queue_id, lease, claimed_at, expires_at, attempt) "
        "SELECT m.id, m.queue_id, %d, now() - interval '2 h', now() %s interval '1 h', 1",
        LEASE_A, passed ? "-" : "+");
    place(w, into);
}

int statement_of(deed d)
{
    static const int statements[DEEDS] = {
        [FINISH]  = PGQRS__STMT_MESSAGE_FINISH,
        [RELEASE] = PGQRS__STMT_MESSAGE_RELEASE,
        [DELETE]  = PGQRS__STMT_MESSAGE_DELETE,
        [EXTEND]  = PGQRS__STMT_LEASE_EXTEND,
    };
    return statements[d];
}

int64_t held_under(world *w, int lease)
{
    char sql[96];
    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM pgqrs_leased WHERE lease = %d", lease);
    return sql_number(w, sql);
}

/* --- Would it be found out? ----------------------------------------------------------------------
 */

static const race_mutant *all_mutants;

void without_its_precaution_each_case_fails(void **state)
{
    char          program[512], command[700], number[24];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

    (void)state;
    (void)alarm(240);
    assert_true(length > 0);
    program[length] = '\0';
    for (size_t i = 0; i < changes; i++) {
        (void)snprintf(number, sizeof(number), "%zu", i);
        (void)setenv(MUTANT, number, 1);
        (void)snprintf(command, sizeof(command), "'%s' >/dev/null 2>&1", program);
        const int status = system(command);
        (void)unsetenv(MUTANT);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
            fail_msg("%s passes without \"%s\" (%#x)", all_mutants[i].name,
                     all_mutants[i].precaution, (unsigned)status);
    }
}

int races_main(const struct CMUnitTest *cases, size_t count, const race_mutant *mutants,
               size_t mutant_count)
{
    const char *number = getenv(MUTANT);

    if (!on_postgres())
        return 77;
    all_mutants = mutants;
    changes     = mutant_count;
    if (number != NULL) {
        change = &mutants[strtoul(number, NULL, 10)];
        if (strstr(pgqrs__sql_postgres[change->stmt].parts[0], change->precaution) == NULL)
            return 3; /* nothing is left out */
        cmocka_set_test_filter(change->name);
    }
    const int failed = _cmocka_run_group_tests("races", cases, count, NULL, NULL);
    return number == NULL ? failed : failed != 0;
}

#endif
