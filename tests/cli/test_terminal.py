"""As a terminal program is used: colours, widths, pipes, a reader that goes away, a full disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import unicodedata
import unittest

from harness import BACKEND, CLI, FAILED, OK, SECONDS, Case, main


class Terminal(Case):
    def setUp(self) -> None:
        super().setUp()
        self.there = self.populate()

    def test_colours_are_for_terminals(self) -> None:
        shown = self.on_terminal("ls", "tasks", "--state", "all")
        self.assertEqual(OK, shown.code)
        self.assertIn("\x1b[31mdead\x1b[0m", shown.out)
        self.assertIn("\x1b[32mdone\x1b[0m", shown.out)
        self.assertNotIn("\x1b", self.pgqrs("ls", "tasks", "--state", "all").out)
        run = self.on_terminal("show", str(self.there["run_success"])).out
        self.assertRegex(run, "\x1b\\[32m█+\x1b\\[0m")

    def test_no_color_is_heard(self) -> None:
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            for command in (["ls", "tasks"], ["show", str(self.there["run_success"])], ["verify"]):
                self.assertNotIn("\x1b", self.on_terminal(*command, env=env).out)
        self.assertIn("\x1b", self.on_terminal("ls", "tasks", env={"NO_COLOR": ""}).out)

    def test_colours_are_not_in_json(self) -> None:
        self.assertNotIn("\x1b", self.on_terminal("ls", "tasks", "--json").out)

    def columns(self, line: str) -> int:
        return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)

    def test_tables_fit_the_terminal(self) -> None:
        text = "漢字🐘" * 50
        self.pgqrs("enqueue", "tasks", f'"{text}"')
        for width in (80, 81, 120):
            shown = self.on_terminal("ls", "tasks", width=width, env={"NO_COLOR": "1"})
            lines = shown.out.splitlines()
            self.assertLessEqual(max(map(self.columns, lines)), width)
            self.assertGreaterEqual(self.columns(lines[-1]), width - 1)
            self.assertTrue(lines[-1].endswith("…"))
        self.assertIn(text, self.pgqrs("ls", "tasks").out)  # elsewhere nothing is cut
        run = self.on_terminal("show", str(self.there["run_success"]), width=80, env={"NO_COLOR": "1"})
        self.assertLessEqual(max(map(self.columns, run.out.splitlines())), 80)

    def test_columns_of_wide_text_stand_below_each_other(self) -> None:
        self.pgqrs("queue", "create", "漢字")
        self.pgqrs("queue", "create", "e\u0301")  # a letter and its accent: one column
        lines = self.pgqrs("queue", "ls").lines()
        kind = lines[0].index("KIND")
        for line in lines[1:]:
            name = re.match(r"\S+\s+", line)
            assert name is not None
            width = self.columns(name[0]) - name[0].count("\u0301")
            self.assertEqual(kind, width, line)

    def test_without_utf8_only_the_data_is_utf8(self) -> None:
        plain = {"LANG": "C", "LC_ALL": "C"}
        shown = self.pgqrs("show", str(self.there["run_success"]), env=plain).out
        self.assertIn("漢字", shown)
        self.assertIn("####", shown)
        self.assertNotIn("█", shown)
        listed = self.on_terminal("ls", "tasks", width=80, env=plain | {"NO_COLOR": "1"}).out
        self.assertNotIn("…", listed)

    def test_a_bar_shows_how_far_it_is(self) -> None:
        lines = "".join(f'{{"n":{n}}}\n' for n in range(3000))
        path = os.path.join(self.folder.name, "lines")
        with open(path, "w", encoding="utf-8") as file:
            file.write(lines)
        with open(path, encoding="utf-8") as file:
            shown = self.on_terminal("enqueue", "empty", "--batch", "100", stdin=file)
        self.assertEqual(OK, shown.code)
        self.assertRegex(shown.out, r"\r\x1b\[K\[.{30}\] +\d+ %  \d+ messages")
        self.assertTrue(shown.out.endswith("\r\x1b[Kenqueued 3000 messages\n"), shown.out[-200:])
        self.assertNotRegex(shown.out, r"(?m)^\d+$")
        # From a pipe nobody knows how much there is.
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
            shown = self.on_terminal("enqueue", "empty", stdin=cat.stdout)
        self.assertRegex(shown.out, r"\r\x1b\[K\d+ messages")
        self.assertEqual(6000, len(self.ids("empty")))

    def test_a_bar_does_not_disturb_the_data(self) -> None:
        path = os.path.join(self.folder.name, "lines")
        with open(path, "w", encoding="utf-8") as file:
            file.write("1\n" * 500)
        out = os.path.join(self.folder.name, "ids")
        with open(path, encoding="utf-8") as file, open(out, "w", encoding="utf-8") as ids:
            shown = self.on_terminal("enqueue", "empty", "--batch", "100", stdin=file, stdout=ids)
        self.assertIn("messages", shown.out)
        with open(out, encoding="utf-8") as file:
            self.assertRegex(file.read(), r"^(\d+\n){500}$")


class Pipes(Case):
    def setUp(self) -> None:
        super().setUp()
        self.install()
        self.pgqrs("queue", "create", "tasks")
        self.pgqrs("enqueue", "tasks", stdin="1\n" * 2000)

    def test_a_reader_that_goes_away_ends_it_without_a_word(self) -> None:
        for arguments in (["ls", "tasks"], ["ls", "tasks", "--json"]):
            for restore in (True, False):  # False: it starts with SIGPIPE ignored
                with subprocess.Popen(
                    [CLI, *arguments],
                    env=self.env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    restore_signals=restore,
                ) as process:
                    assert process.stdout is not None and process.stderr is not None
                    self.assertNotEqual(b"", process.stdout.readline())
                    process.stdout.close()
                    said = process.stderr.read()
                    self.assertEqual(-signal.SIGPIPE, process.wait(SECONDS))
                self.assertEqual(b"", said)
        self.assertEqual(2000, len(self.ids("tasks")))  # the store is as it was

    def test_a_full_disk_is_told(self) -> None:
        for arguments in (["ls", "tasks"], ["stats"], ["version"], ["help"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run(
                    [CLI, *arguments],
                    env=self.env,
                    stdout=full,
                    stderr=subprocess.PIPE,
                    timeout=SECONDS,
                    check=False,
                )
            self.assertEqual(FAILED, done.returncode)
            self.assertIn(b"could not write to standard output", done.stderr)

    def test_without_any_terminal_it_works(self) -> None:
        done = subprocess.run(
            [CLI, "stats", "--json"],
            env={name: value for name, value in self.env.items() if name.startswith("PGQRS_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=SECONDS,
            check=True,
        )
        self.assertIn(b'"ready":2000', done.stdout)
        self.assertEqual(b"", done.stderr)

    @unittest.skipIf(BACKEND == "turso", "one process at a time has its file")
    def test_it_is_used_in_pipes(self) -> None:
        self.pgqrs("queue", "create", "copy")
        shell = '"$0" ls tasks --limit 3 --json | "$0" enqueue copy | wc -l'
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", shell, CLI],
            env=os.environ | self.env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        self.assertEqual("3", done.stdout.strip())
        first = self.pgqrs("ls", "copy", "--limit", "1", "--json").document()
        self.assertEqual(1, first["payload"]["payload"])


if __name__ == "__main__":
    main()
