"""Colours, progress bars and whom they are for."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import packages

from mystikos.cli import main, progress, terminal
from mystikos.cli.progress import progress_bar

SRC = str(Path(__file__).resolve().parents[2] / "src")
ESCAPE = "\x1b["


@pytest.mark.parametrize(
    ("environment", "color"),
    [
        ({}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"CLICOLOR": "0"}, False),
        ({"TERM": "dumb"}, False),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, None),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_the_environment_decides_about_colours(environment: dict[str, str], color: bool | None) -> None:
    assert terminal.color_from_environment(environment) is color


@pytest.mark.parametrize(
    ("variable", "options", "colored"),
    [
        (None, [], False),
        (None, ["--color", "always"], True),
        (None, ["--color=auto"], False),
        ("CLICOLOR_FORCE", [], True),
        ("CLICOLOR_FORCE", ["--color", "never"], False),
        ("NO_COLOR", ["--color", "always"], True),
    ],
)
def test_options_win_over_the_environment_before_and_after_the_verb(
    variable: str | None,
    options: list[str],
    colored: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "CLICOLOR"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")

    for line in ([*options, "check", "nowhere.json"], ["check", *options, "nowhere.json"]):
        main(line)
        assert (ESCAPE in capsys.readouterr().err) is colored
    for line in (["verify", *options, "--help"], [*options, "--help"]):
        main(line)
        assert (ESCAPE in capsys.readouterr().out) is colored


def test_trees_are_coloured_by_the_same_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packages.appdir(tmp_path / "one")
    packages.appdir(tmp_path / "other", {"etc/more": b"more"})

    assert main(["diff", "one", "other"]) == 1
    plain = capsys.readouterr().out
    assert main(["diff", "one", "other", "--color=always"]) == 1
    colored = capsys.readouterr().out

    assert ESCAPE not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain != colored


def test_an_unknown_colour_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--color", "alwys", "check"]) == 2

    assert capsys.readouterr().err.startswith(
        "myst: invalid value for '--color': got \"alwys\", expected one of auto, always, never, "
        'did you mean "always"?\n'
    )


class _Watched(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_appears_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := _Watched())
    now = 0.0
    bar = progress._Bar("measuring", clock=lambda: now)

    bar(1, 10)
    assert screen.getvalue() == ""
    now = 1.0
    bar(2, 10)
    bar.close()
    assert "measuring" in screen.getvalue()


@pytest.mark.parametrize("total", [10, 0])
def test_a_bar_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, total: int) -> None:
    monkeypatch.setattr(sys, "stderr", screen := _Watched())
    monkeypatch.setattr(progress, "_PATIENCE", -1)
    terminal.reset({})

    with progress_bar("copying") as report:
        assert report is not None
        report(4, total)

    assert "copying" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K"), repr(screen.getvalue())


def test_nobody_watches_a_pipe_and_who_is_quiet_wants_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.reset({})
    with progress_bar("copying") as report:
        assert report is None

    monkeypatch.setattr(sys, "stderr", _Watched())
    monkeypatch.setenv("TERM", "xterm")
    for setting in ({"quiet": True}, {"verbosity": 1}):
        terminal.reset({})
        terminal.configure(**setting)
        with progress_bar("copying") as report:
            assert report is None
    terminal.reset({})
    monkeypatch.setenv("TERM", "dumb")
    with progress_bar("copying") as report:
        assert report is None


@pytest.mark.parametrize("asked", [["--json"], ["--quiet"], ["--color", "always"]])
@pytest.mark.parametrize("path", ["/", "/no/such/package"])
def test_what_one_command_line_asks_for_is_not_for_the_next(asked: list[str], path: str) -> None:
    before = terminal.reset({})
    assert main(["verify", path, *asked]) == 2
    assert terminal.settings() == before


LONG = {
    "package-sgx": ("measuring", "package-sgx appdir private.pem config.json -o out"),
    "measure": ("measuring", "measure appdir config.json"),
    "digest": ("measuring", "digest appdir config.json"),
    "verify": ("measuring", "verify app"),
    "diff": ("comparing", "diff app other"),
    "extract": ("writing", "extract app -o parts"),
    "collect": ("copying", "collect /bin/true -o collected"),
    "mkcpio": ("writing", "mkcpio appdir out.cpio"),
    "excpio": ("writing", "excpio rootfs.cpio out"),
}


@pytest.mark.parametrize("verb", LONG)
def test_long_work_shows_how_far_it_has_come_and_comes_to_its_end(
    verb: str, workplace: Path, signing_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.appdir(workplace / "appdir", {"etc/large": bytes(3 << 20)})
    (workplace / "private.pem").write_bytes(signing_key.read_bytes())
    (workplace / "private.pem").chmod(0o600)
    for line in (
        "package-sgx appdir private.pem config.json -o app",
        "package-sgx appdir private.pem config.json -o other --date 2026-01-01",
        "mkcpio appdir rootfs.cpio",
    ):
        assert main(line.split()) == 0

    told: list[tuple[str, int, int]] = []

    class Bar(progress._Bar):
        def __call__(self, done: int, total: int) -> None:
            told.append((self._label, done, total))
            super().__call__(done, total)

    monkeypatch.setattr(progress, "_Bar", Bar)
    monkeypatch.setattr(progress, "_PATIENCE", -1)
    monkeypatch.setattr(sys, "stderr", _Watched())
    monkeypatch.setenv("TERM", "xterm")
    label, line = LONG[verb]
    assert main(line.split()) in (0, 1)

    assert {name for name, _, _ in told} == {label}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    _, done, total = told[-1]
    assert total == 0 if verb == "collect" else 0.9 * total <= done <= total
    assert len(told) >= 3


def test_on_a_real_terminal_the_bar_is_drawn_and_wiped(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.appdir(workplace / "appdir", {"etc/large": bytes(3 << 20)})
    program = (
        "import sys; from mystikos.cli import main, progress; progress._PATIENCE = -1;"
        "sys.exit(main(['mkcpio', 'appdir', 'out.cpio']))"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": SRC, "TERM": "xterm-256color", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", program], check=True, stderr=theirs, env=environment)
    screen = os.read(ours, 1 << 16).decode()
    os.close(theirs)
    os.close(ours)

    assert "writing" in screen
    assert screen.endswith("\x1b[2K")
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") == 1
