"""Where rich output goes: standard output, in colours as ``terminal`` decides."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from mystikos.cli import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType


_WIDTH = 1 << 16  # wider than any line


def show(what: RenderableType) -> None:
    """Print; lines are never cut or wrapped, so that pipes get what terminals show."""
    colored = terminal.colored(sys.stdout)
    console = Console(
        file=sys.stdout,
        force_terminal=colored,
        color_system="standard" if colored else None,
        highlight=False,
        markup=False,
        emoji=False,
        width=_WIDTH,
    )
    console.print(what, soft_wrap=True)
