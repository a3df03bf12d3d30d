"""How far long work has come: a bar on a terminal, once somebody has waited for it; nothing elsewhere.

with progress_bar("measuring") as progress:
    pipeline.build(..., progress=progress)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mystikos.cli import terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Report = Callable[[int, int], None]
"""Told how much of how much is done, in bytes."""

_PATIENCE = 0.3  # seconds without a bar: what ends before needs none


@contextmanager
def progress_bar(label: str) -> Iterator[Report | None]:
    """What to call with (done, total), or None when nobody watches; the bar is gone afterwards."""
    if not terminal.interactive():
        yield None
        return
    bar = _Bar(label)
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._start = clock()
        self._shown: tuple[Progress, TaskID] | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._shown is None:
            if self._clock() - self._start < _PATIENCE or 0 < total <= done:
                return
            self._shown = _show(self._label, total)
        progress, task = self._shown
        progress.update(task, completed=done, total=total or None)

    def close(self) -> None:
        if self._shown is not None:
            self._shown[0].stop()


def _show(label: str, total: int) -> tuple[Progress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, no_color=not terminal.colored(sys.stderr), force_terminal=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    progress.start()
    return progress, progress.add_task(label, total=total or None)
