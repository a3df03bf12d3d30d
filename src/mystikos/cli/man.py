"""``myst man [VERB]``: the manual pages, also where nobody installed them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click

from mystikos.cli import terminal
from mystikos.cli.render import display
from mystikos.cli.verb import Choice, FileName, verb
from mystikos.formats.atomic import atomic_output


def _verbs() -> list[str]:
    from mystikos.cli import VERBS

    return list(VERBS)


@verb(
    "man",
    examples=[
        "myst man verify",
        "myst man verify > myst-verify.1        # the page itself, man(7)",
        "myst man -o ~/.local/share/man/man1    # all pages, for man(1)",
    ],
)
@click.argument("name", metavar="[VERB]", type=Choice(_verbs()), required=False)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=FileName(file_okay=False),
    help="Write all pages into this directory.",
)
def command(name: str | None, output: Path | None) -> None:
    """Show the manual page of VERB, or of `myst` itself.

    On a terminal man(1) shows it; elsewhere the page is printed as it is, for groff or mandoc.
    """
    from mystikos.cli import manual

    if output is not None:
        if name is not None:
            raise click.UsageError("--output writes all pages: leave VERB out")
        _write_all(output)
        return
    page = manual.page(f"myst-{name}" if name else "myst")
    if sys.stdout.isatty() and shutil.which("man"):
        subprocess.run(["man", "-l", "-"], input=page.encode(), check=False)
    else:
        click.echo(page, nl=False)


def _write_all(directory: Path) -> None:
    from mystikos.cli import manual

    directory.mkdir(parents=True, exist_ok=True)
    for name in manual.page_names():
        path = directory / f"{name}.1"
        with atomic_output(path) as file:
            file.write(manual.page(name).encode())
        terminal.tell(display(path))
