"""Producers, consumers, loops and lists: what programs for the old package rely on."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, timezone
from typing import Any, List

import pytest

import pgqrs

from conftest import START, Place


def at(seconds: float) -> str:
    return (datetime.fromtimestamp(START, timezone.utc) + timedelta(seconds=seconds)).isoformat()


async def archived(store: pgqrs.Store, queue: str) -> List[pgqrs.QueueMessage]:
    queues = await (await store.get_queues()).list()
    queue_id = next(q.id for q in queues if q.queue_name == queue)
    return await (await store.get_messages()).list_archived_by_queue(queue_id)


async def until(condition: Any, seconds: float = 20.0) -> Any:
    """Wait until it is true; what it answered."""
    end = time.monotonic() + seconds
    while True:
        answer = await condition()
        if answer:
            return answer
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.01)


async def test_a_message_and_its_fields(place: Place) -> None:
    place.standing()
    store = await place.store("tasks")
    producer, consumer = await store.producer("tasks"), await store.consumer("tasks")
    first = await producer.enqueue({"n": 1})
    later = await producer.enqueue_delayed({"n": 2}, delay_seconds=60)
    assert later > first > 0
    [message] = await consumer.dequeue(batch_size=10)
    assert message == pgqrs.QueueMessage(
        id=first,
        queue_id=message.queue_id,
        payload={"n": 1},
        vt=at(30),
        enqueued_at=at(0),
        read_ct=1,
        dequeued_at=at(0),
        producer_worker_id=producer.worker_id,
        consumer_worker_id=consumer.worker_id,
        archived_at=None,
    )
    assert await (await store.get_messages()).count() == 2
    assert await pgqrs.archive(consumer, message) is True
    [kept] = await archived(store, "tasks")
    assert kept.payload == {"n": 1} and kept.archived_at == at(0)
    assert kept.consumer_worker_id == consumer.worker_id


async def test_who_holds_it_no_longer_changes_nothing(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks")
    a, b = await store.consumer("tasks"), await store.consumer("tasks")
    ids = await pgqrs.produce_batch(store, "tasks", [1, 2])
    assert await a.archive(ids[0]) is False and await a.delete(99999) is False
    assert [m.id for m in await a.dequeue(2)] == ids
    assert await b.archive(ids[0]) is False
    clock.advance(31)
    assert [(m.id, m.read_ct) for m in await b.dequeue(5)] == [(ids[0], 2), (ids[1], 2)]
    assert await a.archive_many(ids) == [False, False]
    assert await a.delete_many(ids) == [False, False]
    assert await a.extend_vt(ids[0], 5) is False
    assert await a.release_messages(ids) == 0
    assert await a.release_with_visibility(ids[0], at(1)) is False
    assert await b.archive_many(ids) == [True, True]
    assert len(await archived(store, "tasks")) == 2


async def test_leases_and_releases(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    await pgqrs.produce_batch(store, "tasks", ["a", "b", "c"])
    a, b, c = await consumer.dequeue_many_with_delay(limit=3, vt=10)
    assert a.vt == at(10)
    assert await consumer.extend_vt(message_id=a.id, seconds=100)
    clock.advance(11)
    assert [m.payload for m in await consumer.dequeue(9)] == ["b", "c"]
    assert await consumer.release_with_visibility(message_id=b.id, visible_at=at(50))
    assert await consumer.release_messages([c.id, a.id, 777]) == 2
    assert sorted((m.payload, m.read_ct) for m in await consumer.dequeue(9)) == [("a", 1), ("c", 2)]
    clock.advance(40)
    late = await consumer.dequeue_at(limit=9, vt=5, current_time=at(52))
    assert [(m.payload, m.vt) for m in late][-1] == ("b", at(57))
    assert await consumer.delete_many([m.id for m in late]) == [True] * len(late)


async def test_dequeue_at_judges_by_its_time(place: Place) -> None:
    store = await place.store("tasks")
    producer, consumer = await store.producer("tasks"), await store.consumer("tasks")
    await producer.enqueue_delayed("x", 3600)
    now = datetime.now(timezone.utc)
    assert await consumer.dequeue_at(1, 10, now.isoformat()) == []
    [message] = await consumer.dequeue_at(1, 10, (now + timedelta(hours=2)).isoformat())
    assert message.read_ct == 1
    assert await consumer.dequeue_at(1, 10, (now + timedelta(hours=2, seconds=5)).isoformat()) == []
    [again] = await consumer.dequeue_at(1, 10, (now + timedelta(hours=2, seconds=11)).isoformat())
    assert (again.id, again.read_ct) == (message.id, 2)
    for wrong in ("yesterday", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", ""):
        with pytest.raises(pgqrs.ValidationError):
            await consumer.dequeue_at(1, 10, wrong)


async def test_the_functions(place: Place) -> None:
    store = await place.store("tasks")
    producer, consumer = await store.producer("tasks"), await store.consumer("tasks")
    ids = await pgqrs.enqueue_batch(producer, [{"i": i} for i in range(5)])
    assert ids == sorted(ids) and len(ids) == 5
    batch = await pgqrs.dequeue(consumer, 3)
    assert [m.payload["i"] for m in batch] == [0, 1, 2]
    assert await pgqrs.extend_vt(consumer, batch[0], 10)
    assert await pgqrs.archive_batch(consumer, batch)
    assert not await pgqrs.archive_batch(consumer, batch)
    [other] = await pgqrs.dequeue(consumer, 1)
    assert await pgqrs.delete(consumer, other)
    assert await pgqrs.enqueue(producer, None) > ids[-1]
    assert await pgqrs.enqueue_delayed(producer, 1, 100) > 0
    assert len(await archived(store, "tasks")) == 3
    assert await pgqrs.produce_batch(store, "tasks", []) == []


async def test_consume_once(place: Place) -> None:
    store = await place.store("tasks")
    seen: List[Any] = []

    async def handler(message: pgqrs.QueueMessage) -> None:
        seen.append(message.payload)

    await pgqrs.consume(store, "tasks", handler)
    await pgqrs.produce_batch(store, "tasks", [1, 2, 3, 4])
    await pgqrs.consume(store, "tasks", handler)
    await pgqrs.consume(store, "tasks", lambda message: seen.append(message.payload))
    assert seen == [1, 2]
    await pgqrs.consume_batch(store, "tasks", 10, lambda messages: seen.append([m.payload for m in messages]))
    assert seen == [1, 2, [3, 4]] and len(await archived(store, "tasks")) == 4
    assert await (await store.get_workers()).count() == 0  # nobody was registered


async def test_a_consume_that_fails_loses_nothing(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks")
    await pgqrs.produce_batch(store, "tasks", [1, 2])

    async def fails(message: Any) -> None:
        raise ValueError("simulated")

    with pytest.raises(ValueError, match="simulated"):
        await pgqrs.consume(store, "tasks", fails)
    with pytest.raises(ValueError, match="simulated"):
        await pgqrs.consume_batch(store, "tasks", 5, fails)
    assert await (await store.get_messages()).count() == 2 and await archived(store, "tasks") == []
    clock.advance(31)
    consumer = await store.consumer("tasks")
    assert sorted(m.payload for m in await consumer.dequeue(5)) == [1, 2]


async def test_an_iterator(place: Place) -> None:
    store = await place.store("tasks")
    for n in range(3):
        await pgqrs.produce(store, "tasks", n)
    async with store.consume_iter("tasks", poll_interval_ms=10) as messages:
        seen = []
        async for message in messages:
            seen.append(message.payload)
            assert await (messages.delete if message.payload == 1 else messages.archive)(message.id)
            if len(seen) == 3:
                asyncio.get_running_loop().call_later(
                    0.05, lambda: asyncio.ensure_future(pgqrs.produce(store, "tasks", "late"))
                )
            if message.payload == "late":
                break
        assert seen == [0, 1, 2, "late"]
        [worker] = await (await store.get_workers()).list()
        assert worker.status == "READY"
    [worker] = await (await store.get_workers()).list()
    assert worker.status == pgqrs.WorkerStatus.Stopped
    assert [m.payload for m in await archived(store, "tasks")] == [0, 2, "late"]
    await messages.close()
    assert [message async for message in messages] == []


async def test_the_builder_says_what_it_has(place: Place) -> None:
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    builder = pgqrs.dequeue()
    assert builder.has_worker() is False
    assert [builder.queue] == [None]
    builder.from_queue("tasks").batch(7).poll_interval(25)
    assert [builder.queue, builder.batch_size, builder.poll_interval_ms] == ["tasks", 7, 25]
    assert builder.worker(consumer).has_worker()
    with pytest.raises(ValueError):
        await builder.poll(store)
    builder.handle(print)
    with pytest.raises(pgqrs.ValidationError):
        await builder.poll(store)
    builder.handle_batch(print)
    with pytest.raises(ValueError):
        await builder.poll(store)
    with pytest.raises(ValueError):
        await pgqrs.dequeue().handle(print).poll(store)
    with pytest.raises(pgqrs.ValidationError):
        pgqrs.dequeue().handle_workflow(3)


@pytest.mark.parametrize("batch", [1, 5])
async def test_a_loop_works_until_interrupted(place: Place, batch: int) -> None:
    store = await place.store("tasks")
    producer, consumer = await store.producer("tasks"), await store.consumer("tasks")
    seen: List[Any] = []
    builder = pgqrs.dequeue().worker(consumer).batch(batch)
    if batch == 1:

        async def one(message: pgqrs.QueueMessage) -> None:
            seen.append(message.payload)

        builder.handle(one)
    else:

        async def many(messages: List[pgqrs.QueueMessage]) -> None:
            seen.extend(message.payload for message in messages)

        builder.handle_batch(many)
    task = asyncio.ensure_future(builder.poll(store))
    for n in range(12):
        await producer.enqueue(n)

    async def all_done() -> bool:
        return len(await archived(store, "tasks")) == 12

    await until(all_done)
    assert seen == list(range(12))
    assert await consumer.status() == pgqrs.WorkerStatus.Polling
    await consumer.interrupt()
    with pytest.raises(pgqrs.PgqrsError, match="interrupted"):
        await asyncio.wait_for(task, 5)
    assert await consumer.status() == "SUSPENDED"
    again = asyncio.ensure_future(builder.poll(store))  # it may poll again

    async def polling() -> bool:
        return await consumer.status() == "POLLING"

    await until(polling)
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    await until(lambda: is_ready(consumer))


async def is_ready(consumer: pgqrs.Consumer) -> bool:
    return await consumer.status() == "READY"


async def test_an_interrupt_before_the_loop_and_from_elsewhere(place: Place) -> None:
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    task = asyncio.ensure_future(pgqrs.dequeue().worker(consumer).handle(print).poll(store))
    await consumer.interrupt()  # the loop has not begun
    with pytest.raises(pgqrs.PgqrsError):
        await asyncio.wait_for(task, 5)
    assert await consumer.status() == "SUSPENDED"

    async with pgqrs.connect_with(place.config()) as elsewhere:
        task = asyncio.ensure_future(
            pgqrs.dequeue().worker(consumer).poll_interval(60_000).handle(print).poll(store)
        )

        async def polling() -> bool:
            return await consumer.status() == "POLLING"

        await until(polling)
        await pgqrs.Consumer(elsewhere, "tasks", consumer.worker_id).interrupt()
        began = time.monotonic()
        with pytest.raises(pgqrs.PgqrsError):
            await asyncio.wait_for(task, 5)
        assert time.monotonic() - began < 5
    assert await consumer.status() == "SUSPENDED"


async def test_a_frozen_clock_and_an_idle_loop_beat(place: Place) -> None:
    store = await place.store("tasks", heartbeat_interval_seconds=0.05)
    consumer = await store.consumer("tasks")
    workers = await store.get_workers()
    await pgqrs.produce(store, "tasks", "due")
    producer = await store.producer("tasks")
    await producer.enqueue_delayed("much later", 3600)
    seen: List[Any] = []
    now = datetime.now(timezone.utc) + timedelta(seconds=1)
    task = asyncio.ensure_future(
        pgqrs.dequeue()
        .worker(consumer)
        .poll_interval(60_000)
        .at(now.isoformat())
        .handle(lambda message: seen.append(message.payload))
        .poll(store)
    )
    beats = set()

    async def beaten() -> bool:
        beats.add((await workers.get(consumer.worker_id)).heartbeat_at)
        return len(beats) >= 4

    await until(beaten)
    assert seen == ["due"]
    await consumer.interrupt()
    with pytest.raises(pgqrs.PgqrsError):
        await asyncio.wait_for(task, 5)


async def test_a_handler_that_fails_ends_the_loop_and_loses_nothing(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    await pgqrs.produce(store, "tasks", 1)

    async def fails(message: Any) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await pgqrs.dequeue().worker(consumer).handle(fails).poll(store)
    assert await archived(store, "tasks") == [] and await (await store.get_messages()).count() == 1
    clock.advance(2)  # the queue's backoff
    [message] = await consumer.dequeue()
    assert message.read_ct == 2
    await until(lambda: is_ready(consumer))

    class Base(BaseException):
        pass

    await consumer.release_messages([message.id])

    async def leaves(message: Any) -> None:
        await consumer.interrupt()
        raise Base("as it is")

    with pytest.raises(Base, match="as it is"):
        await pgqrs.dequeue().worker(consumer).handle(leaves).poll(store)


async def test_two_loops_share_a_queue(place: Place) -> None:
    store = await place.store("tasks")
    consumers = [await store.consumer("tasks") for _ in range(2)]
    seen: List[int] = []
    tasks = [
        asyncio.ensure_future(
            pgqrs.dequeue()
            .worker(consumer)
            .batch(10)
            .handle_batch(lambda messages: seen.extend(m.payload for m in messages))
            .poll(store)
        )
        for consumer in consumers
    ]
    await asyncio.gather(*[pgqrs.produce(store, "tasks", n) for n in range(100)])

    async def all_done() -> bool:
        return len(await archived(store, "tasks")) == 100

    await until(all_done)
    assert sorted(seen) == list(range(100))
    for consumer, task in zip(consumers, tasks):
        await consumer.interrupt()
        with pytest.raises(pgqrs.PgqrsError):
            await asyncio.wait_for(task, 5)


async def test_workers(place: Place) -> None:
    store = await place.store("tasks")
    workers = await store.get_workers()
    assert await workers.count() == 0
    producer = await store.producer("tasks")
    consumer = await pgqrs.consumer("worker-1", 8080, "tasks").create(store)
    again = await pgqrs.consumer("worker-1", "tasks").create(store)
    named = await pgqrs.producer("p", 1, "tasks").create(store)
    assert again.worker_id == consumer.worker_id and named.worker_id != producer.worker_id
    listed = await workers.list()
    assert [w.id for w in listed] == [producer.worker_id, consumer.worker_id, named.worker_id]
    assert all(w.status == "ready" and w.status == pgqrs.WorkerStatus.Ready and w.hostname for w in listed)
    assert listed[1].name == "worker-1" and listed[1].queue_id is not None and listed[1].heartbeat_at
    assert (await workers.get(producer.worker_id)).id == producer.worker_id
    with pytest.raises(pgqrs.WorkerNotFoundError):
        await workers.get(4711)
    with pytest.raises(pgqrs.QueueNotFoundError):
        await store.consumer("nobody")
    with pytest.raises(TypeError):
        pgqrs.consumer("worker-1", 8080)
    health = await workers.health_stats()
    assert (health.total, health.ready, health.stale) == (3, 3, 0)


async def test_stale_workers_are_purged(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    await pgqrs.produce(store, "tasks", 1)
    await consumer.dequeue_many_with_delay(1, 3600)
    clock.advance(100)
    other = await store.consumer("tasks")
    assert await (await store.get_workers()).purge_stale(60) == 1
    assert await consumer.status() == "STOPPED" and await other.status() == "READY"
    assert [m.payload for m in await other.dequeue()] == [1]


async def test_queues(place: Place) -> None:
    store = await place.store("tasks", "others")
    queues = await store.get_queues()
    assert await queues.count() == 2
    assert [q.queue_name for q in await queues.list()] == ["others", "tasks"]
    with pytest.raises(pgqrs.QueueAlreadyExistsError):
        await store.queue("tasks")
    await pgqrs.produce_batch(store, "tasks", [1, 2, 3])
    consumer = await store.consumer("tasks")
    [message] = await consumer.dequeue()
    metrics = await queues.metrics("tasks")
    assert (metrics.total_messages, metrics.pending_messages, metrics.locked_messages) == (3, 2, 1)
    assert await queues.purge("tasks") == 2
    with pytest.raises(pgqrs.StateTransitionError):
        await pgqrs.Admin(store).delete_queue("tasks")
    await consumer.archive(message.id)
    assert [m.archived_messages for m in await queues.list_metrics()] == [0, 1]
    await pgqrs.Admin(store).delete_queue("tasks")
    assert await queues.count() == 1
    with pytest.raises(pgqrs.QueueNotFoundError):
        await queues.metrics("tasks")
    with pytest.raises(pgqrs.QueueNotFoundError):
        await pgqrs.produce(store, "tasks", 1)
    with pytest.raises(pgqrs.QueueNotFoundError):
        await (await store.get_messages()).list_archived_by_queue(4711)
    with pytest.raises(pgqrs.QueueNotFoundError):
        await (await store.get_workflows()).get_by_name("others")


async def test_long_lists_are_complete(place: Place) -> None:
    store = await place.store("tasks")
    consumer = await store.consumer("tasks")
    ids = await pgqrs.produce_batch(store, "tasks", list(range(1500)))
    taken = [m.id for m in await consumer.dequeue(1000)] + [m.id for m in await consumer.dequeue(1000)]
    assert taken == ids
    assert await consumer.archive_many(ids) == [True] * 1500
    assert [m.id for m in await archived(store, "tasks")] == ids
    assert store._holds == {}
