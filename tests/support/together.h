/** Many threads, or processes, that start at the same moment. */
#ifndef PGQRS_TESTS_TOGETHER_H
#define PGQRS_TESTS_TOGETHER_H

#include <stddef.h>

/** Run fn(shared, i) in @p count threads at once, i from 0, and wait for all of them. */
void together(size_t count, void (*fn)(void *shared, size_t i), void *shared);

/** Run fn(shared) in a child process. @return what it returned, or 255 when it crashed. */
int in_child(int (*fn)(void *shared), void *shared);
/** The same in @p count children at once. @return how many did not return 0. */
int in_children(size_t count, int (*fn)(void *shared), void *shared);

#endif
