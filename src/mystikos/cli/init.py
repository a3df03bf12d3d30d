"""``myst init``: a starter config and a key, where there are none."""

from __future__ import annotations

import os
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
    from mystikos.config import parse
    from mystikos.config.documents import starter
    from mystikos.errors import ConfigError, OutputError
    from mystikos.formats.atomic import write_new
    from mystikos.signers import keygen

    config, key = directory / "config.json", directory / "private.pem"
    text = starter(application_path).encode()
    try:
        parse(text, "--application-path")
    except ConfigError as error:  # the one value that is not ours
        problem = error.problems[0]
        raise click.UsageError(f"--application-path: {problem.found}, expected {problem.expected}") from error

    if os.path.lexists(config):
        hint = "edit it, or name another directory"
        raise OutputError(render.display(config), "exists already", expected="no config yet", hint=hint)
    write_new(config, text)
    kept = key.exists()
    if not kept:
        keygen(key)

    if as_json:
        click.echo(render.to_json({"config": config, "key": key, "key_is_new": not kept}))
        return
    needed = "set what else you need" if application_path else "set ApplicationPath and what else you need"
    terminal.tell(f"{render.display(config)}: starter config; {needed}")
    made = "kept, it was there already" if kept else "new key; keep it, and keep it secret"
    terminal.tell(f"{render.display(key)}: {made}")
