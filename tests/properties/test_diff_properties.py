"""What is changed, and nothing else, is what ``diff`` names; damaged packages never crash it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from mystikos import pipeline
from mystikos.diffing import diff
from mystikos.errors import MystError
from mystikos.formats.descriptor import PAGE, Kind, Section
from mystikos.package import unpack
from tests.support import packages
from tests.support.packages import PackageForge
from tests.support.rounds import rounds

QUICK = rounds(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
FILES = {"etc/one": bytes(range(256)) * 20, "etc/two": b"2", "usr/three": b"3" * 4096, "zz": b"z" * 9}
KEYS = {
    "Debug": st.just(True),
    "MaxThreads": st.integers(3, 40),
    "MemorySize": st.integers(600, 900).map(lambda pages: pages * PAGE),
    "ProductID": st.integers(8, 65535),
    "SecurityVersion": st.integers(1, 65535),
    "NoBrk": st.just(True),
    "Hostname": st.sampled_from(["here", "there"]),
    "ApplicationParameters": st.lists(st.sampled_from(["-a", "-b"]), min_size=1, max_size=3),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("diff")
    packages.appdir(home / "appdir", FILES)
    build(home / "appdir", home / "app")
    return home


def build(source: Path, output: Path, **settings: object) -> Path:
    pipeline.build(source, packages.signer(), packages.config(**settings), output, runtime=packages.runtime())
    return output


@QUICK
@given(data=st.data())
def test_a_flipped_bit_of_a_file_is_told_as_exactly_that_file(
    home: Path, tmp_path: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    content = bytearray(FILES[name])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    shutil.rmtree(tmp_path / "appdir", ignore_errors=True)
    packages.appdir(tmp_path / "appdir", {**FILES, name: bytes(content)})

    for before, after in (
        (home / "appdir", tmp_path / "appdir"),
        (home / "app", build(tmp_path / "appdir", tmp_path / "app")),
    ):
        found = diff(before, after)
        assert [(one.path, one.what) for one in found.files] == [(name.encode(), ("content",))]
        assert found.settings == ()
    assert found.first_page is not None
    assert found.first_page.file_before == name.encode()
    assert found.first_page.offset % PAGE == 0


@QUICK
@given(data=st.data())
def test_a_changed_key_is_told_as_exactly_that_key(home: Path, tmp_path: Path, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(KEYS)))
    found = diff(home / "app", build(home / "appdir", tmp_path / "app", **{key: data.draw(KEYS[key])}))
    assert [one.name for one in found.settings] == [key]
    assert found.files == ()
    assert not found.equal


@QUICK
@given(data=st.data())
def test_the_first_page_is_the_first_whose_bytes_differ(
    home: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Flip a byte in the image: the page is where it lies, if what is left is still an archive."""
    forge = PackageForge.of(home / "app")
    place = forge.package.sections[Section.ROOTFS]
    at = data.draw(st.integers(0, place.size - 1))
    forge.flip(Section.ROOTFS, at)
    try:
        found = diff(home / "app", forge.write(tmp_path))
    except MystError:
        return
    start = unpack(home / "app").enclave.of_kind(Kind.ROOTFS)[0].offset
    assert found.first_page is not None
    assert found.first_page.offset == start + at // PAGE * PAGE


@QUICK
@given(junk=st.binary(min_size=1, max_size=8), data=st.data())
def test_a_damaged_package_is_an_error_or_a_difference(
    home: Path, tmp_path: Path, junk: bytes, data: st.DataObject
) -> None:
    forge = PackageForge.of(home / "app")
    at = data.draw(st.integers(0, len(forge.data) - len(junk)))
    same = forge.data[at : at + len(junk)] == junk
    try:
        assert diff(home / "app", forge.put_at(at, junk).write(tmp_path)).equal == same
    except MystError:
        assert not same
