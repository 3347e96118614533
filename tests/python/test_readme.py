"""The programs of the old package's README run as they are written, with their DSN changed."""

from __future__ import annotations

import asyncio
from typing import Any, Dict

import pytest

from conftest import Place

QUEUE = '''
import asyncio
import pgqrs

async def main():
    store = await pgqrs.connect("postgresql://localhost/mydb")
    admin = pgqrs.admin(store)
    await admin.install()
    await store.queue("tasks")

    producer = await store.producer("tasks")
    consumer = await store.consumer("tasks")

    msg_id = await producer.enqueue({"task": "send_email", "to": "user@example.com"})
    print(f"Enqueued message {msg_id}")

    messages = await consumer.dequeue(batch_size=1)
    for msg in messages:
        print(f"Processing {msg.id}: {msg.payload}")
        await consumer.archive(msg.id)

asyncio.run(main())
'''

WORKFLOW = '''
import asyncio
import pgqrs

async def main():
    store = await pgqrs.connect("postgresql://localhost/mydb")
    admin = pgqrs.admin(store)
    await admin.install()

    await pgqrs.workflow().name("archive_files").store(store).create()
    consumer = await pgqrs.consumer("worker-1", 8080, "archive_files").create(store)

    await (
        pgqrs.workflow()
        .name("archive_files")
        .store(store)
        .trigger({"path": "/tmp/report.csv"})
        .execute()
    )

    messages = await consumer.dequeue(batch_size=1)
    msg = messages[0]

    run = await pgqrs.run().message(msg).store(store).execute()

    step = await run.acquire_step("list_files", current_time=run.current_time)
    if step.status == "EXECUTE":
        files = [msg.payload["path"]]
        await step.guard.success(files)

    step = await run.acquire_step("create_archive", current_time=run.current_time)
    if step.status == "EXECUTE":
        archive = f"{files[0]}.zip"
        await step.guard.success(archive)

    await run.complete({"archive": archive})
    await consumer.archive(msg.id)
    print("archived:", archive)

asyncio.run(main())
'''


def dsn(place: Place) -> str:
    if place.schema is None:
        return place.dsn
    return "%s&options=-csearch_path%%3D%s" % (place.dsn, place.schema)


@pytest.mark.parametrize("text,last", [(QUEUE, "Processing"), (WORKFLOW, "archived: /tmp/report.csv.zip")])
def test_a_program_of_the_readme(place: Place, capsys: Any, text: str, last: str) -> None:
    names: Dict[str, Any] = {"__name__": "__main__"}
    text = text.replace("postgresql://localhost/mydb", dsn(place))
    exec(compile(text, "README", "exec"), names)
    assert last in capsys.readouterr().out.splitlines()[-1]

    async def look() -> None:
        store = await place.connect()
        queues = await (await store.get_queues()).list()
        assert [len(await (await store.get_messages()).list_archived_by_queue(q.id)) for q in queues] == [1]
        assert await (await store.get_messages()).count() == 0

    asyncio.run(look())
