"""Stage 2b, safety: which addresses near a system call can be entered other than by falling into them.

A jump into the middle of the five bytes that the kernel overwrites would run garbage, so every way to name
such an address is searched for, and each search errs on the side of finding too much.

Branches may lead to any byte (old glibc jumps over ``lock`` prefixes), and come from anywhere: hot code jumps
to cold parts in other functions and back. Any byte that could be the opcode of a rel32 branch counts,
wherever instructions start, and so does any rel8 one where the code around is not known to decode cleanly.

Other names lead to instructions only:

* addresses formed by ``lea reg, [rip + x]`` (computed gotos, cancellation ranges), at any byte;
* 64-bit pointers in any loaded byte of the file, relocation addends included, and 32-bit ones among the
  instructions of a fixed-address executable;
* jump tables of 32-bit offsets, starting at any address that some ``lea`` names.

>>> from mystikos.binding.functions import find_functions
>>> text = bytes.fromhex("4889df 0f05 ebfc")  # mov rdi, rbx; syscall; jmp to the syscall
>>> image = Image(text, ET_EXEC, 0, (Segment(0, 0x1000, 7, True),), (), None, False)
>>> Reach(image, find_functions(image), lambda address: None).branched([0x1001, 0x1002, 0x1003])
frozenset({4099})
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from mystikos.binding.code import Code
from mystikos.binding.elf import Image, MalformedElf, Segment
from mystikos.binding.functions import Addresses, Functions
from mystikos.formats.elf import ET_EXEC

_CHUNK: Final = 16 << 20
_OVERLAP: Final = 8
_MAX_TABLE: Final = 4096  # entries
_MOST_ENTRIES: Final = 1 << 24  # of all tables together, and four for each byte of the file
_SHORT_BRANCHES: Final = frozenset([*range(0x70, 0x80), 0xEB, *range(0xE0, 0xE4)])
_SHORT_REACH: Final = 132

_ONE_BYTE: Final = np.zeros(256, np.bool_)
_ONE_BYTE[[0xE8, 0xE9]] = True
_TWO_BYTES: Final = np.zeros(256, np.bool_)
_TWO_BYTES[[0x0F, 0xC7]] = True


class Reach:
    """Answers, for one image, which of some addresses can be entered from elsewhere."""

    def __init__(self, image: Image, functions: Functions, decode_at: Callable[[int], Code | None]) -> None:
        self._image = image
        self._functions = functions
        self._decode_at = decode_at

    def branched(self, addresses: Iterable[int]) -> frozenset[int]:
        """Those of the addresses that some direct branch or call may lead to."""
        wanted = np.unique(np.fromiter(addresses, np.int64))
        if not len(wanted):
            return frozenset()

        found = set(self._short_branches(wanted))
        for segment in self._image.executable:
            for position, content in _chunks(self._image, segment):
                found.update(self._confirmed(_long_branches(content, position), wanted))
        return frozenset(found)

    def named(self, instructions: Iterable[int]) -> frozenset[int]:
        """Those of the instructions whose address is written down, or computed, somewhere in the file."""
        wanted = np.unique(np.fromiter(instructions, np.int64))
        if not len(wanted):
            return frozenset()

        _, targets = self._leas
        found = set(_members(targets, wanted))
        found.update(self._jump_tables(targets, wanted))
        for segment in self._image.segments:
            for position, content in _chunks(self._image, segment):
                found.update(_absolute64(content[-position % 4 :], wanted))
                if segment.executable and self._image.type == ET_EXEC:
                    found.update(_absolute32(content, wanted))
        return frozenset(found)

    def names_table(self, low: int, high: int) -> bool:
        """Whether code in [low, high) names a jump table, so that `named` has accounted for its jump."""
        first, last = np.searchsorted(self._table_sources, [low, high])
        return bool(last > first)

    @cached_property
    def _leas(self) -> _Pair:
        pairs = [
            _leas(content, position)
            for segment in self._image.executable
            for position, content in _chunks(self._image, segment)
        ]
        return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])

    @cached_property
    def _table_sources(self) -> Addresses:
        """The places that name what looks like the first entry of a jump table, ascending."""
        sources, targets = self._leas
        offsets, readable = _Memory(self._image).read_i32(targets)
        return np.sort(sources[readable & self._executable(targets + offsets)])

    def _confirmed(self, branches: tuple[Addresses, Addresses], wanted: Addresses) -> list[int]:
        """Drop the seeming branches that are part of an instruction of a listed, cleanly decoded function."""
        sources, targets = branches
        hits = np.flatnonzero(np.isin(targets, wanted))
        confirmed = []
        for source, target in zip(sources[hits].tolist(), targets[hits].tolist(), strict=True):
            code = self._decode_at(source)
            listed = code is not None and code.clean and code.block.named
            if code is None or not listed or target in code.targets:
                confirmed.append(target)
        return confirmed

    def _short_branches(self, wanted: Addresses) -> list[int]:
        found: list[int] = []
        for group in np.split(wanted, np.flatnonzero(np.diff(wanted) > 2 * _SHORT_REACH) + 1):
            low, high = int(group[0]) - _SHORT_REACH, int(group[-1]) + _SHORT_REACH
            members = set(group.tolist())
            address = low
            while address < high:
                code = self._decode_at(address)
                if code is None:
                    found.extend(self._raw_short_branches(address, address + 1, members))
                    address += 1
                    continue
                if code.clean:
                    found.extend(members & code.targets)
                else:
                    found.extend(self._raw_short_branches(address, min(code.block.end, high), members))
                address = code.block.end
        return found

    def _raw_short_branches(self, low: int, high: int, wanted: set[int]) -> list[int]:
        content = self._image.read(low, high - low + 1)
        return [
            target
            for i, opcode in enumerate(content[:-1])
            if opcode in _SHORT_BRANCHES
            and (target := low + i + 2 + int.from_bytes(content[i + 1 : i + 2], signed=True)) in wanted
        ]

    def _jump_tables(self, bases: Addresses, wanted: Addresses) -> list[int]:
        """Follow every seeming table of 32-bit offsets for as long as its entries land in executable code."""
        found: list[int] = []
        memory = _Memory(self._image)
        alive = np.unique(bases)
        left = _MOST_ENTRIES + 4 * len(self._image.data)
        for entry in range(_MAX_TABLE):
            left -= len(alive)
            if left < 0:
                raise MalformedElf("more jump tables than there is room for in it")
            offsets, readable = memory.read_i32(alive + 4 * entry)
            targets = alive + offsets
            lands = readable & self._executable(targets)
            found.extend(_members(targets[lands], wanted))
            alive = alive[lands]
            if not len(alive):
                break
        return found

    def _executable(self, addresses: Addresses) -> npt.NDArray[np.bool_]:
        inside = np.zeros(len(addresses), np.bool_)
        for segment in self._image.executable:
            inside |= (addresses >= segment.address) & (addresses < segment.end)
        return inside


class _Memory:
    """Vectorised reads from the image's loaded bytes."""

    def __init__(self, image: Image) -> None:
        self._segments = image.segments
        self._raw = np.frombuffer(image.data, np.uint8)

    def read_i32(self, addresses: Addresses) -> tuple[Addresses, npt.NDArray[np.bool_]]:
        """The value at each address, and whether the file has one there."""
        offsets = np.full(len(addresses), -1, np.int64)
        for segment in self._segments:
            inside = (addresses >= segment.address) & (addresses + 4 <= segment.end)
            offsets[inside] = addresses[inside] - segment.address + segment.offset
        readable = offsets >= 0
        return _i32(self._raw, np.where(readable, offsets, 0)), readable


