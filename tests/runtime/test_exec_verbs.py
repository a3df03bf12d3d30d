"""The exec verbs run a program of a directory or an archive, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mystikos.cli import main
from tests.support.running import Outcome, run

VERBS = {"linux": ["exec-linux"], "sim": ["exec-sgx", "--target", "sim"]}


class Exec:
    """An exec verb, run as a person does; what it finds is this checkout."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.command = [sys.executable, "-m", "mystikos", *VERBS[target]]

    def __call__(
        self, *arguments: str | bytes, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> Outcome:
        environment = {"PYTHONPATH": ":".join(sys.path), **(env or {})}
        program, *options = self.command
        return run(program, *options, *arguments, env=environment, cwd=cwd, target=None)


@pytest.fixture(params=VERBS)
def execute(request: pytest.FixtureRequest) -> Exec:
    return Exec(request.param)


def test_a_program_runs_with_its_arguments_and_its_exit_code(execute: Exec, probe_appdir: Path) -> None:
    told = execute(str(probe_appdir), "/bin/probe", "arguments", "--strace", "-x", "", "a b")
    assert told.lines == ["/bin/probe", "arguments", "--strace", "-x", "", "a b"]
    assert told.err == b""
    assert execute(str(probe_appdir), "bin/probe", "exit", "42").status == 42


def test_an_archive_runs_as_its_directory_does(execute: Exec, probe_appdir: Path, tmp_path: Path) -> None:
    assert main(["mkcpio", str(probe_appdir), str(tmp_path / "root.cpio")]) == 0
    told = execute(str(tmp_path / "root.cpio"), "/bin/probe", "cwd")
    assert (told.status, told.lines) == (0, ["/"])


def test_the_hosts_environment_stays_outside(execute: Exec, probe_appdir: Path) -> None:
    told = execute(str(probe_appdir), "/bin/probe", "environment", env={"SECRET": "host"})
    assert told.lines == [f"MYST_TARGET={'linux' if execute.target == 'linux' else 'sgx'}"]


def test_a_config_brings_its_settings_program_and_parameters(
    execute: Exec, probe_appdir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        '{"ApplicationPath": "/bin/probe", "ApplicationParameters": ["hostname"], "Hostname": "inside"}'
    )
    told = execute("--app-config-path", str(config), str(probe_appdir), "/bin/other")
    assert (told.status, told.lines) == (0, ["inside", "inside"])


@pytest.mark.parametrize("mistake", [["/bin/absent"], ["/srv"], []])
def test_what_cannot_run_is_told(execute: Exec, probe_appdir: Path, mistake: list[str]) -> None:
    told = execute(str(probe_appdir), *mistake)
    assert (told.status, told.out) == (2, b"")
    assert told.err.startswith(b"myst: ")


def test_nothing_stays_behind(execute: Exec, probe_appdir: Path, tmp_path: Path) -> None:
    directories = {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    for directory in directories.values():
        Path(directory).mkdir()
    assert execute(str(probe_appdir), "/bin/probe", "exit", "0", env=directories, cwd=tmp_path).status == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "tmp"]


def test_a_program_that_is_killed_leaves_nothing_and_its_parent_is_told(
    execute: Exec, probe_appdir: Path
) -> None:
    assert execute(str(probe_appdir), "/bin/probe", "raise", "9").status == 128 + 9


def test_standard_streams_are_passed_through(execute: Exec, probe_appdir: Path) -> None:
    done = subprocess.run(
        [*execute.command, probe_appdir, "/bin/probe", "arguments"],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=True,
    )
    assert done.stdout == b"/bin/probe\narguments\n"


def test_traces_read_like_those_of_strace(execute: Exec, probe_appdir: Path) -> None:
    """The lines that strace(1) shows of the same program, where they do not depend on addresses."""
    told = execute("--strace", str(probe_appdir), "/bin/probe", "cwd")
    lines = told.err.decode().splitlines()
    assert told.lines == ["/"]
    assert "[101 101] brk(NULL) = 0x" in "\n".join(lines)
    assert '[101 101] readlink("/proc/self/exe", "/bin/probe", 4096) = 10' in lines
    assert '[101 101] write(1, "/\\n", 2) = 2' in lines
    assert lines[-2:] == ["[101 101] exit_group(0) = ?", "[101] +++ exited with 0 +++"]


def test_filters_choose_what_is_traced(execute: Exec, probe_appdir: Path) -> None:
    def calls(*options: str) -> set[str]:
        told = execute(*options, str(probe_appdir), "/bin/probe", "cwd")
        assert (told.status, told.lines) == (0, ["/"])
        lines = told.err.decode().splitlines()
        return {line.split("] ")[1].split("(")[0] for line in lines if "+++" not in line}

    assert calls("--strace-filter=write:getcwd") == {"write", "getcwd"}
    assert calls("--strace-filter=write", "--strace-filter-tid=101") == {"write"}
    assert calls("--strace-filter=write", "--strace-filter-tid=102") == set()
    assert calls("--strace-filter=write", "--strace-filter-pid=102") == set()
    everything = calls("--strace")
    assert calls("--strace-exclude-filter=write:getcwd") == everything - {"write", "getcwd"}


def test_only_failing_calls_are_traced_when_asked(execute: Exec, probe_appdir: Path) -> None:
    told = execute("--strace-failing", str(probe_appdir), "/bin/probe", "cwd")
    lines = told.err.decode().splitlines()
    assert lines
    assert all(" = -1 E" in line for line in lines)


def test_a_mistyped_filter_is_refused_before_the_program_runs(execute: Exec, probe_appdir: Path) -> None:
    told = execute("--strace-filter=wriet", str(probe_appdir), "/bin/probe", "cwd")
    assert (told.status, told.out) == (125, b"")
    assert told.err == b"myst: --strace-filter: wriet: no such system call\n"


def test_counts_and_times_at_the_end(execute: Exec, probe_appdir: Path) -> None:
    told = execute("--perf", str(probe_appdir), "/bin/probe", "cwd")
    rows = [line.split() for line in told.err.decode().splitlines()]
    assert rows[0] == ["total", "average", "calls", "system", "call"]
    assert ["1", "getcwd"] in [row[-2:] for row in rows]


def test_a_program_of_the_machine_runs_with_its_libraries(execute: Exec, tmp_path: Path) -> None:
    appdir = tmp_path / "appdir"
    assert main(["collect", "/bin/ls", "-o", str(appdir)]) == 0
    (appdir / "srv").mkdir()
    (appdir / "srv" / "file").write_text("content")
    told = execute(str(appdir), "/bin/ls", "-s", "--block-size=1", "/srv")
    assert (told.status, told.lines, told.err) == (0, ["total 4096", "4096 file"], b"")
