from __future__ import annotations

import io
import itertools
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import elves, packages
from tests.support.packages import PackageForge

from mystikos import _abi
from mystikos.errors import MystError, PackageError, RuntimeMissingError
from mystikos.formats import elf
from mystikos.formats.descriptor import Section
from mystikos.package import PackageWriter, unpack

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


def test_readelf_and_objcopy_read_the_sections(package: Path, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["readelf", "-SW", package], check=True, capture_output=True, text=True, env={"LC_ALL": "C"}
    )
    assert not listed.stderr
    for section in Section:
        assert listed.stdout.count(f"{section.elf_name} ") == 1

    dumped = tmp_path / "rootfs"
    subprocess.run(
        ["objcopy", "--dump-section", f".mystrootfs={dumped}", package, tmp_path / "copy"],
        check=True,
        capture_output=True,
    )
    assert dumped.read_bytes() == bytes(unpack(package).section(Section.ROOTFS))


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


# Each changes one thing in a valid package.
Change = Callable[[PackageForge], object]


def header_field(section: Section, field: int, layout: str, value: int) -> Change:
    """Change a field of a section's header."""
    return lambda forge: forge.put_at(forge.section_header(section) + field, struct.pack(layout, value))


def descriptor(offset: int, layout: str, value: int) -> Change:
    """Change a field of the descriptor, and its own digest along with it."""
    return lambda forge: forge.put(Section.ENCLAVE, offset, struct.pack(layout, value)).fix_descriptor()


def region(kind: int, offset: int, layout: str, value: int) -> Change:
    """Change a field of the first region record of a kind."""

    def change(forge: PackageForge) -> object:
        index = next(i for i, r in enumerate(forge.package.enclave.regions) if r.kind == kind)
        return descriptor(128 + 128 * index + offset, layout, value)(forge)

    return change


