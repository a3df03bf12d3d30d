"""Kernel memory inside the range of user memory is not the application's to name."""

from __future__ import annotations

from pathlib import Path

from tests.support.running import appdir_of, compiled, package, run


def test_a_system_call_does_not_write_to_the_kernels_heap(tmp_path: Path) -> None:
    program = compiled("trespass.c", "-static")
    packaged = package(appdir_of(tmp_path / "appdir", program), tmp_path / "trespass", "/bin/trespass")
    told = run(packaged)
    assert (told.status, told.lines) == (0, ["refused, 0 others"]), told.err
