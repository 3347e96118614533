"""pgqrs.sync: the same without await."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Iterator, List

import pytest

import pgqrs
from pgqrs import sync

from conftest import BACKEND, Place


@dataclass
class Order:
    id: int
    total: Decimal


done: List[str] = []


@sync.step
def line(text: str) -> str:
    done.append(text)
    return text.upper()


@sync.workflow
def checkout(run: sync.Run, order: Order) -> List[str]:
    assert isinstance(order.total, Decimal) and run.id() > 0 and run.attempt == 1
    return [line("order %d" % order.id), line(str(order.total))]


@pytest.fixture
def store(place: Place) -> Iterator[sync.Store]:
    done.clear()
    with sync.connect_with(place.config()) as store:
        store.bootstrap()
        yield store
    assert store.closed


def test_a_queue(store: sync.Store) -> None:
    queue = store.queue("tasks")
    with pytest.raises(pgqrs.QueueAlreadyExistsError):
        store.queue("tasks")
    producer, consumer = store.producer("tasks"), store.consumer("tasks")
    ids = [producer.enqueue({"n": 1})] + producer.enqueue_batch([2, 3]) + [producer.enqueue_delayed(4, 3600)]
    ids += [sync.produce(store, "tasks", 5)] + sync.produce_batch(store, "tasks", [6])
    got = consumer.dequeue(10)
    assert [message.id for message in got] == ids[:3] + ids[4:]
    assert consumer.extend_vt(ids[0], 60) and consumer.archive(ids[0]) and not consumer.archive(ids[0])
    assert consumer.archive_many(ids[1:2]) == [True] and consumer.delete(ids[2]) and consumer.delete_many(ids[4:5]) == [True]
    assert consumer.release_messages(ids[5:]) == 1
    assert [message.id for message in consumer.dequeue_many_with_delay(5, 10)] == ids[5:]
    assert [message.payload for message in store.get_messages().list_archived_by_queue(queue.id)] == [{"n": 1}, 2]
    assert store.get_messages().count() == 2
    assert store.get_queues().metrics("tasks").archived_messages == 2
    assert store.get_workers().count() == 2 and consumer.status() == pgqrs.WorkerStatus.Ready
    sync.admin(store).verify()
    assert sync.admin(store).release_worker_messages(consumer.worker_id) == 1


def test_a_workflow_and_its_names(store: sync.Store) -> None:
    assert line("plain") == "PLAIN"
    handle = checkout.start(store, Order(1, Decimal("1.10")), key="k")
    assert handle.status() == pgqrs.WorkflowStatus.Queued
    with pytest.raises(pgqrs.TimeoutError):
        handle.result(timeout=0.01)
    assert sync.Worker(store).add(checkout).drain() == 1
    assert handle.result() == ["ORDER 1", "1.10"]
    assert sorted(step.step_name for step in store.get_workflow_steps().list()) == ["line", "line#2"]
    assert checkout.handle(store, handle.id).status() == pgqrs.WorkflowStatus.Success
    other = checkout.start(store, Order(2, Decimal(1)))
    assert other.cancel() == pgqrs.WorkflowStatus.Cancelled
    with pytest.raises(pgqrs.WorkflowCancelledError):
        other.result()


@pytest.mark.skipif(BACKEND == "turso", reason="Turso lends no connection")
def test_sleep_failure_and_transaction(place: Place) -> None:
    clock = place.standing()
    done.clear()
    with sync.connect_with(place.config()) as store:
        store.bootstrap()
        store.queue("receipts")
        table = "%s.effects" % place.schema if BACKEND == "postgres" else "effects"
        place.sql("CREATE TABLE %s (n bigint)" % table)

        @sync.step(retry=pgqrs.StepRetryPolicy(1, pgqrs.BackoffStrategy.fixed(5)))
        def flaky() -> int:
            done.append("flaky")
            if len(done) == 1:
                raise ValueError("no")
            return 7

        @sync.workflow(name="flow")
        def flow(run: sync.Run) -> int:
            n = flaky()
            with run.transaction("charge") as tx:
                assert tx.execute("INSERT INTO %s VALUES ($1)" % table, n) == 1
                row = tx.fetchrow("SELECT n FROM %s" % table)
                tx.enqueue("receipts", row)
                with pytest.raises(pgqrs.PgqrsError) as refused:
                    sync.produce(store, "receipts", 1)
                assert refused.value.code == "EBUSY"
            sync.produce(store, "receipts", 2)
            run.sleep(60)
            assert row is not None
            return int(row["n"])

        handle = flow.start(store)
        worker = sync.Worker(store).add(flow)
        for wait in (5, 60, 0):
            assert worker.drain() == 1
            clock.advance(wait)
        assert handle.result(timeout=5) == 7
        assert done == ["flaky", "flaky"]
        assert place.sql("SELECT n FROM %s" % table) == "7"
        payloads = [message.payload for message in store.consumer("receipts").dequeue(10)]
        assert payloads.count({"n": 7}) == 1
        assert sorted(step.step_name for step in store.get_workflow_steps().list()) == ["charge", "flaky", "sleep"]


def test_more_functions_at_once_than_a_pool_has_threads(store: sync.Store) -> None:
    @sync.workflow
    def wide(run: sync.Run, n: int) -> str:
        return line(str(n))

    handles = [wide.start(store, n) for n in range(64)]
    worker = sync.Worker(store, concurrency=64).add(wide)
    assert worker.drain() == 64
    assert [handle.result(timeout=5) for handle in handles] == [str(n) for n in range(64)]


def test_threads(store: sync.Store) -> None:
    store.queue("tasks")
    ids: List[int] = []
    threads = [
        threading.Thread(target=lambda: ids.extend(sync.produce(store, "tasks", n) for n in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 160


def test_a_worker_runs_until_a_signal(store: sync.Store) -> None:
    handle = checkout.start(store, Order(3, Decimal(1)))
    before = signal.getsignal(signal.SIGTERM)

    def kill() -> None:
        handle.result()
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=kill)
    thread.start()
    sync.Worker(store).add(checkout).run()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert handle.result() == ["ORDER 3", "1"]


def test_in_a_coroutine_it_is_refused(store: sync.Store) -> None:
    async def main() -> None:
        with pytest.raises(pgqrs.StateTransitionError, match="in a coroutine"):
            store.queue("x")

    asyncio.run(main())

    async def asynchronous(run: Any) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        sync.workflow(asynchronous)
    with pytest.raises(TypeError, match="plain function"):
        sync.step(asynchronous)


def test_after_fork_the_child_opens_its_own(store: sync.Store, place: Place) -> None:
    store.queue("tasks")
    child = os.fork()
    if child == 0:
        try:
            # SQLite refuses a file that is open in the parent.
            config = place.config() if BACKEND == "postgres" else pgqrs.Config("sqlite::memory:")
            with sync.connect_with(config) as own:
                if BACKEND != "postgres":
                    own.bootstrap()
                    own.queue("tasks")
                sync.produce(own, "tasks", 1)
            try:
                sync.produce(store, "tasks", 2)
            except pgqrs.PgqrsError as error:
                os._exit(0 if error.code == "EFORK" else 2)
            os._exit(3)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    left = [message.payload for message in store.consumer("tasks").dequeue(10)]
    assert left == ([1] if BACKEND == "postgres" else [])
