"""Workflows and steps as functions.

    @pgqrs.step(retry=pgqrs.StepRetryPolicy(max_attempts=5))
    async def charge(order: Order) -> Receipt: ...

    @pgqrs.workflow
    async def checkout(run: pgqrs.WorkflowRun, order: Order) -> Receipt:
        receipt = await charge(order)
        await run.sleep(3600)
        ...
        return receipt

    handle = await checkout.start(store, order, key="order-42")
    receipt = await handle.result()

What a step is called is decided where it is called, not when it is executed, so that steps which run
at once (`asyncio.gather`) are called the same in every execution. In the function of the workflow the
calls of a step are `f`, `f#2`, `f#3` in order; a task that calls steps itself has a numbering of its
own, and its number in the names: `f@1`, `f@1#2`, `f@2`, `f@2.1` in a task of a task.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import sys
import threading
from contextvars import ContextVar
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Awaitable,
    Callable,
    Coroutine,
    Dict,
    Generic,
    List,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
    overload,
)

from . import _engine, _errors, codec
from ._engine import NULL, encoded, failure, ffi, in_transaction, lib, maybe, options, text
from ._errors import PgqrsError, RetriesExhaustedError
from ._runs import Run, StepRetryPolicy, WorkflowBuilder, StepBuilder, ensure_workflow, run_record
from ._store import Hold, Store
from ._values import WorkflowStatus, duration

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    from ._transaction import Transaction

    P = ParamSpec("P")
else:
    P = TypeVar("P")

A = TypeVar("A")
R = TypeVar("R")
Retryable = Union[Type[BaseException], Tuple[Type[BaseException], ...]]

logger = logging.getLogger("pgqrs")

OUTAGES = ("ECONN", "ETIMEDOUT", "EBUSY", "EDB", "ESCHEMA", "ENOMEM", "ERATE")
"""What the library says of the database, not of the work."""


# --- What goes wrong ---------------------------------------------------------------------------------


class StepFailedError(RetriesExhaustedError):
    """A step has failed for good. In every execution of its run it is raised again, the same.

    code    the type of what the step raised, or the code that it gave
    step    its name, with its number
    error   what is recorded: {"code": ..., "message": ..., "is_transient": ...}
    """

    step: str = ""
    error: Dict[str, Any] = {}


class WorkflowFailedError(PgqrsError):
    """A run has ended in ERROR; code and message are its error's."""


class WorkflowCancelledError(PgqrsError):
    """A run was cancelled."""


