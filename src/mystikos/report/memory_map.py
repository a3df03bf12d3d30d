"""The picture of the enclave: its address space to scale, and a row that can be read for each part.

The bar on the left is to scale; from each part of it, however small, lines lead to its row on the right. All
rows are equally high, so the picture is as high as it has rows.

>>> [block.label for block in memory_map(EnclaveFacts(1 << 21, False, 0, 1, 0, 0, (), ())).blocks]
['not used']
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from mystikos.formats.descriptor import PAGE
from mystikos.inspection.facts import EnclaveFacts, RegionFacts
from mystikos.inspection.wording import KINDS
from mystikos.text import size

ROW = 46
"""Height of a row, in pixels."""
BAR = 56
"""Width of the bar."""
WIDTH = 112
"""Width of bar and leading lines."""
_THINNEST = 1.0
_MOST_BLOCKS = 40

_GROUPS = {
    "KERNEL": "kernel",
    "CRT": "kernel",
    "CONFIG": "tables",
    "BINDINGS": "tables",
    "PUBKEYS": "tables",
    "ROOTHASHES": "tables",
    "ROOTFS": "files",
    "TCS": "threads",
    "SSA": "threads",
    "THREAD": "threads",
    "STACK": "threads",
    "HEAP": "heap",
    "USER": "user",
    "EXEC_WINDOW": "user",
}
_TOGETHER = {kind: "THREADS" for kind, group in _GROUPS.items() if group == "threads"}


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the address space; ``y`` and ``height`` are its place in the bar, ``row`` that of its row."""

    label: str
    group: str  # which colour
    place: str
    note: str
    details: tuple[tuple[str, str], ...]
    y: float
    height: float
    lines: str  # a polygon that leads from the bar to the row


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """The picture: pixels in all, and its blocks in ascending order."""

    height: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Regions that lie together, from ``start`` to ``end``; without regions, a gap."""

    start: int
    end: int
    regions: tuple[RegionFacts, ...] = field(default=())


def memory_map(enclave: EnclaveFacts) -> MemoryMap:
    """Lay out the picture of an enclave."""
    parts = list(_with_gaps(_parts(enclave.regions), enclave.size))
    height = len(parts) * ROW
    blocks = [_block(part, row, enclave.size, height) for row, part in enumerate(parts)]
    return MemoryMap(height, tuple(blocks))


def _parts(regions: tuple[RegionFacts, ...]) -> list[_Part]:
    """Neighbours of one kind are one part, and so are all threads; a strange enclave's last ones are, too."""
    parts: list[_Part] = []
    ordered = sorted(regions, key=lambda one: one.offset)
    for _, together in groupby(ordered, key=lambda one: _TOGETHER.get(one.kind, one.kind)):
        some = tuple(together)
        parts.append(_Part(some[0].offset, max(map(_end, some)), some))
    if len(parts) > _MOST_BLOCKS:
        rest = tuple(region for part in parts[_MOST_BLOCKS - 1 :] for region in part.regions)
        parts[_MOST_BLOCKS - 1 :] = [_Part(rest[0].offset, max(map(_end, rest)), rest)]
    return parts


def _end(region: RegionFacts) -> int:
    return region.offset + (region.count - 1) * region.stride + region.pages * PAGE


def _with_gaps(parts: list[_Part], end: int) -> Iterator[_Part]:
    position = 0
    for part in parts:
        if part.start > position:
            yield _Part(position, part.start)
        yield part
        position = max(position, part.end)
    if position < end:
        yield _Part(position, end)


def _block(part: _Part, row: int, whole: int, height: int) -> Block:
    y = part.start / whole * height
    tall = max((part.end - part.start) / whole * height, _THINNEST)
    y = min(y, height - tall)
    top, bottom = row * ROW + 2, (row + 1) * ROW - 2
    lines = f"{BAR},{y:.2f} {WIDTH},{top} {WIDTH},{bottom} {BAR},{y + tall:.2f}"
    label, group = _label(part)
    return Block(
        label=label,
        group=group,
        place=f"{part.start:#x} to {part.end:#x}",
        note=_note(part),
        details=tuple(_details(part)),
        y=round(y, 2),
        height=round(tall, 2),
        lines=lines,
    )


def _label(part: _Part) -> tuple[str, str]:
    if not part.regions:
        return "not used", "gap"
    kinds = {region.kind for region in part.regions}
    groups = {_GROUPS[kind] for kind in kinds}
    if groups == {"threads"}:
        blocks = sum(region.count for region in part.regions if region.kind == "TCS")
        return f"{blocks} thread {'block' if blocks == 1 else 'blocks'}", "threads"
    if len(kinds) > 1:
        return "other regions", "tables"
    return KINDS[part.regions[0].kind], groups.pop()


def _note(part: _Part) -> str:
    span = size(part.end - part.start)
    if not part.regions:
        return f"{span} of address space"
    rights = "/".join(dict.fromkeys(region.rights for region in part.regions))
    return f"{size(_pages(part) * PAGE)}, {rights}"


def _pages(part: _Part) -> int:
    return sum(region.count * region.pages for region in part.regions)


def _details(part: _Part) -> Iterator[tuple[str, str]]:
    yield "Address space", f"{part.start:#x} to {part.end:#x}, {size(part.end - part.start)}"
    if not part.regions:
        yield "Pages", "none: nothing is loaded here, and touching it is a fault"
        return
    yield "Protected memory", f"{_pages(part):,} pages, {size(_pages(part) * PAGE)}"
    for region in part.regions:
        times = f"{region.count} times " if region.count > 1 else ""
        measured = "measured" if region.measured else "not measured"
        what = (
            f"{times}{region.pages:,} {'page' if region.pages == 1 else 'pages'}, {region.rights}, {measured}"
        )
        yield KINDS[region.kind], f"{what}, {_origin(region)}"


def _origin(region: RegionFacts) -> str:
    filled = {"TCS": "holding the fields of a TCS", "zeros": "filled with zeros"}
    return filled.get(region.content, f"from {region.content}")
