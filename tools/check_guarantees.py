#!/usr/bin/env python3
"""Compare docs/guarantees.md with the tests and with whoever refers to a guarantee.

    check_guarantees.py [ROOT]

    **G-nn** sentence        in docs/guarantees.md, once for each number
    - `case`                 below it, at least one: a test function in tests/

A case whose name begins with gNN_ is listed under G-NN, and nowhere else; every such case in tests/
is listed. A number that include/, src/, sql/ or docs/ mention is defined. Exits with 1 and names what
does not fit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

GUARANTEE = re.compile(r"\*\*G-(\d\d)\*\* \S")
CASE = re.compile(r"- `(\w+)`$")
C_TEST = re.compile(r"^static void (\w+)\(void \*\*\w+\)$", re.MULTILINE)
PYTHON_TEST = re.compile(r"^ *(?:async )?def test_(\w+)\(", re.MULTILINE)
NUMBERED = re.compile(r"g(\d\d)_")
MENTION = re.compile(r"\bG-(\d\d)\b")
PAGE = "docs/guarantees.md"


def files(root: Path, folders: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file() and "build" not in path.parts:
                yield path


def test_functions(root: Path) -> dict[str, str]:
    """Each test function, by name, and where it is."""
    found: dict[str, str] = {}
    for path in files(root, ("tests", "python"), (".c", ".py")):
        pattern = C_TEST if path.suffix == ".c" else PYTHON_TEST
        text = path.read_text(encoding="utf-8")
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start(1)) + 1
            found[match[1]] = f"{path.relative_to(root).as_posix()}:{line}"
    return found


def read_page(page: Path, problems: list[str]) -> dict[str, list[str]]:
    """The cases that each guarantee names, by its number."""
    promised: dict[str, list[str]] = {}
    current = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        place = f"{PAGE}:{number}"
        if match := GUARANTEE.match(line):
            current = match[1]
            if current in promised:
                problems.append(f"{place}: G-{current} is defined twice")
            promised.setdefault(current, [])
        elif match := CASE.match(line):
            if current is None:
                problems.append(f"{place}: a case without a guarantee")
            elif match[1] in promised[current]:
                problems.append(f"{place}: {match[1]} is listed twice under G-{current}")
            else:
                promised[current].append(match[1])
    return promised


def compare(promised: dict[str, list[str]], tests: dict[str, str]) -> Iterator[str]:
    for guarantee, cases in promised.items():
        if not cases:
            yield f"{PAGE}: G-{guarantee} names no case"
        for case in cases:
            number = NUMBERED.match(case)
            if case not in tests:
                yield f"{PAGE}: G-{guarantee} names {case}, which is not in tests/"
            elif number and number[1] != guarantee:
                yield f"{PAGE}: G-{guarantee} names {case}, which is of another number"
    for case, place in tests.items():
        number = NUMBERED.match(case)
        if number and number[1] not in promised:
            yield f"{place}: {case} is of G-{number[1]}, which {PAGE} does not define"
        elif number and case not in promised[number[1]]:
            yield f"{place}: {case} is not listed in {PAGE}"


def mentions(root: Path, promised: dict[str, list[str]]) -> Iterator[str]:
    folders = ("include", "src", "sql", "docs")
    for path in files(root, folders, (".c", ".h", ".sql", ".md")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in MENTION.finditer(line):
                if match[1] not in promised:
                    place = f"{path.relative_to(root).as_posix()}:{number}"
                    yield f"{place}: G-{match[1]} is not defined in {PAGE}"


def main(argv: list[str]) -> int:
    root = Path(argv[1] if len(argv) > 1 else Path(__file__).parent.parent).resolve()
    problems: list[str] = []
    promised = read_page(root / PAGE, problems)
    tests = test_functions(root)
    problems += compare(promised, tests)
    problems += mentions(root, promised)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
