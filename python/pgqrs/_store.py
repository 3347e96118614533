"""Stores, and what is made of one: producers, consumers, the administrator."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, Generator, List, Optional, Sequence, Union

from ._config import Config, Gate
from ._engine import (
    NULL,
    SECOND,
    Engine,
    Owned,
    check,
    encoded,
    exception,
    failure,
    ffi,
    lib,
    options,
    text,
)
from ._json import dumps, loads
from ._values import (
    WORKER_STATUS,
    QueueInfo,
    QueueMessage,
    Time,
    WorkerStatus,
    duration,
    message_of,
    microseconds,
)

if TYPE_CHECKING:
    from ._iterate import ConsumerIterator
    from ._runs import Run
    from ._tables import Messages, Queues, Workers, WorkflowRuns, Workflows, WorkflowSteps

logger = logging.getLogger("pgqrs")

# An id that is no longer held: nothing was changed. A cancelled one has ended all the same.
HELD = {lib.PGQRS_OK: True, lib.PGQRS_ELEASE: False, lib.PGQRS_ECANCELLED: True}
# What a consumer never finished is forgotten so long after its lease has passed.
FORGET_US = 600 * SECOND


class Hold:
    """A message that this store has leased, or a run that it has opened. Everything that it opens on
    the message works under it."""

    __slots__ = ("id", "messages", "index", "message", "owner", "run", "ended", "lost", "_keeper")

    def __init__(self, id: int, owner: Optional[int]) -> None:
        self.id = id
        self.messages: Any = None  # keeps `message` alive
        self.index = 0
        self.message: Any = NULL  # pgqrs_message *, of the claim
        self.owner = owner
        self.run: Optional[Owned[Any]] = None
        self.ended = False  # by an end of the run
        self.lost = False
        self._keeper: Optional["weakref.ref[Keeper]"] = None

    def lease(self) -> Any:
        """The pgqrs_message * to write under; its lease is 0 while nothing is held."""
        if self.run is not None and not self.run.freed:
            return lib.pgqrs_run_message(self.run.cdata)
        return self.message

    def held(self) -> bool:
        """Whether there is a lease, which may have passed."""
        lease = self.lease()
        return bool(lease != NULL and lease.lease != 0)

    def keeper(self, store: Store) -> Keeper:
        """Who keeps the lease, as long as somebody refers to it."""
        keeper = None if self._keeper is None else self._keeper()
        if keeper is None:
            keeper = Keeper(store, self)
            self._keeper = weakref.ref(keeper)
        return keeper

    def kept(self) -> bool:
        """Whether somebody works under it."""
        return self._keeper is not None and self._keeper() is not None


class Keeper:
    """Renews the lease of a hold in the background, by the library's thread, while it lives."""

    __slots__ = ("hold", "_engine", "_store", "__weakref__")

    def __init__(self, store: Store, hold: Hold) -> None:
        self.hold = hold
        self._engine = store._engine
        self._store = weakref.ref(store)
        if hold.held():
            self._engine.direct(self._keep)

    def _keep(self, store: Any) -> None:
        check(
            lambda error: lib.pgqrs_lease_keep(store, self.hold.lease(), 0, error),
            lib.PGQRS_ELEASE,
            lib.PGQRS_ESTATE,
        )

    def _unkeep(self, store: Any) -> None:
        lib.pgqrs_lease_unkeep(store, self.hold.lease(), NULL)

    def __del__(self) -> None:
        try:
            store = self._store()
            if self.hold.held():
                self._engine.direct(self._unkeep)
            elif store is not None:
                store._forget(self.hold)  # nothing was leased, so there is nothing to go on with
        except Exception:  # at the end of the process anything may be gone
            pass


