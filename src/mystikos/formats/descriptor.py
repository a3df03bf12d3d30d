"""The enclave descriptor (``.mystenc``): which pages are loaded where, with what rights, from which bytes.

:class:`Enclave` is what ECREATE, EADD and EEXTEND are told: the planner makes one, ``measurement`` folds
it, the package stores it beside the SIGSTRUCT and the launcher replays it. Its constructor proves the
invariants that all of them rely on, so a decoded one is as good as a planned one.

The format is docs/reference/package-format.md, section ``.mystenc``.

>>> tcs = Tcs(ossa=0x1000, oentry=0, ofsbase=0, ogsbase=0x5000)
>>> len(tcs.page())
4096
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from mystikos import _abi
from mystikos.formats import buildrecord

__all__ = [
    "PAGE",
    "REG_R",
    "REG_RW",
    "REG_RWX",
    "REG_RX",
    "Descriptor",
    "DescriptorError",
    "Enclave",
    "Kind",
    "Region",
    "Section",
    "Slice",
    "Tcs",
    "decode",
    "encode",
    "encoded_size",
    "page_count",
]

PAGE = _abi.PAGE_SIZE
"""Bytes of a page."""

_HEADER = struct.Struct("<8sIIQQIIQQQIIQQ8s32s")
_RECORD = struct.Struct("<QQQIIIIQQQQQQII32s")
_TCS_PAGE = struct.Struct("<QQQIIQQQQII")
_DIGEST_OFFSET = 96
_NO_DIGEST = bytes(32)
_SEGMENT_LIMIT = 0xFFFF_FFFF
_MAX_ENCLAVE_SIZE = 1 << 46
_MAX_REGIONS = 1 << 15
_MAX_PAGES = 1 << 29  # 2 TiB of pages: more would keep a verifier busy for hours

assert _HEADER.size == _abi.DESCRIPTOR_HEADER_SIZE
assert _RECORD.size == _abi.REGION_RECORD_SIZE


class DescriptorError(ValueError):
    """The enclave or its descriptor breaks a rule of the format; the text tells which, and where."""


class Section(IntEnum):
    """A package's sections in file order; the value is what a region record says.

    The last one says how the package was made; launcher and enclave know nothing of it.
    """

    KERNEL = 0
    CRT = 1
    CONFIG = 2
    BINDINGS = 3
    PUBKEYS = 4
    ROOTHASHES = 5
    ROOTFS = 6
    ENCLAVE = 7
    BUILD = 8

    @property
    def elf_name(self) -> str:
        """The section's name in the file."""
        return buildrecord.SECTION if self is Section.BUILD else _abi.SECTIONS[self]


class Kind(IntEnum):
    """What a region is for."""

    KERNEL = _abi.KIND_KERNEL
    CRT = _abi.KIND_CRT
    CONFIG = _abi.KIND_CONFIG
    BINDINGS = _abi.KIND_BINDINGS
    PUBKEYS = _abi.KIND_PUBKEYS
    ROOTHASHES = _abi.KIND_ROOTHASHES
    ROOTFS = _abi.KIND_ROOTFS
    TCS = _abi.KIND_TCS
    SSA = _abi.KIND_SSA
    THREAD = _abi.KIND_THREAD
    STACK = _abi.KIND_STACK
    HEAP = _abi.KIND_HEAP
    USER = _abi.KIND_USER
    EXEC_WINDOW = _abi.KIND_EXEC_WINDOW


REG_R = _abi.SECINFO_REG | _abi.SECINFO_R
"""SECINFO.FLAGS of regular pages that can be read."""
REG_RW = REG_R | _abi.SECINFO_W
"""Read and written."""
REG_RX = REG_R | _abi.SECINFO_X
"""Read and executed."""
REG_RWX = REG_RW | _abi.SECINFO_X
"""All of it."""

_ALLOWED_SECINFO = frozenset({_abi.SECINFO_TCS, REG_R, REG_RW, REG_RX, REG_RWX})


@dataclass(frozen=True)
class Slice:
    """A region's bytes: ``size`` bytes of a section from a page boundary, then zeros to the page's end."""

    section: Section
    offset: int
    size: int


