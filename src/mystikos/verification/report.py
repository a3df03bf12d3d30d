"""What ``verify`` answers: named checks, and the identities that they are about.

>>> Report(checks=(Check("signature", "it is signed", problem="it is not"),)).passed
False
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Check", "Mismatch", "Report"]


@dataclass(frozen=True)
class Check:
    """One question; ``problem`` is None when the answer is good.

    Where the answer is not ``required``, a bad one is worth knowing and no more.
    """

    name: str
    meaning: str
    problem: str | None = None
    required: bool = True

    @property
    def passed(self) -> bool:
        """Whether the answer is good."""
        return self.problem is None

    @property
    def failed(self) -> bool:
        """Whether this check alone makes the whole answer a no."""
        return self.required and not self.passed


@dataclass(frozen=True)
class Mismatch:
    """Where the content parts from what was measured when the package was made.

    The region, its offset from the enclave's base, its section if it has one, and the files of the root file
    system in the first stretch that differs, as far as the package tells it (empty otherwise).
    """

    region: str
    offset: int
    section: str | None = None
    files: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Report:
    """All answers. The identities (hexadecimal) are None when the package is too damaged to have any.

    ``images`` holds the SHA-256 of launcher, kernel and CRT image.
    """

    mrenclave: str | None = None
    mrsigner: str | None = None
    product_id: int | None = None
    security_version: int | None = None
    debug: bool | None = None
    checks: tuple[Check, ...] = ()
    mismatch: Mismatch | None = None
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no check that is required failed."""
        return not any(check.failed for check in self.checks)
