"""Consuming: once, one by one, and in a loop."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any, Awaitable, Callable, List, Optional, Union, overload

from . import _errors
from ._engine import SECOND, encoded, failure, lib
from ._errors import PgqrsError
from ._runs import failed, open_run, release_run
from ._store import HELD, Consumer, Hold, Keeper, Store, ignore
from ._tables import steps_of
from ._values import QueueMessage, Time, WorkerStatus, duration, microseconds
from .decorators import Function, execute, handler_of, stops

Handler = Callable[[QueueMessage], Any]
BatchHandler = Callable[[List[QueueMessage]], Any]

HOUR_US = 3600 * SECOND
# An interrupt from another process is heard of so late, at the latest.
LOOK_SECONDS = 3.0


async def _call(handler: Callable[[Any], Any], argument: Any) -> None:
    result = handler(argument)
    if inspect.isawaitable(result):
        await result


# --- Once --------------------------------------------------------------------------------------------


async def consume(store: Store, queue: str, handler: Handler) -> None:
    """Handle one message, if there is one. The handler, which may be async, returns: it is archived.
    It raises: that is raised here, and the message is delivered again when its lease passes."""

    async def handle(messages: List[QueueMessage]) -> None:
        await _call(handler, messages[0])

    await consume_batch(store, queue, 1, handle)


async def consume_batch(store: Store, queue: str, batch_size: int, handler: BatchHandler) -> None:
    """The same with up to batch_size messages at once, as a list; without any it is not called."""
    messages = await store._claim(encoded(queue, "queue name"), batch_size)
    if not messages:
        return
    keepers = _keep(store, messages)
    try:
        await _call(handler, messages)
        await _archive(store, messages)
    finally:
        del keepers


def _keep(store: Store, messages: List[QueueMessage]) -> List[Keeper]:
    """Keep the leases of messages, as long as the answer is referred to."""
    holds = [store._holds.get(message.id) for message in messages]
    return [hold.keeper(store) for hold in holds if hold is not None]


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(call)


def _finish(store: Store, hold: Hold, add: Callable[[Any, Any], int]) -> "asyncio.Future[bool]":
    future = store._engine.submit(lambda batch: add(batch, hold.lease()), answers=HELD, keep=hold)
    store._forget(hold)
    return future


async def _archive(store: Store, messages: List[QueueMessage]) -> None:
    holds = [store._holds.get(message.id) for message in messages]
    await asyncio.gather(
        *[_finish(store, hold, lib.pgqrs_batch_archive) for hold in holds if hold is not None]
    )


async def _retry(store: Store, messages: List[QueueMessage], error: Exception) -> None:
    """A handler failed: they are delivered again after the queue's backoff, if they are still held."""
    code = type(error).__name__.encode()
    why = str(error).replace("\0", "\\0").encode("utf-8", "backslashreplace")
    holds = [store._holds.get(message.id) for message in messages]
    try:
        await asyncio.gather(
            *[
                _finish(store, hold, lambda batch, at: lib.pgqrs_batch_retry(batch, at, code, why))
                for hold in holds
                if hold is not None
            ]
        )
    except PgqrsError:
        pass  # they come back when their leases pass; what the handler raised is what matters


# --- One by one --------------------------------------------------------------------------------------