@dataclass(frozen=True)
class Tcs:
    """The fields of a thread control structure (SDM 3D, 35.8); offsets count from the enclave's base."""

    ossa: int
    oentry: int
    ofsbase: int
    ogsbase: int
    nssa: int = _abi.NSSA

    def page(self) -> bytes:
        """The 4096 bytes that EADD takes and EEXTEND hashes; state, FLAGS, CSSA and AEP are zero."""
        fields = _TCS_PAGE.pack(
            0, 0, self.ossa, 0, self.nssa, self.oentry, 0, self.ofsbase, self.ogsbase,
            _SEGMENT_LIMIT, _SEGMENT_LIMIT,
        )  # fmt: skip
        return fields.ljust(PAGE, b"\0")


@dataclass(frozen=True)
class Region:
    """A run of pages with one set of rights; ``source`` None means zero pages.

    ``offset`` counts bytes from the enclave's base. A measured region is EEXTENDed page by page.
    """

    kind: Kind
    offset: int
    pages: int
    secinfo: int
    measured: bool = False
    source: Slice | Tcs | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise DescriptorError(f"region {self.kind.name} at {self.offset:#x}: {problem}")

    def _problem(self) -> str | None:
        if self.offset % PAGE:
            return "not at a page boundary"
        if not 0 < self.pages * PAGE <= _MAX_ENCLAVE_SIZE:
            return f"{self.pages} pages"
        if self.secinfo not in _ALLOWED_SECINFO:
            return f"SECINFO flags {self.secinfo:#x} are not a TCS page or R, RW, RX, RWX"
        if isinstance(self.source, Slice):
            return self._slice_problem(self.source)
        is_tcs = isinstance(self.source, Tcs)
        if is_tcs != (self.secinfo == _abi.SECINFO_TCS) or is_tcs != (self.kind is Kind.TCS):
            return "TCS pages and TCS contents go together"
        if is_tcs and (self.pages != 1 or not self.measured):
            return "a TCS is one measured page"
        if self.measured and not is_tcs:
            return "zero pages are never measured"
        return None

    def _slice_problem(self, source: Slice) -> str | None:
        if source.section >= Section.ENCLAVE:
            return "its bytes would come from the descriptor itself, or from the build record"
        if source.offset % PAGE:
            return f"its bytes start at {source.offset:#x}, not at a page boundary"
        if self.pages != page_count(source.size):
            return f"{self.pages} pages for {source.size} bytes"
        if not self.measured:
            return "its bytes come from the file but are not measured"
        if self.secinfo == _abi.SECINFO_TCS or self.kind is Kind.TCS:
            return "a TCS cannot come from a section"
        return None

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return self.pages * PAGE

    @property
    def end(self) -> int:
        """The first offset after the region."""
        return self.offset + self.size

    @property
    def rights(self) -> str:
        """What the pages allow, as letters; TCS pages have no rights, but a type of their own."""
        if self.secinfo == _abi.SECINFO_TCS:
            return "TCS"
        bits = ((_abi.SECINFO_R, "R"), (_abi.SECINFO_W, "W"), (_abi.SECINFO_X, "X"))
        return "".join(letter for bit, letter in bits if self.secinfo & bit)


