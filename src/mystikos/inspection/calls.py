"""The facts about the kernel: which system calls it handles, and how."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mystikos.errors import RuntimeMissingError

_SYSCALLS = Path(__file__).parents[1] / "_syscalls.json"


@dataclass(frozen=True)
class SyscallFacts:
    """One system call that the kernel knows."""

    number: int
    name: str
    support: str
    note: str


def syscalls(path: Path = _SYSCALLS) -> tuple[SyscallFacts, ...]:
    """The kernel's system call table, ascending by number; it is written when the kernel is built."""
    try:
        entries = json.loads(path.read_bytes())
        facts = [SyscallFacts(e["number"], e["name"], e["support"], e["note"]) for e in entries]
    except OSError as exc:
        raise RuntimeMissingError(
            str(path),
            exc.strerror or str(exc),
            expected="the system call table of the built kernel",
            hint="build it (make docs), or install mystikos from a wheel",
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise RuntimeMissingError(
            str(path), f"not a system call table ({exc})", hint="run make docs"
        ) from exc
    return tuple(sorted(facts, key=lambda fact: fact.number))
