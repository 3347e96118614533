#!/bin/sh
# A workflow that is killed in the middle and goes on: what `make demo` shows, and checks.
#
#     tools/demo.sh [DSN]      the store: a fresh SQLite file, or postgresql://…, turso:///new/file
#
#     FOLDER           the folder to archive (sql/postgres)
#     ARCHIVE_FILES    the program of examples/archive_files.c
#
# Exits with 1 when anything is not as promised.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
program=${ARCHIVE_FILES:-$root/build/release/examples/archive_files}
folder=$(cd "${FOLDER:-$root/sql/postgres}" && pwd)
held=4 # the step, counted in the first worker, in which it is killed

work=$(mktemp -d "${TMPDIR:-/tmp}/pgqrs-demo.XXXXXX")
worker=
cleanup() {
    [ -z "$worker" ] || kill -9 "$worker" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

PGQRS_DSN=${1:-sqlite://$work/demo.db}
ARCHIVE_FILES_LOG=$work/executed
export PGQRS_DSN ARCHIVE_FILES_LOG
archive=$work/archive.tar.gz
tab=$(printf '\t')

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') red=$(printf '\033[31m')
    green=$(printf '\033[32m') yellow=$(printf '\033[33m') plain=$(printf '\033[0m')
else
    bold='' dim='' red='' green='' yellow='' plain=''
fi

fail() {
    printf '%sNOT AS PROMISED: %s%s\n' "$red" "$*" "$plain" >&2
    [ ! -s "$work/errors" ] || cat "$work/errors" >&2
    exit 1
}

title() {
    printf '\n%s%s%s  %s%s%s\n' "$bold" "$1" "$plain" "$dim" "$2" "$plain"
}

line() { # colour mark step what
    printf '   %s%s %-28s%s %s%s%s\n' "$1" "$2" "$3" "$plain" "$dim" "$4" "$plain"
}

recorded() {
    "$program" show "$run" | awk -F '\t' '$1 == "step" { print $2 }'
}

status() {
    "$program" show "$run" | awk -F '\t' '$1 == "run" { print $3 }'
}

executions() { # of step $1, by worker $2
    awk -F '\t' -v step="$1" -v pid="$2" '$1 == pid && $2 == step { n++ } END { print n + 0 }' "$work/executed"
}

wait_until() { # 20 s for a command to succeed
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 400 ] || return 1
        sleep 0.05
    done
}

has_executed() { # so many steps, of all workers
    [ -f "$work/executed" ] && [ "$(wc -l <"$work/executed")" -ge "$1" ]
}

stop() { # the worker, which first ends what it has in hand
    kill -TERM "$worker"
    wait "$worker" || fail "the second worker did not stop gracefully"
    worker=
}

[ -x "$program" ] || fail "$program is not built; run make demo"
: >"$work/errors"

shown=$PGQRS_DSN
case $shown in
*@*) shown=${shown%%://*}://…@${shown##*@} ;; # no password on the screen
esac
printf '%sA workflow, killed with kill -9 in the middle%s\n' "$bold" "$plain"
printf '%s   store   %s\n   folder  %s%s\n' "$dim" "$shown" "$folder" "$plain"

title "1. Start a run" "archive_files start $folder …"
run=$("$program" start "$folder" "$archive") || fail "the run could not be started"
printf '   run %s\n' "$run"

title "2. A worker executes it, and is killed" "archive_files work"
ARCHIVE_FILES_HOLD=$held "$program" work 2>>"$work/errors" &
worker=$! first=$!
wait_until has_executed "$held" || fail "the worker did not come to step $held"
kill -9 "$worker"
wait "$worker" 2>/dev/null || [ $? -eq 137 ] || fail "the worker was not killed"
worker=
recorded >"$work/before"
in_flight=$(awk -F '\t' -v n="$held" 'NR == n { print $2 }' "$work/executed")
while IFS= read -r step; do
    line "$green" + "$step" "executed and recorded by process $first"
done <"$work/before"
line "$red" x "$in_flight" "executed by process $first, killed before it was recorded"

[ "$(wc -l <"$work/before")" -eq $((held - 1)) ] || fail "$((held - 1)) steps should be recorded"
! grep -qxF "$in_flight" "$work/before" || fail "the step in flight is recorded"
[ "$(status)" = running ] || fail "the run is $(status), not running"

title "3. Another worker goes on" "archive_files work"
"$program" work 2>>"$work/errors" &
worker=$! second=$!
files=$(find "$folder" -maxdepth 1 -type f | wc -l)
case $PGQRS_DSN in
turso:*) # one process at a time has the file: nobody waits beside the worker
    wait_until has_executed $((files + 4)) || fail "the second worker did not execute every step"
    stop
    ;;
esac
ended=$("$program" wait "$run" 2>>"$work/errors") || fail "the run did not end"
[ -z "$worker" ] || stop
recorded >"$work/after"
[ "$second" != "$first" ] || fail "the second worker is the first"
while IFS= read -r step; do
    if grep -qxF "$step" "$work/before"; then
        line "$dim" = "$step" "replayed: its recorded result was handed out"
        [ "$(executions "$step" "$first")" -eq 1 ] || fail "$step: not executed once by $first"
        [ "$(executions "$step" "$second")" -eq 0 ] || fail "$step: recorded, and executed again"
    elif [ "$step" = "$in_flight" ]; then
        line "$yellow" + "$step" "executed again by process $second, now recorded"
        [ "$(executions "$step" "$first")" -eq 1 ] || fail "$step: not executed by $first"
        [ "$(executions "$step" "$second")" -eq 1 ] || fail "$step: not executed once by $second"
    else
        line "$green" + "$step" "executed and recorded by process $second"
        [ "$(executions "$step" "$first")" -eq 0 ] || fail "$step: executed by $first"
        [ "$(executions "$step" "$second")" -eq 1 ] || fail "$step: not executed once by $second"
    fi
done <"$work/after"

title "4. The run has ended: ${ended%%"$tab"*}" "archive_files show $run"
output=${ended#*"$tab"}
printf '   %s\n' "$output"

# What was promised, checked.
[ "${ended%%"$tab"*}" = success ] || fail "the run ended as ${ended%%"$tab"*}"
[ -z "$(sort "$work/after" | uniq -d)" ] || fail "a step is recorded twice"
steps=$(wc -l <"$work/after")
[ "$steps" -eq $((files + 3)) ] || fail "$steps steps for $files files"
[ "$(tar -tzf "$archive" | wc -l)" -eq "$files" ] || fail "the archive has not $files files"
bytes=$(wc -c <"$archive")
case $output in
*"\"files\":$((files)),\"bytes\":$((bytes))}"*) ;;
*) fail "the output does not tell the archive's $files files and $bytes bytes" ;;
esac

printf '\n%sAs promised%s: %d steps, each recorded exactly once; %d were not executed again.\n' \
    "$green" "$plain" "$steps" "$((held - 1))"
printf 'The step that was in flight ran twice: its first result never reached the database.\n'
