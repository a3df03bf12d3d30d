"""``myst inspect``, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import packages
from tests.support.machine_code import elf

from mystikos import inspection
from mystikos.cli import main

GETPID = b"\xb8\x27\0\0\0\x0f\x05\xc3"
TIGHT = b"\xff\xd0\x0f\x05\xc3"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    packages.appdir(tmp_path / "appdir", {"lib/getpid": elf(GETPID + TIGHT), "lib/quiet": elf(b"\xc3")})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_directory_tells_what_is_bound_and_what_traps(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "appdir"]) == 0
    out = capsys.readouterr().out
    assert "lib/getpid           1        1" in out
    assert "1 the instructions around it cannot be moved" in out
    assert "1 more ELF file has no system calls." in out


def test_sites_are_listed_with_their_instructions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "appdir", "--sites"]) == 0
    out = capsys.readouterr().out
    assert "0x1005  mov eax, 0x27; syscall" in out
    assert "0x100a  traps: the instructions around it cannot be moved" in out


def test_a_package_tells_its_identity_first(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = packages.make(home / "made")
    for verb in ("inspect", "dump", "dump-sgx"):
        assert main([verb, str(package)]) == 0
        out = capsys.readouterr().out
        assert out.startswith("Application       /bin/app\nMRENCLAVE  ")
        assert "thread control structures      2      2  yes" in out


def test_json_is_for_programs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "appdir", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["bound"], facts["trapped"]) == (1, 2)
    assert all(file["sites"] == [] for file in facts["files"])

    assert main(["inspect", "appdir", "--json", "--sites"]) == 0
    files = {file["path"]: file for file in json.loads(capsys.readouterr().out)["files"]}
    assert [site["bound"] for site in files["lib/getpid"]["sites"]] == [True, False]


def test_a_directory_without_programs_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "empty").mkdir()
    assert main(["inspect", "empty"]) == 0
    assert capsys.readouterr().out == "There are no ELF files.\n"


def test_the_system_calls_of_the_kernel_are_listed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = home / "syscalls.json"
    table.write_text('[{"number": 39, "name": "getpid", "support": "full", "note": ""}]')
    monkeypatch.setattr(inspection.syscalls, "__defaults__", (table,))
    assert main(["inspect", "--syscalls"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "    39  getpid  full"


@pytest.mark.parametrize("arguments", [[], ["appdir", "--syscalls"], ["nowhere"], ["appdir/lib/quiet"]])
def test_wrong_usage_and_wrong_files_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["inspect", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("myst: ")
    assert "Traceback" not in captured.err
