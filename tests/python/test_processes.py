"""Real processes: killed, and with the interpreter busy."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any, List

import pytest

import pgqrs

from conftest import BACKEND, Place, finish

WORKER = """
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(run, name):
    os.write(log, ("%d %s\\n" % (run.id(), name)).encode())

def numbered(number):
    @step(name="step%d" % number)
    async def one(run):
        note(run, "step%d" % number)
        await asyncio.sleep(0.02)  # the work
        return number
    return one

steps = [numbered(number) for number in range(8)]

@workflow(name="wf")
async def flow(run, input):
    return sum([await one(run) for one in steps]) + input

async def main():
    store = await pgqrs.connect_with(place(default_lock_time_seconds=0.3, heartbeat_interval_seconds=0.2, max_read_ct=1000))
    consumer = await store.consumer("wf")
    print("ready", flush=True)
    await pgqrs.dequeue().worker(consumer).batch(3).handle_workflow(flow).poll(store)

asyncio.run(main())
"""


def ready(program: Any, line: str = "ready") -> Any:
    """Wait until it has come so far."""
    assert program.stdout.readline() == line + "\n", program.communicate()[1]
    return program


def test_workers_that_are_killed_between_steps(place: Place, tmp_path: Path) -> None:
    """Each recorded step was executed once; one that was in hand when its worker died, once more."""
    log = tmp_path / "executions"
    chance = random.Random(7)
    kills = 0

    async def start() -> List[pgqrs.QueueMessage]:
        store = await place.store(max_read_ct=1000)
        await pgqrs.workflow().name("wf").store(store).create()
        trigger = pgqrs.workflow().name("wf").store(store)
        return [await trigger.trigger(n).execute() for n in range(40)]

    async def left() -> int:
        async with pgqrs.connect_with(place.config()) as store:
            return await (await store.get_messages()).count()

    messages = asyncio.run(start())
    workers = [ready(place.program(WORKER, str(log))) for _ in range(2)]
    end = time.monotonic() + 90
    while asyncio.run(left()) > 0:
        assert time.monotonic() < end
        time.sleep(chance.uniform(0.02, 0.12))
        if kills < 12:
            at = chance.randrange(len(workers))
            workers[at].kill()
            workers[at].communicate()
            workers[at] = ready(place.program(WORKER, str(log)))
            kills += 1
    for worker in workers:
        worker.kill()
        worker.communicate()

    async def check() -> None:
        store = await place.connect()
        for n, message in enumerate(messages):
            assert await pgqrs.run().message(message).store(store).get() == 28 + n
        steps = await (await store.get_workflow_steps()).list()
        assert len(steps) == 40 * 8 and all(s.status == "SUCCESS" for s in steps)

    asyncio.run(check())
    executed = collections.Counter(log.read_text().splitlines())
    assert len(executed) == 40 * 8
    again = sum(executed.values()) - len(executed)
    # A kill hits at most one step in hand of each of the three runs of a batch.
    assert again <= kills * 3, (again, kills)
    assert kills >= 3


QUEUE_WORKER = """
done = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def main():
    store = await pgqrs.connect_with(place(default_lock_time_seconds=0.5, heartbeat_interval_seconds=0.5, max_read_ct=1000))
    consumer = await store.consumer("tasks")
    print("ready", flush=True)
    while True:
        messages = await consumer.dequeue(20)
        answers = await asyncio.gather(*[consumer.archive(m.id) for m in messages])
        os.write(done, "".join("%d\\n" % m.id for m, a in zip(messages, answers) if a).encode())
        if not messages:
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


