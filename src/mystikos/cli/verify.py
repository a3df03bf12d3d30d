"""``myst verify``: is a package file what it says it is?"""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli.render import display, json_option, to_json
from mystikos.package import unpack
from mystikos.verification import Report, verify

_NO = 1


@click.command("verify")
@click.argument("package", type=click.Path(path_type=Path, readable=False))
@json_option
def command(package: Path, as_json: bool) -> int:
    """Recompute the measurement of PACKAGE and check its signature and everything it says about itself.

    The exit code is 0 when every check passes, 1 when one fails, 2 when the file is no package at all.
    Who signed it is for you to judge: compare the signer (MRSIGNER) with the one you trust.
    """
    report = verify(unpack(package))
    click.echo(to_json(_plain(report)) if as_json else _text(package, report))
    return 0 if report.passed else _NO


def _plain(report: Report) -> dict[str, object]:
    return {
        "passed": report.passed,
        "mrenclave": report.mrenclave,
        "mrsigner": report.mrsigner,
        "product_id": report.product_id,
        "security_version": report.security_version,
        "debug": report.debug,
        "checks": [
            {"name": check.name, "passed": check.passed, "meaning": check.meaning, "problem": check.problem}
            for check in report.checks
        ],
    }


def _text(package: Path, report: Report) -> str:
    lines = [
        f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.problem or check.meaning}"
        for check in report.checks
    ]
    facts = [
        f"MRENCLAVE        {report.mrenclave}",
        f"MRSIGNER         {report.mrsigner}",
        f"ProductID        {report.product_id}",
        f"SecurityVersion  {report.security_version}",
        f"Debug            {'yes: the host can read its memory' if report.debug else 'no'}",
    ]
    answer = "is what it says it is" if report.passed else "is NOT what it says it is"
    return "\n".join([*facts, "", *lines, "", f"{display(package)} {answer}"])
