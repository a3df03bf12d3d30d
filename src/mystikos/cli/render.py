"""Turn results into text or JSON for a person or a program to read.

>>> print(table([("bin/sh", 12), ("lib/libc.so", 345)], header=("file", "sites")))
file         sites
bin/sh          12
lib/libc.so    345
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from mystikos.text import display, to_json

__all__ = ["display", "json_option", "table", "to_json"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")


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
