"""Stage 2b, boundaries: where the functions of an image start and end.

Instructions can only be found by decoding from a place known to be one, so everything rests on these ranges.
They come from symbols, from unwind tables (``.eh_frame``, which survives ``strip``) and from Go's function
table. What lies between two of them is a gap: code of functions nobody lists, padding, or data.

>>> none = np.zeros(2, np.bool_)
>>> functions = Functions(np.array([0, 64]), np.array([24, 80]), none, areas=((0, 80),))
>>> functions.block_at(10)
Block(start=0, end=24, named=True, landing_pads=False)
>>> functions.block_at(30)
Block(start=24, end=64, named=False, landing_pads=False)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from mystikos.binding.elf import SHT_DYNSYM, SHT_SYMTAB, Image, MalformedElf

Addresses: TypeAlias = npt.NDArray[np.int64]

_SYMBOL: Final = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_STT_FUNC, _STT_GNU_IFUNC = 2, 10
_OVERLAP: Final = 8  # symbols and unwind tables often list one function with two or three sizes
_MOST_DECODED_TWICE: Final = 1 << 20

_GO_MAGIC_1_18, _GO_MAGIC_1_20 = 0xFFFFFFF0, 0xFFFFFFF1
_GO_ENTRY: Final = np.dtype([("entry", "<u4"), ("info", "<u4")])

# DWARF pointer encodings (LSB, "DWARF Exception Header Encoding")
_PCREL_SDATA4, _PCREL_SDATA8, _ABSOLUTE = 0x1B, 0x1C, 0x00


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of addresses [start, end) whose first byte starts an instruction."""

    start: int
    end: int
    named: bool  # a listed function; False for a gap
    landing_pads: bool  # has exception landing pads, which are entered from outside


@dataclass(frozen=True)
class Functions:
    """The listed functions, ascending by start, and the executable areas they lie in."""

    starts: Addresses
    ends: Addresses
    landing_pads: npt.NDArray[np.bool_]
    areas: tuple[tuple[int, int], ...]

    def block_at(self, address: int) -> Block | None:
        """The innermost function, or else the gap between functions, that holds an address."""
        last = int(np.searchsorted(self.starts, address, side="right")) - 1
        for index in range(last, max(last - 8, -1), -1):
            if address < self.ends[index]:
                return Block(
                    int(self.starts[index]), int(self.ends[index]), True, bool(self.landing_pads[index])
                )
        return self._gap_at(address, last)

    def _gap_at(self, address: int, last: int) -> Block | None:
        area = next(((low, high) for low, high in self.areas if low <= address < high), None)
        if area is None:
            return None
        start, end = area
        if last >= 0:
            start = max(start, int(self.ends[max(last - 7, 0) : last + 1].max()))
        if last + 1 < len(self.starts):
            end = min(end, int(self.starts[last + 1]))
        return Block(start, end, False, False) if start <= address < end else None

    def blocks(self, areas: Iterable[tuple[int, int]]) -> Iterator[Block]:
        """All of the areas, in ascending pieces, each byte once: the functions, and the gaps between them."""
        position = 0
        for low, high in sorted(areas):
            position = max(position, low)  # areas of a hostile file may overlap
            first, last = np.searchsorted(self.starts, [position, max(position, high)])
            for start, end, pads in zip(
                self.starts[first:last].tolist(),
                self.ends[first:last].tolist(),
                self.landing_pads[first:last].tolist(),
                strict=True,
            ):
                if position < start:
                    yield Block(position, start, False, False)
                if position < end:  # a function inside of another one is a part of it
                    yield Block(max(position, start), min(end, high), True, pads)
                    position = min(end, high)
            if position < high:
                yield Block(position, high, False, False)
                position = high

    def starts_within(self, low: int, high: int) -> Addresses:
        """The starts of listed functions in [low, high)."""
        first, last = np.searchsorted(self.starts, [low, high])
        return self.starts[first:last]


