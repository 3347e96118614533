"""pgqrs without await: the same things by the same names, for scripts, threads and the REPL.

    import pgqrs.sync as pgqrs

    @pgqrs.step
    def charge(order: Order) -> Receipt: ...

    @pgqrs.workflow
    def checkout(run: pgqrs.Run, order: Order) -> Receipt:
        return charge(order)

    with pgqrs.connect("sqlite:///tmp/shop.db") as store:
        store.bootstrap()
        handle = checkout.start(store, order)
        pgqrs.Worker(store).add(checkout).run()

Each call waits in the calling thread, any thread, for one event loop in a thread of its own, which is
nobody's business. What raises there, raises here. Not to be called in a coroutine: it would block the
event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import signal
import sys
import threading
from contextvars import Token
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, Generic, List, Optional, Sequence, TypeVar, Union, overload

from . import _flow, _store, _tables, _transaction, _worker, codec
from ._config import Config
from ._engine import failure, in_transaction, lib
from ._errors import *  # noqa: F401,F403
from ._flow import (  # noqa: F401
    Retryable,
    StepFailedError,
    WorkflowCancelledError,
    WorkflowFailedError,
    idempotency_key,
)
from ._runs import BackoffStrategy, StepRetryPolicy  # noqa: F401
from ._transaction import DatabaseError, Row  # noqa: F401
from ._values import (
    QueueInfo,
    QueueMessage,
    QueueMetrics,
    RunRecord,
    StepRecord,
    Time,
    WorkerHealth,
    WorkerInfo,
    WorkerStatus,
    WorkflowRecord,
    WorkflowStatus,
)

if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    P = ParamSpec("P")
else:
    P = TypeVar("P")

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")


# --- The loop ----------------------------------------------------------------------------------------


class _Portal:
    """An event loop in a daemon thread; one a process, made when it is first needed."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="pgqrs-sync", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_portal: Optional[_Portal] = None
_lock = threading.Lock()


def _call(awaitable: Awaitable[T]) -> T:
    """Wait for it. Interrupting the wait (Ctrl-C) cancels it."""
    try:
        return _made(lambda: awaitable)
    finally:
        close = getattr(awaitable, "close", None)  # a coroutine that never came to run
        if close is not None:
            close()


def _made(make: Callable[[], Awaitable[T]]) -> T:
    """The same for what must be called in the loop."""
    global _portal
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise failure(
            lib.PGQRS_ESTATE,
            "pgqrs.sync is called in a coroutine, and would block its event loop",
            hint="Use pgqrs itself there, and await.",
        )
    with _lock:
        if _portal is None or _portal.pid != os.getpid():
            _portal = _Portal()
        portal = _portal

    async def wait() -> T:
        return await make()

    future: "concurrent.futures.Future[T]" = asyncio.run_coroutine_threadsafe(wait(), portal.loop)
    try:
        return future.result()
    except (KeyboardInterrupt, SystemExit):
        future.cancel()
        raise


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)


# --- Stores ------------------------------------------------------------------------------------------


class Store:
    """A database with the pgqrs tables; see pgqrs.Store. `with` closes it."""

    def __init__(self, store: _store.Store) -> None:
        self.store = store
        """The same, for coroutines of the loop that it works in: what it makes is not shared."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Let what is under way finish, and close."""
        _call(self.store.close())

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.store.closed

    def bootstrap(self) -> None:
        """Create or upgrade the tables."""
        _call(self.store.bootstrap())

    def queue(self, name: str) -> QueueInfo:
        """Create a queue. QueueAlreadyExistsError when there is one of this name."""
        return _call(self.store.queue(name))

    def producer(self, queue: str, *, name: Optional[str] = None) -> Producer:
        """A producer for a queue: registered as a worker."""
        return Producer(_call(self.store.producer(queue, name=name)))

    def consumer(self, queue: str, *, name: Optional[str] = None) -> Consumer:
        """A consumer of a queue: registered as a worker."""
        return Consumer(_call(self.store.consumer(queue, name=name)))

    def get_workers(self) -> Workers:
        """The workers."""
        return Workers(_tables.Workers(self.store))

    def get_queues(self) -> Queues:
        """The queues, workflows among them."""
        return Queues(_tables.Queues(self.store))

    def get_messages(self) -> Messages:
        """The messages."""
        return Messages(_tables.Messages(self.store))

    def get_workflows(self) -> Workflows:
        """The workflows."""
        return Workflows(_tables.Workflows(self.store))

    def get_workflow_runs(self) -> WorkflowRuns:
        """The runs of all workflows."""
        return WorkflowRuns(_tables.WorkflowRuns(self.store))

    def get_workflow_steps(self) -> WorkflowSteps:
        """The recorded steps of all runs."""
        return WorkflowSteps(_tables.WorkflowSteps(self.store))


