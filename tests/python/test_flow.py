"""Workflows and steps as functions."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Dict, List, Optional

import pytest

import pgqrs

from conftest import BACKEND, Place


async def drain(store: pgqrs.Store, *workflows: pgqrs.Workflow[Any, Any]) -> int:
    return await pgqrs.Worker(store).add(*workflows).drain()


async def names(store: pgqrs.Store, run_id: int) -> List[str]:
    return sorted(step.step_name for step in await (await store.get_workflow_steps()).list() if step.run_id == run_id)


@dataclass
class Order:
    id: int
    total: Decimal


@dataclass
class Receipt:
    order: int
    lines: List[str]


done: List[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@pgqrs.step
async def line(text: str) -> str:
    done.append(text)
    return text.upper()


@pgqrs.workflow
async def checkout(run: pgqrs.WorkflowRun, order: Order) -> Receipt:
    assert isinstance(order.total, Decimal)
    first = await line("order %d" % order.id)
    return Receipt(order.id, [first, await line(str(order.total))])


async def test_a_typed_run_from_start_to_result(place: Place) -> None:
    store = await place.store()
    handle = await checkout.start(store, Order(1, Decimal("1.10")))
    assert await handle.status() == pgqrs.WorkflowStatus.Queued
    assert await drain(store, checkout) == 1
    assert await handle.result(timeout=5) == Receipt(1, ["ORDER 1", "1.10"])
    assert await handle.status() == pgqrs.WorkflowStatus.Success
    assert await checkout.handle(store, handle.id).result(timeout=1) == Receipt(1, ["ORDER 1", "1.10"])
    assert await names(store, handle.id) == ["line", "line#2"]
    with pytest.raises(pgqrs.StateTransitionError):
        await handle.cancel()


async def test_outside_of_a_run_everything_is_a_plain_call() -> None:
    assert await line("x") == "X"
    assert done == ["x"]

    @pgqrs.step
    def plain(a: int, b: int = 1) -> int:
        return a + b

    assert await plain(1, b=2) == 3
    assert line.name == "line" and line.__doc__ is None and checkout.name == "checkout"


async def test_a_key_starts_one_run(place: Place) -> None:
    store = await place.store()
    order = Order(1, Decimal(2))
    ids = [handle.id for handle in await asyncio.gather(*[checkout.start(store, order, key="k") for _ in range(5)])]
    assert len(set(ids)) == 1
    assert (await checkout.start(store, order, key="other")).id != ids[0]


async def test_what_cannot_be_written_or_read_starts_nothing(place: Place) -> None:
    store = await place.store()
    with pytest.raises(pgqrs.SerializationError, match=r"^\$\.total: "):
        await checkout.start(store, Order(1, object()))  # type: ignore[arg-type]
    with pytest.raises(pgqrs.SerializationError, match="needs a field"):
        await checkout.start(store, {"id": 1})  # type: ignore[arg-type]
    assert await (await store.get_workflow_runs()).list() == []


async def test_delay_and_priority(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    ran: List[int] = []

    @pgqrs.workflow
    async def note(run: pgqrs.WorkflowRun, n: int) -> None:
        ran.append(n)

    await note.start(store, 1, delay=timedelta(hours=1))
    await note.start(store, 2)
    await note.start(store, 3, priority=0)
    await note.start(store, 4, priority=9)
    worker = pgqrs.Worker(store, concurrency=1).add(note)
    assert await worker.drain() == 3
    assert ran == [3, 2, 4]
    clock.advance(3600)
    assert await worker.drain() == 1
    assert ran == [3, 2, 4, 1]
    for wrong in (-1, 10, True):
        with pytest.raises(pgqrs.ValidationError, match="priority"):
            await note.start(store, 5, priority=wrong)


async def test_steps_are_replayed_after_a_failed_attempt(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    fails = [True, True]

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        a = await line("a")
        if fails and fails.pop():
            raise ValueError("not yet")
        return a + await line("b")

    handle = await wf.start(store)
    for attempt in range(3):
        assert await drain(store, wf) == 1
        clock.advance(3600)
    assert await handle.result(timeout=5) == "AB"
    assert done == ["a", "b"]


async def test_attempts_that_are_used_up_end_the_run(place: Place) -> None:
    clock = place.standing()
    store = await place.store()

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> None:
        raise KeyError("gone")

    handle = await wf.start(store)
    for attempt in range(5):
        assert await drain(store, wf) == 1
        clock.advance(86400)
    assert await drain(store, wf) == 0
    with pytest.raises(pgqrs.WorkflowFailedError, match="gone") as caught:
        await handle.result()
    assert caught.value.code == "KeyError"


async def test_a_step_that_fails_has_failed_for_good(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    seen: List[pgqrs.StepFailedError] = []
    again = [True]

    @pgqrs.step
    async def bad(n: int) -> None:
        done.append("bad")
        raise ValueError("no %d" % n)

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun, catches: bool) -> str:
        try:
            await bad(1)
        except pgqrs.StepFailedError as error:
            seen.append(error)
            if not catches:
                raise
        if again.pop() if again else False:
            raise RuntimeError("once more")
        return "handled"

    handle = await wf.start(store, True)
    await drain(store, wf)
    clock.advance(3600)
    await drain(store, wf)
    assert await handle.result(timeout=5) == "handled"
    assert done == ["bad"]
    first, replayed = seen
    assert isinstance(first.__cause__, ValueError) and replayed.__cause__ is None
    for error in seen:  # the same, executed and replayed
        assert (error.code, error.step, str(error)) == ("ValueError", "bad", 'step "bad" failed: no 1')
        assert error.error["message"] == "no 1"
    handle = await wf.start(store, False)
    await drain(store, wf)
    with pytest.raises(pgqrs.WorkflowFailedError, match="no 1") as caught:
        await handle.result()
    assert caught.value.code == "ValueError"


async def test_retry_parks_the_run_until_its_time(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    policy = pgqrs.StepRetryPolicy(2, pgqrs.BackoffStrategy.fixed(10))

    @pgqrs.step(retry=policy, retry_on=(ValueError, OSError))
    async def flaky(fails: int) -> str:
        done.append("flaky")
        if done.count("flaky") <= fails:
            raise ValueError("no")
        return "yes"

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun, fails: int) -> str:
        try:
            return await line("before") + await flaky(fails)
        except Exception as error:  # a park is no Exception
            done.append(type(error).__name__)
            raise

    handle = await wf.start(store, 2)
    assert await drain(store, wf) == 1
    assert await handle.status() == pgqrs.WorkflowStatus.Running
    clock.advance(9.999)
    assert await drain(store, wf) == 0
    clock.advance(0.001)
    assert await drain(store, wf) == 1
    clock.advance(10)
    assert await drain(store, wf) == 1
    assert await handle.result(timeout=5) == "BEFOREyes"
    assert done == ["before", "flaky", "flaky", "flaky"]

    done.clear()
    handle = await wf.start(store, 9)
    for _ in range(3):
        assert await drain(store, wf) == 1
        clock.advance(10)
    with pytest.raises(pgqrs.WorkflowFailedError):
        await handle.result()
    assert done == ["before", "flaky", "flaky", "flaky", "StepFailedError"]


async def test_what_is_not_retried_on(place: Place) -> None:
    store = await place.store()

    @pgqrs.step(retry=pgqrs.StepRetryPolicy(), retry_on=OSError)
    async def bad() -> None:
        done.append("bad")
        raise ValueError("no")

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> None:
        await bad()

    handle = await wf.start(store)
    await drain(store, wf)
    assert await handle.status() == pgqrs.WorkflowStatus.Error
    assert done == ["bad"]


async def test_a_transient_step_error_is_always_retried_and_its_time_wins(place: Place) -> None:
    clock = place.standing()
    store = await place.store()

    @pgqrs.step
    async def busy() -> str:
        done.append("busy")
        if len(done) == 1:
            error = pgqrs.TransientStepError("429")
            error.code, error.retry_after = "RATE", 100
            raise error
        return "ok"

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        return await busy()

    handle = await wf.start(store)
    await drain(store, wf)
    clock.advance(99)
    assert await drain(store, wf) == 0
    clock.advance(1)
    await drain(store, wf)
    assert await handle.result(timeout=5) == "ok"


async def test_a_timeout_is_a_transient_failure(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    cancelled: List[bool] = []

    @pgqrs.step(timeout=0.01, retry=pgqrs.StepRetryPolicy(1, pgqrs.BackoffStrategy.fixed(5)))
    async def slow() -> str:
        done.append("slow")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return "never"

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        return await slow()

    handle = await wf.start(store)
    await drain(store, wf)
    assert await handle.status() == pgqrs.WorkflowStatus.Running
    clock.advance(5)
    await drain(store, wf)
    with pytest.raises(pgqrs.WorkflowFailedError, match="longer than 0.01 s") as caught:
        await handle.result()
    assert caught.value.code == "TIMEOUT"
    assert cancelled == [True, True]


async def test_gather_runs_steps_at_once_with_names_that_replay(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    gate = asyncio.Event()
    order: List[str] = []
    fails = [True]

    @pgqrs.step
    async def fetch(n: int) -> int:
        order.append("fetch %d" % n)
        if n == 2:
            gate.set()
        else:
            await gate.wait()  # the second one goes first: they run at once
        return n

    @pgqrs.step
    async def save(n: int) -> int:
        order.append("save %d" % n)
        return n * 10

    async def process(n: int) -> int:
        return await save(await fetch(n))

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> List[int]:
        direct = await asyncio.gather(*[save(n) for n in range(3)])
        nested = await asyncio.gather(process(1), process(2), process(3))
        if fails and fails.pop():
            gate.clear()
            raise ValueError("again")
        return [*direct, *nested]

    handle = await wf.start(store)
    await drain(store, wf)
    first = await names(store, handle.id)
    assert first == ["fetch@1", "fetch@2", "fetch@3", "save", "save#2", "save#3", "save@1", "save@2", "save@3"]
    assert order.index("save 2") < order.index("save 1", 4)
    count = len(order)
    clock.advance(3600)
    await drain(store, wf)
    assert await handle.result(timeout=5) == [0, 10, 20, 10, 20, 30]
    assert len(order) == count
    assert await names(store, handle.id) == first


async def test_a_retry_beside_other_steps_lets_them_finish(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    gate = asyncio.Event()

    @pgqrs.step
    async def slow() -> str:
        done.append("slow")
        await gate.wait()
        return "slow"

    @pgqrs.step(retry=pgqrs.StepRetryPolicy(1, pgqrs.BackoffStrategy.fixed(1)))
    async def flaky() -> str:
        done.append("flaky")
        if done.count("flaky") == 1:
            asyncio.get_running_loop().call_later(0.05, gate.set)
            raise ValueError("no")
        return "flaky"

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun, swallow: bool) -> List[str]:
        got = await asyncio.gather(slow(), flaky(), return_exceptions=swallow)
        return [str(one) for one in got]

    for swallow in (False, True):
        done.clear()
        gate.clear()
        handle = await wf.start(store, swallow)
        await drain(store, wf)
        assert await handle.status() == pgqrs.WorkflowStatus.Running  # also when it was swallowed
        assert await names(store, handle.id) == ["flaky", "slow"]
        clock.advance(1)
        await drain(store, wf)
        assert await handle.result(timeout=5) == ["slow", "flaky"]
        assert sorted(done) == ["flaky", "flaky", "slow"]


async def test_sleep_is_durable_and_parks_the_run(place: Place) -> None:
    clock = place.standing()
    store = await place.store()

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        await line("a")
        await run.sleep(timedelta(hours=1))
        await line("b")
        await run.sleep(60)
        await asyncio.gather(run.sleep(5, name="pause"), line("c"))
        return "end"

    handle = await wf.start(store)
    await drain(store, wf)
    assert done == ["a"] and await handle.status() == pgqrs.WorkflowStatus.Paused
    clock.advance(3599)
    assert await drain(store, wf) == 0
    clock.advance(1)
    await drain(store, wf)
    assert done == ["a", "b"]
    clock.advance(60)
    await drain(store, wf)
    assert done == ["a", "b", "c"]
    clock.advance(5)
    await drain(store, wf)
    assert await handle.result(timeout=5) == "end"
    assert done == ["a", "b", "c"]
    with pytest.raises(pgqrs.ValidationError):
        await wf.start(store, delay=-1)


async def test_pause_ends_the_execution(place: Place) -> None:
    clock = place.standing()
    store = await place.store()
    approved: List[bool] = []

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        if not approved:
            await run.pause("waits for approval", 3600)
        return "approved"

    handle = await wf.start(store)
    await drain(store, wf)
    assert await handle.status() == pgqrs.WorkflowStatus.Paused
    approved.append(True)
    clock.advance(3600)
    await drain(store, wf)
    assert await handle.result(timeout=5) == "approved"


async def test_cancel(place: Place) -> None:
    store = await place.store()
    handles: List[Any] = []

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        await line("a")
        assert await handles[-1].cancel() == pgqrs.WorkflowStatus.Cancelling
        await line("b")  # it hears of it by the record of this one, at the latest
        await line("c")
        return "never"

    handles.append(await wf.start(store))
    assert await handles[-1].cancel() == pgqrs.WorkflowStatus.Cancelled
    with pytest.raises(pgqrs.WorkflowCancelledError):
        await handles[-1].result()
    handles.append(await wf.start(store))
    await drain(store, wf)
    with pytest.raises(pgqrs.WorkflowCancelledError):
        await handles[-1].result()
    assert done in (["a"], ["a", "b"])


async def test_a_result_waits_and_gives_up(place: Place) -> None:
    store = await place.store()
    handle = await checkout.start(store, Order(1, Decimal(2)))
    with pytest.raises(pgqrs.TimeoutError):
        await handle.result(timeout=0.01)
    waiting = asyncio.ensure_future(handle.result())
    await drain(store, checkout)
    assert (await waiting).order == 1


async def test_steps_inside_of_steps_and_plain_functions(place: Place) -> None:
    store = await place.store()
    keys: List[str] = []

    @pgqrs.step
    def blocking(n: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        keys.append(pgqrs.idempotency_key())
        return n + 1

    @pgqrs.step
    async def outer(n: int) -> int:
        await line("inner")  # its work is ours
        return await blocking(n)

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> int:
        return await outer(1) + await blocking(2)

    handle = await wf.start(store)
    await drain(store, wf)
    assert await handle.result(timeout=5) == 5
    assert await names(store, handle.id) == ["blocking", "outer"]
    assert keys == ["%d/outer" % handle.id, "%d/blocking" % handle.id]
    with pytest.raises(pgqrs.StateTransitionError, match="no step"):
        pgqrs.idempotency_key()


async def test_results_are_what_a_replay_would_give(place: Place) -> None:
    store = await place.store()
    got: List[Any] = []

    @pgqrs.step
    async def untyped():  # type: ignore[no-untyped-def]
        return {"t": (1, 2), 3: Decimal("1.5")}

    @pgqrs.step
    async def typed() -> Dict[int, Optional[Decimal]]:
        return {3: Decimal("1.5"), 4: None}

    @pgqrs.step
    async def unfit() -> int:
        done.append("unfit")
        return "text"  # type: ignore[return-value]

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> None:
        got.append(await untyped())
        got.append(await typed())
        try:
            await unfit()
        except pgqrs.SerializationError as error:
            got.append(str(error))

    handle = await wf.start(store)
    await drain(store, wf)
    await handle.result()
    assert got == [{"t": [1, 2], "3": "1.5"}, {3: Decimal("1.5"), 4: None}, "$: expected int, not str"]
    assert await names(store, handle.id) == ["typed", "untyped"]  # nothing was written


@pytest.mark.skipif(BACKEND == "turso", reason="one process at a time has a file of Turso's")
async def test_a_lost_lease_ends_the_execution_and_records_nothing(place: Place) -> None:
    store = await place.store()

    @pgqrs.step
    async def rob() -> str:
        done.append("rob")
        place.sql("UPDATE pgqrs_leased SET lease = lease + 1")
        return "mine"

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        await rob()
        done.append("went on")
        return "end"

    handle = await wf.start(store)
    await drain(store, wf)
    assert done == ["rob"]
    assert await names(store, handle.id) == []
    assert await handle.status() == pgqrs.WorkflowStatus.Running


async def test_what_is_refused_in_decorating() -> None:
    async def two(run: Any, a: int, b: int) -> None: ...

    async def none() -> None: ...

    for wrong in (two, none):
        with pytest.raises(TypeError, match="takes its run and at most one argument"):
            pgqrs.workflow(wrong)  # type: ignore[arg-type]
    for name in ("a#2", "a@1", ""):
        with pytest.raises(ValueError, match="name"):
            pgqrs.step(name=name, timeout=1)(two)
    with pytest.raises(TypeError):
        pgqrs.Worker().add(two)  # type: ignore[arg-type]


async def test_a_name_that_does_not_exist_is_told(place: Place) -> None:
    store = await place.store()

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun, x: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match="Missing"):
        await wf.start(store, 1)


async def test_the_builders_have_the_same_names(place: Place) -> None:
    store = await place.store()
    assert isinstance(pgqrs.workflow(), pgqrs.WorkflowBuilder)
    assert isinstance(pgqrs.step(), pgqrs.StepBuilder)
    await pgqrs.workflow().name("checkout").store(store).create()
    message = await pgqrs.workflow().name("checkout").store(store).trigger({"id": 1, "total": "2"}).execute()
    await drain(store, checkout)
    assert (await checkout.handle(store, message.id).result()).lines == ["ORDER 1", "2"]


async def test_a_codec_of_ones_own(place: Place) -> None:
    store = await place.store()

    class Upper:
        def encode(self, value: Any) -> str:
            return '"%s"' % str(value).upper()

        def decode(self, text: str, annotation: Any = Any) -> Any:
            return text.strip('"').lower()

    @pgqrs.step(codec=Upper())
    async def echo(text: str) -> str:
        return text

    @pgqrs.workflow(name="shout", codec=Upper())
    async def wf(run: pgqrs.WorkflowRun, text: str) -> str:
        return await echo(text) + "!"

    handle = await wf.start(store, "hello")
    await drain(store, wf)
    assert await handle.result(timeout=5) == "hello!"
    records = await (await store.get_workflow_runs()).list()
    assert [(record.input, record.output) for record in records] == [("HELLO", "HELLO!")]


@pytest.mark.skipif(BACKEND != "turso", reason="the others do")
async def test_a_database_that_lends_no_connection_says_so(place: Place) -> None:
    store = await place.store()
    said: List[str] = []

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> None:
        try:
            async with run.transaction("t"):
                done.append("block")
        except pgqrs.ConfigError as error:
            said.append(str(error))
        await line("a")

    handle = await wf.start(store)
    await drain(store, wf)
    await handle.result(timeout=5)
    assert said == ["this database lends no connection"] and done == ["a"]
