#include "support/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16

extern char **environ;

static void pipe_on_exec(int ends[2])
{
    assert_int_equal(0, pipe2(ends, O_CLOEXEC));
}

void process_start(process *p, const world *w, const char *helper, const char *const *arguments)
{
    char        program[512];
    const char *argv[ARGUMENTS_MAX] = { program, w->dsn, w->postgres ? w->schema : "-" };
    size_t      argc                = 3;
    int         to[2], from[2];

    (void)snprintf(program, sizeof(program), "%s/%s", PGQRS_TEST_BIN_DIR, helper);
    for (; *arguments != NULL; arguments++) {
        assert_true(argc + 1 < ARGUMENTS_MAX);
        argv[argc++] = *arguments;
    }
    pipe_on_exec(to);
    pipe_on_exec(from);
    posix_spawn_file_actions_t actions;
    assert_int_equal(0, posix_spawn_file_actions_init(&actions));
    assert_int_equal(0, posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO));
    assert_int_equal(0, posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO));
    if (posix_spawn(&p->pid, program, &actions, NULL, (char *const *)argv, environ) != 0)
        fail_msg("could not start %s", program);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(to[0]);
    (void)close(from[1]);
    p->to   = fdopen(to[1], "w");
    p->from = fdopen(from[0], "r");
    assert_true(p->to != NULL && p->from != NULL);
}

void process_say(process *p, const char *line)
{
    assert_true(fprintf(p->to, "%s\n", line) > 0);
    assert_int_equal(0, fflush(p->to));
}

const char *process_hear(process *p)
{
    if (fgets(p->line, sizeof(p->line), p->from) == NULL)
        return NULL;
    p->line[strcspn(p->line, "\n")] = '\0';
    return p->line;
}

void process_signal(const process *p, int number)
{
    assert_true(p->pid > 0);
    assert_int_equal(0, kill(p->pid, number));
}

static void forget(process *p)
{
    if (p->to != NULL)
        (void)fclose(p->to);
    if (p->from != NULL)
        (void)fclose(p->from);
    *p = (process){ 0 };
}

int process_end(process *p)
{
    int status = 0;
    assert_true(p->pid > 0);
    while (waitpid(p->pid, &status, 0) < 0)
        assert_int_equal(EINTR, errno);
    forget(p);
    return status;
}

bool process_ends(process *p, int64_t within_us, int *out_status)
{
    const int64_t until = monotonic_now_us() + within_us;
    while (waitpid(p->pid, out_status, WNOHANG) == 0) {
        if (monotonic_now_us() > until)
            return false;
        sleep_us(2000);
    }
    forget(p);
    return true;
}

void folder_make(char *out, size_t size)
{
    const char *place = getenv("TMPDIR");
    (void)snprintf(out, size, "%s/pgqrs_processes_XXXXXX", place != NULL ? place : "/tmp");
    assert_non_null(mkdtemp(out));
}

void folder_remove(const char *folder)
{
    DIR *d = opendir(folder);
    if (d == NULL)
        return;
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        char path[1024];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    (void)closedir(d);
    (void)rmdir(folder);
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * PGQRS_SECOND + now.tv_nsec / 1000;
}

int64_t wall_now_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t monotonic_now_us(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void sleep_us(int64_t us)
{
    if (us <= 0)
        return;
    const struct timespec time = { us / PGQRS_SECOND, us % PGQRS_SECOND * 1000 };
    (void)nanosleep(&time, NULL);
}

/* splitmix64 */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z          = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z          = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

int64_t random_below(uint64_t *state, int64_t limit)
{
    return (int64_t)(random_next(state) % (uint64_t)limit);
}

pgqrs_store *helper_open(int argc, char **argv, const pgqrs_store_options *options)
{
    pgqrs_store_options with  = { .struct_size = sizeof(with) };
    pgqrs_store        *store = NULL;
    pgqrs_error         error;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc < 3) {
        (void)fprintf(stderr, "%s: DSN and schema are missing\n", argv[0]);
        _exit(2);
    }
    if (options != NULL)
        with = *options;
    if (strcmp(argv[2], "-") != 0)
        with.schema = argv[2];
    if (pgqrs_open(argv[1], &with, &store, &error) != PGQRS_OK) {
        (void)fprintf(stderr, "%s: %s\n%s\n", argv[0], error.message, error.detail);
        _exit(3);
    }
    return store;
}

int command_run(const world *w, const char *command, char *out, size_t size)
{
    char options[128];
    (void)snprintf(options, sizeof(options), "-c search_path=%s", w->schema);
    if (w->postgres)
        (void)setenv("PGOPTIONS", options, 1);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    const size_t used = fread(out, 1, size - 1, pipe);
    out[used]         = '\0';
    return pclose(pipe);
}

void command_output(const world *w, const char *command, char *out, size_t size)
{
    const int status = command_run(w, command, out, size);
    if (status != 0)
        fail_msg("%s\nended with %#x:\n%s", command, (unsigned)status, out);
}

void log_line(int fd, int64_t at_us, const char *format, va_list list)
{
    char line[2048];
    int  used = snprintf(line, sizeof(line), "%lld ", (long long)at_us);
    used += vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, list);
    if (used > (int)sizeof(line) - 2)
        used = (int)sizeof(line) - 2;
    for (int i = 0; i < used; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[used++] = '\n';
    if (write(fd, line, (size_t)used) != used)
        _exit(4);
}
