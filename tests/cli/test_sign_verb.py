"""``myst sign-sgx``: a directory with the package and its parts, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.packages import PackageForge

from mystikos.cli import main
from mystikos.formats import atomic
from mystikos.formats.descriptor import Section
from mystikos.package import unpack

INPUTS = {"appdir", "private.pem", "config.json"}
SIGN = ["sign-sgx", "appdir", "private.pem", "config.json"]
PARTS = {
    "bin/app",
    "config.json",
    "lib/libmystcrt.so",
    "lib/libmystkernel",
    "pubkeys",
    "rootfs",
    "roothashes",
}


@pytest.fixture
def home(workplace: Path, signing_key: Path) -> Path:
    shutil.copy(signing_key, "private.pem")
    return workplace


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


def content(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in files(directory)}


@pytest.mark.parametrize("verb", ["sign-sgx", "sign"])
def test_the_directory_holds_the_package_and_its_parts(home: Path, verb: str) -> None:
    assert main([verb, *SIGN[1:]]) == 0
    assert names(home) == {*INPUTS, "app.signed"}
    assert files(home / "app.signed") == PARTS

    assert main(["package-sgx", *SIGN[1:]]) == 0
    package = unpack(home / "app")
    found = content(home / "app.signed")
    assert found["bin/app"] == (home / "app").read_bytes()
    assert found["lib/libmystkernel"] == package.section(Section.KERNEL)
    assert found["lib/libmystcrt.so"] == package.section(Section.CRT)
    assert found["rootfs"] == package.section(Section.ROOTFS)
    assert found["config.json"] == (home / "config.json").read_bytes()
    assert (found["pubkeys"], found["roothashes"]) == (b"", b"")


def test_modes_are_those_of_a_program_and_of_files(home: Path) -> None:
    before = os.umask(0o027)
    try:
        assert main(SIGN) == 0
    finally:
        os.umask(before)
    assert (home / "app.signed/bin/app").stat().st_mode & 0o777 == 0o750
    assert (home / "app.signed/rootfs").stat().st_mode & 0o777 == 0o640
    assert (home / "app.signed").stat().st_mode & 0o777 == 0o750


def test_one_line_tells_the_measurement(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SIGN) == 0
    mrenclave = unpack(home / "app.signed/bin/app").sigstruct.enclave_hash.hex()
    assert capsys.readouterr().out == f"app.signed: new signed directory, MRENCLAVE {mrenclave}\n"


def test_archives_outdir_and_date_are_as_for_packages(home: Path) -> None:
    assert main(["mkcpio", "appdir", "root.cpio"]) == 0
    options = ["--date=2026-11-23"]
    assert main(["sign-sgx", "root.cpio", *SIGN[2:], *options, "-d", "one"]) == 0
    assert main([*SIGN, *options, "--outdir=two"]) == 0
    assert content(home / "one") == content(home / "two")
    assert unpack(home / "one/bin/app").sigstruct.date == 0x20261123


def test_another_signer_makes_the_same_directory(home: Path) -> None:
    subprocess.run(
        ["openssl", "rsa", "-in", "private.pem", "-pubout", "-out", "public.pem"],
        check=True,
        capture_output=True,
    )
    command = ["--signing-command=openssl dgst -sha256 -sign private.pem", "--pubkey-file=public.pem"]
    assert main(["sign-sgx", "appdir", "config.json", *command, "-d", "one"]) == 0
    assert main([*SIGN, "-d", "two"]) == 0
    assert content(home / "one") == content(home / "two")


# -- a second run


def test_a_second_run_replaces_the_directory(home: Path) -> None:
    assert main(SIGN) == 0
    old = (home / "app.signed").stat().st_ino
    (home / "appdir/etc/data").write_bytes(b"new")
    assert main(SIGN) == 0
    assert (home / "app.signed").stat().st_ino != old
    assert names(home) == {*INPUTS, "app.signed"}
    assert main(["verify", "app.signed"]) == 0
    assert b"new" in (home / "app.signed/rootfs").read_bytes()


def test_an_empty_directory_and_a_damaged_one_are_replaced(home: Path) -> None:
    (home / "app.signed").mkdir()
    assert main(SIGN) == 0
    with (home / "app.signed/bin/app").open("r+b") as file:
        file.truncate(60_000)
    assert main(SIGN) == 0
    assert main(["verify", "app.signed"]) == 0


def test_where_names_cannot_be_exchanged_the_old_one_is_moved_aside(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError(22, "Invalid argument")

    assert main(SIGN) == 0
    monkeypatch.setattr(atomic, "_rename_exchange", refuse)
    (home / "appdir/etc/data").write_bytes(b"new")
    assert main(SIGN) == 0
    assert names(home) == {*INPUTS, "app.signed"}
    assert b"new" in (home / "app.signed/rootfs").read_bytes()


OTHERS = {
    "a directory of somebody's": lambda d: (d / "thesis.txt").write_text("x"),
    "one with a file more": lambda d: (main([*SIGN, "-d", str(d)]), (d / "notes").write_text("x")),
    "one with a second program": lambda d: (main([*SIGN, "-d", str(d)]), (d / "bin/two").write_text("x")),
    "one with another program": lambda d: (
        main([*SIGN, "-d", str(d)]),
        (d / "bin/app").write_bytes(b"#!/bin/sh\n"),
    ),
    "one with a library more": lambda d: (main([*SIGN, "-d", str(d)]), (d / "lib/libc.so").write_text("")),
    "one without a part": lambda d: (main([*SIGN, "-d", str(d)]), (d / "rootfs").unlink()),
    "one with a link for a part": lambda d: (
        main([*SIGN, "-d", str(d)]),
        (d / "rootfs").unlink(),
        (d / "rootfs").symlink_to("/etc/passwd"),
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_any_other_directory_is_left_alone(home: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    (home / "out").mkdir()
    OTHERS[kind](home / "out")
    before = content(home / "out") if kind != "one with a link for a part" else files(home / "out")
    capsys.readouterr()
    assert main([*SIGN, "-d", "out"]) == 2
    assert "out: is no signed directory: " in capsys.readouterr().err
    assert before == (content(home / "out") if isinstance(before, dict) else files(home / "out"))
    assert not any(name.startswith(".myst") for name in names(home))


BAD = {
    "a file": (["-d", "config.json"], "config.json"),
    "the application directory": (["-d", "appdir"], "appdir"),
    "inside the application directory": (["-d", "appdir/x"], "inside the application directory"),
    "the working directory": (["-d", "."], ".: is no signed directory"),
    "in no directory": (["-d", "absent/out"], "absent/out"),
    "a root hash": (["--roothash=x"], "not built yet"),
    "a disk key": (["--pubkey=x"], "not built yet"),
    "a bad date": (["--date=x"], "YYYY-MM-DD"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_usage_is_one_clear_message_and_no_directory(
    home: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    options, told = BAD[kind]
    assert main([*SIGN, *options]) == 2
    out, err = capsys.readouterr()
    assert (out, told in err) == ("", True)
    assert names(home) == INPUTS


def test_a_config_with_mistakes_leaves_the_old_directory(home: Path) -> None:
    assert main(SIGN) == 0
    before = content(home / "app.signed")
    (home / "appdir/bin/app").unlink()
    assert main(SIGN) == 2
    assert content(home / "app.signed") == before
    assert names(home) == {*INPUTS, "app.signed"}


SIGN_PROCESS = """
import sys
from mystikos.cli import main
from mystikos.launcher import Runtime
from tests.support import packages
Runtime.load = packages.runtime
sys.exit(main(["sign-sgx", "appdir", "private.pem", "config.json"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_the_old_directory_whole(home: Path, number: signal.Signals) -> None:
    assert main(SIGN) == 0
    before = content(home / "app.signed")
    with (home / "appdir/large").open("wb") as large:
        large.truncate(3 << 30)

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SIGN_PROCESS], cwd=home, env=environment, stderr=subprocess.DEVNULL
    )
    _wait_for_output(process)
    process.send_signal(number)
    assert process.wait(60) in (-number, 130)
    assert content(home / "app.signed") == before
    if number != signal.SIGKILL:
        assert names(home) == {*INPUTS, "app.signed"}


def _wait_for_output(process: subprocess.Popen[bytes]) -> None:
    """Until the process has written some of the package."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for line in Path(f"/proc/{process.pid}/io").read_text().splitlines():
            name, _, count = line.partition(": ")
            if name == "wchar" and int(count) > 50_000_000:
                return
        time.sleep(0.01)
    raise AssertionError("nothing was written")


# -- what the other verbs make of it


@pytest.mark.parametrize("part", sorted(PARTS - {"bin/app"}))
def test_verify_compares_every_part(home: Path, capsys: pytest.CaptureFixture[str], part: str) -> None:
    assert main(SIGN) == 0
    path = home / "app.signed" / part
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if data else b"x")
    capsys.readouterr()
    assert main(["verify", "app.signed", "--json"]) == 1
    told = {check["name"]: check["problem"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert told["directory"] == f"{part} is not what the package in bin holds"
    assert told["measurement"] is None


def test_verify_judges_the_package_in_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SIGN) == 0
    assert main(["verify", "app.signed"]) == 0
    assert "ok    directory: the files beside the package are its parts" in capsys.readouterr().out
    assert main(["verify", "app.signed", "--rebuild", "--appdir=appdir"]) == 0

    forge = PackageForge.of(home / "app.signed/bin/app").flip(Section.ROOTFS, 4000)
    forge.write(home).rename(home / "app.signed/bin/app")
    capsys.readouterr()
    assert main(["verify", "app.signed"]) == 1
    assert "FAIL  measurement" in capsys.readouterr().out


def test_inspect_extract_and_diff_take_it_for_its_package(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SIGN) == 0
    assert main(["package-sgx", *SIGN[1:]]) == 0
    capsys.readouterr()
    told = []
    for path in ("app", "app.signed"):
        assert main(["inspect", path, "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert main(["diff", "app", "app.signed"]) == 0
    assert main(["extract", "app.signed", "-o", "parts", "--archive"]) == 0
    assert (home / "parts/rootfs.cpio").read_bytes() == (home / "app.signed/rootfs").read_bytes()


def test_a_package_of_its_root_file_system_is_the_one_in_it(home: Path) -> None:
    assert main(SIGN) == 0
    assert main(["package-sgx", "app.signed", "private.pem", "app.signed/config.json", "-o", "again"]) == 0
    assert (home / "again").read_bytes() == (home / "app.signed/bin/app").read_bytes()


@pytest.mark.parametrize("verb", ["verify", "extract -o parts"])
def test_other_directories_are_no_packages(home: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert main([*verb.split(), "appdir"]) == 2
    assert "appdir: is no signed directory" in capsys.readouterr().err
