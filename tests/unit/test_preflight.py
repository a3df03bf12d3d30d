"""What a config names must be in the root file system, and be of the right kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mystikos.config import parse
from mystikos.preflight import preflight
from mystikos.rootfs import scan

ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" + bytes(100)


@pytest.fixture
def appdir(tmp_path: Path) -> Path:
    root = tmp_path / "appdir"
    for folder in ("bin", "data"):
        (root / folder).mkdir(parents=True)
    _program(root / "bin/hello", ELF)
    (root / "notes").write_text("notes")
    return root


def _program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


def problems(appdir: Path, **settings: object) -> list[str]:
    document = json.dumps({"ApplicationPath": "/bin/hello", **settings}).encode()
    return [str(problem) for problem in preflight(parse(document, "config.json"), scan(appdir))]


def test_a_program_and_directories_that_are_there_are_fine(appdir: Path) -> None:
    assert problems(appdir, CurrentWorkingDirectory="/data") == []


def test_what_a_package_would_ignore_is_refused(appdir: Path) -> None:
    secret = {"ID": "a", "SrsAddress": "https://b", "LocalPath": "/c", "ClientLib": "/d"}
    mount = {"Target": "/data", "Type": "hostfs"}

    found = problems(appdir, Mount=mount, Secret=secret)

    assert [problem.split(": ", 1)[1] for problem in found] == [
        "Mount: mounting is not built yet",
        "Secret: fetching secrets is not built yet",
    ]


def test_a_program_may_be_behind_links_inside_the_appdir(appdir: Path) -> None:
    (appdir / "sbin").symlink_to("/bin")
    (appdir / "run").symlink_to("../../sbin/hello")

    assert problems(appdir, ApplicationPath="/run") == []


def test_a_link_out_of_the_appdir_is_not_followed_out(appdir: Path) -> None:
    (appdir / "sh").symlink_to(shutil.which("sh") or "/bin/sh")

    assert problems(appdir, ApplicationPath="/sh") == [
        "config.json:1:21: ApplicationPath: /sh is not in the appdir, "
        "expected an x86-64 ELF program or a #! script"
    ]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"hello", "is no program"),
        (b"\x7fELF", "is an ELF file of another kind or machine"),
        (ELF.replace(b"\x3e", b"\xb7"), "is an ELF file of another kind or machine"),
        (b"\x7fELF\x01" + ELF[5:], "is an ELF file of another kind or machine"),
        (ELF[:16] + b"\x01" + ELF[17:], "is an ELF file of another kind or machine"),
        (b"#!\n", 'begins with "#!", expected #! and an absolute path'),
        (b"#!bin/sh\n", 'begins with "#!bin/sh", expected #! and an absolute path'),
    ],
)
def test_what_cannot_run_is_refused(appdir: Path, content: bytes, found: str) -> None:
    _program(appdir / "bin/hello", content)

    (problem,) = problems(appdir)

    assert problem.startswith(f"config.json:1:21: ApplicationPath: /bin/hello {found}")


def test_a_script_needs_its_interpreter(appdir: Path) -> None:
    _program(appdir / "script", b"#! /bin/hello -x\nbody\n")
    assert problems(appdir, ApplicationPath="/script") == []

    _program(appdir / "script", b"#!/usr/bin/env python3\n")
    (problem,) = problems(appdir, ApplicationPath="/script")
    assert "/usr/bin/env is not in the appdir" in problem


def test_scripts_that_run_each_other_end(appdir: Path) -> None:
    _program(appdir / "a", b"#!/b\n")
    _program(appdir / "b", b"#!/a\n")

    (problem,) = problems(appdir, ApplicationPath="/a")

    assert "nested too deeply" in problem


def test_a_program_without_the_executable_bit_is_told_how_to_get_it(appdir: Path) -> None:
    (appdir / "bin/hello").chmod(0o644)

    (problem,) = preflight(parse(b'{"ApplicationPath": "/bin/hello"}', "config.json"), scan(appdir))

    assert problem.found == "/bin/hello is not executable"
    assert problem.hint == "chmod +x APPDIR/bin/hello"


def test_a_program_in_another_place_is_pointed_out(appdir: Path) -> None:
    (problem,) = preflight(parse(b'{"ApplicationPath": "/usr/bin/hello"}', "config.json"), scan(appdir))

    assert problem.hint == "there is /bin/hello"


def test_directories_that_are_missing_or_files_are_all_told(appdir: Path) -> None:
    found = problems(
        appdir,
        ApplicationPath="/data",
        CurrentWorkingDirectory="/notes",
        Mount=[{"Target": "/none", "Type": "hostfs"}],
    )

    assert [problem.split(": ", 2)[1:] for problem in found] == [
        ["Mount", "mounting is not built yet"],
        ["ApplicationPath", "/data is no file, expected an x86-64 ELF program or a #! script"],
        ["CurrentWorkingDirectory", "/notes is no directory, expected a directory"],
        ["Mount[0].Target", "/none is not in the appdir, expected a directory"],
    ]