@dataclass(frozen=True)
class Enclave:
    """Everything ECREATE, EADD and EEXTEND are told; regions ascend and never overlap.

    ``size`` is SECS.SIZE in bytes, ``ssa_frame_pages`` SECS.SSAFRAMESIZE; ``attributes`` and ``xfrm`` are the
    two halves of SECS.ATTRIBUTES.
    """

    size: int
    zero_based: bool
    regions: tuple[Region, ...]
    attributes: int = _abi.ATTRIBUTE_MODE64BIT
    xfrm: int = _abi.XFRM
    miscselect: int = _abi.MISCSELECT
    ssa_frame_pages: int = _abi.SSA_FRAME_PAGES

    def __post_init__(self) -> None:
        if not _abi.MIN_ENCLAVE_SIZE <= self.size <= _MAX_ENCLAVE_SIZE or self.size & (self.size - 1):
            raise DescriptorError(
                f"enclave size {self.size:#x} is not a power of two from "
                f"{_abi.MIN_ENCLAVE_SIZE:#x} to {_MAX_ENCLAVE_SIZE:#x}"
            )
        if self.ssa_frame_pages != _abi.SSA_FRAME_PAGES:
            raise DescriptorError(f"SSAFRAMESIZE {self.ssa_frame_pages} is not {_abi.SSA_FRAME_PAGES}")
        end = 0
        for region in self.regions:
            if region.offset < end:
                raise DescriptorError(
                    f"region {region.kind.name} at {region.offset:#x} starts before {end:#x}, "
                    "where the region before it ends"
                )
            end = region.end
        if sum(region.pages for region in self.regions) > _MAX_PAGES:
            raise DescriptorError(f"more than {_MAX_PAGES} pages")
        if end > self.size:
            raise DescriptorError(f"regions reach to {end:#x}, beyond the enclave's size {self.size:#x}")

    @property
    def debug(self) -> bool:
        """Whether ATTRIBUTES.DEBUG is asked for."""
        return bool(self.attributes & _abi.ATTRIBUTE_DEBUG)

    @property
    def measured_size(self) -> int:
        """Bytes of all pages that are EEXTENDed."""
        return sum(region.size for region in self.regions if region.measured)

    def of_kind(self, kind: Kind) -> tuple[Region, ...]:
        """The regions of one kind, ascending."""
        return tuple(region for region in self.regions if region.kind is kind)


@dataclass(frozen=True)
class Descriptor:
    """The decoded section: the enclave, the trace of its measurement (a digest per region), the SIGSTRUCT.

    The trace tells *which* region was damaged; it proves nothing.
    """

    enclave: Enclave
    trace: tuple[bytes, ...]
    sigstruct: bytes


