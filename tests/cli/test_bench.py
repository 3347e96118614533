"""pgqrs bench: what it prints and draws, what it refuses, and that nothing of it is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import unittest
from pathlib import Path
from xml.etree import ElementTree

from harness import BACKEND, CLI, FAILED, SECONDS, USAGE, Case, main

SHORT = ("--quick", "--rounds", "2", "--seconds", "0.05")
SVG = "{http://www.w3.org/2000/svg}"


class Bench(Case):
    def left(self) -> set[str]:
        """What there is beside what the test itself made."""
        if BACKEND == "postgres":
            beside = Path(os.environ["PGQRS_TEST_PG_BIN"]) / "psql"  # some have the server alone
            psql = beside if beside.exists() else "psql"
            like = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgqrs\\_bench\\_%'"
            listed = subprocess.run(
                [psql, "-XAtc", like, self.dsn], capture_output=True, check=True, timeout=SECONDS
            )
            return set(listed.stdout.decode().split())
        return {p.name for p in Path(self.folder.name).iterdir()} - {"picture.svg"}

    def test_a_table_for_people(self) -> None:
        out = self.pgqrs("bench", *SHORT, "--only", "enqueue by 100").out
        self.assertIn("\nenqueue by 100\n", out)
        self.assertRegex(out, r"(?m)^  pgqrs +\d+ ")
        self.assertRegex(out, r"rate: pgqrs / bare loop = [\d.]+ \([\d.]+\.\.[\d.]+\)")
        self.assertEqual(set(), self.left())

    def test_a_line_of_json_for_each_workload(self) -> None:
        contests = self.pgqrs("bench", *SHORT, "--only", "enqueue", "--json").documents()
        names = [c["name"] for c in contests]
        self.assertIn("enqueue, 64 callers", names)
        self.assertIn("enqueue by 1000", names)
        for contest in contests:
            self.assertEqual("enqueue", contest["group"])
            self.assertEqual(BACKEND, contest["backend"])
            self.assertEqual(2, contest["rounds"])
            for job in contest["jobs"]:
                low, median, high = job["rate"]
                self.assertLessEqual(0, low)
                self.assertLessEqual(low, median)
                self.assertLessEqual(median, high)
                self.assertEqual(BACKEND != "postgres", job["wal_bytes"] is None)
            for ratio in contest["ratios"]:
                self.assertGreater(ratio["value"][1], 0)
        self.assertEqual(set(), self.left())

    def test_every_job_does_the_durable_work_it_is_compared_by(self) -> None:
        """A baseline that commits less often than what it is held against would be no baseline."""
        for only, commits in (("enqueue, 1 caller", 1), ("enqueue by 100", 0.01), ("one run", 1)):
            contest = self.pgqrs("bench", *SHORT, "--only", only, "--json").documents()[0]
            for job in contest["jobs"]:
                self.assertAlmostEqual(commits, job["commits"][1], delta=commits * 0.05, msg=job["name"])
                self.assertAlmostEqual(commits, job["round_trips"][1], delta=commits * 0.05)
        contest = self.pgqrs("bench", *SHORT, "--only", "drain by 100, 1", "--json").documents()[0]
        self.assertGreater(len(contest["jobs"]), 1)
        for job in contest["jobs"]:  # a claim and a finish
            self.assertAlmostEqual(0.02, job["commits"][1], delta=0.002, msg=job["name"])

    def test_what_waits_costs_next_to_nothing(self) -> None:
        idle = self.pgqrs("bench", *SHORT, "--only", "idle", "--json").documents()[0]["jobs"][0]
        self.assertLessEqual(idle["statements"][1], 2)  # a second
        kept = self.pgqrs("bench", *SHORT, "--only", "keep", "--json").documents()[0]["jobs"][0]
        self.assertEqual(1000, kept["size"])
        self.assertLessEqual(kept["statements"][1], 2)  # a second; leases of three seconds
        self.assertLessEqual(kept["commits"][1], 2)
        self.assertGreater(kept["commits"][1], 0.5)

    def test_the_picture_is_one(self) -> None:
        file = os.path.join(self.folder.name, "picture.svg")
        self.pgqrs("bench", *SHORT, "--only", "enqueue", "--svg", file)
        root = ElementTree.parse(file).getroot()
        self.assertEqual(f"{SVG}svg", root.tag)
        texts = [t.text or "" for t in root.iter(f"{SVG}text")]
        self.assertIn("batch size", texts)
        self.assertIn("callers at once", texts)
        self.assertNotIn("backlog", texts)  # --only left nothing of it
        self.assertIn("enqueue", texts)
        width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
        for circle in root.iter(f"{SVG}circle"):
            self.assertTrue(0 <= float(circle.attrib["cx"]) <= width)
            self.assertTrue(0 <= float(circle.attrib["cy"]) <= height)
        lines = [p for p in root.iter(f"{SVG}path") if re.match(r"M.+L.+", p.attrib["d"])]
        self.assertGreater(len(lines), 0)
        self.fails_late("could not write", "bench", *SHORT, "--only", "enqueue by 100", "--svg", "/none/x")
        self.assertEqual(set(), self.left())

    def fails_late(self, said: str, *arguments: str) -> None:
        result = self.pgqrs(*arguments, code=FAILED)
        self.assertIn(said, result.err)

    @unittest.skipIf(BACKEND == "turso", "a file of Turso's is one process's")
    def test_in_processes_too(self) -> None:
        only = "processes" if BACKEND == "sqlite" else "4 processes"
        for contest in self.pgqrs("bench", *SHORT, "--only", only, "--json").documents():
            self.assertTrue(any(job["processes"] for job in contest["jobs"]))
            for job in contest["jobs"]:
                self.assertGreater(job["rate"][1], 0)
                self.assertGreater(job["commits"][1], 0)
        self.assertEqual(set(), self.left())

    def test_g74_wrong_flags_are_refused_before_anything_is_made(self) -> None:
        for said, *flags in (
            ("nothing that is measured is called", "--only", "speed"),
            ("--rounds", "--rounds", "0"),
            ("--rounds", "--rounds", "65"),
            ("--rounds", "--rounds", "many"),
            ("--seconds", "--seconds", "0.01"),
            ("--seconds", "--seconds", "x"),
            ("contradict", "--quick", "--large"),
            ("takes no flag --schema", "--schema", "mine"),
            ('did you mean "--svg"', "--svgg", "x"),
            ("has nothing to do with", "fast"),
        ):
            self.fails(USAGE, said, "bench", *flags)
        self.fails(USAGE, "no store was named", "bench", env={"PGQRS_DSN": ""})
        self.fails(USAGE, "", "bench", *SHORT, env={"PGQRS_DSN": "nonsense"})
        self.assertEqual(set(), self.left())

    def test_a_terminal_is_told_what_is_going_on(self) -> None:
        file = os.path.join(self.folder.name, "out")
        with open(file, "w", encoding="utf-8") as out:
            shown = self.on_terminal("bench", *SHORT, "--only", "enqueue by 100", stdout=out)
        os.unlink(file)
        self.assertRegex(shown.out, r"\r\x1b\[K1 of 2: enqueue by 100, round 1 of 2")
        self.assertTrue(shown.out.endswith("\r\x1b[K"), shown.out[-80:])
        elsewhere = self.pgqrs("bench", *SHORT, "--only", "enqueue by 100")
        self.assertEqual("", elsewhere.err)

    def test_g74_interrupted_it_clears_away_and_ends_by_the_signal(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen(
                [CLI, "bench", "--only", "enqueue by 1000", "--json", "--rounds", "60"],
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also in the background
            ) as process:
                deadline = time.monotonic() + SECONDS
                while not self.left() and time.monotonic() < deadline:
                    time.sleep(0.02)
                self.assertNotEqual(set(), self.left())
                process.send_signal(number)
                out, err = process.communicate(timeout=SECONDS)
            self.assertEqual((-number, b"", b""), (process.returncode, out, err))
            self.assertEqual(set(), self.left())

    @unittest.skipIf(BACKEND == "postgres", "it is on a server")
    def test_in_memory(self) -> None:
        env = {"PGQRS_DSN": f"{BACKEND}::memory:"}
        for only in ("drain by 100, 1", "one run", "wakeup"):
            contest = self.pgqrs("bench", *SHORT, "--only", only, "--json", env=env).documents()[0]
            self.assertGreater(contest["jobs"][0]["rate"][1], 0)


if __name__ == "__main__":
    main()
