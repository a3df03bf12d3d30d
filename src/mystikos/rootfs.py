"""Stage 2: turn an application directory into a root file system image, the same on every machine.

Entries are sorted by the bytes of their paths; owner, times and inode numbers are normalised; so two
copies of a directory give identical images. The image is a CPIO newc archive, streamed: its size and the
place of every file in it are known before its first byte is made.

>>> import tempfile
>>> appdir = Path(tempfile.mkdtemp())
>>> _ = (appdir / "hello").write_text("hi")
>>> rootfs = scan(appdir)
>>> [entry.path for entry in rootfs.entries]
[b'.', b'hello']
>>> rootfs.size == sum(map(len, rootfs.chunks()))
True
"""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

from mystikos.errors import RootFsError
from mystikos.formats import cpio
from mystikos.formats.reading import open_regular

__all__ = ["Entry", "RootFs", "from_archive", "printable", "scan"]

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_MAX_LINKS = 40  # symbolic links followed in one lookup, as Linux does
_MAX_NAME = 255
_MOST_PROBLEMS = 100  # told at once

_REFUSED = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a FIFO",
}


@dataclass(frozen=True, slots=True)
class Content:
    """Where the bytes of a file are on this machine, and how to tell that they have not changed."""

    path: bytes
    offset: int
    size: int
    stamp: tuple[int, int]  # size and modification time (ns) of the file at `path`

    def open(self) -> BinaryIO:
        """A seekable stream of exactly these bytes."""
        return cast(BinaryIO, io.BufferedReader(_Window(self), 1 << 16))

    def chunks(self) -> Iterator[bytes]:
        """The bytes in pieces of at most 1 MiB; a file that changed meanwhile is an error."""
        descriptor = self._descriptor()
        try:
            left = self.size
            os.lseek(descriptor, self.offset, os.SEEK_SET)
            while left:
                chunk = os.read(descriptor, min(left, _CHUNK))
                if not chunk:
                    break
                left -= len(chunk)
                yield chunk
            if left or _stamp(os.fstat(descriptor)) != self.stamp:
                raise RootFsError(
                    printable(self.path),
                    "changed while it was read",
                    expected="a directory that is left alone",
                    hint="stop what writes to it, and try again",
                )
        except OSError as error:
            raise _unreadable(self.path, error) from error
        finally:
            os.close(descriptor)

    def _descriptor(self) -> int:
        try:
            # Never block on a FIFO, nor follow a link, that took the file's place.
            return os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(self.path, error) from error


class _Window(io.RawIOBase):
    """The raw stream under ``Content.open``: a stretch of a file as a file of its own."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._position = 0
        self._descriptor = content._descriptor()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = (0, self._position, self._content.size)[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        size = max(0, min(len(buffer), self._content.size - self._position))
        try:
            read = os.preadv(
                self._descriptor, [memoryview(buffer)[:size]], self._content.offset + self._position
            )
        except OSError as error:
            raise _unreadable(self._content.path, error) from error
        self._position += read
        return read

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory, file or symbolic link of the root file system.

    ``path`` has no leading slash, and is ``b"."`` for the root; ``size`` is that of the file's content or
    the link's target; ``data_offset`` is where in the image these bytes are (for hard links: at the last
    of them), and 0 for a directory.
    """

    path: bytes
    mode: int
    size: int
    ino: int
    nlink: int
    data_offset: int
    target: bytes = b""
    has_data: bool = True  # False for hard links before the last of their group
    content: Content | None = field(default=None, compare=False, repr=False)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    def open(self) -> BinaryIO:
        """A seekable stream of the content; empty for a directory, the target for a symbolic link."""
        return io.BytesIO(self.target) if self.content is None else self.content.open()

    def read(self, offset: int = 0, size: int = -1) -> bytes:
        """*size* bytes of the content from *offset* (to the end when negative); fewer at its end."""
        with self.open() as stream:
            stream.seek(offset)
            return stream.read(size)

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB."""
        if self.content is not None:
            yield from self.content.chunks()
        elif self.target:
            yield self.target

    def header(self) -> bytes:
        """The entry's header in the image."""
        size = self.size if self.has_data else 0
        return cpio.Header(self.path, self.mode, size, self.ino, self.nlink).encode()


