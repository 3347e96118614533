"""`python -m pgqrs demo`: a workflow whose process is killed, and goes on in another one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Optional

from ._config import Config
from ._flow import WorkflowRun, step, workflow
from ._store import connect, connect_with
from ._values import WorkflowStatus
from ._worker import Worker

crash = False


def say(text: str) -> None:
    print("  [process %d] %s" % (os.getpid(), text), flush=True)


@step
async def list_files(path: str) -> List[str]:
    say("list_files: executed")
    return ["%s/%s" % (path, name) for name in ("a.txt", "b.txt", "c.txt")]


@step
async def create_archive(files: List[str]) -> str:
    say("create_archive: executed, %d files" % len(files))
    return "archive.zip"


@step
async def upload(archive: str) -> str:
    if crash:
        say("upload: killed by SIGKILL in the middle of it")
        os.kill(os.getpid(), signal.SIGKILL)
    say("upload: executed")
    return "s3://bucket/" + archive


@workflow
async def archive_files(run: WorkflowRun, path: str) -> str:
    say("archive_files: run %d, attempt %d" % (run.id(), run.attempt))
    return await upload(await create_archive(await list_files(path)))


async def work(dsn: str, run_id: int) -> None:
    """A worker, until the run has ended."""
    config = Config(dsn)
    config.default_lock_time_seconds = 1  # what a killed worker holds is free again after this
    async with connect_with(config) as store:
        worker = Worker(store).add(archive_files)
        running = asyncio.ensure_future(worker.run())
        await archive_files.handle(store, run_id).result()
        worker.stop()
        await running


async def start(dsn: str) -> int:
    async with connect(dsn) as store:
        await store.bootstrap()
        return (await archive_files.start(store, "/tmp/report")).id


async def result(dsn: str, run_id: int) -> str:
    async with connect(dsn) as store:
        handle = archive_files.handle(store, run_id)
        assert await handle.status() == WorkflowStatus.Success
        return await handle.result()


def process(dsn: str, run_id: int, kill: bool) -> int:
    code = "import sys; from pgqrs import _demo; _demo.crash = %r; _demo.main_work(sys.argv[1], int(sys.argv[2]))"
    return subprocess.run([sys.executable, "-c", code % kill, dsn, str(run_id)]).returncode


def main_work(dsn: str, run_id: int) -> None:
    asyncio.run(work(dsn, run_id))


def main(dsn: Optional[str] = None) -> int:
    """Show it; 0 when it went as it should."""
    with tempfile.TemporaryDirectory(prefix="pgqrs-demo-") as folder:
        where = dsn or "sqlite://%s" % (Path(folder) / "demo.db")
        run_id = asyncio.run(start(where))
        print("1. A worker executes the run, and is killed:", flush=True)
        killed = process(where, run_id, True)
        print("2. Another one goes on; recorded steps are not executed again:", flush=True)
        ended = process(where, run_id, False)
        if killed != -signal.SIGKILL or ended != 0:
            print("it did not go as it should: %d, %d" % (killed, ended), file=sys.stderr)
            return 1
        print("3. The result: %s" % asyncio.run(result(where, run_id)), flush=True)
    return 0
