"""Two configs, or two application directories, compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support import appdirs

from mystikos import config as configs
from mystikos import rootfs
from mystikos.diffing import diff, diff_configs, diff_root_file_systems
from mystikos.diffing.content import content_change, first_difference
from mystikos.errors import ConfigError, DiffError


def parsed(text: str) -> configs.Config:
    return configs.parse(text.encode(), "config.json")


def test_keys_are_told_with_their_old_and_new_values() -> None:
    found = diff_configs(
        parsed('{"ApplicationPath": "/bin/app", "MemorySize": "2m"}'),
        parsed('{"ApplicationPath": "/bin/other", "MemorySize": "2048k", "NoBrk": true}'),
    )
    assert [(one.name, one.before, one.after) for one in found.settings] == [
        ("ApplicationPath", b"/bin/app", b"/bin/other"),
        ("NoBrk", False, True),
    ]


def test_text_that_means_the_same_still_differs_as_it_is_measured() -> None:
    found = diff_configs(parsed('{"ApplicationPath": "/a"}'), parsed('{"ApplicationPath":  "/a"}'))
    assert not found.equal
    assert found.settings == ()
    assert [one.part for one in found.contents] == ["config JSON"]


def test_a_config_with_mistakes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "good").write_text('{"ApplicationPath": "/a"}')
    (tmp_path / "bad").write_text('{"ApplicationPath": 7}')
    with pytest.raises(ConfigError):
        diff(tmp_path / "good", tmp_path / "bad")


def test_a_directory_equals_its_archive(appdir: Path, tmp_path: Path) -> None:
    (tmp_path / "root.cpio").write_bytes(b"".join(rootfs.scan(appdir).chunks()))
    assert diff(appdir, tmp_path / "root.cpio").equal


def test_links_and_odd_names_are_told(appdir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    appdirs.fill(copy)
    (copy / "dangling").unlink()
    (copy / "dangling").symlink_to("elsewhere")
    (copy / "etc/line\nbreak").write_text("y")
    (copy / "etc/third").unlink()

    found = diff_root_file_systems(rootfs.scan(appdir), rootfs.scan(copy))
    assert {change.path: change.what for change in found.files} == {
        b"dangling": ("target",),
        b"etc/line\nbreak": ("content",),
        b"etc/third": ("removed",),
        b"usr/lib/first": ("links",),
        b"usr/lib/second": ("links",),
    }


def test_the_first_difference_is_found_across_pieces() -> None:
    data = bytes(3 << 20)
    for at in (0, (1 << 20) - 1, 1 << 20, (3 << 20) - 1):
        other = bytearray(data)
        other[at] = 1
        assert first_difference(memoryview(data), memoryview(other)) == at
    assert first_difference(memoryview(data), memoryview(data)) is None
    assert first_difference(memoryview(data), memoryview(data)[:-5]) == len(data) - 5
    assert first_difference(memoryview(b""), memoryview(b"x")) == 0


def test_equal_parts_are_no_change() -> None:
    assert content_change("part", memoryview(b"x"), memoryview(b"x")) is None


def test_nobody_waits_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DiffError, match="not a regular file"):
        diff(tmp_path / "fifo", tmp_path / "fifo")


def test_hard_links_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive may have thousands of links to one large file."""
    for name, content in (("before", b"one"), ("after", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(content)
        for number in range(50):
            (tmp_path / name / f"link-{number}").hardlink_to(tmp_path / name / "file")
    (tmp_path / "after/link-0").unlink()

    opened = []
    descriptor = rootfs.Content._descriptor

    def count(content: rootfs.Content) -> int:
        opened.append(content.path)
        return descriptor(content)

    monkeypatch.setattr(rootfs.Content, "_descriptor", count)
    found = diff(tmp_path / "before", tmp_path / "after")
    assert len(found.files) == 51
    assert len(opened) == 4  # compared and hashed, one file on each side
