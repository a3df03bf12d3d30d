"""Programs that run natively and in a package, and tell the same.

A program of ``c/`` prints what it sees of system calls, and nothing that may differ between two Linux runs.
It starts in an empty directory, natively and in its package (in a plain process and in an enclave of the
software SGX); standard output and exit code must be equal.
Programs run as user 0, as they do in a package: natively in a user namespace when the tests' user is another.
"""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from mystikos.collect import collect
from tests.conformance.differences import ACCEPTED
from tests.support.running import Outcome, package, run

SOURCES = Path(__file__).parent / "c"
FLAGS = ("-O1", "-w", "-pthread")
LINKED = {
    "static": ("gcc", "-static"),
    "dynamic": ("gcc",),
    "musl": ("musl-gcc", "-static"),
}
# Programs that a C library may change: what it does at start, in threads, on signals and cancellation.
EVERY_WAY = {"bad_pointers", "signal_basics", "thread_basics"}
TARGETS = ("linux", "sim")
SETTINGS = {
    "MemorySize": "128m",
    "MaxThreads": 40,
    "CurrentWorkingDirectory": "/srv/empty",
    "UnhandledSyscallEnosys": True,
}


PROGRAMS = [
    pytest.param(source.stem, way, id=f"{source.stem}-{way}")
    for source in sorted(SOURCES.glob("*.c"))
    for way in (LINKED if source.stem in EVERY_WAY else ("static",))
]


@pytest.mark.runtime
@pytest.mark.parametrize(("name", "way"), PROGRAMS)
def test_a_program_tells_the_same_as_on_linux(name: str, way: str, tmp_path: Path) -> None:
    program = _compiled(name, way, tmp_path)
    native = _natively(program)
    made = package(_appdir(program, way, tmp_path), tmp_path / "package", f"/bin/{name}", **SETTINGS)

    for target in TARGETS:
        packaged = run(made, target=target)
        assert _without_accepted(name, native, packaged) == [], target
        assert packaged.status == _shell_status(native.status), (target, packaged.err)


def _compiled(name: str, way: str, directory: Path) -> Path:
    compiler, *link = LINKED[way]
    program = directory / name
    subprocess.run([compiler, *FLAGS, "-o", program, SOURCES / f"{name}.c", *link], check=True)
    return program


def _appdir(program: Path, way: str, directory: Path) -> Path:
    root = directory / "appdir"
    if way == "dynamic":
        collect([f"{program}=/bin/{program.name}"], root)
    for folder in ("bin", "tmp", "srv/empty"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if way != "dynamic":
        shutil.copy(program, root / "bin")
    return root


def _natively(program: Path) -> Outcome:
    """In /var/tmp: on the root's disk as a rule, where /tmp often is a file system of its own, in memory."""
    as_root = () if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        empty = Path(directory) / "work" / "empty"
        empty.mkdir(parents=True)
        return run(*as_root, program, target=None, cwd=empty)


def _shell_status(status: int) -> int:
    """Death by signal N is 128 + N."""
    return 128 - status if status < 0 else status


def _without_accepted(name: str, native: Outcome, packaged: Outcome) -> list[str]:
    """The lines that differ, apart from accepted ones."""
    accepted = dict.fromkeys(ACCEPTED.get(name, {}), False)
    found = []
    expected, told = (text.decode(errors="replace").splitlines() for text in (native.out, packaged.out))
    for line in difflib.unified_diff(expected, told, "linux", "package", n=0, lineterm=""):
        reason = next((known for known in accepted if line[1:].startswith(known)), None)
        if reason is None:
            found.append(line)
        else:
            accepted[reason] = True
    assert all(accepted.values()), (
        f"differs no longer: {[line for line, seen in accepted.items() if not seen]}"
    )
    return [] if all(line.startswith(("@@", "---", "+++")) for line in found) else found
