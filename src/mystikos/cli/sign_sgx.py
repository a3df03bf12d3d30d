"""``myst sign-sgx``: an application directory, a key and a config into a signed directory."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli.building import tell_built
from mystikos.cli.packaging import Inputs, packaging_options
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import json_option
from mystikos.cli.verb import FileName, verb

_PATH = FileName()


@verb(
    "sign-sgx",
    examples=[
        "myst sign-sgx appdir private.pem config.json    # writes APP.signed",
        "myst sign-sgx appdir private.pem config.json --outdir release",
    ],
)
@click.option(
    "-d",
    "--outdir",
    type=_PATH,
    help="The directory to write.  [default: named as the program, with .signed]",
)
@packaging_options
@json_option
def command(inputs: Inputs, outdir: Path | None, as_json: bool) -> None:
    """Sign APPDIR, a directory or CPIO archive, with KEY: the package and its parts in one directory.

    APP.signed/bin/APP is the package, ready to run, byte by byte as `myst package-sgx` writes it. Beside it
    lie, for other tools, lib (kernel and CRT image), rootfs (a CPIO archive), config.json, pubkeys and
    roothashes; `myst verify APP.signed` tells whether they are what the package holds.

    A second run replaces the directory in one step. Any other directory with files in it is left alone.
    """
    from mystikos import pipeline

    output = outdir or Path(f"{inputs.config.program_name}.signed")
    inputs.refuse(output)

    with progress_bar("measuring") as progress:
        built = pipeline.sign(
            inputs.appdir,
            inputs.signer,
            inputs.config,
            output,
            date=inputs.date,
            allow_debug=inputs.allow_debug,
            progress=progress,
        )
    inputs.warn(built.lacking)
    tell_built(output, built, as_json, what="signed directory")
