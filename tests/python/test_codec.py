"""Payloads: exact, typed, and refused with the path to what cannot be written."""

from __future__ import annotations

import collections
import enum
import json
import math
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, NewType, Optional, Sequence, Set, Tuple, Union
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Annotated, Literal, TypedDict

from pgqrs import SerializationError
from pgqrs.codec import JsonCodec, decode, encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=40)


@given(values)
def test_json_comes_back_exactly(value: Any) -> None:
    back = decode(encode(value))
    assert back == value
    assert repr(back) == repr(value)  # the kind of number, -0.0 and the order of keys, too


def test_integers_of_any_size() -> None:
    for number in (2**53 + 1, 2**63, -(2**64), 10**400):
        assert encode(number) == str(number)
        assert decode(encode([number])) == [number]


def test_nesting_and_what_is_too_deep() -> None:
    deep: Any = 1
    for _ in range(512):
        deep = [deep]
    assert encode(deep) == "[" * 512 + "1" + "]" * 512
    assert decode(encode(deep)) == deep
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested deeper"):
        encode(deep)
    with pytest.raises(SerializationError, match="nested deeper"):
        decode("[" * 100_000 + "]" * 100_000)


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Item:
    name: str
    price: Decimal
    at: Optional[datetime] = None


@dataclass
class Order:
    id: UUID
    items: List[Item]
    colour: Colour = Colour.RED
    notes: Dict[str, List[str]] = field(default_factory=dict)
    total: float = field(init=False, default=0.0)


class Point(NamedTuple):
    x: int
    y: Decimal


class Options(TypedDict, total=False):
    since: date
    limit: int


UserId = NewType("UserId", int)

ORDER = Order(
    UUID(int=7),
    [Item("ä\u0000\U0001f600", Decimal("1.10")), Item("b", Decimal("1E+3"), datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc))],
    Colour.PAIR,
    {"k": ["v"]},
)

TYPED: List[Tuple[Any, Any]] = [
    (datetime(2026, 1, 2, 3, 4, 5, 678901), datetime),
    (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))), datetime),
    (date(2026, 2, 28), date),
    (time(23, 59, 59, 1), time),
    (timedelta(days=-3, seconds=7, microseconds=1), timedelta),
    (Decimal("0.10"), Decimal),
    (Decimal("-1E-30"), Decimal),
    (UUID(int=2**127 + 1), UUID),
    (b"\x00\xff", bytes),
    (Colour.RED, Colour),
    (Colour.PAIR, Colour),
    (Level.HIGH, Level),
    (ORDER, Order),
    ([ORDER], List[Order]),
    ({"a": ORDER}, Dict[str, Order]),
    ({UUID(int=1): 1, UUID(int=2): 2}, Dict[UUID, int]),
    ({1: "a", 2: "b"}, Mapping[int, str]),
    ({Colour.RED: 1}, Dict[Colour, int]),
    ({None: 1}, Dict[None, int]),
    ({True: 1.5}, Dict[bool, float]),
    ({1: "a", "b": "c"}, Dict[Union[int, str], str]),
    ((1, "a", Decimal("2")), Tuple[int, str, Decimal]),
    ((1, 2, 3), Tuple[int, ...]),
    ((), Tuple[int, ...]),
    ({3, 1, 2}, Set[int]),
    (frozenset({UUID(int=1)}), FrozenSet[UUID]),
    ([1, 2], Sequence[int]),
    (Point(1, Decimal("2.50")), Point),
    ({"since": date(2026, 1, 1)}, Options),
    (None, Optional[Order]),
    (ORDER, Optional[Order]),
    (ORDER, Union[int, Order]),
    (5, Union[Order, int]),
    ("5", Union[int, str]),
    ("b", Literal["a", "b"]),
    (7, UserId),
    (7, Annotated[int, "doc"]),
    (1.0, float),
    (None, None),
    ([1, {"a": None}], Any),
]


@pytest.mark.parametrize("value,annotation", TYPED, ids=[str(kind) for _, kind in TYPED])
def test_typed_values_come_back(value: Any, annotation: Any) -> None:
    back = decode(encode(value), annotation)
    assert back == value
    assert type(back) is type(value)


