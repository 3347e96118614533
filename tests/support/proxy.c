#include "support/proxy.h"

#ifdef PGQRS_HAVE_POSTGRES

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/processes.h"

#define LINKS_MAX  64
#define SYNC_BYTES 5 /* the shortest message: its type and its length */
#define CHUNK      65536

const char *const proxy_cut_names[PROXY_CUTS] = {
    [PROXY_CUT_BEFORE] = "before",          [PROXY_CUT_SHORT] = "without its sync",
    [PROXY_CUT_BLIND] = "while at work",    [PROXY_CUT_AFTER] = "before the answer",
    [PROXY_CUT_BEGUN] = "in its beginning", [PROXY_CUT_HALF] = "in its middle",
    [PROXY_CUT_LATE] = "before its end",
};

typedef struct bytes {
    char  *data;
    size_t len, cap;
} bytes;

/* One connection of the client's and the server's end of it. */
typedef struct link_ {
    int       client, server; /* -1: closed */
    bytes     request;        /* what came of the next one */
    bytes     answer;         /* kept back, when it is to be cut */
    bool      started;        /* the startup packet is through */
    bool      cutting;        /* waits for the server's answer, and its end */
    bool      dismissed;      /* the server is to end the session */
    size_t    given;          /* of the answer, at the end */
    proxy_cut cut;
} link_;

struct proxy {
    char            folder[256];
    char            path[300];
    char            server[300]; /* the server's socket */
    pthread_t       thread;
    pthread_mutex_t lock; /* guards what follows; the rest is the thread's */
    pthread_cond_t  settled;
    int             wake[2]; /* a pipe: closed at its writing end to stop */
    int             listener;
    link_           links[LINKS_MAX];
    proxy_cut       cut;
    int             nth, times, requests, fired;
    int             unsettled; /* cut, and the server not done */
};

