"""Directories and archives become the same image everywhere."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from tests.support.appdirs import NOT_UTF8
from tests.support.archives import HOSTILE, archive, member

from mystikos.errors import RootFsError
from mystikos.rootfs import RootFs, from_archive, printable, scan


def _image(rootfs: RootFs) -> bytes:
    return b"".join(rootfs.chunks())


def _write(rootfs: RootFs, path: Path) -> Path:
    path.write_bytes(_image(rootfs))
    return path


def test_entries_are_sorted_by_the_bytes_of_their_paths_with_the_root_first(appdir: Path) -> None:
    (appdir / "+").touch()  # sorts before "."
    (appdir / "bin-2").touch()  # sorts before "bin/hello"

    paths = [entry.path for entry in scan(appdir).entries]

    assert paths[0] == b"."
    assert paths[1:] == sorted(paths[1:])
    assert paths.index(b"bin-2") < paths.index(b"bin/hello")
    assert NOT_UTF8 in paths


def test_the_size_is_known_before_and_every_file_is_where_its_entry_says(appdir: Path) -> None:
    rootfs = scan(appdir)

    image = _image(rootfs)

    assert len(image) == rootfs.size
    assert rootfs.size % 512 == 0
    for entry in rootfs.entries:
        if entry.is_file:
            content = (appdir / os.fsdecode(entry.path)).read_bytes()
            assert image[entry.data_offset : entry.data_offset + entry.size] == content
            assert entry.read(0, entry.size) == content


def test_only_the_last_hard_link_carries_the_data(appdir: Path) -> None:
    rootfs = scan(appdir)

    links = [rootfs.lookup(path) for path in (b"etc/third", b"usr/lib/first", b"usr/lib/second")]

    first = [entry.path for entry in rootfs.entries].index(b"etc/third") + 1
    assert [(e.ino, e.nlink, e.size) for e in links if e] == [(first, 3, 6000)] * 3
    assert [e.has_data for e in links if e] == [False, False, True]
    assert len({e.data_offset for e in links if e}) == 1
    assert _image(rootfs).count(b"shared" * 1000) == 1


def test_a_hard_link_from_outside_does_not_count(appdir: Path, tmp_path: Path) -> None:
    before = _image(scan(appdir))
    os.link(appdir / "bin/hello", tmp_path / "outside")

    assert _image(scan(appdir)) == before


def test_copies_on_other_file_systems_give_the_same_image(appdir: Path, tmp_path: Path) -> None:
    original = _image(scan(appdir))
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    copy = memory / f"myst-test-{os.getpid()}"
    before = os.umask(0o077)
    try:
        subprocess.run(["cp", "-a", "--", appdir, copy], check=True)
        for path in copy.rglob("*"):
            os.utime(path, (1, 1), follow_symlinks=False)
        assert _image(scan(copy)) == original
    finally:
        os.umask(before)
        shutil.rmtree(copy, ignore_errors=True)


def test_the_order_in_which_files_were_made_does_not_matter(tmp_path: Path) -> None:
    names = [f"file{n}" for n in range(50)]
    images = []
    for order in (names, names[::-1]):
        root = tmp_path / f"dir{len(images)}"
        root.mkdir(0o755)
        for name in order:
            (root / name).write_text(name)
        images.append(_image(scan(root)))

    assert images[0] == images[1]


def test_modes_are_kept_and_owner_times_and_devices_are_not(appdir: Path) -> None:
    rootfs = scan(appdir)
    os.utime(appdir / "bin/hello", (5, 5))

    assert rootfs.lookup(b"bin/hello").mode == stat.S_IFREG | 0o4755  # type: ignore[union-attr]
    assert rootfs.lookup(b"tmp").mode == stat.S_IFDIR | 0o1777  # type: ignore[union-attr]
    assert scan(appdir).entries == rootfs.entries
    header = rootfs.entries[1].header()
    zero = b"00000000"
    uid_gid, mtime, devices = header[22:38], header[46:54], header[62:94]
    assert (uid_gid, mtime, devices) == (zero * 2, zero, zero * 4)


def test_sockets_devices_and_fifos_are_all_named(appdir: Path) -> None:
    os.mkfifo(appdir / "etc/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(appdir / "sock"))
        with pytest.raises(RootFsError) as caught:
            scan(appdir)

    assert "etc/pipe: is a FIFO" in str(caught.value)
    assert "sock: is a socket" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_named(appdir: Path) -> None:
    try:
        os.mknod(appdir / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this machine lets not even root make devices")
    with pytest.raises(RootFsError, match="null: is a character device"):
        scan(appdir)


def test_a_file_of_4_gib_is_refused(appdir: Path) -> None:
    with (appdir / "huge").open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(RootFsError, match="huge: is 4294967296 bytes large"):
        scan(appdir)

    with (appdir / "huge").open("wb") as file:
        file.truncate((1 << 32) - 1)
    assert scan(appdir).lookup(b"huge").size == (1 << 32) - 1  # type: ignore[union-attr]


def test_the_name_that_ends_archives_is_refused(appdir: Path) -> None:
    (appdir / "TRAILER!!!").touch()
    with pytest.raises(RootFsError, match="the name that ends an archive"):
        scan(appdir)


def test_what_cannot_be_read_is_named(appdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, *_, **__: not path.endswith(b"hello"))
    with pytest.raises(RootFsError, match="bin/hello: cannot be read"):
        scan(appdir)


@pytest.mark.parametrize("where", ["missing", "appdir/bin/hello"])
def test_what_is_no_directory_is_refused(appdir: Path, where: str) -> None:
    with pytest.raises(RootFsError, match=r"cannot be read|is not a directory"):
        scan(appdir.parent / where)


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "vanish", "become a FIFO", "become a link"])
def test_a_file_that_changes_while_it_is_read_is_an_error(appdir: Path, change: str) -> None:
    path = appdir / "bin/hello"
    rootfs = scan(appdir)
    size = path.stat().st_size
    if change in ("grow", "shrink"):
        os.truncate(path, size + (1 if change == "grow" else -1))
    elif change == "rewrite":
        path.write_bytes(b"x" * size)
        os.utime(path, ns=(0, 0))
    else:
        path.unlink()
        if change == "become a FIFO":
            os.mkfifo(path)
        elif change == "become a link":
            path.symlink_to("../etc/third")

    with pytest.raises(RootFsError, match=r"hello: (changed while it was read|cannot be read)"):
        _image(rootfs)


def test_lookup_resolves_links_inside_the_tree(appdir: Path) -> None:
    (appdir / "up").symlink_to("../../../../bin")
    (appdir / "loop").symlink_to("loop")
    (appdir / "link-to-link").symlink_to("absolute")
    rootfs = scan(appdir)

    def found(path: bytes, *, follow: bool = True) -> bytes | None:
        entry = rootfs.lookup(path, follow=follow)
        return entry.path if entry else None

    assert found(b"/") == found(b"") == found(b"../..") == b"."
    assert found(b"/bin//./hello") == b"bin/hello"
    assert found(b"lib/first") == b"usr/lib/first"
    assert found(b"/absolute") == found(b"link-to-link") == b"bin/hello"
    assert found(b"up/hello") == b"bin/hello"
    assert found(b"up/../etc") == b"etc"
    assert found(b"lib", follow=False) == b"lib"
    assert found(b"lib/", follow=False) == b"usr/lib"
    assert found(b"lib/first", follow=False) == b"usr/lib/first"
    assert found(b"loop") is None
    assert found(b"dangling") is None
    assert found(b"bin/hello/x") is None
    assert found(b"bin/hello/") is None
    assert found(b"bin/hello/..") is None


def test_content_opens_as_a_stream_that_seeks(appdir: Path) -> None:
    entry = scan(appdir).lookup(b"usr/lib/first")
    assert entry is not None
    with entry.open() as stream:
        stream.seek(-6, os.SEEK_END)
        assert stream.read() == b"shared"
        stream.seek(6)
        assert stream.read(3) == b"sha"
    assert entry.read(5996, 100) == b"ared"
    assert entry.read(7000, 100) == b""


def test_an_image_read_back_is_the_same_image(appdir: Path, tmp_path: Path) -> None:
    rootfs = scan(appdir)
    archive = _write(rootfs, tmp_path / "root.cpio")

    again = from_archive(archive)

    assert again.entries == rootfs.entries
    assert _image(again) == archive.read_bytes()


def test_an_image_behind_a_link_is_read_with_its_files(appdir: Path, tmp_path: Path) -> None:
    image = b"".join(scan(appdir).chunks())
    (tmp_path / "real.cpio").write_bytes(image)
    (tmp_path / "link.cpio").symlink_to("real.cpio")

    assert b"".join(from_archive(tmp_path / "link.cpio").chunks()) == image


def test_an_image_inside_another_file_is_read_in_place(appdir: Path, tmp_path: Path) -> None:
    rootfs = scan(appdir)
    path = tmp_path / "package"
    path.write_bytes(b"p" * 4096 + _image(rootfs) + b"more")

    again = from_archive(path, offset=4096, size=rootfs.size)

    assert _image(again) == _image(rootfs)
    assert again.lookup(b"bin/hello").read() == b"\x7fELF hello"  # type: ignore[union-attr]


def test_an_archive_that_gnu_cpio_made_gives_the_same_image(appdir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "gnu.cpio"
    with archive.open("wb") as file:
        subprocess.run(
            "find . -print0 | sort -zr | cpio -0 --quiet -o -H newc",
            shell=True, cwd=appdir, stdout=file, check=True,
        )  # fmt: skip

    assert _image(from_archive(archive)) == _image(scan(appdir))


def test_gnu_cpio_lists_and_extracts_an_image(appdir: Path, tmp_path: Path) -> None:
    rootfs = scan(appdir)
    archive = _write(rootfs, tmp_path / "root.cpio")
    copy = tmp_path / "copy"
    copy.mkdir()

    with archive.open("rb") as file:
        listed = subprocess.run(["cpio", "-it", "--quiet"], stdin=file, capture_output=True, check=True)
    with archive.open("rb") as file:
        done = subprocess.run(
            ["cpio", "-id", "--quiet"], stdin=file, cwd=copy, capture_output=True, check=True
        )

    assert listed.stdout == b"".join(entry.path + b"\n" for entry in rootfs.entries)
    assert done.stderr == b""
    assert _image(scan(copy)) == archive.read_bytes()
    assert (copy / "etc/third").samefile(copy / "usr/lib/second")


def test_an_archive_may_leave_out_its_root(tmp_path: Path) -> None:
    path = tmp_path / "a.cpio"
    path.write_bytes(archive(member(b"a", b"x")))

    rootfs = from_archive(path)

    assert [(e.path, oct(e.mode)) for e in rootfs.entries] == [(b".", "0o40755"), (b"a", "0o100644")]


@pytest.mark.parametrize(("archive", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, archive: bytes, message: str) -> None:
    path = tmp_path / "hostile.cpio"
    path.write_bytes(archive)

    with pytest.raises(RootFsError) as caught:
        from_archive(path)

    assert message in str(caught.value)


def test_everything_wrong_with_an_archive_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "hostile.cpio"
    path.write_bytes(archive(member(b"/a"), member(b"../b"), member(b"null", mode=0o020666)))

    with pytest.raises(RootFsError, match=r"(?s)'\.\.'.*absolute.*character device"):
        from_archive(path)


def test_of_very_many_mistakes_some_are_told(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(archive(*(member(b"/%05d" % number, b"") for number in range(5000))))
    with pytest.raises(RootFsError) as caught:
        from_archive(path)
    told = str(caught.value)
    assert "/00099: the name is absolute" in told
    assert "/00100" not in told
    assert "… and 4900 more" in told


def test_a_fifo_is_no_archive_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RootFsError, match="not a regular file"):
        from_archive(tmp_path / "fifo")


def test_a_directory_is_noarchive(tmp_path: Path) -> None:
    with pytest.raises(RootFsError, match="cannot be read"):
        from_archive(tmp_path)


def test_names_are_printed_with_escapes() -> None:
    assert printable(b"a\xff\n\x1b[31mb") == "a\\xff\\n\\x1b[31mb"
    assert printable("käse".encode()) == "käse"