def connect(dsn: str) -> Store:
    """Open a store: `with connect(dsn) as store`. See pgqrs.connect()."""
    return connect_with(Config(dsn))


def connect_with(config: Config) -> Store:
    """Open a store with settings."""
    return Store(_call(_store.Connecting(config)._connect()))


class Admin:
    """See pgqrs.Admin."""

    def __init__(self, store: Store) -> None:
        self._admin = _store.Admin(store.store)

    def install(self) -> None:
        """Create or upgrade the tables."""
        _call(self._admin.install())

    def verify(self) -> None:
        """Check that the tables are there, and as they should be. ConfigError."""
        _call(self._admin.verify())

    def delete_queue(self, name: str) -> None:
        """Delete a queue with all its messages."""
        _call(self._admin.delete_queue(name))

    def release_worker_messages(self, worker_id: int) -> int:
        """Make visible at once what a worker holds; how many."""
        return _call(self._admin.release_worker_messages(worker_id))


def admin(store: Store) -> Admin:
    """The same as Admin(store)."""
    return Admin(store)


class Producer:
    """See pgqrs.Producer."""

    def __init__(self, producer: _store.Producer) -> None:
        self._producer = producer

    @property
    def worker_id(self) -> int:
        """Its id in the list of workers."""
        return self._producer.worker_id

    def enqueue(self, payload: Any) -> int:
        """Put a message into the queue; its id."""
        return _made(lambda: self._producer.enqueue(payload))

    def enqueue_batch(self, payloads: Sequence[Any]) -> List[int]:
        """Put messages into the queue, in order: all of them, or none."""
        return _made(lambda: self._producer.enqueue_batch(payloads))

    def enqueue_delayed(self, payload: Any, delay_seconds: float) -> int:
        """Put a message into the queue that is delivered later; its id."""
        return _made(lambda: self._producer.enqueue_delayed(payload, delay_seconds))


class Consumer:
    """See pgqrs.Consumer."""

    def __init__(self, consumer: _store.Consumer) -> None:
        self._consumer = consumer

    @property
    def worker_id(self) -> int:
        """Its id in the list of workers."""
        return self._consumer.worker_id

    def status(self) -> WorkerStatus:
        """As it stands in the list of workers."""
        return _made(self._consumer.status)

    def interrupt(self) -> None:
        """Ask whoever polls with it to stop."""
        _made(self._consumer.interrupt)

    def dequeue(self, batch_size: int = 1) -> List[QueueMessage]:
        """Lease up to so many messages."""
        return _made(lambda: self._consumer.dequeue(batch_size))

    def dequeue_many_with_delay(self, limit: int, vt: float) -> List[QueueMessage]:
        """Lease up to so many, for vt seconds."""
        return _made(lambda: self._consumer.dequeue_many_with_delay(limit, vt))

    def extend_vt(self, message_id: int, seconds: float) -> bool:
        """Let its lease last so long from now; False when it is not held."""
        return _made(lambda: self._consumer.extend_vt(message_id, seconds))

    def archive(self, message_id: int) -> bool:
        """Finish a message, and keep it in the archive; False when it is not held."""
        return _made(lambda: self._consumer.archive(message_id))

    def archive_many(self, message_ids: Sequence[int]) -> List[bool]:
        """The same for many."""
        return _made(lambda: self._consumer.archive_many(message_ids))

    def delete(self, message_id: int) -> bool:
        """Finish a message without a trace; False when it is not held."""
        return _made(lambda: self._consumer.delete(message_id))

    def delete_many(self, message_ids: Sequence[int]) -> List[bool]:
        """The same for many."""
        return _made(lambda: self._consumer.delete_many(message_ids))

    def release_with_visibility(self, message_id: int, visible_at: Time) -> bool:
        """Give a message back, to be delivered from a time on; False when it is not held."""
        return _made(lambda: self._consumer.release_with_visibility(message_id, visible_at))

    def release_messages(self, message_ids: Sequence[int]) -> int:
        """Give messages back, to be delivered now; how many were held."""
        return _made(lambda: self._consumer.release_messages(message_ids))


