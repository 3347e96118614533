"""The engine that pip install pgqrs[turso] brings is the one that a turso: DSN gets."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pgqrs
import pytest
from conftest import BACKEND

pytestmark = pytest.mark.skipif(BACKEND != "turso", reason="Turso's engine")

USE = """
import asyncio, sys
import pgqrs

async def use() -> None:
    store = await pgqrs.connect(sys.argv[1])
    await pgqrs.admin(store).install()
    await store.queue("tasks")
    await pgqrs.produce(store, "tasks", 1)
    await store.close()

asyncio.run(use())
with open("/proc/self/maps") as maps:
    print("\\n".join({line.split()[-1] for line in maps if "turso" in line and ".so" in line}))
"""


def use(path: Path, *flags: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if name != "PGQRS_TURSO_LIBRARY"}
    return subprocess.run(
        [sys.executable, *flags, "-c", USE, "turso://%s" % path],
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_engine_of_the_package_is_used(tmp_path: Path) -> None:
    package = importlib.util.find_spec("turso")
    assert package is not None and package.origin is not None
    done = use(tmp_path / "x.db")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(Path(package.origin).parent / "_turso.abi3.so")]


def test_the_environment_goes_before_it(tmp_path: Path) -> None:
    done = use(tmp_path / "x.db", PGQRS_TURSO_LIBRARY="/nowhere/libpgqrs_turso.so")
    assert done.returncode != 0
    assert "/nowhere/libpgqrs_turso.so" in done.stderr and "ConfigError" in done.stderr


def test_its_rows_are_turso_s(tmp_path: Path) -> None:
    import turso

    path = tmp_path / "x.db"

    async def fill() -> None:
        store = await pgqrs.connect("turso://%s" % path)
        await pgqrs.admin(store).install()
        await store.queue("tasks")
        await pgqrs.produce(store, "tasks", {"n": 1})
        await store.close()

    asyncio.run(fill())
    rows = turso.connect(str(path)).execute("SELECT count(*) FROM pgqrs_messages").fetchall()
    assert rows == [(1,)]
