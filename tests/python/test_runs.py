"""Runs and steps by hand, and in a loop: what programs for the old package rely on."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any, List

import pytest

import pgqrs
from pgqrs.decorators import WorkflowDef, step, workflow

from conftest import START, Place


async def trigger(store: pgqrs.Store, input: Any = None, name: str = "wf") -> pgqrs.QueueMessage:
    await pgqrs.workflow().name(name).store(store).create()
    return await pgqrs.workflow().name(name).store(store).trigger(input).execute()


async def opened(store: pgqrs.Store, message: pgqrs.QueueMessage) -> pgqrs.Run:
    return await pgqrs.run().message(message).store(store).execute()


async def record(store: pgqrs.Store, run_id: int) -> pgqrs.RunRecord:
    runs = await (await store.get_workflow_runs()).list()
    return next(run for run in runs if run.message_id == run_id)


def at(seconds: float) -> str:
    return (datetime.fromtimestamp(START, timezone.utc) + timedelta(seconds=seconds)).isoformat()


async def test_a_run_that_nobody_has_leased_can_be_worked_on(place: Place) -> None:
    store = await place.store()
    for how in ("trigger", "create_workflow"):
        if how == "trigger":
            run = await opened(store, await trigger(store, {"n": 1}))
        else:
            run = await pgqrs.admin(store).create_workflow("wf", {"n": 1})
        assert run.input == {"n": 1} and run.id() > 0
        acquired = await run.acquire_step("one")  # without start()
        assert acquired.status == pgqrs.StepResultStatus.Execute and acquired.guard is not None
        await acquired.guard.success({"msg": "done"})
        await run.complete_step("two", {"manual": "ok"})
        skipped = await pgqrs.step().run(run).name("two").execute()
        assert (skipped.status, skipped.value, skipped.guard) == ("SKIPPED", {"manual": "ok"}, None)
        await run.fail_step("three", "no good")
        with pytest.raises(pgqrs.RetriesExhaustedError):
            await run.acquire_step("three")
        await run.pause("wait", 30)
        assert (await record(store, run.id())).error == "wait"
        await run.start()  # before its time
        await run.complete("end")
        assert (await record(store, run.id())).status == "success"
        assert await pgqrs.run().message(run.id()).store(store).result() == "end"


async def test_handles_of_one_store_share_the_hold(place: Place) -> None:
    store = await place.store()
    message = await trigger(store, 1)
    run = await opened(store, message)
    await run.start()  # the first write takes a lease
    for other in (run.with_time(at(0)), await run.refresh(), await opened(store, message)):
        await other.start()
    await (await opened(store, message)).complete_step("a", 7)
    assert (await run.acquire_step("a")).value == 7
    await run.success(None)

    message = await trigger(store, 2)
    early = await opened(store, message)
    consumer = await store.consumer("wf")
    assert [m.id for m in await consumer.dequeue()] == [message.id]
    await (await opened(store, message)).start()
    await early.start()  # opened before the dequeue, goes on with its lease
    await early.complete_step("b", 1)
    await (await early.refresh()).success("x")
    assert await consumer.archive(message.id) is True

    async with pgqrs.connect_with(place.config()) as another:
        message = await trigger(store, 3)
        await (await opened(store, message)).start()
        with pytest.raises(pgqrs.StateTransitionError):
            await (await opened(another, message)).start()


async def test_a_decorated_step_is_a_key_by_hand_and_numbered_in_a_workflow(place: Place) -> None:
    store = await place.store()
    calls: List[int] = []

    @step
    async def count(run: pgqrs.Run, value: int) -> int:
        calls.append(value)
        return value

    @workflow(name="twice")
    async def twice(run: pgqrs.Run, value: int) -> List[int]:
        first = [await count(run, value), await count(run, value + 1)]
        return first + list(await asyncio.gather(count(run, 3), count(run, 4)))

    run = await opened(store, await trigger(store))
    assert [await count(run, 1), await count(run, 2)] == [1, 1] and calls == [1]

    calls.clear()
    run = await opened(store, await trigger(store))  # of a workflow of another name
    assert isinstance(twice, WorkflowDef) and twice.name == "twice"
    assert await twice(run, 1) == [1, 2, 3, 4]
    assert await twice(run, 1) == [1, 2, 3, 4] and calls == [1, 2, 3, 4]
    names = [s.step_name for s in await (await store.get_workflow_steps()).list() if s.run_id == run.id()]
    assert sorted(names) == ["count", "count#2", "count#3", "count#4"]

    @workflow
    async def unlucky(run: pgqrs.Run, value: int) -> List[int]:
        result = [await count(run, value), await count(run, value)]
        if len(calls) < 3:
            error = pgqrs.TransientStepError("not yet")
            raise error
        return result

    calls.clear()
    run = await opened(store, await trigger(store))
    with pytest.raises(pgqrs.TransientStepError):
        await unlucky(run, 5)
    calls.append(0)
    assert await unlucky(run, 5) == [5, 5] and calls == [5, 5, 0]  # it counts from the start again


async def test_an_end_by_hand_leaves_the_message_with_its_holder(place: Place) -> None:
    store = await place.store()
    for end in ("complete", "success", "fail"):
        message = await trigger(store, {"e": end}, name=end)
        consumer = await store.consumer(end)
        await consumer.dequeue()
        run = await opened(store, message)
        await getattr(run, end)("over")
        assert await consumer.archive(message.id) is True
        assert await consumer.archive(message.id) is False
        archive = await (await store.get_messages()).list_archived_by_queue(message.queue_id)
        assert [(m.id, m.payload, m.consumer_worker_id) for m in archive] == [
            (message.id, {"e": end}, consumer.worker_id)
        ]
        assert archive[0].archived_at is not None


async def test_a_paused_or_waiting_run_is_released_with_its_worker(place: Place) -> None:
    store = await place.store()
    admin = pgqrs.admin(store)
    for how in ("pause", "fail_transient"):
        message = await trigger(store, how)
        consumer = await store.consumer("wf")
        assert [m.id for m in await consumer.dequeue()] == [message.id]
        run = await opened(store, message)
        await run.start()
        if how == "pause":
            await run.pause("waiting", 3600)
        else:
            acquired = await run.acquire_step("s")
            assert acquired.guard is not None
            await acquired.guard.fail_transient("E", "later", retry_after=3600)
        assert await consumer.dequeue() == []
        assert await admin.release_worker_messages(consumer.worker_id) == 1
        assert await admin.release_worker_messages(consumer.worker_id) == 0
        other = await store.consumer("wf")
        [again] = await other.dequeue()
        assert again.id == message.id
        assert await other.archive(again.id)


async def test_a_pause_ends_before_its_time(place: Place) -> None:
    store = await place.store()
    run = await opened(store, await trigger(store))
    await run.start()
    acquired = await run.acquire_step("s")
    assert acquired.guard is not None
    await acquired.guard.fail_transient("E", "later", retry_after=3600)
    assert (await record(store, run.id())).status == "RUNNING"  # between two tries
    await run.pause("wait", 3600)
    assert (await record(store, run.id())).status == "PAUSED"
    await run.start()
    with pytest.raises(pgqrs.StepNotReadyError):
        await run.acquire_step("s")


async def test_a_run_that_has_succeeded_is_replayed(place: Place) -> None:
    store = await place.store()
    calls: List[int] = []

    @step
    async def once(run: pgqrs.Run) -> str:
        calls.append(1)
        return "echo"

    @workflow
    async def echo(run: pgqrs.Run, value: str) -> str:
        return await once(run) + value

    message = await trigger(store, "hello")
    run = await opened(store, message)
    assert await echo(run, "hello") == "echohello"
    assert await echo(run, "hello") == "echohello" and calls == [1]
    await run.success("something else")  # no error, and nothing changes
    await run.complete()
    assert await pgqrs.run().message(message).store(store).get() == "echohello"
    with pytest.raises(pgqrs.ValidationError, match="terminal SUCCESS"):
        await run.start()
    async with pgqrs.connect_with(place.config()) as another:
        again = await opened(another, message)
        assert await echo(again, "hello") == "echohello" and calls == [1]
        with pytest.raises(pgqrs.ValidationError, match="terminal SUCCESS"):
            await again.start()


async def test_a_failed_run_stays_failed(place: Place) -> None:
    store = await place.store()
    run = await opened(store, await trigger(store))
    await run.start()
    await run.fail("it is broken")
    with pytest.raises(pgqrs.ValidationError, match="terminal ERROR"):
        await run.start()
    with pytest.raises(pgqrs.PgqrsError):
        await run.success(1)
    assert await pgqrs.run().message(run.id()).store(store).get() is None
    with pytest.raises(pgqrs.PgqrsError, match="it is broken"):
        await pgqrs.run().message(run.id()).store(store).result()
    assert (await record(store, run.id())).error["message"] == "it is broken"


async def test_a_cancel_of_a_started_run_is_heard_of(place: Place) -> None:
    store = await place.store()
    run = await opened(store, await trigger(store))
    await run.start()
    await run.cancel()
    assert (await record(store, run.id())).status == pgqrs.WorkflowStatus.Cancelling
    with pytest.raises(pgqrs.ValidationError, match="CANCELLING"):
        await run.start()
    with pytest.raises(pgqrs.PgqrsError):
        await run.success("too late")  # a late writer does not overwrite a cancel
    assert (await record(store, run.id())).status == pgqrs.WorkflowStatus.Cancelled
    with pytest.raises(pgqrs.ValidationError, match="terminal CANCELLED"):
        await (await opened(store, await message_of(store, run.id()))).start()

    waiting = await opened(store, await trigger(store))
    await waiting.cancel()
    assert (await record(store, waiting.id())).status == pgqrs.WorkflowStatus.Cancelled


async def message_of(store: pgqrs.Store, run_id: int) -> pgqrs.QueueMessage:
    messages = await store.get_messages()
    workflow = await (await store.get_workflows()).get_by_name("wf")
    archive = await messages.list_archived_by_queue(workflow.queue_id)
    return next(message for message in archive if message.id == run_id)


async def test_a_guards_clock_is_its_steps_time(place: Place) -> None:
    store = await place.store()
    run = await opened(store, await trigger(store))
    for seconds, delay in ((0, 5.0), (100, 7.0)):
        acquired = await run.acquire_step("s", current_time=at(seconds))
        assert acquired.guard is not None
        await acquired.guard.fail_transient("BUSY", "try later", retry_after=delay)
        [waiting] = [s for s in await (await store.get_workflow_steps()).list() if s.step_name == "s"]
        assert waiting.retry_at == at(seconds + delay)
        assert waiting.error == {"is_transient": True, "code": "BUSY", "message": "try later"}
        with pytest.raises(pgqrs.StepNotReadyError):
            await run.acquire_step("s", current_time=at(seconds + delay - 0.5))
    in_time = await run.with_time(at(107.5)).acquire_step("s")
    assert in_time.status == "EXECUTE" and run.with_time(at(1)).current_time == at(1)


async def test_retries_are_three_by_default_and_a_policys_else(place: Place) -> None:
    store = await place.store()
    run = await opened(store, await trigger(store))
    policies = {
        "default": (None, 3, [1, 2, 4], 0.25),
        "fixed": (pgqrs.StepRetryPolicy(2, pgqrs.BackoffStrategy.fixed(9)), 2, [9, 9], 0),
        "doubled": (pgqrs.StepRetryPolicy(4, pgqrs.BackoffStrategy.exponential(2, 5)), 4, [2, 4, 5, 5], 0),
        "jitter": (
            pgqrs.StepRetryPolicy(2, pgqrs.BackoffStrategy.exponential_with_jitter(8, 100)),
            2,
            [8, 16],
            0.25,
        ),
        "never": (pgqrs.StepRetryPolicy(0), 0, [], 0),
    }
    for name, (policy, retries, delays, jitter) in policies.items():
        now = 0.0
        for number in range(retries + 1):
            builder = pgqrs.step().run(run).name(name).with_time(at(now))
            acquired = await (builder if policy is None else builder.retry(policy)).execute()
            assert acquired.guard is not None
            await acquired.guard.fail_transient("E", "again")
            if number < retries:
                steps = await (await store.get_workflow_steps()).list()
                found = next(s for s in steps if s.step_name == name and s.run_id == run.id())
                assert found.retry_at is not None and found.retry_count == number + 1
                retry_at = datetime.fromisoformat(found.retry_at).timestamp() - START
                assert retry_at - now == pytest.approx(delays[number], rel=jitter, abs=0.001)
                now = retry_at + 0.001
        with pytest.raises(pgqrs.RetriesExhaustedError):
            await run.acquire_step(name, current_time=at(10_000))
    with pytest.raises(pgqrs.ValidationError):
        pgqrs.StepRetryPolicy(-1)


async def test_a_decorated_step_has_a_policy(place: Place) -> None:
    store = await place.store()

    @step(name="named", retry=pgqrs.StepRetryPolicy(0))
    async def fails(run: pgqrs.Run) -> None:
        error = pgqrs.TransientStepError("no")
        error.code = "MINE"
        raise error

    run = await opened(store, await trigger(store))
    with pytest.raises(pgqrs.TransientStepError):
        await fails(run)
    with pytest.raises(pgqrs.RetriesExhaustedError, match="MINE"):
        await fails(run)


@pytest.mark.parametrize("payload", [True, "hello", {"input": 1, "other": 2}, None, [], 0, {"input": {"a": 1}}])
async def test_a_triggers_payload_is_its_input(place: Place, payload: Any) -> None:
    store = await place.store()
    message = await trigger(store, payload)
    consumer = await store.consumer("wf")
    [delivered] = await consumer.dequeue()
    assert message.payload == delivered.payload == payload
    assert type(message.payload) is type(payload)
    assert (await opened(store, message)).input == payload


async def test_failures_of_a_workflow_by_hand(place: Place) -> None:
    store = await place.store()

    @step
    async def failing(run: pgqrs.Run, text: str) -> None:
        raise ValueError("intentional: %s" % text)

    @workflow
    async def flow(run: pgqrs.Run, text: str) -> None:
        await failing(run, text)

    run = await opened(store, await trigger(store))
    with pytest.raises(ValueError, match="intentional: x"):
        await flow(run, "x")
    found = await record(store, run.id())
    assert found.status == "ERROR" and found.error["message"] == "intentional: x"
    [failed] = [s for s in await (await store.get_workflow_steps()).list() if s.run_id == run.id()]
    assert failed.status == pgqrs.WorkflowStatus.Error and failed.error["message"] == "intentional: x"
    assert failed.error["is_transient"] is False and failed.retry_at is None
    with pytest.raises(TypeError):
        await failing("no run", "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await flow(1, "x")  # type: ignore[arg-type]


async def test_a_recorded_result_stands(place: Place) -> None:
    store = await place.store()
    run = await opened(store, await trigger(store))
    one, two = await run.acquire_step("s"), await run.acquire_step("s")
    assert one.guard is not None and two.guard is not None and one.guard.key == two.guard.key
    await one.guard.success(1)
    await two.guard.success(2)
    assert (await run.acquire_step("s")).value == 1
    await run.complete_step("s", 3)
    assert (await run.acquire_step("s")).value == 1
    with pytest.raises(pgqrs.StateTransitionError):
        await one.guard.success(1)


async def test_builders_say_what_is_missing(place: Place) -> None:
    store = await place.store()
    with pytest.raises(pgqrs.ValidationError, match="store"):
        await pgqrs.workflow().name("x").create()
    with pytest.raises(pgqrs.ValidationError, match="name"):
        await pgqrs.workflow().store(store).create()
    with pytest.raises(pgqrs.ValidationError, match="message"):
        await pgqrs.run().store(store).execute()
    with pytest.raises(pgqrs.ValidationError, match="run"):
        await pgqrs.step().name("x").execute()
    with pytest.raises(pgqrs.MessageNotFoundError):
        await pgqrs.run().store(store).message(12345).execute()
    with pytest.raises(pgqrs.QueueNotFoundError):
        await pgqrs.workflow().name("nobody").store(store).trigger(1).execute()
    created = await pgqrs.workflow().name("by_id").store(store).create()
    assert (await pgqrs.workflow().name("by_id").store(store).create()) == created
    message = await pgqrs.workflow().id(created.id).store(store).trigger([1]).execute()
    assert message.queue_id == created.queue_id


# --- In a loop ---


async def poll(store: pgqrs.Store, consumer: pgqrs.Consumer, flow: Any, batch: int = 4) -> "asyncio.Task[None]":
    return asyncio.ensure_future(
        pgqrs.dequeue().worker(consumer).batch(batch).handle_workflow(flow).poll(store)
    )


async def test_the_loop_ends_runs_and_goes_on_after_what_passes(place: Place) -> None:
    store = await place.store()
    tries: List[str] = []

    @step
    async def flaky(run: pgqrs.Run) -> int:
        tries.append("flaky")
        if tries.count("flaky") < 3:
            error = pgqrs.TransientStepError("later")
            error.retry_after = 0.01
            raise error
        return 5

    @step
    async def twice(run: pgqrs.Run, value: int) -> int:
        return value

    @workflow(name="wf")
    async def flow(run: pgqrs.Run, input: Any) -> Any:
        if input == "pause" and "paused" not in tries:
            tries.append("paused")
            await run.pause("a moment", 0.01)
            raise pgqrs.PausedError("paused")
        return [await flaky(run), await twice(run, 1), await twice(run, 2), input]

    messages = [await trigger(store, input) for input in ("a", "pause")]
    consumer = await store.consumer("wf")
    task = await poll(store, consumer, flow, 1)
    for message in messages:
        assert await pgqrs.run().message(message).store(store).result() == [5, 1, 2, message.payload]
    assert tries.count("flaky") == 4 and not task.done()
    archive = await (await store.get_messages()).list_archived_by_queue(messages[0].queue_id)
    assert [(m.id, m.read_ct, m.consumer_worker_id) for m in archive] == [
        (message.id, 1, consumer.worker_id) for message in messages  # a retry and a pause cost no attempt
    ]
    await consumer.interrupt()
    with pytest.raises(pgqrs.PgqrsError):
        await task
    assert store._holds == {}


@pytest.mark.parametrize("how", ["workflow", "step", "exhausted"])
async def test_a_run_that_fails_for_good_ends_and_raises(place: Place, how: str) -> None:
    store = await place.store()

    class Mine(Exception):
        pass

    @step(retry=pgqrs.StepRetryPolicy(0))
    async def breaks(run: pgqrs.Run) -> None:
        if how == "exhausted":
            raise pgqrs.TransientStepError("never again")
        raise Mine("in a step")

    @workflow(name="wf")
    async def flow(run: pgqrs.Run, input: Any) -> Any:
        if how == "workflow":
            raise Mine("outside of steps")
        await breaks(run)

    message = await trigger(store)
    consumer = await store.consumer("wf")
    task = await poll(store, consumer, flow)
    with pytest.raises(pgqrs.RetriesExhaustedError if how == "exhausted" else Mine):
        await asyncio.wait_for(task, 10)
    assert (await record(store, message.id)).status == "ERROR"
    assert [m.id for m in await (await store.get_messages()).list_archived_by_queue(message.queue_id)] == [message.id]
    assert await consumer.status() == "READY"


async def test_a_cancelled_run_ends_in_the_loop(place: Place) -> None:
    store = await place.store()
    inside = asyncio.Event()
    go = asyncio.Event()

    @workflow(name="wf")
    async def flow(run: pgqrs.Run, input: Any) -> Any:
        inside.set()
        await go.wait()
        return "finished"

    message = await trigger(store)
    consumer = await store.consumer("wf")
    task = await poll(store, consumer, flow)
    await asyncio.wait_for(inside.wait(), 10)
    await (await opened(store, message)).cancel()
    go.set()
    with pytest.raises(pgqrs.PgqrsError, match="cancelled"):
        await pgqrs.run().message(message).store(store).result()
    assert (await record(store, message.id)).status == pgqrs.WorkflowStatus.Cancelled
    assert not task.done()
    await consumer.interrupt()
    with pytest.raises(pgqrs.PgqrsError):
        await task
