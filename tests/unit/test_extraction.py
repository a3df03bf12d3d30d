"""An image comes back as a directory, whole or not at all, and nothing is written elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.support.archives import HOSTILE

from mystikos.errors import MystError, OutputError, RootFsError
from mystikos.extraction import extract
from mystikos.rootfs import RootFs, from_archive, scan


def _image(rootfs: RootFs) -> bytes:
    return b"".join(rootfs.chunks())


def test_a_tree_comes_back_with_modes_links_and_names(appdir: Path, tmp_path: Path) -> None:
    rootfs = scan(appdir)
    before = os.umask(0o077)
    try:
        done = extract(rootfs, tmp_path / "copy", keep_set_id=True)
    finally:
        os.umask(before)

    assert _image(scan(tmp_path / "copy")) == _image(rootfs)
    assert (tmp_path / "copy/etc/third").samefile(tmp_path / "copy/usr/lib/first")
    assert done.entries == len(rootfs.entries)
    assert done.without_set_id == ()


def test_set_id_bits_of_files_are_left_out_and_told(appdir: Path, tmp_path: Path) -> None:
    done = extract(scan(appdir), tmp_path / "copy")

    assert done.without_set_id == (b"bin/hello",)
    assert stat.S_IMODE((tmp_path / "copy/bin/hello").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "copy/tmp").stat().st_mode) == 0o1777


def test_a_directory_that_forbids_writing_is_filled_first(tmp_path: Path) -> None:
    (tmp_path / "appdir/closed/inner").mkdir(parents=True)
    (tmp_path / "appdir/closed/inner/file").write_text("x")
    (tmp_path / "appdir/closed/inner").chmod(0o555)
    (tmp_path / "appdir/closed").chmod(0o555)

    extract(scan(tmp_path / "appdir"), tmp_path / "copy")

    assert (tmp_path / "copy/closed/inner/file").read_text() == "x"
    assert stat.S_IMODE((tmp_path / "copy/closed").stat().st_mode) == 0o555


@pytest.mark.parametrize(("archive", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_writes_nothing_anywhere(tmp_path: Path, archive: bytes, message: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "hostile.cpio").write_bytes(archive)

    with pytest.raises(RootFsError):
        extract(from_archive(tmp_path / "hostile.cpio"), work / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["hostile.cpio", "work"]
    assert list(work.iterdir()) == []


def test_a_link_out_of_the_tree_is_made_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "appdir").mkdir()
    (tmp_path / "appdir/out").symlink_to(tmp_path)
    (tmp_path / "appdir/passwd").symlink_to("/etc/passwd")

    extract(scan(tmp_path / "appdir"), tmp_path / "copy")

    assert (tmp_path / "copy/out").readlink() == tmp_path
    assert (tmp_path / "copy/passwd").readlink() == Path("/etc/passwd")


def test_a_link_put_into_the_target_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone who can write next to the target swaps a new directory for a link out of it."""
    (tmp_path / "appdir/d").mkdir(parents=True)
    (tmp_path / "appdir/d/file").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    mkdir = os.mkdir

    def swap(name: bytes, mode: int, *, dir_fd: int | None = None) -> None:
        if name == b"d":
            os.symlink(tmp_path / "elsewhere", name, dir_fd=dir_fd)
        else:
            mkdir(name, mode, dir_fd=dir_fd)

    rootfs = scan(tmp_path / "appdir")
    monkeypatch.setattr(os, "mkdir", swap)
    with pytest.raises(OutputError, match="d/file: cannot be written"):
        extract(rootfs, tmp_path / "out")

    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["appdir", "elsewhere"]


def test_a_failure_on_the_way_leaves_nothing(appdir: Path, tmp_path: Path) -> None:
    rootfs = scan(appdir)
    (appdir / "usr/lib/first").write_text("changed")

    with pytest.raises(MystError, match="changed while it was read"):
        extract(rootfs, tmp_path / "copy")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["appdir"]


def test_a_directory_with_files_is_left_alone(appdir: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/mine").touch()

    with pytest.raises(OutputError, match="is a directory with files in it"):
        extract(scan(appdir), tmp_path / "copy")

    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["mine"]