def _chunks(image: Image, segment: Segment) -> Iterable[tuple[int, npt.NDArray[np.uint8]]]:
    """A segment's bytes in pieces, with the address of each; bounds the memory of a scan.

    Every piece is followed by as many bytes as the longest pattern needs, zeros at the end of the segment.
    """
    raw = np.frombuffer(image.data, np.uint8, segment.size, segment.offset)
    for start in range(0, segment.size, _CHUNK):
        content = raw[start : start + _CHUNK + _OVERLAP]
        missing = min(_CHUNK, segment.size - start) + _OVERLAP - len(content)
        yield segment.address + start, np.pad(content, (0, missing)) if missing else content


_Pair: TypeAlias = tuple[Addresses, Addresses]  # sources and targets


def _long_branches(content: npt.NDArray[np.uint8], position: int) -> _Pair:
    """(source, target) of all that could be a rel32 branch: call, jmp, jcc, xbegin."""
    body = content[:-_OVERLAP]
    one = np.flatnonzero(_ONE_BYTE[body])
    two = np.flatnonzero(_TWO_BYTES[body])
    first, second = content[two], content[two + 1]
    two = two[((first == 0x0F) & (second & 0xF0 == 0x80)) | ((first == 0xC7) & (second == 0xF8))]

    short, long = _rip_relative(content, position, one, 1), _rip_relative(content, position, two, 2)
    return np.concatenate([short[0], long[0]]), np.concatenate([short[1], long[1]])


def _leas(content: npt.NDArray[np.uint8], position: int) -> _Pair:
    """(source, target) of all that could be `lea reg, [rip + x]`."""
    at = np.flatnonzero(content[:-_OVERLAP] == 0x8D)
    return _rip_relative(content, position, at[content[at + 1] & 0xC7 == 0x05], 2)


def _rip_relative(
    content: npt.NDArray[np.uint8], position: int, offsets: Addresses, opcode_size: int
) -> _Pair:
    targets = position + offsets + opcode_size + 4 + _i32(content, offsets + opcode_size)
    return position + offsets, targets


def _i32(raw: npt.NDArray[np.uint8], offsets: Addresses) -> Addresses:
    value = np.zeros(len(offsets), np.uint32)
    for i in range(4):
        value |= raw[offsets + i].astype(np.uint32) << np.uint32(8 * i)
    return value.view(np.int32).astype(np.int64)


def _absolute32(content: npt.NDArray[np.uint8], wanted: Addresses) -> list[int]:
    return [
        address for shift in range(4) for address in _members(_view(content[shift:], np.dtype("<u4")), wanted)
    ]


def _absolute64(content: npt.NDArray[np.uint8], wanted: Addresses) -> list[int]:
    return [
        address for shift in (0, 4) for address in _members(_view(content[shift:], np.dtype("<u8")), wanted)
    ]


def _view(content: npt.NDArray[np.uint8], kind: np.dtype[np.unsignedinteger]) -> Addresses:
    usable = content[: len(content) - len(content) % kind.itemsize]
    return usable.view(kind)


def _members(values: Addresses, wanted: Addresses) -> list[int]:
    """Those values that are wanted; the range test first, because hardly any value passes it."""
    near = values[(values >= wanted[0]) & (values <= wanted[-1])].astype(np.int64)
    members: list[int] = near[np.isin(near, wanted)].tolist()
    return members
