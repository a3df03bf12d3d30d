"""The scan of the kernel's text finds what an enclave cannot execute."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import scan_kernel

ILLEGAL = {
    "syscall": "0f05",
    "sysenter": "0f34",
    "cpuid": "0fa2",
    "int 0x80": "cd80",
    "in al, dx": "ec",
    "out dx, al": "ee",
    "rdtsc": "0f31",
    "rdtscp": "0f01f9",
    "iretq": "48cf",
    "sgdt": "0f0100",
    "str": "0f00c8",
    "vmcall": "0f01c1",
    "far jump": "ff28",
    "far call": "ff18",
    "far return": "cb",
    "undecodable": "06",
}


@pytest.mark.parametrize("code", ILLEGAL.values(), ids=ILLEGAL)
def test_an_instruction_illegal_in_an_enclave_is_found(code: str) -> None:
    assert list(scan_kernel.offences(b"\x90" + bytes.fromhex(code), 0x1000))


@pytest.mark.parametrize("code", ["0f01d7", "0f01d0", "0fc7f0", "f3480faed0", "cc", "c3", "ff20"])
def test_instructions_legal_in_an_enclave_pass(code: str) -> None:
    assert not list(scan_kernel.offences(bytes.fromhex(code), 0))


def test_the_kernel_that_was_built_has_none() -> None:
    kernel = Path(scan_kernel.__file__).parents[1] / "src/mystikos/_runtime/libmystkernel"
    assert scan_kernel.scan(kernel) == []
