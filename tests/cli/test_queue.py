"""queue ls, create, configure, delete, pause, resume, purge."""

from __future__ import annotations

from harness import NOT_FOUND, REFUSED, USAGE, Case, main


class Queue(Case):
    def setUp(self) -> None:
        super().setUp()
        self.install()

    def queues(self) -> dict[str, dict]:
        return {d["queue"]: d for d in self.pgqrs("queue", "ls", "--json").documents()}

    def test_a_queue_is_created_once(self) -> None:
        made = self.pgqrs("queue", "create", "tasks")
        self.assertEqual("", made.out)
        self.assertIn('created queue "tasks"', made.err)
        self.fails(REFUSED, "exists", "queue", "create", "tasks")
        again = self.pgqrs("queue", "create", "tasks", "--if-missing", "--json")
        self.assertEqual({"queue": "tasks", "created": False}, again.document())
        made = self.pgqrs("queue", "create", "more", "--if-missing", "--json").document()
        self.assertTrue(made["created"])

    def test_a_workflow_is_created_once(self) -> None:
        self.pgqrs("queue", "create", "archive", "--workflow")
        self.assertTrue(self.queues()["archive"]["workflow"])
        self.fails(REFUSED, "exists", "queue", "create", "archive", "--workflow")
        self.pgqrs("queue", "create", "archive", "--workflow", "--if-missing")
        self.fails(REFUSED, "", "queue", "create", "archive", "--if-missing")

    def test_settings_are_stored(self) -> None:
        self.pgqrs(
            *("queue", "create", "tasks", "--lease", "1m30s", "--attempts", "7"),
            *("--backoff", "250ms", "--backoff-factor=1.5", "--backoff-max", "1h", "--retention", "2d"),
        )
        self.pgqrs("queue", "create", "kept", "--retention", "forever")
        tasks = self.queues()["tasks"]
        self.assertEqual(90_000_000, tasks["lease_us"])
        self.assertEqual(7, tasks["max_attempts"])
        self.assertEqual(250_000, tasks["backoff_us"])
        self.assertEqual(1.5, tasks["backoff_factor"])
        self.assertEqual(3_600_000_000, tasks["backoff_max_us"])
        self.assertEqual(172_800_000_000, tasks["retention_us"])
        self.assertIsNone(self.queues()["kept"]["retention_us"])
        row = next(line for line in self.pgqrs("queue", "ls").lines() if line.startswith("tasks"))
        for shown in ("1m 30s", "250 ms", "2d"):
            self.assertIn(shown, row)

    def test_bad_settings_are_refused_before_anything(self) -> None:
        for flag, value in (
            ("--lease", "soon"),
            ("--lease", "0"),
            ("--lease", "-1s"),
            ("--lease", "3 s"),
            ("--lease", "8d"),
            ("--attempts", "0"),
            ("--attempts", "1001"),
            ("--attempts", "x"),
            ("--backoff-factor", "nan"),
            ("--retention", "ever"),
        ):
            self.fails(USAGE, "", "queue", "create", "tasks", flag, value)
        self.fails(USAGE, "control character", "queue", "create", "a\x1b[2Jb")
        self.assertEqual({}, self.queues())

    def test_settings_are_changed_and_the_others_stay(self) -> None:
        self.pgqrs("queue", "create", "tasks", "--lease", "1m", "--attempts", "7")
        self.pgqrs("queue", "create", "flow", "--workflow")
        before = self.queues()["tasks"]
        changed = self.pgqrs(
            *("queue", "configure", "tasks", "--backoff", "2s", "--retention", "forever", "--json")
        ).document()
        self.assertEqual(before | {"backoff_us": 2_000_000, "retention_us": None}, changed)
        self.assertEqual(changed, self.queues()["tasks"])
        said = self.pgqrs("queue", "configure", "flow", "--attempts", "2")
        self.assertEqual(("", 'configured "flow"\n'), (said.out, said.err))
        self.assertEqual(2, self.queues()["flow"]["max_attempts"])
        self.pgqrs("queue", "configure", "tasks", "--retention", "1d")
        self.assertEqual(86_400_000_000, self.queues()["tasks"]["retention_us"])
        self.fails(USAGE, "needs a setting", "queue", "configure", "tasks")
        self.fails(USAGE, "needs a setting", "queue", "configure", "tasks", "--json")
        self.fails(USAGE, "--lease", "queue", "configure", "tasks", "--lease", "soon")
        self.fails(NOT_FOUND, "does not exist", "queue", "configure", "nothing", "--lease", "1s")

    def test_an_empty_list_is_no_data(self) -> None:
        listed = self.pgqrs("queue", "ls")
        self.assertEqual("", listed.out)
        self.assertIn("no queues", listed.err)
        self.assertEqual("", self.pgqrs("queue", "ls", "--json").out)

    def test_pause_and_resume(self) -> None:
        self.pgqrs("queue", "create", "tasks")
        self.pgqrs("queue", "pause", "tasks")
        self.assertTrue(self.queues()["tasks"]["paused"])
        self.assertIn("paused", self.pgqrs("queue", "ls").out)
        paused = self.pgqrs("queue", "pause", "tasks", "--json").document()
        self.assertEqual({"queue": "tasks", "paused": True}, paused)
        resumed = self.pgqrs("queue", "resume", "tasks", "--json").document()
        self.assertEqual({"queue": "tasks", "resumed": True}, resumed)
        self.assertFalse(self.queues()["tasks"]["paused"])
        self.fails(NOT_FOUND, "does not exist", "queue", "pause", "nothing")
        self.fails(NOT_FOUND, "does not exist", "queue", "resume", "nothing")


