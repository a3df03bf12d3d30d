"""The ``sgx`` target on a test device: the launcher's driver for SGX hardware runs end to end without it.

The device (``runtime/testdevice``) checks every request, mapping and entry by the rules of Linux and the
SDM, and backs them with the software SGX. The launcher does not notice.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from mystikos import _abi
from mystikos.collect import collect
from mystikos.formats.descriptor import Section
from mystikos.package import unpack
from tests.conformance.test_conformance import SETTINGS, SOURCES
from tests.support.device import Told, run_on_device
from tests.support.packages import PackageForge
from tests.support.running import DEVICE, TIMEOUT, appdir_of, compiled, package, run

# EEXTENDs of a page.
CHUNKS = _abi.PAGE_SIZE // 256


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a C program."""
    directory = tmp_path_factory.mktemp("hello")
    root = appdir_of(directory / "appdir", compiled("hello.c", "-static", compiler="musl-gcc"))
    return package(root, directory / "hello", "/bin/hello", MaxThreads=4, MemorySize="16m")


def _ran_well(told: Told, program: Path, *arguments: str) -> None:
    """It said what it says on the ``linux`` target, and no request of the launcher broke a rule."""
    assert told.outcome == run(program, *arguments, target="linux")
    assert told.refused == []


def test_a_package_runs_through_the_driver_for_hardware(hello: Path) -> None:
    told = run_on_device(hello, "to", "the world")
    _ran_well(told, hello, "to", "the world")
    assert told.outcome.status == 3
    counts = told.counts
    assert counts["EENTER"] == counts["EEXIT"] > 0


def test_every_page_of_the_layout_is_added_and_what_is_measured_is_extended(hello: Path) -> None:
    enclave = unpack(hello).enclave
    counts = run_on_device(hello).counts
    assert counts["EADD"] == sum(region.pages for region in enclave.regions)
    assert counts["EEXTEND"] == CHUNKS * sum(region.pages for region in enclave.regions if region.measured)
    assert (counts["ECREATE"], counts["EINIT"]) == (1, 1)


def test_the_processor_measures_what_the_packager_signed(hello: Path) -> None:
    (made,) = run_on_device(hello).events("initialised")
    package_ = unpack(hello)
    assert made["mrenclave"] == package_.sigstruct.enclave_hash.hex()
    assert made["size"] == package_.enclave.size
    assert made["base"] % made["size"] == 0


@pytest.mark.parametrize(
    "flags",
    [("gcc",), ("gcc", "-static"), ("gcc", "-static", "-no-pie"), ("musl-gcc",)],
    ids=["dynamic", "static", "fixed addresses", "musl"],
)
def test_a_c_program_however_it_is_linked(flags: tuple[str, ...], tmp_path: Path) -> None:
    compiler, *link = flags
    appdir = tmp_path / "appdir"
    collect([f"{compiled('hello.c', *link, compiler=compiler)}=/bin/hello"], appdir)
    (appdir / "tmp").mkdir(exist_ok=True)
    made = package(appdir, tmp_path / "package", "/bin/hello", MaxThreads=4)
    _ran_well(run_on_device(made, "x"), made, "x")


@pytest.mark.parametrize(
    "name",
    [
        "futex_calls",
        "mm_map",
        "pipe_basics",
        "signal_basics",
        "signal_exceptions",
        "signal_faults",
        "signal_registers",
        "thread_basics",
        "thread_leader",
    ],
)
def test_a_program_of_the_comparisons_with_linux(name: str, tmp_path: Path) -> None:
    program = tmp_path / name
    flags = ("-O1", "-w", "-pthread", "-static")
    subprocess.run(["gcc", *flags, "-o", program, SOURCES / f"{name}.c"], check=True)
    root = appdir_of(tmp_path / "appdir", program)
    (root / "srv" / "empty").mkdir(parents=True)
    made = package(root, tmp_path / "package", f"/bin/{name}", **SETTINGS)
    told = run_on_device(made)
    assert told.outcome == run(made, target="sim")
    assert told.refused == []


def test_system_calls_from_code_made_at_run_time(tmp_path: Path) -> None:
    root = appdir_of(tmp_path / "appdir", compiled("made_code.c", "-static"))
    made = package(root, tmp_path / "package", "/bin/made_code")
    told = run_on_device(made)
    _ran_well(told, made)
    assert told.counts["AEX"] > 0


def test_python(tmp_path: Path) -> None:
    interpreter = Path("/usr/bin/python3").resolve()
    collect([str(interpreter)], tmp_path / "appdir")
    (tmp_path / "appdir" / "tmp").mkdir(exist_ok=True)
    made = package(
        tmp_path / "appdir", tmp_path / "python", str(interpreter), MemorySize="128m", MaxThreads=8
    )
    script = (
        "import hashlib, json, threading\n"
        "found = []\n"
        "threads = [threading.Thread(target=lambda n=n: found.append(n * n)) for n in range(5)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(json.dumps(sorted(found)), hashlib.sha256(b'x' * 1000).hexdigest())\n"
        "raise SystemExit(5)\n"
    )
    told = run_on_device(made, "-c", script)
    _ran_well(told, made, "-c", script)
    assert told.outcome.status == 5


