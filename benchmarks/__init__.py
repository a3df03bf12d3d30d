"""What ``make bench`` measures: one module per subject, each with a ``run()`` that yields ``Result``s.

A bar is a ratio of two times or speeds taken in turn in the same run on the same machine, each the best of
several; so it holds on slow and on busy machines, too. Some results have no bar: they are there to be known.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One measured ratio and the bar it is held to; ``detail`` tells the numbers behind it."""

    name: str
    value: float
    bar: float | None
    higher_is_better: bool
    detail: str

    @property
    def met(self) -> bool:
        """Whether the bar is met, if there is one."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.higher_is_better else self.value <= self.bar
