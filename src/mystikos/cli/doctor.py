"""``myst doctor``: where can packages run on this machine, and what is missing?"""

from __future__ import annotations

import textwrap

import click

from mystikos import doctor, machine
from mystikos.cli import terminal
from mystikos.cli.render import display, json_option, table, to_json
from mystikos.cli.verb import verb
from mystikos.doctor import Diagnosis, Finding, State, Target, Verdict
from mystikos.machine import Machine

_NO = 1
_MARKS = {
    State.OK: click.style("ok     ", fg="green"),
    State.NOTE: click.style("note   ", fg="yellow"),
    State.MISSING: click.style("MISSING", fg="red", bold=True),
}


@verb(
    "doctor",
    examples=[
        "myst doctor",
    ],
)
@json_option
def command(as_json: bool) -> int:
    """Explain what this machine can do for packages, and what is missing.

    Looks at processor, firmware, kernel, devices and services; changes nothing and needs no root. What is
    missing comes with a line that says what to do. The last lines tell on which targets (sgx, sim, linux)
    packages can run.

    Exit code: 0 packages can run here with protection (sgx), 1 they cannot, 2 bad usage.
    """
    facts = machine.read()
    diagnosis = doctor.diagnose(facts)
    if as_json:
        click.echo(to_json(_plain(facts, diagnosis)))
    else:
        terminal.tell(_text(diagnosis))
    return 0 if diagnosis.verdict(Target.SGX).possible else _NO


def _plain(facts: Machine, diagnosis: Diagnosis) -> dict[str, object]:
    verdicts = {
        verdict.target.value: {"possible": verdict.possible, "missing": verdict.missing}
        for verdict in diagnosis.verdicts
    }
    return {"targets": verdicts, "findings": diagnosis.findings, "machine": facts}


def _text(diagnosis: Diagnosis) -> str:
    width = max(len(finding.name) for finding in diagnosis.findings)
    findings = [line for finding in diagnosis.findings for line in _lines(finding, width)]
    verdicts = table([_row(verdict) for verdict in diagnosis.verdicts])
    return "\n".join([*findings, "", "Packages here:", textwrap.indent(verdicts, "  ")])


def _lines(finding: Finding, width: int) -> list[str]:
    lines = [f"{_MARKS[finding.state]}  {finding.name:{width}}  {display(finding.found)}"]
    if finding.remedy:
        lines.append(f"{'':7}  {'':{width}}  → {display(finding.remedy)}")
    return lines


def _row(verdict: Verdict) -> tuple[str, str]:
    if not verdict.possible:
        return f"{verdict.target.value}:", f"no, missing: {', '.join(verdict.missing)}"
    protection = {Target.SGX: "protected by the processor"}.get(verdict.target, "without protection")
    return f"{verdict.target.value}:", f"yes, {protection}"
