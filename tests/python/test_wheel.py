"""The wheel as it is handed out: what is in it, and what is not. Only in `make test-wheel`."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

import pgqrs

WHEEL = os.environ.get("PGQRS_TEST_WHEEL", "")

pytestmark = pytest.mark.skipif(not WHEEL, reason="PGQRS_TEST_WHEEL names no wheel")


def test_what_the_wheel_holds() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        names = [name for name in wheel.namelist() if not name.endswith("/")]
        grafted = [name for name in names if name.startswith("pgqrs.libs/")]
        licences = [name.split("/licenses/")[1] for name in names if "/licenses/" in name]
        assert any(name.startswith("pgqrs.libs/libpq-") for name in grafted)
        assert not [name for name in names if "sqlite3" in name]
        assert "pgqrs/_native.abi3.so" in names and "pgqrs/py.typed" in names
        assert "LICENSE" in licences and "LICENSE.libpq5" in licences
        assert any(name.startswith("common/") for name in licences)
        assert all(len(wheel.read(name)) > 200 for name in names if "/licenses/" in name)
        record = next(name for name in names if name.endswith("/RECORD"))
        for name, digest, size in csv.reader(io.StringIO(wheel.read(record).decode())):
            if digest:
                content = wheel.read(name)
                sha = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                assert (digest, int(size)) == ("sha256=" + sha, len(content))
    name = Path(WHEEL).name
    assert "-cp38-abi3-" in name and "manylinux" in name


def test_the_installed_package_uses_what_it_carries() -> None:
    assert Path(sys.prefix) in Path(pgqrs.__file__).parents
    with open("/proc/self/maps") as maps:
        loaded = {line.split()[-1] for line in maps if ".so" in line}
    pq = [path for path in loaded if "libpq" in path and "psycopg" not in path]
    assert pq and all(path.startswith(sys.prefix) for path in pq)
    assert len([path for path in loaded if "libsqlite3" in path]) <= 1
