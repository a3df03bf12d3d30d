"""Facts about packages and root file systems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import packages
from tests.support.machine_code import TEXT_OFFSET, elf
from tests.support.packages import PackageForge

from mystikos import inspection, pipeline, verification
from mystikos.binding import bind
from mystikos.binding.table import encode
from mystikos.errors import BindingError, PackageError, RuntimeMissingError
from mystikos.formats.descriptor import Section
from mystikos.inspection import (
    BindingFacts,
    PackageFacts,
    SyscallFacts,
    epc_bytes,
    inspect_package,
    inspect_path,
    syscalls,
)
from mystikos.package import unpack
from mystikos.rootfs import scan

MOV_EAX = b"\xb8\x01\0\0\0"
SYSCALL = b"\x0f\x05"
LIBRARY = elf(MOV_EAX + SYSCALL + b"\xb8\x0f\0\0\0" + SYSCALL + b"\xff\xd0" + SYSCALL + b"\xc3")


@pytest.fixture(scope="module")
def appdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"lib/library.so": LIBRARY, "lib/broken.so": LIBRARY[:100], "etc/text": b"text"}
    return packages.appdir(tmp_path_factory.mktemp("inspected") / "appdir", files)


@pytest.fixture(scope="module")
def package(appdir: Path) -> Path:
    output = appdir.parent / "package"
    config = packages.config(Debug=1, SecurityVersion=3)
    pipeline.build(appdir, packages.signer(), config, output, runtime=packages.runtime())
    return output


def facts_of(package: Path) -> PackageFacts:
    facts = inspect_path(package)
    assert isinstance(facts, PackageFacts)
    return facts


def test_the_identity_is_what_verification_finds(package: Path) -> None:
    facts, report = facts_of(package), verification.verify(unpack(package))
    assert (facts.mrenclave, facts.mrsigner) == (report.mrenclave, report.mrsigner)
    assert (facts.product_id, facts.security_version, facts.debug) == (7, 3, True)
    assert (facts.application, facts.date, facts.threads) == (b"/bin/app", "1980-01-01", 2)


def test_regions_add_up_to_the_protected_memory(package: Path) -> None:
    facts = facts_of(package)
    assert sum(region.pages for region in facts.regions) == facts.epc_pages == epc_bytes(facts) // 4096
    by_kind = {region.kind: region for region in facts.regions}
    assert (by_kind["TCS"].regions, by_kind["TCS"].measured) == (2, True)
    assert (by_kind["USER"].pages, by_kind["USER"].measured) == (512, False)


def test_sections_have_their_sizes(package: Path) -> None:
    facts = facts_of(package)
    assert facts.file_size == package.stat().st_size
    assert facts.sections[".mystbind"] == facts.bindings.table_size == 64 + 32 + 32


def test_each_file_tells_what_is_bound_and_why_the_rest_traps(package: Path) -> None:
    bindings = facts_of(package).bindings
    assert (bindings.bound, bindings.trapped) == (1, 3)
    files = {file.path: file for file in bindings.files}
    assert set(files) == {b"bin/app", b"lib/library.so", b"lib/broken.so"}

    library = files[b"lib/library.so"]
    assert (library.bound, library.trapped, len(library.reasons)) == (1, 2, 2)
    first, second, third = library.sites
    assert (first.offset, first.bound, first.before) == (TEXT_OFFSET + 5, True, MOV_EAX.hex())
    assert "signal return" in str(second.reason)
    assert "cannot be moved" in str(third.reason)
    assert "beyond the file's end" in str(files[b"lib/broken.so"].problem)


def test_a_directory_and_an_archive_of_it_tell_the_same(appdir: Path, package: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"".join(scan(appdir).chunks()))
    from_directory, from_archive = inspect_path(appdir), inspect_path(archive)
    assert isinstance(from_directory, BindingFacts)
    assert from_directory == from_archive == facts_of(package).bindings


def test_a_table_of_another_version_is_what_counts(appdir: Path) -> None:
    facts = inspection._bindings(bind(scan(appdir)), encode([]))
    library = next(file for file in facts.files if file.path == b"lib/library.so")
    assert (facts.bound, facts.trapped) == (0, 4)
    assert any("another version" in reason for reason in library.reasons)


def test_a_damaged_table_is_told(package: Path, tmp_path: Path) -> None:
    forged = PackageForge.of(package).flip(Section.BINDINGS, 12).write(tmp_path)
    with pytest.raises(BindingError, match="binding table"):
        inspect_package(unpack(forged))


def test_a_file_that_is_none_of_these_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(PackageError):
        inspect_path(tmp_path / "text")
    with pytest.raises(PackageError):
        inspect_path(tmp_path / "nothing")


def test_the_system_call_table_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "syscalls.json"
    entries = [
        {"number": 1, "name": "write", "support": "full", "note": ""},
        {"number": 0, "name": "read", "support": "partial", "note": "so far"},
    ]
    path.write_text(json.dumps(entries))
    assert syscalls(path) == (
        SyscallFacts(0, "read", "partial", "so far"),
        SyscallFacts(1, "write", "full", ""),
    )


@pytest.mark.parametrize("content", ["", "{}x", "[1]", '[{"number": 1}]'])
def test_a_bad_system_call_table_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "syscalls.json"
    path.write_text(content)
    with pytest.raises(RuntimeMissingError, match="not a system call table"):
        syscalls(path)


def test_a_missing_system_call_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match="No such file"):
        syscalls(tmp_path / "nothing")
