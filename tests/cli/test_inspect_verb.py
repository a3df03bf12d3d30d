"""``myst inspect``, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import packages
from tests.support.machine_code import elf

from mystikos import inspection
from mystikos.cli import main
from mystikos.inspection import calls

GETPID = b"\xb8\x27\0\0\0\x0f\x05\xc3"
TIGHT = b"\xff\xd0\x0f\x05\xc3"
CPUID = b"\x0f\xa2\xc3"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {"lib/getpid": elf(GETPID + TIGHT), "lib/quiet": elf(b"\xc3"), "lib/cpuid": elf(CPUID)}
    packages.appdir(tmp_path / "appdir", files)
    (tmp_path / "appdir/link").symlink_to("lib/quiet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_directory_tells_what_is_bound_and_what_traps(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "appdir"]) == 0
    out = capsys.readouterr().out
    assert "4 files, 3 directories, 1 symbolic link; " in out
    assert "lib/getpid      1        1" in out
    assert "1 the instructions around it cannot be moved" in out
    assert "2 more ELF files have none." in out


def test_illegal_instructions_are_counted_and_explained(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "appdir"]) == 0
    out = capsys.readouterr().out
    assert "lib/cpuid  1 cpuid\n" in out
    assert "cpuid: done by the kernel, at the cost of an exception" in out
    assert "0x1000" not in out


def test_sites_are_listed_with_their_instructions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "appdir", "--sites"]) == 0
    out = capsys.readouterr().out
    assert "0x1005  mov eax, 0x27; syscall" in out
    assert "0x100a  traps: the instructions around it cannot be moved" in out
    assert "0x1000  cpuid        0fa2" in out


def test_files_are_listed_with_their_digests(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "appdir"]) == 0
    assert "(--files lists them)" in capsys.readouterr().out

    assert main(["inspect", "appdir", "--files"]) == 0
    out = capsys.readouterr().out
    (app,) = [line for line in out.splitlines() if line.endswith("  bin/app")]
    assert app.startswith("0755  file")
    assert len(app.split()[4]) == 64
    assert "link → lib/quiet" in out


def test_a_package_tells_its_identity_first_and_all_the_rest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = packages.make(home / "made")
    assert main(["inspect", str(package)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Application       /bin/app\nMRENCLAVE  ")
    lines = [line.split() for line in out.splitlines()]
    assert ["ProductID", "7", "given"] in lines
    assert ["MemorySize", "2097152", "(2m)", "given"] in lines
    assert ["threads", "30", "120", "KiB"] in [line[:4] for line in lines]
    assert ["thread", "control", "structures"] in [line[:3] for line in lines]
    assert ["kernel", "another", "build"] in [[*line[:1], *line[2:4]] for line in lines]
    assert any(line[:1] == [".mystrootfs"] for line in lines)


def test_json_is_everything_for_programs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "appdir", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["code"]["bound"], facts["code"]["trapped"]) == (1, 2)
    files = {file["path"]: file for file in facts["code"]["files"]}
    assert [site["bound"] for site in files["lib/getpid"]["sites"]] == [True, False]
    assert [site["name"] for site in files["lib/cpuid"]["illegal_sites"]] == ["cpuid"]
    assert {file["path"] for file in facts["rootfs"]["files"]} >= {"bin/app", ".", "link"}


def test_the_same_package_gives_the_same_output_under_another_name(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = packages.make(home / "made")
    (home / "copy").write_bytes(package.read_bytes())
    outputs = set()
    for path in (package, home / "copy"):
        assert main(["inspect", str(path), "--json"]) == 0
        outputs.add(capsys.readouterr().out)
    assert len(outputs) == 1


def test_a_directory_without_programs_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "empty").mkdir()
    assert main(["inspect", "empty"]) == 0
    assert "There are no ELF files.\n" in capsys.readouterr().out


def test_the_system_calls_of_the_kernel_are_listed(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = home / "syscalls.json"
    table.write_text('[{"number": 39, "name": "getpid", "support": "full", "note": ""}]')
    monkeypatch.setattr(calls.syscalls, "__defaults__", (table,))
    assert inspection.syscalls is calls.syscalls
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


def test_the_report_is_one_file_and_standard_output_stays_with_the_document(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = packages.make(home / "made")
    assert main(["inspect", str(package), "--html", "report.html"]) == 0
    page = (home / "report.html").read_bytes()
    assert capsys.readouterr().out == f"report.html: new report, {len(page)} bytes\n"

    assert main(["inspect", str(package), "--html", "again.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["application"] == "/bin/app"
    assert (home / "again.html").read_bytes() == page


def test_a_report_does_not_replace_what_it_is_about(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = packages.make(home / "made")
    before = package.read_bytes()
    assert main(["inspect", str(package), "--html", str(package)]) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert package.read_bytes() == before
    assert main(["inspect", "appdir", "--html", "nowhere/report.html"]) == 2
