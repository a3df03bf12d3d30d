"""What leaving and entering an enclave of the software SGX costs (``sim`` target), by counts and times.

The times are the simulator's: each leaf function is a signal there. On a processor they are a fraction of it;
the counts are the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.running import appdir_of, package

from benchmarks import Result

_SOURCE = Path(__file__).with_name("programs") / "exits.c"
_ROUNDS = 5
_CALLS = 20_000


@dataclass(frozen=True)
class _Told:
    """One run: nanoseconds of a call, seconds of the whole, and the counts."""

    call: float
    whole: float
    counts: dict[str, int]


def run() -> Iterator[Result]:
    """Each way out of the enclave, and what a start takes."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = directory / "exits"
        subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(_SOURCE)], check=True)
        packaged = package(appdir_of(directory / "appdir", program), directory / "package", "/bin/exits")

        plain = _best(packaged, "linux", "host")
        nothing = _best(packaged, "sim", "bound", 0)
        for way, what in _WAYS.items():
            told = _best(packaged, "sim", way)
            counts = _per_call(told, nothing)
            yield Result(f"{what}: sim ÷ linux", told.call / _best(packaged, "linux", way).call, None, False,
                         f"{told.call:.0f} ns; {counts}")  # fmt: skip
        yield Result("a start: sim ÷ linux", nothing.whole / plain.whole, None, False,
                     f"{nothing.whole * 1e3:.1f} ms; {_shown(nothing.counts)}")  # fmt: skip


_WAYS = {"bound": "bound system call", "host": "host call", "trapped": "trapped system call"}
_COUNTED = ("EENTER", "EEXIT", "AEX", "ERESUME", "host_calls")


def _best(packaged: Path, target: str, way: str, calls: int = _CALLS) -> _Told:
    return min((_once(packaged, target, way, calls) for _ in range(_ROUNDS)), key=lambda told: told.whole)


def _once(packaged: Path, target: str, way: str, calls: int) -> _Told:
    environment = {"PATH": os.environ["PATH"], "MYST_TARGET": target, "MYST_STATS": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [packaged, way, str(calls or 1)], env=environment, capture_output=True, text=True, check=True
    )
    whole = time.perf_counter() - start
    counts = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stderr)}
    return _Told(float(done.stdout.split()[1]), whole, counts)


def _per_call(told: _Told, nothing: _Told) -> str:
    each = {name: (told.counts[name] - nothing.counts[name]) / _CALLS for name in _COUNTED}
    return ", ".join(f"{name} {round(count, 2):g}" for name, count in each.items()) + " a call"


def _shown(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in _COUNTED)
