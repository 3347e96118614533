"""The worker: queues, failures, stopping, signals, other processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List

import pytest

import pgqrs

from conftest import BACKEND, Place


@dataclass
class Email:
    to: str
    n: int


async def until(condition: Any) -> None:
    """Give the loop its turns until it is so; the test's own deadline ends it."""
    while not condition():
        await asyncio.sleep(0.005)


async def test_handlers_of_queues(place: Place) -> None:
    store = await place.store("emails", "raw", "plain", "untyped")
    worker = pgqrs.Worker(store)
    got: List[Any] = []

    @worker.on("emails")
    async def send(email: Email) -> None:
        got.append(email)

    @worker.on("raw", concurrency=1)
    async def raw(message: pgqrs.QueueMessage) -> None:
        got.append((message.payload, message.read_ct))

    @worker.on("plain")
    def plain(n: int) -> None:
        got.append((n, threading.current_thread() is threading.main_thread()))

    worker.handle("untyped", lambda payload: got.append(payload))
    await pgqrs.produce(store, "emails", {"to": "a@b", "n": 1})
    await pgqrs.produce(store, "raw", [1])
    await pgqrs.produce(store, "plain", 7)
    await pgqrs.produce(store, "untyped", {"any": None})
    assert await worker.drain() == 4
    assert sorted(map(str, got)) == sorted(map(str, [Email("a@b", 1), ([1], 1), (7, False), {"any": None}]))
    assert await (await store.get_messages()).count() == 0
    metrics = [await (await store.get_queues()).metrics(name) for name in ("emails", "raw", "plain", "untyped")]
    assert [one.archived_messages for one in metrics] == [1, 1, 1, 1]


async def test_a_handler_that_fails_is_tried_again_and_ends_nothing(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks", max_read_ct=3)
    worker = pgqrs.Worker(store)
    seen: List[Any] = []

    @worker.on("tasks")
    async def work(n: int) -> None:
        seen.append(n)
        if n == 1:
            raise ValueError("never")
        if n == 2 and seen.count(2) == 1:
            error = pgqrs.TransientStepError("later")
            error.retry_after = 100
            raise error
        if n == 3 and seen.count(3) == 1:
            raise SystemExit  # not even this

    for n in (1, 2, 3, "no number"):
        await pgqrs.produce(store, "tasks", n)
    await worker.drain()
    assert sorted(map(str, seen)) == ["1", "2", "3"]  # what is no int never came to the handler
    clock.advance(99)
    await worker.drain()
    assert seen.count(2) == 1
    clock.advance(1)
    await worker.drain()
    assert seen.count(2) == 2
    for _ in range(3):
        clock.advance(86400)
        await worker.drain()
    assert (seen.count(1), seen.count(2), seen.count(3)) == (3, 2, 2)
    queue = await (await store.get_queues()).metrics("tasks")
    assert queue.archived_messages == 4 and await (await store.get_messages()).count() == 0


async def test_it_runs_until_it_is_stopped_and_says_so(place: Place) -> None:
    store = await place.store("tasks")
    worker = pgqrs.Worker(store, name="the-worker")
    seen: List[int] = []

    @worker.on("tasks")
    async def work(n: int) -> None:
        seen.append(n)

    running = asyncio.ensure_future(worker.run())
    await until(lambda: worker.id is not None)
    await pgqrs.produce(store, "tasks", 1)
    await until(lambda: seen == [1])
    workers = {one.name: one for one in await (await store.get_workers()).list()}
    assert workers["the-worker"].status == pgqrs.WorkerStatus.Polling
    threading.Thread(target=worker.stop).start()
    await running
    workers = {one.name: one for one in await (await store.get_workers()).list()}
    assert workers["the-worker"].status == pgqrs.WorkerStatus.Stopped
    worker.stop()  # before it runs: it ends at once
    await worker.run()


async def test_what_is_in_hand_is_finished_and_what_does_not_end_is_given_back(place: Place) -> None:
    store = await place.store("tasks")
    started: List[int] = []
    release = asyncio.Event()
    worker = pgqrs.Worker(store, stop_timeout=0.2)

    @worker.on("tasks")
    async def work(n: int) -> None:
        started.append(n)
        if n == 1:
            await release.wait()
        else:
            await asyncio.Event().wait()

    await pgqrs.produce_batch(store, "tasks", [1, 2])
    running = asyncio.ensure_future(worker.run())
    await until(lambda: len(started) == 2)
    worker.stop()
    asyncio.get_running_loop().call_later(0.05, release.set)
    await running
    consumer = await store.consumer("tasks")
    left = await consumer.dequeue(10)
    assert [(message.payload, message.read_ct) for message in left] == [(2, 1)]  # given back uncounted


async def test_concurrency_is_a_limit(place: Place) -> None:
    store = await place.store("tasks")
    worker = pgqrs.Worker(store, concurrency=3)
    now = [0, 0]

    @worker.on("tasks")
    async def work(n: int) -> None:
        now[0] += 1
        now[1] = max(now)
        await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        now[0] -= 1

    await pgqrs.produce_batch(store, "tasks", list(range(30)))
    assert await worker.drain() == 30
    assert now == [0, 3]


@pytest.mark.skipif(BACKEND == "turso", reason="one process at a time has a file of Turso's")
async def test_an_interrupt_in_the_database_stops_it(place: Place) -> None:
    store = await place.store("tasks", heartbeat_interval_seconds=0.05)
    worker = pgqrs.Worker(store, name="w").handle("tasks", lambda payload: None)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: worker.id is not None)
    await asyncio.sleep(0)
    place.sql("UPDATE %spgqrs_workers SET status = 4" % ("%s." % place.schema if place.schema else ""))
    await running


