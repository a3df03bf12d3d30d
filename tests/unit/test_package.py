from __future__ import annotations

import io
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support import elves, packages
from tests.support.defects import BAD_PACKAGES
from tests.support.packages import PackageForge

from mystikos import signature
from mystikos.errors import MystError, PackageError, RuntimeMissingError
from mystikos.formats import elf
from mystikos.formats.buildrecord import BuildRecord
from mystikos.formats.descriptor import Enclave, Section
from mystikos.formats.sigstruct import Sigstruct
from mystikos.measurement import Measurement, measure
from mystikos.package import PackageWriter, is_damaged, unpack

PAGE = 4096


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.make(tmp_path_factory.mktemp("package"))


def test_unpacking_gives_back_what_was_packed(package: Path) -> None:
    found = unpack(package)
    config = packages.config()
    assert bytes(found.section(Section.KERNEL)) == packages.runtime().kernel
    assert bytes(found.section(Section.CRT)) == packages.runtime().crt
    assert (found.record, found.config_source) == (config.record(), config.source)
    assert bytes(found.section(Section.ROOTFS)[:6]) == b"070701"
    assert found.sigstruct.modulus == packages.signer().public_modulus()


def test_sections_start_on_pages_and_only_zeros_lie_between_them(package: Path) -> None:
    places = list(unpack(package).sections.values())
    data = package.read_bytes()
    assert all(place.offset % PAGE == 0 for place in places)
    for before, after in itertools.pairwise(places):
        assert after.offset - before.end < PAGE
        assert not any(data[before.end : after.offset])


def test_launcher_is_unchanged_but_for_its_section_table(package: Path) -> None:
    launcher, data = packages.runtime().launcher, package.read_bytes()
    changed = [i for i in range(len(launcher)) if launcher[i] != data[i]]
    assert set(changed) <= {*range(0x28, 0x30), *range(0x3C, 0x40)}  # e_shoff, e_shnum, e_shstrndx


def test_a_launchers_own_sections_stay_readable(tmp_path: Path) -> None:
    source = tmp_path / "launcher.c"
    source.write_text("int main(void) { return 7; }")
    subprocess.run(["gcc", "-static", "-o", tmp_path / "launcher", source], check=True)
    runtime = replace(packages.runtime(), launcher=(tmp_path / "launcher").read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "runtime", lambda: runtime)
        package = packages.make(tmp_path / "made")

    listed = subprocess.run(["readelf", "-SW", package], check=True, capture_output=True, text=True)
    assert " .text " in listed.stdout
    assert " .mystrootfs " in listed.stdout
    assert subprocess.run([package], check=False).returncode == 7
    unpack(package)


@pytest.mark.parametrize(
    ("launcher", "told"),
    [
        (b"", "not an ELF"),
        (elves.make_elf(elf.ET_EXEC, [(elves.RX, 0x400000, b"x", 1)], interpreter=True), "not static"),
        (packages.runtime().launcher[:-1], "beyond the file's end"),
    ],
)
def test_a_broken_launcher_is_refused(launcher: bytes, told: str) -> None:
    with pytest.raises(RuntimeMissingError, match=told):
        PackageWriter(io.BytesIO(), launcher)


@pytest.mark.parametrize("defect", BAD_PACKAGES)
def test_a_malformed_package_is_refused_with_its_defect(package: Path, tmp_path: Path, defect: str) -> None:
    change, told = BAD_PACKAGES[defect]
    forge = PackageForge.of(package)
    change(forge)
    with pytest.raises(PackageError, match=told):
        unpack(forge.write(tmp_path))


@dataclass(frozen=True)
class Liar:
    """A content of another size than it says."""

    size: int
    data: bytes

    def chunks(self) -> Iterator[bytes]:
        yield self.data


@pytest.mark.parametrize("size", [4095, 4097])
def test_a_stream_of_another_size_than_planned_never_becomes_a_package(size: int) -> None:
    writer = PackageWriter(io.BytesIO(), packages.runtime().launcher)
    contents = writer.contents({Section.ROOTFS: Liar(size, bytes(4096))})
    list(contents[Section.ROOTFS].chunks())
    with pytest.raises(PackageError, match="4096 bytes were written"):
        writer.finish(*finishing_touches())


def finishing_touches() -> tuple[Enclave, Measurement, Sigstruct, BuildRecord]:
    """What is written last, for no enclave in particular."""
    enclave = Enclave(2 << 20, False, ())
    measured = measure(enclave, {})
    signed = signature.sign(measured.mrenclave, enclave, packages.signer(), product_id=0, security_version=0)
    return enclave, measured, signed, BuildRecord("0", {}, {}, signed.day)


def test_what_is_no_file_or_an_empty_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(PackageError, match="empty file"):
        unpack(tmp_path / "empty")
    with pytest.raises(PackageError, match="No such file"):
        unpack(tmp_path / "absent")
    with pytest.raises(PackageError, match="Is a directory"):
        unpack(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # nobody will ever write to it
    with pytest.raises(PackageError, match="not a regular file"):
        unpack(tmp_path / "pipe")
    assert not is_damaged(tmp_path / "pipe")


def test_an_ordinary_program_is_no_package() -> None:
    program = shutil.which("true")
    assert program
    with pytest.raises(MystError, match="no section"):
        unpack(Path(program))
