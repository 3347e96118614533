"""tools/sqlgen.py: what it makes of good SQL files, and that it refuses each kind of bad one."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "sqlgen.py"
spec = importlib.util.spec_from_file_location("sqlgen", TOOL)
assert spec is not None and spec.loader is not None
sqlgen = importlib.util.module_from_spec(spec)
sys.modules["sqlgen"] = sqlgen  # dataclasses look their module up
spec.loader.exec_module(sqlgen)

BACKEND_H = """
#ifndef PGQRS__BACKEND_H
#define PGQRS__BACKEND_H
#include <stddef.h>
#include <stdint.h>
typedef enum { PGQRS__TYPE_I16, PGQRS__TYPE_I32, PGQRS__TYPE_I64, PGQRS__TYPE_F64,
               PGQRS__TYPE_BOOL, PGQRS__TYPE_TEXT, PGQRS__TYPE_JSON, PGQRS__TYPE_TIME } pgqrs__type;
typedef struct pgqrs__field { const char *name; uint8_t type, array, nullable; } pgqrs__field;
typedef struct pgqrs__shape { const char *name; const pgqrs__field *args, *cols;
                              uint8_t nargs, ncols, narrays, many; } pgqrs__shape;
typedef struct pgqrs__sql { const char *const *parts; uint8_t nparts; uint16_t ids; } pgqrs__sql;
typedef struct pgqrs__migration { int version; const char *name, *checksum, *oldest_library,
                                  *sql; } pgqrs__migration;
#endif
"""

POSTGRES = """
-- The lease is the fence.
-- name: step_record :many
-- args: lease i64[], run i64[],
-- args: output json[]?, now time?
-- cols: n i64, cancelled bool
WITH held AS (@{held} FOR KEY SHARE)   -- keeps the reaper off
SELECT h.n, h.cancelled, '$run; -- "@now"' || $$ $run ; $$ || E'\\';$run'
  FROM held h
 WHERE $output::json[] IS NOT NULL AND "$run".at < @now;

-- fragment: held
SELECT * FROM unnest($lease::bigint[], $run::bigint[])
  JOIN @schema.pgqrs_leased USING (id)

-- name: queue_find
-- args: name text
-- cols: id i32, paused_at time?
/* nothing; /* is nested */ here */
SELECT id, paused_at FROM @schema.pgqrs_queues WHERE name = $name
"""

SQLITE = """
-- name: queue_find :one
-- args: name text
-- cols: id i32, paused_at time?
SELECT id, paused_at FROM @schema.pgqrs_queues WHERE name = $name;

-- name: step_record :many
-- args: lease i64[], run i64[], output json[]?, now time?
-- cols: n i64, cancelled bool
-- ids: 2
INSERT INTO @schema.pgqrs_steps (id, seq, at, path) VALUES ($id, $id + 1, @now, '$.a;b');
SELECT $n, [cancelled;], `$x` FROM @schema.pgqrs_leased -- ; not here
 WHERE lease = $lease AND run = $run;
