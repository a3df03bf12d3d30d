"""Binding a whole root file system, and files that are damaged."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from tests.support.machine_code import TEXT_OFFSET, elf

from mystikos import rootfs
from mystikos.binding import Site, bind, bind_file
from mystikos.binding.elf import MalformedElf
from mystikos.binding.table import decode

MOV_EAX = b"\xb8\x01\0\0\0"
GETPID = MOV_EAX + b"\x0f\x05\xc3"


def test_every_elf_file_is_reported_whatever_its_name_or_mode(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/program").write_bytes(elf(GETPID))
    (tmp_path / "plugin.node").write_bytes(elf(GETPID))
    (tmp_path / "plugin.node").chmod(0o444)
    (tmp_path / "script").write_bytes(b"#!/bin/sh\n" + GETPID * 20)
    (tmp_path / "link").symlink_to("bin/program")
    (tmp_path / "empty").touch()

    bindings = bind(rootfs.scan(tmp_path))
    assert [f.path for f in bindings.files] == [b"bin/program", b"plugin.node"]
    assert all(f.sites == (Site(TEXT_OFFSET, MOV_EAX, b""),) for f in bindings.files)


def test_the_table_names_places_in_the_image(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(elf(GETPID))
    scanned = rootfs.scan(tmp_path)
    image = b"".join(scanned.chunks())

    for record in decode(bind(scanned).table):
        (site,) = record.sites
        assert image[record.data_offset :][: record.size] == elf(GETPID)
        place = record.data_offset + site.offset
        assert image[place:].startswith(site.before + b"\x0f\x05" + site.after)


def test_hard_links_share_one_record(tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(elf(GETPID))
    (tmp_path / "second").hardlink_to(tmp_path / "first")
    bindings = bind(rootfs.scan(tmp_path))
    assert len(bindings.files) == 1
    assert len(decode(bindings.table)) == 1


def test_a_file_without_system_calls_is_reported_but_not_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "quiet").write_bytes(elf(b"\xc3"))
    bindings = bind(rootfs.scan(tmp_path))
    assert [(f.path, f.sites, f.traps) for f in bindings.files] == [(b"quiet", (), ())]
    assert decode(bindings.table) == ()


def test_a_malformed_file_is_left_alone_and_told(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(elf(GETPID)[:200])
    (tmp_path / "sound").write_bytes(elf(GETPID))
    broken, sound = bind(rootfs.scan(tmp_path)).files
    assert broken.sites == ()
    assert "beyond the file's end" in str(broken.problem)
    assert len(sound.sites) == 1
    assert sound.problem is None


def survives(data: bytes) -> None:
    """Damage may leave a file bindable, but whatever is bound must be what the file says."""
    try:
        sites, _ = bind_file(data)
    except MalformedElf:
        return
    for site in sites:
        assert data[site.offset :].startswith(site.before + b"\x0f\x05" + site.after)


@pytest.mark.parametrize("kind", [2, 3])
def test_truncated_files_do_not_crash(kind: int) -> None:
    data = elf(GETPID, data=bytes(100), kind=kind)
    for size in [*range(0, 400), *range(len(data) - 400, len(data))]:
        survives(data[:size])


def test_damage_anywhere_in_a_real_program_does_not_crash(tmp_path: Path) -> None:
    """Headers, symbols, unwind tables and code, in bursts."""
    source = tmp_path / "program.c"
    source.write_text("#include <stdio.h>\nint main(void) { return puts(__FILE__); }\n")
    subprocess.run(["musl-gcc", "-static", "-O2", "-o", tmp_path / "program", source], check=True)
    program = (tmp_path / "program").read_bytes()
    survives(program)

    chance = random.Random(20261123)
    headers = [*range(20, 64 + 56 * 8), *range(len(program) - 64 * 20, len(program))]
    for where in [headers] * 150 + [range(20, len(program))] * 150:
        damaged = bytearray(program)
        for offset in chance.sample(where, chance.choice([1, 3, 30, 300])):
            damaged[offset] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        survives(bytes(damaged))


def test_absurd_header_values_do_not_crash() -> None:
    data = elf(GETPID, data=bytes(100))
    for offset in range(20, len(data[:64]) + 3 * 56, 2):
        for value in (b"\xff\xff", b"\0\0", b"\xff\x7f", b"\0\x80"):
            survives(data[:offset] + value + data[offset + 2 :])
    for offset in range(len(data) - 4 * 64 - 120, len(data), 2):
        for value in (b"\xff\xff", b"\0\x80"):
            survives(data[:offset] + value + data[offset + 2 :])
