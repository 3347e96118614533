/* The service thread: one per store, started the first time something needs it. It renews kept
 * leases, and listens for enqueues by other processes while somebody waits. */
#include "core/crew.h"
#include "util/clock.h"

/* go on listening so long after the last one who waited */
#define LISTEN_US    (10 * PGQRS_SECOND)
#define RETRY_US     PGQRS_SECOND             /* after a failure */
#define OWN_CLOCK_US (10 * PGQRS_MILLISECOND) /* how often a clock of the user's is looked at */
#define RENEW_SHARE  3                        /* renew every third of the lease … */
/* … together with what is due within a sixth of its own */
#define RENEW_EARLIER 6

/* A lease that is kept. */
typedef struct kept {
    pgqrs_message message; /* id, queue_id and lease */
    int64_t       lease_us;
    int64_t       renew_us; /* these three by the lease clock: renew then, */
    int64_t       until_us; /* surely held until, */
    int64_t       heard_us; /* the last answer, */
    int64_t       stop_us;  /* and not renewed any more from then on */
    bool          cancelled;
    bool          lost;
} kept;

struct pgqrs__service {
    pgqrs_store  *store;
    pgqrs__thread thread;
    pgqrs__mutex  lock; /* guards what follows; never held while asking the database */
    pgqrs__cond   changed;
    bool          stop;
    bool          listens; /* the listener has begun to */
    pgqrs__map    kept;    /* message id -> kept, owned */
    atomic_size_t kept_count;
    int64_t       look_us;         /* the thread looks again then; and these two by */
    int64_t       listen_until_us; /* the real monotonic clock; 0: not asked for */
    pgqrs__conn  *listener;        /* replaced under the lock */
};

/* --- Renewing --------------------------------------------------------------------------------- */

/* A round of renewals: what is asked, copied, since a lease may be dropped meanwhile. */
struct pgqrs__renewal {
    pgqrs_message        *messages;
    const pgqrs_message **pointers;
    int64_t              *lengths_us;
    uint32_t             *answers;
    size_t                count;
    int64_t               sent_us;
};
typedef struct pgqrs__renewal renewal;

static void renewal_free(renewal *r)
{
    pgqrs__free(r->messages);
    pgqrs__free(r->pointers);
    pgqrs__free(r->lengths_us);
    pgqrs__free(r->answers);
    *r = (renewal){ 0 };
}

static bool renews(const kept *k, int64_t now_us)
{
    return !k->lost && now_us < k->stop_us;
}

/* What is to be renewed now, or soon. Nothing when nothing is due now. Under the lock. */
static bool renewal_collect(pgqrs__service *s, int64_t now_us, renewal *r)
{
    size_t cursor = 0;
    bool   due    = false;
    void  *value;

    *r = (renewal){ 0 };
    while (pgqrs__map_iterate(&s->kept, &cursor, NULL, &value)) {
        const kept *k = value;

        due = due || (renews(k, now_us) && k->renew_us <= now_us);
    }
    if (!due)
        return false;
    r->messages   = pgqrs__calloc(s->kept.count, sizeof(*r->messages));
    r->pointers   = pgqrs__calloc(s->kept.count, sizeof(*r->pointers));
    r->lengths_us = pgqrs__calloc(s->kept.count, sizeof(*r->lengths_us));
    r->answers    = pgqrs__calloc(s->kept.count, sizeof(*r->answers));
    if (r->messages == NULL || r->pointers == NULL || r->lengths_us == NULL || r->answers == NULL) {
        renewal_free(r);
        return false;
    }
    cursor = 0;
    while (r->count < PGQRS__ENQUEUE_MAX && pgqrs__map_iterate(&s->kept, &cursor, NULL, &value)) {
        const kept *k = value;

        if (!renews(k, now_us) || k->renew_us - now_us > k->lease_us / RENEW_EARLIER)
            continue;
        r->messages[r->count]   = k->message;
        r->pointers[r->count]   = &r->messages[r->count];
        r->lengths_us[r->count] = k->lease_us;
        r->count++;
    }
    return true;
}

static kept *kept_find(const pgqrs__service *s, int64_t lease, int64_t message_id)
{
    kept *k = pgqrs__map_get(&s->kept, (uint64_t)message_id);

    return k != NULL && k->message.lease == lease ? k : NULL;
}