class ConsumerIterator:
    """The messages of a queue, one by one as they come.

        async with store.consume_iter("tasks") as messages:
            async for message in messages:
                ...
                await messages.archive(message.id)

    It never ends by itself. Its worker is registered with the first message, and Stopped in the end.
    A message that is not finished is delivered again when its lease passes.
    """

    def __init__(self, store: Store, queue: str, poll_interval_ms: int = 50) -> None:
        self._store = store
        self._queue = queue
        self._poll_us = max(1, duration(poll_interval_ms / 1000, "poll_interval_ms"))
        self._consumer: Optional[Consumer] = None
        self._closed = False

    async def __aenter__(self) -> ConsumerIterator:
        if self._consumer is None:
            self._consumer = await self._store.consumer(self._queue)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __aiter__(self) -> ConsumerIterator:
        return self

    async def __anext__(self) -> QueueMessage:
        while not self._closed:
            await self.__aenter__()
            consumer = self._consumer
            assert consumer is not None
            self._store._beat()
            # Woken by an enqueue; between two of these the worker says that it is alive.
            found = await self._store._claim(
                consumer._queue,
                1,
                owner=consumer.worker_id,
                wait_us=int(min(self._store._config.heartbeat_interval_seconds, 3600) * SECOND),
                poll_us=self._poll_us,
            )
            if found:
                return found[0]
        raise StopAsyncIteration

    async def archive(self, message_id: int) -> bool:
        """As Consumer.archive()."""
        return self._consumer is not None and await self._consumer.archive(message_id)

    async def delete(self, message_id: int) -> bool:
        """As Consumer.delete()."""
        return self._consumer is not None and await self._consumer.delete(message_id)

    async def close(self) -> None:
        """End it: its worker is Stopped. Again: nothing."""
        consumer, self._closed = self._consumer, True
        if consumer is not None and not consumer._stopped:
            consumer._stopped = True
            await self._store._set_status(consumer.worker_id, lib.PGQRS_WORKER_STOPPED)


# --- In a loop ---------------------------------------------------------------------------------------


class DequeueBuilder:
    """A loop that handles messages or runs until it is interrupted.

        await pgqrs.dequeue().worker(consumer).batch(10).handle_batch(handler).poll(store)

    worker(consumer)       whose loop it is; without, from_queue(name), and a worker of its own
    batch(n)               how many messages are taken at once: 1
    poll_interval(ms)      the longest wait between two looks at an idle queue: 50
    at(rfc3339)            a clock that stands: what is due is judged by it
    handle(f)              f(message), one by one; handle_batch(f): f(messages)
    handle_workflow(wf)    executes runs: what @workflow made, or an async function of run and input;
                           those of one batch at once
    """

    def __init__(self) -> None:
        self._worker: Optional[Consumer] = None
        self._queue: Optional[str] = None
        self._batch = 1
        self._interval_ms: float = 50
        self._at: Optional[Time] = None
        self._handle: Optional[Handler] = None
        self._handle_batch: Optional[BatchHandler] = None
        self._handle_workflow: Optional[Function] = None

    def worker(self, consumer: Consumer) -> DequeueBuilder:
        """Whose loop it is."""
        self._worker = consumer
        return self

    def from_queue(self, name: str) -> DequeueBuilder:
        """Which queue, instead of the worker's."""
        self._queue = name
        return self

    def batch(self, size: int) -> DequeueBuilder:
        """How many messages are taken at once."""
        self._batch = size
        return self

    def poll_interval(self, interval_ms: float) -> DequeueBuilder:
        """The longest wait between two looks at an idle queue, in milliseconds."""
        self._interval_ms = interval_ms
        return self

    def at(self, time: Time) -> DequeueBuilder:
        """A clock that stands."""
        self._at = time
        return self

    def handle(self, handler: Handler) -> DequeueBuilder:
        """f(message)"""
        self._handle = handler
        return self

    def handle_batch(self, handler: BatchHandler) -> DequeueBuilder:
        """f(messages)"""
        self._handle_batch = handler
        return self

    def handle_workflow(self, workflow: Any) -> DequeueBuilder:
        """What @workflow made."""
        self._handle_workflow = handler_of(workflow)
        return self

    @property
    def queue(self) -> Optional[str]:
        """The name of from_queue(), else the worker's queue."""
        if self._queue is None and self._worker is not None:
            return self._worker.queue
        return self._queue

    @property
    def batch_size(self) -> int:
        """Of batch()."""
        return self._batch

    @property
    def poll_interval_ms(self) -> float:
        """Of poll_interval()."""
        return self._interval_ms

    def has_worker(self) -> bool:
        """Whether worker() was called."""
        return self._worker is not None

    async def poll(self, store: Store) -> None:
        """Work until interrupted: then the worker is Suspended, and PgqrsError is raised.

        A message whose handler raises comes back after its queue's backoff, and what it raised is
        raised here; the others of its batch are given back. In handle_workflow, a transient failure
        and a pause park the run, and the loop goes on; a run that fails for good ends in ERROR, and
        then the exception is raised. ValueError without exactly one handler, or without a queue.
        """
        handlers = [h for h in (self._handle, self._handle_batch, self._handle_workflow) if h is not None]
        if len(handlers) != 1:
            raise ValueError("a poll has exactly one of handle, handle_batch and handle_workflow")
        queue = self.queue
        if queue is None:
            raise ValueError("a poll has a worker, or a queue: call worker() or from_queue()")
        if self._handle is not None and self._batch != 1:
            raise failure(
                lib.PGQRS_EINVAL, "handle() takes messages one by one, not %d" % self._batch, hint="Use handle_batch()."
            )
        now_us = 0 if self._at is None else microseconds(self._at)
        interval_us = max(1, duration(self._interval_ms / 1000, "poll_interval"))
        worker = self._worker or await store.consumer(queue)
        loop = _Poll(self, store, worker, encoded(queue, "queue name"), now_us, interval_us)
        try:
            await loop.run()
        finally:
            if self._worker is None:
                worker._stopped = True
                ignore(store._set_status(worker.worker_id, lib.PGQRS_WORKER_STOPPED))


