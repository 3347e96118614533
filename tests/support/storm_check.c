#include "support/storm_check.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>

#define SHOWN_MAX 20

void storm_violation(storm_report *report, const char *format, ...)
{
    char    text[sizeof(report->first)];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (report->violations++ == 0)
        memcpy(report->first, text, sizeof(text));
    if (report->violations <= SHOWN_MAX)
        print_error("violation: %s\n", text);
}

/* --- The whole state, while others write
 * ---------------------------------------------------------- */

#define PLACES                                                                         \
    "(SELECT message_id, 1 AS place, attempt, 0 AS lease, 0 AS state FROM pgqrs_ready" \
    " UNION ALL SELECT message_id, 2, attempt, 0, 0 FROM pgqrs_scheduled"              \
    " UNION ALL SELECT message_id, 3, attempt, lease, 0 FROM pgqrs_leased"             \
    " UNION ALL SELECT message_id, 4, attempt, coalesce(lease, 0), state FROM pgqrs_archive)"

static void misplaced(void *user_data, const char *const *values)
{
    storm_violation(user_data, "message %s: %s bodies, and in %s places", values[0], values[1],
                    values[2]);
}

static void gap(void *user_data, const char *const *values)
{
    storm_violation(user_data, "run %s: %s steps are recorded, the last is %s", values[0],
                    values[1], values[2]);
}

int64_t storm_check_state(storm_look *look)
{
    look->report->checks++;
    /* Each is one statement, and so one moment. */
    storm_query(look,
                "SELECT id, sum(bodies), sum(rows) FROM"
                " (SELECT id, 1 AS bodies, 0 AS rows FROM pgqrs_messages"
                "  UNION ALL SELECT message_id, 0, 1 FROM " PLACES " p) AS together"
                " GROUP BY id HAVING sum(bodies) <> 1 OR sum(rows) <> 1",
                misplaced, look->report);
    storm_query(look,
                "SELECT s.run_id, count(*), max(CAST(substr(s.name, 2) AS integer))"
                " FROM pgqrs_steps s JOIN pgqrs_messages m ON m.id = s.run_id"
                " JOIN pgqrs_queues q ON q.id = m.queue_id WHERE q.name = 'line' GROUP BY s.run_id"
                " HAVING count(*) <> max(CAST(substr(s.name, 2) AS integer))",
                gap, look->report);
    return storm_number(look, "SELECT count(*) FROM " PLACES " p WHERE place < 4");
}

/* --- The logs
 * ------------------------------------------------------------------------------------- */

typedef enum kind { ENQUEUED, CLAIMED, ASKED, ANSWERED, EXECUTED, RECORDED, WRONG, KINDS } kind;

static const char *const kind_names[KINDS] = { "enqueued", "claimed",  "asked", "answered",
                                               "executed", "recorded", "wrong" };

typedef struct event {
    int64_t at_us;
    int64_t id;
    int64_t lease;
    int64_t value; /* attempt, status, began, mine */
    kind    kind;
    char   *text; /* queue, verb, step */
    char   *more; /* key, output */
} event;

typedef struct delivery {
    int64_t id, lease, attempt;
} delivery;

typedef struct placed {
    int64_t id, places, place, attempt, lease, state;
    char    queue[8];
} placed;

typedef struct recorded {
    int64_t id, status;
    char   *name;
    char   *output;
} recorded;

typedef struct list {
    void  *items;
    size_t count, room, size;
} list;

static void *add(list *l)
{
    if (l->count == l->room) {
        l->room  = l->room == 0 ? 1024 : l->room * 2;
        l->items = realloc(l->items, l->room * l->size);
        assert_non_null(l->items);
    }
    return (char *)l->items + l->count++ * l->size;
}

typedef struct story {
    storm_look *look;
    list        events, deliveries, messages, steps;
} story;

static char *copy(const char *text)
{
    char *copied = strdup(text);
    assert_non_null(copied);
    return copied;
}

