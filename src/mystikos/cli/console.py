"""Where rich output goes: standard output, in colours only on a terminal and without ``NO_COLOR``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType


_WIDTH = 1 << 16  # wider than any line


def show(what: RenderableType) -> None:
    """Print; lines are never cut or wrapped, so that pipes get what terminals show."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=_WIDTH)
    console.print(what, soft_wrap=True)
