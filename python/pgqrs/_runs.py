"""Runs and steps by hand, and their builders.

A run is a message, and a `Hold` of the store has its handle: every Run that is opened on the message
works under that one. What a function of a workflow is given is the Run with a counter of its own,
which numbers steps of the same name."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, Mapping, Optional

from . import _errors
from ._engine import FOREVER, NULL, check, encoded, failure, ffi, lib, maybe, options, text
from ._errors import PgqrsError

from ._store import HELD, Hold, Keeper, Store
from ._values import (
    QueueMessage,
    RunRecord,
    StepResultStatus,
    Time,
    WorkflowRecord,
    WorkflowStatus,
    duration,
    microseconds,
    record_of,
    run_of,
)

# --- Retry -------------------------------------------------------------------------------------------


class BackoffStrategy:
    """How long to wait before a step is tried again. Seconds."""

    def __init__(self, kind: int, base: float, most: float) -> None:
        self._kind = kind
        self._base_us = duration(base, "a backoff")
        self._max_us = duration(most, "a backoff")

    @classmethod
    def fixed(cls, seconds: float) -> BackoffStrategy:
        """Always so long."""
        return cls(lib.PGQRS_BACKOFF_FIXED, seconds, seconds)

    @classmethod
    def exponential(cls, base: float, max: float) -> BackoffStrategy:
        """base, then twice as long each time, up to max."""
        return cls(lib.PGQRS_BACKOFF_EXPONENTIAL, base, max)

    @classmethod
    def exponential_with_jitter(cls, base: float, max: float) -> BackoffStrategy:
        """The same, 25 % more or less by chance."""
        return cls(lib.PGQRS_BACKOFF_JITTER, base, max)


class StepRetryPolicy:
    """How often a step that fails transiently is tried again: max_attempts times after the first.
    backoff None: exponential, 1 s to 60 s, with jitter."""

    def __init__(self, max_attempts: int = 3, backoff: Optional[BackoffStrategy] = None) -> None:
        if isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or not 0 <= max_attempts <= 1000:
            raise failure(
                lib.PGQRS_EINVAL, "max_attempts is %r" % (max_attempts,), hint="Give a number, 0 to 1000."
            )
        self.max_attempts = max_attempts
        self.backoff = backoff

    def _fields(self) -> Dict[str, Any]:
        fields: Dict[str, Any] = {"max_retries": self.max_attempts or -1}
        if self.backoff is not None:
            fields["backoff"] = self.backoff._kind
            fields["backoff_us"] = max(1, self.backoff._base_us)
            fields["backoff_max_us"] = max(1, self.backoff._max_us)
        return fields


# --- Steps -------------------------------------------------------------------------------------------


class StepGuard:
    """A step that is to be executed: end it by one of the three."""

    def __init__(self, run: Run, step: Any) -> None:
        self._run = run
        self._step = step

    @property
    def key(self) -> str:
        """An idempotency key for effects elsewhere: the same in every attempt of this step."""
        return text(lib.pgqrs_step_key(self._step))

    async def success(self, result: Any = None) -> None:
        """Record the result, exactly once. If another one was recorded before, that one stands."""
        output = self._run._store._encode(result, "result")
        await self._end(lambda batch: lib.pgqrs_batch_step_succeed(batch, self._step, output), {})

    async def fail(self, error: str, *, code: str = "ERROR") -> None:
        """Record that it has failed for good: it is never executed again."""
        await self._fail(code, error)

    async def fail_transient(self, code: str, message: str, retry_after: Optional[float] = None) -> None:
        """Record that it may succeed later: in retry_after seconds, else by its policy. When its
        retries are used up it has failed for good."""
        what, why = _text(code), _text(message)
        # 0 is the policy's; a retry that is asked for at once comes a microsecond later.
        after = 0 if retry_after is None else max(1, duration(retry_after, "retry_after"))
        await self._end(
            lambda batch: lib.pgqrs_batch_step_retry(batch, self._step, what, why, after), RETRIED
        )

    async def _fail(self, code: str, error: object) -> None:
        what, why = _text(code), _text(error)
        await self._end(lambda batch: lib.pgqrs_batch_step_fail(batch, self._step, what, why), FAILED)

    async def _end(self, add: Any, answers: Mapping[int, None]) -> None:
        run = self._run
        try:
            await run._store._engine.submit(add, answers=answers or None, keep=run._keeper)
        except PgqrsError as error:
            run._lost(error)
            raise


FAILED: Mapping[int, None] = {lib.PGQRS_OK: None, lib.PGQRS_EEXHAUSTED: None}
RETRIED: Mapping[int, None] = {lib.PGQRS_OK: None, lib.PGQRS_ENOTREADY: None, lib.PGQRS_EEXHAUSTED: None}
PAUSED: Mapping[int, None] = {lib.PGQRS_OK: None, lib.PGQRS_EPAUSED: None}


def _text(value: object) -> bytes:
    """Text of an error for the database, whatever it holds."""
    return str(value).replace("\0", "\\0").encode("utf-8", "backslashreplace")


class StepResult:
    """What acquiring a step said. status Execute: guard ends it; Skipped: value is its result."""

    def __init__(self, status: StepResultStatus, value: Any, guard: Optional[StepGuard]) -> None:
        self.status = status
        self.value = value
        self.guard = guard

    def __repr__(self) -> str:
        return "StepResult(%s, %r)" % (self.status, self.value)


# --- Runs --------------------------------------------------------------------------------------------


class Run:
    """One execution of a workflow, opened: see run() and Admin.create_workflow().

    Opening it reads only. The first write (start, a step, an end) goes on under the lease that this
    store has on its message, or takes one; held by another it is StateTransitionError. While a Run is
    referred to, its lease is kept.
    """

    def __init__(
        self,
        store: Store,
        hold: Hold,
        current_time: Optional[Time] = None,
        counts: Optional[Dict[str, int]] = None,
    ) -> None:
        self._store = store
        self._hold = hold
        self._keeper: Keeper = hold.keeper(store)
        self._current_time = current_time
        self._now_us = 0 if current_time is None else microseconds(current_time)
        self._counts = counts  # of the names used in one execution of a function; None: by hand

    def _switch(self) -> None:
        """Go on under the lease that the store has meanwhile taken, by a dequeue."""
        other = self._store._holds.get(self._hold.id)
        if other is None or other is self._hold or not other.held() or self._hold.held():
            return
        if other.run is None:
            _handle_of(self._store, other)
        self._hold = other
        self._keeper = other.keeper(self._store)

    @property
    def _cdata(self) -> Any:
        owned = self._hold.run
        if owned is None or owned.freed:
            raise failure(lib.PGQRS_ESTATE, "the store of this run is closed", hint="Connect, and open it again.")
        return owned.cdata

    def id(self) -> int:
        """Its number, which is its message's."""
        return self._hold.id

    @property
    def input(self) -> Any:
        """What it was started with."""
        return self._store._decode(text(lib.pgqrs_run_input(self._cdata)))

    @property
    def attempt(self) -> int:
        """Which counted delivery this is."""
        return int(lib.pgqrs_run_attempt(self._cdata))

    @property
    def current_time(self) -> Optional[str]:
        """The time that with_time() set, RFC 3339; None: the database's clock."""
        time = self._current_time
        return time if time is None or isinstance(time, str) else time.isoformat()

    def with_time(self, time: Time) -> Run:
        """This run with a clock that stands at a time: the retries of its steps are judged by it."""
        self._switch()
        return Run(self._store, self._hold, time, self._counts)

    async def start(self) -> Run:
        """Make sure that it is held, waking a paused one before its time. ValidationError, naming the
        state, when it has ended or is being cancelled; StateTransitionError when another holds it."""
        try:
            await self._submit(lambda batch: lib.pgqrs_batch_run_start(batch, self._cdata))
        except PgqrsError as error:
            if error.code not in ("ESTATE", "ECANCELLED"):
                raise
            status = (await self._record()).status
            if status in _ENDED or error.code == "ECANCELLED" or status == WorkflowStatus.Cancelling:
                ended = "terminal " if status in _ENDED else ""
                refusal = _errors.ValidationError("run %d cannot start: it is %s%s" % (self.id(), ended, status))
                refusal.code = error.code
                raise refusal from error
            raise
        return self

    async def success(self, result: Any = None) -> Run:
        """End it with a result, JSON; its message is archived in the same commit. On a run that has
        succeeded before it does nothing. StateTransitionError when it was cancelled or lost."""
        output = self._store._encode(result, "result")
        await self._end(
            lambda batch: lib.pgqrs_batch_run_succeed(batch, self._cdata, output), WorkflowStatus.Success
        )
        return self

    async def complete(self, result: Any = None) -> Run:
        """The same as success()."""
        return await self.success(result)

    async def fail(self, error: str, *, code: str = "ERROR") -> Run:
        """End it in ERROR for good. On a run that has failed before it does nothing."""
        what, why = _text(code), _text(error)
        await self._end(
            lambda batch: lib.pgqrs_batch_run_fail(batch, self._cdata, what, why), WorkflowStatus.Error
        )
        return self

    async def _end(self, add: Any, wanted: WorkflowStatus) -> None:
        try:
            await self._submit(add, together=True)
        except PgqrsError as error:
            if error.code == "ECANCELLED":
                self._hold.ended = True
            elif error.code != "ESTATE" or (await self._record()).status != wanted:
                raise
            else:
                return
            raise
        self._hold.ended = True

    async def pause(self, message: str, resume_after_seconds: float) -> Run:
        """Park it for a time, and give the lease up: the delivery is not counted. The message shows
        while it waits. start() wakes it earlier."""
        note = encoded(message, "message")
        after = duration(resume_after_seconds, "resume_after_seconds")
        await self._submit(
            lambda batch: lib.pgqrs_batch_run_pause(batch, self._cdata, note, after), answers=PAUSED
        )
        return self

    async def cancel(self) -> Run:
        """Ask for it to end. One that nobody works on is CANCELLED at once, a leased one CANCELLING
        until its holder gives it up."""
        await self._submit(lambda batch: lib.pgqrs_batch_run_cancel(batch, self._cdata))
        return self

    async def refresh(self) -> Run:
        """The run as it stands now; under the lease that this store has on it, if it has."""
        self._switch()
        if self._hold.held() and not self._hold.lost:
            return Run(self._store, self._hold, self._current_time, self._counts)
        fresh = await open_run(self._store, self.id(), again=True)
        return Run(self._store, fresh._hold, self._current_time, self._counts)

    async def acquire_step(self, step_name: str, current_time: Optional[Time] = None) -> StepResult:
        """Begin a step. Its name is a key: one that has its result is Skipped, with the value.

        Raises StepNotReadyError while it waits for its retry, RetriesExhaustedError when it has failed
        for good, StateTransitionError when the run was lost, has ended or is cancelled.
        """
        return await self._begin(step_name, current_time, None)

    async def complete_step(self, step_name: str, output: Any = None) -> None:
        """Record a step's result. If it has one already, that one stands."""
        step = await self.acquire_step(step_name)
        if step.guard is not None:
            await step.guard.success(output)

    async def fail_step(self, step_name: str, error: str, current_time: Optional[Time] = None) -> None:
        """Record that a step has failed for good."""
        step = await self.acquire_step(step_name, current_time)
        if step.guard is not None:
            await step.guard.fail(error)

    async def _begin(
        self, name: str, current_time: Optional[Time], policy: Optional[StepRetryPolicy]
    ) -> StepResult:
        now_us = self._now_us if current_time is None else microseconds(current_time, "current_time")
        fields = {} if policy is None else policy._fields()
        struct = options("step", by_key=True, now_us=now_us, **fields)
        key = encoded(name, "step name")
        step = await self._submit(
            lambda batch: lib.pgqrs_batch_step_begin(batch, self._cdata, key, struct), lib.pgqrs_batch_step
        )
        if not lib.pgqrs_step_recorded(step):
            return StepResult(StepResultStatus.Execute, None, StepGuard(self, step))
        output = maybe(lib.pgqrs_step_output(step))
        value = None if output is None else self._store._decode(output)
        return StepResult(StepResultStatus.Skipped, value, None)

    def _numbered(self, name: str) -> str:
        """The name of a step of a function: within one execution the second is "name#2"."""
        if self._counts is None:
            return name
        count = self._counts.get(name, 0) + 1
        self._counts[name] = count
        return name if count == 1 else "%s#%d" % (name, count)

    async def _submit(
        self, add: Any, take: Any = None, *, answers: Any = None, together: bool = False
    ) -> Any:
        """An operation on the handle, which must not be freed while it is under way."""
        self._switch()
        self._cdata  # refused here, before it is gathered
        try:
            return await self._store._engine.submit(
                add, take, answers=answers, keep=self._keeper, alone=not together
            )
        except PgqrsError as error:
            self._lost(error)
            raise

    def _lost(self, error: PgqrsError) -> None:
        if error.code == "ELEASE":
            self._hold.lost = True
            self._store._forget(self._hold)

    async def _record(self) -> RunRecord:
        return await run_record(self._store, self.id())


