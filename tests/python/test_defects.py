"""Defects of the old package that must not come back; those that no other test is about."""

from __future__ import annotations

import asyncio
from typing import Any, List, Optional

import pytest

import pgqrs
from pgqrs.decorators import step, workflow

from conftest import Place


async def trigger(store: pgqrs.Store, input: Any) -> pgqrs.QueueMessage:
    await pgqrs.workflow().name("wf").store(store).create()
    return await pgqrs.workflow().name("wf").store(store).trigger(input).execute()


async def until(condition: Any, clock: Optional[pgqrs.Clock] = None) -> None:
    """Wait until it is true; meanwhile the clock goes on."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.005)
            if clock is not None:
                clock.advance(0.2)

    await asyncio.wait_for(wait(), 20)


class Loop:
    """A loop over runs of "wf", that ends with the block."""

    def __init__(self, store: pgqrs.Store, flow: Any) -> None:
        self.store, self.flow = store, flow

    async def __aenter__(self) -> "asyncio.Task[None]":
        self.consumer = await self.store.consumer("wf")
        builder = pgqrs.dequeue().worker(self.consumer).poll_interval(5).handle_workflow(self.flow)
        self.task = asyncio.ensure_future(builder.poll(self.store))
        return self.task

    async def __aexit__(self, *exc_info: object) -> None:
        await self.consumer.interrupt()
        with pytest.raises(pgqrs.PgqrsError, match="interrupted"):
            await self.task


async def test_a_retry_comes_at_its_time_and_not_at_once(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    tries: List[int] = []

    @step
    async def later(run: pgqrs.Run) -> int:
        tries.append(1)
        if len(tries) == 1:
            error = pgqrs.TransientStepError("in an hour")
            error.retry_after = 3600
            raise error
        return len(tries)

    @workflow(name="wf")
    async def flow(run: pgqrs.Run, input: Any) -> int:
        return await later(run)

    message = await trigger(store, 1)
    async with Loop(store, flow):
        await until(lambda: tries)
        clock.advance(3500)
        other = await trigger(store, 2)  # the loop goes on with other work
        assert await pgqrs.run().message(other).store(store).result() == 2
        assert await pgqrs.run().message(message).store(store).get() is None and len(tries) == 2
        clock.advance(200)
        assert await pgqrs.run().message(message).store(store).result() == 3


async def test_retries_and_pauses_cost_no_delivery_and_not_each_other(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    tries: List[str] = []

    @step(retry=pgqrs.StepRetryPolicy(7, pgqrs.BackoffStrategy.fixed(1)))
    async def stubborn(run: pgqrs.Run) -> str:
        tries.append("try")
        if tries.count("try") < 8:
            raise pgqrs.TransientStepError("again")
        return "at last"

    @workflow(name="wf")
    async def flow(run: pgqrs.Run, input: Any) -> str:
        if tries.count("pause") < 7:
            tries.append("pause")
            await run.pause("a while", 1)
            raise pgqrs.PausedError("a while")
        return await stubborn(run)

    message = await trigger(store, 1)
    async with Loop(store, flow):
        for _ in range(16):
            seen = len(tries)
            if seen == 15:
                break
            await until(lambda: len(tries) > seen, clock)
        assert await pgqrs.run().message(message).store(store).result() == "at last"
    assert (tries.count("pause"), tries.count("try")) == (7, 8)
    [ended] = await (await store.get_messages()).list_archived_by_queue(message.queue_id)
    assert ended.read_ct == 1


async def test_a_database_error_in_a_step_is_not_the_workflows_failure(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    tries: List[int] = []

    @step
    async def unlucky(run: pgqrs.Run) -> str:
        tries.append(1)
        if len(tries) < 9:  # more often than a message is delivered
            error = pgqrs.PgqrsConnectionError("connection lost")
            error.code = "ECONN"
            raise error
        return "done"

    @workflow(name="wf")
    async def flow(run: pgqrs.Run, input: Any) -> str:
        return await unlucky(run)

    message = await trigger(store, 1)
    async with Loop(store, flow) as task:
        while len(tries) < 9:
            seen = len(tries)
            await until(lambda: len(tries) > seen or task.done(), clock)
            assert not task.done()
        assert await pgqrs.run().message(message).store(store).result() == "done"


async def test_a_run_that_failed_in_the_loop_poisons_nothing(place: Place) -> None:
    store = await place.store()

    @workflow(name="wf")
    async def flow(run: pgqrs.Run, input: Any) -> Any:
        if input == "bad":
            raise ValueError("bad input")
        return input

    bad, good = await trigger(store, "bad"), await trigger(store, "good")
    consumer = await store.consumer("wf")
    with pytest.raises(ValueError):
        await pgqrs.dequeue().worker(consumer).handle_workflow(flow).poll(store)
    async with Loop(store, flow):
        assert await pgqrs.run().message(good).store(store).result() == "good"
    with pytest.raises(pgqrs.PgqrsError, match="bad input"):
        await pgqrs.run().message(bad).store(store).result()
    assert (await (await store.get_queues()).metrics("wf")).total_messages == 0


async def test_the_backlog_does_not_make_a_claim_longer(place: Place) -> None:
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")

    async def statements() -> int:
        from test_engine import counters

        before = counters(store).statements
        [message] = await consumer.dequeue()
        await consumer.archive(message.id)
        return int(counters(store).statements - before)

    await pgqrs.produce_batch(store, "tasks", list(range(3)))
    few = await statements()
    for _ in range(10):
        await pgqrs.produce_batch(store, "tasks", list(range(1000)))
    assert await statements() <= few
