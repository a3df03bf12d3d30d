"""How long packaging a 500 MiB application directory takes, whole process.

Against the time of one plain loop that reads every file of it, hashes it and writes it once.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import Result

_MIB = 1 << 20
_FILES = 500
_ROUNDS = 6
_BAR = 2.5


def run() -> Iterator[Result]:
    """On the disk of the working directory."""
    with tempfile.TemporaryDirectory(dir=Path()) as directory:
        home = Path(directory)
        prepare(home)
        rounds = [(_copying(home), _packaging(home)) for _ in range(_ROUNDS)]
        copying, packaging = (min(times) for times in zip(*rounds, strict=True))
        yield Result(
            f"packaging {_FILES} MiB",
            packaging / copying,
            _BAR,
            False,
            f"{packaging:.2f} s; read, hash and write once: {copying:.2f} s",
        )


def prepare(home: Path) -> None:
    """500 MiB in 500 files, a config and a key."""
    source = random.Random(1)
    myst(home, "collect", "/bin/true", "-o", "appdir")
    for number in range(_FILES):
        folder = home / f"appdir/data/{number % 20}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(source.randbytes(_MIB))
    (home / "config.json").write_text('{"ApplicationPath": "/bin/true"}')
    myst(home, "keygen", "private.pem")


def _copying(home: Path) -> float:
    start = time.perf_counter()
    digest = hashlib.sha256()
    with (home / "copy").open("wb") as copy:
        for path in sorted((home / "appdir").rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    while chunk := file.read(_MIB):
                        digest.update(chunk)
                        copy.write(chunk)
    taken = time.perf_counter() - start
    (home / "copy").unlink()
    return taken


def _packaging(home: Path) -> float:
    start = time.perf_counter()
    myst(home, "package-sgx", "appdir", "private.pem", "config.json")
    taken = time.perf_counter() - start
    (home / "true").unlink()
    return taken


def myst(home: Path, *arguments: str) -> None:
    """Run a verb in ``home``."""
    subprocess.run([sys.executable, "-m", "mystikos", *arguments], cwd=home, check=True, capture_output=True)
