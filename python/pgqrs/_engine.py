"""The one module that calls the library: stores, what is submitted to them, and threads.

Nothing else imports `_native` except to name functions of `lib` and read what they hand out. How it
is used:

    engine = await Engine.open("sqlite:///tmp/x.db", Options(schema=None), install=True)

    id = await engine.submit(                         # an operation that has a pgqrs_batch_ form
        lambda batch: lib.pgqrs_batch_enqueue(batch, b"tasks", b'{"n":1}', ffi.NULL),
        lib.pgqrs_batch_id,                           # its result: take(batch, operation)
    )
    held = await engine.submit(                       # statuses that are answers, not errors
        lambda batch: lib.pgqrs_batch_archive(batch, message),
        answers={lib.PGQRS_OK: True, lib.PGQRS_ELEASE: False},
    )

- `add(batch)` returns the number of the operation. It runs once, in the loop's thread, when the tick
  ends: what it passes needs to live until it returns. What is awaited in one tick of a loop is sent
  as one batch of independent operations, which share commits and nothing else. `submit()` returns a
  Future: it may be awaited later, or gathered.
- An awaiter that is cancelled before the tick ends has sent nothing. After that the operation
  happens; `undo(result)` is told of a result that nobody waits for (a claim gives its messages back).
- `many=True`: `add` adds several operations, one after the other, and returns the first one's number;
  `take` reads the status of each, and raises by `exception()`. One Future instead of many.
- `alone=True`: a batch of its own, for what is not one quick statement. `waits=True`: also alone,
  and a cancelled awaiter ends the wait.
- `keep`: handles (runs, steps) that must live until it is done. `add` and `take` are kept anyway.
- A call without a batch form, or that must block, goes to a thread: `await engine.blocking(f, *args)`
  runs `f` in a thread of its own, `Lane` is one thread for a sequence of calls (a transactional
  step: everything of it in one Lane). All of them are daemon threads; in `f`, use `check()`:

    def describe():
        out = ffi.new("pgqrs_description **")
        check(lambda error: lib.pgqrs_store_describe(engine.handle, out, error))

- What an operation needs may be checked before it is submitted: `raise failure(status, text, hint=...)`.
- What never waits for the database (`pgqrs_lease_keep`, `pgqrs_run_from`, …) goes through
  `engine.direct(lambda store: ...)`, so that nobody closes the store meanwhile.
- Handles that must be freed before the store is closed (runs, workers) are registered:
  `owned = engine.own(cdata, lib.pgqrs_run_free)`; `owned.cdata` until `owned.free()`, which the
  garbage collector calls as well. `engine.close()` frees what is left.
- While the ContextVar `in_transaction` holds an engine, submitting to that engine is refused at
  once with code EBUSY: it would wait for the transaction that the caller has open.
- Each engine belongs to the process that opened it: after fork() everything is refused with code
  EFORK. Any number of loops in any number of threads may share one.

`Clock` is a clock for tests; `text()`, `texts()` and `options()` convert to and from C.
Every Python from 3.8 on runs this: annotations may be modern, expressions may not.
"""

from __future__ import annotations

import asyncio
import atexit
import glob
import importlib.util
import logging
import os
import queue
import sys
import threading
import time
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Callable, Dict, Generic, List, Mapping, Optional, Set, Tuple, Type, TypeVar

from . import _errors
from ._errors import PgqrsError
from ._native import ffi as ffi, lib as lib

T = TypeVar("T")
Add = Callable[[Any], int]
Loop = asyncio.AbstractEventLoop

NULL = ffi.NULL
SECOND = 1_000_000
FOREVER: int = lib.PGQRS_FOREVER

logger = logging.getLogger("pgqrs")

in_transaction: ContextVar[Optional["Engine"]] = ContextVar("pgqrs_in_transaction", default=None)


# --- SQLite ------------------------------------------------------------------------------------------