def produce(store: Store, queue: str, payload: Any) -> int:
    """Put a message into a queue; its id."""
    return _made(lambda: _store.produce(store.store, queue, payload))


def produce_batch(store: Store, queue: str, payloads: Sequence[Any]) -> List[int]:
    """Put messages into a queue, in order: all of them, or none."""
    return _made(lambda: _store.produce_batch(store.store, queue, payloads))


# --- Lists -------------------------------------------------------------------------------------------


class _Table(Generic[T]):
    def __init__(self, table: T) -> None:
        self._table = table


class Workers(_Table[_tables.Workers]):
    """See pgqrs.Workers."""

    def count(self) -> int:
        """How many."""
        return _made(self._table.count)

    def list(self) -> List[WorkerInfo]:
        """All of them."""
        return _made(self._table.list)

    def get(self, worker_id: int) -> WorkerInfo:
        """One of them."""
        return _made(lambda: self._table.get(worker_id))

    def health_stats(self) -> WorkerHealth:
        """How many are in which state."""
        return _made(self._table.health_stats)

    def purge_stale(self, seconds: float) -> int:
        """Stop those that have been silent for so long; how many."""
        return _made(lambda: self._table.purge_stale(seconds))


class Queues(_Table[_tables.Queues]):
    """See pgqrs.Queues."""

    def count(self) -> int:
        """How many."""
        return _made(self._table.count)

    def list(self) -> List[QueueInfo]:
        """All of them."""
        return _made(self._table.list)

    def purge(self, name: str) -> int:
        """Remove what nobody holds; how many."""
        return _made(lambda: self._table.purge(name))

    def metrics(self, name: str) -> QueueMetrics:
        """How many messages are in which state."""
        return _made(lambda: self._table.metrics(name))


class Messages(_Table[_tables.Messages]):
    """See pgqrs.Messages."""

    def count(self) -> int:
        """How many are not archived."""
        return _made(self._table.count)

    def list_archived_by_queue(self, queue_id: int) -> List[QueueMessage]:
        """What is archived."""
        return _made(lambda: self._table.list_archived_by_queue(queue_id))


class Workflows(_Table[_tables.Workflows]):
    """See pgqrs.Workflows."""

    def get_by_name(self, name: str) -> WorkflowRecord:
        """One of them."""
        return _made(lambda: self._table.get_by_name(name))


class WorkflowRuns(_Table[_tables.WorkflowRuns]):
    """See pgqrs.WorkflowRuns."""

    def list(self) -> List[RunRecord]:
        """All of them."""
        return _made(self._table.list)


class WorkflowSteps(_Table[_tables.WorkflowSteps]):
    """See pgqrs.WorkflowSteps."""

    def list(self) -> List[StepRecord]:
        """All of them."""
        return _made(self._table.list)


# --- Workflows and steps -----------------------------------------------------------------------------


