"""The frame around the verbs: help, exit codes, and failures told in one line."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from mystikos import __version__
from mystikos.cli import ALIASES, VERBS, failures, main
from mystikos.errors import MystError

SRC = str(Path(__file__).resolve().parents[2] / "src")
ENVIRONMENT = {**os.environ, "PYTHONPATH": SRC}


def myst(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mystikos", *arguments]
    settings = {"capture_output": True, "text": True, "env": ENVIRONMENT, "timeout": 60, **options}
    return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload, no-any-return]


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    out = capsys.readouterr().out
    assert all(f"  {verb} " in out and VERBS[verb][1].split()[0] in out for verb in VERBS)


@pytest.mark.parametrize("verb", [*VERBS, *ALIASES])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0

    assert capsys.readouterr().out.startswith(f"Usage: myst {verb}")


@pytest.mark.parametrize("verb", VERBS)
def test_files_that_cannot_be_read_are_told_by_us_and_not_by_the_parser(verb: str) -> None:
    command: click.Command = importlib.import_module(f"mystikos.cli.{VERBS[verb][0]}").command

    assert [p.name for p in command.params if isinstance(p.type, click.Path) and p.type.readable] == []


def test_without_a_verb_the_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: myst")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"myst {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc"], 'myst: no verb "chekc", did you mean "check"?'),
        (["zzz"], 'myst: no verb "zzz"'),
        (["--colour"], "myst: no such option"),
        (["check"], "myst: missing argument 'CONFIG.JSON'"),
        (["check", "a", "b", "c"], "myst: got unexpected extra argument (c)"),
        (["check", "--strikt", "a"], "myst: no such option"),
    ],
)
def test_wrong_usage_is_told_in_a_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert "--help` shows the usage" in err.splitlines()[-1]


def test_a_control_character_in_an_argument_does_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["\x1b[31mverb"]) == 2
    assert main(["check", "\x1b[31m.json"]) == 2

    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count(r"\x1b[31m") == 2


def test_help_needs_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys; from mystikos.cli import main; main(['--help']);"
        "heavy = {'cryptography', 'numpy', 'cbor2', 'elftools', 'iced_x86'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=ENVIRONMENT
    )

    assert done.stderr == ""


def test_the_options_of_no_verb_need_numpy_or_a_disassembler() -> None:
    """Help and completion of options import the verb, and nobody wants to wait for them."""
    program = (
        "import importlib, sys; from mystikos.cli import VERBS;"
        "[importlib.import_module(f'mystikos.cli.{verb.module}') for verb in VERBS.values()];"
        "heavy = {'numpy', 'iced_x86', 'elftools', 'jinja2'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=ENVIRONMENT
    )

    assert done.stderr == ""


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m mystikos schema | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], check=True, capture_output=True, text=True, env=ENVIRONMENT
    )

    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_without_a_standard_output_nothing_is_printed_and_nothing_fails() -> None:
    for arguments, status in (("schema >&-", 0), ("zzz 2>&-", 2), ("--help >&- 2>&-", 0)):
        command = f"{sys.executable} -m mystikos {arguments}"
        done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, env=ENVIRONMENT)

        assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


@pytest.mark.parametrize("broken", ["2> /dev/full", "2> >(true)"])
def test_messages_that_nobody_can_read_change_no_exit_code(broken: str) -> None:
    """1 would be an answer, and after a warning the work goes on."""
    command = f"{sys.executable} -m mystikos verify nowhere {broken}"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, env=ENVIRONMENT)

    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_what_is_opened_takes_the_place_of_no_closed_standard_stream() -> None:
    program = (
        "import os; import mystikos.__main__ as it; it.main = lambda: os.open('/dev/zero', os.O_RDONLY) <= 2;"
        "raise SystemExit(it.run())"
    )
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        command = f'{sys.executable} -c "{program}" {closed}'
        done = subprocess.run(["bash", "-c", command], check=False, env=ENVIRONMENT)
        assert done.returncode == 0, closed


def test_a_machine_without_dev_null_does() -> None:
    program = (
        "import os; import mystikos.__main__ as it; os.devnull = '/no/such/device'; it.main = lambda: 0;"
        "raise SystemExit(it.run())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_does_not_wait_for_threads() -> None:
    program = (
        "import threading; import mystikos.__main__ as it;"
        "it.main = lambda: threading.Thread(target=threading.Event().wait).start() or 130;"
        "it.run()"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, env=ENVIRONMENT, timeout=60)

    assert done.returncode == 130


def test_output_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = myst("schema", capture_output=False, stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 2
    assert done.stderr.startswith("myst: no space left on device\n")


def test_an_interrupt_ends_quietly_with_130(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    child = subprocess.Popen(
        [sys.executable, "-m", "mystikos", "check", str(tmp_path / "config.json")],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with (tmp_path / "config.json").open("wb"):  # opens when the child reads
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)

    assert (child.returncode, err) == (130, b"")


@pytest.mark.parametrize(
    ("inherited", "status"), [(signal.default_int_handler, -signal.SIGINT), (signal.SIG_IGN, 2)]
)
def test_an_interrupt_while_python_imports_the_command_leaves_no_traceback(
    tmp_path: Path, inherited: Any, status: int
) -> None:
    """Unless interrupts are ignored: then nothing happens."""
    (tmp_path / "uuid.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT); UUID = str")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{SRC}"}
    done = myst("nonsense", env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, inherited))

    assert done.returncode == status
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out"), "myst: out: no space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "key"), "myst: key: permission denied"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", b"d\xff"), "myst: d\\xff: is a directory"),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "myst: a → b: invalid cross-device link",
        ),
        (OSError("odd"), "myst: odd"),
        (MemoryError(), "myst: out of memory"),
        (ImportError("_rust.so: failed to map segment from shared object"), "myst: out of memory"),
        (RuntimeError("can't start new thread"), "myst: out of memory"),
        (MystError("a\nmyst: fine", "got a socket"), "myst: a\\nmyst: fine: got a socket"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a\nb"), "myst: a\\nb: no such file"),
        (click.Abort(), "myst: no answer to the question"),
        (click.ClickException("Bad thing."), "myst: bad thing"),
        (FileNotFoundError(errno.ENOENT, "No such file", "\udcff\ud800"), "myst: \\xff\\ud800: no such file"),
        (RuntimeError("oops"), "myst: internal error: RuntimeError: oops"),
    ],
)
def test_every_failure_is_one_line_and_exit_code_2(
    error: BaseException, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failures.report(error) == 2

    assert capsys.readouterr().err.splitlines()[0] == line


def test_an_internal_error_tells_how_to_report_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures.report(RuntimeError("oops"))
    assert "MYST_TRACEBACK=1" in capsys.readouterr().err

    monkeypatch.setenv("MYST_TRACEBACK", "1")
    failures.report(RuntimeError("oops"))
    assert "RuntimeError: oops" in capsys.readouterr().err.splitlines()[0]
