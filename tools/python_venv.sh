#!/usr/bin/env bash
# Install the Python package, as it is here, into a virtual environment, with what its tests need.
#
#     tools/python_venv.sh VENV BUILD_DIR
#
# PYTHON is the interpreter; VENV is made once, and BUILD_DIR is built in again and again.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
build=$2
needs="cffi scikit-build-core pytest hypothesis mypy pydantic typing_extensions uvloop psycopg[binary] pyturso>=0.8.3,<0.9"

if [ "$(cat "$venv/needs" 2>/dev/null)" != "$needs" ]; then
    rm -rf "$venv" "$build"
    "${PYTHON:-python3}" -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet --disable-pip-version-check $needs
    echo "$needs" >"$venv/needs"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall \
    --config-settings=build-dir="$build" --config-settings=cmake.define.PGQRS_WERROR=ON .
