#!/usr/bin/env bash
# Run a command with a PgBouncer in transaction mode before the server of tools/with_postgres.sh.
#
#     tools/with_postgres.sh tools/with_pgbouncer.sh [--drop-options] CMD [ARG ...]
#
# CMD finds in PGQRS_TEST_PG the DSN of the pooler, and the server's own in PGQRS_TEST_PG_DIRECT. The
# pooler listens on a Unix socket in its own directory, and nowhere else; nothing of it is left behind.
# It refuses the startup parameter "options", as PgBouncer does unless it is told to ignore it;
# --drop-options tells it to: then what is asked for there is silently not done. Exits as CMD does.
set -euo pipefail

fail() {
    echo "with_pgbouncer: $*" >&2
    exit 1
}

ignored=extra_float_digits
if [ "${1:-}" = --drop-options ]; then
    ignored=extra_float_digits,options
    shift
fi
[ $# -gt 0 ] || fail "usage: tools/with_pgbouncer.sh [--drop-options] CMD [ARG ...]"
[ -n "${PGQRS_TEST_PG_DATA:-}" ] || fail "there is no server: run it under tools/with_postgres.sh"
program=$(PATH=$PATH:/usr/sbin command -v pgbouncer) || fail "pgbouncer is not installed; run tools/requirements.sh"
server=$(dirname "$PGQRS_TEST_PG_DATA")

# It refuses to run as root.
as_pooler=()
if [ "$(id -u)" -eq 0 ]; then
    user=$(stat -c %U "$PGQRS_TEST_PG_DATA")
    if command -v runuser >/dev/null; then
        as_pooler=(runuser -u "$user" --)
    else
        as_pooler=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups)
    fi
fi

dir=
pid=
cmd_pid=

cleanup() {
    trap '' INT TERM HUP
    if [ -n "$cmd_pid" ]; then
        kill -TERM -- "-$cmd_pid" 2>/dev/null || true
        wait "$cmd_pid" 2>/dev/null || true
    fi
    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null || true # at once; INT would wait for the clients
        wait "$pid" 2>/dev/null || true
    fi
    [ -z "$dir" ] || rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

dir=$(mktemp -d "${server%/*}/pgqrs-pool.XXXXXX")
[ ${#as_pooler[@]} -eq 0 ] || chown "$user" "$dir"
cat >"$dir/pgbouncer.ini" <<CONF
[databases]
* = host=$server port=5432 user=postgres

[pgbouncer]
listen_addr =
unix_socket_dir = $dir
listen_port = 6432
auth_type = any
pool_mode = transaction
ignore_startup_parameters = $ignored
max_client_conn = 1000
default_pool_size = 60
server_login_retry = 1
logfile = $dir/log
CONF
if [ ${#as_pooler[@]} -gt 0 ]; then
    "${as_pooler[@]}" "$program" -q "$dir/pgbouncer.ini" </dev/null >"$dir/out" 2>&1 &
else
    "$program" -q "$dir/pgbouncer.ini" </dev/null >"$dir/out" 2>&1 &
fi
pid=$!
for _ in $(seq 200); do
    [ ! -S "$dir/.s.PGSQL.6432" ] || break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
done
[ -S "$dir/.s.PGSQL.6432" ] || {
    cat "$dir/out" "$dir/log" >&2 2>/dev/null || true
    fail "the pooler did not start"
}

export PGQRS_TEST_PG_DIRECT=$PGQRS_TEST_PG
export PGQRS_TEST_PG="postgresql:///postgres?host=$dir&port=6432&user=postgres"

set -m
"$@" <&0 &
cmd_pid=$!
set +m
status=0
wait "$cmd_pid" || status=$?
cmd_pid=
exit "$status"
