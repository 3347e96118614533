"""Settings of a store, and what they refuse before anything is sent."""

from __future__ import annotations

import time
from typing import Any, List, Optional

from . import _errors
from ._engine import SECOND, Clock, Options


class Config:
    """How a store is opened, and what it refuses.

    dsn                           postgresql://…, postgres://…, sqlite:///absolute/path, sqlite://relative/path,
                                  sqlite::memory:
    schema                        PostgreSQL: where the tables are; None: the session's current_schema()
    max_connections               2 … 1000; None: 8
    connection_timeout_seconds    how long connecting may take: 10
    default_lock_time_seconds     how long a dequeue leases for, when it does not say: 30
    default_max_batch_size        the most messages that one dequeue takes: 1000
    max_read_ct                   deliveries of a message before it is dead, in queues that this store
                                  creates: 5
    heartbeat_interval_seconds    5
    max_payload_size_bytes        of JSON: 1 MiB; up to 64 MiB
    max_string_length             characters of a text in a payload; None: no limit but the payload's
    max_object_depth              levels of nesting: 512; up to 4096
    forbidden_keys                keys that no object in a payload may have
    required_keys                 keys that a payload, which must be an object then, has to have
    max_enqueue_per_second        None: no limit. Beyond it: RateLimitedError, and nothing is enqueued
    max_enqueue_burst             how many may be enqueued at once; None: max_enqueue_per_second
    timeout_seconds               how long any other call may take: 30
    clock                         a Clock, for tests
    pooled, listen_dsn            behind a transaction pooler; see docs/postgresql.md
    """

    def __init__(self, dsn: str, schema: Optional[str] = None, max_connections: Optional[int] = None) -> None:
        if not isinstance(dsn, str):
            raise _config_error("dsn", dsn, "a DSN: text")
        self._dsn = dsn
        self.schema = schema
        self.max_connections = max_connections
        self.connection_timeout_seconds: float = 10
        self._default_lock_time_seconds: Optional[float] = None
        self.default_max_batch_size: int = 1000
        self.max_read_ct: int = 5
        self.heartbeat_interval_seconds: float = 5
        self.max_payload_size_bytes: int = 1 << 20
        self.max_string_length: Optional[int] = None
        self.max_object_depth: int = 512
        self.forbidden_keys: List[str] = []
        self.required_keys: List[str] = []
        self.max_enqueue_per_second: Optional[float] = None
        self.max_enqueue_burst: Optional[int] = None
        self.timeout_seconds: float = 30
        self.max_transactions: Optional[int] = None
        self.pooled: Optional[bool] = None
        self.listen_dsn: Optional[str] = None
        self.clock: Optional[Clock] = None

    @classmethod
    def from_dsn(cls, dsn: str) -> Config:
        """The same as Config(dsn)."""
        return cls(dsn)

    @property
    def dsn(self) -> str:
        """Where the store is."""
        return self._dsn

    @property
    def default_lock_time_seconds(self) -> float:
        """How long a dequeue leases for, when it does not say."""
        return 30 if self._default_lock_time_seconds is None else self._default_lock_time_seconds

    @default_lock_time_seconds.setter
    def default_lock_time_seconds(self, seconds: Optional[float]) -> None:
        self._default_lock_time_seconds = seconds

    def __repr__(self) -> str:
        return "Config(schema=%r)" % (self.schema,)  # a DSN may hold a password

    def _copy(self) -> Config:
        copied = Config(self._dsn)
        copied.__dict__.update(self.__dict__)
        copied.forbidden_keys = list(self.forbidden_keys)
        copied.required_keys = list(self.required_keys)
        return copied

    def _check(self) -> None:
        """ConfigError for a setting that cannot be."""
        whole = {
            "default_max_batch_size": (1, 1000),
            "max_read_ct": (1, 1000),
            "max_payload_size_bytes": (1, 64 << 20),
            "max_string_length": (0, 64 << 20),
            "max_object_depth": (1, 4096),
            "max_enqueue_burst": (1, 1 << 40),
            "max_connections": (2, 1000),
            "max_transactions": (1, 1000),
        }
        for name, (least, most) in whole.items():
            given = getattr(self, name)
            if given is None and name in ("max_string_length", "max_enqueue_burst", "max_connections", "max_transactions"):
                continue
            if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
                raise _config_error(name, given, "a whole number, %d to %d" % (least, most))
        for name in (
            "connection_timeout_seconds",
            "timeout_seconds",
            "heartbeat_interval_seconds",
            "default_lock_time_seconds",
            "max_enqueue_per_second",
        ):
            given = getattr(self, name)
            if given is None and name == "max_enqueue_per_second":
                continue
            if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < 2**40:
                raise _config_error(name, given, "a number above 0")
        for name in ("forbidden_keys", "required_keys"):
            given = getattr(self, name)
            if isinstance(given, str) or not all(isinstance(key, str) for key in given):
                raise _config_error(name, given, "a list of keys")

    def _options(self) -> Options:
        self._check()
        lease = self._default_lock_time_seconds
        return Options(
            schema=self.schema,
            max_connections=self.max_connections,
            connect_timeout_us=int(self.connection_timeout_seconds * SECOND),
            timeout_us=int(self.timeout_seconds * SECOND),
            max_payload_bytes=self.max_payload_size_bytes,
            max_depth=self.max_object_depth,
            lease_us=None if lease is None else int(lease * SECOND),
            max_attempts=self.max_read_ct,
            max_transactions=self.max_transactions,
            pooled=self.pooled,
            listen_dsn=self.listen_dsn,
            clock=self.clock,
        )


