#!/usr/bin/env python3
"""Keep what the library exports equal to what the public headers declare.

    check_symbols.py --include include/pgqrs --write-map OUT    write the linker's version script
    check_symbols.py --include include/pgqrs --library LIB      compare the shared library with it

A public function is one declared with PGQRS_API in include/pgqrs/*.h; there is no other list.
The comparison exits with 1 and names the difference.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

NODE = "PGQRS_0"  # the version node; its number is the SOVERSION

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
DECLARATION = re.compile(r"\bPGQRS_API\b[^;{}]*?\b(pgqrs_\w+)\s*\(")


def declared(include: Path) -> set[str]:
    """The names of the public functions."""
    names: set[str] = set()
    for header in sorted(include.glob("*.h")):
        text = DIRECTIVE.sub("", COMMENT.sub(" ", header.read_text(encoding="utf-8")))
        names.update(DECLARATION.findall(text))
    return names


def exported(library: Path) -> set[str]:
    """The names that the shared library defines for others."""
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", "--extern-only", str(library)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    names = {line.split()[-1].split("@")[0] for line in listing.splitlines() if line.strip()}
    return names - {NODE}


def write_map(names: set[str], out: Path) -> None:
    lines = [f"{NODE} {{", "global:", *(f"    {name};" for name in sorted(names))]
    lines += ["local:", "    *;", "};", ""]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines), encoding="utf-8")


def compare(declarations: set[str], exports: set[str]) -> int:
    for name in sorted(declarations - exports):
        print(f"{name}: declared in a public header, but not in the library", file=sys.stderr)
    for name in sorted(exports - declarations):
        print(f"{name}: exported, but not declared in a public header", file=sys.stderr)
    return 0 if declarations == exports else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare exported symbols with public headers.")
    parser.add_argument("--include", type=Path, required=True, help="the folder of public headers")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write-map", type=Path, help="write the version script here")
    action.add_argument("--library", type=Path, help="the shared library to compare")
    args = parser.parse_args()

    names = declared(args.include)
    if not names:
        print(f"{args.include}: no PGQRS_API function found", file=sys.stderr)
        return 1
    if args.write_map is not None:
        write_map(names, args.write_map)
        return 0
    return compare(names, exported(args.library))


if __name__ == "__main__":
    sys.exit(main())
