"""The `sim` target: a package becomes an enclave by the leaf functions of the SDM and runs as one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.running import appdir_of, compiled, package, run


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that tells at once if it runs."""
    directory = tmp_path_factory.mktemp("victim")
    root = appdir_of(directory / "appdir", compiled("spin.c", "-static", compiler="musl-gcc"))
    return package(root, directory / "victim", "/bin/spin", MaxThreads=4)


def test_what_was_signed_runs_as_an_enclave(victim: Path) -> None:
    ran = run(victim, "0", target="sim")
    assert (ran.status, ran.err) == (0, b"")


def test_counts_of_entries_and_exits_are_told_on_demand(victim: Path) -> None:
    told = run(victim, "0", target="sim", env={"MYST_STATS": "1"})
    found = re.fullmatch(r"myst: stats:((?: \w+=\d+)+)\n", told.err.decode())
    assert found, told.err
    counts = {name: int(value) for name, value in (pair.split("=") for pair in found[1].split())}
    assert counts["EENTER"] == counts["EEXIT"] > 0
    # the host call that ends the program is left by an exit, and not entered from again
    assert counts["EEXIT"] >= counts["host_calls"] > 0
    assert counts["host_call_ns"] > 0
    assert run(victim, "0", target="sim").err == b""


def test_interrupts_in_the_middle_of_a_computation_change_nothing(victim: Path) -> None:
    """Thousands of asynchronous exits, with timers that interrupt application code at any instruction."""
    told = run(victim, "3000", target="sim", env={"MYST_STATS": "1"})
    assert told.status == 0, told
    assert told.lines == ["computed right"]
    exits = re.search(rb" AEX=(\d+) ", told.err)
    assert exits
    assert int(exits[1]) > 3000


def test_a_release_package_says_that_a_simulation_protects_nothing(tmp_path: Path) -> None:
    root = appdir_of(tmp_path / "appdir", compiled("spin.c", "-static", compiler="musl-gcc"))
    made = package(root, tmp_path / "release", "/bin/spin", Debug=0)
    told = run(made, "0", target="sim")
    assert told.status == 0
    assert told.err == (
        b"myst: MYST_TARGET=sim: this release package runs in a simulated enclave, without any protection\n"
    )


def test_without_the_device_the_sgx_target_says_what_to_do(victim: Path, tmp_path: Path) -> None:
    if Path("/dev/sgx_enclave").exists():
        pytest.skip("this machine has SGX")
    refused = run(shutil.copy(victim, tmp_path / "copy"), target="sgx")
    assert (refused.status, refused.out) == (125, b"")
    assert b"/dev/sgx_enclave" in refused.err
    assert b"MYST_TARGET=sim" in refused.err


def test_an_exception_that_no_enclave_is_told_of_ends_the_program(tmp_path: Path) -> None:
    if "avx2" not in Path("/proc/cpuinfo").read_text(encoding="ascii").split():
        pytest.skip("this processor has no gathers")
    root = appdir_of(tmp_path / "appdir", compiled("stack_gather.c", "-static", compiler="musl-gcc"))
    told = run(package(root, tmp_path / "package", "/bin/stack_gather"), target="sim")
    assert (told.status, told.out) == (128 + 7, b"")
    assert told.err == (
        b"myst: ended by signal 7: the program raises exception 12, of which an enclave is not told\n"
    )
