"""Single system calls inside a package (``linux`` target), against the native kernel in the same run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.running import package

from benchmarks import Result

_SOURCE = Path(__file__).with_name("programs") / "calls.c"
_ROUNDS = 5
_BARS = {"null": 0.25, "clock_gettime": 1.5, "pread": 1.0, "open_close": 0.5}
_FILE = "srv/data/file.bin"


def run() -> Iterator[Result]:
    """Native and packaged runs in turn; the best of each call."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        appdir = directory / "appdir"
        program = appdir / "bin" / "calls"
        data = appdir / _FILE
        for folder in (program.parent, data.parent):
            folder.mkdir(parents=True)
        data.write_bytes(bytes(range(256)) * 256)
        subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(_SOURCE)], check=True)
        packaged = package(appdir, directory / "calls", "/bin/calls")

        native: dict[str, float] = {}
        inside: dict[str, float] = {}
        for _ in range(_ROUNDS):
            _best(native, [str(program), str(data)])
            _best(inside, [str(packaged), f"/{_FILE}"])
        for call, bar in _BARS.items():
            ratio = inside[call] / native[call]
            detail = f"{inside[call]:.1f} ns, native {native[call]:.1f} ns"
            yield Result(f"{call} ÷ native", ratio, bar, False, detail)


def _best(best: dict[str, float], command: list[str]) -> None:
    done = subprocess.run(
        command, env={"MYST_TARGET": "linux"}, capture_output=True, text=True, check=True, timeout=120
    )
    for line in done.stdout.splitlines():
        name, nanoseconds = line.split()
        best[name] = min(best.get(name, float("inf")), float(nanoseconds))
