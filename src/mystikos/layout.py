"""Stage 3: plan where every page of the enclave lies, what it holds and what it may do.

The layout is planned exactly once, here. ``measurement`` folds it, the package stores it, the launcher
replays it, and nobody derives it again. The rules are docs/reference/package-format.md, "Enclave memory
map".

    layout = plan(config, rootfs, bindings, Kernel.parse(kernel_bytes, "libmystkernel"), crt_bytes)
    layout.enclave.size, len(layout.enclave.regions)
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mystikos import _abi
from mystikos.errors import LayoutError, RuntimeMissingError
from mystikos.formats import elf
from mystikos.formats.content import BytesContent, Content
from mystikos.formats.descriptor import (
    PAGE,
    REG_R,
    REG_RW,
    REG_RWX,
    REG_RX,
    DescriptorError,
    Enclave,
    Kind,
    Region,
    Section,
    Slice,
    Tcs,
    page_count,
)
from mystikos.formats.parameters import Parameters, Place

if TYPE_CHECKING:
    from mystikos.binding import Bindings
    from mystikos.config import Config
    from mystikos.rootfs import Entry, RootFs

__all__ = ["Kernel", "Layout", "plan"]

_LOG = logging.getLogger(__name__)
_HIGHEST_ADDRESS = 1 << 46
_MAX_INTERPRETERS = 5  # as many nested #! lines as execve(2) follows


@dataclass(frozen=True)
class Kernel:
    """The kernel's ELF file, less what no segment loads, with what the planner needs of its headers."""

    data: bytes
    image: elf.Image

    @classmethod
    def parse(cls, data: bytes, name: str) -> Kernel:
        """Check that ``data`` is a kernel that the enclave can hold; ``name`` is for the error."""
        try:
            image = elf.read_image_bytes(data)
        except elf.ElfError as exc:
            raise _broken_runtime(name, str(exc)) from exc
        problem = _kernel_problem(image)
        if problem:
            raise _broken_runtime(name, problem)
        return cls(_loaded_bytes(data, image), image)

    @property
    def span(self) -> int:
        """Bytes of address space from the kernel's first page, rounded up to pages."""
        return max(page_count(segment.end) for segment in self.image.load_segments) * PAGE

    @property
    def entry(self) -> int:
        """Where EENTER begins, counted from the kernel's first page."""
        return self.image.header.entry


def _loaded_bytes(data: bytes, image: elf.Image) -> bytes:
    """The file with zeros where no segment takes its bytes from, so that every byte of it is measured.

    Section headers are not loaded; the ELF header ceases to speak of them.
    """
    header = replace(image.header, shoff=0, shnum=0, shstrndx=0)
    data = header.pack() + data[elf.EHDR.size :]
    kept = bytearray(max(segment.offset + segment.filesz for segment in image.load_segments))
    for segment in image.load_segments:
        part = slice(segment.offset, segment.offset + segment.filesz)
        kept[part] = data[part]
    return bytes(kept)


def _broken_runtime(name: str, found: str) -> RuntimeMissingError:
    return RuntimeMissingError(
        name, found, hint="the native runtime is damaged: build it again or reinstall mystikos"
    )


def _kernel_problem(image: elf.Image) -> str | None:
    if image.header.type != elf.ET_DYN or image.has_interpreter:
        return "not a static position-independent executable"
    previous_end = 0
    for segment in image.load_segments:
        if segment.vaddr % PAGE != segment.offset % PAGE:
            return f"the segment at {segment.vaddr:#x} cannot be mapped page by page"
        if segment.vaddr // PAGE * PAGE < previous_end:
            return f"the segment at {segment.vaddr:#x} shares a page with the one before it"
        if segment.flags & 7 not in _RIGHTS:
            return f"the segment at {segment.vaddr:#x} has rights {segment.flags & 7:#x}, not R, RX or RW"
        previous_end = page_count(segment.end) * PAGE
    if not previous_end:
        return "nothing to load"
    first = image.load_segments[0]
    if first.vaddr or first.offset or first.filesz < elf.EHDR.size:
        return "its first segment is not at address 0 with its ELF header"
    if not any(_holds_entry(segment, image.header.entry) for segment in image.load_segments):
        return "its entry points are not in an executable segment"
    return None