class Transaction:
    """`with run.transaction("charge") as tx`. See pgqrs.Transaction."""

    def __init__(self, transaction: _transaction.Transaction) -> None:
        self._transaction = transaction
        self._token: Optional["Token[Any]"] = None
        # The variable that shuts the store is the thread's here, not that of the loop's task.
        transaction._shut_store = self._shut  # type: ignore[method-assign]
        transaction._free_store = lambda: None  # type: ignore[method-assign]
        self._shuts = False

    def _shut(self) -> None:
        self._shuts = True

    def __enter__(self) -> Transaction:
        _made(self._transaction.__aenter__)
        if self._shuts:
            self._token = in_transaction.set(self._transaction._execution.engine)
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        if self._token is not None:
            in_transaction.reset(self._token)
            self._token = None
        _made(lambda: self._transaction.__aexit__(kind, error, trace))

    def execute(self, sql: str, *arguments: Any) -> int:
        """Run a statement; how many rows it has changed or given."""
        return _made(lambda: self._transaction.execute(sql, *arguments))

    def fetch(self, sql: str, *arguments: Any) -> List[Row]:
        """Run a statement; its rows."""
        return _made(lambda: self._transaction.fetch(sql, *arguments))

    def fetchrow(self, sql: str, *arguments: Any) -> Optional[Row]:
        """The first row, or None."""
        return _made(lambda: self._transaction.fetchrow(sql, *arguments))

    def fetchval(self, sql: str, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        return _made(lambda: self._transaction.fetchval(sql, *arguments))

    def enqueue(self, queue: str, payload: Any, *, delay: Optional[float] = None) -> int:
        """Put a message into a queue, in the same commit; its id."""
        return _made(lambda: self._transaction.enqueue(queue, payload, delay=delay))

    def trigger(self, workflow: str, input: Any = None, *, delay: Optional[float] = None) -> int:
        """Start a run of a workflow, in the same commit; its id."""
        return _made(lambda: self._transaction.trigger(workflow, input, delay=delay))


class Run:
    """The run that a workflow function executes. See pgqrs.WorkflowRun."""

    def __init__(self, run: _flow.WorkflowRun) -> None:
        self._run = run

    def id(self) -> int:
        """Its number."""
        return self._run.id()

    @property
    def attempt(self) -> int:
        """Which counted delivery this is."""
        return self._run.attempt

    @property
    def input(self) -> Any:
        """What it was started with."""
        return self._run.input

    def sleep(self, seconds: Union[float, timedelta], *, name: str = "sleep") -> None:
        """Sleep durably: the run is parked meanwhile."""
        _call(self._run.sleep(seconds, name=name))

    def transaction(self, name: str, *, retry: Optional[StepRetryPolicy] = None) -> Transaction:
        """A transactional step."""
        return Transaction(self._run.transaction(name, retry=retry))

    def pause(self, message: str, resume_after_seconds: float) -> None:
        """Park the run, and end this execution."""
        _call(self._run.pause(message, resume_after_seconds))


class Step(Generic[P, R]):
    """See pgqrs.Step."""

    def __init__(self, step: _flow.Step[Any, R]) -> None:
        self.step = step
        functools.update_wrapper(self, step.function)

    @property
    def name(self) -> str:
        """Its name."""
        return self.step.name

    def __call__(self, *args: "P.args", **kwargs: "P.kwargs") -> R:
        if _flow._scope.get() is None:
            result: R = self.step.function(*args, **kwargs)
            return result
        return _call(self.step(*args, **kwargs))


class Handle(Generic[R]):
    """A started run. See pgqrs.Handle."""

    def __init__(self, handle: _flow.Handle[R]) -> None:
        self._handle = handle
        self.id = handle.id

    def result(self, timeout: Optional[float] = None) -> R:
        """Wait until it has ended: its result."""
        return _made(lambda: self._handle.result(timeout))

    def status(self) -> WorkflowStatus:
        """As it stands now."""
        return _made(self._handle.status)

    def cancel(self) -> WorkflowStatus:
        """Ask for it to end."""
        return _made(self._handle.cancel)


class Workflow(Generic[A, R]):
    """See pgqrs.Workflow."""

    def __init__(self, workflow: _flow.Workflow[A, R]) -> None:
        self.workflow = workflow
        function = workflow.function
        functools.update_wrapper(self, function)
        self._function = function

        def call(run: _flow.WorkflowRun, *arguments: Any) -> Any:
            return function(Run(run), *arguments)

        workflow.function = call

    @property
    def name(self) -> str:
        """Its name."""
        return self.workflow.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    @overload
    def start(
        self: "Workflow[None, R]", store: Store, argument: None = None, *, key: Optional[str] = None,
        delay: Union[float, timedelta, None] = None, priority: Optional[int] = None,
    ) -> Handle[R]: ...
    @overload
    def start(
        self, store: Store, argument: A, *, key: Optional[str] = None,
        delay: Union[float, timedelta, None] = None, priority: Optional[int] = None,
    ) -> Handle[R]: ...
    def start(
        self, store: Store, argument: Any = None, *, key: Optional[str] = None,
        delay: Union[float, timedelta, None] = None, priority: Optional[int] = None,
    ) -> Handle[R]:
        """Start a run. See pgqrs.Workflow.start()."""
        return Handle(
            _made(lambda: self.workflow.start(store.store, argument, key=key, delay=delay, priority=priority))
        )

    def handle(self, store: Store, run_id: int) -> Handle[R]:
        """A handle of a run that was started before."""
        return Handle(self.workflow.handle(store.store, run_id))


if TYPE_CHECKING:

    class _WorkflowDecorator:
        @overload
        def __call__(self, function: Callable[[Run], R], /) -> Workflow[None, R]: ...
        @overload
        def __call__(self, function: Callable[[Run, A], R], /) -> Workflow[A, R]: ...
        def __call__(self, function: Any, /) -> Any: ...

    class _StepDecorator:
        def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...


def _plain(function: Any, what: str) -> Any:
    if asyncio.iscoroutinefunction(function):
        raise TypeError("a %s of pgqrs.sync is a plain function, not an async one: use pgqrs.%s" % (what, what))
    return function


@overload
def workflow(function: Callable[[Run], R], /) -> Workflow[None, R]: ...
@overload
def workflow(function: Callable[[Run, A], R], /) -> Workflow[A, R]: ...
@overload
def workflow(*, name: Optional[str] = None, codec: Optional[codec.Codec] = None) -> "_WorkflowDecorator": ...
def workflow(function: Any = None, *, name: Optional[str] = None, codec: Optional[codec.Codec] = None) -> Any:
    """Make a workflow of a function `f(run)` or `f(run, argument)`. See pgqrs.workflow()."""
    if function is not None:
        return Workflow(_flow.Workflow(_plain(function, "workflow"), local=_flow._local_names(function, 1)))
    local = sys._getframe(1).f_locals
    return lambda function: Workflow(_flow.Workflow(_plain(function, "workflow"), name, codec, dict(local)))


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *, name: Optional[str] = None, retry: Optional[StepRetryPolicy] = None, retry_on: Retryable = Exception,
    timeout: Optional[float] = None, codec: Optional[codec.Codec] = None,
) -> "_StepDecorator": ...
def step(
    function: Any = None, *, name: Optional[str] = None, retry: Optional[StepRetryPolicy] = None,
    retry_on: Retryable = Exception, timeout: Optional[float] = None, codec: Optional[codec.Codec] = None,
) -> Any:
    """Make a step of a function. See pgqrs.step()."""
    if function is not None:
        return Step(_flow.Step(_plain(function, "step"), local=_flow._local_names(function, 1)))
    local = sys._getframe(1).f_locals
    return lambda function: Step(
        _flow.Step(_plain(function, "step"), name, retry, retry_on, timeout, codec, dict(local))
    )


