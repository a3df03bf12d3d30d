"""Instructions that an enclave cannot execute answer as programs need it, natively and in a package alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import appdir_of, compiled, package, run, run_everywhere


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("instructions")
    root = appdir_of(directory / "appdir", compiled("instructions.c", "-static", "-pthread"))
    return package(root, directory / "instructions", "/bin/instructions")


def test_cpuid_and_the_counter_hold_what_programs_rely_on(instructions: Path) -> None:
    native = run(compiled("instructions.c", "-static", "-pthread"), target=None)
    told = run_everywhere(instructions)
    assert told == native
    assert told.status == 0
    assert len(told.lines) > 20
    assert all(line.startswith("holds: ") for line in told.lines)
