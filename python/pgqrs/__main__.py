"""`python -m pgqrs worker module:worker`, `python -m pgqrs demo`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
from typing import Any, List, Optional

from . import sync
from ._errors import PgqrsError
from ._worker import Worker


def find(place: str) -> Any:
    """The object that `module:name` names."""
    module, colon, name = place.partition(":")
    if not colon or not module or not name:
        raise SystemExit("pgqrs: %r is not MODULE:NAME" % place)
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as problem:
        raise SystemExit("pgqrs: %s: %s" % (place, problem)) from problem
    return found


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pgqrs", description="Durable queues and workflows.")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="run a worker until it is stopped (SIGTERM)")
    worker.add_argument("place", metavar="MODULE:WORKER", help="a pgqrs.Worker, or a function that makes one")
    worker.add_argument("--dsn", help="the store; else the worker's own, else the environment's PGQRS_DSN")
    worker.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    demo = commands.add_parser("demo", help="show a workflow that survives the death of its process")
    demo.add_argument("--dsn", help="where; a temporary SQLite file, unless given")
    given = parser.parse_args(arguments)
    if given.command == "demo":
        from . import _demo

        return _demo.main(given.dsn)

    logging.basicConfig(level=given.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    found = find(given.place)
    if callable(found):
        found = found()
    if isinstance(found, sync.Worker):
        found = found.worker
    if not isinstance(found, Worker):
        raise SystemExit("pgqrs: %s is a %s, not a pgqrs.Worker" % (given.place, type(found).__name__))
    dsn = given.dsn
    if dsn is None and found._store is None:
        dsn = os.environ.get("PGQRS_DSN")
    try:
        asyncio.run(found.run(dsn))
    except PgqrsError as error:
        print("pgqrs: %s%s" % (error, "\nhint: " + error.hint if error.hint else ""), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
