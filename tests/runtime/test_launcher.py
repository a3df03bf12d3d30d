"""The launcher: where it may lie, how it is called, what it passes on."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.running import TIMEOUT, run


def test_exit_codes_pass_through(probe: Path) -> None:
    for status in (0, 1, 2, 125, 255):
        assert run(probe, "exit", str(status)).status == status


def test_death_by_a_signal_is_128_and_its_number(probe: Path) -> None:
    for number in (signal.SIGABRT, signal.SIGTERM, signal.SIGKILL, signal.SIGRTMIN):
        assert run(probe, "raise", str(int(number))).status == 128 + number
    assert run(probe, "segfault").status == 128 + signal.SIGSEGV


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH"])
def test_signals_from_outside_reach_the_application(probe: Path, name: str) -> None:
    assert _signalled(probe, "await", getattr(signal, f"SIG{name}")) == (0, name)


def test_a_signal_reaches_code_that_makes_no_system_call(probe: Path) -> None:
    assert _signalled(probe, "spin", signal.SIGUSR1) == (0, "USR1")


def test_a_signal_without_a_handler_ends_the_program(probe: Path) -> None:
    assert _signalled(probe, "spin", signal.SIGINT)[0] == 128 + signal.SIGINT


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM", "USR1"])
def test_a_signal_ignored_at_start_is_ignored_as_nohup_wants_it(probe: Path, name: str) -> None:
    number = getattr(signal, f"SIG{name}")
    assert _signalled(probe, "linger", number, ignored=True) == (0, "lived on")
    assert _signalled(probe, "linger", number)[0] == 128 + number


def test_a_handler_gets_a_signal_that_was_ignored_at_start(probe: Path) -> None:
    assert _signalled(probe, "await", signal.SIGHUP, ignored=True) == (0, "HUP")


def test_other_signals_cannot_be_ignored_from_outside(probe: Path) -> None:
    script = f"trap '' SEGV ABRT PIPE; exec {probe} segfault"
    done = subprocess.run(["sh", "-c", script], env={"MYST_TARGET": "linux"}, timeout=TIMEOUT, check=False)
    assert done.returncode == 128 + signal.SIGSEGV


def _signalled(
    program: Path, question: str, number: signal.Signals, ignored: bool = False
) -> tuple[int, str]:
    environment = {"MYST_TARGET": "linux"}
    before = f"trap '' {number.name.removeprefix('SIG')};" if ignored else ""
    command = ["sh", "-c", f'{before} exec "$0" "$1"', program, question]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    said = process.stdout.read().strip()
    return process.wait(TIMEOUT), said


@pytest.mark.parametrize("name", ["myst", "a b", "probe.exe", "-x", "naïve"])
def test_any_file_name_will_do(probe: Path, tmp_path: Path, name: str) -> None:
    renamed = tmp_path / name
    renamed.hardlink_to(probe)
    assert run(renamed, "arguments").lines == ["/bin/probe", "arguments"]


def test_through_a_symbolic_link_and_from_another_directory(probe: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(probe)
    assert run("./link", "arguments", cwd=tmp_path).lines == ["/bin/probe", "arguments"]
    assert run(probe, "cwd", cwd=tmp_path).lines == ["/"]


def test_found_in_path(probe: Path) -> None:
    environment = {"PATH": str(probe.parent), "MYST_TARGET": "linux"}
    done = subprocess.run(["probe", "arguments"], env=environment, capture_output=True, timeout=TIMEOUT)
    assert done.stdout.splitlines()[0] == b"/bin/probe"


def test_without_write_permission_anywhere(probe: Path, tmp_path: Path) -> None:
    """A read-only file in a read-only directory, as on a read-only file system, with nothing to write to."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "app").write_bytes(probe.read_bytes())
    (place / "app").chmod(0o555)
    place.chmod(0o555)
    before = sorted(place.iterdir())
    assert run(place / "app", "arguments", cwd=place).status == 0
    assert sorted(place.iterdir()) == before


def test_on_a_read_only_file_system(probe: Path, tmp_path: Path) -> None:
    image = tmp_path / "mounted"
    image.mkdir()
    mounts = f"mount -t tmpfs none {image}; cp {probe} {image}/app; mount -o remount,ro {image}"
    script = f"{mounts}; {image}/app cwd"
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", "--mount", *as_root, "sh", "-ec", script],
        env={"PATH": os.environ["PATH"], "MYST_TARGET": "linux"},
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert (done.returncode, done.stdout) == (0, b"/\n"), done.stderr


def test_only_leading_known_options_are_the_launchers(probe: Path) -> None:
    told = run(probe, "--trace-errors", "arguments", "--perf", "--strace")
    assert told.lines == ["/bin/probe", "arguments", "--perf", "--strace"]
    assert run(probe, "--", "--perf").lines == ["/bin/probe", "--perf"]


@pytest.mark.parametrize("option", ["--nobrk", "--exec-stack", "--host-uds"])
def test_what_the_signed_config_decides_is_refused_at_start(probe: Path, option: str) -> None:
    refused = run(probe, option, "arguments")
    assert (refused.status, refused.out) == (125, b"")
    assert refused.err.startswith(f"myst: {option}: ".encode())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-affinity-cpus"],
        ["--max-affinity-cpus", "0"],
        ["--max-affinity-cpus=x"],
        ["--strace-filter="],
        ["--strace-filter=read:"],
        ["--strace-filter=raed"],
        ["--strace-exclude-filter", "read:wirte"],
        ["--host-to-enc-uid-map=1"],
        ["--strace-filter-tid=-3"],
        ["--perf=yes"],
        ["--mount", "a=b"],
    ],
)
def test_bad_options_are_refused_in_one_line(probe: Path, arguments: list[str]) -> None:
    refused = run(probe, *arguments)
    assert (refused.status, refused.out) == (125, b"")
    assert refused.err.startswith(b"myst: --")
    assert refused.err.count(b"\n") == 1


def test_arguments_and_environment_may_take_a_quarter_of_the_stack(probe: Path) -> None:
    arguments = [f"{i:060000d}" for i in range(5)]
    told = run(probe, "arguments", *arguments)
    assert told.lines[2:] == arguments, told.err


def test_more_arguments_than_that_are_refused(probe: Path) -> None:
    refused = run(probe, "arguments", *[f"{i:0100000d}" for i in range(10)])
    assert (refused.status, refused.out) == (125, b"")
    assert b"E2BIG" in refused.err
