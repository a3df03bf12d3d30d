"""``myst schema``: the JSON Schemas of the files that people write."""

from __future__ import annotations

import click

from mystikos.cli import render
from mystikos.cli.verb import verb


@verb(
    "schema",
    examples=[
        "myst schema > config.schema.json",
        "myst schema --policy > policy.schema.json",
    ],
)
@click.option("--policy", is_flag=True, help="That of a policy file, for `myst verify --policy`.")
def command(policy: bool) -> None:
    """Print the JSON Schema (2020-12) of the config file.

    In VS Code, name the file that holds it under json.schemas in the settings.
    """
    if policy:
        from mystikos.verification.documents import json_schema as policy_schema

        click.echo(render.to_json(policy_schema()))
        return
    from mystikos.config.documents import json_schema

    click.echo(render.to_json(json_schema()))
