"""The facts about the enclave: its regions, and what its protected memory is needed for."""

from __future__ import annotations

from collections.abc import Iterator

from mystikos.formats.descriptor import Enclave, Kind, Region, Slice, Tcs
from mystikos.inspection.facts import CauseFacts, EnclaveFacts, RegionFacts
from mystikos.package import Package

_SLOTS = 512  # pages whose versions one page of a version array holds (SDM 3D, "VA")

_THREADS = (Kind.TCS, Kind.SSA, Kind.THREAD, Kind.STACK)

# What takes protected memory, which regions that is, and what decides about it.
_CAUSES: tuple[tuple[str, tuple[Kind, ...], str], ...] = (
    ("kernel", (Kind.KERNEL,), "its code and its data"),
    ("C runtime support", (Kind.CRT,), "vDSO and signal return"),
    ("config", (Kind.CONFIG,), "the config, as the kernel reads it and as its author wrote it"),
    ("system call bindings", (Kind.BINDINGS,), "32 bytes for each bound system call"),
    ("trust in disks", (Kind.PUBKEYS, Kind.ROOTHASHES), "public keys and root hashes of disk images"),
    ("root file system", (Kind.ROOTFS,), "all files, whether they are used or not"),
    ("threads", _THREADS, "MaxThreads: {threads} blocks of {block} pages"),
    ("kernel heap", (Kind.HEAP,), "a base and some bytes for each file"),
    ("user memory", (Kind.USER,), "MemorySize"),
    ("fixed-address program", (Kind.EXEC_WINDOW,), "the place that the program is linked to"),
)


def enclave_facts(package: Package) -> EnclaveFacts:
    """The facts of a package's enclave."""
    enclave = package.enclave
    pages = sum(region.pages for region in enclave.regions)
    return EnclaveFacts(
        size=enclave.size,
        zero_based=enclave.zero_based,
        threads=len(enclave.of_kind(Kind.TCS)),
        ssa_frame_pages=enclave.ssa_frame_pages,
        epc_pages=pages,
        overhead_pages=1 + _version_pages(pages + 1),
        causes=tuple(_causes(enclave)),
        regions=tuple(_runs(enclave.regions)),
    )


def _version_pages(pages: int) -> int:
    """Pages of version arrays: Linux adds one for every 512 pages of an enclave, SECS included."""
    return -(-pages // _SLOTS)


def _causes(enclave: Enclave) -> Iterator[CauseFacts]:
    threads = len(enclave.of_kind(Kind.TCS))
    for cause, kinds, because in _CAUSES:
        pages = sum(region.pages for region in enclave.regions if region.kind in kinds)
        if pages:
            block = pages // threads if threads else 0
            yield CauseFacts(cause, pages, because.format(threads=threads, block=block))


def _runs(regions: tuple[Region, ...]) -> Iterator[RegionFacts]:
    """Regions of one kind that are alike and at equal distances, together."""
    runs: list[list[Region]] = []
    last: dict[Kind, list[Region]] = {}
    for region in regions:
        run = last.get(region.kind)
        if run is None or not _continues(run, region):
            run = last[region.kind] = []
            runs.append(run)
        run.append(region)
    yield from map(_run, runs)


def _continues(run: list[Region], region: Region) -> bool:
    first = run[0]
    alike = (first.pages, first.secinfo, first.measured) == (region.pages, region.secinfo, region.measured)
    apart = {run[1].offset - first.offset, region.offset - run[-1].offset} if len(run) > 1 else set()
    return alike and not isinstance(region.source, Slice) and len(apart) < 2


def _run(run: list[Region]) -> RegionFacts:
    first = run[0]
    return RegionFacts(
        kind=first.kind.name,
        offset=first.offset,
        count=len(run),
        stride=run[1].offset - first.offset if len(run) > 1 else 0,
        pages=first.pages,
        rights=first.rights,
        measured=first.measured,
        content=_content(first),
    )


def _content(region: Region) -> str:
    if isinstance(region.source, Slice):
        return region.source.section.elf_name
    return "TCS" if isinstance(region.source, Tcs) else "zeros"
