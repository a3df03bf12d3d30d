"""``myst exec-linux`` and ``exec-sgx``: what they ask of the launcher, here a program that tells it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import packages

from mystikos import development, signature
from mystikos.cli import main
from mystikos.formats.descriptor import Section
from mystikos.package import Package, unpack
from mystikos.signers import PUBLISHED_KEYS
from mystikos.verification import verify

# Prints its arguments and environment, and copies itself (the package) to a file.
LAUNCHER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
int main(int argc, char **argv) {
    if (getenv("REFUSAL"))
        return fprintf(stderr, "myst: %s\n", getenv("REFUSAL")), 125;
    for (int i = 0; i < argc; i++)
        printf("%s\n", argv[i]);
    printf("MYST_TARGET=%s\nMARK=%s\n", getenv("MYST_TARGET"), getenv("MARK"));
    int from = open("/proc/self/exe", O_RDONLY), to = open("package", O_CREAT | O_WRONLY, 0600);
    while (sendfile(to, from, 0, 1 << 30) > 0)
        ;
    return 42;
}
"""

RUN = """
import dataclasses, sys
from pathlib import Path
from mystikos.cli import exec_sgx, main
from mystikos.launcher import Runtime
from tests.support import packages
exec_sgx._DEVICE = Path(sys.argv[2])
runtime = dataclasses.replace(packages.runtime(), launcher=Path(sys.argv[1]).read_bytes())
Runtime.load = lambda: runtime
sys.exit(main(sys.argv[3:]))
"""

# How a target is asked for
VERBS = {"linux": ["exec-linux"], "sgx": ["exec-sgx"], "sim": ["exec-sgx", "--target=sim"]}


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("launcher")
    (directory / "launcher.c").write_text(LAUNCHER)
    subprocess.run(["gcc", "-static", "-o", "launcher", "launcher.c"], cwd=directory, check=True)
    return directory / "launcher"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    packages.appdir(tmp_path / "appdir")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARK", "kept")
    return tmp_path


def run(
    launcher: Path, *arguments: str, device: str = "/dev/null", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MYST_TARGET"}
    return subprocess.run(
        [sys.executable, "-c", RUN, launcher, device, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})},
    )


def executed(launcher: Path, *arguments: str, target: str = "linux") -> tuple[list[str], Package]:
    """What the launcher was asked (argv), and the package it was part of."""
    done = run(launcher, *VERBS[target], *arguments)
    assert (done.returncode, done.stderr) == (42, "")
    *asked, given, mark = done.stdout.splitlines()
    assert (given, mark) == (f"MYST_TARGET={target}", "MARK=kept")
    return asked, unpack(Path("package"))


def settings(package: Package) -> dict[str, object]:
    found = json.loads(package.config_source)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("target", VERBS)
def test_a_program_and_its_arguments_reach_the_launcher_untouched(
    launcher: Path, home: Path, target: str
) -> None:
    arguments = ["appdir", "/bin/app", "--strace", "-x", "", "--", "ü"]
    asked, package = executed(launcher, *arguments, target=target)
    assert asked == ["/bin/app", "--", "--strace", "-x", "", "--", "ü"]
    assert settings(package) == {
        "Debug": True, "ApplicationPath": "/bin/app", "HostApplicationParameters": True
    }  # fmt: skip


@pytest.mark.parametrize("target", VERBS)
def test_the_package_is_sound_but_for_its_signer_and_asks_for_debugging(
    launcher: Path, home: Path, target: str
) -> None:
    _, package = executed(launcher, "appdir", "bin/app", target=target)
    report = verify(package)
    assert [check.name for check in report.checks if check.failed] == ["signer"]
    assert report.debug


def test_an_archive_gives_the_same_as_its_directory(launcher: Path, home: Path) -> None:
    main(["mkcpio", "appdir", "root.cpio"])
    first = bytes(executed(launcher, "appdir", "/bin/app")[1].section(Section.ENCLAVE))
    second = bytes(executed(launcher, "root.cpio", "/bin/app")[1].section(Section.ENCLAVE))
    assert first == second


