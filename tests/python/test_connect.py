"""Connecting, settings, closing: what programs for the old package rely on."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import pgqrs

from conftest import BACKEND, Place


async def test_connecting_connects_and_never_installs(place: Place) -> None:
    store = await place.connect()
    with pytest.raises(pgqrs.ConfigError) as refused:
        await store.queue("tasks")
    assert refused.value.code == "ESCHEMA" and refused.value.hint
    with pytest.raises(pgqrs.ConfigError):
        await pgqrs.Admin(store).verify()
    await store.bootstrap()
    await pgqrs.Admin(store).install()
    await pgqrs.Admin(store).verify()
    await store.queue("tasks")


@pytest.mark.skipif(BACKEND != "sqlite", reason="a file")
async def test_a_file_that_is_missing_is_created(place: Place) -> None:
    assert not place.path.exists()
    store = await pgqrs.connect("sqlite://%s" % place.path)
    await store.bootstrap()
    assert place.path.exists()
    await store.close()
    memory = await pgqrs.connect("sqlite::memory:")
    await memory.bootstrap()
    await memory.queue("tasks")
    assert await pgqrs.produce(memory, "tasks", 1) > 0
    await memory.close()
    with pytest.raises(pgqrs.PgqrsError):
        await pgqrs.connect("sqlite:///no/such/folder/x.db")


@pytest.mark.skipif(BACKEND != "postgres", reason="a server")
async def test_nobody_answers(place: Place) -> None:
    config = pgqrs.Config("postgresql://nobody.invalid:1/x")
    config.connection_timeout_seconds = 5
    began = time.monotonic()
    for dsn in ("postgresql://nobody.invalid:1/x", "postgres://127.0.0.1:1/x"):
        config = pgqrs.Config(dsn)
        config.connection_timeout_seconds = 5
        with pytest.raises((pgqrs.PgqrsConnectionError, pgqrs.ConfigError)):
            await pgqrs.connect_with(config)
    assert time.monotonic() - began < 11
    # Where somebody listens, and says nothing.
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(3600), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    config = pgqrs.Config("postgresql://127.0.0.1:%d/x?sslmode=disable" % port)
    config.connection_timeout_seconds = 1
    began = time.monotonic()
    with pytest.raises(pgqrs.PgqrsError) as failed:
        await pgqrs.connect_with(config)
    assert time.monotonic() - began < 5 and failed.value.retryable
    silent.close()


@pytest.mark.skipif(BACKEND != "postgres", reason="a server")
async def test_both_schemes_mean_postgresql(place: Place) -> None:
    store = await pgqrs.connect(place.dsn.replace("postgresql://", "postgres://"))
    await store.close()


@pytest.mark.parametrize(
    "dsn", ["", "nonsense", "mysql://localhost/x", "sqlite:", "postgresql://%zz", "sqlite://\ud800", "a\0b", "turso:"]
)
async def test_garbage_is_refused(dsn: str) -> None:
    with pytest.raises(pgqrs.PgqrsError):
        await pgqrs.connect(dsn)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some.text(max_size=40))
def test_any_garbage_is_refused(text: str) -> None:
    async def connect() -> None:
        with pytest.raises(pgqrs.PgqrsError):
            await pgqrs.connect("x" + text)

    asyncio.run(connect())
    with pytest.raises(pgqrs.ConfigError):
        pgqrs.Config(3)  # type: ignore[arg-type]


async def test_no_secret_is_told() -> None:
    config = pgqrs.Config("postgresql://me:sesame@nobody.invalid:1/x")
    config.connection_timeout_seconds = 5
    with pytest.raises(pgqrs.PgqrsError) as failed:
        await pgqrs.connect_with(config)
    error = failed.value
    assert "sesame" not in "".join([str(error), repr(error), error.hint, error.detail, repr(config)])


async def test_settings_are_read_and_written(place: Place) -> None:
    config = pgqrs.Config.from_dsn("sqlite::memory:")
    values = dict(
        schema="s",
        max_connections=42,
        connection_timeout_seconds=60,
        default_lock_time_seconds=120,
        default_max_batch_size=500,
        max_read_ct=10,
        heartbeat_interval_seconds=15,
        max_payload_size_bytes=1000,
        max_string_length=10,
        max_object_depth=3,
        forbidden_keys=["a"],
        required_keys=["b"],
        max_enqueue_per_second=10,
        max_enqueue_burst=20,
    )
    for name, value in values.items():
        setattr(config, name, value)
        assert getattr(config, name) == value
    assert config.dsn == "sqlite::memory:"
    with pytest.raises(AttributeError):
        config.dsn = "x"  # type: ignore[misc]
    for name, wrong in [("max_read_ct", 0), ("max_connections", True), ("heartbeat_interval_seconds", -1)]:
        config = pgqrs.Config("sqlite::memory:")
        setattr(config, name, wrong)
        with pytest.raises(pgqrs.ConfigError, match=name):
            await pgqrs.connect_with(config)


async def test_each_setting_does_what_it_says(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks", max_read_ct=2, default_lock_time_seconds=7, default_max_batch_size=3)
    consumer = await store.consumer("tasks")
    await pgqrs.produce_batch(store, "tasks", list(range(5)))
    first = await consumer.dequeue(100)
    assert len(first) == 3
    clock.advance(6)
    assert [m.payload for m in await consumer.dequeue(100)] == [3, 4]
    clock.advance(2)
    assert [(m.payload, m.read_ct) for m in await consumer.dequeue(100)] == [(0, 2), (1, 2), (2, 2)]
    clock.advance(8)
    assert [m.payload for m in await consumer.dequeue(100)] == [3, 4]
    dead = await (await store.get_queues()).metrics("tasks")
    assert dead.dead == 3


async def test_what_the_settings_refuse_is_not_written(place: Place) -> None:
    store = await place.store(
        "tasks",
        max_payload_size_bytes=60,
        max_string_length=10,
        max_object_depth=3,
        forbidden_keys=["secret"],
        required_keys=["id"],
    )
    producer = await store.producer("tasks")
    refused: List[Any] = [
        {"id": "x" * 11},
        {"id": [[[1]]]},
        {"id": 1, "secret": 2},
        {"id": [{"secret": 1}]},
        {"no": 1},
        [1],
        "text",
        {"id": ["x" * 9] * 9},
    ]
    for payload in refused:
        for call in (
            producer.enqueue(payload),
            producer.enqueue_delayed(payload, 1),
            pgqrs.produce_batch(store, "tasks", [{"id": 1}, payload]),
        ):
            with pytest.raises((pgqrs.ValidationError, pgqrs.SerializationError)):
                await call
    assert await (await store.get_messages()).count() == 0
    await producer.enqueue({"id": ["x" * 10, {"a": 1}]})


async def test_the_rate_is_limited_when_asked_for(place: Place) -> None:
    clock = place.standing()
    store = await place.store("tasks", max_enqueue_per_second=10, max_enqueue_burst=5)
    await pgqrs.produce_batch(store, "tasks", [1, 2, 3])
    with pytest.raises(pgqrs.RateLimitedError) as limited:
        await pgqrs.produce_batch(store, "tasks", [4, 5, 6])
    assert limited.value.retryable and limited.value.retry_after == pytest.approx(0.1)
    await pgqrs.produce_batch(store, "tasks", [4, 5])
    with pytest.raises(pgqrs.RateLimitedError):
        await pgqrs.produce(store, "tasks", 6)
    clock.advance(0.1)
    await pgqrs.produce(store, "tasks", 6)
    with pytest.raises(pgqrs.RateLimitedError) as never:
        await pgqrs.produce_batch(store, "tasks", list(range(6)))
    assert not never.value.retryable
    assert await (await store.get_messages()).count() == 6


async def test_closing(place: Place) -> None:
    store = await place.store("tasks")
    pending = asyncio.ensure_future(pgqrs.produce(store, "tasks", 1))
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    await store.close()
    assert store.closed
    assert isinstance((await asyncio.gather(pending, return_exceptions=True))[0], (int, pgqrs.PgqrsError))
    for call in (store.queue("x"), pgqrs.produce(store, "tasks", 1), store.bootstrap(), store.consumer("tasks")):
        with pytest.raises(pgqrs.PgqrsError, match="closed"):
            await call
    async with pgqrs.connect_with(place.config()) as other:
        async with other:
            assert await (await other.get_queues()).count() == 1
        assert other.closed


async def test_a_run_of_a_closed_store(place: Place) -> None:
    store = await place.store()
    run = await pgqrs.Admin(store).create_workflow("wf", 1)
    await run.start()
    acquired = await run.acquire_step("s")
    await store.close()
    assert acquired.guard is not None
    for call in (run.start(), acquired.guard.success(1), run.acquire_step("t")):
        with pytest.raises(pgqrs.PgqrsError):
            await call
    del run, acquired
    gc.collect()


def test_many_stores_that_nobody_closes(place: Place) -> None:
    """One store a test, with a fresh event loop each time in one thread; connections come back."""
    count = 57

    async def use(number: int) -> None:
        store = await pgqrs.connect_with(place.config())
        if number == 0:
            await store.bootstrap()
            await store.queue("tasks")
        run = await pgqrs.Admin(store).create_workflow("wf", number)
        await run.start()
        await asyncio.gather(*[pgqrs.produce(store, "tasks", n) for n in range(5)])
        if number % 3 == 0:  # something is under way when the loop ends
            asyncio.ensure_future(pgqrs.dequeue().from_queue("tasks").handle(print).poll(store))
            await asyncio.sleep(0)

    before = len(os.listdir("/proc/self/fd"))
    for number in range(count):
        asyncio.run(use(number))
    gc.collect()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        asyncio.run(asyncio.sleep(0.01))
        gc.collect()
        if len(os.listdir("/proc/self/fd")) < before + 15:
            break
    assert len(os.listdir("/proc/self/fd")) < before + 15
    if BACKEND == "postgres":
        busy = place.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE state ~ 'idle in transaction' AND query ~ '%s'"
            % place.schema
        )
        assert busy == "0"


@pytest.mark.skipif(BACKEND != "postgres", reason="a schema")
async def test_a_schema_is_dropped_under_a_live_store(place: Place) -> None:
    store = await place.store("tasks")
    await pgqrs.produce(store, "tasks", 1)
    place.sql('DROP SCHEMA "%s" CASCADE' % place.schema)
    with pytest.raises(pgqrs.PgqrsError):
        await pgqrs.produce(store, "tasks", 2)


async def test_errors_say_what_and_what_to_do(place: Place) -> None:
    store = await place.store()
    with pytest.raises(pgqrs.QueueNotFoundError) as missing:
        await pgqrs.produce(store, "nobody", 1)
    error = missing.value
    assert 'queue "nobody" does not exist' in str(error) and error.code == "ENOTFOUND" and error.hint
    assert error.sqlstate == "" and not error.retryable and not error.maybe_applied
    with pytest.raises(pgqrs.ValidationError):
        await store.queue("a\0b")
    with pytest.raises(pgqrs.ValidationError):
        await store.queue("")
    with pytest.raises(pgqrs.ValidationError):
        await store.queue("x" * 300)
