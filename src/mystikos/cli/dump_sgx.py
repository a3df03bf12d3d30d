"""``myst dump-sgx``: identity and config of a package, as the original prints them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.verb import FileName, verb
from mystikos.package import unpack
from mystikos.signed_directory import executable


@verb(
    "dump-sgx",
    examples=[
        "myst dump-sgx hello",
        "myst dump-sgx hello | sed -n 's/^mrenclave=//p'",
    ],
)
@click.argument("package", type=FileName())
@json_option
def command(package: Path, as_json: bool) -> None:
    """Print what identifies PACKAGE as lines KEY=VALUE, then its config as its author wrote it.

    The keys are product_id, security_version, debug, xfrm, num_heap_pages, num_stack_pages, num_tcs,
    mrenclave, mrsigner and signature. `myst inspect` tells more, `myst verify` whether it is true.
    """
    from mystikos.inspection.dump import dump

    unpacked = unpack(executable(package))
    facts = dataclasses.asdict(dump(unpacked))
    if as_json:
        click.echo(to_json({**facts, "config": unpacked.config_source.decode("utf-8", "backslashreplace")}))
        return
    for key, value in facts.items():
        click.echo(f"{key}={value}")
    click.echo("Package configuration:")
    for line in unpacked.config_source.split(b"\n"):
        click.echo(_line(line))


def _line(line: bytes) -> str:
    """A line of somebody else's: as it is, but for what would speak to the terminal."""
    return "\t".join(display(part) for part in line.rstrip(b"\r").split(b"\t"))
