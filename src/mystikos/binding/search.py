r"""Stage 2b, search: from the ``0F 05`` bytes of one image to its bound and its trapped sites.

>>> from mystikos.binding.elf import Section, Segment
>>> text = bytes.fromhex("b801000000 0f05 c3")  # mov eax, 1; syscall; ret
>>> section = Section(b".text", 1, 0x1000, 0, 8, executable=True)
>>> search(Image(text, 3, 0x1000, (Segment(0, 0x1000, 8, True),), (section,), None, False))
((Site(offset=0, before=b'\xb8\x01\x00\x00\x00', after=b''),), ())
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from mystikos.binding.code import Code, Mover, decode
from mystikos.binding.displace import Option, options
from mystikos.binding.elf import Image
from mystikos.binding.finding import SYSCALL, Reason, Trap
from mystikos.binding.functions import Block, find_functions
from mystikos.binding.reach import Reach
from mystikos.binding.table import Site

_LOAD_SIGRETURN: Final = (b"\xb8\x0f\0\0\0", b"\x48\xc7\xc0\x0f\0\0\0")


@dataclass(frozen=True, slots=True)
class _Call:
    """A `syscall` instruction that is certainly one."""

    address: int
    code: Code
    index: int
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class _Entered:
    """Addresses that are entered from elsewhere: by branches, or through names of instructions."""

    branches: frozenset[int]
    names: frozenset[int]


class _Decoder:
    """Decodes each block of an image once."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.functions = find_functions(image)
        self._decode = cache(self._decode_block)

    def __call__(self, address: int) -> Code | None:
        block = self.functions.block_at(address)
        return None if block is None else self._decode(block)

    def _decode_block(self, block: Block) -> Code:
        return decode(self._image, self.functions, block)


def search(image: Image) -> tuple[tuple[Site, ...], tuple[Trap, ...]]:
    """Find the system calls of an image and bind those that can be bound."""
    decoder = _Decoder(image)
    calls, traps = _calls(image, decoder)
    if image.text_relocations:
        return (), tuple(_trap(image, a, Reason.TEXT_RELOCATIONS) for a in sorted([c.address for c in calls]))

    reach, entered = _reach(image, decoder, calls)
    sites: list[Site] = []
    taken_until = 0
    for call in calls:
        choice = _choose(call, reach, entered, taken_until)
        if isinstance(choice, Reason):
            traps.append(_trap(image, call.address, choice))
        else:
            sites.append(Site(image.file_offset(choice.address), choice.before, choice.after))
            taken_until = choice.end
    return tuple(sites), tuple(sorted(traps, key=lambda t: t.offset))


def unsafe(image: Image, sites: Iterable[Site]) -> Site | None:
    """The first of the sites, ascending, that could change what the program does; None when all are safe.

    They need not be those that ``search`` chooses.
    """
    decoder, mover = _Decoder(image), Mover()
    chosen: list[tuple[Site, _Call]] = []
    for site in sites:
        call = _call_of(image, decoder, mover, site)
        if call is None or image.text_relocations:
            return site
        chosen.append((site, call))

    reach, entered = _reach(image, decoder, [call for _, call in chosen])
    taken_until = 0
    for site, call in chosen:
        choice = _choose(call, reach, entered, taken_until)
        if isinstance(choice, Reason):
            return site
        taken_until = choice.end
    return None


def _call_of(image: Image, decoder: _Decoder, mover: Mover, site: Site) -> _Call | None:
    """The system call that a site says it binds, with this one option; None when there is none such."""
    address = image.code_address(site.syscall_offset)
    code = None if address is None else decoder(address)
    if address is None or code is None or not code.clean or _is_signal_return(image, address):
        return None
    index = code.index(address)
    if index is None or image.read(address, code.end_of(index) - address) != SYSCALL:
        return None
    meant = tuple(
        option
        for option in options(code, index, image.read, mover)
        if (option.before, option.after) == (site.before, site.after)
    )
    return _Call(address, code, index, meant[:1]) if meant else None


def _reach(image: Image, decoder: _Decoder, calls: Iterable[_Call]) -> tuple[Reach, _Entered]:
    reach = Reach(image, decoder.functions, decoder)
    considered = [option for call in calls for option in call.options]
    return reach, _Entered(
        reach.branched({a for option in considered for a in option.overwritten}),
        reach.named({a for option in considered for a in option.hidden}),
    )


def _calls(image: Image, decoder: _Decoder) -> tuple[list[_Call], list[Trap]]:
    calls, traps, mover = [], [], Mover()
    for address in image.find(SYSCALL):
        if _is_signal_return(image, address):
            traps.append(_trap(image, address, Reason.SIGNAL_RETURN))
            continue
        code = decoder(address)
        if code is None and decoder.functions.areas:
            continue  # data in an executable segment
        if code is None or not code.clean:
            traps.append(_trap(image, address, Reason.UNKNOWN_CODE))
            continue
        index = code.index(address)
        if index is None or code.end_of(index) != address + 2:
            continue  # the bytes are part of another instruction
        calls.append(_Call(address, code, index, tuple(options(code, index, image.read, mover))))
    return calls, traps


def _is_signal_return(image: Image, address: int) -> bool:
    """`mov eax, 15` or `mov rax, 15` comes first: told by the bytes, as debuggers and unwinders do."""
    return any(image.read(address - len(mov), len(mov)) == mov for mov in _LOAD_SIGRETURN)


def _choose(call: _Call, reach: Reach, entered: _Entered, taken_until: int) -> Option | Reason:
    """The first option that is safe; else what stood in the way of the best one."""
    low, high = call.code.function_around(call.address)
    jumps = any(low <= jump < high for jump in call.code.indirect_jumps)
    unaccounted = call.code.block.landing_pads or (jumps and not reach.names_table(low, high))

    obstacles = []
    for option in call.options:
        obstacle = _obstacle(option, entered, unaccounted, taken_until)
        if obstacle is None:
            return option
        obstacles.append(obstacle)
    return obstacles[0] if obstacles else Reason.NO_ROOM


def _obstacle(option: Option, entered: _Entered, unaccounted: bool, taken_until: int) -> Reason | None:
    if option.address < taken_until:
        return Reason.OVERLAP
    if option.crosses_page:
        return Reason.PAGE
    if not entered.branches.isdisjoint(option.overwritten) or not entered.names.isdisjoint(option.hidden):
        return Reason.REACHED
    if option.hidden and unaccounted:
        return Reason.INDIRECT
    return None


def _trap(image: Image, address: int, reason: Reason) -> Trap:
    return Trap(image.file_offset(address), reason)
