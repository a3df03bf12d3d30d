"""Function ranges, compared with what the toolchain says about the same files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.support.machine_code import TEXT, elf

from mystikos.binding.elf import Image
from mystikos.binding.functions import Functions, find_functions

_SOURCE = """
#include <stdio.h>
__attribute__((noinline)) int square(int x) { return x * x; }
static __attribute__((noinline)) int cube(int x) { return square(x) * x; }
int main(int argc, char **argv) { printf("%s %d\\n", argv[0], cube(argc)); return square(argc); }
"""

_CLEANUP = """
void release(int *handle);
int may_throw(void);
int guarded(void) { __attribute__((cleanup(release))) int handle = 1; return may_throw(); }
int unguarded(void) { return may_throw() + 1; }
"""

_SIGNALS = """
#include <signal.h>
int main(void) { struct sigaction action = {0}; return sigaction(SIGINT, &action, 0); }
"""


def functions_of(path: Path) -> Functions:
    image = Image.parse(path.read_bytes())
    assert image is not None
    return find_functions(image)


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def ranges(functions: Functions) -> set[tuple[int, int]]:
    return set(zip(functions.starts.tolist(), functions.ends.tolist(), strict=True))


@pytest.mark.parametrize("link", [["-static"], ["-static-pie"], ["-pie", "-fPIE"], ["-no-pie"]])
def test_unwind_tables_list_the_functions_of_a_stripped_program(tmp_path: Path, link: list[str]) -> None:
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(_SOURCE)
    run("gcc", "-O2", *link, "-o", program, source)
    symbols = [line.split() for line in run("nm", "--print-size", program).splitlines()]
    named = {
        words[3]: (int(words[0], 16), int(words[0], 16) + int(words[1], 16))
        for words in symbols
        if len(words) == 4 and words[2] in "tT"
    }
    run("strip", program)

    found = ranges(functions_of(program))
    assert {named["square"], named["main"]} <= found


def test_unwind_tables_are_found_without_section_headers(tmp_path: Path) -> None:
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(_SOURCE)
    run("gcc", "-O2", "-pie", "-fPIE", "-o", program, source)
    run("strip", program)
    with_sections = ranges(functions_of(program))

    data = bytearray(program.read_bytes())
    data[0x28:0x30] = bytes(8)  # e_shoff
    data[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    program.write_bytes(data)
    assert ranges(functions_of(program)) == with_sections


def test_a_function_with_a_cleanup_has_landing_pads(tmp_path: Path) -> None:
    source, library = tmp_path / "guarded.c", tmp_path / "guarded.so"
    source.write_text(_CLEANUP)
    run("gcc", "-O2", "-fexceptions", "-shared", "-fPIC", "-o", library, source)
    symbols = {
        words[2]: int(words[0], 16)
        for words in map(str.split, run("nm", library).splitlines()[1:])
        if len(words) == 3
    }

    functions = functions_of(library)
    blocks = [functions.block_at(symbols[name]) for name in ("guarded", "unguarded")]
    assert [block.landing_pads for block in blocks if block] == [True, False]


def test_signal_trampolines_are_not_functions(tmp_path: Path) -> None:
    """Their FDEs start one byte before the first instruction, so that unwinders find them from a return."""
    source, program = tmp_path / "signals.c", tmp_path / "signals"
    source.write_text(_SIGNALS)
    run("gcc", "-static", "-s", "-o", program, source)
    image = Image.parse(program.read_bytes())
    assert image is not None
    trampoline = next(image.find(b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05"))
    assert trampoline - 1 not in find_functions(image).starts


@pytest.mark.parametrize("flags", [[], ["-ldflags=-s -w"], ["-buildmode=pie", "-ldflags=-s -w"]])
def test_go_lists_its_functions_in_its_own_table(tmp_path: Path, flags: list[str]) -> None:
    source, program = tmp_path / "main.go", tmp_path / "program"
    source.write_text('package main\nimport "os"\nfunc main() { os.Exit(3) }\n')
    subprocess.run(
        ["go", "build", *flags, "-o", program, source],
        check=True,
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/local/go/bin", "CGO_ENABLED": "0"},
    )
    functions = functions_of(program)
    image = Image.parse(program.read_bytes())
    assert image is not None

    syscall6 = bytes.fromhex("4989f2 4889fa 4889ce 4889df 0f05")  # internal/runtime/syscall/linux.Syscall6
    (address,) = image.find(syscall6)
    assert address in functions.starts
    assert len(functions.starts) > 1000


def image_of(*functions: tuple[int, int], size: int = 64) -> Functions:
    image = Image.parse(elf(b"\x90" * size, functions))
    assert image is not None
    return find_functions(image)


def test_the_innermost_of_nested_functions_is_taken() -> None:
    block = image_of((0, 40), (8, 8)).block_at(TEXT + 10)
    assert block is not None
    assert (block.start, block.end) == (TEXT + 8, TEXT + 16)


def test_a_gap_reaches_from_one_function_to_the_next() -> None:
    block = image_of((0, 8), (32, 8)).block_at(TEXT + 20)
    assert block is not None
    assert (block.start, block.end, block.named) == (TEXT + 8, TEXT + 32, False)


def test_the_last_gap_reaches_to_the_end_of_the_section() -> None:
    block = image_of((0, 8)).block_at(TEXT + 20)
    assert block is not None
    assert (block.start, block.end) == (TEXT + 8, TEXT + 64)


def test_functions_outside_of_the_text_are_dropped() -> None:
    assert np.array_equal(image_of((0, 8), (60, 8), (-4096, 8)).starts, [TEXT])
