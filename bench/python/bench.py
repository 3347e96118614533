"""How fast the Python package is, on the store of a DSN. twin.c is the same work in C.

    python bench/python/bench.py DSN [--seconds 3] [--only NAME]

Prints one line for each trial: its name, operations a second, and microseconds each (p50 for one that is
awaited alone). The tables are installed in the schema "pgqrs_bench_python" of a PostgreSQL database, which
is dropped first and last; of SQLite, in the file.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any, Awaitable, Callable, List, Optional, Tuple

import pgqrs
from pgqrs.decorators import step, workflow

SCHEMA = "pgqrs_bench_python"


def numbered(number: int) -> Any:
    @step(name="step%d" % number)
    async def one(run: pgqrs.Run) -> int:
        return number

    return one


STEPS = [numbered(number) for number in range(10)]


@workflow(name="bench")
async def flow(run: pgqrs.Run, input: Any) -> int:
    return sum([await one(run) for one in STEPS])


@pgqrs.step
async def typed_step(number: int) -> int:
    return number


@pgqrs.workflow(name="bench_typed")
async def typed(run: pgqrs.WorkflowRun, input: int) -> int:
    return sum([await typed_step(number) for number in range(10)])


async def rate(what: str, seconds: float, count: int, once: Callable[[], Awaitable[Any]]) -> None:
    await once()
    began = time.perf_counter()
    rounds = 0
    while time.perf_counter() - began < seconds:
        await once()
        rounds += 1
    each = (time.perf_counter() - began) / (rounds * count)
    print("%-28s %10.0f /s %9.1f us" % (what, 1 / each, each * 1e6), flush=True)


async def alone(what: str, seconds: float, once: Callable[[], Awaitable[Any]]) -> None:
    took: List[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        await once()
        took.append(time.perf_counter() - began)
    p50 = statistics.median(took)
    print("%-28s %10.0f /s %9.1f us p50" % (what, len(took) / sum(took), p50 * 1e6), flush=True)


async def measure(dsn: str, seconds: float, only: Optional[str]) -> None:
    config = pgqrs.Config(dsn, schema=SCHEMA if dsn.startswith("postgres") else None)
    async with pgqrs.connect_with(config) as store:
        await store.bootstrap()
        await store.queue("bench_queue")
        await pgqrs.workflow().name("bench").store(store).create()
        trigger = pgqrs.workflow().name("bench").store(store)
        consumer = await store.consumer("bench_queue")

        worker = await store.consumer("bench")

        async def one_run(message: pgqrs.QueueMessage) -> None:
            await flow(await pgqrs.run().message(message).store(store).execute(), message.payload)

        async def runs() -> None:
            # As twin.c does: without reading the messages that execute() hands out.
            await asyncio.gather(*[store._enqueue(b"bench", 1, workflow=True) for _ in range(64)])
            await asyncio.gather(*[one_run(message) for message in await worker.dequeue(64)])

        executor = pgqrs.Worker(store, concurrency=64).add(typed)

        async def typed_runs() -> None:
            await asyncio.gather(*[typed.start(store, 1) for _ in range(64)])
            await executor.drain()

        async def enqueues() -> None:
            await asyncio.gather(*[pgqrs.produce(store, "bench_queue", {"n": n}) for n in range(200)])

        async def drain() -> None:
            await pgqrs.produce_batch(store, "bench_queue", [{"n": n} for n in range(1000)])
            while True:
                messages = await consumer.dequeue(100)
                if not messages:
                    return
                await consumer.archive_many([message.id for message in messages])

        run = await pgqrs.run().message(await trigger.trigger(1).execute()).store(store).execute()
        await run.start()
        number = 0

        async def one_step() -> None:
            nonlocal number
            number += 1
            acquired = await run.acquire_step("s%d" % number)
            assert acquired.guard is not None
            await acquired.guard.success(1)

        async def purge() -> None:
            await (await store.get_queues()).purge("bench_queue")

        trials: List[Tuple[str, Callable[[], Awaitable[Any]]]] = [
            ("runs of 10 steps, 64 at once", lambda: rate("runs of 10 steps, 64 at once", seconds, 640, runs)),
            ("the same by a Worker", lambda: rate("the same by a Worker", seconds, 640, typed_runs)),
            ("enqueue, 200 at once", lambda: rate("enqueue, 200 at once", seconds, 200, enqueues)),
            ("purge", purge),
            ("enqueue 1000, drain by 100", lambda: rate("enqueue 1000, drain by 100", seconds, 1000, drain)),
            ("step, alone", lambda: alone("step, alone", seconds, one_step)),
        ]
        for name, trial in trials:
            if only is None or only in name or name == "purge":
                await trial()


async def bare(dsn: str, seconds: float) -> None:
    """A row and a commit by psycopg, one after the other."""
    import psycopg

    db = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with db:
        await db.execute("CREATE TABLE %s.bare (id bigserial PRIMARY KEY, body text)" % SCHEMA)
        insert = "INSERT INTO %s.bare (body) VALUES (%%s)" % SCHEMA

        async def once() -> None:
            await db.execute(insert, ("{}",), prepare=True)

        await alone("psycopg insert, alone", seconds, once)


def schema(dsn: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(statement)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    postgres = arguments.dsn.startswith("postgres")
    if postgres:
        schema(arguments.dsn, "DROP SCHEMA IF EXISTS %s CASCADE" % SCHEMA)
        schema(arguments.dsn, "CREATE SCHEMA %s" % SCHEMA)
    try:
        asyncio.run(measure(arguments.dsn, arguments.seconds, arguments.only))
        if postgres:
            asyncio.run(bare(arguments.dsn, arguments.seconds))
    finally:
        if postgres:
            schema(arguments.dsn, "DROP SCHEMA %s CASCADE" % SCHEMA)


if __name__ == "__main__":
    main()
