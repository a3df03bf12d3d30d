"""What a kernel that stops itself says: where, to who may debug; nothing of the program, to anybody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import appdir_of, compiled, package, run

PANIC = b"myst: the kernel stopped: panicked at "
PANIC_UNTOLD = (
    b"myst: the kernel stopped: it has a defect, or the host has lied to it; "
    b'a package with "Debug": 1 says where'
)
FAULT = b"myst: the kernel failed at 0x"


@pytest.fixture(scope="module", params=[1, 0], ids=["debug", "release"])
def ruin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    directory = tmp_path_factory.mktemp("ruin")
    root = appdir_of(directory / "appdir", compiled("ruin.c", "-static"))
    return package(root, directory / "ruin", "/bin/ruin", Debug=request.param), request.param == 1


@pytest.mark.parametrize("target", ["linux", "sim"])
def test_a_message_is_for_who_may_debug(ruin: tuple[Path, bool], target: str) -> None:
    program, debug = ruin
    told = run(program, "object", target=target)
    assert told.status == 125
    last = told.err.splitlines()[-1]
    if debug or target == "linux":
        assert last.startswith(PANIC), told.err
        assert b"a thread without its kernel object" in last
    else:
        assert last == PANIC_UNTOLD


@pytest.mark.parametrize("target", ["linux", "sim"])
def test_a_fault_tells_the_page_and_only_who_may_debug_the_address(
    ruin: tuple[Path, bool], target: str
) -> None:
    program, debug = ruin
    told = run(program, "stack", target=target)
    assert told.status == 125
    last = told.err.splitlines()[-1]
    assert last.startswith(FAULT), told.err
    address = b"0x12338" if debug or target == "linux" else b"0x12000"
    assert b"(vector 14, address " + address + b")" in last
