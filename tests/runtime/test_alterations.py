"""A package of which anything was altered fails at EINIT, with the error of the SDM, which the user is told.

The `sim` target executes EINIT in the software SGX, `sgx` in the test device behind the driver for hardware;
the driver of Linux only says EPERM, so the launcher finds out which error it was. The `linux` target has no
EINIT and refuses for the same reason. What is altered is well formed in itself, as a careful attacker would
have it.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mystikos import _abi
from mystikos.cli import main
from mystikos.formats import descriptor
from mystikos.formats.descriptor import Descriptor, Kind, Region, Section
from mystikos.package import unpack
from tests.support.device import run_on_device
from tests.support.packages import PackageForge
from tests.support.running import appdir_of, compiled, package, run

SIG_STRUCT, ATTRIBUTE = b"SGX_INVALID_SIG_STRUCT (1)", b"SGX_INVALID_ATTRIBUTE (2)"
MEASUREMENT, SIGNATURE = b"SGX_INVALID_MEASUREMENT (4)", b"SGX_INVALID_SIGNATURE (8)"

# What people are told of each, before the error.
SAID = {
    SIG_STRUCT: rb"SIGSTRUCT is malformed, so nobody signed this package",
    ATTRIBUTE: rb"the descriptor asks for other attributes than were signed",
    MEASUREMENT: rb"the content differs from what was signed "
    rb"\(MRENCLAVE is [0-9a-f]{64}, signed is [0-9a-f]{64}\); `myst verify` tells where",
    SIGNATURE: rb"the signature does not verify, so this is not what the signer signed",
}

SSAFRAMESIZE, ATTRIBUTES, SIGSTRUCT = 32, 40, 72  # in the descriptor
RECORDS = _abi.DESCRIPTOR_HEADER_SIZE
RECORD = _abi.REGION_RECORD_SIZE


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that tells at once if it runs."""
    directory = tmp_path_factory.mktemp("victim")
    root = appdir_of(directory / "appdir", compiled("spin.c", "-static", compiler="musl-gcc"))
    return package(root, directory / "victim", "/bin/spin", MaxThreads=4, MemorySize="4m")


Change = Callable[[PackageForge], object]


def flipped(section: Section, at: int = 300) -> Change:
    return lambda forge: forge.flip(section, at)


def put(at: int, form: str, value: int) -> Change:
    return lambda forge: forge.put(Section.ENCLAVE, at, struct.pack(form, value))


def in_sigstruct(at: int) -> Change:
    def change(forge: PackageForge) -> None:
        (sigstruct,) = struct.unpack_from("<Q", forge.data, forge.offset(Section.ENCLAVE, SIGSTRUCT))
        forge.flip(Section.ENCLAVE, sigstruct + at)

    return change


def regions(change: Callable[[Region], Region]) -> Change:
    """Every region as `change` has it."""

    def forged(forge: PackageForge) -> None:
        place = forge.package.sections[Section.ENCLAVE]
        found = descriptor.decode(bytes(forge.data[place.offset : place.end]))
        enclave = dataclasses.replace(found.enclave, regions=tuple(map(change, found.enclave.regions)))
        encoded = descriptor.encode(Descriptor(enclave, found.trace, found.sigstruct))
        assert len(encoded) == place.size
        forge.put(Section.ENCLAVE, 0, encoded)

    return forged


def writable(region: Region) -> Region:
    rights = region.secinfo | _abi.SECINFO_W if region.kind is Kind.ROOTFS else region.secinfo
    return dataclasses.replace(region, secinfo=rights)


def with_two_frames(region: Region) -> Region:
    if not isinstance(region.source, descriptor.Tcs):
        return region
    return dataclasses.replace(region, source=dataclasses.replace(region.source, nssa=2))


def one_thread_less(forge: PackageForge) -> None:
    """Its TCS becomes an ordinary page, so that the descriptor keeps its size."""
    last = max(region.offset for region in forge.package.enclave.regions if region.kind is Kind.TCS)
    plain = Region(Kind.STACK, last, 1, descriptor.REG_RW)
    regions(lambda region: plain if region.offset == last else region)(forge)


def exchanged_pages(forge: PackageForge) -> None:
    """Two pages of the root file system change places, with their content as it was."""
    at = forge.offset(Section.ROOTFS)
    first, second = (bytes(forge.data[at + n : at + n + 4096]) for n in (0, 4096))
    assert first != second
    forge.put(Section.ROOTFS, 0, second + first)


@dataclass(frozen=True)
class Alteration:
    change: Change
    error: bytes
    verified: str  # what `myst verify` says of it


NOT_DEBUG = put(ATTRIBUTES, "<Q", _abi.ATTRIBUTE_MODE64BIT)

