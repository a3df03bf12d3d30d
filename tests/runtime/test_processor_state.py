"""Flags, bases and addresses that few programs have: kept for the program, and no harm to the kernel."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.running import appdir_of, compiled, package, run, run_everywhere

DEADLY = {
    "divide": signal.SIGFPE,
    "undefined": signal.SIGILL,
    "breakpoint": signal.SIGTRAP,
    "step": signal.SIGTRAP,
    "privileged": signal.SIGSEGV,
    "port": signal.SIGSEGV,
    "interrupt": signal.SIGSEGV,
    "write": signal.SIGSEGV,
    "jump": signal.SIGSEGV,
    "not-canonical": signal.SIGSEGV,
    "stack": signal.SIGBUS,
    "alignment": signal.SIGBUS,
    "x87": signal.SIGFPE,
    "sse": signal.SIGFPE,
}
SAME_AS_ON_LINUX = ("alignment-checks", "direction", "single-steps", "handler-nowhere", "fs-base")


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rough")
    root = appdir_of(directory / "appdir", compiled("rough.c", "-static"))
    return package(root, directory / "rough", "/bin/rough")


@pytest.mark.parametrize("what", DEADLY)
def test_an_exception_without_a_handler_ends_the_program_by_its_signal(rough: Path, what: str) -> None:
    native = run(compiled("rough.c", "-static"), "die", what, target=None)
    assert native.status == -DEADLY[what]
    told = run_everywhere(rough, "die", what)
    assert (told.status, told.lines) == (128 + DEADLY[what], ["alive"])


def test_a_program_that_takes_the_gs_base_is_ended_with_a_message(rough: Path) -> None:
    told = run_everywhere(rough, "gs-base")
    assert told.status == 125
    assert told.err == b"myst: the application cannot go on: it changed the GS base, which is the kernel's\n"


@pytest.mark.parametrize("what", SAME_AS_ON_LINUX)
def test_unusual_processor_state_is_as_on_linux(rough: Path, what: str) -> None:
    native = run(compiled("rough.c", "-static"), what)
    assert native.status == 0
    assert native.out
    # An asynchronous exit clears TF in the saved flags (SDM volume 3D), so nothing steps through an enclave.
    told = run(rough, what) if what == "single-steps" else run_everywhere(rough, what)
    assert told == native