static void read_line(story *s, char *line)
{
    char      name[16], *rest;
    long long at, id, lease, value;
    int       used = 0;

    if (sscanf(line, "%lld %15s %lld %lld %lld%n", &at, name, &id, &lease, &value, &used) != 5)
        fail_msg("not a line of a storm's log: %s", line);
    for (kind k = ENQUEUED; k < KINDS; k++) {
        if (strcmp(name, kind_names[k]) != 0)
            continue;
        event *e = add(&s->events);
        *e       = (event){ at, id, lease, value, k, NULL, NULL };
        if (k == WRONG) {
            storm_violation(s->look->report, "message %lld:%s", id, line + used);
            return;
        }
        rest    = line + used;
        e->text = copy((rest = strtok(rest, " ")) != NULL ? rest : "");
        e->more = copy(rest != NULL && (rest = strtok(NULL, " ")) != NULL ? rest : "");
        return;
    }
    fail_msg("not an event of a storm: %s", line);
}

static void read_log(story *s, const char *path, size_t slot)
{
    char  line[4096];
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        read_line(s, line);
        const int64_t at = ((event *)s->events.items)[s->events.count - 1].at_us;
        if (slot < STORM_PROCESSES && at > s->look->report->last_us[slot])
            s->look->report->last_us[slot] = at;
    }
    (void)fclose(file);
}

static void read_logs(story *s, const char *folder)
{
    DIR *d = opendir(folder);

    assert_non_null(d);
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        char path[1024];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        read_log(s, path, (size_t)strtol(entry->d_name, NULL, 10));
    }
    (void)closedir(d);
}

static int64_t number(const char *text)
{
    return strtoll(text, NULL, 10);
}

static void take_delivery(void *user_data, const char *const *v)
{
    *(delivery *)add(user_data) = (delivery){ number(v[0]), number(v[1]), number(v[2]) };
}

static void take_message(void *user_data, const char *const *v)
{
    placed *p = add(user_data);
    *p        = (placed){ .id      = number(v[0]),
                          .places  = number(v[2]),
                          .place   = number(v[3]),
                          .attempt = number(v[4]),
                          .lease   = number(v[5]),
                          .state   = number(v[6]) };
    (void)snprintf(p->queue, sizeof(p->queue), "%s", v[1]);
}

static void take_step(void *user_data, const char *const *v)
{
    *(recorded *)add(user_data) = (recorded){ number(v[0]), number(v[2]), copy(v[1]), copy(v[3]) };
}

static int by_id_and_time(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->at_us != y->at_us)
        return x->at_us < y->at_us ? -1 : 1;
    return x->kind < y->kind ? -1 : x->kind > y->kind;
}

/* --- One message: what was said about it, and where it is
 * ------------------------------------------ */

typedef struct said {
    const event    *events;
    const delivery *deliveries;
    const placed   *place; /* NULL: no such message */
    const recorded *steps;
    size_t          nevents, ndeliveries, nsteps;
} said;

/* Events of one kind and text; @p status: -1 = any. Another lease than 0 must be the event's. */
static size_t count_of(const said *m, kind k, const char *text, int64_t status, int64_t lease)
{
    size_t count = 0;
    for (size_t i = 0; i < m->nevents; i++) {
        const event *e = &m->events[i];
        count += e->kind == k && strcmp(e->text, text) == 0 && (status < 0 || e->value == status)
                 && (lease == 0 || e->lease == lease);
    }
    return count;
}

static bool was_asked(const said *m, const char *verb)
{
    return count_of(m, ASKED, verb, -1, 0) > 0;
}

static size_t times_done(const said *m, const char *verb)
{
    return count_of(m, ANSWERED, verb, PGQRS_OK, 0);
}

static void check_place(storm_report *report, int64_t id, const said *m)
{
    const placed *p = m->place;

    for (size_t i = 0; p == NULL && i < m->nevents; i++)
        if (m->events[i].kind == ENQUEUED && !was_asked(m, "delete")) {
            storm_violation(report, "message %lld: acknowledged, and lost", (long long)id);
            break;
        }
    if (p == NULL)
        return;
    if (p->places != 1)
        storm_violation(report, "message %lld: in %lld places", (long long)id,
                        (long long)p->places);
    if (p->place != 4)
        storm_violation(report, "message %lld: not ended", (long long)id);
    if (times_done(m, "delete") > 0)
        storm_violation(report, "message %lld: deleted, and still there", (long long)id);
    if (p->state == 3 && !was_asked(m, "cancel"))
        storm_violation(report, "message %lld: cancelled by nobody", (long long)id);
}