class RunInterrupted(BaseException):
    """Ends an execution of a workflow function whose run is not at its end: it sleeps, waits for a
    retry, was lost to another worker or cancelled, or the database is away. Raised by what is awaited
    in the function; let it pass. No Exception, so `except Exception` does."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _step_failed(name: str, recorded: Optional[str], cause: Optional[BaseException] = None) -> StepFailedError:
    try:
        error = codec.decode(recorded or "{}")
    except PgqrsError:
        error = {}
    if not isinstance(error, dict):
        error = {"message": error}
    raised = StepFailedError('step "%s" failed: %s' % (name, error.get("message") or error.get("code") or "no reason was given"))
    raised.code = str(error.get("code") or "ERROR")
    raised.step = name
    raised.error = error
    raised.__cause__ = cause
    return raised


def code_of(error: BaseException) -> str:
    """The code under which an exception is recorded."""
    given = getattr(error, "code", None)
    return given if isinstance(given, str) and given else type(error).__name__


def c_text(value: object) -> bytes:
    """Text of an error for the database, whatever it holds."""
    return str(value).replace("\0", "\\0").encode("utf-8", "backslashreplace")


# --- Names -------------------------------------------------------------------------------------------


class _Scope:
    """Where steps are called: the function of a workflow, or a task that it has made."""

    __slots__ = ("execution", "owner", "path", "counts", "branches")

    def __init__(self, execution: "Execution", owner: object, path: str) -> None:
        self.execution = execution
        self.owner = owner
        self.path = path
        self.counts: Dict[str, int] = {}
        self.branches = 0

    def number(self, name: str) -> str:
        count = self.counts.get(name, 0) + 1
        self.counts[name] = count
        if self.path:
            name = "%s@%s" % (name, self.path)
        return name if count == 1 else "%s#%d" % (name, count)


_scope: ContextVar[Optional[_Scope]] = ContextVar("pgqrs_scope", default=None)
_step_handle: ContextVar[Any] = ContextVar("pgqrs_step", default=None)


def _owner() -> object:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task if task is not None else threading.current_thread()


def _here() -> Optional[_Scope]:
    """The scope of the caller; one of its own for a task that calls its first step."""
    scope = _scope.get()
    if scope is None:
        return None
    owner = _owner()
    if scope.owner is not owner:
        scope.branches += 1
        path = "%s.%d" % (scope.path, scope.branches) if scope.path else str(scope.branches)
        scope = _Scope(scope.execution, owner, path)
        _scope.set(scope)
    return scope


def idempotency_key() -> str:
    """In a step: a key for effects elsewhere, the same in every attempt of this step of this run."""
    step = _step_handle.get()
    if step is None:
        raise failure(lib.PGQRS_ESTATE, "no step is being executed here", hint="Call it in the function of a step of a run.")
    return text(lib.pgqrs_step_key(step))


def _check_name(name: str, what: str) -> str:
    encoded(name, what)
    if not name or "#" in name or "@" in name:
        raise ValueError('%s %r: "#" and "@" are for the numbers of names, and it is not empty' % (what, name))
    return name


# --- An execution ------------------------------------------------------------------------------------


class Execution:
    """One execution of the function of a workflow."""

    def __init__(self, store: Store, hold: Hold, run: "WorkflowRun") -> None:
        self.store = store
        self.engine = store._engine
        self.hold = hold
        self.run = run
        self.loop = asyncio.get_running_loop()
        self.stopped: Optional[RunInterrupted] = None
        self.active = 0
        self.calm = asyncio.Event()
        self.calm.set()
        self.heard = self.loop.time()  # it was claimed just now

    # --- Going on ---

    @property
    def cdata(self) -> Any:
        return self.run._cdata

    def stop(self, status: int, reason: str) -> RunInterrupted:
        """No step of this execution is begun any more."""
        if self.stopped is None:
            self.stopped = RunInterrupted(status, reason)
            logger.debug("run %d is left: %s", self.run.id(), reason)
        return self.stopped

    def check(self) -> None:
        if self.stopped is not None:
            raise RunInterrupted(self.stopped.status, str(self.stopped))
        if in_transaction.get() is self.engine:
            raise failure(
                lib.PGQRS_EBUSY,
                "a transactional step is open here: a step in it would wait for it, and it for the step",
                hint="Use the transaction's own methods inside it, or do this after it.",
            )

    def enter(self) -> None:
        self.active += 1
        self.calm.clear()

    def leave(self) -> None:
        self.active -= 1
        if self.active == 0:
            self.calm.set()

    def problem(self, error: PgqrsError) -> BaseException:
        """What an error of the library means to the function: often that it must not go on."""
        code = error.code or ""
        status = getattr(lib, "PGQRS_" + code, None)
        if status is not None and (code in OUTAGES or code in ("ELEASE", "ECANCELLED", "ENOTREADY", "EPAUSED", "ESTATE", "EFORK")):
            return self.stop(status, str(error))
        return error

    # --- Steps ---

    async def begin(self, name: str, struct: Any) -> Any:
        """The step's handle; recorded, or to be executed. StepFailedError for one that has failed."""
        key = encoded(name, "step name")
        now = self.loop.time()
        if now - self.heard > 0.4:  # the library may have to ask, which is not for this thread
            try:
                begun = await self.engine.submit(
                    lambda batch: lib.pgqrs_batch_step_begin(batch, self.cdata, key, struct),
                    lib.pgqrs_batch_step,
                    keep=self.run._keeper,
                )
            except RetriesExhaustedError:
                pass  # its error is in the handle
            except PgqrsError as error:
                raise self.problem(error) from error
            else:
                self.heard = now
                return begun
            self.heard = now
        out = ffi.new("pgqrs_step **")
        status = self.engine.direct(lambda _: lib.pgqrs_step_begin(self.cdata, key, struct, out))
        if status == lib.PGQRS_OK:
            return out[0]
        if status == lib.PGQRS_EEXHAUSTED:
            raise _step_failed(name, maybe(lib.pgqrs_step_error(out[0])) if out[0] != NULL else None)
        raise self.problem(_engine.exception(lib.pgqrs_run_error(self.cdata)))

    async def end(self, add: Callable[[Any], int], answers: Dict[int, str]) -> str:
        """Record an end of a step."""
        now = self.loop.time()
        try:
            answer = await self.engine.submit(add, answers=answers, keep=self.run._keeper)
        except PgqrsError as error:
            raise self.problem(error) from error
        self.heard = max(self.heard, now)
        return answer

    async def failed(self, name: str, step: Any, error: BaseException, transient: bool, after_us: int = 0) -> BaseException:
        """Record a failure; the exception for the function."""
        code, why = c_text(code_of(error)), c_text(str(error) or type(error).__name__)
        answers = {lib.PGQRS_OK: "", lib.PGQRS_ENOTREADY: "ENOTREADY", lib.PGQRS_EEXHAUSTED: "EEXHAUSTED"}
        if transient:
            answer = await self.end(lambda batch: lib.pgqrs_batch_step_retry(batch, step, code, why, after_us), answers)
            if answer == "ENOTREADY":
                logger.info("step %r of run %d is tried again later: %s", name, self.run.id(), error)
                return self.stop(lib.PGQRS_ENOTREADY, "step %r is tried again later" % name)
        else:
            await self.end(lambda batch: lib.pgqrs_batch_step_fail(batch, step, code, why), answers)
        return _step_failed(name, maybe(lib.pgqrs_step_error(step)), error)

    async def step(self, step: "Step[Any, Any]", name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """A call of a step: its recorded result, or that of executing it."""
        self.check()
        self.enter()
        try:
            handle = await self.begin(name, step._options())
            if lib.pgqrs_step_recorded(handle):
                return step._read(maybe(lib.pgqrs_step_output(handle)))
            if self.stopped is not None:
                self.check()
            try:
                result = await self._body(step, handle, call)
            except Exception as error:
                raise await self._raised(step, name, handle, error)
            output = step.codec.encode(result)
            value = step._read(output)
            data = output.encode("utf-8")
            await self.end(lambda batch: lib.pgqrs_batch_step_succeed(batch, handle, data), {lib.PGQRS_OK: ""})
            stands = maybe(lib.pgqrs_step_output(handle))
            return value if stands is None or stands == output else step._read(stands)
        finally:
            self.leave()

    async def _body(self, step: "Step[Any, Any]", handle: Any, call: Callable[[], Awaitable[Any]]) -> Any:
        """The function of the step. Steps that it calls are plain calls: their work is its own."""
        outer, inner = _scope.set(None), _step_handle.set(handle)
        try:
            if step.timeout is None:
                return await call()
            task = asyncio.ensure_future(call())
            try:
                done, _ = await asyncio.wait([task], timeout=step.timeout)
            finally:  # it came too late, or nobody waits any more
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task])
            if not done:
                raise _late(step)
            return task.result()
        finally:
            _step_handle.reset(inner)
            _scope.reset(outer)

    async def _raised(self, step: "Step[Any, Any]", name: str, handle: Any, error: Exception) -> BaseException:
        if isinstance(error, _errors.TransientStepError):
            after = error.retry_after
            after_us = 0 if after is None else max(1, duration(after, "retry_after"))
            return await self.failed(name, handle, error, True, after_us)
        if isinstance(error, _Late):
            return await self.failed(name, handle, error, True)
        if isinstance(error, PgqrsError) and error.code in OUTAGES:
            return self.problem(error)  # nobody's failure: nothing is recorded
        return await self.failed(name, handle, error, step.retry is not None and isinstance(error, step.retry_on))

    # --- Sleeping ---

    async def sleep(self, name: str, us: int) -> None:
        self.check()
        while self.active > 0:  # what runs beside it is recorded first
            await self.calm.wait()
            self.check()
        key = encoded(name, "step name")
        answers = {lib.PGQRS_OK: True, lib.PGQRS_EPAUSED: False}
        try:
            over = await self.engine.submit(
                lambda batch: lib.pgqrs_batch_run_sleep(batch, self.cdata, key, us), answers=answers, keep=self.run._keeper, alone=True
            )
        except PgqrsError as error:
            raise self.problem(error) from error
        if not over:
            raise self.stop(lib.PGQRS_EPAUSED, "the run sleeps")


