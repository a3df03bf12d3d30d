"""Real programs run with all their bound sites patched, and must do exactly what they do unpatched.

`tests/support/bound_run.c` writes the jumps and stubs as the kernel does, with a gate that makes the real
system call, so these tests judge the tables alone.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mystikos.binding import bind_file
from mystikos.binding.table import FileRecord, encode

RUNNER = Path(__file__).parents[2] / "support" / "bound_run.c"

EXERCISE = Path(__file__).parents[2] / "support" / "exercise.c"

PYTHON_SCRIPT = """
import asyncio, hashlib, os, select, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time

import queue
results = queue.Queue()
def work(number):
    for _ in range(50):
        time.sleep(0)
    results.put(number * number)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(sorted(results.get() for _ in threads))

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "file")
    with open(path, "wb") as file:
        file.write(b"x" * 100000)
    print(os.stat(path).st_size, os.listdir(folder), hashlib.sha256(open(path, "rb").read()).hexdigest())
    base = sqlite3.connect(os.path.join(folder, "base"))
    base.execute("create table t (a, b)")
    base.executemany("insert into t values (?, ?)", [(n, str(n)) for n in range(1000)])
    base.commit()
    print(base.execute("select sum(a), max(b) from t").fetchall())

left, right = socket.socketpair()
left.sendmsg([b"hello", b"world"])
print(right.recv(100), select.select([right], [], [], 0))

seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
print(seen)

async def sleeper(n):
    await asyncio.sleep(n / 1000)
    return n
async def main():
    print(await asyncio.gather(*map(sleeper, range(10))))
asyncio.run(main())

child = os.fork()
if not child:
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(subprocess.run(["/bin/sh", "-c", "echo from a child; exit 4"], capture_output=True))
sys.exit(5)
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runner")
    compile_c(RUNNER, folder / "bound_run", "-static-pie")
    compile_c(RUNNER, folder / "bound_run.so", "-DPRELOAD", "-shared", "-fPIC")
    return folder


def compile_c(source: Path, output: Path, *flags: str, compiler: str = "gcc") -> Path:
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", output, source], check=True)
    return output


def make_table(program: Path, table: Path) -> int:
    """Write a program's table; the number of its sites."""
    data = program.read_bytes()
    sites, _ = bind_file(data)
    table.write_bytes(encode([FileRecord(0, len(data), sites)]))
    return len(sites)


def run(command: Sequence[str | Path], **environment: str | Path) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def counts(path: Path) -> list[int]:
    data = path.read_bytes()
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def compare(runner: Path, folder: Path, program: Path, *arguments: str) -> list[int]:
    """Run a static program both ways; the calls per site of the patched run."""
    make_table(program, folder / "table")
    native = run([program, *arguments])
    patched = run(
        [runner / "bound_run", folder / "table", program, *arguments], BOUND_COUNTS=folder / "counts"
    )
    assert patched == native
    return counts(folder / "counts")


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        pytest.param("gcc", ["-static"], id="glibc static"),
        pytest.param("gcc", ["-static", "-s"], id="glibc static stripped"),
        pytest.param("gcc", ["-static-pie"], id="glibc static-pie"),
        pytest.param("gcc", ["-static", "-O0", "-fno-omit-frame-pointer"], id="glibc unoptimised"),
        pytest.param("musl-gcc", ["-static"], id="musl static"),
        pytest.param("musl-gcc", ["-static", "-s"], id="musl static stripped"),
    ],
)
def test_a_c_program_does_the_same(runner: Path, tmp_path: Path, compiler: str, flags: list[str]) -> None:
    program = compile_c(EXERCISE, tmp_path / "exercise", *flags, "-pthread", compiler=compiler)
    calls = compare(runner, tmp_path, program)
    assert sum(1 for n in calls if n) >= 30  # different sites that ran
    assert sum(calls) >= 3000


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["ls", "-lR", "/usr/lib/python3"], id="ls"),
        pytest.param(["sha256sum", "/bin/busybox"], id="sha256sum"),
        pytest.param(["sort", "-r", "/etc/passwd"], id="sort"),
        pytest.param(["tar", "cf", "-", "/etc/apt"], id="tar"),
        pytest.param(["find", "/etc", "-type", "d"], id="find"),
        pytest.param(
            ["sh", "-c", "for i in 1 2 3; do echo $i; done | while read n; do echo $((n * n)); done"]
        ),
        pytest.param(["sh", "-c", "trap 'echo caught; exit 9' USR1; kill -USR1 $$; echo not reached"]),
        pytest.param(["sh", "-c", "(exit 3) & wait $!; echo $?; ulimit -n; umask; cd /etc && pwd; exit 6"]),
    ],
)
def test_busybox_does_the_same(runner: Path, tmp_path: Path, arguments: list[str]) -> None:
    assert sum(compare(runner, tmp_path, Path("/bin/busybox"), *arguments)) > 10


def test_a_go_program_does_the_same(runner: Path, tmp_path: Path) -> None:
    source, program = tmp_path / "main.go", tmp_path / "program"
    source.write_text(
        """
package main
import ("fmt"; "os"; "sync"; "time"; "runtime")
func main() {
    var group sync.WaitGroup
    total := make(chan int, 100)
    for i := 0; i < 100; i++ {
        group.Add(1)
        go func() { defer group.Done(); time.Sleep(time.Millisecond); runtime.GC(); total <- i }()
    }
    group.Wait()
    sum := 0
    for i := 0; i < 100; i++ { sum += <-total }
    data, err := os.ReadFile("/etc/passwd")
    fmt.Println(sum, len(data), err)
    _, err = os.ReadFile("/nowhere")
    fmt.Println(err)
    os.Exit(3)
}
"""
    )
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/local/go/bin", "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-ldflags=-s -w", "-o", program, source], check=True, env=environment)
    assert sum(compare(runner, tmp_path, program)) > 100


def test_cpython_on_a_patched_libc_does_the_same(runner: Path, tmp_path: Path) -> None:
    libraries = {
        line.split("/")[-1].strip(): Path(line[line.index("/") :].strip())
        for line in Path("/proc/self/maps").read_text().splitlines()
        if ".so" in line and ("libc.so.6" in line or "ld-linux-x86-64.so.2" in line)
    }
    assert libraries
    tables = []
    for name, path in libraries.items():
        make_table(path, tmp_path / name)
        tables.append(f"{name}={tmp_path / name}")

    command = ["/usr/bin/python3", "-c", PYTHON_SCRIPT]
    native = run(command)
    patched = run(
        command,
        LD_PRELOAD=runner / "bound_run.so",
        BOUND_TABLES=":".join(tables),
        BOUND_COUNTS=tmp_path / "counts",
    )
    assert native[0] == 5, native[2].decode()
    assert patched == native
    assert sum(1 for n in counts(tmp_path / "counts") if n) >= 50
