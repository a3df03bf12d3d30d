from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import elves, packages
from tests.support.archives import HOSTILE, archive, member
from tests.support.packages import PackageForge

from mystikos import _abi, signature
from mystikos.errors import PackageError
from mystikos.formats import buildrecord
from mystikos.formats.descriptor import Kind, Section
from mystikos.package import unpack
from mystikos.signers import PUBLISHED_KEYS
from mystikos.verification import Policy, Report, examine, verify


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.make(tmp_path_factory.mktemp("package"))


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.failed]


def problem(report: Report, name: str) -> str:
    return next(check.problem or "" for check in report.checks if check.name == name)


def test_a_valid_package_passes_every_check(package: Path) -> None:
    report = verify(unpack(package))
    assert failed(report) == []
    assert report.passed
    assert (report.product_id, report.security_version, report.debug) == (7, 0, False)


@pytest.mark.parametrize("settings", [{"Debug": 1}, {"CreateZeroBaseEnclave": 1}, {"MaxThreads": 40}])
def test_valid_packages_of_other_settings_pass(tmp_path: Path, settings: dict[str, object]) -> None:
    assert failed(verify(unpack(packages.make(tmp_path, **settings)))) == []


@pytest.mark.parametrize("section", [Section.KERNEL, Section.CRT, Section.BINDINGS, Section.ROOTFS])
def test_a_flipped_bit_is_told_with_its_section(package: Path, tmp_path: Path, section: Section) -> None:
    forge = PackageForge.of(package)
    report = verify(unpack(forge.flip(section, 0x1000 if section is Section.KERNEL else 1).write(tmp_path)))
    assert "measurement" in failed(report)
    assert f"first changed: {section.elf_name}, " in problem(report, "measurement")


def test_content_changed_and_signed_by_another_key_is_consistent_but_has_another_signer(
    package: Path, tmp_path: Path
) -> None:
    forge = PackageForge.of(package).flip(Section.ROOTFS, 5000).sign_again()
    report = verify(unpack(forge.write(tmp_path)))
    assert failed(report) == []
    assert report.mrsigner != verify(unpack(package)).mrsigner


def test_a_signature_taken_from_another_package_fails(package: Path, tmp_path: Path) -> None:
    other = unpack(packages.make(tmp_path / "other", ProductID=9))
    forge = PackageForge.of(package)
    size = forge.package.sections[Section.ENCLAVE].size
    forge.put(Section.ENCLAVE, size - 1808, other.sigstruct.pack()).fix_descriptor()
    assert failed(verify(unpack(forge.write(tmp_path)))) == ["measurement", "config"]