static void check_ends(storm_report *report, int64_t id, const said *m)
{
    const bool replayed = was_asked(m, "replay");
    size_t ends = times_done(m, "archive") + times_done(m, "delete") + times_done(m, "run_succeed");

    if (!replayed)
        ends += times_done(m, "dead_letter") + times_done(m, "run_fail");
    if (ends > 1)
        storm_violation(report, "message %lld: finished %zu times", (long long)id, ends);
    /* Who ended it was the last to get it; the reaper and a cancel leave another lease, or none. */
    const int64_t last = m->ndeliveries > 0 ? m->deliveries[m->ndeliveries - 1].lease : 0;
    for (size_t i = 0; i < m->nevents; i++) {
        const event *e = &m->events[i];
        if (e->kind != ANSWERED || e->value != PGQRS_OK)
            continue;
        const bool kept    = strcmp(e->text, "archive") == 0 || strcmp(e->text, "run_succeed") == 0;
        const bool deleted = strcmp(e->text, "delete") == 0;
        if ((kept || deleted) && e->lease != last)
            storm_violation(report, "message %lld: finished by lease %lld, while lease %lld had it",
                            (long long)id, (long long)e->lease, (long long)last);
        if (kept && (m->place == NULL || m->place->lease != e->lease))
            storm_violation(report, "message %lld: finished by lease %lld, ended by lease %lld",
                            (long long)id, (long long)e->lease,
                            (long long)(m->place != NULL ? m->place->lease : 0));
    }
    if (times_done(m, "cancel") > 0 && m->place != NULL && m->place->state != 3)
        storm_violation(report, "message %lld: cancelled, and ended as %lld", (long long)id,
                        (long long)m->place->state);
}

/* Attempts grow by one; one that was given back is handed out again. */
static void check_attempts(storm_report *report, int64_t id, const said *m)
{
    const bool by_hand = m->place == NULL || strcmp(m->place->queue, "plain") == 0
                         || strcmp(m->place->queue, "frail") == 0
                         || strcmp(m->place->queue, "hot") == 0;
    const bool replayed = was_asked(m, "replay");

    for (size_t i = 0; i < m->ndeliveries; i++) {
        const int64_t before  = i == 0 ? 0 : m->deliveries[i - 1].attempt;
        const int64_t attempt = m->deliveries[i].attempt;
        const bool    returned =
            i > 0
            && (!by_hand || count_of(m, ASKED, "release", -1, m->deliveries[i - 1].lease) > 0);
        if (attempt != before + 1 && !(returned && attempt == before)
            && !(replayed && attempt == 1))
            storm_violation(report, "message %lld: attempt %lld follows attempt %lld",
                            (long long)id, (long long)attempt, (long long)before);
        if (m->place != NULL && strcmp(m->place->queue, "frail") == 0 && attempt > 3)
            storm_violation(report, "message %lld: attempt %lld of 3", (long long)id,
                            (long long)attempt);
    }
    for (size_t i = 0; i < m->nevents; i++) {
        const event *e     = &m->events[i];
        bool         found = e->kind != CLAIMED;
        for (size_t k = 0; !found && k < m->ndeliveries; k++)
            found = m->deliveries[k].lease == e->lease && m->deliveries[k].attempt == e->value;
        if (!found)
            storm_violation(report, "message %lld: lease %lld, attempt %lld was never recorded",
                            (long long)id, (long long)e->lease, (long long)e->value);
    }
}

static const recorded *find_step(const said *m, const char *name)
{
    for (size_t i = 0; i < m->nsteps; i++)
        if (strcmp(m->steps[i].name, name) == 0)
            return &m->steps[i];
    return NULL;
}

/* Which delivery a lease was. */
static size_t turn_of(const said *m, int64_t lease)
{
    size_t i = 0;
    while (i < m->ndeliveries && m->deliveries[i].lease != lease)
        i++;
    return i;
}