"""

MIGRATION = """\
-- oldest_library: 0.1.0
-- The first tables.
CREATE TABLE @schema.pgqrs_a (id bigint);
CREATE TABLE @schema.pgqrs_b (
    id bigint  -- the key
);
"""


class Tree(unittest.TestCase):
    """A throw-away sql/ folder; each test writes what it is about."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.out = self.root / "out"
        for dialect in ("postgres", "sqlite"):
            self.put(f"migrations/{dialect}/0001_first.sql", MIGRATION)

    def put(self, name: str, text: str) -> Path:
        path = self.root / "sql" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def run_tool(self, dialects: str) -> tuple[int, str]:
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            status = sqlgen.main(
                ["--sql", str(self.root / "sql"), "--out", str(self.out), "--dialects", dialects]
            )
        prefix = (self.root / "sql").as_posix() + "/"
        return status, stderr.getvalue().replace(prefix, "")

    def good(self, dialects: str = "postgres,sqlite") -> None:
        self.assertEqual((0, ""), self.run_tool(dialects))

    def bad(self, *expected: str, dialects: str = "postgres,sqlite") -> None:
        """The tool fails with exactly these lines, each given by its start, and writes nothing."""
        status, stderr = self.run_tool(dialects)
        lines = stderr.splitlines()
        self.assertEqual(1, status)
        self.assertEqual(len(expected), len(lines), stderr)
        for start, line in zip(expected, lines):
            self.assertEqual(start, line[: len(start)])
        self.assertFalse(self.out.exists())

    def output(self, name: str) -> str:
        return (self.out / name).read_text(encoding="ascii")

    def sql(self, dialect: str, statement: str) -> list[str]:
        """The parts of a statement, read back from the C source."""
        text = self.output(f"sql_{dialect}.c")
        found = re.search(rf"parts_{statement}\[\] = {{\n(.*?)\n}};", text, re.DOTALL)
        assert found is not None
        parts, part = [], ""
        for line in found.group(1).split("\n"):
            literal = line.strip()
            part += literal.strip("(),")[1:-1]
            if literal.endswith(","):
                parts.append(part)
                part = ""
        unescape = {r"\n": "\n", r"\"": '"', r"\\": "\\", r"\?": "?"}
        return [re.sub(r"\\.", lambda m: unescape[m.group()], part) for part in parts]

    def put_pair(self, text: str, sqlite: str | None = None) -> None:
        self.put("postgres/a.sql", text)
        self.put("sqlite/a.sql", text if sqlite is None else sqlite)


