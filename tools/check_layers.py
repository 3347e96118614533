#!/usr/bin/env python3
"""Check over the #include lines that every layer sees only what it may.

    check_layers.py [ROOT]

    src/util/            util, public headers
    src/backend/         the above, the headers that backends share (src/backend/*.h), generated
                         tables; backends.c alone sees every backend
    src/backend/NAME/    the above, and its own folder
    src/core/            util, backend.h, generated tables, core, public headers
    cli/ examples/ python/   public headers, and their own folder; cli/ bench/bench.h, too
    bench/               public headers, its own folder, generated tables

libpq and SQLite are for their backends, and for the programs of users. Exits with 1 and names the
lines that break the rule.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')
GENERATED = {"statements.h", "migrations.h"}
DATABASES = {"libpq-fe.h": "postgres", "sqlite3.h": "sqlite"}
USERS = ("bench", "cli", "examples", "python")
BACKEND_H = "src/backend/backend.h"
REGISTRY = "src/backend/backends.c"


def sources(root: Path) -> Iterator[Path]:
    for folder in ("src", *USERS):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".c", ".h") and "build" not in path.parts:
                yield path


def resolve(root: Path, source: Path, name: str) -> str | None:
    """Where a quoted name leads, relative to the root; GENERATED names stay as they are."""
    for base in (source.parent, root / "src", root / "include", root):
        if (base / name).is_file():
            return (base / name).resolve().relative_to(root).as_posix()
    return name if name in GENERATED else None


def allowed(root: Path, layer: tuple[str, ...]) -> tuple[str, ...]:
    """Prefixes of the paths that a file of this layer may include."""
    if layer[0] in USERS:
        beside = {"cli": ("bench/bench.h",), "bench": tuple(GENERATED)}
        return (f"{layer[0]}/", "include/", *beside.get(layer[0], ()))
    if layer[1] == "util":
        return ("src/util/", "include/")
    shared = ("src/util/", "include/", BACKEND_H, *sorted(GENERATED))
    if layer[1] == "core":
        return (*shared, "src/core/")
    shared += tuple(f"src/backend/{header.name}" for header in (root / "src/backend").glob("*.h"))
    if len(layer) > 2:
        return (*shared, f"src/backend/{layer[2]}/")
    return shared


def check(root: Path, source: Path) -> Iterator[str]:
    path = source.relative_to(root).as_posix()
    layer = Path(path).parts[:-1]
    if layer[0] == "src" and layer[1:2] not in (("util",), ("core",), ("backend",)):
        yield f"{path}:1: belongs to no layer"
        return
    prefixes = allowed(root, layer)
    if path == REGISTRY:
        prefixes += ("src/backend/",)
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        match = INCLUDE.match(line)
        if match is None:
            continue
        quote, name = match.groups()
        if quote == "<":
            owner = DATABASES.get(name)
            mine = layer[0] in USERS or layer[1:] == ("backend", owner)
            if owner is not None and not mine:
                yield f"{path}:{number}: {name} is for src/backend/{owner}/ alone"
            continue
        target = resolve(root, source, name)
        if target is None:
            yield f"{path}:{number}: {name} is not in this repository"
        elif not target.startswith(prefixes):
            yield f"{path}:{number}: {'/'.join(layer)} must not see {target}"


def main() -> int:
    root = (Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    broken = [problem for source in sources(root) for problem in check(root, source)]
    for problem in broken:
        print(problem, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
