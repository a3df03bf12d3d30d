"""A package that is not what was signed is refused before any code of it runs."""

from __future__ import annotations

import hashlib
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from mystikos.launcher import Runtime
from tests.support.running import package, run

SECTIONS = [".libmystkernel", ".libmystcrt", ".mystconfig", ".mystbind", ".mystrootfs", ".mystenc"]


@pytest.fixture(scope="module")
def victim(probe_appdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release package that would tell at once if anything of it ran."""
    directory = tmp_path_factory.mktemp("victim")
    return package(
        probe_appdir,
        directory / "victim",
        "/bin/probe",
        Debug=1,
        HostApplicationParameters=False,
        ApplicationParameters=["arguments", "this must not be seen"],
    )


def _sections(path: Path) -> dict[str, tuple[int, int]]:
    with path.open("rb") as stream:
        return {s.name: (s["sh_offset"], s["sh_size"]) for s in ELFFile(stream).iter_sections()}


def _refused(path: Path) -> None:
    refused = run(path)
    assert refused.status == 125, refused
    assert refused.out == b""
    assert refused.err.startswith(b"myst: "), refused.err
    assert refused.err.count(b"\n") == 1


def _copy(victim: Path, directory: Path) -> Path:
    return Path(shutil.copy(victim, directory / "altered"))


def _flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1 << bit]))


def test_unaltered_it_runs(victim: Path) -> None:
    assert run(victim).lines == ["/bin/probe", "arguments", "this must not be seen"]


@pytest.mark.parametrize("name", SECTIONS)
def test_one_flipped_bit_is_refused(victim: Path, tmp_path: Path, name: str) -> None:
    path = _copy(victim, tmp_path)
    offset, size = _sections(victim)[name]
    chance = random.Random(name)
    places = {0, size - 1, *(chance.randrange(size) for _ in range(40))}
    for place in sorted(places):
        bit = chance.randrange(8)
        _flip(path, offset + place, bit)
        _refused(path)
        _flip(path, offset + place, bit)
    assert run(path).status == 0


def test_every_byte_of_the_signature_counts(victim: Path, tmp_path: Path) -> None:
    path = _copy(victim, tmp_path)
    offset, _ = _sections(victim)[".mystenc"]
    with path.open("rb") as stream:
        stream.seek(offset + 72)
        (sigstruct,) = struct.unpack("<Q", stream.read(8))
    chance = random.Random(1808)
    for place in range(0, 1808, 16):
        at = offset + sigstruct + place + chance.randrange(16)
        _flip(path, at, chance.randrange(8))
        _refused(path)
        shutil.copy(victim, path)


def test_a_truncated_file_is_refused(victim: Path, tmp_path: Path) -> None:
    whole = victim.read_bytes()
    launcher = len(Runtime.load().launcher)
    for size in [len(whole) - 1, len(whole) - 64, len(whole) // 2, launcher + 4096, launcher + 1]:
        path = tmp_path / "altered"
        path.write_bytes(whole[:size])
        path.chmod(0o755)
        _refused(path)
        path.unlink()


def test_the_bare_launcher_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "launcher"
    path.write_bytes(Runtime.load().launcher)
    path.chmod(0o755)
    _refused(path)


@pytest.mark.parametrize("name", [*SECTIONS, ".mystpubkeys", ".mystroothashes"])
def test_a_missing_section_is_refused(victim: Path, tmp_path: Path, name: str) -> None:
    path = _copy(victim, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(name.encode() + b"\0", b".x" + name.encode()[2:] + b"\0"))
    _refused(path)


def _descriptor_field(offset: int, form: str, value: int) -> Callable[[bytearray], None]:
    def change(descriptor: bytearray) -> None:
        struct.pack_into(form, descriptor, offset, value)

    return change


ABSURD = {
    "version": _descriptor_field(8, "<I", 2),
    "flags": _descriptor_field(12, "<I", 0x80000000),
    "size": _descriptor_field(16, "<Q", 1 << 63),
    "enclave size not a power of two": _descriptor_field(24, "<Q", 12345),
    "enclave size of everything": _descriptor_field(24, "<Q", 1 << 63),
    "enclave size of nothing": _descriptor_field(24, "<Q", 0),
    "regions beyond the end": _descriptor_field(56, "<Q", (1 << 64) - 128),
    "no regions": _descriptor_field(64, "<I", 0),
    "four billion regions": _descriptor_field(64, "<I", 0xFFFFFFFF),
    "records of another size": _descriptor_field(68, "<I", 127),
    "SIGSTRUCT beyond the end": _descriptor_field(72, "<Q", (1 << 64) - 1),
    "SIGSTRUCT of another size": _descriptor_field(80, "<Q", 0),
    "region offset": _descriptor_field(128, "<Q", (1 << 64) - 4096),
    "region page count": _descriptor_field(136, "<Q", 1 << 60),
    "region permissions": _descriptor_field(144, "<Q", 0x203),
    "region not readable": _descriptor_field(144, "<Q", 0x200),
    "region kind": _descriptor_field(152, "<I", 99),
    "region flags": _descriptor_field(156, "<I", 2),
    "region source": _descriptor_field(160, "<I", 3),
    "region section": _descriptor_field(164, "<I", 8),
    "region of the descriptor itself": _descriptor_field(164, "<I", 7),
    "region source offset": _descriptor_field(168, "<Q", (1 << 64) - 4096),
    "region source size": _descriptor_field(176, "<Q", 1 << 62),
}


@pytest.mark.parametrize("change", ABSURD.values(), ids=ABSURD)
def test_an_absurd_descriptor_with_a_right_checksum_is_refused(
    victim: Path, tmp_path: Path, change: Callable[[bytearray], None]
) -> None:
    path = _copy(victim, tmp_path)
    offset, size = _sections(victim)[".mystenc"]
    data = bytearray(path.read_bytes())
    descriptor = data[offset : offset + size]
    change(descriptor)
    descriptor[96:128] = bytes(32)
    descriptor[96:128] = hashlib.sha256(descriptor).digest()
    data[offset : offset + size] = descriptor
    path.write_bytes(data)
    _refused(path)


def test_a_signature_of_another_key_over_other_content_is_refused(
    probe_appdir: Path, victim: Path, tmp_path: Path
) -> None:
    """The whole descriptor of a package that another signer made of other content."""
    other = package(probe_appdir, tmp_path / "other", "/bin/probe", Hostname="elsewhere")
    _, size = _sections(victim)[".mystenc"]
    other_offset, other_size = _sections(other)[".mystenc"]
    assert size == other_size
    path = _copy(victim, tmp_path)
    offset, _ = _sections(victim)[".mystenc"]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = other.read_bytes()[other_offset : other_offset + size]
    path.write_bytes(data)
    _refused(path)