class _Late(Exception):
    code = "TIMEOUT"


def _late(step: "Step[Any, Any]") -> _Late:
    return _Late("it took longer than %g s" % (step.timeout or 0))


# --- Runs --------------------------------------------------------------------------------------------


class WorkflowRun(Run):
    """The run that a workflow function executes: what it is given first.

    Beside what every Run has: `sleep()`, `transaction()`.
    """

    _execution: Optional[Execution] = None

    def _executing(self) -> Tuple[Execution, _Scope]:
        scope = _here()
        if scope is None or self._execution is None or scope.execution is not self._execution:
            raise failure(lib.PGQRS_ESTATE, "the run is not executed here", hint="Use it in its workflow function, outside of steps.")
        return scope.execution, scope

    def sleep(self, seconds: Union[float, timedelta], *, name: str = "sleep") -> Coroutine[Any, Any, None]:
        """Sleep durably: the run is parked and costs nothing meanwhile, however often its workers die.

        The time counts from the first execution that came here. Steps that run beside it (gather) are
        recorded before the run is parked, and go on with it.
        """
        execution, scope = self._executing()
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        us = duration(seconds, "a sleep")
        return execution.sleep(scope.number(_check_name(name, "step name")), us)

    def transaction(self, name: str, *, retry: Optional[StepRetryPolicy] = None) -> "Transaction":
        """A transactional step: `async with run.transaction("charge") as tx`. See Transaction."""
        from ._transaction import Transaction

        execution, scope = self._executing()
        return Transaction(execution, scope.number(_check_name(name, "step name")), retry)

    async def pause(self, message: str, resume_after_seconds: float) -> "WorkflowRun":
        """Park the run, and end this execution. The next one comes here again: do it in dependence of
        what a step has found."""
        execution, _ = self._executing()
        execution.check()
        await super().pause(message, resume_after_seconds)
        raise execution.stop(lib.PGQRS_EPAUSED, "the run is paused: %s" % message)


