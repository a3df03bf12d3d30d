"""A package comes apart into files, whole or not at all, whatever it holds."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from tests.support import packages
from tests.support.archives import HOSTILE
from tests.support.packages import PackageForge

from mystikos import config as configs
from mystikos import parts, pipeline, rootfs
from mystikos.errors import MystError, OutputError, PackageError, RootFsError
from mystikos.formats.descriptor import Section
from mystikos.package import Package, unpack


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return unpack(packages.make(tmp_path_factory.mktemp("package"), SecurityVersion=3))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_every_part_is_written(package: Package, tmp_path: Path) -> None:
    done = parts.extract(package, tmp_path / "parts")

    here = tmp_path / "parts"
    assert names(here) == {path.name for path in done.files}
    assert json.loads((here / "config.json").read_bytes())["SecurityVersion"] == 3
    assert configs.from_record((here / "config.cbor").read_bytes()).security_version == 3
    assert (here / "libmystkernel").read_bytes() == package.section(Section.KERNEL)
    assert (here / "libmystcrt.so").read_bytes() == packages.runtime().crt
    assert (here / "sigstruct.bin").read_bytes() == package.sigstruct.pack()
    assert (here / "descriptor.bin").read_bytes() == package.section(Section.ENCLAVE)
    assert (here / "build.json").read_bytes() == package.section(Section.BUILD)
    key = load_pem_public_key((here / "signer.pem").read_bytes())
    assert key.public_numbers().n == packages.signer().public_modulus()  # type: ignore[union-attr]
    assert b"".join(rootfs.scan(here / "rootfs").chunks()) == package.section(Section.ROOTFS)


def test_what_comes_out_makes_the_same_package_again(package: Package, tmp_path: Path) -> None:
    parts.extract(package, tmp_path / "parts")
    pipeline.build(
        tmp_path / "parts/rootfs",
        packages.signer(),
        configs.load(tmp_path / "parts/config.json"),
        tmp_path / "again",
        runtime=packages.runtime(),
    )
    assert (tmp_path / "again").read_bytes() == package.path.read_bytes()


@pytest.mark.parametrize(
    ("part", "files"),
    [
        ("rootfs", {"rootfs"}),
        ("config", {"config.json", "config.cbor"}),
        ("kernel", {"libmystkernel"}),
        ("crt", {"libmystcrt.so"}),
        ("sigstruct", {"sigstruct.bin", "signer.pem"}),
        ("descriptor", {"descriptor.bin"}),
        ("build", {"build.json"}),
    ],
)
def test_one_part_can_be_asked_for(package: Package, tmp_path: Path, part: str, files: set[str]) -> None:
    parts.extract(package, tmp_path / "parts", only=[part])
    assert names(tmp_path / "parts") == files


def test_the_archive_is_the_measured_image(package: Package, tmp_path: Path) -> None:
    parts.extract(package, tmp_path / "parts", only=["rootfs"], archive=True)
    assert names(tmp_path / "parts") == {"rootfs.cpio"}
    assert (tmp_path / "parts/rootfs.cpio").read_bytes() == package.section(Section.ROOTFS)


def test_an_unknown_part_is_refused(package: Package, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no part keys"):
        parts.extract(package, tmp_path / "parts", only=["keys"])


def test_set_id_bits_are_left_out_and_told(tmp_path: Path) -> None:
    source = packages.appdir(tmp_path / "appdir", {"bin/su": b"x"})
    (source / "bin/su").chmod(0o4755)
    output = tmp_path / "app"
    pipeline.build(source, packages.signer(), packages.config(), output, runtime=packages.runtime())

    done = parts.extract(unpack(output), tmp_path / "parts")
    assert done.without_set_id == (b"bin/su",)
    assert (tmp_path / "parts/rootfs/bin/su").stat().st_mode & 0o7777 == 0o755
    parts.extract(unpack(output), tmp_path / "kept", keep_set_id=True)
    assert (tmp_path / "kept/rootfs/bin/su").stat().st_mode & 0o7777 == 0o4755


def test_a_directory_with_files_is_left_alone(package: Package, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/mine").touch()
    with pytest.raises(OutputError, match="is a directory with files in it"):
        parts.extract(package, tmp_path / "parts")
    assert names(tmp_path / "parts") == {"mine"}


def _with_image(package: Path, directory: Path, archive: bytes) -> Path:
    """The package with another archive in its image, padded with zeros as an archive may be."""
    forge = PackageForge.of(package)
    size = forge.package.sections[Section.ROOTFS].size
    assert len(archive) <= size
    return forge.put(Section.ROOTFS, 0, archive.ljust(size, b"\0")).write(directory)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("image", [archive for archive, _ in HOSTILE.values()], ids=list(HOSTILE))
def test_a_hostile_root_file_system_writes_nothing_anywhere(
    package: Package, tmp_path: Path, image: bytes, archive: bool
) -> None:
    (tmp_path / "work").mkdir()
    forged = unpack(_with_image(package.path, tmp_path, image))
    with pytest.raises(RootFsError):
        parts.extract(forged, tmp_path / "work/parts", archive=archive)
    assert names(tmp_path) == {"forged", "work"}
    assert names(tmp_path / "work") == set()


def test_a_signer_that_is_no_rsa_key_is_told_and_leaves_nothing(package: Package, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="names no RSA key"):
        parts.extract(replace(package, sigstruct=replace(package.sigstruct, modulus=6)), tmp_path / "parts")
    assert names(tmp_path) == set()


def test_a_package_with_a_bad_header_ends_in_an_error(package: Package, tmp_path: Path) -> None:
    forge = PackageForge.of(package.path)
    forged = forge.put_at(forge.section_header(Section.ROOTFS) + 24, struct.pack("<Q", 1 << 60))
    with pytest.raises(MystError):
        unpack(forged.write(tmp_path))


def test_errors_name_the_directory_that_was_asked_for(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mystikos.extraction._write_file", full)
    with pytest.raises(OutputError, match=r"parts/rootfs/bin/app: cannot be written \(No space"):
        parts.extract(package, tmp_path / "parts")
    assert names(tmp_path) == set()
