"""Why two packages measure differently: page, region, file, key and field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import elves, packages
from tests.support.archives import HOSTILE
from tests.support.packages import PackageForge

from mystikos import pipeline, rootfs
from mystikos.diffing import Difference, FieldChange, diff, diff_packages
from mystikos.errors import DiffError, MystError
from mystikos.formats.descriptor import PAGE, Enclave, Kind, Section
from mystikos.launcher import Runtime
from mystikos.package import unpack

FILES = {"etc/a": b"a" * 10_000, "etc/b": b"b" * 100, "etc/empty": b"", "var/c": b"c" * 5_000}


class Maker:
    """Makes packages from directories and settings of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.made = 0

    def __call__(
        self,
        change: Callable[[Path], object] = lambda _: None,
        *,
        runtime: Runtime | None = None,
        key: str = "owner",
        **settings: object,
    ) -> Path:
        self.made += 1
        source = packages.appdir(self.home / f"appdir{self.made}", FILES)
        change(source)
        output = self.home / f"app{self.made}"
        pipeline.build(
            source,
            packages.signer(key),
            packages.config(**settings),
            output,
            runtime=runtime or packages.runtime(),
        )
        return output


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def region(package: Path, kind: Kind) -> int:
    enclave: Enclave = unpack(package).enclave
    return enclave.of_kind(kind)[0].offset


def files(found: Difference) -> dict[bytes, tuple[str, ...]]:
    return {change.path: change.what for change in found.files}


def test_equal_packages_have_no_difference(make: Maker) -> None:
    found = diff(make(), make())
    assert found.equal
    assert found == Difference("package", found.mrenclave_before, found.mrenclave_after)


def test_a_changed_byte_is_told_with_its_page_and_its_file(make: Maker) -> None:
    def change(source: Path) -> None:
        (source / "etc/a").write_bytes(b"a" * 9_000 + b"X" + b"a" * 999)

    before, after = make(), make(change)
    found = diff(before, after)

    assert files(found) == {b"etc/a": ("content",)}
    entry = rootfs.scan(make.home / "appdir1").lookup(b"etc/a")
    assert entry is not None
    page = (region(before, Kind.ROOTFS) + entry.data_offset + 9_000) // PAGE * PAGE
    assert found.first_page is not None
    assert found.first_page.offset == page
    assert found.first_page.region_before == found.first_page.region_after == "ROOTFS"
    assert found.first_page.file_before == found.first_page.file_after == b"etc/a"
    assert found.settings == found.layout == found.contents == found.enclave == ()
    assert {field.name for field in found.sigstruct} == {"SIGNATURE", "MRENCLAVE", "Q1", "Q2"}
    state = found.files[0].before, found.files[0].after
    assert all(one is not None and one.size == 10_000 and one.sha256 for one in state)


def test_added_removed_and_changed_entries_are_told(make: Maker) -> None:
    def change(source: Path) -> None:
        (source / "etc/b").unlink()
        (source / "new").write_bytes(b"n")
        (source / "var/c").chmod(0o600)
        (source / "etc/empty").unlink()
        (source / "etc/empty").symlink_to("a")
        (source / "etc/a").write_bytes(b"short")

    found = diff(make(), make(change))
    assert files(found) == {
        b"etc/a": ("size", "content"),
        b"etc/b": ("removed",),
        b"etc/empty": ("type",),
        b"new": ("added",),
        b"var/c": ("mode",),
    }


def test_hard_links_are_told(make: Maker) -> None:
    def change(source: Path) -> None:
        (source / "var/c2").hardlink_to(source / "var/c")

    assert files(diff(make(), make(change))) == {b"var/c": ("links",), b"var/c2": ("added",)}


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [("Debug", False, True), ("MaxThreads", 2, 5), ("MemorySize", 2 << 20, 3 << 20), ("ProductID", 7, 8)],
)
def test_a_changed_key_is_told_with_its_values(make: Maker, key: str, old: object, new: object) -> None:
    found = diff(make(), make(**{key: new}))
    assert [(one.name, one.before, one.after) for one in found.settings] == [(key, old, new)]
    assert found.files == ()
    assert found.first_page is not None
    assert found.first_page.region_before == "CONFIG"
    assert {"config record", "config JSON"} <= {change.part for change in found.contents}


def test_the_layout_that_a_key_moves_is_told(make: Maker) -> None:
    layout = {change.kind: change for change in diff(make(), make(MemorySize="3m")).layout}
    assert set(layout) == {"USER"}
    assert layout["USER"].before is not None
    assert layout["USER"].after is not None
    assert (layout["USER"].before.pages, layout["USER"].after.pages) == (512, 768)


def test_debug_and_identity_are_told_as_signed(make: Maker) -> None:
    found = diff(make(), make(Debug=True, ProductID=9, SecurityVersion=4, key="other"))
    fields = {one.name: (one.before, one.after) for one in found.sigstruct}
    assert fields["ATTRIBUTES.FLAGS"] == ("0x4", "0x6")
    assert fields["ISVPRODID"] == (7, 9)
    assert fields["ISVSVN"] == (0, 4)
    assert "MRSIGNER" in fields
    assert [one.name for one in found.enclave] == ["ATTRIBUTES.FLAGS"]


def test_another_signer_alone_leaves_the_measurement_alone(make: Maker) -> None:
    found = diff(make(), make(key="other"))
    assert not found.equal
    assert found.first_page is None
    assert found.mrenclave_before == found.mrenclave_after
    assert {one.name for one in found.sigstruct} == {"MRSIGNER", "SIGNATURE", "Q1", "Q2"}


