#!/usr/bin/env bash
# The Python package and the same work in C, one after the other, three times, on the same database.
#
#     tools/with_postgres.sh bench/python/run.sh PYTHON [SECONDS]
#
# PYTHON has the package and psycopg installed. Needs build/release.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
seconds=${2:-3}
twin=$(mktemp)
trap 'rm -f "$twin"' EXIT
cc -O2 -Iinclude bench/python/twin.c -o "$twin" -Lbuild/release -lpgqrs "-Wl,-rpath,$PWD/build/release"
for turn in 1 2 3; do
    echo "Python, $turn"
    "$python" bench/python/bench.py "$PGQRS_TEST_PG" --seconds "$seconds"
    echo "C, $turn"
    psql "$PGQRS_TEST_PG" -qc "CREATE SCHEMA pgqrs_bench_twin"
    "$twin" "$PGQRS_TEST_PG" pgqrs_bench_twin "$seconds"
    psql "$PGQRS_TEST_PG" -qc "SET client_min_messages = warning; DROP SCHEMA pgqrs_bench_twin CASCADE"
done
