"""/proc, /sys and /dev of a program: what programs read there, told by busybox."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.running import Outcome, run

BUSYBOX = shutil.which("busybox")


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert BUSYBOX is not None, "busybox is needed: apt-get install busybox-static"
    root = tmp_path_factory.mktemp("busybox") / "appdir"
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    return root


def applet(
    root: Path, *arguments: str, stdin: bytes = b"", verb: tuple[str, ...] = ("exec-linux",)
) -> Outcome:
    """Run a busybox applet of the directory."""
    command = ("-m", "mystikos", *verb, str(root), "/bin/busybox", *arguments)
    return run(sys.executable, *command, env={"PYTHONPATH": ":".join(sys.path)}, stdin=stdin)


def test_the_whole_tree_can_be_listed_and_read(busybox: Path) -> None:
    told = applet(busybox, "ls", "-lR", "/")
    # The directory that is being listed is open while it is listed, and gone when its own link is read.
    complaints = [line for line in told.err.splitlines() if not re.search(rb"/fd/\d+:", line)]
    assert complaints == []
    for directory in ("/:", "/bin:", "/dev/shm:", "/proc/sys/kernel/random:", "/sys/devices/system/cpu:"):
        assert directory in told.lines
    counted = applet(busybox, "find", "/", "-type", "d")
    assert (counted.status, counted.err) == (0, b"")


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/proc/self/cmdline", r"/bin/busybox\0cat\0/proc/self/cmdline\0"),
        ("/proc/self/comm", r"busybox\n"),
        ("/proc/self/stat", r"101 \(busybox\) R 1 101 101 0 -1 (-?\d+ ){43}-?\d+\n"),
        ("/proc/self/statm", r"(\d+ ){6}\d+\n"),
        ("/proc/self/status", r"Name:\tbusybox\nUmask:\t0022\n(.+\n)*Pid:\t101\n(.+\n)*Threads:\t1\n(.+\n)*"),
        ("/proc/self/maps", r"([0-9a-f]+-[0-9a-f]+ [r-][w-][x-][ps] [0-9a-f]{8} \d\d:\d\d \d+.*\n)+"),
        ("/proc/self/limits", r"Limit +Soft Limit +Hard Limit +Units +\n(.+\n){16}"),
        ("/proc/self/mounts", r"ramfs / ramfs rw,noatime 0 0\n(\w+ /\S+ \w+ rw,noatime 0 0\n)+"),
        ("/proc/self/fdinfo/0", r"pos:\t0\nflags:\t0\d+\nmnt_id:\t\d+\nino:\t\d+\n"),
        ("/proc/101/task/101/comm", r"busybox\n"),
        ("/proc/thread-self/comm", r"busybox\n"),
        ("/proc/meminfo", r"MemTotal: +\d+ kB\nMemFree: +\d+ kB\nMemAvailable: +\d+ kB\n(.+\n)+"),
        ("/proc/cpuinfo", r"(processor\t: \d+\n(.+\n)+\n)+"),
        ("/proc/uptime", r"\d+\.\d\d \d+\.\d\d\n"),
        ("/proc/loadavg", r"0\.00 0\.00 0\.00 1/1 101\n"),
        ("/proc/version", r"Linux version \S+.*\n"),
        (
            "/proc/sys/kernel/random/boot_id",
            r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n",
        ),
        ("/sys/devices/system/cpu/online", r"0(-\d+)?\n"),
        ("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", r"2097152\n"),
    ],
)
def test_what_programs_read_has_the_form_they_expect(busybox: Path, path: str, pattern: str) -> None:
    told = applet(busybox, "cat", path)
    assert (told.status, told.err) == (0, b"")
    assert re.fullmatch(pattern, told.out.decode()), told.out.decode()


@pytest.mark.parametrize("verb", [("exec-linux",), ("exec-sgx", "--target", "sim")], ids=" ".join)
def test_the_processor_is_described_as_linux_does_it(busybox: Path, verb: tuple[str, ...]) -> None:
    native = cpuinfo(Path("/proc/cpuinfo").read_text())
    told = cpuinfo(applet(busybox, "cat", "/proc/cpuinfo", verb=verb).out.decode())
    for name in ("vendor_id", "cpu family", "model", "model name", "stepping", "clflush size"):
        assert told[name] == native[name], name
    here, there = (set(facts["flags"].split()) for facts in (told, native))
    assert {"fpu", "sse2", "syscall", "lm", "fsgsbase"} <= here
    known = {"ssse3", "sse4_2", "aes", "avx", "avx2", "fma", "bmi2", "popcnt", "avx512f", "rdseed"}
    assert here & known == there & known
    assert here.isdisjoint({"hypervisor", "monitor", "vmx", "amx_tile", "pku", "umip"})


def cpuinfo(text: str) -> dict[str, str]:
    """The first CPU's facts by name."""
    lines = text.split("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_links_lead_to_what_they_name(busybox: Path) -> None:
    for name, to in (("exe", "/bin/busybox"), ("cwd", "/"), ("root", "/")):
        assert applet(busybox, "readlink", f"/proc/self/{name}").lines == [to]
    same = applet(busybox, "cmp", "/proc/self/exe", "/bin/busybox")
    assert (same.status, same.err) == (0, b"")


def test_standard_streams_can_be_opened_by_name(busybox: Path) -> None:
    told = applet(busybox, "cat", "/dev/stdin", "/proc/self/fd/0", stdin=b"given\n")
    assert (told.status, told.out, told.err) == (0, b"given\n", b"")
    written = applet(busybox, "sh", "-c", "echo out >/dev/stdout; echo error >/dev/stderr")
    assert (written.out, written.err) == (b"out\n", b"error\n")


def test_devices_keep_to_their_rules(busybox: Path) -> None:
    zero = applet(busybox, "od", "-An", "-tx1", "-N", "8", "/dev/zero")
    assert zero.out.split() == [b"00"] * 8
    full = applet(busybox, "sh", "-c", "echo x >/dev/full")
    assert full.status == 1
    assert b"No space left" in full.err
    assert applet(busybox, "cat", "/dev/null").out == b""
    first = applet(busybox, "od", "-An", "-tx1", "-N", "16", "/dev/urandom").out
    assert first != applet(busybox, "od", "-An", "-tx1", "-N", "16", "/dev/random").out


def test_a_thread_name_is_written_and_read(busybox: Path) -> None:
    told = applet(
        busybox, "sh", "-c", "echo renamed-by-myself-long >/proc/self/comm; read x </proc/self/comm; echo $x"
    )
    assert told.lines == ["renamed-by-mysel"[:15]]


def test_what_cannot_be_made_there_is_refused(busybox: Path) -> None:
    for path in ("/proc/new", "/sys/new"):
        told = applet(busybox, "touch", path)
        assert told.status == 1
        assert path.encode() in told.err
