"""What goes in comes out: payloads, inputs, results."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, List, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import pgqrs

from conftest import Place

values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(),
    lambda inner: some.lists(inner, max_size=4)
    | some.dictionaries(some.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal, with types, signs of zero and the order of keys."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return bool(a == b)


class Shop:
    """A store for many examples, in one loop."""

    def __init__(self, place: Place) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = self.run(place.store("tasks"))
        self.consumer = self.run(self.store.consumer("tasks"))

    def run(self, call: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(call, 30))

    async def there_and_back(self, payloads: List[Any]) -> List[Any]:
        await asyncio.gather(*[pgqrs.produce(self.store, "tasks", payload) for payload in payloads])
        messages = await self.consumer.dequeue(len(payloads))
        await self.consumer.delete_many([m.id for m in messages])
        return [m.payload for m in messages]


def test_values_come_back_exactly(place: Place) -> None:
    shop = Shop(place)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(some.lists(values, min_size=1, max_size=8))
    def check(payloads: List[Any]) -> None:
        assert same(shop.run(shop.there_and_back(payloads)), payloads)

    check()
    special = [0, -0.0, 5e-324, 1.7976931348623157e308, 2**63, -(2**63) - 1, 10**30, "", "\0", "é\U0001f600",
               {"b": 1, "a": {"": None}}, [[[]]], True, "\u2028", {"\0": "\0"}]
    assert same(shop.run(shop.there_and_back(special)), special)
    huge: List[Any] = [10**6000 + 1, {"n": [-(10**5000)]}]
    back = shop.run(shop.there_and_back(huge))
    assert back[0] - huge[0] == 0 and back[1]["n"][0] - huge[1]["n"][0] == 0
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    assert shop.run(shop.there_and_back([deep])) == [deep]
    shop.run(shop.store.close())
    shop.loop.close()


class Odd:
    pass


def holding() -> List[Any]:
    inner: List[Any] = []
    inner.append({"me": inner})
    return inner


@pytest.mark.parametrize(
    "payload,path",
    [
        ({"a": [1, {"b": Odd()}]}, "$.a[1].b"),
        (float("nan"), "$"),
        ([float("-inf")], "$[0]"),
        ("\ud800", "$"),
        ({"x": {"\udfff": 1}}, "$.x"),
        ({"x": b"bytes"}, "$.x"),
        ({"x": {1, 2}}, "$.x"),
        ({("a", 1): 1}, "$"),
        (holding(), "$"),
    ],
)
async def test_what_json_cannot_hold_is_refused_with_its_place(place: Place, payload: Any, path: str) -> None:
    store = await place.store("tasks")
    run = await pgqrs.Admin(store).create_workflow("wf", 1)
    acquired = await run.acquire_step("s")
    assert acquired.guard is not None
    calls = [
        pgqrs.produce(store, "tasks", payload),
        pgqrs.produce_batch(store, "tasks", [1, payload]),
        pgqrs.workflow().name("wf").store(store).trigger(payload).execute(),
        acquired.guard.success(payload),
        run.success(payload),
    ]
    for call in calls:
        with pytest.raises(pgqrs.SerializationError) as refused:
            await call
        assert path in str(refused.value) and refused.value.code == "EJSON"
    assert (await (await store.get_queues()).metrics("tasks")).total_messages == 0
    await acquired.guard.success(None)
    await run.success({"ok": True})


async def test_too_large_and_too_deep_is_refused(place: Place) -> None:
    store = await place.store("tasks")
    deep: Optional[List[Any]] = None
    for _ in range(513):
        deep = [deep]
    for payload in ("x" * (1 << 20), deep):
        with pytest.raises((pgqrs.ValidationError, pgqrs.SerializationError)):
            await pgqrs.produce(store, "tasks", payload)
    await pgqrs.produce(store, "tasks", "x" * ((1 << 20) - 2))
    strings = [{"text": "y" * 5000}] * 60  # neither long texts nor batches over 50 are refused by default
    assert len(await pgqrs.produce_batch(store, "tasks", strings)) == 60


async def test_results_and_errors_hold_any_text(place: Place) -> None:
    store = await place.store()
    run = await pgqrs.Admin(store).create_workflow("wf", {"é": [1]})
    result = {"n": 2**80, "t": "\0 \U0001f600", "f": -0.0}
    await run.complete_step("s", result)
    assert same((await run.acquire_step("s")).value, result)
    await run.fail_step("bad", "nul \0, surrogate \ud800")
    steps = await (await store.get_workflow_steps()).list()
    assert "surrogate" in next(s for s in steps if s.step_name == "bad").error["message"]
    await run.success(result)
    assert same(await pgqrs.run().message(run.id()).store(store).get(), result)
    assert json.loads(json.dumps(run.input)) == {"é": [1]}
