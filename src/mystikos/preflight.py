"""Stage 2a: is what the config names in the root file system, and can it run?

>>> preflight(config, rootfs.scan(Path("appdir")))  # doctest: +SKIP
(Problem(file='config.json', line=9, column=24, subject='ApplicationPath', found='bin/hello is not …'),)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mystikos.closure import closure_check, grouped
from mystikos.config import Config
from mystikos.config.mistakes import place_of
from mystikos.errors import Problem, RootFsError, clip
from mystikos.formats.jsonc import Place
from mystikos.rootfs import Entry, RootFs, printable

_SCRIPT_DEPTH = 4  # scripts that run scripts, as execve(2) allows
_SCRIPT_LINE = 255  # bytes of "#!…" that Linux reads
_ELF = struct.Struct("<4sBB10xHH")  # magic, class, data, …, type, machine: elf(5)
_ELFCLASS64, _ELFDATA2LSB, _ET_EXEC, _ET_DYN, _EM_X86_64 = 2, 1, 2, 3, 62
_A_PROGRAM = "an x86-64 ELF program or a #! script"

# (subject, found, expected, hint)
_Finding = tuple[str, str, str | None, str | None]


def preflight(config: Config, rootfs: RootFs) -> tuple[Problem, ...]:
    """Everything in ``config`` that does not fit ``rootfs``."""
    problems = []
    for subject, found, expected, hint in _findings(config, rootfs):
        place = place_of(config.places, subject, Place(0, 0))
        problems.append(Problem(config.name, place.line, place.column, subject, found, expected, hint))
    return tuple(problems)


def _findings(config: Config, rootfs: RootFs) -> Iterator[_Finding]:
    yield from _not_built_yet(config)
    wrong = list(_program(config.application_path, rootfs))
    yield from wrong or _libraries(config, rootfs)
    yield from _directory("CurrentWorkingDirectory", config.current_working_directory, rootfs)
    for i, mount in enumerate(config.mount):
        yield from _directory(f"Mount[{i}].Target", mount.target, rootfs)


def _not_built_yet(config: Config) -> Iterator[_Finding]:
    """Settings that a package would have to ignore in silence: files would be missing at run time."""
    if config.mount:
        yield "Mount", "mounting is not built yet", None, "put the files into the appdir, and remove Mount"
    if config.secret:
        yield "Secret", "fetching secrets is not built yet", None, "remove Secret"


def _directory(subject: str, path: bytes, rootfs: RootFs) -> Iterator[_Finding]:
    entry = rootfs.lookup(path)
    if entry is None:
        yield subject, f"{_shown(path)} is not in the appdir", "a directory", f"mkdir -p APPDIR{_shown(path)}"
    elif not entry.is_directory:
        yield subject, f"{_shown(path)} is no directory", "a directory", None


def _program(path: bytes, rootfs: RootFs, depth: int = 0) -> Iterator[_Finding]:
    """What is wrong with the program at ``path``; of a script, also with what interprets it."""
    subject = "ApplicationPath"
    entry = rootfs.lookup(path)
    if entry is None:
        yield subject, f"{_shown(path)} is not in the appdir", _A_PROGRAM, _elsewhere(path, rootfs)
    elif not entry.is_file:
        yield subject, f"{_shown(path)} is no file", _A_PROGRAM, None
    elif not entry.mode & 0o111:
        yield (
            subject,
            f"{_shown(path)} is not executable",
            "mode 0755 or alike",
            f"chmod +x APPDIR{_shown(path)}",
        )
    elif (interpreter := _interpreter(entry)) is None:
        if not _is_program(entry):
            yield subject, f"{_shown(path)} is {_kind(entry)}", _A_PROGRAM, None
    elif not interpreter.startswith(b"/"):
        found = f'{_shown(path)} begins with "#!{_shown(interpreter)}"'
        yield subject, found, "#! and an absolute path", None
    elif depth == _SCRIPT_DEPTH:
        yield subject, f"{_shown(path)} is run by scripts nested too deeply", _A_PROGRAM, None
    else:
        yield from _program(interpreter, rootfs, depth + 1)


def _libraries(config: Config, rootfs: RootFs) -> Iterator[_Finding]:
    """What the program's loader would not find."""
    try:
        report = closure_check(rootfs, config.application_path, config.environment_variables)
    except RootFsError as error:
        yield "ApplicationPath", f"{error.where}: {error.found}", error.expected, error.hint
        return
    for line in grouped(report.missing):
        yield (
            "ApplicationPath",
            f"the appdir lacks {line}",
            "every library that the program needs",
            "`myst collect` brings a program with its libraries; "
            "LD_LIBRARY_PATH in EnvironmentVariables names more directories to search",
        )


def _interpreter(entry: Entry) -> bytes | None:
    """What stands after ``#!``; None when the file does not begin so (execve(2))."""
    line = entry.read(0, _SCRIPT_LINE).split(b"\n", 1)[0]
    words = line[2:].split()
    return (words[0] if words else b"") if line.startswith(b"#!") else None


def _is_program(entry: Entry) -> bool:
    head = entry.read(0, _ELF.size)
    if len(head) < _ELF.size:
        return False
    magic, word_size, order, kind, machine = _ELF.unpack(head)
    identity = (magic, word_size, order, machine)
    return identity == (b"\x7fELF", _ELFCLASS64, _ELFDATA2LSB, _EM_X86_64) and kind in (_ET_EXEC, _ET_DYN)


def _kind(entry: Entry) -> str:
    head = entry.read(0, _ELF.size)
    if not head:
        return "empty"
    return "an ELF file of another kind or machine" if head.startswith(b"\x7fELF") else "no program"


def _elsewhere(path: bytes, rootfs: RootFs) -> str | None:
    """Where in the appdir a file of that name is, if it is anywhere."""
    name = path.rsplit(b"/", 1)[-1]
    same = [
        entry.path for entry in rootfs.entries if entry.is_file and entry.path.rsplit(b"/", 1)[-1] == name
    ]
    return f"there is {_shown(b'/' + same[0])}" if same else None


def _shown(path: bytes) -> str:
    return clip(printable(path))
