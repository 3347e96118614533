#!/usr/bin/env bash
# Run a command with a private, temporary PostgreSQL server; nothing of it is left behind.
#
#     tools/with_postgres.sh CMD [ARG ...]
#
# The server listens on a Unix socket in its own directory, and nowhere else. CMD finds:
#     PGQRS_TEST_PG       DSN of an empty database
#     PGQRS_TEST_PG_BIN   the server's programs
#     PGQRS_TEST_PG_DATA  the data directory
#     PGQRS_TEST_PG_CTL   pg_ctl for this server, as the right user:  $PGQRS_TEST_PG_CTL restart -m immediate
# PGQRS_PG_FSYNC=off makes a server that waits for no disk: kills of processes do not need it to.
# PGQRS_PG_BINDIR chooses the server's version; otherwise pg_config's, or the newest one installed.
# Exits as CMD does.
set -euo pipefail

fail() {
    echo "with_postgres: $*" >&2
    exit 1
}

find_bindir() {
    local dir found=
    if [ -n "${PGQRS_PG_BINDIR:-}" ]; then
        found=$PGQRS_PG_BINDIR
    elif dir=$(pg_config --bindir 2>/dev/null) && [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
        found=$dir
    else
        while read -r dir; do
            [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && found=$dir
        done < <(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -V)
    fi
    [ -n "$found" ] && [ -x "$found/initdb" ] && [ -x "$found/pg_ctl" ] \
        || fail "no PostgreSQL server found; run tools/requirements.sh, or set PGQRS_PG_BINDIR"
    printf '%s\n' "$found"
}

[ $# -gt 0 ] || fail "usage: tools/with_postgres.sh CMD [ARG ...]"
bindir=$(find_bindir)

# The server refuses to run as root.
as_server=()
if [ "$(id -u)" -eq 0 ]; then
    server_user=postgres
    id "$server_user" >/dev/null 2>&1 || server_user=nobody
    if command -v runuser >/dev/null; then
        as_server=(runuser -u "$server_user" --)
    elif command -v setpriv >/dev/null; then
        as_server=(setpriv --reuid "$server_user" --regid "$(id -g "$server_user")" --clear-groups)
    else
        fail "running as root needs runuser or setpriv"
    fi
fi

# A socket's path is short, the DSN carries it, and the server's user must reach it.
base=${TMPDIR:-/tmp}
if [ ${#as_server[@]} -gt 0 ] || [ ${#base} -gt 60 ] || [[ ! $base =~ ^/[A-Za-z0-9/._-]*$ ]]; then
    base=/tmp
fi
dir=
cmd_pid=

server_pid() {
    local pid
    pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null) || return 1
    # CMD may have killed the server, and the number may be somebody else's by now.
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$dir/data" || return 1
    printf '%s\n' "$pid"
}

stop_server() {
    local pid signal
    for signal in INT QUIT KILL; do # fast, immediate, by force
        pid=$(server_pid) || return 0
        kill "-$signal" "$pid" 2>/dev/null || return 0
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || return 0
            sleep 0.05
        done
    done
}

cleanup() {
    trap '' INT TERM HUP
    if [ -n "$cmd_pid" ]; then
        kill -TERM -- "-$cmd_pid" 2>/dev/null || true
        wait "$cmd_pid" 2>/dev/null || true
    fi
    if [ -n "$dir" ]; then
        stop_server
        rm -rf "$dir"
    fi
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

dir=$(mktemp -d "$base/pgqrs-pg.XXXXXX")
[ ${#as_server[@]} -eq 0 ] || chown "$server_user" "$dir"
cd "$dir" # somewhere that the server's user may be
unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGOPTIONS PGSSLMODE PGDATA

"${as_server[@]}" "$bindir/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync \
    >"$dir/initdb.log" 2>&1 || {
    cat "$dir/initdb.log" >&2
    fail "initdb failed"
}
# In the file and not on the command line, so that a restart keeps them.
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
port = 5432
max_connections = 200
fsync = ${PGQRS_PG_FSYNC:-on}
CONF
{
    echo '#!/bin/sh'
    printf 'cd %q && exec' "$dir"
    printf ' %q' ${as_server[@]+"${as_server[@]}"} "$bindir/pg_ctl" -D "$dir/data" -l "$dir/server.log" -s -w -t 60
    echo ' "$@"'
} >"$dir/ctl"
chmod 755 "$dir/ctl"
"$dir/ctl" start || {
    cat "$dir/server.log" >&2
    fail "the server did not start"
}

export PGQRS_TEST_PG="postgresql:///postgres?host=$dir&user=postgres"
export PGQRS_TEST_PG_BIN=$bindir
export PGQRS_TEST_PG_DATA=$dir/data
export PGQRS_TEST_PG_CTL=$dir/ctl

# In the background, so that a signal to this script is acted on at once; with job control, so that CMD
# is a process group of its own, and signals work in it as usual.
cd "$OLDPWD"
set -m
"$@" <&0 &
cmd_pid=$!
set +m
status=0
wait "$cmd_pid" || status=$?
cmd_pid=
exit "$status"
