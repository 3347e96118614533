"""enqueue and trigger."""

from __future__ import annotations

import json
import subprocess
import unittest

from harness import AGAIN, BACKEND, CLI, NO_QUARANTINE, NOT_FOUND, REFUSED, USAGE, Case, main, peak


class Put(Case):
    def setUp(self) -> None:
        super().setUp()
        self.install()
        self.pgqrs("queue", "create", "tasks")

    def put(self, *arguments: str) -> dict:
        """Enqueue, and look at what is stored."""
        number = self.pgqrs("enqueue", "tasks", *arguments).out
        return self.pgqrs("show", number.strip(), "--json").document()

    def stored(self, *arguments: str) -> str:
        """The text of the payload, as it is printed."""
        number = self.pgqrs("enqueue", "tasks", *arguments).out
        line = self.pgqrs("show", number.strip(), "--json").out
        return line[line.index('"payload":') + 10 : line.index(',"output":')]


class Enqueue(Put):
    def test_the_id_is_printed(self) -> None:
        words = self.pgqrs("enqueue", "tasks", '{"n":1}')
        self.assertRegex(words.out, r"^\d+\n$")
        self.assertEqual("", words.err)
        document = self.pgqrs("enqueue", "tasks", '{"n":2}', "--json").document()
        self.assertEqual(
            {"id": int(words.out) + 1, "queue": "tasks", "existed": False}, document
        )

    def test_json_stays_what_it_is(self) -> None:
        for text in (
            '{"price":1.10,"n":12345678901234567890123,"e":1E400,"dup":1,"dup":2}',
            '"\\u0000 \\ud83d\\ude00 \\" \\\\"',
            "[]",
            "-0.0",
        ):
            self.assertEqual(text, self.stored(text))
        self.assertEqual('{"a":[1,"b c"]}', self.stored(' { "a" : [ 1 ,\n "b c" ] }\t'))

    def test_members_are_given_by_name(self) -> None:
        self.assertEqual(
            '{"n":-1.50e3,"big":12345678901234567890,"yes":true,"none":null,"name":"bob",'
            '"phone":"555-1234","empty":"","eq":"a=b","list":[1.10, {"x":2}],"quoted":"true",'
            '"s":"say \\"hi\\"\\u0007","ü":"ü","01":"01"}'.replace(", {", ",{"),
            self.stored(
                *("-P", "n=-1.50e3", "-Pbig=12345678901234567890", "--param", "yes=true"),
                *("--param=none=null", "-P", "name=bob", "-P", "phone=555-1234", "-P", "empty="),
                *("-P", "eq=a=b", "-P", 'list=[1.10, {"x":2}]', "-P", 'quoted="true"'),
                *("-P", 's=say "hi"\a', "-P", "ü=ü", "-P", "01=01"),
            ),
        )

    def test_bad_members_are_refused(self) -> None:
        for said, *given in (
            ("is not NAME=VALUE", "-P", "bob"),
            ("is not NAME=VALUE", "-P", "=1"),
            ("begins like JSON", "-P", "x=[1"),
            ("begins like JSON", "-P", 'x=[1],"y":2'),
            ("given twice", "-P", "x=1", "-P", "x=2"),
            ("cannot go with", "{}", "-P", "x=1"),
            ("needs a value", "-P"),
            ("is for standard input", "-P", "x=1", "--batch", "5"),
            ("is for standard input", "1", "--batch", "5"),
        ):
            self.fails(USAGE, said, "enqueue", "tasks", *given)
        self.assertEqual([], self.ids("tasks"))

    def test_options_are_stored(self) -> None:
        self.assertEqual(5, self.put("1")["priority"])
        self.assertEqual(0, self.put("1", "--priority", "0")["priority"])
        self.assertEqual(9, self.put("1", "--priority=9")["priority"])
        self.assertEqual({"trace": "abc"}, self.put("1", "--headers", '{"trace":"abc"}')["headers"])
        late = self.put("1", "--at", "2199-01-31T12:00:00.25+01:00")
        self.assertEqual("scheduled", late["state"])
        self.assertEqual("2199-01-31T11:00:00.250000Z", late["visible_at"])
        self.assertEqual("scheduled", self.put("1", "--delay", "1h")["state"])
        self.assertEqual("ready", self.put("1", "--delay", "0")["state"])

    def test_a_key_names_one_message(self) -> None:
        first = self.pgqrs("enqueue", "tasks", "1", "--key", "k", "--key-ttl", "1h")
        again = self.pgqrs("enqueue", "tasks", "2", "--key", "k")
        self.assertEqual(first.out, again.out)
        self.assertIn("there before", again.err)
        self.assertTrue(self.pgqrs("enqueue", "tasks", "3", "--key=k", "--json").document()["existed"])
        self.assertEqual(1, len(self.ids("tasks")))

    def test_bad_options_are_refused(self) -> None:
        for given in (
            ["--priority", "10"],
            ["--priority", "high"],
            ["--delay", "soon"],
            ["--at", "tomorrow"],
            ["--at", "2025-02-30T12:00:00Z"],
            ["--at", "2025-01-31T12:00:00"],
            ["--at", "2025-01-31T12:00:00Z", "--delay", "1s"],
            ["--key-ttl", "1s"],
            ["--headers", "[1]"],
            ["--batch", "0"],
        ):
            self.fails(USAGE, "", "enqueue", "tasks", "1", *given)
        self.fails(USAGE, "JSON", "enqueue", "tasks", "{")
        self.fails(NOT_FOUND, "pgqrs queue create", "enqueue", "nothing", "1")
        self.assertEqual([], self.ids("tasks"))

    @unittest.skipUnless(BACKEND == "postgres", "of servers")
    def test_a_server_that_is_not_there_may_be_tried_again(self) -> None:
        self.fails(AGAIN, "", "enqueue", "tasks", "1", "--dsn", "postgresql:///x?host=/nowhere")


