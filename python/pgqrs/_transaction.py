"""Transactional steps: SQL of yours and the step's record in one commit."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from contextvars import Token
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Dict, List, Optional, Tuple

from . import _engine, _errors, codec
from ._engine import NULL, Lane, encoded, exception, failure, ffi, in_transaction, lib, maybe, options, text
from ._errors import PgqrsError
from ._flow import OUTAGES, Execution, _step_failed, c_text, code_of
from ._runs import StepRetryPolicy
from ._store import ignore
from ._values import duration

Row = Dict[str, Any]


class DatabaseError(PgqrsError):
    """The database has refused a statement of a transaction; `sqlstate` says why, where it has one."""


class Transaction:
    """`async with run.transaction("charge") as tx`: a step with a transaction of the store's database.

        async with run.transaction("charge") as tx:
            await tx.execute("UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, account)
            row = await tx.fetchrow("SELECT balance FROM accounts WHERE id = $1", account)
            await tx.enqueue("receipts", {"account": account})

    The statements, the messages and the record of the step are committed together at the end of the
    block: exactly once, or not at all. When the run is executed again the block is, too, but nothing is
    sent: each call returns what it returned then, as recorded. So the calls of the block must depend on
    nothing but what came before; another statement than the recorded one is refused.

    A block that raises is rolled back, and has failed for good, as a step: StepFailedError. A
    TransientStepError in it, or anything with `retry`, is tried again later; so is a deadlock or a database that
    goes away. Meanwhile everything else of the store is refused here (code EBUSY): on SQLite it would wait
    for the transaction, and the transaction for it. Keep it short.

    Parameters are $1, $2 … on both databases; SQLite takes ? and ?1 too. They are text, bytes, numbers,
    booleans, None, Decimal, UUID, dates and times; a dict is JSON, a list an array (PostgreSQL). Leave BEGIN, COMMIT
    and ROLLBACK to the block; savepoints are fine.
    """

    def __init__(self, execution: Execution, name: str, retry: Optional[StepRetryPolicy]) -> None:
        self._execution = execution
        self._name = name
        self._retry = retry
        self._lane: Optional[Lane] = None
        self._step: Any = NULL
        self._replay: Optional[List[Any]] = None
        self._log: List[Any] = []
        self._open = False
        self._token: Optional["Token[Any]"] = None
        self._database: Any = None

    # --- Its life ---

    async def __aenter__(self) -> Transaction:
        execution = self._execution
        execution.check()
        self._state = execution.engine._enter()  # the store is not closed meanwhile
        execution.enter()
        try:
            self._lane = Lane("pgqrs-transaction")
            recorded = await self._lane.call(self._begin)
        except BaseException as error:
            if self._lane is not None:
                ignore(self._lane.call(self._undo))  # after a begin that nobody waits for any more
            await self._leave(True)
            if isinstance(error, PgqrsError) and not isinstance(error, _errors.RetriesExhaustedError):
                raise execution.problem(error) from error
            raise
        if recorded is not None:
            self._replay = codec.decode(recorded)
            await self._leave(False)
        self._shut_store()  # in a replay as well: what was refused then is refused again
        self._open = True
        return self

    def _begin(self) -> Optional[str]:
        """In the lane. What is recorded, or None: a transaction is open."""
        execution = self._execution
        fields = {} if self._retry is None else self._retry._fields()
        out = ffi.new("pgqrs_step **")
        status = lib.pgqrs_step_begin_tx(
            execution.cdata, encoded(self._name, "step name"), options("step", by_key=True, **fields), out
        )
        if status == lib.PGQRS_EEXHAUSTED and out[0] != NULL:
            raise _step_failed(self._name, maybe(lib.pgqrs_step_error(out[0])))
        if status != lib.PGQRS_OK:
            raise exception(lib.pgqrs_run_error(execution.cdata))
        step = out[0]
        if lib.pgqrs_step_recorded(step):
            return maybe(lib.pgqrs_step_output(step)) or "[]"
        self._step = step
        for kind, native in (("postgres", "pgqrs_step_pgconn"), ("sqlite", "pgqrs_step_sqlite3")):
            handle = getattr(lib, native)(step) if hasattr(lib, _NEEDS[kind]) else NULL
            if handle != NULL:
                self._database = _Postgres(handle) if kind == "postgres" else _Sqlite(handle)
                return None
        self._undo()
        raise failure(lib.PGQRS_ECONFIG, "this database lends no connection", hint="Use PostgreSQL or SQLite.")

    async def __aexit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        execution = self._execution
        self._open = False
        self._free_store()
        if self._replay is not None:
            if error is None and self._replay:
                raise self._other("it ends after fewer calls than were recorded")
            return
        assert self._lane is not None
        try:
            if error is None:
                await self._succeed()
            else:
                await self._lane.call(self._undo)
                if isinstance(error, Exception):
                    raise await self._raised(error)
        finally:
            await self._leave(True)

    def _shut_store(self) -> None:
        self._token = in_transaction.set(self._execution.engine)

    def _free_store(self) -> None:
        if self._token is not None:
            in_transaction.reset(self._token)
            self._token = None

    async def _succeed(self) -> None:
        assert self._lane is not None
        try:
            output = codec.encode(self._log).encode("utf-8")
            await self._lane.call(self._record, output)
        except PgqrsError as error:
            await self._lane.call(self._undo)
            raise self._execution.problem(error) from error

    def _record(self, output: bytes) -> None:
        if lib.pgqrs_step_succeed(self._step, output) != lib.PGQRS_OK:
            raise exception(lib.pgqrs_run_error(self._execution.cdata))

    def _undo(self) -> None:
        """In the lane: roll back, and record nothing."""
        if self._step != NULL:
            step, self._step = self._step, NULL
            lib.pgqrs_step_end(step, NULL)

    async def _raised(self, error: Exception) -> BaseException:
        """The block has raised, and is rolled back: what that is to the run."""
        execution = self._execution
        if isinstance(error, PgqrsError) and not isinstance(error, DatabaseError):
            if error.code in OUTAGES and error.code != "EBUSY":
                return execution.problem(error)
        if isinstance(error, DatabaseError) and error.retryable:
            return execution.stop(lib.PGQRS_EBUSY, str(error))
        transient = isinstance(error, _errors.TransientStepError) or self._retry is not None
        after = getattr(error, "retry_after", None) if isinstance(error, _errors.TransientStepError) else None
        fields = {} if self._retry is None else self._retry._fields()
        step = await execution.begin(self._name, options("step", by_key=True, **fields))
        return await execution.failed(
            self._name, step, error, transient, 0 if after is None else max(1, duration(after, "retry_after"))
        )

    async def _leave(self, last: bool) -> None:
        if self._lane is not None:
            ignore(self._lane.call(self._state.leave))
            self._lane.close()
            self._lane = None
        if last or self._replay is not None:
            self._execution.leave()

    # --- What is done in it ---

    async def execute(self, sql: str, *arguments: Any) -> int:
        """Run a statement; how many rows it has changed or given."""
        count, _, _ = await self._call("execute", sql, arguments)
        return int(count)

    async def fetch(self, sql: str, *arguments: Any) -> List[Row]:
        """Run a statement; its rows, each a dict by column. They are recorded with the step: ask for few."""
        _, columns, rows = await self._call("fetch", sql, arguments)
        names = [name for name, _ in columns]
        readers = [_READERS.get(kind, _as_is) for _, kind in columns]
        return [
            {name: _read(value, reader) for name, value, reader in zip(names, row, readers)} for row in rows
        ]

    async def fetchrow(self, sql: str, *arguments: Any) -> Optional[Row]:
        """The first row, or None. Ask for one: LIMIT 1."""
        rows = await self.fetch(sql, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        row = await self.fetchrow(sql, *arguments)
        return None if row is None else next(iter(row.values()), None)

    async def enqueue(self, queue: str, payload: Any, *, delay: Optional[float] = None) -> int:
        """Put a message into a queue, in the same commit; its id."""
        return await self._send("enqueue", lib.pgqrs_step_enqueue, queue, payload, delay)

    async def trigger(self, workflow: str, input: Any = None, *, delay: Optional[float] = None) -> int:
        """Start a run of a workflow, in the same commit; its id."""
        return await self._send("trigger", lib.pgqrs_step_trigger, workflow, input, delay)

    # --- Recorded calls ---

    def _other(self, what: str) -> PgqrsError:
        return failure(
            lib.PGQRS_ESTATE,
            'transaction "%s" was committed otherwise: %s' % (self._name, what),
            hint="Its block must make the calls that it made when it was committed, in that order.",
        )

    def _check_open(self) -> None:
        if not self._open:
            raise failure(lib.PGQRS_ESTATE, 'transaction "%s" is not open' % self._name, hint="Use it inside its block.")

    def _recorded(self, kind: str, what: str) -> Any:
        """The recorded answer of the next call."""
        assert self._replay is not None
        if not self._replay:
            raise self._other("it makes more calls than were recorded")
        known, digest, answer = self._replay.pop(0)
        if known != kind or digest != _digest(what):
            raise self._other("%s(%r) is not what was recorded here" % (kind, what))
        return answer

    async def _call(self, kind: str, sql: str, arguments: Tuple[Any, ...]) -> Any:
        self._check_open()
        if self._replay is not None:
            return self._recorded(kind, sql)
        _check_statement(sql)
        assert self._lane is not None
        answer = await self._lane.call(self._database.run, sql, arguments, kind == "fetch")
        self._log.append([kind, _digest(sql), answer])
        return answer

    async def _send(self, kind: str, call: Any, queue: str, payload: Any, delay: Optional[float]) -> int:
        self._check_open()
        if self._replay is not None:
            return int(self._recorded(kind, queue))
        data = codec.encode(payload).encode("utf-8")
        struct = options("enqueue", delay_us=None if delay is None else duration(delay, "delay"))
        name = encoded(queue, "queue name")

        def send() -> int:
            out = ffi.new("int64_t *")
            if call(self._step, name, data, struct, out) != lib.PGQRS_OK:
                raise exception(lib.pgqrs_run_error(self._execution.cdata))
            return int(out[0])

        assert self._lane is not None
        message = await self._lane.call(send)
        self._log.append([kind, _digest(queue), message])
        return message


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:12]


# --- Statements --------------------------------------------------------------------------------------

_PARTS = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$([A-Za-z_]\w*)?\$.*?\$\1\$|\$(\d+)", re.S
)
_OURS = {"BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK", "PREPARE", "COPY", "LISTEN", "UNLISTEN", "DISCARD"}


def _check_statement(sql: str) -> None:
    """Refuse what would end the transaction, or leave it in the middle of something."""
    words = _PARTS.sub(lambda part: " " if part.group(0)[:2] in ("--", "/*") else part.group(0), sql).split(None, 2)
    first = words[0].upper().rstrip(";") if words else ""
    if first == "ROLLBACK" and len(words) > 1 and words[1].upper() == "TO":
        return
    if first in _OURS:
        raise failure(
            lib.PGQRS_EINVAL,
            "%s cannot be run in a transactional step" % first,
            hint="The block begins, commits and rolls back by itself; SAVEPOINT and ROLLBACK TO are fine.",
        )


def _refused(index: int, problem: str, hint: str = "") -> PgqrsError:
    error = failure(lib.PGQRS_EINVAL, "parameter $%d: %s" % (index, problem), hint=hint)
    return error


def _as_text(value: Any, index: int) -> Optional[str]:
    """A parameter as PostgreSQL reads it, whatever type it finds there."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, str):
        if "\0" in value:
            raise _refused(index, "PostgreSQL holds no NUL characters in text", "Give bytes.")
        return str(value)
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, timedelta):
        return "%d days %d.%06d seconds" % (value.days, value.seconds, value.microseconds)
    if isinstance(value, (int, Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, dict):
        return codec.encode(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return "{%s}" % ",".join(_element(item, index) for item in value)
    raise _refused(index, "a %s is no type of SQL" % type(value).__name__, "Convert it.")


def _element(value: Any, index: int) -> str:
    if isinstance(value, (list, tuple)):
        return _as_text(value, index) or ""
    given = _as_text(value, index)
    if given is None:
        return "NULL"
    return '"%s"' % given.replace("\\", "\\\\").replace('"', '\\"')


class _Postgres:
    """SQL on the lent connection. In the lane only."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, sql: str, arguments: Tuple[Any, ...], rows: bool) -> Any:
        kept = []
        values = ffi.new("char *[]", len(arguments))
        for index, argument in enumerate(arguments):
            given = _as_text(argument, index + 1)
            if given is None:
                continue
            try:
                kept.append(ffi.new("char[]", given.encode("utf-8")))
            except UnicodeEncodeError:
                raise _refused(index + 1, "the text holds a lone surrogate") from None
            values[index] = kept[-1]
        answer = lib.PQexecParams(
            self._connection, encoded(sql, "statement"), len(arguments), NULL, values, NULL, NULL, 0
        )
        if answer == NULL:
            raise _lost(text(lib.PQerrorMessage(self._connection)))
        try:
            status = lib.PQresultStatus(answer)
            if status == lib.PGRES_COMMAND_OK or status == lib.PGRES_EMPTY_QUERY:
                return [int(text(lib.PQcmdTuples(answer)) or 0), [], []]
            if status != lib.PGRES_TUPLES_OK:
                raise self._failed(answer)
            return self._rows(answer, rows)
        finally:
            lib.PQclear(answer)

    def _rows(self, answer: Any, wanted: bool) -> Any:
        count = lib.PQntuples(answer)
        if not wanted:
            return [int(text(lib.PQcmdTuples(answer)) or count), [], []]
        width = range(lib.PQnfields(answer))
        columns = [[text(lib.PQfname(answer, at)), _OIDS.get(int(lib.PQftype(answer, at)), "")] for at in width]
        rows = [
            [
                None if lib.PQgetisnull(answer, row, at) else text(lib.PQgetvalue(answer, row, at))
                for at in width
            ]
            for row in range(count)
        ]
        return [count, columns, rows]

    def _failed(self, answer: Any) -> PgqrsError:
        def field(code: int) -> str:
            return maybe(lib.PQresultErrorField(answer, code)) or ""

        state = field(lib.PG_DIAG_SQLSTATE)
        if not state or (state[:2] == "08" and state != "08P01") or state[:3] == "57P":
            return _lost(text(lib.PQresultErrorMessage(answer)))
        error = DatabaseError(field(lib.PG_DIAG_MESSAGE_PRIMARY))
        error.code = "EDB"
        error.sqlstate = state
        error.hint = field(lib.PG_DIAG_MESSAGE_HINT)
        error.retryable = state in ("40001", "40P01", "55P03")
        return error


def _lost(message: str) -> PgqrsError:
    error = failure(lib.PGQRS_ECONN, "the connection was lost: %s" % message.strip())
    error.retryable = True
    return error


class _Sqlite:
    """SQL on the lent handle. In the lane only."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def run(self, sql: str, arguments: Tuple[Any, ...], rows: bool) -> Any:
        sql = _PARTS.sub(lambda part: "?" + part.group(2) if part.group(2) else part.group(0), sql)
        data = ffi.new("char[]", encoded(sql, "statement"))
        out, tail = ffi.new("sqlite3_stmt **"), ffi.new("char **")
        if lib.sqlite3_prepare_v2(self._handle, data, -1, out, tail) != lib.SQLITE_OK:
            raise self._failed()
        statement = out[0]
        try:
            if text(tail[0]).strip():
                raise failure(lib.PGQRS_EINVAL, "one statement at a time", hint="Make a call for each.")
            wanted = 0 if statement == NULL else lib.sqlite3_bind_parameter_count(statement)
            if wanted != len(arguments):
                raise failure(
                    lib.PGQRS_EINVAL, "the statement has %d parameters, and %d were given" % (wanted, len(arguments))
                )
            if statement == NULL:
                return [0, [], []]
            for index, argument in enumerate(arguments):
                if self._bind(statement, index + 1, argument) != lib.SQLITE_OK:
                    raise self._failed()
            return self._rows(statement, rows)
        finally:
            lib.sqlite3_finalize(statement)

    def _bind(self, statement: Any, at: int, value: Any) -> int:
        if value is None:
            return int(lib.sqlite3_bind_null(statement, at))
        if isinstance(value, (bool, int)):
            if not -(2**63) <= value < 2**63:
                raise _refused(at, "SQLite holds whole numbers of 64 bits", "Give text.")
            return int(lib.sqlite3_bind_int64(statement, at, int(value)))
        if isinstance(value, float):
            return int(lib.sqlite3_bind_double(statement, at, value))
        if isinstance(value, (bytes, bytearray)):
            data = bytes(value)
            return int(lib.pgqrs_py_bind_blob(statement, at, ffi.from_buffer(data), len(data)))
        if isinstance(value, (list, tuple, set, frozenset)):
            raise _refused(at, "SQLite has no arrays", "Give JSON text, and use json_each().")
        if isinstance(value, timedelta):
            raise _refused(at, "SQLite has no intervals", "Give seconds.")
        given = value if isinstance(value, str) else _as_text(value, at) or ""
        try:
            raw = given.encode("utf-8")
        except UnicodeEncodeError:
            raise _refused(at, "the text holds a lone surrogate") from None
        return int(lib.pgqrs_py_bind_text(statement, at, raw, len(raw)))

    def _rows(self, statement: Any, wanted: bool) -> Any:
        width = range(lib.sqlite3_column_count(statement))
        columns = [[text(lib.sqlite3_column_name(statement, at)), "sqlite"] for at in width]
        rows: List[Any] = []
        count = 0
        while True:
            status = lib.sqlite3_step(statement)
            if status == lib.SQLITE_DONE:
                break
            if status != lib.SQLITE_ROW:
                raise self._failed()
            count += 1
            if wanted:
                rows.append([self._value(statement, at) for at in width])
        if not len(width):
            count = lib.sqlite3_changes(self._handle)
        return [count, columns if wanted else [], rows]

    def _value(self, statement: Any, at: int) -> Any:
        kind = lib.sqlite3_column_type(statement, at)
        if kind == lib.SQLITE_INTEGER:
            return int(lib.sqlite3_column_int64(statement, at))
        if kind == lib.SQLITE_FLOAT:
            value = float(lib.sqlite3_column_double(statement, at))
            return value if value - value == 0 else ["real", repr(value)]
        if kind == lib.SQLITE_NULL:
            return None
        data = lib.sqlite3_column_blob(statement, at)
        raw = b"" if data == NULL else bytes(ffi.buffer(data, lib.sqlite3_column_bytes(statement, at)))
        if kind == lib.SQLITE_TEXT:
            return raw.decode("utf-8", "replace")
        return ["blob", base64.b64encode(raw).decode("ascii")]

    def _failed(self) -> PgqrsError:
        code = lib.sqlite3_extended_errcode(self._handle)
        error = DatabaseError(text(lib.sqlite3_errmsg(self._handle)))
        error.code = "EDB"
        error.sqlstate = _CONSTRAINTS.get(code, "23000" if code & 0xFF == 19 else "")
        error.retryable = code & 0xFF in (5, 6)  # busy, locked
        return error


_NEEDS = {"postgres": "PQexecParams", "sqlite": "sqlite3_prepare_v2"}
_CONSTRAINTS = {2067: "23505", 1555: "23505", 2579: "23505", 1299: "23502", 275: "23514", 787: "23503"}

# --- Values ------------------------------------------------------------------------------------------

_OIDS = {
    16: "bool", 17: "bytea", 20: "int", 21: "int", 23: "int", 26: "int", 700: "float", 701: "float",
    114: "json", 3802: "json", 1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamp",
    1700: "numeric", 2950: "uuid",
}
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:([+-])(\d\d)(?::?(\d\d))?)?$"
)


