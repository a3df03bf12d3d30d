"""How long verifying a 500 MiB package and comparing two of them take, whole processes.

Verifying measures 5184 bytes for every 4096 of the package: sha256sum is given that many. Comparing is held
against cmp, which reads both packages once, up to the first byte that differs: here, near the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import Result, package

_MIB = 1 << 20
_ROUNDS = 5
_VERIFY_BAR = 1.3
_DIFF_BAR = 2.0


def run() -> Iterator[Result]:
    """On the disk of the working directory."""
    with tempfile.TemporaryDirectory(dir=Path()) as directory:
        home = Path(directory)
        _prepare(home)
        rounds = [
            (_hashing(home), _verifying(home), _reading(home), _comparing(home)) for _ in range(_ROUNDS)
        ]
    hashing, verifying, reading, comparing = (min(times) for times in zip(*rounds, strict=True))
    yield Result(
        "verifying a package of 500 MiB",
        verifying / hashing,
        _VERIFY_BAR,
        False,
        f"{verifying:.2f} s; sha256sum of 1.27 times the bytes: {hashing:.2f} s",
    )
    yield Result(
        "comparing two packages of 500 MiB",
        comparing / reading,
        _DIFF_BAR,
        False,
        f"{comparing:.2f} s; cmp reads both once in {reading:.2f} s",
    )


def _prepare(home: Path) -> None:
    """Two packages that differ in the last file, and as many bytes as verifying one hashes."""
    package.prepare(home)
    last = home / "appdir/zz"
    last.write_bytes(b"before")
    package.myst(home, "package-sgx", "appdir", "private.pem", "config.json", "-o", "before")
    last.write_bytes(b"behind")
    package.myst(home, "package-sgx", "appdir", "private.pem", "config.json", "-o", "after")

    size = (home / "before").stat().st_size * 5184 // 4096
    with (home / "before").open("rb") as source, (home / "hashed").open("wb") as sink:
        while size:
            piece = source.read(min(size, _MIB)) or os.urandom(min(size, _MIB))
            sink.write(piece)
            size -= len(piece)


def _hashing(home: Path) -> float:
    return _timed(home, ["sha256sum", "hashed"], 0)


def _verifying(home: Path) -> float:
    return _timed(home, [sys.executable, "-m", "mystikos", "verify", "before"], 0)


def _reading(home: Path) -> float:
    return _timed(home, ["cmp", "-s", "before", "after"], 1)


def _comparing(home: Path) -> float:
    return _timed(home, [sys.executable, "-m", "mystikos", "diff", "before", "after"], 1)


def _timed(home: Path, command: list[str], code: int) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=home, check=False, capture_output=True)
    taken = time.perf_counter() - start
    if done.returncode != code:
        raise RuntimeError(f"{command}: exit code {done.returncode}: {done.stderr.decode()}")
    return taken
