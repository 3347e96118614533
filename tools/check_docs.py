#!/usr/bin/env python3
"""Keep the lists of functions in the docs equal to the public headers.

    check_docs.py           compare
    check_docs.py --write   write the lists anew

docs/c-api.md and docs/man/libpgqrs.3 list every PGQRS_API function with the first sentence of its
comment, in the sections of the headers, between two marks; what stands around them is written by
hand. And the scripts of the crash tests (tests/crash/script) call every function that can fail.
The comparison exits with 1 and names what does not fit.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

HEADERS = ("pgqrs.h", "workflow.h", "postgres.h", "sqlite.h")
TITLES = {"workflow.h": "workflow.h", "postgres.h": "postgres.h", "sqlite.h": "sqlite.h"}
TOKEN = re.compile(
    r"/\* --- (?P<section>.*?) -+ \*/"
    r"|/\*\*(?P<comment>.*?)\*/"
    r"|(?P<function>\bPGQRS_API\b[^;{}]*?\b(?P<name>pgqrs_\w+)\s*\([^;]*;)"
    r"|(?P<other>^(?:typedef|#define|struct|enum)\b)",
    re.DOTALL | re.MULTILINE,
)
FALLIBLE = re.compile(r"\bPGQRS_API\s+(?:PGQRS_CHECK\s+)?pgqrs_status\b")
# These speak with no database.
SILENT = {"pgqrs_batch_status", "pgqrs_completions_new", "pgqrs_step_end", "pgqrs_turso_load"}
BEGIN, END = "functions, by tools/check_docs.py --write", "end of functions"

Function = tuple[str, str, bool]


def sentence(comment: str) -> str:
    """The first sentence of a comment, without marks of references."""
    text = " ".join(line.strip().lstrip("*").strip() for line in comment.splitlines()).strip()
    if text.startswith("@return the "):
        text = "The " + text.removeprefix("@return the ")
    text = re.split(r" (?=@(?:param|return|threads|since)\b)", text)[0]
    text = re.sub(r" ?\[G-\d+\]", "", text)
    text = re.sub(r"@p (\w+)", r"\1", text)
    match = re.match(r"(.*?[.:])(?= [A-Z*]|$)", text)
    return (match[1] if match else text).rstrip(".:")


def read(root: Path) -> dict[str, list[Function]]:
    """The functions of each section: name, first sentence, whether it can fail."""
    sections: dict[str, list[Function]] = {}
    for header in HEADERS:
        path = root / "include/pgqrs" / header
        if not path.is_file():
            continue
        title, comment = TITLES.get(header, "General"), ""
        for match in TOKEN.finditer(path.read_text(encoding="utf-8")):
            if match["section"]:
                title, comment = match["section"], ""
            elif match["comment"] is not None:
                comment = "" if match["comment"].lstrip().startswith("<") else match["comment"]
            elif match["name"]:
                can_fail = FALLIBLE.match(match["function"]) is not None
                said = "" if "@file" in comment else sentence(comment)
                sections.setdefault(title, []).append((match["name"], said, can_fail))
                comment = ""
            else:
                comment = ""
    return sections


def markdown(sections: dict[str, list[Function]]) -> str:
    out = [f"<!-- {BEGIN} -->"]
    for title, functions in sections.items():
        out += ["", f"### {title}", ""]
        out += [f"- `{name}`: {said}" if said else f"- `{name}`" for name, said, _ in functions]
    return "\n".join([*out, "", f"<!-- {END} -->"])


def man(sections: dict[str, list[Function]]) -> str:
    out = [f'.\\" {BEGIN}']
    for title, functions in sections.items():
        out.append(f'.SS "{title}"')
        for name, said, _ in functions:
            out += [".TP", f".BR {name} ()", said.replace("\\", "\\e").replace("-", "\\-") or "\\&"]
    return "\n".join([*out, f'.\\" {END}'])


def put_in(text: str, block: str) -> str:
    first, last = block.splitlines()[0], block.splitlines()[-1]
    begin, end = text.index(first), text.index(last) + len(last)
    return text[:begin] + block + text[end:]


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare lists of functions with the headers.")
    parser.add_argument("--write", action="store_true", help="write the lists anew")
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).parent.parent)
    args = parser.parse_args()

    sections = read(args.root)
    problems: list[str] = []
    for name, block in (("docs/c-api.md", markdown(sections)), ("docs/man/libpgqrs.3", man(sections))):
        page = args.root / name
        text = page.read_text(encoding="utf-8")
        wanted = put_in(text, block)
        if args.write:
            page.write_text(wanted, encoding="utf-8")
        elif text != wanted:
            problems.append(f"{name}: is not what the headers say; run tools/check_docs.py --write")
    helpers = args.root / "tests/crash/script"
    script = "".join(path.read_text(encoding="utf-8") for path in sorted(helpers.glob("*.c")))
    called = set(re.findall(r"\bpgqrs_\w+\b", script)) | {"pgqrs_open"}  # by helper_open()
    for functions in sections.values():
        for name, _, can_fail in functions:
            if can_fail and name not in called | SILENT:
                problems.append(f"{name}: no script in tests/crash/script calls it")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
