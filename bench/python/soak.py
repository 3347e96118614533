"""Messages through one process: its memory stays as it is.

    python bench/python/soak.py DSN [MESSAGES]

Enqueues, dequeues and archives 1,000,000 messages, and fails when the process has grown by 10 MB or more
after the first 10,000. DSN is of a database without pgqrs tables.
"""

from __future__ import annotations

import asyncio
import os
import sys

import pgqrs

ROUND = 1000


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main(dsn: str, total: int) -> int:
    async with pgqrs.connect(dsn) as store:
        await store.bootstrap()
        await store.queue("soak")
        producer, consumer = await store.producer("soak"), await store.consumer("soak")
        first = 0
        for done in range(0, total, ROUND):
            if done == 10_000:
                first = resident()
            await asyncio.gather(*[producer.enqueue({"n": n, "text": "x" * 100}) for n in range(ROUND)])
            messages = await consumer.dequeue(ROUND)
            assert len(messages) == ROUND
            for at in range(0, ROUND, 100):
                await asyncio.gather(*[consumer.archive(message.id) for message in messages[at : at + 100]])
        grown = (resident() - first) / 1e6
        print("%d messages: grown by %.1f MB" % (total, grown))
        return 0 if grown < 10 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)))
