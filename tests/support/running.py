"""Real packages, run: compile programs, package them with the runtime that was built, start them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mystikos import config as configs
from mystikos import pipeline
from tests.support.packages import signer

PROGRAMS = Path(__file__).resolve().parents[1] / "runtime" / "programs"
TIMEOUT = 60

# The test device, which plays /dev/sgx_enclave for a program (runtime/testdevice).
DEVICE = (
    Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parents[2] / "runtime" / "target"))
    / "debug"
    / "sgx-test-device"
)
# `make test-on-device`: what would run in a simulated enclave runs on the device, by the driver for hardware.
ON_DEVICE = "TESTS_ON_DEVICE" in os.environ


@dataclass(frozen=True)
class Outcome:
    """How a program ended and what it wrote."""

    status: int
    out: bytes
    err: bytes

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


@functools.cache
def _workshop() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mystikos-tests-")


@functools.cache
def compiled(source: str, *flags: str, compiler: str = "gcc") -> Path:
    """A program of ``tests/runtime/programs`` compiled once a run; the flags decide how it is linked."""
    directory = Path(tempfile.mkdtemp(dir=_workshop().name))
    program = directory / Path(source).stem
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Werror", "-o", str(program), str(PROGRAMS / source), *flags], check=True
    )
    return program


def appdir_of(root: Path, *programs: Path) -> Path:
    """A directory with the programs in /bin and an empty /tmp."""
    for folder in ("bin", "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for program in programs:
        target = root / "bin" / program.name
        target.write_bytes(program.read_bytes())
        target.chmod(0o755)
    return root


def package(
    appdir: Path, output: Path, application: str, *, key: str | None = None, **settings: object
) -> Path:
    """A package of a directory; a debug one unless the settings say otherwise. ``key`` names its signer."""
    defaults: dict[str, object] = {
        "Debug": 1,
        "MemorySize": "64m",
        "MaxThreads": 16,
        "HostApplicationParameters": True,
    }
    source = {**defaults, **settings, "ApplicationPath": application}
    config = configs.parse(json.dumps(source).encode(), "config.json")
    pipeline.build(appdir, signer(key) if key else signer(), config, output)
    return output


def run(
    program: Path | str,
    *arguments: str | bytes,
    env: dict[str, str] | None = None,
    stdin: bytes | None = b"",
    target: str | None = "linux",
    cwd: Path | None = None,
    timeout: float = TIMEOUT,
) -> Outcome:
    """Start a package (or any program) and wait for its end; the environment is PATH and what is given."""
    environment = {"PATH": os.environ["PATH"], **(env or {})}
    before: tuple[Path | str, ...] = ()
    if target == "sim" and ON_DEVICE:
        target, before, timeout = "sgx", (DEVICE, "--"), 10 * timeout
    if target is not None:
        environment["MYST_TARGET"] = target
    command = [*before, program, *arguments]
    done = subprocess.run(
        command, capture_output=True, env=environment, input=stdin, cwd=cwd, timeout=timeout
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_everywhere(program: Path, *arguments: str | bytes, stdin: bytes = b"", **more: Any) -> Outcome:
    """Run a package in a plain process and in a simulated enclave: it says the same, which is returned."""
    told = run(program, *arguments, stdin=stdin, target="linux", **more)
    assert run(program, *arguments, stdin=stdin, target="sim", **more) == told
    return told