def page_count(size: int) -> int:
    """How many pages hold ``size`` bytes."""
    return -(-size // PAGE)


def encoded_size(enclave: Enclave) -> int:
    """Bytes that :func:`encode` will return."""
    return _abi.DESCRIPTOR_HEADER_SIZE + len(enclave.regions) * _abi.REGION_RECORD_SIZE + _abi.SIGSTRUCT_SIZE


def encode(descriptor: Descriptor) -> bytes:
    """The section's bytes: header, region records, SIGSTRUCT."""
    enclave = descriptor.enclave
    size = encoded_size(enclave)
    header = _HEADER.pack(
        _abi.DESCRIPTOR_MAGIC,
        _abi.DESCRIPTOR_VERSION,
        _abi.DESCRIPTOR_ZERO_BASED if enclave.zero_based else 0,
        size,
        enclave.size,
        enclave.ssa_frame_pages,
        enclave.miscselect,
        enclave.attributes,
        enclave.xfrm,
        _abi.DESCRIPTOR_HEADER_SIZE,
        len(enclave.regions),
        _abi.REGION_RECORD_SIZE,
        size - _abi.SIGSTRUCT_SIZE,
        _abi.SIGSTRUCT_SIZE,
        bytes(8),
        _NO_DIGEST,
    )
    records = [_encode_region(r, d) for r, d in zip(enclave.regions, descriptor.trace, strict=True)]
    whole = bytearray(b"".join([header, *records, descriptor.sigstruct]))
    whole[_DIGEST_OFFSET : _DIGEST_OFFSET + 32] = hashlib.sha256(whole).digest()
    return bytes(whole)


def _encode_region(region: Region, digest: bytes) -> bytes:
    section = offset = size = ossa = oentry = ofsbase = ogsbase = nssa = 0
    source = _abi.SOURCE_ZERO
    if isinstance(region.source, Slice):
        source = _abi.SOURCE_SECTION
        section, offset, size = region.source.section, region.source.offset, region.source.size
    elif isinstance(region.source, Tcs):
        source, tcs = _abi.SOURCE_TCS, region.source
        ossa, oentry, ofsbase, ogsbase, nssa = tcs.ossa, tcs.oentry, tcs.ofsbase, tcs.ogsbase, tcs.nssa
    flags = _abi.REGION_MEASURED if region.measured else 0
    return _RECORD.pack(
        region.offset, region.pages, region.secinfo, region.kind, flags, source, section, offset, size,
        ossa, oentry, ofsbase, ogsbase, nssa, 0, digest,
    )  # fmt: skip


def decode(data: bytes) -> Descriptor:
    """Decode a section's bytes, of whatever origin; only what :func:`encode` writes is accepted."""
    if len(data) < _abi.DESCRIPTOR_HEADER_SIZE:
        raise DescriptorError(f"{len(data)} bytes are less than a header")
    (magic, version, flags, size, enclave_size, frame, misc, attributes, xfrm, regions_at, count,
     record_size, sigstruct_at, sigstruct_size, zero, digest) = _HEADER.unpack_from(data)  # fmt: skip

    if magic != _abi.DESCRIPTOR_MAGIC:
        raise DescriptorError(f"magic {magic!r} is not {_abi.DESCRIPTOR_MAGIC!r}")
    if version != _abi.DESCRIPTOR_VERSION:
        raise DescriptorError(f"version {version} is not {_abi.DESCRIPTOR_VERSION}")
    if flags & ~_abi.DESCRIPTOR_ZERO_BASED or any(zero):
        raise DescriptorError("reserved header bits are set")
    if count > _MAX_REGIONS or record_size != _abi.REGION_RECORD_SIZE:
        raise DescriptorError(f"{count} region records of {record_size} bytes")
    expected = _abi.DESCRIPTOR_HEADER_SIZE + count * record_size + _abi.SIGSTRUCT_SIZE
    if (regions_at, sigstruct_at, sigstruct_size, size, len(data)) != (
        _abi.DESCRIPTOR_HEADER_SIZE, expected - _abi.SIGSTRUCT_SIZE, _abi.SIGSTRUCT_SIZE, expected, expected,
    ):  # fmt: skip
        raise DescriptorError(f"its parts do not fill its {len(data)} bytes in their order")
    if digest != _own_digest(data):
        raise DescriptorError("its bytes do not match its own digest")

    records = [
        _decode_region(index, data[at : at + record_size])
        for index, at in enumerate(range(regions_at, sigstruct_at, record_size))
    ]
    enclave = Enclave(
        size=enclave_size,
        zero_based=bool(flags & _abi.DESCRIPTOR_ZERO_BASED),
        regions=tuple(region for region, _ in records),
        attributes=attributes,
        xfrm=xfrm,
        miscselect=misc,
        ssa_frame_pages=frame,
    )
    return Descriptor(enclave, tuple(d for _, d in records), bytes(data[sigstruct_at:]))


def _own_digest(data: bytes) -> bytes:
    return hashlib.sha256(data[:_DIGEST_OFFSET] + _NO_DIGEST + data[_DIGEST_OFFSET + 32 :]).digest()


def _decode_region(index: int, record: bytes) -> tuple[Region, bytes]:
    (offset, pages, secinfo, kind, flags, source_kind, section, at, size,
     ossa, oentry, ofsbase, ogsbase, nssa, zero, digest) = _RECORD.unpack(record)  # fmt: skip

    source: Slice | Tcs | None = None
    if flags & ~_abi.REGION_MEASURED:
        raise DescriptorError(f"region record {index}: flags {flags:#x}")
    try:
        if source_kind == _abi.SOURCE_SECTION:
            source = Slice(Section(section), at, size)
        elif source_kind == _abi.SOURCE_TCS:
            source = Tcs(ossa, oentry, ofsbase, ogsbase, nssa)
        elif source_kind != _abi.SOURCE_ZERO:
            raise DescriptorError(f"region record {index}: source {source_kind}")
        region = Region(Kind(kind), offset, pages, secinfo, bool(flags), source)
    except DescriptorError:
        raise
    except ValueError as exc:
        raise DescriptorError(f"region record {index}: {exc}") from exc

    if zero or _encode_region(region, digest) != record:
        raise DescriptorError(f"region record {index}: fields that must be zero are not")
    return region, digest