async def test_a_queue_that_comes_later(place: Place) -> None:
    store = await place.store()
    seen: List[int] = []
    worker = pgqrs.Worker(store).handle("later", seen.append)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: worker.id is not None)
    await store.queue("later")
    await pgqrs.produce(store, "later", 1)
    await until(lambda: seen == [1])
    worker.stop()
    await running


async def test_what_is_refused(place: Place) -> None:
    with pytest.raises(pgqrs.ValidationError, match="nothing to do"):
        await pgqrs.Worker().run()
    with pytest.raises(pgqrs.ValidationError, match="no store"):
        await pgqrs.Worker().handle("q", print).run()
    with pytest.raises(pgqrs.ValidationError, match="concurrency"):
        pgqrs.Worker(concurrency=0).handle("q", lambda payload: None)
    with pytest.raises(ValueError, match="handler already"):
        pgqrs.Worker().handle("q", lambda payload: None).handle("q", lambda payload: None)
    with pytest.raises(TypeError, match="takes a payload"):
        pgqrs.Worker().handle("q", lambda: None)  # type: ignore[misc, arg-type]


PROGRAM = """
import asyncio, os, time
import pgqrs

config = pgqrs.Config(os.environ["PGQRS_PLACE_DSN"], schema=os.environ.get("PGQRS_PLACE_SCHEMA"))
config.default_lock_time_seconds = 0.5
worker = pgqrs.Worker(config, stop_timeout=5)
log = os.open(os.environ["LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def numbered(n):
    @pgqrs.step(name="s%d" % n)
    async def one() -> int:
        os.write(log, (pgqrs.idempotency_key() + "\\n").encode())
        await asyncio.sleep(0.02)
        return n
    return one

steps = [numbered(n) for n in range(6)]

@pgqrs.workflow
async def six(run: pgqrs.WorkflowRun) -> int:
    first = await asyncio.gather(*[one() for one in steps[:3]])
    return sum(first) + sum([await one() for one in steps[3:]])

@worker.on("long")
async def hold(seconds: float) -> None:
    os.write(log, b"began\\n")
    time.sleep(seconds)  # with the interpreter held, for longer than the lease
    os.write(log, b"ended\\n")

worker.add(six)

def make():
    return worker
"""


def module(place: Place, folder: Path, log: Path, name: str = "worker") -> Any:
    """python -m pgqrs worker, in a process of its own."""
    import subprocess

    (folder / "jobs.py").write_text(PROGRAM)
    env = dict(os.environ, PGQRS_PLACE_DSN=place.dsn, LOG=str(log))
    if place.schema is not None:
        env["PGQRS_PLACE_SCHEMA"] = place.schema
    return subprocess.Popen(
        [sys.executable, "-m", "pgqrs", "worker", "jobs:%s" % name],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
    )


