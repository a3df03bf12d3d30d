"""What an ELF file asks of its loader, and that no file breaks the reader."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import programs
from tests.support.rounds import rounds

from mystikos.formats.dynamic import Dynamic, read
from mystikos.formats.elf import ElfError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dynamic")


def _read(path: Path) -> Dynamic | None:
    with path.open("rb") as file:
        return read(file)


def test_names_and_paths_are_read(folder: Path) -> None:
    programs.library(folder / "libfirst.so")
    program = programs.build(
        programs.HELLO, folder / "program", "-L.", "-Wl,--no-as-needed", "-lfirst",
        "-Wl,--enable-new-dtags,-rpath,$ORIGIN:/opt/x:", "-Wl,-z,nodefaultlib",
    )  # fmt: skip

    wanted = _read(program)

    assert wanted is not None
    assert wanted.interpreter == b"/lib64/ld-linux-x86-64.so.2"
    assert wanted.needed == (b"libfirst.so", b"libc.so.6")
    assert wanted.runpath == (b"$ORIGIN", b"/opt/x")
    assert (wanted.rpath, wanted.no_default_libraries) == ((), True)
    assert _read(folder / "libfirst.so").soname == b"libfirst.so"  # type: ignore[union-attr]


def test_the_old_tag_is_told_from_the_new(folder: Path) -> None:
    program = programs.build(programs.HELLO, folder / "old", "-Wl,--disable-new-dtags,-rpath,/opt/x")

    assert _read(program).rpath == (b"/opt/x",)  # type: ignore[union-attr]


def test_a_static_program_asks_for_nothing(folder: Path) -> None:
    assert _read(programs.build(programs.HELLO, folder / "static", "-static")) == Dynamic()


@pytest.mark.parametrize("content", [b"", b"\x7fEL", b"#!/bin/sh\n", bytes(100)])
def test_what_is_no_elf_file_is_none(content: bytes) -> None:
    assert read(io.BytesIO(content)) is None


@pytest.fixture(scope="module")
def small(folder: Path) -> bytes:
    programs.library(folder / "libsmall.so", "-Wl,-rpath,/opt/x", "-L.", "-Wl,-z,noseparate-code")
    return (folder / "libsmall.so").read_bytes()


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (4, 1, "64-bit"),
        (5, 2, "little-endian"),
        (18, 0xB7, "machine 183"),
        (54, 1, "program headers of 1 bytes"),
    ],
)
def test_a_foreign_or_damaged_file_is_an_error(small: bytes, offset: int, value: int, message: str) -> None:
    damaged = bytearray(small)
    damaged[offset] = value
    with pytest.raises(ElfError, match=message):
        read(io.BytesIO(bytes(damaged)))


@rounds(400)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(small: bytes, data: st.DataObject) -> None:
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(damaged), 1200) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    try:
        read(io.BytesIO(bytes(damaged[:end])))
    except ElfError:
        return