def _load_sqlite() -> Optional[str]:
    """Use the copy of SQLite that Python's own sqlite3 module uses; None, or why there is none.

    Two copies in one process on one file would lose acknowledged commits: closing the file in one
    drops the locks of the other. Where the module's copy cannot be reached (linked into it, its
    names hidden), the system's is used, and `verify` warns of the two.
    """
    if not hasattr(lib, "pgqrs_py_sqlite_load"):
        return "this build is without SQLite"
    places: List[Any] = []
    try:
        import _sqlite3

        path = getattr(_sqlite3, "__file__", None)
        places.append(os.fsencode(path) if path is not None else NULL)
    except ImportError:
        pass
    places += [b"libsqlite3.so.0", b"libsqlite3.so"]
    missing = ""
    for place in places:
        found = lib.pgqrs_py_sqlite_load(place)
        if found == NULL:
            return None
        missing = text(found)
    return "no SQLite library was found (%s)" % missing


# --- To and from C -----------------------------------------------------------------------------------


def text(pointer: Any) -> str:
    """A C string as str."""
    decoded: str = ffi.string(pointer).decode("utf-8", "replace")
    return decoded


def maybe(pointer: Any) -> Optional[str]:
    """A C string as str, or None for NULL."""
    return None if pointer == NULL else text(pointer)


def encoded(value: str, what: str) -> bytes:
    """A str for C. ValidationError when it cannot be one."""
    try:
        data = value.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise failure(
            lib.PGQRS_EINVAL, "the %s holds a lone surrogate" % what, hint="Give text that is UTF-8."
        ) from problem
    if b"\0" in data:
        raise failure(lib.PGQRS_EINVAL, "the %s holds a NUL character" % what, hint="Leave it out.")
    return data


def options(noun: str, **fields: Any) -> Any:
    """A pgqrs_<noun>_options with these fields; None leaves the default. Strings are bytes and must
    be kept by the caller as long as the struct is used: the struct holds them too."""
    struct = ffi.new("pgqrs_%s_options *" % noun)
    struct.struct_size = ffi.sizeof(struct[0])
    kept = []
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, bytes):
            value = ffi.new("char[]", value)
            kept.append(value)
        setattr(struct, name, value)
    if kept:
        _kept[struct] = kept
    return struct


_kept: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


# --- Errors ------------------------------------------------------------------------------------------

_OBJECTS: Dict[int, Type[PgqrsError]] = {
    lib.PGQRS_OBJECT_WORKER: _errors.WorkerNotFoundError,
    lib.PGQRS_OBJECT_MESSAGE: _errors.MessageNotFoundError,
    lib.PGQRS_OBJECT_RUN: _errors.MessageNotFoundError,
    lib.PGQRS_OBJECT_STEP: _errors.MessageNotFoundError,
}
_STATUSES: Dict[int, Type[PgqrsError]] = {
    lib.PGQRS_EINVAL: _errors.ValidationError,
    lib.PGQRS_ECONFIG: _errors.ConfigError,
    lib.PGQRS_ENOTFOUND: _errors.QueueNotFoundError,
    lib.PGQRS_EEXISTS: _errors.QueueAlreadyExistsError,
    lib.PGQRS_ESTATE: _errors.StateTransitionError,
    lib.PGQRS_ELEASE: _errors.StateTransitionError,
    lib.PGQRS_ECANCELLED: _errors.StateTransitionError,
    lib.PGQRS_EPAUSED: _errors.PausedError,
    lib.PGQRS_ENOTREADY: _errors.StepNotReadyError,
    lib.PGQRS_EEXHAUSTED: _errors.RetriesExhaustedError,
    lib.PGQRS_ERATE: _errors.RateLimitedError,
    lib.PGQRS_EJSON: _errors.SerializationError,
    lib.PGQRS_ESCHEMA: _errors.ConfigError,
    lib.PGQRS_ECONN: _errors.PgqrsConnectionError,
    lib.PGQRS_ETIMEDOUT: _errors.TimeoutError,
    lib.PGQRS_EDB: _errors.InternalError,
    lib.PGQRS_ENOMEM: _errors.InternalError,
    lib.PGQRS_EINTERNAL: _errors.InternalError,
}


