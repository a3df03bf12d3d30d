"""System calls with random and extreme arguments: whatever a program asks for, the kernel answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import appdir_of, compiled, package, run


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzz")
    root = appdir_of(directory / "appdir", compiled("fuzz_calls.c", "-static", "-pthread"))
    return package(root, directory / "fuzz", "/bin/fuzz_calls", UnhandledSyscallEnosys=True)


def check(fuzz: Path, seed: int, calls: int, threads: int, timeout: float = 60) -> None:
    done = run(fuzz, str(seed), str(calls), str(threads), timeout=timeout)
    assert done.status == 0, done.err[-2000:]
    assert b" succeeded" in done.out


def test_the_kernel_survives_random_calls(fuzz: Path) -> None:
    check(fuzz, seed=21, calls=3000, threads=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 41))
def test_the_kernel_survives_many_random_calls(fuzz: Path, seed: int) -> None:
    check(fuzz, seed, calls=60_000, threads=1 + seed % 4, timeout=600)