/* Note what was answered to a round that was sent at `sent_us`. Under the lock. */
static void renewal_note(pgqrs__service *s, const renewal *r, int64_t sent_us, pgqrs_status rc)
{
    for (size_t i = 0; i < r->count; i++) {
        kept *k = kept_find(s, r->messages[i].lease, r->messages[i].id);

        if (k == NULL)
            continue;
        if (rc != PGQRS_OK) {
            k->renew_us = sent_us + PGQRS__MIN(RETRY_US, k->lease_us / RENEW_EARLIER);
        } else if ((r->answers[i] & PGQRS__ANSWER_YES) == 0) {
            k->lost = true;
        } else {
            k->heard_us  = sent_us;
            k->until_us  = sent_us + k->lease_us;
            k->renew_us  = sent_us + k->lease_us / RENEW_SHARE;
            k->cancelled = k->cancelled || (r->answers[i] & PGQRS__ANSWER_CANCELLED) != 0;
        }
    }
}

/* Renew what is due. Under the lock, which is left meanwhile. */
static void renew(pgqrs__service *s)
{
    int64_t      sent_us = pgqrs__lease_clock(s->store);
    renewal      r;
    pgqrs_error  error;
    pgqrs_status rc;

    if (!renewal_collect(s, sent_us, &r))
        return;
    pgqrs__mutex_unlock(&s->lock);
    rc = pgqrs__extend_each(s->store, r.pointers, r.lengths_us, r.count, r.answers, &error);
    if (rc != PGQRS_OK)
        pgqrs__log(s->store, PGQRS_LOG_WARNING, "could not renew %zu leases: %s", r.count,
                   error.message);
    pgqrs__mutex_lock(&s->lock);
    renewal_note(s, &r, sent_us, rc);
    renewal_free(&r);
}

static pgqrs_status renewed_row(pgqrs__call *call, const pgqrs__val *cols)
{
    const renewal *r = call->user;
    const size_t   n = (size_t)cols[PGQRS__COL_LEASE_EXTEND_N].as.i - 1;

    if (n >= r->count)
        return PGQRS_EINTERNAL;
    r->answers[n] =
        PGQRS__ANSWER_YES
        | (pgqrs__as_int(cols[PGQRS__COL_LEASE_EXTEND_CANCELLED]) ? PGQRS__ANSWER_CANCELLED : 0);
    return PGQRS_OK;
}

/* Renew what was collected, on this connection, in no order: nobody else writes. */
static pgqrs_status renew_on(pgqrs_store *store, pgqrs__conn *conn, renewal *r)
{
    const size_t      width = pgqrs__shapes[PGQRS__STMT_LEASE_EXTEND].narrays;
    const pgqrs__val  now   = pgqrs__now(store, 0);
    pgqrs__val       *rows  = pgqrs__calloc(r->count, width * sizeof(*rows));
    const pgqrs__part part  = { .rows = rows, .nrows = r->count };
    pgqrs__call       call  = { .stmt    = PGQRS__STMT_LEASE_EXTEND,
                                .parts   = &part,
                                .nparts  = 1,
                                .scalars = &now,
                                .on_row  = renewed_row,
                                .user    = r };
    pgqrs_status      rc;

    if (rows == NULL)
        return PGQRS_ENOMEM;
    for (size_t i = 0; i < r->count; i++) {
        pgqrs__val *row = rows + i * width;

        row[PGQRS__ARG_LEASE_EXTEND_QUEUE]    = pgqrs__int(r->messages[i].queue_id);
        row[PGQRS__ARG_LEASE_EXTEND_MESSAGE]  = pgqrs__int(r->messages[i].id);
        row[PGQRS__ARG_LEASE_EXTEND_LEASE]    = pgqrs__int(r->messages[i].lease);
        row[PGQRS__ARG_LEASE_EXTEND_LEASE_US] = pgqrs__int(r->lengths_us[i]);
    }
    rc = store->backend->run(conn, &call, 1, PGQRS__MODE_INSIDE, pgqrs__deadline(store), NULL);
    pgqrs__free(rows);
    return rc;
}

/* When a lease must be looked at, by the real monotonic clock. Under the lock. */
static int64_t look_at(const pgqrs__service *s, const kept *k, int64_t real_us, int64_t lease_us)
{
    if (!renews(k, lease_us))
        return INT64_MAX;
    return real_us
           + PGQRS__MIN(PGQRS__MAX(k->renew_us - lease_us, 0),
                        s->store->own_clock ? OWN_CLOCK_US : INT64_MAX / 2);
}

