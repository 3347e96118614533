"""Event loops, threads, forks and cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import random
import sys
import threading
import time
from typing import Any, List

import pytest

import pgqrs
from pgqrs import _engine
from pgqrs._engine import Engine, Lane, check, failure, ffi, in_transaction, lib

from conftest import BACKEND, Place, finish


def counters(store: pgqrs.Store) -> Any:
    out = ffi.new("pgqrs_counters *")
    lib.pgqrs_store_counters(store._engine.handle, out)
    return out


async def test_what_is_awaited_in_one_tick_shares_commits(place: Place) -> None:
    store = await place.store("tasks")
    before = counters(store).commits
    ids = await asyncio.gather(*[pgqrs.produce(store, "tasks", n) for n in range(200)])
    assert len(set(ids)) == 200
    assert counters(store).commits - before <= 8
    consumer = await store.consumer("tasks")
    messages = await consumer.dequeue(200)
    before = counters(store).commits
    assert all(await asyncio.gather(*[consumer.archive(m.id) for m in messages]))
    assert counters(store).commits - before <= 8


async def test_one_that_fails_does_not_touch_its_neighbours(place: Place) -> None:
    store = await place.store("tasks")
    consumer, other = await store.consumer("tasks"), await store.consumer("tasks")
    ids = await pgqrs.produce_batch(store, "tasks", [1, 2, 3])
    await consumer.dequeue(3)
    async with pgqrs.connect_with(place.config()) as elsewhere:
        await pgqrs.Admin(elsewhere).release_worker_messages(consumer.worker_id)
        assert len(await pgqrs.Consumer(elsewhere, "tasks", other.worker_id).dequeue(1)) == 1
    [again] = await other.dequeue(1)
    answers = await asyncio.gather(
        consumer.archive(ids[0]),
        other.archive(again.id),
        pgqrs.produce(store, "nobody", 1),
        pgqrs.produce(store, "tasks", 1),
        return_exceptions=True,
    )
    assert list(answers[:2]) == [False, True]
    assert isinstance(answers[2], pgqrs.QueueNotFoundError) and isinstance(answers[3], int)


async def test_the_loop_is_never_blocked(place: Place) -> None:
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    gaps: List[float] = []

    async def watch() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0)
            gaps.append(time.monotonic() - began)

    watcher = asyncio.ensure_future(watch())
    task = asyncio.ensure_future(pgqrs.dequeue().worker(consumer).handle(lambda m: None).poll(store))
    for _ in range(20):
        await pgqrs.produce(store, "tasks", "x")
    run = asyncio.ensure_future(pgqrs.run().message(await trigger(store)).store(store).result())
    await asyncio.sleep(0.2)  # waits for a run and for a message are under way
    watcher.cancel()
    run.cancel()
    task.cancel()
    assert sorted(gaps)[-3] < 0.1


async def trigger(store: pgqrs.Store) -> pgqrs.QueueMessage:
    await pgqrs.workflow().name("wf").store(store).create()
    return await pgqrs.workflow().name("wf").store(store).trigger(1).execute()


async def test_a_cancelled_claim_loses_nothing(place: Place) -> None:
    place.standing()  # no lease passes: what is lost would stay so
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    queues = await store.get_queues()
    ids = await pgqrs.produce_batch(store, "tasks", list(range(150)))
    chance = random.Random(1)
    handled = 0

    async def work() -> None:
        nonlocal handled
        while True:
            for message in await consumer.dequeue(chance.randint(1, 5)):
                handled += 1
                await consumer.archive(message.id)
            await asyncio.sleep(0)

    while (await queues.metrics("tasks")).total_messages > 0:
        tasks = [asyncio.ensure_future(work()) for _ in range(4)]
        for _ in range(chance.randint(0, 12)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(0.003)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.002)
        # What an awaiter had in its hands when it was cancelled is still this consumer's.
        await consumer.release_messages([hold.id for hold in list(store._holds.values())])
    archive = [m.id for m in await (await store.get_messages()).list_archived_by_queue(1)]
    assert archive == ids and handled >= len(ids)  # each of them once


async def test_a_cancelled_enqueue_happens_once_or_not_at_all(place: Place) -> None:
    store = await place.store("tasks")
    acknowledged = set()
    sent = 0
    for n in range(60):
        task = asyncio.ensure_future(pgqrs.produce(store, "tasks", n))
        for _ in range(n % 6):
            await asyncio.sleep(0)
        if n % 7 == 0:
            await asyncio.sleep(0.002)
        task.cancel()
        try:
            acknowledged.add(await task)
        except asyncio.CancelledError:
            pass
        sent += 1
    never = asyncio.ensure_future(pgqrs.produce(store, "tasks", "never sent"))
    await asyncio.sleep(0)
    never.cancel()  # in the tick that it was made in
    last = await pgqrs.produce(store, "tasks", "last")
    messages = await (await store.consumer("tasks")).dequeue(200)
    payloads = [m.payload for m in messages]
    assert len(payloads) == len(set(map(str, payloads))) and acknowledged | {last} <= {m.id for m in messages}
    assert "never sent" not in payloads


async def test_a_cancelled_connect_leaves_nothing_open(place: Place) -> None:
    await (await place.store("tasks")).close()
    before = len(os.listdir("/proc/self/fd"))
    for n in range(12):
        connecting = asyncio.ensure_future(place.connect())
        for _ in range(n % 4):
            await asyncio.sleep(0.001 * (n % 3))
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
    for store in place.stores:
        await store.close()
    end = time.monotonic() + 20
    while len(os.listdir("/proc/self/fd")) > before + 1 and time.monotonic() < end:
        await asyncio.sleep(0.02)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def test_a_cancelled_wait_ends_at_once(place: Place) -> None:
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    began = time.monotonic()
    for _ in range(5):
        claim = store._claim(consumer._queue, 1, owner=consumer.worker_id, wait_us=3600 * 10**6)
        await asyncio.sleep(0.01)
        claim.cancel()
    result = asyncio.ensure_future(pgqrs.run().message(await trigger(store)).store(store).result())
    await asyncio.sleep(0.01)
    result.cancel()
    await store.close()  # waits for what is under way
    assert time.monotonic() - began < 5


def test_loops_in_threads_share_a_store(place: Place) -> None:
    store = asyncio.run(place.store("tasks"))
    found: List[Any] = []

    async def work(number: int) -> None:
        ids = await asyncio.gather(*[pgqrs.produce(store, "tasks", [number, n]) for n in range(50)])
        consumer = await store.consumer("tasks")
        for _ in range(200):
            for message in await consumer.dequeue(7):
                assert await consumer.archive(message.id)
                found.append(tuple(message.payload))
            if len(found) == 150:
                break
        assert len(set(ids)) == 50

    threads = [threading.Thread(target=asyncio.run, args=(work(n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [(number, n) for number in range(3) for n in range(50)]


@pytest.mark.skipif(sys.version_info < (3, 9), reason="uvloop")
def test_under_uvloop(place: Place) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def work() -> None:
        store = await place.store("tasks")
        consumer = await store.consumer("tasks")
        seen: List[Any] = []
        task = asyncio.ensure_future(
            pgqrs.dequeue().worker(consumer).handle(lambda m: seen.append(m.payload)).poll(store)
        )
        await asyncio.gather(*[pgqrs.produce(store, "tasks", n) for n in range(100)])
        while len(seen) < 100:
            await asyncio.sleep(0.01)
        await consumer.interrupt()
        with pytest.raises(pgqrs.PgqrsError):
            await task
        await store.close()

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(work(), 30))
    finally:
        loop.close()


async def test_a_child_of_fork_is_refused(place: Place) -> None:
    store = await place.store("tasks")
    run = await pgqrs.Admin(store).create_workflow("wf", 1)
    await run.start()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            codes = []
            try:
                store._engine.submit(lambda batch: 0)
            except pgqrs.PgqrsError as error:
                codes.append(str(error.code))
            loop = asyncio.new_event_loop()

            async def use() -> None:
                for call in (pgqrs.produce(store, "tasks", 1), run.start(), store.bootstrap()):
                    try:
                        await call
                    except pgqrs.PgqrsError as error:
                        codes.append(str(error.code))
                # One of its own works; a file that is open in the parent is refused.
                server = BACKEND == "postgres"
                config = place.config() if server else pgqrs.Config("%s::memory:" % BACKEND)
                async with pgqrs.connect_with(config) as own:
                    if not server:
                        await own.bootstrap()
                        await own.queue("tasks")
                    codes.append(str(await pgqrs.produce(own, "tasks", "child") > 0))

            asyncio.set_event_loop(loop)
            loop.run_until_complete(use())
            os.write(write, ",".join(codes).encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, os.waitpid, child, 0)
    assert os.read(read, 1000).decode() == "EFORK,EFORK,EFORK,EFORK,True"
    os.close(read)
    await run.success("parent")
    assert await pgqrs.produce(store, "tasks", "parent") > 0
    both = ["child", "parent"] if BACKEND == "postgres" else ["parent"]
    assert [m.payload for m in await (await store.consumer("tasks")).dequeue(9)] == both


END = """
async def main():
    store = await pgqrs.connect_with(place())
    consumer = await store.consumer("tasks")
    asyncio.ensure_future(pgqrs.dequeue().worker(consumer).handle(print).poll(store))
    run = await pgqrs.admin(store).create_workflow("wf", 1)
    await run.start()
    await asyncio.sleep(0.05)
    how = sys.argv[1]
    if how == "thread":
        import threading
        threading.Thread(target=asyncio.run, args=(other(store),), daemon=True).start()
        await asyncio.sleep(0.05)
    if how == "exit":
        sys.exit(0)
    if how == "keep":
        globals()["kept"] = (store, consumer, run)
    if how == "raise":
        raise SystemExit(0)

