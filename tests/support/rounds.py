"""How many examples a property test tries, and which.

`make test` tries few, and the same ones each time: whoever runs it on the same tree gets the same answer.
`make fuzz` tries FUZZ_FACTOR times as many, and other ones each time.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))
_FUZZING = "FUZZ_FACTOR" in os.environ


def rounds(examples: int, *, suppress_health_check: Sequence[HealthCheck] = ()) -> settings:
    """Settings of a property test that tries this many examples; a slow machine is no failure."""
    return settings(
        max_examples=examples * FACTOR,
        deadline=None,
        derandomize=not _FUZZING,
        suppress_health_check=list(suppress_health_check),
    )


def seeds(examples: int, *, first: int = 0) -> range:
    """Seeds of a test that draws its examples from `random.Random(seed)`; `make test` begins at `first`."""
    if _FUZZING:
        first = random.SystemRandom().getrandbits(32)
    return range(first, first + examples * FACTOR)