class Store:
    """A database with the pgqrs tables. `await connect(dsn)` makes one.

    It may be shared by any number of tasks, event loops and threads; not by processes: after fork()
    it refuses everything. `async with` closes it. A store that nobody refers to any more is closed
    by the garbage collector.
    """

    def __init__(self, engine: Engine, config: Config) -> None:
        self._engine = engine
        self._config = config
        self._gate = Gate(config)
        self._holds: Dict[int, Hold] = {}
        self._prune_at = 1024
        self._workers: "weakref.WeakSet[_Worker]" = weakref.WeakSet()
        self._heard = time.monotonic()
        self._encode: Callable[[Any, str], bytes] = dumps
        self._decode: Callable[[str], Any] = loads

    # --- Life ---

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let what is under way finish, and close. Leases that are held pass at their time.

        Closing again does nothing; every other call raises PgqrsError from then on.
        """
        await self._engine.close()
        self._holds.clear()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._engine.closed

    async def bootstrap(self) -> None:
        """Create or upgrade the tables, as Admin.install()."""
        await self._engine.submit(lib.pgqrs_batch_install, alone=True)

    # --- What is made of it ---

    async def queue(self, name: str) -> QueueInfo:
        """Create a queue. QueueAlreadyExistsError when there is one, or a workflow, of this name."""
        queue = encoded(name, "queue name")
        await self._engine.submit(lambda batch: lib.pgqrs_batch_queue_create(batch, queue, NULL), alone=True)
        return await self._queue(name)

    async def _queue(self, name: str) -> QueueInfo:
        """A queue or workflow by its name."""
        queue = encoded(name, "queue name")

        def take(batch: Any, at: int) -> QueueInfo:
            queues = lib.pgqrs_batch_take_queues(batch, at)
            found = lib.pgqrs_queues_at(queues, 0)
            info = QueueInfo(found.id, text(found.name))
            lib.pgqrs_queues_free(queues)
            return info

        return await self._engine.submit(
            lambda batch: lib.pgqrs_batch_queue_get(batch, queue), take, alone=True
        )

    async def producer(self, queue: str, *, name: Optional[str] = None) -> Producer:
        """A producer for a queue: registered as a worker. QueueNotFoundError."""
        return Producer(self, queue, await self._register(queue, name))

    async def consumer(self, queue: str, *, name: Optional[str] = None) -> Consumer:
        """A consumer of a queue: registered as a worker. QueueNotFoundError."""
        return Consumer(self, queue, await self._register(queue, name))

    async def _register(self, queue: str, name: Optional[str]) -> int:
        label = NULL if name is None else encoded(name, "worker name")
        queue_name = encoded(queue, "queue name")
        return await self._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_register(batch, label, queue_name),
            lib.pgqrs_batch_id,
            alone=True,
        )

    def consume_iter(self, queue: str, poll_interval_ms: int = 50) -> ConsumerIterator:
        """The messages of a queue, one by one as they come: `async with` and `async for` it."""
        from ._iterate import ConsumerIterator

        return ConsumerIterator(self, queue, poll_interval_ms)

    # Awaitable, as everything of a store was in the old package.

    async def get_workers(self) -> Workers:
        """The workers."""
        from ._tables import Workers

        return Workers(self)

    async def get_queues(self) -> Queues:
        """The queues, workflows among them."""
        from ._tables import Queues

        return Queues(self)

    async def get_messages(self) -> Messages:
        """The messages."""
        from ._tables import Messages

        return Messages(self)

    async def get_workflows(self) -> Workflows:
        """The workflows."""
        from ._tables import Workflows

        return Workflows(self)

    async def get_workflow_runs(self) -> WorkflowRuns:
        """The runs of all workflows."""
        from ._tables import WorkflowRuns

        return WorkflowRuns(self)

    async def get_workflow_steps(self) -> WorkflowSteps:
        """The recorded steps of all runs."""
        from ._tables import WorkflowSteps

        return WorkflowSteps(self)

    # --- Messages ---

    def _payload(self, payload: Any, what: str = "payload") -> bytes:
        self._gate.check(payload)
        return self._encode(payload, what)

    def _enqueue(
        self, queue: bytes, payload: Any, *, producer: int = 0, delay_us: int = 0, workflow: bool = False
    ) -> "asyncio.Future[int]":
        body = self._payload(payload, "input" if workflow else "payload")
        struct = options("enqueue", producer=producer, delay_us=delay_us) if producer or delay_us else NULL
        add = lib.pgqrs_batch_trigger if workflow else lib.pgqrs_batch_enqueue
        self._gate.pay(1)
        return self._engine.submit(lambda batch: add(batch, queue, body, struct), lib.pgqrs_batch_id)

    async def _enqueue_many(self, queue: bytes, payloads: Sequence[Any], producer: int = 0) -> List[int]:
        bodies = [ffi.new("char[]", self._payload(payload)) for payload in payloads]
        if not bodies:
            return []
        self._gate.pay(len(bodies))
        struct = options("enqueue", producer=producer)

        def take(batch: Any, at: int) -> List[int]:
            count = ffi.new("size_t *")
            ids = lib.pgqrs_batch_ids(batch, at, count)
            return list(ffi.unpack(ids, count[0]))

        def add(batch: Any) -> int:
            number: int = lib.pgqrs_batch_enqueue_many(
                batch, queue, ffi.new("char *[]", bodies), len(bodies), struct
            )
            return number

        return await self._engine.submit(add, take)

    def _claim(
        self,
        queue: bytes,
        limit: int,
        *,
        owner: Optional[int] = None,
        lease_us: int = 0,
        now_us: int = 0,
        wait_us: int = 0,
        poll_us: int = 0,
    ) -> "asyncio.Future[List[QueueMessage]]":
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise failure(lib.PGQRS_EINVAL, "a batch of %r messages" % (limit,), hint="Ask for 1 or more.")
        struct = options(
            "claim",
            limit=min(limit, self._config.default_max_batch_size),
            owner=owner or 0,
            lease_us=lease_us,
            now_us=now_us,
            wait_us=wait_us,
            poll_us=poll_us,
        )

        def take(batch: Any, at: int) -> List[QueueMessage]:
            messages = lib.pgqrs_batch_take_messages(batch, at)
            owned = ffi.gc(messages, lib.pgqrs_messages_free)
            taken = []
            for index in range(lib.pgqrs_messages_count(messages)):
                message = lib.pgqrs_messages_at(messages, index)
                hold = Hold(message.id, owner)
                hold.messages, hold.index, hold.message = owned, index, message
                self._holds[hold.id] = hold
                taken.append(message_of(message, owner, self._decode))
            if len(self._holds) > self._prune_at:
                self._prune()
            return taken

        return self._engine.submit(
            lambda batch: lib.pgqrs_batch_claim(batch, queue, struct),
            take,
            undo=self._give_back,
            waits=wait_us > 0,
        )

    def _give_back(self, messages: List[QueueMessage]) -> None:
        """Nobody waits any more for what was claimed."""
        for message in messages:
            hold = self._holds.pop(message.id, None)
            if hold is not None:
                ignore(self._release(hold))

    def _release(self, hold: Hold, *, at_us: int = 0, delay_us: int = 0) -> "asyncio.Future[bool]":
        """Give a message back, uncounted."""
        struct = options("release", at_us=at_us, delay_us=delay_us)
        return self._engine.submit(
            lambda batch: lib.pgqrs_batch_release(batch, hold.lease(), struct), answers=HELD, keep=hold
        )

    def _forget(self, hold: Hold) -> None:
        if self._holds.get(hold.id) is hold:
            del self._holds[hold.id]

    def _prune(self) -> None:
        """Forget what was never finished, and nobody works under any more."""
        clock = self._engine.clock
        now_us = time.monotonic() * SECOND if clock is None else clock.monotonic_us()
        for hold in list(self._holds.values()):
            lease = hold.lease()
            if not hold.kept() and (lease == NULL or lease.held_until_us + FORGET_US < now_us):
                self._forget(hold)
        self._prune_at = max(1024, 2 * len(self._holds))

    # --- Workers ---

    def _beat(self) -> None:
        """Say that the workers of this store are alive, unless that was said lately. Does not wait."""
        now = time.monotonic()
        if now - self._heard < self._config.heartbeat_interval_seconds:
            return
        self._heard = now
        ignore(self._heartbeat())

    def _heartbeat(self) -> "asyncio.Future[None]":
        ids = [worker.worker_id for worker in self._workers if not worker._stopped]
        return self._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_heartbeat(batch, ids, len(ids)), alone=True
        )

    def _set_status(self, worker: int, status: int) -> "asyncio.Future[None]":
        return self._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_set_status(batch, worker, status), alone=True
        )

    async def _status(self, worker: int) -> WorkerStatus:
        def take(batch: Any, at: int) -> WorkerStatus:
            workers = lib.pgqrs_batch_take_workers(batch, at)
            status = WORKER_STATUS[lib.pgqrs_worker_records_at(workers, 0).status]
            lib.pgqrs_worker_records_free(workers)
            return status

        return await self._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_get(batch, worker), take, alone=True
        )


def ignore(future: "asyncio.Future[Any]") -> None:
    """Nobody waits for this: a failure of it is a line of the log."""
    future.add_done_callback(_log_failure)


def _log_failure(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and future.exception() is not None:
        logger.debug("in the background: %s", future.exception())


class Connecting:
    """What connect() returns: await it, or `async with` it, which closes the store in the end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._store: Optional[Store] = None

    async def _connect(self) -> Store:
        config = self._config._copy()
        return Store(await Engine.open(config.dsn, config._options()), config)

    def __await__(self) -> Generator[Any, None, Store]:
        return self._connect().__await__()

    async def __aenter__(self) -> Store:
        self._store = await self._connect()
        return self._store

    async def __aexit__(self, *exc_info: object) -> None:
        if self._store is not None:
            await self._store.close()


