"""Turn results into text or JSON for a person or a program to read.

>>> print(table([("bin/sh", 12), ("lib/libc.so", 345)], header=("file", "sites")))
file         sites
bin/sh          12
lib/libc.so    345
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from enum import Enum
from pathlib import PurePath
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")


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


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Aligned columns, two spaces apart; numbers to the right."""
    given = [list(row) for row in rows]
    lines = [[str(cell) for cell in row] for row in ([list(header)] if header else []) + given]
    if not lines:
        return ""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    numeric = [bool(given) and all(isinstance(row[i], int) for row in given) for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def to_json(value: object) -> str:
    """JSON of plain values, dataclasses, bytes names (as ``display`` shows them), paths and enums."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes | PurePath):
        return display(value)
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(_plain(item) for item in value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
