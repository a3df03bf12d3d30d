"""From a package file alone to a report of named checks: is it what it says it is?

Everything is recomputed from the file's bytes; a stored digest is never believed, and the planner is not
asked. What a package *should* be is the packager's business, what it *is* is told here::

    report = verify(unpack(Path("app")))
    report.passed, [(check.name, check.problem) for check in report.checks]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mystikos import _abi, config, measurement, signature
from mystikos.errors import MystError
from mystikos.formats import elf
from mystikos.formats.descriptor import (
    PAGE,
    REG_R,
    REG_RW,
    REG_RWX,
    REG_RX,
    Kind,
    Region,
    Section,
    Slice,
    Tcs,
    page_count,
)
from mystikos.package import Package
from mystikos.signers.published import PUBLISHED_KEYS

__all__ = ["Check", "Report", "verify"]


@dataclass(frozen=True)
class Check:
    """One question; ``problem`` is None when the answer is good."""

    name: str
    meaning: str
    problem: str | None

    @property
    def passed(self) -> bool:
        """Whether the answer is good."""
        return self.problem is None


@dataclass(frozen=True)
class Report:
    """All answers, and the identities they are about (hexadecimal)."""

    mrenclave: str
    mrsigner: str
    product_id: int
    security_version: int
    debug: bool
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every answer is good."""
        return all(check.passed for check in self.checks)


def verify(package: Package) -> Report:
    """Recompute and compare everything that a package claims about itself."""
    measured = measurement.measure(package.enclave, package.contents)
    signer = signature.mrsigner(package.sigstruct.modulus).hex()
    questions: tuple[tuple[str, str, Callable[[], str | None]], ...] = (
        ("measurement", "the contents are those that were signed", lambda: _measurement(package, measured)),
        ("signature", "the signature is over these fields, by the key it names", lambda: _signature(package)),
        ("signer", "the private key is not known to everybody", lambda: _signer(signer)),
        ("attributes", "what is asked of the processor is what was signed", lambda: _attributes(package)),
        ("layout", "every section is measured, in its place, with its rights", lambda: _layout(package)),
        (
            "config",
            "kernel and signature hold what the JSON says",
            lambda: _config(package),
        ),
    )
    return Report(
        mrenclave=measured.mrenclave.hex(),
        mrsigner=signer,
        product_id=package.sigstruct.product_id,
        security_version=package.sigstruct.security_version,
        debug=package.enclave.debug,
        checks=tuple(Check(name, meaning, ask()) for name, meaning, ask in questions),
    )


def _measurement(package: Package, measured: measurement.Measurement) -> str | None:
    first = next(_parted(package, measured), None)
    signed = package.sigstruct.enclave_hash
    if measured.mrenclave != signed:
        where = f"; first changed: {first}" if first else ""
        return f"MRENCLAVE is {measured.mrenclave.hex()}, signed was {signed.hex()}{where}"
    return f"the descriptor's trace is not that of the measurement, from {first} on" if first else None


def _parted(package: Package, measured: measurement.Measurement) -> Iterator[str]:
    """The regions after which the stored trace and the one found differ."""
    for region, stored, found in zip(package.enclave.regions, package.trace, measured.trace, strict=True):
        if stored != found:
            section = f"{region.source.section.elf_name}, " if isinstance(region.source, Slice) else ""
            yield f"{section}region {region.kind.name} at {region.offset:#x}"


def _signature(package: Package) -> str | None:
    try:
        signature.check(package.sigstruct)
    except MystError as exc:
        return str(exc)
    return None


def _signer(mrsigner: str) -> str | None:
    where = PUBLISHED_KEYS.get(mrsigner)
    return f"signer is nobody: anybody can sign with this key, it is published ({where})" if where else None


def _attributes(package: Package) -> str | None:
    enclave, signed = package.enclave, package.sigstruct
    pairs = (
        ("ATTRIBUTES.FLAGS", enclave.attributes, signed.attributes),
        ("XFRM", enclave.xfrm, signed.xfrm),
        ("MISCSELECT", enclave.miscselect, signed.miscselect),
        ("ATTRIBUTEMASK.FLAGS", _abi.ATTRIBUTES_MASK, signed.attributes_mask),
        ("ATTRIBUTEMASK.XFRM", _abi.XFRM_MASK, signed.xfrm_mask),
        ("MISCMASK", _abi.MISCMASK, signed.miscmask),
        ("MODE64BIT", _abi.ATTRIBUTE_MODE64BIT, enclave.attributes & ~_abi.ATTRIBUTE_DEBUG),
        ("XFRM asked for", _abi.XFRM, enclave.xfrm),
        ("MISCSELECT asked for", _abi.MISCSELECT, enclave.miscselect),
    )
    wrong = [
        f"{name} is {found:#x}, not {expected:#x}" for name, expected, found in pairs if expected != found
    ]
    return "; ".join(wrong) or None


def _config(package: Package) -> str | None:
    try:
        parsed = config.parse(package.config_source, ".mystconfig")
    except MystError as exc:
        return f"its JSON is not a config: {exc}"
    if parsed.record() != package.record:
        return "the canonical record, which the kernel reads, says something else than the JSON"

    pairs = (
        ("Debug", parsed.debug, package.enclave.debug),
        ("ProductID", parsed.product_id, package.sigstruct.product_id),
        ("SecurityVersion", parsed.security_version, package.sigstruct.security_version),
        ("MaxThreads", parsed.max_threads, package.parameters.threads_count),
        ("MemorySize", page_count(parsed.memory_size) * PAGE, package.parameters.user.size),
    )
    wrong = [f"{key} is {said!r} but the enclave has {has!r}" for key, said, has in pairs if said != has]
    return "; ".join(wrong) or None