def test_another_runtime_is_told_part_by_part(make: Maker) -> None:
    base = packages.runtime()
    crt = bytearray(base.crt)
    crt[-1] ^= 1
    launcher = bytearray(base.launcher)
    launcher[elves_header() + 60] ^= 1
    found = diff(make(), make(runtime=Runtime(bytes(launcher), base.kernel, bytes(crt))))
    assert {(one.part, one.measured) for one in found.contents} == {("CRT image", True), ("launcher", False)}
    assert found.first_page is not None
    assert found.first_page.region_before == "CRT"


def elves_header() -> int:
    """Bytes of the launcher's ELF and program headers."""
    image = elves.launcher()
    return 64 + 56 * int.from_bytes(image[56:58], "little")


def test_another_kernel_is_the_first_divergent_page(make: Maker) -> None:
    base = packages.runtime()
    kernel = bytearray(base.kernel)
    entry = int.from_bytes(kernel[24:32], "little")
    kernel[entry + 32] ^= 1
    found = diff(make(), make(runtime=Runtime(base.launcher, bytes(kernel), base.crt)))
    assert [one.part for one in found.contents] == ["kernel"]
    assert found.first_page is not None
    assert found.first_page.region_before == "KERNEL"
    assert found.first_page.offset == (entry + 32) // PAGE * PAGE


def test_a_difference_that_nobody_measures_is_told(make: Maker, tmp_path: Path) -> None:
    """The stored trace is for diagnosis only: no field of the comparison but the file itself has it."""
    path = make()
    forge = PackageForge.of(path).flip(Section.ENCLAVE, 128 + 96).fix_descriptor()
    found = diff(path, forge.write(tmp_path))
    assert [(one.part, one.measured) for one in found.contents] == [("headers or build record", False)]
    assert not found.equal


def test_a_record_that_is_none_does_not_hide_the_rest(make: Maker, tmp_path: Path) -> None:
    path = make()
    found = diff(path, PackageForge.of(path).put(Section.CONFIG, PAGE, b"\xff").write(tmp_path))
    assert found.settings == ()
    assert [one.part for one in found.contents] == ["config record"]


def test_only_what_lies_behind_the_parting_is_read_as_files(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(source: Path) -> None:
        (source / "etc/b").write_bytes(b"B" * 100)

    before, after = make(), make(change)
    read: list[bytes] = []
    real = rootfs.Entry.open

    def spy(entry: rootfs.Entry) -> object:
        read.append(entry.path)
        return real(entry)

    monkeypatch.setattr(rootfs.Entry, "open", spy)
    diff(before, after)
    assert b"etc/a" not in read
    assert set(read) == {b"etc/b", b"etc/empty", b"var/c"}


@pytest.mark.parametrize("image", [archive for archive, _ in HOSTILE.values()], ids=list(HOSTILE))
def test_a_hostile_root_file_system_is_an_error(make: Maker, tmp_path: Path, image: bytes) -> None:
    path = make()
    size = unpack(path).sections[Section.ROOTFS].size
    forged = PackageForge.of(path).put(Section.ROOTFS, 0, image.ljust(size, b"\0")).write(tmp_path)
    with pytest.raises(MystError):
        diff(path, forged)


def test_an_archive_in_another_order_is_a_difference_without_files(make: Maker, tmp_path: Path) -> None:
    path = make()
    package = unpack(path)
    image = bytes(package.section(Section.ROOTFS))
    root = rootfs.scan(make.home / "appdir1")
    pieces = {entry.path: image[start:end] for entry, start, end in root.extents()}
    end = sum(map(len, pieces.values()))
    order = [*[p for p in pieces if p != b"etc/b"], b"etc/b"]
    shuffled = b"".join(pieces[p] for p in order) + image[end:]
    assert len(shuffled) == len(image)

    found = diff(path, PackageForge.of(path).put(Section.ROOTFS, 0, shuffled).write(tmp_path))
    assert found.files == ()
    assert [one.part for one in found.contents] == ["root file system image"]
    assert found.first_page is not None
    assert found.first_page.file_before == b"etc/b"
    assert found.first_page.file_after == b"etc/empty"


def test_a_zero_based_enclave_differs_from_its_first_page_on(make: Maker) -> None:
    found = diff_packages(unpack(make()), unpack(make(CreateZeroBaseEnclave=True)))
    assert "zero-based" in {one.name for one in found.enclave}
    assert found.first_page is not None
    assert found.first_page.region_before == "KERNEL"
    assert "KERNEL" in {one.kind for one in found.layout}


def test_inputs_of_two_kinds_are_refused(make: Maker, tmp_path: Path) -> None:
    path = make()
    (tmp_path / "config.json").write_text('{"ApplicationPath": "/bin/app"}')
    with pytest.raises(DiffError, match="the first is a package, the second a config"):
        diff(path, tmp_path / "config.json")
    with pytest.raises(DiffError, match="the first is a root file system, the second a package"):
        diff(tmp_path / "appdir1", path)
    with pytest.raises(DiffError, match="No such file"):
        diff(path, tmp_path / "nowhere")


def test_packages_of_other_tools_differ_in_those_alone(make: Maker) -> None:
    before = make()
    after = make(runtime=dataclasses.replace(packages.runtime(), rustc="rustc 1.99.0"))
    found = diff(before, after)
    assert not found.equal
    assert found.tools == (FieldChange("rustc", "unknown", "rustc 1.99.0"),)
    assert found == Difference("package", found.mrenclave_before, found.mrenclave_after, tools=found.tools)


def test_a_record_that_is_none_is_told_as_bytes(make: Maker, tmp_path: Path) -> None:
    before = make()
    found = diff(before, PackageForge.of(before).put(Section.BUILD, 0, b"[").write(tmp_path))
    assert [(change.part, change.measured) for change in found.contents] == [
        ("headers or build record", False)
    ]
