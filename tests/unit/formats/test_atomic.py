"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mystikos.errors import OutputError
from mystikos.formats import atomic
from mystikos.formats.atomic import atomic_directory, atomic_output


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(params=["unnamed", "named"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with O_TMPFILE, and as on a file system that does not have it."""
    if request.param == "named":
        monkeypatch.setattr(atomic.os, "O_TMPFILE", os.O_DIRECTORY, raising=True)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("either_way")
def test_the_file_appears_only_when_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "out"

    with atomic_output(path, 0o755) as file:
        file.write(b"abc")
        assert not path.exists()

    assert path.read_bytes() == b"abc"
    assert _names(tmp_path) == ["out"]


@pytest.mark.usefixtures("either_way")
def test_an_existing_file_is_replaced_and_takes_the_new_mode(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old and longer")
    path.chmod(0o600)

    before = os.umask(0o022)
    try:
        with atomic_output(path, 0o777) as file:
            file.write(b"new")
    finally:
        os.umask(before)

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert _names(tmp_path) == ["out"]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failing_block_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def write() -> None:
        with atomic_output(path) as file:
            file.write(b"new")
            raise failure

    with pytest.raises(failure):
        write()

    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["out"]


@pytest.mark.usefixtures("either_way")
def test_a_name_may_be_as_long_as_names_may_be(tmp_path: Path) -> None:
    with atomic_output(tmp_path / ("ä" * 127)) as file:
        file.write(b"x")

    assert (tmp_path / ("ä" * 127)).read_bytes() == b"x"


def test_a_symbolic_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")

    with atomic_output(tmp_path / "link") as file:
        file.write(b"new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_directory_as_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a directory, expected a file name"), atomic_output(tmp_path):
        pass


def test_a_device_as_output_is_refused() -> None:
    with pytest.raises(OutputError, match="not a regular file"), atomic_output(Path("/dev/null")):
        pass


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file") as caught, atomic_output(tmp_path / "no" / "out"):
        pass

    assert caught.value.hint == f"make the directory {tmp_path / 'no'} first"


def test_a_full_file_system_is_a_clear_error() -> None:
    """Every write to /dev/full fails with ENOSPC."""
    descriptor = os.open("/dev/full", os.O_RDWR)
    try:
        raw = atomic._OutputFile(descriptor, Path("package"))
        with pytest.raises(OutputError, match=r"package: cannot be written .No space left on device"):
            raw.write(b"x")
    finally:
        os.close(descriptor)


_OVER_THE_LIMIT = """
import resource, signal, sys
from pathlib import Path
from mystikos.errors import OutputError
from mystikos.formats.atomic import atomic_output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with atomic_output(Path(sys.argv[1])) as file:
        file.write(bytes(100_000))
except OutputError as error:
    print(error)
"""


def test_a_write_that_fails_at_the_flush_leaves_nothing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _OVER_THE_LIMIT, tmp_path / "out"], capture_output=True, text=True, check=True
    )

    assert "cannot be written (File too large)" in run.stdout
    assert not run.stderr
    assert _names(tmp_path) == []


_WAITING = """
import sys, time
from pathlib import Path
from mystikos.formats import atomic
if sys.argv[3] == "named":
    atomic.os.O_TMPFILE = atomic.os.O_DIRECTORY
with getattr(atomic, sys.argv[1])(Path(sys.argv[2])) as made:
    if isinstance(made, Path):
        (made / "inner").mkdir(0o555)
    else:
        made.write(bytes(3 << 20))
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(
    ("maker", "way"), [("atomic_output", "unnamed"), ("atomic_output", "named"), ("atomic_directory", "-")]
)
def test_a_signal_leaves_nothing_and_still_ends_the_process(
    tmp_path: Path, number: signal.Signals, maker: str, way: str
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _WAITING, maker, tmp_path / "out", way],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    child.stdout.close()

    assert child.wait(10) == -number
    assert _names(tmp_path) == []


def test_even_a_killed_process_leaves_no_file(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WAITING, "atomic_output", tmp_path / "out", "unnamed"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
        child.wait(10)

    assert _names(tmp_path) == []


@pytest.fixture(params=["named file", "directory"])
def waiting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run that writes ``out`` under a temporary name, and does not end."""
    maker, way = ("atomic_output", "named") if request.param == "named file" else ("atomic_directory", "-")
    with subprocess.Popen(
        [sys.executable, "-c", _WAITING, maker, tmp_path / "out", way], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        yield child
        child.kill()


def _make(path: Path, maker: str) -> None:
    with getattr(atomic, maker)(path):
        pass


@pytest.mark.parametrize("maker", ["atomic_output", "atomic_directory"])
def test_the_next_run_removes_what_a_killed_one_left(
    tmp_path: Path, waiting: subprocess.Popen[bytes], maker: str
) -> None:
    waiting.kill()
    waiting.wait(10)
    left = _names(tmp_path)
    assert len(left) == 1

    _make(tmp_path / "other", maker)
    assert _names(tmp_path) == [*left, "other"]

    _make(tmp_path / "out", maker)
    assert _names(tmp_path) == ["other", "out"]


@pytest.mark.parametrize("maker", ["atomic_output", "atomic_directory"])
def test_what_a_living_run_writes_is_left_alone(
    tmp_path: Path, waiting: subprocess.Popen[bytes], maker: str
) -> None:
    (name,) = _names(tmp_path)

    _make(tmp_path / "out", maker)
    assert _names(tmp_path) == [name, "out"]
    assert waiting.poll() is None


def _leftover(tmp_path: Path) -> Path:
    return atomic._temporary_name(tmp_path / "out")


def test_what_only_looks_like_a_leftover_is_left_alone(tmp_path: Path) -> None:
    name = _leftover(tmp_path).name
    (tmp_path / f"{name}.old").mkdir()
    (tmp_path / f"x{name}").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    _leftover(tmp_path).symlink_to("mine")
    os.mkfifo(_leftover(tmp_path))
    before = _names(tmp_path)

    _make(tmp_path / "out", "atomic_output")

    assert _names(tmp_path) == sorted([*before, "out"])
    assert _names(tmp_path / "mine") == ["file"]


def test_what_another_user_left_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = _leftover(tmp_path)
    left.mkdir()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)

    _make(tmp_path / "out", "atomic_output")

    assert left.is_dir()


def test_where_anybody_can_rename_a_directory_nothing_is_taken_for_a_leftover(tmp_path: Path) -> None:
    left = _leftover(tmp_path)
    left.mkdir()
    tmp_path.chmod(0o777)
    _make(tmp_path / "out", "atomic_output")
    assert left.is_dir()

    tmp_path.chmod(0o1777)
    _make(tmp_path / "out", "atomic_output")
    assert not left.exists()


def test_on_a_file_system_without_locks_nothing_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no locks")

    left = _leftover(tmp_path)
    left.mkdir()
    monkeypatch.setattr(atomic.fcntl, "flock", refuse)  # type: ignore[attr-defined]

    _make(tmp_path / "out", "atomic_directory")

    assert _names(tmp_path) == sorted([left.name, "out"])


@pytest.mark.parametrize("maker", ["atomic_output", "atomic_directory"])
@pytest.mark.usefixtures("either_way")
def test_a_run_whose_new_temporary_was_taken_for_a_leftover_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    real, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not removed:  # between making it and locking it, as another run would
            for path in tmp_path.iterdir():
                removed.append(path)
                path.rmdir() if path.is_dir() else path.unlink()
        real(descriptor, how)

    monkeypatch.setattr(atomic.fcntl, "flock", late)  # type: ignore[attr-defined]

    _make(tmp_path / "out", maker)

    assert _names(tmp_path) == ["out"]


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "out") as directory:
        (directory / "file").write_bytes(b"x")
        assert not (tmp_path / "out").exists()

    assert (tmp_path / "out" / "file").read_bytes() == b"x"
    assert _names(tmp_path) == ["out"]


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with atomic_directory(tmp_path / "out") as directory:
        (directory / "file").write_bytes(b"x")

    assert (tmp_path / "out" / "file").read_bytes() == b"x"


def test_a_failing_block_leaves_no_directory(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_directory(tmp_path / "out") as directory:
            (directory / "closed").mkdir()
            (directory / "closed" / "file").write_bytes(b"x")
            (directory / "closed").chmod(0o500)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fill()

    assert _names(tmp_path) == []


def test_a_directory_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="with files in it"), atomic_directory(tmp_path):
        pass


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a directory"), atomic_directory(tmp_path / "file"):
        pass


def test_the_working_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is the working directory"), atomic_directory(Path()):
        pass