/* When the thread must look again. Under the lock. */
static int64_t next_look(const pgqrs__service *s)
{
    int64_t real   = pgqrs__mono_us();
    int64_t lease  = pgqrs__lease_clock(s->store);
    int64_t next   = INT64_MAX;
    size_t  cursor = 0;
    void   *value;

    while (pgqrs__map_iterate(&s->kept, &cursor, NULL, &value))
        next = PGQRS__MIN(next, look_at(s, value, real, lease));
    return next;
}

/* --- Listening -------------------------------------------------------------------------------- */

static void on_queue(void *user, int64_t queue_id)
{
    pgqrs__service *s = user;

    pgqrs__wake(s->store, queue_id);
}

static void listener_close(pgqrs__service *s)
{
    pgqrs__conn *conn = s->listener;

    if (conn == NULL)
        return;
    s->listener = NULL;
    s->listens  = false;
    pgqrs__mutex_unlock(&s->lock);
    s->store->backend->disconnect(conn, false);
    pgqrs__mutex_lock(&s->lock);
}

/* Wait for enqueues, until the deadline or until something changed here. Under the lock, which is
 * left meanwhile. */
static void listen_once(pgqrs__service *s, int64_t deadline_us)
{
    const pgqrs__backend *backend = s->store->backend;
    pgqrs__conn          *conn    = s->listener;
    pgqrs_error           error;
    pgqrs_status          rc = PGQRS_OK;

    pgqrs__mutex_unlock(&s->lock);
    if (conn == NULL)
        rc = backend->connect(s->store->db, &conn, &error);
    else
        rc = backend->wait(conn, deadline_us, on_queue, s, &error);
    pgqrs__mutex_lock(&s->lock);
    if (rc == PGQRS_OK) {
        bool began = s->listener != NULL && !s->listens;

        s->listens  = s->listener != NULL;
        s->listener = conn;
        if (began) { /* what came before is found by looking once more */
            pgqrs__mutex_unlock(&s->lock);
            pgqrs__wake(s->store, 0);
            pgqrs__mutex_lock(&s->lock);
        }
        return;
    }
    pgqrs__log(s->store, PGQRS_LOG_WARNING, "could not listen for enqueues: %s", error.message);
    listener_close(s);
    pgqrs__mutex_unlock(&s->lock);
    pgqrs__wake(s->store, 0); /* what was missed is found by looking */
    pgqrs__mutex_lock(&s->lock);
    if (!s->stop)
        pgqrs__cond_wait_until(&s->changed, &s->lock,
                               PGQRS__MIN(deadline_us, pgqrs__mono_us() + RETRY_US));
}

/* --- The thread ------------------------------------------------------------------------------- */

static void *service_main(void *arg)
{
    pgqrs__service *s = arg;

    pgqrs__mutex_lock(&s->lock);
    while (!s->stop) {
        int64_t next;

        renew(s);
        if (s->stop)
            break;
        next       = next_look(s);
        s->look_us = next;
        if (s->listen_until_us > pgqrs__mono_us()) {
            listen_once(s, PGQRS__MIN(next, s->listen_until_us));
        } else if (s->listener != NULL) {
            listener_close(s);
        } else {
            pgqrs__cond_wait_until(&s->changed, &s->lock, next);
        }
    }
    listener_close(s);
    pgqrs__mutex_unlock(&s->lock);
    return NULL;
}

/* Make the thread look at what changed. Under its lock. */
static void nudge(pgqrs__service *s)
{
    pgqrs__cond_signal(&s->changed);
    if (s->listener != NULL)
        s->store->backend->wake(s->listener);
}

/* As with the store: after fork() the locks are left as they are. */
static void service_free(pgqrs__service *s, bool forked)
{
    size_t cursor = 0;
    void  *value;

    while (pgqrs__map_iterate(&s->kept, &cursor, NULL, &value))
        pgqrs__free(value);
    pgqrs__map_free(&s->kept);
    if (!forked) {
        pgqrs__cond_destroy(&s->changed);
        pgqrs__mutex_destroy(&s->lock);
    }
    pgqrs__free(s);
}

/* The running service, or NULL. */
static pgqrs__service *service_get(pgqrs_store *store)
{
    return atomic_load(&store->service);
}

