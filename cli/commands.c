/* Every command and every flag. Help is printed from here; the man page and the completions are
 * compared with it by a test. */
#include "cli.h"

/* By name, as people look for them. */
const cli_flag_info cli_flags[FLAG_COUNT] = {
    [FLAG_HELP]           = { "help", 'h', NULL, "explain the command" },
    [FLAG_VERSION]        = { "version", 0, NULL, "print the program's version" },
    [FLAG_DSN]            = { "dsn", 0, "DSN", "the store; default: PGQRS_DSN" },
    [FLAG_SCHEMA]         = { "schema", 0, "NAME",
                              "PostgreSQL: the schema of the tables; default: PGQRS_SCHEMA" },
    [FLAG_JSON]           = { "json", 0, NULL, "print JSON: a document, or a line for each item" },
    [FLAG_AFTER]          = { "after", 0, "ID", "only what has a higher id" },
    [FLAG_AT]             = { "at", 0, "TIME", "deliver at this time (2025-01-31T12:00:00Z)" },
    [FLAG_ATTEMPTS]       = { "attempts", 0, "N", "deliveries before a message is dead: 5" },
    [FLAG_BACKOFF]        = { "backoff", 0, "DURATION", "delay after the first failure: 1s" },
    [FLAG_BACKOFF_FACTOR] = { "backoff-factor", 0, "X", "by which the delay grows: 2" },
    [FLAG_BACKOFF_MAX]    = { "backoff-max", 0, "DURATION", "the longest delay: 1h" },
    [FLAG_BATCH]          = { "batch", 0, "N", "lines in one transaction: 1000; up to 10000" },
    [FLAG_DELAY]      = { "delay", 0, "DURATION", "deliver this long from now (30s, 5m, 2h, 1d)" },
    [FLAG_DRY_RUN]    = { "dry-run", 0, NULL, "only say what would be applied" },
    [FLAG_FORCE]      = { "force", 0, NULL, "even while messages are leased" },
    [FLAG_HEADERS]    = { "headers", 0, "JSON", "an object that is handed to the handler" },
    [FLAG_IF_MISSING] = { "if-missing", 0, NULL, "one that exists is left as it is" },
    [FLAG_KEY]        = { "key", 0, "KEY", "idempotency key: again the same key, the same id" },
    [FLAG_KEY_TTL]    = { "key-ttl", 0, "DURATION", "how long the key holds: 1d" },
    [FLAG_LARGE]      = { "large", 0, NULL, "a backlog of ten million messages, too" },
    [FLAG_LEASE]      = { "lease", 0, "DURATION", "how long a claim holds a message: 30s" },
    [FLAG_LIMIT]      = { "limit", 0, "N", "no more than this many; default: all" },
    [FLAG_ONLY]       = { "only", 0, "TEXT", "what is of this group, or has this in its name" },
    [FLAG_PARAM]      = { "param", 'P', "NAME=VALUE", "a member of the JSON object; repeatable" },
    [FLAG_PRIORITY]   = { "priority", 0, "0..9", "0 is delivered first: 5" },
    [FLAG_QUEUE]      = { "queue", 0, "QUEUE", "everything that is dead in this queue" },
    [FLAG_QUICK]      = { "quick", 0, NULL, "fewer and smaller workloads" },
    [FLAG_RETENTION]  = { "retention", 0, "DURATION", "ended messages are kept: 7d; or forever" },
    [FLAG_ROLES]      = { "roles", 0, "PRODUCER,WORKER",
                          "PostgreSQL: grant these what they need; either may be empty" },
    [FLAG_ROUNDS]     = { "rounds", 0, "N", "how often each is measured: 5; --quick: 3" },
    [FLAG_SECONDS]    = { "seconds", 0, "X", "how long each time: 1; --quick: 0.2" },
    [FLAG_SILENT]     = { "silent", 0, "DURATION", "those not heard of for so long" },
    [FLAG_SQL]        = { "sql", 0, NULL, "print the SQL that would be run, and run nothing" },
    [FLAG_STATE]      = { "state", 0, "STATE",
                          "ready, scheduled, leased, live (these three: the default), done, "
                               "success, error, cancelled, dead, archived (these five), all" },
    [FLAG_STATUS]     = { "status", 0, "STATUS",
                          "queued, running, paused, cancelling, success, error, cancelled" },
    [FLAG_SVG]        = { "svg", 0, "FILE", "draw rates against batch size, callers and backlog" },
    [FLAG_WORKFLOW]   = { "workflow", 0, NULL, "make a workflow: its messages are runs" },
    [FLAG_YES]        = { "yes", 'y', NULL, "do not ask" },
};

const uint64_t cli_common_flags =
    CLI_BIT(FLAG_HELP) | CLI_BIT(FLAG_DSN) | CLI_BIT(FLAG_SCHEMA) | CLI_BIT(FLAG_JSON);