def _config_error(name: str, given: Any, wanted: str) -> _errors.ConfigError:
    error = _errors.ConfigError("%s is %s" % (name, "not text" if name == "dsn" else repr(given)))
    error.code = "ECONFIG"
    error.hint = "Set it to %s." % wanted
    return error


class Gate:
    """What the settings of a store refuse, before anything is sent."""

    def __init__(self, config: Config) -> None:
        self._string = config.max_string_length
        self._forbidden = frozenset(config.forbidden_keys)
        self._required = list(config.required_keys)
        self._looks = self._string is not None or bool(self._forbidden)
        self._rate = config.max_enqueue_per_second
        self._burst = float(config.max_enqueue_burst or max(1.0, self._rate or 1.0))
        self._tokens = self._burst
        self._clock = config.clock
        self._at = self._now()

    def _now(self) -> float:
        return time.monotonic() if self._clock is None else self._clock.now()

    def check(self, payload: Any) -> None:
        """ValidationError for a payload that the settings refuse."""
        if self._required:
            if not isinstance(payload, dict):
                raise _refused("the payload is no object", "It must have the keys %s." % self._required)
            missing = [key for key in self._required if key not in payload]
            if missing:
                raise _refused("the payload has no key %r" % missing[0], "Config.required_keys asks for it.")
        if not self._looks:
            return
        todo = [payload]
        while todo:
            at = todo.pop()
            if isinstance(at, str):
                if self._string is not None and len(at) > self._string:
                    raise _refused(
                        "a text of the payload has %d characters" % len(at),
                        "Config.max_string_length is %d." % self._string,
                    )
            elif isinstance(at, dict):
                for key in at:
                    if key in self._forbidden:
                        raise _refused("the payload has the key %r" % key, "Config.forbidden_keys forbids it.")
                todo.extend(at.values())
            elif isinstance(at, (list, tuple)):
                todo.extend(at)

    def pay(self, count: int) -> None:
        """RateLimitedError when so many more are too many by now."""
        if self._rate is None:
            return
        now = self._now()
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < count - 1e-6:
            error = _errors.RateLimitedError("enqueuing %d more is too fast" % count)
            error.code = "ERATE"
            error.retryable = count <= self._burst
            error.retry_after = (count - self._tokens) / self._rate if count <= self._burst else None
            error.hint = "Config allows %g a second, and %g at once." % (self._rate, self._burst)
            raise error
        self._tokens -= count


def _refused(message: str, hint: str) -> _errors.ValidationError:
    error = _errors.ValidationError(message)
    error.code = "EINVAL"
    error.hint = hint
    return error
