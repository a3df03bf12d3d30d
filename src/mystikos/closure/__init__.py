"""Stage 2a: find every library a program needs, as its dynamic loader would, and name what is missing.

The same search runs over this machine (``mystikos.collect``) and over a root file system
(``closure_check``). Nothing is executed.

>>> import os, tempfile
>>> from pathlib import Path
>>> from mystikos.rootfs import scan
>>> home = Path(tempfile.mkdtemp())
>>> _ = (home / "hello").write_bytes(Path(os.path.realpath("/bin/sh")).read_bytes())
>>> [hole.library for hole in closure_check(scan(home), b"/hello").missing]
[b'/lib64/ld-linux-x86-64.so.2', b'libc.so.6']
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mystikos.closure.search import MAX_SCRIPTS, Closure, Missing, Search, shebang
from mystikos.closure.trees import Packed
from mystikos.errors import RootFsError
from mystikos.formats import elf
from mystikos.rootfs import RootFs, printable

__all__ = ["ClosureReport", "Missing", "closure_check", "grouped"]


@dataclass(frozen=True)
class ClosureReport:
    """What an application lacks in its root file system."""

    rootfs: RootFs
    search: Search
    closure: Closure

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Without these the application does not start."""
        interpreter = self.search.interpreter
        if interpreter is None or Packed(self.rootfs).real(interpreter) is not None:
            return self.closure.missing
        return Missing(interpreter, self.search.path), *self.closure.missing

    def others(self) -> tuple[Missing, ...]:
        """What the other ELF files of the tree lack: plugins that are loaded by name, other programs."""
        holes: dict[Missing, None] = {}
        for path in self._other_files():
            holes.update(dict.fromkeys(self.search.library(path).missing))
        return tuple(holes)

    def _other_files(self) -> Iterator[bytes]:
        seen = {self.search.path, *self.closure.reals}
        inodes = set()
        for entry in self.rootfs.entries:
            path = b"/" + entry.path
            if not entry.is_file or entry.size < elf.EHDR.size or path in seen or entry.ino in inodes:
                continue
            inodes.add(entry.ino)
            if entry.read(0, 4) == elf.MAGIC:
                yield path


def closure_check(
    rootfs: RootFs, application_path: bytes, environment: Sequence[bytes] = ()
) -> ClosureReport:
    """Look for all that starting *application_path* takes: its loader and its shared libraries.

    For a script, those of its interpreter. ``LD_LIBRARY_PATH`` is taken from *environment*
    (``KEY=VALUE``). Raises ``RootFsError`` when there is no such program, or it is damaged.
    """
    program = _program(rootfs, application_path)
    try:
        search = Search(Packed(rootfs), program, library_path=_library_path(environment))
    except elf.ElfError as error:
        raise RootFsError(printable(program), str(error), expected="an x86-64 program") from error
    return ClosureReport(rootfs, search, search.program())


def grouped(missing: Iterable[Missing]) -> tuple[str, ...]:
    """One line for each missing library, with everyone who needs it."""
    needers: dict[bytes, dict[bytes, None]] = {}
    for hole in missing:
        needers.setdefault(hole.library, {})[hole.needed_by] = None
    return tuple(
        f"{printable(library)}, needed by {', '.join(printable(path) for path in paths)}"
        for library, paths in needers.items()
    )


def _program(rootfs: RootFs, path: bytes) -> bytes:
    """The real path of the program that starting *path* runs in the end."""
    for _ in range(MAX_SCRIPTS):
        entry = rootfs.lookup(path)
        if entry is None or not entry.is_file:
            raise RootFsError(printable(path), "is not in the root file system", expected="a program")
        script = shebang(entry.read(0, 256))
        if script is None:
            return b"/" + entry.path
        path = script.interpreter
    raise RootFsError(printable(path), f"is a script run by a script, {MAX_SCRIPTS} times over")


def _library_path(environment: Sequence[bytes]) -> tuple[bytes, ...]:
    for variable in environment:
        name, _, value = variable.partition(b"=")
        if name == b"LD_LIBRARY_PATH":
            return tuple(path for path in value.replace(b";", b":").split(b":") if path)
    return ()