@dataclass(frozen=True)
class RootFs:
    """A root file system: its entries in the order of the image, and the image itself."""

    entries: tuple[Entry, ...]
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The image, exactly ``size`` bytes in pieces of at most about 1 MiB, in bounded memory."""
        pending = bytearray()
        made = 0
        for piece in self._pieces():
            made += len(piece)
            if len(pending) + len(piece) > _CHUNK:
                yield bytes(pending)
                pending.clear()
            if len(piece) < _CHUNK:
                pending += piece
            else:
                yield piece
        yield bytes(pending) + bytes(self.size - made)

    def _pieces(self) -> Iterator[bytes]:
        for entry in self.entries:
            yield entry.header()
            if entry.has_data:
                yield from entry.chunks()
                yield cpio.padding(entry.size)
        yield cpio.trailer()

    def extents(self) -> Iterator[tuple[Entry, int, int]]:
        """Every entry with where in the image its header begins and its padded data ends."""
        start = 0
        for entry in self.entries:
            end = start + cpio.header_size(entry.path)
            if entry.has_data:
                end += entry.size + -entry.size % 4
            yield entry, start, end
            start = end

    def lookup(self, path: bytes, *, follow: bool = True) -> Entry | None:
        """The entry that *path* names as seen from the root, or None.

        Symbolic links are resolved inside the tree (never out of it, and at most 40 of them); the last
        component's only when *follow*.
        """
        todo = path.split(b"/")[::-1]
        here: list[bytes] = []
        links = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                del here[-1:]
                continue
            entry = self._by_path.get(b"/".join([*here, name]))
            if entry is None:
                return None
            if entry.is_symlink and (follow or todo):
                links += 1
                if links > _MAX_LINKS:
                    return None
                if entry.target.startswith(b"/"):
                    here.clear()
                todo += entry.target.split(b"/")[::-1]
            elif entry.is_directory or not todo:
                here.append(name)
            else:
                return None  # a file where a directory is wanted
        return self._by_path.get(b"/".join(here) or b".")

    @cached_property
    def _by_path(self) -> dict[bytes, Entry]:
        return {entry.path: entry for entry in self.entries}


def scan(appdir: Path) -> RootFs:
    """The root file system that is in the directory *appdir*.

    Raises ``RootFsError`` that lists everything in it that cannot be part of one: sockets, devices, FIFOs,
    files above 4 GiB, and what cannot be read.
    """
    root = os.fsencode(appdir)
    nodes: list[_Node] = []
    problems: list[str] = []

    todo = [b"."]
    try:
        nodes.append(_Node(b".", _directory_mode(root)))
    except OSError as error:
        raise _unreadable(root, error) from error
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as found:
                for item in found:
                    path = item.name if folder == b"." else folder + b"/" + item.name
                    node = _scan_one(item, path, problems)
                    if node is None:
                        continue
                    nodes.append(node)
                    if stat.S_ISDIR(node.mode):
                        todo.append(path)
        except OSError as error:
            problems.append(f"{printable(folder)}: cannot be read ({error.strerror})")

    if problems:
        raise _refused(str(appdir), problems, "remove what is listed, or make it readable")
    return _assemble(nodes)


def from_archive(path: Path, *, offset: int = 0, size: int | None = None) -> RootFs:
    """The root file system that is in a CPIO newc archive: *size* bytes at *offset* of the file *path*.

    Its image is normalised as that of a directory is. Raises ``RootFsError`` for an archive that is
    damaged, or whose paths do not make one tree: absolute names, ``..``, duplicates, names that go through
    a symbolic link.
    """
    name = os.fsencode(path)
    try:
        with os.fdopen(open_regular(path), "rb", buffering=0) as file:
            # content is opened later, without following a link: the caller's own is followed now
            reader = _FileReader(file.fileno(), os.path.realpath(name), offset, size)
            return _assemble(_archive_nodes(reader, str(path)))
    except OSError as error:
        raise _unreadable(name, error) from error


def printable(path: bytes) -> str:
    """*path* for messages: what is not UTF-8, or not printable, as escapes."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True)
class _Node:
    """What a directory or an archive tells about one path, before the tree is put in order."""

    path: bytes
    mode: int
    size: int = 0
    target: bytes = b""
    content: Content | None = None
    group: Hashable = None  # equal for the hard links of one file; None where there is only one


