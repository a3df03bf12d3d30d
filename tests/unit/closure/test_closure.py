"""A root file system whose program lacks something is told so, completely."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from tests.support import programs

from mystikos.closure import closure_check, grouped
from mystikos.errors import RootFsError
from mystikos.rootfs import scan

_LOADER = Path("/lib64/ld-linux-x86-64.so.2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A program, with its loader, that needs two libraries of its own; one of them needs a third."""
    root = tmp_path / "appdir"
    three = programs.library(tmp_path / "libthree.so")
    one = programs.library(tmp_path / "libone.so", str(three))
    two = programs.library(tmp_path / "libtwo.so", str(three))
    (root / "lib64").mkdir(parents=True)
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    shutil.copy(_LOADER, root / "lib64")
    programs.build(
        "int main(void) { return 0; }", root / "bin/app", "-nostartfiles", "-nostdlib", "-Wl,-e,main",
        "-Wl,--no-as-needed", str(one), str(two),
    )  # fmt: skip
    return root


def _lines(root: Path, path: bytes = b"/bin/app", environment: tuple[bytes, ...] = ()) -> tuple[str, ...]:
    return grouped(closure_check(scan(root), path, environment).missing)


def _bring(root: Path, folder: str, *names: str) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(root.parent / f"lib{name}.so", root / folder)


def test_everything_that_is_missing_is_told_with_who_needs_it(root: Path) -> None:
    assert _lines(root) == ("libone.so, needed by /bin/app", "libtwo.so, needed by /bin/app")

    _bring(root, "usr/lib", "one", "two")
    assert _lines(root) == ("libthree.so, needed by /lib/libone.so, /lib/libtwo.so",)

    _bring(root, "usr/lib", "three")
    assert _lines(root) == ()


def test_the_loader_is_needed_too(root: Path) -> None:
    _bring(root, "lib", "one", "two", "three")
    (root / "lib64/ld-linux-x86-64.so.2").unlink()

    assert _lines(root) == ("/lib64/ld-linux-x86-64.so.2, needed by /bin/app",)


def test_library_path_of_the_config_is_searched(root: Path) -> None:
    _bring(root, "opt/lib", "one", "two", "three")

    assert len(_lines(root)) == 2
    assert _lines(root, environment=(b"A=B", b"LD_LIBRARY_PATH=/none:/opt/lib")) == ()


def test_a_configured_directory_counts_only_with_a_cache(root: Path) -> None:
    """The loader reads ld.so.cache alone; ld.so.conf is what ldconfig made it from."""
    _bring(root, "opt/lib", "one", "two", "three")
    (root / "etc/ld.so.conf.d").mkdir(parents=True)
    (root / "etc/ld.so.conf").write_text("# all\ninclude ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d/app.conf").write_text("/opt/lib # ours\n")
    assert len(_lines(root)) == 2

    (root / "etc/ld.so.cache").write_bytes(b"glibc-ld.so.cache1.1")
    assert _lines(root) == ()


def test_files_that_include_each_other_end(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf\ninclude ld.so.conf\n")
    (root / "etc/ld.so.cache").touch()

    assert len(_lines(root)) == 2


def test_a_library_of_another_machine_does_not_count(root: Path) -> None:
    _bring(root, "lib", "one", "two", "three")
    content = bytearray((root / "lib/libthree.so").read_bytes())
    struct.pack_into("<H", content, 18, 183)
    (root / "lib/libthree.so").write_bytes(content)

    assert _lines(root) == ("libthree.so, needed by /lib/libone.so, /lib/libtwo.so",)


def test_a_link_that_leads_out_of_the_tree_does_not_count(root: Path) -> None:
    _bring(root, "lib", "one", "two")
    (root / "lib/libthree.so").symlink_to(root.parent / "libthree.so")

    assert len(_lines(root)) == 1


def test_a_script_needs_what_its_interpreter_needs(root: Path) -> None:
    (root / "bin/script").write_text("#!/bin/app -x\n")
    (root / "bin/script2").write_text("#!/bin/script\n")

    assert _lines(root, b"bin/script2") == ("libone.so, needed by /bin/app", "libtwo.so, needed by /bin/app")


def test_other_files_are_told_apart_from_the_program(root: Path) -> None:
    _bring(root, "lib", "one", "two", "three")
    programs.library(root.parent / "libfour.so")
    programs.library(root / "plugins/libplugin.so", str(root.parent / "libfour.so"))

    report = closure_check(scan(root), b"/bin/app")

    assert report.missing == ()
    assert grouped(report.others()) == ("libfour.so, needed by /plugins/libplugin.so",)


@pytest.mark.parametrize("path", [b"/none", b"/bin", b"/bin/dangling"])
def test_a_program_that_is_not_there_is_an_error(root: Path, path: bytes) -> None:
    (root / "bin/dangling").symlink_to("nothing")
    with pytest.raises(RootFsError, match="is not in the root file system, expected a program"):
        closure_check(scan(root), path)


def test_a_script_without_end_is_an_error(root: Path) -> None:
    (root / "bin/script").write_text("#!/bin/script\n")
    with pytest.raises(RootFsError, match="script run by a script"):
        closure_check(scan(root), b"/bin/script")


def test_a_foreign_program_is_an_error(root: Path) -> None:
    content = bytearray((root / "bin/app").read_bytes())
    struct.pack_into("<H", content, 18, 183)
    (root / "bin/app").write_bytes(content)

    with pytest.raises(RootFsError, match="built for machine 183"):
        closure_check(scan(root), b"/bin/app")