class _Poll:
    """One poll that goes on."""

    def __init__(
        self, given: DequeueBuilder, store: Store, worker: Consumer, queue: bytes, now_us: int, interval_us: int
    ) -> None:
        self._given = given
        self._store = store
        self._worker = worker
        self._queue = queue
        self._now_us = now_us
        self._interval_us = interval_us
        self._interrupted = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        worker, store = self._worker, self._store
        loop = asyncio.get_running_loop()
        worker._on_interrupt = functools.partial(_soon, loop, self._interrupt)
        watch = None
        try:
            # One that came before this began ends it at once.
            if await worker.status() == WorkerStatus.Interrupted or worker._interrupted:
                self._interrupt()
            else:
                await store._set_status(worker.worker_id, lib.PGQRS_WORKER_POLLING)
                watch = asyncio.ensure_future(self._watch())
            while not self._interrupted.done():
                messages = await self._take()
                if messages:
                    await self._work(messages)
        except Exception:
            await asyncio.wait([self._ready()])
            raise
        except BaseException:
            self._ready()  # not awaited: what ends the poll leaves it as it is, and at once
            raise
        finally:
            worker._on_interrupt = None
            if watch is not None:
                watch.cancel()
        worker._interrupted = False
        await store._set_status(worker.worker_id, lib.PGQRS_WORKER_SUSPENDED)
        raise failed("worker %d was interrupted" % worker.worker_id, "EINTERRUPTED")

    def _ready(self) -> "asyncio.Future[None]":
        """Say that the poll has ended, if that can be said."""
        if self._store._engine.usable:
            said = self._store._set_status(self._worker.worker_id, lib.PGQRS_WORKER_READY)
        else:
            said = asyncio.get_running_loop().create_future()
            said.set_result(None)
        ignore(said)
        return said

    def _interrupt(self) -> None:
        if not self._interrupted.done():
            self._interrupted.set_result(None)

    async def _watch(self) -> None:
        """Say that the worker is alive, and hear of an interrupt by another process."""
        interval = self._store._config.heartbeat_interval_seconds
        look = min(interval, LOOK_SECONDS)
        waited = 0.0
        while not self._interrupted.done():
            await asyncio.sleep(look)
            waited += look
            try:
                if waited >= interval:
                    waited = 0.0
                    await self._store._heartbeat()
                if await self._worker.status() == WorkerStatus.Interrupted:
                    self._interrupt()
            except PgqrsError:
                if not self._store._engine.usable:
                    return

    async def _take(self) -> List[QueueMessage]:
        """What there is; waits for it, until it is interrupted."""
        claim = self._store._claim(
            self._queue,
            self._given._batch,
            owner=self._worker.worker_id,
            now_us=self._now_us,
            wait_us=0 if self._now_us else HOUR_US,
            poll_us=0 if self._now_us else self._interval_us,
        )
        try:
            await asyncio.wait([claim, self._interrupted], return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            if claim.done() and not claim.cancelled() and claim.exception() is None:
                self._store._give_back(claim.result())
            raise
        finally:
            claim.cancel()  # ends its wait; what it has claimed meanwhile is given back
        if claim.cancelled():
            return []
        try:
            messages = claim.result()
        except PgqrsError as error:
            await self._outlast(error)
            return []
        if not messages and self._now_us:
            await self._idle(self._interval_us / SECOND)
        return messages

    async def _outlast(self, error: PgqrsError) -> None:
        """Wait a while when the database is away, or may have done it: what a claim took, or what
        could not be archived, is delivered again when its lease passes. Another error is raised."""
        if not (error.retryable or error.maybe_applied) or not self._store._engine.usable:
            raise error
        await self._idle(1.0)

    async def _idle(self, seconds: float) -> None:
        await asyncio.wait([self._interrupted], timeout=seconds)

    async def _work(self, messages: List[QueueMessage]) -> None:
        given, store = self._given, self._store
        keepers = _keep(store, messages)
        try:
            if given._handle_workflow is not None:
                await self._execute(given._handle_workflow, messages)
                return
            try:
                if given._handle is not None:
                    await _call(given._handle, messages[0])
                elif given._handle_batch is not None:
                    await _call(given._handle_batch, messages)
            except Exception as error:
                await _retry(store, messages, error)
                raise
            try:
                await _archive(store, messages)
            except PgqrsError as error:
                await self._outlast(error)
        finally:
            del keepers

    async def _execute(self, function: Function, messages: List[QueueMessage]) -> None:
        runs = [asyncio.ensure_future(self._one(function, message)) for message in messages]
        try:
            await asyncio.wait(runs)
        except BaseException:
            for run in runs:
                run.cancel()
            raise
        for run in runs:
            run.result()

    async def _one(self, function: Function, message: QueueMessage) -> None:
        """Execute a run, and end or park it."""
        run = await open_run(self._store, message.id)
        if self._given._at is not None:
            run = run.with_time(self._given._at)
        try:
            await run.start()
            await execute(function, run, run.input)
        except Exception as error:
            if not await self._park(run, error):
                raise
        finally:
            hold = run._hold
            if hold.ended:
                self._store._forget(hold)

    async def _park(self, run: Any, error: Exception) -> bool:
        """Whether what an execution raised leaves the run to be gone on with; it is parked then."""
        if not (stops(error) or (isinstance(error, PgqrsError) and error.code in ("ESTATE", "ECANCELLED"))):
            return False
        store = self._store
        if isinstance(error, _errors.PausedError) or run._hold.lost or not run._hold.held():
            return True  # parked, or another's, already
        try:
            if isinstance(error, (_errors.TransientStepError, _errors.StepNotReadyError)):
                waiting = [step.retry_at for step in await steps_of(store, run.id()) if step.retry_at]
                if waiting:
                    await release_run(run, at_us=min(microseconds(at) for at in waiting))
                    return True
            after = error.retry_after if isinstance(error, PgqrsError) else None
            await release_run(run, delay_us=SECOND if after is None else duration(after, "retry_after"))
        except PgqrsError:
            pass  # the database is away: the lease passes
        return True


@overload
def dequeue() -> DequeueBuilder: ...
@overload
def dequeue(consumer: Consumer, batch_size: int = 1) -> Awaitable[List[QueueMessage]]: ...
def dequeue(
    consumer: Optional[Consumer] = None, batch_size: int = 1
) -> Union[DequeueBuilder, Awaitable[List[QueueMessage]]]:
    """`await dequeue(consumer, batch_size)` is consumer.dequeue(batch_size); `dequeue()` is a builder of
    a loop."""
    if consumer is None:
        return DequeueBuilder()
    return consumer.dequeue(batch_size)
