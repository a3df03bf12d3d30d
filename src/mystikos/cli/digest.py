"""``myst digest``: what a key that is not at hand has to sign."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli import terminal
from mystikos.cli.building import (
    allow_debug_option,
    date_option,
    load_config,
    refuse_inputs,
    signing_date,
    warn_of_lacking,
)
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.verb import FileName, verb
from mystikos.formats.atomic import atomic_output, refuse_inside

_PATH = FileName()


@verb(
    "digest",
    examples=[
        "myst digest appdir config.json -o request.json --pubkey release.pub",
    ],
)
@click.argument("appdir", type=_PATH)
@click.argument("config_file", metavar="CONFIG", type=_PATH)
@click.option("-o", "--outfile", type=_PATH, default="request.json", show_default=True, help="The request.")
@click.option("--pubkey", type=_PATH, help="Ask this key to sign (public, PEM form), and no other.")
@date_option
@allow_debug_option
@json_option
def command(
    appdir: Path,
    config_file: Path,
    outfile: Path,
    pubkey: Path | None,
    date: str | None,
    allow_debug: bool,
    as_json: bool,
) -> None:
    """Measure APPDIR with CONFIG and write a signing request: 256 bytes to sign, and what they mean.

    Whoever has the key signs the bytes (RSA PKCS#1 v1.5 with SHA-256); `myst attach` then makes the package.
    """
    from mystikos import pipeline
    from mystikos.signers import load_public_modulus

    signed_on = signing_date(date)
    modulus = load_public_modulus(pubkey) if pubkey else None
    config = load_config(config_file)
    refuse_inputs(outfile, appdir, config_file, *([pubkey] if pubkey else []))
    refuse_inside(appdir, outfile)

    with progress_bar("measuring") as progress:
        asked = pipeline.request(
            appdir, config, modulus=modulus, date=signed_on, allow_debug=allow_debug, progress=progress
        )
    with atomic_output(outfile) as file:
        file.write(asked.request.encode())
    warn_of_lacking(appdir, asked.lacking)

    if as_json:
        click.echo(to_json(asked.request.document()))
    else:
        mrenclave = asked.request.fields.enclave_hash.hex()
        terminal.tell(f"{display(outfile)}: new signing request, MRENCLAVE {mrenclave}")
