"""Whether a package is what it says it is: everything is recomputed from its bytes.

A stored digest is never believed, and the planner is not asked: what a package *should* be is the packager's
business, what it *is* is told here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import NamedTuple

from mystikos import _abi, config, parts, provenance, signature
from mystikos.errors import MystError
from mystikos.formats import cpio, elf
from mystikos.formats.buildrecord import BuildRecordError
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
from mystikos.measurement import Measurement
from mystikos.package import Package
from mystikos.rootfs import RootFs, printable
from mystikos.signers import PUBLISHED_KEYS
from mystikos.verification import bound
from mystikos.verification.report import Check
from mystikos.verification.tracing import first_mismatch, shown

__all__ = ["checks"]


def checks(package: Package, measured: Measurement, strictness: str = "exact") -> Iterator[Check]:
    """Compare everything that a package claims about itself with what was found.

    ``strictness`` is a policy's ``attribute_masks``.
    """
    yield Check("format", "every byte of the file has its place")
    yield Check("measurement", "the contents are those that were signed", _measurement(package, measured))
    yield Check("signature", "the signature is over these fields, by the key it names", _signature(package))
    yield Check("signer", "the private key is not known to everybody", _signer(package))
    yield Check("attributes", "what is asked of the processor is what was signed", _attributes(package))
    yield _masks(package, strictness)
    yield Check("layout", "every section is measured, in its place, with its rights", _layout(package))
    yield from _programs(package)
    yield Check("config", "kernel and signature hold what the JSON says", _config(package))
    yield Check("record", "the build record tells of what is here", _record(package, measured))


def _measurement(package: Package, measured: Measurement) -> str | None:
    mismatch = first_mismatch(package, measured)
    signed = package.sigstruct.enclave_hash
    if measured.mrenclave != signed:
        where = f"; first changed: {shown(mismatch)}" if mismatch else ""
        return f"MRENCLAVE is {measured.mrenclave.hex()}, signed was {signed.hex()}{where}"
    if mismatch:
        return f"the descriptor's trace is not that of the measurement, from {shown(mismatch)} on"
    return None


def _signature(package: Package) -> str | None:
    try:
        signature.check(package.sigstruct)
    except MystError as exc:
        return str(exc)
    return None


def _signer(package: Package) -> str | None:
    where = PUBLISHED_KEYS.get(signature.mrsigner(package.sigstruct.modulus).hex())
    if where is None:
        return None
    return f"signer is nobody: anybody can sign with this key, it is published ({where})"


def _attributes(package: Package) -> str | None:
    enclave, signed = package.enclave, package.sigstruct
    return _differences(
        ("ATTRIBUTES.FLAGS", enclave.attributes, signed.attributes),
        ("XFRM", enclave.xfrm, signed.xfrm),
        ("MISCSELECT", enclave.miscselect, signed.miscselect),
        ("MODE64BIT", _abi.ATTRIBUTE_MODE64BIT, enclave.attributes & ~_abi.ATTRIBUTE_DEBUG),
        ("XFRM asked for", _abi.XFRM, enclave.xfrm),
        ("MISCSELECT asked for", _abi.MISCSELECT, enclave.miscselect),
    )


def _differences(*fields: tuple[str, int, int]) -> str | None:
    """Name, expected and found of what is not as expected."""
    wrong = [
        f"{name} is {found:#x}, not {expected:#x}" for name, expected, found in fields if expected != found
    ]
    return "; ".join(wrong) or None


def _masks(package: Package, strictness: str) -> Check:
    """What EINIT compares: an attribute that the mask leaves out may be anything (SDM 3D, "EINIT")."""
    signed = package.sigstruct
    problem = _differences(
        ("ATTRIBUTEMASK.FLAGS", _abi.ATTRIBUTES_MASK, signed.attributes_mask),
        ("ATTRIBUTEMASK.XFRM", _abi.XFRM_MASK, signed.xfrm_mask),
        ("MISCMASK", _abi.MISCMASK, signed.miscmask),
    )
    covers_debug = bool(signed.attributes_mask & _abi.ATTRIBUTE_DEBUG)
    if problem and not covers_debug:
        problem += ": the signature holds for a debug enclave, too, whose memory every host can read"
    enough = strictness == "any" or (strictness == "debug" and covers_debug)
    return Check("masks", "the signature holds for these attributes only", problem, required=not enough)


def _programs(package: Package) -> Iterator[Check]:
    """What there is to run, and what the kernel changes in it; without the one there is no other."""
    rootfs = Check("rootfs", "the root file system is one tree, and written as mystikos does")
    try:
        tree = parts.root_file_system(package)
    except MystError as exc:
        yield replace(rootfs, problem=str(exc))
        return
    yield replace(rootfs, problem=_rootfs(package, tree))
    bindings = "nothing but system calls is patched in its programs"
    yield Check("bindings", bindings, bound.problem(package, tree))


def _rootfs(package: Package, tree: RootFs) -> str | None:
    """Nobody must be able to read the archive in another way: it is the one that its tree gives."""
    image = package.section(Section.ROOTFS)
    if tree.size != len(image):
        return f"the archive has {len(image)} bytes, and its tree gives {tree.size}"
    for entry, start, end in tree.extents():
        header = entry.header()
        data = start + len(header)
        padding = data + (entry.size if entry.has_data else 0)
        if image[start:data] != header or any(image[padding:end]):
            return f"{printable(entry.path)}: its header is not written as mystikos does"
        last = end
    tail = cpio.trailer()
    rest = image[last + len(tail) :]
    if image[last : last + len(tail)] != tail or any(rest):
        return "the archive's end is not written as mystikos does"
    return None


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


def _record(package: Package, measured: Measurement) -> str | None:
    """What of the record can be told; the versions in it are a claim."""
    try:
        record = package.build_record
    except BuildRecordError as exc:
        return f"{Section.BUILD.elf_name}: {exc}"
    found = provenance.inputs_of_package(package)
    for name in sorted({*record.inputs, *found}):
        if record.inputs.get(name) != found.get(name):
            return f"{name}: it tells of {record.inputs.get(name)}, and there is {found.get(name)}"
    if record.date != package.sigstruct.day:
        return f"it tells the date {record.date}, and the signature is of {package.sigstruct.day}"
    if record.marks != measured.marks and measured.mrenclave == package.sigstruct.enclave_hash:
        return "its marks are not those of the measurement"
    return None


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
        if isinstance(region.source, Tcs) and region.source != expected:
            yield f"the TCS at {region.offset:#x} has {_difference(region.source, expected)}"


def _difference(found: Tcs, expected: Tcs) -> str:
    """The fields that differ.

    >>> kernels = Tcs(ossa=0x1000, oentry=0x40, ofsbase=0, ogsbase=0x5000)
    >>> _difference(replace(kernels, nssa=2, oentry=0x80), kernels)
    'OENTRY 0x80, expected 0x40, NSSA 0x2, expected 0x3'
    """
    names = [
        field.name for field in fields(Tcs) if getattr(found, field.name) != getattr(expected, field.name)
    ]
    return ", ".join(
        f"{name.upper()} {getattr(found, name):#x}, expected {getattr(expected, name):#x}" for name in names
    )


def _holds(region: Region | None, segment: elf.Segment) -> bool:
    """Whether a region is what a segment of the kernel's ELF file asks for."""
    lead = segment.vaddr % PAGE
    rights = {elf.PF_R: REG_R, elf.PF_R | elf.PF_X: REG_RX, elf.PF_R | elf.PF_W: REG_RW}.get(
        segment.flags & 7
    )
    content = Slice(Section.KERNEL, segment.offset - lead, lead + segment.filesz)
    return region is not None and (region.secinfo, region.measured, region.source) == (rights, True, content)