ALTERATIONS = {
    "content of the kernel": Alteration(
        flipped(Section.KERNEL), MEASUREMENT, "first changed: .libmystkernel, region KERNEL at"
    ),
    "content of the CRT image": Alteration(
        flipped(Section.CRT), MEASUREMENT, "first changed: .libmystcrt, region CRT at"
    ),
    "content of the config": Alteration(flipped(Section.CONFIG), MEASUREMENT, "format: .mystconfig: "),
    "content of a file": Alteration(
        flipped(Section.ROOTFS, 600), MEASUREMENT, "first changed: .mystrootfs, region ROOTFS at"
    ),
    "page permissions": Alteration(
        regions(writable), MEASUREMENT, "layout: .mystrootfs is not loaded whole, measured and at its place"
    ),
    "page order": Alteration(exchanged_pages, MEASUREMENT, "first changed: .mystrootfs, region ROOTFS at"),
    "SSA size": Alteration(
        put(SSAFRAMESIZE, "<I", 2), MEASUREMENT, "format: .mystenc: SSAFRAMESIZE 2 is not 1"
    ),
    "SSA frames": Alteration(regions(with_two_frames), MEASUREMENT, "has NSSA 0x2, expected 0x3"),
    "thread count": Alteration(
        one_thread_less,
        MEASUREMENT,
        "layout: the parameter page tells another number of threads than there are TCS pages",
    ),
    "attributes": Alteration(NOT_DEBUG, ATTRIBUTE, "attributes: ATTRIBUTES.FLAGS is 0x6, not 0x4"),
    "header of the signature": Alteration(
        in_sigstruct(0),
        SIG_STRUCT,
        "format: .mystenc: SIGSTRUCT: its two constant headers are not as the SDM says",
    ),
    "exponent": Alteration(in_sigstruct(512), SIG_STRUCT, "signature: SIGSTRUCT: exponent 2, expected 3"),
    "signature": Alteration(
        in_sigstruct(516 + 100), SIGNATURE, "signature: SIGSTRUCT: the signature is not over these fields"
    ),
    "Q1": Alteration(
        in_sigstruct(1040 + 100), SIGNATURE, "signature: SIGSTRUCT: Q1 or Q2 do not belong to the signature"
    ),
    "Q2": Alteration(
        in_sigstruct(1424 + 100), SIGNATURE, "signature: SIGSTRUCT: Q1 or Q2 do not belong to the signature"
    ),
    "security version": Alteration(
        in_sigstruct(1026), SIGNATURE, "signature: SIGSTRUCT: the signature is not over these fields"
    ),
    "signed measurement": Alteration(
        in_sigstruct(960), SIGNATURE, "signature: SIGSTRUCT: the signature is not over these fields"
    ),
}


def altered(victim: Path, directory: Path, alteration: Alteration) -> Path:
    forge = PackageForge.of(victim)
    alteration.change(forge)
    path = forge.fix_descriptor().write(directory)
    path.chmod(0o755)
    return path


def told_of(path: Path, target: str) -> bytes:
    """What the launcher says last, of a package that it does not run."""
    outcome = run_on_device(path).outcome if target == "sgx" else run(path, target=target)
    assert (outcome.status, outcome.out) == (125, b""), outcome
    return outcome.err.splitlines()[-1]


@pytest.mark.parametrize("target", ["sim", "sgx"])
@pytest.mark.parametrize("name", ALTERATIONS)
def test_einit_refuses_it_and_the_user_is_told_why(
    victim: Path, tmp_path: Path, name: str, target: str
) -> None:
    alteration = ALTERATIONS[name]
    told = told_of(altered(victim, tmp_path, alteration), target)
    error = alteration.error
    expected = rb"myst: refused: %s; EINIT fails with %s" % (SAID[error], re.escape(error))
    assert re.fullmatch(expected, told), told


def test_the_processor_itself_refuses_it(victim: Path, tmp_path: Path) -> None:
    """Not the launcher beforehand: the driver is asked for EINIT, and has added every page."""
    told = run_on_device(altered(victim, tmp_path, ALTERATIONS["thread count"]))
    assert [record["rule"] for record in told.refused] == ["SGX_INVALID_MEASUREMENT"]
    assert told.counts["EADD"] == sum(region.pages for region in unpack(victim).enclave.regions)
    assert (told.counts["EINIT"], told.counts.get("EENTER", 0)) == (1, 0)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_without_an_enclave_it_is_refused_for_the_same_reason(
    victim: Path, tmp_path: Path, name: str
) -> None:
    alteration = ALTERATIONS[name]
    told = told_of(altered(victim, tmp_path, alteration), "linux")
    assert re.fullmatch(rb"myst: refused: " + SAID[alteration.error], told), told


@pytest.mark.parametrize("name", ALTERATIONS)
def test_verifying_it_tells_where(
    victim: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alteration = ALTERATIONS[name]
    assert main(["verify", str(altered(victim, tmp_path, alteration))]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert any(alteration.verified in line for line in failed), failed


@pytest.mark.parametrize("target", ["linux", "sim", "sgx"])
def test_regions_are_added_in_the_order_of_their_addresses_only(
    victim: Path, tmp_path: Path, target: str
) -> None:
    """Another order is no enclave that anybody packages: it does not even come to EINIT."""

    def exchanged_records(forge: PackageForge) -> None:
        at = forge.offset(Section.ENCLAVE, RECORDS)
        first, second = (bytes(forge.data[at + n : at + n + RECORD]) for n in (0, RECORD))
        forge.put(Section.ENCLAVE, RECORDS, second + first)

    path = altered(victim, tmp_path, Alteration(exchanged_records, MEASUREMENT, ""))
    told = told_of(path, target)
    assert told == b"myst: this package is damaged: region 1 has impossible values"


@pytest.mark.parametrize("target", ["linux", "sim", "sgx"])
def test_unaltered_it_runs(victim: Path, target: str) -> None:
    if target == "sgx":
        assert run_on_device(victim, "0").outcome.status == 0
    else:
        assert run(victim, "0", target=target).status == 0
