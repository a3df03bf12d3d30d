"""Findings about the running kernel: what the targets need of it.

>>> [finding.name for finding in findings(Machine()) if finding.remedy][:1]
['kernel']
"""

from __future__ import annotations

from collections.abc import Iterator

from mystikos.doctor.finding import Finding, Target, missing, note, ok
from mystikos.machine import Machine

_SGX_SINCE, _FSGSBASE_SINCE, _DISPATCH_SINCE = (5, 11), (5, 9), (5, 11)
_PROCESSES = (Target.SIM, Target.LINUX)  # run as ordinary processes


def findings(machine: Machine) -> Iterator[Finding]:
    yield _version(machine)
    yield from _configuration(machine)
    yield from _in_use(machine)
    yield from _enclave_entry(machine)
    yield _fsgsbase(machine)
    yield _user_dispatch(machine)
    yield _cpuid_faulting(machine)
    yield _tsc_faulting(machine)


def _is_old(machine: Machine, since: tuple[int, int]) -> bool:
    return machine.kernel.version < since


def _update(since: tuple[int, int]) -> str:
    return f"update the kernel: Linux {since[0]}.{since[1]} or newer"


def _version(machine: Machine) -> Finding:
    release = machine.kernel.release or "unknown"
    if _is_old(machine, _SGX_SINCE):
        return missing("kernel", f"{release} has no driver for SGX", remedy=_update(_SGX_SINCE))
    return ok("kernel", release)


def _configuration(machine: Machine) -> Iterator[Finding]:
    kernel = machine.kernel
    if kernel.config_x86_sgx:
        yield ok("CONFIG_X86_SGX", "the kernel was built with it")
    elif kernel.config_x86_sgx is False and not _is_old(machine, _SGX_SINCE):
        yield missing(
            "CONFIG_X86_SGX",
            "the kernel was built without it",
            remedy="use a kernel of the distribution, or build it with CONFIG_X86_SGX=y",
        )
    if "nosgx" in kernel.command_line:
        yield missing(
            "nosgx",
            "the kernel was started with it",
            remedy="remove nosgx from the kernel's command line, and start the machine anew",
        )


def _in_use(machine: Machine) -> Iterator[Finding]:
    """A processor with SGX that the kernel leaves alone, though it could use it: what the firmware locked."""
    processor, kernel = machine.processor, machine.kernel
    able = processor.leaf_12 is not None and processor.leaf_12.sgx1 and processor.flc
    willing = not _is_old(machine, _SGX_SINCE) and kernel.config_x86_sgx is not False
    if kernel.config_x86_sgx is None and kernel.vdso_enters_enclaves is False:
        willing = False  # its vDSO tells that it was built without
    if not able or not willing or "nosgx" in kernel.command_line or not processor.flags:
        return
    if {"sgx", "sgx_lc"} <= processor.flags:
        yield ok("SGX driver", "the kernel uses SGX")
        return
    yield missing(
        "SGX driver",
        "the kernel does not use SGX, as the firmware has it switched off or has locked launch control",
        remedy="let the firmware enable SGX and unlock launch control (SGX Launch Control: Unlocked); "
        "`sudo dmesg | grep -i sgx` tells which",
    )


def _enclave_entry(machine: Machine) -> Iterator[Finding]:
    name, there = "vDSO", machine.kernel.vdso_enters_enclaves
    if there:
        yield ok(name, "has __vdso_sgx_enter_enclave")
    elif there is None:
        yield note(name, "cannot be read, so whether it enters enclaves is not known")
    else:
        told = _is_old(machine, _SGX_SINCE) or machine.kernel.config_x86_sgx is False
        remedy = "use a kernel that was built with CONFIG_X86_SGX=y"
        yield missing(
            name, "lacks __vdso_sgx_enter_enclave, which enters enclaves", remedy=None if told else remedy
        )


def _fsgsbase(machine: Machine) -> Finding:
    if machine.kernel.fsgsbase:
        return ok("FSGSBASE", "programs may use it", needed_by=Target)
    if "nofsgsbase" in machine.kernel.command_line:
        remedy = "remove nofsgsbase from the kernel's command line, and start the machine anew"
    elif _is_old(machine, _FSGSBASE_SINCE):
        remedy = _update(_FSGSBASE_SINCE)
    elif machine.processor.hypervisor:
        remedy = "let the hypervisor pass it on (QEMU: -cpu host)"
    else:
        remedy = "use a newer processor: Intel since 2013, AMD since 2018"
    return missing("FSGSBASE", "programs may not use it", needed_by=Target, remedy=remedy)


def _user_dispatch(machine: Machine) -> Finding:
    name = "Syscall User Dispatch"
    if machine.kernel.syscall_user_dispatch:
        return ok(name, "raw system calls can be caught", needed_by=_PROCESSES)
    old = _is_old(machine, _DISPATCH_SINCE)
    remedy = _update(_DISPATCH_SINCE) if old else "leave the sandbox that forbids it (gVisor, seccomp)"
    return missing(name, "raw system calls cannot be caught", needed_by=_PROCESSES, remedy=remedy)


def _cpuid_faulting(machine: Machine) -> Finding:
    if machine.kernel.cpuid_faulting:
        return note("CPUID faulting", "there: sim lets CPUID trap, as in an enclave")
    return note("CPUID faulting", "not there: in sim, CPUID does not trap as it does in an enclave")


def _tsc_faulting(machine: Machine) -> Finding:
    if machine.kernel.tsc_faulting:
        return note("RDTSC faulting", "there: sim can let RDTSC trap, as in an SGX1 enclave")
    return note("RDTSC faulting", "not there: in sim, RDTSC does not trap as it does in an SGX1 enclave")
