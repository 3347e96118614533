"""Transactional steps: SQL of the user's and the record of the step are one commit."""

from __future__ import annotations

import asyncio
import math
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Dict, List, Tuple

import pytest

import pgqrs

from conftest import BACKEND, Place

from test_flow import done, drain, names, nothing_done  # noqa: F401

POSTGRES = BACKEND == "postgres"
pytestmark = pytest.mark.skipif(BACKEND == "turso", reason="Turso lends no connection: see test_flow")


async def prepared(place: Place, **settings: Any) -> pgqrs.Store:
    store = await place.store("receipts", **settings)
    table = "%s.accounts" % place.schema if POSTGRES else "accounts"
    place.sql("CREATE TABLE %s (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))" % table)
    place.sql("INSERT INTO %s VALUES (1, 100), (2, 0)" % table)
    return store


def accounts(place: Place) -> str:
    return "%s.accounts" % place.schema if POSTGRES else "accounts"


def balances(place: Place) -> List[str]:
    return place.sql("SELECT balance FROM %s ORDER BY id" % accounts(place)).split()


def transfer(place: Place, fails: List[Any], **how: Any) -> pgqrs.Workflow[int, Dict[str, Any]]:
    table = accounts(place)

    @pgqrs.workflow
    async def move(run: pgqrs.WorkflowRun, amount: int) -> Dict[str, Any]:
        async with run.transaction("transfer", **how) as tx:
            done.append("block")
            taken = await tx.execute("UPDATE %s SET balance = balance - $1 WHERE id = $2" % table, amount, 1)
            await tx.execute("UPDATE %s SET balance = balance + $2 WHERE id = $1" % table, 2, amount)
            row = await tx.fetchrow("SELECT id, balance FROM %s WHERE id = $1" % table, 2)
            nothing = await tx.fetchrow("SELECT id FROM %s WHERE id = $1" % table, 99)
            total = await tx.fetchval("SELECT sum(balance) FROM %s" % table)
            message = await tx.enqueue("receipts", {"amount": amount})
            if fails and fails[0] == "inside":
                raise fails.pop(0) and ValueError("inside")
        if fails and fails[0] == "after":
            raise fails.pop(0) and ValueError("after")
        return {"taken": taken, "row": row, "nothing": nothing, "total": int(total), "message": message}

    return move


async def test_statements_messages_and_record_are_one_commit(place: Place) -> None:
    clock = place.standing()
    store = await prepared(place)
    move = transfer(place, ["after"])
    handle = await move.start(store, 30)
    await drain(store, move)
    assert balances(place) == ["70", "30"]
    clock.advance(3600)
    await drain(store, move)  # the block is executed again, and sends nothing
    result = await handle.result()
    assert done == ["block", "block"]
    assert balances(place) == ["70", "30"]
    message = result.pop("message")
    assert result == {"taken": 1, "row": {"id": 2, "balance": 30}, "nothing": None, "total": 100}
    consumer = await store.consumer("receipts")
    assert [(one.id, one.payload) for one in await consumer.dequeue(10)] == [(message, {"amount": 30})]
    assert await names(store, handle.id) == ["transfer"]


async def test_a_block_that_raises_leaves_nothing_and_has_failed(place: Place) -> None:
    store = await prepared(place)
    move = transfer(place, ["inside"])
    handle = await move.start(store, 30)
    await drain(store, move)
    with pytest.raises(pgqrs.WorkflowFailedError, match="inside") as caught:
        await handle.result()
    assert caught.value.code == "ValueError"
    assert balances(place) == ["100", "0"]
    assert await (await store.get_messages()).count() == 0


async def test_what_the_database_refuses(place: Place) -> None:
    store = await prepared(place)
    seen: List[Any] = []

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        try:
            async with run.transaction("overdraw") as tx:
                try:
                    await tx.execute("UPDATE %s SET balance = balance - 1000" % accounts(place))
                except pgqrs.DatabaseError as error:
                    seen.append(error.sqlstate)
                    raise
        except pgqrs.StepFailedError as error:
            seen.append(error.code)
            return "refused"
        return "done"

    handle = await wf.start(store)
    await drain(store, wf)
    assert await handle.result(timeout=5) == "refused"
    assert seen == ["23514", "EDB"]
    assert balances(place) == ["100", "0"]