def _holds_entry(segment: elf.Segment, entry: int) -> bool:
    last = entry + _abi.KERNEL_DIRECT_ENTRY_OFFSET
    return bool(segment.flags & elf.PF_X) and segment.vaddr <= entry and last < segment.vaddr + segment.filesz


@dataclass(frozen=True)
class Layout:
    """The planned enclave and the contents of the sections that fill it, ``.mystenc`` excepted."""

    enclave: Enclave
    contents: Mapping[Section, Content]


def plan(
    config: Config,
    rootfs: RootFs,
    bindings: Bindings,
    kernel: Kernel,
    crt: bytes,
    *,
    pubkeys: bytes = b"",
    roothashes: bytes = b"",
) -> Layout:
    """Lay out the enclave of one application; equal arguments give equal layouts."""
    record = config.record()
    json_at = PAGE + len(record)
    sizes = {
        Section.CRT: len(crt),
        Section.CONFIG: json_at + len(config.source),
        Section.BINDINGS: len(bindings.table),
        Section.PUBKEYS: len(pubkeys),
        Section.ROOTHASHES: len(roothashes),
        Section.ROOTFS: rootfs.size,
    }
    parameters = _memory_map(
        config,
        window=_exec_window(rootfs, config.application_path),
        kernel_span=kernel.span,
        sizes=sizes,
        heap_size=_heap_size(len(rootfs.entries)),
        record=Place(PAGE, len(record)),
        json=Place(json_at, len(config.source)),
    )
    enclave = _enclave(parameters, kernel)
    pages = sum(region.pages for region in enclave.regions)
    _LOG.info("layout: SIZE %#x, %d regions, %d pages", enclave.size, len(enclave.regions), pages)
    return Layout(
        enclave,
        {
            Section.KERNEL: BytesContent(kernel.data),
            Section.CRT: BytesContent(crt),
            Section.CONFIG: BytesContent(parameters.page() + record + config.source),
            Section.BINDINGS: BytesContent(bindings.table),
            Section.PUBKEYS: BytesContent(pubkeys),
            Section.ROOTHASHES: BytesContent(roothashes),
            Section.ROOTFS: rootfs,
        },
    )


class _Pages:
    """Hands out address space, upwards and page by page."""

    def __init__(self, start: int) -> None:
        self.next = start

    def take(self, size: int) -> Place:
        place = Place(self.next, size)
        self.next += page_count(size) * PAGE
        return place


def _memory_map(
    config: Config,
    *,
    window: Place,
    kernel_span: int,
    sizes: Mapping[Section, int],
    heap_size: int,
    record: Place,
    json: Place,
) -> Parameters:
    """Everything's place, in the order of the memory map."""
    zero_based = config.create_zero_base_enclave or window.size > 0
    pages = _Pages(max(window.end, config.enclave_start_address) if zero_based else 0)

    kernel = pages.take(kernel_span)
    sections = {section: pages.take(size) for section, size in sizes.items()}
    threads = pages.take(config.max_threads * _BLOCK_PAGES * PAGE)
    heap = pages.take(heap_size)
    user = pages.take(page_count(config.memory_size) * PAGE)

    return Parameters(
        zero_based=zero_based,
        debug=config.debug,
        record=record,
        json=json,
        enclave_size=_enclave_size(pages.next),
        kernel=kernel,
        crt=sections[Section.CRT],
        config=sections[Section.CONFIG],
        bindings=sections[Section.BINDINGS],
        pubkeys=sections[Section.PUBKEYS],
        roothashes=sections[Section.ROOTHASHES],
        rootfs=sections[Section.ROOTFS],
        threads_offset=threads.offset,
        threads_stride=_BLOCK_PAGES * PAGE,
        threads_count=config.max_threads,
        block_ssa=_SSA_PAGE * PAGE,
        block_thread_area=_THREAD_AREA_PAGE * PAGE,
        block_stack=Place(_STACK_PAGE * PAGE, _abi.KERNEL_STACK_PAGES * PAGE),
        nssa=_abi.NSSA,
        ssa_frame_pages=_abi.SSA_FRAME_PAGES,
        heap=heap,
        user=user,
        window=window,
    )


