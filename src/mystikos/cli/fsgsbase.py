"""``myst fsgsbase``: may programs use the FSGSBASE instructions here?"""

from __future__ import annotations

import click

from mystikos import doctor, machine
from mystikos.cli import terminal
from mystikos.cli.render import json_option, to_json
from mystikos.cli.verb import verb
from mystikos.doctor import State

_NO = 1


@verb(
    "fsgsbase",
    examples=[
        "myst fsgsbase",
    ],
)
@json_option
def command(as_json: bool) -> int:
    """Tell whether the FSGSBASE instructions work, which packages need on every target.

    `myst doctor` looks at everything else, too. Exit code: 0 they work, 1 they do not, 2 bad usage.
    """
    findings = doctor.diagnose(machine.read()).findings
    finding = next(finding for finding in findings if finding.name == "FSGSBASE")
    works = finding.state is State.OK
    if as_json:
        click.echo(to_json({"works": works, "remedy": finding.remedy}))
    else:
        terminal.tell(f"FSGSBASE: {finding.found}" + (f"\n→ {finding.remedy}" if finding.remedy else ""))
    return 0 if works else _NO
