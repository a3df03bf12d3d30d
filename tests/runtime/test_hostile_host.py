"""A host that lies never gets the kernel to harm itself or the program; at worst the kernel stops cleanly.

For every host call the launcher of these tests answers with wrong, oversized, negative and aliasing results,
and changes words and buffers that nobody asked for, while another thread writes to the area that the kernel
reads. It enters blocks that are not in use, interrupts for no reason, and begins with addresses and blocks
that are none. The program (``besieged.c``) makes the kernel use every call and checks its own memory; the
launcher compares what is measured at the end. A failure shows the settings that it happened with.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from mystikos.launcher import Runtime
from tests.support.besieging import End, Siege, besieged, host_calls, launcher, seeds

ENOUGH = 100_000  # changed replies on the linux target, in all batches
BATCHES, PROCESSES, ROUNDS = 4, 14, 20
# Enclaves: simulated, and on the test device, where an entry takes a hundred times as long.
ENCLAVES = {"sim": (15_000, 28), "sgx": (3_000, 10)}
ENCLAVE_ROUNDS = 5
TARGETS = ["linux", *ENCLAVES]
DISTURBANCES = ("races", "interrupts", "visits", "repeats", "untold")
RATES = (24, 96, 160, 232)  # of 256 replies

# Changed replies of each host call in a batch: a program ends once, and a host that has refused to discard
# pages is not asked to again.
LEAST = {"linux": 30, "sim": 30, "sgx": 5}
LEAST_OF = {"EXIT": 3, "DISCARD": 8}

# Host calls that a target does not make: a plain process executes CPUID, an enclave clears its pages itself.
UNUSED = {"linux": {"CPUID"}, "sim": {"DISCARD"}, "sgx": {"DISCARD"}}
# In an enclave the start-up code of glibc executes CPUID, some fifty host calls after the first; the kernel
# keeps the answers.
BEFORE_CPUID = 48

APPLICATION_DIED = 128 + 11  # of pages that the host withholds; the application's own page fault
# Signals that a host may make up (FORWARDED_SIGNALS in runtime/abi/src/hostcall.rs), and that end a program
# which has no handlers yet.
MADE_UP = tuple(128 + signal for signal in (1, 2, 3, 10, 12, 15))
LOADER_GAVE_UP = 127  # ld.so or the start-up code of glibc, before main()
STATUS_LOST = 120  # the launcher's: the racing thread overwrote the exit status
STOPPED = b"myst: the kernel stopped: "
NOT_STARTED = b"cannot be started: "


def check(end: End, *allowed: int) -> None:
    """The program came to its own end (0), or the kernel stopped itself and said so in one line."""
    stopped = end.status == 125 and end.last_line.startswith(STOPPED)
    assert stopped or end.status in (0, STATUS_LOST, *allowed), end
    assert b"the kernel failed at" not in end.err, end
    assert b"launcher" not in end.err, end
    assert end.others["damaged"] == 0, end
    assert end.others["compared"] > 0 or end.status == STATUS_LOST, end


def fewer(count: int, target: str) -> int:
    """How many programs of these run where each takes long."""
    return count // 6 if target == "sgx" else count


def besiege(siege: Siege, seed: int, rounds: int, **settings: object) -> End:
    """One run; every fourth traces, so that there is something for LOG."""
    tracing = ["--strace-filter=getpid"] if seed % 4 == 1 else []
    rate = RATES[seed % len(RATES)]
    return siege.run(*tracing, str(rounds), str(seed), seed=seed, rate=rate, **settings)


def lacking(siege: Siege, enough: int, *, but: frozenset[str] = frozenset()) -> dict[str, int]:
    """What the target makes and was not lied about often enough, and how it was not disturbed yet."""
    changed = siege.total("changed")
    expected = host_calls().keys() - UNUSED[siege.target] - but
    least = {name: min(LEAST[siege.target], LEAST_OF.get(name, ENOUGH)) for name in expected}
    short = {name: changed[name] for name in expected if changed[name] < least[name]}
    short |= {kind: 0 for kind in DISTURBANCES if not any(end.others[kind] for end in siege.ends)}
    return short if changed.total() >= enough else {**short, "all": changed.total()}


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_reply_harms_the_kernel_or_the_program(batch: int, tmp_path: Path) -> None:
    linked = "-static" if batch % 2 else "-static-pie"  # an enclave based at 0, or anywhere
    siege = besieged(tmp_path, "linux", linked)
    short = functools.partial(lacking, siege, ENOUGH // BATCHES)
    for seed in seeds(1000 * batch, PROCESSES, short):
        check(besiege(siege, seed, rounds=ROUNDS, after=150, visit=seed % 2))
    assert short() == {}


@pytest.mark.parametrize("target", ENCLAVES)
def test_no_reply_harms_an_enclave(target: str, tmp_path: Path) -> None:
    enough, processes = ENCLAVES[target]
    siege = besieged(tmp_path, target, "-static-pie")
    short = functools.partial(lacking, siege, enough, but=frozenset({"CPUID"}))
    for seed in seeds(5000, processes, short):
        check(besiege(siege, seed, rounds=ENCLAVE_ROUNDS, after=200, visit=seed % 2))
    assert short() == {}


@pytest.mark.parametrize("target", ENCLAVES)
def test_an_interrupt_that_the_host_calls_a_stack_fault_is_an_interrupt(target: str, tmp_path: Path) -> None:
    siege = besieged(tmp_path, target, "-static", source="spin.c")
    ticks, honest_replies = 500, 1 << 30
    end = siege.run(str(ticks), seed=1, rate=1, after=honest_replies)
    assert (end.status, end.err) == (0, b""), end
    assert (tmp_path / "out").read_bytes() == b"computed right\n"


@pytest.mark.parametrize("target", ENCLAVES)
def test_a_page_that_the_host_takes_away_is_no_fault_of_the_programs(target: str, tmp_path: Path) -> None:
    siege = besieged(tmp_path, target, "-static", source="withdrawn.c")
    end = siege.run(after=1 << 30, withdraw=1)
    assert (end.status, end.err) == (0, b""), end
    assert end.changed["PROTECT"] > 50
    assert (tmp_path / "out").read_bytes() == b"told of 0, its own 1\n"


@pytest.mark.parametrize("target", ENCLAVES)
def test_what_the_host_says_of_the_processor_harms_no_enclave(target: str, tmp_path: Path) -> None:
    siege = besieged(tmp_path, target, "-static-pie")
    for seed in seeds(9000, fewer(12, target), lambda: siege.total("changed")["CPUID"] <= LEAST[target]):
        end = besiege(siege, seed, rounds=0, after=BEFORE_CPUID)
        check(end, LOADER_GAVE_UP, *MADE_UP)
    assert siege.total("changed")["CPUID"] > LEAST[target]


@pytest.mark.parametrize("target", TARGETS)
def test_pages_that_are_withheld_are_missed_by_the_program_and_not_by_the_kernel(
    target: str, tmp_path: Path
) -> None:
    siege = besieged(tmp_path, target, "-static")
    least = LEAST[target]
    for seed in seeds(6000, fewer(12, target), lambda: siege.total("changed")["PROTECT"] <= least):
        check(besiege(siege, seed, rounds=3, after=200, withhold=1), APPLICATION_DIED)
    assert siege.total("changed")["PROTECT"] > least


@pytest.mark.parametrize("target", TARGETS)
def test_a_host_that_lies_from_the_first_call_on_may_keep_a_program_from_starting(
    target: str, tmp_path: Path
) -> None:
    siege = besieged(tmp_path, target, "-static-pie")
    for seed in seeds(7000, fewer(16, target)):
        end = besiege(siege, seed, rounds=1, visit=1)
        # Why it was not started is a message of the kernel's, which the host need not show.
        check(end, 125, LOADER_GAVE_UP, *MADE_UP)
        assert end.status != 125 or not end.err or NOT_STARTED in end.err or STOPPED in end.err, end


AREAS = ["inside", "head", "tail", "last", "misaligned", "wrapping", "high", "kernelspace"]
STARTS = [
    "inside", "head", "last", "misaligned", "wrapping", "high", "kernelspace",
    "size-max", "size-large", "size-into", "version",
]  # fmt: skip


@pytest.fixture(scope="module", params=["-static", "-static-pie"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Siege:
    return besieged(tmp_path_factory.mktemp("victim"), "linux", request.param)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("area", AREAS)
def test_a_host_area_that_is_none_stops_the_kernel(victim: Siege, target: str, area: str) -> None:
    victim.target = target
    end = victim.run("1", "1", area=area)
    assert end.status == 125, end
    assert end.last_line == STOPPED + b"the host area is not outside the enclave", end
    assert end.calls.total() == 0, end


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("start", STARTS)
def test_a_start_up_block_that_is_none_stops_the_kernel(victim: Siege, target: str, start: str) -> None:
    victim.target = target
    end = victim.run("1", "1", start=start)
    assert end.status == 125, end
    assert end.last_line.startswith(STOPPED + b"the start-up block "), end


def test_a_package_that_is_not_for_debugging_says_as_much(tmp_path: Path) -> None:
    siege = besieged(tmp_path, "sim", "-static", Debug=0)
    assert siege.run("1", "1", area="inside").last_line.endswith(b"the host area is not outside the enclave")
    assert siege.run("1", "1", start="version").last_line.endswith(b"has another version of the host ABI")


@pytest.mark.parametrize("target", TARGETS)
def test_a_start_up_block_with_random_fields_is_believed_where_that_does_no_harm(
    victim: Siege, target: str
) -> None:
    victim.target = target
    for seed in seeds(8000, fewer(12, target)):
        end = victim.run("1", str(seed), seed=seed, start="random")
        # A filter of system calls that names none is refused by the kernel, as on the command line.
        check(end, 125)


def test_an_honest_host_that_counts_changes_nothing(victim: Siege) -> None:
    victim.target = "linux"
    end = victim.run("2", "1")
    check(end)
    assert (end.status, end.changed.total(), end.others["damaged"]) == (0, 0, 0)
    assert end.calls.keys() >= host_calls().keys()


def test_a_mistyped_setting_is_refused(victim: Siege) -> None:
    end = victim.run("1", "1", sed=1)
    assert (end.status, b"MYST_HOSTILE: got sed=1" in end.err) == (125, True), end


def test_the_launcher_of_packages_knows_nothing_of_it() -> None:
    assert b"MYST_HOSTILE" in launcher()
    assert b"MYST_HOSTILE" not in Runtime.load().launcher