def connect(dsn: str) -> Connecting:
    """Connect to a database; never installs.

        store = await pgqrs.connect("postgresql://localhost/mydb")
        async with pgqrs.connect("sqlite:///tmp/app.db") as store: ...

    Raises ConfigError for a DSN that is none, PgqrsConnectionError when nobody answers within 10 s.
    A missing SQLite file is created.
    """
    return Connecting(Config(dsn))


def connect_with(config: Config) -> Connecting:
    """The same, with settings. The store keeps those that it was connected with."""
    return Connecting(config)


# --- Admin -------------------------------------------------------------------------------------------


class Admin:
    """What an administrator does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def install(self) -> None:
        """Create or upgrade the tables. Safe to run again, and by many processes at once."""
        await self._store.bootstrap()

    async def verify(self) -> None:
        """Raise ConfigError, naming the first difference, unless the tables are there, complete and
        unchanged. What endangers the guarantees on this database is logged as warnings."""
        engine = self._store._engine
        await engine.submit(lib.pgqrs_batch_verify, alone=True)
        for warning in await engine.blocking(_warnings, engine):
            logger.warning("%s", warning)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue or workflow with all its messages. StateTransitionError while one is leased."""
        queue = encoded(name, "queue name")
        await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_queue_delete(batch, queue, False), alone=True
        )

    async def release_worker_messages(self, worker_id: int) -> int:
        """Make visible now what a worker leases or has paused; how many that were."""
        return await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_worker_release(batch, worker_id),
            lib.pgqrs_batch_number,
            alone=True,
        )

    async def create_workflow(self, name: str, arg: Any) -> Run:
        """Create a workflow unless it exists, start a run of it with this input, and open the run."""
        from ._runs import ensure_workflow, open_run

        await ensure_workflow(self._store, name)
        run = await self._store._enqueue(encoded(name, "workflow name"), arg, workflow=True)
        return await open_run(self._store, run)


