"""What the tests of the Python package share: a database of its own for each test, and a loop.

PGQRS_TEST_BACKEND says which backend, PGQRS_TEST_PG is a server's DSN. A test may be a coroutine: it
runs in an event loop of its own. Nothing of a test is left behind.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

import pgqrs

BACKEND = os.environ.get("PGQRS_TEST_BACKEND", "sqlite")
SECONDS = 60
START = 1_900_000_000.0  # where a clock of a test starts


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Optional[bool]:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        await asyncio.wait_for(pyfuncitem.obj(**arguments), SECONDS)

    asyncio.run(run())
    return True


class Place:
    """A database of its own, and the stores that a test opens on it."""

    made = 0

    def __init__(self, folder: Path) -> None:
        Place.made += 1
        self.backend = BACKEND
        self.schema: Optional[str] = None
        self.path = folder / "test.db"
        self.stores: List[pgqrs.Store] = []
        if BACKEND == "postgres":
            if "PGQRS_TEST_PG" not in os.environ:
                pytest.skip("PGQRS_TEST_PG names no server")
            self.dsn = os.environ["PGQRS_TEST_PG"]
            self.schema = "python_%d_%d" % (os.getpid(), Place.made)
            self.sql('CREATE SCHEMA "%s"' % self.schema)
        elif BACKEND == "turso":
            self.dsn = "turso://%s" % self.path
        else:
            self.dsn = "sqlite://%s" % self.path
        self.clock: Optional[pgqrs.Clock] = None

    def sql(self, statement: str) -> str:
        """Run SQL by the database's own program; what it prints."""
        if BACKEND == "postgres":
            psql = os.path.join(os.environ.get("PGQRS_TEST_PG_BIN", ""), "psql")
            command = [psql, self.dsn, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement]
            env = dict(os.environ, PGOPTIONS="-c search_path=%s" % self.schema)
        else:
            command = [sys.executable, "-c", SQLITE, str(self.path), statement]
            env = dict(os.environ)
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE, universal_newlines=True, env=env
        ).stdout.strip()

    def config(self, **settings: Any) -> pgqrs.Config:
        config = pgqrs.Config(self.dsn, schema=self.schema)
        config.clock = self.clock
        for name, value in settings.items():
            assert hasattr(config, name), name
            setattr(config, name, value)
        return config

    async def connect(self, **settings: Any) -> pgqrs.Store:
        """A store; the tables need not be there."""
        store = await pgqrs.connect_with(self.config(**settings))
        self.stores.append(store)
        return store

    async def store(self, *queues: str, **settings: Any) -> pgqrs.Store:
        """A store with tables and these queues."""
        store = await self.connect(**settings)
        await pgqrs.admin(store).install()
        for queue in queues:
            await store.queue(queue)
        return store

    def standing(self) -> pgqrs.Clock:
        """From now on stores have a clock that stands until it is advanced."""
        self.clock = pgqrs.Clock(START)
        return self.clock

    def program(self, text: str, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        """Start a Python program in a process of its own. It finds its place in place()."""
        full = PROGRAM + text
        environment: Dict[str, str] = dict(os.environ, PGQRS_PLACE_DSN=self.dsn, **env)
        if self.schema is not None:
            environment["PGQRS_PLACE_SCHEMA"] = self.schema
        return subprocess.Popen(
            [sys.executable, "-c", full, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also in the background
        )

    def close(self) -> None:
        for store in self.stores:
            store._engine.close_blocking()
        if self.schema is not None:
            self.sql('DROP SCHEMA IF EXISTS "%s" CASCADE' % self.schema)


SQLITE = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=30) as db:
    for row in db.execute(sys.argv[2]):
        print("|".join(map(str, row)))
db.close()
"""

PROGRAM = """
import asyncio, os, signal, sys, time
import pgqrs
from pgqrs.decorators import step, workflow

def place(**settings):
    config = pgqrs.Config(os.environ["PGQRS_PLACE_DSN"], schema=os.environ.get("PGQRS_PLACE_SCHEMA"))
    for name, value in settings.items():
        setattr(config, name, value)
    return config
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    try:
        yield made
    finally:
        made.close()


def finish(program: "subprocess.Popen[str]", seconds: float = SECONDS) -> str:
    """What a program printed; it must end well, and in time."""
    try:
        out, err = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        program.kill()
        out, err = program.communicate()
        raise AssertionError("it did not end in %g s\n%s\n%s" % (seconds, out, err)) from None
    assert program.returncode == 0, "%d\n%s\n%s" % (program.returncode, out, err)
    return out
