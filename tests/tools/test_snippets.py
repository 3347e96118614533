"""The C code on the pages is that of the examples, and the check of it notices when it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "tools" / "check_snippets.py"


def check(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True, check=False)


class Snippets(unittest.TestCase):
    def test_the_pages_show_the_examples(self) -> None:
        result = check(ROOT)
        self.assertEqual(("", 0), (result.stderr, result.returncode))

    def test_a_changed_line_is_named(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            shutil.copytree(ROOT / "examples", root / "examples")
            (root / "docs").mkdir()
            shutil.copy(ROOT / "README.md", root)
            text = (ROOT / "docs" / "transactions.md").read_text(encoding="utf-8")
            (root / "docs" / "transactions.md").write_text(text.replace("- 30", "- 31", 1))
            result = check(root)
            self.assertEqual(1, result.returncode)
            self.assertIn("amount - 31", result.stderr)


if __name__ == "__main__":
    unittest.main()
