"""/dev/attestation in the software SGX: reports that can be checked, sealing keys that follow the rules."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from mystikos.collect import collect
from mystikos.inspection import inspect_package
from mystikos.package import unpack
from tests.support.running import PROGRAMS, appdir_of, compiled, package, run

INVALID_ISVSVN = 64
MRENCLAVE, MRSIGNER = 1, 2

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Packages of the program, each with settings of its own."""

    def made(**settings: object) -> Path:
        directory = tmp_path_factory.mktemp("attestation")
        root = appdir_of(directory / "appdir", compiled("attestation.c", "-static"))
        return package(root, directory / "attestation", "/bin/attestation", **settings)

    return made


@pytest.fixture(scope="module")
def first(make: Make) -> Path:
    return make(ProductID=7, SecurityVersion=2)


def told(program: Path, *arguments: str) -> dict[str, str]:
    """What the program says by name."""
    outcome = run(program, *arguments, target="sim")
    assert outcome.status == 0, outcome.err.decode()
    return dict(line.split(" ", 1) for line in outcome.lines)


def test_the_files_keep_to_their_sizes_and_say_what_does_not_fit(first: Path) -> None:
    outcome = run(first, "files", target="sim")
    assert outcome.status == 0, outcome.err.decode()
    assert len(outcome.lines) > 30
    assert [line for line in outcome.lines if not line.startswith("holds: ")] == []


def test_outside_of_an_enclave_only_the_type_is_there(first: Path) -> None:
    assert run(first, "names", target="linux").lines == ["1 4"]


def test_a_report_tells_who_the_enclave_is_and_that_it_is_simulated(first: Path) -> None:
    said = told(first, "dump", "what is reported")
    report = bytes.fromhex(said["report"])
    facts = inspect_package(unpack(first)).identity
    assert report[:16] == b"MYST-SIMULATED\0\0"
    assert report[64:96].hex() == facts.mrenclave
    assert report[128:160].hex() == facts.mrsigner
    assert int.from_bytes(report[256:258], "little") == 7
    assert int.from_bytes(report[258:260], "little") == 2
    assert report[48] & 2 == 2, "a debug enclave"
    assert report[320:384] == b"what is reported".ljust(64, b"\0")

    target = bytes.fromhex(said["target_info"])
    assert target[:32].hex() == facts.mrenclave
    assert target[32:48] == report[48:64]
    assert target[52:56] == report[16:20]


def test_a_report_is_checked_by_its_target_and_by_nobody_else(make: Make, first: Path) -> None:
    said = told(first, "dump", "data")
    report, key = bytes.fromhex(said["report"]), bytes.fromhex(said["report_key"])
    assert is_authentic(report, key)
    for position in (0, 64, 258, 320, 383, 416):
        forged = bytearray(report)
        forged[position] ^= 1
        assert not is_authentic(bytes(forged), key)
    another = told(make(ProductID=7, SecurityVersion=2, MemorySize="32m"), "dump", "data")
    assert not is_authentic(report, bytes.fromhex(another["report_key"]))


def is_authentic(report: bytes, key: bytes) -> bool:
    mac = CMAC(AES(key))
    mac.update(report[:384])
    try:
        mac.verify(report[416:432])
    except InvalidSignature:
        return False
    return True


def test_sealing_keys_are_those_of_the_enclave_or_of_the_signers_product(make: Make, first: Path) -> None:
    own = told(first, "dump", "")
    assert told(first, "dump", "again")["mrsigner"] == own["mrsigner"]

    update = told(make(ProductID=7, SecurityVersion=2, MemorySize="32m"), "dump", "")
    assert update["mrsigner"] == own["mrsigner"]
    assert update["mrenclave"] != own["mrenclave"]

    for other in (
        {"ProductID": 8, "SecurityVersion": 2},
        {"ProductID": 7, "SecurityVersion": 2, "key": "another"},
        {"ProductID": 7, "SecurityVersion": 3},
        {"ProductID": 7, "SecurityVersion": 2, "Debug": 0},
    ):
        said = told(make(**other), "dump", "")
        assert said["mrsigner"] != own["mrsigner"], other
        assert said["mrsigner"] != said["mrenclave"]


def test_a_newer_version_has_the_keys_of_older_ones_and_not_the_other_way_round(
    make: Make, first: Path
) -> None:
    newer = make(ProductID=7, SecurityVersion=3)
    assert told(first, "seal", str(MRSIGNER), "2")["key"] == told(first, "dump", "")["mrsigner"]
    assert told(first, "seal", str(MRENCLAVE), "2")["key"] == told(first, "dump", "")["mrenclave"]
    assert told(newer, "seal", str(MRSIGNER), "2") == {
        "status": "0",
        "key": told(first, "dump", "")["mrsigner"],
    }
    assert told(first, "seal", str(MRSIGNER), "3") == {"status": str(INVALID_ISVSVN), "key": "0" * 32}


def test_the_kernel_keeps_no_key(tmp_path: Path) -> None:
    root = appdir_of(tmp_path / "appdir", compiled("attestation.c", "-static-pie"))
    program = package(root, tmp_path / "attestation", "/bin/attestation")
    assert told(program, "leftovers") == {"read": "16", "searched": "enough", "found": "0"}


def test_a_python_program_asks_for_a_report(tmp_path: Path) -> None:
    python = Path("/usr/bin/python3").resolve()
    interpreter = python if python.exists() else Path(sys.executable).resolve()
    collect([str(interpreter)], tmp_path / "appdir")
    shutil.copy(PROGRAMS / "attest.py", tmp_path / "appdir")
    made = package(tmp_path / "appdir", tmp_path / "python", str(interpreter), MemorySize="128m")

    inside = run(made, "/attest.py", "data of Python", target="sim")
    assert inside.status == 0, inside.err.decode()
    assert inside.lines == [
        "432 none",
        inspect_package(unpack(made)).identity.mrenclave,
        "data of Python",
        "['_sgx_mrenclave', '_sgx_mrsigner']",
        "16",
        "No space left on device",
    ]
    outside = run(made, "/attest.py", "data", target="linux")
    assert (outside.status, outside.err) == (1, b"not in an enclave: attestation_type\n")
