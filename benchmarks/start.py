"""From start to exit of a whole program, packaged and native in turn; and the size of launcher and kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.running import appdir_of, package

from benchmarks import Result
from mystikos.launcher import Runtime

_ROUNDS = 40
_ENVIRONMENT = {"MYST_TARGET": "linux", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
_HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
_SIZE_LIMIT = 2 << 20
_PYTHON = "/usr/bin/python3"


def run() -> Iterator[Result]:
    """The C hello, CPython, the command's help, and sizes."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        yield _hello(directory)
        yield _python(directory)
    yield _help()
    yield _help("package-sgx")
    runtime = Runtime.load()
    size = len(runtime.launcher) + len(runtime.kernel)
    yield Result("launcher and kernel ÷ 2 MiB", size / _SIZE_LIMIT, 1.0, False, f"{size} bytes")


def _hello(directory: Path) -> Result:
    source, program = directory / "hello.c", directory / "hello"
    source.write_text(_HELLO)
    subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(source)], check=True)
    packaged = package(appdir_of(directory / "hello.d", program), directory / "hello.package", "/bin/hello")
    native, inside = _both([str(program)], [str(packaged)])
    detail = f"{inside * 1e3:.2f} ms, native {native * 1e3:.2f} ms"
    return Result("C hello: (package over native) ÷ 5 ms", (inside - native) / 5e-3, 1.0, False, detail)


def _python(directory: Path) -> Result:
    appdir = directory / "python.d"
    command = [sys.executable, "-m", "mystikos", "collect", _PYTHON, "--python", "core", "-o", str(appdir)]
    subprocess.run(command, check=True, capture_output=True)
    application = os.path.realpath(_PYTHON)
    settings = {"MemorySize": "64m", "MaxThreads": 8}
    packaged = package(appdir, directory / "python.package", application, **settings)
    native, inside = _both([application, "-c", "pass"], [str(packaged), "-c", "pass"])
    size = packaged.stat().st_size / (1 << 20)
    detail = f"{inside * 1e3:.2f} ms for {size:.1f} MiB, native {native * 1e3:.2f} ms"
    return Result("CPython -c pass ÷ native", inside / native, 1.5, False, detail)


def _help(*verb: str) -> Result:
    command = [sys.executable, "-m", "mystikos", *verb, "--help"]
    bare, told = _both([sys.executable, "-c", "pass"], command)
    detail = f"{told * 1e3:.0f} ms, python3 -c pass {bare * 1e3:.0f} ms"
    name = " ".join(["myst", *verb, "--help"])
    return Result(f"{name}: (over python3 -c pass) ÷ 150 ms", (told - bare) / 0.150, 1.0, False, detail)


def _both(native: list[str], packaged: list[str]) -> tuple[float, float]:
    """Seconds of each: the best of several runs in turn."""
    best = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for which, command in enumerate((native, packaged)):
            start = time.perf_counter()
            subprocess.run(command, env=_ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
            best[which] = min(best[which], time.perf_counter() - start)
    return best[0], best[1]
