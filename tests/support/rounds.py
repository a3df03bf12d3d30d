"""How many examples a property test tries: few in `make test`, FUZZ_FACTOR times as many in `make fuzz`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))


def rounds(examples: int, *, suppress_health_check: Sequence[HealthCheck] = ()) -> settings:
    """Settings of a property test that tries this many examples; a slow machine is no failure."""
    return settings(
        max_examples=examples * FACTOR, deadline=None, suppress_health_check=list(suppress_health_check)
    )
