"""One thing that was looked at on a machine, and how it is.

>>> missing("FSGSBASE", "the kernel is too old", needed_by=Target, remedy="update it").state.value
'missing'
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Target(Enum):
    """How a package can run: MYST_TARGET."""

    SGX = "sgx"
    SIM = "sim"
    LINUX = "linux"


class State(Enum):
    """As needed; worth knowing; or in the way of a target."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """``needed_by`` are the targets that cannot run when it is missing; ``remedy`` is one line."""

    name: str
    state: State
    found: str
    needed_by: tuple[Target, ...] = ()
    remedy: str | None = None


def ok(name: str, found: str, *, needed_by: Iterable[Target] = (Target.SGX,)) -> Finding:
    return Finding(name, State.OK, found, tuple(needed_by))


def note(name: str, found: str, *, remedy: str | None = None) -> Finding:
    return Finding(name, State.NOTE, found, (), remedy)


def missing(
    name: str, found: str, *, needed_by: Iterable[Target] = (Target.SGX,), remedy: str | None = None
) -> Finding:
    return Finding(name, State.MISSING, found, tuple(needed_by), remedy)
