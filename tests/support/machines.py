"""Machines of many kinds, as ``mystikos.machine`` would describe them."""

from __future__ import annotations

from dataclasses import replace

from mystikos.machine import Device, EpcSection, Kernel, Machine, Processor, SgxFacts, User
from mystikos.machine.facts import HWCAP2_FSGSBASE

FLAGS = frozenset({"fpu", "fsgsbase", "sgx", "sgx_lc"})

ICE_LAKE = Processor(
    vendor="GenuineIntel",
    model="Intel(R) Xeon(R) Platinum 8352Y CPU @ 2.20GHz",
    signature="family 6 model 106 stepping 6",
    microcode="0xd0003d1",
    sgx=True,
    flc=True,
    leaf_12=SgxFacts(
        sgx1=True,
        sgx2=True,
        miscselect=0x1,
        max_enclave_size=1 << 56,
        attributes=0xB6,
        xfrm=0x2E7,
        epc=(
            EpcSection(0x1080000000, 0x7F000000, False),
            EpcSection(0x2080000000, 0x80000000, False),
        ),
    ),
    flags=FLAGS,
)

KERNEL = Kernel(
    release="6.1.0-18-amd64",
    command_line=("quiet",),
    config_x86_sgx=True,
    misc_devices=frozenset({"sgx_enclave", "sgx_provision", "tun"}),
    vdso_enters_enclaves=True,
    hwcap2=HWCAP2_FSGSBASE,
    syscall_user_dispatch=True,
    cpuid_faulting=True,
    tsc_faulting=True,
)

ALICE = User("alice", groups=frozenset({"alice", "sgx"}), member_of=frozenset({"sgx"}))

SERVER = Machine(
    processor=ICE_LAKE,
    kernel=KERNEL,
    enclave=Device("/dev/sgx_enclave", "character device", 0o660, "sgx"),
    provision=Device("/dev/sgx_provision", "character device", 0o660, "sgx_prv", error="EACCES"),
    aesm=Device("/var/run/aesmd/aesm.socket", "socket", 0o777, "aesmd"),
    user=ALICE,
)
"""A server as it should be: SGX2, flexible launch control, Debian 12."""

NO_DEVICES = {
    "enclave": Device("/dev/sgx_enclave"),
    "provision": Device("/dev/sgx_provision"),
    "aesm": Device("/var/run/aesmd/aesm.socket"),
}


def with_processor(machine: Machine = SERVER, **facts: object) -> Machine:
    return replace(machine, processor=replace(machine.processor, **facts))  # type: ignore[arg-type]


def with_sgx(machine: Machine = SERVER, **facts: object) -> Machine:
    assert machine.processor.leaf_12 is not None
    return with_processor(machine, leaf_12=replace(machine.processor.leaf_12, **facts))  # type: ignore[arg-type]


def with_kernel(machine: Machine = SERVER, **facts: object) -> Machine:
    return replace(machine, kernel=replace(machine.kernel, **facts))  # type: ignore[arg-type]


def with_device(machine: Machine = SERVER, **facts: object) -> Machine:
    return replace(machine, enclave=replace(machine.enclave, **facts))  # type: ignore[arg-type]


def without_driver(machine: Machine) -> Machine:
    """As the kernel leaves things when it does not use SGX: no flags, no devices."""
    unused = with_processor(machine, flags=machine.processor.flags - {"sgx", "sgx_lc"})
    return replace(with_kernel(unused, misc_devices=frozenset({"tun"})), **NO_DEVICES)


SGX1_ONLY = with_sgx(
    sgx2=False, miscselect=0, attributes=0x36, xfrm=0x1F, epc=(EpcSection(0x70200000, 93 << 20, True),)
)
"""A desktop of 2018: neither dynamic memory nor EXINFO, little EPC."""

DISABLED_IN_FIRMWARE = without_driver(with_processor(leaf_12=SgxFacts()))

NO_LAUNCH_CONTROL = without_driver(with_processor(SGX1_ONLY, flc=False))
"""A laptop of 2016."""

LAUNCH_CONTROL_LOCKED = without_driver(SERVER)

AMD = without_driver(
    with_processor(vendor="AuthenticAMD", model="AMD EPYC 7763", sgx=False, flc=False, leaf_12=None)
)

VIRTUAL_MACHINE = with_kernel(
    without_driver(with_processor(sgx=False, flc=False, leaf_12=None, hypervisor="KVM")),
    config_x86_sgx=True,
)

UNKNOWN_CONFIGURATION = with_kernel(without_driver(SERVER), config_x86_sgx=None, vdso_enters_enclaves=False)
"""The kernel was built without SGX, and does not show its configuration."""

OLD_KERNEL = with_kernel(
    without_driver(SERVER),
    release="4.19.0-26-amd64",
    config_x86_sgx=False,
    vdso_enters_enclaves=False,
    hwcap2=0,
    syscall_user_dispatch=False,
)

CONTAINER = replace(SERVER, container="Docker", **NO_DEVICES)
"""The machine has all of it, the container was given none."""

ALL = {
    "SGX2 server": SERVER,
    "SGX1 only": SGX1_ONLY,
    "disabled in firmware": DISABLED_IN_FIRMWARE,
    "no launch control": NO_LAUNCH_CONTROL,
    "launch control locked": LAUNCH_CONTROL_LOCKED,
    "AMD": AMD,
    "virtual machine": VIRTUAL_MACHINE,
    "unknown configuration": UNKNOWN_CONFIGURATION,
    "old kernel": OLD_KERNEL,
    "container": CONTAINER,
    "nothing known": Machine(),
}
