"""Lists and counts of what is in a store. Nothing here holds or changes a lease."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, List, Tuple, TypeVar

from ._engine import encoded, failure, ffi, lib, options, text
from ._store import Store
from ._values import (
    QueueInfo,
    QueueMessage,
    QueueMetrics,
    RunRecord,
    StepRecord,
    WorkerHealth,
    WorkerInfo,
    WorkflowRecord,
    duration,
    record_of,
    run_of,
    step_of,
    worker_of,
)

T = TypeVar("T")

PAGE = 1000


class _Table:
    def __init__(self, store: Store) -> None:
        self._store = store


def _taker(noun: str, batch_take: str, make: Callable[[Any], T]) -> Callable[[Any, int], List[T]]:
    """Take a collection out of a batch, as a list."""
    take = getattr(lib, "pgqrs_batch_take_" + batch_take)
    count, item, free = (getattr(lib, "pgqrs_%s_%s" % (noun, verb)) for verb in ("count", "at", "free"))

    def taker(batch: Any, at: int) -> List[T]:
        collection = take(batch, at)
        made = [make(item(collection, index)) for index in range(count(collection))]
        free(collection)
        return made

    return taker


async def _queues(store: Store) -> List[Tuple[QueueInfo, bool]]:
    """Every queue, and whether it is a workflow's."""
    return await store._engine.submit(
        lib.pgqrs_batch_queue_list,
        _taker("queues", "queues", lambda q: (QueueInfo(q.id, text(q.name)), bool(q.workflow))),
        alone=True,
    )


async def queue_name(store: Store, queue_id: int) -> str:
    """The name of a queue. QueueNotFoundError."""
    for info, _ in await _queues(store):
        if info.id == queue_id:
            return info.queue_name
    raise failure(lib.PGQRS_ENOTFOUND, "queue %d does not exist" % queue_id, object=lib.PGQRS_OBJECT_QUEUE)


class Workers(_Table):
    """The workers."""

    async def list(self) -> List[WorkerInfo]:
        """All of them, oldest first."""
        return await self._store._engine.submit(
            lib.pgqrs_batch_worker_list, _taker("worker_records", "workers", worker_of), alone=True
        )

    async def count(self) -> int:
        """How many there are."""
        return len(await self.list())

    async def get(self, id: int) -> WorkerInfo:
        """One of them. WorkerNotFoundError."""
        found = await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_get(batch, id),
            _taker("worker_records", "workers", worker_of),
            alone=True,
        )
        return found[0]

    async def health_stats(self, stale_after_seconds: float = 60) -> WorkerHealth:
        """How many are in each status, and how many of them have been silent for so long."""
        silent = duration(stale_after_seconds, "stale_after_seconds")

        def take(batch: Any, at: int) -> WorkerHealth:
            health = lib.pgqrs_batch_health(batch, at)
            return WorkerHealth(
                health.total,
                health.ready,
                health.polling,
                health.suspended,
                health.interrupted,
                health.stopped,
                health.stale,
            )

        return await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_measure(batch, silent), take, alone=True
        )

    async def purge_stale(self, seconds: float) -> int:
        """Stop workers that have been silent for so long, and give back at once what they hold; how
        many were stopped."""
        silent = duration(seconds, "seconds")
        return await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_purge_stale(batch, silent, 0),
            lib.pgqrs_batch_number,
            alone=True,
        )


class Queues(_Table):
    """The queues, workflows among them."""

    async def list(self) -> List[QueueInfo]:
        """All of them, by name."""
        return [info for info, _ in await _queues(self._store)]

    async def count(self) -> int:
        """How many there are."""
        return len(await self.list())

    async def purge(self, name: str) -> int:
        """Remove every message that waits; leased and archived ones stay. How many were removed."""
        queue = encoded(name, "queue name")
        return await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_queue_purge(batch, queue), lib.pgqrs_batch_number, alone=True
        )

    async def metrics(self, name: str) -> QueueMetrics:
        """What a queue holds, counted now. QueueNotFoundError."""
        queue = encoded(name, "queue name")

        def take(batch: Any, at: int) -> QueueMetrics:
            found = lib.pgqrs_batch_metrics(batch, at)
            return QueueMetrics(
                name, found.ready, found.scheduled, found.leased, found.done, found.dead, found.oldest_us / 1e6
            )

        return await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_queue_measure(batch, queue), take, alone=True
        )

    async def list_metrics(self) -> List[QueueMetrics]:
        """The same for every queue."""
        return list(await asyncio.gather(*[self.metrics(info.queue_name) for info in await self.list()]))


