"""Where damage is: the region and, as far as the package tells it, the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import packages
from tests.support.packages import PackageForge

from mystikos import parts, pipeline
from mystikos.formats import cpio
from mystikos.formats.descriptor import Section
from mystikos.package import Package, unpack
from mystikos.verification import Mismatch, Report, tracing, verify

FILES = {f"data/{number:03}": bytes([number]) * 9000 for number in range(40)}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose root file system has a mark for every page."""
    home = tmp_path_factory.mktemp("package")
    source = packages.appdir(home / "appdir", FILES)
    pipeline.build(source, packages.signer(), packages.config(), home / "app", runtime=packages.runtime())
    return home / "app"


def offset_of(package: Package, path: bytes, at: int) -> int:
    """Where in the archive the byte ``at`` of a file is."""
    entry = parts.root_file_system(package).lookup(path)
    assert entry is not None
    return entry.data_offset + at


def damaged(forge: PackageForge, home: Path) -> Report:
    return verify(unpack(forge.write(home)), runtime=packages.runtime())


def problem(report: Report) -> str:
    return next(check.problem or "" for check in report.checks if check.name == "measurement")


@pytest.mark.parametrize("number", [0, 1, 17, 39])
def test_a_flipped_bit_in_a_file_is_told_by_the_files_name(
    package: Path, tmp_path: Path, number: int
) -> None:
    forge = PackageForge.of(package)
    path = b"data/%03d" % number
    forge.flip(Section.ROOTFS, offset_of(forge.package, path, 4096))
    report = damaged(forge, tmp_path)
    assert report.mismatch is not None
    assert report.mismatch.files == (path,)
    assert problem(report).endswith(f", {path.decode()}")


def test_every_file_of_the_page_is_told(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    forge.flip(Section.ROOTFS, offset_of(forge.package, b"data/005", 8999))
    report = damaged(forge, tmp_path)
    assert report.mismatch is not None
    assert set(report.mismatch.files) == {b"data/005", b"data/006"}
    assert problem(report).endswith("data/005 or data/006")


def test_the_first_of_several_is_told(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    for path in (b"data/030", b"data/010", b"data/020"):
        forge.flip(Section.ROOTFS, offset_of(forge.package, path, 4096))
    report = damaged(forge, tmp_path)
    assert report.mismatch is not None
    assert report.mismatch.files == (b"data/010",)


def test_other_regions_are_told_without_a_file(package: Path, tmp_path: Path) -> None:
    report = damaged(PackageForge.of(package).flip(Section.CRT, 5), tmp_path)
    assert report.mismatch is not None
    assert (report.mismatch.region, report.mismatch.section, report.mismatch.files) == (
        "CRT",
        ".libmystcrt",
        (),
    )


@pytest.mark.parametrize("record", ["malformed", "without marks", "with the attacker's marks"])
def test_a_record_that_does_not_help_fails_nothing_else(package: Path, tmp_path: Path, record: str) -> None:
    forge = PackageForge.of(package)
    at = offset_of(forge.package, b"data/010", 4096)
    original = verify(forge.package).mrenclave
    forge.flip(Section.ROOTFS, at)
    if record == "malformed":
        forge.put(Section.BUILD, 0, b"[")
    else:
        marks = forge.package.build_record.marks
        forge.fix_record(marks=tuple(b"wrong!!!" for _ in marks) if "attacker" in record else marks)
    report = damaged(forge, tmp_path)
    assert report.mismatch is not None
    assert original not in (None, report.mrenclave)
    assert report.mismatch.region == "ROOTFS"


def test_a_broken_header_of_the_archive_names_no_file(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    at = offset_of(forge.package, b"data/010", 0) - cpio.header_size(b"data/010")
    assert forge.package.section(Section.ROOTFS)[at : at + 6] == b"070701"
    report = damaged(forge.put(Section.ROOTFS, at, b"Z"), tmp_path)
    assert report.mismatch is not None
    assert (report.mismatch.region, report.mismatch.files) == ("ROOTFS", ())
    assert "070701" in next(check.problem or "" for check in report.checks if check.name == "rootfs")


def test_of_very_many_files_some_are_named() -> None:
    files = tuple(b"f%d" % number for number in range(9))
    text = tracing.shown(Mismatch("ROOTFS", 0x5000, ".mystrootfs", files))
    assert text == ".mystrootfs, region ROOTFS at 0x5000, f0, f1, f2, f3, f4 or 4 others"