class _FileReader:
    """A ``cpio.Reader`` over a stretch of a file."""

    def __init__(self, descriptor: int, path: bytes, offset: int, size: int | None) -> None:
        status = os.fstat(descriptor)
        self._descriptor = descriptor
        self._path = path
        self._offset = offset
        self._stamp = _stamp(status)
        self.size = min(status.st_size - offset, status.st_size if size is None else size)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, max(0, min(size, self.size - offset)), self._offset + offset)

    def content(self, offset: int, size: int) -> Content:
        return Content(self._path, self._offset + offset, size, self._stamp)


def _directory_mode(root: bytes) -> int:
    mode = os.stat(root).st_mode
    if not stat.S_ISDIR(mode):
        raise RootFsError(printable(root), "is not a directory", expected="an application directory")
    return mode


def _scan_one(item: os.DirEntry[bytes], path: bytes, problems: list[str]) -> _Node | None:
    try:
        status = item.stat(follow_symlinks=False)
        target = os.readlink(item.path) if stat.S_ISLNK(status.st_mode) else b""
    except OSError as error:
        problems.append(f"{printable(path)}: cannot be read ({error.strerror})")
        return None
    size = status.st_size if stat.S_ISREG(status.st_mode) else len(target)
    problem = _problem(path, status.st_mode, size)
    if (
        problem is None
        and stat.S_ISREG(status.st_mode)
        and not os.access(item.path, os.R_OK, effective_ids=True)
    ):
        problem = "cannot be read (Permission denied)"
    if problem is not None:
        problems.append(f"{printable(path)}: {problem}")
        return None

    if not stat.S_ISREG(status.st_mode):
        return _Node(path, status.st_mode, size, target)
    group = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
    return _Node(path, status.st_mode, size, content=Content(item.path, 0, size, _stamp(status)), group=group)


def _problem(path: bytes, mode: int, size: int) -> str | None:
    """Why an entry cannot be part of a root file system, if it cannot."""
    kind = stat.S_IFMT(mode)
    if kind in _REFUSED:
        return f"is {_REFUSED[kind]}"
    if kind not in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
        return f"is of no known type (mode {mode:06o})"
    if size > cpio.MAX_FILE_SIZE:
        return f"is {size} bytes large, and the archive format holds files below 4 GiB"
    if len(path) > cpio.MAX_PATH:
        return f"the path is {len(path)} bytes long, and Linux takes {cpio.MAX_PATH}"
    if path == cpio.TRAILER_NAME:
        return "is the name that ends an archive"
    return None


def _refused(where: str, problems: list[str], hint: str) -> RootFsError:
    told = sorted(problems)[:_MOST_PROBLEMS]
    if len(problems) > len(told):
        told.append(f"… and {len(problems) - len(told)} more")
    listed = "".join(f"\n  {problem}" for problem in told)
    return RootFsError(where, f"cannot become a root file system:{listed}", hint=hint)


def _archive_nodes(reader: _FileReader, name: str) -> Iterator[_Node]:
    """The entries of an archive, once all of them have been judged together."""
    members: dict[bytes, cpio.Member] = {}
    problems: list[str] = []
    for member in cpio.decode(reader, name):
        path = _tree_path(member.header.path)
        problem = _archive_problem(path, member.header, members)
        if problem is not None:
            problems.append(f"{printable(member.header.path)}: {problem}")
        members[path] = member
    problems += _parent_problems(members)
    groups = _groups(members, problems)
    if problems:
        raise _refused(name, problems, "archives of a whole directory are made by: find . | cpio -o -H newc")

    if b"." not in members:
        yield _Node(b".", stat.S_IFDIR | 0o755)
    for path, member in members.items():
        yield _archive_node(reader, name, path, member, groups.get(_group(member.header)))


def _tree_path(raw: bytes) -> bytes:
    """*raw* without the ``./`` that ``find . | cpio -o`` leaves in front."""
    return raw.removeprefix(b"./") or b"."


def _archive_problem(path: bytes, header: cpio.Header, seen: dict[bytes, cpio.Member]) -> str | None:
    parts = path.split(b"/")
    if path.startswith(b"/"):
        return "the name is absolute"
    if b".." in parts:
        return "the name has a component '..'"
    if path != b"." and (b"" in parts or b"." in parts):
        return "the name has an empty component or '.'"
    if any(len(part) > _MAX_NAME for part in parts):
        return f"the name has a component of more than {_MAX_NAME} bytes"
    if path in seen:
        return "is there twice"
    if path == b"." and not stat.S_ISDIR(header.mode):
        return "is the root, and not a directory"
    if header.size and stat.S_ISDIR(header.mode):
        return "is a directory with data"
    if stat.S_ISLNK(header.mode) and not 1 <= header.size <= cpio.MAX_PATH:
        return f"is a symbolic link with a target of {header.size} bytes"
    return _problem(path, header.mode, header.size)


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"."


