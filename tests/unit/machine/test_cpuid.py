"""CPUID: asked of this processor, and read from the leaves of others."""

from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path

import pytest

from mystikos.machine import EpcSection, SgxFacts, cpuid
from mystikos.machine.cpuid import Ask, Registers

NOTHING = Registers(0, 0, 0, 0)

# An Ice Lake server with 4 GiB of protected memory, as cpuid(1) prints such machines
ICE_LAKE = {
    (0x0, 0): Registers(0x1B, 0x756E6547, 0x6C65746E, 0x49656E69),
    (0x1, 0): Registers(0x606A6, 0x800, 0x7FFEFBFF, 0xBFEBFBFF),
    (0x7, 0): Registers(0x2, 0xF3BFFFEF, 0x40417F5E, 0xBC040412),
    (0x12, 0): Registers(0x63, 0x1, 0, 0x381F),
    (0x12, 1): Registers(0xB6, 0, 0x2E7, 0),
    (0x12, 2): Registers(0x80C00001, 0x10, 0x7F400002, 0),
    (0x12, 3): Registers(0x80C00001, 0x20, 0x7F400002, 0x1),
    (0x80000000, 0): Registers(0x80000008, 0, 0, 0),
    (0x80000002, 0): Registers(*struct.unpack("<4I", b"Intel(R) Xeon(R)")),
    (0x80000003, 0): Registers(*struct.unpack("<4I", b" Platinum 8352Y ")),
    (0x80000004, 0): Registers(*struct.unpack("<4I", b"CPU @ 2.20GHz\0\0\0")),
}
HYPERVISOR_BIT = 1 << 31


def asking(leaves: dict[tuple[int, int], Registers], **changes: Registers) -> Ask:
    return lambda leaf, subleaf: leaves.get((leaf, subleaf), NOTHING)


def changed(**registers: tuple[int, int, int, int]) -> Ask:
    """The same processor with other leaves: ``leaf_12_0=…``."""
    leaves = dict(ICE_LAKE)
    for name, values in registers.items():
        _, leaf, subleaf = name.split("_")
        leaves[int(leaf, 16), int(subleaf)] = Registers(*values)
    return asking(leaves)


def test_a_processor_is_described() -> None:
    processor = cpuid.describe(asking(ICE_LAKE))
    assert processor.vendor == "GenuineIntel"
    assert processor.model == "Intel(R) Xeon(R) Platinum 8352Y CPU @ 2.20GHz"
    assert processor.signature == "family 6 model 106 stepping 6"
    assert processor.hypervisor is None
    assert (processor.sgx, processor.flc) == (True, True)


def test_leaf_12_is_read_whole() -> None:
    assert cpuid.describe(asking(ICE_LAKE)).leaf_12 == SgxFacts(
        sgx1=True,
        sgx2=True,
        miscselect=1,
        max_enclave_size=1 << 56,
        attributes=0xB6,
        xfrm=0x2E7,
        epc=(
            EpcSection(0x1080C00000, 0x7F400000, integrity=False),
            EpcSection(0x2080C00000, 0x17F400000, integrity=False),
        ),
    )


def test_leaf_12_that_the_firmware_left_empty_is_read_as_nothing() -> None:
    nothing = (0, 0, 0, 0)
    ask = changed(leaf_12_0=nothing, leaf_12_1=nothing, leaf_12_2=nothing, leaf_12_3=nothing)
    assert cpuid.describe(ask).leaf_12 == SgxFacts()


def test_without_sgx_leaf_12_is_not_asked() -> None:
    def ask(leaf: int, subleaf: int) -> Registers:
        assert leaf != 0x12
        return changed(leaf_7_0=(0, 0, 0, 0))(leaf, subleaf)

    processor = cpuid.describe(ask)
    assert (processor.sgx, processor.flc, processor.leaf_12) == (False, False, None)


