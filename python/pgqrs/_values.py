"""What the store tells: enumerations, records, messages. And times."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Optional, Union

from ._engine import SECOND, failure, lib, maybe, text
from ._json import loads

# --- Times -------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:([Zz])|([+-])(\d\d):?(\d\d))$"
)

Time = Union[str, datetime]


@functools.lru_cache(maxsize=256)  # the messages of one claim share two of three
def timestamp(us: int) -> str:
    """Microseconds since 1970 as RFC 3339, UTC."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat()


def maybe_timestamp(us: int) -> Optional[str]:
    """The same; None for 0."""
    return timestamp(us) if us else None


def microseconds(time: Time, what: str = "time") -> int:
    """RFC 3339 text, or a datetime that knows its zone, as microseconds since 1970."""
    if isinstance(time, datetime):
        when = time
    else:
        match = _RFC3339.match(time) if isinstance(time, str) else None
        if match is None:
            raise failure(
                lib.PGQRS_EINVAL,
                "%s %r is no RFC 3339 time" % (what, time),
                hint="Write it like 2030-01-31T12:00:00.5+00:00.",
            )
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        zone = timezone.utc
        if match.group(9) is not None:
            offset = timedelta(hours=int(match.group(10)), minutes=int(match.group(11)))
            zone = timezone(offset if match.group(9) == "+" else -offset)
        fraction = int(((match.group(7) or "") + "000000")[:6])
        try:
            when = datetime(year, month, day, hour, minute, min(second, 59), fraction, zone)
        except ValueError as problem:
            raise failure(lib.PGQRS_EINVAL, "%s %r is no time: %s" % (what, time, problem)) from problem
    if when.tzinfo is None:
        raise failure(
            lib.PGQRS_EINVAL, "%s %s has no time zone" % (what, when), hint="Use datetime.now(timezone.utc)."
        )
    return (when - _EPOCH) // timedelta(microseconds=1)


def duration(seconds: float, what: str) -> int:
    """Seconds as microseconds. ValidationError below 0 and for what is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 2**43:
        raise failure(lib.PGQRS_EINVAL, "%s is %r" % (what, seconds), hint="Give seconds, 0 or more.")
    return int(round(seconds * SECOND))


# --- Enumerations ------------------------------------------------------------------------------------


class _Text(str, enum.Enum):
    """Members are their values, and equal to them in any letter case."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.value.upper() == str.__str__(other).upper()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class WorkerStatus(_Text):
    """What a worker is doing."""

    Ready = "READY"
    Polling = "POLLING"
    Suspended = "SUSPENDED"
    Interrupted = "INTERRUPTED"
    Stopped = "STOPPED"


class WorkflowStatus(_Text):
    """Where a run, or a step, stands."""

    Queued = "QUEUED"
    Running = "RUNNING"
    Paused = "PAUSED"
    Cancelling = "CANCELLING"
    Cancelled = "CANCELLED"
    Success = "SUCCESS"
    Error = "ERROR"


class StepResultStatus(_Text):
    """Whether a step is to be executed, or has its result already."""

    Execute = "EXECUTE"
    Skipped = "SKIPPED"


WORKER_STATUS = {
    lib.PGQRS_WORKER_READY: WorkerStatus.Ready,
    lib.PGQRS_WORKER_POLLING: WorkerStatus.Polling,
    lib.PGQRS_WORKER_SUSPENDED: WorkerStatus.Suspended,
    lib.PGQRS_WORKER_INTERRUPTED: WorkerStatus.Interrupted,
    lib.PGQRS_WORKER_STOPPED: WorkerStatus.Stopped,
}
RUN_STATUS = {
    lib.PGQRS_RUN_QUEUED: WorkflowStatus.Queued,
    lib.PGQRS_RUN_RUNNING: WorkflowStatus.Running,
    lib.PGQRS_RUN_PAUSED: WorkflowStatus.Paused,
    lib.PGQRS_RUN_CANCELLING: WorkflowStatus.Cancelling,
    lib.PGQRS_RUN_SUCCESS: WorkflowStatus.Success,
    lib.PGQRS_RUN_ERROR: WorkflowStatus.Error,
    lib.PGQRS_RUN_CANCELLED: WorkflowStatus.Cancelled,
}
# A step that waits has failed, and has a retry_at.
STEP_STATUS = {
    lib.PGQRS_STEP_SUCCESS: WorkflowStatus.Success,
    lib.PGQRS_STEP_ERROR: WorkflowStatus.Error,
    lib.PGQRS_STEP_RETRY: WorkflowStatus.Error,
}


# --- Records -----------------------------------------------------------------------------------------


@dataclass
class QueueMessage:
    """A message. Times are RFC 3339 text; None: not yet.

    vt: until when it is leased, or, of one that waits, when it becomes visible.
    read_ct: which counted delivery this is, from 1; 0: it has not been delivered.
    """

    id: int
    queue_id: int
    payload: Any
    vt: str
    enqueued_at: str
    read_ct: int
    dequeued_at: Optional[str] = None
    producer_worker_id: Optional[int] = None
    consumer_worker_id: Optional[int] = None
    archived_at: Optional[str] = None


