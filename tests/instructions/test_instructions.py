"""Instructions that this library executes for an operation, against recorded numbers.

    test_instructions.py            compare: fails when an operation takes 10 % more than recorded
    test_instructions.py --record   write recorded.json anew

Counted by callgrind in libpgqrs.so alone: not in libpq, SQLite, libc or the database. A program does the
operation a few times and, in another process, more often; the difference is the operation. The numbers
hold for one compiler and kind of machine; on another one there is nothing to compare.

PGQRS_TEST_PROGRAM is the program, PGQRS_TEST_COMPILER what compiled it; PGQRS_TEST_BACKEND and
PGQRS_TEST_PG as everywhere. Without valgrind, or a server, it exits with 77.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded.json"
PROGRAM = os.environ.get("PGQRS_TEST_PROGRAM", "build/release/bin/instructions_program")
BACKEND = os.environ.get("PGQRS_TEST_BACKEND", "sqlite")
WHERE = f"{os.environ.get('PGQRS_TEST_COMPILER', '?')}, {platform.machine()}"
GROWTH = 1.10
SECONDS = 280

# What is done, how often in the two processes, and how many operations each time is.
OPERATIONS = {
    "enqueue": ("enqueue", 50, 250, 1),
    "claim and finish, by 100": ("drain", 5, 25, 100),
    "step, 64 runs": ("steps", 4, 20, 64),
}

NAMED = re.compile(r"(c?ob|c?fn)=\((\d+)\)(?: (.*))?$")


def skip(why: str) -> None:
    print(f"NOT COUNTED: {why}", file=sys.stderr)
    sys.exit(77)


def self_costs(path: Path) -> Counter[str]:
    """Instructions in each function of libpgqrs, of a callgrind.out file."""
    names: dict[tuple[str, str], str] = {}
    costs: Counter[str] = Counter()
    current = {"ob": "", "fn": ""}
    inclusive = False  # the line after calls= is what the callee took
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := NAMED.match(line):
            kind, number, name = match[1], match[2], match[3]
            key = (kind[-2:], number)
            if name is not None:
                names[key] = name
            if not kind.startswith("c"):
                current[kind] = names[key]
        elif line.startswith("calls="):
            inclusive = True
        elif line[:1] in "0123456789+-*" and line:
            if not inclusive and "libpgqrs" in current["ob"]:
                costs[current["fn"]] += int(line.split()[1])
            inclusive = False
    return costs


class Store:
    """A database of its own, that is filled without being counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if BACKEND == "postgres":
            server = os.environ["PGQRS_TEST_PG"]
            self.dsn = os.environ.get("PGQRS_TEST_PG_DIRECT", server)  # no pooler in between
            self.schema = f"instructions_{os.getpid()}"
            self.psql(f"CREATE SCHEMA {self.schema}")
        else:
            self.dsn, self.schema = f"sqlite://{folder}/store.db", "-"
        self.run("prepare")

    def psql(self, sql: str) -> None:
        psql = Path(os.environ["PGQRS_TEST_PG_BIN"]) / "psql"
        subprocess.run([psql, "-XqAtc", sql, self.dsn], check=True, timeout=SECONDS)

    def run(self, what: str, count: int = 0, under: tuple[str, ...] = ()) -> None:
        command = [*under, PROGRAM, self.dsn, self.schema, what, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}:\n{done.stderr}")

    def count(self, what: str, count: int) -> Counter[str]:
        out = self.folder / f"{what}.{count}"
        self.run(what, count, ("valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}"))
        return self_costs(out)

    def close(self) -> None:
        if BACKEND == "postgres":
            self.psql(f"SET client_min_messages = warning; DROP SCHEMA {self.schema} CASCADE")


def measure(store: Store) -> tuple[dict[str, float], dict[str, Counter[str]]]:
    """Instructions of each operation; and of the difference, by function."""
    result, parts = {}, {}
    for name, (what, few, many, size) in OPERATIONS.items():
        less, more = store.count(what, few), store.count(what, many)
        more.subtract(less)
        parts[name] = more
        result[name] = round(sum(more.values()) / ((many - few) * size), 1)
    return result, parts


def read() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}


def compare(found: dict[str, float], parts: dict[str, Counter[str]]) -> int:
    recorded = read().get(WHERE, {}).get(BACKEND)
    worse = 0
    for name, number in found.items():
        before = recorded[name] if recorded else None
        print(f"{BACKEND}: {name}: {number:.0f} instructions" + (f", recorded {before:.0f}" if before else ""))
        if before and number > before * GROWTH:
            worse += 1
            print(f"  that is {number / before:.2f} times as many; where they are, in a hundred:")
            for function, cost in parts[name].most_common(12):
                print(f"  {100 * cost / parts[name].total():5.1f}  {function}")
        elif before and number < before / GROWTH:
            print("  that is less: make instructions-record keeps it so")
    if recorded is None:
        skip(f"nothing is recorded for {WHERE} on {BACKEND}: make instructions-record does")
    return 1 if worse else 0


def main() -> int:
    if shutil.which("valgrind") is None:
        skip("there is no valgrind")
    if BACKEND == "postgres" and "PGQRS_TEST_PG" not in os.environ:
        skip("PGQRS_TEST_PG does not say where a server is")
    with tempfile.TemporaryDirectory(prefix="pgqrs_instructions_") as folder:
        store = Store(Path(folder))
        try:
            found, parts = measure(store)
        finally:
            store.close()
    if sys.argv[1:] != ["--record"]:
        return compare(found, parts)
    everything = read()
    everything.setdefault(WHERE, {})[BACKEND] = found
    RECORDED.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
