"""A worker: claims messages and runs, hands them to functions, and never ends by their failure."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import threading
import time
from typing import Any, Awaitable, Callable, Dict, List, Optional, Set, Union, overload

from . import codec as codecs
from ._config import Config
from ._engine import NULL, SECOND, encoded, failure, lib, options, text
from ._errors import PgqrsError, TransientStepError
from ._flow import OUTAGES, Workflow, c_text, code_of, execute, in_a_thread
from ._runs import _handle_of, ensure_workflow
from ._store import HELD, Connecting, Hold, Store
from ._values import QueueMessage, WorkerStatus, duration

logger = logging.getLogger("pgqrs")

Handler = Callable[[Any], Any]

CLAIM_WAIT_US = 20 * SECOND


class _Source:
    """A queue or workflow, and who handles what comes out of it."""

    def __init__(self, name: str, concurrency: int) -> None:
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= 1000:
            raise failure(lib.PGQRS_EINVAL, "concurrency is %r" % (concurrency,), hint="Give a number, 1 to 1000.")
        self.name = name
        self.queue = encoded(name, "queue name")
        self.concurrency = concurrency
        self.tasks: Set["asyncio.Task[None]"] = set()
        self.freed: asyncio.Event  # of the loop it runs in

    async def prepare(self, store: Store) -> None:
        """Before the first claim."""

    async def handle(self, store: Store, message: QueueMessage, hold: Hold) -> None:
        raise NotImplementedError


class _Runs(_Source):
    def __init__(self, workflow: Workflow[Any, Any], concurrency: int) -> None:
        super().__init__(workflow.name, concurrency)
        self.workflow = workflow

    async def prepare(self, store: Store) -> None:
        await ensure_workflow(store, self.name)

    async def handle(self, store: Store, message: QueueMessage, hold: Hold) -> None:
        try:
            _handle_of(store, hold)
        except PgqrsError as error:
            logger.error("run %d could not be executed: %s", hold.id, error)
            return  # its lease passes, and it comes back
        await execute(self.workflow, store, hold)


class _Messages(_Source):
    def __init__(self, queue: str, handler: Handler, concurrency: int, codec: Optional[codecs.Codec]) -> None:
        super().__init__(queue, concurrency)
        self.handler = handler
        self.codec = codec
        self.is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)
        )
        self.parameter = ""
        self.annotation: Any = None
        try:
            parameters = list(inspect.signature(handler).parameters.values())
        except ValueError:  # a function of C, whose parameters nobody knows
            self.annotation = Any
            return
        if not parameters:
            raise TypeError("the handler of queue %r takes a payload or a QueueMessage" % queue)
        self.parameter = parameters[0].name

    def _argument(self, message: QueueMessage, hold: Hold) -> Any:
        if self.annotation is None:
            function = self.handler if inspect.isroutine(self.handler) else type(self.handler).__call__
            self.annotation = codecs.annotations_of(function).get(self.parameter, Any)
        if self.annotation is QueueMessage:
            return message
        return (self.codec or codecs.default_codec).decode(text(hold.message.payload), self.annotation)

    async def handle(self, store: Store, message: QueueMessage, hold: Hold) -> None:
        keeper = hold.keeper(store)
        try:
            argument = self._argument(message, hold)
            if self.is_async:
                await self.handler(argument)
            else:
                await in_a_thread(self.handler, argument)
        except asyncio.CancelledError:
            await asyncio.shield(self._end(store, hold, lambda batch: lib.pgqrs_batch_release(batch, hold.message, NULL)))
            raise
        except BaseException as error:
            await self._failed(store, hold, error)
        else:
            await self._end(store, hold, lambda batch: lib.pgqrs_batch_archive(batch, hold.message))
        del keeper

    async def _failed(self, store: Store, hold: Hold, error: BaseException) -> None:
        code, why = c_text(code_of(error)), c_text(str(error) or type(error).__name__)
        logger.warning("the handler of message %d of %r has failed", hold.id, self.name, exc_info=error)
        if isinstance(error, TransientStepError) and error.retry_after is not None:
            struct = options("release", delay_us=max(1, duration(error.retry_after, "retry_after")), counted=True)
            await self._end(store, hold, lambda batch: lib.pgqrs_batch_release(batch, hold.message, struct))
        else:
            await self._end(store, hold, lambda batch: lib.pgqrs_batch_retry(batch, hold.message, code, why))

    async def _end(self, store: Store, hold: Hold, add: Callable[[Any], int]) -> None:
        """Tried again while the database is away; then the lease passes, and the message comes back."""
        delay = 0.05
        while True:
            try:
                if not await store._engine.submit(add, answers=HELD, keep=hold):
                    logger.warning("message %d is no longer held: another worker may have it", hold.id)
                return
            except PgqrsError as error:
                if error.code not in OUTAGES or delay > 10:
                    logger.error("message %d could not be ended, and comes back: %s", hold.id, error)
                    return
            await asyncio.sleep(delay)
            delay *= 2


class Worker:
    """Handles the messages of queues and executes the runs of workflows.

        worker = pgqrs.Worker(store, concurrency=16)
        worker.add(checkout)                        # a workflow

        @worker.on("emails")                        # a queue: what its handler takes is read by its annotation
        async def send(email: Email) -> None: ...

        await worker.run()                          # until worker.stop(), SIGTERM or SIGINT

    store           a Store, or what connect() takes: a DSN or a Config, and then it is opened by run()
                    and closed after it; None: the DSN is given to run()
    concurrency     so many at once of each queue and workflow
    name            under which it is registered; None: one is made up
    stop_timeout    seconds that what is being handled has to finish once it is to stop; then it is
                    cancelled, and given back

    A handler that returns has handled its message, which is archived; one that raises gets it again
    after the queue's backoff, until its attempts are used up. Handlers that are plain functions run in threads.
    Leases are kept by the library's thread meanwhile, also while Python computes. Neither a handler that
    fails nor a database that goes away ends the worker.
    """

    def __init__(
        self,
        store: Union[Store, Connecting, Config, str, None] = None,
        *,
        concurrency: int = 16,
        name: Optional[str] = None,
        stop_timeout: float = 30,
    ) -> None:
        self._store = store
        self._concurrency = concurrency
        self._name = name
        self._stop_timeout = stop_timeout
        self._sources: Dict[str, _Source] = {}
        self._stopping: Optional[asyncio.Event] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._stop_asked = False
        self._handled = 0
        self._problem: Optional[BaseException] = None
        self.id: Optional[int] = None
        """Its id in the database, while it runs."""

    # --- What it does ---

    def add(self, *workflows: Workflow[Any, Any], concurrency: Optional[int] = None) -> Worker:
        """Execute the runs of workflows, which are created when they do not exist."""
        for workflow in workflows:
            if not isinstance(workflow, Workflow):
                raise TypeError("%r is no workflow: decorate its function with @pgqrs.workflow" % (workflow,))
            self._register(_Runs(workflow, concurrency or self._concurrency))
        return self

    def on(
        self, queue: str, *, concurrency: Optional[int] = None, codec: Optional[codecs.Codec] = None
    ) -> Callable[[Handler], Handler]:
        """A decorator: handle the messages of a queue, which is looked for until it exists. The function takes a
        QueueMessage, if it says so, else the payload."""

        def decorate(handler: Handler) -> Handler:
            self._register(_Messages(queue, handler, concurrency or self._concurrency, codec))
            return handler

        return decorate

    def handle(self, queue: str, handler: Handler, **how: Any) -> Worker:
        """The same as on(), without a decorator."""
        self.on(queue, **how)(handler)
        return self

    def _register(self, source: _Source) -> None:
        if source.name in self._sources:
            raise ValueError("%r has a handler already" % source.name)
        self._sources[source.name] = source

    # --- Running ---

    def stop(self) -> None:
        """Stop gracefully. From any thread or signal handler, also before run()."""
        self._stop_asked = True
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:  # it has ended
                pass

    async def run(self, dsn: Union[str, Config, None] = None) -> None:
        """Work until it is stopped: by stop(), by SIGTERM or SIGINT (in the main thread; a second SIGINT
        is as ever), or by an interrupt of its row in the database. Cancelling it stops it, too."""
        if not self._sources:
            raise failure(lib.PGQRS_EINVAL, "the worker has nothing to do", hint="Call add() or on() first.")
        given = dsn if dsn is not None else self._store
        if given is None:
            raise failure(lib.PGQRS_EINVAL, "the worker has no store", hint="Give Worker() a store, or run() a DSN.")
        if isinstance(given, Store):
            await self._run(given)
            return
        if not isinstance(given, Connecting):
            given = Connecting(given if isinstance(given, Config) else Config(given))
        async with given as store:
            await self._run(store)

    async def drain(self, store: Optional[Store] = None) -> int:
        """Handle what is there now, and what follows from it, until nothing is left that is due; how many
        were handled. For tests."""
        store = store or (self._store if isinstance(self._store, Store) else None)
        if store is None:
            raise failure(lib.PGQRS_EINVAL, "the worker has no store", hint="Give drain() one.")
        before = self._handled
        for source in self._sources.values():
            source.freed = asyncio.Event()
            await source.prepare(store)
        while True:
            claimed = 0
            for source in self._sources.values():
                try:
                    messages = await store._claim(source.queue, source.concurrency)
                except PgqrsError as error:
                    if error.code != "ENOTFOUND":
                        raise
                    continue
                claimed += len(messages)
                for message in messages:
                    self._begin(store, source, message)
                if source.tasks:
                    await asyncio.wait(source.tasks)
            if self._problem is not None:
                problem, self._problem = self._problem, None
                raise problem
            if claimed == 0:
                return self._handled - before

    async def _run(self, store: Store) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self._stop_asked:
            self._stopping.set()
        name = self._name or "python-%d-%x" % (os.getpid(), id(self) & 0xFFFFFF)
        worker: int = await store._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_register(batch, encoded(name, "worker name"), NULL),
            lib.pgqrs_batch_id,
            alone=True,
        )
        self.id = worker
        await store._set_status(worker, lib.PGQRS_WORKER_POLLING)
        restore = self._catch_signals()
        for source in self._sources.values():
            source.freed = asyncio.Event()
        pumps = [asyncio.ensure_future(self._pump(store, source)) for source in self._sources.values()]
        pumps.append(asyncio.ensure_future(self._beat(store, worker)))
        logger.info("worker %r works on %s", name, ", ".join(sorted(self._sources)))
        try:
            await self._stopping.wait()
        finally:
            restore()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            try:
                await self._finish()
                await store._set_status(worker, lib.PGQRS_WORKER_STOPPED)
            except PgqrsError as error:
                logger.warning("worker %r could not say that it stopped: %s", name, error)
            self._loop = self._stopping = None
            self._stop_asked = False
            logger.info("worker %r has stopped", name)
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem

    def _catch_signals(self) -> Callable[[], None]:
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        loop = asyncio.get_running_loop()
        caught = []
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            try:
                loop.add_signal_handler(number, self._signalled, number)
            except (NotImplementedError, RuntimeError, ValueError):
                continue
            caught.append((number, before))

        def restore() -> None:
            for number, before in caught:
                loop.remove_signal_handler(number)
                if before is not None:
                    signal.signal(number, before)

        return restore

    def _signalled(self, number: int) -> None:
        logger.info("worker: signal %d, stopping", number)
        self.stop()
        if number == signal.SIGINT and self._loop is not None:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.default_int_handler)

    async def _finish(self) -> None:
        """What is being handled has its time to end; then it is cancelled, which gives it back."""
        tasks = [task for source in self._sources.values() for task in source.tasks]
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=self._stop_timeout)
        for task in left:
            task.cancel()
        if left:
            logger.warning("%d handlers did not end in %g s: given back", len(left), self._stop_timeout)
            await asyncio.wait(left, timeout=10)

    async def _pump(self, store: Store, source: _Source) -> None:
        """Claim as much as there is room for, for ever."""
        prepared, away = False, 0.1
        while True:
            room = source.concurrency - len(source.tasks)
            if room == 0:
                source.freed.clear()
                await source.freed.wait()
                continue
            try:
                if not prepared:
                    await source.prepare(store)
                    prepared = True
                messages = await store._claim(
                    source.queue, room, owner=self.id, wait_us=CLAIM_WAIT_US, poll_us=SECOND
                )
                away = 0.1
            except PgqrsError as error:
                if error.code in ("EFORK", "ESTATE"):
                    self._problem = error
                    self.stop()
                    return
                missing = error.code == "ENOTFOUND"
                if not missing:
                    logger.warning("%r could not be claimed from: %s", source.name, error)
                prepared = False
                await asyncio.sleep(1.0 if missing else away)
                away = min(away * 2, 5.0)
                continue
            for message in messages:
                self._begin(store, source, message)

    def _begin(self, store: Store, source: _Source, message: QueueMessage) -> None:
        hold = store._holds[message.id]
        task = asyncio.ensure_future(source.handle(store, message, hold))
        source.tasks.add(task)

        def ended(task: "asyncio.Task[None]") -> None:
            source.tasks.discard(task)
            source.freed.set()
            store._forget(hold)  # and the last operation with it frees its handle
            self._handled += 1
            if not task.cancelled() and task.exception() is not None:
                logger.error("worker: %s", task.exception(), exc_info=task.exception())

        task.add_done_callback(ended)

    async def _beat(self, store: Store, worker: int) -> None:
        """Say that it is alive, and hear of an interrupt."""
        ids = [worker]
        while True:
            await asyncio.sleep(store._config.heartbeat_interval_seconds)
            try:
                _, status = await asyncio.gather(
                    store._engine.submit(lambda batch: lib.pgqrs_batch_worker_heartbeat(batch, ids, 1), alone=True),
                    store._status(worker),
                )
            except PgqrsError as error:
                logger.debug("no heartbeat: %s", error)
                continue
            if status == WorkerStatus.Interrupted:
                logger.info("worker %d is interrupted", worker)
                self.stop()
