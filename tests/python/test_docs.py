"""The Python on the pages runs as it is written: the blocks of a page are one program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from conftest import BACKEND, Place

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.skipif(sys.version_info < (3, 9), reason="the pages write list[str]")
PAGES = sorted((ROOT / "docs/python").glob("*.md")) + [ROOT / "README.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
DSN = re.compile(r'"sqlite:///tmp/\w+\.db"')


def blocks(page: Path) -> List[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def test_there_is_something_on_the_pages() -> None:
    counts = {page.name: len(blocks(page)) for page in PAGES}
    assert counts["README.md"] >= 1 and counts["quickstart.md"] == 2 and counts["workflows.md"] == 3
    assert counts["queues.md"] == 3 and counts["transactions.md"] == 1 and counts["reference.md"] == 0


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "reference.md"], ids=lambda page: page.stem)
def test_the_programs_of_a_page_run(page: Path, place: Place, tmp_path: Path) -> None:
    if BACKEND == "turso" and page.name == "transactions.md":
        pytest.skip("Turso lends no connection")
    dsn = place.dsn
    if BACKEND == "postgres":
        dsn += ("&" if "?" in dsn else "?") + "options=-csearch_path%%3D%s" % place.schema
    text = "\n\n".join(blocks(page))
    assert DSN.search(text) is not None
    program = tmp_path / "test_page.py"
    program.write_text(DSN.sub(lambda _: repr(dsn), text), encoding="utf-8")
    command = [sys.executable, str(program)]
    if "pgqrs_store" in text:  # its last block is a test
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(program)]
    done = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_the_reference_is_what_the_docstrings_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/check_python_docs.py")], stderr=subprocess.PIPE, universal_newlines=True
    )
    assert done.returncode == 0, done.stderr
