"""What goes wrong, as exceptions. `pgqrs` exports all of them."""

from __future__ import annotations

from typing import Optional


class PgqrsError(Exception):
    """Anything that pgqrs refuses or fails at; every other exception of it is one of these.

    Attributes, which a handler may set on an instance of its own too:

    code        which kind: the library's name of it ("ELEASE", "ECONN"), or a code of yours
    detail      more about it, or ""
    hint        what to do, a sentence, or ""
    sqlstate    of the database, or ""
    retryable   the same call may succeed later, and nothing was written
    maybe_applied   the answer was lost: it may have happened or not
    retry_after seconds, of a TransientStepError: when to try again; None: by the step's policy
    """

    code: Optional[str] = None
    detail: str = ""
    hint: str = ""
    sqlstate: str = ""
    retryable: bool = False
    maybe_applied: bool = False
    retry_after: Optional[float] = None


class PgqrsConnectionError(PgqrsError):
    """The database cannot be reached, or the connection was lost."""


class QueueNotFoundError(PgqrsError):
    """No queue or workflow has this name."""


class WorkerNotFoundError(PgqrsError):
    """No worker has this id."""


class QueueAlreadyExistsError(PgqrsError):
    """A queue or workflow has this name already."""


class MessageNotFoundError(PgqrsError):
    """No message, run or step has this id: it never existed, was deleted, or is past its retention."""


class SerializationError(PgqrsError):
    """A value cannot be written as JSON, or what is recorded cannot be read."""


class ConfigError(PgqrsError):
    """A DSN or a setting that cannot be used, or a database whose tables are missing."""


class RateLimitedError(PgqrsError):
    """More was enqueued than Config.max_enqueue_per_second allows. Nothing was."""


class ValidationError(PgqrsError):
    """An argument or payload that is refused, or a run that has ended. Nothing was written."""


class TimeoutError(PgqrsError):  # noqa: A001 - the name is the old package's
    """The deadline passed before the database answered."""


class InternalError(PgqrsError):
    """The database failed, memory ran out, or the library is at fault."""


class StateTransitionError(PgqrsError):
    """Not possible in the state that the run, step or message is in, or it is held by another."""


class TransientStepError(PgqrsError):
    """Raise it in a step that may succeed later: the step is tried again."""


class RetriesExhaustedError(PgqrsError):
    """The step has failed for good."""


class StepNotReadyError(PgqrsError):
    """The step waits for the time of its next try."""


class PausedError(PgqrsError):
    """The run was paused, and goes on at its time."""
