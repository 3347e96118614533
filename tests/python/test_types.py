"""The package and its tests type-check, strictly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pgqrs

HERE = Path(__file__).parent


def mypy(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        cwd=HERE,
    )
    return "" if done.returncode == 0 else done.stdout


def test_the_package_is_typed_strictly() -> None:
    assert (Path(pgqrs.__file__).parent / "py.typed").exists()
    assert mypy("-p", "pgqrs") == ""


def test_the_tests_are_typed_strictly() -> None:
    assert mypy(*sorted(path.name for path in HERE.glob("*.py"))) == ""


def test_a_wrong_use_is_found(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(
        "import pgqrs\n"
        "async def main(store: pgqrs.Store) -> str:\n"
        "    return await pgqrs.produce(store, 'tasks', 1)\n"
    )
    assert 'expected "str"' in mypy(str(program))