def _heap_size(entries: int) -> int:
    """The kernel's first heap: a base, and room for an inode of every root file system entry."""
    return page_count(_abi.HEAP_BASE_SIZE + _abi.HEAP_BYTES_PER_ENTRY * entries) * PAGE


def _enclave_size(end: int) -> int:
    """The next power of two, as ECREATE demands (SDM 3D, "ECREATE")."""
    if end > _HIGHEST_ADDRESS:
        raise LayoutError(
            "enclave",
            f"the memory map ends at {end:#x}",
            expected=f"at most {_HIGHEST_ADDRESS:#x}",
            hint="lower MemorySize, MaxThreads or EnclaveStartAddress, or link the application lower",
        )
    return max(_abi.MIN_ENCLAVE_SIZE, 1 << (end - 1).bit_length())


_SECTION_REGIONS = (
    (Section.CRT, Kind.CRT, REG_RX),
    (Section.CONFIG, Kind.CONFIG, REG_R),
    (Section.BINDINGS, Kind.BINDINGS, REG_R),
    (Section.PUBKEYS, Kind.PUBKEYS, REG_R),
    (Section.ROOTHASHES, Kind.ROOTHASHES, REG_R),
    (Section.ROOTFS, Kind.ROOTFS, REG_R),
)


def _enclave(parameters: Parameters, kernel: Kernel) -> Enclave:
    """The page regions that fill the memory map."""
    places = (
        parameters.crt,
        parameters.config,
        parameters.bindings,
        parameters.pubkeys,
        parameters.roothashes,
        parameters.rootfs,
    )
    regions = [
        *_zero_region(Kind.EXEC_WINDOW, parameters.window, REG_RWX),
        *_kernel_regions(kernel, parameters.kernel.offset),
        *(
            Region(kind, place.offset, page_count(place.size), rights, True, Slice(section, 0, place.size))
            for (section, kind, rights), place in zip(_SECTION_REGIONS, places, strict=True)
            if place.size
        ),
        *_thread_regions(parameters, parameters.kernel.offset + kernel.entry),
        *_zero_region(Kind.HEAP, parameters.heap, REG_RW),
        *_zero_region(Kind.USER, parameters.user, REG_RWX),
    ]
    try:
        return Enclave(
            size=parameters.enclave_size,
            zero_based=parameters.zero_based,
            regions=tuple(regions),
            attributes=_abi.ATTRIBUTE_MODE64BIT | (_abi.ATTRIBUTE_DEBUG if parameters.debug else 0),
        )
    except DescriptorError as exc:
        raise LayoutError("enclave", str(exc)) from exc


def _zero_region(kind: Kind, place: Place, rights: int) -> list[Region]:
    return [Region(kind, place.offset, page_count(place.size), rights)] if place.size else []


_RIGHTS = {
    elf.PF_R: REG_R,
    elf.PF_R | elf.PF_X: REG_RX,
    elf.PF_R | elf.PF_W: REG_RW,
}


def _kernel_regions(kernel: Kernel, base: int) -> Iterator[Region]:
    """Per segment its pages from the file, then the zero pages of its .bss."""
    for segment in kernel.image.load_segments:
        rights = _RIGHTS[segment.flags & 7]
        lead = segment.vaddr % PAGE
        first = segment.vaddr // PAGE
        file_pages = page_count(lead + segment.filesz) if segment.filesz else 0
        zero_pages = page_count(segment.end) - first - file_pages

        if file_pages:
            content = Slice(Section.KERNEL, segment.offset - lead, lead + segment.filesz)
            yield Region(Kind.KERNEL, base + first * PAGE, file_pages, rights, True, content)
        if zero_pages:
            yield Region(Kind.KERNEL, base + (first + file_pages) * PAGE, zero_pages, rights)


