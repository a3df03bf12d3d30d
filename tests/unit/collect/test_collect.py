"""What is collected runs from its own directory, with nothing else of this machine."""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.programs import HELLO, build, library, run_inside

from mystikos.collect import Choice, collect
from mystikos.errors import CollectError, MystError, OutputError
from mystikos.rootfs import scan


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("flags", "compiler"),
    [
        pytest.param((), "gcc", id="glibc"),
        pytest.param(("-no-pie",), "gcc", id="glibc-non-PIE"),
        pytest.param(("-static",), "gcc", id="glibc-static"),
        pytest.param((), "musl-gcc", id="musl"),
    ],
)
def test_a_c_program_built_here_becomes_bin_hello(home: Path, flags: tuple[str, ...], compiler: str) -> None:
    build(HELLO, home / "hello", *flags, compiler=compiler)

    done = collect(["./hello"], home / "appdir")

    assert done.programs == (b"/bin/hello",)
    assert run_inside(home / "appdir", "/bin/hello", "x").stdout == "hello 2 x\n"
    assert stat.S_IMODE((home / "appdir/tmp").stat().st_mode) == 0o1777


def test_an_installed_program_keeps_its_path_and_the_links_that_lead_there(home: Path) -> None:
    done = collect(["sh"], home / "appdir")

    (program,) = done.programs
    assert os.fsdecode(program) == shutil.which("sh")
    assert run_inside(home / "appdir", "/bin/sh", "-c", "echo $((6 * 7))").stdout == "42\n"
    real = Path("/bin/sh").resolve()
    assert (home / "appdir" / real.relative_to("/")).is_file()
    for link in ("lib64", "lib64/ld-linux-x86-64.so.2"):
        assert (home / "appdir" / link).is_symlink() == Path("/", link).is_symlink()


def test_several_programs_share_one_directory(home: Path) -> None:
    build(HELLO, home / "hello")

    done = collect(["./hello=/opt/hello", "cat", "sh"], home / "appdir")

    assert done.programs[0] == b"/opt/hello"
    assert run_inside(home / "appdir", "/bin/sh", "-c", "/opt/hello | cat").stdout == "hello 1 /opt/hello\n"


@pytest.mark.parametrize("line", ["#!/bin/sh", "#!/usr/bin/env sh", "#!/usr/bin/env -S sh -e"])
def test_a_script_brings_its_interpreter(home: Path, line: str) -> None:
    (home / "run").write_text(f"{line}\necho from $0\n")
    (home / "run").chmod(0o755)

    collect(["./run"], home / "appdir")

    assert run_inside(home / "appdir", "/bin/run").stdout == "from /bin/run\n"


def test_a_library_beside_a_program_that_moved_is_still_found(home: Path) -> None:
    """It was found through $ORIGIN; now it gets a link where the loader looks."""
    library(home / "build/lib/libone.so")
    build(
        "int one(void); int main(void) { return one(); }", home / "build/program", "-Llib", "-lone",
        "-Wl,-rpath,$ORIGIN/lib",
    )  # fmt: skip

    collect(["build/program"], home / "appdir")

    assert run_inside(home / "appdir", "/bin/program", check=False).returncode == 7


def test_a_library_from_library_path_is_found_without_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(home / "lib/libone.so")
    build("int one(void); int main(void) { return one(); }", home / "program", "-Llib", "-lone")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(home / "lib"))

    collect(["./program"], home / "appdir")

    assert run_inside(home / "appdir", "/bin/program", check=False).returncode == 7


def test_two_runs_give_the_same_image(home: Path) -> None:
    build(HELLO, home / "hello")
    images = []
    for name in ("one", "two"):
        before = os.umask(0o077 if name == "two" else 0o022)
        try:
            collect(["./hello", "python3"], home / name, python=Choice.MINIMAL)
        finally:
            os.umask(before)
        images.append(b"".join(scan(home / name).chunks()))

    assert images[0] == images[1]


# -- include and exclude


def test_an_included_plugin_brings_its_libraries(home: Path) -> None:
    library(home / "lib/libneeded.so")
    library(home / "plugins/libplugin.so", "-L../lib", "-lneeded", "-Wl,-rpath,$ORIGIN/../lib")
    (home / "plugins/readme.txt").write_text("x")
    build(HELLO, home / "hello")

    done = collect(["./hello"], home / "appdir", include=["plugins"], exclude=["*.txt"])

    inside = home / "appdir" / home.relative_to("/")
    assert _names(inside / "plugins") == ["libplugin.so"]
    assert (inside / "lib/libneeded.so").is_file()
    assert b"libneeded.so" in done.libraries


def test_an_included_program_brings_its_loader(home: Path) -> None:
    build(HELLO, home / "hello", "-static")
    build(HELLO, home / "tools/musl", compiler="musl-gcc")

    collect(["./hello"], home / "appdir", include=["tools=/tools"])

    assert run_inside(home / "appdir", "/tools/musl").stdout == "hello 1 /tools/musl\n"


