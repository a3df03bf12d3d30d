"""``myst mkcpio`` and ``myst excpio``, as a person uses them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import appdirs
from tests.support.archives import archive, member

from mystikos.cli import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    appdirs.fill(tmp_path / "appdir")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_there_and_back_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mkcpio", "appdir", "root.cpio"]) == 0
    assert main(["excpio", "root.cpio", "copy", "--keep-setuid"]) == 0
    assert main(["mkcpio", "copy", "again.cpio"]) == 0

    assert (home / "root.cpio").read_bytes() == (home / "again.cpio").read_bytes()
    assert capsys.readouterr() == ("", "")


def test_left_out_set_id_bits_are_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["mkcpio", "appdir", "root.cpio"])
    assert main(["excpio", "root.cpio", "copy"]) == 0

    assert capsys.readouterr().err == "myst: bin/hello: set-ID bits left out (see --keep-setuid)\n"


def test_everything_that_is_refused_is_listed_and_nothing_is_left(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(home / "appdir/pipe")
    os.mkfifo(home / "appdir/etc/other")

    assert main(["mkcpio", "appdir", "root.cpio"]) == 2

    error = capsys.readouterr().err
    assert error.startswith("myst: appdir: cannot become a root file system:")
    assert "pipe: is a FIFO" in error
    assert "etc/other: is a FIFO" in error
    assert _names(home) == ["appdir"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mkcpio missing root.cpio", "missing: cannot be read (No such file or directory)"),
        ("mkcpio appdir appdir", "appdir: is a directory, expected a file name"),
        ("mkcpio appdir no/root.cpio", "no/root.cpio: cannot be written (No such file or directory)"),
        ("excpio missing copy", "missing: cannot be read (No such file or directory)"),
        ("excpio appdir copy", "appdir: cannot be read (Is a directory)"),
        ("excpio appdir/bin/hello copy", "appdir/bin/hello: is an ELF file"),
        ("excpio good.cpio appdir", "appdir: is a directory with files in it"),
        ("excpio good.cpio .", ".: is a directory with files in it"),
        ("excpio cut.cpio copy", "cut.cpio: ends without a trailer"),
    ],
)
def test_mistakes_are_told_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    (home / "good.cpio").write_bytes(archive(member(b"a", b"x")))
    (home / "cut.cpio").write_bytes(member(b"a", b"x"))
    before = _names(home)

    assert main(line.split()) == 2

    assert message in capsys.readouterr().err
    assert _names(home) == before


def test_an_interrupted_mkcpio_leaves_nothing(home: Path) -> None:
    with (home / "appdir/large").open("wb") as file:
        file.truncate(3 << 30)
    child = subprocess.Popen([sys.executable, "-m", "mystikos", "mkcpio", "appdir", "root.cpio"])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
    finally:
        child.terminate()

    assert child.wait(10) == -15
    assert _names(home) == ["appdir"]


# ru_maxrss would not do: it knows the memory of the process that forked this one, too.
_MEASURED = """
import re, sys
from mystikos.cli import main
assert main(sys.argv[1:]) == 0
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


def _peak_memory(*args: str) -> int:
    """The most memory, in MiB, that a command line of ``myst`` needed."""
    run = subprocess.run(
        [sys.executable, "-c", _MEASURED, *args], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(run.stdout) // 1024


def _sparse(home: Path, size: int) -> None:
    for index in range(4):
        with (home / f"appdir/large{index}").open("wb") as file:
            file.truncate(size // 4)


def test_memory_does_not_grow_with_the_directory(home: Path) -> None:
    _sparse(home, 256 << 20)

    assert _peak_memory("mkcpio", "appdir", "root.cpio") < 100
    assert _peak_memory("excpio", "root.cpio", "copy") < 100


@pytest.mark.soak
def test_2_gib_pack_in_less_than_200_mib_of_memory(home: Path) -> None:
    _sparse(home, 2 << 30)

    assert _peak_memory("mkcpio", "appdir", "root.cpio") < 200
    assert (home / "root.cpio").stat().st_size > 2 << 30
    assert _peak_memory("excpio", "root.cpio", "copy") < 200


def test_a_full_disk_is_told_and_nothing_is_left(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files stands in for a full disk."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from mystikos.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    (home / "good.cpio").write_bytes(archive(member(b"a", b"x" * 10000)))
    before = _names(home)

    for line in ("mkcpio appdir root.cpio", "excpio good.cpio copy"):
        run = subprocess.run([sys.executable, "-c", script, *line.split()], check=False)
        assert run.returncode == 2
        error = capfd.readouterr().err
        assert "cannot be written (File too large)" in error
        assert "Traceback" not in error

    assert _names(home) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096