def find_functions(image: Image) -> Functions:
    """Collect every function the file lists; ranges outside of executable segments are dropped.

    Raises MalformedElf where they overlap so much that decoding each would take far longer than the code.
    """
    found = [*_from_symbols(image), *_from_unwind_tables(image), *_from_go_table(image)]
    starts = np.concatenate([f[0] for f in found]) if found else np.empty(0, np.int64)
    ends = np.concatenate([f[1] for f in found]) if found else np.empty(0, np.int64)
    pads = np.concatenate([f[2] for f in found]) if found else np.empty(0, np.bool_)

    inside = np.zeros(len(starts), np.bool_)
    for segment in image.executable:
        inside |= (starts >= segment.address) & (ends <= segment.end) & (starts < ends)
    starts, ends, pads = starts[inside], ends[inside], pads[inside]

    # same start twice: the longer one last, so that block_at meets it first
    order = np.lexsort((ends, starts))
    starts, ends, pads = starts[order], ends[order], pads[order]
    different = np.append(True, (starts[1:] != starts[:-1]) | (ends[1:] != ends[:-1]))[: len(starts)]
    decoded = int((ends - starts)[different].sum())
    if decoded > _MOST_DECODED_TWICE + _OVERLAP * sum(segment.size for segment in image.executable):
        raise MalformedElf(f"its functions overlap: decoding all of them takes {decoded} bytes")
    for low in np.flatnonzero(starts[1:] == starts[:-1]):
        pads[low + 1] |= pads[low]
    return Functions(starts, ends, pads, _areas(image))


def _areas(image: Image) -> tuple[tuple[int, int], ...]:
    """Executable sections: only inside of these does a gap count as code."""
    areas = []
    for section in image.sections:
        segment = image.segment_at(section.address)
        if not (section.executable and section.size and segment and segment.executable):
            continue
        if section.offset - segment.offset == section.address - segment.address:
            areas.append((section.address, min(section.address + section.size, segment.end)))
    return tuple(sorted(areas))


_Found: TypeAlias = tuple[Addresses, Addresses, npt.NDArray[np.bool_]]