@pytest.mark.parametrize("target", VERBS)
def test_tracing_options_become_leading_arguments(launcher: Path, home: Path, target: str) -> None:
    options = [
        "--strace", "--strace-failing", "--strace-filter=open:read", "--strace-exclude-filter", "write",
        "--strace-filter-tid=2", "--strace-filter-pid", "3", "--trace-errors", "--perf",
        "--max-affinity-cpus=4", "--host-to-enc-uid-map=0:0,1:2", "--host-to-enc-gid-map=0:7",
    ]  # fmt: skip
    asked, _ = executed(launcher, *options, "appdir", "/bin/app", "a", target=target)
    assert asked == [
        "/bin/app", "--strace", "--strace-failing", "--strace-filter=open:read",
        "--strace-exclude-filter=write", "--strace-filter-tid=2", "--strace-filter-pid=3", "--trace-errors",
        "--perf", "--max-affinity-cpus=4", "--host-to-enc-uid-map=0:0,1:2", "--host-to-enc-gid-map=0:7",
        "--", "a",
    ]  # fmt: skip


def test_settings_options_become_settings(launcher: Path, home: Path) -> None:
    options = [
        "--memory-size=32m", "--main-stack-size", "2m", "--thread-stack-size=1m", "--nobrk", "--exec-stack",
        "--host-uds", "--fork-mode=pseudo", "--unhandled-syscall-enosys",
    ]  # fmt: skip
    asked, package = executed(launcher, *options, "appdir", "/bin/app")
    assert asked == ["/bin/app", "--"]
    assert settings(package).items() >= {
        "MemorySize": "32m", "MainStackSize": "2m", "ThreadStackSize": "1m", "NoBrk": True, "ExecStack": True,
        "HostUDS": True, "ForkMode": "pseudo", "UnhandledSyscallEnosys": True,
    }.items()  # fmt: skip


def test_a_configs_program_and_parameters_win_over_the_command_line(launcher: Path, home: Path) -> None:
    (home / "config.json").write_text(
        '{"ApplicationPath": "/bin/app", "ApplicationParameters": ["signed"], "ProductID": 3}'
    )
    asked, package = executed(launcher, "--app-config-path", "config.json", "appdir", "/bin/other", "x")
    assert asked == ["/bin/app", "--", "x"]
    assert package.sigstruct.product_id == 3
    assert package.enclave.debug
    assert b"signed" in package.record


def test_an_option_wins_over_the_config(launcher: Path, home: Path) -> None:
    (home / "config.json").write_text('{"ApplicationPath": "/bin/app", "MemorySize": "8m"}')
    _, package = executed(launcher, "--app-config-path=config.json", "--memory-size=16m", "appdir")
    assert package.parameters.user.size == 16 << 20


def test_an_option_has_to_fit_the_config(launcher: Path, home: Path) -> None:
    (home / "config.json").write_text('{"ApplicationPath": "/bin/app", "MemorySize": "256m"}')
    arguments = ["--app-config-path=config.json", "appdir"]
    executed(launcher, "--main-stack-size=128m", *arguments)
    done = run(launcher, "exec-linux", "--main-stack-size=512m", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--main-stack-size: 512m does not fit" in done.stderr


def test_nothing_stays_behind(launcher: Path, home: Path) -> None:
    executed(launcher, "appdir", "/bin/app")
    assert {path.name for path in home.iterdir()} == {"appdir", "package"}  # the latter is the test's own


MISTAKES: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "missing argument"),
    "no program": (["appdir"], "got no program"),
    "unknown option": (["--bogus", "appdir", "/bin/app"], "no such option"),
    "mount": (["--mount=a=b", "appdir", "/bin/app"], "--mount is not built yet"),
    "bad size": (["--memory-size=5q", "appdir", "/bin/app"], '--memory-size: got "5q", expected bytes'),
    "empty size": (["--memory-size=", "appdir", "/bin/app"], "--memory-size: got"),
    "bad mode": (["--fork-mode=x", "appdir", "/bin/app"], '--fork-mode: got "x", expected "none"'),
    "stack beyond memory": (["--main-stack-size=1g", "appdir", "/bin/app"], "--main-stack-size: 1g does not"),
    "absent program": (["appdir", "/bin/absent"], "/bin/absent is not in the appdir"),
    "directory as program": (["appdir", "/"], "the program: got"),
    "absent directory": (["absent", "/bin/app"], "absent"),
    "absent config": (["--app-config-path=absent", "appdir"], "absent: no such file"),
    "no archive": (["appdir/bin/app", "/bin/app"], "appdir/bin/app"),
}