def test_four_processes_and_random_kills_lose_no_message(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "done"
    chance = random.Random(3)
    total = 4000

    async def start() -> List[int]:
        store = await place.store("tasks", max_read_ct=1000)
        return [i for _ in range(4) for i in await pgqrs.produce_batch(store, "tasks", list(range(total // 4)))]

    async def left() -> int:
        async with pgqrs.connect_with(place.config()) as store:
            return await (await store.get_messages()).count()

    ids = asyncio.run(start())
    workers = [ready(place.program(QUEUE_WORKER, str(log))) for _ in range(4)]
    end = time.monotonic() + 90
    kills = 0
    while asyncio.run(left()) > 0:
        assert time.monotonic() < end
        time.sleep(chance.uniform(0.01, 0.08))
        if kills < 10:
            at = chance.randrange(4)
            workers[at].kill()
            workers[at].communicate()
            workers[at] = place.program(QUEUE_WORKER, str(log))
            kills += 1
    for worker in workers:
        worker.kill()
        worker.communicate()

    async def archive() -> List[int]:
        store = await place.connect()
        queue = (await (await store.get_queues()).list())[0]
        return [m.id for m in await (await store.get_messages()).list_archived_by_queue(queue.id)]

    assert asyncio.run(archive()) == ids  # each once
    done = log.read_text().split()
    assert len(done) == len(set(done)), "a message was finished twice"


BUSY = """
import ctypes

async def main():
    store = await pgqrs.connect_with(place(default_lock_time_seconds=1))
    consumer = await store.consumer(sys.argv[1])

    def hold_the_gil():
        print("holding", flush=True)
        ctypes.PyDLL(None).usleep(2500000)  # a C call that keeps the interpreter's lock

    if sys.argv[1] == "tasks":
        async def handler(message):
            hold_the_gil()
            print("attempt", message.read_ct, flush=True)
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(consumer.interrupt()))
        try:
            await pgqrs.dequeue().worker(consumer).handle(handler).poll(store)
        except pgqrs.PgqrsError as error:
            assert error.code == "EINTERRUPTED", error
    else:
        [message] = await consumer.dequeue()
        run = await pgqrs.run().message(message).store(store).execute()
        await run.start()
        hold_the_gil()
        print("attempt", message.read_ct, flush=True)
        await run.complete_step("s", 1)
        await run.success(2)
        assert await consumer.archive(message.id)

asyncio.run(main())
"""


@pytest.mark.parametrize("queue", ["tasks", "wf"])
def test_a_lease_is_kept_while_python_computes(place: Place, queue: str) -> None:
    async def start() -> pgqrs.Store:
        store = await place.store("tasks")
        await pgqrs.workflow().name("wf").store(store).create()
        if queue == "tasks":
            await pgqrs.produce(store, "tasks", 1)
        else:
            await pgqrs.workflow().name("wf").store(store).trigger(1).execute()
        return store

    asyncio.run(start())
    program = ready(place.program(BUSY, queue), "holding")

    async def steal() -> List[Any]:
        store = await place.connect()
        consumer = await store.consumer(queue)
        end = time.monotonic() + 2.2  # longer than two leases
        stolen: List[Any] = []
        while time.monotonic() < end:
            stolen += await consumer.dequeue(1)
            await asyncio.sleep(0.05)
        return stolen

    assert asyncio.run(steal()) == []
    assert finish(program) == "attempt 1\n"


HOLDS_A_TRANSACTION = """
import sqlite3
path = os.environ["PGQRS_PLACE_DSN"][len("sqlite://"):]

async def main():
    store = await pgqrs.connect_with(place())
    from pgqrs._engine import Lane, check, ffi, lib
    run = await pgqrs.admin(store).create_workflow("wf", 1)
    await run.start()
    lane = Lane()
    step = ffi.new("pgqrs_step **")

    def begin():
        assert lib.pgqrs_step_begin_tx(run._cdata, b"tx", ffi.NULL, step) == 0

    await lane.call(begin)
    db = lib.pgqrs_step_sqlite3(step[0])
    out = ffi.new("sqlite3_stmt **")

    def run_sql():
        assert lib.sqlite3_prepare_v2(db, b"INSERT INTO mine VALUES (1)", -1, out, ffi.NULL) == 0
        assert lib.sqlite3_step(out[0]) == lib.SQLITE_DONE
        lib.sqlite3_finalize(out[0])

    await lane.call(run_sql)
    print("open", flush=True)
    sys.stdin.readline()  # another process waits by now
    # In the middle of our transaction Python's own sqlite3 opens, reads and closes the file.
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    other.close()
    time.sleep(0.3)  # with two copies of SQLite in here, the other process would write now
    await lane.call(lambda: lib.pgqrs_step_succeed(step[0], b"1"))
    print("committed", flush=True)

asyncio.run(main())
"""

WAITS = """
async def main():
    store = await pgqrs.connect_with(place())
    print("waiting", flush=True)
    await pgqrs.produce(store, "tasks", "other")
    print("acknowledged", flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(BACKEND != "sqlite", reason="a file")
def test_pythons_own_sqlite3_shares_our_copy(place: Place) -> None:
    asyncio.run(place.store("tasks"))
    place.sql("CREATE TABLE mine (n)")
    holder = ready(place.program(HOLDS_A_TRANSACTION), "open")
    waiter = ready(place.program(WAITS), "waiting")
    time.sleep(0.2)  # it waits for its turn
    assert finish_lines(holder, "\n") == ["committed"]
    assert finish(waiter) == "acknowledged\n"
    with sqlite3.connect(str(place.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM mine").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM pgqrs_steps WHERE status = 1").fetchone() == (1,)
        assert db.execute("SELECT payload FROM pgqrs_messages WHERE payload = '\"other\"'").fetchone()
    db.close()


def finish_lines(program: Any, text: str) -> List[str]:
    program.stdin.write(text)
    program.stdin.flush()
    return finish(program).splitlines()


@pytest.mark.skipif(BACKEND != "postgres", reason="a server")
def test_a_restart_of_the_server_loses_nothing(place: Place) -> None:
    control = os.environ["PGQRS_TEST_PG_CTL"]

    async def use() -> None:
        store = await place.store("tasks")
        consumer = await store.consumer("tasks")
        seen: List[Any] = []
        task = asyncio.ensure_future(
            pgqrs.dequeue().worker(consumer).handle(lambda m: seen.append(m.payload)).poll(store)
        )
        acknowledged = []
        for n in range(60):
            if n == 30:
                restart = await asyncio.create_subprocess_exec(control, "restart", "-m", "immediate")
                await restart.wait()
            try:
                await pgqrs.produce(store, "tasks", n)
                acknowledged.append(n)
            except pgqrs.PgqrsError as error:
                assert error.retryable or error.maybe_applied, error
        end = time.monotonic() + 45
        while not set(acknowledged) <= set(seen):
            assert time.monotonic() < end and not task.done(), (task, set(acknowledged) - set(seen))
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(acknowledged) > 40

    asyncio.run(asyncio.wait_for(use(), 60))


def test_an_interrupted_program_ends(place: Place) -> None:
    asyncio.run(place.store("wf"))
    program = ready(place.program(WORKER, "/dev/null"))
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=20)
    assert program.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT)