@dataclass(frozen=True)
class QueueInfo:
    """A queue, or the queue of a workflow."""

    id: int
    queue_name: str


@dataclass(frozen=True)
class QueueMetrics:
    """What a queue holds, counted when asked."""

    name: str
    ready: int
    scheduled: int
    leased: int
    done: int
    dead: int
    oldest_seconds: float

    @property
    def total_messages(self) -> int:
        """Live messages."""
        return self.ready + self.scheduled + self.leased

    @property
    def pending_messages(self) -> int:
        """Those that nobody works on."""
        return self.ready + self.scheduled

    @property
    def locked_messages(self) -> int:
        """Those that somebody works on."""
        return self.leased

    @property
    def archived_messages(self) -> int:
        """Those that have ended, the dead as well."""
        return self.done + self.dead


@dataclass(frozen=True)
class WorkerInfo:
    """A worker: a producer or consumer that was registered."""

    id: int
    name: str
    status: WorkerStatus
    queue_id: Optional[int]
    heartbeat_at: str
    hostname: str
    started_at: str


@dataclass(frozen=True)
class WorkerHealth:
    """How many workers are in each status; stale: not stopped, and silent for too long."""

    total: int
    ready: int
    polling: int
    suspended: int
    interrupted: int
    stopped: int
    stale: int


@dataclass(frozen=True)
class WorkflowRecord:
    """A workflow, and its queue, which is the same thing."""

    id: int
    name: str
    queue_id: int


@dataclass(frozen=True)
class RunRecord:
    """A run as it stands. error: a dict with "code" and "message"; of a paused run, the pause's
    message."""

    id: int
    workflow_id: int
    message_id: int
    status: WorkflowStatus
    input: Any
    output: Any
    error: Any
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class StepRecord:
    """A step that was recorded. error: a dict with "code", "message" and "is_transient".

    A step that failed and comes back has status Error, and a retry_at."""

    id: int
    run_id: int
    step_name: str
    status: WorkflowStatus
    input: Any
    output: Any
    error: Any
    retry_at: Optional[str]
    created_at: str
    updated_at: str
    retry_count: int


def value(pointer: Any) -> Any:
    """JSON text of the library as a value; None for NULL."""
    content = maybe(pointer)
    return None if content is None else loads(content)


def message_of(message: Any, owner: Optional[int], decode: Any = loads) -> QueueMessage:
    """A pgqrs_message *."""
    return QueueMessage(
        id=message.id,
        queue_id=message.queue_id,
        payload=decode(text(message.payload)),
        vt=timestamp(message.expires_at_us),
        enqueued_at=timestamp(message.enqueued_at_us),
        read_ct=message.attempt,
        dequeued_at=timestamp(message.claimed_at_us),
        producer_worker_id=message.producer or None,
        consumer_worker_id=owner,
    )


def record_of(record: Any, decode: Any = loads) -> QueueMessage:
    """A pgqrs_record *."""
    return QueueMessage(
        id=record.id,
        queue_id=record.queue_id,
        payload=decode(text(record.payload)),
        vt=timestamp(record.expires_at_us or record.visible_at_us or record.claimed_at_us or record.enqueued_at_us),
        enqueued_at=timestamp(record.enqueued_at_us),
        read_ct=record.attempt,
        dequeued_at=maybe_timestamp(record.claimed_at_us),
        producer_worker_id=record.producer or None,
        consumer_worker_id=record.owner or None,
        archived_at=maybe_timestamp(record.finished_at_us),
    )


def worker_of(worker: Any) -> WorkerInfo:
    """A pgqrs_worker_record *."""
    return WorkerInfo(
        id=worker.id,
        name=text(worker.name),
        status=WORKER_STATUS[worker.status],
        queue_id=worker.queue_id or None,
        heartbeat_at=timestamp(worker.heartbeat_at_us),
        hostname=text(worker.hostname),
        started_at=timestamp(worker.started_at_us),
    )


def run_of(run: Any, decode: Any = loads) -> RunRecord:
    """A pgqrs_run_record *."""
    error = value(run.error)
    if run.status == lib.PGQRS_RUN_PAUSED and isinstance(error, dict):
        error = error.get("message")
    output = maybe(run.output)
    return RunRecord(
        id=run.id,
        workflow_id=run.workflow_id,
        message_id=run.id,
        status=RUN_STATUS[run.status],
        input=decode(text(run.input)),
        output=None if output is None else decode(output),
        error=error,
        created_at=timestamp(run.created_at_us),
        updated_at=timestamp(run.updated_at_us),
    )


def step_of(step: Any, number: int, decode: Any = loads) -> StepRecord:
    """A pgqrs_step_record *, the `number`th of its run."""
    output = maybe(step.output)
    return StepRecord(
        id=(step.run_id << 16) + number,
        run_id=step.run_id,
        step_name=text(step.name),
        status=STEP_STATUS[step.status],
        input=None,
        output=None if output is None else decode(output),
        error=value(step.error),
        retry_at=maybe_timestamp(step.retry_at_us),
        created_at=timestamp(step.started_at_us or step.finished_at_us),
        updated_at=timestamp(step.finished_at_us or step.started_at_us),
        retry_count=step.retries,
    )