class StandardInput(Put):
    def test_each_line_is_a_message(self) -> None:
        lines = '{"n":1}\n\n {"n": 2} \r\n[3]'
        for given in (["tasks"], ["tasks", "-"]):
            result = self.pgqrs("enqueue", *given, stdin=lines)
            self.assertRegex(result.out, r"^(\d+\n){3}$")
            self.assertEqual("enqueued 3 messages\n", result.err)
        listed = self.pgqrs("ls", "tasks", "--json").documents()
        self.assertEqual([{"n": 1}, {"n": 2}, [3]] * 2, [d["payload"] for d in listed])

    def test_batches_keep_the_order(self) -> None:
        lines = "".join(f"{n}\n" for n in range(257))
        result = self.pgqrs("enqueue", "tasks", "--batch", "50", "--json", stdin=lines)
        self.assertEqual("", result.err)
        numbers = [d["id"] for d in result.documents()]
        self.assertEqual(sorted(numbers), numbers)
        listed = self.pgqrs("ls", "tasks", "--json").documents()
        self.assertEqual(list(range(257)), [d["payload"] for d in listed])
        self.assertEqual(numbers, [d["id"] for d in listed])

    def test_options_hold_for_each_line(self) -> None:
        self.pgqrs("enqueue", "tasks", "--delay", "1h", "--priority", "2", stdin="1\n2\n")
        listed = self.pgqrs("ls", "tasks", "--json").documents()
        self.assertEqual({("scheduled", 2)}, {(d["state"], d["priority"]) for d in listed})
        self.fails(USAGE, "names one message", "enqueue", "tasks", "--key", "k", stdin="1\n")

    def test_a_bad_line_is_named_and_its_batch_left_out(self) -> None:
        for bad in ("{", "nul\0", "\xff"):
            lines = ("1\n2\n3\n4\n" + bad + "\n6\n").encode("latin-1")
            result = self.run_it("enqueue", "tasks", "--batch", "2", stdin=lines)
            self.assertEqual(USAGE, result.code)
            self.assertIn("line 5 of standard input", result.err)
            self.assertIn("4 messages were enqueued before; nothing from line 5 on", result.err)
            self.assertIn("tail -n +5", result.err)
            self.assertEqual(4, len(result.lines()))
        error = json.loads(self.run_it("enqueue", "tasks", "--json", stdin="{\n").err)["error"]
        self.assertEqual("EJSON", error["status"])
        self.assertEqual("line 1 of standard input", error["detail"])
        self.assertEqual({"enqueued": 0, "resume_line": 1, "unknown_to_line": None}, error["input"])

    def test_a_document_says_what_went_in_and_where_to_go_on(self) -> None:
        for bad in ("{", "nul\0"):
            lines = "1\n\n2\n3\n" + bad + "\n6\n"
            before = len(self.ids("tasks"))
            result = self.run_it("enqueue", "tasks", "--batch", "2", "--json", stdin=lines)
            error = json.loads(result.err)["error"]
            self.assertEqual(
                {"enqueued": 2, "resume_line": 4, "unknown_to_line": None}, error["input"]
            )
            rest = "".join(lines.replace(bad, "5").splitlines(keepends=True)[3:])
            self.pgqrs("enqueue", "tasks", stdin=rest)
            listed = self.pgqrs("ls", "tasks", "--json").documents()[before:]
            self.assertEqual([1, 2, 3, 5, 6], [d["payload"] for d in listed])

    def test_output_that_cannot_be_written_does_not_hide_what_went_in(self) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [CLI, "enqueue", "tasks", "--batch", "2"],
                env=self.env,
                input=b"1\n2\n3\n",
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=60,
            )
        self.assertEqual(1, done.returncode)
        self.assertIn(b"2 messages were enqueued before; nothing from line 3 on", done.stderr)
        self.assertEqual(2, len(self.ids("tasks")))

    def test_nothing_is_nothing(self) -> None:
        result = self.pgqrs("enqueue", "tasks", stdin="\n\n")
        self.assertEqual("", result.out)
        self.assertEqual("enqueued 0 messages\n", result.err)

    def test_a_terminal_is_not_read(self) -> None:
        asked = self.on_terminal("enqueue", "tasks")
        self.assertEqual(USAGE, asked.code)
        self.assertIn("needs JSON", asked.out)

    def test_g73_memory_does_not_grow_with_the_input(self) -> None:
        line = b'"' + b"x" * 4000 + b'"\n'
        most = []
        with subprocess.Popen(
            [CLI, "enqueue", "tasks", "--batch", "100"],
            env=self.env | {"ASAN_OPTIONS": NO_QUARANTINE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            for _ in range(60):
                process.stdin.write(line * 100)
                process.stdin.flush()
                for _ in range(100):
                    process.stdout.readline()
                most.append(peak(process.pid))
            process.communicate()
        self.assertLess(most[-1] - most[30], 3000)  # by then the database's own caches are full

    def test_large_lines_go_in(self) -> None:
        large = json.dumps("x" * (3 << 20))
        self.pgqrs("enqueue", "tasks", stdin=f"{large}\n{large}\n1\n{large}")
        self.assertEqual(4, len(self.ids("tasks")))


class Trigger(Put):
    def setUp(self) -> None:
        super().setUp()
        self.pgqrs("queue", "create", "archive", "--workflow")

    def test_a_run_is_started(self) -> None:
        number = self.pgqrs("trigger", "archive", '{"folder":"in"}').out.strip()
        run = self.pgqrs("run", "show", number, "--json").document()
        self.assertEqual("queued", run["status"])
        self.assertEqual({"folder": "in"}, run["input"])
        plain = self.pgqrs("trigger", "archive", "--json").document()
        self.assertEqual({"id": int(number) + 1, "workflow": "archive", "existed": False}, plain)
        run = self.pgqrs("show", str(plain["id"]), "--json").document()
        self.assertEqual({}, run["input"])
        number = self.pgqrs("trigger", "archive", "-P", "n=1", "--delay", "1h").out.strip()
        self.assertEqual({"n": 1}, self.pgqrs("show", number, "--json").document()["input"])

    def test_a_key_starts_one_run(self) -> None:
        first = self.pgqrs("trigger", "archive", "--key", "k").out
        again = self.pgqrs("trigger", "archive", "--key", "k")
        self.assertEqual(first, again.out)
        self.assertIn("a run that was there before", again.err)

    def test_queues_and_workflows_are_not_mixed_up(self) -> None:
        self.fails(NOT_FOUND, "pgqrs enqueue", "trigger", "tasks", "{}")
        self.fails(NOT_FOUND, "pgqrs trigger", "enqueue", "archive", "{}")
        self.fails(NOT_FOUND, "--workflow NAME", "trigger", "nothing")
        self.fails(USAGE, "JSON", "trigger", "archive", "{")
        self.fails(REFUSED, "", "queue", "create", "archive")


if __name__ == "__main__":
    main()
