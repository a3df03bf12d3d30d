"""How far long work has come, for whoever waits: bytes that are done, of how many.

>>> counter = Counter(lambda done, total: print(f"{done} of {total}"), total=10)
>>> counter.add(4)
4 of 10
>>> counter.add(6)
10 of 10
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Counter", "Progress"]

Progress = Callable[[int, int], None]
"""Called with (done, total); a total of 0 is one that is not known before the end."""


class Counter:
    """Adds up what is done; without a listener it costs nothing."""

    def __init__(self, progress: Progress | None, total: int = 0) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def add(self, size: int) -> None:
        """``size`` more bytes are done."""
        if self._progress is not None:
            self._done += size
            self._progress(self._done, self._total)