def test_a_published_key_is_no_signer(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = unpack(package)
    mrsigner = verify(unpacked).mrsigner
    monkeypatch.setitem(PUBLISHED_KEYS, mrsigner, "a test")
    assert failed(verify(unpacked)) == ["signer"]


def region_offset(forge: PackageForge, kind: Kind, field: int) -> int:
    regions = forge.package.enclave.regions
    return 128 + 128 * next(i for i, region in enumerate(regions) if region.kind is kind) + field


def change_region(kind: Kind, field: int, layout: str, value: int) -> Callable[[PackageForge], object]:
    return lambda forge: forge.put(
        Section.ENCLAVE, region_offset(forge, kind, field), struct.pack(layout, value)
    ).fix_descriptor()


def change_parameters(offset: int, layout: str, value: int) -> Callable[[PackageForge], object]:
    return lambda forge: forge.put(Section.CONFIG, offset, struct.pack(layout, value))


def load_rootfs_in_part(forge: PackageForge) -> None:
    """All of its pages, but not its last byte."""
    change_region(Kind.ROOTFS, 48, "<Q", forge.package.sections[Section.ROOTFS].size - 1)(forge)


# Well-formed, measured and signed, and yet no package that this version makes.
CONTRADICTIONS: dict[str, tuple[Callable[[PackageForge], object], str]] = {
    "writable kernel text": (change_region(Kind.KERNEL, 16, "<Q", 0x207), "layout"),
    "writable config": (change_region(Kind.CONFIG, 16, "<Q", 0x203), "layout"),
    "writable heap that can be executed": (change_region(Kind.HEAP, 16, "<Q", 0x207), "layout"),
    "stack that can be executed": (change_region(Kind.STACK, 16, "<Q", 0x207), "layout"),
    "entry elsewhere": (change_region(Kind.TCS, 64, "<Q", 0x2000), "layout"),
    "thread area elsewhere": (change_region(Kind.TCS, 80, "<Q", 0x2000), "layout"),
    "parameter page elsewhere": (change_region(Kind.TCS, 72, "<Q", 0x2000), "layout"),
    "root file system loaded in part": (load_rootfs_in_part, "layout"),
    "user memory of another size": (change_parameters(256, "<Q", 1 << 20), "layout"),
    "another number of threads": (change_parameters(184, "<Q", 3), "layout"),
    "another enclave size": (change_parameters(48, "<Q", 1 << 30), "layout"),
    "debug flag in the parameter page only": (change_parameters(12, "<I", _abi.PARAMETERS_DEBUG), "layout"),
    "another NSSA": (change_parameters(224, "<I", 4), "layout"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_signed_contradiction_fails(package: Path, tmp_path: Path, name: str) -> None:
    change, check = CONTRADICTIONS[name]
    forge = PackageForge.of(package)
    change(forge)
    report = verify(unpack(forge.sign_again().write(tmp_path)))
    assert check in failed(report)
    assert "measurement" not in failed(report)


def test_a_record_that_says_something_else_than_the_json_fails(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    at = forge.package.parameters.record.offset + forge.package.record.index(b"/bin/app")
    report = verify(unpack(forge.put(Section.CONFIG, at, b"/bin/bad").sign_again().write(tmp_path)))
    assert "something else than the JSON" in problem(report, "config")


def test_json_that_is_no_config_fails(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    at = forge.package.parameters.json.offset
    report = verify(unpack(forge.put(Section.CONFIG, at, b"[").sign_again().write(tmp_path)))
    assert "not a config" in problem(report, "config")


def test_a_debug_enclave_of_a_release_config_fails(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    forge.put(Section.ENCLAVE, 40, struct.pack("<Q", 6)).fix_descriptor()
    report = verify(unpack(forge.sign_again().write(tmp_path)))
    assert {"layout", "config"} <= set(failed(report))


@pytest.mark.parametrize(("offset", "value"), [(40, 0x14), (48, 7), (36, 0)])
def test_attributes_that_this_version_never_asks_for_fail(
    package: Path, tmp_path: Path, offset: int, value: int
) -> None:
    forge = PackageForge.of(package)
    forge.put(Section.ENCLAVE, offset, struct.pack("<I", value)).fix_descriptor()
    assert "attributes" in failed(verify(unpack(forge.sign_again().write(tmp_path))))


def signed_with(forge: PackageForge, **fields: int) -> PackageForge:
    """The same content, signed by another key with other fields."""
    old = forge.package.sigstruct
    changed = replace(old, modulus=0, signature=0, q1=0, q2=0, **fields)  # type: ignore[arg-type]
    signer = packages.signer("attacker")
    signed = signature.complete(changed, signer.sign(changed.signed_bytes()), signer.public_modulus())
    at = forge.package.sections[Section.ENCLAVE].size - len(signed.pack())
    return forge.put(Section.ENCLAVE, at, signed.pack()).fix_descriptor()


ONLY_DEBUG = {"attributes_mask": _abi.ATTRIBUTE_DEBUG, "xfrm_mask": 0, "miscmask": 0}
ALL_ZERO = {"attributes_mask": 0, "xfrm_mask": 0, "miscmask": 0}


@pytest.mark.parametrize(
    ("masks", "strictness", "passes"),
    [
        (ALL_ZERO, "exact", False),
        (ALL_ZERO, "debug", False),
        (ALL_ZERO, "any", True),
        (ONLY_DEBUG, "exact", False),
        (ONLY_DEBUG, "debug", True),
        (ONLY_DEBUG, "any", True),
        ({"xfrm_mask": 1}, "exact", False),
        ({"xfrm_mask": 1}, "debug", True),
    ],
)
def test_masks_bind_as_much_as_is_asked_for_and_others_are_told(
    package: Path, tmp_path: Path, masks: dict[str, int], strictness: str, passes: bool
) -> None:
    changed = unpack(signed_with(PackageForge.of(package), **masks).write(tmp_path))
    report = verify(changed, Policy(attribute_masks=strictness), runtime=packages.runtime())
    assert failed(report) == ([] if passes else ["masks"])
    assert "MASK" in problem(report, "masks")
    zero = masks.get("attributes_mask") == 0
    assert ("holds for a debug enclave, too" in problem(report, "masks")) is zero


@pytest.mark.parametrize(("vendor", "passes"), [(0x8086, True), (1, False), (0x80860000, False)])
def test_a_vendor_that_no_processor_takes_fails_although_it_is_signed(
    package: Path, tmp_path: Path, vendor: int, passes: bool
) -> None:
    """EINIT refuses it (SDM 3D, "EINIT"), and so does the launcher."""
    report = examine(signed_with(PackageForge.of(package), vendor=vendor).write(tmp_path))
    assert failed(report) == ([] if passes else ["format"])


def with_archive(package: Path, archive: bytes) -> PackageForge:
    """The root file system replaced by an archive of the same length, measured and signed."""
    forge = PackageForge.of(package)
    place = forge.package.sections[Section.ROOTFS]
    assert len(archive) <= place.size
    return forge.put(Section.ROOTFS, 0, archive.ljust(place.size, b"\0")).sign_again()


@pytest.mark.parametrize("name", HOSTILE)
def test_tricks_with_paths_fail_although_they_are_signed(package: Path, tmp_path: Path, name: str) -> None:
    archive, told = HOSTILE[name]
    report = verify(unpack(with_archive(package, archive).write(tmp_path)))
    assert failed(report) == ["rootfs"]
    assert told in problem(report, "rootfs")


def test_an_archive_that_may_be_read_in_another_way_fails(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    image = bytes(forge.package.section(Section.ROOTFS))
    lower = image.replace(b"000041ED", b"000041ed", 1)  # a directory's mode
    odd_inode = image.replace(b"07070100000001", b"07070100000009", 1)
    padded = image.replace(b"bin\0\0\0", b"bin\0\0\1", 1)
    for changed, told in ((lower, "."), (odd_inode, "."), (padded, "bin")):
        assert changed != image
        report = verify(unpack(with_archive(package, changed).write(tmp_path)))
        assert failed(report) == ["rootfs"]
        assert f"{told}: its header is not written as mystikos does" == problem(report, "rootfs")


def test_a_longer_archive_than_its_tree_fails(package: Path, tmp_path: Path) -> None:
    report = verify(unpack(with_archive(package, archive(member(b"a", b"x"))).write(tmp_path)))
    assert failed(report) == ["rootfs"]
    assert "and its tree gives 512" in problem(report, "rootfs")


def test_a_damaged_package_fails_its_form_and_nothing_else_is_asked(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    report = examine(forge.truncate(len(forge.data) - 100).write(tmp_path))
    assert failed(report) == ["format"]
    assert (report.passed, report.mrenclave, len(report.checks)) == (False, None, 1)


def test_a_file_that_is_written_to_while_it_is_read_fails(package: Path, tmp_path: Path) -> None:
    changing = PackageForge.of(package).write(tmp_path)
    before = changing.stat()

    def write(_done: int, _total: int) -> None:
        with changing.open("r+b") as file:
            file.seek(before.st_size - 1)
            last = file.read(1)
            file.seek(before.st_size - 1)
            file.write(last)
        os.utime(changing, ns=(0, before.st_mtime_ns + 1))  # a clock may be too coarse to tell

    assert failed(examine(changing, progress=write)) == ["unchanged"]
    assert failed(examine(changing)) == []


def test_a_file_that_another_took_the_place_of_fails(package: Path, tmp_path: Path) -> None:
    changing = PackageForge.of(package).write(tmp_path)

    def exchange(_done: int, _total: int) -> None:
        (tmp_path / "other").write_bytes(b"")
        (tmp_path / "other").rename(changing)

    assert "unchanged" in failed(examine(changing, progress=exchange))


def test_what_never_was_a_package_has_no_report(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(elves.application())
    (tmp_path / "text").write_text("MYSTENCL")
    for name in ("program", "text", "absent", "."):
        with pytest.raises(PackageError):
            examine(tmp_path / name)


LIES: dict[str, tuple[dict[str, object], str]] = {
    "a kernel": ({"inputs": {"kernel": "0" * 64}}, "kernel: it tells of 0000"),
    "a config": ({"inputs": {"config": "0" * 64}}, "config: it tells of 0000"),
    "the date": ({"date": "1999-01-01"}, "it tells the date 1999-01-01, and the signature is of 1980-01-01"),
    "marks": ({"marks": "wrong"}, "its marks are not those of the measurement"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_build_record_that_lies_fails(package: Path, tmp_path: Path, what: str) -> None:
    forge = PackageForge.of(package)
    record = forge.package.build_record
    changes, told = LIES[what]
    changes = dict(changes)
    if "inputs" in changes:
        changes["inputs"] = {**record.inputs, **changes["inputs"]}  # type: ignore[dict-item]
    if "marks" in changes:
        changes["marks"] = (b"anything", *record.marks[1:])
    data = buildrecord.encode(replace(record, **changes))  # type: ignore[arg-type]
    report = verify(unpack(forge.put(Section.BUILD, 0, data).write(tmp_path)))
    assert failed(report) == ["record"]
    assert told in problem(report, "record")


def test_a_malformed_build_record_fails_alone(package: Path, tmp_path: Path) -> None:
    report = verify(unpack(PackageForge.of(package).put(Section.BUILD, 5, b"\0").write(tmp_path)))
    assert failed(report) == ["record"]
    assert ".mystbuild: it is not JSON" in problem(report, "record")


def test_a_launcher_that_was_changed_is_noticed_unless_the_record_was_too(
    package: Path, tmp_path: Path
) -> None:
    forge = PackageForge.of(package)
    forge.data[4096 + 100] ^= 1
    assert failed(verify(unpack(forge.write(tmp_path)))) == ["record"]
    forge.fix_record()
    report = verify(unpack(forge.write(tmp_path)), runtime=packages.runtime())
    assert failed(report) == []
    assert "is another one than" in problem(report, "launcher")