def _layout(package: Package) -> str | None:
    return next(_layout_problems(package), None)


_SECTION_KINDS = {
    Kind.CRT: (Section.CRT, REG_RX),
    Kind.CONFIG: (Section.CONFIG, REG_R),
    Kind.BINDINGS: (Section.BINDINGS, REG_R),
    Kind.PUBKEYS: (Section.PUBKEYS, REG_R),
    Kind.ROOTHASHES: (Section.ROOTHASHES, REG_R),
    Kind.ROOTFS: (Section.ROOTFS, REG_R),
}


def _layout_problems(package: Package) -> Iterator[str]:
    enclave, parameters = package.enclave, package.parameters
    told = (enclave.zero_based, enclave.debug, enclave.size)
    if told != (parameters.zero_based, parameters.debug, parameters.enclave_size):
        yield "the parameter page and the descriptor disagree about base, debugging or size"

    places = (
        parameters.crt,
        parameters.config,
        parameters.bindings,
        parameters.pubkeys,
        parameters.roothashes,
        parameters.rootfs,
    )
    for (kind, (section, rights)), place in zip(_SECTION_KINDS.items(), places, strict=True):
        size = package.sections[section].size
        whole = _Pages(place.offset, page_count(size), rights, True, Slice(section, 0, size))
        if place.size != size or _loaded(package, kind) != ([whole] if size else []):
            yield f"{section.elf_name} is not loaded whole, measured and at its place"

    for kind, place, rights in (
        (Kind.HEAP, parameters.heap, REG_RW),
        (Kind.USER, parameters.user, REG_RWX),
        (Kind.EXEC_WINDOW, parameters.window, REG_RWX),
    ):
        zeros = _Pages(place.offset, page_count(place.size), rights, False, None)
        if _loaded(package, kind) != ([zeros] if place.size else []):
            yield f"{kind.name} is not where the parameter page says, or has other rights"

    yield from _thread_problems(package)
    yield from _kernel_problems(package)


class _Pages(NamedTuple):
    """What a region would be; unlike a Region, it may be nonsense."""

    offset: int
    pages: int
    secinfo: int
    measured: bool
    source: Slice | Tcs | None


def _loaded(package: Package, kind: Kind) -> list[_Pages]:
    return [
        _Pages(region.offset, region.pages, region.secinfo, region.measured, region.source)
        for region in package.enclave.of_kind(kind)
    ]


def _thread_problems(package: Package) -> Iterator[str]:
    parameters = package.parameters
    if (parameters.nssa, parameters.ssa_frame_pages) != (_abi.NSSA, _abi.SSA_FRAME_PAGES):
        yield "the parameter page tells other SSA frames than this version's"
    if parameters.threads_count != len(package.enclave.of_kind(Kind.TCS)):
        yield "the parameter page tells another number of threads than there are TCS pages"
        return

    blocks = range(parameters.threads_count)
    starts = [parameters.threads_offset + number * parameters.threads_stride for number in blocks]
    parts = (
        (Kind.TCS, 0, PAGE),
        (Kind.SSA, parameters.block_ssa, _abi.NSSA * _abi.SSA_FRAME_PAGES * PAGE),
        (Kind.THREAD, parameters.block_thread_area, _abi.THREAD_AREA_PAGES * PAGE),
        (Kind.STACK, parameters.block_stack.offset, parameters.block_stack.size),
    )
    for kind, offset, size in parts:
        regions = package.enclave.of_kind(kind)
        if [(r.offset, r.size) for r in regions] != [(start + offset, size) for start in starts]:
            yield f"{kind.name} pages are not where the parameter page says"
        if kind is not Kind.TCS and any(r.secinfo != REG_RW or r.measured for r in regions):
            yield f"{kind.name} pages are not plain read-write pages"


def _kernel_problems(package: Package) -> Iterator[str]:
    kernel = package.section(Section.KERNEL)
    parameters = package.parameters
    base = parameters.kernel.offset
    try:
        image = elf.read_image(lambda offset, size: bytes(kernel[offset : offset + size]), len(kernel))
    except elf.ElfError as exc:
        yield f"{Section.KERNEL.elf_name}: {exc}"
        return

    loaded = {region.offset: region for region in package.enclave.of_kind(Kind.KERNEL)}
    for segment in image.load_segments:
        first = base + segment.vaddr // PAGE * PAGE
        if segment.filesz and not _holds(loaded.pop(first, None), segment):
            yield f"the kernel's segment at {segment.vaddr:#x} is not loaded as its ELF file says"
    if any(region.measured or region.secinfo != REG_RW for region in loaded.values()):
        yield "the kernel has pages that its ELF file does not know"
    if any(not base <= region.offset <= region.end <= parameters.kernel.end for region in loaded.values()):
        yield "the kernel reaches beyond its place in the parameter page"

    for region in package.enclave.of_kind(Kind.TCS):
        expected = Tcs(
            ossa=region.offset + parameters.block_ssa,
            oentry=base + image.header.entry,
            ofsbase=parameters.config.offset,
            ogsbase=region.offset + parameters.block_thread_area,
        )
        if region.source != expected:
            yield f"the TCS at {region.offset:#x} enters the enclave elsewhere than at the kernel's entry"


def _holds(region: Region | None, segment: elf.Segment) -> bool:
    """Whether a region is what a segment of the kernel's ELF file asks for."""
    lead = segment.vaddr % PAGE
    rights = {elf.PF_R: REG_R, elf.PF_R | elf.PF_X: REG_RX, elf.PF_R | elf.PF_W: REG_RW}.get(
        segment.flags & 7
    )
    content = Slice(Section.KERNEL, segment.offset - lead, lead + segment.filesz)
    return region is not None and (region.secinfo, region.measured, region.source) == (rights, True, content)
