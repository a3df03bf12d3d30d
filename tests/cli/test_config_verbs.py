"""``myst init``, ``keygen``, ``check`` and ``schema``, as a person uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from tests.support import elves

from mystikos.cli import main
from mystikos.config import parse
from mystikos.signers import PemSigner

CONFIG = '{"ApplicationPath": "/bin/sh", "ProductID": 1, "SecurityVersion": 1%s}\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def appdir(home: Path) -> Path:
    (home / "appdir/bin").mkdir(parents=True)
    (home / "appdir/bin/sh").write_bytes(elves.application())
    (home / "appdir/bin/sh").chmod(0o755)
    return home / "appdir"


def write(home: Path, more: str = "") -> None:
    (home / "config.json").write_text(CONFIG % more)


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- init


def test_init_makes_a_config_and_a_key_that_work(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--application-path", "/bin/app"]) == 0
    assert main(["check", "config.json"]) == 0

    assert parse((home / "config.json").read_bytes(), "config.json").application_path == b"/bin/app"
    assert PemSigner.load(home / "private.pem", None)
    assert (home / "private.pem").stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().err == ""


def test_init_overwrites_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.json").write_text("mine")
    assert main(["init"]) == 2
    assert capsys.readouterr().err.startswith("myst: config.json: exists already")
    assert _names(home) == ["config.json"]

    (home / "config.json").unlink()
    (home / "private.pem").write_text("my key")
    assert main(["init"]) == 0
    assert "private.pem: kept" in capsys.readouterr().out
    assert (home / "private.pem").read_text() == "my key"


def test_init_refuses_a_path_that_a_config_cannot_have(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--application-path", "bin/app"]) == 2

    told = capsys.readouterr().err
    assert told.startswith('myst: --application-path: got "bin/app", expected an absolute path')
    assert _names(home) == []


def test_what_init_cannot_write_whole_it_does_not_leave(home: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    script = "trap '' XFSZ; ulimit -f 1; exec \"$@\""  # 1 KiB (dash: 512 bytes)
    command = ["bash", "-c", script, "sh", sys.executable, "-m", "mystikos", "init"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    assert done.returncode == 2
    assert done.stderr.startswith("myst: config.json: cannot be written (File too large)")
    assert _names(home) == []


def test_init_in_a_directory_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "absent"]) == 2
    assert "make the directory absent first" in capsys.readouterr().err


# -- keygen


def test_keygen_makes_a_key_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "k.pem"]) == 0
    made = (home / "k.pem").read_bytes()
    assert "MRSIGNER " in capsys.readouterr().out

    assert main(["keygen", "k.pem"]) == 2
    assert capsys.readouterr().err.startswith("myst: k.pem: exists already")
    assert (home / "k.pem").read_bytes() == made

    assert main(["keygen", "--force", "k.pem"]) == 0
    assert (home / "k.pem").read_bytes() != made


def test_keygen_takes_a_passphrase_from_the_environment_or_a_descriptor(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "a word")
    (home / "word").write_bytes(b"another word\nrest\n")
    descriptor = os.open(home / "word", os.O_RDONLY)

    assert main(["keygen", "a.pem", "--passphrase-env", "WORD"]) == 0
    assert main(["keygen", "b.pem", "--passphrase-fd", str(descriptor)]) == 0

    os.close(descriptor)
    assert PemSigner.load("a.pem", b"a word")
    assert PemSigner.load("b.pem", b"another word")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--passphrase-env", "NONE"], "--passphrase-env: the variable NONE is not set"),
        (["--passphrase-env", "EMPTY"], "the passphrase is empty"),
        (["--passphrase-fd", "987"], "--passphrase-fd: descriptor 987: bad file descriptor"),
        (["--passphrase-fd", "x"], "invalid value for '--passphrase-fd'"),
        (["--passphrase-fd", "0", "--passphrase-env", "EMPTY"], "exclude each other"),
    ],
)
def test_a_passphrase_that_cannot_be_had_is_told(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.delenv("NONE", raising=False)
    monkeypatch.setenv("EMPTY", "")

    assert main(["keygen", "k.pem", *options]) == 2

    assert message in capsys.readouterr().err
    assert _names(home) == []


def test_a_passphrase_is_asked_for_on_the_terminal_only(home: Path) -> None:
    command = [sys.executable, "-m", "mystikos", "keygen", "--encrypt", "k.pem"]
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        command,
        check=False,
        input="word\nword\n",
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )

    assert done.returncode == 2
    assert done.stderr.startswith("myst: no terminal to ask on")


# -- check


def test_check_finds_nothing_wrong(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home)

    assert main(["check", "config.json", "--strict"]) == 0

    assert capsys.readouterr() == ("config.json: no mistakes\n", "")


def test_check_tells_what_weakens_security(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, ', "Debug": 1')

    assert main(["check", "config.json"]) == 0
    assert main(["check", "config.json", "--strict"]) == 1

    assert capsys.readouterr().out.splitlines()[:3] == [
        "config.json:1:79: Debug: the host can read and change the memory of a debug enclave [debug]",
        '      set "Debug": false in what you release',
        "config.json: no mistakes, 1 setting weakens it",
    ]


def test_check_tells_every_mistake(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, ', "Debgu": 1, "MemorySize": "40q"')

    assert main(["check", "config.json"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        'myst: config.json:1:70: unknown key "Debgu", did you mean "Debug"?',
        'myst: config.json:1:96: MemorySize: got "40q", '
        "expected bytes or a number with suffix k, m or g, 64k to 1024g",
    ]


def test_check_looks_into_the_appdir(home: Path, appdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home)
    assert main(["check", "config.json", "appdir"]) == 0
    assert main(["mkcpio", "appdir", "root.cpio"]) == 0
    assert main(["check", "config.json", "root.cpio"]) == 0

    (appdir / "bin/sh").rename(appdir / "bin/dash")
    assert main(["check", "config.json", "appdir"]) == 2
    assert "ApplicationPath: /bin/sh is not in the appdir" in capsys.readouterr().err

    os.mkfifo(appdir / "pipe")
    assert main(["check", "config.json", "appdir"]) == 2
    assert "pipe: is a FIFO" in capsys.readouterr().err

    assert main(["check", "config.json", "none"]) == 2
    assert capsys.readouterr().err.startswith("myst: none: ")


def test_check_speaks_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, ', "Debug": 1')
    assert main(["check", "config.json", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["errors"] == []
    (warning,) = answer["warnings"]
    assert (warning["line"], warning["column"], warning["lint"]) == (1, 79, "debug")

    write(home, ', "Debug": 7')
    assert main(["check", "config.json", "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["subject"], error["found"]) == ("Debug", "got 7")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.json", "myst: none.json: no such file or directory\n"), (".", "myst: .: is a directory\n")],
)
def test_a_config_that_cannot_be_read_is_told(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert main(["check", name]) == 2

    assert capsys.readouterr().err == message


# -- schema


def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "MaxThreads" in schema["properties"]
