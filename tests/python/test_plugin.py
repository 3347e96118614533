"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import BACKEND, Place

TESTS = '''
import asyncio
import pgqrs

@pgqrs.workflow
async def nap(run: pgqrs.WorkflowRun, n: int) -> int:
    await run.sleep(3600)
    return n + 1

def test_drain_and_clock(pgqrs_store):
    async def main():
        handle = await nap.start(pgqrs_store, 1)
        assert await pgqrs_store.drain(nap) == 1
        assert await handle.status() == pgqrs.WorkflowStatus.Paused
        pgqrs_store.clock.advance(3600)
        assert await pgqrs_store.drain(nap) == 1
        assert await handle.result() == 2
    asyncio.run(main())

def test_a_queue(pgqrs_store):
    seen = []
    async def main():
        await pgqrs_store.queue("tasks")
        await pgqrs.produce(pgqrs_store, "tasks", 1)
        assert await pgqrs_store.drain(queues={"tasks": seen.append}) == 1
    asyncio.run(main())
    assert seen == [1]

def test_it_is_empty(pgqrs_store):
    async def main():
        assert await (await pgqrs_store.get_queues()).list() == []
    asyncio.run(main())
'''


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_them.py").write_text(TESTS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "test_them.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )


def test_in_memory(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout


@pytest.mark.skipif(BACKEND == "turso", reason="one process at a time has a file of Turso's")
async def test_on_a_database_of_ones_own(place: Place, tmp_path: Path) -> None:
    dsn = place.dsn
    if BACKEND == "postgres":
        dsn += ("&" if "?" in dsn else "?") + "options=-csearch_path%%3D%s" % place.schema
    done = run(tmp_path, "--pgqrs-dsn", dsn)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
    store = await place.connect()
    assert await (await store.get_queues()).list() == []
    await store.queue("precious")
    done = run(tmp_path, "--pgqrs-dsn", dsn)
    assert done.returncode == 1 and 'has a queue "precious"' in done.stdout, done.stdout
    assert [queue.queue_name for queue in await (await store.get_queues()).list()] == ["precious"]