# A thread block: TCS, SSA frames, hole, thread area, hole, kernel stack.
_SSA_PAGE = 1
_THREAD_AREA_PAGE = _SSA_PAGE + _abi.NSSA * _abi.SSA_FRAME_PAGES + _abi.HOLE_PAGES
_STACK_PAGE = _THREAD_AREA_PAGE + _abi.THREAD_AREA_PAGES + _abi.HOLE_PAGES
_BLOCK_PAGES = _STACK_PAGE + _abi.KERNEL_STACK_PAGES


def _thread_regions(parameters: Parameters, entry: int) -> Iterator[Region]:
    for number in range(parameters.threads_count):
        block = parameters.threads_offset + number * parameters.threads_stride
        ssa = block + parameters.block_ssa
        area = block + parameters.block_thread_area
        tcs = Tcs(ossa=ssa, oentry=entry, ofsbase=parameters.config.offset, ogsbase=area)

        yield Region(Kind.TCS, block, 1, _abi.SECINFO_TCS, True, tcs)
        yield Region(Kind.SSA, ssa, _abi.NSSA * _abi.SSA_FRAME_PAGES, REG_RW)
        yield Region(Kind.THREAD, area, _abi.THREAD_AREA_PAGES, REG_RW)
        yield Region(Kind.STACK, block + parameters.block_stack.offset, _abi.KERNEL_STACK_PAGES, REG_RW)


def _exec_window(rootfs: RootFs, application: bytes) -> Place:
    """The pages an ET_EXEC application is linked to; empty when it is position independent."""
    image = _application_image(rootfs, application)
    if image.header.type != elf.ET_EXEC or not image.load_segments:
        return Place(0, 0)

    first = min(segment.vaddr for segment in image.load_segments) // PAGE
    last = max(page_count(segment.end) for segment in image.load_segments)
    if first * PAGE < _abi.DEFAULT_START_ADDRESS or last * PAGE > _HIGHEST_ADDRESS:
        raise LayoutError(
            _shown(application),
            f"linked to addresses {first * PAGE:#x} to {last * PAGE:#x}",
            expected=f"addresses from {_abi.DEFAULT_START_ADDRESS:#x} to {_HIGHEST_ADDRESS:#x}",
            hint="link it as a position-independent executable (-pie)",
        )
    return Place(first * PAGE, (last - first) * PAGE)


def _application_image(rootfs: RootFs, application: bytes) -> elf.Image:
    """The ELF headers of the application, or of the interpreter that its #! line names."""
    path = application
    for _ in range(_MAX_INTERPRETERS):
        entry = _regular_file(rootfs, path)
        start = entry.read(0, 256)
        if not start.startswith(b"#!"):
            return _elf_image(entry, path)
        line = start[2:].split(b"\n", 1)[0].split()
        if not line:
            raise LayoutError(_shown(path), "its #! line names no interpreter")
        path = line[0]
    raise LayoutError(
        _shown(application), f"more than {_MAX_INTERPRETERS} interpreters call each other by #! lines"
    )


def _regular_file(rootfs: RootFs, path: bytes) -> Entry:
    entry = rootfs.lookup(path.lstrip(b"/"))
    hint = "ApplicationPath counts from the application directory's root"
    if entry is None:
        raise LayoutError(_shown(path), "not in the application directory", hint=hint)
    if not stat.S_ISREG(entry.mode):
        raise LayoutError(_shown(path), "not a regular file", expected="a program", hint=hint)
    if not entry.mode & 0o111:
        raise LayoutError(
            _shown(path), f"mode {entry.mode & 0o7777:04o}", expected="an executable file", hint="chmod +x it"
        )
    return entry


def _elf_image(entry: Entry, path: bytes) -> elf.Image:
    try:
        image = elf.read_image(entry.read, entry.size)
    except elf.ElfError as exc:
        raise LayoutError(_shown(path), str(exc), expected="an x86-64 Linux program") from exc
    if image.header.type not in (elf.ET_EXEC, elf.ET_DYN):
        raise LayoutError(
            _shown(path), f"ELF type {image.header.type}", expected="an executable (ET_EXEC or ET_DYN)"
        )
    return image


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