def _parent_problems(members: dict[bytes, cpio.Member]) -> Iterator[str]:
    """Names whose directory is not one: with none of these, all of them make one tree."""
    for path in members:
        parent = _parent(path)
        above = members.get(parent)
        if above is not None and stat.S_ISDIR(above.header.mode):
            continue
        if above is not None:
            what = "a symbolic link" if stat.S_ISLNK(above.header.mode) else "not a directory"
            yield f"{printable(path)}: goes through {printable(parent)}, which is {what}"
        elif parent != b".":
            yield f"{printable(path)}: its directory {printable(parent)} is not in the archive"


def _group(header: cpio.Header) -> Hashable:
    linked = header.nlink > 1 and stat.S_ISREG(header.mode)
    return (header.device, header.ino) if linked else None


def _groups(members: dict[bytes, cpio.Member], problems: list[str]) -> dict[Hashable, cpio.Member]:
    """For each group of hard links, the one that carries the data (any, when the file is empty)."""
    groups: dict[Hashable, cpio.Member] = {}
    for path, member in members.items():
        key = _group(member.header)
        if key is None:
            continue
        other = groups.setdefault(key, member)
        if other.header.mode != member.header.mode or (
            other is not member and other.header.size and member.header.size
        ):
            first = printable(other.header.path)
            problems.append(f"{printable(path)}: is a hard link to {first} with a mode or data of its own")
        if member.header.size:
            groups[key] = member
    return groups


def _archive_node(
    reader: _FileReader, name: str, path: bytes, member: cpio.Member, linked: cpio.Member | None
) -> _Node:
    header = member.header
    if stat.S_ISDIR(header.mode):
        return _Node(path, header.mode)
    if stat.S_ISLNK(header.mode):
        target = reader.read(member.data_offset, header.size)
        if b"\0" in target:
            raise RootFsError(f"{name}: {printable(path)}", "the target of the link has a NUL in it")
        return _Node(path, header.mode, len(target), target)
    source = linked or member
    content = reader.content(source.data_offset, source.header.size)
    return _Node(path, header.mode, source.header.size, content=content, group=_group(header))


def _assemble(nodes: Iterable[_Node]) -> RootFs:
    """Put the tree in the order of the image, number its inodes, and find every file's place."""
    ordered = sorted(nodes, key=lambda node: (node.path != b".", node.path))
    links = _links(ordered)

    offset = 0
    offsets: list[int] = []  # of the data that each entry carries
    for index, node in enumerate(ordered):
        offset += cpio.header_size(node.path)
        offsets.append(offset)
        if links[index][-1] == index:
            offset += node.size + -node.size % 4
    offset += len(cpio.trailer())

    entries = tuple(_entry(node, links[index], index, offsets) for index, node in enumerate(ordered))
    size = offset + len(cpio.end_padding(offset))
    _LOG.info("root file system: %d entries, %d bytes", len(entries), size)
    return RootFs(entries, size)


def _links(ordered: Sequence[_Node]) -> list[list[int]]:
    """For each node, the positions of all hard links of its file."""
    groups: dict[Hashable, list[int]] = {}
    links: list[list[int]] = []
    for index, node in enumerate(ordered):
        group = groups.setdefault(node.group, []) if node.group is not None else []
        group.append(index)
        links.append(group)
    return links


def _entry(node: _Node, links: list[int], index: int, offsets: list[int]) -> Entry:
    is_directory = stat.S_ISDIR(node.mode)
    return Entry(
        path=node.path,
        mode=node.mode,
        size=node.size,
        ino=links[0] + 1,
        nlink=2 if is_directory else len(links),
        data_offset=0 if is_directory else offsets[links[-1]],
        target=node.target,
        has_data=links[-1] == index,
        content=node.content,
    )


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _unreadable(path: bytes, error: OSError) -> RootFsError:
    return RootFsError(printable(path), f"cannot be read ({error.strerror or error})")
