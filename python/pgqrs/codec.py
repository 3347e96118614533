"""Payloads: Python values as JSON text and back.

`JsonCodec` takes whatever `json` takes, exactly: text, integers of any size, nesting, the order of
keys, -0.0. Beside these, values of types that JSON does not have:

    dataclasses, pydantic models, named tuples   objects, by field (named tuples: arrays)
    datetime, date, time                         ISO 8601 text
    timedelta                                    seconds
    Decimal, UUID, Enum                          text; an Enum's value
    bytes                                        base64 text
    set, frozenset, tuple                        arrays

JSON does not say which of them a text was, so reading is guided by the annotation of whoever reads:
`decode(text, Order)` gives an Order, `decode(text)` what JSON says. A value that does not fit its
annotation, and one that cannot be written, is a SerializationError with the path to it ("$.items[2].at").

Another format is another object with the same two methods (see `Codec`); what it writes must be JSON
text, since that is what the database holds.
"""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import enum
import json
import sys
import typing
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Tuple, Union
from uuid import UUID

from ._errors import SerializationError

__all__ = ["Codec", "JsonCodec", "decode", "default_codec", "encode"]

MAX_DEPTH = 4096
"""Levels of nesting that are read and written; the store's own limit (512 by default) comes first."""


class Codec(Protocol):
    """How payloads, results and inputs become JSON text."""

    def encode(self, value: Any) -> str:
        """JSON text for a value. Raises SerializationError for one that cannot be written."""
        ...

    def decode(self, text: str, annotation: Any = Any) -> Any:
        """The value of a JSON text, as the annotation wants it. Raises SerializationError."""
        ...


def _refuse(path: str, problem: str, hint: str = "", cause: Optional[BaseException] = None) -> SerializationError:
    error = SerializationError("%s: %s" % (path, problem))
    error.code = "EJSON"
    error.detail = path
    error.hint = hint
    error.__cause__ = cause
    return error


def _named(kind: Any) -> str:
    if isinstance(kind, type):
        return kind.__qualname__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__qualname__)
    return str(kind).replace("typing.", "")


def _key_path(path: str, key: Any) -> str:
    return "%s.%s" % (path, key) if isinstance(key, str) and key.isidentifier() else "%s[%s]" % (path, json.dumps(key, default=repr))


# --- Writing -----------------------------------------------------------------------------------------


def _is_pydantic(value: Any) -> bool:
    return hasattr(value, "model_dump") and hasattr(type(value), "model_validate")


def _seconds(value: timedelta) -> Union[int, float]:
    exact = value.total_seconds()
    whole = int(exact)
    return whole if whole == exact else exact


def _step_down(value: Any) -> Any:
    """A value of a type that JSON does not have, one level closer to JSON; TypeError when there is none."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _seconds(value)
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, (set, frozenset)):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_pydantic(value):
        model: Any = value
        return model.model_dump(mode="json", by_alias=True)
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    raise TypeError


def _plain_key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (bool, int, float)):
        if isinstance(key, float) and key - key != 0:
            raise _refuse(path, "the key %r is not a number that JSON has" % key)
        return json.dumps(key)
    if isinstance(key, (datetime, date, time, Decimal, UUID)):
        return str(_step_down(key))
    raise _refuse(path, "a key of type %s cannot be written as JSON" % _named(type(key)), "Use text as keys.")


def _check_text(value: str, path: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise _refuse(
            path,
            "the text holds a lone surrogate (%r), which is no character" % value[problem.start],
            "Decode bytes with the encoding they are in, or give them as bytes.",
            problem,
        ) from None


def _simplify(value: Any, path: str, above: Tuple[int, ...]) -> Any:
    """A copy of the value in which everything is what JSON has. Slow; says where something is not."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        plain = str.__str__(value) if not isinstance(value, enum.Enum) else str(value.value)
        _check_text(plain, path)
        return plain
    if isinstance(value, enum.Enum):
        return _simplify(value.value, path, above)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value - value != 0:
            raise _refuse(path, "%r is not a number that JSON has" % value, "Use None, or text.")
        return float(value)
    if id(value) in above:
        raise _refuse(path, "the value contains itself")
    if len(above) >= MAX_DEPTH:
        raise _refuse(path[:80] + "...", "nested deeper than %d levels" % MAX_DEPTH)
    inside = above + (id(value),)
    if isinstance(value, dict):
        made: Dict[str, Any] = {}
        for key, item in value.items():
            name = _plain_key(key, path)
            _check_text(name, path)
            if name in made:
                raise _refuse(path, "two keys become %s in JSON" % json.dumps(name), "Use text as keys.")
            made[name] = _simplify(item, _key_path(path, key), inside)
        return made
    if isinstance(value, (list, tuple)):
        return [_simplify(item, "%s[%d]" % (path, i), inside) for i, item in enumerate(value)]
    try:
        lower = _step_down(value)
    except TypeError:
        raise _refuse(
            path,
            "a value of type %s cannot be written as JSON" % _named(type(value)),
            "Make it a dataclass, or convert it; or give the store a codec of yours.",
        ) from None
    except SerializationError:
        raise
    except Exception as problem:
        raise _refuse(path, "a value of type %s could not be written (%s)" % (_named(type(value)), problem), "", problem)
    return _simplify(lower, path, inside)