def test_includes_keep_modes_links_and_hard_links_and_leave_out_the_rest(home: Path) -> None:
    build(HELLO, home / "hello", "-static")
    data = home / "data"
    data.mkdir()
    (data / "secret").write_text("s")
    (data / "secret").chmod(0o600)
    (data / "again").hardlink_to(data / "secret")
    (data / "closed").mkdir(mode=0o700)
    (home / "elsewhere").write_text("e")
    (data / "inner").symlink_to("secret")
    (data / "outer").symlink_to("../elsewhere")
    os.mkfifo(data / "pipe")

    done = collect(["./hello"], home / "appdir", include=["data"])

    copy = home / "appdir" / data.relative_to("/")
    assert _names(copy) == ["again", "closed", "inner", "outer", "secret"]
    assert (copy / "again").samefile(copy / "secret")
    assert stat.S_IMODE((copy / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((copy / "closed").stat().st_mode) == 0o700
    assert (copy / "outer").resolve().read_text() == "e"
    assert [warning for warning in done.warnings if "pipe" in warning] == [
        f"{data}/pipe: is not a file, and was left out"
    ]


def test_a_new_directory_inside_of_what_is_included_is_no_part_of_itself(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(HELLO, home / "hello", "-static")
    monkeypatch.chdir(home)

    collect(["./hello"], home / "appdir", include=[".", ".=/place"])

    for copy in (home / "appdir" / home.relative_to("/"), home / "appdir/place"):
        assert _names(copy) == ["hello"]


def test_an_include_can_go_to_another_place(home: Path) -> None:
    build(HELLO, home / "hello", "-static")
    (home / "etc").mkdir()
    (home / "etc/app.conf").write_text("x")

    collect(["./hello"], home / "appdir", include=["etc/app.conf=/etc/other.conf", "etc=/srv/etc"])

    assert (home / "appdir/etc/other.conf").read_text() == "x"
    assert (home / "appdir/srv/etc/app.conf").read_text() == "x"


def test_a_library_that_a_plugin_lacks_is_a_warning(home: Path) -> None:
    build(HELLO, home / "hello")
    library(home / "libgone.so")
    library(home / "plugins/libplugin.so", "-L..", "-lgone")

    done = collect(["./hello"], home / "appdir", include=["plugins=/plugins"])

    assert done.warnings == (
        "not on this machine: libgone.so, needed by " + str(home / "plugins/libplugin.so"),
    )


# -- mistakes


def _foreign(home: Path) -> None:
    content = bytearray(build(HELLO, home / "bad").read_bytes())
    struct.pack_into("<H", content, 18, 183)
    (home / "bad").write_bytes(content)


def _text(home: Path) -> None:
    (home / "bad").write_text("text\n")
    (home / "bad").chmod(0o755)


def _lacking(home: Path) -> None:
    library(home / "libgone.so")
    build("int gone(void); int main(void) { return gone(); }", home / "bad", "-L.", "-lgone")


def _strange_interpreter(home: Path) -> None:
    (home / "bad").write_text("#!/no/such/interpreter\n")
    (home / "bad").chmod(0o755)


def _not_executable(home: Path) -> None:
    build(HELLO, home / "bad").chmod(0o644)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_foreign, "bad: built for machine 183"),
        (_text, "is not an ELF file and not a #! script"),
        (_lacking, r"(?s)cannot start on this machine either.*libgone.so, needed by \S*bad"),
        (_strange_interpreter, "its #! line names /no/such/interpreter"),
        (_not_executable, "./bad: is not executable"),
        (lambda home: None, "./bad: is not on this machine"),
        (lambda home: (home / "bad").mkdir(), "./bad: is a directory"),
    ],
)
def test_a_program_that_cannot_run_is_told_and_nothing_is_left(
    home: Path, make: Callable[[Path], object], message: str
) -> None:
    make(home)
    before = _names(home)

    with pytest.raises(CollectError, match=message):
        collect(["./bad"], home / "appdir")

    assert _names(home) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["no-such-program"]}, "no-such-program: is not in PATH"),
        ({"names": ["sh=bin/sh"]}, "the place is bin/sh|the place is 'bin/sh'"),
        ({"names": ["sh=/../sh"]}, "expected an absolute path without"),
        ({"names": ["sh"], "include": ["nothing"]}, "nothing: is not on this machine"),
        ({"names": ["sh"], "include": ["/dev/null"]}, "/dev/null: is not a file or directory"),
        ({"names": ["sh=/tmp/a", "sh=/tmp/a/b"]}, "/tmp/a: is a file in the new tree"),
    ],
)
def test_mistakes_in_arguments_are_told(home: Path, arguments: dict[str, list[str]], message: str) -> None:
    with pytest.raises(MystError, match=message):
        collect(arguments["names"], home / "appdir", include=arguments.get("include", []))

    assert _names(home) == []


def test_a_directory_with_files_is_left_alone(home: Path) -> None:
    (home / "appdir").mkdir()
    (home / "appdir/mine").touch()

    with pytest.raises(OutputError, match="is a directory with files in it"):
        collect(["sh"], home / "appdir")

    assert _names(home / "appdir") == ["mine"]


def test_shims_of_version_managers_are_passed_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shims = home / "pyenv/shims"
    shims.mkdir(parents=True)
    (shims / "sh").write_text('#!/usr/bin/env bash\nexec "/opt/pyenv/libexec/pyenv" exec "$program" "$@"\n')
    (shims / "sh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:{os.environ['PATH']}")

    (program,) = collect(["sh"], home / "appdir").programs

    assert not program.startswith(os.fsencode(shims))
    assert run_inside(home / "appdir", os.fsdecode(program), "-c", "exit").returncode == 0