def _warnings(engine: Engine) -> List[str]:
    out = ffi.new("pgqrs_description **")
    check(lambda error: lib.pgqrs_store_describe(engine.handle, out, error))
    found = [text(out[0].warnings[n]) for n in range(out[0].warnings_count)]
    lib.pgqrs_description_free(out[0])
    return found


def admin(store: Store) -> Admin:
    """The same as Admin(store)."""
    return Admin(store)


# --- Producer and consumer ---------------------------------------------------------------------------


class _Worker:
    """A worker that was registered."""

    def __init__(self, store: Store, queue: str, worker_id: int) -> None:
        self._store = store
        self._queue = encoded(queue, "queue name")
        self._stopped = False
        self._id = worker_id
        self.queue = queue
        store._workers.add(self)

    @property
    def worker_id(self) -> int:
        """Its id in the list of workers."""
        return self._id


class Producer(_Worker):
    """Puts messages into a queue."""

    async def enqueue(self, payload: Any) -> int:
        """Put a message into the queue; its id. The payload is anything that JSON holds.

        Once this returns the message is delivered at least once, whatever crashes. Raises
        SerializationError, ValidationError, RateLimitedError: then nothing was written.
        """
        self._store._beat()
        return await self._store._enqueue(self._queue, payload, producer=self._id)

    async def enqueue_delayed(self, payload: Any, delay_seconds: float) -> int:
        """The same; it is delivered so many seconds later."""
        self._store._beat()
        delay_us = duration(delay_seconds, "delay_seconds")
        return await self._store._enqueue(self._queue, payload, producer=self._id, delay_us=delay_us)

    async def enqueue_batch(self, payloads: Sequence[Any]) -> List[int]:
        """Put up to 10,000 messages into the queue, in order: all of them, or none."""
        self._store._beat()
        return await self._store._enqueue_many(self._queue, payloads, self._id)


