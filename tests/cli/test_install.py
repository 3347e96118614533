"""install, verify, version."""

from __future__ import annotations

import os
import re
import unittest

from harness import (
    AGAIN,
    BACKEND,
    FAILED,
    NOT_FOUND,
    OK,
    POOLED,
    REFUSED,
    SCHEMA,
    TURSO,
    USAGE,
    Case,
    main,
)


class Install(Case):
    def test_it_installs_and_installing_again_does_nothing(self) -> None:
        first = self.pgqrs("install")
        self.assertEqual("", first.out)
        self.assertIn("installed", first.err)
        again = self.pgqrs("install", "--json").document()
        self.assertTrue(again["installed"])
        self.assertEqual([], again["migrations"])
        self.assertEqual(again["from_version"], again["to_version"])
        self.pgqrs("verify")

    def test_g70_a_dry_run_of_the_program_installs_nothing(self) -> None:
        for flag in ("--dry-run", "--sql"):
            plan = self.pgqrs("install", flag, "--json").document()
            self.assertFalse(plan["installed"])
            self.assertEqual(0, plan["from_version"])
            self.assertEqual({"version": 1, "name": "tables"}, plan["migrations"][0])
        table = self.pgqrs("install", "--dry-run")
        self.assertEqual(["VERSION", "MIGRATION", "1", "tables"], table.out.split()[:4])
        self.assertIn("nothing was changed", table.err)
        if BACKEND != "postgres":
            self.assertEqual([], os.listdir(self.folder.name))
        self.pgqrs("verify", code=SCHEMA)
        self.pgqrs("install")
        self.assertEqual("", self.pgqrs("install", "--dry-run").out)
        self.assertEqual("", self.pgqrs("install", "--sql").out)

    def test_g70_the_sql_that_is_printed_installs(self) -> None:
        sql = self.pgqrs("install", "--sql").out
        self.assertEqual(sql, self.pgqrs("install", "--sql", "--json").document()["sql"])
        self.sql(sql)
        self.pgqrs("verify")
        self.assertIn("nothing to do", self.pgqrs("install").err)

    @unittest.skipUnless(BACKEND == "postgres", "of schemas")
    def test_a_schema_is_named_and_made(self) -> None:
        other = f'{self.schema}_"Other"'
        quoted = '"' + other.replace('"', '""') + '"'
        self.addCleanup(self.sql, f"DROP SCHEMA IF EXISTS {quoted} CASCADE")
        self.assertIn(
            f"CREATE SCHEMA IF NOT EXISTS {quoted};",
            self.pgqrs("install", "--sql", "--schema", other).out,
        )
        self.pgqrs("verify", code=SCHEMA, env={"PGQRS_SCHEMA": other})
        self.pgqrs("install", "--schema", other)
        self.assertEqual(other, self.pgqrs("verify", "--schema", other, "--json").document()["schema"])
        self.pgqrs("verify", code=SCHEMA)

    @unittest.skipUnless(BACKEND == "postgres" and not POOLED, "of PostgreSQL's sessions")
    def test_the_schema_of_the_session_is_the_default(self) -> None:
        env = {
            "PGQRS_SCHEMA": "",
            "PGQRS_DSN": f"{self.dsn}&options=-csearch_path%3D{self.schema}",
        }
        self.pgqrs("install", env=env)
        self.assertEqual(self.schema, self.pgqrs("verify", "--json", env=env).document()["schema"])
        self.pgqrs("verify")

    @unittest.skipUnless(BACKEND == "postgres", "of roles")
    def test_g53_roles_are_granted(self) -> None:
        producer, worker = f"{self.schema}_p", f"{self.schema} w"
        for role in (producer, worker):
            self.sql(f'CREATE ROLE "{role}" LOGIN')
            self.addCleanup(self.sql, f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
        roles = f"{producer},{worker}"
        planned = self.pgqrs("install", "--dry-run", "--roles", roles)
        self.assertIn(f'would grant to role "{producer}" what a producer needs', planned.err)
        self.assertIn(f'would grant to role "{worker}" what a worker needs', planned.err)
        sql = self.pgqrs("install", "--sql", "--roles", roles).out
        self.assertIn(f'TO "{producer}"', sql)
        self.fails(NOT_FOUND, "CREATE ROLE", "install", "--roles", "nobody")
        self.pgqrs("verify", code=SCHEMA)  # so far nothing was done

        done = self.pgqrs("install", "--roles", roles, "--json").document()
        self.assertEqual([producer, worker], [done["producer_role"], done["worker_role"]])
        self.pgqrs("queue", "create", "tasks")
        self.roles_are_as_promised(producer, worker)
        grants = self.pgqrs("install", "--sql", "--roles", roles).out
        self.assertNotIn("CREATE TABLE", grants)
        for role in (producer, worker):
            self.sql(f'DROP OWNED BY "{role}"')
        self.fails(FAILED, "--roles", "enqueue", "tasks", "1", env=self.as_role(producer))
        self.sql(grants)
        self.roles_are_as_promised(producer, worker)

    def as_role(self, role: str) -> dict[str, str]:
        server = os.environ.get("PGQRS_TEST_PG_DIRECT", self.dsn)  # a pooler has users of its own
        return {"PGQRS_DSN": server.replace("user=postgres", f"user={role.replace(' ', '%20')}")}

    def roles_are_as_promised(self, producer: str, worker: str) -> None:
        number = self.pgqrs("enqueue", "tasks", "1", env=self.as_role(producer)).out.strip()
        refused = self.fails(FAILED, "--roles", "show", number, env=self.as_role(producer))
        self.assertIn("permission denied", refused.err)
        self.pgqrs("show", number, env=self.as_role(worker))
        self.fails(FAILED, "--roles", "queue", "create", "more", env=self.as_role(worker))

    def test_roles_that_make_no_sense(self) -> None:
        for bad in ("", ",", "a,b,c"):
            self.fails(USAGE, "not PRODUCER,WORKER", "install", "--roles", bad)
        if BACKEND != "postgres":
            self.fails(REFUSED, "has no roles", "install", "--roles", "a,b")
        self.pgqrs("verify", code=SCHEMA)

    @unittest.skipIf(BACKEND == "postgres", "of files")
    def test_only_installing_makes_a_file(self) -> None:
        for command in (["verify"], ["queue", "ls"], ["enqueue", "tasks", "1"], ["stats"]):
            self.fails(SCHEMA, "there is no file", *command)
        self.assertEqual([], os.listdir(self.folder.name))
        self.fails(USAGE, "--schema is for PostgreSQL", "install", "--schema", "x")
        self.fails(USAGE, "folder does not exist", "install", "--dsn", f"{self.dsn}/x/y")


class Verify(Case):
    def test_it_reports_versions(self) -> None:
        self.install()
        report = self.pgqrs("verify", "--json").document()
        self.assertTrue(report["ok"])
        self.assertIsNone(report["problem"])
        self.assertEqual(BACKEND, report["backend"])
        self.assertRegex(report["version"], r"^\d+\.\d+")
        self.assertEqual(report["needed_version"], report["schema_version"])
        self.assertEqual(self.pgqrs("version", "--json").document()["library"], report["library"])
        words = self.pgqrs("verify").out
        for said in (report["version"], "as it should be", f"version {report['schema_version']}"):
            self.assertIn(said, words)

    def test_it_finds_drift(self) -> None:
        self.pgqrs("install")
        self.sql(f"DROP INDEX {self.prefix}pgqrs_scheduled_due")
        said = self.pgqrs("verify", code=SCHEMA)
        self.assertIn("pgqrs_scheduled_due", said.out)
        self.assertIn("pgqrs_scheduled_due", said.err)
        report = self.pgqrs("verify", "--json", code=SCHEMA).document()
        self.assertFalse(report["ok"])
        self.assertIn("pgqrs_scheduled_due", report["detail"])

    def test_it_finds_a_changed_migration(self) -> None:
        self.pgqrs("install")
        self.sql(f"UPDATE {self.prefix}pgqrs_migrations SET checksum = 'x'")
        self.assertIn("differs", self.pgqrs("verify", code=SCHEMA).err)
        self.fails(SCHEMA, "differs", "install")
        self.fails(SCHEMA, "differs", "install", "--dry-run")

    def test_a_newer_schema_is_refused_naming_both_versions(self) -> None:
        self.pgqrs("install")
        self.sql(f"UPDATE {self.prefix}pgqrs_migrations SET oldest_library = '23.4.5'")
        said = self.fails(SCHEMA, "23.4.5", "queue", "ls")
        self.assertIn(self.pgqrs("--version").out.split()[1].rstrip(","), said.err)

    @unittest.skipUnless(BACKEND == "sqlite", "of SQLite")
    def test_g71_defects_of_sqlite_are_told(self) -> None:
        self.pgqrs("install")
        preload = {"LD_PRELOAD": os.environ["PGQRS_TEST_SECOND_SQLITE"]}
        for version, bad in {
            "3.35.0": True,
            "3.44.5": True,
            "3.44.6": False,
            "3.50.6": True,
            "3.50.7": False,
            "3.51.2": True,
            "3.51.3": False,
        }.items():
            env = preload | {"PGQRS_TEST_SQLITE": version}
            report = self.pgqrs("verify", "--json", env=env).document()
            self.assertEqual(version, report["version"])
            told = [text for text in report["warnings"] if "3.51.3" in text]
            self.assertEqual(bad, bool(told), version)

    @unittest.skipUnless(BACKEND == "sqlite", "of SQLite")
    def test_g71_two_copies_of_sqlite_are_told(self) -> None:
        self.pgqrs("install")
        alone = self.pgqrs("verify", "--json").document()["warnings"]
        self.assertEqual([], [text for text in alone if "copy" in text])
        preload = {"LD_PRELOAD": os.environ["PGQRS_TEST_SECOND_SQLITE"]}
        words = self.pgqrs("verify", env=preload).out
        self.assertIn("more than one copy of SQLite", words)
        self.assertIn(os.path.basename(preload["LD_PRELOAD"]), words)

    @unittest.skipUnless(BACKEND == "postgres" and not POOLED, "of PostgreSQL's sessions")
    def test_g71_settings_that_lose_writes_are_told(self) -> None:
        self.pgqrs("install")
        self.assertEqual([], self.pgqrs("verify", "--json").document()["warnings"])
        dsn = f"{self.dsn}&options=-csynchronous_commit%3Doff"
        report = self.pgqrs("verify", "--json", "--dsn", dsn).document()
        self.assertIn("synchronous_commit is off", report["warnings"][0])
        self.assertIn("synchronous_commit is off", self.pgqrs("verify", "--dsn", dsn).out)


class Version(Case):
    def test_the_version_needs_no_store(self) -> None:
        none = {"PGQRS_DSN": ""}
        words = self.pgqrs("version", env=none).out
        self.assertRegex(words, r"^pgqrs \d+\.\d+\.\d+, library \d+\.\d+\.\d+\n$")
        self.assertEqual(words, self.pgqrs("--version").out)
        report = self.pgqrs("version", "--json", env=none).document()
        self.assertIsNone(report["backend"])

    def test_the_version_of_a_store(self) -> None:
        self.install()
        self.assertIn(f"\n{BACKEND} ", self.pgqrs("version").out)
        report = self.pgqrs("version", "--json", code=OK).document()
        self.assertEqual(BACKEND, report["backend"])
        self.assertEqual(1, report["schema_version"])


@unittest.skipUnless(BACKEND == "turso", "of Turso")
class Turso(Case):
    def test_the_engine_its_version_and_its_path_are_told(self) -> None:
        self.install()
        told = rf"0\.8\.\d+, from {re.escape(TURSO)}"
        for command in ("version", "verify"):
            self.assertRegex(self.pgqrs(command).out, rf"(?i)\bturso {told}")
            self.assertRegex(self.pgqrs(command, "--json").document()["version"], rf"^{told}$")

    def test_without_its_library_it_is_told_what_to_do(self) -> None:
        none = {"PGQRS_TURSO_LIBRARY": "/nowhere/libpgqrs_turso.so"}
        said = self.fails(USAGE, "/nowhere/libpgqrs_turso.so", "install", env=none)
        for way in ("make turso", "pip install pgqrs[turso]"):
            self.assertIn(way, said.err)

    def test_g80_the_program_is_told_who_has_the_file(self) -> None:
        self.install()
        with self.holding() as holder:
            for command in (["queue", "ls"], ["enqueue", "tasks", "1"], ["verify"], ["install"]):
                said = self.fails(AGAIN, f"process {holder} ", *command)
                self.assertIn("one process at a time", said.err)
        self.pgqrs("verify")


if __name__ == "__main__":
    main()