def _from_symbols(image: Image) -> list[_Found]:
    found = []
    for kind in (SHT_SYMTAB, SHT_DYNSYM):  # a file has at most one of each (gABI, "Sections")
        section = next((one for one in image.sections if one.type == kind), None)
        if section is None:
            continue
        data = image.section_data(section)
        table = np.frombuffer(data, _SYMBOL, len(data) // _SYMBOL.itemsize)
        what = table["info"] & 15
        functions = table[
            ((what == _STT_FUNC) | (what == _STT_GNU_IFUNC))
            & (table["shndx"] != 0)
            & (table["size"] > 0)
            & (table["value"] < 1 << 47)
            & (table["size"] < 1 << 47)
        ]
        starts = functions["value"].astype(np.int64)
        found.append((starts, starts + functions["size"].astype(np.int64), np.zeros(len(starts), np.bool_)))
    return found


def _from_go_table(image: Image) -> list[_Found]:
    """Go's ``.gopclntab``: entry offsets from the start of the text (runtime/symtab.go, pcHeader)."""
    section = image.section(b".gopclntab") or image.section(b".data.rel.ro.gopclntab")
    text = image.section(b".text")
    if section is None or text is None or section.size < 72:
        return []
    data = image.section_data(section)
    magic, _, _, pointer_size, count = struct.unpack_from("<IHBBQ", data)
    base, table_offset = struct.unpack_from("<24xQ", data)[0], struct.unpack_from("<64xQ", data)[0]
    if magic not in (_GO_MAGIC_1_18, _GO_MAGIC_1_20) or pointer_size != 8:
        return []
    if not count or table_offset + (count + 1) * _GO_ENTRY.itemsize > len(data):
        return []

    entries = np.frombuffer(data, _GO_ENTRY, count, table_offset)["entry"].astype(np.int64)
    end = struct.unpack_from("<I", data, table_offset + count * _GO_ENTRY.itemsize)[0]
    starts = entries + (base if text.address <= base < text.address + text.size else text.address)
    ends = np.append(starts[1:], starts[0] - entries[0] + end)
    if (starts >= ends).any():
        return []
    return [(starts, ends, np.zeros(count, np.bool_))]


def _from_unwind_tables(image: Image) -> list[_Found]:
    """``.eh_frame``: each FDE covers one function or a part of it (LSB, "Exception Frames")."""
    place = _eh_frame(image)
    if place is None:
        return []
    address, data = place

    fdes: dict[int, list[int]] = {}  # CIE offset → FDE offsets
    offset, size, unpack = 0, len(data), struct.Struct("<II").unpack_from
    while offset + 8 <= size:
        length, pointer = unpack(data, offset)
        if length == 0:  # a terminator; static linking can leave more of them in the middle
            offset += 4
            continue
        if length == 0xFFFFFFFF:
            break
        if pointer:
            fdes.setdefault(offset + 4 - pointer, []).append(offset)
        offset += 4 + length

    found = []
    for cie, offsets in fdes.items():
        encodings = _cie_encodings(data, cie)
        if encodings is not None:
            found.append(_read_fdes(data, address, np.array(offsets, np.int64), *encodings))
    return found


def _eh_frame(image: Image) -> tuple[int, bytes] | None:
    section = image.section(b".eh_frame")
    if section is not None:
        return section.address, image.section_data(section)
    if image.eh_frame_header is None:
        return None
    head = image.read(image.eh_frame_header, 8)
    if len(head) < 8 or head[:2] != b"\x01\x1b":
        return None
    address = image.eh_frame_header + 4 + struct.unpack_from("<i", head, 4)[0]
    segment = image.segment_at(address)
    if segment is None:
        return None
    data = image.read(address, segment.end - address)
    return address, data[: _terminator(data)]


def _terminator(data: bytes) -> int:
    """Where the entries end when no section tells: at the first of length zero."""
    offset = 0
    while offset + 4 <= len(data):
        length = struct.unpack_from("<I", data, offset)[0]
        if length == 0:
            break
        offset += 4 + length
    return min(offset, len(data))


def _cie_encodings(data: bytes, cie: int) -> tuple[int, bool] | None:
    """How the CIE's FDEs write addresses, and whether they name exception tables; None when unreadable."""
    if cie < 0 or cie + 9 > len(data) or data[cie + 8] not in (1, 3):
        return None
    end = data.find(b"\0", cie + 9)
    augmentation = data[cie + 9 : end] if 0 <= end < cie + 20 else b""
    if not augmentation.startswith(b"z"):
        return None

    try:
        position = end + 1
        for _ in range(4):  # code and data alignment, return register, length of what follows
            while data[position] & 0x80:
                position += 1
            position += 1
        encoding = _ABSOLUTE
        for letter in augmentation[1:]:
            if letter == ord("R"):
                encoding = data[position]
                position += 1
            elif letter == ord("L"):
                position += 1
            elif letter == ord("P"):
                position += 1 + (8 if data[position] & 15 in (0, 4, 12) else 4)
            elif letter != ord("B"):
                return None  # "S" too: a signal trampoline's FDE starts one byte early, not at an instruction
    except IndexError:
        return None
    return encoding, b"L" in augmentation


def _read_fdes(data: bytes, address: int, offsets: Addresses, encoding: int, has_tables: bool) -> _Found:
    width = {_PCREL_SDATA4: 4, _PCREL_SDATA8: 8, _ABSOLUTE: 8}.get(encoding, 0)
    offsets = offsets[offsets + 8 + 2 * width + 1 + 8 <= len(data)]
    if not width:
        offsets = offsets[:0]
    raw = np.frombuffer(data, np.uint8)

    begin = _gather(raw, offsets + 8, width)
    starts = begin if encoding == _ABSOLUTE else begin + offsets + 8 + address
    lengths = _gather(raw, offsets + 8 + width, width)
    pads = np.zeros(len(offsets), np.bool_)
    if has_tables:
        pads = _gather(raw, offsets + 8 + 2 * width + 1, 4) != 0
    return starts, starts + np.maximum(lengths, 0), pads


def _gather(raw: npt.NDArray[np.uint8], offsets: Addresses, width: int) -> Addresses:
    """Signed little-endian integers of ``width`` bytes at arbitrary offsets."""
    value = np.zeros(len(offsets), np.uint64)
    for i in range(width):
        value |= raw[offsets + i].astype(np.uint64) << np.uint64(8 * i)
    if width == 4:
        return value.astype(np.uint32).view(np.int32).astype(np.int64)
    return value.view(np.int64)
