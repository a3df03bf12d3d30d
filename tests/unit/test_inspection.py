"""Facts about packages and root file systems."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from tests.support import appdirs, packages
from tests.support.machine_code import TEXT_OFFSET, elf
from tests.support.packages import PackageForge

from mystikos import config as configs
from mystikos import costs, inspection, pipeline, verification
from mystikos.errors import BindingError, PackageError, RuntimeMissingError
from mystikos.formats.descriptor import Section
from mystikos.inspection import (
    PackageFacts,
    SyscallFacts,
    TreeFacts,
    epc_bytes,
    inspect_package,
    inspect_path,
    syscalls,
)
from mystikos.inspection.dump import dump
from mystikos.inspection.enclave import _runs
from mystikos.launcher import Runtime
from mystikos.package import unpack
from mystikos.rootfs import scan

MOV_EAX = b"\xb8\x01\0\0\0"
SYSCALL = b"\x0f\x05"
CPUID, RDTSC = b"\x0f\xa2", b"\x0f\x31"
LIBRARY = elf(MOV_EAX + SYSCALL + b"\xb8\x0f\0\0\0" + SYSCALL + b"\xff\xd0" + SYSCALL + b"\xc3")
ILLEGAL = elf(CPUID + RDTSC + CPUID + b"\xc3")


@pytest.fixture(scope="module")
def appdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inspected") / "appdir"
    appdirs.fill(root)
    files = {"opt/library.so": LIBRARY, "opt/broken.so": LIBRARY[:100], "opt/illegal.so": ILLEGAL}
    return packages.appdir(root, files)


@pytest.fixture(scope="module")
def package(appdir: Path) -> Path:
    output = appdir.parent / "package"
    config = packages.config(Debug=1, SecurityVersion=3, MaxThreads=2, Hostname="mystikos")
    pipeline.build(appdir, packages.signer(), config, output, runtime=packages.runtime(), allow_debug=True)
    return output


@pytest.fixture(scope="module")
def facts(package: Path) -> PackageFacts:
    return inspect_package(unpack(package), runtime=packages.runtime())


def test_the_identity_is_what_verification_finds(package: Path, facts: PackageFacts) -> None:
    identity, report = facts.identity, verification.verify(unpack(package))
    assert (identity.mrenclave, identity.mrsigner) == (report.mrenclave, report.mrsigner)
    assert (identity.product_id, identity.security_version, identity.debug) == (7, 3, True)
    assert (facts.application, identity.date, facts.enclave.threads) == (b"/bin/app", "1980-01-01", 2)
    assert identity.published_key is None


def test_a_published_key_is_no_signer(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = inspect_package(unpack(package)).identity.mrsigner
    monkeypatch.setitem(inspection.identity.PUBLISHED_KEYS, signer, "a newspaper")
    assert inspect_package(unpack(package)).identity.published_key == "a newspaper"


def test_every_key_of_the_config_is_told_with_where_it_comes_from(facts: PackageFacts) -> None:
    settings = {one.key: (one.value, one.default, one.given) for one in facts.config.settings}
    assert list(settings) == [row.name for row in configs.KEYS]
    assert settings["ApplicationPath"] == (b"/bin/app", False, True)
    assert settings["SecurityVersion"] == (3, False, True)
    assert settings["Hostname"] == ("mystikos", True, True)
    assert settings["NoBrk"] == (False, True, False)
    assert settings["MemorySize"] == (2 << 20, False, True)


def test_a_config_that_cannot_be_read_is_told(package: Path, tmp_path: Path) -> None:
    damaged = inspect_path(PackageForge.of(package).flip(Section.CONFIG, 4096, 7).write(tmp_path))
    assert isinstance(damaged, PackageFacts)
    assert damaged.application is None
    assert damaged.config.settings == ()
    assert ".mystconfig" in str(damaged.config.problem)

    at = unpack(package).parameters.json.offset
    damaged = inspect_path(PackageForge.of(package).flip(Section.CONFIG, at, 7).write(tmp_path))
    assert isinstance(damaged, PackageFacts)
    assert {one.given for one in damaged.config.settings} == {None}


def test_regions_add_up_to_the_protected_memory(package: Path, facts: PackageFacts) -> None:
    enclave = facts.enclave
    assert sum(one.count * one.pages for one in enclave.regions) == enclave.epc_pages
    assert sum(one.pages for one in enclave.causes) == enclave.epc_pages == epc_bytes(facts) // 4096

    told = [one.offset + k * one.stride for one in enclave.regions for k in range(one.count)]
    assert sorted(told) == [region.offset for region in unpack(package).enclave.regions]


def test_regions_that_are_alike_are_told_together(package: Path, facts: PackageFacts) -> None:
    by_kind = {one.kind: one for one in facts.enclave.regions}
    tcs, user = by_kind["TCS"], by_kind["USER"]
    assert (tcs.count, tcs.pages, tcs.stride, tcs.rights, tcs.measured) == (2, 1, 17 * 4096, "TCS", True)
    assert (user.count, user.pages, user.stride, user.rights, user.measured) == (1, 512, 0, "RWX", False)
    assert by_kind["ROOTFS"].content == ".mystrootfs"
    assert by_kind["STACK"].content == "zeros"

    stacks = tuple(unpack(package).enclave.of_kind(region.kind) for region in unpack(package).enclave.regions)
    assert sum(len(run) for run in map(list, map(_runs, stacks))) >= len(by_kind)


def test_what_memory_is_needed_for_names_what_decides(facts: PackageFacts) -> None:
    because = {one.cause: (one.pages, one.because) for one in facts.enclave.causes}
    assert because["threads"] == (30, "MaxThreads: 2 blocks of 15 pages")
    assert because["user memory"] == (512, "MemorySize")
    assert facts.enclave.overhead_pages == 1 + -(-(facts.enclave.epc_pages + 1) // 512)


def test_sections_and_images_have_their_digests(package: Path, facts: PackageFacts) -> None:
    unpacked = unpack(package)
    assert facts.file_size == package.stat().st_size
    for section, told in zip(Section, facts.sections, strict=True):
        assert told.name == section.elf_name
        assert told.sha256 == hashlib.sha256(unpacked.section(section)).hexdigest()
    assert {one.name: one.installed for one in facts.images} == {
        "launcher": True,
        "kernel": True,
        "crt": True,
    }


def test_native_code_of_another_build_is_told(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = packages.runtime()
    other = Runtime(mine.launcher, mine.kernel, mine.crt + b"\0")
    told = inspect_package(unpack(package), runtime=other).images
    assert [one.installed for one in told] == [True, True, False]

    def nothing(*_: object) -> Runtime:
        raise RuntimeMissingError("_runtime", "not built")

    monkeypatch.setattr(Runtime, "load", nothing)
    assert {one.installed for one in inspect_package(unpack(package)).images} == {None}


def test_every_file_is_told_with_its_digest_mode_and_pages(appdir: Path, facts: PackageFacts) -> None:
    files = {one.path: one for one in facts.rootfs.files}
    assert set(files) == {entry.path for entry in scan(appdir).entries}

    hello = files[b"bin/hello"]
    digest = hashlib.sha256((appdir / "bin/hello").read_bytes()).hexdigest()
    assert (hello.kind, hello.mode, hello.size, hello.sha256) == ("file", "4755", 10, digest)
    assert (files[b"tmp"].kind, files[b"tmp"].mode, files[b"tmp"].sha256) == ("directory", "1777", None)
    link = files[b"absolute"]
    assert (link.kind, link.target, link.sha256) == ("symlink", b"/bin/hello", None)
    second = files[b"usr/lib/second"]
    assert (second.linked_to, second.links) == (b"etc/third", 3)
    assert second.sha256 == files[b"etc/third"].sha256 == hashlib.sha256(b"shared" * 1000).hexdigest()
    assert appdirs.NOT_UTF8 in files


def test_the_pages_of_all_files_are_those_of_their_region(appdir: Path, facts: PackageFacts) -> None:
    (region,) = [one for one in facts.enclave.regions if one.kind == "ROOTFS"]
    trailer = costs.file_costs(scan(appdir))[-1]
    assert sum(one.pages for one in facts.rootfs.files) + trailer.pages == region.pages


def test_each_file_tells_what_is_bound_and_why_the_rest_traps(facts: PackageFacts) -> None:
    assert (facts.code.bound, facts.code.trapped) == (1, 3)
    files = {file.path: file for file in facts.code.files}
    assert set(files) == {b"bin/app", b"opt/library.so", b"opt/broken.so", b"opt/illegal.so"}

    library = files[b"opt/library.so"]
    assert (library.bound, library.trapped, len(library.reasons)) == (1, 2, 2)
    first, second, third = library.sites
    assert (first.offset, first.bound, first.before) == (TEXT_OFFSET + 5, True, MOV_EAX.hex())
    assert "signal return" in str(second.reason)
    assert "cannot be moved" in str(third.reason)
    assert "beyond the file's end" in str(files[b"opt/broken.so"].problem)


def test_instructions_that_an_enclave_cannot_execute_are_told(facts: PackageFacts) -> None:
    files = {file.path: file for file in facts.code.files}
    illegal = files[b"opt/illegal.so"]
    assert dict(illegal.illegal) == dict(facts.code.illegal) == {"cpuid": 2, "rdtsc": 1}
    assert [(site.offset, site.name, site.code, site.listed) for site in illegal.illegal_sites] == [
        (TEXT_OFFSET, "cpuid", "0fa2", True),
        (TEXT_OFFSET + 2, "rdtsc", "0f31", True),
        (TEXT_OFFSET + 4, "cpuid", "0fa2", True),
    ]
    assert files[b"opt/library.so"].illegal == {}


def test_a_directory_and_an_archive_of_it_tell_the_same(
    appdir: Path, facts: PackageFacts, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"".join(scan(appdir).chunks()))
    from_directory, from_archive = inspect_path(appdir), inspect_path(archive)
    assert isinstance(from_directory, TreeFacts)
    assert from_directory == from_archive == TreeFacts(facts.rootfs, facts.code)


def test_a_table_of_another_version_is_what_counts(package: Path, tmp_path: Path) -> None:
    empty = inspection.code_facts(
        [entry for entry in scan(package.parent / "appdir").entries if entry.path == b"opt/library.so"],
        packages_table(),
        lambda _: None,
    )
    assert (empty.bound, empty.trapped) == (0, 3)
    assert any("another version" in reason for reason in empty.files[0].reasons)


def packages_table() -> bytes:
    from mystikos.binding.table import encode

    return encode([])


def test_progress_reaches_the_total(appdir: Path) -> None:
    told: list[tuple[int, int]] = []
    inspect_path(appdir, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0


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


def test_the_dump_counts_as_the_original_does(package: Path) -> None:
    unpacked = unpack(package)
    told = dump(unpacked)
    parameters = unpacked.parameters
    assert told.num_heap_pages == -(-(parameters.heap.size + parameters.user.size) // 4096)
    assert (told.num_stack_pages, told.num_tcs, told.debug) == (8, 2, 1)
    assert bytes.fromhex(told.signature) == unpacked.sigstruct.pack()[516 : 516 + 384]
    assert told.xfrm == "0x00000000000003"


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


def test_nobody_waits_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(PackageError, match="not a regular file"):
        inspect_path(tmp_path / "fifo")
