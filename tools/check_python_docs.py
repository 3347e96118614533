#!/usr/bin/env python3
"""Write docs/python/reference.md from the docstrings of the package, or check that it is as they say.

    check_python_docs.py [--write] [ROOT]

Reads the source (no import, so nothing needs to be built). What pgqrs/__init__.py exports is on the
page, class by class, with the public methods and what their docstrings say. Exits with 1 and names
what has no docstring.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

HEAD = """# Python reference

Written from the docstrings by `tools/check_python_docs.py --write`. Everything that does I/O is awaited; `pgqrs.sync` has the
same names without.
"""


class Package:
    def __init__(self, folder: Path) -> None:
        self.modules = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))}
        self.problems: list[str] = []

    def exported(self) -> list[tuple[str, ast.AST]]:
        """What __init__ takes from the other modules, by name."""
        found = {}
        for node in self.modules["__init__"].body:
            if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 1:
                for alias in node.names:
                    if not (alias.asname or alias.name).startswith("_"):
                        found[alias.name] = self.definition(node.module, alias.name)
        return sorted(found.items(), key=lambda item: item[0].lower())

    def definition(self, module: str, name: str) -> ast.AST:
        """The class or function; of overloads, the last one."""
        last = None
        for node in self.modules[module].body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
                last = node
        if last is None:
            raise SystemExit(f"{module}.{name} is not a class or function")
        return last

    def doc(self, node: ast.AST, where: str) -> str:
        text = ast.get_docstring(node)
        if not text:
            self.problems.append(f"{where} has no docstring")
            return ""
        return text


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, method: bool) -> str:
    arguments = ast.unparse(node.args)
    if method:
        first, _, rest = arguments.partition(", ")
        arguments = rest.lstrip("/, ") if first in ("self", "cls", "self: 'Workflow[None, R]'") else arguments
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    await_ = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{await_}{node.name}({arguments}){returns}"


def indented(text: str) -> str:
    """A docstring as Markdown: what is indented in it (lists of arguments, examples) stays as it is."""
    out: list[str] = []
    code = False
    for line in text.splitlines():
        starts = line.startswith("    ") or (len(line) > 20 and "    " in line.strip())
        if line.strip() and starts != code:
            out.append("```text" if starts else "```")
            code = starts
        out.append(line)
    if code:
        out.append("```")
    return "\n".join(out)


def public_methods(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    last: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for child in node.body:
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("_"):
            if any("setter" in ast.unparse(decorator) for decorator in child.decorator_list):
                continue
            last[child.name] = child
    return list(last.values())


def page(package: Package) -> str:
    out = [HEAD]
    for name, node in package.exported():
        out.append(f"\n## {name}\n")
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            out.append(f"`{signature(node, False)}`\n")
            out.append(indented(package.doc(node, name)) + "\n")
            continue
        assert isinstance(node, ast.ClassDef)
        out.append(indented(package.doc(node, name)) + "\n")
        for method in public_methods(node):
            what = f"{name}.{method.name}"
            is_property = any(ast.unparse(one) == "property" for one in method.decorator_list)
            shown = method.name if is_property else signature(method, True)
            out.append(f"- `{shown}`: " + " ".join(package.doc(method, what).split("\n\n")[0].split()))
    return "\n".join(out).rstrip() + "\n"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).resolve().parent.parent)
    args = parser.parse_args(argv[1:])
    package = Package(args.root / "python/pgqrs")
    text = page(package)
    reference = args.root / "docs/python/reference.md"
    for problem in package.problems:
        print(f"check_python_docs: {problem}", file=sys.stderr)
    if package.problems:
        return 1
    if args.write:
        reference.write_text(text, encoding="utf-8")
        return 0
    if not reference.exists() or reference.read_text(encoding="utf-8") != text:
        print(
            "check_python_docs: docs/python/reference.md is not what the docstrings say: "
            "run tools/check_python_docs.py --write",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
