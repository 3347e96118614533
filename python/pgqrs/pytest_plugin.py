"""A store for tests: `def test_it(pgqrs_store): ...`. pytest finds this by itself.

`pgqrs_store` is a TestStore: a database in memory with its tables, and a clock that stands until
`pgqrs_store.clock.advance(seconds)`. `await pgqrs_store.drain(checkout)` executes what is due, in the
test's own event loop, whichever plugin runs it.

    pytest --pgqrs-dsn postgresql:///test    on a database that is for tests: it must have no queues, and
                                             what a test makes is deleted after it
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Optional

import pytest

from ._config import Config
from ._engine import Clock, Engine, check, ffi, lib, text
from ._flow import Workflow
from ._store import Store
from ._worker import Worker

START = 1_900_000_000.0
"""Where the clock of a test stands at first: 2030-03-17 17:46:40 UTC."""


class TestStore(Store):
    """A store with a clock that stands, and drain()."""

    __test__ = False

    def __init__(self, engine: Engine, config: Config, clock: Clock) -> None:
        super().__init__(engine, config)
        self.clock = clock

    async def drain(
        self, *workflows: Workflow[Any, Any], queues: Optional[Mapping[str, Callable[[Any], Any]]] = None
    ) -> int:
        """Execute the runs of these workflows, and handle the messages of these queues, until nothing
        that is due is left; how many were. What is due later is, after clock.advance()."""
        worker = Worker(self).add(*workflows)
        for queue, handler in (queues or {}).items():
            worker.handle(queue, handler)
        return await worker.drain()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pgqrs")
    group.addoption("--pgqrs-dsn", default=None, help="a database for tests; a SQLite one in memory, unless given")


def _names(engine: Engine) -> Iterator[str]:
    out = ffi.new("pgqrs_queues **")
    check(lambda error: lib.pgqrs_queue_list(engine.handle, out, error))
    names = [text(lib.pgqrs_queues_at(out[0], at).name) for at in range(lib.pgqrs_queues_count(out[0]))]
    lib.pgqrs_queues_free(out[0])
    return iter(names)


@pytest.fixture
def pgqrs_store(request: pytest.FixtureRequest) -> Iterator[TestStore]:
    """An empty store with a clock that stands."""
    dsn = request.config.getoption("--pgqrs-dsn")
    clock = Clock(START)
    config = Config(dsn or "sqlite::memory:")
    config.clock = clock
    engine = Engine.open_blocking(config.dsn, config._options())
    try:
        check(lambda error: lib.pgqrs_install(engine.handle, error))
        there = next(_names(engine), None)
        if there is not None:
            pytest.fail('--pgqrs-dsn: the database has a queue "%s", and is not for tests' % there, pytrace=False)
        yield TestStore(engine, config, clock)
        if dsn is not None and not engine.closed:
            for name in _names(engine):
                check(lambda error: lib.pgqrs_queue_delete(engine.handle, name.encode("utf-8"), True, error))
    finally:
        engine.close_blocking()