# --- Steps -------------------------------------------------------------------------------------------


class Step(Generic[P, R]):
    """What @step makes of a function. Calling it in a workflow function is a durable step: executed
    at least once, its result recorded exactly once and returned from then on. Elsewhere, and inside of
    another step, it is a plain call.

    What it raises is recorded as a failure for good, and reaches the workflow function as a
    StepFailedError. With `retry` it is tried again, when it is of `retry_on`; a TransientStepError always
    is. While it waits for that, the run is parked, and its function is executed anew later.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: Optional[str] = None,
        retry: Optional[StepRetryPolicy] = None,
        retry_on: Retryable = Exception,
        timeout: Optional[float] = None,
        codec: Optional[codec.Codec] = None,
        local: Optional[Dict[str, Any]] = None,
    ) -> None:
        if not callable(function):
            raise TypeError("a step is a function")
        self.name = _check_name(function.__name__ if name is None else name, "step name")
        self.function = function
        self.retry = retry
        self.retry_on = retry_on
        self.timeout = timeout
        self._timeout_us = 0 if timeout is None else max(1, duration(timeout, "timeout"))
        self._own_codec = codec
        self._local = local
        self._result: Any = _UNKNOWN
        self._is_async = inspect.iscoroutinefunction(function)
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return "<step %s>" % self.name

    def __call__(self, *args: "P.args", **kwargs: "P.kwargs") -> Coroutine[Any, Any, R]:
        call = functools.partial(self._call, args, kwargs)
        scope = _here()
        if scope is None:
            return call()
        return scope.execution.step(self, scope.number(self.name), call)

    async def _call(self, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        if self._is_async:
            return await self.function(*args, **kwargs)
        return await in_a_thread(self.function, *args, **kwargs)

    @property
    def codec(self) -> codec.Codec:
        """How its result is written."""
        return self._own_codec or codec.default_codec

    def _options(self) -> Any:
        fields = {} if self.retry is None else self.retry._fields()
        return options("step", by_key=True, timeout_us=self._timeout_us, **fields)

    def _read(self, output: Optional[str]) -> Any:
        if self._result is _UNKNOWN:
            self._result = codec.annotations_of(self.function, self._local).get("return", Any)
        return None if output is None else self.codec.decode(output, self._result)


_UNKNOWN: Any = object()


async def in_a_thread(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Run a plain function in a thread of its own, with the variables of this context. No pool: functions
    of workflows wait for their steps, which would wait for a thread of it."""
    context = contextvars.copy_context()
    return await _engine.in_thread(functools.partial(context.run, function, *args, **kwargs))


