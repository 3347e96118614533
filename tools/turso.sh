#!/usr/bin/env bash
# Build Turso's engine, turso/target/release/libpgqrs_turso.so, and put it beside libpgqrs.
#
#     tools/turso.sh build [FOLDER]      fails when it cannot (make turso)
#     tools/turso.sh try [FOLDER]        one loud line when it cannot, and success (make build)
#     tools/turso.sh fetch               download what it needs, if there is a Rust that can; never fails
#     tools/turso.sh tested              one loud line when there was none to test with; never fails
#     tools/turso.sh can-build           whether it is there, or there is a Rust that can build it
#
# Needs Rust 1.88 or later, and nothing else but a C compiler. The first time takes minutes. TURSO=off
# leaves it out.
set -euo pipefail
cd "$(dirname "$0")/.."

library=turso/target/release/libpgqrs_turso.so
how="install Rust 1.88 or later (https://rustup.rs) and run: make turso"

loud() {
    echo "*** Turso: $* ***" >&2
}

is_built() {
    [ -e "$library" ] && [ ! turso/Cargo.lock -nt "$library" ] && [ ! turso/Cargo.toml -nt "$library" ]
}

has_rust() {
    local version major minor
    version=$(rustc --version 2>/dev/null) && command -v cargo >/dev/null || return 1
    [[ $version =~ ([0-9]+)\.([0-9]+) ]] || return 1
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    [ "$major" -gt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -ge 88 ]; }
}

build() {
    if ! is_built; then
        if ! has_rust; then
            loud "not built: $how"
            return 1
        fi
        echo "Turso: building the engine; the first time takes some minutes"
        if ! cargo build --release --locked --quiet --manifest-path turso/Cargo.toml; then
            loud "the engine could not be built: see above, or leave it out with TURSO=off"
            return 1
        fi
        touch "$library" # cargo leaves it as it is when nothing in it changed
    fi
    # In one move: somebody may have the old one loaded.
    if [ -n "${1:-}" ] && { [ ! -e "$1/libpgqrs_turso.so" ] || [ "$library" -nt "$1/libpgqrs_turso.so" ]; }; then
        cp "$library" "$1/libpgqrs_turso.so.new"
        mv "$1/libpgqrs_turso.so.new" "$1/libpgqrs_turso.so"
    fi
}

case "${1:-}" in
build)
    build "${2:-}"
    ;;
try)
    [ "${TURSO:-}" = off ] || build "${2:-}" || true
    ;;
fetch)
    if [ "${TURSO:-}" != off ] && ! is_built && has_rust; then
        cargo fetch --locked --quiet --manifest-path turso/Cargo.toml || true
    fi
    ;;
tested)
    [ -e "$library" ] || loud "NOT TESTED: there is no engine; $how"
    ;;
can-build)
    is_built || has_rust
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
