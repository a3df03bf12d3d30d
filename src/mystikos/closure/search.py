"""The search itself: ld.so(8) for glibc programs, and musl's own rules for musl's.

>>> import os, sys
>>> from mystikos.closure.trees import Machine
>>> closure = Search(Machine(), os.fsencode(os.path.realpath(sys.executable))).program()
>>> any(name.startswith(b"libc.so") for name in closure.libraries)
True
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mystikos.closure.trees import Tree
from mystikos.formats import dynamic
from mystikos.formats.dynamic import Dynamic
from mystikos.formats.elf import ElfError

__all__ = ["MAX_SCRIPTS", "Closure", "Missing", "Script", "Search", "shebang"]

MAX_SCRIPTS = 5  # scripts run by scripts, as Linux allows
_MAX_CONFS = 1000

# What loaders have built in; a loader is asked which of them it knows.
_GLIBC_DIRECTORIES = (
    b"/lib/x86_64-linux-gnu",
    b"/usr/lib/x86_64-linux-gnu",
    b"/lib64",
    b"/usr/lib64",
    b"/lib",
    b"/usr/lib",
)
_MUSL_DIRECTORIES = (b"/lib", b"/usr/local/lib", b"/usr/lib")
_MUSL_ITSELF = re.compile(rb"lib(c|pthread|rt|m|dl|util|xnet)\.")  # names that musl's loader answers to
_TOKEN = re.compile(rb"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)\b)")


@dataclass(frozen=True, slots=True)
class Missing:
    """A library or interpreter that is not there, and the file that needs it."""

    library: bytes
    needed_by: bytes


@dataclass(frozen=True, slots=True)
class Closure:
    """What a file needs: for each name the path it is found at, their real paths, and what is missing."""

    libraries: dict[bytes, bytes]
    reals: frozenset[bytes]
    missing: tuple[Missing, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """The first line of a script: its interpreter, and the one argument the kernel hands over."""

    interpreter: bytes
    argument: bytes


def shebang(head: bytes) -> Script | None:
    """The ``#!`` line at the start of a file, if it has one (execve(2))."""
    if not head.startswith(b"#!"):
        return None
    line = head[2:256].partition(b"\n")[0].strip(b" \t")
    interpreter, *argument = re.split(rb"[ \t]+", line, maxsplit=1)
    return Script(interpreter, b"".join(argument))


@dataclass(frozen=True, slots=True, eq=False)
class _Object:
    """A loaded ELF file; ``loader`` is the one that needed it first."""

    path: bytes
    wanted: Dynamic
    loader: _Object | None

    def chain(self) -> Iterator[_Object]:
        here: _Object | None = self
        while here is not None:
            yield here
            here = here.loader


