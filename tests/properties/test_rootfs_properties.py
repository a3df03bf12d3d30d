"""What holds for every tree and every archive."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mystikos.errors import RootFsError
from mystikos.extraction import extract
from mystikos.formats import cpio
from mystikos.formats.cpio import BytesReader, Header, decode
from mystikos.rootfs import RootFs, from_archive, scan
from tests.support.archives import archive, member
from tests.support.rounds import rounds

_names = st.binary(min_size=1, max_size=12).filter(
    lambda n: n not in (b".", b"..", b"TRAILER!!!") and not {0, 0x2F} & set(n)
)
_leaves = st.one_of(
    st.binary(max_size=40),  # a file
    st.tuples(st.just("link"), st.binary(min_size=1, max_size=20).filter(lambda t: 0 not in t)),
)
_trees = st.recursive(
    st.dictionaries(_names, _leaves, max_size=4),
    lambda inner: st.dictionaries(_names, st.one_of(inner, _leaves), max_size=4),
    max_leaves=12,
)


def _make(tree: dict[bytes, object], root: bytes, *, backwards: bool = False) -> None:
    for name, value in sorted(tree.items(), reverse=backwards):
        path = os.path.join(root, name)  # noqa: PTH118 - bytes
        if isinstance(value, dict):
            os.mkdir(path, 0o755)  # noqa: PTH102
            _make(value, path, backwards=backwards)
        elif isinstance(value, tuple):
            os.symlink(value[1], path)  # noqa: PTH211
        else:
            Path(os.fsdecode(path)).write_bytes(value)  # type: ignore[arg-type]


def _list(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _image(rootfs: RootFs) -> bytes:
    return b"".join(rootfs.chunks())


@rounds(60)
@given(_trees)
def test_any_tree_comes_back_and_two_copies_give_one_image(tree: dict[bytes, object]) -> None:
    with tempfile.TemporaryDirectory() as home:
        images = []
        for copy, backwards in (("one", False), ("two", True)):
            (Path(home) / copy).mkdir(mode=0o755)
            _make(tree, os.fsencode(Path(home) / copy), backwards=backwards)
            images.append(_image(scan(Path(home) / copy)))
        assert images[0] == images[1]

        (Path(home) / "root.cpio").write_bytes(images[0])
        rootfs = from_archive(Path(home) / "root.cpio")
        extract(rootfs, Path(home) / "three")
        assert _image(rootfs) == images[0]
        assert _image(scan(Path(home) / "three")) == images[0]


_members = st.lists(
    st.tuples(
        st.one_of(
            _names, st.sampled_from([b"/a", b"../a", b"a/b", b"a/../b", b"a//b", b"a", b".", b"a/b/c"])
        ),
        st.binary(max_size=9),
        st.sampled_from(
            [0o100644, 0o104755, 0o120777, 0o040755, 0o020666, 0o010644, 0o140777, 0, 0xFFFFFFFF]
        ),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=6,
)


@rounds(150)
@given(_members)
def test_no_archive_writes_outside_of_its_target(
    members: list[tuple[bytes, bytes, int, int, int]],
) -> None:
    data = archive(*(member(p, d, mode=m, ino=i, nlink=n) for p, d, m, i, n in members))
    with tempfile.TemporaryDirectory() as home:
        work = Path(home) / "work"
        work.mkdir()
        (work / "root.cpio").write_bytes(data)
        try:
            extract(from_archive(work / "root.cpio"), work / "out")
        except RootFsError:
            assert _list(work) == ["root.cpio"]
        assert _list(Path(home)) == ["work"]


_good = (
    Header(b"a", mode=0o100644, size=5, ino=1).encode()
    + b"hello\0\0\0"
    + Header(b"b", mode=0o120777, size=1, ino=2).encode()
    + b"a\0\0\0"
    + cpio.trailer()
)


@rounds(300)
@given(st.integers(0, len(_good) - 1), st.integers(0, 255), st.integers(0, len(_good)))
def test_a_damaged_archive_is_read_or_refused_and_never_anything_else(at: int, byte: int, cut: int) -> None:
    damaged = bytearray(_good)
    damaged[at] = byte
    for data in (bytes(damaged), bytes(damaged[:cut])):
        try:
            for found in decode(BytesReader(data), "a.cpio"):
                assert found.data_offset + found.header.size <= len(data)
        except RootFsError:
            continue


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    try:
        assert list(decode(BytesReader(noise), "noise")) == []
    except RootFsError:
        return
    raise AssertionError("noise was taken for an archive")
