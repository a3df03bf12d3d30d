"""``myst schema``: the JSON Schema of the config file."""

from __future__ import annotations

import click

from mystikos.cli import render


@click.command("schema")
def command() -> None:
    """Print the JSON Schema (2020-12) of the config file.

    In VS Code, name the file that holds it under json.schemas in the settings.
    """
    from mystikos.config.documents import json_schema

    click.echo(render.to_json(json_schema()))
