"""Findings about the processor: what it is, and what it offers of SGX (SDM volume 3D, 34.7).

>>> [finding.name for finding in findings(Machine())][:2]
['machine', 'processor']
"""

from __future__ import annotations

from collections.abc import Iterator

from mystikos import _abi
from mystikos.doctor.finding import Finding, Target, missing, note, ok
from mystikos.machine import Machine, Processor, SgxFacts

_INTEL = "GenuineIntel"
_SMALL_EPC = 256 << 20  # older client processors have 93 or 188 MiB of it
_SGX2_NOTE = "of it, packages need EXINFO"

_WITH_SGX2 = "use a processor with SGX2 and launch control: Xeon Scalable of the third generation, or later"

_USE_SIM = "`MYST_TARGET=sim` runs packages in a software SGX, without protection"
_FIRMWARE = (
    "set SGX (Software Guard Extensions) to Enabled in the firmware's setup, "
    '"Software Controlled" is not enough, and start the machine anew'
)
_HYPERVISOR = (
    "choose a virtual machine that has SGX, or let the hypervisor pass it on "
    "(QEMU: -cpu host,+sgx,+sgx-provisionkey, and -object memory-backend-epc for -M sgx-epc)"
)


def findings(machine: Machine) -> Iterator[Finding]:
    processor = machine.processor
    yield _architecture(machine)
    yield note("processor", _described(processor))
    if processor.hypervisor:
        yield note("virtual machine", f"the hypervisor is {_named(processor.hypervisor)}")
    yield _sgx(processor)
    if processor.sgx and processor.leaf_12 is None:
        yield missing("SGX1", "CPUID has no leaf 0x12", remedy=_switched_off(processor))
    if processor.sgx and processor.leaf_12 is not None:
        yield from _abilities(processor, processor.leaf_12)


def _named(hypervisor: str) -> str:
    return "of an unknown kind" if hypervisor == "unknown" else hypervisor


def _architecture(machine: Machine) -> Finding:
    kernel = machine.kernel
    found = f"{kernel.system} on {kernel.architecture}"
    if (kernel.system, kernel.architecture) == ("Linux", "x86_64"):
        return ok("machine", found, needed_by=Target)
    return missing(
        "machine", found, needed_by=Target, remedy="packages run on x86-64 Linux: use such a machine"
    )


def _described(processor: Processor) -> str:
    parts = (
        processor.vendor or "of an unknown vendor",
        processor.model,
        processor.signature,
        f"microcode {processor.microcode}" if processor.microcode else None,
    )
    return ", ".join(part for part in parts if part)


def _sgx(processor: Processor) -> Finding:
    """Whether the processor has it, and shows it."""
    if processor.sgx:
        return ok("SGX", "the processor has it")
    if processor.sgx is None and "sgx" in processor.flags:
        return ok("SGX", f"the kernel uses it (CPUID was not read: {processor.cpuid_problem})")
    if processor.sgx is None:
        found = f"the kernel uses none (CPUID was not read: {processor.cpuid_problem})"
        return missing("SGX", found, remedy="`sudo modprobe cpuid`, then `sudo myst doctor`, tells more")
    if processor.vendor != _INTEL:
        found = f"a processor of {processor.vendor or 'an unknown vendor'} has none, SGX is Intel's"
        return missing("SGX", found, remedy=f"use a machine with an Intel processor; {_USE_SIM}")
    if processor.hypervisor:
        return missing("SGX", "the hypervisor does not show it to this machine", remedy=_HYPERVISOR)
    return missing(
        "SGX",
        "the processor has none, or the firmware hides it",
        remedy=f"if Intel lists SGX for this model: {_FIRMWARE}",
    )


def _switched_off(processor: Processor) -> str:
    return _HYPERVISOR if processor.hypervisor else _FIRMWARE


def _abilities(processor: Processor, sgx: SgxFacts) -> Iterator[Finding]:
    if not sgx.sgx1:
        found = "CPUID says SGX, and leaf 0x12 is empty: " + (
            "the hypervisor gives none of it" if processor.hypervisor else "the firmware switched it off"
        )
        yield missing("SGX1", found, remedy=_switched_off(processor))
        return
    yield ok("SGX1", "enclaves can be made and entered")
    yield note("SGX2", f"{'there' if sgx.sgx2 else 'not there'}: {_SGX2_NOTE}")
    yield _launch_control(processor)
    yield _exinfo(processor, sgx)
    yield _attributes(sgx)
    yield note("enclave size", f"up to {_size(sgx.max_enclave_size)}")
    yield _epc(processor, sgx)


def _launch_control(processor: Processor) -> Finding:
    if processor.flc:
        return ok("FLC", "flexible launch control: everybody's enclaves may start")
    return missing(
        "FLC",
        "no flexible launch control: this processor starts only enclaves that Intel has licensed",
        remedy=_HYPERVISOR if processor.hypervisor else _WITH_SGX2,
    )


def _exinfo(processor: Processor, sgx: SgxFacts) -> Finding:
    """Packages ask for it in MISCSELECT: a page fault inside becomes SIGSEGV with its address.

    It came with SGX2: processors that have only SGX1 (Skylake to Comet Lake) never get it.
    """
    if sgx.miscselect & _abi.MISCSELECT == _abi.MISCSELECT:
        return ok("EXINFO", "page faults are told to the enclave")
    return missing(
        "EXINFO",
        "page faults are not told to the enclave (MISCSELECT), and every package asks for that",
        remedy=_exinfo_remedy(processor, sgx),
    )


def _exinfo_remedy(processor: Processor, sgx: SgxFacts) -> str | None:
    """None where the processor does not do for another reason, which has been told."""
    if processor.hypervisor:
        return "choose a virtual machine on a processor with SGX2, or let the hypervisor pass on EXINFO"
    if not processor.flc:
        return None
    return "update firmware and microcode" if sgx.sgx2 else _WITH_SGX2


def _attributes(sgx: SgxFacts) -> Finding:
    wanted = _abi.ATTRIBUTE_MODE64BIT | _abi.ATTRIBUTE_DEBUG
    found = f"ATTRIBUTES {sgx.attributes:#x}, XFRM {sgx.xfrm:#x}"
    if sgx.attributes & wanted == wanted and sgx.xfrm & _abi.XFRM == _abi.XFRM:
        return ok("attributes", found)
    return missing(
        "attributes",
        f"{found}, and packages ask for {wanted:#x} and {_abi.XFRM:#x}",
        remedy="let the hypervisor pass on all attributes of SGX",
    )


def _epc(processor: Processor, sgx: SgxFacts) -> Finding:
    if not sgx.epc:
        return missing(
            "EPC",
            "no protected memory",
            remedy=_HYPERVISOR
            if processor.hypervisor
            else "reserve memory for SGX in the firmware's setup (PRMRR size), and start the machine anew",
        )
    sections = f" in {len(sgx.epc)} sections" if len(sgx.epc) > 1 else ""
    kind = "" if all(section.integrity for section in sgx.epc) else ", not protected against replay"
    found = f"{_size(sgx.epc_size)} of protected memory{sections}{kind}"
    if sgx.epc_size < _SMALL_EPC:
        found += "; what needs more (`myst measure` tells) is swapped by the kernel, and slow"
    return ok("EPC", found)


def _size(size: int) -> str:
    """A number of bytes as people say it.

    >>> _size(93 << 20), _size(1 << 36)
    ('93 MiB', '64 GiB')
    """
    for unit, bits in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if size >> bits and not size % (1 << bits):
            return f"{size >> bits} {unit}"
    return f"{size / (1 << 20):.1f} MiB"
