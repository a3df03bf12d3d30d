"""Memory that a program gets is zero, whatever the host has put into the enclave's unmeasured pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from mystikos.collect import collect
from tests.support.running import compiled, package, run, run_everywhere

LINKED = {
    "dynamic": (),
    "static": ("-static",),
    "at fixed addresses": ("-static", "-no-pie"),
}


@pytest.mark.parametrize("linked", LINKED)
def test_fresh_memory_is_zero(linked: str, tmp_path: Path) -> None:
    program = compiled("fresh.c", "-pthread", *LINKED[linked])
    collect([f"{program}=/bin/fresh"], tmp_path / "appdir")
    made = package(tmp_path / "appdir", tmp_path / "fresh", "/bin/fresh")

    told = run_everywhere(made)
    assert (told.status, told.err) == (0, b"")
    assert len(told.lines) > 20
    assert [line for line in told.lines if not line.endswith(": zero")] == []
    assert run(made, target="sim", env={"MYST_SIM_GARBAGE": "1"}) == told
    assert run(program, target=None, cwd=tmp_path) == told
