/* A durable workflow: list the files of a folder, checksum each, archive them, verify the archive.
 *
 *     archive_files start FOLDER ARCHIVE    start a run, print its id
 *     archive_files work                    execute runs until SIGINT or SIGTERM
 *     archive_files wait RUN                wait for its end, print its output
 *     archive_files show RUN                print where it stands and what is recorded
 *
 * PGQRS_DSN names the store (sqlite://archive_files.db without it). Kill a worker whenever you
 * like: the next one goes on behind the last recorded step, once the dead one's lease has passed.
 */
#define _POSIX_C_SOURCE 200809L

#include <pgqrs/pgqrs.h>
#include <pgqrs/workflow.h>

#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEASE_US   (2 * PGQRS_SECOND) /* a run whose worker died is taken over after this */
#define WAIT_US    (60 * PGQRS_SECOND)
#define NAME_BYTES 240 /* "checksum NAME" names a step, in at most 255 bytes */
#define LINE_BYTES 1024
#define PATH_BYTES 4096

static pgqrs_status list_files(pgqrs_step *step, const char *folder);
static pgqrs_status checksum(pgqrs_step *step, const char *folder, const char *file);
static pgqrs_status create_archive(pgqrs_step *step, const char *folder, const char *archive,
                                   const char *files);
static pgqrs_status verify_archive(pgqrs_step *step, const char *archive, const char *sums);
static bool         next_string(const char **json, char *out, size_t size);

/* --- The workflow --------------------------------------------------------------------------- */

static PGQRS_WORKFLOW(archive_files, run)
{
    const char *input = pgqrs_run_input(run); /* ["folder","archive"] */
    const char *files, *line, *summary, *sums = "";
    char        folder[PATH_BYTES], archive[PATH_BYTES], name[NAME_BYTES], text[LINE_BYTES];

    if (!next_string(&input, folder, sizeof folder)
        || !next_string(&input, archive, sizeof archive))
        return pgqrs_run_fail(run, "INPUT", "the input is [folder, archive]");

    /* A step runs once; after a crash its recorded result is handed out. */
    PGQRS_STEP(run, "list_files", &files) {
        PGQRS_TRY(list_files(step, folder));
    }

    for (const char *at = files; next_string(&at, name, sizeof name);) {
        PGQRS_STEP(run, pgqrs_run_printf(run, "checksum %s", name), &line) {
            PGQRS_TRY(checksum(step, folder, name));
        }
        if (next_string(&line, text, sizeof text))
            sums = pgqrs_run_printf(run, "%s%s", sums, text); /* lives as long as the run */
    }

    PGQRS_STEP(run, "create_archive", NULL) {
        PGQRS_TRY(create_archive(step, folder, archive, files));
    }
    PGQRS_STEP(run, "verify_archive", &summary) {
        PGQRS_TRY(verify_archive(step, archive, sums));
    }

    return pgqrs_run_succeed(run, summary);
}

/* --- Its steps ------------------------------------------------------------
 *
 * A step may be executed again when its worker died before the result was recorded, so each can be:
 * the archive is written beside its place and moved there whole.
 */

static void         quote(FILE *out, const char *text);
static int          run_shell(const char *script, char *const *args, size_t count, char **out_text);
static void         executed(const pgqrs_step *step);
static pgqrs_status succeed_quoted(pgqrs_step *step, const char *text);

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool may_name_a_step(const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return strlen(name) < NAME_BYTES;
}

/* Records ["a.txt","b.txt"]: the regular files, by name. */
static pgqrs_status list_files(pgqrs_step *step, const char *folder)
{
    char         **names = NULL, **more, *json = NULL, path[PATH_BYTES + 257];
    size_t         count = 0, size;
    FILE          *out   = open_memstream(&json, &size);
    DIR           *dir   = opendir(folder);
    struct dirent *entry;
    struct stat    info;
    pgqrs_status   rc;

    if (dir == NULL || out == NULL) {
        rc = pgqrs_step_fail(step, "FOLDER", "the folder cannot be read");
        goto done;
    }
    while ((entry = readdir(dir)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        if (!may_name_a_step(entry->d_name)) {
            rc = pgqrs_step_fail(step, "NAME", "a file's name is too long, or has odd characters");
            goto done;
        }
        more = realloc(names, (count + 1) * sizeof *names);
        if (more == NULL || (more[count] = strdup(entry->d_name)) == NULL) {
            names = more != NULL ? more : names;
            rc    = pgqrs_step_retry(step, "MEMORY", "out of memory", 0);
            goto done;
        }
        names = more;
        count++;
    }
    if (count == 0) {
        rc = pgqrs_step_fail(step, "EMPTY", "the folder holds no files");
        goto done;
    }
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i == 0 ? "[" : ",", out);
        quote(out, names[i]);
    }
    (void)fputc(']', out);
    (void)fflush(out);
    executed(step);
    rc = pgqrs_step_succeed(step, json);
