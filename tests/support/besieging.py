"""Programs in packages whose launcher lies: what it was told to do, how the program ended, what was counted.

On the ``sgx`` target they run on the test device, with the launcher's driver for hardware.

The launcher is that of this checkout with the cargo feature ``hostile`` (``runtime/host/src/hostile``), the
kernel is the one of every package.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mystikos.launcher import Runtime
from tests.support.running import DEVICE, appdir_of, compiled, package

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120  # seconds; a program that takes longer hangs

_NUMBERS = 64
_OTHERS = ("races", "interrupts", "visits", "visited", "repeats", "untold", "compared", "damaged")
_COUNTS = struct.Struct(f"<{2 * _NUMBERS + len(_OTHERS)}Q")  # `Counts` in runtime/host/src/hostile/report.rs


def host_calls() -> dict[str, int]:
    """Every host call of the kernel and its number, from where the contract stands."""
    text = (ROOT / "runtime/abi/src/hostcall.rs").read_text(encoding="utf-8")
    table = re.search(r"^pub mod nr \{(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL)
    assert table is not None
    return {name: int(number) for name, number in re.findall(r"pub const (\w+): u64 = (\d+);", table[1])}


@functools.cache
def launcher() -> bytes:
    """The launcher that lies; built once a run."""
    sys.path.append(str(ROOT / "tools"))
    from build_runtime import build_hostile_launcher

    return build_hostile_launcher(ROOT).read_bytes()


@dataclass(frozen=True, repr=False)
class End:
    """How a besieged program ended."""

    settings: str
    status: int | None  # None: it hung
    err: bytes
    calls: Counter[str]
    changed: Counter[str]
    others: Mapping[str, int]

    @property
    def last_line(self) -> bytes:
        return (self.err.splitlines() or [b""])[-1]

    def __repr__(self) -> str:
        ending = "hung" if self.status is None else f"exit status {self.status}"
        return f"MYST_HOSTILE={self.settings}: {ending}, {self.err[-500:]!r}"


@dataclass
class Siege:
    """A package and a place for what its runs leave."""

    program: Path
    directory: Path
    target: str
    ends: list[End] = field(default_factory=list)

    def run(self, *arguments: str, **settings: object) -> End:
        """One run, with these settings of the launcher and arguments of the launcher and the program."""
        report = self.directory / "report"
        report.write_bytes(bytes(4096))
        told = ",".join(f"{name}={value}" for name, value in {**settings, "report": report}.items())
        environment = {"PATH": os.environ["PATH"], "MYST_TARGET": self.target, "MYST_HOSTILE": told}
        device = [DEVICE, "--"] if self.target == "sgx" else []
        with (self.directory / "in").open("r+b") as stdin, (self.directory / "out").open("wb") as stdout:
            try:
                done = subprocess.run(
                    [*device, self.program, *arguments],
                    stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment, timeout=TIMEOUT,
                )  # fmt: skip
                status, err = done.returncode, done.stderr
            except subprocess.TimeoutExpired as hung:
                status, err = None, hung.stderr or b""
        end = End(told.rpartition(",")[0], status, err, *_counted(report.read_bytes()))
        self.ends.append(end)
        return end

    def total(self, which: str) -> Counter[str]:
        """The counts of all runs: ``calls`` or ``changed``, by host call."""
        return sum((getattr(end, which) for end in self.ends), Counter())


def _counted(report: bytes) -> tuple[Counter[str], Counter[str], dict[str, int]]:
    words = _COUNTS.unpack_from(report)
    names = {number: name for name, number in host_calls().items()}
    calls = Counter({names.get(i, "overwritten"): n for i, n in enumerate(words[:_NUMBERS])})
    changed = Counter({names.get(i, "overwritten"): n for i, n in enumerate(words[_NUMBERS : 2 * _NUMBERS])})
    return calls, changed, dict(zip(_OTHERS, words[2 * _NUMBERS :], strict=True))


def besieged(
    directory: Path, target: str, *flags: str, source: str = "besieged.c", **config: object
) -> Siege:
    """A package of ``besieged.c``, or of another program, linked as the flags say."""
    settings = {"MaxThreads": 12, "UnhandledSyscallEnosys": True, **config}
    root = appdir_of(directory / "appdir", compiled(source, "-pthread", *flags))
    runtime = dataclasses.replace(Runtime.load(), launcher=launcher())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtime, "load", lambda: runtime)
        program = package(root, directory / "besieged", f"/bin/{Path(source).stem}", **settings)
    (directory / "in").write_bytes(bytes(range(256)) * 400)
    return Siege(program, directory, target)


MOST = 8  # times as many runs as planned, at the most, until what is counted is enough


def seeds(first: int, count: int, lacking: Callable[[], object] = lambda: None) -> Iterator[int]:
    """Seeds of a batch; ``make hostile`` asks for many times as many.

    How often a call is made depends on the moment, so there are more seeds for as long as ``lacking`` names
    something; a test that is still short of it after them fails by its own check.
    """
    planned = count * int(os.environ.get("HOSTILE_FACTOR", "1"))
    yield from range(first, first + planned)
    for seed in range(first + planned, first + MOST * planned):
        if not lacking():
            return
        yield seed
