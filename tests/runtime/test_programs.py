"""Unmodified programs run from packages as they run natively: the same output, the same exit code.

In a plain process (target ``linux``) and in an enclave of the software SGX (``sim``).
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from mystikos.collect import collect
from tests.support.running import PROGRAMS, Outcome, compiled, package, run, run_everywhere


def packaged(source: Path, output: Path, *arguments: str, stdin: bytes = b"", **settings: object) -> Outcome:
    """What a program says in a package of its own, made by `myst collect`."""
    appdir = output.with_suffix(".appdir")
    collect([f"{source}=/bin/program"], appdir)
    (appdir / "tmp").mkdir(exist_ok=True)
    made = package(appdir, output, "/bin/program", CurrentWorkingDirectory="/tmp", **settings)
    return run_everywhere(made, *arguments, stdin=stdin)


def assert_same(program: Path, directory: Path, *arguments: str, **settings: object) -> Outcome:
    """The program says natively what it says in a package; some of it on standard output."""
    work = directory / "native"
    work.mkdir()
    native = run(program, *arguments, target=None, cwd=work)
    told = packaged(program, directory / "package", *arguments, **settings)
    assert told == native
    assert told.out
    return told


LINKED = {
    "static glibc": ("gcc", "-static"),
    "dynamic glibc": ("gcc",),
    "static PIE glibc": ("gcc", "-static-pie"),
    "static glibc at fixed addresses": ("gcc", "-static", "-no-pie"),
    "dynamic glibc at fixed addresses": ("gcc", "-no-pie"),
    "dynamic musl": ("musl-gcc",),
    "static musl": ("musl-gcc", "-static"),
}


@pytest.mark.parametrize("linked", LINKED)
def test_a_c_program(linked: str, tmp_path: Path) -> None:
    compiler, *flags = LINKED[linked]
    told = assert_same(compiled("hello.c", *flags, compiler=compiler), tmp_path, "to", "the world")
    assert (told.status, told.lines) == (3, ["hello to the world", "left"])


@pytest.mark.parametrize("linked", ["static glibc", "dynamic glibc", "static musl", "dynamic musl"])
def test_system_calls_from_code_made_at_run_time(linked: str, tmp_path: Path) -> None:
    compiler, *flags = LINKED[linked]
    assert assert_same(compiled("made_code.c", *flags, compiler=compiler), tmp_path).status == 0


@pytest.mark.parametrize("linked", ["static glibc", "dynamic glibc", "static musl", "dynamic musl"])
def test_threads_are_cancelled_where_they_block(linked: str, tmp_path: Path) -> None:
    compiler, *flags = LINKED[linked]
    program = compiled("cancelled.c", "-pthread", *flags, compiler=compiler)
    assert assert_same(program, tmp_path).status == 0


@pytest.mark.parametrize("flags", [(), ("-static",)], ids=["dynamic", "static"])
def test_a_cpp_program(flags: tuple[str, ...], tmp_path: Path) -> None:
    program = compiled("exceptions.cc", "-std=c++17", "-pthread", *flags, compiler="g++")
    assert assert_same(program, tmp_path).status == 4


@pytest.mark.parametrize("flags", [(), ("-C", "target-feature=+crt-static")], ids=["dynamic", "static"])
def test_a_rust_program(flags: tuple[str, ...], tmp_path: Path) -> None:
    program = tmp_path / "threads"
    subprocess.run(
        ["rustc", "-O", "--edition=2021", *flags, "-o", program, PROGRAMS / "threads.rs"], check=True
    )
    told = assert_same(program, tmp_path, "argument", MaxThreads=32)
    assert (told.status, told.lines[0]) == (9, "threads 138600 800")


@pytest.mark.parametrize("mode", ["exe", "pie"])
def test_a_go_program(mode: str, tmp_path: Path) -> None:
    program = tmp_path / "goroutines"
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "GOCACHE": os.environ.get("GOCACHE", str(Path(tempfile.gettempdir()) / "mystikos-go-cache")),
    }
    build = ["go", "build", f"-buildmode={mode}", "-o", str(program), str(PROGRAMS / "goroutines.go")]
    subprocess.run(build, check=True, env=environment)
    # Go reserves tables for all addresses there are, some 1.1 GiB, whatever it uses of them
    told = assert_same(program, tmp_path, "argument", MemorySize="2g", MaxThreads=64)
    assert (told.status, told.lines[0]) == (7, "goroutines 1999000")


class Busybox:
    """Debian's busybox beside some files, natively and in a package."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "appdir" / "data"
        collect(["busybox"], directory / "appdir")
        (directory / "appdir" / "tmp").mkdir(exist_ok=True)
        (self.data / "folder").mkdir(parents=True)
        (self.data / "numbers").write_text("".join(f"{i * 7919 % 1000} line {i}\n" for i in range(2000)))
        (self.data / "folder" / "binary").write_bytes(bytes(range(256)) * 1000)
        (self.data / "folder" / "script.sh").write_bytes((PROGRAMS / "script.sh").read_bytes())
        (self.data / "link").symlink_to("folder/binary")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(self.data, "data")
        (self.data / "archive.tar").write_bytes(archive.getvalue())
        self.program = shutil.which("busybox") or "busybox"
        place = Path(self.program).resolve()
        settings = {"CurrentWorkingDirectory": "/data"}
        self.package = package(directory / "appdir", directory / "busybox", str(place), **settings)

    def __call__(self, *arguments: str, stdin: bytes = b"", target: str | None = None) -> Outcome:
        if target is None:
            return run_everywhere(self.package, *arguments, stdin=stdin)
        return run(self.package, *arguments, stdin=stdin, target=target)

    def natively(self, *arguments: str, stdin: bytes = b"") -> Outcome:
        return run(self.program, *arguments, stdin=stdin, target=None, cwd=self.data)


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Busybox:
    return Busybox(tmp_path_factory.mktemp("busybox"))


