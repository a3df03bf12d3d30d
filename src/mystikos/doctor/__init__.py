"""What a machine can do for packages: facts in, findings and verdicts out. The machine itself is not asked.

A finding that is missing says which targets it keeps from running, so verdicts follow from findings. What to
do about it stands with the first cause: who has no SGX in the processor is not sent to look for a device.

>>> from mystikos.machine import Machine
>>> [verdict.target.value for verdict in diagnose(Machine()).verdicts if verdict.possible]
[]
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from mystikos.doctor import devices, kernel, processor
from mystikos.doctor.finding import Finding, State, Target
from mystikos.machine import Machine

__all__ = ["Diagnosis", "Finding", "State", "Target", "Verdict", "diagnose"]


@dataclass(frozen=True)
class Verdict:
    """Whether packages run here on a target; ``missing`` names the findings that are in the way."""

    target: Target
    possible: bool
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """Everything found, in the order in which one thing needs the other, and a verdict for each target."""

    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...]

    def verdict(self, target: Target) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.target is target)


def diagnose(machine: Machine) -> Diagnosis:
    """Judge a machine."""
    findings = tuple(chain(processor.findings(machine), kernel.findings(machine), devices.findings(machine)))
    return Diagnosis(findings, tuple(_verdict(target, findings) for target in Target))


def _verdict(target: Target, findings: tuple[Finding, ...]) -> Verdict:
    missing = tuple(
        finding.name for finding in findings if finding.state is State.MISSING and target in finding.needed_by
    )
    return Verdict(target, not missing, missing)