class Good(Tree):
    def setUp(self) -> None:
        super().setUp()
        self.put("postgres/steps.sql", POSTGRES)
        self.put("sqlite/steps.sql", SQLITE)

    def test_postgres_sql(self) -> None:
        self.good()
        self.assertEqual(
            [
                (
                    "WITH held AS (SELECT * FROM unnest($1::bigint[], $2::bigint[])\n"
                    "JOIN @schema.pgqrs_leased USING (id) FOR KEY SHARE)\n"
                    "SELECT h.n, h.cancelled, '$run; -- \"@now\"' || $$ $run ; $$ || E'\\';$run'\n"
                    "FROM held h\n"
                    'WHERE $3::json[] IS NOT NULL AND "$run".at < '
                    "coalesce($4, statement_timestamp())"
                )
            ],
            self.sql("postgres", "step_record"),
        )
        self.assertEqual(
            ["SELECT id, paused_at FROM @schema.pgqrs_queues WHERE name = $1"],
            self.sql("postgres", "queue_find"),
        )

    def test_sqlite_sql(self) -> None:
        self.good()
        self.assertEqual(
            [
                "INSERT INTO pgqrs_steps (id, seq, at, path) VALUES (?5, ?5 + 1, ?4, '$.a;b')",
                "SELECT ?6, [cancelled;], `$x` FROM pgqrs_leased\nWHERE lease = ?1 AND run = ?2",
            ],
            self.sql("sqlite", "step_record"),
        )
        self.assertIn(".nparts = 2,\n        .ids = 2,", self.output("sql_sqlite.c"))

    def test_enums_follow_the_reference_dialect(self) -> None:
        self.put("postgres/abc.sql", "-- name: z\nSELECT 1")
        self.put("sqlite/zzz.sql", "-- name: z\nSELECT 1")
        self.good("sqlite,postgres")
        header = self.output("statements.h")
        self.assertIn(
            "PGQRS__STMT_Z,\n    PGQRS__STMT_STEP_RECORD,\n    PGQRS__STMT_QUEUE_FIND,\n"
            "    PGQRS__STMT_COUNT\n",
            header,
        )
        self.assertIn("PGQRS__ARG_STEP_RECORD_LEASE = 0,", header)
        self.assertIn("PGQRS__COL_STEP_RECORD_CANCELLED = 1\n", header)
        self.assertNotIn("PGQRS__ARG_Z", header)

    def test_shapes(self) -> None:
        self.good()
        text = self.output("statements.c")
        self.assertIn('    {"output", PGQRS__TYPE_JSON, 1, 1},\n', text)
        self.assertIn(
            '        .name = "step_record",\n'
            "        .args = args_step_record,\n"
            "        .cols = cols_step_record,\n"
            "        .nargs = 4,\n        .ncols = 2,\n        .narrays = 3,\n        .many = 1,\n",
            text,
        )

    def test_turso_inherits_and_overrides(self) -> None:
        self.put(
            "turso/over.sql",
            "-- name: queue_find\n-- args: name text\n-- cols: id i32, paused_at time?\n"
            "SELECT $name",
        )
        self.good("postgres,sqlite,turso")
        self.assertEqual(["SELECT ?1"], self.sql("turso", "queue_find"))
        self.assertEqual(self.sql("sqlite", "step_record"), self.sql("turso", "step_record"))
        self.assertIn("sql = sql_sqlite_0001", self.output("migrations.c").split("_turso[]")[1])

    def test_turso_alone_without_a_folder(self) -> None:
        self.good("turso")
        self.assertEqual(2, len(self.sql("turso", "step_record")))
        self.assertFalse((self.out / "sql_sqlite.c").exists())

    def test_fragments(self) -> None:
        text = "-- name: a\nSELECT @{one};\n"
        self.put_pair(text)
        self.put("postgres/b.sql", "-- fragment: one\n1 + @{two}\n-- fragment: two\n2")
        self.put("sqlite/b.sql", "-- fragment: one\n1")
        self.put("turso/b.sql", "-- fragment: one\n'1'")
        self.good("postgres,sqlite,turso")
        self.assertEqual(["SELECT 1 + 2"], self.sql("postgres", "a"))
        self.assertEqual(["SELECT 1"], self.sql("sqlite", "a"))
        self.assertEqual(["SELECT '1'"], self.sql("turso", "a"))

    def test_migrations(self) -> None:
        crlf = self.root / "sql/migrations/postgres/0002_more.sql"
        more = "-- oldest_library: 0.2.0\nDO $x$ BEGIN\n  PERFORM 1; -- $y\nEND $x$;\n"
        crlf.write_bytes(more.replace("\n", "\r\n").encode())
        self.put("migrations/sqlite/0002_more.sql", "-- oldest_library: 0.2.0\nSELECT 1;")
        self.good()
        text = self.output("migrations.c")
        self.assertIn(
            "static const char sql_sqlite_0001[] =\n"
            '    "CREATE TABLE pgqrs_a (id bigint);\\n"\n'
            '    "CREATE TABLE pgqrs_b (\\n"\n'
            '    "id bigint\\n"\n'
            '    ");";\n',
            text,
        )
        self.assertIn('"CREATE TABLE @schema.pgqrs_a (id bigint);\\n"', text)
        self.assertIn('"  PERFORM 1; -- $y\\n"', text)
        self.assertIn(hashlib.sha256(more.encode()).hexdigest(), text)
        self.assertIn('.oldest_library = "0.2.0"', text)
        self.assertIn("const size_t pgqrs__migrations_postgres_count = 2;", text)

    def test_literals(self) -> None:
        sql = "SELECT '\\ \"??/ é " + "word " * 60 + "x" * 300 + "'"
        self.put_pair(f"-- name: a\n{sql}")
        self.good()
        for path in self.out.iterdir():
            for line in path.read_text(encoding="ascii").splitlines():
                self.assertLessEqual(len(line), 100, path)
        text = self.output("sql_postgres.c")
        self.assertIn(r"SELECT '\\ \"?\?/ \303\251 word", text)
        self.assertIn("x" * 300, re.sub(r'"\n *"', "", text))

    def test_unchanged_files_are_not_written(self) -> None:
        self.good()
        before = {path: path.stat().st_mtime_ns for path in self.out.iterdir()}
        self.put("sqlite/steps.sql", SQLITE.replace("ids: 2", "ids: 3"))
        self.good()
        changed = [p.name for p, at in before.items() if p.stat().st_mtime_ns != at]
        self.assertEqual(["sql_sqlite.c"], changed)

    def test_output_compiles_without_warnings(self) -> None:
        compilers = [cc for cc in ("gcc", "clang") if shutil.which(cc)]
        if not compilers:
            self.skipTest("no C compiler")
        parts = "SELECT 1;\nSELECT 2,\n 3;\nSELECT 4;\n" + "SELECT 5;\n" * 200
        self.put_pair(f"-- name: a\nSELECT '{'y' * 5000}'", f"-- name: a\n{parts}")
        self.good("postgres,sqlite,turso")
        (self.out / "backend").mkdir()
        (self.out / "backend" / "backend.h").write_text(BACKEND_H)
        for header in ("statements.h", "migrations.h", "backend/backend.h"):
            name = header.replace("/", "_") + "_alone.c"
            (self.out / name).write_text(f'#include "{header}"\nint unused(int);\n')
        flags = "-std=c17 -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror -fsyntax-only"
        sources = sorted(str(path) for path in self.out.glob("*.c"))
        for compiler in compilers:
            command = [compiler, *flags.split(), "-I", str(self.out), *sources]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            self.assertEqual((0, ""), (done.returncode, done.stderr))


