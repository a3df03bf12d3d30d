"""``myst verify``: is a package file what it says it is, and what a policy asks for?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mystikos.cli import terminal
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.trust import OPTIONS, policy_options
from mystikos.cli.verb import FileName, verb

if TYPE_CHECKING:
    from mystikos.verification import Check, Policy, Report

_NO = 1
_PATH = FileName()


@verb(
    "verify",
    examples=[
        "myst verify hello",
        "myst verify hello --signer release.pem --forbid host-code",
        "myst verify -q hello && ./hello    # the exit code is the answer",
    ],
)
@click.argument("package", type=_PATH)
@policy_options
@click.option("--rebuild", is_flag=True, help="Package the same inputs again and compare bit for bit.")
@click.option("--appdir", type=_PATH, help="What to rebuild it from.  [default: what is in the package]")
@click.option(
    "--config", "config_file", type=_PATH, help="The config to rebuild it with.  [default: likewise]"
)
@json_option
def command(
    package: Path,
    policy: Policy | None,
    rebuild: bool,
    appdir: Path | None,
    config_file: Path | None,
    as_json: bool,
) -> int:
    """Recompute the measurement of PACKAGE and check its signature and everything it says about itself.

    PACKAGE is a file, or a directory of `myst sign-sgx`, whose parts are compared with its package.

    Who signed it is for you to say: with --signer, or in a policy. As soon as anything is asked for, a debug
    enclave will not do unless --allow-debug.

    --rebuild proves what a package is made of: from the same inputs, with its signature, the installed
    mystikos makes the same bytes.

    The exit code is 0 when no check failed, 1 when one did, 2 when the file is no package at all. What is
    only worth knowing is a note.
    """
    from mystikos.verification import examine

    if (appdir or config_file) and not rebuild:
        raise click.UsageError("--appdir and --config are for --rebuild")
    with progress_bar("measuring") as progress:
        report = examine(package, policy, progress=progress)
    if rebuild and report.mrenclave is not None:
        report = replace(report, checks=(*report.checks, _rebuilt(package, appdir, config_file)))
    if as_json:
        click.echo(to_json(_plain(report)))
    else:
        terminal.tell(_text(package, policy, report))
    return 0 if report.passed else _NO


def _rebuilt(path: Path, appdir: Path | None, config_file: Path | None) -> Check:
    from mystikos import config as configs
    from mystikos.pipeline import verify_rebuild

    config = None if config_file is None else configs.load(config_file)
    with progress_bar("rebuilding") as progress:
        return verify_rebuild(path, source=appdir, config=config, progress=progress)


def _plain(report: Report) -> dict[str, object]:
    return {
        "passed": report.passed,
        "mrenclave": report.mrenclave,
        "mrsigner": report.mrsigner,
        "product_id": report.product_id,
        "security_version": report.security_version,
        "debug": report.debug,
        "images": report.images,
        "mismatch": report.mismatch,
        "checks": [
            {
                "name": check.name,
                "passed": check.passed,
                "required": check.required,
                "meaning": check.meaning,
                "problem": check.problem,
            }
            for check in report.checks
        ],
    }


def _text(package: Path, policy: Policy | None, report: Report) -> str:
    lines = [
        f"{_mark(check)}  {check.name}: {display(check.problem or check.meaning)}" for check in report.checks
    ]
    return "\n".join([*_facts(report), *lines, "", f"{display(package)} {_answer(policy, report)}"])


def _mark(check: Check) -> str:
    if check.passed:
        return click.style("ok  ", fg="green")
    return click.style("FAIL", fg="red", bold=True) if check.required else click.style("note", fg="yellow")


def _facts(report: Report) -> Iterator[str]:
    if report.mrenclave is None:
        return
    yield f"MRENCLAVE        {report.mrenclave}"
    yield f"MRSIGNER         {report.mrsigner}"
    yield f"ProductID        {report.product_id}"
    yield f"SecurityVersion  {report.security_version}"
    yield f"Debug            {'yes: the host can read its memory' if report.debug else 'no'}"
    yield ""


def _answer(policy: Policy | None, report: Report) -> str:
    consistent = not any(check.failed for check in report.checks if not _of_policy(check))
    if not consistent:
        return "is NOT what it says it is"
    if policy is None:
        return "is what it says it is"
    asked = f"what {display(policy.name)} asks for" if policy.name != OPTIONS else "what the options ask for"
    return f"is what it says it is{' and' if report.passed else ', but NOT'} {asked}"


def _of_policy(check: Check) -> bool:
    """A policy alone asks this, or makes it matter."""
    return check.name.startswith("policy-") or check.name in ("launcher", "kernel", "crt")
