"""tools/turso.sh: what is said and done where Turso's engine is there, can be built, or cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cp", "mv", "touch", "dirname", "sed", "mkdir")


class Turso(unittest.TestCase):
    """A tree of its own, in which a program called cargo builds whatever the case says."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="pgqrs_turso_")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.bin = self.root / "bin"
        for name in ("tools", "turso", "bin", "build"):
            (self.root / name).mkdir()
        shutil.copy(ROOT / "tools/turso.sh", self.root / "tools")
        for name in ("Cargo.toml", "Cargo.lock"):
            shutil.copy(ROOT / "turso" / name, self.root / "turso")
        for name in TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))
        self.engine = self.root / "turso/target/release/libpgqrs_turso.so"

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!{self.bin}/bash\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def rust(self, version: str, build: str = "exit 101") -> None:
        self.program("rustc", f"echo 'rustc {version} (of a test)'")
        self.program("cargo", build)

    def run_it(self, *arguments: str, code: int = 0, **env: str) -> str:
        done = subprocess.run(
            [str(self.root / "tools/turso.sh"), *arguments],
            env={"PATH": str(self.bin), **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(code, done.returncode, done.stderr)
        return done.stderr

    def is_one_loud_line(self, said: str, *words: str) -> None:
        self.assertEqual(1, len(said.splitlines()), said)
        self.assertTrue(said.startswith("*** Turso: "), said)
        for word in words:
            self.assertIn(word, said)

    def test_without_rust_a_build_goes_on_and_says_so(self) -> None:
        self.is_one_loud_line(self.run_it("try", "build"), "not built", "Rust 1.88", "make turso")
        self.is_one_loud_line(self.run_it("build", "build", code=1), "not built")
        self.is_one_loud_line(self.run_it("tested"), "NOT TESTED", "make turso")
        self.run_it("can-build", code=1)
        self.assertEqual("", self.run_it("fetch"))

    def test_an_old_rust_is_none(self) -> None:
        for version in ("1.63.0", "1.87.9", "0.99.0"):
            self.rust(version)
            self.is_one_loud_line(self.run_it("try", "build"), "not built", "Rust 1.88")
            self.run_it("can-build", code=1)
        for version in ("1.88.0", "1.100.0", "2.0.0-beta"):
            self.rust(version)
            self.run_it("can-build")

    def test_a_build_that_fails_breaks_no_other(self) -> None:
        self.rust("1.95.0", "exit 101")
        self.is_one_loud_line(self.run_it("try", "build"), "could not be built", "TURSO=off")
        self.run_it("build", "build", code=1)
        self.run_it("fetch")

    def test_it_can_be_left_out(self) -> None:
        self.assertEqual("", self.run_it("try", "build", TURSO="off"))

    def test_what_is_built_is_put_beside_the_library_and_built_once(self) -> None:
        self.rust("1.95.0", f"mkdir -p {self.engine.parent}; echo x >>{self.engine}")
        for _ in range(2):
            self.assertEqual("", self.run_it("build", "build"))
            self.assertEqual("x\n", self.engine.read_text(encoding="utf-8"))
            copy = self.root / "build/libpgqrs_turso.so"
            self.assertEqual("x\n", copy.read_text(encoding="utf-8"))
        self.assertEqual("", self.run_it("tested"))
        lock = self.root / "turso/Cargo.lock"
        os.utime(lock, ns=(lock.stat().st_atime_ns, self.engine.stat().st_mtime_ns + 10**9))
        self.run_it("build", "build")
        self.assertEqual("x\nx\n", self.engine.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