static void check_steps(storm_report *report, int64_t id, const said *m)
{
    size_t done = 0;

    for (size_t i = 0; i < m->nevents; i++) {
        const event *e = &m->events[i];
        if (e->kind == RECORDED) {
            const recorded *step = find_step(m, e->text);
            if (e->value == 0)
                storm_violation(report, "run %lld: step %s was recorded behind its holder's back",
                                (long long)id, e->text);
            if (step == NULL || step->status != 1 || strcmp(step->output, e->more) != 0)
                storm_violation(report, "run %lld: step %s was acknowledged as %s, and is %s",
                                (long long)id, e->text, e->more,
                                step == NULL ? "not there" : step->output);
        }
        /* The records came with the claim: who was given the run before may not know of one. */
        for (size_t k = 0; e->kind == EXECUTED && k < m->nevents; k++)
            if (m->events[k].kind == RECORDED && strcmp(m->events[k].text, e->text) == 0
                && m->events[k].at_us < e->value
                && turn_of(m, e->lease) >= turn_of(m, m->events[k].lease))
                storm_violation(report, "run %lld: step %s was recorded, and executed again",
                                (long long)id, e->text);
    }
    for (size_t i = 0; i < m->nsteps; i++)
        done += m->steps[i].status == 1;
    if (m->place != NULL && m->place->state == 1 && m->place->place == 4 && done != STORM_STEPS)
        storm_violation(report, "run %lld: succeeded with %zu steps", (long long)id, done);
}

static void tell(const story *s, int64_t id, const said *m)
{
    (void)s;
    print_error("-- message %lld, %s, place %lld, state %lld, attempt %lld, lease %lld\n",
                (long long)id, m->place != NULL ? m->place->queue : "gone",
                (long long)(m->place != NULL ? m->place->place : 0),
                (long long)(m->place != NULL ? m->place->state : 0),
                (long long)(m->place != NULL ? m->place->attempt : 0),
                (long long)(m->place != NULL ? m->place->lease : 0));
    for (size_t i = 0; i < m->ndeliveries; i++)
        print_error("   delivered to lease %lld as attempt %lld\n",
                    (long long)m->deliveries[i].lease, (long long)m->deliveries[i].attempt);
    for (size_t i = 0; i < m->nevents; i++)
        print_error("   %lld %s lease %lld value %lld %s %s\n", (long long)m->events[i].at_us,
                    kind_names[m->events[i].kind], (long long)m->events[i].lease,
                    (long long)m->events[i].value,
                    m->events[i].text != NULL ? m->events[i].text : "",
                    m->events[i].more != NULL ? m->events[i].more : "");
}

static void check_message(const story *s, int64_t id, const said *m)
{
    storm_report *report = s->look->report;
    const int64_t before = report->violations;

    if (m->place != NULL)
        report->messages++;
    if (m->place != NULL
        && (strcmp(m->place->queue, "line") == 0 || strcmp(m->place->queue, "wide") == 0))
        report->runs++;
    check_place(report, id, m);
    check_ends(report, id, m);
    check_attempts(report, id, m);
    check_steps(report, id, m);
    if (before == 0 && report->violations > 0)
        tell(s, id, m); /* the story of the first that went wrong */
}

/* The items of @p l from *at on that are of message @p id; all lists are in the order of ids. */
static const void *take(const list *l, size_t *at, int64_t id, size_t id_offset, size_t *out_count)
{
    const char *items = l->items;
    const void *first = items != NULL ? items + *at * l->size : NULL;

    *out_count = 0;
    for (; *at < l->count; (*at)++, (*out_count)++) {
        int64_t of;
        memcpy(&of, items + *at * l->size + id_offset, sizeof(of));
        if (of != id)
            break;
    }
    return first;
}