async def test_retry_and_transient(place: Place) -> None:
    clock = place.standing()
    store = await prepared(place)
    policy = pgqrs.StepRetryPolicy(3, pgqrs.BackoffStrategy.fixed(7))
    move = transfer(place, ["inside", "inside"], retry=policy)
    handle = await move.start(store, 30)
    for _ in range(2):
        await drain(store, move)
        assert balances(place) == ["100", "0"]
        clock.advance(6)
        assert await drain(store, move) == 0
        clock.advance(1)
    await drain(store, move)
    assert balances(place) == ["70", "30"]
    assert (await handle.result())["taken"] == 1


async def test_everything_else_of_the_store_is_refused_at_once(place: Place) -> None:
    store = await prepared(place)
    refused: List[Any] = []

    @pgqrs.step
    async def other() -> None:
        done.append("other")

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        producer = await store.producer("receipts")
        async with run.transaction("t") as tx:
            await tx.execute("UPDATE %s SET balance = 1" % accounts(place))
            for refuse in (
                lambda: producer.enqueue(1),
                lambda: pgqrs.produce(store, "receipts", 1),
                lambda: other(),
                lambda: run.sleep(1),
                lambda: run.transaction("inner").__aenter__(),
                lambda: handle.cancel(),
                lambda: store.close(),
            ):
                with pytest.raises(pgqrs.PgqrsError) as caught:
                    await asyncio.wait_for(refuse(), 5)
                refused.append((caught.value.code, bool(caught.value.hint)))
        await producer.enqueue(2)  # and after it everything goes on
        await other()
        return "end"

    handle = await wf.start(store)
    await drain(store, wf)
    assert await handle.result(timeout=5) == "end"
    assert refused == [("EBUSY", True)] * 7
    assert done == ["other"]
    assert balances(place) == ["1", "1"]


async def test_a_block_that_changed_is_told(place: Place) -> None:
    clock = place.standing()
    store = await prepared(place)
    version = ["SELECT 1 AS a", "SELECT 2 AS a", "fewer", "more"]
    told: List[str] = []

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        now = version.pop(0)
        try:
            async with run.transaction("t") as tx:
                if now != "fewer":
                    await tx.fetch("SELECT 1 AS a" if now == "more" else now)
                if now == "more":
                    await tx.fetch("SELECT 2 AS a")
        except pgqrs.StateTransitionError as error:
            told.append(str(error))
        raise ValueError("again")

    await wf.start(store)
    for _ in range(4):
        await drain(store, wf)
        clock.advance(86400)
    assert ["is not what was recorded" in told[0], "fewer calls" in told[1], "more calls" in told[2]] == [True] * 3


async def test_sql_that_is_refused(place: Place) -> None:
    store = await prepared(place)
    seen: List[str] = []
    wrong: List[Tuple[str, Tuple[Any, ...]]] = [
        ("COMMIT", ()),
        (" /* a */ -- b\n begin", ()),
        ("ROLLBACK;", ()),
        ("SELECT 1; SELECT 2", ()),
        ("SELECT $1", ()),
        ("SELECT $1", ("\ud800",)),
        ("SELECT $1", (object(),)),
        ("SELECT '\0'", ()),
    ]

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        for number, (sql, arguments) in enumerate(wrong):
            try:
                async with run.transaction("t%d" % number) as tx:
                    await tx.execute(sql, *arguments)
                seen.append("no error: %s" % sql)
            except pgqrs.StepFailedError as error:
                seen.append("refused")
        async with run.transaction("fine") as tx:
            await tx.execute("SAVEPOINT a")
            await tx.execute("UPDATE %s SET balance = 5" % accounts(place))
            await tx.execute("ROLLBACK TO a")
            assert await tx.fetchval("SELECT '$1 ?' /* $2 */ || $1", "x") == "$1 ?x"
        with pytest.raises(pgqrs.StateTransitionError, match="not open"):
            await tx.execute("SELECT 1")
        return "end"

    handle = await wf.start(store)
    await drain(store, wf)
    assert await handle.result(timeout=5) == "end"
    assert seen == ["refused"] * len(wrong)
    assert balances(place) == ["100", "0"]