class Messages(_Table):
    """The messages."""

    async def count(self) -> int:
        """How many are live: waiting or leased, in every queue."""
        return sum(metrics.total_messages for metrics in await Queues(self._store).list_metrics())

    async def list_archived_by_queue(self, queue_id: int) -> List[QueueMessage]:
        """What is in the archive of a queue, in the order of their ids. QueueNotFoundError."""
        queue = encoded(await queue_name(self._store, queue_id), "queue name")

        def page(after: int) -> "asyncio.Future[List[QueueMessage]]":
            struct = options("list", limit=PAGE, after_id=after)
            return self._store._engine.submit(
                lambda batch: lib.pgqrs_batch_message_list(batch, queue, struct),
                _taker("records", "records", lambda record: record_of(record, self._store._decode)),
                alone=True,
            )

        return await _pages(page)


async def _pages(page: "Callable[[int], asyncio.Future[List[Any]]]") -> List[Any]:
    """All pages of what is listed in the order of ids."""
    found: List[Any] = []
    while True:
        more = await page(found[-1].id if found else 0)
        found += more
        if len(more) < PAGE:
            return found


class Workflows(_Table):
    """The workflows."""

    async def list(self) -> List[WorkflowRecord]:
        """All of them, by name."""
        return [
            WorkflowRecord(info.id, info.queue_name, info.id)
            for info, workflow in await _queues(self._store)
            if workflow
        ]

    async def get_by_name(self, name: str) -> WorkflowRecord:
        """One of them. QueueNotFoundError."""
        for record in await self.list():
            if record.name == name:
                return record
        raise failure(
            lib.PGQRS_ENOTFOUND,
            'workflow "%s" does not exist' % name,
            hint="Create it with pgqrs.workflow().name(...).store(...).create().",
            object=lib.PGQRS_OBJECT_WORKFLOW,
        )


class WorkflowRuns(_Table):
    """The runs of all workflows."""

    async def list(self) -> List[RunRecord]:
        """All of them, as they stand, in the order of their ids."""

        def page(after: int) -> "asyncio.Future[List[RunRecord]]":
            struct = options("run_list", limit=PAGE, after_id=after)
            return self._store._engine.submit(
                lambda batch: lib.pgqrs_batch_run_list(batch, ffi.NULL, struct),
                _taker("run_records", "runs", lambda run: run_of(run, self._store._decode)),
                alone=True,
            )

        return await _pages(page)


class WorkflowSteps(_Table):
    """The recorded steps of all runs."""

    async def list(self) -> List[StepRecord]:
        """All of them: run by run, in the order of being recorded."""
        steps: List[StepRecord] = []
        runs = await WorkflowRuns(self._store).list()
        for at in range(0, len(runs), PAGE):
            of_runs = [steps_of(self._store, run.id) for run in runs[at : at + PAGE]]
            for of_run in await asyncio.gather(*of_runs):
                steps += of_run
        return steps


async def steps_of(store: Store, run_id: int) -> List[StepRecord]:
    """The recorded steps of a run."""

    def take(batch: Any, at: int) -> List[StepRecord]:
        records = lib.pgqrs_batch_take_steps(batch, at)
        made = [
            step_of(lib.pgqrs_step_records_at(records, index), index + 1, store._decode)
            for index in range(lib.pgqrs_step_records_count(records))
        ]
        lib.pgqrs_step_records_free(records)
        return made

    return await store._engine.submit(
        lambda batch: lib.pgqrs_batch_step_list(batch, run_id), take, alone=True
    )
