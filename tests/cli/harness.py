"""What the tests of the program share: a store of its own for each case, and ways to run pgqrs.

PGQRS_TEST_CLI is the program, PGQRS_TEST_SCENE makes what it looks at, PGQRS_TEST_BACKEND says where;
PGQRS_TEST_PG is a server's DSN; if that is a pooler, PGQRS_TEST_PG_DIRECT is the server behind it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLI = os.environ.get("PGQRS_TEST_CLI", "build/release/bin/pgqrs")
SCENE = os.environ.get("PGQRS_TEST_SCENE", "build/release/bin/cli_scene")
BACKEND = os.environ.get("PGQRS_TEST_BACKEND", "sqlite")
POOLED = "PGQRS_TEST_PG_DIRECT" in os.environ
TURSO = os.environ.get("PGQRS_TURSO_LIBRARY", "")
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60

# A sanitizer keeps what was freed, which hides how much memory is needed.
NO_QUARANTINE = ":".join(
    [os.environ.get("ASAN_OPTIONS", ""), "quarantine_size_mb=0", "thread_local_quarantine_size_kb=0"]
)

OK, FAILED, USAGE, NOT_FOUND, REFUSED, SCHEMA, AGAIN = range(7)


@dataclass
class Result:
    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        return self.out.splitlines()

    def document(self) -> Any:
        return json.loads(self.out)

    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Case(unittest.TestCase):
    """A store that is not installed yet; nothing of it is left behind."""

    made = 0

    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="pgqrs_cli_")
        self.addCleanup(self.folder.cleanup)
        self.schema = "-"
        self.prefix = ""  # of tables in SQL
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PGQRS_", "NO_COLOR", "LC_", "COLUMNS"))
            or name in ("PGQRS_POOLED", "PGQRS_LISTEN_DSN")
        }
        self.env |= {"LANG": "C.UTF-8", "TERM": "xterm", "TZ": "Australia/Eucla"}
        if BACKEND == "postgres":
            Case.made += 1
            self.schema = f"cli_{os.getpid()}_{Case.made}"
            self.prefix = f"{self.schema}."
            self.env["PGQRS_SCHEMA"] = self.schema
            self.dsn = os.environ["PGQRS_TEST_PG"]
            self.sql(f"CREATE SCHEMA {self.schema}")
            self.addCleanup(self.sql, f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
        else:
            self.path = Path(self.folder.name) / "store.db"
            self.dsn = f"{BACKEND}://{self.path}"
        self.env["PGQRS_DSN"] = self.dsn
        if TURSO:
            self.env["PGQRS_TURSO_LIBRARY"] = TURSO

    # --- Running it ---

    def run_it(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> Result:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        source = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
        done = subprocess.run(
            [CLI, *arguments],
            env=self.env | (env or {}),
            capture_output=True,
            timeout=SECONDS,
            **source,
            **options,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def pgqrs(self, *arguments: str, code: int = OK, **options: Any) -> Result:
        """Run it, and expect this exit code."""
        result = self.run_it(*arguments, **options)
        self.assertEqual(code, result.code, f"{arguments}: {result.out}{result.err}")
        return result

    def fails(self, code: int, said: str, *arguments: str, **options: Any) -> Result:
        """Run it, and expect nothing on stdout and these words on stderr."""
        result = self.pgqrs(*arguments, code=code, **options)
        self.assertEqual("", result.out)
        self.assertIn(said, result.err)
        return result

    def on_terminal(
        self,
        *arguments: str,
        typed: str = "",
        stdin: Any = None,
        stdout: Any = None,
        width: int = 100,
        env: dict[str, str] | None = None,
    ) -> Result:
        """Run it on a terminal, and type. stdin, stdout: elsewhere instead."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, width, 0, 0))
        process = subprocess.Popen(
            [CLI, *arguments],
            env=self.env | (env or {}),
            stdin=theirs if stdin is None else stdin,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        if typed:
            os.write(ours, typed.encode())
        seen = b""
        while select.select([ours], [], [], SECONDS)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
        os.close(ours)
        return Result(process.wait(SECONDS), seen.decode().replace("\r\n", "\n"), "")

    # --- Making what it looks at ---

    def scene(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [SCENE, self.dsn, self.schema, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    @contextlib.contextmanager
    def holding(self) -> Iterator[int]:
        """Another process has the store open meanwhile."""
        command = [SCENE, self.dsn, self.schema, "hold"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            yield int(process.stdout.readline())
            process.stdin.close()

    def sql(self, text: str) -> None:
        self.scene("sql", stdin=text)

    def install(self) -> None:
        self.pgqrs("install")

    def populate(self) -> dict[str, int]:
        """Messages and runs in every state, by name."""
        self.install()
        return json.loads(self.scene("populate"))

    def ids(self, queue: str, *flags: str) -> list[int]:
        return [d["id"] for d in self.pgqrs("ls", queue, "--json", *flags).documents()]


def peak(pid: int) -> int:
    """The most memory that a process had so far, in KiB; 0 when it has ended."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(found[1]) if found else 0


def commands() -> list[dict[str, Any]]:
    """What the program says of itself."""
    out = subprocess.run([CLI, "help", "--json"], capture_output=True, check=True, timeout=SECONDS)
    return [json.loads(line) for line in out.stdout.decode().splitlines()]


def main() -> None:
    if BACKEND == "postgres" and "PGQRS_TEST_PG" not in os.environ:
        print("PGQRS_TEST_PG does not say where a server is: skipped")
        sys.exit(77)
    if BACKEND == "turso" and not Path(TURSO).exists():
        print("PGQRS_TURSO_LIBRARY does not say where Turso is: skipped")
        sys.exit(77)
    unittest.main()