pgqrs__renewal *pgqrs__renew_inside(pgqrs_store *store, pgqrs__conn *conn)
{
    pgqrs__service *s = service_get(store);
    renewal        *r;
    int64_t         now_us;
    bool            due;

    if (s == NULL || atomic_load(&s->kept_count) == 0)
        return NULL;
    r = pgqrs__calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    pgqrs__mutex_lock(&s->lock);
    now_us     = pgqrs__lease_clock(store);
    due        = renewal_collect(s, now_us, r);
    r->sent_us = now_us;
    pgqrs__mutex_unlock(&s->lock);
    if (due && renew_on(store, conn, r) == PGQRS_OK)
        return r;
    renewal_free(r);
    pgqrs__free(r);
    return NULL;
}

void pgqrs__renew_note(pgqrs_store *store, pgqrs__renewal *r, pgqrs_status committed)
{
    pgqrs__service *s = service_get(store);

    if (r == NULL)
        return;
    if (committed == PGQRS_OK && s != NULL) {
        pgqrs__mutex_lock(&s->lock);
        renewal_note(s, r, r->sent_us, PGQRS_OK);
        pgqrs__mutex_unlock(&s->lock);
    }
    renewal_free(r);
    pgqrs__free(r);
}

/* The service, started if need be. NULL: no memory, or no thread. */
static pgqrs__service *service_start(pgqrs_store *store)
{
    pgqrs__service *s = service_get(store);

    if (s != NULL)
        return s;
    pgqrs__mutex_lock(&store->lock);
    s = service_get(store);
    if (s != NULL)
        goto done;
    s = pgqrs__calloc(1, sizeof(*s));
    if (s == NULL)
        goto done;
    s->store = store;
    pgqrs__map_init(&s->kept);
    if (!pgqrs__mutex_init(&s->lock)) {
        pgqrs__free(s);
        s = NULL;
        goto done;
    }
    if (!pgqrs__cond_init(&s->changed)) {
        pgqrs__mutex_destroy(&s->lock);
        pgqrs__free(s);
        s = NULL;
        goto done;
    }
    if (pgqrs__thread_start(&s->thread, service_main, s, "pgqrs-service") != 0) {
        service_free(s, false);
        s = NULL;
        goto done;
    }
    atomic_store(&store->service, s);
done:
    pgqrs__mutex_unlock(&store->lock);
    return s;
}

void pgqrs__service_stop(pgqrs_store *store, bool forked)
{
    pgqrs__service *s = service_get(store);

    if (s == NULL)
        return;
    if (!forked) {
        pgqrs__mutex_lock(&s->lock);
        s->stop = true;
        nudge(s);
        pgqrs__mutex_unlock(&s->lock);
        pgqrs__thread_join(&s->thread);
    }
    service_free(s, forked);
    atomic_store(&store->service, NULL);
}

void pgqrs__listen(pgqrs_store *store)
{
    pgqrs__service *s   = service_start(store);
    int64_t         now = pgqrs__mono_us();

    if (s == NULL)
        return;
    pgqrs__mutex_lock(&s->lock);
    if (s->listen_until_us <= now)
        nudge(s);
    s->listen_until_us = now + LISTEN_US;
    pgqrs__mutex_unlock(&s->lock);
}

void pgqrs__wake(pgqrs_store *store, int64_t queue_id)
{
    size_t cursor = 0;
    void  *value;

    pgqrs__mutex_lock(&store->lock);
    if (queue_id != 0) {
        pgqrs__queue_state *state = pgqrs__map_get(&store->queues, (uint64_t)queue_id);

        if (state != NULL)
            state->wakes++;
    } else {
        while (pgqrs__map_iterate(&store->queues, &cursor, NULL, &value))
            ((pgqrs__queue_state *)value)->wakes++;
    }
    if (store->waiting > 0)
        pgqrs__cond_broadcast(&store->woken);
    pgqrs__crew_heard(store);
    pgqrs__mutex_unlock(&store->lock);
}

/* --- Kept leases ------------------------------------------------------------------------------ */

