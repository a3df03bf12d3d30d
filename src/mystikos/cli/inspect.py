"""``myst inspect``: what a package or an application directory is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mystikos.cli import terminal
from mystikos.cli.building import refuse_inputs
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, table, to_json
from mystikos.cli.verb import FileName, verb
from mystikos.formats.atomic import atomic_output

if TYPE_CHECKING:
    from mystikos.inspection import PackageFacts, TreeFacts

_PATH = FileName()


@verb(
    "inspect",
    examples=[
        "myst inspect hello",
        "myst inspect hello --html report.html",
        "myst inspect appdir --files --sites",
        "myst inspect --syscalls",
    ],
)
@click.argument("path", required=False, type=_PATH)
@click.option("--files", is_flag=True, help="List every file with its SHA-256.")
@click.option("--sites", is_flag=True, help="List every system call and every illegal instruction.")
@click.option("--html", metavar="FILE", type=_PATH, help="Write a report of everything, one page, instead.")
@click.option(
    "--syscalls", "list_syscalls", is_flag=True, help="List the system calls that the kernel handles."
)
@json_option
def command(
    path: Path | None, files: bool, sites: bool, html: Path | None, list_syscalls: bool, as_json: bool
) -> None:
    """Tell what PATH is made of: a package, an application directory or a CPIO archive.

    Of a package: its identity, its config, its enclave with the protected memory that it costs, its native
    code; of these and of directories: files, system calls that are bound to the kernel at full speed or trap,
    and instructions that an enclave cannot execute. --json and --html tell everything.

    The same package gives the same output. Whether it is what it says is for `myst verify` to tell.
    """
    from mystikos.cli import facts as telling
    from mystikos.inspection import inspect_path, syscalls

    if list_syscalls == (path is not None):
        raise click.UsageError("expected either a package or directory, or --syscalls")
    if path is None:
        known = syscalls()
        click.echo(to_json(known) if as_json else _syscalls([dataclasses.astuple(one) for one in known]))
        return

    if html is not None:
        refuse_inputs(html, path)
    with progress_bar("reading") as progress:
        facts = inspect_path(path, progress=progress)
    if html is not None:
        size = _write_report(facts, html)
        if not as_json:
            terminal.tell(f"{display(html)}: new report, {size} bytes")
    if as_json:
        click.echo(to_json(facts))
    elif html is None:
        click.echo("\n\n".join(telling.sections(facts, files=files, sites=sites)))


def _write_report(facts: PackageFacts | TreeFacts, path: Path) -> int:
    from mystikos.report import report

    page = report(facts)
    with atomic_output(path) as file:
        file.write(page)
    return len(page)


def _syscalls(rows: list[tuple[object, ...]]) -> str:
    return table(rows, ("number", "name", "support", "note"))
