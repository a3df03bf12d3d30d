"""``myst init``: a starter config and a key, where there are none."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli import render, terminal
from mystikos.cli.verb import FileName, verb


@verb(
    "init",
    examples=[
        "myst init --application-path /bin/hello",
    ],
)
@click.argument("directory", type=FileName(), default=".")
@click.option(
    "--application-path", metavar="PATH", help="The program to run, a path from the root of the appdir."
)
@render.json_option
def command(directory: Path, application_path: str | None, as_json: bool) -> None:
    """Write a commented config.json into DIRECTORY (default: here) and make a key, private.pem.

    Nothing is overwritten: a config that is there is an error, a key that is there is kept.
    """
    from mystikos import verbs
    from mystikos.errors import ConfigError

    try:
        made = verbs.init(directory, application_path)
    except ConfigError as error:  # the one value that is not ours
        problem = error.problems[0]
        raise click.UsageError(f"--application-path: {problem.found}, expected {problem.expected}") from error

    if as_json:
        click.echo(render.to_json(made))
        return
    needed = "set what else you need" if application_path else "set ApplicationPath and what else you need"
    terminal.tell(f"{render.display(made.config)}: starter config; {needed}")
    key = "new key; keep it, and keep it secret" if made.key_is_new else "kept, it was there already"
    terminal.tell(f"{render.display(made.key)}: {key}")
