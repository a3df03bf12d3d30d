"""What an enclave costs adds up, page by page and byte by byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.support import packages

from mystikos import pipeline, rootfs
from mystikos.errors import ConfigError
from mystikos.formats.descriptor import PAGE
from mystikos.package import unpack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = packages.appdir(tmp_path / "appdir", {"etc/data": b"x" * 50_000, "etc/small": b"1"})
    (root / "etc/link").hardlink_to(root / "etc/data")
    (root / "etc/soft").symlink_to("small")
    return root


def test_mrenclave_is_that_of_the_package(source: Path, tmp_path: Path) -> None:
    config = packages.config(MaxThreads=3)
    pipeline.build(source, packages.signer(), config, tmp_path / "app", runtime=packages.runtime())

    costs = pipeline.measure(source, config, runtime=packages.runtime())

    package = unpack(tmp_path / "app")
    assert costs.mrenclave == package.sigstruct.enclave_hash.hex()
    assert costs.epc_pages == sum(region.pages for region in package.enclave.regions)


def test_an_archive_measures_as_its_directory_does(source: Path, tmp_path: Path) -> None:
    (tmp_path / "root.cpio").write_bytes(b"".join(rootfs.scan(source).chunks()))
    one, other = (
        pipeline.measure(path, packages.config(), runtime=packages.runtime())
        for path in (source, tmp_path / "root.cpio")
    )
    assert one == other


def test_hashed_bytes_are_those_that_sha256_is_fed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = 0
    real = hashlib.sha256

    class Counting:
        def __init__(self) -> None:
            self._hash = real()

        def update(self, data: memoryview) -> None:
            nonlocal fed
            fed += memoryview(data).nbytes
            self._hash.update(data)

        def digest(self) -> bytes:
            return self._hash.digest()

    monkeypatch.setattr("mystikos.measurement.hashlib.sha256", Counting)
    costs = pipeline.measure(source, packages.config(), runtime=packages.runtime())
    assert costs.hashed == fed


def test_files_add_up_to_their_region(source: Path) -> None:
    costs = pipeline.measure(source, packages.config(), runtime=packages.runtime())
    region = next(region for region in costs.regions if region.kind == "ROOTFS")
    root = rootfs.scan(source)

    assert [file.path for file in region.files] == [*(entry.path for entry in root.entries), None]
    assert sum(file.measured for file in region.files) == region.measured == root.size
    assert sum(file.pages for file in region.files) == region.pages == -(-root.size // PAGE)
    assert sum(file.hashed for file in region.files) == region.hashed


def test_hard_links_carry_their_data_once(source: Path) -> None:
    costs = pipeline.measure(source, packages.config(), runtime=packages.runtime())
    files = {file.path: file for region in costs.regions for file in region.files}

    assert files[b"etc/data"].measured < 200
    assert files[b"etc/link"].measured > 50_000
    assert files[b"etc/data"].size == files[b"etc/link"].size == 50_000


def test_extents_are_where_the_image_has_the_entries(source: Path) -> None:
    root = rootfs.scan(source)
    image = b"".join(root.chunks())
    for entry, start, end in root.extents():
        assert image[start : start + 6] == b"070701"
        assert image[start + 110 :].startswith(entry.path + b"\0")
        if entry.has_data and not entry.is_directory:
            assert start < entry.data_offset <= end


def test_what_cannot_be_packaged_cannot_be_measured(source: Path) -> None:
    with pytest.raises(ConfigError, match="/bin/other"):
        pipeline.measure(source, packages.config(ApplicationPath="/bin/other"), runtime=packages.runtime())