@pytest.mark.skipif(BACKEND == "turso", reason="one process at a time has a file of Turso's")
async def test_processes_that_are_killed_execute_a_recorded_step_once(place: Place, tmp_path: Path) -> None:
    store = await place.store("long", max_read_ct=1000)
    log = tmp_path / "log"

    @pgqrs.workflow
    async def six(run: pgqrs.WorkflowRun) -> int: ...  # type: ignore[empty-body]

    handles = await asyncio.gather(*[six.start(store) for _ in range(8)])
    kills, out = 0, ("", "")
    waiting: "asyncio.Future[Any]" = asyncio.get_running_loop().create_future()
    while True:
        program = module(place, tmp_path, log)
        try:
            lines = len(log.read_text().splitlines()) if log.exists() else 0
            waiting = asyncio.ensure_future(asyncio.gather(*[handle.result() for handle in handles]))
            while not waiting.done() and (kills >= 2 or not log.exists() or len(log.read_text().splitlines()) < lines + 9):
                await asyncio.sleep(0.01)
            if waiting.done():
                break
            waiting.cancel()
            program.kill()
            kills += 1
        finally:
            if kills < 2:
                program.kill()
            elif program.poll() is None and waiting.done():
                program.send_signal(signal.SIGTERM)
            out = program.communicate()
    assert [await handle.result() for handle in handles] == [15] * 8
    assert kills == 2 and program.returncode == 0, out
    counts: List[int] = [log.read_text().splitlines().count("%d/s%d" % (h.id, n)) for h in handles for n in range(6)]
    assert min(counts) == 1
    assert sum(counts) <= 48 + 2 * 8 * 3  # what was in hand when its process died, and nothing else


@pytest.mark.skipif(BACKEND == "turso", reason="one process at a time has a file of Turso's")
async def test_sigterm_waits_for_what_is_in_hand_and_its_lease_is_kept(place: Place, tmp_path: Path) -> None:
    store = await place.store("long")
    log = tmp_path / "log"
    program = module(place, tmp_path, log, "make")
    await pgqrs.produce(store, "long", 1.5)
    await until(lambda: log.exists() and "began" in log.read_text())
    consumer = await store.consumer("long")
    program.send_signal(signal.SIGTERM)
    while "ended" not in log.read_text():
        assert await consumer.dequeue() == []  # the lease is 0.5 s, and kept while the GIL is held
        await asyncio.sleep(0.05)
    assert await asyncio.get_running_loop().run_in_executor(None, program.wait) == 0
    program.communicate()
    assert await consumer.dequeue() == []
    assert await (await store.get_messages()).count() == 0


def test_what_the_program_says_of_wrong_places(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "jobs2.py").write_text("import pgqrs\nx = 1\nw = pgqrs.Worker('sqlite:///nowhere/at/all.db').handle('q', print)\n")
    for place, said in (("jobs2", "MODULE:NAME"), ("jobs2:y", "y"), ("nothing:w", "nothing"), ("jobs2:x", "not a pgqrs.Worker")):
        done = subprocess.run(
            [sys.executable, "-m", "pgqrs", "worker", place], cwd=tmp_path, stderr=subprocess.PIPE, universal_newlines=True
        )
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "jobs2.py").write_text("import pgqrs\nw = pgqrs.Worker('sqlite:///nowhere/at/all.db').handle('q', lambda p: None)\n")
    done = subprocess.run(
        [sys.executable, "-m", "pgqrs", "worker", "jobs2:w"], cwd=tmp_path, stderr=subprocess.PIPE, universal_newlines=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr and "/nowhere/at/all.db" in done.stderr


def test_the_demo(tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "pgqrs", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    assert done.returncode == 0, done.stderr
    assert [done.stdout.count(name + ": executed") for name in ("list_files", "create_archive", "upload")] == [1, 1, 1]
    assert "SIGKILL" in done.stdout and "attempt 2" in done.stdout and "s3://bucket/archive.zip" in done.stdout
