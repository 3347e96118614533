"""ls, show, cancel, dead, run, workers, stats."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta

from harness import CLI, NO_QUARANTINE, NOT_FOUND, OK, REFUSED, USAGE, Case, main, peak


class Look(Case):
    def setUp(self) -> None:
        super().setUp()
        self.there = self.populate()


class List(Look):
    def test_messages_are_listed_by_state(self) -> None:
        there = self.there
        self.assertEqual([there["ready"], there["wide"]], self.ids("tasks", "--state", "ready"))
        for state in ("scheduled", "leased", "done", "cancelled"):
            self.assertEqual([there[state]], self.ids("tasks", "--state", state))
        self.assertEqual([there["dead"], there["dead_too"]], self.ids("tasks", "--state", "dead"))
        live = [there[name] for name in ("ready", "wide", "scheduled", "leased")]
        ended = [there[name] for name in ("done", "dead", "dead_too", "cancelled")]
        self.assertEqual(sorted(live), self.ids("tasks"))
        self.assertEqual(sorted(live), self.ids("tasks", "--state", "live"))
        self.assertEqual(sorted(ended), self.ids("tasks", "--state", "archived"))
        self.assertEqual(sorted(live + ended), self.ids("tasks", "--state", "all"))
        self.assertEqual([there["run_error"]], self.ids("archive", "--state", "error"))
        self.assertEqual([there["run_success"]], self.ids("archive", "--state", "success"))

    def test_a_message_as_a_document(self) -> None:
        line = self.pgqrs("ls", "tasks", "--limit", "1", "--json")
        self.assertIn('"payload":{"task":"send","price":1.10,"n":12345678901234567890}', line.out)
        document = line.document()
        self.assertEqual("tasks", document["queue"])
        self.assertEqual("ready", document["state"])
        self.assertEqual(self.there["worker"], document["producer"])
        self.assertEqual("2025-01-31T12:00:00.000000Z", document["enqueued_at"])
        self.assertEqual({"trace": "abc"}, document["headers"])
        self.assertIsNone(document["claimed_at"])

    def test_the_table_is_for_people(self) -> None:
        table = self.pgqrs("ls", "tasks").lines()
        self.assertEqual(
            ["ID", "STATE", "PRIORITY", "ATTEMPT", "ENQUEUED", "PAYLOAD"], table[0].split()
        )
        self.assertEqual(5, len(table))
        self.assertIn("2025-01-31 12:00:00Z", table[1])
        self.assertIn("\\u009b[31m", table[2])  # what a terminal would act on is shown, not sent
        column = table[0].index("ENQUEUED")
        self.assertTrue(all(line[column:].startswith("2025") for line in table[1:]))

    def test_lists_are_cut_and_continued(self) -> None:
        everything = self.ids("tasks", "--state", "all")
        self.assertEqual(everything[:3], self.ids("tasks", "--state", "all", "--limit", "3"))
        after = str(everything[2])
        self.assertEqual(everything[3:], self.ids("tasks", "--state", "all", "--after", after))
        self.assertEqual([], self.ids("tasks", "--after", "99999"))

    def test_an_empty_list_is_no_data(self) -> None:
        for command in (["ls", "empty"], ["dead", "ls", "empty"]):
            listed = self.pgqrs(*command)
            self.assertEqual("", listed.out)
            self.assertNotEqual("", listed.err)
            self.assertEqual("", self.pgqrs(*command, "--json").out)

    def test_what_cannot_be_listed_is_refused(self) -> None:
        self.fails(NOT_FOUND, "does not exist", "ls", "nothing")
        self.fails(NOT_FOUND, "does not exist", "dead", "ls", "nothing")
        self.fails(USAGE, 'did you mean "ready"', "ls", "tasks", "--state", "redy")
        self.fails(USAGE, "not one of ready, scheduled", "ls", "tasks", "--state", "zzzzzz")
        self.fails(USAGE, "--limit", "ls", "tasks", "--limit", "0")
        self.fails(USAGE, "--limit", "ls", "tasks", "--limit", "99999999999999999999")
        self.fails(USAGE, "--after", "ls", "tasks", "--after", "-1")

    def test_long_lists_are_whole(self) -> None:
        self.scene("many", "empty", "350")
        numbers = self.ids("empty")
        self.assertEqual(350, len(numbers))
        self.assertEqual(sorted(set(numbers)), numbers)
        self.assertEqual(350, len(self.ids("empty", "--state", "all")))
        self.assertEqual(numbers[:200], self.ids("empty", "--limit", "200"))
        table = self.pgqrs("ls", "empty").lines()
        self.assertEqual(351, len(table))
        self.assertEqual(1, sum("PAYLOAD" in line for line in table))

    def test_g73_memory_does_not_grow_with_the_list(self) -> None:
        line = '"' + "x" * 4000 + '"\n'
        self.pgqrs("enqueue", "empty", stdin=line * 3000)  # enough to fill the database's own caches
        short = [self.peak("ls", "empty", "--json"), self.peak("ls", "empty")]
        self.pgqrs("enqueue", "empty", stdin=line * 3000)
        long = [self.peak("ls", "empty", "--json"), self.peak("ls", "empty")]
        self.assertLess(long[0] - short[0], 3000)
        self.assertLess(long[1] - short[1], 3000)

    def peak(self, *arguments: str) -> int:
        """The most memory that it had while its list was read."""
        most = 0
        with subprocess.Popen(
            [CLI, *arguments],
            env=self.env | {"ASAN_OPTIONS": NO_QUARANTINE},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            while process.stdout.read(50_000):
                most = max(most, peak(process.pid))
        self.assertEqual(OK, process.returncode)
        self.assertGreater(most, 0)
        return most


class Show(Look):
    def show(self, name: str) -> str:
        return self.pgqrs("show", str(self.there[name])).out

    def test_a_message_is_shown(self) -> None:
        shown = self.show("ready")
        self.assertIn('"price": 1.10', shown)
        self.assertIn('"trace": "abc"', shown)
        self.assertIn("2025-01-31T12:00:00.000000Z", shown)
        self.assertIn("visible    2025-01-31T13:00:00.000000Z", self.show("scheduled"))
        self.assertIn("expires    2025-02-01T12:00:00.000000Z", self.show("leased"))
        self.assertIn('"code": "BOOM"', self.show("dead"))
        dead = self.pgqrs("show", str(self.there["dead"]), "--json").document()
        self.assertEqual({"code": "BOOM", "message": "it blew up\x1b[2J"}, dead["error"])

    def test_nothing_sends_escapes(self) -> None:
        for name, number in self.there.items():
            if name != "worker":
                self.assertNotIn("\x1b", self.pgqrs("show", str(number)).out)
                self.assertNotIn("\x9b", self.pgqrs("show", str(number), "--json").out)

    def test_a_run_is_shown_with_its_steps_on_a_line_of_time(self) -> None:
        shown = self.show("run_success")
        self.assertEqual(shown, self.pgqrs("run", "show", str(self.there["run_success"])).out)
        lines = shown.splitlines()
        steps = lines[lines.index("") + 1 :]
        self.assertEqual(["STEP", "STATUS", "STARTED", "DURATION"], steps[0].split())
        self.assertEqual(4, len(steps))
        self.assertEqual(
            ["list_files", "success", "12:00:00.000", "250", "ms"], steps[1].split()[:5]
        )
        self.assertEqual(["漢字", "success", "12:00:00.250", "500", "ms"], steps[2].split()[:5])
        bars = [(line.index("█"), line.count("█")) for line in steps[1:]]
        self.assertEqual(bars[0][1] * 2, bars[1][1])
        self.assertEqual(bars[0][0] + bars[0][1], bars[1][0] + 2)  # two wide characters: two columns
        self.assertLess(bars[1][0], bars[2][0])
        self.assertIn('"archive": "in.tar"', shown)

    def test_steps_that_failed_say_why(self) -> None:
        self.assertIn("DENIED: no rights", self.show("run_error"))
        running = self.show("run_running")
        self.assertIn("retry 1", running)
        self.assertIn("BUSY: try later", running)
        self.assertIn("waiting for approval", self.show("run_paused"))
        self.assertIn("error (dead: replayable)", self.show("run_dead"))
        self.assertNotIn("STEP", self.show("run_queued"))

    def test_a_run_as_a_document(self) -> None:
        run = self.pgqrs("show", str(self.there["run_success"]), "--json").document()
        self.assertEqual("success", run["status"])
        self.assertEqual({"archive": "in.tar"}, run["output"])
        self.assertEqual(
            [("list_files", 250000), ("漢字", 500000), ("create_archive", 250000)],
            [(step["name"], step["duration_us"]) for step in run["steps"]],
        )
        self.assertEqual(["a", "b"], run["steps"][0]["output"])
        retried = self.pgqrs("show", str(self.there["run_running"]), "--json").document()
        self.assertEqual("retry", retried["steps"][0]["status"])
        self.assertEqual("BUSY", retried["steps"][0]["error"]["code"])

    def test_a_sleep_is_shown_from_when_it_was_reached(self) -> None:
        asleep = self.scene("sleeper", "asleep").strip()
        line = self.pgqrs("show", asleep).lines()[-1]
        self.assertRegex(line, r"nap +asleep +12:00:00\.000")
        step = self.pgqrs("show", asleep, "--json").document()["steps"][0]
        self.assertEqual("retry", step["status"])
        self.assertEqual(3_600_000_000, self.between(step["started_at"], step["retry_at"]))
        woken = self.scene("sleeper", "woken").strip()
        self.assertRegex(self.pgqrs("show", woken).lines()[-1], r"nap +success +12:00:00\.000 +1h")
        step = self.pgqrs("show", woken, "--json").document()["steps"][0]
        self.assertEqual("success", step["status"])
        self.assertEqual(3_600_000_000, step["duration_us"])

    @staticmethod
    def between(start: str, end: str) -> int:
        first, last = (datetime.fromisoformat(text.rstrip("Z")) for text in (start, end))
        return (last - first) // timedelta(microseconds=1)

    def test_many_steps_are_shown(self) -> None:
        number = self.scene("run-with", "300").strip()
        self.assertEqual(300, self.pgqrs("show", number).out.count("█"))

    def test_what_cannot_be_shown(self) -> None:
        self.fails(NOT_FOUND, "does not exist", "show", "99999")
        self.fails(NOT_FOUND, "does not exist", "run", "show", str(self.there["ready"]))
        for bad in ("x", "0", "-1", "1x", "", "99999999999999999999"):
            self.fails(USAGE, "", "show", "--", bad)


class Dead(Look):
    def test_dead_letters_are_listed_with_their_errors(self) -> None:
        table = self.pgqrs("dead", "ls", "tasks").lines()
        self.assertEqual(["ID", "PRIORITY", "ATTEMPT", "DIED", "ERROR", "PAYLOAD"], table[0].split())
        self.assertIn("BOOM: it blew up\\u001b[2J", table[1])
        numbers = [d["id"] for d in self.pgqrs("dead", "ls", "tasks", "--json").documents()]
        self.assertEqual([self.there["dead"], self.there["dead_too"]], numbers)
        first = self.pgqrs("dead", "ls", "tasks", "--json", "--limit", "1").documents()
        self.assertEqual(numbers[:1], [d["id"] for d in first])
        rest = self.pgqrs("dead", "ls", "tasks", "--json", "--after", str(numbers[0])).documents()
        self.assertEqual(numbers[1:], [d["id"] for d in rest])

    def test_dead_letters_are_replayed_by_id(self) -> None:
        dead, run = self.there["dead"], self.there["run_error"]
        replayed = self.pgqrs("dead", "replay", str(dead), str(run), "--json").document()
        self.assertEqual({"replayed": 2}, replayed)
        self.assertIn(dead, self.ids("tasks", "--state", "ready"))
        self.assertEqual("queued", self.pgqrs("show", str(run), "--json").document()["status"])
        again = self.pgqrs("dead", "replay", str(dead), code=REFUSED)
        self.assertIn(f"message {dead} is ready", again.err)
        self.pgqrs("dead", "replay", "99999", code=NOT_FOUND)
        mixed = self.pgqrs("dead", "replay", "99999", str(self.there["dead_too"]), code=NOT_FOUND)
        self.assertIn("replayed 1", mixed.err)

    def test_dead_letters_are_replayed_by_queue(self) -> None:
        replayed = self.pgqrs("dead", "replay", "--queue", "tasks", "--json").document()
        self.assertEqual({"replayed": 2}, replayed)
        self.assertEqual([], self.pgqrs("dead", "ls", "tasks", "--json").documents())
        self.assertIn("replayed 0", self.pgqrs("dead", "replay", "--queue", "tasks").err)
        self.pgqrs("dead", "replay", "--queue", "nothing", code=NOT_FOUND)

    def test_g72_dead_letters_are_removed_when_that_is_confirmed(self) -> None:
        both = [self.there["dead"], self.there["dead_too"]]
        self.fails(REFUSED, "--yes", "dead", "purge", "tasks")
        self.fails(REFUSED, "--yes", "dead", "purge", "tasks", stdin="y\n")
        asked = self.on_terminal("dead", "purge", "tasks", typed="n\n")
        self.assertEqual(REFUSED, asked.code)
        self.assertIn('Remove 2 dead letters of "tasks" for good? [y/N]', asked.out)
        self.fails(USAGE, "--limit", "dead", "purge", "tasks", "--limit", "0", "--yes")
        self.assertEqual(both, self.ids("tasks", "--state", "dead"))
        one = self.pgqrs("dead", "purge", "tasks", "--limit", "1", "-y", "--json").document()
        self.assertEqual({"queue": "tasks", "purged": 1}, one)
        self.assertEqual(both[1:], self.ids("tasks", "--state", "dead"))
        asked = self.on_terminal("dead", "purge", "tasks", typed="y\n")
        self.assertIn('removed 1 dead letter of "tasks"', asked.out)
        self.assertEqual([], self.ids("tasks", "--state", "dead"))
        self.assertEqual(2, len(self.ids("tasks", "--state", "archived")))  # the others stay
        self.fails(NOT_FOUND, "does not exist", "dead", "purge", "nothing", "--yes")

    def test_one_or_the_other(self) -> None:
        self.fails(USAGE, "needs ids, or --queue", "dead", "replay")
        self.fails(USAGE, "exclude each other", "dead", "replay", "1", "--queue", "tasks")
        self.fails(USAGE, "is not an id", "dead", "replay", str(self.there["dead"]), "x")
        self.assertEqual(2, len(self.ids("tasks", "--state", "dead")))


class Runs(Look):
    STATUSES = {
        "run_success": "success",
        "run_error": "error",
        "run_paused": "paused",
        "run_running": "running",
        "run_dead": "error",
        "run_queued": "queued",
    }

    def test_runs_are_listed(self) -> None:
        runs = self.pgqrs("run", "ls", "--json").documents()
        self.assertEqual(
            {self.there[name]: status for name, status in self.STATUSES.items()},
            {run["id"]: run["status"] for run in runs},
        )
        self.assertEqual(runs, self.pgqrs("run", "ls", "archive", "--json").documents())
        self.assertEqual({"archive"}, {run["workflow"] for run in runs})
        failed = self.pgqrs("run", "ls", "--status", "error", "--json").documents()
        self.assertEqual([self.there["run_error"], self.there["run_dead"]], [r["id"] for r in failed])
        self.assertEqual([False, True], [run["dead"] for run in failed])
        table = self.pgqrs("run", "ls").out
        for shown in ("waiting for approval", "error (dead)", '{"archive":"in.tar"}'):
            self.assertIn(shown, table)

    def test_lists_of_runs_are_cut_and_continued(self) -> None:
        everything = [run["id"] for run in self.pgqrs("run", "ls", "--json").documents()]
        cut = self.pgqrs("run", "ls", "--json", "--limit", "2").documents()
        self.assertEqual(everything[:2], [run["id"] for run in cut])
        rest = self.pgqrs("run", "ls", "--json", "--after", str(everything[1])).documents()
        self.assertEqual(everything[2:], [run["id"] for run in rest])

    def test_long_lists_of_runs_are_whole(self) -> None:
        self.scene("runs", "archive", "205")
        runs = self.pgqrs("run", "ls", "--json").documents()
        self.assertEqual(211, len({run["id"] for run in runs}))
        self.assertEqual(212, len(self.pgqrs("run", "ls").lines()))
        self.assertEqual(150, len(self.pgqrs("run", "ls", "--json", "--limit", "150").documents()))

    def test_runs_are_cancelled(self) -> None:
        queued, running = str(self.there["run_queued"]), str(self.there["run_running"])
        done = self.pgqrs("run", "cancel", queued, running, "--json").documents()
        self.assertEqual(["cancelled", "cancelling"], [d["status"] for d in done])
        self.assertEqual("cancelled", self.pgqrs("show", queued, "--json").document()["status"])
        self.assertEqual("cancelling", self.pgqrs("show", running, "--json").document()["status"])
        self.assertIn("when its worker hears", self.pgqrs("run", "cancel", running).err)

    def test_what_cannot_be_cancelled(self) -> None:
        self.fails(REFUSED, "has ended already", "run", "cancel", str(self.there["run_success"]))
        self.fails(NOT_FOUND, "does not exist", "run", "cancel", "99999")
        self.fails(NOT_FOUND, "does not exist", "run", "cancel", str(self.there["ready"]))
        self.fails(USAGE, "needs: ID", "run", "cancel")
        self.fails(USAGE, "is not an id", "run", "cancel", str(self.there["run_queued"]), "x")
        queued = self.pgqrs("show", str(self.there["run_queued"]), "--json").document()
        self.assertEqual("queued", queued["status"])
        self.fails(NOT_FOUND, "does not exist", "run", "ls", "nothing")
        self.fails(USAGE, 'did you mean "queued"', "run", "ls", "--status", "qeued")


class Cancel(Look):
    def test_messages_and_runs_are_cancelled(self) -> None:
        ready, leased = self.there["scheduled"], self.there["leased"]
        done = self.pgqrs("cancel", str(ready), str(leased), "--json").documents()
        self.assertEqual(
            [
                {"id": ready, "state": "cancelled", "cancelled": True},
                {"id": leased, "state": "leased", "cancelled": True},
            ],
            done,
        )
        for document in done:
            shown = self.pgqrs("show", str(document["id"]), "--json").document()
            self.assertEqual(document, {name: shown[name] for name in document})
        self.assertIn("is cancelled", self.pgqrs("cancel", str(self.there["run_queued"])).err)

    def test_one_that_has_ended_does_not_keep_the_others(self) -> None:
        done, ready, wide = (str(self.there[name]) for name in ("done", "ready", "wide"))
        said = self.pgqrs("cancel", done, ready, "99999", wide, code=REFUSED).err
        self.assertIn("has ended already", said)
        self.assertIn("does not exist", said)
        for number in (ready, wide):
            self.assertEqual("cancelled", self.pgqrs("show", number, "--json").document()["state"])
        self.fails(USAGE, "is not an id", "cancel", str(self.there["scheduled"]), "x")
        self.assertIn(self.there["scheduled"], self.ids("tasks"))


class Counts(Look):
    def test_silent_workers_are_stopped_and_give_back_what_they_hold(self) -> None:
        self.fails(USAGE, "needs --silent", "workers", "purge")
        self.fails(USAGE, "--silent", "workers", "purge", "--silent", "0")
        self.assertIn("stopped 0 workers", self.pgqrs("workers", "purge", "--silent", "36500d").err)
        self.assertEqual("ready", self.pgqrs("workers", "--json").document()["status"])
        stopped = self.pgqrs("workers", "purge", "--silent", "1h", "--json").document()
        self.assertEqual({"stopped": 1}, stopped)
        self.assertEqual("stopped", self.pgqrs("workers", "--json").document()["status"])
        self.assertIn(self.there["leased"], self.ids("tasks", "--state", "ready"))

    def test_workers_are_listed(self) -> None:
        worker = self.pgqrs("workers", "--json").document()
        self.assertEqual(self.there["worker"], worker["id"])
        self.assertEqual("worker-ä", worker["name"])
        self.assertEqual("ready", worker["status"])
        self.assertEqual("tasks", worker["queue"])
        self.assertEqual("2025-01-31T12:00:00.000000Z", worker["heartbeat_at"])
        self.assertIn(" ago", self.pgqrs("workers").out)

    def test_queues_are_counted(self) -> None:
        counts = {d["queue"]: d for d in self.pgqrs("stats", "--json").documents()}
        self.assertEqual({"archive", "empty", "tasks"}, set(counts))
        tasks = counts["tasks"]
        self.assertEqual(
            (2, 1, 1, 2, 2),
            tuple(tasks[name] for name in ("ready", "scheduled", "leased", "done", "dead")),
        )
        self.assertGreater(tasks["oldest_us"], 0)
        self.assertTrue(counts["archive"]["workflow"])
        self.assertEqual(4, len(self.pgqrs("stats").lines()))
        self.assertEqual(2, len(self.pgqrs("stats", "tasks").lines()))
        self.fails(NOT_FOUND, "does not exist", "stats", "nothing")


if __name__ == "__main__":
    main()
