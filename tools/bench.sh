#!/bin/sh
# Run `PROGRAM bench` on the server that tools/with_postgres.sh gives, then on an SQLite file, and on one of Turso's.
#
#     tools/with_postgres.sh tools/bench.sh PROGRAM [OPTION ...]
set -eu
[ $# -gt 0 ] && [ -n "${PGQRS_TEST_PG:-}" ] || {
    echo 'usage: tools/with_postgres.sh tools/bench.sh PROGRAM [OPTION ...]' >&2
    exit 2
}
program=$1
shift
dir=$(mktemp -d "${TMPDIR:-/tmp}/pgqrs-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
"$program" bench --dsn "$PGQRS_TEST_PG" "$@"
echo
"$program" bench --dsn "sqlite://$dir/bench.db" "$@"
[ "${TURSO:-}" != off ] || exit 0
echo
"$program" bench --dsn "turso://$dir/turso.db" "$@"
