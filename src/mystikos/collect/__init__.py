"""Stage 0: copy a program of this machine, and all it needs to start, into an application directory.

What a program needs and an ELF file shows is found by ``mystikos.closure``: the loader and the shared
libraries, and theirs. What it does not show is brought where it is known:

* the interpreters of ``#!`` scripts, and for a CPython its standard library, with bytecode that is valid
  in a package;
* for glibc programs ``libgcc_s.so.1``, which glibc loads when a thread is cancelled or exits early, and,
  for glibc before 2.34, the name service modules ``libnss_files`` and ``libnss_dns``;
* for musl programs the file that tells its loader where libraries are;
* an empty ``/tmp``.

Not known, and asked for with *include*: plugins that a program loads by name, character set conversions
(``gconv``), locales, time zones, certificates, data and configuration files.

>>> import tempfile
>>> done = collect(["sh"], Path(tempfile.mkdtemp()) / "appdir")
>>> any(name.startswith(b"libc.so") for name in done.libraries)
True
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mystikos.closure import Missing, closure_check, grouped
from mystikos.closure.search import Closure, Search
from mystikos.closure.trees import Machine
from mystikos.collect import bytecode, programs
from mystikos.collect.copying import Copier, Keep
from mystikos.collect.python import Choice, Python, detect, keep_library, virtual_environment
from mystikos.errors import CollectError
from mystikos.formats.atomic import atomic_directory
from mystikos.formats.elf import ElfError
from mystikos.progress import Counter, Progress
from mystikos.rootfs import printable, scan

__all__ = ["Choice", "Collected", "collect"]

_MUSL_PATHS = b"/etc/ld-musl-x86_64.path"


@dataclass(frozen=True, slots=True)
class Collected:
    """What is in the new application directory; all paths are as seen from inside."""

    programs: tuple[bytes, ...]
    libraries: dict[bytes, bytes]
    pythons: tuple[Python, ...]
    files: int
    size: int
    warnings: tuple[str, ...]


def collect(
    names: Sequence[str],
    output: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    python: Choice = Choice.STANDARD,
    progress: Progress | None = None,
) -> Collected:
    """Make the application directory *output* with the programs *names* and all that they need.

    A name is looked up in PATH; a path, or ``PATH=PLACE``, is taken as it is. *include* adds files and
    directories at their own path or, as ``SOURCE=PLACE``, elsewhere, with the libraries of every ELF file
    in them; *exclude* leaves out what matches one of these globs, by name or by path. At a failure
    nothing is left. Raises ``CollectError`` and ``OutputError``.
    """
    found = [programs.find(name) for name in names]
    with atomic_directory(output) as temporary:
        copier = Copier(os.fsencode(temporary), Counter(progress), shown=output)
        return _Collection(copier, exclude, python).fill(found, include)


class _Collection:
    """One run of ``collect``."""

    def __init__(self, copier: Copier, exclude: Sequence[str], choice: Choice) -> None:
        self._copier = copier
        self._exclude = exclude
        self._choice = choice
        self._libraries: dict[bytes, bytes] = {}
        self._pythons: dict[bytes, Python] = {}
        self._missing: list[Missing] = []
        self._searches: list[Search] = []  # of the programs that have a loader
        self._done: set[bytes] = set()

    def fill(self, found: Sequence[programs.Program], include: Sequence[str]) -> Collected:
        places = [self._add_program(program) for program in found]
        if self._missing:
            listed = "".join(f"\n  {line}" for line in grouped(self._missing))
            raise CollectError(
                ", ".join(printable(p.path) for p in found),
                f"cannot start on this machine either, for want of:{listed}",
                hint="LD_LIBRARY_PATH is searched, too",
            )
        self._add_glibc_extras()
        for one in include:
            self._add_include(one)
        self._add_closures_of_the_rest()
        self._copier.add_directory(b"/tmp", 0o1777)
        self._copier.add_merged_links()
        self._add_bytecode(places)
        self._link_what_the_loader_would_not_find(places)
        return self._collected(places)

    def _add_program(self, program: programs.Program) -> bytes:
        """Copy a program, the interpreters of its ``#!`` lines, and what these need; return its place."""
        self._copier.add(program.place, source=program.path if program.place != program.path else None)
        chain = programs.interpreters(program.path)
        for interpreter in chain:
            self._copier.add(interpreter)
            self._add_needs(interpreter)
        if not chain:
            self._add_needs(program.path)
        return program.place

    def _add_needs(self, path: bytes) -> None:
        """Copy what the ELF program *path* needs to start."""
        real = os.path.realpath(path)
        try:
            search = Search(Machine(), real, library_path=_library_path())
        except ElfError as error:
            raise CollectError(printable(path), str(error), expected="an x86-64 program") from error
        if search.wanted(real) is None:
            raise CollectError(
                printable(path), "is not an ELF file and not a #! script", expected="a program"
            )

        closure = self._add_program_closure(search)
        python = None if self._choice is Choice.NONE else detect(real, closure.libraries.values())
        if python is not None:
            self._add_python(python, path)

    def _add_program_closure(self, search: Search) -> Closure:
        closure = search.program()
        self._missing += closure.missing
        self._add_libraries(closure)
        if search.interpreter is not None:
            self._searches.append(search)
            if os.path.isfile(search.interpreter):
                self._done.add(os.path.realpath(search.interpreter))
                self._copier.add(search.interpreter)
            else:
                self._missing.append(Missing(search.interpreter, search.path))
        if search.is_musl and os.path.isfile(_MUSL_PATHS):
            self._copier.add(_MUSL_PATHS)
        self._done.add(search.path)
        return closure

    def _add_libraries(self, closure: Closure) -> None:
        for name, path in closure.libraries.items():
            self._libraries.setdefault(name, self._copier.add(path))
        self._done |= closure.reals

    def _add_python(self, python: Python, program: bytes) -> None:
        """Copy the standard library, and the packages of a virtual environment."""
        if python.library in self._pythons:
            return
        self._pythons[python.library] = python
        library = os.path.realpath(python.library)
        self._add_tree(python.library, python.library, keep_library(library, self._choice), mirror=True)
        home = virtual_environment(program)
        if home is not None:
            self._copier.add(os.path.join(home, b"pyvenv.cfg"))
            packages = os.path.join(home, b"lib", b"python3.%d" % python.minor, b"site-packages")
            if os.path.isdir(packages):
                self._add_tree(packages, packages, lambda _: True, mirror=True)

    def _add_tree(self, source: bytes, place: bytes, keep: Keep, *, mirror: bool) -> None:
        def wanted(path: bytes) -> bool:
            if self._pythons and os.path.basename(path) == b"__pycache__":
                return False
            return not self._excluded(path) and keep(path)

        self._copier.add_tree(source, place, wanted, mirror=mirror)

    def _excluded(self, path: bytes) -> bool:
        text, name = os.fsdecode(path), os.fsdecode(os.path.basename(path))
        return any(
            fnmatch.fnmatchcase(text, glob) or fnmatch.fnmatchcase(name, glob) for glob in self._exclude
        )

    def _add_include(self, argument: str) -> None:
        raw, place = programs.source_and_place(argument)
        source = os.path.abspath(raw)
        if os.path.isdir(source):
            self._add_tree(source, place or source, lambda _: True, mirror=place is None)
        elif os.path.isfile(source):
            self._copier.add(place or source, source=None if place is None else source)
        else:
            found = "is not a file or directory" if os.path.lexists(source) else "is not on this machine"
            raise CollectError(printable(raw), found, expected="a file or directory to include")

    def _add_glibc_extras(self) -> None:
        """Libraries that glibc itself loads by name, so that no ELF file tells of them."""
        for search in [search for search in self._searches if not search.is_musl]:
            names = [b"libgcc_s.so.1"]
            libc = search.locate(b"libc.so.6")
            if libc is not None and not _contains(libc, b"GLIBC_2.34\0"):
                names += [b"libnss_files.so.2", b"libnss_dns.so.2"]
            for path in filter(None, map(search.locate, names)):
                self._libraries.setdefault(os.path.basename(path), self._copier.add(path))

    def _add_closures_of_the_rest(self) -> None:
        """The libraries of every other ELF file that was copied: extension modules, plugins, programs."""
        missing: list[Missing] = []
        for path, copied in list(self._copier.files.items()):
            real = os.path.realpath(copied.source) if copied.source else b""
            if not copied.is_elf or real in self._done:
                continue
            self._done.add(real)
            missing += self._closure_of(real, path).missing
        self._copier.warnings += [f"not on this machine: {line}" for line in grouped(missing)]

    def _closure_of(self, real: bytes, path: bytes) -> Closure:
        try:
            search = Search(Machine(), real, library_path=_library_path())
        except ElfError as error:
            self._copier.warnings.append(f"{printable(path)}: {error}")
            return Closure({}, frozenset(), ())
        if search.interpreter is not None and os.path.isfile(search.interpreter):
            return self._add_program_closure(search)
        closure = self._searches[0].library(real) if self._searches else search.program()
        self._add_libraries(closure)
        return closure

    def _add_bytecode(self, places: Sequence[bytes]) -> None:
        if self._excluded(b"/__pycache__"):
            return
        scripts = {self._copier.inside(place) for place in places}
        for python in self._pythons.values():
            others = [other.library + b"/" for other in self._pythons.values() if other != python]

            def wanted(path: bytes, others: Sequence[bytes] = tuple(others)) -> bool:
                return path not in scripts and not path.startswith(tuple(others))

            self._copier.warnings += bytecode.settle(self._copier, python, wanted)

    def _link_what_the_loader_would_not_find(self, places: Sequence[bytes]) -> None:
        """Libraries found here by way of ``ld.so.cache``, or of a path that a program has left.

        There is no cache inside: such a library gets a link in a directory that the loader has built in.
        """
        for place in places:
            for holes in self._holes(place):
                for hole in holes:
                    path = self._libraries.get(hole.library)
                    if path is not None:
                        self._copier.add_link(self._default_directory() + b"/" + hole.library, path)
            missing, _ = self._holes(place)
            if missing:
                listed = "".join(f"\n  {line}" for line in grouped(missing))
                raise CollectError(
                    printable(place), f"would not start from the new directory, for want of:{listed}"
                )

    def _holes(self, place: bytes) -> tuple[tuple[Missing, ...], tuple[Missing, ...]]:
        report = closure_check(scan(Path(os.fsdecode(self._copier.root))), place)
        return report.missing, report.others()

    def _default_directory(self) -> bytes:
        return self._searches[0].built_in[0] if self._searches else b"/lib"

    def _collected(self, places: Sequence[bytes]) -> Collected:
        return Collected(
            programs=tuple(places),
            libraries=self._libraries,
            pythons=tuple(self._pythons.values()),
            files=len(self._copier.files),
            size=sum(copied.size for copied in self._copier.files.values()),
            warnings=tuple(self._copier.warnings),
        )


def _library_path() -> tuple[bytes, ...]:
    return tuple(_nonempty(os.environb.get(b"LD_LIBRARY_PATH", b"").split(b":")))


def _nonempty(paths: Iterable[bytes]) -> Iterator[bytes]:
    return (path for path in paths if path)


def _contains(path: bytes, text: bytes) -> bool:
    with Machine().open(path) as file:
        return text in file.read()
