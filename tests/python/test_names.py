"""The names of the old package are all there, with their arguments."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any, List, Tuple

import pytest

import pgqrs
import pgqrs.decorators


def names() -> List[Tuple[str, List[str]]]:
    listed = []
    text = (Path(__file__).parent / "names.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if ":" in line:
            name, members = line.split(":")
            listed.append((name, members.split()))
        else:
            listed += [(name, []) for name in line.split()]
    return listed


def has(owner: Any, name: str) -> bool:
    if hasattr(owner, name):
        return True
    if dataclasses.is_dataclass(owner):
        return name in {field.name for field in dataclasses.fields(owner)}
    try:
        source = inspect.getsource(owner.__init__)
    except (OSError, TypeError):
        return False
    return "self.%s =" % name in source or "self.%s:" % name in source


@pytest.mark.parametrize("name,members", names(), ids=[name for name, _ in names()])
def test_a_name_of_the_old_package_is_there(name: str, members: List[str]) -> None:
    assert hasattr(pgqrs, name)
    assert name == "decorators" or name in pgqrs.__all__
    missing = [member for member in members if not has(getattr(pgqrs, name), member)]
    assert not missing


def test_a_list_that_names_too_much_is_found_out() -> None:
    assert not has(pgqrs.Consumer, "nothing_of_the_kind")
    assert len(names()) > 60


@pytest.mark.parametrize(
    "function,keywords",
    [
        (pgqrs.Run.acquire_step, ["step_name", "current_time"]),
        (pgqrs.Run.complete_step, ["step_name", "output"]),
        (pgqrs.Run.fail_step, ["step_name", "error", "current_time"]),
        (pgqrs.Run.pause, ["message", "resume_after_seconds"]),
        (pgqrs.Run.success, ["result"]),
        (pgqrs.Run.complete, ["result"]),
        (pgqrs.Run.fail, ["error"]),
        (pgqrs.Run.with_time, ["time"]),
        (pgqrs.StepGuard.success, ["result"]),
        (pgqrs.StepGuard.fail, ["error"]),
        (pgqrs.StepGuard.fail_transient, ["code", "message", "retry_after"]),
        (pgqrs.StepBuilder.with_time, ["time"]),
        (pgqrs.Producer.enqueue, ["payload"]),
        (pgqrs.Producer.enqueue_delayed, ["payload", "delay_seconds"]),
        (pgqrs.Consumer.dequeue, ["batch_size"]),
        (pgqrs.Consumer.dequeue_at, ["limit", "vt", "current_time"]),
        (pgqrs.Consumer.dequeue_many_with_delay, ["limit", "vt"]),
        (pgqrs.Consumer.archive, ["message_id"]),
        (pgqrs.Consumer.archive_many, ["message_ids"]),
        (pgqrs.Consumer.release_with_visibility, ["message_id", "visible_at"]),
        (pgqrs.Consumer.extend_vt, ["message_id", "seconds"]),
        (pgqrs.Store.consume_iter, ["queue", "poll_interval_ms"]),
        (pgqrs.Config.__init__, ["dsn", "schema", "max_connections"]),
    ],
)
def test_keywords(function: Any, keywords: List[str]) -> None:
    parameters = list(inspect.signature(function).parameters)
    assert parameters[1 : 1 + len(keywords)] == keywords


def test_members_equal_their_names_in_any_letter_case() -> None:
    assert pgqrs.WorkerStatus.Ready == "ready" == pgqrs.WorkerStatus.Ready
    assert pgqrs.WorkerStatus.Suspended == "SUSPENDED"
    assert pgqrs.StepResultStatus.Execute == "EXECUTE" and pgqrs.StepResultStatus.Execute != "SKIPPED"
    assert not pgqrs.WorkflowStatus.Success != "success"
    assert str(pgqrs.WorkflowStatus.Error) == "ERROR" == "%s" % pgqrs.WorkflowStatus.Error
    assert f"{pgqrs.WorkflowStatus.Paused:>8}" == "  PAUSED"
    assert pgqrs.WorkerStatus("READY") is pgqrs.WorkerStatus.Ready
    assert isinstance(pgqrs.WorkerStatus.Ready.value, str)


def test_errors_are_a_family_and_take_attributes() -> None:
    for name in pgqrs.__all__:
        kind = getattr(pgqrs, name)
        if inspect.isclass(kind) and issubclass(kind, Exception):
            assert issubclass(kind, pgqrs.PgqrsError), name
    error = pgqrs.TransientStepError("later")
    assert error.code is None and error.retry_after is None
    error.code, error.retry_after = "RATE", 2.5
    assert (error.code, error.retry_after) == ("RATE", 2.5)
    assert pgqrs.TransientStepError("another").code is None
