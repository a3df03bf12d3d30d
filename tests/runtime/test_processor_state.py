"""Flags, bases and addresses that few programs have: kept for the program, and no harm to the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import appdir_of, compiled, package, run

SAME_AS_ON_LINUX = ("alignment-checks", "direction", "single-steps", "handler-nowhere", "fs-base")


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rough")
    root = appdir_of(directory / "appdir", compiled("rough.c", "-static"))
    return package(root, directory / "rough", "/bin/rough")


@pytest.mark.parametrize("what", SAME_AS_ON_LINUX)
def test_unusual_processor_state_is_as_on_linux(rough: Path, what: str) -> None:
    native = run(compiled("rough.c", "-static"), what)
    assert native.status == 0
    assert native.out
    assert run(rough, what) == native