@pytest.mark.parametrize("verb", ["exec-linux", "exec-sgx"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_message(launcher: Path, home: Path, mistake: str, verb: str) -> None:
    arguments, told = MISTAKES[mistake]
    done = run(launcher, verb, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("myst: ")
    assert told in done.stderr


def test_the_development_key_is_known_as_published() -> None:
    modulus = development.signer().public_modulus()
    assert modulus.bit_length() == 3072
    assert signature.mrsigner(modulus).hex() in PUBLISHED_KEYS


def target_of(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (42, "")
    return done.stdout.splitlines()[-2]


def test_the_target_comes_from_the_option_then_the_environment(launcher: Path, home: Path) -> None:
    program = ["appdir", "/bin/app"]
    sim, sgx = {"MYST_TARGET": "sim"}, {"MYST_TARGET": "sgx"}
    assert target_of(run(launcher, "exec-sgx", *program)) == "MYST_TARGET=sgx"
    assert target_of(run(launcher, "exec", *program)) == "MYST_TARGET=sgx"
    assert target_of(run(launcher, "exec-sgx", *program, env=sim)) == "MYST_TARGET=sim"
    assert target_of(run(launcher, "exec-sgx", "--target=sim", *program, env=sgx)) == "MYST_TARGET=sim"
    assert target_of(run(launcher, "exec-sgx", "--target=sgx", *program, env=sim)) == "MYST_TARGET=sgx"
    assert target_of(run(launcher, "exec-sgx", *program, env={"MYST_TARGET": ""})) == "MYST_TARGET=sgx"
    assert target_of(run(launcher, "exec-linux", *program, env=sim)) == "MYST_TARGET=linux"


@pytest.mark.parametrize("arguments", [["exec-sgx"], ["exec"], ["exec-sgx", "--target=sgx"]])
def test_without_the_device_nothing_runs_instead(launcher: Path, home: Path, arguments: list[str]) -> None:
    done = run(launcher, *arguments, "appdir", "/bin/app", device=str(home / "sgx_enclave"))
    assert (done.returncode, done.stdout) == (2, "")
    first, hint = done.stderr.splitlines()
    assert first.endswith("sgx_enclave: is not there, so there is no SGX to run this in")
    assert "myst doctor" in hint
    assert "--target sim" in hint


def test_the_software_sgx_needs_no_device(launcher: Path, home: Path) -> None:
    done = run(launcher, "exec-sgx", "--target=sim", "appdir", "/bin/app", device=str(home / "absent"))
    assert target_of(done) == "MYST_TARGET=sim"


@pytest.mark.parametrize("given", ["linux", "SGX", "x\x1b"])
def test_another_target_in_the_environment_is_a_mistake(launcher: Path, home: Path, given: str) -> None:
    done = run(launcher, "exec-sgx", "appdir", "/bin/app", env={"MYST_TARGET": given})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("myst: MYST_TARGET: got ")
    assert "expected sgx or sim" in done.stderr
    assert "exec-linux" in done.stderr
    assert "\x1b" not in done.stderr


def test_another_target_as_option_is_wrong_usage(launcher: Path, home: Path) -> None:
    done = run(launcher, "exec-sgx", "--target=linux", "appdir", "/bin/app")
    assert done.returncode == 2
    assert "invalid value for '--target'" in done.stderr


@pytest.mark.parametrize("target", VERBS)
def test_what_the_launcher_refuses_is_passed_on(launcher: Path, home: Path, target: str) -> None:
    done = run(launcher, *VERBS[target], "appdir", "/bin/app", env={"REFUSAL": "launch denied"})
    assert (done.returncode, done.stdout, done.stderr) == (125, "", "myst: launch denied\n")