async def other(store):
    await store.get_queues()
    await pgqrs.run().message(await run_id(store)).store(store).result()

async def run_id(store):
    return (await (await store.get_workflow_runs()).list())[0].id

if sys.argv[1] == "loop":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
else:
    asyncio.run(main())
print("end")
"""


@pytest.mark.parametrize("how", ["run", "keep", "thread", "loop"])
def test_the_end_of_the_process(place: Place, how: str) -> None:
    async def make() -> None:
        await (await place.store("tasks")).close()  # the file is the program's then

    asyncio.run(make())
    began = time.monotonic()
    assert finish(place.program(END, how), 20) == "end\n"
    assert time.monotonic() - began < 10


async def test_the_store_inside_a_transaction_is_refused_at_once(place: Place) -> None:
    store = await place.store("tasks")
    token = in_transaction.set(store._engine)
    try:
        with pytest.raises(pgqrs.PgqrsError) as refused:
            await pgqrs.produce(store, "tasks", 1)
        assert refused.value.code == "EBUSY" and "transaction" in str(refused.value)
        async with pgqrs.connect_with(place.config()) as other:
            assert await pgqrs.produce(other, "tasks", 1) > 0
    finally:
        in_transaction.reset(token)
    assert await pgqrs.produce(store, "tasks", 1) > 0
    assert contextvars.copy_context().get(in_transaction) is None


async def test_a_lane_runs_calls_in_order(place: Place) -> None:
    lane = Lane()
    seen: List[int] = []

    def slow(number: int) -> int:
        time.sleep(0.01)
        seen.append(number)
        return threading.get_ident()

    first = asyncio.ensure_future(lane.call(slow, 1))
    await asyncio.sleep(0)
    first.cancel()
    assert await lane.call(slow, 2) == lane.ident and seen == [1, 2]

    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await lane.call(fails)
    with pytest.raises(KeyError):
        lane.call_blocking(fails)
    assert lane.call_blocking(slow, 3) == lane.ident
    lane.close()
    with pytest.raises(pgqrs.PgqrsError):
        lane.call(slow, 4)


async def test_blocking_calls_hold_a_close_back(place: Place) -> None:
    store = await place.store("tasks")
    engine = store._engine
    inside = threading.Event()

    def version() -> str:
        inside.set()
        time.sleep(0.05)
        out = ffi.new("pgqrs_description **")
        check(lambda error: lib.pgqrs_store_describe(engine._state.store, out, error))
        version = _engine.text(out[0].version)
        lib.pgqrs_description_free(out[0])
        return version

    asked = engine.blocking(version)
    inside.wait(5)
    await store.close()
    assert await asked
    with pytest.raises(pgqrs.PgqrsError):
        engine.blocking(version)


def test_an_engine_without_a_loop(place: Place) -> None:
    engine = Engine.open_blocking(place.dsn, place.config()._options())
    check(lambda error: lib.pgqrs_install(engine.handle, error))
    engine.close_blocking()
    with pytest.raises(pgqrs.PgqrsError):
        engine.handle
    with pytest.raises(pgqrs.PgqrsError):
        Engine.open_blocking("nonsense:")


async def test_a_clock_of_ones_own(place: Place) -> None:
    clock = pgqrs.Clock(1000.5)
    assert clock.now() == 1000.5
    clock.advance(0.25)
    assert clock.now() == 1000.75
    running = pgqrs.Clock(5000, stands=False)
    assert 5000 <= running.now() < 5060
    running.advance(1000)
    assert running.now() >= 6000
    place.clock = clock
    store = await place.store("tasks")
    await pgqrs.produce(store, "tasks", 1)
    [message] = await (await store.consumer("tasks")).dequeue()
    assert message.enqueued_at == "1970-01-01T00:16:40.750000+00:00"


def test_the_librarys_log_is_a_logger(place: Place, caplog: Any) -> None:
    logger = logging.getLogger("pgqrs")
    options = ffi.new("pgqrs_store_options *")
    lib.pgqrs_py_options(options, ffi.NULL)
    _engine._start("pgqrs-log", _engine._carry_log)
    with caplog.at_level(logging.DEBUG, logger="pgqrs"):
        for level in range(4):
            options.log(ffi.NULL, level, b"line %d" % level)
        end = time.monotonic() + 10
        while len(caplog.records) < 4 and time.monotonic() < end:
            time.sleep(0.01)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("DEBUG", "line 0"),
        ("INFO", "line 1"),
        ("WARNING", "line 2"),
        ("ERROR", "line 3"),
    ]
    assert logger.name == "pgqrs"


def test_failures_have_types() -> None:
    kinds = {status: type(failure(getattr(lib, "PGQRS_" + status), "x")).__name__ for status in [
        "EINVAL", "ECONFIG", "ENOTFOUND", "EEXISTS", "ESTATE", "ELEASE", "ECANCELLED", "EPAUSED", "ENOTREADY",
        "EEXHAUSTED", "ERATE", "EJSON", "ESCHEMA", "EBUSY", "ECONN", "ETIMEDOUT", "EDB", "ENOMEM", "EFORK",
        "EINTERNAL"]}  # fmt: skip
    assert kinds == {
        "EINVAL": "ValidationError",
        "ECONFIG": "ConfigError",
        "ENOTFOUND": "QueueNotFoundError",
        "EEXISTS": "QueueAlreadyExistsError",
        "ESTATE": "StateTransitionError",
        "ELEASE": "StateTransitionError",
        "ECANCELLED": "StateTransitionError",
        "EPAUSED": "PausedError",
        "ENOTREADY": "StepNotReadyError",
        "EEXHAUSTED": "RetriesExhaustedError",
        "ERATE": "RateLimitedError",
        "EJSON": "SerializationError",
        "ESCHEMA": "ConfigError",
        "EBUSY": "PgqrsError",
        "ECONN": "PgqrsConnectionError",
        "ETIMEDOUT": "TimeoutError",
        "EDB": "InternalError",
        "ENOMEM": "InternalError",
        "EFORK": "PgqrsError",
        "EINTERNAL": "InternalError",
    }


async def test_what_was_abandoned_is_not_kept(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    store._prune_at = 20
    for _ in range(15):
        await pgqrs.produce_batch(store, "tasks", [1, 2])
        await consumer.dequeue(2)
        clock.advance(700)
        await pgqrs.Admin(store).release_worker_messages(consumer.worker_id)
        await (await store.get_queues()).purge("tasks")
    gc.collect()
    store._prune_at = 1
    await pgqrs.produce(store, "tasks", 3)
    await consumer.dequeue(1)
    assert len(store._holds) <= 5


@pytest.mark.skipif(BACKEND != "sqlite", reason="a file")
def test_one_copy_of_sqlite_is_in_the_process(place: Place) -> None:
    import sqlite3

    assert _engine.text(lib.sqlite3_libversion()) == sqlite3.sqlite_version
    out = ffi.new("pgqrs_description **")
    engine = Engine.open_blocking(place.dsn)
    check(lambda error: lib.pgqrs_store_describe(engine.handle, out, error))
    warnings = [_engine.text(out[0].warnings[n]) for n in range(out[0].warnings_count)]
    lib.pgqrs_description_free(out[0])
    engine.close_blocking()
    assert not [warning for warning in warnings if "copies" in warning]
    with open("/proc/self/maps") as maps:
        assert len({line.split()[-1] for line in maps if "libsqlite3" in line}) <= 1
