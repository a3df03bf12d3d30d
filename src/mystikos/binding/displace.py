"""Stage 2b, choosing: which instructions make room for the five bytes of a jump.

In order of preference:

1. one instruction of five bytes or more right before the ``syscall``: only it is replaced;
2. several instructions before it, five bytes or more together: the ``syscall`` stays in place too;
3. instructions before it and the ``syscall`` itself;
4. the ``syscall`` and instructions after it, and at last some on either side.

>>> option = Option(0x1000, bytes.fromhex("4889df"), b"", (0x1000, 0x1003))  # mov rdi, rbx; syscall
>>> [hex(address) for address in option.hidden]
['0x1003']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from mystikos.binding.code import Code, Mover
from mystikos.binding.finding import DISPLACED_MAX, JUMP_SIZE, SYSCALL

_PAGE: Final = 4096
_NEIGHBOURS: Final = 5


@dataclass(frozen=True, slots=True)
class Option:
    """One way to bind a site: the displaced bytes around the ``syscall``, from ``address`` on."""

    address: int
    before: bytes
    after: bytes
    starts: tuple[int, ...]  # of the displaced instructions and the syscall

    @property
    def end(self) -> int:
        return self.address + len(self.before) + len(SYSCALL) + len(self.after)

    @property
    def overwritten(self) -> range:
        """The addresses behind the first that hold the jump: nobody may jump there."""
        return range(self.address + 1, self.address + JUMP_SIZE)

    @property
    def hidden(self) -> tuple[int, ...]:
        """The instructions that start inside of the jump."""
        return tuple(start for start in self.starts if start in self.overwritten)

    @property
    def crosses_page(self) -> bool:
        return self.address // _PAGE != self.overwritten[-1] // _PAGE


def options(code: Code, index: int, read: Callable[[int, int], bytes], mover: Mover) -> Iterator[Option]:
    """The ways to bind the ``syscall`` at an index of the code, best first."""
    before = _movable_before(code, index, read, mover)
    after = _movable_after(code, index, read, mover)

    for taken_before, taken_after in _counts(before, after):
        first = before[:taken_before][::-1]
        last = after[:taken_after]
        yield Option(
            address=first[0][0] if first else code.starts[index],
            before=b"".join(content for _, content in first),
            after=b"".join(content for _, content in last),
            starts=(*(a for a, _ in first), code.starts[index], *(a for a, _ in last)),
        )


_Instructions = list[tuple[int, bytes]]


def _movable_before(code: Code, index: int, read: Callable[[int, int], bytes], mover: Mover) -> _Instructions:
    """Movable instructions ahead of the system call, the nearest first."""
    found: _Instructions = []
    for position in range(index - 1, max(index - 1 - _NEIGHBOURS, -1), -1):
        address = code.starts[position]
        content = read(address, code.end_of(position) - address)
        if not mover.may_precede(content, address):
            break
        found.append((address, content))
    return found


def _movable_after(code: Code, index: int, read: Callable[[int, int], bytes], mover: Mover) -> _Instructions:
    """Movable instructions behind the system call, the nearest first."""
    found: _Instructions = []
    for position in range(index + 1, min(index + 1 + _NEIGHBOURS, len(code.starts))):
        address = code.starts[position]
        content = read(address, code.end_of(position) - address)
        if not mover.may_follow(content, address):
            break
        found.append((address, content))
    return found


def _counts(before: _Instructions, after: _Instructions) -> Iterator[tuple[int, int]]:
    """How many instructions to take on either side: never more than the jump needs, and no more than fit."""
    sizes_before = _running_sizes(before)
    sizes_after = _running_sizes(after)

    alone = next((n for n, size in enumerate(sizes_before) if size >= JUMP_SIZE), None)
    if alone is not None and sizes_before[alone] <= DISPLACED_MAX:
        yield alone, 0
    for taken_after, size_after in enumerate(sizes_after):
        for taken_before in sorted(range(len(sizes_before)), reverse=taken_after == 0):
            size = sizes_before[taken_before] + size_after
            if sizes_before[taken_before] >= JUMP_SIZE or size + len(SYSCALL) < JUMP_SIZE:
                continue
            if size > DISPLACED_MAX or not _needed(taken_before, taken_after, sizes_before, sizes_after):
                continue
            yield taken_before, taken_after


def _needed(taken_before: int, taken_after: int, sizes_before: list[int], sizes_after: list[int]) -> bool:
    """Whether the last instruction taken after the system call is still under the jump."""
    if not taken_after:
        return True
    return sizes_before[taken_before] + len(SYSCALL) + sizes_after[taken_after - 1] < JUMP_SIZE


def _running_sizes(instructions: _Instructions) -> list[int]:
    sizes = [0]
    for _, content in instructions:
        sizes.append(sizes[-1] + len(content))
    return sizes