class Consumer(_Worker):
    """Takes messages out of a queue. It finishes what it holds by id: of a message that it does not
    hold, or no longer, it answers False and changes nothing."""

    def __init__(self, store: Store, queue: str, worker_id: int) -> None:
        super().__init__(store, queue, worker_id)
        self._interrupted = False
        self._on_interrupt: Optional[Callable[[], None]] = None

    async def status(self) -> WorkerStatus:
        """What the list of workers says of it."""
        return await self._store._status(self._id)

    async def interrupt(self) -> None:
        """End its poll, which raises then; the status is Suspended after that. Without one, the next
        one ends at once."""
        await self._store._set_status(self._id, lib.PGQRS_WORKER_INTERRUPTED)
        self._interrupted = True
        if self._on_interrupt is not None:
            self._on_interrupt()

    # --- Taking ---

    async def dequeue(self, batch_size: int = 1) -> List[QueueMessage]:
        """Lease up to batch_size messages, in queue order, for Config.default_lock_time_seconds, else
        30 s. An empty list when there is none: it does not wait."""
        self._store._beat()
        return await self._store._claim(self._queue, batch_size, owner=self._id)

    async def dequeue_many_with_delay(self, limit: int, vt: float) -> List[QueueMessage]:
        """The same, leased for vt seconds."""
        self._store._beat()
        return await self._store._claim(self._queue, limit, owner=self._id, lease_us=_lease(vt))

    async def dequeue_at(self, limit: int, vt: float, current_time: Time) -> List[QueueMessage]:
        """The same, as of a time: what is due, and which leases have passed, is judged by it."""
        self._store._beat()
        now_us = microseconds(current_time, "current_time")
        return await self._store._claim(
            self._queue, limit, owner=self._id, lease_us=_lease(vt), now_us=now_us
        )

    # --- Finishing ---

    def _hold(self, message_id: int) -> Optional[Hold]:
        hold = self._store._holds.get(message_id)
        return hold if hold is not None and hold.owner == self._id else None

    async def _finish(self, message_id: int, add: Callable[[Any, Any], int]) -> bool:
        self._store._beat()
        hold = self._hold(message_id)
        if hold is None or not hold.held():
            return False
        held = await self._store._engine.submit(
            lambda batch: add(batch, hold.lease()), answers=HELD, keep=hold
        )
        self._store._forget(hold)
        return held

    async def _finish_many(
        self, message_ids: Sequence[int], add: Callable[[Any, Any], int], of_ended: bool
    ) -> List[bool]:
        """Finish each one that is held; `of_ended` is the answer for a run that has ended."""
        self._store._beat()
        answers: Dict[int, bool] = {}
        holds: List[Hold] = []
        for message_id in dict.fromkeys(message_ids):
            hold = self._hold(message_id)
            if hold is not None and hold.ended:
                answers[message_id] = of_ended
                if of_ended:
                    self._store._forget(hold)
            elif hold is not None and hold.held():
                holds.append(hold)

        def add_all(batch: Any) -> int:
            return [add(batch, hold.lease()) for hold in holds][0]

        def take(batch: Any, first: int) -> None:
            problem = None
            for at, hold in enumerate(holds, first):
                status = lib.pgqrs_batch_status(batch, at)
                if status in HELD:
                    answers[hold.id] = HELD[status]
                    self._store._forget(hold)
                else:
                    problem = problem or exception(lib.pgqrs_batch_error(batch, at))
            if problem is not None:
                raise problem

        if holds:
            await self._store._engine.submit(add_all, take, keep=holds, many=True)
        return [answers.pop(message_id, False) for message_id in message_ids]

    async def archive(self, message_id: int) -> bool:
        """The work is done: keep the message in the archive. True also of a run that has ended, which
        put its message there itself."""
        hold = self._hold(message_id)
        if hold is not None and hold.ended:
            self._store._forget(hold)
            return True
        return await self._finish(message_id, lib.pgqrs_batch_archive)

    async def archive_many(self, message_ids: Sequence[int]) -> List[bool]:
        """The same for each of them, in one commit."""
        return await self._finish_many(message_ids, lib.pgqrs_batch_archive, True)

    async def delete(self, message_id: int) -> bool:
        """The work is done: leave no trace of the message."""
        hold = self._hold(message_id)
        if hold is not None and hold.ended:
            return False  # it is in the archive
        return await self._finish(message_id, lib.pgqrs_batch_delete)

    async def delete_many(self, message_ids: Sequence[int]) -> List[bool]:
        """The same for each of them, in one commit."""
        return await self._finish_many(message_ids, lib.pgqrs_batch_delete, False)

    async def extend_vt(self, message_id: int, seconds: float) -> bool:
        """Let the lease of one message last so many seconds from now."""
        self._store._beat()
        lease_us = max(1, _lease(seconds))
        hold = self._hold(message_id)
        if hold is None or hold.ended or not hold.held():
            return False
        return await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_extend(batch, hold.lease(), lease_us), answers=HELD, keep=hold
        )

    async def release_with_visibility(self, message_id: int, visible_at: Time) -> bool:
        """Give a message back, to be delivered again from a time on. The delivery is not counted."""
        at_us = microseconds(visible_at, "visible_at")
        return await self._finish(
            message_id,
            lambda batch, message: lib.pgqrs_batch_release(batch, message, options("release", at_us=at_us)),
        )

    async def release_messages(self, message_ids: Sequence[int]) -> int:
        """Give messages back, to be delivered again now, uncounted; how many it held."""
        return sum(await self._finish_many(message_ids, _release_now, False))


