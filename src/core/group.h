/* What group.c and fold.c share: a group of operations on its way. */
#ifndef PGQRS_CORE_GROUP_H
#define PGQRS_CORE_GROUP_H

#include "core/core.h"

#define PGQRS__GROUP_OPS  512
#define PGQRS__GROUP_ROWS 10000

typedef struct pgqrs__group {
    pgqrs__op  **ops;    /* what is folded: `several`, or the parts of `atomic` */
    pgqrs__op   *atomic; /* this one alone; or NULL */
    pgqrs__op   *several[PGQRS__GROUP_OPS];
    size_t       count;
    size_t       rows;
    size_t       bytes;
    int64_t      deadline_us; /* the latest of its operations' */
    pgqrs__arena arena;       /* for folding */
} pgqrs__group;

/* The statements of the group, in the order that cannot deadlock. NULL: no memory. */
pgqrs__call *pgqrs__group_fold(const pgqrs_store *store, pgqrs__group *g, size_t *out_ncalls);

#endif