HUGE = (1 << 64) - PAGE
BAD_PACKAGES: dict[str, tuple[Change, str]] = {
    "cut in the ELF header": (lambda f: f.truncate(40), "ends inside the ELF header"),
    "cut after the launcher": (lambda f: f.truncate(PAGE), "beyond the file's end"),
    "cut by one byte": (lambda f: f.truncate(len(f.data) - 1), "beyond the file's end"),
    "a byte more at the end": (lambda f: f.data.append(0), "not the file's last bytes"),
    "no ELF magic": (lambda f: f.put_at(0, b"MZ"), "not an ELF file"),
    "32-bit": (lambda f: f.put_at(4, b"\1"), "not a 64-bit"),
    "another machine": (lambda f: f.put_at(18, b"\xb7\0"), "machine 183"),
    "no program headers": (lambda f: f.put_at(56, b"\0\0"), "no program headers"),
    "no section headers": (lambda f: f.put_at(60, b"\0\0"), "0 section headers"),
    "too many section headers": (lambda f: f.put_at(60, b"\xff\xff"), "beyond the file's end"),
    "section headers at an absurd offset": (lambda f: f.put_at(40, struct.pack("<Q", HUGE)), "beyond"),
    "section headers of another size": (lambda f: f.put_at(58, b"\x41\0"), "65 bytes"),
    "name table index out of range": (lambda f: f.put_at(62, b"\xff\0"), "name table"),
    "rootfs section missing": (header_field(Section.ROOTFS, 0, "<I", 0), "no section .mystrootfs"),
    "config section twice": (
        lambda f: f.put_at(
            f.section_header(Section.BINDINGS),
            f.data[f.section_header(Section.CONFIG) : f.section_header(Section.CONFIG) + 4],
        ),
        "two sections .mystconfig",
    ),
    "section name outside of the table": (header_field(Section.CRT, 0, "<I", 1 << 31), "section name at"),
    "allocated section": (header_field(Section.CRT, 8, "<Q", elf.SHF_ALLOC), "not plain"),
    "section with an address": (header_field(Section.CRT, 16, "<Q", PAGE), "not plain"),
    "section without bytes": (header_field(Section.CRT, 4, "<I", 8), "not plain"),
    "section at an absurd offset": (header_field(Section.ROOTFS, 24, "<Q", HUGE), "bytes between"),
    "section of absurd size": (header_field(Section.ROOTFS, 32, "<Q", HUGE), "beyond the file's end"),
    "section off its page": (header_field(Section.CRT, 24, "<Q", 0x7008), "not where it belongs"),
    "section over the one before": (header_field(Section.CRT, 24, "<Q", PAGE), "not where it belongs"),
    "section over the launcher": (header_field(Section.KERNEL, 24, "<Q", 0), "not where it belongs"),
    "section shorter than its bytes": (header_field(Section.CONFIG, 32, "<Q", 5), "bytes between"),
    "bytes in the gap before a section": (
        lambda f: f.put_at(f.offset(Section.CONFIG) - 1, b"x"),
        "bytes between",
    ),
    "descriptor without magic": (descriptor(0, "<B", 0), "magic"),
    "descriptor of another version": (descriptor(8, "<I", 2), "version 2"),
    "descriptor with unknown flags": (descriptor(12, "<I", 0x80), "reserved header bits"),
    "descriptor with a reserved byte set": (descriptor(88, "<B", 1), "reserved header bits"),
    "descriptor of another size": (descriptor(16, "<Q", 5), "do not fill"),
    "descriptor with its digest wrong": (lambda f: f.flip(Section.ENCLAVE, 24), "own digest"),
    "enclave of odd size": (descriptor(24, "<Q", 0x2000001), "not a power of two"),
    "enclave of absurd size": (descriptor(24, "<Q", 1 << 63), "not a power of two"),
    "enclave smaller than its regions": (descriptor(24, "<Q", 2 << 20), "beyond the enclave's size"),
    "other SSA frame size": (descriptor(32, "<I", 2), "SSAFRAMESIZE"),
    "absurd number of regions": (descriptor(64, "<I", 0xFFFFFFFF), "region records"),
    "no regions": (descriptor(64, "<I", 0), "do not fill"),
    "absurd region offset": (descriptor(56, "<Q", HUGE), "do not fill"),
    "absurd SIGSTRUCT offset": (descriptor(72, "<Q", HUGE), "do not fill"),
    "region off its page": (region(_abi.KIND_ROOTFS, 0, "<Q", 0x100001), "page boundary"),
    "region over the one before": (region(_abi.KIND_ROOTFS, 0, "<Q", 0), "where the region before it ends"),
    "region beyond the address space": (region(_abi.KIND_USER, 0, "<Q", HUGE), "beyond the enclave's size"),
    "region of no pages": (region(_abi.KIND_USER, 8, "<Q", 0), "0 pages"),
    "region of absurdly many pages": (region(_abi.KIND_USER, 8, "<Q", 1 << 60), "pages"),
    "region with unknown SECINFO": (region(_abi.KIND_USER, 16, "<Q", 0x1207), "SECINFO"),
    "region writable but not readable": (region(_abi.KIND_USER, 16, "<Q", 0x202), "SECINFO"),
    "region of unknown kind": (region(_abi.KIND_USER, 24, "<I", 99), "99"),
    "region with unknown flags": (region(_abi.KIND_USER, 28, "<I", 2), "flags"),
    "region with unknown source": (region(_abi.KIND_USER, 32, "<I", 3), "source 3"),
    "region of an unknown section": (region(_abi.KIND_ROOTFS, 36, "<I", 77), "77"),
    "region of the descriptor itself": (region(_abi.KIND_ROOTFS, 36, "<I", 7), "descriptor itself"),
    "region of bytes beyond its section": (region(_abi.KIND_ROOTFS, 40, "<Q", 1 << 40), "takes bytes beyond"),
    "region with more bytes than pages": (region(_abi.KIND_ROOTFS, 48, "<Q", 1 << 40), "pages for"),
    "content that is not measured": (region(_abi.KIND_ROOTFS, 28, "<I", 0), "not measured"),
    "zero pages with a digest": (region(_abi.KIND_USER, 96, "<B", 1), "digest"),
    "zero pages with a TCS field": (region(_abi.KIND_USER, 56, "<Q", 1), "must be zero"),
    "TCS that is not measured": (region(_abi.KIND_TCS, 28, "<I", 0), "one measured page"),
    "TCS of two pages": (region(_abi.KIND_TCS, 8, "<Q", 2), "one measured page|ends"),
    "TCS rights on another page": (region(_abi.KIND_USER, 16, "<Q", 0x100), "TCS"),
    "parameter page without magic": (lambda f: f.flip(Section.CONFIG, 0), "magic"),
    "parameter page of another version": (lambda f: f.put(Section.CONFIG, 8, b"\7"), "version 7"),
    "parameter page with unknown flags": (lambda f: f.put(Section.CONFIG, 12, b"\x80"), "reserved bits"),
    "parameter page not zero to its end": (lambda f: f.put(Section.CONFIG, 4095, b"\1"), "reserved bits"),
    "record at an absurd offset": (
        lambda f: f.put(Section.CONFIG, 16, struct.pack("<Q", HUGE)),
        "record and JSON",
    ),
    "JSON of absurd size": (
        lambda f: f.put(Section.CONFIG, 40, struct.pack("<Q", HUGE)),
        "record and JSON",
    ),
}


@pytest.mark.parametrize("defect", BAD_PACKAGES)
def test_a_malformed_package_is_refused_with_its_defect(package: Path, tmp_path: Path, defect: str) -> None:
    change, told = BAD_PACKAGES[defect]
    forge = PackageForge.of(package)
    change(forge)
    with pytest.raises(PackageError, match=told):
        unpack(forge.write(tmp_path))


def test_what_is_no_file_or_an_empty_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(PackageError, match="empty file"):
        unpack(tmp_path / "empty")
    with pytest.raises(PackageError, match="No such file"):
        unpack(tmp_path / "absent")
    with pytest.raises(PackageError, match="directory"):
        unpack(tmp_path)


def test_an_ordinary_program_is_no_package() -> None:
    program = shutil.which("true")
    assert program
    with pytest.raises(MystError, match="no section"):
        unpack(Path(program))
