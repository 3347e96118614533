"""Workflows and steps as functions.

    from pgqrs.decorators import step, workflow

    @step
    async def list_files(run, path): ...

    @workflow(name="archive_files")
    async def archive_files(run, input):
        return await list_files(run, input["path"])

    result = await archive_files(run, run.input)                      # by hand, or
    await pgqrs.dequeue().worker(consumer).handle_workflow(archive_files).poll(store)
"""

from __future__ import annotations

import functools
import inspect
import logging
from typing import Any, Awaitable, Callable, Optional, TypeVar, Union, overload

from . import _errors
from ._engine import failure, lib
from ._errors import PgqrsError
from ._runs import Run, StepGuard, StepRetryPolicy
from ._values import StepResultStatus, WorkflowStatus

T = TypeVar("T")
Function = Callable[..., Awaitable[Any]]

logger = logging.getLogger("pgqrs")

__all__ = ["WorkflowDef", "step", "workflow"]

# What the library says of the database, not of the work: nothing is recorded for it.
_OUTAGES = ("ECONN", "ETIMEDOUT", "EBUSY", "EDB", "ESCHEMA", "ENOMEM", "EINTERNAL", "EFORK")
# What stops an execution without ending the run.
_STOPS = ("ELEASE", "ECANCELLED", "ENOTREADY", "EPAUSED", "ESTATE")


def stops(error: BaseException) -> bool:
    """Whether an exception leaves the run to be gone on with: it failed for a passing reason, waits
    for a retry or a pause, was lost, or the database is away."""
    if isinstance(error, (_errors.TransientStepError, _errors.StepNotReadyError, _errors.PausedError)):
        return True
    return isinstance(error, PgqrsError) and error.code in _OUTAGES + _STOPS


class WorkflowDef:
    """A workflow: its name, and the async function `run(run, input)` that executes a run of it.

    Calling it executes a run by hand: it is started, and ended with what the function returns; with
    what it raises, it has failed for good, unless that is a transient failure, a pause, or a failure
    of the database: then the run can be gone on with. On a run that has succeeded it returns the
    recorded result. The run may be of a workflow of another name.
    """

    def __init__(self, name: str, run: Function) -> None:
        self.name = name
        self.run = run
        functools.update_wrapper(self, run)

    def __repr__(self) -> str:
        return "WorkflowDef(%r)" % self.name

    async def __call__(self, run: Run, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(run, Run):
            raise TypeError("the first argument of workflow %r is a Run, not %s" % (self.name, type(run).__name__))
        try:
            await run.start()
        except _errors.ValidationError:
            record = await run._record()
            if record.status != WorkflowStatus.Success:
                raise
            return record.output
        return await execute(self.run, run, *args, **kwargs)


async def execute(function: Function, run: Run, *args: Any, **kwargs: Any) -> Any:
    """One execution of the function of a workflow on a started run, and the end of the run."""
    numbered = Run(run._store, run._hold, run._current_time, {})
    try:
        result = await function(numbered, *args, **kwargs)
    except Exception as error:
        if not stops(error):
            try:
                await run.fail(_message(error), code=_code(error))
            except PgqrsError as problem:  # lost, or the database is away: it comes back
                logger.warning("run %d has failed, which could not be recorded: %s", run.id(), problem)
        raise
    await run.success(result)
    return result


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _code(error: BaseException) -> str:
    code = getattr(error, "code", None)
    return code if isinstance(code, str) and code else type(error).__name__


@overload
def workflow(function: Function, *, name: Optional[str] = None) -> WorkflowDef: ...
@overload
def workflow(function: None = None, *, name: Optional[str] = None) -> Callable[[Function], WorkflowDef]: ...
def workflow(
    function: Optional[Function] = None, *, name: Optional[str] = None
) -> Union[WorkflowDef, Callable[[Function], WorkflowDef]]:
    """Make a workflow of an async function `f(run, input)`; its name is the function's, unless given."""

    def decorate(function: Function) -> WorkflowDef:
        if not callable(function) or not inspect.iscoroutinefunction(function):
            raise TypeError("a workflow is an async function")
        return WorkflowDef(name or function.__name__, function)

    return decorate if function is None else decorate(function)


F = TypeVar("F", bound=Function)


@overload
def step(function: F) -> F: ...
@overload
def step(
    function: None = None, *, name: Optional[str] = None, retry: Optional[StepRetryPolicy] = None
) -> Callable[[F], F]: ...
def step(
    function: Optional[Any] = None, *, name: Optional[str] = None, retry: Optional[StepRetryPolicy] = None
) -> Any:
    """Make a step of an async function `f(run, ...)`; its name is the function's, unless given.

    Called on a run it is executed once, and its recorded result returned from then on. Within one
    execution of a workflow a second call is a second step ("f#2"). What it raises is recorded as a
    failure for good; a TransientStepError, whose code and retry_after count, as one that comes back.
    A failure of the database is nobody's: nothing is recorded.
    """

    def decorate(function: Function) -> Function:
        if not callable(function) or not inspect.iscoroutinefunction(function):
            raise TypeError("a step is an async function")
        step_name = name or function.__name__

        @functools.wraps(function)
        async def call(run: Run, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(run, Run):
                raise TypeError(
                    "the first argument of step %r is a Run, not %s" % (step_name, type(run).__name__)
                )
            acquired = await run._begin(run._numbered(step_name), None, retry)
            if acquired.status == StepResultStatus.Skipped or acquired.guard is None:
                return acquired.value
            guard = acquired.guard
            try:
                result = await function(run, *args, **kwargs)
            except Exception as error:
                await _record(guard, error)
                raise
            await guard.success(result)
            return result

        return call

    return decorate if function is None else decorate(function)


async def _record(guard: StepGuard, error: Exception) -> None:
    """Record what a step raised, if it is the step's."""
    if isinstance(error, _errors.TransientStepError):
        await guard.fail_transient(error.code or "TRANSIENT", _message(error), error.retry_after)
    elif not stops(error):
        await guard._fail(_code(error), _message(error))


def handler_of(workflow: Any) -> Function:
    """The function of what handle_workflow() was given."""
    if isinstance(workflow, WorkflowDef):
        return workflow.run
    if inspect.iscoroutinefunction(workflow):
        function: Function = workflow
        return function
    raise failure(
        lib.PGQRS_EINVAL,
        "%s is no workflow" % type(workflow).__name__,
        hint="Give what @workflow made, or an async function of run and input.",
    )