#define PAGED (CLI_BIT(FLAG_AFTER) | CLI_BIT(FLAG_LIMIT))
#define PUT                                                                                \
    (CLI_BIT(FLAG_PARAM) | CLI_BIT(FLAG_PRIORITY) | CLI_BIT(FLAG_DELAY) | CLI_BIT(FLAG_AT) \
     | CLI_BIT(FLAG_KEY) | CLI_BIT(FLAG_KEY_TTL) | CLI_BIT(FLAG_HEADERS))
#define SETTINGS                                                          \
    (CLI_BIT(FLAG_LEASE) | CLI_BIT(FLAG_ATTEMPTS) | CLI_BIT(FLAG_BACKOFF) \
     | CLI_BIT(FLAG_BACKOFF_FACTOR) | CLI_BIT(FLAG_BACKOFF_MAX) | CLI_BIT(FLAG_RETENTION))
#define MANY SIZE_MAX

const cli_command cli_commands[] = {
    { NULL, "install", "", "create or upgrade the tables", 0, 0,
      CLI_BIT(FLAG_DRY_RUN) | CLI_BIT(FLAG_SQL) | CLI_BIT(FLAG_ROLES), cli_run_install },
    { NULL, "verify", "", "check the tables, the versions and the database", 0, 0, 0,
      cli_run_verify },
    { "queue", "ls", "", "list queues and workflows", 0, 0, 0, cli_run_queue_ls },
    { "queue", "create", "NAME", "create a queue or a workflow", 1, 1,
      CLI_BIT(FLAG_WORKFLOW) | CLI_BIT(FLAG_IF_MISSING) | SETTINGS, cli_run_queue_create },
    { "queue", "configure", "NAME", "change settings; those not named stay as they are", 1, 1,
      SETTINGS, cli_run_queue_configure },
    { "queue", "delete", "NAME", "delete one with everything in it", 1, 1,
      CLI_BIT(FLAG_FORCE) | CLI_BIT(FLAG_YES), cli_run_queue_delete },
    { "queue", "pause", "NAME", "stop delivery", 1, 1, 0, cli_run_queue_pause },
    { "queue", "resume", "NAME", "go on with delivery", 1, 1, 0, cli_run_queue_resume },
    { "queue", "purge", "NAME", "remove every message that waits", 1, 1, CLI_BIT(FLAG_YES),
      cli_run_queue_purge },
    { NULL, "enqueue", "QUEUE [JSON | -]",
      "put in a message, or one for each line of standard input", 1, 2, PUT | CLI_BIT(FLAG_BATCH),
      cli_run_enqueue },
    { NULL, "ls", "QUEUE", "list messages", 1, 1, PAGED | CLI_BIT(FLAG_STATE), cli_run_ls },
    { NULL, "show", "ID", "show a message, or a run with its steps", 1, 1, 0, cli_run_show },
    { NULL, "cancel", "ID ...", "ask for messages or runs to end", 1, MANY, 0, cli_run_cancel },
    { "dead", "ls", "QUEUE", "list dead letters", 1, 1, PAGED, cli_run_dead_ls },
    { "dead", "replay", "[ID ...]", "bring dead letters, and runs that failed, back to ready", 0,
      MANY, CLI_BIT(FLAG_QUEUE), cli_run_dead_replay },
    { "dead", "purge", "QUEUE", "remove dead letters for good", 1, 1,
      CLI_BIT(FLAG_LIMIT) | CLI_BIT(FLAG_YES), cli_run_dead_purge },
    { "run", "ls", "[WORKFLOW]", "list runs", 0, 1, PAGED | CLI_BIT(FLAG_STATUS), cli_run_run_ls },
    { "run", "show", "ID", "show a run with its steps", 1, 1, 0, cli_run_run_show },
    { "run", "cancel", "ID ...", "ask for runs to end", 1, MANY, 0, cli_run_run_cancel },
    { NULL, "trigger", "WORKFLOW [JSON]", "start a run", 1, 2, PUT, cli_run_trigger },
    { NULL, "workers", "", "list workers", 0, 0, 0, cli_run_workers },
    { "workers", "purge", "", "stop silent workers, and give back what they hold", 0, 0,
      CLI_BIT(FLAG_SILENT), cli_run_workers_purge },
    { NULL, "stats", "[QUEUE]", "count what is in the queues", 0, 1, 0, cli_run_stats },
    { NULL, "bench", "", "measure the library on this database, in a schema of its own", 0, 0,
      CLI_BIT(FLAG_QUICK) | CLI_BIT(FLAG_LARGE) | CLI_BIT(FLAG_ONLY) | CLI_BIT(FLAG_ROUNDS)
          | CLI_BIT(FLAG_SECONDS) | CLI_BIT(FLAG_SVG),
      cli_run_bench },
    { NULL, "version", "", "print the versions of program, library and database", 0, 0, 0,
      cli_run_version },
    { NULL, "help", "[COMMAND]", "explain the program, or a command", 0, 2, 0, cli_run_help },
};

const size_t cli_commands_count = CLI_COUNT(cli_commands);
