from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import machine_code, packages
from tests.support.packages import PackageForge

from mystikos import pipeline
from mystikos.binding import Site
from mystikos.binding.table import FileRecord, decode, encode
from mystikos.formats.descriptor import Section
from mystikos.package import unpack
from mystikos.verification import Report, verify

TEXT = machine_code.TEXT_OFFSET
MOV_EAX = b"\xb8\x01\0\0\0"  # mov eax, 1
LEA_RIP = b"\x48\x8d\x3d\x00\x01\0\0"  # lea rdi, [rip + 0x100]
CALL = b"\xe8\0\0\0\0"
SYSCALL = b"\x0f\x05"
TIGHT = b"\x48\x89\xdf\x44\x89\xc0\x0f\x05"  # mov rdi, rbx; mov eax, r8d; syscall
BACK = b"\xeb\xf9"  # jmp to the second of these
HIDDEN = b"\xbf\x01\0\x0f\x05"  # mov edi, 0x050f0001
CODE = (
    MOV_EAX,
    SYSCALL,
    MOV_EAX,
    SYSCALL,
    LEA_RIP,
    SYSCALL,
    CALL,
    SYSCALL,
    CALL,
    TIGHT,
    BACK,
    HIDDEN,
    b"\xc3",
)
AFTER_LEA, AFTER_CALL, AT_TIGHT, AT_HIDDEN = 14, 23, 35, 45
PROGRAM = machine_code.elf(b"".join(CODE))
DELTA_AT = 64 + 32 + 4  # of the first site


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("package")
    source = packages.appdir(home / "appdir", {"etc/data": bytes(9000)}, application=PROGRAM)
    pipeline.build(source, packages.signer(), packages.config(), home / "a", runtime=packages.runtime())
    return home / "a"


def bindings(report: Report) -> str | None:
    assert [check.name for check in report.checks if check.failed] in ([], ["bindings"])
    return next(check.problem for check in report.checks if check.name == "bindings")


def judged(package: Path, home: Path, table: bytes) -> str | None:
    """What is said of the package with another table, which is measured and signed."""
    forge = PackageForge.of(package)
    assert len(table) == forge.package.sections[Section.BINDINGS].size
    return bindings(verify(unpack(forge.put(Section.BINDINGS, 0, table).sign_again().write(home))))


def table_of(package: Path) -> bytes:
    return bytes(unpack(package).section(Section.BINDINGS))


def record_of(package: Path) -> FileRecord:
    (record,) = decode(table_of(package))
    assert [site.offset for site in record.sites] == [TEXT, TEXT + 7, TEXT + AT_TIGHT + 3]
    return record


def test_the_table_of_a_packager_passes(package: Path) -> None:
    assert bindings(verify(unpack(package))) is None


def with_sites(*sites: Site) -> Callable[[FileRecord], FileRecord]:
    return lambda record: replace(record, sites=sites)


FIRST, SECOND = Site(TEXT, MOV_EAX, b""), Site(TEXT + 7, MOV_EAX, b"")
THIRD = Site(TEXT + AT_TIGHT + 3, TIGHT[3:6], b"")
OTHER, UNSAFE = "is not what the file has there", "cannot give way to a jump safely"
TRICKS: dict[str, tuple[Callable[[FileRecord], FileRecord], str]] = {
    "no file": (lambda record: replace(record, data_offset=record.data_offset + 4), "which are no file"),
    "another size": (lambda record: replace(record, size=record.size + 1), "which are no file"),
    "other code": (
        with_sites(Site(TEXT, b"\xb8\x02\0\0\0", b""), SECOND, THIRD),
        f"bin/app: the site at 0x1000 {OTHER}",
    ),
    "no system call": (with_sites(FIRST, Site(TEXT + 8, MOV_EAX, b""), THIRD), OTHER),
    "beyond the file": (with_sites(FIRST, SECOND, Site(len(PROGRAM) - 3, MOV_EAX, b"")), OTHER),
    "half an instruction": (with_sites(FIRST, Site(TEXT + 8, MOV_EAX[1:], b""), THIRD), UNSAFE),
    "an address that counts from there": (
        with_sites(FIRST, SECOND, Site(TEXT + AFTER_LEA, LEA_RIP, b"")),
        UNSAFE,
    ),
    "a call": (with_sites(FIRST, SECOND, Site(TEXT + AFTER_CALL, CALL, b"")), UNSAFE),
    "where somebody jumps": (with_sites(FIRST, SECOND, Site(TEXT + AT_TIGHT, TIGHT[:6], b"")), UNSAFE),
    "inside of an instruction": (with_sites(FIRST, SECOND, Site(TEXT + AT_HIDDEN, HIDDEN[:3], b"")), UNSAFE),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_table_that_patches_something_else_fails_although_it_is_signed(
    package: Path, tmp_path: Path, trick: str
) -> None:
    change, told = TRICKS[trick]
    assert told in (judged(package, tmp_path, encode([change(record_of(package))])) or "")


def test_sites_that_overlap_fail(package: Path, tmp_path: Path) -> None:
    both = replace(record_of(package), sites=(Site(TEXT, MOV_EAX, MOV_EAX), SECOND, THIRD))
    assert "the site at 0x1007 reaches into the one before it" in (
        judged(package, tmp_path, encode([both])) or ""
    )


def test_a_return_behind_code_that_would_be_skipped_fails(package: Path, tmp_path: Path) -> None:
    """The kernel goes on where the table says: a check after the call could be left out."""
    table = bytearray(table_of(package))
    assert table[DELTA_AT] == 7
    table[DELTA_AT] = 14
    assert "5 + 0 displaced bytes, delta 14" in (judged(package, tmp_path, bytes(table)) or "")


def test_a_file_that_is_named_twice_fails(package: Path, tmp_path: Path) -> None:
    record = record_of(package)
    twice = encode([replace(record, sites=(FIRST,)), replace(record, sites=(SECOND,))])
    assert "or one that it names twice" in (judged(package, tmp_path, twice) or "")


def test_files_that_share_their_sites_are_refused_before_any_is_copied() -> None:
    """Thousands of files that each name all of thousands of sites would take memory without end."""
    record = FileRecord(0, 4096, (FIRST, SECOND))
    table = bytearray(encode([record, replace(record, data_offset=8192)]))
    struct.pack_into("<Q", table, 64 + 32 + 16, 0)
    with pytest.raises(Exception, match="records out of order"):
        decode(bytes(table))
