"""What a section holds: bytes whose number is known before the first of them is read.

>>> [bytes(chunk) for chunk in BytesContent(b"ab").chunks()]
[b'ab']
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["BytesContent", "Content"]


class Content(Protocol):
    """A section's bytes, streamed; a root file system is one."""

    @property
    def size(self) -> int:
        """Exactly as many bytes as ``chunks`` gives."""
        ...

    def chunks(self) -> Iterator[bytes] | Iterator[memoryview]:
        """The bytes, in pieces that stay as they are when the next one is taken."""
        ...


@dataclass(frozen=True)
class BytesContent:
    """A section held in memory, or mapped."""

    data: bytes | memoryview

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def chunks(self) -> Iterator[memoryview]:
        """All of them at once."""
        if len(self.data):
            yield memoryview(self.data)
