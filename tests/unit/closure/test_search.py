"""The search agrees with the loaders of this machine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import programs

from mystikos.closure.search import Script, Search, shebang
from mystikos.closure.trees import Machine


def _found(program: Path, library_path: tuple[Path, ...] = ()) -> dict[str, str | None]:
    """Library → real path (None: missing), as this project finds them."""
    paths = tuple(os.fsencode(path) for path in library_path)
    real = os.fsencode(program.resolve())
    closure = Search(Machine(), real, library_path=paths).program()
    found = {name.decode(): os.path.realpath(os.fsdecode(path)) for name, path in closure.libraries.items()}
    return found | {hole.library.decode(): None for hole in closure.missing}


def _loaded(program: Path, library_path: tuple[Path, ...] = ()) -> dict[str, str | None]:
    """Library → real path, as the loader tells."""
    environment = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_LIBRARY_PATH": ":".join(map(str, library_path))}
    output = subprocess.run([program], env=environment, capture_output=True, text=True, check=False).stdout
    loaded: dict[str, str | None] = {}
    # Variants for newer processors are not collected: a package runs on others, too.
    output = re.sub(r"/glibc-hwcaps/[^/]+", "", output)
    for name, path in re.findall(r"^\t(\S+) => (not found|/\S+)", output, re.MULTILINE):
        loaded[name] = None if path == "not found" else os.path.realpath(path)
    assert loaded, output
    return loaded


@pytest.mark.parametrize("name", ["python3", "git", "bash", "perl", "gcc", "openssl", "ssh", "gdb", "tar"])
def test_the_libraries_of_installed_programs_are_those_the_loader_takes(name: str) -> None:
    program = Path("/usr/bin") / name
    if not program.exists():
        pytest.skip(f"{name} is not installed")

    assert _found(program) == _loaded(program)


def _old(path: str) -> str:
    return f"-Wl,--disable-new-dtags,-rpath,{path}"


def _new(path: str) -> str:
    return f"-Wl,--enable-new-dtags,-rpath,{path}"


def _program(folder: Path, *flags: str) -> Path:
    return programs.build(programs.HELLO, folder / "bin/program", "-Wl,--no-as-needed", *flags)


def _origin_in_runpath(folder: Path) -> Path:
    programs.library(folder / "lib/libone.so")
    return _program(folder, "-L../lib", "-lone", _new("$ORIGIN/../lib"))


def _origin_in_braces(folder: Path) -> Path:
    programs.library(folder / "lib/libone.so")
    return _program(folder, "-L../lib", "-lone", _old("${ORIGIN}/../lib"))


def _rpath_serves_what_libraries_need(folder: Path) -> Path:
    two = programs.library(folder / "lib/libtwo.so")
    programs.library(folder / "lib/libone.so", str(two))
    return _program(folder, "-L../lib", "-lone", _old("$ORIGIN/../lib"))


def _runpath_does_not_serve_what_libraries_need(folder: Path) -> Path:
    two = programs.library(folder / "lib/libtwo.so")
    programs.library(folder / "lib/libone.so", "-L.", "-ltwo")
    return _program(folder, "-L../lib", "-lone", _new("$ORIGIN/../lib"), f"-Wl,-rpath-link,{two.parent}")


def _library_with_runpath_ignores_the_rpath_of_the_program(folder: Path) -> Path:
    programs.library(folder / "lib/libtwo.so")
    (folder / "empty").mkdir()
    programs.library(folder / "lib/libone.so", "-L.", "-ltwo", _new("$ORIGIN/../empty"))
    return _program(folder, "-L../lib", "-lone", _old("$ORIGIN/../lib"), f"-Wl,-rpath-link,{folder}/lib")


def _name_with_a_slash(folder: Path) -> Path:
    one = folder / "lib/libone.so"
    programs.library(one, f"-Wl,-soname,{one}")
    return _program(folder, str(one))


def _missing(folder: Path) -> Path:
    programs.library(folder / "lib/libone.so")
    return _program(folder, "-L../lib", "-lone")


def _found_once_stays_found(folder: Path) -> Path:
    """The second library would find another libthree; loaders keep the first."""
    programs.library(folder / "a/libthree.so")
    programs.library(folder / "b/libthree.so")
    programs.library(folder / "lib/libone.so", "-L../a", "-lthree", _new("$ORIGIN/../a"))
    programs.library(folder / "lib/libtwo.so", "-L../b", "-lthree", _new("$ORIGIN/../b"))
    return _program(folder, "-L../lib", "-lone", "-ltwo", _new("$ORIGIN/../lib"))


def _foreign_library_first(folder: Path) -> Path:
    """A directory with a library of another machine is passed over."""
    programs.library(folder / "lib/libone.so")
    foreign = bytearray((folder / "lib/libone.so").read_bytes())
    foreign[18] = 0xB7  # AArch64
    (folder / "foreign").mkdir()
    (folder / "foreign/libone.so").write_bytes(foreign)
    return _program(folder, "-L../lib", "-lone", _new("$ORIGIN/../foreign:$ORIGIN/../lib"))


@pytest.mark.parametrize(
    "scenario",
    [
        _origin_in_runpath,
        _origin_in_braces,
        _rpath_serves_what_libraries_need,
        _runpath_does_not_serve_what_libraries_need,
        _library_with_runpath_ignores_the_rpath_of_the_program,
        _name_with_a_slash,
        _missing,
        _found_once_stays_found,
        _foreign_library_first,
    ],
)
def test_paths_in_programs_are_searched_as_the_loader_does(
    tmp_path: Path, scenario: Callable[[Path], Path]
) -> None:
    program = scenario(tmp_path)

    found, loaded = _found(program), _loaded(program)

    # The trace tells a name with a slash in another form.
    assert {name: path for name, path in found.items() if "/" not in name} == loaded
    assert all(path for name, path in found.items() if "/" in name)


@pytest.mark.parametrize("tag", [_old, _new])
def test_library_path_comes_between_rpath_and_runpath(tmp_path: Path, tag: Callable[[str], str]) -> None:
    programs.library(tmp_path / "lib/libone.so")
    other = programs.library(tmp_path / "other/libone.so").parent
    program = _program(tmp_path, "-L../lib", "-lone", tag("$ORIGIN/../lib"))

    found = _found(program, (other,))

    assert found == _loaded(program, (other,))
    assert found["libone.so"] == str((tmp_path / ("lib" if tag is _old else "other") / "libone.so").resolve())


def test_musl_programs_find_libraries_by_musl_rules(tmp_path: Path) -> None:
    """For musl, a RUNPATH serves what libraries need, and the libc is the loader itself."""
    programs.library(tmp_path / "lib/libtwo.so")
    programs.library(tmp_path / "lib/libone.so", "-L.", "-ltwo")
    program = programs.build(
        programs.HELLO, tmp_path / "bin/program", "-L../lib", "-Wl,--no-as-needed", "-lone",
        _new("$ORIGIN/../lib"), f"-Wl,-rpath-link,{tmp_path}/lib", compiler="musl-gcc",
    )  # fmt: skip

    search = Search(Machine(), os.fsencode(program))
    closure = search.program()

    assert search.is_musl
    assert sorted(closure.libraries) == [b"libone.so", b"libtwo.so"]
    assert closure.missing == ()
    assert subprocess.run([program], capture_output=True, check=True).stdout.startswith(b"hello")


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    program = programs.build(programs.HELLO, tmp_path / "static", "-static")
    closure = Search(Machine(), os.fsencode(program)).program()
    assert (closure.libraries, closure.missing) == ({}, ())


@pytest.mark.parametrize(
    ("head", "script"),
    [
        (b"#!/bin/sh\nexit\n", Script(b"/bin/sh", b"")),
        (b"#! /usr/bin/env  python3 -u \n", Script(b"/usr/bin/env", b"python3 -u")),
        (b"#!/bin/sh\t-e", Script(b"/bin/sh", b"-e")),
        (b"#!\n", Script(b"", b"")),
        (b"\x7fELF", None),
        (b"", None),
    ],
)
def test_script_lines_are_read_as_the_kernel_does(head: bytes, script: Script | None) -> None:
    assert shebang(head) == script
