/** A wire that can be cut: stands between the library and its server, and loses chosen answers.
 *
 *  When the client hears of a loss the server has ended that session, and undone what it had not
 *  committed; but for PROXY_CUT_BLIND.
 *
 *  A request is what ends in a Sync: a transaction of the library, or a question. The requests of
 *  all connections are counted in the order in which they end; the one that was chosen is cut, and
 *  its connection with it. The others go on. */
#ifndef PGQRS_TESTS_PROXY_H
#define PGQRS_TESTS_PROXY_H

#include <stddef.h>

typedef enum proxy_cut {
    PROXY_CUT_BEFORE, /**< nothing of the request reaches the server */
    PROXY_CUT_SHORT,  /**< all of it but the Sync: done, and undone */
    PROXY_CUT_BLIND,  /**< the server has it and is at work; the client is alone at once */
    PROXY_CUT_AFTER,  /**< done and answered; nothing of the answer reaches the client */
    PROXY_CUT_BEGUN,  /**< the first message of the answer does */
    PROXY_CUT_HALF,   /**< half of the answer's bytes do */
    PROXY_CUT_LATE,   /**< all of the answer but its end, ReadyForQuery */
    PROXY_CUTS
} proxy_cut;

extern const char *const proxy_cut_names[PROXY_CUTS];

typedef struct proxy proxy;

/** Start it before the server of @p dsn, which is on a Unix socket. @p out_dsn leads through it. */
proxy *proxy_start(const char *dsn, char *out_dsn, size_t size);
/** End it, and every connection through it. */
void proxy_stop(proxy *p);

/** Count from here: cut the @p nth request (from 1) that comes, and so often in a row those that
 *  come after it. 0: none. */
void proxy_arm(proxy *p, proxy_cut cut, int nth, int times);
/** How many requests have come since it was armed; how many were cut. */
int proxy_requests(proxy *p);
int proxy_fired(proxy *p);
/** Wait until the server has done with whatever was cut. */
void proxy_settle(proxy *p);

#endif
