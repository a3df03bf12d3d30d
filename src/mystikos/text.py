"""Values of whatever origin as text: names, numbers and facts, safe to print, for people and for programs.

>>> display(b"caf\\xe9\\x1b")
'caf\\\\xe9\\\\x1b'
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from pathlib import PurePath
from typing import Any


def display(name: bytes | str | PurePath) -> str:
    """A file name (or a line) to print: bytes that are not UTF-8 and control characters as escapes.

    >>> display(b"caf\\xe9\\x1b")
    'caf\\\\xe9\\\\x1b'
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that os.fsdecode could not decode
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def to_json(value: object) -> str:
    """JSON of plain values, dataclasses, bytes names (as ``display`` shows them), paths and enums."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def plain(value: Any) -> Any:
    """What JSON has, of dataclasses, bytes names (as ``display`` shows them), paths, enums and sets."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes | PurePath):
        return display(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(plain(item) for item in value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def size(number: int) -> str:
    """A size for people: exact in bytes below 1 KiB, else in the largest unit with at most one decimal."""
    value, unit = float(number), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"