class Search:
    """Finds libraries in *tree* as the loader of the ELF program *program* (a real path) would."""

    def __init__(self, tree: Tree, program: bytes, *, library_path: Sequence[bytes] = ()) -> None:
        self._tree = tree
        self._known: dict[bytes, Dynamic | None] = {}
        self._library_path = tuple(library_path)
        self._program = _Object(program, self.wanted(program) or Dynamic(), None)
        self.path = program
        self.interpreter = interpreter = self._program.wanted.interpreter
        self.is_musl = interpreter is not None and b"/ld-musl-" in interpreter
        self._configured, self.built_in = _defaults(tree, interpreter, self.is_musl)

    def wanted(self, real: bytes) -> Dynamic | None:
        """What the file at *real* asks for; None if it is no ELF file. Raises ``ElfError``."""
        if real not in self._known:
            with self._tree.open(real) as file:
                self._known[real] = dynamic.read(file)
        return self._known[real]

    def program(self) -> Closure:
        """What the program needs to start."""
        return self._closure(self._program)

    def library(self, real: bytes) -> Closure:
        """What another ELF file needs when the program loads it; nothing if it is damaged or foreign."""
        try:
            wanted = self.wanted(real) or Dynamic()
        except ElfError:
            wanted = Dynamic()
        return self._closure(_Object(real, wanted, self._program))

    def locate(self, name: bytes) -> bytes | None:
        """The path of the library that the program would get for *name*."""
        found = self._find(name, self._program)
        return found.path if found is not None else None

    def _closure(self, root: _Object) -> Closure:
        """Breadth first, as loaders go: a name that was found once stays found."""
        libraries: dict[bytes, bytes] = {}
        sonames = self._loader_names()
        reals: set[bytes] = set()
        missing: list[Missing] = []
        todo = deque([root])
        while todo:
            here = todo.popleft()
            for name in here.wanted.needed:
                if name in libraries or name in sonames or (self.is_musl and _MUSL_ITSELF.match(name)):
                    continue
                found = self._find(name, here)
                if found is None:
                    missing.append(Missing(name, here.path))
                    continue
                libraries[name] = found.path
                sonames.add(found.wanted.soname or name)
                reals.add(self._tree.real(found.path) or found.path)
                todo.append(found)
        return Closure(libraries, frozenset(reals), tuple(missing))

    def _loader_names(self) -> set[bytes]:
        """The names under which the loader itself, already there, satisfies a need."""
        return {self.interpreter.rpartition(b"/")[2]} if self.interpreter else set()

    def _find(self, name: bytes, needer: _Object) -> _Object | None:
        if b"/" in name:
            paths: Iterable[bytes] = [self._expanded(name, needer)]
        else:
            paths = (folder + b"/" + name for folder in self._directories(needer))
        for path in paths:
            real = self._tree.real(path)
            if real is None:
                continue
            try:
                wanted = self.wanted(real)
            except ElfError:  # of another machine, say: loaders go on looking
                continue
            if wanted is not None:
                return _Object(path, wanted, needer)
        return None

    def _directories(self, needer: _Object) -> Iterator[bytes]:
        if self.is_musl:
            yield from self._library_path
            for above in needer.chain():
                yield from self._expand(above.wanted.runpath or above.wanted.rpath, above)
        else:
            if not needer.wanted.runpath:
                for above in needer.chain():
                    yield from self._expand(above.wanted.rpath, above)
            yield from self._library_path
            yield from self._expand(needer.wanted.runpath, needer)
        if not needer.wanted.no_default_libraries:
            yield from self._configured
            yield from self.built_in

    def _expand(self, paths: Iterable[bytes], owner: _Object) -> Iterator[bytes]:
        return (self._expanded(path, owner) for path in paths)

    def _expanded(self, path: bytes, owner: _Object) -> bytes:
        """*path* with the tokens of ld.so(8) replaced."""
        first = self.built_in[0] if self.built_in else b"/lib"
        values = {
            b"ORIGIN": owner.path.rpartition(b"/")[0],
            b"LIB": first.removeprefix(b"/usr").lstrip(b"/"),
            b"PLATFORM": b"x86_64",
        }
        return _TOKEN.sub(lambda token: values[token[1] or token[2]], path)


def _defaults(
    tree: Tree, interpreter: bytes | None, is_musl: bool
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The directories that configuration adds, and those that the loader has built in."""
    if interpreter is None:
        return (), _GLIBC_DIRECTORIES
    if is_musl:
        prefix = interpreter.rpartition(b"/")[0].rpartition(b"/")[0]
        configured = _text(tree, prefix + b"/etc/ld-musl-x86_64.path")
        if configured is None:
            return (), _MUSL_DIRECTORIES
        return (), tuple(path for path in re.split(rb"[:\n]", configured) if path)

    # glibc's loader reads ld.so.cache, not ld.so.conf, which only ldconfig(8) reads when it makes the cache.
    has_cache = tree.real(b"/etc/ld.so.cache") is not None
    return (tuple(_configured(tree, b"/etc/ld.so.conf")) if has_cache else ()), _built_in(tree, interpreter)


def _built_in(tree: Tree, interpreter: bytes) -> tuple[bytes, ...]:
    """The directories in a glibc loader's ``system_dirs``: strings, each with a slash at its end."""
    real = tree.real(interpreter)
    if real is None:
        return _GLIBC_DIRECTORIES
    with tree.open(real) as file:
        content = file.read()
    known = tuple(path for path in _GLIBC_DIRECTORIES if b"\0" + path + b"/\0" in content)
    return known or _GLIBC_DIRECTORIES


def _configured(tree: Tree, path: bytes) -> Iterator[bytes]:
    """The directories of an ``ld.so.conf``, with what it includes (ldconfig(8))."""
    todo = [path]
    for _ in range(_MAX_CONFS):  # files may include each other
        if not todo:
            return
        here = todo.pop(0)
        included = []
        for raw in io.BytesIO(_text(tree, here) or b""):
            line = raw.partition(b"#")[0].strip()
            if re.match(rb"include[ \t]", line):
                for pattern in line.split()[1:]:
                    folder = here.rpartition(b"/")[0]
                    included += tree.glob(pattern if pattern.startswith(b"/") else folder + b"/" + pattern)
            elif line.startswith(b"/"):
                yield line.partition(b"=")[0].rstrip()
        todo = included + todo


def _text(tree: Tree, path: bytes) -> bytes | None:
    real = tree.real(path)
    if real is None:
        return None
    with tree.open(real) as file:
        return file.read(1 << 20)