class BadStatement(Tree):
    def case(self, text: str, *expected: str, sqlite: str | None = None) -> None:
        self.put_pair(textwrap.dedent(text), sqlite)
        self.bad(*expected)

    def both(self, header: str, line: int, message: str) -> None:
        """A mistake made alike in both dialects."""
        self.case(header, f"postgres/a.sql:{line}: {message}", f"sqlite/a.sql:{line}: {message}")

    def test_duplicate_name(self) -> None:
        self.put("postgres/b.sql", "-- name: a\nSELECT 1")
        self.case("-- name: a\nSELECT 1", 'postgres/b.sql:1: "a" is already defined at ')

    def test_duplicate_fragment(self) -> None:
        text = "-- fragment: f\n1\n-- fragment: f\n2\n-- name: a\nSELECT 1"
        self.case(text, 'postgres/a.sql:3: "f" is already', sqlite="-- name: a\nSELECT 1")

    def test_missing_in_a_dialect(self) -> None:
        self.case(
            "-- name: a\nSELECT 1\n-- name: b\nSELECT 1",
            'postgres/a.sql:3: statement "b" is missing in dialect sqlite',
            'sqlite/a.sql:3: statement "c" is missing in dialect postgres',
            sqlite="-- name: a\nSELECT 1\n-- name: c\nSELECT 1",
        )

    def test_args_differ(self) -> None:
        text = "-- name: a\n-- args: x {}\nSELECT $x"
        for kind in ("i32", "text?"):
            self.case(
                text.format("text"),
                'sqlite/a.sql:1: statement "a": args differ from ',
                sqlite=text.format(kind),
            )
        self.case(
            "-- name: a\n-- args: x i32\nSELECT $x",
            'sqlite/a.sql:1: statement "a": args differ from ',
            sqlite="-- name: a\n-- args: y i32\nSELECT $y",
        )

    def test_arrays_differ(self) -> None:
        self.case(
            "-- name: a :many\n-- args: x i64[]\nSELECT $x",
            'sqlite/a.sql:1: statement "a": args differ from ',
            sqlite="-- name: a\n-- args: x i64\nSELECT $x",
        )

    def test_cols_differ(self) -> None:
        self.case(
            "-- name: a\n-- cols: x i64, y bool\nSELECT 1, 2",
            'sqlite/a.sql:1: statement "a": cols differ from ',
            sqlite="-- name: a\n-- cols: x i64\nSELECT 1",
        )
        _, stderr = self.run_tool("postgres,sqlite")
        self.assertTrue(stderr.endswith('a.sql:1: nothing here, "y bool" there\n'), stderr)

    def test_bad_type(self) -> None:
        self.both("-- name: a\n-- args: x int\nSELECT $x", 2, '"x int": unknown type "int"')

    def test_bad_field(self) -> None:
        for item in ("x", "X text", "x text?[]", "x text,, y text"):
            with self.subTest(item):
                self.both(f"-- name: a\n-- args: {item}\nSELECT $x", 2, '"')

    def test_duplicate_field(self) -> None:
        self.both("-- name: a\n-- args: x i64, x i32\nSELECT $x", 1, 'statement "a": argument "x"')
        self.both("-- name: a\n-- cols: x i64, x i32\nSELECT 1", 1, 'statement "a": column "x"')

    def test_many_without_arrays(self) -> None:
        text = "-- name: a :many\n-- args: x i64\nSELECT $x"
        self.both(text, 1, 'statement "a": :many without an array argument')

    def test_arrays_without_many(self) -> None:
        for mode in ("", " :one"):
            text = f"-- name: a{mode}\n-- args: x i64[]\nSELECT $x"
            self.both(text, 1, 'statement "a": array arguments without :many')

    def test_scalar_before_array(self) -> None:
        text = "-- name: a :many\n-- args: x i64, y i64[]\nSELECT $x, $y"
        self.both(text, 1, 'statement "a": array arguments come before scalar ones')

    def test_many_first_column(self) -> None:
        for column in ("id i64", "n i32", "n i64?"):
            text = f"-- name: a :many\n-- args: x i64[]\n-- cols: {column}\nSELECT $x"
            self.both(text, 1, 'statement "a": the first column of :many is "n i64", not ')

    def test_array_column(self) -> None:
        text = "-- name: a\n-- cols: x i64[]\nSELECT 1"
        self.both(text, 1, 'statement "a": a column cannot be an array')

    def test_unknown_mode(self) -> None:
        self.both("-- name: a :some\nSELECT 1", 1, 'unknown mode ":some"')

    def test_bad_name(self) -> None:
        self.both("-- name: A\nSELECT 1", 1, '"A" is not a name')
        self.both("-- name: count\nSELECT 1", 1, "a statement cannot be named")

    def test_unknown_parameter(self) -> None:
        self.both("-- name: a\nSELECT 1,\n  $x", 3, 'unknown parameter "$x" in "a"')
        self.both("-- name: a\n-- args: x i64\nSELECT $x, $1", 3, 'unknown parameter "$1" in "a"')

    def test_special_parameters(self) -> None:
        self.both("-- name: a\nSELECT $id", 2, 'unknown parameter "$id"')
        self.both("-- name: a\nSELECT $n", 2, 'unknown parameter "$n"')

    def test_foreign_parameters(self) -> None:
        for mark in ("?", "?1", ":x"):
            self.case(
                "-- name: a\nSELECT 1",
                f"sqlite/a.sql:2: unexpected {mark}: ",
                sqlite=f"-- name: a\nSELECT {mark}",
            )

    def test_unused_argument(self) -> None:
        text = "-- name: a\n-- args: x i64\nSELECT 1"
        self.case(text, 'postgres/a.sql:1: argument "x" of "a" is never used')

    def test_now_without_argument(self) -> None:
        self.both("-- name: a\nSELECT @now", 2, '@now needs an argument "now"')

    def test_now_is_a_time(self) -> None:
        text = "-- name: a\n-- args: now i64\nSELECT $now"
        self.both(text, 1, 'statement "a": argument "now i64": now is a scalar time')

    def test_unknown_at(self) -> None:
        self.both("-- name: a\nSELECT @later", 2, "unknown @later")
        self.both("-- name: a\nSELECT @schema", 2, "unknown @schema")

    def test_schema_in_a_sqlite_literal(self) -> None:
        self.case("-- name: a\nSELECT '@schema.x'", "sqlite/a.sql:2: @schema. inside a literal")

    def test_empty_sql(self) -> None:
        self.both("-- name: a\n-- nothing\n ; \n", 1, 'statement "a" has no SQL')

    def test_postgres_is_one_statement(self) -> None:
        text = "-- name: a\nSELECT 1; SELECT 2"
        self.case(text, 'postgres/a.sql:1: statement "a" is 2 SQL statements, not one')

    def test_select_star(self) -> None:
        self.both("-- name: a\nselect  *\nFROM @schema.pgqrs_x", 2, "SELECT * over a table")

    def test_select_star_in_a_fragment(self) -> None:
        text = "-- fragment: f\nSELECT * FROM @schema.x\n-- name: a\n@{f}"
        self.both(text, 2, "SELECT * over a table")

    def test_unknown_fragment(self) -> None:
        self.both("-- name: a\nSELECT @{f}", 2, 'unknown fragment "f"')
        self.both("-- name: a\nSELECT @{f", 2, 'unknown fragment "f"')

    def test_fragment_loop(self) -> None:
        text = "-- fragment: f\n@{g}\n-- fragment: g\n@{f}\n-- name: a\n@{f}"
        self.both(text, 4, "fragment contains itself: f -> g -> f")

    def test_header_in_the_wrong_place(self) -> None:
        self.both("-- name: a\nSELECT 1\n-- args: x i64", 3, "args: belongs between")
        self.both("-- fragment: a\n-- args: x i64\n1", 2, "args: belongs between")
        self.both("SELECT 1;\n-- name: a\nSELECT 1", 1, "something before the first -- name:")

    def test_ids(self) -> None:
        text = "-- name: a\n-- ids: 1\nSELECT $id"
        none = "-- name: a\nSELECT 1"
        self.case(text, "postgres/a.sql:2: ids: is for sqlite", sqlite=text)
        for value in ("0", "65536", "x", "1\n-- ids: 1"):
            text = f"-- name: a\n-- ids: {value}\nSELECT $id"
            line = 2 + value.count("\n")
            self.case(none, f"sqlite/a.sql:{line}: ids: is one number", sqlite=text)
        unused = "-- name: a\n-- ids: 1\nSELECT 1"
        self.case(none, 'sqlite/a.sql:1: statement "a" reserves ids but', sqlite=unused)

    def test_names_that_hide_a_special_parameter(self) -> None:
        text = "-- name: a :many\n-- args: n i64[]\nSELECT $n"
        self.both(text, 1, 'statement "a": an argument of a :many statement cannot be named "n"')
        text = "-- name: a\n-- args: id i64\n{}SELECT $id"
        ids = 'sqlite/a.sql:1: statement "a": with ids: an argument'
        self.case(text.format(""), ids, sqlite=text.format("-- ids: 1\n"))

    def test_unclosed(self) -> None:
        for text in ("'abc", '"abc', "/* abc"):
            self.both(f"-- name: a\nSELECT 1,\n {text}", 3, "")
        self.case(
            "-- name: a\nSELECT $x$ abc $$",
            "postgres/a.sql:2: $x$ is never closed",
            sqlite="-- name: a\nSELECT 1",
        )

    def test_constants_that_collide(self) -> None:
        text = "-- name: a\n-- cols: b_c i64\nSELECT 1\n-- name: a_b\n-- cols: c i64\nSELECT 1"
        self.case(text, 'postgres/a.sql:4: PGQRS__COL_A_B_C is also made by statement "a"')

    def test_turso_overrides_nothing(self) -> None:
        self.put_pair("-- name: a\nSELECT 1")
        self.put("turso/a.sql", "-- name: b\nSELECT 1")
        self.bad('turso/a.sql:1: "b" overrides nothing', dialects="postgres,sqlite,turso")

    def test_no_statements(self) -> None:
        self.bad("postgres:1: no statements")

    def test_not_utf8(self) -> None:
        self.put_pair("-- name: a\nSELECT 1")
        (self.root / "sql/sqlite/a.sql").write_bytes(b"\xff")
        self.bad("sqlite/a.sql:1: not UTF-8")

    def test_all_mistakes_at_once(self) -> None:
        self.case(
            "-- name: a\nSELECT $x\n-- name: b\nSELECT @now",
            "postgres/a.sql:2: ",
            "postgres/a.sql:4: ",
            "sqlite/a.sql:2: ",
            "sqlite/a.sql:4: ",
        )