static void add(bytes *b, const char *data, size_t len)
{
    if (b->len + len > b->cap) {
        b->cap  = 2 * (b->len + len);
        b->data = realloc(b->data, b->cap);
        assert_non_null(b->data);
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void drop(bytes *b, size_t len)
{
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

static uint32_t number_at(const char *at)
{
    const unsigned char *u = (const unsigned char *)at;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* The whole message that begins @p at bytes in: its length, 0 when it is not all there. */
static size_t message_at(const bytes *b, size_t at, bool typed)
{
    const size_t head = typed ? 1 : 0;
    if (b->len < at + head + 4)
        return 0;
    const size_t len = head + number_at(b->data + at + head);
    return b->len < at + len ? 0 : len;
}

/* All of it, to a socket that blocks; who reads no more is no matter. */
static void put(int fd, const char *data, size_t len)
{
    while (fd >= 0 && len > 0) {
        const ssize_t put = send(fd, data, len, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return;
        data += put;
        len -= (size_t)put;
    }
}

static void shut(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void end_link(proxy *p, link_ *l)
{
    shut(&l->client);
    shut(&l->server);
    if (l->cutting) {
        l->cutting = l->dismissed = false;
        p->unsettled--;
        (void)pthread_cond_broadcast(&p->settled);
    }
    l->request.len = l->answer.len = 0;
}

/* The server hears nothing more from us; and the client of its loss when the server has hung up. */
static void dismiss(link_ *l)
{
    l->dismissed = true;
    (void)shutdown(l->server, SHUT_WR);
}

/* A whole request, of len bytes, has come: let it through, or do to it what was asked for. */
static void on_request(proxy *p, link_ *l, size_t len)
{
    const int number = ++p->requests;

    if (p->nth == 0 || number < p->nth || number >= p->nth + p->times) {
        put(l->server, l->request.data, len);
        return;
    }
    p->fired++;
    l->cut     = p->cut;
    l->cutting = true;
    p->unsettled++;
    l->given = 0;
    if (p->cut == PROXY_CUT_SHORT)
        put(l->server, l->request.data, len - SYNC_BYTES);
    else if (p->cut != PROXY_CUT_BEFORE)
        put(l->server, l->request.data, len);
    if (p->cut == PROXY_CUT_BEFORE || p->cut == PROXY_CUT_SHORT)
        dismiss(l);
    if (p->cut == PROXY_CUT_BLIND)
        shut(&l->client);
}

static void from_client(proxy *p, link_ *l, const char *data, size_t len)
{
    size_t at = 0, size;

    if (l->cutting)
        return;
    add(&l->request, data, len);
    while (l->server >= 0 && (size = message_at(&l->request, at, l->started)) > 0) {
        const char type = l->started ? l->request.data[at] : 0;
        at += size;
        if (type != 0 && strchr("SQ", type) == NULL) {
            if (type != 'X')
                continue;
            put(l->server, l->request.data, at); /* goodbye */
        } else if (type == 0) {
            put(l->server, l->request.data, at);
            l->started = true;
        } else {
            on_request(p, l, at);
            if (l->cutting || l->server < 0)
                return;
        }
        drop(&l->request, at);
        at = 0;
    }
}

/* The answer is there in full: how much of it is to be given. */
static size_t part_of_answer(const link_ *l)
{
    const bytes *a = &l->answer;

    if (l->cut == PROXY_CUT_BEGUN)
        return message_at(a, 0, true);
    if (l->cut == PROXY_CUT_HALF)
        return a->len / 2;
    return l->cut == PROXY_CUT_LATE ? a->len - (SYNC_BYTES + 1) : 0;
}

static void from_server(link_ *l, const char *data, size_t len)
{
    if (!l->cutting) {
        put(l->client, data, len);
        return;
    }
    if (l->dismissed)
        return;
    add(&l->answer, data, len);
    for (size_t at = 0, size; (size = message_at(&l->answer, at, true)) > 0; at += size) {
        if (l->answer.data[at] != 'Z')
            continue;
        l->answer.len = at + size;
        l->given      = part_of_answer(l);
        dismiss(l);
        return;
    }
}

static void take(proxy *p, link_ *l, bool client)
{
    char    data[CHUNK];
    int    *fd  = client ? &l->client : &l->server;
    ssize_t got = recv(*fd, data, sizeof(data), 0);

    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0 && l->cutting && client) {
        shut(&l->client); /* it did not wait: the server goes on */
    } else if (got <= 0) {
        if (l->cutting)
            put(l->client, l->answer.data, l->given);
        end_link(p, l);
    } else if (client)
        from_client(p, l, data, (size_t)got);
    else
        from_server(l, data, (size_t)got);
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    assert_true(strlen(path) < sizeof(address.sun_path));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return address;
}

static void take_connection(proxy *p)
{
    const struct sockaddr_un address = address_of(p->server);
    const int                client  = accept(p->listener, NULL, NULL);
    link_                   *l       = NULL;

    for (size_t i = 0; i < LINKS_MAX && l == NULL; i++)
        if (p->links[i].client < 0 && p->links[i].server < 0)
            l = &p->links[i];
    if (client < 0 || l == NULL) {
        if (client >= 0)
            (void)close(client);
        return;
    }
    l->client  = client;
    l->server  = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    l->started = false;
    if (l->server < 0
        || connect(l->server, (const struct sockaddr *)&address, sizeof(address)) != 0)
        end_link(p, l);
}

static void *run(void *arg)
{
    proxy *p = arg;

    for (;;) {
        struct pollfd fds[2 + 2 * LINKS_MAX];
        link_        *whose[2 + 2 * LINKS_MAX];
        nfds_t        n = 0;

        (void)pthread_mutex_lock(&p->lock);
        fds[n++] = (struct pollfd){ .fd = p->wake[0], .events = POLLIN };
        fds[n++] = (struct pollfd){ .fd = p->listener, .events = POLLIN };
        for (size_t i = 0; i < LINKS_MAX; i++) {
            link_ *l = &p->links[i];
            whose[n] = whose[n + 1] = l;
            fds[n++]                = (struct pollfd){ .fd = l->client, .events = POLLIN };
            fds[n++]                = (struct pollfd){ .fd = l->server, .events = POLLIN };
        }
        (void)pthread_mutex_unlock(&p->lock);
        if (poll(fds, n, -1) < 0)
            continue;
        (void)pthread_mutex_lock(&p->lock);
        if (fds[0].revents != 0) {
            (void)pthread_mutex_unlock(&p->lock);
            return NULL;
        }
        for (nfds_t i = 2; i < n; i++) {
            const bool client = i % 2 == 0;
            if (fds[i].revents != 0 && fds[i].fd == (client ? whose[i]->client : whose[i]->server))
                take(p, whose[i], client);
        }
        if (fds[1].revents != 0)
            take_connection(p);
        (void)pthread_mutex_unlock(&p->lock);
    }
}

/* Where the server of a DSN listens, and the same DSN by way of another folder. */
static void route(proxy *p, const char *dsn, char *out_dsn, size_t size)
{
    PQconninfoOption *known = PQconninfoParse(dsn, NULL);
    const char       *host = NULL, *port = "5432", *user = "", *database = "";

    assert_non_null(known);
    for (const PQconninfoOption *o = known; o->keyword != NULL; o++) {
        if (o->val == NULL)
            continue;
        if (strcmp(o->keyword, "host") == 0)
            host = o->val;
        else if (strcmp(o->keyword, "port") == 0)
            port = o->val;
        else if (strcmp(o->keyword, "user") == 0)
            user = o->val;
        else if (strcmp(o->keyword, "dbname") == 0)
            database = o->val;
    }
    assert_true(host != NULL && host[0] == '/');
    (void)snprintf(p->server, sizeof(p->server), "%s/.s.PGSQL.%s", host, port);
    (void)snprintf(p->path, sizeof(p->path), "%s/.s.PGSQL.5432", p->folder);
    (void)snprintf(out_dsn, size, "postgresql:///%s?host=%s&port=5432&user=%s", database, p->folder,
                   user);
    PQconninfoFree(known);
}

proxy *proxy_start(const char *dsn, char *out_dsn, size_t size)
{
    proxy *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    folder_make(p->folder, sizeof(p->folder));
    route(p, dsn, out_dsn, size);
    for (size_t i = 0; i < LINKS_MAX; i++)
        p->links[i].client = p->links[i].server = -1;
    const struct sockaddr_un address = address_of(p->path);
    p->listener                      = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(p->listener >= 0);
    assert_int_equal(0, bind(p->listener, (const struct sockaddr *)&address, sizeof(address)));
    assert_int_equal(0, listen(p->listener, LINKS_MAX));
    assert_int_equal(0, pipe(p->wake));
    assert_int_equal(0, pthread_mutex_init(&p->lock, NULL));
    assert_int_equal(0, pthread_cond_init(&p->settled, NULL));
    assert_int_equal(0, pthread_create(&p->thread, NULL, run, p));
    return p;
}

void proxy_stop(proxy *p)
{
    (void)close(p->wake[1]);
    (void)pthread_join(p->thread, NULL);
    for (size_t i = 0; i < LINKS_MAX; i++) {
        end_link(p, &p->links[i]);
        free(p->links[i].request.data);
        free(p->links[i].answer.data);
    }
    (void)close(p->wake[0]);
    (void)close(p->listener);
    (void)pthread_cond_destroy(&p->settled);
    (void)pthread_mutex_destroy(&p->lock);
    folder_remove(p->folder);
    free(p);
}

void proxy_arm(proxy *p, proxy_cut cut, int nth, int times)
{
    (void)pthread_mutex_lock(&p->lock);
    p->cut      = cut;
    p->nth      = nth;
    p->times    = times;
    p->requests = p->fired = 0;
    (void)pthread_mutex_unlock(&p->lock);
}

int proxy_requests(proxy *p)
{
    (void)pthread_mutex_lock(&p->lock);
    const int requests = p->requests;
    (void)pthread_mutex_unlock(&p->lock);
    return requests;
}

int proxy_fired(proxy *p)
{
    (void)pthread_mutex_lock(&p->lock);
    const int fired = p->fired;
    (void)pthread_mutex_unlock(&p->lock);
    return fired;
}

void proxy_settle(proxy *p)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->unsettled > 0)
        (void)pthread_cond_wait(&p->settled, &p->lock);
    (void)pthread_mutex_unlock(&p->lock);
}

#endif