APPLETS = [
    "cat numbers folder/binary",
    "cat -",
    "cat missing",
    "sort numbers",
    "sort -n -k1,1 -k3,3nr numbers",
    "sha256sum numbers folder/binary link",
    "md5sum link",
    "wc numbers link",
    "tar -tf archive.tar",
    "tar -xOf archive.tar data/folder/binary",
    "head -n 3 numbers",
    "tail -c 100 link",
    "od -x -N 64 link",
    "cut -d  -f2 numbers",
    "uniq -c numbers",
    "grep -c 99 numbers",
    "grep -nE ^9[0-9]+.*7$ numbers",
    "sed -n s/line/LINE/p;20q numbers",
    "find . -type f",
    "find . -name s* -size -2k",
    "readlink link",
    "stat -c %s:%f:%N numbers link",
    "cmp numbers link",
    "diff numbers folder/script.sh",
    "gzip -c numbers",
    "base64 link",
    "expr 6 * 7",
    "seq 5",
    "test -L link",
    "dd if=link bs=1000 skip=3 count=5",
    "printf %s-%d\\n a 3",
    "date -u -d @86400 +%F",
    "cksum link",
    "rm missing",
    "false",
]


@pytest.mark.parametrize("arguments", APPLETS)
def test_a_busybox_applet(busybox: Busybox, arguments: str) -> None:
    given = arguments.split(" ")
    native = busybox.natively(*given, stdin=b"from standard input\n")
    if given[0] == "dd":  # tells the time it took
        for target in ("linux", "sim"):
            told = busybox(*given, target=target)
            assert (told.out, told.status) == (native.out, native.status)
        return
    told = busybox(*given, stdin=b"from standard input\n")
    if "-type" in given or "-size" in given:  # in the order that the directory has them
        assert (sorted(told.lines), told.status) == (sorted(native.lines), native.status)
    else:
        assert told == native


AWK = """
{ sum[$1 % 10] += $3 }
END { for (i = 0; i < 10; i++) printf "%d %.2f %s\\n", i, sum[i] / 3, toupper("x") }
"""


def test_busybox_awk(busybox: Busybox) -> None:
    assert busybox("awk", AWK, "numbers") == busybox.natively("awk", AWK, "numbers")
    assert len(busybox("awk", AWK, "numbers").lines) == 10


def test_a_busybox_shell_script_of_builtins(busybox: Busybox, tmp_path: Path) -> None:
    native = busybox.natively("sh", "folder/script.sh", str(tmp_path))
    told = busybox("sh", "folder/script.sh", "/tmp")
    assert told == native
    assert (told.status, told.lines[-1]) == (6, "leaving")


@pytest.mark.parametrize("target", ["linux", "sim"])
def test_busybox_lists_everything(busybox: Busybox, target: str) -> None:
    listed = busybox("ls", "-lR", "/", target=target)
    assert listed.status == 0
    # what ls had open while it read the directory is closed when it looks at it, as on Linux
    assert all(re.match(rb"ls: /proc/\d+(/task/\d+)?/fd/\d+: ", line) for line in listed.err.splitlines())
    names = {line.split()[-1] for line in listed.lines if line.startswith(("-", "l", "d"))}
    assert {"numbers", "archive.tar", "folder", "folder/binary", "script.sh", "tmp", "dev", "data"} <= names


def test_busybox_tar_packs_and_unpacks(busybox: Busybox) -> None:
    made = busybox("tar", "-cf", "-", "numbers", "folder")
    assert made.status == 0
    with tarfile.open(fileobj=io.BytesIO(made.out)) as tar:
        for name in ("numbers", "folder/binary"):
            member = tar.extractfile(name)
            assert member is not None
            assert member.read() == (busybox.data / name).read_bytes()
    unpacked = busybox("tar", "-xvf", "archive.tar", "-C", "/tmp")
    assert (unpacked.status, len(unpacked.lines)) == (0, 6)
    streamed = busybox("tar", "-xf", "-", "-O", "folder/binary", stdin=made.out)
    assert hashlib.sha256(streamed.out).digest() == hashlib.sha256(bytes(range(256)) * 1000).digest()


@functools.cache
def pythons() -> tuple[Path, ...]:
    """The interpreter of the machine's packages, and the one that runs the tests when it is another."""
    system, own = Path("/usr/bin/python3").resolve(), Path(sys.executable).resolve()
    return tuple(dict.fromkeys(path for path in (system, own) if path.exists()))


@pytest.fixture(scope="module", params=pythons(), ids=str)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An interpreter, and a package of it."""
    directory = tmp_path_factory.mktemp("python")
    collect([str(request.param)], directory / "appdir")
    (directory / "appdir" / "tmp").mkdir(exist_ok=True)
    shutil.copy(PROGRAMS / "library.py", directory / "appdir")
    settings = {"MemorySize": "256m", "MaxThreads": 32}
    return request.param, package(directory / "appdir", directory / "python", str(request.param), **settings)


def test_python_and_its_library(python: tuple[Path, Path], tmp_path: Path) -> None:
    native = run(python[0], PROGRAMS / "library.py", "argument", target=None, cwd=tmp_path, stdin=b"input")
    told = run_everywhere(python[1], "/library.py", "argument", stdin=b"input")
    assert told == native
    assert told.status == 5, told.err.decode()


def test_python_says_where_it_failed(python: tuple[Path, Path]) -> None:
    told = run_everywhere(python[1], "-c", "import os\nos.stat('/missing')")
    assert told.status == 1
    assert told.err.endswith(b"FileNotFoundError: [Errno 2] No such file or directory: '/missing'\n")
