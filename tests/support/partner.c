#include "support/partner.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTNER_SECONDS = 60 };

typedef struct request {
    char what; /* o: open; e: enqueue; c: close */
    char dsn[512];
} request;

static void serve(const world *w, int ask, int answer)
{
    pgqrs_store        *store   = NULL;
    pgqrs_store_options options = { .struct_size = sizeof(options),
                                    .schema      = w->postgres ? w->schema : NULL,
                                    .timeout_us  = 5 * PGQRS_SECOND };
    request             r;

    while (read(ask, &r, sizeof(r)) == (ssize_t)sizeof(r)) {
        pgqrs_error    error = { 0 };
        partner_answer a     = { 0 };

        if (r.what == 'o')
            a.status = pgqrs_open(r.dsn, &options, &store, &error);
        else if (r.what == 'e')
            a.status = pgqrs_enqueue(store, "orders", "\"partner\"", NULL, NULL, &error);
        if (r.what == 'c') {
            pgqrs_close(store);
            store = NULL;
        }
        (void)snprintf(a.message, sizeof(a.message), "%s", error.message);
        (void)snprintf(a.hint, sizeof(a.hint), "%s", error.hint);
        if (write(answer, &a, sizeof(a)) != (ssize_t)sizeof(a))
            break;
    }
}

partner partner_start(const world *w)
{
    int     ask[2], answer[2];
    partner p;

    assert_int_equal(0, pipe(ask));
    assert_int_equal(0, pipe(answer));
    (void)fflush(NULL);
    p.pid = fork();
    if (p.pid == 0) {
        (void)alarm(PARTNER_SECONDS);
        (void)close(ask[1]);
        (void)close(answer[0]);
        serve(w, ask[0], answer[1]);
        _exit(0);
    }
    assert_true(p.pid > 0);
    (void)close(ask[0]);
    (void)close(answer[1]);
    p.ask    = ask[1];
    p.answer = answer[0];
    return p;
}

static partner_answer tell(partner *p, char what, const char *dsn)
{
    request        r = { .what = what };
    partner_answer a = { 0 };

    (void)snprintf(r.dsn, sizeof(r.dsn), "%s", dsn);
    assert_int_equal(sizeof(r), write(p->ask, &r, sizeof(r)));
    assert_int_equal(sizeof(a), read(p->answer, &a, sizeof(a)));
    return a;
}

partner_answer partner_opens(partner *p, const char *dsn)
{
    return tell(p, 'o', dsn);
}

partner_answer partner_enqueues(partner *p)
{
    return tell(p, 'e', "");
}

void partner_closes(partner *p)
{
    (void)tell(p, 'c', "");
}

void partner_kill(partner *p)
{
    (void)kill(p->pid, SIGKILL);
    assert_int_equal(p->pid, waitpid(p->pid, NULL, 0));
    (void)close(p->ask);
    (void)close(p->answer);
}