def failure(status: int, message: str, *, detail: str = "", hint: str = "", object: int = 0) -> PgqrsError:
    """The exception for a status of the library."""
    kind = _STATUSES.get(status, PgqrsError)
    if status == lib.PGQRS_ENOTFOUND:
        kind = _OBJECTS.get(object, kind)
    error = kind("%s (%s)" % (message, detail) if detail else message)
    error.code = text(lib.pgqrs_status_name(status))
    error.detail = detail
    error.hint = hint
    if hint and hasattr(error, "add_note"):
        error.add_note("hint: " + hint)
    return error


def exception(error: Any) -> PgqrsError:
    """The exception for what a pgqrs_error says."""
    made = failure(
        error.status,
        text(error.message) or text(lib.pgqrs_status_text(error.status)),
        detail=text(error.detail),
        hint=text(error.hint),
        object=error.object,
    )
    made.sqlstate = text(error.sqlstate)
    made.retryable = bool(error.flags & lib.PGQRS_RETRYABLE)
    made.maybe_applied = bool(error.flags & lib.PGQRS_MAYBE_APPLIED)
    return made


def check(call: Callable[[Any], int], *accepted: int) -> int:
    """Call the library with an error to fill; its status, when that is OK or accepted, else raise."""
    error = ffi.new("pgqrs_error *")
    status = call(error)
    if status != lib.PGQRS_OK and status not in accepted:
        raise exception(error)
    return status


# --- Log and clock -----------------------------------------------------------------------------------

_LEVELS = {0: logging.DEBUG, 1: logging.INFO, 2: logging.WARNING, 3: logging.ERROR}


def _carry_log() -> None:
    line = ffi.new("char[512]")
    dropped = ffi.new("int64_t *")
    while True:
        before = dropped[0]
        level = lib.pgqrs_py_log_wait(line, 512, dropped)
        try:
            if dropped[0] != before:
                logger.warning("%d lines of the log were lost: it came faster than it was read", dropped[0] - before)
            if level >= 0:
                logger.log(_LEVELS.get(level, logging.INFO), "%s", text(line))
        except Exception:  # a handler of the user's that raises must not end the log
            pass


class Clock:
    """A clock for tests: every time that a store looks at, its leases' too, in seconds.

    It stands still until `advance()`. `start` is seconds since 1970; None: the time it is made at.
    With `stands=False` it runs, and `advance()` makes it jump.
    """

    def __init__(self, start: Optional[float] = None, *, stands: bool = True) -> None:
        self._clock = ffi.new("pgqrs_py_clock *")
        self._clock.stands = stands
        now = time.time() if start is None else start
        self._clock.wall_us = int(now * SECOND) if stands else int((now - time.time()) * SECOND)
        self._clock.monotonic_us = 1_000_000_000_000 if stands else 0

    def now(self) -> float:
        """Seconds since 1970."""
        return float(lib.pgqrs_py_clock_wall(self._clock)) / SECOND

    def monotonic_us(self) -> int:
        """The clock that judges leases held by this process, in microseconds."""
        return int(lib.pgqrs_py_clock_monotonic(self._clock))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        lib.pgqrs_py_clock_advance(self._clock, int(seconds * SECOND))


# --- Threads -----------------------------------------------------------------------------------------


def _resolve(future: "asyncio.Future[Any]", result: Any, problem: Optional[BaseException]) -> None:
    if future.cancelled():
        return
    if problem is not None:
        future.set_exception(problem)
    else:
        future.set_result(result)


def _tell(loop: Loop, future: "asyncio.Future[Any]", result: Any, problem: Optional[BaseException]) -> None:
    try:
        loop.call_soon_threadsafe(_resolve, future, result, problem)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits
        pass


