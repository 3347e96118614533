#include "support/gather.h"

#include <sched.h>

#include "core/core.h"
#include "support/together.h"

/* More than there ever are: while they are away, no group leaves. */
#define ALL_TURNS 1000

typedef struct gathering {
    pgqrs_store *store;
    size_t       callers;
    void (*call)(void *shared, size_t i);
    void *shared;
} gathering;

static void take_turns_away(pgqrs_store *store)
{
    pgqrs__mutex_lock(&store->lock);
    store->groups_in_flight += ALL_TURNS;
    pgqrs__mutex_unlock(&store->lock);
}

/* @return whether they are back: once every caller waits for one. */
static bool give_turns_back(const gathering *g)
{
    pgqrs_store *store = g->store;
    pgqrs__mutex_lock(&store->lock);
    const bool all = store->pending_count == g->callers;
    if (all) {
        store->groups_in_flight -= ALL_TURNS;
        pgqrs__news_tell(&store->pending_first->news, PGQRS__NEWS_TURN);
    }
    pgqrs__mutex_unlock(&store->lock);
    return all;
}

static void call_or_gather(void *shared, size_t i)
{
    const gathering *g = shared;
    if (i < g->callers)
        g->call(g->shared, i);
    else
        while (!give_turns_back(g))
            (void)sched_yield();
}

pgqrs_counters gathered(world *w, size_t callers, void (*call)(void *shared, size_t i),
                        void *shared)
{
    gathering      g = { .store = w->store, .callers = callers, .call = call, .shared = shared };
    pgqrs_counters before = counted(w->store);
    take_turns_away(w->store);
    together(callers + 1, call_or_gather, &g);
    return spent(w->store, &before);
}
