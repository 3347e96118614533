#!/bin/sh
# Write tests/instructions/recorded.json anew, for the compiler of build/release.
#
#     tools/with_postgres.sh tools/record_instructions.sh
set -eu
cd "$(dirname "$0")/.."
PGQRS_TEST_COMPILER="GNU $(cc -dumpversion | cut -d. -f1)"
PGQRS_TEST_PROGRAM=build/release/bin/instructions_program
export PGQRS_TEST_COMPILER PGQRS_TEST_PROGRAM
for PGQRS_TEST_BACKEND in sqlite postgres; do
    export PGQRS_TEST_BACKEND
    python3 tests/instructions/test_instructions.py --record
done