done:
    if (dir != NULL)
        (void)closedir(dir);
    if (out != NULL)
        (void)fclose(out);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    free(json);
    return rc;
}

/* Records the line that sha256sum prints. */
static pgqrs_status checksum(pgqrs_step *step, const char *folder, const char *file)
{
    char        *args[] = { (char *)folder, (char *)file };
    char        *line   = NULL;
    pgqrs_status rc;

    if (run_shell("cd -- \"$1\" && exec sha256sum -- \"$2\"", args, 2, &line) != 0)
        rc = pgqrs_step_fail(step, "CHECKSUM", "sha256sum failed");
    else
        rc = succeed_quoted(step, line);
    free(line);
    return rc;
}

static pgqrs_status create_archive(pgqrs_step *step, const char *folder, const char *archive,
                                   const char *files)
{
    char       **args  = NULL, **more, name[NAME_BYTES];
    size_t       count = 0;
    pgqrs_status rc;

    args = calloc(2, sizeof *args);
    if (args == NULL)
        return pgqrs_step_retry(step, "MEMORY", "out of memory", 0);
    args[count++] = (char *)folder;
    args[count++] = (char *)archive;
    while (next_string(&files, name, sizeof name)) {
        more = realloc(args, (count + 1) * sizeof *args);
        if (more == NULL || (more[count] = strdup(name)) == NULL) {
            args = more != NULL ? more : args;
            rc   = pgqrs_step_retry(step, "MEMORY", "out of memory", 0);
            goto done;
        }
        args = more;
        count++;
    }
    if (run_shell("folder=$1 archive=$2; shift 2\n"
                  "tar -C \"$folder\" -czf \"$archive.part\" -- \"$@\" &&\n"
                  "mv -f -- \"$archive.part\" \"$archive\"",
                  args, count, NULL)
        != 0)
        rc = pgqrs_step_retry(step, "TAR", "tar failed", 0); /* transient: the run comes back */
    else
        rc = succeed_quoted(step, archive);
done:
    for (size_t i = 2; i < count; i++)
        free(args[i]);
    free(args);
    return rc;
}

/* Takes the archive apart, checks every file against its recorded checksum, and records
 * {"archive":PATH,"files":COUNT,"bytes":SIZE}. */
static pgqrs_status verify_archive(pgqrs_step *step, const char *archive, const char *sums)
{
    char        *args[] = { (char *)archive, (char *)sums };
    char        *count = NULL, *json = NULL;
    size_t       size;
    FILE        *out = open_memstream(&json, &size);
    struct stat  info;
    pgqrs_status rc;

    if (out == NULL)
        return pgqrs_step_retry(step, "MEMORY", "out of memory", 0);
    if (run_shell("set -e; check=$1.check; rm -rf -- \"$check\"; mkdir -- \"$check\"\n"
                  "trap 'rm -rf -- \"$check\"' EXIT\n"
                  "tar -C \"$check\" -xzf \"$1\"\n"
                  "cd -- \"$check\"; printf %s \"$2\" | sha256sum --quiet -c - >&2\n"
                  "tar -tzf \"$1\" | wc -l",
                  args, 2, &count)
            != 0
        || stat(archive, &info) != 0) {
        rc = pgqrs_step_fail(step, "VERIFY", "the archive does not hold what was listed");
    } else {
        (void)fputs("{\"archive\":", out);
        quote(out, archive);
        (void)fprintf(out, ",\"files\":%ld,\"bytes\":%lld}", strtol(count, NULL, 10),
                      (long long)info.st_size);
        (void)fflush(out);
        executed(step);
        rc = pgqrs_step_succeed(step, json);
    }
    (void)fclose(out);
    free(json);
    free(count);
    return rc;
}

/* --- What they need ------------------------------------------------------------------------- */