def _release_now(batch: Any, message: Any) -> int:
    number: int = lib.pgqrs_batch_release(batch, message, NULL)
    return number


def _lease(seconds: float) -> int:
    return duration(seconds, "a lease")


class WorkerBuilder:
    """`consumer(name, queue)` and `producer(name, queue)`: a worker with a name, not yet registered."""

    def __init__(self, kind: str, name: str, arguments: Sequence[Union[int, str]]) -> None:
        if not 1 <= len(arguments) <= 2 or not isinstance(arguments[-1], str):
            raise TypeError("%s(name, [port,] queue): the queue is missing" % kind)
        self._kind = kind
        self._name = name
        self._queue = arguments[-1]


class ConsumerBuilder(WorkerBuilder):
    """See consumer()."""

    async def create(self, store: Store) -> Consumer:
        """Register it. A name that is taken is taken over, with its id. QueueNotFoundError."""
        return await store.consumer(self._queue, name=self._name)


class ProducerBuilder(WorkerBuilder):
    """See producer()."""

    async def create(self, store: Store) -> Producer:
        """Register it. A name that is taken is taken over, with its id. QueueNotFoundError."""
        return await store.producer(self._queue, name=self._name)


def consumer(name: str, *port_and_queue: Union[int, str]) -> ConsumerBuilder:
    """`await consumer("worker-1", "tasks").create(store)`; a port before the queue is ignored."""
    return ConsumerBuilder("consumer", name, port_and_queue)


def producer(name: str, *port_and_queue: Union[int, str]) -> ProducerBuilder:
    """`await producer("worker-1", "tasks").create(store)`; a port before the queue is ignored."""
    return ProducerBuilder("producer", name, port_and_queue)


# --- Functions ---------------------------------------------------------------------------------------


async def produce(store: Store, queue: str, payload: Any) -> int:
    """Put a message into a queue; its id. Registers nobody."""
    return await store._enqueue(encoded(queue, "queue name"), payload)


async def produce_batch(store: Store, queue: str, payloads: Sequence[Any]) -> List[int]:
    """Put messages into a queue, in order: all of them, or none."""
    return await store._enqueue_many(encoded(queue, "queue name"), payloads)


async def enqueue(producer: Producer, payload: Any) -> int:
    """The same as producer.enqueue()."""
    return await producer.enqueue(payload)


async def enqueue_batch(producer: Producer, payloads: Sequence[Any]) -> List[int]:
    """The same as producer.enqueue_batch()."""
    return await producer.enqueue_batch(payloads)


async def enqueue_delayed(producer: Producer, payload: Any, seconds: float) -> int:
    """The same as producer.enqueue_delayed()."""
    return await producer.enqueue_delayed(payload, seconds)


def _id(message: Union[QueueMessage, int]) -> int:
    return message if isinstance(message, int) else message.id


async def archive(consumer: Consumer, message: Union[QueueMessage, int]) -> bool:
    """The same as consumer.archive(message.id)."""
    return await consumer.archive(_id(message))


async def archive_batch(consumer: Consumer, messages: Sequence[Union[QueueMessage, int]]) -> bool:
    """Archive them; True when it held all of them."""
    return all(await consumer.archive_many([_id(message) for message in messages]))


async def delete(consumer: Consumer, message: Union[QueueMessage, int]) -> bool:
    """The same as consumer.delete(message.id)."""
    return await consumer.delete(_id(message))


async def extend_vt(consumer: Consumer, message: Union[QueueMessage, int], seconds: float) -> bool:
    """The same as consumer.extend_vt(message.id, seconds)."""
    return await consumer.extend_vt(_id(message), seconds)

