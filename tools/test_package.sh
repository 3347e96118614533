#!/usr/bin/env bash
# Check what `make install` leaves, as a packager and as a user would.
#
#     tools/test_package.sh [BUILD]     BUILD: a configured and built folder, build/release
#
# Installs under a DESTDIR and under a prefix that is moved afterwards; compares the files with the
# list below; builds tests/package by pkg-config and by find_package(pgqrs), as C and as C++, on the
# shared and on the static library; runs each on SQLite, on Turso when its engine is built, and on
# PGQRS_TEST_PG when that is set.
# Everything happens in a temporary folder.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$root/build/release}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/pgqrs-package.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
    echo "test_package: $*" >&2
    exit 1
}

cached() { # NAME: a value of the build's configuration
    sed -n "s/^$1:[^=]*=//p" "$build/CMakeCache.txt"
}

version=$(sed -n 's/^#define PGQRS_VERSION "\(.*\)"$/\1/p' "$root/include/pgqrs/pgqrs.h")
major=${version%%.*}
libdir=$(cached CMAKE_INSTALL_LIBDIR)
includedir=$(cached CMAKE_INSTALL_INCLUDEDIR)
[ -n "$version" ] && [ -n "$libdir" ] && [ -n "$includedir" ] || fail "$build is not a build of pgqrs"

# --- A DESTDIR: the prefix is what was configured, and nothing else is touched -----------------------

DESTDIR=$work/stage cmake --install "$build" --prefix /usr >"$work/install.log" \
    || { cat "$work/install.log"; fail "cmake --install failed"; }
stage=$work/stage/usr
[ "$(ls "$work/stage")" = usr ] || fail "files outside of the prefix: $(ls "$work/stage")"

(cd "$stage" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort) >"$work/found"
{
    for header in "$root"/include/pgqrs/*.h; do
        echo "$includedir/pgqrs/$(basename "$header")"
    done
    echo "$libdir/libpgqrs.a"
    echo "$libdir/libpgqrs.so"
    echo "$libdir/libpgqrs.so.$major"
    echo "$libdir/libpgqrs.so.$version"
    [ "$(cached PGQRS_TURSO)" != ON ] || [ ! -e "$build/libpgqrs_turso.so" ] || echo "$libdir/libpgqrs_turso.so"
    echo "$libdir/pkgconfig/pgqrs.pc"
    echo "$libdir/pkgconfig/pgqrs-static.pc"
    echo "$libdir/cmake/pgqrs/pgqrs-config.cmake"
    echo "$libdir/cmake/pgqrs/pgqrs-config-version.cmake"
    echo "$libdir/cmake/pgqrs/pgqrs-targets.cmake"
    echo "$libdir/cmake/pgqrs/pgqrs-targets-$(cached CMAKE_BUILD_TYPE | tr '[:upper:]' '[:lower:]').cmake"
    [ ! -e "$root/docs/man/libpgqrs.3" ] || echo share/man/man3/libpgqrs.3
    if [ "$(cached PGQRS_CLI)" = ON ]; then
        echo bin/pgqrs
        echo share/man/man1/pgqrs.1
        echo share/bash-completion/completions/pgqrs
        echo share/zsh/site-functions/_pgqrs
    fi
} | LC_ALL=C sort -u >"$work/expected"
diff -u "$work/expected" "$work/found" || fail "not the files that are to be installed"

[ "$(readlink "$stage/$libdir/libpgqrs.so")" = "libpgqrs.so.$major" ] \
    && [ "$(readlink "$stage/$libdir/libpgqrs.so.$major")" = "libpgqrs.so.$version" ] \
    || fail "the links to the shared library are not what they should be"
soname=$(objdump -p "$stage/$libdir/libpgqrs.so" | sed -n 's/^ *SONAME *//p')
[ "$soname" = "libpgqrs.so.$major" ] || fail "the shared library's soname is \"$soname\""
python3 "$root/tools/check_symbols.py" --include "$stage/$includedir/pgqrs" \
    --library "$stage/$libdir/libpgqrs.so"
if grep -rlE "$root|$build" "$stage" --include='*.pc' --include='*.cmake' --include='*.h'; then
    fail "the files above name the folder they were built in"
fi
if grep -rnE '#[ \t]*include[ \t]*"' "$stage/$includedir/pgqrs"; then
    fail "an installed header includes one that is not installed"
fi

# --- A prefix that is moved: a package is unpacked where its user wants it -----------------------------

cmake --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/moved"
prefix=$work/moved
export PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
[ "$(pkg-config --modversion pgqrs)" = "$version" ] || fail "pgqrs.pc has another version than $version"

programs=()
strict=(-Wall -Wextra -pedantic -Werror)
for how in c_shared c_static cxx_shared cxx_static; do
    compiler=(cc -std=c99 "${strict[@]}" -x c)
    [ "${how%_*}" = c ] || compiler=(c++ -std=c++11 "${strict[@]}" -x c++)
    out=$work/$how
    read -ra cflags < <(pkg-config --cflags pgqrs)
    if [ "${how#*_}" = static ]; then
        read -ra libs < <(pkg-config --libs pgqrs-static)
    else
        read -ra libs < <(pkg-config --libs pgqrs)
        libs+=("-Wl,-rpath,$prefix/$libdir")
    fi
    "${compiler[@]}" "${cflags[@]}" "$root/tests/package/program.c" -x none -o "$out" "${libs[@]}" \
        || fail "could not build $how by pkg-config"
    programs+=("$out")
done

cmake -S "$root/tests/package" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" >"$work/cmake.log" 2>&1 \
    && cmake --build "$work/cmake" >>"$work/cmake.log" 2>&1 \
    || { cat "$work/cmake.log"; fail "could not build by find_package(pgqrs)"; }
for name in c_pgqrs c_pgqrs_static cxx_pgqrs cxx_pgqrs_static; do
    programs+=("$work/cmake/$name")
done

dsns=()
[ "$(cached PGQRS_SQLITE)" != ON ] || dsns+=("sqlite://$work/store.db")
[ ! -e "$prefix/$libdir/libpgqrs_turso.so" ] || dsns+=("turso://$work/turso.db")
if [ "$(cached PGQRS_POSTGRES)" = ON ] && [ -n "${PGQRS_TEST_PG:-}" ]; then
    dsns+=("$PGQRS_TEST_PG")
fi
unset PGQRS_TURSO_LIBRARY # it is found beside the shared library, or where the system looks
for program in "${programs[@]}"; do
    path=
    needs=$(objdump -p "$program" | grep -c 'NEEDED.*libpgqrs' || true)
    case $program in
    *static)
        [ "$needs" = 0 ] || fail "$program needs the shared library"
        path=$prefix/$libdir
        ;;
    *) [ "$needs" = 1 ] || fail "$program does not use the shared library" ;;
    esac
    for dsn in "${dsns[@]}"; do
        LD_LIBRARY_PATH=$path "$program" "$dsn" >"$work/said" || fail "$program failed on ${dsn%%:*}"
        grep -q "^pgqrs $version: message [0-9]* done$" "$work/said" || fail "$program said: $(cat "$work/said")"
    done
done
echo "package: $(wc -l <"$work/found") files, ${#programs[@]} programs, ${#dsns[@]} databases: all as they should be"
