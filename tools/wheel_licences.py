#!/usr/bin/env python3
"""Put the licences of what auditwheel grafted into a wheel.

    wheel_licences.py WHEEL FOLDER

Each grafted library is found in the system by its name, and its Debian package's copyright file goes
into the wheel's licenses/ as LICENSE.<package>, with the licences that it refers to as common/<name>.
FOLDER gets the wheel. Exits with 1, and names it, when a
library has no copyright file to go with it, or when the wheel carries SQLite.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

GRAFTED = re.compile(r"^pgqrs\.libs/(?P<name>.+?)-[0-9a-f]{8}(?P<rest>\..+)$")
# Where a copyright file has a well-known licence's text.
COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]+)")


def package_of(library: str) -> str:
    """The Debian package that has this library."""
    cached = subprocess.run(["ldconfig", "-p"], stdout=subprocess.PIPE, text=True, check=True).stdout
    paths = re.findall(r" => (\S+)$", cached, re.MULTILINE)
    # auditwheel names them after the file, ldconfig lists links to it.
    found = [path for path in paths if library in (Path(path).name, Path(path).resolve().name)]
    # Packages name a file by the path before or after /usr was merged.
    real = [str(Path(path).resolve()) for path in found]
    for name in [*real, *[path.replace("/usr/lib/", "/lib/", 1) for path in real]]:
        owner = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False)
        if owner.returncode == 0:
            return owner.stdout.split(":")[0]
    sys.exit(f"wheel_licences: no package has {library}")


def record_line(name: str, content: bytes) -> list[str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return [name, f"sha256={digest}", str(len(content))]


def main() -> None:
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with zipfile.ZipFile(wheel) as old:
        files = {info: old.read(info) for info in old.infolist()}
    names = [info.filename for info in files]
    record = next(name for name in names if name.endswith(".dist-info/RECORD"))
    licences = record.rsplit("/", 1)[0] + "/licenses/"

    added: dict[str, bytes] = {}
    for name in names:
        if not name.startswith("pgqrs.libs/") or name.endswith("/"):
            continue
        match = GRAFTED.match(name)
        if match is None or "sqlite" in name:  # a name of another form is not auditwheel's
            sys.exit(f"wheel_licences: {name} must not be in the wheel")
        package = package_of(match["name"] + match["rest"])
        text = Path(f"/usr/share/doc/{package}/copyright")
        if not text.exists():
            sys.exit(f"wheel_licences: {package} has no copyright file")
        added[f"{licences}LICENSE.{package}"] = text.read_bytes()
        for common in COMMON.findall(text.read_text(encoding="utf-8", errors="replace")):
            shared = Path("/usr/share/common-licenses") / common.rstrip(".")
            if not shared.exists():
                sys.exit(f"wheel_licences: {package} is under {common}, whose text is not in the system")
            added[f"{licences}common/{shared.name}"] = shared.read_bytes()

    with zipfile.ZipFile(folder / wheel.name, "w", zipfile.ZIP_DEFLATED) as new:
        for info, content in files.items():
            if info.filename != record:
                new.writestr(info, content, zipfile.ZIP_DEFLATED)
        for name, content in sorted(added.items()):
            new.writestr(name, content)
        rows = list(csv.reader(io.StringIO(files[old.getinfo(record)].decode())))
        rows = [row for row in rows if row and row[0] != record]
        rows += [record_line(name, content) for name, content in sorted(added.items())]
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([*rows, [record, "", ""]])
        new.writestr(record, out.getvalue())


if __name__ == "__main__":
    main()
