#include "support/together.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_CLO_CHANGE(option) ((void)(option))
#endif

#include "support/world.h"

typedef struct starter {
    pthread_barrier_t *gate;
    void (*fn)(void *shared, size_t i);
    void  *shared;
    size_t i;
} starter;

static void *run_thread(void *arg)
{
    starter *s = arg;
    (void)pthread_barrier_wait(s->gate);
    s->fn(s->shared, s->i);
    return NULL;
}

void together(size_t count, void (*fn)(void *shared, size_t i), void *shared)
{
    pthread_barrier_t gate;
    pthread_t        *threads  = calloc(count, sizeof(*threads));
    starter          *starters = calloc(count, sizeof(*starters));
    assert_non_null(threads);
    assert_non_null(starters);
    assert_int_equal(0, pthread_barrier_init(&gate, NULL, (unsigned)count));
    for (size_t i = 0; i < count; i++) {
        starters[i] = (starter){ .gate = &gate, .fn = fn, .shared = shared, .i = i };
        assert_int_equal(0, pthread_create(&threads[i], NULL, run_thread, &starters[i]));
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(0, pthread_join(threads[i], NULL));
    (void)pthread_barrier_destroy(&gate);
    free(starters);
    free(threads);
}

/* A child that takes longer than this hangs: it is ended by SIGALRM. */
#define CHILD_SECONDS (60 * PGQRS_TEST_FACTOR)

/* A child leaves by _exit(): the parent's connections and files are not its to close, and what of
 * them it has in memory is no leak. */
static pid_t start_child(int (*fn)(void *shared), void *shared)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(CHILD_SECONDS);
        VALGRIND_CLO_CHANGE("--leak-check=no");
        _exit(fn(shared));
    }
    assert_true(pid > 0);
    return pid;
}

static int wait_child(pid_t pid)
{
    int status = 0;
    assert_int_equal(pid, waitpid(pid, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int in_child(int (*fn)(void *shared), void *shared)
{
    return wait_child(start_child(fn, shared));
}

int in_children(size_t count, int (*fn)(void *shared), void *shared)
{
    int    failed = 0;
    pid_t *pids   = calloc(count, sizeof(*pids));
    assert_non_null(pids);
    for (size_t i = 0; i < count; i++)
        pids[i] = start_child(fn, shared);
    for (size_t i = 0; i < count; i++)
        failed += wait_child(pids[i]) != 0;
    free(pids);
    return failed;
}
