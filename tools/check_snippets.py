#!/usr/bin/env python3
"""Check that the C code on the pages is the code that the tests compile and run.

    check_snippets.py [ROOT]

Every ```c block of the pages listed below is found, line after line, in a file of examples/;
indentation is free, so that a piece of a function may stand at the margin. Exits with 1 and names the
first line that differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

PAGES = ("README.md", "docs/transactions.md")


def blocks(page: Path) -> Iterator[tuple[int, list[str]]]:
    """The C blocks of a page: the number of the first line, and the lines."""
    start = 0
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if start == 0 and line.strip() == "```c":
            start, lines = number + 1, []
        elif start != 0 and line.strip() == "```":
            yield start, lines
            start = 0
        elif start != 0:
            lines.append(line.strip())


def longest_match(block: list[str], source: list[str]) -> int:
    """How many lines of the block follow one another in the source, from its first on."""
    best = 0
    for at in range(len(source)):
        length = 0
        while (
            length < len(block)
            and at + length < len(source)
            and source[at + length] == block[length]
        ):
            length += 1
        best = max(best, length)
    return best


def main(argv: list[str]) -> int:
    root = Path(argv[1] if len(argv) > 1 else Path(__file__).parent.parent).resolve()
    sources = [
        [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted((root / "examples").glob("*.c"))
    ]
    problems = 0
    found = 0
    for name in PAGES:
        for start, block in blocks(root / name):
            found += 1
            matched = max((longest_match(block, source) for source in sources), default=0)
            if matched < len(block):
                print(f"{name}:{start + matched}: not in examples/: {block[matched]}", file=sys.stderr)
                problems += 1
    if found == 0:
        print("no C code found on any page", file=sys.stderr)
        return 1
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