def _has_odd_keys(value: Any) -> bool:
    """Whether a dict in it has keys other than text: json would write two different ones alike."""
    if type(value) not in (dict, list, tuple):
        return False
    waiting: List[Any] = [value]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            for key, inner in item.items():
                if type(key) is not str:
                    return True
                if type(inner) in (dict, list, tuple):
                    waiting.append(inner)
        else:
            for inner in item:
                if type(inner) in (dict, list, tuple):
                    waiting.append(inner)
    return False


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


# --- Reading -----------------------------------------------------------------------------------------

_MISSING = object()
_UNIONS: Tuple[Any, ...] = (Union,)
if sys.version_info >= (3, 10):
    import types

    _UNIONS = (Union, types.UnionType)

_hints: Dict[Any, Dict[str, Any]] = {}


def _hints_of(kind: Any) -> Dict[str, Any]:
    """The annotations of a class's fields, resolved."""
    try:
        found = _hints.get(kind)
    except TypeError:
        return {}
    if found is None:
        try:
            found = typing.get_type_hints(kind)
        except Exception:  # a name that does not exist at run time: its values are what JSON says
            found = {}
        _hints[kind] = found
    return found


def _expect(value: Any, kinds: Union[type, Tuple[type, ...]], annotation: Any, path: str) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and annotation in (int, float)):
        raise _refuse(path, "expected %s, not %s" % (_named(annotation), _named(type(value))))
    return value


def _parse(read: Callable[[Any], Any], value: Any, annotation: Any, path: str) -> Any:
    try:
        return read(value)
    except SerializationError:
        raise
    except Exception as problem:
        raise _refuse(path, "not a %s: %s" % (_named(annotation), str(problem) or repr(value)), "", problem)


def _datetime(value: str) -> datetime:
    if value.endswith(("Z", "z")):
        return datetime.fromisoformat(value[:-1]).replace(tzinfo=timezone.utc)
    return datetime.fromisoformat(value)


def _fields(kind: Any, value: Any, path: str) -> Any:
    """A dataclass of an object."""
    given = dict(_expect(value, dict, kind, path))
    hints = _hints_of(kind)
    made: Dict[str, Any] = {}
    later: Dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        item = given.pop(field.name, _MISSING)
        if item is _MISSING:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and field.init:
                raise _refuse(path, "%s needs a field \"%s\"" % (_named(kind), field.name))
            continue
        (made if field.init else later)[field.name] = _shape(item, hints.get(field.name, Any), _key_path(path, field.name))
    if given:
        raise _refuse(path, "%s has no field \"%s\"" % (_named(kind), next(iter(given))))
    result = _parse(lambda fields: kind(**fields), made, kind, path)
    for name, item in later.items():
        object.__setattr__(result, name, item)
    return result


