"""What each config key makes of the world that the application sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import Outcome, appdir_of, compiled, package, run


class Probe:
    """Packages of the probe, by settings."""

    def __init__(self, appdir: Path, directory: Path) -> None:
        self.appdir = appdir
        self.directory = directory

    def __call__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        launcher: tuple[str, ...] = (),
        **settings: object,
    ) -> Outcome:
        program = package(self.appdir, self.directory / "probe", "/bin/probe", **settings)
        return run(program, *launcher, *arguments, env=env)


@pytest.fixture
def ask(probe_appdir: Path, tmp_path: Path) -> Probe:
    return Probe(probe_appdir, tmp_path)


def test_host_arguments_are_used_when_they_are_allowed(ask: Probe) -> None:
    told = ask("arguments", "from", "the host", ApplicationParameters=["signed"])
    assert told.lines == ["/bin/probe", "arguments", "from", "the host"]


def test_signed_arguments_are_used_when_host_arguments_are_not_allowed(ask: Probe) -> None:
    told = ask("from", "host", HostApplicationParameters=False, ApplicationParameters=["arguments", "signed"])
    assert told.lines == ["/bin/probe", "arguments", "signed"]
    assert b"arguments given are ignored" in told.err


def test_argv0_is_the_application_path(ask: Probe) -> None:
    assert ask("arguments").lines[0] == "/bin/probe"


def test_a_signed_variable_is_never_overridden_and_an_unlisted_one_never_seen(ask: Probe) -> None:
    told = ask(
        "environment",
        env={"SIGNED": "host", "LISTED": "host", "UNLISTED": "host", "LD_PRELOAD_X": "host"},
        EnvironmentVariables=["SIGNED=config"],
        HostEnvironmentVariables=["SIGNED", "LISTED", "NOT_SET"],
    )
    assert told.lines == ["SIGNED=config", "LISTED=host", "MYST_TARGET=linux"]


def test_the_host_cannot_set_the_target_that_the_application_sees(ask: Probe) -> None:
    told = ask("environment", env={"X": "1"}, EnvironmentVariables=["MYST_TARGET=sgx"])
    assert told.lines == ["MYST_TARGET=linux"]


def test_working_directory(ask: Probe) -> None:
    assert ask("cwd").lines == ["/"]
    assert ask("cwd", CurrentWorkingDirectory="/srv").lines == ["/srv"]


def test_hostname(ask: Probe) -> None:
    assert ask("hostname", Hostname="vault").lines == ["vault", "vault"]


def test_memory_beyond_memory_size_is_enomem(ask: Probe) -> None:
    piece = 1 << 20
    first, malloc = ask("exhaust", str(piece), MemorySize="24m").lines
    name, _, given = first.partition(" after ")
    assert name == "ENOMEM"
    assert 12 << 20 <= int(given) <= 24 << 20
    assert malloc == "malloc ENOMEM"


def test_main_stack_size(ask: Probe) -> None:
    wanted = 6 << 20
    assert ask("recurse", str(wanted), MainStackSize="8m").status == 0
    assert ask("recurse", str(wanted), MainStackSize="1m").status == 128 + 11


def test_thread_stack_size(ask: Probe) -> None:
    assert ask("thread-stack", ThreadStackSize="256k").lines == [str(256 << 10)]


def test_threads_run_out_at_max_threads(ask: Probe) -> None:
    assert ask("threads", MaxThreads=5).lines == ["EAGAIN after 5"]


def test_max_affinity_cpus(ask: Probe) -> None:
    assert ask("cpus", MaxAffinityCPUs=1).lines == ["1"]
    assert ask("cpus", launcher=("--max-affinity-cpus", "1")).lines == ["1"]


def test_no_brk(ask: Probe) -> None:
    assert ask("brk").lines == ["moved"]
    assert ask("brk", NoBrk=True).lines == ["EOPNOTSUPP"]  # the other name of ENOTSUP


UNKNOWN_CALL = "463"


def test_an_unhandled_system_call_ends_the_program_and_is_named(ask: Probe) -> None:
    told = ask("syscall", UNKNOWN_CALL)
    assert told.status == 125
    assert told.out == b""
    assert f"system call {UNKNOWN_CALL}".encode() in told.err
    assert b"UnhandledSyscallEnosys" in told.err


def test_an_unhandled_system_call_is_enosys_when_the_config_says_so(ask: Probe) -> None:
    told = ask("syscall", UNKNOWN_CALL, UnhandledSyscallEnosys=True)
    assert told.lines == ["-1 ENOSYS"]


def test_a_release_package_does_not_run_unprotected_without_being_told_to(
    probe_appdir: Path, tmp_path: Path
) -> None:
    release = package(probe_appdir, tmp_path / "probe", "/bin/probe", Debug=0)
    refused = run(release, "arguments", target=None)
    assert refused.status == 125
    assert refused.out == b""
    assert b"release package" in refused.err

    told = run(release, "arguments", target="linux")
    assert told.lines == ["/bin/probe", "arguments"]
    assert b"without any protection" in told.err


def test_a_debug_package_runs_unprotected_with_one_warning_line(probe: Path) -> None:
    told = run(probe, "arguments", target=None)
    assert told.status == 0
    assert told.err.count(b"\n") == 1
    assert b"without any protection" in told.err


@pytest.mark.parametrize("target", ["", "SGX"])
def test_a_target_that_is_none_is_refused(probe: Path, target: str) -> None:
    refused = run(probe, target=target)
    assert (refused.status, refused.out) == (125, b"")
    assert refused.err.startswith(b"myst: MYST_TARGET: ")


def test_tracing_needs_a_debug_package(probe_appdir: Path, tmp_path: Path) -> None:
    release = package(probe_appdir, tmp_path / "probe", "/bin/probe", Debug=0)
    refused = run(release, "--strace", "arguments")
    assert (refused.status, refused.out) == (125, b"")
    assert b"Debug" in refused.err


def test_an_et_exec_program_gets_the_addresses_it_is_linked_to(tmp_path: Path) -> None:
    program = compiled("probe.c", "-static", "-no-pie")
    fixed = package(appdir_of(tmp_path / "appdir", program), tmp_path / "probe", "/bin/probe")
    assert run(fixed, "arguments", "x").lines == ["/bin/probe", "arguments", "x"]