def test_a_processor_that_knows_few_leaves_is_not_asked_for_more() -> None:
    ask = changed(leaf_0_0=(5, *ICE_LAKE[0, 0][1:]), leaf_80000000_0=(0, 0, 0, 0))
    processor = cpuid.describe(ask)
    assert (processor.sgx, processor.leaf_12, processor.model) == (False, None, None)


def test_sections_without_end_come_to_an_end() -> None:
    def ask(leaf: int, subleaf: int) -> Registers:
        return ICE_LAKE[0x12, 2] if leaf == 0x12 and subleaf > 1 else asking(ICE_LAKE)(leaf, subleaf)

    leaf_12 = cpuid.describe(ask).leaf_12
    assert leaf_12 is not None
    assert len(leaf_12.epc) == 32


@pytest.mark.parametrize(
    ("signature", "shown"),
    [
        (0x000906EA, "family 6 model 158 stepping 10"),
        (0x00A00F11, "family 25 model 1 stepping 1"),
        (0x00000543, "family 5 model 4 stepping 3"),
    ],
)
def test_family_and_model_are_those_of_proc_cpuinfo(signature: int, shown: str) -> None:
    assert cpuid.describe(changed(leaf_1_0=(signature, 0, 0, 0))).signature == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"KVMKVMKVM\0\0\0", "KVM"),
        (b"Microsoft Hv", "Hyper-V"),
        (b"Some\x1bOther\0\0", "SomeOther"),
        (b"\0" * 12, "unknown"),
    ],
)
def test_a_hypervisor_is_named(name: bytes, shown: str) -> None:
    ask = changed(leaf_1_0=(0x606A6, 0, HYPERVISOR_BIT, 0), leaf_40000000_0=(0, *struct.unpack("<3I", name)))
    assert cpuid.describe(ask).hypervisor == shown


def test_the_instruction_tells_what_the_kernel_knows() -> None:
    with cpuid.by_instruction() as ask:
        processor = cpuid.describe(ask)
    cpuinfo = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    known = dict(re.findall(r"^(.+?)\s*: (.*)$", cpuinfo, flags=re.MULTILINE))
    assert processor.vendor == known["vendor_id"]
    assert processor.model == " ".join(known["model name"].split())
    numbers = known["cpu family"], known["model"], known["stepping"]
    assert processor.signature == "family {} model {} stepping {}".format(*numbers)
    assert (processor.hypervisor is not None) == ("hypervisor" in known["flags"].split())


def test_the_instruction_gives_back_its_page() -> None:
    def pages() -> int:
        return sum("memfd:cpuid" in line for line in Path("/proc/self/maps").read_text().splitlines())

    with cpuid.by_instruction():
        maps = Path("/proc/self/maps").read_text()
        (line,) = [line for line in maps.splitlines() if "memfd:cpuid" in line]
        assert line.split()[1] == "r-xp"
    assert pages() == 0


def test_code_that_may_not_be_executed_is_an_error_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a policy forbids it: mmap of a file that cannot be mapped so gives its errno."""
    monkeypatch.setattr(os, "memfd_create", lambda *_: os.open("/dev/null", os.O_RDWR))
    with pytest.raises(OSError, match=os.strerror(errno.ENODEV)), cpuid.by_instruction():
        pass


def test_the_kernels_file_is_read_at_leaf_and_subleaf(tmp_path: Path) -> None:
    with (tmp_path / "cpuid").open("wb") as file:
        file.seek(3 << 32 | 0x12)
        file.write(struct.pack("<4I", 1, 2, 3, 4))
    with cpuid.by_device(tmp_path / "cpuid") as ask:
        assert ask(0x12, 3) == Registers(1, 2, 3, 4)


def test_a_file_that_ends_early_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cpuid").write_bytes(b"short")
    with (
        cpuid.by_device(tmp_path / "cpuid") as ask,
        pytest.raises(OSError, match="got 5 bytes, expected 16"),
    ):
        ask(0, 0)