/* Write @p text as a JSON string. */
static void quote(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            (void)fprintf(out, "\\u%04x", (unsigned)(unsigned char)*text);
        else
            (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

/* Read the next string of a JSON array that quote() wrote; false at its end. */
static bool next_string(const char **json, char *out, size_t size)
{
    const char *at   = *json != NULL ? strchr(*json, '"') : NULL;
    size_t      used = 0;

    if (at == NULL)
        return false;
    for (at++; *at != '"' && *at != '\0' && used + 1 < size; at++) {
        if (*at != '\\') {
            out[used++] = *at;
        } else if (*++at != 'u') {
            out[used++] = *at;
        } else {
            char digits[5] = { 0 };

            (void)snprintf(digits, sizeof digits, "%.4s", at + 1);
            out[used++] = (char)strtol(digits, NULL, 16);
            at += strlen(digits);
        }
    }
    out[used] = '\0';
    *json     = *at == '"' ? at + 1 : at;
    return *at == '"';
}

static pgqrs_status succeed_quoted(pgqrs_step *step, const char *text)
{
    char        *json = NULL;
    size_t       size;
    FILE        *out = open_memstream(&json, &size);
    pgqrs_status rc;

    if (out == NULL)
        return pgqrs_step_retry(step, "MEMORY", "out of memory", 0);
    quote(out, text);
    (void)fclose(out);
    executed(step);
    rc = pgqrs_step_succeed(step, json);
    free(json);
    return rc;
}

/* Run a shell script with arguments; @return its exit status. @p out_text: what it printed, to be
 * freed; NULL = not wanted. */
static int run_shell(const char *script, char *const *args, size_t count, char **out_text)
{
    extern char              **environ;
    char                     **argv = calloc(count + 5, sizeof *argv);
    char                       block[LINE_BYTES];
    int                        ends[2] = { -1, -1 }, status = -1;
    size_t                     size;
    ssize_t                    got;
    FILE                      *text = out_text != NULL ? open_memstream(out_text, &size) : NULL;
    pid_t                      child;
    posix_spawn_file_actions_t actions;

    if (argv == NULL || (out_text != NULL && text == NULL) || pipe(ends) != 0)
        goto done;
    argv[0] = (char *)"sh";
    argv[1] = (char *)"-c";
    argv[2] = (char *)script;
    argv[3] = (char *)"archive_files";
    memcpy(argv + 4, args, count * sizeof *argv);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    (void)posix_spawn_file_actions_addclose(&actions, ends[0]);
    (void)posix_spawn_file_actions_addclose(&actions, ends[1]);
    if (posix_spawnp(&child, "sh", &actions, NULL, argv, environ) == 0) {
        (void)close(ends[1]);
        ends[1] = -1;
        while ((got = read(ends[0], block, sizeof block)) > 0)
            if (text != NULL)
                (void)fwrite(block, 1, (size_t)got, text);
        if (waitpid(child, &status, 0) != child)
            status = -1;
    }
    (void)posix_spawn_file_actions_destroy(&actions);
done:
    if (ends[0] >= 0)
        (void)close(ends[0]);
    if (ends[1] >= 0)
        (void)close(ends[1]);
    if (text != NULL)
        (void)fclose(text);
    free(argv);
    return status;
}

/* For the demo: tell who executed which step, and stop behind the work of one and before its
 * record, to be killed there. */
static void executed(const pgqrs_step *step)
{
    static int  executions; /* one run at a time */
    const char *log  = getenv("ARCHIVE_FILES_LOG");
    const char *hold = getenv("ARCHIVE_FILES_HOLD");
    FILE       *file = log != NULL ? fopen(log, "a") : NULL;

    if (file != NULL) {
        (void)fprintf(file, "%ld\t%s\n", (long)getpid(), pgqrs_step_name(step));
        (void)fclose(file);
    }
    if (hold != NULL && ++executions == atoi(hold))
        for (;;)
            (void)pause();
}

/* --- The program ---------------------------------------------------------------------------- */

static pgqrs_worker *worker;

static void on_signal(int number)
{
    (void)number;
    pgqrs_worker_stop(worker);
}

static pgqrs_status start(pgqrs_store *store, const char *folder, const char *archive,
                          pgqrs_error *error)
{
    char        *json = NULL;
    size_t       size;
    int64_t      id;
    FILE        *out = open_memstream(&json, &size);
    pgqrs_status rc;

    if (out == NULL)
        return PGQRS_ENOMEM;
    (void)fputc('[', out);
    quote(out, folder);
    (void)fputc(',', out);
    quote(out, archive);
    (void)fputc(']', out);
    (void)fclose(out);
    rc = pgqrs_trigger(store, "archive_files", json, NULL, &id, error);
    if (rc == PGQRS_OK)
        printf("%lld\n", (long long)id);
    free(json);
    return rc;
}

static pgqrs_status work(pgqrs_store *store, pgqrs_error *error)
{
    pgqrs_status rc = pgqrs_worker_new(store, NULL, &worker, error);

    if (rc == PGQRS_OK)
        rc = pgqrs_worker_on_run(worker, "archive_files", archive_files, NULL, NULL);
    if (rc == PGQRS_OK) {
        (void)signal(SIGINT, on_signal);
        (void)signal(SIGTERM, on_signal);
        rc = pgqrs_worker_run(worker, error);
    }
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    pgqrs_worker_free(worker);
    return rc;
}

static pgqrs_status wait_for(pgqrs_store *store, int64_t id, pgqrs_error *error)
{
    pgqrs_run_records *runs = NULL;
    pgqrs_status       rc   = pgqrs_run_wait(store, id, WAIT_US, &runs, error);

    if (rc == PGQRS_OK) {
        const pgqrs_run_record *run = pgqrs_run_records_at(runs, 0);

        printf("%s\t%s\n", pgqrs_run_status_name(run->status),
               run->output != NULL  ? run->output
               : run->error != NULL ? run->error
                                    : "");
    }
    pgqrs_run_records_free(runs);
    return rc;
}

static pgqrs_status show(pgqrs_store *store, int64_t id, pgqrs_error *error)
{
    pgqrs_run_records  *runs  = NULL;
    pgqrs_step_records *steps = NULL;
    pgqrs_status        rc    = pgqrs_run_get(store, id, &runs, error);

    if (rc == PGQRS_OK)
        rc = pgqrs_step_list(store, id, &steps, error);
    if (rc == PGQRS_OK) {
        const pgqrs_run_record *run = pgqrs_run_records_at(runs, 0);

        printf("run\t%lld\t%s\tattempt %d\n", (long long)run->id,
               pgqrs_run_status_name(run->status), run->attempt);
        for (size_t i = 0; i < pgqrs_step_records_count(steps); i++) {
            const pgqrs_step_record *step = pgqrs_step_records_at(steps, i);

            printf("step\t%s\t%s\n", step->name,
                   step->output != NULL  ? step->output
                   : step->error != NULL ? step->error
                                         : "");
        }
    }
    pgqrs_step_records_free(steps);
    pgqrs_run_records_free(runs);
    return rc;
}

int main(int argc, char **argv)
{
    const char  *dsn   = getenv("PGQRS_DSN");
    const char  *verb  = argc > 1 ? argv[1] : "";
    pgqrs_store *store = NULL;
    pgqrs_error  error = { 0 };
    pgqrs_status rc;
    int64_t      id     = argc > 2 ? strtoll(argv[2], NULL, 10) : 0;
    const bool   starts = strcmp(verb, "start") == 0 && argc == 4;
    const bool   works  = strcmp(verb, "work") == 0 && argc == 2;
    const bool   waits  = strcmp(verb, "wait") == 0 && argc == 3;
    const bool   shows  = strcmp(verb, "show") == 0 && argc == 3;

    if (!starts && !works && !waits && !shows) {
        fputs("usage: archive_files start FOLDER ARCHIVE | work | wait RUN | show RUN\n", stderr);
        return 2;
    }
    rc = pgqrs_open(dsn != NULL ? dsn : "sqlite://archive_files.db", NULL, &store, &error);
    if (rc == PGQRS_OK)
        rc = pgqrs_install(store, &error);
    if (rc == PGQRS_OK)
        rc = pgqrs_workflow_ensure(store, "archive_files",
                                   PGQRS_OPTIONS(queue, .lease_us = LEASE_US), &error);
    if (rc == PGQRS_OK)
        rc = starts  ? start(store, argv[2], argv[3], &error)
             : works ? work(store, &error)
             : waits ? wait_for(store, id, &error)
                     : show(store, id, &error);
    if (rc != PGQRS_OK)
        fprintf(stderr, "archive_files: %s\n%s\n", error.message, error.hint);
    pgqrs_close(store);
    return rc == PGQRS_OK ? 0 : 1;
}