_ENDED = (WorkflowStatus.Success, WorkflowStatus.Error, WorkflowStatus.Cancelled)


async def run_record(store: Store, run_id: int, wait_us: Optional[int] = None) -> RunRecord:
    """A run as it stands; with wait_us, once it has ended."""

    def take(batch: Any, at: int) -> RunRecord:
        runs = lib.pgqrs_batch_take_runs(batch, at)
        record = run_of(lib.pgqrs_run_records_at(runs, 0), store._decode)
        lib.pgqrs_run_records_free(runs)
        return record

    if wait_us is None:
        return await store._engine.submit(
            lambda batch: lib.pgqrs_batch_run_get(batch, run_id), take, alone=True
        )
    return await store._engine.submit(
        lambda batch: lib.pgqrs_batch_run_wait(batch, run_id, wait_us), take, waits=True
    )


async def open_run(store: Store, run_id: int, *, again: bool = False) -> Run:
    """A Run under what this store holds, else a handle that reads."""
    hold = store._holds.get(run_id)
    if hold is not None and (hold.lost or again):
        store._forget(hold)
        hold = None
    if hold is not None:
        if hold.run is None:
            _handle_of(store, hold)
        if hold.run is not None and not hold.run.freed:
            return Run(store, hold)
    opened = await store._engine.submit(
        lambda batch: lib.pgqrs_batch_run_open(batch, run_id),
        lib.pgqrs_batch_take_run,
        undo=lib.pgqrs_run_free,
        alone=True,
    )
    owned = store._engine.own(opened, lib.pgqrs_run_free)
    meanwhile = store._holds.get(run_id)
    if meanwhile is not None and meanwhile.run is not None and not meanwhile.run.freed:
        owned.free()  # somebody else has opened it; there is one handle
        return Run(store, meanwhile)
    hold = Hold(run_id, None)
    hold.run = owned
    store._holds[run_id] = hold
    return Run(store, hold)


