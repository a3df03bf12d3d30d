"""Bytes against bytes: where two stretches part, in pieces that stay small.

>>> first_difference(memoryview(b"abcd"), memoryview(b"abXd"))
2
"""

from __future__ import annotations

import hashlib

from mystikos.diffing.findings import ContentChange
from mystikos.progress import Counter

__all__ = ["content_change", "first_difference", "sha256"]

_PIECE = 1 << 16  # stays in the processor's caches


def first_difference(
    before: memoryview, after: memoryview, start: int = 0, *, counter: Counter | None = None
) -> int | None:
    """The first offset from ``start`` on at which the two differ, or one of them ends; None when equal."""
    shorter = min(len(before), len(after))
    for at in range(start, shorter, _PIECE):
        end = min(at + _PIECE, shorter)
        one, other = bytes(before[at:end]), bytes(after[at:end])
        if one != other:
            return at + parting(one, other)
        if counter:
            counter.add(end - at)
    return None if len(before) == len(after) else max(start, shorter)


def parting(one: bytes, other: bytes) -> int:
    """The offset at which two different byte strings part, found by halves."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def sha256(data: memoryview) -> str:
    """Of all bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def content_change(
    part: str, before: memoryview, after: memoryview, *, measured: bool = True
) -> ContentChange | None:
    """What differs between two versions of a part; None when nothing does."""
    offset = first_difference(before, after)
    if offset is None:
        return None
    return ContentChange(part, measured, offset, len(before), len(after), sha256(before), sha256(after))