# --- Workflows ---------------------------------------------------------------------------------------


class Handle(Generic[R]):
    """A started run, from anywhere. `Workflow.start()` returns it; `Workflow.handle()` makes one."""

    def __init__(self, workflow: "Workflow[Any, R]", store: Store, run_id: int) -> None:
        self.id = run_id
        self._workflow = workflow
        self._store = store

    def __repr__(self) -> str:
        return "<run %d of %s>" % (self.id, self._workflow.name)

    async def result(self, timeout: Optional[float] = None) -> R:
        """Wait until it has ended: its result. WorkflowFailedError, WorkflowCancelledError; TimeoutError
        (pgqrs's) when it has not ended after `timeout` seconds."""
        wait_us = _engine.FOREVER if timeout is None else max(1, duration(timeout, "timeout"))
        status, output, error = await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_run_wait(batch, self.id, wait_us), _take_end, waits=True
        )
        if status == lib.PGQRS_RUN_SUCCESS:
            return cast(R, self._workflow._read_result(output))
        if status == lib.PGQRS_RUN_CANCELLED:
            cancelled = WorkflowCancelledError("run %d was cancelled" % self.id)
            cancelled.code = "ECANCELLED"
            raise cancelled
        recorded = codec.decode(error or "{}")
        failed = WorkflowFailedError(str(recorded.get("message") or "run %d failed" % self.id))
        failed.code = str(recorded.get("code") or "ERROR")
        raise failed

    async def status(self) -> WorkflowStatus:
        """As it stands now. MessageNotFoundError when it is past its retention."""
        return (await run_record(self._store, self.id)).status

    async def cancel(self) -> WorkflowStatus:
        """Ask for it to end: Cancelled at once when nobody works on it, else Cancelling: its worker stops
        after the step it is at. StateTransitionError when it has ended before."""
        state = await self._store._engine.submit(
            lambda batch: lib.pgqrs_batch_cancel(batch, self.id), lib.pgqrs_batch_state, alone=True
        )
        return WorkflowStatus.Cancelled if state == lib.PGQRS_STATE_CANCELLED else WorkflowStatus.Cancelling


def _take_end(batch: Any, at: int) -> Tuple[int, Optional[str], Optional[str]]:
    runs = lib.pgqrs_batch_take_runs(batch, at)
    record = lib.pgqrs_run_records_at(runs, 0)
    end = record.status, maybe(record.output), maybe(record.error)
    lib.pgqrs_run_records_free(runs)
    return end