static int64_t next_id(const list *l, size_t at, size_t id_offset)
{
    int64_t id = INT64_MAX;
    if (at < l->count)
        memcpy(&id, (const char *)l->items + at * l->size + id_offset, sizeof(id));
    return id;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void check_messages(const story *s)
{
    size_t e = 0, d = 0, p = 0, t = 0, places;

    for (;;) {
        const int64_t id = least(least(next_id(&s->events, e, offsetof(event, id)),
                                       next_id(&s->deliveries, d, offsetof(delivery, id))),
                                 least(next_id(&s->messages, p, offsetof(placed, id)),
                                       next_id(&s->steps, t, offsetof(recorded, id))));
        if (id == INT64_MAX)
            break;
        said m       = { 0 };
        m.events     = take(&s->events, &e, id, offsetof(event, id), &m.nevents);
        m.deliveries = take(&s->deliveries, &d, id, offsetof(delivery, id), &m.ndeliveries);
        m.place      = take(&s->messages, &p, id, offsetof(placed, id), &places);
        m.steps      = take(&s->steps, &t, id, offsetof(recorded, id), &m.nsteps);
        if (places == 0)
            m.place = NULL;
        if (id != 0)
            check_message(s, id, &m);
        s->look->report->claims += (int64_t)m.ndeliveries;
        s->look->report->steps += (int64_t)m.nsteps;
    }
}

/* One key, one message, whoever enqueued it. */
static void check_keys(const story *s)
{
    const event *events = s->events.items;
    int64_t      ids[8][256];
    const char  *queues[8] = { 0 };

    memset(ids, 0, sizeof(ids));
    for (size_t i = 0; i < s->events.count; i++) {
        const event *e = &events[i];
        if (e->kind != ENQUEUED || e->more[0] != 'k')
            continue;
        size_t q = 0;
        while (q < 7 && queues[q] != NULL && strcmp(queues[q], e->text) != 0)
            q++;
        queues[q]         = e->text;
        int64_t *standing = &ids[q][strtol(e->more + 1, NULL, 10) % 256];
        if (*standing != 0 && *standing != e->id)
            storm_violation(s->look->report, "key %s of %s: messages %lld and %lld", e->more,
                            e->text, (long long)*standing, (long long)e->id);
        *standing = e->id;
    }
}

static void no_integrity(void *user_data, const char *const *values)
{
    if (strcmp(values[0], "ok") != 0)
        storm_violation(user_data, "integrity_check: %s", values[0]);
}

void storm_check_end(storm_look *look, const char *folder)
{
    story s = { .look       = look,
                .events     = { .size = sizeof(event) },
                .deliveries = { .size = sizeof(delivery) },
                .messages   = { .size = sizeof(placed) },
                .steps      = { .size = sizeof(recorded) } };

    (void)storm_check_state(look);
    if (!look->w->postgres)
        storm_query(look, "PRAGMA integrity_check", no_integrity, look->report);
    read_logs(&s, folder);
    storm_query(look,
                "SELECT message_id, lease, attempt FROM storm_deliveries ORDER BY message_id, n",
                take_delivery, &s.deliveries);
    storm_query(look,
                "SELECT m.id, q.name, coalesce(p.places, 0), p.place, p.attempt, p.lease, p.state"
                " FROM pgqrs_messages m JOIN pgqrs_queues q ON q.id = m.queue_id LEFT JOIN"
                " (SELECT message_id, count(*) AS places, max(place) AS place,"
                "  max(attempt) AS attempt, max(lease) AS lease, max(state) AS state FROM " PLACES
                " u GROUP BY message_id) p ON p.message_id = m.id ORDER BY m.id",
                take_message, &s.messages);
    storm_query(look, "SELECT run_id, name, status, output FROM pgqrs_steps ORDER BY run_id, name",
                take_step, &s.steps);
    if (s.events.count > 0)
        qsort(s.events.items, s.events.count, sizeof(event), by_id_and_time);
    check_messages(&s);
    check_keys(&s);

    for (size_t i = 0; i < s.events.count; i++) {
        free(((event *)s.events.items)[i].text);
        free(((event *)s.events.items)[i].more);
    }
    for (size_t i = 0; i < s.steps.count; i++) {
        free(((recorded *)s.steps.items)[i].name);
        free(((recorded *)s.steps.items)[i].output);
    }
    free(s.events.items);
    free(s.deliveries.items);
    free(s.messages.items);
    free(s.steps.items);
}
