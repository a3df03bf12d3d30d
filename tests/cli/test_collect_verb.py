"""``myst collect``, as a person uses it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.programs import HELLO, build, library, run_inside

from mystikos.cli import main

_CONFIG = '{"version": "0.1", "ApplicationPath": "/bin/hello", "MemorySize": "64m"}'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    build(HELLO, tmp_path / "hello")
    return tmp_path


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_summary_tells_what_came_and_what_comes_next(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "./hello", "-o", "appdir"]) == 0

    output = capsys.readouterr().out
    assert re.search(r"^appdir: \d+ files, \d+\.\d MiB$", output, re.MULTILINE)
    assert "  program    /bin/hello\n" in output
    assert re.search(r"^  library    /\S+/libc\.so\.6$", output, re.MULTILINE)
    assert 'set "ApplicationPath": "/bin/hello" in the config' in output
    assert run_inside(home / "appdir", "/bin/hello").stdout == "hello 1 /bin/hello\n"


def test_a_directory_that_was_collected_passes_the_check(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.json").write_text(_CONFIG)
    main(["collect", "./hello", "-o", "appdir"])
    assert main(["check", "config.json", "appdir"]) == 0

    for path in (home / "appdir").rglob("libc.so.6"):
        path.unlink()
    capsys.readouterr()
    assert main(["check", "config.json", "appdir"]) == 2
    assert "the appdir lacks libc.so.6, needed by /" in capsys.readouterr().err


def test_what_only_a_plugin_lacks_is_noted_and_no_mistake(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.json").write_text(_CONFIG)
    library(home / "libgone.so")
    library(home / "plugins/libplugin.so", "-L..", "-lgone")
    main(["collect", "./hello", "-o", "appdir", "--include", "plugins=/plugins"])
    capsys.readouterr()

    assert main(["check", "config.json", "appdir"]) == 0

    assert "appdir: lacks libgone.so, needed by /plugins/libplugin.so\n" in capsys.readouterr().out


def test_warnings_go_to_stderr(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library(home / "libgone.so")
    library(home / "plugins/libplugin.so", "-L..", "-lgone")

    assert main(["collect", "./hello", "-o", "appdir", "--include", "plugins=/plugins"]) == 0

    assert "myst: warning: not on this machine: libgone.so, needed by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("collect no-such-program -o appdir", "no-such-program: is not in PATH"),
        ("collect ./hello", "Missing option '-o'"),
        ("collect -o appdir", "Missing argument"),
        ("collect ./hello -o hello", "hello: exists and is not a directory"),
        ("collect ./hello -o no/appdir", "no/appdir: cannot be written (No such file or directory)"),
        ("collect ./hello -o appdir --include none", "none: is not on this machine"),
        ("collect ./hello -o appdir --python all", 'got "all", expected one of standard'),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(
    home: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    assert main(line.split()) == 2

    assert message.lower() in capsys.readouterr().err.lower()
    assert _names(home) == ["hello"]


def test_an_interrupted_collect_leaves_nothing(home: Path) -> None:
    with (home / "large").open("wb") as file:
        file.truncate(1 << 40)  # copying it takes longer than anyone waits, and stops at the first signal
    child = subprocess.Popen(
        [sys.executable, "-m", "mystikos", "collect", "./hello", "-o", "appdir", "--include", "large"]
    )
    deadline = time.monotonic() + 20
    while not list(home.glob(".myst-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.terminate()

    assert child.wait(20) == -15
    assert _names(home) == ["hello", "large"]