class Worker:
    """Handles the messages of queues and executes the runs of workflows, in threads. See pgqrs.Worker."""

    def __init__(
        self,
        store: Union[Store, Config, str, None] = None,
        *,
        concurrency: int = 16,
        name: Optional[str] = None,
        stop_timeout: float = 30,
    ) -> None:
        given = store.store if isinstance(store, Store) else store
        self.worker = _worker.Worker(given, concurrency=concurrency, name=name, stop_timeout=stop_timeout)

    def add(self, *workflows: Workflow[Any, Any], concurrency: Optional[int] = None) -> Worker:
        """Execute the runs of workflows."""
        self.worker.add(*[workflow.workflow for workflow in workflows], concurrency=concurrency)
        return self

    def on(
        self, queue: str, *, concurrency: Optional[int] = None, codec: Optional[codec.Codec] = None
    ) -> Callable[[_worker.Handler], _worker.Handler]:
        """A decorator: handle the messages of a queue."""
        return self.worker.on(queue, concurrency=concurrency, codec=codec)

    def stop(self) -> None:
        """Stop gracefully. From any thread or signal handler, also before run()."""
        self.worker.stop()

    def run(self, dsn: Union[str, Config, None] = None) -> None:
        """Work until it is stopped: by stop(), by SIGTERM or SIGINT (in the main thread)."""
        before: Dict[Any, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, lambda *_: self.worker.stop())
        try:
            _made(lambda: self.worker.run(dsn))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def drain(self, store: Optional[Store] = None) -> int:
        """Handle what is there now, and what follows from it; how many were handled. For tests."""
        return _made(lambda: self.worker.drain(None if store is None else store.store))