class Lane:
    """One daemon thread for a sequence of blocking calls, which run in the order they were made.

    A cancelled awaiter does not stop its call: the next one runs after it.
    """

    def __init__(self, name: str = "pgqrs-lane") -> None:
        self._calls: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=_run_lane, args=(self._calls,), name=name, daemon=True)
        self._thread.start()

    @property
    def ident(self) -> Optional[int]:
        """The thread's identity, as threading.get_ident() gives it there."""
        return self._thread.ident

    def call(self, function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        """Run it in the thread; the Future, of the running loop, is its result."""
        if self._closed:
            raise failure(lib.PGQRS_ESTATE, "the thread was ended before")
        loop = asyncio.get_running_loop()
        future: "asyncio.Future[T]" = loop.create_future()
        self._calls.put((function, arguments, loop, future))
        return future

    def call_blocking(self, function: Callable[..., T], *arguments: Any) -> T:
        """The same without a loop: waits for the result."""
        if self._closed:
            raise failure(lib.PGQRS_ESTATE, "the thread was ended before")
        done: "queue.SimpleQueue[Tuple[Any, Optional[BaseException]]]" = queue.SimpleQueue()
        self._calls.put((function, arguments, None, done))
        result, problem = done.get()
        if problem is not None:
            raise problem
        returned: T = result
        return returned

    def close(self) -> None:
        """End the thread when what was called has run. Does not wait."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)

    def __del__(self) -> None:
        self.close()


def _run_lane(calls: "queue.SimpleQueue[Any]") -> None:
    while True:
        call = calls.get()
        if call is None:
            return
        function, arguments, loop, waiting = call
        result, problem = None, None
        try:
            result = function(*arguments)
        except BaseException as raised:  # it belongs to whoever waits, whatever it is
            problem = raised
        if loop is None:
            waiting.put((result, problem))
        else:
            _tell(loop, waiting, result, problem)
        del call, function, arguments, loop, waiting, result, problem  # not kept until the next call


def in_thread(function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
    """Run a blocking function in a daemon thread of its own; the Future, of the running loop, is its
    result. A daemon thread never keeps the interpreter from ending."""
    lane = Lane("pgqrs-call")
    future = lane.call(function, *arguments)
    lane.close()
    return future


# --- Completions: one for each event loop ------------------------------------------------------------


class _Operation:
    __slots__ = ("engine", "add", "take", "answers", "undo", "keep", "future", "many", "index")

    def __init__(
        self,
        engine: "Engine",
        add: Add,
        take: Optional[Callable[[Any, int], Any]],
        answers: Optional[Mapping[int, Any]],
        undo: Optional[Callable[[Any], None]],
        keep: Any,
        future: "asyncio.Future[Any]",
        many: bool = False,
    ) -> None:
        self.engine = engine
        self.add = add
        self.take = take
        self.answers = answers
        self.undo = undo
        self.keep = keep
        self.future = future
        self.many = many
        self.index = 0

    def settle(self, batch: Any) -> None:
        """Hand the result to whoever waits; to `undo` when nobody does."""
        status = lib.pgqrs_batch_status(batch, self.index)
        future = self.future
        if future.done() and (self.undo is None or status != lib.PGQRS_OK):
            return
        try:
            if self.many and self.take is not None:
                result = self.take(batch, self.index)
            elif self.answers is not None and status in self.answers:
                result = self.answers[status]
            elif status == lib.PGQRS_OK:
                result = None if self.take is None else self.take(batch, self.index)
            else:
                raise exception(lib.pgqrs_batch_error(batch, self.index))
        except BaseException as problem:
            if not future.done():
                future.set_exception(problem)
            return
        if not future.done():
            future.set_result(result)
        elif self.undo is not None:
            self.undo(result)


class _Sent:
    """A batch that is under way."""

    __slots__ = ("batch", "operations", "state")

    def __init__(self, batch: Any, operations: List[_Operation], state: Optional["_State"]) -> None:
        self.batch = batch
        self.operations = operations
        self.state = state


class _Completions:
    """Where what was submitted from one loop comes back."""

    def __init__(self, loop: Loop) -> None:
        out = ffi.new("pgqrs_completions **")
        check(lambda error: lib.pgqrs_completions_new(out, error))
        self.handle = out[0]
        self.pid = os.getpid()
        self.loop = weakref.ref(loop)
        self.together: Dict["Engine", List[_Operation]] = {}
        self.apart: List[Tuple[_Operation, bool]] = []
        self.under_way: Dict[int, _Sent] = {}
        self.last = 0
        loop.add_reader(lib.pgqrs_completions_fd(self.handle), self.take)

    def add(self, operation: _Operation, alone: bool, waits: bool) -> None:
        if not self.together and not self.apart:
            operation.future.get_loop().call_soon(self.send)
        if alone or waits:
            self.apart.append((operation, waits))
        else:
            self.together.setdefault(operation.engine, []).append(operation)

    def send(self) -> None:
        """The tick has ended: submit what was gathered."""
        together, self.together = self.together, {}
        apart, self.apart = self.apart, []
        for engine, operations in together.items():
            self._submit(engine, operations, False)
        for operation, waits in apart:
            self._submit(operation.engine, [operation], waits)

    def _submit(self, engine: "Engine", operations: List[_Operation], waits: bool) -> None:
        operations = [operation for operation in operations if not operation.future.done()]
        if not operations:
            return
        try:
            state = engine._enter()
        except PgqrsError as problem:
            for operation in operations:
                operation.future.set_exception(problem)
            return
        batch = lib.pgqrs_batch_new(state.store)
        lib.pgqrs_batch_independent(batch)
        sent = []
        for operation in operations:
            try:
                operation.index = operation.add(batch)
            except BaseException as problem:
                operation.future.set_exception(problem)
                continue
            sent.append(operation)
        if not sent:
            lib.pgqrs_batch_free(batch)
            state.leave()
            return
        self.last += 1
        token = self.last
        try:
            check(
                lambda error: lib.pgqrs_batch_submit(batch, self.handle, ffi.cast("void *", token), error)
            )
        except BaseException as problem:
            lib.pgqrs_batch_free(batch)
            state.leave()
            for operation in sent:
                operation.future.set_exception(problem)
            return
        self.under_way[token] = _Sent(batch, sent, state)
        if waits:
            sent[0].future.add_done_callback(lambda _: self.hurry(token))

    def hurry(self, token: int) -> None:
        """End the waits of a batch, if it is still under way."""
        sent = self.under_way.get(token)
        if sent is not None:
            lib.pgqrs_batch_hurry(sent.batch)

    def open(self, call: Callable[[Any, Any], int], operation: _Operation) -> None:
        """Submit an open: it makes its own batch."""
        self.last += 1
        token = self.last
        check(lambda error: call(ffi.cast("void *", token), error))
        self.under_way[token] = _Sent(NULL, [operation], None)

    def take(self) -> None:
        """Settle what came back."""
        user_data = ffi.new("void **")
        while True:
            batch = lib.pgqrs_completions_next(self.handle, user_data)
            if batch == NULL:
                return
            sent = self.under_way.pop(int(ffi.cast("uintptr_t", user_data[0])))
            try:
                for operation in sent.operations:
                    operation.settle(batch)
            finally:
                lib.pgqrs_batch_free(batch)
                if sent.state is not None:
                    sent.state.leave()

    def abandon(self) -> bool:
        """The loop is gone: end waits, settle what is here. True once nothing is under way."""
        for token in list(self.under_way):
            for operation in self.under_way[token].operations:
                operation.future = _Nobody()  # type: ignore[assignment]
            if self.under_way[token].batch != NULL:
                self.hurry(token)
        self.take()
        return not self.under_way

    def free(self) -> None:
        handle, self.handle = self.handle, NULL
        if handle != NULL:
            lib.pgqrs_completions_free(handle)


class _Nobody:
    """In place of the Future of a loop that is gone."""

    def done(self) -> bool:
        return True


_lock = threading.Lock()
_loops: "weakref.WeakKeyDictionary[Loop, _Completions]" = weakref.WeakKeyDictionary()
_abandoned: List[_Completions] = []
_here = threading.local()


def _completions() -> _Completions:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    known: Optional[Tuple[Any, _Completions]] = getattr(_here, "known", None)
    if known is not None and known[0]() is loop:
        return known[1]
    with _lock:
        found = _loops.get(loop)
        if found is None:
            found = _Completions(loop)
            _loops[loop] = found
            weakref.finalize(loop, _abandoned.append, found).atexit = False
    _sweep()
    _here.known = (weakref.ref(loop), found)
    return found


def _sweep() -> bool:
    """Look after what loops that are gone have left behind. True when something is still under way."""
    with _lock:
        for loop in [loop for loop in _loops if loop.is_closed()]:
            _abandoned.append(_loops.pop(loop))
        gone, _abandoned[:] = list(dict.fromkeys(_abandoned)), []
    left = []
    for completions in gone:
        if completions.handle == NULL:
            continue
        if completions.pid != os.getpid() or completions.abandon():
            completions.free()
        else:
            left.append(completions)
    with _lock:
        _abandoned.extend(left)
    return bool(left)


# --- Stores ------------------------------------------------------------------------------------------


@dataclass
class Options:
    """How a store is opened; None is the library's default. See pgqrs_store_options in pgqrs.h."""

    schema: Optional[str] = None
    max_connections: Optional[int] = None
    connect_timeout_us: Optional[int] = None
    timeout_us: Optional[int] = None
    max_payload_bytes: Optional[int] = None
    max_depth: Optional[int] = None
    lease_us: Optional[int] = None
    max_attempts: Optional[int] = None
    max_transactions: Optional[int] = None
    pooled: Optional[bool] = None
    listen_dsn: Optional[str] = None
    clock: Optional[Clock] = None

    def _struct(self) -> Any:
        struct = options(
            "store",
            schema=None if self.schema is None else encoded(self.schema, "schema"),
            max_connections=self.max_connections,
            connect_timeout_us=self.connect_timeout_us,
            timeout_us=self.timeout_us,
            max_payload_bytes=self.max_payload_bytes,
            max_depth=self.max_depth,
            lease_us=self.lease_us,
            max_attempts=self.max_attempts,
            max_transactions=self.max_transactions,
            pooled=None if self.pooled is None else int(self.pooled),
            listen_dsn=None if self.listen_dsn is None else encoded(self.listen_dsn, "listen_dsn"),
        )
        lib.pgqrs_py_options(struct, NULL if self.clock is None else self.clock._clock)
        return struct


class Owned(Generic[T]):
    """A handle of the library that is freed once: by free(), by the garbage collector, or before its
    store is closed; `cdata` is NULL from then on."""

    __slots__ = ("cdata", "_state", "_free", "__weakref__")

    def __init__(self, state: "_State", cdata: Any, free: Callable[[Any], None]) -> None:
        self.cdata = cdata
        self._state = state
        self._free = free
        with state.lock:
            state.frees[self._key()] = (cdata, free)

    def _key(self) -> int:
        return int(ffi.cast("uintptr_t", self.cdata))

    @property
    def freed(self) -> bool:
        """Whether it, or its store, is gone."""
        return bool(self.cdata == NULL or self._key() not in self._state.frees)

    def free(self) -> None:
        """Free it now. Nothing that was submitted with it may be under way."""
        if self.cdata == NULL:
            return
        self._state.free(self._key())
        self.cdata = NULL

    def __del__(self) -> None:
        if sys is not None and not sys.is_finalizing():
            self.free()


class _State:
    """What is left to do for a store when nobody refers to it any more."""

    def __init__(self, store: Any, clock: Optional[Clock]) -> None:
        self.store = store
        self.clock = clock  # its threads look at it until it is closed
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.idle = threading.Condition(self.lock)
        self.under_way = 0
        self.closing = False
        self.closed = threading.Event()
        self.frees: Dict[int, Tuple[Any, Callable[[Any], None]]] = {}

    def leave(self) -> None:
        with self.lock:
            self.under_way -= 1
            if self.under_way == 0:
                self.idle.notify_all()

    def free(self, key: int) -> None:
        with self.lock:  # the store must not be closed meanwhile
            entry = self.frees.pop(key, None)
            if entry is not None:
                entry[1](entry[0])

    def _wait(self) -> bool:
        """Whether nothing is under way; waits a little for it."""
        with self.lock:
            if self.under_way > 0:
                self.idle.wait(0.05)
            return self.under_way == 0

    def close(self) -> None:
        """Close the store, whoever comes first; the others wait. Blocks."""
        with self.lock:
            first = not self.closing
            self.closing = True
        if not first:
            self.closed.wait()
            return
        if self.pid == os.getpid():
            while not self._wait():
                _sweep()  # what loops that are gone have left comes back to nobody
            for key in list(self.frees):
                self.free(key)
        store, self.store = self.store, NULL
        lib.pgqrs_close(store)
        _open.discard(self)
        self.closed.set()


_open: Set[_State] = set()
_to_close: "queue.SimpleQueue[_State]" = queue.SimpleQueue()
_started: Set[str] = set()


def _start(name: str, target: Callable[[], None]) -> None:
    """Start a daemon thread of the process, once."""
    with _lock:
        if name in _started:
            return
        _started.add(name)
    threading.Thread(target=target, name=name, daemon=True).start()


def _close_forgotten() -> None:
    while True:
        state = _to_close.get()
        try:
            state.close()
        except Exception:
            logger.exception("could not close a store that nobody refers to any more")
        del state


class Engine:
    """An open store. See the head of this module."""

    def __init__(self, store: Any, clock: Optional[Clock] = None) -> None:
        """Take over a pgqrs_store *; `clock` is the one it was opened with, and lives as long."""
        self._state = _State(store, clock)
        self.clock = clock
        _open.add(self._state)
        _start("pgqrs-log", _carry_log)
        _start("pgqrs-close", _close_forgotten)
        # Called by the garbage collector, in any thread at any time: it must not wait.
        weakref.finalize(self, _to_close.put, self._state).atexit = False

    @classmethod
    async def open(cls, dsn: str, options: Optional[Options] = None, *, install: bool = False) -> "Engine":
        """Connect, and install if asked to. Raises ConfigError, PgqrsConnectionError, ..."""
        wanted = options or Options()
        _need_sqlite(dsn)
        _need_turso(dsn)
        name, struct = encoded(dsn, "DSN"), wanted._struct()
        completions = _completions()
        future: "asyncio.Future[Any]" = asyncio.get_running_loop().create_future()
        completions.open(
            lambda token, error: lib.pgqrs_open_submit(
                name, struct, install, completions.handle, token, error
            ),
            _Operation(
                None,  # type: ignore[arg-type]
                _never,
                lib.pgqrs_batch_take_store,
                None,
                lambda store: _to_close.put(_State(store, wanted.clock)),
                (wanted.clock, struct),
                future,
            ),
        )
        return cls(await future, wanted.clock)

    @classmethod
    def open_blocking(cls, dsn: str, options: Optional[Options] = None) -> "Engine":
        """The same without a loop, and without installing."""
        wanted = options or Options()
        _need_sqlite(dsn)
        _need_turso(dsn)
        name, struct = encoded(dsn, "DSN"), wanted._struct()
        out = ffi.new("pgqrs_store **")
        check(lambda error: lib.pgqrs_open(name, struct, out, error))
        return cls(out[0], wanted.clock)

    @property
    def handle(self) -> Any:
        """The pgqrs_store *, for blocking calls in a thread. Raises when the store is not usable."""
        state = self._state
        self._usable()
        return state.store

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._state.closing

    @property
    def usable(self) -> bool:
        """Whether it is open, and this process's."""
        return not self._state.closing and self._state.pid == os.getpid()

    def _usable(self) -> None:
        state = self._state
        if state.pid != os.getpid():
            raise failure(
                lib.PGQRS_EFORK,
                "the store was opened before fork()",
                hint="Open a store of its own in the child process.",
            )
        if state.closing:
            raise failure(lib.PGQRS_ESTATE, "the store is closed", hint="Connect again.", object=lib.PGQRS_OBJECT_STORE)

    def _enter(self) -> _State:
        """One more batch under way, until leave()."""
        state = self._state
        with state.lock:
            self._usable()
            state.under_way += 1
        return state

    def _outside(self) -> None:
        if in_transaction.get() is self:
            raise failure(
                lib.PGQRS_EBUSY,
                "a transactional step is open here: the store would wait for it, and it for the store",
                hint="Use the step's own methods inside it, or do this after it.",
            )

    def submit(
        self,
        add: Add,
        take: Optional[Callable[[Any, int], T]] = None,
        *,
        answers: Optional[Mapping[int, T]] = None,
        undo: Optional[Callable[[T], None]] = None,
        keep: Any = None,
        alone: bool = False,
        waits: bool = False,
        many: bool = False,
    ) -> "asyncio.Future[T]":
        """Send an operation with what else is awaited in this tick. See the head of this module."""
        self._usable()
        self._outside()
        completions = _completions()
        future: "asyncio.Future[T]" = asyncio.get_running_loop().create_future()
        completions.add(_Operation(self, add, take, answers, undo, keep, future, many), alone, waits)
        return future

    def direct(self, function: Callable[[Any], T]) -> T:
        """Call the library at once with the pgqrs_store *, for what never waits for the database
        (leases to be kept or not, handles to be made). The store is not closed meanwhile."""
        with self._state.lock:
            self._usable()
            return function(self._state.store)

    def blocking(self, function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        """Run a blocking function in a thread of its own. close() waits until it has ended."""
        state = self._enter()

        def call() -> T:
            try:
                return function(*arguments)
            finally:
                state.leave()

        return in_thread(call)

    def own(self, cdata: Any, free: Callable[[Any], None]) -> "Owned[Any]":
        """Register a handle that must be freed before the store is closed."""
        return Owned(self._state, cdata, free)

    async def close(self) -> None:
        """Let what is under way finish, and close. Again: waits for the same."""
        self._outside()
        if not self._state.closed.is_set():
            await asyncio.shield(in_thread(self._state.close))

    def close_blocking(self) -> None:
        """The same without a loop. Not in a thread whose loop has something under way."""
        self._state.close()


def _never(batch: Any) -> int:
    raise AssertionError("an open makes its own batch")


_sqlite_problem: Optional[str] = _load_sqlite()


def _need_sqlite(dsn: str) -> None:
    if _sqlite_problem is not None and dsn.startswith("sqlite:"):
        raise failure(lib.PGQRS_ECONFIG, _sqlite_problem, hint="Install SQLite, or a Python with the module sqlite3.")


def _need_turso(dsn: str) -> None:
    """Hand the library the engine inside the package `turso`, which `pip install pgqrs[turso]` brings.
    Without that package it looks where it always does; PGQRS_TURSO_LIBRARY goes before both."""
    if not dsn.startswith("turso:") or os.environ.get("PGQRS_TURSO_LIBRARY"):
        return
    package = importlib.util.find_spec("turso")
    for folder in (package and package.submodule_search_locations) or []:
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "_turso*.so"))):
            name = os.fsencode(path)
            check(lambda error: lib.pgqrs_turso_load(name, NULL, NULL, error))
            return


# --- The end of the process, and fork ----------------------------------------------------------------


@atexit.register
def _close_open() -> None:
    """Close what was left open, for at most 2 s: leases and connections are given back, and a
    database that does not answer keeps nobody waiting."""
    until = time.monotonic() + 2
    with _lock:
        for loop in [loop for loop in _loops if not loop.is_running()]:
            _abandoned.append(_loops.pop(loop))
    for state in list(_open):
        _to_close.put(state)
    for state in list(_open):
        state.closed.wait(max(0.0, until - time.monotonic()))


def _in_child() -> None:
    """Everything here is the parent's: forget it without a word to the library."""
    global _lock, _here, _to_close
    _lock = threading.Lock()
    _here = threading.local()
    _to_close = queue.SimpleQueue()
    _loops.clear()
    _abandoned.clear()
    _open.clear()
    _started.clear()


os.register_at_fork(after_in_child=_in_child)