def _handle_of(store: Store, hold: Hold) -> None:
    """A run handle on what a dequeue has leased."""
    out = ffi.new("pgqrs_run **")

    def make(handle: Any) -> None:
        check(lambda error: lib.pgqrs_run_from(handle, hold.messages, hold.index, out, error))

    store._engine.direct(make)
    hold.run = store._engine.own(out[0], lib.pgqrs_run_free)


def release_run(run: Run, delay_us: int = 0, at_us: int = 0) -> "asyncio.Future[bool]":
    """Give a run back uncounted, to be claimed again later."""
    hold = run._hold
    struct = options("release", delay_us=delay_us, at_us=at_us)
    future = run._store._engine.submit(
        lambda batch: lib.pgqrs_batch_release(batch, hold.lease(), struct), answers=HELD, keep=run._keeper
    )
    run._store._forget(hold)
    return future


async def ensure_workflow(store: Store, name: str) -> None:
    """Create a workflow unless it exists."""
    workflow = encoded(name, "workflow name")
    await store._engine.submit(
        lambda batch: lib.pgqrs_batch_workflow_ensure(batch, workflow, NULL), alone=True
    )


# --- Builders ----------------------------------------------------------------------------------------


def _need(value: Any, what: str) -> Any:
    if value is None:
        raise failure(lib.PGQRS_EINVAL, "the %s is missing" % what, hint="Call .%s(...) first." % what)
    return value