def _key(value: str, annotation: Any, path: str) -> Any:
    """A key of an object, as its annotation wants it."""
    annotation = _bare(annotation)
    if annotation in (Any, str, object):
        return value
    if annotation in (bool, int, float, type(None)):
        return _shape(_parse(json.loads, value, annotation, path), annotation, path)
    choices: Tuple[Any, ...] = ()
    if typing.get_origin(annotation) in _UNIONS:
        choices = typing.get_args(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        for text in (value, _MISSING):
            try:
                return _shape(json.loads(value) if text is _MISSING else text, annotation, path)
            except (SerializationError, ValueError):
                continue
    for choice in choices:
        try:
            return _key(value, choice, path)
        except SerializationError:
            continue
    if choices:
        raise _refuse(path, "the key %s is no %s" % (json.dumps(value), _named(annotation)))
    return _shape(value, annotation, path)


def _bare(annotation: Any) -> Any:
    """Without Annotated, NewType and the like."""
    while True:
        if hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__metadata__") and hasattr(annotation, "__origin__"):
            annotation = annotation.__origin__
        else:
            return annotation


def _union(value: Any, members: Tuple[Any, ...], annotation: Any, path: str) -> Any:
    if value is None and type(None) in members:
        return None
    reasons = []
    for member in members:
        if member is type(None):
            continue
        try:
            return _shape(value, member, path)
        except SerializationError as problem:
            reasons.append(problem)
    if len(reasons) == 1:
        raise reasons[0]
    raise _refuse(path, "fits none of %s" % ", ".join(_named(member) for member in members))


_SEQUENCES: Dict[Any, Callable[[List[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _generic(value: Any, origin: Any, given: Tuple[Any, ...], annotation: Any, path: str) -> Any:
    if origin in _UNIONS:
        return _union(value, given, annotation, path)
    if origin is typing.Literal or str(origin) == "typing_extensions.Literal":  # its own, before 3.10
        for allowed in given:
            plain = allowed.value if isinstance(allowed, enum.Enum) else allowed
            if type(plain) is type(value) and plain == value:
                return allowed
        raise _refuse(path, "%r is none of %s" % (value, ", ".join(repr(allowed) for allowed in given)))
    if origin is tuple:
        items = _expect(value, list, annotation, path)
        if len(given) == 2 and given[1] is Ellipsis:
            return tuple(_shape(item, given[0], "%s[%d]" % (path, i)) for i, item in enumerate(items))
        wanted = () if given == ((),) else given
        if len(items) != len(wanted):
            raise _refuse(path, "expected %d items, not %d" % (len(wanted), len(items)))
        return tuple(_shape(item, wanted[i], "%s[%d]" % (path, i)) for i, item in enumerate(items))
    if origin in _SEQUENCES:
        items = _expect(value, list, annotation, path)
        inner = given[0] if given else Any
        return _SEQUENCES[origin]([_shape(item, inner, "%s[%d]" % (path, i)) for i, item in enumerate(items)])
    if origin in _MAPPINGS:
        entries = _expect(value, dict, annotation, path)
        keys, values = given if len(given) == 2 else (Any, Any)
        return {_key(key, keys, path): _shape(item, values, _key_path(path, key)) for key, item in entries.items()}
    if isinstance(origin, type) and (hasattr(origin, "model_validate") or dataclasses.is_dataclass(origin)):
        return _class(value, annotation if hasattr(annotation, "model_validate") else origin, path)
    raise _refuse(path, "the annotation %s is not one that JSON can be read as" % _named(annotation))


def _class(value: Any, kind: Any, path: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _parse(lambda given: _enum(kind, given, path), value, kind, path)
    if hasattr(kind, "model_validate"):
        return _parse(kind.model_validate, value, kind, path)
    if dataclasses.is_dataclass(kind):
        return _fields(kind, value, path)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        items = _expect(value, list, kind, path)
        hints = _hints_of(kind)
        shaped = [
            _shape(item, hints.get(name, Any), "%s[%d]" % (path, i))
            for i, (name, item) in enumerate(zip(getattr(kind, "_fields"), items))
        ]
        return _parse(lambda made: kind(*made), shaped + items[len(shaped):], kind, path)
    if issubclass(kind, dict) and hasattr(kind, "__total__"):  # a TypedDict
        entries = _expect(value, dict, kind, path)
        hints = _hints_of(kind)
        for name in getattr(kind, "__required_keys__", ()):
            if name not in entries:
                raise _refuse(path, "%s needs a key \"%s\"" % (_named(kind), name))
        return {name: _shape(item, hints.get(name, Any), _key_path(path, name)) for name, item in entries.items()}
    if isinstance(value, kind):
        return value
    raise _refuse(
        path,
        "%s is not a type that JSON can be read as" % _named(kind),
        "Annotate it as a dataclass or a type that JSON has; or give the store a codec of yours.",
    )


def _enum(kind: Any, value: Any, path: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        for member in kind:
            if json.loads(_dumps(_simplify(member.value, path, ()))) == value:
                return member
        raise


_READERS: Dict[Any, Tuple[Any, Callable[[Any], Any]]] = {
    datetime: (str, _datetime),
    date: (str, date.fromisoformat),
    time: (str, time.fromisoformat),
    timedelta: ((int, float), lambda value: timedelta(seconds=value)),
    Decimal: ((str, int), Decimal),
    UUID: (str, UUID),
    bytes: (str, lambda value: base64.b64decode(value, validate=True)),
    bytearray: (str, lambda value: bytearray(base64.b64decode(value, validate=True))),
}


def _shape(value: Any, annotation: Any, path: str) -> Any:
    """The value as its annotation wants it."""
    annotation = _bare(annotation)
    if annotation is Any or annotation is object or isinstance(annotation, (str, typing.TypeVar)):
        return value
    if annotation is None or annotation is type(None):
        return _expect(value, type(None), type(None), path)
    if annotation in (str, int, bool):
        return _expect(value, annotation, annotation, path)
    if annotation is float:
        return float(_expect(value, (int, float), float, path))
    origin = typing.get_origin(annotation)
    if origin is not None and not hasattr(annotation, "model_validate"):
        return _generic(value, origin, typing.get_args(annotation), annotation, path)
    reader = _READERS.get(annotation)
    if reader is not None:
        return _parse(reader[1], _expect(value, reader[0], annotation, path), annotation, path)
    if annotation is tuple:
        return tuple(_expect(value, list, tuple, path))
    if annotation in _SEQUENCES:
        return _SEQUENCES[annotation](_expect(value, list, annotation, path))
    if annotation in _MAPPINGS:
        return _expect(value, dict, annotation, path)
    if isinstance(annotation, type):
        return _class(value, annotation, path)
    return value


# --- The codec ---------------------------------------------------------------------------------------


class JsonCodec:
    """JSON, and the types that the head of this module lists. Holds nothing; share it freely."""

    def encode(self, value: Any) -> str:
        """JSON text for a value, exact. Raises SerializationError with the path to what cannot be written."""
        try:
            text = _dumps(value)  # refuses what contains itself
            if not _has_odd_keys(value):
                text.encode("utf-8")
                return text
        except (TypeError, ValueError, RecursionError):
            pass
        try:
            return _dumps(_simplify(value, "$", ()))
        except RecursionError:
            raise _refuse("$", "nested deeper than this Python can write", "Flatten it.") from None

    def decode(self, text: str, annotation: Any = Any) -> Any:
        """The value of a JSON text, as the annotation wants it: `decode("[1]", List[int])`."""
        try:
            value = json.loads(text)
        except RecursionError:
            raise _refuse("$", "nested deeper than this Python can read") from None
        except ValueError as problem:
            raise _refuse("$", "not JSON: %s" % problem, "", problem) from None
        return _shape(value, annotation, "$")


default_codec: Codec = JsonCodec()


def encode(value: Any) -> str:
    """JSON text for a value, by the default codec."""
    return default_codec.encode(value)


def decode(text: str, annotation: Any = Any) -> Any:
    """The value of a JSON text, by the default codec."""
    return default_codec.decode(text, annotation)


def annotations_of(function: Callable[..., Any], local: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
    """A function's annotations, resolved; `local` are names beside its module's.

    Raises TypeError for a name that does not exist at run time: without it the value would silently
    be something else than the function expects.
    """
    try:
        return dict(typing.get_type_hints(function, None, None if local is None else dict(local)))
    except Exception as problem:
        raise TypeError(
            "the annotations of %s cannot be read (%s): import the names outside `if TYPE_CHECKING`"
            % (getattr(function, "__qualname__", function), problem)
        ) from problem
