"""``myst measure``, ``myst diff`` and ``myst extract``, as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import packages

from mystikos.cli import main
from mystikos.launcher import Runtime
from mystikos.package import unpack


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages, ``a`` and ``b``, that differ in a file's byte and a config key."""
    monkeypatch.setattr(Runtime, "load", packages.runtime)
    monkeypatch.chdir(tmp_path)
    packages.make(tmp_path / "one").rename(tmp_path / "a")
    (tmp_path / "one/appdir").rename(tmp_path / "appdir")
    (tmp_path / "config.json").write_bytes(unpack(tmp_path / "a").config_source)
    packages.make(tmp_path / "two", SecurityVersion=2).rename(tmp_path / "b")
    return tmp_path


def test_measure_tells_the_measurement_of_the_package_as_a_tree(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "appdir", "config.json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"MRENCLAVE {unpack(home / 'a').sigstruct.enclave_hash.hex()}  ")
    assert "├── CONFIG at 0x" in out
    assert "│   ├── etc/data  2 pages, 10360 bytes measured, 10368 hashed\n" in out
    assert "├── THREADS at 0x" in out
    assert ", 2 blocks  30 pages, 8192 bytes measured, " in out


def test_measure_gives_one_json_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "appdir", "config.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mrenclave"] == unpack(home / "a").sigstruct.enclave_hash.hex()
    assert {file["path"] for region in told["regions"] for file in region["files"]} > {"bin/app", "etc/data"}
    assert told["epc_pages"] == sum(region["pages"] for region in told["regions"])


@pytest.mark.parametrize(
    "arguments",
    [["appdir"], ["nowhere", "config.json"], ["appdir", "nowhere"], ["appdir", "a"], ["a", "config.json"]],
)
def test_measure_refuses_bad_input(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["measure", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("myst: ")
    assert "internal error" not in told.err


def test_diff_of_a_package_with_itself_is_a_yes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a", "a"]) == 0
    assert capsys.readouterr().out == "a and a are equal\n"


def test_diff_tells_what_is_behind_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a", "b"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("a and b differ\n├── MRENCLAVE, as signed\n")
    assert "├── first divergent page: 0x" in out
    assert "region CONFIG, parameter page" in out
    assert "~ SecurityVersion: 0 → 2\n" in out
    assert "~ ISVSVN: 0 → 2\n" in out


def test_diff_lists_files_with_what_changed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = packages.appdir(home / "other", {"etc/data": b"x", "etc/\x1b[31mred": b""})
    (other / "bin/app").chmod(0o700)
    assert main(["diff", "appdir", "other"]) == 1
    out = capsys.readouterr().out
    assert "~ bin/app: mode -rwxr-xr-x → -rwx------\n" in out
    assert "~ etc/data: size 10240 → 1; SHA-256 " in out
    assert "+ etc/\\x1b[31mred: added, -rw-r--r--, 0 bytes, SHA-256 e3b0c442" in out
    assert "\x1b" not in out


def test_diff_shows_people_some_of_very_many_files(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages.appdir(home / "other", {f"many/{number}": b"" for number in range(300)})
    assert main(["diff", "appdir", "other"]) == 1
    assert "… and 103 more: --json lists them all" in capsys.readouterr().out
    assert main(["diff", "appdir", "other", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["files"]) == 303


def test_diff_gives_one_json_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a", "b", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["equal"], told["kind"]) == (False, "package")
    assert told["settings"] == [{"name": "SecurityVersion", "before": 0, "after": 2}]
    assert told["first_page"]["region_before"] == "CONFIG"


@pytest.mark.parametrize(
    "arguments",
    [
        ["a"],
        ["a", "config.json"],
        ["a", "appdir"],
        ["config.json", "appdir"],
        ["a", "nowhere"],
        ["a", "torn"],
    ],
)
def test_diff_refuses_bad_input(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    (home / "torn").write_bytes((home / "a").read_bytes()[:9000])
    assert main(["diff", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("myst: ")
    assert "internal error" not in told.err


def test_extract_writes_the_parts_and_names_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "a", "-o", "parts"]) == 0
    assert capsys.readouterr().out.split() == [
        f"parts/{name}"
        for name in (
            "rootfs",
            "config.json",
            "config.cbor",
            "libmystkernel",
            "libmystcrt.so",
            "sigstruct.bin",
            "signer.pem",
            "descriptor.bin",
            "build.json",
        )
    ]
    assert main(["diff", "appdir", "parts/rootfs"]) == 0
    assert main(["measure", "parts/rootfs", "parts/config.json"]) == 0


def test_extract_takes_one_part_as_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "a", "-o", "parts", "--only", "rootfs", "--archive", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": ["parts/rootfs.cpio"], "without_set_id": []}


@pytest.mark.parametrize(
    "arguments",
    [
        ["a"],
        ["a", "-o", "appdir"],
        ["a", "-o", "config.json"],
        ["a", "-o", "new", "--only", "keys"],
        ["nowhere", "-o", "new"],
        ["config.json", "-o", "new"],
        ["appdir", "-o", "new"],
    ],
)
def test_extract_refuses_bad_input(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    before = sorted(home.rglob("*"))
    assert main(["extract", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("myst: ")
    assert "internal error" not in told.err
    assert sorted(home.rglob("*")) == before