@pytest.mark.parametrize("question", ["await", "spin"])
def test_signals_from_outside_reach_the_application(probe: Path, question: str) -> None:
    environment = {"MYST_TARGET": "sgx", "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        [DEVICE, "--", probe, question], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    said = process.stdout.read().strip()
    assert (process.wait(TIMEOUT), said) == (0, "USR1")


def test_death_by_a_signal_is_128_and_its_number(probe: Path) -> None:
    for number in (signal.SIGABRT, signal.SIGTERM, signal.SIGKILL):
        assert run_on_device(probe, "raise", str(int(number))).outcome.status == 128 + number
    assert run_on_device(probe, "segfault").outcome.status == 128 + signal.SIGSEGV


def test_interrupts_at_any_moment_change_nothing(tmp_path: Path) -> None:
    """On top of the timer that the program asks for: it computes until that has expired 200 times."""
    root = appdir_of(tmp_path / "appdir", compiled("spin.c", "-static", compiler="musl-gcc"))
    made = package(root, tmp_path / "spin", "/bin/spin", MaxThreads=4)
    told = run_on_device(made, "200", options=("--interrupts", "200", "--seed", "7"))
    _ran_well(told, made, "200")
    assert told.counts["AEX"] > 100


def test_enclave_memory_is_not_touched_from_outside(probe: Path, hello: Path) -> None:
    for program, arguments in ((hello, ("x",)), (probe, ("threads",)), (probe, ("cwd",))):
        told = run_on_device(program, *arguments, options=("--guard",))
        _ran_well(told, program, *arguments)
        assert told.events("access from outside") == []


def test_reports_and_sealing_keys_are_those_of_the_simulated_enclave(tmp_path: Path) -> None:
    root = appdir_of(tmp_path / "appdir", compiled("attestation.c", "-static"))
    made = package(root, tmp_path / "attestation", "/bin/attestation")
    told = run_on_device(made, "dump", "data")
    assert told.outcome.status == 0
    assert told.outcome == run(made, "dump", "data", target="sim")
    assert told.counts["other"] > 0


@pytest.mark.parametrize("errno", ["EAGAIN", "EBUSY", "EINTR"])
def test_requests_are_repeated_while_the_driver_is_busy_or_interrupted(hello: Path, errno: str) -> None:
    told = run_on_device(hello, "x", options=("--transient", errno))
    assert told.outcome == run(hello, "x", target="linux")
    assert len(told.refused) > 2


def test_requests_that_are_done_in_part_are_carried_on(hello: Path) -> None:
    told = run_on_device(hello, "x", options=("--partial", "3"))
    _ran_well(told, hello, "x")
    assert told.events("initialised")


def test_where_the_device_is_there_packages_run_on_it_without_being_told(hello: Path) -> None:
    told = run_on_device(hello, "x", target=None)
    assert told.outcome == run(hello, "x", target="linux")
    assert told.events("initialised")


REFUSALS = {
    "absent": (("--absent",), b"no /dev/sgx_enclave; `myst doctor` tells why"),
    "unreadable": (("--unreadable",), b"/dev/sgx_enclave may not be opened by this user"),
    "too little EPC": (("--epc-pages", "500"), b"this machine has too little EPC"),
    "no EPC at all": (("--epc-pages", "1"), b"this machine has too little EPC"),
    "launch denied": (("--deny-launch",), b"EINIT refuses a package that is as it was signed"),
    "noexec": (("--noexec",), b"a file system mounted noexec"),
    "without SGX2": (("--sgx1",), b"a processor with SGX2 is needed (EXINFO)"),
}


@pytest.mark.parametrize("defect", REFUSALS)
def test_a_machine_that_cannot_run_it_is_told_of(hello: Path, defect: str) -> None:
    options, message = REFUSALS[defect]
    told = run_on_device(hello, options=options).outcome
    assert (told.status, told.out) == (125, b"")
    assert told.err.startswith(b"myst: ")
    assert message in told.err
    assert told.err.count(b"\n") == 1


def test_an_altered_package_is_refused_by_einit_and_told_why(hello: Path, tmp_path: Path) -> None:
    altered = PackageForge.of(hello).flip(Section.ROOTFS, 3000).write(tmp_path)
    altered.chmod(0o755)
    told = run_on_device(altered)
    assert (told.outcome.status, told.outcome.out) == (125, b"")
    assert b"SGX_INVALID_MEASUREMENT" in told.outcome.err
    assert [record["rule"] for record in told.refused] == ["SGX_INVALID_MEASUREMENT"]


def test_an_enclave_that_was_lost_ends_the_program(hello: Path) -> None:
    told = run_on_device(hello, options=("--lose-after", "5"))
    assert told.outcome.status == 125
    assert b"the enclave's memory is gone" in told.outcome.err
    assert told.events("lost")
