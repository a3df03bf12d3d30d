"""The `sim` target: a package becomes an enclave by the leaf functions of the SDM, or EINIT refuses it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mystikos import _abi
from mystikos.formats import descriptor
from mystikos.formats.descriptor import Descriptor, Enclave, Kind, Region, Section
from mystikos.package import unpack
from tests.support.packages import PackageForge
from tests.support.running import appdir_of, compiled, package, run

INVALID_SIG_STRUCT, INVALID_ATTRIBUTE, INVALID_MEASUREMENT, INVALID_SIGNATURE = 1, 2, 4, 8


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that tells at once if it runs."""
    directory = tmp_path_factory.mktemp("victim")
    root = appdir_of(directory / "appdir", compiled("spin.c", "-static", compiler="musl-gcc"))
    return package(root, directory / "victim", "/bin/spin", MaxThreads=4)


def _refused(path: Path, status: int) -> None:
    refused = run(path, target="sim")
    assert (refused.status, refused.out) == (125, b""), refused
    told = refused.err.splitlines()[-1]
    assert re.fullmatch(rb"myst: refused: .*; EINIT fails with SGX_INVALID_\w+ \(%d\)" % status, told), told


def _forged(victim: Path, directory: Path, change: Callable[[PackageForge], object]) -> Path:
    forge = PackageForge.of(victim)
    change(forge)
    path = forge.fix_descriptor().write(directory)
    path.chmod(0o755)
    return path


def _with_regions(victim: Path, directory: Path, change: Callable[[Enclave], Enclave]) -> Path:
    """The package with another layout, well formed in itself."""
    forge = PackageForge.of(victim)
    place = forge.package.sections[Section.ENCLAVE]
    found = descriptor.decode(bytes(forge.data[place.offset : place.end]))
    enclave = change(found.enclave)
    trace = (*found.trace, *[bytes(32)] * len(enclave.regions))[: len(enclave.regions)]
    encoded = descriptor.encode(Descriptor(enclave, trace, found.sigstruct))
    assert len(encoded) == place.size
    forge.put(Section.ENCLAVE, 0, encoded)
    path = forge.write(directory)
    path.chmod(0o755)
    return path


def test_what_was_signed_runs_as_an_enclave(victim: Path) -> None:
    ran = run(victim, "0", target="sim")
    assert (ran.status, ran.err) == (0, b"")


def test_altered_page_content_is_refused(victim: Path, tmp_path: Path) -> None:
    for section in (Section.KERNEL, Section.CRT, Section.CONFIG, Section.ROOTFS):
        _refused(_forged(victim, tmp_path, lambda f, s=section: f.flip(s, 4095 % 600)), INVALID_MEASUREMENT)


def test_altered_page_permissions_are_refused(victim: Path, tmp_path: Path) -> None:
    def change(enclave: Enclave) -> Enclave:
        def writable(region: Region) -> Region:
            rights = region.secinfo | _abi.SECINFO_W if region.kind is Kind.ROOTFS else region.secinfo
            return dataclasses.replace(region, secinfo=rights)

        return dataclasses.replace(enclave, regions=tuple(map(writable, enclave.regions)))

    _refused(_with_regions(victim, tmp_path, change), INVALID_MEASUREMENT)


def test_an_altered_ssa_size_is_refused(victim: Path, tmp_path: Path) -> None:
    ssaframesize = 32
    path = _forged(victim, tmp_path, lambda f: f.put(Section.ENCLAVE, ssaframesize, struct.pack("<I", 2)))
    _refused(path, INVALID_MEASUREMENT)


def test_another_number_of_ssa_frames_is_refused(victim: Path, tmp_path: Path) -> None:
    def change(enclave: Enclave) -> Enclave:
        def fewer(region: Region) -> Region:
            if not isinstance(region.source, descriptor.Tcs):
                return region
            return dataclasses.replace(region, source=dataclasses.replace(region.source, nssa=2))

        return dataclasses.replace(enclave, regions=tuple(map(fewer, enclave.regions)))

    _refused(_with_regions(victim, tmp_path, change), INVALID_MEASUREMENT)


def test_an_altered_thread_count_is_refused(victim: Path, tmp_path: Path) -> None:
    """One thread less: its TCS becomes an ordinary page, so that the descriptor keeps its size."""

    def change(enclave: Enclave) -> Enclave:
        last = max(r.offset for r in enclave.regions if r.kind is Kind.TCS)
        plain = Region(Kind.STACK, last, 1, descriptor.REG_RW)
        return dataclasses.replace(
            enclave, regions=tuple(plain if r.offset == last else r for r in enclave.regions)
        )

    _refused(_with_regions(victim, tmp_path, change), INVALID_MEASUREMENT)


def test_altered_attributes_are_refused(victim: Path, tmp_path: Path) -> None:
    attributes = 40
    not_debug = struct.pack("<Q", _abi.ATTRIBUTE_MODE64BIT)
    path = _forged(victim, tmp_path, lambda f: f.put(Section.ENCLAVE, attributes, not_debug))
    _refused(path, INVALID_ATTRIBUTE)


@pytest.mark.parametrize(
    ("field", "status"),
    [
        pytest.param(0, INVALID_SIG_STRUCT, id="header"),
        pytest.param(512, INVALID_SIG_STRUCT, id="exponent"),
        pytest.param(516 + 100, INVALID_SIGNATURE, id="signature"),
        pytest.param(1040 + 100, INVALID_SIGNATURE, id="q1"),
        pytest.param(1424 + 100, INVALID_SIGNATURE, id="q2"),
        pytest.param(1026, INVALID_SIGNATURE, id="security version"),
        pytest.param(960, INVALID_SIGNATURE, id="measurement"),
    ],
)
def test_an_altered_signature_is_refused(victim: Path, tmp_path: Path, field: int, status: int) -> None:
    sigstruct = struct.unpack_from("<Q", _descriptor(victim), 72)[0]
    _refused(_forged(victim, tmp_path, lambda f: f.flip(Section.ENCLAVE, sigstruct + field)), status)


def _descriptor(path: Path) -> bytes:
    place = unpack(path).sections[Section.ENCLAVE]
    return path.read_bytes()[place.offset : place.end]


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
