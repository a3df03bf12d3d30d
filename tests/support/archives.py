"""CPIO archives made by hand: honest pieces, and a collection of hostile ones."""

from __future__ import annotations

from mystikos.formats import cpio


def member(path: bytes, data: bytes = b"", *, mode: int = 0o100644, ino: int = 1, nlink: int = 1) -> bytes:
    header = cpio.Header(path, mode=mode, size=len(data), ino=ino, nlink=nlink).encode()
    return header + data + cpio.padding(len(data))


def archive(*members: bytes) -> bytes:
    return b"".join(members) + cpio.trailer()


_LINK = 0o120777
_FOLDER = 0o040755

# what is wrong with it → (an archive, what the error must say)
HOSTILE = {
    "absolute": (archive(member(b"/etc/passwd", b"x")), "/etc/passwd: the name is absolute"),
    "dot-dot first": (archive(member(b"../x", b"x")), "has a component '..'"),
    "dot-dot inside": (archive(member(b"a/../../x", b"x")), "has a component '..'"),
    "dot-dot last": (archive(member(b"a/..", mode=_FOLDER)), "has a component '..'"),
    "empty component": (archive(member(b"a//b", b"x")), "has an empty component"),
    "dot inside": (archive(member(b"a/./b", b"x")), "has an empty component or '.'"),
    "slash at the end": (archive(member(b"a/", mode=_FOLDER)), "has an empty component"),
    "file through a link": (
        archive(member(b"l", b"/tmp", mode=_LINK), member(b"l/x", b"x")),
        "l/x: goes through l, which is a symbolic link",
    ),
    "file through a link that comes later": (
        archive(member(b"l/x", b"x"), member(b"l", b"/tmp", mode=_LINK)),
        "l/x: goes through l, which is a symbolic link",
    ),
    "directory left out": (
        archive(member(b"l/a/x", b"x"), member(b"l", b"/tmp", mode=_LINK)),
        "l/a/x: its directory l/a is not in the archive",
    ),
    "directory through a link": (
        archive(member(b"l", b"/tmp", mode=_LINK), member(b"l/a", mode=_FOLDER), member(b"l/a/x", b"x")),
        "l/a: goes through l, which is a symbolic link",
    ),
    "file as folder": (
        archive(member(b"f", b"x"), member(b"f/x", b"x")),
        "f/x: goes through f, which is not a directory",
    ),
    "twice": (archive(member(b"a", b"1"), member(b"a", b"2")), "a: is there twice"),
    "file over a link": (
        archive(member(b"l", b"/etc/passwd", mode=_LINK), member(b"./l", b"x")),
        "l: is there twice",
    ),
    "root is a link": (archive(member(b".", b"/tmp", mode=_LINK)), "is the root, and not a directory"),
    "device": (archive(member(b"null", mode=0o020666)), "null: is a character device"),
    "block device": (archive(member(b"disk", mode=0o060666)), "disk: is a block device"),
    "FIFO": (archive(member(b"pipe", mode=0o010666)), "pipe: is a FIFO"),
    "socket": (archive(member(b"sock", mode=0o140666)), "sock: is a socket"),
    "no type": (archive(member(b"odd", mode=0o644)), "odd: is of no known type"),
    "directory with data": (archive(member(b"d", b"x", mode=_FOLDER)), "is a directory with data"),
    "empty target": (archive(member(b"l", b"", mode=_LINK)), "with a target of 0 bytes"),
    "long target": (archive(member(b"l", b"x" * 4096, mode=_LINK)), "with a target of 4096 bytes"),
    "NUL in a target": (archive(member(b"l", b"a\0b", mode=_LINK)), "has a NUL in it"),
    "long component": (archive(member(b"n" * 256, b"x")), "component of more than 255"),
    "hard links with data each": (
        archive(member(b"a", b"1", ino=5, nlink=2), member(b"b", b"2", ino=5, nlink=2)),
        "b: is a hard link to a with a mode or data of its own",
    ),
    "hard links with modes each": (
        archive(member(b"a", ino=5, nlink=2), member(b"b", b"2", ino=5, nlink=2, mode=0o104755)),
        "b: is a hard link to a with a mode or data of its own",
    ),
}
