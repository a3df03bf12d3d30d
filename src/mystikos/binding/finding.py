"""Stage 2b, vocabulary: what is looked for, and why it may be left alone.

>>> Trap(0x1234, Reason.NO_ROOM).reason.value
'the instructions around it cannot be moved'
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

SYSCALL: Final = b"\x0f\x05"
JUMP_SIZE: Final = 5  # of what is written over a site
DISPLACED_MAX: Final = 24  # bytes that may give way for it


class Reason(Enum):
    """Why a system call is left to trap."""

    SIGNAL_RETURN = "a signal return trampoline, which debuggers and unwinders know by its bytes"
    UNKNOWN_CODE = "not in a function whose instructions could all be decoded; may be data"
    NO_ROOM = "the instructions around it cannot be moved"
    REACHED = "a branch, a pointer or a jump table leads into the instructions around it"
    INDIRECT = "jumps or exceptions that cannot be followed may lead into the instructions around it"
    PAGE = "the jump would cross a page boundary"
    OVERLAP = "the instructions around it are already displaced for a neighbour"
    TEXT_RELOCATIONS = "the file's code is changed by relocations when it is loaded"
    TOO_FAR = "beyond the first 4 GiB of the file"


@dataclass(frozen=True, slots=True)
class Trap:
    """A system call that is not bound: its file offset, and why."""

    offset: int
    reason: Reason
