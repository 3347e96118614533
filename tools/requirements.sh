#!/usr/bin/env bash
# Install what building and testing need, if something is missing; silent when nothing is.
#
#     tools/requirements.sh          compiler, CMake, Python, libpq, SQLite, jansson, cmocka, a PostgreSQL server
#     tools/requirements.sh lint     and clang, clang-format 14, sanitizer runtimes, valgrind
#     tools/requirements.sh servers  and what tests of other servers and poolers need
#     tools/requirements.sh turso    and a Rust that builds Turso's engine; several may be named
#
# Installs on Debian and Ubuntu, as root or with passwordless sudo; elsewhere says what is missing and exits 1.
set -euo pipefail

missing=()

need() { # PACKAGE TEST...
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() {
    command -v "$1"
}

has_all() {
    local program
    for program; do
        command -v "$program" || return 1
    done
}

has_server() {
    local dir
    for dir in "${PGQRS_PG_BINDIR:-}" "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && return 0
    done
    return 1
}

has_file() {
    [ -e "$1" ]
}

has_python_header() {
    python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

has_pgbouncer() {
    PATH=$PATH:/usr/sbin command -v pgbouncer
}

asked() { # PART ARGUMENT...
    local part=$1 argument
    shift
    for argument; do
        [ "$argument" != "$part" ] || return 0
    done
    return 1
}

need build-essential has_all cc c++ make nm
need cmake has cmake
need ninja-build has ninja
need pkg-config has pkg-config
need python3 has python3
need python3-dev has_python_header
need python3-venv python3 -c 'import ensurepip, venv'
need libpq-dev pkg-config --exists libpq
need libsqlite3-dev pkg-config --exists sqlite3
need libjansson-dev pkg-config --exists jansson
need libcmocka-dev pkg-config --exists cmocka
need postgresql has_server
if asked lint "$@"; then
    need clang has_all clang clang++
    need clang-format-14 has clang-format-14
    # The runtimes of whatever clang is: the same package for 14, where clang says so.
    need libclang-rt-14-dev has_file "$(clang -print-file-name="libclang_rt.asan-$(uname -m).a" 2>/dev/null || true)"
    need valgrind has valgrind
fi
if asked servers "$@"; then
    need pgbouncer has_pgbouncer
    need npm has npm # gets the servers that Debian has not
fi
if asked turso "$@"; then
    need cargo-web "$(dirname "$0")/turso.sh" can-build # Debian's cargo is older
fi
"$(dirname "$0")/turso.sh" fetch
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null || ! ${as_root[@]+"${as_root[@]}"} true 2>/dev/null; then
    {
        echo "requirements: missing, by the names of their Debian packages:"
        printf '    %s\n' "${missing[@]}"
        echo "On Debian and Ubuntu: sudo apt-get install ${missing[*]}"
    } >&2
    exit 1
fi

# RUNLEVEL: what has a service (pgbouncer) does not start it.
as_root+=(env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 RUNLEVEL=1)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

run() {
    "${as_root[@]}" "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "requirements: could not install ${missing[*]}" >&2
        exit 1
    }
}

echo "requirements: installing ${missing[*]}"
run apt-get update -qq
if [[ " ${missing[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    # The tests bring their own cluster: the package shall not start one.
    run sh -c 'mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf'
fi
run apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