def test_the_written_form_is_plain_json() -> None:
    assert json.loads(encode(ORDER)) == {
        "id": "00000000-0000-0000-0000-000000000007",
        "items": [
            {"name": "ä\u0000\U0001f600", "price": "1.10", "at": None},
            {"name": "b", "price": "1E+3", "at": "2026-01-02T03:04:05.000006+00:00"},
        ],
        "colour": [1, 2],
        "notes": {"k": ["v"]},
        "total": 0.0,
    }
    assert encode({"é": 1}) == '{"é":1}'
    assert decode('"2026-01-02T03:04:05Z"', datetime) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert decode("1", float) == 1.0
    assert encode(collections.OrderedDict(b=1, a=2)) == '{"b":1,"a":2}'


def test_pydantic_models() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        at: datetime
        price: Decimal

    class Outer(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        id: UUID
        inner: List[Inner] = []

    value = Outer(id=UUID(int=1), inner=[Inner(at=datetime(2026, 1, 1), price=Decimal("1.10"))])
    assert decode(encode(value), Outer) == value
    assert decode(encode({"a": [value]}), Dict[str, List[Outer]]) == {"a": [value]}
    with pytest.raises(SerializationError, match=r"^\$\[0\]: not a .*Outer"):
        decode('[{"id":"no"}]', List[Outer])


class Opaque:
    pass


LOOP: List[Any] = []
LOOP.append(LOOP)

REFUSED: List[Tuple[Any, str, str]] = [
    ({"a": [0, {"b c": Opaque()}]}, '$.a[1]["b c"]', "Opaque"),
    ([1, math.nan], "$[1]", "nan"),
    ({"x": -math.inf}, "$.x", "inf"),
    ([{"k": "\ud800"}], "$[0].k", "lone surrogate"),
    ({"\udfff": 1}, "$", "lone surrogate"),
    ({(1, 2): 1}, "$", "key of type tuple"),
    ({1: "a", "1": "b"}, "$", "two keys"),
    ({"deep": {1: "a", "1": "b"}}, "$.deep", "two keys"),
    ({math.nan: 1}, "$", "nan"),
    (LOOP, "$[0]", "contains itself"),
    (Item("a", Decimal(1), Opaque()), "$.at", "Opaque"),  # type: ignore[arg-type]
    (lambda: 0, "$", "function"),
    ({"s": {Opaque()}}, "$.s[0]", "Opaque"),
]


@pytest.mark.parametrize("value,path,problem", REFUSED, ids=[path for _, path, _ in REFUSED])
def test_what_cannot_be_written_is_named_with_its_path(value: Any, path: str, problem: str) -> None:
    with pytest.raises(SerializationError) as caught:
        encode(value)
    assert str(caught.value).startswith(path + ": ")
    assert problem in str(caught.value)
    assert caught.value.detail == path
    assert caught.value.code == "EJSON"


UNFIT: List[Tuple[str, Any, str, str]] = [
    ("[1", Any, "$", "not JSON"),
    ('{"id":"x","items":[]}', Order, "$.id", "UUID"),
    ('{"items":[]}', Order, "$", 'needs a field "id"'),
    ('{"id":"00000000-0000-0000-0000-000000000007","items":[{"name":1,"price":"1"}]}', Order, "$.items[0].name", "expected str"),
    ('{"name":"a","price":"1","more":1}', Item, "$", 'no field "more"'),
    ("true", int, "$", "expected int, not bool"),
    ("1", str, "$", "expected str"),
    ("1.5", int, "$", "expected int"),
    ('["a"]', List[int], "$[0]", "expected int"),
    ('{"a":"b"}', Dict[str, int], "$.a", "expected int"),
    ('{"a":1}', Dict[int, int], "$", "int"),
    ("[1]", Tuple[int, int], "$", "expected 2 items"),
    ('"green"', Colour, "$", "Colour"),
    ('"c"', Literal["a"], "$", "none of"),
    ("[]", Union[int, Order], "$", "fits none"),
    ('"x"', Optional[int], "$", "expected int"),
    ('"2026-13-01"', date, "$", "date"),
    ('"?"', bytes, "$", "bytes"),
    ("{}", Opaque, "$", "not a type"),
    ("null", Order, "$", "expected"),
]


@pytest.mark.parametrize("text,annotation,path,problem", UNFIT, ids=[text for text, _, _, _ in UNFIT])
def test_what_does_not_fit_its_annotation_is_refused(text: str, annotation: Any, path: str, problem: str) -> None:
    with pytest.raises(SerializationError) as caught:
        decode(text, annotation)
    assert str(caught.value).startswith(path + ": ")
    assert problem in str(caught.value)


def test_a_codec_holds_nothing() -> None:
    assert JsonCodec().decode(JsonCodec().encode({"a": 1})) == {"a": 1}