class WorkflowBuilder:
    """`await workflow().name("archive_files").store(store).create()`"""

    def __init__(self) -> None:
        self._name: Optional[str] = None
        self._id: Optional[int] = None
        self._store: Optional[Store] = None

    def name(self, name: str) -> WorkflowBuilder:
        """Which one, by its name."""
        self._name = name
        return self

    def id(self, workflow_id: int) -> WorkflowBuilder:
        """Which one, by its id: of one that exists."""
        self._id = workflow_id
        return self

    def store(self, store: Store) -> WorkflowBuilder:
        """Where."""
        self._store = store
        return self

    async def create(self) -> WorkflowRecord:
        """Create it unless it exists."""
        store, name = _need(self._store, "store"), _need(self._name, "name")
        await ensure_workflow(store, name)
        found = await store._queue(name)
        return WorkflowRecord(found.id, found.queue_name, found.id)

    def trigger(self, input: Any = None) -> WorkflowTriggerBuilder:
        """A run of it, to be started by execute()."""
        return WorkflowTriggerBuilder(self, input)


class WorkflowTriggerBuilder:
    """See WorkflowBuilder.trigger()."""

    def __init__(self, workflow: WorkflowBuilder, input: Any) -> None:
        self._workflow = workflow
        self._input = input

    async def execute(self) -> QueueMessage:
        """Start the run; its message, whose payload is the input. QueueNotFoundError without such a
        workflow."""
        store: Store = _need(self._workflow._store, "store")
        name = self._workflow._name
        if name is None:
            from ._tables import queue_name

            name = await queue_name(store, _need(self._workflow._id, "name"))
        run = await store._enqueue(encoded(name, "workflow name"), self._input, workflow=True)
        return await message_record(store, run)