class Workflow(Generic[A, R]):
    """What @workflow makes of a function `f(run)` or `f(run, argument)`. Calling it is a plain call."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: Optional[str] = None,
        codec: Optional[codec.Codec] = None,
        local: Optional[Dict[str, Any]] = None,
    ) -> None:
        if not callable(function):
            raise TypeError("a workflow is a function")
        self.name = function.__name__ if name is None else name
        encoded(self.name, "workflow name")
        self.function = function
        self._own_codec = codec
        self._local = local
        self._is_async = inspect.iscoroutinefunction(function)
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = list(inspect.signature(function).parameters.values())
        if not 1 <= len(parameters) <= 2 or any(parameter.kind not in kinds for parameter in parameters):
            raise TypeError(
                "workflow %r takes its run and at most one argument: make several a dataclass" % self.name
            )
        self._argument = parameters[1].name if len(parameters) == 2 else None
        self._optional = len(parameters) == 1 or parameters[1].default is not inspect.Parameter.empty
        self._hints: Optional[Dict[str, Any]] = None
        self._source = function
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return "<workflow %s>" % self.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def codec(self) -> codec.Codec:
        """How its input and result are written."""
        return self._own_codec or codec.default_codec

    def _annotation(self, name: str) -> Any:
        if self._hints is None:
            self._hints = codec.annotations_of(self._source, self._local)
        return self._hints.get(name, Any)

    def _read_argument(self, payload: str) -> Tuple[Any, ...]:
        if self._argument is None:
            return ()
        if payload == "null" and self._optional:
            return ()
        return (self.codec.decode(payload, self._annotation(self._argument)),)

    def _read_result(self, output: Optional[str]) -> Any:
        return None if output is None else self.codec.decode(output, self._annotation("return"))

    def _write_argument(self, argument: Any) -> bytes:
        if self._argument is None and argument is not None:
            raise TypeError("workflow %r takes no argument" % self.name)
        payload = self.codec.encode(argument)
        self._read_argument(payload)  # what the worker could not read is refused here
        return payload.encode("utf-8")

    @overload
    async def start(
        self: "Workflow[None, R]", store: Store, argument: None = None, *, key: Optional[str] = None,
        delay: Union[float, timedelta, None] = None, priority: Optional[int] = None,
    ) -> Handle[R]: ...
    @overload
    async def start(
        self, store: Store, argument: A, *, key: Optional[str] = None,
        delay: Union[float, timedelta, None] = None, priority: Optional[int] = None,
    ) -> Handle[R]: ...
    async def start(
        self, store: Store, argument: Any = None, *, key: Optional[str] = None,
        delay: Union[float, timedelta, None] = None, priority: Optional[int] = None,
    ) -> Handle[R]:
        """Start a run. The workflow is created when it does not exist yet.

        argument    what its function takes; refused here (SerializationError) when it cannot be written,
                    or not be read as what the function says it takes
        key         the same key again, within a day, is the same run
        delay       seconds, or a timedelta, before it begins
        priority    1 … 9, lower begins earlier; 0: before all others; None: 5
        """
        payload = self._write_argument(argument)
        if isinstance(delay, timedelta):
            delay = delay.total_seconds()
        struct = options(
            "enqueue",
            key=None if key is None else encoded(key, "key"),
            delay_us=None if delay is None else duration(delay, "delay"),
            priority=_priority(priority),
        )
        name = encoded(self.name, "workflow name")

        def trigger() -> "asyncio.Future[int]":
            return store._engine.submit(
                lambda batch: lib.pgqrs_batch_trigger(batch, name, payload, struct), lib.pgqrs_batch_id, keep=struct
            )

        store._gate.pay(1)
        try:
            run_id = await trigger()
        except _errors.QueueNotFoundError:
            await ensure_workflow(store, self.name)
            run_id = await trigger()
        return Handle(self, store, run_id)

    def handle(self, store: Store, run_id: int) -> Handle[R]:
        """A handle of a run that was started before. Asks nobody."""
        return Handle(self, store, run_id)


def _priority(given: Optional[int]) -> Optional[int]:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= 9:
        raise failure(lib.PGQRS_EINVAL, "priority is %r" % (given,), hint="Give a number, 0 (first) to 9.")
    return given if given > 0 else lib.PGQRS_PRIORITY_FIRST


# --- Decorators, and the builders of the same names ---------------------------------------------------


def _local_names(function: Any, depth: int) -> Optional[Dict[str, Any]]:
    """What annotations of a function that is defined in another one may name."""
    if "<locals>" not in getattr(function, "__qualname__", ""):
        return None
    return dict(sys._getframe(depth + 1).f_locals)


if TYPE_CHECKING:
    _Run = WorkflowRun

    class _WorkflowDecorator:
        @overload
        def __call__(self, function: Callable[[WorkflowRun], Coroutine[Any, Any, R]], /) -> Workflow[None, R]: ...
        @overload
        def __call__(self, function: Callable[[WorkflowRun, A], Coroutine[Any, Any, R]], /) -> Workflow[A, R]: ...
        def __call__(self, function: Any, /) -> Any: ...

    class _StepDecorator:
        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...
        def __call__(self, function: Any, /) -> Any: ...


@overload
def workflow() -> WorkflowBuilder: ...
@overload
def workflow(function: Callable[[WorkflowRun], Coroutine[Any, Any, R]], /) -> Workflow[None, R]: ...
@overload
def workflow(function: Callable[[WorkflowRun, A], Coroutine[Any, Any, R]], /) -> Workflow[A, R]: ...
@overload
def workflow(*, name: str, codec: Optional[codec.Codec] = None) -> "_WorkflowDecorator": ...
@overload
def workflow(*, codec: codec.Codec) -> "_WorkflowDecorator": ...
def workflow(function: Any = None, *, name: Optional[str] = None, codec: Optional[codec.Codec] = None) -> Any:
    """Make a workflow of an async function `f(run)` or `f(run, argument)`: `@workflow`, or
    `@workflow(name="checkout", codec=...)`. Its name is the function's, unless given. Without any
    argument, `workflow()` is a WorkflowBuilder.

    The argument and the result are written by the codec and read by the function's annotations. The
    function is executed again after a crash, a sleep or a retry, and gets the recorded results of the
    steps it has done: it must call the same steps in the same order, and have its effects in them.
    """
    if function is not None:
        return Workflow(function, name, codec, _local_names(function, 1))
    if name is None and codec is None:
        return WorkflowBuilder()
    return lambda function: Workflow(function, name, codec, _local_names(function, 1))


@overload
def step() -> StepBuilder: ...
@overload
def step(function: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *, retry: StepRetryPolicy, retry_on: Retryable = ..., name: Optional[str] = ..., timeout: Optional[float] = ...,
    codec: Optional[codec.Codec] = ...,
) -> "_StepDecorator": ...
@overload
def step(
    *, timeout: float, name: Optional[str] = ..., codec: Optional[codec.Codec] = ...
) -> "_StepDecorator": ...
@overload
def step(*, name: str, codec: Optional[codec.Codec] = ...) -> "_StepDecorator": ...
@overload
def step(*, codec: codec.Codec) -> "_StepDecorator": ...
def step(
    function: Any = None,
    *,
    name: Optional[str] = None,
    retry: Optional[StepRetryPolicy] = None,
    retry_on: Retryable = Exception,
    timeout: Optional[float] = None,
    codec: Optional[codec.Codec] = None,
) -> Any:
    """Make a step of a function: `@step`, or with

    name        None: the function's
    retry       how often and when it is tried again when it raises `retry_on`; None: it is not
    timeout     seconds after which it is cancelled, which counts as a transient failure
    codec       how its result is written

    A plain function (`def`) runs in a thread, so that it may block; a timeout does not end it there.
    Without any argument, `step()` is a StepBuilder. See Step.
    """
    if function is not None:
        return Step(function, local=_local_names(function, 1))
    if name is None and retry is None and timeout is None and codec is None and retry_on is Exception:
        return StepBuilder()
    return lambda function: Step(function, name, retry, retry_on, timeout, codec, _local_names(function, 1))


# --- Executing a run ---------------------------------------------------------------------------------


def interruption_in(error: BaseException) -> Optional[RunInterrupted]:
    """The RunInterrupted that an exception is, or that a task group has wrapped."""
    if isinstance(error, RunInterrupted):
        return error
    for inner in getattr(error, "exceptions", ()):
        found = interruption_in(inner)
        if found is not None:
            return found
    return None


async def execute(workflow: Workflow[Any, Any], store: Store, hold: Hold) -> None:
    """Execute the function of a workflow on a run that this store holds, and do with the run what comes
    of it. Raises nothing but CancelledError and what the database says about the end of it."""
    run = WorkflowRun(store, hold, None, {})
    execution = Execution(store, hold, run)
    run._execution = execution
    _scope.set(_Scope(execution, _owner(), ""))
    settle: Callable[[Any], int]
    try:
        arguments = workflow._read_argument(text(lib.pgqrs_run_input(run._cdata)))
        if workflow._is_async:
            result = await workflow.function(run, *arguments)
        else:
            result = await in_a_thread(_in_thread, execution, workflow.function, run, *arguments)
        output = workflow.codec.encode(result)
        workflow._read_result(output)
        data = output.encode("utf-8")
        settle = lambda batch: lib.pgqrs_batch_run_succeed(batch, run._cdata, data)  # noqa: E731
    except asyncio.CancelledError:
        execution.stop(lib.PGQRS_EPAUSED, "the worker stops")
        await _give_back(execution)
        raise
    except BaseException as error:
        settle = _after(execution, error)
    finally:
        _scope.set(None)
        run._execution = None
    if execution.stopped is not None:  # also when the function has caught it
        status = execution.stopped.status
        settle = lambda batch: lib.pgqrs_batch_run_settle(batch, run._cdata, status)  # noqa: E731
    await execution.calm.wait()
    alone = execution.stopped is not None
    await _settle(execution, settle, alone)


def _in_thread(execution: Execution, function: Callable[..., R], *arguments: Any) -> R:
    _scope.set(_Scope(execution, _owner(), ""))
    return function(*arguments)


def _after(execution: Execution, error: BaseException) -> Callable[[Any], int]:
    """What becomes of a run whose function has raised."""
    run = execution.run
    if interruption_in(error) is not None:
        return lambda batch: lib.pgqrs_batch_run_settle(batch, run._cdata, lib.PGQRS_ENOTREADY)
    code, why = c_text(code_of(error)), c_text(str(error) or type(error).__name__)
    if isinstance(error, RetriesExhaustedError):
        logger.warning("run %d has failed: %s", run.id(), error)
        return lambda batch: lib.pgqrs_batch_run_fail(batch, run._cdata, code, why)
    if isinstance(error, PgqrsError) and error.code in OUTAGES:
        status = getattr(lib, "PGQRS_" + error.code)
        return lambda batch: lib.pgqrs_batch_run_settle(batch, run._cdata, status)
    logger.warning("attempt %d of run %d has failed", run.attempt, run.id(), exc_info=error)
    return lambda batch: lib.pgqrs_batch_retry(batch, execution.hold.lease(), code, why)


async def _settle(execution: Execution, add: Callable[[Any], int], alone: bool) -> None:
    """The end of an execution. Tried again while the database is away; then the lease passes."""
    over = {status: None for status in (lib.PGQRS_OK, lib.PGQRS_ELEASE, lib.PGQRS_ECANCELLED, lib.PGQRS_ESTATE)}
    delay = 0.05
    while True:
        try:
            await execution.engine.submit(add, answers=over, keep=execution.run._keeper, alone=alone)
            return
        except PgqrsError as error:
            if error.code not in OUTAGES or delay > 10:
                logger.error("run %d could not be given up, and comes back when its lease passes: %s", execution.run.id(), error)
                return
        await asyncio.sleep(delay)
        delay *= 2


async def _give_back(execution: Execution) -> None:
    """The worker stops: another one goes on at once."""
    hold = execution.hold
    if hold.held():
        await asyncio.shield(
            _settle(execution, lambda batch: lib.pgqrs_batch_release(batch, hold.lease(), NULL), False)
        )