class BadMigration(Tree):
    def setUp(self) -> None:
        super().setUp()
        self.put_pair("-- name: a\nSELECT 1")

    def put_both(self, name: str, text: str = MIGRATION) -> None:
        for dialect in ("postgres", "sqlite"):
            self.put(f"migrations/{dialect}/{name}", text)

    def both(self, name: str, line: int, message: str) -> None:
        self.bad(*(f"migrations/{d}/{name}:{line}: {message}" for d in ("postgres", "sqlite")))

    def test_gap(self) -> None:
        self.put_both("0003_c.sql")
        self.both("0003_c.sql", 1, "migration 0002 is missing")

    def test_twice(self) -> None:
        self.put_both("0001_other.sql")
        self.both("0001_other.sql", 1, "migration 0002 is missing or given twice")

    def test_missing_in_a_dialect(self) -> None:
        self.put("migrations/postgres/0002_b.sql", MIGRATION)
        self.put("migrations/sqlite/0002_c.sql", MIGRATION)
        self.bad(
            "migrations/postgres/0002_b.sql:1: migration is missing in dialect sqlite",
            "migrations/sqlite/0002_c.sql:1: migration is missing in dialect postgres",
        )

    def test_file_name(self) -> None:
        self.put_both("2_b.sql")
        self.both("2_b.sql", 1, "the file's name is not of the form")

    def test_oldest_library(self) -> None:
        for text in ("CREATE TABLE x (y int);", "-- oldest_library: 1\nSELECT 1;"):
            self.put_both("0002_b.sql", text)
            self.both("0002_b.sql", 1, "the first line is not")

    def test_no_sql(self) -> None:
        self.put_both("0002_b.sql", "-- oldest_library: 0.1.0\n")
        self.both("0002_b.sql", 1, "the migration has no SQL")

    def test_nothing_to_expand(self) -> None:
        for text in ("$x", "@now", "@{f}"):
            self.put_both("0002_b.sql", f"-- oldest_library: 0.1.0\nSELECT {text};")
            self.both("0002_b.sql", 2, "a migration has no parameters")

    def test_none(self) -> None:
        shutil.rmtree(self.root / "sql/migrations/sqlite")
        self.bad("migrations/sqlite:1: no migrations")

    def test_turso_has_none_of_its_own(self) -> None:
        self.put("migrations/turso/0001_first.sql", MIGRATION)
        self.bad("migrations/turso:1: turso uses sqlite's", dialects="postgres,sqlite,turso")


class CommandLine(Tree):
    def test_dialects(self) -> None:
        for dialects in ("mysql", "sqlite,sqlite", ""):
            with self.subTest(dialects), self.assertRaises(SystemExit) as caught:
                self.run_tool(dialects)
            self.assertEqual(2, caught.exception.code)

    def test_as_a_program(self) -> None:
        done = subprocess.run(
            [sys.executable, str(TOOL), "--sql", "none", "--out", "none", "--dialects", "sqlite"],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.root,
        )
        self.assertEqual(1, done.returncode)
        self.assertIn("none/sqlite:1: no statements", done.stderr)


if __name__ == "__main__":
    unittest.main()
