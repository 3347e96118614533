"""The command line itself: mistakes, help, secrets; and that all who describe it say the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import unittest

from harness import AGAIN, BACKEND, CLI, ROOT, SECONDS, USAGE, Case, commands, main

COMMON = {"dsn", "schema", "json", "help"}


class Mistakes(Case):
    def said(self, *arguments: str) -> str:
        return self.fails(USAGE, "", *arguments).err

    def test_what_was_meant_is_guessed(self) -> None:
        for arguments, guess in {
            ("quue", "ls"): '"queue"',
            ("isntall",): '"install"',
            ("stat",): '"stats"',
            ("queue", "lst"): '"queue ls"',
            ("queue", "crate", "x"): '"queue create"',
            ("run", "cancle", "1"): '"run cancel"',
            ("dead", "rplay"): '"dead replay"',
            ("workers", "prge"): '"workers purge"',
            ("ls", "x", "--sate", "dead"): '"--state"',
            ("ls", "x", "--limt=3"): '"--limit"',
            ("--jsno", "stats"): '"--json"',
            ("help", "enqeue"): '"enqueue"',
        }.items():
            self.assertIn(f"did you mean {guess}?", self.said(*arguments), arguments)

    def test_nothing_is_guessed_that_is_far(self) -> None:
        for arguments in (("xyzzy",), ("queue", "xyzzy"), ("stats", "--xyzzy"), ("stats", "-z")):
            said = self.said(*arguments)
            self.assertIn("unknown", said)
            self.assertNotIn("did you mean", said)

    def test_what_does_not_fit_is_refused(self) -> None:
        for said, *arguments in (
            ('"queue" needs one of: ls, create, configure, delete, pause, resume, purge', "queue"),
            ('"ls" needs: QUEUE', "ls"),
            ('"queue create" needs: NAME', "queue", "create"),
            ('"stats" has nothing to do with "b"', "stats", "a", "b"),
            ('"stats" takes no flag --yes', "stats", "--yes"),
            ('"queue ls" takes no flag --limit', "queue", "ls", "--limit", "1"),
            ("--json takes no value", "stats", "--json=yes"),
            ("--limit needs a value", "ls", "x", "--limit"),
            ("-P needs a value", "enqueue", "x", "-P"),
            ('no command "nothing"', "help", "nothing"),
            ('unknown flag "-z"', "stats", "-z"),
        ):
            self.assertIn(said, self.said(*arguments))

    def test_a_store_must_be_named(self) -> None:
        none = {"PGQRS_DSN": ""}
        self.fails(USAGE, "PGQRS_DSN", "stats", env=none)
        self.fails(USAGE, "no store was named", "stats", "--dsn", "")
        self.fails(USAGE, "", "stats", "--dsn", "mysql://localhost/db")

    def test_flags_may_stand_anywhere(self) -> None:
        self.pgqrs("--json", "install")
        self.pgqrs("queue", "--json", "create", "--dsn", self.dsn, "--", "--odd")
        queues = self.pgqrs("queue", "ls", f"--dsn={self.dsn}", "--json", env={"PGQRS_DSN": ""})
        self.assertEqual("--odd", queues.document()["queue"])

    def test_mistakes_as_documents(self) -> None:
        for code, arguments in {
            2: ["quue", "--json"],
            3: ["ls", "nothing", "--json"],
            4: ["queue", "purge", "nothing", "--json"],
        }.items():
            self.pgqrs("install")
            failed = self.pgqrs(*arguments, code=code)
            self.assertEqual("", failed.out)
            error = json.loads(failed.err)["error"]
            self.assertEqual(code, error["exit"])
            self.assertTrue(error["message"])
        self.assertEqual("EINVAL", json.loads(
            self.pgqrs("queue", "create", "", "--json", code=2).err)["error"]["status"])

    def test_without_a_command_it_says_how(self) -> None:
        self.assertIn("usage: pgqrs COMMAND", self.said())


class Secrets(Case):
    DSN = "postgresql://bob:sekret@localhost:1/db?connect_timeout=1"

    def test_g28_a_password_is_in_nothing_that_is_printed(self) -> None:
        for arguments in (
            ["stats", "--dsn", self.DSN],
            ["stats", f"--dsn={self.DSN}"],
            ["stats", f"--dsn={self.DSN}", "--json"],
            ["verify", self.DSN],
            ["stats", "a", self.DSN],
            [self.DSN],
            ["queue", self.DSN],
            ["help", self.DSN],
            ["help", "queue", self.DSN],
            ["stats", f"--dsm={self.DSN}"],
            ["stats", f"--{self.DSN}"],
            ["ls", "q", "--limit", self.DSN],
            ["ls", "q", "--state", self.DSN],
            ["queue", "create", "q", "--lease", self.DSN],
            ["enqueue", "q", "1", "--at", self.DSN],
            ["enqueue", "q", "-P", self.DSN],
            ["show", self.DSN],
            ["run", "cancel", self.DSN],
            ["stats", "--dsn", "postgresql://bob:sekret@[bad/db"],
            ["stats", "--dsn", "postgres//bob:sekret@localhost/db"],
        ):
            result = self.run_it(*arguments)
            self.assertNotEqual(0, result.code)
            self.assertNotIn("sekret", result.out + result.err, arguments)
            self.assertNotEqual("", result.err)
        if BACKEND == "postgres":
            self.assertEqual(AGAIN, self.run_it("stats", "--dsn", self.DSN).code)

    @unittest.skipUnless(BACKEND == "postgres", "of PostgreSQL")
    def test_g28_a_password_is_not_in_the_list_of_processes(self) -> None:
        self.pgqrs("install")
        self.pgqrs("queue", "create", "tasks")
        query = self.dsn.partition("?")[2]
        dsn = f"postgresql://postgres:sekret@/postgres?{query}"
        with subprocess.Popen(
            [CLI, "enqueue", "tasks", "--batch", "1", "--dsn", dsn],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"1\n2\n")
            process.stdin.flush()
            self.assertRegex(process.stdout.readline(), rb"^\d+\n$")  # it is at work
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                line = file.read()
            process.communicate()
        self.assertIn(b"enqueue", line)
        self.assertNotIn(b"sekret", line)
        self.assertEqual(0, process.returncode)


class Help(Case):
    def test_every_command_explains_itself(self) -> None:
        overview = self.pgqrs("help").out
        self.assertEqual(overview, self.pgqrs("--help").out)
        self.assertEqual(overview, self.pgqrs("-h").out)
        for command in commands():
            words = command["command"].split()
            explained = self.pgqrs("help", *words).out
            self.assertEqual(explained, self.pgqrs(*words, "--help").out)
            self.assertEqual(explained, self.pgqrs(*words, "-h", "some", "thing").out)
            self.assertIn(f"usage: pgqrs {command['command']}", explained)
            self.assertIn(f"\n  {command['command']} ", overview)
            for flag in command["flags"]:
                self.assertIn(f"--{flag['name']}", explained)
            document = self.pgqrs("help", *words, "--json").document()
            self.assertEqual(command, document)
            for line in (explained + overview).splitlines():
                self.assertLessEqual(len(line), 100)
                self.assertEqual(line.rstrip(), line)

    def test_a_group_is_explained_as_a_whole(self) -> None:
        whole = self.pgqrs("help", "queue").out
        self.assertEqual(7, whole.count("usage: pgqrs queue "))
        self.assertEqual(whole, self.pgqrs("queue", "--help").out)
        self.assertEqual(3, len(self.pgqrs("help", "dead", "--json").documents()))

    def test_help_needs_no_store(self) -> None:
        self.pgqrs("help", env={"PGQRS_DSN": "nonsense"})
        self.pgqrs("ls", "--help", env={"PGQRS_DSN": "nonsense"})


class Descriptions(Case):
    """The man page, the completions and the program's own list."""

    def setUp(self) -> None:
        super().setUp()
        self.commands = {c["command"]: c for c in commands()}
        self.own = {
            name: {flag["name"] for flag in c["flags"]} - COMMON
            for name, c in self.commands.items()
        }
        self.takes_value = {
            flag["name"]: flag["value"] for c in self.commands.values() for flag in c["flags"]
        }

    def test_the_man_page_says_the_same(self) -> None:
        text = (ROOT / "docs/man/pgqrs.1").read_text(encoding="utf-8")
        text = text[text.index(".Sh COMMANDS") : text.index(".Sh ENVIRONMENT")]
        found: dict[str, set[str]] = {}
        current = ""
        for line in text.splitlines():
            if match := re.match(r"\.It Cm ((?:(?!Ar|Op|Fl)\S+ ?)+)", line):
                current = match[1].strip()
                found[current] = set()
            elif match := re.match(r"\.It (?:Fl (\w) , )?Fl Fl (\S+)(?: Ar (.+))?$", line):
                found[current].add(match[2])
                flag = next(f for f in self.commands[current]["flags"] if f["name"] == match[2])
                self.assertEqual(flag["letter"], match[1], line)
                self.assertEqual(flag["value"], match[3], line)
        self.assertEqual(self.own, found)
        self.assertEqual(list(self.commands), list(found))

    def test_the_man_page_has_the_common_flags_and_the_exit_codes(self) -> None:
        text = (ROOT / "docs/man/pgqrs.1").read_text(encoding="utf-8")
        common = text[: text.index(".Sh COMMANDS")]
        self.assertEqual(
            COMMON | {"version"}, set(re.findall(r"^\.It .*Fl Fl (\S+)", common, re.MULTILINE))
        )
        codes = text[text.index(".Sh EXIT STATUS") : text.index(".Sh EXAMPLES")]
        self.assertEqual(
            [str(code) for code in range(7)], re.findall(r"^\.It (\d)$", codes, re.MULTILINE)
        )

    @unittest.skipUnless(shutil.which("man"), "no man")
    def test_the_man_page_can_be_read(self) -> None:
        shown = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", str(ROOT / "docs/man/pgqrs.1")],
            capture_output=True,
            text=True,
            env=self.env | {"MANWIDTH": "100", "MAN_KEEP_FORMATTING": ""},
            timeout=SECONDS,
            check=True,
        )
        self.assertEqual("", shown.stderr)
        self.assertIn("EXIT STATUS", re.sub(".\b", "", shown.stdout))

    def complete(self, *words: str) -> set[str]:
        """What bash would offer for the last word."""
        script = (
            'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pgqrs; '
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", script, str(ROOT / "cli/completions/pgqrs.bash"), "pgqrs", *words],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        self.assertEqual("", done.stderr)
        return set(done.stdout.split())

    def test_bash_completes_the_same(self) -> None:
        first = {name.split()[0] for name in self.commands}
        self.assertEqual(first, self.complete(""))
        self.assertEqual({"queue"}, self.complete("q"))
        self.assertEqual(first, self.complete("help", ""))
        self.assertEqual({"ls"}, self.complete("--dsn", "run", "--json", "queue", "l"))
        for group in ("queue", "dead", "run", "workers"):
            names = {name.split()[1] for name in self.commands if name.startswith(f"{group} ")}
            self.assertEqual(names, self.complete(group, ""))
        for name, flags in self.own.items():
            expected = {f"--{flag}" for flag in flags | COMMON}
            self.assertEqual(expected, self.complete(*name.split(), "-"), name)
            self.assertEqual(expected, self.complete("--dsn", "x", *name.split(), "y", "-"), name)
        self.assertIn("--version", self.complete("-"))
        for flag, value in self.takes_value.items():
            name = next(name for name, c in self.own.items() if flag in c | COMMON)
            offered = self.complete(*name.split(), f"--{flag}", "-")
            self.assertEqual(value is not None, not offered, flag)

    def test_words_of_a_list_are_completed(self) -> None:
        for command, flag in (("ls", "state"), ("run ls", "status")):
            info = next(f for f in self.commands[command]["flags"] if f["name"] == flag)
            listed = set(re.findall(r"[a-z]+", re.sub(r"\(.*?\)", "", info["help"])))
            self.assertEqual(listed, self.complete(*command.split(), f"--{flag}", ""))

    def test_zsh_completes_the_same(self) -> None:
        text = (ROOT / "cli/completions/_pgqrs").read_text(encoding="utf-8")
        lists = {
            name: set(re.findall(r"--([a-z-]+)", body))
            for name, body in re.findall(r"^(_pgqrs_\w+)=\((.*?)^\)$", text, re.MULTILINE | re.DOTALL)
        }
        lists["_pgqrs_yes"] = {"yes"}
        self.assertEqual(COMMON, lists["_pgqrs_common"])
        found: dict[str, set[str]] = {}
        body = text[text.index("_pgqrs_command()") : text.index("_pgqrs_commands=(")]
        for names, given in re.findall(r"^    \(([^\n]*)\)\n(.*?) ;;$", body, re.MULTILINE | re.DOTALL):
            flags = set(re.findall(r"--([a-z-]+)", given))
            for name in re.findall(r"\$(_pgqrs_\w+)", given):
                flags |= lists.get(name, set())
            for name in names.split("|"):
                found[name.strip("'")] = flags - COMMON
        self.assertEqual(self.own, found)
        words = dict(re.findall(r"^_pgqrs_(\w+)=\(([a-z ]+)\)$", text, re.MULTILINE))
        self.assertEqual({n.split()[0] for n in self.commands}, set(words["commands"].split()))
        for group in ("queue", "dead", "run", "workers"):
            names = {name.split()[1] for name in self.commands if name.startswith(f"{group} ")}
            self.assertEqual(names, set(words[group].split()))

    @unittest.skipUnless(shutil.which("zsh"), "no zsh")
    def test_zsh_reads_it(self) -> None:
        subprocess.run(["zsh", "-n", str(ROOT / "cli/completions/_pgqrs")], check=True, timeout=SECONDS)

    def test_the_documents_list_the_commands(self) -> None:
        text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
        for name in self.commands:
            self.assertIn(f"`{name}", text)
        self.assertTrue(os.access(CLI, os.X_OK))


if __name__ == "__main__":
    main()