pgqrs_status pgqrs__lease_keep(pgqrs_store *store, const pgqrs_message *message, int64_t lease_us,
                               int64_t for_us, pgqrs_error *error)
{
    pgqrs__service *s;
    kept           *k = NULL;
    kept           *old;
    pgqrs_status    rc = PGQRS_OK;

    if (lease_us == 0)
        lease_us = message->expires_at_us - message->claimed_at_us;
    if (lease_us <= 0)
        lease_us = 30 * PGQRS_SECOND;
    s = service_start(store);
    k = pgqrs__calloc(1, sizeof(*k));
    if (s == NULL || k == NULL) {
        pgqrs__free(k);
        return pgqrs__nomem(error);
    }
    k->message.id       = message->id;
    k->message.queue_id = message->queue_id;
    k->message.lease    = message->lease;
    k->lease_us         = lease_us;
    k->until_us         = message->held_until_us;
    k->heard_us = message->held_until_us - (message->expires_at_us - message->claimed_at_us);
    k->renew_us = k->heard_us + lease_us / RENEW_SHARE;
    k->stop_us  = for_us == 0 ? INT64_MAX : pgqrs__i64_add_sat(pgqrs__lease_clock(store), for_us);

    pgqrs__mutex_lock(&s->lock);
    old = pgqrs__map_get(&s->kept, (uint64_t)message->id);
    if (!pgqrs__map_put(&s->kept, (uint64_t)message->id, k)) {
        pgqrs__free(k);
        rc = pgqrs__nomem(error);
    } else {
        pgqrs__free(old);
        atomic_store(&s->kept_count, s->kept.count);
        if (look_at(s, k, pgqrs__mono_us(), pgqrs__lease_clock(store)) < s->look_us)
            nudge(s);
    }
    pgqrs__mutex_unlock(&s->lock);
    return rc;
}

pgqrs_status pgqrs_lease_keep(pgqrs_store *store, const pgqrs_message *message, int64_t lease_us,
                              pgqrs_error *error)
{
    pgqrs_status rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(message, "message", error)) != PGQRS_OK
        || (rc = pgqrs__not_adopted(store, "pgqrs_lease_keep()", error)) != PGQRS_OK
        || (rc = pgqrs__check_range(lease_us, 0, PGQRS__LEASE_MAX_US, "lease_us", error))
               != PGQRS_OK)
        return rc;
    return pgqrs__lease_keep(store, message, lease_us, 0, error);
}

/* Take a lease out of what is kept; how it stood. */
static pgqrs__kept kept_remove(pgqrs_store *store, int64_t lease, int64_t message_id)
{
    pgqrs__service *s     = service_get(store);
    pgqrs__kept     stood = PGQRS__KEPT_NONE;
    kept           *k;

    if (s == NULL || atomic_load(&s->kept_count) == 0)
        return stood;
    pgqrs__mutex_lock(&s->lock);
    k = kept_find(s, lease, message_id);
    if (k != NULL) {
        stood = k->lost        ? PGQRS__KEPT_LOST
                : k->cancelled ? PGQRS__KEPT_CANCELLED
                               : PGQRS__KEPT_HELD;
        pgqrs__map_remove(&s->kept, (uint64_t)message_id);
        pgqrs__free(k);
        atomic_store(&s->kept_count, s->kept.count);
    }
    pgqrs__mutex_unlock(&s->lock);
    return stood;
}

pgqrs_status pgqrs_lease_unkeep(pgqrs_store *store, const pgqrs_message *message,
                                pgqrs_error *error)
{
    pgqrs_status rc;

    if ((rc = pgqrs__enter(store, error)) != PGQRS_OK
        || (rc = pgqrs__check_pointer(message, "message", error)) != PGQRS_OK)
        return rc;
    if (kept_remove(store, message->lease, message->id) == PGQRS__KEPT_LOST)
        return pgqrs__lease_lost(message->id, error);
    return PGQRS_OK;
}

void pgqrs__lease_dropped(pgqrs_store *store, int64_t lease, int64_t message_id)
{
    (void)kept_remove(store, lease, message_id);
}

pgqrs__kept pgqrs__lease_state(pgqrs_store *store, int64_t lease, int64_t message_id,
                               int64_t *out_heard_us, int64_t *out_until_us)
{
    pgqrs__service *s     = service_get(store);
    pgqrs__kept     stood = PGQRS__KEPT_NONE;
    const kept     *k;

    if (s == NULL)
        return stood;
    pgqrs__mutex_lock(&s->lock);
    k = kept_find(s, lease, message_id);
    if (k != NULL) {
        stood = k->lost        ? PGQRS__KEPT_LOST
                : k->cancelled ? PGQRS__KEPT_CANCELLED
                               : PGQRS__KEPT_HELD;
        if (out_heard_us != NULL)
            *out_heard_us = k->heard_us;
        if (out_until_us != NULL)
            *out_until_us = k->until_us;
    }
    pgqrs__mutex_unlock(&s->lock);
    return stood;
}
