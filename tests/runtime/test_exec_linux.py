"""``myst exec-linux`` runs a program of a directory or an archive, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mystikos.cli import main
from tests.support.running import Outcome, run


def exec_linux(
    *arguments: str | bytes, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Outcome:
    """Run it as a person does; what it finds is this checkout."""
    environment = {"PYTHONPATH": ":".join(sys.path), **(env or {})}
    return run(sys.executable, "-m", "mystikos", "exec-linux", *arguments, env=environment, cwd=cwd)


def test_a_program_runs_with_its_arguments_and_its_exit_code(probe_appdir: Path) -> None:
    told = exec_linux(str(probe_appdir), "/bin/probe", "arguments", "--strace", "-x", "", "a b")
    assert told.lines == ["/bin/probe", "arguments", "--strace", "-x", "", "a b"]
    assert told.err == b""
    assert exec_linux(str(probe_appdir), "bin/probe", "exit", "42").status == 42


def test_an_archive_runs_as_its_directory_does(probe_appdir: Path, tmp_path: Path) -> None:
    assert main(["mkcpio", str(probe_appdir), str(tmp_path / "root.cpio")]) == 0
    told = exec_linux(str(tmp_path / "root.cpio"), "/bin/probe", "cwd")
    assert (told.status, told.lines) == (0, ["/"])


def test_the_hosts_environment_stays_outside(probe_appdir: Path) -> None:
    told = exec_linux(str(probe_appdir), "/bin/probe", "environment", env={"SECRET": "host"})
    assert told.lines == ["MYST_TARGET=linux"]


def test_a_config_brings_its_settings_program_and_parameters(probe_appdir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        '{"ApplicationPath": "/bin/probe", "ApplicationParameters": ["hostname"], "Hostname": "inside"}'
    )
    told = exec_linux("--app-config-path", str(config), str(probe_appdir), "/bin/other")
    assert (told.status, told.lines) == (0, ["inside", "inside"])


@pytest.mark.parametrize("mistake", [["/bin/absent"], ["/srv"], []])
def test_what_cannot_run_is_told(probe_appdir: Path, mistake: list[str]) -> None:
    told = exec_linux(str(probe_appdir), *mistake)
    assert (told.status, told.out) == (2, b"")
    assert told.err.startswith(b"myst: ")


def test_nothing_stays_behind(probe_appdir: Path, tmp_path: Path) -> None:
    directories = {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    for directory in directories.values():
        Path(directory).mkdir()
    assert exec_linux(str(probe_appdir), "/bin/probe", "exit", "0", env=directories, cwd=tmp_path).status == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "tmp"]


def test_a_program_that_is_killed_leaves_nothing_and_its_parent_is_told(probe_appdir: Path) -> None:
    assert exec_linux(str(probe_appdir), "/bin/probe", "raise", "9").status == 128 + 9


def test_standard_streams_are_passed_through(probe_appdir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mystikos", "exec-linux", probe_appdir, "/bin/probe", "arguments"],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=True,
    )
    assert done.stdout == b"/bin/probe\narguments\n"