async def message_record(store: Store, message_id: int) -> QueueMessage:
    """A message as it stands. MessageNotFoundError."""

    def take(batch: Any, at: int) -> QueueMessage:
        records = lib.pgqrs_batch_take_records(batch, at)
        message = record_of(lib.pgqrs_records_at(records, 0), store._decode)
        lib.pgqrs_records_free(records)
        return message

    return await store._engine.submit(
        lambda batch: lib.pgqrs_batch_message_get(batch, message_id), take, alone=True
    )


class RunBuilder:
    """`await run().message(message).store(store).execute()`"""

    def __init__(self) -> None:
        self._message: Optional[int] = None
        self._store: Optional[Store] = None

    def message(self, message: Any) -> RunBuilder:
        """Whose run: the message of a trigger, or its id."""
        self._message = message if isinstance(message, int) else message.id
        return self

    def store(self, store: Store) -> RunBuilder:
        """Where."""
        self._store = store
        return self

    async def execute(self) -> Run:
        """Open the run: reads only. MessageNotFoundError."""
        return await open_run(_need(self._store, "store"), _need(self._message, "message"))

    async def get(self) -> Any:
        """Its result; None until it has succeeded."""
        record = await run_record(_need(self._store, "store"), _need(self._message, "message"))
        return record.output if record.status == WorkflowStatus.Success else None

    async def result(self) -> Any:
        """Wait until it has ended: its result. A run that failed raises PgqrsError with its error."""
        store = _need(self._store, "store")
        return _result(await run_record(store, _need(self._message, "message"), FOREVER))


def _result(record: RunRecord) -> Any:
    if record.status == WorkflowStatus.Success:
        return record.output
    if record.status == WorkflowStatus.Cancelled:
        raise failed("run %d was cancelled" % record.id, "ECANCELLED")
    if record.status == WorkflowStatus.Error:
        error = record.error if isinstance(record.error, dict) else {}
        raise failed(str(error.get("message") or record.error), str(error.get("code") or "ERROR"))
    return None


def failed(message: str, code: str) -> PgqrsError:
    """The error of a run that failed."""
    error = PgqrsError(message)
    error.code = code
    return error


class StepBuilder:
    """`await step().run(run).name("list_files").execute()`"""

    def __init__(self) -> None:
        self._run: Optional[Run] = None
        self._name: Optional[str] = None
        self._time: Optional[Time] = None
        self._policy: Optional[StepRetryPolicy] = None

    def run(self, run: Run) -> StepBuilder:
        """Of which run."""
        self._run = run
        return self

    def name(self, name: str) -> StepBuilder:
        """Its name, which is its key."""
        self._name = name
        return self

    def id(self, name: str) -> StepBuilder:
        """The same as name()."""
        return self.name(name)

    def with_time(self, time: Time) -> StepBuilder:
        """By which time its retry is judged."""
        self._time = time
        return self

    def retry(self, policy: StepRetryPolicy) -> StepBuilder:
        """How it is tried again."""
        self._policy = policy
        return self

    async def execute(self) -> StepResult:
        """As Run.acquire_step()."""
        run: Run = _need(self._run, "run")
        return await run._begin(_need(self._name, "name"), self._time, self._policy)


def workflow() -> WorkflowBuilder:
    """A builder of a workflow. The decorator is pgqrs.decorators.workflow."""
    return WorkflowBuilder()


def run() -> RunBuilder:
    """A builder of an opened run."""
    return RunBuilder()


def step() -> StepBuilder:
    """A builder of an acquired step. The decorator is pgqrs.decorators.step."""
    return StepBuilder()