def _timestamp(given: str) -> Any:
    match = _TIMESTAMP.match(given)
    if match is None:  # infinity, BC, another DateStyle
        return given
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    zone = None
    if match.group(8) is not None:
        offset = timedelta(hours=int(match.group(9)), minutes=int(match.group(10) or 0))
        zone = timezone(offset if match.group(8) == "+" else -offset)
    return datetime(year, month, day, hour, minute, second, int((match.group(7) or "").ljust(6, "0")), zone)


def _sqlite(given: Any) -> Any:
    if isinstance(given, list):
        return float(given[1]) if given[0] == "real" else base64.b64decode(given[1])
    return given


def _or_text(read: Any) -> Any:
    def reader(given: str) -> Any:
        try:
            return read(given)
        except (ValueError, ArithmeticError):
            return given

    return reader


def _as_is(given: Any) -> Any:
    return given


def _read(value: Any, reader: Any) -> Any:
    return None if value is None else reader(value)


_READERS: Dict[str, Any] = {
    "bool": lambda given: given == "t",
    "bytea": lambda given: bytes.fromhex(given[2:]) if given.startswith("\\x") else given,
    "int": int,
    "float": float,
    "json": codec.decode,
    "date": _or_text(date.fromisoformat),
    "time": _or_text(time.fromisoformat),
    "timestamp": _timestamp,
    "numeric": Decimal,
    "uuid": uuid.UUID,
    "sqlite": _sqlite,
}