async def test_values_come_back_as_what_they_are_and_so_does_a_replay(place: Place) -> None:
    clock = place.standing()
    store = await prepared(place)
    got: List[Any] = []
    values: List[Tuple[str, Any]] = [
        ("bigint", -(2**63)), ("bigint", 2**63 - 1), ("text", "ä\U0001f600'\"$1?\n"), ("text", ""), ("text", None),
        ("double precision", 0.1), ("double precision", -math.inf), ("bytea", b"\x00\xff"), ("bytea", b""),
    ]
    if POSTGRES:
        values += [
            ("boolean", True), ("smallint", 7), ("numeric", Decimal("123456789012345678901234567890.10")),
            ("uuid", uuid.UUID(int=7)), ("date", date(2026, 2, 28)), ("time", time(1, 2, 3, 4)),
            ("timestamp", datetime(2026, 1, 2, 3, 4, 5, 60)), ("jsonb", {"a": [1, None, "é"]}),
            ("timestamptz", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))),
        ]

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> None:
        async with run.transaction("t") as tx:
            one = ", ".join("CAST($%d AS %s) AS c%d" % (n + 1, kind, n) for n, (kind, _) in enumerate(values))
            if not POSTGRES:
                one = ", ".join("$%d AS c%d" % (n + 1, n) for n in range(len(values)))
            row = await tx.fetchrow("SELECT " + one, *[value for _, value in values])
            if POSTGRES:
                both = await tx.fetchval("SELECT sum(x) FROM unnest($1::bigint[]) AS x", [1, 2, 3])
                text = await tx.fetchval("SELECT $1::text[] = ARRAY['a\"', NULL, 'b,{}\\']", ['a"', None, "b,{}\\"])
                span = await tx.fetchval("SELECT $1::interval = '1 day 2.5 seconds'", timedelta(days=1, seconds=2.5))
                assert (both, text, span) == (6, True, True)
        got.append(list((row or {}).values()))
        raise ValueError("again")

    await wf.start(store)
    for _ in range(2):
        await drain(store, wf)
        clock.advance(3600)
    for answer in got:
        assert answer == [value for _, value in values]
        assert [type(one) for one in answer] == [type(value) for _, value in values]
    assert len(got) == 2


async def test_a_cancelled_task_rolls_back_and_leaves_the_store_usable(place: Place) -> None:
    store = await prepared(place)
    inside = asyncio.Event()

    @pgqrs.workflow
    async def wf(run: pgqrs.WorkflowRun) -> str:
        async with run.transaction("t") as tx:
            await tx.execute("UPDATE %s SET balance = 7" % accounts(place))
            if not inside.is_set():
                inside.set()
                await asyncio.Event().wait()
        return "end"

    handle = await wf.start(store)
    worker = pgqrs.Worker(store, stop_timeout=0).add(wf)
    running = asyncio.ensure_future(worker.run())
    await inside.wait()
    worker.stop()
    await running
    assert balances(place) == ["100", "0"]
    assert await handle.status() != pgqrs.WorkflowStatus.Success
    await drain(store, wf)  # given back at once, uncounted
    assert await handle.result(timeout=5) == "end"
    assert balances(place) == ["7", "7"]


@pytest.mark.skipif(not POSTGRES, reason="on SQLite nobody else claims while a transaction is open")
async def test_a_task_that_is_cancelled_while_it_begins_leaves_no_transaction_open(place: Place) -> None:
    store = await prepared(place, max_transactions=1)
    inside, leave = asyncio.Event(), asyncio.Event()

    @pgqrs.workflow
    async def holds(run: pgqrs.WorkflowRun) -> None:
        async with run.transaction("t"):
            inside.set()
            await leave.wait()

    @pgqrs.workflow
    async def gives_up(run: pgqrs.WorkflowRun) -> str:
        async def begin() -> None:
            async with run.transaction("t"):
                done.append("block")

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(begin(), 0.05)
        leave.set()
        return "end"

    first = await holds.start(store)
    worker = pgqrs.Worker(store).add(holds, gives_up)
    running = asyncio.ensure_future(worker.run())
    await inside.wait()
    second = await gives_up.start(store)
    assert await second.result(timeout=10) == "end"
    await first.result(timeout=10)
    again = await holds.start(store)  # the one transaction there may be is free
    await again.result(timeout=10)
    worker.stop()
    await running
    assert done == []


async def test_many_at_once(place: Place) -> None:
    store = await prepared(place)

    @pgqrs.workflow
    async def add(run: pgqrs.WorkflowRun, n: int) -> int:
        async with run.transaction("add") as tx:
            await tx.execute("UPDATE %s SET balance = balance + $1 WHERE id = 2" % accounts(place), n)
        return n

    handles = await asyncio.gather(*[add.start(store, n) for n in range(20)])
    worker = pgqrs.Worker(store, concurrency=16).add(add)
    running = asyncio.ensure_future(worker.run())
    assert sum(await asyncio.gather(*[handle.result() for handle in handles])) == 190
    worker.stop()
    await running
    assert balances(place) == ["100", "190"]