class Destroy(Case):
    def test_g72_without_yes_nothing_is_destroyed(self) -> None:
        self.populate()
        for verb in ("delete", "purge"):
            self.fails(REFUSED, "--yes", "queue", verb, "tasks")
            self.fails(REFUSED, "--yes", "queue", verb, "tasks", stdin="y\n")
            self.fails(REFUSED, "--yes", "queue", verb, "tasks", "--json")
        after = self.pgqrs("stats", "tasks", "--json").document()
        self.assertEqual(2, after["ready"])
        self.assertEqual(1, after["scheduled"])

    def test_g72_on_a_terminal_it_asks(self) -> None:
        self.populate()
        for answer in ("n\n", "\n", "\x04", "yellow\n"):
            asked = self.on_terminal("queue", "purge", "tasks", typed=answer)
            self.assertEqual(REFUSED, asked.code)
            self.assertIn('Remove 3 waiting messages of "tasks"? [y/N]', asked.out)
            self.assertIn("nothing was done", asked.out)
        self.assertEqual(2, self.pgqrs("stats", "tasks", "--json").document()["ready"])
        done = self.on_terminal("queue", "purge", "tasks", typed="y\n")
        self.assertEqual(0, done.code)
        self.assertEqual(0, self.pgqrs("stats", "tasks", "--json").document()["ready"])
        asked = self.on_terminal("queue", "delete", "tasks", typed="n\n")
        self.assertIn("0 waiting, 1 leased and 4 ended messages?", asked.out)
        self.assertEqual(NOT_FOUND, self.on_terminal("queue", "delete", "none").code)

    def test_a_purge_leaves_what_is_leased_or_ended(self) -> None:
        ids = self.populate()
        purged = self.pgqrs("queue", "purge", "tasks", "--yes", "--json").document()
        self.assertEqual({"queue": "tasks", "purged": 3}, purged)
        self.assertEqual([ids["leased"]], self.ids("tasks"))
        self.assertEqual(4, len(self.ids("tasks", "--state", "archived")))
        self.fails(NOT_FOUND, "does not exist", "queue", "purge", "nothing", "-y")

    def test_a_queue_in_use_is_deleted_by_force_only(self) -> None:
        self.populate()
        self.fails(REFUSED, "--force", "queue", "delete", "tasks", "--yes")
        self.pgqrs("queue", "delete", "tasks", "--yes", "--force")
        self.fails(NOT_FOUND, "does not exist", "ls", "tasks")
        self.fails(NOT_FOUND, "does not exist", "queue", "delete", "tasks", "--yes")
        deleted = self.pgqrs("queue", "delete", "empty", "-y", "--json").document()
        self.assertEqual({"queue": "empty", "deleted": True}, deleted)


if __name__ == "__main__":
    main()
