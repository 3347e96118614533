"""Values to JSON and back, exactly: integers of any size, floats, -0.0, key order, unicode."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any, Iterator, List, Tuple

from ._errors import SerializationError

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dumps(value: Any, what: str = "payload") -> bytes:
    """JSON text of a value, UTF-8. SerializationError names the path to what JSON cannot hold."""
    try:
        return _encode(value).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as problem:
        failed = problem
    where = _find(value)
    if where is not None:
        raise _refusal("the %s cannot be written as JSON: %s" % (what, where)) from failed
    try:
        return "".join(_slow(value)).encode("utf-8")  # an integer longer than Python likes to print
    except (TypeError, ValueError, RecursionError) as problem:
        raise _refusal("the %s cannot be written as JSON: %s" % (what, problem)) from problem


def loads(text: str) -> Any:
    """The value that JSON text stands for."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text, parse_int=_int)


def _refusal(message: str) -> SerializationError:
    error = SerializationError(message)
    error.code = "EJSON"
    error.hint = "Turn it into what JSON has: object, array, text, number, true, false, null."
    return error


def _int(digits: str) -> int:
    return int(Decimal(digits))


def _find(value: Any) -> Any:
    """Where, and what, it is that JSON cannot hold; None when there is no such thing. No recursion."""
    # What is being looked at, to find a value that holds itself: entered and left in order.
    inside: List[int] = []
    todo: List[Tuple[str, Any, bool]] = [("$", value, False)]
    while todo:
        path, at, leaves = todo.pop()
        if leaves:
            inside.pop()
            continue
        problem = None
        if at is None or isinstance(at, (bool, int)):
            continue
        if isinstance(at, str):
            problem = _text(at)
        elif isinstance(at, float):
            problem = None if math.isfinite(at) else "%r is no number of JSON" % at
        elif isinstance(at, (dict, list, tuple)):
            if id(at) in inside:
                problem = "it holds itself"
            else:
                inside.append(id(at))
                todo.append((path, at, True))
                if isinstance(at, dict):
                    for key in at:
                        if not isinstance(key, (str, int, float, bool, type(None))):
                            return "%s has a key of type %s" % (path, type(key).__name__)
                        if isinstance(key, str) and _text(key):
                            return "%s has a key with %s" % (path, _text(key))
                    todo.extend(("%s.%s" % (path, key), inner, False) for key, inner in at.items())
                else:
                    todo.extend(("%s[%d]" % (path, n), inner, False) for n, inner in enumerate(at))
        else:
            problem = "%s is no type of JSON" % type(at).__name__
        if problem is not None:
            return "%s: %s" % (path, problem)
    return None


def _text(text: str) -> Any:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "a lone surrogate"
    return None


def _slow(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for n, (key, inner) in enumerate(value.items()):
            if n > 0:
                yield ","
            if not isinstance(key, str):
                # As json does: the text of the number, true, false, null.
                key = str(Decimal(key)) if type(key) is int else _encode(key)
            yield _encode(key) + ":"
            yield from _slow(inner)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "["
        for n, inner in enumerate(value):
            if n > 0:
                yield ","
            yield from _slow(inner)
        yield "]"
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(Decimal(value))
    else:
        yield _encode(value)
